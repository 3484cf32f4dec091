// Package canon writes JSON as ECMAScript prints it.
//
// The canonical form of a text is JSON.stringify(JSON.parse(text)), byte for
// byte. Receivers check a signature over exactly that and not over the bytes
// that arrived, so a body which is not in this form cannot be verified by them.
//
// [Append] is the way in: it reads a text once and writes its canonical form
// while it reads. What has none, or would not mean the same in JavaScript, is
// refused with an [Error] that says which rule, where, and what to send
// instead. [Members], [Items], [Get] and [Text] read what Append wrote.
package canon

import (
	"bytes"
	"hash/maphash"
	"slices"
	"strconv"
	"sync"
)

// MaxDepth is how many arrays and objects may stand inside one another. No
// event comes near it, JavaScript engines manage several times as many, and a
// reader that recurses once per level stays below a megabyte of stack.
const MaxDepth = 1000

// Append appends the canonical form of src to dst and returns the longer slice.
// src must hold exactly one JSON value, with white space around it or not.
//
// The error is always an [*Error], and dst then comes back as it was given;
// only its spare capacity may have been written to. src and dst must not
// overlap, because canonical text can be longer than its source: 1e9 is ten
// digits. Append may be called concurrently.
func Append(dst, src []byte) ([]byte, error) {
	p := printers.Get().(*printer)
	defer p.release()
	p.src, p.dst = src, slices.Grow(dst, len(src))
	if err := p.document(); err != nil {
		err.Pointer = p.pointer()
		return dst, err
	}
	return p.dst, nil
}

// A printer turns one text into its canonical form.
//
// Its fields below dst are scratch memory, kept between texts so that an
// ordinary one costs no allocation. They are stacks: what an object or array
// pushes while it is read, it pops at its end.
type printer struct {
	src []byte
	pos int    // src[:pos] is read
	dst []byte // the output for src[:pos]

	depth   int
	members []member // of the objects being read, innermost last
	slots   []int    // hash tables over members, one for each large object being read
	seed    maphash.Seed
	path    []string // from a fault outwards to the root, while returning from it

	shuffled []shuffle // objects whose members are not yet in ECMAScript's order
	spans    []span    // the members of those, in that order
	given    []byte    // the output in its given order, while it is rearranged
}

var printers = sync.Pool{New: func() any { return &printer{seed: maphash.MakeSeed()} }}

// release gives p back to the pool without the text it worked on. Scratch
// memory that one enormous text made large goes, or the pool would hold it for
// as long as small texts keep p in use; what stays is a few megabytes at most.
func (p *printer) release() {
	const keep = 1 << 16
	*p = printer{
		seed:     p.seed,
		members:  emptied(p.members, keep),
		slots:    emptied(p.slots, keep),
		shuffled: emptied(p.shuffled, keep),
		spans:    emptied(p.spans, keep),
		given:    emptied(p.given, 16*keep),
	}
	printers.Put(p)
}

func emptied[E any](s []E, keep int) []E {
	if cap(s) > keep {
		return nil
	}
	return s[:0]
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// document reads all of src: one value and nothing else.
func (p *printer) document() *Error {
	if bytes.HasPrefix(p.src, byteOrderMark) {
		return fail(Syntax, 0, "the text begins with a byte order mark, which JSON does not allow; send UTF-8 without one")
	}
	if p.next(); p.pos == len(p.src) {
		return fail(Syntax, p.pos, "the text is empty; send one JSON value")
	}
	if err := p.value(); err != nil {
		return err
	}
	if p.next(); p.pos < len(p.src) {
		return p.unexpected("nothing more, because one value is complete")
	}
	p.rearrange()
	return nil
}

func (p *printer) value() *Error {
	switch c := p.next(); c {
	case '"':
		return p.text()
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return p.number()
	case 't':
		return p.literal("true")
	case 'f':
		return p.literal("false")
	case 'n':
		return p.literal("null")
	case '{', '[':
		if p.depth == MaxDepth {
			return fail(TooDeep, p.pos, "arrays and objects are nested more than %d deep; send a flatter document", MaxDepth)
		}
		p.depth++
		var err *Error
		if c == '{' {
			err = p.object()
		} else {
			err = p.array()
		}
		p.depth--
		return err
	}
	return p.unexpected(aValue)
}

func (p *printer) literal(word string) *Error {
	if !bytes.HasPrefix(p.src[p.pos:], []byte(word)) {
		return p.unexpected(aValue)
	}
	p.pos += len(word)
	if p.glued() {
		return p.unexpected(aValue)
	}
	p.dst = append(p.dst, word...)
	return nil
}

func (p *printer) array() *Error {
	p.take('[')
	if p.next() == ']' {
		p.take(']')
		return nil
	}
	for i := 0; ; i++ {
		if err := p.value(); err != nil {
			p.path = append(p.path, strconv.Itoa(i))
			return err
		}
		switch p.next() {
		case ',':
			p.take(',')
		case ']':
			p.take(']')
			return nil
		default:
			return p.unexpected("a comma or ]")
		}
	}
}

func (p *printer) object() *Error {
	o := object{start: len(p.dst), first: len(p.members), table: len(p.slots)}
	p.take('{')
	if p.next() == '}' {
		p.take('}')
		return nil
	}
	for {
		if p.next() != '"' {
			return p.unexpected("a key in double quotation marks")
		}
		if err := p.member(&o); err != nil {
			return err
		}
		switch p.next() {
		case ',':
			p.take(',')
		case '}':
			p.close(&o)
			p.take('}')
			return nil
		default:
			return p.unexpected("a comma or }")
		}
	}
}

// member reads a key, the colon and the value. Faults inside the key belong to
// the object, those after it to the member.
func (p *printer) member(o *object) *Error {
	start, offset := len(p.dst), p.pos
	if err := p.text(); err != nil {
		return err
	}
	end := len(p.dst)
	err := p.remember(o, start, offset)
	if err == nil && p.next() != ':' {
		err = p.unexpected("a colon after the key")
	}
	if err == nil {
		p.take(':')
		err = p.value()
	}
	if err != nil {
		key, _ := Text(p.dst[start:end])
		p.path = append(p.path, key)
	}
	return err
}

// take copies the byte at pos, which the caller has seen to be c.
func (p *printer) take(c byte) {
	p.dst = append(p.dst, c)
	p.pos++
}

// next skips white space and returns the byte after it, without taking it. At
// the end of the text it returns 0, which begins nothing in JSON.
func (p *printer) next() byte {
	for ; p.pos < len(p.src); p.pos++ {
		switch c := p.src[p.pos]; c {
		case ' ', '\n', '\t', '\r':
		default:
			return c
		}
	}
	return 0
}
