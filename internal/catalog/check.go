package catalog

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// MaxFaults is the number of faults that [Type.Check] returns at most.
const MaxFaults = 32

// Fault is a place where a body does not fit its schema.
type Fault struct {
	// Pointer is a JSON pointer into the body. What is missing or should not be
	// there is named itself, not the object that it is missing from or is in.
	Pointer string `json:"pointer"`
	// Message says what is expected and what was found, as in "must be integer,
	// is string".
	Message string `json:"message"`
}

// String returns the fault as a line of a report.
func (f Fault) String() string {
	if f.Pointer == "" {
		return "the body " + f.Message
	}
	return f.Pointer + " " + f.Message
}

// Check compares a body with the type's schema. It returns every fault, in the
// order of their pointers, but at most MaxFaults; none if the type has no schema
// that can be used. Members that the schema does not name are fine unless it has
// additionalProperties: false. Of formats, int32 and int64 are ranges; the others
// are not checked. Check may be called from many goroutines at the same time.
func (t *Type) Check(body []byte) []Fault {
	return t.check.check(body)
}

// checker holds a schema in two forms: one that is fast and says yes or perhaps,
// and one that is slow and says yes, or no and why.
type checker struct {
	fast *acceptor // nil if the schema is more than it understands
	full *jsonschema.Schema
}

func newChecker(s *jsonschema.Schema) checker {
	return checker{newAcceptor(s), s}
}

func (c checker) check(body []byte) []Fault {
	if c.full == nil || c.fast.accepts(body) {
		return nil
	}
	return c.validate(body)
}

// validate is check by the library.
func (c checker) validate(body []byte) (faults []Fault) {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return []Fault{{"", "is not JSON: " + err.Error()}}
	}
	if faults = wildNumbers(v, nil, nil); len(faults) > 0 {
		return limit(faults)
	}
	// Not known to happen; but a body must not be able to stop the platform.
	defer func() {
		if r := recover(); r != nil {
			faults = []Fault{{"", fmt.Sprintf("cannot be checked: %v", r)}}
		}
	}()
	err = c.full.Validate(v)
	if e, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
		return limit(collect(e))
	} else if err != nil {
		return []Fault{{"", "cannot be checked: " + err.Error()}}
	}
	return nil
}

// limit sorts the faults and drops those that are the same or too many.
func limit(faults []Fault) []Fault {
	slices.SortFunc(faults, func(a, b Fault) int {
		return cmp.Or(comparePointers(a.Pointer, b.Pointer), strings.Compare(a.Message, b.Message))
	})
	faults = slices.Compact(faults)
	return faults[:min(len(faults), MaxFaults)]
}

// comparePointers orders pointers by their tokens, list indexes by number.
func comparePointers(a, b string) int {
	return slices.CompareFunc(tokens(a), tokens(b), func(a, b string) int {
		if numeric(a) && numeric(b) {
			return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
		}
		return strings.Compare(a, b)
	})
}

func numeric(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// wildNumbers finds the numbers that would keep the library busy.
func wildNumbers(v any, path []string, faults []Fault) []Fault {
	switch v := v.(type) {
	case json.Number:
		if wild(v.String()) {
			faults = append(faults, Fault{join("", path...), "is a number beyond all bounds"})
		}
	case []any:
		for i := range v {
			faults = wildNumbers(v[i], append(path, strconv.Itoa(i)), faults)
		}
	case map[string]any:
		for name := range v {
			faults = wildNumbers(v[name], append(path, name), faults)
		}
	}
	return faults
}

// collect turns the tree of errors of the library into faults.
func collect(e *jsonschema.ValidationError) []Fault {
	at := join("", e.InstanceLocation...)
	one := func(format string, args ...any) []Fault {
		return []Fault{{at, fmt.Sprintf(format, args...)}}
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		return missing(at, k.Missing, "is required")
	case *kind.DependentRequired:
		return missing(at, k.Missing, fmt.Sprintf("is required beside %q", clip(k.Prop)))
	case *kind.Dependency:
		return missing(at, k.Missing, fmt.Sprintf("is required beside %q", clip(k.Prop)))
	case *kind.AdditionalProperties:
		return missing(at, k.Properties, "is not allowed")
	case *kind.FalseSchema:
		return one("is not allowed")
	case *kind.Type:
		return one("must be %s, is %s", alternatives(k.Want), k.Got)
	case *kind.Enum:
		return one("must be %s, is %s", oneOf(k.Want), show(k.Got))
	case *kind.Const:
		return one("must be %s, is %s", show(k.Want), show(k.Got))
	case *kind.Format:
		if k.Want == "regex" {
			return one("must be a regular expression, is %s", show(k.Got))
		}
		return one("must be within the range of %s, is %s", k.Want, show(k.Got))
	case *kind.Pattern:
		return one("must match %s, is %s", clip(k.Want), show(k.Got))
	case *kind.MinLength:
		return one("must have at least %s, has %d", plural(k.Want, "character"), k.Got)
	case *kind.MaxLength:
		return one("must have at most %s, has %d", plural(k.Want, "character"), k.Got)
	case *kind.MinItems:
		return one("must have at least %s, has %d", plural(k.Want, "item"), k.Got)
	case *kind.MaxItems:
		return one("must have at most %s, has %d", plural(k.Want, "item"), k.Got)
	case *kind.MinProperties:
		return one("must have at least %s, has %d", plural(k.Want, "member"), k.Got)
	case *kind.MaxProperties:
		return one("must have at most %s, has %d", plural(k.Want, "member"), k.Got)
	case *kind.AdditionalItems:
		return one("has %s too many", plural(k.Count, "item"))
	case *kind.UniqueItems:
		return []Fault{{join(at, strconv.Itoa(k.Duplicates[1])), fmt.Sprintf("repeats item %d", k.Duplicates[0])}}
	case *kind.Contains:
		return one("must have an item of the kind that the schema asks for")
	case *kind.MinContains:
		return one("must have at least %s of the kind that the schema asks for, has %d", plural(k.Want, "item"), len(k.Got))
	case *kind.MaxContains:
		return one("must have at most %s of the kind that the schema limits, has %d", plural(k.Want, "item"), len(k.Got))
	case *kind.Minimum:
		return one("must be at least %s, is %s", decimal(k.Want), decimal(k.Got))
	case *kind.Maximum:
		return one("must be at most %s, is %s", decimal(k.Want), decimal(k.Got))
	case *kind.ExclusiveMinimum:
		return one("must be more than %s, is %s", decimal(k.Want), decimal(k.Got))
	case *kind.ExclusiveMaximum:
		return one("must be less than %s, is %s", decimal(k.Want), decimal(k.Got))
	case *kind.MultipleOf:
		return one("must be a multiple of %s, is %s", decimal(k.Want), decimal(k.Got))
	case *kind.Not:
		return one("is what the schema excludes")
	case *kind.AnyOf:
		return unmatched(at, e.Causes)
	case *kind.OneOf:
		if len(k.Subschemas) > 0 {
			return one("fits more than one of the alternatives that exclude each other")
		}
		return unmatched(at, e.Causes)
	}
	// Schema, Group, AllOf and Reference only hold others together.
	var faults []Fault
	for _, cause := range e.Causes {
		faults = append(faults, collect(cause)...)
	}
	if len(faults) == 0 {
		return one("does not fit the schema")
	}
	return faults
}

// missing returns the same fault for several members of an object.
func missing(at string, names []string, message string) []Fault {
	faults := make([]Fault, len(names))
	for i, name := range names {
		faults[i] = Fault{join(at, name), message}
	}
	return faults
}

// unmatched returns the faults of a value that fits none of several
// alternatives: those against the one that it gets farthest with, if its own
// type tells which that is.
func unmatched(at string, causes []*jsonschema.ValidationError) []Fault {
	var wanted []string // types, as long as nothing else is wrong
	var nearest []Fault
	got := ""
	for _, cause := range causes {
		if k, ok := leaf(cause).ErrorKind.(*kind.Type); ok && join("", leaf(cause).InstanceLocation...) == at {
			wanted, got = append(wanted, k.Want...), k.Got
			continue
		}
		faults := collect(cause)
		if nearest == nil || len(faults) < len(nearest) {
			nearest = faults
		}
	}
	if nearest == nil && got != "" {
		return []Fault{{at, fmt.Sprintf("must be %s, is %s", alternatives(wanted), got)}}
	}
	if len(causes) == 1+len(wanted) {
		return nearest // one alternative is left
	}
	own := Fault{at, fmt.Sprintf("fits none of %d alternatives", len(causes))}
	if slices.ContainsFunc(nearest, func(f Fault) bool { return f.Pointer == at }) {
		return []Fault{own}
	}
	return append(nearest, own)
}

// leaf follows references, which add nothing to what is wrong.
func leaf(e *jsonschema.ValidationError) *jsonschema.ValidationError {
	for len(e.Causes) == 1 {
		if _, ok := e.ErrorKind.(*kind.Reference); !ok {
			break
		}
		e = e.Causes[0]
	}
	return e
}

// alternatives lists types, null last because it is an afterthought.
func alternatives(types []string) string {
	var list []string
	for _, t := range types {
		if t != "null" && !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	if len(list) < len(types) && slices.Contains(types, "null") {
		list = append(list, "null")
	}
	return strings.Join(list, " or ")
}

// oneOf lists the values of an enum, but not all of a long one.
func oneOf(values []any) string {
	const most = 8
	if len(values) == 1 {
		return show(values[0])
	}
	var list []string
	for _, v := range values[:min(len(values), most)] {
		list = append(list, show(v))
	}
	s := "one of " + strings.Join(list, ", ")
	if n := len(values) - most; n > 0 {
		s += fmt.Sprintf(" and %d others", n)
	}
	return s
}

// show writes a value of the body or the schema for a message.
func show(v any) string {
	switch v.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "an array"
	}
	return clip(string(appendJSON(nil, v)))
}

func plural(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return strconv.Itoa(n) + " " + unit + "s"
}

// decimal writes a number as people write it.
func decimal(r *big.Rat) string {
	if r.IsInt() {
		return clip(r.Num().String())
	}
	f, _ := r.Float64()
	return strconv.FormatFloat(f, 'g', -1, 64)
}
