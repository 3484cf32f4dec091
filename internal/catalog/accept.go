package catalog

import (
	"bytes"
	"slices"
	"strconv"
	"unicode/utf8"
)

// An acceptor decides in one pass over the bytes of a body whether the body
// surely fits its schema. It builds no values, so it costs a twentieth of
// decoding and validating, and on a platform where nearly every body is good it
// is nearly all that runs.
//
// Its other answer is not "no" but "perhaps", for anything that is wrong, rare
// or more than it understands; the library then decides. So all that can go
// wrong is to accept too much. Against that it is made from the schema as the
// library compiled it, not from the text, and not at all if any part is in use
// that it does not know; and tests hold the two against each other.
type acceptor struct {
	any   bool      // accepts every value; nothing below counts
	alias *acceptor // decides instead; nothing below counts

	// The value must fit all of these, and one of each of those, as well. They
	// walk over the same bytes again.
	all []*acceptor
	one [][]*acceptor

	types    types
	literals map[string]bool // the JSON texts allowed by enum or const; nil for all

	// Objects.
	members  []member
	index    map[string]int // into members
	required bits
	closed   bool      // no other members
	others   *acceptor // what other members must fit; nil for anything

	// Arrays.
	items              *acceptor // nil for anything
	minItems, maxItems int

	// Strings.
	text                 bool // any of the following is in use
	minLength, maxLength int
	pattern              *pattern

	// Numbers, in whole ones.
	bounded bool
	lowest  int64
	highest int64
}

type member struct {
	value    *acceptor
	declared bool // not only required
}

// types is a set of JSON types.
type types uint8

const (
	nullType types = 1 << iota
	booleanType
	integerType
	numberType
	stringType
	arrayType
	objectType

	allTypes = nullType | booleanType | integerType | numberType | stringType | arrayType | objectType
)

// bits is a set of members. Objects with more are left to the library.
type bits [4]uint64

const maxMembers = 256

func (b *bits) add(i int)      { b[i/64] |= 1 << (i % 64) }
func (b *bits) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }

const unlimited = int(^uint(0) >> 1)

// maxDepth bounds the recursion of an acceptor; deeper bodies are rare enough
// to be left to the library.
const maxDepth = 64

// perhaps is what the functions below return instead of the place where the
// value ends.
const perhaps = -1

// accepts reports whether the body surely is one JSON value that fits. It may
// be called on nil, which accepts nothing.
func (a *acceptor) accepts(body []byte) bool {
	if a == nil {
		return false
	}
	i := a.value(body, space(body, 0), 0)
	return i != perhaps && space(body, i) == len(body)
}

// value returns where the value at i ends, or perhaps.
func (a *acceptor) value(b []byte, i, depth int) int {
	for a != nil && a.alias != nil {
		a = a.alias
	}
	if i >= len(b) || depth > maxDepth {
		return perhaps
	}
	if a == nil || a.any {
		return skip(b, i, depth)
	}
	for _, also := range a.all {
		if also.value(b, i, depth+1) == perhaps {
			return perhaps
		}
	}
	for _, list := range a.one {
		if !slices.ContainsFunc(list, func(o *acceptor) bool { return o.value(b, i, depth+1) != perhaps }) {
			return perhaps
		}
	}
	switch c := b[i]; c {
	case '{':
		if a.types&objectType == 0 || a.literals != nil {
			return perhaps
		}
		return a.object(b, i+1, depth+1)
	case '[':
		if a.types&arrayType == 0 || a.literals != nil {
			return perhaps
		}
		return a.array(b, i+1, depth+1)
	case '"':
		if a.types&stringType == 0 {
			return perhaps
		}
		return a.string(b, i)
	case 't':
		return a.word(b, i, "true", booleanType)
	case 'f':
		return a.word(b, i, "false", booleanType)
	case 'n':
		return a.word(b, i, "null", nullType)
	default:
		return a.number(b, i)
	}
}

func (a *acceptor) object(b []byte, i, depth int) int {
	var seen bits
	i = space(b, i)
	if i < len(b) && b[i] == '}' {
		return a.complete(&seen, i+1)
	}
	for {
		if i >= len(b) || b[i] != '"' {
			return perhaps
		}
		end, simple := scanString(b, i)
		if end == perhaps || !simple {
			return perhaps // a name with escapes may be any
		}
		m, known := a.index[string(b[i+1:end-1])]
		if i = space(b, end); i >= len(b) || b[i] != ':' {
			return perhaps
		}
		i = space(b, i+1)
		switch {
		case known:
			// Of two members of one name the library sees the last.
			if seen.has(m) || a.closed && !a.members[m].declared {
				return perhaps
			}
			seen.add(m)
			v := a.members[m].value
			if !a.members[m].declared {
				v = a.others
			}
			i = v.value(b, i, depth)
		case a.closed:
			return perhaps
		default:
			i = a.others.value(b, i, depth)
		}
		if i == perhaps {
			return perhaps
		}
		i = space(b, i)
		if i >= len(b) {
			return perhaps
		}
		switch b[i] {
		case ',':
			i = space(b, i+1)
		case '}':
			return a.complete(&seen, i+1)
		default:
			return perhaps
		}
	}
}

// complete returns end if all required members were seen.
func (a *acceptor) complete(seen *bits, end int) int {
	for i, word := range a.required {
		if word&^seen[i] != 0 {
			return perhaps
		}
	}
	return end
}

func (a *acceptor) array(b []byte, i, depth int) int {
	n := 0
	i = space(b, i)
	if i < len(b) && b[i] == ']' {
		i++
	} else {
		for {
			if i = a.items.value(b, i, depth); i == perhaps {
				return perhaps
			}
			n++
			i = space(b, i)
			if i >= len(b) {
				return perhaps
			}
			if b[i] == ']' {
				i++
				break
			}
			if b[i] != ',' {
				return perhaps
			}
			i = space(b, i+1)
		}
	}
	if n < a.minItems || n > a.maxItems {
		return perhaps
	}
	return i
}

func (a *acceptor) string(b []byte, i int) int {
	end, simple := scanString(b, i)
	if end == perhaps || !a.text {
		return end
	}
	s := b[i+1 : end-1]
	n := len(s)
	if !simple {
		if bytes.IndexByte(s, '\\') >= 0 || !utf8.Valid(s) {
			return perhaps // the library would see another text
		}
		n = utf8.RuneCount(s)
	}
	if n < a.minLength || n > a.maxLength {
		return perhaps
	}
	if a.literals != nil && !a.literals[string(b[i:end])] {
		return perhaps
	}
	if a.pattern != nil && !a.pattern.match(s, simple) {
		return perhaps
	}
	return end
}

func (a *acceptor) word(b []byte, i int, word string, t types) int {
	if a.types&t == 0 || a.literals != nil && !a.literals[word] {
		return perhaps
	}
	return skipWord(b, i, word)
}

func (a *acceptor) number(b []byte, i int) int {
	end, whole := scanNumber(b, i)
	if end == perhaps || a.types&(integerType|numberType) == 0 {
		return perhaps
	}
	if !whole && a.types&numberType == 0 {
		return perhaps // 1.0 is whole to the library
	}
	if a.literals != nil && !a.literals[string(b[i:end])] {
		return perhaps
	}
	if a.bounded {
		n, err := strconv.ParseInt(string(b[i:end]), 10, 64) // fails if it is not whole
		if err != nil || n < a.lowest || n > a.highest {
			return perhaps
		}
	}
	return end
}
