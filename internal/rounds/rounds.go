// Package rounds asks every endpoint, again and again, to prove itself.
//
// A [Keeper] does so. Each endpoint has one round in every period, at a time of its
// own. When an endpoint was last asked is in the store, so a platform that was stopped
// makes up for one missed round and not for several.
package rounds

import (
	"container/heap"
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
	// atOnce is how many rounds are held at a time. Each takes some eight seconds if the
	// endpoint's host is silent, so that two million such endpoints fit into 72 hours,
	// and a hundred thousand, all of them late, into some hours.
	atOnce = 64

	// A round that could not be held, for want of connections or because the store could
	// not take it, is tried again after a pause, which doubles each time up to the
	// longest: the endpoint is asked for nothing each time.
	again   = time.Minute
	longest = time.Hour

	// A round that another node holds is looked at again after a while, in case that
	// node does not live to hold it.
	elsewhere = 5 * time.Second
)

// Keeper keeps the rounds. Make one with [New].
type Keeper struct {
	directory *hook.Directory
	manager   Manager
	every     time.Duration
	log       *slog.Logger

	// Claim, if set, says whether the round of an endpoint that was last checked then is
	// this node's to hold. It is set before the keeper runs.
	Claim func(k hook.SubscriptionKey, in hook.AppState, checked time.Time) (bool, error)

	wake chan struct{} // the first round is another one

	mu     sync.Mutex
	rounds map[endpoint]*round
	order  order // those that wait
	said   time.Time
	unsaid int // rounds that could not be held since
}

type endpoint struct {
	subscription hook.SubscriptionKey
	in           hook.AppState
}

// round is an endpoint's next round.
type round struct {
	endpoint
	at    time.Time
	index int // in the order
	held  bool
	// tries is how often in a row it could not be held, and until when it is left alone
	// therefore.
	tries int
	until time.Time
}

// New returns a Keeper that asks each endpoint of the directory once in every period.
func New(d *hook.Directory, m Manager, every time.Duration, log *slog.Logger) *Keeper {
	return &Keeper{directory: d, manager: m, every: every, log: log, wake: make(chan struct{}, 1), rounds: map[endpoint]*round{}}
}

// Changed tells the keeper that a subscription, or its app, was made, changed or
// deleted.
func (k *Keeper) Changed(subscription hook.SubscriptionKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, in := range hook.AppStates() {
		k.plan(endpoint{subscription, in})
	}
}

// Run keeps the rounds until ctx is done. A round that is under way then is cut off; it
// counts for nothing.
func (k *Keeper) Run(ctx context.Context) {
	for _, s := range k.directory.Subscriptions("") {
		k.Changed(s.Key)
	}
	var under sync.WaitGroup
	defer under.Wait()
	room := make(chan struct{}, atOnce)
	for {
		// Room first: the round that has been due the longest gets it.
		select {
		case <-ctx.Done():
			return
		case room <- struct{}{}:
		}
		r := k.next(ctx)
		if r == nil {
			return
		}
		under.Go(func() {
			defer func() { <-room }()
			k.hold(ctx, r)
		})
	}
}

// next waits until a round is due, and takes it out of the order. It returns nil when
// ctx is done.
func (k *Keeper) next(ctx context.Context) *round {
	for ctx.Err() == nil {
		r, at := k.take(time.Now())
		if r != nil {
			return r
		}
		k.sleep(ctx, at)
	}
	return nil
}

// take takes the first round out of the order if it is due at now. If not, it returns
// when it will be: the zero time if there is none.
func (k *Keeper) take(now time.Time) (*round, time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.order) == 0 {
		return nil, time.Time{}
	}
	r := k.order[0]
	if r.at.After(now) {
		return nil, r.at
	}
	heap.Pop(&k.order)
	r.held = true
	return r, time.Time{}
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

// hold holds a round.
func (k *Keeper) hold(ctx context.Context, r *round) {
	s, _ := k.directory.Subscription(r.subscription)
	var err error
	own := true
	if s != nil && k.Claim != nil {
		own, err = k.Claim(r.subscription, r.in, s.At(r.in).Checked)
	}
	if s != nil && own && err == nil {
		err = k.manager.Revalidate(ctx, s.ID, r.in)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if r.held = false; ctx.Err() != nil {
		return
	}
	if !own {
		r.until = time.Now().Add(elsewhere)
		k.plan(r.endpoint)
		return
	}
	if err == nil || changedMeanwhile(err) {
		r.tries, r.until = 0, time.Time{}
	} else {
		r.until = time.Now().Add(min(longest, again<<min(r.tries, 10)))
		r.tries++
		k.report(s.ID, err)
	}
	k.plan(r.endpoint)
}

// changedMeanwhile reports whether the round was about something that is not there any
// more, or not as it was. Then it is planned anew, on what is there.
func changedMeanwhile(err error) bool {
	x, ok := errors.AsType[*hook.Error](err)
	return ok && (x.Kind == hook.NotFound || x.Kind == hook.Conflict)
}

// report logs that rounds cannot be held, but not each: all of them may have the same
// reason. It is called with k.mu held.
func (k *Keeper) report(subscription string, err error) {
	k.unsaid++
	if now := time.Now(); now.Sub(k.said) >= again {
		k.log.Error("endpoints could not be validated; trying again", "endpoints", k.unsaid, "last", subscription, "err", err)
		k.said, k.unsaid = now, 0
	}
}

// plan puts an endpoint's next round where it belongs, or nowhere. It is called with
// k.mu held.
func (k *Keeper) plan(e endpoint) {
	r := k.rounds[e]
	if r != nil && r.held {
		return // it is planned when that has ended
	}
	s, a := k.directory.Subscription(e.subscription)
	if s == nil || !s.InRounds(e.in, a) {
		if r != nil {
			if r.index >= 0 {
				heap.Remove(&k.order, r.index)
			}
			delete(k.rounds, e)
		}
		return
	}
	if r == nil {
		r = &round{endpoint: e, index: -1}
		k.rounds[e] = r
	}
	if r.at = s.NextRound(e.in, k.every, time.Now()); r.until.After(r.at) {
		r.at = r.until
	}
	if r.index < 0 {
		heap.Push(&k.order, r)
	} else {
		heap.Fix(&k.order, r.index)
	}
	if k.order[0] == r {
		select {
		case k.wake <- struct{}{}:
		default: // it will look anyway
		}
	}
}

// order is the rounds that wait, the first on top.
type order []*round

func (o order) Len() int           { return len(o) }
func (o order) Less(i, j int) bool { return o[i].at.Before(o[j].at) }

func (o order) Swap(i, j int) {
	o[i], o[j] = o[j], o[i]
	o[i].index, o[j].index = i, j
}

// Push appends a round.
func (o *order) Push(x any) {
	r := x.(*round)
	r.index = len(*o)
	*o = append(*o, r)
}

// Pop takes the last one off.
func (o *order) Pop() any {
	old := *o
	r := old[len(old)-1]
	old[len(old)-1], r.index = nil, -1
	*o = old[:len(old)-1]
	return r
}
