package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/inventory"
	"github.com/switchhook/switchhook/internal/number"
)

// ChangeNumbers runs f in a transaction, which is durable when it returns nil. If f
// fails, or the commit, nothing is stored. It may be called again if it shares a
// transaction with something that fails; what it did before is undone then. While it
// runs the directory does not change, and nothing else is written: rows says how much
// it writes, at most some thousand.
func (db *DB) ChangeNumbers(rows int, f func(inventory.Tx) error) error {
	// An event type gets its number in a transaction of its own, the first time.
	for _, name := range []string{number.CNAMUpdated, number.AddressUpdated} {
		if _, err := db.typeNumber(name); err != nil {
			return err
		}
	}
	for n := 0; ; n++ {
		err := db.sql.writeMany(rows, func(t tx) error { return f(&numbersTx{db, t}) })
		if n == staleAtMost || !errors.Is(err, intake.ErrStale) {
			return err
		}
		// Another process has changed the platform, so the events were matched with what
		// it was before.
		if err := db.sql.catchUp(context.Background()); err != nil {
			return err
		}
	}
}

// staleAtMost is how often a change of numbers is made again because the platform changed.
const staleAtMost = 50

type numbersTx struct {
	db *DB
	t  tx
}

// Carrier implements [inventory.Tx].
func (n *numbersTx) Carrier(code int32) (name string, ok bool, err error) {
	err = n.t.query(`SELECT name FROM carriers WHERE code = $1`, func(r row) error {
		name, ok = r.text(0), true
		return nil
	}, int(code))
	return name, ok, err
}

// PutCarrier implements [inventory.Tx].
func (n *numbersTx) PutCarrier(code int32, name string) error {
	_, err := n.t.exec(`INSERT INTO carriers (code, name) VALUES ($1, $2) ON CONFLICT (code) DO UPDATE SET name = excluded.name`, int(code), name)
	return err
}

// RemoveCarrier implements [inventory.Tx].
func (n *numbersTx) RemoveCarrier(code int32) error {
	if _, err := n.t.exec(`DELETE FROM number_counts WHERE carrier = $1`, int(code)); err != nil {
		return err
	}
	_, err := n.t.exec(`DELETE FROM carriers WHERE code = $1`, int(code))
	return err
}

// Audit implements [inventory.Tx].
func (n *numbersTx) Audit(entries ...hook.AuditEntry) error { return putAudit(n.t, entries) }

// Counted implements [inventory.Tx].
func (n *numbersTx) Counted(carrier int32, account string, more int) error {
	_, err := n.t.exec(`INSERT INTO number_counts (carrier, account_id, numbers) VALUES ($1, $2, $3)
		ON CONFLICT (carrier, account_id) DO UPDATE SET numbers = number_counts.numbers + excluded.numbers`, int(carrier), account, more)
	return err
}

// Count implements [inventory.Tx].
func (n *numbersTx) Count(carrier int32) (int, error) {
	return countNumbers(n.t, &inventory.Filter{Carrier: carrier})
}

func countNumbers(t tx, f *inventory.Filter) (n int, err error) {
	if f.Number != "" {
		k, err := findNumber(t, f.Number)
		if err != nil || k == nil || !f.Selects(&k.Number) {
			return 0, err
		}
		return 1, nil
	}
	q, args := `SELECT CAST(coalesce(sum(numbers), 0) AS BIGINT) FROM number_counts WHERE true `, []any{}
	if f.Carrier != 0 {
		args = append(args, int(f.Carrier))
		q += fmt.Sprintf("AND carrier = $%d ", len(args))
	}
	if f.Account != "" {
		args = append(args, f.Account)
		q += fmt.Sprintf("AND account_id = $%d ", len(args))
	}
	err = t.query(q, func(r row) error {
		n = int(r.int(0))
		return nil
	}, args...)
	return n, err
}

const selectNumbers = `
	SELECT e164, carrier, account_id, sip_trunk_name, status, allocated_product, number_type, billing_ref_id, service_info, assigned, cnam,
		country, address_line1, address_line2, city, zip, state_code, changed FROM numbers `

// Number implements [inventory.Tx].
func (n *numbersTx) Number(e164 string) (k *inventory.Kept, err error) { return findNumber(n.t, e164) }

func findNumber(t tx, e164 string) (k *inventory.Kept, err error) {
	key, ok := numberKey(e164)
	if !ok {
		return nil, nil
	}
	err = t.query(selectNumbers+`WHERE e164 = $1`, func(r row) error {
		k = scanNumber(r)
		return nil
	}, key)
	return k, err
}

// numberKey returns the digits of an E.164 number. Nothing else has a key.
func numberKey(e164 string) (key int64, ok bool) {
	if len(e164) < 2 || len(e164) > 1+15 || e164[0] != '+' || e164[1] < '1' {
		return 0, false
	}
	for _, c := range []byte(e164[1:]) {
		if c < '0' || c > '9' {
			return 0, false
		}
		key = 10*key + int64(c-'0')
	}
	return key, true
}

func scanNumber(r row) *inventory.Kept {
	return &inventory.Kept{
		Number: number.Number{
			E164: "+" + strconv.FormatInt(r.int(0), 10), Carrier: int32(r.int(1)), Account: r.text(2),
			SIPTrunkName: r.text(3), Status: r.int(4) != 0, AllocatedProduct: number.Product(r.text(5)), NumberType: number.Type(r.text(6)),
			BillingRefID: r.text(7), ServiceInfo: r.text(8), Assigned: r.int(9) != 0, CNAM: r.text(10),
			Address: number.Address{Country: r.text(11), Line1: r.text(12), Line2: r.text(13), City: r.text(14), ZIP: r.text(15), State: r.text(16)},
		},
		Told: fromMillis(r.int(17)),
	}
}

// numbersQuery is the query for a page of numbers, in their order. Its parameters are the
// number before, what the filter asks for, and how many.
func numbersQuery(f *inventory.Filter) string {
	q, parameters := selectNumbers+`WHERE e164 > $1 `, 1
	carrier := "carrier"
	if f.Account != "" {
		carrier = "+carrier" // not by its index: a customer has fewer numbers than a carrier
	}
	for _, x := range []struct {
		asked  bool
		column string
	}{{f.Carrier != 0, carrier}, {f.Account != "", "account_id"}} {
		if x.asked {
			parameters++
			q += fmt.Sprintf("AND %s = $%d ", x.column, parameters)
		}
	}
	return q + fmt.Sprintf("ORDER BY e164 LIMIT $%d", parameters+1)
}

func findNumbers(t tx, f inventory.Filter) (page []inventory.Kept, err error) {
	after, ok := numberKey(f.After)
	if !ok && f.After != "" {
		return nil, fmt.Errorf("store: numbers after %q", f.After)
	}
	if key, ok := numberKey(f.Number); f.Number != "" {
		if !ok || key <= after {
			return nil, nil
		}
		k, err := findNumber(t, f.Number)
		if err != nil || k == nil || !f.Selects(&k.Number) {
			return nil, err
		}
		return []inventory.Kept{*k}, nil
	}
	args := []any{after}
	if f.Carrier != 0 {
		args = append(args, int(f.Carrier))
	}
	if f.Account != "" {
		args = append(args, f.Account)
	}
	err = t.query(numbersQuery(&f), func(r row) error {
		page = append(page, *scanNumber(r))
		return nil
	}, append(args, f.Limit)...)
	return page, err
}

// Numbers implements [inventory.Tx].
func (n *numbersTx) Numbers(f inventory.Filter) ([]inventory.Kept, error) { return findNumbers(n.t, f) }

const putNumber = `
	INSERT INTO numbers (e164, carrier, account_id, sip_trunk_name, status, allocated_product, number_type, billing_ref_id, service_info, assigned, cnam,
		country, address_line1, address_line2, city, zip, state_code, changed)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
	ON CONFLICT (e164) DO UPDATE SET sip_trunk_name = excluded.sip_trunk_name, status = excluded.status,
		allocated_product = excluded.allocated_product, number_type = excluded.number_type, billing_ref_id = excluded.billing_ref_id,
		service_info = excluded.service_info, assigned = excluded.assigned, cnam = excluded.cnam, country = excluded.country,
		address_line1 = excluded.address_line1, address_line2 = excluded.address_line2, city = excluded.city, zip = excluded.zip,
		state_code = excluded.state_code, changed = excluded.changed`

// PutNumber implements [inventory.Tx].
func (n *numbersTx) PutNumber(k *inventory.Kept) error {
	key, ok := numberKey(k.E164)
	if !ok {
		return fmt.Errorf("store: %q is not a number", k.E164)
	}
	a := &k.Address
	_, err := n.t.exec(putNumber, key, int(k.Carrier), k.Account, k.SIPTrunkName, k.Status, string(k.AllocatedProduct), string(k.NumberType), k.BillingRefID,
		k.ServiceInfo, k.Assigned, k.CNAM, a.Country, a.Line1, a.Line2, a.City, a.ZIP, a.State, millis(k.Told))
	return err
}

// RemoveNumber implements [inventory.Tx].
func (n *numbersTx) RemoveNumber(e164 string) error {
	key, _ := numberKey(e164)
	_, err := n.t.exec(`DELETE FROM numbers WHERE e164 = $1`, key)
	return err
}

// ToldOfRemoved implements [inventory.Tx].
func (n *numbersTx) ToldOfRemoved() (at time.Time, err error) {
	err = n.t.query(`SELECT value FROM settings WHERE name = 'numbers_removed'`, func(r row) error {
		if b := r.blob(0); len(b) == 8 {
			at = fromMillis(int64(binary.BigEndian.Uint64(b)))
		}
		return nil
	})
	return at, err
}

// SetToldOfRemoved implements [inventory.Tx].
func (n *numbersTx) SetToldOfRemoved(at time.Time) error {
	_, err := n.t.exec(`INSERT INTO settings (name, value) VALUES ('numbers_removed', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
		binary.BigEndian.AppendUint64(nil, uint64(millis(at))))
	return err
}

// Publish implements [inventory.Tx].
func (n *numbersTx) Publish(pubs []*intake.Publication) error {
	for _, p := range pubs {
		if p.TypeNumber = n.db.knownType(p.Event.Type); p.TypeNumber == 0 {
			return fmt.Errorf("store: events of type %q are not told of numbers", p.Event.Type)
		}
	}
	if err := n.t.publish(pubs); err != nil {
		return err
	}
	for _, p := range pubs {
		if p.Err != nil { // one that is left out must not be left out alone
			return p.Err
		}
	}
	return nil
}

// Number returns a number, or nil if there is no such.
func (db *DB) Number(ctx context.Context, e164 string) (k *inventory.Kept, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		k, err = findNumber(t, e164)
		return err
	})
	return k, err
}

// Numbers returns a page of the numbers that the filter selects, in their order.
func (db *DB) Numbers(ctx context.Context, f inventory.Filter) (page []inventory.Kept, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		page, err = findNumbers(t, f)
		return err
	})
	return page, err
}

// CountNumbers counts the numbers that the filter selects.
func (db *DB) CountNumbers(ctx context.Context, f inventory.Filter) (n int, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		n, err = countNumbers(t, &f)
		return err
	})
	return n, err
}

const selectCarriers = `
	SELECT code, name, (SELECT CAST(coalesce(sum(numbers), 0) AS BIGINT) FROM number_counts WHERE carrier = code) FROM carriers ORDER BY code`

// Carriers returns the carriers by their codes, without their apps.
func (db *DB) Carriers(ctx context.Context) (all []inventory.Carrier, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		return t.query(selectCarriers, func(r row) error {
			all = append(all, inventory.Carrier{Code: int32(r.int(0)), Name: r.text(1), Numbers: int(r.int(2))})
			return nil
		})
	})
	return all, err
}
