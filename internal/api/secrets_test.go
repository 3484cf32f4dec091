package api

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/store"
)

// Whatever goes right or wrong, no answer of the API and no line of the log has a
// secret in it, but for the two answers whose purpose that is. Endpoints send back
// all they know, which must not help.
func TestNothingSecretIsShown(t *testing.T) {
	g := &gate{}
	p := newPlatform(t, options{store: func(db *store.DB) intake.Store {
		g.Store = db
		return g
	}})
	const (
		password     = "password-of-ann"
		oauthSecret  = "secret-of-the-oauth-client"
		accessToken  = "access-token-of-the-endpoint"
		headerValue  = "value-of-the-own-header"
		wrongKey     = "shk_somebody-elses-key"
		newToken     = "secret-token-after-rotation"
		misplaced    = "secret-in-the-wrong-place"
		brokenSecret = "secret-with-a\nline-feed"
	)
	secrets := map[string]string{
		"secret token": secretToken, "basic password": password, "OAuth client secret": oauthSecret, "access token": accessToken,
		"own header": headerValue, "operator key": allKey, "another operator key": readKey, "unknown operator key": wrongKey,
		"new secret token": newToken, "misplaced secret": misplaced, "broken secret": "secret-with-a",
	}
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, given, _ := r.BasicAuth()
		if given != oauthSecret {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, "your secret is %s, %s", given, r.Header.Get("Authorization"))
			return
		}
		fmt.Fprintf(w, `{"access_token":"%s","token_type":"bearer","expires_in":3600}`, accessToken)
	}))
	t.Cleanup(tokens.Close)
	// It sends back whatever it was sent and knows, plain and packed.
	var token atomic.Value
	token.Store(secretToken)
	known := map[string]string{"basic": password, "oauth": oauthSecret, "header": headerValue}
	echo := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil || bytes.Contains(body, []byte("plainToken")) {
				r.Body = io.NopCloser(bytes.NewReader(body))
				next.ServeHTTP(w, r)
				return
			}
			var all bytes.Buffer
			fmt.Fprintf(&all, "%s, %s, %s\n", token.Load(), known[r.URL.RawQuery], body)
			for name, values := range r.Header {
				fmt.Fprintln(&all, name, values)
				w.Header().Set("X-Echo-"+name, values[0])
			}
			w.Header().Set("Set-Cookie", r.Header.Get("Authorization"))
			status := map[bool]int{true: http.StatusInternalServerError, false: http.StatusOK}[bytes.Contains(body, []byte("busy"))]
			if bytes.Contains(body, []byte("packed")) {
				w.Header().Set("Content-Encoding", "gzip")
				w.WriteHeader(status)
				z := gzip.NewWriter(w)
				_, _ = z.Write(all.Bytes())
				_ = z.Close()
				return
			}
			w.WriteHeader(status)
			_, _ = w.Write(all.Bytes())
		})
	}
	e := newEndpoint(t, echo)
	with := func(name string, h manage.CustomHeader) manage.Subscription {
		s := to(name, e.url+"?"+name)
		s.CustomHeader = &h
		return s
	}
	m := manifest(
		with("none", manage.CustomHeader{}),
		with("basic", manage.CustomHeader{Type: 1, Username: "ann", Password: password}),
		with("oauth", manage.CustomHeader{Type: 2, ClientID: "client", ClientSecret: oauthSecret, TokenURL: tokens.URL}),
		with("header", manage.CustomHeader{Type: 3, Key: "X-Own", Value: headerValue}),
		with("refused", manage.CustomHeader{Type: 2, ClientID: "client", ClientSecret: misplaced, TokenURL: tokens.URL}),
	)
	plan := p.apply(m)
	apply := len(p.answers) - 1
	creds := plan.Credentials[0]
	secrets["client secret"] = creds.ClientSecret
	secrets["basic credentials"] = base64.StdEncoding.EncodeToString([]byte("ann:" + password))
	secrets["OAuth client credentials"] = base64.StdEncoding.EncodeToString([]byte("client:" + oauthSecret))
	if plan.Failures() != 1 {
		t.Errorf("plan: %+v", plan)
	}
	p.want(200, "GET", operator+"/apps/"+creds.AppID+"/secret_token", "")
	reveal := len(p.answers) - 1

	// All that can be read, before and after deliveries that went well and ill.
	look := func() {
		t.Helper()
		paths := []string{"/apps", "/apps/" + creds.AppID, "/accounts", "/subscriptions", "/deliveries", "/event_types"}
		for _, s := range []string{"none", "basic", "oauth", "header", "refused"} {
			paths = append(paths, "/subscriptions/"+p.subscription(s).ID)
		}
		for _, d := range get[page](p, operator+"/deliveries").Deliveries {
			paths = append(paths, "/deliveries/"+d.ID, "/events/"+d.EventID)
		}
		for _, path := range paths {
			p.want(200, "GET", operator+path, "")
		}
	}
	look()
	for name, want := range map[string]hook.State{"fine": hook.Delivered, "fine and packed": hook.Delivered, "busy": hook.Exhausted, "busy and packed": hook.Exhausted} {
		ev := p.publish(cnam(name))
		for _, s := range []string{"none", "basic", "oauth", "header"} {
			if d := p.await(ev.Event, p.subscription(s), want); !strings.Contains(d.Attempts[0].Body, "********") {
				t.Errorf("%s, %s: the answer was kept as %q", name, s, d.Attempts[0].Body)
			}
		}
	}
	look()

	// Mistakes with secrets in them.
	manifestWith := func(app string) string {
		return `{"accounts":[{"id":"carrier"}],"apps":[{"name":"mistake","account_id":"carrier",` + app + `}]}`
	}
	subscriptionWith := func(custom string) string {
		return manifestWith(`"scopes":["` + cnamScope + `"],"subscriptions":[{"event_subscription_name":"s","events":["` + cnamEvent + `"],"event_webhook_url":"` + e.url + `","custom_header":` + custom + `}]`)
	}
	long := misplaced + strings.Repeat("x", 300)
	for _, body := range []string{
		manifestWith(`"secret_token":"` + long + `"`),
		manifestWith(`"secret_token":"secret-with-a\nline-feed"`),
		manifestWith(`"secret_token":["` + misplaced + `"]`),
		manifestWith(`"secret_token":"` + misplaced),
		manifestWith(`"secret_token":"` + misplaced + `"x`),
		subscriptionWith(`{"custom_header_type":1,"username":"a:b","password":"` + long + `"}`),
		subscriptionWith(`{"custom_header_type":1,"username":"","password":"secret-with-a\nline-feed"}`),
		subscriptionWith(`{"custom_header_type":2,"client_id":"","client_secret":"` + long + `","token_url":"x"}`),
		subscriptionWith(`{"custom_header_type":3,"custom_header_key":"Host","custom_header_value":"` + long + `"}`),
		subscriptionWith(`{"custom_header_type":3,"custom_header_key":"X-A","custom_header_value":"secret-with-a\nline-feed"}`),
		subscriptionWith(`{"custom_header_type":9,"password":"` + misplaced + `"}`),
		subscriptionWith(`{"custom_header_type":"` + misplaced + `"}`),
	} {
		p.want(400, "POST", operator+"/apply", body)
	}
	for _, authorization := range []string{"Bearer " + wrongKey, "Basic " + wrongKey, wrongKey, "Bearer " + wrongKey + " " + wrongKey} {
		p.want(401, "GET", operator+"/apps", "", header("Authorization", authorization))
	}
	p.want(403, "POST", "/v2/events", cnam("x"), header("Authorization", "Bearer "+readKey))

	// Secrets that change, first in a dry run.
	m.Apps[0].SecretToken = newToken
	m.Apps[0].Subscriptions[1].CustomHeader.Password = misplaced
	m.Apps[0].Subscriptions = m.Apps[0].Subscriptions[:4]
	body := `{"apps":[{"name":"number sync","account_id":"carrier","secret_token":"` + newToken + `","scopes":["` + cnamScope + `"],"carrier_codes":[1]}]}`
	if a := p.want(200, "POST", operator+"/apply?dry_run=true", body); !strings.Contains(a.body, `"changes":["secret_token"]`) {
		t.Errorf("a new secret token: %s", a.body)
	}
	p.want(200, "POST", operator+"/apply", body)
	token.Store(newToken)
	e.foreign.Store(true)
	for _, s := range []string{"none", "basic", "oauth", "header", "refused"} {
		// The endpoint still has the old token, and says so in its own way.
		p.want(200, "POST", operator+"/subscriptions/"+p.subscription(s).ID+"/validate", "")
	}
	look()
	p.want(202, "POST", operator+"/resend", "")
	eventually(t, func() bool { return len(get[page](p, operator+"/deliveries?state=waiting").Deliveries) == 0 })
	look()
	p.want(204, "DELETE", operator+"/apps/"+creds.AppID, "")
	// What goes wrong inside is in the log.
	g.Store = broken{}
	p.want(500, "POST", "/v2/events", cnam("x"))

	if !strings.Contains(p.log.String(), errBroken.Error()) {
		t.Errorf("the log has nothing in it that could show a secret: %s", p.log)
	}
	for name, secret := range secrets {
		if strings.Contains(p.log.String(), secret) {
			t.Errorf("the log has the %s in it", name)
		}
		for i, a := range p.answers {
			shown := strings.Contains(a.body, secret) || strings.Contains(fmt.Sprint(a.header), secret)
			allowed := i == apply && (name == "secret token" || name == "client secret") || i == reveal && name == "secret token"
			if shown != allowed {
				t.Errorf("%s, answered with status %d: shows the %s: %v", a.call, a.status, name, shown)
			}
		}
	}
}
