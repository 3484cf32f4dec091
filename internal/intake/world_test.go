package intake_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/seal"
	"github.com/switchhook/switchhook/internal/store"
)

// now is when the tests publish.
var now = time.UnixMilli(1763758800000)

const (
	cnam  = "number_management.peering_number_cnam_updated"
	order = "shop.order_created"
	free  = "shop.anything"
)

// document describes two event types that go by account: orders, which have a
// total and may have a note, and one whose bodies nobody looks at.
const document = `{
	"openapi": "3.1.0",
	"info": {"title": "Shop"},
	"x-switchhook-routing": "account",
	"x-switchhook-scopes": {"classic": ["shop:read"]},
	"webhooks": {
		"shop.order_created": {"post": {"requestBody": {"content": {"application/json": {"schema": {
			"type": "object",
			"properties": {"payload": {"type": "object", "properties": {"object": {
				"type": "object",
				"properties": {"total": {"type": "integer"}, "note": {"type": "string"}},
				"required": ["total"]
			}}}}
		}}}}}},
		"shop.anything": {"post": {"x-switchhook-check": "off", "requestBody": {}}}
	}
}`

func newCatalog(t testing.TB) *catalog.Catalog {
	t.Helper()
	doc, err := catalog.Parse([]byte(document))
	must(t, err)
	return catalog.New(catalog.NumberManagement(), doc)
}

// world is an intake with what is around it.
type world struct {
	t       testing.TB
	catalog *catalog.Catalog
	sender  *ledger
	intake  *intake.Intake
	db      *store.DB // nil if the world forgets
}

// newWorld returns an intake on a fresh database, with an empty platform.
func newWorld(t testing.TB) *world {
	t.Helper()
	key, err := seal.NewKey(bytes.Repeat([]byte{7}, 32))
	must(t, err)
	db, err := store.Open(context.Background(), store.Options{
		Database: "sqlite:" + filepath.Join(t.TempDir(), "test.db"), Key: key,
	})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	w := newForgetful(t, db, db.Directory())
	w.db = db
	return w
}

// newForgetful returns an intake on another store.
func newForgetful(t testing.TB, s intake.Store, d *hook.Directory) *world {
	t.Helper()
	w := &world{t: t, catalog: newCatalog(t), sender: &ledger{t: t}}
	w.intake = &intake.Intake{Catalog: w.catalog, Directory: d, Store: s, Sender: w.sender, IDs: hook.NewIDs(0, 0)}
	t.Cleanup(w.sender.balance)
	return w
}

// accept publishes one event now.
func (w *world) accept(raw string) intake.Receipt {
	w.t.Helper()
	return w.acceptItem(intake.Item{Raw: []byte(raw)})
}

func (w *world) acceptItem(item intake.Item) intake.Receipt {
	w.t.Helper()
	return w.intake.Accept([]intake.Item{item}, now)[0]
}

// accepted publishes one event now, which must work.
func (w *world) accepted(raw string) intake.Receipt {
	w.t.Helper()
	r := w.accept(raw)
	must(w.t, r.Err)
	return r
}

// stored reads an event back.
func (w *world) stored(id hook.EventID) (*hook.Event, []hook.SubscriptionKey) {
	w.t.Helper()
	e, owed, err := w.db.Event(context.Background(), id)
	must(w.t, err)
	if e == nil {
		w.t.Fatalf("event %s is not in the store", id)
	}
	return e, owed
}

// deliveries returns how many deliveries are in the store.
func (w *world) deliveries() int {
	w.t.Helper()
	page, _, err := w.db.Deliveries(context.Background(), hook.DeliveryFilter{Limit: 1000})
	must(w.t, err)
	return len(page)
}

// change changes the platform.
func (w *world) change(c hook.Change) {
	w.t.Helper()
	must(w.t, w.db.Change(c, now))
}

// put adds accounts with an app each, of the same name, which may receive what
// there is. The app of the account "carrier" is bound to carrier code 1.
func (w *world) put(accounts ...string) {
	w.t.Helper()
	var c hook.Change
	for _, name := range accounts {
		a := &hook.App{ID: name, Account: name, Name: name, ClientID: name, Scopes: []string{"shop:read", "number_management_numbers:read:admin"}, SecretToken: "a-secret-token"}
		if name == "carrier" {
			a.CarrierCodes = []int32{1}
		}
		c.Accounts, c.Apps = append(c.Accounts, &hook.Account{ID: name}), append(c.Apps, a)
	}
	w.change(c)
}

// subscribe adds a subscription of an app to event types, changed by edit.
func (w *world) subscribe(k hook.SubscriptionKey, app string, events []string, edit ...func(*hook.Subscription)) {
	w.t.Helper()
	s := &hook.Subscription{
		ID: fmt.Sprint("subscription-", k), Key: k, App: app, Name: fmt.Sprint("s", k), Events: events,
		Endpoint: hook.Endpoint{URL: "https://hooks.example.com/", State: hook.Valid}, Scope: hook.ScopeAccount, Subscribers: []hook.Subscriber{{}}, Source: hook.SourceDefault, Created: now,
	}
	for _, f := range edit {
		f(s)
	}
	w.change(hook.Change{Subscriptions: []*hook.Subscription{s}})
}

// orderOf returns an order of an account.
func orderOf(account string) string {
	return fmt.Sprintf(`{"event":"%s","event_ts":1763758800000,"payload":{"account_id":"%s","object":{"total":1}}}`, order, account)
}

// anything returns an event of the account acme that has further root members.
func anything(members string) string {
	return `{"event":"` + free + `","event_ts":1763758800000,"payload":{"account_id":"acme"}` + members + `}`
}

// peering returns a CNAM event of a carrier code.
func peering(code string) string {
	return `{"event":"` + cnam + `","event_ts":1763758800000,"payload":{"account_id":"acme","object":{"carrier_code":` + code + `,"phone_numbers":["+14155550142"]}}}`
}

// ledger is a sender that only keeps account: what was reserved must be settled
// once, as it was reserved.
type ledger struct {
	t testing.TB

	mu      sync.Mutex
	open    map[*hook.Event][]hook.Owed
	settled []settlement
}

// settlement is what the sender was told of an event.
type settlement struct {
	event  hook.EventID
	owed   int
	stored bool
}

// Reserve takes every second delivery in hand.
func (l *ledger) Reserve(e *hook.Event, owed []hook.Owed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.open[e]; ok {
		l.t.Errorf("event %s is reserved twice", e.ID)
	}
	for i := range owed {
		owed[i].Node = int64(i % 2)
	}
	if l.open == nil {
		l.open = map[*hook.Event][]hook.Owed{}
	}
	l.open[e] = slices.Clone(owed)
}

func (l *ledger) Settle(e *hook.Event, owed []hook.Owed, stored bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if reserved, ok := l.open[e]; !ok || !slices.Equal(reserved, owed) {
		l.t.Errorf("event %s: reserved %v, settled %v", e.ID, reserved, owed)
	}
	delete(l.open, e)
	l.settled = append(l.settled, settlement{e.ID, len(owed), stored})
}

// balance checks that nothing is left reserved.
func (l *ledger) balance() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := range l.open {
		l.t.Errorf("event %s was reserved and never settled", e.ID)
	}
}

// memory is a store that keeps the last publications only.
type memory struct{ last []*intake.Publication }

func (m *memory) Publish(pubs []*intake.Publication) error {
	m.last = pubs
	for _, p := range pubs {
		p.Err, p.Earlier = nil, 0
	}
	return nil
}

// storeFunc is a store that does what a function says.
type storeFunc func([]*intake.Publication) error

func (f storeFunc) Publish(pubs []*intake.Publication) error { return f(pubs) }

// faultsOf returns the faults that an error names, each as it is shown. An error
// that callers may not be told fails the test.
func faultsOf(t testing.TB, err error) (list []string) {
	t.Helper()
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*hook.Error](err)
	if !ok {
		t.Fatalf("%v is nothing that callers may be told", err)
	}
	return shown(e.Faults)
}

func shown(faults hook.Faults) (list []string) {
	for _, f := range faults {
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
