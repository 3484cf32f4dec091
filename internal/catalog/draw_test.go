package catalog

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"pgregory.net/rapid"
)

// drawSchema draws a schema of the kind that acceptors understand.
func drawSchema(t *rapid.T, depth int) any {
	s := map[string]any{}
	maybe := func(label string) bool { return rapid.IntRange(0, 2).Draw(t, label) == 0 }
	kinds := []string{"string", "integer", "number", "boolean", "null", "any", "enum"}
	if depth > 0 {
		kinds = append(kinds, "object", "object", "object", "array", "array", "anyOf", "allOf", "ref")
	}
	switch kind := rapid.SampledFrom(kinds).Draw(t, "kind"); kind {
	case "any":
		return rapid.SampledFrom([]any{true, map[string]any{}, map[string]any{"title": "x"}}).Draw(t, "any")
	case "enum":
		s["enum"] = rapid.SliceOfN(rapid.SampledFrom(scalars), 1, 4).Draw(t, "enum")
		if maybe("const") {
			s["const"] = rapid.SampledFrom(scalars).Draw(t, "const")
		}
		if maybe("typed") {
			s["type"] = rapid.SampledFrom(jsonTypes).Draw(t, "type")
		}
	case "object":
		drawObject(t, s, depth)
	case "array":
		s["type"] = "array"
		if maybe("items") {
			s["items"] = drawSchema(t, depth-1)
		}
		drawLimits(t, s, "minItems", "maxItems", 4)
	case "anyOf", "allOf":
		s[kind] = []any{drawSchema(t, depth-1), drawSchema(t, depth-1)}
	case "ref":
		s["$ref"] = "#/$defs/shared"
		s["$defs"] = map[string]any{"shared": drawSchema(t, depth-1)}
		if maybe("siblings") {
			s["type"] = rapid.SampledFrom(jsonTypes).Draw(t, "type")
		}
		inlineRefs(s)
	default:
		s["type"] = kind
		if maybe("two types") {
			s["type"] = []any{kind, "null"}
			if kind == "null" {
				s["type"] = []any{"null", "integer"}
			}
		}
		drawScalar(t, s, kind)
	}
	return s
}

var scalars = []any{"a", "ab", "é", `a"b`, "a\\u0062", "", json.Number("0"), json.Number("1"), json.Number("1.0"), json.Number("-7"), true, false, nil}

var memberNames = []string{"a", "b", "c", "event", "é", `q"`}

func drawObject(t *rapid.T, s map[string]any, depth int) {
	s["type"] = "object"
	properties := map[string]any{}
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(memberNames), 0, 4, rapid.ID).Draw(t, "properties") {
		properties[name] = drawSchema(t, depth-1)
	}
	s["properties"] = properties
	s["required"] = toAny(rapid.SliceOfNDistinct(rapid.SampledFrom(memberNames), 0, 3, rapid.ID).Draw(t, "required"))
	switch rapid.IntRange(0, 3).Draw(t, "others") {
	case 0, 1:
		s["additionalProperties"] = false
	case 2:
		s["additionalProperties"] = drawSchema(t, depth-1)
	}
}

func drawScalar(t *rapid.T, s map[string]any, kind string) {
	switch kind {
	case "string":
		drawLimits(t, s, "minLength", "maxLength", 5)
		if p := rapid.SampledFrom([]string{"", "", "^[a-z]+$", "^\\+[1-9][0-9]{1,3}$", "b", "^.{2}$", "é"}).Draw(t, "pattern"); p != "" {
			s["pattern"] = p
		}
	case "integer", "number":
		if f := rapid.SampledFrom([]string{"", "int32", "int64"}).Draw(t, "format"); f != "" {
			s["format"] = f
		}
		drawLimits(t, s, "minimum", "maximum", 50)
	}
}

func drawLimits(t *rapid.T, s map[string]any, least, most string, limit int) {
	if rapid.Bool().Draw(t, least) {
		s[least] = json.Number(fmt.Sprint(rapid.IntRange(0, limit/2).Draw(t, "least")))
	}
	if rapid.Bool().Draw(t, most) {
		s[most] = json.Number(fmt.Sprint(rapid.IntRange(limit/2, limit).Draw(t, "most")))
	}
}

// inlineRefs moves the $defs of a part into place, since references start at the
// root: the part refers to a copy of itself under allOf.
func inlineRefs(s map[string]any) {
	s["allOf"] = []any{s["$defs"].(map[string]any)["shared"]}
	delete(s, "$ref")
	delete(s, "$defs")
}

func toAny(list []string) []any {
	out := make([]any, len(list))
	for i := range list {
		out[i] = list[i]
	}
	return out
}

// drawBody draws the text of a body that fits a schema, but for a mistake now
// and then.
func drawBody(t *rapid.T, schema any, depth int) []byte {
	v := drawValue(t, schema, depth+3)
	text := toJSON(v)
	switch rapid.IntRange(0, 9).Draw(t, "text") {
	case 0:
		indented, err := json.MarshalIndent(v, " ", "\t")
		if err != nil {
			panic(err)
		}
		return indented
	case 1: // one byte is another
		text = slices.Clone(text)
		text[rapid.IntRange(0, len(text)-1).Draw(t, "at")] = rapid.SampledFrom([]byte(" \"\\{}[],:0123456789-.eEtrufalsn\xc3\xa9\x00")).Draw(t, "byte")
	case 2: // a part comes twice
		from := rapid.IntRange(0, len(text)).Draw(t, "from")
		to := rapid.IntRange(from, len(text)).Draw(t, "to")
		text = slices.Concat(text[:to], text[from:])
	}
	return text
}

func drawValue(t *rapid.T, schema any, depth int) any {
	s, ok := schema.(map[string]any)
	if !ok || len(s) == 0 || depth == 0 || rapid.IntRange(0, 14).Draw(t, "mistake") == 0 {
		return rapid.SampledFrom([]any{"a", "+1234", json.Number("3"), json.Number("2147483648"), json.Number("1.5"), json.Number("1e2"), true, nil, []any{}, map[string]any{"a": nil}}).Draw(t, "anything")
	}
	if enum, ok := s["enum"].([]any); ok {
		return rapid.SampledFrom(enum).Draw(t, "enum")
	}
	for _, keyword := range []string{"anyOf", "allOf"} {
		if list, ok := s[keyword].([]any); ok {
			return drawValue(t, rapid.SampledFrom(list).Draw(t, keyword), depth-1)
		}
	}
	kind, ok := s["type"].(string)
	if list, isList := s["type"].([]any); isList {
		kind, ok = rapid.SampledFrom(list).Draw(t, "type").(string)
	}
	if !ok {
		return nil
	}
	switch kind {
	case "object":
		return drawMembers(t, s, depth)
	case "array":
		items, ok := s["items"]
		if !ok {
			items = true
		}
		return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) any { return drawValue(t, items, depth-1) }), 0, 4).Draw(t, "array")
	case "string":
		return rapid.SampledFrom([]string{"ab", "abc", "a", "", "+123", "+1", "é", "béb", "zz\n", "\u2028"}).Draw(t, "string")
	case "integer":
		return json.Number(rapid.SampledFrom([]string{"0", "7", "25", "50", "-1", "2147483647", "-2147483649", "9223372036854775808", "2.0"}).Draw(t, "integer"))
	case "number":
		return json.Number(rapid.SampledFrom([]string{"0", "1.5", "25", "-0.25", "30", "1E1"}).Draw(t, "number"))
	case "boolean":
		return rapid.Bool().Draw(t, "boolean")
	}
	return nil
}

func drawMembers(t *rapid.T, s map[string]any, depth int) any {
	members := map[string]any{}
	properties := s["properties"].(map[string]any)
	wanted := slices.Sorted(maps.Keys(properties))
	for _, name := range s["required"].([]any) {
		if name := name.(string); !slices.Contains(wanted, name) {
			wanted = append(wanted, name)
		}
	}
	if rapid.IntRange(0, 5).Draw(t, "extra") == 0 {
		wanted = append(wanted, "extra")
	}
	for _, name := range wanted {
		sub, declared := properties[name]
		if !declared {
			sub = s["additionalProperties"]
		}
		if rapid.IntRange(0, 9).Draw(t, "absent") > 0 {
			members[name] = drawValue(t, sub, depth-1)
		}
	}
	return members
}
