package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/switchhook/switchhook/internal/admin"
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
	reasons := map[string]string{}
	if len(h.Quarantine) > 0 {
		if reasons, err = g.inbox.LastReasons(ctx); err != nil {
			return h, err
		}
	}
	for _, source := range slices.Sorted(maps.Keys(h.Quarantine)) {
		alarm("%s in the quarantine, the last for this: %s", plural(int64(h.Quarantine[source]), "request to source "+source+" is", "requests to source "+source+" are"), strings.TrimPrefix(reasons[source], "webhook: "))
	}
	if size.DeadLetters > 0 {
		alarm("%s", plural(size.DeadLetters, "event is a dead letter", "events are dead letters"))
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

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Admin returns the pages for those who run the gateway; see package admin.
func (g *Gateway) Admin(numbers *prometheus.Registry, forwarders func() []inbox.Progress) http.Handler {
	numbers.MustRegister(&sizes{g})
	return admin.Pages(admin.Config{
		Health: func(ctx context.Context) (any, error) { return g.Health(ctx, forwarders()) },
		Ready: func(context.Context) error {
			switch {
			case g.stopping.Load():
				return errors.New("it is stopping")
			case !g.inbox.Writable():
				return errors.New("the inbox cannot be written")
			}
			return nil
		},
		Numbers: numbers,
		Log:     g.log,
	})
}

// sizes tells what is in the inbox when somebody wants to know.
type sizes struct{ g *Gateway }

var (
	descLast       = prometheus.NewDesc("switchhook_inbox_last_event", "Number of the last event in the inbox.", nil, nil)
	descDead       = prometheus.NewDesc("switchhook_inbox_dead_letters", "Events that a forwarder has given up.", nil, nil)
	descWritable   = prometheus.NewDesc("switchhook_inbox_writable", "Whether the inbox can be written.", nil, nil)
	descQuarantine = prometheus.NewDesc("switchhook_quarantine_requests", "Requests in the quarantine. Anything but 0 wants somebody to look.", []string{"source"}, nil)
)

// Describe names the numbers.
func (s *sizes) Describe(to chan<- *prometheus.Desc) {
	to <- descLast
	to <- descDead
	to <- descWritable
	to <- descQuarantine
}

// Collect tells them. What cannot be read is left out.
func (s *sizes) Collect(to chan<- prometheus.Metric) {
	can := 0.0
	if s.g.inbox.Writable() {
		can = 1
	}
	to <- prometheus.MustNewConstMetric(descWritable, prometheus.GaugeValue, can)
	size, err := s.g.inbox.Size(context.Background())
	if err != nil {
		s.g.log.Error("the size of the inbox cannot be read", "err", err)
		return
	}
	bySource, err := s.g.Quarantined(context.Background())
	if err != nil {
		s.g.log.Error("the quarantine cannot be looked at", "err", err)
	}
	for source, n := range bySource {
		to <- prometheus.MustNewConstMetric(descQuarantine, prometheus.GaugeValue, float64(n), source)
	}
	to <- prometheus.MustNewConstMetric(descLast, prometheus.GaugeValue, float64(size.Last))
	to <- prometheus.MustNewConstMetric(descDead, prometheus.GaugeValue, float64(size.DeadLetters))
}
