package catalog

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// maxPattern bounds the states of a compiled regular expression. Matching takes
// states times characters in the worst case, and a few dozen characters of
// pattern can have millions of states.
const maxPattern = 2000

// pattern is a regular expression of a schema.
type pattern struct {
	*regexp.Regexp
	row row // the same for ASCII; nil if the expression is more than a row
}

// compilePattern compiles a regular expression of a schema. Those of package
// regexp match in linear time, which those of JavaScript, that JSON Schema asks
// for, do not; the two agree on all but lookarounds, backreferences and some
// rare escapes, which do not compile here.
func compilePattern(s string) (jsonschema.Regexp, error) {
	tree, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		if e, ok := errors.AsType[*syntax.Error](err); ok {
			err = fmt.Errorf("%s %q", e.Code, clip(e.Expr))
		}
		return nil, fmt.Errorf("the pattern %q cannot be used: %w", clip(s), err)
	}
	if states(tree) > maxPattern {
		return nil, fmt.Errorf("the pattern %q is too large", clip(s))
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return nil, err
	}
	return &pattern{re, newRow(tree)}, nil
}

// patternStates estimates how large a pattern is once it is compiled.
func patternStates(s string) int {
	tree, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		return 0
	}
	return states(tree)
}

// states estimates from above how many states an expression compiles to.
func states(re *syntax.Regexp) int {
	n := 1
	switch re.Op {
	case syntax.OpLiteral:
		n = len(re.Rune)
	case syntax.OpCharClass:
		n += len(re.Rune) / 16 // a class is one state, but takes time by its ranges
	case syntax.OpAlternate:
		n = len(re.Sub)
	case syntax.OpConcat, syntax.OpRepeat:
		n = 0
	}
	for _, sub := range re.Sub {
		n += states(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return min(n, 1<<20) // so that repeats of repeats do not overflow
}

// match reports whether a string matches; ascii says that it has only ASCII.
func (p *pattern) match(s []byte, ascii bool) bool {
	if ascii && p.row != nil {
		return p.row.match(s)
	}
	return p.Match(s)
}

// A row is an expression for whole strings of the simplest kind: one class of
// characters after another, each a number of times, as in ^\+[1-9][0-9]{1,14}$.
// Identifiers and numbers mostly have such patterns, and matching one by itself
// takes an eighth of the time of package regexp.
type row []run

// run is the part of a string that is of one class.
type run struct {
	class       [2]uint64 // of ASCII
	least, most int
}

func (r *run) has(c byte) bool { return c < 128 && r.class[c/64]&(1<<(c%64)) != 0 }

// match takes as many characters as it can for each run. That it never has to
// give one back is what newRow makes sure of.
func (r row) match(s []byte) bool {
	for i := range r {
		n := 0
		for n < len(s) && n < r[i].most && r[i].has(s[n]) {
			n++
		}
		if n < r[i].least {
			return false
		}
		s = s[n:]
	}
	return len(s) == 0
}

// newRow returns the row that an expression is, or nil.
func newRow(re *syntax.Regexp) row {
	if re.Op != syntax.OpConcat || len(re.Sub) < 3 ||
		re.Sub[0].Op != syntax.OpBeginText || re.Sub[len(re.Sub)-1].Op != syntax.OpEndText {
		return nil
	}
	var r row
	for _, sub := range re.Sub[1 : len(re.Sub)-1] {
		more := runs(sub)
		if more == nil {
			return nil
		}
		r = append(r, more...)
	}
	for i := range len(r) - 1 {
		next := r[i+1]
		overlap := r[i].class[0]&next.class[0] != 0 || r[i].class[1]&next.class[1] != 0
		if r[i].least != r[i].most && (overlap || next.least == 0) {
			return nil
		}
	}
	return r
}

// runs returns the runs that a part of an expression is, or nil.
func runs(re *syntax.Regexp) []run {
	one := run{least: 1, most: 1}
	add := func(low, high rune) {
		for c := low; c <= min(high, 127); c++ {
			one.class[c/64] |= 1 << (c % 64)
		}
	}
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			return nil
		}
		var list []run
		for _, c := range re.Rune {
			one.class = [2]uint64{}
			add(c, c)
			list = append(list, one)
		}
		return list
	case syntax.OpCharClass:
		for i := 0; i < len(re.Rune); i += 2 {
			add(re.Rune[i], re.Rune[i+1])
		}
		return []run{one}
	case syntax.OpAnyCharNotNL:
		add(0, '\n'-1)
		add('\n'+1, 127)
		return []run{one}
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		list := runs(re.Sub[0])
		if len(list) != 1 || list[0].least != 1 || list[0].most != 1 {
			return nil
		}
		list[0].least, list[0].most = repeats(re)
		return list
	}
	return nil
}

// repeats returns how often the part of a repetition may come.
func repeats(re *syntax.Regexp) (least, most int) {
	switch re.Op {
	case syntax.OpStar:
		return 0, unlimited
	case syntax.OpPlus:
		return 1, unlimited
	case syntax.OpQuest:
		return 0, 1
	}
	if re.Max < 0 {
		return re.Min, unlimited
	}
	return re.Min, re.Max
}
