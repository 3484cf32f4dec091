package store

import (
	"context"

	"github.com/switchhook/switchhook/internal/hook"
)

// engineState is what both engines are made of.
type engineState struct {
	p      *postgresDB
	logged bool // log rows were added for which nobody was woken yet
}

func (e *engineState) outOfOrder(err error) bool { return outOfOrderPG(err) }

func (e *engineState) rest() {
	if e.logged {
		e.logged = false
		e.p.followers.wake()
	}
}

// callEngine commits everything but what is written in bulk.
type callEngine struct{ engineState }

func (e *callEngine) transact(batch []unit) (err error) {
	p, w := e.p, e.p.writers[1]
	u := &batch[len(batch)-1]
	me := p.self.Load()
	first := []statement{{`SELECT pg_advisory_xact_lock($1)`, []any{p.lock(lockCalls)}}}
	if u.change != nil {
		// Who publishes waits behind who waits for this one, so a node that stands still in
		// a transaction must not hold it for long.
		first = append(first, statement{"SET LOCAL lock_timeout = '2s'", nil},
			statement{`SELECT pg_advisory_xact_lock($1)`, []any{p.lock(lockDirectory)}}, statement{"SET LOCAL lock_timeout = '10s'", nil})
	}
	first = append(first, p.share(me), statement{selectPlatform, nil})
	var is platformRow
	err = w.begin(first, func(i int, r row) error {
		if i == len(first)-1 {
			is.scan(r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	t := &pgTx{db: p, s: w.s, ctx: context.Background(), me: me, version: is.version}
	if err := e.apply(t, batch, &is, u.change); err != nil {
		w.rollback()
		return err
	}
	e.logged = e.logged || len(t.attempts) > 0
	pieces, err := p.logged(t.ctx, me, is.horizon, t.attempts)
	if err != nil {
		w.rollback()
		return err
	}
	return w.commit(pieces...)
}

// changing is a change of what is configured.
type changing struct {
	what touched
	// base is the version that the change was worked out with. 0: any will do.
	base    int64
	version *int64 // that the change has made
}

func (e *callEngine) apply(t *pgTx, batch []unit, is *platformRow, change *changing) error {
	if err := t.me.lives(is); err != nil {
		return err
	}
	if change != nil && change.base != 0 && change.base != is.version {
		return hook.ErrStale
	}
	for i := range batch {
		if err := batch[i].call(t); err != nil {
			return err
		}
	}
	if change == nil {
		return nil
	}
	*change.version = is.version + 1
	return e.p.putChange(t, change.what)
}
