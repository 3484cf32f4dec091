package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/switchhook/switchhook/internal/hook"
)

// putRecords stores what is to be remembered of a change.
func putRecords(t tx, c *hook.Change, _ int64) error {
	if err := putAudit(t, c.Audit); err != nil {
		return err
	}
	for _, v := range c.Validations {
		_, err := t.exec(`
			INSERT INTO validations (subscription, app_state, url, at, occasion, reason, state)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			int64(v.Subscription), string(v.In), v.URL, millis(v.At), string(v.Occasion), v.Reason, int(v.State))
		if err != nil {
			return err
		}
	}
	return nil
}

func putAudit(t tx, entries []hook.AuditEntry) error {
	for _, e := range entries {
		_, err := t.exec(`
			INSERT INTO audit (at, by_kind, by_id, by_name, action, kind, subject, name, changes)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			millis(e.At), string(e.By.Kind), e.By.ID, e.By.Name, string(e.Action), e.Kind, e.Subject, e.Name, toJSON(e.Changes))
		if err != nil {
			return err
		}
	}
	return nil
}

// Audit returns a page of the audit trail, the latest first.
func (db *DB) Audit(ctx context.Context, f hook.AuditFilter) (page []hook.AuditEntry, err error) {
	query := `
		SELECT id, at, by_kind, by_id, by_name, action, kind, subject, name, changes FROM audit
		WHERE id < $1 AND ($2 = '' OR by_id = $2) AND ($3 = '' OR kind = $3) AND at < $4 `
	args := []any{cmp.Or(f.Before, math.MaxInt64), f.Actor, f.Kind, cmp.Or(millis(f.To), math.MaxInt64)}
	if f.Subject != "" { // said so, and not as above, for the index
		args = append(args, f.Subject)
		query += fmt.Sprintf(`AND subject = $%d `, len(args))
	}
	args = append(args, f.Limit)
	query += fmt.Sprintf(`ORDER BY id DESC LIMIT $%d`, len(args))
	err = db.sql.read(ctx, func(t tx) error {
		err := t.query(query, func(r row) error {
			e := hook.AuditEntry{
				ID: r.int(0), At: fromMillis(r.int(1)), By: hook.Actor{Kind: hook.ActorKind(r.text(2)), ID: r.text(3), Name: r.text(4)},
				Action: hook.Action(r.text(5)), Kind: r.text(6), Subject: r.text(7), Name: r.text(8),
			}
			if e.At.Before(f.From) {
				return errEnough // and so is all that follows
			}
			err := fromJSON(r.text(9), &e.Changes)
			page = append(page, e)
			return err
		}, args...)
		if errors.Is(err, errEnough) {
			err = nil
		}
		return err
	})
	return page, err
}

// Validations returns how a subscription's endpoints were asked to prove themselves,
// the latest first, at most limit of them.
func (db *DB) Validations(ctx context.Context, k hook.SubscriptionKey, limit int) (all []hook.Validation, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		return t.query(`
			SELECT app_state, url, at, occasion, reason, state FROM validations
			WHERE subscription = $1 ORDER BY id DESC LIMIT $2`, func(r row) error {
			all = append(all, hook.Validation{
				Subscription: k, In: hook.AppState(r.text(0)), URL: r.text(1), At: fromMillis(r.int(2)),
				Occasion: hook.Occasion(r.text(3)), Reason: r.text(4), State: hook.SubscriptionState(r.int(5)),
			})
			return nil
		}, int64(k), limit)
	})
	return all, err
}
