package hook

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The words that explanations are made of. They are read aloud, so times are in words
// as far as that goes, and what comes from outside is quoted where it could be taken
// for something else.

// at writes an instant.
func at(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// later reports whether a is after b, to the millisecond, which is what ids and the
// store know.
func later(a, b time.Time) bool { return a.UnixMilli() > b.UnixMilli() }

func sameInstant(a, b time.Time) bool { return a.UnixMilli() == b.UnixMilli() }

// apart says how long before or after the event was accepted something was done.
func apart(t, accepted time.Time) string {
	d := t.Truncate(time.Millisecond).Sub(accepted.Truncate(time.Millisecond))
	switch {
	case d == 0:
		return "in the same millisecond in which the event was accepted"
	case d < 0:
		return span(-d) + " before the event was accepted"
	}
	return span(d) + " after the event was accepted"
}

// span writes a duration with its two largest units.
func span(d time.Duration) string {
	switch {
	case d < 100*time.Microsecond:
		return "less than 0.1 ms"
	case d < 10*time.Millisecond:
		return strconv.FormatFloat(float64(d.Round(100*time.Microsecond))/float64(time.Millisecond), 'f', -1, 64) + " ms"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 10*time.Second:
		n := strconv.FormatFloat(d.Round(100*time.Millisecond).Seconds(), 'f', -1, 64)
		if n == "1" {
			return "1 second"
		}
		return n + " seconds"
	case d < time.Minute:
		return count(int(d.Seconds()), "second", "seconds")
	case d < time.Hour:
		return two(d, time.Minute, "minute", time.Second, "second")
	case d < 24*time.Hour:
		return two(d, time.Hour, "hour", time.Minute, "minute")
	}
	return two(d, 24*time.Hour, "day", time.Hour, "hour")
}

func two(d, large time.Duration, largeName string, small time.Duration, smallName string) string {
	n, rest := int(d/large), int(d%large/small)
	text := count(n, largeName, largeName+"s")
	if rest > 0 {
		text += " " + count(rest, smallName, smallName+"s")
	}
	return text
}

// count writes how many there are of something.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits + " " + many
}

// nth names an attempt by its number, from 1.
func nth(n int) string {
	words := [...]string{"first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"}
	if n >= 1 && n <= len(words) {
		return words[n-1]
	}
	suffix := "th"
	if n%100/10 != 1 && n%10 <= 3 && n%10 > 0 {
		suffix = [...]string{"st", "nd", "rd"}[n%10-1]
	}
	return strconv.Itoa(n) + suffix
}

// name writes an id that somebody has made up: as it is, unless it could be taken for
// other words of the sentence.
func name(id string) string {
	if idPattern.MatchString(id) && !strings.HasSuffix(id, ".") {
		return id
	}
	return strconv.Quote(clip(id))
}

func names(ids []string) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = name(id)
	}
	return out
}

// appName names an app.
func appName(a *App) string { return fmt.Sprintf("%q (%s)", a.Name, a.ID) }

// place writes a URL without its query, which often has a token in it.
func place(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return strconv.Quote(clip(raw))
	}
	u.RawQuery, u.ForceQuery = "", false
	return u.String()
}

// sentence makes a clause one.
func sentence(clause string) string { return strings.ToUpper(clause[:1]) + clause[1:] + "." }

// few writes the first of some ids, after what they are.
func few(ids []string, one, many string) string {
	const shown = 3
	what := many
	if len(ids) == 1 {
		what = one
	}
	if what != "" {
		what += " "
	}
	if more := len(ids) - shown; more > 0 {
		return what + strings.Join(names(ids[:shown]), ", ") + fmt.Sprintf(" and %d more", more)
	}
	return what + join(names(ids), "and")
}

// join writes a list as people say it.
func join(list []string, last string) string {
	if n := len(list); n > 1 {
		return strings.Join(list[:n-1], ", ") + " " + last + " " + list[n-1]
	}
	return strings.Join(list, "")
}
