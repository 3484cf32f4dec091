package store

import (
	"context"
	"errors"
	"time"
)

// One process delivers from a database. It has an advisory lock for as long as it
// lives, which the server takes back when its connection ends. Which process it is,
// is in the database as well, counted up with each that takes over, and is looked at
// in each transaction: one that was cut off, and has been replaced, writes
// nothing more.

const (
	tryOwner       = `SELECT pg_try_advisory_lock($1)`
	selectPlatform = `SELECT version, owner FROM platform`
	takeOver       = `UPDATE platform SET owner = owner + 1 RETURNING owner`

	// ownerWait is how long a process that delivers has to end: its connections may be
	// closed a moment after it was.
	ownerWait = 3 * time.Second
)

var errServed = errors.New("another switchhook is serving from this database; stop it first, or give this one a database of its own. Several at a time are not supported yet")

// own takes the database over: what the process before had in hand is free.
func (p *postgresDB) own(ctx context.Context, s *session) error {
	if err := p.acquire(ctx, ownerWait); err != nil {
		return err
	}
	// Whatever is under way ends before, and what comes after sees that it is too late.
	list := []statement{
		{"BEGIN", nil},
		{`SELECT pg_advisory_xact_lock($1)`, []any{p.lock(lockCalls)}},
		{`SELECT pg_advisory_xact_lock($1)`, []any{p.lock(lockDirectory)}},
		{takeOver, nil},
		{`DELETE FROM nodes`, nil},
		{`DELETE FROM writers WHERE touched < now() - interval '30 days'`, nil},
		{`UPDATE outbox SET claimed_until = 0 WHERE state = 'pending' AND claimed_until > 0`, nil},
		{"COMMIT", nil},
	}
	_, err := s.run(ctx, list, func(i int, r row) error {
		if list[i].query == takeOver {
			p.owner = r.int(0)
		}
		return nil
	})
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	p.disown = func() { stop(); <-ended }
	go func() {
		defer close(ended)
		p.watch(watching)
	}()
	return nil
}

// watch gets the lock again when its connection is lost, until ctx is done. The lock is
// given up then.
func (p *postgresDB) watch(ctx context.Context) {
	defer func() { p.guard.close() }()
	for {
		_ = p.guard.conn.WaitForNotification(ctx) // there are none: it returns when the connection ends
		lost := p.guard.name
		p.guard.close()
		for ctx.Err() == nil {
			err := p.acquire(ctx, 0)
			if err == nil {
				break
			}
			if mine, askErr := p.askOwner(ctx, lost); askErr == nil && !mine {
				p.log.Error("another switchhook has taken this database over; nothing is written any more")
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(250 * time.Millisecond):
			}
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// askOwner asks whether this process still is the owner, and makes the server notice
// that a session was lost.
func (p *postgresDB) askOwner(ctx context.Context, lost string) (mine bool, err error) {
	s, err := p.connect(ctx, "owner")
	if err != nil {
		return false, err
	}
	defer s.close()
	_, err = s.run(ctx, []statement{{endLost, []any{lost}}, {selectPlatform, nil}}, func(i int, r row) error {
		if i == 1 {
			mine = r.int(1) == p.owner
		}
		return nil
	})
	return mine, err
}

// stillOwner returns an error if this process delivered from the database and another
// one does now.
func (p *postgresDB) stillOwner(owner int64) error {
	if p.owner != 0 && p.owner != owner {
		return errTakenOver
	}
	return nil
}

// acquire gets the owner's lock.
func (p *postgresDB) acquire(ctx context.Context, wait time.Duration) error {
	s, err := p.connect(ctx, "owner")
	if err != nil {
		return err
	}
	for end := time.Now().Add(wait); ; {
		got := false
		if err := s.query(ctx, tryOwner, func(r row) error { got = r.int(0) != 0; return nil }, p.lock(lockOwner)); err != nil {
			s.close()
			return err
		}
		if got {
			p.guard = s
			return nil
		}
		if time.Now().After(end) {
			s.close()
			return errServed
		}
		select {
		case <-ctx.Done():
			s.close()
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
