package numbermanagement_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/switchhook/switchhook/webhook"
	"github.com/switchhook/switchhook/webhook/numbermanagement"
)

var (
	numbers = numbermanagement.Numbers{AccountID: "pinecone", CarrierCode: 3457, PhoneNumbers: []string{"+14155550142", "+14155550143"}}
	address = numbermanagement.EmergencyAddress{Country: "US", Line1: "1200 Battery Street", Line2: "Floor 4", City: "San Francisco", ZIP: "94111", StateCode: "CA"}
)

const (
	begin = `{"account_id":"pinecone","object":{"carrier_code":3457,"phone_numbers":["+14155550142","+14155550143"]`
	whole = `{"country":"US","address_line1":"1200 Battery Street","address_line2":"Floor 4","city":"San Francisco","zip":"94111","state_code":"CA"}`
)

// What the platform sends is what a program gets, and what tests send is what the
// platform would.
func TestNames(t *testing.T) {
	for payload, want := range map[string]numbermanagement.CNAMUpdated{
		begin + `,"cnam":"HARBOR BAKERY"}}`:     {Numbers: numbers, CNAM: "HARBOR BAKERY"},
		begin + `,"cnam":"José \u0026 Söhne"}}`: {Numbers: numbers, CNAM: "José & Söhne"},
		begin + `}}`: {Numbers: numbers},
	} {
		got, err := webhook.Decode[numbermanagement.CNAMUpdated](&webhook.Event{Payload: []byte(payload)})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", payload, got, err)
		}
		if written, err := json.Marshal(want); err != nil || string(written) != payload {
			t.Errorf("%s, %v; want %s", written, err, payload)
		}
	}
}

func TestAddresses(t *testing.T) {
	for payload, want := range map[string]numbermanagement.EmergencyAddressUpdated{
		begin + `,"emergency_address":` + whole + `}}`:                 {Numbers: numbers, Address: &address},
		begin + `,"emergency_address":{"address_line1":"1 Main St"}}}`: {Numbers: numbers, Address: &numbermanagement.EmergencyAddress{Line1: "1 Main St"}},
		begin + `}}`: {Numbers: numbers},
	} {
		got, err := webhook.Decode[numbermanagement.EmergencyAddressUpdated](&webhook.Event{Payload: []byte(payload)})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", payload, got, err)
		}
		if written, err := json.Marshal(want); err != nil || string(written) != payload {
			t.Errorf("%s, %v; want %s", written, err, payload)
		}
	}
}

// Members of other names, which a later version may have, are no reason to lose an
// event; null is as if it were not there.
func TestWhatElseMayBeThere(t *testing.T) {
	const object = `"carrier_code":3457,"phone_numbers":["+14155550142"]`
	for payload, cnam := range map[string]string{
		`{"account_id":"a","new":1,"object":{` + object + `,"cnam":"A","since":[]}}`:  "A",
		`{"account_id":"a","object":{` + object + `,"CNAM":"MALLORY"}}`:               "",
		`{"account_id":"a","object":{` + object + `,"cnam":"A","Cnam":"MALLORY"}}`:    "A",
		`{"account_id":"a","object":{` + object + `,"cnam":null}}`:                    "",
		`{"object":{` + object + `,"cnam":"A"}}`:                                      "A",
		`{"account_id":"a","Object":{},"object":{` + object + `,"cnam":"last wins"}}`: "last wins",
	} {
		var c numbermanagement.CNAMUpdated
		if err := json.Unmarshal([]byte(payload), &c); err != nil || c.CNAM != cnam || c.CarrierCode != 3457 {
			t.Errorf("%s: %+v, %v", payload, c, err)
		}
	}
}

// bad are payloads that both types refuse, and a part of the reason.
var bad = map[string]string{
	`null`:             "not an object",
	`[]`:               "not an object",
	`7`:                "not an object",
	`"x"`:              "not an object",
	`{}`:               "object: is missing",
	`{"object":null}`:  "object: is not an object",
	`{"object":[]}`:    "object: is not an object",
	`{"object":{}}`:    "carrier_code is missing",
	begin:              "unexpected end",
	`{"account_id":1}`: "object: is missing",
	`{"account_id":1,"object":{"carrier_code":1,"phone_numbers":["+1"]}}`:               "account_id",
	`{"object":{"carrier_code":"1","phone_numbers":["+1"]}}`:                            "carrier_code",
	`{"object":{"carrier_code":1.5,"phone_numbers":["+1"]}}`:                            "carrier_code",
	`{"object":{"carrier_code":2147483648,"phone_numbers":["+1"]}}`:                     "carrier_code",
	`{"object":{"carrier_code":1}}`:                                                     "phone_numbers is missing",
	`{"object":{"carrier_code":1,"phone_numbers":[]}}`:                                  "phone_numbers is missing",
	`{"object":{"carrier_code":1,"phone_numbers":[null]}}`:                              "empty entry",
	`{"object":{"carrier_code":1,"phone_numbers":[1]}}`:                                 "phone_numbers",
	`{"object":{"carrier_code":1,"phone_numbers":"+1"}}`:                                "phone_numbers",
	begin + `,"cnam":1,"emergency_address":[]}}`:                                        "",
	begin + `,"cnam":{},"emergency_address":{}}}`:                                       "",
	begin + `,"cnam":["A"],"emergency_address":{"address_line1":""}}}`:                  "",
	begin + `,"cnam":true,"emergency_address":{"address_line1":"1 Main St","zip":94}}}`: "",
	begin + `,"cnam":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + `}}`: "",
}

// What does not fit is an error of decoding, and leaves the value as it was.
func TestPayloadsThatDoNotFit(t *testing.T) {
	for payload, text := range bad {
		c := numbermanagement.CNAMUpdated{Numbers: numbers, CNAM: "as it was"}
		err := json.Unmarshal([]byte(payload), &c)
		if err == nil || !strings.Contains(err.Error(), text) || c.CNAM != "as it was" || !reflect.DeepEqual(c.Numbers, numbers) {
			t.Errorf("%.80s: %+v, %v", payload, c, err)
		}
		if _, err := webhook.Decode[numbermanagement.CNAMUpdated](&webhook.Event{Payload: []byte(payload)}); !errors.Is(err, webhook.ErrPayload) {
			t.Errorf("%.80s: %v", payload, err)
		}
		if strings.Contains(payload, `[[[`) {
			continue // that is a name and no address
		}
		u := numbermanagement.EmergencyAddressUpdated{Numbers: numbers, Address: &address}
		if err := u.UnmarshalJSON([]byte(payload)); err == nil || !reflect.DeepEqual(u.Numbers, numbers) || u.Address != &address {
			t.Errorf("%.80s: %+v, %v", payload, u, err)
		}
	}
}

// FuzzPayload: nothing panics, and what was read is read again when it is written.
func FuzzPayload(f *testing.F) {
	for payload := range bad {
		f.Add([]byte(payload))
	}
	f.Add([]byte(begin + `,"cnam":"HARBOR BAKERY"}}`))
	f.Add([]byte(begin + `,"emergency_address":` + whole + `}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		again(t, payload, numbermanagement.CNAMUpdated{})
		again(t, payload, numbermanagement.EmergencyAddressUpdated{})
	})
}

func again[T any](t *testing.T, payload []byte, twice T) {
	once, err := webhook.Decode[T](&webhook.Event{Payload: payload})
	if err != nil {
		return
	}
	written, err := json.Marshal(once)
	if err == nil {
		err = json.Unmarshal(written, &twice)
	}
	if err != nil || !reflect.DeepEqual(once, twice) {
		t.Errorf("%q is %+v, and written %s, which is %+v: %v", payload, once, written, twice, err)
	}
}
