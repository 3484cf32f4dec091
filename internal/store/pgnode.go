package store

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
)

// Several processes deliver from a database, each as a node. A node lives for as long
// as its row is there, however late it is to renew its lease: it is others who delete
// the row, when the lease has lapsed. Every transaction of a node shares an advisory
// lock that who deletes its row has for itself, and looks for the row after that. So
// when the row is gone, nothing more comes from that node, and nothing is under way.

const (
	// What a transaction relies on is held until it is over: the directory and the log's
	// horizon as they are, and the node itself.
	shareAll = `
		SELECT pg_advisory_xact_lock_shared($1), pg_advisory_xact_lock_shared($2),
			pg_advisory_xact_lock_shared(CAST($3 AS integer), CAST($4 AS integer))`

	shareNode = `SELECT pg_advisory_xact_lock_shared(CAST($1 AS integer), CAST($2 AS integer))`

	selectPlatform = `SELECT p.version, p.horizon, n.id FROM platform p LEFT JOIN nodes n ON true`

	selectClock = `SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)`

	// Which connections a process has, PostgreSQL knows by their names. It says so of our
	// own user's.
	connected = `EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
		AND (usename IS DISTINCT FROM current_user OR position(process IN application_name) > 0))`

	selectSilent = `SELECT id FROM nodes WHERE id <> $1 AND (lease_until <= $2 OR $3 = 1 AND process <> '' AND NOT ` + connected + `)`

	// A node that was stopped in the middle of a transaction would keep others from what
	// it holds. One that is busy on the server may be waiting for a standby.
	endSilent = `
		SELECT pg_terminate_backend(pid) FROM pg_stat_activity JOIN nodes ON position(process IN application_name) > 0
		WHERE id = $1 AND process <> '' AND usename = current_user AND wait_event_type = 'Client' AND state <> 'idle'`

	lockNode = `SELECT pg_advisory_xact_lock(CAST($1 AS integer), CAST($2 AS integer))`
	tryNode  = `SELECT pg_try_advisory_xact_lock(CAST($1 AS integer), CAST($2 AS integer))`
	freeMail = `UPDATE outbox SET claimed_until = 0, claimed_by = 0 WHERE state = 'pending' AND claimed_by = $1`
)

// errLapsed says that this process is no node any more, though it thought so.
var errLapsed = errors.New("this node was silent for so long that others have taken over what it had; it joins them anew")

// self is what this process is to the others.
type self struct {
	id, slot int64 // id 0: no node
	attempts *hook.IDs
	// lost are nodes that it was, and is no more, with their slots.
	lost map[int64]int64
	// after is the id of the last event that was stored when the others could know of this
	// node: from then on they wait for it before they take an event for the next.
	after hook.EventID
}

// nobody has a slot of its own, which no node has.
func nobody(after int64) *self {
	s := &self{slot: hook.MaxNode, attempts: hook.NewIDs(hook.MaxNode, after)}
	s.attempts.Raise(after)
	return s
}

// mayStore says why what a node has accepted may not be stored: because it is not that
// node any more. Its ids are another's to give then.
func (s *self) mayStore(e *hook.Event, owed []hook.Owed) error {
	for id, slot := range s.lost {
		if int64(e.ID.Node()) == slot && (slot != s.slot || e.ID <= s.after) {
			return errLapsed
		}
		for _, o := range owed {
			if o.Node == id {
				return errLapsed
			}
		}
	}
	return nil
}

// platformRow is what a transaction knows of the platform.
type platformRow struct {
	version, horizon int64
	nodes            map[int64]bool
}

func (p *platformRow) scan(r row) {
	if p.nodes == nil {
		p.nodes = map[int64]bool{}
	}
	p.version, p.horizon = r.int(0), r.int(1)
	p.nodes[r.int(2)] = true
}

// nodeLock returns the two halves of the lock that a node's transactions share. Which
// numbers they are does not matter, if they are always the same.
func (p *postgresDB) nodeLock(id int64) (int64, int64) {
	return int64(int32(p.locks / lockCount)), int64(int32(id))
}

// share is the statement that holds what a transaction relies on.
func (p *postgresDB) share(s *self) statement {
	a, b := p.nodeLock(s.id)
	return statement{shareAll, []any{p.lock(lockDirectory), p.lock(lockLog), a, b}}
}

// lives returns an error if this process is a node that others have given up.
func (s *self) lives(x *platformRow) error {
	if s.id != 0 && !x.nodes[s.id] {
		return errLapsed
	}
	return nil
}

// changeNodes runs f while nobody else changes who is a node. It has a connection of
// its own, so that a node is not taken for dead because it is busy.
func (p *postgresDB) changeNodes(wait time.Duration, f func(tx) error) error {
	ctx := context.Background()
	if wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	return p.writeOn(ctx, p.heart, func(t tx) error {
		if err := t.query(`SELECT pg_advisory_xact_lock($1)`, none1, p.lock(lockNodes)); err != nil {
			return err
		}
		return f(t)
	})
}

// none1 is for statements whose result says nothing.
func none1(row) error { return nil }

func clock(t tx) (now int64, err error) {
	err = t.query(selectClock, func(r row) error { now = r.int(0); return nil })
	return now, err
}

func (p *postgresDB) join(_ time.Time, lease time.Duration) (n deliver.Node, err error) {
	n.Lease = lease
	var last int64
	alive := map[int64]bool{}
	err = p.changeNodes(0, func(t tx) error {
		if err := p.giveUp(t, 0, true, nil); err != nil {
			return err
		}
		now, err := clock(t)
		if err != nil {
			return err
		}
		if n.Slot, err = freeSlot(t); err != nil {
			return err
		}
		return firstError(
			t.query(`INSERT INTO nodes (slot, lease_until, process, host, version, started, seen) VALUES ($1, $2, $3, $4, $5, $6, $6) RETURNING id`,
				func(r row) error { n.ID = r.int(0); return nil },
				n.Slot, leaseEnd(n, now), p.process, p.host, p.programVersion, now),
			// Ids below are no new node's: whoever sees one of them knows whether it lives.
			t.query(`UPDATE platform SET last_node = $1 WHERE last_node < $1 RETURNING 1`, none1, n.ID),
			t.query(`SELECT id FROM nodes`, func(r row) error { alive[r.int(0)] = true; return nil }),
			t.query(`SELECT max(id) FROM attempts`, func(r row) error { last = r.int(0); return nil }),
			p.tell(t, tellNodes))
	})
	if err != nil {
		p.beat(err)
		return deliver.Node{}, err
	}
	// Not before the node's row can be seen: see [postgresDB.bound].
	err = p.readNow(context.Background(), func(t tx) error {
		return t.query(selectLastEvent, func(r row) error { n.After = hook.EventID(r.int(0)); return nil }, int64(math.MaxInt64))
	})
	if err != nil {
		return deliver.Node{}, errors.Join(err, p.leave(n))
	}
	next := &self{id: n.ID, slot: int64(n.Slot), attempts: hook.NewIDs(n.Slot, last), lost: map[int64]int64{}, after: n.After}
	next.attempts.Raise(last)
	p.selfMu.Lock()
	defer p.selfMu.Unlock()
	was := p.self.Load()
	maps.Copy(next.lost, was.lost)
	if was.id != 0 && !alive[was.id] {
		next.lost[was.id] = was.slot
	}
	p.self.Store(next)
	return n, nil
}

// freeSlot returns a slot that no node has.
func freeSlot(t tx) (slot int, err error) {
	used := map[int]bool{}
	if err := t.query(`SELECT slot FROM nodes`, func(r row) error { used[int(r.int(0))] = true; return nil }); err != nil {
		return 0, err
	}
	for used[slot] {
		slot++
	}
	if slot >= hook.MaxNode { // the last is for those who are no node
		return 0, &hook.Error{Kind: hook.Unavailable, Detail: "there are as many nodes as there can be"}
	}
	return slot, nil
}

func leaseEnd(n deliver.Node, now int64) int64 {
	if n.Lease == 0 {
		return math.MaxInt64
	}
	return now + n.Lease.Milliseconds()
}

func (p *postgresDB) renew(n deliver.Node, has deliver.Holding, _ time.Time) (nodes int, err error) {
	var version int64
	err = p.changeNodesNot(n.Lease, func(t tx) error {
		now, err := clock(t)
		if err != nil {
			return err
		}
		rows, err := t.exec(`UPDATE nodes SET lease_until = $1, seen = $2, held = $3, lanes = $4, decided = $5 WHERE id = $6`,
			leaseEnd(n, now), now, has.Deliveries, has.Lanes, int64(has.Decided), n.ID)
		if err != nil || rows == 0 {
			return err
		}
		return t.query(`SELECT version, (SELECT count(*) FROM nodes) FROM platform`, func(r row) error {
			version, nodes = r.int(0), int(r.int(1))
			return nil
		})
	})
	p.beat(err)
	if err == nil && version > p.directory.Version() {
		p.news.add(tellDirectory) // nobody told us
	}
	return nodes, err
}

// beat tells who wants to know whether this node can say that it lives. What is wrong with
// a statement says nothing of that.
func (p *postgresDB) beat(err error) {
	if p.renewed == nil {
		return
	}
	if e, ok := errors.AsType[*hook.Error](err); ok && e.Kind == hook.Unavailable {
		p.renewed(errors.New(e.Detail))
	} else if err == nil {
		p.renewed(nil)
	}
}

// changeNodesNot is for what a node says of itself: nobody has to wait for it.
func (p *postgresDB) changeNodesNot(lease time.Duration, f func(tx) error) error {
	ctx := context.Background()
	if lease > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, max(lease/3, 500*time.Millisecond))
		defer cancel()
	}
	return p.writeOn(ctx, p.heart, f)
}

func (p *postgresDB) leave(n deliver.Node) error {
	err := p.changeNodes(0, func(t tx) error {
		// As when others give it up: none of its transactions is under way when its row goes.
		a, b := p.nodeLock(n.ID)
		if err := t.query(lockNode, none1, a, b); err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM nodes WHERE id = $1`, n.ID); err != nil {
			return err
		}
		if _, err := t.exec(freeMail, n.ID); err != nil {
			return err
		}
		return p.tell(t, tellLeft)
	})
	if err != nil {
		return err
	}
	p.selfMu.Lock()
	defer p.selfMu.Unlock()
	if was := p.self.Load(); was.id == n.ID {
		next := nobody(was.attempts.Last())
		next.lost = maps.Clone(was.lost)
		next.lost[was.id] = was.slot // which is another's to take
		p.self.Store(next)
	}
	return nil
}

func (p *postgresDB) nextLapse(n deliver.Node, _ time.Time) (lapsed bool, next time.Time, err error) {
	err = p.changeNodes(n.Lease, func(t tx) error {
		lapsed = false
		before, err := countNodes(t)
		if err != nil {
			return err
		}
		still, err := p.sightings.look(t, n, time.Now())
		if err != nil {
			return err
		}
		if err := p.giveUp(t, n.ID, false, still); err != nil {
			return err
		}
		after, err := countNodes(t)
		if err != nil {
			return err
		}
		if lapsed = after < before; lapsed {
			if err := p.tell(t, tellLeft); err != nil {
				return err
			}
		}
		now, err := clock(t)
		if err != nil {
			return err
		}
		return t.query(`SELECT min(lease_until) FROM nodes WHERE id <> $1 AND lease_until < $2`, func(r row) error {
			if until := r.int(0); until != 0 {
				// One that could not be given up yet is about to be.
				next = time.Now().Add(time.Duration(max(until-now, 50)) * time.Millisecond)
			}
			return nil
		}, n.ID, int64(math.MaxInt64))
	})
	return lapsed, next, err
}

func countNodes(t tx) (n int64, err error) {
	err = t.query(`SELECT count(*) FROM nodes`, func(r row) error { n = r.int(0); return nil })
	return n, err
}

// sightings are the ends of nodes' leases as this process has seen them, and since when.
// A lease that is not renewed for long has lapsed, whatever the database's clock says: it
// may have been set back, or be another server's.
type sightings struct {
	mu     sync.Mutex
	looked time.Time
	seen   map[int64]sighting // by node
}

type sighting struct {
	until int64
	since time.Time
}

// look returns the leases of other nodes that have not been renewed for two leases.
func (s *sightings) look(t tx, own deliver.Node, now time.Time) (still map[int64]int64, err error) {
	if own.Lease == 0 {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.seen
	if now.Sub(s.looked) > 2*own.Lease {
		known = nil // nobody has looked whether they were renewed
	}
	s.looked, s.seen, still = now, map[int64]sighting{}, map[int64]int64{}
	err = t.query(`SELECT id, lease_until FROM nodes WHERE id <> $1 AND lease_until < $2`, func(r row) error {
		id, x := r.int(0), sighting{r.int(1), now}
		if k, ok := known[id]; ok && k.until == x.until {
			x.since = k.since
		}
		if s.seen[id] = x; now.Sub(x.since) > 2*own.Lease {
			still[id] = x.until
		}
		return nil
	}, own.ID, int64(math.MaxInt64))
	return still, err
}

// giveUp deletes the nodes whose leases have lapsed, but not own, and those whose leases
// still end when they are said to. With gone, it deletes those too that have no
// connection to the database any more: who was killed need not be waited for.
func (p *postgresDB) giveUp(t tx, own int64, gone bool, still map[int64]int64) error {
	now, err := clock(t)
	if err != nil {
		return err
	}
	var silent []int64
	if err := t.query(selectSilent, func(r row) error { silent = append(silent, r.int(0)); return nil }, own, now, gone); err != nil {
		return err
	}
	for id := range still {
		if !slices.Contains(silent, id) {
			silent = append(silent, id)
		}
	}
	for _, id := range silent {
		if err := t.query(endSilent, none1, id); err != nil {
			return err
		}
		free := false
		a, b := p.nodeLock(id)
		if err := t.query(tryNode, func(r row) error { free = r.int(0) != 0; return nil }, a, b); err != nil {
			return err
		}
		if !free { // a transaction of it is under way
			continue
		}
		// It may have renewed its lease just now.
		rows, err := t.exec(`DELETE FROM nodes WHERE id = $1 AND (lease_until <= $2 OR $3 = 1 OR lease_until = $4)`, id, now, gone, still[id])
		if err != nil {
			return err
		}
		if rows == 0 {
			continue
		}
		p.log.Warn("a node is gone; the others take over what it had in hand", "node", id)
		if _, err := t.exec(freeMail, id); err != nil {
			return err
		}
	}
	return nil
}

const (
	selectBound = `SELECT coalesce(min(decided), $2) FROM nodes WHERE id <> $1`
	selectMarks = `SELECT count(*), min(decided), (SELECT max(id) FROM events) FROM nodes`
)

// bound returns the id up to which the other nodes have decided of all events that they
// accept, as of the transaction's snapshot. Whoever follows events by their ids reads no
// further: what another node stores after that has higher ids.
//
// A node that has joined has said nothing yet, so all wait until it has. By then it gives
// ids that are higher than those of all events which were stored when its row could be
// seen, and so than of all that were read before by somebody who did not see it.
// When a node's row is gone nothing more comes from it.
func (p *postgresDB) bound(t tx) (upTo hook.EventID, err error) {
	err = t.query(selectBound, func(r row) error { upTo = hook.EventID(r.int(0)); return nil }, p.node(), int64(math.MaxInt64))
	return upTo, err
}

func (p *postgresDB) node() int64 { return p.self.Load().id }
