package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/inventory"
	"github.com/switchhook/switchhook/internal/pgtest"
)

// client is a connection past the store.
type client struct {
	*pgconn.PgConn
	t *testing.T
}

func dial(t *testing.T, database string) *client {
	t.Helper()
	c, err := pgconn.Connect(t.Context(), database)
	must(t, err)
	t.Cleanup(func() { must(t, c.Close(context.Background())) })
	return &client{c, t}
}

// rows runs statements and returns the first column of what the last one returns.
func (c *client) rows(text string) (all []string) {
	c.t.Helper()
	results, err := c.Exec(c.t.Context(), text).ReadAll()
	must(c.t, err)
	for _, r := range results[len(results)-1].Rows {
		all = append(all, string(r[0]))
	}
	return all
}

// A database of another program, of a later version, or that could not keep what it is
// given, is refused and stays as it is.
func TestDatabasesThatAreNotOurs(t *testing.T) {
	const tables = `SELECT string_agg(c.relname || ' ' || CAST(c.relkind AS text), ',' ORDER BY c.relname) FROM pg_class c WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'public')`
	for name, c := range map[string]struct {
		prepare, want string
		fill          *pgtest.Fill
	}{
		"another program's": {"CREATE TABLE accounts (a int)", `tables of another program, such as "accounts"`, nil},
		"newer":             {"UPDATE switchhook_schema SET version = 9999", "schema has version 9999", empty},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Database: pgtest.Database(t, c.fill), Key: testKey(t, 1), Deliver: true}
			beside := dial(t, o.Database)
			beside.rows(c.prepare)
			before := beside.rows(tables)
			if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if after := beside.rows(tables); after[0] != before[0] {
				t.Errorf("there was %s, now %s", before, after)
			}
		})
	}
	o := onPostgres(t)
	for _, url := range []string{"postgres://nobody.invalid:1/x?connect_timeout=1", "postgres://%zz", strings.Replace(o.Database, "/switchhook_test_", "/no_such_", 1)} {
		o.Database = url
		if _, err := Open(t.Context(), o); err == nil {
			t.Errorf("%q is opened", url)
		}
	}
}

// Two platforms in two schemas of one database know nothing of each other.
func TestSchemas(t *testing.T) {
	database := pgtest.Database(t, nil)
	dial(t, database).rows("CREATE SCHEMA one; CREATE SCHEMA two")
	for i, schema := range []string{"one", "two"} {
		db := open(t, Options{Database: database + "&search_path=" + schema, Key: testKey(t, byte(i)), Deliver: true})
		defer db.Close()
		setup(t, db, 1)
		publish(t, db, 1, 1)
		if c := claim(t, db, join(t, db, 0), now, 1, 10); len(c.Deliveries) != 1 {
			t.Errorf("in %s there are %d deliveries", schema, len(c.Deliveries))
		}
	}
}

// What one process changes, the others know before they store anything that was matched
// without it, and soon in any case.
func TestChangeByAnother(t *testing.T) {
	o := onPostgres(t)
	first, second := open(t, o), open(t, o)
	defer first.Close()
	defer second.Close()
	setup(t, first, 1)
	p := publication(second, 0)
	must(t, second.Publish([]*intake.Publication{p}))
	if !errors.Is(p.Err, intake.ErrStale) {
		t.Fatalf("stored as matched without the change: %v", p.Err)
	}
	if got, want := dump(second.Directory()), dump(first.Directory()); got != want {
		t.Errorf("the second knows\n%s\nwant\n%s", got, want)
	}
	p.Version = second.Directory().Version()
	must(t, second.Publish([]*intake.Publication{p}))
	must(t, p.Err)

	// Removals, too, and several changes at a time.
	must(t, first.Change(hook.Change{
		Users: []*hook.User{{Account: accountName, ID: "u", Groups: []string{"g"}}}, Groups: []hook.Group{{Account: accountName, ID: "g"}},
		Installations: []hook.Installation{{App: "app", Account: accountName, User: "u"}}, Subscriptions: []*hook.Subscription{subscription(2)},
	}, now))
	must(t, first.Change(hook.Change{RemoveSubscriptions: []hook.SubscriptionKey{1}, RemoveInstallations: []hook.Installation{{App: "app", Account: accountName, User: "u"}}}, now))
	must(t, second.sql.catchUp(t.Context()))
	if got, want := dump(second.Directory()), dump(first.Directory()); got != want {
		t.Errorf("the second knows\n%s\nwant\n%s", got, want)
	}

	// What is worked out with what was known before is refused, and known after.
	c := hook.Change{Accounts: []*hook.Account{{ID: "other"}}, Version: second.Directory().Version()}
	must(t, first.Change(hook.Change{RemoveApps: []string{"app"}, RemoveUsers: []hook.User{{Account: accountName, ID: "u"}}, RemoveGroups: []hook.Group{{Account: accountName, ID: "g"}}}, now))
	if err := second.Change(c, now); !errors.Is(err, hook.ErrStale) {
		t.Errorf("changed without knowing: %v", err)
	}
	c.Version = second.Directory().Version()
	must(t, second.Change(c, now))
	must(t, first.sql.catchUp(t.Context()))
	if got, want := dump(second.Directory()), dump(first.Directory()); got != want {
		t.Errorf("the second knows\n%s\nwant\n%s", got, want)
	}

	// Who has missed more than is kept reads everything again.
	dial(t, o.Database).rows("DELETE FROM changes")
	setup(t, first, 3)
	must(t, first.Change(hook.Change{RemoveApps: []string{"app"}}, now))
	setup(t, second, 4)
	dial(t, o.Database).rows("DELETE FROM changes")
	must(t, first.sql.catchUp(t.Context()))
	if got, want := dump(second.Directory()), dump(first.Directory()); got != want {
		t.Errorf("the second knows\n%s\nwant\n%s", got, want)
	}
}

// Statements that run often, or on what may be large, find what they want by an index,
// in order: when they are planned in an empty database, and when there is something in it.
func TestPlansOnPostgres(t *testing.T) {
	o := onPostgres(t)
	db := open(t, o)
	defer db.Close()
	type query struct{ text, types string } // the types of parameters; all others are integers
	sessions := map[string][]query{
		"read": {
			{selectEvent + `WHERE id = $1`, ""}, {selectEvent + anyID, "bigint[]"}, {selectAttempts + anyID, "bigint[]"},
			{selectAttempts + `WHERE event_id = $1 AND subscription = $2 ORDER BY id`, ""},
			{selectAttempts + `WHERE event_id = $1 AND subscription = $2 ORDER BY id DESC LIMIT 1`, ""},
			{selectUndelivered, ""}, {selectWaiting, ""}, {selectRecent, ""}, {selectPart, ""}, {selectType, ""}, {selectStreamEnd, ""}, {selectLogRow, ""},
			{selectPlace, ""}, {selectAhead, ""}, {selectChallengeOf, ""}, {selectLogAfter, "bigint, text"}, {selectLogBefore, "bigint, text"},
			{selectNumbers + `WHERE e164 = $1`, ""}, {numbersQuery(&inventory.Filter{}), ""}, {numbersQuery(&inventory.Filter{Carrier: 1}), ""},
			{numbersQuery(&inventory.Filter{Account: "a"}), "bigint, text"},
		},
		"bulk": {
			{deleteDueRows, strings.Repeat("bigint[], ", 3)}, {moveDueRows, strings.Repeat("bigint[], ", 8)},
			{insertKeys, "text[], text[], bigint[], bytea[]"}, {selectKeyHolders, "bigint[], text[], text[]"},
		},
		"beside": {{selectDueRows, ""}, {selectNextRow, ""}, {takeDueRows, "bigint, bigint[], bigint[], bigint[]"}},
	}
	check := func(state string) {
		for name, list := range sessions {
			s, err := db.sql.(*postgresDB).connect(t.Context(), name)
			must(t, err)
			c := &client{s.conn, t}
			c.rows("SET plan_cache_mode = force_generic_plan")
			for i, q := range list {
				statement, types := fmt.Sprint("q", i), strings.Split(strings.TrimSuffix(q.types, ", "), ", ")
				parameters := 0
				for strings.Contains(q.text, fmt.Sprint("$", parameters+1)) {
					if parameters++; parameters > len(types) || types[parameters-1] == "" {
						types = append(types[:parameters-1], "bigint")
					}
				}
				c.rows(fmt.Sprintf("PREPARE %s (%s) AS %s", statement, strings.Join(types, ", "), q.text))
				plan := c.rows("EXPLAIN EXECUTE " + statement + " (" + strings.TrimSuffix(strings.Repeat("NULL, ", parameters), ", ") + ")")
				for _, line := range plan {
					// Nodes are few, and keys are sorted before they are looked for.
					if strings.Contains(line, "Seq Scan") && !strings.Contains(line, " on nodes") && !strings.Contains(line, " on platform") || strings.Contains(line, "Sort  (") && q.text != insertKeys {
						t.Errorf("%s: %s\n\t%s", state, q.text, strings.Join(plan, "\n\t"))
						break
					}
				}
			}
			s.close()
		}
	}
	check("empty")
	setup(t, db, 1, 2, 3)
	n := join(t, db, 0)
	for range 10 {
		publish(t, db, 300, 1, 2, 3)
		for _, d := range claim(t, db, n, now, 1, 200).Deliveries {
			finish(t, db, n, d.Delivery, 503, now)
		}
	}
	dial(t, o.Database).rows("ANALYZE")
	check("filled")
}
