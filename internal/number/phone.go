package number

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nyaruka/phonenumbers"
)

// maxDigits is how many digits E.164 allows.
const maxDigits = 15

// classify returns what the library takes a phone number for, zero if it is none. A number has
// to be written as E.164 has it, in the one way that there is for each.
func classify(s string) class {
	if !shaped(s) {
		return 0
	}
	if c := lookup(s); c != 0 {
		return c
	}
	return ask(s)
}

// shaped reports whether s is a plus and 2 to 15 digits, of which the first is not 0.
func shaped(s string) bool {
	if len(s) < 3 || len(s) > 1+maxDigits || s[0] != '+' || s[1] == '0' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// ask is [lookup] by the library itself, a thousand times slower.
func ask(s string) class {
	n, err := phonenumbers.Parse(s, phonenumbers.UNKNOWN_REGION)
	if err != nil || phonenumbers.Format(n, phonenumbers.E164) != s || !phonenumbers.IsValidNumber(n) {
		return 0
	}
	return classOf(phonenumbers.GetNumberType(n))
}

// sortOf reports whether a phone number is surely a mobile one, or one that is free for whoever calls.
func sortOf(e164 string) (mobile, free bool) {
	c := classify(e164)
	return c == classOf(phonenumbers.MOBILE), c == classOf(phonenumbers.TOLL_FREE)
}

// phoneFault says why s is not a phone number, or nothing if it is one.
func phoneFault(s string) string {
	if classify(s) != 0 {
		return ""
	}
	digits := strings.TrimPrefix(s, "+")
	switch {
	case s == "":
		return "is missing"
	case spreadsheet(s):
		return fmt.Sprintf("%s was turned into another number by a spreadsheet; format the column as text", quote(s))
	case digits == "" || strings.Trim(digits, "0123456789") != "":
		if e164 := plain(s); classify(e164) != 0 {
			return fmt.Sprintf("%s is not written as E.164 has it; write %s", quote(s), e164)
		}
		return fmt.Sprintf("%s is not E.164: a + and digits, and nothing else", quote(s))
	case s[0] != '+':
		return fmt.Sprintf("%s is not E.164: it does not begin with + and a country's calling code", quote(s))
	case len(digits) > maxDigits:
		return fmt.Sprintf("%s is not E.164: it has more than %d digits", quote(s), maxDigits)
	}
	n, err := phonenumbers.Parse(s, phonenumbers.UNKNOWN_REGION)
	if err != nil {
		if code, ok := callingCode(digits); ok {
			return fmt.Sprintf("%s is too short for a number of calling code %s", quote(s), code)
		}
		return fmt.Sprintf("%s is not a phone number: no country has the calling code that it begins with", quote(s))
	}
	code := n.GetCountryCode()
	if e164 := phonenumbers.Format(n, phonenumbers.E164); e164 != s && classify(e164) != 0 {
		return fmt.Sprintf("%s is not written as E.164 has it; write %s", quote(s), e164)
	}
	switch phonenumbers.IsPossibleNumberWithReason(n) {
	case phonenumbers.TOO_SHORT, phonenumbers.IS_POSSIBLE_LOCAL_ONLY:
		return fmt.Sprintf("%s is too short for a number of calling code %d", quote(s), code)
	case phonenumbers.TOO_LONG:
		return fmt.Sprintf("%s is too long for a number of calling code %d", quote(s), code)
	}
	return fmt.Sprintf("%s is not a number that the numbering plan of calling code %d has", quote(s), code)
}

// spreadsheet reports whether s is a number such as 1.41556E+10, which is what some programs
// make of long ones.
func spreadsheet(s string) bool {
	mantissa, exponent, found := strings.Cut(upper(s), "E+")
	_, err := strconv.ParseUint(exponent, 10, 8)
	return found && err == nil && strings.Trim(mantissa, "0123456789.,") == ""
}

// plain takes out of a phone number what people write between digits. It is empty if there is
// anything else, or if the number does not begin with a plus.
func plain(s string) string {
	if s[0] != '+' {
		return ""
	}
	bare := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -()./\u00a0", r) {
			return -1
		}
		return r
	}, s)
	if !shaped(bare) {
		return ""
	}
	return bare
}

// callingCode returns the calling code that digits begin with.
func callingCode(digits string) (code string, ok bool) {
	all := plans()
	for i := 1; i <= min(len(digits), 3) && digits[0] != '0'; i++ {
		if n, err := strconv.Atoi(digits[:i]); err == nil && all[n] != nil {
			return digits[:i], true
		}
	}
	return "", false
}
