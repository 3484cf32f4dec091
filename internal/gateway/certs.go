package gateway

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Certificate is one in files, which may be replaced while it is in use.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	loaded  *tls.Certificate
	stamps  [2]stamp // of the files when they were read
	checked time.Time
	failed  string // what the log was told last
}

// stamp tells whether a file has changed.
type stamp struct {
	modified time.Time
	size     int64
}

// LoadCertificate reads a certificate with its chain, and its key, from files in PEM
// form.
func LoadCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// TLS returns a configuration that uses the certificate as it is when a client
// connects.
func (c *Certificate) TLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}

// lookEvery is how often the files are looked at, at most.
const lookEvery = time.Second

func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.checked) >= lookEvery {
		c.checked = now
		// Two files cannot be replaced at once, so for a moment they may not fit each
		// other. Until they do, the certificate is the one there was.
		switch err := c.load(); {
		case err == nil:
			c.failed = ""
		case err.Error() != c.failed:
			c.failed = err.Error()
			c.log.Error("the certificate cannot be read anew; the one from before stays in use", "err", err)
		}
	}
	return c.loaded, nil
}

// load reads the files if they have changed.
func (c *Certificate) load() error {
	var now [2]stamp
	for i, file := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		now[i] = stamp{info.ModTime(), info.Size()}
	}
	if c.loaded != nil && now == c.stamps {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", c.certFile, c.keyFile, err)
	}
	if c.loaded != nil {
		c.log.Info("the certificate was read anew", "file", c.certFile, "until", pair.Leaf.NotAfter)
	}
	c.loaded, c.stamps = &pair, now
	return nil
}
