// Package smtptest is an SMTP server for tests.
//
// A [Server] answers as it should, unless it is told otherwise at one of its steps,
// and remembers what it got. It is reached in memory, so that time can be faked around
// it, or on this machine. [CA] has issued its certificate.
package smtptest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/mail"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Host is the name of a server. Its certificate is for localhost as well.
const Host = "smtp.test"

// Server is an SMTP server. Make one with [New], and change it before it is dialled.
type Server struct {
	Certs []tls.Certificate // none: no TLS
	// Implicit begins with TLS.
	Implicit   bool
	Mechanisms []string
	UTF8       bool

	// What happens at the steps; nil for nothing. An error is the answer.
	OnDial func(context.Context) error
	OnConn func(net.Conn) net.Conn
	OnAuth func(Login) error
	OnMail func() error
	OnRcpt func(to string) error
	OnData func(c *smtp.Conn, m Mail) error

	mu      sync.Mutex
	got     []Mail
	logins  []Login
	dialled []time.Time
}

// Mail is a mail that a server has read.
type Mail struct {
	From, To string // of the envelope
	UTF8     bool   // was asked for
	Raw      string
}

// Parse reads the mail.
func (m Mail) Parse(t testing.TB) *mail.Message {
	t.Helper()
	parsed, err := mail.ReadMessage(strings.NewReader(m.Raw))
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// Login is a password that a server was given.
type Login struct {
	Mechanism, Username, Password string
	Encrypted                     bool
}

// New returns a server that offers STARTTLS and takes any password and any mail.
func New() *Server {
	return &Server{Certs: []tls.Certificate{CA().Certify(time.Now().Add(100*365*24*time.Hour), Host, "localhost")}, Mechanisms: []string{"PLAIN", "LOGIN"}}
}

// Mails returns what the server has accepted or read.
func (s *Server) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// Logins returns the passwords that the server was given.
func (s *Server) Logins() []Login {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.logins)
}

// Dials returns when the server was dialled.
func (s *Server) Dials() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.dialled)
}

func (s *Server) dial() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialled = append(s.dialled, time.Now())
}

// Refused is the error of dialling where nobody listens.
func Refused() error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
}

// DialContext connects to the server in memory, whatever the address.
func (s *Server) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	s.dial()
	if s.OnDial != nil {
		if err := s.OnDial(ctx); err != nil {
			return nil, err
		}
	}
	client, conn := net.Pipe()
	s.serve(buffer(conn))
	return client, nil
}

// Listen makes the server listen on an address of this machine, as in 127.0.0.1:0,
// until stop is called or the test ends. It returns the port.
func (s *Server) Listen(t testing.TB, address string) (port int, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	stop = func() { _ = l.Close() } // a second time does no harm
	t.Cleanup(stop)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.dial()
			s.serve(c)
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, stop
}

// serve talks to one client. Each connection has a server of its own, which ends with
// it.
func (s *Server) serve(conn net.Conn) {
	if s.OnConn != nil {
		conn = s.OnConn(conn)
	}
	srv := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &session{server: s, conn: c}, nil }))
	srv.Domain, srv.EnableSMTPUTF8, srv.ErrorLog = Host, s.UTF8, log.New(io.Discard, "", 0)
	if len(s.Certs) > 0 {
		srv.TLSConfig = &tls.Config{Certificates: s.Certs, MinVersion: tls.VersionTLS12}
	}
	if s.Implicit {
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

// session is the server's side of a connection.
type session struct {
	server *Server
	conn   *smtp.Conn
	m      Mail
}

func (s *session) Reset()        { s.m = Mail{} }
func (s *session) Logout() error { return nil }

func (s *session) Mail(from string, o *smtp.MailOptions) error {
	s.m.From, s.m.UTF8 = from, o.UTF8
	if f := s.server.OnMail; f != nil {
		return f()
	}
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.m.To = to
	if f := s.server.OnRcpt; f != nil {
		return f(to)
	}
	return nil
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.m.Raw = string(raw)
	s.server.mu.Lock()
	s.server.got = append(s.server.got, s.m)
	s.server.mu.Unlock()
	if f := s.server.OnData; f != nil {
		return f(s.conn, s.m)
	}
	return nil
}

func (s *session) AuthMechanisms() []string { return s.server.Mechanisms }

func (s *session) Auth(mechanism string) (sasl.Server, error) {
	check := func(name, pass string) error {
		_, encrypted := s.conn.TLSConnectionState()
		l := Login{mechanism, name, pass, encrypted}
		s.server.mu.Lock()
		s.server.logins = append(s.server.logins, l)
		s.server.mu.Unlock()
		if f := s.server.OnAuth; f != nil {
			return f(l)
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

// Says is an answer with a code of its own.
func Says(code int, words string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.NoEnhancedCode, Message: words}
}

// Authority issues certificates.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority returns another authority than [CA].
func NewAuthority(name string) *Authority {
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
	return &Authority{cert, key}
}

// CA is the authority that tests trust.
var CA = sync.OnceValue(func() *Authority { return NewAuthority("Test CA") })

// Certify returns a certificate for hosts that is valid until then.
func (a *Authority) Certify(until time.Time, hosts ...string) tls.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: hosts, NotBefore: time.Unix(0, 0), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &a.key.PublicKey, a.key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

// Pool returns a pool that has only this authority in it.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// PEM returns the authority as people put it into a file.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
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
