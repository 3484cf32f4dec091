package canon_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/switchhook/switchhook/internal/canon"
	"pgregory.net/rapid"
)

const canonical = `{"7":null,"event":"a.b","payload":{"object":{"carrier_code":457,"a/b":"c","say \"hi\"\n":[1,{"x":"]}"}]},"":{}},"tail":"\\"}`

func TestMembersComeInOrder(t *testing.T) {
	var got strings.Builder
	for key, value := range canon.Members([]byte(canonical)) {
		got.WriteString(string(key) + " is " + string(value) + "\n")
	}
	const want = `7 is null
event is "a.b"
payload is {"object":{"carrier_code":457,"a/b":"c","say \"hi\"\n":[1,{"x":"]}"}]},"":{}}
tail is "\\"
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}

func TestItemsComeInOrder(t *testing.T) {
	for doc, want := range map[string][]string{
		`[1,"a,]b",[2,[3]],{"x":[4,5]},null,"\\"]`: {`1`, `"a,]b"`, `[2,[3]]`, `{"x":[4,5]}`, `null`, `"\\"`},
		`[[]]`: {`[]`}, `[]`: nil, `{"a":[1]}`: nil, `7`: nil, ``: nil, `[`: nil, `[1,`: {`1`}, `[,`: nil,
	} {
		var got []string
		for item := range canon.Items([]byte(doc)) {
			got = append(got, string(item))
			_ = append(item, "!!!"...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has the items %q, want %q", doc, got, want)
		}
	}
	for range canon.Items([]byte(`[1,2]`)) {
		break
	}
}

func TestMembersCanBeLeftEarly(t *testing.T) {
	for key := range canon.Members([]byte(canonical)) {
		if string(key) == "event" {
			return
		}
	}
	t.Error("event is not among the members")
}

// Appending to what Members or Get returned must not write into the document.
func TestPartsOfADocumentCannotGrowIntoIt(t *testing.T) {
	doc := []byte(canonical)
	for key, value := range canon.Members(doc) {
		_ = append(key, "!!!"...)
		_ = append(value, "!!!"...)
	}
	if value, ok := canon.Get(doc, "payload", "object"); ok {
		_ = append(value, "!!!"...)
	}
	if string(doc) != canonical {
		t.Errorf("now %s", doc)
	}
}

func TestGetWalksKeys(t *testing.T) {
	for _, c := range []struct {
		path []string
		want string
	}{
		{nil, canonical},
		{[]string{"event"}, `"a.b"`},
		{[]string{"7"}, `null`},
		{[]string{"payload", "object", "carrier_code"}, `457`},
		{[]string{"payload", "object", "a/b"}, `"c"`},
		{[]string{"payload", "object", "say \"hi\"\n"}, `[1,{"x":"]}"}]`},
		{[]string{"payload", ""}, `{}`},
		{[]string{"tail"}, `"\\"`},
	} {
		if got, ok := canon.Get([]byte(canonical), c.path...); !ok || string(got) != c.want {
			t.Errorf("%q gave %s, %v, want %s", c.path, got, ok, c.want)
		}
	}
	for _, path := range [][]string{{"missing"}, {"event", "x"}, {"7", ""}, {"payload", "object", "carrier_code", "x"}, {`say \"hi\"\n`}, {"carrier_code"}, {"\xff"}} {
		if got, ok := canon.Get([]byte(canonical), path...); ok || got != nil {
			t.Errorf("%q gave %s, %v, want nothing", path, got, ok)
		}
	}
}

func TestTextDecodesStringsOnly(t *testing.T) {
	for value, want := range map[string]string{
		`""`: "", `"x"`: "x", `"Zürich 😀"`: "Zürich 😀", `"\"\\\b\t\n\f\r\u0000\u001f"`: "\"\\\b\t\n\f\r\x00\x1f",
		`"a\nlonger text\nwith several lines\n"`: "a\nlonger text\nwith several lines\n",
		`"\ud83d"`:                               "\ufffd", `"x\ude00y"`: "x\ufffdy",
	} {
		if got, ok := canon.Text([]byte(value)); !ok || got != want {
			t.Errorf("%s gave %q, %v, want %q", value, got, ok, want)
		}
	}
	for _, value := range []string{``, `"`, `x`, `null`, `12`, `{}`, `["x"]`, `"x`, `x"`, `"x"y"`, `"\"`, `"\x"`, `"\u12"`, "\"\n\""} {
		if got, ok := canon.Text([]byte(value)); ok || got != "" {
			t.Errorf("%s gave %q, %v, want nothing", value, got, ok)
		}
	}
}

// What AppendText writes is canonical, and Text reads it as it was.
func TestAppendTextIsTheInverseOfText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune("a\"\\/\b\t\n\f\r\x00\x1f\x7fä😀\u2028<&")))).Draw(t, "text")
		value := canon.AppendText([]byte("["), text)
		value = append(value, ']')
		if again, err := canon.Append(nil, value); err != nil || string(again) != string(value) {
			t.Fatalf("%q became %s, which is not canonical: %s, %v", text, value, again, err)
		}
		if got, ok := canon.Text(value[1 : len(value)-1]); !ok || got != text {
			t.Fatalf("%q became %s and then %q", text, value, got)
		}
	})
	if got := string(canon.AppendText(nil, "a\xffb\"\xc3")); got != "\"a\ufffdb\\\"\ufffd\"" {
		t.Errorf("what is not UTF-8 became %s", got)
	}
}

func TestWhatIsNoObjectHasNoMembers(t *testing.T) {
	for _, doc := range []string{``, `[]`, `"{}"`, `12`, `null`, `{}`, `{`, `{"`, `{"a`, `{"a"`, `{"a\`, `{1:2}`} {
		for key, value := range canon.Members([]byte(doc)) {
			t.Errorf("%s has %s: %s", doc, key, value)
		}
	}
}

func TestReadingDoesNotAllocate(t *testing.T) {
	doc := []byte(canonical)
	if n := testing.AllocsPerRun(100, func() {
		canon.Get(doc, "payload", "object", "carrier_code")
		for range canon.Members(doc) {
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
