package inbox

import (
	"context"
	"encoding/binary"
	"hash/fnv"
	"strings"
	"time"

	"github.com/switchhook/switchhook/internal/sqlitefile"
	"zombiezen.com/go/sqlite"
)

// Added says what became of an event.
type Added struct {
	// ID is the event's number, or that of the event it is a duplicate of.
	ID int64
	// Duplicate says that the event was there already: the same request id with the same
	// body, or the very same signed bytes.
	Duplicate bool
	// Conflict says that its request id was there with another body, lately. It is
	// stored like any other.
	Conflict bool
}

// Add stores an event and returns when it is on the disk. It keeps e's body. If ctx is
// over before, the event may be stored nevertheless.
func (b *Inbox) Add(ctx context.Context, e *Event) (Added, error) {
	own := incomingOf(e)
	a, err := write(ctx, b, own.size(), func(c *sqlite.Conn) (Added, error) { return b.insert(c, &own) })
	if err == nil {
		e.ID, e.Conflict = a.ID, a.Conflict
	}
	return a, err
}

// incoming is an event as it is stored, made before it is the writer's turn. It is a
// copy, because the writer may be at it when nobody waits for it any more.
type incoming struct {
	Event
	headers string
}

func incomingOf(e *Event) incoming { return incoming{*e, e.Headers.text()} }

func (e *incoming) size() int { return len(e.Body) + len(e.headers) }

const selectSame = `
	SELECT id FROM events
	WHERE event_ts = ?1 AND body_hash = ?2 AND source = ?3 AND received >= ?4 AND (replay = ?5 OR request_id = ?6 AND request_id <> '')
	ORDER BY id LIMIT 1`

const insertEvent = `
	INSERT INTO events (source, received, name, event_ts, request_id, conflict, body_hash, replay, headers, body)
	VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)`

// insert stores an event that is not there yet. All that it is compared by is covered
// by the signature but the request id, and that only counts for the same body.
func (b *Inbox) insert(c *sqlite.Conn, e *incoming) (a Added, err error) {
	hash, replay := e.BodyHash[:hashBytes], e.Replay[:hashBytes]
	err = query(c, selectSame, func(st *sqlite.Stmt) error {
		a = Added{ID: st.ColumnInt64(0), Duplicate: true}
		return nil
	}, sqlitefile.Millis(e.Time), hash, e.Source, e.Received.Add(-b.horizon), replay, e.RequestID)
	if err != nil || a.Duplicate {
		return a, err
	}
	if e.RequestID != "" && b.ids.add(idOf(e.Source, e.RequestID), binary.BigEndian.Uint64(hash), e.Received, b.horizon) {
		e.Conflict = true // for good, should the transaction have to be made once more
	}
	a.Conflict = e.Conflict
	_, err = exec(c, insertEvent, e.Source, e.Received, e.Name, sqlitefile.Millis(e.Time), e.RequestID, a.Conflict, hash, replay, e.headers, e.Body)
	a.ID = c.LastInsertRowID()
	if err != nil {
		return a, err
	}
	return a, b.leave(c, &e.Event)
}

func idOf(source, requestID string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(source))
	_, _ = h.Write([]byte{'\n'})
	_, _ = h.Write([]byte(requestID))
	return h.Sum64()
}

// rememberRows bounds what is read at start to know request ids again.
const rememberRows = 50_000

func (b *Inbox) remember() error {
	now := time.Now()
	return query(b.conn, `
		SELECT source, request_id, body_hash FROM events
		WHERE id > (SELECT ifnull(max(id), 0) FROM events) - ?1 AND received >= ?2 ORDER BY id`,
		func(st *sqlite.Stmt) error {
			if id := st.ColumnText(1); id != "" {
				b.ids.add(idOf(st.ColumnText(0), id), binary.BigEndian.Uint64(blob(st, 2)), now, b.horizon)
			}
			return nil
		}, rememberRows, now.Add(-b.horizon))
}

// Filter selects events.
type Filter struct {
	// Sources are names of sources. Empty: all.
	Sources []string
	// Names are event types, or beginnings of some with * after it. Empty: all.
	Names []string
}

// Match reports whether the filter selects an event.
func (f *Filter) Match(e *Event) bool {
	return (len(f.Sources) == 0 || contains(f.Sources, e.Source)) && (len(f.Names) == 0 || contains(f.Names, e.Name))
}

func contains(patterns []string, s string) bool {
	for _, p := range patterns {
		if begin, ok := strings.CutSuffix(p, "*"); p == s || ok && strings.HasPrefix(s, begin) {
			return true
		}
	}
	return false
}

const eventColumns = `id, source, received, name, event_ts, request_id, conflict, body_hash, replay, headers, body`

func scanEvent(st *sqlite.Stmt) *Event {
	return &Event{
		ID: st.ColumnInt64(0), Source: st.ColumnText(1), Received: sqlitefile.Time(st.ColumnInt64(2)), Name: st.ColumnText(3),
		Time: sqlitefile.Time(st.ColumnInt64(4)), RequestID: st.ColumnText(5), Conflict: st.ColumnBool(6), BodyHash: blob(st, 7), Replay: blob(st, 8),
		Headers: parseHeaders(st.ColumnText(9)), Body: blob(st, 10),
	}
}

// Bounds of what is read at once.
const (
	readRows  = 256
	readBytes = 4 << 20
)

// After returns events in the order of their numbers, beginning after a number and
// not beyond last: as many as are handled well at once, and none only if there is none.
func (b *Inbox) After(ctx context.Context, id, last int64) (events []*Event, err error) {
	size := 0
	err = b.read(ctx, func(c *sqlite.Conn) error {
		st, err := sqlitefile.Prepare(c, `SELECT `+eventColumns+` FROM events WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3`, []any{id, last, readRows})
		if err != nil {
			return err
		}
		defer func() { _ = st.Reset() }() // its error is that of the last step
		for size < readBytes {
			if more, err := st.Step(); err != nil || !more {
				return err
			}
			e := scanEvent(st)
			size += len(e.Body)
			events = append(events, e)
		}
		return nil
	})
	return events, err
}

// Get returns an event, or nil.
func (b *Inbox) Get(ctx context.Context, id int64) (e *Event, err error) {
	err = b.read(ctx, func(c *sqlite.Conn) error {
		return query(c, `SELECT `+eventColumns+` FROM events WHERE id = ?1`, func(st *sqlite.Stmt) error {
			e = scanEvent(st)
			return nil
		}, id)
	})
	return e, err
}

// Query selects events for people to look at.
type Query struct {
	Source, Name string // Name may end in *
	RequestID    string
	From, To     time.Time
	// Forwarder, if set, selects the dead letters of one.
	Forwarder string
	// Before, if not 0, selects events with lower numbers.
	Before int64
	Limit  int
}

// List returns events, the latest first.
func (b *Inbox) List(ctx context.Context, q Query) (events []*Event, err error) {
	where, args := []string{"1"}, []any{}
	also := func(condition string, values ...any) {
		where, args = append(where, condition), append(args, values...)
	}
	if q.Source != "" {
		also("source = ?", q.Source)
	}
	if begin, ok := strings.CutSuffix(q.Name, "*"); ok {
		also("substr(name, 1, length(?)) = ?", begin, begin)
	} else if q.Name != "" {
		also("name = ?", q.Name)
	}
	if q.RequestID != "" {
		also("request_id = ?", q.RequestID)
	}
	if !q.From.IsZero() {
		also("received >= ?", q.From)
	}
	if !q.To.IsZero() {
		also("received < ?", q.To)
	}
	if q.Forwarder != "" {
		also("id IN (SELECT event FROM dead WHERE forwarder = ?)", q.Forwarder)
	}
	if q.Before > 0 {
		also("id < ?", q.Before)
	}
	args = append(args, q.Limit)
	err = b.read(ctx, func(c *sqlite.Conn) error {
		return query(c, `SELECT `+eventColumns+` FROM events WHERE `+strings.Join(where, " AND ")+` ORDER BY id DESC LIMIT ?`,
			func(st *sqlite.Stmt) error {
				events = append(events, scanEvent(st))
				return nil
			}, args...)
	})
	return events, err
}

// Size says how much is in the inbox.
type Size struct {
	Events, First, Last      int64 // how many, about, and the numbers of the first and the last
	Quarantined, DeadLetters int64
}

// Size returns how much is in the inbox.
func (b *Inbox) Size(ctx context.Context) (s Size, err error) {
	err = b.read(ctx, func(c *sqlite.Conn) error {
		return query(c, `
			SELECT (SELECT ifnull(min(id), 0) FROM events), (SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'),
				(SELECT count(*) FROM quarantine), (SELECT count(*) FROM dead)`, func(st *sqlite.Stmt) error {
			s = Size{First: st.ColumnInt64(0), Last: st.ColumnInt64(1), Quarantined: st.ColumnInt64(2), DeadLetters: st.ColumnInt64(3)}
			if s.First > 0 {
				s.Events = s.Last - s.First + 1
			}
			return nil
		})
	})
	return s, err
}

// expireRows bounds what one step of Expire deletes, so that senders do not have to
// wait behind it.
const expireRows = 200

// Expire deletes, in small steps, the events that were received before t and that
// all the forwarders are done with, replays included, and what is that old in the
// quarantine. Events in which duplicates are recognised stay, and so do dead letters.
func (b *Inbox) Expire(ctx context.Context, t, quarantine time.Time, forwarders []string) error {
	if horizon := time.Now().Add(-b.horizon); t.After(horizon) {
		t = horizon
	}
	below := int64(1<<63 - 1)
	for _, name := range forwarders {
		p, err := b.Progress(ctx, name)
		if err != nil {
			return err
		}
		below = min(below, p.Position+1)
		replays, err := b.Replays(ctx, name)
		if err != nil {
			return err
		}
		for _, r := range replays {
			below = min(below, r.Position+1)
		}
	}
	for _, step := range []struct {
		query string
		args  []any
	}{
		{`DELETE FROM events WHERE id IN (SELECT id FROM events WHERE received < ?1 AND id < ?2
			AND NOT EXISTS (SELECT 1 FROM dead WHERE event = events.id) ORDER BY received LIMIT ?3)`, []any{t, below, expireRows}},
		{`DELETE FROM quarantine WHERE id IN (SELECT id FROM quarantine WHERE received < ?1 LIMIT ?2)`, []any{quarantine, expireRows}},
	} {
		for rows := 1; rows > 0 && ctx.Err() == nil; {
			n, err := write(ctx, b, 0, func(c *sqlite.Conn) (int, error) {
				b.held.forget()
				return exec(c, step.query, step.args...)
			})
			if err != nil {
				return err
			}
			rows = n
		}
	}
	return ctx.Err()
}
