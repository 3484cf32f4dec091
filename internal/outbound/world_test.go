package outbound

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/dnstest"
	"github.com/switchhook/switchhook/internal/hook"
)

// authority certifies servers.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key = a.sign(template, nil, nil)
	return a
}

func (a *authority) sign(template, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// certify returns a certificate for a name that is valid from one instant to
// another.
func (a *authority) certify(name string, from, to time.Time) tls.Certificate {
	a.t.Helper()
	cert, key := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.cert, a.key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// serveTLS serves h with the TLS settings and returns the port.
func serveTLS(t *testing.T, c *tls.Config, h http.Handler) (port string) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = c
	s.Config.ErrorLog = quietLog()
	s.StartTLS()
	t.Cleanup(s.Close)
	return portOf(t, s.Listener.Addr())
}

func serve(t *testing.T, h http.HandlerFunc) (port string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return portOf(t, s.Listener.Addr())
}

func portOf(t *testing.T, a net.Addr) string {
	t.Helper()
	_, port, err := net.SplitHostPort(a.String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// answer serves raw connections: f gets each after its request was read.
func answer(t *testing.T, f func(net.Conn)) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = c.Read(make([]byte, 64<<10))
				f(c)
			}()
		}
	}()
	return portOf(t, l.Addr())
}

const testSecret = "a-secret-token-for-tests"

// newClient returns a client that may call this machine and no other private
// address. Its limits are long, so that a busy machine does not change outcomes.
func newClient(t *testing.T, edit ...func(*Config)) *Client {
	t.Helper()
	c := Config{
		Policy: hook.EndpointPolicy{HTTP: true, Allowed: hook.Loopback()}, Resolver: dnstest.Resolver(t),
		UserAgent: "Switchhook/test", ConnectTimeout: time.Minute, AnswerTimeout: time.Minute,
	}
	for _, f := range edit {
		f(&c)
	}
	cl := New(c)
	t.Cleanup(cl.Close)
	return cl
}

var testMessage = Message{Delivery: hook.DeliveryID{Event: 0x0193a4f2b7c00001, Subscription: 0x7f3e9c2d11aa0b52}, Span: 0xabc, Body: []byte(`{"event":"e"}`)}

// send makes one attempt at a URL.
func send(t *testing.T, c *Client, url string, auth ...hook.Auth) Result {
	t.Helper()
	s := &hook.Subscription{ID: "s", Endpoint: hook.Endpoint{URL: url}}
	if len(auth) > 0 {
		s.Auth = auth[0]
	}
	return c.Send(t.Context(), c.Endpoint(s, &hook.App{ClientID: "client-id", SecretToken: testSecret}), testMessage)
}

// age makes all kept connections older.
func (p *pool) age(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range p.hosts {
		for _, c := range list {
			c.since = c.since.Add(-d)
		}
	}
}
