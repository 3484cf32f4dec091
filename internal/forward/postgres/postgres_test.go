package postgres_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/switchhook/switchhook/internal/forward"
	"github.com/switchhook/switchhook/internal/forward/postgres"
	"github.com/switchhook/switchhook/internal/inbox"
	"github.com/switchhook/switchhook/internal/pgtest"
	nm "github.com/switchhook/switchhook/webhook/numbermanagement"
)

var both = postgres.Tables{Events: "events", Numbers: "numbers"}

var received = time.Date(2026, 1, 9, 12, 5, 13, 7_000_000, time.UTC)

// message returns an event as it is on its way.
func message(id int64, name string, ts time.Time, body string) *forward.Message {
	return &forward.Message{Key: fmt.Sprintf("key-%d", id), Event: &inbox.Event{
		ID: id, Source: "zoom", Name: name, Time: ts, Received: received, RequestID: fmt.Sprintf("request-%d", id), Body: []byte(body),
		Headers: inbox.Headers{{Name: "Content-Type", Value: "application/json"}, {Name: "X-Zm-Signature", Value: "v0=abc"}},
	}}
}

// told returns an event of Number Management.
func told(id int64, ms int64, payload any) *forward.Message {
	name := string(nm.CNAMUpdatedEvent)
	if _, ok := payload.(nm.EmergencyAddressUpdated); ok {
		name = string(nm.EmergencyAddressUpdatedEvent)
	}
	text, err := json.Marshal(payload)
	if err != nil {
		panic(err)
	}
	return message(id, name, time.UnixMilli(ms), fmt.Sprintf(`{"event":%q,"event_ts":%d,"payload":%s}`, name, ms, text))
}

func cnam(id, ms int64, name string, numbers ...string) *forward.Message {
	return told(id, ms, nm.CNAMUpdated{Numbers: nm.Numbers{AccountID: "acme", CarrierCode: 3457, PhoneNumbers: numbers}, CNAM: name})
}

func address(id, ms int64, a *nm.EmergencyAddress, numbers ...string) *forward.Message {
	return told(id, ms, nm.EmergencyAddressUpdated{Numbers: nm.Numbers{AccountID: "acme", CarrierCode: 3457, PhoneNumbers: numbers}, Address: a})
}

func open(t testing.TB, c postgres.Config) forward.Target {
	t.Helper()
	target, err := postgres.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	return target
}

// give gives a target messages until it has all of them.
func give(t testing.TB, target forward.Target, messages ...*forward.Message) {
	t.Helper()
	for len(messages) > 0 {
		n, err := target.Take(t.Context(), messages)
		if err != nil {
			t.Fatalf("event %d: %v", messages[n].ID, err)
		}
		messages = messages[n:]
	}
}

// connect returns a function that returns rows, with | between the columns, of the last
// of some statements.
func connect(t testing.TB, database string) func(q string) []string {
	t.Helper()
	c, err := pgconn.Connect(context.Background(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return func(q string) (rows []string) {
		all, err := c.Exec(context.Background(), q).ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		for _, row := range all[len(all)-1].Rows {
			rows = append(rows, string(bytes.Join(row, []byte("|"))))
		}
		return rows
	}
}

func query(t testing.TB, database, q string) []string {
	t.Helper()
	return connect(t, database)(q)
}

func expect(t testing.TB, database, q string, want ...string) {
	t.Helper()
	if got := query(t, database, q); !slices.Equal(got, want) {
		t.Errorf("%s\ngot  %q\nwant %q", q, got, want)
	}
}

// Each number has the name and the address that were true last, wherever it was told of
// them and in whatever order that came.
func TestNumbers(t *testing.T) {
	database := pgtest.Database(t, nil)
	target := open(t, postgres.Config{URL: database, Tables: both})
	home := &nm.EmergencyAddress{Country: "US", Line1: "1 Main St", City: "Springfield", ZIP: "62701", StateCode: "IL"}
	give(t, target,
		cnam(1, 5000, "ACME", "+14155550101", "+14155550102"),
		cnam(2, 4000, "OLD", "+14155550101", "+14155550103"), // late
		address(3, 4500, home, "+14155550102"),
	)
	give(t, target, cnam(4, 6000, "", "+14155550102"), address(5, 4400, nil, "+14155550102")) // removed, and late
	expect(t, database, `SELECT phone_number, carrier_code, account_id, extract(epoch FROM event_ts)::int, event_id, coalesce(cnam, '-'), cnam_event_id,
			coalesce(address_line1, '-'), coalesce(address_city, '-'), coalesce(address_state_code, '-'), coalesce(address_zip, '-'), coalesce(address_country, '-'),
			coalesce(address_line2, '-'), coalesce(address_event_id, 0)
			FROM numbers ORDER BY 1`,
		"+14155550101|3457|acme|5|1|ACME|1|-|-|-|-|-|-|0",
		"+14155550102|3457|acme|6|4|-|4|1 Main St|Springfield|IL|62701|US|-|3",
		"+14155550103|3457|acme|4|2|OLD|2|-|-|-|-|-|-|0",
	)
}

// All events are in the other table, to the byte.
func TestEvents(t *testing.T) {
	database := pgtest.Database(t, nil)
	target := open(t, postgres.Config{URL: database, Tables: both})
	at := time.UnixMilli(1_767_960_312_480).UTC()
	give(t, target, message(7, "meeting.started", at, `{"event":"meeting.started" , "payload":{"account_id":"acme"}}`), message(8, "", time.Time{}, "[1]"))
	expect(t, database, `SET timezone = 'UTC'; SELECT key, id, source, coalesce(event, '-'), coalesce(event_ts::text, '-'), received, request_id, headers, body, coalesce(length(body_raw), 0),
			coalesce(body->'payload'->>'account_id', '-') FROM events ORDER BY id`,
		`key-7|7|zoom|meeting.started|2026-01-09 12:05:12.48+00|2026-01-09 12:05:13.007+00|request-7|{"content-type":"application/json","x-zm-signature":"v0=abc"}|{"event":"meeting.started" , "payload":{"account_id":"acme"}}|0|acme`,
		`key-8|8|zoom|-|-|2026-01-09 12:05:13.007+00|request-8|{"content-type":"application/json","x-zm-signature":"v0=abc"}|[1]|0|-`,
	)
}

// What comes again changes nothing, not even the place where a row is stored.
func TestRepeats(t *testing.T) {
	database := pgtest.Database(t, nil)
	target := open(t, postgres.Config{URL: database, Tables: both})
	all := []*forward.Message{cnam(1, 5000, "ACME", "+14155550101"), address(2, 6000, &nm.EmergencyAddress{Line1: "1 Main St"}, "+14155550101"), cnam(3, 7000, "B", "+14155550102")}
	give(t, target, all...)
	const rows = `SELECT ctid, xmin, n::text FROM numbers n UNION ALL SELECT ctid, xmin, e::text FROM events e ORDER BY 3`
	before := query(t, database, rows)
	give(t, target, all[1], all[1], all[0])
	give(t, open(t, postgres.Config{URL: database, Tables: both}), all...)
	expect(t, database, rows, before...)
}

// Any body is kept, as JSON if it is some, and as bytes if it is not.
func TestAnyBody(t *testing.T) {
	database := pgtest.Database(t, nil)
	target := open(t, postgres.Config{URL: database, Tables: postgres.Tables{Events: "events"}})
	bodies := []string{
		"", "null", " {}\n", `{"a":1,"a":2}`, `{"a":"\u0000"}`, `{"a":"\ud800"}`, `{"a":"\udc00\ud800"}`, "{\"a\":\"\u2028😀\"}", "{\"a\":\"\x7f\"}", `1e999`, `-0.0E-1`,
		"\xff", "{\"a\":\"\xff\"}", "a\x00b", "{", `{"a":"` + strings.Repeat("x", 1<<20) + `"}`,
		strings.Repeat("[", 1000) + strings.Repeat("]", 1000), strings.Repeat("[", 1001) + strings.Repeat("]", 1001),
		strings.Repeat("[", 9999) + strings.Repeat("]", 9999), strings.Repeat(`{"a":`, 100_000),
	}
	for i, body := range bodies {
		give(t, target, message(int64(i+1), "", time.Time{}, body))
	}
	asJSON := 0
	for i, row := range query(t, database, `SELECT encode(coalesce(convert_to(body::text, 'UTF8'), body_raw), 'hex'), body IS NOT NULL, body_raw IS NOT NULL FROM events ORDER BY id`) {
		text, isJSON, ok := fmt.Sprintf("%x", bodies[i]), json.Valid([]byte(bodies[i])), false
		for _, want := range []string{text + "|t|f", text + "|f|t"} {
			ok = ok || row == want
		}
		if !ok || !isJSON && strings.HasSuffix(row, "|t|f") {
			t.Errorf("body %d (%.50q) is not there as it was: %.100s...%s", i, bodies[i], row, row[max(0, len(row)-4):])
		}
		if strings.HasSuffix(row, "|t|f") {
			asJSON++
		}
	}
	if asJSON != 12 {
		t.Errorf("%d are JSON, want 12", asJSON)
	}
	next := int64(len(bodies))
	rapid.Check(t, func(r *rapid.T) {
		next++
		m := message(next, rapid.String().Draw(r, "name"), time.UnixMilli(rapid.Int64().Draw(r, "ts")), string(rapid.SliceOf(rapid.Byte()).Draw(r, "body")))
		m.RequestID, m.Source = string(rapid.SliceOf(rapid.Byte()).Draw(r, "request id")), rapid.String().Draw(r, "source")
		m.Headers = inbox.Headers{{Name: rapid.String().Draw(r, "header"), Value: string(rapid.SliceOf(rapid.Byte()).Draw(r, "value"))}}
		if n, err := target.Take(t.Context(), []*forward.Message{m}); n != 1 || err != nil {
			r.Fatal(n, err)
		}
	})
}

// An event of Number Management that cannot be understood is not passed over in
// silence: it becomes a dead letter, and what comes behind it has its turn. The table of
// events has it nevertheless.
func TestUnreadable(t *testing.T) {
	for name, bad := range map[string]*forward.Message{
		"no payload":      message(2, string(nm.CNAMUpdatedEvent), time.UnixMilli(1), `{"event":"x"}`),
		"no numbers":      message(2, string(nm.CNAMUpdatedEvent), time.UnixMilli(1), `{"payload":{"account_id":"a","object":{"carrier_code":1,"cnam":"A"}}}`),
		"other types":     message(2, string(nm.CNAMUpdatedEvent), time.UnixMilli(1), `{"payload":{"account_id":"a","object":{"carrier_code":1,"phone_numbers":["+1"],"cnam":7}}}`),
		"no line":         message(2, string(nm.EmergencyAddressUpdatedEvent), time.UnixMilli(1), `{"payload":{"account_id":"a","object":{"carrier_code":1,"phone_numbers":["+1"],"emergency_address":{}}}}`),
		"no time":         cnamAt(time.Time{}),
		"time of no date": cnamAt(time.UnixMilli(1 << 60)),
		"character 0":     cnam(2, 1, "A\x00B", "+14155550102"),
		"0 in number":     cnam(2, 1, "AB", "+14155550102\x00"),
	} {
		t.Run(name, func(t *testing.T) {
			database := pgtest.Database(t, nil)
			target := open(t, postgres.Config{URL: database, Tables: both})
			all := []*forward.Message{cnam(1, 1, "ONE", "+14155550101"), bad, cnam(3, 3, "THREE", "+14155550103")}
			if n, err := target.Take(t.Context(), all); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			if n, err := target.Take(t.Context(), all[1:]); n != 0 || !isRefused(err) {
				t.Fatal(n, err)
			}
			if n, err := target.Take(t.Context(), all[2:]); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			expect(t, database, `SELECT id FROM events ORDER BY 1`, "1", "2", "3")
			expect(t, database, `SELECT cnam FROM numbers ORDER BY 1`, "ONE", "THREE")
		})
	}
}

func cnamAt(ts time.Time) *forward.Message {
	m := cnam(2, 1, "TWO", "+14155550102")
	m.Time = ts
	return m
}

func isRefused(err error) bool {
	_, ok := errors.AsType[*forward.Refused](err)
	return ok
}

func needsSomebody(err error) bool {
	later, ok := errors.AsType[*forward.Later](err)
	return ok && later.After == forward.NeedsSomebody
}

// What the database does not take becomes a dead letter, and nothing else does.
func TestRejected(t *testing.T) {
	database := pgtest.Database(t, nil)
	target := open(t, postgres.Config{URL: database, Tables: both})
	give(t, target, cnam(1, 1, "ONE", "+14155550101"))
	query(t, database, `ALTER TABLE numbers ADD CHECK (cnam <> 'SIX')`)
	var all []*forward.Message
	for id := int64(2); id < 12; id++ {
		all = append(all, cnam(id, id, map[int64]string{6: "SIX"}[id], fmt.Sprintf("+141555501%02d", id)))
	}
	var digits strings.Builder // more than an index takes, and nothing that it could compress
	for i := range 500 {
		fmt.Fprintf(&digits, "%x", sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
	}
	all[6] = cnam(8, 8, "EIGHT", digits.String())
	for len(all) > 0 {
		n, err := target.Take(t.Context(), all)
		if isRefused(err) && n == 0 && (all[0].ID == 6 || all[0].ID == 8) {
			n++
		} else if err != nil {
			t.Fatal(n, err)
		}
		all = all[n:]
	}
	expect(t, database, `SELECT string_agg(id::text, ' ' ORDER BY id) FROM events`, "1 2 3 4 5 7 9 10 11")
	expect(t, database, `SELECT count(*) FROM numbers`, "9")
}

// What somebody has to mend is said, is not tried again in haste, and tells nobody the
// password.
func TestNeedsSomebody(t *testing.T) {
	server := pgtest.Start(t)
	query(t, server.URL(), `CREATE ROLE reader LOGIN`)
	query(t, server.URL(), `CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`)
	query(t, server.URL(), `CREATE SCHEMA odd; CREATE TABLE odd.numbers (phone_number text PRIMARY KEY); CREATE TABLE odd.events (key text)`)
	for name, c := range map[string]struct {
		url    string
		schema string
		keep   bool
		why    string
	}{
		"no such user":     {url: "user=nobody", why: `role "nobody" does not exist`},
		"no such database": {url: "user=switchhook dbname=nothing", why: `database "nothing" does not exist`},
		"no privilege":     {url: "user=reader dbname=postgres", why: "the table events cannot be made: ERROR: permission denied for schema public"},
		"no schema":        {url: "user=switchhook dbname=postgres", schema: "nothing", why: `schema "nothing" does not exist`},
		"no table":         {url: "user=switchhook dbname=postgres", keep: true, why: `relation "events" does not exist`},
		"no column":        {url: "user=switchhook dbname=postgres", schema: "odd", why: `column "id" of relation "events" does not exist`},
		"encoding":         {url: "user=switchhook dbname=latin", why: "the database must have the encoding UTF8: it is LATIN1"},
	} {
		t.Run(name, func(t *testing.T) {
			tables := both
			tables.Schema = c.schema
			target := open(t, postgres.Config{URL: c.url + " host=" + host(server) + " password=geheim", Tables: tables, Keep: c.keep})
			n, err := target.Take(t.Context(), []*forward.Message{cnam(1, 1, "ONE", "+14155550101")})
			if n != 0 || !needsSomebody(err) {
				t.Fatal(n, err)
			}
			if !strings.Contains(err.Error(), c.why) || strings.Contains(err.Error(), "geheim") {
				t.Errorf("it says %q, want %q", err, c.why)
			}
			// Without an event it cannot know what only an INSERT tells.
			if err := target.(forward.Checker).Check(t.Context()); err == nil && !strings.Contains(c.why, "relation") || err != nil && (!needsSomebody(err) || !strings.Contains(err.Error(), c.why)) {
				t.Errorf("asked, it says %q", err)
			}
		})
	}
}

func host(s *pgtest.Server) string { return strings.TrimSuffix(s.Socket(), "/.s.PGSQL.5432") }

// A URL that cannot be read is not shown: who mistypes one may have mistyped around the
// password.
func TestBadURL(t *testing.T) {
	for _, url := range []string{"postgres://carrier:geheim%@db/x", "postgres://carrier:geheim@db:port/x", "password='geheim host=db", "postgres://carrier:a/geheim?@db:x"} {
		if _, err := postgres.New(postgres.Config{URL: url, Tables: both}); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", url, err)
		}
	}
	for name, c := range map[string]postgres.Config{
		"no URL":     {Tables: both},
		"no table":   {URL: "postgres://db/x"},
		"same table": {URL: "postgres://db/x", Tables: postgres.Tables{Events: "a", Numbers: "a"}},
	} {
		if _, err := postgres.New(c); err == nil {
			t.Errorf("%s is no error", name)
		}
	}
}

// Several gateways may begin at once, and those who make their tables themselves may
// name them as they like and add to them.
func TestTables(t *testing.T) {
	database := pgtest.Database(t, nil)
	odd := postgres.Tables{Schema: "it's; my\"schema", Events: `Ev"ents`, Numbers: "select"}
	query(t, database, `CREATE SCHEMA "it's; my""schema"`)
	var all sync.WaitGroup
	for i := range int64(8) {
		all.Go(func() {
			target := open(t, postgres.Config{URL: database, Tables: odd})
			if n, err := target.Take(t.Context(), []*forward.Message{cnam(i+1, i, "A", "+14155550101")}); n != 1 || err != nil {
				t.Error(n, err)
			}
		})
	}
	all.Wait()
	expect(t, database, `SELECT cnam_event_id FROM "it's; my""schema"."select"`, "8")
	expect(t, database, `SELECT count(*) FROM "it's; my""schema"."Ev""ents"`, "8")

	// Somebody who may not make tables, with tables that have more in them.
	query(t, database, both.Create()+`
		ALTER TABLE events ADD seen timestamptz NOT NULL DEFAULT now();
		ALTER TABLE numbers ADD note text;
		CREATE INDEX ON events ((body->'payload'->>'account_id'));
		CREATE TABLE parts (LIKE events INCLUDING DEFAULTS, PRIMARY KEY (received, key)) PARTITION BY RANGE (received);
		CREATE TABLE parts_2026 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
		CREATE ROLE `+role(t, database)+` LOGIN;
		GRANT INSERT, SELECT, UPDATE ON events, numbers, parts TO `+role(t, database))
	t.Cleanup(func() { query(t, database, "DROP OWNED BY "+role(t, database)+"; DROP ROLE "+role(t, database)) })
	for _, table := range []string{"events", "parts"} {
		for _, keep := range []bool{false, true} {
			target := open(t, postgres.Config{URL: database + "&user=" + role(t, database), Tables: postgres.Tables{Events: table, Numbers: "numbers"}, Keep: keep})
			give(t, target, cnam(1, 1, "A", "+14155550101"))
			expect(t, database, "SELECT count(*) FROM "+table, "1")
		}
	}
}

// role returns the name of a user for the test alone.
func role(t testing.TB, database string) string {
	return query(t, database, "SELECT current_database() || '_user'")[0]
}

// The tables are there before the first event is.
func TestCheck(t *testing.T) {
	server := pgtest.Start(t)
	target := open(t, postgres.Config{URL: server.URL(), Tables: both})
	check := target.(forward.Checker).Check
	if err := check(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, server.URL(), `SELECT count(*) FROM events, numbers`, "0")
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	fresh := open(t, postgres.Config{URL: server.URL(), Tables: both})
	if err := fresh.(forward.Checker).Check(t.Context()); err == nil || needsSomebody(err) {
		t.Errorf("a server that is gone: %v", err)
	}
	if err := server.Run(); err != nil {
		t.Fatal(err)
	}
	if err := fresh.(forward.Checker).Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// One of the tables is enough.
func TestOneTable(t *testing.T) {
	database := pgtest.Database(t, nil)
	give(t, open(t, postgres.Config{URL: database, Tables: postgres.Tables{Numbers: "numbers"}}), message(1, "meeting.started", time.Time{}, "{}"), cnam(2, 2, "A", "+14155550101"))
	expect(t, database, `SELECT cnam FROM numbers`, "A")
	give(t, open(t, postgres.Config{URL: database, Tables: postgres.Tables{Events: "events"}}), message(1, string(nm.CNAMUpdatedEvent), time.Time{}, "{}"), cnam(2, 2, "A", "+14155550101"))
	expect(t, database, `SELECT id FROM events ORDER BY 1`, "1", "2")
}

// What is taken is on the disk, also where commits do not wait for it.
func TestDurable(t *testing.T) {
	database := pgtest.Database(t, nil)
	query(t, database, both.Create()+`
		ALTER TABLE events ADD durable text DEFAULT current_setting('synchronous_commit');
		DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$`)
	give(t, open(t, postgres.Config{URL: database, Tables: both}), cnam(1, 1, "A", "+14155550101"))
	give(t, open(t, postgres.Config{URL: database + "&synchronous_commit=remote_apply", Tables: both}), cnam(2, 2, "A", "+14155550101"))
	expect(t, database, `SELECT durable FROM events ORDER BY id`, "on", "remote_apply")
}

// A table that somebody has locked is said to be why, and stopping does not wait for it.
func TestLocked(t *testing.T) {
	database := pgtest.Database(t, nil)
	target := open(t, postgres.Config{URL: database, Tables: both, Timeout: 200 * time.Millisecond})
	give(t, target, cnam(1, 1, "A", "+14155550101"))
	c, err := pgconn.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(t.Context(), `BEGIN; LOCK TABLE numbers`).ReadAll(); err != nil {
		t.Fatal(err)
	}
	next := []*forward.Message{cnam(2, 2, "B", "+14155550101")}
	if n, err := target.Take(t.Context(), next); n != 0 || err == nil || !strings.Contains(err.Error(), "did not answer within 200ms") || needsSomebody(err) || isRefused(err) {
		t.Errorf("%d, %v", n, err)
	}
	slow := open(t, postgres.Config{URL: database, Tables: both, Timeout: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if n, err := slow.Take(ctx, next); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d, %v", n, err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	// It may have been canceled after the lock was let go, but it is there once.
	give(t, target, next...)
	expect(t, database, `SELECT cnam FROM numbers`, "B")
	expect(t, database, `SELECT count(*) FROM events`, "2")
}

// Whoever uses the table sees a server that is stopped, killed and started as little as
// the events that come meanwhile.
func TestServerRestarts(t *testing.T) {
	server := pgtest.Start(t, "fsync=on")
	target := open(t, postgres.Config{URL: server.URL(), Tables: both})
	id := int64(0)
	var want []string
	for _, end := range []func() error{server.Stop, server.Kill} {
		for range 3 {
			id++
			give(t, target, cnam(id, id, "A", fmt.Sprintf("+1415555010%d", id)))
			want = append(want, fmt.Sprint(id))
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		id++
		want = append(want, fmt.Sprint(id))
		next := cnam(id, id, "A", fmt.Sprintf("+1415555010%d", id))
		for range 2 {
			if n, err := target.Take(t.Context(), []*forward.Message{next}); n != 0 || err == nil || needsSomebody(err) || isRefused(err) {
				t.Fatal(n, err)
			}
		}
		if err := server.Run(); err != nil {
			t.Fatal(err)
		}
		give(t, target, next)
	}
	expect(t, server.URL(), `SELECT id FROM events ORDER BY 1`, want...)
	expect(t, server.URL(), `SELECT event_id FROM numbers ORDER BY 1`, want...)
}

// The tables are made as they are documented.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/gateway-forwarders.md")
	if err != nil {
		t.Fatal(err)
	}
	plain := func(text string) string {
		var lines []string
		for line := range strings.Lines(strings.ReplaceAll(text, `"`, "")) {
			if line = strings.TrimSpace(line); line != "" {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "\n")
	}
	if want := plain(postgres.Tables{Events: "switchhook_events", Numbers: "switchhook_numbers"}.Create()); !strings.Contains(plain(string(text)), want) {
		t.Errorf("docs/gateway-forwarders.md does not have\n%s", want)
	}
}
