package manage_test

import (
	"flag"
	"fmt"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/html"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/outbox"
	"github.com/switchhook/switchhook/internal/rounds"
)

var update = flag.Bool("update", false, "rewrite golden files")

const (
	noticeID  = "AAAAAAAA1AAAAAAAAAAAAA"
	noticeURL = "https://hooks.blue.example/webhooks?token=query-of-the-url"
	devURL    = "https://laptop.blue.example/"
)

// noticed returns the mails of six rounds in which an endpoint fails, for other reasons
// each time. edit changes the app and the subscription from what is usual.
func noticed(t *testing.T, in hook.AppState, edit func(w *world, a *hook.App, s *hook.Subscription)) (mails []*outbox.Message) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Every, w.PublicURL = rounds.Every, "https://switchhook.example.com"
		key, err := hook.KeyOf(noticeID)
		must(t, err)
		a := &hook.App{ID: "app", Name: "number sync", Account: "blue", ClientID: "client", SecretToken: crmToken}
		s := &hook.Subscription{
			ID: noticeID, Key: key, App: "app", Name: "numbers", Events: []string{order}, Endpoint: hook.Endpoint{URL: noticeURL, State: hook.Valid},
			Scope: hook.ScopeAccount, Subscribers: []hook.Subscriber{{}}, Source: hook.SourceDefault, Created: time.Now(),
			Auth: hook.Auth{Mode: hook.AuthBasic, Username: "u", Password: basicSecret},
		}
		reasons := []string{
			"the endpoint answered with status 500, want 200", "the host name does not exist", "no answer within 3s of sending the request",
			"the connection was refused", "the certificate is not for hooks.blue.example", "the endpoint answered 200 with an empty body; answer with plainToken and encryptedToken",
		}
		edit(w, a, s)
		must(t, w.db.Change(hook.Change{
			Accounts: []*hook.Account{{ID: "blue", OwnerEmail: "ops@blue.example"}}, Apps: []*hook.App{a}, Subscriptions: []*hook.Subscription{s},
		}, time.Now()))
		for _, reason := range reasons {
			now, _, err := w.Subscription(noticeID)
			must(t, err)
			time.Sleep(time.Until(now.NextRound(in, rounds.Every, time.Now())))
			if w.prober.broken[now.At(in).URL] == "" || now.At(in).Failures != nil {
				w.prober.breaks(now.At(in).URL, reason)
			}
			must(t, w.Revalidate(t.Context(), noticeID, in))
		}
		mails, err = w.db.Mails(t.Context(), 100)
		must(t, err)
		slices.Reverse(mails)
	})
	if len(mails) != 3 {
		t.Fatalf("%d mails", len(mails))
	}
	return mails
}

// The mails say what has happened, to which endpoint of whom, why, when, and what to do.
func TestNotices(t *testing.T) {
	for name, c := range map[string]struct {
		in   hook.AppState
		edit func(w *world, a *hook.App, s *hook.Subscription)
	}{
		"only": {hook.Production, func(*world, *hook.App, *hook.Subscription) {}},
		"plain": {hook.Production, func(w *world, _ *hook.App, s *hook.Subscription) {
			w.PublicURL, w.Every, s.Name = "", 0, ""
		}},
		"production": {hook.Production, func(_ *world, _ *hook.App, s *hook.Subscription) {
			s.Development = hook.Endpoint{URL: devURL, State: hook.Valid}
		}},
		"development": {hook.Development, func(_ *world, a *hook.App, s *hook.Subscription) {
			a.State, s.Development = hook.Development, hook.Endpoint{URL: devURL, State: hook.Valid}
		}},
		"idle": {hook.Development, func(_ *world, _ *hook.App, s *hook.Subscription) {
			s.Development = hook.Endpoint{URL: devURL, State: hook.Valid}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			for _, m := range noticed(t, c.in, c.edit) {
				if err := m.Check(); err != nil {
					t.Error(err)
				}
				fmt.Fprintf(&b, "To: %s\nSubject: %s\nDate: %s\n\n%s\n%s\n", m.To, m.Subject, m.Created.UTC().Format(time.RFC3339), m.Text, m.HTML)
			}
			for _, secret := range []string{crmToken, basicSecret, "query-of-the-url"} {
				if strings.Contains(b.String(), secret) {
					t.Errorf("the mails show %s", secret)
				}
			}
			golden(t, name, b.String())
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "notices_"+name+".golden")
	if *update {
		must(t, os.WriteFile(file, []byte(got), 0o600))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if got != string(want) {
		t.Errorf("the mails are\n%s\nwant\n%s", got, want)
	}
}

// Whatever people call their things, and whatever an endpoint makes a reason say, a mail
// has the lines that it should, its text is read in the order in which it is written, and
// its HTML holds no more elements than that of any other.
func TestHostileNamesInNotices(t *testing.T) {
	usual := noticed(t, hook.Production, func(*world, *hook.App, *hook.Subscription) {})
	for name, hostile := range map[string]string{
		"line feeds":         "a\r\nBcc: eve@example.com\r\n\r\nYou have won",
		"other line ends":    "a\u2028b\u2029c\u0085d\ve\ff",
		"HTML":               `</td></table><script>alert(1)</script><img src=x onerror=alert(1)>&amp;"'`,
		"a template":         `{{.ID}} {{template "x"}}`,
		"bidi":               "\u202egnp.exe\u202c \u2066a\u2069 \u200e\u061c",
		"an escape sequence": "\x1b[2J\x1b]0;title\x07",
		"NUL":                "a\x00b",
		"broken UTF-8":       "a\xffb\xc0\xaf",
		"a byte order mark":  "\ufeffa",
		"very long":          strings.Repeat("long ", 20_000),
		"very long in one":   strings.Repeat("\U0001F980", 5_000),
	} {
		t.Run(name, func(t *testing.T) {
			mails := noticed(t, hook.Production, func(w *world, a *hook.App, s *hook.Subscription) {
				a.Name, s.Name, s.URL = hostile, hostile, "https://hooks.blue.example/"+hostile[:min(len(hostile), 1000)]+"?token"
				w.prober.breaks(s.URL, strings.ToValidUTF8(hostile, "\ufffd"))
			})
			for i, m := range mails {
				if err := m.Check(); err != nil {
					t.Errorf("it will never be sent: %v", err)
				}
				head, err := mail.ReadMessage(strings.NewReader("Subject: " + m.Subject + "\r\n\r\n"))
				if err != nil || len(head.Header) != 1 || !strings.HasSuffix(m.Subject, map[bool]string{false: " fails its validation", true: " was disabled"}[i == 2]) {
					t.Errorf("the subject is %q: %v", m.Subject, err)
				}
				if got, want := strings.Count(m.Text, "\n"), strings.Count(usual[i].Text, "\n"); got != want {
					t.Errorf("the text has %d lines, want %d: %.2000q", got, want, m.Text)
				}
				for _, text := range []string{m.Subject, m.Text, m.HTML} {
					if strings.ContainsAny(text, "\r\v\f\x00\x1b\x07\u0085\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\ufeff") {
						t.Errorf("it has characters that are for no reader: %.2000q", text)
					}
				}
				if got, want := elements(t, m.HTML), elements(t, usual[i].HTML); !slices.Equal(got, want) {
					t.Errorf("the HTML has the elements %v, want %v: %.3000s", got, want, m.HTML)
				}
				if n := len(m.Text) + len(m.HTML); n > 1<<20 {
					t.Errorf("it has %d bytes", n)
				}
			}
		})
	}
}

// An app of whose name nothing can be shown is named by its id.
func TestNamesThatDoNotShow(t *testing.T) {
	m := noticed(t, hook.Production, func(_ *world, a *hook.App, s *hook.Subscription) { a.Name, s.Name = "\u202e\u2066", "\ufeff" })[0]
	if !strings.HasPrefix(m.Subject, "app: ") || !strings.Contains(m.Text, "App:           app\nSubscription:  "+noticeID+"\n") {
		t.Errorf("the mail is %q: %s", m.Subject, m.Text)
	}
}

// elements returns the names of the elements in a document, in order.
func elements(t *testing.T, text string) (names []string) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(text))
	must(t, err)
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode {
			names = append(names, n.Data)
		}
	}
	return names
}
