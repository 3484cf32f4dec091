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
	// Payload is the payload as received; a part of Body.
	Payload json.RawMessage
	// Body is the whole body as received, for further root keys that an event may
	// have.
	Body []byte
	// RequestID is the same on every attempt of a delivery. It is not signed, so
	// whoever can replay a request can change it: a filter for duplicates must rest
	// on BodyHash as well, as that of Config.Duplicates does.
	RequestID string
	// TrackingID identifies the attempt for the sender's support. It is not signed.
	TrackingID string
	// IDReused says that Config.Duplicates knows the request id with another body.
	// The platform does not do that, so somebody else may have sent this.
	IDReused bool

	*Verified
}

// Event decodes the body. An error matches [ErrBody]; it says nothing about the
// signature, which is right.
func (v *Verified) Event() (*Event, error) {
	if i := space(v.body, 0); i == len(v.body) || v.body[i] != '{' {
		return nil, fmt.Errorf("%w: it is not a JSON object", ErrBody)
	}
	root := objectOf(v.body)
	if root == nil {
		var whole json.RawMessage
		return nil, fmt.Errorf("%w: %w", ErrBody, json.Unmarshal(v.body, &whole))
	}
	e := &Event{Payload: root.member("payload"), Body: v.body, Verified: v}
	name := root.member("event")
	if text, ok := unquote(name); ok {
		e.Name = text
	} else if name != nil && string(name) != "null" {
		return nil, fmt.Errorf("%w: event is not a text", ErrBody)
	}
	if e.Name == "" {
		return nil, fmt.Errorf("%w: it has no event", ErrBody)
	}
	// An odd time is no reason to lose an event.
	if ms, err := strconv.ParseInt(string(bytes.Trim(root.member("event_ts"), `"`)), 10, 64); err == nil {
		e.Time = time.UnixMilli(ms)
	}
	return e, nil
}
