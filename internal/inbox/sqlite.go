package inbox

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitemigration"
	"zombiezen.com/go/sqlite/sqlitex"
)

//go:embed migrations
var migrations embed.FS

const (
	// applicationID marks the file as an inbox: "swin".
	applicationID = 0x7377696e

	readers  = 4
	pageSize = 8192

	// writerCache is the writer's page cache, in KiB.
	writerCache = "cache_size=-16384"

	// checkpointBytes is how much is written before the write-ahead log is copied
	// into the database file, roughly.
	checkpointBytes = 8 << 20

	// commitBytes is what each commit writes at least.
	commitBytes = 4 * pageSize
)

func (b *Inbox) openFile(ctx context.Context, o Options) (err error) {
	dir := filepath.Dir(o.File)
	if info, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the directory %s does not exist; create it first", dir)
	} else if err == nil && !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	if o.Serve {
		l := flock.New(o.File+".lock", flock.SetPermissions(0o600))
		switch ok, err := l.TryLock(); {
		case err != nil:
			return err
		case !ok:
			return errors.New("another switchhook receives into this inbox; stop it first, or give this one a file of its own")
		}
		b.lock = l
	} else if _, err := os.Stat(o.File); errors.Is(err, fs.ErrNotExist) {
		return errors.New("there is no inbox; a gateway (switchhook receive) makes it")
	}
	// Events are nobody else's business. SQLite gives its other files the same mode.
	if f, err := os.OpenFile(o.File, os.O_RDWR|os.O_CREATE, 0o600); err == nil {
		_ = f.Close() // if it could not be made, opening it says why
	}
	if b.conn, err = b.openConn(o.File); err != nil {
		return err
	}
	if err := migrate(ctx, b.conn); err != nil {
		return err
	}
	if o.Serve {
		b.checkpoint.copy(b.conn, b.log)
		if err := b.remember(); err != nil {
			return err
		}
	}
	b.pool, err = sqlitex.NewPool(o.File, sqlitex.PoolOptions{
		Flags:       sqlite.OpenReadOnly,
		PoolSize:    readers,
		PrepareConn: func(c *sqlite.Conn) error { return pragmas(c, "cache_size=-4096", "query_only=1") },
	})
	if err != nil {
		return err
	}
	b.checkpoint.conn, err = b.openConn(o.File)
	return err
}

func (b *Inbox) openConn(file string) (*sqlite.Conn, error) {
	c, err := sqlite.OpenConn(file, sqlite.OpenReadWrite)
	if err != nil {
		return nil, explain(err)
	}
	// Who waits for an answer waits for 3 seconds at most.
	c.SetBusyTimeout(b.busy)
	if err := checkOurs(c); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	// FULL makes a commit wait until the disk has it. The checkpoint has a
	// connection of its own; see checkpoint.
	err = pragmas(c, fmt.Sprintf("page_size=%d", pageSize), "journal_mode=wal", "synchronous=full",
		"wal_autocheckpoint=0", "journal_size_limit=67108864", writerCache, "temp_store=memory")
	if err != nil {
		return nil, errors.Join(explain(err), c.Close())
	}
	return c, nil
}

func pragmas(c *sqlite.Conn, settings ...string) error {
	for _, s := range settings {
		if err := sqlitex.ExecuteTransient(c, "PRAGMA "+s, nil); err != nil {
			return err
		}
	}
	return nil
}

func pragmaInt(c *sqlite.Conn, name string) (n int64, err error) {
	err = sqlitex.ExecuteTransient(c, "PRAGMA "+name, &sqlitex.ExecOptions{
		ResultFunc: func(s *sqlite.Stmt) error { n = s.ColumnInt64(0); return nil },
	})
	return n, err
}

// explain says what is meant by the errors that people meet when they start.
func explain(err error) error {
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultCantOpen, sqlite.ResultReadOnly:
		return fmt.Errorf("the file cannot be opened, or is read-only: %w", err)
	case sqlite.ResultNotADB:
		return errors.New("the file is not an SQLite database")
	}
	return err
}

// checkOurs refuses a file of another program, or of a later version of this one,
// before anything in it is changed.
func checkOurs(c *sqlite.Conn) error {
	var n [3]int64
	for i, name := range []string{"user_version", "application_id", "schema_version"} {
		var err error
		if n[i], err = pragmaInt(c, name); err != nil {
			return explain(err)
		}
	}
	files, err := fs.Glob(migrations, "migrations/*.sql")
	switch version, id, tables := n[0], n[1], n[2]; {
	case err != nil:
		return err
	case id != applicationID && (version > 0 || tables > 0):
		return errors.New("the file is an SQLite database of another program, or not an inbox")
	case version > int64(len(files)):
		return fmt.Errorf("its schema has version %d, this program knows up to %d: start the version of switchhook that wrote it, or a newer one", version, len(files))
	}
	return nil
}

// migrate brings the schema up to date, each step in a transaction of its own.
func migrate(ctx context.Context, c *sqlite.Conn) error {
	schema := sqlitemigration.Schema{AppID: applicationID}
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	for _, f := range files {
		text, err := fs.ReadFile(migrations, f)
		if err != nil {
			return err
		}
		schema.Migrations = append(schema.Migrations, string(text))
	}
	return sqlitemigration.Migrate(ctx, c, schema)
}

func (b *Inbox) release() error {
	errs := []error{b.checkpoint.close()}
	if b.pool != nil {
		errs = append(errs, b.pool.Close())
	}
	if b.conn != nil {
		errs = append(errs, b.conn.Close())
	}
	if b.lock != nil {
		errs = append(errs, b.lock.Unlock())
	}
	return errors.Join(errs...)
}

// watchEvery is how often the file is asked whether another process has written to
// it. There is no way to be told.
const watchEvery = time.Second

// watch notices what the commands of the inbox do in processes of their own.
func (b *Inbox) watch() {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	var seen int64
	for {
		select {
		case <-b.quit:
			return
		case <-t.C:
		}
		// The version that a connection sees changes with the commits of others. Here that
		// may be this process's own writer, and then somebody looks once in vain.
		var version int64
		err := b.read(context.Background(), func(c *sqlite.Conn) (err error) {
			version, err = pragmaInt(c, "data_version")
			return err
		})
		if err == nil && version != seen {
			seen = version
			b.held.forget()
			b.changes.wake()
		}
	}
}

// checkpoint copies SQLite's write-ahead log into the database file. Done by the
// writer it would make one commit in some hundreds take ten times as long as the
// others. So it runs beside the writer on a connection of its own, and the writer
// only copies what it has added meanwhile, after which the log can start again from
// its beginning.
type checkpoint struct {
	conn    *sqlite.Conn
	written int // bytes since the last one, by estimate; the writer's
	state   atomic.Int32
	done    chan struct{} // closed when the one under way ends
}

// The states of a checkpoint.
const (
	checkpointIdle int32 = iota
	checkpointRunning
	checkpointRest // the writer is to copy the rest
)

// step does what is next; the writer calls it between two transactions.
func (k *checkpoint) step(writer *sqlite.Conn, log *slog.Logger) {
	switch {
	case k.state.Load() == checkpointRest:
		k.state.Store(checkpointIdle)
		k.copy(writer, log)
	case k.written >= checkpointBytes && k.state.CompareAndSwap(checkpointIdle, checkpointRunning):
		k.written = 0
		k.done = make(chan struct{})
		go func() {
			defer close(k.done)
			k.copy(k.conn, log)
			k.state.Store(checkpointRest)
		}()
	}
}

// copy copies as much as it can without making anybody wait.
func (k *checkpoint) copy(c *sqlite.Conn, log *slog.Logger) {
	if err := sqlitex.ExecuteTransient(c, "PRAGMA wal_checkpoint(PASSIVE)", nil); err != nil {
		log.Warn("the inbox's write-ahead log could not be copied into the file; it grows until it can", "err", err)
	}
}

func (k *checkpoint) close() error {
	if k.done != nil {
		<-k.done
	}
	if k.conn == nil {
		return nil
	}
	return k.conn.Close()
}

// exec runs a statement that returns no rows, and returns how many it has changed.
func exec(c *sqlite.Conn, query string, args ...any) (int, error) {
	st, err := bind(c, query, args)
	if err != nil {
		return 0, err
	}
	_, err = st.Step()
	if resetErr := st.Reset(); err == nil {
		err = resetErr
	}
	return c.Changes(), err
}

// query calls each with every row of the result.
func query(c *sqlite.Conn, query string, each func(*sqlite.Stmt) error, args ...any) error {
	st, err := bind(c, query, args)
	if err != nil {
		return err
	}
	for {
		more, err := st.Step()
		if err != nil || !more {
			return errors.Join(err, st.Reset())
		}
		if err := each(st); err != nil {
			return errors.Join(err, st.Reset())
		}
	}
}

func bind(c *sqlite.Conn, query string, args []any) (*sqlite.Stmt, error) {
	st, err := c.Prepare(query)
	if err != nil {
		return nil, err
	}
	if n := st.BindParamCount(); n != len(args) {
		return nil, fmt.Errorf("inbox: a statement with %d parameters is given %d: %s", n, len(args), query)
	}
	for i, a := range args {
		switch a := a.(type) {
		case int64:
			st.BindInt64(i+1, a)
		case int:
			st.BindInt64(i+1, int64(a))
		case bool:
			st.BindBool(i+1, a)
		case string:
			st.BindText(i+1, a)
		case []byte:
			st.BindBytes(i+1, a)
		case time.Time:
			st.BindInt64(i+1, millis(a))
		default:
			return nil, fmt.Errorf("inbox: parameter %d has type %T", i+1, a)
		}
	}
	return st, nil
}

func blob(st *sqlite.Stmt, i int) []byte {
	b := make([]byte, st.ColumnLen(i))
	st.ColumnBytes(i, b)
	return b
}

// millis is how times are stored; the zero time is 0.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
