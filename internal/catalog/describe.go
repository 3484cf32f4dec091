package catalog

import (
	"regexp"
	"slices"
	"strings"
)

// described is what the lines at the end of a description say.
type described struct {
	event             string
	classic, granular []string
	prose             string // all other lines
	lead              string // the first paragraph of them, in one line
}

// The lines are written for people, in Markdown and some HTML, by many hands:
//
//	**[Scopes](url):** `a:read`,`b:read`</br>
//	**Granular Scopes:** `a:read:thing`
//	**`Event type`**: `a.created`
//
// So links become their text, line breaks of HTML become real ones, a label in
// the middle of a line gets a line of its own, and emphasis disappears.
var (
	lineBreak  = regexp.MustCompile(`(?i)</?\s*(?:br|p)\s*/?\s*>`)
	link       = regexp.MustCompile(`\[([^\[\]\n]*)\]\((?:[^()\n]|\([^()\n]*\))*\)`)
	boldLabel  = regexp.MustCompile("\\*\\*[ `]*[A-Za-z][A-Za-z ]{2,24}[ `]*(?:\\*\\*\\s*:|:\\s*\\*\\*)")
	emphasis   = strings.NewReplacer("*", " ", "`", " ", "\u00a0", " ")
	marks      = strings.NewReplacer("*", "", "`", "")
	labelled   = regexp.MustCompile(`^[\s>#+-]*([A-Za-z][A-Za-z ]{3,23}?)\s*[:：]+\s*(.*)$`)
	separators = regexp.MustCompile(`[\s,;|、，]+`)
	scopeName  = regexp.MustCompile(`^[a-z0-9_][A-Za-z0-9_.-]*(?::[A-Za-z0-9_.*-]+)*$`)
	eventName  = regexp.MustCompile(`^[A-Za-z0-9_-]+(?:[.:][A-Za-z0-9_-]+)*$`)
)

// describe reads scopes and event type from the text of a description.
func describe(text string) described {
	text = lineBreak.ReplaceAllString(text, "\n")
	text = link.ReplaceAllString(text, "$1")
	text = boldLabel.ReplaceAllString(text, "\n$0")

	var d described
	var rest prose
	var list *[]string // that a label without a value on its line has begun
	for marked := range strings.Lines(text) {
		line := emphasis.Replace(marked)
		name, value := cutLabel(line)
		switch name {
		case "scopes":
			list = &d.classic
		case "granular scopes":
			list = &d.granular
		case "event type":
			list = nil
			if value = strings.Trim(value, " .,"); d.event == "" && eventName.MatchString(value) {
				d.event = value
			}
			continue
		default:
			var read bool
			if list, read = more(list, line); !read {
				rest.add(marked)
			}
			continue
		}
		if value != "" {
			found := scopes(value)
			if len(found) == 0 {
				rest.add(marked) // it says something else
			}
			*list = append(*list, found...)
			list = nil
		}
	}
	d.classic, d.granular = unique(d.classic), unique(d.granular)
	d.prose, d.lead = strings.TrimSpace(rest.text.String()), strings.Join(rest.lead, " ")
	return d
}

// prose gathers the lines that are for people only.
type prose struct {
	text strings.Builder
	lead []string // words of the first paragraph that is no title
	over bool     // that paragraph
}

func (p *prose) add(line string) {
	p.text.WriteString(line)
	words := strings.Fields(strings.TrimLeft(marks.Replace(line), " \t>"))
	title := len(words) == 0 || words[0][0] == '#' || strings.Trim(words[0], "-_=") == ""
	switch {
	case title:
		p.over = len(p.lead) > 0
	case !p.over:
		p.lead = append(p.lead, words...)
	}
}

// more reads a line of a list of scopes below its label, if there is one. It
// returns the list if it may go on, and whether the line was one of it.
func more(list *[]string, line string) (*[]string, bool) {
	line = strings.TrimLeft(strings.TrimSpace(line), "-+ ")
	if list == nil || line == "" {
		return list, false
	}
	found := scopes(line)
	if len(found) == 0 {
		return nil, false
	}
	*list = append(*list, found...)
	return list, true
}

// Prose returns the description without the lines that say what has a place of its
// own in t: scopes and name. Links are reduced to their text.
func (t *Type) Prose() string {
	return describe(strings.ToValidUTF8(t.Description[:min(len(t.Description), maxDescription)], "")).prose
}

// cutLabel takes a line apart if it begins with one of the labels. In the longer
// ones a letter may be wrong, missing or too many.
func cutLabel(line string) (name, value string) {
	m := labelled.FindStringSubmatch(strings.TrimRight(line, " \r\n\t"))
	if m == nil {
		return "", ""
	}
	s := strings.ToLower(strings.Join(strings.Fields(m[1]), " "))
	for _, form := range []struct{ text, means string }{
		{"scope", "scopes"},
		{"scopes", "scopes"},
		{"classic scopes", "scopes"},
		{"granular scope", "granular scopes"},
		{"granular scopes", "granular scopes"},
		{"event type", "event type"},
		{"event types", "event type"},
	} {
		if s == form.text || len(form.text) > 5 && oneEdit(s, form.text) {
			return form.means, m[2]
		}
	}
	return "", ""
}

// oneEdit reports whether one insertion, deletion, replacement or swap of
// neighbours makes b of a.
func oneEdit(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	switch len(b) - len(a) {
	case 0:
		if i == len(a) || a[i+1:] == b[i+1:] {
			return true
		}
		return i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
	case 1:
		return a[i:] == b[i+1:]
	}
	return false
}

// scopes returns the scopes in the value of a line. Prose has none: a word
// without a colon is a scope only if it is the only one.
func scopes(value string) []string {
	var list, words []string
	for _, s := range separators.Split(value, -1) {
		s = strings.Trim(s, ".:()[]\"'")
		switch {
		case !scopeName.MatchString(s), s == "and", s == "or", s == "none", s == "n/a":
		case strings.Contains(s, ":"):
			list = append(list, s)
		default:
			words = append(words, s)
		}
	}
	if len(list) == 0 && len(words) == 1 && len(strings.Fields(value)) == 1 {
		return words
	}
	return list
}

// unique returns the list sorted and without duplicates.
func unique(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}
