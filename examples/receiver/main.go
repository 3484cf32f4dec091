// Command receiver is a receiver to begin your own with: copy it. It prints what
// changes about the numbers of a carrier.
//
//	WEBHOOK_SECRET=... go run github.com/switchhook/switchhook/examples/receiver
package main

import (
	"cmp"
	"context"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/switchhook/switchhook/webhook"
	"github.com/switchhook/switchhook/webhook/numbermanagement"
)

func main() {
	receiver, err := webhook.New(webhook.Config{
		Secrets:    []string{os.Getenv("WEBHOOK_SECRET")},
		Duplicates: webhook.NewMemory(0),
		Error:      func(_ *http.Request, err error) { log.Print(err) },
	})
	if err != nil {
		log.Fatal(err)
	}
	var mux webhook.Mux
	webhook.On(&mux, numbermanagement.CNAMUpdatedEvent,
		func(_ context.Context, e *webhook.Event, c numbermanagement.CNAMUpdated) error {
			log.Printf("%v: the name of %v is now %q", e.Time, c.PhoneNumbers, c.CNAM)
			return nil // an error asks the platform to send it again
		})
	webhook.On(&mux, numbermanagement.EmergencyAddressUpdatedEvent,
		func(_ context.Context, e *webhook.Event, u numbermanagement.EmergencyAddressUpdated) error {
			log.Printf("%v: the address of %v is now %+v", e.Time, u.PhoneNumbers, u.Address)
			return nil
		})
	http.Handle("POST /webhooks", receiver.Handler(mux.Serve))
	server := http.Server{Addr: cmp.Or(os.Getenv("LISTEN"), "127.0.0.1:8080"), ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}
