package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/switchhook/switchhook/webhook"
)

// MeetingStarted is a payload as a program wants it.
type MeetingStarted struct {
	Object struct {
		ID    string `json:"id"`
		Topic string `json:"topic"`
	} `json:"object"`
}

// The name of an event type, and what its payload decodes into.
const MeetingStartedEvent webhook.Name[MeetingStarted] = "meeting.started"

// request is what a platform sends.
func request(body string, more ...string) *http.Request {
	signer, _ := webhook.NewSigner("a-secret-token-for-tests")
	timestamp, signature := signer.Sign(time.Now(), []byte(body))
	r := httptest.NewRequest(http.MethodPost, "/webhooks", strings.NewReader(body))
	r.Header.Set("Content-Type", webhook.ContentType)
	r.Header.Set(webhook.HeaderTimestamp, timestamp)
	r.Header.Set(webhook.HeaderSignature, signature)
	r.Header.Set(webhook.HeaderRequestID, "0193a4f2_b7c0_0001_7f3e_9c2d11aa0b52")
	for i := 0; i < len(more); i += 2 {
		r.Header.Set(more[i], more[i+1])
	}
	return r
}

// answerTo has a handler answer a request.
func answerTo(h http.Handler, r *http.Request) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

// Each event type has a function that gets its payload as a Go value. Event types that
// nobody has thought of are taken, too.
func ExampleMux() {
	receiver, err := webhook.New(webhook.Config{Secrets: []string{"a-secret-token-for-tests"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	var mux webhook.Mux
	webhook.On(&mux, MeetingStartedEvent, func(_ context.Context, _ *webhook.Event, m MeetingStarted) error {
		fmt.Println(m.Object.Topic, "has begun")
		return nil
	})
	mux.Default(func(_ context.Context, e *webhook.Event) error {
		fmt.Println("no use for", e.Name)
		return nil
	})
	h := receiver.Handler(mux.Serve)

	fmt.Println(answerTo(h, request(`{"event":"meeting.started","payload":{"object":{"id":"1","topic":"Lunch"}}}`)))
	fmt.Println(answerTo(h, request(`{"event":"meeting.ended","payload":{"object":{"id":"1"}}}`)))
	// Output:
	// Lunch has begun
	// 204
	// no use for meeting.ended
	// 204
}

// A payload is decoded wherever an event is at hand.
func ExampleDecode() {
	e := &webhook.Event{Name: "meeting.started", Payload: []byte(`{"object":{"id":1}}`)}
	_, err := webhook.Decode[MeetingStarted](e)
	fmt.Println(errors.Is(err, webhook.ErrPayload))
	// Output: true
}

// A plain string does for a name as well.
func ExampleOn() {
	var mux webhook.Mux
	webhook.On(&mux, "user.created", func(_ context.Context, _ *webhook.Event, payload map[string]any) error {
		fmt.Println(payload["name"])
		return nil
	})
	err := mux.Serve(context.Background(), &webhook.Event{Name: "user.created", Payload: []byte(`{"name":"Ann"}`)})
	fmt.Println(err)
	// Output:
	// Ann
	// <nil>
}

// Handle is for functions that want the event as it is.
func ExampleMux_Handle() {
	var mux webhook.Mux
	mux.Handle("user.created", func(_ context.Context, e *webhook.Event) error {
		fmt.Println(string(e.Payload))
		return nil
	})
	_ = mux.Serve(context.Background(), &webhook.Event{Name: "user.created", Payload: []byte(`{"name":"Ann"}`)})
	// Output: {"name":"Ann"}
}

// Handlers that are there already are put behind the receiver.
func ExampleReceiver_Middleware() {
	receiver, err := webhook.New(webhook.Config{Secrets: []string{"a-secret-token-for-tests"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	h := receiver.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e, _ := webhook.FromContext(r.Context())
		body, _ := io.ReadAll(r.Body)
		fmt.Println(e.Name, string(body))
		w.WriteHeader(http.StatusAccepted)
	}))
	fmt.Println(answerTo(h, request(`{"event":"user.created"}`)))
	fmt.Println(answerTo(h, httptest.NewRequest(http.MethodPost, "/", nil)))
	// Output:
	// user.created {"event":"user.created"}
	// 202
	// 415
}

// A program of its own kind finds its event in the context.
func ExampleFromContext() {
	_, ok := webhook.FromContext(context.Background())
	fmt.Println(ok)
	// Output: false
}

// An event that was handled is not handled again, whatever the platform, or somebody
// who has recorded the request, sends once more.
func ExampleMemory() {
	receiver, err := webhook.New(webhook.Config{
		Secrets:    []string{"a-secret-token-for-tests"},
		Duplicates: webhook.NewMemory(0),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	h := receiver.Handler(func(_ context.Context, e *webhook.Event) error {
		fmt.Println("handled", e.RequestID)
		return nil
	})
	fmt.Println(answerTo(h, request(`{"event":"user.created"}`)))
	fmt.Println(answerTo(h, request(`{"event":"user.created"}`)))
	// Output:
	// handled 0193a4f2_b7c0_0001_7f3e_9c2d11aa0b52
	// 204
	// 204
}

// cache is a filter that several processes share. Here it is a map; a cache or a table
// of a database has the same two methods.
type cache map[webhook.Key]time.Time

func (c cache) Seen(_ context.Context, keys []webhook.Key) ([]bool, error) {
	seen := make([]bool, len(keys))
	for i, k := range keys {
		seen[i] = time.Now().Before(c[k])
	}
	return seen, nil
}

func (c cache) Remember(_ context.Context, keys []webhook.Key, d time.Duration) error {
	for _, k := range keys {
		c[k] = time.Now().Add(d)
	}
	return nil
}

func ExampleFilter() {
	shared := cache{}
	_, err := webhook.New(webhook.Config{Secrets: []string{"a-secret-token-for-tests"}, Duplicates: shared})
	fmt.Println(err)
	// Output: <nil>
}

// A subscription whose custom header is a user name and a password, which is being
// changed: the new one and the old one are both taken.
func ExampleBasic() {
	receiver, err := webhook.New(webhook.Config{
		Secrets: []string{"a-secret-token-for-tests"},
		Auth:    []webhook.Auth{webhook.Basic("platform", "new:pass:word"), webhook.Basic("platform", "old:pass:word")},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	h := receiver.Handler(func(context.Context, *webhook.Event) error { return nil })
	req := request(`{"event":"user.created"}`)
	req.SetBasicAuth("platform", "old:pass:word")
	fmt.Println(answerTo(h, req))
	fmt.Println(answerTo(h, request(`{"event":"user.created"}`)))
	// Output:
	// 204
	// 401
}

// A subscription whose custom header is one of its own.
func ExampleHeader() {
	receiver, err := webhook.New(webhook.Config{
		Secrets: []string{"a-secret-token-for-tests"},
		Auth:    []webhook.Auth{webhook.Header("x-api-key", "k3y")},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	h := receiver.Handler(func(context.Context, *webhook.Event) error { return nil })
	fmt.Println(answerTo(h, request(`{"event":"user.created"}`, "X-Api-Key", "k3y")))
	fmt.Println(answerTo(h, request(`{"event":"user.created"}`, "X-Api-Key", "key")))
	// Output:
	// 204
	// 401
}

// A token that does not change.
func ExampleBearer() {
	_, err := webhook.New(webhook.Config{Secrets: []string{"a-secret-token-for-tests"}, Auth: []webhook.Auth{webhook.Bearer("")}})
	fmt.Println(err)
	// Output: webhook: the secret is missing or blank: token (Auth 1 of 1)
}

// A subscription whose custom header is an OAuth token: its token_url leads to the
// token server, and the receiver asks for what that has given out.
func ExampleTokenServer() {
	tokens, err := webhook.NewTokenServer(webhook.TokenConfig{ClientID: "platform", ClientSecrets: []string{"secret-of-the-client"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	receiver, err := webhook.New(webhook.Config{Secrets: []string{"a-secret-token-for-tests"}, Auth: []webhook.Auth{tokens.Auth()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/oauth/token", tokens)
	mux.Handle("/webhooks", receiver.Handler(func(context.Context, *webhook.Event) error { return nil }))

	form := url.Values{"grant_type": {"client_credentials"}}
	ask := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(form.Encode()))
	ask.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	ask.SetBasicAuth("platform", "secret-of-the-client")
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, ask)
	_, rest, _ := strings.Cut(w.Body.String(), `"access_token":"`)
	token, rest, _ := strings.Cut(rest, `"`)
	fmt.Print(w.Code, rest)

	fmt.Println(answerTo(mux, request(`{"event":"user.created"}`, "Authorization", "Bearer "+token)))
	fmt.Println(answerTo(mux, request(`{"event":"user.created"}`, "Authorization", "Bearer another")))
	// Output:
	// 200,"token_type":"bearer","expires_in":3600}
	// 204
	// 401
}

// A secret is being changed, and two apps share the endpoint: any of them may have
// signed, and an event says which one did.
func ExampleNew() {
	receiver, err := webhook.New(webhook.Config{
		Secrets: []string{"the-new-one-of-app-a", "a-secret-token-for-tests", "the-only-one-of-app-b"},
		Error:   func(_ *http.Request, err error) { fmt.Println("refused:", err) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	h := receiver.Handler(func(_ context.Context, e *webhook.Event) error {
		fmt.Println("signed with secret", e.Secret)
		return nil
	})
	answerTo(h, request(`{"event":"user.created"}`))
	answerTo(h, request(`{"event":"user.created"}`, webhook.HeaderSignature, "v0=x"))

	_, err = webhook.New(webhook.Config{}) // there is no way to leave them out
	fmt.Println(err)
	// Output:
	// signed with secret 1
	// refused: webhook: bad signature: the header is not v0= and 64 lower-case hex digits
	// webhook: the secret is missing or blank
}

// The answer to a challenge, for those who do not use a Receiver. They have to know
// that the challenge was signed: see the warning there.
func ExampleSigner_EncryptToken() {
	signer, err := webhook.NewSigner("a-secret-token-for-tests")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(signer.EncryptToken("qgg8vlvZRS6UYooatFL8Aw"))
	// Output: 24fb98936d97c3fffc19592b1a530dad94430214b9db37523b02a36cfb3736e7
}
