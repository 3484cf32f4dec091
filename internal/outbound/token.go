package outbound

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/switchhook/switchhook/internal/hook"
)

const (
	// minExpiry is the shortest life that a token may have (contract, 1.5).
	minExpiry = 3599 * time.Second

	// tokenMargin is how long before its end a token is no longer used, for it has
	// to hold until the endpoint has looked at it.
	tokenMargin = time.Minute
)

// tokens keeps the bearer tokens of subscriptions.
type tokens struct {
	group *singleflight.Group // one fetch at a time for each subscription
	cache sync.Map            // key to token
}

type token struct {
	text    string
	expires time.Time
}

// drop forgets the token, unless a newer one has taken its place.
func (t *tokens) drop(key, text string) {
	if v, ok := t.cache.Load(key); ok && v.(token).text == text {
		t.cache.CompareAndDelete(key, v)
	}
}

// tokenKey is where a subscription's token is kept. Settings that were changed have
// another place than those before.
func tokenKey(subscription string, a *hook.Auth) string {
	return strings.Join([]string{subscription, a.TokenURL, a.ClientID, a.ClientSecret.Reveal(), a.Scope, a.State, strconv.FormatBool(a.InBody)}, "\x00")
}

// accessToken returns a token that is valid for a while.
func (c *Client) accessToken(ctx context.Context, e *Endpoint) (string, error) {
	key := e.token
	if v, ok := c.tokens.cache.Load(key); ok && time.Until(v.(token).expires) > 0 {
		return v.(token).text, nil
	}
	fetched := c.tokens.group.DoChan(key, func() (any, error) {
		// The fetch is for all who wait, so no single one of them ends it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.ConnectTimeout)
		defer cancel()
		t, err := c.fetchToken(ctx, &e.auth, e.secrets)
		if err != nil {
			return nil, err
		}
		t.expires = t.expires.Add(-tokenMargin)
		c.tokens.cache.Store(key, t)
		return t, nil
	})
	select {
	case r := <-fetched:
		if r.Err != nil {
			return "", r.Err
		}
		return r.Val.(token).text, nil
	case <-ctx.Done():
		return "", c.tokenTimeout()
	}
}

func (c *Client) tokenTimeout() error {
	return fmt.Errorf("the token URL did not answer within %v", c.ConnectTimeout)
}

// fetchToken asks the token URL for a new token. Errors say what was wrong with the
// answer; where they quote it, without the secrets.
func (c *Client) fetchToken(ctx context.Context, a *hook.Auth, secrets []string) (token, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if a.Scope != "" {
		form.Set("scope", a.Scope)
	}
	if a.State != "" {
		form.Set("state", a.State)
	}
	if a.InBody {
		form.Set("client_id", a.ClientID)
		form.Set("client_secret", a.ClientSecret.Reveal())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return token{}, errors.New("the token URL cannot be read")
	}
	if !a.InBody {
		req.SetBasicAuth(a.ClientID, a.ClientSecret.Reveal())
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.UserAgent)
	res, err := c.tokenTransport.RoundTrip(req)
	if err != nil {
		if ctx.Err() != nil {
			return token{}, c.tokenTimeout()
		}
		_, detail := classify(err)
		return token{}, fmt.Errorf("the token URL could not be called: %s", maskQuote(detail, secrets))
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, readBody))
	if err != nil {
		return token{}, errors.New("the token URL's answer broke off")
	}
	if res.StatusCode != http.StatusOK {
		return token{}, fmt.Errorf("the token URL answered with status %d, want 200", res.StatusCode)
	}
	return parseToken(body, secrets, time.Now())
}

// parseToken reads a token answer, whose expires_in may be a number or a string.
func parseToken(body []byte, secrets []string, now time.Time) (token, error) {
	var t struct {
		AccessToken string          `json:"access_token"`
		TokenType   string          `json:"token_type"`
		ExpiresIn   json.RawMessage `json:"expires_in"`
	}
	if err := json.Unmarshal(body, &t); err != nil {
		return token{}, errors.New("the token URL's answer is not a JSON object with access_token, token_type and expires_in")
	}
	switch {
	case t.AccessToken == "":
		return token{}, errors.New("the token URL's answer has no access_token")
	case strings.ContainsFunc(t.AccessToken, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return token{}, errors.New("the token URL's access_token has characters that cannot be in a header")
	case !strings.EqualFold(t.TokenType, "bearer"):
		return token{}, fmt.Errorf("the token URL's token_type is %.40q, want bearer", mask(t.TokenType, secrets))
	}
	seconds, err := strconv.ParseFloat(strings.Trim(string(t.ExpiresIn), `"`), 64)
	if err != nil || math.IsNaN(seconds) {
		return token{}, errors.New("the token URL's expires_in is not a number of seconds")
	}
	if seconds < minExpiry.Seconds() {
		return token{}, fmt.Errorf("the token URL's expires_in is %g seconds, at least %g are wanted", seconds, minExpiry.Seconds())
	}
	// More than a day is not worth trusting.
	life := time.Duration(min(seconds, 86400)) * time.Second
	return token{t.AccessToken, now.Add(life)}, nil
}
