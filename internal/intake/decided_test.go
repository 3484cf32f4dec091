package intake_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
)

// follower reads the ids of all events that are stored, as far as that is decided.
type follower struct {
	w     *world
	after hook.EventID
	got   []hook.EventID
}

// look reads on and returns what tells when there may be more.
func (f *follower) look() <-chan struct{} {
	f.w.t.Helper()
	upTo, news := f.w.intake.Decided()
	for more := true; more; {
		var events []*hook.Event
		var err error
		events, f.after, more, err = f.w.db.EventsAfter(context.Background(), func(*hook.Event) bool { return true }, f.after, upTo, 7)
		if err != nil {
			f.w.t.Error(err)
			return news
		}
		for _, e := range events {
			f.got = append(f.got, e.ID)
		}
	}
	return news
}

// Who follows events by their ids misses none, though events are stored in another order
// than that of their ids: it is told how far there is none to come.
func TestDecided(t *testing.T) {
	w := newWorld(t)
	w.put("acme", "carrier")
	db := w.db
	var hold atomic.Bool
	held, release := make(chan bool), make(chan bool)
	w.intake.Store = storeFunc(func(pubs []*intake.Publication) error {
		if hold.CompareAndSwap(true, false) {
			held <- true
			<-release
		}
		return db.Publish(pubs)
	})
	f := &follower{w: w}
	first := w.accepted(orderOf("acme")).Event

	// One that is stored late holds back what has a higher id, and nothing before it.
	hold.Store(true)
	done := make(chan intake.Receipt)
	go func() { done <- w.accept(orderOf("acme")) }()
	<-held
	after := w.accepted(orderOf("acme")).Event
	news := f.look()
	if !slices.Equal(f.got, []hook.EventID{first}) {
		t.Errorf("with an earlier one under way: %v, want %s only", f.got, first)
	}
	select {
	case <-news:
		t.Error("there are news of what is not decided")
	default:
	}
	close(release)
	r := <-done
	must(t, r.Err)
	<-news
	if f.look(); !slices.Equal(f.got, []hook.EventID{first, r.Event, after}) {
		t.Errorf("when it is stored: %v", f.got)
	}

	// The same where nothing comes of it.
	pubs, err := w.intake.Prepare([]*hook.Event{{Account: "acme", Type: cnam, TS: now, Carrier: 1, Body: []byte(`{}`)}}, now)
	must(t, err)
	w.accepted(orderOf("acme"))
	if f.look(); len(f.got) != 3 {
		t.Errorf("with one prepared: %v", f.got)
	}
	w.intake.Settle(pubs, false)
	if f.look(); len(f.got) != 4 {
		t.Errorf("when nothing has come of it: %v", f.got)
	}
}

// A node that accepts nothing says so up to about now, so that others need not wait for it,
// and one that does up to what is under way. What it accepts later has higher ids.
func TestMark(t *testing.T) {
	w := newWorld(t)
	w.put("acme", "carrier")
	idle := w.intake.Mark(now.Add(time.Hour))
	if before := now.Add(time.Hour - 2*time.Millisecond); idle.Time().Before(before) || idle.Time().After(now.Add(time.Hour)) {
		t.Errorf("idle, it says %v, want up to an hour later than %v", idle.Time(), now)
	}
	pubs, err := w.intake.Prepare([]*hook.Event{{Account: "acme", Type: cnam, TS: now, Carrier: 1, Body: []byte(`{}`)}}, now)
	must(t, err)
	if busy := w.intake.Mark(now.Add(2 * time.Hour)); busy < idle || busy >= pubs[0].Event.ID {
		t.Errorf("with %v under way, it says %v, before %v", pubs[0].Event.ID, busy, idle)
	}
	w.intake.Settle(pubs, false)
	mark := w.intake.Mark(now.Add(2 * time.Hour))
	if next := w.accepted(orderOf("acme")).Event; mark < pubs[0].Event.ID || next <= mark {
		t.Errorf("when that is over it says %v, and accepts %v after it", mark, next)
	}
}

// Nobody misses any with many who publish at once, prepare, and fail.
func TestDecidedUnderLoad(t *testing.T) {
	w := newWorld(t)
	w.put("acme", "carrier")
	db := w.db
	fails := 0
	var mu sync.Mutex
	w.intake.Store = storeFunc(func(pubs []*intake.Publication) error {
		mu.Lock()
		fails++
		bad := fails%7 == 0
		mu.Unlock()
		if bad {
			return errors.New("the disk is full")
		}
		return db.Publish(pubs)
	})
	var want []hook.EventID
	var publishers, followers sync.WaitGroup
	stop := make(chan struct{})
	got := make([][]hook.EventID, 2)
	for i := range got {
		followers.Go(func() {
			f := &follower{w: w}
			for over := false; !over; {
				select {
				case <-stop:
					over = true // and once more
				case <-f.look():
				}
			}
			f.look()
			got[i] = f.got
		})
	}
	for range 8 {
		publishers.Go(func() {
			for i := range 100 {
				var ids []hook.EventID
				if i%3 == 0 {
					pubs, err := w.intake.Prepare([]*hook.Event{{Account: "acme", Type: cnam, TS: now, Carrier: 1, Body: []byte(`{}`)}}, time.Now())
					if err == nil {
						err = db.Publish(pubs)
					}
					w.intake.Settle(pubs, err == nil)
					if err != nil {
						t.Error(err)
						return
					}
					ids = append(ids, pubs[0].Event.ID)
				} else {
					for _, r := range w.intake.Accept(slices.Repeat([]intake.Item{{Raw: []byte(orderOf("acme"))}}, 1+i%4), time.Now()) {
						if r.Err == nil {
							ids = append(ids, r.Event)
						}
					}
				}
				mu.Lock()
				want = append(want, ids...)
				mu.Unlock()
			}
		})
	}
	publishers.Wait()
	close(stop)
	followers.Wait()
	slices.Sort(want)
	for i := range got {
		if !slices.Equal(got[i], want) {
			t.Errorf("follower %d has %d events, want %d, in order: %v", i, len(got[i]), len(want), slices.IsSorted(got[i]))
		}
	}
}
