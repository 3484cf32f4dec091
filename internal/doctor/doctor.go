// Package doctor checks whether an endpoint does what the contract asks of it.
//
// A [Checkup] sends to the endpoint what the platform sends, and what nobody but the
// platform's enemies would: challenges and events with the right signature, a wrong
// one, none, an old one; events again, of unknown types, in odd JSON, very large. Each
// check ends in a [Finding], with a reason and a remedy where something is wrong.
package doctor

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/switchhook/switchhook/internal/challenge"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/internal/sample"
	"github.com/switchhook/switchhook/webhook"
)

// Checkup is what to check and with what.
type Checkup struct {
	URL string
	// Client sends. It may call any address: which ones the platform would call is a
	// check of its own.
	Client *outbound.Client
	App    *hook.App
	// Subscription has the custom header, if there is one.
	Subscription *hook.Subscription
	// Event is an event that the endpoint knows.
	Event []byte
	// Policy is what the platform permits. The zero value is the contract.
	Policy hook.EndpointPolicy
	// CAs certify the endpoint; nil: the system's.
	CAs *x509.CertPool
	// Lookup resolves the host. nil: as the system does.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// Report, if set, is told of each finding at once.
	Report func(Finding)

	ids      *hook.IDs
	findings []Finding
	slowest  time.Duration
	sent     int // requests that were answered
	taken    int // of these, those that accepted something
	fresh    int // of these, those that needed a connection of their own
	moved    hook.Outcome
	told     string // what an answer told that it should not
	traced   bool   // an answer had a stack trace in it
}

// Verdict is how a check ended.
type Verdict string

// The verdicts.
const (
	Pass Verdict = "pass"
	Warn Verdict = "warn" // it works, and may not always
	Fail Verdict = "fail"
	Skip Verdict = "skip" // what it needs is not there
)

// Finding is the end of a check.
type Finding struct {
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	// Text says what was found.
	Text string `json:"text"`
	// Remedy says what to do, unless it has passed.
	Remedy string `json:"remedy,omitempty"`
}

// UnknownEvent is an event type that no endpoint knows.
const UnknownEvent = "switchhook.doctor_checkup"

// margin is how much of the platform's time an answer should leave.
const margin = webhook.SendTimeout / 2

// Run makes all checks, one after the other, and returns what was found.
func (c *Checkup) Run(ctx context.Context) []Finding {
	c.ids = hook.NewIDs(0, 0)
	c.findings, c.sent, c.taken, c.fresh, c.slowest, c.moved, c.told, c.traced = nil, 0, 0, 0, 0, 0, "", false
	c.checkURL()
	if c.checkDNS(ctx) && c.checkTLS(ctx) && c.checkChallenge(ctx) {
		c.checkForgedChallenges(ctx)
		c.checkEvent(ctx)
		c.checkForgedEvents(ctx)
		c.checkSignatures(ctx)
		c.checkCustomHeader(ctx)
		c.checkCopies(ctx)
		c.checkUnknown(ctx)
		c.checkOdd(ctx)
		c.checkLarge(ctx)
		c.checkAnswers()
	}
	return c.findings
}

func (c *Checkup) add(check string, v Verdict, remedy, format string, args ...any) {
	f := Finding{Check: check, Verdict: v, Text: fmt.Sprintf(format, args...)}
	if v != Pass {
		f.Remedy = remedy
	}
	c.findings = append(c.findings, f)
	if c.Report != nil {
		c.Report(f)
	}
}

func (c *Checkup) checkURL() {
	const remedy = "subscribe to an https URL with a fully qualified domain name"
	if msg := c.Policy.CheckURL(c.URL); msg != "" {
		c.add("url", Fail, remedy, "the URL %s", msg)
		return
	}
	c.add("url", Pass, "", "the URL is one that can be subscribed")
}

// checkDNS resolves the host. It reports whether it is of use to go on.
func (c *Checkup) checkDNS(ctx context.Context) bool {
	u, err := url.Parse(c.URL)
	if err != nil || u.Hostname() == "" {
		return false // which the check of the URL has said
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		c.add("dns", Skip, "", "the URL has an address and no name")
		return true
	}
	lookup := c.Lookup
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	start := time.Now()
	addresses, err := lookup(ctx, u.Hostname())
	took := time.Since(start)
	if err != nil || len(addresses) == 0 {
		c.add("dns", Fail, "make the name resolve everywhere; the platform tries again later, but not for long", "the host %s does not resolve: %v", u.Hostname(), reason(err))
		return false
	}
	var hidden []string
	for _, a := range addresses {
		if !outbound.Callable(a.Unmap(), c.Policy) {
			hidden = append(hidden, a.Unmap().String())
		}
	}
	const remedy = "publish only addresses that can be reached from everywhere; the platform refuses the others when it connects"
	switch {
	case len(hidden) == len(addresses):
		c.add("dns", Fail, remedy, "no address of %s is public: %s", u.Hostname(), strings.Join(hidden, ", "))
	case len(hidden) > 0:
		c.add("dns", Warn, remedy, "some addresses of %s are not public: %s", u.Hostname(), strings.Join(hidden, ", "))
	case took > time.Second:
		c.add("dns", Warn, "look at the name servers: the platform has 5 seconds for name, connection and TLS together", "resolving %s took %v", u.Hostname(), took.Round(time.Millisecond))
	default:
		c.add("dns", Pass, "", "%s resolves to addresses that may be called: %s", u.Hostname(), list(addresses))
	}
	return true
}

func list(addresses []netip.Addr) string {
	var all []string
	for _, a := range addresses {
		all = append(all, a.Unmap().String())
	}
	return strings.Join(first(all, 4), ", ")
}

func reason(err error) string {
	if err == nil {
		return "it has no address"
	}
	return err.Error()
}

// soon is how long before its end a certificate should be renewed.
const soon = 14 * 24 * time.Hour

// checkTLS looks at certificate and versions. It reports whether it is of use to go on.
func (c *Checkup) checkTLS(ctx context.Context) bool {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "https" {
		return err == nil
	}
	// What the platform itself makes of it decides.
	if r := c.send(ctx, request{body: sample.Bare(UnknownEvent, time.Now()), unsigned: true}); r.Outcome < 0 {
		switch r.Outcome {
		case hook.CertificateError, hook.HostnameMismatch, hook.TLSError:
			c.add("tls", Fail, "install a certificate of a public authority for this name, with its intermediate certificates, and offer TLS 1.2 or 1.3", "%s", r.Detail)
			return false
		}
	}
	state, err := c.handshake(ctx, u, tls.VersionTLS12, tls.VersionTLS13)
	if err != nil {
		return true // the challenge will say what is wrong with the connection
	}
	if left := time.Until(state.PeerCertificates[0].NotAfter); left < soon {
		c.add("tls", Warn, "renew the certificate; the platform refuses it from its last day on", "the certificate ends in %.0f days", left.Hours()/24)
	} else if old, err := c.handshake(ctx, u, tls.VersionTLS10, tls.VersionTLS11); err == nil {
		c.add("tls", Warn, "switch off TLS 1.0 and 1.1, which nobody needs any more and attackers like", "the endpoint still speaks %s", tls.VersionName(old.Version))
	} else {
		c.add("tls", Pass, "", "%s, certificate valid for %.0f more days", tls.VersionName(state.Version), left.Hours()/24)
	}
	return true
}

func (c *Checkup) handshake(ctx context.Context, u *url.URL, least, most uint16) (tls.ConnectionState, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{RootCAs: c.CAs, ServerName: u.Hostname(), MinVersion: least, MaxVersion: most}}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443")))
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState(), nil
}

// request is what is sent.
type request struct {
	id       hook.DeliveryID // zero: a new one
	body     []byte
	at       time.Time // zero: now
	forged   bool      // signed with another secret
	unsigned bool
	bare     bool // without the custom header
	// signatures are the values of the signature header in place of the right one.
	signatures func(right string) []string
}

// wrong reports whether an endpoint has to refuse the request.
func (q *request) wrong() bool {
	return q.forged || q.unsigned || q.bare || q.signatures != nil || time.Since(q.at).Abs() > webhook.DefaultTolerance
}

// send sends a request and notes what all answers have in common.
func (c *Checkup) send(ctx context.Context, q request) outbound.Result {
	if q.id == (hook.DeliveryID{}) {
		q.id = hook.DeliveryID{Event: hook.EventID(c.ids.Next(time.Now())), Subscription: c.Subscription.Key}
	}
	if q.at.IsZero() {
		q.at = time.Now()
	}
	app, sub := *c.App, *c.Subscription
	if q.forged {
		app.SecretToken = hook.Secret(hook.NewSecret())
	}
	if q.bare {
		sub.Auth = hook.Auth{}
	}
	m := outbound.Message{Delivery: q.id, Span: rand.Uint64(), Body: q.body, At: q.at, Unsigned: q.unsigned, Signatures: q.signatures, WantAnswer: true}
	r := c.Client.Send(ctx, c.Client.EndpointAt(c.URL, &sub, &app), m)
	c.note(q, r)
	return r
}

// note keeps what an answer shows beside what it was asked for.
func (c *Checkup) note(q request, r outbound.Result) {
	if r.Outcome <= 0 {
		return
	}
	if c.sent++; r.Timing.Connected != 0 {
		c.fresh++
	}
	if r.Outcome.OK() {
		c.taken++
		c.slowest = max(c.slowest, r.Timing.Done-max(r.Timing.Connected, r.Timing.TLS)) // connecting has a time of its own
	}
	// Those who are not let in may be sent elsewhere; that is said where it happens.
	if r.Outcome >= 300 && r.Outcome <= 399 && !q.wrong() {
		c.moved = r.Outcome
	}
	signer, err := webhook.NewSigner(c.App.SecretToken.Reveal())
	if err != nil {
		return
	}
	text := string(r.Answer) + r.Response.Header
	_, right := signer.Sign(q.at, q.body)
	secret := c.App.SecretToken.Reveal()
	switch digits := strings.TrimPrefix(right, "v0="); {
	case strings.Contains(string(r.Answer), secret) || strings.Contains(string(r.Answer), base64.StdEncoding.EncodeToString([]byte(secret))):
		c.told = "the secret token"
	case strings.Contains(strings.ToLower(text), digits) && (q.forged || q.unsigned):
		c.told = "the signature that would have been right"
	}
	if trace.Match(r.Answer) {
		c.traced = true
	}
}

// trace is what a stack trace of Node, Python, Go, Java, .NET or PHP looks like.
var trace = regexp.MustCompile(`(?m)^\s+at .+[:(].*\d+\)?\s*$|Traceback \(most recent call last\)|^goroutine \d+ \[|^#\d+ /.+\(\d+\)`)

// checkChallenge asks the endpoint to prove itself. It reports whether it is of use to
// go on.
func (c *Checkup) checkChallenge(ctx context.Context) bool {
	p := challenge.Prober{Client: c.Client, IDs: c.ids}
	r := p.Prove(ctx, c.URL, c.Subscription, c.App)
	c.note(request{at: time.Now()}, r.Result)
	if !r.OK {
		remedy := "answer a signed " + webhook.EventURLValidation + " with status 200 and plainToken and encryptedToken, the HMAC-SHA-256 of plainToken under the secret token in lower-case hex"
		switch r.Outcome {
		case hook.ConnectionRefused, hook.RemoteError, hook.TimeLimiter:
			remedy = "is the endpoint running, do host and port lead to it, and does it speak HTTP there? The rest is checked once it answers"
		case hook.DNSForbidden:
			remedy = "subscribe to a public address; --dev permits others here"
		case hook.CannotGetAccessToken:
			remedy = "have the token URL of the custom header answer with a token; the rest is checked once it does"
		}
		c.add("challenge", Fail, remedy, "%s", r.Reason)
		return r.Outcome >= 0 || r.Outcome == hook.ReadTimeOut
	}
	c.add("challenge", Pass, "", "the endpoint has proven itself after %v", round(r.Timing.Done))
	return true
}

// challengeFor returns a challenge for a token.
func challengeFor(token string) []byte {
	text, _ := json.Marshal(token) // a text always has one
	return fmt.Appendf(nil, `{"payload":{"plainToken":%s},"event_ts":%d,"event":"%s"}`, text, time.Now().UnixMilli(), webhook.EventURLValidation)
}

// answers reports whether an answer has what only a holder of the secret can compute
// of a token.
func (c *Checkup) answers(r outbound.Result, token string) bool {
	signer, err := webhook.NewSigner(c.App.SecretToken.Reveal())
	return err == nil && bytes.Contains(bytes.ToLower(r.Answer), []byte(signer.EncryptToken(token)))
}

func (c *Checkup) checkForgedChallenges(ctx context.Context) {
	const remedy = "verify signature and timestamp of a challenge before answering it: encryptedToken is the same function as the signature, so whoever gets a plainToken of their choice answered can sign events"
	for _, k := range []struct {
		check, what string
		request     request
	}{
		{"challenge, signed wrongly", "signed with another secret", request{forged: true}},
		{"challenge, unsigned", "without a signature", request{unsigned: true}},
		{"challenge, stale", "that was signed an hour ago", request{at: time.Now().Add(-time.Hour)}},
	} {
		token := hook.NewID()
		k.request.body = challengeFor(token)
		switch r := c.send(ctx, k.request); {
		case c.answers(r, token):
			c.add(k.check, Fail, remedy, "the endpoint answers a challenge %s", k.what)
		case !c.accepted("challenge"):
			c.add(k.check, Skip, "", "a right challenge has to be answered first")
		case r.Outcome < 0:
			c.add(k.check, Warn, "refuse it with status 401 and keep the connection", "the endpoint gives no answer: %s", r.Detail)
		default:
			c.add(k.check, Pass, "", "not answered (status %v)", r.Outcome)
		}
	}
	// A token that is the message of an event.
	token := fmt.Sprintf("v0:%d:%s", time.Now().Unix(), c.Event)
	if r := c.send(ctx, request{body: challengeFor(token)}); c.answers(r, token) {
		c.add("challenge, odd token", Warn, "answer only a plainToken of 8 to 128 letters, digits, hyphens and underscores", "the endpoint computes the answer for any plainToken, also for one that makes the answer the signature of an event")
	} else if !c.accepted("challenge") {
		c.add("challenge, odd token", Skip, "", "a right challenge has to be answered first")
	} else {
		c.add("challenge, odd token", Pass, "", "a plainToken that could be a forged event is not answered")
	}
}

// needsEvent is why a check is left out that would say nothing.
const needsEvent = "a valid event has to be accepted first"

// took says how an attempt ended and when.
func took(r outbound.Result) string {
	if r.Outcome < 0 {
		return r.Detail
	}
	return fmt.Sprintf("status %v after %v", r.Outcome, round(r.Timing.Done))
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

func (c *Checkup) checkEvent(ctx context.Context) {
	r := c.send(ctx, request{body: c.Event})
	if r.Outcome == http.StatusUnauthorized || r.Outcome == http.StatusForbidden {
		remedy := "is the secret token right that is given here, and does the endpoint verify the bytes as they come? switchhook trigger shows the whole exchange"
		if strings.Contains(strings.ToLower(r.Response.Header), "www-authenticate:") {
			remedy = "it asks for other credentials than were sent (www-authenticate): are those of --custom-header right? If it should need none, " + remedy
		}
		c.add("event", Fail, remedy, "a valid event is refused: %s", took(r))
		return
	}
	if !r.Outcome.OK() {
		c.add("event", Fail, "answer a valid event with 200 or 204 within 3 seconds; what takes longer belongs into a queue. switchhook trigger shows the whole exchange", "a valid event is not accepted: %s", took(r))
		return
	}
	c.add("event", Pass, "", "a valid event is accepted (%s)", took(r))
}

func (c *Checkup) checkForgedEvents(ctx context.Context) {
	const verify = "verify the signature before anything else, over the raw bytes of the body, and answer 401"
	const clock = "refuse a timestamp that is more than 5 minutes off: otherwise whoever has recorded a request can send it again at any time"
	for _, k := range []struct {
		check, what, remedy string
		request             request
	}{
		{"event, signed wrongly", "signed with another secret", verify, request{forged: true}},
		{"event, unsigned", "without a signature", verify, request{unsigned: true}},
		{"event, stale", "that was signed an hour ago", clock, request{at: time.Now().Add(-time.Hour)}},
		{"event, of the future", "that is signed for in an hour", clock, request{at: time.Now().Add(time.Hour)}},
	} {
		k.request.body = c.Event
		switch r := c.send(ctx, k.request); {
		case r.Outcome.OK():
			c.add(k.check, Fail, k.remedy, "the endpoint accepts an event %s", k.what)
		case !c.accepted("event"):
			c.add(k.check, Skip, "", needsEvent)
		case r.Outcome >= 400 && r.Outcome <= 499:
			c.add(k.check, Pass, "", "refused (status %v)", r.Outcome)
		default:
			c.add(k.check, Warn, "refuse it with status 401; what looks like trouble hides trouble", "the endpoint does not refuse an event %s plainly: %s", k.what, took(r))
		}
	}
}

// checkSignatures looks whether a signature is compared as a whole, and as it is.
func (c *Checkup) checkSignatures(ctx context.Context) {
	type form struct {
		what string
		make func(right string) []string
	}
	for _, k := range []struct {
		check   string
		verdict Verdict
		remedy  string
		forms   []form
	}{
		{"event, part of a signature", Fail, "compare the whole of the signature with the one that you compute, in constant time, and refuse a request that has none: what is shorter can be guessed", []form{
			{"no signature beside a right timestamp", func(string) []string { return nil }},
			{"an empty signature", func(string) []string { return []string{""} }},
			{"a signature that is only v0=", func(right string) []string { return []string{right[:3]} }},
			{"the first half of a signature", func(right string) []string { return []string{right[:35]} }},
		}},
		{"event, odd signature", Warn, "accept v0= and 64 lower-case hex digits and nothing else: what stands before the digits says how they were made, and another way is not this one", []form{
			{"a signature in upper case", func(right string) []string { return []string{right[:3] + strings.ToUpper(right[3:])} }},
			{"a signature without v0=", func(right string) []string { return []string{right[3:]} }},
			{"a signature with v1= in place of v0=", func(right string) []string { return []string{"v1=" + right[3:]} }},
		}},
	} {
		if !c.accepted("event") {
			c.add(k.check, Skip, "", needsEvent)
			continue
		}
		if !c.accepted("event, signed wrongly") {
			c.add(k.check, Skip, "", "a wrong signature has to be refused first")
			continue
		}
		var taken []string
		for _, f := range k.forms {
			if r := c.send(ctx, request{body: c.Event, signatures: f.make}); r.Outcome.OK() {
				taken = append(taken, f.what)
			}
		}
		if len(taken) > 0 {
			c.add(k.check, k.verdict, k.remedy, "the endpoint accepts an event with %s", strings.Join(taken, ", with "))
		} else {
			c.add(k.check, Pass, "", "refused")
		}
	}
}

func (c *Checkup) checkCustomHeader(ctx context.Context) {
	if c.Subscription.Auth.Mode == hook.AuthNone {
		c.add("custom header", Skip, "", "the subscription has none")
		return
	}
	switch r := c.send(ctx, request{body: c.Event, bare: true}); {
	case r.Outcome.OK():
		c.add("custom header", Fail, "refuse requests without it with status 401, or take it out of the subscription", "the endpoint accepts events without the custom header")
	case !c.accepted("event"):
		c.add("custom header", Skip, "", needsEvent)
	default:
		c.add("custom header", Pass, "", "events without it are refused (status %v)", r.Outcome)
	}
}

func (c *Checkup) checkCopies(ctx context.Context) {
	id := hook.DeliveryID{Event: hook.EventID(c.ids.Next(time.Now())), Subscription: c.Subscription.Key}
	first := request{id: id, body: c.Event, at: time.Now()}
	if r := c.send(ctx, first); !r.Outcome.OK() {
		c.add("replay", Skip, "", needsEvent)
		c.add("retry", Skip, "", needsEvent)
		return
	}
	const remedy = "answer what was handled before with 2xx, without handling it again: the platform repeats requests after a crash, and a copy that is refused counts as a failed delivery"
	switch r := c.send(ctx, first); {
	case r.Outcome.OK():
		c.add("replay", Pass, "", "the same request again is accepted (%s)", took(r))
	case r.Outcome >= 400 && r.Outcome <= 499:
		c.add("replay", Warn, remedy, "the same request again is refused: %s", took(r))
	default:
		c.add("replay", Fail, remedy, "the same request again fails: %s", took(r))
	}
	first.at = first.at.Add(time.Second)
	if r := c.send(ctx, first); r.Outcome.OK() {
		c.add("retry", Pass, "", "another attempt of the same delivery is accepted (%s)", took(r))
	} else {
		c.add("retry", Fail, remedy, "another attempt of the same delivery is not accepted: %s", took(r))
	}
}

func (c *Checkup) checkUnknown(ctx context.Context) {
	r := c.send(ctx, request{body: sample.Bare(UnknownEvent, time.Now())})
	if r.Outcome.OK() {
		c.add("unknown event", Pass, "", "an event of an unknown type is accepted (%s)", took(r))
		return
	}
	if !c.accepted("event") {
		c.add("unknown event", Skip, "", needsEvent)
		return
	}
	c.add("unknown event", Fail, "accept event types that nobody handles with 204: an error makes the platform send them again and again, and new types will come", "an event of an unknown type is not accepted: %s", took(r))
}

func (c *Checkup) checkOdd(ctx context.Context) {
	plain := sample.Bare(UnknownEvent, time.Now())
	var bad, why []string
	forms := sample.Odd()
	for _, o := range forms {
		body, err := o.Apply(plain)
		if err != nil {
			continue
		}
		if r := c.send(ctx, request{body: body}); !r.Outcome.OK() {
			bad = append(bad, fmt.Sprintf("%s (%s)", o.Name, took(r)))
			why = append(why, o.Why)
		}
	}
	if c.accepted("unknown event") && len(bad) > 0 {
		c.add("odd JSON", Fail, "verify the bytes as they come, before they are parsed, and parse them with a complete JSON parser; this happens to "+strings.Join(first(why, 3), "; "),
			"of %d legal forms of JSON %d are not accepted: %s", len(forms), len(bad), strings.Join(first(bad, 4), ", "))
		return
	}
	if len(bad) > 0 {
		c.add("odd JSON", Skip, "", "events of unknown types have to be accepted first")
		return
	}
	c.add("odd JSON", Pass, "", "all of %d legal forms of JSON are accepted", len(forms))
}

// first returns at most so many of a list, and how many more there are.
func first(list []string, most int) []string {
	if len(list) <= most {
		return list
	}
	return append(slices.Clone(list[:most]), fmt.Sprintf("and %d more", len(list)-most))
}

// accepted reports whether a check has passed.
func (c *Checkup) accepted(check string) bool {
	return slices.ContainsFunc(c.findings, func(f Finding) bool { return f.Check == check && f.Verdict == Pass })
}

// largest is how many bytes an event may have.
const largest = 1 << 20

func (c *Checkup) checkLarge(ctx context.Context) {
	letter := "x"
	if c.accepted("odd JSON") { // else it is known already that such letters are trouble
		letter = "€"
	}
	body, err := sample.Large(sample.Bare(UnknownEvent, time.Now()), largest, letter)
	if err != nil || !c.accepted("unknown event") {
		c.add("large event", Skip, "", "events of unknown types have to be accepted first")
		return
	}
	r := c.send(ctx, request{body: body})
	if r.Outcome.OK() {
		c.add("large event", Pass, "", "an event of 1 MiB is accepted (%s)", took(r))
		return
	}
	if r.Outcome == http.StatusBadRequest || r.Outcome == http.StatusUnauthorized || r.Outcome == http.StatusForbidden {
		c.add("large event", Fail, "gather the body as bytes, and make a text of it when it is complete: what arrives in pieces has letters cut in two, and each half becomes another letter. If that is so already, look for a limit that cuts bodies off", "an event of 1 MiB is refused as if it were not genuine: %s", took(r))
		return
	}
	c.add("large event", Fail, "accept bodies of up to 1 MiB, also in what stands before the program: a 413 is final, and the event is lost", "an event of 1 MiB is not accepted: %s", took(r))
}

// checkAnswers judges what all answers have in common.
func (c *Checkup) checkAnswers() {
	if c.sent == 0 {
		return
	}
	slowest := round(c.slowest)
	switch {
	case c.taken == 0:
		c.add("speed", Skip, "", "something has to be accepted first")
	case slowest > margin:
		c.add("speed", Warn, "store events and answer; handle them after that. An answer after 3 seconds is none, and the event comes again", "the slowest answer took %v, of 3 seconds that there are", slowest)
	default:
		c.add("speed", Pass, "", "what is accepted is answered within %v, of 3 seconds that there are", slowest)
	}
	if c.fresh > 1 && c.fresh > c.sent/3 {
		c.add("keep-alive", Warn, "keep connections open for some seconds: a new one for each event costs both sides", "%d of %d requests needed a connection of their own", c.fresh, c.sent)
	} else {
		c.add("keep-alive", Pass, "", "connections are kept open")
	}
	if c.moved != 0 {
		c.add("redirects", Fail, "subscribe to the final URL: redirects are not followed, and a redirect is a final failure", "the endpoint answers with a redirect (status %v)", c.moved)
	} else {
		c.add("redirects", Pass, "", "the endpoint does not redirect")
	}
	switch {
	case c.told != "":
		c.add("secrecy", Fail, "answer refusals with a status and no more: whoever gets to know that can forge events", "an answer tells %s", c.told)
	case c.traced:
		c.add("secrecy", Warn, "answer with a status and no more, and write errors into a log: a stack trace tells strangers what the program is made of", "an answer has a stack trace in it")
	default:
		c.add("secrecy", Pass, "", "no answer tells the secret token or a right signature")
	}
}
