package canon_test

import (
	"fmt"

	"github.com/switchhook/switchhook/internal/canon"
)

func ExampleAppend() {
	body, _ := canon.Append(nil, []byte(`{
		"event": "number.updated",
		"rates": [1.0, 2.50, 1E+21],
		"name":  "Pl\u00fcsch \/ S\u00f6hne",
		"1":     "array indexes come first"
	}`))
	fmt.Printf("%s\n", body)

	_, err := canon.Append(nil, []byte(`{"object": {"id": 9007199254740993}}`))
	fmt.Println(err)

	// Output:
	// {"1":"array indexes come first","event":"number.updated","rates":[1,2.5,1e+21],"name":"Plüsch / Söhne"}
	// number 9007199254740993 is an integer beyond ±9007199254740991, the range in which JavaScript holds every integer exactly; send it as a string (byte 18, at "/object/id")
}

func ExampleGet() {
	body := []byte(`{"event":"number.updated","payload":{"object":{"carrier_code":457}}}`)
	code, ok := canon.Get(body, "payload", "object", "carrier_code")
	fmt.Printf("%s %v\n", code, ok)

	name, _ := canon.Get(body, "event")
	event, _ := canon.Text(name)
	fmt.Println(event)

	// Output:
	// 457 true
	// number.updated
}
