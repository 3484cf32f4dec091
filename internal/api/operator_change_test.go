package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/memnet"
)

// bench is an empty platform in a bubble, with endpoints that prove themselves and some
// that do not.
type bench struct {
	*platform
	net   *memnet.Net
	hooks *endpoint
	names []string // what is random, each with what to call it
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{net: &memnet.Net{}, hooks: &endpoint{release: make(chan struct{})}}
	proves := b.hooks.handler(t)
	for host, h := range map[string]http.Handler{
		"hooks.test": proves, "other.test": proves, "dev.test": proves,
		"down.test": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }),
		"token.test": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"access_token":"t0ken","token_type":"bearer","expires_in":3600}`)
		}),
		"notoken.test": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }),
	} {
		b.net.Handle(t, host, h)
	}
	b.platform = newPlatform(t, options{net: b.net})
	return b
}

// is calls something random by a name from now on.
func (b *bench) is(random, name string) string {
	b.names = append(b.names, random, name)
	return random
}

// shown makes calls, in which names stand for what is random, and writes the answers.
func (b *bench) shown(calls ...string) string {
	b.t.Helper()
	var text strings.Builder
	for _, c := range calls {
		for i := 0; i < len(b.names); i += 2 {
			c = strings.ReplaceAll(c, b.names[i+1], b.names[i])
		}
		method, path, _ := strings.Cut(c, " ")
		text.WriteString(shown(b.platform, method+" "+operator+path))
	}
	return b.named(text.String())
}

// next is when an endpoint is asked again, which depends on the random id.
var next = regexp.MustCompile(`"next_validation_at": "[^"]+"`)

// named puts names in the place of what is random.
func (b *bench) named(text string) string {
	return next.ReplaceAllString(strings.NewReplacer(b.names...).Replace(text), `"next_validation_at": "NEXT"`)
}

const (
	blueApp = `{"name":"blue","account_id":"acme","secret_token":"` + secretToken + `","scopes":["` + cnamScope + `"],"carrier_codes":[1]}`
	hooks   = `{"event_subscription_name":"numbers","events":["` + cnamEvent + `"],"event_webhook_url":"http://hooks.test/hook"`
)

// blue makes an account and an app with a subscription that has a password.
func (b *bench) blue() (app NewApp, sub Subscription) {
	b.t.Helper()
	b.want(201, "PUT", operator+"/accounts/acme", `{"name":"Acme"}`)
	app = read[NewApp](b.t, b.want(201, "POST", operator+"/apps", blueApp))
	b.is(app.ID, "APP-ID")
	b.is(app.ClientID, "CLIENT-ID")
	b.is(app.ClientSecret, "CLIENT-SECRET")
	sub = read[Subscription](b.t, b.want(201, "POST", operator+"/apps/"+app.ID+"/subscriptions",
		hooks+`,"custom_header":{"custom_header_type":1,"username":"ann","password":"password-of-ann"}}`))
	b.is(sub.ID, "SUBSCRIPTION-ID")
	return app, sub
}

// An operator makes a platform of nothing, one thing at a time: each call says what its
// thing is now, changes what its body names, leaves everything else, and leaves an
// entry in the audit trail for each thing that has changed.
func TestOneThingAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		text := b.shown(
			`PUT /accounts/acme {"name":"Acme","owner_email":"ann@acme.test"}`,
			`PUT /accounts/branch {"master_account_id":"acme"}`,
			`PUT /accounts/acme {"owner_email":"bob@acme.test"}`,
			`PUT /accounts/acme {"owner_email":"bob@acme.test"}`,
			`PUT /accounts/acme/user_groups/sales`,
			`PUT /accounts/acme/user_groups/support`,
			`PUT /accounts/acme/user_groups/sales`,
			`PUT /accounts/acme/users/ann {"groups":["support","sales"]}`,
			`PUT /accounts/acme/users/bob {}`,
			`PUT /accounts/acme/users/ann {}`,
			`PUT /accounts/acme/users/bob {"groups":["sales"]}`,
			`GET /accounts/acme`,
			`DELETE /accounts/acme/user_groups/sales`,
			`DELETE /accounts/acme/users/bob`,
			`PUT /accounts/acme {"owner_email":null,"users":[{"id":"carl"}],"user_groups":["support","press"]}`,
		)
		a := read[NewApp](t, b.want(201, "POST", operator+"/apps", blueApp))
		b.is(a.ID, "APP-ID")
		b.is(a.ClientID, "CLIENT-ID")
		b.is(a.ClientSecret, "CLIENT-SECRET")
		text += "== POST /apps " + blueApp + "\n201\n" + b.named(indent(b.answers[len(b.answers)-1].body)) + b.shown(
			`PUT /apps/APP-ID {"state":"development"}`,
			`PUT /apps/APP-ID {"scopes":["`+cnamScope+`","b:read"],"carrier_codes":null,"disabled":true}`,
			`PUT /apps/APP-ID {"disabled":false,"carrier_codes":[2,1]}`,
			`PUT /apps/APP-ID {}`,
			`PUT /apps/APP-ID/installations?account_id=branch`,
			`PUT /apps/APP-ID/installations?account_id=branch`,
			`PUT /apps/APP-ID/installations?account_id=acme&user_id=carl`,
			`DELETE /apps/APP-ID/installations?account_id=branch`,
		)
		made := b.want(201, "POST", operator+"/apps/"+a.ID+"/subscriptions",
			hooks+`,"development_webhook_url":"http://dev.test/hook","max_in_flight":4,"custom_header":{"custom_header_type":1,"username":"ann","password":"password-of-ann"}}`)
		b.is(read[Subscription](t, made).ID, "SUBSCRIPTION-ID")
		text += "== POST /apps/APP-ID/subscriptions\n201\n" + b.named(indent(made.body))
		time.Sleep(time.Minute) // so that one sees what is new
		text += b.shown(
			`PUT /subscriptions/SUBSCRIPTION-ID {"max_per_second":2.5,"development_webhook_url":null}`,
			`PUT /subscriptions/SUBSCRIPTION-ID {"event_webhook_url":"http://other.test/hook"}`,
			`PUT /subscriptions/SUBSCRIPTION-ID {"custom_header":{"custom_header_type":3,"custom_header_key":"X-Key","custom_header_value":"value-of-the-header"}}`,
			`PUT /subscriptions/SUBSCRIPTION-ID {"subscription_scope":"user","account_id":"acme","user_ids":["carl"]}`,
			`PUT /subscriptions/SUBSCRIPTION-ID {"custom_header":null,"disabled":true}`,
			`PUT /subscriptions/SUBSCRIPTION-ID {"max_in_flight":null}`,
			`PUT /subscriptions/SUBSCRIPTION-ID {"disabled":false}`,
			`PUT /subscriptions/SUBSCRIPTION-ID {}`,
			`GET /audit?page_size=100`,
		)
		golden(t, "things.golden", text)
	})
}

// What is wrong with a call is said in the caller's own words, nothing of it is done,
// nobody is challenged, and the audit trail says nothing.
func TestFaultsOfOneThing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		app, sub := b.blue()
		b.shown(`PUT /accounts/branch {"master_account_id":"acme"}`, `PUT /accounts/other {}`, `PUT /accounts/acme/user_groups/sales`, `PUT /accounts/acme/users/ann {"groups":["sales"]}`)
		own := hook.Subscription{
			ID: b.is(hook.NewID(), "OWN-ID"), App: app.ID, Name: "own", Events: []string{cnamEvent}, Scope: hook.ScopeAccount, Subscribers: []hook.Subscriber{{Account: "acme"}},
			Source: hook.SourceOpenAPI, Endpoint: hook.Endpoint{URL: "http://hooks.test/own", State: hook.Valid, StateSince: time.Now(), Checked: time.Now()}, Created: time.Now(),
		}
		own.Key, _ = hook.KeyOf(own.ID)
		must(t, b.db.Change(hook.Change{Subscriptions: []*hook.Subscription{&own}}, time.Now()))
		before, logged := b.state(), b.log.String()

		const subs, one = "POST /apps/APP-ID/subscriptions ", "PUT /subscriptions/SUBSCRIPTION-ID "
		text := b.shown(
			// Accounts.
			`PUT /accounts/a%20b {}`,
			`PUT /accounts/acme {"id":"acne"}`,
			`PUT /accounts/acme {"owner_email":"ann","master_account_id":"acme"}`,
			`PUT /accounts/acme {"master_account_id":"other"}`,
			`PUT /accounts/other {"master_account_id":"branch"}`,
			`PUT /accounts/other {"master_account_id":"none"}`,
			`PUT /accounts/acme {"users":[{"id":"x"},{"id":"a b"},{"id":"x","groups":["none"]}],"user_groups":["a b","press","press"]}`,
			`PUT /accounts/acme {"name":7}`,
			`PUT /accounts/acme {"names":"x"}`,
			`PUT /accounts/acme {"Name":"x"}`,
			`PUT /accounts/acme [{"name":"x"}]`,
			`PUT /accounts/acme null`,
			`PUT /accounts/acme {"name":`,
			`PUT /accounts/acme`,
			`GET /accounts/none`,

			// Users and groups.
			`PUT /accounts/none/users/ann {}`,
			`PUT /accounts/acme/users/a%20b {"groups":["none"]}`,
			`PUT /accounts/acme/users/ann {"id":"bob"}`,
			`PUT /accounts/acme/users/ann {"groups":"sales"}`,
			`PUT /accounts/acme/users/ann {"group":"sales"}`,
			`DELETE /accounts/none/users/ann`,
			`DELETE /accounts/acme/users/none`,
			`PUT /accounts/none/user_groups/sales`,
			`PUT /accounts/acme/user_groups/a%20b`,
			`DELETE /accounts/none/user_groups/sales`,
			`DELETE /accounts/acme/user_groups/none`,

			// Apps.
			`POST /apps `+blueApp,
			`POST /apps {}`,
			`POST /apps {"name":"x","account_id":"none","secret_token":"short","scopes":["a b"],"state":"testing"}`,
			`POST /apps {"name":"x","account_id":"acme","carrier_codes":[1.5]}`,
			`POST /apps {"name":"x","account_id":"acme","subscriptions":[]}`,
			`PUT /apps/none {}`,
			`PUT /apps/APP-ID {"name":"green"}`,
			`PUT /apps/APP-ID {"account_id":"other"}`,
			`PUT /apps/APP-ID {"names":"green"}`,
			`PUT /apps/APP-ID {"secret_token":"short","scopes":["a,b"],"state":"testing"}`,
			`PUT /apps/APP-ID {"disabled":"yes"}`,
			`PUT /apps/APP-ID {"carrier_codes":[99999999999]}`,

			// Installations.
			`PUT /apps/none/installations?account_id=acme`,
			`PUT /apps/APP-ID/installations`,
			`PUT /apps/APP-ID/installations?account_id=none&user_id=a%20b`,
			`PUT /apps/APP-ID/installations?account_id=acme&user=ann`,
			`DELETE /apps/none/installations?account_id=acme`,
			`DELETE /apps/APP-ID/installations?user_id=ann`,
			`DELETE /apps/APP-ID/installations?account_id=acme&user_id=ann`,

			// Subscriptions.
			`POST /apps/none/subscriptions `+hooks+`}`,
			subs+hooks+`}`,
			subs+`{}`,
			subs+`{"event_subscription_name":"s","events":["none"],"event_webhook_url":"ftp://x","development_webhook_url":"http://10.0.0.1/","subscription_scope":"team","account_id":"none","user_ids":["a b"],
				"max_in_flight":-1,"max_per_second":-1,"custom_header":{"custom_header_type":3,"custom_header_key":"Host","custom_header_value":""}}`,
			subs+`{"event_subscription_name":"s","events":"none"}`,
			subs+`{"event_subscription_name":"s","custom_header":{"custom_header_type":"1"}}`,
			subs+`{"event_subscription_name":"s","custom_header":{"value":"x"}}`,
			`PUT /subscriptions/none {}`,
			`PUT /subscriptions/OWN-ID {"max_in_flight":1}`,
			one+`{"event_subscription_name":"s"}`,
			one+`{"events":[],"event_webhook_url":"","subscription_scope":"user"}`,
			one+`{"custom_header":{"custom_header_type":9}}`,
			one+`{"max_in_flight":"4"}`,
		)
		golden(t, "things_faults.golden", text)
		if after := b.state(); after != before {
			t.Errorf("the platform was\n%s\nand is\n%s", before, after)
		}
		if asked := challenges(b, sub.ID); asked != 1 {
			t.Errorf("the endpoint was challenged %d times", asked)
		}
		if log := strings.TrimPrefix(b.log.String(), logged); log != "" {
			t.Errorf("the log has %s", log)
		}
	})
}

// state returns all that the API shows of what is configured, and of the audit trail.
func (b *bench) state() string { return state(b.platform) }

func state(p *platform) string {
	p.t.Helper()
	paths := []string{"/accounts", "/apps", "/subscriptions", "/carriers", "/numbers?page_size=300", "/event_types", "/notices", "/deliveries", "/audit?page_size=300"}
	for _, x := range get[struct{ Apps []App }](p, operator+"/apps").Apps {
		paths = append(paths, "/apps/"+x.ID+"/secret_token")
	}
	var text strings.Builder
	for _, path := range paths {
		text.WriteString(p.want(200, "GET", operator+path, "").body)
	}
	return text.String()
}

func challenges(b *bench, sub string) int {
	b.t.Helper()
	return len(get[struct{ Challenges []Attempt }](b.platform, operator+"/subscriptions/"+sub+"/challenges").Challenges)
}

// A subscription whose endpoint does not prove itself is refused, with the reason at the
// field that names the endpoint, and nothing of it is kept; one that exists stays as it
// was. Only apply keeps it, as pending.
func TestUnprovenIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		body   string
		faults hook.Faults
	}{
		"production": {`"event_webhook_url":"http://down.test/"`, hook.Faults{
			{Field: "/event_webhook_url", Message: "did not prove itself: the endpoint answered with status 500, want 200"}}},
		"nobody there": {`"event_webhook_url":"http://gone.test/"`, hook.Faults{
			{Field: "/event_webhook_url", Message: "did not prove itself: the connection was refused"}}},
		"development": {`"event_webhook_url":"http://hooks.test/","development_webhook_url":"http://down.test/"`, hook.Faults{
			{Field: "/development_webhook_url", Message: "did not prove itself: the endpoint answered with status 500, want 200"}}},
		"both": {`"event_webhook_url":"http://down.test/","development_webhook_url":"http://down.test/dev"`, hook.Faults{
			{Field: "/event_webhook_url", Message: "did not prove itself: the endpoint answered with status 500, want 200"},
			{Field: "/development_webhook_url", Message: "did not prove itself: the endpoint answered with status 500, want 200"}}},
		"token URL": {`"event_webhook_url":"http://other.test/","custom_header":{"custom_header_type":2,"client_id":"c","client_secret":"secret-of-the-client","token_url":"http://notoken.test/"}`, hook.Faults{
			{Field: "/custom_header/token_url", Message: "gave no access token: the token URL answered with status 403, want 200"}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				app, sub := b.blue()
				before := b.state()
				refused := func(method, path, body string) {
					t.Helper()
					a := b.want(400, method, operator+path, body)
					if f := read[fault](t, a); f.Code != 300 || !slices.Equal(f.Errors, c.faults) {
						t.Errorf("%s: %s", a.call, a.body)
					}
					if after := b.state(); after != before {
						t.Errorf("%s: the platform was\n%s\nand is\n%s", a.call, before, after)
					}
				}
				refused("POST", "/apps/"+app.ID+"/subscriptions", `{"event_subscription_name":"new","events":["`+cnamEvent+`"],`+c.body+`}`)
				refused("PUT", "/subscriptions/"+sub.ID, `{"max_in_flight":9,`+c.body+`}`)

				// For comparison.
				plan := read[manage.Plan](t, b.want(200, "POST", operator+"/apply", `{"apps":[{"name":"blue","account_id":"acme","scopes":["`+cnamScope+`"],"carrier_codes":[1],
					"subscriptions":[{"event_subscription_name":"new","events":["`+cnamEvent+`"],`+c.body+`}]}]}`))
				if s := b.subscription("new"); plan.Failures() != 1 || s.State != hook.Pending && (s.Development == nil || s.Development.State != hook.Pending) {
					t.Errorf("apply made %+v of it: %+v", s, plan)
				}
			})
		})
	}
}

// A URL can be changed without knowing the password, which stays; and what a body does
// not name is proven with it.
func TestWhatIsNotNamedStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		_, sub := b.blue()
		b.want(200, "PUT", operator+"/subscriptions/"+sub.ID, `{"event_webhook_url":"http://other.test/hook"}`)
		b.publish(cnam("x"))
		synctest.Wait()
		got := b.hooks.requests()
		if len(got) != 1 || got[0].host != "other.test" || got[0].header.Get("Authorization") != "Basic YW5uOnBhc3N3b3JkLW9mLWFubg==" {
			t.Errorf("requests are %+v", got)
		}
	})
}

// A body says what is to be different, and null takes a member back to its default. What it does not say stays, and lists and objects are taken
// as a whole.
func TestReadChange(t *testing.T) {
	for body, want := range map[string]string{
		`{}`: `{"event_subscription_name":"s","events":["a","b"],"event_webhook_url":"u","custom_header":{"custom_header_type":1,"username":"ann"},"max_in_flight":4}`,
		`{"events":["c"],"event_webhook_url":"v","max_in_flight":null}`: `{"event_subscription_name":"s","events":["c"],"event_webhook_url":"v","custom_header":{"custom_header_type":1,"username":"ann"}}`,
		`{"events":null,"events":["d"],"custom_header":null}`:           `{"event_subscription_name":"s","events":["d"],"event_webhook_url":"u","max_in_flight":4}`,
		`{"custom_header":{"custom_header_type":3},"disabled":true}`:    `{"event_subscription_name":"s","events":["a","b"],"event_webhook_url":"u","custom_header":{"custom_header_type":3},"max_in_flight":4,"disabled":true}`,
	} {
		_, change, err := readChange[manage.Subscription](httptest.NewRecorder(), httptest.NewRequest("PUT", "/", strings.NewReader(body)))
		must(t, err)
		s := manage.Subscription{Name: "s", Events: []string{"a", "b"}, URL: "u", MaxInFlight: 4, CustomHeader: &manage.CustomHeader{Type: 1, Username: "ann"}}
		events := s.Events
		must(t, change(&s))
		got, err := json.Marshal(s)
		must(t, err)
		if string(got) != want {
			t.Errorf("%s makes %s of it, want %s", body, got, want)
		}
		if events[0] != "a" {
			t.Errorf("%s has changed what others hold", body)
		}
	}
}

// An app has at most 20 subscriptions, whoever makes them.
func TestSubscriptionsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		app, _ := b.blue()
		for i := range 19 {
			b.want(201, "POST", operator+"/apps/"+app.ID+"/subscriptions", strings.Replace(hooks, "numbers", fmt.Sprint("s", i), 1)+"}")
		}
		before := b.state()
		a := b.want(409, "POST", operator+"/apps/"+app.ID+"/subscriptions", strings.Replace(hooks, "numbers", "more", 1)+"}")
		if want := "Conflict: app " + app.ID + ": has 20 event subscriptions already, and at most 20 are allowed"; read[fault](t, a).Message != want || b.state() != before {
			t.Errorf("refused with %s", a.body)
		}
	})
}

// Those who change different things at once do not undo one another's work.
func TestChangesAtOnce(t *testing.T) {
	p := newPlatform(t, options{idle: true})
	p.want(201, "PUT", operator+"/accounts/acme", `{}`)
	app := read[NewApp](t, p.want(201, "POST", operator+"/apps", `{"name":"x","account_id":"acme"}`))
	calls := []string{
		"PUT /accounts/acme {\"name\":\"Acme\"}", "PUT /accounts/acme {\"owner_email\":\"ann@acme.test\"}",
		"PUT /apps/" + app.ID + " {\"scopes\":[\"a\"]}", "PUT /apps/" + app.ID + " {\"state\":\"development\"}", "PUT /apps/" + app.ID + " {\"carrier_codes\":[7]}",
	}
	for i := range 8 {
		calls = append(calls, fmt.Sprintf("PUT /accounts/acme/users/u%d {}", i), fmt.Sprintf("PUT /accounts/acme/user_groups/g%d", i), fmt.Sprintf("PUT /apps/%s/installations?account_id=acme&user_id=u%d", app.ID, i))
	}
	var wg sync.WaitGroup
	for _, c := range calls {
		method, path, _ := strings.Cut(c, " ")
		path, body, _ := strings.Cut(path, " ")
		wg.Go(func() {
			if a := p.call(method, operator+path, body); a.status != 200 && a.status != 201 {
				t.Errorf("%s: %d %s", a.call, a.status, a.body)
			}
		})
	}
	wg.Wait()
	account, x := get[Account](p, operator+"/accounts/acme"), get[App](p, operator+"/apps/"+app.ID)
	if account.Name != "Acme" || account.OwnerEmail != "ann@acme.test" || len(account.Users) != 8 || len(account.Groups) != 8 {
		t.Errorf("the account is %+v", account)
	}
	if len(x.Scopes) != 1 || x.State != hook.Development || len(x.CarrierCodes) != 1 || len(x.Installations) != 8 {
		t.Errorf("the app is %+v", x)
	}
	// Of two that make the same one is first.
	var made [2]reply
	for i := range made {
		wg.Go(func() { made[i] = p.call("POST", operator+"/apps", `{"name":"y","account_id":"acme"}`) })
	}
	wg.Wait()
	if got := []int{made[0].status, made[1].status}; !slices.Contains(got, 201) || !slices.Contains(got, 409) {
		t.Errorf("answered with %v", got)
	}
}

// What one call makes is the same as what apply makes of a manifest, which then finds
// nothing to change.
func TestApplyFindsNothingToChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		app, _ := b.blue()
		b.shown(`PUT /accounts/acme/user_groups/sales`, `PUT /accounts/acme/users/ann {"groups":["sales"]}`, `PUT /apps/APP-ID/installations?account_id=acme&user_id=ann`)
		plan := b.apply(&manage.Manifest{
			Accounts: []manage.Account{{ID: "acme", Name: "Acme", Users: []manage.User{{ID: "ann", Groups: []string{"sales"}}}, Groups: []string{"sales"}}},
			Apps: []manage.App{{
				Name: "blue", Account: "acme", SecretToken: secretToken, Scopes: []string{cnamScope}, CarrierCodes: []int32{1},
				Installations: []manage.Installation{{Account: "acme", User: "ann"}},
				Subscriptions: []manage.Subscription{{
					Name: "numbers", Events: []string{cnamEvent}, URL: "http://hooks.test/hook", CustomHeader: &manage.CustomHeader{Type: 1, Username: "ann", Password: "password-of-ann"},
				}},
			}},
		})
		if plan.Changes() != 0 || plan.Failures() != 0 || len(plan.Steps) != 6 || plan.Steps[3].ID != app.ID {
			t.Errorf("plan: %+v", plan)
		}
	})
}
