// Package forward passes the events of an inbox on to where they are wanted.
//
// A [Forwarder] has a [Target] and a position of its own in the inbox. It gives the
// target every event at least once, in the order of arrival, and tries again for as
// long as it takes: one that is down for a day holds nobody up and misses nothing.
package forward

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/switchhook/switchhook/internal/inbox"
)

// Message is an event on its way to a target.
type Message struct {
	*inbox.Event
	// Key is the same whenever this event is forwarded, so a target that remembers
	// keys can tell a repeat.
	Key string
	// Replay says that somebody has asked for the event to be forwarded again.
	Replay bool
}

// Target is where events are forwarded to. It is called by one goroutine at a time.
type Target interface {
	// Take gives the target messages in their order. It returns how many of them are
	// there for good, beginning with the first. If err is not nil, it says why the next
	// one is not; that one is given again later. Without an error n is at least 1, and
	// the rest is given at once. It returns soon after ctx is done.
	Take(ctx context.Context, messages []*Message) (n int, err error)
	Close() error
}

// Later is an error of a target that says when it wants to be tried again.
type Later struct {
	Err   error
	After time.Duration
}

func (e *Later) Error() string { return e.Err.Error() }
func (e *Later) Unwrap() error { return e.Err }

// Config says how events are forwarded.
type Config struct {
	// Name identifies the forwarder in the inbox. With another name it is another one,
	// which has nothing behind it.
	Name string
	// Filter selects the events that the target gets.
	Filter inbox.Filter
	// OnlyNew lets a forwarder that is new begin with what arrives next; otherwise it
	// begins with what is in the inbox.
	OnlyNew bool
	// MinPause and MaxPause are the pauses after the first failure and after many; they
	// double in between. 0 means a second and a minute.
	MinPause, MaxPause time.Duration
	// GiveUp is how long an event may fail before it becomes a dead letter and the next
	// one has its turn. 0: it is tried until it succeeds.
	GiveUp time.Duration
	// StopTimeout is how long the target may go on with what it has when the forwarder
	// is stopped. 0 means 5 seconds.
	StopTimeout time.Duration
	Log         *slog.Logger
	// Metrics, if set, counts what is done.
	Metrics *Metrics
}

// Forwarder forwards to one target.
type Forwarder struct {
	config Config
	inbox  *inbox.Inbox
	target Target
	log    *slog.Logger

	idle idle // of what is new

	// turn is taken by what is new and by replays, in turns.
	turn sync.Mutex

	mu    sync.Mutex
	state inbox.Progress
	said  time.Time // when the log was told last that the target fails
}

// New returns a forwarder, which forwards once it runs.
func New(in *inbox.Inbox, target Target, c Config) *Forwarder {
	c.MinPause, c.MaxPause = cmp.Or(c.MinPause, time.Second), cmp.Or(c.MaxPause, time.Minute)
	c.StopTimeout = cmp.Or(c.StopTimeout, 5*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Forwarder{config: c, inbox: in, target: target, log: c.Log.With("forwarder", c.Name)}
}

// Progress returns how far the forwarder has come.
func (f *Forwarder) Progress() inbox.Progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

// Run forwards until ctx is done, lets the target finish what it has, and closes it.
func (f *Forwarder) Run(ctx context.Context) {
	// What the target is doing may outlive ctx by a little.
	taking, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var lines, rest sync.WaitGroup
	lines.Go(func() { f.keepOn(ctx, func() error { return f.forwardNew(ctx, taking) }) })
	lines.Go(func() { f.keepOn(ctx, func() error { return f.forwardReplays(ctx, taking) }) })
	rest.Go(func() {
		<-ctx.Done()
		if pause(taking, f.config.StopTimeout) {
			stop()
		}
	})
	lines.Wait()
	stop()
	rest.Wait()
	if err := f.target.Close(); err != nil {
		f.log.Error("the target was not closed well", "err", err)
	}
}

// keepOn calls forward again if the inbox could not be read or written.
func (f *Forwarder) keepOn(ctx context.Context, forward func() error) {
	for {
		err := forward()
		if ctx.Err() != nil {
			return
		}
		f.log.Error("the inbox failed; forwarding goes on when it can", "err", err)
		pause(ctx, f.config.MinPause)
	}
}

// pause waits, and reports whether ctx is still on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// forwardNew forwards what arrives.
func (f *Forwarder) forwardNew(ctx, taking context.Context) error {
	p, err := f.inbox.Join(ctx, f.config.Name, f.config.OnlyNew)
	if err != nil {
		return err
	}
	f.report(p)
	for {
		changes := f.inbox.Changes()
		events, err := f.inbox.After(ctx, p.Position, math.MaxInt64)
		if err != nil {
			return err
		}
		if len(events) == 0 {
			select {
			case <-changes:
			case <-f.check(ctx, p):
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		f.idle = idle{checked: f.idle.checked}
		done := func(position int64, _ []*Message) error {
			p.Position = position
			f.inbox.Save(p)
			f.report(p)
			return nil
		}
		if err := f.pass(ctx, taking, p.Position, f.messages(events, nil), &p.Failure, done); err != nil {
			return err
		}
		_ = done(events[len(events)-1].ID, nil) // what comes last may be none of its business
	}
}

// forwardReplays forwards again what somebody asks for.
func (f *Forwarder) forwardReplays(ctx, taking context.Context) error {
	for {
		changes := f.inbox.Changes()
		replays, err := f.inbox.Replays(ctx, f.config.Name)
		if err != nil {
			return err
		}
		if len(replays) == 0 {
			select {
			case <-changes:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := f.forwardReplay(ctx, taking, replays[0]); err != nil && !errors.Is(err, inbox.ErrCancelled) {
			return err
		}
	}
}

func (f *Forwarder) forwardReplay(ctx, taking context.Context, r *inbox.Replay) error {
	if r.Position >= r.Last {
		return f.inbox.Step(ctx, r, nil) // it is about nothing, and so over
	}
	dead := map[int64]bool{}
	if r.Dead {
		letters, err := f.inbox.DeadLetters(ctx, 0, f.config.Name)
		if err != nil {
			return err
		}
		for _, d := range letters {
			dead[d.Event] = true
		}
	}
	for r.Position < r.Last {
		events, err := f.inbox.After(ctx, r.Position, r.Last)
		if err != nil {
			return err
		}
		messages := f.messages(events, func(e *inbox.Event) bool { return r.Match(e) && (!r.Dead || dead[e.ID]) })
		err = f.pass(ctx, taking, r.Position, messages, &r.Failure, func(position int64, taken []*Message) error {
			r.Position = position
			var revived []int64
			for _, m := range taken {
				revived = append(revived, m.ID)
			}
			return f.inbox.Step(ctx, r, revived)
		})
		if err != nil {
			return err
		}
		if r.Position = r.Last; len(events) > 0 {
			r.Position = events[len(events)-1].ID
		}
		if err := f.inbox.Step(ctx, r, nil); err != nil {
			return err
		}
	}
	return nil
}

// messages returns those events that are the target's business.
func (f *Forwarder) messages(events []*inbox.Event, replay func(*inbox.Event) bool) (messages []*Message) {
	for _, e := range events {
		if f.config.Filter.Match(e) && (replay == nil || replay(e)) {
			messages = append(messages, &Message{Event: e, Key: e.Key(), Replay: replay != nil})
		}
	}
	return messages
}

// pass gives messages after a position to the target until it is done with all of them.
// After each step it tells the position up to which that is so, and what the target has
// taken.
func (f *Forwarder) pass(ctx, taking context.Context, position int64, messages []*Message, failure *inbox.Failure, done func(position int64, taken []*Message) error) error {
	// What has failed stands right after the position. If it is not there, somebody has
	// changed the filter since, and the failure is not that of the first message.
	if len(messages) == 0 || messages[0].ID != position+1 {
		*failure = inbox.Failure{}
	}
	for len(messages) > 0 && ctx.Err() == nil {
		n, err := f.take(taking, messages)
		taken := messages[:n]
		messages = messages[n:]
		if n > 0 {
			f.recovered(failure, taken)
			if err := done(taken[n-1].ID, taken); err != nil {
				return err
			}
		}
		if err == nil || taking.Err() != nil { // then it was told to stop
			continue
		}
		now := time.Now()
		f.failed(failure, messages[0], err, now)
		position = messages[0].ID - 1
		if isRefused(err) || f.config.GiveUp > 0 && now.Sub(failure.Since) >= f.config.GiveUp {
			if err := f.bury(ctx, failure, messages[0], now); err != nil {
				return err
			}
			position, messages, err = messages[0].ID, messages[1:], nil
		}
		if err := done(position, nil); err != nil {
			return err
		}
		if err != nil {
			f.wait(ctx, failure, err)
		}
	}
	return ctx.Err()
}

var errNothing = errors.New("the target took nothing and does not say why")

func (f *Forwarder) take(ctx context.Context, messages []*Message) (n int, err error) {
	f.turn.Lock()
	defer f.turn.Unlock()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	err = f.protect(func() (err error) {
		n, err = f.target.Take(ctx, messages)
		return err
	})
	if err == nil && n == 0 {
		err = errNothing
	}
	if n == len(messages) {
		err = nil // then there is none that it could be about
	}
	return n, err
}

// protect turns a panic of the target into an error. It would end the whole process, and
// again whenever that starts anew with the same event: then nobody would receive anything
// because one of the targets has a mistake in it.
func (f *Forwarder) protect(call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			f.log.Error("the target failed for a mistake in this program", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("a mistake in this program: %v", p)
		}
	}()
	return call()
}

// sayAgain is how often the log tells that a target goes on failing.
const sayAgain = 10 * time.Minute

// failed notes that the target has not taken a message.
func (f *Forwarder) failed(failure *inbox.Failure, m *Message, err error, now time.Time) {
	if failure.Tries++; failure.Since.IsZero() {
		failure.Since = now
	}
	failure.Reason = cut(err.Error())
	f.config.Metrics.failed(f.config.Name)
	f.mu.Lock()
	say := now.Sub(f.said) >= sayAgain
	if say {
		f.said = now
	}
	f.mu.Unlock()
	if say {
		f.log.Warn("an event cannot be forwarded for now; it is tried again", "event", m.ID, "tries", failure.Tries, "since", failure.Since, "err", failure.Reason)
	}
}

func (f *Forwarder) recovered(failure *inbox.Failure, taken []*Message) {
	f.config.Metrics.taken(f.config.Name, len(taken))
	if failure.Tries == 0 {
		return
	}
	f.log.Info("events are forwarded again", "after", time.Since(failure.Since).Round(time.Millisecond), "tries", failure.Tries)
	f.mu.Lock()
	f.said = time.Time{}
	f.mu.Unlock()
	*failure = inbox.Failure{}
}

func (f *Forwarder) bury(ctx context.Context, failure *inbox.Failure, m *Message, now time.Time) error {
	err := f.inbox.Bury(ctx, inbox.DeadLetter{Forwarder: f.config.Name, Event: m.ID, At: now, Failure: *failure})
	if err != nil {
		return err
	}
	f.log.Error("an event is given up; it is a dead letter now", "event", m.ID, "tries", failure.Tries, "since", failure.Since, "err", failure.Reason)
	f.config.Metrics.buried(f.config.Name)
	*failure = inbox.Failure{}
	return nil
}

// maxReason bounds what is kept of an error: it may have somebody's answer in it.
const maxReason = 500

func cut(s string) string {
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "..."
	}
	return s
}

// wait pauses after a failure.
func (f *Forwarder) wait(ctx context.Context, failure *inbox.Failure, err error) {
	d := f.config.MinPause << min(failure.Tries-1, 30)
	if d <= 0 || d > f.config.MaxPause {
		d = f.config.MaxPause
	}
	if later, ok := errors.AsType[*Later](err); ok {
		d = max(d, min(later.After, f.config.MaxPause))
	}
	if f.config.GiveUp > 0 {
		d = min(d, max(time.Millisecond, time.Until(failure.Since.Add(f.config.GiveUp))))
	}
	pause(ctx, d)
}

func (f *Forwarder) report(p inbox.Progress) {
	f.mu.Lock()
	f.state = p
	f.mu.Unlock()
	f.config.Metrics.at(p)
}
