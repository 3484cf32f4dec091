package store

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
)

func TestWhatIsPublishedIsOwed(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1, 2)
		p := publication(db, 0, 1, 2)
		p.Event.Users, p.Event.Groups, p.Event.Carrier = []string{"u"}, []string{"g"}, -5
		p.Event.Trace = hook.Trace{ID: [16]byte{1, 15: 2}, Span: 3, Sampled: true}
		must(t, db.Publish([]*intake.Publication{p}))
		e, owed, err := db.Event(t.Context(), p.Event.ID)
		must(t, err)
		if e.Account != p.Event.Account || e.Type != eventType || !e.TS.Equal(now) || e.Carrier != -5 || string(e.Body) != string(p.Event.Body) ||
			!slices.Equal(e.Users, []string{"u"}) || !slices.Equal(e.Groups, []string{"g"}) || !slices.Equal(owed, []hook.SubscriptionKey{1, 2}) || e.Trace != p.Event.Trace {
			t.Errorf("%+v, owed %v", e, owed)
		}
		if _, _, err := db.Event(t.Context(), 5); kindOf(err) != hook.NotFound {
			t.Errorf("an event that is not there: %v", err)
		}
	})
}

// What was matched with a directory that has changed since is not stored; what
// comes with it is.
func TestStaleMatches(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		stale := publication(db, 0, 1)
		must(t, db.Change(hook.Change{Subscriptions: []*hook.Subscription{subscription(2)}}, now))
		fresh := publication(db, 0, 1, 2)
		must(t, db.Publish([]*intake.Publication{stale, fresh}))
		if !errors.Is(stale.Err, intake.ErrStale) || fresh.Err != nil {
			t.Errorf("stale: %v, fresh: %v", stale.Err, fresh.Err)
		}
		if _, _, err := db.Event(t.Context(), stale.Event.ID); kindOf(err) != hook.NotFound {
			t.Errorf("the stale one is stored: %v", err)
		}
	})
}

// However many publish under one key at a time, one event is stored, and all are
// told of it.
func TestIdempotencyKeys(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		pubs := make([]*intake.Publication, 16)
		var wg sync.WaitGroup
		for i := range pubs {
			pubs[i] = publication(db, 0, 1)
			pubs[i].Key, pubs[i].Digest = "key", []byte("digest")
			wg.Go(func() { must(t, db.Publish(pubs[i:i+1])) })
		}
		wg.Wait()
		var stored hook.EventID
		for _, p := range pubs {
			must(t, p.Err)
			if p.Earlier == 0 {
				if stored != 0 {
					t.Fatal("two were stored")
				}
				stored = p.Event.ID
			}
		}
		for _, p := range pubs {
			if p.Earlier != 0 && (p.Earlier != stored || p.EarlierOwed != 1) {
				t.Errorf("told of %v with %d deliveries, want %v", p.Earlier, p.EarlierOwed, stored)
			}
		}
		other := publication(db, 0, 1)
		other.Key, other.Digest = "key", []byte("another")
		elsewhere := publication(db, 0, 1)
		elsewhere.Key, elsewhere.Digest, elsewhere.Event.Account = "key", []byte("another"), "other-account"
		must(t, db.Publish([]*intake.Publication{other, elsewhere}))
		if kindOf(other.Err) != hook.Conflict || elsewhere.Err != nil || elsewhere.Earlier != 0 {
			t.Errorf("another event under the key: %v; the key in another account: %v", other.Err, elsewhere.Err)
		}
		if c := claim(t, db, join(t, db, 0), now, 1, 100); len(c.Deliveries) != 2 {
			t.Errorf("%d deliveries, want 2", len(c.Deliveries))
		}
	})
}

// Eight nodes claim at the same time; each row is handed out once.
func TestEachDeliveryIsHandedOutOnce(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1, 2)
		want := sortedEvents(publish(t, db, 100, 1, 2))
		got := map[hook.SubscriptionKey][]hook.EventID{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 8 {
			n := join(t, db, 0)
			wg.Go(func() {
				for empty := 0; empty < 2; {
					claims, err := db.Claim(t.Context(), n, now, []deliver.Want{{Subscription: 1, Limit: 7, Bytes: plenty}, {Subscription: 2, Limit: 3, Bytes: plenty}})
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					empty++
					for _, c := range claims {
						got[c.Subscription] = append(got[c.Subscription], eventsOf(c)...)
						if len(c.Deliveries) > 0 {
							empty = 0
						}
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		for k, list := range got {
			if !slices.Equal(sortedEvents(list), want) {
				t.Errorf("subscription %d: %d handed out, want each of %d once", k, len(list), len(want))
			}
		}
	})
}

func TestClaimsComeInOrder(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		n := join(t, db, 0)
		list := publish(t, db, 20, 1)
		// The first ten fail once, and are due again five minutes later.
		for _, d := range claim(t, db, n, now, 1, 10).Deliveries {
			finish(t, db, n, d.Delivery, 503, now.Add(time.Duration(d.ID.Event-list[0])*time.Second))
		}
		later := now.Add(10 * time.Minute)

		c := claim(t, db, n, now, 1, 4)
		if !slices.Equal(eventsOf(c), list[10:14]) || !c.More {
			t.Errorf("claimed %v, more %v", eventsOf(c), c.More)
		}
		// First attempts come first, but a part of each claim is for retries.
		c = claim(t, db, n, later, 1, 4)
		if want := []hook.EventID{list[14], list[15], list[16], list[0]}; !slices.Equal(eventsOf(c), want) || !c.More {
			t.Errorf("claimed %v, want %v; more %v", eventsOf(c), want, c.More)
		}
		// What first attempts leave, retries may have.
		c = claim(t, db, n, later, 1, 100)
		if want := slices.Concat(list[17:], list[1:10]); !slices.Equal(eventsOf(c), want) || c.More || !c.Next.IsZero() {
			t.Errorf("claimed %v, want %v; more %v, next %v", eventsOf(c), want, c.More, c.Next)
		}
		for _, d := range c.Deliveries {
			if d.Event == nil || d.Event.ID != d.ID.Event || len(d.Event.Body) == 0 {
				t.Errorf("delivery %v comes with %+v", d.ID, d.Event)
			}
		}
	})
}

func TestClaimsAreBoundedAndSayWhatIsNext(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		n := join(t, db, 0)
		publish(t, db, 3, 1)
		claims, err := db.Claim(t.Context(), n, now, []deliver.Want{{Subscription: 1, Limit: 10, Bytes: 1}})
		must(t, err)
		if c := claims[0]; len(c.Deliveries) != 1 || !c.More {
			t.Errorf("with one byte allowed: %d, more %v", len(c.Deliveries), c.More)
		}
		c := claim(t, db, n, now, 1, 10)
		d := finish(t, db, n, c.Deliveries[0].Delivery, 500, now)
		c = claim(t, db, n, d.Due.Add(-time.Millisecond), 1, 10)
		if len(c.Deliveries) != 0 || c.More || !c.Next.Equal(d.Due) {
			t.Errorf("a moment too early: %d, next %v, want %v", len(c.Deliveries), c.Next, d.Due)
		}
		if c = claim(t, db, n, d.Due, 1, 10); len(c.Deliveries) != 1 || c.Deliveries[0].Tries != 1 || !c.Deliveries[0].Due.Equal(d.Due) {
			t.Errorf("at its instant: %+v", c.Deliveries)
		}
	})
}

// A delivery is never due earlier in the store than it was said to be.
func TestDueIsNotRoundedDown(t *testing.T) {
	at := time.UnixMilli(1000).Add(time.Nanosecond)
	if got := fromMillis(dueMillis(at)); got.Before(at) || got.Sub(at) > time.Millisecond {
		t.Errorf("%v becomes %v", at, got)
	}
	if dueMillis(time.Time{}) != 0 || dueMillis(time.UnixMilli(5)) != 5 {
		t.Error("whole milliseconds and the zero time change")
	}
}

func TestFinish(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		n := join(t, db, 0)
		publish(t, db, 1, 1)
		d := claim(t, db, n, now, 1, 1).Deliveries[0].Delivery
		at := now
		for _, o := range []hook.Outcome{503, hook.ReadTimeOut, 204} {
			before := d
			d = finish(t, db, n, d, o, at)
			s, err := db.Delivery(t.Context(), d.ID)
			must(t, err)
			if s.Delivery != d {
				t.Fatalf("stands as %+v, want %+v", s.Delivery, d)
			}
			a := s.Last
			if a.Outcome != o || a.Retry != before.Tries || !a.Started.Equal(at) || a.Timing != (hook.Timing{DNS: 1e6, Connected: 2e6, TLS: 3e6, FirstByte: 4e6, Done: 5e6}) ||
				a.Span != 1<<63+5 || a.Response.Header != "A: b\n" || string(a.Response.Body) != "answer" || !a.Response.Truncated || a.Detail != "detail" {
				t.Fatalf("log row %+v", a)
			}
			if d.State == hook.Waiting {
				at = d.Due
				if c := claim(t, db, n, at, 1, 1); len(c.Deliveries) != 1 || c.Deliveries[0].Delivery != d {
					t.Fatalf("due again: %+v", c.Deliveries)
				}
			}
		}
		if b, err := db.Backlogs(t.Context()); err != nil || len(b) != 0 {
			t.Errorf("still outstanding: %v, %v", b, err)
		}
		if all, err := attemptsOf(t, db, d.ID); err != nil || len(all) != 3 || all[0].ID >= all[1].ID || all[1].ID >= all[2].ID {
			t.Errorf("log %+v, %v", all, err)
		}
	})
}

// attemptsOf returns the log rows of a delivery, also of one whose event is gone.
func attemptsOf(t *testing.T, db *DB, id hook.DeliveryID) (all []hook.Attempt, err error) {
	err = db.sql.read(t.Context(), func(t tx) (err error) {
		all, err = attempts(t, id)
		return err
	})
	return all, err
}

// An outcome that is retried at once leaves the delivery in the node's hand, or
// gives it back, as asked.
func TestKeep(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		n := join(t, db, 0)
		publish(t, db, 1, 1)
		d := claim(t, db, n, now, 1, 1).Deliveries[0].Delivery
		for _, keep := range []bool{true, false} {
			must(t, record(db, &deliver.Finished{
				Attempt: hook.Attempt{Delivery: d.ID, Outcome: hook.TooManyRequests, Started: now}, Was: d, Now: d, Node: n.ID, Keep: keep,
			}))
			want := 1
			if keep {
				want = 0
			}
			if c := claim(t, db, n, now, 1, 1); len(c.Deliveries) != want {
				t.Errorf("keep %v: claimed %d", keep, len(c.Deliveries))
			}
		}
	})
}

// lapse makes a node's lease lapse, and returns when it does. It had until then.
func lapse(t *testing.T, db *DB, n deliver.Node, until time.Time) time.Time {
	t.Helper()
	if !db.dialect.shared {
		return until
	}
	must(t, db.sql.writeNow(func(t tx) error { // it is the database's clock that counts
		_, err := t.exec(`UPDATE nodes SET lease_until = 1 WHERE id = $1`, n.ID)
		return err
	}))
	return now
}

// What a node had in hand is free when it leaves, when its lease lapses, and when
// another process opens the file; not before.
func TestLeases(t *testing.T) {
	eachStore(t, func(t *testing.T, o Options) {
		db := open(t, o)
		setup(t, db, 1)
		publish(t, db, 1, 1)
		a, b := join(t, db, 5*time.Second), join(t, db, 5*time.Second)
		if a.Slot == b.Slot || a.ID == b.ID {
			t.Fatalf("nodes %+v and %+v", a, b)
		}
		if c := claim(t, db, a, now, 1, 1); len(c.Deliveries) != 1 {
			t.Fatal("nothing to claim")
		}
		nodes, err := db.Renew(a, deliver.Holding{Deliveries: 1, Lanes: 1}, now.Add(4*time.Second))
		if nodes != 2 || err != nil {
			t.Fatalf("renew: %v, %v", nodes, err)
		}
		until := now.Add(9 * time.Second)
		for _, at := range []time.Time{now.Add(5 * time.Second), until.Add(-time.Millisecond)} {
			lapsed, next, err := db.NextLapse(b, at)
			if ahead := time.Until(next); db.dialect.shared && ahead > 0 && ahead <= 5*time.Second {
				next = until
			}
			if err != nil || lapsed || !next.Equal(until) {
				t.Errorf("at %v: lapsed %v, next %v, %v", at.Sub(now), lapsed, next, err)
			}
			if c := claim(t, db, b, at, 1, 1); len(c.Deliveries) != 0 {
				t.Error("taken from a node that lives")
			}
		}
		at := lapse(t, db, a, until)
		if lapsed, next, err := db.NextLapse(b, at); err != nil || !lapsed || !next.IsZero() {
			t.Errorf("at the lapse: %v, %v, %v", lapsed, next, err)
		}
		if nodes, err := db.Renew(a, deliver.Holding{}, at); nodes != 0 || err != nil {
			t.Errorf("a lapsed lease is renewed: %v, %v", nodes, err)
		}
		if c := claim(t, db, b, at, 1, 1); len(c.Deliveries) != 1 {
			t.Error("not free after the lapse")
		}
		must(t, db.Leave(b))
		c := join(t, db, 0)
		if got := claim(t, db, c, at, 1, 1); len(got.Deliveries) != 1 {
			t.Error("not free after leaving")
		}
		must(t, db.Close()) // without leaving, as a crash would
		db = open(t, o)
		defer db.Close()
		if got := claim(t, db, joinAlone(t, db), at, 1, 1); len(got.Deliveries) != 1 {
			t.Error("not free after a restart")
		}
	})
}

// joinAlone joins when the server has noticed that the processes before are gone.
func joinAlone(t *testing.T, db *DB) deliver.Node {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		n := join(t, db, 0)
		all, err := db.Nodes(t.Context())
		must(t, err)
		if len(all) == 1 {
			return n
		}
		if time.Now().After(end) {
			t.Fatalf("there are still %d nodes", len(all))
		}
		must(t, db.Leave(n))
	}
}

// A node whose lease had lapsed may still log what it did, but not move what is
// another's.
func TestFinishAfterTheLease(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		publish(t, db, 1, 1)
		a, b := join(t, db, 5*time.Second), join(t, db, 0)
		d := claim(t, db, a, now, 1, 1).Deliveries[0].Delivery
		late := lapse(t, db, a, now.Add(6*time.Second))
		if lapsed, _, err := db.NextLapse(b, late); err != nil || !lapsed {
			t.Fatal(lapsed, err)
		}
		taken := claim(t, db, b, late, 1, 1).Deliveries[0].Delivery
		finish(t, db, a, d, 503, late) // a's attempt, too late
		done := finish(t, db, b, taken, 204, late)
		s, err := db.Delivery(t.Context(), d.ID)
		if err != nil || s.Delivery != done {
			t.Errorf("stands as %+v, %v; want %+v", s.Delivery, err, done)
		}
		if all, err := attemptsOf(t, db, d.ID); err != nil || len(all) != 2 {
			t.Errorf("%d log rows, %v; want both", len(all), err)
		}
		// The other way round: b has delivered it before a's late failure comes in.
		finish(t, db, a, d, 503, late)
		if s, err := db.Delivery(t.Context(), d.ID); err != nil || s.State != hook.Delivered {
			t.Errorf("stands as %v, %v", s.State, err)
		}
		if left, err := db.Backlogs(t.Context()); err != nil || len(left) != 0 {
			t.Errorf("outstanding: %v, %v", left, err)
		}
	})
}

func TestBacklogs(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1, 2, 3)
		n := join(t, db, 0)
		publish(t, db, 2, 1, 3)
		publish(t, db, 1, 2)
		d := finish(t, db, n, claim(t, db, n, now, 2, 1).Deliveries[0].Delivery, 500, now)
		got, err := db.Backlogs(t.Context())
		must(t, err)
		want := []deliver.Backlog{{Subscription: 1}, {Subscription: 2, Next: d.Due}, {Subscription: 3}}
		if !slices.EqualFunc(got, want, func(a, b deliver.Backlog) bool { return a.Subscription == b.Subscription && a.Next.Equal(b.Next) }) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

func TestCancel(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		n := join(t, db, 0)
		list := publish(t, db, 5, 1)
		claim(t, db, n, now, 1, 1) // in hand: its node's to cancel
		more, err := db.Cancel(1, 1, "gone", now, 3)
		must(t, err)
		if !more {
			t.Error("there is more")
		}
		if more, err = db.Cancel(1, 1, "gone", now, 3); err != nil || more {
			t.Errorf("more %v, %v", more, err)
		}
		for i, id := range list {
			s, err := db.Delivery(t.Context(), hook.DeliveryID{Event: id, Subscription: 1})
			must(t, err)
			if i == 0 && s.State != hook.Waiting || i > 0 && (s.State != hook.Cancelled || s.Last.Kind != hook.KindCancel || s.Last.Detail != "gone") {
				t.Errorf("delivery %d is %v, %+v", i, s.State, s.Last)
			}
		}
		// What is of the generation itself stays.
		p := publication(db, 0, 1)
		p.Owed[0].Generation = 1
		must(t, db.Publish([]*intake.Publication{p}))
		must(t, p.Err)
		if _, err := db.Cancel(1, 1, "gone", now, 3); err != nil {
			t.Fatal(err)
		}
		if s, err := db.Delivery(t.Context(), hook.DeliveryID{Event: p.Event.ID, Subscription: 1}); err != nil || s.State != hook.Waiting {
			t.Errorf("of the new generation: %v, %v", s.State, err)
		}
	})
}

func TestResend(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1, 2)
		n := join(t, db, 0)
		id := hook.DeliveryID{Event: publish(t, db, 1, 1)[0], Subscription: 1}
		if err := db.Resend(id, now, "by ann"); kindOf(err) != hook.Conflict {
			t.Errorf("one that waits: %v", err)
		}
		if err := db.Resend(hook.DeliveryID{Event: id.Event, Subscription: 2}, now, ""); kindOf(err) != hook.NotFound {
			t.Errorf("one that was not owed: %v", err)
		}
		d := claim(t, db, n, now, 1, 1).Deliveries[0].Delivery
		finish(t, db, n, d, 400, now)
		later := now.Add(time.Hour)
		must(t, db.Resend(id, later, "by ann"))
		c := claim(t, db, n, later, 1, 10)
		if len(c.Deliveries) != 1 || c.Deliveries[0].ID != id || c.Deliveries[0].Tries != 0 {
			t.Fatalf("due again: %+v", c.Deliveries)
		}
		finish(t, db, n, c.Deliveries[0].Delivery, 503, later)
		all, err := attemptsOf(t, db, id)
		must(t, err)
		if len(all) != 3 || all[1].Kind != hook.KindResend || all[1].Detail != "by ann" || all[2].Retry != 0 || all[2].State != hook.Waiting {
			t.Errorf("log %+v", all)
		}
		gone := subscription(1)
		gone.State = hook.Disabled
		must(t, db.Change(hook.Change{Subscriptions: []*hook.Subscription{gone}}, now))
		finish(t, db, n, claim(t, db, n, later.Add(time.Hour), 1, 1).Deliveries[0].Delivery, 404, later)
		if err := db.Resend(id, later, ""); kindOf(err) != hook.Conflict {
			t.Errorf("to a disabled subscription: %v", err)
		}
		must(t, db.Change(hook.Change{RemoveSubscriptions: []hook.SubscriptionKey{1}}, now))
		if err := db.Resend(id, later, ""); kindOf(err) != hook.Conflict {
			t.Errorf("to a deleted subscription: %v", err)
		}
	})
}

// Whatever is filtered: the pages together are what passes, each once, in order.
func TestPages(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		keys := []hook.SubscriptionKey{1, 2, 3}
		setup(t, db, keys...)
		n := join(t, db, 0)
		outcomes := []hook.Outcome{204, 400, 503, 0}
		want := map[hook.DeliveryID]hook.State{}
		for i := range 40 {
			id := publish(t, db, 1, keys[:1+i%3]...)[0]
			for j, k := range keys[:1+i%3] {
				o := outcomes[(i+j)%4]
				want[hook.DeliveryID{Event: id, Subscription: k}] = hook.Waiting
				if o == 0 {
					continue
				}
				d := claim(t, db, n, now, k, 1).Deliveries[0].Delivery
				// What is not the event just published was left waiting, so leave that too.
				want[d.ID] = finish(t, db, n, d, o, now).State
			}
		}
		for name, f := range map[string]hook.DeliveryFilter{
			"all":                 {},
			"one subscription":    {Subscriptions: keys[1:2]},
			"delivered":           {States: []hook.State{hook.Delivered}},
			"failed":              {States: []hook.State{hook.Failed}},
			"failed or exhausted": {States: []hook.State{hook.Failed, hook.Exhausted, hook.Cancelled}},
			"waiting":             {States: []hook.State{hook.Waiting}},
			"waiting or failed":   {States: []hook.State{hook.Waiting, hook.Failed}},
			"waiting for one":     {States: []hook.State{hook.Waiting}, Subscriptions: keys[:1]},
			"another type":        {EventType: "other"},
			"before there was":    {To: now},
			"since":               {From: now},
			"none":                {Subscriptions: []hook.SubscriptionKey{}},
		} {
			for _, limit := range []int{1, 2, 7, 1000} {
				got := map[hook.DeliveryID]hook.State{}
				f.Limit, f.After = limit, nil
				for pages := 0; ; pages++ {
					page, next, err := db.Deliveries(t.Context(), f)
					must(t, err)
					for _, s := range page {
						if _, twice := got[s.ID]; twice {
							t.Fatalf("%s by %d: %v comes twice", name, limit, s.ID)
						}
						got[s.ID] = s.State
					}
					if f.After = next; next == nil {
						break
					}
					if pages > 1000 {
						t.Fatalf("%s by %d: no end", name, limit)
					}
				}
				passed := 0
				for id, state := range want {
					passes := (f.States == nil || slices.Contains(f.States, state)) && (f.Subscriptions == nil || slices.Contains(f.Subscriptions, id.Subscription)) &&
						f.EventType == "" && (f.To.IsZero() || id.Event.Time().Before(f.To))
					if s, ok := got[id]; ok != passes || ok && s != state {
						t.Fatalf("%s by %d: %v is %v; listed %v as %v", name, limit, id, state, ok, s)
					}
					if passes {
						passed++
					}
				}
				if passed != len(got) {
					t.Fatalf("%s by %d: %d listed, want %d", name, limit, len(got), passed)
				}
			}
		}
	})
}

// The log and its events go when they are old, but nothing that is still owed.
func TestExpire(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1, 2)
		n := join(t, db, 0)
		done, p := publish(t, db, 1, 1)[0], publication(db, 0, 2)
		owed := hook.EventID(hook.FirstID(now.Add(testDivision)))
		p.Event.ID = owed
		must(t, db.Publish([]*intake.Publication{p}))
		finish(t, db, n, claim(t, db, n, now, 1, 1).Deliveries[0].Delivery, 204, now)
		expire := func(at time.Time) { must(t, db.Expire(t.Context(), at)) }
		expire(now)
		if _, _, err := db.Event(t.Context(), done); err != nil {
			t.Errorf("nothing is old yet: %v", err)
		}
		expire(now.Add(testDivision))
		if _, _, err := db.Event(t.Context(), done); kindOf(err) != hook.NotFound {
			t.Errorf("the delivered event: %v", err)
		}
		if _, _, err := db.Event(t.Context(), owed); err != nil {
			t.Errorf("the event that is owed: %v", err)
		}
		expire(now.Add(2 * testDivision))
		if _, _, err := db.Event(t.Context(), owed); err != nil {
			t.Errorf("the event that is owed: %v", err)
		}
		finish(t, db, n, claim(t, db, n, now, 2, 1).Deliveries[0].Delivery, 204, now.Add(2*testDivision))
		expire(now.Add(2 * testDivision))
		gone, err := attemptsOf(t, db, hook.DeliveryID{Event: done, Subscription: 1})
		if err != nil || len(gone) != 0 {
			t.Errorf("log rows left: %d, %v", len(gone), err)
		}
		if _, _, err := db.Event(t.Context(), owed); kindOf(err) != hook.NotFound {
			t.Errorf("the event when it is not owed any more: %v", err)
		}
		expire(now.Add(3 * testDivision))
	})
}

// While something older is outstanding, nothing that came after it changes how it
// stands: neither what was delivered, nor what failed.
func TestExpireBesideABacklog(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1, 2)
		n := join(t, db, 0)
		publish(t, db, 1, 2) // stays outstanding
		e := publish(t, db, 1, 1)[0]
		finish(t, db, n, claim(t, db, n, now, 1, 1).Deliveries[0].Delivery, 204, now)
		must(t, db.Expire(t.Context(), now.Add(365*24*time.Hour)))
		s, err := db.Delivery(t.Context(), hook.DeliveryID{Event: e, Subscription: 1})
		if err != nil || s.State != hook.Delivered || len(s.Log) != 1 {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// A delivery that is made again is there to be made, or is refused: also while old
// ones are being deleted.
func TestResendWhileExpiring(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		n := join(t, db, 0)
		for round := range 5 {
			events := publish(t, db, 100, 1)
			for _, d := range claim(t, db, n, now, 1, 100).Deliveries {
				finish(t, db, n, d.Delivery, 400, now)
			}
			var wg sync.WaitGroup
			resent := map[hook.EventID]bool{}
			wg.Go(func() {
				for _, e := range events {
					if db.Resend(hook.DeliveryID{Event: e, Subscription: 1}, now, "again") == nil {
						resent[e] = true
					}
				}
			})
			wg.Go(func() {
				for range 100 * round { // somewhere in between
					runtime.Gosched()
				}
				if err := db.Expire(t.Context(), now.Add(time.Duration(round+1)*time.Hour)); err != nil {
					t.Error(err)
				}
			})
			wg.Wait()
			c := claim(t, db, n, now, 1, 200)
			for _, d := range c.Deliveries {
				if !resent[d.ID.Event] {
					t.Errorf("round %d: %s is due and was not asked for", round, d.ID)
				}
				delete(resent, d.ID.Event)
				finish(t, db, n, d.Delivery, 204, now)
			}
			if len(resent) > 0 {
				t.Errorf("round %d: %d that were to be made again are gone", round, len(resent))
			}
		}
	})
}

// A row whose event is gone is written off, and holds nothing else up.
func TestEventsThatAreGone(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		n := join(t, db, 0)
		must(t, db.sql.write(func(x tx) error {
			_, err := x.exec(insertDue, 1, 0, 77, 0, 0, 600, 0)
			return err
		}, nil))
		e := publish(t, db, 1, 1)[0]
		c := claim(t, db, n, now, 1, 10)
		if len(c.Deliveries) != 1 || c.Deliveries[0].ID.Event != e {
			t.Fatalf("claimed %+v", c.Deliveries)
		}
		finish(t, db, n, c.Deliveries[0].Delivery, 204, now)
		if b, err := db.Backlogs(t.Context()); err != nil || len(b) != 0 {
			t.Errorf("still outstanding: %+v, %v", b, err)
		}
	})
}

// One that could not be written off is claimed again, and written off then.
func TestWriteOffFails(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		n := join(t, db, 0)
		must(t, db.sql.write(func(x tx) error {
			_, err := x.exec(insertDue, 1, 0, 77, 0, 0, 600, 0)
			return err
		}, nil))
		works := db.sql
		db.sql = &readOnly{works}
		if _, err := db.Claim(t.Context(), n, now, []deliver.Want{{Subscription: 1, Limit: 10, Bytes: 1 << 20}}); err == nil {
			t.Fatal("it did not fail")
		}
		db.sql = works
		if c := claim(t, db, n, now, 1, 10); len(c.Deliveries) != 0 {
			t.Errorf("claimed %+v", c.Deliveries)
		}
		if b, err := db.Backlogs(t.Context()); err != nil || len(b) != 0 {
			t.Errorf("still outstanding: %+v, %v", b, err)
		}
	})
}

// readOnly is a store that can claim and read, and then not write.
type readOnly struct{ backend }

func (b *readOnly) write(func(tx) error, func()) error { return errBroken }

// What was claimed in vain is claimed again, as soon as the store works again.
func TestClaimsThatFail(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		n := join(t, db, 0)
		publish(t, db, 3, 1)
		works := db.sql
		db.sql = &broken{works}
		if _, err := db.Claim(t.Context(), n, now, []deliver.Want{{Subscription: 1, Limit: 10, Bytes: 1 << 20}}); err == nil {
			t.Fatal("it did not fail")
		}
		db.sql = works
		if c := claim(t, db, n, now, 1, 10); len(c.Deliveries) != 3 {
			t.Errorf("%d of 3 are claimed", len(c.Deliveries))
		}
	})
}

// broken is a store that can claim, and then neither read nor write.
type broken struct{ backend }

var errBroken = errors.New("broken on purpose")

func (b *broken) readNow(context.Context, func(tx) error) error { return errBroken }
func (b *broken) write(func(tx) error, func()) error            { return errBroken }

// Looking through the log holds up neither keys nor claims.
func TestListsHoldNothingUp(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		n := join(t, db, 0)
		publish(t, db, 1, 1)
		hold, held := make(chan struct{}), make(chan struct{}, readers)
		var wg sync.WaitGroup
		for range readers {
			wg.Go(func() {
				_ = db.sql.read(t.Context(), func(tx) error {
					held <- struct{}{}
					<-hold
					return nil
				})
			})
		}
		for range readers {
			<-held
		}
		if _, err := db.FindKey(t.Context(), "x"); err != nil {
			t.Error(err)
		}
		if c := claim(t, db, n, now, 1, 10); len(c.Deliveries) != 1 {
			t.Errorf("claimed %+v", c)
		}
		close(hold)
		wg.Wait()
	})
}

// Challenges are found by their subscription, the latest first, and are no deliveries.
func TestChallenges(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1, 2)
		made := func(k hook.SubscriptionKey, event hook.EventID, detail string) *hook.Attempt {
			return &hook.Attempt{Kind: hook.KindChallenge, Delivery: hook.DeliveryID{Event: event, Subscription: k}, Outcome: 500, Started: now, Detail: detail, EventType: challengeType}
		}
		must(t, db.LogChallenges([]*hook.Attempt{made(1, 1, "first"), made(2, 2, "other"), made(1, 3, "second")}))
		must(t, db.LogChallenges([]*hook.Attempt{made(1, 4, "third")}))
		list, err := db.Challenges(t.Context(), 1, 2)
		if err != nil || len(list) != 2 || list[0].Detail != "third" || list[1].Detail != "second" || list[0].Kind != hook.KindChallenge || list[0].Outcome != 500 {
			t.Errorf("%+v, %v", list, err)
		}
		for _, states := range [][]hook.State{nil, {hook.Failed}, {hook.Waiting}} {
			if page, _, err := db.Deliveries(t.Context(), hook.DeliveryFilter{States: states, Limit: 10}); err != nil || len(page) != 0 {
				t.Errorf("deliveries in %v: %+v, %v", states, page, err)
			}
		}
	})
}
