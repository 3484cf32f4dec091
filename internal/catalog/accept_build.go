package catalog

import (
	"encoding/json"
	"math/big"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// newAcceptor returns the acceptor for a schema, or nil if the schema is more
// than acceptors understand.
func newAcceptor(s *jsonschema.Schema) *acceptor {
	b := acceptorBuilder{made: map[*jsonschema.Schema]*acceptor{}}
	a := b.build(s)
	if b.failed {
		return nil
	}
	return a
}

type acceptorBuilder struct {
	made   map[*jsonschema.Schema]*acceptor
	failed bool
}

func (b *acceptorBuilder) build(s *jsonschema.Schema) *acceptor {
	if s == nil {
		return nil
	}
	if a := b.made[s]; a != nil {
		return a
	}
	a := &acceptor{types: allTypes, maxItems: unlimited, maxLength: unlimited}
	b.made[s] = a
	if s.Bool != nil {
		if a.any = *s.Bool; !a.any {
			a.types = 0
		}
		return a
	}
	if !b.understands(s) {
		b.failed = true
		return a
	}
	b.buildCommon(a, s)
	b.buildObject(a, s)
	b.buildNumber(a, s)
	a.items = b.build(s.Items2020)
	a.minItems, a.maxItems = limits(s.MinItems, s.MaxItems)
	a.minLength, a.maxLength = limits(s.MinLength, s.MaxLength)
	if s.Pattern != nil {
		a.pattern = s.Pattern.(*pattern) // from compilePattern
	}
	a.text = s.MinLength != nil || s.MaxLength != nil || s.Pattern != nil || a.literals != nil
	if len(a.all) == 1 && a.bare() {
		a.alias = a.all[0] // a $ref and no more, as most are; bound has seen that there is no ring
	}
	return a
}

// bare reports whether the acceptor itself asks for nothing.
func (a *acceptor) bare() bool {
	return a.one == nil && a.types == allTypes && a.literals == nil &&
		len(a.members) == 0 && !a.closed && a.others == nil &&
		a.items == nil && a.minItems == 0 && a.maxItems == unlimited &&
		!a.text && !a.bounded
}

// understands reports whether a schema has nothing but what acceptors know. What
// it does not list are annotations, and what only earlier versions have.
func (b *acceptorBuilder) understands(s *jsonschema.Schema) bool {
	format := s.Format == nil || s.Format.Name != "regex"
	return s.DraftVersion >= 2020 && format &&
		s.RecursiveRef == nil && s.DynamicRef == nil && s.Not == nil && s.OneOf == nil && s.If == nil &&
		s.MaxProperties == nil && s.MinProperties == nil && s.PropertyNames == nil && s.PatternProperties == nil &&
		s.Dependencies == nil && s.DependentRequired == nil && s.DependentSchemas == nil && s.UnevaluatedProperties == nil &&
		!s.UniqueItems && s.Contains == nil && s.PrefixItems == nil && s.UnevaluatedItems == nil &&
		s.Items == nil && s.AdditionalItems == nil &&
		s.ContentEncoding == nil && s.ContentMediaType == nil && s.ContentSchema == nil &&
		s.MultipleOf == nil && s.ExclusiveMaximum == nil && s.ExclusiveMinimum == nil &&
		len(s.Extensions) == 0 && len(s.Properties) <= maxMembers/2 && len(s.Required) <= maxMembers/2
}

func (b *acceptorBuilder) buildCommon(a *acceptor, s *jsonschema.Schema) {
	if s.Ref != nil {
		a.all = append(a.all, b.build(s.Ref))
	}
	for _, sub := range s.AllOf {
		a.all = append(a.all, b.build(sub))
	}
	if len(s.AnyOf) > 0 {
		var list []*acceptor
		for _, sub := range s.AnyOf {
			list = append(list, b.build(sub))
		}
		a.one = append(a.one, list)
	}
	if s.Types != nil && !s.Types.IsEmpty() {
		a.types = 0
		for _, name := range s.Types.ToStrings() {
			a.types |= 1 << slices.Index([]string{"null", "boolean", "integer", "number", "string", "array", "object"}, name)
		}
	}
	if s.Const != nil {
		b.literals(a, []any{*s.Const})
	}
	if s.Enum != nil {
		b.literals(a, s.Enum.Values)
	}
}

// literals restricts the value to some that are written exactly like this.
func (b *acceptorBuilder) literals(a *acceptor, values []any) {
	allowed := map[string]bool{}
	for _, v := range values {
		switch v := v.(type) {
		case string:
			allowed[`"`+v+`"`] = true // compared with strings that have no escapes
		case json.Number, bool, nil:
			allowed[string(appendJSON(nil, v))] = true
		}
		// Objects and arrays have no single text: perhaps.
	}
	if a.literals != nil { // both const and enum
		for text := range a.literals {
			a.literals[text] = allowed[text]
		}
		return
	}
	a.literals = allowed
}

func (b *acceptorBuilder) buildObject(a *acceptor, s *jsonschema.Schema) {
	a.index = map[string]int{}
	for name, sub := range s.Properties {
		a.index[name] = len(a.members)
		a.members = append(a.members, member{b.build(sub), true})
	}
	for _, name := range s.Required {
		if _, ok := a.index[name]; !ok {
			a.index[name] = len(a.members)
			a.members = append(a.members, member{nil, false})
		}
	}
	for _, name := range s.Required {
		a.required.add(a.index[name])
	}
	switch others := s.AdditionalProperties.(type) {
	case bool:
		a.closed = !others
	case *jsonschema.Schema:
		a.others = b.build(others)
	}
}

func (b *acceptorBuilder) buildNumber(a *acceptor, s *jsonschema.Schema) {
	a.lowest, a.highest = -1<<63, 1<<63-1
	if s.Format != nil {
		switch s.Format.Name {
		case "int32":
			a.bounded, a.lowest, a.highest = true, -1<<31, 1<<31-1
		case "int64":
			a.bounded = true
		}
	}
	if low := s.Minimum; low != nil {
		a.bounded = true
		if !wholeInt64(low) {
			b.failed = true
			return
		}
		a.lowest = max(a.lowest, low.Num().Int64())
	}
	if high := s.Maximum; high != nil {
		a.bounded = true
		if !wholeInt64(high) {
			b.failed = true
			return
		}
		a.highest = min(a.highest, high.Num().Int64())
	}
}

func wholeInt64(r *big.Rat) bool { return r.IsInt() && r.Num().IsInt64() }

func limits(least, most *int) (int, int) {
	low, high := 0, unlimited
	if least != nil {
		low = *least
	}
	if most != nil {
		high = *most
	}
	return low, high
}
