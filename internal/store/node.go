package store

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
)

// Join makes a node known, with a lease that begins at now.
func (db *DB) Join(now time.Time, lease time.Duration) (deliver.Node, error) {
	n := deliver.Node{Lease: lease}
	err := db.sql.write(func(t tx) error {
		used := map[int]bool{}
		if err := t.query(`SELECT slot FROM nodes`, func(r row) error { used[int(r.int(0))] = true; return nil }); err != nil {
			return err
		}
		for used[n.Slot] {
			n.Slot++
		}
		if n.Slot > hook.MaxNode {
			return fmt.Errorf("store: %d nodes are in use already", n.Slot)
		}
		return t.query(`INSERT INTO nodes (slot, lease_until) VALUES ($1, $2) RETURNING id`,
			func(r row) error { n.ID = r.int(0); return nil }, n.Slot, leaseUntil(n, now))
	}, nil)
	return n, err
}

func leaseUntil(n deliver.Node, now time.Time) int64 {
	if n.Lease == 0 {
		return math.MaxInt64
	}
	return dueMillis(now.Add(n.Lease))
}

// Renew extends the node's lease. It reports false if others have taken over what the
// node had in hand, because the lease had lapsed. One that had lapsed without anybody
// taking notice goes on: the database may have been away.
func (db *DB) Renew(n deliver.Node, now time.Time) (ok bool, err error) {
	err = db.sql.writeNow(func(t tx) error {
		rows, err := t.exec(`UPDATE nodes SET lease_until = $1 WHERE id = $2`, leaseUntil(n, now), n.ID)
		ok = rows == 1
		return err
	})
	return ok, err
}

// Leave gives back at once whatever the node has in hand.
func (db *DB) Leave(n deliver.Node) error {
	return db.sql.writeNow(func(t tx) error {
		_, err := t.exec(`DELETE FROM nodes WHERE id = $1`, n.ID)
		return err
	})
}

// NextLapse forgets the nodes whose lease has lapsed by now, says whether there
// were any, and returns when the next of the others' leases lapses: the zero time
// if none can.
func (db *DB) NextLapse(self deliver.Node, now time.Time) (lapsed bool, next time.Time, err error) {
	err = db.sql.writeNow(func(t tx) error {
		rows, err := t.exec(`DELETE FROM nodes WHERE lease_until <= $1 AND id <> $2`, now.UnixMilli(), self.ID)
		if err != nil {
			return err
		}
		lapsed = rows > 0
		return t.query(`SELECT min(lease_until) FROM nodes WHERE id <> $1 AND lease_until < $2`,
			func(r row) error { next = fromMillis(r.int(0)); return nil }, self.ID, int64(math.MaxInt64))
	})
	return lapsed, next, err
}

// LastEvent returns the highest event id in the store, so that a clock which was
// set back does not lead to ids being given again.
func (db *DB) LastEvent(ctx context.Context) (hook.EventID, error) {
	return db.LastEventUpTo(ctx, math.MaxInt64)
}
