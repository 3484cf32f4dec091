package intake_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
)

// keyed returns an event of an account under an idempotency key, with a member x.
func keyed(account, key, x string) string {
	return fmt.Sprintf(`{"event":"%s","event_ts":1763758800000,"payload":{"account_id":"%s"},"x":%s,"$routing":{"idempotency_key":"%s"}}`, free, account, x, key)
}

// An event that is sent again under its key is the event that is there already,
// with the deliveries that it had then.
func TestSameKeySameEvent(t *testing.T) {
	w := newWorld(t)
	w.put("acme")
	w.subscribe(1, "acme", []string{free})
	first := w.accepted(keyed("acme", "k", "1"))
	if first.Duplicate || first.Deliveries != 1 {
		t.Fatalf("the first is %+v", first)
	}
	w.subscribe(2, "acme", []string{free})
	for name, raw := range map[string]string{
		"the same bytes":             keyed("acme", "k", "1"),
		"the same in other spelling": strings.ReplaceAll(keyed("acme", "k", "1.0"), ":", "\n: "),
		"its account said twice":     strings.Replace(keyed("acme", "k", "1"), `"$routing":{`, `"$routing":{"account_id":"acme",`, 1),
	} {
		r := w.accepted(raw)
		if !r.Duplicate || r.Event != first.Event || r.Deliveries != 1 {
			t.Errorf("%s: %+v, want event %s again", name, r, first.Event)
		}
	}
	if n := w.deliveries(); n != 1 {
		t.Errorf("%d deliveries are owed, want 1", n)
	}
	// The sender must know that nothing came of the reservations for the others.
	for _, s := range w.sender.settled {
		if s.stored != (s.event == first.Event) {
			t.Errorf("the sender was told %+v", s)
		}
	}
}

// A time that was added is not part of what was sent.
func TestSameKeyLater(t *testing.T) {
	w := newWorld(t)
	raw := strings.Replace(keyed("acme", "k", "1"), `"event_ts":1763758800000,`, "", 1)
	first := w.accepted(raw)
	later := w.intake.Accept([]intake.Item{{Raw: []byte(raw)}}, now.Add(time.Hour))[0]
	if later.Err != nil || !later.Duplicate || later.Event != first.Event {
		t.Errorf("an hour later it is %+v, want event %s again", later, first.Event)
	}
}

// A key names one event. Under it another one is refused, and nothing is stored.
func TestSameKeyOtherEvent(t *testing.T) {
	w := newWorld(t)
	first := w.accepted(keyed("acme", "k", "1"))
	r := w.accept(keyed("acme", "k", "2"))
	want := fmt.Sprintf(`idempotency key "k": was used for another event, %s; use a new key for a new event`, first.Event)
	if kindOf(r.Err) != hook.Conflict || r.Err.Error() != want {
		t.Errorf("another event under the key: %v, want %q", r.Err, want)
	}
	if s := w.sender.settled; len(s) != 2 || s[1].stored {
		t.Errorf("the sender was told %+v", s)
	}
	// Whom it concerns is part of an event.
	r = w.accept(strings.Replace(keyed("acme", "k", "1"), `"$routing":{`, `"$routing":{"user_ids":["u"],`, 1))
	if kindOf(r.Err) != hook.Conflict {
		t.Errorf("the event for somebody else under the key: %v, want a conflict", r.Err)
	}
	// That changed nothing about the first.
	if r := w.accepted(keyed("acme", "k", "1")); !r.Duplicate || r.Event != first.Event {
		t.Errorf("the first again: %+v", r)
	}
}

// The key in an event goes before the key beside it.
func TestKeyInTheEventGoesFirst(t *testing.T) {
	w := newWorld(t)
	publish := func(raw, key string) intake.Receipt {
		return w.acceptItem(intake.Item{Raw: []byte(raw), Key: key})
	}
	first := publish(keyed("acme", "inner", "1"), "outer")
	must(t, first.Err)
	if r := publish(anything(`,"x":2`), "outer"); r.Err != nil || r.Duplicate {
		t.Errorf("the key beside it was used up: %+v", r)
	}
	if r := publish(keyed("acme", "", "1"), "inner"); r.Err != nil || !r.Duplicate || r.Event != first.Event {
		t.Errorf("the key in it was not used: %+v", r)
	}
}

// Keys of one account are nothing to another; a publisher of many need not know.
func TestKeysAreOfAnAccount(t *testing.T) {
	w := newWorld(t)
	a, b := w.accepted(keyed("acme", "k", "1")), w.accepted(keyed("other", "k", "2"))
	if a.Duplicate || b.Duplicate || a.Event == b.Event {
		t.Errorf("%+v and %+v", a, b)
	}
	routed := strings.Replace(keyed("acme", "k", "1"), `"$routing":{`, `"$routing":{"account_id":"third",`, 1)
	if r := w.accepted(routed); r.Duplicate {
		t.Error("the account that $routing names is not the one that counts")
	}
}

// Without a key, the same event twice is two events.
func TestNoKey(t *testing.T) {
	w := newWorld(t)
	if a, b := w.accepted(anything("")), w.accepted(anything("")); a.Duplicate || b.Duplicate || a.Event == b.Event {
		t.Errorf("%+v and %+v", a, b)
	}
}

// An event that was refused leaves its key for the one that is put right.
func TestRefusedEventsUseNoKey(t *testing.T) {
	w := newWorld(t)
	bad := strings.Replace(keyed("acme", "k", "1"), "1763758800000", "1763758800", 1)
	if r := w.accept(bad); kindOf(r.Err) != hook.Invalid {
		t.Fatalf("not refused: %+v", r)
	}
	if r := w.accepted(keyed("acme", "k", "1")); r.Duplicate {
		t.Errorf("put right, it is %+v", r)
	}
}

// A batch may have an event twice, and a key.
func TestSameKeyInABatch(t *testing.T) {
	w := newWorld(t)
	w.put("acme")
	w.subscribe(1, "acme", []string{free})
	var items []intake.Item
	for _, raw := range []string{keyed("acme", "k", "1"), keyed("acme", "k", "1"), keyed("acme", "k", "2"), keyed("acme", "l", "2")} {
		items = append(items, intake.Item{Raw: []byte(raw)})
	}
	r := w.intake.Accept(items, now)
	if r[0].Err != nil || r[0].Duplicate || r[0].Deliveries != 1 {
		t.Errorf("the first is %+v", r[0])
	}
	if r[1].Err != nil || !r[1].Duplicate || r[1].Event != r[0].Event || r[1].Deliveries != 1 {
		t.Errorf("the second is %+v, want event %s again", r[1], r[0].Event)
	}
	if kindOf(r[2].Err) != hook.Conflict {
		t.Errorf("another event under the key: %+v", r[2])
	}
	if r[3].Err != nil || r[3].Duplicate {
		t.Errorf("another key: %+v", r[3])
	}
	if n := w.deliveries(); n != 2 {
		t.Errorf("%d deliveries, want 2", n)
	}
}

// However many send an event under a key at the same time, it is one event, and all
// are told which.
func TestSameKeyAtOnce(t *testing.T) {
	const publishers, keys = 8, 20
	w := newWorld(t)
	w.put("acme")
	w.subscribe(1, "acme", []string{free})
	receipts := make([][]intake.Receipt, publishers)
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for k := range keys {
				raw := keyed("acme", fmt.Sprint("key-", k), "1")
				receipts[p] = append(receipts[p], w.intake.Accept([]intake.Item{{Raw: []byte(raw)}}, now)...)
			}
		})
	}
	wg.Wait()
	for k := range keys {
		fresh := 0
		for p := range publishers {
			r := receipts[p][k]
			must(t, r.Err)
			if !r.Duplicate {
				fresh++
			}
			if r.Event != receipts[0][k].Event || r.Deliveries != 1 {
				t.Errorf("key %d is event %s with %d deliveries to one, %s with %d to another",
					k, receipts[0][k].Event, receipts[0][k].Deliveries, r.Event, r.Deliveries)
			}
		}
		if fresh != 1 {
			t.Errorf("key %d was accepted %d times", k, fresh)
		}
	}
	if n := w.deliveries(); n != keys {
		t.Errorf("%d deliveries, want %d", n, keys)
	}
}
