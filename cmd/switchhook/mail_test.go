package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/switchhook/switchhook/internal/api"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/mail"
	"github.com/switchhook/switchhook/internal/outbox"
	"github.com/switchhook/switchhook/internal/seal"
	"github.com/switchhook/switchhook/internal/smtptest"
)

// serveWithMail starts a platform that sends mails through a server on this machine,
// with a password.
func (in *installation) serveWithMail(port int, args ...string) *running {
	in.t.Helper()
	ca, password := filepath.Join(in.dir, "ca.pem"), filepath.Join(in.dir, "password")
	must(in.t, os.WriteFile(ca, smtptest.CA().PEM(), 0o600))
	must(in.t, os.WriteFile(password, []byte(mailPassword+"\n"), 0o600))
	return in.serve(append([]string{
		"--smtp", fmt.Sprintf("localhost:%d", port), "--smtp-ca", ca, "--smtp-from", "Switchhook <switchhook@example.com>",
		"--smtp-username", "bob", "--smtp-password-file", password,
	}, args...)...)
}

// testMail asks for a test mail.
func (p *running) testMail(to string) (n api.Notice) {
	p.t.Helper()
	p.ask("POST", operator+"/notices/test", `{"to":"`+to+`"}`, http.StatusAccepted, &n)
	return n
}

// mailTried waits until a mail has ended or was put off.
func (p *running) mailTried(id int64) (n api.Notice) {
	p.t.Helper()
	waitFor(p.t, fmt.Sprintf("the end of mail %d", id), func() bool {
		p.ask("GET", fmt.Sprintf("%s/notices/%d", operator, id), "", http.StatusOK, &n)
		return n.State != outbox.Pending || n.Tries > 0
	})
	return n
}

// The program sends a mail through a real server: encrypted, with the password, once,
// and with a Message-ID of this installation, which a restart does not change.
func TestMail(t *testing.T) {
	in := install(t)
	s := smtptest.New()
	port, _ := s.Listen(t, "127.0.0.1:0")
	for range 2 {
		p := in.serveWithMail(port)
		n := p.testMail("ann@example.com")
		if n = p.mailTried(n.ID); n.State != outbox.Sent || n.Tries != 1 {
			t.Errorf("the notice is %+v", n)
		}
		p.stop()
	}
	for _, l := range s.Logins() {
		if want := (smtptest.Login{Mechanism: "PLAIN", Username: "bob", Password: mailPassword, Encrypted: true}); l != want {
			t.Errorf("the server was given %+v", l)
		}
	}
	mails := s.Mails()
	if len(mails) != 2 || len(s.Logins()) != 2 {
		t.Fatalf("%d mails and %d logins: %+v", len(mails), len(s.Logins()), mails)
	}
	ids := map[string]bool{}
	for i, m := range mails {
		head := m.Parse(t).Header
		id := regexp.MustCompile(`^<(\d)\.([a-z0-9]{26})@example\.com>$`).FindStringSubmatch(head.Get("Message-ID"))
		if id == nil || id[1] != fmt.Sprint(i+1) {
			t.Fatalf("Message-ID %s", head.Get("Message-ID"))
		}
		ids[id[2]] = true
		if m.From != "switchhook@example.com" || m.To != "ann@example.com" || head.Get("Subject") != "A test mail from Switchhook" {
			t.Errorf("a mail from %s to %s: %s", m.From, m.To, m.Raw)
		}
	}
	if len(ids) != 1 {
		t.Errorf("the mails are of %d installations", len(ids))
	}
}

// A program that is killed with a mail in hand sends it when it is started again,
// without waiting for the claim to lapse: with the same Message-ID, by which one that
// had been taken is known as a copy.
func TestKillWhileMailing(t *testing.T) {
	in := install(t)
	s := smtptest.New()
	got, release := make(chan struct{}, 1), make(chan struct{})
	s.OnData = func(*smtp.Conn, smtptest.Mail) error {
		if len(s.Mails()) == 1 {
			got <- struct{}{}
			<-release // the first one is not answered as long as the program lives
		}
		return nil
	}
	port, _ := s.Listen(t, "127.0.0.1:0")
	p := in.serveWithMail(port)
	n := p.testMail("ann@example.com")
	<-got
	p.kill()
	close(release)

	p = in.serveWithMail(port)
	if n = p.mailTried(n.ID); n.State != outbox.Sent || n.Tries != 1 {
		t.Errorf("the notice is %+v", n)
	}
	p.stop()
	mails := s.Mails()
	if len(mails) != 2 || mails[0].Parse(t).Header.Get("Message-ID") != mails[1].Parse(t).Header.Get("Message-ID") {
		t.Errorf("%d mails arrived: %+v", len(mails), mails)
	}
}

// Wherever the password is set, and whatever the server says back, it is in no answer,
// in no line of the log and not in the database.
func TestMailPasswordIsNotShown(t *testing.T) {
	in := install(t)
	s := smtptest.New()
	wrong := smtptest.Says(535, "wrong password "+mailPassword+" in "+base64.StdEncoding.EncodeToString([]byte("\x00bob\x00"+mailPassword)))
	s.OnAuth = func(smtptest.Login) error { return wrong }
	port, _ := s.Listen(t, "127.0.0.1:0")
	ca := filepath.Join(in.dir, "ca.pem")
	must(t, os.WriteFile(ca, smtptest.CA().PEM(), 0o600))

	var shown bytes.Buffer
	look := func(p *running) {
		t.Helper()
		n := p.testMail("ann@example.com")
		if n = p.mailTried(n.ID); !strings.Contains(n.Reason, "wrong password ********") {
			t.Errorf("the notice is %+v", n)
		}
		for _, path := range []string{"/notices", fmt.Sprintf("/notices/%d", n.ID)} {
			_, answer, err := p.call(t.Context(), http.DefaultClient, "GET", operator+path, "application/json", nil)
			must(t, err)
			shown.Write(answer)
		}
		p.stop()
		shown.WriteString(p.stderr.String())
	}
	look(in.serveWithMail(port, "--log-level", "debug"))
	cmd := exec.Command(program(t), "serve", "--dev", "--ready", "--listen", "127.0.0.1:0", "--log-level", "debug",
		"--database", in.database(), "--master-key-file", in.masterKey(),
		"--smtp", fmt.Sprintf("localhost:%d", port), "--smtp-ca", ca, "--smtp-from", "switchhook@example.com", "--smtp-username", "bob")
	cmd.Env = append(os.Environ(), "SWITCHHOOK_SMTP_PASSWORD="+mailPassword)
	look(in.start(cmd))
	if n := len(s.Logins()); n != 2 || s.Logins()[1].Password != mailPassword {
		t.Fatalf("the server was given %+v", s.Logins())
	}

	// Put where it does not belong, it is refused without being repeated.
	config := filepath.Join(in.dir, "config.yaml")
	must(t, os.WriteFile(config, []byte("smtp-password: "+mailPassword+"\n"), 0o600))
	for _, args := range [][]string{
		{"--smtp-password", mailPassword}, {"--smtp-password=" + mailPassword}, {"--config", config},
		{"--smtp", "bob:" + mailPassword + "@localhost"}, {"--smtp", "smtp://bob:" + mailPassword + "@localhost:25"},
	} {
		if code := run(t.Context(), append([]string{"serve"}, args...), strings.NewReader(""), &shown, &shown); code != exitUsage {
			t.Errorf("serve %v: exit code %d", args, code)
		}
	}
	files, err := filepath.Glob(filepath.Join(in.dir, "test.db*"))
	must(t, err)
	for _, f := range files {
		b, err := os.ReadFile(f)
		must(t, err)
		shown.Write(b)
	}
	for _, secret := range []string{mailPassword, base64.StdEncoding.EncodeToString([]byte("\x00bob\x00" + mailPassword))} {
		if strings.Contains(shown.String(), secret) {
			t.Errorf("%q is shown", secret)
		}
	}
	if !strings.Contains(shown.String(), "wrong password ********") {
		t.Error("nothing was shown in which it could have been")
	}
}

// mailPlatform is a platform in a bubble, with a mail server. Its handler is called
// without a network.
type mailPlatform struct {
	*platform
	t      *testing.T
	server *smtptest.Server
	stop   func()
}

const bubbleKey = "shk_of-the-bubble"

func inMailBubble(t *testing.T, f func(p *mailPlatform)) {
	t.Parallel()
	database := "sqlite:" + filepath.Join(t.TempDir(), "test.db")
	synctest.Test(t, func(t *testing.T) {
		p := &mailPlatform{t: t, server: smtptest.New()}
		key, err := seal.NewKey(bytes.Repeat([]byte{7}, 32))
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		p.platform, err = newPlatform(ctx, settings{
			database: database, key: key, retention: 30 * 24 * time.Hour, log: slog.New(slog.NewTextHandler(t.Output(), nil)),
			mail: &mail.Config{
				Host: smtptest.Host, CAs: smtptest.CA().Pool(), From: "switchhook@example.com", Hello: "client.test",
				StopTimeout: 7 * time.Second, DialContext: p.server.DialContext,
			},
		})
		must(t, err)
		must(t, p.store.CreateKey(&hook.OperatorKey{ID: "key", Scopes: hook.KeyScopes(), Created: time.Now()}, bubbleKey))
		done := make(chan error, 1)
		go func() { done <- p.serve(ctx, &nobodyDials{closed: make(chan struct{})}) }()
		p.stop = sync.OnceFunc(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("serve: %v", err)
			}
		})
		defer p.stop()
		f(p)
	})
}

// call calls the API and returns the answer.
func (p *mailPlatform) call(method, path, body string) string {
	p.t.Helper()
	r := httptest.NewRequestWithContext(p.t.Context(), method, operator+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+bubbleKey)
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, r)
	if w.Code >= 300 {
		p.t.Fatalf("%s %s: status %d: %s", method, path, w.Code, w.Body)
	}
	return w.Body.String()
}

// nobodyDials is a listener.
type nobodyDials struct {
	closed chan struct{}
	once   sync.Once
}

func (l *nobodyDials) Accept() (net.Conn, error) {
	<-l.closed
	return nil, io.EOF
}

func (l *nobodyDials) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *nobodyDials) Addr() net.Addr { return &net.TCPAddr{} }

// A platform whose mail server is down for a while sends the mail once the server is
// up again, and sends it once.
func TestMailServerDown(t *testing.T) {
	inMailBubble(t, func(p *mailPlatform) {
		start := time.Now()
		p.server.OnDial = func(context.Context) error {
			if time.Since(start) < 10*time.Minute {
				return smtptest.Refused()
			}
			return nil
		}
		p.call("POST", "/notices/test", `{"to":"ann@example.com"}`)
		synctest.Wait()
		if text := p.call("GET", "/notices/1", ""); !strings.Contains(text, `"state":"pending","tries":1,"next_attempt_at":"2000-01-01T00:01:00.000Z"`) || !strings.Contains(text, "smtp.test:587 refuses connections") {
			t.Errorf("after the first attempt: %s", text)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if text := p.call("GET", "/notices/1", ""); !strings.Contains(text, `"state":"sent","tries":5,"next_attempt_at":null,"ended_at":"2000-01-01T00:15:00.000Z"`) {
			t.Errorf("in the end: %s", text)
		}
		if got := p.server.Mails(); len(got) != 1 || got[0].To != "ann@example.com" {
			t.Errorf("arrived: %+v", got)
		}
	})
}

// A platform that stops lets the mail finish that is under way, as long as the limit
// for that is, and begins no other.
func TestStopWhileMailing(t *testing.T) {
	for name, c := range map[string]struct {
		takes, stops time.Duration
	}{
		"soon done": {5 * time.Second, 5 * time.Second},
		"hangs":     {time.Hour, 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inMailBubble(t, func(p *mailPlatform) {
				release := make(chan struct{})
				defer close(release)
				p.server.OnData = func(*smtp.Conn, smtptest.Mail) error {
					select {
					case <-time.After(c.takes):
					case <-release:
					}
					return nil
				}
				p.call("POST", "/notices/test", `{"to":"ann@example.com"}`)
				synctest.Wait()
				p.call("POST", "/notices/test", `{"to":"bea@example.com"}`)
				start := time.Now()
				p.stop()
				if d := time.Since(start); d != c.stops {
					t.Errorf("stopped after %v, want %v", d, c.stops)
				}
				if n := len(p.server.Mails()); n != 1 {
					t.Errorf("%d mails were begun", n)
				}
			})
		})
	}
}
