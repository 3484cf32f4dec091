package api

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/oauth"
)

// maxForm is far more than a request for a token has.
const maxForm = 16 << 10

// oauthError is a fault of a request for a token, in the shape that the contract
// has for those.
type oauthError struct {
	Reason string `json:"reason"`
	Code   string `json:"error"` // RFC 6749, 5.2
}

func (e *oauthError) Error() string { return e.Code + ": " + e.Reason }

var errClient = &oauthError{"Invalid client_id or client_secret", "invalid_client"}

// AccessToken is the answer to a request for a token (RFC 6749, 5.1).
type AccessToken struct {
	Token     string `json:"access_token"`
	Type      string `json:"token_type"`
	ExpiresIn int    `json:"expires_in"` // seconds
	Scope     string `json:"scope"`
	APIURL    string `json:"api_url"`
}

// token issues an access token to an app.
func (a *api) token(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	now := time.Now()
	app, secret, err := a.client(r, now)
	if err != nil {
		return err
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return &oauthError{"The parameters cannot be read: " + err.Error(), "invalid_request"}
	}
	account, err := a.grant(r, app)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, AccessToken{
		a.Tokens.Issue(app, secret, account, now), "bearer", int(oauth.Life / time.Second), strings.Join(scopesOf(app), " "), a.publicURL(r),
	})
	return nil
}

// client returns the app that a request comes from, and the secret that it has
// proven itself with. Whether it was the id or the secret that is wrong nobody is
// told.
func (a *api) client(r *http.Request, now time.Time) (*hook.App, hook.SecretHash, error) {
	id, text, ok := r.BasicAuth()
	if !ok {
		return nil, hook.SecretHash{}, errClient
	}
	if wait := a.guesses.wait(r, id, now); wait > 0 {
		return nil, hook.SecretHash{}, &hook.Error{Kind: hook.TooMany, Detail: "too many requests with a wrong client_id or client_secret", Wait: wait}
	}
	hash := hook.HashSecret(hook.Secret(text))
	app := a.Directory.Client(id)
	if app == nil {
		app = &hook.App{} // so that it takes as long
	}
	if !app.Accepts(hash, now) || app.Disabled {
		a.guesses.wrong(r, id, now)
		return nil, hook.SecretHash{}, errClient
	}
	return app, hash, nil
}

// grant returns the account that the app is to act for.
func (a *api) grant(r *http.Request, app *hook.App) (account string, err error) {
	for name, values := range r.Form {
		// The same in the query and in the body is no contradiction.
		if len(slices.Compact(values)) > 1 {
			return "", &oauthError{fmt.Sprintf("The parameter %.40q is there with several values", name), "invalid_request"}
		}
	}
	switch grant := r.Form.Get("grant_type"); grant {
	case "client_credentials":
		return app.Account, nil
	case "account_credentials":
		account = r.Form.Get("account_id")
		switch {
		case account == "":
			return "", &oauthError{"The parameter account_id is missing", "invalid_request"}
		case !a.Directory.Authorized(app.ID, account):
			return "", &oauthError{"The app is not installed on this account", "invalid_request"}
		}
		return account, nil
	case "":
		return "", &oauthError{"The parameter grant_type is missing", "invalid_request"}
	default:
		return "", &oauthError{"grant_type must be client_credentials or account_credentials", "unsupported_grant_type"}
	}
}

// publicURL returns the URL under which the API is reached.
func (a *api) publicURL(r *http.Request) string {
	if a.PublicURL != "" {
		return a.PublicURL
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

const (
	// An address may present a wrong secret for one client this often in a row, and
	// then once in a while. The right one is not accepted either meanwhile, or
	// guessing would not be held up.
	maxGuesses = 10
	guessEvery = 6 * time.Second

	// maxGuessers bounds what is remembered.
	maxGuessers = 10_000
)

// guesses counts wrong secrets by the address they come from and the client they
// are for. That others are not held up by them is more important than that nobody
// can guess from many addresses: a secret has 192 bits.
type guesses struct {
	mu sync.Mutex
	by map[[sha256.Size]byte]*rate.Limiter
}

func guesser(r *http.Request, client string) [sha256.Size]byte {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return sha256.Sum256([]byte(host + "\x00" + client))
}

// wait returns how long a client has to wait before it may try again.
func (g *guesses) wait(r *http.Request, client string, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.by[guesser(r, client)]
	if l == nil {
		return 0
	}
	if tokens := l.TokensAt(now); tokens < 1 {
		return time.Duration((1 - tokens) * float64(guessEvery))
	}
	return 0
}

// wrong notes a wrong secret.
func (g *guesses) wrong(r *http.Request, client string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	k := guesser(r, client)
	l := g.by[k]
	if l == nil {
		if g.by == nil || len(g.by) >= maxGuessers {
			g.by = map[[sha256.Size]byte]*rate.Limiter{}
		}
		l = rate.NewLimiter(rate.Every(guessEvery), maxGuesses)
		g.by[k] = l
	}
	l.AllowN(now, 1)
}

// retryAfter returns what to say in the header Retry-After: whole seconds.
func retryAfter(wait time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(wait.Seconds()))))
}

// failToken answers a fault of a request for a token, and reports whether it was one.
func failToken(w http.ResponseWriter, err error) bool {
	e, ok := errors.AsType[*oauthError](err)
	if ok {
		writeJSON(w, http.StatusBadRequest, e)
	}
	return ok
}
