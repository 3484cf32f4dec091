package canon_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/canon"
)

// vectors are texts with the canonical form that JavaScript gives them; where
// node is at hand, TestJavaScriptAgrees confirms that it does.
var vectors = []struct{ name, text, want string }{
	{"null", `null`, `null`},
	{"true", `true`, `true`},
	{"false", `false`, `false`},
	{"number alone", `7`, `7`},
	{"string alone", `"x"`, `"x"`},
	{"empty string", `""`, `""`},
	{"empty array", `[ ]`, `[]`},
	{"empty object", "{\n}", `{}`},
	{"all white space", " \t\r\n[ \t\r\n1 \t\r\n, \t\r\n{ \t\r\n\"a\" \t\r\n: \t\r\n2 \t\r\n} \t\r\n] \t\r\n", `[1,{"a":2}]`},
	{"nested", `[[],[[]],{"a":{"b":[{}]}}]`, `[[],[[]],{"a":{"b":[{}]}}]`},

	{"short escapes stay", `"\"\\\b\f\n\r\t"`, `"\"\\\b\f\n\r\t"`},
	{"slash loses its escape", `"\/a/"`, `"/a/"`},
	{"short escape written long", `"\u0008\u0009\u000a\u000C\u000d\u0022\u005C"`, `"\b\t\n\f\r\"\\"`},
	{"control characters", `"\u0000\u0001\u000B\u001F"`, `"\u0000\u0001\u000b\u001f"`},
	{"delete is no control character here", "\"\\u007f\x7f\"", "\"\x7f\x7f\""},
	{"escaped ASCII", `"\u0041\u007A"`, `"Az"`},
	{"HTML stays raw", `"<a href='x'>&amp;</a>\u003c\u0026"`, `"<a href='x'>&amp;</a><&"`},
	{"line separators stay raw", "\"\u2028\u2029\\u2028\\u2029\"", "\"\u2028\u2029\u2028\u2029\""},
	{"escaped Latin", `"Pl\u00FCsch"`, `"Plüsch"`},
	{"escaped non-characters", `"\ufffe\uFFFF\ufffd"`, "\"\ufffe\uffff\ufffd\""},
	{"byte order mark inside a string", "\"\ufeff\"", "\"\ufeff\""},
	{"surrogate pair", `"\ud83d\uDE00"`, `"😀"`},
	{"first and last surrogate pair", `"\ud800\udc00\udbff\udfff"`, "\"\U00010000\U0010ffff\""},
	{"lone high surrogate", `"\uD83D"`, `"\ud83d"`},
	{"lone low surrogate", `"\uDE00x"`, `"\ude00x"`},
	{"surrogates the wrong way round", `"\ude00\ud83d"`, `"\ude00\ud83d"`},
	{"high surrogate before a pair", `"\ud83d\ud83d\ude00"`, `"\ud83d😀"`},
	{"high surrogate before another escape", `"\ud83d\n\ud83d\u0041"`, `"\ud83d\n\ud83dA"`},
	{"high surrogate before raw text", `"\ud83d😀"`, `"\ud83d😀"`},
	{"raw text of every length", `["é","日","😀"]`, `["é","日","😀"]`},
	{"special bytes at every place of a word", `["\n","1\n","12\n","123\n","1234\n","12345\n","123456\n","1234567\n","12345678\n","123456789\n"]`,
		`["\n","1\n","12\n","123\n","1234\n","12345\n","123456\n","1234567\n","12345678\n","123456789\n"]`},

	{"keys stay as given", `{"b":1,"a":2,"":3}`, `{"b":1,"a":2,"":3}`},
	{"array indexes first, ascending", `{"b":1,"10":2,"a":3,"9":4,"0":5}`, `{"0":5,"9":4,"10":2,"b":1,"a":3}`},
	{"array indexes in order", `{"1":1,"2":2,"a":3}`, `{"1":1,"2":2,"a":3}`},
	{"the highest array index", `{"a":1,"4294967295":2,"4294967294":3,"4294967293":4}`, `{"4294967293":4,"4294967294":3,"a":1,"4294967295":2}`},
	{"integers beyond it are names", `{"4294967296":1,"4294967295":2,"9007199254740991":3,"18446744073709551616":4,"99999999999":5,"7":6}`,
		`{"7":6,"4294967296":1,"4294967295":2,"9007199254740991":3,"18446744073709551616":4,"99999999999":5}`},
	{"other spellings are names", `{"01":1,"-0":2,"00":3,"-1":4,"1.0":5,"1e1":6,"+1":7," 1":8,"0x1":9,"1":10,"0":11}`,
		`{"0":11,"1":10,"01":1,"-0":2,"00":3,"-1":4,"1.0":5,"1e1":6,"+1":7," 1":8,"0x1":9}`},
	{"an escaped array index is one", `{"a":1,"\u0031":2}`, `{"1":2,"a":1}`},
	{"names with a meaning in JavaScript", `{"__proto__":{"x":1},"constructor":2,"toString":3,"length":4,"toJSON":5,"1":6}`,
		`{"1":6,"__proto__":{"x":1},"constructor":2,"toString":3,"length":4,"toJSON":5}`},
	{"reordering inside what is reordered", ` {"z" : [ {"b":{"1":"x","0":"y"} , "2":[{"a":0,"0":1}]} , {} ], "5":{"k":1,"3":2}} `,
		`{"5":{"3":2,"k":1},"z":[{"2":[{"0":1,"a":0}],"b":{"0":"y","1":"x"}},{}]}`},
	{"reordering the first member of the first member", `{"a":{"a":{"a":1,"0":2},"0":3},"0":4}`, `{"0":4,"a":{"0":3,"a":{"0":2,"a":1}}}`},
	{"same key in different objects", `{"a":{"a":1},"b":[{"a":2},{"a":3}]}`, `{"a":{"a":1},"b":[{"a":2},{"a":3}]}`},
	{"keys that only look the same", `{"a":1,"A":2,"\u00e1":3,"a\u0301":4,"a ":5,"\ud800":6,"\ud801":7,"\ufffd":8}`,
		"{\"a\":1,\"A\":2,\"\u00e1\":3,\"a\u0301\":4,\"a \":5,\"\\ud800\":6,\"\\ud801\":7,\"\ufffd\":8}"},
}

func TestAppendWritesWhatJavaScriptPrints(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			got, err := canon.Append(nil, []byte(v.text))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != v.want {
				t.Errorf("%s\n got %s\nwant %s", v.text, got, v.want)
			}
		})
	}
}

// refusals are texts without canonical form, and all that a caller is told.
var refusals = []struct {
	name, text string
	reason     canon.Reason
	offset     int
	pointer    string
	message    string
}{
	{"nothing", "", canon.Syntax, 0, "",
		"the text is empty; send one JSON value"},
	{"only white space", " \n", canon.Syntax, 2, "",
		"the text is empty; send one JSON value"},
	{"byte order mark", "\xef\xbb\xbf{}", canon.Syntax, 0, "",
		"the text begins with a byte order mark, which JSON does not allow; send UTF-8 without one"},
	{"byte order mark after a space", " \ufeff{}", canon.Syntax, 1, "",
		`unexpected "\ufeff"; expected a value`},
	{"two documents", "{} {}", canon.Syntax, 3, "",
		`unexpected "{"; expected nothing more, because one value is complete`},
	{"zero byte at the end", "1\x00", canon.Syntax, 1, "",
		`unexpected "\x00"; expected nothing more, because one value is complete`},

	{"cut off for a value", `{"a":[1,`, canon.Syntax, 8, "/a/1",
		"the text ends where a value belongs; send it whole"},
	{"cut off in an array", `[1`, canon.Syntax, 2, "",
		"the text ends where a comma or ] belongs; send it whole"},
	{"cut off in an object", `{"a":1`, canon.Syntax, 6, "",
		"the text ends where a comma or } belongs; send it whole"},
	{"cut off before a key", `{"a":1,`, canon.Syntax, 7, "",
		"the text ends where a key in double quotation marks belongs; send it whole"},
	{"cut off after a key", `[{"a"`, canon.Syntax, 5, "/0/a",
		"the text ends where a colon after the key belongs; send it whole"},
	{"cut off in a string", `["ab`, canon.Syntax, 4, "/0",
		"the text ends inside the string that begins at byte 1; close it with a quotation mark"},
	{"cut off in an escape", `["\u00e`, canon.Syntax, 7, "/0",
		"the text ends inside the string that begins at byte 1; close it with a quotation mark"},
	{"cut off after a backslash", `"\`, canon.Syntax, 2, "",
		"the text ends inside the string that begins at byte 0; close it with a quotation mark"},
	{"last quotation mark escaped", `"\"`, canon.Syntax, 3, "",
		"the text ends inside the string that begins at byte 0; close it with a quotation mark"},
	{"cut off in a number", `[-12.`, canon.Syntax, 5, "/0",
		`the text ends inside the number "-12."; send it whole`},
	{"cut off in a word", `[tru`, canon.Syntax, 1, "/0",
		`unexpected "tru"; JSON text takes double quotation marks, and the only words without are true, false and null`},

	{"comma before ]", "[1, \n]", canon.Syntax, 5, "/1",
		`unexpected "]"; remove the comma before it`},
	{"comma before }", `{"a":1,}`, canon.Syntax, 7, "",
		`unexpected "}"; remove the comma before it`},
	{"comma first", `[,1]`, canon.Syntax, 1, "/0",
		`unexpected ","; expected a value`},
	{"two commas", `[1,,2]`, canon.Syntax, 3, "/1",
		`unexpected ","; expected a value`},
	{"no comma in an array", `[1 2]`, canon.Syntax, 3, "",
		`unexpected "2"; expected a comma or ]`},
	{"no comma in an object", `{"a":1 "b":2}`, canon.Syntax, 7, "",
		"unexpected `\"`; expected a comma or }"},
	{"wrong bracket", `{"a":[1}}`, canon.Syntax, 7, "/a",
		`unexpected "}"; expected a comma or ]`},
	{"closing bracket alone", `]`, canon.Syntax, 0, "",
		`unexpected "]"; expected a value`},
	{"no colon", `{"a" 1}`, canon.Syntax, 5, "/a",
		`unexpected "1"; expected a colon after the key`},
	{"no value", `{"a":}`, canon.Syntax, 5, "/a",
		`unexpected "}"; expected a value`},
	{"key without quotation marks", `{a:1}`, canon.Syntax, 1, "",
		`unexpected "a"; expected a key in double quotation marks`},
	{"number as key", `{1:2}`, canon.Syntax, 1, "",
		`unexpected "1"; expected a key in double quotation marks`},
	{"single quotation marks", `{"a":'x'}`, canon.Syntax, 5, "/a",
		`unexpected "'x'"; JSON strings take double quotation marks`},
	{"comment", `[1, // one`, canon.Syntax, 4, "/1",
		`unexpected "//"; JSON has no comments, remove it`},
	{"hash comment", "# x\n1", canon.Syntax, 0, "",
		`unexpected "#"; JSON has no comments, remove it`},
	{"NaN", `[NaN]`, canon.Syntax, 1, "/0",
		`unexpected "NaN"; JSON text takes double quotation marks, and the only words without are true, false and null`},
	{"word that goes on", `{"a":nullable}`, canon.Syntax, 5, "/a",
		`unexpected "nullable"; JSON text takes double quotation marks, and the only words without are true, false and null`},
	{"a byte that is no character", "[\x80]", canon.InvalidUTF8, 1, "/0",
		"byte 0x80 is not valid UTF-8 here, and JavaScript would replace it; send the text as UTF-8"},
	{"something unprintable with a backslash", "\u2029\\0", canon.Syntax, 0, "",
		`unexpected "\u2029\\0"; expected a value`},
	{"something long", "[" + strings.Repeat("x", 1000), canon.Syntax, 1, "/0",
		`unexpected "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…"; JSON text takes double quotation marks, and the only words without are true, false and null`},

	{"minus infinity", `-Infinity`, canon.Syntax, 0, "",
		`"-Infinity" is not a JSON number; a digit must follow the minus sign`},
	{"plus sign", `+1`, canon.Syntax, 0, "",
		`unexpected "+1"; JSON numbers take no plus sign`},
	{"no integer part", `[.5]`, canon.Syntax, 1, "/0",
		`unexpected ".5"; JSON numbers begin with a digit, write a zero before the point`},
	{"no digit after the point", `[1.,2]`, canon.Syntax, 1, "/0",
		`"1." is not a JSON number; a digit must follow the decimal point`},
	{"no digit in the exponent", `[1e+]`, canon.Syntax, 1, "/0",
		`"1e+" is not a JSON number; its exponent needs a digit`},
	{"leading zero", `{"zip":01234}`, canon.Syntax, 5 + 2, "/zip",
		`"01234" is not a JSON number; write it without leading zeros`},
	{"hexadecimal", `[0x1F]`, canon.Syntax, 1, "/0",
		`unexpected "0x1F"; JSON numbers are decimal digits with nothing between or after them`},
	{"digits in groups", `[1_000]`, canon.Syntax, 1, "/0",
		`unexpected "1_000"; JSON numbers are decimal digits with nothing between or after them`},

	{"line break in a string", "[\"a\nb\"]", canon.Syntax, 3, "/0",
		`control character U+000A stands in a string as it is; write \n`},
	{"zero byte in a key", "{\"k\x00\":1}", canon.Syntax, 3, "",
		`control character U+0000 stands in a string as it is; write \u0000`},
	{"unknown escape", `["ab\x41"]`, canon.Syntax, 4, "/0",
		"`\\x` is no escape sequence; JSON has \\\" \\\\ \\/ \\b \\f \\n \\r \\t and \\u with four hexadecimal digits"},
	{"escape with a wrong digit", `"\u12g4"`, canon.Syntax, 1, "",
		"`\\u12g4` is no escape sequence; \\u takes four hexadecimal digits"},
	{"escape with too few digits", `"\ud83d\u12"`, canon.Syntax, 7, "",
		"`\\u12` is no escape sequence; \\u takes four hexadecimal digits"},
	{"escape of a line break", "\"\\\n\"", canon.Syntax, 1, "",
		"`\\` is no escape sequence; JSON has \\\" \\\\ \\/ \\b \\f \\n \\r \\t and \\u with four hexadecimal digits"},

	{"Latin-1", "{\"name\":[\"M\xfcller\"]}", canon.InvalidUTF8, 11, "/name/0",
		"byte 0xfc is not valid UTF-8 here, and JavaScript would replace it; send the text as UTF-8"},
	{"UTF-8 cut off", "\"abcdefghij\xe2\x82\"", canon.InvalidUTF8, 11, "",
		"byte 0xe2 is not valid UTF-8 here, and JavaScript would replace it; send the text as UTF-8"},
	{"encoded surrogates", "\"\xed\xa0\xbd\xed\xb8\x80\"", canon.InvalidUTF8, 1, "",
		"byte 0xed is not valid UTF-8 here, and JavaScript would replace it; send the text as UTF-8"},
	{"overlong", "\"é\xc0\xaf\"", canon.InvalidUTF8, 3, "",
		"byte 0xc0 is not valid UTF-8 here, and JavaScript would replace it; send the text as UTF-8"},
	{"beyond Unicode", "{\"k\xf4\x90\x80\x80\":1}", canon.InvalidUTF8, 3, "",
		"byte 0xf4 is not valid UTF-8 here, and JavaScript would replace it; send the text as UTF-8"},

	{"key twice", `{"a":1,"b":2,"a":3}`, canon.DuplicateKey, 13, "/a",
		`key "a" appears twice in one object, and JavaScript keeps only one; send it once`},
	{"key twice, escaped once", `{"b":{"c":[0,{"x":1,"\u0078":2}]}}`, canon.DuplicateKey, 20, "/b/c/1/x",
		`key "x" appears twice in one object, and JavaScript keeps only one; send it once`},
	{"empty key twice", `{"":1,"":2}`, canon.DuplicateKey, 6, "/",
		`key "" appears twice in one object, and JavaScript keeps only one; send it once`},
	{"array index twice", `{"1":1,"a":0,"1":2}`, canon.DuplicateKey, 13, "/1",
		`key "1" appears twice in one object, and JavaScript keeps only one; send it once`},
	{"unprintable key twice", `{"\u001b\"":1,"\u001B\u0022":2}`, canon.DuplicateKey, 14, "/\x1b\"",
		`key "\x1b\"" appears twice in one object, and JavaScript keeps only one; send it once`},
	{"long key twice", `{"` + strings.Repeat("é", 30) + `":1,"` + strings.Repeat("é", 30) + `":1}`, canon.DuplicateKey, 66, "/" + strings.Repeat("é", 30),
		`key "éééééééééééééééééééé…" appears twice in one object, and JavaScript keeps only one; send it once`},
	{"lone surrogate twice", `{"\ud800":1,"\uD800":2}`, canon.DuplicateKey, 12, "/\ufffd",
		"key \"\ufffd\" appears twice in one object, and JavaScript keeps only one; send it once"},
	{"slash and tilde on the way", `{"a/b":{"m~n":[{"~1":1e999}]}}`, canon.NumberRange, 21, "/a~1b/m~0n/0/~01",
		"number 1e999 is beyond the largest double, and JavaScript makes it null; send it as a string"},

	{"unsafe integer", `{"rows":[0,{"n":9007199254740993}]}`, canon.UnsafeInteger, 16, "/rows/1/n",
		"number 9007199254740993 is an integer beyond ±9007199254740991, the range in which JavaScript holds every integer exactly; send it as a string"},
	{"unsafe integer with exponent", ` -1e20`, canon.UnsafeInteger, 1, "",
		"number -1e20 is an integer beyond ±9007199254740991, the range in which JavaScript holds every integer exactly; send it as a string"},
	{"number out of range", `[1, -1` + strings.Repeat("0", 400) + `]`, canon.NumberRange, 4, "/1",
		"number -100000000000000000000000000000000000000… is beyond the largest double, and JavaScript makes it null; send it as a string"},

	{"too deep", strings.Repeat("[", 1001), canon.TooDeep, 1000, strings.Repeat("/0", 1000),
		"arrays and objects are nested more than 1000 deep; send a flatter document"},
	{"too deep in objects", strings.Repeat(`{"a":`, 1000) + `{}`, canon.TooDeep, 5000, strings.Repeat("/a", 1000),
		"arrays and objects are nested more than 1000 deep; send a flatter document"},
}

func TestErrorsSayWhatWhereAndWhatToDo(t *testing.T) {
	for _, r := range refusals {
		t.Run(r.name, func(t *testing.T) {
			_, err := canon.Append(nil, []byte(r.text))
			got, ok := errors.AsType[*canon.Error](err)
			if !ok {
				t.Fatalf("%s gave %v, want an *Error", r.text, err)
			}
			want := canon.Error{Reason: r.reason, Offset: r.offset, Pointer: r.pointer, Message: r.message}
			if *got != want {
				t.Errorf("%s\n got %+v\nwant %+v", r.text, *got, want)
			}
		})
	}
}

func TestErrorTextNamesThePlace(t *testing.T) {
	for text, want := range map[string]string{
		`[1`:           "the text ends where a comma or ] belongs; send it whole (byte 2)",
		`{"a\n":[01]}`: `"01" is not a JSON number; write it without leading zeros (byte 8, at "/a\n/0")`,
	} {
		if _, err := canon.Append(nil, []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%s gave %v, want %s", text, err, want)
		}
	}
}

func TestEveryReasonHasAName(t *testing.T) {
	for r := canon.Syntax; r <= canon.TooDeep; r++ {
		if strings.HasPrefix(r.String(), "reason") {
			t.Errorf("%d is called %s", r, r)
		}
	}
	if got := (canon.TooDeep + 1).String(); got != "reason 6" {
		t.Errorf("a reason that does not exist is called %s", got)
	}
}

func TestAppendKeepsWhatDstHolds(t *testing.T) {
	for _, text := range []string{`{"b":1, "1":{"x":1,"0":2}}`, `{"b":1, "1":`, `]`, ``} {
		for _, spare := range []int{0, 1, 100} {
			dst := append(make([]byte, 0, 7+spare), "before,"...)
			got, err := canon.Append(dst, []byte(text))
			want := "before,"
			if err == nil {
				want += `{"1":{"0":2,"x":1},"b":1}`
			}
			if string(got) != want {
				t.Errorf("%s: dst is %s, want %s (%v)", text, got, want, err)
			}
		}
	}
}

func TestNestingIsAllowedDownToMaxDepth(t *testing.T) {
	for _, c := range []struct{ open, close string }{{"[", "]"}, {`{"a":`, "}"}} {
		text := strings.Repeat(c.open, canon.MaxDepth-1) + "[]" + strings.Repeat(c.close, canon.MaxDepth-1)
		got, err := canon.Append(nil, []byte(text))
		if err != nil || string(got) != text {
			t.Errorf("%s nested %d deep: %.40s, %v", c.open, canon.MaxDepth, got, err)
		}
	}
	// Depth counts what is open, not what there is.
	flat := "[" + strings.Repeat("[],{},", 2*canon.MaxDepth) + "0]"
	if _, err := canon.Append(nil, []byte(flat)); err != nil {
		t.Error(err)
	}
}

// Whatever a publisher sends, time grows with its length. Each of these takes
// milliseconds; if it took time by the square, it would be many seconds.
func TestNoTextTakesLong(t *testing.T) {
	const many = 100_000
	payload := `"` + strings.Repeat("x", 16<<20) + `"`
	for _, c := range []struct{ name, text string }{
		{"many keys", object(many, name)},
		{"many long keys", object(many/100, func(i int) string { return strings.Repeat("k", 1000) + strconv.Itoa(i) })},
		{"many array indexes from high to low", object(many, func(i int) string { return strconv.Itoa(many - i) })},
		{"many array indexes between names", object(many, func(i int) string { return strconv.Itoa(i*7919%many) + "x"[:i%2] })},
		{"many small objects out of order", "[" + strings.Repeat(`{"a":1,"0":2},`, many) + "0]"},
		{"a large value moved on every level", strings.Repeat(`{"a":`, 999) + payload + strings.Repeat(`,"0":1}`, 999)},
		{"a large value moved by an outer object only", `{"a":[` + payload + `,{"b":1,"0":2}],"0":1}`},
		{"a number of many digits", "[0." + strings.Repeat("1234567890", many) + "]"},
		{"many escapes", `"` + strings.Repeat(`\ud83d`, many) + `"`},
		{"a long word", "[" + strings.Repeat("x", 10*many)},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := []byte(c.text)
			start := time.Now()
			canon.Append(nil, text)
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v for %d bytes", took, len(text))
			}
		})
	}
}

// object returns an object of n keys.
func object(n int, key func(i int) string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,%q:%d`, key(i), i)
	}
	return "{" + b.String()[1:] + "}"
}

func name(i int) string { return "k" + strconv.Itoa(i) }

func TestLargeObjectsFindTheirDuplicates(t *testing.T) {
	// Around 16 keys the way of comparing changes; tables grow at powers of two.
	wide := []string{"0", `{"k0":0,"k1":1}`, object(20, name), object(40, name)}
	for _, n := range []int{1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000} {
		for _, twice := range []int{0, n / 2, n - 1} {
			var b strings.Builder
			for i := range n {
				// The objects inside use the same scratch memory as the one around.
				fmt.Fprintf(&b, `"k%d":{"k0":%s},`, i, wide[i%len(wide)])
			}
			text := fmt.Sprintf(`{%s"\u006b%d":0}`, b.String(), twice)
			_, err := canon.Append(nil, []byte(text))
			e, ok := errors.AsType[*canon.Error](err)
			if !ok || e.Reason != canon.DuplicateKey || e.Offset != b.Len()+1 || e.Pointer != fmt.Sprintf("/k%d", twice) {
				t.Errorf("%d keys, k%d twice: %v", n, twice, err)
			}
			if _, err := canon.Append(nil, []byte("{"+strings.TrimSuffix(b.String(), ",")+"}")); err != nil {
				t.Errorf("%d keys, none twice: %v", n, err)
			}
		}
	}
}

func TestAnOrdinaryEventIsWrittenWithoutAllocating(t *testing.T) {
	src, dst := []byte(event), make([]byte, 0, 2*len(event))
	least := 1.0
	// The race detector makes the pool forget things at random, so one run
	// without allocations is the proof.
	for range 100 {
		least = min(least, testing.AllocsPerRun(1, func() { canon.Append(dst, src) }))
	}
	if least > 0 {
		t.Errorf("Append allocates")
	}
}

// Texts of all sizes share scratch memory; no call may see another's.
func TestAppendMayBeCalledConcurrently(t *testing.T) {
	t.Parallel()
	for i := range 8 {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			for range 50 {
				for _, v := range vectors {
					if got, err := canon.Append(nil, []byte(v.text)); err != nil || string(got) != v.want {
						t.Fatalf("%s: %s, %v", v.name, got, err)
					}
				}
				for _, r := range refusals {
					_, err := canon.Append(nil, []byte(r.text))
					if e, ok := errors.AsType[*canon.Error](err); !ok || e.Pointer != r.pointer {
						t.Fatalf("%s: %v", r.name, err)
					}
				}
			}
		})
	}
}
