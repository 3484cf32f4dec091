package catalog_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/hook"
)

// The built-in document is without fault, and its samples fit.
func TestNumberManagement(t *testing.T) {
	doc := catalog.NumberManagement()
	if len(doc.Notes) > 0 {
		t.Errorf("notes are %v", doc.Notes)
	}
	if faults := doc.CheckSamples(); len(faults) > 0 {
		t.Errorf("samples that do not fit: %v", faults)
	}
	want := []hook.EventType{
		{
			Name:    "number_management.peering_number_cnam_updated",
			Product: "number_management",
			Scopes:  []string{"number_management:read:peering_numbers_cnam:admin", "number_management_numbers:read:admin"},
			Routing: hook.ByCarrier,
			Check:   hook.CheckStrict,
		},
		{
			Name:    "number_management.peering_number_emergency_address_updated",
			Product: "number_management",
			Scopes:  []string{"number_management:read:peering_numbers_emergency_address:admin", "number_management_numbers:read:admin"},
			Routing: hook.ByCarrier,
			Check:   hook.CheckStrict,
		},
	}
	for i, w := range want {
		got := doc.Types[i]
		if got.Name != w.Name || got.Product != w.Product || !slices.Equal(got.Scopes, w.Scopes) || got.Routing != w.Routing || got.EventType.Check != w.Check {
			t.Errorf("event type %d is %+v, want %+v", i, got.EventType, w)
		}
		if len(got.Samples) != 2 {
			t.Errorf("%s has %d samples, want 2", got.Name, len(got.Samples))
		}
	}
}

// What is not as the contract has it is refused, each fault at its place.
func TestNumberManagementIsStrict(t *testing.T) {
	address := catalog.NumberManagement().Types[1]
	good := string(address.Samples[0].Body)
	for _, c := range []struct{ old, new, want string }{
		{`"event_ts":1767960312480,`, ``, `/event_ts is required`},
		{`1767960312480`, `"1767960312480"`, `/event_ts must be integer, is string`},
		{`address_updated`, `address_removed`, `/event must be "number_management.peering_number_emergency_address_updated", is "number_management.peering_number_emergency_address_removed"`},
		{`2417`, `4294967296`, `/payload/object/carrier_code must be within the range of int32, is 4294967296`},
		{`"carrier_code":2417,`, ``, `/payload/object/carrier_code is required`},
		{`["+14155550142","+14155550143"]`, `[]`, `/payload/object/phone_numbers must have at least 1 item, has 0`},
		{`+14155550143`, `+04155550143`, `/payload/object/phone_numbers/1 must match ^\+[1-9][0-9]{1,14}$, is "+04155550143"`},
		{`+14155550143`, `+1415555014300000`, `/payload/object/phone_numbers/1 must match ^\+[1-9][0-9]{1,14}$, is "+1415555014300000"`},
		{`"city"`, `"town"`, `/payload/object/emergency_address/town is not allowed`},
		{`"address_line1"`, `"address_line2"`, `/payload/object/emergency_address/address_line1 is required`},
		{`"US"`, `"USA"`, `/payload/object/emergency_address/country must have at most 2 characters, has 3`},
		{`"account_id":"Xw3hT0aKQ7mVb9RzC1yPdA"`, `"account_id":""`, `/payload/account_id must have at least 1 character, has 0`},
		{`{"event"`, `{"extra":1,"event"`, `/extra is not allowed`},
	} {
		body := strings.Replace(good, c.old, c.new, 1)
		var got []string
		for _, f := range address.Check([]byte(body)) {
			got = append(got, f.String())
		}
		if body == good || !slices.Equal(got, []string{c.want}) {
			t.Errorf("faults of %s are %q, want %q", body, got, c.want)
		}
	}
}
