package webhook

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The reasons for which a request is not accepted. Errors returned by a
// [Receiver] match one of them with [errors.Is]. Their texts contain neither
// secrets nor the signature that would have been right.
var (
	// ErrSignature: the signature is missing, malformed, given twice, or not
	// made with any of the secrets.
	ErrSignature = errors.New("webhook: bad signature")
	// ErrTimestamp: the timestamp is missing, malformed or given twice.
	ErrTimestamp = errors.New("webhook: bad timestamp")
	// ErrStale: the timestamp is outside the tolerance.
	ErrStale = errors.New("webhook: timestamp outside the tolerance")
	// ErrAuth: what Config.Auth asks for beside the signature is missing, wrong, or
	// given twice.
	ErrAuth = errors.New("webhook: bad authentication")
	// ErrChallenge: the request is an endpoint validation that must not be answered.
	ErrChallenge = errors.New("webhook: bad challenge")
	// ErrBody: the body is not an event.
	ErrBody = errors.New("webhook: bad body")
)

// Config says what a [Receiver] accepts.
type Config struct {
	// Secrets are the secret tokens, of which any may have signed: the new and the
	// old one while a secret is being changed, or those of several apps that share
	// an endpoint. At least one is needed.
	Secrets []string
	// Tolerance is how far a timestamp may be from the clock, in either direction.
	// 0 means [DefaultTolerance].
	Tolerance time.Duration
	// MaxBody is how many bytes a request body may have. 0 means [DefaultMaxBody].
	MaxBody int64
	// Now is the clock. nil means [time.Now].
	Now func() time.Time
	// Auth is what a request has to bring beside its signature, if the subscription
	// has a custom header. Any one of several will do, while one is being changed.
	Auth []Auth
	// Duplicates, if set, keeps [Receiver.Handler] and [Receiver.Middleware] from
	// handing on again what was handled before.
	Duplicates Filter
	// Error, if set, is told of every request that is refused and of every error and
	// panic of the function or handler that events are handed to.
	Error func(*http.Request, error)
}

// Receiver accepts signed requests. The zero value refuses them all. It is safe
// for concurrent use.
type Receiver struct {
	signers   []*Signer
	tolerance time.Duration
	maxBody   int64
	now       func() time.Time
	auth      []Auth
	filter    Filter
	handling  turns
	report    func(*http.Request, error)
}

// New returns a Receiver, or an error that says what is wrong with the Config.
func New(c Config) (*Receiver, error) {
	r := &Receiver{tolerance: c.Tolerance, maxBody: c.MaxBody, now: c.Now, auth: slices.Clone(c.Auth), filter: c.Duplicates, report: c.Error}
	if c.Tolerance < 0 || c.MaxBody < 0 {
		return nil, errors.New("webhook: Tolerance and MaxBody must not be negative")
	}
	if len(c.Secrets) == 0 {
		return nil, ErrNoSecret
	}
	for i, secret := range c.Secrets {
		s, err := NewSigner(secret)
		if err == nil {
			err = checkSecret(secret)
		}
		if err != nil {
			return nil, fmt.Errorf("%w (number %d of %d)", err, i+1, len(c.Secrets))
		}
		r.signers = append(r.signers, s)
	}
	for i, a := range c.Auth {
		if a.err == nil && a.holds == nil {
			a.err = errors.New("webhook: an Auth is made with Basic, Bearer, Header or a TokenServer")
		}
		if a.err != nil {
			return nil, fmt.Errorf("%w (Auth %d of %d)", a.err, i+1, len(c.Auth))
		}
	}
	if r.tolerance == 0 {
		r.tolerance = DefaultTolerance
	}
	if r.maxBody == 0 {
		r.maxBody = DefaultMaxBody
	}
	return r, nil
}

// checkSecret says what is wrong with a secret that nobody has on purpose.
func checkSecret(secret string) error {
	switch {
	case len(secret) < minSecret:
		return fmt.Errorf("%w: it has %d bytes, and %d are the least that a platform gives out", ErrSecret, len(secret), minSecret)
	case strings.ContainsFunc(secret, isControl):
		return fmt.Errorf("%w: it has %s", ErrSecret, unsendable)
	}
	return nil
}

// Verified is a request whose signature is right. Only [Receiver.Verify] makes one.
type Verified struct {
	// Timestamp is when the attempt was sent, to the second.
	Timestamp time.Time
	// Secret is the index of the secret that signed, in Config.Secrets.
	Secret int
	// Replay is the hash of all that was signed. The same value again means that the
	// same bytes were signed in the same second: most likely a replay, but also what
	// two subscriptions of one app to this endpoint get of one event.
	Replay [sha256.Size]byte
	// BodyHash is the hash of the body. Together with the request id it is the same
	// on every attempt of a delivery.
	BodyHash [sha256.Size]byte

	signer *Signer
	body   []byte
}

// Verify checks the signature and the time of a request, over the body as received
// and before anything else is done with it, and then what Config.Auth asks for.
func (r *Receiver) Verify(h http.Header, body []byte) (*Verified, error) {
	signature, err := single(h, HeaderSignature, ErrSignature)
	if err != nil {
		return nil, err
	}
	if !wellFormed(signature) {
		return nil, fmt.Errorf("%w: the header is not v0= and 64 lower-case hex digits", ErrSignature)
	}
	timestamp, err := single(h, HeaderTimestamp, ErrTimestamp)
	if err != nil {
		return nil, err
	}
	at, err := parseTimestamp(timestamp)
	if err != nil {
		return nil, err
	}
	// All secrets are tried and the time is looked at last, so that how long a
	// refusal takes tells nothing about the signature.
	secret := -1
	var want [signatureSize]byte
	for i, s := range r.signers {
		if subtle.ConstantTimeCompare(s.signature(want[:0], timestamp, body), []byte(signature)) == 1 {
			secret = i
		}
	}
	switch {
	case len(r.signers) == 0:
		return nil, ErrNoSecret
	case secret < 0 && len(body) == 0:
		return nil, fmt.Errorf("%w: the body is empty; has something else read it before?", ErrSignature)
	case secret < 0:
		return nil, fmt.Errorf("%w: it was made with another secret, or the body was changed on its way", ErrSignature)
	}
	if d := r.clock().Sub(at); d > r.tolerance || d < -r.tolerance {
		return nil, fmt.Errorf("%w: it is %v off this clock, and %v is allowed", ErrStale, d.Round(time.Millisecond), r.tolerance)
	}
	if err := r.authenticate(h); err != nil {
		return nil, err
	}
	v := &Verified{Timestamp: at, Secret: secret, BodyHash: sha256.Sum256(body), signer: r.signers[secret], body: body}
	v.Replay = sha256.Sum256(append([]byte(signature+timestamp), v.BodyHash[:]...))
	return v, nil
}

func (r *Receiver) clock() time.Time {
	if r.now == nil {
		return time.Now()
	}
	return r.now()
}

// single returns the only value of a header. Of two values one part of a program
// may check the first while another believes the second.
func single(h http.Header, name string, kind error) (string, error) {
	switch values := h[name]; len(values) {
	case 0:
		return "", fmt.Errorf("%w: header %s is missing", kind, name)
	case 1:
		return values[0], nil
	default:
		return "", fmt.Errorf("%w: header %s is there %d times", kind, name, len(values))
	}
}

func wellFormed(signature string) bool {
	if len(signature) != signatureSize || signature[:len(signaturePfx)] != signaturePfx {
		return false
	}
	return !slices.ContainsFunc([]byte(signature[len(signaturePfx):]), func(c byte) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'f')
	})
}

// parseTimestamp reads Unix seconds. The digits themselves are signed, so only one
// way of writing an instant is accepted.
func parseTimestamp(s string) (time.Time, error) {
	n, err := strconv.ParseUint(s, 10, 63) // digits and nothing else
	switch {
	case err != nil || s[0] == '0' || len(s) > 13:
		return time.Time{}, fmt.Errorf("%w: header %s is not a Unix time in seconds", ErrTimestamp, HeaderTimestamp)
	case len(s) == 13:
		return time.Time{}, fmt.Errorf("%w: header %s has 13 digits; it looks like milliseconds, and seconds are expected", ErrTimestamp, HeaderTimestamp)
	}
	return time.Unix(int64(n), 0), nil
}
