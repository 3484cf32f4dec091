package inventory_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/inventory"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/number"
	"github.com/switchhook/switchhook/internal/seal"
	"github.com/switchhook/switchhook/internal/store"
)

// failer is what tests and properties have in common.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// by is who changes things here.
var by = hook.Actor{Kind: hook.ByOperator, ID: "k1", Name: "tests"}

// world is an inventory on a real store. There are customers a, b and c, and carriers 1
// and 2, each with an app of its own, whose subscription has the same number.
type world struct {
	t    failer
	dir  string
	runs int // how often the database was opened

	db     *store.DB
	sender *ledger
	faulty *faulty
	inv    *inventory.Inventory
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := begin(t, t.TempDir())
	t.Cleanup(w.end)
	return w
}

// begin opens a world in a directory. Somebody must end it.
func begin(t failer, dir string) *world {
	t.Helper()
	w := &world{t: t, dir: dir}
	w.open()
	c := hook.Change{}
	for _, id := range []string{"a", "b", "c", "carrier"} {
		c.Accounts = append(c.Accounts, &hook.Account{ID: id})
	}
	for _, code := range []int32{1, 2} {
		app := fmt.Sprint("app-", code)
		c.Apps = append(c.Apps, &hook.App{
			ID: app, Account: "carrier", Name: app, ClientID: app, State: hook.Production, Scopes: []string{"number_management_numbers:read:admin"},
			CarrierCodes: []int32{code}, SecretToken: "a-secret-token-for-tests",
		})
		c.Subscriptions = append(c.Subscriptions, &hook.Subscription{
			ID: fmt.Sprint("subscription-", code), Key: hook.SubscriptionKey(code), App: app, Name: app, Events: []string{number.CNAMUpdated, number.AddressUpdated},
			Endpoint: hook.Endpoint{URL: "http://hooks.test/", State: hook.Valid}, Scope: hook.ScopeAccount, Subscribers: []hook.Subscriber{{}}, Source: hook.SourceDefault,
		})
	}
	slices.Sort(c.Subscriptions[0].Events)
	slices.Sort(c.Subscriptions[1].Events)
	must(t, w.db.Change(c, time.Now()))
	for _, code := range []int32{1, 2} {
		_, err := w.inv.PutCarrier(context.Background(), hook.Actor{}, number.Carrier{Code: code, Name: fmt.Sprint("carrier ", code)})
		must(t, err)
	}
	return w
}

func (w *world) file() string { return filepath.Join(w.dir, fmt.Sprintf("%d.db", w.runs)) }

func (w *world) open() {
	w.t.Helper()
	key, err := seal.NewKey(bytes.Repeat([]byte{7}, 32))
	must(w.t, err)
	w.db, err = store.Open(context.Background(), store.Options{Database: "sqlite:" + w.file(), Key: key})
	must(w.t, err)
	last, err := w.db.LastEvent(context.Background())
	must(w.t, err)
	w.sender = &ledger{t: w.t, open: map[*hook.Event][]hook.Owed{}}
	w.faulty = &faulty{Store: w.db}
	types := catalog.New(catalog.NumberManagement())
	in := &intake.Intake{Catalog: types, Directory: w.db.Directory(), Store: w.db, Sender: w.sender, IDs: hook.NewIDs(0, int64(last))}
	manager := &manage.Manager{Store: w.db, Directory: w.db.Directory(), Catalog: types, Sender: noSender{}}
	w.inv = &inventory.Inventory{Store: w.faulty, Directory: w.db.Directory(), Intake: in, Apps: manager}
}

// end closes the world.
func (w *world) end() {
	w.sender.balance()
	must(w.t, w.db.Close())
}

// crash goes on with what a crash would leave: a copy of the files as they are, the
// write-ahead log not copied into the database, and nothing in memory.
func (w *world) crash() {
	w.t.Helper()
	w.sender.balance()
	before := w.file()
	w.runs++
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(before + suffix)
		must(w.t, err)
		must(w.t, os.WriteFile(w.file()+suffix, b, 0o600))
	}
	must(w.t, w.db.Close())
	w.open()
}

// told is an event as its carrier sees it.
type told struct {
	Event   string `json:"event"`
	TS      int64  `json:"event_ts"`
	Payload struct {
		Account string `json:"account_id"`
		Object  struct {
			Carrier int32          `json:"carrier_code"`
			Numbers []string       `json:"phone_numbers"`
			CNAM    string         `json:"cnam"`
			Address number.Address `json:"emergency_address"`
		} `json:"object"`
	} `json:"payload"`
}

// said is what an event says of a number.
type said struct {
	cnam    string
	address number.Address
}

// events returns all events that are stored, the latest first, each with the one
// subscription it is owed to.
func (w *world) events() (all []told) {
	w.t.Helper()
	f := hook.DeliveryFilter{Limit: 1000}
	for more := true; more; more = f.After != nil {
		page, next, err := w.db.Deliveries(context.Background(), f)
		must(w.t, err)
		for _, d := range page {
			e, owed, err := w.db.Event(context.Background(), d.ID.Event)
			must(w.t, err)
			var x told
			must(w.t, json.Unmarshal(e.Body, &x))
			if want := []hook.SubscriptionKey{hook.SubscriptionKey(x.Payload.Object.Carrier)}; !slices.Equal(owed, want) {
				w.t.Errorf("%s is owed to %v, want %v", e.Body, owed, want)
			}
			if n := len(x.Payload.Object.Numbers); n == 0 || n > number.MaxPerEvent {
				w.t.Errorf("an event names %d numbers", n)
			}
			if x.Event != e.Type || x.TS != e.TS.UnixMilli() || x.Payload.Account != e.Account || x.Payload.Object.Carrier != e.Carrier {
				w.t.Errorf("the event %+v has the body %s", e, e.Body)
			}
			all = append(all, x)
		}
		f.After = next
	}
	return all
}

// replayed returns what a carrier knows that applies the events in the order of event_ts:
// for each number that has a name or an address, what it has.
func (w *world) replayed(carrier int32) map[string]said {
	w.t.Helper()
	all := w.events()
	slices.Reverse(all)
	slices.SortStableFunc(all, func(a, b told) int { return int(a.TS - b.TS) })
	known, at := map[string]said{}, map[string]int64{}
	for _, e := range all {
		if e.Payload.Object.Carrier != carrier {
			continue
		}
		for _, n := range e.Payload.Object.Numbers {
			if before, ok := at[e.Event+n]; ok && before >= e.TS {
				w.t.Errorf("%s has two events %s at %d", n, e.Event, e.TS)
			}
			at[e.Event+n] = e.TS
			s := known[n]
			if e.Event == number.CNAMUpdated {
				s.cnam = e.Payload.Object.CNAM
			} else {
				s.address = e.Payload.Object.Address
			}
			known[n] = s
		}
	}
	maps.DeleteFunc(known, func(_ string, s said) bool { return s == said{} })
	return known
}

// numbers returns all numbers, page by page.
func (w *world) numbers(f inventory.Filter) (all []number.Number) {
	w.t.Helper()
	for {
		page, next, err := w.inv.List(context.Background(), f)
		must(w.t, err)
		all = append(all, page...)
		if next == "" {
			return all
		}
		f.After = next
	}
}

// ledger is a sender that only keeps account: what was reserved must be settled once, as
// it was reserved.
type ledger struct {
	t      failer
	open   map[*hook.Event][]hook.Owed
	stored int
}

func (l *ledger) Reserve(e *hook.Event, owed []hook.Owed) {
	if _, ok := l.open[e]; ok {
		l.t.Errorf("event %s is reserved twice", e.ID)
	}
	l.open[e] = slices.Clone(owed)
}

func (l *ledger) Settle(e *hook.Event, owed []hook.Owed, stored bool) {
	if reserved, ok := l.open[e]; !ok || !slices.Equal(reserved, owed) {
		l.t.Errorf("event %s: reserved %v, settled %v", e.ID, reserved, owed)
	}
	delete(l.open, e)
	if stored {
		l.stored++
	}
}

// balance checks that nothing is left reserved.
func (l *ledger) balance() {
	for e := range l.open {
		l.t.Errorf("event %s was reserved and never settled", e.ID)
	}
}

// noSender is told of changes to subscriptions.
type noSender struct{}

func (noSender) Changed(hook.SubscriptionKey)   {}
func (noSender) CalledOff(hook.SubscriptionKey) {}

// record returns a line of a file.
func record(e164 string, carrier int32, account string, c number.Change) *number.Record {
	return &number.Record{Line: 2, E164: e164, Carrier: carrier, Account: account, Change: c}
}

// address returns an address.
func address(line1 string) number.Address {
	return number.Address{Country: "US", Line1: line1, City: "San Francisco", ZIP: "94111", State: "CA"}
}

func must(t failer, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
