package store

import (
	"context"

	"github.com/switchhook/switchhook/internal/hook"
)

const (
	selectPlace = `SELECT due_at, generation FROM due WHERE subscription = $1 AND event_id = $2 AND due_at IN (0, $3)`

	// Counted no further than anybody wants to know: a backlog may be of millions.
	selectAhead = `SELECT 1 FROM due WHERE subscription = $1 AND (due_at, event_id) < ($2, $3) LIMIT $4`
	countAhead  = `SELECT count(*) FROM (` + selectAhead + `) AS ahead`

	selectChallengeOf = selectAttempts + `WHERE event_id = $1 AND kind = 3 LIMIT 1`
)

// DeliveryAndPlace returns a delivery as [DB.Delivery] does, but for the body of its
// event, and where it stands among what is due to its subscription, if it waits.
func (db *DB) DeliveryAndPlace(ctx context.Context, id hook.DeliveryID) (s *hook.Standing, p hook.Place, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		if s, err = db.standing(t, selectEventHead, id); err != nil || s == nil {
			return err
		}
		if s.Log, err = attempts(t, id); err != nil || s.State != hook.Waiting {
			return err
		}
		var due int64
		err := t.query(selectPlace, func(r row) error { due, p.Generation = r.int(0), r.int(1); return nil },
			int64(id.Subscription), int64(id.Event), dueMillis(s.Due))
		if err != nil {
			return err
		}
		return t.query(countAhead, func(r row) error { p.Ahead = int(r.int(0)); return nil },
			int64(id.Subscription), due, int64(id.Event), hook.MaxAhead)
	})
	if err == nil && s == nil {
		err = noDelivery(id)
	}
	return s, p, err
}

// ChallengeOf returns the challenge that was sent under an event id, or nil.
func (db *DB) ChallengeOf(ctx context.Context, id hook.EventID) (a *hook.Attempt, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		return t.query(selectChallengeOf, func(r row) error {
			found := scanAttempt(r)
			a = &found
			return nil
		}, int64(id))
	})
	return a, err
}

// Horizon returns the lowest event id that cannot have been deleted for its age.
func (db *DB) Horizon(ctx context.Context) (id hook.EventID, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		below, err := expired(t)
		id = hook.EventID(below)
		return err
	})
	return id, err
}
