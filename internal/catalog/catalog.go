// Package catalog reads event types out of OpenAPI 3.1 documents and checks
// payloads against them.
//
// [Parse] turns a document into a [Document]: its event types with their scopes,
// samples and JSON Schemas, and notes on everything that was wrong with it,
// because public documents are full of mistakes that nobody who only wants to
// receive their events can mend. [Type.Check] compares a body with its schema. A
// [Catalog] holds the documents that a platform knows; [NumberManagement] is the
// one that it always has.
package catalog

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/switchhook/switchhook/internal/hook"
)

// ErrUnknown is returned for event types that are not in the catalog.
var ErrUnknown = errors.New("catalog: no such event type")

// Catalog is the set of event types that a platform knows. It may be used from
// many goroutines; reading it takes no lock.
type Catalog struct {
	write   sync.Mutex // held by writers, which replace current
	current atomic.Pointer[snapshot]
}

// snapshot is a state of the catalog. It does not change.
type snapshot struct {
	docs  []*Document // in the order in which their products came
	modes map[string]hook.CheckMode
	types map[string]*Type
	names []string // of types, sorted

	exports map[string]func() Export // by product
}

// New returns a catalog of documents, as if they were put one after the other.
// Whoever needs the notes of [Catalog.Put] puts them.
func New(docs ...*Document) *Catalog {
	c := &Catalog{}
	c.current.Store(&snapshot{})
	for _, d := range docs {
		c.Put(d)
	}
	return c
}

// Lookup returns the event type of a name.
func (c *Catalog) Lookup(name string) (*Type, bool) {
	t, ok := c.current.Load().types[name]
	return t, ok
}

// Types returns all event types, sorted by name.
func (c *Catalog) Types() []*Type {
	s := c.current.Load()
	list := make([]*Type, len(s.names))
	for i, name := range s.names {
		list[i] = s.types[name]
	}
	return list
}

// Documents returns the documents, sorted by product.
func (c *Catalog) Documents() []*Document {
	docs := slices.Clone(c.current.Load().docs)
	slices.SortFunc(docs, func(a, b *Document) int { return strings.Compare(a.Product, b.Product) })
	return docs
}

// Product returns the document of a product and those of its event types that are
// in effect, sorted by name; see [Catalog.Put] for those that are not. Where the
// product has underscores the name may have hyphens, as public paths have them.
func (c *Catalog) Product(name string) (doc *Document, types []*Type, ok bool) {
	s := c.current.Load()
	if doc = s.document(name); doc == nil {
		return nil, nil, false
	}
	for _, t := range doc.Types {
		if t := s.types[t.Name]; t.Product == doc.Product {
			types = append(types, t)
		}
	}
	return doc, types, true
}

// document returns the document of a product, or nil.
func (s *snapshot) document(product string) *Document {
	product = strings.ReplaceAll(product, "-", "_")
	if i := slices.IndexFunc(s.docs, func(d *Document) bool { return d.Product == product }); i >= 0 {
		return s.docs[i]
	}
	return nil
}

// Put adds a document, in place of the one of the same product if there is one.
//
// An event type that another product has already stays with that product:
// scopes and routing decide who may receive an event, and a document that is
// imported later must not change that for the events of another. The newcomer
// is not lost: there is a note for each, and it takes effect as soon as the
// document of the owner is put without it. So the owner of a contested name
// depends on the order in which products first came; who restores a catalog
// keeps that order.
func (c *Catalog) Put(doc *Document) []Note {
	c.write.Lock()
	defer c.write.Unlock()
	old := c.current.Load()
	docs := slices.Clone(old.docs)
	if i := slices.IndexFunc(docs, func(d *Document) bool { return d.Product == doc.Product }); i >= 0 {
		docs[i] = doc
	} else {
		docs = append(docs, doc)
	}
	next := newSnapshot(docs, old.modes)
	c.current.Store(next)
	return next.contested(doc)
}

// SetCheck has an event type checked in a mode of its own, whatever its document
// says now or when it is put again.
func (c *Catalog) SetCheck(name string, m hook.CheckMode) error {
	c.write.Lock()
	defer c.write.Unlock()
	old := c.current.Load()
	if _, ok := old.types[name]; !ok {
		return fmt.Errorf("%w: %q", ErrUnknown, clip(name))
	}
	modes := maps.Clone(old.modes)
	if modes == nil {
		modes = map[string]hook.CheckMode{}
	}
	modes[name] = m
	c.current.Store(newSnapshot(old.docs, modes))
	return nil
}

func newSnapshot(docs []*Document, modes map[string]hook.CheckMode) *snapshot {
	s := &snapshot{docs: docs, modes: modes, types: map[string]*Type{}, exports: map[string]func() Export{}}
	for _, d := range docs {
		for _, t := range d.Types {
			if s.types[t.Name] != nil {
				continue
			}
			if mode, ok := modes[t.Name]; ok {
				own := *t
				own.EventType.Check = mode
				t = &own
			}
			s.types[t.Name] = t
		}
	}
	s.names = slices.Sorted(maps.Keys(s.types))
	for _, d := range docs {
		s.exports[d.Product] = sync.OnceValue(func() Export { return s.export(d) })
	}
	return s
}

// contested returns notes on the names that a document shares with others.
func (s *snapshot) contested(doc *Document) []Note {
	var notes []Note
	for _, t := range doc.Types {
		owner := s.types[t.Name].Product
		if owner != doc.Product {
			notes = append(notes, Note{Warning, "", t.Name, "belongs to " + owner + " already; what this document says of it has no effect"})
			continue
		}
		for _, other := range s.docs {
			if other.Product != doc.Product && other.describes(t.Name) {
				notes = append(notes, Note{Warning, "", t.Name, "is in the document of " + other.Product + " too; what that says of it has no effect"})
			}
		}
	}
	return notes
}

// describes reports whether the document has an event type of the name.
func (d *Document) describes(name string) bool {
	_, ok := slices.BinarySearchFunc(d.Types, name, func(t *Type, name string) int { return strings.Compare(t.Name, name) })
	return ok
}
