package store

import (
	"log/slog"
	"sync/atomic"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// checkpoint copies SQLite's write-ahead log into the database file. Done by the
// writer it would make one commit in some thousands take ten times as long as
// the others. So it runs beside the writer on a connection of its own, and the
// writer only copies what it has added meanwhile, after which the log can start
// again from its beginning.
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

func (k *checkpoint) open(file string) (err error) {
	k.conn, err = openConn(file, sqlite.OpenReadWrite)
	return err
}

// add notes that about so many bytes have been written.
func (k *checkpoint) add(bytes int) { k.written += bytes }

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
		log.Warn("the write-ahead log could not be copied into the database; it grows until it can", "err", err)
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
