package gateway_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/switchhook/switchhook/internal/gateway"
	"github.com/switchhook/switchhook/internal/inbox"
	"github.com/switchhook/switchhook/webhook"
)

// challenge is an endpoint validation.
func challenge(token string) []byte {
	return fmt.Appendf(nil, `{"payload":{"plainToken":%q},"event_ts":1763758800123,"event":"endpoint.url_validation"}`, token)
}

// Each request has the answer that its sender draws the right conclusion from: 204 only
// for what is stored, 4xx only where the sender is wrong, 503 for all that could be
// this side's fault, and nothing that leads elsewhere.
func TestAnswers(t *testing.T) {
	change := func(f func(*http.Request)) func(*world) *http.Request {
		return func(*world) *http.Request {
			r := request(secret, "id", event(1))
			f(r)
			return r
		}
	}
	target := func(url string) func(*world) *http.Request {
		return change(func(r *http.Request) {
			own := httptest.NewRequest(http.MethodPost, url, nil)
			r.URL, r.RequestURI = own.URL, own.RequestURI
		})
	}
	signedWith := func(body []byte) func(*world) *http.Request {
		return func(*world) *http.Request { return request(secret, "id", body) }
	}
	for name, c := range map[string]struct {
		request             func(*world) *http.Request
		status              int
		stored, quarantined int
	}{
		"an event":                      {signedWith(event(1)), 204, 1, 0},
		"with a query":                  {target(path + "?tenant=1"), 204, 1, 0},
		"with another content type":     {change(func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }), 204, 1, 0},
		"without a request id":          {change(func(r *http.Request) { r.Header.Del(webhook.HeaderRequestID) }), 204, 1, 0},
		"signed, and no event":          {signedWith([]byte(`[1]`)), 204, 1, 0},
		"signed, and no JSON":           {signedWith([]byte(`{`)), 204, 1, 0},
		"signed, and nothing":           {signedWith(nil), 204, 1, 0},
		"signed, and deep":              {signedWith([]byte(strings.Repeat("[", 10_000))), 204, 1, 0},
		"as large as may be":            {signedWith(bytes.Repeat([]byte(" "), 1<<20)), 204, 1, 0},
		"a byte larger":                 {signedWith(bytes.Repeat([]byte(" "), 1<<20+1)), 413, 0, 0},
		"larger, of unknown length":     {change(func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(&endless{}), -1 }), 413, 0, 0},
		"announced to be larger":        {change(func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(broken{}), 1<<20+1 }), 413, 0, 0},
		"broken off":                    {change(func(r *http.Request) { r.Body = io.NopCloser(io.MultiReader(strings.NewReader("{"), broken{})) }), 503, 0, 0},
		"GET":                           {change(func(r *http.Request) { r.Method = http.MethodGet }), 405, 0, 0},
		"PUT":                           {change(func(r *http.Request) { r.Method = http.MethodPut }), 405, 0, 0},
		"another path":                  {target("/other"), 404, 0, 0},
		"the root":                      {target("/"), 404, 0, 0},
		"a slash more":                  {target(path + "/"), 404, 0, 0},
		"a slash more at the beginning": {target("http://x/" + path), 404, 0, 0},
		"a slash twice":                 {target("/hooks//zoom"), 404, 0, 0},
		"dots":                          {target("/hooks/./zoom"), 404, 0, 0},
		"more dots":                     {target("/x/../hooks/zoom"), 404, 0, 0},
		"escaped":                       {target("/hooks%2Fzoom"), 404, 0, 0},
		"escaped without need":          {target("/hooks/%7Aoom"), 404, 0, 0},
		"in upper case":                 {target("/HOOKS/zoom"), 404, 0, 0},
		"unsigned":                      {change(func(r *http.Request) { r.Header.Del(webhook.HeaderSignature) }), 401, 0, 0},
		"without a time":                {change(func(r *http.Request) { r.Header.Del(webhook.HeaderTimestamp) }), 401, 0, 0},
		"signed twice":                  {change(func(r *http.Request) { r.Header.Add(webhook.HeaderSignature, r.Header.Get(webhook.HeaderSignature)) }), 401, 0, 0},
		"two times":                     {change(func(r *http.Request) { r.Header.Add(webhook.HeaderTimestamp, "1") }), 401, 0, 0},
		"a signature in upper case":     {change(func(r *http.Request) { r.Header.Set(webhook.HeaderSignature, "v0="+strings.Repeat("A", 64)) }), 401, 0, 0},
		"a short signature":             {change(func(r *http.Request) { r.Header.Set(webhook.HeaderSignature, "v0="+strings.Repeat("a", 63)) }), 401, 0, 0},
		"a signature of another kind":   {change(func(r *http.Request) { r.Header.Set(webhook.HeaderSignature, "v1="+strings.Repeat("a", 64)) }), 401, 0, 0},
		"a list of signatures": {change(func(r *http.Request) {
			s := r.Header.Get(webhook.HeaderSignature)
			r.Header.Set(webhook.HeaderSignature, s+","+s)
		}), 401, 0, 0},
		"a time in milliseconds":    {change(func(r *http.Request) { resign(r, strconv.FormatInt(time.Now().UnixMilli(), 10), event(1)) }), 401, 0, 0},
		"a time with a sign":        {change(func(r *http.Request) { resign(r, "+"+strconv.FormatInt(time.Now().Unix(), 10)[1:], event(1)) }), 401, 0, 0},
		"a time with a zero before": {change(func(r *http.Request) { resign(r, "0"+strconv.FormatInt(time.Now().Unix(), 10), event(1)) }), 401, 0, 0},
		"another secret":            {func(*world) *http.Request { return request(otherSecret, "id", event(1)) }, 503, 0, 1},
		"another body":              {change(func(r *http.Request) { r.Body = io.NopCloser(bytes.NewReader(event(2))) }), 503, 0, 1},
		"too old": {change(func(r *http.Request) {
			resign(r, strconv.FormatInt(time.Now().Add(-301*time.Second).Unix(), 10), event(1))
		}), 503, 0, 1},
		"from the future": {change(func(r *http.Request) {
			resign(r, strconv.FormatInt(time.Now().Add(302*time.Second).Unix(), 10), event(1))
		}), 503, 0, 1},
		"a challenge":                     {signedWith(challenge("qgg8vlvZRS6UYooatFL8Aw")), 200, 0, 0},
		"a challenge with another secret": {func(*world) *http.Request { return request(otherSecret, "id", challenge("qgg8vlvZRS6UYooatFL8Aw")) }, 503, 0, 1},
		"an unsigned challenge": {func(*world) *http.Request {
			return httptest.NewRequest("POST", path, bytes.NewReader(challenge("qgg8vlvZRS6UYooatFL8Aw")))
		}, 401, 0, 0},
		"a challenge that asks for more":  {signedWith(challenge("v0:1763758800:{}")), 400, 0, 0},
		"while the file is locked":        {locked, 503, 0, 0},
		"wrongly signed, file locked":     {func(w *world) *http.Request { locked(w); return request(otherSecret, "id", event(1)) }, 503, 0, 0},
		"while the gateway stops":         {func(w *world) *http.Request { w.Stop(); return request(secret, "id", event(1)) }, 503, 0, 0},
		"to another path, while it stops": {func(w *world) *http.Request { w.Stop(); return httptest.NewRequest("POST", "/x", nil) }, 503, 0, 0},
		"after the inbox was closed":      {func(w *world) *http.Request { must(w.t, w.inbox.Close()); return request(secret, "id", event(1)) }, 503, -1, 0},
		"without any source":              {func(w *world) *http.Request { must(w.t, w.Use(nil)); return request(secret, "id", event(1)) }, 404, 0, 0},
		"the sender does not wait any more": {func(*world) *http.Request {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			return request(secret, "id", event(1)).WithContext(ctx)
		}, 503, -1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, gateway.Config{})
			got := w.answer(c.request(w))
			if got.Code != c.status {
				t.Errorf("status %d, want %d", got.Code, c.status)
			}
			if got.Code == 200 != (got.Body.Len() > 0) || got.Header().Get("Location") != "" {
				t.Errorf("answered with %v %q", got.Header(), got.Body)
			}
			if allow := got.Header().Get("Allow"); (allow == "POST") != (got.Code == 405) {
				t.Errorf("Allow is %q", allow)
			}
			if c.stored < 0 {
				return
			}
			if n := len(w.stored()); n != c.stored {
				t.Errorf("%d events are stored, want %d", n, c.stored)
			}
			if n := len(w.quarantined()); n != c.quarantined {
				t.Errorf("%d requests are in quarantine, want %d", n, c.quarantined)
			}
		})
	}
}

// resign gives a request another time, and the signature for it.
func resign(r *http.Request, timestamp string, body []byte) {
	r.Header.Set(webhook.HeaderTimestamp, timestamp)
	r.Header.Set(webhook.HeaderSignature, sign(secret, timestamp, body))
}

// locked locks the inbox as another process might.
func locked(w *world) *http.Request {
	c, err := sqlite.OpenConn(w.file, sqlite.OpenReadWrite)
	must(w.t, err)
	must(w.t, sqlitex.ExecuteTransient(c, "BEGIN IMMEDIATE", nil))
	w.t.Cleanup(func() { must(w.t, c.Close()) })
	return request(secret, "id", event(1))
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// The answer to a challenge is the contract's, with the secret that signed it.
func TestChallenge(t *testing.T) {
	w := open(t, gateway.Config{}, zoom(func(s *gateway.Source) { s.Secrets = []string{otherSecret, secret} }))
	const token = "qgg8vlvZRS6UYooatFL8Aw"
	for _, key := range []string{secret, otherSecret} {
		m := hmac.New(sha256.New, []byte(key))
		m.Write([]byte(token))
		want := `{"plainToken":"` + token + `","encryptedToken":"` + hex.EncodeToString(m.Sum(nil)) + `"}`
		got := w.answer(request(key, "id", challenge(token)))
		if got.Code != 200 || got.Body.String() != want || got.Header().Get("Content-Type") != webhook.ContentType {
			t.Errorf("%d %v %s, want %s", got.Code, got.Header(), got.Body, want)
		}
	}
	w.expect()
}

// A request that comes again is answered like the first time and is there once.
func TestRepeats(t *testing.T) {
	w := open(t, gateway.Config{})
	first := request(secret, "id", event(1))
	at := first.Header.Get(webhook.HeaderTimestamp)
	if got := w.answer(first); got.Code != 204 {
		t.Errorf("status %d", got.Code)
	}
	for range 2 {
		if s := w.send(secret, "id", event(1)); s != 204 {
			t.Errorf("status %d", s)
		}
	}
	again := request(secret, "id", event(1)) // the next attempt
	resign(again, strconv.FormatInt(time.Now().Add(time.Minute).Unix(), 10), event(1))
	forged := request(secret, "forged", event(1)) // the bytes that were signed, once more
	resign(forged, at, event(1))
	other := request(secret, "id", event(2))
	for _, r := range []*http.Request{again, forged, other} {
		if got := w.answer(r); got.Code != 204 {
			t.Errorf("status %d", got.Code)
		}
	}
	w.expect(1, 2)
	if !strings.Contains(w.log.String(), "a request id came again with another body") {
		t.Error("the log does not tell of the second body")
	}
}

// While a secret is wrong, for an hour, the platform keeps what it has, the quarantine
// has it as well, and once the secret is right everything is there once: what came
// while it was wrong, before the platform repeats it, in the order of arrival.
func TestWrongSecretForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, gateway.Config{}, zoom(func(s *gateway.Source) { s.Secrets = []string{otherSecret} }))
		var wg sync.WaitGroup
		var want []int
		for n := range 70 { // ten of them come afterwards
			want = append(want, n)
			wg.Go(func() {
				if s := w.deliver(func() string { return secret }, fmt.Sprint("r", n), event(n)); s != 204 {
					t.Errorf("delivery %d ended with %d", n, s)
				}
			})
			time.Sleep(time.Minute)
			if n == 59 {
				time.Sleep(time.Second) // no attempt is made at this very moment
				w.expect()
				must(t, w.Use([]gateway.Source{zoom()}))
				released := w.recheck(false)
				if len(released) != 1 || released[0] != (gateway.Released{Source: "zoom", Events: 60}) {
					t.Errorf("%+v", released)
				}
				w.expect(want...)
			}
		}
		wg.Wait()
		w.expect(want...)
		if q := w.quarantined(); len(q) > 0 {
			t.Errorf("%d requests are left in the quarantine", len(q))
		}
		log := w.log.String()
		if n := strings.Count(log, "level=ERROR"); n == 0 || n > 7 || !strings.Contains(log, "correct the secret") {
			t.Errorf("%d alarms in an hour; want one at the first, and then one in ten minutes", n)
		}
		if first := strings.Index(log, "level=ERROR"); first > strings.Index(log, "outcome=quarantined") {
			t.Error("the alarm does not come with the first")
		}
	})
}

// What does not fit into the quarantine is not lost either, as long as the secret is
// wrong no longer than the platform tries.
func TestQuarantineOverflows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, gateway.Config{Quarantine: inbox.Bounds{Requests: 10, Bytes: 1 << 20}}, zoom(func(s *gateway.Source) { s.Secrets = []string{otherSecret} }))
		var wg sync.WaitGroup
		for n := range 60 {
			wg.Go(func() {
				if s := w.deliver(func() string { return secret }, fmt.Sprint("r", n), event(n)); s != 204 {
					t.Errorf("delivery %d ended with %d", n, s)
				}
			})
			time.Sleep(time.Minute)
		}
		must(t, w.Use([]gateway.Source{zoom()}))
		if r := w.recheck(false); len(r) != 1 || r[0].Events != 5 { // half of it, for all come from one address
			t.Errorf("%+v", r)
		}
		wg.Wait()
		if n := len(w.stored()); n != 60 {
			t.Errorf("%d events are there, want 60", n)
		}
		if !strings.Contains(w.log.String(), "the quarantine is full") {
			t.Error("the log does not tell that the quarantine is full")
		}
	})
}

// The platform changes its secret before the gateway is told: nothing that it sends
// meanwhile is lost.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, gateway.Config{})
		signing := secret
		var wg sync.WaitGroup
		for n := range 30 {
			if n == 10 {
				signing = otherSecret
			}
			if n == 20 {
				must(t, w.Use([]gateway.Source{zoom(func(s *gateway.Source) { s.Secrets = []string{otherSecret, secret} })}))
				w.recheck(false)
			}
			key := signing
			wg.Go(func() {
				if s := w.deliver(func() string { return key }, fmt.Sprint("r", n), event(n)); s != 204 {
					t.Errorf("delivery %d ended with %d", n, s)
				}
			})
			time.Sleep(time.Second)
		}
		wg.Wait()
		var want []int
		for n := range 30 {
			want = append(want, n)
		}
		w.expect(want...)
	})
}

// What strangers send is never taken for an event, and does not keep the platform's
// requests out of the quarantine.
func TestStrangers(t *testing.T) {
	w := open(t, gateway.Config{Quarantine: inbox.Bounds{Requests: 20, Bytes: 1 << 20}}, zoom(func(s *gateway.Source) { s.Secrets = []string{otherSecret} }))
	for n := range 100 {
		r := request("a stranger's", fmt.Sprint("s", n), event(1000+n))
		r.RemoteAddr = "203.0.113.7:1000"
		if got := w.answer(r); got.Code != 503 {
			t.Fatal(got.Code)
		}
	}
	for n := range 5 {
		w.send(secret, fmt.Sprint("r", n), event(n))
	}
	must(t, w.Use([]gateway.Source{zoom()}))
	if r := w.recheck(true); len(r) != 1 || r[0] != (gateway.Released{Source: "zoom", Events: 5, Remaining: 10}) {
		t.Errorf("%+v", r)
	}
	w.expect(0, 1, 2, 3, 4)
}

// A challenge in the quarantine is of no use any more; one that is rightly signed is
// no event.
func TestChallengeInQuarantine(t *testing.T) {
	w := open(t, gateway.Config{}, zoom(func(s *gateway.Source) { s.Secrets = []string{otherSecret} }))
	w.send(secret, "c", challenge("qgg8vlvZRS6UYooatFL8Aw"))
	w.send(secret, "d", challenge("v0:1763758800:{}"))
	w.send(secret, "r", event(1))
	must(t, w.Use([]gateway.Source{zoom()}))
	if r := w.recheck(false); len(r) != 1 || r[0] != (gateway.Released{Source: "zoom", Events: 1, Challenges: 2}) {
		t.Errorf("%+v", r)
	}
	w.expect(1)
	if q := w.quarantined(); len(q) != 0 {
		t.Errorf("%d are left", len(q))
	}
}

// What is rightly signed and refused for another reason is kept as well. It is released
// when somebody decides so, all of it or some.
func TestReleaseAnyway(t *testing.T) {
	basic := zoom(func(s *gateway.Source) { s.Auth = []webhook.Auth{webhook.Basic("user", "pass:word")} })
	w := open(t, gateway.Config{}, basic)
	stale := request(secret, "stale", event(1))
	resign(stale, strconv.FormatInt(time.Now().Add(-time.Hour).Unix(), 10), event(1))
	stale.SetBasicAuth("user", "pass:word")
	denied := request(secret, "denied", event(2))
	denied.SetBasicAuth("user", "wrong")
	without := request(secret, "without", event(3))
	forged := request(otherSecret, "forged", event(4))
	forged.SetBasicAuth("user", "pass:word")
	for name, r := range map[string]*http.Request{"stale": stale, "denied": denied, "without": without, "forged": forged} {
		if got := w.answer(r); got.Code != 503 {
			t.Errorf("%s: %d", name, got.Code)
		}
	}
	right := request(secret, "right", event(5))
	right.SetBasicAuth("user", "pass:word")
	if got := w.answer(right); got.Code != 204 {
		t.Error(got.Code)
	}
	if r := w.recheck(false); len(r) != 1 || r[0] != (gateway.Released{Source: "zoom", Remaining: 4, Doubtful: 3}) {
		t.Errorf("%+v", r)
	}
	w.expect(5)
	var id int64
	for _, q := range w.quarantined() {
		if q.RequestID == "" && q.Headers.Get(webhook.HeaderRequestID) == "denied" {
			id = q.ID
		}
		if wrong := q.Headers.Get(webhook.HeaderRequestID) != "stale" && q.Headers.Get(webhook.HeaderRequestID) != "forged"; q.Denied != wrong {
			t.Errorf("%s: that its authentication was wrong is %v", q.Headers.Get(webhook.HeaderRequestID), q.Denied)
		}
	}
	if r := w.recheck(true, id); r[0].Events != 1 {
		t.Errorf("%+v", r)
	}
	w.expect(5, 2)
	if r := w.recheck(true); r[0] != (gateway.Released{Source: "zoom", Events: 2, Remaining: 1}) {
		t.Errorf("%+v", r)
	}
	if n := len(w.stored()); n != 4 {
		t.Errorf("%d are stored", n)
	}
}

// A platform that fetches tokens gets them, is told when one does not do, and loses
// nothing by it.
func TestTokens(t *testing.T) {
	tokens, err := webhook.NewTokenServer(webhook.TokenConfig{ClientID: "client", ClientSecrets: []string{"client-secret"}})
	must(t, err)
	w := open(t, gateway.Config{}, zoom(func(s *gateway.Source) {
		s.Auth, s.Tokens, s.TokenPath = []webhook.Auth{tokens.Auth()}, tokens, "/oauth/token"
	}))
	ask := httptest.NewRequest("POST", "/oauth/token", strings.NewReader("grant_type=client_credentials"))
	ask.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	ask.SetBasicAuth("client", "client-secret")
	got := w.answer(ask)
	_, token, _ := strings.Cut(got.Body.String(), `"access_token":"`)
	token, _, _ = strings.Cut(token, `"`)
	if got.Code != 200 || token == "" || !strings.Contains(got.Body.String(), `"expires_in":3600`) {
		t.Fatalf("%d %s", got.Code, got.Body)
	}
	old := request(secret, "id", event(1))
	old.Header.Set("Authorization", "Bearer "+token[1:])
	got = w.answer(old)
	if got.Code != 401 || !strings.HasPrefix(got.Header().Get("WWW-Authenticate"), "Bearer ") || got.Body.Len() != 0 {
		t.Errorf("%d %v", got.Code, got.Header())
	}
	if q := w.quarantined(); len(q) != 1 || !q[0].Denied {
		t.Errorf("%+v", q)
	}
	// It has got another one.
	fresh := request(secret, "id", event(1))
	fresh.Header.Set("Authorization", "Bearer "+token)
	if got := w.answer(fresh); got.Code != 204 {
		t.Error(got.Code)
	}
	w.expect(1)
	if q := w.quarantined(); len(q) != 0 {
		t.Errorf("what was accepted in the end is left in the quarantine: %+v", q)
	}
	w.Stop()
	ask = httptest.NewRequest("POST", "/oauth/token", nil)
	if got := w.answer(ask); got.Code != 503 {
		t.Errorf("while it stops: %d", got.Code)
	}
}

// Sources have nothing to do with each other.
func TestSources(t *testing.T) {
	w := open(t, gateway.Config{}, zoom(), gateway.Source{Name: "other", Path: "/other", Secrets: []string{otherSecret}, MaxBody: 100})
	if s := w.send(secret, "id", event(1)); s != 204 {
		t.Error(s)
	}
	to := func(path, key string, body []byte) int {
		r := request(key, "id", body)
		r.URL.Path = path
		return w.answer(r).Code
	}
	for i, c := range []struct {
		path, key string
		body      []byte
		want      int
	}{
		{"/other", otherSecret, event(1), 204}, // the same request id and body, and another event
		{"/other", secret, event(2), 503},
		{path, otherSecret, event(3), 503},
		{"/other", otherSecret, bytes.Repeat([]byte("x"), 101), 413},
	} {
		if got := to(c.path, c.key, c.body); got != c.want {
			t.Errorf("%d: %d, want %d", i, got, c.want)
		}
	}
	w.expect(1, 1)
}

// Sources that do not go together are refused, and those there were stay.
func TestUseIsAllOrNothing(t *testing.T) {
	tokens, err := webhook.NewTokenServer(webhook.TokenConfig{ClientID: "client", ClientSecrets: []string{"client-secret"}})
	must(t, err)
	giving := func(s *gateway.Source) {
		s.Auth, s.Tokens, s.TokenPath = []webhook.Auth{tokens.Auth()}, tokens, "/token"
	}
	w := open(t, gateway.Config{})
	for name, all := range map[string][]gateway.Source{
		"no secret":           {zoom(func(s *gateway.Source) { s.Secrets = nil })},
		"a blank secret":      {zoom(func(s *gateway.Source) { s.Secrets = []string{" "} })},
		"no name":             {zoom(func(s *gateway.Source) { s.Name = "" })},
		"no path":             {zoom(func(s *gateway.Source) { s.Path = "" })},
		"a path and no slash": {zoom(func(s *gateway.Source) { s.Path = "zoom" })},
		"a name twice":        {zoom(), zoom(func(s *gateway.Source) { s.Path = "/2" })},
		"a path twice":        {zoom(), zoom(func(s *gateway.Source) { s.Name = "2" })},
		"a path for tokens":   {zoom(giving), zoom(func(s *gateway.Source) { s.Name, s.Path = "2", "/token" })},
		"tokens twice":        {zoom(giving), zoom(giving, func(s *gateway.Source) { s.Name, s.Path = "2", "/2" })},
		"a zero Auth":         {zoom(func(s *gateway.Source) { s.Auth = []webhook.Auth{{}} })},
		"a negative limit":    {zoom(func(s *gateway.Source) { s.MaxBody = -1 })},
	} {
		if err := w.Use(all); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if s := w.send(secret, "id", event(1)); s != 204 {
		t.Errorf("the source there was: %d", s)
	}
}

// Only what known proxies have written tells where a request came from.
func TestWhereRequestsComeFrom(t *testing.T) {
	prefix := netip.MustParsePrefix
	w := open(t, gateway.Config{Proxies: []netip.Prefix{prefix("10.0.0.0/8"), prefix("fd00::/8")}})
	for i, c := range []struct {
		remote, want string
		forwarded    []string
	}{
		{"203.0.113.1:80", "203.0.113.1", nil},
		{"203.0.113.1:80", "203.0.113.1", []string{"198.51.100.1"}},
		{"10.0.0.1:80", "198.51.100.1", []string{"198.51.100.1"}},
		{"10.0.0.1:80", "198.51.100.1", []string{"1.2.3.4, 198.51.100.1"}},
		{"10.0.0.1:80", "198.51.100.1", []string{"1.2.3.4", "198.51.100.1, 10.0.0.2"}},
		{"10.0.0.1:80", "10.0.0.3", []string{"10.0.0.3, 10.0.0.2"}},
		{"10.0.0.1:80", "10.0.0.1", nil},
		{"10.0.0.1:80", "10.0.0.1", []string{"nonsense"}},
		{"10.0.0.1:80", "10.0.0.1", []string{"1.2.3.4, 5.6.7.8:90"}},
		{"[fd00::1%eth0]:80", "2001:db8::1", []string{"2001:db8::1"}},
		{"[::ffff:10.0.0.1]:80", "198.51.100.1", []string{"::ffff:198.51.100.1"}},
		{"@", "@", []string{"198.51.100.1"}},
	} {
		r := request(otherSecret, fmt.Sprint(i), event(i))
		r.RemoteAddr = c.remote
		for _, f := range c.forwarded {
			r.Header.Add("X-Forwarded-For", f)
		}
		w.answer(r)
		q := w.quarantined()
		if got := q[len(q)-1].Remote; got != c.want {
			t.Errorf("from %s, %q: %s, want %s", c.remote, c.forwarded, got, c.want)
		}
	}
}

// When too much is coming in at a time, the one is put off that has been at it for
// longest, and whoever just sends his request comes through.
func TestOverload(t *testing.T) {
	w := open(t, gateway.Config{MaxReading: 160 << 10})
	hold, started := make(chan struct{}), make(chan struct{})
	slow := request(secret, "slow", event(1))
	slow.ContentLength = -1
	slow.Body = io.NopCloser(io.MultiReader(bytes.NewReader(make([]byte, 70<<10)), &gate{started, hold}))
	var wg sync.WaitGroup
	var put int
	wg.Go(func() { put = w.answer(slow).Code })
	<-started
	if s := w.send(secret, "b", event(2)); s != 204 {
		t.Errorf("a small one beside it: %d", s)
	}
	for range 2 {
		if s := w.send(secret, "a", bytes.Repeat([]byte("x"), 60<<10)); s != 204 {
			t.Errorf("a large one beside it: %d", s)
		}
	}
	close(hold)
	wg.Wait()
	if put != 503 {
		t.Errorf("the slow one: %d", put)
	}
	if s := w.send(secret, "c", bytes.Repeat([]byte("y"), 200<<10)); s != 503 {
		t.Errorf("one that is more than there may be: %d", s)
	}
	if s := w.send(secret, "d", bytes.Repeat([]byte("z"), 100<<10)); s != 204 {
		t.Errorf("one that has all the room to itself: %d", s)
	}
}

// gate tells when it is read, and ends when it is opened.
type gate struct{ started, open chan struct{} }

func (g *gate) Read([]byte) (int, error) {
	close(g.started)
	<-g.open
	return 0, io.EOF
}

// A commit that takes longer than the sender waits is answered in time; when the sender
// comes again, the event is known.
func TestSlowDisk(t *testing.T) {
	w := open(t, gateway.Config{})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the time is over"))
	if got := w.answer(request(secret, "id", event(1)).WithContext(ctx)); got.Code != 503 {
		t.Errorf("%d", got.Code)
	}
	if s := w.send(secret, "id", event(1)); s != 204 {
		t.Error(s)
	}
	w.expect(1)
}

// Neither the log nor the inbox tells a secret, and nothing tells what signature would
// have been right.
func TestSecretsDoNotShow(t *testing.T) {
	tokens, err := webhook.NewTokenServer(webhook.TokenConfig{ClientID: "client", ClientSecrets: []string{"planted-client-secret"}})
	must(t, err)
	w := open(t, gateway.Config{}, zoom(func(s *gateway.Source) {
		s.Secrets = []string{"planted-signing-secret"}
		s.Auth = []webhook.Auth{webhook.Basic("user", "planted-password"), webhook.Header("X-Key", "planted-key"), webhook.Bearer("planted-bearer"), tokens.Auth()}
	}))
	var hidden []string
	for i, auth := range []func(http.Header){
		func(h http.Header) { h.Set("Authorization", "Bearer planted-bearer") },
		func(h http.Header) { h.Set("Authorization", "Bearer planted-but-wrong") },
		func(h http.Header) { h.Set("X-Key", "planted-key") },
		func(h http.Header) { h.Set("Cookie", "planted-cookie") },
	} {
		for _, key := range []string{"planted-signing-secret", otherSecret} {
			body := event(10 + i)
			r := request(key, fmt.Sprint(i), body)
			auth(r.Header)
			w.answer(r)
			if key == otherSecret {
				hidden = append(hidden, sign("planted-signing-secret", r.Header.Get(webhook.HeaderTimestamp), event(10+i))[3:])
			}
		}
	}
	w.recheck(true)
	text, err := os.ReadFile(w.file)
	must(t, err)
	wal, err := os.ReadFile(w.file + "-wal")
	must(t, err)
	// Those that were rightly signed are in the inbox with their signature.
	for _, where := range []string{w.log.String(), string(text) + string(wal)} {
		if i := strings.Index(where, "planted"); i >= 0 {
			t.Errorf("a secret shows: %q", where[max(0, i-50):min(len(where), i+50)])
		}
	}
	for _, right := range hidden {
		if strings.Contains(w.log.String(), right) {
			t.Error("the log tells a right signature")
		}
	}
}

// Whatever is sent: what is stored was rightly signed, every answer is one of a few,
// and nothing panics.
func FuzzServeHTTP(f *testing.F) {
	w := open(f, gateway.Config{})
	now := strconv.FormatInt(time.Now().Unix(), 10)
	f.Add("POST", path, now, sign(secret, now, event(1)), "id", event(1), true)
	f.Add("POST", path, now, sign(otherSecret, now, event(1)), "id", event(1), false)
	f.Add("POST", path, "", "", "", challenge("qgg8vlvZRS6UYooatFL8Aw"), true)
	f.Add("POST", path, "", "", "", challenge("v0:1:{}"), true)
	f.Add("GET", "/", "-1", "v0=", "\x00", []byte("null"), false)
	f.Fuzz(func(t *testing.T, method, target, timestamp, signature, id string, body []byte, right bool) {
		r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
		r.Method, r.URL.Path = method, target
		if right {
			timestamp = strconv.FormatInt(time.Now().Unix(), 10)
			signature = sign(secret, timestamp, body)
		}
		r.Header[webhook.HeaderTimestamp], r.Header[webhook.HeaderSignature], r.Header[webhook.HeaderRequestID] = []string{timestamp}, []string{signature}, []string{id}
		valid := signature == sign(secret, timestamp, body)
		size, err := w.inbox.Size(t.Context())
		must(t, err)
		got := w.answer(r)
		after, err := w.inbox.Size(t.Context())
		must(t, err)
		switch got.Code {
		case 200:
			if !valid || !bytes.Contains(got.Body.Bytes(), []byte("encryptedToken")) {
				t.Errorf("%d %s", got.Code, got.Body)
			}
		case 204, 400:
			if !valid {
				t.Errorf("%d for what is not signed", got.Code)
			}
		case 401, 404, 405, 413, 503:
		default:
			t.Errorf("status %d", got.Code)
		}
		if stored := after.Last - size.Last; stored > 0 && (got.Code != 204 || !valid) || stored > 1 {
			t.Errorf("%d events were stored, and the answer is %d", stored, got.Code)
		}
	})
}
