package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"
)

const (
	// redraw is how often a bar is drawn again, and between two plain lines there are
	// ten seconds: a log that somebody reads later should not be full of them.
	redraw     = 100 * time.Millisecond
	plainEvery = 10 * time.Second

	// window is the time by which speed is judged: what was before says nothing of now.
	window = 10 * time.Second
)

// progress shows on standard error how far something long is: as a bar in one line,
// drawn again and again, if that is a terminal, and else as a line now and then.
type progress struct {
	w         io.Writer
	columns   func() int // of the terminal; nil: it is none
	one, many string     // what is counted

	size  int64 // 0: not known
	first step  // where it began
	now   step
	past  []step // of the window, the earliest first
	drawn bool   // the bar is on the screen
}

// step is how far it is at an instant: so much of the size, and so many of what is
// counted.
type step struct {
	at    time.Time
	done  int64
	count int
}

func newProgress(w io.Writer, one, many string) *progress {
	p := &progress{w: w, one: one, many: many}
	if f, ok := w.(*os.File); ok && isTerminal(f) && os.Getenv("TERM") != "dumb" {
		p.columns = func() int {
			if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
				return width
			}
			return 80
		}
	}
	return p
}

// isTerminal reports whether somebody sits at the other end of a reader or writer.
func isTerminal(x any) bool {
	f, ok := x.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// every is how often draw is to be called.
func (p *progress) every() time.Duration {
	if p.columns != nil {
		return redraw
	}
	return plainEvery
}

// begin says where it begins, or goes on from.
func (p *progress) begin(done int64, count int) {
	p.now = step{time.Now(), done, count}
	if p.first.at.IsZero() {
		p.first = p.now
	}
	p.past = []step{p.now}
	p.show()
}

// set says how far it is.
func (p *progress) set(done int64, count int) { p.now.done, p.now.count = done, count }

// draw shows how far it is.
func (p *progress) draw() {
	p.now.at = time.Now()
	for len(p.past) > 1 && p.now.at.Sub(p.past[1].at) >= window {
		p.past = p.past[1:]
	}
	p.past = append(p.past, p.now)
	if p.columns == nil {
		fmt.Fprintln(p.w, fit(p.parts(p.past[0]), -1, 0))
	}
	p.show()
}

// show puts the bar on the screen.
func (p *progress) show() {
	if p.columns != nil {
		p.drawn = true
		fmt.Fprint(p.w, "\r"+fit(p.parts(p.past[0]), p.portion(), p.columns()-1)+"\x1b[K")
	}
}

// clear takes the bar off the screen, for something else to be written there.
func (p *progress) clear() {
	if p.drawn {
		p.drawn = false
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// say writes a message for people.
func (p *progress) say(format string, args ...any) {
	p.clear()
	fmt.Fprintf(p.w, format+"\n", args...)
}

// end shows that all is done, how long it took and how fast it was.
func (p *progress) end() {
	p.now.at = time.Now()
	x := p.parts(p.first)
	took := p.now.at.Sub(p.first.at)
	x.time = "in " + span(took)
	if took < 10*time.Second {
		x.time = fmt.Sprintf("in %.1fs", took.Seconds())
	}
	p.clear()
	if p.columns == nil {
		fmt.Fprintln(p.w, fit(x, -1, 0))
		return
	}
	fmt.Fprintln(p.w, fit(x, p.portion(), p.columns()-1))
}

// speed returns how much of the size, and of what is counted, was done in a second since
// then; 0 if it is too early to say.
func (p *progress) speed(since step) (size, count float64) {
	d := p.now.at.Sub(since.at).Seconds()
	if d < 1 {
		return 0, 0
	}
	return float64(p.now.done-since.done) / d, float64(p.now.count-since.count) / d
}

// portion returns how much of it is done, from 0 to 1, or a negative number.
func (p *progress) portion() float64 {
	if p.size <= 0 {
		return -1
	}
	return min(1, float64(p.now.done)/float64(p.size))
}

// parts are what a line of progress says.
type parts struct{ percent, count, rate, time string }

// parts says how far it is, and how fast it has been since then.
func (p *progress) parts(since step) parts {
	x := parts{count: grouped(p.now.count, p.one, p.many)}
	size, count := p.speed(since)
	if count > 0 {
		x.rate = thousands(int(count)) + "/s"
	}
	switch {
	case p.size <= 0:
		x.time = span(p.now.at.Sub(p.first.at))
	case size > 0:
		x.time = span(time.Duration(float64(p.size-p.now.done)/size*float64(time.Second))) + " left"
	}
	if portion := p.portion(); portion >= 0 {
		x.percent = fmt.Sprintf("%3d%%", int(portion*100))
	}
	return x
}

// The bar takes what the rest of the line leaves over, if that is enough to see
// something in it. Where there is room it leaves as much as the rest usually takes, so
// that it does not become shorter while numbers become longer.
const minBar, maxBar, usualRest = 10, 40, 42

// fit puts a line of progress together that has no more than width columns; 0 is any
// number of them, and no bar. Of what does not fit the least important goes first.
func fit(x parts, portion float64, width int) string {
	for _, drop := range []*string{nil, &x.rate, &x.time, &x.count} {
		if drop != nil {
			*drop = ""
		}
		var after []string
		for _, s := range []string{x.count, x.rate, x.time} {
			if s != "" {
				after = append(after, s)
			}
		}
		rest := strings.Join(after, "  ")
		text := strings.TrimSpace(x.percent + "  " + rest)
		if width == 0 {
			return text
		}
		if len(text) > width {
			continue
		}
		room := width - len(x.percent) - len(" [] ")
		room = min(maxBar, max(room-max(usualRest, len(rest)), min(minBar, room-len(rest))))
		if portion >= 0 && room >= minBar {
			full := int(portion * float64(room))
			bar := strings.Repeat("=", full) + strings.Repeat(" ", room-full)
			if full > 0 && full < room {
				bar = bar[:full-1] + ">" + bar[full:]
			}
			return x.percent + " [" + bar + "] " + rest
		}
		return text
	}
	return ""
}

// span writes a duration as people count it.
func span(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
}

// grouped is plural for numbers that may be large.
func grouped(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// thousands writes a number that is not negative as in 1,234,567.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
