package webhooktest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"time"

	"github.com/switchhook/switchhook/webhook"
	"github.com/switchhook/switchhook/webhook/webhooktest"
)

// A receiver is tested with what the platform does: it proves the endpoint, tries
// again after a failure, and sends what was handled already once more.
func ExamplePlatform() {
	const secret = "a-secret-token-for-tests"
	platform := webhooktest.NewPlatform(secret)
	receiver, err := webhook.New(webhook.Config{Secrets: []string{secret}, Now: platform.Now, Duplicates: webhook.NewMemory(0)})
	if err != nil {
		fmt.Println(err)
		return
	}
	attempts := 0
	platform.Endpoint = receiver.Handler(func(_ context.Context, e *webhook.Event) error {
		if attempts++; attempts == 1 {
			return errors.New("the database is away")
		}
		fmt.Println("handled", e.Name)
		return nil
	})

	fmt.Println("challenge:", platform.Challenge())
	delivery := platform.Deliver(webhooktest.Event("user.created", map[string]string{"name": "Ann"}))
	for _, answer := range delivery.Attempts {
		fmt.Println("attempt:", answer.Status)
	}
	fmt.Println("once more:", platform.Attempt(delivery).Status)
	fmt.Println("replayed:", platform.Replay(delivery, "a-fresh-request-id").Status)
	// Output:
	// challenge: <nil>
	// handled user.created
	// attempt: 500
	// attempt: 204
	// once more: 204
	// replayed: 204
}

// One request, for a handler.
func ExampleNewRequest() {
	const secret = "a-secret-token-for-tests"
	receiver, err := webhook.New(webhook.Config{Secrets: []string{secret}})
	if err != nil {
		fmt.Println(err)
		return
	}
	h := receiver.Handler(func(context.Context, *webhook.Event) error { return nil })

	w := httptest.NewRecorder()
	h.ServeHTTP(w, webhooktest.NewRequest("/webhooks", secret, []byte(`{"event":"user.created"}`), time.Now()))
	fmt.Println(w.Code)
	// Output: 204
}

// A body as the platform writes it.
func ExampleEventAt() {
	at := time.UnixMilli(1763758800123)
	fmt.Println(string(webhooktest.EventAt("user.created", at, map[string]any{"name": "Ann & Bob", "age": 1e3})))
	// Output: {"event":"user.created","event_ts":1763758800123,"payload":{"age":1000,"name":"Ann & Bob"}}
}
