// Package challenge proves that an endpoint knows the secret of its app.
//
// [Prober.Prove] sends the contract's endpoint.url_validation and compares what
// comes back with what only a holder of the secret can compute.
package challenge

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/webhook"
)

// Prober proves endpoints. It is safe for concurrent use.
type Prober struct {
	Client *outbound.Client
	// IDs numbers the challenges.
	IDs *hook.IDs
	// Observe, if set, is told of every challenge that has ended. It must not wait.
	Observe func(*Result)
}

// slotTries is how often a challenge waits for a free connection, a second each
// time.
const slotTries = 10

// maxAnswer is far more than an answer has.
const maxAnswer = 4 << 10

// Result is the end of a challenge.
type Result struct {
	// OK says that the endpoint has proven itself.
	OK bool
	// Reason says in a sentence why not.
	Reason string
	outbound.Result

	message outbound.Message
	target  hook.Target
}

// Inconclusive reports whether the endpoint was not asked, so that it is not to blame.
func (r *Result) Inconclusive() bool {
	return r.Outcome == hook.NeedInstantRetry || r.Outcome == hook.Delegate
}

// Attempt returns the challenge of a subscription as a row of the webhook log.
func (r *Result) Attempt(s *hook.Subscription) *hook.Attempt {
	a := &hook.Attempt{
		Kind: hook.KindChallenge, Delivery: hook.DeliveryID{Event: r.message.Delivery.Event, Subscription: s.Key}, Span: r.message.Span, Outcome: r.Outcome,
		EventType: webhook.EventURLValidation, Target: r.target,
		Due: r.Started, Started: r.Started, Timing: r.Timing, Response: r.Response, Detail: r.Reason,
	}
	if r.OK {
		a.State = hook.Delivered
	}
	return a
}

// Prove sends a challenge to a URL as an endpoint of the subscription, signed and
// authenticated like every other request, and waits for the answer.
func (p *Prober) Prove(ctx context.Context, url string, s *hook.Subscription, a *hook.App) Result {
	token := hook.NewID()
	now := time.Now()
	m := outbound.Message{
		Delivery: hook.DeliveryID{Event: hook.EventID(p.IDs.Next(now)), Subscription: s.Key}, Body: body(token, now), WantAnswer: true,
	}
	e := p.Client.EndpointAt(url, s, a)
	var r Result
	for range slotTries {
		m.Span = rand.Uint64()
		// For want of a slot nothing was sent.
		if r.Result = p.Client.Send(ctx, e, m); r.Outcome != hook.NeedInstantRetry {
			break
		}
	}
	r.message, r.target = m, e.Target
	secrets := []hook.Secret{a.SecretToken}
	if now.Before(a.OldToken.Until) {
		secrets = append(secrets, a.OldToken.Secret)
	}
	r.Reason = judge(r.Result, Expected{token, encrypt(token, secrets)})
	r.OK = r.Reason == ""
	if p.Observe != nil {
		p.Observe(&r)
	}
	return r
}

func body(token string, now time.Time) []byte {
	return fmt.Appendf(nil, `{"payload":{"plainToken":"%s"},"event_ts":%d,"event":"%s"}`, token, now.UnixMilli(), webhook.EventURLValidation)
}

// Expected is what an endpoint has to answer: the token that it was sent, and that
// encrypted with one of the secrets that it may have.
type Expected struct {
	Plain     string   `json:"plain_token"`
	Encrypted []string `json:"encrypted_tokens"`
}

// New returns the body of a challenge that somebody else sends, and what has to be
// answered. The rest of the request is that of any other.
func New(secret hook.Secret, now time.Time) ([]byte, Expected) {
	token := hook.NewID()
	return body(token, now), Expected{token, encrypt(token, []hook.Secret{secret})}
}

// Judge returns what is wrong with the answer of an endpoint that somebody else has
// asked, or nothing.
func (x Expected) Judge(status int, answer []byte) string {
	return judge(outbound.Result{Outcome: hook.Outcome(status), Answer: answer}, x)
}

// encrypt returns the token as each of the secrets makes it.
func encrypt(token string, secrets []hook.Secret) (all []string) {
	for _, secret := range secrets {
		if signer, err := webhook.NewSigner(secret.Reveal()); err == nil { // with the current one missing nothing was sent
			all = append(all, signer.EncryptToken(token))
		}
	}
	return all
}

// judge returns what is wrong with the answer, or nothing.
func judge(r outbound.Result, want Expected) string {
	switch {
	case r.Outcome < 0:
		return r.Detail
	case r.Outcome >= 300 && r.Outcome <= 399:
		return fmt.Sprintf("the endpoint answered with a redirect (status %d), which is not followed; subscribe to the final URL", r.Outcome)
	case r.Outcome == http.StatusNoContent:
		return "the endpoint answered with status 204, which cannot carry the answer; answer 200 with plainToken and encryptedToken"
	case r.Outcome != http.StatusOK:
		return fmt.Sprintf("the endpoint answered with status %d, want 200", r.Outcome)
	case len(r.Answer) > maxAnswer:
		return "the endpoint's answer is too long to be plainToken and encryptedToken"
	case len(bytes.TrimSpace(r.Answer)) == 0:
		return "the endpoint answered 200 with an empty body; answer with plainToken and encryptedToken"
	}
	// By exact names: a struct would be filled from PlainToken as well.
	var members map[string]any
	if err := json.Unmarshal(r.Answer, &members); err != nil || members == nil {
		return "the endpoint's answer is not a JSON object with plainToken and encryptedToken"
	}
	plain, ok := members["plainToken"].(string)
	if !ok {
		return "the endpoint's answer has no plainToken"
	}
	encrypted, ok := members["encryptedToken"].(string)
	switch {
	case !ok:
		return "the endpoint's answer has no encryptedToken"
	case plain != want.Plain:
		return "the plainToken in the endpoint's answer is not the one that was sent"
	}
	return judgeToken(encrypted, want.Encrypted)
}

// judgeToken returns what is wrong with an encryptedToken, or nothing.
func judgeToken(got string, wanted []string) string {
	for _, want := range wanted {
		switch {
		case subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1:
			return ""
		case len(got) != len(want):
			return fmt.Sprintf("the encryptedToken has %d characters; it must be the HMAC-SHA-256 of plainToken as %d hex digits", len(got), len(want))
		case subtle.ConstantTimeCompare(bytes.ToLower([]byte(got)), []byte(want)) == 1:
			return "the encryptedToken is in upper case; it must be lower-case hex"
		}
	}
	return "the encryptedToken is wrong: most likely it was computed with another secret token than this app's"
}
