package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Event is a verified event.
type Event struct {
	// Name is the event type, as in number_management.peering_number_cnam_updated.
	Name string
	// Time is when it occurred, to the millisecond; zero if the body does not say so
	// in an integer.
	Time time.Time
	// Payload is the payload as received.
	Payload json.RawMessage
	// Body is the whole body as received, for further root keys that an event may
	// have.
	Body []byte
	// RequestID is the same on every attempt of a delivery. It is not signed, so
	// whoever can replay a request can change it: a filter for duplicates must rest
	// on BodyHash as well.
	RequestID string
	// TrackingID identifies the attempt for the sender's support. It is not signed.
	TrackingID string

	*Verified
}

// Event decodes the body. An error matches [ErrBody]; it says nothing about the
// signature, which is right.
func (v *Verified) Event() (*Event, error) {
	if trimmed := bytes.TrimLeft(v.body, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, fmt.Errorf("%w: it is not a JSON object", ErrBody)
	}
	var root object
	if err := json.Unmarshal(v.body, &root); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBody, err)
	}
	e := &Event{Payload: root["payload"], Body: v.body, Verified: v}
	if err := root.get("event", &e.Name); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBody, err)
	}
	if e.Name == "" {
		return nil, fmt.Errorf("%w: it has no event", ErrBody)
	}
	// An odd time is no reason to lose an event.
	if ms, err := strconv.ParseInt(string(bytes.Trim(root["event_ts"], `"`)), 10, 64); err == nil {
		e.Time = time.UnixMilli(ms)
	}
	return e, nil
}

// object is a JSON object by the exact names of its members. A struct would be
// filled from "Event" as well as from "event", and whichever comes last would win:
// then this receiver sees another event than the sender and all other receivers.
type object map[string]json.RawMessage

// get decodes a member, if it is there.
func (o object) get(name string, into any) error {
	raw, ok := o[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
