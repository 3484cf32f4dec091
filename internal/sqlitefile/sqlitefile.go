// Package sqlitefile opens SQLite databases that lose nothing which was committed, and
// are written through one connection: the platform's database, and the gateway's inbox.
package sqlitefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitemigration"
	"zombiezen.com/go/sqlite/sqlitex"
)

// PageSize is the size of a page in bytes.
const PageSize = 8192

// Kind is a kind of database.
type Kind struct {
	// What it is called in errors, as in "an inbox".
	What string
	// ApplicationID marks files of this kind.
	ApplicationID int32
	// Files has the steps of the schema, which match Pattern, in the order of their names.
	Files   fs.FS
	Pattern string
	// Cache is the writer's page cache in KiB.
	Cache int
	// Busy is how long a connection waits for others; 0 is the library's default.
	Busy time.Duration
	// Settings are further pragmas.
	Settings []string
}

// Lock makes sure that one process at a time works with a file: taken is what to tell
// when another one does. SQLite's own locks are taken and given back with each
// transaction and cannot tell.
func Lock(file, taken string) (*flock.Flock, error) {
	l := flock.New(file+".lock", flock.SetPermissions(0o600))
	ok, err := l.TryLock()
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errors.New(taken)
	}
	return l, nil
}

// CheckDir finds the faults of a file's directory that people make when they first
// start, before SQLite finds them in its own words.
func CheckDir(file string) error {
	dir := filepath.Dir(file)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the directory %s does not exist; create it first", dir)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	}
	f, err := os.CreateTemp(dir, ".switchhook-*")
	if err != nil {
		return fmt.Errorf("the directory %s must be writable, because SQLite keeps more files beside the database: %w", dir, err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Create makes an empty file if there is none. What is in it is nobody else's business,
// and SQLite gives its other files the same mode.
func Create(file string) {
	if f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600); err == nil {
		_ = f.Close() // if it could not be made, opening it says why
	}
}

// Open returns a connection that writes. A file of another program, or of a later
// version of this one, is refused before anything in it is changed.
func (k *Kind) Open(file string) (*sqlite.Conn, error) {
	c, err := sqlite.OpenConn(file, sqlite.OpenReadWrite)
	if err != nil {
		return nil, explain(err)
	}
	if k.Busy > 0 {
		c.SetBusyTimeout(k.Busy)
	}
	if err := k.check(c); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	// FULL makes a commit wait until the disk has it. Who copies the write-ahead log has a
	// connection of its own; see Checkpoint.
	err = Pragmas(c, append([]string{
		fmt.Sprintf("page_size=%d", PageSize), "journal_mode=wal", "synchronous=full", "wal_autocheckpoint=0", "journal_size_limit=67108864",
		k.CachePragma(), "temp_store=memory",
	}, k.Settings...)...)
	if err != nil {
		return nil, errors.Join(explain(err), c.Close())
	}
	return c, nil
}

// CachePragma sets the writer's cache.
func (k *Kind) CachePragma() string { return fmt.Sprintf("cache_size=-%d", k.Cache) }

// NewPool returns connections that only read.
func NewPool(file string, size int) (*sqlitex.Pool, error) {
	return sqlitex.NewPool(file, sqlitex.PoolOptions{
		Flags:       sqlite.OpenReadOnly,
		PoolSize:    size,
		PrepareConn: func(c *sqlite.Conn) error { return Pragmas(c, "cache_size=-4096", "query_only=1") },
	})
}

// Pragmas sets what a connection is to do.
func Pragmas(c *sqlite.Conn, settings ...string) error {
	for _, s := range settings {
		if err := sqlitex.ExecuteTransient(c, "PRAGMA "+s, nil); err != nil {
			return err
		}
	}
	return nil
}

// PragmaInt returns a number that a connection knows.
func PragmaInt(c *sqlite.Conn, name string) (n int, err error) {
	err = sqlitex.ExecuteTransient(c, "PRAGMA "+name, &sqlitex.ExecOptions{
		ResultFunc: func(s *sqlite.Stmt) error { n = s.ColumnInt(0); return nil },
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

func (k *Kind) check(c *sqlite.Conn) error {
	var n [3]int
	for i, name := range []string{"user_version", "application_id", "schema_version"} {
		var err error
		if n[i], err = PragmaInt(c, name); err != nil {
			return explain(err)
		}
	}
	// Without a schema version, nothing was ever made in it.
	version, id, tables := n[0], n[1], n[2]
	if id != int(k.ApplicationID) && (version > 0 || tables > 0) {
		return fmt.Errorf("the file is an SQLite database of another program, and not %s", k.What)
	}
	steps, err := k.Steps()
	if err != nil {
		return err
	}
	if latest := len(steps); version > latest {
		return fmt.Errorf("its schema has version %d, this program knows up to %d (%s): start the version of switchhook that wrote it, or a newer one",
			version, latest, path.Base(steps[latest-1]))
	}
	return nil
}

// Steps returns the names of the steps of the schema in their order.
func (k *Kind) Steps() ([]string, error) { return fs.Glob(k.Files, k.Pattern) }

// Migrate brings the schema up to date, each step in a transaction of its own.
func (k *Kind) Migrate(ctx context.Context, c *sqlite.Conn) error {
	schema := sqlitemigration.Schema{AppID: k.ApplicationID}
	steps, err := k.Steps()
	if err != nil {
		return err
	}
	for _, f := range steps {
		text, err := fs.ReadFile(k.Files, f)
		if err != nil {
			return err
		}
		schema.Migrations = append(schema.Migrations, string(text))
	}
	return sqlitemigration.Migrate(ctx, c, schema)
}

// OutOfOrder reports whether it is the disk that failed, and not a statement.
func OutOfOrder(err error) bool {
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultFull, sqlite.ResultIOErr, sqlite.ResultReadOnly, sqlite.ResultCantOpen, sqlite.ResultNoMem, sqlite.ResultBusy, sqlite.ResultLocked:
		return true
	}
	return false
}
