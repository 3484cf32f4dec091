package webhook_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/switchhook/switchhook/webhook"
)

const (
	clientSecret = "secret-of-the-client"
	nextClient   = "next-secret-of-the-client"
)

func tokenServer(t testing.TB, edit ...func(*webhook.TokenConfig)) *webhook.TokenServer {
	t.Helper()
	c := webhook.TokenConfig{ClientID: "client", ClientSecrets: []string{clientSecret}, Now: func() time.Time { return now }}
	for _, f := range edit {
		f(&c)
	}
	s, err := webhook.NewTokenServer(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask is a request for a token as the platform makes it.
func ask(form url.Values, basic ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if len(basic) == 2 {
		r.SetBasicAuth(basic[0], basic[1])
	}
	return r
}

func granted(values ...string) url.Values {
	form := url.Values{"grant_type": {"client_credentials"}}
	for i := 0; i < len(values); i += 2 {
		form.Add(values[i], values[i+1])
	}
	return form
}

// tokenOf asks for a token and returns it.
func tokenOf(t testing.TB, s *webhook.TokenServer, r *http.Request) string {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	var answer map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if answer["token_type"] != "bearer" || answer["expires_in"].(float64) < 3599 || len(answer) != 3 {
		t.Errorf("%v", answer)
	}
	if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != webhook.ContentType {
		t.Errorf("%v", w.Header())
	}
	return answer["access_token"].(string)
}

// bring verifies a request that has the token.
func bring(t testing.TB, s *webhook.TokenServer, token string) error {
	t.Helper()
	h := signed(testSecret, stamp(0), testBody)
	h.Set("Authorization", "Bearer "+token)
	_, err := receiver(t, func(c *webhook.Config) { c.Auth = []webhook.Auth{s.Auth()} }).Verify(h, []byte(testBody))
	return err
}

// The platform gets a token, in whichever way it authenticates, and the receiver takes
// it as long as it lasts.
func TestTokensAreGivenAndTaken(t *testing.T) {
	clock := now
	s := tokenServer(t, func(c *webhook.TokenConfig) { c.Now = func() time.Time { return clock } })
	odd := tokenServer(t, func(c *webhook.TokenConfig) { c.ClientSecrets = []string{"a b:c%d+e&f"} })
	for name, c := range map[string]struct {
		server *webhook.TokenServer
		ask    *http.Request
	}{
		"client in the header": {s, ask(granted(), "client", clientSecret)},
		"client in the body":   {s, ask(granted("client_id", "client", "client_secret", clientSecret))},
		"id in both":           {s, ask(granted("client_id", "client"), "client", clientSecret)},
		"scope and state":      {s, ask(granted("scope", "events", "state", "x"), "client", clientSecret)},
		"odd characters":       {odd, ask(granted(), "client", "a b:c%d+e&f")},
		"and escaped":          {odd, ask(granted(), "client", url.QueryEscape("a b:c%d+e&f"))},
		"odd in the body":      {odd, ask(granted("client_id", "client", "client_secret", "a b:c%d+e&f"))},
	} {
		t.Run(name, func(t *testing.T) {
			if err := bring(t, c.server, tokenOf(t, c.server, c.ask)); err != nil {
				t.Error(err)
			}
		})
	}
	token := tokenOf(t, s, ask(granted(), "client", clientSecret))
	if again := tokenOf(t, s, ask(granted(), "client", clientSecret)); again == token {
		t.Error("two tokens are the same")
	}
	clock = now.Add(time.Hour - time.Second)
	if err := bring(t, s, token); err != nil {
		t.Errorf("a second before its end: %v", err)
	}
	clock = now.Add(time.Hour)
	if err := bring(t, s, token); !errors.Is(err, webhook.ErrAuth) {
		t.Errorf("at its end: %v", err)
	}
}

// Every process that knows the secret takes the tokens of the others, also after a
// restart, and none that another secret made.
func TestTokensOfOthers(t *testing.T) {
	token := tokenOf(t, tokenServer(t), ask(granted(), "client", clientSecret))
	for name, c := range map[string]struct {
		server *webhook.TokenServer
		taken  bool
	}{
		"of the same client":          {tokenServer(t), true},
		"while the secret is changed": {tokenServer(t, func(c *webhook.TokenConfig) { c.ClientSecrets = []string{nextClient, clientSecret} }), true},
		"after it was changed":        {tokenServer(t, func(c *webhook.TokenConfig) { c.ClientSecrets = []string{nextClient} }), false},
		"of another client":           {tokenServer(t, func(c *webhook.TokenConfig) { c.ClientID = "another" }), false},
	} {
		if err := bring(t, c.server, token); (err == nil) != c.taken || err != nil && !errors.Is(err, webhook.ErrAuth) {
			t.Errorf("%s: %v", name, err)
		}
	}
	both := tokenServer(t, func(c *webhook.TokenConfig) { c.ClientSecrets = []string{nextClient, clientSecret} })
	for _, secret := range []string{nextClient, clientSecret} {
		if err := bring(t, both, tokenOf(t, both, ask(granted(), "client", secret))); err != nil {
			t.Error(err)
		}
	}
}

// A token that was changed anywhere is none.
func TestForgedTokens(t *testing.T) {
	s := tokenServer(t)
	token := tokenOf(t, s, ask(granted(), "client", clientSecret))
	forged := []string{"", "x", token[1:], token + "A", token + "=", strings.Repeat("A", len(token)), strings.ToUpper(token), clientSecret}
	for i := range token {
		other := byte('A')
		if token[i] == 'A' {
			other = 'B'
		}
		forged = append(forged, token[:i]+string(other)+token[i+1:])
	}
	for _, f := range forged {
		if err := bring(t, s, f); !errors.Is(err, webhook.ErrAuth) || strings.Contains(err.Error(), token) {
			t.Errorf("%q: %v", f, err)
		}
	}
}

// Who does not get a token is told why, as RFC 6749 says, and Error as well, and
// neither is told a secret.
func TestTokenRefusals(t *testing.T) {
	edited := func(r *http.Request, edit func(*http.Request)) *http.Request {
		edit(r)
		return r
	}
	for name, c := range map[string]struct {
		ask    *http.Request
		status int
		code   string
	}{
		"another secret":     {ask(granted(), "client", "another"), 401, "invalid_client"},
		"no secret":          {ask(granted(), "client", ""), 401, "invalid_client"},
		"another client":     {ask(granted(), "another", clientSecret), 401, "invalid_client"},
		"no client":          {ask(granted()), 401, "invalid_client"},
		"secret in the body": {ask(granted("client_id", "client", "client_secret", "another")), 401, "invalid_client"},
		"a bearer token":     {edited(ask(granted()), func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+clientSecret) }), 401, "invalid_client"},
		"in two ways":        {ask(granted("client_secret", clientSecret), "client", clientSecret), 400, "invalid_request"},
		"two headers": {edited(ask(granted(), "client", clientSecret), func(r *http.Request) {
			r.Header.Add("Authorization", r.Header.Get("Authorization"))
		}), 400, "invalid_request"},
		"a parameter twice":   {ask(granted("grant_type", "client_credentials"), "client", clientSecret), 400, "invalid_request"},
		"no grant type":       {ask(url.Values{}, "client", clientSecret), 400, "unsupported_grant_type"},
		"another grant type":  {ask(url.Values{"grant_type": {"password"}}, "client", clientSecret), 400, "unsupported_grant_type"},
		"JSON":                {edited(ask(granted(), "client", clientSecret), func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }), 400, "invalid_request"},
		"GET":                 {edited(ask(granted(), "client", clientSecret), func(r *http.Request) { r.Method = http.MethodGet }), 405, "invalid_request"},
		"a form that is none": {edited(ask(granted(), "client", clientSecret), func(r *http.Request) { r.Body = readCloser("a=%zz") }), 400, "invalid_request"},
		"a long form":         {ask(granted("scope", strings.Repeat("x", 20<<10)), "client", clientSecret), 400, "invalid_request"},
		"secret in the query": {edited(ask(granted()), func(r *http.Request) { r.URL.RawQuery = "client_id=client&client_secret=" + clientSecret }), 401, "invalid_client"},
	} {
		t.Run(name, func(t *testing.T) {
			var heard reports
			s, w := tokenServer(t, func(c *webhook.TokenConfig) { c.Error = heard.hear }), httptest.NewRecorder()
			s.ServeHTTP(w, c.ask)
			var fault struct {
				Error       string
				Description string `json:"error_description"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &fault); err != nil || w.Code != c.status || fault.Error != c.code || fault.Description == "" {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, c.status, c.code)
			}
			if (w.Header().Get("WWW-Authenticate") != "") != (c.status == 401) || (w.Header().Get("Allow") == "POST") != (c.status == 405) {
				t.Errorf("%v", w.Header())
			}
			all := heard.all()
			if len(all) != 1 || strings.Contains(fmt.Sprint(all, w.Body), clientSecret) {
				t.Errorf("reported %v, answered %s", all, w.Body)
			}
		})
	}
}

// A server that nobody made gives out no tokens.
func TestZeroTokenServer(t *testing.T) {
	for _, r := range []*http.Request{ask(granted()), ask(granted(), "", ""), ask(granted(), "client", clientSecret)} {
		w := httptest.NewRecorder()
		if new(webhook.TokenServer).ServeHTTP(w, r); w.Code != 401 || strings.Contains(w.Body.String(), "access_token") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
}

func TestTokenConfigsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		config webhook.TokenConfig
		is     error
	}{
		"nothing":        {webhook.TokenConfig{}, webhook.ErrNoSecret},
		"no client id":   {webhook.TokenConfig{ClientSecrets: []string{clientSecret}}, webhook.ErrNoSecret},
		"no secret":      {webhook.TokenConfig{ClientID: "client"}, webhook.ErrNoSecret},
		"a blank secret": {webhook.TokenConfig{ClientID: "client", ClientSecrets: []string{clientSecret, "         "}}, webhook.ErrNoSecret},
		"a short secret": {webhook.TokenConfig{ClientID: "client", ClientSecrets: []string{"1234567"}}, webhook.ErrSecret},
		"a colon":        {webhook.TokenConfig{ClientID: "cli:ent", ClientSecrets: []string{clientSecret}}, nil},
		"too short":      {webhook.TokenConfig{ClientID: "client", ClientSecrets: []string{clientSecret}, Life: 3598 * time.Second}, nil},
	} {
		s, err := webhook.NewTokenServer(c.config)
		if s != nil || err == nil || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

// FuzzToken: no text is a token but one whose tag only a holder of the secret can make,
// and which has not ended.
func FuzzToken(f *testing.F) {
	s := tokenServer(f)
	token := tokenOf(f, s, ask(granted(), "client", clientSecret))
	for _, text := range []string{token, token[:len(token)-1], token + "\n", "", strings.Repeat("A", 75), strings.Repeat("_", 75)} {
		f.Add(text)
	}
	key, _ := hex.DecodeString(hmacHex(clientSecret, "switchhook access token for client"))
	f.Fuzz(func(t *testing.T, text string) {
		genuine := false
		if b, err := base64.RawURLEncoding.DecodeString(strings.TrimLeft(text, " ")); err == nil && len(b) == 56 {
			ends := int64(binary.BigEndian.Uint64(b))
			genuine = hmacHex(string(key), string(b[:24])) == hex.EncodeToString(b[24:]) && ends > now.Unix()
		}
		if err := bring(t, s, text); err == nil && !genuine {
			t.Errorf("%q is taken for a token", text)
		}
	})
}

// FuzzTokenRequest: whatever is asked, nobody gets a token without the secret.
func FuzzTokenRequest(f *testing.F) {
	f.Add("application/x-www-form-urlencoded", "grant_type=client_credentials&client_id=client&client_secret=x", "")
	f.Add("application/x-www-form-urlencoded; charset=utf-8", "grant_type=client_credentials", "Basic Y2xpZW50Og==")
	f.Add("", "", "Basic")
	s := tokenServer(f)
	f.Fuzz(func(t *testing.T, contentType, body, authorization string) {
		if strings.Contains(body, clientSecret) {
			t.Skip()
		}
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header["Content-Type"], r.Header["Authorization"] = []string{contentType}, []string{authorization}
		if _, password, ok := r.BasicAuth(); ok && strings.Contains(password, clientSecret) {
			t.Skip()
		}
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, r); w.Code < 400 || w.Code > 499 || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
