package canon_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/switchhook/switchhook/internal/canon"
)

func seed(f *testing.F) {
	f.Add([]byte(event))
	for _, v := range vectors {
		f.Add([]byte(v.text))
	}
	for _, n := range numbers {
		f.Add([]byte(n.text))
	}
	for _, r := range refusals {
		f.Add([]byte(r.text))
	}
	for n := range uint64(20) {
		m := fromSeed(n)
		f.Add(m.spell(m.value(3)))
	}
}

// A text is accepted only if it is JSON, and then its canonical form is JSON,
// means the same and is its own canonical form. JSON that is refused is not
// called a syntax error.
func FuzzAppend(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		given := slices.Clone(src)
		got, err := canon.Append([]byte("before"), src)
		if !bytes.Equal(src, given) {
			t.Fatalf("%q was changed to %q", given, src)
		}
		got, ok := bytes.CutPrefix(got, []byte("before"))
		if !ok {
			t.Fatalf("%q: what dst held is lost", src)
		}
		if err != nil {
			e, ok := errors.AsType[*canon.Error](err)
			switch {
			case !ok:
				t.Fatalf("%q: %T is no *Error", src, err)
			case len(got) > 0:
				t.Fatalf("%q is refused and yet written: %q", src, got)
			case e.Reason == canon.Syntax && json.Valid(src):
				t.Fatalf("%q is JSON, but refused: %v", src, err)
			case e.Offset < 0 || e.Offset > len(src):
				t.Fatalf("%q is refused at byte %d", src, e.Offset)
			case !fitToPrint(e.Error()):
				t.Fatalf("%q is refused in unfit words: %q", src, e.Error())
			}
			return
		}
		if !json.Valid(src) {
			t.Fatalf("%q is accepted as %q, but is not JSON", src, got)
		}
		if !json.Valid(got) || !utf8.Valid(got) {
			t.Fatalf("%q gave %q, which is not JSON", src, got)
		}
		if again, err := canon.Append(nil, got); err != nil || !bytes.Equal(again, got) {
			t.Fatalf("%q gave %q and that %q, %v", src, got, again, err)
		}
		if len(src) <= strconvDigits && !reflect.DeepEqual(decode(t, src), decode(t, got)) {
			t.Fatalf("%q gave %q, which means something else", src, got)
		}
	})
}

func fitToPrint(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return utf8.ValidString(s) && len(s) < 400
}

// Whatever the bytes are, iteration ends, and what it yields lies in them in
// order. In canonical documents it finds what encoding/json finds.
func FuzzMembers(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, doc []byte) {
		checkMembers(t, doc, false)
		if doc, err := canon.Append(nil, doc); err == nil {
			checkMembers(t, doc, !bytes.Contains(doc, []byte(`\ud`))) // encoding/json makes lone surrogates the same
		}
	})
}

func checkMembers(t *testing.T, doc []byte, compare bool) {
	var want map[string]json.RawMessage
	if compare && doc[0] == '{' {
		if err := json.Unmarshal(doc, &want); err != nil {
			t.Fatal(err)
		}
	}
	canon.Text(doc)
	n, read := 0, 0
	for key, value := range canon.Members(doc) {
		n++
		read += len(key) + len(value)
		name, ok := canon.Text(slices.Concat([]byte(`"`), key, []byte(`"`)))
		canon.Get(doc, name, name)
		if !compare {
			continue
		}
		got, found := canon.Get(doc, name)
		if !ok || !found || !bytes.Equal(got, value) || !bytes.Equal(got, want[name]) {
			t.Fatalf("%q: %q is %q, Get finds %q, want %q", doc, name, value, got, want[name])
		}
	}
	if read > len(doc) || compare && n != len(want) {
		t.Fatalf("%q has %d members of %d bytes, want %d members", doc, n, read, len(want))
	}
}
