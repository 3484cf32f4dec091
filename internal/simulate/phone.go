package simulate

import (
	"fmt"
	"math"
	"sort"
	"strings"
	"sync"
)

// region is where numbers are from: a country, or a state of one.
type region struct {
	country, state string
	index          int // which of all it is
}

// regionsAtMost is more than there are.
const regionsAtMost = 256

// block is some runs in a row.
type block struct {
	in           *region
	prefix       string // all but the last digits
	digits       int    // how many these are
	first, count int    // which
}

// pool is numbers to draw from.
type pool struct {
	blocks []block
	ends   []int // how many there are in the blocks up to each
}

func (p *pool) add(b block) {
	p.blocks, p.ends = append(p.blocks, b), append(p.ends, p.size()+b.count)
}

func (p *pool) size() int {
	if len(p.ends) == 0 {
		return 0
	}
	return p.ends[len(p.ends)-1]
}

func (p *pool) at(i int) (e164 string, in *region) {
	n := sort.SearchInts(p.ends, i+1)
	b := &p.blocks[n]
	return fmt.Sprintf("%s%0*d", b.prefix, b.digits, b.first+i-(p.ends[n]-b.count)), b.in
}

// pools are the numbers of all worlds. The first is those that are set aside for fiction,
// the second those beside them, in the exchange 555 of North America, where hardly
// anybody was ever given one.
var pools = sync.OnceValue(func() *[2]pool {
	var all [2]pool
	known := map[region]*region{}
	in := func(country, state string) *region {
		r := known[region{country: country, state: state}]
		if r == nil {
			r = &region{country, state, len(known)}
			known[region{country: country, state: state}] = r
		}
		return r
	}
	for line := range strings.Lines(fictional) {
		f := strings.Fields(line)
		shape, state := f[len(f)-1], ""
		if len(f) == 3 {
			state = f[1]
		}
		prefix := strings.TrimRight(shape, "x")
		digits := len(shape) - len(prefix)
		all[0].add(block{in: in(f[0], state), prefix: prefix, digits: digits, count: int(math.Pow10(digits))})
	}
	for line := range strings.Lines(areas) {
		f := strings.Fields(line)
		for _, code := range f[2:] {
			exchange := block{in: in(f[0], f[1]), prefix: "+1" + code + "555", digits: 4}
			part := func(p *pool, first, last int) {
				exchange.first, exchange.count = first, last-first+1
				p.add(exchange)
			}
			part(&all[0], 100, 199)
			part(&all[1], 200, 1199) // 555-1212 is where people ask for numbers
			part(&all[1], 1220, 9999)
		}
	}
	return &all
})

// Fictional is how many numbers of a world are set aside for fiction, from the first on.
func Fictional() int { return pools()[0].size() }

// MaxNumbers is how many numbers a world may have.
func MaxNumbers() int { return Fictional() + pools()[1].size() }

// phone returns a phone number of the world. Runs that follow each other are far apart.
func (w World) phone(i int) (e164 string, in *region) {
	all, which := pools(), 0
	if size := all[0].size(); i >= size {
		i, which = i-size, 1
	}
	p := &all[which]
	return p.at(w.shuffle(i/run, p.size()/run, which)*run + i%run)
}

// shuffle maps the integers below size to themselves, each to another one: steps of a
// length that shares no factor with size lead to each place once.
func (w World) shuffle(i, size, which int) int {
	r := w.draw(forOrder, which)
	step, start := size/4+r.IntN(size/2), r.IntN(size)
	for gcd(step, size) != 1 {
		step++
	}
	return (start + i*step) % size
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
