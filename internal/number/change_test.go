package number

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/switchhook/switchhook/internal/hook"
)

// What a change leaves out stays, what it names is so afterwards, and what is the same but for
// white space and the case of codes is no change.
func TestApply(t *testing.T) {
	for _, c := range []struct {
		name   string
		change Change
		want   func(*Number)
	}{
		{"nothing", Change{}, nil},
		{"the same caller name", Change{CNAM: new("HARBOR BAKERY")}, nil},
		{"the same caller name in white space", Change{CNAM: new(" HARBOR BAKERY\n")}, nil},
		{"the same address", Change{Address: &Address{" us", "1200 Battery Street ", "Floor 4", "San Francisco", "94111", "ca"}}, nil},
		{"the same of everything", Change{SIPTrunkName: new(" west-1"), Status: new(true), AllocatedProduct: new(Phone), NumberType: new(Toll), BillingRefID: new("ref-1 "),
			ServiceInfo: new("Inbound only")}, nil},
		{"a caller name in another case", Change{CNAM: new("Harbor Bakery")}, func(n *Number) { n.CNAM = "Harbor Bakery" }},
		{"no caller name", Change{CNAM: new("")}, func(n *Number) { n.CNAM = "" }},
		{"no address", Change{Address: &Address{}}, func(n *Number) { n.Address = Address{} }},
		{"an address of white space", Change{Address: &Address{City: " "}}, func(n *Number) { n.Address = Address{} }},
		{"a shorter address", Change{Address: &Address{Line1: "1 Main St"}}, func(n *Number) { n.Address = Address{Line1: "1 Main St"} }},
		{"what the carrier says", Change{SIPTrunkName: new("east"), Status: new(false), NumberType: new(Mobile), BillingRefID: new(""), ServiceInfo: new("")},
			func(n *Number) {
				n.SIPTrunkName, n.Status, n.NumberType, n.BillingRefID, n.ServiceInfo = "east", false, Mobile, "", ""
			}},
		{"another product, and the type that goes with it", Change{AllocatedProduct: new(ContactCenter)},
			func(n *Number) { n.AllocatedProduct, n.NumberType = ContactCenter, VirtualService }},
		{"another product, and a type", Change{AllocatedProduct: new(ContactCenter), NumberType: new(Mobile)},
			func(n *Number) { n.AllocatedProduct, n.NumberType = ContactCenter, Mobile }},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := bakery()
			if c.want != nil {
				c.want(&want)
			}
			if got, changed := Apply(bakery(), c.change); got != want || changed != (c.want != nil) {
				t.Errorf("changed is %v, and it is\n%+v, want\n%+v", changed, got, want)
			}
		})
	}
}

// Doing a change twice is doing it once; and a change without faults keeps a number without
// faults so, unless it conflicts with it.
func TestApplyTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, c := drawNumber(t), drawChange(t)
		once, _ := Apply(n, c)
		if twice, changed := Apply(once, c); twice != once || changed {
			t.Fatalf("%+v becomes %+v and then %+v", n, once, twice)
		}
		normal := c.Normal()
		if f := normal.Check(); len(f) > 0 {
			t.Fatalf("%+v: %v", normal, f)
		}
		if f := once.Check(); len(f) > 0 != (len(onlyType(normal.Conflicts(&n))) > 0) {
			t.Fatalf("%+v has faults %v, and the change conflicts %v", once, f, normal.Conflicts(&n))
		}
	})
}

// onlyType leaves out what a number may be, but not become.
func onlyType(f []hook.Fault) (types []hook.Fault) {
	for _, x := range f {
		if x.Field == "number_type" {
			types = append(types, x)
		}
	}
	return types
}

// drawChange draws a change without faults, with white space where it makes no difference.
func drawChange(t *rapid.T) Change {
	n := drawNumber(t)
	var c Change
	maybe := func(label string, set func()) {
		if rapid.Bool().Draw(t, label) {
			set()
		}
	}
	maybe("sets cnam", func() { c.CNAM = new(n.CNAM + rapid.SampledFrom([]string{"", " "}).Draw(t, "space")) })
	maybe("sets address", func() { c.Address = &n.Address })
	maybe("sets assigned", func() { c.Assigned = &n.Assigned })
	maybe("sets trunk", func() { c.SIPTrunkName = &n.SIPTrunkName })
	maybe("sets status", func() { c.Status = &n.Status })
	maybe("sets product", func() { c.AllocatedProduct = &n.AllocatedProduct })
	maybe("sets type", func() { c.NumberType = &n.NumberType })
	maybe("sets reference", func() { c.BillingRefID = &n.BillingRefID })
	maybe("sets info", func() { c.ServiceInfo = &n.ServiceInfo })
	return c
}

// A change is refused for its values, whatever number it is for.
func TestChangeFaults(t *testing.T) {
	c := Change{CNAM: new("123"), SIPTrunkName: new("a\x01"), AllocatedProduct: new(Product("X")), NumberType: new(Type("")), BillingRefID: new(string(make([]byte, 61))),
		ServiceInfo: new("\xff"), Address: &Address{City: "Paris"}}
	const want = `cnam "123" has no letter; a caller name has at least one; sip_trunk_name "a\x01" has U+0001 in it, which is not a printable character; ` +
		`allocated_product "X" is none of UNALLOCATED, ZOOM_PHONE, ZOOM_CONTACT_CENTER; number_type "" is none of Mobile, Toll, TollFree, VirtualService; ` +
		`billing_ref_id "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00…" ` +
		`has 61 characters; at most 60 are allowed; service_info "\xff" is not valid UTF-8; ` +
		`emergency_address/address_line1 is missing: an address has at least house number and street`
	if got := c.Check().Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	clear := Change{CNAM: new(""), SIPTrunkName: new(""), BillingRefID: new(""), ServiceInfo: new(""), Address: &Address{}}
	if f := clear.Check(); len(f) > 0 {
		t.Errorf("clearing is refused: %v", f)
	}
}

// What a number has been set aside for is settled when it is, and its type goes with that.
func TestConflicts(t *testing.T) {
	for _, c := range []struct {
		name    string
		product Product
		change  Change
		want    string
	}{
		{"set aside", Unallocated, Change{AllocatedProduct: new(ContactCenter)}, ""},
		{"the same", ContactCenter, Change{AllocatedProduct: new(ContactCenter)}, ""},
		{"set free", Phone, Change{AllocatedProduct: new(Unallocated)},
			`allocated_product is ZOOM_PHONE and cannot become "UNALLOCATED": only numbers that are UNALLOCATED change it; remove the number and add it again`},
		{"a type that does not fit", Phone, Change{NumberType: new(VirtualService)},
			`number_type "VirtualService" does not go with allocated_product "ZOOM_PHONE": VirtualService is for ZOOM_CONTACT_CENTER only, and Toll for the others`},
		{"a type that fits the new product", Unallocated, Change{NumberType: new(VirtualService), AllocatedProduct: new(ContactCenter)}, ""},
		{"a type that fits the old product only", Unallocated, Change{NumberType: new(Toll), AllocatedProduct: new(ContactCenter)},
			`number_type "Toll" does not go with allocated_product "ZOOM_CONTACT_CENTER": VirtualService is for ZOOM_CONTACT_CENTER only, and Toll for the others`},
	} {
		n := bakery()
		n.AllocatedProduct = c.product
		n.NumberType = n.NumberType.within(c.product)
		if got := c.change.Conflicts(&n).Error(); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}
