package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// writer makes transactions on a connection of its own, and knows of each what became
// of it, also if the connection is lost while it is committed.
//
// Every transaction begins by noting its number in the writer's row. The server holds
// that row for it until the transaction is over, one way or the other, so whoever has
// the row after that reads the answer.
type writer struct {
	db   *postgresDB
	name string
	// doubt is called when it is not known what became of a transaction, and with nil
	// when it is.
	doubt func(error)
	// giveUp says that nobody wants to know any more.
	giveUp func() bool

	s        *session
	id       int64 // of its row; 0: it has none yet
	sequence int64
}

const (
	registerWriter = `INSERT INTO writers (sequence, touched) VALUES (0, now()) RETURNING id`
	noteSequence   = `UPDATE writers SET sequence = $1, touched = now() WHERE id = $2`
	askSequence    = `UPDATE writers SET touched = now() WHERE id = $1 RETURNING sequence`
	forgetWriter   = `DELETE FROM writers WHERE id = $1`

	// What a lost connection had begun and not committed, the server would keep until it
	// notices. It is asked to end a connection on which it waits for us. One that is busy
	// may be committing, and must not be disturbed: it may be a standby that it waits for.
	endLost = `
		SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE application_name = $1 AND usename = current_user AND wait_event_type = 'Client'`
)

// errUnknown says that it is not known whether a transaction was committed.
var errUnknown = errors.New("it is not known whether this was stored: the connection to the database was lost while it was committed, and could not be had again")

// connected makes sure that there is a connection.
func (w *writer) connected(ctx context.Context) error {
	if w.s != nil && !w.s.conn.IsClosed() {
		return nil
	}
	s, err := w.db.connect(ctx, w.name)
	if err != nil {
		return err
	}
	w.s = s
	if w.id == 0 {
		_, err = s.run(ctx, []statement{{registerWriter, nil}}, func(_ int, r row) error { w.id = r.int(0); return nil })
	}
	return err
}

// begin begins a transaction with these statements. A connection that turns out to be
// lost is replaced: nothing was done on it yet.
func (w *writer) begin(first []statement, each func(i int, r row) error) (err error) {
	ctx := context.Background()
	for fresh := false; !fresh; {
		fresh = w.s == nil || w.s.conn.IsClosed()
		if err := w.connected(ctx); err != nil {
			return err
		}
		w.sequence++
		list := append([]statement{{"BEGIN", nil}, {noteSequence, []any{w.sequence, w.id}}}, first...)
		var rows []int
		rows, err = w.s.run(ctx, list, func(i int, r row) error { return each(i-2, r) })
		if err == nil && rows[1] != 1 {
			w.id = 0 // it was idle for so long that it was forgotten
			w.s.close()
			err = &lostError{errors.New("this writer is not known to the database any more")}
		}
		if _, lost := errors.AsType[*lostError](err); !lost {
			break
		}
	}
	if err != nil {
		w.rollback()
	}
	return err
}

// rollback gives the transaction up.
func (w *writer) rollback() {
	if w.s != nil && !w.s.conn.IsClosed() {
		_ = w.s.simple(context.Background(), "ROLLBACK") // if it fails, the connection is closed, which does the same
	}
}

// commit sends rows and commits. If it returns nil, the transaction is durable; if
// not, nothing of it is stored, unless the error is [errUnknown].
func (w *writer) commit(pieces ...copying) error {
	w.s.warned = false
	if last, err := w.s.send(pieces, "COMMIT"); err != nil && !last {
		return err
	} else if err != nil {
		return w.resolve(err)
	}
	tag, err := w.s.await(len(pieces) + 1)
	switch _, lost := errors.AsType[*lostError](err); {
	case lost, w.s.warned:
		return w.resolve(err)
	case err == nil && tag != "COMMIT":
		err = fmt.Errorf("store: the transaction ended with %s", tag)
	}
	return err
}

// resolve finds out what became of a transaction whose commit was not answered, however
// long that takes.
func (w *writer) resolve(cause error) error {
	if cause == nil {
		cause = &lostError{errors.New("the database did not commit as it should")}
	}
	lost := w.s
	lost.close()
	w.doubt(cause)
	defer w.doubt(nil)
	w.db.log.Warn("the connection to the database was lost while it committed; finding out whether it did", "err", cause)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		committed, err := w.ask(lost.name)
		switch {
		case err == nil && committed:
			w.db.log.Warn("it did commit")
			return nil
		case err == nil:
			w.db.log.Warn("it did not commit")
			return cause
		case w.giveUp():
			return fmt.Errorf("%w: %w", errUnknown, cause)
		}
		time.Sleep(pause)
	}
}

// ask asks the database for the number of the last transaction that was committed.
// What it asks with is a transaction that writes: when that is durable, wherever it
// has to be, so is what was committed before it.
func (w *writer) ask(lost string) (committed bool, err error) {
	ctx := context.Background()
	if w.s, err = w.db.connect(ctx, w.name); err != nil {
		return false, err
	}
	if _, err := w.s.run(ctx, []statement{{endLost, []any{lost}}}, nil); err != nil {
		return false, err
	}
	sequence := int64(-1)
	_, err = w.s.run(ctx, []statement{{"BEGIN", nil}, {"SET LOCAL lock_timeout = '2s'", nil}, {askSequence, []any{w.id}}}, func(i int, r row) error {
		if i == 2 {
			sequence = r.int(0)
		}
		return nil
	})
	if err != nil {
		w.rollback()
		return false, err
	}
	w.s.warned = false
	if err := w.s.simple(ctx, "COMMIT"); err != nil {
		return false, err
	}
	if w.s.warned {
		return false, errors.New("the database did not commit as it should")
	}
	return sequence == w.sequence, nil
}

// close ends the writer.
func (w *writer) close() {
	if w.s == nil || w.s.conn.IsClosed() {
		return
	}
	if w.id != 0 {
		_, _ = w.s.run(context.Background(), []statement{{forgetWriter, []any{w.id}}}, nil) // else it is forgotten when it is old
	}
	w.s.close()
}
