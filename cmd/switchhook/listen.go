package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/api"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/webhook"
)

func newListen() *cobra.Command {
	l := &listening{}
	cmd := call("listen", "Get an app's live events here, and send them to a local program", cobra.NoArgs, l.run)
	cmd.Long = `Get the events that an app may receive, as they are accepted by a running platform, and
send each to a local program, with the bytes, headers and signature that an endpoint of
the app would get. The connection is one that this command opens, so it works behind NAT
and firewalls; nothing has to be subscribed or validated for it. Without --forward-to and
--route events are only shown.

    switchhook listen --app APP --forward-to http://localhost:3000/webhooks
    switchhook listen --app APP --route 'number_management.*=http://localhost:4000/n'

A line on standard error that begins with "ready:" says that events come from then on.
When the connection breaks, or nothing comes for 45 seconds, not even that the platform
is alive, the command says so, connects again, goes on after the last event, and says
"ready again:". If it cannot for half a minute it ends with exit code 8.

Each event is sent once, one after the other; if the local program does not take it, it
says so and goes on. Send it again with: switchhook listen resend EVENT.

Operators need a key with the scope manage, because whoever sees signed requests could
send them. Whoever writes the app needs no key: with --client-id and the client secret in
SWITCHHOOK_CLIENT_SECRET or --client-secret-file an app gets its own events.`
	fl := cmd.Flags()
	fl.StringVar(&l.app, "app", "", "id of the app whose events are wanted")
	fl.StringVar(&l.clientID, "client-id", os.Getenv(envName("client-id")), "client id of the app, to listen as the app itself and not as an operator")
	fl.StringVar(&l.secretFile, "client-secret-file", os.Getenv(envName("client-secret-file")), "file with the client secret; SWITCHHOOK_CLIENT_SECRET holds the secret itself")
	fl.StringVar(&l.forwardTo, "forward-to", "", "URL of the local program")
	fl.StringArrayVar(&l.routes, "route", nil, "EVENTS=URL: send events of this type, or that begin so, as in 'a.b.*=http://localhost:4000/', there instead; the first that fits")
	fl.StringSliceVar(&l.events, "events", nil, "only these event types; one may end in * (default: all that the app may receive)")
	fl.StringVar(&l.after, "after", "", "go on after this event, 0 for all that is kept; without it, only what comes")
	fl.IntVar(&l.count, "count", 0, "end after so many events (0: never), with exit code 5 if one was not taken")
	fl.BoolVar(&l.printJSON, "print-json", false, "show the body of each event")
	fl.BoolVar(&l.validate, "validate", false, "first send the challenge by which endpoints prove themselves, and say whether the answer is right")
	fl.DurationVar(&l.timeout, "timeout", webhook.SendTimeout, "how long to wait for an answer; the platform waits for 3s, a debugger may want longer")
	fl.StringVar(&l.ca, "ca", "", "file with certificate authorities in PEM form that may certify the local program, beside the system's")
	again := call("resend EVENT", "Send an event again to those who listen now", cobra.ExactArgs(1), resendToListeners)
	again.Long = `Send an event again to those who listen now with switchhook listen, with the same request
id and a new signature, and say how many have got it. If nobody does it fails. Deliveries
to subscriptions are made again with: switchhook deliveries resend.`
	again.Flags().String("app", "", "only to those who listen for this app")
	cmd.AddCommand(again)
	return cmd
}

func resendToListeners(cmd *cobra.Command, c *client, o *output, args []string) error {
	q := url.Values{}
	if app, _ := cmd.Flags().GetString("app"); app != "" {
		q.Set("app_id", app)
	}
	raw, err := c.call(cmd.Context(), request{method: http.MethodPost, path: operator + "/events/" + url.PathEscape(args[0]) + "/listeners", query: q})
	if err != nil {
		return err
	}
	return o.write(raw, "", func() error {
		v, err := decode[struct{ Listeners int }](raw)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(o.w, "sent to %s\n", plural(v.Listeners, "listener", "listeners"))
		return err
	})
}

// listening sends events to a local program.
type listening struct {
	app, forwardTo, after, ca   string
	clientID, secretFile        string
	routes, events              []string
	count                       int
	printJSON, validate, colour bool
	timeout                     time.Duration

	out      *output
	messages io.Writer
	table    []forwardRoute
	client   *outbound.Client
	follow   *following

	begun       bool          // it was ready once
	skew        time.Duration // how much this clock is ahead of the platform's
	got, failed int
	left        int
}

// forwardRoute says where events go.
type forwardRoute struct{ pattern, url string }

func (r forwardRoute) takes(event string) bool {
	if begin, ok := strings.CutSuffix(r.pattern, "*"); ok {
		return strings.HasPrefix(event, begin)
	}
	return r.pattern == event
}

func (l *listening) run(cmd *cobra.Command, c *client, o *output, _ []string) error {
	if err := l.open(c, o, cmd.ErrOrStderr()); err != nil {
		return err
	}
	defer l.client.Close()
	ctx := cmd.Context()
	err := l.hint(l.follow.run(ctx))
	if l.got > 0 {
		end := plural(l.got, "event", "events")
		if len(l.table) > 0 {
			end += fmt.Sprintf(", %d not taken", l.failed)
		}
		if l.left > 0 { // it would have gone on
			end += "; go on with --after " + l.follow.last
		}
		fmt.Fprintln(l.messages, end)
	}
	if err == nil && ctx.Err() == nil && l.failed > 0 {
		return &exitError{&quiet{errors.New("not all events were taken")}, exitRefused}
	}
	return err
}

// open reads the flags.
func (l *listening) open(c *client, o *output, messages io.Writer) error {
	l.out, l.messages, l.colour, l.left = o, messages, coloured(o.w), math.MaxInt
	if l.app == "" && l.clientID == "" {
		return &usageError{errors.New("--app is missing: the id of the app whose events are wanted; see: switchhook apps list")}
	}
	if err := l.signIn(c); err != nil {
		return err
	}
	if l.count < 0 {
		return &usageError{errors.New("--count must be 0 or more")}
	}
	if l.count > 0 {
		l.left = l.count
	}
	if l.timeout <= 0 {
		return &usageError{fmt.Errorf("--timeout %v must be more than 0", l.timeout)}
	}
	if l.after != "" && l.after != "0" {
		if _, err := hook.ParseEventID(l.after); err != nil {
			return &usageError{fmt.Errorf("--after %w", err)}
		}
	}
	for _, text := range l.routes {
		pattern, to, ok := strings.Cut(text, "=")
		if !ok || pattern == "" {
			return &usageError{fmt.Errorf("--route %q is not EVENTS=URL", text)}
		}
		if strings.Contains(strings.TrimSuffix(pattern, "*"), "*") {
			return &usageError{fmt.Errorf("--route %q would never fit: * may only be the end of EVENTS", text)}
		}
		l.table = append(l.table, forwardRoute{pattern, to})
	}
	if l.forwardTo != "" {
		l.table = append(l.table, forwardRoute{"*", l.forwardTo})
	}
	for _, r := range l.table {
		if err := checkURL(r.url); err != nil {
			return err
		}
	}
	if l.validate && len(l.table) == 0 {
		return &usageError{errors.New("--validate needs --forward-to or --route")}
	}
	cas, err := authorities(l.ca)
	if err != nil {
		return err
	}
	l.client = outbound.New(outbound.Config{Policy: everywhere(), CAs: cas, AnswerTimeout: l.timeout, KeepBody: outbound.MaxKeepBody})
	q := url.Values{}
	if l.app != "" {
		q.Set("app_id", l.app)
	}
	if len(l.events) > 0 {
		q.Set("event", strings.Join(l.events, ","))
	}
	if l.validate {
		q.Set("challenge", "true")
	}
	l.follow = &following{client: c, path: operator + "/events/stream", query: q, messages: messages, what: "the app's events", opened: l.opened, take: l.take, last: l.after}
	return nil
}

// signIn has the client call as the app, if that is who listens.
func (l *listening) signIn(c *client) error {
	if l.clientID == "" {
		return nil
	}
	secret := os.Getenv(envName("client-secret"))
	if l.secretFile != "" {
		text, err := os.ReadFile(l.secretFile)
		if err != nil {
			return err
		}
		secret = string(text)
	}
	if secret = strings.TrimSpace(secret); secret == "" {
		return &usageError{errors.New("no client secret: set SWITCHHOOK_CLIENT_SECRET or --client-secret-file")}
	}
	c.app = &appClient{id: l.clientID, secret: secret}
	return nil
}

// hint says what to do about what the platform refuses.
func (l *listening) hint(err error) error {
	e, ok := errors.AsType[*statusError](err)
	if !ok {
		return err
	}
	switch {
	case l.clientID != "":
		return err // the app is told by the platform
	case e.status == http.StatusUnauthorized, e.status == http.StatusForbidden:
		return fmt.Errorf("%w; make a key that may listen with: switchhook keys create --scope manage", err)
	case e.status == http.StatusNotFound:
		return fmt.Errorf("%w; see: switchhook apps list", err)
	}
	return err
}

// maxSkew is how far the clocks may be apart without a word: receivers allow 5 minutes.
const maxSkew = time.Minute

// opened takes note of what the platform's clock says.
func (l *listening) opened(res *http.Response) {
	l.skew = 0
	if date, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		l.skew = time.Since(date)
	}
	if l.skew.Abs() > maxSkew && !l.begun {
		fmt.Fprintf(l.messages, "warning: this machine's clock is %v apart from the platform's; a program that checks signatures refuses what is 5 minutes off\n", l.skew.Abs().Round(time.Second))
	}
}

// take does what an event of the stream asks for.
func (l *listening) take(ctx context.Context, e *serverEvent) error {
	switch e.name {
	case "ready":
		return l.ready(e)
	case "challenge":
		v, err := decode[api.ListenedRequest]([]byte(e.data))
		if err == nil {
			l.challenge(ctx, &v)
		}
		return err
	case "gap":
		return gap(l.messages, "events", e)
	case "":
	default:
		return nil // of a later version
	}
	v, err := decode[api.ListenedRequest]([]byte(e.data))
	if err != nil {
		return err
	}
	if l.stale(&v) {
		return errAfresh
	}
	return l.event(ctx, &v)
}

// ready says that events come from now on.
func (l *listening) ready(e *serverEvent) error {
	v, err := decode[api.Listening]([]byte(e.data))
	if err != nil {
		return err
	}
	word, after := "ready", ""
	if l.begun {
		word, after = "ready again", ", going on after "+v.After
	} else if l.after != "" {
		after = ", going on after " + l.after
	}
	l.begun = true
	delete(l.follow.query, "challenge") // once is enough
	where := ", forwarding to nobody"
	if to := l.urls(); len(to) > 0 {
		where = ", forwarding to " + strings.Join(to, ", ")
	}
	fmt.Fprintf(l.messages, "%s: listening for %s of app %q (%s)%s%s\n", word, plural(len(v.Events), "event type", "event types"), printable(v.Name), v.App, printable(where), after)
	if l.out.format == "text" {
		return nil
	}
	raw, err := json.Marshal(map[string]api.Listening{"ready": v})
	if err == nil {
		err = l.out.write(raw, "", nil)
	}
	if err != nil {
		return &outputError{err}
	}
	return nil
}

// urls returns where events may go.
func (l *listening) urls() (all []string) {
	for _, r := range l.table {
		if u := withoutQuery(r.url); !slices.Contains(all, u) {
			all = append(all, u)
		}
	}
	return all
}

// maxWait is how old a signature may be that is sent on. Events wait where the local
// program is slow, and receivers refuse what is 5 minutes old.
const maxWait = time.Minute

// stale reports whether a request has waited too long. It is fresh if it is had anew.
func (l *listening) stale(v *api.ListenedRequest) bool {
	at, err := strconv.ParseInt(v.Headers[strings.ToLower(webhook.HeaderTimestamp)], 10, 64)
	return err == nil && !v.Again && time.Since(time.Unix(at, 0))-l.skew > maxWait
}

// challenge asks the local program to prove itself, at each of its URLs.
func (l *listening) challenge(ctx context.Context, v *api.ListenedRequest) {
	asked := map[string]bool{}
	for _, r := range l.table {
		if asked[r.url] || ctx.Err() != nil || v.Expected == nil {
			continue
		}
		asked[r.url] = true
		res := l.client.Relay(ctx, r.url, headersOf(v), []byte(v.Body))
		reason := res.Detail
		if res.Outcome > 0 {
			reason = v.Expected.Judge(int(res.Outcome), res.Answer)
		}
		if reason == "" {
			fmt.Fprintf(l.messages, "%s has proven itself: it answers the challenge as it should\n", printable(withoutQuery(r.url)))
			continue
		}
		fmt.Fprintf(l.messages, "%s has not proven itself: %s\n", printable(withoutQuery(r.url)), printable(reason))
	}
}

// headersOf returns the headers of a request in an order.
func headersOf(v *api.ListenedRequest) (all [][2]string) {
	for _, name := range slices.Sorted(maps.Keys(v.Headers)) {
		all = append(all, [2]string{name, v.Headers[name]})
	}
	return all
}

// relayed is an event that has come, and what became of it.
type relayed struct {
	EventID   string      `json:"event_id"`
	Event     string      `json:"event"`
	Account   string      `json:"account_id"`
	TS        api.Instant `json:"event_ts"`
	RequestID string      `json:"request_id"`
	Again     bool        `json:"again"`
	Received  api.Instant `json:"received_at"`
	// Forwarded is where it was sent, if it was.
	Forwarded string           `json:"forwarded_to,omitempty"`
	Outcome   string           `json:"outcome,omitempty"`
	Status    int              `json:"status,omitempty"`
	Took      api.Milliseconds `json:"took_ms,omitempty"`
	Detail    string           `json:"detail,omitempty"`
	Answer    string           `json:"answer,omitempty"` // of a program that did not take it
	Body      json.RawMessage  `json:"body,omitempty"`

	outcome hook.Outcome
}

// event sends an event on, and shows it.
func (l *listening) event(ctx context.Context, v *api.ListenedRequest) error {
	a := relayed{EventID: v.EventID, Event: v.Event, Account: v.Account, TS: v.TS, RequestID: v.RequestID, Again: v.Again, Received: api.Instant(time.Now())}
	if l.printJSON {
		a.Body = json.RawMessage(v.Body)
	}
	i := slices.IndexFunc(l.table, func(r forwardRoute) bool { return r.takes(v.Event) })
	switch {
	case i >= 0:
		a.Forwarded = l.table[i].url
		r := l.client.Relay(ctx, a.Forwarded, headersOf(v), []byte(v.Body))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		a.outcome, a.Outcome, a.Status, a.Took, a.Detail = r.Outcome, r.Outcome.String(), max(0, r.Outcome.Status()), api.Milliseconds(r.Timing.Done), r.Detail
		if !r.Outcome.OK() {
			l.failed++
		}
		switch {
		case r.Outcome.OK():
		case r.Outcome > 0:
			a.Detail, a.Answer = judged(int(r.Outcome)), text(r.Answer[:min(len(r.Answer), 4<<10)])
		case r.Outcome == hook.ConnectionRefused:
			a.Detail += "; is the local program running?"
		case r.Outcome == hook.ReadTimeOut && l.timeout == webhook.SendTimeout:
			a.Detail += ", as long as the platform waits; --timeout allows more"
		}
	case len(l.table) > 0:
		a.Detail = "no route, not forwarded"
	}
	l.got++
	if err := l.show(&a); err != nil {
		return &outputError{err}
	}
	if l.left--; l.left == 0 {
		return errEnough
	}
	return nil
}

// show writes what became of an event.
func (l *listening) show(a *relayed) error {
	var raw bytes.Buffer
	enc := json.NewEncoder(&raw)
	enc.SetEscapeHTML(false) // the body is shown as it is
	if err := enc.Encode(a); err != nil {
		return err
	}
	return l.out.write(raw.Bytes(), "", func() error {
		if _, err := fmt.Fprintln(l.out.w, a.line(l.colour)); err != nil || a.Body == nil {
			return err
		}
		var b bytes.Buffer
		if err := json.Indent(&b, a.Body, "    ", "  "); err != nil {
			return err
		}
		for line := range strings.Lines("    " + b.String()) {
			if _, err := fmt.Fprintln(l.out.w, printable(strings.TrimRight(line, "\n"))); err != nil {
				return err
			}
		}
		return nil
	})
}

// line writes an event as a line: when, what came of it, which event, where to.
func (a *relayed) line(colours bool) string {
	what := cmp.Or(a.Outcome, "received")
	if a.Again {
		what += " again"
	}
	what = fmt.Sprintf("%-18s", printable(what))
	if colours {
		colour := blue
		switch {
		case a.outcome.OK():
			colour = green
		case a.outcome.Retry() != hook.Never:
			colour = yellow
		case a.outcome != 0:
			colour = red
		}
		what = "\x1b[" + colour + "m" + what + "\x1b[0m"
	}
	parts := []string{clock(a.Received), what, printable(a.Event), a.EventID}
	if a.Forwarded != "" {
		parts = append(parts, "to "+printable(withoutQuery(a.Forwarded)), "took "+took(a.Took))
	}
	if a.Detail != "" {
		parts = append(parts, printable(a.Detail))
	}
	if a.Answer != "" {
		first, _, _ := strings.Cut(strings.TrimSpace(a.Answer), "\n")
		parts = append(parts, printable(strconv.Quote(first[:min(len(first), 200)])))
	}
	return strings.Join(parts, "  ")
}
