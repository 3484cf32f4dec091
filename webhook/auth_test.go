package webhook_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/switchhook/switchhook/webhook"
)

// basicOf is what a client sends for a user name and a password.
func basicOf(username, password string) string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(username, password)
	return r.Header.Get("Authorization")
}

// What a receiver asks for beside the signature has to be there, once, and right.
func TestAuthentication(t *testing.T) {
	basic := webhook.Basic("ann", "pass:of:ann")
	bearer := webhook.Bearer("t0ken")
	own := webhook.Header("x-api-key", "k3y")
	header := func(name string, values ...string) http.Header { return http.Header{name: values} }
	right := basicOf("ann", "pass:of:ann")
	for name, c := range map[string]struct {
		auth []webhook.Auth
		with http.Header
		text string // a part of the reason; empty: accepted
	}{
		"a password with colons":                {[]webhook.Auth{basic}, header("Authorization", right), ""},
		"the scheme in lower case":              {[]webhook.Auth{basic}, header("Authorization", "basic "+right[6:]), ""},
		"two spaces":                            {[]webhook.Auth{basic}, header("Authorization", "Basic  "+right[6:]), ""},
		"nothing":                               {[]webhook.Auth{basic}, nil, "Authorization is missing"},
		"an empty header":                       {[]webhook.Auth{basic}, header("Authorization", ""), "not of the scheme Basic"},
		"the scheme alone":                      {[]webhook.Auth{basic}, header("Authorization", "Basic"), "wrong value"},
		"another password":                      {[]webhook.Auth{basic}, header("Authorization", basicOf("ann", "pass:of:bob")), "wrong value"},
		"half of the password":                  {[]webhook.Auth{basic}, header("Authorization", basicOf("ann", "pass")), "wrong value"},
		"no password":                           {[]webhook.Auth{basic}, header("Authorization", basicOf("ann", "")), "wrong value"},
		"another user":                          {[]webhook.Auth{basic}, header("Authorization", basicOf("bob", "pass:of:ann")), "wrong value"},
		"no base64":                             {[]webhook.Auth{basic}, header("Authorization", "Basic ann:pass:of:ann"), "wrong value"},
		"twice":                                 {[]webhook.Auth{basic}, header("Authorization", right, right), "2 times"},
		"the right one after a wrong one":       {[]webhook.Auth{basic}, header("Authorization", "Basic x", right), "2 times"},
		"a token where a password is asked for": {[]webhook.Auth{basic}, header("Authorization", "Bearer "+right[6:]), "not of the scheme Basic"},
		"a token":                               {[]webhook.Auth{bearer}, header("Authorization", "Bearer t0ken"), ""},
		"a token, by another scheme":            {[]webhook.Auth{bearer}, header("Authorization", "Token t0ken"), "not of the scheme Bearer"},
		"another token":                         {[]webhook.Auth{bearer}, header("Authorization", "Bearer t0keN"), "wrong value"},
		"a token and more":                      {[]webhook.Auth{bearer}, header("Authorization", "Bearer t0ken "), "wrong value"},
		"a header":                              {[]webhook.Auth{own}, header("X-Api-Key", "k3y"), ""},
		"another value":                         {[]webhook.Auth{own}, header("X-Api-Key", "K3y"), "X-Api-Key has a wrong value"},
		"no such header":                        {[]webhook.Auth{own}, header("X-Api-Kez", "k3y"), "X-Api-Key is missing"},
		"the header twice":                      {[]webhook.Auth{own}, header("X-Api-Key", "k3y", "k3y"), "2 times"},
		"the first of several":                  {[]webhook.Auth{basic, bearer, own}, header("Authorization", right), ""},
		"the last of several":                   {[]webhook.Auth{basic, bearer, own}, header("X-Api-Key", "k3y"), ""},
		"none of several":                       {[]webhook.Auth{basic, bearer, own}, header("X-Api-Key", "k"), "Authorization is missing"},
		"none asked for":                        {nil, header("Authorization", "whatever"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := receiver(t, func(cf *webhook.Config) { cf.Auth = c.auth })
			h := signed(testSecret, stamp(0), testBody)
			maps.Copy(h, c.with)
			v, err := r.Verify(h, []byte(testBody))
			if c.text == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if v != nil || !errors.Is(err, webhook.ErrAuth) || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("%+v, %v, want %q", v, err, c.text)
			}
			for _, secret := range []string{"pass:of:ann", right[6:], "t0ken", "k3y"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error tells a secret: %v", err)
				}
			}
		})
	}
}

// It is asked for beside the signature, and never instead of it.
func TestAuthenticationDoesNotReplaceTheSignature(t *testing.T) {
	r := receiver(t, func(c *webhook.Config) { c.Auth = []webhook.Auth{webhook.Bearer("t0ken")} })
	for name, h := range map[string]http.Header{
		"unsigned":        {},
		"wrongly signed":  signed(nextSecret, stamp(0), testBody),
		"signed too late": signed(testSecret, stamp(-1e12), testBody),
	} {
		h.Set("Authorization", "Bearer t0ken")
		if v, err := r.Verify(h, []byte(testBody)); v != nil || err == nil || errors.Is(err, webhook.ErrAuth) {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
}

// The challenge comes with the custom header as well, and is not answered without.
func TestChallengeNeedsAuthentication(t *testing.T) {
	h := receiver(t, func(c *webhook.Config) { c.Auth = []webhook.Auth{webhook.Basic("ann", "pass")} }).Handler(none)
	for authorization, want := range map[string]int{"": 401, "Basic x": 401, basicOf("ann", "pass"): 200} {
		req, w := post("/", challengeFor("abcdefgh")), httptest.NewRecorder()
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		h.ServeHTTP(w, req)
		if w.Code != want || (w.Body.Len() > 0) != (want == 200) {
			t.Errorf("%q: %d %s", authorization, w.Code, w.Body)
		}
		if asks := w.Header().Get("WWW-Authenticate"); (asks == `Basic realm="webhooks"`) != (want == 401) {
			t.Errorf("%q: WWW-Authenticate: %q", authorization, asks)
		}
	}
}

// Credentials that anybody could guess, or nobody could send, are refused at the
// start.
func TestAuthenticationThatIsNone(t *testing.T) {
	for name, c := range map[string]struct {
		auth webhook.Auth
		is   error
	}{
		"no password":               {webhook.Basic("ann", ""), webhook.ErrNoSecret},
		"no user name":              {webhook.Basic("", "pass"), webhook.ErrNoSecret},
		"a colon in the user name":  {webhook.Basic("a:nn", "pass"), nil},
		"no token":                  {webhook.Bearer(""), webhook.ErrNoSecret},
		"a blank token":             {webhook.Bearer(" \n"), webhook.ErrNoSecret},
		"a token of a file":         {webhook.Bearer("token\n"), webhook.ErrSecret},
		"a password of a file":      {webhook.Basic("ann", "pass\n"), webhook.ErrSecret},
		"a value of a file":         {webhook.Header("X-Key", "value\r\n"), webhook.ErrSecret},
		"a value with a space":      {webhook.Header("X-Key", " value"), webhook.ErrSecret},
		"no value":                  {webhook.Header("X-Key", ""), webhook.ErrNoSecret},
		"no name":                   {webhook.Header("", "k3y"), nil},
		"a name with a space":       {webhook.Header("X Key", "k3y"), nil},
		"a name with a line feed":   {webhook.Header("X-Key\n", "k3y"), nil},
		"a name that is not ASCII":  {webhook.Header("X-Kéy", "k3y"), nil},
		"one that was not made":     {webhook.Auth{}, nil},
		"a server that is not made": {new(webhook.TokenServer).Auth(), nil},
	} {
		r, err := webhook.New(webhook.Config{Secrets: []string{testSecret}, Auth: []webhook.Auth{c.auth}})
		if name == "a server that is not made" {
			// It has no tokens, so it lets nobody in.
			h := signed(testSecret, stamp(0), testBody)
			h.Set("Authorization", "Bearer "+strings.Repeat("A", 75))
			if _, err := receiver(t, func(cf *webhook.Config) { cf.Auth = []webhook.Auth{c.auth} }).Verify(h, []byte(testBody)); !errors.Is(err, webhook.ErrAuth) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if r != nil || err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), "Auth 1 of 1") {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
}

// Secrets that cannot be what a platform gave out are mistakes of reading them.
func TestUnusableSecrets(t *testing.T) {
	for name, secret := range map[string]string{
		"short": "1234567", "a line feed after it": testSecret + "\n", "a carriage return": testSecret + "\r", "a NUL in it": "abcd\x00efgh",
	} {
		r, err := webhook.New(webhook.Config{Secrets: []string{nextSecret, secret}})
		if r != nil || !errors.Is(err, webhook.ErrSecret) || !strings.Contains(err.Error(), "2 of 2") || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	if _, err := webhook.New(webhook.Config{Secrets: []string{"12345678"}}); err != nil {
		t.Errorf("eight bytes: %v", err)
	}
}

// A body that something has read before is empty, and whoever looks for the reason is
// told.
func TestBodyThatWasReadBefore(t *testing.T) {
	var heard reports
	h := receiver(t, func(c *webhook.Config) { c.Error = heard.hear }).Handler(none)
	req, w := post("/", testBody), httptest.NewRecorder()
	req.Body, req.ContentLength = http.NoBody, 0
	h.ServeHTTP(w, req)
	if all := heard.all(); w.Code != 401 || len(all) != 1 || !errors.Is(all[0], webhook.ErrSignature) || !strings.Contains(all[0].Error(), "something else read it") {
		t.Errorf("%d %v", w.Code, all)
	}
}

// FuzzAuth: whatever the header is, it is accepted if and only if it is one of those
// that mean the credentials.
func FuzzAuth(f *testing.F) {
	right := basicOf("ann", "pass:of:ann")
	for _, s := range []string{right, "Basic", "Basic ", "basic " + right[6:], "Bearer x", "Basic\t" + right[6:], right + " ", right + "=", "", " ", strings.ToUpper(right)} {
		f.Add(s)
	}
	r := receiver(f, func(c *webhook.Config) { c.Auth = []webhook.Auth{webhook.Basic("ann", "pass:of:ann")} })
	f.Fuzz(func(t *testing.T, value string) {
		h := signed(testSecret, stamp(0), testBody)
		h["Authorization"] = []string{value}
		_, err := r.Verify(h, []byte(testBody))
		scheme, credentials, spaced := strings.Cut(value, " ")
		want := spaced && strings.EqualFold(scheme, "Basic") && strings.TrimLeft(credentials, " ") == right[6:]
		if (err == nil) != want || err != nil && !errors.Is(err, webhook.ErrAuth) {
			t.Errorf("%q: %v", value, err)
		}
	})
}

// What is asked for does not make a receiver for several goroutines one for one.
func TestAuthenticationIsSafeForConcurrentUse(t *testing.T) {
	h := receiver(t, func(c *webhook.Config) { c.Auth = []webhook.Auth{webhook.Bearer("t0ken")} }).Handler(func(context.Context, *webhook.Event) error { return nil })
	done := make(chan int)
	for i := range 8 {
		go func() {
			req, w := post("/", testBody), httptest.NewRecorder()
			if i%2 == 0 {
				req.Header.Set("Authorization", "Bearer t0ken")
			}
			h.ServeHTTP(w, req)
			done <- w.Code
		}()
	}
	codes := map[int]int{}
	for range 8 {
		codes[<-done]++
	}
	if codes[204] != 4 || codes[401] != 4 {
		t.Error(codes)
	}
}
