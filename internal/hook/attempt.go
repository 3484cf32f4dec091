package hook

import "time"

// Attempt is one row of the webhook log: an attempt to deliver, or another
// step in the life of a delivery. The latest one of a delivery says how the
// delivery stands.
type Attempt struct {
	// ID orders attempts by when they were recorded.
	ID       int64
	Delivery DeliveryID
	// EventType is what was sent, and Target where to. Rows that are no request lack
	// them.
	EventType string
	Target    Target
	Kind      AttemptKind
	// Retry is the contract's retry_num: 0 for a first attempt.
	Retry   int
	Outcome Outcome // zero unless something was to be sent
	// State is how the delivery stands since, and Next when the following attempt is due.
	State State
	Next  time.Time
	// Due is when this attempt was to start, Started when it did.
	Due, Started time.Time
	Timing       Timing
	// Span identifies the attempt in x-zm-trackingid and traceparent.
	Span     uint64
	Response Response
	// Detail says in words what happened, where the outcome alone does not.
	Detail string
}

// AttemptKind is the sort of a log row.
type AttemptKind uint8

const (
	// KindAttempt: an attempt to deliver.
	KindAttempt AttemptKind = iota
	// KindResend: somebody asked for the delivery to be made again.
	KindResend
	// KindCancel: the delivery was called off.
	KindCancel
	// KindChallenge: the endpoint was asked to prove itself. It has an event and a
	// request id of its own, but no delivery.
	KindChallenge
)

// String returns the kind's name in lower case.
func (k AttemptKind) String() string {
	switch k {
	case KindResend:
		return "resend"
	case KindCancel:
		return "cancel"
	case KindChallenge:
		return "challenge"
	default:
		return "attempt"
	}
}

// Target is where a request goes, and with what authentication beside the signature.
type Target struct {
	URL  string
	Auth AuthMode
	// Header is the name of the header of AuthHeader.
	Header string
}

// Request reports whether the row is of a request that was made, or was to be.
func (a *Attempt) Request() bool { return a.Kind == KindAttempt || a.Kind == KindChallenge }

// Failed reports whether the request did not achieve what it was made for.
func (a *Attempt) Failed() bool {
	if a.Kind == KindChallenge {
		return a.State != Delivered
	}
	return !a.Outcome.OK()
}

// Timing holds the phases of an attempt as time since its start. A phase that
// did not happen, because a kept connection was used or the attempt failed
// before it, is zero.
type Timing struct {
	DNS       time.Duration // the host name was resolved
	Connected time.Duration // TCP was connected
	TLS       time.Duration // the TLS handshake was done
	FirstByte time.Duration // the answer began
	Done      time.Duration // the attempt ended
}

// Response is what the endpoint answered, cut to the configured length and with
// secrets masked.
type Response struct {
	Header string // as on the wire, lines separated by \n
	Body   []byte
	// Truncated says that the body was longer.
	Truncated bool
}
