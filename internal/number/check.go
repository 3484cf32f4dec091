package number

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/switchhook/switchhook/internal/hook"
)

// The lengths that texts may have, in characters.
const (
	maxCNAM        = 15
	maxBillingRef  = 60
	maxServiceInfo = 255
	maxTrunk       = 128
	maxName        = 128
	maxLine        = 255 // of an address
	maxCity        = 128
	maxZIP         = 16
)

// Check returns what is wrong with the number, field by field. A number without fault is
// normal: [Number.Normal] changes nothing about it.
func (n *Number) Check() hook.Faults {
	var f hook.Faults
	add(&f, "phone_number", phoneFault(n.E164))
	checkCode(&f, n.Carrier)
	checkAccount(&f, n.Account)
	checkTrunk(&f, n.SIPTrunkName)
	checkProduct(&f, n.AllocatedProduct)
	checkType(&f, n.NumberType)
	checkBillingRef(&f, n.BillingRefID)
	checkServiceInfo(&f, n.ServiceInfo)
	checkCNAM(&f, n.CNAM)
	if len(f) == 0 && n.NumberType != n.NumberType.within(n.AllocatedProduct) {
		f.Add("number_type", "%q does not go with allocated_product %q: %s is for %s only, and %s for the others",
			n.NumberType, n.AllocatedProduct, VirtualService, ContactCenter, Toll)
	}
	if n.Address != (Address{}) {
		f = append(f, n.Address.Check().In("emergency_address/")...)
	}
	return f
}

// Check returns what is wrong with the carrier.
func (c *Carrier) Check() hook.Faults {
	var f hook.Faults
	checkCode(&f, c.Code)
	if c.Name == "" {
		f.Add("name", "is missing")
	}
	checkText(&f, "name", c.Name, maxName)
	checkText(&f, "app_id", c.App, maxName)
	return f
}

// Check returns what is wrong with an address that somebody gives. None, the zero value, is not
// one to give.
func (a *Address) Check() hook.Faults {
	var f hook.Faults
	if a.Line1 == "" {
		f.Add("address_line1", "is missing: an address has at least house number and street")
	}
	checkText(&f, "address_line1", a.Line1, maxLine)
	checkText(&f, "address_line2", a.Line2, maxLine)
	checkText(&f, "city", a.City, maxCity)
	var c *country
	if a.Country != "" {
		if c = countries()[a.Country]; c == nil {
			f.Add("country", "%s is not a country of ISO 3166-1 alpha-2, as in US or GB", quote(a.Country))
		}
	}
	add(&f, "zip", c.zipFault(a.Country, a.ZIP))
	add(&f, "state_code", c.stateFault(a.Country, a.State))
	return f
}

func add(f *hook.Faults, field, message string) {
	if message != "" {
		*f = append(*f, hook.Fault{Field: field, Message: message})
	}
}

func checkCode(f *hook.Faults, code int32) {
	switch {
	case code == 0:
		f.Add("carrier_code", "is missing")
	case code < 0:
		f.Add("carrier_code", "is %d; 1 to %d are allowed", code, math.MaxInt32)
	}
}

// checkAccount leaves it to the account itself to say what is wrong with its id. That is slow,
// so it is asked only about an id that is not surely right.
func checkAccount(f *hook.Faults, id string) {
	if len(id) > 0 && len(id) <= 64 && !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
	}) {
		return
	}
	for _, x := range (&hook.Account{ID: id}).Check() {
		f.Add("account_id", "%s", x.Message)
	}
}

func checkTrunk(f *hook.Faults, s string)       { checkText(f, "sip_trunk_name", s, maxTrunk) }
func checkBillingRef(f *hook.Faults, s string)  { checkText(f, "billing_ref_id", s, maxBillingRef) }
func checkServiceInfo(f *hook.Faults, s string) { checkText(f, "service_info", s, maxServiceInfo) }

func checkProduct(f *hook.Faults, p Product) {
	if !slices.Contains(Products(), p) {
		f.Add("allocated_product", "%s is none of %s", quote(string(p)), list(Products()))
	}
}

func checkType(f *hook.Faults, t Type) {
	if !slices.Contains(Types(), t) {
		f.Add("number_type", "%s is none of %s", quote(string(t)), list(Types()))
	}
}

// checkCNAM checks a caller name. Networks carry 15 printable characters of ASCII.
func checkCNAM(f *hook.Faults, s string) {
	if s == "" {
		return
	}
	letter := false
	for _, r := range s {
		if r < ' ' || r > '~' {
			f.Add("cnam", "%s has %s in it; a caller name has letters, digits and signs of ASCII", quote(s), show(r))
			return
		}
		letter = letter || 'a' <= r|0x20 && r|0x20 <= 'z'
	}
	switch {
	case len(s) > maxCNAM:
		f.Add("cnam", "%s has %d characters; at most %d are allowed", quote(s), len(s), maxCNAM)
	case !letter:
		f.Add("cnam", "%s has no letter; a caller name has at least one", quote(s))
	case s != trim(s):
		f.Add("cnam", "%s begins or ends with white space", quote(s))
	}
}

// checkText checks a text that people read.
func checkText(f *hook.Faults, field, s string, limit int) {
	if len(s) <= limit && tidy(s) {
		return
	}
	switch {
	case !utf8.ValidString(s):
		f.Add(field, "%s is not valid UTF-8", quote(s))
	case utf8.RuneCountInString(s) > limit:
		f.Add(field, "%s has %d characters; at most %d are allowed", quote(s), utf8.RuneCountInString(s), limit)
	case hook.Printable(s) != s:
		i := strings.IndexFunc(s, unprintable)
		r, _ := utf8.DecodeRuneInString(s[i:])
		f.Add(field, "%s has %s in it, which is not a printable character", quote(s), show(r))
	case s != trim(s):
		f.Add(field, "%s begins or ends with white space", quote(s))
	}
}

// tidy reports whether s is printable ASCII without white space around it, as most texts are.
func tidy(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s == "" || s[0] != ' ' && s[len(s)-1] != ' '
}

func unprintable(r rune) bool { return hook.Printable(string(r)) != string(r) }

// show names a character.
func show(r rune) string {
	if r == utf8.RuneError {
		return "a byte that is not UTF-8"
	}
	if r < 0x80 || unprintable(r) {
		return fmt.Sprintf("%U", r)
	}
	return fmt.Sprintf("%q (%U)", string(r), r)
}

// quote makes a value fit to stand in a message: short, in quotation marks, with nothing in it
// that is not printable.
func quote(s string) string {
	const most = 40
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

func list[T ~string](all []T) string {
	words := make([]string, len(all))
	for i, x := range all {
		words[i] = string(x)
	}
	return strings.Join(words, ", ")
}
