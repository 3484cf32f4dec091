package number

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/switchhook/switchhook/internal/canon"
	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/hook"
)

var update = flag.Bool("update", false, "rewrite golden files")

var noon = time.Date(2026, 1, 9, 12, 5, 12, 480_999_999, time.UTC)

// The bodies of the two events, as carriers get them.
func TestGoldenBodies(t *testing.T) {
	two := func(change func(*Number)) (all []Changed) {
		for _, e164 := range []string{"+14155550142", "+442079460127"} {
			n := bakery()
			n.E164 = e164
			m := n
			change(&m)
			all = append(all, Changed{n, m})
		}
		return all
	}
	for name, changed := range map[string][]Changed{
		"cnam_set":     two(func(n *Number) { n.CNAM = `A&B "C"` }),
		"cnam_cleared": two(func(n *Number) { n.CNAM = "" })[:1],
		"address_set": two(func(n *Number) {
			n.Address = Address{"DE", "Königstraße 1 <Hof>", `Aufgang "B"`, "Berlin", "10115", "BE"}
		}),
		"address_short":   two(func(n *Number) { n.Address = Address{Line1: "1 Main St"} })[:1],
		"address_cleared": two(func(n *Number) { n.Address = Address{} }),
	} {
		t.Run(name, func(t *testing.T) {
			events := Events(changed, noon)
			if len(events) != 1 {
				t.Fatalf("%d events, want 1", len(events))
			}
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, events[0].Body, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil || !bytes.Equal(events[0].Body, want) {
				t.Errorf("got  %s\nwant %s (%v)", events[0].Body, want, err)
			}
			valid(t, events[0])
		})
	}
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// valid compares an event with what the catalog says of its type, and with its own body.
func valid(t failer, e *hook.Event) {
	t.Helper()
	doc := catalog.NumberManagement()
	i := slices.IndexFunc(doc.Types, func(x *catalog.Type) bool { return x.Name == e.Type })
	if i < 0 {
		t.Fatalf("%s is not in the catalog", e.Type)
	}
	if doc.Types[i].EventType.Check != hook.CheckStrict {
		t.Fatalf("%s is not checked strictly", e.Type)
	}
	if f := doc.Types[i].Check(e.Body); len(f) > 0 {
		t.Fatalf("%s\nis not what the catalog says: %v", e.Body, f)
	}
	if again, err := canon.Append(nil, e.Body); err != nil || !bytes.Equal(again, e.Body) {
		t.Fatalf("%s\nis not canonical: %s, %v", e.Body, again, err)
	}
	b := read(t, e)
	if b.Event != e.Type || b.TS != e.TS.UnixMilli() || b.Payload.Account != e.Account || b.Payload.Object.Carrier != e.Carrier {
		t.Fatalf("%+v is not what its body says", e)
	}
}

// body is what a carrier reads.
type body struct {
	Event   string
	TS      int64 `json:"event_ts"`
	Payload struct {
		Account string `json:"account_id"`
		Object  struct {
			Carrier int32    `json:"carrier_code"`
			Numbers []string `json:"phone_numbers"`
			CNAM    string   `json:"cnam"`
			Address Address  `json:"emergency_address"`
		}
	}
}

func read(t failer, e *hook.Event) (b body) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(e.Body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b); err != nil {
		t.Fatalf("%s: %v", e.Body, err)
	}
	return b
}

// Numbers of one carrier and customer that end alike travel together, at most 200 in an event, in
// the order of the request.
func TestGrouping(t *testing.T) {
	var changed []Changed
	add := func(i int, carrier int32, account, cnam string) {
		n := Number{E164: fmt.Sprintf("+1415555%04d", i), Carrier: carrier, Account: account}
		m := n
		m.CNAM = cnam
		changed = append(changed, Changed{n, m})
	}
	for i := range 450 {
		add(i, 1, "a", "ONE")
	}
	add(450, 2, "a", "ONE")
	add(451, 1, "b", "ONE")
	add(452, 1, "a", "TWO")
	add(453, 1, "a", "") // as before
	add(454, 1, "a", "ONE")
	changed[454].After.Address = Address{Line1: "1 Main St"}

	got := ""
	for _, e := range Events(changed, noon) {
		valid(t, e)
		o := read(t, e).Payload.Object
		got += fmt.Sprintf("%s %d %s %q %q: %d, %s to %s\n", e.Type[len("number_management.peering_number_"):], e.Carrier, e.Account, o.CNAM, o.Address.Line1,
			len(o.Numbers), o.Numbers[0], o.Numbers[len(o.Numbers)-1])
	}
	const want = `cnam_updated 1 a "ONE" "": 200, +14155550000 to +14155550199
cnam_updated 1 a "ONE" "": 200, +14155550200 to +14155550399
cnam_updated 1 a "ONE" "": 51, +14155550400 to +14155550454
cnam_updated 2 a "ONE" "": 1, +14155550450 to +14155550450
cnam_updated 1 b "ONE" "": 1, +14155550451 to +14155550451
cnam_updated 1 a "TWO" "": 1, +14155550452 to +14155550452
emergency_address_updated 1 a "" "1 Main St": 1, +14155550454 to +14155550454
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// A number that a request changes several times is told of once, and not if it is in the end what
// it was.
func TestSeveralChangesOfANumber(t *testing.T) {
	before := bakery()
	with := func(cnam string) Number {
		n := before
		n.CNAM = cnam
		return n
	}
	if got := Events([]Changed{{before, with("A")}, {with("A"), before}}, noon); len(got) != 0 {
		t.Errorf("there and back again is told as %s", got[0].Body)
	}
	got := Events([]Changed{{before, with("A")}, {with("A"), with("B")}}, noon)
	if len(got) != 1 || read(t, got[0]).Payload.Object.CNAM != "B" {
		t.Errorf("two changes are %d events", len(got))
	}
}

// A carrier that keeps what events tell has what the inventory has, and hears of no other
// carrier's numbers. All that is told is in the catalog's form, and the same each time.
func TestEventsTellEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type told struct {
			cnam    string
			address Address
		}
		inventory := map[string]Number{}
		known := map[int32]map[string]told{1: {}, 2: {}, 3: {}}
		for range rapid.IntRange(1, 5).Draw(t, "requests") {
			var changed []Changed
			for range rapid.IntRange(0, 10).Draw(t, "changes") {
				var before, after Number
				if have := sorted(inventory); len(have) > 0 && rapid.Bool().Draw(t, "old") {
					before = inventory[rapid.SampledFrom(have).Draw(t, "number")]
					after, _ = Apply(before, drawChange(t))
				} else {
					after = drawNumber(t)
					before = inventory[after.E164]
					if before != (Number{}) {
						after.Carrier, after.Account = before.Carrier, before.Account
					}
				}
				inventory[after.E164] = after
				changed = append(changed, Changed{before, after})
			}
			events := Events(changed, noon)
			for i, again := range Events(changed, noon) {
				if !bytes.Equal(again.Body, events[i].Body) {
					t.Fatalf("%s is then %s", events[i].Body, again.Body)
				}
			}
			for _, e := range events {
				valid(t, e)
				o := read(t, e).Payload.Object
				if len(o.Numbers) > MaxPerEvent {
					t.Fatalf("%d numbers in an event", len(o.Numbers))
				}
				for _, number := range o.Numbers {
					x := known[e.Carrier][number]
					if e.Type == CNAMUpdated {
						x.cnam = o.CNAM
					} else {
						x.address = o.Address
					}
					known[e.Carrier][number] = x
				}
			}
		}
		for number, n := range inventory {
			for carrier, all := range known {
				want := told{}
				if carrier == n.Carrier {
					want = told{n.CNAM, n.Address}
				}
				if all[number] != want {
					t.Fatalf("carrier %d knows of %s %+v, want %+v", carrier, number, all[number], want)
				}
			}
		}
	})
}

func sorted(m map[string]Number) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
