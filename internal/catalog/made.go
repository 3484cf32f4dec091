package catalog

import (
	"encoding/json"
	"slices"
	"strings"
)

// MadeSample makes a sample of the schema, for a document that has none. It is
// nil if what can be made of it does not fit the schema: a sample that is wrong
// is worse than none.
func (t *Type) MadeSample() json.RawMessage {
	if t.Schema == nil || len(t.Schema) > maxFieldSchema {
		return nil
	}
	root, err := readJSON(t.Schema, nil)
	if err != nil {
		return nil
	}
	m := maker{unfolder: unfolder{root}}
	body, ok := m.value(1, root).(*object)
	if !ok || m.made > maxMade {
		return nil
	}
	// What every event has is not in the words of each schema.
	if body.get("event") == madeText {
		body.set("event", t.Name)
	}
	if body.get("event_ts") == madeNumber {
		body.set("event_ts", json.Number("1767960312480"))
	}
	made := appendJSON(nil, body)
	if len(t.Check(made)) > 0 {
		return nil
	}
	return made
}

const (
	maxMade      = 400 // values
	maxMadeDepth = 12
	maxMadeText  = 16 << 10 // of what the schema gives
	maxMadeWords = 256      // of what it does not
)

// What stands where the schema asks for no more than a type.
const (
	madeText   = "text"
	madeNumber = json.Number("1")
)

// maker is the state of MadeSample.
type maker struct {
	unfolder
	made, text int
}

// value makes a value that fits all of the schemas, if they are not too clever.
func (m *maker) value(depth int, schemas ...any) any {
	if m.made++; m.made > maxMade || depth > maxMadeDepth {
		return nil
	}
	facets, _ := m.facets(schemas...)
	if first := firstChoices(facets); len(first) > 0 {
		facets, _ = m.facets(append(slices.Clip(schemas), first...)...)
	}
	if v, ok := given(facets); ok {
		if m.text += len(appendJSON(nil, v)); m.text > maxMadeText {
			m.made = maxMade + 1 // it is for reading
		}
		return v
	}
	types := m.types(facets)
	switch {
	case slices.Contains(types, "object"):
		return m.object(depth, facets)
	case slices.Contains(types, "array"):
		return m.array(depth, facets)
	case slices.Contains(types, "string"):
		return makeText(facets)
	case slices.Contains(types, "integer"), slices.Contains(types, "number"):
		return makeNumber(facets)
	case slices.Contains(types, "boolean"):
		return true
	case slices.Contains(types, "null"):
		return nil
	}
	return madeText
}

// firstChoices returns the first of the alternatives of each facet.
func firstChoices(facets []*object) (first []any) {
	for _, o := range facets {
		for _, name := range []string{"anyOf", "oneOf"} {
			if some, _ := choices(o, name); len(some) > 1 {
				first = append(first, some[0])
			}
		}
	}
	return first
}

// given returns a value that the facets name themselves.
func given(facets []*object) (any, bool) {
	for _, o := range facets {
		if o.has("const") {
			return o.get("const"), true
		}
		for _, list := range []string{"enum", "examples"} {
			if values, ok := o.get(list).([]any); ok && len(values) > 0 {
				return values[0], true
			}
		}
		for _, name := range []string{"example", "default"} {
			if o.has(name) {
				return o.get(name), true
			}
		}
	}
	return nil, false
}

func (m *maker) object(depth int, facets []*object) *object {
	made := &object{}
	for _, p := range partsOf(facets) {
		// What may be left out is, as soon as the sample gets deep: schemas that
		// contain themselves have an end only there.
		if p.name != "" && !slices.Contains(p.schemas, any(false)) && (p.required || depth < maxMadeDepth/2) {
			made.set(p.name, m.value(depth+1, p.schemas...))
		}
	}
	return made
}

func (m *maker) array(depth int, facets []*object) []any {
	made := []any{}
	least := 0
	for _, o := range facets {
		if n, ok := o.get("minItems").(json.Number); ok {
			if i, err := n.Int64(); err == nil {
				least = max(least, int(min(i, maxMade)))
			}
		}
	}
	for _, p := range partsOf(facets) {
		switch {
		case p.role == eachItem:
			for len(made) < max(least, 1) && (depth < maxMadeDepth/2 || len(made) < least) {
				made = append(made, m.value(depth+1, p.schemas...))
			}
		case strings.HasPrefix(p.role, itemAt):
			made = append(made, m.value(depth+1, p.schemas...))
		}
	}
	return made
}

// formatted are values of the formats that are in use.
var formatted = map[string]string{
	"date-time": "2026-01-09T12:05:12Z", "date": "2026-01-09", "time": "12:05:12Z", "duration": "PT30M",
	"email": "ann@example.com", "hostname": "example.com", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1",
	"uri": "https://example.com/", "url": "https://example.com/", "uuid": "0b0e7f7c-4a68-4f0e-9d5b-1f6f2f4b7a10",
}

func makeText(facets []*object) string {
	text := madeText
	least, most := 0, maxMadeWords
	for _, o := range facets {
		text = firstOf(formatted[o.text("format")], text)
		if n, ok := o.get("minLength").(json.Number); ok {
			if i, err := n.Int64(); err == nil {
				least = max(least, int(min(i, maxMadeWords)))
			}
		}
		if n, ok := o.get("maxLength").(json.Number); ok {
			if i, err := n.Int64(); err == nil {
				most = min(most, int(max(i, 0)))
			}
		}
	}
	for len(text) < least {
		text += " " + madeText
	}
	return text[:min(len(text), most)]
}

func makeNumber(facets []*object) json.Number {
	for _, o := range facets {
		for _, name := range []string{"minimum", "maximum", "multipleOf"} {
			if n, ok := o.get(name).(json.Number); ok {
				return n
			}
		}
	}
	return madeNumber
}
