package monitor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/switchhook/switchhook/internal/admin"
	"github.com/switchhook/switchhook/internal/deliver"
)

// Platform is what a monitor looks at when somebody asks.
type Platform struct {
	Sender Sender
	Store  Store
}

// Sender is what delivers.
type Sender interface {
	Standing() deliver.Standing
}

// Store is where everything is.
type Store interface {
	// Outstanding counts what is outstanding, up to limit.
	Outstanding(ctx context.Context, limit int) (int, error)
	// Probe finds out whether the store takes a write now.
	Probe() error
}

// A platform starts, serves and stops.
const (
	starting = int32(iota)
	serving
	stopping
)

// Serving says that requests are answered from now on, and what there is to look at.
func (m *Monitor) Serving(p Platform) {
	m.platform.Store(&p)
	m.phase.Store(serving)
}

// Stopping says that the platform has begun to stop.
func (m *Monitor) Stopping() { m.phase.Store(stopping) }

// Health is how a platform is doing.
type Health struct {
	// Status is ok, or alarm if something wants somebody to look.
	Status string `json:"status"`
	// Ready says that requests are to be sent here.
	Ready    bool            `json:"ready"`
	Phase    string          `json:"phase"` // starting, serving or stopping
	Version  string          `json:"version"`
	Started  string          `json:"started"`
	Alarms   []string        `json:"alarms"`
	Store    StoreHealth     `json:"store"`
	Delivery *DeliveryHealth `json:"delivery,omitempty"`
}

// StoreHealth is how the store is doing.
type StoreHealth struct {
	Writable     bool   `json:"writable"`
	FailingSince string `json:"failing_since,omitempty"`
	Reason       string `json:"reason,omitempty"`
}

// DeliveryHealth is how delivering goes.
type DeliveryHealth struct {
	Nodes     int `json:"nodes"`            // that share the work, as far as this one knows
	Endpoints int `json:"endpoints"`        // that have something in hand
	Spared    int `json:"endpoints_spared"` // whose circuit breaker is open
	InFlight  int `json:"in_flight"`
	InHand    int `json:"in_hand"`
	Deepest   int `json:"in_hand_of_one_endpoint"`
	// Outstanding is what is in hand or waits in the store, now or for its time.
	// OutstandingMore says that there is more than that.
	Outstanding     int  `json:"outstanding"`
	OutstandingMore bool `json:"outstanding_more,omitempty"`
	Unrecorded      int  `json:"unrecorded,omitempty"` // attempts that the store did not take
}

// Health looks how the platform is doing.
func (m *Monitor) Health(ctx context.Context) Health {
	h := Health{
		Status: "ok", Phase: [...]string{"starting", "serving", "stopping"}[m.phase.Load()],
		Version: m.version, Started: m.started.UTC().Format(time.RFC3339), Alarms: []string{},
	}
	h.Ready = m.ready() == nil
	alarm := func(format string, args ...any) {
		h.Status, h.Alarms = "alarm", append(h.Alarms, fmt.Sprintf(format, args...))
	}
	if t := m.unwritable(); t != nil {
		h.Store = StoreHealth{FailingSince: t.since.UTC().Format(time.RFC3339), Reason: t.reason}
		alarm("the store cannot be written since %s: %s; producers are asked to try again", h.Store.FailingSince, t.reason)
	} else {
		h.Store.Writable = m.platform.Load() != nil
	}
	p := m.platform.Load()
	if p == nil {
		return h
	}
	v := p.Sender.Standing()
	h.Delivery = &DeliveryHealth{Nodes: v.Nodes, Endpoints: v.Lanes, Spared: v.Spared, InFlight: v.InFlight, InHand: v.InHand, Deepest: v.Deepest, Unrecorded: v.Unrecorded}
	if n, more, err := m.count(ctx, p.Store); err != nil {
		alarm("what is outstanding cannot be counted: %v", err)
	} else {
		h.Delivery.Outstanding, h.Delivery.OutstandingMore = n, more
	}
	if v.Unrecorded > 0 {
		alarm("%d attempts were made and could not be recorded; if this process ends before they are, they are made again", v.Unrecorded)
	}
	return h
}

// ready returns nil if requests are to be sent here, else why not.
func (m *Monitor) ready() error {
	switch m.phase.Load() {
	case starting:
		return errors.New("it is starting")
	case stopping:
		return errors.New("it is stopping")
	}
	if t := m.unwritable(); t != nil {
		return fmt.Errorf("the store cannot be written since %s: %s", t.since.UTC().Format(time.RFC3339), t.reason)
	}
	return nil
}

// Pages returns the pages for those who run the platform; see package admin.
func (m *Monitor) Pages() http.Handler {
	return admin.Pages(admin.Config{
		Health: func(ctx context.Context) (any, error) { return m.Health(ctx), nil },
		Ready: func(context.Context) error {
			// Who is not ready gets nothing to store, and would never learn that it could.
			if m.trouble.Load() != nil && m.phase.Load() == serving {
				m.probing.try(m.platform.Load().Store)
			}
			return m.ready()
		},
		Numbers: m.registry,
		Log:     m.log,
	})
}

// probe tries whether a store can be written again. What comes of it is told by the
// store like every other commit.
type probe struct {
	mu   sync.Mutex
	last time.Time
	end  chan struct{} // of the one under way
}

const (
	// probeEvery is how often it is tried at most, and probeWait how long somebody waits
	// for what comes of it.
	probeEvery = time.Second
	probeWait  = time.Second
)

// try waits for what comes of it, but not long.
func (p *probe) try(s Store) {
	end := p.begin(s)
	if end == nil {
		return
	}
	wait := time.NewTimer(probeWait)
	defer wait.Stop()
	select {
	case <-end:
	case <-wait.C:
	}
}

// begin returns what is closed at the end of the one under way, or nil if it is too
// early for another.
func (p *probe) begin(s Store) (end <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.end == nil && now.Sub(p.last) >= probeEvery {
		end := make(chan struct{})
		p.last, p.end = now, end
		go func() {
			_ = s.Probe() // the store tells of it
			p.mu.Lock()
			p.end = nil
			p.mu.Unlock()
			close(end)
		}()
	}
	return p.end
}

// backlog knows how much is outstanding. That takes counting, so it is counted up to a
// bound, and what was counted last holds for a time that grows with what it cost.
type backlog struct {
	mu    sync.Mutex
	n     int
	until time.Time
}

const (
	// countLimit is how far is counted. A million rows take a tenth of a second.
	countLimit = 1_000_000

	// Counting has a hundredth of one processor, and a result holds for a second at
	// least.
	countShare = 100
	countHolds = time.Second

	// countWait is how long somebody who asks waits for what has to be counted.
	countWait = 5 * time.Second
)

var errCutOff = errors.New("the database does not answer")

// count returns how much is outstanding. Who cannot reach the store does not try: those
// who restart what does not answer at once would restart it for nothing.
func (m *Monitor) count(ctx context.Context, s Store) (n int, more bool, err error) {
	if m.lost.Load() {
		return 0, false, errCutOff
	}
	ctx, cancel := context.WithTimeout(ctx, countWait)
	defer cancel()
	return m.waiting.count(ctx, s)
}

// count returns how many deliveries are outstanding, and whether there are more.
func (b *backlog) count(ctx context.Context, s Store) (n int, more bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := time.Now(); now.After(b.until) {
		if n, err = s.Outstanding(ctx, countLimit+1); err != nil {
			return 0, false, err
		}
		b.n = n
		done := time.Now()
		b.until = done.Add(max(countHolds, countShare*done.Sub(now)))
	}
	return min(b.n, countLimit), b.n > countLimit, nil
}

// standing shows how the platform stands as numbers.
type standing Monitor

func gauge(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_"+name, help, nil, nil)
}

var (
	descReady       = gauge("ready", "Whether requests are to be sent here: 0 while starting, stopping, or while the store cannot be written.")
	descWritable    = gauge("store_writable", "Whether the last transaction could be made durable, and the lease of this node renewed.")
	descLanes       = gauge("lanes", "Endpoints that have deliveries in hand or requests under way.")
	descSpared      = gauge("lanes_spared", "Endpoints that have not answered for a while and are sent nothing (circuit breaker open).")
	descDeepest     = gauge("lane_depth_max", "Deliveries that the endpoint with the most of them has in hand.")
	descInHand      = gauge("deliveries_in_hand", "Deliveries in memory, which this node has a lease on: waiting for their turn, under way, or being recorded.")
	descBytes       = gauge("deliveries_in_hand_bytes", "Bytes of the bodies of deliveries in memory.")
	descInFlight    = gauge("attempts_in_flight", "Requests under way.")
	descRecording   = gauge("attempts_recording", "Attempts that have ended and are not durable yet.")
	descStored      = gauge("subscriptions_behind", "Subscriptions that have deliveries due in the store which do not fit into memory.")
	descNodes       = gauge("nodes", "Nodes that share the work, as far as this one knows, which is one of them.")
	descOutstanding = gauge("deliveries_outstanding", "Deliveries that are outstanding, in memory or in the store, due now or later. Counted up to 1000000, which stands for that many or more, and not more often than costs a hundredth of a processor.")
)

var descs = []*prometheus.Desc{
	descReady, descWritable, descLanes, descSpared, descDeepest, descInHand, descBytes, descInFlight, descRecording, descStored, descNodes, descOutstanding,
}

// Describe names the numbers.
func (s *standing) Describe(to chan<- *prometheus.Desc) {
	for _, d := range descs {
		to <- d
	}
}

// Collect tells them, as far as there is something to look at.
func (s *standing) Collect(to chan<- prometheus.Metric) {
	m := (*Monitor)(s)
	set := func(d *prometheus.Desc, v float64) { to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	is := func(d *prometheus.Desc, yes bool) {
		if yes {
			set(d, 1)
		} else {
			set(d, 0)
		}
	}
	is(descReady, m.ready() == nil)
	p := m.platform.Load()
	is(descWritable, p != nil && m.unwritable() == nil)
	if p == nil {
		return
	}
	v := p.Sender.Standing()
	for d, n := range map[*prometheus.Desc]int{
		descLanes: v.Lanes, descSpared: v.Spared, descDeepest: v.Deepest, descInHand: v.InHand, descBytes: v.Bytes,
		descInFlight: v.InFlight, descRecording: v.Recording, descStored: v.Stored, descNodes: v.Nodes,
	} {
		set(d, float64(n))
	}
	if n, _, err := m.count(context.Background(), p.Store); err == nil {
		set(descOutstanding, float64(n))
	} else if !errors.Is(err, errCutOff) { // which is logged by those who find it out
		m.log.Warn("what is outstanding cannot be counted", "err", err)
	}
}
