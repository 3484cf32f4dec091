package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"math"

	"github.com/gofrs/flock"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/sqlitefile"
)

//go:embed migrations
var migrations embed.FS

const (
	// applicationID marks the file as ours: "swhk".
	applicationID = 0x7377686b

	// Reading that deliveries or a producer wait for has connections of its own, so
	// that looking through the log never holds it up.
	readers = 4
	urgents = 2

	// writerCache is the writer's page cache, in KiB. A larger one is slower.
	writerCache = 24576
)

// databaseKind is what the platform's database is as a file.
var databaseKind = &sqlitefile.Kind{
	What: "a platform's database", ApplicationID: applicationID, Files: migrations, Pattern: "migrations/*.sqlite.sql",
	Cache: writerCache, Settings: []string{"foreign_keys=1"},
}

// sqliteDB writes through one goroutine and reads through a few other connections.
type sqliteDB struct {
	*committer
	lock      *flock.Flock // nil unless this process delivers
	conn      *sqlite.Conn // the writer's
	pool      *sqlitex.Pool
	urgent    *sqlitex.Pool
	directory *hook.Directory

	checkpoint sqlitefile.Checkpoint
	attemptIDs *hook.IDs
	// typeNumber returns the number of an event type that is known, or 0.
	typeNumber           func(name string) int64
	host, programVersion string
	targets              map[hook.Target]int64 // the writer's: those that are stored
	followers            followers
	logged               bool // the writer's: log rows were added for which nobody was woken yet

	scratch []byte // the writer's
}

func openSQLite(ctx context.Context, file string, dir *hook.Directory, typeNumber func(string) int64, o Options) (_ *sqliteDB, err error) {
	s := &sqliteDB{directory: dir, typeNumber: typeNumber, host: o.Host, programVersion: o.Version, targets: map[hook.Target]int64{}}
	s.committer = newCommitter(s, o)
	defer func() {
		if err != nil {
			_ = s.release() // there is a first error already
		}
	}()
	if err := sqlitefile.CheckDir(file); err != nil {
		return nil, err
	}
	if o.Deliver {
		s.lock, err = sqlitefile.Lock(file, "another switchhook is serving from this database; stop it first, or give this one a file of its own")
		if err != nil {
			return nil, err
		}
	}
	sqlitefile.Create(file)
	if s.conn, err = databaseKind.Open(file); err != nil {
		return nil, err
	}
	if err := databaseKind.Migrate(ctx, s.conn); err != nil {
		return nil, err
	}
	if o.Deliver {
		// Whoever opens the file owns it: what the process before had in hand is free.
		for _, query := range []string{`DELETE FROM nodes`, `UPDATE outbox SET claimed_until = 0, claimed_by = 0 WHERE state = 'pending' AND claimed_until > 0`} {
			if err := sqlitex.ExecuteTransient(s.conn, query, nil); err != nil {
				return nil, err
			}
		}
		if err := reserve(s.conn); sqlitefile.OutOfOrder(err) {
			// It only saves time later. A platform must be able to start on a full disk.
			s.log.Warn("there is no room for the write-ahead log; is the disk full?", "err", err)
		} else if err != nil {
			return nil, err
		}
		sqlitefile.Copy(s.conn, s.log)
	}
	if s.pool, err = sqlitefile.NewPool(file, readers); err != nil {
		return nil, err
	}
	if s.urgent, err = sqlitefile.NewPool(file, urgents); err != nil {
		return nil, err
	}
	if err := s.checkpoint.Open(databaseKind, file); err != nil {
		return nil, err
	}
	var last int64
	if err := (sqliteTx{s.conn, s}).query(`SELECT max(id) FROM attempts`, func(r row) error { last = r.int(0); return nil }); err != nil {
		return nil, err
	}
	s.attemptIDs = hook.NewIDs(0, last)
	go s.run()
	return s, nil
}

// reserve makes the write-ahead log as long as it will become, and starts it again
// from its beginning: a commit that has to make a file longer waits longer for the
// disk.
func reserve(c *sqlite.Conn) error {
	return sqlitex.ExecuteScript(c, fmt.Sprintf(`
		PRAGMA cache_size = 10; -- none of this is worth remembering
		CREATE TABLE reserve (room BLOB);
		INSERT INTO reserve VALUES (zeroblob(%d));
		DROP TABLE reserve;
		PRAGMA %s;`, reserveBytes, databaseKind.CachePragma()), nil)
}

func (s *sqliteDB) outOfOrder(err error) bool { return sqlitefile.OutOfOrder(err) }

func (s *sqliteDB) transact(batch []unit) error {
	if err := run(s.conn, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := s.apply(batch)
	if err == nil {
		err = run(s.conn, "COMMIT")
		s.checkpoint.Add(sqlitefile.CommitBytes)
	}
	if err != nil {
		clear(s.targets) // some may not be stored after all
		if !s.conn.AutocommitEnabled() {
			return errors.Join(err, run(s.conn, "ROLLBACK"))
		}
	}
	return err
}

func (s *sqliteDB) apply(batch []unit) error {
	for i := range batch {
		u := &batch[i]
		var err error
		switch {
		case u.finish != nil:
			err = s.applyFinish(u.finish)
		case u.publish != nil:
			err = s.applyPublish(u.publish)
		default:
			err = u.call(sqliteTx{s.conn, s})
			s.checkpoint.Add(2 * 300 * u.many)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// run executes a statement without parameters or results.
func run(c *sqlite.Conn, query string) error {
	st, err := c.Prepare(query)
	if err != nil {
		return err
	}
	return step(st)
}

// step executes a prepared statement that returns nothing.
func step(st *sqlite.Stmt) error {
	_, err := st.Step()
	if resetErr := st.Reset(); err == nil {
		err = resetErr
	}
	return err
}

// rest wakes those who follow the log, and moves the write-ahead log on.
func (s *sqliteDB) rest() {
	if s.logged {
		s.logged = false
		s.followers.wake()
	}
	s.checkpoint.Step(s.conn, s.log)
}

func (s *sqliteDB) write(f func(tx) error, after func()) error {
	return s.do(unit{call: f, alone: after != nil, after: after})
}

func (s *sqliteDB) writeMany(rows int, f func(tx) error) error {
	return s.do(unit{call: f, many: rows})
}

func (s *sqliteDB) writeNow(f func(tx) error) error { return s.write(f, nil) }

func (s *sqliteDB) read(ctx context.Context, f func(tx) error) error { return readFrom(ctx, s.pool, f) }

func (s *sqliteDB) readNow(ctx context.Context, f func(tx) error) error {
	return readFrom(ctx, s.urgent, f)
}

func readFrom(ctx context.Context, p *sqlitex.Pool, f func(tx) error) error {
	c, err := p.Take(ctx)
	if err != nil {
		return err
	}
	defer p.Put(c)
	if err := run(c, "BEGIN"); err != nil {
		return err
	}
	err = f(sqliteTx{c, nil})
	c.SetInterrupt(nil) // also when ctx is over, the snapshot must be given up
	return errors.Join(err, run(c, "ROLLBACK"))
}

func (s *sqliteDB) follow() (<-chan struct{}, func()) { return s.followers.follow() }

// version begins anew with each process: nobody else changes anything while it runs.
func (s *sqliteDB) version(tx) (int64, error) { return 1, nil }

// decided: there is one writer, and what it commits is in the order of the ids.
func (s *sqliteDB) decided(context.Context) (int64, error) { return math.MaxInt64, nil }

func (s *sqliteDB) readAside(ctx context.Context, f func(tx) error) error { return s.readNow(ctx, f) }

func (s *sqliteDB) change(f func(tx) error, _ touched, _ int64, after func(version int64)) error {
	return s.write(f, func() { after(0) })
}

func (s *sqliteDB) learn(c hook.Change, _ int64)  { s.directory.Apply(c) }
func (s *sqliteDB) catchUp(context.Context) error { return nil }
func (s *sqliteDB) node() int64                   { return 0 }

// One process accepts events.
func (s *sqliteDB) bound(tx) (hook.EventID, error)          { return math.MaxInt64, nil }
func (s *sqliteDB) askMarks(hook.EventID)                   {}
func (s *sqliteDB) followEvents() (<-chan struct{}, func()) { return nil, func() {} }

func (s *sqliteDB) close() error {
	s.committer.close()
	return s.release()
}

func (s *sqliteDB) release() error {
	var errs []error
	errs = append(errs, s.checkpoint.Close())
	for _, p := range []*sqlitex.Pool{s.pool, s.urgent} {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Unlock())
	}
	return errors.Join(errs...)
}

// sqliteTx runs the statements that are shared by both kinds of database.
type sqliteTx struct {
	c *sqlite.Conn
	s *sqliteDB // nil for reading
}

func (t sqliteTx) exec(query string, args ...any) (int, error) {
	st, err := sqlitefile.Prepare(t.c, query, args)
	if err != nil {
		return 0, err
	}
	if err := step(st); err != nil {
		return 0, err
	}
	return t.c.Changes(), nil
}

func (t sqliteTx) query(query string, each func(row) error, args ...any) error {
	st, err := sqlitefile.Prepare(t.c, query, args)
	if err != nil {
		return err
	}
	for {
		more, err := st.Step()
		if err != nil || !more {
			return err
		}
		if err := each(sqliteRow{st}); err != nil {
			return errors.Join(err, st.Reset())
		}
	}
}

func (t sqliteTx) each(query string, n int, args func(i int) []any, each func(i int, r row) error) error {
	for i := range n {
		err := t.query(query, func(r row) error {
			if each == nil {
				return nil
			}
			return each(i, r)
		}, args(i)...)
		if err != nil {
			return err
		}
	}
	return nil
}

func (t sqliteTx) byID(query string, ids []int64, each func(row) error) error {
	return t.each(query+`WHERE id = $1`, len(ids), func(i int) []any { return []any{ids[i]} }, func(_ int, r row) error { return each(r) })
}

func (t sqliteTx) publish(pubs []*intake.Publication) error { return t.s.applyPublish(pubs) }

type sqliteRow struct{ st *sqlite.Stmt }

func (r sqliteRow) int(i int) int64     { return r.st.ColumnInt64(i) }
func (r sqliteRow) float(i int) float64 { return r.st.ColumnFloat(i) }
func (r sqliteRow) text(i int) string   { return r.st.ColumnText(i) }
func (r sqliteRow) blob(i int) []byte {
	b := make([]byte, r.st.ColumnLen(i))
	r.st.ColumnBytes(i, b)
	return b
}
