package forward

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/switchhook/switchhook/webhook"
)

// Headers that a forwarded event has beside those of the request that it came with.
const (
	HeaderKey      = "Idempotency-Key"
	HeaderNumber   = "Switchhook-Event"
	HeaderSource   = "Switchhook-Source"
	HeaderReceived = "Switchhook-Received"
	HeaderReplay   = "Switchhook-Replay"
)

// HTTPConfig says how events are posted to a backend.
type HTTPConfig struct {
	URL string
	// Secret, if set, signs each request anew. Without it the signature is that of the
	// platform, which is minutes or days old by then.
	Secret string
	// Header is set on each request.
	Header http.Header
	// Timeout is for a whole exchange. 0 means 30 seconds.
	Timeout time.Duration
	// Parallel is how many requests may be under way at a time. 0 means 1; more do not
	// keep the order.
	Parallel int
	// CAs may certify the backend. nil: those of the system.
	CAs *x509.CertPool
	// Dial, if set, makes connections.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// HTTP returns a target that posts each event to a URL. An answer of 2xx takes it.
func HTTP(c HTTPConfig) (Target, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		// It is not shown: there may be a password in it.
		return nil, errors.New("forward: what is given for the backend is not a URL of http or https")
	}
	h := &httpTarget{config: c}
	if c.Secret != "" {
		if h.signer, err = webhook.NewSigner(c.Secret); err != nil {
			return nil, err
		}
	}
	if h.config.Timeout == 0 {
		h.config.Timeout = 30 * time.Second
	}
	h.config.Parallel = max(1, c.Parallel)
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = h.config.Parallel
	t.TLSClientConfig = &tls.Config{RootCAs: c.CAs, MinVersion: tls.VersionTLS12}
	if c.Dial != nil {
		t.DialContext = c.Dial
	}
	h.transport = t
	h.client = &http.Client{
		Transport: t,
		Timeout:   h.config.Timeout,
		// Where a redirect leads, nobody has configured.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return h, nil
}

type httpTarget struct {
	config    HTTPConfig
	signer    *webhook.Signer
	transport *http.Transport
	client    *http.Client
	ahead     Ahead
}

func (h *httpTarget) Close() error {
	h.transport.CloseIdleConnections()
	return nil
}

func (h *httpTarget) Take(ctx context.Context, messages []*Message) (n int, err error) {
	messages = messages[:min(len(messages), h.config.Parallel)]
	rest := h.ahead.Rest(messages)
	errs := make([]error, len(rest))
	var all sync.WaitGroup
	for i, m := range rest {
		all.Go(func() { errs[i] = h.post(ctx, m) })
	}
	all.Wait()
	return h.ahead.Settle(messages, rest, errs)
}

func (h *httpTarget) post(ctx context.Context, m *Message) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.config.URL, bytes.NewReader(m.Body))
	if err != nil {
		return err
	}
	for _, x := range m.Headers {
		req.Header.Set(x.Name, x.Value)
	}
	if h.signer != nil {
		timestamp, signature := h.signer.Sign(time.Now(), m.Body)
		req.Header.Set(webhook.HeaderTimestamp, timestamp)
		req.Header.Set(webhook.HeaderSignature, signature)
	}
	req.Header.Set(HeaderKey, m.Key)
	req.Header.Set(HeaderNumber, strconv.FormatInt(m.ID, 10))
	req.Header.Set(HeaderSource, m.Source)
	req.Header.Set(HeaderReceived, m.Received.UTC().Format(time.RFC3339Nano))
	if m.Replay {
		req.Header.Set(HeaderReplay, "true")
	}
	maps.Copy(req.Header, h.config.Header)
	res, err := h.client.Do(req)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Errorf("no answer within %v", h.config.Timeout)
	}
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the URL, which may have a password in it
		}
		return err
	}
	defer res.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10)) // so that the connection can be used again
	if res.StatusCode/100 == 2 {
		return nil
	}
	err = fmt.Errorf("the backend answered with status %d: %.200q", res.StatusCode, answer)
	if seconds, bad := strconv.Atoi(res.Header.Get("Retry-After")); bad == nil && seconds > 0 && seconds < 86400 {
		err = &Later{err, time.Duration(seconds) * time.Second}
	}
	return err
}
