package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/switchhook/switchhook/internal/hook"
)

// trail is a page of the audit trail.
type trail struct {
	Next     string       `json:"next_page_token"`
	PageSize int          `json:"page_size"`
	Entries  []AuditEntry `json:"entries"`
}

// line is an entry as one line: who did what to what.
func line(e AuditEntry) string {
	text := fmt.Sprintf("%s %s %s %s %q", strings.TrimPrefix(string(e.By.Kind)+" "+e.By.ID, "operator_key "), e.Action, e.Kind, e.ID, e.Name)
	if len(e.Changes) > 0 {
		text += ": " + strings.Join(e.Changes, "; ")
	}
	return text
}

// lines returns entries as lines, the first one first.
func (v trail) lines() (list []string) {
	for _, e := range slices.Backward(v.Entries) {
		list = append(list, line(e))
	}
	return list
}

// breakAudit makes the store unable to write the audit trail, until mend is called.
func breakAudit(p *platform) (mend func()) {
	p.t.Helper()
	run := func(query string) {
		p.t.Helper()
		c, err := sqlite.OpenConn(p.file, sqlite.OpenReadWrite)
		must(p.t, err)
		must(p.t, sqlitex.ExecuteTransient(c, query, nil))
		must(p.t, c.Close())
	}
	run(`CREATE TRIGGER broken BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail is broken'); END`)
	return func() { run(`DROP TRIGGER broken`) }
}

// Every call that changes something leaves one entry for each thing that it has changed,
// which says who did what to what, and is stored with it: where the entry cannot be
// stored, nothing is changed. Secrets are in none of them.
func TestEveryChangeIsAudited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		secrets := []string{secretToken, "password-of-ann", "secret-of-the-app", "new-secret-token", "value-of-the-header"}
		covered := map[string]bool{}
		var text strings.Builder

		// change makes a call that changes something. It must leave no trace while the audit
		// trail is broken.
		change := func(pattern string, status int, path, body string, edit ...func(*http.Request)) reply {
			t.Helper()
			covered[pattern] = true
			method, _, _ := strings.Cut(pattern, " ")
			before := b.state()
			mend := breakAudit(b.platform)
			if a := b.call(method, path, body, edit...); a.status != 500 || a.body != `{"code":500,"message":"Internal error."}`+"\n" {
				t.Errorf("%s with a broken audit trail: %d %s", a.call, a.status, a.body)
			}
			mend()
			if after := b.state(); after != before {
				t.Errorf("%s %s with a broken audit trail: the platform was\n%s\nand is\n%s", method, path, before, after)
			}
			known := len(get[trail](b.platform, operator+"/audit?page_size=300").Entries)
			time.Sleep(time.Second)
			a := b.want(status, method, path, body, edit...)
			now := get[trail](b.platform, operator+"/audit?page_size=300")
			now.Entries = now.Entries[:len(now.Entries)-known]
			fmt.Fprintf(&text, "== %s\n", pattern)
			for i, e := range slices.Backward(now.Entries) {
				fmt.Fprintln(&text, now.lines()[len(now.Entries)-1-i])
				if !slices.Contains(hook.AuditKinds, e.Kind) {
					t.Errorf("%s: the entry is about a %s, which is no kind", a.call, e.Kind)
				}
				if !time.Time(e.At).Equal(time.Now()) {
					t.Errorf("%s: the entry is of %v", a.call, time.Time(e.At))
				}
			}
			return a
		}
		// again makes a call that finds nothing to change, and leaves no entry.
		again := func(status int, method, path, body string, edit ...func(*http.Request)) {
			t.Helper()
			before := b.state()
			b.want(status, method, path, body, edit...)
			if after := b.state(); after != before {
				t.Errorf("%s %s again: the platform was\n%s\nand is\n%s", method, path, before, after)
			}
		}

		const accounts, apps, subs = operator + "/accounts", operator + "/apps", operator + "/subscriptions"
		change("PUT "+accounts+"/{id}", 201, accounts+"/acme", `{"name":"Acme"}`)
		change("PUT "+accounts+"/{id}", 200, accounts+"/acme", `{"owner_email":"ann@acme.test"}`)
		again(200, "PUT", accounts+"/acme", `{"owner_email":"ann@acme.test"}`)
		change("PUT "+accounts+"/{id}/user_groups/{group}", 201, accounts+"/acme/user_groups/sales", "")
		again(200, "PUT", accounts+"/acme/user_groups/sales", "")
		change("PUT "+accounts+"/{id}/users/{user}", 201, accounts+"/acme/users/ann", `{"groups":["sales"]}`)
		change("PUT "+accounts+"/{id}/users/{user}", 201, accounts+"/acme/users/bob", `{}`)
		again(200, "PUT", accounts+"/acme/users/bob", `{}`)
		change("DELETE "+accounts+"/{id}/user_groups/{group}", 204, accounts+"/acme/user_groups/sales", "")
		change("DELETE "+accounts+"/{id}/users/{user}", 204, accounts+"/acme/users/ann", "")

		app := read[NewApp](t, change("POST "+apps, 201, apps, blueApp))
		b.is(app.ID, "APP-ID")
		secrets = append(secrets, app.ClientSecret)
		one := apps + "/" + app.ID
		change("PUT "+apps+"/{id}", 200, one, `{"state":"development","carrier_codes":[1,2]}`)
		change("PUT "+apps+"/{id}", 200, one, `{"secret_token":"new-secret-token"}`)
		change("PUT "+apps+"/{id}", 200, one, `{"secret_token":"`+secretToken+`"}`)
		again(200, "PUT", one, `{"state":"development"}`)
		change("PUT "+operator+"/carriers/{code}", 201, operator+"/carriers/1", `{"name":"Blue"}`)
		change("PUT "+operator+"/carriers/{code}", 200, operator+"/carriers/1", `{"name":"Blue Carrier"}`)
		again(200, "PUT", operator+"/carriers/1", `{"name":"Blue Carrier"}`)
		change("PUT "+operator+"/carriers/{code}", 201, operator+"/carriers/2", `{"name":"Red Carrier"}`)
		change("DELETE "+operator+"/carriers/{code}", 204, operator+"/carriers/2", "")
		const numbers, csv = operator + "/numbers", "phone_number,carrier_code,account_id,cnam\n+14155550132,1,acme,ACME\n+14155550133,1,acme,\n+14155550134,2,acme,\n"
		change("POST "+numbers+"/import", 200, numbers+"/import", csv, isCSV)
		again(200, "POST", numbers+"/import", csv, isCSV)
		change("PATCH "+numbers+"/{phone_number}", 200, numbers+"/+14155550132", `{"cnam":null,"assigned":true}`)
		again(200, "PATCH", numbers+"/+14155550132", `{"cnam":null,"assigned":true}`)
		change("PATCH "+numbers, 200, numbers, `{"phone_numbers":["+14155550132","+14155550133"],"set":{"emergency_address":{"address_line1":"1200 Battery Street"},"assigned":true}}`)
		change("PATCH "+numbers, 200, numbers, `{"filter":{"all":true},"set":{"cnam":"ACME"}}`)
		again(200, "PATCH", numbers, `{"filter":{"account_id":"acme"},"set":{"cnam":"ACME"}}`)

		change("PUT "+apps+"/{id}/installations", 201, one+"/installations?account_id=acme&user_id=bob", "")
		again(200, "PUT", one+"/installations?account_id=acme&user_id=bob", "")
		change("DELETE "+apps+"/{id}/installations", 204, one+"/installations?account_id=acme&user_id=bob", "")
		change("PUT "+apps+"/{id}/installations", 201, one+"/installations?account_id=acme", "")

		sub := read[Subscription](t, change("POST "+apps+"/{id}/subscriptions", 201, one+"/subscriptions",
			hooks+`,"custom_header":{"custom_header_type":1,"username":"ann","password":"password-of-ann"}}`))
		b.is(sub.ID, "SUBSCRIPTION-ID")
		change("PUT "+subs+"/{id}", 200, subs+"/"+sub.ID, `{"max_in_flight":3,"custom_header":{"custom_header_type":3,"custom_header_key":"X-Key","custom_header_value":"value-of-the-header"}}`)
		again(200, "PUT", subs+"/"+sub.ID, `{"max_in_flight":3}`)
		change("POST "+subs+"/{id}/validate", 200, subs+"/"+sub.ID+"/validate", "")
		change("POST "+operator+"/apply", 200, operator+"/apply", `{"accounts":[{"id":"acme","name":"Acme"},{"id":"branch","master_account_id":"acme"}],"apps":[{"name":"blue","account_id":"acme",
			"scopes":["`+cnamScope+`"],"carrier_codes":[1],"subscriptions":[{"event_subscription_name":"down","events":["`+cnamEvent+`"],"event_webhook_url":"http://down.test/"}]}]}`)
		change("DELETE "+subs+"/{id}", 204, subs+"/"+b.is(b.subscription("down").ID, "DOWN-ID"), "")

		// What failed is sent again, and what was called off is not.
		var failed []Delivery
		for range 3 {
			failed = append(failed, b.deliveryOf(b.publish(cnam("fail")).Event, sub))
		}
		synctest.Wait()
		for i, d := range failed {
			b.is(d.ID, fmt.Sprint("DELIVERY-", i))
		}
		change("POST "+operator+"/deliveries/{id}/resend", 202, operator+"/deliveries/"+failed[0].ID+"/resend", "")
		synctest.Wait()
		change("POST "+operator+"/resend", 202, operator+"/resend?state=failed&app_id="+app.ID, "")
		synctest.Wait()
		again(202, "POST", operator+"/resend?state=exhausted", "")
		change("POST "+subs+"/{id}/disable", 204, subs+"/"+sub.ID+"/disable", "")
		again(204, "POST", subs+"/"+sub.ID+"/disable", "")
		again(409, "POST", operator+"/deliveries/"+failed[0].ID+"/resend", "")

		// The app itself, through the public API.
		basic := func(r *http.Request) { r.SetBasicAuth(app.ClientID, app.ClientSecret) }
		token := header("Authorization", "Bearer "+read[AccessToken](t, b.want(200, "POST", "/oauth/token?grant_type=client_credentials", "", basic)).Token)
		const public = "/v2/marketplace/app/event_subscription"
		own := read[map[string]string](t, change("POST "+public, 201, public, `{"event_subscription_name":"own","events":["`+cnamEvent+`"],"event_webhook_url":"http://hooks.test/own","subscription_scope":"user","user_ids":["bob"],
			"custom_header":{"custom_header_type":1,"username":"ann","password":"password-of-ann"}}`, token))["event_subscription_id"]
		b.is(own, "OWN-ID")
		b.want(201, "PUT", accounts+"/acme/users/carl", `{}`)
		change("PATCH "+public+"/{id}", 204, public+"/"+own, `{"account_id":"acme","user_ids":["carl"]}`, token)
		change("DELETE "+public, 204, public+"?event_subscription_id="+own+"&account_id=acme&user_ids=bob", "", token)
		change("DELETE "+public+"/{id}", 204, public+"/"+own, "", token)

		const peering = "/v2/number_management/peering_numbers"
		b.want(200, "PUT", one, `{"scopes":["`+cnamScope+`","number_management_numbers:write:admin"]}`)
		change("POST "+peering, 201, peering, `{"phone_numbers":[{"phone_number":"+14155550142","sip_trunk_name":"west-1","status":false}]}`, token)
		again(201, "POST", peering, `{"phone_numbers":[{"phone_number":"+14155550142","sip_trunk_name":"west-1","status":false}]}`, token)
		change("PATCH "+peering, 204, peering, `{"phone_numbers":[{"phone_number":"+14155550142","status":true}]}`, token)
		again(204, "PATCH", peering, `{"phone_numbers":[{"phone_number":"+14155550142","status":true}]}`, token)
		change("DELETE "+peering, 200, peering+"?phone_numbers=%2B14155550142,%2B14155550132", "", token)
		again(400, "DELETE", peering+"?phone_numbers=%2B14155550142", "", token)

		rotated := read[ClientSecret](t, change("POST "+apps+"/{id}/client_secret", 200, one+"/client_secret", `{"overlap_seconds":60}`))
		renewed := read[SecretToken](t, change("POST "+apps+"/{id}/secret_token", 200, one+"/secret_token", `{}`))
		secrets = append(secrets, rotated.ClientSecret, renewed.SecretToken)
		change("DELETE "+apps+"/{id}", 204, one, "")
		again(404, "DELETE", one, "")

		change("PUT "+operator+"/event_types/{name}/check", 204, operator+"/event_types/"+cnamEvent+"/check", `{"check":"report"}`)
		again(204, "PUT", operator+"/event_types/"+cnamEvent+"/check", `{"check":"report"}`)
		change("POST "+operator+"/catalog", 200, operator+"/catalog", `{"openapi":"3.1.0","info":{"title":"Shop"},"webhooks":{"shop.closed":{"post":{"requestBody":{}}}}}`)
		again(200, "POST", operator+"/catalog?dry_run=true", `{"openapi":"3.1.0","info":{"title":"Shop"},"webhooks":{"shop.open":{"post":{"requestBody":{}}}}}`)
		change("POST "+operator+"/notices/test", 202, operator+"/notices/test", `{"to":"ann@acme.test"}`)

		golden(t, "audit.golden", b.named(text.String()))
		all := b.want(200, "GET", operator+"/audit?page_size=300", "").body
		for _, s := range secrets {
			if strings.Contains(all, s) {
				t.Errorf("the audit trail has the secret %s in it", s)
			}
		}

		// Publishing is in the log of events; it changes nothing that is configured. Nor does
		// sending an event again to those who listen, which nothing remembers.
		covered["POST /v2/events"], covered["POST "+operator+"/events/{id}/listeners"] = true, true
		for pattern := range (&api{}).routes() {
			if !covered[pattern] && !strings.HasPrefix(pattern, "GET ") {
				t.Errorf("%s is not tried", pattern)
			}
		}

		// All of it is kept, however old it is.
		time.Sleep(10 * 365 * 24 * time.Hour)
		must(t, b.db.Expire(t.Context(), time.Now()))
		if kept := b.want(200, "GET", operator+"/audit?page_size=300", "").body; kept != all {
			t.Errorf("of the audit trail\n%s\nis left\n%s", all, kept)
		}
	})
}

// The audit trail can be asked for what somebody did, for what was done to something,
// and for a span of time.
func TestAuditFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.want(201, "PUT", operator+"/accounts/a", "{}")
		time.Sleep(time.Hour)
		b.want(201, "PUT", operator+"/accounts/b", "{}", with(manageKey))
		b.want(201, "PUT", operator+"/accounts/a/users/b", "{}")
		time.Sleep(time.Hour)
		b.want(201, "PUT", operator+"/accounts/b/users/a", "{}", with(manageKey))
		const (
			a, bb, ab, ba = `key-all create account a "a"`, `key-manage create account b "b"`, `key-all create user b "a/b"`, `key-manage create user a "b/a"`
			one           = "2000-01-01T01:00:00Z"
		)
		for query, want := range map[string][]string{
			"":                          {a, bb, ab, ba},
			"id=a":                      {a, ba},
			"id=a&kind=user":            {ba},
			"kind=account":              {a, bb},
			"by=key-manage":             {bb, ba},
			"by=key-manage&id=b":        {bb},
			"from=" + one:               {bb, ab, ba},
			"to=" + one:                 {a},
			"from=" + one + "&id=b":     {bb, ab},
			"id=b&to=" + one:            nil,
			"from=2000-01-01T01:00:01Z": {ba},
			"from=" + one + "&to=2000-01-01T01:00:00.001Z":                        {bb, ab},
			"from=" + one + "&to=" + one:                                          nil,
			"from=" + url.QueryEscape("2000-01-01T02:00:00+01:00") + "&kind=user": {ab, ba},
			"id=none": nil,
		} {
			if got := get[trail](b.platform, operator+"/audit?"+query).lines(); !slices.Equal(got, want) {
				t.Errorf("%q lists %q, want %q", query, got, want)
			}
		}
		for query, fields := range map[string][]string{
			"page_size=0": {"page_size"}, "page_size=301": {"page_size"}, "page_size=x": {"page_size"},
			"from=yesterday": {"from"}, "to=1": {"to"}, "from=2000-01-02T00:00:00Z&to=2000-01-01T00:00:00Z": {"to"},
			"kind=apps": {"kind"}, "subject=a": {"subject"}, "from=x&limit=1&to=y": {"limit", "from", "to"},
		} {
			f := read[fault](t, b.want(400, "GET", operator+"/audit?"+query, ""))
			var got []string
			for _, x := range f.Errors {
				got = append(got, x.Field)
			}
			if f.Code != 300 || !slices.Equal(got, fields) {
				t.Errorf("%q: %+v", query, f)
			}
		}
		// Who has done nothing yet, or nothing in that time, is no mistake.
		if got := get[trail](b.platform, operator+"/audit?by=key-manage&to=2000-01-01T00:00:00Z").lines(); len(got) > 0 {
			t.Errorf("%q", got)
		}
		f := read[fault](t, b.want(404, "GET", operator+"/audit?by=none", ""))
		if f.Message != `Not found: no operator key and no app has the id "none", or has had it` {
			t.Errorf("%+v", f)
		}
	})
}

// Pages show each entry once, whatever is done meanwhile, and a page token belongs to its
// query.
func TestAuditPages(t *testing.T) {
	p := newPlatform(t, options{idle: true})
	var want []string
	for i := range 7 {
		p.want(201, "PUT", fmt.Sprintf("%s/accounts/a%d", operator, i), "{}")
		want = append(want, fmt.Sprint("a", i))
	}
	slices.Reverse(want)
	path := operator + "/audit?kind=account&page_size=3"
	var got []string
	tokens := map[string]bool{}
	for next := ""; ; {
		page := get[trail](p, path+"&next_page_token="+next)
		for _, e := range page.Entries {
			got = append(got, e.ID)
		}
		p.want(201, "PUT", fmt.Sprintf("%s/accounts/later%d", operator, len(got)), "{}")
		if next = page.Next; next == "" {
			break
		}
		tokens[next] = true
		if page.PageSize != 3 || len(page.Entries) != 3 {
			t.Errorf("a page is %+v", page)
		}
		// The size of pages may change; what is asked for may not.
		if x := get[trail](p, operator+"/audit?kind=account&page_size=1&next_page_token="+next); len(x.Entries) != 1 {
			t.Errorf("a smaller page is %+v", x)
		}
		for _, wrong := range []string{
			operator + "/audit?kind=user&next_page_token=" + next, operator + "/audit?next_page_token=" + next, operator + "/audit?kind=account&from=2000-01-01T00:00:00Z&next_page_token=" + next,
			path + "&next_page_token=" + next + "A", path + "&next_page_token=" + next[1:], path + "&next_page_token=x",
		} {
			if f := read[fault](t, p.want(400, "GET", wrong, "")); len(f.Errors) != 1 || f.Errors[0].Field != "next_page_token" {
				t.Errorf("%s: %+v", wrong, f)
			}
		}
	}
	if !slices.Equal(got, want) || len(tokens) != 2 {
		t.Errorf("the pages show %q after %d tokens, want %q", got, len(tokens), want)
	}
}
