package catalog

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Parse reads the event types of an OpenAPI 3.1 document, which may be JSON or
// YAML.
//
// They are the entries of webhooks, and those of paths whose key is an event
// name rather than a path, for both renderings are in use. The error is not nil
// only if no event type can be read at all. Everything else that is wrong is a
// note; an event type is never lost because of its schema, but it may remain
// unchecked.
//
// Scopes are read from the lines of the description that begin with "Scopes:" and
// "Granular Scopes:". An event goes by carrier if its schema has
// payload.object.carrier_code, else by account; its mode is report. Extensions
// overrule that: x-switchhook-scopes {classic: [...], granular: [...]},
// x-switchhook-routing (account or carrier) and x-switchhook-check (strict,
// report or off), on the operation, on its path item, or at the root for all
// event types; and x-switchhook-product at the root.
//
// Nothing outside of the document is read, whatever it refers to. Parse does
// not panic, and its time and memory are bounded for any input.
func Parse(doc []byte) (*Document, error) {
	p := parser{
		doc:      &Document{},
		keys:     map[string]bool{},
		named:    map[string]string{},
		repaired: map[*object]bool{},
		shared:   map[Note]bool{},
	}
	root, err := p.read(doc)
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	p.root, _ = root.(*object)
	if err := p.head(); err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	p.readEntries()
	for _, e := range p.entries {
		p.add(e)
	}
	if len(p.doc.Types) == 0 {
		return nil, fmt.Errorf("catalog: %w", p.nothing())
	}
	p.finish()
	return p.doc, nil
}

// parser is the state of Parse.
type parser struct {
	root  *object
	doc   *Document
	entry string // where the event type being read is
	event string // its name, once that is known

	entries  []entry
	keys     map[string]bool   // of entries, without the slash of a path
	named    map[string]string // where each event type is
	repaired map[*object]bool  // schemas that have been through repair
	referred []string          // places of schemas that are to be repaired
	shared   map[Note]bool     // notes on what several event types use
	dropped  int               // notes beyond maxNotes
	work     int               // of maxWork
}

// maxNotes is the number of notes after which they are only counted: nobody reads
// more, and a document can have millions.
const maxNotes = 1000

// note adds a note. It names the event type being read only if the place is its
// own, or if it is about the event type itself; what is shared is noted once.
func (p *parser) note(level Level, pointer, format string, args ...any) {
	n := Note{Level: level, Pointer: pointer, Message: fmt.Sprintf(format, args...)}
	if level == Unchecked || p.entry != "" && strings.HasPrefix(pointer+"/", p.entry+"/") {
		n.EventType = p.event
	} else if p.shared[n] {
		return
	}
	if len(p.doc.Notes) == maxNotes {
		p.dropped++
		return
	}
	p.shared[n] = true
	p.doc.Notes = append(p.doc.Notes, n)
}

// head reads what stands at the top of the document.
func (p *parser) head() error {
	version := scalar(p.root.get("openapi"))
	if version == "" {
		return errors.New("not an OpenAPI document: it has no openapi member")
	}
	if !strings.HasPrefix(version, "3.1") && !strings.HasPrefix(version, "3.2") {
		p.note(Warning, "/openapi", "version %s is read as if it were 3.1", clip(version))
	}
	info := p.root.object("info")
	p.doc.Title = info.text("title")
	p.doc.Version = scalar(info.get("version"))
	p.doc.Description = info.text("description")
	return nil
}

// nothing says why there is no event type.
func (p *parser) nothing() error {
	if len(p.doc.Notes) > 0 {
		return fmt.Errorf("no event type: %s", p.doc.Notes[len(p.doc.Notes)-1])
	}
	return errors.New("no event type: there are no webhooks, and no paths that are named like events")
}

// finish completes the document when all event types are there.
func (p *parser) finish() {
	d := p.doc
	slices.SortFunc(d.Types, func(a, b *Type) int { return strings.Compare(a.Name, b.Name) })
	d.Product = p.product()
	for _, t := range d.Types {
		t.Product = d.Product
	}
	p.sortNotes()
	if p.dropped > 0 {
		d.Notes = append(d.Notes, Note{Warning, "", "", fmt.Sprintf("%d more notes are left out", p.dropped)})
	}
	p.tidy()
	d.Source = appendJSON(nil, p.root)
}

// sortNotes puts the notes in the order of the document. They were made event
// type by event type, and those on shared schemas when the first user was met.
func (p *parser) sortNotes() {
	type placed struct {
		Note
		at []int
	}
	notes := make([]placed, len(p.doc.Notes))
	for i, n := range p.doc.Notes {
		notes[i] = placed{n, place(p.root, n.Pointer)}
	}
	slices.SortStableFunc(notes, func(a, b placed) int { return slices.Compare(a.at, b.at) })
	for i := range notes {
		p.doc.Notes[i] = notes[i].Note
	}
}

// product returns the short name of the document.
func (p *parser) product() string {
	const key = "x-switchhook-product"
	if p.root.has(key) {
		given := p.root.text(key)
		s := slug(given)
		if s != given || s == "" {
			p.note(Warning, "/"+key, "%q is no product name, which has lower-case letters, digits and underscores", clip(given))
		}
		if s != "" {
			return s
		}
	}
	s := strings.TrimSuffix(slug(p.doc.Title), "_webhooks")
	if s == "" || s == "webhooks" {
		s, _, _ = strings.Cut(p.doc.Types[0].Name, ".")
		if s = slug(s); s == "" {
			s = "events"
		}
		p.note(Warning, "/info/title", "does not name the product; it is called %s after its first event type", s)
	}
	return s
}

// slug returns the text in lower case with underscores for all but ASCII
// letters and digits.
func slug(s string) string {
	words := strings.FieldsFunc(strings.ToLower(s), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	return strings.Join(words, "_")
}
