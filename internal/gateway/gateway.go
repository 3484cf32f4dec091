// Package gateway receives webhooks for programs that are slower, or less reliable,
// than a sender's three seconds allow.
//
// [Gateway] verifies a request, has it stored, and only then answers it with 204. A
// sender gives an event up when it is answered with anything but 2xx or 5xx, so what
// might be the gateway's own fault is answered with 503, and the sender tries again.
package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/switchhook/switchhook/internal/inbox"
	"github.com/switchhook/switchhook/webhook"
)

// Source is where webhooks come in: what they are sent to, and what they must be
// signed with.
type Source struct {
	Name string
	// Path is the URL's, to the letter.
	Path string
	// Secrets are the secret tokens of which any may have signed.
	Secrets []string
	// Tolerance is how far a timestamp may be off. 0 means [webhook.DefaultTolerance].
	Tolerance time.Duration
	// MaxBody is how many bytes a body may have. 0 means [webhook.DefaultMaxBody].
	MaxBody int64
	// Auth is what a request must bring beside its signature.
	Auth []webhook.Auth
	// Tokens, if set, gives out the tokens that are in Auth.
	Tokens *webhook.TokenServer
	// TokenPath is where they are asked for.
	TokenPath string
}

// Config says how a gateway is to be.
type Config struct {
	Inbox *inbox.Inbox
	// Quarantine bounds what is kept for each source of what is not accepted. Zero
	// values mean 10,000 requests and 64 MiB.
	Quarantine inbox.Bounds
	// Proxies are the addresses of those that say truly, in X-Forwarded-For, from where a
	// request came.
	Proxies []netip.Prefix
	// MaxReading is how many bytes of bodies may be in memory that are not stored yet. 0
	// means 256 MiB.
	MaxReading int64
	// MaxConnections and MaxPerAddress are how many connections may be open, in all and
	// of one address. 0 means 4096, and a quarter of that.
	MaxConnections, MaxPerAddress int
	// StopTimeout is how long requests under way may take when the gateway stops. 0 means
	// 5 seconds.
	StopTimeout time.Duration
	Log         *slog.Logger
	// Metrics shows what is counted. nil: it is only counted.
	Metrics prometheus.Registerer
}

// Gateway receives webhooks. Use tells it of which sources.
type Gateway struct {
	config   Config
	inbox    *inbox.Inbox
	log      *slog.Logger
	metrics  *metrics
	alarms   alarms
	current  atomic.Pointer[sources]
	reading  readings
	stopping atomic.Bool
}

// sources are those of a configuration.
type sources struct {
	byPath map[string]*source
	byName map[string]*source
	tokens map[string]*webhook.TokenServer // by path
}

// source is a Source that is in use.
type source struct {
	Source
	receiver *webhook.Receiver
	strict   bool // there is something beside the signature
}

// New returns a gateway that has no source yet.
func New(c Config) *Gateway {
	c.Quarantine.Requests = cmp.Or(c.Quarantine.Requests, 10_000)
	c.Quarantine.Bytes = cmp.Or(c.Quarantine.Bytes, 64<<20)
	c.MaxReading = cmp.Or(c.MaxReading, 256<<20)
	c.MaxConnections = cmp.Or(c.MaxConnections, 4096)
	c.MaxPerAddress = cmp.Or(c.MaxPerAddress, max(1, c.MaxConnections/4))
	c.StopTimeout = cmp.Or(c.StopTimeout, 5*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	g := &Gateway{config: c, inbox: c.Inbox, log: c.Log, metrics: newMetrics(c.Metrics), reading: readings{most: c.MaxReading}}
	g.current.Store(&sources{})
	return g
}

// Use makes these the sources, all of them or, if there is an error, none. What is in
// the quarantine should be looked at after that; see Recheck.
func (g *Gateway) Use(all []Source) error {
	s := &sources{byPath: map[string]*source{}, byName: map[string]*source{}, tokens: map[string]*webhook.TokenServer{}}
	for _, one := range all {
		c := webhook.Config{Secrets: one.Secrets, Tolerance: one.Tolerance, MaxBody: one.MaxBody, Auth: one.Auth}
		r, err := webhook.New(c)
		if err != nil {
			return fmt.Errorf("source %s: %w", one.Name, err)
		}
		one.MaxBody = cmp.Or(one.MaxBody, webhook.DefaultMaxBody)
		switch {
		case one.Name == "":
			return errors.New("a source has no name")
		case !strings.HasPrefix(one.Path, "/"):
			return fmt.Errorf("source %s: path %q does not begin with a slash", one.Name, one.Path)
		case s.byName[one.Name] != nil:
			return fmt.Errorf("there are two sources %s", one.Name)
		case s.byPath[one.Path] != nil:
			return fmt.Errorf("sources %s and %s have the same path %s", s.byPath[one.Path].Name, one.Name, one.Path)
		}
		own := &source{one, r, len(one.Auth) > 0}
		s.byName[one.Name], s.byPath[one.Path] = own, own
		if one.Tokens != nil {
			if s.tokens[one.TokenPath] != nil {
				return fmt.Errorf("source %s: another source gives tokens at %s, too; let each have a path of its own", one.Name, one.TokenPath)
			}
			s.tokens[one.TokenPath] = one.Tokens
		}
	}
	for path := range s.tokens {
		if s.byPath[path] != nil {
			return fmt.Errorf("source %s has the path %s, where tokens are given", s.byPath[path].Name, path)
		}
	}
	g.current.Store(s)
	return nil
}

// Outcomes of a request, as they are counted.
const (
	stored      = "stored"
	duplicate   = "duplicate"
	challenged  = "challenge"
	quarantined = "quarantined" // 503, or 401 for a token
	refused     = "refused"     // 4xx
	unavailable = "unavailable" // 503
)

// answer is what a request is answered with.
type answer struct {
	status  int
	outcome string
	body    []byte
	err     error
}

// ServeHTTP answers a request.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			g.log.Error("a request could not be answered for a mistake in this program; the sender is asked to try again", "panic", p, "stack", string(debug.Stack()))
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}()
	s := g.current.Load()
	// Not the decoded path: nothing is to be found under two names.
	path := r.URL.EscapedPath()
	src := s.byPath[path]
	if src == nil {
		if t := s.tokens[path]; t != nil && !g.stopping.Load() {
			t.ServeHTTP(w, r)
			return
		}
		status := http.StatusNotFound
		if g.stopping.Load() {
			status = http.StatusServiceUnavailable
		}
		g.metrics.unknown.Inc()
		w.WriteHeader(status)
		return
	}
	a := g.receive(w, r, src)
	if a.err != nil {
		g.log.Debug("request", "source", src.Name, "status", a.status, "outcome", a.outcome, "from", g.Remote(r), "err", a.err)
	}
	if a.body != nil {
		w.Header().Set("Content-Type", webhook.ContentType)
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // who does not read the answer asks again
	g.metrics.answered(src.Name, a.outcome, time.Since(start))
}

// answerWithin is when a request is answered at the latest: the sender waits for three
// seconds.
const answerWithin = webhook.SendTimeout - 300*time.Millisecond

func (g *Gateway) receive(w http.ResponseWriter, r *http.Request, s *source) answer {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return answer{status: http.StatusMethodNotAllowed, outcome: refused, err: fmt.Errorf("method %.20q", r.Method)}
	}
	if g.stopping.Load() {
		return answer{status: http.StatusServiceUnavailable, outcome: unavailable, err: errors.New("the gateway is stopping")}
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	body, give, err := g.body(w, r, s.MaxBody)
	defer give()
	switch {
	case errors.Is(err, errTooLarge):
		return answer{status: http.StatusRequestEntityTooLarge, outcome: refused, err: err}
	case err != nil:
		// Also if the body broke off: whose fault that is, nobody knows.
		return answer{status: http.StatusServiceUnavailable, outcome: unavailable, err: err}
	}
	defer read(r)()
	v, err := s.receiver.Verify(r.Header, body)
	if err != nil {
		return g.refuse(ctx, w, r, s, body, err)
	}
	reply, isChallenge, err := v.Challenge()
	switch {
	case err != nil:
		return answer{status: http.StatusBadRequest, outcome: refused, err: err}
	case isChallenge:
		g.log.Info("endpoint validation answered", "source", s.Name, "from", g.Remote(r))
		return answer{status: http.StatusOK, outcome: challenged, body: reply}
	}
	added, err := g.inbox.Add(ctx, eventOf(s.Name, time.Now(), v, headersOf(r.Header), body))
	switch {
	case err != nil:
		return answer{status: http.StatusServiceUnavailable, outcome: unavailable, err: err}
	case added.Duplicate:
		return answer{status: http.StatusNoContent, outcome: duplicate}
	case added.Conflict:
		g.metrics.conflicts.WithLabelValues(s.Name).Inc()
		g.log.Warn("a request id came again with another body; both are kept", "source", s.Name, "event", added.ID, "from", g.Remote(r))
	}
	return answer{status: http.StatusNoContent, outcome: stored}
}

// kept are the headers that are kept with an event. What authenticates a request
// beside its signature is not among them.
var kept = []string{
	"Content-Type", "User-Agent", "Traceparent", webhook.HeaderTimestamp, webhook.HeaderSignature,
	webhook.HeaderRequestID, webhook.HeaderTrackingID, webhook.HeaderClientID,
}

// maxHeader bounds the headers that are kept and that nobody has signed.
const maxHeader = 512

func headersOf(h http.Header) (own inbox.Headers) {
	for _, name := range kept {
		if values := h[name]; len(values) > 0 {
			own = append(own, inbox.Header{Name: name, Value: values[0][:min(len(values[0]), maxHeader)]})
		}
	}
	return own
}

// eventOf returns a verified request as the inbox takes it.
func eventOf(source string, received time.Time, v *webhook.Verified, h inbox.Headers, body []byte) *inbox.Event {
	own := &inbox.Event{
		Source: source, Received: received, RequestID: h.Get(webhook.HeaderRequestID),
		BodyHash: v.BodyHash[:], Replay: v.Replay[:], Headers: h, Body: body,
	}
	// What is signed is what was sent, so it is kept also if it is no event.
	if e, err := v.Event(); err == nil {
		own.Name, own.Time = e.Name, e.Time
	}
	return own
}

// Stop makes the gateway answer all requests with 503.
func (g *Gateway) Stop() { g.stopping.Store(true) }
