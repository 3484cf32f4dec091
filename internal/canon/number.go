package canon

import (
	"bytes"
	"math"
	"strconv"
)

const (
	// exactDigits is how many decimal digits a double always gives back. Two
	// numbers of at most so many digits are never the same double, so such a
	// number is itself the shortest that reads as its double, which is the one
	// ECMAScript prints.
	exactDigits = 15

	// maxSafeInteger is Number.MAX_SAFE_INTEGER, 2^53-1: up to it, no two
	// integers are the same double.
	maxSafeInteger = "9007199254740991"

	// plainDigits is where ECMAScript turns from plain to exponential notation:
	// 1e20 is written with all its zeros, 1e21 as 1e+21.
	plainDigits = 21
)

// number reads a number and prints the double that it is in JavaScript.
func (p *printer) number() *Error {
	n, err := p.scan()
	if err != nil {
		return err
	}
	if len(n.fraction) > 0 || n.exponent != 0 || len(n.integer) > exactDigits {
		return p.double(&n)
	}
	if n.negative && n.integer[0] != '0' { // -0 is printed as 0
		p.dst = append(p.dst, '-')
	}
	p.dst = append(p.dst, n.integer...)
	return nil
}

// double prints any number; the short integers above only come out faster.
func (p *printer) double(n *spelling) *Error {
	var buf [64]byte // no digits of a double are more; a longer spelling costs an allocation
	d := n.decimal(buf[:0])
	// Inside these bounds all doubles are normal and have their full precision;
	// outside, fewer than exactDigits may be exact.
	if len(d.digits) > exactDigits || d.point < -300 || d.point > 300 {
		d = d.shortest()
	}
	if d.point > maxPoint {
		return fail(NumberRange, n.offset, "number %s is beyond the largest double, and JavaScript makes it null; send it as a string", short(p.src[n.offset:p.pos]))
	}
	if d.unsafe() {
		return fail(UnsafeInteger, n.offset, "number %s is an integer beyond ±%s, the range in which JavaScript holds every integer exactly; send it as a string", short(p.src[n.offset:p.pos]), maxSafeInteger)
	}
	if n.negative && len(d.digits) > 0 {
		p.dst = append(p.dst, '-')
	}
	p.dst = d.append(p.dst)
	return nil
}

// A spelling is a number as the text has it: integer, fraction and exponent.
type spelling struct {
	offset            int
	negative          bool
	integer, fraction []byte // digits
	exponent          int
}

// scan reads a number by the grammar of RFC 8259, which is stricter than
// strconv's, and moves pos behind it.
func (p *printer) scan() (n spelling, err *Error) {
	n.offset = p.pos
	if p.src[p.pos] == '-' {
		n.negative = true
		p.pos++
	}
	n.integer = p.run()
	if len(n.integer) == 0 {
		return n, p.badNumber(n.offset, "a digit must follow the minus sign")
	}
	if n.integer[0] == '0' && len(n.integer) > 1 {
		return n, p.badNumber(n.offset, "write it without leading zeros")
	}
	if p.at('.') {
		p.pos++
		if n.fraction = p.run(); len(n.fraction) == 0 {
			return n, p.badNumber(n.offset, "a digit must follow the decimal point")
		}
	}
	if p.at('e') || p.at('E') {
		p.pos++
		negative := p.at('-')
		if negative || p.at('+') {
			p.pos++
		}
		digits := p.run()
		if len(digits) == 0 {
			return n, p.badNumber(n.offset, "its exponent needs a digit")
		}
		for _, c := range digits {
			// A fraction of so many zeros that a larger exponent would matter
			// does not fit into memory.
			if n.exponent < math.MaxInt/20 {
				n.exponent = n.exponent*10 + int(c-'0')
			}
		}
		if negative {
			n.exponent = -n.exponent
		}
	}
	if p.glued() {
		return n, p.unexpected(aValue)
	}
	return n, nil
}

func (p *printer) at(c byte) bool { return p.pos < len(p.src) && p.src[p.pos] == c }

// run takes digits as far as they go.
func (p *printer) run() []byte {
	start := p.pos
	for p.pos < len(p.src) && p.src[p.pos]-'0' <= 9 {
		p.pos++
	}
	return p.src[start:p.pos]
}

func (p *printer) badNumber(start int, advice string) *Error {
	if last := p.src[p.pos-1]; p.pos == len(p.src) && (last < '0' || last > '9') {
		return fail(Syntax, p.pos, "the text ends inside the number %s; send it whole", quote(p.src[start:]))
	}
	return fail(Syntax, start, "%s is not a JSON number; %s", quote(token(p.src[start:])), advice)
}

// A decimal is a magnitude: 0.digits × 10^point, where digits neither begin nor
// end with a zero. No digits are zero.
type decimal struct {
	digits []byte
	point  int
}

// maxPoint is the point of the largest double, 1.7976931348623157e308, and
// minPoint that of half the smallest, 5e-324, below which all is zero.
const (
	maxPoint = 309
	minPoint = -323
)

// decimal returns what n spells, with its digits in buf.
func (n *spelling) decimal(buf []byte) decimal {
	integer, fraction := n.integer, n.fraction
	point := n.exponent + len(integer)
	if integer[0] == '0' {
		integer, fraction = nil, bytes.TrimLeft(fraction, "0")
		point = n.exponent - (len(n.fraction) - len(fraction))
	}
	digits := append(append(buf, integer...), fraction...)
	digits = bytes.TrimRight(digits, "0")
	if len(digits) == 0 {
		return decimal{}
	}
	return decimal{digits, point}
}

// shortest returns the shortest decimal that reads as the double nearest to d; if
// that is infinite, one with a point beyond maxPoint.
//
// The spelling handed to strconv avoids two of its limits. It stops counting an
// exponent at ten thousand, so that 0.00…001e20000 with 19,999 zeros would be 0
// and not 1; and it forgets how long an integer is after 800 digits, so that all
// digits stand behind the point.
func (d decimal) shortest() decimal {
	switch {
	case d.point > maxPoint:
		return d
	case d.point < minPoint:
		return decimal{}
	}
	var buf [64]byte
	text := append(buf[:0], "0."...)
	text = append(text, d.digits...)
	text = append(text, 'e')
	text = strconv.AppendInt(text, int64(d.point), 10)
	f, err := strconv.ParseFloat(string(text), 64)
	switch {
	case err != nil: // out of range, for scan has checked the grammar
		return decimal{point: maxPoint + 1}
	case f == 0:
		return decimal{}
	}
	digits := strconv.AppendFloat(d.digits[:0], f, 'e', -1, 64) // d.ddde±dd or de±dd
	e := bytes.IndexByte(digits, 'e')
	exponent, _ := strconv.Atoi(string(digits[e+1:]))
	if e > 1 {
		digits = append(digits[:1], digits[2:e]...) // closes the gap where the point was
		e--
	}
	return decimal{digits[:e], exponent + 1}
}

// unsafe reports whether d is printed as an integer beyond maxSafeInteger.
//
// It asks for what is printed, not for what the text has, so that a number is
// treated alike however it is spelled (1e20 and 100000000000000000000), and so
// that what has been accepted once is accepted again: 9007199254740992.5 would
// come out as an integer that is then refused. From 1e21 on, exponential
// notation says that the number is not meant to the last digit.
func (d decimal) unsafe() bool {
	const most = len(maxSafeInteger)
	if d.point < len(d.digits) || d.point < most || d.point > plainDigits {
		return false
	}
	// Of equal length, digits compare as numbers; zeros missing at the end make
	// d smaller, as they should.
	return d.point > most || string(d.digits) > maxSafeInteger
}

// append writes d as ECMAScript's Number::toString lays digits out.
func (d decimal) append(dst []byte) []byte {
	digits, point := d.digits, d.point
	switch {
	case len(digits) == 0:
		return append(dst, '0')
	case 0 < point && point <= plainDigits:
		if len(digits) <= point {
			dst = append(dst, digits...)
			return append(dst, zeros[:point-len(digits)]...)
		}
		dst = append(dst, digits[:point]...)
		dst = append(dst, '.')
		return append(dst, digits[point:]...)
	case -6 < point && point <= 0:
		dst = append(dst, "0."...)
		dst = append(dst, zeros[:-point]...)
		return append(dst, digits...)
	}
	dst = append(dst, digits[0])
	if len(digits) > 1 {
		dst = append(dst, '.')
		dst = append(dst, digits[1:]...)
	}
	dst = append(dst, 'e')
	if point > 0 {
		dst = append(dst, '+')
	}
	return strconv.AppendInt(dst, int64(point-1), 10)
}

const zeros = "000000000000000000000"
