package manage

import (
	"cmp"
	_ "embed"
	"fmt"
	htmltemplate "html/template"
	"io"
	"strings"
	"text/template"
	"time"
	"unicode"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/outbox"
)

//go:embed notice.txt.tmpl
var noticeText string

//go:embed notice.html.tmpl
var noticeHTML string

// The same functions for both, so that they say the same.
var (
	textTemplate = template.Must(template.New("text").Funcs(noticeFuncs).Parse(noticeText))
	htmlTemplate = htmltemplate.Must(htmltemplate.New("html").Funcs(noticeFuncs).Parse(noticeHTML))
)

var noticeFuncs = map[string]any{
	"clock": func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") },
}

// notice is what the templates say.
type notice struct {
	App, Subscription, ID, URL string
	// Which of the subscription's endpoints it is. It is empty if there is no other.
	Which hook.AppState
	// Idle says that events go to the other one, as the app is in another state.
	Idle     bool
	State    hook.AppState // the app's
	Disabled bool
	Failures []hook.Failure
	// Left is how many more rounds may fail before the endpoint is disabled, and Next
	// when the next one is.
	Left      int
	Next      time.Time
	PublicURL string
}

const (
	// maxSubjectName leaves room in a subject for what it is about.
	maxSubjectName = 80

	// maxReason is longer than any reason of our own. Some quote what the other side said.
	maxReason = 500
)

// compose returns the mail that tells the owner of an app about one of its endpoints.
func (m *Manager) compose(n hook.Notice, s *hook.Subscription, a *hook.App, in hook.AppState, to string, now time.Time) *outbox.Message {
	e := s.At(in)
	v := notice{
		App: cmp.Or(oneLine(a.Name), a.ID), Subscription: oneLine(s.Name), ID: s.ID, URL: shownURL(e.URL),
		Idle: s.Serving(a) != e, State: cmp.Or(a.State, hook.Production), Disabled: n == hook.DisabledNotice,
		Left: hook.DisabledAfter - len(e.Failures), PublicURL: m.PublicURL,
	}
	if s.Development.URL != "" {
		v.Which = in
	}
	if m.Every > 0 {
		v.Next = s.NextRound(in, m.Every, now)
	}
	for _, f := range e.Failures {
		v.Failures = append(v.Failures, hook.Failure{At: f.At, Reason: cut(oneLine(f.Reason), maxReason)})
	}
	what := "fails its validation"
	if v.Disabled {
		what = "was disabled"
	}
	subject := fmt.Sprintf("%s: the webhook endpoint %s %s", cut(v.App, maxSubjectName), host(e.URL), what)
	return &outbox.Message{To: to, Subject: subject, Text: render(textTemplate, v), HTML: render(htmlTemplate, v), Created: now}
}

func render(t interface {
	Execute(w io.Writer, data any) error
}, v notice,
) string {
	var b strings.Builder
	if err := t.Execute(&b, v); err != nil {
		panic(err) // a template that does not fit its data is found by any test
	}
	return b.String()
}

// shownURL leaves the query out: there is often a token in it.
func shownURL(url string) string {
	before, _, found := strings.Cut(oneLine(url), "?")
	if found {
		return before + "?..."
	}
	return before
}

func host(url string) string {
	_, rest, _ := strings.Cut(oneLine(url), "://")
	name, _, _ := strings.Cut(rest, "/")
	name, _, _ = strings.Cut(name, "?")
	return name
}

// oneLine keeps what people have typed, or an endpoint has answered, from breaking a
// mail's lines and from changing the order in which what is around it is read.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			return ' '
		case unicode.Is(unicode.Bidi_Control, r), r == '\uFEFF':
			return -1
		}
		return r // what is not UTF-8 becomes U+FFFD
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// cut shortens a text to so many characters.
func cut(s string, limit int) string {
	n := 0
	for i := range s {
		if n++; n > limit {
			return s[:i] + "..."
		}
	}
	return s
}
