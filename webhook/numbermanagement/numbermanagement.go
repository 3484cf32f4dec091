// Package numbermanagement has the events by which carriers learn what the public
// network must know of the phone numbers they peer: caller names and emergency
// addresses.
//
// Use them with a [webhook.Mux]:
//
//	webhook.On(&mux, numbermanagement.CNAMUpdatedEvent,
//		func(ctx context.Context, e *webhook.Event, c numbermanagement.CNAMUpdated) error {
//			return setName(ctx, c.PhoneNumbers, c.CNAM)
//		})
//
// Events may come out of order, and more than once. Of two about the same number the
// one with the later [webhook.Event.Time] is true.
package numbermanagement

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/switchhook/switchhook/webhook"
)

// The event types.
const (
	CNAMUpdatedEvent             webhook.Name[CNAMUpdated]             = "number_management.peering_number_cnam_updated"
	EmergencyAddressUpdatedEvent webhook.Name[EmergencyAddressUpdated] = "number_management.peering_number_emergency_address_updated"
)

// Numbers says whose numbers an event is about.
type Numbers struct {
	// AccountID is the account of the customer who uses the numbers.
	AccountID string
	// CarrierCode is the carrier that peers them.
	CarrierCode int32
	// PhoneNumbers are the numbers in E.164 form, at least one.
	PhoneNumbers []string
}

// CNAMUpdated says that a customer has set, changed or removed the caller name of
// some numbers.
type CNAMUpdated struct {
	Numbers
	// CNAM is the new name of all of them; empty if it was removed.
	CNAM string
}

// EmergencyAddressUpdated says that a customer has set, changed or removed the
// emergency address of some numbers.
type EmergencyAddressUpdated struct {
	Numbers
	// Address is the new address of all of them; nil if it was removed.
	Address *EmergencyAddress
}

// EmergencyAddress is where help is sent when one of the numbers calls for it.
type EmergencyAddress struct {
	// Country is the country as ISO 3166-1 alpha-2 has it.
	Country string
	// Line1 is house number and street. Every address has it.
	Line1 string
	// Line2 is building, floor or unit.
	Line2 string
	City  string
	// ZIP is the postal code.
	ZIP string
	// StateCode is the state or province, abbreviated.
	StateCode string
}

// UnmarshalJSON reads the payload of an event.
func (c *CNAMUpdated) UnmarshalJSON(payload []byte) error {
	var made CNAMUpdated
	object, err := made.read(payload)
	if err != nil {
		return err
	}
	if err := object.get("cnam", &made.CNAM); err != nil {
		return err
	}
	*c = made
	return nil
}

// UnmarshalJSON reads the payload of an event.
func (u *EmergencyAddressUpdated) UnmarshalJSON(payload []byte) error {
	var made EmergencyAddressUpdated
	object, err := made.read(payload)
	if err != nil {
		return err
	}
	if err := object.get("emergency_address", &made.Address); err != nil {
		return err
	}
	*u = made
	return nil
}

// UnmarshalJSON reads an address.
func (a *EmergencyAddress) UnmarshalJSON(text []byte) error {
	o, err := readMembers(text)
	if err != nil {
		return err
	}
	var made EmergencyAddress
	for _, m := range made.members() {
		if err := o.get(m.name, m.value); err != nil {
			return err
		}
	}
	if made.Line1 == "" {
		return errors.New("address_line1 is missing")
	}
	*a = made
	return nil
}

// MarshalJSON writes the payload of an event, for tests.
func (c CNAMUpdated) MarshalJSON() ([]byte, error) {
	return c.write("cnam", c.CNAM, c.CNAM != "")
}

// MarshalJSON writes the payload of an event, for tests.
func (u EmergencyAddressUpdated) MarshalJSON() ([]byte, error) {
	return u.write("emergency_address", u.Address, u.Address != nil)
}

// MarshalJSON writes the address as events have it, without what is empty of it.
func (a EmergencyAddress) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for _, m := range a.members() {
		if *m.value == "" {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		value, err := json.Marshal(*m.value)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%q:%s", m.name, value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

type member struct {
	name  string
	value *string
}

func (a *EmergencyAddress) members() []member {
	return []member{
		{"country", &a.Country}, {"address_line1", &a.Line1}, {"address_line2", &a.Line2}, {"city", &a.City}, {"zip", &a.ZIP}, {"state_code", &a.StateCode},
	}
}

// read reads what all payloads have, and returns their object for the rest.
func (n *Numbers) read(payload []byte) (object members, err error) {
	root, err := readMembers(payload)
	if err != nil {
		return nil, err
	}
	if object, err = readMembers(root["object"]); err != nil {
		return nil, fmt.Errorf("object: %w", err)
	}
	if err := errors.Join(root.get("account_id", &n.AccountID), object.get("carrier_code", &n.CarrierCode), object.get("phone_numbers", &n.PhoneNumbers)); err != nil {
		return nil, err
	}
	switch {
	case object["carrier_code"] == nil:
		return nil, errors.New("carrier_code is missing")
	case len(n.PhoneNumbers) == 0 || slices.Contains(n.PhoneNumbers, ""):
		return nil, errors.New("phone_numbers is missing or has an empty entry")
	}
	return object, nil
}

func (n *Numbers) write(name string, value any, there bool) ([]byte, error) {
	object := []any{"carrier_code", n.CarrierCode, "phone_numbers", n.PhoneNumbers}
	if there {
		object = append(object, name, value)
	}
	inner, err := ordered(object...)
	if err != nil {
		return nil, err
	}
	return ordered("account_id", n.AccountID, "object", json.RawMessage(inner))
}

// ordered writes an object of names and values in the given order.
func ordered(pairs ...any) ([]byte, error) {
	b := []byte{'{'}
	for i := 0; i < len(pairs); i += 2 {
		value, err := json.Marshal(pairs[i+1])
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(fmt.Appendf(b, "%q:", pairs[i]), value...)
	}
	return append(b, '}'), nil
}

// members are the members of an object by their exact names. A struct would be filled
// from "CNAM" as well as from "cnam", and other receivers would see another name.
type members map[string]json.RawMessage

func readMembers(text []byte) (m members, err error) {
	if len(text) == 0 {
		return nil, errors.New("is missing")
	}
	if err := json.Unmarshal(text, &m); err != nil || m == nil {
		return nil, errors.New("is not an object")
	}
	return m, nil
}

// get decodes a member, if it is there. null is as if it were not.
func (m members) get(name string, into any) error {
	value, ok := m[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(value, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
