package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/hook"
)

// shop is a document as another platform may publish it, with an example that
// does not fit its own schema.
const shop = `{
	"openapi": "3.1.0",
	"info": {"title": "Shop", "version": "1"},
	"webhooks": {
		"shop.order_created": {"post": {
			"summary": "Order created",
			"description": "**Scopes:** ` + "`order:read`" + `",
			"requestBody": {"content": {"application/json": {
				"schema": {"type": "object", "required": ["event", "event_ts", "payload"], "properties": {
					"event": {"const": "shop.order_created"},
					"payload": {"type": "object", "properties": {"account_id": {"type": "string"}, "total": {"type": "integer"}}}
				}},
				"examples": {"odd": {"value": {"event": "shop.order_created", "event_ts": 1768204800117, "payload": {"total": "much"}}}}
			}}}
		}},
		"shop.order_gone": {"post": {"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}}}
	}
}`

// imported is the answer to an import.
type imported struct {
	Import
	Notes []struct {
		Level, Pointer, Message string
		EventType               string `json:"event_type"`
	} `json:"notes"`
}

// An imported event type can be published from then on: with faults reported, as
// long as nobody asks for more.
func TestImport(t *testing.T) {
	p, g := newGated(t)
	types := func() (names []string) {
		t.Helper()
		list := get[struct {
			Types []EventType `json:"event_types"`
		}](p, operator+"/event_types?product=shop")
		for _, x := range list.Types {
			names = append(names, x.Name)
		}
		return names
	}
	good := `{"event":"shop.order_created","payload":{"account_id":"customer","total":5}}`
	odd := `{"event":"shop.order_created","payload":{"account_id":"customer","total":"much"}}`

	// A dry run says what would be imported, and imports nothing.
	for _, dry := range []bool{true, false} {
		path := operator + "/catalog"
		if dry {
			path += "?dry_run=true"
		}
		a := p.want(200, "POST", path, shop)
		v := read[imported](t, a)
		if v.Product != "shop" || strings.Join(v.Types, " ") != "shop.order_created shop.order_gone" || v.Notes == nil || len(v.Samples) != 1 {
			t.Errorf("import, dry run %v: %s", dry, a.body)
		}
		if v.Samples[0].EventType != "shop.order_created" || v.Samples[0].Sample != "odd" || v.Samples[0].Faults[0].Pointer != "/payload/total" {
			t.Errorf("what is wrong with the example: %+v", v.Samples)
		}
		docs, err := p.db.CatalogDocuments(t.Context())
		must(t, err)
		if known := len(types()) > 0; known == dry || len(docs) > 0 == dry {
			t.Errorf("after a dry run %v: known %v, %d documents are kept", dry, known, len(docs))
		}
		if dry {
			p.want(400, "POST", "/v2/events", good)
		} else if string(docs[0].Source) != shop {
			t.Errorf("the document is not kept as it came: %s", docs[0].Source)
		}
	}

	p.publish(good)
	if a := p.publish(odd); len(a.Warnings) != 1 || a.Warnings[0].Field != "/payload/total" {
		t.Errorf("in report mode: %+v", a)
	}
	check := operator + "/event_types/shop.order_created/check"
	p.want(204, "PUT", check, `{"check":"strict"}`)
	p.want(400, "POST", "/v2/events", odd)
	if v := get[EventType](p, operator+"/event_types/shop.order_created"); v.Check != "strict" || v.Product != "shop" || len(v.Scopes) != 1 || v.Scopes[0] != "order:read" || !v.Checked || !json.Valid(v.Schema) {
		t.Errorf("event type: %+v", v)
	}
	// What was set stays when the document is imported anew, and is kept for the next
	// start.
	p.want(200, "POST", operator+"/catalog", strings.Replace(shop, "shop.order_gone", "shop.order_back", 1))
	if got := strings.Join(types(), " "); got != "shop.order_back shop.order_created" {
		t.Errorf("after another import: %s", got)
	}
	p.want(400, "POST", "/v2/events", odd)
	modes, err := p.db.CheckModes(t.Context())
	must(t, err)
	if len(modes) != 1 || modes["shop.order_created"] != hook.CheckStrict {
		t.Errorf("modes that are kept: %v", modes)
	}
	p.want(204, "PUT", check, `{"check":"off"}`)
	if a := p.publish(odd); a.Warnings != nil {
		t.Errorf("when nobody looks: %+v", a)
	}
	if n := g.stored.Load(); n != 3 {
		t.Errorf("%d events were stored", n)
	}
}

// What cannot be imported, or set, says why, and changes nothing.
func TestImportRefused(t *testing.T) {
	p := newPlatform(t, options{idle: true})
	before := p.want(200, "GET", operator+"/event_types", "").body
	for name, c := range map[string]struct {
		document string
		status   int
		says     string
	}{
		"empty":         {"", 400, "it is empty"},
		"not JSON":      {`{"openapi": "3.1.0", }`, 400, "not JSON"},
		"not YAML":      {"openapi: [", 400, "not YAML"},
		"no document":   {"hello", 400, "catalog: "},
		"another kind":  {`{"swagger":"2.0"}`, 400, "catalog: "},
		"nothing in it": {`{"openapi":"3.1.0","info":{"title":"x","version":"1"},"paths":{}}`, 400, "catalog: "},
	} {
		for _, path := range []string{"/catalog", "/catalog?dry_run=true"} {
			if a := p.call("POST", operator+path, c.document); a.status != c.status || !strings.Contains(a.body, c.says) {
				t.Errorf("%s: %d %s", name, a.status, a.body)
			}
		}
	}
	long := shop + strings.Repeat(" ", catalog.MaxDocument)
	if a := p.want(413, "POST", operator+"/catalog", long); !strings.Contains(a.body, "has more than 33554432 bytes") {
		t.Errorf("too much of it: %s", a.body)
	}
	for _, path := range []string{"/event_types/none", "/event_types/" + strings.Repeat("x", 5000), "/event_types/%00"} {
		for _, method := range []string{"GET", "PUT"} {
			full := operator + path
			if method == "PUT" {
				full += "/check"
			}
			if a := p.want(http.StatusNotFound, method, full, `{"check":"off"}`); !strings.Contains(a.body, "is not in the catalog") || len(a.body) > 500 {
				t.Errorf("%.100s: %s", a.call, a.body)
			}
		}
	}
	for _, body := range []string{"", "{}", `{"check":""}`, `{"check":"Strict"}`, `{"check":1}`, `{"mode":"off"}`, `{"check":"off"}}`, `"off"`} {
		p.want(400, "PUT", operator+"/event_types/"+cnamEvent+"/check", body)
	}
	if after := p.want(200, "GET", operator+"/event_types", "").body; after != before {
		t.Errorf("event types are %s, before %s", after, before)
	}
	docs, err := p.db.CatalogDocuments(t.Context())
	if err != nil || len(docs) != 0 {
		t.Errorf("%d documents are kept, %v", len(docs), err)
	}
}

// orders is a document in YAML, in the rendering that has events among the paths.
const orders = `
openapi: 3.1.0
info: {title: Orders, version: 1.0}
paths:
  order.placed:
    post:
      summary: Order placed
      description: "**Scopes:** order:read"
      requestBody:
        content:
          application/json:
            schema: {$ref: "#/components/schemas/Order"}
            examples: {one: {value: {event: order.placed, payload: {account_id: a, total: 3}}}}
  /orders: {get: {responses: {200: {description: No event.}}}}
components:
  schemas:
    Order: {type: object, properties: {event: {const: order.placed}, payload: {type: object, nullable: true, properties: {total: {type: long}}}}}
`

// exportOf downloads the document of a product, as everybody may.
func (p *platform) exportOf(product string) reply {
	p.t.Helper()
	return p.want(http.StatusOK, "GET", "/api-hub/"+product+"/events/webhooks.json", "", with(""))
}

// What one platform hands out makes another have the same catalog.
func TestExportMakesTheSameCatalog(t *testing.T) {
	here, there := newPlatform(t, options{idle: true}), newPlatform(t, options{idle: true})
	here.want(200, "POST", operator+"/catalog", shop)
	here.want(200, "POST", operator+"/catalog", orders)
	here.want(204, "PUT", operator+"/event_types/shop.order_gone/check", `{"check":"strict"}`)
	for _, product := range []string{"number_management", "orders", "shop"} {
		a := here.exportOf(product)
		if v := read[imported](t, there.want(200, "POST", operator+"/catalog", a.body)); v.Product != product {
			t.Errorf("there it is imported as %s", v.Product)
		}
		if again := there.exportOf(product); again.body != a.body || again.header.Get("ETag") != a.header.Get("ETag") {
			t.Errorf("there %s is %s, here it is %s", product, again.body, a.body)
		}
	}
	type list struct {
		Types []EventType `json:"event_types"`
	}
	path := operator + "/event_types"
	for _, x := range get[list](here, path).Types {
		one := path + "/" + x.Name
		if a, b := here.want(200, "GET", one, "").body, there.want(200, "GET", one, "").body; a != b {
			t.Errorf("here it is %s, there it is %s", a, b)
		}
	}
	if a, b := here.want(200, "GET", path, "").body, there.want(200, "GET", path, "").body; a != b {
		t.Errorf("here there are %s, there there are %s", a, b)
	}
}

// The document is for everybody, and cheap to ask for again.
func TestExport(t *testing.T) {
	p := newPlatform(t, options{idle: true})
	p.want(200, "POST", operator+"/catalog", orders)
	const path = "/api-hub/orders/events/webhooks.json"
	var b strings.Builder
	show := func(what string, a reply) {
		fmt.Fprintf(&b, "== %s: %s\n%d\n", what, a.call, a.status)
		for _, name := range slices.Sorted(maps.Keys(a.header)) {
			if name != "Date" && name != "X-Zm-Trackingid" {
				fmt.Fprintf(&b, "%s: %s\n", name, a.header.Get(name))
			}
		}
		fmt.Fprintf(&b, "%s\n", indent(a.body))
	}
	first := p.exportOf("orders")
	tag := header("If-None-Match", first.header.Get("ETag"))
	show("as it is", first)
	show("only its headers", p.call("HEAD", path, "", with("")))
	show("still the same", p.call("GET", path, "", with(""), tag))
	show("unknown", p.call("GET", "/api-hub/none/events/webhooks.json", "", with("")))
	show("another method", p.call("POST", path, "{}", with("")))
	golden(t, "export.golden", b.String())

	// As public paths have it.
	if a := p.exportOf("number-management"); a.body != p.exportOf("number_management").body {
		t.Errorf("%s: %s", a.call, a.body)
	}
	// What replaces it, in part or whole, is there at once.
	p.want(204, "PUT", operator+"/event_types/order.placed/check", `{"check":"off"}`)
	second := p.want(200, "GET", path, "", with(""), tag)
	if second.body == first.body || !strings.Contains(second.body, `"x-switchhook-check":"off"`) {
		t.Errorf("after a change of the mode: %s", second.body)
	}
	p.want(200, "POST", operator+"/catalog", strings.ReplaceAll(orders, "order.placed", "order.sent"))
	if a := p.want(200, "GET", path, "", with(""), tag); strings.Contains(a.body, "order.placed") || !strings.Contains(a.body, "order.sent") {
		t.Errorf("after another import: %s", a.body)
	}
}
