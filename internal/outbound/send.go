package outbound

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/webhook"
)

// Endpoint is where a subscription's events go, with all that stays the same from
// one to the next. Make one with [Client.Endpoint], and a new one when the
// subscription or its app changes.
type Endpoint struct {
	// Target is what the log tells of it.
	Target  hook.Target
	url     *url.URL
	host    string // scheme, host and port: what connections are kept by
	address string // host and port to dial
	signer  *webhook.Signer
	auth    hook.Auth
	token   string   // the key of its token in the cache
	head    []byte   // the request up to the headers that change
	secrets []string // to be masked in what comes back
	problem *problem // why nothing can be sent
}

// problem is an outcome that is known before an attempt begins.
type problem struct {
	outcome hook.Outcome
	detail  string
}

// Endpoint prepares sending to the endpoint that serves a subscription of an app. What
// cannot be sent ends with an outcome that says so; it is not an error here.
func (c *Client) Endpoint(s *hook.Subscription, a *hook.App) *Endpoint {
	return c.EndpointAt(s.Serving(a).URL, s, a)
}

// EndpointAt prepares sending to a URL, as if it served the subscription.
func (c *Client) EndpointAt(address string, s *hook.Subscription, a *hook.App) *Endpoint {
	e := &Endpoint{auth: s.Auth, token: tokenKey(s.ID, &s.Auth), Target: hook.Target{URL: address, Auth: s.Auth.Mode, Header: s.Auth.Header}}
	if e.locate(address); e.problem != nil {
		return e
	}
	var err error
	if e.signer, err = webhook.NewSigner(a.SecretToken.Reveal()); err != nil {
		e.problem = &problem{hook.AsyncError, "the app's secret token is missing or cannot be decrypted, so nothing can be signed; give the app a new one"}
		return e
	}
	if s.Auth.Unreadable {
		e.problem = &problem{hook.CannotGetCustomHeader, "the authentication settings cannot be decrypted; set them again"}
		return e
	}
	e.secrets = []string{a.SecretToken.Reveal(), a.OldToken.Secret.Reveal()}
	headers := [][2]string{
		{"User-Agent", c.UserAgent},
		{"Content-Type", webhook.ContentType},
		{"Accept-Encoding", "gzip"},
		{webhook.HeaderClientID, a.ClientID},
	}
	switch s.Auth.Mode {
	case hook.AuthBasic:
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(s.Auth.Username, s.Auth.Password.Reveal())
		value := r.Header.Get("Authorization")
		headers = append(headers, [2]string{"Authorization", value})
		e.secrets = append(e.secrets, s.Auth.Password.Reveal(), value[len("Basic "):])
	case hook.AuthHeader:
		headers = append(headers, [2]string{s.Auth.Header, s.Auth.Value.Reveal()})
		e.secrets = append(e.secrets, s.Auth.Value.Reveal())
	case hook.AuthOAuth:
		e.secrets = append(e.secrets, s.Auth.ClientSecret.Reveal())
	}
	e.begin(headers)
	return e
}

// locate says where the endpoint is.
func (e *Endpoint) locate(address string) {
	var err error
	if e.url, err = url.Parse(address); err != nil || e.url.Host == "" {
		e.problem = &problem{hook.AsyncError, "the endpoint's URL cannot be read"}
		return
	}
	port := cmp.Or(e.url.Port(), map[string]string{"https": "443", "http": "80"}[e.url.Scheme])
	e.address = strings.ToLower(e.url.Hostname()) + ":" + port
	if strings.Contains(e.url.Hostname(), ":") {
		e.address = "[" + e.url.Hostname() + "]:" + port
	}
	e.host = e.url.Scheme + "://" + e.address
}

// begin writes the beginning of a request.
func (e *Endpoint) begin(headers [][2]string) {
	e.head = append(e.head, "POST "+e.url.RequestURI()+" HTTP/1.1\r\nHost: "+e.url.Host+"\r\n"...)
	for _, h := range headers {
		// What is configured was checked. This is so that a mistake there cannot become
		// a request of somebody else's making.
		if strings.ContainsFunc(h[0]+h[1], func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			e.problem = &problem{hook.AsyncError, "header " + strconv.Quote(h[0]) + " would have a control character in it"}
		}
		e.head = append(e.head, h[0]+": "+h[1]+"\r\n"...)
	}
}

// Message is what an attempt sends.
type Message struct {
	// Delivery is the request id, and the trace that all attempts share.
	Delivery hook.DeliveryID
	// Span tells this attempt from the others, and Trace is that of the event, if there
	// is one.
	Span  uint64
	Trace hook.Trace
	Body  []byte
	// WantAnswer asks for the body of the answer as it came, in Result.Answer, and
	// WantRequest for the request as it was sent, in Result.Request.
	WantAnswer, WantRequest bool
	// At is when the request says that it is sent, if not when it is; and Unsigned
	// leaves timestamp and signature away. They are for trying what an endpoint makes
	// of what the platform never sends. Signatures, if set, says for the same purpose
	// what the signature header is in place of the right one, and how often it is there.
	At         time.Time
	Unsigned   bool
	Signatures func(right string) []string
}

// Result is how an attempt went.
type Result struct {
	Outcome  hook.Outcome
	Started  time.Time
	Timing   hook.Timing
	Response hook.Response
	// Detail says in words what went wrong.
	Detail string
	// Answer is the body of the answer, at most 64 KiB of it, if the message asked
	// for it. Secrets that the endpoint sent back are in it as they are, so it is for
	// reading and not for keeping.
	Answer []byte
	// Request is what was sent before the body, if the message asked for it. It has the
	// signature; what else would let its reader act as the platform is masked.
	Request string
}

// appendRequest appends the attempt's request, signed at t, but for its body.
func (a *attempt) appendRequest(b []byte, m Message, t time.Time) []byte {
	c, e, token := a.client, a.endpoint, a.token
	b = append(b, e.head...)
	if e.signer == nil { // somebody else has signed it
		b = strconv.AppendInt(append(b, "Content-Length: "...), int64(len(m.Body)), 10)
		return append(b, "\r\n\r\n"...)
	}
	timestamp, signature := e.signer.Sign(t, m.Body)
	a.signature = signature
	if token != "" {
		b = append(append(append(b, "Authorization: Bearer "...), token...), "\r\n"...)
	}
	if !m.Unsigned {
		b = append(append(append(b, webhook.HeaderTimestamp+": "...), timestamp...), "\r\n"...)
		signatures := []string{signature}
		if m.Signatures != nil {
			signatures = m.Signatures(signature)
		}
		for _, s := range signatures {
			b = append(append(append(b, webhook.HeaderSignature+": "...), s...), "\r\n"...)
		}
	}
	b = append(m.Delivery.Append(append(b, webhook.HeaderRequestID+": "...)), "\r\n"...)
	b = append(c.appendTrackingID(append(b, webhook.HeaderTrackingID+": "...), m.Delivery, m.Span), "\r\n"...)
	b = append(m.Delivery.Trace(m.Trace, m.Span).Append(append(b, "Traceparent: "...)), "\r\n"...)
	b = strconv.AppendInt(append(b, "Content-Length: "...), int64(len(m.Body)), 10)
	return append(b, "\r\n\r\n"...)
}

// Header returns the header that a request with the message has at now, for somebody
// who sends it in the platform's place: without what belongs to a connection. If nothing
// can be sent, problem says why.
func (c *Client) Header(e *Endpoint, m Message, now time.Time) (header [][2]string, problem string) {
	if e.problem != nil {
		return nil, e.problem.detail
	}
	a := attempt{client: c, endpoint: e}
	_, lines, _ := strings.Cut(string(a.appendRequest(nil, m, now)), "\r\n")
	for line := range strings.SplitSeq(strings.TrimRight(lines, "\r\n"), "\r\n") {
		name, value, _ := strings.Cut(line, ": ")
		if name = strings.ToLower(name); name != "host" && name != "content-length" {
			header = append(header, [2]string{name, value})
		}
	}
	return header, ""
}

// TrackingID returns the x-zm-trackingid of an attempt.
func (c *Client) TrackingID(d hook.DeliveryID, span uint64) string {
	return string(c.appendTrackingID(make([]byte, 0, 64), d, span))
}

func (c *Client) appendTrackingID(b []byte, d hook.DeliveryID, span uint64) []byte {
	b = append(append(append(b, "v=2.0;clid="...), c.Region...), ";rid=WEB_"...)
	return appendSpan(appendSpan(b, uint64(d.Event)), span)
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
	if e.problem != nil {
		return Result{Outcome: e.problem.outcome, Detail: e.problem.detail, Started: time.Now()}
	}
	a := attempt{client: c, endpoint: e, phases: phases{started: time.Now()}}
	r := a.run(ctx, m)
	if r.Outcome == http.StatusUnauthorized && e.auth.Mode == hook.AuthOAuth {
		// The token may have been revoked early. One fresh one is worth a try.
		c.tokens.drop(e.token, a.token)
		r = a.run(ctx, m)
	}
	r.Started, r.Timing, r.Request = a.started, a.timing(), a.request
	return r
}

// Relay makes a request to a URL that somebody else has signed, with their header; see
// [Client.Header].
func (c *Client) Relay(ctx context.Context, address string, header [][2]string, body []byte) Result {
	e := &Endpoint{Target: hook.Target{URL: address}}
	if e.locate(address); e.problem == nil {
		e.begin(header)
	}
	return c.Send(ctx, e, Message{Body: body, WantAnswer: true})
}

// phases says how far an attempt got, and when, as time since it started. Zero
// means that it did not get there.
type phases struct {
	started                        time.Time
	dns, connected, tls, firstByte time.Duration
}

func (p *phases) timing() hook.Timing {
	return hook.Timing{DNS: p.dns, Connected: p.connected, TLS: p.tls, FirstByte: p.firstByte, Done: time.Since(p.started)}
}

// attempt is one request under way.
type attempt struct {
	phases
	client    *Client
	endpoint  *Endpoint
	token     string
	signature string
	request   string
}

// run gets a token and a connection, within their limit, and makes the exchange.
func (a *attempt) run(ctx context.Context, m Message) Result {
	e, c := a.endpoint, a.client
	kept := c.pool.take(e.host)
	if kept != nil && e.auth.Mode != hook.AuthOAuth {
		// The usual way: no more than the exchange, and no context of its own.
		if r, stale := a.exchange(ctx, kept, m); !stale {
			return r
		}
		kept = nil
	}
	limit, cancel := context.WithTimeoutCause(ctx, c.ConnectTimeout, errTimeout)
	defer cancel()
	if e.auth.Mode == hook.AuthOAuth {
		var err error
		if a.token, err = c.accessToken(limit, e); err != nil {
			if kept != nil {
				c.pool.keep(kept)
			}
			if ctx.Err() != nil {
				return cutOff()
			}
			return Result{Outcome: hook.CannotGetAccessToken, Detail: err.Error()}
		}
		if kept != nil {
			if r, stale := a.exchange(ctx, kept, m); !stale {
				return r
			}
		}
	}
	fresh, err := c.connect(limit, e, &a.phases)
	if err != nil {
		return a.notConnected(ctx, limit, err)
	}
	r, _ := a.exchange(ctx, fresh, m)
	return r
}

// errTimeout ends the context of an attempt that takes too long to begin.
var errTimeout = errors.New("timed out")

// longBody is from where on a body is not copied to be sent with the headers.
const longBody = 16 << 10

// exchange sends the request and reads the answer, within the limit for that. It
// is stale if the connection was a kept one and turned out to be closed before it
// brought a byte of answer: the ordinary end of an idle connection. Then the
// request is to be sent again on a new one; deliveries may be repeated by
// contract, and an idle connection's end must not cost the endpoint five minutes.
func (a *attempt) exchange(ctx context.Context, cn *conn, m Message) (r Result, stale bool) {
	c := a.client
	_ = cn.SetDeadline(time.Now().Add(c.AnswerTimeout)) // fails on a closed connection, and so does Write
	stop := context.AfterFunc(ctx, func() { _ = cn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	at := m.At
	if at.IsZero() {
		at = time.Now()
	}
	cn.out = a.appendRequest(cn.out[:0], m, at)
	if m.WantRequest {
		a.request = mask(string(cn.out), append(slices.Clip(a.endpoint.secrets), a.token))
	}
	var err error
	if len(m.Body) < longBody {
		cn.out = append(cn.out, m.Body...)
		_, err = cn.Write(cn.out)
	} else if _, err = cn.Write(cn.out); err == nil {
		_, err = cn.Write(m.Body)
	}
	// Also when writing failed there may be an answer: of an endpoint that did not
	// care to read all of it.
	cn.left = readHeader
	first, readErr := cn.in.Peek(1)
	if readErr == nil && cn.kept && first[0] != 'H' {
		_ = cn.Close() // it is the rest of what was said before, and no answer (RFC 9112, 4)
		return Result{}, true
	}
	if readErr != nil {
		_ = cn.Close()
		if err == nil || errors.Is(readErr, os.ErrDeadlineExceeded) {
			err = readErr
		}
		if cn.kept && !errors.Is(err, os.ErrDeadlineExceeded) {
			c.pool.drop(cn.host) // the others are most likely closed as well
			return Result{}, true
		}
		return a.notAnswered(ctx, err), false
	}
	a.firstByte = max(1, time.Since(a.started))
	r, reusable, err := a.read(cn, m)
	if err != nil && cn.end != nil {
		err = cn.end
	}
	if err != nil || !reusable || !stop() {
		_ = cn.Close()
	} else {
		c.pool.keep(cn)
	}
	if err != nil {
		failed := a.notAnswered(ctx, err)
		failed.Response = r.Response
		return failed, false
	}
	return r, false
}

// post is what a request has to be known of to read its answer.
var post = &http.Request{Method: http.MethodPost}

// read reads the answer, and says whether the connection can be used again.
func (a *attempt) read(cn *conn, m Message) (r Result, reusable bool, err error) {
	var res *http.Response
	for {
		if res, err = http.ReadResponse(cn.in, post); err != nil {
			return Result{}, false, err
		}
		// Of what comes before the answer (RFC 9110, 15.2) only a switch of protocols is
		// an end of its own, and nobody asked for one.
		if res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols {
			break
		}
	}
	cn.left = readBody + 4<<10 // and the end of a chunked one
	body, kept, whole, err := readResponse(res, a.client.KeepBody, a.secrets())
	r.Response = kept
	if m.WantAnswer {
		r.Answer = body
	}
	r.Outcome = hook.Outcome(res.StatusCode)
	return r, whole && !res.Close && res.StatusCode >= 200 && cn.in.Buffered() == 0, err
}

// secrets returns what must not be kept of an answer: also the signature, with which
// whoever reads the log could send the request again.
func (a *attempt) secrets() []string {
	return append(slices.Clip(a.endpoint.secrets), a.token, a.signature)
}
