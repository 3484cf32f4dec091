package deliver

import (
	"time"

	"golang.org/x/time/rate"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/outbound"
)

// job is a delivery in hand.
type job struct {
	Outstanding
	node  int64 // that took it in hand
	queue *queue
	lane  *lane // in which it is under way
	next  *job  // in its fifo

	// throttled says that our limit for the endpoint is on record as the reason why
	// this one is not sent yet.
	throttled bool
	// instants counts the times it was to be tried again at once.
	instants int
	finished Finished
}

// queue holds what is outstanding for one subscription, as far as it is in hand,
// and knows whether there is more in the store.
type queue struct {
	key  hook.SubscriptionKey
	lane *lane

	// endpoint was made of these two.
	endpoint     *outbound.Endpoint
	subscription *hook.Subscription
	app          *hook.App

	first, late fifo // in hand and not started: first attempts, and retries
	held        int  // in hand: not started, in flight, or not recorded yet
	bytes       int  // of their bodies

	stored  bool      // in the store there are due ones in nobody's hand
	pending int       // how many are about to be stored that are in nobody's hand
	help    bool      // in the store there may be some that other nodes have no room for
	asked   int       // rises when help is set
	seen    int       // rises when stored is set, so that a claim knows what it has not seen
	next    time.Time // when the next one in the store is due; zero: none that is known
	sweep   bool      // some may have to be called off
	loading bool      // it is among Sender.loads, or being loaded
}

// fifo is a list of jobs.
type fifo struct{ head, tail *job }

func (f *fifo) push(j *job) {
	j.next = nil
	if f.tail == nil {
		f.head = j
	} else {
		f.tail.next = j
	}
	f.tail = j
}

// insert puts a job back where it belongs.
func (f *fifo) insert(j *job, before func(a, b *job) bool) {
	at := &f.head
	for *at != nil && before(*at, j) {
		at = &(*at).next
	}
	if j.next = *at; j.next == nil {
		f.tail = j
	}
	*at = j
}

// earlier is the order of first attempts, sooner that of retries.
func earlier(a, b *job) bool { return a.ID.Event < b.ID.Event }
func sooner(a, b *job) bool  { return a.Due.Before(b.Due) }

func (f *fifo) pop() *job {
	j := f.head
	if f.head = j.next; f.head == nil {
		f.tail = nil
	}
	j.next = nil
	return j
}

// lane is what one endpoint is given. Subscriptions with the same URL share it.
type lane struct {
	url      string
	queues   []*queue
	inFlight int       // how many attempts may be under way
	flying   int       // how many are
	pause    time.Time // nothing is started before then
	alarm    time.Time // the pause for which an alarm is set
	breaker  breaker
	limiter  *rate.Limiter
	turn     int

	inRing bool
	next   *lane // in the ring
}

// lateShare is how often a late retry goes before the first attempts: some of the
// time, so that an endpoint that is always behind does not put retries off for
// ever.
const lateShare = 8

// head returns the fifo whose first job is next: of first attempts that of the
// earliest event, so that they start in the order of publishing, else a retry.
func (l *lane) head() *fifo {
	var first, late *fifo
	for _, q := range l.queues {
		if j := q.first.head; j != nil && (first == nil || j.ID.Event < first.head.ID.Event) {
			first = &q.first
		}
		if j := q.late.head; j != nil && (late == nil || j.Due.Before(late.head.Due)) {
			late = &q.late
		}
	}
	if first == nil || late != nil && l.turn%lateShare == lateShare-1 {
		return late
	}
	return first
}

// ring is the lanes whose turn is to come, in turn.
type ring struct{ head, tail *lane }

func (r *ring) push(l *lane) {
	l.next, l.inRing = nil, true
	if r.tail == nil {
		r.head = l
	} else {
		r.tail.next = l
	}
	r.tail = l
}

func (r *ring) pop() *lane {
	l := r.head
	if l == nil {
		return nil
	}
	if r.head = l.next; r.head == nil {
		r.tail = nil
	}
	l.next, l.inRing = nil, false
	return l
}

// breaker keeps an endpoint that does not answer from taking up what others could
// use.
type breaker struct {
	failures int       // in a row
	since    time.Time // the first of them
	until    time.Time // not zero: open until then
	pause    time.Duration
	probing  bool // one attempt is under way to find out
}

const (
	// The breaker opens when this many attempts in a row were not answered, or fewer
	// over a longer time. An open breaker uses up retries, so it takes more than a
	// moment's trouble.
	breakerFailures    = 20
	breakerFewFailures = 5
	breakerPatience    = 10 * time.Second

	// The breaker stays open for a short while at first, and for longer each time the
	// endpoint still does not answer. It is never longer than the shortest step of the
	// schedule.
	breakerPause    = 30 * time.Second
	breakerMaxPause = 5 * time.Minute

	// fallbackRate is how many deliveries a second are put off, in all, because of
	// open breakers, and fallbackBurst how many at once: putting off a large backlog
	// must not keep the store from serving others.
	fallbackRate  = 200
	fallbackBurst = 10
	fallbackPause = fallbackBurst * time.Second / fallbackRate
)

// silent reports whether the outcome means that the endpoint did not answer. An
// endpoint that answers, if with errors, costs nobody else anything.
func silent(o hook.Outcome) bool {
	switch o {
	case hook.ReadTimeOut, hook.ConnectionRefused, hook.TimeLimiter, hook.RemoteError, hook.DNSResolveTimeout:
		return true
	}
	return false
}

// ended takes note of how an attempt ended. It reports whether that opened or
// closed the breaker.
func (b *breaker) ended(o hook.Outcome, probe bool, now time.Time, steps hook.Schedule) (changed bool) {
	if probe {
		b.probing = false
	}
	switch {
	case silent(o) && probe:
		b.pause = bounded(2*b.pause, breakerMaxPause, steps)
		b.until = now.Add(b.pause)
		return true
	case silent(o):
		if b.failures++; b.failures == 1 {
			b.since = now
		}
		few := b.failures >= breakerFewFailures && now.Sub(b.since) >= breakerPatience
		if b.until.IsZero() && (few || b.failures >= breakerFailures) {
			b.pause = bounded(breakerPause, breakerPause, steps)
			b.until = now.Add(b.pause)
			return true
		}
	case o > 0:
		changed = !b.until.IsZero()
		*b = breaker{}
	}
	return changed
}

// bounded returns a pause that ends before what was put off meanwhile is due again:
// an open breaker must not use up all the retries of an endpoint that is back.
func bounded(pause, most time.Duration, steps hook.Schedule) time.Duration {
	pause = min(pause, most)
	for _, step := range steps {
		pause = min(pause, step)
	}
	return pause
}

// idle reports whether there is nothing to remember.
func (b *breaker) idle() bool { return b.failures == 0 && b.until.IsZero() }
