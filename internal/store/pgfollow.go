package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// logEvery is how often those who follow the log are told of what other nodes have added
// to it.
const logEvery = 200 * time.Millisecond

// watchLog wakes those who follow the log when there are rows that they may not have
// read: above the horizon, or below it since somebody else has read them.
func (p *postgresDB) watchLog(ctx context.Context) {
	t := time.NewTicker(logEvery)
	defer t.Stop()
	var known int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if !p.followers.some.Load() {
			continue
		}
		fresh := true // also if that cannot be found out
		_ = p.readAside(ctx, func(t tx) error {
			return t.query(selectHorizon, func(r row) error {
				fresh, known = r.int(1) > r.int(0) || r.int(1) != known, r.int(1)
				return nil
			})
		})
		if fresh {
			p.followers.wake()
		}
	}
}

// eventsEvery is how often those who follow events are told of what other nodes have
// accepted, and those nodes that somebody waits for them.
const eventsEvery = 200 * time.Millisecond

// watchEvents wakes those who follow events, where nodes are several, when one may have
// stored some or has said up to which id it will store none, and has all say so.
func (p *postgresDB) watchEvents(ctx context.Context) {
	t := time.NewTicker(eventsEvery)
	defer t.Stop()
	var known [3]int64 // nodes, the lowest of their marks, and the highest event
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if !p.listeners.some.Load() {
			continue
		}
		is := [3]int64{2} // if it cannot be found out
		_ = p.readAside(ctx, func(t tx) error {
			return t.query(selectMarks, func(r row) error {
				is = [3]int64{r.int(0), r.int(1), r.int(2)}
				return nil
			})
		})
		// When the last of the others has gone, what it stored is decided, too.
		if is != known && (is[0] > 1 || known[0] > 1) {
			p.listeners.wake()
		}
		known = is
		if is[0] > 1 && is[2] > is[1] {
			p.askMarks(hook.EventID(is[2]))
		}
	}
}

// askMarks has all nodes, and this one, say up to which id they will store no event: up to
// this one if they can.
func (p *postgresDB) askMarks(id hook.EventID) {
	what := tellMark + strconv.FormatInt(int64(id), 36)
	p.news.say(what)
	p.news.add(what)
}

func (p *postgresDB) followEvents() (<-chan struct{}, func()) { return p.listeners.follow() }

const selectHorizon = `SELECT horizon, coalesce((SELECT max(id) FROM attempts), 0) FROM platform`

// horizonPause is how long the horizon stays where it is at least.
const horizonPause = 20 * time.Millisecond

// decided moves the log's horizon up to its last row and returns it: every row up to
// there is committed, or never will be, whoever writes it. What is written from then on
// has higher ids. Where that would take long, the horizon stays where it was.
func (p *postgresDB) decided(ctx context.Context) (int64, error) {
	p.horizonMu.Lock()
	defer p.horizonMu.Unlock()
	var horizon, last int64
	look := func(t tx) error {
		return t.query(selectHorizon, func(r row) error {
			horizon, last = r.int(0), r.int(1)
			return nil
		})
	}
	if err := p.readAside(ctx, look); err != nil || last <= horizon {
		return horizon, err
	}
	if wait := horizonPause - time.Since(p.moved); wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	busy := false
	err := p.writeOn(ctx, p.aside, func(t tx) error {
		for _, query := range []string{"SET LOCAL lock_timeout = '50ms'", fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", p.lock(lockLog)), "SET LOCAL lock_timeout = 0"} {
			if err := t.query(query, none1); err != nil {
				busy = codeOf(err) == codeLockTimeout
				return err
			}
		}
		if err := look(t); err != nil {
			return err
		}
		return t.query(`UPDATE platform SET horizon = $1 WHERE horizon < $1 RETURNING 1`, none1, last)
	})
	p.moved = time.Now()
	if busy {
		return horizon, nil
	}
	return max(horizon, last), err
}
