package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
)

// publishedAt stores an event that was accepted then, with a delivery that is over.
func publishedAt(t *testing.T, db *DB, n deliver.Node, at time.Time) hook.EventID {
	t.Helper()
	p := publication(db, n.ID, 1)
	p.Event.ID = hook.EventID(hook.FirstID(at))
	must(t, db.Publish([]*intake.Publication{p}))
	must(t, p.Err)
	finish(t, db, n, hook.Delivery{ID: hook.DeliveryID{Event: p.Event.ID, Subscription: 1}}, 200, at)
	return p.Event.ID
}

// While somebody reads the log for long, what is old cannot be dropped; but events are
// taken, deliveries are recorded, and there is room for those of another time. It is
// dropped when the reader has come to an end.
func TestDropBesideAReader(t *testing.T) {
	o := onPostgres(t)
	db := open(t, o)
	defer db.Close()
	setup(t, db, 1)
	n := join(t, db, 0)
	old := publishedAt(t, db, n, now)
	publishedAt(t, db, n, now.Add(100*testDivision))

	reader := dial(t, o.Database)
	reader.rows("BEGIN; SELECT count(*) FROM events; SELECT count(*) FROM attempts")
	dropped := make(chan error, 1)
	go func() { dropped <- db.Expire(t.Context(), now.Add(50*testDivision)) }()
	beside := dial(t, o.Database)
	for waiting := "0"; waiting == "0"; {
		waiting = beside.rows("SELECT count(*) FROM pg_inherits WHERE inhdetachpending")[0]
	}
	for i := range 3 {
		publishedAt(t, db, n, now.Add(time.Duration(101+2*i)*testDivision))
	}
	select {
	case err := <-dropped:
		t.Fatalf("it was dropped under the reader: %v", err)
	default:
	}
	reader.rows("ROLLBACK")
	must(t, <-dropped)
	if _, _, err := db.Event(t.Context(), old); kindOf(err) != hook.NotFound {
		t.Errorf("the old event: %v", err)
	}
	if n := beside.rows(fmt.Sprintf("SELECT count(*) FROM attempts WHERE id < %d", hook.FirstID(now.Add(testDivision))))[0]; n != "0" {
		t.Errorf("%s old rows of the log", n)
	}
}

// A drop that was broken off is finished by the next one, and again nobody has to wait for
// it.
func TestDropBrokenOff(t *testing.T) {
	o := onPostgres(t)
	db := open(t, o)
	defer db.Close()
	setup(t, db, 1)
	n := join(t, db, 0)
	publishedAt(t, db, n, now)
	publishedAt(t, db, n, now.Add(100*testDivision))
	beside := dial(t, o.Database)
	division := beside.rows(fmt.Sprintf("SELECT CAST(CAST(tableoid AS regclass) AS text) FROM attempts WHERE id < %d", hook.FirstID(now.Add(testDivision))))[0]

	reader, breaking := dial(t, o.Database), dial(t, o.Database)
	reader.rows("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM attempts")
	breaking.rows("SET lock_timeout = 1")
	if _, err := breaking.Exec(t.Context(), "ALTER TABLE attempts DETACH PARTITION "+division+" CONCURRENTLY").ReadAll(); codeOf(err) != codeLockTimeout {
		t.Fatalf("it was not broken off: %v", err)
	}
	dropped := make(chan error, 1)
	go func() { dropped <- db.Expire(t.Context(), now.Add(50*testDivision)) }()
	for waiting := "0"; waiting == "0"; {
		waiting = beside.rows("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%FINALIZE' AND wait_event_type = 'Lock'")[0]
	}
	publishedAt(t, db, n, now.Add(110*testDivision))
	select {
	case err := <-dropped:
		t.Fatalf("it was dropped under the reader: %v", err)
	default:
	}
	reader.rows("ROLLBACK")
	must(t, <-dropped)
	if n := beside.rows("SELECT count(*) FROM pg_class WHERE relname = '" + division + "'")[0]; n != "0" {
		t.Errorf("%s is still there", division)
	}
}
