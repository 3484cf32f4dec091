package store

import (
	"context"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
)

// pgTx runs the statements that are shared by both kinds of database.
type pgTx struct {
	db  *postgresDB
	s   *session
	ctx context.Context

	me       *self
	attempts []*hook.Attempt // to be inserted when the transaction ends
	version  int64           // of what is configured, which cannot change before that
}

func (t *pgTx) exec(query string, args ...any) (int, error) {
	rows, err := t.s.run(t.ctx, []statement{{query, args}}, nil)
	if err != nil {
		return 0, err
	}
	return rows[0], nil
}

func (t *pgTx) query(query string, each func(row) error, args ...any) error {
	return t.s.query(t.ctx, query, each, args...)
}

func (t *pgTx) each(query string, n int, args func(i int) []any, each func(i int, r row) error) error {
	const together = 256
	for from := 0; from < n; from += together {
		var list []statement
		for i := from; i < min(n, from+together); i++ {
			list = append(list, statement{query, args(i)})
		}
		_, err := t.s.run(t.ctx, list, func(i int, r row) error {
			if each == nil {
				return nil
			}
			return each(from+i, r)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// anyID is one statement for many ids: to begin one costs more than to find a row, the
// more so the more divisions there are.
const anyID = `WHERE id = ANY($1)`

func (t *pgTx) byID(query string, ids []int64, each func(row) error) error {
	return t.query(query+anyID, each, ids)
}

func (t *pgTx) insertAttempt(a *hook.Attempt) error {
	t.attempts = append(t.attempts, a)
	return nil
}

func (t *pgTx) publish(pubs []*intake.Publication) error {
	list, err := t.db.unclaimed(t, pubs)
	if err != nil {
		return err
	}
	pieces, err := t.db.published(t.ctx, list)
	if err != nil || len(pieces) == 0 {
		return err
	}
	return t.copy(pieces)
}

// copy stores rows now.
func (t *pgTx) copy(pieces []copying) error {
	if _, err := t.s.send(pieces, "SELECT 1"); err != nil {
		return err
	}
	_, err := t.s.await(len(pieces) + 1)
	return err
}
