package webhook_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/switchhook/switchhook/webhook"
)

// What is in a body is what the receiver's function gets.
func TestEvents(t *testing.T) {
	const name = "number_management.peering_number_cnam_updated"
	for title, c := range map[string]struct {
		body    string
		at      time.Time
		payload string
	}{
		"an event":                 {testBody, time.UnixMilli(1763758800123), testBody[strings.Index(testBody, `{"account_id"`) : len(testBody)-1]},
		"no time":                  {`{"event":"` + name + `","payload":{}}`, time.Time{}, `{}`},
		"a time of null":           {`{"event":"` + name + `","event_ts":null,"payload":{}}`, time.Time{}, `{}`},
		"a time in quotes":         {`{"event":"` + name + `","event_ts":"1763758800123","payload":{}}`, time.UnixMilli(1763758800123), `{}`},
		"a time that is a word":    {`{"event":"` + name + `","event_ts":"yesterday","payload":{}}`, time.Time{}, `{}`},
		"a time that is an object": {`{"event":"` + name + `","event_ts":{},"payload":{}}`, time.Time{}, `{}`},
		"a time with a fraction":   {`{"event":"` + name + `","event_ts":1763758800123.5,"payload":{}}`, time.Time{}, `{}`},
		"a time beyond 64 bits":    {`{"event":"` + name + `","event_ts":99999999999999999999,"payload":{}}`, time.Time{}, `{}`},
		"a time before 1970":       {`{"event":"` + name + `","event_ts":-1,"payload":{}}`, time.UnixMilli(-1), `{}`},
		"no payload":               {`{"event":"` + name + `"}`, time.Time{}, ``},
		"a payload of null":        {`{"event":"` + name + `","payload":null}`, time.Time{}, `null`},
		"a payload that is a list": {`{"event":"` + name + `","payload":[1, 2]}`, time.Time{}, `[1, 2]`},
		"white space":              {"\r\n\t {\"event\" : \"" + name + "\" , \"payload\" : { \"a\" : 1 } }\n", time.Time{}, `{ "a" : 1 }`},
		"further keys":             {`{"x":{"event":"y"},"event":"` + name + `","payload":{},"z":[]}`, time.Time{}, `{}`},
		"an escape in the name":    {`{"event":"number_management\u002epeering_number_cnam_updated","payload":{}}`, time.Time{}, `{}`},
		"keys of another case":     {`{"event":"` + name + `","payload":{},"Event":"x","EVENT_TS":1763758800123,"Payload":{"x":1}}`, time.Time{}, `{}`},
		"the last of two names":    {`{"event":"x","event":"` + name + `"}`, time.Time{}, ``},
		"deep, but not too deep":   {`{"event":"` + name + `","payload":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`, time.Time{}, strings.Repeat("[", 9000) + strings.Repeat("]", 9000)},
	} {
		t.Run(title, func(t *testing.T) {
			v := verified(t, c.body)
			e, err := v.Event()
			if err != nil {
				t.Fatal(err)
			}
			if e.Name != name || !e.Time.Equal(c.at) || e.Time.IsZero() != c.at.IsZero() || string(e.Payload) != c.payload {
				t.Errorf("%s at %v with %.100s", e.Name, e.Time, e.Payload)
			}
			if string(e.Body) != c.body || e.Verified != v {
				t.Error("body or verification is not the request's")
			}
		})
	}
}

// What is no event is refused as that, while it stays true that the signature was
// right.
func TestBodiesThatAreNoEvents(t *testing.T) {
	for name, c := range map[string]struct{ body, text string }{
		"nothing":                     {"", "not a JSON object"},
		"white space":                 {" \n", "not a JSON object"},
		"null":                        {"null", "not a JSON object"},
		"a list":                      {`[{"event":"e"}]`, "not a JSON object"},
		"a text":                      {`"event"`, "not a JSON object"},
		"a form":                      {"event=e", "not a JSON object"},
		"a byte order mark":           {"\ufeff{\"event\":\"e\"}", "not a JSON object"},
		"bytes, no text":              {"\x00\xff", "not a JSON object"},
		"cut off":                     {`{"event":"e"`, "unexpected end"},
		"another object after it":     {`{"event":"e"}{"event":"f"}`, "after top-level value"},
		"a byte after it":             {`{"event":"e"}x`, "after top-level value"},
		"a NUL after it":              {"{\"event\":\"e\"}\x00", "after top-level value"},
		"a comma too many":            {`{"event":"e",}`, "invalid character"},
		"single quotes":               {`{'event':'e'}`, "invalid character"},
		"a line feed in a text":       {"{\"event\":\"e\n\"}", "invalid character"},
		"no event":                    {`{"event_ts":1,"payload":{}}`, "it has no event"},
		"an empty object":             {`{}`, "it has no event"},
		"an empty name":               {`{"event":""}`, "it has no event"},
		"a name of null":              {`{"event":null}`, "it has no event"},
		"a name that ends as null":    {`{"event":"e","event":null}`, "it has no event"},
		"a name of another case":      {`{"Event":"e"}`, "it has no event"},
		"a name that is a number":     {`{"event":1}`, "event"},
		"a name that is an object":    {`{"event":{"event":"e"}}`, "event"},
		"too deep":                    {`{"event":"e","payload":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, "depth"},
		"too deep, and never closed":  {`{"event":"e","payload":` + strings.Repeat(`{"a":`, 100000), "depth"},
		"a million brackets":          {strings.Repeat("[", 1<<20), "not a JSON object"},
		"a name and a time too wrong": {`{"event":1,"event_ts":{}}`, "event"},
	} {
		t.Run(name, func(t *testing.T) {
			v := verified(t, c.body)
			before := *v
			e, err := v.Event()
			if e != nil || !errors.Is(err, webhook.ErrBody) || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("%+v, %v, want %q", e, err, c.text)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is more than a line: %q", err)
			}
			for name, reason := range sentinels() {
				if errors.Is(err, reason) && reason != webhook.ErrBody {
					t.Errorf("%v: it matches %s, too", err, name)
				}
			}
			if answer, ok, err := v.Challenge(); answer != nil || ok || err != nil {
				t.Errorf("taken for a challenge: %s, %v, %v", answer, ok, err)
			}
			if v.Timestamp != before.Timestamp || v.Secret != before.Secret || v.Replay != before.Replay || v.BodyHash != before.BodyHash {
				t.Error("decoding changed what was verified")
			}
			// The other way round: a body that is no event is no less in need of a signature.
			unsigned := signed(nextSecret, stamp(0), c.body)
			if v, err := receiver(t).Verify(unsigned, []byte(c.body)); v != nil || !errors.Is(err, webhook.ErrSignature) || errors.Is(err, webhook.ErrBody) {
				t.Errorf("with a wrong signature: %+v, %v", v, err)
			}
		})
	}
}
