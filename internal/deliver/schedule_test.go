package deliver_test

import (
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/webhook"
)

// An endpoint that keeps failing is tried at 0, 5, 25 and 85 minutes, and then no
// more; each time with the same request id and body and a new signature.
func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlatform(t, deliver.Config{}, outbound.Config{})
		start := time.Now()
		var tried []time.Duration
		ids, bodies, signatures := map[string]bool{}, map[string]bool{}, map[string]bool{}
		p.net.Handle(t, "endpoint.test", verified(t, func(w http.ResponseWriter, r *http.Request, e *webhook.Event) {
			tried = append(tried, time.Since(start))
			ids[e.RequestID], bodies[string(e.Body)], signatures[r.Header.Get(webhook.HeaderSignature)] = true, true, true
			w.WriteHeader(http.StatusInternalServerError)
		}))
		sub := p.subscribe("http://endpoint.test/hook")
		defer p.run()()
		id := p.publish(1)

		time.Sleep(24 * time.Hour)
		synctest.Wait()
		want := []time.Duration{0, 5 * time.Minute, 25 * time.Minute, 85 * time.Minute}
		if !slices.Equal(tried, want) {
			t.Errorf("tried at %v, want %v", tried, want)
		}
		if len(ids) != 1 || len(bodies) != 1 || len(signatures) != 4 {
			t.Errorf("%d request ids, %d bodies, %d signatures; want 1, 1, 4", len(ids), len(bodies), len(signatures))
		}
		if got := p.state(id, sub); got != hook.Exhausted {
			t.Errorf("delivery is %v, want exhausted", got)
		}
		for i, a := range p.logOf(id, sub) {
			if a.Retry != i || a.Outcome != 500 || !a.Started.Equal(start.Add(want[i])) {
				t.Errorf("log row %d: retry %d, outcome %v, at %v", i, a.Retry, a.Outcome, a.Started.Sub(start))
			}
		}
	})
}

// An answer that ends within three seconds counts; one nanosecond later it is no
// answer, and five minutes after that the next attempt follows.
func TestThreeSeconds(t *testing.T) {
	for name, c := range map[string]struct {
		takes time.Duration
		want  hook.Outcome
	}{
		"just in time": {3*time.Second - time.Nanosecond, http.StatusNoContent},
		"too late":     {3*time.Second + time.Nanosecond, hook.ReadTimeOut},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, deliver.Config{}, func(t *testing.T, p *platform) {
				e := p.endpoint("endpoint.test", http.StatusNoContent, c.takes)
				s := p.subscribe("http://endpoint.test/")
				id := p.publish(1)
				pass(4 * time.Second)
				log := p.logOf(id, s)
				if len(log) != 1 || log[0].Outcome != c.want || log[0].Timing.Done != min(c.takes, 3*time.Second).Truncate(time.Microsecond) {
					t.Fatalf("log %+v", log)
				}
				pass(24 * time.Hour)
				if c.want > 0 && len(e.at) != 1 || c.want < 0 && e.at[1] != 3*time.Second+5*time.Minute {
					t.Errorf("attempts at %v", e.at)
				}
			})
		})
	}
}
