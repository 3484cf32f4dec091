package intake_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/switchhook/switchhook/internal/canon"
	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
)

// Whatever is published, either it is refused with reasons that the publisher can
// be told, or what is stored is an event in canonical form that has everything
// that was sent, but for $routing. What that means is read with encoding/json, which
// shares nothing with the code under test.
func FuzzAccept(f *testing.F) {
	for _, t := range catalog.NumberManagement().Types {
		for _, s := range t.Samples {
			f.Add([]byte(s.Body), "")
			f.Add([]byte(strings.Replace(string(s.Body), "{", `{"$routing":{"user_ids":["u"],"idempotency_key":"k"},`, 1)), "key")
		}
	}
	for _, seed := range []string{
		``, `null`, `[]`, `{}`, `{"event":"shop.anything"}`, `{"$routing":{}}`,
		anything(``),
		anything(`,"$routing":{"account_id":"other","user_ids":["u"],"user_group_ids":["g"],"idempotency_key":"k"}`),
		anything(`,"$routing":null`),
		anything(`,"\u0024routing":{},"7":[1.0,-0,1e21],"\ud800":"$routing"`),
		anything(`,"$routing":{"account_id":5,"x":1}`),
		anything(`,"x":9007199254740993`),
		`{"$routing":{"account_id":"acme"},"payload":{},"event":"shop.anything"}`,
		`{"payload":{"account_id":"acme","$routing":{}},"event":"shop.anything","\u0065vent_ts":1.7637588e12}`,
		`{"event":"shop.anything","payload":{"account_id":"acme"},"event_ts":1763758800}`,
		`{"event":"endpoint.url_validation","payload":{"account_id":"acme","plainToken":"abc"}}`,
		orderOf("acme"), strings.Replace(orderOf("acme"), "1}", `"1"}`, 1),
		peering("1"), peering("2147483648"), peering(`"1"`), peering("1e0"),
		" \t" + peering("-1") + "\r\n", peering("1")[:100],
	} {
		f.Add([]byte(seed), "")
	}
	f.Add([]byte(anything("")), strings.Repeat("k", 300))

	var m memory
	w := newForgetful(f, &m, hook.NewDirectory())
	f.Fuzz(func(t *testing.T, raw []byte, key string) {
		m.last = nil
		r := w.intake.Accept([]intake.Item{{Raw: bytes.Clone(raw), Key: key}}, now)[0]
		if r.Err != nil {
			checkRefusal(t, r.Err)
			if m.last != nil {
				t.Error("a refused event was stored")
			}
			return
		}
		checkBody(t, raw, m.last[0].Event)
	})
}

func checkRefusal(t *testing.T, err error) {
	t.Helper()
	faults := faultsOf(t, err)
	if slices.Contains(faults, "") || err.Error() == "" {
		t.Errorf("%+v does not say what is wrong", err)
	}
	switch kindOf(err) {
	case hook.Invalid:
		if len(faults) == 0 {
			t.Errorf("%v names no fault", err)
		}
	case hook.TooLarge:
	default:
		t.Errorf("%v is of kind %d", err, kindOf(err))
	}
}

func checkBody(t *testing.T, raw []byte, e *hook.Event) {
	t.Helper()
	body := e.Body
	if again, err := canon.Append(nil, body); err != nil || !bytes.Equal(again, body) {
		t.Fatalf("%q is not canonical: %q, %v", body, again, err)
	}
	if len(body) > intake.MaxEvent {
		t.Errorf("%d bytes are accepted", len(body))
	}
	var sent, got map[string]json.RawMessage
	must(t, json.Unmarshal(raw, &sent))
	must(t, json.Unmarshal(body, &got))
	var (
		name    string
		ts      int64
		payload map[string]json.RawMessage
	)
	must(t, json.Unmarshal(got["event"], &name))
	must(t, json.Unmarshal(got["event_ts"], &ts))
	must(t, json.Unmarshal(got["payload"], &payload))
	if payload == nil || name == "" || name != e.Type || ts != e.TS.UnixMilli() || e.Account == "" {
		t.Errorf("%s is stored as %s of %s at %d", body, e.Type, e.Account, e.TS.UnixMilli())
	}
	if _, ok := sent["event_ts"]; !ok {
		if ts != now.UnixMilli() {
			t.Errorf("event_ts is %d, want now", ts)
		}
		sent["event_ts"] = nil
	}
	delete(sent, "$routing")
	if want := slices.Sorted(maps.Keys(sent)); !slices.Equal(slices.Sorted(maps.Keys(got)), want) {
		t.Errorf("%s has not the members %q", body, want)
	}
}
