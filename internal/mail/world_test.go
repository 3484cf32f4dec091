package mail_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	netmail "net/mail"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/switchhook/switchhook/internal/mail"
	"github.com/switchhook/switchhook/internal/seal"
	"github.com/switchhook/switchhook/internal/store"
)

const (
	host     = "smtp.test"
	username = "bob"
	password = "password-in-plain-text"
)

// world is an outbox in a real store and an SMTP server, on a network in memory and
// in fake time.
type world struct {
	t      *testing.T
	db     *store.DB
	server *server
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
	w := &world{t: t, server: newServer(t)}
	w.log = slog.New(slog.NewTextHandler(io.MultiWriter(t.Output(), &w.logged), nil))
	key, err := seal.NewKey(bytes.Repeat([]byte{7}, 32))
	must(t, err)
	w.db, err = store.Open(t.Context(), store.Options{Database: "sqlite:" + filepath.Join(dir, "test.db"), Key: key})
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
		Host: host, CAs: testCA().pool(), From: "Switchhook <hooks@example.com>", Hello: "client.test",
		Installation: "a1b2c3", DialContext: w.server.dial,
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

// server is an SMTP server. Change it before it is dialled.
type server struct {
	t     *testing.T
	certs []tls.Certificate // none: no TLS
	// implicit begins with TLS.
	implicit   bool
	mechanisms []string
	utf8       bool

	// What happens at the steps; nil for nothing. An error is the answer.
	onDial func(context.Context) error
	onConn func(net.Conn) net.Conn
	onAuth func() error
	onMail func() error
	onRcpt func(to string) error
	onData func(c *smtp.Conn, m delivered) error

	mu      sync.Mutex
	got     []delivered
	logins  []login
	dialled []time.Time
}

// delivered is a mail that a server has read.
type delivered struct {
	from, to string
	utf8     bool
	raw      string
}

func (d delivered) parse(t *testing.T) *netmail.Message {
	t.Helper()
	m, err := netmail.ReadMessage(strings.NewReader(d.raw))
	must(t, err)
	return m
}

type login struct {
	mechanism, username, password string
	encrypted                     bool
}

func newServer(t *testing.T) *server {
	return &server{t: t, certs: []tls.Certificate{testCA().certify(host, time.Now().Add(100*365*24*time.Hour))}, mechanisms: []string{"PLAIN", "LOGIN"}}
}

// messages returns what the server has accepted or read.
func (s *server) messages() []delivered {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func (s *server) dials() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.dialled)
}

func errRefused() error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
}

// dial connects to the server.
func (s *server) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	s.mu.Lock()
	s.dialled = append(s.dialled, time.Now())
	s.mu.Unlock()
	if s.onDial != nil {
		if err := s.onDial(ctx); err != nil {
			return nil, err
		}
	}
	client, conn := net.Pipe()
	s.serve(buffer(conn))
	return client, nil
}

// serve talks to one client. Each connection has a server of its own, which ends with
// it.
func (s *server) serve(conn net.Conn) {
	if s.onConn != nil {
		conn = s.onConn(conn)
	}
	srv := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &serverSession{server: s, conn: c}, nil }))
	srv.Domain, srv.EnableSMTPUTF8, srv.ErrorLog = host, s.utf8, log.New(io.Discard, "", 0)
	if len(s.certs) > 0 {
		srv.TLSConfig = &tls.Config{Certificates: s.certs}
	}
	if s.implicit {
		conn = tls.Server(conn, srv.TLSConfig)
	}
	go func() { _ = srv.Serve(&oneConn{conn: conn}) }() // always the end of the listener
}

// oneConn is a listener that has one connection to give.
type oneConn struct{ conn net.Conn }

func (l *oneConn) Accept() (net.Conn, error) {
	if l.conn == nil {
		return nil, io.EOF
	}
	c := l.conn
	l.conn = nil
	return c, nil
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return nil }

// serverSession is the server's side of a connection.
type serverSession struct {
	server *server
	conn   *smtp.Conn
	m      delivered
}

func (s *serverSession) Reset()        { s.m = delivered{} }
func (s *serverSession) Logout() error { return nil }

func (s *serverSession) Mail(from string, o *smtp.MailOptions) error {
	s.m.from, s.m.utf8 = from, o.UTF8
	if f := s.server.onMail; f != nil {
		return f()
	}
	return nil
}

func (s *serverSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.m.to = to
	if f := s.server.onRcpt; f != nil {
		return f(to)
	}
	return nil
}

func (s *serverSession) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.m.raw = string(raw)
	s.server.mu.Lock()
	s.server.got = append(s.server.got, s.m)
	s.server.mu.Unlock()
	if f := s.server.onData; f != nil {
		return f(s.conn, s.m)
	}
	return nil
}

func (s *serverSession) AuthMechanisms() []string { return s.server.mechanisms }

func (s *serverSession) Auth(mechanism string) (sasl.Server, error) {
	check := func(name, pass string) error {
		_, encrypted := s.conn.TLSConnectionState()
		s.server.mu.Lock()
		defer s.server.mu.Unlock()
		s.server.logins = append(s.server.logins, login{mechanism, name, pass, encrypted})
		if s.server.onAuth != nil {
			return s.server.onAuth()
		}
		return nil
	}
	if mechanism == "LOGIN" {
		return &loginServer{check: check}, nil
	}
	return sasl.NewPlainServer(func(_, name, pass string) error { return check(name, pass) }), nil
}

// loginServer is the server's side of AUTH LOGIN.
type loginServer struct {
	answers []string
	check   func(name, pass string) error
}

func (l *loginServer) Next(answer []byte) (challenge []byte, done bool, err error) {
	if answer != nil {
		l.answers = append(l.answers, string(answer))
	}
	switch len(l.answers) {
	case 0:
		return []byte("Username:"), false, nil
	case 1:
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(l.answers[0], l.answers[1])
}

// says is an answer with a code of its own.
func says(code int, words string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.NoEnhancedCode, Message: words}
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(name string) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return &authority{cert, key}
}

// testCA is the authority that senders in tests trust.
var testCA = sync.OnceValue(func() *authority { return newAuthority("Test CA") })

func (a *authority) certify(name string, until time.Time) tls.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: time.Unix(0, 0), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &a.key.PublicKey, a.key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// buffered takes what is written without waiting for a reader, as the network does: a
// pipe alone stops when both ends write, which TLS does when it ends.
type buffered struct {
	net.Conn
	written chan []byte
	closed  context.Context
	close   context.CancelFunc
}

func buffer(c net.Conn) net.Conn {
	b := &buffered{Conn: c, written: make(chan []byte, 100)}
	b.closed, b.close = context.WithCancel(context.Background())
	go func() {
		defer c.Close()
		for {
			select {
			case p := <-b.written:
				_, _ = c.Write(p) // who does not listen does not hear
				continue
			default:
			}
			select {
			case p := <-b.written:
				_, _ = c.Write(p)
			case <-b.closed.Done():
				return
			}
		}
	}()
	return b
}

func (b *buffered) Write(p []byte) (int, error) {
	select {
	case b.written <- bytes.Clone(p):
		return len(p), nil
	case <-b.closed.Done():
		return 0, net.ErrClosed
	}
}

func (b *buffered) Close() error {
	b.close()
	return nil
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
