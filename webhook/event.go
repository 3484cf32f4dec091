package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Event is a verified event.
type Event struct {
	// Name is the event type, as in number_management.peering_number_cnam_updated.
	Name string
	// Time is when it occurred, to the millisecond; zero if the body does not say.
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
	var b struct {
		Event   string          `json:"event"`
		TS      json.Number     `json:"event_ts"`
		Payload json.RawMessage `json:"payload"`
	}
	if trimmed := bytes.TrimLeft(v.body, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, fmt.Errorf("%w: it is not a JSON object", ErrBody)
	}
	if err := json.Unmarshal(v.body, &b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBody, err)
	}
	if b.Event == "" {
		return nil, fmt.Errorf("%w: it has no event", ErrBody)
	}
	e := &Event{Name: b.Event, Payload: b.Payload, Body: v.body, Verified: v}
	if ms, err := b.TS.Int64(); err == nil {
		e.Time = time.UnixMilli(ms)
	}
	return e, nil
}
