package api

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/oauth"
)

// The scopes of the public API's calls.
const (
	scopeWrite     = "marketplace:write:event_subscription"
	scopeUpdate    = "marketplace:update:event_subscription"
	scopeDelete    = "marketplace:delete:event_subscription"
	scopeList      = "marketplace:read:list_event_subscriptions"
	scopeLogs      = "marketplace_app:read"
	scopeLogsAdmin = "marketplace_app:read:admin"

	scopeNumbersRead      = "number_management_numbers:read:admin"
	scopeNumbersWrite     = "number_management_numbers:write:admin"
	scopeNumbersList      = "number_management:read:list_peering_numbers:admin"
	scopeNumbersAdd       = "number_management:write:peering_number:admin"
	scopeNumbersUpdate    = "number_management:update:peering_number:admin"
	scopeNumbersDelete    = "number_management:delete:peering_number:admin"
	scopeNumbersOfCarrier = "number_management:read:list_carrier_peering_numbers:admin"
)

// Each app has these without being given them.
var automaticScopes = []string{scopeWrite, scopeUpdate, scopeDelete, scopeList}

// scopesOf returns all scopes of an app.
func scopesOf(app *hook.App) []string {
	all := slices.Clone(app.Scopes)
	for _, s := range automaticScopes {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// grantOf is where the context of a request has what its access token grants.
type grantOf struct{}

func grant(r *http.Request) oauth.Grant { return r.Context().Value(grantOf{}).(oauth.Grant) }

// access lets access tokens in, of apps that have any one of the scopes, as often as the
// call's weight allows.
type access struct {
	weight
	scopes []string
}

func (x access) admit(a *api, w http.ResponseWriter, req *http.Request) (*http.Request, error) {
	now := time.Now()
	g, err := a.Tokens.Read(bearer(req), now, a.Directory.App)
	if err != nil {
		return nil, &hook.Error{Kind: hook.BadToken}
	}
	if err := a.budgets.take(w, g.Account, x.weight, a.Rates.of(x.weight), now); err != nil {
		return nil, err
	}
	has := scopesOf(g.App)
	if !slices.ContainsFunc(x.scopes, func(s string) bool { return slices.Contains(has, s) }) {
		return nil, &hook.Error{Kind: hook.MissingScopes, Detail: strings.Join(x.scopes, ",")}
	}
	by := hook.Actor{Kind: hook.ByApp, ID: g.App.ID, Name: g.App.Name}
	ctx := context.WithValue(context.WithValue(req.Context(), actorOf{}, by), grantOf{}, g)
	return req.WithContext(ctx), nil
}

// keyOrApp lets in what its key does, and access tokens of apps for what is their own.
type keyOrApp struct {
	key
	access
}

func (x keyOrApp) admit(a *api, w http.ResponseWriter, req *http.Request) (*http.Request, error) {
	if _, err := a.Tokens.Read(bearer(req), time.Now(), a.Directory.App); err == nil {
		return x.access.admit(a, w, req)
	}
	return x.key.admit(a, w, req)
}

// caller returns the app that makes a request, or nil if it is an operator.
func caller(r *http.Request) *hook.App {
	g, _ := r.Context().Value(grantOf{}).(oauth.Grant)
	return g.App
}

// tokenLife is how long a page token is valid.
const tokenLife = 15 * time.Minute

// nextPage returns the token for the page that follows a position. It is bound to who
// asks and to the query, but for the size of pages.
func (a *api) nextPage(r *http.Request, position []byte, now time.Time) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(now.Add(tokenLife).UnixMilli()))
	b = append(b, position...)
	return base64.RawURLEncoding.EncodeToString(append(b, a.sealPage(r, b)...))
}

const pageSealSize = 16

func (a *api) sealPage(r *http.Request, b []byte) []byte {
	m := hmac.New(sha256.New, a.PageKey)
	m.Write([]byte(grant(r).App.ID + "\x00" + grant(r).Account + "\x00" + r.URL.Path + "\x00"))
	m.Write(queryHash(parameters(r)))
	m.Write(b)
	return m.Sum(nil)[:pageSealSize]
}

// position reads a page token. It is nil for the first page.
func (a *api) position(r *http.Request, now time.Time) ([]byte, error) {
	text := parameters(r).Get("next_page_token")
	if text == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < 8+pageSealSize || base64.RawURLEncoding.EncodeToString(b) != text { // it passes over line feeds
		return nil, &hook.Error{Kind: hook.PageTokenInvalid}
	}
	said, sealed := b[:len(b)-pageSealSize], b[len(b)-pageSealSize:]
	expires := int64(binary.BigEndian.Uint64(said))
	if !hmac.Equal(sealed, a.sealPage(r, slices.Clip(said))) || now.UnixMilli() >= expires {
		return nil, &hook.Error{Kind: hook.PageTokenInvalid}
	}
	return said[8:], nil
}

// parameters returns the query of a call of the public API, without what is empty.
func parameters(r *http.Request) url.Values {
	q := r.URL.Query()
	for name, values := range q {
		if q[name] = slices.DeleteFunc(values, func(v string) bool { return v == "" }); len(q[name]) == 0 {
			delete(q, name)
		}
	}
	return q
}
