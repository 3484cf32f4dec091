package outbound

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

func quietLog() *log.Logger { return log.New(io.Discard, "", 0) }

func ok(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

// Every outcome that an attempt at an endpoint can have, from the condition that
// causes it in life.
func TestOutcomes(t *testing.T) {
	ca := newAuthority(t)
	stranger := newAuthority(t)
	hour := time.Hour
	now := time.Now()
	good := ca.certify("hooks.test", now.Add(-hour), now.Add(hour))
	tlsPort := func(cert tls.Certificate, edit ...func(*tls.Config)) string {
		c := &tls.Config{Certificates: []tls.Certificate{cert}}
		for _, f := range edit {
			f(c)
		}
		return serveTLS(t, c, http.HandlerFunc(ok))
	}
	status := func(code int) string {
		return serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Location", "https://elsewhere.example.com/")
			w.WriteHeader(code)
		})
	}
	refused := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return portOf(t, c.LocalAddr()) // which nobody listens on, nor can until it is closed
	}
	reset := func(c net.Conn) {
		_ = c.(*net.TCPConn).SetLinger(0)
	}

	for name, c := range map[string]struct {
		url    string
		want   hook.Outcome
		detail string // a part of it
	}{
		"200":                      {"http://hooks.test:" + status(200), 200, ""},
		"204":                      {"http://hooks.test:" + status(204), 204, ""},
		"204 over TLS":             {"https://hooks.test:" + tlsPort(good), 204, ""},
		"a redirect, not followed": {"http://hooks.test:" + status(302), 302, ""},
		"404":                      {"http://hooks.test:" + status(404), 404, ""},
		"503":                      {"http://hooks.test:" + status(503), 503, ""},

		"refused": {"http://hooks.test:" + refused(), hook.ConnectionRefused, "refused"},

		"private address":             {"http://10-0-0-1.test/", hook.DNSForbidden, "may not be called"},
		"link-local, cloud metadata":  {"http://169-254-169-254.test/", hook.DNSForbidden, "may not be called"},
		"carrier-grade NAT":           {"http://100-64-0-1.test/", hook.DNSForbidden, ""},
		"multicast":                   {"http://224-0-0-1.test/", hook.DNSForbidden, ""},
		"unspecified":                 {"http://0-0-0-0.test/", hook.DNSForbidden, ""},
		"documentation":               {"http://192-0-2-1.test/", hook.DNSForbidden, ""},
		"the host of a cloud machine": {"http://168-63-129-16.test/", hook.DNSForbidden, ""},
		"NAT64 of a private address":  {"http://x64-ff9b--a00-1.test/", hook.DNSForbidden, ""},
		"unique local IPv6":           {"http://xfd00--1.test/", hook.DNSForbidden, ""},

		"reset instead of an answer":  {"http://hooks.test:" + answer(t, reset), hook.RemoteError, "reset"},
		"closed instead of an answer": {"http://hooks.test:" + answer(t, func(net.Conn) {}), hook.RemoteError, "closed before"},
		"reset in the middle of the answer": {"http://hooks.test:" + answer(t, func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
			time.Sleep(50 * time.Millisecond)
			reset(c)
		}), hook.RemoteError, "reset"},
		"an answer cut short": {"http://hooks.test:" + answer(t, func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
		}), hook.RemoteError, "closed before"},
		"no HTTP": {"http://hooks.test:" + answer(t, func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH\r\n") }), hook.RemoteError, "not proper HTTP"},
		"endless headers": {"http://hooks.test:" + answer(t, func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for range 2000 {
				if _, err := fmt.Fprintf(c, "X-Filler: %s\r\n", strings.Repeat("x", 100)); err != nil {
					return
				}
			}
		}), hook.RemoteError, "not proper HTTP"},

		"expired certificate":         {"https://hooks.test:" + tlsPort(ca.certify("hooks.test", now.Add(-2*hour), now.Add(-hour))), hook.CertificateError, "expired"},
		"certificate of tomorrow":     {"https://hooks.test:" + tlsPort(ca.certify("hooks.test", now.Add(hour), now.Add(2*hour))), hook.CertificateError, "not valid yet"},
		"unknown authority":           {"https://hooks.test:" + tlsPort(stranger.certify("hooks.test", now.Add(-hour), now.Add(hour))), hook.CertificateError, "unknown authority"},
		"certificate of another name": {"https://hooks.test:" + tlsPort(ca.certify("other.test", now.Add(-hour), now.Add(hour))), hook.HostnameMismatch, "not for hooks.test"},
		"TLS 1.1 only":                {"https://hooks.test:" + tlsPort(good, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11 }), hook.TLSError, "TLS"},
		"no TLS on the port":          {"https://hooks.test:" + status(200), hook.TLSError, "does not speak TLS"},
		"a certificate is asked of us": {"https://hooks.test:" + tlsPort(good, func(c *tls.Config) {
			c.ClientAuth, c.MaxVersion = tls.RequireAndVerifyClientCert, tls.VersionTLS12
		}), hook.TLSError, "TLS"},

		"no such name":   {"http://missing.test/", hook.DNSResolveTimeout, "does not exist"},
		"resolver fails": {"http://broken.test/", hook.DNSResolveTimeout, "resolver failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := newClient(t, func(c *Config) { c.CAs = ca.pool() })
			r := send(t, cl, c.url)
			if r.Outcome != c.want || !strings.Contains(r.Detail, c.detail) {
				t.Errorf("outcome %v (%s), want %v (%s)", r.Outcome, r.Detail, c.want, c.detail)
			}
			if r.Outcome < 0 && r.Detail == "" {
				t.Error("no word on why")
			}
			if r.Timing.Done <= 0 || r.Started.IsZero() {
				t.Errorf("timing %+v, started %v", r.Timing, r.Started)
			}
		})
	}
}

// The two limits, in fake time: what takes longer than it may ends at that instant.
func TestLimits(t *testing.T) {
	hang := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	after := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			in := bufio.NewReader(c)
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(c, text)
			hang(c)
		}
	}
	for name, c := range map[string]struct {
		url    string
		server func(net.Conn) // nil: it cannot even be reached
		want   hook.Outcome
		detail string
		took   time.Duration
	}{
		"dialling":           {"http://hooks.test/", nil, hook.TimeLimiter, "no connection within 5s", 5 * time.Second},
		"TLS handshake":      {"https://hooks.test/", hang, hook.TimeLimiter, "no TLS handshake within 5s", 5 * time.Second},
		"answer":             {"http://hooks.test/", hang, hook.ReadTimeOut, "no answer within 3s", 3 * time.Second},
		"rest of the header": {"http://hooks.test/", after("HTTP/1.1 200 OK\r\nX-Slow: "), hook.ReadTimeOut, "no complete answer within 3s", 3 * time.Second},
		"rest of the body":   {"http://hooks.test/", after("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), hook.ReadTimeOut, "no complete answer within 3s", 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cl := New(Config{Policy: hook.EndpointPolicy{HTTP: true}, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					trace := httptrace.ContextClientTrace(ctx)
					if c.server == nil {
						<-ctx.Done() // what the kernel does for minutes
						return nil, ctx.Err()
					}
					ours, theirs := net.Pipe()
					go func() {
						defer theirs.Close()
						c.server(theirs)
					}()
					trace.ConnectDone("tcp", "", nil)
					return ours, nil
				}})
				r := send(t, cl, c.url)
				if r.Outcome != c.want || !strings.Contains(r.Detail, c.detail) || r.Timing.Done != c.took {
					t.Errorf("%v (%s) after %v, want %v after %v", r.Outcome, r.Detail, r.Timing.Done, c.want, c.took)
				}
				cl.Close()
				time.Sleep(time.Minute) // so that what net/http goes on with ends
			})
		})
	}
}

// The same for a resolver that does not answer, on a real clock.
func TestResolverIsSilent(t *testing.T) {
	c := newClient(t, func(c *Config) { c.ConnectTimeout = 500 * time.Millisecond })
	r := send(t, c, "http://silent.test/")
	if r.Outcome != hook.DNSResolveTimeout || !strings.Contains(r.Detail, "not resolved within 500ms") {
		t.Errorf("%v (%s)", r.Outcome, r.Detail)
	}
}

// While all connections are taken, another attempt ends with NeedInstantRetry, and
// goes through once there is room.
func TestNoConnectionSlot(t *testing.T) {
	release := make(chan struct{})
	busy := answer(t, func(c net.Conn) {
		<-release
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
	})
	free := serve(t, ok)
	c := newClient(t, func(c *Config) {
		c.MaxConnections = 1
	})
	first := make(chan Result)
	go func() { first <- send(t, c, "http://hooks.test:"+busy) }()
	for len(c.slots) == 0 {
		time.Sleep(time.Millisecond)
	}
	if r := send(t, c, "http://hooks.test:"+free); r.Outcome != hook.NeedInstantRetry {
		t.Errorf("with no slot: %v (%s)", r.Outcome, r.Detail)
	}
	close(release)
	if r := <-first; r.Outcome != 204 {
		t.Errorf("the one that had the slot: %v (%s)", r.Outcome, r.Detail)
	}
	if r := send(t, c, "http://hooks.test:"+free); r.Outcome != 204 {
		t.Errorf("with a slot: %v (%s)", r.Outcome, r.Detail)
	}
}

// Settings that cannot be decrypted, and a secret that cannot, end attempts before
// they begin.
func TestUnreadableSecrets(t *testing.T) {
	c := newClient(t)
	s := &hook.Subscription{Endpoint: hook.Endpoint{URL: "http://hooks.test/"}, Auth: hook.Auth{Mode: hook.AuthBasic, Unreadable: true}}
	if r := c.Send(t.Context(), c.Endpoint(s, &hook.App{SecretToken: testSecret}), testMessage); r.Outcome != hook.CannotGetCustomHeader {
		t.Errorf("settings: %v (%s)", r.Outcome, r.Detail)
	}
	if r := c.Send(t.Context(), c.Endpoint(&hook.Subscription{Endpoint: hook.Endpoint{URL: "http://hooks.test/"}}, &hook.App{}), testMessage); r.Outcome != hook.AsyncError {
		t.Errorf("secret token: %v (%s)", r.Outcome, r.Detail)
	}
}

// An attempt whose worker has to go is handed on.
func TestCutOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	port := answer(t, func(net.Conn) {
		cancel()
		time.Sleep(100 * time.Millisecond)
	})
	c := newClient(t)
	e := c.Endpoint(&hook.Subscription{Endpoint: hook.Endpoint{URL: "http://hooks.test:" + port}}, &hook.App{SecretToken: testSecret})
	if r := c.Send(ctx, e, testMessage); r.Outcome != hook.Delegate {
		t.Errorf("%v (%s)", r.Outcome, r.Detail)
	}
}

// An endpoint that closed a kept connection just when the next request was sent is
// given the request again on a new one, which is no attempt of its own.
func TestKeptConnectionThatWasClosed(t *testing.T) {
	var connections atomic.Int32
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
			first := connections.Add(1) == 1
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
					if first { // wait until the next request is here, then hang up
						_, _ = in.Peek(1)
						return
					}
				}
			}()
		}
	}()
	c := newClient(t)
	url := "http://hooks.test:" + portOf(t, l.Addr())
	for i := range 2 {
		if r := send(t, c, url); r.Outcome != 204 {
			t.Errorf("attempt %d: %v (%s)", i, r.Outcome, r.Detail)
		}
	}
	if n := connections.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// What a server says into the silence is not the answer to the next request.
func TestUnsolicitedAnswer(t *testing.T) {
	ca := newAuthority(t)
	now := time.Now()
	config := &tls.Config{Certificates: []tls.Certificate{ca.certify("hooks.test", now.Add(-time.Hour), now.Add(time.Hour))}}
	for name, c := range map[string]struct {
		scheme string
		listen func(net.Listener) net.Listener
	}{
		"plain": {"http", func(l net.Listener) net.Listener { return l }},
		"TLS":   {"https", func(l net.Listener) net.Listener { return tls.NewListener(l, config) }},
	} {
		t.Run(name, func(t *testing.T) {
			plain, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			l := c.listen(plain)
			t.Cleanup(func() { _ = l.Close() })
			said := make(chan struct{}, 10)
			go func() {
				for {
					cn, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						defer cn.Close()
						in := bufio.NewReader(cn)
						r, err := http.ReadRequest(in)
						if err != nil {
							return
						}
						_, _ = io.Copy(io.Discard, r.Body)
						_, _ = io.WriteString(cn, "HTTP/1.1 204 No Content\r\n\r\n")
						time.Sleep(10 * time.Millisecond) // it waits no longer
						_, _ = io.WriteString(cn, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
						said <- struct{}{}
						_, _ = in.Peek(1)
					}()
				}
			}()
			cl := newClient(t, func(c *Config) { c.CAs = ca.pool() })
			url := c.scheme + "://hooks.test:" + portOf(t, plain.Addr())
			for range 2 {
				if r := send(t, cl, url); r.Outcome != 204 {
					t.Errorf("%v (%s)", r.Outcome, r.Detail)
				}
				<-said
				cl.pool.age(time.Minute)
			}
		})
	}
}

// Connections that nobody uses are closed after a while, and none is left behind.
func TestIdleConnectionsAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open atomic.Int32
		cl := New(Config{Policy: hook.EndpointPolicy{HTTP: true}, DialContext: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			open.Add(1)
			go func() {
				defer open.Add(-1)
				in := bufio.NewReader(theirs)
				for {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = io.WriteString(theirs, "HTTP/1.1 204 No Content\r\n\r\n")
				}
			}()
			return ours, nil
		}})
		for range 10 {
			send(t, cl, "http://a.test/")
			send(t, cl, "http://b.test/")
			time.Sleep(10 * time.Second)
		}
		if n := open.Load(); n != 2 {
			t.Errorf("%d connections are open, want 2", n)
		}
		time.Sleep(time.Minute)
		if n := open.Load(); n != 0 || len(cl.slots) != 0 {
			t.Errorf("%d connections are left, %d slots taken", n, len(cl.slots))
		}
	})
}
