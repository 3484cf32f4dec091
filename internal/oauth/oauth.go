// Package oauth issues and reads the access tokens of apps.
//
// A token is signed and says for itself whose it is, so nothing is stored, every
// node can read what another one issued, and issuing costs no write. It is bound
// to the client secret that it was obtained with: with the secret, or the app, all
// its tokens end. What an app may do is not in the token; it is looked up when the
// token is used.
package oauth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// Life is how long a token is valid.
const Life = time.Hour

// ErrToken says that a token is not one of ours, has expired, or that its app or
// secret is gone. Which of these is nobody's business.
var ErrToken = errors.New("oauth: the access token is invalid or has expired")

const (
	version  = 1
	sealSize = sha256.Size
	nonce    = 8

	// epoch is how long a signing key is used.
	epoch = 24 * time.Hour
)

// Tokens issues and reads tokens. It is safe for concurrent use.
type Tokens struct {
	derive func(purpose string) []byte
	mu     sync.Mutex
	keys   map[int64][]byte // by epoch, the latest ones
}

// New returns Tokens that sign with keys which derive makes, each for a purpose of
// its own.
func New(derive func(purpose string) []byte) *Tokens {
	return &Tokens{derive: derive, keys: map[int64][]byte{}}
}

// key returns the signing key for tokens that expire at that time. It changes from
// day to day, so that one that became known is of no use for long.
func (t *Tokens) key(expires time.Time) []byte {
	n := expires.Unix() / int64(epoch/time.Second)
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.keys[n]
	if k == nil {
		if len(t.keys) > 2 {
			clear(t.keys)
		}
		k = t.derive("oauth/" + strconv.FormatInt(n, 10))
		t.keys[n] = k
	}
	return k
}

// Issue returns a token for the app, obtained with one of its client secrets, to
// act for an account.
func (t *Tokens) Issue(a *hook.App, secret hook.SecretHash, account string, now time.Time) string {
	expires := now.Add(Life)
	b := []byte{version}
	b = binary.BigEndian.AppendUint64(b, uint64(expires.Unix()))
	b = append(b, secret[:nonce]...)
	var random [nonce]byte
	_, _ = rand.Read(random[:]) // never fails, says crypto/rand
	b = append(b, random[:]...)
	b = appendText(appendText(b, a.ID), account)
	return base64.RawURLEncoding.EncodeToString(sign(b, t.key(expires)))
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func sign(b, key []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(b)
	return m.Sum(b)
}

// maxToken is far more than a token has.
const maxToken = 1024

// Grant is what a token stands for.
type Grant struct {
	App *hook.App
	// Account is whom the app acts for.
	Account string
}

// Read returns what a token grants at now, or [ErrToken]. find looks apps up.
func (t *Tokens) Read(token string, now time.Time, find func(app string) *hook.App) (Grant, error) {
	if len(token) > maxToken {
		return Grant{}, ErrToken
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	const head = 1 + 8 + nonce + nonce
	if err != nil || len(b) < head+sealSize || b[0] != version {
		return Grant{}, ErrToken
	}
	body := b[:len(b)-sealSize]
	expires := time.Unix(int64(binary.BigEndian.Uint64(body[1:])), 0)
	// Looked at before the signature, so that nobody can ask for the keys of all days.
	if !now.Before(expires) || expires.After(now.Add(2*Life)) {
		return Grant{}, ErrToken
	}
	if !hmac.Equal(sign(slices.Clip(body), t.key(expires)), b) {
		return Grant{}, ErrToken
	}
	app, rest := cutText(body[head:])
	account, _ := cutText(rest)
	a := find(app)
	if a == nil || a.Disabled || !valid(a, body[9:9+nonce], now) {
		return Grant{}, ErrToken
	}
	return Grant{a, account}, nil
}

// valid reports whether the secret whose hash begins so is one of the app's. Nothing
// here is secret any more, for the signature is ours.
func valid(a *hook.App, secret []byte, now time.Time) bool {
	if string(a.ClientSecret[:nonce]) == string(secret) {
		return true
	}
	return string(a.OldClientSecret.Hash[:nonce]) == string(secret) && now.Before(a.OldClientSecret.Until)
}

// cutText takes a text off what was signed, and so is well formed.
func cutText(b []byte) (text string, rest []byte) {
	n, size := binary.Uvarint(b)
	return string(b[size : size+int(n)]), b[size+int(n):]
}
