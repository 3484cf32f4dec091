package number

import (
	"encoding/binary"
	"math"
	"regexp/syntax"
	"slices"
	"sync"

	"github.com/nyaruka/phonenumbers"
)

// The library reads a number in some 40 µs, most of them spent on regular expressions, and a
// file may have a million numbers. What is valuable in it are its data, so they are compiled
// here: all patterns of a calling code become one automaton, which reads a number digit by
// digit in some 30 ns. The automaton may only be too strict: what it does not accept, the
// library is asked about, so that a number is right or wrong because the library says so.

// class is what the library takes a number for: its type, and one more, so that the zero value
// is no number.
type class uint8

func classOf(t phonenumbers.PhoneNumberType) class { return class(t) + 1 }

// lookup returns the class of a number that has a plus and digits. Zero means that the library
// has to be asked.
func lookup(e164 string) class {
	all := plans()
	code := 0
	for i := 1; i < min(len(e164), 4); i++ {
		code = code*10 + int(e164[i]-'0')
		if compiled := all[code]; compiled != nil { // no code begins with another one
			return compiled().class(e164[i+1:])
		}
	}
	return 0
}

// plans has a function for each calling code that compiles its plan once: most inventories have
// numbers of a few countries.
var plans = sync.OnceValue(func() *[1000]func() *plan {
	collection, err := phonenumbers.MetadataCollection()
	if err != nil {
		panic(err) // the library itself would have, when the program started
	}
	type key struct {
		region string
		code   int // where the region is the world
	}
	described := map[key]*phonenumbers.PhoneMetadata{}
	keyOf := func(region string, code int) key {
		if region != phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY {
			code = 0
		}
		return key{region, code}
	}
	for _, m := range collection.GetMetadata() {
		described[keyOf(m.GetId(), int(m.GetCountryCode()))] = m
	}
	var all [1000]func() *plan
	for code := range phonenumbers.GetSupportedCallingCodes() {
		var regions []*phonenumbers.PhoneMetadata
		for _, region := range phonenumbers.GetRegionCodesForCountryCode(code) {
			regions = append(regions, described[keyOf(region, code)])
		}
		if !slices.Contains(regions, nil) {
			all[code] = sync.OnceValue(func() *plan { return compile(regions) })
		}
	}
	return &all
})

// plan is the numbering plan of a calling code as an automaton. A number begins in state 0.
type plan struct {
	next   [][10]uint16
	ending []class // of the number that ends in a state
}

// nowhere is the state of what no number begins with.
const nowhere = math.MaxUint16

func (p *plan) class(digits string) class {
	at := uint16(0)
	for i := range len(digits) {
		if at = p.next[at][digits[i]-'0']; at == nowhere {
			return 0
		}
	}
	return p.ending[at]
}

// The patterns of a region, in the order in which the library tries them. The first tells
// the region from others of its calling code and needs to match only the beginning of a number.
const (
	patLeading = iota
	patAny
	patPremium
	patTollFree
	patSharedCost
	patVoIP
	patPersonal
	patPager
	patUAN
	patVoicemail
	patFixedLine
	patMobile
	patterns
)

// compiler makes the automaton of a calling code, as textbooks do: one of its states is a set of
// places in the patterns, those that the digits read so far may have led to.
type compiler struct {
	regions []*phonenumbers.PhoneMetadata
	// insts are the programs of all patterns, one behind the other, and owner tells the
	// pattern of each.
	insts []syntax.Inst
	owner []int
	// starts is where each pattern begins.
	starts []uint32
	// prefix is the pattern of what people dial before a number at home, and afterPrefix that
	// of a number behind it. -1: there is none.
	prefix, afterPrefix int

	plan   plan
	states []state
	found  map[string]uint16
	seen   []int // by instruction, the last closure that it was in
	turn   int
}

// state is where the patterns are after some digits. States of different depth are different
// ones, for a number is one or not by its length too.
type state struct {
	depth int
	at    []uint32 // instructions, sorted
	// dialled says that the digits begin with a prefix.
	dialled bool
}

// compile makes the automaton of a calling code that these regions share.
func compile(regions []*phonenumbers.PhoneMetadata) *plan {
	c := &compiler{regions: regions, found: map[string]uint16{}, prefix: -1, afterPrefix: -1}
	ok := true
	for _, m := range regions {
		ok = ok && c.read(m.GetLeadingDigits())
		for _, d := range descriptions(m) {
			ok = ok && c.read(d.GetNationalNumberPattern())
		}
	}
	home := regions[0] // whose prefix the library takes off a number
	if p := home.GetNationalPrefixForParsing(); p != "" {
		c.prefix, c.afterPrefix = len(c.starts), len(c.starts)+1
		ok = ok && c.read(p) && c.read(home.GetGeneralDesc().GetNationalNumberPattern())
	}
	c.seen = make([]int, len(c.insts))
	first := c.set(0, false)
	for pattern, start := range c.starts {
		none := c.leads(pattern) && regions[pattern/patterns].GetLeadingDigits() == ""
		if ok && !none && pattern != c.afterPrefix {
			c.follow(first, start)
		}
	}
	if c.add(first) == nowhere {
		return &plan{next: make([][10]uint16, 1), ending: make([]class, 1)} // all is the library's
	}
	for i := 0; i < len(c.states); i++ { //nolint:intrange // there are more with every turn
		s := c.states[i]
		for digit := range 10 {
			// The slice may grow meanwhile.
			to := c.add(c.step(&s, rune('0'+digit)))
			c.plan.next[i][digit] = to
		}
	}
	return &c.plan
}

// descriptions returns the sorts of numbers of a region as patterns are ordered, from patAny on.
func descriptions(m *phonenumbers.PhoneMetadata) []*phonenumbers.PhoneNumberDesc {
	return []*phonenumbers.PhoneNumberDesc{
		m.GetGeneralDesc(), m.GetPremiumRate(), m.GetTollFree(), m.GetSharedCost(), m.GetVoip(), m.GetPersonalNumber(),
		m.GetPager(), m.GetUan(), m.GetVoicemail(), m.GetFixedLine(), m.GetMobile(),
	}
}

// atEnd are the assertions that patterns make: that nothing follows.
const atEnd = syntax.EmptyEndText | syntax.EmptyEndLine

// read adds a pattern. It reports whether it is one that can be compiled here.
func (c *compiler) read(expr string) bool {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return false
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return false
	}
	base, pattern := uint32(len(c.insts)), len(c.starts)
	for _, inst := range prog.Inst {
		switch inst.Op {
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(inst.Arg)&^atEnd != 0 {
				return false
			}
		case syntax.InstAlt, syntax.InstAltMatch:
			inst.Arg += base
		}
		inst.Out += base
		c.insts = append(c.insts, inst)
		c.owner = append(c.owner, pattern)
	}
	c.starts = append(c.starts, base+uint32(prog.Start))
	return true
}

// set begins a state.
func (c *compiler) set(depth int, dialled bool) *state {
	c.turn++
	return &state{depth: depth, dialled: dialled}
}

// follow adds an instruction to the state that was begun last, with all that are reached from it
// without a digit.
func (c *compiler) follow(s *state, pc uint32) {
	if c.seen[pc] == c.turn {
		return
	}
	c.seen[pc] = c.turn
	switch inst := &c.insts[pc]; inst.Op {
	case syntax.InstAlt, syntax.InstAltMatch:
		c.follow(s, inst.Out)
		c.follow(s, inst.Arg)
	case syntax.InstCapture, syntax.InstNop:
		c.follow(s, inst.Out)
	case syntax.InstFail:
	case syntax.InstMatch:
		s.at = append(s.at, pc)
		if c.owner[pc] == c.prefix && s.depth > 0 {
			s.dialled = true
			c.follow(s, c.starts[c.afterPrefix])
		}
	default:
		s.at = append(s.at, pc)
	}
}

// step returns the state behind another one and a digit.
func (c *compiler) step(from *state, digit rune) *state {
	s := c.set(from.depth+1, from.dialled)
	for _, pc := range from.at {
		switch inst := &c.insts[pc]; inst.Op {
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			if inst.MatchRune(digit) {
				c.follow(s, inst.Out)
			}
		case syntax.InstMatch:
			if c.leads(c.owner[pc]) {
				c.follow(s, pc) // whatever comes behind them
			}
		}
	}
	return s
}

// leads reports whether a pattern is the leading digits of a region.
func (c *compiler) leads(pattern int) bool {
	return pattern < len(c.regions)*patterns && pattern%patterns == patLeading
}

// add returns the number of a state, which it adds to the automaton if it is new.
func (c *compiler) add(s *state) uint16 {
	if s.depth > maxDigits || len(s.at) == 0 {
		return nowhere
	}
	slices.Sort(s.at)
	key := []byte{byte(s.depth), 0}
	if s.dialled {
		key[1] = 1
	}
	for _, pc := range s.at {
		key = binary.LittleEndian.AppendUint32(key, pc)
	}
	if number, ok := c.found[string(key)]; ok {
		return number
	}
	if len(c.states) == nowhere {
		return nowhere // too large to be known whole
	}
	number := uint16(len(c.states))
	c.found[string(key)] = number
	c.states = append(c.states, *s)
	c.plan.next = append(c.plan.next, [10]uint16{})
	c.plan.ending = append(c.plan.ending, c.judge(s))
	return number
}

// judge returns what the library takes a number for that ends in the state.
func (c *compiler) judge(s *state) class {
	matched := make([]bool, len(c.starts))
	end := c.set(s.depth, false)
	for _, pc := range s.at {
		c.follow(end, pc)
	}
	for i := 0; i < len(end.at); i++ { //nolint:intrange // there are more with every turn
		switch inst := &c.insts[end.at[i]]; inst.Op {
		case syntax.InstEmptyWidth:
			c.follow(end, inst.Out)
		case syntax.InstMatch:
			matched[c.owner[end.at[i]]] = true
		}
	}
	if s.dialled || c.prefix >= 0 && matched[c.prefix] && s.depth > 0 {
		// It may be another number, with something before it that is dialled at home, or that
		// becomes something else abroad.
		if !matched[patAny] || matched[c.afterPrefix] || c.regions[0].GetNationalPrefixTransformRule() != "" {
			return 0
		}
	}
	for i, m := range c.regions {
		matched := matched[i*patterns:][:patterns]
		known := typeOf(m, matched, int32(s.depth))
		switch {
		case len(c.regions) == 1:
			return known
		case m.GetLeadingDigits() != "" && matched[patLeading], m.GetLeadingDigits() == "" && known != 0:
			return known
		}
	}
	return 0
}

// typeOf returns what a number of this length is that matches the patterns of a region.
func typeOf(m *phonenumbers.PhoneMetadata, matched []bool, length int32) class {
	all := descriptions(m)
	is := func(pattern int) bool {
		lengths := all[pattern-patAny].GetPossibleLength()
		return matched[pattern] && (len(lengths) == 0 || slices.Contains(lengths, length))
	}
	if !is(patAny) {
		return 0
	}
	for _, x := range []struct {
		pattern int
		is      phonenumbers.PhoneNumberType
	}{
		{patPremium, phonenumbers.PREMIUM_RATE}, {patTollFree, phonenumbers.TOLL_FREE}, {patSharedCost, phonenumbers.SHARED_COST},
		{patVoIP, phonenumbers.VOIP}, {patPersonal, phonenumbers.PERSONAL_NUMBER}, {patPager, phonenumbers.PAGER},
		{patUAN, phonenumbers.UAN}, {patVoicemail, phonenumbers.VOICEMAIL},
	} {
		if is(x.pattern) {
			return classOf(x.is)
		}
	}
	same := m.GetSameMobileAndFixedLinePattern()
	switch fixed, mobile := is(patFixedLine), is(patMobile); {
	case fixed && (same || mobile):
		return classOf(phonenumbers.FIXED_LINE_OR_MOBILE)
	case fixed:
		return classOf(phonenumbers.FIXED_LINE)
	case mobile && !same:
		return classOf(phonenumbers.MOBILE)
	}
	return 0
}
