// Package inventory keeps the numbers that carriers peer with the platform.
//
// A change of them and the events by which carriers learn of it are one transaction: no
// change without its event, and no event without its change. [Inventory] has a method
// for each way in which carriers, customers and operators change numbers; the rules of
// what a number may be are those of package number.
package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/number"
)

// MaxNumbers is how many numbers a carrier may name in one request.
const MaxNumbers = 200

// MaxList is how many numbers a customer or operator may name in one request. Of what a
// filter selects there may be any number.
const MaxList = 1000

// Store keeps numbers and carriers.
type Store interface {
	// ChangeNumbers runs f in a transaction that is durable when it returns nil. f may
	// be called more than once; all but the last call is undone. While it runs the
	// directory does not change. rows is about what it writes.
	ChangeNumbers(rows int, f func(Tx) error) error

	Number(ctx context.Context, e164 string) (*Kept, error)
	Numbers(context.Context, Filter) ([]Kept, error)
	// CountNumbers counts what the filter selects, from whichever number on. It is quick
	// however many there are.
	CountNumbers(context.Context, Filter) (int, error)
	Carriers(context.Context) ([]Carrier, error)
}

// Tx is a transaction.
type Tx interface {
	Carrier(code int32) (name string, ok bool, err error)
	PutCarrier(code int32, name string) error
	RemoveCarrier(code int32) error

	// Number returns a number, or nil if there is no such.
	Number(e164 string) (*Kept, error)
	Numbers(Filter) ([]Kept, error)
	// PutNumber adds a number, or changes one. Its carrier and account never change.
	PutNumber(*Kept) error
	RemoveNumber(e164 string) error
	// Counted adds to the count of a carrier's numbers that a customer has.
	Counted(carrier int32, account string, more int) error
	// Count is that count, of all customers.
	Count(carrier int32) (int, error)

	// ToldOfRemoved is the latest Told of all numbers that were removed.
	ToldOfRemoved() (time.Time, error)
	SetToldOfRemoved(time.Time) error

	// Publish stores publications, all of them or it fails.
	Publish([]*intake.Publication) error
	Audit(...hook.AuditEntry) error
}

// Intake makes events of what happened, and has them delivered; see
// [intake.Intake.Prepare].
type Intake interface {
	Prepare(events []*hook.Event, now time.Time) ([]*intake.Publication, error)
	Settle(pubs []*intake.Publication, stored bool)
}

// Apps binds apps to carriers.
type Apps interface {
	// BindCarrier makes the app the one that the events of a carrier's numbers go to.
	BindCarrier(ctx context.Context, by hook.Actor, code int32, app string) error
}

// Inventory keeps the numbers. It is safe for concurrent use.
type Inventory struct {
	Store     Store
	Directory *hook.Directory
	Intake    Intake
	Apps      Apps
}

// Kept is a number as it is kept.
type Kept struct {
	number.Number
	// Told is the event_ts of the latest event about the number, or zero. That of the
	// next one is later, so that events in the order of event_ts say what is true now.
	Told time.Time
}

// Carrier is a carrier with the apps that the events of its numbers go to. Which those
// are is not kept with it: an app is bound to carrier codes, that is what routes events,
// and it is changed with the app. Kept twice, it could differ.
type Carrier struct {
	Code    int32
	Name    string
	Apps    []string // by id
	Numbers int      // how many it has
}

// Filter selects numbers. Its zero values select all.
type Filter struct {
	Carrier int32
	Account string
	Number  string // one, in E.164

	// After continues behind a number: only those that follow in the order of their
	// digits, read as one integer, are selected. Limit is how many of them; a method
	// that takes all ignores it.
	After string
	Limit int
}

// Selects reports whether the filter selects the number, wherever a page of it begins.
func (f *Filter) Selects(n *number.Number) bool {
	return (f.Carrier == 0 || f.Carrier == n.Carrier) && (f.Account == "" || f.Account == n.Account) && (f.Number == "" || f.Number == n.E164)
}

// Get returns a number that the filter selects, or nil if there is no such.
func (v *Inventory) Get(ctx context.Context, e164 string, within Filter) (*number.Number, error) {
	k, err := v.Store.Number(ctx, e164)
	if err != nil || k == nil || !within.Selects(&k.Number) {
		return nil, err
	}
	return &k.Number, nil
}

// DefaultPage is how many numbers a page has if nobody says.
const DefaultPage = 30

// List returns a page of the numbers that the filter selects, and what After has to be
// for the next one: it is empty if there are no more.
func (v *Inventory) List(ctx context.Context, f Filter) (page []number.Number, next string, err error) {
	if f.Limit <= 0 {
		f.Limit = DefaultPage
	}
	limit := f.Limit
	f.Limit++ // one more tells that there are more
	kept, err := v.Store.Numbers(ctx, f)
	if err != nil {
		return nil, "", err
	}
	if len(kept) > limit {
		kept, next = kept[:limit], kept[limit-1].E164
	}
	for i := range kept {
		page = append(page, kept[i].Number)
	}
	return page, next, nil
}

// ListOf is [Inventory.List] for the numbers of any of several carriers.
func (v *Inventory) ListOf(ctx context.Context, carriers []int32, f Filter) (page []number.Number, next string, err error) {
	more := false
	for _, f.Carrier = range carriers {
		own, after, err := v.List(ctx, f)
		if err != nil {
			return nil, "", err
		}
		page = append(page, own...)
		more = more || after != ""
	}
	slices.SortFunc(page, func(a, b number.Number) int {
		return cmp.Or(cmp.Compare(len(a.E164), len(b.E164)), cmp.Compare(a.E164, b.E164)) // as integers
	})
	if limit := cmp.Or(max(f.Limit, 0), DefaultPage); len(page) > limit {
		page, more = page[:limit], true
	}
	if more {
		next = page[len(page)-1].E164
	}
	return page, next, nil
}

// Count returns how many numbers the filter selects, wherever a page of it begins. It is
// quick however many there are.
func (v *Inventory) Count(ctx context.Context, f Filter) (int, error) {
	return v.CountOf(ctx, []int32{f.Carrier}, f)
}

// CountOf is [Inventory.Count] for the numbers of any of several carriers.
func (v *Inventory) CountOf(ctx context.Context, carriers []int32, f Filter) (n int, err error) {
	for _, f.Carrier = range carriers {
		own, err := v.Store.CountNumbers(ctx, f)
		if err != nil {
			return 0, err
		}
		n += own
	}
	return n, nil
}

// PutCarrier adds a carrier, or renames one. With an app, that one alone is bound to the
// carrier's code from then on; without, apps stay as they are.
func (v *Inventory) PutCarrier(ctx context.Context, by hook.Actor, c number.Carrier) (made bool, err error) {
	faults := c.Check()
	if c.App != "" && v.Directory.App(c.App) == nil {
		faults.Add("app_id", "%q is not the id of an app", c.App)
	}
	if err := faults.Err("carrier"); err != nil {
		return false, err
	}
	// The app goes first: a code that no carrier has yet does no harm, and whoever
	// repeats this after a failure gets all of it.
	if c.App != "" {
		if err := v.Apps.BindCarrier(ctx, by, c.Code, c.App); err != nil {
			return false, err
		}
	}
	err = v.Store.ChangeNumbers(1, func(tx Tx) error {
		name, ok, err := tx.Carrier(c.Code)
		if made = !ok; err != nil || ok && name == c.Name {
			return err
		}
		entry := hook.AuditEntry{At: time.Now(), By: by, Action: hook.Created, Kind: "carrier", Subject: strconv.Itoa(int(c.Code)), Name: c.Name}
		if ok {
			entry.Action, entry.Changes = hook.Updated, []string{"name: " + name + " to " + c.Name}
		}
		return errors.Join(tx.PutCarrier(c.Code, c.Name), tx.Audit(entry))
	})
	return made, err
}

// RemoveCarrier removes a carrier that has no numbers. Apps keep its code.
func (v *Inventory) RemoveCarrier(by hook.Actor, code int32) error {
	var fault error
	err := v.Store.ChangeNumbers(1, func(tx Tx) error {
		fault = nil
		name, ok, err := tx.Carrier(code)
		if err != nil {
			return err
		}
		if !ok {
			fault = &hook.Error{Kind: hook.NotFound, Subject: fmt.Sprintf("carrier %d", code), Detail: "is not there"}
			return nil
		}
		switch n, err := tx.Count(code); {
		case err != nil:
			return err
		case n > 0:
			fault = &hook.Error{Kind: hook.Conflict, Subject: fmt.Sprintf("carrier %d", code), Detail: fmt.Sprintf("cannot be removed while it has numbers, %d of them", n)}
			return nil
		}
		entry := hook.AuditEntry{At: time.Now(), By: by, Action: hook.Removed, Kind: "carrier", Subject: strconv.Itoa(int(code)), Name: name}
		return errors.Join(tx.RemoveCarrier(code), tx.Audit(entry))
	})
	return cmp.Or(err, fault)
}

// Carriers returns all carriers by their codes.
func (v *Inventory) Carriers(ctx context.Context) ([]Carrier, error) {
	all, err := v.Store.Carriers(ctx)
	if err != nil {
		return nil, err
	}
	apps := v.Directory.Apps()
	for i := range all {
		for _, a := range apps {
			if slices.Contains(a.CarrierCodes, all[i].Code) {
				all[i].Apps = append(all[i].Apps, a.ID)
			}
		}
		slices.Sort(all[i].Apps)
	}
	return all, nil
}
