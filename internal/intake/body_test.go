package intake_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/switchhook/switchhook/internal/canon"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
)

// What is stored, and with it what receivers get, is the document as JavaScript
// prints it, without $routing and with event_ts.
func TestStoredBody(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct{ name, raw, want string }{
		{
			"as it is",
			`{"event":"shop.anything","event_ts":1763758800000,"payload":{"account_id":"acme"}}`,
			`{"event":"shop.anything","event_ts":1763758800000,"payload":{"account_id":"acme"}}`,
		}, {
			"white space, escapes, numbers and the order of keys",
			" {\n \"payload\" : { \"account_id\":\"\\u0061cme\", \"2\":[1.0, -0, 1e21 ,0.1e1], \"1\":\"<\\/>\\u2028\\u0001\\ud800\" },\"event\":\"shop\\u002eanything\",\"event_ts\":17637588e5}\r\n",
			"{\"payload\":{\"1\":\"</>\u2028\\u0001\\ud800\",\"2\":[1,0,1e+21,1],\"account_id\":\"acme\"},\"event\":\"shop.anything\",\"event_ts\":1763758800000}",
		}, {
			"$routing first",
			`{"$routing":{"user_ids":["u"]},"event":"shop.anything","event_ts":1763758800000,"payload":{"account_id":"acme"}}`,
			`{"event":"shop.anything","event_ts":1763758800000,"payload":{"account_id":"acme"}}`,
		}, {
			"$routing in the middle",
			`{"event":"shop.anything","event_ts":1763758800000, "$routing" : { "account_id" : "}{\",\\" } ,"payload":{"account_id":"acme"}}`,
			`{"event":"shop.anything","event_ts":1763758800000,"payload":{"account_id":"acme"}}`,
		}, {
			"$routing last",
			`{"event":"shop.anything","event_ts":1763758800000,"payload":{"account_id":"acme"},"$routing":{}}`,
			`{"event":"shop.anything","event_ts":1763758800000,"payload":{"account_id":"acme"}}`,
		}, {
			"$routing last, where event_ts is added",
			`{"event":"shop.anything","payload":{"account_id":"acme"},"$routing":{"idempotency_key":"key of TestStoredBody"}}`,
			`{"event":"shop.anything","payload":{"account_id":"acme"},"event_ts":1763758800000}`,
		}, {
			"$routing behind the keys that JavaScript puts first",
			`{"$routing":{},"event":"shop.anything","payload":{"account_id":"acme"},"7":0}`,
			`{"7":0,"event":"shop.anything","payload":{"account_id":"acme"},"event_ts":1763758800000}`,
		}, {
			"$routing with its key escaped",
			`{"event":"shop.anything","event_ts":1763758800000,"\u0024r\u006Futing":{},"payload":{"account_id":"acme"}}`,
			`{"event":"shop.anything","event_ts":1763758800000,"payload":{"account_id":"acme"}}`,
		}, {
			"$routing further in, and in strings",
			`{"event":"shop.anything","$routing ":1,"event_ts":1763758800000,"$routing":{},"payload":{"account_id":"acme","$routing":{"account_id":5}},"x":"$routing","y":["\"$routing\":{}"]}`,
			`{"event":"shop.anything","$routing ":1,"event_ts":1763758800000,"payload":{"account_id":"acme","$routing":{"account_id":5}},"x":"$routing","y":["\"$routing\":{}"]}`,
		}, {
			"no $routing but further in",
			`{"event":"shop.anything","event_ts":1763758800000,"payload":{"account_id":"acme","$routing":{"account_id":"other"}}}`,
			`{"event":"shop.anything","event_ts":1763758800000,"payload":{"account_id":"acme","$routing":{"account_id":"other"}}}`,
		}, {
			"event_ts further in is not the event's",
			`{"event":"shop.anything","payload":{"account_id":"acme","event_ts":5}}`,
			`{"event":"shop.anything","payload":{"account_id":"acme","event_ts":5},"event_ts":1763758800000}`,
		}, {
			"another time than now",
			`{"event":"shop.anything","event_ts":1700000000001,"payload":{"account_id":"acme"}}`,
			`{"event":"shop.anything","event_ts":1700000000001,"payload":{"account_id":"acme"}}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := w.accepted(c.raw)
			e, _ := w.stored(r.Event)
			if string(e.Body) != c.want {
				t.Errorf("stored is\n\t%s, want\n\t%s", e.Body, c.want)
			}
			ts, _ := canon.Get(e.Body, "event_ts")
			if string(ts) != fmt.Sprint(e.TS.UnixMilli()) {
				t.Errorf("the body says %s, the store %d", ts, e.TS.UnixMilli())
			}
		})
	}
}

// $routing alone is a document without event, and no accident.
func TestRoutingAlone(t *testing.T) {
	w := newForgetful(t, &memory{}, hook.NewDirectory())
	got := faultsOf(t, w.accept(`{"$routing":{"account_id":"acme"}}`).Err)
	want := []string{"/event is missing: it is the name of the event type", "/payload is missing"}
	if !slices.Equal(got, want) {
		t.Errorf("faults are %q, want %q", got, want)
	}
}

// What $routing says goes beside the event, and before what the payload says.
func TestRouting(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name, raw string
		want      hook.Event
	}{
		{"the payload's account", anything(``), hook.Event{Account: "acme"}},
		{"another account", anything(`,"$routing":{"account_id":"other"}`), hook.Event{Account: "other"}},
		{"an empty account", anything(`,"$routing":{"account_id":""}`), hook.Event{Account: "acme"}},
		{"users and groups", anything(`,"$routing":{"user_ids":["u1","\u00fc2"],"user_group_ids":["g"]}`), hook.Event{Account: "acme", Users: []string{"u1", "ü2"}, Groups: []string{"g"}}},
		{"a carrier", peering("-7"), hook.Event{Account: "acme", Carrier: -7}},
		{"a carrier code that means nothing", anything(`,"carrier_code":5`), hook.Event{Account: "acme"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, _ := w.stored(w.accepted(c.raw).Event)
			if e.Account != c.want.Account || e.Carrier != c.want.Carrier || !slices.Equal(e.Users, c.want.Users) || !slices.Equal(e.Groups, c.want.Groups) {
				t.Errorf("stored as %+v, want %+v", e, c.want)
			}
		})
	}
}

// Whatever the document, what is stored is the canonical form of the document
// without $routing, with event_ts at its end if it had none.
func TestBodyIsTheCanonicalDocument(t *testing.T) {
	var m memory
	w := newForgetful(t, &m, hook.NewDirectory())
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMilli(rapid.Int64Range(1e11, 1<<41).Draw(t, "now"))
		plain := []string{
			spell(t, "event") + ":" + spell(t, free),
			spell(t, "payload") + ":" + object(t, 2, spell(t, "account_id")+":"+spell(t, "acme")),
		}
		timed := rapid.Bool().Draw(t, "has event_ts")
		if timed {
			plain = append(plain, fmt.Sprintf("%s:%d", spell(t, "event_ts"), rapid.Int64Range(1e11, 253402300799999).Draw(t, "event_ts")))
		}
		for _, key := range keys(t, "event", "payload", "event_ts", "$routing") {
			plain = append(plain, spell(t, key)+":"+value(t, 2))
		}
		plain = rapid.Permutation(plain).Draw(t, "order")
		sent := plain
		if rapid.Bool().Draw(t, "has $routing") {
			routing := fmt.Sprintf(`%s:{%s:[%s]}`, spell(t, "$routing"), spell(t, "user_ids"), spell(t, rapid.SampledFrom([]string{"u", `}],"\`, `"$routing":{}`}).Draw(t, "user")))
			sent = slices.Insert(slices.Clone(plain), rapid.IntRange(0, len(plain)).Draw(t, "place"), routing)
		}
		if !timed {
			plain = append(plain, fmt.Sprintf(`"event_ts":%d`, at.UnixMilli()))
		}
		raw := []byte("{" + strings.Join(sent, ", ") + "}")
		want, err := canon.Append(nil, []byte("{"+strings.Join(plain, ",")+"}"))
		if err != nil {
			t.Fatal(err)
		}
		given := bytes.Clone(raw)
		if r := w.intake.Accept([]intake.Item{{Raw: raw}}, at)[0]; r.Err != nil {
			t.Fatalf("%s is refused: %v", raw, r.Err)
		}
		if got := m.last[0].Event.Body; !bytes.Equal(got, want) {
			t.Errorf("%s\nis stored as\n%s, want\n%s", raw, got, want)
		}
		if !bytes.Equal(raw, given) {
			t.Errorf("what the caller gave was changed from %s to %s", given, raw)
		}
	})
}

// value writes a JSON value of so many levels, in some spelling.
func value(t *rapid.T, depth int) string {
	kinds := 5
	if depth == 0 {
		kinds = 3
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return rapid.SampledFrom([]string{"0", "-0", "1.0", "1e9", "1E-7", "123456789.5", "1e21", "9007199254740991", "5e-324"}).Draw(t, "number")
	case 1:
		return rapid.SampledFrom([]string{"true", "false", "null", "{}", "[]", `""`, "{ }"}).Draw(t, "constant")
	case 2:
		return spell(t, rapid.SampledFrom([]string{"$routing", `"$routing":{},`, `\`, "}", `","`, "\u2028", "é😀", "\x00\n", "<&>"}).Draw(t, "text"))
	case 3:
		return object(t, depth)
	default:
		items := make([]string, rapid.IntRange(0, 3).Draw(t, "items"))
		for i := range items {
			items[i] = value(t, depth-1)
		}
		return "[" + strings.Join(items, " ,") + "]"
	}
}

// object writes an object that has these members and others.
func object(t *rapid.T, depth int, members ...string) string {
	for _, key := range keys(t, "account_id") {
		members = append(members, spell(t, key)+" : "+value(t, depth-1))
	}
	return "{" + strings.Join(rapid.Permutation(members).Draw(t, "order"), ",") + "}"
}

// keys draws different keys, none of those that are taken.
func keys(t *rapid.T, taken ...string) []string {
	all := []string{"a", "é", "7", "10", "-1", "$routing", "$routing2", "event", "event_ts", "payload", "account_id", `"`, `\`, "\n", ""}
	all = slices.DeleteFunc(all, func(k string) bool { return slices.Contains(taken, k) })
	return rapid.SliceOfNDistinct(rapid.SampledFrom(all), 0, 4, rapid.ID[string]).Draw(t, "keys")
}

// spell writes a string with some of its characters escaped.
func spell(t *rapid.T, s string) string {
	escape := rapid.Uint32().Draw(t, "escapes")
	var b strings.Builder
	for i, r := range s {
		if r < ' ' || r == '"' || r == '\\' || r < 0x10000 && escape>>(i%32)&3 == 3 {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return `"` + b.String() + `"`
}
