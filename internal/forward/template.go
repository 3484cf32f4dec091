package forward

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/switchhook/switchhook/internal/inbox"
)

// Template makes a text of a message, as the subject that it is published under. What
// is in braces is replaced: {source}, {event}, {key}, {id}, and {payload.account_id} or
// what else there is in the payload.
type Template struct {
	text  string
	parts []part
}

// part is a text, or what stands in braces.
type part struct {
	text  string
	field []string // of the body if there are several, as in payload, account_id
}

// ParseTemplate reads a template.
func ParseTemplate(text string) (*Template, error) {
	t := &Template{text: text}
	for rest := text; rest != ""; {
		before, after, more := strings.Cut(rest, "{")
		if strings.Contains(before, "}") {
			return nil, fmt.Errorf("%q has a } without its {", text)
		}
		if before != "" {
			t.parts = append(t.parts, part{text: before})
		}
		if !more {
			break
		}
		name, after, closed := strings.Cut(after, "}")
		if !closed {
			return nil, fmt.Errorf("%q has a { without its }", text)
		}
		field := strings.Split(name, ".")
		switch {
		case len(field) > 1 && field[0] == "payload":
		case name == "source", name == "event", name == "key", name == "id":
		default:
			return nil, fmt.Errorf("%q: there is no {%s}; there are {source}, {event}, {key}, {id}, and members of the payload, as in {payload.account_id}", text, name)
		}
		t.parts = append(t.parts, part{field: field})
		rest = after
	}
	return t, nil
}

// String returns the template as it was written.
func (t *Template) String() string { return t.text }

// Text returns the text for a message. What stands for braces is what clean returns of
// it; missing says that there is none for some.
func (t *Template) Text(m *Message, clean func(name, value string) string) (text string, missing bool) {
	var b strings.Builder
	for _, p := range t.parts {
		if p.field == nil {
			b.WriteString(p.text)
			continue
		}
		value := m.value(p.field)
		missing = missing || value == ""
		b.WriteString(clean(strings.Join(p.field, "."), value))
	}
	return b.String(), missing
}

// Example returns the text with a word for all that stands in braces.
func (t *Template) Example(word string) string {
	text, _ := t.Text(&Message{Event: &inbox.Event{}}, func(string, string) string { return word })
	return text
}

// value returns a field of a message, or nothing.
func (m *Message) value(field []string) string {
	if len(field) > 1 {
		return member(m.Body, field)
	}
	return map[string]string{"source": m.Source, "event": m.Name, "key": m.Key, "id": strconv.FormatInt(m.ID, 10)}[field[0]]
}

// member returns what is at a path in JSON: a text as it is, a number or truth value as
// it is written, anything else as nothing.
func member(body []byte, path []string) string {
	at := json.RawMessage(body)
	for _, name := range path {
		// A struct would be filled from names that only differ in case.
		var members map[string]json.RawMessage
		if json.Unmarshal(at, &members) != nil {
			return ""
		}
		at = members[name]
	}
	switch at = bytes.TrimSpace(at); {
	case len(at) == 0 || at[0] == '{' || at[0] == '[' || string(at) == "null":
		return ""
	case at[0] != '"':
		return string(at)
	}
	var text string
	_ = json.Unmarshal(at, &text) // it is part of valid JSON
	return text
}
