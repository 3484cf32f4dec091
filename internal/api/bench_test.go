package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// The calls that clients of the public API make most, without the network.
func BenchmarkPublicAPI(b *testing.B) {
	p := newPlatform(b, options{idle: true})
	now := time.Now()
	app := &hook.App{ID: "app", Account: "carrier", Name: "app", ClientID: "client", ClientSecret: hook.HashSecret("secret"), SecretToken: secretToken, Created: now}
	c := hook.Change{Accounts: []*hook.Account{{ID: "carrier"}}, Apps: []*hook.App{app}}
	for i := range 20 {
		id := hook.NewID()
		k, err := hook.KeyOf(id)
		must(b, err)
		c.Subscriptions = append(c.Subscriptions, &hook.Subscription{
			ID: id, Key: k, App: "app", Events: []string{cnamEvent}, Scope: hook.ScopeAccount, Subscribers: []hook.Subscriber{{Account: "carrier"}},
			Endpoint: hook.Endpoint{URL: fmt.Sprintf("https://hooks.example.com/%d", i), State: hook.Valid, Checked: now}, Source: hook.SourceOpenAPI, Created: now,
		})
	}
	must(b, p.db.Change(c, now))
	for _, call := range []struct {
		name, method, path string
		ask                func(*http.Request)
	}{
		{"token", http.MethodPost, "/oauth/token?grant_type=client_credentials", func(r *http.Request) { r.SetBasicAuth("client", "secret") }},
		{"list", http.MethodGet, "/v2/marketplace/app/event_subscription", func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+p.token(app))
		}},
	} {
		b.Run(call.name, func(b *testing.B) {
			r := httptest.NewRequest(call.method, call.path, nil)
			call.ask(r)
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				if p.handler.ServeHTTP(w, r); w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}

// token returns an access token of an app for its own account.
func (p *platform) token(a *hook.App) string {
	return p.tokens.Issue(a, a.ClientSecret, a.Account, time.Now())
}
