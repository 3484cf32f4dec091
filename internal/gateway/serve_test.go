package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/switchhook/switchhook/internal/gateway"
	"github.com/switchhook/switchhook/internal/inbox"
)

// pipes is a listener in memory, so that time can be faked.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return address("pipes") }

type address string

func (a address) Network() string { return "pipe" }
func (a address) String() string  { return string(a) }

// from is a connection that comes from an address.
type from struct {
	net.Conn
	addr string
}

func (f from) RemoteAddr() net.Addr { return address(f.addr) }

// dial connects from an address.
func (p *pipes) dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	select {
	case p.conns <- from{server, addr}:
	case <-p.closed:
		t.Fatal("nobody listens any more")
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// serve serves the gateway until the test, or whoever calls what it returns, ends it.
func (w *world) serve(l net.Listener, c *tls.Config) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Serve(ctx, l, c) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil && !errors.Is(err, http.ErrServerClosed) {
				w.t.Error(err)
			}
		})
	}
	w.t.Cleanup(stop)
	return stop
}

// wire writes a signed request as it travels.
func wire(n int) []byte {
	r := request(secret, fmt.Sprint("r", n), event(n))
	var b bytes.Buffer
	_ = r.Write(&b)
	return b.Bytes()
}

// exchange sends an event and returns the status, or 0 if the connection was closed.
func exchange(c net.Conn, n int) int {
	if _, err := c.Write(wire(n)); err != nil {
		return 0
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// Clients that are slow on purpose, in any way, take as many connections as there may
// be and more: whoever sends his request comes through all the same.
func TestSlowLoris(t *testing.T) {
	for name, begin := range map[string]string{
		"they say nothing":           "",
		"they send half a header":    "POST " + path + " HTTP/1.1\r\nHost: x\r\nX-A: ",
		"they send a body by pieces": "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, gateway.Config{MaxConnections: 50, MaxPerAddress: 50})
			l, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			w.serve(l, nil)
			dial := func() net.Conn {
				c, err := net.Dial("tcp", l.Addr().String())
				must(t, err)
				t.Cleanup(func() { _ = c.Close() })
				must(t, c.SetDeadline(time.Now().Add(time.Minute))) // should it hang
				return c
			}
			kept := dial()
			if s := exchange(kept, 0); s != 204 {
				t.Fatal(s)
			}
			for range 200 {
				_, _ = dial().Write([]byte(begin))
			}
			for n := range 20 {
				if s := exchange(dial(), n+1); s != 204 {
					t.Errorf("request %d: %d", n, s)
				}
			}
			if n := len(w.stored()); n != 21 {
				t.Errorf("%d events are stored", n)
			}
		})
	}
}

// Clients that send large bodies and do not end them take all the memory that there is
// for bodies, and lose it to whoever sends his whole.
func TestSlowBodies(t *testing.T) {
	for name, begin := range map[string]string{
		"of a size": "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + strings.Repeat("x", 800_000),
		"in chunks": "POST " + path + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nC3500\r\n" + strings.Repeat("x", 800_000) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, gateway.Config{MaxReading: 8 << 20})
			l, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			w.serve(l, nil)
			dial := func() net.Conn {
				c, err := net.Dial("tcp", l.Addr().String())
				must(t, err)
				t.Cleanup(func() { _ = c.Close() })
				must(t, c.SetDeadline(time.Now().Add(time.Minute))) // should it hang
				return c
			}
			for n := range 20 {
				for range 5 {
					_, _ = io.WriteString(dial(), begin)
				}
				if s := exchange(dial(), n); s != 204 {
					t.Errorf("request %d: %d", n, s)
				}
			}
			if n := len(w.stored()); n != 20 {
				t.Errorf("%d events are stored", n)
			}
		})
	}
}

// A single address does not take all connections; a proxy, which brings many clients,
// may.
func TestConnectionsOfAnAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, gateway.Config{MaxConnections: 100, MaxPerAddress: 3, Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
		l := newPipes()
		stop := w.serve(l, nil)
		served := func(addr string) (n int) {
			var open []net.Conn
			for range 5 {
				c := l.dial(t, addr)
				open = append(open, c)
				if exchange(c, 1) == 204 {
					n++
				}
			}
			for _, c := range open {
				_ = c.Close()
			}
			synctest.Wait()
			return n
		}
		for addr, want := range map[string]int{
			"203.0.113.1:80": 3, "203.0.113.2:80": 3, "10.1.2.3:80": 5, "[2001:db8::1]:80": 3, "127.0.0.1:80": 5, "nonsense": 5,
		} {
			if n := served(addr); n != want {
				t.Errorf("of %s %d are served, want %d", addr, n, want)
			}
		}
		if n := served("203.0.113.1:80"); n != 3 {
			t.Errorf("those that were closed count still: %d are served", n)
		}
		// Of IPv6, what a customer has counts as one address.
		var ok int
		for i := range 5 {
			if exchange(l.dial(t, fmt.Sprintf("[2001:db8::%d]:80", i)), 1) == 204 {
				ok++
			}
		}
		if ok != 3 {
			t.Errorf("of a network of IPv6 %d are served, want 3", ok)
		}
		stop()
	})
}

// A client that is too slow loses its connection, in whatever part of the request.
func TestClientsThatAreTooSlow(t *testing.T) {
	for name, c := range map[string]struct {
		begin  string
		within time.Duration
	}{
		"nothing":        {"", 5 * time.Second},
		"half a header":  {"POST " + path + " HTTP/1.1\r\nHost: x\r\nX-A: ", 5 * time.Second},
		"half a body":    {"POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", 8 * time.Second},
		"no second one":  {string(wire(1)), 2*time.Minute + time.Second},
		"many headers":   {"POST " + path + " HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-A: b\r\n", 10_000), time.Second},
		"a large header": {"POST " + path + " HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("b", 100_000), time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := open(t, gateway.Config{})
				l := newPipes()
				stop := w.serve(l, nil)
				conn := l.dial(t, "203.0.113.1:80")
				go func() { _, _ = io.WriteString(conn, c.begin) }()
				start := time.Now()
				_, _ = io.Copy(io.Discard, conn)
				if took := time.Since(start); took > c.within {
					t.Errorf("the connection was closed after %v, want %v", took, c.within)
				}
				stop()
			})
		})
	}
}

// A gateway that is stopped answers what it has, and then nobody.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, gateway.Config{})
		l := newPipes()
		stop := w.serve(l, nil)
		idle := l.dial(t, "203.0.113.1:80")
		if s := exchange(idle, 0); s != 204 {
			t.Fatal(s)
		}
		// One that is under way when the gateway is stopped: its body is not all there.
		under := l.dial(t, "203.0.113.1:80")
		request := wire(1)
		_, err := under.Write(request[:len(request)-5])
		must(t, err)
		synctest.Wait()
		stopped := make(chan struct{})
		go func() {
			stop()
			close(stopped)
		}()
		synctest.Wait()
		_, err = under.Write(request[len(request)-5:])
		must(t, err)
		res, err := http.ReadResponse(bufio.NewReader(under), nil)
		must(t, err)
		_ = res.Body.Close()
		if res.StatusCode != 204 {
			t.Errorf("what was under way is answered with %d", res.StatusCode)
		}
		<-stopped
		if s := exchange(idle, 2); s != 0 {
			t.Errorf("an idle connection was answered with %d", s)
		}
		w.expect(0, 1)
	})
}

// A client that never ends does not keep the gateway from stopping.
func TestStopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, gateway.Config{StopTimeout: 2 * time.Second})
		l := newPipes()
		stop := w.serve(l, nil)
		c := l.dial(t, "203.0.113.1:80")
		_, err := c.Write(wire(1)[:100])
		must(t, err)
		synctest.Wait()
		start := time.Now()
		stop()
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("it stopped after %v", took)
		}
	})
}

// authority certifies test servers.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	a := &authority{key: key}
	der, err := x509.CreateCertificate(rand.Reader, template("ca", true), template("ca", true), key.Public(), key)
	must(t, err)
	a.cert, err = x509.ParseCertificate(der)
	must(t, err)
	return a
}

func template(name string, ca bool) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: ca, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
}

// issue writes a certificate for a name, and its key, into two files.
func (a *authority) issue(t testing.TB, name, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, template(name, false), a.cert, key.Public(), a.key)
	must(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600))
	must(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
}

// A certificate that is replaced is used from then on, without a restart; while its
// files do not fit each other, the one from before is.
func TestCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	ca := newAuthority(t)
	ca.issue(t, "first.test", certFile, keyFile)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(ca.cert.NotBefore.Add(time.Hour))) // bubbles begin in 2000
		w := open(t, gateway.Config{})
		c, err := gateway.LoadCertificate(certFile, keyFile, slog.New(slog.NewTextHandler(w.log, nil)))
		must(t, err)
		l := newPipes()
		stop := w.serve(l, c.TLS())
		roots := x509.NewCertPool()
		roots.AddCert(ca.cert)
		try := func(name string, version uint16) error {
			t.Helper()
			conn := tls.Client(l.dial(t, "203.0.113.1:80"), &tls.Config{RootCAs: roots, ServerName: name, MaxVersion: version, NextProtos: []string{"http/1.1"}})
			defer conn.Close()
			if err := conn.Handshake(); err != nil {
				return err
			}
			if s := exchange(conn, 1); s != 204 {
				return fmt.Errorf("status %d", s)
			}
			return nil
		}
		must(t, try("first.test", tls.VersionTLS13))
		must(t, try("first.test", tls.VersionTLS12))
		if err := try("first.test", tls.VersionTLS11); err == nil {
			t.Error("TLS 1.1 is accepted")
		}
		must(t, os.WriteFile(keyFile, []byte("half a key"), 0o600))
		time.Sleep(2 * time.Second)
		must(t, try("first.test", tls.VersionTLS13))
		must(t, try("first.test", tls.VersionTLS13))
		ca.issue(t, "second.test", certFile, keyFile)
		time.Sleep(2 * time.Second)
		must(t, try("second.test", tls.VersionTLS13))
		if err := try("first.test", tls.VersionTLS13); err == nil {
			t.Error("the old certificate is still in use")
		}
		if n := strings.Count(w.log.String(), "the certificate cannot be read anew"); n != 1 {
			t.Errorf("the log tells %d times that it could not be read", n)
		}
		stop()
	})
	if _, err := gateway.LoadCertificate(certFile, filepath.Join(dir, "none"), slog.Default()); err == nil {
		t.Error("a certificate without a key is loaded")
	}
}

// HTTP/2 works, and what is asked of clients holds for it as well.
func TestHTTP2(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	ca := newAuthority(t)
	ca.issue(t, "gateway.test", certFile, keyFile)
	w := open(t, gateway.Config{MaxConnections: 2})
	c, err := gateway.LoadCertificate(certFile, keyFile, slog.Default())
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	w.serve(l, c.TLS())
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "gateway.test"}}}
	defer client.CloseIdleConnections()
	send := func(n int) {
		r := request(secret, fmt.Sprint("r", n), event(n))
		r.RequestURI = ""
		r.URL.Scheme, r.URL.Host = "https", l.Addr().String()
		res, err := client.Do(r)
		if err != nil {
			t.Error(err)
			return
		}
		_ = res.Body.Close()
		if res.StatusCode != 204 || res.ProtoMajor != 2 {
			t.Errorf("%s %s", res.Proto, res.Status)
		}
	}
	send(0) // over the one connection that the others share
	var wg sync.WaitGroup
	for n := range 49 {
		wg.Go(func() { send(n + 1) })
	}
	wg.Wait()
	if n := len(w.stored()); n != 50 {
		t.Errorf("%d are stored", n)
	}
}

// Health tells what wants somebody to look, readiness whether requests are to be sent
// here, and the numbers agree with them.
func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		numbers := prometheus.NewRegistry()
		w := open(t, gateway.Config{Metrics: numbers})
		var forwarders []inbox.Progress
		admin := w.Admin(numbers, func() []inbox.Progress { return forwarders })
		get := func(path string) (int, string) {
			rec := httptest.NewRecorder()
			admin.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
			return rec.Code, rec.Body.String()
		}
		health := func() (h gateway.Health) {
			t.Helper()
			code, text := get("/healthz")
			if err := json.Unmarshal([]byte(text), &h); code != 200 || err != nil {
				t.Fatalf("%d %s %v", code, text, err)
			}
			return h
		}
		ready := func() bool {
			code, _ := get("/readyz")
			return code == 200
		}
		w.send(secret, "1", event(1))
		w.send(secret, "1", event(1))
		if h := health(); h.Status != "ok" || !h.Ready || !ready() || h.Inbox.Last != 1 || len(h.Alarms) != 0 {
			t.Errorf("%+v", h)
		}
		w.send(otherSecret, "2", event(2))
		forwarders = []inbox.Progress{
			{Forwarder: "new", Position: 1, Failure: inbox.Failure{Tries: 1, Since: time.Now(), Reason: "down"}},
			{Forwarder: "old", Failure: inbox.Failure{Tries: 9, Since: time.Now().Add(-time.Hour), Reason: "long down"}},
		}
		must(t, w.inbox.Bury(t.Context(), inbox.DeadLetter{Forwarder: "old", Event: 1}))
		h := health()
		want := []string{
			"1 request to source zoom is in the quarantine, the last for this: bad signature: it was made with another secret, or the body was changed on its way", "1 event is a dead letter",
			"forwarder old has been failing since 1999-12-31T23:00:00Z: long down",
		}
		if h.Status != "alarm" || !slices.Equal(h.Alarms, want) || h.Quarantine["zoom"] != 1 || !ready() || h.Forwarders[1].Behind != 1 {
			t.Errorf("%+v", h)
		}
		_, text := get("/metrics")
		for _, line := range []string{
			`switchhook_receive_requests_total{outcome="stored",source="zoom"} 1`, `switchhook_receive_requests_total{outcome="duplicate",source="zoom"} 1`,
			`switchhook_receive_requests_total{outcome="quarantined",source="zoom"} 1`, `switchhook_quarantine_requests{source="zoom"} 1`,
			`switchhook_quarantine_requests_total{result="kept",source="zoom"} 1`, `switchhook_inbox_last_event 1`, `switchhook_inbox_dead_letters 1`,
			`switchhook_inbox_writable 1`, `switchhook_receive_seconds_count{source="zoom"} 3`,
		} {
			if !strings.Contains(text, line+"\n") {
				t.Errorf("%s is not among the numbers:\n%s", line, text)
			}
		}
		must(t, w.Use([]gateway.Source{zoom(func(s *gateway.Source) { s.Secrets = []string{otherSecret} })}))
		w.recheck(false)
		if _, text := get("/metrics"); strings.Contains(text, "switchhook_quarantine_requests{") {
			t.Error("what has left the quarantine is among the numbers")
		}
		w.Stop()
		if h := health(); h.Ready || ready() {
			t.Errorf("it stops and is ready: %+v", h)
		}
	})
}

// A gateway that cannot write says that it is not ready.
func TestNotReady(t *testing.T) {
	w := open(t, gateway.Config{})
	w.answer(locked(w))
	h, err := w.Health(t.Context(), nil)
	if err != nil || h.Ready || h.Inbox.Writable || h.Status != "alarm" {
		t.Errorf("%+v %v", h, err)
	}
}
