package api

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/memnet"
)

const (
	subscriptions = "/v2/marketplace/app/event_subscription"
	orderEvent    = "shop.order_created"
)

// program is a program of an app, which calls the public API with a token.
type program struct {
	*platform
	app, token string
}

// program obtains a token for an app to act for an account, or for its own one.
func (p *platform) program(c manage.Credentials, account string) *program {
	p.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}}
	if account != "" {
		form = url.Values{"grant_type": {"account_credentials"}, "account_id": {account}}
	}
	a := p.want(http.StatusOK, "POST", "/oauth/token", form.Encode(), with(""), header("Content-Type", "application/x-www-form-urlencoded"),
		func(r *http.Request) { r.SetBasicAuth(c.ClientID, c.ClientSecret) })
	return &program{p, c.AppID, read[AccessToken](p.t, a).Token}
}

// call makes a call with the program's token. It has the Content-Type that the
// official client sends with each.
func (c *program) call(method, path, body string) reply {
	c.t.Helper()
	return c.platform.call(method, path, body, with(c.token), header("Content-Type", "application/json"))
}

func (c *program) want(status int, method, path, body string) reply {
	c.t.Helper()
	a := c.call(method, path, body)
	if a.status != status {
		c.t.Fatalf("%s: status %d, want %d: %s", a.call, a.status, status, a.body)
	}
	return a
}

// creates makes a subscription and returns its id.
func (c *program) creates(s OwnSubscription) string {
	c.t.Helper()
	body, err := json.Marshal(s)
	must(c.t, err)
	a := c.want(http.StatusCreated, "POST", subscriptions, string(body))
	return read[struct {
		ID string `json:"event_subscription_id"`
	}](c.t, a).ID
}

// subscriptionPage is a page of the list of subscriptions.
type subscriptionPage struct {
	Next     string          `json:"next_page_token"`
	PageSize int             `json:"page_size"`
	Rows     []SubscriberRow `json:"event_subscriptions"`
}

func (c *program) list(query string) subscriptionPage {
	c.t.Helper()
	return read[subscriptionPage](c.t, c.want(http.StatusOK, "GET", subscriptions+"?"+query, ""))
}

// logPage is a page of the webhook log.
type logPage struct {
	Next     string   `json:"next_page_token"`
	PageSize int      `json:"page_size"`
	Rows     []LogRow `json:"webhook_logs"`
}

func (c *program) logs(query string) logPage {
	c.t.Helper()
	return read[logPage](c.t, c.want(http.StatusOK, "GET", "/v2/marketplace/apps/"+c.app+"/webhook_logs?"+query, ""))
}

// order is an event that concerns a user of an account.
func order(account, user string) string {
	return fmt.Sprintf(`{"event":"%s","$routing":{"user_ids":["%s"]},"payload":{"account_id":"%s","object":{"cnam":"ok"}}}`, orderEvent, user, account)
}

// offerOrders describes an event type that users may ask for themselves.
func offerOrders(t testing.TB, p *platform) {
	t.Helper()
	doc, err := catalog.Parse([]byte(`{"openapi":"3.1.0","info":{"title":"Shop"},"webhooks":{"` + orderEvent + `":{"post":{
		"x-switchhook-scopes":{"classic":["shop:read","shop:read:admin"]},"requestBody":{}}}}}`))
	must(t, err)
	p.catalog.Put(doc)
}

// ownManifest is a carrier with people and an app that manages its subscriptions
// itself, and a customer who has installed it.
func ownManifest() *manage.Manifest {
	return &manage.Manifest{
		Accounts: []manage.Account{
			{ID: "carrier", Users: []manage.User{{ID: "ada"}, {ID: "bob", Groups: []string{"night"}}, {ID: "eve"}}, Groups: []string{"night"}},
			{ID: "customer", Users: []manage.User{{ID: "cid"}}},
		},
		Apps: []manage.App{{
			Name: "number sync", Account: "carrier", SecretToken: secretToken, CarrierCodes: []int32{1},
			Scopes: []string{cnamScope, "shop:read", scopeLogs}, Installations: []manage.Installation{{Account: "customer"}},
		}},
	}
}

// The whole way of a program that manages its subscriptions itself, over HTTP: it
// obtains a token, subscribes, gets what it is owed, reads the log, changes who is
// subscribed, and leaves.
func TestMarketplaceStory(t *testing.T) {
	p := newPlatform(t, options{schedule: hook.Schedule{time.Hour}})
	offerOrders(t, p)
	e := newEndpoint(t)
	creds := p.apply(ownManifest()).Credentials[0]
	c := p.program(creds, "carrier")
	if got := c.list(""); len(got.Rows) != 0 || got.Next != "" || got.PageSize != 30 {
		t.Errorf("before there is anything: %+v", got)
	}

	// It is served as soon as its endpoint has answered the challenge.
	id := c.creates(OwnSubscription{Name: "orders", Events: []string{orderEvent}, URL: e.url, Scope: "user", Account: "carrier", Users: []string{"ada, bob"}})
	if !regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`).MatchString(id) {
		t.Errorf("the id is %q", id)
	}
	published := p.publish(order("carrier", "ada"))
	if published.Deliveries != 1 || p.publish(order("carrier", "eve")).Deliveries != 0 {
		t.Errorf("it is owed what concerns its users, and no more: %+v", published)
	}
	delivered := p.await(published.Event, p.subscription("orders"), hook.Delivered)
	got := e.requests()
	if len(got) != 1 {
		t.Fatalf("%d requests", len(got))
	}
	checkHeaders(t, got[0], creds.ClientID, map[string]string{"X-Zm-Request-Id": regexp.QuoteMeta(delivered.ID)})

	// The log says so, with what was sent and answered.
	rows := c.logs("type=3&event=" + orderEvent + "&retry_num=0").Rows
	if len(rows) != 1 {
		t.Fatalf("the log has %+v", rows)
	}
	row := rows[0]
	if row.Event != orderEvent || row.Status != 204 || row.Reason != 0 || row.User != "ada" || row.Endpoint != e.url || row.Subscription != id || row.Retry != 0 ||
		row.RequestID != delivered.ID || row.RequestBody != got[0].body || row.Trace != got[0].header.Get("X-Zm-Trackingid") {
		t.Errorf("the log has %+v", row)
	}
	var sent map[string]string
	must(t, json.Unmarshal([]byte(row.RequestHeader), &sent))
	for name, values := range got[0].header {
		if want := values[0]; name != "X-Zm-Signature" && sent[strings.ToLower(name)] != want {
			t.Errorf("%s was sent as %q, and logged as %q", name, want, sent[strings.ToLower(name)])
		}
	}
	if len(sent) != len(got[0].header) || sent["x-zm-signature"] != "v0=********" {
		t.Errorf("the log has the headers %v", sent)
	}
	if rows := c.logs("").Rows; len(rows) != 0 {
		t.Errorf("nothing failed, and the log has %+v", rows)
	}
	busy := p.publish(strings.Replace(order("carrier", "bob"), `"ok"`, `"busy"`, 1))
	eventually(t, func() bool { return len(c.logs("").Rows) == 1 })
	if row := c.logs("type=2").Rows[0]; row.Status != 500 || row.User != "bob" || !strings.HasPrefix(row.RequestID, busy.Event) {
		t.Errorf("what failed is logged as %+v", row)
	}

	// Who is subscribed changes, and counts for the very next event.
	c.want(204, "PATCH", subscriptions+"/"+id, `{"account_id":"carrier","user_ids":["eve"]}`)
	if n := p.publish(order("carrier", "eve")).Deliveries; n != 1 {
		t.Errorf("subscribed: %d deliveries", n)
	}
	c.want(204, "PATCH", subscriptions+"/"+id, `{"account_id":"customer","user_ids":["cid"]}`)
	if n := p.publish(order("customer", "cid")).Deliveries; n != 1 {
		t.Errorf("subscribed in another account: %d deliveries", n)
	}
	c.want(204, "DELETE", subscriptions+"?event_subscription_id="+id+"&account_id=carrier&user_ids=ada,eve", "")
	if n := p.publish(order("carrier", "eve")).Deliveries + p.publish(order("carrier", "ada")).Deliveries; n != 0 {
		t.Errorf("unsubscribed: %d deliveries", n)
	}

	// It is listed once for each who is subscribed.
	first := c.list("page_size=1")
	second := c.list("page_size=1&next_page_token=" + first.Next)
	if first.Next == "" || second.Next != "" || len(first.Rows)+len(second.Rows) != 2 {
		t.Fatalf("pages %+v and %+v", first, second)
	}
	want := SubscriberRow{ID: id, Events: []string{orderEvent}, Name: "orders", URL: e.url, Scope: "user", Source: "openapi", Subscriber: "bob"}
	if fmt.Sprint(first.Rows[0]) != fmt.Sprint(want) {
		t.Errorf("listed is %+v, want %+v", first.Rows[0], want)
	}
	if want.Subscriber = "cid"; fmt.Sprint(second.Rows[0]) != fmt.Sprint(want) {
		t.Errorf("listed is %+v, want %+v", second.Rows[0], want)
	}

	// Once it is gone nothing is owed to it, but the log still tells what was.
	c.want(204, "DELETE", subscriptions+"/"+id, "")
	if n := p.publish(order("carrier", "bob")).Deliveries; n != 0 {
		t.Errorf("deleted: %d deliveries", n)
	}
	if got := c.list(""); len(got.Rows) != 0 {
		t.Errorf("deleted, and listed: %+v", got)
	}
	eventually(t, func() bool { return len(c.logs("type=1&event="+orderEvent).Rows) == 4 })
	if rows := c.logs("type=1").Rows; len(rows) != 5 || rows[4].Event != "endpoint.url_validation" || rows[4].Subscription != id {
		t.Errorf("the log of what was deleted: %+v", rows)
	}
	c.want(404, "DELETE", subscriptions+"/"+id, "")
}

// market is a platform in a bubble, on which apps and what they may name are the same
// each time.
type market struct {
	*platform
	text strings.Builder
	// names are what is random, and what it is called in golden files.
	names []string
}

const (
	consoleID = "AAAAAAAA1AAAAAAAAAAAAA" // made in the console
	ownID     = "AAAAAAAA2AAAAAAAAAAAAA" // made by the app sync
	usersID   = "AAAAAAAA3AAAAAAAAAAAAA" // likewise, for users
	foreignID = "AAAAAAAA4AAAAAAAAAAAAA" // another app's
	nobodysID = "AAAAAAAA5AAAAAAAAAAAAA"
)

func newMarket(t *testing.T, o options) *market {
	t.Helper()
	var net memnet.Net
	answer := func(status int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://good.test/hook")
			w.WriteHeader(status)
			fmt.Fprint(w, text)
		}
	}
	good := &endpoint{release: make(chan struct{})}
	for host, h := range map[string]http.Handler{
		"good.test": good.handler(t),
		"slow.test": http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // before that the end of the connection is not noticed
			<-r.Context().Done()
		}),
		"status.test":   answer(500, "down"),
		"redirect.test": answer(302, ""),
		"empty.test":    answer(200, ""),
		"silent.test":   answer(204, ""),
		"text.test":     answer(200, "hello"),
		"wrong.test":    http.HandlerFunc(wrongAnswer),
		"token.test":    answer(200, `{"access_token":"t0ken","token_type":"bearer","expires_in":"3600"}`),
		"short.test":    answer(200, `{"access_token":"t0ken","token_type":"bearer","expires_in":3598}`),
		"mac.test":      answer(200, `{"access_token":"t0ken","token_type":"mac","expires_in":3600}`),
		"denied.test":   answer(403, ""),
	} {
		net.Handle(t, host, h)
	}
	o.net = &net
	m := &market{platform: newPlatform(t, o)}
	offerOrders(t, m.platform)
	now := time.Now()
	app := func(name, account string, scopes ...string) *hook.App {
		return &hook.App{
			ID: "app-" + name, Name: name, Account: account, ClientID: "client-" + name, ClientSecret: hook.HashSecret(hook.Secret("secret-" + name)),
			SecretToken: secretToken, Scopes: scopes, CarrierCodes: []int32{1}, Created: now,
		}
	}
	c := hook.Change{
		Accounts: []*hook.Account{{ID: "carrier"}, {ID: "customer"}, {ID: "partner"}, {ID: "elsewhere"}},
		Users:    []*hook.User{{Account: "carrier", ID: "ada"}, {Account: "carrier", ID: "bob"}, {Account: "customer", ID: "cid"}, {Account: "partner", ID: "pat"}},
		Groups:   []hook.Group{{Account: "carrier", ID: "night"}},
		Apps:     []*hook.App{app("sync", "carrier", cnamScope, "shop:read", scopeLogs), app("bare", "carrier"), app("other", "elsewhere", scopeLogs)},
		Installations: []hook.Installation{
			{App: "app-sync", Account: "customer", User: "ann"}, {App: "app-sync", Account: "partner"},
		},
	}
	for i, s := range []hook.Subscription{
		{ID: consoleID, App: "app-sync", Name: "console", Source: hook.SourceDefault, Subscribers: []hook.Subscriber{{}}},
		{ID: ownID, App: "app-sync", Name: "own", Subscribers: []hook.Subscriber{{Account: "carrier"}}, Auth: hook.Auth{
			Mode: hook.AuthOAuth, ClientID: "client", ClientSecret: "oauth-secret", TokenURL: "http://token.test/token", Scope: "s", State: "st", InBody: true,
		}},
		{ID: usersID, App: "app-sync", Name: "users", Scope: hook.ScopeUser, Events: []string{orderEvent}, Subscribers: []hook.Subscriber{
			{Account: "carrier", Users: []string{"ada", "bob"}, Groups: []string{"night"}}, {Account: "partner", Users: []string{"pat"}},
		}, Auth: hook.Auth{Mode: hook.AuthHeader, Header: "X-Api-Key", Value: "header-value"}},
		{ID: foreignID, App: "app-other", Name: "foreign", Subscribers: []hook.Subscriber{{Account: "elsewhere"}}},
	} {
		var err error
		s.Key, err = hook.KeyOf(s.ID)
		must(t, err)
		s.URL, s.State, s.StateSince, s.Checked, s.Created = "http://good.test/hook", hook.Valid, now, now, now.Add(time.Duration(i)*time.Second)
		if s.Events == nil {
			s.Events = []string{cnamEvent}
		}
		if s.Scope == "" {
			s.Scope = hook.ScopeAccount
		}
		if s.Source == "" {
			s.Source = hook.SourceOpenAPI
		}
		c.Subscriptions = append(c.Subscriptions, &s)
	}
	must(t, m.db.Change(c, now))
	return m
}

// wrongAnswer answers a challenge like somebody who has another secret.
func wrongAnswer(w http.ResponseWriter, r *http.Request) {
	var v struct{ Payload struct{ PlainToken string } }
	_ = json.NewDecoder(r.Body).Decode(&v)
	fmt.Fprintf(w, `{"plainToken":"%s","encryptedToken":"%064d"}`, v.Payload.PlainToken, 0)
}

// program returns a program of one of the apps.
func (m *market) program(name, account string) *program {
	m.t.Helper()
	return m.platform.program(manage.Credentials{AppID: "app-" + name, ClientID: "client-" + name, ClientSecret: "secret-" + name}, account)
}

// show adds an answer to the text. Every one has a tracking id, and is JSON if it is
// anything.
func (m *market) show(name string, a reply) {
	m.t.Helper()
	if !regexp.MustCompile(`^v=2\.0;clid=us;rid=WEB_[0-9a-f]{32}$`).MatchString(a.header.Get("X-Zm-Trackingid")) {
		m.t.Errorf("%s: %v", name, a.header)
	}
	if kind := a.header.Get("Content-Type"); kind != "application/json; charset=utf-8" && (kind != "" || a.body != "") {
		m.t.Errorf("%s: %q of type %q", name, a.body, kind)
	}
	fmt.Fprintf(&m.text, "== %s\n%d", name, a.status)
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range a.header {
			if name != "X-Zm-Trackingid" && name != "Content-Type" && name != "Content-Length" && name != "Date" && !yield(name) {
				return
			}
		}
	}) {
		fmt.Fprintf(&m.text, " %s: %s", name, a.header.Get(name))
	}
	m.text.WriteString("\n")
	if a.body != "" {
		m.text.WriteString(strings.TrimSpace(indent(a.body)) + "\n")
	}
}

// named says what something random is called.
func (m *market) named(text, name string) { m.names = append(m.names, text, name) }

func (m *market) golden(file string) {
	m.t.Helper()
	golden(m.t, file, random.ReplaceAllString(strings.NewReplacer(m.names...).Replace(m.text.String()), "${1}RANDOM"))
}

// random is what is random in the trace ids of attempts and in challenges.
var random = regexp.MustCompile(`(rid=WEB_[0-9a-f]{16}|00-[0-9a-f]{32}-|plainToken\\":\\"|encryptedToken\\":\\")[0-9A-Za-z_-]{16,64}`)

// What the calls of the public API answer, in all their modes.
func TestMarketplaceAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, options{schedule: hook.Schedule{time.Minute, time.Minute, time.Minute}, rates: Rates{Light: 5, Medium: 30}})
		token := m.want(200, "POST", "/oauth/token?grant_type=client_credentials", "", with(""), func(r *http.Request) { r.SetBasicAuth("client-sync", "secret-sync") })
		c := &program{m.platform, "app-sync", read[AccessToken](t, token).Token}
		m.named(c.token, "TOKEN")
		m.show("a token", token)

		a := c.call("POST", subscriptions, `{"events":["`+orderEvent+`","`+orderEvent+`"],"event_webhook_url":"http://good.test/new","subscription_scope":"user","event_subscription_name":"new",
			"account_id":"carrier","user_ids":["bob,ada"],"user_group_ids":["night"],"some_member":1,
			"custom_header":{"custom_header_type":1,"username":"ann","password":"passwörd","state":"of no use here"}}`)
		id := read[map[string]string](t, a)["event_subscription_id"]
		m.named(id, "NEW")
		m.show("create", a)
		m.show("subscribe users", c.call("PATCH", subscriptions+"/"+id, `{"account_id":"partner","user_ids":["pat"]}`))
		m.show("subscribe an account", c.call("PATCH", subscriptions+"/"+ownID, `{"account_id":"partner"}`))
		m.show("unsubscribe users", c.call("DELETE", subscriptions+"?event_subscription_id="+id+"&account_id=carrier&user_ids=ada", ""))
		m.show("unsubscribe an account", c.call("DELETE", subscriptions+"?event_subscription_id="+ownID+"&account_id=partner", ""))
		time.Sleep(time.Second)
		m.show("list", c.call("GET", subscriptions, ""))
		first := c.call("GET", subscriptions+"?user_id=&account_id=carrier&subscription_scope=user&page_size=2", "")
		next := read[subscriptionPage](t, first).Next
		m.named(next, "NEXT")
		m.show("list a page", first)
		m.show("list the next", c.call("GET", subscriptions+"?account_id=carrier&subscription_scope=user&page_size=2&next_page_token="+next, ""))
		m.show("list for a user", c.call("GET", subscriptions+"?user_id=ada", ""))
		m.show("list for an account, with its token", m.program("sync", "partner").call("GET", subscriptions, ""))
		m.show("delete", c.call("DELETE", subscriptions+"/"+id, ""))

		m.publish(strings.Replace(order("carrier", "ada"), "{", `{"event_ts":946684799750,`, 1))
		m.publish(strings.Replace(order("carrier", "bob"), `"ok"`, `"busy"`, 1)) // to one only, for which of two ends first is not certain
		time.Sleep(5 * time.Minute)
		m.show("log of what failed", c.call("GET", "/v2/marketplace/apps/app-sync/webhook_logs?page_size=1", ""))
		m.show("log of what succeeded", c.call("GET", "/v2/marketplace/apps/app-sync/webhook_logs?type=3&event="+orderEvent+"&from=2000-01-01T00:00:00Z&to=2000-01-01T00:00:01Z", ""))
		m.want(200, "POST", operator+"/subscriptions/"+ownID+"/validate", "")
		m.show("log of challenges", c.call("GET", "/v2/marketplace/apps/app-sync/webhook_logs?type=3&event=endpoint.url_validation&page_size=1", ""))
		m.golden("marketplace.golden")
	})
}

// long stands for texts that are too long to be in a table.
var long = strings.NewReplacer(
	"<128 x>", strings.Repeat("x", 128), "<129 x>", strings.Repeat("x", 129), "<256 x>", strings.Repeat("x", 256), "<257 x>", strings.Repeat("x", 257),
	"<255 x>", strings.Repeat("x", 255), "<65 x>", strings.Repeat("x", 65), "<1001 x>", strings.Repeat("x", 1001),
	"<1001 events>", strings.Join(slices.Collect(func(yield func(string) bool) {
		for i := range 1001 {
			if !yield(fmt.Sprintf(`e%d`, i)) {
				return
			}
		}
	}), `","`),
	"<1 MiB>", strings.Repeat(" ", maxDocument),
)

// Every fault that the public API's documentation knows, once, and every limit of what
// a subscription may say.
func TestMarketplaceFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, options{idle: true})
		c := m.program("sync", "")
		partner := m.program("sync", "partner")
		bare := m.program("bare", "")
		// create asks for a subscription as it may be, but for these members.
		create := func(c *program, name, members string) {
			t.Helper()
			body := map[string]any{}
			for _, text := range []string{`{"events":["` + cnamEvent + `"],"event_webhook_url":"http://good.test/hook","subscription_scope":"account"}`, long.Replace(members)} {
				must(t, json.Unmarshal([]byte(text), &body))
			}
			text, err := json.Marshal(body)
			must(t, err)
			m.show("create, "+name+": "+members, c.call("POST", subscriptions, string(text)))
		}
		ask := func(c *program, name, method, path, body string) {
			t.Helper()
			if body != "" {
				name += ": " + body
			}
			m.show(name, c.call(method, path, long.Replace(body)))
		}
		const custom = `{"custom_header":{"custom_header_type":`

		// Who asks.
		for name, token := range map[string]string{"no token": "", "no such token": "x", "an operator key": allKey, "a token with something after it": c.token + "x"} {
			a := m.call("GET", subscriptions, "", with(token))
			if a.status != 401 || a.body != `{"code":124,"message":"Invalid access token."}`+"\n" || a.header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s: %d %v %s", name, a.status, a.header, a.body)
			}
		}
		m.show("no token", m.call("POST", subscriptions, "{}", with("")))
		m.show("an app without the scope", bare.call("GET", "/v2/marketplace/apps/app-bare/webhook_logs", ""))

		// What a subscription may be.
		for _, body := range []string{"", "null", "[]", `"x"`, "{", `{"events":["x"]}x`, " {} {}", "{<1 MiB>}"} {
			ask(c, "create", "POST", subscriptions, body)
		}
		ask(c, "subscribe", "PATCH", subscriptions+"/"+ownID, "")
		ask(c, "subscribe", "PATCH", subscriptions+"/"+ownID, "null")
		for _, members := range []string{
			`{"events":null}`, `{"events":[]}`, `{"events":[""]}`, `{"events":[1]}`, `{"events":"` + cnamEvent + `"}`, `{"events":["<1001 events>"]}`,
			`{"event_webhook_url":null}`, `{"event_webhook_url":""}`, `{"event_webhook_url":1}`, `{"event_webhook_url":"http://good.test/<1001 x>"}`,
			`{"subscription_scope":null}`, `{"subscription_scope":"group"}`, `{"subscription_scope":true}`, `{"subscription_scope":null,"user_ids":["ada"]}`,
			`{"subscription_scope":"user"}`, `{"user_ids":["ada"]}`, `{"subscription_scope":"master_account","user_group_ids":["night"]}`,
			`{"subscription_scope":"user","user_ids":["1","2","3","4","5","6","7","8","9","10","11"]}`,
			`{"subscription_scope":"user","user_ids":["1,2,3,4,5,6","7,8,9,10,11"]}`,
			`{"subscription_scope":"user","user_ids":[","," "]}`,
			`{"subscription_scope":"user","user_ids":["ann@example.com"]}`, `{"subscription_scope":"user","user_ids":["<65 x>"]}`, `{"subscription_scope":"user","user_ids":"ada"}`,
			`{"subscription_scope":"user","user_group_ids":["a b"]}`, `{"subscription_scope":"user","user_group_ids":["day"]}`, `{"account_id":"a/b"}`, `{"account_id":7}`,
			`{"event_subscription_name":"<129 x>"}`, `{"event_subscription_name":"a\nb"}`, `{"event_subscription_name":[]}`,
			`{"custom_header":[]}`, `{"custom_header":{"username":"ann","password":"p"}}`, custom + `1.5}}`, custom + `"1"}}`,
			custom + `1,"password":"p"}}`, custom + `1,"username":"ann"}}`, custom + `1,"username":"a:b","password":"p"}}`,
			custom + `1,"username":"<257 x>","password":"p"}}`, custom + `1,"username":"ann","password":"<257 x>"}}`, custom + `1,"username":"ann","password":"p\r\nX-A: b"}}`,
			custom + `2}}`, custom + `2,"client_id":"c","token_url":"http://token.test"}}`, custom + `2,"client_id":"<257 x>","client_secret":"s","token_url":"http://token.test"}}`,
			custom + `2,"client_id":"c","client_secret":"<257 x>","token_url":"http://token.test"}}`, custom + `2,"client_id":"c","client_secret":"s"}}`,
			custom + `2,"client_id":"c","client_secret":"s","token_url":"http://token.test/<1001 x>"}}`,
			custom + `2,"client_id":"c","client_secret":"s","token_url":"http://token.test","scope":"<256 x>"}}`,
			custom + `2,"client_id":"c","client_secret":"s","token_url":"http://token.test","state":"<256 x>"}}`,
			custom + `2,"client_id":"c","client_secret":"s","token_url":"http://token.test","client_authentication":"both"}}`,
			custom + `3,"custom_header_value":"v"}}`, custom + `3,"custom_header_key":"X-A"}}`, custom + `3,"custom_header_key":"Api-Key","custom_header_value":"v"}}`,
			custom + `3,"custom_header_key":"x-zm-signature","custom_header_value":"v"}}`, custom + `3,"custom_header_key":"Host","custom_header_value":"v"}}`,
			custom + `3,"custom_header_key":"X_A","custom_header_value":"v"}}`, custom + `3,"custom_header_key":"x-<256 x>","custom_header_value":"v"}}`,
			custom + `3,"custom_header_key":"X-A","custom_header_value":"<257 x>"}}`, custom + `3,"custom_header_key":"X-A","custom_header_value":"a\nb"}}`,
		} {
			create(c, "1500", members)
		}
		create(c, "1801", custom+`4}}`)
		create(c, "1801", custom+`-1}}`)
		create(c, "1601", `{"events":["no.such.event"]}`)
		create(bare, "1602", `{}`)

		// Endpoints and token URLs that do not prove themselves.
		for _, url := range []string{
			"http://nobody.test/hook", "https://good.test/hook", "http://slow.test/", "http://status.test/", "http://redirect.test/", "http://empty.test/", "http://silent.test/",
			"http://text.test/", "http://wrong.test/", "ftp://good.test/", "good.test", "http://good.test/#a", "http://ann:pw@good.test/", "http://" + strings.Repeat("x", 64) + ".test/",
		} {
			create(c, "1701", `{"event_webhook_url":"`+url+`"}`)
		}
		for _, url := range []string{"http://nobody.test/", "http://slow.test/", "http://denied.test/", "http://text.test/", "http://redirect.test/", "http://short.test/", "http://mac.test/", "ftp://token.test/"} {
			create(c, "1702", custom+`2,"client_id":"c","client_secret":"s","token_url":"`+url+`"}}`)
		}
		public := newPlatform(t, options{idle: true, net: &memnet.Net{}, policy: &hook.EndpointPolicy{}})
		must(t, public.db.Change(hook.Change{
			Accounts: []*hook.Account{{ID: "carrier"}},
			Apps:     []*hook.App{{ID: "app", Account: "carrier", ClientID: "client-sync", ClientSecret: hook.HashSecret("secret-sync"), Scopes: []string{cnamScope}, SecretToken: secretToken}},
		}, time.Now()))
		strict := public.program(manage.Credentials{ClientID: "client-sync", ClientSecret: "secret-sync"}, "")
		for _, url := range []string{"http://good.test/hook", "https://192.0.2.1/hook", "https://[2001:db8::1]/hook", "https://localhost/hook", "https://good/hook", "https://2130706433/hook"} {
			create(strict, "1701 unless the operator allows it", `{"event_webhook_url":"`+url+`"}`)
		}
		create(strict, "1702 unless the operator allows it", `{"event_webhook_url":"https://good.test",`+custom[1:]+`2,"client_id":"c","client_secret":"s","token_url":"http://token.test"}}`)
		create(strict, "1702 unless the operator allows it", `{"event_webhook_url":"https://good.test",`+custom[1:]+`2,"client_id":"c","client_secret":"s","token_url":"https://10.0.0.1"}}`)

		// Who has not authorized the app, or cannot.
		create(c, "1300, an account", `{"account_id":"customer"}`)
		create(c, "1300, no such account", `{"account_id":"nobody"}`)
		create(c, "1300, a user", `{"account_id":"customer","subscription_scope":"user","events":["`+orderEvent+`"],"user_ids":["ann","cid"]}`)
		create(c, "1300, a group of an account that has not", `{"account_id":"customer","subscription_scope":"user","events":["`+orderEvent+`"],"user_group_ids":["night"]}`)
		create(partner, "1300, with a token for another account", `{"account_id":"carrier"}`)
		create(c, "1001", `{"account_id":"carrier","subscription_scope":"user","user_ids":["ada","pat"]}`)
		create(c, "1003", `{"account_id":"customer","subscription_scope":"user","user_ids":["ann"]}`)
		ask(c, "1002, an account", "PATCH", subscriptions+"/"+ownID, `{"account_id":"customer"}`)
		ask(c, "1002, a user", "PATCH", subscriptions+"/"+usersID, `{"account_id":"customer","user_ids":["cid"]}`)
		ask(partner, "1002, with a token for another account", "PATCH", subscriptions+"/"+ownID, `{"account_id":"carrier"}`)
		ask(c, "1001", "PATCH", subscriptions+"/"+usersID, `{"account_id":"carrier","user_ids":["pat"]}`)
		ask(c, "1001", "DELETE", subscriptions+"?event_subscription_id="+usersID+"&user_ids=pat", "")
		ask(c, "1002, an account that is not subscribed", "DELETE", subscriptions+"?event_subscription_id="+ownID+"&account_id=customer", "")
		ask(c, "1002, a user who is not subscribed", "DELETE", subscriptions+"?event_subscription_id="+usersID+"&account_id=customer&user_ids=cid", "")
		ask(partner, "1002, with a token for another account", "DELETE", subscriptions+"?event_subscription_id="+ownID+"&account_id=carrier", "")

		// Subscriptions that the app may not change, and changes that make no sense.
		for _, id := range []string{nobodysID, foreignID, "x", "a%2Fb"} {
			ask(c, "1601, subscribe "+id, "PATCH", subscriptions+"/"+id, `{"account_id":"carrier"}`)
			ask(c, "1601, unsubscribe "+id, "DELETE", subscriptions+"?event_subscription_id="+id, "")
			ask(c, "1601, delete "+id, "DELETE", subscriptions+"/"+id, "")
		}
		ask(partner, "1601, delete with a token for another account", "DELETE", subscriptions+"/"+ownID, "")
		ask(partner, "1500, delete with a token for another account", "DELETE", subscriptions+"/"+usersID, "")
		ask(c, "made in the console, subscribe", "PATCH", subscriptions+"/"+consoleID, `{"account_id":"carrier"}`)
		ask(c, "made in the console, unsubscribe", "DELETE", subscriptions+"?event_subscription_id="+consoleID, "")
		ask(c, "made in the console, delete", "DELETE", subscriptions+"/"+consoleID, "")
		for _, body := range []string{`{}`, `{"account_id":"","user_ids":["ada"]}`, `{"account_id":"carrier"}`, `{"account_id":"carrier","user_ids":"ada"}`, `{"account_id":"carrier","user_ids":["1,2,3,4,5,6","7,8,9,10,11"]}`} {
			ask(c, "1500, subscribe", "PATCH", subscriptions+"/"+usersID, body)
		}
		ask(c, "1500, subscribe a user of what is for accounts", "PATCH", subscriptions+"/"+ownID, `{"account_id":"carrier","user_ids":["ada"]}`)
		for _, query := range []string{"", "event_subscription_id=", "event_subscription_id=" + usersID + "&user_ids=,", "event_subscription_id=" + usersID + "&user_ids=1,2,3,4,5,6,7,8,9,10,11", "event_subscription_id=" + ownID + "&user_ids=ada"} {
			ask(c, "1500, unsubscribe "+query, "DELETE", subscriptions+"?"+query, "")
		}

		// Lists.
		for _, query := range []string{"page_size=0", "page_size=301", "page_size=x", "subscription_scope=group", "next_page_token=x"} {
			ask(c, "list "+query, "GET", subscriptions+"?"+query, "")
		}
		next := c.list("page_size=1").Next
		page := func(c *program, name, token, query string) {
			t.Helper()
			ask(c, "1003100, "+name, "GET", subscriptions+"?page_size=1&next_page_token="+token+query, "")
		}
		page(c, "another query", next, "&user_id=ada")
		page(m.program("sync", "partner"), "another account", next, "")
		page(bare, "another app", next, "")
		page(c, "tampered with", next[:len(next)-1]+map[bool]string{true: "B", false: "A"}[next[len(next)-1] == 'A'], "")
		page(c, "cut", next[:len(next)-4], "")
		page(c, "another call", next, "&event_subscription_id="+ownID)
		ask(c, "1003100, of a list for a log", "GET", "/v2/marketplace/apps/app-sync/webhook_logs?next_page_token="+next, "")
		time.Sleep(15*time.Minute - time.Second)
		c.list("page_size=1&next_page_token=" + next)
		time.Sleep(time.Second)
		page(c, "after 15 minutes", next, "")

		// The log.
		const logs = "/v2/marketplace/apps/"
		ask(c, "201", "GET", logs+"app-other/webhook_logs", "")
		ask(partner, "201, with a token for another account", "GET", logs+"app-sync/webhook_logs", "")
		ask(c, "1401", "GET", logs+"client-sync/webhook_logs", "")
		for _, query := range []string{
			"retry_num=4", "retry_num=-1", "retry_num=x", "from=2000-01-01T00:10:01Z&to=2000-01-01T00:10:00Z", "to=1999-12-20T00:00:00Z",
			"from=1999-12-24T00:00:00Z&to=2000-01-01T00:00:00Z", "from=1999-12-31T00:00:00Z&to=2000-01-07T00:00:01Z", "from=0001-01-01T00:00:00Z", "to=2000-02-01T00:00:00Z",
			"from=2000-01-01", "to=2000-01-01T00:00:00", "from=2000-01-01T00:00:00%2B01:00", "to=946684800", "from=2000-01-01T00:00:00.5Z", "to=2000-02-30T00:00:00Z",
			"from=2000-01-02T00:00:00Z", "page_size=301", "page_size=0", "type=0", "type=failed", "next_page_token=x",
		} {
			ask(c, "log "+query, "GET", logs+"app-sync/webhook_logs?"+query, "")
		}

		// More than 20, and what is no call at all.
		for len(m.db.Directory().Subscriptions("app-sync")) < manage.DefaultMaxSubscriptions {
			c.creates(OwnSubscription{Events: []string{cnamEvent}, URL: "http://good.test/hook", Scope: "account"})
		}
		create(c, "the cap", `{}`)
		for _, call := range []string{"PUT " + subscriptions, "GET " + subscriptions + "/" + ownID, "DELETE " + subscriptions + "/", "DELETE /v2/marketplace/app//event_subscription/" + ownID, "GET /v2/marketplace/app/../app/event_subscription"} {
			method, path, _ := strings.Cut(call, " ")
			ask(c, call, method, path, "")
		}

		// A token lives for an hour, and as long as the secret that it was obtained with.
		time.Sleep(44 * time.Minute)
		c.list("")
		time.Sleep(time.Minute)
		ask(c, "124, after an hour", "GET", subscriptions, "")
		c = m.program("sync", "")
		m.want(200, "POST", operator+"/apps/app-sync/client_secret", `{}`)
		ask(c, "124, with a secret that was replaced", "GET", subscriptions, "")
		m.golden("marketplace_faults.golden")
	})
}

// Faults of requests for a token, and of calls that come too often.
func TestMarketplaceLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, options{idle: true, rates: Rates{Light: 1, Medium: 2}})
		token := func(name, client, secret, query, body string) {
			t.Helper()
			m.show("token, "+name, m.call("POST", "/oauth/token?"+query, body, with(""), header("Content-Type", "application/x-www-form-urlencoded"), func(r *http.Request) {
				r.RemoteAddr = "192.0.2.1:1234"
				if client != "" {
					r.SetBasicAuth(client, secret)
				}
			}))
		}
		const grant = "grant_type=client_credentials"
		token("no client", "", "", grant, "")
		token("no such client", "client-none", "secret-sync", grant, "")
		token("a wrong secret", "client-sync", "secret-bare", grant, "")
		token("no grant", "client-sync", "secret-sync", "", "")
		token("another grant", "client-sync", "secret-sync", "", "grant_type=authorization_code&code=x")
		token("no account", "client-sync", "secret-sync", "grant_type=account_credentials", "")
		token("an account that has not installed the app", "client-sync", "secret-sync", "grant_type=account_credentials&account_id=elsewhere", "")
		token("an account of which one user has", "client-sync", "secret-sync", "grant_type=account_credentials", "account_id=customer")
		token("twice, and not the same", "client-sync", "secret-sync", grant, "grant_type=account_credentials")
		token("unreadable", "client-sync", "secret-sync", "", "grant_type=%zz")
		for range maxGuesses - 1 {
			a := m.call("POST", "/oauth/token?"+grant, "", with(""), func(r *http.Request) {
				r.RemoteAddr = "192.0.2.1:1234"
				r.SetBasicAuth("client-sync", "guess")
			})
			if a.status != 400 {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
		token("too many guesses", "client-sync", "secret-sync", grant, "")

		// Calls are counted by account and label; what is refused for another reason
		// counts as well.
		c, partner := m.program("sync", ""), m.program("sync", "partner")
		m.show("a light call", c.call("DELETE", subscriptions+"/"+nobodysID, ""))
		m.show("one too many", c.call("DELETE", subscriptions+"/"+ownID, ""))
		m.show("a medium call", c.call("GET", subscriptions, ""))
		c.want(200, "GET", subscriptions, "")
		m.show("one too many", c.call("GET", subscriptions, ""))
		partner.want(200, "GET", subscriptions, "")
		time.Sleep(499 * time.Millisecond)
		c.want(429, "GET", subscriptions, "")
		time.Sleep(time.Millisecond)
		c.want(200, "GET", subscriptions, "")
		c.want(429, "GET", subscriptions, "")
		time.Sleep(500 * time.Millisecond)
		c.want(204, "DELETE", subscriptions+"/"+ownID, "")
		m.golden("marketplace_limits.golden")
	})
}
