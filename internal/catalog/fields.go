package catalog

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Field is a part of a body in words, as its schema describes it.
type Field struct {
	// Name is the name of the member. What has none, such as the items of an array,
	// has a Role instead, which says what it is.
	Name, Role string

	// Type is as in "string", "array of integer" or "object or null".
	Type     string
	Format   string
	Required bool
	// Deprecated is for what will go.
	Deprecated bool

	// Values are those that it may have, as JSON; all others are wrong. Of many,
	// MoreValues are left out.
	Values     []string
	MoreValues int
	// Limits say in words what else holds, as in "at least 1 item".
	Limits  []string
	Pattern string
	// Default and Example are JSON.
	Default, Example string
	Description      string

	// Fields are its parts.
	Fields []Field
	// Cut says why they, or the rest of them, are missing.
	Cut string
}

// Bounds of what is described. The largest schemas that real documents have are
// some hundred fields and ten levels.
const (
	maxFields      = 600
	maxFieldDepth  = 16
	maxFieldText   = 256 << 10 // of all together
	maxFieldSchema = 1 << 20
	maxShown       = 2 << 10 // of each text
	maxShownValues = 40
	maxFacets      = 64
	maxRequired    = 10_000
)

// Why parts are missing from a description.
const (
	cutFields = "There are more fields than are shown here."
	cutDepth  = "What is in it is nested deeper than is shown here."
	cutItself = "It contains itself: what is in it is described above."
	cutSchema = "The schema is too large to be shown here."
)

// Body describes the whole body. It takes moderate time and space whatever the
// schema is like; complete reports whether nothing was left out for that. If there
// is no schema, Body returns a field without a type.
func (t *Type) Body() (body Field, complete bool) {
	if t.Schema == nil {
		return Field{}, true
	}
	if len(t.Schema) > maxFieldSchema {
		return Field{Type: "object", Cut: cutSchema}, false
	}
	root, err := readJSON(t.Schema, nil)
	if err != nil {
		return Field{Type: "object", Cut: cutSchema}, false // cannot be: it was compiled
	}
	r := describer{unfolder: unfolder{root}, open: map[*object]bool{}, complete: true}
	body = r.field(1, root)
	return body, r.complete
}

// unfolder puts together what the parts of a schema say of the same value.
type unfolder struct{ root any }

// facets returns the schemas that apply to a value which is to fit all of those
// given: they, what they refer to, and what is in allOf. An alternative is one if
// there is no other but null.
func (u unfolder) facets(schemas ...any) (list []*object, null bool) {
	for i := 0; i < len(schemas) && len(list) < maxFacets; i++ {
		o, ok := schemas[i].(*object)
		if !ok || slices.Contains(list, o) {
			continue
		}
		list = append(list, o)
		if _, ref, ok := reference(o); ok {
			if fragment, err := url.PathUnescape(strings.TrimPrefix(ref, "#")); err == nil {
				schemas = append(schemas, lookup(u.root, fragment))
			}
		}
		if all, ok := o.get("allOf").([]any); ok {
			schemas = append(schemas, all[:min(len(all), maxFacets)]...)
		}
		for _, name := range []string{"anyOf", "oneOf"} {
			if some, without := choices(o, name); len(some) == 1 {
				schemas = append(schemas, some[0])
				null = null || without
			}
		}
	}
	return list, null
}

// choices returns the alternatives of a schema but null, and whether that is one.
func choices(o *object, keyword string) (list []any, null bool) {
	all, _ := o.get(keyword).([]any)
	for _, v := range all {
		if c, ok := v.(*object); ok && len(c.names) == 1 && c.get("type") == "null" {
			null = true
			continue
		}
		list = append(list, v)
	}
	return list, null
}

// types returns the types that a value may have as far as its facets say so.
func (u unfolder) types(facets []*object) []string {
	if list := declared(facets); len(list) > 0 {
		return list
	}
	var list []string
	for _, o := range facets {
		for _, name := range []string{"anyOf", "oneOf"} {
			some, _ := choices(o, name)
			for _, v := range some[:min(len(some), maxShownValues)] {
				same, _ := u.facets(v)
				list = append(list, declared(same)...)
			}
		}
	}
	return list
}

// declared returns the types that facets name, or that only fit what they say.
func declared(facets []*object) []string {
	for _, o := range facets {
		if list := typesOf(o); len(list) > 0 {
			return list
		}
	}
	for _, o := range facets {
		switch {
		case o.has("properties"), o.has("required"), o.has("additionalProperties"), o.has("patternProperties"):
			return []string{"object"}
		case o.has("items"), o.has("prefixItems"):
			return []string{"array"}
		case o.has("const"):
			return []string{jsonTypeOf(o.get("const"))}
		}
		if values, ok := o.get("enum").([]any); ok {
			var list []string
			for _, v := range values[:min(len(values), maxShownValues)] {
				list = append(list, jsonTypeOf(v))
			}
			return list
		}
	}
	return nil
}

// describer is the state of Body.
type describer struct {
	unfolder
	open     map[*object]bool // schemas that have the one being described in them
	fields   int
	text     int
	complete bool
}

// field describes a value that is to fit all of the schemas.
func (r *describer) field(depth int, schemas ...any) Field {
	r.fields++
	if slices.Contains(schemas, any(false)) {
		return Field{Type: "nothing", Limits: []string{"must not be there"}}
	}
	facets, null := r.facets(schemas...)
	types := r.types(facets)
	if null && len(types) > 0 && !slices.Contains(types, "null") {
		types = append(slices.Clone(types), "null")
	}
	f := Field{Type: alternatives(types)}
	for _, o := range facets {
		r.say(&f, o)
	}
	items := r.parts(&f, facets, depth)
	if slices.Contains(types, "array") && items != "" {
		f.Type = "array of " + items
		if others := slices.DeleteFunc(slices.Clone(types), func(s string) bool { return s == "array" }); len(others) > 0 {
			f.Type += ", or " + alternatives(others)
		}
	}
	if f.Type == "" {
		f.Type = "any value"
	}
	return f
}

// say adds what one of its schemas says of the value itself.
func (r *describer) say(f *Field, o *object) {
	first := func(to *string, s string) {
		if *to == "" {
			*to = r.shown(s)
		}
	}
	first(&f.Format, o.text("format"))
	first(&f.Pattern, o.text("pattern"))
	first(&f.Description, firstOf(o.text("description"), o.text("title")))
	first(&f.Default, scalarText(o, "default"))
	if examples, ok := o.get("examples").([]any); ok && len(examples) > 0 && scalar(examples[0]) != "" {
		first(&f.Example, string(appendJSON(nil, examples[0])))
	}
	first(&f.Example, scalarText(o, "example"))
	f.Deprecated = f.Deprecated || o.get("deprecated") == true
	if values, ok := o.get("enum").([]any); ok && f.Values == nil {
		for _, v := range values[:min(len(values), maxShownValues)] {
			f.Values = append(f.Values, r.shown(valueText(v)))
		}
		f.MoreValues = len(values) - len(f.Values)
	}
	if o.has("const") {
		f.Values, f.MoreValues = []string{r.shown(valueText(o.get("const")))}, 0
	}
	for _, limit := range limitsOf(o) {
		if !slices.Contains(f.Limits, limit) {
			f.Limits = append(f.Limits, limit)
		}
	}
}

// scalarText returns a member as JSON, or "" if there is none or it has others in it.
// Those are rarely short, and never needed to understand a schema.
func scalarText(o *object, name string) string {
	switch v := o.get(name).(type) {
	case *object, []any:
		return ""
	default:
		if !o.has(name) {
			return ""
		}
		return string(appendJSON(nil, v))
	}
}

// valueText returns any value as JSON, but not what is in it.
func valueText(v any) string {
	switch v := v.(type) {
	case *object:
		if len(v.names) > 0 {
			return "{...}"
		}
	case []any:
		if len(v) > 0 {
			return "[...]"
		}
	}
	return string(appendJSON(nil, v))
}

// shown shortens a text, and takes it from what all texts together may have.
func (r *describer) shown(s string) string {
	limit := min(maxShown, maxFieldText-r.text)
	if len(s) > limit {
		r.complete = false
		s = strings.ToValidUTF8(s[:max(limit, 0)], "") + "..."
	}
	r.text += len(s)
	return s
}

// limitsOf says in words what the numbers and flags of a schema ask for.
func limitsOf(o *object) []string {
	var list []string
	add := func(format, keyword string) {
		if n, ok := o.get(keyword).(json.Number); ok {
			list = append(list, fmt.Sprintf(format, clip(n.String())))
		}
	}
	between := func(least, most, unit string) {
		low, _ := o.get(least).(json.Number)
		high, _ := o.get(most).(json.Number)
		units := func(n json.Number) string {
			if n == "1" {
				return "1 " + unit
			}
			return clip(n.String()) + " " + unit + "s"
		}
		switch {
		case low != "" && low == high:
			list = append(list, "exactly "+units(low))
		case low != "" && low != "0" && high != "":
			list = append(list, clip(low.String())+" to "+units(high))
		case low != "" && low != "0":
			list = append(list, "at least "+units(low))
		case high != "":
			list = append(list, "at most "+units(high))
		}
	}
	between("minLength", "maxLength", "character")
	between("minItems", "maxItems", "item")
	between("minProperties", "maxProperties", "member")
	add("at least %s", "minimum")
	add("more than %s", "exclusiveMinimum")
	add("at most %s", "maximum")
	add("less than %s", "exclusiveMaximum")
	add("a multiple of %s", "multipleOf")
	if o.get("uniqueItems") == true {
		list = append(list, "no item twice")
	}
	if o.get("additionalProperties") == false || o.get("unevaluatedProperties") == false {
		list = append(list, "no other members")
	}
	if o.get("items") == false && o.has("prefixItems") {
		list = append(list, "no other items")
	}
	if slices.ContainsFunc(conditions, o.has) {
		list = append(list, "conditions that only the schema says")
	}
	return list
}

// conditions are keywords that take more words than a line has.
var conditions = []string{"if", "not", "contains", "dependentSchemas", "dependentRequired", "unevaluatedItems"}

// part is a value within another, with what the schemas of the other say of it.
type part struct {
	slot
	required bool
	schemas  []any     // which it has to fit
	holders  []*object // in which they are
}

// slot says which part of a value is meant. It has a name or a role, and the role
// of some has a pattern.
type slot struct{ name, role, pattern string }

// parts describes what is in the value. Of an array it returns the type of the
// items, whose own fields stand in for those of the array if they are objects.
func (r *describer) parts(f *Field, facets []*object, depth int) (items string) {
	list := partsOf(facets)
	if len(list) == 0 {
		return ""
	}
	if depth >= maxFieldDepth {
		r.cut(f, cutDepth)
		return ""
	}
	for _, p := range list {
		if r.fields >= maxFields {
			r.cut(f, cutFields)
			return items
		}
		if slices.ContainsFunc(p.holders, func(o *object) bool { return r.open[o] }) {
			f.Cut = cutItself
			continue
		}
		for _, o := range p.holders {
			r.open[o] = true
		}
		inner := r.field(depth+1, p.schemas...)
		for _, o := range p.holders {
			delete(r.open, o)
		}
		inner.Name, inner.Role, inner.Required = r.shown(p.name), p.role, p.required
		if p.pattern != "" {
			inner.Role += " " + r.shown(p.pattern)
		}
		if p.role != eachItem {
			f.Fields = append(f.Fields, inner)
			continue
		}
		items = inner.Type
		if items == "object" && len(inner.Values) == 0 && (inner.Description == "" || f.Description == "") {
			f.Description = firstOf(f.Description, inner.Description)
			for _, limit := range inner.Limits {
				f.Limits = append(f.Limits, "in each item "+limit)
			}
			f.Fields = append(f.Fields, inner.Fields...)
			f.Cut = firstOf(f.Cut, inner.Cut)
		} else if inner.says() {
			f.Fields = append(f.Fields, inner)
		}
	}
	return items
}

func (r *describer) cut(f *Field, why string) {
	f.Cut, r.complete = why, false
}

// says reports whether there is more to say of the field than its type.
func (f *Field) says() bool {
	return f.Format+f.Pattern+f.Default+f.Example+f.Description+f.Cut != "" || f.Deprecated || len(f.Values)+len(f.Limits)+len(f.Fields) > 0
}

// Roles of parts without a name.
const (
	eachItem   = "each item"
	itemAt     = "item " // and its number
	anyMember  = "any other member"
	someMember = "members whose name matches"
)

// partsOf lists the parts that the facets of a value describe.
func partsOf(facets []*object) []*part {
	var list []*part
	known := map[slot]*part{}
	at := func(where slot) *part {
		if known[where] == nil {
			known[where] = &part{slot: where}
			list = append(list, known[where])
		}
		return known[where]
	}
	add := func(where slot, schema any, holder *object) {
		p := at(where)
		p.schemas, p.holders = append(p.schemas, schema), append(p.holders, holder)
	}
	for _, o := range facets {
		each(o.object("properties"), func(name string, v any) { add(slot{name: name}, v, o) })
		each(o.object("patternProperties"), func(name string, v any) { add(slot{role: someMember, pattern: name}, v, o) })
		if v, ok := o.get("additionalProperties").(*object); ok && len(v.names) > 0 {
			add(slot{role: anyMember}, v, o)
		}
		if first, ok := o.get("prefixItems").([]any); ok {
			for i, v := range first[:min(len(first), maxFields)] {
				add(slot{role: itemAt + strconv.Itoa(i+1)}, v, o)
			}
		}
		if v, ok := o.get("items").(*object); ok {
			add(slot{role: eachItem}, v, o)
		}
		for _, name := range []string{"anyOf", "oneOf"} {
			some, _ := choices(o, name)
			if len(some) < 2 {
				continue
			}
			for i, v := range some[:min(len(some), maxFields)] {
				add(slot{role: "alternative " + strconv.Itoa(i+1)}, v, o)
			}
		}
	}
	for _, o := range facets {
		names, _ := o.get("required").([]any)
		for _, v := range names[:min(len(names), maxRequired)] {
			if name, ok := v.(string); ok {
				at(slot{name: name}).required = true
			}
		}
	}
	return list
}

// each calls f with the members of an object, but not with more than can be shown.
func each(o *object, f func(name string, v any)) {
	if o == nil {
		return
	}
	for i, name := range o.names[:min(len(o.names), 2*maxFields)] {
		f(name, o.values[i])
	}
}
