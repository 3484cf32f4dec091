package api

import (
	"encoding/json"
	"maps"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/memnet"
	"github.com/switchhook/switchhook/internal/store"
)

// FuzzPublish: whatever is published, and however, the answer is one that the
// contract knows, and says of exactly the events that were stored that they were
// accepted.
func FuzzPublish(f *testing.F) {
	media := []string{"application/json", "application/x-ndjson", "text/plain", ""}
	one, other := cnam("ACME"), cnam("Bäckerei \u2028")
	keyed := strings.Replace(one, "{", `{"$routing":{"idempotency_key":"k"},`, 1)
	for _, body := range []string{
		"", " \r\n", one, "\n" + one + " ", one + other, one + "\n" + other + "\n", one + "\r\n\r\n" + other,
		"[" + one + "," + other + "]", "[]", "[" + one, "[" + one + ",]", "[[" + one + "]]", "[" + one + "]\n[" + one + "]", "[1,null," + one + `,"x"]`,
		keyed, strings.Replace(keyed, "ACME", "X", 1), keyed + "\n" + keyed, "[" + keyed + "," + strings.Replace(keyed, "ACME", "Y", 1) + "]",
		unknownEvent, `{"event":1}`, `{"event":"` + cnamEvent + `","event_ts":1e400,"payload":{}}`, one[:40], "\xff\xfe", "\ufeff" + one, "null", `"x"`, "{",
		strings.Repeat("[", 20_000), `{"$routing":{"account_id":"a","user_ids":[1]}}`, `{"a":1,"a":2}`,
	} {
		for i := range media {
			f.Add(byte(i), "", body)
		}
		f.Add(byte(0), "key", body)
		f.Add(byte(1), "key", body)
	}
	f.Add(byte(1), "", one+"\n"+strings.Repeat(" ", intake.MaxEvent+100_000)+one+"\n"+one)
	g := &gate{}
	p := newPlatform(f, options{idle: true, store: func(db *store.DB) intake.Store {
		g.Store = db
		return g
	}})
	f.Fuzz(func(t *testing.T, kind byte, key, body string) {
		before := g.stored.Load()
		r := httptest.NewRequest("POST", "/v2/events", strings.NewReader(body))
		r.Header.Set("Content-Type", media[int(kind)%len(media)])
		r.Header.Set("Idempotency-Key", key)
		with(allKey)(r)
		w := httptest.NewRecorder()
		p.handler.ServeHTTP(w, r)

		a := reply{status: w.Code, header: w.Header(), body: w.Body.String()}
		if !slices.Contains([]int{202, 400, 409, 413}, a.status) {
			t.Fatalf("status %d: %s", a.status, a.body)
		}
		var items []item
		switch a.header.Get("Content-Type") {
		case "application/x-ndjson":
			var end batch
			items, end = lines(t, a)
			if a.status != 202 || end.Accepted+end.Failed != len(items) {
				t.Errorf("status %d for %d lines and %+v", a.status, len(items), end)
			}
		case "application/json; charset=utf-8":
			var b batch
			if err := json.Unmarshal([]byte(a.body), &b); err != nil {
				t.Fatalf("answer %q: %v", a.body, err)
			}
			if items = b.Items; items == nil {
				items = []item{read[item](t, a)}
			} else if b.Accepted+b.Failed != len(items) {
				t.Errorf("%d accepted and %d failed of %d", b.Accepted, b.Failed, len(items))
			}
		default:
			t.Fatalf("content-type %q", a.header.Get("Content-Type"))
		}
		accepted, stored := 0, int64(0)
		for _, it := range items {
			switch {
			case it.Event == "" && (it.Code < 300 || it.Code >= 500 || it.Message == ""), it.Event != "" && it.Code != 0:
				t.Errorf("neither accepted nor refused: %+v", it)
			case it.Event != "":
				accepted++
				if !it.Duplicate {
					stored++
				}
			}
		}
		if n := g.stored.Load() - before; n != stored {
			t.Errorf("%d events were stored, and %d are said to be: %s", n, stored, a.body)
		}
		if a.header.Get("Content-Type") != "application/x-ndjson" && (accepted > 0) != (a.status == 202) {
			t.Errorf("status %d with %d accepted", a.status, accepted)
		}
	})
}

// ownPlatform is one with an app that manages its subscriptions itself, in memory, and
// an endpoint at http://good.test that proves itself.
func ownPlatform(f *testing.F) *program {
	var net memnet.Net
	good := &endpoint{release: make(chan struct{})}
	good.foreign.Store(true) // whatever it gets
	net.Handle(f, "good.test", good.handler(f))
	p := newPlatform(f, options{idle: true, net: &net})
	offerOrders(f, p)
	return p.program(p.apply(ownManifest()).Credentials[0], "")
}

// FuzzCreateSubscription: whatever asks for a subscription, it is made and listed as it
// was asked for, or the answer is a fault that the contract knows and nothing is made.
func FuzzCreateSubscription(f *testing.F) {
	const whole = `{"events":["` + cnamEvent + `","` + orderEvent + `"],"event_webhook_url":"http://good.test/hook","subscription_scope":"account"`
	const people = `{"events":["` + orderEvent + `"],"event_webhook_url":"http://good.test/hook?a=b","subscription_scope":"user","event_subscription_name":"s \u00e4\ud83c\udf32"`
	for _, body := range []string{
		"", "null", "[]", "{", "{}", "{}{}", "\ufeff{}", "\xff", whole + "}", " \n" + whole + "} \n", whole + `,"account_id":"customer"}`, whole + `,"x":[{}],"events":["` + cnamEvent + `"]}`,
		people + `,"user_ids":["ada","bob, eve"]}`, people + `,"user_ids":[",ada,,"],"user_group_ids":["night"]}`, people + `,"user_group_ids":["night"],"account_id":"carrier"}`, people + `,"user_ids":[null]}`,
		whole + `,"custom_header":null}`, whole + `,"custom_header":{"custom_header_type":0}}`, whole + `,"custom_header":{"custom_header_type":1,"username":"ann","password":"p\u00e4\u0000"}}`,
		whole + `,"custom_header":{"custom_header_type":1,"username":"ann","password":"\ud83d"}}`, whole + `,"custom_header":{"custom_header_type":2,"client_id":"c","client_secret":"s","token_url":"http://good.test/hook"}}`,
		whole + `,"custom_header":{"custom_header_type":3,"custom_header_key":"X-A","custom_header_value":" v\u00e9 "}}`, whole + `,"custom_header":{"custom_header_type":3,"custom_header_key":"Host","custom_header_value":"v"}}`,
		whole + `,"custom_header":{"custom_header_type":18446744073709551617}}`, strings.Replace(whole, "http://good.test/hook", "http://good.test:80/%zz?\u2028", 1) + "}", strings.Replace(whole, "good.test", "GOOD.test.", 1) + "}",
		strings.Replace(whole, `"account"`, `"master_account"`, 1) + `,"account_id":" carrier"}`, whole + `,"event_subscription_name":"a\u2028b"}`, `{"EVENTS":["` + cnamEvent + `"],"Event_Webhook_URL":"http://good.test/","subscription_SCOPE":"account"}`,
	} {
		f.Add(body)
	}
	c := ownPlatform(f)
	f.Fuzz(func(t *testing.T, body string) {
		call := func(method, body string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(method, subscriptions, strings.NewReader(body))
			with(c.token)(r)
			w := httptest.NewRecorder()
			c.handler.ServeHTTP(w, r)
			return w
		}
		w := call("POST", body)
		made := c.db.Directory().Subscriptions(c.app)
		if w.Code != 201 {
			var v fault
			codes := map[int]int{1300: 400, 1500: 400, 1001: 404, 1601: 404, 1602: 400, 1701: 404, 1702: 404, 1801: 404}
			if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || codes[v.Code] != w.Code || v.Message == "" || len(v.Errors) > 0 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if len(made) != 0 {
				t.Errorf("refused and made: %+v", made[0])
			}
			return
		}
		var asked OwnSubscription
		if err := json.Unmarshal([]byte(body), &asked); err != nil || len(made) != 1 {
			t.Fatalf("%d were made of what is %v", len(made), err)
		}
		s := made[0]
		if faults := s.Check(c.manager.Policy); len(faults) > 0 {
			t.Errorf("it is against the rules: %v", faults)
		}
		names := func(list []string) string {
			all := map[string]bool{}
			for _, joined := range list {
				for name := range strings.SplitSeq(joined, ",") {
					if name = strings.TrimSpace(name); name != "" {
						all[name] = true
					}
				}
			}
			return strings.Join(slices.Sorted(maps.Keys(all)), ",")
		}
		x := s.Subscribers[0]
		if strings.Join(s.Events, ",") != names(asked.Events) || s.URL != asked.URL || string(s.Scope) != asked.Scope || s.Name != asked.Name || s.Source != hook.SourceOpenAPI ||
			len(s.Subscribers) != 1 || asked.Account != "" && x.Account != asked.Account || strings.Join(x.Users, ",") != names(asked.Users) || strings.Join(x.Groups, ",") != names(asked.Groups) {
			t.Errorf("made is %+v of %+v", *s, asked)
		}
		listed := read[subscriptionPage](t, reply{body: call("GET", "").Body.String()})
		if r := listed.Rows; len(r) != len(x.Users)+len(x.Groups) && len(r) != 1 || r[0].ID != s.ID || r[0].URL != s.URL || r[0].Name != s.Name || r[0].CustomHeader.Type != s.Auth.Mode {
			t.Errorf("listed is %+v of %+v", r, *s)
		}
		must(t, c.manager.Delete(hook.Actor{Kind: hook.ByApp}, c.app, s.ID, ""))
	})
}

// FuzzSealedPageToken: a list of the public API goes on with the tokens that it gave,
// and with no others.
func FuzzSealedPageToken(f *testing.F) {
	c := ownPlatform(f)
	for range 3 {
		c.creates(OwnSubscription{Events: []string{orderEvent}, URL: "http://good.test/hook", Scope: "account"})
	}
	began := time.Now()
	given := map[string]string{
		subscriptions + "?page_size=1":                                       c.list("page_size=1").Next,
		"/v2/marketplace/apps/" + c.app + "/webhook_logs?type=1&page_size=1": c.logs("type=1&page_size=1").Next,
	}
	for _, token := range given {
		for _, text := range []string{"", token, token + "=", token + "A", token[1:], token[:len(token)-1], strings.ToLower(token), strings.Repeat(token, 2), token + "\n", token[:40] + "\r" + token[40:]} {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, token string) {
		for path, own := range given {
			r := httptest.NewRequest("GET", path+"&next_page_token="+url.QueryEscape(token), nil)
			with(c.token)(r)
			w := httptest.NewRecorder()
			c.handler.ServeHTTP(w, r)
			if time.Since(began) >= tokenLife-time.Minute {
				t.Skip("by now its own are refused as well")
			}
			if token == own || token == "" {
				if w.Code != 200 {
					t.Errorf("%s with its own token: %d %s", path, w.Code, w.Body)
				}
			} else if w.Code != 400 || w.Body.String() != `{"code":1003100,"message":"The next page token is invalid or expired."}`+"\n" {
				t.Errorf("%s with %q: %d %s", path, token, w.Code, w.Body)
			}
		}
	})
}
