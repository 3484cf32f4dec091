package number

import (
	"github.com/switchhook/switchhook/internal/hook"
)

// Change is what somebody wants of a number. What is nil stays as it is.
type Change struct {
	// These are the customer's to set. Zero values clear CNAM and Address; an address is always
	// given whole, for one that is made of the old and the new is where nobody lives.
	CNAM     *string
	Address  *Address
	Assigned *bool

	// These are the carrier's to set. An empty BillingRefID or ServiceInfo clears it.
	SIPTrunkName     *string
	Status           *bool
	AllocatedProduct *Product
	NumberType       *Type
	BillingRefID     *string
	ServiceInfo      *string
}

// Normal returns c with its values as they are kept.
func (c Change) Normal() Change {
	for _, s := range []**string{&c.CNAM, &c.SIPTrunkName, &c.BillingRefID, &c.ServiceInfo} {
		if *s != nil && **s != trim(**s) {
			*s = new(trim(**s))
		}
	}
	if c.Address != nil {
		c.Address = new(c.Address.Normal())
	}
	return c
}

// Check returns what is wrong with the values of a normal change, whatever number it is for.
func (c *Change) Check() hook.Faults {
	var f hook.Faults
	if c.CNAM != nil {
		checkCNAM(&f, *c.CNAM)
	}
	if c.SIPTrunkName != nil {
		checkTrunk(&f, *c.SIPTrunkName)
	}
	if c.AllocatedProduct != nil {
		checkProduct(&f, *c.AllocatedProduct)
	}
	if c.NumberType != nil {
		checkType(&f, *c.NumberType)
	}
	if c.BillingRefID != nil {
		checkBillingRef(&f, *c.BillingRefID)
	}
	if c.ServiceInfo != nil {
		checkServiceInfo(&f, *c.ServiceInfo)
	}
	if c.Address != nil && *c.Address != (Address{}) {
		f = append(f, c.Address.Check().In("emergency_address/")...)
	}
	return f
}

// Conflicts returns what of a change does not go with the number that it is for.
func (c *Change) Conflicts(n *Number) hook.Faults {
	var f hook.Faults
	if p := c.AllocatedProduct; p != nil && *p != n.AllocatedProduct && n.AllocatedProduct != Unallocated {
		f.Add("allocated_product", "is %s and cannot become %s: only numbers that are %s change it; remove the number and add it again",
			n.AllocatedProduct, quote(string(*p)), Unallocated)
	}
	if after, _ := Apply(*n, *c); after.NumberType != after.NumberType.within(after.AllocatedProduct) {
		f.Add("number_type", "%s does not go with allocated_product %s: %s is for %s only, and %s for the others",
			quote(string(after.NumberType)), quote(string(after.AllocatedProduct)), VirtualService, ContactCenter, Toll)
	}
	return f
}

// Apply returns the number as it is after the change, and whether that is different. Values
// that differ only in what [Number.Normal] takes away are the same.
func Apply(n Number, c Change) (after Number, changed bool) {
	after = n
	c = c.Normal()
	set(&after.CNAM, c.CNAM)
	set(&after.Address, c.Address)
	set(&after.Assigned, c.Assigned)
	set(&after.SIPTrunkName, c.SIPTrunkName)
	set(&after.Status, c.Status)
	set(&after.BillingRefID, c.BillingRefID)
	set(&after.ServiceInfo, c.ServiceInfo)
	if set(&after.AllocatedProduct, c.AllocatedProduct); after.AllocatedProduct != n.AllocatedProduct {
		after.NumberType = after.NumberType.within(after.AllocatedProduct)
	}
	set(&after.NumberType, c.NumberType)
	return after, after != n
}

func set[T any](to, value *T) {
	if value != nil {
		*to = *value
	}
}
