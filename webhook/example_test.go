package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/switchhook/switchhook/webhook"
)

// A receiver is a handler like any other. Here it serves what a platform would send.
func ExampleReceiver_Handler() {
	receiver, err := webhook.New(webhook.Config{Secrets: []string{"a-secret-token-for-tests"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("POST /webhooks", receiver.Handler(func(_ context.Context, e *webhook.Event) error {
		fmt.Println(e.Name, string(e.Payload))
		return nil // or an error, and the platform will send it again
	}))
	server := httptest.NewServer(mux)
	defer server.Close()

	signer, err := webhook.NewSigner("a-secret-token-for-tests")
	if err != nil {
		fmt.Println(err)
		return
	}
	send := func(body string) {
		timestamp, signature := signer.Sign(time.Now(), []byte(body))
		req, _ := http.NewRequest(http.MethodPost, server.URL+"/webhooks", strings.NewReader(body))
		req.Header.Set("Content-Type", webhook.ContentType)
		req.Header.Set(webhook.HeaderTimestamp, timestamp)
		req.Header.Set(webhook.HeaderSignature, signature)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer res.Body.Close()
		answer, _ := io.ReadAll(res.Body)
		fmt.Println(res.Status, string(answer))
	}
	send(`{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}`)
	send(`{"event":"number_management.peering_number_cnam_updated","payload":{"object":{"cnam":"ACME"}}}`)
	// Output:
	// 200 OK {"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"24fb98936d97c3fffc19592b1a530dad94430214b9db37523b02a36cfb3736e7"}
	// number_management.peering_number_cnam_updated {"object":{"cnam":"ACME"}}
	// 204 No Content
}

// An event that can never be handled need not be sent again.
func ExamplePermanent() {
	handle := func(_ context.Context, e *webhook.Event) error {
		if e.Name != "number_management.peering_number_cnam_updated" {
			return webhook.Permanent(fmt.Errorf("no use for %s", e.Name))
		}
		return nil
	}
	err := handle(context.Background(), &webhook.Event{Name: "user.created"})
	fmt.Println(err)
	// Output: no use for user.created
}

// The sending side of the wire.
func ExampleSigner_Sign() {
	signer, err := webhook.NewSigner("a-secret-token-for-tests")
	if err != nil {
		fmt.Println(err)
		return
	}
	body := []byte(`{"event":"number_management.peering_number_cnam_updated","payload":{}}`)
	timestamp, signature := signer.Sign(time.Unix(1763758801, 0), body)

	fmt.Println(webhook.HeaderTimestamp+":", timestamp)
	fmt.Println(webhook.HeaderSignature+":", signature)
	// Output:
	// X-Zm-Request-Timestamp: 1763758801
	// X-Zm-Signature: v0=644babf910ca562963396bf88933a621d25f70a91b78e2aeb7fd12dec135e86b
}

// Without net/http's server, as in a function that a queue calls, a request is
// verified by hand: its headers and the bytes of its body as they came.
func ExampleReceiver_Verify() {
	receiver, err := webhook.New(webhook.Config{
		Secrets: []string{"the-one-that-comes-after-it", "a-secret-token-for-tests"}, // the new one and the old one
		Now:     func() time.Time { return time.Unix(1763758801, 0) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	header := http.Header{}
	header.Set("x-zm-request-timestamp", "1763758801")
	header.Set("x-zm-signature", "v0=644babf910ca562963396bf88933a621d25f70a91b78e2aeb7fd12dec135e86b")
	body := []byte(`{"event":"number_management.peering_number_cnam_updated","payload":{}}`)

	verified, err := receiver.Verify(header, body)
	if err != nil {
		fmt.Println(err)
		return
	}
	if answer, ok, err := verified.Challenge(); err != nil {
		fmt.Println(err)
		return
	} else if ok {
		fmt.Println("answer with", string(answer))
		return
	}
	event, err := verified.Event()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(event.Name, "signed with secret", verified.Secret)

	body[2] ^= 1
	_, err = receiver.Verify(header, body)
	fmt.Println(errors.Is(err, webhook.ErrSignature), err)
	// Output:
	// number_management.peering_number_cnam_updated signed with secret 1
	// true webhook: bad signature: it was made with another secret, or the body was changed on its way
}
