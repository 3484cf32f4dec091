package store

import (
	"context"
	"math"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

const (
	attemptColumns = `id, event_id, subscription, kind, retry, outcome, state, due_at, next_due, started,
		dns, connected, tls, first_byte, done, span, type_id, target, response_header, response_body, truncated, detail`
	insertAttempt = `
		INSERT INTO attempts (` + attemptColumns + `, part)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)`
	selectAttempts = `SELECT ` + attemptColumns + `, coalesce(url, ''), coalesce(auth_mode, 0), coalesce(header, '') FROM attempts LEFT JOIN targets USING (target) `
)

func (t sqliteTx) insertAttempt(a *hook.Attempt) error {
	a.ID = t.s.attemptIDs.Next(a.Started.Add(a.Timing.Done))
	t.s.logged = true
	target, err := t.targetNumber(a.Target)
	if err != nil {
		return err
	}
	eventType := t.s.typeNumber(a.EventType)
	st, err := t.c.Prepare(insertAttempt)
	if err != nil {
		return err
	}
	for i, n := range [...]int64{
		a.ID, int64(a.Delivery.Event), int64(a.Delivery.Subscription), int64(a.Kind), int64(a.Retry), int64(a.Outcome), int64(a.State),
		dueMillis(a.Due), dueMillis(a.Next), a.Started.UnixMicro(),
		a.Timing.DNS.Microseconds(), a.Timing.Connected.Microseconds(), a.Timing.TLS.Microseconds(),
		a.Timing.FirstByte.Microseconds(), a.Timing.Done.Microseconds(), int64(a.Span), eventType, target,
	} {
		st.BindInt64(i+1, n)
	}
	st.BindText(19, a.Response.Header)
	st.BindBytes(20, a.Response.Body)
	st.BindBool(21, a.Response.Truncated)
	st.BindText(22, a.Detail)
	if st.BindNull(23); a.Request() {
		st.BindInt64(23, logPart(a.Retry, a.Failed()))
	}
	return step(st)
}

// logPart returns the part of the webhook log that a request is in.
func logPart(retry int, failed bool) int64 {
	if failed {
		return int64(2*retry) + 1
	}
	return int64(2 * retry)
}

// targetNumber returns the number that stands for a target in the store.
func (t sqliteTx) targetNumber(x hook.Target) (n int64, err error) {
	if x == (hook.Target{}) {
		return 0, nil
	}
	if n, ok := t.s.targets[x]; ok {
		return n, nil
	}
	if _, err := t.exec(`INSERT INTO targets (url, auth_mode, header) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, x.URL, int(x.Auth), x.Header); err != nil {
		return 0, err
	}
	err = t.query(`SELECT target FROM targets WHERE url = $1 AND auth_mode = $2 AND header = $3`, func(r row) error { n = r.int(0); return nil }, x.URL, int(x.Auth), x.Header)
	if len(t.s.targets) > maxTargets {
		clear(t.s.targets)
	}
	t.s.targets[x] = n
	return n, err
}

// maxTargets bounds how many are remembered.
const maxTargets = 100_000

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
		Response: hook.Response{Header: r.text(18), Body: r.blob(19), Truncated: r.int(20) != 0},
		Detail:   r.text(21),
		Target:   hook.Target{URL: r.text(22), Auth: hook.AuthMode(r.int(23)), Header: r.text(24)},
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

// lastState makes a say what the latest row of its delivery says: it waits, if there is
// none.
func lastState(t tx, d hook.DeliveryID, a *hook.Attempt) error {
	var last hook.Attempt
	found, err := lastAttempt(t, d, &last)
	a.State, a.Next = hook.Waiting, time.Time{}
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

// LogRefused adds a challenge to the log of a subscription that was not made after all.
// The log names it like one that was deleted; its settings are not kept.
func (db *DB) LogRefused(s *hook.Subscription, a *hook.Attempt) error {
	refused := *s
	refused.Auth = hook.Auth{}
	return db.sql.write(func(t tx) error {
		if err := db.putSubscription(t, &refused); err != nil {
			return err
		}
		if _, err := t.exec(`UPDATE subscriptions SET deleted = $1 WHERE key = $2`, millis(a.Started.Add(a.Timing.Done)), int64(s.Key)); err != nil {
			return err
		}
		return t.insertAttempt(a)
	}, nil)
}

// Challenges returns the challenges of a subscription, the latest first, at most
// limit of them.
func (db *DB) Challenges(ctx context.Context, k hook.SubscriptionKey, limit int) (all []hook.Attempt, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		kind := db.knownType(challengeType)
		ids, err := latest(t, []stream{{int64(k), kind, logPart(0, false)}, {int64(k), kind, logPart(0, true)}}, 0, math.MaxInt64, limit)
		for _, id := range ids {
			err = firstError(err, t.query(selectLogRow, func(r row) error { all = append(all, scanAttempt(r)); return nil }, id))
		}
		return err
	})
	return all, err
}

// challengeType is the event that asks an endpoint to prove itself.
const challengeType = "endpoint.url_validation"
