// Package intake accepts published events.
//
// [Intake.Accept] takes what a producer sent, makes it canonical, checks it
// against its event type, works out which subscriptions it is owed to, and
// returns once the event and all that it owes are durable.
package intake

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"time"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/hook"
)

// MaxEvent is how many bytes an event may have.
const MaxEvent = 1 << 20

// Publication is an event to be stored with all that it owes.
type Publication struct {
	Event *hook.Event
	Owed  []hook.Owed
	// Version is that of the directory which said what is owed.
	Version int64
	// Key makes the publication happen once however often it is asked for: a second
	// one with the same key in the same account stores nothing. Empty: none.
	Key string
	// Digest tells the same publication from another one under the same key.
	Digest []byte

	// What became of it:

	// Err is why it was not stored; the others of its batch may be.
	Err error
	// Earlier is the id of the event stored under the same key before, if there is
	// one, and EarlierOwed how many deliveries that brought about.
	Earlier     hook.EventID
	EarlierOwed int

	// TypeNumber is the store's own.
	TypeNumber int64

	traced func(*Receipt) // nil: nobody follows it
	turn   int            // of the first of those that were prepared together
}

// ErrStale says that the directory has changed since a publication was matched
// with it; match again.
var ErrStale = errors.New("intake: the directory has changed")

// Store makes publications durable, each whole or not at all. An error concerns
// all of them, Publication.Err one.
type Store interface {
	Publish([]*Publication) error
}

// Sender delivers what is owed.
type Sender interface {
	// Reserve takes deliveries of an event in hand that is about to be stored, as far
	// as there is room, and marks those with the node.
	Reserve(e *hook.Event, owed []hook.Owed)
	// Settle says what became of the event: stored, or not.
	Settle(e *hook.Event, owed []hook.Owed, stored bool)
}

// Catalog knows the event types.
type Catalog interface {
	Lookup(name string) (*catalog.Type, bool)
}

// Intake accepts events. It is safe for concurrent use.
type Intake struct {
	Catalog   Catalog
	Directory *hook.Directory
	Store     Store
	Sender    Sender
	IDs       *hook.IDs
	// Tracer, if set, follows events.
	Tracer Tracer
	// Observe, if set, is told what became of each item, and of each event that happened
	// on the platform itself. The event is nil if the item could not be read. It must not
	// wait.
	Observe func(*hook.Event, *Receipt)

	undecided undecided
}

// Item is one event as its producer sent it.
type Item struct {
	Raw []byte
	// Key is the idempotency key given beside the event, at most [MaxKey] bytes and
	// what its place in a batch adds. One inside the event goes first.
	Key string
	// Trace is what the item's own trace continues, and Link what it only points to,
	// because there is no end to what comes with it. They are for a [Tracer].
	Trace, Link hook.Trace
}

// Tracer follows events.
type Tracer interface {
	// Accept is told of an event that is about to be stored. It returns the trace that
	// the event is in, and what is to be called with what became of it.
	Accept(e *hook.Event, continues, links hook.Trace, now time.Time) (t hook.Trace, end func(*Receipt))
}

// Receipt says what became of an item.
type Receipt struct {
	Event      hook.EventID
	Deliveries int
	// Duplicate says that the event was accepted earlier under the same key.
	Duplicate bool
	// Warnings are faults for which the event was not refused.
	Warnings hook.Faults
	// Err is why the event was not accepted.
	Err error
}

// entry is an item on its way.
type entry struct {
	pub     *Publication
	typ     *hook.EventType
	receipt *Receipt
}

// Accept accepts the items at now, each whole or not at all, and returns a receipt
// for each. What is accepted is durable.
func (in *Intake) Accept(items []Item, now time.Time) []Receipt {
	receipts := make([]Receipt, len(items))
	todo := make([]entry, 0, len(items))
	for i, item := range items {
		r := &receipts[i]
		d, err := in.decode(item, now)
		if err != nil {
			r.Err = err
			continue
		}
		r.Warnings = d.warnings
		p := &Publication{Event: d.event, Key: d.key, Digest: d.digest}
		if in.Tracer != nil {
			p.Event.Trace, p.traced = in.Tracer.Accept(p.Event, item.Trace, item.Link, now)
		}
		todo = append(todo, entry{p, d.typ, r})
	}
	// Not before, so that nobody who follows events waits for what is still being read.
	turn := in.undecided.begin(in.IDs)
	defer in.undecided.end(turn)
	for _, e := range todo {
		e.pub.Event.ID = hook.EventID(in.IDs.Next(now))
	}
	all := todo
	for len(todo) > 0 {
		todo = in.publish(todo)
	}
	in.observe(receipts, all)
	return receipts
}

// observe tells what became of items, of which some became entries.
func (in *Intake) observe(receipts []Receipt, entries []entry) {
	for _, e := range entries {
		if e.pub.traced != nil {
			e.pub.traced(e.receipt)
		}
	}
	if in.Observe == nil {
		return
	}
	for _, e := range entries {
		in.Observe(e.pub.Event, e.receipt)
	}
	for i, rest := 0, entries; i < len(receipts); i++ {
		if len(rest) > 0 && rest[0].receipt == &receipts[i] {
			rest = rest[1:]
			continue
		}
		in.Observe(nil, &receipts[i])
	}
}

// publish matches and stores the entries and returns those that have to be matched
// again, because the directory changed meanwhile.
func (in *Intake) publish(todo []entry) (stale []entry) {
	pubs := make([]*Publication, len(todo))
	for i, e := range todo {
		p := e.pub
		p.Owed, p.Version = in.Directory.Match(p.Owed[:0], p.Event, e.typ)
		in.Sender.Reserve(p.Event, p.Owed)
		pubs[i] = p
	}
	in.store(pubs)
	for _, e := range todo {
		p, r := e.pub, e.receipt
		in.Sender.Settle(p.Event, p.Owed, p.Err == nil && p.Earlier == 0)
		switch {
		case errors.Is(p.Err, ErrStale):
			// The type may be another one, too.
			if t, ok := in.Catalog.Lookup(p.Event.Type); ok {
				e.typ = &t.EventType
			}
			stale = append(stale, e)
		case p.Err != nil:
			r.Err = p.Err
		case p.Earlier != 0:
			r.Event, r.Deliveries, r.Duplicate = p.Earlier, p.EarlierOwed, true
		default:
			r.Event, r.Deliveries = p.Event.ID, len(p.Owed)
		}
	}
	return stale
}

// Prepare makes publications of events that happened on the platform itself, at now:
// with ids, matched, and taken in hand by the sender. Their bodies are canonical and
// fit their types, for which the caller answers. What causes them stores them, in its
// own transaction, so it must be called from within that: the directory cannot change
// there until it is over. What was prepared wants a [Intake.Settle].
func (in *Intake) Prepare(events []*hook.Event, now time.Time) ([]*Publication, error) {
	types := make([]*hook.EventType, len(events))
	for i, e := range events {
		t, ok := in.Catalog.Lookup(e.Type)
		if !ok {
			return nil, &hook.Error{Kind: hook.Conflict, Subject: "event type " + e.Type, Detail: "is not in the catalog, so nobody could be told; import the document that describes it"}
		}
		types[i] = &t.EventType
	}
	pubs := make([]*Publication, len(events))
	turn := 0
	if len(events) > 0 {
		turn = in.undecided.begin(in.IDs)
	}
	for i, e := range events {
		e.ID = hook.EventID(in.IDs.Next(now))
		p := &Publication{Event: e, turn: turn}
		if in.Tracer != nil {
			e.Trace, p.traced = in.Tracer.Accept(e, hook.Trace{}, hook.Trace{}, now)
		}
		p.Owed, p.Version = in.Directory.Match(nil, e, types[i])
		in.Sender.Reserve(e, p.Owed)
		pubs[i] = p
	}
	return pubs, nil
}

// Settle says what became of prepared publications: all of them are stored, and are
// delivered now, or none is.
func (in *Intake) Settle(pubs []*Publication, stored bool) {
	for _, p := range pubs {
		in.Sender.Settle(p.Event, p.Owed, stored)
		r := Receipt{Event: p.Event.ID, Deliveries: len(p.Owed)}
		if !stored {
			r = Receipt{Err: errUndone}
		}
		if p.traced != nil {
			p.traced(&r)
		}
		if in.Observe != nil && stored {
			in.Observe(p.Event, &r)
		}
	}
	if len(pubs) > 0 {
		in.undecided.end(pubs[0].turn)
	}
}

// errUndone is what became of an event whose cause was undone.
var errUndone = errors.New("intake: what the event tells of was undone")

// maxRows bounds what is stored in one piece, so that nobody waits long behind it: an
// event and each delivery that it owes is a row.
const maxRows = 4096

// store makes the publications durable, a piece at a time.
func (in *Intake) store(pubs []*Publication) {
	for len(pubs) > 0 {
		n, rows := 0, 0
		for n < len(pubs) && (n == 0 || rows+1+len(pubs[n].Owed) <= maxRows) {
			rows += 1 + len(pubs[n].Owed)
			n++
		}
		if err := in.Store.Publish(pubs[:n]); err != nil {
			for _, p := range pubs[:n] {
				p.Err = err
			}
		}
		pubs = pubs[n:]
	}
}

// digest identifies what a producer sent and whom it concerns, whatever was added to
// it since. Its account is not in it, for keys are an account's own.
func digest(canonical []byte, r routing) []byte {
	h := sha256.New()
	h.Write(canonical)
	_ = json.NewEncoder(h).Encode([][]string{r.Users, r.Groups}) // a hash takes everything
	return h.Sum(nil)[:16]
}
