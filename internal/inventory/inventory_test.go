package inventory_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/inventory"
	"github.com/switchhook/switchhook/internal/number"
)

// stocked is a world in which carrier 1 peers two numbers, and carrier 2 one, for a.
func stocked(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	_, err := w.inv.Add(by, 1, []number.Number{{E164: phone(1), Account: "a", SIPTrunkName: "west"}, {E164: phone(2), Account: "a"}})
	must(t, err)
	_, err = w.inv.Add(by, 2, []number.Number{{E164: phone(3), Account: "a"}})
	must(t, err)
	return w
}

// What cannot be done to all numbers is done to none, and each number at fault is named.
func TestRefused(t *testing.T) {
	w := stocked(t)
	many := make([]string, inventory.MaxNumbers+1)
	set := func(list []string, f inventory.Filter, c number.Change) error {
		_, err := w.inv.Set(by, list, f, c)
		return err
	}
	add := func(carrier int32, list ...number.Number) error { _, err := w.inv.Add(by, carrier, list); return err }
	update := func(carrier int32, list ...inventory.Update) error {
		_, err := w.inv.Update(by, carrier, "", list)
		return err
	}
	remove := func(carrier int32, list ...string) error { _, err := w.inv.Remove(by, carrier, "", list); return err }
	named := number.Change{CNAM: new("ACME")}
	before := w.numbers(inventory.Filter{})
	for _, c := range []struct {
		name string
		err  error
		kind inventory.Kind
		whys []inventory.Why
		says string
	}{
		{"nothing added", add(1), inventory.Empty, nil, "no number is named"},
		{"nothing changed", update(1), inventory.Empty, nil, "no number is named"},
		{"nothing removed", remove(1), inventory.Empty, nil, "no number is named"},
		{"too many", remove(1, many...), inventory.TooMany, nil, "more than 200 numbers are named"},
		{"no such carrier", add(9, number.Number{E164: phone(8), Account: "a"}), inventory.NoCarrier, nil, "there is no carrier 9"},
		{"no such carrier, and nothing right", add(9, number.Number{E164: "1"}), inventory.NoCarrier, nil, "there is no carrier 9"},
		{"no such carrier to remove from", remove(9, phone(1)), inventory.NoCarrier, nil, "there is no carrier 9"},
		{"one of two is no number", add(1, number.Number{E164: phone(8), Account: "a"}, number.Number{E164: "+1415", Account: "a"}), inventory.Refused,
			[]inventory.Why{inventory.BadNumber}, `+1415: phone_number`},
		{"another carrier's", add(1, number.Number{E164: phone(3), Account: "a"}), inventory.Refused, []inventory.Why{inventory.Taken}, phone(3) + ": phone_number belongs to another carrier"},
		{"another customer's", add(1, number.Number{E164: phone(1), Account: "b"}), inventory.Refused, []inventory.Why{inventory.Taken}, "for another customer"},
		{"there, and different", add(1, number.Number{E164: phone(1), Account: "a", SIPTrunkName: "east"}), inventory.Refused, []inventory.Why{inventory.Taken}, "is not as given"},
		{"named twice", add(1, number.Number{E164: phone(8), Account: "a"}, number.Number{E164: phone(8), Account: "a"}), inventory.Refused, []inventory.Why{inventory.BadNumber}, "is named twice"},
		{"nobody's account", add(1, number.Number{E164: phone(8), Account: "z"}), inventory.Refused, []inventory.Why{inventory.BadAccount}, `account_id "z" is not the id of an account`},
		{"a trunk's name that is too long", update(1, inventory.Update{E164: phone(1), Change: number.Change{SIPTrunkName: new(strings.Repeat("x", 129))}}), inventory.Refused,
			[]inventory.Why{inventory.BadTrunk}, "at most 128"},
		{"another's, and one that is not there", update(1, inventory.Update{E164: phone(1), Change: named}, inventory.Update{E164: phone(3), Change: named}, inventory.Update{E164: phone(9), Change: named}), inventory.Refused,
			[]inventory.Why{inventory.Unknown, inventory.Unknown}, phone(3) + ": phone_number does not exist; " + phone(9) + ": phone_number does not exist"},
		{"a product that cannot be", update(1, inventory.Update{E164: phone(1), Change: number.Change{NumberType: new(number.VirtualService)}}), inventory.Refused, []inventory.Why{inventory.BadValue}, "number_type"},
		{"another's removed", remove(1, phone(1), phone(3)), inventory.Refused, []inventory.Why{inventory.Unknown}, "does not exist"},
		{"another customer's name", set([]string{phone(1)}, inventory.Filter{Account: "b"}, named), inventory.Refused, []inventory.Why{inventory.Unknown}, "does not exist"},
	} {
		e, ok := errors.AsType[*inventory.Error](c.err)
		if !ok {
			t.Errorf("%s: %v", c.name, c.err)
			continue
		}
		var whys []inventory.Why
		for _, r := range e.Refused {
			whys = append(whys, r.Why)
		}
		if e.Kind != c.kind || !slices.Equal(whys, c.whys) || !strings.Contains(e.Error(), c.says) {
			t.Errorf("%s: kind %d, %v, %q", c.name, e.Kind, whys, e)
		}
	}
	for name, err := range map[string]error{
		"a name of 16 characters": set([]string{phone(1)}, inventory.Filter{}, number.Change{CNAM: new("SIXTEEN LETTERS!")}),
		"nothing":                 set([]string{phone(1)}, inventory.Filter{}, number.Change{}),
		"what is the carrier's":   set([]string{phone(1)}, inventory.Filter{}, number.Change{CNAM: new("ACME"), Status: new(true)}),
		"nothing of a customer's": set([]string{phone(1)}, inventory.Filter{}, number.Change{Status: new(true)}),
	} {
		if e, ok := errors.AsType[*hook.Error](err); !ok || e.Kind != hook.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after := w.numbers(inventory.Filter{}); !slices.Equal(before, after) || len(w.events()) != 0 {
		t.Errorf("refused requests left %v and %v", after, w.events())
	}
}

// A request that is repeated because its answer was lost does no harm.
func TestAddAgain(t *testing.T) {
	w := stocked(t)
	must(t, second(w.inv.Set(by, []string{phone(1)}, inventory.Filter{}, number.Change{CNAM: new("ACME")})))
	r, err := w.inv.Add(by, 1, []number.Number{{E164: phone(1), Account: "a", SIPTrunkName: "west"}})
	if err != nil || r.Changed != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if n, err := w.inv.Get(t.Context(), phone(1), inventory.Filter{}); err != nil || n.CNAM != "ACME" {
		t.Errorf("%+v, %v", n, err)
	}
}

func second[T any](_ T, err error) error { return err }

// Lines that cannot be made are refused with line, field and reason, and the others are
// made.
func TestImportRefuses(t *testing.T) {
	w := stocked(t)
	const head = "phone_number,carrier_code,account_id,cnam,country,address_line1,state_code\n"
	r, err := number.NewReader(strings.NewReader(head +
		phone(1) + ",,,ACME,,,\n" +
		phone(2) + ",2,a,ACME,,,\n" +
		phone(3) + ",2,b,ACME,,,\n" +
		phone(4) + ",9,a,ACME,,,\n" +
		phone(5) + ",1,z,ACME,,,\n" +
		phone(6) + ",,,ACME,,,\n" +
		phone(7) + ",1,b,SIXTEEN LETTERS!,,,\n" +
		phone(8) + ",1,b,ACME,US,1 Main Street,CA\n" +
		phone(1) + ",,,OTHER,,,\n"))
	must(t, err)
	var all []*number.Record
	for rec, err := r.Next(); err == nil; rec, err = r.Next() {
		all = append(all, rec)
	}
	im, err := w.inv.Import(by, all)
	must(t, err)
	var got []string
	for _, r := range im.Refused {
		got = append(got, fmt.Sprintf("%d %s %d %s", r.Line, r.Field, r.Why, r.Message))
	}
	want := []string{
		"3 carrier_code 4 is 2, but the number belongs to another carrier, 1",
		`4 account_id 4 is "b", but the number belongs to another customer, "a"`,
		"5 carrier_code 5 there is no carrier 9",
		`6 account_id 6 "z" is not the id of an account`,
		"7 phone_number 3 does not exist; a line with carrier_code and account_id adds it",
		`8 cnam 0 "SIXTEEN LETTERS!" has 16 characters; at most 15 are allowed`,
		`10 phone_number 1 "` + phone(1) + `" is in line 2 too, which counts`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("refused:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if im.Done != 9 || im.Numbers != 2 || im.Changed != 2 || im.Events != 3 {
		t.Errorf("%+v", im.Result)
	}
	known := map[string]said{phone(1): {cnam: "ACME"}, phone(8): {"ACME", number.Address{Country: "US", Line1: "1 Main Street", State: "CA"}}}
	if got := w.replayed(1); !maps.Equal(got, known) {
		t.Errorf("carrier 1 knows %v", got)
	}
}

// What a filter selects is changed piece by piece, however much it is; whoever is
// interrupted goes on where it ended, and nobody is told twice.
func TestSetAllGoesOn(t *testing.T) {
	w := newWorld(t)
	const count = 1234
	_, err := w.inv.Import(by, lines(0, count)) // all of them are a's
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	f, c := inventory.Filter{Carrier: 1, Account: "a"}, number.Change{CNAM: new("NEW NAME")}
	p, err := w.inv.SetAll(ctx, by, f, c, func(inventory.Progress) { stop() })
	if !errors.Is(err, context.Canceled) || p.Numbers == 0 || p.Numbers == count {
		t.Fatalf("%+v, %v", p, err)
	}
	f.After = p.After
	rest, err := w.inv.SetAll(t.Context(), by, f, c, nil)
	must(t, err)
	if p.Numbers+rest.Numbers != count || p.Changed+rest.Changed != count {
		t.Errorf("%+v and then %+v", p, rest)
	}
	mentions, events := 0, 0
	for _, e := range w.events() {
		if e.Payload.Object.CNAM == "NEW NAME" {
			mentions += len(e.Payload.Object.Numbers)
			events++
		}
	}
	// Six of 200 and one of 34, wherever a piece ends.
	if mentions != count || events != 7 {
		t.Errorf("%d events tell of %d changes", events, mentions)
	}
}

// Pages are in the order of the numbers, and a filter selects what it says.
func TestList(t *testing.T) {
	w := stocked(t)
	must(t, second(w.inv.Add(by, 2, []number.Number{{E164: "+493090182088", Account: "b"}})))
	for _, c := range []struct {
		f    inventory.Filter
		want []string
	}{
		{inventory.Filter{}, []string{phone(1), phone(2), phone(3), "+493090182088"}},
		{inventory.Filter{Limit: 1}, []string{phone(1), phone(2), phone(3), "+493090182088"}},
		{inventory.Filter{Carrier: 2, Limit: 1}, []string{phone(3), "+493090182088"}},
		{inventory.Filter{Account: "a", Limit: 2}, []string{phone(1), phone(2), phone(3)}},
		{inventory.Filter{Account: "a", Carrier: 2}, []string{phone(3)}},
		{inventory.Filter{Account: "b", Carrier: 1}, nil},
		{inventory.Filter{Number: phone(2)}, []string{phone(2)}},
		{inventory.Filter{Number: phone(2), Carrier: 2}, nil},
		{inventory.Filter{Number: "nonsense"}, nil},
		{inventory.Filter{After: phone(2)}, []string{phone(3), "+493090182088"}},
	} {
		var got []string
		for _, n := range w.numbers(c.f) {
			got = append(got, n.E164)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v selects %v, want %v", c.f, got, c.want)
		}
	}
	if n, err := w.inv.Get(t.Context(), phone(3), inventory.Filter{Carrier: 1}); n != nil || err != nil {
		t.Errorf("carrier 1 gets %+v, %v", n, err)
	}
}

// Pages of several carriers' numbers are what pages of all of them would be, and are
// counted as they are listed.
func TestListOf(t *testing.T) {
	w := stocked(t) // 1 and 2 are carrier 1's, 3 is carrier 2's
	must(t, second(w.inv.Add(by, 2, []number.Number{{E164: phone(0), Account: "b"}, {E164: "+493090182088", Account: "b"}})))
	for _, c := range []struct {
		carriers []int32
		f        inventory.Filter
		want     []string
	}{
		{nil, inventory.Filter{}, nil},
		{[]int32{1}, inventory.Filter{}, []string{phone(1), phone(2)}},
		{[]int32{1, 2}, inventory.Filter{}, []string{phone(0), phone(1), phone(2), phone(3), "+493090182088"}},
		{[]int32{2, 1, 9}, inventory.Filter{Account: "a"}, []string{phone(1), phone(2), phone(3)}},
		{[]int32{2, 1}, inventory.Filter{Number: phone(2)}, []string{phone(2)}},
	} {
		for limit := range 7 {
			var got []string
			f := c.f
			for f.Limit = limit; ; {
				page, next, err := w.inv.ListOf(t.Context(), c.carriers, f)
				must(t, err)
				for _, n := range page {
					got = append(got, n.E164)
				}
				if f.After = next; next == "" {
					break
				}
			}
			if n, err := w.inv.CountOf(t.Context(), c.carriers, c.f); err != nil || n != len(c.want) || !slices.Equal(got, c.want) {
				t.Errorf("pages of %d of %v, %+v: %v, counted as %d, %v; want %v", limit, c.carriers, c.f, got, n, err, c.want)
			}
		}
	}
}

// To a carrier that acts for one customer, numbers of another one do not exist.
func TestForOneCustomer(t *testing.T) {
	w := stocked(t)
	must(t, second(w.inv.Add(by, 1, []number.Number{{E164: phone(9), Account: "b"}})))
	both := []string{phone(1), phone(9)}
	_, err := w.inv.Remove(by, 1, "a", both)
	refused := func(err error) {
		t.Helper()
		if e, ok := errors.AsType[*inventory.Error](err); !ok || len(e.Refused) != 1 || e.Refused[0].Number != phone(9) || e.Refused[0].Why != inventory.Unknown {
			t.Error(err)
		}
	}
	refused(err)
	trunk := number.Change{SIPTrunkName: new("east")}
	_, err = w.inv.Update(by, 1, "a", []inventory.Update{{E164: phone(1), Change: trunk}, {E164: phone(9), Change: trunk}})
	refused(err)
	must(t, second(w.inv.Remove(by, 1, "", both)))
}

// A carrier goes when it has no numbers any more, and not before.
func TestRemoveCarrier(t *testing.T) {
	w := stocked(t)
	if err := w.inv.RemoveCarrier(by, 2); kind(err) != hook.Conflict || !strings.Contains(err.Error(), "cannot be removed while it has numbers, 1 of them") {
		t.Error(err)
	}
	must(t, second(w.inv.Remove(by, 2, "", []string{phone(3)})))
	must(t, w.inv.RemoveCarrier(by, 2))
	if err := w.inv.RemoveCarrier(by, 2); kind(err) != hook.NotFound {
		t.Error(err)
	}
	all, err := w.inv.Carriers(t.Context())
	if err != nil || len(all) != 1 || all[0].Code != 1 || all[0].Numbers != 2 {
		t.Errorf("%+v, %v", all, err)
	}
	_, err = w.inv.Add(by, 2, []number.Number{{E164: phone(3), Account: "a"}})
	if e, ok := errors.AsType[*inventory.Error](err); !ok || e.Kind != inventory.NoCarrier {
		t.Error(err)
	}
}

func kind(err error) hook.Kind {
	e, _ := errors.AsType[*hook.Error](err)
	if e == nil {
		return 0
	}
	return e.Kind
}

// Who changed which numbers is on record, in one entry a request, without what was said.
func TestTrail(t *testing.T) {
	w := newWorld(t)
	must(t, second(w.inv.Add(by, 1, []number.Number{{E164: phone(1), Account: "a"}, {E164: phone(2), Account: "a"}, {E164: phone(3), Account: "a"}})))
	must(t, second(w.inv.Set(by, []string{phone(2)}, inventory.Filter{}, number.Change{CNAM: new("SECRET NAME"), Assigned: new(true)})))
	must(t, second(w.inv.Set(by, []string{phone(1), phone(2), phone(3)}, inventory.Filter{}, number.Change{CNAM: new("SECRET NAME"), Address: new(address("1 Secret Street"))})))
	must(t, second(w.inv.Set(by, []string{phone(1)}, inventory.Filter{}, number.Change{CNAM: new("SECRET NAME")}))) // as it is
	must(t, second(w.inv.Import(by, []*number.Record{record(phone(4), 1, "a", number.Change{})})))
	must(t, second(w.inv.Update(by, 1, "", []inventory.Update{{E164: phone(4), Change: number.Change{Status: new(true)}}})))
	must(t, second(w.inv.Remove(by, 1, "", []string{phone(4), phone(1)})))
	trail, err := w.db.Audit(t.Context(), hook.AuditFilter{Kind: "number", Limit: 99})
	must(t, err)
	var got []string
	for _, e := range slices.Backward(trail) {
		if e.By != by {
			t.Errorf("by %v", e.By)
		}
		got = append(got, fmt.Sprint(e.Action, " ", e.Subject, " ", e.Name, " ", e.Changes))
	}
	want := []string{
		"create " + phone(1) + " " + "3 numbers [added: 3]",
		"update " + phone(2) + "  [assigned cnam]",
		"update " + phone(1) + " " + "3 numbers [cnam: 2 emergency_address: 3]",
		"import " + phone(4) + "  [added]",
		"update " + phone(4) + "  [status]",
		"remove " + phone(4) + " " + "2 numbers [removed: 2]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A carrier's app is the one that is bound to its code, and no other stays bound.
func TestCarriers(t *testing.T) {
	w := newWorld(t)
	by := hook.Actor{Kind: hook.ByOperator, ID: "k", Name: "ann"}
	if made, err := w.inv.PutCarrier(t.Context(), by, number.Carrier{Code: 3, Name: "Third", App: "app-1"}); !made || err != nil {
		t.Errorf("made %v, %v", made, err)
	}
	if made, err := w.inv.PutCarrier(t.Context(), by, number.Carrier{Code: 3, Name: "Third one", App: "app-2"}); made || err != nil {
		t.Errorf("made %v, %v", made, err)
	}
	if _, err := w.inv.PutCarrier(t.Context(), by, number.Carrier{Code: 4, Name: "Fourth", App: "nobody's"}); !strings.Contains(fmt.Sprint(err), `app_id "nobody's" is not the id of an app`) {
		t.Errorf("an app that is not there: %v", err)
	}
	all, err := w.inv.Carriers(t.Context())
	must(t, err)
	if got := fmt.Sprint(all); got != "[{1 carrier 1 [app-1] 0} {2 carrier 2 [app-2] 0} {3 Third one [app-2] 0}]" {
		t.Error(got)
	}
	trail, err := w.db.Audit(t.Context(), hook.AuditFilter{Kind: "carrier", Subject: "3", Limit: 9})
	must(t, err)
	if len(trail) != 2 || trail[0].Action != hook.Updated || trail[1].Action != hook.Created || trail[1].By != by {
		t.Errorf("%+v", trail)
	}
	w.crash()
	if again, err := w.inv.Carriers(t.Context()); err != nil || fmt.Sprint(again) != fmt.Sprint(all) {
		t.Errorf("after a restart: %v, %v", again, err)
	}
}

// However fast changes follow one another, and also when the clock is set back by years,
// events in the order of event_ts end with what is true.
func TestOrderWithoutClock(t *testing.T) {
	dir := t.TempDir()
	before := begin(t, dir)
	_, err := before.inv.Import(by, []*number.Record{record(phone(1), 1, "a", number.Change{CNAM: new("FIRST")}), record(phone(2), 1, "a", number.Change{CNAM: new("FIRST")})})
	must(t, err)
	must(t, second(before.inv.Remove(by, 1, "", []string{phone(2)})))
	before.end()
	synctest.Test(t, func(t *testing.T) { // it is 1 January 2000, and stays so
		w := &world{t: t, dir: dir}
		w.open()
		defer w.end()
		for i := range 5 {
			name := new(fmt.Sprint("NAME ", i))
			must(t, second(w.inv.Set(by, []string{phone(1)}, inventory.Filter{}, number.Change{CNAM: name})))
			must(t, second(w.inv.Set(by, []string{phone(1)}, inventory.Filter{}, number.Change{CNAM: new("")})))
			must(t, second(w.inv.Remove(by, 1, "", []string{phone(1)})))
			must(t, second(w.inv.Add(by, 1, []number.Number{{E164: phone(1), Account: "b"}, {E164: phone(2), Account: "b"}})))
			must(t, second(w.inv.Set(by, []string{phone(2), phone(1)}, inventory.Filter{}, number.Change{CNAM: name})))
			if got, want := w.replayed(1), (map[string]said{phone(1): {cnam: *name}, phone(2): {cnam: *name}}); !maps.Equal(got, want) {
				t.Fatalf("carrier 1 knows %v, want %v", got, want)
			}
			must(t, second(w.inv.Remove(by, 1, "", []string{phone(1), phone(2)})))
			must(t, second(w.inv.Import(by, []*number.Record{record(phone(1), 1, "a", number.Change{CNAM: new("AGAIN")})})))
			if got, want := w.replayed(1), (map[string]said{phone(1): {cnam: "AGAIN"}}); !maps.Equal(got, want) {
				t.Fatalf("carrier 1 knows %v, want %v", got, want)
			}
		}
	})
}
