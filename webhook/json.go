package webhook

import (
	"encoding/json"
	"unicode/utf8"
)

// object is JSON that is known to be an object. Its members are looked up by their
// exact names: a struct would be filled from "Event" as well as from "event", and
// whichever comes last would win; then this receiver sees another event than the
// sender and all other receivers. It is looked through where it stands, because to
// copy what is in it would cost as much again as to verify it.
type object []byte

// objectOf returns JSON as an object. Anything else is one without members.
func objectOf(text []byte) object {
	if i := space(text, 0); i < len(text) && text[i] == '{' && json.Valid(text) {
		return text[i:]
	}
	return nil
}

// member returns the text of a member, or nil. Of two members of a name the last one
// counts, as in all other receivers.
func (o object) member(name string) (value []byte) {
	if len(o) == 0 {
		return nil
	}
	for i := space(o, 1); o[i] == '"'; i = space(o, i) {
		end := text(o, i)
		key := o[i:end]
		from := space(o, space(o, end)+1) // over the colon
		to := skip(o, from)
		if named(key, name) {
			value = o[from:to]
		}
		if i = space(o, to); o[i] == ',' {
			i++
		}
	}
	return value
}

// text returns where the text that begins at i ends.
func text(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// skip returns where the value that begins at i ends.
func skip(b []byte, i int) int {
	for depth := 0; i < len(b); {
		switch c := b[i]; c {
		case '"':
			i = text(b, i)
		case '{', '[':
			depth++
			i++
			continue
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\t', '\r', '\n':
			i++
			continue
		default:
			for i < len(b) && !ends(b[i]) {
				i++
			}
		}
		if depth == 0 {
			return i
		}
	}
	return i
}

// ends reports whether a character ends a number or a word.
func ends(c byte) bool {
	return c == ',' || c == '}' || c == ']' || isSpace(c)
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// space returns where the white space that begins at i ends.
func space(b []byte, i int) int {
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	return i
}

// named reports whether a text, in its quotation marks, is the name.
func named(key []byte, name string) bool {
	if isPlain(key) {
		return string(key[1:len(key)-1]) == name // nothing is copied for that
	}
	s, ok := unquote(key)
	return ok && s == name
}

// unquote decodes a text, given in its quotation marks.
func unquote(quoted []byte) (string, bool) {
	if len(quoted) < 2 || quoted[0] != '"' {
		return "", false
	}
	if isPlain(quoted) {
		return string(quoted[1 : len(quoted)-1]), true
	}
	var s string
	err := json.Unmarshal(quoted, &s)
	return s, err == nil
}

// isPlain reports whether a text means what stands there.
func isPlain(quoted []byte) bool {
	for _, c := range quoted {
		if c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
