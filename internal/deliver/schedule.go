package deliver

import (
	"container/heap"
	"context"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/switchhook/switchhook/internal/hook"
)

// The methods in this file are called with s.mu held, but for those that say
// otherwise.

// queue returns the subscription's queue, attached to the lane of its endpoint.
func (s *Sender) queue(k hook.SubscriptionKey) *queue {
	q := s.queues[k]
	if q == nil {
		q = &queue{key: k}
		s.queues[k] = q
	}
	s.refresh(q)
	return q
}

// refresh brings the queue up to date with its subscription.
func (s *Sender) refresh(q *queue) {
	sub, app := s.directory.Subscription(q.key)
	if q.lane != nil && sub == q.subscription && app == q.app {
		return
	}
	url := ""
	if q.subscription, q.app, q.endpoint = sub, app, nil; sub != nil {
		url = sub.Serving(app).URL
		q.endpoint = s.client.Endpoint(sub, app)
	}
	if q.lane == nil || q.lane.url != url {
		s.attach(q, url)
	}
	s.limit(q.lane)
}

// limit brings the lane's limits up to date.
func (s *Sender) limit(l *lane) {
	m := s.directory.Limits(l.url, s.InFlight)
	// Each node has its share of what the endpoint may be given.
	m.InFlight, m.PerSecond = (m.InFlight+s.nodes-1)/s.nodes, m.PerSecond/float64(s.nodes)
	l.inFlight = m.InFlight
	switch {
	case m.PerSecond == 0 && l.limiter == nil, l.limiter != nil && l.limiter.Limit() == rate.Limit(m.PerSecond):
		return
	case m.PerSecond == 0:
		l.limiter = nil
	default:
		l.limiter = rate.NewLimiter(rate.Limit(m.PerSecond), max(1, int(m.PerSecond/burstShare)))
	}
	l.pause = time.Time{} // the old limit's
	s.kick(l)
}

// limitAll brings the limits of all lanes up to date: a subscription that was changed
// or deleted may have been the one that held another one of its endpoint back.
func (s *Sender) limitAll() {
	for _, l := range s.lanes {
		s.limit(l)
		s.dropLane(l)
	}
}

// burstShare is the part of a second's requests that may be made at once.
const burstShare = 10

func (s *Sender) attach(q *queue, url string) {
	if old := q.lane; old != nil {
		old.queues = slices.DeleteFunc(old.queues, func(x *queue) bool { return x == q })
		s.limit(old)
		s.dropLane(old)
	}
	l := s.lanes[url]
	if l == nil {
		l = &lane{url: url}
		s.lanes[url] = l
	}
	l.queues = append(l.queues, q)
	q.lane = l
}

// drop forgets a queue that has nothing to remember, and its lane with it: an idle
// endpoint costs nothing. A lane's rate is something to remember.
func (s *Sender) drop(q *queue) {
	l := q.lane
	if q.held > 0 || q.pending > 0 || q.stored || q.help || q.sweep || q.loading || !q.next.IsZero() {
		return
	}
	l.queues = slices.DeleteFunc(l.queues, func(x *queue) bool { return x == q })
	delete(s.queues, q.key)
	s.dropLane(l)
}

func (s *Sender) dropLane(l *lane) {
	if len(l.queues) == 0 && l.flying == 0 && !l.inRing && l.breaker.idle() && l.limiter == nil && s.lanes[l.url] == l {
		delete(s.lanes, l.url)
	}
}

// share returns how many deliveries, and how much of their bodies, a queue may
// have in hand.
func (s *Sender) share() (n, bytes int) {
	others := s.active + 1
	return min(maxShare, max(minShare, maxHeld/others)), maxHeldBytes / others
}

// full reports whether as much is in hand as may be in all.
func (s *Sender) full() bool { return s.held >= maxHeld || s.bytes >= maxHeldBytes }

func (s *Sender) hold(q *queue, size int) {
	if q.held == 0 {
		s.active++
	}
	q.held++
	q.bytes += size
	s.held++
	s.bytes += size
}

func (s *Sender) unhold(q *queue, size int) {
	q.held--
	q.bytes -= size
	s.held--
	s.bytes -= size
	if q.held == 0 {
		s.active--
	}
}

// Reserve takes deliveries of an event in hand that is about to be stored, as far
// as there is room, and marks those with the node. It may be called from anywhere.
func (s *Sender) Reserve(e *hook.Event, owed []hook.Owed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range owed {
		o := &owed[i]
		o.Node = 0
		q := s.queue(o.Subscription)
		n, bytes := s.share()
		// While anything waits in the store, what comes later has to wait behind it. One
		// delivery each subscription may always have, so that none depends on the others.
		room := q.held == 0 || !s.full() && q.held < n && q.bytes+len(e.Body) <= bytes
		if s.running && !s.closing && room && !q.stored && q.pending == 0 {
			s.hold(q, len(e.Body))
			o.Node = s.node.ID
		} else {
			q.pending++
		}
	}
}

// Settle says what became of an event that was reserved: stored, or not. It may be
// called from anywhere.
func (s *Sender) Settle(e *hook.Event, owed []hook.Owed, stored bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range owed {
		q := s.queues[o.Subscription]
		switch {
		case o.Node == 0:
			q.pending--
			if stored {
				s.markStored(q)
				s.tell(q)
			}
		case stored && o.Node != s.node.ID: // it was taken for dead meanwhile
			s.unhold(q, len(e.Body))
			s.markStored(q)
		case stored:
			d := hook.Delivery{ID: hook.DeliveryID{Event: e.ID, Subscription: o.Subscription}}
			q.first.push(&job{Outstanding: Outstanding{d, o.Generation, e}, node: o.Node, queue: q})
			s.kick(q.lane)
		default:
			s.unhold(q, len(e.Body))
		}
		s.drop(q)
	}
}

func (s *Sender) markStored(q *queue) {
	q.stored = true
	q.seen++
	s.wantLoad(q)
}

// nextDue takes note that something in the store will be due.
func (s *Sender) nextDue(q *queue, at time.Time) {
	if q.next.IsZero() || at.Before(q.next) {
		q.next = at
		s.alarmAt(at, q, nil)
	}
}

// allowed returns how many attempts the lane may have under way: fewer the more is
// under way in all, so that many endpoints that hang leave something to those that
// do not. It is one at least, whose end gives the lane its next turn.
func (s *Sender) allowed(l *lane) int {
	return min(l.inFlight, max(1, (s.MaxInFlight-s.flying)/32))
}

// kick gives the lane a turn, if it has something to do and may.
func (s *Sender) kick(l *lane) {
	// The end of a probe gives the lane its next turn.
	if l.inRing || s.closing || l.breaker.probing || l.flying >= s.allowed(l) || l.head() == nil {
		return
	}
	if !l.pause.IsZero() && time.Until(l.pause) > 0 {
		if !l.alarm.Equal(l.pause) {
			l.alarm = l.pause
			s.alarmAt(l.alarm, nil, l)
		}
		return
	}
	s.ready.push(l)
	s.wakeWorker()
}

// alarms are the instants at which something is to be looked at, the first on top.
type alarms []alarmEntry

type alarmEntry struct {
	at    time.Time
	queue *queue
	lane  *lane
}

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a alarms) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *alarms) Push(x any)        { *a = append(*a, x.(alarmEntry)) }
func (a *alarms) Pop() any {
	old := *a
	x := old[len(old)-1]
	old[len(old)-1] = alarmEntry{}
	*a = old[:len(old)-1]
	return x
}

func (s *Sender) alarmAt(at time.Time, q *queue, l *lane) {
	heap.Push(&s.alarms, alarmEntry{at, q, l})
	if s.alarms[0].at.Equal(at) {
		select {
		case s.alarm <- struct{}{}:
		default:
		}
	}
}

// tick lets alarms go off until ctx is done. It is called without s.mu.
func (s *Sender) tick(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.alarm:
		case <-timer.C:
		}
		if next, ok := s.goOff(time.Now()); ok {
			timer.Reset(time.Until(next))
		}
	}
}

// goOff looks after what is due at now and returns when the next alarm is. It is
// called without s.mu.
func (s *Sender) goOff(now time.Time) (next time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.alarms) > 0 {
		a := s.alarms[0]
		if a.at.After(now) {
			return a.at, true
		}
		heap.Pop(&s.alarms)
		switch {
		case a.lane != nil:
			s.kick(a.lane)
		case a.queue != nil:
			// There may be an earlier alarm for the same queue, which was answered.
			if q := a.queue; !q.next.IsZero() && !q.next.After(now) {
				q.next = time.Time{}
				s.markStored(q)
			}
		default:
			s.recordFailed()
		}
	}
	return time.Time{}, false
}
