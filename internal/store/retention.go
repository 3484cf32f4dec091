package store

import (
	"context"
	"time"

	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
)

// expireRows bounds what one step of Expire deletes, so that deliveries do not
// have to wait behind it.
const expireRows = 500

// Expire deletes log rows, events and idempotency keys from before t, a small step
// at a time, and returns how many rows it deleted; fewer than nothing is left to
// do when done is true. An event stays while any of its deliveries is outstanding.
func (db *DB) Expire(ctx context.Context, t time.Time) (done bool, err error) {
	first := hook.FirstID(t)
	oldest := first
	err = db.sql.read(ctx, func(t tx) error {
		return t.query(`SELECT min(event_id) FROM due`, func(r row) error {
			if id := r.int(0); id != 0 {
				oldest = min(oldest, id)
			}
			return nil
		})
	})
	if err != nil {
		return false, err
	}
	rows := 0
	err = db.sql.write(func(t tx) error {
		rows = 0
		for _, e := range []struct {
			query string
			below int64
		}{
			{`DELETE FROM attempts WHERE id IN (SELECT id FROM attempts WHERE id < $1 ORDER BY id LIMIT $2)`, first},
			{`DELETE FROM events WHERE id IN (SELECT id FROM events WHERE id < $1 ORDER BY id LIMIT $2)`, oldest},
			{`DELETE FROM idempotency_keys WHERE event_id IN (SELECT event_id FROM idempotency_keys WHERE event_id < $1 ORDER BY event_id LIMIT $2)`, oldest},
		} {
			n, err := t.exec(e.query, e.below, expireRows)
			if err != nil {
				return err
			}
			rows += n
		}
		return nil
	}, nil)
	return rows == 0, err
}

// Cancel calls off outstanding deliveries of a subscription that are of an earlier
// generation than the given one and in nobody's hand, at most limit of them, and
// says whether there may be more. Each leaves a row in the log with the reason.
func (db *DB) Cancel(k hook.SubscriptionKey, generation int64, reason string, now time.Time, limit int) (more bool, err error) {
	err = db.sql.write(func(t tx) error {
		var rows []deliver.Outstanding
		err := t.query(`
			SELECT due_at, event_id, tries FROM due
			WHERE subscription = $1 AND generation < $2 AND `+free+` LIMIT $3`, func(r row) error {
			rows = append(rows, deliver.Outstanding{Delivery: hook.Delivery{
				ID:    hook.DeliveryID{Event: hook.EventID(r.int(1)), Subscription: k},
				Due:   fromMillis(r.int(0)),
				Tries: int(r.int(2)),
			}})
			return nil
		}, int64(k), generation, limit)
		if err != nil {
			return err
		}
		for _, d := range rows {
			a := hook.Attempt{Delivery: d.ID, Kind: hook.KindCancel, Retry: d.Tries, State: hook.Cancelled, Due: d.Due, Started: now, Detail: reason}
			if _, err := t.exec(deleteDue, int64(k), dueMillis(d.Due), int64(d.ID.Event)); err != nil {
				return err
			}
			if err := t.insertAttempt(&a); err != nil {
				return err
			}
		}
		more = len(rows) == limit
		return nil
	}, nil)
	return more, err
}
