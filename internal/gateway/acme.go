package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// ACMEConfig says for which names an authority is to issue certificates.
type ACMEConfig struct {
	// Domains are the names, which lead to this gateway's port 443.
	Domains []string
	// Email is where the authority may write to. It may be empty.
	Email string
	// Cache is a directory for the account and the certificates. Without it each start
	// would ask for new ones, and authorities limit how many there are.
	Cache string
	// Directory is the authority's URL. Empty: that of Let's Encrypt.
	Directory string
	// CAs may certify the authority's own server. nil: those of the system.
	CAs *x509.CertPool
	Log *slog.Logger
}

// ACME has certificates issued by an authority and renewed before they end. The names
// are proven on the port that webhooks are received on (TLS-ALPN-01), so no other has
// to be open.
type ACME struct {
	config  ACMEConfig
	manager *autocert.Manager
}

// NewACME returns an ACME. Whoever calls it agrees to the authority's terms of service.
func NewACME(c ACMEConfig) (*ACME, error) {
	for _, d := range c.Domains {
		if strings.ContainsAny(d, "*/: ") || !strings.Contains(d, ".") || d != strings.ToLower(d) {
			return nil, fmt.Errorf("%q is not a host name that a certificate can be issued for, as in hooks.example.com", d)
		}
	}
	if c.Cache == "" {
		return nil, errors.New("certificates need a directory to be kept in")
	}
	client := &acme.Client{DirectoryURL: c.Directory, UserAgent: "switchhook"}
	if c.CAs != nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.TLSClientConfig = &tls.Config{RootCAs: c.CAs, MinVersion: tls.VersionTLS12}
		client.HTTPClient = &http.Client{Transport: t, Timeout: time.Minute}
	}
	return &ACME{c, &autocert.Manager{
		Prompt: autocert.AcceptTOS, HostPolicy: autocert.HostWhitelist(c.Domains...), Cache: autocert.DirCache(c.Cache), Email: c.Email, Client: client,
	}}, nil
}

// TLS returns a configuration that uses the certificates.
func (a *ACME) TLS() *tls.Config {
	c := a.manager.TLSConfig()
	c.MinVersion = tls.VersionTLS12
	return c
}

// acmeAgain is how long to wait after an authority has refused: they limit failures.
const acmeAgain = 10 * time.Minute

// Run gets the certificates that are not there yet, so that no sender has to wait for
// one. The gateway has to serve by then, for the authority calls it.
func (a *ACME) Run(ctx context.Context) {
	if err := os.MkdirAll(a.config.Cache, 0o700); err != nil {
		a.config.Log.Error("certificates cannot be kept; each start has new ones issued, and authorities limit how many", "err", err)
	}
	for _, domain := range a.config.Domains {
		for ctx.Err() == nil {
			c, err := a.manager.GetCertificate(&tls.ClientHelloInfo{ServerName: domain, SupportedProtos: []string{"h2", "http/1.1"}, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}})
			if err == nil {
				a.config.Log.Info("there is a certificate", "domain", domain, "until", c.Leaf.NotAfter)
				break
			}
			a.config.Log.Error("no certificate is issued; it is tried again", "domain", domain, "after", acmeAgain, "err", err)
			t := time.NewTimer(acmeAgain)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
			}
		}
	}
}
