package monitor_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/monitor"
	"github.com/switchhook/switchhook/internal/tracing"
)

func newMonitor(t testing.TB) *monitor.Monitor {
	return monitor.New("1.2.3", slog.New(slog.NewTextHandler(t.Output(), nil)))
}

// store is a store of which the test says what it does.
type store struct {
	probe   func() error
	counted int
	took    time.Duration
	n       int
}

func (s *store) Probe() error { return s.probe() }

func (s *store) Outstanding(_ context.Context, limit int) (int, error) {
	s.counted++
	time.Sleep(s.took)
	return min(s.n, limit), nil
}

type sender deliver.Standing

func (s sender) Standing() deliver.Standing { return deliver.Standing(s) }

func get(m *monitor.Monitor, path string) (int, string) {
	rec := httptest.NewRecorder()
	m.Pages().ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
	return rec.Code, rec.Body.String()
}

var event = &hook.Event{Type: "some.event", TS: time.UnixMilli(0)}

// Whatever endpoints answer, there are not more label values than HTTP and the contract
// know outcomes.
func TestOutcomesAreBounded(t *testing.T) {
	m := newMonitor(t)
	for o := math.MinInt16; o <= math.MaxInt16; o++ {
		m.Attempted(&hook.Attempt{Outcome: hook.Outcome(o), State: hook.Failed}, event)
	}
	n, err := testutil.GatherAndCount(m.Registry(), "switchhook_attempts_total")
	if err != nil || n != 500+16+1 {
		t.Errorf("%d outcomes, %v", n, err)
	}
	_, text := get(m, "/metrics")
	for _, line := range []string{
		`switchhook_attempts_total{attempt="first",outcome="599"} 1`, `switchhook_attempts_total{attempt="first",outcome="100"} 1`,
		`switchhook_attempts_total{attempt="first",outcome="TooManyRequests"} 1`, `switchhook_attempts_total{attempt="first",outcome="other"} 65020`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("there is no line %s", line)
		}
	}
}

// Counting must not cost what it counts: it allocates nothing.
func TestCountingAllocatesNothing(t *testing.T) {
	m := newMonitor(t)
	a := &hook.Attempt{Outcome: 200, State: hook.Delivered, Delivery: hook.DeliveryID{Event: hook.EventID(hook.FirstID(time.Now()))}, Started: time.Now()}
	r := &intake.Receipt{Deliveries: 3}
	n := testing.AllocsPerRun(100, func() {
		m.Attempted(a, event)
		m.Published(event, r)
		m.Committed(100, time.Millisecond, nil)
	})
	if n != 0 {
		t.Errorf("it allocates %v times", n)
	}
}

func BenchmarkAttempted(b *testing.B) {
	m := newMonitor(b)
	a := &hook.Attempt{Outcome: 200, State: hook.Delivered, Delivery: hook.DeliveryID{Event: hook.EventID(hook.FirstID(time.Now()))}, Started: time.Now()}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.Attempted(a, event)
		}
	})
}

// An answer of a producer whose clock is ahead took no time, rather than less.
func TestProducerAhead(t *testing.T) {
	m := newMonitor(t)
	now := time.Now()
	m.Attempted(&hook.Attempt{Outcome: 200, State: hook.Delivered, Delivery: hook.DeliveryID{Event: hook.EventID(hook.FirstID(now))}, Due: now, Started: now}, &hook.Event{TS: now.Add(time.Hour)})
	_, text := get(m, "/metrics")
	if line := `switchhook_delivery_from_event_seconds_sum{attempt="first"} 0`; !strings.Contains(text, line+"\n") {
		t.Errorf("there is no line %s in\n%s", line, text)
	}
}

// Names and help texts are as Prometheus would have them.
func TestLint(t *testing.T) {
	m := newMonitor(t)
	m.Serving(monitor.Platform{Sender: sender{}, Store: &store{}})
	m.Published(event, &intake.Receipt{})
	m.Attempted(&hook.Attempt{Outcome: 200}, event)
	problems, err := testutil.GatherAndLint(m.Registry())
	if err != nil {
		t.Error(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// A platform is ready while it serves and its store takes writes. While it is not, it
// is tried each second at most whether the store does again, and nobody waits long for
// that.
func TestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMonitor(t)
		full := errors.New("database or disk is full")
		var probes, hang atomic.Int64
		var works atomic.Bool
		s := &store{probe: func() error {
			probes.Add(1)
			time.Sleep(time.Duration(hang.Load()))
			if works.Load() {
				m.Committed(1, 0, nil)
				return nil
			}
			m.Committed(1, 0, full)
			return full
		}}
		ready := func(want string) {
			t.Helper()
			status, text := get(m, "/readyz")
			if text != want || (status == 200) != (want == "ready\n") {
				t.Errorf("%d %s", status, text)
			}
		}
		ready("not ready: it is starting\n")
		m.Committed(1, 0, full) // such as happens while it starts
		ready("not ready: it is starting\n")
		m.Committed(1, 0, nil)
		m.Serving(monitor.Platform{Sender: sender{}, Store: s})
		ready("ready\n")
		if n := probes.Load(); n != 0 {
			t.Errorf("%d probes while nothing was wrong", n)
		}
		m.Committed(1, 0, full)
		const bad = "not ready: the store cannot be written since 2000-01-01T00:00:00Z: database or disk is full\n"
		for range 3 {
			ready(bad)
		}
		if n := probes.Load(); n != 1 {
			t.Errorf("%d probes at once", n)
		}
		time.Sleep(time.Second)
		hang.Store(int64(10 * time.Second))
		before := time.Now()
		ready(bad)
		ready(bad)
		if took := time.Since(before); took > 2*time.Second {
			t.Errorf("waited %v for a store that hangs", took)
		}
		works.Store(true)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		ready("ready\n")
		if n := probes.Load(); n != 2 {
			t.Errorf("%d probes", n)
		}
		m.Stopping()
		ready("not ready: it is stopping\n")
	})
}

// A node that cannot renew its lease for longer than a moment is not ready, although
// nothing is committed that could fail. It is ready again with the first renewal; if
// commits failed as well, with the first that goes through, which nobody has to ask for.
func TestNotReadyWithoutLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMonitor(t)
		away := errors.New("connection refused")
		s := &store{probe: func() error { m.Committed(1, 0, away); return away }}
		m.Serving(monitor.Platform{Sender: sender{}, Store: s})
		renew := func(bad, ready bool) {
			t.Helper()
			if bad {
				m.Renewed(away)
			} else {
				m.Renewed(nil)
			}
			synctest.Wait()
			_, text := get(m, "/metrics")
			for _, name := range []string{"switchhook_ready", "switchhook_store_writable"} {
				if strings.Contains(text, name+" 1\n") != ready {
					t.Errorf("after %v: %s is not as it should be: ready %v", time.Since(time.Unix(946684800, 0)), name, ready)
				}
			}
			time.Sleep(1300 * time.Millisecond)
		}
		renew(false, true)
		renew(true, true) // one may be lost
		renew(false, true)
		renew(true, true)
		renew(true, false)
		renew(true, false)
		if status, text := get(m, "/readyz"); status != 503 || text != "not ready: the store cannot be written since 2000-01-01T00:00:03Z: connection refused\n" {
			t.Errorf("%d %s", status, text)
		}
		if _, text := get(m, "/metrics"); !strings.Contains(text, "switchhook_store_commit_failures_total 4\n") {
			t.Error("renewals that fail are not counted")
		}
		renew(false, true)
		m.Committed(1, 0, away)
		renew(true, false)
		renew(false, false) // what can be renewed does not say that commits go through
		away = nil
		renew(false, true)
	})
}

// Counting what is outstanding takes a hundredth of the time at most, and ends at a
// million.
func TestBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMonitor(t)
		s := &store{n: 7}
		m.Serving(monitor.Platform{Sender: sender{InHand: 3, Deepest: 2, Lanes: 2, Spared: 1}, Store: s})
		health := func() (h monitor.Health) {
			_, text := get(m, "/healthz")
			if err := json.Unmarshal([]byte(text), &h); err != nil {
				t.Error(err)
			}
			return h
		}
		want := monitor.DeliveryHealth{Endpoints: 2, Spared: 1, InHand: 3, Deepest: 2, Outstanding: 7}
		if h := health(); *h.Delivery != want {
			t.Errorf("%+v", h.Delivery)
		}
		time.Sleep(2 * time.Second)
		s.n, s.took, s.counted = 5_000_000, 200*time.Millisecond, 0
		for range 19 {
			if h := health(); h.Delivery.Outstanding != 1_000_000 || !h.Delivery.OutstandingMore {
				t.Errorf("%+v", h.Delivery)
			}
			time.Sleep(time.Second)
		}
		if s.counted != 1 {
			t.Errorf("counted %d times within 19 seconds, and it takes 0.2", s.counted)
		}
		time.Sleep(2 * time.Second)
		health()
		if s.counted != 2 {
			t.Error("it is not counted any more")
		}
	})
}

// What wants somebody to look is an alarm.
func TestAlarms(t *testing.T) {
	m := newMonitor(t)
	m.Serving(monitor.Platform{Sender: sender{Unrecorded: 3}, Store: &store{}})
	h := m.Health(t.Context())
	if h.Status != "alarm" || len(h.Alarms) != 1 || !strings.HasPrefix(h.Alarms[0], "3 attempts were made and could not be recorded") || h.Version != "1.2.3" {
		t.Errorf("%+v", h)
	}
}

// Every number is explained in the documentation, and nothing is that there is not.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	m := newMonitor(t)
	m.Serving(monitor.Platform{Sender: sender{}, Store: &store{}})
	m.Published(event, &intake.Receipt{})
	m.Attempted(&hook.Attempt{Outcome: 200}, event)
	if _, err := tracing.Open(t.Context(), tracing.Config{Endpoint: "http://127.0.0.1:4318", Metrics: m.Registry()}); err != nil {
		t.Fatal(err)
	}
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, f := range families {
		if name := f.GetName(); strings.HasPrefix(name, "switchhook_") {
			there[name] = true
			if !strings.Contains(string(text), "`"+name) {
				t.Errorf("%s is not explained", name)
			}
		}
	}
	for _, name := range regexp.MustCompile(`switchhook_[a-z_]+`).FindAllString(string(text), -1) {
		if !there[strings.TrimSuffix(name, "_bucket")] {
			t.Errorf("%s is explained, and there is no such number", name)
		}
	}
}
