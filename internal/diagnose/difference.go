package diagnose

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Difference is the first place where a body is not what was signed.
type Difference struct {
	// Offset counts bytes from 0, Line and Column from 1.
	Offset int `json:"offset"`
	Line   int `json:"line"`
	Column int `json:"column"`
	// Captured is what the body has there, and Signed what was signed, each with a few
	// of the bytes that follow.
	Captured string `json:"captured"`
	Signed   string `json:"signed"`
}

// String says where and how.
func (d *Difference) String() string {
	return fmt.Sprintf("the first difference is at byte %d (line %d, column %d): the body has %s, signed was %s", d.Offset, d.Line, d.Column, shown(d.Captured), shown(d.Signed))
}

func shown(text string) string {
	if text == "" {
		return "its end"
	}
	return fmt.Sprintf("%+q", text)
}

// difference returns the first one, or nil if there is none.
func difference(captured, signed []byte) *Difference {
	if bytes.Equal(captured, signed) {
		return nil
	}
	at := 0
	for at < len(captured) && at < len(signed) && captured[at] == signed[at] {
		at++
	}
	// Not within a character, nor within an escape.
	for at > 0 && (at < len(captured) && !utf8.RuneStart(captured[at]) || at < len(signed) && !utf8.RuneStart(signed[at])) {
		at--
	}
	at = escapeBegins(captured, at)
	before := captured[:at]
	return &Difference{
		Offset: at, Line: bytes.Count(before, []byte("\n")) + 1, Column: at - bytes.LastIndexByte(before, '\n'),
		Captured: excerpt(captured[at:]), Signed: excerpt(signed[at:]),
	}
}

// escapeBegins returns where the escape begins that at is in, if it is in one.
func escapeBegins(captured []byte, at int) int {
	for back := 1; back <= 5 && back <= at; back++ {
		if i := at - back; captured[i] == '\\' && (i == 0 || captured[i-1] != '\\') {
			if tail := captured[i:at]; back == 1 || bytes.HasPrefix(tail, []byte(`\u`)) {
				return i
			}
		}
	}
	return at
}

// excerpt returns the first few bytes of a text, whole characters of them.
func excerpt(text []byte) string {
	const most = 16
	if len(text) <= most {
		return string(text)
	}
	n := most
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return string(text[:n])
}

// howPrinted says how two ways of printing the same JSON differ.
func howPrinted(captured, signed []byte) (c Cause, text string) {
	a, b := tokens(captured), tokens(signed)
	if len(a) != len(b) {
		return Reserialised, Reserialised.text()
	}
	var all []Cause
	add := func(c Cause, differs bool) {
		if differs && !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	add(WhiteSpace, (len(strings.Join(a, "")) == len(captured)) != (len(strings.Join(b, "")) == len(signed)))
	for i := range a {
		isText := strings.HasPrefix(a[i], `"`)
		add(Escapes, isText && a[i] != b[i])
		add(Numbers, !isText && a[i] != b[i])
	}
	if len(all) == 0 {
		all = []Cause{WhiteSpace}
	}
	if len(all) == 1 {
		return all[0], all[0].text()
	}
	words := map[Cause]string{WhiteSpace: "other white space", Escapes: "other escapes", Numbers: "numbers written otherwise"}
	text = "the body was parsed and printed again, with " + words[all[0]]
	for _, c := range all[1:] {
		text += ", " + words[c]
	}
	return Reserialised, text
}

// tokens returns the parts of JSON without the white space between them.
func tokens(text []byte) (all []string) {
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			i++
		case c == '"':
			end := i + 1
			for end < len(text) && text[end] != '"' {
				if text[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(text))
			all = append(all, string(text[i:end]))
			i = end
		case strings.IndexByte("{}[],:", c) >= 0:
			all = append(all, string(c))
			i++
		default:
			end := i
			for end < len(text) && strings.IndexByte("{}[],:\" \t\r\n", text[end]) < 0 {
				end++
			}
			all = append(all, string(text[i:end]))
			i = end
		}
	}
	return all
}
