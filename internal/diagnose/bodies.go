package diagnose

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"html"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/switchhook/switchhook/internal/canon"
)

// bodyForm is what a body may have been, and what was undone for that.
type bodyForm struct {
	text   []byte
	causes []Cause
	packed bool // so that the bytes before and after have nothing in common
}

// step is something that happens to bodies, undone.
type step struct {
	cause  Cause
	packed bool
	undo   func(body []byte) [][]byte
}

var steps = []step{
	{TrailingNewline, false, func(b []byte) [][]byte {
		return [][]byte{bytes.TrimSuffix(b, []byte("\n")), bytes.TrimSuffix(b, []byte("\r\n")), bytes.TrimRight(b, "\r\n")}
	}},
	{ByteOrderMark, false, func(b []byte) [][]byte { return [][]byte{bytes.TrimPrefix(b, []byte("\ufeff"))} }},
	{LineEnds, false, func(b []byte) [][]byte {
		unix := bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
		return [][]byte{unix, bytes.ReplaceAll(unix, []byte("\n"), []byte("\r\n"))}
	}},
	{WhiteSpace, false, func(b []byte) [][]byte {
		return [][]byte{bytes.TrimSpace(b), append(bytes.Clone(b), '\n'), append(bytes.Clone(b), "\r\n"...)}
	}},
	{Compressed, true, unpack},
	{Base64, true, fromBase64},
	{Quoted, true, func(b []byte) [][]byte {
		var text string
		var wrapped struct {
			Body string `json:"body"` // as functions in clouds get it
		}
		switch {
		case json.Unmarshal(b, &text) == nil:
			return [][]byte{[]byte(text)}
		case json.Unmarshal(b, &wrapped) == nil:
			return [][]byte{[]byte(wrapped.Body)}
		}
		return nil
	}},
	{FormEncoded, true, fromForm},
	{Charset, false, otherCharset},
	{Reserialised, false, printed},
	{Escapes, false, func(b []byte) (all [][]byte) {
		if bytes.Contains(b, []byte("&")) {
			all = append(all, []byte(html.UnescapeString(string(b))))
		}
		if bytes.Contains(b, []byte(`\`)) { // once too often, as logs and command lines do
			all = append(all, []byte(strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(string(b))))
			all = append(all, bytes.ReplaceAll(b, []byte(`\\`), []byte(`\`)))
		}
		return all
	}},
}

const (
	maxForms = 250
	maxDepth = 3
	maxBody  = 8 << 20
	maxBytes = 32 << 20 // of all forms together
)

// bodyForms returns what a body may have been, those first of which the fewest steps
// were undone, and the body itself at the beginning.
func bodyForms(body []byte) []bodyForm {
	all := []bodyForm{{text: body}}
	seen := map[string]bool{string(body): true}
	for i, size := 0, 0; i < len(all) && len(all) < maxForms; i++ {
		from := all[i]
		if len(from.causes) == maxDepth || len(from.text) > maxBody {
			continue
		}
		for _, s := range steps {
			if i > 0 && from.causes[len(from.causes)-1] == s.cause {
				continue
			}
			for _, text := range s.undo(from.text) {
				if len(text) == 0 || seen[string(text)] {
					continue
				}
				if size += len(text); size > maxBytes {
					return all
				}
				seen[string(text)] = true
				all = append(all, bodyForm{text, append(slices.Clip(from.causes), s.cause), from.packed || s.packed})
			}
		}
	}
	return all
}

func unpack(b []byte) [][]byte {
	if z, err := gzip.NewReader(bytes.NewReader(b)); err == nil {
		if text, err := io.ReadAll(io.LimitReader(z, maxBody)); err == nil {
			return [][]byte{text}
		}
	}
	if z, err := zlib.NewReader(bytes.NewReader(b)); err == nil { // which HTTP calls deflate
		if text, err := io.ReadAll(io.LimitReader(z, maxBody)); err == nil {
			return [][]byte{text}
		}
	}
	return nil
}

func fromBase64(b []byte) [][]byte {
	text := strings.TrimRight(string(bytes.TrimSpace(b)), "=")
	for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if raw, err := e.DecodeString(text); err == nil {
			return [][]byte{raw}
		}
	}
	return nil
}

func fromForm(b []byte) (all [][]byte) {
	if !bytes.ContainsAny(b, "%+") {
		return nil
	}
	text := string(b)
	for _, encoded := range []string{text, text[strings.IndexByte(text, '=')+1:]} {
		if plain, err := url.QueryUnescape(encoded); err == nil {
			all = append(all, []byte(plain))
		}
		if plain, err := url.PathUnescape(encoded); err == nil {
			all = append(all, []byte(plain))
		}
	}
	return all
}

// windows1252 are the characters that it has from 0x80 on, where Latin-1 has none.
var windows1252 = []rune("€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ")

// otherCharset undoes that UTF-8 was read as if it were another character set, or was
// written as another one.
func otherCharset(b []byte) (all [][]byte) {
	for mark, order := range map[string]binary.ByteOrder{"\xff\xfe": binary.LittleEndian, "\xfe\xff": binary.BigEndian} {
		if bytes.HasPrefix(b, []byte(mark)) && len(b)%2 == 0 {
			var units []uint16
			for pair := range slices.Chunk(b[2:], 2) {
				units = append(units, order.Uint16(pair))
			}
			return [][]byte{[]byte(string(utf16.Decode(units)))}
		}
	}
	if !utf8.Valid(b) {
		latin1, windows := make([]rune, len(b)), make([]rune, len(b))
		for i, c := range b {
			latin1[i], windows[i] = rune(c), rune(c)
			if c >= 0x80 && c < 0xa0 {
				windows[i] = windows1252[c-0x80]
			}
		}
		return [][]byte{[]byte(string(latin1)), []byte(string(windows))}
	}
	narrow := make([]byte, 0, len(b))
	for _, r := range string(b) {
		if r > 0xff {
			i := strings.IndexRune(string(windows1252), r)
			if i < 0 {
				return nil
			}
			r = rune(0x80 + utf8.RuneCountInString(string(windows1252)[:i]))
		}
		narrow = append(narrow, byte(r))
	}
	if !utf8.Valid(narrow) {
		return nil
	}
	return [][]byte{narrow}
}

// printed returns how programs print the JSON of a body: first as JavaScript does and
// with it the platform, and then as other platforms may have done it.
func printed(b []byte) [][]byte {
	plain, err := canon.Append(nil, b)
	if err != nil {
		return nil
	}
	all := [][]byte{plain}
	for _, escape := range []func(rune) string{none, asciiLower, asciiUpper, goHTML, slash} {
		escaped := reescape(plain, escape)
		all = append(all, escaped, spaced(escaped))
	}
	for _, indent := range []string{"  ", "    ", "\t"} {
		var pretty bytes.Buffer
		if json.Indent(&pretty, plain, "", indent) == nil {
			all = append(all, pretty.Bytes())
		}
	}
	return all
}

func none(rune) string { return "" }

func asciiLower(r rune) string { return ascii(r, "0123456789abcdef") }

func asciiUpper(r rune) string { return ascii(r, "0123456789ABCDEF") }

// ascii escapes what is not ASCII, as Python and PHP do.
func ascii(r rune, digits string) string {
	if r < utf8.RuneSelf {
		return ""
	}
	units := []uint16{uint16(r)}
	if r > 0xffff {
		units = utf16.Encode([]rune{r})
	}
	var text []byte
	for _, u := range units {
		text = append(text, '\\', 'u', digits[u>>12], digits[u>>8&15], digits[u>>4&15], digits[u&15])
	}
	return string(text)
}

// goHTML escapes what encoding/json does for the sake of HTML.
func goHTML(r rune) string {
	switch r {
	case '<', '>', '&':
		return `\u00` + strconv.FormatInt(int64(r), 16)
	case 0x2028, 0x2029:
		return `\u` + strconv.FormatInt(int64(r), 16)
	}
	return ""
}

// slash escapes slashes, as PHP does.
func slash(r rune) string {
	if r == '/' {
		return `\/`
	}
	return ""
}

// reescape writes the texts in canonical JSON with other escapes.
func reescape(plain []byte, escape func(rune) string) []byte {
	out := make([]byte, 0, len(plain))
	inText := false
	for i := 0; i < len(plain); {
		r, size := utf8.DecodeRune(plain[i:])
		switch {
		case r == '"':
			inText = !inText
		case inText && r == '\\':
			size = 2
		case inText:
			if e := escape(r); e != "" {
				out = append(out, e...)
				i += size
				continue
			}
		}
		out = append(out, plain[i:i+size]...)
		i += size
	}
	return out
}

// spaced writes JSON with a space after each comma and colon, as Python does.
func spaced(plain []byte) []byte {
	out := make([]byte, 0, len(plain)+len(plain)/8)
	inText := false
	for i := 0; i < len(plain); i++ {
		c := plain[i]
		out = append(out, c)
		switch {
		case c == '"':
			inText = !inText
		case inText && c == '\\':
			i++
			out = append(out, plain[i])
		case !inText && (c == ',' || c == ':'):
			out = append(out, ' ')
		}
	}
	return out
}
