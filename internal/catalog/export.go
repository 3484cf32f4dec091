package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
)

// Export is the document of a product as others may have it. [Parse] makes the
// same event types of it again, with the modes that they have in this catalog.
type Export struct {
	// JSON is an OpenAPI 3.1 document with webhooks.
	JSON []byte
	// Version names these bytes: another document has another one.
	Version string
}

// Export returns the document of a product. It is found like [Catalog.Product].
func (c *Catalog) Export(product string) (Export, bool) {
	s := c.current.Load()
	doc := s.document(product)
	if doc == nil {
		return Export{}, false
	}
	return s.exports[doc.Product](), true
}

func (s *snapshot) export(d *Document) Export {
	text := s.withModes(d)
	sum := sha256.Sum256(text)
	return Export{text, hex.EncodeToString(sum[:16])}
}

// withModes returns the source of a document in which the event types have the
// modes that were set for them.
func (s *snapshot) withModes(d *Document) []byte {
	set := slices.DeleteFunc(slices.Clone(d.Types), func(t *Type) bool {
		now := s.types[t.Name]
		return now.Product != d.Product || now.EventType.Check == t.EventType.Check
	})
	if len(set) == 0 {
		return d.Source
	}
	v, err := readJSON(d.Source, nil)
	if err != nil {
		return d.Source // cannot be: it is what appendJSON wrote
	}
	p := parser{root: v.(*object)}
	for _, t := range set {
		p.setMode(t.entry, s.types[t.Name].EventType.Check.String())
	}
	return appendJSON(nil, p.root)
}

// setMode has the event type at a pointer say its mode. Entries may share what they
// refer to, so it gets an operation of its own.
func (p *parser) setMode(entry, mode string) {
	path := tokens(entry)
	item := p.deref(lookup(p.root, entry)).clone()
	post := item.object("post").clone()
	post.set("x-switchhook-check", mode)
	item.set("post", post)
	p.root.object(path[0]).set(path[1], item)
}

// full is a version that OpenAPI documents may give and that has webhooks.
var full = regexp.MustCompile(`^3\.[12]\.\d+$`)

// tidy turns the document into what [Document.Source] promises.
func (p *parser) tidy() {
	if !full.MatchString(p.root.text("openapi")) {
		p.root.set("openapi", "3.1.0")
	}
	if info := p.root.object("info"); info.has("version") {
		info.set("version", p.doc.Version) // YAML makes a number of 1.0
	}
	u := usage{p: p, moved: p.moveEntries(), used: map[string]bool{}}
	for _, t := range p.doc.Types {
		u.need(t.entry) // if there was no other key for it
	}
	for i, name := range p.root.names {
		if name != "paths" && name != "components" {
			u.visit(p.root.values[i])
		}
	}
	for len(u.todo) > 0 {
		v := u.todo[0]
		u.todo = u.todo[1:]
		u.visit(v)
	}
	u.keep("paths", "")
	components := p.root.object("components")
	if components == nil {
		return
	}
	for _, kind := range slices.Clone(components.names) {
		// Security schemes are referred to by their names alone.
		if kind != "securitySchemes" {
			u.keep("components", kind)
		}
	}
	if len(components.names) == 0 {
		p.root.remove("components")
	}
}

// moveEntries puts the entries of paths among the webhooks and returns what they are
// called there. Those that made no event type go too, for which entries there are
// has a part in what the others are called, unless a webhook has that key already.
func (p *parser) moveEntries() map[string]string {
	made := map[string]*Type{}
	for _, t := range p.doc.Types {
		made[t.entry] = t
	}
	moved := map[string]string{}
	for _, e := range p.entries {
		from, t := tokens(e.pointer), made[e.pointer]
		if from[0] != "paths" {
			continue
		}
		webhooks := p.root.object("webhooks")
		if webhooks == nil {
			webhooks = &object{}
			p.root.set("webhooks", webhooks)
		}
		key := strings.TrimPrefix(e.key, "/")
		if webhooks.has(key) && t != nil {
			key = "/" + key // which counts the same: it is called otherwise than its key
		}
		if webhooks.has(key) {
			continue
		}
		webhooks.set(key, e.item)
		moved[e.key] = key
		if t != nil {
			t.entry = join("/webhooks", key)
		}
	}
	return moved
}

// usage follows references to find out which paths and components the event types
// need.
type usage struct {
	p     *parser
	moved map[string]string // see moveEntries
	used  map[string]bool   // pointers
	todo  []any
}

func (u *usage) visit(v any) {
	switch v := v.(type) {
	case *object:
		if _, ref, ok := reference(v); ok {
			u.follow(v, ref)
		}
		for _, child := range v.values {
			u.visit(child)
		}
	case []any:
		for _, child := range v {
			u.visit(child)
		}
	}
}

// follow marks what the reference of an object leads to, and has it lead to where
// that is from now on.
func (u *usage) follow(o *object, ref string) {
	target, err := u.p.resolve(ref, "")
	if err != nil {
		return
	}
	if path := tokens(target); len(path) > 1 && path[0] == "paths" {
		if key, ok := u.moved[path[1]]; ok {
			o.set("$ref", refTo(join("/webhooks", append([]string{key}, path[2:]...)...)))
			return
		}
	}
	u.need(target)
}

// need marks the path or component that a pointer leads to or into, if it does.
func (u *usage) need(pointer string) {
	path := tokens(pointer)
	if len(path) == 0 {
		return
	}
	n := map[string]int{"paths": 2, "components": 3}[path[0]]
	if n == 0 || len(path) < n {
		return
	}
	if at := join("", path[:n]...); !u.used[at] {
		u.used[at] = true
		u.todo = append(u.todo, lookup(u.p.root, at))
	}
}

// keep removes the members that no event type needs from a part of the document,
// and the part if nothing remains.
func (u *usage) keep(part, kind string) {
	holder, name, at := u.p.root, part, join("", part)
	if kind != "" {
		holder, name, at = holder.object(part), kind, join(at, kind)
	}
	o := holder.object(name)
	if o == nil {
		return
	}
	o.retain(func(name string) bool { return u.used[join(at, name)] })
	if len(o.names) == 0 {
		holder.remove(name)
	}
}
