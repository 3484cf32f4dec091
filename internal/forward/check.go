package forward

import (
	"context"
	"time"

	"github.com/switchhook/switchhook/internal/inbox"
)

// Checker is a Target that can tell whether it would take an event. It is asked when
// there is none, at the start and now and then, so that a wrong password is known before
// an event depends on it.
type Checker interface {
	// Check is never called during Take, and returns soon after ctx is done.
	Check(ctx context.Context) error
}

// checkEvery is how often a target is asked that has nothing to do.
const checkEvery = 30 * time.Second

// idle is what a forwarder knows of a target that has nothing to do. What is wrong with
// it then is no failure of an event, and so not kept: one that comes has all its time.
type idle struct {
	checked time.Time
	inbox.Failure
}

// check asks the target, if that can be and it is time to, and returns when to do so
// again.
func (f *Forwarder) check(ctx context.Context, p inbox.Progress) (again <-chan time.Time) {
	target, ok := f.target.(Checker)
	if !ok {
		return nil
	}
	if wait := time.Until(f.idle.checked.Add(checkEvery)); wait > 0 {
		return time.After(wait)
	}
	f.turn.Lock()
	err := f.protect(func() error { return target.Check(ctx) })
	f.turn.Unlock()
	if ctx.Err() != nil {
		return nil
	}
	now := time.Now()
	f.idle.checked = now
	switch {
	case err == nil && f.idle.Tries > 0:
		f.log.Info("the target can be reached again", "after", now.Sub(f.idle.Since).Round(time.Millisecond))
		f.idle.Failure = inbox.Failure{}
	case err != nil:
		if f.idle.Tries++; f.idle.Tries == 1 {
			f.idle.Since = now
			f.log.Warn("the target would not take an event now; it is asked again", "err", cut(err.Error()))
		}
		f.idle.Reason = cut(err.Error())
	}
	p.Failure = f.idle.Failure
	f.report(p)
	return time.After(checkEvery)
}
