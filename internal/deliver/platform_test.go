package deliver_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/memnet"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/internal/seal"
	"github.com/switchhook/switchhook/internal/store"
	"github.com/switchhook/switchhook/webhook"
)

// platform is the real thing on a network in memory: store, intake, sender and
// client. Its subscriptions are to the CNAM event of carrier 1.
type platform struct {
	t      testing.TB
	db     *store.DB
	net    *memnet.Net
	client *outbound.Client
	sender *deliver.Sender
	intake *intake.Intake
	log    *slog.Logger

	mu       sync.Mutex
	attempts []hook.Attempt // as they became durable
}

const (
	testSecret = "a-secret-token-for-tests"
	cnamEvent  = "number_management.peering_number_cnam_updated"
	customer   = "customer-1"
)

// newPlatform opens a platform on a fresh database. Nothing runs yet.
func newPlatform(t testing.TB, c deliver.Config, o outbound.Config) *platform {
	t.Helper()
	p := &platform{t: t, net: &memnet.Net{}, log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	key, err := seal.NewKey(bytes.Repeat([]byte{7}, 32))
	must(t, err)
	p.db, err = store.Open(t.Context(), store.Options{
		Database: "sqlite:" + filepath.Join(t.TempDir(), "test.db"), Key: key, Deliver: true, Log: p.log,
	})
	must(t, err)
	t.Cleanup(func() { must(t, p.db.Close()) })

	if o.DialContext == nil && o.Resolver == nil {
		o.DialContext = p.net.DialContext
	}
	o.UserAgent = "Switchhook/test"
	p.client = outbound.New(o)
	t.Cleanup(p.client.Close)
	c.Log = p.log
	c.Observe = func(a hook.Attempt, _ *hook.Event) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.attempts = append(p.attempts, a)
	}
	p.sender = deliver.New(p.db, p.db.Directory(), p.client, c)
	p.intake = &intake.Intake{
		Catalog: catalog.New(catalog.NumberManagement()), Directory: p.db.Directory(),
		Store: p.db, Sender: p.sender, IDs: hook.NewIDs(0, 0),
	}
	must(t, p.db.Change(hook.Change{
		Accounts: []*hook.Account{{ID: "carrier"}, {ID: customer}},
		Apps:     []*hook.App{{ID: "app", Account: "carrier", Name: "app", ClientID: "client-id", Scopes: []string{"number_management_numbers:read:admin"}, CarrierCodes: []int32{1}, SecretToken: testSecret}},
	}, time.Now()))
	return p
}

// run starts the sender and returns a function that stops it and waits.
func (p *platform) run() (stop func()) {
	p.t.Helper()
	return start(p.t, p.sender)
}

func start(t testing.TB, s *deliver.Sender) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	_, err := s.Start(ctx)
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("sender: %v", err)
		}
	})
}

// subscribe adds a subscription to the CNAM event at the URL, changed by edit.
func (p *platform) subscribe(url string, edit ...func(*hook.Subscription)) *hook.Subscription {
	p.t.Helper()
	id := hook.NewID()
	key, err := hook.KeyOf(id)
	must(p.t, err)
	s := &hook.Subscription{
		ID: id, Key: key, App: "app", Events: []string{cnamEvent}, Endpoint: hook.Endpoint{URL: url, State: hook.Valid},
		Scope: hook.ScopeAccount, Subscribers: []hook.Subscriber{{}}, Source: hook.SourceDefault, Created: time.Now(),
	}
	for _, f := range edit {
		f(s)
	}
	p.put(s)
	return s
}

func (p *platform) put(s *hook.Subscription) {
	p.t.Helper()
	must(p.t, p.db.Change(hook.Change{Subscriptions: []*hook.Subscription{s}}, time.Now()))
}

// publish accepts n events and returns the first's id.
func (p *platform) publish(n int) hook.EventID { return p.publishAll(n)[0] }

// publishAll accepts n events and returns their ids.
func (p *platform) publishAll(n int) (ids []hook.EventID) {
	p.t.Helper()
	items := make([]intake.Item, n)
	for i := range items {
		items[i].Raw = event(i)
	}
	receipts := p.intake.Accept(items, time.Now())
	for _, r := range receipts {
		must(p.t, r.Err)
		ids = append(ids, r.Event)
	}
	return ids
}

func event(i int) []byte {
	return fmt.Appendf(nil, `{"event":"%s","payload":{"account_id":"%s","object":{"carrier_code":1,"phone_numbers":["+1415555%04d"],"cnam":"ACME"}}}`,
		cnamEvent, customer, i%10000)
}

// log returns the log of a delivery.
func (p *platform) logOf(e hook.EventID, s *hook.Subscription) []hook.Attempt {
	p.t.Helper()
	d, err := p.db.Delivery(p.t.Context(), hook.DeliveryID{Event: e, Subscription: s.Key})
	must(p.t, err)
	return d.Log
}

func (p *platform) state(e hook.EventID, s *hook.Subscription) hook.State {
	p.t.Helper()
	d, err := p.db.Delivery(p.t.Context(), hook.DeliveryID{Event: e, Subscription: s.Key})
	must(p.t, err)
	return d.State
}

// verified wraps a handler so that only requests with a right signature reach it.
func verified(t testing.TB, f func(w http.ResponseWriter, r *http.Request, e *webhook.Event)) http.Handler {
	t.Helper()
	rcv, err := webhook.New(webhook.Config{Secrets: []string{testSecret}})
	must(t, err)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		if _, err := body.ReadFrom(r.Body); err != nil {
			t.Errorf("read request: %v", err)
		}
		v, err := rcv.Verify(r.Header, body.Bytes())
		if err != nil {
			t.Errorf("request is not signed: %v", err)
			return
		}
		e, err := v.Event()
		if err != nil {
			t.Errorf("request is no event: %v", err)
			return
		}
		e.RequestID = r.Header.Get(webhook.HeaderRequestID)
		f(w, r, e)
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
