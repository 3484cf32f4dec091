package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/switchhook/switchhook/internal/inbox"
)

// Health is how a gateway is doing.
type Health struct {
	// Status is ok, or alarm if something wants somebody to look.
	Status string `json:"status"`
	// Ready says that requests are being accepted.
	Ready      bool              `json:"ready"`
	Alarms     []string          `json:"alarms"`
	Inbox      InboxHealth       `json:"inbox"`
	Quarantine map[string]int    `json:"quarantine"` // requests by source
	Forwarders []ForwarderHealth `json:"forwarders"`
}

// InboxHealth is how the inbox is doing.
type InboxHealth struct {
	Writable    bool  `json:"writable"`
	First       int64 `json:"first_event"`
	Last        int64 `json:"last_event"`
	DeadLetters int64 `json:"dead_letters"`
}

// ForwarderHealth is how a forwarder is doing.
type ForwarderHealth struct {
	Name         string `json:"name"`
	Position     int64  `json:"position"`
	Behind       int64  `json:"behind"` // events, at most
	Tries        int    `json:"failed_tries,omitempty"`
	FailingSince string `json:"failing_since,omitempty"`
	Reason       string `json:"reason,omitempty"`
}

// failingAlarm is how long a forwarder may fail before that is an alarm.
const failingAlarm = 5 * time.Minute

// Health looks how the gateway is doing, with the forwarders that there are.
func (g *Gateway) Health(ctx context.Context, forwarders []inbox.Progress) (h Health, err error) {
	h = Health{Status: "ok", Alarms: []string{}, Forwarders: []ForwarderHealth{}}
	size, err := g.inbox.Size(ctx)
	if err != nil {
		return h, err
	}
	if h.Quarantine, err = g.Quarantined(ctx); err != nil {
		return h, err
	}
	h.Inbox = InboxHealth{Writable: g.inbox.Writable(), First: size.First, Last: size.Last, DeadLetters: size.DeadLetters}
	h.Ready = h.Inbox.Writable && !g.stopping.Load()
	alarm := func(format string, args ...any) {
		h.Status, h.Alarms = "alarm", append(h.Alarms, fmt.Sprintf(format, args...))
	}
	if !h.Inbox.Writable {
		alarm("the inbox cannot be written; senders are asked to try again")
	}
	for _, source := range slices.Sorted(maps.Keys(h.Quarantine)) {
		alarm("%d requests to source %s are in the quarantine: is its secret right?", h.Quarantine[source], source)
	}
	if size.DeadLetters > 0 {
		alarm("%d events are dead letters", size.DeadLetters)
	}
	for _, p := range forwarders {
		f := ForwarderHealth{Name: p.Forwarder, Position: p.Position, Behind: max(0, size.Last-p.Position), Tries: p.Tries, Reason: p.Reason}
		if !p.Since.IsZero() {
			f.FailingSince = p.Since.UTC().Format(time.RFC3339)
			if time.Since(p.Since) >= failingAlarm {
				alarm("forwarder %s has been failing since %s: %s", p.Forwarder, f.FailingSince, p.Reason)
			}
		}
		h.Forwarders = append(h.Forwarders, f)
	}
	return h, nil
}

// Admin returns the pages for those who run the gateway: /healthz tells how it is
// doing, /readyz whether requests are to be sent here, /metrics numbers. It should not
// be open to the public.
func (g *Gateway) Admin(numbers *prometheus.Registry, forwarders func() []inbox.Progress) http.Handler {
	mux := http.NewServeMux()
	last := prometheus.NewGauge(prometheus.GaugeOpts{Name: "switchhook_inbox_last_event", Help: "Number of the last event in the inbox."})
	dead := prometheus.NewGauge(prometheus.GaugeOpts{Name: "switchhook_inbox_dead_letters", Help: "Events that a forwarder has given up."})
	writable := prometheus.NewGauge(prometheus.GaugeOpts{Name: "switchhook_inbox_writable", Help: "Whether the inbox can be written."})
	numbers.MustRegister(last, dead, writable)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		h, err := g.Health(r.Context(), forwarders())
		if err != nil {
			g.log.Error("health cannot be told", "err", err)
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		_ = out.Encode(h) // who does not read it asks again
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if g.stopping.Load() || !g.inbox.Writable() {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "not ready")
			return
		}
		fmt.Fprintln(w, "ready")
	})
	show := promhttp.HandlerFor(numbers, promhttp.HandlerOpts{})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if h, err := g.Health(r.Context(), nil); err == nil {
			last.Set(float64(h.Inbox.Last))
			dead.Set(float64(h.Inbox.DeadLetters))
			writable.Set(0)
			if h.Inbox.Writable {
				writable.Set(1)
			}
		}
		show.ServeHTTP(w, r)
	})
	return mux
}
