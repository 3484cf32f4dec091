package store

import (
	"context"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// CreateKey stores an operator key under the hash of its secret, and with it entries of
// the audit trail.
func (db *DB) CreateKey(k *hook.OperatorKey, secret hook.Secret, entries ...hook.AuditEntry) error {
	return db.sql.write(func(t tx) error {
		if err := putAudit(t, entries); err != nil {
			return err
		}
		_, err := t.exec(`INSERT INTO operator_keys (id, name, hash, scopes, created, revoked) VALUES ($1, $2, $3, $4, $5, 0)`,
			k.ID, k.Name, hashOf(secret), toJSON(k.Scopes), millis(k.Created))
		return err
	}, nil)
}

func hashOf(s hook.Secret) []byte {
	h := hook.HashSecret(s)
	return h[:]
}

const (
	keyColumns = `id, name, scopes, created, revoked`
	selectKeys = `SELECT ` + keyColumns + ` FROM operator_keys `
)

func scanKey(r row) (*hook.OperatorKey, error) {
	k := &hook.OperatorKey{ID: r.text(0), Name: r.text(1), Created: fromMillis(r.int(3)), Revoked: fromMillis(r.int(4))}
	return k, fromJSON(r.text(2), &k.Scopes)
}

// FindKey returns the operator key with this secret, or nil if there is none that
// is valid. It looks at the store each time, so that a key revoked by another
// process is refused at once. The lookup is by hash: how long it takes tells
// nothing about the secrets stored.
//
// From then on the directory has what was changed before, whoever changed it.
func (db *DB) FindKey(ctx context.Context, secret hook.Secret) (k *hook.OperatorKey, err error) {
	// Who asks has a request to make, and is told rather than let wait.
	asked := ctx
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer func() {
		if err != nil && ctx.Err() != nil && asked.Err() == nil {
			err = unavailable(errSilent)
		}
	}()
	version := int64(0)
	err = db.sql.readNow(ctx, func(t tx) error {
		return t.query(`SELECT `+keyColumns+`, `+db.dialect.version+` FROM operator_keys WHERE hash = $1 AND revoked = 0`, func(r row) (err error) {
			k, err = scanKey(r)
			version = r.int(5)
			return err
		}, hashOf(secret))
	})
	if err == nil && version > db.directory.Version() {
		err = db.sql.catchUp(ctx)
	}
	return k, err
}

// Keys returns all operator keys, revoked ones too, oldest first.
func (db *DB) Keys(ctx context.Context) (all []*hook.OperatorKey, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		return t.query(selectKeys+`ORDER BY created, id`, func(r row) error {
			k, err := scanKey(r)
			all = append(all, k)
			return err
		})
	})
	return all, err
}

// RevokeKey makes a key invalid for ever, from now, and stores entries of the audit
// trail.
func (db *DB) RevokeKey(id string, now time.Time, entries ...hook.AuditEntry) error {
	return db.sql.write(func(t tx) error {
		if err := putAudit(t, entries); err != nil {
			return err
		}
		n, err := t.exec(`UPDATE operator_keys SET revoked = $1 WHERE id = $2 AND revoked = 0`, millis(now), id)
		if err == nil && n == 0 {
			err = &hook.Error{Kind: hook.NotFound, Subject: "operator key " + id, Detail: "is not there, or is revoked already"}
		}
		return err
	}, nil)
}
