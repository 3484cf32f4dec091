package store

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"

	"github.com/switchhook/switchhook/internal/hook"
)

// The whole log is read by id, which is the order in which rows were recorded: also
// where few rows are wanted of it, for whoever follows it looks at each new row once.
const (
	wantedRow = `
		($1 = 0 OR subscription = $1)
		AND ($2 = '' OR subscription IN (SELECT key FROM subscriptions WHERE app_id = $2))
		AND ($3 = 0 OR coalesce(nullif(type_id, 0), (SELECT e.type_id FROM events e WHERE e.id = event_id)) = $3)
		AND ($4 = 0 OR part % 2 = 1)`

	selectLogAfter  = `SELECT id, ` + wantedRow + ` FROM attempts WHERE id > $5 AND id <= $6 ORDER BY id LIMIT $7`
	selectLogBefore = `SELECT id, ` + wantedRow + ` FROM attempts WHERE id < $5 AND id <= $6 ORDER BY id DESC LIMIT $7`

	// scanLogRows is how many rows are looked at for one page.
	scanLogRows = 5_000
)

// LogAfter returns rows with ids above after, the earliest first, at most limit of them.
// It says up to which row it has looked, and whether there may be more above that.
func (db *DB) LogAfter(ctx context.Context, q hook.LogQuery, after int64, limit int) (rows []hook.LogRow, upTo int64, more bool, err error) {
	return db.scanLog(ctx, selectLogAfter, q, after, limit)
}

// LogBefore returns rows with ids below before, the latest first, at most limit of them.
// It says down to which row it has looked, and whether there may be more below that.
func (db *DB) LogBefore(ctx context.Context, q hook.LogQuery, before int64, limit int) (rows []hook.LogRow, downTo int64, more bool, err error) {
	return db.scanLog(ctx, selectLogBefore, q, before, limit)
}

func (db *DB) scanLog(ctx context.Context, query string, q hook.LogQuery, from int64, limit int) (rows []hook.LogRow, end int64, more bool, err error) {
	wanted := db.knownType(q.EventType)
	if q.EventType != "" && wanted == 0 {
		wanted = math.MaxInt64 // nothing of that type was ever sent
	}
	decided, err := db.sql.decided(ctx) // what comes later must not be passed by
	if err != nil {
		return nil, 0, false, err
	}
	err = db.sql.read(ctx, func(t tx) error {
		var ids []int64
		looked := 0
		end = from
		err := t.query(query, func(r row) error {
			looked++
			if end = r.int(0); r.int(1) != 0 {
				if ids = append(ids, end); len(ids) == limit {
					return errEnough
				}
			}
			return nil
		}, int64(q.Subscription), q.App, wanted, q.Failed, from, decided, scanLogRows)
		if more = looked == scanLogRows || errors.Is(err, errEnough); err != nil && !errors.Is(err, errEnough) {
			return err
		}
		rows, err = db.logRows(t, selectEventHead, ids) // the same snapshot has all of them
		return err
	})
	return rows, end, more, err
}

// LastLogRow returns the id of the latest row of the log, or 0.
func (db *DB) LastLogRow(ctx context.Context) (id int64, err error) {
	decided, err := db.sql.decided(ctx)
	if err != nil {
		return 0, err
	}
	err = db.sql.read(ctx, func(t tx) error {
		return t.query(`SELECT max(id) FROM attempts WHERE id <= $1`, func(r row) error { id = r.int(0); return nil }, decided)
	})
	return id, err
}

const (
	// Columns before the body are read without it.
	selectHeadsAfter = selectEventHead + `WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3`
	selectLastEvent  = `SELECT max(id) FROM events WHERE id <= $1`

	// scanEvents is how many events are looked at for one page, and pageBytes what their
	// bodies may have together, unless it is only one.
	scanEvents = 2_000
	pageBytes  = 1 << 20
)

// EventsAfter returns events with ids above after and up to upTo that are wanted, the
// earliest first, at most limit of them. It says up to which event it has looked, and
// whether there may be more above that. None is returned that another node may yet store
// one before.
func (db *DB) EventsAfter(ctx context.Context, wanted func(*hook.Event) bool, after, upTo hook.EventID, limit int) (events []*hook.Event, end hook.EventID, more bool, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		var heads []*hook.Event
		looked, size := 0, 0
		bound, err := db.sql.bound(t)
		if err != nil {
			return err
		}
		err = t.query(selectHeadsAfter, func(r row) error {
			e, _, err := db.scanEvent(r)
			if err != nil {
				return err
			}
			looked++
			heads = append(heads, e)
			return nil
		}, int64(after), int64(min(upTo, bound)), scanEvents)
		if err != nil {
			return err
		}
		end, more = after, looked == scanEvents
		for _, head := range heads {
			if !wanted(head) {
				end = head.ID
				continue
			}
			if len(events) == limit {
				more = true
				return nil
			}
			var e *hook.Event
			err := t.query(selectEvent+`WHERE id = $1`, func(r row) (err error) { e, _, err = db.scanEvent(r); return err }, int64(head.ID))
			if err != nil {
				return err
			}
			if size += len(e.Body); size > pageBytes && len(events) > 0 {
				more = true
				return nil
			}
			events, end = append(events, e), e.ID
		}
		return nil
	})
	return events, end, more, err
}

// LastEventUpTo returns the highest id of an event that is not above upTo, or 0, and the
// highest of all. The former is one that no other node will store an event before. If
// there are later ones, the other nodes are asked to say more, and it may be one of these
// in a moment.
func (db *DB) LastEventUpTo(ctx context.Context, upTo hook.EventID) (id, last hook.EventID, asked bool, err error) {
	bound := hook.EventID(0)
	err = db.sql.read(ctx, func(t tx) (err error) {
		if bound, err = db.sql.bound(t); err != nil {
			return err
		}
		return firstError(
			t.query(selectLastEvent, func(r row) error { id = hook.EventID(r.int(0)); return nil }, int64(min(upTo, bound))),
			t.query(selectLastEvent, func(r row) error { last = hook.EventID(r.int(0)); return nil }, int64(math.MaxInt64)))
	})
	if err == nil && last > id && bound < math.MaxInt64 {
		db.sql.askMarks(last)
		asked = true
	}
	return id, last, asked, err
}

// FollowEvents returns a channel on which there is something to receive when there may be
// events of other nodes for [DB.EventsAfter] to return, until stop is called.
func (db *DB) FollowEvents() (news <-chan struct{}, stop func()) { return db.sql.followEvents() }

// Follow returns a channel on which there is something to receive when rows may have
// been added to the log since something was received last, until stop is called.
func (db *DB) Follow() (news <-chan struct{}, stop func()) { return db.sql.follow() }

// followers are those who want to know of new rows. Nobody waits for them: each has
// a channel that holds one wake-up, which stands for all that come until it is received.
type followers struct {
	some atomic.Bool // so that it costs next to nothing when there are none
	mu   sync.Mutex
	all  map[chan struct{}]bool
}

func (f *followers) follow() (news <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = map[chan struct{}]bool{}
	}
	f.all[c] = true
	f.some.Store(true)
	return c, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.all, c)
		f.some.Store(len(f.all) > 0)
	}
}

func (f *followers) wake() {
	if !f.some.Load() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.all {
		select {
		case c <- struct{}{}:
		default: // it will look anyway
		}
	}
}
