package catalog

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"
)

// What the acceptor accepts, the library accepts: for any schema of the kind
// that acceptors understand, and bodies that nearly fit.
func TestAcceptorIsSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		schema := drawSchema(t, 3)
		c := mustChecker(t, schema)
		body := drawBody(t, schema, 3)
		if !c.fast.accepts(body) {
			return
		}
		if faults := c.validate(body); len(faults) > 0 {
			t.Fatalf("%s is accepted, but %v; schema %s", body, faults, toJSON(schema))
		}
	})
}

// The acceptor is of use only if it accepts nearly all that is good.
func TestAcceptorAccepts(t *testing.T) {
	accepted, good := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		schema := drawSchema(t, 2)
		c := mustChecker(t, schema)
		if body := drawBody(t, schema, 2); c.validate(body) == nil {
			good++
			if c.fast.accepts(body) {
				accepted++
			}
		}
	})
	if good < 20 || accepted*10 < good*7 {
		t.Errorf("%d of %d good bodies are accepted", accepted, good)
	}
}

// Real schemas are understood, and their samples accepted.
func TestAcceptorOnDocuments(t *testing.T) {
	for _, ty := range NumberManagement().Types {
		for _, s := range ty.Samples {
			if !ty.check.fast.accepts(s.Body) {
				t.Errorf("sample %s of %s is not accepted", s.Name, ty.Name)
			}
			if allocs := testing.AllocsPerRun(10, func() { ty.Check(s.Body) }); allocs > 0 {
				t.Errorf("checking sample %s of %s allocates %v times", s.Name, ty.Name, allocs)
			}
		}
	}
}

// What acceptors do not understand is left to the library as a whole; what is
// merely unusual is for one body.
func TestPerhaps(t *testing.T) {
	for _, c := range []struct {
		schema, body string
		want         bool
	}{
		{`{}`, `{"a":[1,-0.5,"\u00e9\n",true,false,null,{}]}`, true},
		{`true`, ` [ 1 , { "a" : 2 } ] `, true},
		{`{"type":["object","null"]}`, `null`, true},
		{`{"type":"integer"}`, `12345678901234567890`, true},
		{`{"type":"number"}`, `1.50`, true},
		{`{"enum":[1,"a",true,null]}`, `true`, true},
		{`{"const":"é"}`, `"é"`, true},
		{`{"maxLength":3}`, `"日本語"`, true},
		{`{"pattern":"é$"}`, `"é"`, true},
		{`{"anyOf":[{"type":"null"},{"minimum":3}]}`, `4`, true},
		{`{"allOf":[{"minimum":3},{"maximum":5}],"type":"integer"}`, `4`, true},
		{`{"required":["a"],"additionalProperties":{"type":"string"}}`, `{"a":"","b":"c"}`, true},
		{`{"properties":{"a":false}}`, `{"b":1}`, true},
		{`{"$ref":"#/$defs/t","$defs":{"t":{"properties":{"t":{"$ref":"#/$defs/t"},"n":{"type":"integer"}}}}}`, `{"t":{"t":{"n":1}}}`, true},

		{`{"type":"integer"}`, `1.0`, false},
		{`{"type":"number"}`, `1e2`, false},
		{`{"enum":[1]}`, `1.0`, false},
		{`{"const":"a"}`, `"\u0061"`, false},
		{`{"properties":{"a":{}}}`, `{"a":1,"a":2}`, false},
		{`{"properties":{"a":{}}}`, `{"\u0061":1}`, false},
		{`{"properties":{"é":{}}}`, `{"é":1}`, false},
		{`{"maxLength":3}`, "\"\xff\"", false},
		{`{"oneOf":[{},false]}`, `1`, false},
		{`{"properties":{"a":{"uniqueItems":true}}}`, `{}`, false},
		{`{"format":"regex"}`, `"a"`, false},
		{`{"$schema":"http://json-schema.org/draft-07/schema#"}`, `1`, false},
		{`{"minimum":0.5}`, `1`, false},
		{`{}`, strings.Repeat("[", 100) + strings.Repeat("]", 100), false},
	} {
		schema := fromJSON(t, c.schema)
		checker := mustChecker(t, schema)
		if got := checker.fast.accepts([]byte(c.body)); got != c.want {
			t.Errorf("accepting %s under %s is %t, want %t", c.body, c.schema, got, c.want)
		}
		if faults := checker.validate([]byte(c.body)); len(faults) > 0 {
			t.Errorf("the library finds %v in %s under %s", faults, c.body, c.schema)
		}
	}
}

// A later version of the library may have keywords that acceptors would pass
// over: whoever updates it looks at understands, applied and collect, and then
// adds them here.
func TestLibraryHasNoNewKeywords(t *testing.T) {
	known := strings.Fields(`
		DraftVersion Location Bool ID Ref Anchor RecursiveRef RecursiveAnchor DynamicRef DynamicAnchor Types Enum Const Not
		AllOf AnyOf OneOf If Then Else Format MaxProperties MinProperties Required PropertyNames Properties PatternProperties
		AdditionalProperties Dependencies DependentRequired DependentSchemas UnevaluatedProperties MinItems MaxItems UniqueItems
		Contains MinContains MaxContains Items AdditionalItems PrefixItems Items2020 UnevaluatedItems MinLength MaxLength Pattern
		ContentEncoding ContentMediaType ContentSchema Maximum Minimum ExclusiveMaximum ExclusiveMinimum MultipleOf Extensions
		Title Description Default Comment ReadOnly WriteOnly Examples Deprecated`)
	for _, f := range reflect.VisibleFields(reflect.TypeFor[jsonschema.Schema]()) {
		if f.IsExported() && !slices.Contains(known, f.Name) {
			t.Errorf("the library has the new keyword %s", f.Name)
		}
	}
}

// What random bodies seldom meet is not accepted either.
func TestNotAccepted(t *testing.T) {
	for _, c := range []struct{ schema, body string }{
		{`{"const":"a","enum":["b"]}`, `"a"`},
		{`{"const":"a","enum":["b"]}`, `"b"`},
		{`{"format":"int64"}`, `9223372036854775808`},
		{`{"format":"int64"}`, `-9223372036854775809`},
		{`{"format":"int32","minimum":-1,"maximum":1}`, `2`},
		{`{"items":{"type":"string"},"minItems":1}`, `[]`},
		{`{"properties":{"a":{"type":"null"}}}`, `{"a":1,"a":null}`},
		{`{"anyOf":[{"maximum":1},{"minimum":3}]}`, `2`},
		{`{"$ref":"#/$defs/t","$defs":{"t":{"properties":{"t":{"$ref":"#/$defs/t"},"n":{"type":"integer"}}}}}`, `{"t":{"t":{"n":"1"}}}`},
	} {
		if mustChecker(t, fromJSON(t, c.schema)).fast.accepts([]byte(c.body)) {
			t.Errorf("%s is accepted under %s", c.body, c.schema)
		}
	}
}

// Nothing that is not JSON is accepted, whatever the schema.
func TestOnlyJSONIsAccepted(t *testing.T) {
	c := mustChecker(t, true)
	for _, body := range []string{
		``, ` `, `{`, `[`, `"`, `"\`, `"\u12`, `"\x"`, "\"\n\"", `tru`, `nul`, `+1`, `01`, `-`, `1.`, `.5`, `1e`, `--1`, `NaN`,
		`[1,]`, `[,1]`, `[1 2]`, `[1 22]`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1 "b":2}`, `{a:1}`, `{1:2}`, `1 2`, `{}}`, `[]]`, "\ufeff1", "1\x00", `'a'`, `{"\q":1}`,
	} {
		if c.fast.accepts([]byte(body)) || !json.Valid([]byte(body)) && c.validate([]byte(body)) == nil {
			t.Errorf("%q is accepted", body)
		}
	}
}

// fataler is a [testing.T] or a [rapid.T].
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func mustChecker(t fataler, schema any) checker {
	t.Helper()
	compiled, err := compile(schema)
	if err != nil {
		t.Fatalf("%s: %v", toJSON(schema), err)
	}
	return newChecker(compiled)
}

func fromJSON(t fataler, text string) any {
	t.Helper()
	v, err := readJSON([]byte(text), nil)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return plain(v)
}

func toJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}
