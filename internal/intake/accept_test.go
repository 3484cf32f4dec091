package intake_test

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
)

var (
	everybody = []hook.Subscriber{{}}
	valid     = hook.Endpoint{URL: "https://hooks.example.com/", State: hook.Valid}
)

// An event is owed to the subscriptions that it concerns and to no others, and that
// is stored with it.
func TestFanOut(t *testing.T) {
	w := newWorld(t)
	w.put("acme", "other", "carrier")
	users := func(s *hook.Subscription) {
		s.Scope, s.Subscribers = hook.ScopeUser, []hook.Subscriber{{Users: []string{"u1"}}}
	}
	off := func(s *hook.Subscription) { s.State = hook.Disabled }
	unproven := func(s *hook.Subscription) { s.State = hook.Pending }
	w.subscribe(1, "acme", []string{order})
	w.subscribe(2, "acme", []string{free, order})
	w.subscribe(3, "acme", []string{order}, users)
	w.subscribe(4, "acme", []string{order}, off)
	w.subscribe(5, "acme", []string{order}, unproven)
	w.subscribe(6, "other", []string{order})
	w.subscribe(7, "carrier", []string{cnam})
	for _, c := range []struct {
		name, raw string
		want      []hook.SubscriptionKey
	}{
		{"an order", orderOf("acme"), []hook.SubscriptionKey{1, 2}},
		{"an order of another account", orderOf("other"), []hook.SubscriptionKey{6}},
		{"an order of nobody that we know", orderOf("nobody"), nil},
		{"another event type", anything(""), []hook.SubscriptionKey{2}},
		{"an order that is routed elsewhere", `{"$routing":{"account_id":"other"},` + orderOf("acme")[1:], []hook.SubscriptionKey{6}},
		{"an order of a user", `{"$routing":{"user_ids":["u0","u1"]},` + orderOf("acme")[1:], []hook.SubscriptionKey{1, 2, 3}},
		{"an order of another user", `{"$routing":{"user_ids":["u2"]},` + orderOf("acme")[1:], []hook.SubscriptionKey{1, 2}},
		{"a peered number", peering("1"), []hook.SubscriptionKey{7}},
		{"a number of another carrier", peering("2"), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := w.accepted(c.raw)
			_, owed := w.stored(r.Event)
			if r.Deliveries != len(c.want) || !slices.Equal(owed, c.want) {
				t.Errorf("%d deliveries, owed to %v, want %v", r.Deliveries, owed, c.want)
			}
			if last := w.sender.settled[len(w.sender.settled)-1]; last != (settlement{r.Event, len(c.want), true}) {
				t.Errorf("the sender was told %+v", last)
			}
		})
	}
}

// What fails of a batch does not hinder the rest, and the receipts are in the order
// of the items.
func TestBatch(t *testing.T) {
	w := newWorld(t)
	w.put("acme")
	w.subscribe(1, "acme", []string{order})
	var items []intake.Item
	for i := range 100 {
		raw := fmt.Sprintf(`{"event":"%s","payload":{"account_id":"acme","object":{"total":%d}}}`, order, i)
		switch i % 10 {
		case 3:
			raw = raw[:len(raw)-1]
		case 7:
			raw = fmt.Sprintf(`{"event":"shop.unknown-%d","payload":{"account_id":"acme"}}`, i)
		}
		items = append(items, intake.Item{Raw: []byte(raw)})
	}
	receipts := w.intake.Accept(items, now)
	if len(receipts) != len(items) {
		t.Fatalf("%d receipts for %d items", len(receipts), len(items))
	}
	last := hook.EventID(0)
	for i, r := range receipts {
		switch i % 10 {
		case 3:
			if kindOf(r.Err) != hook.Invalid || r.Event != 0 {
				t.Errorf("item %d, which ends too early: %+v", i, r)
			}
		case 7:
			want := fmt.Sprintf(`/event "shop.unknown-%d" is not in the catalog; import the document that describes it with: switchhook catalog import`, i)
			if got := faultsOf(t, r.Err); !slices.Equal(got, []string{want}) {
				t.Errorf("item %d: %q", i, got)
			}
		default:
			must(t, r.Err)
			e, _ := w.stored(r.Event)
			want := fmt.Sprintf(`{"event":"%s","payload":{"account_id":"acme","object":{"total":%d}},"event_ts":1763758800000}`, order, i)
			if string(e.Body) != want || r.Deliveries != 1 {
				t.Errorf("item %d is stored as %s and owed %d times", i, e.Body, r.Deliveries)
			}
			// The order of ids is the order in which deliveries start.
			if r.Event <= last {
				t.Errorf("item %d is event %s, after %s", i, r.Event, last)
			}
			last = r.Event
		}
	}
	if n := w.deliveries(); n != 80 {
		t.Errorf("%d deliveries, want 80", n)
	}
}

func TestEmptyBatch(t *testing.T) {
	never := storeFunc(func([]*intake.Publication) error { t.Error("there is nothing to store"); return nil })
	w := newForgetful(t, never, hook.NewDirectory())
	if r := w.intake.Accept(nil, now); len(r) != 0 {
		t.Errorf("receipts for nothing: %+v", r)
	}
	if r := w.accept("rubbish"); r.Err == nil {
		t.Error("rubbish is accepted")
	}
}

// An event whose subscriptions changed while it was being stored is matched again:
// what it owes is what stands when it is stored.
func TestStaleMatchesAreMadeAgain(t *testing.T) {
	w := newWorld(t)
	w.put("acme")
	w.subscribe(1, "acme", []string{order})
	var rounds [][]string
	w.intake.Store = storeFunc(func(pubs []*intake.Publication) error {
		var round []string
		for _, p := range pubs {
			round = append(round, fmt.Sprintf("%s to %d", p.Event.Account, len(p.Owed)))
		}
		rounds = append(rounds, round)
		if len(rounds) == 1 {
			w.subscribe(2, "acme", []string{order})
		}
		return w.db.Publish(pubs)
	})
	items := []intake.Item{{Raw: []byte(orderOf("acme"))}, {Raw: []byte("rubbish")}, {Raw: []byte(orderOf("nobody"))}}
	r := w.intake.Accept(items, now)
	must(t, errors.Join(r[0].Err, r[2].Err))
	if r[0].Deliveries != 2 || r[2].Deliveries != 0 || r[1].Err == nil {
		t.Errorf("receipts are %+v", r)
	}
	if _, owed := w.stored(r[0].Event); !slices.Equal(owed, []hook.SubscriptionKey{1, 2}) {
		t.Errorf("owed to %v", owed)
	}
	if got := fmt.Sprint(rounds); got != "[[acme to 1 nobody to 0] [acme to 2 nobody to 0]]" {
		t.Errorf("stored in %s", got)
	}
	want := []settlement{{r[0].Event, 1, false}, {r[2].Event, 0, false}, {r[0].Event, 2, true}, {r[2].Event, 0, true}}
	if !slices.Equal(w.sender.settled, want) {
		t.Errorf("the sender was told %+v, want %+v", w.sender.settled, want)
	}
}

// Only what is stale is stored again, and what it may take as long as it is.
func TestSomeStaleMatches(t *testing.T) {
	var sizes []int
	stale := storeFunc(func(pubs []*intake.Publication) error {
		sizes = append(sizes, len(pubs))
		for i, p := range pubs {
			if p.Err = nil; i > 0 {
				p.Err = intake.ErrStale // all but the first
			}
		}
		return nil
	})
	w := newForgetful(t, stale, hook.NewDirectory())
	items := slices.Repeat([]intake.Item{{Raw: []byte(anything(""))}}, 4)
	for i, r := range w.intake.Accept(items, now) {
		if r.Err != nil || r.Event == 0 {
			t.Errorf("item %d: %+v", i, r)
		}
	}
	if !slices.Equal(sizes, []int{4, 3, 2, 1}) {
		t.Errorf("stored in portions of %v", sizes)
	}
	if n := len(w.sender.settled); n != 4+3+2+1 {
		t.Errorf("%d events were settled", n)
	}
}

// An event that is accepted after a subscription was acknowledged reaches it, while
// the platform keeps changing.
func TestNewSubscriptionsMissNothing(t *testing.T) {
	w := newWorld(t)
	w.put("acme")
	var there atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for k := range 30 {
			w.subscribe(hook.SubscriptionKey(k+1), "acme", []string{order})
			there.Add(1)
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		before := int(there.Load())
		r := w.accepted(orderOf("acme"))
		if r.Deliveries < before {
			t.Fatalf("%d subscriptions were there, %d deliveries are owed", before, r.Deliveries)
		}
		if _, owed := w.stored(r.Event); len(owed) != r.Deliveries {
			t.Fatalf("%d deliveries are acknowledged, %d stored", r.Deliveries, len(owed))
		}
	}
}

// When the store takes nothing, every item that was not at fault itself says so, and
// the sender lets go of all of them.
func TestStoreFails(t *testing.T) {
	full := &hook.Error{Kind: hook.Unavailable, Subject: "the store cannot take it now", Detail: "disk full"}
	d := hook.NewDirectory()
	d.Apply(hook.Change{
		Apps:          []*hook.App{{ID: "acme", Account: "acme", Scopes: []string{"shop:read"}}},
		Subscriptions: []*hook.Subscription{{Key: 1, App: "acme", Events: []string{order}, Subscribers: everybody, Endpoint: valid}, {Key: 2, App: "acme", Events: []string{order}, Subscribers: everybody, Endpoint: valid}},
	})
	w := newForgetful(t, storeFunc(func([]*intake.Publication) error { return full }), d)
	items := []intake.Item{{Raw: []byte(orderOf("acme"))}, {Raw: []byte("rubbish")}, {Raw: []byte(orderOf("acme"))}}
	r := w.intake.Accept(items, now)
	for _, i := range []int{0, 2} {
		if !errors.Is(r[i].Err, full) || r[i].Event != 0 || r[i].Deliveries != 0 {
			t.Errorf("item %d: %+v", i, r[i])
		}
	}
	if kindOf(r[1].Err) != hook.Invalid {
		t.Errorf("rubbish: %+v", r[1])
	}
	if len(w.sender.settled) != 2 {
		t.Errorf("the sender was told %+v", w.sender.settled)
	}
	for _, s := range w.sender.settled {
		if s.stored || s.owed != 2 {
			t.Errorf("the sender was told %+v", s)
		}
	}
}

// When the store refuses one, the others are accepted.
func TestStoreFailsOne(t *testing.T) {
	broken := errors.New("broken")
	w := newForgetful(t, storeFunc(func(pubs []*intake.Publication) error {
		pubs[1].Err = broken
		return nil
	}), hook.NewDirectory())
	r := w.intake.Accept(slices.Repeat([]intake.Item{{Raw: []byte(anything(""))}}, 3), now)
	if r[0].Err != nil || !errors.Is(r[1].Err, broken) || r[2].Err != nil {
		t.Errorf("receipts are %+v", r)
	}
	for i, s := range w.sender.settled {
		if s.stored != (i != 1) {
			t.Errorf("the sender was told %+v", s)
		}
	}
}

func BenchmarkAccept(b *testing.B) {
	d := hook.NewDirectory()
	d.Apply(hook.Change{
		Apps:          []*hook.App{{ID: "carrier", Account: "carrier", Scopes: []string{"number_management_numbers:read:admin"}, CarrierCodes: []int32{2417}}},
		Subscriptions: []*hook.Subscription{{Key: 1, App: "carrier", Events: []string{cnam}, Scope: hook.ScopeAccount, Subscribers: everybody, Endpoint: valid}},
	})
	w := newForgetful(b, &memory{}, d)
	w.intake.Sender = nobody{}
	for _, c := range []struct{ name, raw string }{
		{"cnam", `{"event":"number_management.peering_number_cnam_updated","event_ts":1768204800117,"payload":{"account_id":"Xw3hT0aKQ7mVb9RzC1yPdA","object":{"carrier_code":2417,"phone_numbers":["+14155550187","+14155550188","+442079460127"],"cnam":"HARBOR BAKERY"}}}`},
		{"routed", `{"event":"number_management.peering_number_cnam_updated","payload":{"account_id":"Xw3hT0aKQ7mVb9RzC1yPdA","object":{"carrier_code":2417,"phone_numbers":["+14155550187","+14155550188","+442079460127"],"cnam":"HARBOR BAKERY"}},"$routing":{"idempotency_key":"5b0f9a52-6a3c-4f0e-9df1-0c7c55f7c9ab"}}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			items := []intake.Item{{Raw: []byte(c.raw)}}
			b.ReportAllocs()
			b.SetBytes(int64(len(c.raw)))
			for b.Loop() {
				if r := w.intake.Accept(items, now)[0]; r.Err != nil || r.Deliveries != 1 {
					b.Fatalf("%+v", r)
				}
			}
		})
	}
}

// nobody is a sender that costs nothing.
type nobody struct{}

func (nobody) Reserve(*hook.Event, []hook.Owed)      {}
func (nobody) Settle(*hook.Event, []hook.Owed, bool) {}
