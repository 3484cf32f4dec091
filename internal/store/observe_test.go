package store

import (
	"errors"
	"sync"
	"testing"
)

// Counting what is outstanding ends at the limit.
func TestOutstanding(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		count := func(limit, want int) {
			t.Helper()
			if n, err := db.Outstanding(t.Context(), limit); err != nil || n != want {
				t.Errorf("%d, %v; want %d", n, err, want)
			}
		}
		setup(t, db, 1, 2)
		count(100, 0)
		publish(t, db, 5, 1, 2)
		count(100, 10)
		count(10, 10)
		count(9, 9)
		n := join(t, db, 0)
		d := claim(t, db, n, now, 1, 1).Deliveries[0]
		count(100, 10)
		finish(t, db, n, d.Delivery, 500, now)
		count(100, 10) // it is due later
		d = claim(t, db, n, now, 2, 1).Deliveries[0]
		finish(t, db, n, d.Delivery, 200, now)
		count(100, 9)
	})
}

// Every transaction is told of, with the rows in it. One that fails through the fault
// of what is in it is no trouble of the database.
func TestCommitsAreTold(t *testing.T) {
	eachStore(t, func(t *testing.T, o Options) {
		var mu sync.Mutex
		var told []Commit
		o.Observe = func(c Commit) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, c)
		}
		db := open(t, o)
		defer func() { must(t, db.Close()) }()
		setup(t, db, 1, 2)
		publish(t, db, 1, 1, 2) // makes its type known as well
		since := func(do func()) []Commit {
			mu.Lock()
			before := len(told)
			mu.Unlock()
			do()
			mu.Lock()
			defer mu.Unlock()
			return told[before:]
		}
		one := since(func() { publish(t, db, 5, 1, 2) })
		if len(one) != 1 || one[0].Rows < 15 || one[0].Took <= 0 || one[0].Err != nil {
			t.Errorf("%+v", one)
		}
		if one = since(func() { must(t, db.Probe()) }); len(one) != 1 || one[0].Err != nil {
			t.Errorf("%+v", one)
		}
		wrong := errors.New("wrong")
		one = since(func() {
			if err := db.sql.write(func(tx) error { return wrong }, nil); !errors.Is(err, wrong) {
				t.Error(err)
			}
		})
		for _, c := range one {
			if c.Err != nil {
				t.Errorf("%+v", c)
			}
		}
	})
}
