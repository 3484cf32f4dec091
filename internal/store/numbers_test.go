package store

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/inventory"
	"github.com/switchhook/switchhook/internal/number"
)

// full returns a number of carrier 7 that has everything.
func full(i int) *inventory.Kept {
	return &inventory.Kept{
		Number: number.Number{
			E164: fmt.Sprintf("+1415%07d", 2_000_000+i), Carrier: 7, Account: accountName, SIPTrunkName: "west", Status: true,
			AllocatedProduct: number.Phone, NumberType: number.Toll, BillingRefID: "ref", ServiceInfo: "info", Assigned: true, CNAM: "ACME",
			Address: number.Address{Country: "US", Line1: "1 Main Street", Line2: "Floor 2", City: "San Francisco", ZIP: "94111", State: "CA"},
		},
		Told: now,
	}
}

// withCarrier sets up a platform with carrier 7.
func withCarrier(t *testing.T, db *DB) {
	t.Helper()
	setup(t, db, 1)
	must(t, db.ChangeNumbers(1, func(tx inventory.Tx) error { return tx.PutCarrier(7, "Seven") }))
}

func put(list ...*inventory.Kept) func(inventory.Tx) error {
	return func(tx inventory.Tx) error {
		for _, k := range list {
			if err := tx.PutNumber(k); err != nil {
				return err
			}
		}
		return nil
	}
}

// What is put into the inventory comes out, also after a restart.
func TestNumbersSurvive(t *testing.T) {
	eachStore(t, func(t *testing.T, o Options) {
		db := open(t, o)
		withCarrier(t, db)
		bare := &inventory.Kept{Number: number.Number{E164: "+4930901820", Carrier: 7, Account: accountName, AllocatedProduct: number.Unallocated, NumberType: number.Toll}}
		changed, gone := full(2), full(3)
		must(t, db.ChangeNumbers(4, put(full(1), full(2), gone, bare)))
		changed.Number = number.Number{E164: changed.E164, Carrier: 7, Account: accountName, AllocatedProduct: number.ContactCenter, NumberType: number.VirtualService}
		changed.Told = now.Add(time.Hour)
		must(t, db.ChangeNumbers(2, func(tx inventory.Tx) error {
			return errors.Join(tx.PutNumber(changed), tx.RemoveNumber(gone.E164), tx.SetToldOfRemoved(now))
		}))
		must(t, db.Close())

		db = open(t, o)
		defer db.Close()
		for _, want := range []*inventory.Kept{full(1), changed, bare} {
			if got, err := db.Number(t.Context(), want.E164); err != nil || got == nil || *got != *want {
				t.Errorf("got %+v, %v\nwant %+v", got, err, want)
			}
		}
		if got, err := db.Number(t.Context(), gone.E164); err != nil || got != nil {
			t.Errorf("a number that was removed: %+v, %v", got, err)
		}
		must(t, db.ChangeNumbers(1, func(tx inventory.Tx) error {
			if at, err := tx.ToldOfRemoved(); err != nil || !at.Equal(now) {
				t.Errorf("told of what was removed at %v, %v", at, err)
			}
			return nil
		}))
		if all, err := db.Carriers(t.Context()); err != nil || len(all) != 1 || all[0].Code != 7 || all[0].Name != "Seven" {
			t.Errorf("carriers %+v, %v", all, err)
		}
	})
}

// Numbers are counted by what is added and taken away, for each carrier and customer.
func TestNumbersAreCounted(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		withCarrier(t, db)
		must(t, db.ChangeNumbers(1, func(tx inventory.Tx) error {
			return errors.Join(tx.PutCarrier(8, "Eight"), tx.Counted(7, accountName, 3), tx.Counted(7, accountName, -1), tx.Counted(8, accountName, 5))
		}))
		for want, f := range map[int]inventory.Filter{7: {}, 2: {Carrier: 7}, 5: {Carrier: 8, Account: accountName}, 0: {Account: "nobody"}} {
			if n, err := db.CountNumbers(t.Context(), f); err != nil || n != want {
				t.Errorf("%+v: %d, %v", f, n, err)
			}
		}
		must(t, db.ChangeNumbers(1, func(tx inventory.Tx) error {
			n, err := tx.Count(8)
			if n != 5 {
				t.Errorf("carrier 8 has %d", n)
			}
			return errors.Join(err, tx.Counted(8, accountName, -5), tx.RemoveCarrier(8))
		}))
		if all, err := db.Carriers(t.Context()); err != nil || len(all) != 1 || all[0].Numbers != 2 {
			t.Errorf("carriers %+v, %v", all, err)
		}
	})
}

// Nothing but E.164 is looked for: the key of a number is an integer, and other texts
// must not meet it.
func TestNumberKeys(t *testing.T) {
	for text, want := range map[string]int64{
		"+14155550142": 14155550142, "+123456789012345": 123456789012345,
		"": 0, "+": 0, "14155550142": 0, "+014155550142": 0, "+1415555014x": 0, "+1234567890123456": 0, "+1 415": 0, "+-1": 0, "+１": 0,
	} {
		if got, ok := numberKey(text); ok != (want != 0) || ok && got != want {
			t.Errorf("%q has the key %d, %v", text, got, ok)
		}
	}
}

// A change of numbers and its event are stored both or neither, whichever of them fails.
func TestNumbersAndEventsAreOne(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		withCarrier(t, db)
		known := publication(db, 0, 1)
		must(t, db.Publish([]*intake.Publication{known}))
		stale := publication(db, 0, 1)
		stale.Version--
		errLate := errors.New("late")
		for name, c := range map[string]struct {
			pub  *intake.Publication
			late error
		}{
			"the event's id is taken":   {known, nil},
			"the event is stale":        {stale, nil},
			"something fails afterward": {publication(db, 0, 1), errLate},
		} {
			before, err := db.LastEvent(t.Context())
			must(t, err)
			err = db.ChangeNumbers(2, func(tx inventory.Tx) error {
				return errors.Join(tx.PutNumber(full(1)), tx.Publish([]*intake.Publication{c.pub}), c.late)
			})
			k, readErr := db.Number(t.Context(), full(1).E164)
			must(t, readErr)
			after, readErr := db.LastEvent(t.Context())
			must(t, readErr)
			if err == nil || k != nil || after != before {
				t.Errorf("%s: %v, number %v, event %v", name, err, k, after != before)
			}
		}
		good := publication(db, 0, 1)
		err := db.ChangeNumbers(2, func(tx inventory.Tx) error {
			return errors.Join(tx.Publish([]*intake.Publication{good}), tx.PutNumber(full(1)))
		})
		must(t, err)
		if e, owed, err := db.Event(t.Context(), good.Event.ID); err != nil || e == nil || len(owed) != 1 {
			t.Errorf("%v owed to %v, %v", e, owed, err)
		}
	})
}

// Changes of numbers share their commits with others, and suffer from nobody's fault but
// their own: each is there once, however often it had to be done.
func TestNumbersAmongOthers(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		withCarrier(t, db)
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				p := publication(db, 0, 1)
				err := db.ChangeNumbers(2000, func(tx inventory.Tx) error {
					return errors.Join(tx.PutNumber(full(i)), tx.Publish([]*intake.Publication{p}))
				})
				must(t, err)
				twin := *p // the same id again
				if i%5 == 0 && db.Publish([]*intake.Publication{&twin}) == nil {
					t.Error("an id was stored twice")
				}
			})
		}
		wg.Wait()
		page, err := db.Numbers(t.Context(), inventory.Filter{Limit: 1000})
		if err != nil || len(page) != 100 || page[0] != *full(0) || page[99] != *full(99) {
			t.Errorf("%d numbers, %v", len(page), err)
		}
		if c := claim(t, db, join(t, db, 0), now, 1, 1000); len(c.Deliveries) != 100 {
			t.Errorf("%d deliveries, want 100", len(c.Deliveries))
		}
	})
}

// Work that comes in large pieces does not gather in one transaction: others would have
// to wait for all of it.
func TestManyRowsAreCut(t *testing.T) {
	s := &committer{queue: make([]unit, 20)}
	for i := range s.queue {
		s.queue[i].many = 1000
	}
	for _, want := range []int{5, 5, 5, 5, 0} {
		if batch, rows := s.cut(); len(batch) != want || rows != want {
			t.Errorf("%d units of %d rows, want %d", len(batch), rows, want)
		}
	}
}
