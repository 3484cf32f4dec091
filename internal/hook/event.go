package hook

import "time"

// Event is something that happened and was accepted for delivery.
type Event struct {
	ID      EventID
	Account string // whose event it is
	Type    string
	// TS is event_ts, the instant at which it occurred.
	TS time.Time
	// Carrier is the carrier_code of a peering event.
	Carrier int32
	// Users and Groups are the people concerned, for subscriptions of scope user.
	Users, Groups []string
	// Trace is that of its acceptance, if traces are kept. Its attempts are in it.
	Trace Trace
	// Body is the canonical JSON that receivers get, the same bytes each time.
	Body []byte
}
