package intake

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/switchhook/switchhook/internal/canon"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/webhook"
)

// routingKey is the root member that says where an event goes and is not sent.
const routingKey = "$routing"

// MaxKey is how many bytes an idempotency key may have.
const MaxKey = 255

const (

	// firstMillis is the lowest event_ts that can be meant as milliseconds: 1973. What
	// is below it was meant as seconds.
	firstMillis = 100_000_000_000

	// lastMillis is the end of the year 9999. What is above it was meant as
	// microseconds or nanoseconds.
	lastMillis = 253_402_300_799_999
)

// decoded is an item that may be stored.
type decoded struct {
	event    *hook.Event
	typ      *hook.EventType
	key      string
	digest   []byte
	warnings hook.Faults
}

// routing is the value of $routing.
type routing struct {
	Account string   `json:"account_id"`
	Users   []string `json:"user_ids"`
	Groups  []string `json:"user_group_ids"`
	Key     string   `json:"idempotency_key"`
}

// decode reads an item. What is wrong with it is a *hook.Error of kind Invalid
// that names every fault it can.
func (in *Intake) decode(item Item, now time.Time) (*decoded, error) {
	if len(item.Raw) > MaxEvent {
		return nil, tooLarge()
	}
	// Room for an event_ts that may have to be added.
	doc, err := canon.Append(make([]byte, 0, len(item.Raw)+32), item.Raw)
	if e, ok := errors.AsType[*canon.Error](err); ok {
		return nil, hook.Faults{{Field: e.Pointer, Message: fmt.Sprintf("%s (byte %d)", e.Message, e.Offset)}}.Err("event")
	} else if err != nil {
		return nil, err
	}
	if doc[0] != '{' {
		return nil, hook.Faults{{Message: "is not a JSON object"}}.Err("event")
	}
	d := &decoded{event: &hook.Event{}, key: item.Key}
	var f hook.Faults
	doc, r := cutRouting(doc, &f)
	if len(r.Key) > MaxKey {
		f.Add("/"+routingKey+"/idempotency_key", "is longer than %d bytes", MaxKey)
	}
	if d.key = cmp.Or(r.Key, d.key); d.key != "" {
		d.digest = digest(doc, r)
	}
	doc, payload := d.root(doc, now, &f)
	in.route(d, payload, r, &f)
	if len(doc) > MaxEvent {
		return nil, tooLarge()
	}
	d.event.Body = doc
	if len(f) == 0 {
		in.check(d, &f)
	}
	return d, f.Err("event")
}

func tooLarge() error {
	return &hook.Error{Kind: hook.TooLarge, Subject: "event", Detail: fmt.Sprintf("has more than %d bytes", MaxEvent)}
}

// cutRouting takes $routing out of the document, in place, and reads it.
func cutRouting(doc []byte, f *hook.Faults) ([]byte, routing) {
	var r routing
	if !bytes.Contains(doc, []byte(routingKey)) {
		return doc, r
	}
	value, ok := canon.Get(doc, routingKey)
	if !ok {
		return doc, r
	}
	for key := range canon.Members(value) { // the decoder would also take Account_ID
		if k := string(key); k != strings.ToLower(k) {
			f.Add("/"+routingKey+"/"+k, "is not known; known are account_id, user_ids, user_group_ids and idempotency_key")
			return cut(doc), r
		}
	}
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.DisallowUnknownFields()
	err := dec.Decode(&r)
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		switch e.Field {
		case "":
			f.Add("/"+routingKey, "must be an object")
		case "user_ids", "user_group_ids":
			f.Add("/"+routingKey+"/"+e.Field, "must be an array of strings")
		default:
			f.Add("/"+routingKey+"/"+e.Field, "must be a string")
		}
	} else if err != nil {
		f.Add("/"+routingKey, "may have account_id, user_ids, user_group_ids and idempotency_key only: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return cut(doc), r
}

// cut takes $routing out of a document that has it, in place.
func cut(doc []byte) []byte {
	// The document is compact, so its members lie where their lengths say.
	at := len("{")
	for key, value := range canon.Members(doc) {
		end := at + len(`"":`) + len(key) + len(value)
		if string(key) != routingKey {
			at = end + len(",")
			continue
		}
		switch {
		case doc[end] == ',':
			end++
		case doc[at-1] == ',':
			at--
		}
		return append(doc[:at], doc[end:]...)
	}
	return doc
}

// root reads the members that every event has, and adds event_ts if it is missing.
// It returns the document and the payload in it.
func (d *decoded) root(doc []byte, now time.Time, f *hook.Faults) (whole, payload []byte) {
	var ts []byte
	named := false
	for key, value := range canon.Members(doc) {
		switch string(key) {
		case "event":
			named = true
			name, ok := canon.Text(value)
			switch {
			case !ok || name == "":
				f.Add("/event", "must be the name of an event type")
			case name == webhook.EventURLValidation:
				f.Add("/event", "%s is the platform's own and cannot be published", name)
			}
			d.event.Type = name
		case "event_ts":
			ts = value
		case "payload":
			payload = value
			if value[0] != '{' {
				f.Add("/payload", "must be an object")
			}
		}
	}
	if !named {
		f.Add("/event", "is missing: it is the name of the event type")
	}
	if payload == nil {
		f.Add("/payload", "is missing")
	}
	if ts == nil {
		d.event.TS = time.UnixMilli(now.UnixMilli())
		if doc[len(doc)-2] != '{' {
			doc = append(doc[:len(doc)-1], ',')
		} else {
			doc = doc[:len(doc)-1]
		}
		doc = append(doc, `"event_ts":`...)
		return append(strconv.AppendInt(doc, now.UnixMilli(), 10), '}'), payload
	}
	ms, err := strconv.ParseInt(string(ts), 10, 64)
	switch {
	case err != nil || ms < 0:
		f.Add("/event_ts", "must be the time of the event as an integer, in milliseconds since 1970")
	case ms < firstMillis:
		f.Add("/event_ts", "is %d, which looks like seconds; milliseconds since 1970 are expected", ms)
	case ms > lastMillis:
		f.Add("/event_ts", "is %d, which is beyond the year 9999; milliseconds since 1970 are expected", ms)
	}
	d.event.TS = time.UnixMilli(ms)
	return doc, payload
}

// route works out whose event it is.
func (in *Intake) route(d *decoded, payload []byte, r routing, f *hook.Faults) {
	e := d.event
	e.Account, e.Users, e.Groups = r.Account, r.Users, r.Groups
	if e.Account == "" {
		value, given := canon.Get(payload, "account_id")
		account, isText := canon.Text(value)
		switch e.Account = account; {
		case given && !isText:
			f.Add("/payload/account_id", "must be a string")
		case account == "":
			f.Add("/payload/account_id", "is missing: the event must say whose it is, here or in /%s/account_id", routingKey)
		}
	}
	if e.Type == "" {
		return
	}
	typ, ok := in.Catalog.Lookup(e.Type)
	if !ok {
		if e.Type != webhook.EventURLValidation {
			f.Add("/event", "%.100q is not in the catalog; import the document that describes it with: switchhook catalog import", e.Type)
		}
		return
	}
	d.typ = &typ.EventType
	if typ.Routing != hook.ByCarrier {
		return
	}
	value, _ := canon.Get(payload, "object", "carrier_code")
	code, err := strconv.ParseInt(string(value), 10, 32)
	if err != nil {
		f.Add("/payload/object/carrier_code", "must be an integer from %d to %d: the event goes to the apps that are bound to it", math.MinInt32, math.MaxInt32)
	}
	e.Carrier = int32(code)
}

// check compares the body with its type's schema.
func (in *Intake) check(d *decoded, f *hook.Faults) {
	if d.typ.Check == hook.CheckOff {
		return
	}
	typ, ok := in.Catalog.Lookup(d.event.Type)
	if !ok {
		return
	}
	for _, x := range typ.Check(d.event.Body) {
		fault := hook.Fault{Field: x.Pointer, Message: x.Message}
		if d.typ.Check == hook.CheckStrict {
			*f = append(*f, fault)
		} else {
			d.warnings = append(d.warnings, fault)
		}
	}
}
