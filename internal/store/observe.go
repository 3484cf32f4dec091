package store

import (
	"context"
	"time"
)

// Commit is a transaction that was made, or could not be made.
type Commit struct {
	// Rows is about how many rows it has written.
	Rows int
	Took time.Duration
	// Err says what keeps the database from taking anything. It is nil if the
	// transaction is durable, and if only something in it was at fault.
	Err error
}

// tell tells an observer, if there is one, of a commit that began at a time.
func tell(observer func(Commit), batch []unit, began time.Time, err error) {
	if observer == nil {
		return
	}
	c := Commit{Took: time.Since(began), Err: err}
	for i := range batch {
		c.Rows += batch[i].rows() + batch[i].many
	}
	observer(c)
}

// Probe finds out whether the database takes a write now, by writing what is there
// already.
func (db *DB) Probe() error {
	return db.sql.write(func(t tx) error {
		_, err := t.exec(`UPDATE settings SET value = value WHERE name = 'key_check'`)
		return err
	}, nil)
}

// Outstanding counts the deliveries that are outstanding, in anybody's hand or
// nobody's, up to limit: counting costs by what is counted.
func (db *DB) Outstanding(ctx context.Context, limit int) (n int, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		return t.query(`SELECT count(*) FROM (SELECT 1 FROM due LIMIT $1) AS counted`, func(r row) error { n = int(r.int(0)); return nil }, limit)
	})
	return n, err
}
