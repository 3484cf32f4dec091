package gateway

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/switchhook/switchhook/internal/inbox"
)

type metrics struct {
	requests  *prometheus.CounterVec
	took      *prometheus.HistogramVec
	unknown   prometheus.Counter
	conflicts *prometheus.CounterVec
	suspects  *prometheus.CounterVec
	closed    prometheus.Counter
	open      prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "switchhook_receive_requests_total", Help: "Requests by what became of them: stored, duplicate, challenge, quarantined, refused (4xx), unavailable (503).",
		}, []string{"source", "outcome"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "switchhook_receive_seconds", Help: "Time from the end of a request's headers to its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 3},
		}, []string{"source"}),
		unknown: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "switchhook_receive_unknown_path_total", Help: "Requests to paths of no source.",
		}),
		conflicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "switchhook_receive_request_id_reused_total", Help: "Events whose request id came before with another body.",
		}, []string{"source"}),
		suspects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "switchhook_quarantine_requests_total", Help: "Requests that were not accepted: kept in the quarantine, known because they came before, or not kept because it is full.",
		}, []string{"source", "result"}),
		closed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "switchhook_receive_connections_closed_total", Help: "Connections that were closed to make room for others, or were one too many of their address.",
		}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{Name: "switchhook_receive_connections", Help: "Open connections."}),
	}
	if r != nil {
		r.MustRegister(m.requests, m.took, m.unknown, m.conflicts, m.suspects, m.closed, m.open)
	}
	return m
}

func (m *metrics) answered(source, outcome string, took time.Duration) {
	m.requests.WithLabelValues(source, outcome).Inc()
	m.took.WithLabelValues(source).Observe(took.Seconds())
}

func (m *metrics) detained(source string, d inbox.Detained) {
	result := map[inbox.Detained]string{inbox.Kept: "kept", inbox.Known: "known", inbox.Full: "full"}[d]
	m.suspects.WithLabelValues(source, result).Inc()
}
