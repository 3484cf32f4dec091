package manage_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/challenge"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/internal/outbox"
	"github.com/switchhook/switchhook/internal/seal"
	"github.com/switchhook/switchhook/internal/store"
)

const (
	cnam    = "number_management.peering_number_cnam_updated"
	address = "number_management.peering_number_emergency_address_updated"
	order   = "shop.order_created"

	// What must not be shown.
	crmToken     = "token-of-the-crm"
	basicSecret  = "password-of-the-endpoint"
	oauthSecret  = "secret-of-the-oauth-client"
	headerSecret = "value-of-the-header"
)

// document describes an event type for apps that may read the shop.
const document = `{"openapi": "3.1.0", "info": {"title": "Shop"}, "webhooks": {"shop.order_created": {"post": {
	"x-switchhook-scopes": {"classic": ["shop:read"]}, "requestBody": {}}}}}`

// world is a manager with what is around it.
type world struct {
	t      testing.TB
	file   string
	key    *seal.Key
	db     *store.DB
	prober *prober
	sender *sender
	*manage.Manager
}

// newWorld returns a manager of an empty platform, on which every endpoint answers.
// operator is who makes the changes.
var operator = hook.Actor{Kind: hook.ByOperator, ID: "key", Name: "tests"}

// Whatever a test does, what is served must be what is in the file at its end.
func newWorld(t testing.TB) *world {
	t.Helper()
	doc, err := catalog.Parse([]byte(document))
	must(t, err)
	w := &world{t: t, file: filepath.Join(t.TempDir(), "test.db"), prober: &prober{}, sender: &sender{}}
	w.key, err = seal.NewKey(bytes.Repeat([]byte{7}, 32))
	must(t, err)
	w.db = w.open()
	t.Cleanup(func() {
		beside := w.open()
		if served, kept := dump(w.db.Directory()), dump(beside.Directory()); served != kept {
			t.Errorf("served is\n%skept is\n%s", served, kept)
		}
		must(t, errors.Join(beside.Close(), w.db.Close()))
	})
	w.Manager = &manage.Manager{
		Store: w.db, Directory: w.db.Directory(), Catalog: catalog.New(catalog.NumberManagement(), doc),
		Prober: w.prober, Sender: w.sender, Log: slog.New(slog.DiscardHandler),
	}
	return w
}

func (w *world) open() *store.DB {
	w.t.Helper()
	db, err := store.Open(context.Background(), store.Options{Database: "sqlite:" + w.file, Key: w.key})
	must(w.t, err)
	return db
}

// apply applies a manifest, which must work, and forgets what was noted before.
func (w *world) apply(m *manage.Manifest) *manage.Plan {
	w.t.Helper()
	w.prober.take()
	w.sender.take()
	p, err := w.Apply(context.Background(), operator, m, false)
	must(w.t, err)
	return p
}

// fails applies a manifest, which must fail and change nothing.
func (w *world) fails(m *manage.Manifest) error {
	w.t.Helper()
	var err error
	w.unchanged(func() {
		w.t.Helper()
		var p *manage.Plan
		if p, err = w.Apply(context.Background(), operator, m, false); err == nil {
			w.t.Fatalf("applied: %+v", p)
		}
	})
	return err
}

// unchanged checks that f changes nothing.
func (w *world) unchanged(f func()) {
	w.t.Helper()
	before := dump(w.db.Directory())
	f()
	if got := dump(w.db.Directory()); got != before {
		w.t.Errorf("changed from\n%sto\n%s", before, got)
	}
}

// dump writes a directory for comparison, secrets included.
func dump(d *hook.Directory) string {
	var b strings.Builder
	for _, a := range d.Accounts() {
		fmt.Fprintf(&b, "%+v\n", *a)
	}
	for _, a := range d.Apps() {
		fmt.Fprintf(&b, "app %s %s %s %s %s %v %v %t %d\n",
			a.ID, a.Name, a.Account, a.ClientID, a.SecretToken.Reveal(), a.Scopes, a.CarrierCodes, a.Disabled, a.Created.UnixMilli())
	}
	// By key, for the file has the time of creation in milliseconds only.
	subs := d.Subscriptions("")
	slices.SortFunc(subs, func(a, b *hook.Subscription) int { return cmp.Compare(a.Key, b.Key) })
	for _, s := range subs {
		fmt.Fprintf(&b, "subscription %s %d %s %s %v %s %v %s %v %s %s %s %v %d %d\n",
			s.ID, s.Key, s.App, s.Name, s.Events, s.Scope, s.Subscribers, s.Source,
			s.Auth, s.Auth.Password.Reveal(), s.Auth.ClientSecret.Reveal(), s.Auth.Value.Reveal(),
			s.Limits, s.Generation, s.Created.UnixMilli())
		for _, in := range hook.AppStates() {
			if e := s.At(in); e.URL != "" {
				fmt.Fprintf(&b, "  %s endpoint %s %s %q %d %d\n", in, e.URL, e.State, e.StateReason, e.StateSince.UnixMilli(), e.Checked.UnixMilli())
				for _, f := range e.Failures {
					fmt.Fprintf(&b, "    failed %d %q\n", f.At.UnixMilli(), f.Reason)
				}
			}
		}
	}
	for _, a := range d.Accounts() {
		for _, u := range d.Users(a.ID) {
			fmt.Fprintf(&b, "user %+v\n", *u)
		}
		fmt.Fprintf(&b, "groups of %s %v\n", a.ID, d.Groups(a.ID))
	}
	fmt.Fprintf(&b, "installations %v\n", d.Installations(""))
	return b.String()
}

// app returns the app of a name.
func (w *world) app(name string) *hook.App {
	w.t.Helper()
	for _, a := range w.db.Directory().Apps() {
		if a.Name == name {
			return a
		}
	}
	w.t.Fatalf("there is no app %s", name)
	return nil
}

// subscription returns the subscription of a name, which tells enough here.
func (w *world) subscription(name string) *hook.Subscription {
	w.t.Helper()
	for _, s := range w.db.Directory().Subscriptions("") {
		if s.Name == name {
			return s
		}
	}
	w.t.Fatalf("there is no subscription %s", name)
	return nil
}

// states returns the states of all subscriptions by name.
func (w *world) states() map[string]hook.SubscriptionState {
	states := map[string]hook.SubscriptionState{}
	for _, s := range w.db.Directory().Subscriptions("") {
		states[s.Name] = s.State
	}
	return states
}

// prober answers challenges as it is told.
type prober struct {
	mu     sync.Mutex
	broken map[string]string // by URL, why the endpoint does not answer
	// outcome is how challenges end that are not answered.
	outcome hook.Outcome
	during  func(context.Context, *hook.Subscription, *hook.App)
	calls   []call
}

// call is a challenge: under which secret of the app, to which endpoint, proving the
// platform with what beside the signature.
type call struct {
	secret hook.Secret
	url    string
	auth   hook.Auth
}

func (p *prober) Prove(ctx context.Context, url string, s *hook.Subscription, a *hook.App) challenge.Result {
	p.mu.Lock()
	p.calls = append(p.calls, call{a.SecretToken, url, s.Auth})
	reason, outcome, during := p.broken[url], p.outcome, p.during
	p.mu.Unlock()
	if during != nil {
		during(ctx, s, a)
	}
	r := outbound.Result{Started: time.Now(), Timing: hook.Timing{Done: 12*time.Millisecond + 300*time.Microsecond}, Outcome: http.StatusOK}
	if reason != "" {
		r.Outcome = outcome
	}
	return challenge.Result{OK: reason == "", Reason: reason, Result: r}
}

// breaks makes the endpoint at a URL not answer, or answer again if there is no
// reason.
func (p *prober) breaks(url, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken == nil {
		p.broken = map[string]string{}
	}
	p.broken[url] = reason
}

// once does f during the next challenge only. f may bring about challenges itself.
func (p *prober) once(f func()) {
	var done atomic.Bool
	p.during = func(context.Context, *hook.Subscription, *hook.App) {
		if !done.Swap(true) {
			f()
		}
	}
}

// take returns the URLs that were challenged since it was last called, sorted.
func (p *prober) take() (urls []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.calls {
		urls = append(urls, c.url)
	}
	p.calls = nil
	slices.Sort(urls)
	return urls
}

// sender notes what it is told.
type sender struct {
	mu      sync.Mutex
	changed []hook.SubscriptionKey
	off     []hook.SubscriptionKey // of those, what is called off
}

// CalledOff is noted like a change, and for itself.
func (s *sender) CalledOff(k hook.SubscriptionKey) {
	s.Changed(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off = append(s.off, k)
}

func (s *sender) Changed(k hook.SubscriptionKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = append(s.changed, k)
}

// take returns what it was told since it was last called, sorted.
func (s *sender) take() []hook.SubscriptionKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	told := s.changed
	s.changed = nil
	slices.Sort(told)
	return told
}

// storeFunc is a store that does what a function says.
type storeFunc func(hook.Change) error

func (f storeFunc) Change(c hook.Change, _ time.Time, _ ...*outbox.Message) error { return f(c) }
func (f storeFunc) LogChallenges([]*hook.Attempt) error                           { return f(hook.Change{}) }
func (f storeFunc) LogRefused(*hook.Subscription, *hook.Attempt) error            { return f(hook.Change{}) }

// manifest returns one that has everything: a carrier with two endpoints, and a
// customer whose own app listens to the customer and its branch.
func manifest() *manage.Manifest {
	return &manage.Manifest{
		Accounts: []manage.Account{
			{ID: "carrier", Name: "Carrier", OwnerEmail: "noc@carrier.example"},
			{ID: "branch", Master: "customer"},
			{ID: "customer", Name: "Customer"},
		},
		Apps: []manage.App{
			{
				Name: "peering", Account: "carrier", Scopes: []string{"number_management_numbers:read:admin"}, CarrierCodes: []int32{2417, 12},
				Subscriptions: []manage.Subscription{
					{Name: "names", Events: []string{cnam}, URL: "https://names.carrier.example/hook", CustomHeader: &manage.CustomHeader{
						Type: 1, Username: "switchhook", Password: basicSecret}},
					{Name: "all", Events: []string{address, cnam}, URL: "https://all.carrier.example/hook", MaxInFlight: 4, MaxPerSecond: 2.5, CustomHeader: &manage.CustomHeader{
						Type: 2, ClientID: "client", ClientSecret: oauthSecret, TokenURL: "https://auth.carrier.example/token", ClientAuthentication: "body"}},
				},
			}, {
				Name: "crm", Account: "customer", SecretToken: crmToken, Scopes: []string{"shop:read"},
				Installations: []manage.Installation{{Account: "branch"}, {Account: "carrier", User: "ann"}},
				Subscriptions: []manage.Subscription{
					{Name: "orders", Events: []string{order}, URL: "https://crm.customer.example/hook", Scope: "master_account", Account: "customer", CustomHeader: &manage.CustomHeader{
						Type: 3, Key: "X-Api-Key", Value: headerSecret}},
					{Name: "own", Events: []string{order}, URL: "https://own.customer.example/hook", Scope: "user", Users: []string{"ann"}, Groups: []string{"sales"}},
					{Name: "later", Events: []string{order}, URL: "https://later.customer.example/hook", Disabled: true},
				},
			},
		},
	}
}

const (
	namesURL  = "https://names.carrier.example/hook"
	allURL    = "https://all.carrier.example/hook"
	ordersURL = "https://crm.customer.example/hook"
	ownURL    = "https://own.customer.example/hook"
	laterURL  = "https://later.customer.example/hook"
)

// steps returns the steps of a plan, each as a line.
func steps(p *manage.Plan) (list []string) {
	for _, s := range p.Steps {
		list = append(list, fmt.Sprintf("%s %s %s", s.Action, s.Kind, s.Name))
	}
	return list
}

// step returns the step of a plan that is about something.
func step(t testing.TB, p *manage.Plan, kind, name string) manage.Step {
	t.Helper()
	i := slices.IndexFunc(p.Steps, func(s manage.Step) bool { return s.Kind == kind && s.Name == name })
	if i < 0 {
		t.Fatalf("the plan says nothing of %s %s: %q", kind, name, steps(p))
	}
	return p.Steps[i]
}

// faultsOf returns the faults that an error names, each as it is shown.
func faultsOf(t testing.TB, err error) (list []string) {
	t.Helper()
	e, ok := errors.AsType[*hook.Error](err)
	if !ok || e.Kind != hook.Invalid {
		t.Fatalf("%v is not about what is invalid", err)
	}
	for _, f := range e.Faults {
		list = append(list, hook.Faults{f}.Error())
	}
	return list
}

// kindOf returns the kind of a hook.Error, or 0.
func kindOf(err error) hook.Kind {
	if e, ok := errors.AsType[*hook.Error](err); ok {
		return e.Kind
	}
	return 0
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
