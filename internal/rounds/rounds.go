// Package rounds asks every endpoint, again and again, to prove itself.
//
// A [Keeper] does so. Each endpoint has one round in every period, at a time of its
// own. When an endpoint was last asked is in the store, so a platform that was stopped
// makes up for one missed round and not for several.
package rounds

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// Manager does what a round takes.
type Manager interface {
	// Revalidate challenges an endpoint and does what follows.
	Revalidate(ctx context.Context, subscription string, in hook.AppState) error
}

// Every is the contract's period.
const Every = 72 * time.Hour

const (
	// atOnce is how many endpoints are asked at a time. Each may take seconds to fail.
	atOnce = 16

	// again is the pause before an endpoint is asked again that could not be asked, for
	// want of connections or because the store could not take it.
	again = time.Minute
)

// Keeper keeps the rounds. Make one with [New].
type Keeper struct {
	directory *hook.Directory
	manager   Manager
	every     time.Duration
	log       *slog.Logger

	wake chan struct{}
	// until says until when an endpoint is left alone that could not be asked.
	until map[endpoint]time.Time
}

type endpoint struct {
	id string
	in hook.AppState
}

// New returns a Keeper that asks each endpoint of the directory once in every period.
func New(d *hook.Directory, m Manager, every time.Duration, log *slog.Logger) *Keeper {
	return &Keeper{directory: d, manager: m, every: every, log: log, wake: make(chan struct{}, 1), until: map[endpoint]time.Time{}}
}

// Wake tells the keeper that endpoints have changed.
func (k *Keeper) Wake() {
	select {
	case k.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Run keeps the rounds until ctx is done.
func (k *Keeper) Run(ctx context.Context) {
	for ctx.Err() == nil {
		due, next := k.due(time.Now())
		if len(due) > 0 {
			k.ask(ctx, due)
			continue
		}
		k.sleep(ctx, next)
	}
}

func (k *Keeper) sleep(ctx context.Context, next time.Time) {
	var due <-chan time.Time
	if !next.IsZero() {
		t := time.NewTimer(time.Until(next))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-ctx.Done():
	case <-due:
	case <-k.wake:
	}
}

// due returns the endpoints whose round has come at now, and when the next one comes
// if there are none: the zero time if there is nothing to wait for.
func (k *Keeper) due(now time.Time) (due []endpoint, next time.Time) {
	for e, until := range k.until {
		if !until.After(now) {
			delete(k.until, e)
		}
	}
	for _, s := range k.directory.Subscriptions("") {
		for _, in := range hook.AppStates() {
			e := s.At(in)
			if e.URL == "" || !e.Active() {
				continue
			}
			id := endpoint{s.ID, in}
			at := s.NextRound(in, k.every)
			if until := k.until[id]; until.After(at) {
				at = until
			}
			switch {
			case !at.After(now):
				due = append(due, id)
			case next.IsZero() || at.Before(next):
				next = at
			}
		}
	}
	return due, next
}

// ask challenges endpoints, some at a time.
func (k *Keeper) ask(ctx context.Context, due []endpoint) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	room := make(chan struct{}, atOnce)
	for _, e := range due {
		select {
		case <-ctx.Done():
		case room <- struct{}{}:
			wg.Go(func() {
				defer func() { <-room }()
				if err := k.manager.Revalidate(ctx, e.id, e.in); err != nil {
					mu.Lock()
					defer mu.Unlock()
					k.put(ctx, e, err)
				}
			})
		}
	}
	wg.Wait()
}

// put leaves an endpoint alone for a while whose round could not be held.
func (k *Keeper) put(ctx context.Context, e endpoint, err error) {
	if ctx.Err() != nil {
		return
	}
	x, ok := errors.AsType[*hook.Error](err)
	if ok && (x.Kind == hook.NotFound || x.Kind == hook.Conflict) {
		return // it was deleted or changed meanwhile, and then it is looked at anew
	}
	k.log.Error("an endpoint could not be validated; trying again", "subscription", e.id, "endpoint", e.in, "in", again, "err", err)
	k.until[e] = time.Now().Add(again)
}
