package catalog_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/switchhook/switchhook/internal/catalog"
)

// Each fault of a schema that has a clear meaning is repaired, and said once.
func TestRepair(t *testing.T) {
	for _, c := range []struct {
		name, schema, want string
		notes              []string
	}{
		{"nothing wrong", `{"type":["string","null"],"format":"date-time","example":7,"deprecated":true,"x-y":[]}`, `{"type":["string","null"],"format":"date-time","example":7,"deprecated":true,"x-y":[]}`, nil},

		{"type long", `{"type":"long"}`, `{"type":"integer","format":"int64"}`, []string{`/type: there is no type "long"; read as integer with format int64`}},
		{"type long with format", `{"type":"long","format":"int32"}`, `{"type":"integer","format":"int32"}`, []string{`/type: there is no type "long"; read as integer`}},
		{"type in capitals", `{"type":"String"}`, `{"type":"string"}`, []string{`/type: there is no type "String"; read as string`}},
		{"unknown type", `{"type":"thing","minLength":1}`, `{"minLength":1}`, []string{`/type: there is no type "thing"; it is ignored`}},
		{"type that is none", `{"type":{"a":1}}`, `{}`, []string{`/type: is an object, not a name; it is ignored`}},
		{"list of types", `{"type":["string","str",null,"int"]}`, `{"type":["string","null","integer"]}`, []string{`/type: read as ["string","null","integer"]`}},
		{"list of no types", `{"type":[]}`, `{}`, []string{`/type: names no type; it is ignored`}},

		{"nullable", `{"type":"string","nullable":true,"enum":["a"]}`, `{"type":["string","null"],"enum":["a",null]}`, []string{`/nullable: is of OpenAPI 3.0; null is among the types now`}},
		{"nullable without type", `{"nullable":true}`, `{"nullable":true}`, nil},

		{"required flags", `{"properties":{"a":{"required":true},"b":{"required":false},"c":{"required":true}},"required":["c"]}`,
			`{"properties":{"a":{},"b":{},"c":{}},"required":["c","a"]}`, []string{
				`/properties/a/required: is true, not a list of names; a is required by its object now`,
				`/properties/b/required: is false, not a list of names; b remains optional`,
				`/properties/c/required: is true, not a list of names; c is required by its object now`}},
		{"required flag of nothing", `{"required":true}`, `{}`, []string{`/required: must be a list of names; it is ignored`}},
		{"required name", `{"required":"a","properties":{"a":true}}`, `{"required":["a"],"properties":{"a":true}}`, []string{`/required: must be a list of names; read as ["a"]`}},
		{"required twice", `{"required":["a","a",1]}`, `{"required":["a"]}`, []string{`/required: must be a list of different names; read as ["a"]`}},

		{"list of items", `{"items":[{"type":"int"}]}`, `{"prefixItems":[{"type":"integer"}]}`, []string{
			`/items: is a list; it is called prefixItems now`,
			`/prefixItems/0/type: there is no type "int"; read as integer`}},
		{"missing items", `{"type":"array"}`, `{"type":"array"}`, nil},
		{"null items", `{"items":null}`, `{"items":true}`, []string{`/items: is null, not a schema; any value is accepted here`}},

		{"enum of another type", `{"type":"integer","enum":["1",2,"x"]}`, `{"type":"integer","enum":[1,2,"x"]}`, []string{`/enum: has values that are not integer; they are read as such`}},
		{"enum of strings", `{"type":"string","enum":[1,true,"a"]}`, `{"type":"string","enum":["1","true","a"]}`, []string{`/enum: has values that are not string; they are read as such`}},
		{"enum of no value", `{"type":"boolean","enum":["yes","no"]}`, `{"type":"boolean"}`, []string{`/enum: no value in it is of the type beside it; it is ignored`}},
		{"enum of whole floats", `{"type":"integer","enum":[1.0,2e1]}`, `{"type":"integer","enum":[1.0,2e1]}`, nil},
		{"enum that is no list", `{"enum":"a"}`, `{"enum":["a"]}`, []string{`/enum: is not a list; read as the only value`}},
		{"enum that is an object", `{"enum":{"a":1}}`, `{}`, []string{`/enum: is an object, not a list; it is ignored`}},
		{"empty enum", `{"enum":[]}`, `{}`, []string{`/enum: no value in it is of the type beside it; it is ignored`}},

		{"exclusive flags", `{"minimum":1,"exclusiveMinimum":true,"maximum":2,"exclusiveMaximum":false}`, `{"maximum":2,"exclusiveMinimum":1}`, []string{
			`/exclusiveMinimum: is a number in JSON Schema 2020-12; read together with minimum`,
			`/exclusiveMaximum: is a number in JSON Schema 2020-12; read together with maximum`}},
		{"numbers in strings", `{"minLength":"3","maximum":"1.5"}`, `{"minLength":3,"maximum":1.5}`, []string{
			`/minLength: is a string; read as the number 3`,
			`/maximum: is a string; read as the number 1.5`}},
		{"senseless numbers", `{"minLength":-1,"maxItems":1.5,"minimum":"low","multipleOf":0,"maximum":1e999999}`, `{}`, []string{
			`/minLength: is -1, not a whole number; it is ignored`,
			`/maxItems: is 1.5, not a whole number; it is ignored`,
			`/minimum: is a string, not a number; it is ignored`,
			`/multipleOf: is 0; nothing is a multiple of that; it is ignored`,
			`/maximum: is beyond all bounds; it is ignored`}},

		{"pattern with lookahead", `{"pattern":"^(?=a).*$"}`, `{}`, []string{`/pattern: the pattern "^(?=a).*$" cannot be used: invalid or unsupported Perl syntax "(?="; it is ignored`}},
		{"pattern that is broken", `{"pattern":"[a","minLength":1}`, `{"minLength":1}`, []string{`/pattern: the pattern "[a" cannot be used: missing closing ] "[a"; it is ignored`}},
		{"pattern of names", `{"patternProperties":{"^a":{},"(":{}}}`, `{"patternProperties":{"^a":{}}}`, []string{`/patternProperties/(: the pattern "(" cannot be used: missing closing ) "("; it is ignored`}},

		{"flags in strings", `{"additionalProperties":"false","uniqueItems":"true","readOnly":"perhaps"}`, `{"additionalProperties":false,"uniqueItems":true}`, []string{
			`/additionalProperties: "false" is no schema; read as false`,
			`/uniqueItems: is a string; read as true`,
			`/readOnly: is a string, not true or false; it is ignored`}},
		{"text that is none", `{"title":1,"description":null,"format":["a"],"$comment":{}}`, `{}`, []string{
			`/title: is an integer, not a string; it is ignored`,
			`/description: is null, not a string; it is ignored`,
			`/format: is an array, not a string; it is ignored`,
			`/$comment: is an object, not a string; it is ignored`}},
		{"properties that are none", `{"properties":["a"]}`, `{}`, []string{`/properties: is an array, not an object; it is ignored`}},
		{"property that is none", `{"properties":{"a":"string"}}`, `{"properties":{"a":true}}`, []string{`/properties/a: is a string, not a schema; any value is accepted here`}},
		{"no alternatives", `{"oneOf":[],"allOf":[]}`, `{}`, []string{
			`/oneOf: is empty; it is ignored`,
			`/allOf: is empty; it is ignored`}},
		{"schema that is none", `7`, `true`, []string{`: is an integer, not a schema; any value is accepted here`}},

		{"other versions", `{"$schema":"http://json-schema.org/draft-07/schema#","type":"string"}`, `{"$schema":"http://json-schema.org/draft-07/schema#","type":"string"}`, nil},
		{"the version of OpenAPI", `{"$schema":"https://spec.openapis.org/oas/3.1/dialect/base"}`, `{}`, nil},
		{"unknown versions", `{"$schema":"https://x.example/"}`, `{}`, []string{`/$schema: there is no version "https://x.example/" of JSON Schema; it is ignored`}},
		{"identity", `{"$id":"https://x.example/","$anchor":"a"}`, `{}`, []string{
			`/$id: references are resolved within the document; it is ignored`,
			`/$anchor: references are resolved within the document; it is ignored`}},

		{"names that are keywords", `{"properties":{"type":{"type":"string"},"required":{"type":"boolean"},"$ref":{"type":"string"}}}`,
			`{"properties":{"type":{"type":"string"},"required":{"type":"boolean"},"$ref":{"type":"string"}}}`, nil},
		{"values that are left alone", `{"const":{"type":"long"},"default":{"type":"long"},"examples":[{"required":true}]}`,
			`{"const":{"type":"long"},"default":{"type":"long"},"examples":[{"required":true}]}`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := parse(t, document(webhook("a.b", c.schema), ""))
			if got := string(doc.Types[0].Schema); got != c.want {
				t.Errorf("schema is %s, want %s; notes: %v", got, c.want, doc.Notes)
			}
			got := notes(doc, catalog.Repaired)
			slices.Sort(got) // for those on what is gone, order says nothing
			slices.Sort(c.notes)
			if !slices.Equal(got, c.notes) {
				t.Errorf("notes are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.notes, "\n"))
			}
		})
	}
}

// References that miss by what tools commonly get wrong are mended; the schema of
// the event type stands alone.
func TestReferences(t *testing.T) {
	const at = "#/webhooks/a.b/post/requestBody/content/application~1json/schema"
	for _, c := range []struct{ name, webhooks, schema, ref string }{
		{"right", webhook("a.b", `{"$ref":"#/components/schemas/S"}`), `{"$ref":"#/$defs/S","$defs":{"S":{"type":"string"}}}`, ""},
		{"escaped twice", webhook("a.b", `{"$ref":"#/components%2Fschemas/S"}`), `{"$ref":"#/$defs/S","$defs":{"S":{"type":"string"}}}`, ""},
		{"to the wrong rendering", webhook("a.b", `{"$ref":"#/paths/a.c/post/requestBody/content/application~1json/schema"}`) + "," + webhook("a.c", `{"type":"string"}`),
			`{"$ref":"#/$defs/schema","$defs":{"schema":{"type":"string"}}}`, "#/webhooks/a.c/post/requestBody/content/application~1json/schema"},
		{"to a key with a slash", webhook("a.b", `{"$ref":"#/paths/~1a.c/post/requestBody/content/application~1json/schema"}`) + "," + webhook("a.c", `{"type":"string"}`),
			`{"$ref":"#/$defs/schema","$defs":{"schema":{"type":"string"}}}`, "#/webhooks/a.c/post/requestBody/content/application~1json/schema"},
		{"to a key without one", webhook("a.b", `{"$ref":"#/webhooks/a.c/post/requestBody/content/application~1json/schema"}`) + "," + webhook("/a.c", `{"type":"string"}`),
			`{"$ref":"#/$defs/schema","$defs":{"schema":{"type":"string"}}}`, "#/webhooks/~1a.c/post/requestBody/content/application~1json/schema"},
		{"without escapes", webhook("a.b", `{"$ref":"#/webhooks/a.c/post/requestBody/content/application/json/schema"}`) + "," + webhook("a.c", `{"type":"string"}`),
			`{"$ref":"#/$defs/schema","$defs":{"schema":{"type":"string"}}}`, "#/webhooks/a.c/post/requestBody/content/application~1json/schema"},
		{"to its own part", webhook("a.b", `{"properties":{"x":{"type":"string"},"y":{"$ref":"`+at+`/properties/x"}}}`),
			`{"properties":{"x":{"type":"string"},"y":{"$ref":"#/properties/x"}}}`, ""},
		{"of a pasted schema", webhook("a.b", `{"$defs":{"x":{"type":"string"}},"properties":{"y":{"$ref":"#/$defs/x"}}}`),
			`{"$defs":{"x":{"type":"string"}},"properties":{"y":{"$ref":"#/$defs/x"}}}`, at + "/$defs/x"},
		{"of a pasted schema to itself", webhook("a.b", `{"properties":{"y":{"$ref":"#"}}}`),
			`{"properties":{"y":{"$ref":"#"}}}`, at},
		{"recursive", webhook("a.b", `{"$ref":"#/components/schemas/Tree"}`),
			`{"$ref":"#/$defs/Tree","$defs":{"Tree":{"properties":{"kids":{"items":{"$ref":"#/$defs/Tree"}}}}}}`, ""},
		{"to two of one name", webhook("a.b", `{"prefixItems":[{"$ref":"#/components/schemas/S"},{"$ref":"#/components/other/S"}],"$defs":{"S":{"type":"null"}}}`),
			`{"prefixItems":[{"$ref":"#/$defs/S_2"},{"$ref":"#/$defs/S_3"}],"$defs":{"S":{"type":"null"},"S_2":{"type":"string"},"S_3":{"type":"boolean"}}}`, ""},
		{"to a name that needs escapes", webhook("a.b", `{"$ref":"#/components/schemas/a~1b%20c%25"}`),
			`{"$ref":"#/$defs/a~1b%20c%25","$defs":{"a/b c%":{"type":"integer"}}}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := parse(t, document(c.webhooks, `"schemas":{"S":{"type":"string"},"a/b c%":{"type":"integer"},"Tree":{"properties":{"kids":{"items":{"$ref":"#/components/schemas/Tree"}}}}},"other":{"S":{"type":"boolean"}}`))
			if got := string(doc.Types[0].Schema); got != c.schema {
				t.Errorf("schema is %s, want %s; notes: %v", got, c.schema, doc.Notes)
			}
			if c.ref != "" && !strings.Contains(string(doc.Source), `{"$ref":"`+c.ref+`"}`) {
				t.Errorf("the source does not say %s: %s", c.ref, doc.Source)
			}
			repaired := notes(doc, catalog.Repaired)
			if mended := c.ref != ""; mended != (len(repaired) == 1) {
				t.Errorf("notes on repairs are %q", repaired)
			}
		})
	}
}

// A schema that remains unusable leaves its event type unchecked, with the
// reason and its place; the others are not affected.
func TestUnchecked(t *testing.T) {
	for _, c := range []struct{ name, schema, want string }{
		{"undefined reference", `{"properties":{"a":{"$ref":"#/components/schemas/None"}}}`, `/properties/a/$ref: the schema cannot be used: "#/components/schemas/None" is not in the document; any body is accepted`},
		{"reference elsewhere", `{"$ref":"https://x.example/s.json"}`, `/$ref: the schema cannot be used: "https://x.example/s.json" is not in the document, and nothing outside of it is read; any body is accepted`},
		{"reference to a file", `{"$ref":"common.yaml#/S"}`, `/$ref: the schema cannot be used: "common.yaml#/S" is not in the document, and nothing outside of it is read; any body is accepted`},
		{"reference to an anchor", `{"$ref":"#here"}`, `/$ref: the schema cannot be used: "#here" is an anchor; only JSON pointers are followed; any body is accepted`},
		{"alternatives that are none", `{"properties":{"a":{"anyOf":"x"}}}`, `/properties/a/anyOf: the schema cannot be used: it must be array, is string; any body is accepted`},
		{"alternative that is none", `{"anyOf":[{},7]}`, `/anyOf/1: the schema cannot be used: it must be boolean or object, is number; any body is accepted`},
		{"broken part elsewhere", `{"$ref":"#/components/schemas/Broken"}`, `s/Broken/not: the schema cannot be used: it must be boolean or object, is string; any body is accepted`},
		{"reference into nothing", `{"$dynamicRef":"#node"}`, `: the schema cannot be used: `},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := parse(t, document(webhook("a.b", c.schema)+","+webhook("a.c", `{"type":"object"}`), `"schemas":{"Broken":{"not":"this"}}`))
			broken, sound := doc.Types[0], doc.Types[1]
			if broken.Schema != nil || broken.Check([]byte(`7`)) != nil {
				t.Errorf("there is a schema: %s", broken.Schema)
			}
			if sound.Schema == nil || sound.Check([]byte(`7`)) == nil {
				t.Errorf("the other event type is unchecked too")
			}
			got := notes(doc, catalog.Unchecked)
			if len(got) != 1 || !strings.HasPrefix(got[0], c.want) {
				t.Errorf("notes are %q, want %q", got, c.want)
			}
			for _, n := range doc.Notes {
				if n.EventType != "a.b" {
					t.Errorf("the note %v is about %q", n, n.EventType)
				}
			}
		})
	}
}
