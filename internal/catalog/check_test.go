package catalog_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/switchhook/switchhook/internal/catalog"
)

// Every fault has its exact place and says what was expected and what was found.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name, schema, body string
		want               []string
	}{
		{"fits", `{"type":"object","properties":{"a":{"type":"string"}}}`, `{"a":"b","c":1}`, nil},
		{"no JSON", `{}`, `{"a":`, []string{`the body is not JSON: unexpected EOF`}},
		{"nothing", `{}`, ``, []string{`the body is not JSON: EOF`}},
		{"two values", `{}`, `{} {}`, []string{`the body is not JSON: invalid character after top-level value`}},

		{"missing", `{"required":["b","a"]}`, `{}`, []string{`/a is required`, `/b is required`}},
		{"missing deep down", `{"properties":{"payload":{"properties":{"object":{"required":["carrier_code"]}}}}}`, `{"payload":{"object":{}}}`, []string{`/payload/object/carrier_code is required`}},
		{"too much", `{"properties":{"a":{}},"additionalProperties":false}`, `{"c":1,"a":1,"b":1}`, []string{`/b is not allowed`, `/c is not allowed`}},
		{"odd names", `{"required":["a/b","c~d",""],"additionalProperties":false}`, `{"e/f":1,"~":1}`, []string{`/ is required`, `/a~1b is required`, `/c~0d is required`, `/e~1f is not allowed`, `/~0 is not allowed`}},
		{"forbidden", `{"properties":{"a":false}}`, `{"a":1}`, []string{`/a is not allowed`}},

		{"type", `{"properties":{"a":{"type":"integer"},"b":{"type":["null","number","string"]}}}`, `{"a":"1","b":[]}`, []string{`/a must be integer, is string`, `/b must be number or string or null, is array`}},
		{"no integer", `{"type":"integer"}`, `1.5`, []string{`the body must be integer, is number`}},
		{"integer as float", `{"type":"integer"}`, `1.0`, nil},
		{"type of the body", `{"type":"object"}`, `[]`, []string{`the body must be object, is array`}},
		{"items", `{"items":{"type":"string"}}`, `["a",1,"b",null,"c","d","e","f","g","h",true]`, []string{`/1 must be string, is number`, `/3 must be string, is null`, `/10 must be string, is boolean`}},

		{"enum", `{"enum":["a","b"]}`, `"c"`, []string{`the body must be one of "a", "b", is "c"`}},
		{"long enum", `{"enum":[1,2,3,4,5,6,7,8,9,10]}`, `{"a":1}`, []string{`the body must be one of 1, 2, 3, 4, 5, 6, 7, 8 and 2 others, is an object`}},
		{"const", `{"properties":{"event":{"const":"a.b"}}}`, `{"event":"a.c"}`, []string{`/event must be "a.b", is "a.c"`}},
		{"const object", `{"const":{"a":[1]}}`, `[]`, []string{`the body must be an object, is an array`}},
		{"long text", `{"const":"a"}`, `"` + strings.Repeat("é", 300) + `"`, []string{`the body must be "a", is "` + strings.Repeat("é", 39) + `...`}},

		{"int32", `{"type":"integer","format":"int32"}`, `2147483648`, []string{`the body must be within the range of int32, is 2147483648`}},
		{"greatest int32", `{"type":"integer","format":"int32"}`, `2147483647`, nil},
		{"int32 with exponent", `{"type":"integer","format":"int32"}`, `3e9`, []string{`the body must be within the range of int32, is 3e9`}},
		{"least int32", `{"type":"integer","format":"int32"}`, `-2147483648`, nil},
		{"int64", `{"format":"int64"}`, `9223372036854775808`, []string{`the body must be within the range of int64, is 9223372036854775808`}},
		{"int64 of a string", `{"format":"int64"}`, `"x"`, nil},
		{"other formats", `{"properties":{"a":{"format":"date-time"},"b":{"format":"email"},"c":{"format":"uuid"},"d":{"format":"long"}}}`, `{"a":"yesterday","b":"","c":"1","d":true}`, nil},

		{"regex", `{"format":"regex"}`, `"("`, []string{`the body must be a regular expression, is "("`}},

		{"lengths", `{"items":{"minLength":2,"maxLength":3}}`, `["a","ab","日本語","äöüß"]`, []string{`/0 must have at least 2 characters, has 1`, `/3 must have at most 3 characters, has 4`}},
		{"items in number", `{"properties":{"a":{"minItems":1},"b":{"maxItems":1}}}`, `{"a":[],"b":[1,2]}`, []string{`/a must have at least 1 item, has 0`, `/b must have at most 1 item, has 2`}},
		{"members in number", `{"properties":{"a":{"minProperties":1},"b":{"maxProperties":0}}}`, `{"a":{},"b":{"c":1}}`, []string{`/a must have at least 1 member, has 0`, `/b must have at most 0 members, has 1`}},
		{"bounds", `{"prefixItems":[{"minimum":3},{"maximum":3},{"exclusiveMinimum":0.5},{"exclusiveMaximum":3},{"multipleOf":0.1}]}`, `[2,4,0.5,3,0.25]`, []string{
			`/0 must be at least 3, is 2`, `/1 must be at most 3, is 4`, `/2 must be more than 0.5, is 0.5`, `/3 must be less than 3, is 3`, `/4 must be a multiple of 0.1, is 0.25`}},
		{"pattern", `{"pattern":"^\\+[1-9]"}`, `"0800"`, []string{`the body must match ^\+[1-9], is "0800"`}},
		{"repeated items", `{"properties":{"a":{"uniqueItems":true}}}`, `{"a":[1,2,3,1]}`, []string{`/a/3 repeats item 0`}},
		{"contained items", `{"contains":{"type":"string"},"minContains":2}`, `[1,"a"]`, []string{`the body must have at least 2 items of the kind that the schema asks for, has 1`}},
		{"dependent members", `{"dependentRequired":{"a":["b"]}}`, `{"a":1}`, []string{`/b is required beside "a"`}},

		{"all of", `{"allOf":[{"required":["a"]},{"required":["b"]}]}`, `{}`, []string{`/a is required`, `/b is required`}},
		{"references", `{"$defs":{"x":{"type":"string"}},"properties":{"a":{"$ref":"#/$defs/x"}}}`, `{"a":1}`, []string{`/a must be string, is number`}},
		{"not", `{"not":{"type":"string"}}`, `"a"`, []string{`the body is what the schema excludes`}},
		{"any of types", `{"anyOf":[{"type":"string"},{"type":"null"},{"$ref":"#/$defs/n"}],"$defs":{"n":{"type":"integer"}}}`, `true`, []string{`the body must be string or integer or null, is boolean`}},
		{"the one alternative of its type", `{"properties":{"a":{"anyOf":[{"type":"null"},{"type":"object","required":["b","c"]}]}}}`, `{"a":{}}`, []string{`/a/b is required`, `/a/c is required`}},
		{"the nearest alternative", `{"anyOf":[{"required":["a","b"]},{"required":["c"]}]}`, `{}`, []string{`the body fits none of 2 alternatives`, `/c is required`}},
		{"none near", `{"oneOf":[{"enum":[1,2]},{"const":"a"}]}`, `3`, []string{`the body fits none of 2 alternatives`}},
		{"more than one alternative", `{"oneOf":[{"minimum":1},{"minimum":2}]}`, `3`, []string{`the body fits more than one of the alternatives that exclude each other`}},
		{"conditions", `{"if":{"required":["a"]},"then":{"required":["b"]},"else":{"required":["c"]}}`, `{"a":1}`, []string{`/b is required`}},
		{"unevaluated members", `{"allOf":[{"properties":{"a":{}}}],"unevaluatedProperties":false}`, `{"a":1,"b":2}`, []string{`/b is not allowed`}},

		{"numbers beyond all bounds", `{"properties":{"a":{"type":"integer","minimum":0}}}`, `{"a":1e1000000,"b":[2,1e-99999]}`, []string{`/a is a number beyond all bounds`, `/b/1 is a number beyond all bounds`}},
		{"digits beyond all bounds", `{"type":"integer"}`, strings.Repeat("9", 500), []string{`the body is a number beyond all bounds`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ty := parseOne(t, document(webhook("a.b", c.schema), ""))
			if ty.Schema == nil {
				t.Fatal("the schema cannot be used")
			}
			var got []string
			for _, f := range ty.Check([]byte(c.body)) {
				got = append(got, f.String())
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("faults are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// Of many faults the first are told, always the same.
func TestMaxFaults(t *testing.T) {
	ty := parseOne(t, document(webhook("a.b", `{"additionalProperties":false}`), ""))
	body := map[string]int{}
	for i := range 1000 {
		body[fmt.Sprintf("m%03d", i)] = i
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	faults := ty.Check(text)
	if len(faults) != catalog.MaxFaults {
		t.Fatalf("%d faults, want %d", len(faults), catalog.MaxFaults)
	}
	for i, f := range faults {
		if want := fmt.Sprintf("/m%03d", i); f.Pointer != want {
			t.Errorf("fault %d is at %s, want %s", i, f.Pointer, want)
		}
	}
}

// An event type without a usable schema takes anything, as does one that was
// never parsed.
func TestCheckWithoutSchema(t *testing.T) {
	none := parseOne(t, document(described("a.b", ""), ""))
	for _, ty := range []*catalog.Type{none, {}} {
		if faults := ty.Check([]byte("anything")); faults != nil {
			t.Errorf("faults are %v", faults)
		}
	}
}

// A fault names a place that can be found in the body, or, if something is
// missing, in its parent.
func TestFaultsPointIntoTheBody(t *testing.T) {
	ty := catalog.NumberManagement().Types[1]
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var body any
		if err := json.Unmarshal(ty.Samples[0].Body, &body); err != nil {
			t.Fatal(err)
		}
		damage(rnd, body)
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range ty.Check(text) {
			parent, last := f.Pointer[:max(0, strings.LastIndexByte(f.Pointer, '/'))], f.Pointer
			if f.Message == "is required" {
				last = parent
			}
			if !resolves(body, last) {
				t.Errorf("%v does not exist in %s", f, text)
			}
		}
	}
}

// damage changes one thing in an object or array, or in one of its parts.
func damage(rnd *rand.Rand, v any) {
	wrong := []any{nil, true, "x", 1e12, []any{}, map[string]any{"a": 1}}[rnd.IntN(6)]
	switch v := v.(type) {
	case map[string]any:
		names := slices.Sorted(maps.Keys(v))
		name := names[rnd.IntN(len(names))]
		switch rnd.IntN(5) {
		case 0:
			delete(v, name)
		case 1:
			v["extra~/"] = wrong
		case 2:
			v[name] = wrong
		default:
			damage(rnd, v[name])
		}
	case []any:
		if len(v) > 0 {
			v[rnd.IntN(len(v))] = wrong
		}
	}
}

func resolves(v any, pointer string) bool {
	for _, token := range strings.Split(pointer, "/")[1:] {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		switch parent := v.(type) {
		case map[string]any:
			child, ok := parent[token]
			if !ok {
				return false
			}
			v = child
		case []any:
			var i int
			if _, err := fmt.Sscanf(token, "%d", &i); err != nil || i >= len(parent) {
				return false
			}
			v = parent[i]
		default:
			return false
		}
	}
	return true
}

// Check may run in many goroutines at once.
func TestCheckConcurrently(t *testing.T) {
	ty := catalog.NumberManagement().Types[0]
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if faults := ty.Check(ty.Samples[0].Body); faults != nil {
					t.Errorf("faults are %v", faults)
				}
				if faults := ty.Check([]byte(`{}`)); len(faults) != 3 {
					t.Errorf("faults are %v", faults)
				}
			}
		})
	}
	wg.Wait()
}

// CheckSamples tells which samples do not fit, and only those.
func TestCheckSamples(t *testing.T) {
	doc := parse(t, document(`"a.b": {"post": {"requestBody": {"content": {"application/json": {
		"schema": {"required": ["n"], "properties": {"n": {"type": "integer"}}},
		"examples": {"good": {"value": {"n": 1}}, "bad": {"value": {"n": "1"}}, "worse": {"value": {}}}}}}}}`, ""))
	got := fmt.Sprint(doc.CheckSamples())
	if want := "[{a.b bad [/n must be integer, is string]} {a.b worse [/n is required]}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
