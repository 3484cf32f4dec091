package deliver

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/outbound"
)

// verdict is what is to be done with a job whose turn has come.
type verdict struct {
	do action
	// endpoint is for all but cancel, which has a reason.
	endpoint *outbound.Endpoint
	reason   string
	// probe: it is the attempt that finds out whether the endpoint answers again.
	probe bool
}

type action uint8

const (
	send     action = iota
	fallback        // the breaker is open: not sent
	cancel          // not owed any more
)

// wakeWorker makes sure that one more worker looks for work. It is called with
// s.mu held.
func (s *Sender) wakeWorker() {
	switch {
	case s.idle > 0:
		s.idle--
		s.work.Signal()
	case s.workers < s.MaxInFlight:
		s.workers++
		go s.worker()
	}
}

// worker takes jobs and does them until there are none and enough others wait for
// more.
func (s *Sender) worker() {
	for {
		j, v := s.take()
		if j == nil {
			return
		}
		s.finish(j, v, s.do(j, v))
	}
}

// take returns the next job, waiting for one. It returns nil to a worker that is
// not needed any more.
func (s *Sender) take() (*job, verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for l := s.ready.pop(); l != nil && !s.closing; l = s.ready.pop() {
			j, v := s.turn(l, time.Now())
			s.kick(l)
			if j != nil {
				return j, v
			}
		}
		if s.closing || s.idle >= keepIdle {
			s.workers--
			s.settled.Broadcast()
			return nil, verdict{}
		}
		s.idle++
		s.work.Wait() // whoever wakes it takes it off s.idle
	}
}

// turn returns the lane's next job and what is to be done with it. nil: nothing can
// be done now. It is called with s.mu held.
func (s *Sender) turn(l *lane, now time.Time) (*job, verdict) {
	f := l.head()
	if f == nil || l.breaker.probing || l.flying >= s.allowed(l) || l.pause.After(now) {
		return nil, verdict{}
	}
	q := f.head.queue
	if s.refresh(q); q.lane != l { // the subscription has a new URL
		s.kick(q.lane)
		return nil, verdict{}
	}
	v, ok := s.judge(l, f.head, now)
	if !ok {
		return nil, verdict{}
	}
	l.turn++
	l.flying++
	s.flying++
	j := f.pop()
	j.lane = l
	return j, v
}

// judge says what is to be done with the lane's next job, if anything can be done
// now; if not, it says in l.pause when. It is called with s.mu held.
func (s *Sender) judge(l *lane, j *job, now time.Time) (v verdict, ok bool) {
	q := j.queue
	if q.subscription == nil {
		return verdict{do: cancel, reason: "the subscription was deleted"}, true
	}
	if j.Generation < q.subscription.Generation || q.app.Disabled {
		return verdict{do: cancel, reason: cancelReason(q)}, true
	}
	if b := &l.breaker; !b.until.IsZero() {
		switch {
		case !b.until.After(now):
			b.probing, v.probe = true, true
		case !s.fallbacks.AllowN(now, 1):
			l.pause = now.Add(fallbackPause)
			return verdict{}, false
		default:
			return verdict{do: fallback, endpoint: q.endpoint}, true
		}
	}
	if l.limiter != nil {
		r := l.limiter.ReserveN(now, 1)
		if wait := r.DelayFrom(now); wait > 0 {
			r.CancelAt(now)
			l.breaker.probing = false
			l.pause = now.Add(wait)
			if !j.throttled {
				j.throttled = true
				s.logThrottled(j, now)
			}
			return verdict{}, false
		}
	}
	v.endpoint = q.endpoint
	return v, true
}

func cancelReason(q *queue) string {
	switch e := q.subscription.Serving(q.app); {
	case q.app.Disabled:
		return "the app was disabled"
	case e.State == hook.Disabled && e.StateReason != "":
		return "the subscription was disabled: " + e.StateReason
	case e.State == hook.Pending: // to where the state of the app has moved it
		return "the endpoint has not proven itself: " + e.StateReason
	}
	return "the subscription was disabled"
}

// logThrottled leaves a row in the log that says why a delivery waits. The delivery
// stays where it is, at the head of its lane, so that none overtakes it. It is
// called with s.mu held.
func (s *Sender) logThrottled(j *job, now time.Time) {
	q := j.queue
	f := &Finished{Was: j.Delivery, Now: j.Delivery, Node: j.node, Keep: true, Lazy: true, Attempt: hook.Attempt{
		Delivery: j.ID, EventType: j.Event.Type, Target: q.endpoint.Target, Retry: j.Tries, Outcome: hook.TooManyRequests, State: hook.Waiting, Next: j.Due, Due: dueOf(j), Started: now,
		Detail: "the limit of requests per second for this endpoint is reached",
	}}
	f.Done = func(err error) {
		go func() { // the store may answer at once, and that wants s.mu
			s.mu.Lock()
			s.recording--
			s.settled.Broadcast()
			s.mu.Unlock()
			if err == nil && s.Observe != nil {
				s.Observe(f.Attempt, j.Event)
			}
		}()
	}
	s.recording++
	s.store.Finish(f)
}

// dueOf returns when a job was to be done.
func dueOf(j *job) time.Time {
	if j.Due.IsZero() {
		return j.ID.Event.Time()
	}
	return j.Due
}

// do carries a verdict out.
func (s *Sender) do(j *job, v verdict) (r outbound.Result) {
	r.Started = time.Now()
	switch v.do {
	case cancel:
		r.Detail = v.reason
	case fallback:
		r.Outcome, r.Detail = hook.Fallback, "the endpoint has not answered for a while, so nothing was sent"
	default:
		defer func() {
			if p := recover(); p != nil {
				s.Log.Error("an attempt panicked", "delivery", j.ID, "panic", p, "stack", string(debug.Stack()))
				r.Outcome, r.Detail = hook.AsyncError, fmt.Sprint("the attempt could not be run: ", p)
			}
		}()
		j.finished.Attempt.Span = rand.Uint64()
		return s.client.Send(s.sending, v.endpoint, outbound.Message{Delivery: j.ID, Span: j.finished.Attempt.Span, Trace: j.Event.Trace, Body: j.Event.Body})
	}
	return r
}

// finish records how a job went and gives the lane's slot back.
func (s *Sender) finish(j *job, v verdict, r outbound.Result) {
	now := time.Now()
	f := &j.finished
	f.Was, f.Node, f.Lazy = j.Delivery, j.node, v.do != send
	f.Now = j.After(r.Outcome, now, s.Schedule)
	if v.do == cancel {
		f.Now = j.Delivery
		f.Now.State, f.Now.Due = hook.Cancelled, time.Time{}
		f.Attempt.Kind = hook.KindCancel
	}
	f.Attempt = hook.Attempt{
		Delivery: j.ID, Kind: f.Attempt.Kind, Retry: j.Tries, Outcome: r.Outcome,
		State: f.Now.State, Next: f.Now.Due, Due: dueOf(j), Started: r.Started,
		Timing: r.Timing, Span: f.Attempt.Span, Response: r.Response, Detail: r.Detail,
	}
	if v.endpoint != nil {
		f.Attempt.EventType, f.Attempt.Target = j.Event.Type, v.endpoint.Target
	}
	if f.Done == nil {
		f.Done = func(err error) { s.recorded(j, err) }
	}
	if s.Attempted != nil {
		s.Attempted(&f.Attempt, j.Event)
	}

	s.mu.Lock()
	l := j.lane
	l.flying--
	s.flying--
	f.Keep = f.Now.State == hook.Waiting && r.Outcome.Retry() == hook.AtOnce && !s.closing && j.node == s.node.ID
	if v.do == send {
		if l.breaker.ended(r.Outcome, v.probe, now, s.Schedule) {
			s.logBreaker(l, r.Outcome)
		}
		if r.Outcome == hook.NeedInstantRetry {
			// At once means as soon as it can help: the shortage is this machine's own.
			j.instants++
			l.pause = now.Add(min(time.Second, 5*time.Millisecond<<min(j.instants, 10)))
		}
	}
	s.recording++
	s.kick(l)
	s.dropLane(l)
	s.mu.Unlock()
	s.store.Finish(f)
}

// logBreaker says that a breaker has opened or closed. The query of a URL often has
// a token in it, so it is left out.
func (s *Sender) logBreaker(l *lane, o hook.Outcome) {
	url, _, _ := strings.Cut(l.url, "?")
	if l.breaker.until.IsZero() {
		s.Log.Info("the endpoint answers again", "url", url, "outcome", o)
	} else {
		s.Log.Info("the endpoint does not answer and is spared for a while", "url", url, "until", l.breaker.until, "outcome", o)
	}
}

// recorded goes on from where a job stands in the store. It is called by the
// goroutine that commits.
func (s *Sender) recorded(j *job, err error) {
	s.mu.Lock()
	s.recording--
	s.settled.Broadcast()
	made := j.finished.Attempt // the job may start again at once
	if err != nil {
		s.keepForLater(j, err)
	} else {
		s.goOn(j)
	}
	s.mu.Unlock()
	if err == nil && s.Observe != nil {
		s.Observe(made, j.Event)
	}
}

// keepForLater keeps an attempt that was made but is not on record. Until that is
// made up for its job stays in hand, so a full disk stops what cannot be recorded.
// It is called with s.mu held.
func (s *Sender) keepForLater(j *job, err error) {
	if len(s.failed) == 0 {
		s.Log.Error("attempts cannot be recorded; trying again each second", "err", err)
		s.alarmAt(time.Now().Add(recordAgain), nil, nil)
	}
	s.failed = append(s.failed, j)
}

// recordFailed tries again to record what could not be recorded. It is called with
// s.mu held.
func (s *Sender) recordFailed() {
	failed := s.failed
	s.failed = nil
	s.recording += len(failed)
	go func() { // the store may answer at once, and that wants s.mu
		for _, j := range failed {
			s.store.Finish(&j.finished)
		}
	}()
}

// goOn does what follows a recorded attempt. It is called with s.mu held.
func (s *Sender) goOn(j *job) {
	f, q := &j.finished, j.queue
	j.Delivery = f.Now
	if j.node != s.node.ID { // it is others' to go on with
		s.unhold(q, len(j.Event.Body))
		s.markStored(q)
		s.drop(q)
		return
	}
	if f.Keep {
		if j.Due.IsZero() {
			q.first.insert(j, earlier)
		} else {
			q.late.insert(j, sooner)
		}
		s.kick(q.lane)
		return
	}
	s.unhold(q, len(j.Event.Body))
	if f.Now.State == hook.Waiting {
		s.nextDue(q, f.Now.Due)
	}
	s.wantLoad(q)
	s.drop(q)
}
