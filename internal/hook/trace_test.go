package hook

import (
	"strings"
	"testing"
)

// A traceparent is read as the standard has it, and anything else is none.
func TestParseTrace(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	tr := ParseTrace(good)
	if tr.Span != 0xb7ad6b7169203331 || tr.ID[0] != 0x0a || tr.ID[15] != 0x9c || !tr.Sampled || tr.String() != good {
		t.Errorf("%+v %s", tr, tr)
	}
	for text, want := range map[string]string{
		strings.Replace(good, "-01", "-00", 1):      strings.Replace(good, "-01", "-00", 1),
		strings.Replace(good, "-01", "-03", 1):      good, // flags that are not known are not passed on
		strings.Replace(good, "00-", "cc-", 1):      good,
		"cc" + good[2:] + "-what-is-to-come":        good,
		good + "-more":                              "",
		"cc" + good[2:] + "more":                    "",
		"ff" + good[2:]:                             "",
		"0g" + good[2:]:                             "",
		strings.ToUpper(good):                       "",
		good[:54]:                                   "",
		strings.Replace(good, "b7ad", "b7a-", 1):    "",
		"00-" + strings.Repeat("0", 32) + good[35:]: "",
		good[:36] + strings.Repeat("0", 16) + "-01": "",
		strings.Replace(good, "-", "_", 3):          "",
		"":                                          "",
	} {
		got := ParseTrace(text)
		if got.IsZero() != (want == "") || want != "" && got.String() != want {
			t.Errorf("%q is %s, want %q", text, got, want)
		}
	}
}

func FuzzParseTrace(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Fuzz(func(t *testing.T, text string) {
		// What is a trace is one in our own words.
		if tr := ParseTrace(text); !tr.IsZero() && ParseTrace(tr.String()) != tr {
			t.Errorf("%q is %s", text, tr)
		}
	})
}

// Attempts are in the trace of their event, or else in that of their delivery.
func TestTraceOfAttempt(t *testing.T) {
	d := DeliveryID{Event: 0x0193a4f2b7c00001, Subscription: 0x7f3e9c2d11aa0b52}
	if got, want := d.Trace(Trace{}, 0xabc).String(), "00-0193a4f2b7c000017f3e9c2d11aa0b52-0000000000000abc-01"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, flags := range []string{"-01", "-00"} {
		event := ParseTrace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331" + flags)
		if got, want := d.Trace(event, 0xabc).String(), "00-0af7651916cd43dd8448eb211c80319c-0000000000000abc"+flags; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
