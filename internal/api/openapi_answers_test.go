package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/memnet"
)

// What these tests ask for is what other tests do not: that each call is answered at
// least once with each status that openapi.yaml describes. Whether the answers are as it
// says, the platform of the tests looks for itself.

// A body that is too large is refused by every call that takes one.
func TestTooLargeForEveryCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		app, _ := b.blue()
		d, err := theDescription()
		must(t, err)
		for pattern, o := range d.operations {
			if o.answers[http.StatusRequestEntityTooLarge] == "" || pattern == "POST /v2/events" || strings.HasSuffix(pattern, "/catalog") || strings.HasSuffix(pattern, "/import") {
				continue // those take more, and have tests of their own
			}
			method, path, _ := strings.Cut(wildcard.ReplaceAllStringFunc(pattern, func(name string) string {
				if name == "{name}" {
					return cnamEvent
				}
				return app.ID
			}), " ")
			var edit []func(*http.Request)
			if !o.operator {
				edit = append(edit, b.token(app, ""))
			}
			b.want(413, method, path, strings.Repeat(" ", maxDocument)+"{}", edit...)
		}
	})
}

// token returns what makes a call with an access token of an app, for an account if one is
// named.
func (b *bench) token(app NewApp, account string) func(*http.Request) {
	b.t.Helper()
	query := "grant_type=client_credentials"
	if account != "" {
		query = "grant_type=account_credentials&account_id=" + account
	}
	a := b.want(200, "POST", "/oauth/token?"+query, "", func(r *http.Request) { r.SetBasicAuth(app.ClientID, app.ClientSecret) })
	return header("Authorization", "Bearer "+read[AccessToken](b.t, a).Token)
}

var numberCalls = []string{"GET " + peering, "POST " + peering, "PATCH " + peering, "DELETE " + peering, "GET " + carrierPeering}

const ownSubscriptions = "/v2/marketplace/app/event_subscription"

// An app is told everything that can be wrong with its calls by the codes that clients of
// the public API know.
func TestCodesOfOwnCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		app, console := b.blue()
		b.want(201, "PUT", operator+"/accounts/acme/users/ann", "{}")
		b.want(201, "PUT", operator+"/accounts/branch", "{}")
		b.want(201, "PUT", operator+"/accounts/branch/users/bob", "{}")
		b.want(201, "PUT", operator+"/accounts/branch/users/carl", "{}")
		b.want(201, "PUT", operator+"/apps/"+app.ID+"/installations?account_id=branch&user_id=bob", "")
		logs := "/v2/marketplace/apps/" + app.ID + "/webhook_logs"
		token := b.token(app, "")
		own := func(more string) string {
			return `{"events":["` + cnamEvent + `"],"event_webhook_url":"http://hooks.test/own","subscription_scope":"user","user_ids":["ann"]` + more + "}"
		}
		made := read[map[string]string](t, b.want(201, "POST", ownSubscriptions, own(`,"event_subscription_name":"own"`), token))["event_subscription_id"]
		b.want(200, "GET", ownSubscriptions+"?page_size=1&account_id=acme&user_id=ann&subscription_scope=user", "", token)
		b.want(200, "GET", ownSubscriptions, "", token)
		for _, status := range []int{400, 200} { // first without the scope for it
			b.want(status, "GET", logs+"?type=1", "", token)
			b.want(200, "PUT", operator+"/apps/"+app.ID, `{"scopes":["`+cnamScope+`","marketplace_app:read"]}`)
		}

		const missing = "hR3k9fPq0XsZtW2bLmC7vA"
		for _, c := range []struct {
			code             int
			call, path, body string
		}{
			{1500, "POST", ownSubscriptions, `{}`},
			{1602, "POST", ownSubscriptions, `{"events":["shop.closed"],"event_webhook_url":"http://hooks.test/","subscription_scope":"account"}`},
			{1601, "POST", ownSubscriptions, strings.Replace(own(""), cnamEvent, "none", 1)},
			{1701, "POST", ownSubscriptions, strings.Replace(own(""), "hooks.test", "down.test", 1)},
			{1702, "POST", ownSubscriptions, own(`,"custom_header":{"custom_header_type":2,"client_id":"c","client_secret":"s","token_url":"http://notoken.test/"}`)},
			{1801, "POST", ownSubscriptions, own(`,"custom_header":{"custom_header_type":4}`)},
			{1300, "POST", ownSubscriptions, `{"events":["` + cnamEvent + `"],"event_webhook_url":"http://hooks.test/","subscription_scope":"account","account_id":"none"}`},
			{1001, "POST", ownSubscriptions, strings.Replace(own(""), `"ann"`, `"nobody"`, 1)},
			{1003, "POST", ownSubscriptions, strings.Replace(own(`,"account_id":"branch"`), `"ann"`, `"bob"`, 1)},
			{1500, "GET", ownSubscriptions + "?page_size=0", ""},
			{1003100, "GET", ownSubscriptions + "?next_page_token=x", ""},
			{1500, "PATCH", ownSubscriptions + "/" + made, `{}`},
			{1002, "PATCH", ownSubscriptions + "/" + made, `{"account_id":"branch","user_ids":["carl"]}`},
			{1001, "PATCH", ownSubscriptions + "/" + made, `{"account_id":"acme","user_ids":["nobody"]}`},
			{1601, "PATCH", ownSubscriptions + "/" + missing, `{"account_id":"acme"}`},
			{1500, "DELETE", ownSubscriptions, ""},
			{1601, "DELETE", ownSubscriptions + "?event_subscription_id=" + missing, ""},
			{1500, "DELETE", ownSubscriptions + "/" + console.ID, ""},
			{1601, "DELETE", ownSubscriptions + "/" + missing, ""},
			{1506, "GET", logs + "?retry_num=4", ""},
			{201, "GET", strings.Replace(logs, app.ID, "OTHER", 1), ""},
			{1401, "GET", strings.Replace(logs, app.ID, "none", 1), ""},
			{1501, "GET", logs + "?from=1999-12-31T00:00:00Z&to=1999-12-30T00:00:00Z", ""},
			{1502, "GET", logs + "?from=1999-12-01T00:00:00Z", ""},
			{1503, "GET", logs + "?from=today", ""},
			{1504, "GET", logs + "?from=2001-01-01T00:00:00Z", ""},
		} {
			switch c.code {
			case 1602:
				b.want(200, "POST", operator+"/catalog", `{"openapi":"3.1.0","info":{"title":"Shop"},"webhooks":{"shop.closed":{"post":{"x-switchhook-scopes":{"classic":["shop:read"]},"requestBody":{}}}}}`)
			case 201:
				other := read[NewApp](t, b.want(201, "POST", operator+"/apps", `{"name":"other","account_id":"acme"}`))
				c.path = strings.Replace(c.path, "OTHER", other.ID, 1)
			}
			if a := b.call(c.call, c.path, c.body, token); a.status < 400 || read[fault](t, a).Code != c.code {
				t.Errorf("%s: %d %s, want code %d", a.call, a.status, a.body, c.code)
			}
		}
		for _, call := range append(numberCalls, "POST "+ownSubscriptions, "GET "+ownSubscriptions, "DELETE "+ownSubscriptions, "PATCH "+ownSubscriptions+"/x", "DELETE "+ownSubscriptions+"/x", "GET "+logs) {
			method, path, _ := strings.Cut(call, " ")
			if a := b.want(401, method, path, "{}", with("no-token")); read[fault](t, a).Code != 124 {
				t.Errorf("%s: %s", a.call, a.body)
			}
		}
	})
}

// An account that calls too often is told to wait.
func TestEveryCallIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{platform: newPlatform(t, options{idle: true, net: &memnet.Net{}, rates: Rates{Light: 1, Medium: 1, Heavy: 1}})}
		b.want(201, "PUT", operator+"/accounts/acme", "{}")
		app := read[NewApp](t, b.want(201, "POST", operator+"/apps", `{"name":"x","account_id":"acme"}`))
		token := b.token(app, "")
		for _, call := range append(numberCalls, "POST "+ownSubscriptions, "GET "+ownSubscriptions, "DELETE "+ownSubscriptions, "PATCH "+ownSubscriptions+"/x", "DELETE "+ownSubscriptions+"/x", "GET /v2/marketplace/apps/x/webhook_logs") {
			method, path, _ := strings.Cut(call, " ")
			b.call(method, path, "{}", token)
			b.want(429, method, path, "{}", token)
			time.Sleep(time.Second)
		}
		wrong := func(r *http.Request) { r.SetBasicAuth(app.ClientID, "wrong") }
		for range maxGuesses {
			b.want(400, "POST", "/oauth/token?grant_type=client_credentials", "", wrong)
		}
		b.want(429, "POST", "/oauth/token?grant_type=client_credentials", "", wrong)
	})
}

// Whose secret token is replaced while an endpoint is challenged has to try again.
func TestReplacedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		app, sub := b.blue()
		token := b.token(app, "")
		b.hooks.foreign.Store(true)
		proves := b.hooks.handler(t)
		b.net.Handle(t, "fickle.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b.want(200, "POST", operator+"/apps/"+app.ID+"/secret_token", "{}")
			proves.ServeHTTP(w, r)
		}))
		b.want(409, "POST", ownSubscriptions, `{"events":["`+cnamEvent+`"],"event_webhook_url":"http://fickle.test/","subscription_scope":"account"}`, token)
		s, _ := b.db.Directory().Subscription(keyOf(t, sub.ID))
		moved := *s
		moved.URL = "http://fickle.test/"
		must(t, b.db.Change(hook.Change{Subscriptions: []*hook.Subscription{&moved}}, time.Now()))
		b.want(409, "POST", operator+"/subscriptions/"+sub.ID+"/validate", "")
		b.want(409, "POST", operator+"/apply", fmt.Sprintf(`{"apps":[{"name":"blue","account_id":"acme","scopes":["%s"],"subscriptions":[%s}]}]}`,
			cnamScope, strings.Replace(strings.Replace(hooks, "numbers", "new", 1), "hooks.test", "fickle.test", 1)))
	})
}

func keyOf(t *testing.T, id string) hook.SubscriptionKey {
	t.Helper()
	k, err := hook.KeyOf(id)
	must(t, err)
	return k
}

// What is left.
func TestRareAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		app, sub := b.blue()
		one := operator + "/subscriptions/" + sub.ID
		if v := get[struct{ Validations []PastValidation }](b.platform, one+"/validations").Validations; len(v) != 1 || !v[0].Valid || v[0].Occasion != hook.OnChange || v[0].URL != sub.URL {
			t.Errorf("validations: %+v", v)
		}
		if f := read[fault](t, b.want(400, "POST", one+"/validate?endpoint=x", "")); len(f.Errors) != 1 || f.Errors[0].Field != "endpoint" {
			t.Errorf("a wrong endpoint: %+v", f)
		}
		b.want(400, "POST", operator+"/apps/"+app.ID+"/secret_token", `{"overlap_seconds":-1}`)
		b.want(404, "POST", operator+"/resend?app_id=none", "")
	})
}
