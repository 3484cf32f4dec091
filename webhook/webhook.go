// Package webhook receives webhooks signed as Zoom documents it, from Switchhook
// or from Zoom itself, and signs them for the other side of the wire.
//
// A receiver is a few lines:
//
//	r, err := webhook.New(webhook.Config{Secrets: []string{os.Getenv("WEBHOOK_SECRET")}})
//	if err != nil {
//		log.Fatal(err)
//	}
//	http.Handle("POST /webhooks", r.Handler(func(ctx context.Context, e *webhook.Event) error {
//		log.Println(e.Name, string(e.Payload))
//		return nil
//	}))
//
// The handler is called only with events whose signature is right; the endpoint
// validation is answered without it. Nothing turns the checking off: a
// [Receiver] without a secret refuses everything.
//
// A [Mux] hands each event to the function for its name, with its payload as a Go
// value; packages like numbermanagement have the types. [Config] has what else a
// receiver may need: several secrets, authentication beside the signature, a filter
// for duplicates. Package webhooktest sends to a receiver what a platform would.
//
// The package imports only the standard library.
package webhook

import "time"

// Names and values of the wire. Header names are in the form net/http uses.
const (
	// HeaderSignature carries "v0=" and 64 lower-case hex digits.
	HeaderSignature = "X-Zm-Signature"
	// HeaderTimestamp carries the Unix time of the attempt in seconds.
	HeaderTimestamp = "X-Zm-Request-Timestamp"
	// HeaderRequestID carries the id of the delivery, the same on every retry. It is
	// not signed: see [Event.RequestID].
	HeaderRequestID = "X-Zm-Request-Id"
	// HeaderTrackingID carries the id of the attempt.
	HeaderTrackingID = "X-Zm-Trackingid"
	// HeaderClientID carries the OAuth client id of the app.
	HeaderClientID = "Clientid"

	// ContentType is what a request's content-type must be to the letter: common
	// body parsers drop a body whose charset they do not know.
	ContentType = "application/json; charset=utf-8"

	// EventURLValidation is the event with which the platform asks an endpoint to
	// prove that it knows the secret.
	EventURLValidation = "endpoint.url_validation"

	// DefaultTolerance is how far a timestamp may be from the receiver's clock, in
	// either direction.
	DefaultTolerance = 5 * time.Minute

	// DefaultMaxBody is how many bytes a request body may have.
	DefaultMaxBody = 1 << 20

	// SendTimeout is how long the platform waits for the end of the answer.
	SendTimeout = 3 * time.Second
)
