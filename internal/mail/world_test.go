package mail_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/mail"
	"github.com/switchhook/switchhook/internal/seal"
	"github.com/switchhook/switchhook/internal/smtptest"
	"github.com/switchhook/switchhook/internal/store"
)

const (
	host     = smtptest.Host
	username = "bob"
	password = "password-in-plain-text"
)

// world is an outbox in a real store and an SMTP server, on a network in memory and
// in fake time.
type world struct {
	t      *testing.T
	db     *store.DB
	server *smtptest.Server
	log    *slog.Logger
	logged bytes.Buffer
}

// inWorld runs f in fake time. Afterwards nothing may have told the password.
func inWorld(t *testing.T, f func(w *world)) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir)
		defer w.close()
		f(w)
	})
}

func newWorld(t *testing.T, dir string) *world {
	t.Helper()
	w := &world{t: t, server: smtptest.New()}
	w.log = slog.New(slog.NewTextHandler(io.MultiWriter(t.Output(), &w.logged), nil))
	key, err := seal.NewKey(bytes.Repeat([]byte{7}, 32))
	must(t, err)
	w.db, err = store.Open(t.Context(), store.Options{Database: "sqlite:" + filepath.Join(dir, "test.db"), Key: key, Mail: true})
	must(t, err)
	return w
}

func (w *world) close() {
	for _, m := range w.mails() {
		if strings.Contains(m.Reason, password) {
			w.t.Errorf("the password is in a reason: %s", m.Reason)
		}
	}
	if strings.Contains(w.logged.String(), password) {
		w.t.Errorf("the password is in the log:\n%s", w.logged.String())
	}
	must(w.t, w.db.Close())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sender returns a sender to the world's server.
func (w *world) sender(s mail.Store, edit ...func(*mail.Config)) *mail.Sender {
	w.t.Helper()
	c := mail.Config{
		Host: host, CAs: smtptest.CA().Pool(), From: "Switchhook <hooks@example.com>", Hello: "client.test",
		Installation: "a1b2c3", DialContext: w.server.DialContext,
		Log: w.log,
	}
	for _, f := range edit {
		f(&c)
	}
	sender, err := mail.New(s, c)
	must(w.t, err)
	return sender
}

// withPassword makes a sender authenticate.
func withPassword(c *mail.Config) { c.Username, c.Password = username, password }

// start runs a sender and returns a function that stops it and waits.
func (w *world) start(s *mail.Sender) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	}
}

// runFor lets a sender run for a while.
func (w *world) runFor(d time.Duration, s *mail.Sender) {
	stop := w.start(s)
	time.Sleep(d)
	stop()
}

// put puts a mail into the outbox.
func (w *world) put(edit ...func(*mail.Message)) *mail.Message {
	w.t.Helper()
	m := &mail.Message{To: "ann@example.com", Subject: "A webhook fails", Text: "It fails.\n", Created: time.Now()}
	for _, f := range edit {
		f(m)
	}
	must(w.t, w.db.PutMail(m))
	return m
}

// find returns a mail as it is now.
func (w *world) find(id int64) *mail.Message {
	w.t.Helper()
	for _, m := range w.mails() {
		if m.ID == id {
			return m
		}
	}
	w.t.Fatalf("mail %d is gone", id)
	return nil
}

// drop makes a mail that is in nobody's hand one that is not sent any more.
func (w *world) drop(m *mail.Message) {
	w.t.Helper()
	m.State, m.Due = mail.Failed, time.Time{}
	must(w.t, w.db.RecordMail(*m))
}

func to(address string) func(*mail.Message) { return func(m *mail.Message) { m.To = address } }

// mails returns what is in the outbox, oldest first.
func (w *world) mails() []*mail.Message {
	w.t.Helper()
	all, err := w.db.Mails(context.Background(), 1000)
	must(w.t, err)
	slices.Reverse(all)
	return all
}

// only returns the one mail there is.
func (w *world) only() *mail.Message {
	w.t.Helper()
	all := w.mails()
	if len(all) != 1 {
		w.t.Fatalf("%d mails in the outbox, want 1", len(all))
	}
	return all[0]
}

// mute is a server's connection that says nothing more after some writes.
type mute struct {
	net.Conn
	left int
}

func (m *mute) Write(p []byte) (int, error) {
	if m.left == 0 {
		return len(p), nil
	}
	m.left--
	return m.Conn.Write(p)
}

// watched is a store that remembers the reasons it was given.
type watched struct {
	mail.Store
	reasons []string
}

func (s *watched) RecordMail(m mail.Message) error {
	s.reasons = append(s.reasons, m.Reason)
	return s.Store.RecordMail(m)
}

// brokenStore is a store that cannot record.
type brokenStore struct{ mail.Store }

func (brokenStore) RecordMail(mail.Message) error { return errors.New("disk full") }
