package catalog

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// shape says what the value of a keyword must be.
type shape uint8

const (
	unknown shape = iota // not a keyword, or one that is left to the compiler
	oneSchema
	schemaMap  // an object of schemas
	schemaList // an array of schemas
	text
	boolean
	count // a whole number, at least 0
	number
)

// keywords are those of JSON Schema 2020-12. Whatever else an object has is an
// annotation and may be anything.
var keywords = map[string]shape{
	"additionalProperties":  oneSchema,
	"contains":              oneSchema,
	"contentSchema":         oneSchema,
	"else":                  oneSchema,
	"if":                    oneSchema,
	"items":                 oneSchema,
	"not":                   oneSchema,
	"then":                  oneSchema,
	"unevaluatedItems":      oneSchema,
	"unevaluatedProperties": oneSchema,

	"$defs":             schemaMap,
	"definitions":       schemaMap,
	"dependentSchemas":  schemaMap,
	"patternProperties": schemaMap,
	"properties":        schemaMap,

	"allOf":       schemaList,
	"anyOf":       schemaList,
	"oneOf":       schemaList,
	"prefixItems": schemaList,

	"$comment":         text,
	"contentEncoding":  text,
	"contentMediaType": text,
	"description":      text,
	"format":           text,
	"pattern":          text,
	"title":            text,

	"deprecated":  boolean,
	"readOnly":    boolean,
	"uniqueItems": boolean,
	"writeOnly":   boolean,

	"maxContains":   count,
	"maxItems":      count,
	"maxLength":     count,
	"maxProperties": count,
	"minContains":   count,
	"minItems":      count,
	"minLength":     count,
	"minProperties": count,

	"exclusiveMaximum": number,
	"exclusiveMinimum": number,
	"maximum":          number,
	"minimum":          number,
	"multipleOf":       number,
}

// repairAll makes a schema, and all that it refers to, one that JSON Schema
// 2020-12 knows, where it is clear what the author meant. It changes the
// document and returns what the schema is then. What it cannot repair it leaves
// for the compiler to refuse.
func (p *parser) repairAll(v any, at string) any {
	v = p.repair(v, at, at)
	// References wait in a list: following them at once would descend as deep as
	// the document is long.
	for len(p.referred) > 0 {
		target := p.referred[0]
		p.referred = p.referred[1:]
		to := lookup(p.root, target)
		p.repair(to, target, at)
	}
	return v
}

// repair repairs one schema and those inside of it, each once. References in it
// may be meant to start at base.
func (p *parser) repair(v any, at, base string) any {
	switch v := v.(type) {
	case bool:
		return v
	case *object:
		if !p.repaired[v] {
			p.repaired[v] = true
			p.repairObject(v, at, base)
		}
		return v
	case string:
		if b, err := strconv.ParseBool(v); err == nil {
			p.note(Repaired, at, "%q is no schema; read as %t", v, b)
			return b
		}
	}
	p.note(Repaired, at, "is %s, not a schema; any value is accepted here", aTypeOf(v))
	return true
}

func (p *parser) repairObject(o *object, at, base string) {
	p.repairIdentity(o, at)
	p.repairType(o, at)
	p.repairNullable(o, at)
	p.repairRequired(o, at)
	p.repairItems(o, at)
	p.repairBounds(o, at)
	for _, name := range slices.Clone(o.names) {
		p.repairKeyword(o, name, at)
	}
	p.repairEnum(o, at)
	p.repairPatterns(o, at)
	p.descend(o, at, base)
}

// descend repairs the schemas inside of one.
func (p *parser) descend(o *object, at, base string) {
	for _, name := range slices.Clone(o.names) {
		at := join(at, name)
		switch v := o.get(name).(type) {
		case *object:
			switch keywords[name] {
			case oneSchema:
				p.repair(v, at, base)
			case schemaMap:
				for _, name := range v.names {
					v.set(name, p.repair(v.get(name), join(at, name), base))
				}
			}
		case []any:
			if keywords[name] == schemaList {
				for i := range v {
					if _, ok := v[i].(*object); ok {
						p.repair(v[i], join(at, strconv.Itoa(i)), base)
					}
				}
			}
		case string:
			if name != "$ref" {
				break
			}
			if target, err := p.repairRef(o, v, strings.TrimSuffix(at, "/$ref"), base); err == nil && target != "" {
				p.referred = append(p.referred, target)
			}
		}
	}
}

// ignore takes a keyword out because of its value.
func (p *parser) ignore(o *object, name, at, format string, args ...any) {
	p.note(Repaired, join(at, name), format+"; it is ignored", args...)
	o.remove(name)
}

// repairIdentity removes what would have references mean something else than a
// place in this document, or the schema another version than the library has.
func (p *parser) repairIdentity(o *object, at string) {
	for _, name := range []string{"$id", "$anchor"} {
		if o.has(name) {
			p.ignore(o, name, at, "references are resolved within the document")
		}
	}
	if dialect := o.text("$schema"); o.has("$schema") && !strings.Contains(dialect, "://json-schema.org/") {
		if strings.Contains(dialect, "/oas/3.1/") {
			o.remove("$schema") // says what is so anyway
		} else {
			p.ignore(o, "$schema", at, "there is no version %q of JSON Schema", clip(dialect))
		}
	}
	if o.has("propertyNames") {
		// The library reports the wrong place for these.
		p.note(Warning, join(at, "propertyNames"), "is not checked")
		o.remove("propertyNames")
	}
}

// typeNames are names of types that are none in JSON Schema, and what they mean
// where they come from: other schema languages, Java, SQL.
var typeNames = map[string]struct{ name, format string }{
	"int": {"integer", ""}, "int32": {"integer", "int32"}, "int64": {"integer", "int64"},
	"long": {"integer", "int64"}, "short": {"integer", ""}, "bigint": {"integer", "int64"},
	"float": {"number", ""}, "double": {"number", ""}, "decimal": {"number", ""}, "numeric": {"number", ""},
	"str": {"string", ""}, "text": {"string", ""}, "varchar": {"string", ""}, "uuid": {"string", "uuid"},
	"date": {"string", "date"}, "datetime": {"string", "date-time"}, "date-time": {"string", "date-time"},
	"email": {"string", "email"}, "uri": {"string", "uri"}, "url": {"string", "uri"},
	"bool": {"boolean", ""}, "list": {"array", ""}, "map": {"object", ""}, "dict": {"object", ""},
	"none": {"null", ""}, "nil": {"null", ""},
}

var jsonTypes = []string{"null", "boolean", "integer", "number", "string", "array", "object"}

// repairType replaces the names of types that JSON Schema does not have.
func (p *parser) repairType(o *object, at string) {
	switch v := o.get("type").(type) {
	case string:
		if slices.Contains(jsonTypes, v) {
			return
		}
		name, format := typeName(v)
		if name == "" {
			p.ignore(o, "type", at, "there is no type %q", clip(v))
			return
		}
		o.set("type", name)
		if format != "" && !o.has("format") {
			o.set("format", format)
			name += " with format " + format
		}
		p.note(Repaired, join(at, "type"), "there is no type %q; read as %s", clip(v), name)
	case []any:
		var list []any
		for _, item := range v {
			s, _ := item.(string)
			if item == nil {
				s = "null"
			}
			if name, _ := typeName(s); name != "" && !slices.Contains(list, any(name)) {
				list = append(list, name)
			}
		}
		switch {
		case len(list) == 0:
			p.ignore(o, "type", at, "names no type")
		case !slices.Equal(list, v):
			o.set("type", list)
			p.note(Repaired, join(at, "type"), "read as %s", appendJSON(nil, list))
		}
	default:
		if o.has("type") {
			p.ignore(o, "type", at, "is %s, not a name", aTypeOf(v))
		}
	}
}

// typeName returns the type that a name means, or "".
func typeName(s string) (name, format string) {
	s = strings.ToLower(strings.TrimSpace(s))
	if slices.Contains(jsonTypes, s) {
		return s, ""
	}
	t := typeNames[s]
	return t.name, t.format
}

// repairNullable turns the nullable of OpenAPI 3.0 into a type.
func (p *parser) repairNullable(o *object, at string) {
	if o.get("nullable") != true || !o.has("type") {
		return
	}
	o.remove("nullable")
	types, ok := o.get("type").([]any)
	if !ok {
		types = []any{o.get("type")}
	}
	if !slices.Contains(types, any("null")) {
		o.set("type", append(slices.Clone(types), "null"))
	}
	if enum, ok := o.get("enum").([]any); ok && !slices.Contains(enum, nil) {
		o.set("enum", append(slices.Clone(enum), nil))
	}
	p.note(Repaired, join(at, "nullable"), "is of OpenAPI 3.0; null is among the types now")
}

// repairRequired makes required a list of names. Where a property says of
// itself that it is required, that goes to the list of its object.
func (p *parser) repairRequired(o *object, at string) {
	if o.has("required") {
		p.repairRequiredList(o, at)
	}
	properties := o.object("properties")
	if properties == nil {
		return
	}
	required, _ := o.get("required").([]any)
	listed := setOf(required)
	for _, name := range properties.names {
		property := properties.object(name)
		flag, ok := property.get("required").(bool)
		if !ok {
			continue
		}
		property.remove("required")
		if flag && !listed[name] {
			required = append(slices.Clip(required), name)
		}
		outcome := "remains optional"
		if flag {
			outcome = "is required by its object now"
		}
		p.note(Repaired, join(at, "properties", name, "required"), "is %t, not a list of names; %s %s", flag, clip(name), outcome)
	}
	if len(required) > len(listed) {
		o.set("required", required)
	}
}

// setOf returns the strings of a list.
func setOf(list []any) map[string]bool {
	set := map[string]bool{}
	for _, v := range list {
		if s, ok := v.(string); ok {
			set[s] = true
		}
	}
	return set
}

func (p *parser) repairRequiredList(o *object, at string) {
	switch v := o.get("required").(type) {
	case bool:
		p.ignore(o, "required", at, "must be a list of names")
	case string:
		if o.object("properties").has(v) {
			o.set("required", []any{v})
			p.note(Repaired, join(at, "required"), "must be a list of names; read as [%q]", clip(v))
			return
		}
		p.ignore(o, "required", at, "must be a list of names")
	case []any:
		var list []any
		missing := setOf(v)
		for _, name := range v {
			if s, ok := name.(string); ok && missing[s] {
				list = append(list, name)
				missing[s] = false
			}
		}
		if !slices.Equal(list, v) {
			o.set("required", list)
			p.note(Repaired, join(at, "required"), "must be a list of different names; read as %s", clip(string(appendJSON(nil, list))))
		}
	default:
		p.ignore(o, "required", at, "must be a list of names")
	}
}

// repairItems turns a list of items, as older versions had it, into prefixItems.
func (p *parser) repairItems(o *object, at string) {
	list, ok := o.get("items").([]any)
	if !ok {
		return
	}
	o.remove("items")
	if len(list) > 0 && !o.has("prefixItems") {
		o.set("prefixItems", list)
	}
	p.note(Repaired, join(at, "items"), "is a list; it is called prefixItems now")
}

// repairBounds turns the exclusive bounds of older versions, which are flags on
// the other bounds, into bounds.
func (p *parser) repairBounds(o *object, at string) {
	for _, inclusive := range []string{"minimum", "maximum"} {
		exclusive := "exclusive" + strings.ToUpper(inclusive[:1]) + inclusive[1:]
		flag, ok := o.get(exclusive).(bool)
		if !ok {
			continue
		}
		o.remove(exclusive)
		if flag && o.has(inclusive) {
			o.set(exclusive, o.get(inclusive))
			o.remove(inclusive)
		}
		p.note(Repaired, join(at, exclusive), "is a number in JSON Schema 2020-12; read together with %s", inclusive)
	}
}

// repairKeyword brings the value of a keyword into the shape it must have, or
// ignores it.
func (p *parser) repairKeyword(o *object, name, at string) {
	v := o.get(name)
	switch keywords[name] {
	case oneSchema:
		switch v.(type) {
		case *object, bool:
			return
		}
		if name == "additionalProperties" || name == "items" {
			o.set(name, p.repair(v, join(at, name), ""))
		}
	case schemaMap:
		if _, ok := v.(*object); !ok {
			p.ignore(o, name, at, "is %s, not an object", aTypeOf(v))
		}
	case schemaList:
		if list, ok := v.([]any); ok && len(list) == 0 {
			p.ignore(o, name, at, "is empty")
		}
	case text:
		if _, ok := v.(string); !ok {
			p.ignore(o, name, at, "is %s, not a string", aTypeOf(v))
		}
	case boolean:
		if _, ok := v.(bool); ok {
			return
		}
		if b, err := strconv.ParseBool(scalar(v)); err == nil {
			o.set(name, b)
			p.note(Repaired, join(at, name), "is %s; read as %t", aTypeOf(v), b)
			return
		}
		p.ignore(o, name, at, "is %s, not true or false", aTypeOf(v))
	case count, number:
		p.repairNumber(o, name, at)
	}
}

func (p *parser) repairNumber(o *object, name, at string) {
	v := o.get(name)
	n, ok := v.(json.Number)
	if s, isText := v.(string); isText && json.Valid([]byte(s)) {
		n, ok = json.Number(s), true
	}
	f, err := strconv.ParseFloat(n.String(), 64)
	switch {
	case ok && wild(n.String()):
		p.ignore(o, name, at, "is beyond all bounds")
	case !ok || err != nil:
		p.ignore(o, name, at, "is %s, not a number", aTypeOf(v))
	case keywords[name] == count && (f < 0 || f > 1<<31 || f != float64(int64(f))):
		p.ignore(o, name, at, "is %s, not a whole number", n)
	case name == "multipleOf" && f <= 0:
		p.ignore(o, name, at, "is %s; nothing is a multiple of that", n)
	case v != any(n):
		o.set(name, n)
		p.note(Repaired, join(at, name), "is a string; read as the number %s", n)
	}
}

// repairEnum makes an enum a list whose values are of the type beside it. A list
// of none that are would refuse everything.
func (p *parser) repairEnum(o *object, at string) {
	for _, name := range []string{"enum", "const"} {
		if tooWild(o.get(name)) {
			p.ignore(o, name, at, "has a number beyond all bounds")
		}
	}
	if !o.has("enum") {
		return
	}
	values, ok := o.get("enum").([]any)
	if !ok {
		v := o.get("enum")
		if _, isObject := v.(*object); isObject || v == nil {
			p.ignore(o, "enum", at, "is %s, not a list", aTypeOf(v))
			return
		}
		values = []any{v}
		o.set("enum", values)
		p.note(Repaired, join(at, "enum"), "is not a list; read as the only value")
	}
	types := typesOf(o)
	if len(types) == 0 && len(values) > 0 {
		return
	}
	converted := make([]any, len(values))
	fit := 0
	for i, v := range values {
		converted[i] = v
		if as, ok := convert(v, types); ok {
			converted[i] = as
			fit++
		}
	}
	switch {
	case fit == 0:
		p.ignore(o, "enum", at, "no value in it is of the type beside it")
	case !slices.EqualFunc(converted, values, same):
		o.set("enum", converted)
		p.note(Repaired, join(at, "enum"), "has values that are not %s; they are read as such", strings.Join(types, " or "))
	}
}

func same(a, b any) bool {
	switch a.(type) {
	case *object, []any:
		return true // convert leaves these alone
	}
	return a == b
}

// typesOf returns the names in type.
func typesOf(o *object) []string {
	if s := o.text("type"); s != "" {
		return []string{s}
	}
	list, _ := texts(o.get("type"))
	return list
}

// repairPatterns takes out regular expressions that cannot be compiled: those
// of JavaScript have lookaheads, those of this library run in linear time.
func (p *parser) repairPatterns(o *object, at string) {
	if pattern, ok := o.get("pattern").(string); ok {
		if _, err := compilePattern(pattern); err != nil {
			p.ignore(o, "pattern", at, "%v", err)
		}
	}
	if patterns := o.object("patternProperties"); patterns != nil {
		patterns.retain(func(pattern string) bool {
			_, err := compilePattern(pattern)
			if err != nil {
				p.note(Repaired, join(at, "patternProperties", pattern), "%v; it is ignored", err)
			}
			return err == nil
		})
	}
}
