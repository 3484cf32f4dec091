package store

import (
	"context"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

const (
	attemptColumns = `id, event_id, subscription, kind, retry, outcome, state, due_at, next_due, started,
		dns, connected, tls, first_byte, done, span, response_header, response_body, truncated, detail`
	insertAttempt = `
		INSERT INTO attempts (` + attemptColumns + `)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)`
	selectAttempts = `SELECT ` + attemptColumns + ` FROM attempts `
)

func (t sqliteTx) insertAttempt(a *hook.Attempt) error {
	a.ID = t.s.attemptIDs.Next(a.Started.Add(a.Timing.Done))
	st, err := t.c.Prepare(insertAttempt)
	if err != nil {
		return err
	}
	for i, n := range [...]int64{
		a.ID, int64(a.Delivery.Event), int64(a.Delivery.Subscription), int64(a.Kind), int64(a.Retry), int64(a.Outcome), int64(a.State),
		dueMillis(a.Due), dueMillis(a.Next), a.Started.UnixMicro(),
		a.Timing.DNS.Microseconds(), a.Timing.Connected.Microseconds(), a.Timing.TLS.Microseconds(),
		a.Timing.FirstByte.Microseconds(), a.Timing.Done.Microseconds(), int64(a.Span),
	} {
		st.BindInt64(i+1, n)
	}
	st.BindText(17, a.Response.Header)
	st.BindBytes(18, a.Response.Body)
	st.BindBool(19, a.Response.Truncated)
	st.BindText(20, a.Detail)
	return step(st)
}

func scanAttempt(r row) hook.Attempt {
	micros := func(i int) time.Duration { return time.Duration(r.int(i)) * time.Microsecond }
	return hook.Attempt{
		ID:       r.int(0),
		Delivery: hook.DeliveryID{Event: hook.EventID(r.int(1)), Subscription: hook.SubscriptionKey(r.int(2))},
		Kind:     hook.AttemptKind(r.int(3)),
		Retry:    int(r.int(4)),
		Outcome:  hook.Outcome(r.int(5)),
		State:    hook.State(r.int(6)),
		Due:      fromMillis(r.int(7)),
		Next:     fromMillis(r.int(8)),
		Started:  time.UnixMicro(r.int(9)),
		Timing:   hook.Timing{DNS: micros(10), Connected: micros(11), TLS: micros(12), FirstByte: micros(13), Done: micros(14)},
		Span:     uint64(r.int(15)),
		Response: hook.Response{Header: r.text(16), Body: r.blob(17), Truncated: r.int(18) != 0},
		Detail:   r.text(19),
	}
}

// lastAttempt reads the latest row of a delivery into a and reports whether there
// is one.
func lastAttempt(t tx, d hook.DeliveryID, a *hook.Attempt) (found bool, err error) {
	err = t.query(selectAttempts+`WHERE event_id = $1 AND subscription = $2 ORDER BY id DESC LIMIT 1`, func(r row) error {
		*a, found = scanAttempt(r), true
		return nil
	}, int64(d.Event), int64(d.Subscription))
	return found, err
}

// lastState makes a say what the latest row of its delivery says.
func lastState(t tx, d hook.DeliveryID, a *hook.Attempt) error {
	var last hook.Attempt
	found, err := lastAttempt(t, d, &last)
	if found {
		a.State, a.Next = last.State, last.Next
	}
	return err
}

// Event returns an event and the subscriptions it is owed to.
func (db *DB) Event(ctx context.Context, id hook.EventID) (e *hook.Event, owed []hook.SubscriptionKey, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		return t.query(selectEvent+`WHERE id = $1`, func(r row) (err error) {
			e, owed, err = db.scanEvent(r)
			return err
		}, int64(id))
	})
	if err == nil && e == nil {
		err = &hook.Error{Kind: hook.NotFound, Subject: "event " + id.String(), Detail: "is not there; events are kept as long as the webhook log"}
	}
	return e, owed, err
}

// attempts returns the log of a delivery, oldest first.
func attempts(t tx, d hook.DeliveryID) (all []hook.Attempt, err error) {
	err = t.query(selectAttempts+`WHERE event_id = $1 AND subscription = $2 ORDER BY id`, func(r row) error {
		all = append(all, scanAttempt(r))
		return nil
	}, int64(d.Event), int64(d.Subscription))
	return all, err
}

// LogChallenges adds challenges to the log.
func (db *DB) LogChallenges(made []*hook.Attempt) error {
	return db.sql.write(func(t tx) error {
		for _, a := range made {
			if err := t.insertAttempt(a); err != nil {
				return err
			}
		}
		return nil
	}, nil)
}

// Challenges returns the challenges of a subscription, the latest first, at most
// limit of them.
func (db *DB) Challenges(ctx context.Context, k hook.SubscriptionKey, limit int) (all []hook.Attempt, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		return t.query(selectChallenges, func(r row) error {
			all = append(all, scanAttempt(r))
			return nil
		}, int64(k), limit)
	})
	return all, err
}

// The kind stands in the text, so that the index over those rows is used.
const selectChallenges = selectAttempts + `WHERE subscription = $1 AND kind = 3 ORDER BY id DESC LIMIT $2`
