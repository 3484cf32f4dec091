package inbox_test

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/switchhook/switchhook/internal/inbox"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// open opens an inbox for the process that serves.
func open(t testing.TB, file string) *inbox.Inbox {
	t.Helper()
	return openWith(t, inbox.Options{File: file, Serve: true})
}

func openWith(t testing.TB, o inbox.Options) *inbox.Inbox {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	in, err := inbox.Open(t.Context(), o)
	must(t, err)
	return in
}

// fresh is an inbox that lasts as long as the test.
func fresh(t testing.TB) *inbox.Inbox {
	t.Helper()
	in := open(t, filepath.Join(t.TempDir(), "inbox.db"))
	t.Cleanup(func() { must(t, in.Close()) })
	return in
}

// event is one that arrives now, told from others by its request id and text.
func event(source, requestID, text string) *inbox.Event {
	now := time.Now()
	body := fmt.Appendf(nil, `{"event":"a.b","event_ts":%d,"payload":{"text":%q}}`, 1763758800123, text)
	e := &inbox.Event{Source: source, Received: now, Name: "a.b", Time: time.UnixMilli(1763758800123), RequestID: requestID, Body: body}
	e.Headers = inbox.Headers{{Name: "X-Zm-Request-Id", Value: requestID}, {Name: "Content-Type", Value: "application/json; charset=utf-8"}}
	return signedAt(e, now.Format(time.StampNano))
}

// signedAt gives an event the hashes that it has if it was signed at some time.
func signedAt(e *inbox.Event, at string) *inbox.Event {
	hash := sha256.Sum256(e.Body)
	replay := sha256.Sum256(append([]byte(at), hash[:]...))
	e.BodyHash, e.Replay = hash[:], replay[:]
	return e
}

// add stores an event and returns what became of it.
func add(t testing.TB, in *inbox.Inbox, e *inbox.Event) inbox.Added {
	t.Helper()
	a, err := in.Add(t.Context(), e)
	must(t, err)
	return a
}

// all returns the events of an inbox in their order.
func all(t testing.TB, in *inbox.Inbox) (events []*inbox.Event) {
	t.Helper()
	for {
		last := int64(0)
		if len(events) > 0 {
			last = events[len(events)-1].ID
		}
		more, err := in.After(t.Context(), last, math.MaxInt64)
		must(t, err)
		if len(more) == 0 {
			return events
		}
		events = append(events, more...)
	}
}

func ids(events []*inbox.Event) (ids []int64) {
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	return ids
}

func equal[T comparable](t testing.TB, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// lock keeps everybody else from writing to the file, as another process would, until it
// is unlocked. To do that twice does no harm.
func lock(t testing.TB, file string) (unlock func()) {
	t.Helper()
	c, err := sqlite.OpenConn(file, sqlite.OpenReadWrite)
	must(t, err)
	must(t, sqlitex.ExecuteTransient(c, "BEGIN IMMEDIATE", nil))
	return sync.OnceFunc(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}
