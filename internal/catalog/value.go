package catalog

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// jsonTypeOf returns the JSON Schema type of a value, integer if it is whole.
func jsonTypeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case json.Number:
		if f, err := v.Float64(); err == nil && f == math.Trunc(f) {
			return "integer"
		}
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	}
	return "object"
}

// aTypeOf is jsonTypeOf with an article, for notes.
func aTypeOf(v any) string {
	name := jsonTypeOf(v)
	switch name {
	case "null":
		return name
	case "integer", "array", "object":
		return "an " + name
	}
	return "a " + name
}

// wild reports whether a number has so many digits, or so large an exponent,
// that comparing it exactly costs more than the number is worth: 1e1000000 is
// nine bytes and four million bits.
func wild(n string) bool {
	const maxDigits, maxExponent = 400, 400
	if len(n) > maxDigits {
		return true
	}
	i := strings.IndexAny(n, "eE")
	if i < 0 {
		return false
	}
	exponent, err := strconv.Atoi(n[i+1:])
	return err != nil || exponent > maxExponent || exponent < -maxExponent
}

// tooWild reports whether a wild number is anywhere in a value.
func tooWild(v any) bool {
	switch v := v.(type) {
	case json.Number:
		return wild(v.String())
	case []any:
		return slices.ContainsFunc(v, tooWild)
	case *object:
		return slices.ContainsFunc(v.values, tooWild)
	}
	return false
}

// convert returns a value as one of the types: itself if it is one, else what
// its text or the text of it is.
func convert(v any, types []string) (any, bool) {
	is := func(v any) bool {
		own := jsonTypeOf(v)
		return slices.Contains(types, own) || own == "integer" && slices.Contains(types, "number")
	}
	if is(v) {
		return v, true
	}
	switch v := v.(type) {
	case string:
		if parsed, err := readJSON([]byte(v), nil); err == nil && is(parsed) {
			return parsed, true
		}
	case json.Number, bool:
		if slices.Contains(types, "string") {
			return fmt.Sprint(v), true
		}
	}
	return nil, false
}

// scalar returns a string or number as text, because YAML has versions that are
// numbers.
func scalar(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

// texts returns a list of strings; nothing is an empty list.
func texts(v any) (list []string, ok bool) {
	items, isList := v.([]any)
	for _, item := range items {
		s, ok := item.(string)
		if !ok {
			return nil, false
		}
		list = append(list, s)
	}
	return list, isList || v == nil
}

// clip shortens text from a document for a message.
func clip(s string) string {
	const limit = 80
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "..."
}
