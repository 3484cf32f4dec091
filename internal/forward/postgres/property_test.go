package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/switchhook/switchhook/internal/forward"
	"github.com/switchhook/switchhook/internal/forward/postgres"
	"github.com/switchhook/switchhook/internal/pgtest"
	nm "github.com/switchhook/switchhook/webhook/numbermanagement"
)

var errCut = errors.New("cut off")

// line is a connection that ends when so many more bytes have gone one way.
type line struct {
	net.Conn
	writes, reads *atomic.Int64
}

func (l *line) Write(b []byte) (int, error) { return l.pass(b, l.writes, l.Conn.Write) }
func (l *line) Read(b []byte) (int, error)  { return l.pass(b, l.reads, l.Conn.Read) }

func (l *line) pass(b []byte, left *atomic.Int64, do func([]byte) (int, error)) (int, error) {
	if most := left.Load(); int64(len(b)) > most {
		b = b[:max(0, most)]
	}
	n := 0
	var err error
	if len(b) > 0 {
		n, err = do(b)
	}
	if left.Add(-int64(n)) <= 0 {
		_ = l.Close()
		err = errCut
	}
	return n, err
}

// Events may be applied in any order and any number of times, and the connection may
// end at any byte: at every moment the table of numbers says what those events say, in
// the order of their event_ts, that are in the table of events; and in the end that is
// all of them.
func TestAnyOrder(t *testing.T) {
	database := pgtest.Database(t, nil)
	watch := connect(t, database)
	run := 0
	rapid.Check(t, func(r *rapid.T) {
		run++
		tables := postgres.Tables{Schema: fmt.Sprintf("run%d", run), Events: "events", Numbers: "numbers"}
		watch("CREATE SCHEMA " + tables.Schema)
		defer watch("DROP SCHEMA " + tables.Schema + " CASCADE")

		events := rapid.SliceOfN(rapid.Custom(drawEvent), 1, 12).Draw(r, "events")
		for i, m := range events {
			m.ID, m.Key = int64(i+1), fmt.Sprint(i+1)
		}
		var writes, reads atomic.Int64
		dial := func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, address)
			return &line{c, &writes, &reads}, err
		}
		started := func() forward.Target {
			target, err := postgres.New(postgres.Config{URL: database, Tables: tables, Dial: dial})
			if err != nil {
				r.Fatal(err)
			}
			return target
		}
		uncut := func() { writes.Store(1 << 40); reads.Store(1 << 40) }
		target := started()
		defer func() { target.Close() }()
		acknowledged := map[int64]bool{}
		for range rapid.IntRange(1, 12).Draw(r, "steps") {
			uncut()
			switch rapid.SampledFrom([]string{"take", "take and be cut off", "crash"}).Draw(r, "step") {
			case "take and be cut off":
				way := rapid.SampledFrom([]*atomic.Int64{&writes, &reads}).Draw(r, "way")
				way.Store(rapid.Int64Range(0, 4000).Draw(r, "bytes"))
			case "crash":
				target.Close()
				target = started()
			}
			some := rapid.SliceOfN(rapid.SampledFrom(events), 1, 8).Draw(r, "some")
			n, err := target.Take(t.Context(), some)
			if isRefused(err) || needsSomebody(err) {
				r.Fatal(err)
			}
			for _, m := range some[:n] {
				acknowledged[m.ID] = true
			}
			check(r, watch, tables, events, acknowledged)
		}
		uncut()
		for rest := events; len(rest) > 0; {
			n, err := target.Take(t.Context(), rest)
			if err != nil && !errors.Is(err, errCut) { // it may have been cut off before
				r.Fatal(err)
			}
			rest = rest[n:]
		}
		for _, m := range events {
			acknowledged[m.ID] = true
		}
		check(r, watch, tables, events, acknowledged)
	})
}

func drawEvent(r *rapid.T) *forward.Message {
	pool := []string{"+14155550101", "+14155550102", "+14155550103"}
	about := nm.Numbers{
		AccountID:    rapid.SampledFrom([]string{"acme", "other"}).Draw(r, "account"),
		CarrierCode:  rapid.Int32Range(1, 2).Draw(r, "carrier"),
		PhoneNumbers: rapid.SliceOfN(rapid.SampledFrom(pool), 1, 3).Draw(r, "numbers"),
	}
	ms := rapid.Int64Range(1, 8).Draw(r, "event_ts") // so that some are the same
	text := rapid.SampledFrom([]string{"", "A", "B", "C"}).Draw(r, "value")
	if rapid.Bool().Draw(r, "address") {
		u := nm.EmergencyAddressUpdated{Numbers: about}
		if text != "" {
			u.Address = &nm.EmergencyAddress{Line1: text, City: rapid.SampledFrom([]string{"", "X"}).Draw(r, "city")}
		}
		return told(0, ms, u)
	}
	return told(0, ms, nm.CNAMUpdated{Numbers: about, CNAM: text})
}

// check compares both tables, as they are at one moment.
func check(r *rapid.T, watch func(string) []string, tables postgres.Tables, events []*forward.Message, acknowledged map[int64]bool) {
	// A connection that was cut off may be just making the tables.
	rows := watch("BEGIN; SELECT pg_advisory_xact_lock(7310591268241);" + tables.Create() + "COMMIT;" + strings.ReplaceAll(`
		SELECT 'event', id::text, '' FROM {}.events
		UNION ALL SELECT 'number', phone_number, concat_ws(',', carrier_code, account_id, (extract(epoch FROM event_ts) * 1000)::int, event_id) || ' cnam ' ||
			concat_ws(',', coalesce(cnam, '-'), (extract(epoch FROM cnam_ts) * 1000)::int, cnam_event_id) || ' address ' ||
			concat_ws(',', coalesce(address_line1, '-'), coalesce(address_city, '-'), (extract(epoch FROM address_ts) * 1000)::int, address_event_id) FROM {}.numbers`,
		"{}", tables.Schema))
	got, there := map[string]string{}, map[int64]bool{}
	for _, row := range rows {
		x := strings.Split(row, "|")
		if x[0] == "number" {
			got[x[1]] = x[2]
			continue
		}
		var id int64
		fmt.Sscan(x[1], &id)
		there[id] = true
	}
	for id := range acknowledged {
		if !there[id] {
			r.Fatalf("event %d was taken and is not there", id)
		}
	}
	if want := model(events, there); !maps.Equal(got, want) {
		r.Fatalf("with the events %v\ngot  %q\nwant %q", slices.Sorted(maps.Keys(there)), got, want)
	}
}

// model says what the events say that are there, one after the other as they occurred.
func model(events []*forward.Message, there map[int64]bool) map[string]string {
	sorted := slices.Clone(events)
	slices.SortStableFunc(sorted, func(a, b *forward.Message) int { return a.Time.Compare(b.Time) })
	type row struct{ owner, cnam, address string }
	all := map[string]row{}
	for _, m := range sorted {
		if !there[m.ID] {
			continue
		}
		by := fmt.Sprintf("%d,%d", m.Time.UnixMilli(), m.ID)
		set := func(about nm.Numbers, change func(*row)) {
			for _, n := range about.PhoneNumbers {
				x, ok := all[n]
				if !ok {
					x = row{cnam: "-", address: "-,-"}
				}
				x.owner = fmt.Sprintf("%d,%s,%s", about.CarrierCode, about.AccountID, by)
				change(&x)
				all[n] = x
			}
		}
		if m.Name == string(nm.CNAMUpdatedEvent) {
			u := payloadOf[nm.CNAMUpdated](m)
			set(u.Numbers, func(x *row) { x.cnam = dash(u.CNAM) + "," + by })
			continue
		}
		u := payloadOf[nm.EmergencyAddressUpdated](m)
		if u.Address == nil {
			u.Address = &nm.EmergencyAddress{}
		}
		set(u.Numbers, func(x *row) { x.address = dash(u.Address.Line1) + "," + dash(u.Address.City) + "," + by })
	}
	text := map[string]string{}
	for n, x := range all {
		text[n] = x.owner + " cnam " + x.cnam + " address " + x.address
	}
	return text
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func payloadOf[T any](m *forward.Message) (u T) {
	var body struct{ Payload json.RawMessage }
	if err := errors.Join(json.Unmarshal(m.Body, &body), json.Unmarshal(body.Payload, &u)); err != nil {
		panic(err)
	}
	return u
}
