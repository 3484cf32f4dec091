package store

import (
	"context"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// CatalogDocument is an imported OpenAPI document.
type CatalogDocument struct {
	Product  string
	Source   []byte
	Imported time.Time
}

// PutCatalogDocument stores a document in the place of the product's earlier one, and
// with it entries of the audit trail.
func (db *DB) PutCatalogDocument(product string, source []byte, now time.Time, entries ...hook.AuditEntry) error {
	return db.changeCatalog(func(t tx) error {
		if err := putAudit(t, entries); err != nil {
			return err
		}
		_, err := t.exec(`
			INSERT INTO catalog_documents (product, source, imported, first_imported) VALUES ($1, $2, $3, $3)
			ON CONFLICT (product) DO UPDATE SET source = excluded.source, imported = excluded.imported`,
			product, source, millis(now))
		return err
	})
}

// changeCatalog is write for a change of the event types. Other nodes learn of it before
// they store what they have matched without knowing.
func (db *DB) changeCatalog(f func(tx) error) error {
	return db.sql.change(f, touched{Catalog: true}, 0, func(version int64) { db.sql.learn(hook.Change{}, version) })
}

// CatalogDocuments returns the imported documents in the order in which their
// products came first: an event name belongs to the first that had it.
func (db *DB) CatalogDocuments(ctx context.Context) (all []CatalogDocument, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		return t.query(`SELECT product, source, imported FROM catalog_documents ORDER BY first_imported, product`, func(r row) error {
			all = append(all, CatalogDocument{r.text(0), r.blob(1), fromMillis(r.int(2))})
			return nil
		})
	})
	return all, err
}

// SetCheckMode stores how an event type's payloads are checked, and with it entries of
// the audit trail.
func (db *DB) SetCheckMode(eventType string, m hook.CheckMode, entries ...hook.AuditEntry) error {
	return db.changeCatalog(func(t tx) error {
		if err := putAudit(t, entries); err != nil {
			return err
		}
		_, err := t.exec(`INSERT INTO check_modes (event_type, mode) VALUES ($1, $2) ON CONFLICT (event_type) DO UPDATE SET mode = excluded.mode`,
			eventType, m.String())
		return err
	})
}

// CheckModes returns the modes that were set, by event type.
func (db *DB) CheckModes(ctx context.Context) (map[string]hook.CheckMode, error) {
	modes := map[string]hook.CheckMode{}
	err := db.sql.read(ctx, func(t tx) error {
		return t.query(`SELECT event_type, mode FROM check_modes`, func(r row) error {
			m, err := hook.ParseCheckMode(r.text(1))
			modes[r.text(0)] = m
			return err
		})
	})
	return modes, err
}
