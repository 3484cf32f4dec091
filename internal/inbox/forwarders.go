package inbox

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/switchhook/switchhook/internal/sqlitefile"
	"zombiezen.com/go/sqlite"
)

// Progress is how far a forwarder has come.
type Progress struct {
	Forwarder string
	// Position is the number of an event: the forwarder is done with it and with all
	// before it.
	Position int64
	Failure
}

// Failure is how it went with the first event that a forwarder is not done with.
type Failure struct {
	Tries  int       // that failed
	Since  time.Time // of the first of them
	Reason string    // of the last
}

// Join returns how far a forwarder has come. One that is new begins with the first
// event there is, or after the last one if it is to have only new ones.
func (b *Inbox) Join(ctx context.Context, forwarder string, onlyNew bool) (p Progress, err error) {
	err = b.write(ctx, 0, func(c *sqlite.Conn) error {
		_, err := exec(c, `
			INSERT INTO forwarders (name, position, tries, since, reason)
			VALUES (?1, CASE WHEN ?2 THEN ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0) ELSE 0 END, 0, 0, '')
			ON CONFLICT DO NOTHING`, forwarder, onlyNew)
		return err
	})
	if err != nil {
		return p, err
	}
	return b.Progress(ctx, forwarder)
}

// Progress returns how far a forwarder has come, as far as that is on the disk.
func (b *Inbox) Progress(ctx context.Context, forwarder string) (p Progress, err error) {
	p.Forwarder = forwarder
	all, err := b.Forwarders(ctx)
	for _, other := range all {
		if other.Forwarder == forwarder {
			p = other
		}
	}
	return p, err
}

// Forwarders returns how far all forwarders have come that there ever were.
func (b *Inbox) Forwarders(ctx context.Context) (all []Progress, err error) {
	err = b.read(ctx, func(c *sqlite.Conn) error {
		return query(c, `SELECT name, position, tries, since, reason FROM forwarders ORDER BY name`, func(st *sqlite.Stmt) error {
			all = append(all, Progress{st.ColumnText(0), st.ColumnInt64(1), scanFailure(st, 2)})
			return nil
		})
	})
	return all, err
}

func scanFailure(st *sqlite.Stmt, i int) Failure {
	return Failure{int(st.ColumnInt64(i)), sqlitefile.Time(st.ColumnInt64(i + 1)), st.ColumnText(i + 2)}
}

// Save notes how far a forwarder has come. That is on the disk a moment later: until
// then a crash makes the forwarder repeat something.
func (b *Inbox) Save(p Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.pending) == 0 {
		b.timer.Reset(lazyWait)
	}
	b.pending[p.Forwarder] = p
}

// keepProgress takes back what could not be stored, unless there is something newer.
func (b *Inbox) keepProgress(progress map[string]Progress) {
	if len(progress) > 0 {
		b.mu.Lock()
		defer b.mu.Unlock()
		maps.Copy(progress, b.pending)
		b.pending = progress
		b.timer.Reset(tryAgain)
	}
}

func saveProgress(c *sqlite.Conn, progress map[string]Progress) error {
	for _, p := range progress {
		if _, err := exec(c, `UPDATE forwarders SET position = max(position, ?2), tries = ?3, since = ?4, reason = ?5 WHERE name = ?1`,
			p.Forwarder, p.Position, p.Tries, p.Since, p.Reason); err != nil {
			return err
		}
	}
	return nil
}

// DeadLetter is an event that a forwarder has given up.
type DeadLetter struct {
	Forwarder string
	Event     int64
	At        time.Time
	Failure
}

// Bury makes an event a dead letter of a forwarder.
func (b *Inbox) Bury(ctx context.Context, d DeadLetter) error {
	return b.write(ctx, 0, func(c *sqlite.Conn) error {
		_, err := exec(c, `
			INSERT INTO dead (forwarder, event, at, tries, reason) VALUES (?1, ?2, ?3, ?4, ?5)
			ON CONFLICT DO UPDATE SET at = excluded.at, tries = excluded.tries, reason = excluded.reason`,
			d.Forwarder, d.Event, d.At, d.Tries, d.Reason)
		return err
	})
}

// DeadLetters returns those of an event, or, if event is 0, of a forwarder.
func (b *Inbox) DeadLetters(ctx context.Context, event int64, forwarder string) (all []DeadLetter, err error) {
	err = b.read(ctx, func(c *sqlite.Conn) error {
		return query(c, `SELECT forwarder, event, at, tries, reason FROM dead WHERE event = ?1 OR ?1 = 0 AND forwarder = ?2 ORDER BY event, forwarder`,
			func(st *sqlite.Stmt) error {
				all = append(all, DeadLetter{st.ColumnText(0), st.ColumnInt64(1), sqlitefile.Time(st.ColumnInt64(2)), Failure{Tries: int(st.ColumnInt64(3)), Reason: st.ColumnText(4)}})
				return nil
			}, event, forwarder)
	})
	return all, err
}

// Forget drops dead letters of a forwarder: those of the events, or all of them if
// there are none named. It returns how many there were.
func (b *Inbox) Forget(ctx context.Context, forwarder string, events ...int64) (n int, err error) {
	return write(ctx, b, 0, func(c *sqlite.Conn) (n int, err error) {
		if len(events) == 0 {
			return exec(c, `DELETE FROM dead WHERE forwarder = ?1`, forwarder)
		}
		for _, id := range events {
			one, err := exec(c, `DELETE FROM dead WHERE forwarder = ?1 AND event = ?2`, forwarder, id)
			if err != nil {
				return n, err
			}
			n += one
		}
		return n, nil
	})
}

// Replay asks a forwarder to forward events again.
type Replay struct {
	ID        int64
	Forwarder string
	// Dead selects dead letters and nothing else.
	Dead bool
	// Position and Last bound the numbers of the events: Position is before the first.
	Position, Last int64
	// From and To bound the time of arrival; To is not in it. Zero: no bound.
	From, To     time.Time
	Source, Name string // empty: all; Name may end in *
	Failure
}

// Match reports whether a replay is about an event, as far as that can be seen in it.
func (r *Replay) Match(e *Event) bool {
	f := Filter{}
	if r.Source != "" {
		f.Sources = []string{r.Source}
	}
	if r.Name != "" {
		f.Names = []string{r.Name}
	}
	return e.ID > r.Position && e.ID <= r.Last && !e.Received.Before(r.From) && (r.To.IsZero() || e.Received.Before(r.To)) && f.Match(e)
}

// Replay asks for a replay. If it has no Last, it is about all events that are there
// now. The replay is gone when it is done.
func (b *Inbox) Replay(ctx context.Context, r *Replay) error {
	own := *r
	own, err := write(ctx, b, 0, func(c *sqlite.Conn) (Replay, error) {
		r := own
		err := query(c, `
			SELECT CASE WHEN ?1 = 0 THEN ifnull((SELECT max(id) FROM events), 0) ELSE ?1 END,
				max(?2, CASE WHEN ?3 = 0 THEN 0 ELSE ifnull((SELECT min(id) - 1 FROM events WHERE received >= ?3), 0) END)`,
			func(st *sqlite.Stmt) error {
				r.Last, r.Position = st.ColumnInt64(0), st.ColumnInt64(1)
				return nil
			}, r.Last, r.Position, r.From)
		if err != nil {
			return r, err
		}
		_, err = exec(c, `
			INSERT INTO replays (forwarder, created, dead, position, last, from_ms, to_ms, source, name, tries, since, reason)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, 0, '')`,
			r.Forwarder, time.Now(), r.Dead, r.Position, r.Last, r.From, r.To, r.Source, r.Name)
		r.ID = c.LastInsertRowID()
		return r, err
	})
	if err == nil {
		*r = own
	}
	return err
}

// Replays returns the replays that a forwarder has before it, or all, if it has no
// name, in the order in which they were asked for.
func (b *Inbox) Replays(ctx context.Context, forwarder string) (all []*Replay, err error) {
	err = b.read(ctx, func(c *sqlite.Conn) error {
		return query(c, `
			SELECT id, forwarder, dead, position, last, from_ms, to_ms, source, name, tries, since, reason FROM replays
			WHERE ?1 = '' OR forwarder = ?1 ORDER BY id`, func(st *sqlite.Stmt) error {
			all = append(all, &Replay{
				ID: st.ColumnInt64(0), Forwarder: st.ColumnText(1), Dead: st.ColumnBool(2), Position: st.ColumnInt64(3), Last: st.ColumnInt64(4),
				From: sqlitefile.Time(st.ColumnInt64(5)), To: sqlitefile.Time(st.ColumnInt64(6)), Source: st.ColumnText(7), Name: st.ColumnText(8), Failure: scanFailure(st, 9),
			})
			return nil
		}, forwarder)
	})
	return all, err
}

// ErrCancelled says that a replay was called off.
var ErrCancelled = errors.New("inbox: the replay was called off")

// Step notes how far a replay has come. It is over if its position is its last event.
// The events that it has forwarded since are no dead letters any more, if they were.
func (b *Inbox) Step(ctx context.Context, r *Replay, forwarded []int64) error {
	now := *r
	there, err := write(ctx, b, 0, func(c *sqlite.Conn) (bool, error) {
		for _, id := range forwarded {
			if _, err := exec(c, `DELETE FROM dead WHERE forwarder = ?1 AND event = ?2`, now.Forwarder, id); err != nil {
				return false, err
			}
		}
		if now.Position >= now.Last {
			_, err := exec(c, `DELETE FROM replays WHERE id = ?1`, now.ID)
			return true, err
		}
		n, err := exec(c, `UPDATE replays SET position = ?2, tries = ?3, since = ?4, reason = ?5 WHERE id = ?1`, now.ID, now.Position, now.Tries, now.Since, now.Reason)
		return n > 0, err
	})
	if err == nil && !there {
		err = ErrCancelled
	}
	return err
}

// Cancel gives up a replay, and reports whether there was one.
func (b *Inbox) Cancel(ctx context.Context, replay int64) (ok bool, err error) {
	n, err := write(ctx, b, 0, func(c *sqlite.Conn) (int, error) {
		return exec(c, `DELETE FROM replays WHERE id = ?1`, replay)
	})
	return n > 0, err
}
