package challenge_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/challenge"
	"github.com/switchhook/switchhook/internal/dnstest"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/webhook"
)

const (
	testSecret  = "a-secret-token-for-tests"
	otherSecret = "the-secret-token-of-another-app"
)

// prober returns a real one that may call this machine, and no other private
// address. Its limits are long, so that a busy machine does not change results.
func prober(t *testing.T, edit ...func(*outbound.Config)) *challenge.Prober {
	t.Helper()
	c := outbound.Config{
		Policy: hook.EndpointPolicy{HTTP: true, Allowed: hook.Loopback()}, Resolver: dnstest.Resolver(t),
		UserAgent: "Switchhook/test", ConnectTimeout: time.Minute, AnswerTimeout: time.Minute,
	}
	for _, f := range edit {
		f(&c)
	}
	client := outbound.New(c)
	t.Cleanup(client.Close)
	return &challenge.Prober{Client: client, IDs: hook.NewIDs(0, 0)}
}

// serve serves h and returns the port.
func serve(t *testing.T, h http.Handler) (port string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return portOf(t, s.Listener.Addr())
}

// serveTLS serves h as example.com and returns the port, and who certifies it.
func serveTLS(t *testing.T, h http.Handler, config *tls.Config) (port string, ca *x509.CertPool) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = config
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	ca = x509.NewCertPool()
	ca.AddCert(s.Certificate())
	return portOf(t, s.Listener.Addr()), ca
}

func portOf(t *testing.T, a net.Addr) string {
	t.Helper()
	_, port, err := net.SplitHostPort(a.String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// receiver is an endpoint that a subscriber made with package webhook.
func receiver(t testing.TB, secrets ...string) http.Handler {
	t.Helper()
	r, err := webhook.New(webhook.Config{Secrets: secrets})
	if err != nil {
		t.Fatal(err)
	}
	return r.Handler(func(context.Context, *webhook.Event) error {
		t.Error("a challenge reached the function that is for events")
		return nil
	})
}

// subscription returns one to the URL, with the app that it is of.
func subscription(url string, auth hook.Auth) (*hook.Subscription, *hook.App) {
	return &hook.Subscription{ID: "s", Key: 0x7f3e9c2d11aa0b52, Endpoint: hook.Endpoint{URL: url}, Auth: auth},
		&hook.App{ID: "a", ClientID: "client-id", SecretToken: testSecret}
}

// prove sends a challenge, and checks what holds for all of them.
func prove(t *testing.T, p *challenge.Prober, url string, auth hook.Auth) challenge.Result {
	t.Helper()
	s, a := subscription(url, auth)
	r := p.Prove(t.Context(), s.URL, s, a)
	checkResult(t, r, auth)
	return r
}

func checkResult(t *testing.T, r challenge.Result, auth hook.Auth) {
	t.Helper()
	if r.OK != (r.Reason == "") {
		t.Errorf("OK is %v, and the reason %q", r.OK, r.Reason)
	}
	if strings.ContainsAny(r.Reason, "\r\n") {
		t.Errorf("the reason is more than a line: %q", r.Reason)
	}
	for _, secret := range []hook.Secret{testSecret, otherSecret, auth.Password, auth.ClientSecret, auth.Value} {
		if secret != "" && strings.Contains(r.Reason, secret.Reveal()) {
			t.Errorf("the reason tells a secret: %q", r.Reason)
		}
	}
}
