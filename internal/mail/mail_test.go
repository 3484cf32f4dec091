package mail_test

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/mail"
	"github.com/switchhook/switchhook/internal/smtptest"
)

// What arrives says what was meant, in a form that every mail program reads.
func TestContent(t *testing.T) {
	long := strings.Repeat("0123456789", 200)
	cases := []struct {
		name, subject, text, html string
		shown                     string // as the subject, if it is not as it was given
	}{
		{"plain", "A webhook fails", "It fails.\nTwice.\n", "", ""},
		{"both parts", "A webhook fails", "It fails.\n", "<p>It <b>fails</b>.</p>\n", ""},
		{"emoji", "🔥 Webhook «Zürich» schlägt fehl 📞", "Grüße 🎉\n", "<p>Grüße 🎉</p>\n", ""},
		{"long subject", strings.Repeat("long subject ", 38) + "end", "text\n", "", ""},
		{"long subject in Greek", strings.Repeat("μακρύ θέμα ", 22) + "τέλος", "text\n", "", ""},
		{"long word in the subject", long[:500], "text\n", "", ""},
		{"what looks like an encoded word", "=?utf-8?q?=0D=0ABcc:_eve@example.com?=", "text\n", "", "\r\nBcc: eve@example.com"},
		{"long lines", "s", long + " " + strings.Repeat("ä", 2000) + "\n", "<p>" + long + "</p>\n", ""},
		{"dots", "s", ".\n..\n.end\n", "<p>\n.\n</p>\n", ""},
		{"spaces at line ends", "s", "a \nb\t\n\n\n", "", ""},
		{"what looks like a part", "s", "--boundary\nContent-Type: text/html\n\n=3D =\n", "<p>=20</p>\n", ""},
		{"what looks like a header", "Bcc: eve@example.com", "Bcc: eve@example.com\n", "", ""},
	}
	inWorld(t, func(w *world) {
		created := time.Now()
		for _, c := range cases {
			w.put(func(m *mail.Message) { m.Subject, m.Text, m.HTML = c.subject, c.text, c.html })
		}
		time.Sleep(time.Hour)
		w.runFor(time.Second, w.sender(w.db, func(c *mail.Config) { c.From = "Süd & Co <hooks@example.com>" }))
		got := w.server.Mails()
		if len(got) != len(cases) {
			t.Fatalf("%d mails arrived, want %d", len(got), len(cases))
		}
		for i, c := range cases {
			if got[i].From != "hooks@example.com" || got[i].To != "ann@example.com" || got[i].UTF8 {
				t.Errorf("%s: the envelope is %+v", c.name, got[i])
			}
			for line := range strings.SplitSeq(got[i].Raw, "\r\n") {
				if len(line) > 998 || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' }) {
					t.Errorf("%s: a line that not every server takes: %q", c.name, line)
				}
			}
			m := got[i].Parse(t)
			for name, want := range map[string]string{
				"Subject": cmp.Or(c.shown, c.subject), "Message-Id": fmt.Sprintf("<%d.a1b2c3@example.com>", i+1),
				"Auto-Submitted": "auto-generated", "Mime-Version": "1.0", "Bcc": "",
			} {
				if text, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get(name)); err != nil || text != want {
					t.Errorf("%s: %s: %q, %v, want %q", c.name, name, text, err, want)
				}
			}
			for name, want := range map[string]netmail.Address{"From": {Name: "Süd & Co", Address: "hooks@example.com"}, "To": {Address: "ann@example.com"}} {
				if list, err := m.Header.AddressList(name); err != nil || len(list) != 1 || *list[0] != want {
					t.Errorf("%s: %s: %v, %v", c.name, name, list, err)
				}
			}
			if d, err := m.Header.Date(); err != nil || !d.Equal(created) {
				t.Errorf("%s: Date: %v, %v, want %v", c.name, d, err, created)
			}
			want := map[string]string{"text/plain": c.text}
			if c.html != "" {
				want["text/html"] = c.html
			}
			if parts := partsOf(t, m); !maps.Equal(parts, want) {
				t.Errorf("%s: parts: %q\nwant: %q", c.name, parts, want)
			}
		}
	})
}

// partsOf returns the texts of a mail by their type.
func partsOf(t *testing.T, m *netmail.Message) map[string]string {
	t.Helper()
	parts := map[string]string{}
	add := func(contentType, encoding string, r io.Reader) {
		kind, params, err := mime.ParseMediaType(contentType)
		must(t, err)
		if encoding == "quoted-printable" { // a multipart reader decodes it by itself
			r = quotedprintable.NewReader(r)
		}
		if !strings.EqualFold(params["charset"], "utf-8") {
			t.Errorf("content type %q", contentType)
		}
		text, err := io.ReadAll(r)
		must(t, err)
		parts[kind] = strings.ReplaceAll(string(text), "\r\n", "\n")
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	must(t, err)
	if kind != "multipart/alternative" {
		add(m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), m.Body)
		return parts
	}
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextPart()
		if err == io.EOF {
			return parts
		}
		must(t, err)
		add(p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p)
	}
}

// A server that is down for a while gets the mail once it is back: attempts come
// after 1, 2, 4 ... minutes, then every hour, and the mail arrives once.
func TestServerDown(t *testing.T) {
	inWorld(t, func(w *world) {
		start := time.Now()
		w.server.OnDial = func(context.Context) error {
			if time.Since(start) < 5*time.Hour {
				return smtptest.Refused()
			}
			return nil
		}
		w.put()
		stop := w.start(w.sender(w.db))
		time.Sleep(time.Hour)
		synctest.Wait()
		const reason = "smtp.test:587 refuses connections; check that the SMTP server is running, and that host and port are right"
		if m := w.only(); m.State != mail.Pending || m.Tries != 6 || m.Reason != reason || !m.Due.Equal(start.Add(63*time.Minute)) {
			t.Errorf("after an hour the mail is %+v", m)
		}
		time.Sleep(23 * time.Hour)
		stop()

		var tried []int
		for _, at := range w.server.Dials() {
			tried = append(tried, int(at.Sub(start)/time.Minute))
		}
		if want := []int{0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303}; !slices.Equal(tried, want) {
			t.Errorf("tried at minutes %v, want %v", tried, want)
		}
		if n := len(w.server.Mails()); n != 1 {
			t.Errorf("the mail arrived %d times", n)
		}
		if m := w.only(); m.State != mail.Sent || m.Tries != 11 || m.Reason != "" || !m.Ended.Equal(start.Add(303*time.Minute)) {
			t.Errorf("the mail is %+v", m)
		}
	})
}

// A mail that is given up stays in the outbox with the reason, and is named in the log.
func TestGivenUp(t *testing.T) {
	inWorld(t, func(w *world) {
		w.server.OnDial = func(context.Context) error { return smtptest.Refused() }
		w.put()
		w.runFor(30*24*time.Hour, w.sender(w.db))
		m := w.only()
		if n := len(w.server.Dials()); m.State != mail.Failed || m.Tries != n || !strings.HasPrefix(m.Reason, fmt.Sprintf("given up after %d attempts", n)) {
			t.Errorf("after %d attempts the mail is %+v", n, m)
		}
		if n := strings.Count(w.logged.String(), "level=ERROR"); n != 1 || !strings.Contains(w.logged.String(), "is given up") {
			t.Errorf("%d errors in the log", n)
		}
	})
}

// What a server says decides whether the mail is tried again, and people read it in
// the server's words.
func TestAnswers(t *testing.T) {
	cases := []struct {
		name   string
		set    func(*smtptest.Server)
		state  mail.State
		reason string
	}{
		{"greylisted", func(s *smtptest.Server) {
			s.OnRcpt = func(string) error { return smtptest.Says(451, "4.7.1 greylisted") }
		}, mail.Pending,
			"smtp.test:587 cannot take the recipient ann@example.com now: 451 4.7.1 greylisted"},
		{"no such user", func(s *smtptest.Server) {
			s.OnRcpt = func(string) error { return smtptest.Says(550, "5.1.1 no such user") }
		}, mail.Failed,
			"smtp.test:587 refuses the recipient ann@example.com: 550 5.1.1 no such user"},
		{"spam", func(s *smtptest.Server) {
			s.OnData = func(*smtp.Conn, smtptest.Mail) error { return smtptest.Says(554, "5.7.1 looks like\nspam") }
		}, mail.Failed, "smtp.test:587 refuses the mail: 554 5.7.1 looks like spam"},
		{"disk full there", func(s *smtptest.Server) {
			s.OnData = func(*smtp.Conn, smtptest.Mail) error { return smtptest.Says(452, "disk full") }
		}, mail.Pending,
			"smtp.test:587 cannot take the mail now: 452 disk full"},
		{"going down", func(s *smtptest.Server) { s.OnRcpt = func(string) error { return smtptest.Says(421, "going down") } }, mail.Pending,
			"smtp.test:587 cannot take the recipient ann@example.com now: 421 going down"},
		{"sender not allowed", func(s *smtptest.Server) { s.OnMail = func() error { return smtptest.Says(553, "not yours") } }, mail.Pending,
			"smtp.test:587 refuses the sender hooks@example.com: 553 not yours"},
		{"wrong password", func(s *smtptest.Server) {
			s.OnAuth = func(smtptest.Login) error { return smtptest.Says(535, "bad credentials") }
		}, mail.Pending,
			"smtp.test:587 refuses the password of bob: 535 bad credentials"},
		{"password repeated", func(s *smtptest.Server) {
			s.OnAuth = func(smtptest.Login) error {
				return smtptest.Says(501, "cannot decode "+base64.StdEncoding.EncodeToString([]byte("\x00"+username+"\x00"+password))+", that is "+password)
			}
		}, mail.Pending, "smtp.test:587 refuses the password of bob: 501 cannot decode ********, that is ********"},
		{"no passwords taken", func(s *smtptest.Server) { s.Mechanisms = nil }, mail.Pending,
			"smtp.test:587 does not take passwords, but a user name is set; take the user name out, or use the port that is meant for sending (587 or 465)"},
		{"passwords taken otherwise", func(s *smtptest.Server) { s.Mechanisms = []string{"CRAM-MD5", "GSSAPI"} }, mail.Pending,
			"smtp.test:587 takes passwords only by CRAM-MD5 GSSAPI; PLAIN or LOGIN is needed"},
		{"no such host", func(s *smtptest.Server) {
			s.OnDial = func(context.Context) error { return &net.DNSError{Name: host, Err: "no such host", IsNotFound: true} }
		}, mail.Pending, "smtp.test:587: there is no host of this name; check the name of the SMTP server"},
		{"endless words", func(s *smtptest.Server) {
			s.OnRcpt = func(string) error { return smtptest.Says(550, strings.Repeat("\x00no\r\n", 1000)) }
		}, mail.Failed, "smtp.test:587 refuses the recipient ann@example.com: 550 " + strings.Repeat("no ", 167)[:500] + "..."},
		{"endless answer", func(s *smtptest.Server) {
			s.OnRcpt = func(string) error { return smtptest.Says(550, strings.Repeat("no", 1<<20)) }
		}, mail.Failed, "smtp.test:587 refuses the recipient ann@example.com: 550 " + strings.Repeat("no", 250) + "..."},
	}
	inWorld(t, func(w *world) {
		for _, c := range cases {
			start := time.Now()
			w.server = smtptest.New()
			c.set(w.server)
			put := w.put()
			w.runFor(30*time.Second, w.sender(w.db, withPassword))
			m := w.find(put.ID)
			if m.State != c.state || m.Reason != c.reason || m.Tries != 1 {
				t.Errorf("%s: after %d attempts the mail is %s:\n%s\nwant %s:\n%s", c.name, m.Tries, m.State, m.Reason, c.state, c.reason)
			}
			if c.state == mail.Pending && !m.Due.Equal(start.Add(time.Minute)) {
				t.Errorf("%s: the next attempt is at %v", c.name, m.Due)
			}
			w.drop(m)
		}
	})
}

// A mail that was put off arrives once, with the Message-ID of the first attempt.
func TestPutOff(t *testing.T) {
	inWorld(t, func(w *world) {
		w.server.OnData = func(*smtp.Conn, smtptest.Mail) error {
			if len(w.server.Mails()) == 1 {
				return smtptest.Says(451, "try again")
			}
			return nil
		}
		w.put()
		w.runFor(time.Hour, w.sender(w.db))
		got := w.server.Mails()
		if len(got) != 2 || got[0].Parse(t).Header.Get("Message-ID") != got[1].Parse(t).Header.Get("Message-ID") {
			t.Errorf("%d attempts: %+v", len(got), got)
		}
		if m := w.only(); m.State != mail.Sent || m.Tries != 2 {
			t.Errorf("the mail is %+v", m)
		}
	})
}

// One recipient who is refused does not keep the others from getting theirs, over the
// same connection.
func TestOneRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.server.OnRcpt = func(to string) error {
			if to == "bea@example.com" {
				return smtptest.Says(550, strings.Repeat("no such user ", 10_000)) // much, but not for each
			}
			return nil
		}
		for _, name := range []string{"ann", "bea", "bea", "bea", "cleo"} {
			w.put(to(name + "@example.com"))
		}
		w.runFor(time.Second, w.sender(w.db))
		var states []mail.State
		for _, m := range w.mails() {
			states = append(states, m.State)
		}
		if want := []mail.State{mail.Sent, mail.Failed, mail.Failed, mail.Failed, mail.Sent}; !slices.Equal(states, want) {
			t.Errorf("states %v, want %v", states, want)
		}
		if n := len(w.server.Dials()); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// A server that dies with the mail in hand gets it again with the same Message-ID, by
// which the second is known as a copy.
func TestDiesBeforeAnswering(t *testing.T) {
	inWorld(t, func(w *world) {
		w.server.OnData = func(c *smtp.Conn, _ smtptest.Mail) error {
			if len(w.server.Mails()) == 1 {
				c.Conn().Close()
			}
			return nil
		}
		w.put()
		stop := w.start(w.sender(w.db))
		time.Sleep(time.Second)
		synctest.Wait()
		if m, want := w.only(), "smtp.test:587 closed the connection instead of answering the mail"; m.Reason != want {
			t.Errorf("reason %q, want %q", m.Reason, want)
		}
		time.Sleep(time.Hour)
		stop()
		got := w.server.Mails()
		if len(got) != 2 || got[0].Parse(t).Header.Get("Message-ID") != got[1].Parse(t).Header.Get("Message-ID") {
			t.Errorf("%d mails: %+v", len(got), got)
		}
		if m := w.only(); m.State != mail.Sent {
			t.Errorf("the mail is %+v", m)
		}
	})
}

// A process that dies between the server's answer and its record leaves a mail that
// is sent once more by the next, with the same Message-ID, once its claim has lapsed.
func TestDiesBeforeRecording(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put()
		w.runFor(time.Minute, w.sender(brokenStore{w.db}))
		if n := len(w.server.Mails()); n != 1 {
			t.Fatalf("%d mails from a sender that cannot record", n)
		}
		w.runFor(time.Hour, w.sender(w.db))
		got := w.server.Mails()
		if len(got) != 2 || got[0].Parse(t).Header.Get("Message-ID") != got[1].Parse(t).Header.Get("Message-ID") {
			t.Errorf("%d mails: %+v", len(got), got)
		}
		if m := w.only(); m.State != mail.Sent {
			t.Errorf("the mail is %+v", m)
		}
	})
}

// Wherever a server falls silent, the sender goes on after a limit and says where it
// was.
func TestSilence(t *testing.T) {
	inWorld(t, func(w *world) {
		w.server.OnConn = func(c net.Conn) net.Conn { return &mute{c, len(w.server.Dials()) - 1} }
		w.put()
		seen := &watched{Store: w.db}
		w.runFor(48*time.Hour, w.sender(seen, withPassword))
		if m := w.only(); m.State != mail.Sent {
			t.Errorf("the mail is %+v", m)
		}
		steps := slices.Compact(seen.reasons)
		want := []string{
			"the connection within 30s", "EHLO within 30s", "STARTTLS within 30s", "the password of bob within 30s", "the sender hooks@example.com within 30s",
			"the recipient ann@example.com within 30s", "the mail within 30s", "the mail within 10m0s",
		}
		for i := range want {
			want[i] = "smtp.test:587 did not answer " + want[i]
		}
		if want = append(want, ""); !slices.Equal(steps, want) {
			t.Errorf("reasons:\n%s\nwant:\n%s", strings.Join(steps, "\n"), strings.Join(want, "\n"))
		}
	})
}

// A host that does not answer at all is left after a limit too.
func TestNoConnection(t *testing.T) {
	inWorld(t, func(w *world) {
		w.server.OnDial = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		w.put()
		w.runFor(31*time.Second, w.sender(w.db))
		if m, want := w.only(), "smtp.test:587: no connection within 30s; check host and port, and whether a firewall is in the way"; m.Reason != want {
			t.Errorf("reason %q, want %q", m.Reason, want)
		}
	})
}

// Mails and passwords go only where they are meant to go.
func TestTLS(t *testing.T) {
	implicit := func(c *mail.Config) { c.TLS = mail.Implicit }
	opportunistic := func(c *mail.Config) { c.TLS = mail.Opportunistic }
	noTLS := func(s *smtptest.Server) { s.Certs = nil }
	year2000 := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // when a bubble begins
	certificate := func(a *smtptest.Authority, name string, valid time.Duration) func(*smtptest.Server) {
		return func(s *smtptest.Server) { s.Certs[0] = a.Certify(year2000.Add(valid), name) }
	}
	on465 := func(s *smtptest.Server) { s.Implicit = true }
	cases := []struct {
		name   string
		edit   []func(*mail.Config)
		server []func(*smtptest.Server)
		reason string // empty: sent
		login  string
	}{
		{"STARTTLS", nil, nil, "", ""},
		{"STARTTLS and a password", []func(*mail.Config){withPassword}, nil, "", "PLAIN"},
		{"implicit", []func(*mail.Config){implicit, withPassword}, []func(*smtptest.Server){on465}, "", "PLAIN"},
		{"LOGIN", []func(*mail.Config){withPassword}, []func(*smtptest.Server){func(s *smtptest.Server) { s.Mechanisms = []string{"LOGIN"} }}, "", "LOGIN"},
		{"opportunistic", []func(*mail.Config){opportunistic, withPassword}, nil, "", "PLAIN"},
		{"opportunistic, no TLS there", []func(*mail.Config){opportunistic}, []func(*smtptest.Server){noTLS}, "", ""},
		{"opportunistic, no TLS there, and a password", []func(*mail.Config){opportunistic, withPassword}, []func(*smtptest.Server){noTLS},
			"smtp.test:587 does not offer to encrypt, and the password is not sent without; use a server with TLS, or no user name", ""},
		{"this machine is no exception", []func(*mail.Config){opportunistic, withPassword, func(c *mail.Config) { c.Host = "localhost" }}, []func(*smtptest.Server){noTLS},
			"localhost:587 does not offer to encrypt, and the password is not sent without; use a server with TLS, or no user name", ""},
		{"STARTTLS stripped", []func(*mail.Config){withPassword}, []func(*smtptest.Server){noTLS},
			"smtp.test:587 does not offer STARTTLS, so nothing was sent, because it would not be encrypted; use a port or a server that does, or one with implicit TLS (port 465), or find out who on the way takes the offer out", ""},
		{"unknown authority", []func(*mail.Config){withPassword}, []func(*smtptest.Server){certificate(smtptest.NewAuthority("Other CA"), host, time.Hour)},
			"the certificate of smtp.test:587 is not accepted: x509: certificate signed by unknown authority; name the authority that issued it, if it is to be trusted", ""},
		{"another name", []func(*mail.Config){opportunistic, withPassword}, []func(*smtptest.Server){certificate(smtptest.CA(), "other.test", time.Hour)},
			"the certificate of smtp.test:587 is not accepted: x509: certificate is valid for other.test, not smtp.test; set the host to a name that is in it", ""},
		{"expired", []func(*mail.Config){implicit, withPassword}, []func(*smtptest.Server){on465, certificate(smtptest.CA(), host, -time.Hour)},
			"the certificate of smtp.test:465 is not accepted: x509: certificate has expired or is not yet valid: current time NOW is after 1999-12-31T23:00:00Z; the server needs another, or this machine the right time", ""},
		{"plain text where TLS should begin", []func(*mail.Config){implicit, withPassword}, nil,
			"smtp.test:465 does not speak TLS where it should begin; port 465 is for implicit TLS, 587 and 25 are for STARTTLS", ""},
	}
	inWorld(t, func(w *world) {
		for _, c := range cases {
			w.server = smtptest.New()
			for _, f := range c.server {
				f(w.server)
			}
			put := w.put()
			w.runFor(50*time.Second, w.sender(w.db, c.edit...))
			m := w.find(put.ID)
			want := strings.ReplaceAll(c.reason, "NOW", put.Created.UTC().Format(time.RFC3339))
			if got := w.server.Mails(); m.Reason != want || (len(got) == 1) != (want == "") {
				t.Errorf("%s: %d mails arrived, reason\n%s\nwant\n%s", c.name, len(got), m.Reason, want)
			}
			if want == "" && m.State != mail.Sent || want != "" && m.State != mail.Pending {
				t.Errorf("%s: the mail is %s", c.name, m.State)
			}
			var logins []smtptest.Login
			if c.login != "" {
				logins = []smtptest.Login{{Mechanism: c.login, Username: username, Password: password, Encrypted: true}}
			}
			if !slices.Equal(w.server.Logins(), logins) {
				t.Errorf("%s: logins %+v, want %+v", c.name, w.server.Logins(), logins)
			}
			w.drop(m)
		}
	})
}

// The same over the real network and in real time.
func TestRealNetwork(t *testing.T) {
	w := newWorld(t, t.TempDir())
	defer w.close()
	arrived := make(chan smtptest.Mail, 1)
	w.server.OnData = func(_ *smtp.Conn, m smtptest.Mail) error { arrived <- m; return nil }
	port, _ := w.server.Listen(t, "127.0.0.1:0")
	s := w.sender(w.db, withPassword, func(c *mail.Config) { c.Host, c.Port, c.DialContext = "localhost", port, nil })
	stop := w.start(s)
	w.put()
	s.Wake()
	if m := <-arrived; m.To != "ann@example.com" {
		t.Errorf("arrived: %+v", m)
	}
	stop() // lets it finish
	if m := w.only(); m.State != mail.Sent {
		t.Errorf("the mail is %+v", m)
	}
}

// Two senders on one outbox, as two processes are, send each mail once.
func TestTwoSenders(t *testing.T) {
	inWorld(t, func(w *world) {
		for i := range 50 {
			w.put(to(fmt.Sprintf("ann%d@example.com", i)))
		}
		stop, stopOther := w.start(w.sender(w.db)), w.start(w.sender(w.db))
		time.Sleep(time.Minute)
		stop()
		stopOther()
		got := map[string]int{}
		for _, d := range w.server.Mails() {
			got[d.To]++
		}
		if len(got) != 50 || len(w.server.Mails()) != 50 {
			t.Errorf("%d mails to %d recipients", len(w.server.Mails()), len(got))
		}
		for _, m := range w.mails() {
			if m.State != mail.Sent || m.Tries != 1 || !m.Claimed.IsZero() {
				t.Errorf("a mail is %+v", m)
			}
		}
	})
}

// A server that is down is not asked by every mail anew, and none of those that wait
// loses an attempt. When it is back, all go over one connection.
func TestManyWhileDown(t *testing.T) {
	inWorld(t, func(w *world) {
		start := time.Now()
		w.server.OnDial = func(context.Context) error {
			if time.Since(start) < 10*time.Minute {
				return smtptest.Refused()
			}
			return nil
		}
		for range 100 {
			w.put()
		}
		stop := w.start(w.sender(w.db))
		time.Sleep(10*time.Minute - time.Second)
		synctest.Wait()
		if n := len(w.server.Dials()); n != 10 {
			t.Errorf("%d connections in 10 minutes", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := len(w.server.Mails()); n < 90 {
			t.Errorf("%d mails arrived when the server was back", n)
		}
		if n := len(w.server.Dials()); n != 11 {
			t.Errorf("%d connections", n)
		}
		time.Sleep(time.Hour)
		stop()
		if n := len(w.server.Mails()); n != 100 {
			t.Errorf("%d mails arrived", n)
		}
	})
}

// A server that says it is going down is left alone, and only the mail that heard it
// loses an attempt.
func TestServerGoesDown(t *testing.T) {
	inWorld(t, func(w *world) {
		w.server.OnRcpt = func(string) error { return smtptest.Says(421, "going down") }
		for range 3 {
			w.put()
		}
		w.runFor(30*time.Second, w.sender(w.db))
		var tries []int
		for _, m := range w.mails() {
			tries = append(tries, m.Tries)
		}
		if n := len(w.server.Dials()); n != 1 || !slices.Equal(tries, []int{1, 0, 0}) {
			t.Errorf("%d connections, attempts %v", n, tries)
		}
	})
}

// A server that closes after some mails gets the rest at once over another
// connection.
func TestServerClosesBetweenMails(t *testing.T) {
	inWorld(t, func(w *world) {
		w.server.OnData = func(c *smtp.Conn, _ smtptest.Mail) error {
			if n := len(w.server.Mails()); n%3 == 0 {
				time.AfterFunc(time.Millisecond, func() { c.Conn().Close() })
			}
			return nil
		}
		for range 10 {
			w.put()
		}
		// Between two mails there is the time that recording takes.
		w.runFor(time.Second, w.sender(slowStore{w.db}))
		if n := len(w.server.Mails()); n != 10 {
			t.Errorf("%d mails arrived within a second", n)
		}
		for _, m := range w.mails() {
			if m.State != mail.Sent || m.Tries != 1 {
				t.Errorf("a mail is %+v", m)
			}
		}
		if n := len(w.server.Dials()); n != 4 {
			t.Errorf("%d connections", n)
		}
	})
}

// slowStore takes some time to record.
type slowStore struct{ mail.Store }

func (s slowStore) RecordMail(m mail.Message) error {
	time.Sleep(10 * time.Millisecond)
	return s.Store.RecordMail(m)
}

// A sender that is woken sends at once what was put in since.
func TestWake(t *testing.T) {
	inWorld(t, func(w *world) {
		s := w.sender(w.db)
		stop := w.start(s)
		defer stop()
		for i := range 3 {
			time.Sleep(time.Hour)
			w.put()
			s.Wake()
			s.Wake()
			synctest.Wait()
			if n := len(w.server.Mails()); n != i+1 {
				t.Errorf("%d mails arrived, want %d", n, i+1)
			}
		}
		if n := len(w.server.Dials()); n != 3 {
			t.Errorf("%d connections; one that idles would only be closed by the server", n)
		}
	})
}

// Where there is no mail server there is no sender, and nobody who puts a mail has to
// know that.
func TestWakeNobody(*testing.T) { (*mail.Sender)(nil).Wake() }

// A sender that is stopped gives a mail that is under way a while, then gives it
// back: it is due at once, and has not lost an attempt.
func TestStop(t *testing.T) {
	for _, c := range []struct {
		name         string
		takes, stops time.Duration
		state        mail.State
	}{
		{"soon done", 5 * time.Second, 5 * time.Second, mail.Sent},
		{"hangs", time.Hour, 10 * time.Second, mail.Pending},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				release := make(chan struct{})
				w.server.OnData = func(*smtp.Conn, smtptest.Mail) error {
					select {
					case <-time.After(c.takes):
					case <-release:
					}
					return nil
				}
				defer close(release)
				put := w.put()
				other := w.put()
				stop := w.start(w.sender(w.db))
				synctest.Wait()
				start := time.Now()
				stop()
				if d := time.Since(start); d != c.stops {
					w.t.Errorf("stopped after %v, want %v", d, c.stops)
				}
				all := w.mails()
				m := all[0]
				if m.State != c.state || !m.Claimed.IsZero() || m.State == mail.Pending && (m.Tries != 0 || !m.Due.Equal(put.Created)) {
					w.t.Errorf("the mail is %+v", m)
				}
				if all[1].ID != other.ID || all[1].State != mail.Pending || all[1].Tries != 0 {
					w.t.Errorf("a mail was begun after the sender was stopped: %+v", all[1])
				}
			})
		})
	}
}

// What would break a header or a command is never sent, and does not keep others from
// being sent.
func TestNotSendable(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put(func(m *mail.Message) { m.Subject = "a\r\nBcc: eve@example.com" })
		w.put(func(m *mail.Message) { m.Text = "" })
		w.put(to("other@example.com"))
		w.runFor(time.Second, w.sender(w.db))
		all := w.mails()
		for i, want := range []string{
			"the mail: subject has a line feed or another control character in it",
			"the mail: text is missing",
		} {
			if m := all[i]; m.State != mail.Failed || m.Reason != want || m.Tries != 1 {
				t.Errorf("the mail is %+v, want the reason %s", m, want)
			}
		}
		if got := w.server.Mails(); all[2].State != mail.Sent || len(got) != 1 || got[0].To != "other@example.com" {
			t.Errorf("arrived: %+v", got)
		}
	})
}

// Addresses beyond ASCII need a server that takes them.
func TestAddressesBeyondASCII(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put(to("jürgen@example.com"))
		w.runFor(time.Second, w.sender(w.db))
		if m, want := w.only(), "smtp.test:587 takes only addresses in ASCII, unlike jürgen@example.com"; m.State != mail.Failed || m.Reason != want {
			t.Errorf("the mail is %s: %s", m.State, m.Reason)
		}
		w.server.UTF8 = true
		w.put(to("jürgen@example.com"))
		w.put()
		w.runFor(time.Second, w.sender(w.db))
		got := w.server.Mails()
		if len(got) != 2 || got[0].To != "jürgen@example.com" || !got[0].UTF8 || got[1].UTF8 {
			t.Errorf("arrived: %+v", got)
		}
	})
}

// Settings that could never work are refused at the start, all at once.
func TestConfig(t *testing.T) {
	good := mail.Config{Host: host, From: "hooks@example.com", Installation: "a1"}
	if s, err := mail.New(nil, good); err != nil || s.Port != 587 || s.TLS != mail.StartTLS || s.Hello == "" {
		t.Errorf("the least there can be: %v", err)
	}
	for _, c := range []struct {
		name string
		edit func(*mail.Config)
		want string
	}{
		{"host", func(c *mail.Config) { c.Host = "" }, `host "" is not the name of a host`},
		{"URL", func(c *mail.Config) { c.Host = "smtp://smtp.test" }, `host "smtp://smtp.test" is not the name of a host`},
		{"port", func(c *mail.Config) { c.Port = 70000 }, "port 70000 is not between 1 and 65535"},
		{"TLS", func(c *mail.Config) { c.TLS = "none" }, `tls "none" is none of starttls, implicit, opportunistic`},
		{"password", func(c *mail.Config) { c.Password = password }, "username and password are given both or not at all"},
		{"from", func(c *mail.Config) { c.From = "hooks" }, `from "hooks" is not an e-mail address, as in Switchhook <switchhook@example.com>`},
		{"line feed", func(c *mail.Config) { c.From = "A\n <a@example.com>" }, `from "A\n <a@example.com>" is not an e-mail address, as in Switchhook <switchhook@example.com>`},
		{"from beyond ASCII", func(c *mail.Config) { c.From = "hooks@zürich.example" }, `from "hooks@zürich.example" has an address with other characters than ASCII; a domain can be written with xn--`},
		{"hello", func(c *mail.Config) { c.Hello = "a\r\nb" }, `hello "a\r\nb" is not the name of a host`},
		{"installation", func(c *mail.Config) { c.Installation = "a@b" }, `installation "a@b" is not made of letters and digits`},
		{"timeout", func(c *mail.Config) { c.Timeout = -1 }, "timeout -1ns is less than 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := good
			c.edit(&config)
			if _, err := mail.New(nil, config); err == nil || err.Error() != "mail: "+c.want {
				t.Errorf("%v, want %s", err, c.want)
			}
			// The installation is not people's to set, so it is not looked at before there is one.
			if err := config.Check(); (err == nil) != (c.name == "installation") || err != nil && err.Error() != "mail: "+c.want {
				t.Errorf("before there is an installation: %v", err)
			}
		})
	}
	var secret hook.Secret = password
	if text := fmt.Sprintf("%v %+v", mail.Config{Password: secret}, mail.Config{Password: secret}); strings.Contains(text, password) {
		t.Errorf("printed, the settings tell the password: %s", text)
	}
}
