package store

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
)

// pending reports whether there is something to receive.
func pending(news <-chan struct{}) bool {
	select {
	case <-news:
		return true
	default:
		return false
	}
}

// Who follows the log is woken when log rows were committed, once for all that come until
// it looks, and not for anything else.
func TestFollow(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		n := join(t, db, 0)
		news, stop := db.Follow()
		other, stopOther := db.Follow()
		defer stopOther()
		publish(t, db, 3, 1)
		c := claim(t, db, n, now, 1, 3)
		if pending(news) {
			t.Error("woken before there was a log row")
		}
		settled := func() { must(t, db.sql.write(func(tx) error { return nil }, nil)) } // what was committed before has been told
		for _, d := range c.Deliveries[:2] {
			finish(t, db, n, d.Delivery, 503, now)
		}
		settled()
		if !pending(news) || pending(news) || !pending(other) {
			t.Error("not woken once for two rows")
		}
		stop()
		finish(t, db, n, c.Deliveries[2].Delivery, 204, now)
		settled()
		if pending(news) || !pending(other) {
			t.Error("woken after it has stopped, or the other one not")
		}
		must(t, db.Resend(c.Deliveries[2].ID, now, "again"))
		settled()
		if !pending(other) {
			t.Error("not woken for a resend")
		}
		must(t, db.LogChallenges([]*hook.Attempt{{Kind: hook.KindChallenge, Delivery: hook.DeliveryID{Event: 1, Subscription: 1}, EventType: challengeType, Started: now}}))
		settled()
		if !pending(other) {
			t.Error("not woken for a challenge")
		}
	})
}

// Eight finish attempts at the same time, two follow, from the beginning and beside it:
// each gets every row once, in the order of ids, and none that is not committed.
func TestFollowersGetEachRowOnce(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		n := join(t, db, 0)
		const rows = 800
		publish(t, db, rows, 1)
		all := claim(t, db, n, now, 1, rows).Deliveries
		var wg sync.WaitGroup
		got := make([][]int64, 2)
		for i := range got {
			news, stop := db.Follow()
			wg.Go(func() {
				defer stop()
				after := int64(0)
				for range news {
					for more := true; more; {
						page, upTo, m, err := db.LogAfter(t.Context(), hook.LogQuery{}, after, 7+i)
						if err != nil {
							t.Error(err)
							return
						}
						for _, r := range page {
							got[i] = append(got[i], r.ID)
						}
						after, more = upTo, m
					}
					if len(got[i]) >= rows {
						return
					}
				}
			})
		}
		for part := range slices.Chunk(all, rows/8) {
			wg.Go(func() {
				for _, d := range part {
					next := d.After(204, now, hook.DefaultSchedule())
					if err := record(db, &deliver.Finished{Attempt: hook.Attempt{Delivery: d.ID, Outcome: 204, State: next.State, Started: now}, Was: d.Delivery, Now: next, Node: n.ID}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if len(got[0]) != rows || !slices.Equal(got[0], got[1]) || !slices.IsSorted(got[0]) || len(slices.Compact(slices.Clone(got[0]))) != rows {
			t.Errorf("%d and %d rows, want %d in order, each once", len(got[0]), len(got[1]), rows)
		}
	})
}

// Pages in both directions show the same rows, whatever is selected, and say how far they
// have looked also where nothing was found.
func TestLogBothWays(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1, 2)
		n := join(t, db, 0)
		publish(t, db, 20, 1, 2)
		for k := range hook.SubscriptionKey(2) {
			for i, d := range claim(t, db, n, now, k+1, 20).Deliveries {
				finish(t, db, n, d.Delivery, hook.Outcome([]int{204, 400, 503}[i%3]), now.Add(time.Duration(i)*time.Second))
			}
		}
		last, err := db.LastLogRow(t.Context())
		must(t, err)
		for _, q := range []hook.LogQuery{
			{}, {Failed: true}, {Subscription: 1}, {App: "app"}, {App: "none"}, {EventType: "none"}, {Subscription: 2, Failed: true, App: "app"},
		} {
			var up, down []int64
			after := int64(0)
			for more := true; more; {
				rows, upTo, m, err := db.LogAfter(t.Context(), q, after, 3)
				must(t, err)
				for _, r := range rows {
					up = append(up, r.ID)
					if r.SubscriptionID == "" || r.App != "app" || r.Event == nil || len(r.Event.Body) != 0 {
						t.Errorf("%+v", r)
					}
				}
				after, more = upTo, m
			}
			before := last + 1
			for more := true; more; {
				rows, downTo, m, err := db.LogBefore(t.Context(), q, before, 3)
				must(t, err)
				for _, r := range rows {
					down = append(down, r.ID)
				}
				before, more = downTo, m
			}
			slices.Reverse(down)
			if !slices.Equal(up, down) || after != last {
				t.Errorf("%+v: up %v, down %v, looked up to %d, want %d", q, up, down, after, last)
			}
			want := map[bool]int{false: 40, true: 26}[q.Failed]
			if q.Subscription != 0 {
				want /= 2
			}
			if q.App == "none" || q.EventType == "none" {
				want = 0
			}
			if len(up) != want {
				t.Errorf("%+v: %d rows, want %d", q, len(up), want)
			}
		}
	})
}

// Pages of events have those that are wanted, each once and in order, with their bodies,
// whatever the size of a page; and they end where it is not decided yet what there is.
func TestEventsAfter(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		all := publish(t, db, 40, 1)
		large := publication(db, 0)
		large.Event.Body = fmt.Appendf(nil, `{"x":%q}`, strings.Repeat("x", pageBytes))
		must(t, db.Publish([]*intake.Publication{large}))
		all = append(append(all, large.Event.ID), publish(t, db, 5)...)
		publish(t, db, 5)
		last, upTo := all[len(all)-1], all[len(all)-1]
		if got, newest, asked, err := db.LastEventUpTo(t.Context(), upTo); err != nil || asked || got != last || newest <= last {
			t.Errorf("the last one is %s of %s, %v, %v, want %s", got, newest, asked, err, last)
		}
		for name, c := range map[string]struct {
			limit  int
			wanted func(*hook.Event) bool
		}{
			"all":              {7, func(*hook.Event) bool { return true }},
			"all at once":      {1000, func(*hook.Event) bool { return true }},
			"every third":      {2, func(e *hook.Event) bool { return e.ID%3 == 0 }},
			"none":             {2, func(*hook.Event) bool { return false }},
			"the last but one": {1, func(e *hook.Event) bool { return e.ID == all[len(all)-2] }},
		} {
			var want, got []hook.EventID
			for _, id := range all {
				if c.wanted(&hook.Event{ID: id}) {
					want = append(want, id)
				}
			}
			after := hook.EventID(0)
			for more := true; more; {
				page, end, m, err := db.EventsAfter(t.Context(), c.wanted, after, upTo, c.limit)
				must(t, err)
				size := 0
				for _, e := range page {
					got = append(got, e.ID)
					if size += len(e.Body); len(e.Body) == 0 || e.Type != eventType || e.Carrier != 7 {
						t.Errorf("%s: %+v", name, e)
					}
				}
				if len(page) > c.limit || size > pageBytes && len(page) > 1 {
					t.Errorf("%s: a page of %d events and %d bytes", name, len(page), size)
				}
				after, more = end, m
			}
			if !slices.Equal(got, want) || after != last {
				t.Errorf("%s: %v, looked up to %s, want %v and %s", name, got, after, want, last)
			}
		}
	})
}
