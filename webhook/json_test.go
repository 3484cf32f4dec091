package webhook

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// FuzzObject: members are found as encoding/json finds them, by their exact names and
// the last one of a name; what is no object has none.
func FuzzObject(f *testing.F) {
	for _, text := range []string{
		`{}`, ` { "event" : "a" , "x" : [1,{"event":2}] } `, `{"event":1,"event":null}`, `{"\u0065vent":true,"Event":false}`, `{"e\"v":"}","event":"\\"}`,
		`{"event":{"event":[[],{}]},"x":-1.5e3}`, `null`, `[]`, `"event"`, `{"event"`, `{"event":}`, `{"event":1}x`, "{\"event\xff\":1}", `{"":""}`, `{"event":"{[,:"}`,
		strings.Repeat(`{"event":`, 50) + "1" + strings.Repeat("}", 50),
	} {
		f.Add([]byte(text), "event")
	}
	f.Fuzz(func(t *testing.T, text []byte, name string) {
		var want map[string]json.RawMessage
		_ = json.Unmarshal(text, &want)
		if got := objectOf(text).member(name); string(got) != string(want[name]) || (got == nil) != (want[name] == nil) {
			t.Errorf("%q in %q is %q, want %q", name, text, got, want[name])
		}
		for name, value := range want {
			if got := objectOf(text).member(name); !bytes.Equal(got, value) {
				t.Errorf("%q in %q is %q, want %q", name, text, got, value)
			}
		}
	})
}

// What is looked up is a part of the text, not a copy.
func TestMembersAreNotCopied(t *testing.T) {
	text := []byte(` {"a":1,"b":"xyz"} `)
	value := objectOf(text).member("b")
	text[14] = 'Y'
	if string(value) != `"xYz"` {
		t.Errorf("%s", value)
	}
}
