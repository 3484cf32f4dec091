package inbox

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"os"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/switchhook/switchhook/internal/sqlitefile"
)

//go:embed migrations
var migrations embed.FS

const (
	// applicationID marks the file as an inbox: "swin".
	applicationID = 0x7377696e

	// readers are how many connections read, one of them for those who watch for changes.
	readers = 5

	// writerCache is the writer's page cache, in KiB.
	writerCache = 16384
)

func (b *Inbox) openFile(ctx context.Context, o Options) (err error) {
	if err := sqlitefile.CheckDir(o.File); err != nil {
		return err
	}
	if o.Serve {
		b.lock, err = sqlitefile.Lock(o.File, "another switchhook receives into this inbox; stop it first, or give this one a file of its own")
		if err != nil {
			return err
		}
	} else if _, err := os.Stat(o.File); errors.Is(err, fs.ErrNotExist) {
		return errors.New("there is no inbox; a gateway (switchhook receive) makes it")
	}
	kind := &sqlitefile.Kind{
		What: "an inbox", ApplicationID: applicationID, Files: migrations, Pattern: "migrations/*.sql", Cache: writerCache,
		Busy: b.busy, // who waits for an answer waits for 3 seconds at most
	}
	sqlitefile.Create(o.File)
	if b.conn, err = kind.Open(o.File); err != nil {
		return err
	}
	if err := kind.Migrate(ctx, b.conn); err != nil {
		return err
	}
	if o.Serve {
		sqlitefile.Copy(b.conn, b.log)
		if err := b.remember(); err != nil {
			return err
		}
	}
	if b.pool, err = sqlitefile.NewPool(o.File, readers); err != nil {
		return err
	}
	return b.checkpoint.Open(kind, o.File)
}

func (b *Inbox) release() error {
	errs := []error{b.checkpoint.Close()}
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
func (b *Inbox) watch(c *sqlite.Conn) {
	defer b.pool.Put(c)
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	var seen int
	for {
		select {
		case <-b.quit:
			return
		case <-t.C:
		}
		// Each connection has versions of its own, which change with the commits of others.
		// Here that may be this process's own writer, and then somebody looks once in vain.
		version, err := sqlitefile.PragmaInt(c, "data_version")
		if err == nil && version != seen {
			seen = version
			b.changes.wake()
		}
	}
}

// exec runs a statement that returns no rows, and returns how many it has changed.
func exec(c *sqlite.Conn, query string, args ...any) (int, error) {
	st, err := sqlitefile.Prepare(c, query, args)
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
	st, err := sqlitefile.Prepare(c, query, args)
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

func blob(st *sqlite.Stmt, i int) []byte {
	b := make([]byte, st.ColumnLen(i))
	st.ColumnBytes(i, b)
	return b
}
