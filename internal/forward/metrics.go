package forward

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/switchhook/switchhook/internal/inbox"
)

// Metrics are the numbers of all forwarders of a process. A nil one counts nothing.
type Metrics struct {
	events   *prometheus.CounterVec
	position *prometheus.GaugeVec
	tries    *prometheus.GaugeVec
	since    *prometheus.GaugeVec
}

// NewMetrics returns metrics that the registry shows.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "switchhook_forward_events_total", Help: "Events that a forwarder's target has taken (ok) or not (failed), and that were given up (dead).",
		}, []string{"forwarder", "result"}),
		position: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "switchhook_forward_position", Help: "Number of the last event that a forwarder is done with; compare switchhook_inbox_last_event.",
		}, []string{"forwarder"}),
		tries: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "switchhook_forward_failed_tries", Help: "Attempts that failed with the event that a forwarder has before it.",
		}, []string{"forwarder"}),
		since: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "switchhook_forward_failing_since_seconds", Help: "Unix time since when a forwarder fails; 0 if it does not.",
		}, []string{"forwarder"}),
	}
	r.MustRegister(m.events, m.position, m.tries, m.since)
	return m
}

func (m *Metrics) count(forwarder, result string, n int) {
	if m != nil {
		m.events.WithLabelValues(forwarder, result).Add(float64(n))
	}
}

func (m *Metrics) taken(forwarder string, n int) { m.count(forwarder, "ok", n) }
func (m *Metrics) failed(forwarder string)       { m.count(forwarder, "failed", 1) }
func (m *Metrics) buried(forwarder string)       { m.count(forwarder, "dead", 1) }

func (m *Metrics) at(p inbox.Progress) {
	if m == nil {
		return
	}
	m.position.WithLabelValues(p.Forwarder).Set(float64(p.Position))
	m.tries.WithLabelValues(p.Forwarder).Set(float64(p.Tries))
	since := 0.0
	if !p.Since.IsZero() {
		since = float64(p.Since.Unix())
	}
	m.since.WithLabelValues(p.Forwarder).Set(since)
}

// Forget takes a forwarder that is no more out of the numbers.
func (m *Metrics) Forget(forwarder string) {
	if m == nil {
		return
	}
	labels := prometheus.Labels{"forwarder": forwarder}
	for _, v := range []interface {
		DeletePartialMatch(prometheus.Labels) int
	}{m.events, m.position, m.tries, m.since} {
		v.DeletePartialMatch(labels)
	}
}
