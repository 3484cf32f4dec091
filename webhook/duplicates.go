package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync"
	"time"
)

// Key names something that a [Filter] remembers.
type Key [sha256.Size]byte

// String returns the key in hex, for stores that want text.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// Filter remembers keys. [Memory] is one; where several processes serve an endpoint,
// or one must not forget when it ends, make one with a database or a cache. It has to
// be safe for concurrent use.
//
// What a receiver asks for rests on signed bytes, so nobody can get past it, or have
// somebody else's event dropped, by changing a header.
type Filter interface {
	// Seen reports for each of the keys whether it is remembered.
	Seen(ctx context.Context, keys []Key) ([]bool, error)
	// Remember remembers the keys, for at least the given time. It is called after an
	// event was handled: what was only begun must be done again when the platform
	// brings it again.
	Remember(ctx context.Context, keys []Key, d time.Duration) error
}

// rememberFor is how long keys are remembered: the platform's last attempt is made 85
// minutes after the first.
const rememberFor = 2 * time.Hour

// What is wrong when a request can be handled neither now nor as a duplicate.
var (
	// ErrFilter: Config.Duplicates has failed. The handler answers 500.
	ErrFilter = errors.New("webhook: the filter for duplicates failed")
	// ErrBusy: a request with the same body is still being handled. The handler
	// answers 503.
	ErrBusy = errors.New("webhook: the same body is still being handled")
)

// The keys of a request, by their places in what keys returns.
const (
	byReplay  = iota // the signed bytes: the same request, with whatever request id
	byRetry          // request id and body: another attempt of a delivery
	byRequest        // the request id
)

// keys returns what tells a request from others. Of the request id alone nothing
// follows, for it is not signed.
func (e *Event) keys() []Key {
	keys := []Key{byReplay: e.Replay, byRetry: keyOf("retry", e.RequestID, e.BodyHash[:])}
	if e.RequestID != "" {
		keys = append(keys, keyOf("request", e.RequestID, nil))
	}
	return keys
}

func keyOf(kind, id string, body []byte) Key {
	b := make([]byte, 0, 128)
	b = append(append(append(append(b, kind...), 0), body...), id...)
	return sha256.Sum256(b)
}

// once runs f for an event, unless it has been run for it with success before.
func (r *Receiver) once(ctx context.Context, e *Event, f func() error) error {
	if r.filter == nil {
		return f()
	}
	end, err := r.handling.begin(ctx, e.BodyHash)
	if err != nil {
		return err
	}
	defer end()
	keys := e.keys()
	seen, err := r.filter.Seen(ctx, keys)
	if err == nil && len(seen) != len(keys) {
		err = errors.New("it did not answer for each key")
	}
	if err != nil {
		return errors.Join(ErrFilter, err)
	}
	if seen[byReplay] || seen[byRetry] {
		if !seen[byReplay] {
			// Nor may this attempt be replayed with a fresh request id.
			return r.remember(ctx, keys[:byRetry])
		}
		return nil
	}
	e.IDReused = len(keys) > byRequest && seen[byRequest]
	if err := f(); err != nil {
		return err
	}
	return r.remember(ctx, keys)
}

// remember remembers the keys of what was handled, whether or not the platform still
// waits for the answer.
func (r *Receiver) remember(ctx context.Context, keys []Key) error {
	if err := r.filter.Remember(context.WithoutCancel(ctx), keys, max(rememberFor, 2*r.tolerance)); err != nil {
		return &handled{errors.Join(ErrFilter, err)}
	}
	return nil
}

// handled is an error that came when the event was handled already.
type handled struct{ error }

func (h *handled) Unwrap() error { return h.error }

// turns lets those with the same key run one after the other. The zero value is ready
// to use.
type turns struct {
	mu      sync.Mutex
	running map[Key]chan struct{} // closed at the end
}

// begin waits for the turn of a key. It is over when end is called.
func (t *turns) begin(ctx context.Context, k Key) (end func(), err error) {
	for {
		t.mu.Lock()
		before, wait := t.running[k]
		if !wait {
			if t.running == nil {
				t.running = map[Key]chan struct{}{}
			}
			over := make(chan struct{})
			t.running[k] = over
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				defer t.mu.Unlock()
				delete(t.running, k)
				close(over)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-before:
		case <-ctx.Done():
			return nil, ErrBusy
		}
	}
}

// Memory is a [Filter] in memory, of bounded size.
type Memory struct {
	mu         sync.Mutex
	limit      int           // of a generation
	young, old map[Key]int64 // until when each is remembered, in nanoseconds since 1970
	since      time.Time     // when the young generation began
}

// NewMemory returns a Memory that remembers at least the last so many events, and at
// most twice as many. 0 means 100,000, which take up to 50 MB.
func NewMemory(events int) *Memory {
	if events <= 0 {
		events = 100_000
	}
	const keysOfAnEvent = 3
	return &Memory{limit: events * keysOfAnEvent, young: map[Key]int64{}}
}

// Seen implements [Filter].
func (m *Memory) Seen(_ context.Context, keys []Key) ([]bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now().UnixNano()
	seen := make([]bool, len(keys))
	for i, k := range keys {
		seen[i] = now < max(m.young[k], m.old[k])
	}
	return seen, nil
}

// Remember implements [Filter].
func (m *Memory) Remember(_ context.Context, keys []Key, d time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	// The old generation is forgotten as a whole, so nothing has to be swept.
	if now.Sub(m.since) >= d || len(m.young)+len(keys) > m.limit {
		m.old, m.young, m.since = m.young, map[Key]int64{}, now
	}
	for _, k := range keys {
		m.young[k] = now.Add(d).UnixNano()
	}
	return nil
}
