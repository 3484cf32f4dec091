package store

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"time"

	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
)

// bulkEngine commits what is published and what was attempted: rows in bulk, with COPY,
// and due rows moved and removed by arrays of their keys. A transaction takes two
// exchanges with the server, however much is in it.
type bulkEngine struct{ engineState }

const (
	deleteDueRows = `
		DELETE FROM due USING unnest($1, $2, $3) AS f (subscription, due_at, event_id)
		WHERE due.subscription = f.subscription AND due.due_at = f.due_at AND due.event_id = f.event_id`

	moveDueRows = `
		UPDATE due SET due_at = f.next, tries = f.tries, node = f.node
		FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) AS f (i, next, tries, node, subscription, due_at, event_id, was)
		WHERE due.subscription = f.subscription AND due.due_at = f.due_at AND due.event_id = f.event_id AND due.node = f.was
		RETURNING f.i`

	// What this process had in hand as an earlier node may be another's by now.
	deleteStaleRows = `
		DELETE FROM due USING unnest($1, $2, $3, $4, $5) AS f (i, subscription, due_at, event_id, was)
		WHERE due.subscription = f.subscription AND due.due_at = f.due_at AND due.event_id = f.event_id AND due.node = f.was
		RETURNING f.i`

	// Keys are always taken in the same order, so that two who take the same ones do
	// not wait for each other.
	insertKeys = `
		INSERT INTO idempotency_keys (account_id, key, event_id, body_hash)
		SELECT account_id, key, event_id, body_hash FROM unnest($1, $2, $3, $4) AS k (account_id, key, event_id, body_hash)
		ORDER BY account_id, key, event_id
		ON CONFLICT DO NOTHING
		RETURNING event_id`

	selectKeyHolders = `
		SELECT f.i, k.event_id, k.body_hash, e.owed
		FROM unnest($1, $2, $3) AS f (i, account_id, key)
		JOIN idempotency_keys k ON k.account_id = f.account_id AND k.key = f.key
		LEFT JOIN events e ON e.id = k.event_id`
)

func (p *postgresDB) publish(pubs []*intake.Publication) error {
	return p.hot.do(unit{publish: pubs})
}

func (p *postgresDB) finish(f *deliver.Finished) { p.hot.submit(unit{finish: f}) }

func (e *bulkEngine) transact(batch []unit) error {
	err := e.try(batch)
	if codeOf(err) == codeNoPartition {
		// Somebody dropped it, or made this process believe that it was there.
		e.p.divisions.forget()
		err = e.try(batch)
	}
	return err
}

func (e *bulkEngine) try(batch []unit) error {
	p, w := e.p, e.p.writers[0]
	var pubs []*intake.Publication
	var finished []*deliver.Finished
	for i := range batch {
		pubs = append(pubs, batch[i].publish...)
		if f := batch[i].finish; f != nil {
			finished = append(finished, f)
		}
	}
	me := p.self.Load()
	m := newMoves(finished, me.id)
	first := append([]statement{p.share(me), {selectPlatform, nil}}, m.statements...)
	var is platformRow
	err := w.begin(first, func(i int, r row) error {
		switch {
		case i == 1:
			is.scan(r)
		case i > 1:
			m.moved[r.int(0)] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	t := &pgTx{db: p, s: w.s, ctx: context.Background(), me: me, version: is.version}
	pieces, err := e.pieces(t, pubs, finished, m, &is)
	if err != nil {
		w.rollback()
		return err
	}
	return w.commit(pieces...)
}

// pieces returns the rows that are to be stored.
func (e *bulkEngine) pieces(t *pgTx, pubs []*intake.Publication, finished []*deliver.Finished, m *moves, is *platformRow) ([]copying, error) {
	p := e.p
	if err := t.me.lives(is); err != nil {
		return nil, err
	}
	attempts := make([]*hook.Attempt, len(finished))
	for i, f := range finished {
		attempts[i] = &f.Attempt
		if m.wanted[int64(i)] && !m.moved[int64(i)] {
			// The lease had lapsed and another node took the delivery over. The attempt
			// was made, so it is logged; how the delivery stands is the other's to say.
			if err := lastState(t, f.Was.ID, &f.Attempt); err != nil {
				return nil, err
			}
		}
	}
	e.logged = e.logged || len(attempts) > 0
	list, err := p.unclaimed(t, pubs)
	if err != nil {
		return nil, err
	}
	pieces, err := p.published(t.ctx, list)
	if err != nil {
		return nil, err
	}
	logged, err := p.logged(t.ctx, t.me, is.horizon, attempts)
	return append(pieces, logged...), err
}

// moves is what becomes of due rows.
type moves struct {
	statements    []statement
	wanted, moved map[int64]bool // by the place of the attempt
}

// newMoves works out what becomes of the due rows of attempts, in their order: one
// statement must not meet the same row twice.
func newMoves(finished []*deliver.Finished, self int64) *moves {
	m := &moves{wanted: map[int64]bool{}, moved: map[int64]bool{}}
	var gone, stale, moved [8][]int64
	met := map[hook.DeliveryID]bool{}
	flush := func() {
		if len(gone[0]) > 0 {
			m.statements = append(m.statements, statement{deleteDueRows, []any{gone[0], gone[1], gone[2]}})
		}
		if len(stale[0]) > 0 {
			m.statements = append(m.statements, statement{deleteStaleRows, []any{stale[0], stale[1], stale[2], stale[3], stale[4]}})
		}
		if len(moved[0]) > 0 {
			args := make([]any, len(moved))
			for i, a := range moved {
				args[i] = a
			}
			m.statements = append(m.statements, statement{moveDueRows, args})
		}
		gone, stale, moved = [8][]int64{}, [8][]int64{}, [8][]int64{}
		clear(met)
	}
	for i, f := range finished {
		d := f.Was.ID
		over := f.Now.State != hook.Waiting
		if !over && f.Keep && f.Now == f.Was {
			continue
		}
		if met[d] {
			flush()
		}
		met[d] = true
		if over && self != 0 && f.Node != self {
			m.wanted[int64(i)] = true
			for c, n := range [...]int64{int64(i), int64(d.Subscription), dueMillis(f.Was.Due), int64(d.Event), f.Node} {
				stale[c] = append(stale[c], n)
			}
			continue
		}
		if over {
			for c, n := range [...]int64{int64(d.Subscription), dueMillis(f.Was.Due), int64(d.Event)} {
				gone[c] = append(gone[c], n)
			}
			continue
		}
		node := f.Node
		if !f.Keep {
			node = 0
		}
		m.wanted[int64(i)] = true
		for c, n := range [...]int64{int64(i), dueMillis(f.Now.Due), int64(f.Now.Tries), node, int64(d.Subscription), dueMillis(f.Was.Due), int64(d.Event), f.Node} {
			moved[c] = append(moved[c], n)
		}
	}
	flush()
	return m
}

// unclaimed returns the publications that are to be stored: those that were matched
// with what is configured now, and whose idempotency keys they now have.
func (p *postgresDB) unclaimed(t *pgTx, pubs []*intake.Publication) (list []*intake.Publication, err error) {
	var keyed []*intake.Publication
	for _, x := range pubs {
		x.Err, x.Earlier = t.me.mayStore(x.Event, x.Owed), 0
		switch {
		case x.Err != nil:
			x.Err = unavailable(x.Err)
		case x.Version != t.version:
			x.Err = intake.ErrStale
		case x.Key != "":
			keyed = append(keyed, x)
		default:
			list = append(list, x)
		}
	}
	if len(keyed) == 0 {
		return list, nil
	}
	var places, events []int64
	var accounts, keys []string
	var digests [][]byte
	for i, x := range keyed {
		places, events, digests = append(places, int64(i)), append(events, int64(x.Event.ID)), append(digests, x.Digest)
		accounts, keys = append(accounts, x.Event.Account), append(keys, x.Key)
	}
	fresh := map[hook.EventID]*intake.Publication{}
	err = t.query(insertKeys, func(r row) error { fresh[hook.EventID(r.int(0))] = nil; return nil }, accounts, keys, events, digests)
	if err != nil {
		return nil, err
	}
	for _, x := range keyed {
		if _, ok := fresh[x.Event.ID]; ok {
			fresh[x.Event.ID] = x
			list = append(list, x)
		}
	}
	if len(fresh) == len(keyed) {
		return list, nil
	}
	return list, t.query(selectKeyHolders, func(r row) error {
		x, holder := keyed[r.int(0)], hook.EventID(r.int(1))
		if holder == x.Event.ID {
			return nil
		}
		if !bytes.Equal(r.blob(2), x.Digest) {
			x.Err = usedKey(x.Key, holder)
			return nil
		}
		x.Earlier, x.EarlierOwed = holder, len(r.blob(3))/8
		if first := fresh[holder]; first != nil {
			x.EarlierOwed = len(first.Owed) // it is stored by the same transaction
		}
		return nil
	}, places, accounts, keys)
}

// published returns the rows of publications, for which there is room then.
func (p *postgresDB) published(ctx context.Context, list []*intake.Publication) ([]copying, error) {
	if len(list) == 0 {
		return nil, nil
	}
	type dueRow struct {
		x *intake.Publication
		o hook.Owed
	}
	var due []dueRow
	for _, x := range list {
		for _, o := range x.Owed {
			due = append(due, dueRow{x, o})
		}
	}
	if err := p.divisions.cover(ctx, "events", len(list), func(i int) int64 { return int64(list[i].Event.ID) }); err != nil {
		return nil, err
	}
	pieces := []copying{{"events (id, type_id, event_ts, carrier, account_id, routing, owed, body)", 8, len(list), func(b []byte, i int) []byte {
		e := list[i].Event
		b = appendInt8(b, int64(e.ID))
		b = appendInt8(b, list[i].TypeNumber)
		b = appendInt8(b, e.TS.UnixMilli())
		b = appendInt4(b, int64(e.Carrier))
		b = appendBytes(b, asText(e.Account))
		if r := routing(e); r == "" {
			b = appendNull(b)
		} else {
			b = appendBytes(b, r)
		}
		b = appendLength(b, 8*len(list[i].Owed))
		b = appendOwed(b, list[i].Owed)
		return appendBytes(b, e.Body)
	}}}
	if len(due) > 0 {
		pieces = append(pieces, copying{"due (subscription, due_at, event_id, generation, node, tries, size)", 7, len(due), func(b []byte, i int) []byte {
			d := &due[i]
			b = appendInt8(b, int64(d.o.Subscription))
			b = appendInt8(b, 0)
			b = appendInt8(b, int64(d.x.Event.ID))
			b = appendInt8(b, d.o.Generation)
			b = appendInt8(b, d.o.Node)
			b = appendInt4(b, 0)
			return appendInt4(b, int64(len(d.x.Event.Body)))
		}})
	}
	return pieces, nil
}

// logged gives log rows their ids, which are above the horizon, and returns them as
// rows, for which there is room then.
func (p *postgresDB) logged(ctx context.Context, me *self, horizon int64, list []*hook.Attempt) ([]copying, error) {
	if len(list) == 0 {
		return nil, nil
	}
	numbers := make([]int64, len(list))
	me.attempts.Raise(horizon)
	for i, a := range list {
		a.ID = me.attempts.Next(a.Started.Add(a.Timing.Done))
		var err error
		if numbers[i], err = p.targets.number(p, a.Target); err != nil {
			return nil, err
		}
	}
	if err := p.divisions.cover(ctx, "attempts", len(list), func(i int) int64 { return list[i].ID }); err != nil {
		return nil, err
	}
	return []copying{{`attempts (id, event_id, subscription, due_at, next_due, started, span, type_id, target, dns, connected, tls, first_byte, done,
		kind, retry, outcome, state, truncated, part, response_header, response_body, detail)`, 23, len(list), func(b []byte, i int) []byte {
		a := list[i]
		for _, n := range [...]int64{
			a.ID, int64(a.Delivery.Event), int64(a.Delivery.Subscription), dueMillis(a.Due), dueMillis(a.Next), a.Started.UnixMicro(), int64(a.Span),
			p.typeNumber(a.EventType), numbers[i],
		} {
			b = appendInt8(b, n)
		}
		for _, d := range [...]time.Duration{a.Timing.DNS, a.Timing.Connected, a.Timing.TLS, a.Timing.FirstByte, a.Timing.Done} {
			b = appendInt4(b, d.Microseconds())
		}
		truncated := int64(0)
		if a.Response.Truncated {
			truncated = 1
		}
		for _, n := range [...]int64{int64(a.Kind), int64(a.Retry), int64(a.Outcome), int64(a.State), truncated} {
			b = appendInt2(b, n)
		}
		if a.Request() {
			b = appendInt2(b, logPart(a.Retry, a.Failed()))
		} else {
			b = appendNull(b)
		}
		b = appendBytes(b, a.Response.Header)
		b = appendBytes(b, a.Response.Body)
		return appendBytes(b, a.Detail)
	}}}, nil
}

// targets are the numbers that stand for targets in the store, as far as they are
// known.
type targets struct {
	mu      sync.Mutex
	numbers map[hook.Target]int64
}

const (
	insertTarget = `INSERT INTO targets (url, auth_mode, header) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`
	selectTarget = `SELECT target FROM targets WHERE url = $1 AND auth_mode = $2 AND header = $3`
)

func (ts *targets) number(p *postgresDB, x hook.Target) (n int64, err error) {
	if x == (hook.Target{}) {
		return 0, nil
	}
	ts.mu.Lock()
	n, ok := ts.numbers[x]
	ts.mu.Unlock()
	if ok {
		return n, nil
	}
	// In a transaction of its own: another one that needs it must not have to wait for
	// this one, and it does no harm if nothing refers to it after all.
	args := []any{x.URL, int(x.Auth), x.Header}
	err = p.writeNow(func(t tx) error {
		if _, err := t.exec(insertTarget, args...); err != nil {
			return err
		}
		return t.query(selectTarget, func(r row) error { n = r.int(0); return nil }, args...)
	})
	if err != nil {
		return 0, err
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if len(ts.numbers) > maxTargets {
		clear(ts.numbers)
	}
	ts.numbers[x] = n
	return n, nil
}

// Rows of a node whose own row is not there are free, unless it joined after the
// statement began, for then its row is not seen.
const freeOfNodes = `(node = 0 OR node <= (SELECT last_node FROM platform) AND node NOT IN (SELECT id FROM nodes))`

var (
	selectDueRows = strings.Replace(selectDue, free, freeOfNodes, 1) + ` FOR UPDATE SKIP LOCKED`
	selectNextRow = strings.Replace(selectNext, free, freeOfNodes, 1)
)

const takeDueRows = `
	UPDATE due SET node = $1 FROM unnest($2, $3, $4) AS f (subscription, due_at, event_id)
	WHERE due.subscription = f.subscription AND due.due_at = f.due_at AND due.event_id = f.event_id`

// claim takes rows in hand beside the writers. Rows that somebody else is claiming are
// passed over.
func (p *postgresDB) claim(node int64, now time.Time, want []deliver.Want) (claims []deliver.Claim, err error) {
	var is platformRow
	err = p.writeNow(func(x tx) error {
		claims = make([]deliver.Claim, len(want))
		is = platformRow{}
		t := x.(*pgTx)
		a, b := p.nodeLock(node)
		list := []statement{{shareNode, []any{a, b}}, {selectPlatform, nil}}
		for _, w := range want {
			key := int64(w.Subscription)
			list = append(list,
				statement{selectDueRows, []any{key, 0, 0, w.Limit + 1}},
				statement{selectDueRows, []any{key, 1, millis(now), w.Limit + 1}},
				statement{selectNextRow, []any{key, millis(now)}})
		}
		rows := make([][2][]dueRow, len(want))
		_, err := t.s.run(t.ctx, list, func(i int, r row) error {
			if i < 2 {
				if i == 1 {
					is.scan(r)
				}
				return nil
			}
			i, kind := (i-2)/3, (i-2)%3
			if kind == 2 {
				claims[i].Next = fromMillis(r.int(0))
				return nil
			}
			rows[i][kind] = append(rows[i][kind], scanDue(r, want[i].Subscription))
			return nil
		})
		if err != nil {
			return err
		}
		if !is.nodes[node] {
			return errLapsed
		}
		var taken [3][]int64
		for i, w := range want {
			claims[i].Subscription = w.Subscription
			claims[i].Deliveries, claims[i].More = choose(w, rows[i][0], rows[i][1])
			for _, d := range claims[i].Deliveries {
				for c, n := range [...]int64{int64(w.Subscription), dueMillis(d.Due), int64(d.ID.Event)} {
					taken[c] = append(taken[c], n)
				}
			}
		}
		if len(taken[0]) == 0 {
			return nil
		}
		_, err = t.exec(takeDueRows, node, taken[0], taken[1], taken[2])
		return err
	})
	if err == nil && is.version > p.directory.Version() {
		// Some may be for a subscription that another node has just made: who does not know
		// of it would take it for deleted.
		err = p.catchUp(context.Background())
	}
	// Also if it is not known whether they were taken: then they must be given back.
	return claims, err
}
