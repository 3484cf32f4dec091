package gateway_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"

	"github.com/switchhook/switchhook/internal/dnstest"
	"github.com/switchhook/switchhook/internal/freeport"
	"github.com/switchhook/switchhook/internal/gateway"
)

// letsEncrypt starts an authority that proves names on a port, as its makers test
// clients with. It returns its directory, what certifies it, and what it certifies with.
func letsEncrypt(t *testing.T, port int) (directory string, cas, roots *x509.CertPool) {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	quiet := stdlog.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	authority := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {Description: "the only one"}})
	prover := va.New(quiet, 1, port, true, dnstest.Server(t), store)
	front := wfe.New(quiet, store, prover, authority, []string{"authority.test"}, true, false, 0, 0)
	server := httptest.NewTLSServer(front.Handler())
	t.Cleanup(server.Close)
	cas, roots = x509.NewCertPool(), x509.NewCertPool()
	cas.AddCert(server.Certificate())
	roots.AddCert(authority.GetRootCert(0).Cert)
	return server.URL + wfe.DirectoryPath, cas, roots
}

// A gateway that is only told its name has a certificate when it is first asked for
// one, keeps it across a restart, and gets none for other names.
func TestACME(t *testing.T) {
	ports, err := freeport.Take(1)
	must(t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", ports[0])
	l, err := net.Listen("tcp", addr)
	must(t, err)
	directory, cas, roots := letsEncrypt(t, l.Addr().(*net.TCPAddr).Port)
	cache := filepath.Join(t.TempDir(), "acme")
	var serial string
	for _, restarted := range []bool{false, true} {
		w := open(t, gateway.Config{})
		c := gateway.ACMEConfig{Domains: []string{"hooks.gateway.test"}, Email: "ops@gateway.test", Cache: cache, Directory: directory, CAs: cas, Log: slog.New(slog.NewTextHandler(w.log, nil))}
		if restarted {
			c.Directory = "https://127.0.0.1:1/nobody"
			l, err = net.Listen("tcp", addr)
			must(t, err)
		}
		a, err := gateway.NewACME(c)
		must(t, err)
		stop := w.serve(l, a.TLS())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		a.Run(ctx)
		cancel()
		if !strings.Contains(w.log.String(), "there is a certificate") {
			t.Fatal("no certificate is issued")
		}
		conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, ServerName: "hooks.gateway.test", NextProtos: []string{"http/1.1"}})
		must(t, err)
		if s := exchange(conn, 1); s != http.StatusNoContent {
			t.Errorf("status %d", s)
		}
		own := conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
		if restarted && own != serial {
			t.Error("a restart has had another certificate issued")
		}
		serial = own
		_ = conn.Close()
		if _, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, ServerName: "other.gateway.test"}); err == nil { //nolint:noctx // nothing to end
			t.Error("another name has a certificate")
		}
		stop()
	}
	entries, err := os.ReadDir(cache)
	must(t, err)
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s can be read by others: %v %v", e.Name(), info.Mode(), err)
		}
	}
}

// An authority that does not issue is asked again later, and its reason is logged.
func TestACMERefused(t *testing.T) {
	w := open(t, gateway.Config{})
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	cas := x509.NewCertPool()
	cas.AddCert(server.Certificate())
	a, err := gateway.NewACME(gateway.ACMEConfig{Domains: []string{"hooks.gateway.test"}, Cache: t.TempDir(), Directory: server.URL, CAs: cas, Log: slog.New(slog.NewTextHandler(w.log, nil))})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { a.Run(ctx) })
	for end := time.Now().Add(time.Minute); !strings.Contains(w.log.String(), "no certificate is issued"); time.Sleep(time.Millisecond) { // a real server, so real time
		if time.Now().After(end) {
			t.Fatal("the log does not tell")
		}
	}
	cancel()
	wg.Wait()
}

func TestACMENames(t *testing.T) {
	for _, name := range []string{"", "localhost", "*.example.com", "https://example.com", "example.com:443", "Example.com", "exa mple.com"} {
		if _, err := gateway.NewACME(gateway.ACMEConfig{Domains: []string{name}, Cache: t.TempDir()}); err == nil {
			t.Errorf("%q is a host name", name)
		}
	}
	if _, err := gateway.NewACME(gateway.ACMEConfig{Domains: []string{"example.com"}}); err == nil {
		t.Error("no directory is needed")
	}
}
