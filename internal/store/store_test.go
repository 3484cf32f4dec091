package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/inventory"
	"github.com/switchhook/switchhook/internal/pgtest"
	"github.com/switchhook/switchhook/internal/seal"
)

// eachStore runs a test on every kind of database.
func eachStore(t *testing.T, f func(t *testing.T, o Options)) {
	t.Run("sqlite", func(t *testing.T) {
		f(t, Options{Database: "sqlite:" + filepath.Join(t.TempDir(), "test.db"), Key: testKey(t, 1), Deliver: true, Mail: true})
	})
	t.Run("postgres", func(t *testing.T) {
		f(t, onPostgres(t))
	})
}

// onPostgres returns options for a database of PostgreSQL.
func onPostgres(t *testing.T) Options {
	t.Helper()
	return Options{Database: pgtest.Database(t, empty), Key: testKey(t, 1), Deliver: true, Mail: true, Retention: 7 * testDivision}
}

// testDivision is how much of the log PostgreSQL drops at a time in tests.
const testDivision = time.Hour

// empty makes databases of PostgreSQL that were opened once.
var empty = &pgtest.Fill{Do: func(database string) error {
	k, err := seal.NewKey(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		return err
	}
	db, err := Open(context.Background(), Options{Database: database, Key: k})
	if err != nil {
		return err
	}
	return db.Close()
}}

// onEachStore is eachStore for tests that need one open database.
func onEachStore(t *testing.T, f func(t *testing.T, db *DB)) {
	eachStore(t, func(t *testing.T, o Options) {
		db := open(t, o)
		defer func() { must(t, db.Close()) }()
		f(t, db)
	})
}

func open(t *testing.T, o Options) *DB {
	t.Helper()
	db, err := Open(t.Context(), o)
	must(t, err)
	return db
}

func testKey(t *testing.T, b byte) *seal.Key {
	t.Helper()
	k, err := seal.NewKey(bytes.Repeat([]byte{b}, 32))
	must(t, err)
	return k
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// kindOf returns the kind of a hook.Error, or 0.
func kindOf(err error) hook.Kind {
	if e, ok := errors.AsType[*hook.Error](err); ok {
		return e.Kind
	}
	return 0
}

var now = time.UnixMilli(1763758800000)

const (
	eventType    = "number_management.peering_number_cnam_updated"
	tokenText    = "secret-token-in-plain-text"
	passText     = "password-in-plain-text"
	oldTokenText = "older-secret-token-in-plain-text"
	clientText   = "client-secret-in-plain-text"
	accountName  = "acme"
)

// subscription returns a subscription of app "app".
func subscription(k hook.SubscriptionKey) *hook.Subscription {
	return &hook.Subscription{
		ID: fmt.Sprintf("subscription-%d", k), Key: k, App: "app", Name: fmt.Sprint("s", k), Events: []string{eventType},
		Endpoint: hook.Endpoint{URL: "https://hooks.example.com/", State: hook.Valid, StateSince: now}, Scope: hook.ScopeAccount, Subscribers: []hook.Subscriber{{}}, Source: hook.SourceDefault,
		Auth:    hook.Auth{Mode: hook.AuthBasic, Username: "u", Password: passText},
		Created: now,
	}
}

// setup configures an account, an app and subscriptions with these keys.
func setup(t *testing.T, db *DB, keys ...hook.SubscriptionKey) {
	t.Helper()
	c := hook.Change{
		Accounts: []*hook.Account{{ID: accountName, Name: "ACME", OwnerEmail: "a@example.com"}},
		Apps: []*hook.App{{ID: "app", Account: accountName, Name: "App", ClientID: "client", State: hook.Production, Scopes: []string{"s"}, CarrierCodes: []int32{7}, SecretToken: tokenText, ClientSecret: hook.HashSecret(clientText), Created: now,
			OldToken: hook.OldToken{Secret: oldTokenText, Until: now}, OldClientSecret: hook.OldClientSecret{Hash: hook.HashSecret("older"), Until: now}}},
	}
	for _, k := range keys {
		c.Subscriptions = append(c.Subscriptions, subscription(k))
	}
	must(t, db.Change(c, now))
}

var ids = hook.NewIDs(0, 0)

// publication returns an event owed to subscriptions, in the hand of a node.
func publication(db *DB, node int64, keys ...hook.SubscriptionKey) *intake.Publication {
	id := hook.EventID(ids.Next(now))
	p := &intake.Publication{
		Event:   &hook.Event{ID: id, Account: accountName, Type: eventType, TS: now, Carrier: 7, Body: fmt.Appendf(nil, `{"id":%q}`, id)},
		Version: db.Directory().Version(),
	}
	for _, k := range keys {
		p.Owed = append(p.Owed, hook.Owed{Subscription: k, Node: node})
	}
	return p
}

// publish stores n events owed to subscriptions, in nobody's hand, and returns
// their ids.
func publish(t *testing.T, db *DB, n int, keys ...hook.SubscriptionKey) (list []hook.EventID) {
	t.Helper()
	var pubs []*intake.Publication
	for range n {
		p := publication(db, 0, keys...)
		pubs, list = append(pubs, p), append(list, p.Event.ID)
	}
	must(t, db.Publish(pubs))
	for _, p := range pubs {
		must(t, p.Err)
	}
	return list
}

func join(t *testing.T, db *DB, lease time.Duration) deliver.Node {
	t.Helper()
	n, err := db.Join(now, lease)
	must(t, err)
	return n
}

const plenty = 1 << 20

// claim takes up to limit deliveries of one subscription in hand.
func claim(t *testing.T, db *DB, n deliver.Node, at time.Time, k hook.SubscriptionKey, limit int) deliver.Claim {
	t.Helper()
	claims, err := db.Claim(t.Context(), n, at, []deliver.Want{{Subscription: k, Limit: limit, Bytes: plenty}})
	must(t, err)
	return claims[0]
}

func eventsOf(c deliver.Claim) (list []hook.EventID) {
	for _, d := range c.Deliveries {
		list = append(list, d.ID.Event)
	}
	return list
}

// finish records an attempt that ended with o at the time at.
func finish(t *testing.T, db *DB, n deliver.Node, d hook.Delivery, o hook.Outcome, at time.Time) hook.Delivery {
	t.Helper()
	next := d.After(o, at, hook.DefaultSchedule())
	must(t, record(db, &deliver.Finished{
		Attempt: hook.Attempt{
			Delivery: d.ID, Retry: d.Tries, Outcome: o, State: next.State, Next: next.Due, Due: d.Due, Started: at,
			Timing: hook.Timing{DNS: 1e6, Connected: 2e6, TLS: 3e6, FirstByte: 4e6, Done: 5e6}, Span: 1<<63 + 5,
			Response: hook.Response{Header: "A: b\n", Body: []byte("answer"), Truncated: true}, Detail: "detail",
		},
		Was: d, Now: next, Node: n.ID,
	}))
	return next
}

func record(db *DB, f *deliver.Finished) error {
	done := make(chan error, 1)
	f.Done = func(err error) { done <- err }
	db.Finish(f)
	return <-done
}

// What is configured is there again after a restart, secrets included.
func TestDirectorySurvives(t *testing.T) {
	eachStore(t, func(t *testing.T, o Options) {
		db := open(t, o)
		setup(t, db, 1, 2, 3)
		full := subscription(4)
		full.Subscribers = []hook.Subscriber{{Account: accountName, Users: []string{"u"}, Groups: []string{"g"}}, {Account: "sub"}}
		full.Limits = hook.Limits{InFlight: 3, PerSecond: 2.5}
		full.Checked, full.Failures = now, []hook.Failure{{At: now.UTC(), Reason: "first"}, {At: now.UTC().Add(72 * time.Hour), Reason: "second"}}
		full.Development = hook.Endpoint{URL: "https://dev.example.com/", State: hook.Failing, StateReason: "slow", StateSince: now, Checked: now}
		full.Auth = hook.Auth{Mode: hook.AuthOAuth, ClientID: "i", ClientSecret: "s", TokenURL: "https://t.example.com", Scope: "a", State: "b", InBody: true}
		full.State, full.StateReason, full.Generation = hook.Disabled, "why", 7
		must(t, db.Change(hook.Change{
			Accounts:            []*hook.Account{{ID: "sub", Master: accountName}},
			Installations:       []hook.Installation{{App: "app", Account: "sub", User: "u"}, {App: "app", Account: accountName}},
			Subscriptions:       []*hook.Subscription{full},
			RemoveSubscriptions: []hook.SubscriptionKey{2},
			Users:               []*hook.User{{Account: "sub", ID: "u", Groups: []string{"g", "h"}}, {Account: "sub", ID: "v"}, {Account: accountName, ID: "u"}},
			Groups:              []hook.Group{{Account: "sub", ID: "g"}, {Account: "sub", ID: "h"}, {Account: accountName, ID: "g"}},
		}, now))
		must(t, db.Change(hook.Change{
			Users:        []*hook.User{{Account: "sub", ID: "u", Groups: []string{"h"}}},
			RemoveUsers:  []hook.User{{Account: accountName, ID: "u"}},
			RemoveGroups: []hook.Group{{Account: "sub", ID: "g"}},
		}, now))
		want := dump(db.Directory())
		if !strings.Contains(want, "sub: [{Account:sub ID:u Groups:[h]} {Account:sub ID:v Groups:[]}] [h]\n") || !strings.Contains(want, accountName+": [] [g]\n") {
			t.Errorf("people: %s", want)
		}
		must(t, db.Close())

		db = open(t, o)
		defer db.Close()
		if got := dump(db.Directory()); got != want {
			t.Errorf("after a restart:\n%s\nbefore:\n%s", got, want)
		}
		if s, a := db.Directory().Subscription(4); s.Auth != full.Auth || a.SecretToken != tokenText {
			t.Errorf("secrets are %q and %+v", a.SecretToken.Reveal(), s.Auth)
		}
		deleted, err := db.DeletedSubscription(t.Context(), 2)
		if err != nil || deleted == nil || deleted.ID != "subscription-2" {
			t.Errorf("the deleted subscription: %+v, %v", deleted, err)
		}
		must(t, db.Change(hook.Change{RemoveApps: []string{"app"}}, now))
		if n := len(db.Directory().Subscriptions("")); n != 0 {
			t.Errorf("%d subscriptions of a deleted app", n)
		}
	})
}

// dump writes a directory for comparison.
func dump(d *hook.Directory) string {
	var b strings.Builder
	for _, a := range d.Accounts() {
		fmt.Fprintf(&b, "%+v\n", *a)
		var users []hook.User
		for _, u := range d.Users(a.ID) {
			users = append(users, *u)
		}
		fmt.Fprintf(&b, "people of %s: %+v %v\n", a.ID, users, d.Groups(a.ID))
	}
	for _, a := range d.Apps() {
		fmt.Fprintf(&b, "%+v %s\n", *a, a.SecretToken.Reveal()+a.OldToken.Secret.Reveal())
	}
	for _, s := range d.Subscriptions("") {
		fmt.Fprintf(&b, "%+v\n", *s)
	}
	fmt.Fprintf(&b, "%+v\n", d.Installations(""))
	return b.String()
}

// What is remembered of changes is there after a restart, in the order in which it
// was done.
func TestRecordsSurvive(t *testing.T) {
	eachStore(t, func(t *testing.T, o Options) {
		db := open(t, o)
		setup(t, db, 1, 2)
		entry := func(n int, kind, subject string) hook.AuditEntry {
			return hook.AuditEntry{
				At: now.Add(time.Duration(n) * time.Second), By: hook.Actor{Kind: hook.ByApp, ID: fmt.Sprint("by", n%2), Name: "ann"}, Action: hook.Updated,
				Kind: kind, Subject: subject, Name: "name", Changes: []string{"one", fmt.Sprint(n)},
			}
		}
		validation := func(n int, k hook.SubscriptionKey, reason string) hook.Validation {
			return hook.Validation{
				Subscription: k, In: hook.Development, URL: "https://x.example.com", At: now.Add(time.Duration(n) * time.Second), Occasion: hook.OnRound, Reason: reason, State: hook.Failing,
			}
		}
		must(t, db.Change(hook.Change{
			Audit:       []hook.AuditEntry{entry(1, "app", "a"), entry(2, "subscription", "s")},
			Validations: []hook.Validation{validation(1, 1, "why"), validation(2, 2, ""), validation(3, 1, "")},
		}, now))
		must(t, db.Change(hook.Change{Audit: []hook.AuditEntry{entry(3, "app", "b"), entry(4, "app", "a")}}, now))
		err := db.Change(hook.Change{ // which fails, and takes what is to be remembered of it with it
			Installations: []hook.Installation{{App: "app", Account: "nobody"}}, Audit: []hook.AuditEntry{entry(5, "app", "a")}, Validations: []hook.Validation{validation(4, 1, "")},
		}, now)
		if err == nil {
			t.Error("an installation on an account that does not exist is accepted")
		}
		for range 2 {
			for _, c := range []struct {
				filter hook.AuditFilter
				want   []hook.AuditEntry
			}{
				{hook.AuditFilter{Limit: 9}, []hook.AuditEntry{entry(4, "app", "a"), entry(3, "app", "b"), entry(2, "subscription", "s"), entry(1, "app", "a")}},
				{hook.AuditFilter{Limit: 2}, []hook.AuditEntry{entry(4, "app", "a"), entry(3, "app", "b")}},
				{hook.AuditFilter{Limit: 9, Before: 3}, []hook.AuditEntry{entry(2, "subscription", "s"), entry(1, "app", "a")}},
				{hook.AuditFilter{Limit: 9, Subject: "a"}, []hook.AuditEntry{entry(4, "app", "a"), entry(1, "app", "a")}},
				{hook.AuditFilter{Limit: 9, Kind: "app", Actor: "by1"}, []hook.AuditEntry{entry(3, "app", "b"), entry(1, "app", "a")}},
				{hook.AuditFilter{Limit: 9, Subject: "a", Kind: "app", Actor: "by0"}, []hook.AuditEntry{entry(4, "app", "a")}},
				{hook.AuditFilter{Limit: 9, Kind: "none"}, nil},
			} {
				got, err := db.Audit(t.Context(), c.filter)
				for i := range got {
					got[i].ID = 0
				}
				if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c.want) || err != nil {
					t.Errorf("%+v finds\n%+v, want\n%+v, %v", c.filter, got, c.want, err)
				}
			}
			for limit, want := range map[int][]hook.Validation{9: {validation(3, 1, ""), validation(1, 1, "why")}, 1: {validation(3, 1, "")}} {
				if got, err := db.Validations(t.Context(), 1, limit); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) || err != nil {
					t.Errorf("%d validations are\n%+v, want\n%+v, %v", limit, got, want, err)
				}
			}
			must(t, db.Close())
			db = open(t, o)
		}
		must(t, db.Close())
	})
}

func TestChangeIsWholeOrNothing(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		before := dump(db.Directory())
		err := db.Change(hook.Change{
			Accounts: []*hook.Account{{ID: "another"}},
			Apps:     []*hook.App{{ID: "other-id", Account: accountName, Name: "App", ClientID: "c2", SecretToken: tokenText}},
		}, now)
		if kindOf(err) != hook.Conflict {
			t.Errorf("an app of the same name: %v", err)
		}
		err = db.Change(hook.Change{
			Accounts:      []*hook.Account{{ID: "another"}},
			Installations: []hook.Installation{{App: "app", Account: "nobody"}},
		}, now)
		if err == nil {
			t.Error("an installation on an account that does not exist is accepted")
		}
		if got := dump(db.Directory()); got != before {
			t.Errorf("a failed change left:\n%s", got)
		}
	})
}

func TestSecretsAreNotInTheFile(t *testing.T) {
	eachStore(t, func(t *testing.T, o Options) {
		db := open(t, o)
		setup(t, db, 1)
		must(t, db.CreateKey(&hook.OperatorKey{ID: "k", Created: now}, "operator-key-in-plain-text"))
		must(t, db.Close())
		for name, content := range contents(t, o) {
			for _, secret := range []string{tokenText, oldTokenText, passText, clientText, "operator-key-in-plain-text"} {
				if bytes.Contains(content, []byte(secret)) {
					t.Errorf("%s is in %s", secret, name)
				}
			}
		}
	})
}

// contents returns what is in the files of a database, or in its tables.
func contents(t *testing.T, o Options) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	if path, ok := strings.CutPrefix(o.Database, "sqlite:"); ok {
		files, err := filepath.Glob(path + "*")
		must(t, err)
		for _, f := range files {
			all[filepath.Base(f)], err = os.ReadFile(f)
			must(t, err)
		}
	} else {
		c := dial(t, o.Database)
		for _, table := range c.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'") {
			var text bytes.Buffer
			_, err := c.CopyTo(t.Context(), &text, "COPY (SELECT * FROM "+table+") TO STDOUT BINARY")
			must(t, err)
			all[table] = text.Bytes()
		}
	}
	if !slices.ContainsFunc(slices.Collect(maps.Values(all)), func(b []byte) bool { return bytes.Contains(b, []byte("https://hooks.example.com/")) }) {
		t.Fatal("what is to be seen is not seen either")
	}
	return all
}

func TestAnotherKeyIsRefused(t *testing.T) {
	eachStore(t, func(t *testing.T, o Options) {
		must(t, open(t, o).Close())
		o.Key = testKey(t, 2)
		if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "another key") {
			t.Errorf("opened with another key: %v", err)
		}
	})
}

// A sealed value that was damaged or moved makes that one subscription unreadable,
// and the platform starts all the same.
func TestDamagedSecrets(t *testing.T) {
	eachStore(t, func(t *testing.T, o Options) {
		db := open(t, o)
		setup(t, db, 1, 2)
		must(t, db.sql.write(func(t tx) error {
			_, err := t.exec(`UPDATE subscriptions SET auth = (SELECT auth FROM subscriptions WHERE key = 2) WHERE key = 1`)
			return err
		}, nil))
		must(t, db.sql.write(func(t tx) error {
			_, err := t.exec(`UPDATE apps SET secret_token = $1`, []byte("rubbish"))
			return err
		}, nil))
		must(t, db.Close())
		db = open(t, o)
		defer db.Close()
		s1, app := db.Directory().Subscription(1)
		s2, _ := db.Directory().Subscription(2)
		if !s1.Auth.Unreadable || s1.Auth.Password != "" || s2.Auth.Unreadable || !app.SecretToken.Blank() {
			t.Errorf("%+v, %+v, %q", s1.Auth, s2.Auth, app.SecretToken.Reveal())
		}
	})
}

func TestKeys(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		k := &hook.OperatorKey{ID: "k1", Name: "ann", Scopes: []hook.KeyScope{hook.KeyRead}, Created: now}
		must(t, db.CreateKey(k, "secret"))
		got, err := db.FindKey(t.Context(), "secret")
		if err != nil || got == nil || got.ID != "k1" || !got.Allows(hook.KeyRead) || got.Allows(hook.KeyManage) {
			t.Errorf("found %+v, %v", got, err)
		}
		if got, err := db.FindKey(t.Context(), "other"); err != nil || got != nil {
			t.Errorf("another secret finds %+v, %v", got, err)
		}
		must(t, db.RevokeKey("k1", now))
		if got, err := db.FindKey(t.Context(), "secret"); err != nil || got != nil {
			t.Errorf("a revoked key is found: %+v, %v", got, err)
		}
		if err := db.RevokeKey("k1", now); kindOf(err) != hook.NotFound {
			t.Errorf("revoked twice: %v", err)
		}
		if all, err := db.Keys(t.Context()); err != nil || len(all) != 1 || !all[0].Revoked.Equal(now) {
			t.Errorf("keys %+v, %v", all, err)
		}
	})
}

func TestCatalogDocuments(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		must(t, db.PutCatalogDocument("b", []byte("1"), now))
		must(t, db.PutCatalogDocument("a", []byte("2"), now.Add(time.Second)))
		must(t, db.PutCatalogDocument("b", []byte("3"), now.Add(2*time.Second)))
		docs, err := db.CatalogDocuments(t.Context())
		must(t, err)
		if len(docs) != 2 || docs[0].Product != "b" || string(docs[0].Source) != "3" || string(docs[1].Source) != "2" {
			t.Errorf("%+v", docs)
		}
		must(t, db.SetCheckMode("e", hook.CheckStrict))
		must(t, db.SetCheckMode("e", hook.CheckOff))
		modes, err := db.CheckModes(t.Context())
		if err != nil || len(modes) != 1 || modes["e"] != hook.CheckOff {
			t.Errorf("%v, %v", modes, err)
		}
	})
}

// One process at a time delivers from a file, several from a server; others may manage
// it meanwhile.
func TestOneProcessDelivers(t *testing.T) {
	eachStore(t, func(t *testing.T, o Options) {
		first := open(t, o)
		if IsPostgres(o.Database) {
			must(t, open(t, o).Close())
		} else if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "another switchhook is serving") {
			t.Errorf("a second one delivers: %v", err)
		}
		o.Deliver = false
		beside := open(t, o)
		must(t, beside.CreateKey(&hook.OperatorKey{ID: "k", Created: now}, "secret"))
		if k, err := first.FindKey(t.Context(), "secret"); err != nil || k == nil {
			t.Errorf("a key made beside: %v, %v", k, err)
		}
		must(t, beside.Close())
		must(t, first.Close())
		o.Deliver = true
		must(t, open(t, o).Close())
	})
}

func TestFilesThatAreNotOurs(t *testing.T) {
	dir := t.TempDir()
	script := func(name, sql string) string {
		file := filepath.Join(dir, name)
		c, err := sqlite.OpenConn(file, sqlite.OpenReadWrite|sqlite.OpenCreate)
		must(t, err)
		must(t, errors.Join(sqlitex.ExecuteScript(c, sql, nil), c.Close()))
		return file
	}
	text := filepath.Join(dir, "text")
	must(t, os.WriteFile(text, bytes.Repeat([]byte("this is no database "), 100), 0o600))
	newer := filepath.Join(dir, "newer")
	must(t, open(t, Options{Database: "sqlite:" + newer, Key: testKey(t, 1)}).Close())
	script("newer", "PRAGMA user_version = 9999")
	for file, want := range map[string]string{
		text: "not an SQLite database",
		script("other", "CREATE TABLE t (a); PRAGMA user_version = 3"): "of another program",
		newer:                                   "schema has version 9999",
		filepath.Join(dir, "no", "such", "dir"): "does not exist",
	} {
		before, _ := os.ReadFile(file)
		_, err := Open(t.Context(), Options{Database: "sqlite:" + file, Key: testKey(t, 1), Deliver: true})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", filepath.Base(file), err, want)
		}
		if after, _ := os.ReadFile(file); !bytes.Equal(before, after) {
			t.Errorf("%s was changed", filepath.Base(file))
		}
	}
	for _, url := range []string{"", "sqlite:", "mysql://x", "test.db"} {
		if _, err := Open(t.Context(), Options{Database: url, Key: testKey(t, 1)}); err == nil || !strings.Contains(err.Error(), "sqlite:PATH nor postgres://") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// A write that fails through its own fault does not take others with it that are
// committed at the same time.
func TestFaultsDoNotSpread(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				p := publication(db, 0, 1)
				must(t, db.Publish([]*intake.Publication{p}))
				twin := *p // the same id again: refused by the database
				if i%5 == 0 {
					if err := db.Publish([]*intake.Publication{&twin}); err == nil {
						t.Error("an id was stored twice")
					}
				}
			})
		}
		wg.Wait()
		n := join(t, db, 0)
		if c := claim(t, db, n, now, 1, 100); len(c.Deliveries) != 50 {
			t.Errorf("%d deliveries, want 50", len(c.Deliveries))
		}
	})
}

func TestPlansUseIndexes(t *testing.T) {
	db := open(t, Options{Database: "sqlite:" + filepath.Join(t.TempDir(), "test.db"), Key: testKey(t, 1)})
	defer db.Close()
	for _, query := range []string{
		selectDue, selectNext, takeDue, deleteDue, moveDue, selectKey,
		selectEvent + `WHERE id = $1`,
		selectAttempts + `WHERE event_id = $1 AND subscription = $2 ORDER BY id`,
		selectUndelivered, selectWaiting, selectRecent, selectPart, selectType, selectStreamEnd, selectLogRow,
		selectPlace, selectAhead, selectChallengeOf, selectLogAfter, selectLogBefore,
		selectNumbers + `WHERE e164 = $1`, numbersQuery(&inventory.Filter{}), numbersQuery(&inventory.Filter{Carrier: 1}), numbersQuery(&inventory.Filter{Account: "a"}),
		numbersQuery(&inventory.Filter{Carrier: 1, Account: "a"}),
	} {
		for detail := range strings.Lines(plan(t, db, query)) {
			if strings.HasPrefix(detail, "SCAN") && !strings.Contains(detail, "nodes") || strings.Contains(detail, "TEMP B-TREE") {
				t.Errorf("%s\n\t%s", query, detail)
			}
		}
	}
}

// plan returns how a query is carried out, a line for each step.
func plan(t *testing.T, db *DB, query string) string {
	t.Helper()
	var b strings.Builder
	must(t, db.sql.read(context.Background(), func(x tx) error {
		st, _, err := x.(sqliteTx).c.PrepareTransient("EXPLAIN QUERY PLAN " + query)
		if err != nil {
			return fmt.Errorf("%s: %w", query, err)
		}
		defer st.Finalize()
		for {
			more, err := st.Step()
			if err != nil || !more {
				return err
			}
			b.WriteString(st.ColumnText(3) + "\n")
		}
	}))
	return b.String()
}

func sortedEvents(list []hook.EventID) []hook.EventID {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}
