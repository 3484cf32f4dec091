package rounds

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// world is a keeper of a directory, with a manager that does to the directory what the
// real one does, in memory.
type world struct {
	*Keeper
	t   testing.TB
	log bytes.Buffer

	mu    sync.Mutex
	asked map[string][]time.Duration // by subscription and endpoint, since start
	now   int                        // under way
	most  int
	start time.Time

	// ask, if set, does what asking takes, and says what keeps the round from being held.
	ask func(ctx context.Context, name string) error
	// down says which endpoints fail.
	down map[string]bool
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, asked: map[string][]time.Duration{}, start: time.Now(), down: map[string]bool{}}
	d := hook.NewDirectory()
	d.Apply(hook.Change{Accounts: []*hook.Account{{ID: "a"}}, Apps: []*hook.App{{ID: "app", Account: "a"}}})
	w.Keeper = New(d, w, Every, slog.New(slog.NewTextHandler(&w.log, nil)))
	return w
}

// run runs the keeper and returns a function that stops it and waits.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx) }()
	return func() { cancel(); <-done }
}

// add makes a subscription that was last checked then, with an endpoint that is valid.
func (w *world) add(n int, checked time.Time, edit ...func(*hook.Subscription)) *hook.Subscription {
	s := &hook.Subscription{
		ID: fmt.Sprint("subscription-", n), Key: hook.SubscriptionKey(n + 1), App: "app", Created: checked,
		Endpoint: hook.Endpoint{URL: "https://production.test/", State: hook.Valid, Checked: checked},
	}
	for _, f := range edit {
		f(s)
	}
	w.put(s)
	return s
}

// two gives a subscription another endpoint.
func two(s *hook.Subscription) {
	s.Development = hook.Endpoint{URL: "https://development.test/", State: hook.Valid, Checked: s.Checked}
}

// put changes a subscription, as the manager does.
func (w *world) put(s *hook.Subscription) {
	w.directory.Apply(hook.Change{Subscriptions: []*hook.Subscription{s}})
	w.Changed(s.Key)
}

// change changes an endpoint.
func (w *world) change(k hook.SubscriptionKey, in hook.AppState, f func(*hook.Endpoint)) {
	now, _ := w.directory.Subscription(k)
	next := *now
	f(next.At(in))
	w.put(&next)
}

func name(id string, in hook.AppState) string { return id + " " + string(in) }

// Revalidate asks an endpoint.
func (w *world) Revalidate(ctx context.Context, id string, in hook.AppState) error {
	w.mu.Lock()
	w.asked[name(id, in)] = append(w.asked[name(id, in)], time.Since(w.start))
	w.now++
	w.most = max(w.most, w.now)
	reason := ""
	if w.down[name(id, in)] {
		reason = "down"
	}
	w.mu.Unlock()
	var err error
	if w.ask != nil {
		err = w.ask(ctx, name(id, in))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now--; err != nil {
		return err
	}
	for _, s := range w.directory.Subscriptions("app") {
		if s.ID == id {
			w.change(s.Key, in, func(e *hook.Endpoint) { *e, _ = e.AfterRound(reason, time.Now()) })
			return nil
		}
	}
	return &hook.Error{Kind: hook.NotFound}
}

// times returns when an endpoint was asked.
func (w *world) times(s *hook.Subscription, in hook.AppState) []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.asked[name(s.ID, in)])
}

// own returns the first n instants of an endpoint after the start.
func (w *world) own(s *hook.Subscription, in hook.AppState, n int) (all []time.Duration) {
	at := s.Round(in, Every, w.start)
	for range n {
		at = at.Add(Every)
		all = append(all, at.Sub(w.start))
	}
	return all
}

// pass lets time pass, and then what goes on at that instant happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func bubble(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t)) })
}

// Each endpoint is asked once in every 72 hours, at an instant of its own that stays the
// same, however many there are and although all were made together. Those that get nothing
// are not asked.
func TestOnceInAPeriod(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var subs []*hook.Subscription
		for i := range 400 {
			subs = append(subs, w.add(i, w.start, two))
		}
		for i, state := range []hook.SubscriptionState{hook.Pending, hook.Disabled} {
			w.add(1000+i, w.start, func(s *hook.Subscription) { s.State = state })
		}
		stop := w.run()
		pass(4 * Every)
		stop()
		for _, s := range subs {
			for _, in := range hook.AppStates() {
				if got, want := w.times(s, in), w.own(s, in, 4); !slices.Equal(got, want) {
					t.Fatalf("%s %s is asked at %v, want %v", s.ID, in, got, want)
				}
			}
		}
		if len(w.asked) != 800 {
			t.Errorf("%d endpoints are asked, want 800", len(w.asked))
		}
	})
}

// A platform that was stopped for ten days asks each endpoint once when it is started, and
// then at its own instants.
func TestStoppedForTenDays(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.add(1, w.start.Add(-10*24*time.Hour), two)
		stop := w.run()
		pass(3 * Every)
		stop()
		for _, in := range hook.AppStates() {
			if got, want := w.times(s, in), append([]time.Duration{0}, w.own(s, in, 3)...); !slices.Equal(got, want) {
				t.Errorf("%s is asked at %v, want %v", in, got, want)
			}
		}
	})
}

// Whoever validates an endpoint between its rounds moves none of them, and neither does
// any other change to the subscription.
func TestChangesMoveNoRounds(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.add(1, w.start)
		stop := w.run()
		for range 100 {
			pass(Every / 33)
			w.change(s.Key, hook.Production, func(e *hook.Endpoint) { e.Checked = time.Now() })
			w.Changed(s.Key)
		}
		pass(Every - 1)
		stop()
		if got, want := w.times(s, hook.Production), w.own(s, hook.Production, 4); !slices.Equal(got, want) {
			t.Errorf("it is asked at %v, want %v", got, want)
		}
	})
}

// What is made, enabled, disabled or deleted while the keeper waits is asked, or not, from
// then on.
func TestChangesAreNoticed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		stop := w.run()
		pass(time.Hour) // with nothing to wait for
		made := w.add(1, time.Now())
		disabled, deleted, app := w.add(2, time.Now()), w.add(3, time.Now()), w.add(4, time.Now())
		pending := w.add(5, time.Now(), func(s *hook.Subscription) { s.State = hook.Pending })
		pass(time.Millisecond)
		w.change(disabled.Key, hook.Production, func(e *hook.Endpoint) { e.State = hook.Disabled })
		w.change(pending.Key, hook.Production, func(e *hook.Endpoint) { e.State = hook.Valid })
		w.directory.Apply(hook.Change{RemoveSubscriptions: []hook.SubscriptionKey{deleted.Key}})
		w.Changed(deleted.Key)
		pass(Every)
		for _, s := range []*hook.Subscription{made, app, pending} {
			if n := len(w.times(s, hook.Production)); n != 1 {
				t.Errorf("%s is asked %d times", s.ID, n)
			}
		}
		for _, s := range []*hook.Subscription{disabled, deleted} {
			if n := len(w.times(s, hook.Production)); n != 0 {
				t.Errorf("%s is asked %d times", s.ID, n)
			}
		}
		w.directory.Apply(hook.Change{Apps: []*hook.App{{ID: "app", Account: "a", Disabled: true}}})
		w.Changed(app.Key)
		pass(2 * Every)
		if n := len(w.times(app, hook.Production)); n != 1 {
			t.Errorf("although the app is off %s is asked %d times", app.ID, n)
		}
		// Switched on again, what was missed is made up for once.
		w.directory.Apply(hook.Change{Apps: []*hook.App{{ID: "app", Account: "a"}}})
		on := time.Since(w.start)
		w.Changed(app.Key)
		synctest.Wait()
		if got := w.times(app, hook.Production); len(got) != 2 || got[1] != on {
			t.Errorf("after the app is on again %s is asked at %v, want at %v", app.ID, got, on)
		}
		stop()
	})
}

// So many are asked at a time, however many are due and however slow they are.
func TestAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.ask = func(context.Context, string) error { time.Sleep(3 * time.Second); return nil }
		const n = 1000
		for i := range n {
			w.add(i, w.start.Add(-Every))
		}
		stop := w.run()
		pass(time.Duration((n+atOnce-1)/atOnce) * 3 * time.Second)
		if len(w.asked) != n || w.now != 0 || w.most != atOnce {
			t.Errorf("%d were asked, %d are under way, %d were at a time", len(w.asked), w.now, w.most)
		}
		stop()
	})
}

// Endpoints that hang hold nobody up as long as there is room: no round waits for the end
// of those that were begun with it.
func TestSlowOnesHoldNobodyUp(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.ask = func(ctx context.Context, name string) error {
			if strings.HasPrefix(name, "subscription-hangs") {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		for i := range atOnce - 1 {
			w.add(1000+i, w.start.Add(-Every), func(s *hook.Subscription) { s.ID = fmt.Sprint("subscription-hangs-", i) })
		}
		var subs []*hook.Subscription
		for i := range 100 {
			subs = append(subs, w.add(i, w.start))
		}
		stop := w.run()
		pass(2 * Every)
		stop()
		for _, s := range subs {
			if got, want := w.times(s, hook.Production), w.own(s, hook.Production, 2); !slices.Equal(got, want) {
				t.Errorf("%s is asked at %v, want %v", s.ID, got, want)
			}
		}
	})
}

// A round that cannot be held, which is not the endpoint's fault, is tried again after a
// minute, and then less and less often, until it can; and the log tells of it.
func TestTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		end := 5 * time.Hour
		w.ask = func(context.Context, string) error {
			if time.Since(w.start) < end {
				return &hook.Error{Kind: hook.Unavailable, Detail: "the disk is full"}
			}
			return nil
		}
		s := w.add(1, w.start.Add(-Every), two)
		stop := w.run()
		pass(end + time.Hour)
		stop()
		var want []time.Duration
		for _, minutes := range []int{0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303} {
			want = append(want, time.Duration(minutes)*time.Minute)
		}
		for _, in := range hook.AppStates() {
			if got := w.times(s, in); !slices.Equal(got, want) {
				t.Errorf("%s is asked at %v, want %v", in, got, want)
			}
		}
		// Both endpoints fail at the same instants, which is one line each.
		if n := strings.Count(w.log.String(), "the disk is full"); n != 10 || !strings.Contains(w.log.String(), "level=ERROR") || !strings.Contains(w.log.String(), "endpoints=2") {
			t.Errorf("the log has %d lines: %s", n, w.log.String())
		}
		// The next trouble begins with a minute again.
		w.asked, w.start = map[string][]time.Duration{}, time.Now()
		end = Every + 2*time.Hour
		s, _ = w.directory.Subscription(s.Key)
		stop = w.run()
		pass(2 * Every)
		stop()
		if got, first := w.times(s, hook.Production), w.own(s, hook.Production, 1)[0]; got[0] != first || got[1] != first+time.Minute || got[2] != first+3*time.Minute {
			t.Errorf("in the next trouble it is asked at %v", got)
		}
	})
}

// An endpoint that is changed while it is asked is asked again at once, if it is still due:
// what it has answered was about something else. One that is deleted, disabled, or has been
// validated meanwhile is not.
func TestChangedMeanwhile(t *testing.T) {
	for name, c := range map[string]struct {
		change func(w *world, s *hook.Subscription)
		err    error
		want   int
	}{
		"changed":               {func(*world, *hook.Subscription) {}, &hook.Error{Kind: hook.Conflict}, 2},
		"deleted":               {func(w *world, s *hook.Subscription) { w.remove(s.Key) }, &hook.Error{Kind: hook.NotFound}, 1},
		"disabled":              {func(w *world, s *hook.Subscription) { w.change(s.Key, hook.Production, off) }, &hook.Error{Kind: hook.Conflict}, 1},
		"disabled and reported": {func(w *world, s *hook.Subscription) { w.change(s.Key, hook.Production, off) }, nil, 1},
		"validated":             {func(w *world, s *hook.Subscription) { w.change(s.Key, hook.Production, checked) }, &hook.Error{Kind: hook.Conflict}, 1},
		"disabled and enabled": {func(w *world, s *hook.Subscription) {
			w.change(s.Key, hook.Production, off)
			w.change(s.Key, hook.Production, on)
		}, &hook.Error{Kind: hook.Conflict}, 2},
		"deleted and made again": {func(w *world, s *hook.Subscription) { w.remove(s.Key); w.put(s) }, &hook.Error{Kind: hook.Conflict}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				s := w.add(1, w.start.Add(-Every))
				var once sync.Once
				w.ask = func(context.Context, string) (err error) {
					time.Sleep(time.Second)
					once.Do(func() {
						c.change(w, s)
						err = c.err
					})
					return err
				}
				stop := w.run()
				pass(time.Minute)
				stop()
				if got := w.times(s, hook.Production); len(got) != c.want || c.want == 2 && got[1] != time.Second {
					t.Errorf("it is asked at %v, want %d times", got, c.want)
				}
				if w.most != 1 {
					t.Errorf("it is asked %d times at once", w.most)
				}
			})
		})
	}
}

func off(e *hook.Endpoint)     { *e = e.Set(hook.Disabled, "by a test", time.Now()) }
func on(e *hook.Endpoint)      { e.State = hook.Valid }
func checked(e *hook.Endpoint) { e.Checked = time.Now() }

func (w *world) remove(k hook.SubscriptionKey) {
	w.directory.Apply(hook.Change{RemoveSubscriptions: []hook.SubscriptionKey{k}})
	w.Changed(k)
}

// A change that comes while everybody is busy is not forgotten: what is made due then is
// asked as soon as there is room.
func TestChangedWhileBusy(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.ask = func(context.Context, string) error { time.Sleep(8 * time.Second); return nil }
		for i := range atOnce {
			w.add(i, w.start.Add(-Every))
		}
		stop := w.run()
		pass(time.Second)
		s := w.add(5000, w.start.Add(-Every))
		pass(time.Hour)
		stop()
		if got := w.times(s, hook.Production); len(got) != 1 || got[0] != 8*time.Second {
			t.Errorf("it is asked at %v", got)
		}
	})
}

// A keeper that is stopped begins nothing more, cuts off what is under way and waits for
// it; the next one asks those again, and no others.
func TestStoppedInTheMiddle(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		const n = 3 * atOnce
		var cutOff int
		w.ask = func(ctx context.Context, _ string) error {
			select {
			case <-time.After(3 * time.Second):
				return nil
			case <-ctx.Done():
				time.Sleep(time.Millisecond) // to end takes a moment
				w.mu.Lock()
				cutOff++
				w.mu.Unlock()
				return ctx.Err()
			}
		}
		for i := range n {
			w.add(i, w.start.Add(-Every))
		}
		stop := w.run()
		pass(4 * time.Second)
		stop()
		if w.now != 0 || cutOff != atOnce || len(w.asked) != 2*atOnce {
			t.Errorf("%d go on, %d were cut off, %d were begun", w.now, cutOff, len(w.asked))
		}
		if w.log.Len() > 0 {
			t.Errorf("the log has %s", w.log.String())
		}
		w.Keeper = New(w.directory, w, Every, slog.Default())
		stop = w.run()
		pass(time.Minute)
		stop()
		asked := 0
		for _, at := range w.asked {
			asked += len(at)
		}
		if len(w.asked) != n || asked != n+atOnce {
			t.Errorf("%d endpoints were asked %d times, want %d and %d", len(w.asked), asked, n, n+atOnce)
		}
	})
}

// What the rounds of 100,000 subscriptions cost beside the challenges. In 72 hours there is
// one in 2.6 s.
func BenchmarkRound(b *testing.B) {
	const n = 100_000
	w := newWorld(b)
	var c hook.Change
	for i := range n {
		if i%20 == 0 {
			c.Apps = append(c.Apps, &hook.App{ID: fmt.Sprint("app-", i/20), Account: "a"})
		}
		c.Subscriptions = append(c.Subscriptions, &hook.Subscription{
			ID: fmt.Sprint("subscription-", i), Key: hook.SubscriptionKey(i + 1), App: fmt.Sprint("app-", i/20), Created: w.start,
			Endpoint: hook.Endpoint{URL: "https://production.test/", State: hook.Valid, Checked: w.start},
		})
	}
	w.directory.Apply(c)
	for _, s := range c.Subscriptions {
		w.Changed(s.Key)
	}
	now := w.start
	w.manager = managerFunc(func(id string, in hook.AppState) error {
		var i int
		if _, err := fmt.Sscanf(id, "subscription-%d", &i); err != nil {
			return err
		}
		w.change(hook.SubscriptionKey(i+1), in, func(e *hook.Endpoint) { e.Checked = now })
		return nil
	})
	for b.Loop() {
		r, at := w.take(now)
		if r == nil {
			now = at
			r, _ = w.take(now)
		}
		w.hold(b.Context(), r)
	}
}

type managerFunc func(id string, in hook.AppState) error

// Revalidate does what the function does.
func (f managerFunc) Revalidate(_ context.Context, id string, in hook.AppState) error {
	return f(id, in)
}

// A round that another node holds is left to it, and looked at again in case that node
// does not live to hold it.
func TestRoundsOfOtherNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.add(1, time.Now().Add(-2*Every)) // it is due
		var lives atomic.Bool
		lives.Store(true)
		w.Claim = func(k hook.SubscriptionKey, in hook.AppState, checked time.Time) (bool, error) {
			if k != s.Key || in != hook.Production || !checked.Equal(s.Checked) {
				t.Errorf("claimed %d %s of %v", k, in, checked)
			}
			return !lives.Load(), nil
		}
		stop := w.run()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(w.asked); n != 0 {
			t.Errorf("%d were asked", n)
		}
		lives.Store(false)
		time.Sleep(elsewhere)
		synctest.Wait()
		if n := len(w.asked[name(s.ID, hook.Production)]); n != 1 {
			t.Errorf("asked %d times when the other node is gone", n)
		}
		stop()
	})
}
