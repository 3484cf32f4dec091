// Package monitor watches a platform: it counts what the platform does, and says how
// it is doing.
//
// A [Monitor] is told of events, attempts, commits and challenges by those who make
// them, which costs them a few additions. What stands still is looked at only when
// somebody asks: [Monitor.Pages] are health, readiness and metrics.
package monitor

import (
	"errors"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/switchhook/switchhook/internal/admin"
	"github.com/switchhook/switchhook/internal/challenge"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
)

// Monitor watches a platform. Make one with [New]. It is safe for concurrent use.
type Monitor struct {
	log      *slog.Logger
	registry *prometheus.Registry
	version  string
	started  time.Time

	published *prometheus.CounterVec                        // by event type
	byType    atomic.Pointer[map[string]prometheus.Counter] // never changed, only replaced
	newType   sync.Mutex
	items     map[string]prometheus.Counter
	owed      prometheus.Counter

	attempts   *prometheus.CounterVec // by outcome and attempt
	byOutcome  [outcomes][2]atomic.Pointer[prometheus.Counter]
	ended      [hook.Cancelled + 1]prometheus.Counter // by state; nil: no end
	lateness   [2]prometheus.Observer                 // by attempt
	took       prometheus.Observer
	fromEvent  [2]prometheus.Observer
	fromAccept [2]prometheus.Observer

	commits    prometheus.Observer
	commitRows prometheus.Observer
	refusals   prometheus.Counter

	challenges map[string]prometheus.Counter

	trouble  atomic.Pointer[trouble] // of the store; nil: none
	cut      atomic.Pointer[trouble] // since when the lease could not be renewed; nil: it was
	lost     atomic.Bool             // it could not for longer than a blip
	phase    atomic.Int32
	platform atomic.Pointer[Platform]
	waiting  backlog
	probing  probe
}

// outcomes is how many outcomes are told apart: the contract's numbers, every status
// that HTTP knows, and one for what is neither.
const outcomes = lowest + 600

// lowest is the contract's last number.
const lowest = -int(hook.TooManyRequests)

// How a label says whether an attempt is the first one of its delivery.
const (
	first = iota
	retry
)

var attemptNames = [...]string{first: "first", retry: "retry"}

// Every published item has one of these results.
const (
	itemAccepted    = "accepted"
	itemDuplicate   = "duplicate"
	itemInvalid     = "invalid"
	itemUnavailable = "unavailable"
	itemError       = "error"
)

// Every challenge has one of these results.
const (
	challengeOK           = "ok"
	challengeFailed       = "failed"
	challengeInconclusive = "inconclusive"
)

// latencyBuckets go from what a platform takes that has nothing else to do to the end
// of the contract's schedule.
var latencyBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200}

// attemptBuckets go up to the limits of connecting and answering together.
var attemptBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2, 3, 5, 8}

// New returns a monitor of a platform that is starting.
func New(version string, log *slog.Logger) *Monitor {
	m := &Monitor{log: log, registry: admin.NewRegistry(version), version: version, started: time.Now()}
	m.published = m.counters("published_events_total", "Events that were accepted and are durable.", "event_type")
	m.owed = m.counter("published_deliveries_total", "Deliveries that accepted events were owed to subscriptions.")
	items := m.counters("publish_items_total", "Items that were published, by what became of them: accepted, duplicate (accepted before under the same key), invalid (refused as wrong), "+
		"unavailable (the store could not take them), error.", "result")
	m.items = resolve(items, itemAccepted, itemDuplicate, itemInvalid, itemUnavailable, itemError)

	m.attempts = m.counters("attempts_total", "Attempts to deliver, by outcome (the status of the answer, or the contract's name for its absence) and by whether it was the first of its delivery.", "outcome", "attempt")
	ended := m.counters("deliveries_ended_total", "Deliveries that have come to their end: delivered, failed for good, exhausted (each attempt of the schedule failed), or cancelled while they were in hand. "+
		"What is called off in the store is not counted.", "state")
	for _, s := range []hook.State{hook.Delivered, hook.Failed, hook.Exhausted, hook.Cancelled} {
		m.ended[s] = ended.WithLabelValues(s.String())
	}
	m.lateness = m.histograms("attempt_lateness_seconds", "Time from when an attempt was due to its start: what the platform and the limits of the endpoint add.")
	m.took = m.histogram("attempt_duration_seconds", "Time that a request took, from its start to the end of the answer.", attemptBuckets)
	m.fromEvent = m.histograms("delivery_from_event_seconds", "Time from event_ts to the end of the answer that accepted the event.")
	m.fromAccept = m.histograms("delivery_from_publish_seconds", "Time from the acceptance of an event to the end of the answer that accepted it.")

	m.commits = m.histogram("store_commit_duration_seconds", "Time that a transaction took, until it was durable.", []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10})
	m.commitRows = m.histogram("store_commit_rows", "Rows that were committed together.", []float64{1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000})
	m.refusals = m.counter("store_commit_failures_total", "Transactions that the database could not take.")

	challenges := m.counters("challenges_total", "Challenges to endpoints, by result; inconclusive ones were not sent.", "result")
	m.challenges = resolve(challenges, challengeOK, challengeFailed, challengeInconclusive)

	m.registry.MustRegister((*standing)(m))
	return m
}

// Registry is what the metrics are registered in, for those who have more of them.
func (m *Monitor) Registry() *prometheus.Registry { return m.registry }

const namespace = "switchhook"

func (m *Monitor) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	m.registry.MustRegister(c)
	return c
}

func (m *Monitor) counters(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.registry.MustRegister(v)
	return v
}

func (m *Monitor) histogram(name, help string, buckets []float64) prometheus.Observer {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets})
	m.registry.MustRegister(h)
	return h
}

// histograms tells first attempts from retries: those are as late as the schedule has
// it, and would hide what happens to the others.
func (m *Monitor) histograms(name, help string) (by [2]prometheus.Observer) {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: latencyBuckets}, []string{"attempt"})
	m.registry.MustRegister(v)
	for i, name := range attemptNames {
		by[i] = v.WithLabelValues(name)
	}
	return by
}

// resolve makes the counters of all values of a label, so that each is there from the
// start with 0.
func resolve(v *prometheus.CounterVec, values ...string) map[string]prometheus.Counter {
	all := make(map[string]prometheus.Counter, len(values))
	for _, value := range values {
		all[value] = v.WithLabelValues(value)
	}
	return all
}

// Published takes note of an item that was published; see [intake.Intake.Observe].
func (m *Monitor) Published(e *hook.Event, r *intake.Receipt) {
	fault, told := errors.AsType[*hook.Error](r.Err)
	switch {
	case r.Err == nil && r.Duplicate:
		m.items[itemDuplicate].Inc()
	case r.Err == nil:
		m.items[itemAccepted].Inc()
		m.ofType(e.Type).Inc()
		m.owed.Add(float64(r.Deliveries))
	case told && fault.Kind == hook.Unavailable:
		m.items[itemUnavailable].Inc()
	case told:
		m.items[itemInvalid].Inc()
	default:
		m.items[itemError].Inc()
	}
}

// ofType returns the counter of an event type. Only those of the catalog are accepted,
// so there are not many, and soon no new ones.
func (m *Monitor) ofType(name string) prometheus.Counter {
	if known := m.byType.Load(); known != nil {
		if c := (*known)[name]; c != nil {
			return c
		}
	}
	m.newType.Lock()
	defer m.newType.Unlock()
	all := map[string]prometheus.Counter{name: m.published.WithLabelValues(name)}
	if known := m.byType.Load(); known != nil {
		maps.Copy(all, *known)
	}
	m.byType.Store(&all)
	return all[name]
}

// Attempted takes note of an attempt, or of what was called off instead; see
// [deliver.Config.Attempted].
func (m *Monitor) Attempted(a *hook.Attempt, e *hook.Event) {
	if int(a.State) < len(m.ended) && m.ended[a.State] != nil {
		m.ended[a.State].Inc()
	}
	if a.Kind != hook.KindAttempt {
		return
	}
	which := first
	if a.Retry > 0 {
		which = retry
	}
	m.outcome(a.Outcome, which).Inc()
	if a.Outcome == hook.Fallback {
		return // nothing was sent
	}
	m.lateness[which].Observe(since(a.Due, a.Started))
	m.took.Observe(a.Timing.Done.Seconds())
	if a.State == hook.Delivered {
		done := a.Started.Add(a.Timing.Done)
		m.fromEvent[which].Observe(since(e.TS, done))
		m.fromAccept[which].Observe(since(a.Delivery.Event.Time(), done))
	}
}

// since returns the seconds between two instants. A producer's clock may be ahead.
func since(from, to time.Time) float64 { return max(0, to.Sub(from).Seconds()) }

// outcome returns the counter of an outcome. Those that never occur are not shown.
func (m *Monitor) outcome(o hook.Outcome, which int) prometheus.Counter {
	i, known := lowest+int(o), true
	if i < 0 || i >= outcomes || o >= 0 && o < 100 {
		i, known = lowest, false // 0 is no outcome
	}
	p := &m.byOutcome[i][which]
	if c := p.Load(); c != nil {
		return *c
	}
	name := "other"
	if known {
		name = o.String()
	}
	c := m.attempts.WithLabelValues(name, attemptNames[which])
	p.Store(&c)
	return c
}

// Challenged takes note of a challenge; see [challenge.Prober.Observe].
func (m *Monitor) Challenged(r *challenge.Result) {
	switch {
	case r.OK:
		m.challenges[challengeOK].Inc()
	case r.Inconclusive():
		m.challenges[challengeInconclusive].Inc()
	default:
		m.challenges[challengeFailed].Inc()
	}
}

// trouble is a time in which the store takes nothing.
type trouble struct {
	since  time.Time
	reason string
}

// Committed takes note of a transaction, and of what kept it from being durable.
func (m *Monitor) Committed(rows int, took time.Duration, err error) {
	was := m.trouble.Load()
	if err == nil {
		m.commits.Observe(took.Seconds())
		m.commitRows.Observe(float64(rows))
		if was != nil {
			m.trouble.Store(nil)
		}
		return
	}
	m.refusals.Inc()
	t := &trouble{time.Now(), err.Error()}
	if was != nil {
		t.since = was.since
	}
	m.trouble.Store(t)
}

// blip is for how long a lease may fail to be renewed before that is taken for more
// than a connection that broke, or one transaction that was slow.
const blip = time.Second

// Renewed takes note that this node has told the store that it lives, or why it could
// not. It does so all the time, so a node that is cut off is found out although nothing
// is committed: what asks the store before it has anything to commit fails earlier.
func (m *Monitor) Renewed(err error) {
	if err != nil {
		m.refusals.Inc()
		t := &trouble{time.Now(), err.Error()}
		if was := m.cut.Load(); was != nil {
			t.since = was.since
			if time.Since(t.since) >= blip {
				m.lost.Store(true)
			}
		}
		m.cut.Store(t)
		return
	}
	m.lost.Store(false)
	m.cut.Store(nil)
	// That this goes through does not say that commits do, nor does anybody else find out
	// whom nobody sends anything to commit.
	if p := m.platform.Load(); p != nil && m.trouble.Load() != nil {
		m.probing.begin(p.Store)
	}
}

// unwritable returns since when the store cannot be written, and why, or nil.
func (m *Monitor) unwritable() *trouble {
	if t := m.trouble.Load(); t != nil {
		return t
	}
	if t := m.cut.Load(); t != nil && m.lost.Load() {
		return t
	}
	return nil
}
