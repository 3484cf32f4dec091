package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// A delivery that waits stands behind what is due to its subscription before it: first
// attempts as published, then retries by when they are due. What is due to others, or
// has ended, is not in its way.
func TestPlaces(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1, 2)
		n := join(t, db, 0)
		events := publish(t, db, 5, 1, 2)
		place := func(e hook.EventID, k hook.SubscriptionKey) (hook.Place, *hook.Standing) {
			t.Helper()
			s, p, err := db.DeliveryAndPlace(t.Context(), hook.DeliveryID{Event: e, Subscription: k})
			must(t, err)
			return p, s
		}
		for i, e := range events {
			if p, s := place(e, 1); p.Ahead != i || p.Generation != 0 || s.State != hook.Waiting || len(s.Event.Body) != 0 {
				t.Errorf("event %d: %+v, %+v", i, p, s)
			}
		}
		c := claim(t, db, n, now, 1, 2)
		finish(t, db, n, c.Deliveries[0].Delivery, 503, now.Add(time.Minute))
		finish(t, db, n, c.Deliveries[1].Delivery, 503, now)
		for i, want := range []int{4, 3, 0, 1, 2} { // the first one's retry is due last
			if p, s := place(events[i], 1); p.Ahead != want || i < 2 && len(s.Log) != 1 {
				t.Errorf("after two failures, event %d: %+v, %+v", i, p, s)
			}
		}
		if p, _ := place(events[4], 2); p.Ahead != 4 {
			t.Errorf("of the other subscription: %+v", p)
		}
		finish(t, db, n, claim(t, db, n, now, 1, 1).Deliveries[0].Delivery, 204, now)
		if p, s := place(events[2], 1); p != (hook.Place{}) || s.State != hook.Delivered {
			t.Errorf("delivered: %+v, %+v", p, s)
		}
		sub := subscription(1)
		sub.Generation = 3
		must(t, db.Change(hook.Change{Subscriptions: []*hook.Subscription{sub}}, now))
		must(t, db.Resend(hook.DeliveryID{Event: events[2], Subscription: 1}, now.Add(time.Second), "again"))
		if p, _ := place(events[2], 1); p.Ahead != 2 || p.Generation != 3 {
			t.Errorf("made again: %+v", p)
		}
		if _, _, err := db.DeliveryAndPlace(t.Context(), hook.DeliveryID{Event: events[0], Subscription: 9}); kindOf(err) != hook.NotFound {
			t.Errorf("not owed: %v", err)
		}
	})
}

// How far a backlog is counted is bounded.
func TestPlaceInALongBacklog(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		events := publish(t, db, hook.MaxAhead+10, 1)
		_, p, err := db.DeliveryAndPlace(t.Context(), hook.DeliveryID{Event: events[len(events)-1], Subscription: 1})
		if err != nil || p.Ahead != hook.MaxAhead {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

// A challenge is found by the id under which it was sent, and nothing else is.
func TestChallengeOf(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		n := join(t, db, 0)
		e := publish(t, db, 1, 1)[0]
		finish(t, db, n, claim(t, db, n, now, 1, 1).Deliveries[0].Delivery, 400, now)
		made := &hook.Attempt{Kind: hook.KindChallenge, Delivery: hook.DeliveryID{Event: e + 1, Subscription: 1}, EventType: challengeType, Started: now, State: hook.Delivered}
		must(t, db.LogChallenges([]*hook.Attempt{made}))
		if a, err := db.ChallengeOf(t.Context(), e+1); err != nil || a == nil || a.ID != made.ID || a.Delivery != made.Delivery {
			t.Errorf("%+v, %v", a, err)
		}
		for _, id := range []hook.EventID{e, e + 2} {
			if a, err := db.ChallengeOf(t.Context(), id); err != nil || a != nil {
				t.Errorf("%s: %+v, %v", id, a, err)
			}
		}
	})
}

// What may have been deleted for its age is known, also after a restart; before anything
// was old enough, that is nothing.
func TestHorizon(t *testing.T) {
	eachStore(t, func(t *testing.T, o Options) {
		db := open(t, o)
		check := func(want hook.EventID) {
			t.Helper()
			if got, err := db.Horizon(t.Context()); err != nil || got != want {
				t.Errorf("%v, %v; want %v", got, err, want)
			}
		}
		check(0)
		must(t, db.Expire(t.Context(), now))
		check(hook.EventID(hook.FirstID(now)))
		must(t, db.Expire(t.Context(), now.Add(-time.Hour))) // a longer retention brings nothing back
		check(hook.EventID(hook.FirstID(now)))
		must(t, db.Close())
		db = open(t, o)
		defer func() { must(t, db.Close()) }()
		check(hook.EventID(hook.FirstID(now)))
	})
}

// The audit trail can be read from an instant on, and a deleted subscription says when
// it was deleted.
func TestRecordsSince(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		for i := range 5 {
			must(t, db.Change(hook.Change{Audit: []hook.AuditEntry{{At: now.Add(time.Duration(i) * time.Minute), Kind: "app", Subject: fmt.Sprint("app", i%2), Action: hook.Updated}}}, now))
		}
		for since, want := range map[time.Duration]int{-time.Hour: 5, 0: 5, time.Millisecond: 4, 2 * time.Minute: 3, time.Hour: 0} {
			got, err := db.Audit(t.Context(), hook.AuditFilter{From: now.Add(since), Limit: 10})
			if err != nil || len(got) != want {
				t.Errorf("since %v: %d entries, want %d, %v", since, len(got), want, err)
			}
		}
		if got, err := db.Audit(t.Context(), hook.AuditFilter{Subject: "app0", From: now.Add(time.Minute), Limit: 10}); err != nil || len(got) != 2 {
			t.Errorf("of one: %+v, %v", got, err)
		}
		if s, _ := db.Directory().Subscription(1); !s.Deleted.IsZero() {
			t.Errorf("it is there: %v", s.Deleted)
		}
		must(t, db.Change(hook.Change{RemoveSubscriptions: []hook.SubscriptionKey{1}}, now.Add(time.Hour)))
		if s, err := db.DeletedSubscription(t.Context(), 1); err != nil || !s.Deleted.Equal(now.Add(time.Hour)) {
			t.Errorf("%+v, %v", s, err)
		}
	})
}
