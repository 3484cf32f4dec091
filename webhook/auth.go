package webhook

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Auth is what a request has to bring beside its signature, never instead of it:
// what the platform calls a custom header. Make one with [Basic], [Bearer], [Header]
// or [TokenServer.Auth].
type Auth struct {
	header string // in canonical form
	scheme string // of the header Authorization
	holds  func(value string) bool
	err    error // why this is none
}

// Basic asks for a user name and a password. The password may have colons in it.
func Basic(username, password string) Auth {
	switch {
	case username == "" || password == "":
		return Auth{err: fmt.Errorf("%w: user name or password", ErrNoSecret)}
	case strings.Contains(username, ":"):
		return Auth{err: errors.New("webhook: a user name with a colon cannot be told from its password")}
	case strings.ContainsFunc(username+password, isControl):
		return Auth{err: fmt.Errorf("%w: user name or password has %s", ErrSecret, unsendable)}
	}
	// As it comes, so that nothing has to be decoded that is not known to be right.
	return Auth{header: "Authorization", scheme: "Basic", holds: same(base64.StdEncoding.EncodeToString([]byte(username + ":" + password)))}
}

// Bearer asks for a token that does not change. For those that the platform fetches,
// there is [TokenServer].
func Bearer(token string) Auth {
	if strings.TrimSpace(token) == "" {
		return Auth{err: fmt.Errorf("%w: token", ErrNoSecret)}
	}
	if err := checkValue(token); err != nil {
		return Auth{err: err}
	}
	return Auth{header: "Authorization", scheme: "Bearer", holds: same(token)}
}

// Header asks for a header of your own.
func Header(name, value string) Auth {
	switch {
	case strings.TrimSpace(value) == "":
		return Auth{err: fmt.Errorf("%w: value of header %q", ErrNoSecret, name)}
	case name == "" || strings.ContainsFunc(name, notToken):
		return Auth{err: fmt.Errorf("webhook: %q is not the name of a header", name)}
	}
	if err := checkValue(value); err != nil {
		return Auth{err: err}
	}
	return Auth{header: http.CanonicalHeaderKey(name), holds: same(value)}
}

// unsendable is what cannot arrive in a header, so that nothing would ever be accepted.
const unsendable = "a line feed or another control character in it; trim what was read from a file"

// checkValue says why no header can arrive with a value.
func checkValue(value string) error {
	switch {
	case strings.ContainsFunc(value, isControl):
		return fmt.Errorf("%w: it has %s", ErrSecret, unsendable)
	case strings.TrimSpace(value) != value:
		return fmt.Errorf("%w: it has white space around it, which no header brings along", ErrSecret)
	}
	return nil
}

func isControl(c rune) bool { return c < ' ' || c == 0x7f }

// same returns a function that reports whether a value is the secret one. How long
// it takes depends on the value alone.
func same(secret string) func(value string) bool {
	want := sha256.Sum256([]byte(secret))
	return func(value string) bool {
		got := sha256.Sum256([]byte(value))
		return subtle.ConstantTimeCompare(got[:], want[:]) == 1
	}
}

// notToken reports whether a character cannot be in the name of a header.
func notToken(c rune) bool {
	return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
}

// check says what a request lacks.
func (a *Auth) check(h http.Header) error {
	value, err := single(h, a.header, ErrAuth)
	if err != nil {
		return err
	}
	if a.scheme != "" {
		scheme, credentials, _ := strings.Cut(value, " ")
		if !strings.EqualFold(scheme, a.scheme) {
			return fmt.Errorf("%w: header %s is not of the scheme %s", ErrAuth, a.header, a.scheme)
		}
		value = strings.TrimLeft(credentials, " ")
	}
	if !a.holds(value) {
		return fmt.Errorf("%w: header %s has a wrong value", ErrAuth, a.header)
	}
	return nil
}

// authenticate says what a request lacks of all that would do.
func (r *Receiver) authenticate(h http.Header) (err error) {
	for i := range r.auth {
		one := r.auth[i].check(h)
		if one == nil {
			return nil
		}
		if err == nil {
			err = one
		}
	}
	return err
}
