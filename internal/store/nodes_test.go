package store

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/outbox"
)

// nodesOn opens a database of PostgreSQL as several processes, each of which joins.
func nodesOn(t *testing.T, o Options, n int) (all []*DB, nodes []deliver.Node) {
	t.Helper()
	for range n {
		db := open(t, o)
		t.Cleanup(func() { must(t, db.Close()) })
		all, nodes = append(all, db), append(nodes, join(t, db, time.Minute))
	}
	return all, nodes
}

// However many nodes claim at a time, among whom some die and others join, no delivery is
// in two living hands.
func TestClaimsOfSeveralNodes(t *testing.T) {
	const deliveries = 3000
	all, nodes := nodesOn(t, onPostgres(t), 3)
	setup(t, all[0], 1)
	publish(t, all[0], deliveries, 1)
	for _, db := range all {
		must(t, db.sql.catchUp(t.Context()))
	}
	var mu sync.Mutex
	holder := map[hook.EventID]int64{}
	dead := map[int64]bool{}
	var wg sync.WaitGroup
	for i, db := range all {
		wg.Go(func() {
			n := nodes[i]
			for range deliveries { // far more than it takes
				claims, err := db.Claim(t.Context(), n, now, []deliver.Want{{Subscription: 1, Limit: 20, Bytes: plenty}})
				must(t, err)
				mu.Lock()
				for _, d := range claims[0].Deliveries {
					if h := holder[d.ID.Event]; h != 0 && !dead[h] {
						t.Errorf("%v is in the hands of %d and %d", d.ID.Event, h, n.ID)
					}
					holder[d.ID.Event] = n.ID
				}
				mu.Unlock()
				if len(claims[0].Deliveries) == 0 {
					return
				}
				if rand.IntN(20) == 0 { // it leaves with all that it has, and another comes
					mu.Lock()
					dead[n.ID] = true
					mu.Unlock()
					must(t, db.Leave(n))
					n = join(t, db, time.Minute)
				}
			}
		})
	}
	wg.Wait()
	// What the dead had last may be free still, and so may be what everybody has passed over
	// because somebody else was about to take it, and did not.
	free := claim(t, all[0], join(t, all[0], time.Minute), now, 1, deliveries)
	for _, d := range free.Deliveries {
		if h := holder[d.ID.Event]; h != 0 && !dead[h] {
			t.Errorf("%v is free, though %d has it", d.ID.Event, h)
		}
		holder[d.ID.Event] = -1
	}
	if len(holder) != deliveries {
		t.Errorf("%d were claimed, want %d", len(holder), deliveries)
	}
}

// What is owed to a subscription that one node has just made is not called off by others
// that have not heard of it, whatever they do.
func TestNewSubscriptionsOfOtherNodes(t *testing.T) {
	all, nodes := nodesOn(t, onPostgres(t), 2)
	setup(t, all[0], 1)
	list := publish(t, all[0], 3, 1)
	if more, err := all[1].Cancel(1, math.MaxInt64, "the subscription was deleted", now, 10); more || err != nil {
		t.Errorf("called off: %v, %v", more, err)
	}
	c := claim(t, all[1], nodes[1], now, 1, 2)
	if sub, _ := all[1].Directory().Subscription(1); sub == nil || len(c.Deliveries) != 2 {
		t.Errorf("claimed %d, without knowing whose they are: %v", len(c.Deliveries), sub)
	}
	finish(t, all[1], nodes[1], c.Deliveries[0].Delivery, 400, now)
	changed := subscription(1)
	changed.Generation = 7
	must(t, all[1].Change(hook.Change{Subscriptions: []*hook.Subscription{changed}}, now))
	must(t, all[0].Resend(hook.DeliveryID{Event: list[0], Subscription: 1}, now, "by ann"))
	for _, d := range claim(t, all[0], nodes[0], now, 1, 10).Deliveries {
		if d.ID.Event == list[0] && d.Generation != 7 {
			t.Errorf("resent as of generation %d", d.Generation)
		}
	}
	must(t, all[0].Change(hook.Change{RemoveSubscriptions: []hook.SubscriptionKey{1}}, now))
	if err := all[1].Resend(hook.DeliveryID{Event: list[0], Subscription: 1}, now, "by ann"); kindOf(err) != hook.Conflict {
		t.Errorf("resent to a subscription that is gone: %v", err)
	}
}

// Nodes never have the same slot, and what they give ids to never has the same id, also
// if a slot's holder before had a clock that was ahead.
func TestSlots(t *testing.T) {
	all, nodes := nodesOn(t, onPostgres(t), 3)
	if nodes[0].Slot == nodes[1].Slot || nodes[1].Slot == nodes[2].Slot || nodes[2].Slot == nodes[0].Slot {
		t.Fatalf("nodes %+v", nodes)
	}
	setup(t, all[0], 1)
	ahead := hook.NewIDs(nodes[0].Slot, 0)
	p := publication(all[0], 0)
	p.Event.ID = hook.EventID(ahead.Next(now.Add(time.Hour)))
	must(t, all[0].Publish([]*intake.Publication{p}))
	must(t, errors.Join(p.Err, all[0].Leave(nodes[0])))
	next := join(t, all[1], time.Minute)
	if next.Slot != nodes[0].Slot {
		t.Errorf("slot %d, want the one that is free", next.Slot)
	}
	last, err := all[1].LastEvent(t.Context())
	must(t, err)
	ids := hook.NewIDs(0, 0)
	ids.Become(next.Slot, int64(last))
	if id := ids.Next(now); id <= int64(p.Event.ID) {
		t.Errorf("the slot's next id is %v, after %v", hook.EventID(id), p.Event.ID)
	}
}

// Of all nodes exactly one has a mail, and exactly one holds a round. Those of a node that
// is gone are others'.
func TestEachHasOneHolder(t *testing.T) {
	all, nodes := nodesOn(t, onPostgres(t), 3)
	setup(t, all[0], 1)
	const mails = 30
	for i := range mails {
		must(t, all[0].PutMail(newMail(i)))
	}
	var mu sync.Mutex
	times := map[int64]int{}
	rounds := 0
	var wg sync.WaitGroup
	for _, db := range all {
		wg.Go(func() {
			for {
				m, err := db.ClaimMail(now, now.Add(time.Hour))
				must(t, err)
				if m == nil {
					break
				}
				mu.Lock()
				times[m.ID]++
				mu.Unlock()
			}
			for range 5 {
				own, err := db.ClaimRound(1, hook.Production, time.Time{})
				must(t, err)
				mu.Lock()
				if own {
					rounds++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for id, n := range times {
		if n != 1 {
			t.Errorf("mail %d was handed out %d times", id, n)
		}
	}
	if len(times) != mails || rounds != 5 { // the one that has it may ask again
		t.Errorf("%d mails and %d rounds", len(times), rounds)
	}
	holder := -1
	for i, db := range all {
		if own, err := db.ClaimRound(1, hook.Production, time.Time{}); err == nil && own {
			holder = i
		}
	}
	other := (holder + 1) % len(all)
	must(t, all[holder].Leave(nodes[holder]))
	if own, err := all[other].ClaimRound(1, hook.Production, time.Time{}); err != nil || !own {
		t.Errorf("the round of a node that is gone: %v, %v", own, err)
	}
	var freed []*outbox.Message
	for {
		m, err := all[other].ClaimMail(now, now.Add(time.Hour))
		must(t, err)
		if m == nil {
			break
		}
		freed = append(freed, m)
	}
	if len(freed) == 0 {
		t.Error("the mails of a node that is gone are in nobody's hand, and nobody gets them")
	}

	// When the round is over, there is none to be held by those who do not know it yet.
	held := subscription(1)
	held.Checked = now
	must(t, all[other].Change(hook.Change{Subscriptions: []*hook.Subscription{held}}, now))
	for i, db := range all {
		if own, err := db.ClaimRound(1, hook.Production, time.Time{}); err != nil || own {
			t.Errorf("node %d holds a round that is over: %v, %v", i, own, err)
		}
	}
}

// Whoever follows the log on one node sees the rows of all, each once, whatever the order
// in which they are committed.
func TestFollowOtherNodes(t *testing.T) {
	const each = 150
	o := onPostgres(t)
	all, nodes := nodesOn(t, o, 3)
	setup(t, all[0], 1)
	publish(t, all[0], 3*each, 1)
	for _, db := range all {
		must(t, db.sql.catchUp(t.Context()))
	}
	var wg sync.WaitGroup
	for i, db := range all {
		wg.Go(func() {
			for range each / 10 {
				for _, d := range claim(t, db, nodes[i], now, 1, 10).Deliveries {
					finish(t, db, nodes[i], d.Delivery, 204, time.Now().Add(time.Duration(rand.IntN(2000)-1000)*time.Millisecond)) // clocks differ
				}
			}
		})
	}
	follow := func(db *DB) {
		news, stop := db.Follow()
		defer stop()
		seen := map[int64]bool{}
		after := int64(0)
		deadline := time.After(time.Minute)
		for len(seen) < 3*each {
			select {
			case <-news:
			case <-deadline:
				t.Errorf("%d rows of %d", len(seen), 3*each)
				return
			}
			for more := true; more; {
				var rows []hook.LogRow
				var err error
				rows, after, more, err = db.LogAfter(t.Context(), hook.LogQuery{}, after, 50)
				must(t, err)
				for _, r := range rows {
					if seen[r.ID] {
						t.Errorf("row %d came twice", r.ID)
					}
					seen[r.ID] = true
				}
			}
		}
	}
	for range 2 { // neither of them writes
		follower := open(t, o)
		defer follower.Close()
		wg.Go(func() { follow(follower) })
	}
	wg.Wait()
}

// An event type that one node has published first is known on the others by its name.
func TestNamesOfOtherNodes(t *testing.T) {
	all, _ := nodesOn(t, onPostgres(t), 2)
	setup(t, all[0], 1)
	p := publication(all[0], 0)
	p.Event.Type = "shop.order_created"
	must(t, all[0].Publish([]*intake.Publication{p}))
	must(t, p.Err)
	e, _, err := all[1].Event(t.Context(), p.Event.ID)
	if err != nil || e.Type != p.Event.Type {
		t.Errorf("the other node has %+v, %v", e, err)
	}
}

// What nodes tell each other arrives, told by others and not by themselves.
func TestNews(t *testing.T) {
	all, nodes := nodesOn(t, onPostgres(t), 2)
	type what struct {
		by   int
		kind string
	}
	heard := make(chan what, 1000)
	for i, db := range all {
		say := func(kind string) { heard <- what{i, kind} }
		db.Listen(News{
			Changed: func(c *hook.Change) func() { return func() { say(fmt.Sprint(len(c.Accounts), " accounts")) } },
			Catalog: func() error { say("catalog"); return nil },
			Work: func(keys []hook.SubscriptionKey) {
				if keys != nil {
					say(fmt.Sprint("work ", keys))
				}
			},
			Nodes: func() { say("nodes") },
			Mail:  func() {},
		})
	}
	await := func(want what) {
		t.Helper()
		for end := time.After(time.Minute); ; {
			select {
			case got := <-heard:
				if got == want {
					return
				}
				if got.by != want.by && got.kind == want.kind && got.kind != "nodes" {
					t.Errorf("node %d heard what it said itself: %s", got.by, got.kind)
				}
			case <-end:
				t.Fatalf("node %d does not hear %s", want.by, want.kind)
			}
		}
	}
	// It may not listen yet when the first is told.
	for end := time.Now().Add(time.Minute); len(all[1].Directory().Accounts()) == 0 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		must(t, all[0].Change(hook.Change{Accounts: []*hook.Account{{ID: accountName}}}, now))
	}
	await(what{1, "1 accounts"})
	must(t, all[0].SetCheckMode("shop.order", hook.CheckOff))
	await(what{1, "catalog"})
	all[0].Tell(7, 5)
	await(what{1, "work [5 7]"})
	must(t, all[1].Leave(nodes[1]))
	await(what{0, "nodes"})
}

// Of two processes that make a database's tables at the same time with different keys, one
// is refused.
func TestKeysOfNodesMustBeTheSame(t *testing.T) {
	o := onPostgres(t)
	dial(t, o.Database).rows("DELETE FROM settings WHERE name = 'key_check'")
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() {
			own := o
			own.Key = testKey(t, byte(i))
			db, err := Open(t.Context(), own)
			if err == nil {
				err = db.Close()
			}
			errs[i] = err
		})
	}
	wg.Wait()
	if n := len(slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err != nil })); n != 1 {
		t.Errorf("%d of them are let in: %v", n, errs)
	}
}

// Whoever follows events reads up to where all other nodes have decided what they store,
// and waits for one that has joined until it has said so. One that is gone is not waited
// for.
func TestFollowersWaitForAllNodes(t *testing.T) {
	o := onPostgres(t)
	all, nodes := nodesOn(t, o, 2)
	setup(t, all[0])
	list := publish(t, all[0], 4)
	sees := func(db int, after hook.EventID, want ...hook.EventID) {
		t.Helper()
		var got []hook.EventID
		events, _, _, err := all[db].EventsAfter(t.Context(), func(*hook.Event) bool { return true }, after, math.MaxInt64, 100)
		must(t, err)
		for _, e := range events {
			got = append(got, e.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("node %d sees %v, want %v", db, got, want)
		}
	}
	decided := func(db int, upTo hook.EventID) {
		t.Helper()
		_, err := all[db].Renew(nodes[db], deliver.Holding{Decided: upTo}, now)
		must(t, err)
	}
	sees(0, 0)
	sees(1, 0)
	decided(1, list[1])
	sees(0, 0, list[:2]...)
	sees(1, 0)
	if id, last, asked, err := all[0].LastEventUpTo(t.Context(), list[2]); err != nil || !asked || id != list[1] || last != list[3] {
		t.Errorf("the last is %v, of %v; asked: %v, %v", id, last, asked, err)
	}
	decided(1, list[3])
	sees(0, list[1], list[2:]...)

	all, nodes = append(all, open(t, o)), append(nodes, deliver.Node{})
	defer all[2].Close()
	nodes[2] = join(t, all[2], time.Minute)
	if nodes[2].After != list[3] {
		t.Errorf("who joins gives ids above %v, want %v", nodes[2].After, list[3])
	}
	sees(0, 0)
	decided(2, list[2])
	sees(0, 0, list[:3]...)
	must(t, all[2].Leave(nodes[2]))
	sees(0, 0, list...)

	// Who waits is woken when the last of the others goes, too: it may have stored something
	// just before.
	news, stop := all[0].FollowEvents()
	defer stop()
	woken := func(when string) {
		t.Helper()
		select {
		case <-news:
		case <-time.After(time.Minute): // another node and the database, so real time
			t.Fatalf("nobody is woken %s", when)
		}
	}
	woken("by two nodes")
	must(t, all[1].Leave(nodes[1]))
	woken("when one is left")
}

// A node that others have given up stores nothing later under an id that it gave before,
// where those who follow events may have passed it by: also if it has the same slot again.
// Nor does one that has left.
func TestIDsOfBefore(t *testing.T) {
	o := onPostgres(t)
	first, second := open(t, o), open(t, o)
	defer first.Close()
	defer second.Close()
	n, other := join(t, first, time.Second), join(t, second, 0)
	setup(t, first)
	must(t, second.sql.catchUp(t.Context()))
	old := publication(first, 0)
	publish(t, second, 1)
	lapse(t, second, n, now)
	if lapsed, _, err := second.NextLapse(other, now); !lapsed || err != nil {
		t.Fatalf("given up: %v, %v", lapsed, err)
	}
	again := join(t, first, time.Minute)
	if again.Slot != n.Slot || again.ID == n.ID {
		t.Fatalf("joined again as %+v, before %+v", again, n)
	}
	later := publication(first, 0)
	must(t, first.Publish([]*intake.Publication{old, later}))
	if kindOf(old.Err) != hook.Unavailable || later.Err != nil {
		t.Errorf("with an id of before: %v; with one of now: %v", old.Err, later.Err)
	}
	must(t, first.Leave(again))
	left := publication(first, 0)
	must(t, first.Publish([]*intake.Publication{left}))
	if kindOf(left.Err) != hook.Unavailable {
		t.Errorf("stored when it had left: %v", left.Err)
	}
}

// A node that has died is given up also if the database's clock was set back by an hour
// just then, or its server was replaced by one whose clock is behind; and one that goes on
// renewing its lease is not.
func TestClockOfTheDatabaseGoesBack(t *testing.T) {
	const lease = 200 * time.Millisecond
	o := onPostgres(t)
	all, _ := nodesOn(t, o, 3)
	own, dead, living := join(t, all[0], lease), join(t, all[1], time.Hour), join(t, all[2], time.Hour)
	renewals := 0
	has := func(n deliver.Node) bool {
		nodes, err := all[0].Nodes(t.Context())
		must(t, err)
		return slices.ContainsFunc(nodes, func(x hook.Node) bool { return x.ID == n.ID })
	}
	for end := time.Now().Add(time.Minute); has(dead); renewals++ {
		if time.Now().After(end) {
			t.Fatal("the dead node is still there")
		}
		if nodes, err := all[2].Renew(living, deliver.Holding{}, now); err != nil || nodes == 0 {
			t.Fatalf("renewed: %d, %v", nodes, err)
		}
		if _, err := all[0].Renew(own, deliver.Holding{}, now); err != nil {
			t.Fatal(err)
		}
		_, _, err := all[0].NextLapse(own, now)
		must(t, err)
	}
	if !has(living) || !has(own) || renewals == 0 {
		t.Errorf("after %d renewals the living are gone", renewals)
	}
}
