package api

import (
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
)

// The whole way, over HTTP: an operator sets a carrier up, a producer publishes,
// the endpoint gets what the contract promises, and the log says so.
func TestStory(t *testing.T) {
	p := newPlatform(t, options{schedule: hook.Schedule{time.Hour}})
	const headerValue = "value-of-the-own-header"
	plain := newEndpoint(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Set-Cookie", "session=abc")
			w.Header().Set("X-Server", "carrier")
			next.ServeHTTP(w, r)
		})
	})
	own := newEndpoint(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Values("X-Api-Key"); !slices.Equal(got, []string{headerValue}) {
				t.Errorf("own header: %q", got)
			}
			w.Header().Set("X-Echo", r.Header.Get("X-Api-Key"))
			next.ServeHTTP(w, r)
		})
	})

	// A dry run says what would happen, shows no credentials and changes nothing.
	withHeader := to("own header", own.url)
	withHeader.CustomHeader = &manage.CustomHeader{Type: 3, Key: "X-Api-Key", Value: headerValue}
	m := manifest(to("plain", plain.url), withHeader)
	body := `{"accounts":[{"id":"carrier","name":"Blue Carrier"}],"apps":[{"name":"number sync","account_id":"carrier"}]}`
	plan := read[manage.Plan](t, p.want(200, "POST", operator+"/apply?dry_run=true", body))
	if plan.Changes() != 2 || plan.Credentials != nil {
		t.Errorf("plan of a dry run: %+v", plan)
	}
	for _, path := range []string{"/apps", "/accounts", "/subscriptions"} {
		if a := p.want(200, "GET", operator+path, ""); !strings.Contains(a.body, "[]") {
			t.Errorf("after a dry run %s are %s", path, a.body)
		}
	}

	// Credentials are shown once.
	plan = p.apply(m)
	if len(plan.Credentials) != 1 || plan.Failures() != 0 {
		t.Fatalf("plan: %+v", plan)
	}
	creds := plan.Credentials[0]
	if creds.SecretToken != secretToken || len(creds.ClientSecret) != 32 || len(creds.ClientID) != 22 {
		t.Errorf("credentials: %+v", creds)
	}
	if plan = p.apply(m); plan.Changes() != 0 || plan.Failures() != 0 || plan.Credentials != nil {
		t.Errorf("plan of the same manifest again: %+v", plan)
	}
	token := operator + "/apps/" + creds.AppID + "/secret_token"
	for key, status := range map[string]int{"": 401, readKey: 403, publishKey: 403, manageKey: 200} {
		a := p.want(status, "GET", token, "", with(key))
		if shown := strings.Contains(a.body, secretToken); shown != (status == 200) {
			t.Errorf("with key %q: %s", key, a.body)
		}
	}

	// The endpoints have answered their challenges.
	subPlain, subOwn := p.subscription("plain"), p.subscription("own header")
	for _, s := range []Subscription{subPlain, subOwn} {
		if s.State != hook.Valid || s.App != creds.AppID || s.Source != hook.SourceDefault {
			t.Errorf("subscription: %+v", s)
		}
	}
	if v := read[Validation](t, p.want(200, "POST", operator+"/subscriptions/"+subPlain.ID+"/validate", "")); !v.Valid || v.Reason != "" {
		t.Errorf("validated again: %+v", v)
	}
	app := get[App](p, operator+"/apps/"+creds.AppID)
	if app.Name != "number sync" || app.ClientID != creds.ClientID || app.Subscriptions != 2 || !slices.Equal(app.CarrierCodes, []int32{1}) {
		t.Errorf("app: %+v", app)
	}
	if n := len(plain.requests()) + len(own.requests()); n != 0 {
		t.Errorf("%d requests before anything was published", n)
	}

	// A producer writes JSON as it likes; the endpoint gets it as JavaScript would
	// write it, once, with the headers of the contract and no others.
	loose := `{ "event" : "` + cnamEvent + `", "$routing": {"user_ids": ["u1"]},` + "\n" + `"event_ts": 1768204800117.0,
		"payload": {"account_id":"customer","object":{"carrier_code":1.0,"phone_numbers":["+14155550132"],"cnam":"B\u00e4ckerei \u003c3"}}}`
	canonical := `{"event":"` + cnamEvent + `","event_ts":1768204800117,"payload":{"account_id":"customer","object":{"carrier_code":1,"phone_numbers":["+14155550132"],"cnam":"Bäckerei <3"}}}`
	first := p.publish(loose)
	if first.Deliveries != 2 || first.Duplicate || first.Warnings != nil {
		t.Errorf("publishing was answered with %+v", first)
	}
	delivered := p.await(first.Event, subPlain, hook.Delivered)
	p.await(first.Event, subOwn, hook.Delivered)
	got := plain.requests()
	if len(got) != 1 || len(own.requests()) != 1 {
		t.Fatalf("%d and %d requests, want one each", len(got), len(own.requests()))
	}
	if got[0].body != canonical {
		t.Errorf("body\n%s\nwant\n%s", got[0].body, canonical)
	}
	checkHeaders(t, got[0], creds.ClientID, map[string]string{"X-Zm-Request-Id": regexp.QuoteMeta(delivered.ID)})
	checkHeaders(t, own.requests()[0], creds.ClientID, map[string]string{"X-Api-Key": headerValue})

	// The event, the delivery and the lists tell what happened.
	ev := get[Event](p, operator+"/events/"+first.Event)
	if ev.Event != cnamEvent || ev.Account != "customer" || ev.Carrier != 1 || !slices.Equal(ev.Users, []string{"u1"}) || len(ev.Deliveries) != 2 {
		t.Errorf("event: %+v", ev)
	}
	if !strings.HasSuffix(p.answers[len(p.answers)-1].body, `"body":`+canonical+"}\n") {
		t.Errorf("the event is not shown with the bytes that were signed: %s", p.answers[len(p.answers)-1].body)
	}
	if !time.Time(ev.TS).Equal(time.UnixMilli(1768204800117)) || time.Since(time.Time(ev.Accepted)) > time.Minute {
		t.Errorf("event_ts %v, accepted %v", time.Time(ev.TS), time.Time(ev.Accepted))
	}
	if delivered.Tries != 1 || len(delivered.Attempts) != 1 || delivered.URL != plain.url || delivered.EventID != first.Event {
		t.Fatalf("delivery: %+v", delivered)
	}
	attempt := delivered.Attempts[0]
	if attempt.Status != 204 || attempt.Outcome != "204" || attempt.Reason != 0 || attempt.Retry != 0 || attempt.Latency == nil ||
		attempt.Tracking != got[0].header.Get("X-Zm-Trackingid") {
		t.Errorf("attempt: %+v", attempt)
	}
	if h := attempt.Header; !strings.Contains(h, "Set-Cookie: ********\n") || !strings.Contains(h, "X-Server: carrier\n") {
		t.Errorf("response headers in the log: %q", h)
	}
	if h := p.deliveryOf(first.Event, subOwn).Attempts[0].Header; !strings.Contains(h, "X-Echo: ********\n") {
		t.Errorf("response headers in the log: %q", h)
	}

	// What was refused for good is resent under the same request id.
	second := p.publish(cnam("fail"))
	failed := p.await(second.Event, subPlain, hook.Failed)
	p.await(second.Event, subOwn, hook.Failed)
	plain.heal()
	if a := p.want(202, "POST", operator+"/deliveries/"+failed.ID+"/resend", ""); a.body != `{"delivery_id":"`+failed.ID+`"}`+"\n" {
		t.Errorf("resend: %s", a.body)
	}
	resent := p.await(second.Event, subPlain, hook.Delivered)
	all := plain.requests()
	if a, b := all[1], all[2]; len(all) != 3 || a.body != b.body || a.header.Get("X-Zm-Request-Id") != failed.ID || b.header.Get("X-Zm-Request-Id") != failed.ID ||
		a.header.Get("X-Zm-Trackingid") == b.header.Get("X-Zm-Trackingid") {
		t.Errorf("%d requests; %v, then %v", len(all), a, b)
	}
	var kinds []string
	for _, a := range resent.Attempts {
		kinds = append(kinds, a.Kind)
	}
	if !slices.Equal(kinds, []string{"attempt", "resend", "attempt"}) || resent.Attempts[1].Detail != `asked for with operator key "tests" (key-all)` {
		t.Errorf("log: %+v", resent.Attempts)
	}

	// The list, filtered.
	third := p.publish(cnam("busy"))
	var waiting Delivery
	eventually(t, func() bool {
		waiting = p.deliveryOf(third.Event, subOwn)
		return waiting.Tries > 0
	})
	p.await(third.Event, subPlain, hook.Delivered)
	accepted := time.Time(get[Event](p, operator+"/events/"+second.Event).Accepted)
	for query, want := range map[string][]string{
		"":                                     {third.Event, third.Event, second.Event, second.Event, first.Event, first.Event},
		"state=failed":                         {second.Event},
		"state=waiting":                        {third.Event},
		"state=failed,waiting":                 {third.Event, second.Event},
		"state=failed&state=waiting":           {third.Event, second.Event},
		"event_subscription_id=" + subPlain.ID: {third.Event, second.Event, first.Event},
		"event_subscription_id=" + subOwn.ID + "&state=delivered": {first.Event},
		"app_id=" + creds.AppID + "&state=failed":                 {second.Event},
		"event=" + cnamEvent + "&state=failed":                    {second.Event},
		"event=other":                                             {},
		"page_size=1&state=delivered":                             {third.Event},
		"state=failed&from=" + rfc3339(accepted):                  {second.Event},
		"state=failed&to=" + rfc3339(accepted):                    {},
	} {
		list := get[page](p, operator+"/deliveries?"+query)
		var events []string
		for _, d := range list.Deliveries {
			events = append(events, d.EventID)
		}
		if !slices.Equal(events, want) {
			t.Errorf("%q lists %v, want %v", query, events, want)
		}
		if list.PageSize != 30 && !strings.Contains(query, "page_size=1") {
			t.Errorf("%q: page size %d", query, list.PageSize)
		}
	}

	// Disabling calls off what waits, and what comes later is not owed.
	if until := time.Until(time.Time(waiting.Next)); waiting.State != hook.Waiting || until < 59*time.Minute || until > time.Hour {
		t.Errorf("after an attempt in vain it is %v, and the next is due in %v", waiting.State, until)
	}
	for range 2 { // the second time there is nothing to do
		p.want(204, "POST", operator+"/subscriptions/"+subOwn.ID+"/disable", "")
	}
	cancelled := p.await(third.Event, subOwn, hook.Cancelled)
	if last := cancelled.Attempts[len(cancelled.Attempts)-1]; last.Kind != "cancel" || last.Detail != "the subscription was disabled: disabled by the operator" {
		t.Errorf("cancelled: %+v", last)
	}
	if s := p.subscription("own header"); s.State != hook.Disabled || s.Reason != "disabled by the operator" {
		t.Errorf("disabled: %+v", s)
	}
	if a := p.publish(cnam("x")); a.Deliveries != 1 {
		t.Errorf("with one of two disabled, %d deliveries", a.Deliveries)
	}

	// A deleted subscription is gone, but not what is known of its deliveries.
	p.want(204, "DELETE", operator+"/subscriptions/"+subOwn.ID, "")
	p.want(404, "DELETE", operator+"/subscriptions/"+subOwn.ID, "")
	p.want(404, "GET", operator+"/subscriptions/"+subOwn.ID, "")
	if d := get[Delivery](p, operator+"/deliveries/"+cancelled.ID); d.Subscription != subOwn.ID || d.URL != own.url || d.State != hook.Cancelled {
		t.Errorf("a delivery of a deleted subscription: %+v", d)
	}
	p.want(409, "POST", operator+"/deliveries/"+cancelled.ID+"/resend", "")

	// An app goes with its subscriptions.
	p.want(204, "DELETE", operator+"/apps/"+creds.AppID, "")
	for _, path := range []string{"/apps/" + creds.AppID, "/apps/" + creds.AppID + "/secret_token", "/subscriptions/" + subPlain.ID} {
		p.want(404, "GET", operator+path, "")
	}
	p.want(404, "DELETE", operator+"/apps/"+creds.AppID, "")
	if a := p.publish(cnam("x")); a.Deliveries != 0 {
		t.Errorf("without any app, %d deliveries", a.Deliveries)
	}
	for _, a := range p.answers {
		if strings.Contains(a.body, headerValue) {
			t.Errorf("%s shows the own header: %s", a.call, a.body)
		}
	}
}

func rfc3339(t time.Time) string { return url.QueryEscape(t.Format(time.RFC3339Nano)) }

// checkHeaders compares a request's headers with the contract; more says which
// others there are, or are to have a certain value.
func checkHeaders(t *testing.T, r received, clientID string, more map[string]string) {
	t.Helper()
	want := map[string]string{
		"Content-Type":           `application/json; charset=utf-8`,
		"User-Agent":             `Switchhook/test`,
		"Content-Length":         `[1-9][0-9]*`,
		"X-Zm-Request-Timestamp": `[1-9][0-9]{9}`,
		"X-Zm-Signature":         `v0=[0-9a-f]{64}`,
		"X-Zm-Request-Id":        `[0-9a-f]{8}_[0-9a-f]{4}_[0-9a-f]{4}_[0-9a-f]{4}_[0-9a-f]{12}`,
		"X-Zm-Trackingid":        `v=2\.0;clid=us;rid=WEB_[0-9a-f]{32}`,
		"Clientid":               regexp.QuoteMeta(clientID),
		"Traceparent":            `00-[0-9a-f]{32}-[0-9a-f]{16}-01`,
		"Accept-Encoding":        `gzip`,
	}
	maps.Copy(want, more)
	for name, pattern := range want {
		values := r.header.Values(name)
		if len(values) != 1 || !regexp.MustCompile("^(?:"+pattern+")$").MatchString(values[0]) {
			t.Errorf("%s: %q, want one that is %s", name, values, pattern)
		}
	}
	for name, values := range r.header {
		if want[name] == "" {
			t.Errorf("%s: %q is not in the contract", name, values)
		}
	}
	// One trace for the delivery, so whoever has the one id can find the other.
	trace, id := r.header.Get("Traceparent"), strings.ReplaceAll(r.header.Get("X-Zm-Request-Id"), "_", "")
	if !strings.Contains(trace, id) {
		t.Errorf("trace %s of request %s", trace, id)
	}
}
