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

// Error returns subject, detail and faults as one line.
func (e *Error) Error() string {
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
