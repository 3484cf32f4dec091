package store

import (
	"context"
	"encoding/binary"
	"math"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// expireRows bounds what one step of Expire deletes, so that deliveries do not
// have to wait behind it.
const expireRows = 500

// keepValidations is how much longer than the log the history of validations is kept:
// it has a row in three days.
const keepValidations = 366 * 24 * time.Hour

// Expire deletes log rows, events, idempotency keys and deleted subscriptions from
// before t, in small steps, until nothing is left to do or ctx is done. What is
// outstanding keeps its event and all that came after it.
func (db *DB) Expire(ctx context.Context, t time.Time) error {
	below, err := db.expireBelow(ctx, hook.FirstID(t))
	if err != nil {
		return err
	}
	// Log rows have ids of their own, so the whole millisecond of the first event that
	// stays keeps its rows.
	kept := hook.EventID(below).Time()
	if err := db.sql.expireLog(ctx, hook.FirstID(kept), below); err != nil {
		return err
	}
	before := millis(t)
	return expireIn(ctx, db.sql, []expiry{
		{`DELETE FROM idempotency_keys WHERE event_id IN (SELECT event_id FROM idempotency_keys WHERE event_id < $1 ORDER BY event_id LIMIT $2)`, below},
		{`DELETE FROM subscriptions WHERE key IN (SELECT key FROM subscriptions WHERE deleted > 0 AND deleted < $1
			AND NOT EXISTS (SELECT 1 FROM due WHERE subscription = key) LIMIT $2)`, min(before, millis(kept))},
		// The oldest are looked at and no others: there is no index on the time.
		{`DELETE FROM validations WHERE at < $1 AND id IN (SELECT id FROM validations ORDER BY id LIMIT $2)`, before - keepValidations.Milliseconds()},
		{`DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE ended > 0 AND ended < $1 LIMIT $2)`, before},
	})
}

func (s *sqliteDB) expireLog(ctx context.Context, attempts, events int64) error {
	return expireIn(ctx, s, []expiry{
		{`DELETE FROM attempts WHERE id IN (SELECT id FROM attempts WHERE id < $1 ORDER BY id LIMIT $2)`, attempts},
		{`DELETE FROM events WHERE id IN (SELECT id FROM events WHERE id < $1 ORDER BY id LIMIT $2)`, events},
	})
}

// expiry is a statement that deletes rows below something, at most so many.
type expiry struct {
	query string
	below int64
}

// expireIn deletes what has expired, in small steps, until nothing is left or ctx is
// done.
func expireIn(ctx context.Context, db backend, all []expiry) error {
	for ctx.Err() == nil {
		rows := 0
		err := db.write(func(t tx) error {
			rows = 0
			for _, e := range all {
				n, err := t.exec(e.query, e.below, expireRows)
				if err != nil {
					return err
				}
				rows += n
			}
			return nil
		}, nil)
		if err != nil || rows == 0 {
			return err
		}
	}
	return nil
}

// expireBelow returns the id below which nothing is wanted any more. From then on
// nothing below the first one can be made due again; what was before, is seen.
func (db *DB) expireBelow(ctx context.Context, first int64) (below int64, err error) {
	err = db.sql.write(func(t tx) error {
		expired, err := expired(t)
		if err != nil || expired >= first {
			return err
		}
		_, err = t.exec(`INSERT INTO settings (name, value) VALUES ('expired', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
			binary.BigEndian.AppendUint64(nil, uint64(first)))
		return err
	}, nil)
	if err != nil {
		return 0, err
	}
	below = first
	err = db.sql.read(ctx, func(t tx) error {
		return t.query(`SELECT min(event_id) FROM due`, func(r row) error {
			if id := r.int(0); id != 0 {
				below = min(below, id)
			}
			return nil
		})
	})
	return below, err
}

// expired returns the id below which nothing may be made due again.
func expired(t tx) (below int64, err error) {
	err = t.query(`SELECT value FROM settings WHERE name = 'expired'`, func(r row) error {
		if b := r.blob(0); len(b) == 8 {
			below = int64(binary.BigEndian.Uint64(b))
		}
		return nil
	})
	return below, err
}

// Cancel calls off outstanding deliveries of a subscription that are of an earlier
// generation than the given one and in nobody's hand, at most limit of them, and
// says whether there may be more. Each leaves a row in the log with the reason. With
// the highest generation there is all are called off, if the subscription is in fact deleted.
func (db *DB) Cancel(k hook.SubscriptionKey, generation int64, reason string, now time.Time, limit int) (more bool, err error) {
	err = db.sql.write(func(t tx) error {
		var rows []hook.Delivery
		if generation == math.MaxInt64 {
			// Another node may have made it, of which this one has not heard yet.
			live := false
			err := t.query(`SELECT 1 FROM subscriptions WHERE key = $1 AND deleted = 0`, func(row) error { live = true; return nil }, int64(k))
			if more = false; err != nil || live {
				return err
			}
		}
		err := t.query(`
			SELECT due_at, event_id, tries FROM due
			WHERE subscription = $1 AND generation < $2 AND `+db.dialect.free+` LIMIT $3 `+db.dialect.skipLocked, func(r row) error {
			rows = append(rows, hook.Delivery{
				ID:    hook.DeliveryID{Event: hook.EventID(r.int(1)), Subscription: k},
				Due:   fromMillis(r.int(0)),
				Tries: int(r.int(2)),
			})
			return nil
		}, int64(k), generation, limit)
		if err != nil {
			return err
		}
		more = len(rows) == limit
		return callOff(t, rows, now, reason)
	}, nil)
	return more, err
}

// callOff ends deliveries that are not made, and says why in the log.
func callOff(t tx, all []hook.Delivery, now time.Time, reason string) error {
	err := t.each(deleteDue, len(all), func(i int) []any {
		d := &all[i]
		return []any{int64(d.ID.Subscription), dueMillis(d.Due), int64(d.ID.Event)}
	}, nil)
	if err != nil {
		return err
	}
	for _, d := range all {
		err := t.insertAttempt(&hook.Attempt{
			Delivery: d.ID, Kind: hook.KindCancel, Retry: d.Tries, State: hook.Cancelled, Due: d.Due, Started: now, Detail: reason,
		})
		if err != nil {
			return err
		}
	}
	return nil
}
