package webhook_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/webhook"
)

// attempt is a request of a delivery, made so long after now.
func attempt(id, body string, off time.Duration) *http.Request {
	r := post("/", body)
	setSigned(r, stamp(off), body)
	r.Header.Set(webhook.HeaderRequestID, id)
	if id == "" {
		r.Header.Del(webhook.HeaderRequestID)
	}
	return r
}

// What was handled is not handed on again, by whatever it can be known as the same
// from what was signed; everything else is.
func TestDuplicates(t *testing.T) {
	const id, other = "0193a4f2_b7c0_0001_7f3e_9c2d11aa0b52", "0193a4f2_b7c0_0002_7f3e_9c2d11aa0b52"
	for name, c := range map[string]struct {
		second  *http.Request
		handled bool
		reused  bool
	}{
		"the same request":              {attempt(id, testBody, 0), false, false},
		"another attempt":               {attempt(id, testBody, time.Second), false, false},
		"a replay with a fresh id":      {attempt(other, testBody, 0), false, false},
		"a replay without an id":        {attempt("", testBody, 0), false, false},
		"the same id with another body": {attempt(id, `{"event":"e"}`, 0), true, true},
		"another delivery":              {attempt(other, `{"event":"e"}`, 0), true, false},
		// Two subscriptions get the same body of one event, and may get it in two seconds.
		"the same body, later": {attempt(other, testBody, time.Second), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			var events []*webhook.Event
			h := receiver(t, func(c *webhook.Config) { c.Duplicates = webhook.NewMemory(0) }).Handler(func(_ context.Context, e *webhook.Event) error {
				events = append(events, e)
				return nil
			})
			for _, r := range []*http.Request{attempt(id, testBody, 0), c.second} {
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, r); w.Code != 204 {
					t.Errorf("%d", w.Code)
				}
			}
			if handled := len(events) == 2; handled != c.handled {
				t.Fatalf("%d events were handled", len(events))
			}
			if last := events[len(events)-1]; c.handled && last.IDReused != c.reused || events[0].IDReused {
				t.Errorf("IDReused is %v, want %v", last.IDReused, c.reused)
			}
		})
	}
}

// An attempt that is known as a duplicate cannot be replayed with a fresh request id
// either.
func TestReplayOfADuplicate(t *testing.T) {
	runs := 0
	h := receiver(t, func(c *webhook.Config) { c.Duplicates = webhook.NewMemory(0) }).Handler(func(context.Context, *webhook.Event) error {
		runs++
		return nil
	})
	for _, r := range []*http.Request{attempt("id", testBody, 0), attempt("id", testBody, time.Second), attempt("fresh", testBody, time.Second)} {
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	if runs != 1 {
		t.Errorf("it was handled %d times", runs)
	}
}

// What was begun and failed is done again when the platform brings it again.
func TestFailuresAreNoDuplicates(t *testing.T) {
	fail := []func() error{
		func() error { return errors.New("the database is away") },
		func() error { panic("out of paper") },
		func() error { return webhook.Permanent(errors.New("no use for it")) },
		func() error { return nil },
	}
	runs := 0
	h := receiver(t, func(c *webhook.Config) { c.Duplicates = webhook.NewMemory(0) }).Handler(func(context.Context, *webhook.Event) error {
		runs++
		return fail[runs-1]()
	})
	for i, want := range []int{500, 500, 400, 204, 204, 204} {
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, attempt("id", testBody, time.Duration(i)*time.Second)); w.Code != want {
			t.Errorf("attempt %d: %d, want %d", i, w.Code, want)
		}
	}
	if runs != 4 {
		t.Errorf("it was handled %d times", runs)
	}
}

// Copies that come while the first is being handled wait for its end, and are only
// handled if it failed.
func TestCopiesAtTheSameTime(t *testing.T) {
	for name, first := range map[string]error{"the first succeeds": nil, "the first fails": errors.New("the database is away")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				runs, running := 0, 0
				h := receiver(t, func(c *webhook.Config) { c.Duplicates = webhook.NewMemory(0) }).Handler(func(context.Context, *webhook.Event) error {
					mu.Lock()
					runs++
					mine := runs
					if running++; running > 1 {
						t.Error("two copies are handled at the same time")
					}
					mu.Unlock()
					time.Sleep(time.Second)
					mu.Lock()
					running--
					mu.Unlock()
					if mine == 1 {
						return first
					}
					return nil
				})
				var wg sync.WaitGroup
				codes := map[int]int{}
				for range 5 {
					wg.Go(func() {
						w := httptest.NewRecorder()
						h.ServeHTTP(w, attempt("id", testBody, 0))
						mu.Lock()
						codes[w.Code]++
						mu.Unlock()
					})
				}
				wg.Wait()
				if first == nil && (runs != 1 || codes[204] != 5) || first != nil && (runs != 2 || codes[204] != 4 || codes[500] != 1) {
					t.Errorf("%d runs, answers %v", runs, codes)
				}
			})
		})
	}
}

// A copy that would have to wait too long is to be sent again.
func TestCopyOfSomethingSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard reports
		h := receiver(t, func(c *webhook.Config) { c.Duplicates, c.Error = webhook.NewMemory(0), heard.hear }).Handler(func(context.Context, *webhook.Event) error {
			time.Sleep(time.Minute) // whatever its context says
			return nil
		})
		go h.ServeHTTP(httptest.NewRecorder(), attempt("id", testBody, 0))
		synctest.Wait()
		w, start := httptest.NewRecorder(), time.Now()
		h.ServeHTTP(w, attempt("id", testBody, time.Second))
		if all := heard.all(); w.Code != 503 || time.Since(start) >= webhook.SendTimeout || len(all) != 1 || !errors.Is(all[0], webhook.ErrBusy) {
			t.Errorf("%d after %v, %v", w.Code, time.Since(start), all)
		}
		time.Sleep(time.Minute) // until the first has ended
	})
}

// brokenFilter fails as it is told.
type brokenFilter struct {
	seen, remember error
	answers        []bool
	remembered     []webhook.Key
	kept           time.Duration
}

func (f *brokenFilter) Seen(_ context.Context, keys []webhook.Key) ([]bool, error) {
	if f.answers != nil {
		return f.answers, nil
	}
	return make([]bool, len(keys)), f.seen
}

func (f *brokenFilter) Remember(_ context.Context, keys []webhook.Key, d time.Duration) error {
	f.remembered, f.kept = keys, d
	return f.remember
}

// A filter that fails loses nothing: what it cannot judge comes again, and what is
// done is done.
func TestFiltersThatFail(t *testing.T) {
	away := errors.New("the cache is away")
	for name, c := range map[string]struct {
		filter  brokenFilter
		status  int
		handled bool
		report  bool
	}{
		"when asked":       {brokenFilter{seen: away}, 500, false, true},
		"when told":        {brokenFilter{remember: away}, 204, true, true},
		"by saying little": {brokenFilter{answers: []bool{false}}, 500, false, true},
		"not at all":       {brokenFilter{}, 204, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			var heard reports
			handled := false
			h := receiver(t, func(cf *webhook.Config) { cf.Duplicates, cf.Error = &c.filter, heard.hear }).Handler(func(context.Context, *webhook.Event) error {
				handled = true
				return nil
			})
			w := httptest.NewRecorder()
			h.ServeHTTP(w, attempt("id", testBody, 0))
			if w.Code != c.status || handled != c.handled {
				t.Errorf("%d, handled %v", w.Code, handled)
			}
			if all := heard.all(); len(all) != 0 != c.report || c.report && !errors.Is(all[0], webhook.ErrFilter) {
				t.Errorf("%v", all)
			}
		})
	}
}

// Keys outlive the platform's last attempt, 85 minutes after the first, and any
// tolerance.
func TestHowLongIsRemembered(t *testing.T) {
	for tolerance, least := range map[time.Duration]time.Duration{0: 2 * time.Hour, 24 * time.Hour: 48 * time.Hour} {
		var f brokenFilter
		h := receiver(t, func(c *webhook.Config) { c.Duplicates, c.Tolerance = &f, tolerance }).Handler(none)
		h.ServeHTTP(httptest.NewRecorder(), attempt("id", testBody, 0))
		if f.kept < least || len(f.remembered) != 3 {
			t.Errorf("tolerance %v: %d keys for %v", tolerance, len(f.remembered), f.kept)
		}
		for i, k := range f.remembered {
			if slices.Index(f.remembered, k) != i || k == (webhook.Key{}) || len(k.String()) != 64 {
				t.Errorf("key %d is %v", i, k)
			}
		}
	}
}

// numbered returns the key of a number.
func numbered(n int) (k webhook.Key) {
	binary.BigEndian.PutUint64(k[:], uint64(n)+1)
	return k
}

// Memory remembers for as long as it is told and as much as it is made for, and is
// bounded.
func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := webhook.NewMemory(10) // thirty keys
		seen := func(n int) bool {
			got, err := m.Seen(t.Context(), []webhook.Key{numbered(n)})
			return err == nil && got[0]
		}
		for i := range 1000 {
			if err := m.Remember(t.Context(), []webhook.Key{numbered(i)}, time.Hour); err != nil {
				t.Fatal(err)
			}
			for j := range 30 {
				if i-j >= 0 && !seen(i-j) {
					t.Fatalf("%d was forgotten at %d", i-j, i)
				}
			}
			if seen(i - 60) {
				t.Fatalf("%d is still remembered at %d", i-60, i)
			}
		}
		time.Sleep(time.Hour - 1)
		if !seen(999) {
			t.Error("forgotten too early")
		}
		time.Sleep(time.Nanosecond)
		if seen(999) {
			t.Error("remembered too long")
		}
	})
}

// However the clock and the calls fall, nothing is forgotten before its time while
// there is room.
func TestMemoryOverTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := webhook.NewMemory(0)
		for i := range 200 {
			_ = m.Remember(t.Context(), []webhook.Key{numbered(i)}, 2*time.Hour)
			for j := max(0, i-24); j <= i; j++ {
				if got, _ := m.Seen(t.Context(), []webhook.Key{numbered(j)}); got[0] != (i-j < 24) {
					t.Fatalf("%d at %d: %v", j, i, got[0])
				}
			}
			time.Sleep(5 * time.Minute)
		}
	})
}

// A duplicate is known by what the next handler has answered.
func TestDuplicatesInMiddleware(t *testing.T) {
	answers := []int{503, 404, 302, 201}
	runs := 0
	h := receiver(t, func(c *webhook.Config) { c.Duplicates = webhook.NewMemory(0) }).Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(answers[runs])
		runs++
	}))
	for i, want := range []int{503, 404, 302, 201, 204} {
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, attempt("id", testBody, time.Duration(i)*time.Second)); w.Code != want {
			t.Errorf("attempt %d: %d, want %d", i, w.Code, want)
		}
	}
}

// Two hundred events with ten attempts each, all at once: each event is handled once.
func TestDuplicatesUnderLoad(t *testing.T) {
	var mu sync.Mutex
	count := map[string]int{}
	h := receiver(t, func(c *webhook.Config) { c.Duplicates = webhook.NewMemory(0) }).Handler(func(_ context.Context, e *webhook.Event) error {
		mu.Lock()
		defer mu.Unlock()
		count[e.Name]++
		return nil
	})
	var wg sync.WaitGroup
	for i := range 2000 {
		wg.Go(func() {
			name := "event." + strings.Repeat("x", i%200)
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, attempt(name, `{"event":"`+name+`"}`, time.Duration(i/200)*time.Second)); w.Code != 204 {
				t.Errorf("%d", w.Code)
			}
		})
	}
	wg.Wait()
	for name, n := range count {
		if n != 1 {
			t.Errorf("%s was handled %d times", name, n)
		}
	}
	if len(count) != 200 {
		t.Errorf("%d events", len(count))
	}
}
