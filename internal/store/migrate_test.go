package store

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitemigration"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/switchhook/switchhook/internal/hook"
)

// earlier makes a database of an earlier schema, of the first steps only, and fills it.
func earlier(t *testing.T, o Options, steps int, fill func(exec func(query string, args ...any))) {
	t.Helper()
	c, err := sqlite.OpenConn(strings.TrimPrefix(o.Database, "sqlite:"), sqlite.OpenReadWrite|sqlite.OpenCreate)
	must(t, err)
	files, err := databaseKind.Steps()
	must(t, err)
	schema := sqlitemigration.Schema{AppID: applicationID}
	for _, f := range files[:steps] {
		text, err := fs.ReadFile(migrations, f)
		must(t, err)
		schema.Migrations = append(schema.Migrations, string(text))
	}
	must(t, sqlitemigration.Migrate(t.Context(), c, schema))
	must(t, sqlitex.ExecuteTransient(c, "PRAGMA foreign_keys=1", nil))
	fill(func(query string, args ...any) {
		t.Helper()
		must(t, sqlitex.Execute(c, query, &sqlitex.ExecOptions{Args: args}))
	})
	must(t, c.Close())
}

// old are rows of the fourth version, as its statements wrote them.
func old(o Options, exec func(string, ...any)) {
	at := now.UnixMilli()
	exec(`INSERT INTO settings VALUES ('key_check', ?)`, o.Key.Seal([]byte("switchhook"), "settings/key_check"))
	exec(`INSERT INTO accounts VALUES ('acme', 'ACME', 'a@example.com', ''), ('sub', '', '', 'acme')`)
	exec(`INSERT INTO apps (id, account_id, name, client_id, client_secret_hash, secret_token, scopes, carrier_codes, disabled, created,
			old_client_secret_hash, old_client_secret_until, old_token, old_token_until)
		VALUES ('app', 'acme', 'App', 'client', x'01', ?, '["s"]', 'null', 0, ?, x'', 0, x'', 0)`, o.Key.Seal([]byte(tokenText), "app/app/secret_token"), at)
	exec(`INSERT INTO installations VALUES ('app', 'sub', ''), ('app', 'acme', 'ann')`)
	subscription := func(key int, scope, account, users, groups string, state hook.SubscriptionState, reason string, deleted int64) {
		id := fmt.Sprint("subscription-", key)
		exec(`INSERT INTO subscriptions VALUES (?, ?, 'app', ?, '["t"]', ?, ?, ?, ?, ?, 'default', 1, ?, 3, 2.5, ?, ?, ?, 7, ?, ?)`,
			key, id, fmt.Sprint("s", key), fmt.Sprint("https://hooks.example.com/", key), scope, account, users, groups,
			o.Key.Seal([]byte(`{"username":"u","password":"`+passText+`"}`), "subscription/"+id+"/auth"), int(state), reason, at+int64(key), at, deleted)
	}
	subscription(1, "account", "", "null", "null", hook.Valid, "", 0)
	subscription(2, "master_account", "acme", "[]", "[]", hook.Failing, "slow", 0)
	// What a manifest named was kept in its order, also what it named twice.
	subscription(3, "user", "acme", `["eve","ann","bob","ann"]`, `["night","day"]`, hook.Pending, "not yet", 0)
	subscription(4, "user", "", `["ann"]`, "null", hook.Disabled, "by the operator", at+9)

	exec(`INSERT INTO event_names VALUES (1, 't')`)
	exec(`INSERT INTO events VALUES (?, 'acme', 1, ?, 0, '{"user_ids":["ann"]}', x'0000000000000001', ?)`, hook.FirstID(now), at, []byte(`{"event":"t"}`))
	attempt := func(n, subscription int, kind hook.AttemptKind, retry, outcome int, state hook.State, event int64) {
		exec(`INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, ?, 1000, 2000, 3000, 4000, 5000, 5, 'A: b', ?, 0, ?)`,
			hook.FirstID(now)+int64(n), event, subscription, int(kind), retry, outcome, int(state), now.UnixMicro()+int64(n), []byte("answer"), fmt.Sprint("row ", n))
	}
	sent, gone := hook.FirstID(now), hook.FirstID(now)-1 // an event that has expired since
	attempt(1, 1, hook.KindChallenge, 0, 200, hook.Delivered, 1)
	attempt(2, 1, hook.KindChallenge, 0, 200, hook.Waiting, 2) // answered, and wrongly
	attempt(3, 1, hook.KindAttempt, 0, 500, hook.Waiting, sent)
	attempt(4, 1, hook.KindAttempt, 1, -2, hook.Waiting, sent)
	attempt(5, 1, hook.KindResend, 0, 0, hook.Waiting, sent)
	attempt(6, 1, hook.KindAttempt, 3, 204, hook.Delivered, sent)
	attempt(7, 4, hook.KindAttempt, 0, 302, hook.Failed, gone)
	attempt(8, 2, hook.KindCancel, 0, 0, hook.Cancelled, sent)
}

// A database of the version before subscriptions had subscribers has them, and its log
// can be read like a new one. Nothing else has changed.
func TestMigrateFromTheFourthSchema(t *testing.T) {
	for _, steps := range []int{4, 5} {
		t.Run(fmt.Sprint(steps), func(t *testing.T) {
			o := Options{Database: "sqlite:" + filepath.Join(t.TempDir(), "test.db"), Key: testKey(t, 1), Deliver: true, Mail: true}
			earlier(t, o, 4, func(exec func(string, ...any)) { old(o, exec) })
			if steps == 5 { // a platform that stopped between the two
				earlier(t, o, 5, func(func(string, ...any)) {})
			}
			for range 2 { // the second time there is nothing to do
				db := open(t, o)
				checkMigrated(t, db)
				must(t, db.Close())
			}
		})
	}
}

func checkMigrated(t *testing.T, db *DB) {
	t.Helper()
	d := db.Directory()
	if app := d.App("app"); app == nil || app.State != hook.Production || app.SecretToken != tokenText || len(d.Installations("app")) != 2 || d.Account("sub").Master != "acme" {
		t.Errorf("app %+v, installations %v", app, d.Installations("app"))
	}
	for key, want := range map[hook.SubscriptionKey]struct {
		scope       hook.SubscriptionScope
		subscribers []hook.Subscriber
		state       hook.SubscriptionState
		reason      string
	}{
		1: {hook.ScopeAccount, []hook.Subscriber{{}}, hook.Valid, ""},
		2: {hook.ScopeMasterAccount, []hook.Subscriber{{Account: "acme"}}, hook.Failing, "slow"},
		3: {hook.ScopeUser, []hook.Subscriber{{Account: "acme", Users: []string{"ann", "bob", "eve"}, Groups: []string{"day", "night"}}}, hook.Pending, "not yet"},
	} {
		s, _ := d.Subscription(key)
		since := now.Add(time.Duration(key) * time.Millisecond)
		w := hook.Subscription{
			ID: fmt.Sprint("subscription-", key), Key: key, App: "app", Name: fmt.Sprint("s", key), Events: []string{"t"}, Scope: want.scope, Subscribers: want.subscribers,
			Endpoint: hook.Endpoint{URL: fmt.Sprint("https://hooks.example.com/", key), State: want.state, StateReason: want.reason, StateSince: since, Checked: since, Failures: []hook.Failure{}},
			Source:   hook.SourceDefault, Auth: hook.Auth{Mode: hook.AuthBasic, Username: "u", Password: passText}, Limits: hook.Limits{InFlight: 3, PerSecond: 2.5}, Generation: 7, Created: now,
		}
		if s == nil || fmt.Sprintf("%+v", *s) != fmt.Sprintf("%+v", w) || s.Auth != w.Auth {
			t.Errorf("subscription %d is\n%+v, want\n%+v", key, s, w)
		}
	}
	if n := len(d.Subscriptions("")); n != 3 {
		t.Errorf("%d subscriptions", n)
	}
	s, err := db.DeletedSubscription(t.Context(), 4)
	if err != nil || s == nil || s.URL != "https://hooks.example.com/4" || s.State != hook.Disabled || !slices.Equal(s.Subscribers[0].Users, []string{"ann"}) {
		t.Errorf("the deleted subscription is %+v, %v", s, err)
	}
	// Everybody who was subscribed gets what concerns them.
	user := *d.Subscriptions("")[2]
	user.State = hook.Valid
	d.Apply(hook.Change{Subscriptions: []*hook.Subscription{&user}})
	for _, name := range []string{"eve", "ann", "bob", "zoe"} {
		v, _ := d.Verdict(&hook.Event{Account: "acme", Type: "t", Users: []string{name}}, &hook.EventType{Name: "t"}, 3)
		if (v == hook.Entitled) != (name != "zoe") {
			t.Errorf("%s: %v", name, v)
		}
	}

	for _, c := range []struct {
		filter hook.LogFilter
		want   string
	}{
		{hook.LogFilter{}, "7 6 4 3 2 1"},
		{hook.LogFilter{Failed: new(true)}, "7 4 3 2"},
		{hook.LogFilter{Failed: new(false)}, "6 1"},
		{hook.LogFilter{EventType: "t"}, "6 4 3"},
		{hook.LogFilter{EventType: challengeType}, "2 1"},
		{hook.LogFilter{EventType: challengeType, Failed: new(true)}, "2"},
		{hook.LogFilter{Retry: new(3)}, "6"},
		{hook.LogFilter{Retry: new(0), Failed: new(true)}, "7 3 2"},
	} {
		f := c.filter
		f.App, f.From, f.To, f.Limit = "app", now.Add(-time.Hour), now.Add(time.Hour), 10
		page, more, err := db.WebhookLog(t.Context(), f)
		var got []string
		for i := range page {
			r := &page[i]
			got = append(got, strings.TrimPrefix(r.Detail, "row "))
			if r.Span != 5 || r.Timing.Done != 5*time.Millisecond || r.Response.Header != "A: b" || string(r.Response.Body) != "answer" || !strings.HasPrefix(r.SubscriptionID, "subscription-") ||
				(r.EventType == "t") != (r.Event != nil && string(r.Event.Body) == `{"event":"t"}`) {
				t.Errorf("a row is %+v", r)
			}
		}
		if strings.Join(got, " ") != c.want || more || err != nil {
			t.Errorf("%+v finds %q, want %q, %v", c.filter, got, c.want, err)
		}
	}
	if list, err := db.Challenges(t.Context(), 1, 10); err != nil || len(list) != 2 || list[0].Detail != "row 2" {
		t.Errorf("challenges %+v, %v", list, err)
	}
}
