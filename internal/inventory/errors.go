package inventory

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/switchhook/switchhook/internal/hook"
)

// Error is why a request was refused, all of it. The public API has codes for these, so
// they are told apart here.
type Error struct {
	Kind Kind
	// Carrier is for NoCarrier, Limit for TooMany.
	Carrier int32
	Limit   int
	// Refused is for Refused: every number at fault, in the order of the request.
	Refused []Refusal
}

// Kind is the sort of an [Error].
type Kind uint8

// The kinds of errors.
const (
	// Refused: there are numbers that this cannot be done to.
	Refused Kind = iota + 1
	// NoCarrier: there is no such carrier.
	NoCarrier
	// Empty: no number is named.
	Empty
	// TooMany: more numbers are named than one request may.
	TooMany
)

// Error says it in a line.
func (e *Error) Error() string {
	switch e.Kind {
	case NoCarrier:
		return fmt.Sprintf("there is no carrier %d", e.Carrier)
	case Empty:
		return "no number is named"
	case TooMany:
		return fmt.Sprintf("more than %d numbers are named", e.Limit)
	}
	lines := make([]string, len(e.Refused))
	for i, r := range e.Refused {
		lines[i] = r.String()
	}
	return strings.Join(lines, "; ")
}

// Refusal says why something was not done to a number.
type Refusal struct {
	// Line is where in a file the number is, or 0.
	Line   int
	Number string
	Why    Why
	// Field is what is at fault, as number.Number has it in JSON, and Message what is
	// wrong with it. A fault of a file's line as a whole has no field.
	Field, Message string
}

// String says it in a line.
func (r Refusal) String() string {
	text := r.Number
	if r.Line > 0 {
		text = "line " + strconv.Itoa(r.Line) + ": " + text
	}
	return text + ": " + hook.Faults{{Field: r.Field, Message: r.Message}}.Error()
}

// Why is the sort of a [Refusal].
type Why uint8

// The sorts of refusals.
const (
	// BadValue: a value breaks a rule, or does not go with the others.
	BadValue Why = iota
	// BadNumber: it is not a phone number in E.164.
	BadNumber
	// BadTrunk: the name of the SIP trunk breaks a rule.
	BadTrunk
	// Unknown: there is no such number, or it is somebody else's.
	Unknown
	// Taken: it is there already, of this carrier or another one.
	Taken
	// BadCarrier: there is no such carrier.
	BadCarrier
	// BadAccount: there is no such account.
	BadAccount
)

// whyOf is the sort of a fault in a field.
func whyOf(field string) Why {
	switch field {
	case "phone_number":
		return BadNumber
	case "sip_trunk_name":
		return BadTrunk
	case "carrier_code":
		return BadCarrier
	case "account_id":
		return BadAccount
	}
	return BadValue
}

// refusals makes refusals of the faults of a number.
func refusals(line int, e164 string, faults hook.Faults) (all []Refusal) {
	for _, f := range faults {
		all = append(all, Refusal{line, e164, whyOf(f.Field), f.Field, f.Message})
	}
	return all
}
