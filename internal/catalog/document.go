package catalog

import (
	"encoding/json"
	"fmt"

	"github.com/switchhook/switchhook/internal/hook"
)

// Document is what could be read of an OpenAPI document. It does not change
// once it is parsed.
type Document struct {
	// Product is the short name of what the document is about, as in
	// number_management: x-switchhook-product, else what the title says.
	Product string

	Title, Version, Description string

	// Types are the event types, sorted by name.
	Types []*Type
	// Notes say what was wrong, in the order of the document. Of more than a
	// thousand, the rest is only counted.
	Notes []Note
	// Source is the document as compact JSON, with the repairs, as others may have
	// it: OpenAPI 3.1 whose event types are its webhooks. The paths of an API that it
	// describes beside them are not in it.
	Source []byte
}

// Note is something that was wrong with a document, and what was done about it.
type Note struct {
	Level Level `json:"level"`
	// Pointer is a JSON pointer into the document as it was.
	Pointer string `json:"pointer"`
	// EventType is empty if the note is about more than one.
	EventType string `json:"event_type,omitempty"`
	Message   string `json:"message"`
}

// String returns the note as a line of a report.
func (n Note) String() string {
	where := n.Pointer
	if n.EventType != "" {
		where = n.EventType + " " + where
	}
	return fmt.Sprintf("%s: %s: %s", n.Level, where, n.Message)
}

// Level says what a note means for the event type it is about.
type Level uint8

const (
	// Warning is for what remains as it is: something was left out, or is
	// perhaps not what its author meant.
	Warning Level = iota
	// Repaired is for what was changed because its meaning is clear.
	Repaired
	// Unchecked is for an event type that takes any payload, since its schema is
	// missing or cannot be used.
	Unchecked
)

// String returns warning, repaired or unchecked.
func (l Level) String() string {
	switch l {
	case Repaired:
		return "repaired"
	case Unchecked:
		return "unchecked"
	}
	return "warning"
}

// MarshalText writes what [Level.String] returns.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (l *Level) UnmarshalText(text []byte) error {
	for _, x := range []Level{Warning, Repaired, Unchecked} {
		if x.String() == string(text) {
			*l = x
			return nil
		}
	}
	return fmt.Errorf("%q is no level of notes", text)
}

// Type is an event type with everything that its document says about it.
//
// Its method Check hides the field of that name: the mode is EventType.Check.
type Type struct {
	hook.EventType

	// ClassicScopes and GranularScopes are the two kinds that EventType.Scopes
	// holds together, for display.
	ClassicScopes, GranularScopes []string

	Summary, Description string
	// Lead is what a list says of it: the summary, or, for many documents have none,
	// how the description begins.
	Lead string

	// Schema is the JSON Schema of the body as the document has it, after
	// repair. It stands alone: what it refers to elsewhere in the document is
	// under its $defs. It is nil if there is none that can be used.
	Schema json.RawMessage
	// Samples are the bodies that the document shows.
	Samples []Sample

	check checker
	entry string // where it is in Document.Source
}

// Sample is an example of a body.
type Sample struct {
	Name    string          `json:"name"`
	Summary string          `json:"summary,omitempty"`
	Body    json.RawMessage `json:"body"` // compact
}

// SampleFault says what is wrong with a sample.
type SampleFault struct {
	EventType string  `json:"event"`
	Sample    string  `json:"sample"`
	Faults    []Fault `json:"faults"`
}

// CheckSamples compares every sample with the schema of its event type and
// returns those that do not fit, in the order of Types and Samples.
func (d *Document) CheckSamples() []SampleFault {
	var list []SampleFault
	for _, t := range d.Types {
		for _, s := range t.Samples {
			if faults := t.Check(s.Body); len(faults) > 0 {
				list = append(list, SampleFault{t.Name, s.Name, faults})
			}
		}
	}
	return list
}
