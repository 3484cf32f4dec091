package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
)

// lateShare is the part of a claim that late retries may have while first
// attempts wait: some, so that a subscription that is always behind does not put
// them off for ever.
const lateShare = 8

// Claim takes outstanding deliveries in hand: first attempts in the order of
// publishing, and retries by when they are due.
func (db *DB) Claim(ctx context.Context, n deliver.Node, now time.Time, want []deliver.Want) ([]deliver.Claim, error) {
	if err := db.giveBack(n, nil); err != nil {
		return nil, err
	}
	claims, err := db.sql.claim(n.ID, now, want)
	if err != nil {
		return nil, errors.Join(err, db.giveBack(n, claims))
	}
	// The bodies are read beside the writer: those of a large backlog have to come
	// from the disk, and nobody should have to wait for that.
	lost, err := db.readEvents(ctx, claims)
	if err == nil && len(lost) > 0 {
		if err = db.writeOff(lost, now); err != nil {
			for _, d := range lost { // they are in hand still
				claims = append(claims, deliver.Claim{Subscription: d.ID.Subscription, Deliveries: []deliver.Outstanding{d}})
			}
		}
	}
	if err != nil {
		return nil, errors.Join(err, db.giveBack(n, claims))
	}
	return claims, nil
}

// readEvents reads the events of what was claimed, and takes those deliveries out
// whose event is gone or damaged: one must not keep the others from being sent.
func (db *DB) readEvents(ctx context.Context, claims []deliver.Claim) (lost []deliver.Outstanding, err error) {
	var all []*deliver.Outstanding
	for i := range claims {
		for j := range claims[i].Deliveries {
			all = append(all, &claims[i].Deliveries[j])
		}
	}
	err = db.sql.readNow(ctx, func(t tx) error {
		return t.each(selectEvent+`WHERE id = $1`, len(all), func(i int) []any { return []any{int64(all[i].ID.Event)} }, func(i int, r row) error {
			var err error
			if all[i].Event, _, err = db.scanEvent(r); err != nil {
				all[i].Event = nil
				db.log.Error("the event of an outstanding delivery cannot be read", "delivery", all[i].ID, "err", err)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	for i := range claims {
		c := &claims[i]
		for _, d := range c.Deliveries {
			if d.Event == nil {
				lost = append(lost, d)
			}
		}
		c.Deliveries = slices.DeleteFunc(c.Deliveries, func(d deliver.Outstanding) bool { return d.Event == nil })
	}
	return lost, nil
}

// writeOff ends deliveries whose event is gone.
func (db *DB) writeOff(lost []deliver.Outstanding, now time.Time) error {
	return db.sql.write(func(t tx) error {
		var all []hook.Delivery
		for _, d := range lost {
			db.log.Error("an outstanding delivery is written off: its event is gone", "delivery", d.ID)
			all = append(all, d.Delivery)
		}
		return callOff(t, all, now, "its event is gone")
	}, nil)
}

// giveBack takes deliveries out of the node's hand again that were claimed in vain.
// Those for which that fails it tries again the next time: as long as they are in
// a hand that knows nothing of them, nobody else has them either.
func (db *DB) giveBack(n deliver.Node, claims []deliver.Claim) error {
	db.strandedMu.Lock()
	defer db.strandedMu.Unlock()
	db.stranded = append(db.stranded, claims...)
	if len(db.stranded) == 0 {
		return nil
	}
	err := db.release(n, db.stranded)
	if err == nil {
		db.stranded = nil
	}
	return err
}

// release takes deliveries out of the node's hand again.
func (db *DB) release(n deliver.Node, claims []deliver.Claim) error {
	var all []deliver.Outstanding
	for _, c := range claims {
		all = append(all, c.Deliveries...)
	}
	return db.sql.write(func(t tx) error {
		return t.each(`UPDATE due SET node = 0 WHERE subscription = $1 AND due_at = $2 AND event_id = $3 AND node = $4`, len(all), func(i int) []any {
			d := &all[i]
			return []any{int64(d.ID.Subscription), dueMillis(d.Due), int64(d.ID.Event), n.ID}
		}, nil)
	}, nil)
}

const (
	// A row is free if nobody has it in hand, or nobody that still lives.
	free = `(node = 0 OR node NOT IN (SELECT id FROM nodes))`

	selectDue = `
		SELECT due_at, event_id, tries, generation, size FROM due
		WHERE subscription = $1 AND due_at >= $2 AND due_at <= $3 AND ` + free + `
		ORDER BY due_at, event_id LIMIT $4`
	takeDue = `
		UPDATE due SET node = $1 WHERE subscription = $2 AND due_at = $3 AND event_id = $4`
	selectNext = `
		SELECT due_at FROM due
		WHERE subscription = $1 AND due_at > $2 AND ` + free + `
		ORDER BY due_at LIMIT 1`
)

func (s *sqliteDB) claim(node int64, now time.Time, want []deliver.Want) (claims []deliver.Claim, err error) {
	err = s.do(unit{call: func(t tx) error {
		claims = make([]deliver.Claim, len(want))
		for i, w := range want {
			var err error
			if claims[i], err = claimDue(t, node, millis(now), w); err != nil {
				return err
			}
		}
		return nil
	}})
	return claims, err
}

func claimDue(t tx, node, now int64, w deliver.Want) (deliver.Claim, error) {
	c := deliver.Claim{Subscription: w.Subscription}
	first, err := dueRows(t, w, 0, 0)
	if err != nil {
		return c, err
	}
	late, err := dueRows(t, w, 1, now)
	if err != nil {
		return c, err
	}
	c.Deliveries, c.More = choose(w, first, late)
	for _, d := range c.Deliveries {
		if _, err := t.exec(takeDue, node, int64(w.Subscription), millis(d.Due), int64(d.ID.Event)); err != nil {
			return c, err
		}
	}
	return c, t.query(selectNext, func(r row) error { c.Next = fromMillis(r.int(0)); return nil }, int64(w.Subscription), now)
}

// choose picks what is taken, of one more than wanted of each, and says whether there
// is more.
func choose(w deliver.Want, first, late []dueRow) (taken []deliver.Outstanding, more bool) {
	lates := min(len(late), max(1, w.Limit/lateShare, w.Limit-len(first)))
	firsts := min(len(first), w.Limit-lates)
	more = lates < len(late) || firsts < len(first)
	bytes := 0
	for _, r := range slices.Concat(first[:firsts], late[:lates]) {
		if bytes += r.size; bytes > w.Bytes && len(taken) > 0 {
			return taken, true
		}
		taken = append(taken, r.Outstanding)
	}
	return taken, more
}

type dueRow struct {
	deliver.Outstanding
	size int
}

// dueRows returns free rows that are due between two instants, one more than
// wanted, so that it is known whether there are more.
func dueRows(t tx, w deliver.Want, from, to int64) (rows []dueRow, err error) {
	err = t.query(selectDue, func(r row) error {
		rows = append(rows, scanDue(r, w.Subscription))
		return nil
	}, int64(w.Subscription), from, to, w.Limit+1)
	return rows, err
}

func scanDue(r row, k hook.SubscriptionKey) dueRow {
	return dueRow{
		Outstanding: deliver.Outstanding{
			Delivery:   hook.Delivery{ID: hook.DeliveryID{Event: hook.EventID(r.int(1)), Subscription: k}, Due: fromMillis(r.int(0)), Tries: int(r.int(2))},
			Generation: r.int(3),
		},
		size: int(r.int(4)),
	}
}

// Backlogs returns the subscriptions that have outstanding deliveries, in anybody's
// hand or nobody's. It costs by the number of subscriptions, not of deliveries.
func (db *DB) Backlogs(ctx context.Context) (all []deliver.Backlog, err error) {
	const query = `
		WITH RECURSIVE keys (k) AS (
			SELECT min(subscription) FROM due
			UNION ALL
			SELECT (SELECT min(subscription) FROM due WHERE subscription > k) FROM keys WHERE k IS NOT NULL
		)
		SELECT k, (SELECT min(due_at) FROM due WHERE subscription = k) FROM keys WHERE k IS NOT NULL`
	err = db.sql.readNow(ctx, func(t tx) error {
		return t.query(query, func(r row) error {
			all = append(all, deliver.Backlog{Subscription: hook.SubscriptionKey(r.int(0)), Next: fromMillis(r.int(1))})
			return nil
		})
	})
	return all, err
}

// Finish records an attempt and what became of the delivery, as one. It returns
// at once.
func (db *DB) Finish(f *deliver.Finished) { db.sql.finish(f) }

func (s *sqliteDB) finish(f *deliver.Finished) { s.submit(unit{finish: f}) }

const (
	deleteDue = `DELETE FROM due WHERE subscription = $1 AND due_at = $2 AND event_id = $3`
	moveDue   = `
		UPDATE due SET due_at = $1, tries = $2, node = $3
		WHERE subscription = $4 AND due_at = $5 AND event_id = $6 AND node = $7`
)

func (s *sqliteDB) applyFinish(f *deliver.Finished) error {
	d := f.Was.ID
	switch {
	case f.Now.State != hook.Waiting:
		st, err := s.conn.Prepare(deleteDue)
		if err != nil {
			return err
		}
		st.BindInt64(1, int64(d.Subscription))
		st.BindInt64(2, dueMillis(f.Was.Due))
		st.BindInt64(3, int64(d.Event))
		if err := step(st); err != nil {
			return err
		}
	case !f.Keep || f.Now != f.Was:
		node := f.Node
		if !f.Keep {
			node = 0
		}
		t := sqliteTx{s.conn, s}
		n, err := t.exec(moveDue, dueMillis(f.Now.Due), f.Now.Tries, node,
			int64(d.Subscription), dueMillis(f.Was.Due), int64(d.Event), f.Node)
		if err != nil {
			return err
		}
		if n == 0 {
			// The lease had lapsed and another node took the delivery over. The attempt
			// was made, so it is logged; how the delivery stands is the other's to say.
			if err := lastState(t, d, &f.Attempt); err != nil {
				return err
			}
		}
	}
	s.checkpoint.Add(400 + len(f.Attempt.Response.Header) + len(f.Attempt.Response.Body))
	return sqliteTx{s.conn, s}.insertAttempt(&f.Attempt)
}
