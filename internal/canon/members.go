package canon

import (
	"bytes"
	"iter"
	"unicode/utf8"
)

// Members returns the members of a canonical object in their order. A key comes
// without its quotation marks but still escaped, a value as it stands; both are
// parts of doc, not copies. A doc that is no object has no members. Where doc is
// not canonical, iteration may stop early or yield nonsense, but it does end.
func Members(doc []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		rest, more := bytes.CutPrefix(doc, []byte("{"))
		for more && len(rest) > 0 && rest[0] == '"' {
			k := extent(rest)
			if k == len(rest) || rest[k] != ':' {
				return
			}
			v := k + 1 + extent(rest[k+1:])
			if !yield(rest[1:k-1:k-1], rest[k+1:v:v]) {
				return
			}
			rest, more = bytes.CutPrefix(rest[v:], []byte(","))
		}
	}
}

// Items returns the items of a canonical array in their order, as parts of doc. A doc
// that is no array has no items. For one that is not canonical the same holds as for
// [Members].
func Items(doc []byte) iter.Seq[[]byte] {
	return func(yield func(item []byte) bool) {
		rest, more := bytes.CutPrefix(doc, []byte("["))
		for more && len(rest) > 0 && rest[0] != ']' {
			n := extent(rest)
			if n == 0 || !yield(rest[:n:n]) {
				return
			}
			rest, more = bytes.CutPrefix(rest[n:], []byte(","))
		}
	}
}

// Get walks object keys from the root of a canonical document and returns the
// value there: Get(doc, "payload", "object", "carrier_code"). Keys in the path
// are plain text, not escaped. The value is a part of doc; without a path it is
// doc itself. It is not ok if a key is missing or leads into something that is
// no object.
func Get(doc []byte, path ...string) (value []byte, ok bool) {
	value = doc
	for _, name := range path {
		if value, ok = child(value, name); !ok {
			return nil, false
		}
	}
	return value, true
}

func child(doc []byte, name string) (value []byte, ok bool) {
	// Escaping the name once costs less than unescaping every key, and most
	// names have nothing to escape.
	if n, _ := plain([]byte(name)); n < len(name) {
		var escaped []byte
		for _, r := range name {
			escaped = appendRune(escaped, r)
		}
		name = string(escaped)
	}
	for key, value := range Members(doc) {
		if string(key) == name {
			return value, true
		}
	}
	return nil, false
}

// Text decodes a canonical string, given with its quotation marks; ok is false
// when value is something else. A lone surrogate becomes U+FFFD, because a Go
// string has no way to hold it.
func Text(value []byte) (s string, ok bool) {
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return "", false
	}
	rest := value[1 : len(value)-1]
	n, _ := plain(rest)
	if n == len(rest) {
		return string(rest), true
	}
	text := make([]byte, 0, len(rest))
	for {
		text = append(text, rest[:n]...)
		rest = rest[n:]
		if len(rest) == 0 {
			return string(text), true
		}
		if rest[0] != '\\' {
			return "", false
		}
		r, size := unescape(rest)
		if size == 0 {
			return "", false
		}
		text = utf8.AppendRune(text, r)
		rest = rest[size:]
		n, _ = plain(rest)
	}
}

// AppendText appends s as a string of canonical JSON, so that [Text] gives it back. Bytes that are
// not UTF-8 become U+FFFD.
func AppendText(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for rest := []byte(s); len(rest) > 0; {
		n, ascii := plain(rest)
		if run := rest[:n]; ascii || utf8.Valid(run) {
			dst = append(dst, run...)
		} else {
			dst = append(dst, bytes.ToValidUTF8(run, []byte("\ufffd"))...)
		}
		if rest = rest[n:]; len(rest) > 0 {
			dst = appendRune(dst, rune(rest[0]))
			rest = rest[1:]
		}
	}
	return append(dst, '"')
}

// extent returns the length of the canonical value at the start of s, or of all
// of s if the value does not end before.
func extent(s []byte) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			i = closing(s, i)
			if depth == 0 {
				return min(i+1, len(s))
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth <= 1 {
				return i + depth // with its own bracket, without that of what it stands in
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return len(s)
}

// closing returns where the string ends that begins at i: the index of its
// second quotation mark, or len(s).
func closing(s []byte, i int) int {
	for i++; i < len(s); i++ {
		n, _ := plain(s[i:])
		if i += n; i == len(s) || s[i] == '"' {
			break
		}
		if s[i] == '\\' {
			i++
		}
	}
	return min(i, len(s))
}
