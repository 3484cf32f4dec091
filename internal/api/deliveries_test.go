package api

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
)

// Every parameter of the list that makes no sense is named, and so is every one
// that nobody knows.
func TestQueryFaults(t *testing.T) {
	p := newPlatform(t, options{idle: true})
	for query, fault := range map[string]string{
		"state=":                    "state",
		"state=done":                "state",
		"state=failed,":             "state",
		"state=failed&state=FAILED": "state",
		"event_subscription_id=x":   "event_subscription_id",
		"event_subscription_id=AAAAAAAAAAAAAAAAAAAAAA": "event_subscription_id", // its key would be 0
		"from=yesterday":         "from",
		"from=2026-01-31":        "from",
		"to=1768204800117":       "to",
		"to=2026-01-31T15:04:05": "to",
		"from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z": "to",
		"page_size=0":                    "page_size",
		"page_size=-1":                   "page_size",
		"page_size=301":                  "page_size",
		"page_size=99999999999999999999": "page_size",
		"page_size=1e2":                  "page_size",
		"page_size=%201":                 "page_size",
		"next_page_token=x":              "next_page_token",
		"limit=10":                       "limit",
		"states=failed":                  "states",
		"=":                              "",
	} {
		for _, method := range []string{"GET /deliveries?", "POST /resend?"} {
			verb, path, _ := strings.Cut(method, " ")
			a := p.want(400, verb, operator+path+query, "")
			f := read[fault400](t, a)
			if len(f.Errors) != 1 || f.Errors[0].Field != fault || f.Errors[0].Message == "" {
				t.Errorf("%s: %s", a.call, a.body)
			}
		}
	}
	for _, q := range []string{"/deliveries?app_id=a&event_subscription_id=" + hook.NewID(), "/deliveries?limit=1"} {
		p.want(400, "GET", operator+q, "")
	}
	if f := read[fault400](t, p.want(400, "POST", operator+"/resend?page_size=10", "")); f.Errors[0].Field != "page_size" {
		t.Errorf("a page size for what has no pages: %+v", f)
	}
	p.want(404, "GET", operator+"/deliveries?app_id=none", "")
	for _, query := range []string{
		"page_size=300", "page_size=1", "from=2026-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "from=2026-01-31T15:04:05.123%2B01:00",
		"event=none", "event_subscription_id=" + hook.NewID(), "app_id=", "next_page_token=", "state=waiting,waiting",
	} {
		p.want(200, "GET", operator+"/deliveries?"+query, "")
	}
	// Ids that are none are said to be none, also in a path.
	for _, path := range []string{"/deliveries/x", "/deliveries/0193A4F2_b7c0_0001_7f3e_9c2d11aa0b52", "/deliveries/8193a4f2_b7c0_0001_7f3e_9c2d11aa0b52", "/events/x", "/events/0193a4f2_b7c0_000"} {
		if f := read[fault400](t, p.want(400, "GET", operator+path, "")); f.Errors[0].Field != "id" {
			t.Errorf("%s: %+v", path, f)
		}
	}
	p.want(400, "POST", operator+"/deliveries/x/resend", "")
	p.want(404, "POST", operator+"/deliveries/0193a4f2_b7c0_0001_7f3e_9c2d11aa0b52/resend", "")
	p.want(404, "POST", operator+"/subscriptions/x/validate", "")
	p.want(404, "POST", operator+"/subscriptions/"+hook.NewID()+"/disable", "")
}

// fault400 is the answer to input that breaks rules.
type fault400 struct {
	Code    int         `json:"code"`
	Message string      `json:"message"`
	Errors  hook.Faults `json:"errors"`
}

// idle is a platform with two subscriptions on which everything waits for ever.
func idle(t testing.TB) *platform {
	t.Helper()
	p := newPlatform(t, options{idle: true})
	e := newEndpoint(t)
	p.apply(manifest(to("a", e.url), to("b", e.url)))
	return p
}

// Whoever walks through pages sees each delivery that was there at the start once,
// in order, however much is published meanwhile.
func TestPages(t *testing.T) {
	p := idle(t)
	want := map[string]bool{}
	publish := func(n int) (ids []string) {
		b := read[batch](t, p.want(202, "POST", "/v2/events", "["+strings.Repeat(cnam("x")+",", n-1)+cnam("x")+"]"))
		for _, it := range b.Items {
			ids = append(ids, it.Event)
		}
		return ids
	}
	for _, id := range publish(50) {
		want[id] = true
	}
	sub := p.subscription("a").ID
	for name, c := range map[string]struct {
		query string
		n     int
	}{
		"all":     {"", 100},
		"of one":  {"event_subscription_id=" + sub, 50},
		"waiting": {"state=waiting&event=" + cnamEvent, 100},
		"of app":  {"state=waiting,failed&app_id=" + p.subscription("a").App, 100},
	} {
		seen := map[string]bool{}
		var order []string
		pages := 0
		for token := ""; ; pages++ {
			list := get[page](p, operator+"/deliveries?page_size=7&"+c.query+"&next_page_token="+token)
			for _, d := range list.Deliveries {
				if seen[d.ID] {
					t.Errorf("%s: %s comes twice", name, d.ID)
				}
				seen[d.ID] = true
				if want[d.EventID] {
					order = append(order, d.ID)
				}
			}
			if token = list.Next; token == "" {
				break
			}
			if len(list.Deliveries) != 7 {
				t.Errorf("%s: a page of %d with another one after it", name, len(list.Deliveries))
			}
			if pages > 100 {
				t.Fatalf("%s: no end", name)
			}
			if pages < 20 {
				publish(2)
			}
		}
		if len(order) != c.n {
			t.Errorf("%s: %d of %d deliveries listed", name, len(order), c.n)
		}
		latestFirst := slices.IsSortedFunc(order, func(a, b string) int { return strings.Compare(b[:18], a[:18]) })
		if c.query == "" && !latestFirst {
			t.Errorf("%s: not the latest first: %v", name, order)
		}
	}
	// A page that has exactly the rest says that it is the last one.
	if list := get[page](p, operator+"/deliveries?page_size=2&event_subscription_id="+sub+"&to="+rfc3339(time.Now().Add(-time.Hour))); list.Next != "" || len(list.Deliveries) != 0 {
		t.Errorf("a page with nothing: %+v", list)
	}
}

// A page token is for the query that it was given for, and only as it was given.
func TestPageTokens(t *testing.T) {
	p := idle(t)
	for range 3 {
		p.publish(cnam("x"))
	}
	const query = "state=waiting&from=2026-01-01T00:00:00Z"
	token := get[page](p, operator+"/deliveries?page_size=2&"+query).Next
	if len(token) != 43 {
		t.Fatalf("token %q", token)
	}
	ask := func(query, token string) (faults string) {
		t.Helper()
		a := p.call("GET", operator+"/deliveries?"+query+"&next_page_token="+url.QueryEscape(token), "")
		if a.status == 200 {
			return ""
		}
		return read[fault400](t, a).Errors.Error()
	}
	// The order of parameters and the size of the page may change.
	for _, same := range []string{query, "from=2026-01-01T00:00:00Z&state=waiting", query + "&page_size=5"} {
		if f := ask(same, token); f != "" {
			t.Errorf("%s: %s", same, f)
		}
	}
	for _, other := range []string{"", "state=waiting", "state=failed&from=2026-01-01T00:00:00Z", "state=waiting&from=2026-01-01T00:00:01Z", query + "&state=failed", query + "&event=x"} {
		if f := ask(other, token); f != "next_page_token belongs to a query with other parameters" {
			t.Errorf("%s: %q", other, f)
		}
	}
	last := token[:42] + string(token[42]+1) // the same bytes, with bits set that mean nothing
	for _, garbage := range []string{token[:42], token + "A", token + "=", token[:10] + "\n" + token[10:], " " + token, "%", last, strings.Repeat("A", 100_000)} {
		if f := ask(query, garbage); f != "next_page_token is not one that this API gave" {
			t.Errorf("%.50q: %q", garbage, f)
		}
	}
	// One that somebody made up at most shows another part of the list.
	made := func(b byte) string {
		raw := append(queryHash(url.Values{"state": {"waiting"}}), make([]byte, 24)...)
		for i := range raw[8:] {
			raw[8+i] = b
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	for _, b := range []byte{0, 1, 0x7f, 0x80, 0xff} {
		if f := ask("state=waiting", made(b)); f != "" {
			t.Errorf("made of %x: %s", b, f)
		}
	}
}

// FuzzPageToken: whatever somebody sends as a token, it is refused or means the
// same as when the API gave it.
func FuzzPageToken(f *testing.F) {
	q := url.Values{"state": {"failed"}, "app_id": {"x"}}
	give := func(q url.Values, e, s, due int64) string {
		return pageToken(newQuery(q), &hook.Cursor{ID: hook.DeliveryID{Event: hook.EventID(e), Subscription: hook.SubscriptionKey(s)}, Due: due})
	}
	f.Add(give(q, 1, 2, 3))
	f.Add(give(q, -1, -1<<63, 1<<63-1))
	f.Add(give(url.Values{}, 1, 2, 3))
	f.Add(give(q, 1, 2, 3)[:42] + "/")
	f.Add(give(q, 1, 2, 3) + "\r\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		given := newQuery(url.Values{"state": q["state"], "app_id": q["app_id"], "next_page_token": {text}}, "state", "app_id", "next_page_token")
		c, err := cursor(given), given.err()
		if err != nil || text == "" {
			if c != nil {
				t.Errorf("%q is refused and means %v", text, c)
			}
			return
		}
		if again := pageToken(given, c); again != text {
			t.Errorf("%q means the same as %q", text, again)
		}
	})
}

// resent is the answer to resending by filter.
type resent struct {
	Resent  int         `json:"resent"`
	Skipped int         `json:"skipped"`
	Reasons hook.Faults `json:"reasons"`
	Next    string      `json:"next_page_token"`
}

// Whatever ended undelivered can be sent again by filter: what failed, what was
// tried as often as it may, and what was called off. What waits or was delivered
// cannot.
func TestResendByFilter(t *testing.T) {
	p := newPlatform(t, options{})
	e, held := newEndpoint(t), newEndpoint(t)
	one := to("held", held.url)
	one.MaxInFlight = 1
	m := manifest(to("all", e.url))
	m.Apps = append(m.Apps, manage.App{
		Name: "another app", Account: "carrier", SecretToken: secretToken, Scopes: []string{cnamScope}, CarrierCodes: []int32{2},
		Subscriptions: []manage.Subscription{one},
	})
	p.apply(m)
	all, stuck := p.subscription("all"), p.subscription("held")
	resend := func(query string) resent {
		t.Helper()
		return read[resent](t, p.want(202, "POST", operator+"/resend?"+query, ""))
	}
	publish := func(name string, n int) (events []string) {
		t.Helper()
		for range n {
			events = append(events, p.publish(cnam(name)).Event)
		}
		return events
	}
	await := func(s Subscription, want hook.State, events ...[]string) {
		t.Helper()
		for _, id := range slices.Concat(events...) {
			p.await(id, s, want)
		}
	}
	early := publish("fail", 2)
	ended := time.Time(get[Event](p, operator+"/events/"+early[1]).Accepted)
	eventually(t, func() bool { return time.Since(ended) > time.Millisecond }) // so that there is an instant between them
	failed, busy, fine, hang := publish("fail", 3), publish("busy", 2), publish("ok", 3), publish("hang", 1)
	await(all, hook.Failed, early, failed)
	await(all, hook.Exhausted, busy)
	await(all, hook.Delivered, fine)
	await(all, hook.Waiting, hang)
	// Of the other app's, the first one is with its endpoint while the rest waits.
	other := strings.Replace(cnam("hang"), `"carrier_code":1`, `"carrier_code":2`, 1)
	inHand := p.publish(other).Event
	eventually(t, func() bool { return len(held.requests()) == 1 })
	var calledOff []string
	for range 3 {
		calledOff = append(calledOff, p.publish(other).Event)
	}
	p.want(204, "POST", operator+"/subscriptions/"+stuck.ID+"/disable", "")
	held.heal()
	await(stuck, hook.Delivered, []string{inHand})
	await(stuck, hook.Cancelled, calledOff)

	for query, says := range map[string]string{
		"state=delivered":         "must be failed, exhausted or cancelled, not delivered",
		"state=waiting":           "must be failed, exhausted or cancelled, not waiting",
		"state=failed,waiting":    "must be failed, exhausted or cancelled, not waiting",
		"state=failed&state=none": "is none of waiting, delivered, failed, exhausted, cancelled",
	} {
		if a := p.want(400, "POST", operator+"/resend?"+query, ""); !strings.Contains(a.body, says) {
			t.Errorf("%s: %s", query, a.body)
		}
	}

	// One that has nowhere to go is left alone, and the answer says why.
	if r := resend("state=cancelled"); r.Resent != 0 || r.Skipped != 3 || len(r.Reasons) != 3 || !strings.Contains(r.Reasons[0].Message, "is disabled; validate it first") {
		t.Errorf("to a disabled subscription: %+v", r)
	}
	if v := read[Validation](t, p.want(200, "POST", operator+"/subscriptions/"+stuck.ID+"/validate", "")); !v.Valid {
		t.Fatalf("validation: %+v", v)
	}
	for _, query := range []string{
		"event=other", "state=exhausted&app_id=" + stuck.App, "event_subscription_id=" + hook.NewID(),
		"to=" + rfc3339(time.Now().Add(-time.Hour)), "from=" + rfc3339(time.Now().Add(time.Hour)),
	} {
		if r := resend(query); r.Resent != 0 || r.Skipped != 0 {
			t.Errorf("%s: %+v", query, r)
		}
	}
	if r := resend("state=cancelled&app_id=" + stuck.App); r.Resent != 3 || r.Skipped != 0 || r.Reasons != nil || r.Next != "" {
		t.Errorf("cancelled ones: %+v", r)
	}
	await(stuck, hook.Delivered, calledOff)

	e.heal()
	await(all, hook.Delivered, hang)
	between := rfc3339(time.Time(get[Event](p, operator+"/events/"+failed[0]).Accepted))
	if r := resend("to=" + between); r.Resent != 2 {
		t.Errorf("before the instant: %+v", r)
	}
	await(all, hook.Delivered, early)
	if r := resend("state=exhausted&from=" + between + "&event_subscription_id=" + all.ID); r.Resent != 2 {
		t.Errorf("tried as often as they may: %+v", r)
	}
	await(all, hook.Delivered, busy)
	if r := resend(""); r.Resent != 3 {
		t.Errorf("all the rest: %+v", r)
	}
	await(all, hook.Delivered, failed)
	if r := resend(""); r.Resent != 0 || r.Skipped != 0 {
		t.Errorf("when all was delivered: %+v", r)
	}
	// Each got the request id it had before.
	ids := map[string]int{}
	for _, r := range e.requests() {
		ids[r.header.Get("X-Zm-Request-Id")]++
	}
	for _, id := range slices.Concat(early, failed, busy) {
		if d := p.deliveryOf(id, all); ids[d.ID] != 2 {
			t.Errorf("delivery %s: %d requests with its id", d.ID, ids[d.ID])
		}
	}
}

// More deliveries than a page has are resent in one call.
func TestResendManyByFilter(t *testing.T) {
	p := newPlatform(t, options{})
	e := newEndpoint(t)
	p.apply(manifest(to("s", e.url)))
	const n = maxPage + 20
	p.want(202, "POST", "/v2/events", "["+strings.Repeat(cnam("fail")+",", n-1)+cnam("fail")+"]")
	eventually(t, func() bool { return len(e.requests()) == n })
	eventually(t, func() bool { return len(get[page](p, operator+"/deliveries?state=waiting").Deliveries) == 0 })
	e.heal()
	if r := read[resent](t, p.want(202, "POST", operator+"/resend", "")); r.Resent != n || r.Skipped != 0 || r.Next != "" {
		t.Errorf("answer: %+v", r)
	}
	eventually(t, func() bool {
		return len(get[page](p, operator+"/deliveries?state=waiting,failed").Deliveries) == 0
	})
	if got := len(e.requests()); got != 2*n {
		t.Errorf("%d requests, want %d", got, 2*n)
	}
}

// Instants and durations come out of JSON as they went in.
func TestInstants(t *testing.T) {
	for _, at := range []time.Time{{}, time.UnixMilli(0), time.UnixMilli(1768204800117), time.UnixMilli(253402300799999)} {
		b, err := Instant(at).MarshalJSON()
		must(t, err)
		var back Instant
		must(t, back.UnmarshalJSON(b))
		if !time.Time(back).Equal(at) {
			t.Errorf("%v became %s and then %v", at, b, time.Time(back))
		}
	}
	for d, want := range map[time.Duration]string{0: "0", time.Microsecond: "0.001", 1500 * time.Microsecond: "1.5", 90 * time.Minute: "5400000", 999: "0"} {
		b, err := Milliseconds(d).MarshalJSON()
		must(t, err)
		var back Milliseconds
		must(t, back.UnmarshalJSON(b))
		if string(b) != want || time.Duration(back) != d.Truncate(time.Microsecond) {
			t.Errorf("%v became %s and then %v", d, b, fmt.Sprint(time.Duration(back)))
		}
	}
}
