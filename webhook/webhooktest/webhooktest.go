// Package webhooktest sends to a receiver what the platform would send it, for tests.
//
// [Platform] is a platform that has one endpoint: a handler. It proves the endpoint by
// challenge and delivers events to it, with all that a receiver has to cope with:
// retries, duplicates, replays, events out of order. Its clock goes by what it does
// and not by the time that passes, so the 85 minutes of a delivery take no time; give
// its Now to the receiver.
//
//	p := webhooktest.NewPlatform(secret)
//	r, err := webhook.New(webhook.Config{Secrets: []string{secret}, Now: p.Now})
//	...
//	p.Endpoint = r.Handler(f)
//	d := p.Deliver(webhooktest.Event("user.created", user))
//
// [NewRequest] makes a single signed request.
package webhooktest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/switchhook/switchhook/internal/canon"
	"github.com/switchhook/switchhook/webhook"
)

// Event returns the body of an event that occurs now. It panics if the payload is
// nothing that can be sent.
func Event(name string, payload any) []byte { return EventAt(name, time.Now(), payload) }

// EventAt returns the body of an event that occurred at an instant.
func EventAt(name string, at time.Time, payload any) []byte {
	text, err := json.Marshal(struct {
		Event   string `json:"event"`
		EventTS int64  `json:"event_ts"`
		Payload any    `json:"payload"`
	}{name, at.UnixMilli(), payload})
	if err != nil {
		panic("webhooktest: " + err.Error())
	}
	// The platform sends what JavaScript would print, so that receivers which sign
	// what they print again come to the same signature.
	body, err := canon.Append(nil, text)
	if err != nil {
		panic("webhooktest: " + err.Error())
	}
	return body
}

// NewRequest returns a request as the platform sends it at an instant, with a new
// request id, for a handler or, if the target is a URL, for a client. It panics if the
// secret is blank.
func NewRequest(target, secret string, body []byte, at time.Time) *http.Request {
	return newRequest(target, secret, newID(), body, at)
}

func newRequest(target, secret, id string, body []byte, at time.Time) *http.Request {
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		panic("webhooktest: " + err.Error())
	}
	r := httptest.NewRequest(http.MethodPost, target, bytes.NewReader(body))
	r.RequestURI = "" // so that a client takes it, too
	timestamp, signature := signer.Sign(at, body)
	for name, value := range map[string]string{
		"Content-Type":           webhook.ContentType,
		"User-Agent":             "Switchhook/test (Zoom Marketplace/1.0a compatible)",
		"Accept-Encoding":        "gzip",
		webhook.HeaderTimestamp:  timestamp,
		webhook.HeaderSignature:  signature,
		webhook.HeaderRequestID:  id,
		webhook.HeaderTrackingID: "v=2.0;clid=us;rid=WEB_" + digits(16),
		webhook.HeaderClientID:   "webhooktest",
		"Traceparent":            "00-" + digits(16) + "-" + digits(8) + "-01",
	} {
		r.Header.Set(name, value)
	}
	return r
}

// newID returns a request id.
func newID() string {
	d := digits(16)
	return d[:8] + "_" + d[8:12] + "_" + d[12:16] + "_" + d[16:20] + "_" + d[20:]
}

// digits returns random bytes in hex.
func digits(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, says crypto/rand
	return hex.EncodeToString(b)
}

// Platform is a platform that has one endpoint. It is for one goroutine at a time.
type Platform struct {
	// Endpoint is what is sent to.
	Endpoint http.Handler
	// Authorize, if set, adds to each request what the subscription's custom header
	// says.
	Authorize func(*http.Request)

	secret string

	mu  sync.Mutex // for an endpoint that is too slow may look at the clock later
	now time.Time
}

// NewPlatform returns a Platform for an app with this secret token.
func NewPlatform(secret string) *Platform {
	return &Platform{secret: secret, now: time.Now().Truncate(time.Second)}
}

// Now is the platform's clock.
func (p *Platform) Now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// Advance puts the platform's clock forward.
func (p *Platform) Advance(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = p.now.Add(d)
}

// Answer is what became of an attempt.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	// Err says why there is no answer: the endpoint took longer than the platform
	// waits, or panicked.
	Err error
}

// OK reports whether the endpoint took what it was sent.
func (a Answer) OK() bool { return a.Err == nil && a.Status >= 200 && a.Status <= 299 }

// retry reports whether the platform would try again.
func (a Answer) retry() bool { return a.Err != nil || a.Status >= 500 }

// Delivery is an event on its way.
type Delivery struct {
	RequestID string
	Body      []byte
	// Attempts are the answers to the attempts made so far.
	Attempts []Answer

	at time.Time // when the last one was signed
}

// OK reports whether the endpoint has taken it.
func (d *Delivery) OK() bool {
	return len(d.Attempts) > 0 && d.Attempts[len(d.Attempts)-1].OK()
}

// schedule are the pauses between the attempts of a delivery.
var schedule = []time.Duration{5 * time.Minute, 20 * time.Minute, 60 * time.Minute}

// Deliver delivers an event: it makes attempts until the endpoint takes it, refuses it
// for good, or the retries after 5, 20 and 60 minutes are used up. The clock goes
// forward by the pauses.
func (p *Platform) Deliver(body []byte) *Delivery {
	d := &Delivery{RequestID: newID(), Body: body}
	p.Attempt(d)
	for _, pause := range schedule {
		if last := d.Attempts[len(d.Attempts)-1]; !last.retry() {
			break
		}
		p.Advance(pause)
		p.Attempt(d)
	}
	return d
}

// Reorder delivers events in reverse, as when each but the last has to be retried.
// The deliveries are in the order of the events.
func (p *Platform) Reorder(bodies ...[]byte) []*Delivery {
	all := make([]*Delivery, len(bodies))
	for i := len(bodies) - 1; i >= 0; i-- {
		all[i] = p.Deliver(bodies[i])
	}
	return all
}

// Attempt makes one more attempt of a delivery, as the platform may after a crash even
// if there was one that succeeded: with the same request id and body, and a timestamp
// and signature of its own.
func (p *Platform) Attempt(d *Delivery) Answer {
	if now := p.Now(); !now.After(d.at) {
		p.Advance(d.at.Add(time.Second).Sub(now))
	}
	d.at = p.Now()
	a := p.send(newRequest("/", p.secret, d.RequestID, d.Body, d.at))
	d.Attempts = append(d.Attempts, a)
	return a
}

// Replay sends the last attempt of a delivery again, byte for byte, as somebody may who
// has recorded it. With a request id, it has that one instead, for it is not signed.
func (p *Platform) Replay(d *Delivery, requestID ...string) Answer {
	id := d.RequestID
	if len(requestID) > 0 {
		id = requestID[0]
	}
	return p.send(newRequest("/", p.secret, id, d.Body, d.at))
}

// Challenge asks the endpoint to prove that it knows the secret. The error says what
// is wrong with the answer.
func (p *Platform) Challenge() error {
	token := make([]byte, 16)
	_, _ = rand.Read(token) // never fails, says crypto/rand
	plain := base64.RawURLEncoding.EncodeToString(token)
	body := fmt.Appendf(nil, `{"payload":{"plainToken":"%s"},"event_ts":%d,"event":"%s"}`, plain, p.Now().UnixMilli(), webhook.EventURLValidation)
	a := p.send(newRequest("/", p.secret, newID(), body, p.Now()))
	signer, err := webhook.NewSigner(p.secret)
	if err != nil {
		return err
	}
	var got webhook.ChallengeAnswer
	switch {
	case a.Err != nil:
		return a.Err
	case a.Status != http.StatusOK:
		return fmt.Errorf("the endpoint answered with status %d, want 200", a.Status)
	case json.Unmarshal(a.Body, &got) != nil:
		return errors.New("the endpoint's answer is not JSON with plainToken and encryptedToken")
	case got.PlainToken != plain:
		return errors.New("the plainToken in the endpoint's answer is not the one that was sent")
	case subtle.ConstantTimeCompare([]byte(got.EncryptedToken), []byte(signer.EncryptToken(plain))) != 1:
		return errors.New("the encryptedToken in the endpoint's answer is wrong")
	}
	return nil
}

// send sends a request to the endpoint and waits as long as the platform does.
func (p *Platform) send(r *http.Request) Answer {
	if p.Authorize != nil {
		p.Authorize(r)
	}
	ctx, cancel := context.WithTimeout(r.Context(), webhook.SendTimeout)
	defer cancel()
	answered := make(chan Answer, 1)
	go func() {
		w := httptest.NewRecorder()
		defer func() {
			if v := recover(); v != nil {
				answered <- Answer{Err: fmt.Errorf("the endpoint panicked: %v", v)}
			}
		}()
		p.Endpoint.ServeHTTP(w, r.WithContext(ctx))
		answered <- Answer{Status: w.Code, Header: w.Header(), Body: w.Body.Bytes()}
	}()
	select {
	case a := <-answered:
		return a
	case <-ctx.Done():
		return Answer{Err: fmt.Errorf("the endpoint did not answer within %v", webhook.SendTimeout)}
	}
}
