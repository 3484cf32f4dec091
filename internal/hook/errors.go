package hook

import (
	"fmt"
	"strings"
	"time"
)

// Error is a fault that the caller may be told: what went wrong with which
// subject. Everything that is not an Error stays inside the house.
type Error struct {
	Kind    Kind
	Subject string // what it is about, as in "subscription h3Kq..."
	// Detail says what to do, or what stands in the way, in a sentence.
	Detail string
	Faults Faults // for Invalid, the fields at fault
	// Wait is for TooMany and Unavailable: how long to wait before trying again. 0:
	// nobody knows.
	Wait time.Duration
}

// Kind is the sort of an [Error].
type Kind uint8

// The kinds of errors.
const (
	// Invalid: the input breaks a rule.
	Invalid Kind = iota + 1
	// NotFound: there is no such thing.
	NotFound
	// Conflict: it stands against something that exists.
	Conflict
	// Unauthenticated: no valid operator key.
	Unauthenticated
	// Forbidden: the operator key may not do this.
	Forbidden
	// TooLarge: more bytes than the limit.
	TooLarge
	// Unavailable: the store cannot take it now; try again later.
	Unavailable
	// TooMany: more requests than are allowed; try again later.
	TooMany

	// What the public API tells apart. Subject is what its message names.

	// BadParameter: an input breaks a rule, which Detail says in a sentence.
	BadParameter
	// BadToken: the access token is not one, or has expired.
	BadToken
	// MissingScopes: the app has none of the scopes that the call takes.
	MissingScopes
	// EventUnknown: there is no such event type.
	EventUnknown
	// EventNotAllowed: the app has none of the event type's scopes.
	EventNotAllowed
	// SubscriptionUnknown: the app has no such subscription.
	SubscriptionUnknown
	// EndpointUnproven: the endpoint did not prove itself.
	EndpointUnproven
	// TokenURLUnproven: the token URL gave no usable token.
	TokenURLUnproven
	// UnknownHeaderType: custom_header_type is none that there is.
	UnknownHeaderType
	// NotAuthorizedToCreate: the account or user has not authorized the app.
	NotAuthorizedToCreate
	// NotAuthorized is the same where there is a subscription already.
	NotAuthorized
	// UserUnknown: the account has no such user.
	UserUnknown
	// UserNotPermitted: the user cannot permit the event type, which Detail names.
	UserNotPermitted
	// PageTokenInvalid: the page token is not for this query, or too old.
	PageTokenInvalid
	// LogNotPermitted: the webhook log is another app's.
	LogNotPermitted
	// LogAppUnknown: there is no such app.
	LogAppUnknown
	// LogRetryNum: retry_num is out of range.
	LogRetryNum
	// LogOrder: to is before from.
	LogOrder
	// LogRange: from and to are too far apart, or too long ago.
	LogRange
	// LogFormat: a time is not written as it should be.
	LogFormat
	// LogFuture: from is in the future.
	LogFuture
	// NumbersRefused: there are numbers that it cannot be done to, which Detail names.
	NumbersRefused
	// CarrierUnknown: there is no such carrier, or it is another app's.
	CarrierUnknown
	// NumbersMissing: no number is named.
	NumbersMissing
	// NumbersTooMany: more numbers are named than one call may.
	NumbersTooMany

	kindsEnd
)

// Kinds returns all kinds of errors.
func Kinds() []Kind {
	var all []Kind
	for k := Invalid; k < kindsEnd; k++ {
		all = append(all, k)
	}
	return all
}

// Error returns subject, detail and faults as one line. Of what is not found, subject and
// detail are a sentence.
func (e *Error) Error() string {
	if e.Kind == NotFound && e.Subject != "" && e.Detail != "" {
		return e.Subject + " " + e.Detail
	}
	parts := make([]string, 0, 2)
	if e.Subject != "" {
		parts = append(parts, e.Subject)
	}
	if e.Detail != "" {
		parts = append(parts, e.Detail)
	}
	if len(e.Faults) > 0 {
		parts = append(parts, e.Faults.Error())
	}
	return strings.Join(parts, ": ")
}

// Fault is what is wrong with one field.
type Fault struct {
	// Field is a path as the caller wrote it, or a JSON pointer into a body.
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Faults collects what is wrong with an input.
type Faults []Fault

// Add notes a fault.
func (f *Faults) Add(field, format string, args ...any) {
	*f = append(*f, Fault{field, fmt.Sprintf(format, args...)})
}

// In returns the faults with their fields below a prefix.
func (f Faults) In(prefix string) Faults {
	out := make(Faults, len(f))
	for i, x := range f {
		out[i] = Fault{prefix + x.Field, x.Message}
	}
	return out
}

// Err returns nil if there are none, else an [Error] of kind Invalid.
func (f Faults) Err(subject string) error {
	if len(f) == 0 {
		return nil
	}
	return &Error{Kind: Invalid, Subject: subject, Faults: f}
}

// Error joins the faults as one line.
func (f Faults) Error() string {
	var b strings.Builder
	for i, x := range f {
		if i > 0 {
			b.WriteString("; ")
		}
		if x.Field != "" {
			b.WriteString(x.Field + " ")
		}
		b.WriteString(x.Message)
	}
	return b.String()
}
