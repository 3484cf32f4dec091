package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/pgtest"
)

// producers publish without a pause to whatever platform is up.
type producers struct {
	t  testing.TB
	up atomic.Pointer[running]

	mu    sync.Mutex
	acked map[string]time.Time // numbers of acknowledged events
	lies  []string
}

// publish posts events until ctx is done: size at a time, and as a stream if
// stream is set.
func (p *producers) publish(ctx context.Context, name string, size int, stream bool) {
	client := &http.Client{Transport: &http.Transport{}, Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	for n := 0; ctx.Err() == nil; {
		to := p.up.Load()
		if to == nil {
			time.Sleep(time.Millisecond) // a real process is being started
			continue
		}
		var names, events []string
		for range size {
			n++
			names = append(names, fmt.Sprintf("%s%d", name, n))
			events = append(events, numbered(names[len(names)-1]))
		}
		media, body := "application/json", "["+strings.Join(events, ",")+"]"
		if stream {
			media, body = "application/x-ndjson", strings.Join(events, "\n")
		} else if size == 1 {
			body = events[0]
		}
		res, answer, err := to.call(context.WithoutCancel(ctx), client, "POST", "/v2/events", media, strings.NewReader(body))
		if res == nil && err != nil {
			continue
		}
		// A stream that broke off has still said which lines were accepted.
		p.note(names, answer, res.StatusCode, size > 1 && !stream)
	}
}

// note remembers what an answer acknowledges.
func (p *producers) note(names []string, answer []byte, status int, array bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if status != http.StatusAccepted {
		p.lies = append(p.lies, fmt.Sprintf("status %d: %s", status, answer))
		return
	}
	if array {
		var batch struct{ Items []json.RawMessage }
		if json.Unmarshal(answer, &batch) != nil {
			return // it was cut off
		}
		answer = nil
		for _, item := range batch.Items {
			answer = append(append(answer, item...), '\n')
		}
	}
	for i, line := range bytes.Split(answer, []byte("\n")) {
		var receipt struct {
			Event      string `json:"event_id"`
			Deliveries int    `json:"deliveries"`
		}
		if i >= len(names) || json.Unmarshal(line, &receipt) != nil {
			return
		}
		if receipt.Deliveries != 2 {
			p.lies = append(p.lies, fmt.Sprintf("%s was answered with %s", names[i], line))
			continue
		}
		p.acked[names[i]] = time.Now()
	}
}

// numbers returns when each event arrived at an inbox first.
func (b *inbox) numbers() map[string]time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := make(map[string]time.Time, len(b.got))
	for _, l := range b.got {
		at[l.event] = l.taken
	}
	return at
}

// missing returns the acknowledged events that have not reached every inbox.
func (p *producers) missing(inboxes ...*inbox) (names []string) {
	var arrived []map[string]time.Time
	for _, b := range inboxes {
		arrived = append(arrived, b.numbers())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for name := range p.acked {
		for _, at := range arrived {
			if _, ok := at[name]; !ok {
				names = append(names, name)
				break
			}
		}
	}
	return names
}

// Whatever the moment in which the program is killed, every event that it has
// acknowledged is delivered: it starts again on the same database and goes on at once
// with what was in flight. What is repeated has the same request id and body.
func TestKill(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { testKill(t, install(t), 20) })
	t.Run("postgres", func(t *testing.T) { testKill(t, installOn(t, pgtest.Database(t, nil)), 5) })
}

func testKill(t *testing.T, in *installation, rounds int) {
	if testing.Short() {
		rounds = 3
	}
	prompt, failing := openInbox(t, "prompt", "secret-of-prompt"), openInbox(t, "failing", "secret-of-failing")
	// Every request that comes for the first time fails now and then, so that
	// retries are outstanding when the program dies.
	failing.before = func(times int) int {
		if times == 0 && rand.IntN(100) == 0 {
			return http.StatusServiceUnavailable
		}
		return 0
	}
	serve := func() *running { return in.serve("--retry-steps", "200ms,200ms,200ms,200ms,200ms,200ms") }
	p := serve()
	p.subscribe(prompt, failing)

	pub := &producers{t: t, acked: map[string]time.Time{}}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for name, size := range map[string]int{"A": 1, "B": 1, "C": 20, "D": 50} {
		wg.Go(func() { pub.publish(ctx, name, size, name == "D") })
	}
	var slowest time.Duration
	inFlight := 0
	for round := range rounds {
		pub.up.Store(p)
		time.Sleep(time.Duration(rand.IntN(300_000)) * time.Microsecond) // the moment is the point
		must(t, p.Process.Signal(syscall.SIGKILL))
		_ = p.Wait()
		pub.up.Store(nil)

		pending := pub.missing(prompt)
		inFlight += len(pending)
		p = serve()
		ready := time.Now()
		waitFor(t, fmt.Sprintf("what was in flight in round %d", round), func() bool {
			at := prompt.numbers()
			for _, name := range pending {
				if _, ok := at[name]; !ok {
					return false
				}
			}
			for _, name := range pending {
				slowest = max(slowest, at[name].Sub(ready))
			}
			return true
		})
	}
	pub.up.Store(p)
	stop()
	wg.Wait()
	waitFor(t, "the rest", func() bool { return len(pub.missing(prompt, failing)) == 0 })
	waitFor(t, "the last delivery's end", func() bool {
		var list struct{ Deliveries []any }
		p.ask("GET", operator+"/deliveries?state=waiting", "", http.StatusOK, &list)
		return len(list.Deliveries) == 0
	})
	p.stop()

	// An event is stored whole: one whose answer was lost has reached both or none.
	a, b := prompt.numbers(), failing.numbers()
	for name := range a {
		if _, ok := b[name]; !ok {
			t.Errorf("event %s reached one endpoint and not the other", name)
		}
	}
	if len(a) != len(b) || len(prompt.got) != len(a) || len(failing.got) != len(b) {
		t.Errorf("%d and %d events in %d and %d deliveries", len(a), len(b), len(prompt.got), len(failing.got))
	}
	for _, b := range []*inbox{prompt, failing} {
		for _, f := range b.faults {
			t.Errorf("%s: %s", b.name, f)
		}
	}
	for _, lie := range pub.lies {
		t.Error(lie)
	}
	t.Logf("%d kills: %d events acknowledged, %d more stored; %d were in flight when the program died, the last of them arrived %v after it answered again; %d deliveries were repeated",
		rounds, len(pub.acked), len(a)-len(pub.acked), inFlight, slowest.Round(time.Millisecond), prompt.repeated+failing.repeated)
	if inFlight == 0 {
		t.Error("nothing was ever in flight: the test shows nothing")
	}
}

// waitFor polls until something is true that another process brings about.
func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not arrive within a minute", what)
		}
	}
}
