package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compile gives an event type its schema, if it has one that can be used, and
// returns the schema as it is in the document after repair.
func (p *parser) compile(t *Type, media *object, mediaAt, bodyAt string) any {
	if !media.has("schema") {
		p.note(Unchecked, bodyAt, "has no schema for application/json; any body is accepted")
		return nil
	}
	at := join(mediaAt, "schema")
	schema := p.repairAll(media.get("schema"), at)
	media.set("schema", schema)

	whole, b, err := p.bundle(schema, at)
	var compiled *jsonschema.Schema
	if err == nil {
		compiled, err = compile(plain(whole))
	}
	if err != nil {
		where, reason := explain(err, b)
		p.note(Unchecked, where, "the schema cannot be used: %s; any body is accepted", reason)
		return schema
	}
	t.Schema = appendJSON(nil, whole)
	t.check = newChecker(compiled)
	return schema
}

// explain returns where in the document the compiler finds fault, and with what.
func explain(err error, b *bundler) (pointer, reason string) {
	if e, ok := errors.AsType[*schemaError](err); ok {
		return e.at, e.Error()
	}
	if e, ok := errors.AsType[*jsonschema.SchemaValidationError](err); ok {
		if invalid, ok := errors.AsType[*jsonschema.ValidationError](e.Err); ok {
			f := collect(invalid)
			path := tokens(f[0].Pointer)
			// The path is relative to the part that was being validated.
			_, part, _ := strings.Cut(e.URL, "#")
			return b.locate(append(tokens(part), path...)), "it " + f[0].Message
		}
	}
	return b.base, strings.ReplaceAll(err.Error(), schemaURL, "")
}

// schemaURL is what the schema being compiled is called. It cannot be loaded.
const schemaURL = "urn:switchhook:schema"

// offline refuses to load what a schema refers to outside of itself.
type offline struct{}

func (offline) Load(url string) (any, error) {
	return nil, errors.New("nothing outside of the document is read")
}

// compile compiles a schema that stands alone. Its version is 2020-12, as
// OpenAPI 3.1 has it, unless it says otherwise.
func compile(schema any) (s *jsonschema.Schema, err error) {
	// The library is not written for schemas that nobody has looked at, and has
	// panics of its own.
	defer func() {
		if r := recover(); r != nil {
			s, err = nil, fmt.Errorf("the compiler fails: %v", r)
		}
	}()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(offline{})
	c.UseRegexpEngine(compilePattern)
	c.AssertFormat()
	for _, f := range formats() {
		c.RegisterFormat(f)
	}
	if err := c.AddResource(schemaURL, schema); err != nil {
		return nil, err
	}
	if s, err = c.Compile(schemaURL); err != nil {
		return nil, err
	}
	return s, bound(s)
}

// formats returns what is asserted of formats: int32 and int64 are ranges, as
// OpenAPI defines them. All others are annotations, which is what JSON Schema
// 2020-12 makes of them by default: documents use them loosely, as in a
// date-time without a zone or an e-mail address that is empty for strangers.
// Only regex is asserted as well, because the library does not let it go.
func formats() []*jsonschema.Format {
	list := []*jsonschema.Format{
		{Name: "int32", Validate: within(math.MinInt32, math.MaxInt32)},
		{Name: "int64", Validate: within(math.MinInt64, math.MaxInt64)},
	}
	// The library asserts these if they are not replaced.
	for _, name := range []string{
		"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "iri", "iri-reference",
		"json-pointer", "period", "relative-json-pointer", "semver", "time", "uri", "uri-reference",
		"uri-template", "uuid",
	} {
		list = append(list, &jsonschema.Format{Name: name, Validate: func(any) error { return nil }})
	}
	return list
}

var errRange = errors.New("out of range")

// within returns the assertion that a number, if it is one, is between two.
func within(lowest, highest int64) func(any) error {
	low, high := big.NewRat(lowest, 1), big.NewRat(highest, 1)
	return func(v any) error {
		n, ok := v.(json.Number)
		if !ok {
			return nil
		}
		if i, err := n.Int64(); err == nil {
			if i < lowest || i > highest {
				return errRange
			}
			return nil
		}
		r, ok := new(big.Rat).SetString(n.String())
		if !ok || r.Cmp(low) < 0 || r.Cmp(high) > 0 {
			return errRange
		}
		return nil
	}
}
