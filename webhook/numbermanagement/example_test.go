package numbermanagement_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/switchhook/switchhook/webhook"
	"github.com/switchhook/switchhook/webhook/numbermanagement"
	"github.com/switchhook/switchhook/webhook/webhooktest"
)

// names are the caller names of numbers, each with the time since which it is so.
type names struct {
	mu    sync.Mutex
	names map[string]string
	since map[string]time.Time
}

// set is called in whatever order events come: what is older than what is known says
// nothing new.
func (n *names) set(_ context.Context, e *webhook.Event, c numbermanagement.CNAMUpdated) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, number := range c.PhoneNumbers {
		if e.Time.After(n.since[number]) {
			n.names[number], n.since[number] = c.CNAM, e.Time
		}
	}
	return nil
}

// A carrier's program keeps the current name of each number, although events come out
// of order.
func Example() {
	const secret = "a-secret-token-for-tests"
	known := &names{names: map[string]string{}, since: map[string]time.Time{}}
	var mux webhook.Mux
	webhook.On(&mux, numbermanagement.CNAMUpdatedEvent, known.set)

	platform := webhooktest.NewPlatform(secret)
	receiver, err := webhook.New(webhook.Config{Secrets: []string{secret}, Now: platform.Now})
	if err != nil {
		fmt.Println(err)
		return
	}
	platform.Endpoint = receiver.Handler(mux.Serve)

	change := func(name string, at time.Time) []byte {
		return webhooktest.EventAt(string(numbermanagement.CNAMUpdatedEvent), at, numbermanagement.CNAMUpdated{
			Numbers: numbermanagement.Numbers{AccountID: "pinecone-bakery", CarrierCode: 3457, PhoneNumbers: []string{"+14155550142"}},
			CNAM:    name,
		})
	}
	now := time.Now()
	platform.Reorder(change("PINECONE", now), change("PINECONE BAKERY", now.Add(time.Minute)))
	fmt.Println(known.names)
	// Output: map[+14155550142:PINECONE BAKERY]
}

// Emergency addresses come the same way; one that was removed is nil.
func ExampleEmergencyAddressUpdated() {
	var mux webhook.Mux
	webhook.On(&mux, numbermanagement.EmergencyAddressUpdatedEvent,
		func(_ context.Context, _ *webhook.Event, u numbermanagement.EmergencyAddressUpdated) error {
			if u.Address == nil {
				fmt.Println(u.PhoneNumbers, "have no address any more")
				return nil
			}
			fmt.Println(u.PhoneNumbers, "are at", u.Address.Line1, u.Address.City)
			return nil
		})
	for _, payload := range []string{
		`{"account_id":"a","object":{"carrier_code":3457,"phone_numbers":["+14155550142"],"emergency_address":{"address_line1":"1200 Battery Street","city":"San Francisco"}}}`,
		`{"account_id":"a","object":{"carrier_code":3457,"phone_numbers":["+14155550142"]}}`,
	} {
		_ = mux.Serve(context.Background(), &webhook.Event{Name: string(numbermanagement.EmergencyAddressUpdatedEvent), Payload: []byte(payload)})
	}
	// Output:
	// [+14155550142] are at 1200 Battery Street San Francisco
	// [+14155550142] have no address any more
}
