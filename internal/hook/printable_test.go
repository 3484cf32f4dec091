package hook

import "testing"

// What is printed is what is there: nothing in it can turn, hide or overwrite the
// text around it.
func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "",
		"Bäckerei, 面包店, <b> & \\":   "Bäckerei, 面包店, <b> & \\",
		"a\x1b[31mb\r\n\tc\x00":     `a\u001b[31mb\u000d\u000a\u0009c\u0000`,
		"\u202egpj.exe\u2066\u200f": `\u202egpj.exe\u2066\u200f`,
		"\ufeff\u2028\u2029\u0085":  `\ufeff\u2028\u2029\u0085`,
	} {
		if got := Printable(in); got != want {
			t.Errorf("%q is printed as %s, want %s", in, got, want)
		}
	}
}
