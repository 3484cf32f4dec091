package catalog

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// object is a JSON object that keeps its members in the order of the document,
// because notes, exports and samples should read as the author wrote them. The
// other values of a tree are []any, string, [json.Number], bool and nil.
//
// Most objects have a few members. Those are searched one by one; maps would
// make a large document of small objects ten times as large in memory.
type object struct {
	names  []string
	values []any
	index  map[string]int // of names, if there are many
}

const manyMembers = 12

func (o *object) find(name string) int {
	switch {
	case o == nil:
		return -1
	case o.index == nil:
		return slices.Index(o.names, name)
	}
	if i, ok := o.index[name]; ok {
		return i
	}
	return -1
}

// get returns the member, or nil if there is none. It may be called on nil, so
// that paths into a document need no checks on the way.
func (o *object) get(name string) any {
	if i := o.find(name); i >= 0 {
		return o.values[i]
	}
	return nil
}

func (o *object) has(name string) bool { return o.find(name) >= 0 }

func (o *object) set(name string, v any) {
	if i := o.find(name); i >= 0 {
		o.values[i] = v
		return
	}
	o.names, o.values = append(o.names, name), append(o.values, v)
	if o.index != nil {
		o.index[name] = len(o.names) - 1
	} else if len(o.names) > manyMembers {
		o.reindex()
	}
}

// retain removes the members that keep does not want.
func (o *object) retain(keep func(name string) bool) {
	n := 0
	for i, name := range o.names {
		if keep(name) {
			o.names[n], o.values[n] = name, o.values[i]
			n++
		}
	}
	o.names, o.values = o.names[:n], o.values[:n]
	if o.index != nil {
		o.reindex()
	}
}

func (o *object) remove(name string) {
	o.retain(func(other string) bool { return other != name })
}

func (o *object) reindex() {
	o.index = make(map[string]int, len(o.names))
	for i, name := range o.names {
		o.index[name] = i
	}
}

// clone returns an object with the same members, which may be replaced.
func (o *object) clone() *object {
	return &object{slices.Clone(o.names), slices.Clone(o.values), maps.Clone(o.index)}
}

// object returns the member if it is an object, else nil.
func (o *object) object(name string) *object {
	child, _ := o.get(name).(*object)
	return child
}

// text returns the member if it is a string, else "".
func (o *object) text(name string) string {
	s, _ := o.get(name).(string)
	return s
}

// escaper writes one token of a JSON pointer.
var escaper = strings.NewReplacer("~", "~0", "/", "~1")

// join appends tokens to a JSON pointer.
func join(pointer string, tokens ...string) string {
	var b strings.Builder
	b.WriteString(pointer)
	for _, t := range tokens {
		b.WriteByte('/')
		_, _ = escaper.WriteString(&b, t) // a builder takes everything
	}
	return b.String()
}

// tokens takes a JSON pointer apart.
func tokens(pointer string) []string {
	if pointer == "" {
		return nil
	}
	list := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for i, t := range list {
		if strings.Contains(t, "~") {
			list[i] = strings.ReplaceAll(strings.ReplaceAll(t, "~1", "/"), "~0", "~")
		}
	}
	return list
}

// lookup returns the value that a JSON pointer names, or nil.
func lookup(v any, pointer string) any {
	for _, t := range tokens(pointer) {
		switch parent := v.(type) {
		case *object:
			if !parent.has(t) {
				return nil
			}
			v = parent.get(t)
		case []any:
			i, err := strconv.Atoi(t)
			if err != nil || i < 0 || i >= len(parent) {
				return nil
			}
			v = parent[i]
		default:
			return nil
		}
	}
	return v
}

// place says where in the document a pointer points: the position of each of
// its tokens among its siblings. Comparing places is comparing in the order of
// the document; what a repair has removed comes where its parent is.
func place(v any, pointer string) []int {
	var at []int
	for _, t := range tokens(pointer) {
		i := -1
		switch parent := v.(type) {
		case *object:
			i, v = parent.find(t), parent.get(t)
		case []any:
			if n, err := strconv.Atoi(t); err == nil && n >= 0 && n < len(parent) {
				i, v = n, parent[n]
			}
		}
		if i < 0 {
			break
		}
		at = append(at, i)
	}
	return at
}

// plain turns a tree into what encoding/json makes of the same document, which
// is what the schema library reads.
func plain(v any) any {
	switch v := v.(type) {
	case *object:
		m := make(map[string]any, len(v.names))
		for i, name := range v.names {
			m[name] = plain(v.values[i])
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plain(v[i])
		}
		return list
	}
	return v
}

// appendJSON writes a tree as compact JSON. Unlike encoding/json it keeps the
// order of members and leaves <, > and & alone.
func appendJSON(b []byte, v any) []byte {
	switch v := v.(type) {
	case *object:
		b = append(b, '{')
		for i, name := range v.names {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, name), ':')
			b = appendJSON(b, v.values[i])
		}
		return append(b, '}')
	case []any:
		b = append(b, '[')
		for i := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, v[i])
		}
		return append(b, ']')
	case string:
		return appendString(b, v)
	case json.Number:
		return append(b, v...)
	case bool:
		return strconv.AppendBool(b, v)
	}
	return append(b, "null"...)
}

func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\t':
			b = append(b, '\\', 't')
		case '\r':
			b = append(b, '\\', 'r')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(b, s[from:]...), '"')
}
