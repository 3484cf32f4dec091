package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
)

// ErrNoSecret says that a secret is missing or blank. Anybody can compute an HMAC
// with an empty key.
var ErrNoSecret = errors.New("webhook: the secret is missing or blank")

// ErrSecret says that a secret cannot be what the platform has given out.
var ErrSecret = errors.New("webhook: the secret is unusable")

// minSecret is how many bytes the secret token of an app has at least.
const minSecret = 8

// Signer computes what only those can who know the secret token of an app. It is
// safe for concurrent use.
type Signer struct {
	macs sync.Pool // of *mac: setting up an HMAC costs as much as a short message
}

type mac struct {
	hash.Hash
	buf [sha256.Size]byte
}

// visible reports whether a character leaves a trace when it is printed. Spaces of no
// width do not, nor does a byte order mark.
func visible(c rune) bool { return unicode.IsGraphic(c) && !unicode.IsSpace(c) }

// NewSigner returns a Signer for the secret, or [ErrNoSecret].
func NewSigner(secret string) (*Signer, error) {
	if !strings.ContainsFunc(secret, visible) {
		return nil, ErrNoSecret
	}
	key := []byte(secret)
	s := &Signer{}
	s.macs.New = func() any { return &mac{Hash: hmac.New(sha256.New, key)} }
	return s, nil
}

const (
	scheme        = "v0"
	signaturePfx  = scheme + "="
	signatureSize = len(signaturePfx) + 2*sha256.Size
)

// Sign returns the values of the timestamp and the signature header for a body
// sent at t. Every attempt is signed anew, for the receiver checks the time.
func (s *Signer) Sign(t time.Time, body []byte) (timestamp, signature string) {
	timestamp = strconv.FormatInt(t.Unix(), 10)
	var b [signatureSize]byte
	return timestamp, string(s.signature(b[:0], timestamp, body))
}

// signature appends the signature of the message v0:timestamp:body.
func (s *Signer) signature(dst []byte, timestamp string, body []byte) []byte {
	m := s.macs.Get().(*mac)
	defer s.macs.Put(m)
	m.Reset()
	prefix := append(m.buf[:0], scheme+":"...)
	prefix = append(prefix, timestamp...)
	m.Write(append(prefix, ':'))
	m.Write(body)
	return hex.AppendEncode(append(dst, signaturePfx...), m.Sum(m.buf[:0]))
}

// EncryptToken returns the encryptedToken that answers a challenge: the HMAC of
// plainToken in hex.
//
// Beware: it is the same function under the same key as the signature. Whoever
// gets it computed for a plainToken of the form v0:<timestamp>:<body> holds a valid
// signature of that body. Only ever use it on what [Verified.Challenge] lets pass.
func (s *Signer) EncryptToken(plainToken string) string {
	m := s.macs.Get().(*mac)
	defer s.macs.Put(m)
	m.Reset()
	m.Write([]byte(plainToken))
	return hex.EncodeToString(m.Sum(m.buf[:0]))
}
