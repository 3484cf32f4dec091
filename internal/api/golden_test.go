package api

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/memnet"
	"github.com/switchhook/switchhook/internal/store"
)

// goldenPlatform is a platform in a bubble, where it is the first of January 2000
// and everything has the same name each time: a carrier with a subscription in
// every mode of authentication, and endpoints that answer in different ways.
func goldenPlatform(t *testing.T, o options) *platform {
	t.Helper()
	var net memnet.Net
	answers := map[string]http.HandlerFunc{
		"none.test": func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(120 * time.Millisecond)
			w.Header().Set("Set-Cookie", "session=abc")
			fmt.Fprintf(w, "signed with %s, \xff <ok>", secretToken)
		},
		"basic.test":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) },
		"oauth.test":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"header.test": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"token.test": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"access_token":"t0ken","token_type":"bearer","expires_in":3600}`)
		},
	}
	for host, h := range answers {
		net.Handle(t, host, h)
	}
	o.net, o.schedule = &net, hook.DefaultSchedule()
	p := newPlatform(t, o)
	now := time.Now()
	change := hook.Change{
		Accounts: []*hook.Account{
			{ID: "carrier", Name: "Blue Carrier", OwnerEmail: "owner@carrier.test"},
			{ID: "customer", Master: "holding"}, {ID: "holding"},
		},
		Apps: []*hook.App{{
			ID: "app", Name: "number sync", Account: "carrier", ClientID: "client-id", Scopes: []string{cnamScope},
			CarrierCodes: []int32{1}, SecretToken: secretToken, Created: now,
		}},
		Installations: []hook.Installation{{App: "app", Account: "customer", User: "u1"}, {App: "app", Account: "holding"}},
	}
	for i, s := range []hook.Subscription{
		{Name: "none", Endpoint: hook.Endpoint{State: hook.Valid}},
		{Name: "basic", Endpoint: hook.Endpoint{State: hook.Failing, StateReason: "the endpoint answered with status 500, want 200"}, Auth: hook.Auth{Mode: hook.AuthBasic, Username: "ann", Password: "password"}},
		{Name: "oauth", Endpoint: hook.Endpoint{State: hook.Valid}, Auth: hook.Auth{
			Mode: hook.AuthOAuth, ClientID: "client", ClientSecret: "oauth-secret", TokenURL: "http://token.test/token", Scope: "s", State: "st", InBody: true,
		}},
		{Name: "header", Endpoint: hook.Endpoint{State: hook.Valid}, Auth: hook.Auth{Mode: hook.AuthHeader, Header: "X-Api-Key", Value: "header-value"}},
		{Name: "users", Endpoint: hook.Endpoint{State: hook.Disabled, StateReason: "disabled by the operator"}, Scope: hook.ScopeUser, Subscribers: []hook.Subscriber{{Account: "customer", Users: []string{"u1"}, Groups: []string{"g1"}}}, Limits: hook.Limits{InFlight: 4, PerSecond: 2.5}},
		{Name: "pending", Endpoint: hook.Endpoint{State: hook.Pending}, Source: hook.SourceOpenAPI, Auth: hook.Auth{
			Mode: hook.AuthOAuth, ClientID: "client", ClientSecret: "oauth-secret", TokenURL: "http://token.test/token",
		}},
	} {
		s.ID = fmt.Sprintf("AAAAAAAA%dAAAAAAAAAAAAA", i+1)
		var err error
		s.Key, err = hook.KeyOf(s.ID)
		must(t, err)
		s.App, s.Events, s.URL, s.StateSince, s.Created = "app", []string{cnamEvent}, "http://"+s.Name+".test/hook", now, now.Add(time.Duration(i))
		if s.Scope == "" {
			s.Scope, s.Subscribers = hook.ScopeAccount, []hook.Subscriber{{}}
		}
		if s.Source == "" {
			s.Source = hook.SourceDefault
		}
		change.Subscriptions = append(change.Subscriptions, &s)
	}
	must(t, p.db.Change(change, now))
	return p
}

// span is what is random in the trace id of an attempt.
var span = regexp.MustCompile(`(rid=WEB_[0-9a-f]{16})[0-9a-f]{16}`)

// shown writes answers to calls for a golden file.
func shown(p *platform, calls ...string) string {
	var b strings.Builder
	for _, c := range calls {
		method, path, _ := strings.Cut(c, " ")
		path, body, _ := strings.Cut(path, " ")
		a := p.call(method, path, body)
		fmt.Fprintf(&b, "== %s\n%d\n%s\n", c, a.status, span.ReplaceAllString(strings.TrimSpace(indent(a.body)), "${1}SPAN"))
	}
	return b.String()
}

// How everything looks that the API shows. Secrets are stars.
func TestAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := goldenPlatform(t, options{})
		golden(t, "subscriptions.golden", shown(p, "GET "+operator+"/subscriptions", "GET "+operator+"/subscriptions/AAAAAAAA4AAAAAAAAAAAAA"))
		golden(t, "apps.golden", shown(p, "GET "+operator+"/accounts", "GET "+operator+"/apps", "GET "+operator+"/apps/app", "GET "+operator+"/apps/app/secret_token"))
		golden(t, "event_types.golden", shown(p, "GET "+operator+"/event_types", "GET "+operator+"/event_types?product=number_management", "GET "+operator+"/event_types/"+cnamEvent))

		event := strings.Replace(cnam("B\u00e4ckerei & Söhne \u2028<3"), "{", `{"event_ts":946684799750,"$routing":{"user_ids":["u1"],"user_group_ids":["g1"]},`, 1)
		a := p.publish(event)
		time.Sleep(time.Second)
		synctest.Wait()
		id := func(sub int) string {
			t.Helper()
			return get[Event](p, operator+"/events/"+a.Event).Deliveries[sub].ID
		}
		golden(t, "event.golden", shown(p, "GET "+operator+"/events/"+a.Event))
		time.Sleep(time.Hour)
		synctest.Wait()
		text := shown(p, "POST "+operator+"/deliveries/"+id(1)+"/resend", "POST "+operator+"/deliveries/"+id(3)+"/resend")
		time.Sleep(time.Second)
		synctest.Wait()
		golden(t, "deliveries.golden", text+shown(p,
			"GET "+operator+"/deliveries/"+id(0), "GET "+operator+"/deliveries/"+id(1), "GET "+operator+"/deliveries/"+id(2), "GET "+operator+"/deliveries/"+id(3),
			"GET "+operator+"/deliveries?page_size=2&state=failed,waiting,delivered",
			"POST "+operator+"/subscriptions/AAAAAAAA4AAAAAAAAAAAAA/validate",
			"POST "+operator+"/subscriptions/AAAAAAAA4AAAAAAAAAAAAA/disable",
			"GET "+operator+"/subscriptions/AAAAAAAA4AAAAAAAAAAAAA"))
		time.Sleep(time.Second)
		synctest.Wait()
		golden(t, "cancelled.golden", shown(p, "GET "+operator+"/deliveries/"+id(3), "POST "+operator+"/resend?state=cancelled"))
	})
}

// How each kind of mistake is answered. Clients match on these.
func TestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		p := goldenPlatform(t, options{idle: true, store: func(db *store.DB) intake.Store {
			g.Store = db
			return g
		}})
		var b strings.Builder
		mistake := func(kind, method, path, body string, edit ...func(*http.Request)) {
			a := p.call(method, path, body, edit...)
			fmt.Fprintf(&b, "== %s: %s\n%d", kind, a.call, a.status)
			for _, name := range []string{"Content-Type", "Retry-After", "Allow"} {
				if v := a.header.Get(name); v != "" {
					fmt.Fprintf(&b, " %s: %s", name, v)
				}
			}
			fmt.Fprintf(&b, "\n%s\n", strings.TrimSpace(indent(a.body)))
		}
		keyed := header("Idempotency-Key", "k")
		p.want(202, "POST", "/v2/events", cnam("x"), keyed)
		mistake("invalid, one fault", "GET", operator+"/deliveries?page_size=301", "")
		mistake("invalid, several faults", "GET", operator+"/deliveries?state=done&event_subscription_id=x&from=today&to=1&page_size=x&next_page_token=x&limit=5&a=b", "")
		mistake("invalid event", "POST", "/v2/events", `{"event":"`+cnamEvent+`","payload":{"object":[]},"event_ts":1}`)
		mistake("invalid events", "POST", "/v2/events", `[{},{"event":"<none>","payload":{"account_id":"a"}}]`)
		mistake("invalid lines", "POST", "/v2/events", "{}\n"+cnam("x")+"\nnull", ndjson)
		mistake("invalid manifest", "POST", operator+"/apply", `{"accounts":[{"id":"a b"}],"apps":[{"name":"x","account_id":"none","secret_token":"short","subscriptions":[{"event_subscription_name":"s","events":["none"],"event_webhook_url":"ftp://x","custom_header":{"custom_header_type":3,"custom_header_key":"Host","custom_header_value":"v"}}]}]}`)
		mistake("invalid document", "POST", operator+"/catalog", `{"openapi":`)
		mistake("invalid mode", "PUT", operator+"/event_types/"+cnamEvent+"/check", `{"check":"maybe"}`)
		mistake("not found", "GET", operator+"/events/00000000_0000_0001", "")
		mistake("not found", "GET", operator+"/deliveries/00000000_0000_0001_0000_000000000001", "")
		mistake("not found", "GET", operator+"/event_types/%22none%22", "")
		mistake("not found", "GET", operator+"/nothing", "")
		mistake("another method", "PATCH", operator+"/apps/app", "{}")
		mistake("conflict", "POST", "/v2/events", cnam("y"), keyed)
		mistake("unauthenticated", "GET", operator+"/apps", "", with(""))
		mistake("forbidden", "GET", operator+"/apps", "", with(publishKey))
		mistake("too large", "POST", "/v2/events", sized(intake.MaxEvent+1))
		mistake("too large", "POST", operator+"/apply", strings.Repeat(" ", maxDocument)+"{}")
		g.shut.Store(true)
		mistake("unavailable", "POST", "/v2/events", cnam("x"))
		mistake("unavailable, an array", "POST", "/v2/events", "["+cnam("x")+"]")
		mistake("unavailable, a stream", "POST", "/v2/events", cnam("x"), ndjson)
		g.Store, _ = broken{}, g.shut.Swap(false)
		mistake("none of our business", "POST", "/v2/events", cnam("x"))
		golden(t, "errors.golden", b.String())
	})
}
