// Package number holds what the platform knows of peered phone numbers, and what follows when
// that changes.
//
// A [Number] is checked by [Number.Check] once [Number.Normal] has tidied it up. [Apply] makes a
// [Change], and [Events] turns the changes of one request into the events by which carriers
// learn of them. [Reader] and [Writer] are the same for files. There is no store in here: all of
// it is plain functions over values.
package number

import (
	"strings"
)

// Carrier peers phone numbers with the platform. Its app receives the events of its numbers.
type Carrier struct {
	Code int32  `json:"carrier_code"`
	Name string `json:"name"`
	App  string `json:"app_id,omitempty"`
}

// Number is a phone number that a carrier peers and a customer uses. Numbers can be compared
// with ==.
type Number struct {
	// E164 is the number itself: a plus, the calling code and the rest, digits only.
	E164    string `json:"phone_number"`
	Carrier int32  `json:"carrier_code"`
	Account string `json:"account_id"` // the customer's

	// What the carrier says of it.
	SIPTrunkName     string  `json:"sip_trunk_name"`
	Status           bool    `json:"status"` // in use; false while it is still being ported
	AllocatedProduct Product `json:"allocated_product"`
	NumberType       Type    `json:"number_type"`
	BillingRefID     string  `json:"billing_ref_id,omitempty"`
	ServiceInfo      string  `json:"service_info,omitempty"`

	// Assigned says that somebody at the customer's has it.
	Assigned bool `json:"assigned"`

	// What the customer says of it, and the carrier has to register.
	CNAM    string  `json:"cnam,omitempty"`             // empty: none
	Address Address `json:"emergency_address,omitzero"` // zero: none
}

// Address is where help is sent when somebody calls for it. The zero value is no address.
type Address struct {
	Country string `json:"country,omitempty"`       // ISO 3166-1 alpha-2
	Line1   string `json:"address_line1"`           // house number and street
	Line2   string `json:"address_line2,omitempty"` // building, floor, unit
	City    string `json:"city,omitempty"`
	ZIP     string `json:"zip,omitempty"`
	State   string `json:"state_code,omitempty"` // ISO 3166-2, without the country
}

// Product is what a number is set aside for.
type Product string

// The products.
const (
	Unallocated   Product = "UNALLOCATED"
	Phone         Product = "ZOOM_PHONE"
	ContactCenter Product = "ZOOM_CONTACT_CENTER"
)

// Products lists them.
func Products() []Product { return []Product{Unallocated, Phone, ContactCenter} }

// Type is the sort of a number.
type Type string

// The types.
const (
	Mobile         Type = "Mobile"
	Toll           Type = "Toll"
	TollFree       Type = "TollFree"
	VirtualService Type = "VirtualService"
)

// Types lists them.
func Types() []Type { return []Type{Mobile, Toll, TollFree, VirtualService} }

// TypeOf returns the type that a phone number has for a product by its numbering plan. It is for
// carriers that do not say; where the plan leaves open whether a number is mobile, it is not.
func TypeOf(e164 string, p Product) Type {
	switch mobile, free := sortOf(e164); {
	case mobile:
		return Mobile
	case free:
		return TollFree
	}
	return Toll.within(p)
}

// within returns the type that a number of type t has under a product: what is a toll number
// elsewhere is a virtual one for the contact center.
func (t Type) within(p Product) Type {
	switch {
	case t == Toll && p == ContactCenter:
		return VirtualService
	case t == VirtualService && p != ContactCenter:
		return Toll
	}
	return t
}

// Normal returns n as it is kept: without white space around texts, codes in upper case, and
// with what the carrier left open filled in. Doing it again changes nothing.
func (n Number) Normal() Number {
	n.E164 = trim(n.E164)
	n.Account = trim(n.Account)
	n.SIPTrunkName = trim(n.SIPTrunkName)
	n.BillingRefID = trim(n.BillingRefID)
	n.ServiceInfo = trim(n.ServiceInfo)
	n.CNAM = trim(n.CNAM)
	n.Address = n.Address.Normal()
	if n.AllocatedProduct == "" {
		n.AllocatedProduct = Unallocated
	}
	if n.NumberType == "" {
		n.NumberType = TypeOf(n.E164, n.AllocatedProduct)
	}
	return n
}

// Normal returns a as it is kept: without white space around texts, and codes in upper case.
func (a Address) Normal() Address {
	return Address{
		Country: upper(trim(a.Country)),
		Line1:   trim(a.Line1),
		Line2:   trim(a.Line2),
		City:    trim(a.City),
		ZIP:     upper(trim(a.ZIP)),
		State:   upper(trim(a.State)),
	}
}

// trim takes white space off both ends, as Unicode has it. Within a text it stays, for nobody
// here knows what it means there.
func trim(s string) string { return strings.TrimSpace(s) }

// upper changes letters of ASCII only: what else there is in a code is a fault, and should be
// shown as it was written.
func upper(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return 'a' <= r && r <= 'z' }) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, s)
}
