// Package diagnose says why a captured request does not verify.
//
// [Request] first asks what a receiver asks. Where that fails, it undoes one by one
// what is known to happen to requests on their way into a recording or a program: a
// body that was printed again, a line feed that an editor has added, a timestamp in
// milliseconds. If the signature holds after that, the cause is not a guess.
package diagnose

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/switchhook/switchhook/webhook"
)

// Input is a request with what is known about it.
type Input struct {
	Header http.Header
	Body   []byte
	// Secrets are those that may have signed.
	Secrets []string
	// Now is when the request was received, or when it is to be judged.
	Now time.Time
	// Tolerance is how far the timestamp may be from Now. 0 means what receivers allow.
	Tolerance time.Duration
	// Others are the other requests of the same recording, of which a header may be.
	Others []Other
}

// Other is another request of the same recording.
type Other struct {
	Where  string
	Header http.Header
	Body   []byte
}

// Result is what was found out about a request.
type Result struct {
	// Valid says that a receiver accepts the request.
	Valid bool `json:"valid"`
	// Secret is the number, from 1, of the secret that signed, or 0 if none did.
	Secret int `json:"secret,omitempty"`
	// Timestamp is when the request says that it was sent.
	Timestamp time.Time `json:"timestamp,omitzero"`
	// Event is the name of the event, if there is one to be read.
	Event string `json:"event,omitempty"`
	// Findings say what is wrong, the first cause first.
	Findings []Finding `json:"findings"`
}

// Finding is a cause.
type Finding struct {
	Cause Cause `json:"cause"`
	// Proven says that the signature holds when this is undone, or that it is plain to
	// see. Otherwise it is only what is most likely.
	Proven bool   `json:"proven"`
	Text   string `json:"text"`
	Remedy string `json:"remedy"`
	// Difference is where the body is not what was signed.
	Difference *Difference `json:"difference,omitempty"`
}

// Request says whether a request is valid, or why not. The error is about the input:
// there is no secret to judge with.
func Request(in Input) (Result, error) {
	if in.Tolerance == 0 {
		in.Tolerance = webhook.DefaultTolerance
	}
	if in.Now.IsZero() {
		in.Now = time.Now()
	}
	s, err := newSearch(in)
	if err != nil {
		return Result{}, err
	}
	v, err := s.receiver.Verify(in.Header, in.Body)
	if err == nil {
		r := Result{Valid: true, Secret: s.usable[v.Secret] + 1, Timestamp: v.Timestamp, Findings: []Finding{}}
		if e, err := v.Event(); err == nil {
			r.Event = e.Name
		}
		return r, nil
	}
	r := s.explain()
	if len(r.Findings) == 0 {
		// Nothing of what is known: the receiver's own words are the best there is.
		r.Findings = []Finding{{Cause: Unknown, Text: sentence(err)}}
	}
	for i := range r.Findings {
		r.Findings[i].Remedy = remedies[r.Findings[i].Cause]
	}
	return r, nil
}

// explain says what a receiver has not accepted.
func (s *search) explain() Result {
	r := Result{Timestamp: s.when(), Event: eventIn(s.in.Body)}
	s.readHeaders()
	if len(s.signatures) > 0 && len(s.timestamps) > 0 {
		match, explained := s.find()
		switch {
		case match != nil:
			r.Secret = match.secret.index + 1
			s.found = append(s.found, s.causes(match)...)
		case !explained:
			s.found = append(s.found, s.guess()...)
		}
	}
	r.Findings = slices.Concat(s.found, s.age())
	return r
}

// newSearch prepares the search, and the receiver that a request has to satisfy.
func newSearch(in Input) (*search, error) {
	s := &search{in: in, budget: maxHashed}
	for i, secret := range in.Secrets {
		forms := secretForms(i, secret)
		if len(forms) == 0 {
			return nil, fmt.Errorf("secret %d of %d is blank", i+1, len(in.Secrets))
		}
		s.secrets = append(s.secrets, forms...)
	}
	if len(s.secrets) == 0 {
		return nil, errors.New("there is no secret to judge with")
	}
	// What no receiver takes as a secret is only looked at when the others fail.
	c := webhook.Config{Tolerance: in.Tolerance, Now: func() time.Time { return in.Now }}
	for i, secret := range in.Secrets {
		if _, err := webhook.New(webhook.Config{Secrets: []string{secret}}); err == nil {
			c.Secrets = append(c.Secrets, secret)
			s.usable = append(s.usable, i)
		}
	}
	s.receiver = &webhook.Receiver{} // which refuses everything
	if len(c.Secrets) > 0 {
		var err error
		if s.receiver, err = webhook.New(c); err != nil {
			return nil, err
		}
	}
	return s, nil
}
