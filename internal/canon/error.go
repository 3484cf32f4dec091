package canon

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Reason is the rule that a refused text breaks.
type Reason uint8

const (
	// Syntax: the text is not JSON as RFC 8259 defines it.
	Syntax Reason = iota
	// DuplicateKey: an object has a key twice, of which JavaScript keeps one.
	DuplicateKey
	// UnsafeInteger: an integer is beyond ±(2^53-1), where JavaScript merges
	// neighbours into one.
	UnsafeInteger
	// NumberRange: a number is beyond the largest double, and JavaScript prints
	// it as null.
	NumberRange
	// InvalidUTF8: a JavaScript decoder would replace bytes by U+FFFD.
	InvalidUTF8
	// TooDeep: there are more than [MaxDepth] arrays and objects inside one
	// another.
	TooDeep
)

// String names the rule in a few lower-case words.
func (r Reason) String() string {
	names := [...]string{"syntax", "duplicate key", "unsafe integer", "number range", "invalid UTF-8", "too deep"}
	if int(r) < len(names) {
		return names[r]
	}
	return "reason " + strconv.Itoa(int(r))
}

// Error says why a text has no canonical form, and where.
type Error struct {
	Reason Reason
	// Offset is where in the text the fault is seen, in bytes.
	Offset int
	// Pointer leads to the value concerned (RFC 6901); "" is the root. In a key,
	// a lone surrogate stands as U+FFFD, for a pointer cannot hold it.
	Pointer string
	// Message says what is wrong and what to do, without a full stop. What it
	// quotes of the text is short and printable.
	Message string
}

// Error returns the message followed by the place.
func (e *Error) Error() string {
	if e.Pointer == "" {
		return fmt.Sprintf("%s (byte %d)", e.Message, e.Offset)
	}
	return fmt.Sprintf("%s (byte %d, at %s)", e.Message, e.Offset, quote(e.Pointer))
}

// fail makes an error without its pointer, which the callers collect in path on
// the way back to [Append].
func fail(r Reason, offset int, format string, args ...any) *Error {
	return &Error{Reason: r, Offset: offset, Message: fmt.Sprintf(format, args...)}
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

func (p *printer) pointer() string {
	var b strings.Builder
	for _, token := range slices.Backward(p.path) {
		b.WriteByte('/')
		_, _ = pointerEscapes.WriteString(&b, token) // a builder takes everything
	}
	return b.String()
}

// unexpected reports what stands at pos although the grammar wants something
// else. Habits from JavaScript, Python and configuration files get the advice
// that fits them.
func (p *printer) unexpected(want string) *Error {
	rest := p.src[p.pos:]
	if len(rest) == 0 {
		return fail(Syntax, p.pos, "the text ends where %s belongs; send it whole", want)
	}
	if r, size := utf8.DecodeRune(rest); r == utf8.RuneError && size == 1 {
		return p.invalidUTF8(p.pos)
	}
	at := p.pos
	for at > 0 && wordy(p.src[at-1]) && wordy(rest[0]) {
		at-- // to the start of what it is glued to
	}
	before := bytes.TrimRight(p.src[:at], " \n\t\r")
	advice := "expected " + want
	switch c := p.src[at]; {
	case c == '\'':
		advice = "JSON strings take double quotation marks"
	case c == '/' || c == '#':
		advice = "JSON has no comments, remove it"
	case c == '+':
		advice = "JSON numbers take no plus sign"
	case c == '.':
		advice = "JSON numbers begin with a digit, write a zero before the point"
	case (c == ']' || c == '}') && bytes.HasSuffix(before, []byte(",")):
		advice = "remove the comma before it"
	case at < p.pos && (c == '-' || c <= '9'):
		advice = "JSON numbers are decimal digits with nothing between or after them"
	case at < p.pos || want == aValue && wordy(c):
		advice = "JSON text takes double quotation marks, and the only words without are true, false and null"
	}
	return fail(Syntax, at, "unexpected %s; %s", quote(token(p.src[at:])), advice)
}

const aValue = "a value"

// glued reports whether a number or word goes on where it should be over, as in
// 0x10 and nullable. The grammar would notice at the next byte anyhow; here the
// error still points to the value.
func (p *printer) glued() bool { return p.pos < len(p.src) && wordy(p.src[p.pos]) }

// wordy reports whether c may be within a word or number.
func wordy(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '.' || c == '+' || c == '-'
}

// invalidUTF8 reports the byte at offset, where UTF-8 goes wrong.
func (p *printer) invalidUTF8(offset int) *Error {
	return fail(InvalidUTF8, offset, "byte 0x%02x is not valid UTF-8 here, and JavaScript would replace it; send the text as UTF-8", p.src[offset])
}

// token cuts from s what a reader would call one thing: a word or number with
// what is glued to it, or else a single character.
func token(s []byte) []byte {
	for i, c := range s {
		if c <= ' ' || strings.IndexByte(`,:[]{}"`, c) >= 0 {
			if i > 0 {
				return s[:i]
			}
			_, size := utf8.DecodeRune(s)
			return s[:size]
		}
	}
	return s
}

// quote makes a piece of the text fit to stand in a message: at most 40 bytes of
// it, in quotes, with nothing unprintable. Where double quotes would fill it
// with backslashes it prefers backquotes, inside which nothing can be escaped.
func quote[T string | []byte](piece T) string {
	s := short(piece)
	unprintable := func(r rune) bool { return !strconv.IsPrint(r) }
	if strings.ContainsAny(s, `"\`) && strconv.CanBackquote(s) && !strings.ContainsFunc(s, unprintable) {
		return "`" + s + "`"
	}
	return strconv.Quote(s)
}

// short cuts a piece of the text to 40 bytes, between characters.
func short[T string | []byte](piece T) string {
	const most = 40
	if len(piece) <= most {
		return string(piece)
	}
	end := most
	for end > most-utf8.UTFMax && !utf8.RuneStart(piece[end]) {
		end--
	}
	return string(piece[:end]) + "…"
}
