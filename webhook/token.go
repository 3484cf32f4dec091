package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// MinTokenLife is how long a token has to last for the platform to take it.
const MinTokenLife = 3599 * time.Second

// TokenConfig says what a [TokenServer] gives tokens for.
type TokenConfig struct {
	// ClientID and ClientSecrets are what the subscription's custom header is set to:
	// its client_id, and the client_secret. While a secret is being changed there are
	// two, the new one first.
	ClientID      string
	ClientSecrets []string
	// Life is how long tokens last, at least [MinTokenLife]. 0 means an hour.
	Life time.Duration
	// Now is the clock. nil means [time.Now].
	Now func() time.Time
	// Error, if set, is told of every request that is refused.
	Error func(*http.Request, error)
}

// TokenServer is the token URL of a subscription whose custom header is an OAuth
// token: the platform fetches a token from it by client credentials (RFC 6749, 4.4),
// and brings it with every request. Mount it as a handler, and give its Auth to the
// [Config] of the receiver.
//
// Nothing has to be stored: a token is a random number and its end, under a key that
// is made of the client secret. So every process that knows the secret accepts the
// tokens of the others, and changing the secret revokes them.
type TokenServer struct {
	config  TokenConfig
	secrets []func(string) bool
	keys    [][]byte
}

// NewTokenServer returns a TokenServer, or an error that says what is wrong with the
// TokenConfig.
func NewTokenServer(c TokenConfig) (*TokenServer, error) {
	if c.Life == 0 {
		c.Life = time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	switch {
	case c.ClientID == "" || len(c.ClientSecrets) == 0:
		return nil, fmt.Errorf("%w: ClientID or ClientSecrets", ErrNoSecret)
	case strings.Contains(c.ClientID, ":"):
		return nil, errors.New("webhook: a client id with a colon cannot be told from its secret")
	case c.Life < MinTokenLife:
		return nil, fmt.Errorf("webhook: tokens that last for %v are not taken, %v is the least", c.Life, MinTokenLife)
	}
	s := &TokenServer{config: c}
	for i, secret := range c.ClientSecrets {
		err := checkSecret(secret)
		if strings.TrimSpace(secret) == "" {
			err = ErrNoSecret
		}
		if err != nil {
			return nil, fmt.Errorf("%w (client secret %d of %d)", err, i+1, len(c.ClientSecrets))
		}
		s.secrets = append(s.secrets, same(secret))
		s.keys = append(s.keys, tag([]byte(secret), []byte("switchhook access token for "+c.ClientID)))
	}
	return s, nil
}

func tag(key, message []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(message)
	return m.Sum(nil)
}

// A token is when it ends, a random number, and a tag over both.
const (
	tokenNonce = 16
	tokenHead  = 8 + tokenNonce
	tokenSize  = tokenHead + sha256.Size
)

// issue returns a token that lasts from now.
func (s *TokenServer) issue(now time.Time) string {
	b := make([]byte, tokenHead, tokenSize)
	binary.BigEndian.PutUint64(b, uint64(now.Add(s.config.Life).Unix()))
	_, _ = rand.Read(b[8:]) // never fails, says crypto/rand
	return base64.RawURLEncoding.EncodeToString(append(b, tag(s.keys[0], b)...))
}

// holds reports whether a token is one of ours and has not ended.
func (s *TokenServer) holds(token string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(token) // which leaves out line feeds
	if err != nil || len(token) != base64.RawURLEncoding.EncodedLen(tokenSize) || len(b) != tokenSize {
		return false
	}
	if !slices.ContainsFunc(s.keys, func(key []byte) bool { return hmac.Equal(tag(key, b[:tokenHead]), b[tokenHead:]) }) {
		return false
	}
	return s.config.Now().Unix() < int64(binary.BigEndian.Uint64(b))
}

// Auth asks requests for a token that the server has given out.
func (s *TokenServer) Auth() Auth {
	return Auth{header: "Authorization", scheme: "Bearer", holds: s.holds}
}

// ServeHTTP answers a request for a token.
func (s *TokenServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	fault := s.grant(w, req)
	if fault == nil {
		h.Set("Content-Type", ContentType)
		answer := tokenAnswer{s.issue(s.config.Now()), "bearer", int64(s.config.Life.Seconds())}
		_ = json.NewEncoder(w).Encode(answer) //nolint:gosec // a token is what was asked for
		return
	}
	if s.config.Error != nil {
		s.config.Error(req, fmt.Errorf("webhook: token: %s: %s", fault.Code, fault.Text))
	}
	if fault.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Basic realm="webhooks"`)
	}
	h.Set("Content-Type", ContentType)
	w.WriteHeader(fault.status)
	_ = json.NewEncoder(w).Encode(fault)
}

type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
}

// tokenFault is why there is no token, as RFC 6749, 5.2 has it.
type tokenFault struct {
	status int
	Code   string `json:"error"`
	Text   string `json:"error_description"`
}

// maxTokenRequest is far more than a request for a token has.
const maxTokenRequest = 16 << 10

// grant says why a request gets no token, or nothing.
func (s *TokenServer) grant(w http.ResponseWriter, req *http.Request) *tokenFault {
	invalid := func(text string) *tokenFault { return &tokenFault{http.StatusBadRequest, "invalid_request", text} }
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return &tokenFault{http.StatusMethodNotAllowed, "invalid_request", "the method is not POST"}
	}
	if media, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || media != "application/x-www-form-urlencoded" {
		return invalid("the content-type is not application/x-www-form-urlencoded")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxTokenRequest))
	if err != nil {
		return invalid("the body cannot be read, or is too long")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return invalid("the body is not a form")
	}
	for name, values := range form {
		if len(values) > 1 {
			return invalid(fmt.Sprintf("%.40q is there %d times", name, len(values)))
		}
	}
	id, secret, inHeader := req.BasicAuth()
	if !inHeader {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	} else if form.Has("client_secret") {
		return invalid("the client authenticates in two ways")
	}
	known := s.knows(id, secret)
	if plainID, err := url.QueryUnescape(id); err == nil && inHeader && !known {
		// RFC 6749, 2.3.1 would have them escaped, which few do.
		if plain, err := url.QueryUnescape(secret); err == nil {
			known = s.knows(plainID, plain)
		}
	}
	switch {
	case len(req.Header.Values("Authorization")) > 1:
		return invalid("header Authorization is there more than once")
	case !known:
		return &tokenFault{http.StatusUnauthorized, "invalid_client", "the client id or the client secret is wrong"}
	case form.Get("grant_type") != "client_credentials":
		return &tokenFault{http.StatusBadRequest, "unsupported_grant_type", "grant_type is not client_credentials"}
	}
	return nil
}

// knows reports whether id and secret are the client's.
func (s *TokenServer) knows(id, secret string) bool {
	right := same(s.config.ClientID)(id)
	known := false
	for _, one := range s.secrets {
		known = one(secret) || known
	}
	return right && known
}
