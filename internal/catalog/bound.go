package catalog

import (
	"errors"
	"fmt"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// maxCost is the number of subschemas, each counted as often as references lead
// to it, above which a schema is not used: checking a body can take as many
// steps for each of its values.
const maxCost = 100_000

// bound refuses schemas that could keep Validate busy without end. The library
// follows references as it validates, so a schema of forty lines can ask for a
// trillion steps, either by referring twice to one that refers twice to another,
// and so on, or by recursion through alternatives. Recursion as such is fine:
// each step down the schema is one down the body.
func bound(root *jsonschema.Schema) error {
	b := bounder{cost: map[*jsonschema.Schema]int{}, open: map[*jsonschema.Schema]bool{}}
	total := b.visit(root)
	switch {
	case total > maxCost:
		return fmt.Errorf("it unfolds to more than %d subschemas", maxCost)
	case b.recursive && b.branches:
		return errors.New("it refers to itself and has alternatives, which together can take exponential time")
	case ring(b.cost):
		return errors.New("it refers to itself without end")
	}
	return nil
}

type bounder struct {
	cost      map[*jsonschema.Schema]int
	open      map[*jsonschema.Schema]bool // those that the visit is inside of
	recursive bool
	branches  bool // more than one schema may apply to a value
}

// visit returns the size of the schema with all references unfolded.
func (b *bounder) visit(s *jsonschema.Schema) int {
	if b.open[s] {
		b.recursive = true
		return 0
	}
	if cost, ok := b.cost[s]; ok {
		return cost
	}
	b.open[s] = true
	same, parts := applied(s)
	if len(same) > 1 || len(same) == 1 && len(parts) > 0 || overlapping(s) {
		b.branches = true
	}
	cost := 1
	for _, next := range slices.Concat(same, parts) {
		cost = min(cost+b.visit(next), maxCost+1)
	}
	delete(b.open, s)
	b.cost[s] = cost
	return cost
}

// ring reports whether any of the schemas applies itself to the value that it
// is applied to.
func ring(all map[*jsonschema.Schema]int) bool {
	const visiting, done = 1, 2
	state := map[*jsonschema.Schema]int{}
	var visit func(s *jsonschema.Schema) bool
	visit = func(s *jsonschema.Schema) bool {
		switch state[s] {
		case visiting:
			return true
		case done:
			return false
		}
		state[s] = visiting
		same, _ := applied(s)
		found := slices.ContainsFunc(same, visit)
		state[s] = done
		return found
	}
	for s := range all {
		if visit(s) {
			return true
		}
	}
	return false
}

// overlapping reports whether two schemas below this one may apply to the same
// part of a value.
func overlapping(s *jsonschema.Schema) bool {
	return len(s.PatternProperties) > 0 || s.Contains != nil || s.UnevaluatedItems != nil || s.UnevaluatedProperties != nil
}

// applied returns the schemas that a schema applies to the same value, and
// those that it applies to parts of the value.
func applied(s *jsonschema.Schema) (same, parts []*jsonschema.Schema) {
	same = slices.Concat(
		[]*jsonschema.Schema{s.Ref, s.RecursiveRef, s.Not, s.If, s.Then, s.Else},
		s.AllOf, s.AnyOf, s.OneOf)
	parts = slices.Concat(
		[]*jsonschema.Schema{s.PropertyNames, s.UnevaluatedProperties, s.Contains, s.Items2020, s.UnevaluatedItems, s.ContentSchema},
		s.PrefixItems)
	if s.DynamicRef != nil {
		same = append(same, s.DynamicRef.Ref)
	}
	for _, next := range s.DependentSchemas {
		same = append(same, next)
	}
	for _, next := range s.Dependencies {
		if next, ok := next.(*jsonschema.Schema); ok {
			same = append(same, next)
		}
	}
	for _, next := range s.Properties {
		parts = append(parts, next)
	}
	for _, next := range s.PatternProperties {
		parts = append(parts, next)
	}
	for _, next := range []any{s.AdditionalProperties, s.Items, s.AdditionalItems} {
		switch next := next.(type) {
		case *jsonschema.Schema:
			parts = append(parts, next)
		case []*jsonschema.Schema:
			parts = append(parts, next...)
		}
	}
	missing := func(s *jsonschema.Schema) bool { return s == nil }
	return slices.DeleteFunc(same, missing), slices.DeleteFunc(parts, missing)
}
