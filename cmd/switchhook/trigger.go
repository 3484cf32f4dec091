package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"github.com/switchhook/switchhook/internal/api"
	"github.com/switchhook/switchhook/internal/canon"
	"github.com/switchhook/switchhook/internal/challenge"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/internal/sample"
	"github.com/switchhook/switchhook/webhook"
)

func newTrigger() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trigger EVENT --to URL",
		Short: "Send a sample event to an endpoint, exactly as the platform would; needs no platform",
		Long: `Send a sample event to an endpoint, exactly as the platform would: the same bytes,
headers, signature and time limit.

  switchhook trigger number_management.peering_number_cnam_updated \
    --to http://localhost:8080/webhooks --set payload.object.cnam=ACME

The event ` + webhook.EventURLValidation + ` sends a challenge and judges the answer.

Any address may be called, this machine's included. Options like --duplicate and
--chaos-json do what is legal and nonetheless breaks receivers; --bad-signature and
--stale do what an endpoint has to refuse.

Exit codes: 0 every event was accepted (or refused, as it has to be), 4 there was no
answer, 5 an answer that is not 2xx, 6 none within 3 seconds, 7 the endpoint accepted
what it has to refuse. Of several events, that of the first one that failed counts.`,
		Args: usageArgs(cobra.ExactArgs(1)),
	}
	t := &trigger{out: addOutput(cmd), trial: addTrial(cmd)}
	fl := cmd.Flags()
	fl.StringVar(&t.to, "to", "", "URL of the endpoint")
	fl.StringVar(&t.sample, "sample", "", "which sample of the event type; without it, the first one")
	fl.StringVar(&t.body, "body", "", "file with the event to send instead of a sample; - is standard input")
	fl.StringArrayVar(&t.set, "set", nil, "put a value into the event, as in payload.object.cnam=ACME")
	fl.StringArrayVar(&t.unset, "unset", nil, "leave something out of the event, as in payload.object.cnam")
	fl.IntVar(&t.count, "count", 1, "how many events")
	fl.Float64Var(&t.rate, "rate", 0, "events per second; 0: each when the one before it has ended")
	fl.IntVar(&t.inFlight, "in-flight", 0, "how many at a time; 0: one, and 16 with --rate")
	fl.BoolVar(&t.chaos, "chaos-json", false, "give each event another of the odd forms that JSON may have; without --count, one event for each")
	fl.BoolVar(&t.duplicate, "duplicate", false, "send each event twice, as after a crash: with the same request id")
	fl.BoolVar(&t.reorder, "reorder", false, "send of each two events the later one first")
	fl.BoolVar(&t.retry, "retry-after-5xx", false, "try again after 5xx and after no answer, as the platform does")
	fl.DurationSliceVar(&t.steps, "retry-steps", []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}, "pauses before the second attempt, the third, and so on; the platform's are 5m,20m,60m")
	fl.BoolVar(&t.badSignature, "bad-signature", false, "sign with another secret; the endpoint has to refuse it")
	fl.BoolVar(&t.stale, "stale", false, "send it as of an hour ago; the endpoint has to refuse it")
	fl.BoolVarP(&t.verbose, "verbose", "v", false, "print whole requests and answers also of several events")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return t.run(cmd, args[0]) }
	return cmd
}

type trigger struct {
	out          *output
	trial        *trial
	to, sample   string
	body         string
	set, unset   []string
	count        int
	rate         float64
	inFlight     int
	chaos        bool
	duplicate    bool
	reorder      bool
	retry        bool
	steps        []time.Duration
	badSignature bool
	stale        bool
	verbose      bool

	target *target
	odd    []sample.Oddity
	mu     sync.Mutex // of what follows
	shots  []*shot
	first  *shot // the first one that failed
}

// shot is one request and what became of it.
type shot struct {
	N         int       `json:"n"`
	Event     string    `json:"event"`
	RequestID string    `json:"request_id"`
	Attempt   int       `json:"attempt"`
	Duplicate bool      `json:"duplicate,omitempty"`
	Oddity    string    `json:"oddity,omitempty"`
	URL       string    `json:"url"`
	Header    string    `json:"request_header,omitempty"`
	Body      string    `json:"request_body"`
	Sent      time.Time `json:"sent"`
	Outcome   string    `json:"outcome"`
	Status    int       `json:"status"`
	Detail    string    `json:"detail,omitempty"`
	Answer    string    `json:"answer_header,omitempty"`
	Text      string    `json:"answer_body,omitempty"`
	Took      timing    `json:"took_ms"`
	OK        bool      `json:"ok"`

	code  int
	total time.Duration
}

// timing are the phases of a request. Those that it did not have are left out.
type timing struct {
	DNS       api.Milliseconds `json:"dns,omitzero"`
	Connected api.Milliseconds `json:"connected,omitzero"`
	TLS       api.Milliseconds `json:"tls,omitzero"`
	FirstByte api.Milliseconds `json:"first_byte,omitzero"`
	Total     api.Milliseconds `json:"total"`
}

func (t *trigger) check(event string) error {
	bad := func(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }
	challenge := event == webhook.EventURLValidation
	switch {
	case t.to == "":
		return bad("--to is missing: the URL of the endpoint")
	case t.count < 1:
		return bad("--count must be 1 or more")
	case t.rate < 0:
		return bad("--rate must be 0 or more")
	case t.inFlight < 0 || t.inFlight > hook.MaxInFlight:
		return bad("--in-flight must be 0 to %d", hook.MaxInFlight)
	case t.reorder && t.count < 2:
		return bad("--reorder needs --count 2 or more")
	case t.badSignature && t.stale:
		return bad("--bad-signature and --stale exclude each other: one at a time shows what the endpoint looks at")
	case t.body != "" && t.sample != "":
		return bad("--body and --sample exclude each other")
	case challenge && (t.body != "" || t.sample != "" || len(t.set)+len(t.unset) > 0 || t.count > 1 || t.rate > 0 || t.chaos || t.duplicate || t.retry || t.badSignature || t.stale):
		return bad("%s goes without the options for events", event)
	}
	for _, d := range t.steps {
		if d < 0 {
			return bad("--retry-steps must not be negative")
		}
	}
	for _, s := range t.set {
		if !strings.Contains(s, "=") {
			return bad("--set %q is not PATH=VALUE", s)
		}
	}
	return nil
}

func (t *trigger) run(cmd *cobra.Command, event string) error {
	if t.chaos {
		t.odd = sample.Odd()
		if !cmd.Flags().Changed("count") {
			t.count = len(t.odd)
		}
	}
	if err := t.check(event); err != nil {
		return err
	}
	var err error
	if t.target, err = t.trial.open(cmd, t.to, everywhere()); err != nil {
		return err
	}
	defer t.target.client.Close()
	if event == webhook.EventURLValidation {
		return t.challenge(cmd.Context())
	}
	body, err := t.event(cmd, event)
	if err != nil {
		return err
	}
	end := func() {}
	if t.out.format == "json" {
		end = t.out.collect()
	}
	sum, err := t.sendAll(cmd.Context(), body)
	if err == nil && (t.count > 1 || len(t.shots) > 1) {
		err = t.summary(sum)
	}
	end()
	if err != nil {
		return err
	}
	if t.first != nil {
		return &exitError{&quiet{errors.New(t.first.Outcome)}, t.first.code}
	}
	return nil
}

// event returns the event that is sent, as of now.
func (t *trigger) event(cmd *cobra.Command, name string) (body []byte, err error) {
	now := time.Now()
	switch {
	case t.body != "":
		text, err := readInput(cmd, t.trial.secret, t.body)
		if err != nil {
			return nil, err
		}
		if body, err = canon.Append(nil, text); err != nil {
			return nil, fmt.Errorf("%s: %w", nameOf(t.body), err)
		}
	default:
		known, err := t.trial.types()
		if err != nil {
			return nil, err
		}
		kind, ok := known.Lookup(name)
		if !ok {
			return nil, &usageError{fmt.Errorf("event type %q is not known; there are %s. --catalog adds those of a document, --body sends any event", name, typeNames(known))}
		}
		if body, err = sample.Body(kind, t.sample, now); err != nil {
			return nil, err
		}
	}
	if t.body != "" {
		if got, _ := canon.Get(body, "event"); string(got) != string(canon.AppendText(nil, name)) {
			return nil, fmt.Errorf("%s is an event of the name %s, and not %q", nameOf(t.body), got, name)
		}
	}
	for _, s := range t.set {
		path, value, _ := strings.Cut(s, "=")
		if body, err = sample.Set(body, path, value); err != nil {
			return nil, &usageError{fmt.Errorf("--set %w", err)}
		}
	}
	for _, path := range t.unset {
		if body, err = sample.Unset(body, path); err != nil {
			return nil, &usageError{fmt.Errorf("--unset %w", err)}
		}
	}
	return body, nil
}

// sendAll sends all events, as many at a time as there may be, and returns how long
// that took.
func (t *trigger) sendAll(ctx context.Context, body []byte) (took time.Duration, err error) {
	workers := t.inFlight
	limit := rate.NewLimiter(rate.Inf, 1)
	if t.rate > 0 {
		workers = cmp.Or(workers, 16)
		limit = rate.NewLimiter(rate.Limit(t.rate), 1)
	}
	workers = min(cmp.Or(workers, 1), t.count)
	start := time.Now()
	places := make(chan int)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		defer close(places)
		for i := range t.count {
			if limit.Wait(ctx) != nil {
				return
			}
			select {
			case places <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range places {
				if err := t.deliver(ctx, i, start, body); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return time.Since(start), nil
}

// deliver sends the event that comes at a place, with what the options add to it.
func (t *trigger) deliver(ctx context.Context, place int, start time.Time, body []byte) error {
	// Of each two events the second is sent first, if there is one.
	n := place
	if t.reorder && place^1 < t.count {
		n = place ^ 1
	}
	s := shot{N: n + 1, URL: t.to}
	if t.count > 1 {
		at := time.Now()
		if t.reorder {
			at = start.Add(time.Duration(n) * time.Millisecond)
		}
		var err error
		if body, err = sample.At(body, at); err != nil {
			return err
		}
	}
	if t.odd != nil {
		o := t.odd[n%len(t.odd)]
		odd, err := o.Apply(body)
		if err != nil {
			return err
		}
		s.Oddity, body = o.Name, odd
	}
	name, _ := canon.Get(body, "event")
	s.Event, _ = canon.Text(name)
	s.Body = string(body)
	id := t.target.delivery()
	s.RequestID = id.String()
	for attempt := 1; ; attempt++ {
		s.Attempt = attempt
		again, err := t.attempt(ctx, s, id, attempt <= len(t.steps) && t.retry)
		if err != nil || !again {
			if err == nil && t.duplicate {
				s.Duplicate = true
				_, err = t.attempt(ctx, s, id, false)
			}
			return err
		}
		if !sleep(ctx, t.steps[attempt-1]) {
			return ctx.Err()
		}
	}
}

// attempt sends a request, and says whether there is to be another one.
func (t *trigger) attempt(ctx context.Context, s shot, id hook.DeliveryID, mayRetry bool) (again bool, err error) {
	m := outbound.Message{Delivery: id, Span: rand.Uint64(), Body: []byte(s.Body), WantAnswer: true, WantRequest: true}
	secret := hook.Secret("")
	if t.badSignature {
		secret = hook.Secret(hook.NewSecret())
	}
	if t.stale {
		m.At = time.Now().Add(-time.Hour)
	}
	r := t.target.client.Send(ctx, t.target.endpoint(secret), m)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	again = mayRetry && r.Outcome.Retry() == hook.AtStep
	s.fill(r)
	s.code = t.code(r.Outcome)
	s.OK = s.code == exitOK
	return again, t.record(&s, again)
}

// code is the exit code that an outcome is worth.
func (t *trigger) code(o hook.Outcome) int {
	refusing := t.badSignature || t.stale
	switch {
	case o == hook.ReadTimeOut:
		return exitSlow
	case o < 0:
		return exitNoAnswer
	case refusing && o.OK():
		return exitFaults
	case refusing && o >= 400 && o <= 499, !refusing && o.OK():
		return exitOK
	}
	return exitRefused
}

func (s *shot) fill(r outbound.Result) {
	s.Header, s.Sent, s.Outcome, s.Status, s.Detail = r.Request, r.Started.UTC(), r.Outcome.String(), r.Outcome.Status(), r.Detail
	s.Answer, s.Text, s.total = r.Response.Header, text(r.Response.Body), r.Timing.Done
	s.Took = timing{api.Milliseconds(r.Timing.DNS), api.Milliseconds(r.Timing.Connected), api.Milliseconds(r.Timing.TLS), api.Milliseconds(r.Timing.FirstByte), api.Milliseconds(r.Timing.Done)}
}

// text returns a body as text; what is none is said to be so.
func text(body []byte) string {
	if utf8.Valid(body) {
		return string(body)
	}
	return fmt.Sprintf("(%d bytes that are no text)", len(body))
}

// record prints a shot and keeps what counts at the end.
func (t *trigger) record(s *shot, again bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := *s
	kept.Body, kept.Header, kept.Answer, kept.Text = "", "", "", "" // of many events that is a lot
	t.shots = append(t.shots, &kept)
	if s.code != exitOK && !again && (t.first == nil || s.N < t.first.N) {
		t.first = &kept
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return t.out.write(raw, "", func() error {
		if t.count == 1 && !t.duplicate && !t.retry || t.verbose {
			return s.print(t.out.w)
		}
		return s.line(t.out.w, len(fmt.Sprint(t.count)))
	})
}

// print writes the whole exchange.
func (s *shot) print(w io.Writer) error {
	for line := range strings.Lines(s.Header) {
		fmt.Fprintln(w, printable(strings.TrimRight(line, "\r\n")))
	}
	if s.Header != "" {
		fmt.Fprintf(w, "%s\n\n", printable(s.Body))
	}
	fmt.Fprintln(w, s.result())
	for line := range strings.Lines(s.Answer) {
		fmt.Fprintln(w, printable(strings.TrimRight(line, "\r\n")))
	}
	if s.Text != "" {
		fmt.Fprintf(w, "\n%s\n", printable(strings.TrimRight(s.Text, "\r\n")))
	}
	return nil
}

// line writes what became of it.
func (s *shot) line(w io.Writer, width int) error {
	what := fmt.Sprintf("%*d  %s", width, s.N, s.RequestID)
	if s.Attempt > 1 {
		what += fmt.Sprintf("  attempt %d", s.Attempt)
	}
	if s.Duplicate {
		what += "  duplicate"
	}
	if s.Oddity != "" {
		what += "  " + s.Oddity
	}
	_, err := fmt.Fprintln(w, what+"  "+s.result())
	return err
}

// result says in a line what became of it.
func (s *shot) result() string {
	line := fmt.Sprintf("%s after %s", s.Outcome, took(s.Took.Total))
	if s.Took.FirstByte != 0 && s.Took.Connected != 0 {
		line += fmt.Sprintf(" (connected after %s, first byte after %s)", took(s.Took.Connected), took(s.Took.FirstByte))
	}
	if s.Detail != "" {
		line += ": " + printable(s.Detail)
	}
	switch {
	case s.code == exitFaults:
		line += ": accepted, and it has to be refused"
	case s.OK && s.Status >= 400:
		line += ": refused, as it has to be"
	case s.OK:
		line += ": accepted"
	case s.code == exitRefused:
		line += ": " + judged(s.Status)
	}
	return line
}

// judged says what the platform makes of a status.
func judged(status int) string {
	switch hook.Outcome(status).Retry() {
	case hook.AtStep:
		return "failed; the platform would try again"
	default:
		if status >= 300 && status <= 399 {
			return "a redirect, which the platform does not follow; it would not try again"
		}
		return "refused; the platform would not try again"
	}
}

// summary writes how all went together.
func (t *trigger) summary(took time.Duration) error {
	type sum struct {
		Sent     int            `json:"sent"`
		OK       int            `json:"ok"`
		Outcomes map[string]int `json:"outcomes"`
		Seconds  float64        `json:"seconds"`
		P50      float64        `json:"p50_ms"`
		P99      float64        `json:"p99_ms"`
		Max      float64        `json:"max_ms"`
	}
	s := sum{Sent: len(t.shots), Outcomes: map[string]int{}, Seconds: took.Seconds()}
	var times []time.Duration
	for _, x := range t.shots {
		if x.OK {
			s.OK++
		}
		s.Outcomes[x.Outcome]++
		times = append(times, x.total)
	}
	slices.Sort(times)
	at := func(q float64) float64 {
		return float64(quantile(times, q).Microseconds()) / 1000
	}
	s.P50, s.P99, s.Max = at(0.5), at(0.99), at(1)
	raw, err := json.Marshal(struct {
		Summary sum `json:"summary"`
	}{s})
	if err != nil {
		return err
	}
	return t.out.write(raw, "", func() error {
		var outcomes []string
		for o, n := range s.Outcomes {
			outcomes = append(outcomes, fmt.Sprintf("%d x %s", n, o))
		}
		slices.Sort(outcomes)
		_, err := fmt.Fprintf(t.out.w, "%d sent in %.2gs, %d as it should be: %s; p50 %.1fms, p99 %.1fms, slowest %.1fms\n", s.Sent, s.Seconds, s.OK, strings.Join(outcomes, ", "), s.P50, s.P99, s.Max)
		return err
	})
}

// quantile returns the least of sorted times that so large a part of them is not above.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[max(int(math.Ceil(q*float64(len(sorted)))), 1)-1]
}

// challenge asks the endpoint to prove itself.
func (t *trigger) challenge(ctx context.Context) error {
	p := challenge.Prober{Client: t.target.client, IDs: t.target.ids}
	r := p.Prove(ctx, t.to, t.target.sub, t.target.app)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s := shot{N: 1, Event: webhook.EventURLValidation, Attempt: 1, URL: t.to, OK: r.OK}
	s.fill(r.Result)
	s.Detail = r.Reason
	switch s.code = t.code(r.Outcome); {
	case r.OK:
	case s.code == exitOK:
		s.code = exitFaults // it has answered, and wrongly
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := t.out.write(raw, "", func() error {
		if r.OK {
			_, err := fmt.Fprintf(t.out.w, "the endpoint has proven itself: %s after %s\n", s.Outcome, took(s.Took.Total))
			return err
		}
		_, err := fmt.Fprintf(t.out.w, "the endpoint has not proven itself: %s\n", printable(r.Reason))
		return err
	}); err != nil || r.OK {
		return err
	}
	return &exitError{&quiet{errors.New(r.Reason)}, s.code}
}
