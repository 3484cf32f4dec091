package inbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/switchhook/switchhook/internal/sqlitefile"
)

const (
	// batchUnits bounds a transaction, so that nobody waits long for its commit.
	batchUnits = 2048

	// unitBytes is what a unit counts for among what is waiting, beside what it has with it.
	unitBytes = 1024

	// lazyWait is how long the progress of forwarders may wait for a commit to go
	// with. After a crash they repeat what they did meanwhile.
	lazyWait = 50 * time.Millisecond

	// tryAgain is when the inbox is tried after it could not be written, if nobody does so
	// earlier.
	tryAgain = time.Second

	// probe writes a page of which nobody wants to know.
	probe = `INSERT INTO marks (name, at) VALUES ('probed', ?1) ON CONFLICT (name) DO UPDATE SET at = excluded.at`

	// sayAgain is how often trouble is logged: the log may be on the same full disk.
	sayAgain = 10 * time.Second
)

// unit is what is committed whole or not at all.
type unit struct {
	call func(*sqlite.Conn) error
	size int
	done chan error
}

// write lets the writer call f in a transaction, and returns what f returns when that is
// on the disk. If the transaction has to be made once more, f is called once more. If ctx
// is over before, f may still be called, so it changes nothing that the caller can see.
func write[T any](ctx context.Context, b *Inbox, size int, f func(*sqlite.Conn) (T, error)) (T, error) {
	var result, none T
	err := b.write(ctx, size, func(c *sqlite.Conn) (err error) {
		result, err = f(c)
		return err
	})
	if err != nil {
		return none, err // the writer may be at the result still
	}
	return result, nil
}

// write is for those who want to know nothing but whether it went well.
func (b *Inbox) write(ctx context.Context, size int, f func(*sqlite.Conn) error) error {
	size += unitBytes
	u := unit{call: f, size: size, done: make(chan error, 1)}
	b.mu.Lock()
	switch {
	case b.closing:
		b.mu.Unlock()
		return fmt.Errorf("%w: it is being closed", ErrUnavailable)
	case b.waiting > 0 && b.waiting+size > b.most:
		waiting := b.waiting
		b.mu.Unlock()
		return fmt.Errorf("%w: %d bytes are waiting to be stored", ErrUnavailable, waiting)
	}
	b.queue = append(b.queue, u)
	b.waiting += size
	b.mu.Unlock()
	b.wakeWriter()
	select {
	case err := <-u.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *Inbox) wakeWriter() {
	select {
	case b.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// run commits what is queued until the inbox is closed. While a commit is under way
// the next gathers; so with many senders a wait for the disk is shared by many, and a
// single one waits for nobody. To linger before a commit, so that more is in it, was
// tried: with 64 senders that wait for their answers it costs a third of what they get
// stored, because they have nothing to send meanwhile.
func (b *Inbox) run() {
	defer close(b.stopped)
	for range b.wake {
		for {
			b.mu.Lock()
			n := min(len(b.queue), batchUnits)
			batch := b.queue[:n:n]
			if b.queue = b.queue[n:]; len(b.queue) == 0 {
				b.queue = nil
			}
			for i := range batch {
				b.waiting -= batch[i].size
			}
			progress := b.pending
			b.pending = map[string]Progress{}
			closing := b.closing && len(b.queue) == 0
			b.mu.Unlock()
			if len(batch) == 0 && len(progress) == 0 && b.trouble.since.IsZero() {
				if closing {
					return
				}
				break
			}
			ok := b.commit(batch, progress)
			b.checkpoint.Step(b.conn, b.log)
			if !ok && len(batch) == 0 {
				if closing {
					return // forwarders will repeat something
				}
				b.timer.Reset(tryAgain)
				break
			}
		}
	}
}

// commit writes the units in one transaction. If that fails through the fault of
// one of them, each gets a transaction of its own, so that none has to suffer for
// another.
func (b *Inbox) commit(batch []unit, progress map[string]Progress) (ok bool) {
	err := b.transact(batch, progress)
	if err != nil && len(batch) > 1 && !sqlitefile.OutOfOrder(err) {
		for i := range batch {
			ok = b.commit(batch[i:i+1], progress)
			progress = nil
		}
		return ok
	}
	b.report(err, len(batch))
	if err != nil {
		b.keepProgress(progress)
		if sqlitefile.OutOfOrder(err) {
			err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	for i := range batch {
		batch[i].done <- err
	}
	if err == nil && len(batch) > 0 {
		b.changes.wake()
	}
	return err == nil
}

func (b *Inbox) transact(batch []unit, progress map[string]Progress) error {
	if _, err := exec(b.conn, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	size := sqlitefile.CommitBytes
	err := b.held.look(b.conn)
	if err == nil {
		err = saveProgress(b.conn, progress)
	}
	if err == nil && len(batch) == 0 && len(progress) == 0 {
		_, err = exec(b.conn, probe, time.Now())
	}
	for i := range batch {
		if err != nil {
			break
		}
		size += 2 * batch[i].size
		err = batch[i].call(b.conn)
	}
	if err == nil {
		_, err = exec(b.conn, "COMMIT")
		b.checkpoint.Add(size)
	}
	if err == nil {
		return nil
	}
	b.held.forget() // it has counted what is not there now
	if !b.conn.AutocommitEnabled() {
		_, rollback := exec(b.conn, "ROLLBACK")
		err = errors.Join(err, rollback)
	}
	return err
}

// trouble is a time in which nothing can be written.
type trouble struct {
	since, said time.Time
	refused     int
}

// report logs when writing begins to fail, that it goes on failing, and its end.
func (b *Inbox) report(err error, units int) {
	t := &b.trouble
	switch now := time.Now(); {
	case err != nil && sqlitefile.OutOfOrder(err):
		if t.since.IsZero() {
			t.since = now
		}
		if t.refused += units; now.Sub(t.said) >= sayAgain {
			t.said = now
			b.log.Error("the inbox cannot be written; senders are asked to try again", "err", err, "since", t.since, "refused", t.refused)
		}
	case err == nil && !t.since.IsZero():
		b.log.Warn("the inbox can be written again", "after", now.Sub(t.since).Round(time.Millisecond), "refused", t.refused)
		*t = trouble{said: t.said} // a disk may be full for some and not for others
	}
	b.broken.Store(!t.since.IsZero())
}

// Writable reports whether the last attempt to write succeeded. While it did not,
// there is one each second.
func (b *Inbox) Writable() bool { return !b.broken.Load() }

// read lets f read from one state of the inbox.
func (b *Inbox) read(ctx context.Context, f func(*sqlite.Conn) error) error {
	c, err := b.pool.Take(ctx)
	if err != nil {
		return err
	}
	defer b.pool.Put(c)
	if _, err := exec(c, "BEGIN"); err != nil {
		return err
	}
	err = f(c)
	c.SetInterrupt(nil) // also when ctx is over, the snapshot must be given up
	_, rollback := exec(c, "ROLLBACK")
	return errors.Join(err, rollback)
}
