package catalog

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/switchhook/switchhook/internal/hook"
)

// FuzzCheck looks for a schema and a body that only the acceptor accepts, and
// for panics of either side.
func FuzzCheck(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"type":"object","required":["a"],"properties":{"a":{"const":"b"},"c":{"type":"integer","format":"int64"}},"additionalProperties":false}`, `{"a":"b","c":1}`},
		{`{"enum":["a",1.0,null]}`, `"a"`},
		{`{"items":{"pattern":"^a+b?[0-9]{2}$","minLength":2},"maxItems":3}`, `["aab12"]`},
		{`{"anyOf":[{"type":"integer","format":"int32"},{"$ref":"#/$defs/x"}],"$defs":{"x":{"maxLength":2}}}`, `2147483648`},
		{`{"additionalProperties":{"minimum":-5,"maximum":5},"required":["a"],"properties":{"b":false}}`, `{"a":3}`},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, schema, body []byte) {
		v, err := readJSON(schema, nil)
		if err != nil || len(schema) > 10_000 || tooWild(v) {
			return
		}
		compiled, err := compile(plain(v))
		if err != nil {
			return
		}
		c := newChecker(compiled)
		faults := c.validate(body)
		if c.fast.accepts(body) && len(faults) > 0 {
			t.Errorf("%s is accepted, but %v; schema %s", body, faults, schema)
		}
		if len(faults) > MaxFaults || !slices.IsSortedFunc(faults, func(a, b Fault) int { return comparePointers(a.Pointer, b.Pointer) }) {
			t.Errorf("faults are %v", faults)
		}
	})
}

// outline says what decides who gets which event types of a document.
func outline(d *Document) string {
	s := d.Product
	for _, t := range d.Types {
		s += fmt.Sprintf("; %q to %q by %s, %s, schema %t", t.Name, t.Scopes, t.Routing, t.EventType.Check, t.Schema != nil)
	}
	return s
}

func fieldsIn(f Field) int {
	n := 1
	for _, child := range f.Fields {
		n += fieldsIn(child)
	}
	return n
}

// FuzzParse looks for documents that make Parse panic, or give event types that
// nobody can use, or whose source does not give the same ones.
func FuzzParse(f *testing.F) {
	// Small ones, because the fuzzer spends its time on making large ones small.
	for _, seed := range []string{
		`{"openapi":"3.1.0","webhooks":{"a.b":{"post":{"requestBody":{"content":{"application/json":{"schema":{"type":"long"},"example":{"event":1}}}}}}}}`,
		`{"openapi":"3.1.0","paths":{"/a.b":{"post":{"description":"**[Scopes](x):** ` + "`a:b`" + `</br>","requestBody":{"$ref":"#/components/b"}}}},"components":{"b":{"content":{"a/json":{"schema":{"$ref":"#/webhooks/a.b/x"}}}}}}`,
		`{"openapi":"3.1.0","webhooks":{"a":{"post":{"requestBody":{"content":{"x":{"schema":{"properties":{"a":{"required":true,"nullable":true,"type":["string"],"enum":[1]},"b":{"$ref":"#"}},"items":[{}]}}}}}}}}`,
		`{"openapi":"3.1.0","webhooks":{"a":{"post":{"requestBody":{"content":{"x":{"schema":{"anyOf":[{"pattern":"^a+$"},{"minimum":"1"}],"$defs":{"a":{"$ref":"#/$defs/a"}}},"examples":{"e":{"value":"{}"}}}}}}}}}`,
		`{"openapi":"3.0.1","webhooks":{"a.b":{"post":{"description":"Event type: a.c"}},"/a.b":{"$ref":"#/paths/~1a.b"}},"paths":{"a.c":{"get":{}},"/a.b":{"post":{"description":"Event type: a.d","requestBody":{}}},"/u":{"post":{"requestBody":{}}}}}`,
		"openapi: 3.1.0\nwebhooks:\n  a.b: &x\n    post: {requestBody: {content: {}}}\n  a.c:\n    <<: *x\n",
		"openapi: 3.1\npaths:\n  a: {post: {requestBody: !!map {200: [1, 0x1F, ~, \"x\"]}}}\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		doc, err := Parse(text)
		if err != nil {
			return
		}
		if doc.Product == "" || len(doc.Types) == 0 {
			t.Fatalf("product %q with %d event types", doc.Product, len(doc.Types))
		}
		for i, ty := range doc.Types {
			if ty.Name == "" || i > 0 && doc.Types[i-1].Name >= ty.Name {
				t.Errorf("event type %d is called %q", i, ty.Name)
			}
			if ty.Schema != nil && !json.Valid(ty.Schema) {
				t.Errorf("schema of %s is %s", ty.Name, ty.Schema)
			}
			for _, s := range ty.Samples {
				if !json.Valid(s.Body) {
					t.Errorf("sample %s of %s is %s", s.Name, ty.Name, s.Body)
				}
				ty.Check(s.Body)
			}
			if body, _ := ty.Body(); fieldsIn(body) > maxFields || (body.Type == "") != (ty.Schema == nil) {
				t.Errorf("%s has %d fields and is %q", ty.Name, fieldsIn(body), body.Type)
			}
			if made := ty.MadeSample(); made != nil && !json.Valid(made) {
				t.Errorf("the sample made for %s is %s", ty.Name, made)
			}
		}
		again, err := Parse(doc.Source)
		if err != nil {
			t.Fatalf("the source cannot be parsed: %v", err)
		}
		if got, want := outline(again), outline(doc); got != want {
			t.Errorf("the source has %s\nthe document has %s", got, want)
		}

		c := New(doc)
		strict := *doc
		strict.Types = nil
		for _, ty := range doc.Types {
			if err := c.SetCheck(ty.Name, hook.CheckStrict); err != nil {
				t.Fatal(err)
			}
			own, _ := c.Lookup(ty.Name)
			strict.Types = append(strict.Types, own)
		}
		export, _ := c.Export(doc.Product)
		if again, err = Parse(export.JSON); err != nil {
			t.Fatalf("with modes it cannot be parsed: %v", err)
		}
		if got, want := outline(again), outline(&strict); got != want {
			t.Errorf("with modes it has %s\nwant %s", got, want)
		}
	})
}
