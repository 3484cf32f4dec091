package forward_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/forward"
	"github.com/switchhook/switchhook/internal/inbox"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openInbox opens an inbox that lasts as long as the test, or until it is closed.
func openInbox(t testing.TB, file string) *inbox.Inbox {
	t.Helper()
	in, err := inbox.Open(t.Context(), inbox.Options{File: file, Serve: true, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	must(t, err)
	return in
}

func fresh(t testing.TB) *inbox.Inbox {
	t.Helper()
	in := openInbox(t, filepath.Join(t.TempDir(), "inbox.db"))
	t.Cleanup(func() { must(t, in.Close()) })
	return in
}

// arrive stores an event with a name and a number in its body.
func arrive(t testing.TB, in *inbox.Inbox, source, name string, number int) *inbox.Event {
	t.Helper()
	body := fmt.Appendf(nil, `{"event":%q,"event_ts":1763758800123,"payload":{"number":%d}}`, name, number)
	hash := sha256.Sum256(body)
	e := &inbox.Event{
		Source: source, Received: time.Now(), Name: name, Time: time.UnixMilli(1763758800123), RequestID: fmt.Sprint("r", number), Body: body, BodyHash: hash[:], Replay: hash[:],
		Headers: inbox.Headers{{Name: "Content-Type", Value: "application/json; charset=utf-8"}, {Name: "X-Zm-Request-Id", Value: fmt.Sprint("r", number)},
			{Name: "X-Zm-Signature", Value: "v0=as-received"}, {Name: "X-Zm-Request-Timestamp", Value: "1763758800"}},
	}
	_, err := in.Add(t.Context(), e)
	must(t, err)
	return e
}

// target remembers what it was given.
type target struct {
	mu   sync.Mutex
	fail func(m *forward.Message) error // decides what becomes of a message; nil: it is taken
	most int                            // messages at a time; 0: all
	got  []given
	// hang, if set, keeps Take from returning until its context is done.
	hang   bool
	closed bool
}

type given struct {
	id     int64
	key    string
	replay bool
	at     time.Time
	ok     bool
}

func (g *target) Take(ctx context.Context, messages []*forward.Message) (int, error) {
	g.mu.Lock()
	hang := g.hang
	defer g.mu.Unlock()
	if hang {
		g.mu.Unlock()
		<-ctx.Done()
		g.mu.Lock()
		return 0, ctx.Err()
	}
	if g.most > 0 {
		messages = messages[:min(len(messages), g.most)]
	}
	for i, m := range messages {
		var err error
		if g.fail != nil {
			err = g.fail(m)
		}
		g.got = append(g.got, given{m.ID, m.Key, m.Replay, time.Now(), err == nil})
		if err != nil {
			return i, err
		}
	}
	return len(messages), nil
}

func (g *target) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return errors.New("it is closed twice")
	}
	g.closed = true
	return nil
}

// set changes how the target behaves.
func (g *target) set(change func(*target)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(g)
}

// taken returns the numbers of what the target has taken, in order.
func (g *target) taken(replay bool) (ids []int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, x := range g.got {
		if x.ok && x.replay == replay {
			ids = append(ids, x.id)
		}
	}
	return ids
}

// run runs a forwarder until the test, or whoever calls what it returns, ends it.
func run(t testing.TB, in *inbox.Inbox, to forward.Target, c forward.Config) (stop func()) {
	t.Helper()
	c.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	if c.Name == "" {
		c.Name = "backend"
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { forward.New(in, to, c).Run(ctx) })
	stop = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// span returns the numbers from first to last.
func span(first, last int64) (ids []int64) {
	for id := first; id <= last; id++ {
		ids = append(ids, id)
	}
	return ids
}

func equal(t testing.TB, what string, got, want []int64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
