package sqlitefile

import (
	"log/slog"
	"sync/atomic"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

const (
	// CheckpointBytes is how much is written before the write-ahead log is copied into the
	// database file, roughly. More costs disk space and start-up time after a crash, less
	// costs writing the same pages again and again.
	CheckpointBytes = 8 << 20

	// CommitBytes is what each commit writes at least: a page of each table and index that
	// it touches.
	CommitBytes = 4 * PageSize
)

// Checkpoint copies SQLite's write-ahead log into the database file. Done by the
// writer it would make one commit in some thousands take ten times as long as
// the others. So it runs beside the writer on a connection of its own, and the
// writer only copies what it has added meanwhile, after which the log can start
// again from its beginning.
//
// Its methods are for the writer alone.
type Checkpoint struct {
	conn    *sqlite.Conn
	written int // bytes since the last one, by estimate
	state   atomic.Int32
	done    chan struct{} // closed when the one under way ends
}

// The states of a checkpoint.
const (
	checkpointIdle int32 = iota
	checkpointRunning
	checkpointRest // the writer is to copy the rest
)

// Open gives it a connection of its own. Until then it does nothing by itself.
func (k *Checkpoint) Open(kind *Kind, file string) (err error) {
	k.conn, err = kind.Open(file)
	return err
}

// Add notes that about so many bytes have been written.
func (k *Checkpoint) Add(bytes int) { k.written += bytes }

// Step does what is next; the writer calls it between two transactions.
func (k *Checkpoint) Step(writer *sqlite.Conn, log *slog.Logger) {
	switch {
	case k.state.Load() == checkpointRest:
		k.state.Store(checkpointIdle)
		Copy(writer, log)
	case k.written >= CheckpointBytes && k.state.CompareAndSwap(checkpointIdle, checkpointRunning):
		k.written = 0
		k.done = make(chan struct{})
		go func() {
			defer close(k.done)
			Copy(k.conn, log)
			k.state.Store(checkpointRest)
		}()
	}
}

// Copy copies as much of the log as it can without making anybody wait.
func Copy(c *sqlite.Conn, log *slog.Logger) {
	if err := sqlitex.ExecuteTransient(c, "PRAGMA wal_checkpoint(PASSIVE)", nil); err != nil {
		log.Warn("the write-ahead log could not be copied into the database; it grows until it can", "err", err)
	}
}

// Close waits for what is under way.
func (k *Checkpoint) Close() error {
	if k.done != nil {
		<-k.done
	}
	if k.conn == nil {
		return nil
	}
	return k.conn.Close()
}
