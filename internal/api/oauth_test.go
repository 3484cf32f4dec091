package api

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/oauth"
)

// tokenEndpoint returns an API that knows one app, with a secret and the one before.
func tokenEndpoint(t *testing.T) (http.Handler, *api, *hook.App) {
	t.Helper()
	app := &hook.App{
		ID: "app", Account: "carrier", ClientID: "client", Scopes: []string{"a:read", "b:read"},
		ClientSecret:    hook.HashSecret("the-right-secret"),
		OldClientSecret: hook.OldClientSecret{Hash: hook.HashSecret("the-one-before"), Until: time.Now().Add(time.Minute)},
	}
	d := hook.NewDirectory()
	d.Apply(hook.Change{
		Accounts: []*hook.Account{{ID: "carrier"}, {ID: "customer"}, {ID: "partly"}, {ID: "other"}},
		Apps:     []*hook.App{app, {ID: "off", ClientID: "off", ClientSecret: hook.HashSecret("the-right-secret"), Disabled: true}},
		Installations: []hook.Installation{
			{App: "app", Account: "customer"}, {App: "app", Account: "partly", User: "u"},
		},
	})
	a := &api{Config: Config{Directory: d, Tokens: oauth.New(func(string) []byte { return []byte("key") }), PublicURL: "https://api.example.com"}}
	return a.handleToken(), a, app
}

// handleToken is the token endpoint alone.
func (a *api) handleToken() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := a.token(w, r); err != nil {
			a.fail(w, r, err)
		}
	})
}

func ask(h http.Handler, client, secret, query, body string, edit ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/oauth/token?"+query, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if client != "" {
		r.SetBasicAuth(client, secret)
	}
	for _, f := range edit {
		f(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const invalidClient = `{"reason":"Invalid client_id or client_secret","error":"invalid_client"}` + "\n"

// A client obtains a token with its id and secret, by either grant, with the
// parameters in the query or in the body; and is told what is wrong otherwise.
func TestToken(t *testing.T) {
	h, a, app := tokenEndpoint(t)
	for name, c := range map[string]struct {
		client, secret, query, body string
		status                      int
		account, says               string
	}{
		"in the query":            {"client", "the-right-secret", "grant_type=client_credentials", "", 200, "carrier", ""},
		"in the body":             {"client", "the-right-secret", "", "grant_type=client_credentials", 200, "carrier", ""},
		"in both":                 {"client", "the-right-secret", "grant_type=client_credentials", "grant_type=client_credentials", 200, "carrier", ""},
		"the secret before":       {"client", "the-one-before", "grant_type=client_credentials", "", 200, "carrier", ""},
		"own account":             {"client", "the-right-secret", "grant_type=account_credentials&account_id=carrier", "", 200, "carrier", ""},
		"installed":               {"client", "the-right-secret", "grant_type=account_credentials", "account_id=customer", 200, "customer", ""},
		"unknown parameters":      {"client", "the-right-secret", "grant_type=client_credentials&scope=x", "", 200, "carrier", ""},
		"installed for one user":  {"client", "the-right-secret", "grant_type=account_credentials&account_id=partly", "", 400, "", `"error":"invalid_request"`},
		"not installed":           {"client", "the-right-secret", "grant_type=account_credentials&account_id=other", "", 400, "", `{"reason":"The app is not installed on this account","error":"invalid_request"}`},
		"no such account":         {"client", "the-right-secret", "grant_type=account_credentials&account_id=none", "", 400, "", `"error":"invalid_request"`},
		"no account":              {"client", "the-right-secret", "grant_type=account_credentials", "", 400, "", `account_id is missing`},
		"no grant":                {"client", "the-right-secret", "", "", 400, "", `grant_type is missing`},
		"another grant":           {"client", "the-right-secret", "grant_type=password", "", 400, "", `"error":"unsupported_grant_type"`},
		"contradiction":           {"client", "the-right-secret", "grant_type=client_credentials", "grant_type=account_credentials", 400, "", `"error":"invalid_request"`},
		"broken body":             {"client", "the-right-secret", "", "grant_type=%zz", 400, "", `"error":"invalid_request"`},
		"a large body":            {"client", "the-right-secret", "", "x=" + strings.Repeat("x", maxForm), 400, "", `"error":"invalid_request"`},
		"a wrong secret":          {"client", "wrong", "grant_type=client_credentials", "", 400, "", invalidClient},
		"no secret":               {"client", "", "grant_type=client_credentials", "", 400, "", invalidClient},
		"no such client":          {"nobody", "the-right-secret", "grant_type=client_credentials", "", 400, "", invalidClient},
		"no client":               {"", "", "grant_type=client_credentials", "", 400, "", invalidClient},
		"a disabled app":          {"off", "the-right-secret", "grant_type=client_credentials", "", 400, "", invalidClient},
		"its id for the secret":   {"client", "client", "grant_type=client_credentials", "", 400, "", invalidClient},
		"the hash for the secret": {"client", string(app.ClientSecret[:]), "grant_type=client_credentials", "", 400, "", invalidClient},
	} {
		a.guesses = guesses{}
		w := ask(h, c.client, c.secret, c.query, c.body)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v %s", name, w.Code, w.Header(), w.Body)
		}
		if c.status != http.StatusOK {
			continue
		}
		got := read[AccessToken](t, reply{body: w.Body.String()})
		if got.Type != "bearer" || got.ExpiresIn != 3600 || got.Scope != "a:read b:read "+strings.Join(automaticScopes, " ") || got.APIURL != "https://api.example.com" {
			t.Errorf("%s: %+v", name, got)
		}
		g, err := a.Tokens.Read(got.Token, time.Now(), a.Directory.App)
		if err != nil || g.App != app || g.Account != c.account {
			t.Errorf("%s: the token grants %+v, %v", name, g, err)
		}
	}
}

// Guessing is held up, and holds up nobody else: neither other addresses nor other
// clients of the same address.
func TestGuessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, _ := tokenEndpoint(t)
		const grant = "grant_type=client_credentials"
		for range maxGuesses {
			if w := ask(h, "client", "wrong", grant, ""); w.Body.String() != invalidClient {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
		for _, secret := range []string{"wrong", "the-right-secret"} {
			if w := ask(h, "client", secret, grant, ""); w.Code != 429 || w.Header().Get("Retry-After") != "6" || !strings.HasPrefix(w.Body.String(), `{"code":429,"message":"`) {
				t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
			}
		}
		elsewhere := func(r *http.Request) { r.RemoteAddr = "198.51.100.7:1234" }
		if w := ask(h, "client", "the-right-secret", grant, "", elsewhere); w.Code != 200 {
			t.Errorf("from elsewhere: %d %s", w.Code, w.Body)
		}
		if w := ask(h, "off", "wrong", grant, ""); w.Body.String() != invalidClient {
			t.Errorf("another client: %d %s", w.Code, w.Body)
		}
		time.Sleep(guessEvery)
		if w := ask(h, "client", "the-right-secret", grant, ""); w.Code != 200 {
			t.Errorf("after a while: %d %s", w.Code, w.Body)
		}
	})
}

// What is remembered of guesses is bounded.
func TestGuessersAreBounded(t *testing.T) {
	var g guesses
	now := time.Now()
	for i := range 3 * maxGuessers {
		g.wrong(&http.Request{RemoteAddr: "198.51.100.7:1"}, string(rune(i)), now)
		if len(g.by) > maxGuessers {
			t.Fatalf("%d are remembered", len(g.by))
		}
	}
}

// Over real HTTP the answer names the address that was called, unless another one
// is configured.
func TestTokenOverHTTP(t *testing.T) {
	p := newPlatform(t, options{idle: true})
	plan := read[manage.Plan](t, p.want(200, "POST", operator+"/apply", `{"accounts":[{"id":"carrier"}],"apps":[{"name":"app","account_id":"carrier","scopes":["s"]}]}`))
	client := plan.Credentials[0]
	a := p.want(200, "POST", "/oauth/token", url.Values{"grant_type": {"client_credentials"}}.Encode(),
		header("Content-Type", "application/x-www-form-urlencoded"), func(r *http.Request) { r.SetBasicAuth(client.ClientID, client.ClientSecret) })
	if got := read[AccessToken](t, a); got.APIURL != p.url || a.header.Get("X-Zm-Trackingid") == "" {
		t.Errorf("%+v %v", got, a.header)
	}
}

// An app's secrets are replaced by the operator. The old client secret and its
// tokens live as long as asked.
func TestRotateOverHTTP(t *testing.T) {
	p := newPlatform(t, options{idle: true})
	client := read[manage.Plan](t, p.want(200, "POST", operator+"/apply", `{"accounts":[{"id":"carrier"}],"apps":[{"name":"app","account_id":"carrier"}]}`)).Credentials[0]
	app := operator + "/apps/" + client.AppID
	granted := func(secret string) bool {
		a := p.call("POST", "/oauth/token?grant_type=client_credentials", "", func(r *http.Request) { r.SetBasicAuth(client.ClientID, secret) })
		return a.status == 200
	}
	second := read[ClientSecret](t, p.want(200, "POST", app+"/client_secret", `{"overlap_seconds":3600}`))
	if second.ClientID != client.ClientID || time.Time(second.OldUntil).Before(time.Now()) || !granted(client.ClientSecret) || !granted(second.ClientSecret) {
		t.Errorf("with an overlap: %+v", second)
	}
	third := read[ClientSecret](t, p.want(200, "POST", app+"/client_secret", `{}`))
	if granted(client.ClientSecret) || granted(second.ClientSecret) || !granted(third.ClientSecret) {
		t.Error("without an overlap an old secret is accepted")
	}

	token := read[SecretToken](t, p.want(200, "POST", app+"/secret_token", `{"overlap_seconds":60}`))
	if token.SecretToken == client.SecretToken || token.Old != client.SecretToken || token != read[SecretToken](t, p.want(200, "GET", app+"/secret_token", "")) {
		t.Errorf("the secret tokens are %+v", token)
	}
	if token := read[SecretToken](t, p.want(200, "POST", app+"/secret_token", `{"overlap_seconds":0}`)); token.Old != "" || !time.Time(token.OldUntil).IsZero() {
		t.Errorf("the secret tokens are %+v", token)
	}
	for _, body := range []string{`{"overlap_seconds":-1}`, `{"overlap_seconds":-9223372036854775808}`, `{"overlap_seconds":9223372036854775807}`, `{"overlap_seconds":7776001}`, `{"overlap":1}`, ``} {
		p.want(400, "POST", app+"/client_secret", body)
	}
	p.want(404, "POST", operator+"/apps/none/client_secret", `{}`)
}
