package canon_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/switchhook/switchhook/internal/canon"
	"pgregory.net/rapid"
)

// A maker makes JSON values and spells them. Every choice is a call of pick,
// which returns a number below n: from rapid, which can shrink what fails, or
// from a seeded source, which is fast and the same on every run.
type maker struct{ pick func(n int) int }

func fromRapid(t *rapid.T) maker {
	return maker{func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") }}
}

func fromSeed(seed uint64) maker {
	return maker{rand.New(rand.NewPCG(seed, 0)).IntN}
}

// Values are what JavaScript has after JSON.parse: nil, bool, float64, text,
// []any and []field. Each has one canonical form and many spellings.
type (
	text  []uint16 // UTF-16, because JavaScript's strings can hold half a surrogate pair
	field struct {
		key   text
		value any
	}
)

func one[E any](m maker, of ...E) E { return of[m.pick(len(of))] }

func (m maker) value(depth int) any {
	kinds := 8
	if depth == 0 {
		kinds = 6
	}
	switch m.pick(kinds) {
	case 0:
		return one[any](m, nil, true, false)
	case 1, 2, 3:
		return m.number()
	case 4, 5:
		return m.text()
	case 6:
		a := make([]any, m.size())
		for i := range a {
			a[i] = m.value(depth - 1)
		}
		return a
	default:
		return m.object(depth)
	}
}

func (m maker) object(depth int) []field {
	o := []field{}
	for range m.size() {
		key := m.key()
		if !slices.ContainsFunc(o, func(f field) bool { return slices.Equal(f.key, key) }) {
			o = append(o, field{key, m.value(depth - 1)})
		}
	}
	return o
}

// size is mostly small, and sometimes beyond where Append turns to hashing.
func (m maker) size() int {
	if m.pick(20) == 19 {
		return 15 + m.pick(30)
	}
	return m.pick(6)
}

func (m maker) key() text {
	switch m.pick(4) {
	case 0:
		return utf16.Encode([]rune(strconv.Itoa(m.pick(40))))
	case 1:
		return utf16.Encode([]rune(one(m, "", "__proto__", "constructor", "length", "toJSON", "event", "00", "01", "-0", "-1", "1.5", "1e3", "é",
			"4294967293", "4294967294", "4294967295", "4294967296", "9007199254740991", "9007199254740992", "18446744073709551616")))
	default:
		return m.text()
	}
}

func (m maker) text() text {
	s := make(text, 0, 12)
	for range m.pick(12) {
		switch m.pick(8) {
		case 0:
			s = append(s, one[uint16](m, '"', '\\', '/', '\b', '\f', '\n', '\r', '\t', 0, 0x1f, 0x7f, '<', '>', '&', '\''))
		case 1:
			s = append(s, uint16(0xd800+m.pick(0x800))) // half a pair, unless it meets its other half
		case 2:
			s = append(s, one[uint16](m, 0x80, 0xe9, 0x7ff, 0x800, 0x2028, 0x2029, 0xd7ff, 0xe000, 0xfeff, 0xfffd, 0xfffe, 0xffff))
		case 3:
			s = utf16.AppendRune(s, one(m, '😀', '🇨', '𝄞', 0x10000, 0x10ffff))
		case 4:
			s = append(s, uint16(m.pick(0x1_0000)))
		default:
			s = append(s, uint16(' '+m.pick('~'-' ')))
		}
	}
	return s
}

// number returns one that Append accepts.
func (m maker) number() float64 {
	var f float64
	switch m.pick(7) {
	case 0:
		f = float64(m.pick(1000))
	case 1:
		f = float64(m.pick(1_000_000)) / one[float64](m, 10, 100, 1000, 1e6, 1e9, 1e12)
	case 2:
		f = float64(int64(m.pick(1<<27))<<26 | int64(m.pick(1<<26))) // every safe integer
	case 3:
		f = math.Pow(10, float64(m.pick(640)-325))
	case 4:
		f = math.Ldexp(1, m.pick(2098)-1074)
	case 5:
		f = math.Float64frombits(uint64(m.pick(1 << 52))) // subnormal
	default:
		f = math.Float64frombits(uint64(m.pick(1<<32))<<32 | uint64(m.pick(1<<32)))
	}
	for range m.pick(3) {
		f = math.Nextafter(f, one(m, math.Inf(1), math.Inf(-1)))
	}
	if m.pick(3) == 0 {
		f = -f
	}
	if a := math.Abs(f); math.IsNaN(f) || math.IsInf(f, 0) || a > 1<<53-1 && a < 1e21 {
		return 0
	}
	return f
}

// spell writes v in a random style: white space, escapes, notation of numbers.
func (m maker) spell(v any) []byte {
	var b bytes.Buffer
	m.spellTo(&b, v)
	return b.Bytes()
}

func (m maker) spellTo(b *bytes.Buffer, v any) {
	m.space(b)
	switch v := v.(type) {
	case float64:
		b.WriteString(m.spellNumber(v))
	case text:
		m.spellText(b, v)
	case []any:
		b.WriteByte('[')
		m.space(b)
		for i, e := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			m.spellTo(b, e)
		}
		b.WriteByte(']')
	case []field:
		b.WriteByte('{')
		m.space(b)
		for i, f := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			m.spellTo(b, f.key)
			b.WriteByte(':')
			m.spellTo(b, f.value)
		}
		b.WriteByte('}')
	default:
		json.NewEncoder(b).Encode(v) // null, true, false; its newline is white space
	}
	m.space(b)
}

func (m maker) space(b *bytes.Buffer) {
	b.WriteString(one(m, "", "", "", "", " ", "\n", "\r\n\t", "  "))
}

var shortEscapes = map[rune]string{
	'"': `\"`, '\\': `\\`, '/': `\/`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`,
}

func (m maker) spellText(b *bytes.Buffer, s text) {
	b.WriteByte('"')
	var size int
	for ; len(s) > 0; s = s[size:] {
		r, must := rune(s[0]), false
		size = 1
		if utf16.IsSurrogate(r) {
			must = true
			if len(s) > 1 && utf16.DecodeRune(r, rune(s[1])) != '\ufffd' {
				r, size, must = utf16.DecodeRune(r, rune(s[1])), 2, false
			}
		}
		must = must || r < ' ' || r == '"' || r == '\\'
		switch short := shortEscapes[r]; {
		case !must && m.pick(4) > 0:
			b.WriteRune(r)
		case short != "" && m.pick(2) == 0:
			b.WriteString(short)
		default:
			for _, u := range s[:size] {
				m.spellUnit(b, u)
			}
		}
	}
	b.WriteByte('"')
}

func (m maker) spellUnit(b *bytes.Buffer, u uint16) {
	b.WriteString(`\u`)
	for shift := 12; shift >= 0; shift -= 4 {
		b.WriteByte(one(m, "0123456789abcdef", "0123456789ABCDEF")[u>>shift&15])
	}
}

// spellNumber writes digits that a double rounds to f, with the point anywhere
// and an exponent that makes up for it.
func (m maker) spellNumber(f float64) string {
	if f == 0 {
		return one(m, "0", "-0", "0.0", "-0.00", "0e0", "0E+5", "-0.0e-999")
	}
	s := strconv.FormatFloat(math.Abs(f), 'e', one(m, -1, -1, 16, 17, 25), 64)
	if m.pick(20) == 0 {
		s = m.nearlyHalfway(math.Abs(f))
	}
	mantissa, exponent, _ := strings.Cut(s, "e")
	exp, _ := strconv.Atoi(exponent)
	digits := strings.Replace(mantissa, ".", "", 1) + "000"[:m.pick(4)]
	point := one(m, 1, exp+1, m.pick(len(digits)+6)-3)
	s = withPoint(digits, point)
	if math.Signbit(f) {
		s = "-" + s
	}
	if exp -= point - 1; exp != 0 || m.pick(4) == 0 {
		s += one(m, "e", "E") + one(m, "%d", "%+d", "%03d", "%+04d")
		s = fmt.Sprintf(s, exp)
	}
	return s
}

// withPoint puts the decimal point after so many digits, which may be less than
// none or more than all.
func withPoint(digits string, point int) string {
	digits = strings.Repeat("0", max(0, 1-point)) + digits
	point = max(1, point)
	digits += strings.Repeat("0", max(0, point-len(digits)))
	if point == len(digits) {
		return digits
	}
	return digits[:point] + "." + digits[point:]
}

// nearlyHalfway writes the middle between f and the double above it in all its
// digits when f is even, for then it rounds to f, or else what is just below.
func (m maker) nearlyHalfway(f float64) string {
	next := math.Nextafter(f, math.Inf(1))
	if math.IsInf(next, 0) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	middle := new(big.Float).SetPrec(60).Add(big.NewFloat(f), big.NewFloat(next))
	middle.Quo(middle, big.NewFloat(2))
	s := middle.Text('e', 800)
	if math.Float64bits(f)&1 == 1 {
		mantissa, exponent, _ := strings.Cut(s, "e")
		mantissa = strings.TrimRight(mantissa, "0")
		last := len(mantissa) - 1
		s = mantissa[:last] + string(mantissa[last]-1) + strings.Repeat("9", 1+m.pick(900)) + "e" + exponent
	}
	return s
}

func mustAppend(t rapid.TB, src []byte) []byte {
	t.Helper()
	got, err := canon.Append(nil, src)
	if err != nil {
		t.Fatalf("%s\n%v", src, err)
	}
	return got
}

// decode returns what encoding/json reads, with numbers as the doubles they are
// nearest to.
func decode(t rapid.TB, src []byte) any {
	t.Helper()
	var v any
	d := json.NewDecoder(bytes.NewReader(src))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s\n%v", src, err)
	}
	return doubles(v)
}

// strconvDigits is how long a number may be for strconv to read it rightly. Of
// an integer with more than 800 digits it forgets how many there are.
const strconvDigits = 800

func doubles(v any) any {
	switch v := v.(type) {
	case json.Number:
		if len(v) <= strconvDigits {
			f, _ := v.Float64()
			return f
		}
		exact, _, _ := big.ParseFloat(string(v), 10, 8000, big.ToNearestEven)
		f, _ := exact.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = doubles(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = doubles(v[k])
		}
	}
	return v
}

func TestCanonicalTextIsItsOwnCanonicalForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := fromRapid(t)
		once := mustAppend(t, m.spell(m.value(4)))
		if twice := mustAppend(t, once); !bytes.Equal(once, twice) {
			t.Fatalf("once  %s\ntwice %s", once, twice)
		}
	})
}

func TestSpellingMakesNoDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := fromRapid(t)
		v := m.value(4)
		a, b := m.spell(v), m.spell(v)
		if one, other := mustAppend(t, a), mustAppend(t, b); !bytes.Equal(one, other) {
			t.Fatalf("%s\n%s\n%s\n%s", a, one, b, other)
		}
	})
}

func TestCanonicalTextMeansTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := fromRapid(t)
		src := m.spell(m.value(4))
		got := mustAppend(t, src)
		if !reflect.DeepEqual(decode(t, src), decode(t, got)) {
			t.Fatalf("%s\n%s", src, got)
		}
		if compact := new(bytes.Buffer); json.Compact(compact, got) != nil || compact.Len() != len(got) {
			t.Fatalf("not compact: %s", got)
		}
	})
}

// A key given twice is found wherever it is and however it is spelled.
func TestDuplicateKeysAreFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := fromRapid(t)
		o := append(m.object(2), field{m.key(), nil})
		o = slices.Insert(o, m.pick(len(o)), field{o[len(o)-1].key, true})
		src := m.spell([]any{nil, []field{{text{'x'}, o}}})
		_, err := canon.Append(nil, src)
		e, ok := errors.AsType[*canon.Error](err)
		if !ok || e.Reason != canon.DuplicateKey || !strings.HasPrefix(e.Pointer, "/1/x/") || src[e.Offset] != '"' {
			t.Fatalf("%s\n%v", src, err)
		}
	})
}

// Members, Get and Text find what encoding/json finds.
func TestMembersAndGetAgreeWithEncodingJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := fromRapid(t)
		doc := mustAppend(t, m.spell(m.object(3)))
		if strings.Contains(string(doc), `\ud`) {
			t.Skip("encoding/json makes different lone surrogates the same")
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(doc, &want); err != nil {
			t.Fatal(err)
		}
		n := 0
		for key, value := range canon.Members(doc) {
			n++
			name, ok := canon.Text(slices.Concat([]byte(`"`), key, []byte(`"`)))
			if !ok || string(want[name]) != string(value) {
				t.Fatalf("%s\n%q: %s, want %s", doc, name, value, want[name])
			}
			if got, ok := canon.Get(doc, name); !ok || &got[0] != &value[0] || len(got) != len(value) {
				t.Fatalf("%s\nGet(%q) = %s, %v", doc, name, got, ok)
			}
			var s string
			isText := json.Unmarshal(value, &s) == nil && value[0] == '"'
			if got, ok := canon.Text(value); ok != isText || got != s {
				t.Fatalf("Text(%s) = %q, %v", value, got, ok)
			}
			var inner map[string]json.RawMessage
			json.Unmarshal(value, &inner)
			for k, v := range inner {
				if got, ok := canon.Get(doc, name, k); !ok || string(got) != string(v) {
					t.Fatalf("%s\nGet(%q, %q) = %s, %v", doc, name, k, got, ok)
				}
			}
		}
		if n != len(want) {
			t.Fatalf("%s\nhas %d members, want %d", doc, n, len(want))
		}
	})
}
