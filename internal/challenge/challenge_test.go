package challenge_test

import (
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/challenge"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/memnet"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/webhook"
)

// An endpoint that was made with package webhook proves itself, plain and over TLS,
// and also while its secret is being changed.
func TestReceiversProveThemselves(t *testing.T) {
	port := serve(t, receiver(t, testSecret))
	changing := serve(t, receiver(t, otherSecret, testSecret))
	secure, ca := serveTLS(t, receiver(t, testSecret), nil)
	p := prober(t, func(c *outbound.Config) { c.CAs = ca })
	for name, url := range map[string]string{
		"plain": "http://hooks.test:" + port, "by address": "http://127.0.0.1:" + port + "/hook?a=b",
		"with two secrets": "http://hooks.test:" + changing, "TLS": "https://example.com:" + secure,
	} {
		r := prove(t, p, url, hook.Auth{})
		if !r.OK || r.Outcome != 200 || r.Timing.Done <= 0 || r.Started.IsZero() {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// hmacHex is what a right answer has, without package webhook.
func hmacHex(secret, text string) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(text))
	return hex.EncodeToString(m.Sum(nil))
}

// plainToken reads the token out of a challenge.
func plainToken(t *testing.T, r *http.Request) string {
	t.Helper()
	var c struct {
		Payload struct {
			PlainToken string `json:"plainToken"`
		} `json:"payload"`
	}
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		t.Error(err)
	}
	return c.Payload.PlainToken
}

// Every answer that an endpoint can give has its own reason, which says what to do.
func TestAnswers(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	var answer func(w http.ResponseWriter, token string)
	port := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, plainToken(t, r)) }))
	p := prober(t)

	// text answers with what format makes of the token and its HMAC.
	text := func(format string) func(http.ResponseWriter, string) {
		return func(w http.ResponseWriter, token string) {
			_, _ = io.WriteString(w, strings.NewReplacer("TOKEN", token, "HMAC", hmacHex(testSecret, token)).Replace(format))
		}
	}
	status := func(code int) func(http.ResponseWriter, string) {
		return func(w http.ResponseWriter, _ string) {
			w.Header().Set("Location", "https://elsewhere.test/")
			w.WriteHeader(code)
		}
	}
	encrypted := func(f func(token string) string) func(http.ResponseWriter, string) {
		return func(w http.ResponseWriter, token string) {
			_, _ = fmt.Fprintf(w, `{"plainToken":"%s","encryptedToken":"%s"}`, token, f(token))
		}
	}
	const right = `{"plainToken":"TOKEN","encryptedToken":"HMAC"}`
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, token string)
		reason string // a part of it; empty: proven
	}{
		"right":              {text(right), ""},
		"in the other order": {text(`{"encryptedToken":"HMAC","plainToken":"TOKEN"}`), ""},
		"with more":          {text(`{"status":"ok","plainToken":"TOKEN","encryptedToken":"HMAC","more":[1]}`), ""},
		"with white space":   {text("\r\n{\n\t\"plainToken\" : \"TOKEN\",\n\t\"encryptedToken\" : \"HMAC\"\n}\n"), ""},
		"as long as may be":  {text(right + strings.Repeat(" ", 4<<10-len(right)-(22-len("TOKEN"))-(64-len("HMAC")))), ""},
		"in chunks": {func(w http.ResponseWriter, token string) {
			for _, b := range []byte(strings.NewReplacer("TOKEN", token, "HMAC", hmacHex(testSecret, token)).Replace(right)) {
				_, _ = w.Write([]byte{b})
				w.(http.Flusher).Flush()
			}
		}, ""},
		"packed": {func(w http.ResponseWriter, token string) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = fmt.Fprintf(z, `{"plainToken":"%s","encryptedToken":"%s"}`, token, hmacHex(testSecret, token))
			_ = z.Close()
		}, ""},
		"as text": {func(w http.ResponseWriter, token string) {
			w.Header().Set("Content-Type", "text/plain")
			text(right)(w, token)
		}, ""},

		"301":                  {status(301), "redirect (status 301), which is not followed; subscribe to the final URL"},
		"307":                  {status(307), "redirect (status 307)"},
		"308":                  {status(308), "redirect (status 308)"},
		"304":                  {status(304), "status 304"},
		"204":                  {status(204), "status 204, which cannot carry the answer; answer 200"},
		"201 with the answer":  {func(w http.ResponseWriter, token string) { w.WriteHeader(201); text(right)(w, token) }, "status 201, want 200"},
		"400 with the answer":  {func(w http.ResponseWriter, token string) { w.WriteHeader(400); text(right)(w, token) }, "status 400, want 200"},
		"401":                  {status(401), "status 401, want 200"},
		"404":                  {status(404), "status 404, want 200"},
		"500":                  {status(500), "status 500, want 200"},
		"503":                  {status(503), "status 503, want 200"},
		"nothing":              {status(200), "empty body; answer with plainToken and encryptedToken"},
		"white space only":     {text(" \r\n\t "), "empty body"},
		"a page":               {text("<!doctype html><title>TOKEN HMAC</title>"), "not a JSON object"},
		"a word":               {text("ok"), "not a JSON object"},
		"the token alone":      {text(`"TOKEN"`), "not a JSON object"},
		"a list":               {text("[" + right + "]"), "not a JSON object"},
		"a number":             {text("200"), "not a JSON object"},
		"JSON in quotes":       {text(`"{\"plainToken\":\"TOKEN\",\"encryptedToken\":\"HMAC\"}"`), "not a JSON object"},
		"cut off":              {text(right[:len(right)-1]), "not a JSON object"},
		"something after it":   {text(right + "}"), "not a JSON object"},
		"the answer twice":     {text(right + right), "not a JSON object"},
		"a byte order mark":    {text("\ufeff" + right), "not a JSON object"},
		"a token as number":    {text(`{"plainToken":1,"encryptedToken":"HMAC"}`), "no plainToken"},
		"names in other case":  {text(`{"PlainToken":"TOKEN","EncryptedToken":"HMAC"}`), "no plainToken"},
		"null":                 {text("null"), "not a JSON object with plainToken"},
		"an empty object":      {text("{}"), "no plainToken"},
		"no plainToken":        {text(`{"encryptedToken":"HMAC"}`), "no plainToken"},
		"plainToken of null":   {text(`{"plainToken":null,"encryptedToken":"HMAC"}`), "no plainToken"},
		"deeper":               {text(`{"payload":` + right + `}`), "no plainToken"},
		"snake case":           {text(`{"plain_token":"TOKEN","encrypted_token":"HMAC"}`), "no plainToken"},
		"no encryptedToken":    {text(`{"plainToken":"TOKEN"}`), "no encryptedToken"},
		"encryptedToken null":  {text(`{"plainToken":"TOKEN","encryptedToken":null}`), "no encryptedToken"},
		"another plainToken":   {text(`{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"HMAC"}`), "plainToken in the endpoint's answer is not the one that was sent"},
		"an empty plainToken":  {text(`{"plainToken":"","encryptedToken":"HMAC"}`), "not the one that was sent"},
		"plainToken and space": {text(`{"plainToken":"TOKEN ","encryptedToken":"HMAC"}`), "not the one that was sent"},
		"swapped":              {text(`{"plainToken":"HMAC","encryptedToken":"TOKEN"}`), "not the one that was sent"},

		"another secret":          {encrypted(func(token string) string { return hmacHex(otherSecret, token) }), "wrong: most likely it was computed with another secret token"},
		"an empty secret":         {encrypted(func(token string) string { return hmacHex("", token) }), "wrong: most likely"},
		"the HMAC of another":     {encrypted(func(token string) string { return hmacHex(testSecret, token+"\n") }), "wrong: most likely"},
		"key and text swapped":    {encrypted(func(token string) string { return hmacHex(token, testSecret) }), "wrong: most likely"},
		"a digit changed":         {encrypted(func(token string) string { return flip(hmacHex(testSecret, token)) }), "wrong: most likely"},
		"upper case":              {encrypted(func(token string) string { return strings.ToUpper(hmacHex(testSecret, token)) }), "upper case; it must be lower-case hex"},
		"an empty encryptedToken": {encrypted(func(string) string { return "" }), "has 0 characters"},
		"the token itself":        {encrypted(func(token string) string { return token }), "has 22 characters; it must be the HMAC-SHA-256 of plainToken as 64 hex digits"},
		"a digit missing":         {encrypted(func(token string) string { return hmacHex(testSecret, token)[1:] }), "has 63 characters"},
		"a digit too many":        {encrypted(func(token string) string { return hmacHex(testSecret, token) + "0" }), "has 65 characters"},
		"a signature":             {encrypted(func(token string) string { return "v0=" + hmacHex(testSecret, token) }), "has 67 characters"},

		"too long":      {text(right + strings.Repeat(" ", 4<<10)), "too long"},
		"much too long": {text(`{"filler":"` + strings.Repeat(alphabet, 4<<10) + `",` + right[1:]), "too long"},
		"too long when opened": {func(w http.ResponseWriter, token string) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = fmt.Fprintf(z, `{"plainToken":"%s","encryptedToken":"%s"%s}`, token, hmacHex(testSecret, token), strings.Repeat(" ", 1<<20))
			_ = z.Close()
		}, "too long"},
	} {
		t.Run(name, func(t *testing.T) {
			answer = c.answer
			r := prove(t, p, "http://hooks.test:"+port, hook.Auth{})
			if !strings.Contains(r.Reason, c.reason) || r.OK != (c.reason == "") {
				t.Errorf("%v: %q, want %q", r.OK, r.Reason, c.reason)
			}
		})
	}
}

// flip changes the last digit.
func flip(digits string) string {
	last := "0"
	if strings.HasSuffix(digits, last) {
		last = "1"
	}
	return digits[:len(digits)-1] + last
}

// Where no answer comes, the reason says how far the challenge got.
func TestNoAnswers(t *testing.T) {
	port := serve(t, receiver(t, testSecret))
	secure, ca := serveTLS(t, receiver(t, testSecret), nil)
	old, oldCA := serveTLS(t, receiver(t, testSecret), &tls.Config{MaxVersion: tls.VersionTLS11})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := portOf(t, l.Addr())
	_ = l.Close()
	hangsUp := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	trusted := func(c *outbound.Config) { c.CAs = ca }
	for name, c := range map[string]struct {
		url    string
		edit   func(*outbound.Config)
		want   hook.Outcome
		reason string
	}{
		"refused":                 {"http://hooks.test:" + closed, trusted, hook.ConnectionRefused, "connection was refused"},
		"no such name":            {"http://missing.test:" + port, trusted, hook.DNSResolveTimeout, "host name does not exist"},
		"a private address":       {"http://10-0-0-1.test:" + port, trusted, hook.DNSForbidden, "not a public one"},
		"this machine, forbidden": {"http://hooks.test:" + port, func(c *outbound.Config) { c.Policy = hook.EndpointPolicy{} }, hook.DNSForbidden, "not a public one"},
		"another name's":          {"https://hooks.test:" + secure, trusted, hook.HostnameMismatch, "certificate is not for hooks.test"},
		"unknown authority":       {"https://example.com:" + secure, nil, hook.CertificateError, "unknown authority"},
		"an old TLS":              {"https://example.com:" + old, func(c *outbound.Config) { c.CAs = oldCA }, hook.TLSError, "TLS"},
		"no TLS there":            {"https://example.com:" + port, trusted, hook.TLSError, "does not speak TLS"},
		"hung up":                 {"http://hooks.test:" + hangsUp, trusted, hook.RemoteError, "closed before the end of the answer"},
	} {
		t.Run(name, func(t *testing.T) {
			var edit []func(*outbound.Config)
			if c.edit != nil {
				edit = append(edit, c.edit)
			}
			r := prove(t, prober(t, edit...), c.url, hook.Auth{})
			if r.OK || r.Outcome != c.want || !strings.Contains(r.Reason, c.reason) {
				t.Errorf("%v, %v: %q, want %v: %q", r.OK, r.Outcome, r.Reason, c.want, c.reason)
			}
		})
	}
}

// An endpoint has 3 seconds for its answer, and not a moment more.
func TestSlowAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		handler func(right http.Handler) http.HandlerFunc
		reason  string
		took    time.Duration
	}{
		"in time": {func(right http.Handler) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(3*time.Second - 1)
				right.ServeHTTP(w, r)
			}
		}, "", 3*time.Second - 1},
		"too late": {func(right http.Handler) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(3*time.Second + 1)
				right.ServeHTTP(w, r)
			}
		}, "no answer within 3s", 3 * time.Second},
		"begun in time": {func(http.Handler) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, `{"plainToken":`)
				w.(http.Flusher).Flush()
				time.Sleep(time.Minute)
			}
		}, "no complete answer within 3s", 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var nw memnet.Net
				nw.Handle(t, "hooks.test", c.handler(receiver(t, testSecret)))
				client := outbound.New(outbound.Config{Policy: hook.EndpointPolicy{HTTP: true}, DialContext: nw.DialContext})
				p := &challenge.Prober{Client: client, IDs: hook.NewIDs(0, 0)}
				r := prove(t, p, "http://hooks.test/", hook.Auth{})
				if !strings.Contains(r.Reason, c.reason) || r.OK != (c.reason == "") || r.Timing.Done != c.took {
					t.Errorf("%v: %q after %v, want %q after %v", r.OK, r.Reason, r.Timing.Done, c.reason, c.took)
				}
				client.Close()
				time.Sleep(2 * time.Minute) // so that the handlers end
			})
		})
	}
}

// A prober whose program is ending does not wait.
func TestProvingIsCutOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	port := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	s, a := subscription("http://hooks.test:"+port, hook.Auth{})
	r := prober(t).Prove(ctx, s.URL, s, a)
	checkResult(t, r, hook.Auth{})
	if r.OK || r.Outcome != hook.Delegate {
		t.Errorf("%v, %v: %s", r.OK, r.Outcome, r.Reason)
	}
}

// What cannot be sent is not sent, and the reason says whose matter that is.
func TestChallengesThatCannotBeSent(t *testing.T) {
	port := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("something was sent") }))
	for name, c := range map[string]struct {
		edit   func(*hook.Subscription, *hook.App)
		want   hook.Outcome
		reason string
	}{
		"no secret token":     {func(_ *hook.Subscription, a *hook.App) { a.SecretToken = "" }, hook.AsyncError, "secret token is missing"},
		"a blank one":         {func(_ *hook.Subscription, a *hook.App) { a.SecretToken = " \t" }, hook.AsyncError, "secret token is missing"},
		"unreadable settings": {func(s *hook.Subscription, _ *hook.App) { s.Auth = hook.Auth{Mode: hook.AuthBasic, Unreadable: true} }, hook.CannotGetCustomHeader, "cannot be decrypted"},
		"no URL":              {func(s *hook.Subscription, _ *hook.App) { s.URL = "" }, hook.AsyncError, "URL cannot be read"},
	} {
		s, a := subscription("http://hooks.test:"+port, hook.Auth{})
		c.edit(s, a)
		r := prober(t).Prove(t.Context(), s.URL, s, a)
		checkResult(t, r, s.Auth)
		if r.OK || r.Outcome != c.want || !strings.Contains(r.Reason, c.reason) {
			t.Errorf("%s: %v, %v: %q", name, r.OK, r.Outcome, r.Reason)
		}
	}
}

// recorder is an endpoint that keeps what it gets.
type recorder struct {
	http.Handler
	mu       sync.Mutex
	requests []recorded
}

type recorded struct {
	header http.Header
	body   string
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	r.requests = append(r.requests, recorded{req.Header.Clone(), string(body)})
	r.mu.Unlock()
	req.Body = io.NopCloser(strings.NewReader(string(body)))
	r.Handler.ServeHTTP(w, req)
}

var challengeBody = regexp.MustCompile(`\A\{"payload":\{"plainToken":"([A-Za-z0-9_-]{22})"\},"event_ts":([1-9][0-9]{12}),"event":"endpoint\.url_validation"\}\z`)

// A challenge is sent like every other request: to the letter as the contract writes
// it, with a token of its own, signed, and with an id of its own.
func TestRequest(t *testing.T) {
	const n = 50
	e := &recorder{Handler: receiver(t, testSecret)}
	port := serve(t, e)
	p := prober(t)
	before := time.Now()
	for range n {
		if r := prove(t, p, "http://hooks.test:"+port, hook.Auth{}); !r.OK {
			t.Fatal(r.Reason)
		}
	}
	after := time.Now()
	tokens, ids := map[string]bool{}, map[string]bool{}
	for _, got := range e.requests {
		parts := challengeBody.FindStringSubmatch(got.body)
		if parts == nil {
			t.Fatalf("body %s", got.body)
		}
		tokens[parts[1]] = true
		ids[got.header.Get("X-Zm-Request-Id")] = true
		if ms, _ := strconv.ParseInt(parts[2], 10, 64); ms < before.UnixMilli() || ms > after.UnixMilli() {
			t.Errorf("event_ts %s, want one from %d to %d", parts[2], before.UnixMilli(), after.UnixMilli())
		}
		timestamp := got.header.Get("X-Zm-Request-Timestamp")
		if seconds, err := strconv.ParseInt(timestamp, 10, 64); err != nil || seconds < before.Unix() || seconds > after.Unix() {
			t.Errorf("timestamp %q", timestamp)
		}
		if want := "v0=" + hmacHex(testSecret, "v0:"+timestamp+":"+got.body); got.header.Get("X-Zm-Signature") != want {
			t.Errorf("signature %q, want %q", got.header.Get("X-Zm-Signature"), want)
		}
		if id, err := hook.ParseDeliveryID(got.header.Get("X-Zm-Request-Id")); err != nil || id.Subscription != 0x7f3e9c2d11aa0b52 {
			t.Errorf("request id %v, %v", id, err)
		}
		for name, want := range map[string]string{
			"Content-Type": "application/json; charset=utf-8", "User-Agent": "Switchhook/test", "Clientid": "client-id", "Authorization": "",
		} {
			if v := got.header.Get(name); v != want {
				t.Errorf("%s: %q, want %q", name, v, want)
			}
		}
	}
	if len(tokens) != n || len(ids) != n {
		t.Errorf("%d challenges have %d tokens and %d request ids", n, len(tokens), len(ids))
	}
}

// An endpoint that asks for more than the signature gets it with the challenge, too.
func TestAuthentication(t *testing.T) {
	tokens := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id, secret, _ := r.BasicAuth(); id != "id" || secret != "s3cret-of-client" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = io.WriteString(w, `{"access_token":"opaque-access-token","token_type":"bearer","expires_in":3600}`)
	}))
	for name, c := range map[string]struct {
		auth         hook.Auth
		header, want string
	}{
		"none":   {hook.Auth{}, "Authorization", ""},
		"Basic":  {hook.Auth{Mode: hook.AuthBasic, Username: "ann", Password: "pass-of-ann"}, "Authorization", "Basic YW5uOnBhc3Mtb2YtYW5u"},
		"OAuth":  {hook.Auth{Mode: hook.AuthOAuth, ClientID: "id", ClientSecret: "s3cret-of-client", TokenURL: "http://auth.test:" + tokens}, "Authorization", "Bearer opaque-access-token"},
		"header": {hook.Auth{Mode: hook.AuthHeader, Header: "X-Api-Key", Value: "k3y-of-ann"}, "X-Api-Key", "k3y-of-ann"},
	} {
		t.Run(name, func(t *testing.T) {
			right := receiver(t, testSecret)
			e := &recorder{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get(c.header) != c.want {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				right.ServeHTTP(w, r)
			})}
			url := "http://hooks.test:" + serve(t, e)
			r := prove(t, prober(t), url, c.auth)
			if !r.OK || len(e.requests) != 1 || e.requests[0].header.Get(webhook.HeaderSignature) == "" {
				t.Errorf("%s (after %d requests)", r.Reason, len(e.requests))
			}
			if c.auth.Mode == hook.AuthNone {
				return
			}
			// And one that does not get what it asks for says so.
			if r := prove(t, prober(t), url, hook.Auth{}); r.OK || r.Outcome != 401 {
				t.Errorf("without it: %v, %v", r.OK, r.Outcome)
			}
		})
	}
}

// What is masked in the log of an answer does not keep the answer from being right,
// however short a secret is.
func TestShortSecrets(t *testing.T) {
	port := serve(t, receiver(t, testSecret))
	for _, value := range []string{"1", "e", "Token", `"`} {
		r := prove(t, prober(t), "http://hooks.test:"+port, hook.Auth{Mode: hook.AuthHeader, Header: "X-Api-Key", Value: hook.Secret(value)})
		if !r.OK || strings.Contains(string(r.Response.Body), value) {
			t.Errorf("a header of %q: %s; kept: %s", value, r.Reason, r.Response.Body)
		}
	}
}

// In OAuth mode a challenge fails where the token does, with what was wrong there.
func TestTokenURLsThatGiveNone(t *testing.T) {
	port := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the challenge was sent") }))
	gives := func(status int, body string) string {
		return "http://auth.test:" + serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}))
	}
	for name, c := range map[string]struct{ url, reason string }{
		"refuses the client": {gives(401, `{"error":"invalid_client","error_description":"s3cret-of-client is wrong"}`), "token URL answered with status 401"},
		"answers with HTML":  {gives(200, "<html>"), "token URL's answer is not a JSON object"},
		"gives no token":     {gives(200, `{"token_type":"bearer","expires_in":3600}`), "no access_token"},
		"gives a short life": {gives(200, `{"access_token":"t","token_type":"bearer","expires_in":60}`), "expires_in is 60 seconds"},
		"does not exist":     {"http://missing.test/", "host name does not exist"},
		"is private":         {"http://10-0-0-1.test/", "not a public one"},
	} {
		t.Run(name, func(t *testing.T) {
			auth := hook.Auth{Mode: hook.AuthOAuth, ClientID: "id", ClientSecret: "s3cret-of-client", TokenURL: c.url}
			r := prove(t, prober(t), "http://hooks.test:"+port, auth)
			if r.OK || r.Outcome != hook.CannotGetAccessToken || !strings.Contains(r.Reason, c.reason) {
				t.Errorf("%v, %v: %q, want %q", r.OK, r.Outcome, r.Reason, c.reason)
			}
		})
	}
}

// An endpoint that sends back what it was sent, secrets and all, finds none of it in
// the reason.
func TestReasonsTellNoSecrets(t *testing.T) {
	auth := hook.Auth{Mode: hook.AuthBasic, Username: "ann", Password: "pass-of-ann"}
	for _, status := range []int{200, 302, 404, 500} {
		for _, format := range []string{"%s", `{"plainToken":"%s"}`, `{"plainToken":"x","encryptedToken":"%s"}`, `["%s"]`} {
			port := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				said := r.Header.Get("Authorization") + " pass-of-ann " + testSecret + " " + plainToken(t, r)
				w.Header().Set("Location", "/"+said)
				w.Header().Set("X-Echo", said)
				w.WriteHeader(status)
				_, _ = fmt.Fprintf(w, format, said)
			}))
			r := prove(t, prober(t), "http://hooks.test:"+port, auth)
			if r.OK || strings.Contains(r.Reason, "YW5uOnBhc3Mtb2YtYW5u") {
				t.Errorf("status %d, %s: %v, %s", status, format, r.OK, r.Reason)
			}
		}
	}
}

// One prober serves all validations at a time.
func TestProberIsSafeForConcurrentUse(t *testing.T) {
	right, wrong := serve(t, receiver(t, testSecret)), serve(t, receiver(t, otherSecret))
	p := prober(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if r := prove(t, p, "http://hooks.test:"+right, hook.Auth{}); !r.OK {
					t.Error(r.Reason)
				}
				if r := prove(t, p, "http://hooks.test:"+wrong, hook.Auth{}); r.OK || r.Outcome != 401 {
					t.Errorf("%v, %v: %s", r.OK, r.Outcome, r.Reason)
				}
			}
		})
	}
	wg.Wait()
}

// While a secret token is being replaced, an endpoint may prove itself with the old
// one; after that no more.
func TestOldSecretToken(t *testing.T) {
	// It knows the old secret only, and answers without looking at the signature.
	port := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := plainToken(t, r)
		_, _ = fmt.Fprintf(w, `{"plainToken":"%s","encryptedToken":"%s"}`, token, hmacHex(otherSecret, token))
	}))
	for until, want := range map[time.Duration]bool{time.Hour: true, -time.Second: false} {
		s, a := subscription("http://hooks.test:"+port, hook.Auth{})
		a.OldToken = hook.OldToken{Secret: otherSecret, Until: time.Now().Add(until)}
		if r := prober(t).Prove(t.Context(), s.URL, s, a); r.OK != want {
			t.Errorf("valid until %v from now: %v %s", until, r.OK, r.Reason)
		}
	}
}
