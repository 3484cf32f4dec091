package intake_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/switchhook/switchhook/internal/hook"
)

// What is wrong with an event is named, each fault with its place, and all that can
// be seen at once.
func TestFaults(t *testing.T) {
	const (
		noEvent   = "/event is missing: it is the name of the event type"
		badEvent  = "/event must be the name of an event type"
		noPayload = "/payload is missing"
		noAccount = "/payload/account_id is missing: the event must say whose it is, here or in /$routing/account_id"
		badTime   = "/event_ts must be the time of the event as an integer, in milliseconds since 1970"
		badCode   = "/payload/object/carrier_code must be an integer from -2147483648 to 2147483647: the event goes to the apps that are bound to it"
	)
	at := func(ts string) string { return strings.Replace(anything(""), "1763758800000", ts, 1) }
	with := func(routing string) string { return anything(`,"$routing":` + routing) }
	for _, c := range []struct {
		name, raw string
		want      []string // none: the event is accepted
	}{
		{"right", anything(""), nil},

		{"nothing", "", []string{"the text is empty; send one JSON value (byte 0)"}},
		{"an object that ends too early", `{`, []string{"the text ends where a key in double quotation marks belongs; send it whole (byte 1)"}},
		{"two objects", `{} {}`, []string{`unexpected "{"; expected nothing more, because one value is complete (byte 3)`}},
		{"a byte that is not UTF-8", "{\"a\":\"\xff\"}", []string{"/a byte 0xff is not valid UTF-8 here, and JavaScript would replace it; send the text as UTF-8 (byte 6)"}},
		{"a key twice", `{"payload":{"a/b":[{"c":1,"\u0063":2}]}}`, []string{`/payload/a~1b/0/c key "c" appears twice in one object, and JavaScript keeps only one; send it once (byte 26)`}},
		{"an event twice", `{"event":"a","event":"b"}`, []string{`/event key "event" appears twice in one object, and JavaScript keeps only one; send it once (byte 13)`}},
		{"an integer beyond 2^53-1", `{"payload":{"n":[9007199254740992]}}`, []string{
			"/payload/n/0 number 9007199254740992 is an integer beyond ±9007199254740991, the range in which JavaScript holds every integer exactly; send it as a string (byte 17)"}},
		{"the largest integer", anything(`,"n":-9007199254740991`), nil},
		{"an array", `[1]`, []string{"is not a JSON object"}},
		{"a string", `"event"`, []string{"is not a JSON object"}},
		{"null", `null`, []string{"is not a JSON object"}},

		{"an empty object", `{}`, []string{noEvent, noPayload, noAccount}},
		{"no event", `{"payload":{"account_id":"acme"}}`, []string{noEvent}},
		{"an empty event", `{"event":"","payload":{"account_id":"acme"}}`, []string{badEvent}},
		{"an event that is a number", `{"event":1,"payload":{"account_id":"acme"}}`, []string{badEvent}},
		{"an event that is null", `{"event":null,"payload":{"account_id":"acme"}}`, []string{badEvent}},
		{"a challenge", `{"event":"endpoint.url_validation","payload":{"account_id":"acme","plainToken":"v0:1:{}"}}`, []string{
			"/event endpoint.url_validation is the platform's own and cannot be published"}},
		{"a challenge in disguise", `{"event":"endpoint\u002eurl_validation","payload":{"account_id":"acme"}}`, []string{
			"/event endpoint.url_validation is the platform's own and cannot be published"}},
		{"an unknown event", `{"event":"shop.closed","payload":{"account_id":"acme"}}`, []string{
			`/event "shop.closed" is not in the catalog; import the document that describes it with: switchhook catalog import`}},

		{"no payload", `{"event":"shop.anything"}`, []string{noPayload, noAccount}},
		{"no payload, but an account", `{"event":"shop.anything","$routing":{"account_id":"acme"}}`, []string{noPayload}},
		{"a payload that is an array", `{"event":"shop.anything","payload":[]}`, []string{"/payload must be an object", noAccount}},
		{"a payload that is null", `{"event":"shop.anything","payload":null}`, []string{"/payload must be an object", noAccount}},

		{"a time that is a string", at(`"1763758800000"`), []string{badTime}},
		{"a time that is a fraction", at(`1763758800000.5`), []string{badTime}},
		{"a time that is null", at(`null`), []string{badTime}},
		{"a time far beyond all years", at(`1e21`), []string{badTime}},
		{"a time before 1970", at(`-1`), []string{badTime}},
		{"a time in microseconds", at(`1763758800123000`), []string{"/event_ts is 1763758800123000, which is beyond the year 9999; milliseconds since 1970 are expected"}},
		{"a time in seconds", at(`1763758800`), []string{"/event_ts is 1763758800, which looks like seconds; milliseconds since 1970 are expected"}},
		{"an integer that is spelled as a fraction", at(`1763758800000.0`), nil},
		{"an integer with an exponent", at(`17637588e5`), nil},

		{"no account", `{"event":"shop.anything","payload":{}}`, []string{noAccount}},
		{"an empty account", `{"event":"shop.anything","payload":{"account_id":""}}`, []string{noAccount}},
		{"an account that is a number", `{"event":"shop.anything","payload":{"account_id":5}}`, []string{"/payload/account_id must be a string"}},
		{"an account outside of the payload", `{"event":"shop.anything","account_id":"acme","payload":{}}`, []string{noAccount}},
		{"an account in $routing only", `{"event":"shop.anything","payload":{},"$routing":{"account_id":"acme"}}`, nil},

		{"$routing that is a number", with(`5`), []string{"/$routing must be an object"}},
		{"$routing that is an array", with(`[{}]`), []string{"/$routing must be an object"}},
		{"$routing that is empty", with(`{}`), nil},
		{"$routing with an unknown member", with(`{"acount_id":"x"}`), []string{
			`/$routing may have account_id, user_ids, user_group_ids and idempotency_key only: unknown field "acount_id"`}},
		{"$routing in another case", with(`{"Account_ID":"x"}`), []string{"/$routing/Account_ID is not known; known are account_id, user_ids, user_group_ids and idempotency_key"}},
		{"$routing to an account that is a number", with(`{"account_id":5}`), []string{"/$routing/account_id must be a string"}},
		{"$routing to users that are a string", with(`{"user_ids":"u1,u2"}`), []string{"/$routing/user_ids must be an array of strings"}},
		{"$routing to a user that is a number", with(`{"user_ids":["u1",2]}`), []string{"/$routing/user_ids must be an array of strings"}},
		{"$routing to groups that are an object", with(`{"user_group_ids":{}}`), []string{"/$routing/user_group_ids must be an array of strings"}},
		{"a key that is a number", with(`{"idempotency_key":5}`), []string{"/$routing/idempotency_key must be a string"}},
		{"a key that is too long", with(`{"idempotency_key":"` + strings.Repeat("k", 256) + `"}`), []string{"/$routing/idempotency_key is longer than 255 bytes"}},
		{"the longest key", with(`{"idempotency_key":"` + strings.Repeat("k", 255) + `"}`), nil},

		{"no carrier code", strings.Replace(peering("1"), `"carrier_code":1,`, "", 1), []string{badCode}},
		{"a carrier code that is a string", peering(`"1"`), []string{badCode}},
		{"a carrier code that is a fraction", peering(`1.5`), []string{badCode}},
		{"a carrier code beyond 32 bits", peering(`2147483648`), []string{badCode}},
		{"the lowest carrier code", peering(`-2147483648`), nil},
		{"a carrier code with an exponent", peering(`1e3`), nil},
		{"a peering event without an object", `{"event":"` + cnam + `","payload":{"account_id":"acme"}}`, []string{badCode}},

		{"everything at once", `{"$routing":7,"payload":[],"event_ts":"x"}`, []string{
			"/$routing must be an object", "/payload must be an object", noEvent, badTime, noAccount}},
		{"nearly everything of a peering event", `{"event_ts":1,"payload":{"object":{}},"event":"` + cnam + `","$routing":{"user_ids":1}}`, []string{
			"/$routing/user_ids must be an array of strings",
			"/event_ts is 1, which looks like seconds; milliseconds since 1970 are expected", noAccount, badCode}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m memory
			w := newForgetful(t, &m, hook.NewDirectory())
			r := w.accept(c.raw)
			if got := faultsOf(t, r.Err); !slices.Equal(got, c.want) {
				t.Errorf("faults are\n\t%q, want\n\t%q", got, c.want)
			}
			if r.Err != nil && (kindOf(r.Err) != hook.Invalid || m.last != nil || len(w.sender.settled) > 0) {
				t.Errorf("a refused event was passed on: %v", r.Err)
			}
			if r.Err == nil && len(m.last) != 1 {
				t.Error("an accepted event was not stored")
			}
		})
	}
}

// An event may have a mebibyte, as it is sent and as it is delivered.
func TestTooLarge(t *testing.T) {
	const limit = 1 << 20
	// fill returns an event of n bytes.
	fill := func(n int) string {
		return anything(`,"x":"` + strings.Repeat("x", n-len(anything(`,"x":""`))) + `"`)
	}
	untimed := func(n int) string {
		return strings.Replace(fill(n+len(`"event_ts":1763758800000,`)), `"event_ts":1763758800000,`, "", 1)
	}
	// A billion in three characters becomes ten digits.
	billions := anything(`,"x":[1e9` + strings.Repeat(",1e9", limit/11) + `]`)
	for _, c := range []struct {
		name, raw string
		refused   bool
	}{
		{"a mebibyte", fill(limit), false},
		{"one byte more", fill(limit + 1), true},
		{"far more", fill(3 * limit), true},
		{"white space", anything("") + strings.Repeat(" ", limit), true},
		{"rubbish", strings.Repeat("x", limit+1), true},
		{"a mebibyte with the time that is added", untimed(limit - 25), false},
		{"one byte more with the time that is added", untimed(limit - 24), true},
		{"numbers that become longer", billions, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newForgetful(t, &memory{}, hook.NewDirectory()).accept(c.raw)
			if !c.refused {
				must(t, r.Err)
				return
			}
			const want = "event: has more than 1048576 bytes"
			if kindOf(r.Err) != hook.TooLarge || r.Err.Error() != want {
				t.Errorf("%v, want %q", r.Err, want)
			}
		})
	}
}

// What a body leads to that does not fit its schema is the event type's mode: it is
// refused, accepted with warnings, or not looked at.
func TestCheckModes(t *testing.T) {
	const bad = `{"event":"shop.order_created","payload":{"account_id":"acme","object":{"total":"ten","note":5}}}`
	faults := []string{"/payload/object/note must be string, is number", "/payload/object/total must be integer, is string"}
	for _, c := range []struct {
		mode             hook.CheckMode
		refused, warning []string
	}{
		{hook.CheckStrict, faults, nil},
		{hook.CheckReport, nil, faults},
		{hook.CheckOff, nil, nil},
	} {
		t.Run(c.mode.String(), func(t *testing.T) {
			w := newForgetful(t, &memory{}, hook.NewDirectory())
			must(t, w.catalog.SetCheck(order, c.mode))
			r := w.accept(bad)
			if got := faultsOf(t, r.Err); !slices.Equal(got, c.refused) {
				t.Errorf("refused for %q, want %q", got, c.refused)
			}
			if got := shown(r.Warnings); !slices.Equal(got, c.warning) {
				t.Errorf("warnings are %q, want %q", got, c.warning)
			}
			if r := w.accept(orderOf("acme")); r.Err != nil || r.Warnings != nil {
				t.Errorf("one that fits: %v, warnings %v", r.Err, r.Warnings)
			}
		})
	}
}

// The schema sees the body as it is delivered: without $routing, and with the time
// that is added.
func TestCheckSeesWhatIsDelivered(t *testing.T) {
	w := newForgetful(t, &memory{}, hook.NewDirectory())
	sample := strings.Replace(peering("1"), `"event_ts":1763758800000,`, `"$routing":{"user_ids":["u"]},`, 1)
	must(t, w.accept(sample).Err)
	r := w.accept(strings.Replace(sample, `"$routing"`, `"routing"`, 1))
	if got := faultsOf(t, r.Err); !slices.Equal(got, []string{"/routing is not allowed"}) {
		t.Errorf("faults are %q", got)
	}
}
