package store

import (
	"context"
	"math"
	"time"

	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
)

// Join makes this process a node, with a lease that begins at now. Where nodes are
// several, instants are the database's, and now is not looked at: their clocks need
// not agree.
func (db *DB) Join(now time.Time, lease time.Duration) (deliver.Node, error) {
	return db.sql.join(now, lease)
}

// Renew extends the node's lease, says what the node has in hand, and returns how many
// nodes there are. There are 0 if others have taken over what the node had in hand,
// because the lease had lapsed. One that had lapsed without anybody taking notice goes
// on: the database may have been away.
func (db *DB) Renew(n deliver.Node, has deliver.Holding, now time.Time) (nodes int, err error) {
	return db.sql.renew(n, has, now)
}

// Leave gives back at once whatever the node has in hand.
func (db *DB) Leave(n deliver.Node) error { return db.sql.leave(n) }

// NextLapse forgets the nodes whose lease has lapsed by now, says whether there
// were any, and returns when the next of the others' leases lapses: the zero time
// if none can.
func (db *DB) NextLapse(self deliver.Node, now time.Time) (lapsed bool, next time.Time, err error) {
	return db.sql.nextLapse(self, now)
}

// Nodes returns the nodes by their slots.
func (db *DB) Nodes(ctx context.Context) (all []hook.Node, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		return t.query(`SELECT id, slot, host, version, started, seen, held, lanes, lease_until FROM nodes ORDER BY slot`, func(r row) error {
			n := hook.Node{
				ID: r.int(0), Slot: int(r.int(1)), Host: r.text(2), Version: r.text(3), Started: fromMillis(r.int(4)), Seen: fromMillis(r.int(5)),
				Deliveries: int(r.int(6)), Lanes: int(r.int(7)),
			}
			if until := r.int(8); until != math.MaxInt64 {
				n.Until = fromMillis(until)
			}
			all = append(all, n)
			return nil
		})
	})
	return all, err
}

func (s *sqliteDB) join(now time.Time, lease time.Duration) (deliver.Node, error) {
	n := deliver.Node{Lease: lease}
	err := s.write(func(t tx) (err error) {
		if n.Slot, err = freeSlot(t); err != nil {
			return err
		}
		return firstError(
			t.query(`INSERT INTO nodes (slot, lease_until, host, version, started, seen) VALUES ($1, $2, $3, $4, $5, $5) RETURNING id`,
				func(r row) error { n.ID = r.int(0); return nil }, n.Slot, leaseUntil(n, now), s.host, s.programVersion, millis(now)),
			t.query(selectLastEvent, func(r row) error { n.After = hook.EventID(r.int(0)); return nil }, int64(math.MaxInt64)))
	}, nil)
	return n, err
}

func leaseUntil(n deliver.Node, now time.Time) int64 {
	if n.Lease == 0 {
		return math.MaxInt64
	}
	return dueMillis(now.Add(n.Lease))
}

func (s *sqliteDB) renew(n deliver.Node, has deliver.Holding, now time.Time) (nodes int, err error) {
	err = s.write(func(t tx) error {
		rows, err := t.exec(`UPDATE nodes SET lease_until = $1, seen = $2, held = $3, lanes = $4 WHERE id = $5`,
			leaseUntil(n, now), millis(now), has.Deliveries, has.Lanes, n.ID)
		if nodes = 0; err != nil || rows == 0 {
			return err
		}
		return t.query(`SELECT count(*) FROM nodes`, func(r row) error { nodes = int(r.int(0)); return nil })
	}, nil)
	return nodes, err
}

func (s *sqliteDB) leave(n deliver.Node) error {
	return s.write(func(t tx) error {
		_, err := t.exec(`DELETE FROM nodes WHERE id = $1`, n.ID)
		return err
	}, nil)
}

func (s *sqliteDB) nextLapse(n deliver.Node, now time.Time) (lapsed bool, next time.Time, err error) {
	err = s.write(func(t tx) error {
		rows, err := t.exec(`DELETE FROM nodes WHERE lease_until <= $1 AND id <> $2`, now.UnixMilli(), n.ID)
		if err != nil {
			return err
		}
		lapsed = rows > 0
		return t.query(`SELECT min(lease_until) FROM nodes WHERE id <> $1 AND lease_until < $2`,
			func(r row) error { next = fromMillis(r.int(0)); return nil }, n.ID, int64(math.MaxInt64))
	}, nil)
	return lapsed, next, err
}

// LastEvent returns the highest event id in the store, so that a clock which was
// set back does not lead to ids being given again.
func (db *DB) LastEvent(ctx context.Context) (id hook.EventID, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		return t.query(selectLastEvent, func(r row) error { id = hook.EventID(r.int(0)); return nil }, int64(math.MaxInt64))
	})
	return id, err
}
