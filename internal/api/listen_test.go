package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/webhook"
)

const (
	listenPath     = operator + "/events/stream"
	emergencyEvent = "number_management.peering_number_emergency_address_updated"
)

// listenTo listens for an app's events, with what the query says beside.
func listenTo(t testing.TB, c *http.Client, app, query, after string) *watcher {
	t.Helper()
	return watch(t, c, "http://platform.test"+listenPath+"?app_id="+app+query, after, with(manageKey))
}

// told reads up to the next event of a kind; the usual one has no name.
func (x *watcher) told(kind string) string {
	x.t.Helper()
	for {
		b, err := x.block()
		must(x.t, err)
		if b.event == kind && b.data != "" {
			return b.data
		}
	}
}

// heard reads up to the next request.
func (x *watcher) heard() (v ListenedRequest) {
	x.t.Helper()
	dec := json.NewDecoder(strings.NewReader(x.told("")))
	dec.DisallowUnknownFields()
	must(x.t, dec.Decode(&v))
	if !v.Again && v.EventID != x.last {
		x.t.Errorf("event %s comes with the id %s", v.EventID, x.last)
	}
	return v
}

// ready reads what a listener is told first.
func (x *watcher) ready() (v Listening) {
	x.t.Helper()
	must(x.t, json.Unmarshal([]byte(x.told("ready")), &v))
	return v
}

// numbers is the app of the usual manifest.
func (w *asked) numbers() App {
	w.t.Helper()
	return w.appOf("number sync")
}

func (p *platform) appOf(name string) App {
	p.t.Helper()
	list := get[struct {
		Apps []App `json:"apps"`
	}](p, operator+"/apps")
	i := slices.IndexFunc(list.Apps, func(a App) bool { return a.Name == name })
	if i < 0 {
		p.t.Fatalf("there is no app %q", name)
	}
	return list.Apps[i]
}

// verified gives a request to a receiver as an endpoint would get it, and returns the
// event, or the status of a refusal.
func verified(t testing.TB, secret string, v ListenedRequest) (e *webhook.Event, status int, answer string) {
	t.Helper()
	r, err := webhook.New(webhook.Config{Secrets: []string{secret}})
	must(t, err)
	req := httptest.NewRequest("POST", "/", strings.NewReader(v.Body))
	for name, value := range v.Headers {
		req.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	r.Handler(func(_ context.Context, got *webhook.Event) error { e = got; return nil }).ServeHTTP(w, req)
	return e, w.Code, w.Body.String()
}

// Who listens for an app's events gets each as an endpoint of the app would: to the byte,
// with a signature that holds, as soon as it is accepted.
func TestListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{})
		app := w.numbers()
		before := w.sent("before")
		x := listenTo(t, w.served(), app.ID, "", "")
		if h := x.res.Header; x.res.StatusCode != 200 || h.Get("Content-Type") != "text/event-stream" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%d %v", x.res.StatusCode, h)
		}
		if r := x.ready(); r.App != app.ID || r.Name != "number sync" || r.Account != "carrier" || !slices.Equal(r.Events, []string{cnamEvent, emergencyEvent}) || r.After != before {
			t.Errorf("ready: %+v", r)
		}
		start := time.Now()
		names := []string{"ACME", "\u2028\u2029 <&> é 😀 \x01", `\ud800 and "quotes" \\`}
		for _, name := range names {
			ids := w.publish(strings.ReplaceAll(cnam(name), `\\ud800`, `\ud800`))
			v := x.heard()
			stored := get[Event](w.platform, operator+"/events/"+ids.Event)
			e, status, _ := verified(t, secretToken, v)
			if e == nil || v.Body != string(stored.Body) || string(e.Body) != v.Body {
				t.Fatalf("%d: %+v, want the body %s", status, v, stored.Body)
			}
			if v.EventID != ids.Event || v.Event != cnamEvent || v.Account != "customer" || time.Time(v.TS) != time.Time(stored.TS) || v.Again || v.Expected != nil {
				t.Errorf("%+v", v)
			}
			h := v.Headers
			if h["content-type"] != webhook.ContentType || h["user-agent"] != "Switchhook/test" || h["accept-encoding"] != "gzip" || h["clientid"] != app.ClientID ||
				h["x-zm-request-timestamp"] != fmt.Sprint(time.Now().Unix()) || h["x-zm-request-id"] != v.RequestID || v.RequestID[:18] != ids.Event ||
				!strings.HasPrefix(h["x-zm-trackingid"], "v=2.0;clid=") || !strings.HasPrefix(h["traceparent"], "00-"+strings.ReplaceAll(v.RequestID, "_", "")+"-") || len(h) != 9 {
				t.Errorf("%v", h)
			}
		}
		if d := time.Since(start); d > time.Duration(len(names))*streamPause {
			t.Errorf("it took %v", d)
		}

		// Its request id asks why others did or did not get the event.
		v := listenTo(t, clientOf(t, &w.net), app.ID, "", "0").heard()
		if x := get[Explained](w.platform, operator+"/events/"+v.RequestID+"/explain"); x.EventID != before || len(x.Subscriptions) != 1 || x.Subscriptions[0].Cause != hook.CauseDelivered {
			t.Errorf("%+v", x)
		}

		// A secret token that is replaced meanwhile signs what comes after that.
		w.want(200, "PUT", operator+"/apps/"+app.ID, `{"secret_token":"another-secret-token"}`)
		w.publish(cnam("ACME"))
		if e, status, _ := verified(t, "another-secret-token", x.heard()); e == nil {
			t.Errorf("with the new secret: %d", status)
		}
	})
}

// An app that listens gets what subscriptions of it are owed that ask for everything, and
// nothing else.
func TestListenersGetWhatSubscriptionsAreOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{})
		c := w.served()
		w.want(200, "POST", operator+"/catalog", `{"openapi":"3.1.0","info":{"title":"Shop"},"webhooks":{
			"shop.sold":{"post":{"x-switchhook-scopes":{"classic":["shop:read"]},"requestBody":{}}},
			"shop.closed":{"post":{"x-switchhook-scopes":{"classic":["shop:admin"]},"requestBody":{}}},
			"shop.opened":{"post":{"requestBody":{}}}}}`)
		w.want(204, "PUT", operator+"/event_types/"+emergencyEvent+"/check", `{"check":"off"}`)
		types := []string{cnamEvent, emergencyEvent, "shop.sold", "shop.closed", "shop.opened"}
		all := func(scopes ...string) []string {
			return slices.DeleteFunc(slices.Clone(types), func(name string) bool {
				return strings.HasPrefix(name, "number") && !slices.Contains(scopes, cnamScope) || name == "shop.sold" && !slices.Contains(scopes, "shop:read") || name == "shop.closed" && !slices.Contains(scopes, "shop:admin")
			})
		}
		app := func(name, account string, codes []int32, installed []manage.Installation, scopes ...string) {
			s := to("all of "+name, "http://blue.test/"+name)
			s.Events = all(scopes...)
			w.m.Apps = append(w.m.Apps, manage.App{Name: name, Account: account, SecretToken: secretToken, Scopes: scopes, CarrierCodes: codes, Installations: installed, Subscriptions: []manage.Subscription{s}})
		}
		w.m.Accounts = append(w.m.Accounts, manage.Account{ID: "other"})
		app("of the customer", "customer", nil, nil, "shop:read")
		app("with all scopes", "customer", nil, nil, "shop:read", "shop:admin")
		app("of another carrier", "carrier", []int32{2}, nil, cnamScope)
		app("of both carriers", "carrier", []int32{1, 2}, nil, cnamScope, "shop:read")
		app("of somebody else", "other", nil, nil, "shop:read")
		app("that is installed", "other", nil, []manage.Installation{{Account: "customer"}}, "shop:read")
		app("that one user has installed", "other", nil, []manage.Installation{{Account: "customer", User: "ann"}}, "shop:read")
		w.apply(w.m)
		w.later(time.Minute)
		for _, account := range []string{"customer", "other", "carrier"} {
			for _, name := range types {
				for _, code := range []int{1, 2, 3} {
					for _, user := range []string{"", `,"$routing":{"user_ids":["ann"]}`, `,"$routing":{"user_ids":["bob"]}`} {
						w.publish(fmt.Sprintf(`{"event":%q,"payload":{"account_id":%q,"object":{"carrier_code":%d,"phone_numbers":["+14155550132"],"cnam":"ACME"}}%s}`, name, account, code, user))
					}
				}
			}
		}
		w.later(time.Second)
		numbers := 0
		for _, a := range w.m.Apps[1:] {
			name := a.Name
			x := listenTo(t, c, w.appOf(name).ID, "", "0")
			var want, got []string
			for _, d := range get[page](w.platform, operator+"/deliveries?page_size=300&app_id="+w.appOf(name).ID).Deliveries {
				want = append(want, d.EventID)
			}
			slices.Sort(want)
			for {
				b, err := x.block()
				must(t, err)
				if b.comment != "" {
					break // all of it has come
				}
				var v ListenedRequest
				if b.event == "" && b.data != "" && json.Unmarshal([]byte(b.data), &v) == nil {
					got = append(got, v.EventID)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: listening brings %d events, a subscription %d:\n%v\n%v", name, len(got), len(want), got, want)
			}
			numbers += len(want)
		}
		if numbers < 100 {
			t.Errorf("there are %d events in all", numbers)
		}
	})
}

// Only the event types come that are asked for, by name or by how they begin; also those
// that the catalog gets later.
func TestListenForSome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{})
		c := w.served()
		app := w.numbers().ID
		w.want(204, "PUT", operator+"/event_types/"+emergencyEvent+"/check", `{"check":"off"}`)
		publish := func(name string) string {
			return w.publish(`{"event":"` + name + `","payload":{"account_id":"carrier","object":{"carrier_code":1,"phone_numbers":["+14155550132"],"cnam":"ACME"}}}`).Event
		}
		w.want(200, "POST", operator+"/catalog", `{"openapi":"3.1.0","info":{"title":"Shop"},"webhooks":{"shop.sold":{"post":{"requestBody":{}}}}}`)
		one := listenTo(t, c, app, "&event="+cnamEvent, "")
		begin := listenTo(t, c, app, "&event="+url.QueryEscape(emergencyEvent+", shop.*"), "")
		if r := one.ready(); !slices.Equal(r.Events, []string{cnamEvent}) {
			t.Errorf("%+v", r)
		}
		if r := begin.ready(); !slices.Equal(r.Events, []string{emergencyEvent, "shop.sold"}) {
			t.Errorf("%+v", r)
		}
		first, second, third := publish(emergencyEvent), publish(cnamEvent), publish("shop.sold")
		w.want(200, "POST", operator+"/catalog", `{"openapi":"3.1.0","info":{"title":"Shop"},"webhooks":{"shop.sold":{"post":{"requestBody":{}}},"shop.closed":{"post":{"requestBody":{}}}}}`)
		fourth := publish("shop.closed")
		if got := one.heard().EventID; got != second {
			t.Errorf("by name comes %s, want %s", got, second)
		}
		for _, want := range []string{first, third, fourth} {
			if got := begin.heard().EventID; got != want {
				t.Errorf("by beginning comes %s, want %s", got, want)
			}
		}
		// What is left out is passed all the same.
		if b, err := one.block(); err != nil || b.comment == "" || one.last != fourth {
			t.Errorf("%+v, %v; going on after %s, want %s", b, err, one.last, fourth)
		}
	})
}

// However often the connection of a listener breaks, it gets each event once, in the
// order in which they were accepted, while many publish at once.
func TestListenersUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{})
		c := w.served()
		app := w.numbers().ID
		before := w.sent("before")
		const events, clients = 600, 4
		results := make(chan []string, clients)
		for i := range clients {
			go func() {
				r := rand.New(rand.NewPCG(uint64(i), 1))
				var got []string
				last := before
				for len(got) < events {
					x := listenTo(t, c, app, "", last)
					for range 1 + r.IntN(100) {
						if got = append(got, x.heard().EventID); len(got) == events {
							break
						}
					}
					last = x.last
					x.close()
				}
				results <- got
			}()
		}
		published := make(chan []string, 10)
		for range cap(published) {
			go func() {
				var ids []string
				for range events / cap(published) {
					ids = append(ids, w.publish(cnam("ACME")).Event)
				}
				published <- ids
			}()
		}
		var want []string
		for range cap(published) {
			want = append(want, <-published...)
		}
		slices.Sort(want)
		for range clients {
			if got := <-results; !slices.Equal(got, want) {
				t.Errorf("%d events, want %d, in order: %v", len(got), len(want), slices.IsSorted(got))
			}
		}
	})
}

// A listener goes on where it was, whatever has happened meanwhile: events while it was
// away, a restart of the platform, days in which nothing happened.
func TestListenAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "test.db")
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{file: file})
		app := w.numbers().ID
		c := w.served()
		x := listenTo(t, c, app, "", "")
		after := x.ready().After // there is no event, so far
		x.close()
		var ids []string
		for range 5 {
			ids = append(ids, w.sent("ACME"))
		}
		for i, last := range append([]string{after, "0"}, ids...) {
			y := listenTo(t, c, app, "", last)
			for _, want := range ids[max(0, i-1):] {
				if got := y.heard(); got.EventID != want {
					t.Errorf("after %s comes %s, want %s", last, got.EventID, want)
				}
			}
			y.close()
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{file: file})
		app := w.numbers().ID
		last := get[page](w.platform, operator+"/deliveries?page_size=1").Deliveries[0].EventID
		x := listenTo(t, w.served(), app, "", last)
		x.ready()
		id := w.sent("after the restart")
		if got := x.heard(); got.EventID != id {
			t.Errorf("after a restart comes %s, want %s", got.EventID, id)
		}
		x.close()

		// Everything it knew of has been deleted for its age.
		w.later(8 * 24 * time.Hour)
		must(t, w.db.Expire(t.Context(), time.Now().Add(-7*24*time.Hour)))
		y := listenTo(t, clientOf(t, &w.net), app, "", last)
		y.ready()
		if gap := y.told("gap"); gap != `{"deleted_before":"2000-01-02T00:01:01.000Z"}` {
			t.Errorf("the gap: %s", gap)
		}
		id = w.sent("a week later")
		if got := y.heard(); got.EventID != id {
			t.Errorf("after the gap comes %s, want %s", got.EventID, id)
		}
		z := listenTo(t, clientOf(t, &w.net), app, "", id)
		z.ready()
		w.sent("nothing was missed")
		for {
			b, err := z.block()
			must(t, err)
			if b.event == "gap" {
				t.Error("there is a gap where nothing was missed")
			}
			if b.data != "" && b.event == "" {
				break
			}
		}
	})
}

// A listener is shown every 15 seconds that the platform is alive. It ends when it may
// listen no more, and when the platform stops.
func TestListeningEnds(t *testing.T) {
	for name, c := range map[string]struct {
		do     func(w *asked, app string)
		at     time.Duration
		last   string
		status int
	}{
		"its key is revoked":  {func(w *asked, _ string) { must(w.t, w.db.RevokeKey("key-manage", time.Now())) }, 2 * heartbeat, "", 401},
		"its app is deleted":  {func(w *asked, app string) { w.want(204, "DELETE", operator+"/apps/"+app, "") }, 2 * heartbeat, "", 404},
		"its app is disabled": {func(w *asked, app string) { w.want(200, "PUT", operator+"/apps/"+app, `{"disabled":true}`) }, 2 * heartbeat, "", 409},
		"the platform stops":  {func(w *asked, _ string) { close(w.stopping) }, heartbeat, "the platform is stopping", 200},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newAsked(t, options{})
				client := w.served()
				app := w.numbers().ID
				start := time.Now()
				x := listenTo(t, client, app, "", "")
				x.ready()
				if b, err := x.block(); err != nil || b.comment != "still here" || time.Since(start) != heartbeat {
					t.Fatalf("after %v: %+v, %v", time.Since(start), b, err)
				}
				c.do(w, app)
				if c.last != "" {
					if b, err := x.block(); err != nil || b.comment != c.last {
						t.Errorf("%+v, %v", b, err)
					}
				}
				if b, err := x.block(); !errors.Is(err, io.EOF) || time.Since(start) != c.at {
					t.Errorf("after %v: %+v, %v", time.Since(start), b, err)
				}
				if y := listenTo(t, client, app, "", ""); y.res.StatusCode != c.status {
					t.Errorf("again: status %d, want %d", y.res.StatusCode, c.status)
				}
			})
		})
	}
}

// A listener that does not read is cut off, holds up nobody meanwhile, and can go on.
func TestListenerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{})
		c := w.served()
		app := w.numbers().ID
		stuck, reads := listenTo(t, c, app, "", ""), listenTo(t, c, app, "", "")
		const events = 100
		var ids, got []string
		for range events {
			ids = append(ids, w.publish(cnam("ACME")).Event)
		}
		for _, id := range ids {
			if v := reads.heard(); v.EventID != id {
				t.Errorf("the other one gets %s, want %s", v.EventID, id)
			}
		}
		w.later(streamWrite + time.Second)
		if !strings.Contains(w.log.String(), "a client that follows events does not read and is cut off") {
			t.Errorf("that it was cut off is not in the log:\n%s", w.log)
		}
		for {
			b, err := stuck.block()
			if err != nil {
				break
			}
			if b.data != "" && b.event == "" {
				got = append(got, stuck.last)
			}
		}
		if len(got) == events {
			t.Fatal("all of it fit into what is between; it was not stuck")
		}
		again := listenTo(t, c, app, "", stuck.last)
		for len(got) < events {
			v := again.heard()
			got = append(got, v.EventID)
			if e, status, _ := verified(t, secretToken, v); e == nil {
				t.Errorf("what was sent again does not verify: %d", status)
			}
		}
		if !slices.Equal(got, ids) {
			t.Errorf("with a second try it has\n%v, the other one\n%v", got, ids)
		}
	})
}

// Whoever listens can have a challenge first, and knows what has to be answered.
func TestListenWithChallenge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{})
		x := listenTo(t, w.served(), w.numbers().ID, "&challenge=true", "")
		x.ready()
		var v ListenedRequest
		must(t, json.Unmarshal([]byte(x.told("challenge")), &v))
		_, status, answer := verified(t, secretToken, v)
		if v.Event != webhook.EventURLValidation || v.EventID != "" || v.Expected == nil || v.Expected.Judge(status, []byte(answer)) != "" {
			t.Errorf("%+v; answered with %d %s", v, status, answer)
		}
		if reason := v.Expected.Judge(200, []byte(`{"plainToken":"x","encryptedToken":"x"}`)); reason == "" {
			t.Error("any answer is right")
		}
		id := w.sent("ACME")
		if got := x.heard(); got.EventID != id {
			t.Errorf("after the challenge comes %+v", got)
		}
	})
}

// An event can be sent again to those who listen now, with the same request id. How many
// have got it is the answer.
func TestSendToListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{})
		nearAndFar(w)
		c := w.served()
		app, stranger := w.numbers().ID, w.appOf("stranger").ID
		id := w.sent("ACME")
		send := func(query string) int {
			return read[struct {
				Event     string `json:"event_id"`
				Listeners int    `json:"listeners"`
			}](t, w.want(200, "POST", operator+"/events/"+id+"/listeners"+query, "")).Listeners
		}
		refused := func(query, want string) {
			t.Helper()
			if a := w.want(409, "POST", operator+"/events/"+id+"/listeners"+query, ""); !strings.Contains(a.body, want) {
				t.Errorf("%s: %s", query, a.body)
			}
		}
		refused("", "nobody listens on this platform now; begin with: switchhook listen --app APP")
		refused("?app_id="+app, "nobody listens for app "+app+" now")

		one, two := listenTo(t, c, app, "", "0"), listenTo(t, c, app, "&event="+cnamEvent, "")
		first := one.heard()
		two.ready()
		time.Sleep(5 * time.Second)
		for i, query := range []string{"", "?app_id=" + app} {
			n := make(chan int)
			go func() { n <- send(query) }()
			for _, x := range []*watcher{one, two} {
				last := x.last
				v := x.heard()
				if e, status, _ := verified(t, secretToken, v); e == nil || !v.Again || v.EventID != id || v.RequestID != first.RequestID || v.Body != first.Body || x.last != last {
					t.Errorf("%d, time %d: %+v, going on after %s, %s before", status, i, v, x.last, last)
				}
			}
			if n := <-n; n != 2 {
				t.Errorf("%d listeners got it", n)
			}
		}
		refused("?app_id="+stranger, "nobody listens for app "+stranger)

		// Those who do not want it, may not have it, or have left are not counted.
		one.close()
		two.close()
		other := listenTo(t, c, app, "&event="+emergencyEvent, "")
		other.ready()
		synctest.Wait()
		refused("", "none of the 1 who listen on this platform gets events like this one")
		w.want(400, "POST", operator+"/events/x/listeners", "")
		w.want(400, "POST", operator+"/events/"+id+"/listeners?app=x", "")
		w.want(404, "POST", operator+"/events/"+id+"/listeners?app_id=none", "")
		w.want(404, "POST", operator+"/events/"+hook.EventID(1).String()+"/listeners", "")
		w.want(401, "POST", operator+"/events/"+id+"/listeners", "", with(""))
		w.want(403, "POST", operator+"/events/"+id+"/listeners", "", with(readKey))
	})
}

// Nobody waits for a listener that does not read.
func TestSendToListenerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{})
		c := w.served()
		app := w.numbers().ID
		listenTo(t, c, app, "", "") // never reads
		for range 100 {
			w.publish(cnam("ACME"))
		}
		id := w.sent("ACME")
		start := time.Now()
		a := w.want(409, "POST", operator+"/events/"+id+"/listeners", "")
		if d := time.Since(start); d > streamWrite || !strings.Contains(a.body, "or they do not read") {
			t.Errorf("after %v: %s", d, a.body)
		}
	})
}

// What cannot be listened for is refused before the stream begins, in words that say what
// to do: who waits for what never comes would wait for ever.
func TestListenFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{})
		c := w.served()
		app := w.numbers().ID
		w.want(200, "POST", operator+"/catalog", `{"openapi":"3.1.0","info":{"title":"Shop"},"webhooks":{"shop.sold":{"post":{"x-switchhook-scopes":{"classic":["shop:read"]},"requestBody":{}}}}}`)
		made := func(body string) string {
			return read[NewApp](t, w.want(201, "POST", operator+"/apps", body)).ID
		}
		none := made(`{"name":"none","account_id":"customer"}`)
		unbound := made(`{"name":"unbound","account_id":"customer","scopes":["` + cnamScope + `"]}`)
		for query, want := range map[string]string{
			"":                                "app_id is missing",
			"?app_id=" + app + "&events=x":    "events is not known; known are app_id, event, challenge",
			"?app_id=" + app + "&challenge=1": "challenge must be true or false",
			"?app_id=" + app + "&event=none":  `event "none" is no event type of the catalog`,
			"?app_id=" + app + "&event=number*,meeting": `event "meeting" is no event type`,
			"?app_id=" + app + "&event=shop.sold":       `event "shop.sold": the app has none of the scopes shop:read`,
			"?app_id=" + unbound + "&event=number*":     `event "number*": the app is bound to no carrier code`,
		} {
			f := read[fault](t, w.want(400, "GET", listenPath+query, ""))
			if len(f.Errors) != 1 || !strings.HasPrefix(f.Errors.Error(), want) {
				t.Errorf("%s: %s", query, f.Errors)
			}
		}
		for _, id := range []string{none, unbound} {
			if a := w.want(409, "GET", listenPath+"?app_id="+id, ""); !strings.Contains(a.body, "may receive no events") {
				t.Errorf("%s: %s", id, a.body)
			}
		}
		w.want(404, "GET", listenPath+"?app_id=none", "")
		w.want(401, "GET", listenPath+"?app_id="+app, "", with(""))
		w.want(403, "GET", listenPath+"?app_id="+app, "", with(readKey)) // there are signatures in it
		for _, id := range []string{"x", "1", "7fffffff_ffff_ffff"} {
			f := read[fault](t, w.want(400, "GET", listenPath+"?app_id="+app, "", header("Last-Event-ID", id)))
			if len(f.Errors) != 1 || f.Errors[0].Field != "Last-Event-ID" {
				t.Errorf("%s: %+v", id, f)
			}
		}
		var open []*watcher
		for i := range maxStreams { // both kinds count
			if i%2 == 0 {
				open = append(open, watch(t, c, streamURL, ""))
			} else {
				open = append(open, listenTo(t, c, app, "", ""))
			}
		}
		w.want(429, "GET", listenPath+"?app_id="+app, "")
		open[1].close()
		synctest.Wait()
		if x := listenTo(t, c, app, "", ""); x.res.StatusCode != 200 {
			t.Errorf("with one less: %d", x.res.StatusCode)
		}
	})
}

// An app listens for its own events with an access token, and for no other's; until the
// token expires, or the client secret is gone that it was obtained with.
func TestAppsListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{})
		nearAndFar(w)
		c := w.served()
		app, stranger := w.numbers(), w.appOf("stranger")
		secret := func(a App) string {
			return read[ClientSecret](t, w.want(200, "POST", operator+"/apps/"+a.ID+"/client_secret", `{}`)).ClientSecret
		}
		token := func(a App, secret string) string {
			return read[AccessToken](t, w.want(200, "POST", "/oauth/token?grant_type=client_credentials", "", func(r *http.Request) { r.SetBasicAuth(a.ClientID, secret) })).Token
		}
		listen := func(token, query string) *watcher {
			return watch(t, c, "http://platform.test"+listenPath+query, "", with(token))
		}
		first := token(app, secret(app))
		x, y := listen(first, ""), listen(first, "?app_id="+app.ID)
		id := w.sent("ACME")
		for _, z := range []*watcher{x, y} {
			if r := z.ready(); r.App != app.ID {
				t.Errorf("ready: %+v", r)
			}
			v := z.heard()
			if e, status, _ := verified(t, secretToken, v); e == nil || v.EventID != id {
				t.Errorf("%d: %+v", status, v)
			}
		}
		if z := listen(first, "?app_id="+stranger.ID); z.res.StatusCode != 403 {
			t.Errorf("for another app's events: status %d", z.res.StatusCode)
		}
		w.want(409, "GET", listenPath, "", with(token(stranger, secret(stranger)))) // it is bound to no carrier
		w.want(403, "POST", operator+"/events/"+id+"/listeners", "", with(publishKey))
		w.want(401, "POST", operator+"/events/"+id+"/listeners", "", with(first))

		ends := func(z *watcher, within time.Duration) {
			t.Helper()
			start := time.Now()
			for {
				if _, err := z.block(); err != nil {
					if d := time.Since(start); !errors.Is(err, io.EOF) || d > within {
						t.Errorf("it ends with %v after %v", err, d)
					}
					return
				}
			}
		}
		y.close()
		ends(x, time.Hour)
		w.want(401, "GET", listenPath, "", with(first))
		second := listen(token(app, secret(app)), "")
		second.ready()
		secret(app) // a new one, and the old one is gone at once
		ends(second, heartbeat)
	})
}
