package catalog

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxHops is the length above which a chain of references is taken for a ring.
const maxHops = 32

// resolve returns the pointer that a reference in the document means. Besides
// what it says, it tries what tools get wrong when they move event types
// between paths and webhooks or paste a schema into a document: base is the
// schema that a reference may have been written for, or "".
func (p *parser) resolve(ref, base string) (pointer string, err error) {
	fragment, ok := strings.CutPrefix(ref, "#")
	if !ok {
		return "", fmt.Errorf("%q is not in the document, and nothing outside of it is read", clip(ref))
	}
	if s, err := url.PathUnescape(fragment); err == nil {
		fragment = s
	}
	if fragment != "" && fragment[0] != '/' {
		return "", fmt.Errorf("%q is an anchor; only JSON pointers are followed", clip(ref))
	}
	want := tokens(fragment)
	tries := [][]string{want, swapped(want), slices.Concat(tokens(base), want)}
	if base != "" && len(want) == 0 {
		tries = tries[2:] // the document as a whole is no schema
	}
	for _, try := range tries {
		if got, ok := find(p.root, try); ok {
			return join("", got...), nil
		}
	}
	return "", fmt.Errorf("%q is not in the document", clip(ref))
}

// swapped returns the pointer into webhooks for one into paths and the reverse,
// or nil.
func swapped(want []string) []string {
	if len(want) < 2 {
		return nil
	}
	other := map[string]string{"paths": "webhooks", "webhooks": "paths"}[want[0]]
	if other == "" {
		return nil
	}
	return append([]string{other}, want[1:]...)
}

// find looks up the tokens of a pointer and returns them as they should have
// been: a name that has a slash may have been written without escape, and the
// key of an event with or without the slash of a path.
func find(v any, want []string) (got []string, ok bool) {
	if want == nil {
		return nil, false
	}
	for len(want) > 0 {
		name, n := want[0], 1
		switch parent := v.(type) {
		case *object:
			for n = 1; n <= min(len(want), 4); n++ {
				name = strings.Join(want[:n], "/")
				if parent.has(name) {
					break
				}
				if len(got) == 1 && (got[0] == "paths" || got[0] == "webhooks") {
					if toggled := toggleSlash(name); parent.has(toggled) {
						name = toggled
						break
					}
				}
			}
			if !parent.has(name) {
				return nil, false
			}
			v = parent.get(name)
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(parent) {
				return nil, false
			}
			v = parent[i]
		default:
			return nil, false
		}
		got, want = append(got, name), want[n:]
	}
	return got, true
}

func toggleSlash(key string) string {
	if bare, ok := strings.CutPrefix(key, "/"); ok {
		return bare
	}
	return "/" + key
}

// reference returns the reference that an object is, if it is one.
func reference(v any) (o *object, ref string, ok bool) {
	o, _ = v.(*object)
	ref, ok = o.get("$ref").(string)
	return o, ref, ok
}

// deref returns the object that a value is or refers to, or nil.
func (p *parser) deref(v any) *object {
	for range maxHops {
		o, ref, ok := reference(v)
		if !ok {
			return o
		}
		at, err := p.resolve(ref, "")
		if err != nil {
			return nil
		}
		v = lookup(p.root, at)
	}
	return nil
}

// follow is deref with notes. It also returns where the object is.
func (p *parser) follow(v any, at string) (*object, string) {
	for range maxHops {
		o, ref, ok := reference(v)
		if !ok {
			return o, at
		}
		target, err := p.repairRef(o, ref, at, "")
		if err != nil {
			p.note(Warning, join(at, "$ref"), "%v", err)
			return nil, at
		}
		at = target
		v = lookup(p.root, at)
	}
	p.note(Warning, at, "is a ring of references")
	return nil, at
}

// repairRef returns the pointer that the reference of o means, and has o say so
// if it says something else.
func (p *parser) repairRef(o *object, ref, at, base string) (string, error) {
	target, err := p.resolve(ref, base)
	if err != nil {
		return "", err
	}
	if said, err := url.PathUnescape(ref[1:]); err != nil || said != target {
		o.set("$ref", refTo(target))
		p.note(Repaired, join(at, "$ref"), "%q is not in the document; it should say %q", clip(ref), clip(refTo(target)))
	}
	return target, nil
}

// refTo writes a pointer as a reference.
func refTo(pointer string) string {
	u := url.URL{Fragment: pointer}
	return "#" + u.EscapedFragment()
}

// member returns a property of a schema, or of the schema of a property, and so
// on; nil if it is not declared.
func (p *parser) member(schema any, path ...string) *object {
	o := p.deref(schema)
	for _, name := range path {
		o = p.deref(o.object("properties").get(name))
	}
	return o
}
