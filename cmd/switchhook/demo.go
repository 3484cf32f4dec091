package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/api"
	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/inventory"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/number"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/internal/seal"
	"github.com/switchhook/switchhook/webhook"
)

func newDemo() *cobra.Command {
	d := &demo{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See the whole way of an event on this machine: platform, two endpoints, a failure and its retry",
		Long: `Run a platform on a temporary database and, as separate HTTP servers on this
machine, the endpoints of two carriers. A customer then changes the caller names
and emergency addresses of some phone numbers, and the carriers learn of it. One
endpoint fails the first time, so that a retry is seen; the retry schedule is
shortened to seconds for that.

The demo needs no network and leaves nothing behind. It stays up until Ctrl-C, so
that the other commands can be tried on it.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	cmd.Flags().BoolVar(&d.once, "once", false, "end when everything was delivered, with exit code 0 only if it was")
	return cmd
}

// demo tells its story to out.
type demo struct {
	once bool

	mu       sync.Mutex
	out      io.Writer
	start    time.Time
	carriers []*carrier
	ended    map[hook.DeliveryID]hook.State
	attempts int
	took     []time.Duration // from event_ts to the end of the last attempt
	changed  chan struct{}   // something happened
}

// demoSchedule stands for 5, 20 and 60 minutes.
var demoSchedule = hook.Schedule{time.Second, 2 * time.Second, 4 * time.Second}

// demoTimeout is far more than the demo takes.
const demoTimeout = 30 * time.Second

// carrier is somebody who receives events: a program with an endpoint.
type carrier struct {
	name, secret string
	code         int32
	url          string
	failFirst    bool

	mu       sync.Mutex
	failed   bool
	verified map[string]int // how many numbers an event was about, by its request id
}

func (d *demo) say(who, format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.out, "%7.3fs  %-13s %s\n", time.Since(d.start).Seconds(), who, printable(fmt.Sprintf(format, args...)))
}

func (d *demo) run(ctx context.Context, out io.Writer) (err error) {
	d.out, d.start, d.ended, d.changed = out, time.Now(), map[hook.DeliveryID]hook.State{}, make(chan struct{}, 1)
	dir, err := os.MkdirTemp("", "switchhook-demo-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	p, url, wait, err := d.platform(ctx, dir)
	if err != nil {
		return err
	}
	defer func() {
		cancel()
		err = errors.Join(err, wait())
	}()
	d.carriers = []*carrier{
		{name: "Blue Carrier", code: 3457, secret: hook.NewSecret(), verified: map[string]int{}},
		{name: "Green Telecom", code: 4021, secret: hook.NewSecret(), verified: map[string]int{}, failFirst: true},
	}
	for _, c := range d.carriers {
		stop, err := d.listen(c)
		if err != nil {
			return err
		}
		defer stop()
	}
	if err := errors.Join(d.apply(ctx, p), d.stock(ctx, p.numbers)); err != nil {
		return err
	}
	key := keyPrefix + hook.NewSecret()
	err = p.store.CreateKey(&hook.OperatorKey{ID: hook.NewID(), Name: "demo", Scopes: hook.KeyScopes(), Created: time.Now()}, hook.Secret(key))
	if err != nil {
		return err
	}
	done, err := d.change(ctx, &client{server: url, known: key, http: http.DefaultClient})
	if err != nil {
		return err
	}
	if err := d.await(ctx, done.Events); err != nil {
		return err
	}
	if err := d.sumUp(done); err != nil || d.once {
		return err
	}
	fmt.Fprintf(out, `
The platform stays up until Ctrl-C. In another terminal:

  export SWITCHHOOK_SERVER=%s
  export SWITCHHOOK_KEY=%s
  switchhook numbers list
  switchhook numbers set-cnam %s --name "PINECONE CAFE"
  switchhook deliveries list
  switchhook subscriptions list
`, url, key, demoNumbers[3457][1])
	<-ctx.Done()
	return nil
}

// platform starts the platform and returns it with its URL and a function that
// waits for its end.
func (d *demo) platform(ctx context.Context, dir string) (*platform, string, func() error, error) {
	file := filepath.Join(dir, "switchhook.db")
	key, _, err := seal.LoadOrCreate(file + ".key")
	if err != nil {
		return nil, "", nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", nil, err
	}
	p, err := newPlatform(ctx, settings{
		database: "sqlite:" + file, key: key, retention: time.Hour, log: slog.New(slog.DiscardHandler),
		outbound: outbound.Config{
			Policy:    hook.EndpointPolicy{HTTP: true, Allowed: hook.Loopback()},
			UserAgent: userAgent(),
		},
		deliver: deliver.Config{Schedule: demoSchedule, Observe: d.observe},
	})
	if err != nil {
		return nil, "", nil, errors.Join(err, l.Close())
	}
	done := make(chan error, 1)
	go func() { done <- p.serve(ctx, l) }()
	url := "http://" + l.Addr().String()
	d.say("platform", "serving on %s, from a temporary database", url)
	return p, url, func() error { return <-done }, nil
}

// observe tells what became of each attempt.
func (d *demo) observe(a hook.Attempt, e *hook.Event) {
	to := d.carrierOf(e.Carrier).name
	outcome := a.Outcome.String()
	if a.Detail != "" {
		outcome += " (" + a.Detail + ")"
	}
	switch a.State {
	case hook.Delivered:
		d.say("platform", "attempt %d to %s: %s; delivered %v after the change", a.Retry+1, to, outcome, latency(a, e))
	case hook.Waiting:
		d.say("platform", "attempt %d to %s: %s; the next one follows in %v", a.Retry+1, to, outcome, a.Next.Sub(a.Started).Round(time.Second))
	default:
		d.say("platform", "attempt %d to %s: %s; %s", a.Retry+1, to, outcome, a.State)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.attempts++
	if a.State != hook.Waiting {
		d.ended[a.Delivery] = a.State
		d.took = append(d.took, latency(a, e))
	}
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

func (d *demo) carrierOf(code int32) *carrier {
	return d.carriers[slices.IndexFunc(d.carriers, func(c *carrier) bool { return c.code == code })]
}

func latency(a hook.Attempt, e *hook.Event) time.Duration {
	return max(0, a.Started.Add(a.Timing.Done).Sub(e.TS)).Round(100 * time.Microsecond)
}

// listen serves a carrier's endpoint. This is all that a receiver takes.
func (d *demo) listen(c *carrier) (stop func(), err error) {
	receiver, err := webhook.New(webhook.Config{
		Secrets: []string{c.secret},
		Error:   func(_ *http.Request, err error) { d.say(c.name, "answers with an error: %v", err) },
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks", receiver.Handler(func(_ context.Context, e *webhook.Event) error { return d.receive(c, e) }))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = s.Serve(l) }()
	c.url = "http://" + l.Addr().String() + "/webhooks"
	d.say(c.name, "its endpoint listens on %s", c.url)
	return func() { _ = s.Close() }, nil
}

var errOnPurpose = errors.New("on purpose, to show a retry")

// receive handles a verified event.
func (d *demo) receive(c *carrier, e *webhook.Event) error {
	var p struct {
		Object struct {
			Numbers []string        `json:"phone_numbers"`
			CNAM    *string         `json:"cnam"`
			Address json.RawMessage `json:"emergency_address"`
		} `json:"object"`
	}
	if err := json.Unmarshal(e.Payload, &p); err != nil {
		return webhook.Permanent(err)
	}
	c.mu.Lock()
	fail := c.failFirst && !c.failed
	c.failed = c.failed || fail
	if !fail {
		c.verified[e.RequestID] = len(p.Object.Numbers)
	}
	c.mu.Unlock()
	if fail {
		return errOnPurpose
	}
	what := "emergency address " + string(p.Object.Address)
	switch {
	case strings.HasSuffix(e.Name, "cnam_updated") && p.Object.CNAM == nil:
		what = "caller name removed"
	case strings.HasSuffix(e.Name, "cnam_updated"):
		what = "caller name " + *p.Object.CNAM
	case p.Object.Address == nil:
		what = "emergency address removed"
	}
	d.say(c.name, "verified: %s: %s", strings.Join(p.Object.Numbers, ", "), what)
	return nil
}

// apply makes accounts, apps and subscriptions, whose endpoints are challenged.
func (d *demo) apply(ctx context.Context, p *platform) error {
	m := &manage.Manifest{Accounts: []manage.Account{{ID: demoCustomer, Name: "Pinecone Bakery"}}}
	for _, c := range d.carriers {
		account := strings.ToLower(strings.ReplaceAll(c.name, " ", "-"))
		m.Accounts = append(m.Accounts, manage.Account{ID: account, Name: c.name})
		m.Apps = append(m.Apps, manage.App{
			Name: c.name + " number sync", Account: account, SecretToken: c.secret, CarrierCodes: []int32{c.code},
			Scopes: []string{"number_management_numbers:read:admin"},
			Subscriptions: []manage.Subscription{{
				Name: "number changes", URL: c.url,
				Events: []string{
					"number_management.peering_number_cnam_updated",
					"number_management.peering_number_emergency_address_updated",
				},
			}},
		})
	}
	plan, err := p.manager.Apply(ctx, hook.Actor{Kind: hook.BySystem}, m, false)
	if err != nil {
		return err
	}
	for _, s := range plan.Steps {
		if s.Kind == "subscription" {
			d.say("platform", "subscription %s: %s", s.Name, s.Reason)
		}
	}
	if n := plan.Failures(); n > 0 {
		return fmt.Errorf("%d endpoints did not answer their challenge", n)
	}
	return nil
}

const demoCustomer = "pinecone-bakery"

// demoNumbers are those that the customer has, by the code of their carrier.
var demoNumbers = map[int32][]string{
	3457: {"+14155550132", "+14155550133"},
	4021: {"+12065550117", "+12065550118"},
}

// stock lets the carriers peer the numbers.
func (d *demo) stock(ctx context.Context, v *inventory.Inventory) error {
	by := hook.Actor{Kind: hook.BySystem}
	for _, c := range d.carriers {
		var all []number.Number
		for _, e164 := range demoNumbers[c.code] {
			all = append(all, number.Number{E164: e164, Account: demoCustomer, AllocatedProduct: number.Phone, Status: true, Assigned: true})
		}
		if _, err := v.PutCarrier(ctx, by, number.Carrier{Code: c.code, Name: c.name}); err != nil {
			return err
		}
		if _, err := v.Add(by, c.code, all); err != nil {
			return err
		}
		d.say(c.name, "peers %s for Pinecone Bakery", strings.Join(demoNumbers[c.code], " and "))
	}
	return nil
}

// demoChanges are what the customer changes: a list of numbers, or one by its path.
var demoChanges = []struct{ what, path, body string }{
	{"sets one name for two numbers", "/numbers", `{"phone_numbers":["+14155550132","+14155550133"],"set":{"cnam":"PINECONE BAKERY"}}`},
	{"sets the address of +12065550117", "/numbers/+12065550117", `{"emergency_address":{"country":"US","address_line1":"400 Broad Street","address_line2":"Floor 2","city":"Seattle","state_code":"WA","zip":"98109"}}`},
	{"sets the address of +14155550132", "/numbers/+14155550132", `{"emergency_address":{"country":"US","address_line1":"1 Ferry Building","city":"San Francisco","state_code":"CA","zip":"94111"}}`},
	{"sets the name of +14155550132 to what it is", "/numbers/+14155550132", `{"cnam":"PINECONE BAKERY"}`},
	{"clears the name of +14155550133", "/numbers/+14155550133", `{"cnam":null}`},
}

// change makes the changes by the operator's HTTP calls, and returns what came of all.
func (d *demo) change(ctx context.Context, c *client) (all api.Changed, err error) {
	for _, x := range demoChanges {
		start := time.Now()
		answer, err := c.call(ctx, request{method: http.MethodPatch, path: operator + x.path, body: strings.NewReader(x.body)})
		if err != nil {
			return all, err
		}
		done, err := decode[api.Changed](answer)
		if err != nil {
			return all, err
		}
		result := fmt.Sprintf("durable after %v, with %s for %s", time.Since(start).Round(100*time.Microsecond),
			plural(done.Events, "event", "events"), plural(done.Changed, "number", "numbers"))
		if done.Changed == 0 {
			result = "nothing is different, so nobody is told"
		}
		d.say("customer", "%s: %s", x.what, result)
		all.Numbers, all.Changed, all.Events = all.Numbers+done.Numbers, all.Changed+done.Changed, all.Events+done.Events
	}
	return all, nil
}

// await waits until all deliveries have ended.
func (d *demo) await(ctx context.Context, owed int) error {
	late := time.NewTimer(demoTimeout)
	defer late.Stop()
	for {
		d.mu.Lock()
		n := len(d.ended)
		d.mu.Unlock()
		if n >= owed {
			return nil
		}
		select {
		case <-d.changed:
		case <-late.C:
			return fmt.Errorf("only %d of %d deliveries ended within %v", n, owed, demoTimeout)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sumUp says how it went. It is an error if a carrier was not told of a change, with a
// right signature: each event goes to one subscription.
func (d *demo) sumUp(done api.Changed) error {
	verified, told := 0, 0
	for _, c := range d.carriers {
		c.mu.Lock()
		verified += len(c.verified)
		for _, n := range c.verified {
			told += n
		}
		c.mu.Unlock()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.Sort(d.took)
	fmt.Fprintf(d.out, "\n%d requests, %d changes of numbers, %d events, %d attempts, %d verified by their receivers.\n", len(demoChanges), done.Changed, done.Events, d.attempts, verified)
	fmt.Fprintf(d.out, "From change to delivery: %v at best, %v with a retry.\n", d.took[0], d.took[len(d.took)-1])
	if verified != done.Events || told != done.Changed {
		return fmt.Errorf("%d of %d events were verified, which tell of %d of %d changes", verified, done.Events, told, done.Changed)
	}
	return nil
}
