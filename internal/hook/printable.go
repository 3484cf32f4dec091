package hook

import (
	"fmt"
	"strings"
	"unicode"
)

// Printable escapes what could make a terminal or a page show something else than
// there is: control characters and those that change the direction of writing. What
// comes from an endpoint, a producer or a document is somebody else's.
func Printable(s string) string {
	if !strings.ContainsFunc(s, unsafeRune) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unsafeRune(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unsafeRune(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\uFEFF' || r == '\u2028' || r == '\u2029'
}
