package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/pflag"

	"github.com/switchhook/switchhook/internal/gateway"
)

// acmeFlags say how certificates are had from an authority.
type acmeFlags struct {
	domains                     []string
	email, cache, directory, ca string
}

func (f *acmeFlags) add(fl *pflag.FlagSet) {
	fl.StringSliceVar(&f.domains, "acme-domain", nil, "host name to have a certificate issued for, by which you agree to the authority's terms; it leads to --listen on port 443")
	fl.StringVar(&f.email, "acme-email", "", "address that the authority may write to")
	fl.StringVar(&f.cache, "acme-cache", "acme", "directory for the account and the certificates")
	fl.StringVar(&f.directory, "acme-directory", "", "URL of the authority's directory (default: that of Let's Encrypt)")
	fl.StringVar(&f.ca, "acme-ca", "", "file with certificate authorities in PEM form that may certify the authority's server, beside the system's")
}

// open returns what has certificates issued, or nil if no host name is given.
func (f *acmeFlags) open(log *slog.Logger) (*gateway.ACME, error) {
	if len(f.domains) == 0 {
		return nil, nil
	}
	cas, err := authorities(f.ca)
	if err != nil {
		return nil, fmt.Errorf("--acme-ca: %w", err)
	}
	a, err := gateway.NewACME(gateway.ACMEConfig{Domains: f.domains, Email: f.email, Cache: f.cache, Directory: f.directory, CAs: cas, Log: log})
	if err != nil {
		return nil, fmt.Errorf("--acme-domain: %w", err)
	}
	return a, nil
}
