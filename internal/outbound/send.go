package outbound

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/webhook"
)

// Endpoint is where a subscription's events go, with all that stays the same from
// one to the next. Make one with [Client.Endpoint] and a new one when the
// subscription or its app changes.
type Endpoint struct {
	url     *url.URL
	signer  *webhook.Signer
	auth    hook.Auth
	token   string      // the key of its token in the cache
	header  http.Header // shared values, copied into each request
	secrets []string    // to be masked in what comes back
	problem *problem    // why nothing can be sent
}

// problem is an outcome that is known before an attempt begins.
type problem struct {
	outcome hook.Outcome
	detail  string
}

// Endpoint prepares sending to a subscription of an app. What cannot be sent ends
// with an outcome that says so; it is not an error here.
func (c *Client) Endpoint(s *hook.Subscription, a *hook.App) *Endpoint {
	e := &Endpoint{auth: s.Auth, token: tokenKey(s.ID, &s.Auth)}
	var err error
	if e.url, err = url.Parse(s.URL); err != nil {
		e.problem = &problem{hook.AsyncError, "the endpoint's URL cannot be read"}
		return e
	}
	if e.signer, err = webhook.NewSigner(a.SecretToken.Reveal()); err != nil {
		e.problem = &problem{hook.AsyncError, "the app's secret token is missing or cannot be decrypted, so nothing can be signed; give the app a new one"}
		return e
	}
	if s.Auth.Unreadable {
		e.problem = &problem{hook.CannotGetCustomHeader, "the authentication settings cannot be decrypted; set them again"}
		return e
	}
	e.header = http.Header{
		"Content-Type":         {webhook.ContentType},
		"User-Agent":           {c.UserAgent},
		"Accept-Encoding":      {"gzip"},
		webhook.HeaderClientID: {a.ClientID},
	}
	e.secrets = []string{a.SecretToken.Reveal()}
	switch s.Auth.Mode {
	case hook.AuthBasic:
		r := http.Request{Header: e.header}
		r.SetBasicAuth(s.Auth.Username, s.Auth.Password.Reveal())
		e.secrets = append(e.secrets, s.Auth.Password.Reveal(), e.header.Get("Authorization")[len("Basic "):])
	case hook.AuthHeader:
		e.header.Set(s.Auth.Header, s.Auth.Value.Reveal())
		e.secrets = append(e.secrets, s.Auth.Value.Reveal())
	case hook.AuthOAuth:
		e.secrets = append(e.secrets, s.Auth.ClientSecret.Reveal())
	}
	return e
}

// Message is what an attempt sends.
type Message struct {
	// Delivery is the request id, and the trace that all attempts share.
	Delivery hook.DeliveryID
	// Span tells this attempt from the others.
	Span uint64
	Body []byte
	// KeepBody, if it is not 0, takes the place of the Config's.
	KeepBody int
}

// Result is how an attempt went.
type Result struct {
	Outcome  hook.Outcome
	Started  time.Time
	Timing   hook.Timing
	Response hook.Response
	// Detail says in words what went wrong.
	Detail string
}

// newHeader returns the headers of an attempt signed at t.
func (c *Client) newHeader(e *Endpoint, m Message, t time.Time) http.Header {
	timestamp, signature := e.signer.Sign(t, m.Body)
	values := [...]string{timestamp, signature, m.Delivery.String(), c.TrackingID(m.Delivery, m.Span), traceParent(m)}
	h := make(http.Header, len(e.header)+len(values)+2)
	for k, v := range e.header {
		h[k] = v
	}
	for i, name := range [...]string{webhook.HeaderTimestamp, webhook.HeaderSignature, webhook.HeaderRequestID, webhook.HeaderTrackingID, "Traceparent"} {
		h[name] = values[i : i+1 : i+1]
	}
	h[replayable] = nil
	return h
}

// replayable lets net/http send a request again on a fresh connection when the
// kept one it chose turns out to have been closed by the server before it answered
// a byte: the ordinary end of an idle connection, which must not cost the endpoint
// five minutes. Deliveries may be repeated by contract. A header without a value
// is not sent.
const replayable = "X-Idempotency-Key"

// TrackingID returns the x-zm-trackingid of an attempt.
func (c *Client) TrackingID(d hook.DeliveryID, span uint64) string {
	b := append(make([]byte, 0, 64), "v=2.0;clid="...)
	b = append(b, c.Region...)
	b = append(b, ";rid=WEB_"...)
	b = append(b, d.TraceID()[:16]...)
	return string(appendSpan(b, span))
}

func traceParent(m Message) string {
	b := append(make([]byte, 0, 55), "00-"...)
	b = append(b, m.Delivery.TraceID()...)
	b = append(b, '-')
	return string(append(appendSpan(b, m.Span), "-01"...))
}

func appendSpan(b []byte, span uint64) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, digits[span>>shift&15])
	}
	return b
}

// Send makes one attempt. It returns when the attempt has ended, or when ctx is
// done, with the outcome Delegate.
func (c *Client) Send(ctx context.Context, e *Endpoint, m Message) Result {
	a := &attempt{client: c, endpoint: e, started: time.Now()}
	r := a.run(ctx, m)
	if r.Outcome == http.StatusUnauthorized && e.auth.Mode == hook.AuthOAuth {
		// The token may have been revoked early. One fresh one is worth a try.
		c.tokens.drop(e.token, a.token)
		again := &attempt{client: c, endpoint: e, started: a.started}
		r = again.run(ctx, m)
	}
	r.Started = a.started
	return r
}

// attempt is one request under way. Its trace hooks are called from goroutines of
// net/http's, which may outlive it.
type attempt struct {
	client   *Client
	endpoint *Endpoint
	started  time.Time
	token    string

	cancel context.CancelCauseFunc
	timer  *time.Timer
	phase  atomic.Int32

	dns, connected, tls, firstByte atomic.Int64 // nanoseconds since started
}

// The phases of an attempt.
const (
	phaseConnect int32 = iota // no request is under way yet
	phaseResolve              // a name is being resolved
	phaseSent                 // the request is or was being sent
)

var errTimeout = errors.New("timed out")

func (a *attempt) run(ctx context.Context, m Message) Result {
	if p := a.endpoint.problem; p != nil {
		return Result{Outcome: p.outcome, Detail: p.detail}
	}
	ctx, a.cancel = context.WithCancelCause(ctx)
	defer a.cancel(nil)
	a.timer = time.AfterFunc(a.client.ConnectTimeout, func() { a.cancel(errTimeout) })
	defer a.timer.Stop()

	if a.endpoint.auth.Mode == hook.AuthOAuth {
		token, err := a.client.token(ctx, a.endpoint)
		if err != nil {
			if ctx.Err() != nil && context.Cause(ctx) != errTimeout {
				return a.fail(ctx, err)
			}
			return Result{Outcome: hook.CannotGetAccessToken, Timing: a.timing(), Detail: err.Error()}
		}
		a.token = token
	}
	header := a.client.newHeader(a.endpoint, m, time.Now())
	if a.token != "" {
		header["Authorization"] = []string{"Bearer " + a.token}
	}
	req := (&http.Request{
		Method:        http.MethodPost,
		URL:           a.endpoint.url,
		Header:        header,
		Body:          io.NopCloser(bytes.NewReader(m.Body)),
		GetBody:       func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(m.Body)), nil },
		ContentLength: int64(len(m.Body)),
		Host:          a.endpoint.url.Host,
	}).WithContext(httptrace.WithClientTrace(ctx, a.trace()))
	res, err := a.client.transport.RoundTrip(req)
	if err != nil {
		return a.fail(ctx, err)
	}
	response, err := readResponse(res, cmp.Or(m.KeepBody, a.client.KeepBody), a.secrets())
	if err != nil {
		r := a.fail(ctx, err)
		r.Response = response
		return r
	}
	return Result{Outcome: hook.Outcome(res.StatusCode), Timing: a.timing(), Response: response}
}

func (a *attempt) secrets() []string {
	if a.token == "" {
		return a.endpoint.secrets
	}
	return append(a.endpoint.secrets[:len(a.endpoint.secrets):len(a.endpoint.secrets)], a.token)
}

func (a *attempt) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) { a.phase.CompareAndSwap(phaseConnect, phaseResolve) },
		DNSDone: func(httptrace.DNSDoneInfo) {
			a.reached(&a.dns)
			a.phase.CompareAndSwap(phaseResolve, phaseConnect)
		},
		ConnectDone: func(_, _ string, err error) {
			if err == nil {
				a.reached(&a.connected)
			}
		},
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			if err == nil {
				a.reached(&a.tls)
			}
		},
		GotConn: func(httptrace.GotConnInfo) {
			// From here the endpoint's time runs. A second connection, after a kept one
			// turned out to be closed, gets no more of it.
			if a.phase.Swap(phaseSent) != phaseSent && a.timer.Stop() {
				a.timer.Reset(a.client.AnswerTimeout)
			}
		},
		GotFirstResponseByte: func() { a.reached(&a.firstByte) },
	}
}

// reached notes that a phase is over; not as zero, which means that it is not.
func (a *attempt) reached(phase *atomic.Int64) { phase.Store(int64(max(1, time.Since(a.started)))) }

func (a *attempt) timing() hook.Timing {
	return hook.Timing{
		DNS:       time.Duration(a.dns.Load()),
		Connected: time.Duration(a.connected.Load()),
		TLS:       time.Duration(a.tls.Load()),
		FirstByte: time.Duration(a.firstByte.Load()),
		Done:      time.Since(a.started),
	}
}
