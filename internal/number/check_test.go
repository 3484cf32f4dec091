package number

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/language"
	"pgregory.net/rapid"

	"github.com/switchhook/switchhook/internal/hook"
)

// bakery is a number without fault.
func bakery() Number {
	return Number{
		E164: "+14155550142", Carrier: 2417, Account: "Xw3hT0aKQ7mVb9RzC1yPdA", SIPTrunkName: "west-1", Status: true, AllocatedProduct: Phone,
		NumberType: Toll, BillingRefID: "ref-1", ServiceInfo: "Inbound only", Assigned: true, CNAM: "HARBOR BAKERY",
		Address: Address{"US", "1200 Battery Street", "Floor 4", "San Francisco", "94111", "CA"},
	}
}

// Each fault names its field, the value, and the rule.
func TestFaults(t *testing.T) {
	long := strings.Repeat("x", 256)
	cut := `"` + strings.Repeat("x", 40) + `…"`
	for _, c := range []struct {
		name   string
		change func(*Number)
		want   string
	}{
		{"nothing", func(*Number) {}, ""},
		{"nothing more than there must be", func(n *Number) {
			*n = Number{E164: n.E164, Carrier: 1, Account: "a", AllocatedProduct: Unallocated, NumberType: Toll}
		}, ""},
		{"an address of one line", func(n *Number) { n.Address = Address{Line1: "1 Main St"} }, ""},

		{"no number", func(n *Number) { n.E164 = "" }, `phone_number is missing`},
		{"no carrier", func(n *Number) { n.Carrier = 0 }, `carrier_code is missing`},
		{"a carrier below 1", func(n *Number) { n.Carrier = -7 }, `carrier_code is -7; 1 to 2147483647 are allowed`},
		{"no account", func(n *Number) { n.Account = "" }, `account_id is missing`},
		{"an account of two words", func(n *Number) { n.Account = "a b" }, `account_id "a b" has characters other than A-Z a-z 0-9 _ . : -`},
		{"a product that is none", func(n *Number) { n.AllocatedProduct = "PHONE" }, `allocated_product "PHONE" is none of UNALLOCATED, ZOOM_PHONE, ZOOM_CONTACT_CENTER`},
		{"a type that is none", func(n *Number) { n.NumberType = "toll" }, `number_type "toll" is none of Mobile, Toll, TollFree, VirtualService`},
		{"a type for another product", func(n *Number) { n.NumberType = VirtualService },
			`number_type "VirtualService" does not go with allocated_product "ZOOM_PHONE": VirtualService is for ZOOM_CONTACT_CENTER only, and Toll for the others`},
		{"a toll number for the contact center", func(n *Number) { n.AllocatedProduct = ContactCenter },
			`number_type "Toll" does not go with allocated_product "ZOOM_CONTACT_CENTER": VirtualService is for ZOOM_CONTACT_CENTER only, and Toll for the others`},
		{"a long trunk", func(n *Number) { n.SIPTrunkName = long }, `sip_trunk_name ` + cut + ` has 256 characters; at most 128 are allowed`},
		{"a long reference", func(n *Number) { n.BillingRefID = long[:61] }, `billing_ref_id ` + cut + ` has 61 characters; at most 60 are allowed`},
		{"a reference as long as it may be", func(n *Number) { n.BillingRefID = strings.Repeat("ü", 60) }, ``},
		{"a long text", func(n *Number) { n.ServiceInfo = long }, `service_info ` + cut + ` has 256 characters; at most 255 are allowed`},
		{"a text with a line feed", func(n *Number) { n.ServiceInfo = "one\ntwo" }, `service_info "one\ntwo" has U+000A in it, which is not a printable character`},
		{"a text that turns what follows", func(n *Number) { n.ServiceInfo = "a\u202eb" }, `service_info "a\u202eb" has U+202E in it, which is not a printable character`},
		{"a text in another encoding", func(n *Number) { n.ServiceInfo = "B\xe4cker" }, `service_info "B\xe4cker" is not valid UTF-8`},
		{"white space around a text", func(n *Number) { n.ServiceInfo = "one " }, `service_info "one " begins or ends with white space`},

		{"a caller name of 15 characters", func(n *Number) { n.CNAM = "ACME SHOES & CO" }, ``},
		{"a caller name of 16 characters", func(n *Number) { n.CNAM = "ACME SHOES & CO." }, `cnam "ACME SHOES & CO." has 16 characters; at most 15 are allowed`},
		{"a caller name without a letter", func(n *Number) { n.CNAM = "24 7 365" }, `cnam "24 7 365" has no letter; a caller name has at least one`},
		{"a caller name of signs", func(n *Number) { n.CNAM = "-" }, `cnam "-" has no letter; a caller name has at least one`},
		{"a caller name beyond ASCII", func(n *Number) { n.CNAM = "BÄCKEREI" }, `cnam "BÄCKEREI" has "Ä" (U+00C4) in it; a caller name has letters, digits and signs of ASCII`},
		{"a caller name in another encoding", func(n *Number) { n.CNAM = "B\xc4CKEREI" }, `cnam "B\xc4CKEREI" has a byte that is not UTF-8 in it; a caller name has letters, digits and signs of ASCII`},
		{"a caller name with a tab", func(n *Number) { n.CNAM = "A\tB" }, `cnam "A\tB" has U+0009 in it; a caller name has letters, digits and signs of ASCII`},
		{"white space around a caller name", func(n *Number) { n.CNAM = " A" }, `cnam " A" begins or ends with white space`},

		{"an address without line 1", func(n *Number) { n.Address.Line1 = "" }, `emergency_address/address_line1 is missing: an address has at least house number and street`},
		{"a country that is none", func(n *Number) { n.Address.Country = "UK" }, `emergency_address/country "UK" is not a country of ISO 3166-1 alpha-2, as in US or GB`},
		{"a country in words", func(n *Number) { n.Address.Country = "USA" }, `emergency_address/country "USA" is not a country of ISO 3166-1 alpha-2, as in US or GB`},
		{"a state that is none", func(n *Number) { n.Address.State = "ZZ" },
			`emergency_address/state_code "ZZ" is not a state, province or the like of US; ISO 3166-2 has their codes, without the US-`},
		{"a state of another country", func(n *Number) { n.Address.State = "ON" },
			`emergency_address/state_code "ON" is not a state, province or the like of US; ISO 3166-2 has their codes, without the US-`},
		{"a state with its country", func(n *Number) { n.Address.State = "US-CA" }, `emergency_address/state_code "US-CA" has the country in it; write CA`},
		{"no state with its country", func(n *Number) { n.Address.State = "US-ZZ" },
			`emergency_address/state_code "US-ZZ" is not a state, province or the like of US; ISO 3166-2 has their codes, without the US-`},
		{"a state with its country, where nobody knows", func(n *Number) { n.Address.Country, n.Address.ZIP, n.Address.State = "SE", "", "SE-M" },
			`emergency_address/state_code "SE-M" has the country in it; write M`},
		{"a state in words", func(n *Number) { n.Address.Country, n.Address.ZIP, n.Address.State = "SE", "", "SKÅNE" },
			`emergency_address/state_code "SKÅNE" is not a code as ISO 3166-2 has them: one to three letters or digits, without the country`},
		{"a state without a country", func(n *Number) { n.Address.Country = "" }, `emergency_address/state_code "CA" needs a country, by which it is one`},
		{"a ZIP that is none", func(n *Number) { n.Address.ZIP = "9411" }, `emergency_address/zip "9411" is not a postal code of US, which look like 99999 or 99999-9999`},
		{"a ZIP of another country", func(n *Number) { n.Address.ZIP = "SW1A 1AA" }, `emergency_address/zip "SW1A 1AA" is not a postal code of US, which look like 99999 or 99999-9999`},
		{"a long ZIP where nobody knows", func(n *Number) { n.Address.Country, n.Address.State, n.Address.ZIP = "BO", "", long },
			`emergency_address/zip ` + cut + ` is not a postal code: at most 16 letters, digits and signs of ASCII`},
		{"a long city", func(n *Number) { n.Address.City = long }, `emergency_address/city ` + cut + ` has 256 characters; at most 128 are allowed`},
		{"a control character in the second line", func(n *Number) { n.Address.Line2 = "a\x00b" }, `emergency_address/address_line2 "a\x00b" has U+0000 in it, which is not a printable character`},

		{"much", func(n *Number) { n.E164, n.CNAM, n.Address = "1", "1", Address{City: "x", State: "CA"} },
			`phone_number "1" is not E.164: it does not begin with + and a country's calling code; cnam "1" has no letter; a caller name has at least one; ` +
				`emergency_address/address_line1 is missing: an address has at least house number and street; emergency_address/state_code "CA" needs a country, by which it is one`},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := bakery()
			c.change(&n)
			if got := n.Check().Error(); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// A phone number is written in one way only, and the fault says which.
func TestPhoneNumbers(t *testing.T) {
	for s, want := range map[string]string{
		"+14155550142":      "",
		"+442079460127":     "",
		"+390612345678":     "", // the 0 belongs to it
		"+4930901820":       "",
		"+80012345678":      "", // of no country
		"+18005550199":      "",
		"":                  `is missing`,
		"+":                 `"+" is not E.164: a + and digits, and nothing else`,
		"+1":                `"+1" is too short for a number of calling code 1`,
		"14155550142":       `"14155550142" is not E.164: it does not begin with + and a country's calling code`,
		"4155550142":        `"4155550142" is not E.164: it does not begin with + and a country's calling code`,
		"+1 415 555 0142":   `"+1 415 555 0142" is not written as E.164 has it; write +14155550142`,
		"+1(415)555-0142":   `"+1(415)555-0142" is not written as E.164 has it; write +14155550142`,
		"+4402079460127":    `"+4402079460127" is not written as E.164 has it; write +442079460127`,
		"+14155550142x7":    `"+14155550142x7" is not E.164: a + and digits, and nothing else`,
		"+1415555０142":      `"+1415555０142" is not E.164: a + and digits, and nothing else`,
		"tel:+14155550142":  `"tel:+14155550142" is not E.164: a + and digits, and nothing else`,
		"hello":             `"hello" is not E.164: a + and digits, and nothing else`,
		"1.41556E+10":       `"1.41556E+10" was turned into another number by a spreadsheet; format the column as text`,
		"1,41556e+10":       `"1,41556e+10" was turned into another number by a spreadsheet; format the column as text`,
		"+1415555014200000": `"+1415555014200000" is not E.164: it has more than 15 digits`,
		"+141555501":        `"+141555501" is too short for a number of calling code 1`,
		"+141555501422":     `"+141555501422" is too long for a number of calling code 1`,
		"+10000000000":      `"+10000000000" is not a number that the numbering plan of calling code 1 has`,
		"+12090000011":      `"+12090000011" is not a number that the numbering plan of calling code 1 has`,
		"+9991234567":       `"+9991234567" is not a phone number: no country has the calling code that it begins with`,
		"+0123456789":       `"+0123456789" is not a phone number: no country has the calling code that it begins with`,
	} {
		if got := phoneFault(s); got != want {
			t.Errorf("%q:\ngot  %s\nwant %s", s, got, want)
		}
	}
}

// A carrier that does not say what sort of number it is, gets what the plan has.
func TestTypes(t *testing.T) {
	for _, c := range []struct {
		number  string
		product Product
		want    Type
	}{
		{"+18005550199", Unallocated, TollFree},
		{"+18005550199", ContactCenter, TollFree},
		{"+447400123456", Phone, Mobile},
		{"+447400123456", ContactCenter, Mobile},
		{"+442079460127", Phone, Toll},
		{"+442079460127", ContactCenter, VirtualService},
		{"+14155550142", Unallocated, Toll}, // the plan does not tell it from a mobile one
		{"+19005550199", Phone, Toll},
	} {
		if got := TypeOf(c.number, c.product); got != c.want {
			t.Errorf("%s for %s is %s, want %s", c.number, c.product, got, c.want)
		}
	}
}

func TestCarriers(t *testing.T) {
	for _, c := range []struct {
		carrier Carrier
		want    string
	}{
		{Carrier{Code: 2417, Name: "Bay Telecom", App: "app"}, ""},
		{Carrier{Code: 1, Name: "x"}, ""},
		{Carrier{}, "carrier_code is missing; name is missing"},
		{Carrier{Code: -1, Name: "a\nb"}, `carrier_code is -1; 1 to 2147483647 are allowed; name "a\nb" has U+000A in it, which is not a printable character`},
	} {
		if got := c.carrier.Check().Error(); got != c.want {
			t.Errorf("%+v: got %s, want %s", c.carrier, got, c.want)
		}
	}
}

// Account ids are what accounts have, also where that is looked at in a hurry.
func TestAccountIDs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.OneOf(rapid.String(), rapid.StringMatching(`[A-Za-z0-9_.:-]{0,70}`)).Draw(t, "id")
		var got hook.Faults
		checkAccount(&got, id)
		want := (&hook.Account{ID: id}).Check()
		if len(got) != len(want) {
			t.Fatalf("%q: %v, and of the account %v", id, got, want)
		}
	})
}

// A postal code fits its country.
func TestPostalCodes(t *testing.T) {
	for _, c := range []struct{ country, good, bad string }{
		{"US", "94111, 94111-1234, 00501", "9411, 941111, 94111-123, 94111 1234, 9411A, 94111-"},
		{"CA", "K1A 0B1, K1A0B1", "K1A  0B1, K1A-0B1, 1KA 0B1, K1A 0B"},
		{"GB", "M1 1AE, B33 8TH, CR2 6XH, DN55 1PT, W1A 0AX, EC1A 1BB, EC1A1BB", "EC1A, 12345, EC1AA 1BB, E1 BBB"},
		{"DE", "10115", "1011, D-10115, 101155"},
		{"FR", "75001", "7500"},
		{"NL", "1012 AB, 1012AB", "1012, 1012 A"},
		{"PL", "00-950", "00950"},
		{"JP", "100-0001, 1000001", "100-001"},
		{"BR", "01310-100, 01310100", "01310"},
		{"IE", "D02 AF30, D6W XY00, A65F4E2", "D02"},
		{"SE", "111 20, 11120", "1112"},
		{"LV", "LV-1010, 1010", "LV 1010"},
		{"HK", "000, 999077", strings.Repeat("9", 17) + ", 九龙"}, // there are none, and forms ask for one
	} {
		for zip := range strings.SplitSeq(c.good, ", ") {
			if why := countries()[c.country].zipFault(c.country, zip); why != "" {
				t.Errorf("%s: %s", c.country, why)
			}
		}
		for zip := range strings.SplitSeq(c.bad, ", ") {
			if countries()[c.country].zipFault(c.country, zip) == "" {
				t.Errorf("%s: %q has no fault", c.country, zip)
			}
		}
	}
}

// The countries are those of ISO 3166-1. Unicode knows them too, and some that are not in it.
func TestCountries(t *testing.T) {
	others := strings.Fields("AC CP CQ DG EA EZ IC TA UN XK" + " AN CS FQ NT PC SU YU") // reserved, in use by others, and deleted
	n := 0
	for a := 'A'; a <= 'Z'; a++ {
		for b := 'A'; b <= 'Z'; b++ {
			code := string(a) + string(b)
			region, err := language.ParseRegion(code)
			want := err == nil && region.IsCountry() && region.Canonicalize() == region && region.String() == code && !slices.Contains(others, code)
			if got := countries()[code] != nil; got != want {
				t.Errorf("%s is a country: %v, and by Unicode %v", code, got, want)
			}
			if want {
				n++
			}
		}
	}
	if n != 249 {
		t.Errorf("%d countries, want 249", n)
	}
}

// The states are as many as there are.
func TestStates(t *testing.T) {
	for country, want := range map[string]int{"US": 50 + 1 + 6, "CA": 10 + 3, "AU": 6 + 2, "AT": 9, "CH": 26, "DE": 16, "JP": 47, "MY": 13 + 3, "NG": 36 + 1, "AE": 7} {
		if got := len(countries()[country].states); got != want {
			t.Errorf("%s has %d, want %d", country, got, want)
		}
	}
	for _, c := range []struct{ country, good, bad string }{
		{"US", "CA DC PR GU VI AS MP UM AK HI", "ON XX C CAL AA"},
		{"CA", "ON QC NL NU YT", "CA NF US"},
		{"GB", "ENG LND", "LONDON"}, // any of the right shape
	} {
		for code := range strings.FieldsSeq(c.good) {
			if why := countries()[c.country].stateFault(c.country, code); why != "" {
				t.Error(why)
			}
		}
		for code := range strings.FieldsSeq(c.bad) {
			if countries()[c.country].stateFault(c.country, code) == "" {
				t.Errorf("%s is a state of %s", code, c.country)
			}
		}
	}
}

// What is normal stays as it is, what has no fault is normal, and what becomes normal has no
// white space around it.
func TestNormal(t *testing.T) {
	n := Number{E164: " +18005550199\n", Account: "\ta ", SIPTrunkName: " t ", BillingRefID: " r", ServiceInfo: "\u00a0two  words ", CNAM: " Harbor Bakery ",
		Address: Address{" us ", " 1 Main St ", " ", "\tSan Francisco", "94111 ", " ca"}}
	want := Number{E164: "+18005550199", Account: "a", SIPTrunkName: "t", BillingRefID: "r", ServiceInfo: "two  words", CNAM: "Harbor Bakery",
		AllocatedProduct: Unallocated, NumberType: TollFree, Address: Address{"US", "1 Main St", "", "San Francisco", "94111", "CA"}}
	if got := n.Normal(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if a := (Address{Country: "gb", Line1: "x", ZIP: " sw1a 1aa"}).Normal(); a != (Address{Country: "GB", Line1: "x", ZIP: "SW1A 1AA"}) {
		t.Errorf("got %+v", a)
	}
	if a := (Address{Country: " ", City: "\u2003"}); a.Normal() != (Address{}) {
		t.Errorf("%+v is an address", a.Normal())
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(rapid.Custom(drawNumber), rapid.Custom(drawWild)).Draw(t, "number")
		normal := n.Normal()
		if normal.Normal() != normal {
			t.Fatalf("%+v becomes %+v and then %+v", n, normal, normal.Normal())
		}
		if len(n.Check()) == 0 && n != normal {
			t.Fatalf("%+v has no fault and becomes %+v", n, normal)
		}
	})
}

// drawNumber draws a number that has no fault.
func drawNumber(t *rapid.T) Number {
	digits := rapid.StringMatching
	n := Number{
		E164: rapid.OneOf(digits(`\+1(415|212|312|604|787)[2-9](0[0-9]|1[02-9]|[2-9][0-9])[0-9]{4}`), digits(`\+44(20794[0-9]{5}|7400[0-9]{6})`),
			digits(`\+4930[1-9][0-9]{7}`), digits(`\+1(800|888)[2-9](0[0-9]|1[02-9]|[2-9][0-9])[0-9]{4}`), digits(`\+3906[1-9][0-9]{6}`)).Draw(t, "number"),
		Carrier:          rapid.Int32Range(1, 3).Draw(t, "carrier"),
		Account:          rapid.SampledFrom([]string{"acme", "Xw3hT0aKQ7mVb9RzC1yPdA", "a.b:c"}).Draw(t, "account"),
		SIPTrunkName:     drawText(t, "trunk", 128),
		Status:           rapid.Bool().Draw(t, "status"),
		AllocatedProduct: rapid.SampledFrom(Products()).Draw(t, "product"),
		NumberType:       rapid.SampledFrom(Types()).Draw(t, "type"),
		BillingRefID:     drawText(t, "reference", 60),
		ServiceInfo:      drawText(t, "info", 255),
		Assigned:         rapid.Bool().Draw(t, "assigned"),
		CNAM:             drawCNAM(t),
	}
	n.NumberType = n.NumberType.within(n.AllocatedProduct)
	if rapid.Bool().Draw(t, "has an address") {
		n.Address = drawAddress(t)
	}
	return n
}

// drawCNAM draws a caller name, from few, so that several numbers have the same.
func drawCNAM(t *rapid.T) string {
	return rapid.OneOf(rapid.SampledFrom([]string{"", "HARBOR BAKERY", "Harbor Bakery", `"A", B`, "-a", "--A\\"}),
		rapid.StringMatching(`[A-Za-z][!-~]{0,13}[!-~]`)).Draw(t, "cnam")
}

func drawAddress(t *rapid.T) Address {
	a := Address{Line1: drawText(t, "line 1", 255), Line2: drawText(t, "line 2", 255), City: drawText(t, "city", 128)}
	if a.Line1 == "" {
		a.Line1 = "1200 Battery Street"
	}
	where := rapid.SampledFrom([][3]string{{"", "", ""}, {"US", "94111", "CA"}, {"US", "10001-1234", "NY"}, {"CA", "K1A 0B1", "ON"}, {"GB", "SW1A1AA", ""},
		{"DE", "10115", "BE"}, {"HK", "", ""}, {"BO", "-", "L"}}).Draw(t, "where")
	a.Country, a.ZIP, a.State = where[0], where[1], where[2]
	return a
}

// drawText draws a text without fault, as odd as may be.
func drawText(t *rapid.T, label string, limit int) string {
	text := rapid.OneOf(
		rapid.SampledFrom([]string{"", "", "-", "--", "a-", `"`, `""`, `,`, `a,"b",c`, "=1+1", "'", "Zürich 😀", `\n`, "a;b", "<&>"}),
		rapid.StringOfN(rapid.Rune(), 0, limit, -1), rapid.StringMatching(`[ -~]{0,20}`),
	).Draw(t, label)
	return trim(strings.Map(func(r rune) rune {
		if unprintable(r) {
			return -1
		}
		return r
	}, text))
}

// drawWild draws anything.
func drawWild(t *rapid.T) Number {
	any := func(label string) string {
		return rapid.OneOf(rapid.String(), rapid.StringMatching(`[ \t]?[a-zA-Z+0-9ßıſ-]{0,16}[ \x{a0}]?`)).Draw(t, label)
	}
	return Number{
		E164: any("number"), Carrier: rapid.Int32().Draw(t, "carrier"), Account: any("account"), SIPTrunkName: any("trunk"), AllocatedProduct: Product(any("product")),
		NumberType: Type(any("type")), BillingRefID: any("reference"), ServiceInfo: any("info"), CNAM: any("cnam"),
		Address: Address{any("country"), any("line 1"), any("line 2"), any("city"), any("zip"), any("state")},
	}
}

// What is drawn as a number without fault is one; otherwise tests with it would show nothing.
func TestDrawnNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := drawNumber(t)
		if f := n.Check(); len(f) > 0 {
			t.Fatalf("%+v: %v", n, f)
		}
	})
}
