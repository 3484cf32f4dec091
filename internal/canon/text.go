package canon

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// text reads a string, keys included. Stretches without escapes are copied as
// they are, so most strings are one copy.
func (p *printer) text() *Error {
	src, i := p.src, p.pos+1
	p.dst = append(p.dst, '"')
	for {
		n, ascii := plain(src[i:])
		run := src[i : i+n]
		if !ascii && !utf8.Valid(run) {
			return p.invalidUTF8(i + validPrefix(run))
		}
		p.dst = append(p.dst, run...)
		i += n
		if i == len(src) {
			return p.unclosed()
		}
		switch c := src[i]; c {
		case '"':
			p.dst = append(p.dst, '"')
			p.pos = i + 1
			return nil
		case '\\':
			r, size := unescape(src[i:])
			if size == 0 {
				return p.badEscape(i)
			}
			p.dst = appendRune(p.dst, r)
			i += size
		default:
			return fail(Syntax, i, "control character %U stands in a string as it is; write %s", c, appendRune(nil, rune(c)))
		}
	}
}

func (p *printer) unclosed() *Error {
	return fail(Syntax, len(p.src), "the text ends inside the string that begins at byte %d; close it with a quotation mark", p.pos)
}

func (p *printer) badEscape(offset int) *Error {
	rest := p.src[offset:]
	piece := token(rest)
	if len(piece) == len(rest) && len(piece) < len(`\u0000`) {
		return p.unclosed()
	}
	advice := `JSON has \" \\ \/ \b \f \n \r \t and \u with four hexadecimal digits`
	if len(piece) > 1 && piece[1] == 'u' {
		piece = piece[:min(len(piece), len(`\u0000`))]
		advice = `\u takes four hexadecimal digits`
	} else if len(piece) > 1 {
		_, size := utf8.DecodeRune(piece[1:])
		piece = piece[:1+size]
	}
	return fail(Syntax, offset, "%s is no escape sequence; %s", quote(piece), advice)
}

// plain returns how many bytes of s come before the first quotation mark,
// backslash or control character, and whether they are surely ASCII; when not,
// they may be anything.
//
// It looks at eight bytes at once. In each of the three terms the top bit of a
// byte is set if the byte is below a space, a quotation mark or a backslash. A
// borrow can set it wrongly too, but only above a byte that has it rightly, so
// the lowest one set is always true.
func plain(s []byte) (n int, ascii bool) {
	const (
		ones = 0x0101010101010101
		tops = 0x8080808080808080
	)
	var seen uint64
	for ; n+8 <= len(s); n += 8 {
		w := binary.LittleEndian.Uint64(s[n:])
		seen |= w
		quote, slash := w^ones*'"', w^ones*'\\'
		stop := ((w-ones*' ')&^w | (quote-ones)&^quote | (slash-ones)&^slash) & tops
		if stop != 0 {
			return n + bits.TrailingZeros64(stop)/8, seen&tops == 0
		}
	}
	for ; n < len(s); n++ {
		c := s[n]
		if c < ' ' || c == '"' || c == '\\' {
			break
		}
		seen |= uint64(c)
	}
	return n, seen&tops == 0
}

// validPrefix returns the offset of the first byte of s that is not UTF-8. An
// encoded surrogate is not: Go and JavaScript agree in refusing it.
func validPrefix(s []byte) int {
	n := 0
	for n < len(s) {
		r, size := utf8.DecodeRune(s[n:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		n += size
	}
	return n
}

// unescape reads the escape sequence at the start of s, which begins with a
// backslash. Two that are a surrogate pair are read as the one character they
// mean, a surrogate without its other half as itself. The size is 0 if s begins
// with no escape sequence that JSON has.
func unescape(s []byte) (r rune, size int) {
	if len(s) < 2 {
		return 0, 0
	}
	switch s[1] {
	case '"', '\\', '/':
		return rune(s[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		r, ok := unit(s)
		if !ok {
			return 0, 0
		}
		if utf16.IsSurrogate(r) {
			low, _ := unit(s[6:])
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return pair, 12
			}
		}
		return r, 6
	}
	return 0, 0
}

// unit reads \u and four hexadecimal digits.
func unit(s []byte) (r rune, ok bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	for _, c := range s[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// appendRune appends r as JSON.stringify writes it inside a string. It escapes
// only what would end the string, what JSON forbids in it, and surrogates, which
// UTF-8 has no bytes for.
func appendRune(dst []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	switch {
	case r == '"', r == '\\':
		return append(dst, '\\', byte(r))
	case r == '\b':
		return append(dst, `\b`...)
	case r == '\t':
		return append(dst, `\t`...)
	case r == '\n':
		return append(dst, `\n`...)
	case r == '\f':
		return append(dst, `\f`...)
	case r == '\r':
		return append(dst, `\r`...)
	case r < ' ', utf16.IsSurrogate(r):
		return append(dst, '\\', 'u', hex[r>>12], hex[r>>8&15], hex[r>>4&15], hex[r&15])
	}
	return utf8.AppendRune(dst, r)
}
