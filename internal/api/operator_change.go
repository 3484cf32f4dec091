package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/switchhook/switchhook/internal/hook"
)

// readChange reads the body of a PUT: the members of T that are to be different. change
// puts them into a T, whose other members stay; one that is null gets its default.
func readChange[T any](w http.ResponseWriter, r *http.Request) (body T, change func(*T) error, err error) {
	var raw json.RawMessage
	if err := readJSON(w, r, &raw); err != nil {
		return body, nil, err
	}
	if err := decodeJSON(bytes.NewReader(raw), &body); err != nil {
		return body, nil, err
	}
	var says map[string]json.RawMessage
	if err := json.Unmarshal(raw, &says); err != nil {
		return body, nil, err
	}
	if says == nil {
		return body, nil, hook.Faults{{Message: "the body is null, and must be an object"}}.Err("body")
	}
	for name := range says {
		if name != strings.ToLower(name) { // the decoder takes any case
			return body, nil, hook.Faults{{Message: fmt.Sprintf("the body is not as expected: unknown field %q", name)}}.Err("body")
		}
	}
	return body, func(x *T) error {
		members, err := membersOf(x)
		if err != nil {
			return err
		}
		for name, value := range says {
			if members[name] = value; string(value) == "null" {
				delete(members, name)
			}
		}
		whole, err := json.Marshal(members)
		if err != nil {
			return err
		}
		var next T
		if err := json.Unmarshal(whole, &next); err != nil {
			return err
		}
		*x = next
		return nil
	}, nil
}

func membersOf(x any) (map[string]json.RawMessage, error) {
	text, err := json.Marshal(x)
	if err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	return members, json.Unmarshal(text, &members)
}

// same refuses a body that says another name than the thing has: that would be another
// thing.
func same(field, says, is string) error {
	if says == "" || says == is {
		return nil
	}
	return hook.Faults{{Field: field, Message: "cannot be changed: it tells this one from others"}}.Err("body")
}

// inPath gives faults of an id, which is not in the body, the name that it has in the
// path.
func inPath(err error, parameter string) error {
	if e, ok := errors.AsType[*hook.Error](err); ok {
		for i := range e.Faults {
			if e.Faults[i].Field == "/id" {
				e.Faults[i].Field = parameter
			}
		}
	}
	return err
}

// putStatus is the status for something that was made, or was there already.
func putStatus(made bool) int {
	if made {
		return http.StatusCreated
	}
	return http.StatusOK
}
