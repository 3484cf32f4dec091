package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// divisions are the tables that events and attempts are divided into, by time: what is
// old is dropped as a whole. They are made ahead, and where there is none yet, also
// when a clock goes wrong, when the first row wants it.
type divisions struct {
	db    *postgresDB
	width time.Duration // of those that are made

	mu    sync.Mutex
	known map[string][]division // of each divided table, in order
}

// division has the rows with ids from low to below high.
type division struct {
	name      string
	low, high int64
}

// dividedTables are those that are divided.
var dividedTables = []string{"events", "attempts"}

// A division is a seventh of the time for which the log is kept, so that that much is
// kept too long at most, and a day at most, and no less than a minute.
func divisionWidth(retention time.Duration) time.Duration {
	const day = 24 * time.Hour
	if retention == 0 {
		return day
	}
	return max(time.Minute, min(day, (retention/7).Truncate(time.Minute)))
}

// ahead is how many divisions are made ahead.
const ahead = 2

// prepare makes the divisions of now and of what comes.
func (d *divisions) prepare(ctx context.Context, now time.Time) error {
	for _, table := range dividedTables {
		err := d.cover(ctx, table, 1+ahead, func(i int) int64 { return hook.FirstID(now.Add(time.Duration(i) * d.width)) })
		if err != nil {
			return err
		}
	}
	return nil
}

// forget makes the divisions be looked up again.
func (d *divisions) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known = nil
}

// cover makes sure that there are divisions for n ids.
func (d *divisions) cover(ctx context.Context, table string, n int, id func(i int) int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	missing := d.missing(table, n, id)
	if len(missing) == 0 {
		return nil
	}
	s, err := d.db.connect(ctx, "divide")
	if err != nil {
		return err
	}
	defer s.close()
	return d.locked(ctx, s, table, func() error {
		for _, id := range missing {
			if _, ok := find(d.known[table], id); ok {
				continue
			}
			if err := d.add(ctx, s, table, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// missing returns the ids for which there is no division that is known.
func (d *divisions) missing(table string, n int, id func(i int) int64) (missing []int64) {
	var last division // one id is mostly in the same as the one before
	for i := range n {
		id := id(i)
		if last.low <= id && id < last.high {
			continue
		}
		var ok bool
		if last, ok = find(d.known[table], id); !ok {
			missing = append(missing, id)
		}
	}
	return missing
}

// find returns the division that has an id.
func find(list []division, id int64) (division, bool) {
	i := sort.Search(len(list), func(i int) bool { return list[i].high > id })
	if i == len(list) || list[i].low > id {
		return division{}, false
	}
	return list[i], true
}

// locked calls f while nobody else makes or drops divisions, when those of the table
// are known.
func (d *divisions) locked(ctx context.Context, s *session, table string, f func() error) error {
	if err := s.query(ctx, `SELECT pg_advisory_lock($1)`, func(row) error { return nil }, d.db.lock(lockDivisions)); err != nil {
		return err
	}
	var err error
	if d.known == nil {
		d.known = map[string][]division{}
	}
	if d.known[table], err = divisionsOf(ctx, s, table); err == nil {
		err = f()
	}
	return errors.Join(err, s.query(ctx, `SELECT pg_advisory_unlock($1)`, func(row) error { return nil }, d.db.lock(lockDivisions)))
}

// What is being dropped is locked, and to ask for its bounds would wait for that.
const selectDivisions = `
	SELECT CAST(c.relname AS text), CASE WHEN i.inhdetachpending THEN '' ELSE pg_get_expr(c.relpartbound, c.oid) END, i.inhdetachpending
	FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
	WHERE i.inhparent = CAST(CAST($1 AS text) AS regclass)`

// selectDetached finds what has the name of a division and is none.
const selectDetached = `
	SELECT CAST(c.relname AS text) FROM pg_class c
	WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = CAST(CAST($1 AS text) AS regclass))
		AND c.relkind = 'r' AND c.relname ~ ('^' || $1 || '_[0-9]{8}_[0-9]{6}(_[0-9]{3})?$')
		AND NOT EXISTS (SELECT 1 FROM pg_inherits WHERE inhrelid = c.oid)`

func divisionsOf(ctx context.Context, s *session, table string) (list []division, err error) {
	err = s.query(ctx, selectDivisions, func(r row) error {
		x := division{name: r.text(0)}
		if r.int(2) != 0 { // it is being dropped
			return nil
		}
		if _, err := fmt.Sscanf(r.text(1), "FOR VALUES FROM ('%d') TO ('%d')", &x.low, &x.high); err != nil {
			return fmt.Errorf("store: division %s is bounded by %q", x.name, r.text(1))
		}
		list = append(list, x)
		return nil
	}, table)
	slices.SortFunc(list, func(a, b division) int { return cmp.Compare(a.low, b.low) })
	return list, err
}

// divisionOf returns the division that is to have an id, beside those there are.
func divisionOf(list []division, table string, id int64, width time.Duration) division {
	start := hook.EventID(id).Time().Truncate(width)
	x := division{low: hook.FirstID(start), high: hook.FirstID(start.Add(width))}
	for _, other := range list { // what is there already may be of another width
		if other.high <= id {
			x.low = max(x.low, other.high)
		} else {
			x.high = min(x.high, other.low)
		}
	}
	x.name = fmt.Sprintf("%s_%s", table, hook.EventID(x.low).Time().UTC().Format("20060102_150405"))
	if ms := hook.EventID(x.low).Time().UnixMilli() % 1000; ms != 0 {
		x.name += fmt.Sprintf("_%03d", ms)
	}
	return x
}

// add makes the division that is to have an id.
func (d *divisions) add(ctx context.Context, s *session, table string, id int64) error {
	list := d.known[table]
	x := divisionOf(list, table, id, d.width)
	// It is attached when it has its bounds and its indexes: that can be done while
	// others write to the table, and takes no time.
	err := s.simple(ctx, fmt.Sprintf(`
		BEGIN;
		DROP TABLE IF EXISTS %[1]s;
		CREATE TABLE %[1]s (LIKE %[2]s INCLUDING ALL, CONSTRAINT bounds CHECK (id >= %[3]d AND id < %[4]d));
		ALTER TABLE %[2]s ATTACH PARTITION %[1]s FOR VALUES FROM (%[3]d) TO (%[4]d);
		ALTER TABLE %[1]s DROP CONSTRAINT bounds;
		COMMIT`, x.name, table, x.low, x.high))
	if err != nil {
		return err
	}
	d.known[table] = append(slices.Clone(list), x)
	slices.SortFunc(d.known[table], func(a, b division) int { return cmp.Compare(a.low, b.low) })
	return nil
}

// drop drops the divisions that have only ids below.
func (d *divisions) drop(ctx context.Context, s *session, table string, below int64) error {
	var old []string
	d.mu.Lock()
	err := d.locked(ctx, s, table, func() error {
		d.known[table] = slices.DeleteFunc(slices.Clone(d.known[table]), func(x division) bool {
			if x.high > below {
				return false
			}
			old = append(old, x.name)
			return true
		})
		return nil
	})
	d.mu.Unlock()
	if err != nil {
		return err
	}
	if err := finishDropping(ctx, s, table); err != nil {
		return err
	}
	for _, name := range old {
		if err := detach(ctx, s, table, name); err != nil {
			return err
		}
		if err := s.simple(ctx, "DROP TABLE "+name); err != nil {
			return err
		}
	}
	return nil
}

// detach takes a division out of its table. That waits until nobody reads the table any
// more who began before, and makes nobody wait: to drop the division at once would stop
// the whole table for as long as the longest query takes.
func detach(ctx context.Context, s *session, table, name string) error {
	return s.simple(ctx, fmt.Sprintf("ALTER TABLE %s DETACH PARTITION %s CONCURRENTLY", table, name))
}

// To finish what was broken off waits in the same way, but meanwhile nobody can make a
// division, which those who write may need. So it waits a little at a time, and lets
// others in between.
const (
	finishWait  = "2s"
	finishPause = time.Second
	finishTries = 20
)

var errRead = errors.New("somebody is still reading what is to be dropped")

// finishDetaching ends a detaching that was broken off.
func finishDetaching(ctx context.Context, s *session, table, name string) error {
	if err := s.simple(ctx, "SET lock_timeout = '"+finishWait+"'"); err != nil {
		return err
	}
	err := errRead
	for try := 0; try < finishTries && errors.Is(err, errRead); try++ {
		if try > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(finishPause):
			}
		}
		if err = s.simple(ctx, fmt.Sprintf("ALTER TABLE %s DETACH PARTITION %s FINALIZE", table, name)); codeOf(err) == codeLockTimeout {
			err = errRead
		}
	}
	return errors.Join(err, s.simple(ctx, "SET lock_timeout = 0"))
}

// finishDropping ends what was interrupted.
func finishDropping(ctx context.Context, s *session, table string) error {
	var detaching, detached []string
	err := s.query(ctx, selectDivisions, func(r row) error {
		if r.int(2) != 0 {
			detaching = append(detaching, r.text(0))
		}
		return nil
	}, table)
	if err != nil {
		return err
	}
	for _, name := range detaching {
		if err := finishDetaching(ctx, s, table, name); err != nil {
			return err
		}
	}
	err = s.query(ctx, selectDetached, func(r row) error { detached = append(detached, r.text(0)); return nil }, table)
	for _, name := range detached {
		if err == nil {
			err = s.simple(ctx, "DROP TABLE "+name)
		}
	}
	return err
}

func (p *postgresDB) expireLog(ctx context.Context, attempts, events int64) error {
	if err := p.divisions.prepare(ctx, time.Now()); err != nil {
		return err
	}
	s, err := p.connect(ctx, "divide")
	if err != nil {
		return err
	}
	defer s.close()
	alone := false
	err = s.query(ctx, `SELECT pg_try_advisory_lock($1)`, func(r row) error { alone = r.int(0) != 0; return nil }, p.lock(lockDrop))
	if err != nil || !alone { // somebody else does it
		return err
	}
	var errs []error
	for _, x := range []struct {
		table string
		below int64
	}{{"attempts", attempts}, {"events", events}} {
		err := p.divisions.drop(ctx, s, x.table, x.below)
		if errors.Is(err, errRead) {
			p.log.Warn("what is too old cannot be dropped yet: somebody has been reading the table for long", "table", x.table)
			err = nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errors.Join(errs...), s.query(ctx, `SELECT pg_advisory_unlock($1)`, func(row) error { return nil }, p.lock(lockDrop)))
}
