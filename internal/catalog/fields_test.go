package catalog_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/switchhook/switchhook/internal/catalog"
)

// outline writes fields, each on a line.
func outline(b *strings.Builder, f catalog.Field, indent string) {
	name := f.Name
	if f.Role != "" {
		name = "<" + f.Role + ">"
	}
	fmt.Fprintf(b, "%s%s: %s", indent, name, f.Type)
	if f.Format != "" {
		fmt.Fprintf(b, " (%s)", f.Format)
	}
	if f.Required {
		b.WriteString(", required")
	}
	if f.Deprecated {
		b.WriteString(", deprecated")
	}
	if len(f.Values) > 0 {
		fmt.Fprintf(b, "; only %s", strings.Join(f.Values, " "))
	}
	if f.MoreValues > 0 {
		fmt.Fprintf(b, " and %d more", f.MoreValues)
	}
	for _, s := range f.Limits {
		fmt.Fprintf(b, "; %s", s)
	}
	for _, s := range []string{"like", f.Pattern, "default", f.Default, "e.g.", f.Example, "--", f.Description} {
		switch s {
		case "like", "default", "e.g.", "--":
			name = s
		case "":
		default:
			fmt.Fprintf(b, " %s %s", name, s)
		}
	}
	b.WriteByte('\n')
	for _, child := range f.Fields {
		outline(b, child, indent+"  ")
	}
	if f.Cut != "" {
		fmt.Fprintf(b, "%s  [%s]\n", indent, f.Cut)
	}
}

func outlineOf(t testing.TB, ty *catalog.Type) (text string, complete bool) {
	t.Helper()
	body, complete := ty.Body()
	var b strings.Builder
	outline(&b, body, "")
	return b.String(), complete
}

// Everything that the built-in schemas say of a body is in its fields, and so is what
// can be read of the worst ones.
func TestBody(t *testing.T) {
	var b strings.Builder
	for _, doc := range []*catalog.Document{catalog.NumberManagement(), parseFile(t, "nasty.json"), parseFile(t, "orders.yaml")} {
		for _, ty := range doc.Types {
			text, complete := outlineOf(t, ty)
			fmt.Fprintf(&b, "%s, complete %t\n%s\n", ty.Name, complete, text)
		}
	}
	golden(t, "fields.golden", []byte(b.String()))
}

// What a keyword means for the reader of a page.
func TestFields(t *testing.T) {
	for _, c := range []struct{ name, schema, schemas, want string }{
		{"no type", `{}`, "", ": any value\n"},
		{"nothing", `{"properties": {"a": false}}`, "", ": object\n  a: nothing; must not be there\n"},
		{"a type by what is in it", `{"properties": {"a": {"items": {"const": 1}}, "b": {"enum": ["x", null]}}}`, "",
			": object\n  a: array of integer\n    <each item>: integer; only 1\n  b: string or null; only \"x\" null\n"},
		{"a list of types", `{"properties": {"a": {"type": ["null", "string"]}, "b": {"type": ["array", "null"], "items": {"type": "string"}}}}`, "",
			": object\n  a: string or null\n  b: array of string, or null\n"},
		{"items that are objects", `{"properties": {"a": {"type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "object", "additionalProperties": false, "properties": {"b": {}}}}}}`, "",
			": object\n  a: array of object; exactly 1 item; in each item no other members\n    b: any value\n"},
		{"items with a description of their own", `{"properties": {"a": {"description": "All.", "items": {"description": "One.", "properties": {"b": {}}}}}}`, "",
			": object\n  a: array of object -- All.\n    <each item>: object -- One.\n      b: any value\n"},
		{"items in order", `{"properties": {"a": {"prefixItems": [{"type": "string"}, {"type": "integer"}], "items": false}}}`, "",
			": object\n  a: array; no other items\n    <item 1>: string\n    <item 2>: integer\n"},
		{"members without names", `{"additionalProperties": {"type": "string"}, "patternProperties": {"^x-": {"type": "integer"}}}`, "",
			": object\n  <members whose name matches ^x->: integer\n  <any other member>: string\n"},
		{"limits", `{"properties": {"a": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^a"}, "b": {"type": "number", "minimum": 0, "exclusiveMaximum": 10, "multipleOf": 2.5, "default": 5, "example": 2.5}, "c": {"type": "array", "uniqueItems": true, "maxItems": 5}}, "additionalProperties": false, "minProperties": 2}`, "",
			": object; at least 2 members; no other members\n  a: string; 1 to 64 characters like ^a\n  b: number; at least 0; less than 10; a multiple of 2.5 default 5 e.g. 2.5\n  c: array; at most 5 items; no item twice\n"},
		{"required, also what is not described", `{"required": ["b", "a"], "properties": {"a": {"type": "string", "deprecated": true}}}`, "",
			": object\n  a: string, required, deprecated\n  b: any value, required\n"},
		{"parts that are put together", `{"allOf": [{"$ref": "#/components/schemas/A"}, {"required": ["a"], "properties": {"a": {"description": "Mine."}, "b": {}}}]}`,
			`"A": {"type": "object", "description": "Base.", "properties": {"a": {"type": "string", "description": "Theirs."}}}`,
			": object -- Base.\n  a: string, required -- Mine.\n  b: any value\n"},
		{"a description beside a reference", `{"properties": {"a": {"$ref": "#/components/schemas/A", "description": "Mine."}}}`, `"A": {"type": "string", "description": "Theirs."}`,
			": object\n  a: string -- Mine.\n"},
		{"null or one thing", `{"properties": {"a": {"anyOf": [{"$ref": "#/components/schemas/A"}, {"type": "null"}]}}}`, `"A": {"type": "object", "properties": {"b": {}}}`,
			": object\n  a: object or null\n    b: any value\n"},
		{"alternatives", `{"properties": {"a": {"oneOf": [{"type": "string"}, {"type": "object", "title": "Long form", "properties": {"b": {}}}, {"type": "null"}]}}}`, "",
			": object\n  a: string or object\n    <alternative 1>: string\n    <alternative 2>: object -- Long form\n      b: any value\n"},
		{"conditions", `{"properties": {"a": {"type": "string", "not": {"const": "x"}}}}`, "", ": object\n  a: string; conditions that only the schema says\n"},
		{"many values", `{"enum": [` + strings.Repeat("1,", 50) + `{"a": [1]}]}`, "", ": integer; only " + strings.Repeat("1 ", 39) + "1 and 11 more\n"},
		{"values with others in them", `{"properties": {"a": {"enum": [{"b": 1}, [], [1]], "default": {"b": 1}, "examples": [[1]]}}}`, "",
			": object\n  a: object or array; only {...} [] [...]\n"},
		{"a tree", `{"$ref": "#/components/schemas/A"}`, `"A": {"type": "object", "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/components/schemas/A"}}}}`,
			": object\n  name: string\n  children: array of object\n    [It contains itself: what is in it is described above.]\n"},
		{"a part that is in it twice", `{"allOf": [{"$ref": "#/components/schemas/A"}], "properties": {"child": {"allOf": [{"$ref": "#/components/schemas/A"}]}}}`, `"A": {"properties": {"id": {"type": "string"}}}`,
			": object\n  child: object\n    id: string\n  id: string\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ty := parseOne(t, document(webhook("a.b", c.schema), `"schemas": {`+c.schemas+`}`))
			got, complete := outlineOf(t, ty)
			if got != c.want {
				t.Errorf("got\n%s\nwant\n%s\nschema %s", got, c.want, ty.Schema)
			}
			if !complete {
				t.Error("something is said to be left out")
			}
		})
	}
}

// What is too much for a page is left out, and that is said.
func TestBodyIsBounded(t *testing.T) {
	deep := `{"type": "string"}`
	for range 100 {
		deep = `{"properties": {"a": ` + deep + `}}`
	}
	var wide strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&wide, `"a%d": {"type": "string"},`, i)
	}
	var long strings.Builder
	for i := range 400 {
		fmt.Fprintf(&long, `"a%d": {"description": "%s"},`, i, strings.Repeat("x", 2000))
	}
	for _, c := range []struct{ name, schema, schemas, cut string }{
		{"deep", deep, "", "nested deeper"},
		{"wide", `{"properties": {` + wide.String() + `"b": {}}}`, "", "more fields"},
		{"one long text", `{"description": "` + strings.Repeat("x", 5000) + `"}`, "", "xxx..."},
		{"long texts", `{"properties": {` + long.String() + `"b": {}}}`, "", "xxx..."},
		{"a large schema", `{"properties": {"a": {"enum": ["` + strings.Repeat("x", 2<<20) + `"]}}}`, "", "too large"},
		{"what is shared by what is shared", `{"$ref": "#/components/schemas/S0"}`, chain(12, `"S%d": {"properties": {"a": {"$ref": "#/components/schemas/S%[2]d"}, "b": {"$ref": "#/components/schemas/S%[2]d"}}}`), "more fields"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ty := parseOne(t, document(webhook("a.b", c.schema), `"schemas": {`+c.schemas+`}`))
			if ty.Schema == nil {
				t.Fatal("there is no schema")
			}
			got, complete := outlineOf(t, ty)
			if complete || !strings.Contains(got, c.cut) {
				t.Errorf("complete is %t, and %q is not in %.2000s", complete, c.cut, got)
			}
			if len(got) > 512<<10 || strings.Count(got, "\n") > 1500 {
				t.Errorf("it has %d bytes and %d lines", len(got), strings.Count(got, "\n"))
			}
		})
	}
}

// chain returns n schemas, the last of which is empty.
func chain(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format+",", i, i+1)
	}
	fmt.Fprintf(&b, `"S%d": {}`, n)
	return b.String()
}

// An event type without a schema has no fields and no sample.
func TestBodyWithoutSchema(t *testing.T) {
	ty := parseOne(t, document(described("a.b", ""), ""))
	if body, complete := ty.Body(); body.Type != "" || len(body.Fields) > 0 || !complete {
		t.Errorf("body is %+v", body)
	}
	if made := ty.MadeSample(); made != nil {
		t.Errorf("sample is %s", made)
	}
}

// A sample can be made where there is none, as long as it fits the schema.
func TestMadeSample(t *testing.T) {
	for _, c := range []struct{ name, schema, schemas, want string }{
		{"an event", `{"required": ["event"], "properties": {"event": {"type": "string"}, "event_ts": {"type": "integer", "format": "int64"},
			"payload": {"type": "object", "properties": {"account_id": {"type": "string", "example": "acc"}, "n": {"type": ["integer", "null"], "minimum": 3}, "list": {"type": "array", "minItems": 2, "items": {"type": "boolean"}},
			"when": {"type": "string", "format": "date-time"}, "what": {"enum": ["x", "y"]}, "gone": false}}}}`, "",
			`{"event":"a.b","event_ts":1767960312480,"payload":{"account_id":"acc","n":3,"list":[true,true],"when":"2026-01-09T12:05:12Z","what":"x"}}`},
		{"lengths", `{"properties": {"long": {"type": "string", "minLength": 12}, "short": {"type": "string", "maxLength": 2}}}`, "", `{"long":"text text text","short":"te"}`},
		{"the first alternative", `{"properties": {"a": {"oneOf": [{"type": "object", "required": ["b"], "properties": {"b": {"const": 7}}}, {"type": "string"}]}}}`, "", `{"a":{"b":7}}`},
		{"a tree", `{"$ref": "#/components/schemas/A"}`, `"A": {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}, "in": {"$ref": "#/components/schemas/A"}}}`,
			`{"id":1,"in":{"id":1,"in":{"id":1,"in":{"id":1,"in":{"id":1,"in":{"id":1}}}}}}`},
		{"a pattern", `{"properties": {"a": {"type": "string", "pattern": "^x+$"}}}`, "", ""},
		{"an example that does not fit", `{"properties": {"a": {"type": "string", "example": 7}}}`, "", ""},
		{"another event's name", `{"properties": {"event": {"const": "a.c"}}}`, "", `{"event":"a.c"}`},
		{"no object", `{"type": "string"}`, "", ""},
		{"a long example", `{"properties": {"a": {"type": "string", "example": "` + strings.Repeat("x", 20_000) + `"}}}`, "", ""},
		{"more than anybody reads", `{"$ref": "#/components/schemas/S0"}`, chain(12, `"S%d": {"required": ["a", "b"], "properties": {"a": {"$ref": "#/components/schemas/S%[2]d"}, "b": {"$ref": "#/components/schemas/S%[2]d"}}}`), ""},
		{"without end", `{"$ref": "#/components/schemas/A"}`, `"A": {"type": "object", "required": ["in"], "properties": {"in": {"$ref": "#/components/schemas/A"}}}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			ty := parseOne(t, document(webhook("a.b", c.schema), `"schemas": {`+c.schemas+`}`))
			if got := string(ty.MadeSample()); got != c.want {
				t.Errorf("made %s\nwant %s", got, c.want)
			}
		})
	}
}

// The lines that say scopes and name are taken out of what is read as prose, and how
// that begins stands for the summary.
func TestProse(t *testing.T) {
	for _, c := range []struct{ name, text, want, lead string }{
		{"labels at the end", "Somebody *left*.\n\n**Scopes:** `a:read`\n\n**Granular Scopes:** `a:read:b`\n\n**Event type:** `a.b`\n", "Somebody *left*.", "Somebody left."},
		{"links and ends of HTML", "See [the guide](https://x.example/).</br>**[Scopes](https://x.example/):** `a:read`</br>", "See the guide.", "See the guide."},
		{"labels in one line", "Left. **Scopes:** `a:read` **Event type:** `a.b`", "Left.", "Left."},
		{"lists below labels", "Left.\n\n**Scopes:**\n* `a:read`\n* `b:read`\n\n* not one of them\n", "Left.\n\n\n\n* not one of them", "Left."},
		{"a label that says something else", "**Scopes:** those of the app, as before.", "**Scopes:** those of the app, as before.", "Scopes: those of the app, as before."},
		{"nothing else", "**Scopes:** `a:read`", "", ""},
		{"titles", "# a.b\n---\n\n> Left: `a`\nand **b**.\n\n* one\n* two", "# a.b\n---\n\n> Left: `a`\nand **b**.\n\n* one\n* two", "Left: a and b."},
		{"without end", strings.Repeat("word ", 100), strings.TrimSpace(strings.Repeat("word ", 100)), strings.Repeat("word ", 48) + "..."},
	} {
		t.Run(c.name, func(t *testing.T) {
			ty := parseOne(t, document(described("a.b", c.text), ""))
			if got := ty.Prose(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if ty.Lead != c.lead {
				t.Errorf("it begins with %q, want %q", ty.Lead, c.lead)
			}
		})
	}
	if ty := parseOne(t, document(`"a.b": {"post": {"summary": "Said\n shortly", "description": "And at length."}}`, "")); ty.Lead != "Said shortly" {
		t.Errorf("it begins with %q", ty.Lead)
	}
}
