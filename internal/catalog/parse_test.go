package catalog_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/hook"
)

// document returns an OpenAPI document with the given webhooks and components.
func document(webhooks, components string) string {
	return fmt.Sprintf(`{"openapi": "3.1.0", "info": {"title": "Test"}, "webhooks": {%s}, "components": {%s}}`, webhooks, components)
}

// webhook returns the webhook of an event whose bodies have a schema.
func webhook(name, schema string) string {
	return fmt.Sprintf(`%q: {"post": {"description": "**Scopes:** test:read", "requestBody": {"content": {"application/json": {"schema": %s}}}}}`, name, schema)
}

// described returns the webhook of an event with a description.
func described(name, description string) string {
	return fmt.Sprintf(`%q: {"post": {"requestBody": {"description": %q}}}`, name, description)
}

func parse(t testing.TB, text string) *catalog.Document {
	t.Helper()
	doc, err := catalog.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// parseOne parses a document that has one event type.
func parseOne(t testing.TB, text string) *catalog.Type {
	t.Helper()
	doc := parse(t, text)
	if len(doc.Types) != 1 {
		t.Fatalf("%d event types, want 1; notes: %v", len(doc.Types), doc.Notes)
	}
	return doc.Types[0]
}

// notes returns the notes of a level, each shortened to where it is under the
// schema of the only event type, and what it says.
func notes(doc *catalog.Document, level catalog.Level) []string {
	var list []string
	for _, n := range doc.Notes {
		if n.Level == level {
			_, at, _ := strings.Cut(n.Pointer, "/schema")
			list = append(list, at+": "+n.Message)
		}
	}
	return list
}

// What has no event type at all is refused, and the error says why.
func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"nothing", " \n", "empty"},
		{"a scalar", "hello", "no openapi member"},
		{"a list", "[1, 2]", "no openapi member"},
		{"broken JSON", `{"openapi": "3.1.0",, }`, "not JSON: invalid character ',' looking for beginning of object key string at byte 20"},
		{"JSON that ends too early", `{"openapi": "3.1.0"`, "not JSON: it ends too early, at byte 19"},
		{"two documents", `{"openapi": "3.1.0"} {}`, "not JSON: something follows"},
		{"broken YAML", "openapi: 3.1.0\n\tinfo: [", "not YAML: "},
		{"another kind of document", `{"swagger": "2.0", "paths": {}}`, "no openapi member"},
		{"an API without events", `{"openapi": "3.1.0", "paths": {"/users": {"post": {"requestBody": {}}}}}`, "no event type"},
		{"nothing that is posted", `{"openapi": "3.1.0", "webhooks": {"a.b": {"get": {}}}}`, "has no post operation"},
		{"JSON without bottom", strings.Repeat(`{"a":`, 1000), "more than 512 levels"},
		{"YAML without bottom", strings.Repeat("- ", 100_000), "more than 512 levels"},
		{"flow YAML without bottom", "a: " + strings.Repeat("[", 100_000), "more than 512 levels"},
		{"YAML of tags", "a: " + strings.Repeat("!a ", 100_000), "more than 512 levels"},
		{"YAML of many keys", strings.Repeat("a: b\n", 20_000), "too many keys"},
		{"YAML without values", strings.Repeat("-\n", 100_000), "without a value"},
		{"flow YAML without values", "a: {" + strings.Repeat("a,", 100_000) + "}", "without a value"},
		{"YAML that unfolds", laughs, "more than 4194304 values"},
		{"YAML in itself", "openapi: &a\n  b: *a", "more than 512 levels"},
		{"YAML that merges a scalar", "openapi: &a 1\nb:\n  <<: *a", "only mappings can be merged"},
		{"YAML that JSON cannot say", "openapi: .inf", "no counterpart in JSON"},
		{"an alias of nothing", "openapi: *a", "no anchor"},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc, err := catalog.Parse([]byte(c.text))
			if err == nil || !strings.HasPrefix(err.Error(), "catalog: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q in it", err, c.want)
			}
			if doc != nil {
				t.Errorf("there is a document beside the error")
			}
		})
	}
	if _, err := catalog.Parse(make([]byte, catalog.MaxDocument+1)); err == nil {
		t.Error("a document above MaxDocument is read")
	}
	if _, err := catalog.Parse([]byte("a: " + strings.Repeat("b", catalog.MaxYAML))); err == nil {
		t.Error("YAML above MaxYAML is read")
	}
}

const laughs = `
a: &a [x, x, x, x, x, x, x, x, x, x]
b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]
c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]
d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]
e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]
f: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]
g: &g [*f, *f, *f, *f, *f, *f, *f, *f, *f, *f]
`

// The head of the document says what it is about.
func TestHead(t *testing.T) {
	for _, c := range []struct{ name, head, product, note string }{
		{"title", `"info": {"title": "Number Management"}`, "number_management", ""},
		{"title with Webhooks", `"info": {"title": "Zoom Revenue-Accelerator  Webhooks"}`, "zoom_revenue_accelerator", ""},
		{"extension", `"info": {"title": "A"}, "x-switchhook-product": "shop_2"`, "shop_2", ""},
		{"unfit extension", `"info": {"title": "A"}, "x-switchhook-product": "My Shop"`, "my_shop", "no product name"},
		{"useless extension", `"info": {"title": "A"}, "x-switchhook-product": 7`, "a", "no product name"},
		{"no title", `"info": {}`, "order", "called order after its first event type"},
		{"only Webhooks", `"info": {"title": "Webhooks"}`, "order", "called order after its first event type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := parse(t, `{"openapi": "3.1.0", `+c.head+`, "webhooks": {`+webhook("order.created", "{}")+`}}`)
			if doc.Product != c.product || doc.Types[0].Product != c.product {
				t.Errorf("product is %q, that of the event type %q, want %q", doc.Product, doc.Types[0].Product, c.product)
			}
			if said := fmt.Sprint(doc.Notes); c.note == "" && len(doc.Notes) > 0 || !strings.Contains(said, c.note) {
				t.Errorf("notes are %v, want %q", said, c.note)
			}
		})
	}
	doc := parse(t, `{"openapi": "3.0.3", "info": {"title": "T", "version": "7", "description": "D"}, "paths": {`+webhook("a.b", "{}")+`}}`)
	if doc.Title != "T" || doc.Version != "7" || doc.Description != "D" {
		t.Errorf("title %q, version %q, description %q", doc.Title, doc.Version, doc.Description)
	}
	if got := fmt.Sprint(doc.Notes); !strings.Contains(got, "version 3.0.3 is read as if it were 3.1") {
		t.Errorf("notes are %v", got)
	}
}

// Which entries are events, and what these are called.
func TestNames(t *testing.T) {
	const post = `{"post": {"requestBody": {}}}`
	event := func(schema string) string {
		return `{"post": {"requestBody": {"content": {"application/json": {"schema": {"properties": {"event": ` + schema + `}}}}}}}`
	}
	for _, c := range []struct {
		name, doc string
		want      []string
	}{
		{"a webhook", `"webhooks": {"a.b": ` + post + `}`, []string{"a.b"}},
		{"a webhook behind a slash", `"webhooks": {"/a.b": ` + post + `}`, []string{"a.b"}},
		{"a path without slash", `"paths": {"app_gone": ` + post + `}`, []string{"app_gone"}},
		{"a path with a dot", `"paths": {"/a.b": ` + post + `}`, []string{"a.b"}},
		{"a path whose description says so", `"paths": {` + described("/created", "**Event type**: `created`") + `}`, []string{"created"}},
		{"paths of an API beside webhooks", `"paths": {"/users": ` + post + `, "/v1.0/users": ` + post + `, "/a/{id}": ` + post + `}, "webhooks": {"a.b": ` + post + `}`, []string{"a.b"}},
		{"a path that is not posted", `"paths": {"a.b": ` + post + `, "a.c": {"get": {}}, "/a.d": {"get": {}}, "a.e": {"post": {}}}`, []string{"a.b"}},
		{"both renderings at once", `"webhooks": {"a.b": ` + post + `}, "paths": {"a.b": ` + post + `, "a.c": ` + post + `}`, []string{"a.b", "a.c"}},
		{"a title as key, named by the description", `"webhooks": {` + described("Order created", "**Event type:** `order.created`") + `}`, []string{"order.created"}},
		{"a title as key, named by the schema", `"webhooks": {"Order created": ` + event(`{"const": "order.created"}`) + `}`, []string{"order.created"}},
		{"a title as key, and nothing else", `"webhooks": {"Order created": ` + post + `}`, []string{"Order created"}},
		{"a key with spaces around", `"webhooks": {" a.b ": ` + post + `}`, []string{"a.b"}},
		{"a description that knows better", `"webhooks": {` + described("order.made", "**Event type:** `order.created`") + `}`, []string{"order.created"}},
		{"a description copied from another", `"webhooks": {` + described("a.b", "**Event type:** `a.c`") + `, "a.c": ` + post + `}`, []string{"a.b", "a.c"}},
		{"a description that the schema contradicts",
			`"webhooks": {"a.b": {"post": {"description": "**Event type:** a.c", "requestBody": {"content": {"application/json": {"schema": {"properties": {"event": {"enum": ["a.b"]}}}}}}}}}`,
			[]string{"a.b"}},
		{"a description that the sample contradicts",
			`"webhooks": {"a.b": {"post": {"description": "**Event type:** a.c", "requestBody": {"content": {"application/json": {"example": "{\"event\": \"a.b \"}"}}}}}}`,
			[]string{"a.b"}},
		{"a template", `"webhooks": {"a.b": ` + post + `, "/a/{id}": ` + post + `}`, []string{"a.b"}},
		{"a name without end", `"webhooks": {"a.b": ` + post + `, "` + strings.Repeat("x", 300) + `": ` + post + `}`, []string{"a.b"}},
		{"an item elsewhere", `"webhooks": {"a.b": {"$ref": "#/components/pathItems/x"}}, "components": {"pathItems": {"x": ` + post + `}}`, []string{"a.b"}},
		{"items that are none", `"webhooks": {"a.b": ` + post + `, "a.c": null, "a.d": 7, "a.e": {"$ref": "#/a"}, "a.f": {"$ref": "#/webhooks/a.f"}}`, []string{"a.b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := parse(t, `{"openapi": "3.1.0", "info": {"title": "T"}, `+c.doc+`}`)
			var got []string
			for _, ty := range doc.Types {
				got = append(got, ty.Name)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("event types are %q, want %q; notes: %v", got, c.want, doc.Notes)
			}
		})
	}
}

// Scopes are read from the lines of descriptions, however these are written.
func TestScopesInDescriptions(t *testing.T) {
	for _, c := range []struct{ name, text, classic, granular string }{
		{"linked labels", "**[Scopes](https://x.example/a_(b)/):** `a:read`,`a:read:admin`\n\n**[Granular Scopes](https://x.example/):** `a:read:b`\n", "a:read a:read:admin", "a:read:b"},
		{"bold labels", "**Scopes:** `b:read`, `a:read`\n**Granular Scopes:** `a:read:b`", "a:read b:read", "a:read:b"},
		{"colon outside", "**Scopes**: `a:read`\n**`Granular Scopes`**: `a:read:b`", "a:read", "a:read:b"},
		{"plain labels", "Scopes: a:read b:read\r\nGranular scopes: a:read:b;b:read:b.\r\n", "a:read b:read", "a:read:b b:read:b"},
		{"ends of HTML", "**Scopes:** `a:read`</br>**Granular Scopes:** `a:read:b`<br/>**Event type:** `x.y`</br>", "a:read", "a:read:b"},
		{"labels in one line", "**Scopes:** `a:read` **Granular Scopes:** `a:read:b` **Event type:** `x.y`", "a:read", "a:read:b"},
		{"lists below labels", "**Scopes:**\n* `a:read`\n* `b:read`\n\n**Granular Scopes:**\n\n- `a:read:b`\n- nothing else", "a:read b:read", "a:read:b"},
		{"in a quotation", "> **Scopes:** `a:read`", "a:read", ""},
		{"typos", "**Socpes:** `a:read`\n**Granula Scopes:** `a:read:b`", "a:read", "a:read:b"},
		{"singular", "**Scope:** `a:read`\n**Granular Scope:** `a:read:b`", "a:read", "a:read:b"},
		{"classic", "**Classic Scopes:** `a:read`", "a:read", ""},
		{"twice", "**Scopes:** `a:read`,`a:read`", "a:read", ""},
		{"without colon", "**Scopes:** `imchat`", "imchat", ""},
		{"none", "**Scopes:** None\n**Granular Scopes:** N/A", "", ""},
		{"empty", "**Scopes:**\n**Granular Scopes:** \n", "", ""},
		{"missing", "Nothing here. Score: 7", "", ""},
		{"prose", "Scopes: those of the app, as before.\nPrerequisites: see above", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			ty := parseOne(t, document(described("x.y", c.text), ""))
			if got := strings.Join(ty.ClassicScopes, " "); got != c.classic {
				t.Errorf("classic scopes are %q, want %q", got, c.classic)
			}
			if got := strings.Join(ty.GranularScopes, " "); got != c.granular {
				t.Errorf("granular scopes are %q, want %q", got, c.granular)
			}
		})
	}
}

// No scopes means that every app may receive the event, so it is said.
func TestNoScopes(t *testing.T) {
	const note = "has no scopes; every app may receive it"
	for text, want := range map[string]bool{
		described("a.b", "**Scopes:** a:read"):                                                            false,
		described("a.b", "**Scopes:** None"):                                                              true,
		described("a.b", ""):                                                                              true,
		`"a.b": {"post": {"x-switchhook-scopes": {"classic": [], "granular": []}}}`:                       false,
		`"a.b": {"post": {"x-switchhook-scopes": "a:read"}}`:                                              true,
		`"a.b": {"post": {"description": "**Scopes:** a:read", "x-switchhook-scopes": {"classic": [1]}}}`: false,
	} {
		doc := parse(t, document(text, ""))
		if got := strings.Contains(fmt.Sprint(doc.Notes), note); got != want {
			t.Errorf("%s is noted is %t, want %t: %v", text, got, want, doc.Notes)
		}
	}
}

// The description may be that of the operation or that of the body.
func TestDescriptionEitherPlace(t *testing.T) {
	for _, post := range []string{
		`{"description": "**Scopes:** a:read", "requestBody": {}}`,
		`{"requestBody": {"description": "**Scopes:** a:read"}}`,
		`{"description": "Short.", "requestBody": {"description": "**Scopes:** a:read"}}`,
	} {
		ty := parseOne(t, document(`"a.b": {"post": `+post+`}`, ""))
		if !slices.Equal(ty.Scopes, []string{"a:read"}) {
			t.Errorf("scopes of %s are %q", post, ty.Scopes)
		}
	}
}

// Extensions decide, wherever they are; the nearest counts.
func TestExtensions(t *testing.T) {
	const carrier = `"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/S"}}}}`
	const schema = `"S": {"properties": {"payload": {"$ref": "#/components/schemas/P"}}}, "P": {"properties": {"object": {"properties": {"carrier_code": {}}}}}`
	for _, c := range []struct {
		name, root, item, post string
		want                   hook.EventType
		note                   string
	}{
		{name: "none", want: hook.EventType{}},
		{name: "a carrier code", post: carrier, want: hook.EventType{Routing: hook.ByCarrier}},
		{name: "routing", post: carrier + `, "x-switchhook-routing": "account"`, want: hook.EventType{}},
		{name: "routing of the item", item: `"x-switchhook-routing": "carrier"`, want: hook.EventType{Routing: hook.ByCarrier}},
		{name: "routing of the document", root: `"x-switchhook-routing": "carrier"`, want: hook.EventType{Routing: hook.ByCarrier}},
		{name: "routing that is none", post: `"x-switchhook-routing": true`, note: "neither account nor carrier"},
		{name: "check", root: `"x-switchhook-check": "strict"`, want: hook.EventType{Check: hook.CheckStrict}},
		{name: "check of the operation", root: `"x-switchhook-check": "strict"`, post: `"x-switchhook-check": "off"`, want: hook.EventType{Check: hook.CheckOff}},
		{name: "check that is none", post: `"x-switchhook-check": "never"`, note: `"never" is none of strict`},
		{name: "scopes", post: `"description": "**Scopes:** x:read", "x-switchhook-scopes": {"classic": ["b:read", "a:read"], "granular": ["a:read:x", "a:read"]}`,
			want: hook.EventType{Scopes: []string{"a:read", "a:read:x", "b:read"}}},
		{name: "scopes that are none", post: `"description": "**Scopes:** x:read", "x-switchhook-scopes": {"classic": "a:read"}`,
			want: hook.EventType{Scopes: []string{"x:read"}}, note: "the description counts"},
		{name: "no scopes", post: `"x-switchhook-scopes": {}`},
		{name: "security", post: `"security": [{"oauth": ["z:read"]}]`, want: hook.EventType{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			comma := func(s string) string {
				if s == "" {
					return s
				}
				return ", " + s
			}
			doc := parse(t, `{"openapi": "3.1.0", "info": {"title": "T"}`+comma(c.root)+`, "webhooks": {"a.b": {"post": {"tags": []`+comma(c.post)+`}`+comma(c.item)+`}}, "components": {"schemas": {`+schema+`}}}`)
			got := doc.Types[0].EventType
			if got.Routing != c.want.Routing || got.Check != c.want.Check || !slices.Equal(got.Scopes, c.want.Scopes) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if !strings.Contains(fmt.Sprint(doc.Notes), c.note) {
				t.Errorf("notes are %v, want %q", doc.Notes, c.note)
			}
		})
	}
}

// Samples are the examples that are JSON objects, be it in a string.
func TestSamples(t *testing.T) {
	doc := parse(t, document(`"a.b": {"post": {"requestBody": {"content": {"application/json": {
		"example": {"only": "one"},
		"examples": {
			"object": {"summary": "As it is", "value": {"z": 1.0, "a": "<&>\u2028\u0007"}},
			"string": {"value": "{\n\t\"z\": 1.0,\n\t\"a\": []\n}\n"},
			"reference": {"$ref": "#/components/examples/e"},
			"commented": {"value": "{\"a\": 1 // one\n}"},
			"two values": {"value": "{} {}"},
			"text": {"value": "hello"},
			"list": {"value": [{}]},
			"elsewhere": {"externalValue": "https://x.example/"},
			"undefined": {"$ref": "#/components/examples/none"},
			"null": null
		}}}}}}`, `"examples": {"e": {"summary": "Shared", "value": {}}}`))
	want := []string{
		"object As it is {\"z\":1.0,\"a\":\"<&>\u2028\\u0007\"}",
		`string  {"z":1.0,"a":[]}`,
		`reference Shared {}`,
		`example  {"only":"one"}`,
	}
	var got []string
	for _, s := range doc.Types[0].Samples {
		got = append(got, fmt.Sprintf("%s %s %s", s.Name, s.Summary, s.Body))
	}
	if !slices.Equal(got, want) {
		t.Errorf("samples are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, name := range []string{"commented", "two values", "text", "list", "elsewhere", "null"} {
		if !strings.Contains(fmt.Sprint(doc.Notes), "the sample "+name+" is left out: ") {
			t.Errorf("no note on the sample %s: %v", name, doc.Notes)
		}
	}
}

// The media type may have parameters or another name, as long as it is clear.
func TestMediaType(t *testing.T) {
	for content, want := range map[string]bool{
		`"application/json": {"schema": {}}`:                                   true,
		`"application/json; charset=utf-8": {"schema": {}}`:                    true,
		`"text/plain": {}, "application/vnd.x+json": {"schema": {}}`:           true,
		`"*/*": {"schema": {}}`:                                                true,
		`"application/problem+json": {}, "application/json": {"schema": {}}`:   true,
		`"text/plain": {"schema": {}}, "application/xml": {"schema": {}}`:      false,
		`"application/json": {}`:                                               false,
		`"application/json": null`:                                             false,
		`"application/json": {"schema": {}}, "application/xml": {"schema": 1}`: true,
	} {
		ty := parseOne(t, document(`"a.b": {"post": {"requestBody": {"content": {`+content+`}}}}`, ""))
		if got := ty.Schema != nil; got != want {
			t.Errorf("%s: there is a schema is %t, want %t", content, got, want)
		}
	}
}

// An event is the same in both renderings and in YAML.
func TestRenderings(t *testing.T) {
	const yaml = `
info: {title: T}
openapi: 3.1.0
%s:
  a.b:
    post:
      requestBody:
        description: "**Scopes:** a:read"
        content:
          application/json:
            schema: {type: object, properties: {n: {type: integer, maximum: 10}}}
            examples:
              one: {value: {n: 3}}
`
	const json = `{"info": {"title": "T"}, "openapi": "3.1.0", %q: {"a.b": {"post": {"requestBody": {"description": "**Scopes:** a:read",
		"content": {"application/json": {"schema": {"type": "object", "properties": {"n": {"type": "integer", "maximum": 10}}},
		"examples": {"one": {"value": {"n": 3}}}}}}}}}}`
	want := report(parse(t, fmt.Sprintf(json, "webhooks")))
	for _, text := range []string{
		fmt.Sprintf(json, "paths"),
		fmt.Sprintf(yaml, "webhooks"),
		fmt.Sprintf(yaml, "paths"),
		"\ufeff" + fmt.Sprintf(json, "webhooks"),
		"---\n" + fmt.Sprintf(json, "webhooks"),
	} {
		if got := report(parse(t, text)); string(got) != string(want) {
			t.Errorf("from %s\ngot %s\nwant %s", text, got, want)
		}
	}
}

// YAML has ways of its own to say what JSON says.
func TestYAML(t *testing.T) {
	golden(t, "orders.golden", report(parseFile(t, "orders.yaml")))
}

// A document that would take for ever is read in moderate time, whatever part of
// it is the cause.
func TestBounded(t *testing.T) {
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i, i+1)
			if i < n-1 {
				b.WriteByte(',')
			}
		}
		return b.String()
	}
	const first = `{"$ref": "#/components/schemas/S0"}`
	for _, c := range []struct{ name, schema, schemas, want string }{
		{"references that double", first, many(60, `"S%d": {"allOf": [{"$ref": "#/components/schemas/S%d"}, {"$ref": "#/components/schemas/S%[2]d"}]}`) + `, "S60": {}`, "unfolds to more than"},
		{"properties that double", first, many(60, `"S%d": {"properties": {"a": {"$ref": "#/components/schemas/S%d"}, "b": {"$ref": "#/components/schemas/S%[2]d"}}}`) + `, "S60": {}`, "unfolds to more than"},
		{"a long chain", first, many(50_000, `"S%d": {"$ref": "#/components/schemas/S%d"}`) + `, "S50000": {}`, "more than 3000 subschemas"},
		{"a ring", first, `"S0": {"$ref": "#/components/schemas/S1"}, "S1": {"allOf": [{"$ref": "#/components/schemas/S0"}]}`, "refers to itself without end"},
		{"itself", `{"$ref": "#"}`, "", "refers to itself without end"},
		{"recursion by alternatives", first, `"S0": {"oneOf": [{"items": {"$ref": "#/components/schemas/S0"}}, {"prefixItems": [{"$ref": "#/components/schemas/S0"}]}]}`, "exponential"},
		{"recursion by overlap", first, `"S0": {"patternProperties": {"a": {"$ref": "#/components/schemas/S0"}, "b": {"$ref": "#/components/schemas/S0"}}}`, "exponential"},
		{"a large schema", `{"properties": {` + many(4000, `"p%d": {"maxLength": %d}`) + `}}`, "", "more than 3000 subschemas"},
		{"a large pattern", `{"pattern": "((a{1,100}){1,100}){1,10}"}`, "", "the pattern"},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := parse(t, document(webhook("a.b", c.schema), `"schemas": {`+c.schemas+`}`))
			if got := fmt.Sprint(doc.Notes); !strings.Contains(got, c.want) {
				t.Errorf("notes are %v, want %q", got, c.want)
			}
		})
	}
}

// Only so many notes are kept; how many more there were is said.
func TestManyNotes(t *testing.T) {
	var hooks []string
	for i := range 3000 {
		hooks = append(hooks, webhook(fmt.Sprintf("a.b%d", i), `{"type": "long"}`))
	}
	doc := parse(t, document(strings.Join(hooks, ","), ""))
	if len(doc.Types) != 3000 || len(doc.Notes) != 1001 {
		t.Fatalf("%d event types and %d notes, want 3000 and 1001", len(doc.Types), len(doc.Notes))
	}
	if got, want := doc.Notes[1000].Message, "2000 more notes are left out"; got != want {
		t.Errorf("the last note is %q, want %q", got, want)
	}
}

// The platform's own event and names that no header or log line can show are no event
// types.
func TestNamesThatAreNotTaken(t *testing.T) {
	for _, name := range []string{"endpoint.url_validation", "a\\u0000b", "a\\u001b[31m"} {
		doc, err := catalog.Parse([]byte(`{"openapi":"3.1.0","info":{"title":"T","version":"1"},"webhooks":{"` + name + `":{"post":{}},"fine":{"post":{}}}}`))
		if err != nil || len(doc.Types) != 1 || doc.Types[0].Name != "fine" || len(doc.Notes) == 0 {
			t.Errorf("%s: %+v, %v", name, doc, err)
		}
	}
}
