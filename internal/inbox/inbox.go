// Package inbox keeps received events on disk until all that they are for have
// been given them.
//
// [Inbox.Add] returns once an event is on the disk. Forwarders read events in the
// order of their numbers, which is the order of arrival, and each has a position
// of its own in it. What could not be accepted is in the quarantine.
package inbox

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/switchhook/switchhook/internal/sqlitefile"
)

// MinHorizon is the shortest time for which duplicates can be recognised: the platform
// repeats a request for 85 minutes.
const MinHorizon = 2 * time.Hour

// ErrUnavailable says that the inbox cannot take anything for now: the disk is full,
// the file is locked, too much is waiting, or it is being closed. Nothing was stored.
var ErrUnavailable = errors.New("inbox: unavailable")

// Event is a request that was accepted.
type Event struct {
	// ID is the event's number in the inbox, from 1 on, in the order of arrival. Add
	// sets it.
	ID int64
	// Source is the name of where it came in.
	Source   string
	Received time.Time
	// Name is the event type. It is empty if the body is no event.
	Name string
	// Time is when it occurred, to the millisecond; zero if the body does not say.
	Time time.Time
	// RequestID is the same on every attempt of a delivery. It is not signed.
	RequestID string
	// Conflict says that the request id came before with another body.
	Conflict bool
	// BodyHash is the hash of the body, Replay that of all that was signed: 32 bytes
	// when an event is added; what is read has the first 16.
	BodyHash, Replay []byte
	// Headers are those that are kept, by their names as net/http writes them.
	Headers Headers
	Body    []byte
}

// hashBytes is how much of a hash is stored.
const hashBytes = 16

// Key is the same for every repeat of an event: if it is forwarded again, and also
// if the sender repeats it so late that it is not recognised any more.
func (e *Event) Key() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%x", e.Source, e.RequestID, e.BodyHash[:hashBytes])
	if e.RequestID == "" {
		fmt.Fprintf(h, "\n%x", e.Replay[:hashBytes])
	}
	return hex.EncodeToString(h.Sum(nil)[:hashBytes])
}

// Headers are names and values, a value for each name.
type Headers []Header

// Header is a name as net/http writes it, and its value.
type Header struct{ Name, Value string }

// Get returns the value of a header, or nothing.
func (h Headers) Get(name string) string {
	for _, x := range h {
		if x.Name == name {
			return x.Value
		}
	}
	return ""
}

// text writes headers a line for each. HTTP permits no line feed in them.
func (h Headers) text() string {
	var b strings.Builder
	for _, x := range h {
		b.WriteString(x.Name)
		b.WriteString(": ")
		b.WriteString(x.Value)
		b.WriteByte('\n')
	}
	return b.String()
}

func parseHeaders(text string) (h Headers) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		h = append(h, Header{name, value})
	}
	return h
}

// Options say how an inbox is opened.
type Options struct {
	// File is an SQLite database. It is made if it does not exist.
	File string
	// Serve is for the one process that receives and forwards. Others may look at the
	// inbox meanwhile, ask for replays, and work on the quarantine.
	Serve bool
	// Horizon is how long duplicates are recognised. 0 means [MinHorizon], which is
	// also the least.
	Horizon time.Duration
	// MaxWaiting is how many bytes may wait for a commit. 0 means 64 MiB.
	MaxWaiting int
	// Busy is how long to wait for another process that has the file locked. 0 means a
	// second.
	Busy time.Duration
	Log  *slog.Logger
}

// Inbox is an open inbox. It is safe for concurrent use.
type Inbox struct {
	lock    *flock.Flock // nil unless this process serves
	conn    *sqlite.Conn // the writer's
	pool    *sqlitex.Pool
	horizon time.Duration
	busy    time.Duration
	most    int
	log     *slog.Logger

	mu      sync.Mutex
	queue   []unit
	waiting int // bytes in the queue
	pending map[string]Progress
	closing bool
	wake    chan struct{}
	stopped chan struct{}
	timer   *time.Timer // for what is pending and nothing else is committed with

	changes    changes
	checkpoint sqlitefile.Checkpoint
	trouble    trouble // the writer's
	broken     atomic.Bool
	ids        recent // the writer's
	held       held
	quit       chan struct{}
	watchers   sync.WaitGroup
}

// Open opens an inbox.
func Open(ctx context.Context, o Options) (_ *Inbox, err error) {
	b := &Inbox{
		horizon: max(o.Horizon, MinHorizon), busy: cmp.Or(o.Busy, time.Second), most: cmp.Or(o.MaxWaiting, 64<<20), log: o.Log,
		pending: map[string]Progress{}, wake: make(chan struct{}, 1), stopped: make(chan struct{}), quit: make(chan struct{}),
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("inbox: open %s: %w", o.File, err)
			_ = b.release() // there is a first error already
		}
	}()
	if err := b.openFile(ctx, o); err != nil {
		return nil, err
	}
	var watching *sqlite.Conn
	if o.Serve {
		if watching, err = b.pool.Take(context.Background()); err != nil {
			return nil, err
		}
	}
	b.timer = time.AfterFunc(time.Hour, b.wakeWriter)
	b.timer.Stop()
	go b.run()
	if watching != nil {
		b.watchers.Go(func() { b.watch(watching) })
	}
	return b, nil
}

// Close stores what is under way, and closes the inbox. Closing it again does nothing.
func (b *Inbox) Close() error {
	b.mu.Lock()
	again := b.closing
	b.closing = true
	b.mu.Unlock()
	if again {
		return nil
	}
	close(b.quit)
	b.watchers.Wait()
	b.wakeWriter()
	<-b.stopped
	b.timer.Stop()
	return b.release()
}

// Changes returns a channel that is closed when something has changed since: there
// may be events, replays or requests in the quarantine that were not there before.
func (b *Inbox) Changes() <-chan struct{} { return b.changes.next() }

// changes wakes those who wait for something new.
type changes struct {
	mu sync.Mutex
	ch chan struct{}
}

func (c *changes) next() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ch == nil {
		c.ch = make(chan struct{})
	}
	return c.ch
}

func (c *changes) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ch != nil {
		close(c.ch)
		c.ch = nil
	}
}

// recent remembers what came with a request id lately, to tell when it comes with
// something else. That is only worth a warning, so memory is bounded and a restart
// may forget.
type recent struct {
	now, before map[uint64]uint64
	since       time.Time
}

const recentIDs = 1 << 19

// add reports whether the id was there with another body.
func (r *recent) add(id, body uint64, now time.Time, horizon time.Duration) (conflict bool) {
	if r.now == nil || len(r.now) >= recentIDs || now.Sub(r.since) > horizon {
		r.before, r.now, r.since = r.now, map[uint64]uint64{}, now
	}
	old, ok := r.now[id]
	if !ok {
		old, ok = r.before[id]
	}
	r.now[id] = body
	return ok && old != body
}
