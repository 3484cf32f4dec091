package store

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// scanLimit bounds how many events one page looks at, so that a filter which
// hardly anything passes answers in time, if with an empty page and where to go
// on.
const (
	scanLimit = 2_000

	// scanDeliveries bounds the same where events are owed to many.
	scanDeliveries = 10_000
)

// Deliveries returns a page of deliveries, and where the next page begins if there
// may be one. The latest events come first, but for deliveries that wait: those
// come by subscription in the order in which they are due.
func (db *DB) Deliveries(ctx context.Context, f hook.DeliveryFilter) (page []hook.Standing, next *hook.Cursor, err error) {
	seek := db.seekEvents
	switch {
	case slices.Equal(f.States, []hook.State{hook.Waiting}):
		seek = seekWaiting
	case len(f.States) > 0 && !slices.Contains(f.States, hook.Waiting) && !slices.Contains(f.States, hook.Delivered):
		seek = seekUndelivered
	}
	if f.EventType != "" && db.knownType(f.EventType) == 0 {
		return nil, nil, nil // nothing of that type was ever published
	}
	err = db.sql.read(ctx, func(t tx) error {
		if f.Subscriptions == nil && f.States != nil {
			if f.Subscriptions, err = subscriptionKeys(t); err != nil {
				return err
			}
		}
		found, more, err := seek(t, f)
		if err != nil {
			return err
		}
		for i, c := range found {
			s, err := db.standing(t, selectEventHead, c.ID)
			if err != nil {
				return err
			}
			if s == nil || !passes(&f, s) {
				continue
			}
			page = append(page, *s)
			if len(page) == f.Limit && (more || i < len(found)-1) {
				next = &c
				return nil
			}
		}
		if more {
			next = &found[len(found)-1]
		}
		return nil
	})
	return page, next, err
}

func passes(f *hook.DeliveryFilter, s *hook.Standing) bool {
	return (f.States == nil || slices.Contains(f.States, s.State)) && (f.EventType == "" || f.EventType == s.Event.Type)
}

// Delivery returns one delivery with its event and its log.
func (db *DB) Delivery(ctx context.Context, id hook.DeliveryID) (s *hook.Standing, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		if s, err = db.standing(t, selectEvent, id); err != nil || s == nil {
			return err
		}
		s.Log, err = attempts(t, id)
		return err
	})
	if err == nil && s == nil {
		err = noDelivery(id)
	}
	return s, err
}

func noDelivery(id hook.DeliveryID) error {
	return &hook.Error{Kind: hook.NotFound, Subject: "delivery " + id.String(),
		Detail: "is not there: its event was not owed to that subscription, or is older than the webhook log"}
}

// standing reads how a delivery stands, or nil if there is no such delivery, with
// what selectEvent selects of its event. What is not in the log yet waits for its
// first attempt.
func (db *DB) standing(t tx, selectEvent string, id hook.DeliveryID) (*hook.Standing, error) {
	s := &hook.Standing{Delivery: hook.Delivery{ID: id}}
	var owed []hook.SubscriptionKey
	err := t.query(selectEvent+`WHERE id = $1`, func(r row) (err error) {
		s.Event, owed, err = db.scanEvent(r)
		return err
	}, int64(id.Event))
	if err != nil || s.Event == nil || !slices.Contains(owed, id.Subscription) {
		return nil, err
	}
	var last hook.Attempt
	found, err := lastAttempt(t, id, &last)
	if found {
		s.Last, s.State, s.Due = &last, last.State, last.Next
		if s.Tries = last.Retry; last.Kind == hook.KindAttempt && last.Outcome.Retry() != hook.AtOnce {
			s.Tries++
		}
	}
	return s, err
}

// bounds returns the event ids that the filter allows.
func bounds(f *hook.DeliveryFilter) (from, to int64) {
	to = math.MaxInt64
	if !f.From.IsZero() {
		from = hook.FirstID(f.From)
	}
	if !f.To.IsZero() {
		to = hook.FirstID(f.To) - 1
	}
	return from, to
}

// latestFirst is the order of lists, but for what waits.
func latestFirst(a, b hook.Cursor) int {
	return cmp.Or(cmp.Compare(b.ID.Event, a.ID.Event), cmp.Compare(a.ID.Subscription, b.ID.Subscription))
}

const (
	selectRecent      = `SELECT id, owed, type_id FROM events WHERE id >= $1 AND id <= $2 ORDER BY id DESC LIMIT $3`
	selectUndelivered = `
		SELECT DISTINCT event_id FROM attempts
		WHERE state > 1 AND subscription = $1 AND event_id >= $2 AND event_id <= $3
		ORDER BY event_id DESC LIMIT $4`
	selectWaiting = `
		SELECT due_at, event_id FROM due
		WHERE subscription = $1 AND (due_at, event_id) > ($2, $3) AND event_id >= $4 AND event_id <= $5
		ORDER BY due_at, event_id LIMIT $6`
)

// errEnough ends a query.
var errEnough = errors.New("store: enough")

// seekEvents walks the events from the latest down.
func (db *DB) seekEvents(t tx, f hook.DeliveryFilter) (found []hook.Cursor, more bool, err error) {
	from, to := bounds(&f)
	if f.After != nil { // some of whose event's deliveries may be left
		to = min(to, int64(f.After.ID.Event))
	}
	events, number := 0, db.knownType(f.EventType)
	err = t.query(selectRecent, func(r row) error {
		if len(found) >= scanDeliveries {
			return errEnough
		}
		if events++; number != 0 && r.int(2) != number {
			return nil
		}
		for _, k := range parseOwed(r.blob(1)) {
			c := hook.Cursor{ID: hook.DeliveryID{Event: hook.EventID(r.int(0)), Subscription: k}}
			if f.After != nil && latestFirst(c, *f.After) <= 0 || f.Subscriptions != nil && !slices.Contains(f.Subscriptions, k) {
				continue
			}
			found = append(found, c)
		}
		return nil
	}, from, to, scanLimit)
	if errors.Is(err, errEnough) {
		return found, true, nil
	}
	if events == scanLimit && len(found) == 0 {
		// Nothing here, but the next page must know where to go on.
		err = t.query(`SELECT id FROM events WHERE id >= $1 AND id <= $2 ORDER BY id DESC LIMIT 1 OFFSET $3`, func(r row) error {
			found = []hook.Cursor{{ID: hook.DeliveryID{Event: hook.EventID(r.int(0)), Subscription: math.MaxInt64}}}
			return nil
		}, from, to, scanLimit-1)
	}
	return found, events == scanLimit, err
}

// seekUndelivered looks only at the log rows that ended undelivered.
func seekUndelivered(t tx, f hook.DeliveryFilter) (found []hook.Cursor, more bool, err error) {
	from, to := bounds(&f)
	if f.After != nil {
		to = min(to, int64(f.After.ID.Event))
	}
	for _, k := range f.Subscriptions {
		n := 0
		err := t.query(selectUndelivered, func(r row) error {
			n++
			c := hook.Cursor{ID: hook.DeliveryID{Event: hook.EventID(r.int(0)), Subscription: k}}
			if f.After == nil || latestFirst(c, *f.After) > 0 {
				found = append(found, c)
			}
			return nil
		}, int64(k), from, to, f.Limit+2)
		if err != nil {
			return nil, false, err
		}
		more = more || n == f.Limit+2
	}
	slices.SortFunc(found, latestFirst)
	if len(found) > f.Limit+1 { // what one subscription was cut off at, another may go beyond
		found, more = found[:f.Limit+1], true
	}
	return found, more, nil
}

// seekWaiting looks only at outstanding rows.
func seekWaiting(t tx, f hook.DeliveryFilter) (found []hook.Cursor, more bool, err error) {
	from, to := bounds(&f)
	slices.Sort(f.Subscriptions)
	for _, k := range f.Subscriptions {
		due, event := int64(-1), int64(0)
		if f.After != nil {
			switch {
			case k < f.After.ID.Subscription:
				continue
			case k == f.After.ID.Subscription:
				due, event = f.After.Due, int64(f.After.ID.Event)
			}
		}
		err := t.query(selectWaiting, func(r row) error {
			found = append(found, hook.Cursor{ID: hook.DeliveryID{Event: hook.EventID(r.int(1)), Subscription: k}, Due: r.int(0)})
			return nil
		}, int64(k), due, event, from, to, f.Limit+1-len(found))
		if err != nil {
			return nil, false, err
		}
		if len(found) > f.Limit {
			return found, true, nil
		}
	}
	return found, false, nil
}

// subscriptionKeys returns the keys of all subscriptions that the log may name,
// deleted ones included.
func subscriptionKeys(t tx) (keys []hook.SubscriptionKey, err error) {
	err = t.query(`SELECT key FROM subscriptions ORDER BY key`, func(r row) error {
		keys = append(keys, hook.SubscriptionKey(r.int(0)))
		return nil
	})
	return keys, err
}

// Resend makes an ended delivery due again at now, with the whole schedule before
// it, and says so in the log. One that is not owed, still waits, or has nobody to
// go to is refused. Entries of the audit trail are stored with it.
func (db *DB) Resend(id hook.DeliveryID, now time.Time, detail string, entries ...hook.AuditEntry) error {
	for n := 0; ; n++ {
		err := db.resend(id, now, detail, entries)
		if n == staleAtMost || !errors.Is(err, hook.ErrStale) {
			return err
		}
		if err := db.sql.catchUp(context.Background()); err != nil {
			return err
		}
	}
}

func (db *DB) resend(id hook.DeliveryID, now time.Time, detail string, entries []hook.AuditEntry) error {
	return db.sql.write(func(t tx) error {
		if version, err := db.sql.version(t); err != nil || db.dialect.shared && version != db.directory.Version() {
			return firstError(err, hook.ErrStale)
		}
		if err := putAudit(t, entries); err != nil {
			return err
		}
		s, err := db.standing(t, selectEvent, id)
		if err != nil {
			return err
		}
		below, err := expired(t)
		if err != nil {
			return err
		}
		if s == nil || int64(id.Event) < below {
			return noDelivery(id)
		}
		sub, app := db.directory.Subscription(id.Subscription)
		switch {
		case s.State == hook.Waiting:
			return &hook.Error{Kind: hook.Conflict, Subject: "delivery " + id.String(), Detail: "is waiting for its next attempt already"}
		case sub == nil:
			return &hook.Error{Kind: hook.Conflict, Subject: "delivery " + id.String(), Detail: "cannot be resent: its subscription was deleted"}
		case app.Disabled:
			return &hook.Error{Kind: hook.Conflict, Subject: "delivery " + id.String(), Detail: "cannot be resent: app " + app.ID + " is disabled"}
		case !sub.Serving(app).Active():
			return &hook.Error{Kind: hook.Conflict, Subject: "delivery " + id.String(),
				Detail: "cannot be resent: subscription " + sub.ID + " is " + sub.Serving(app).State.String() + "; validate it first"}
		}
		due := fromMillis(dueMillis(now))
		a := hook.Attempt{Delivery: id, Kind: hook.KindResend, State: hook.Waiting, Due: due, Next: due, Started: now, Detail: detail}
		if err := t.insertAttempt(&a); err != nil {
			return err
		}
		_, err = t.exec(insertDue, int64(id.Subscription), dueMillis(due), int64(id.Event), 0, sub.Generation, len(s.Event.Body), 0)
		return err
	}, nil)
}
