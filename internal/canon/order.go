package canon

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"math"
	"slices"
)

// An object is what the printer knows of an object that it is reading.
type object struct {
	start int // of it in dst
	first int // its members are p.members[first:]
	table int // its hash table is p.slots[table:]; it is empty while few members are compared one by one

	named     bool  // has a key that is no array index
	highest   int64 // array index among the keys
	unordered bool  // an array index came after a name or after a higher one
}

// A member is remembered by its key, as printed. Two keys are the same exactly
// if they print the same, because a string has one canonical form.
type member struct {
	start, end int   // of the key in dst, quotation marks included
	index      int64 // the array index that the key is, or none
}

const none = -1

// remember adds the key at the end of dst to o; offset is where it is in src.
// It fails if o has that key already.
func (p *printer) remember(o *object, start, offset int) *Error {
	m := member{start, len(p.dst), arrayIndex(p.dst[start+1 : len(p.dst)-1])}
	if m.index == none {
		o.named = true
	} else {
		o.unordered = o.unordered || o.named || m.index < o.highest
		o.highest = m.index
	}
	if p.known(o, m) {
		key, _ := Text(p.key(m))
		return fail(DuplicateKey, offset, "key %s appears twice in one object, and JavaScript keeps only one; send it once", quote(key))
	}
	p.members = append(p.members, m)
	return nil
}

func (p *printer) key(m member) []byte { return p.dst[m.start:m.end] }

// known reports whether o has a member with m's key. Few keys are compared one
// by one, which is fastest; more are found by hash, so that an object with many
// takes no longer per key.
func (p *printer) known(o *object, m member) bool {
	const few = 16
	members := p.members[o.first:]
	if len(members) < few {
		for _, other := range members {
			if other.end-other.start == m.end-m.start && bytes.Equal(p.key(other), p.key(m)) {
				return true
			}
		}
		return false
	}
	if 2*(len(members)+1) > len(p.slots)-o.table {
		p.grow(o, 4*len(members))
	}
	return !p.insert(o, m, len(members))
}

// grow gives o a hash table with room for size slots and fills it with the
// members so far. The objects around o keep theirs below it.
func (p *printer) grow(o *object, size int) {
	p.slots = slices.Grow(p.slots[:o.table], size)[:o.table+size]
	clear(p.slots[o.table:])
	for i, m := range p.members[o.first:] {
		p.insert(o, m, i)
	}
}

// insert notes in o's hash table that m is its member number i. It reports
// false if there is one with the same key. The hash is seeded, so that nobody
// can choose keys that collide.
func (p *printer) insert(o *object, m member, i int) bool {
	slots, members := p.slots[o.table:], p.members[o.first:]
	mask := len(slots) - 1 // their number is a power of two, as few is
	at := int(maphash.Bytes(p.seed, p.key(m))) & mask
	for slots[at] != 0 {
		other := members[slots[at]-1] // 0 is a free slot, so numbers count from one
		if bytes.Equal(p.key(other), p.key(m)) {
			return false
		}
		at = (at + 1) & mask
	}
	slots[at] = i + 1
	return true
}

// arrayIndex returns the number that a key is an array index for, or none. In
// ECMAScript that is an integer from 0 to 2^32-2 in its only decimal spelling;
// 01, -0 and 4294967295 are names like any other.
func arrayIndex(key []byte) int64 {
	if len(key) == 0 || len(key) > len("4294967294") || key[0] == '0' && len(key) > 1 {
		return none
	}
	n := int64(0)
	for _, c := range key {
		if c < '0' || c > '9' {
			return none
		}
		n = n*10 + int64(c-'0')
	}
	if n >= math.MaxUint32 {
		return none
	}
	return n
}

// A span is a stretch of dst. A shuffle is one that begins with the brace of an
// object and ends before the other; between them should be the members that are
// spans[first:last], in that order.
type (
	span    struct{ start, end int }
	shuffle struct {
		span
		first, last int
	}
)

// close forgets what was kept of o, at its last byte. If its members must
// change places, it notes how: array indexes ascending, then the rest as given,
// which is the order of ECMAScript's OrdinaryOwnPropertyKeys.
//
// It does not move them yet. A thousand objects inside one another would move
// the innermost bytes a thousand times; rearrange moves each byte once.
func (p *printer) close(o *object) {
	if o.unordered {
		members, end := p.members[o.first:], len(p.dst)
		for i := range members {
			// From here on, a member ends with its value: one comma before the
			// next, or at the end of the object.
			members[i].end = end
			if i+1 < len(members) {
				members[i].end = members[i+1].start - len(",")
			}
		}
		slices.SortStableFunc(members, func(a, b member) int {
			return cmp.Compare(uint64(a.index), uint64(b.index)) // as unsigned, none is the highest
		})
		s := shuffle{span: span{o.start, end}, first: len(p.spans)}
		for _, m := range members {
			p.spans = append(p.spans, span{m.start, m.end})
		}
		s.last = len(p.spans)
		p.shuffled = append(p.shuffled, s)
	}
	p.members, p.slots = p.members[:o.first], p.slots[:o.table]
}

// rearrange brings the objects that close has noted into order.
func (p *printer) rearrange() {
	if len(p.shuffled) == 0 {
		return
	}
	// Outer objects are closed after inner ones but begin before them.
	slices.SortFunc(p.shuffled, func(a, b shuffle) int { return cmp.Compare(a.start, b.start) })
	base, end := p.shuffled[0].start, len(p.dst)
	p.given = append(p.given, p.dst[base:]...)
	p.dst = p.dst[:base]
	p.emit(base, span{base, end})
}

// emit appends what was given in s, with all shuffled objects within in order.
// Offsets count as in dst, of which given has everything from base.
func (p *printer) emit(base int, s span) {
	for {
		i, _ := slices.BinarySearchFunc(p.shuffled, s.start, func(in shuffle, start int) int {
			return cmp.Compare(in.start, start)
		})
		if i == len(p.shuffled) || p.shuffled[i].start >= s.end {
			break
		}
		in := p.shuffled[i]
		p.dst = append(p.dst, p.given[s.start-base:in.start+1-base]...)
		for k, m := range p.spans[in.first:in.last] {
			if k > 0 {
				p.dst = append(p.dst, ',')
			}
			p.emit(base, m)
		}
		s.start = in.end
	}
	p.dst = append(p.dst, p.given[s.start-base:s.end-base]...)
}
