package api

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/canon"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/memnet"
	"github.com/switchhook/switchhook/internal/number"
)

const (
	peering        = "/v2/number_management/peering_numbers"
	carrierPeering = "/v2/number_management/carrier/peering_numbers"

	addressEvent = "number_management.peering_number_emergency_address_updated"
)

// newExchange is a platform in a bubble with the carriers 1, 2 and 3. The apps blue, which
// has an endpoint, and two are those of account carrier: one has carrier 1, the other one
// 1, 2, and codes that no carrier has. The app red is another account's, and has carrier 3.
// All of them are installed on customer and partner.
func newExchange(t testing.TB, o options) (*market, *endpoint) {
	t.Helper()
	hooks := &endpoint{release: make(chan struct{})}
	if o.net == nil {
		o.net = &memnet.Net{}
	}
	o.net.Handle(t, "hooks.test", hooks.handler(t))
	m := &market{platform: newPlatform(t, o)}
	now := time.Now()
	app := func(name, account string, codes []int32, scopes ...string) *hook.App {
		return &hook.App{
			ID: "app-" + name, Name: name, Account: account, ClientID: "client-" + name, ClientSecret: hook.HashSecret(hook.Secret("secret-" + name)),
			SecretToken: secretToken, Scopes: scopes, CarrierCodes: codes, Created: now,
		}
	}
	c := hook.Change{
		Accounts: []*hook.Account{{ID: "carrier"}, {ID: "elsewhere"}, {ID: "customer", Name: "Pinecone Bakery"}, {ID: "partner"}},
		Apps: []*hook.App{
			app("blue", "carrier", []int32{1}, scopeNumbersRead, scopeNumbersWrite),
			app("two", "carrier", []int32{-1, 0, 1, 2, 9}, scopeNumbersRead, scopeNumbersWrite),
			app("none", "carrier", nil, scopeNumbersRead, scopeNumbersWrite),
			app("red", "elsewhere", []int32{3}, scopeNumbersRead, scopeNumbersWrite),
			app("bare", "carrier", []int32{1}, scopeLogs),
		},
		Subscriptions: []*hook.Subscription{{
			ID: ownID, App: "app-blue", Name: "numbers", Events: []string{cnamEvent, addressEvent}, Endpoint: hook.Endpoint{URL: "http://hooks.test/hook", State: hook.Valid, StateSince: now, Checked: now},
			Scope: hook.ScopeAccount, Subscribers: []hook.Subscriber{{}}, Source: hook.SourceDefault, Created: now,
		}},
	}
	for _, app := range []string{"app-blue", "app-two", "app-red"} {
		for _, account := range []string{"customer", "partner"} {
			c.Installations = append(c.Installations, hook.Installation{App: app, Account: account})
		}
	}
	var err error
	c.Subscriptions[0].Key, err = hook.KeyOf(ownID)
	must(t, err)
	must(t, m.db.Change(c, now))
	for code, name := range map[int32]string{1: "Blue Carrier", 2: "Blue Mobile", 3: "Red Carrier"} {
		_, err := m.inventory.PutCarrier(t.Context(), hook.Actor{Kind: hook.BySystem}, number.Carrier{Code: code, Name: name})
		must(t, err)
	}
	return m, hooks
}

// phone is a number of San Francisco.
func phone(i int) string { return fmt.Sprintf("+1415555%04d", i) }

// adds adds a number as a carrier's program does.
func (c *program) adds(carrier int32, numbers ...string) {
	c.t.Helper()
	var items []string
	for _, n := range numbers {
		items = append(items, fmt.Sprintf(`{"phone_number":"%s","sip_trunk_name":"west-1","status":true}`, n))
	}
	c.want(201, "POST", peering, fmt.Sprintf(`{"carrier_code":%d,"phone_numbers":[%s]}`, carrier, strings.Join(items, ",")))
}

// numberPage is a page of a carrier's numbers.
type numberPage struct {
	Next     string          `json:"next_page_token"`
	PageSize int             `json:"page_size"`
	Total    int             `json:"total_records"`
	Numbers  []CarrierNumber `json:"numbers"`
}

// listed returns which numbers a list shows.
func (c *program) listed(path string) (all []string) {
	c.t.Helper()
	p := read[numberPage](c.t, c.want(200, "GET", path, ""))
	for _, n := range p.Numbers {
		all = append(all, n.E164)
	}
	if p.Next == "" && !strings.Contains(path, "next_page_token") && p.Total != len(all) {
		c.t.Errorf("%s: %d numbers, and %d are counted", path, len(all), p.Total)
	}
	return all
}

// What the calls answer, in all their modes.
func TestPeeringAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := newExchange(t, options{rates: Rates{Light: 100}})
		blue, two, red, carrier := m.program("blue", "customer"), m.program("two", "partner"), m.program("red", "customer"), m.program("blue", "")
		ask := func(name string, c *program, method, path, body string) {
			t.Helper()
			time.Sleep(time.Second) // so that the budget is always full
			if body != "" {
				name += ": " + body
			}
			m.show(name+"\n"+method+" "+path, c.call(method, path, body))
		}
		list := func(c *program) {
			t.Helper()
			ask("which is", c, "GET", peering, "")
		}
		ask("nothing yet", blue, "GET", peering, "")
		ask("add", blue, "POST", peering, `{"carrier_code":1,"phone_numbers":[{"phone_number":"+14155550132","sip_trunk_name":"west-1","status":true},`+
			`{"phone_number":" +18005550199 ","sip_trunk_name":" west-2 ","status":false,"number_type":"TollFree","billing_ref_id":"B-1","service_info":"a & b"}]}`)
		ask("add again", blue, "POST", peering, `{"phone_numbers":[{"phone_number":"+18005550199","sip_trunk_name":"west-2","status":false,"number_type":"TollFree","billing_ref_id":"B-1","service_info":"a & b"}]}`)
		ask("add, with what is not kept", blue, "POST", peering, `{"allocated_product":"ZOOM_CONTACT_CENTER","voice_msg_capacity":1,"phone_numbers":[{"phone_number":"+14155550133","sip_trunk_name":"west-1","status":true,`+
			`"number_type":null,"voice_direction":"BOTH","outbound_dialer_not_supported":true,"outbound_cli_share_not_supported":false,"message_capability":["SMS"]}]}`)
		ask("add for another customer", two, "POST", peering, `{"carrier_code":2,"phone_numbers":[{"phone_number":"+14155550142","sip_trunk_name":"east","status":true}]}`)
		ask("add for another carrier", red, "POST", peering, `{"phone_numbers":[{"phone_number":"+14155550152","sip_trunk_name":"red","status":true}]}`)
		m.want(200, "PATCH", operator+"/numbers", `{"phone_numbers":["+14155550132","+14155550142"],"set":{"cnam":"PINECONE BAKERY","assigned":true,
			"emergency_address":{"country":"us","address_line1":"1200 Battery Street","address_line2":"Floor 4","city":"San Francisco","zip":"94111","state_code":"ca"}}}`)
		list(blue)
		ask("one", blue, "GET", peering+"?phone_number=+14155550132&carrier_code=&page_size=1", "")
		ask("one that is not there", blue, "GET", peering+"?phone_number=%2B14155550142", "")
		ask("a page", blue, "GET", peering+"?carrier_code=1&page_size=1", "")
		m.named(read[numberPage](t, m.answers[len(m.answers)-1]).Next, "NEXT")

		ask("change", blue, "PATCH", peering, `{"phone_numbers":[{"phone_number":"+14155550132","status":false,"billing_ref_id":"B-2"},{"phone_number":"+18005550199","service_info":"","billing_ref_id":null}]}`)
		ask("set aside", blue, "PATCH", peering, `{"carrier_code":1,"allocated_product":"ZOOM_PHONE","phone_numbers":[{"phone_number":"+14155550132","sip_trunk_name":"west-3","number_type":"Mobile"}]}`)
		ask("nothing", blue, "PATCH", peering, `{"phone_numbers":[{"phone_number":"+14155550132"}]}`)
		list(blue)
		ask("all customers", carrier, "GET", carrierPeering, "")
		ask("one customer", m.program("two", ""), "GET", carrierPeering+"?customer_account_number=partner&carrier_code=2", "")
		ask("with a customer's token", m.program("two", "partner"), "GET", carrierPeering, "")
		ask("with a customer's token, of another one", m.program("two", "partner"), "GET", carrierPeering+"?customer_account_number=customer", "")
		ask("of no carrier", m.program("none", ""), "GET", carrierPeering, "")

		blue.adds(1, phone(1), phone(2), phone(3), phone(4), phone(5))
		for _, path := range []string{"?phone_numbers=%2B14155550001", "?carrier_code=1&phone_numbers=+14155550002,14155550003", "?phone_numbers[]=%2B14155550004&phone_numbers%5B%5D=%2B14155550005"} {
			ask("remove", blue, "DELETE", peering+path, "")
		}
		list(blue)
		ask("remove, with what the customer says", blue, "DELETE", peering+"?phone_numbers=%2B14155550132", "")
		list(blue)
		m.golden("peering.golden")
	})
}

// What a request may be, each mistake once, and several together. A call applies whole or
// not at all: after none of these anything has changed.
func TestPeeringFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := newExchange(t, options{idle: true})
		blue, two, red := m.program("blue", "customer"), m.program("two", "customer"), m.program("red", "customer")
		blue.adds(1, phone(1), phone(2))
		blue.want(204, "PATCH", peering, `{"allocated_product":"ZOOM_PHONE","phone_numbers":[{"phone_number":"`+phone(2)+`"}]}`)
		m.program("blue", "partner").adds(1, phone(11))
		two.adds(2, phone(21))
		red.adds(3, phone(31))
		before := state(m.platform)
		ask := func(name string, c *program, method, path, body string) {
			t.Helper()
			if body != "" {
				name += ": " + body
			}
			m.show(name+"\n"+method+" "+path, c.call(method, path, long.Replace(body)))
			if after := state(m.platform); after != before {
				t.Errorf("%s: the platform was\n%s\nand is\n%s", name, before, after)
				before = after
			}
		}
		// fine is a number that could be added or changed if there were no others.
		fine := map[string]string{"POST": `{"phone_number":"+14155550199","sip_trunk_name":"west-1","status":true}`, "PATCH": `{"phone_number":"` + phone(1) + `","status":false}`}
		items := func(method string, list ...string) string {
			return `{"phone_numbers":[` + strings.Join(append([]string{fine[method]}, list...), ",") + `]}`
		}
		item := func(e164, more string) string {
			return `{"phone_number":"` + e164 + `","sip_trunk_name":"west-1","status":true` + more + `}`
		}

		for _, method := range []string{"POST", "PATCH"} {
			for _, body := range []string{"", "null", "[]", "{", "{}x", `{"phone_numbers":{}}`, `{"phone_numbers":["+1"]}`, `{"phone_numbers":[{"phone_number":1}]}`, `{"carrier_code":"1","phone_numbers":[{}]}`,
				`{"carrier_code":2147483648,"phone_numbers":[{}]}`, `{"carrier_code":1.5}`, `{"phone_numbers":[{"status":"true"}]}`, `{"allocated_product":1}`, "{<1 MiB>}"} {
				ask("1500", blue, method, peering, body)
			}
			for _, body := range []string{"{}", `{"phone_numbers":null}`, `{"carrier_code":99,"phone_numbers":[]}`} {
				ask("1002", blue, method, peering, body)
			}
			for name, body := range map[string]string{"201 numbers": strings.Repeat(","+fine[method], 201), "1001 numbers of another carrier": strings.Repeat(`,{"a":1}`, 1001)} {
				a := blue.want(400, method, peering, `{"phone_numbers":[`+body[1:]+`],"carrier_code":1}`)
				if a.body != `{"code":1003,"message":"Too many numbers, should less than 200"}`+"\n" {
					t.Errorf("%s, %s: %s", method, name, a.body)
				}
			}
			for _, code := range []string{"2", "3", "99", "0", "-1", "null"} {
				ask("1001, "+code, m.program("none", ""), method, peering, `{"carrier_code":`+code+`,"phone_numbers":[`+fine[method]+`]}`)
			}
			ask("1001, another app's", blue, method, peering, `{"carrier_code":3,"phone_numbers":[`+fine[method]+`]}`)
			ask("1001, the app has several", two, method, peering, `{"phone_numbers":[`+fine[method]+`]}`)
			for _, code := range []string{"9", "0", "-1"} {
				ask("1001, which the app has, but no carrier", two, method, peering, `{"carrier_code":`+code+`,"phone_numbers":[`+fine[method]+`]}`)
			}
		}

		for _, e164 := range []string{"", "14155550132", "+1 415 555 0132", "+1415", "+99915550132", "tel:+14155550132", "+14155550132\\u0000", "<129 x>"} {
			ask("1000, add", blue, "POST", peering, items("POST", item(e164, "")))
		}
		for _, x := range []string{
			`null`, `{}`, `{"phone_number":"` + phone(5) + `"}`, `{"phone_number":"` + phone(5) + `","sip_trunk_name":" ","status":null}`,
			item(phone(5), `,"sip_trunk_name":"<129 x>"`), item(phone(5), `,"sip_trunk_name":"a\nb"`), item(phone(5), `,"number_type":"Fax"`), item(phone(5), `,"number_type":"VirtualService"`),
			item(phone(5), `,"billing_ref_id":"<65 x>"`), item(phone(5), `,"service_info":"<256 x>"`),
			item("+14155550199", ""), item(phone(1), `,"status":false`), item(phone(11), ""), item(phone(21), ""), item(phone(31), ""),
		} {
			ask("1000, add", blue, "POST", peering, items("POST", x))
		}
		ask("1000, add", blue, "POST", peering, `{"allocated_product":"FAX","phone_numbers":[`+fine["POST"]+`,`+item(phone(5), "")+`]}`)
		ask("1000, add, all of them", blue, "POST", peering, items("POST", item(phone(31), ""), item("x", `,"sip_trunk_name":""`), `{"phone_number":"`+phone(2)+`"}`, item(phone(6), `,"number_type":"Fax"`), item(phone(11), ""), item("+1415", "")))

		for _, x := range []string{
			`null`, `{}`, item("+1415", ""), item("14155550001", ""), item(phone(5), ""), item(phone(11), ""), item(phone(21), ""), item(phone(31), ""), `{"phone_number":"` + phone(1) + `","sip_trunk_name":""}`,
			item(phone(1), `,"sip_trunk_name":"<129 x>"`), item(phone(1), `,"number_type":"Fax"`), item(phone(1), `,"number_type":"VirtualService"`), item(phone(1), `,"billing_ref_id":"<65 x>"`),
		} {
			ask("1000, change", blue, "PATCH", peering, items("PATCH", x))
		}
		ask("1000, change", blue, "PATCH", peering, `{"allocated_product":"ZOOM_CONTACT_CENTER","phone_numbers":[`+fine["PATCH"]+`,{"phone_number":"`+phone(2)+`"}]}`)
		ask("1000, change, with another customer's token", m.program("blue", "partner"), "PATCH", peering, items("PATCH"))
		ask("1000, change, with the carrier's own token", m.program("blue", ""), "PATCH", peering, items("PATCH"))

		for _, query := range []string{
			"", "phone_numbers=", "phone_numbers=,&carrier_code=99", "phone_numbers=" + strings.Repeat("1,", 201),
			"carrier_code=x&phone_numbers=" + url.QueryEscape(phone(1)), "carrier_code=4294967297&phone_numbers=1", "carrier_code=3&phone_numbers=" + url.QueryEscape(phone(1)), "carrier_code=0&phone_numbers=1",
			"phone_numbers=" + url.QueryEscape(phone(1)+","+phone(5)), "phone_numbers=" + url.QueryEscape(phone(1)+",x, 1415,"+phone(11)+","+phone(21)+","+phone(31)),
		} {
			ask("remove", blue, "DELETE", peering+"?"+query, "")
		}
		ask("remove, the app has several carriers", two, "DELETE", peering+"?phone_numbers="+url.QueryEscape(phone(21)), "")
		ask("remove, with another customer's token", m.program("two", "partner"), "DELETE", peering+"?carrier_code=2&phone_numbers="+url.QueryEscape(phone(21)), "")

		for _, path := range []string{peering, carrierPeering} {
			for _, query := range []string{"page_size=0", "page_size=301", "page_size=x", "carrier_code=x", "carrier_code=3", "carrier_code=99", "carrier_code=0", "next_page_token=x"} {
				ask("list", blue, "GET", path+"?"+query, "")
			}
			for _, code := range []string{"9", "0", "-1"} { // which the app has, but no carrier
				ask("list", two, "GET", path+"?carrier_code="+code, "")
			}
		}
		m.golden("peering_faults.golden")

		// What could have been done is done when it is asked for alone.
		blue.want(201, "POST", peering, items("POST"))
		blue.want(204, "PATCH", peering, items("PATCH"))
		blue.want(200, "DELETE", peering+"?phone_numbers="+url.QueryEscape(phone(1)), "")
	})
}

// An app is let in with any one of the scopes that a call takes, and with no others.
func TestPeeringScopes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := newExchange(t, options{idle: true})
		calls := map[string][]string{
			"GET " + peering:        {"number_management_numbers:read:admin", "number_management:read:list_peering_numbers:admin"},
			"POST " + peering:       {"number_management_numbers:write:admin", "number_management:write:peering_number:admin"},
			"PATCH " + peering:      {"number_management_numbers:write:admin", "number_management:update:peering_number:admin"},
			"DELETE " + peering:     {"number_management_numbers:write:admin", "number_management:delete:peering_number:admin"},
			"GET " + carrierPeering: {"number_management_numbers:read:admin", "number_management:read:list_carrier_peering_numbers:admin"},
		}
		all := []string{scopeLogs}
		for _, scopes := range calls {
			all = append(all, scopes...)
		}
		blue := m.program("blue", "customer")
		for _, scope := range all {
			m.want(200, "PUT", operator+"/apps/app-blue", `{"scopes":["`+scope+`"]}`)
			for call, scopes := range calls {
				method, path, _ := strings.Cut(call, " ")
				a := blue.call(method, path, "{}")
				refused := fmt.Sprintf(`{"code":4711,"message":"Invalid access token, does not contain scopes:[%s]"}`+"\n", strings.Join(scopes, ","))
				if slices.Contains(scopes, scope) == (a.body == refused) {
					t.Errorf("%s with %s: %d %s", call, scope, a.status, a.body)
				}
			}
		}
	})
}

// Pages show each number once, whatever is added and removed meanwhile. A token belongs
// to the query, to the app and to the account that it was given to, for 15 minutes.
func TestPeeringPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := newExchange(t, options{idle: true})
		customer, own := m.program("two", "customer"), m.program("two", "")
		var want []string
		for i := range 7 {
			customer.adds(int32(1+i%2), phone(10+i))
			want = append(want, phone(10+i))
		}
		m.program("two", "partner").adds(1, phone(20))
		m.program("red", "customer").adds(3, phone(30))
		for _, x := range []struct {
			c    *program
			path string
			want []string
		}{
			{customer, peering + "?page_size=3", want}, {own, carrierPeering + "?page_size=3", append(want, phone(20))},
			{own, carrierPeering + "?page_size=3&customer_account_number=customer", want}, {customer, carrierPeering + "?page_size=3", want},
			{own, carrierPeering + "?page_size=2&carrier_code=2", []string{phone(11), phone(13), phone(15)}},
		} {
			var got []string
			for next := ""; ; {
				p := read[numberPage](t, x.c.want(200, "GET", x.path+"&next_page_token="+next, ""))
				for _, n := range p.Numbers {
					got = append(got, n.E164)
				}
				if p.Total != len(x.want) || p.Next != "" && len(p.Numbers) != p.PageSize {
					t.Errorf("%s: %d of %d, in all %d", x.path, len(p.Numbers), p.PageSize, p.Total)
				}
				if next = p.Next; next == "" {
					break
				}
			}
			if !slices.Equal(got, x.want) {
				t.Errorf("%s shows %q, want %q", x.path, got, x.want)
			}
		}

		next := read[numberPage](t, customer.want(200, "GET", peering+"?page_size=3&carrier_code=1", "")).Next
		customer.want(200, "DELETE", peering+"?carrier_code=1&phone_numbers="+url.QueryEscape(phone(14)), "") // the one that the page ended with
		customer.adds(1, phone(1), phone(15+4))
		page := func(c *program, status int, path, token string) string {
			t.Helper()
			time.Sleep(time.Second)
			a := c.want(status, "GET", path+"&next_page_token="+token, "")
			if status == 400 && a.body != `{"code":1003100,"message":"The next page token is invalid or expired."}`+"\n" {
				t.Errorf("%s: %s", a.call, a.body)
			}
			return a.body
		}
		if got := read[numberPage](t, reply{body: page(customer, 200, peering+"?page_size=300&carrier_code=1", next)}); len(got.Numbers) != 2 || got.Numbers[0].E164 != phone(16) || got.Numbers[1].E164 != phone(19) || got.Total != 5 {
			t.Errorf("the second page is %+v", got)
		}
		for _, path := range []string{
			peering + "?page_size=3", peering + "?page_size=3&carrier_code=2", peering + "?carrier_code=1&phone_number=" + url.QueryEscape(phone(16)), peering + "?carrier_code=1&x=1", carrierPeering + "?carrier_code=1",
		} {
			page(customer, 400, path, next)
		}
		page(m.program("two", "partner"), 400, peering+"?carrier_code=1", next)
		page(m.program("blue", "customer"), 400, peering+"?carrier_code=1", next)
		page(customer, 400, peering+"?carrier_code=1", next[:len(next)-1])
		time.Sleep(15*time.Minute - 11*time.Second)
		page(customer, 200, peering+"?carrier_code=1", next)
		page(customer, 400, peering+"?carrier_code=1", next)
	})
}

// Nobody sees or changes what is another carrier's or another customer's.
func TestPeeringIsOnesOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := newExchange(t, options{idle: true})
		m.program("two", "customer").adds(1, phone(11))
		m.program("two", "partner").adds(1, phone(12))
		m.program("two", "customer").adds(2, phone(21))
		m.program("red", "customer").adds(3, phone(31))
		m.program("red", "").adds(3, phone(32))
		for _, x := range []struct {
			app, account, path string
			want               []string
		}{
			{"blue", "customer", peering, []string{phone(11)}}, {"blue", "partner", peering, []string{phone(12)}}, {"blue", "", peering, nil},
			{"two", "customer", peering, []string{phone(11), phone(21)}}, {"two", "customer", peering + "?carrier_code=2", []string{phone(21)}},
			{"red", "customer", peering, []string{phone(31)}}, {"red", "", peering, []string{phone(32)}}, {"none", "", peering, nil},
			{"blue", "", carrierPeering, []string{phone(11), phone(12)}}, {"blue", "partner", carrierPeering, []string{phone(12)}},
			{"two", "", carrierPeering, []string{phone(11), phone(12), phone(21)}}, {"two", "", carrierPeering + "?customer_account_number=partner", []string{phone(12)}},
			{"two", "partner", carrierPeering + "?customer_account_number=customer", nil}, {"two", "", carrierPeering + "?customer_account_number=elsewhere", nil},
			{"red", "", carrierPeering, []string{phone(31), phone(32)}}, {"none", "", carrierPeering, nil},
			{"blue", "", carrierPeering + "?phone_number=" + url.QueryEscape(phone(31)), nil}, {"blue", "", carrierPeering + "?phone_number=14155550012", []string{phone(12)}},
			{"blue", "customer", peering + "?phone_number=" + url.QueryEscape(phone(12)), nil}, {"blue", "customer", peering + "?phone_number=none", nil},
		} {
			if got := m.program(x.app, x.account).listed(x.path); !slices.Equal(got, x.want) {
				t.Errorf("%s for %q: %s shows %q, want %q", x.app, x.account, x.path, got, x.want)
			}
		}
	})
}

// A carrier learns of what customers say of its numbers: these are the bytes that arrive.
func TestPeeringEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, hooks := newExchange(t, options{})
		m.program("blue", "customer").adds(1, phone(1), phone(2), phone(3))
		m.program("blue", "partner").adds(1, phone(11))
		m.program("red", "customer").adds(3, phone(31))
		var text strings.Builder
		does := func(what, method, path, body string) {
			t.Helper()
			m.want(200, method, path, body)
			time.Sleep(time.Second)
			synctest.Wait()
			hooks.mu.Lock()
			defer hooks.mu.Unlock()
			slices.SortFunc(hooks.seen, func(a, b received) int { return strings.Compare(a.body, b.body) }) // of the same instant
			fmt.Fprintf(&text, "== %s\n%s %s %s\n", what, method, path, body)
			for _, x := range hooks.seen {
				fmt.Fprintf(&text, "%s\n", x.body)
				var e struct{ Event string }
				must(t, json.Unmarshal([]byte(x.body), &e))
				kind, ok := m.catalog.Lookup(e.Event)
				if !ok {
					t.Fatalf("%s is no event type", e.Event)
				}
				if faults := kind.Check([]byte(x.body)); len(faults) > 0 {
					t.Errorf("%s: %v", x.body, faults)
				}
				if again, err := canon.Append(nil, []byte(x.body)); err != nil || string(again) != x.body {
					t.Errorf("%s is %s in JavaScript: %v", x.body, again, err)
				}
			}
			hooks.seen = nil
		}
		const numbers = operator + "/numbers"
		does("a caller name", "PATCH", numbers+"/+14155550001", `{"cnam":"PINECONE <&> B."}`)
		does("an address, of several", "PATCH", numbers, `{"phone_numbers":["+14155550003","+14155550001","+14155550031"],"set":{"emergency_address":{"country":"US","address_line1":"1200 Bättery Street <&>","address_line2":"Floor 4","city":"San Francisco","zip":"94111","state_code":"CA"}}}`)
		does("both, of all customers", "PATCH", numbers, `{"filter":{"carrier_code":1},"set":{"cnam":"PINECONE <&> B.","emergency_address":{"address_line1":"1 Embarcadero"}}}`)
		does("nothing new", "PATCH", numbers, `{"filter":{"all":true},"set":{"cnam":"PINECONE <&> B."}}`)
		does("what is not told", "PATCH", numbers+"/+14155550001", `{"assigned":true}`)
		does("cleared", "PATCH", numbers, `{"filter":{"account_id":"customer"},"set":{"cnam":null,"emergency_address":null}}`)
		golden(t, "peering_events.golden", text.String())
	})
}

// FuzzPeering: whatever a carrier's program says of numbers, it is done whole, and the
// list shows it as it was said, or the answer is a fault that the contract knows, and
// nothing has changed.
func FuzzPeering(f *testing.F) {
	const one = `{"phone_number":"+14155550132","sip_trunk_name":"west-1","status":true`
	for _, body := range []string{
		"", "null", "[]", "{", "{}", "{}{}", "\ufeff{}", "\xff", `{"phone_numbers":[` + one + `}]}`, `{"phone_numbers":[` + one + `},` + one + `}]}`, `{"phone_numbers":[null,{},[]]}`,
		`{"carrier_code":1,"allocated_product":"ZOOM_CONTACT_CENTER","phone_numbers":[` + one + `,"number_type":"VirtualService","billing_ref_id":"\u00e4\ud83c\udf32","service_info":" x "}]}`,
		`{"carrier_code":null,"allocated_product":null,"phone_numbers":[` + one + `,"number_type":null,"billing_ref_id":null}]}`, `{"PHONE_NUMBERS":[{"Phone_Number":"+442079460127","SIP_trunk_name":"\u2028","status":false}]}`,
		`{"phone_numbers":[` + one + `,"phone_number":"+14155550133"}]}`, `{"carrier_code":1e0,"phone_numbers":[` + one + `}]}`, `{"carrier_code":-0,"phone_numbers":[` + one + `}]}`,
		`{"phone_numbers":[{"phone_number":"+1415555\u0000132","sip_trunk_name":"\ud800","status":true}]}`, `{"phone_numbers":[` + strings.Repeat(one+`},`, 200) + one + `}]}`,
	} {
		for _, method := range []string{"POST", "PATCH"} {
			f.Add(method == "POST", body)
		}
	}
	var net memnet.Net
	m, _ := newExchange(f, options{idle: true, net: &net})
	c := m.program("blue", "customer")
	call := func(method, path, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		with(c.token)(r)
		w := httptest.NewRecorder()
		c.handler.ServeHTTP(w, r)
		return w
	}
	listed := func(t *testing.T) (all map[string]PeeringNumber) {
		t.Helper()
		all = map[string]PeeringNumber{}
		for _, n := range read[numberPage](t, reply{body: call("GET", peering+"?page_size=300", "").Body.String()}).Numbers {
			all[n.E164] = n.PeeringNumber
		}
		return all
	}
	f.Fuzz(func(t *testing.T, post bool, body string) {
		method, done := "PATCH", 204
		if post {
			method, done = "POST", 201
		}
		if call("GET", peering, "").Code == 401 {
			t.Skip("its token has expired")
		}
		before := listed(t)
		w := call(method, peering, body)
		after := listed(t)
		if w.Code != done {
			var v struct {
				Code    int
				Message string
				Errors  []NumberFault
			}
			err := json.Unmarshal(w.Body.Bytes(), &v)
			if err != nil || w.Code != 400 || !slices.Contains([]int{1000, 1001, 1002, 1003, 1500}, v.Code) || v.Message == "" || (v.Code == 1000) != (len(v.Errors) > 0) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if fmt.Sprint(before) != fmt.Sprint(after) {
				t.Errorf("refused, and changed from %v to %v", before, after)
			}
			return
		}
		var asked PeeringRequest
		must(t, json.Unmarshal([]byte(body), &asked))
		if n := len(asked.Numbers); n == 0 || n > 200 || asked.Carrier != nil && *asked.Carrier != 1 {
			t.Errorf("done: %s", body)
		}
		last := map[string]PeeringItem{}
		for _, x := range asked.Numbers {
			last[strings.TrimSpace(x.E164)] = x
		}
		for e164, x := range last {
			n, ok := after[e164]
			said := func(s *string, is string) bool { return s == nil || strings.TrimSpace(*s) == is }
			if !ok || !said(x.SIPTrunkName, n.SIPTrunkName) || !said(x.BillingRefID, n.BillingRefID) || !said(x.ServiceInfo, n.ServiceInfo) || x.Status != nil && *x.Status != n.Status || x.Type != nil && *x.Type != "" && *x.Type != n.Type ||
				asked.Product != nil && *asked.Product != "" && *asked.Product != n.Product || n.SIPTrunkName == "" || n.Carrier != 1 {
				t.Errorf("%+v is %+v since", x, n)
			}
			if post {
				call("DELETE", peering+"?phone_numbers="+url.QueryEscape(e164), "")
			}
		}
	})
}
