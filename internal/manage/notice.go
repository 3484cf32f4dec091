package manage

import (
	_ "embed"
	"fmt"
	htmltemplate "html/template"
	"io"
	"strings"
	"text/template"
	"time"

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
	In                         hook.AppState
	Disabled                   bool
	Failures                   []hook.Failure
	// Left is how many more rounds may fail before the endpoint is disabled.
	Left      int
	PublicURL string
}

// compose returns the mail that tells the owner of an app about one of its endpoints.
func compose(n hook.Notice, s *hook.Subscription, a *hook.App, in hook.AppState, to, publicURL string, now time.Time) *outbox.Message {
	e := s.At(in)
	v := notice{
		App: oneLine(a.Name), Subscription: oneLine(s.Name), ID: s.ID, URL: shownURL(e.URL), In: in, Disabled: n == hook.DisabledNotice,
		Left: hook.DisabledAfter - len(e.Failures), PublicURL: publicURL,
	}
	for _, f := range e.Failures {
		v.Failures = append(v.Failures, hook.Failure{At: f.At, Reason: oneLine(f.Reason)})
	}
	subject := fmt.Sprintf("%s: the webhook endpoint %s fails its validation", v.App, host(e.URL))
	if v.Disabled {
		subject = fmt.Sprintf("%s: the webhook endpoint %s was disabled", v.App, host(e.URL))
	}
	return &outbox.Message{To: to, Subject: cut(subject, 200), Text: render(textTemplate, v), HTML: render(htmlTemplate, v), Created: now}
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
	before, _, found := strings.Cut(url, "?")
	if found {
		return before + "?..."
	}
	return before
}

func host(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	name, _, _ := strings.Cut(rest, "/")
	name, _, _ = strings.Cut(name, "?")
	return name
}

// oneLine keeps what people have typed from breaking a mail's lines.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
}

func cut(s string, limit int) string {
	for i := range s {
		if i > limit {
			return s[:i] + "..."
		}
	}
	return s
}
