package hook

import "fmt"

// EventType is one kind of event that subscriptions may list.
type EventType struct {
	// Name is what the body carries as "event", as in
	// number_management.peering_number_cnam_updated.
	Name string
	// Product is the part of the catalog the type belongs to, as in
	// number_management.
	Product string
	// Scopes entitle: an app that has any one of them, classic or granular, may
	// receive the event. No scopes: every app may.
	Scopes []string
	// Routing says how the event finds its apps.
	Routing Routing
	// Check says what a body that does not fit the type's schema leads to.
	Check CheckMode
}

// Routing is the way an event finds the apps that may receive it.
type Routing uint8

const (
	// ByAccount reaches the apps owned by or installed on the event's account.
	ByAccount Routing = iota
	// ByCarrier reaches the apps bound to the event's carrier_code, whoever the
	// customer is: peering events are for the carrier.
	ByCarrier
)

// String returns account or carrier.
func (r Routing) String() string {
	if r == ByCarrier {
		return "carrier"
	}
	return "account"
}

// CheckMode says what happens to a published body that violates its schema.
type CheckMode uint8

const (
	// CheckReport accepts the event and tells the publisher what is wrong. It is
	// the mode of imported types, whose own examples often violate their schema.
	CheckReport CheckMode = iota
	// CheckStrict refuses the event. It is the mode of built-in types.
	CheckStrict
	// CheckOff does not look.
	CheckOff
)

// String returns report, strict or off.
func (m CheckMode) String() string {
	switch m {
	case CheckStrict:
		return "strict"
	case CheckOff:
		return "off"
	default:
		return "report"
	}
}

// ParseCheckMode reads what [CheckMode.String] writes.
func ParseCheckMode(s string) (CheckMode, error) {
	switch s {
	case "strict":
		return CheckStrict, nil
	case "report":
		return CheckReport, nil
	case "off":
		return CheckOff, nil
	}
	return 0, fmt.Errorf("check mode %q is none of strict, report, off", s)
}
