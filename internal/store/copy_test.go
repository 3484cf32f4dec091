package store

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/inventory"
	"github.com/switchhook/switchhook/internal/number"
	"github.com/switchhook/switchhook/internal/pgtest"
)

// onSQLite returns options for a file of SQLite.
func onSQLite(t *testing.T) Options {
	t.Helper()
	return Options{Database: "sqlite:" + filepath.Join(t.TempDir(), "test.db"), Key: testKey(t, 1), Deliver: true, Mail: true}
}

// lived fills a database with something of everything, and dies with some of it in hand.
func lived(t *testing.T, o Options) {
	t.Helper()
	db := open(t, o)
	withCarrier(t, db)
	entry := hook.AuditEntry{At: now, By: hook.Actor{Kind: hook.ByOperator, ID: "k", Name: "ann"}, Action: hook.Updated, Kind: "app", Subject: "app", Name: "App", Changes: []string{"one"}}
	must(t, db.Change(hook.Change{
		Accounts: []*hook.Account{{ID: "customer", Name: "Customer", Master: accountName}},
		Groups:   []hook.Group{{Account: accountName, ID: "g"}},
		Users:    []*hook.User{{Account: accountName, ID: "u", Groups: []string{"g"}}},
		Subscriptions: []*hook.Subscription{
			subscription(2), subscription(3),
		},
		Installations: []hook.Installation{{App: "app", Account: "customer", User: "u"}},
		Audit:         []hook.AuditEntry{entry},
	}, now))
	remember(t, db, 1, now, now.Add(time.Hour))
	must(t, db.Change(hook.Change{RemoveSubscriptions: []hook.SubscriptionKey{3}}, now))
	must(t, db.PutCatalogDocument("product", []byte("{\"a\": \x00\xff}"), now))
	must(t, db.SetCheckMode(eventType, hook.CheckOff))
	must(t, db.CreateKey(&hook.OperatorKey{ID: "key", Name: "ann", Scopes: hook.KeyScopes(), Created: now}, "operator-secret"))
	putMails(t, db, 3)
	claimMailAt(t, db, now.Add(time.Hour), now.Add(2*time.Hour))
	must(t, db.ChangeNumbers(4, put(full(1), full(2), &inventory.Kept{Number: number.Number{E164: "+4930901820", Carrier: 7, Account: "customer", AllocatedProduct: number.Unallocated, NumberType: number.Toll}})))
	must(t, db.ChangeNumbers(1, func(tx inventory.Tx) error { return tx.Counted(7, accountName, 2) }))
	_, err := db.Installation()
	must(t, err)

	n := join(t, db, 0)
	// Events of a clock that went wrong, and went right again.
	for _, at := range []time.Time{time.UnixMilli(5), now.Add(-100 * 24 * time.Hour), now.Add(50 * 365 * 24 * time.Hour)} {
		p := publication(db, 0, 2)
		p.Event.ID = hook.EventID(hook.FirstID(at))
		must(t, db.Publish([]*intake.Publication{p}))
	}
	keyed := publication(db, 0, 1)
	keyed.Key, keyed.Digest = "once", []byte("digest")
	keyed.Event.Users = []string{"u"}
	must(t, db.Publish([]*intake.Publication{keyed}))
	publish(t, db, 40, 1, 2)
	for i, d := range claim(t, db, n, now, 1, 20).Deliveries {
		if i < 15 {
			finish(t, db, n, d.Delivery, []hook.Outcome{200, 503, 404}[i%3], now.Add(time.Duration(i)*time.Hour))
		}
	}
	must(t, record(db, &deliver.Finished{
		Attempt: hook.Attempt{
			Delivery: hook.DeliveryID{Event: keyed.Event.ID, Subscription: 2}, EventType: eventType, State: hook.Delivered, Outcome: 200, Started: now,
			Target: hook.Target{URL: "https://hooks.example.com/", Auth: hook.AuthBasic, Header: "x-a: b"}, Response: hook.Response{Header: "A: \xff\x00\n", Body: []byte{0, 255}},
		},
		Was: hook.Delivery{ID: hook.DeliveryID{Event: keyed.Event.ID, Subscription: 2}}, Now: hook.Delivery{State: hook.Delivered}, Node: n.ID,
	}))
	claim(t, db, n, now, 2, 5)
	claimMailAt(t, db, now.Add(time.Hour), now.Add(24*time.Hour))
	must(t, db.Close())
}

// told is what a platform tells about itself, but for what is in whose hand.
func told(t *testing.T, o Options) (all []string) {
	t.Helper()
	o.Deliver = false
	db := open(t, o)
	defer db.Close()
	ctx := t.Context()
	tell := func(what string, v any, err error) {
		t.Helper()
		must(t, err)
		all = append(all, fmt.Sprintf("%s: %+v", what, v))
	}
	all = append(all, dump(db.Directory()))
	documents, err := db.CatalogDocuments(ctx)
	tell("documents", documents, err)
	modes, err := db.CheckModes(ctx)
	tell("modes", modes, err)
	keys, err := db.Keys(ctx)
	for _, k := range keys {
		tell("key", *k, err)
	}
	mails, err := db.Mails(ctx, 100)
	for _, m := range mails {
		m.Claimed = time.Time{}
		tell("mail", *m, err)
	}
	trail, err := db.Audit(ctx, hook.AuditFilter{Limit: 100})
	tell("audit", trail, err)
	validations, err := db.Validations(ctx, 1, 100)
	tell("validations", validations, err)
	numbers, err := db.Numbers(ctx, inventory.Filter{Limit: 100})
	tell("numbers", numbers, err)
	carriers, err := db.Carriers(ctx)
	tell("carriers", carriers, err)
	name, err := db.Installation()
	tell("installation", name, err)
	rows, _, err := db.WebhookLog(ctx, hook.LogFilter{App: "app", Limit: 100})
	for _, r := range rows {
		tell("log", r.Attempt, err)
		tell("of event", *r.Event, nil)
	}
	for _, states := range [][]hook.State{nil, {hook.Waiting}, {hook.Failed}} {
		f := hook.DeliveryFilter{States: states, Limit: 7}
		for more := true; more; more = f.After != nil {
			var page []hook.Standing
			page, f.After, err = db.Deliveries(ctx, f)
			for _, s := range page {
				last := "never"
				if s.Last != nil {
					last = fmt.Sprintf("%+v", *s.Last)
				}
				tell("delivery", fmt.Sprintf("%+v %+v %s", s.Delivery, *s.Event, last), err)
			}
		}
	}
	return all
}

// A platform is the same after it was copied: what it tells, what it owes, and how it
// goes on.
func TestCopy(t *testing.T) {
	from, to := onSQLite(t), onPostgres(t)
	to.Database = pgtest.Database(t, nil)
	lived(t, from)
	before := told(t, from)
	var far [3]int64
	tables, err := Copy(t.Context(), Copying{From: from.Database, To: to.Database, Key: from.Key, Far: func(copied, checked, all int64) {
		far = [...]int64{copied, checked, all}
	}})
	must(t, err)
	rows := int64(0)
	for _, x := range tables {
		if rows += x.Rows; x.Rows == 0 || len(x.Checksum) != 32 {
			t.Errorf("%+v: the test is to have something of everything", x)
		}
	}
	if far != [...]int64{rows, rows, rows} {
		t.Errorf("it said that it was %d far, with %d rows", far, rows)
	}
	if after := told(t, to); !slices.Equal(after, before) {
		for i := range max(len(before), len(after)) {
			if i >= len(before) || i >= len(after) || before[i] != after[i] {
				t.Errorf("before %s\nafter  %s", before[i:min(i+1, len(before))], after[i:min(i+1, len(after))])
			}
		}
	}

	db := open(t, to)
	defer db.Close()
	n := join(t, db, 0)
	// What was in hand is free: 41 less 10 that are over, and 43.
	for k, want := range map[hook.SubscriptionKey]int{1: 31, 2: 43} {
		if got := len(claim(t, db, n, now.Add(1000*time.Hour), k, 100).Deliveries); got != want {
			t.Errorf("%d deliveries of subscription %d are to be had, want %d", got, k, want)
		}
	}
	for range 3 {
		if claimMailAt(t, db, now.Add(time.Hour), now.Add(2*time.Hour)) == nil {
			t.Error("a mail is not to be had")
		}
	}
	// What is new is numbered where the platform has come to.
	if id := putMails(t, db, 1)[0]; id != 4 {
		t.Errorf("the next mail has number %d, want 4", id)
	}
	again := publication(db, 0, 1)
	again.Key, again.Digest = "once", []byte("digest")
	other := publication(db, 0, 1)
	other.Event.Type = "another.type"
	must(t, db.Publish([]*intake.Publication{again, other}))
	if again.Earlier == 0 {
		t.Error("an idempotency key is forgotten")
	}
	if e, _, err := db.Event(t.Context(), other.Event.ID); err != nil || e.Type != "another.type" {
		t.Errorf("a new type: %+v, %v", e, err)
	}
	publish(t, db, 3, 1)
	if k, err := db.FindKey(t.Context(), "operator-secret"); err != nil || k == nil {
		t.Errorf("the operator key: %v, %v", k, err)
	}
}

// A number that was given before is not given again, also if what had it is gone. The
// target may be a schema beside what others have.
func TestCopyRemembersNumbers(t *testing.T) {
	from, to := onSQLite(t), onPostgres(t)
	to.Database = pgtest.Database(t, nil)
	dial(t, to.Database).rows("CREATE TABLE outbox (theirs int); CREATE SCHEMA ours")
	to.Database += "&search_path=ours"
	db := open(t, from)
	putMails(t, db, 5)
	must(t, db.sql.write(func(t tx) error { _, err := t.exec(`DELETE FROM outbox`); return err }, nil))
	must(t, db.Close())
	_, err := Copy(t.Context(), Copying{From: from.Database, To: to.Database, Key: from.Key})
	must(t, err)
	db = open(t, to)
	defer db.Close()
	if id := putMails(t, db, 1)[0]; id != 6 {
		t.Errorf("the next mail has number %d, want 6", id)
	}
}

// What is not a text for PostgreSQL is replaced, which is said.
func TestCopyOfOddTexts(t *testing.T) {
	var log lines
	from, to := onSQLite(t), onPostgres(t)
	to.Database = pgtest.Database(t, nil)
	db := open(t, from)
	setup(t, db, 1)
	p := publication(db, 0, 1)
	p.Event.Account = "acme\x00 and \xff"
	must(t, db.Publish([]*intake.Publication{p}))
	must(t, db.Close())
	_, err := Copy(t.Context(), Copying{From: from.Database, To: to.Database, Key: from.Key, Log: slog.New(slog.NewTextHandler(&log, nil))})
	must(t, err)
	if log.count("table=events rows=1") != 1 {
		t.Errorf("the log has %s", log.b.String())
	}
	db = open(t, to)
	defer db.Close()
	if e, _, err := db.Event(t.Context(), p.Event.ID); err != nil || e.Account != "acme\uFFFD and \uFFFD" {
		t.Errorf("%+v, %v", e, err)
	}
}

// What cannot be copied as it should is refused, with what to do, and both databases stay
// as they are.
func TestCopyRefuses(t *testing.T) {
	from := onSQLite(t)
	lived(t, from)
	file := strings.TrimPrefix(from.Database, "sqlite:")
	change := func(t *testing.T, o Options, query string) {
		t.Helper()
		c, err := sqlite.OpenConn(strings.TrimPrefix(o.Database, "sqlite:"), sqlite.OpenReadWrite)
		must(t, err)
		must(t, sqlitex.ExecuteScript(c, query, nil))
		must(t, c.Close())
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, o *Copying)
		want    string
	}{
		"no file": {func(_ *testing.T, o *Copying) { o.From += "x" }, "there is no such file"},
		"no SQLite": {func(t *testing.T, o *Copying) {
			must(t, os.WriteFile(o.From[7:], bytes.Repeat([]byte("no"), 5000), 0o600))
		}, "is not an SQLite database"},
		"an empty file": {func(t *testing.T, o *Copying) { must(t, os.WriteFile(o.From[7:], nil, 0o600)) }, "there is no platform in it"},
		"served": {func(t *testing.T, o *Copying) {
			db := open(t, Options{Database: o.From, Key: o.Key, Deliver: true})
			t.Cleanup(func() { must(t, db.Close()) })
		}, "stop that first"},
		"an earlier schema":        {func(t *testing.T, o *Copying) { change(t, Options{Database: o.From}, "PRAGMA user_version = 6") }, "start this version of switchhook on it once"},
		"a later schema":           {func(t *testing.T, o *Copying) { change(t, Options{Database: o.From}, "PRAGMA user_version = 99") }, "start the version of switchhook that wrote it"},
		"another key":              {func(t *testing.T, o *Copying) { o.Key = testKey(t, 2) }, "sealed with another key"},
		"a platform in the target": {func(t *testing.T, o *Copying) { o.To = pgtest.Database(t, empty) }, "there is a platform in it already"},
		"another program's target": {func(t *testing.T, o *Copying) { dial(t, o.To).rows("CREATE TABLE theirs (a int)") }, `tables of another program, such as "theirs"`},
		"no target":                {func(_ *testing.T, o *Copying) { o.To = strings.Replace(o.To, "/switchhook_test_", "/no_such_", 1) }, "there is no such database"},
		"a number too large": {func(t *testing.T, o *Copying) {
			change(t, Options{Database: o.From}, "UPDATE subscriptions SET auth_mode = 3000000000 WHERE key = 1")
		}, "subscriptions: auth_mode is 3000000000"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			must(t, err)
			o := Copying{From: onSQLite(t).Database, To: pgtest.Database(t, nil), Key: from.Key}
			must(t, os.WriteFile(o.From[7:], text, 0o600))
			c.prepare(t, &o)
			if _, err := Copy(t.Context(), o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if name == "no target" || strings.Contains(name, "in the target") || strings.Contains(name, "another program") {
				return
			}
			if n := dial(t, o.To).rows(`SELECT count(*) FROM pg_class WHERE relnamespace = CAST('public' AS regnamespace)`); n[0] != "0" {
				t.Errorf("%s things are in the target", n[0])
			}
		})
	}
	// The source is still what it was.
	must(t, open(t, from).Close())
	if _, err := os.Stat(file); err != nil {
		t.Fatal(err)
	}
}

// Wherever a copy is broken off, the target is empty; or it is complete, and that is said
// the next time. What was broken off does not stand in the way of the next one.
func TestCopyBrokenOff(t *testing.T) {
	from := onSQLite(t)
	lived(t, from)
	straight := onPostgres(t)
	straight.Database = pgtest.Database(t, nil)
	to, w := cutWire(t, straight)
	attempt := func(f func(m []byte) fault) error {
		w.breaks(f)
		_, err := Copy(t.Context(), Copying{From: from.Database, To: to.Database, Key: from.Key})
		return err
	}
	all := 0
	count := func([]byte) fault { all++; return none }
	inTarget := func() string {
		return dial(t, straight.Database).rows(`SELECT count(*) FROM pg_class WHERE relnamespace = CAST('public' AS regnamespace)`)[0]
	}
	// First to find out how many messages there are: the commit is kept back.
	err := attempt(func(m []byte) fault {
		if count(m); bytes.Contains(m, []byte("COMMIT")) {
			return before
		}
		return none
	})
	if err == nil || inTarget() != "0" {
		t.Fatalf("%v, and %s things are in the target", err, inTarget())
	}
	const rounds = 12
	for i := range rounds {
		left := all * (i + 1) / (rounds + 1)
		err := attempt(func([]byte) fault {
			if left--; left < 0 {
				return []fault{before, after, late}[i%3]
			}
			return none
		})
		if err == nil || inTarget() != "0" {
			t.Fatalf("round %d: %v, and %s things are in the target", i, err, inTarget())
		}
	}
	err = attempt(func(m []byte) fault {
		if bytes.Contains(m, []byte("COMMIT")) {
			return after
		}
		return none
	})
	if err == nil || !strings.Contains(err.Error(), "another attempt says") {
		t.Errorf("the answer to the commit is lost: %v", err)
	}
	if err := attempt(func([]byte) fault { return none }); err == nil || !strings.Contains(err.Error(), "there is a platform in it already") {
		t.Errorf("after that: %v", err)
	}
	if !slices.Equal(told(t, straight), told(t, from)) {
		t.Error("the copy is another platform")
	}
}

// Whoever interrupts a copy gets an empty target, and can go on with what there was.
func TestCopyInterrupted(t *testing.T) {
	from, to := onSQLite(t), onPostgres(t)
	to.Database = pgtest.Database(t, nil)
	lived(t, from)
	for _, part := range []int64{3, 2} { // while it copies, and while it checks
		ctx, stop := context.WithCancel(t.Context())
		_, err := Copy(ctx, Copying{From: from.Database, To: to.Database, Key: from.Key, Far: func(copied, checked, all int64) {
			if copied > all/part && checked > all/part || part == 3 && copied > all/3 {
				stop()
			}
		}})
		stop()
		if err == nil {
			t.Error("it was not interrupted")
		}
		if n := dial(t, to.Database).rows(`SELECT count(*) FROM pg_class WHERE relnamespace = CAST('public' AS regnamespace)`); n[0] != "0" {
			t.Errorf("%s things are in the target", n[0])
		}
	}
	must(t, open(t, from).Close())
	_, err := Copy(t.Context(), Copying{From: from.Database, To: to.Database, Key: from.Key})
	must(t, err)
}

// A server that does not store what it is given is found out.
func TestCopyChecks(t *testing.T) {
	from := onSQLite(t)
	lived(t, from)
	for name, change := range map[string]string{
		"a value is another":       "NEW.name = NEW.name || ' '; RETURN NEW;",
		"two values are exchanged": "RETURN ROW(NEW.id, NEW.at, NEW.by_id, NEW.by_kind, NEW.by_name, NEW.action, NEW.kind, NEW.subject, NEW.name, NEW.changes);",
		"a row is not there":       "RETURN NULL;",
	} {
		t.Run(name, func(t *testing.T) {
			database := pgtest.Database(t, nil)
			dial(t, database).rows(`
				CREATE SCHEMA odd;
				CREATE FUNCTION odd.change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ` + change + ` END $$;
				CREATE FUNCTION odd.add() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
					IF EXISTS (SELECT 1 FROM pg_event_trigger_ddl_commands() WHERE object_identity = 'public.audit' AND object_type = 'table') THEN
						CREATE TRIGGER odd BEFORE INSERT ON public.audit FOR EACH ROW EXECUTE FUNCTION odd.change();
					END IF;
				END $$;
				CREATE EVENT TRIGGER odd ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION odd.add()`)
			_, err := Copy(t.Context(), Copying{From: from.Database, To: database, Key: from.Key})
			if err == nil || !strings.Contains(err.Error(), "audit: the copy has") {
				t.Errorf("%v", err)
			}
		})
	}
}

// Every table and column of SQLite has its place in PostgreSQL, or is known not to be
// copied.
func TestBothSchemas(t *testing.T) {
	o := onSQLite(t)
	must(t, open(t, o).Close())
	c := &copier{}
	must(t, c.openSource(t.Context(), Copying{From: o.Database, Key: o.Key}))
	defer func() { must(t, c.close()) }()
	there := dial(t, pgtest.Database(t, empty)).rows(`SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public'`)
	for _, x := range c.tables {
		for _, column := range x.columns {
			if !slices.Contains(there, x.name+"."+column.name) {
				t.Errorf("PostgreSQL has no %s.%s", x.name, column.name)
			}
		}
	}
	if files, err := fs.Glob(migrations, "migrations/*.sqlite.sql"); err != nil || len(c.tables) < len(files) {
		t.Errorf("%d tables, %v", len(c.tables), err)
	}
}
