package number

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/nyaruka/phonenumbers"
)

// Every number that a compiled plan accepts, the library accepts as one of the same sort. Numbers
// are made from the states of each plan; each time from another third of them.
func TestPlansAreTheLibrarys(t *testing.T) {
	rnd := rand.New(rand.NewPCG(rand.Uint64(), 0))
	checked := 0
	for code, compiled := range plans() {
		if compiled == nil {
			continue
		}
		p := compiled()
		ends := p.reachable()
		for at, digits := range p.ways() {
			if !ends[at] || rnd.IntN(3) > 0 {
				continue
			}
			number := "+" + strconv.Itoa(code) + digits + p.finish(rnd, uint16(at), ends)
			if got, want := lookup(number), ask(number); got == 0 || got != want {
				t.Errorf("%s is %d by the plan and %d by the library", number, got, want)
			}
			checked++
		}
	}
	if checked < 1000 {
		t.Errorf("only %d numbers were looked at", checked)
	}
}

// ways returns digits that lead to each state.
func (p *plan) ways() []string {
	ways := make([]string, len(p.next))
	for at := range p.next {
		for digit, to := range p.next[at] {
			if to != nowhere && ways[to] == "" {
				ways[to] = ways[at] + strconv.Itoa(digit)
			}
		}
	}
	return ways
}

// reachable says from which states a number can be ended. A state is numbered before those that
// follow it.
func (p *plan) reachable() []bool {
	can := make([]bool, len(p.next))
	for at, next := range slices.Backward(p.next) {
		can[at] = p.ending[at] != 0 || slices.ContainsFunc(next[:], func(to uint16) bool { return to != nowhere && can[to] })
	}
	return can
}

// finish returns digits that make a number of what led to a state.
func (p *plan) finish(rnd *rand.Rand, at uint16, can []bool) (digits string) {
	for p.ending[at] == 0 {
		for _, digit := range rnd.Perm(10) {
			if to := p.next[at][digit]; to != nowhere && can[to] {
				at, digits = to, digits+strconv.Itoa(digit)
				break
			}
		}
	}
	return digits
}

// A plan is never wrong about a number, and nearly always knows one that the library accepts:
// asking that would make an import take all day.
func TestPlansKnowNearlyAll(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	valid, unknown := 0, 0
	for _, region := range slices.Sorted(maps.Keys(phonenumbers.GetSupportedRegions())) {
		for sort := range phonenumbers.UNKNOWN {
			example := phonenumbers.GetExampleNumberForType(region, sort)
			if example == nil {
				continue
			}
			number := []byte(phonenumbers.Format(example, phonenumbers.E164))
			for range 4 {
				got, want := lookup(string(number)), ask(string(number))
				if got != 0 && got != want {
					t.Errorf("%s is %d by the plan and %d by the library", number, got, want)
				}
				if want != 0 {
					valid++
				}
				if got != want {
					unknown++
				}
				number[2+rnd.IntN(len(number)-2)] = byte('0' + rnd.IntN(10))
			}
		}
	}
	if valid < 1000 || unknown*100 > valid {
		t.Errorf("of %d numbers, plans do not know %d", valid, unknown)
	}
}

// What plans do that the library's data of today need only here or there.
func TestMadeUpPlans(t *testing.T) {
	type region struct {
		leading, general, fixed, mobile, prefix, rule string
		lengths                                       []int32
	}
	const fixed, mobile = class(phonenumbers.FIXED_LINE) + 1, class(phonenumbers.MOBILE) + 1
	for _, c := range []struct {
		name    string
		regions []region
		want    map[string]class
	}{
		{"lengths that the pattern leaves open", []region{{general: `\d+`, fixed: `\d*`, lengths: []int32{3, 5}}},
			map[string]class{"12": 0, "123": fixed, "1234": 0, "12345": fixed, "123456": 0}},
		{"a prefix that may be the number's own", []region{{general: `\d{5,6}`, fixed: `\d{5,6}`, prefix: `0`}},
			map[string]class{"12345": fixed, "01234": fixed, "012345": 0, "102345": fixed}},
		{"a prefix with a rule", []region{{general: `\d{5,6}`, fixed: `\d{5,6}`, prefix: `0`, rule: `9$1`}},
			map[string]class{"12345": fixed, "01234": 0, "012345": 0, "102345": fixed}},
		{"a prefix with a rule, behind which is no number", []region{{general: `[01]23`, fixed: `[01]23`, prefix: `0`, rule: `9$1`}},
			map[string]class{"123": fixed, "023": 0}},
		{"a prefix that is all of the number", []region{{general: `\d{3}`, fixed: `\d{3}`, prefix: `(\d{3})$|1`, rule: `9$1`}},
			map[string]class{"234": 0}},
		{"a prefix that may be nothing", []region{{general: `\d{3}`, fixed: `\d{3}`, prefix: `0?(?:1(2))?`, rule: `9$1`}},
			map[string]class{"345": fixed, "045": 0, "125": 0, "145": fixed}},
		{"a number of another region, with the main one's prefix", []region{{general: `[1-9]\d{3}`, fixed: `[1-9]\d{3}`, prefix: `8`}, {general: `8\d{2}`, fixed: `8\d{2}`}},
			map[string]class{"1234": fixed, "8123": fixed, "812": 0}},
		{"leading digits decide, right or wrong", []region{{leading: `7`, general: `\d{3}`, fixed: `7[0-4]\d|69\d`}, {general: `\d{3}`, mobile: `\d{3}`}},
			map[string]class{"700": fixed, "790": 0, "690": mobile}},
		{"the first region that has it", []region{{general: `\d{3}`, fixed: `6\d\d`}, {general: `\d{3}`, mobile: `\d{3}`}},
			map[string]class{"600": fixed, "700": mobile}},
	} {
		var regions []*phonenumbers.PhoneMetadata
		for _, r := range c.regions {
			regions = append(regions, &phonenumbers.PhoneMetadata{
				LeadingDigits: &r.leading, NationalPrefixForParsing: &r.prefix, NationalPrefixTransformRule: &r.rule,
				GeneralDesc: &phonenumbers.PhoneNumberDesc{NationalNumberPattern: &r.general, PossibleLength: r.lengths},
				FixedLine:   &phonenumbers.PhoneNumberDesc{NationalNumberPattern: &r.fixed},
				Mobile:      &phonenumbers.PhoneNumberDesc{NationalNumberPattern: &r.mobile},
			})
		}
		p := compile(regions)
		for digits, want := range c.want {
			if got := p.class(digits); got != want {
				t.Errorf("%s: %s is of class %d, want %d", c.name, digits, got, want)
			}
		}
	}
}

// A pattern that cannot be compiled here, in a later version of the library, makes everything
// slow and nothing wrong.
func TestPatternsNobodyKnows(t *testing.T) {
	for _, pattern := range []string{`\b\d+`, `(?=1)\d+`, `(`} {
		m := &phonenumbers.PhoneMetadata{GeneralDesc: &phonenumbers.PhoneNumberDesc{NationalNumberPattern: &pattern}}
		m.FixedLine = m.GeneralDesc
		if c := compile([]*phonenumbers.PhoneMetadata{m}).class("123"); c != 0 {
			t.Errorf("%s makes 123 a number of class %d", pattern, c)
		}
		known := `\d{3}`
		m.GeneralDesc.NationalNumberPattern = &known
		if c := compile([]*phonenumbers.PhoneMetadata{m}).class("123"); c != classOf(phonenumbers.FIXED_LINE) {
			t.Errorf("%s makes 123 a number of class %d", known, c)
		}
	}
}

func FuzzPhoneNumber(f *testing.F) {
	for _, s := range []string{"", "+", "+1", "+14155550142", "+1 (415) 555-0142", "14155550142", "+442079460127", "+4402079460127", "+39061234567", "+5491123456789",
		"+78123456789", "+80012345678", "+999123", "+0123", "1.41556E+10", "+1415555014a", "+1415555014²", "+14155550142;ext=1", "tel:+14155550142;phone-context=+1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, why := classify(s), phoneFault(s)
		if (c == 0) == (why == "") {
			t.Fatalf("%q is of class %d, and its fault is %q", s, c, why)
		}
		if shaped(s) && c != ask(s) {
			t.Fatalf("%q is of class %d, by the library of %d", s, c, ask(s))
		}
	})
}
