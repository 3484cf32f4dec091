package deliver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/webhook"
)

// arrivals notes when requests come in, and answers them.
type arrivals struct {
	mu    sync.Mutex
	start time.Time
	at    []time.Duration
	ids   []string
	open  int // being answered
	most  int
	total int

	status int
	takes  time.Duration
}

func (a *arrivals) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	a.mu.Lock()
	a.at = append(a.at, time.Since(a.start))
	a.ids = append(a.ids, r.Header.Get(webhook.HeaderRequestID))
	a.open++
	a.most = max(a.most, a.open)
	status, takes := a.status, a.takes
	a.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-r.Context().Done():
	}
	a.mu.Lock()
	a.open--
	a.total++
	a.mu.Unlock()
	w.WriteHeader(status)
}

func (a *arrivals) set(status int, takes time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status, a.takes = status, takes
}

func (a *arrivals) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.most = 0
}

func (a *arrivals) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.at)
}

func (p *platform) endpoint(host string, status int, takes time.Duration) *arrivals {
	p.t.Helper()
	a := &arrivals{start: time.Now(), status: status, takes: takes}
	p.net.Handle(p.t, host, a)
	return a
}

// outcomes counts how the attempts for a subscription ended.
func (p *platform) outcomes(s *hook.Subscription) map[hook.Outcome]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := map[hook.Outcome]int{}
	for _, a := range p.attempts {
		if a.Delivery.Subscription == s.Key && a.Kind == hook.KindAttempt {
			n[a.Outcome]++
		}
	}
	return n
}

// pass lets time pass, and then what goes on at that instant happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// bubble runs a test in fake time on a platform that runs from the start.
func bubble(t *testing.T, c deliver.Config, f func(t *testing.T, p *platform)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newPlatform(t, c, outbound.Config{})
		stop := p.run()
		f(t, p)
		stop()
	})
}

// An endpoint never gets more requests at a time than it may, and as many as that.
func TestInFlight(t *testing.T) {
	bubble(t, deliver.Config{InFlight: 5}, func(t *testing.T, p *platform) {
		e := p.endpoint("a.test", 204, time.Second)
		p.subscribe("http://a.test/")
		few := p.endpoint("b.test", 204, time.Second)
		p.subscribe("http://b.test/", func(s *hook.Subscription) { s.Limits.InFlight = 2 })
		p.publish(20)
		pass(time.Minute)
		if e.most != 5 || e.total != 20 {
			t.Errorf("%d at a time, %d in all", e.most, e.total)
		}
		if few.most != 2 || few.total != 20 {
			t.Errorf("where two are allowed: %d at a time, %d in all", few.most, few.total)
		}
	})
}

// Subscriptions with the same URL share what one endpoint may get.
func TestInFlightIsPerEndpoint(t *testing.T) {
	bubble(t, deliver.Config{InFlight: 4}, func(t *testing.T, p *platform) {
		e := p.endpoint("a.test", 204, time.Second)
		for range 3 {
			p.subscribe("http://a.test/same")
		}
		p.publish(10)
		pass(time.Minute)
		if e.most != 4 || e.total != 30 {
			t.Errorf("%d at a time, %d in all", e.most, e.total)
		}
	})
}

// Deliveries to one endpoint start in the order in which their events were
// published, also when most of them had to wait in the store.
func TestOrder(t *testing.T) {
	bubble(t, deliver.Config{InFlight: 1}, func(t *testing.T, p *platform) {
		e := p.endpoint("a.test", 204, time.Millisecond)
		p.subscribe("http://a.test/")
		for range 30 {
			p.publish(100)
		}
		pass(time.Minute)
		if e.total != 3000 || !slices.IsSorted(e.ids) {
			t.Errorf("%d arrived, in order: %v", e.total, slices.IsSorted(e.ids))
		}
	})
}

// An endpoint that hangs, one that is slow and one with a large backlog delay
// nobody else by a moment.
func TestIsolation(t *testing.T) {
	bubble(t, deliver.Config{}, func(t *testing.T, p *platform) {
		p.endpoint("hangs.test", 204, time.Hour)
		p.endpoint("slow.test", 204, 2*time.Second)
		p.subscribe("http://hangs.test/")
		p.subscribe("http://slow.test/")
		p.subscribe("http://refuses.test/")
		for range 20 {
			p.publish(100) // for those three
		}
		well := p.endpoint("well.test", 204, 0)
		p.subscribe("http://well.test/")
		well.start = time.Now()
		var want []time.Duration
		for range 200 {
			want = append(want, time.Since(well.start))
			p.publish(1)
			pass(100 * time.Millisecond)
		}
		if !slices.Equal(well.at, want) {
			t.Errorf("%d of %d arrived; the last at %v", len(well.at), len(want), well.at[len(well.at)-1])
		}
	})
}

// Many endpoints that hang at the same time leave room for those that do not.
func TestIsolationFromMany(t *testing.T) {
	bubble(t, deliver.Config{MaxInFlight: 256}, func(t *testing.T, p *platform) {
		for i := range 100 {
			host := fmt.Sprintf("hangs%d.test", i)
			p.endpoint(host, 204, time.Hour)
			p.subscribe("http://" + host + "/")
		}
		p.publish(50)
		well := p.endpoint("well.test", 204, 0)
		p.subscribe("http://well.test/")
		well.start = time.Now()
		p.publish(1)
		synctest.Wait()
		if len(well.at) != 1 || well.at[0] != 0 {
			t.Errorf("arrived at %v", well.at)
		}
	})
}

// After too many attempts without an answer the breaker opens: deliveries are put
// off without being sent, one now and then finds out whether the endpoint is back,
// and once it is, everything flows.
func TestBreaker(t *testing.T) {
	bubble(t, deliver.Config{InFlight: 4}, func(t *testing.T, p *platform) {
		e := p.endpoint("a.test", 204, time.Hour) // hangs
		s := p.subscribe("http://a.test/")
		p.publish(100)
		pass(20 * time.Second)
		got := p.outcomes(s)
		if got[hook.ReadTimeOut] < 20 || got[hook.ReadTimeOut] > 24 || got[hook.Fallback] < 70 {
			t.Errorf("after 20 s: %v", got)
		}
		sent := e.count()
		p.publish(10)
		pass(time.Second)
		if e.count() != sent || p.outcomes(s)[hook.Fallback] < 80 {
			t.Errorf("while open, %d were sent; %v", e.count()-sent, p.outcomes(s))
		}
		// It opened after 15 s at the latest, so a probe is due by 45 s; it fails, and
		// the breaker stays open for a minute more.
		pass(29 * time.Second)
		p.publish(5)
		pass(10 * time.Second)
		if n := e.count() - sent; n != 1 {
			t.Errorf("%d probes, want 1", n)
		}
		e.set(204, 0)
		pass(time.Minute)
		p.publish(10)
		pass(time.Second)
		if n := p.outcomes(s)[204]; n != 10 {
			t.Errorf("back again: %d delivered, want 10; %v", n, p.outcomes(s))
		}
		// What was put off comes with its next step.
		pass(6 * time.Minute)
		if n := p.outcomes(s)[204]; n != 125 {
			t.Errorf("%d delivered in the end, want 125; %v", n, p.outcomes(s))
		}
	})
}

// An endpoint that answers, if with errors, is not given up.
func TestErrorsDoNotOpenTheBreaker(t *testing.T) {
	bubble(t, deliver.Config{}, func(t *testing.T, p *platform) {
		p.endpoint("a.test", 500, 0)
		s := p.subscribe("http://a.test/")
		p.publish(100)
		pass(time.Minute)
		if got := p.outcomes(s); got[500] != 100 || len(got) != 1 {
			t.Errorf("%v", got)
		}
	})
}

// Our own limit for an endpoint spreads its deliveries out; it is on record as the
// reason, and uses up no retry.
func TestRateLimit(t *testing.T) {
	bubble(t, deliver.Config{}, func(t *testing.T, p *platform) {
		e := p.endpoint("a.test", 204, 0)
		s := p.subscribe("http://a.test/", func(s *hook.Subscription) { s.Limits.PerSecond = 20 })
		first := p.publish(6)
		pass(time.Minute)
		ms := time.Millisecond
		want := []time.Duration{0, 0, 50 * ms, 100 * ms, 150 * ms, 200 * ms} // a tenth of a second's at once
		if !slices.Equal(e.at, want) {
			t.Errorf("arrived at %v, want %v", e.at, want)
		}
		got := p.outcomes(s)
		if got[204] != 6 || got[hook.TooManyRequests] != 4 {
			t.Errorf("%v", got)
		}
		if p.state(first, s) != hook.Delivered {
			t.Error(p.state(first, s))
		}
		for _, a := range p.attempts {
			if a.Retry != 0 {
				t.Errorf("an attempt has retry number %d", a.Retry)
			}
		}
	})
}

// A limit of requests per second changes nothing about the order, however many are
// under way.
func TestRateLimitKeepsOrder(t *testing.T) {
	bubble(t, deliver.Config{InFlight: 200}, func(t *testing.T, p *platform) {
		var mu sync.Mutex
		var ids []string
		p.net.Handle(t, "a.test", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			mu.Lock()
			ids = append(ids, r.Header.Get(webhook.HeaderRequestID))
			mu.Unlock()
			time.Sleep(time.Second)
		}))
		p.subscribe("http://a.test/", func(s *hook.Subscription) { s.Limits.PerSecond = 100 })
		p.publish(300)
		pass(time.Minute)
		if len(ids) != 300 || !slices.IsSorted(ids[20:]) { // the first ones start at one instant
			t.Errorf("%d arrived, in order: %v", len(ids), slices.IsSorted(ids[20:]))
		}
	})
}

// A limit that is lifted or raised counts at once.
func TestRateLimitIsLifted(t *testing.T) {
	bubble(t, deliver.Config{}, func(t *testing.T, p *platform) {
		e := p.endpoint("a.test", 204, 0)
		s := p.subscribe("http://a.test/", func(s *hook.Subscription) { s.Limits.PerSecond = 0.001 })
		p.publish(3)
		pass(time.Second)
		lifted := *s
		lifted.Limits.PerSecond = 0
		p.put(&lifted)
		p.sender.Changed(s.Key)
		pass(time.Second)
		if e.total != 3 {
			t.Errorf("%d of 3 arrived", e.total)
		}
	})
}

// An endpoint gets the least that its active subscriptions allow, whichever of them
// has something outstanding; and one that allows more than the default gets more.
func TestLimitsOfAnEndpoint(t *testing.T) {
	bubble(t, deliver.Config{InFlight: 4}, func(t *testing.T, p *platform) {
		e := p.endpoint("a.test", 204, time.Second)
		s := p.subscribe("http://a.test/", func(s *hook.Subscription) { s.Limits.InFlight = 20 })
		p.publish(60)
		pass(time.Minute)
		if e.most != 20 {
			t.Errorf("%d at a time, where 20 are allowed", e.most)
		}
		other := p.subscribe("http://a.test/", func(s *hook.Subscription) { s.Limits.InFlight, s.Events = 2, []string{"another"} })
		p.sender.Changed(other.Key)
		e.reset()
		p.publish(20)
		pass(time.Minute)
		if e.most != 2 {
			t.Errorf("%d at a time, where one of its subscriptions allows 2", e.most)
		}
		must(t, p.db.Change(hook.Change{RemoveSubscriptions: []hook.SubscriptionKey{other.Key}}, time.Now()))
		p.sender.CalledOff(other.Key)
		e.reset()
		p.publish(60)
		pass(time.Minute)
		if e.most != 20 || p.outcomes(s)[204] != 140 {
			t.Errorf("%d at a time when that one is deleted, %v", e.most, p.outcomes(s))
		}
	})
}

// A subscription that is deleted holds nobody back any more, also one that had nothing
// outstanding while another one of its endpoint has.
func TestDeletedLimit(t *testing.T) {
	bubble(t, deliver.Config{}, func(t *testing.T, p *platform) {
		e := p.endpoint("a.test", 204, 0)
		other := p.subscribe("http://a.test/", func(s *hook.Subscription) { s.Limits.PerSecond, s.Events = 0.001, []string{"another"} })
		p.subscribe("http://a.test/")
		p.publish(5)
		pass(time.Second)
		if e.total != 1 {
			t.Errorf("%d arrived beside a limit of one in a thousand seconds", e.total)
		}
		must(t, p.db.Change(hook.Change{RemoveSubscriptions: []hook.SubscriptionKey{other.Key}}, time.Now()))
		p.sender.CalledOff(other.Key)
		pass(time.Second)
		if e.total != 5 {
			t.Errorf("%d of 5 arrived when it was deleted", e.total)
		}
	})
}

// With short steps an endpoint that is back is found out before its retries are used
// up.
func TestBreakerWithShortSteps(t *testing.T) {
	second := time.Second
	bubble(t, deliver.Config{Schedule: hook.Schedule{second, second, second}}, func(t *testing.T, p *platform) {
		s := p.subscribe("http://a.test/")
		p.publish(25) // nobody is there
		pass(second / 2)
		p.endpoint("a.test", 204, 0)
		last := p.publish(5)
		pass(time.Minute)
		if p.state(last, s) != hook.Delivered {
			t.Errorf("the latest is %v, %v", p.state(last, s), p.outcomes(s))
		}
	})
}

// However many subscriptions there are, what is in hand is bounded: by the whole and
// one for each.
func TestWhatIsInHandIsBounded(t *testing.T) {
	p := newPlatform(t, deliver.Config{}, outbound.Config{})
	defer p.run()()
	const subscriptions = 300
	var c hook.Change
	var owed []hook.Owed
	for range subscriptions {
		id := hook.NewID()
		k, err := hook.KeyOf(id)
		must(t, err)
		c.Subscriptions = append(c.Subscriptions, &hook.Subscription{ID: id, Key: k, App: "app", Endpoint: hook.Endpoint{URL: "http://" + strings.ToLower(strings.Trim(id, "-_")) + ".test/", State: hook.Valid}, Subscribers: []hook.Subscriber{{}}})
		owed = append(owed, hook.Owed{Subscription: k})
	}
	must(t, p.db.Change(c, time.Now()))
	for _, size := range []int{100, 1 << 20} {
		e, held := &hook.Event{Body: make([]byte, size)}, 0
		var all [][]hook.Owed
		for _, o := range owed { // one after the other takes what it can
			for range 1100 {
				mine := []hook.Owed{o}
				p.sender.Reserve(e, mine)
				all = append(all, mine)
				if mine[0].Node == 0 {
					break
				}
				held++
			}
		}
		if most := min(32<<10, 64<<20/size) + subscriptions; held > most {
			t.Errorf("%d bodies of %d bytes are in hand, want %d at most", held, size, most)
		}
		for _, o := range all {
			p.sender.Settle(e, o, false)
		}
	}
}

// What is published while a sender starts waits behind what was outstanding.
func TestStartKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlatform(t, deliver.Config{}, outbound.Config{})
		var mu sync.Mutex
		var ids []string
		p.net.Handle(t, "a.test", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			ids = append(ids, r.Header.Get(webhook.HeaderRequestID))
		}))
		p.subscribe("http://a.test/", func(s *hook.Subscription) { s.Limits.InFlight = 1 })
		p.publish(3)
		ctx, cancel := context.WithCancel(t.Context())
		_, err := p.sender.Start(ctx)
		must(t, err)
		p.publish(1)
		synctest.Wait()
		done := make(chan error)
		go func() { done <- p.sender.Run(ctx) }()
		pass(time.Second)
		cancel()
		must(t, <-done)
		if len(ids) != 4 || !slices.IsSorted(ids) {
			t.Errorf("arrived as %v", ids)
		}
	})
}

// First attempts go before late retries, but do not starve them.
func TestRetriesBehindAFlood(t *testing.T) {
	bubble(t, deliver.Config{InFlight: 1}, func(t *testing.T, p *platform) {
		e := p.endpoint("a.test", 500, 0)
		p.subscribe("http://a.test/")
		p.publish(1)
		pass(time.Second)
		e.set(204, 100*time.Millisecond)
		pass(5*time.Minute - 2*time.Second)
		// From now on there is always more to do than can be done.
		for range 100 {
			p.publish(5)
			pass(100 * time.Millisecond)
		}
		first := e.ids[0]
		if i := slices.Index(e.ids[1:], first); i < 0 || i > 50 {
			t.Errorf("the retry came after %d others", i)
		}
	})
}

// Disabling and deleting call off what is outstanding, in hand and in the store,
// and enabling again does not bring it back.
func TestCancelled(t *testing.T) {
	for name, end := range map[string]func(*platform, *hook.Subscription){
		"disabled": func(p *platform, s *hook.Subscription) {
			off := *s
			off.State, off.StateReason, off.Generation = hook.Disabled, "by the operator", s.Generation+1
			p.put(&off)
			on := off
			on.State = hook.Valid
			p.put(&on) // at once, before anything was called off
		},
		"deleted": func(p *platform, s *hook.Subscription) {
			must(p.t, p.db.Change(hook.Change{RemoveSubscriptions: []hook.SubscriptionKey{s.Key}}, time.Now()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, deliver.Config{InFlight: 1}, func(t *testing.T, p *platform) {
				e := p.endpoint("a.test", 503, time.Second)
				s := p.subscribe("http://a.test/")
				list := p.publishAll(1500)
				pass(1500 * time.Millisecond) // one has failed, one is in flight
				end(p, s)
				p.sender.CalledOff(s.Key)
				pass(24 * time.Hour)
				if n := e.count(); n != 2 {
					t.Errorf("%d were sent, want 2", n)
				}
				for i, id := range list {
					if got := p.state(id, s); got != hook.Cancelled {
						t.Fatalf("delivery %d is %v", i, got)
					}
				}
				log := p.logOf(list[len(list)-1], s)
				if len(log) != 1 || log[0].Kind != hook.KindCancel || !strings.Contains(log[0].Detail, name) {
					t.Errorf("log %+v", log)
				}
			})
		})
	}
}

// A subscription's new URL is where its outstanding deliveries go.
func TestNewURL(t *testing.T) {
	bubble(t, deliver.Config{}, func(t *testing.T, p *platform) {
		p.endpoint("old.test", 503, 0)
		fresh := p.endpoint("new.test", 204, 0)
		s := p.subscribe("http://old.test/")
		p.publish(10)
		pass(time.Minute)
		moved := *s
		moved.URL = "http://new.test/"
		p.put(&moved)
		p.sender.Changed(s.Key)
		pass(10 * time.Minute)
		if fresh.total != 10 {
			t.Errorf("%d arrived at the new URL", fresh.total)
		}
	})
}

// Deliveries that wait for an endpoint that hangs go to the new one at once, when the
// URL is changed, or the state of the app by which of two endpoints is served.
func TestNewURLOfAnEndpointThatHangs(t *testing.T) {
	for name, move := range map[string]func(p *platform, s *hook.Subscription){
		"the URL": func(p *platform, s *hook.Subscription) {
			moved := *s
			moved.URL = "http://new.test/"
			p.put(&moved)
		},
		"the state of the app": func(p *platform, _ *hook.Subscription) {
			a := *p.db.Directory().App("app")
			a.State = hook.Development
			must(p.t, p.db.Change(hook.Change{Apps: []*hook.App{&a}}, time.Now()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, deliver.Config{InFlight: 2}, func(t *testing.T, p *platform) {
				p.endpoint("old.test", 204, time.Hour)
				fresh := p.endpoint("new.test", 204, 0)
				s := p.subscribe("http://old.test/", func(s *hook.Subscription) {
					s.Development = hook.Endpoint{URL: "http://new.test/", State: hook.Valid}
				})
				p.publish(10)
				pass(time.Second)
				move(p, s)
				p.sender.Changed(s.Key)
				pass(time.Second)
				if n := fresh.count(); n != 8 {
					t.Errorf("%d of the 8 that waited arrived at the new endpoint", n)
				}
				pass(10 * time.Minute) // those that were under way are tried again
				if n := fresh.count(); n != 10 {
					t.Errorf("%d of 10 arrived at the new endpoint", n)
				}
			})
		})
	}
}

// If the state of the app moves a subscription to an endpoint that may get nothing, what
// waits is called off, and says why.
func TestMovedToAnEndpointThatIsPending(t *testing.T) {
	bubble(t, deliver.Config{InFlight: 2}, func(t *testing.T, p *platform) {
		p.endpoint("old.test", 204, time.Hour)
		fresh := p.endpoint("new.test", 204, 0)
		s := p.subscribe("http://old.test/", func(s *hook.Subscription) {
			s.Development = hook.Endpoint{URL: "http://new.test/", State: hook.Pending, StateReason: "the connection was refused"}
		})
		list := p.publishAll(10)
		pass(time.Second)
		a, called := *p.db.Directory().App("app"), *s
		a.State, called.Generation = hook.Development, s.Generation+1
		must(t, p.db.Change(hook.Change{Apps: []*hook.App{&a}, Subscriptions: []*hook.Subscription{&called}}, time.Now()))
		p.sender.CalledOff(s.Key)
		pass(time.Second)
		log := p.logOf(list[9], s)
		if len(log) != 1 || log[0].State != hook.Cancelled || log[0].Detail != "the endpoint has not proven itself: the connection was refused" {
			t.Errorf("log %+v", log)
		}
		pass(24 * time.Hour)
		if n := fresh.count(); n != 0 {
			t.Errorf("%d were sent to an endpoint that has not proven itself", n)
		}
		for i, id := range list {
			if got := p.state(id, s); got != hook.Cancelled {
				t.Errorf("delivery %d is %v", i, got)
			}
		}
	})
}

// A sender that was killed with deliveries in hand has them taken over by another
// at the instant at which its lease lapses, and no earlier.
func TestLeaseRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lease = 6 * time.Second
		p := newPlatform(t, deliver.Config{Lease: lease}, outbound.Config{})
		e := p.endpoint("a.test", 204, time.Hour)
		s := p.subscribe("http://a.test/")

		// The one that will die sends into a network that swallows everything, and from
		// its death on whatever it does has no effect.
		dead := &mortal{Store: p.db}
		doomed := deliver.New(dead, p.db.Directory(), outbound.New(outbound.Config{DialContext: p.net.DialContext}), deliver.Config{Lease: lease})
		stopDoomed := start(t, doomed)
		p.intake.Sender = doomed
		id := p.publish(3)
		p.intake.Sender = p.sender
		pass(2500 * time.Millisecond) // it renewed its lease at 2 s
		dead.kill()
		lapse := lease/3 + lease
		before := e.count()
		e.set(204, 0)
		stop := p.run()

		pass(time.Until(e.start.Add(lapse)) - time.Nanosecond)
		if n := e.count(); n != before {
			t.Errorf("%d taken over before the lease lapsed", n-before)
		}
		pass(time.Nanosecond)
		if got := e.at[before:]; len(got) != 3 || got[0] != lapse || got[2] != lapse {
			t.Errorf("taken over at %v, want three at %v", got, lapse)
		}
		if got := p.state(id, s); got != hook.Delivered {
			t.Errorf("delivery is %v", got)
		}
		stop()
		stopDoomed()
	})
}

// stumbling is a store that fails once where a node is given up: when that is done, but
// the answer is lost, or when it is asked what there is to take over.
type stumbling struct {
	deliver.Store
	answer, backlogs atomic.Bool
	gaveUp           atomic.Bool
}

func (s *stumbling) NextLapse(n deliver.Node, now time.Time) (bool, time.Time, error) {
	lapsed, next, err := s.Store.NextLapse(n, now)
	if lapsed {
		s.gaveUp.Store(true)
		if s.answer.CompareAndSwap(true, false) {
			return false, time.Time{}, errors.New("the answer was lost")
		}
	}
	return lapsed, next, err
}

func (s *stumbling) Backlogs(ctx context.Context) ([]deliver.Backlog, error) {
	if s.gaveUp.Load() && s.backlogs.CompareAndSwap(true, false) {
		return nil, errors.New("the connection was lost")
	}
	return s.Store.Backlogs(ctx)
}

// What a node had that others have given up is taken over soon, also if the one who found
// it silent loses its connection just then.
func TestTakesOverAfterAll(t *testing.T) {
	for name, s := range map[string]*stumbling{"the answer is lost": {}, "the backlogs cannot be read": {}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const lease = 6 * time.Second
				p := newPlatform(t, deliver.Config{Lease: lease}, outbound.Config{})
				e := p.endpoint("a.test", 204, time.Hour)
				sub := p.subscribe("http://a.test/")
				dead := &mortal{Store: p.db}
				client := outbound.New(outbound.Config{DialContext: p.net.DialContext})
				doomed := deliver.New(dead, p.db.Directory(), client, deliver.Config{Lease: lease})
				stopDoomed := start(t, doomed)
				p.intake.Sender = doomed
				id := p.publish(3)
				s.Store = p.db
				s.answer.Store(name == "the answer is lost")
				s.backlogs.Store(name == "the backlogs cannot be read")
				heir := deliver.New(s, p.db.Directory(), client, deliver.Config{Lease: lease})
				stopHeir := start(t, heir)
				pass(time.Second)
				dead.kill()
				e.set(204, 0)
				pass(lease + 2*time.Second)
				if got := p.state(id, sub); got != hook.Delivered {
					t.Errorf("2 s after the lease's end, and a failure: %v", got)
				}
				stopHeir()
				stopDoomed()
			})
		})
	}
}

// silent is a store that a node cannot renew its lease in while it is cut off.
type silent struct {
	deliver.Store
	cut atomic.Bool
}

func (s *silent) Renew(n deliver.Node, has deliver.Holding, now time.Time) (int, error) {
	if s.cut.Load() {
		return 0, errors.New("the network is unreachable")
	}
	return s.Store.Renew(n, has, now)
}

// A node that could not say that it lives for longer than its lease gives up what it has
// in hand, which is another's by now, joins anew and goes on.
func TestJoinsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lease = 6 * time.Second
		p := newPlatform(t, deliver.Config{Lease: lease, Schedule: hook.Schedule{time.Second}}, outbound.Config{})
		e := p.endpoint("a.test", 204, time.Hour)
		s := p.subscribe("http://a.test/")
		store := &silent{Store: p.db}
		var joined []int64
		first := deliver.New(store, p.db.Directory(), outbound.New(outbound.Config{DialContext: p.net.DialContext}), deliver.Config{
			Lease: lease, InFlight: 2, Schedule: hook.Schedule{time.Second}, Log: p.log,
			Joined: func(_ context.Context, n deliver.Node) error { joined = append(joined, n.ID); return nil },
		})
		stopFirst := start(t, first)
		stopSecond := p.run()
		pass(3 * time.Second)
		p.intake.Sender = first
		list := p.publishAll(5)
		pass(time.Millisecond)
		if h := first.Holding(); h.Deliveries != 5 {
			t.Fatalf("in hand are %+v", h)
		}
		store.cut.Store(true)
		e.set(204, 0)
		pass(2 * lease)
		for _, id := range list {
			if got := p.state(id, s); got != hook.Delivered {
				t.Errorf("%v is %v: nobody has taken it over", id, got)
			}
		}
		store.cut.Store(false)
		pass(lease)
		if len(joined) != 2 || joined[0] == joined[1] || first.Current().ID != joined[1] {
			t.Fatalf("it was the nodes %v, and is %+v", joined, first.Current())
		}
		if h := first.Holding(); h.Deliveries != 0 {
			t.Errorf("still in hand are %+v", h)
		}
		id := p.publish(1)
		pass(time.Second)
		if got := p.state(id, s); got != hook.Delivered {
			t.Errorf("what it accepts then is %v", got)
		}
		stopFirst()
		stopSecond()
	})
}

// Nodes share what an endpoint may be given, and one that is alone again has all of it.
func TestNodesShareLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlatform(t, deliver.Config{Lease: 6 * time.Second, InFlight: 5}, outbound.Config{})
		e := p.endpoint("a.test", 204, time.Second)
		p.subscribe("http://a.test/")
		stop := p.run()
		other := deliver.New(p.db, p.db.Directory(), outbound.New(outbound.Config{DialContext: p.net.DialContext}), deliver.Config{Lease: 6 * time.Second, InFlight: 5})
		stopOther := start(t, other)
		pass(3 * time.Second) // they know of each other
		p.publish(100)
		pass(time.Millisecond)
		if n := e.count(); n != 3 {
			t.Errorf("one of two nodes sends %d at a time, want its share of 3", n)
		}
		stopOther()
		pass(3 * time.Second)
		before := e.count()
		pass(time.Second)
		if n := e.count() - before; n != 5 {
			t.Errorf("%d are sent at a time when the node is alone again, want 5", n)
		}
		stop()
	})
}

// mortal is a store that a process uses until it is killed.
type mortal struct {
	deliver.Store
	mu   sync.Mutex
	dead bool
}

func (m *mortal) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
}

func (m *mortal) killed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dead
}

func (m *mortal) Renew(n deliver.Node, has deliver.Holding, now time.Time) (int, error) {
	if m.killed() {
		return 1, nil
	}
	return m.Store.Renew(n, has, now)
}

func (m *mortal) Finish(f *deliver.Finished) {
	if m.killed() {
		f.Done(nil)
		return
	}
	m.Store.Finish(f)
}

func (m *mortal) Leave(n deliver.Node) error {
	if m.killed() {
		return nil
	}
	return m.Store.Leave(n)
}

func (m *mortal) Claim(ctx context.Context, n deliver.Node, now time.Time, want []deliver.Want) ([]deliver.Claim, error) {
	if m.killed() {
		return make([]deliver.Claim, len(want)), nil
	}
	return m.Store.Claim(ctx, n, now, want)
}

// A sender that is stopped lets what is in flight finish, hands back what it did
// not get to, cuts off what takes too long, and is done within its limit; the next
// one goes on at once.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlatform(t, deliver.Config{InFlight: 2, StopTimeout: 2 * time.Second}, outbound.Config{})
		stop := p.run()
		soon := p.endpoint("soon.test", 204, time.Second)
		never := p.endpoint("never.test", 204, time.Hour)
		a, b := p.subscribe("http://soon.test/"), p.subscribe("http://never.test/")
		p.publish(5)
		pass(500 * time.Millisecond)
		begin := time.Now()
		stop()
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("stopping took %v", took)
		}
		if soon.total != 2 || p.outcomes(a)[204] != 2 {
			t.Errorf("of those in flight %d finished, %v", soon.total, p.outcomes(a))
		}
		if got := p.outcomes(b); got[hook.Delegate] != 2 || len(got) != 1 {
			t.Errorf("those that would not end: %v", got)
		}
		never.set(204, 0)
		next := deliver.New(p.db, p.db.Directory(), p.client, deliver.Config{})
		p.intake.Sender = next
		stop = start(t, next)
		pass(time.Second)

		if n := never.count(); n != 2+5 {
			t.Errorf("%d requests to the one that hung, want 2 before and 5 after", n)
		}
		pass(time.Minute)
		if soon.total != 5 {
			t.Errorf("%d delivered in all, want 5", soon.total)
		}
		stop()
	})
}

// A sender that is stopped in the middle of looking through a subscription stops,
// and so does one that is stopped before it has begun.
func TestStopWhileLoading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlatform(t, deliver.Config{}, outbound.Config{})
		p.endpoint("a.test", 204, 0)
		s := p.subscribe("http://a.test/")
		stop := p.run()
		p.publish(1)
		pass(time.Second)
		p.sender.CalledOff(s.Key)
		stop()

		next := deliver.New(p.db, p.db.Directory(), p.client, deliver.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		_, err := next.Start(ctx)
		must(t, err)
		cancel()
		must(t, next.Run(ctx))
	})
}

// A sender that starts finds what others left: first attempts, late retries at
// once, and future ones at their instants.
func TestRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlatform(t, deliver.Config{}, outbound.Config{})
		stop := p.run()
		e := p.endpoint("a.test", 503, 0)
		p.subscribe("http://a.test/")
		p.publish(1) // due again at 5:00
		pass(time.Minute)
		p.publish(1) // due again at 6:00
		pass(time.Second)
		stop()
		p.publish(1) // nobody sends
		pass(4*time.Minute + 29*time.Second)

		p.sender = deliver.New(p.db, p.db.Directory(), p.client, deliver.Config{})
		p.intake.Sender = p.sender
		e.at = nil
		e.set(204, 0)
		stop = p.run()
		pass(time.Hour)
		want := []time.Duration{5*time.Minute + 30*time.Second, 5*time.Minute + 30*time.Second, 6 * time.Minute}
		if !slices.Equal(e.at, want) {
			t.Errorf("arrived at %v, want %v", e.at, want)
		}
		stop()
	})
}

// What is resent is sent at once, under the same request id, with the whole
// schedule before it.
func TestResent(t *testing.T) {
	bubble(t, deliver.Config{}, func(t *testing.T, p *platform) {
		e := p.endpoint("a.test", 400, 0)
		s := p.subscribe("http://a.test/")
		id := p.publish(1)
		pass(time.Second)
		if got := p.state(id, s); got != hook.Failed {
			t.Fatalf("delivery is %v", got)
		}
		e.set(503, 0)
		must(t, p.db.Resend(hook.DeliveryID{Event: id, Subscription: s.Key}, time.Now(), "by ann"))
		p.sender.Resent(s.Key)
		pass(24 * time.Hour)
		again := time.Second
		want := []time.Duration{0, again, again + 5*time.Minute, again + 25*time.Minute, again + 85*time.Minute}
		if !slices.Equal(e.at, want) || len(slices.Compact(e.ids)) != 1 {
			t.Errorf("arrived at %v with ids %v", e.at, e.ids)
		}
		if got := p.state(id, s); got != hook.Exhausted {
			t.Errorf("delivery is %v", got)
		}
	})
}

// A client that panics costs one attempt, not the platform.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlatform(t, deliver.Config{}, outbound.Config{})
		p.sender = deliver.New(p.db, p.db.Directory(), panics{p.client}, deliver.Config{Schedule: hook.Schedule{time.Second}})
		p.intake.Sender = p.sender
		stop := p.run()
		s := p.subscribe("http://a.test/")
		id := p.publish(1)
		pass(time.Minute)
		log := p.logOf(id, s)
		if len(log) != 2 || log[0].Outcome != hook.AsyncError || !strings.Contains(log[0].Detail, "on purpose") || log[1].State != hook.Exhausted {
			t.Errorf("log %+v", log)
		}
		stop()
	})
}

type panics struct{ *outbound.Client }

func (panics) Send(context.Context, *outbound.Endpoint, outbound.Message) outbound.Result {
	panic("on purpose")
}
