package outbound

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/webhook"
)

// What goes over the wire, header by header.
func TestRequest(t *testing.T) {
	var got *http.Request
	var body []byte
	port := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		got = r.Clone(r.Context())
		body, _ = io.ReadAll(r.Body)
	})
	before := time.Now().Unix()
	if r := send(t, newClient(t, func(c *Config) { c.Region = "eu" }), "http://hooks.test:"+port+"/a/b?c=d"); r.Outcome != 200 {
		t.Fatal(r.Outcome, r.Detail)
	}
	if got.Method != http.MethodPost || got.RequestURI != "/a/b?c=d" || got.Host != "hooks.test:"+port || string(body) != string(testMessage.Body) {
		t.Errorf("%s %s to %s with %s", got.Method, got.RequestURI, got.Host, body)
	}
	timestamp := got.Header.Get(webhook.HeaderTimestamp)
	var seconds int64
	if _, err := fmt.Sscan(timestamp, &seconds); err != nil || len(timestamp) != 10 || seconds < before || seconds > time.Now().Unix() {
		t.Errorf("timestamp %q", timestamp)
	}
	s, _ := webhook.NewSigner(testSecret)
	_, signature := s.Sign(time.Unix(seconds, 0), testMessage.Body)
	for name, want := range map[string]string{
		"Content-Type":           "application/json; charset=utf-8",
		"User-Agent":             "Switchhook/test",
		"Accept-Encoding":        "gzip",
		"Content-Length":         "13",
		"Clientid":               "client-id",
		"X-Zm-Signature":         signature,
		"X-Zm-Request-Id":        "0193a4f2_b7c0_0001_7f3e_9c2d11aa0b52",
		"X-Zm-Trackingid":        "v=2.0;clid=eu;rid=WEB_0193a4f2b7c000010000000000000abc",
		"Traceparent":            "00-0193a4f2b7c000017f3e9c2d11aa0b52-0000000000000abc-01",
		"X-Zm-Request-Timestamp": timestamp,
	} {
		if v := got.Header.Values(name); len(v) != 1 || v[0] != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
		got.Header.Del(name)
	}
	if len(got.Header) > 0 {
		t.Errorf("headers that the contract does not know: %v", got.Header)
	}
}

// A request of an event that has a trace is in it, and the log says so too.
func TestRequestInTrace(t *testing.T) {
	var got string
	port := serve(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get("Traceparent") })
	c := newClient(t)
	e := c.EndpointAt("http://hooks.test:"+port+"/", &hook.Subscription{}, &hook.App{ClientID: "client-id", SecretToken: testSecret})
	for _, flags := range []string{"-01", "-00"} {
		m := testMessage
		m.Trace = hook.ParseTrace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331" + flags)
		if r := c.Send(t.Context(), e, m); r.Outcome != 200 {
			t.Fatal(r.Outcome, r.Detail)
		}
		if want := "00-0af7651916cd43dd8448eb211c80319c-0000000000000abc" + flags; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		logged := c.LoggedHeader(&hook.Attempt{Delivery: m.Delivery, Span: m.Span}, m.Trace, "client-id", len(m.Body))
		if !slices.Contains(logged, [2]string{"traceparent", got}) {
			t.Errorf("logged as %v", logged)
		}
	}
}

// For trying endpoints a request can be as of another time, or unsigned, and is shown
// as it was sent, without what would let its reader act as the platform.
func TestRequestsForTrying(t *testing.T) {
	var got http.Header
	port := serve(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Clone() })
	c := newClient(t)
	e := c.EndpointAt("http://hooks.test:"+port+"/in", &hook.Subscription{Auth: hook.Auth{Mode: hook.AuthBasic, Username: "ann", Password: "pass-of-ann"}}, &hook.App{ClientID: "client-id", SecretToken: testSecret})
	m := testMessage
	m.At, m.WantRequest = time.Unix(1763758801, 0), true
	r := c.Send(t.Context(), e, m)
	s, _ := webhook.NewSigner(testSecret)
	if _, signature := s.Sign(m.At, m.Body); r.Outcome != 200 || got.Get(webhook.HeaderTimestamp) != "1763758801" || got.Get(webhook.HeaderSignature) != signature {
		t.Errorf("%v with %v", r.Outcome, got)
	}
	for name := range got {
		value := got.Get(name)
		if name == "Authorization" {
			value = "Basic ********"
		}
		if !strings.Contains(r.Request, "\r\n"+name+": "+value+"\r\n") {
			t.Errorf("%s: %s is not in %q", name, value, r.Request)
		}
	}
	if !strings.HasPrefix(r.Request, "POST /in HTTP/1.1\r\n") || strings.Contains(r.Request, "pass-of-ann") {
		t.Errorf("%q", r.Request)
	}
	m.Signatures = func(right string) []string { return []string{right[:5], "v1=" + right[3:]} }
	_, right := s.Sign(m.At, m.Body)
	if r = c.Send(t.Context(), e, m); r.Outcome != 200 || got.Get(webhook.HeaderTimestamp) != "1763758801" || !slices.Equal(got.Values(webhook.HeaderSignature), []string{right[:5], "v1=" + right[3:]}) {
		t.Errorf("%v with %v", r.Outcome, got)
	}
	m.Unsigned, m.WantRequest = true, false
	if r = c.Send(t.Context(), e, m); r.Outcome != 200 || got.Values(webhook.HeaderTimestamp) != nil || got.Values(webhook.HeaderSignature) != nil || r.Request != "" {
		t.Errorf("%v with %v: %q", r.Outcome, got, r.Request)
	}
}

// Whoever sends a request in the platform's place gets the same header for it.
func TestHeaderForOthers(t *testing.T) {
	var got http.Header
	port := serve(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Clone() })
	c := newClient(t)
	app := &hook.App{ClientID: "client-id", SecretToken: testSecret}
	m := testMessage
	m.At = time.Unix(1763758801, 0)
	if r := c.Send(t.Context(), c.EndpointAt("http://hooks.test:"+port+"/in", &hook.Subscription{}, app), m); r.Outcome != 200 {
		t.Fatal(r.Outcome, r.Detail)
	}
	sent := got
	header, problem := c.Header(c.EndpointAt("http://localhost/", &hook.Subscription{}, app), m, m.At)
	if problem != "" || len(header) != len(got)-1 {
		t.Errorf("%v (%s), sent was %v", header, problem, got)
	}
	for _, h := range header {
		if got.Get(h[0]) != h[1] || h[0] != strings.ToLower(h[0]) {
			t.Errorf("%s: %s, sent was %q", h[0], h[1], got.Get(h[0]))
		}
	}
	r := c.Relay(t.Context(), "http://hooks.test:"+port+"/in", header, m.Body)
	if r.Outcome != 200 || !maps.EqualFunc(got, sent, slices.Equal) {
		t.Errorf("relayed is %v (%v), sent was %v", got, r.Outcome, sent)
	}
	for address, header := range map[string][2]string{"http://hooks.test:" + port + "/in": {"x", "a\r\nb: c"}, "::": {"x", "a"}} {
		if r := c.Relay(t.Context(), address, [][2]string{header}, m.Body); r.Outcome != hook.AsyncError || r.Detail == "" {
			t.Errorf("%s %q: %v %s", address, header, r.Outcome, r.Detail)
		}
	}
	if h, problem := c.Header(c.EndpointAt("http://localhost/", &hook.Subscription{}, &hook.App{}), m, m.At); h != nil || !strings.Contains(problem, "secret token is missing") {
		t.Errorf("without a secret token: %v, %s", h, problem)
	}
}

func TestBasicAndOwnHeader(t *testing.T) {
	var got http.Header
	port := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
		if u, p, ok := r.BasicAuth(); ok && (u != "ann" || p != "pass:word") {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	c := newClient(t)
	r := send(t, c, "http://hooks.test:"+port, hook.Auth{Mode: hook.AuthBasic, Username: "ann", Password: "pass:word"})
	if r.Outcome != 200 || got.Get(webhook.HeaderSignature) == "" {
		t.Errorf("Basic: %v, signature %q", r.Outcome, got.Get(webhook.HeaderSignature))
	}
	r = send(t, c, "http://hooks.test:"+port, hook.Auth{Mode: hook.AuthHeader, Header: "X-Api-Key", Value: "k3y"})
	if r.Outcome != 200 || got.Get("X-Api-Key") != "k3y" || got.Get("Authorization") != "" || got.Get(webhook.HeaderSignature) == "" {
		t.Errorf("own header: %v, %v", r.Outcome, got)
	}
}

// What is kept of an answer has no secrets in it, is cut, and is unpacked.
func TestAnswersAreKeptCutAndMasked(t *testing.T) {
	auth := hook.Auth{Mode: hook.AuthBasic, Username: "ann", Password: "pass-of-ann"}
	var respond http.HandlerFunc
	port := serve(t, func(w http.ResponseWriter, r *http.Request) { respond(w, r) })
	c := newClient(t, func(c *Config) { c.KeepBody = 50 })

	respond = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "session=abc")
		w.Header().Set("X-Echo", r.Header.Get("Authorization"))
		w.Header().Set("X-Signature", r.Header.Get(webhook.HeaderSignature))
		fmt.Fprintf(w, "you are ann with pass-of-ann and %s", testSecret)
	}
	r := send(t, c, "http://hooks.test:"+port, auth)
	text := r.Response.Header + string(r.Response.Body)
	for _, secret := range []string{"session=abc", "pass-of-ann", "YW5uOnBhc3Mtb2YtYW5u", "v0=", testSecret} {
		if strings.Contains(text, secret) {
			t.Errorf("kept %q in %q", secret, text)
		}
	}
	if !strings.Contains(text, "X-Echo: Basic ********\n") || !strings.Contains(text, "you are ann with ******** and ********") {
		t.Errorf("kept %q", text)
	}

	odd := hook.Auth{Mode: hook.AuthHeader, Header: "X-Key", Value: `odd"\\value`}
	respond = func(w http.ResponseWriter, r *http.Request) { _ = json.NewEncoder(w).Encode(r.Header.Get("X-Key")) }
	if r := send(t, c, "http://hooks.test:"+port, odd); strings.Contains(string(r.Response.Body), "odd") {
		t.Errorf("kept a secret as JSON has it: %s", r.Response.Body)
	}

	respond = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", 200<<10)) }
	if r := send(t, c, "http://hooks.test:"+port); r.Outcome != 200 || len(r.Response.Body) != 50 || !r.Response.Truncated {
		t.Errorf("a long answer: %v, %d bytes, cut %v", r.Outcome, len(r.Response.Body), r.Response.Truncated)
	}

	respond = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = z.Write(make([]byte, 1<<20)) // a kilobyte on the wire
		_ = z.Close()
	}
	if r := send(t, c, "http://hooks.test:"+port); r.Outcome != 200 || len(r.Response.Body) != 50 || !r.Response.Truncated {
		t.Errorf("a packed answer: %v, %d bytes, cut %v", r.Outcome, len(r.Response.Body), r.Response.Truncated)
	}

	respond = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, strings.Repeat("x", 45)+"pass-of-ann") // the cut goes through the secret
		_ = z.Close()
	}
	if r := send(t, c, "http://hooks.test:"+port, auth); strings.Contains(string(r.Response.Body), "p") {
		t.Errorf("kept half a secret: %q", r.Response.Body)
	}

	respond = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine") }
	if r := send(t, c, "http://hooks.test:"+port); string(r.Response.Body) != "fine" || r.Response.Truncated {
		t.Errorf("a short answer: %q, cut %v", r.Response.Body, r.Response.Truncated)
	}
}

// An answer that is not proper HTTP is quoted without the secrets in it.
func TestImproperAnswersAreMasked(t *testing.T) {
	c := newClient(t)
	for _, said := range []string{"pass-of-ann\r\n\r\n", "HTTP/1.1 pass-of-ann\r\n\r\n", "HTTP/1.1 200 OK\r\npass-of-ann\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: pass-of-ann\r\n\r\n"} {
		port := answer(t, func(c net.Conn) { _, _ = io.WriteString(c, said) })
		r := send(t, c, "http://hooks.test:"+port, hook.Auth{Mode: hook.AuthBasic, Username: "ann", Password: "pass-of-ann"})
		if r.Outcome != hook.RemoteError || strings.Contains(r.Detail, "pass-of-ann") {
			t.Errorf("%q: %v %s", said, r.Outcome, r.Detail)
		}
	}
}

// A connection whose answer was not read to its end carries no other request: the
// rest of one endpoint's answer must not be taken for another one's. Many small
// chunks are too much on the wire before they are too much of a body.
func TestHalfReadAnswersEndTheirConnection(t *testing.T) {
	for name, c := range map[string]struct {
		end   error
		whole bool
	}{
		"read to its end":  {io.EOF, true},
		"too much of it":   {errAnswerTooLong, false},
		"reset on its way": {syscall.ECONNRESET, false},
	} {
		body := io.MultiReader(strings.NewReader("some of it"), iotest.ErrReader(c.end))
		_, kept, whole, _ := readResponse(&http.Response{Header: http.Header{}, Body: io.NopCloser(body)}, 100, nil)
		if whole != c.whole || string(kept.Body) != "some of it" {
			t.Errorf("%s: whole %v, kept %q", name, whole, kept.Body)
		}
	}
}

// An answer that breaks off in its middle is judged by what broke it off, wherever
// that was, and not by what half a line looks like.
func TestAnswersThatBreakOff(t *testing.T) {
	const whole = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\nTrailer: x\r\n\r\n"
	for cut := 1; cut < len(whole); cut++ {
		synctest.Test(t, func(t *testing.T) {
			for _, silent := range []bool{true, false} {
				c := New(Config{Policy: hook.EndpointPolicy{HTTP: true}, DialContext: func(context.Context, string, string) (net.Conn, error) {
					near, far := net.Pipe()
					go func() {
						_, _ = far.Read(make([]byte, 64<<10))
						_, _ = io.WriteString(far, whole[:cut])
						if !silent {
							_ = far.Close()
						}
						_, _ = far.Read(make([]byte, 1)) // until the client gives up
						_ = far.Close()
					}()
					return near, nil
				}})
				r := send(t, c, "http://hooks.test/")
				c.Close()
				want, says := hook.RemoteError, "closed"
				if silent {
					want, says = hook.ReadTimeOut, "no complete answer within 3s"
				}
				if r.Outcome != want || !strings.Contains(r.Detail, says) {
					t.Errorf("cut after %q, silent %v: %v %s", whole[:cut], silent, r.Outcome, r.Detail)
				}
			}
		})
	}
}

// tokenServer is a subscriber's token URL. It hands out t1, t2, ... .
type tokenServer struct {
	mu       sync.Mutex
	requests []string // how each came: client authentication, form
	respond  func(n int) (status int, body string)
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	s.mu.Lock()
	defer s.mu.Unlock()
	u, p, _ := r.BasicAuth()
	s.requests = append(s.requests, fmt.Sprintf("%s:%s %s %s", u, p, r.Header.Get("Content-Type"), r.PostForm.Encode()))
	status, body := http.StatusOK, fmt.Sprintf(`{"access_token":"t%d","token_type":"bearer","expires_in":3600}`, len(s.requests))
	if s.respond != nil {
		status, body = s.respond(len(s.requests))
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func (s *tokenServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

func oauth(port string) hook.Auth {
	return hook.Auth{Mode: hook.AuthOAuth, ClientID: "id", ClientSecret: "s3cret", TokenURL: "http://auth.test:" + port + "/token"}
}

func TestOAuthToken(t *testing.T) {
	ts := &tokenServer{}
	tokens := serve(t, ts.ServeHTTP)
	var got []string
	var mu sync.Mutex
	port := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r.Header.Get("Authorization"))
	})
	c := newClient(t)
	var wg sync.WaitGroup
	for range 8 { // all want a token at once; one fetches it
		wg.Go(func() {
			if r := send(t, c, "http://hooks.test:"+port, oauth(tokens)); r.Outcome != 200 {
				t.Error(r.Outcome, r.Detail)
			}
		})
	}
	wg.Wait()
	for _, v := range got {
		if v != "Bearer t1" {
			t.Errorf("sent with %q", v)
		}
	}
	if want := "id:s3cret application/x-www-form-urlencoded grant_type=client_credentials"; ts.count() != 1 || ts.requests[0] != want {
		t.Errorf("token requests %q", ts.requests)
	}
	// Settings that changed get a token of their own.
	changed := oauth(tokens)
	changed.InBody, changed.Scope, changed.State = true, "a b", "xyz"
	if r := send(t, c, "http://hooks.test:"+port, changed); r.Outcome != 200 {
		t.Error(r.Outcome, r.Detail)
	}
	if want := ": application/x-www-form-urlencoded client_id=id&client_secret=s3cret&grant_type=client_credentials&scope=a+b&state=xyz"; ts.count() != 2 || ts.requests[1] != want {
		t.Errorf("token requests %q", ts.requests)
	}
}

// A 401 is worth one fresh token, and no more.
func TestOAuthTokenThatWasRevoked(t *testing.T) {
	ts := &tokenServer{}
	tokens := serve(t, ts.ServeHTTP)
	var accepts atomic.Value
	accepts.Store("Bearer t1")
	var calls atomic.Int32
	port := serve(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if r.Header.Get("Authorization") != accepts.Load() {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	c := newClient(t)
	for _, step := range []struct {
		accepts      string
		want         hook.Outcome
		calls, fetch int
	}{
		{"Bearer t1", 200, 1, 1},
		{"Bearer t2", 200, 3, 2}, // refused with t1, accepted with t2
		{"none", 401, 5, 3},      // refused with t2 and with t3: final
	} {
		accepts.Store(step.accepts)
		r := send(t, c, "http://hooks.test:"+port, oauth(tokens))
		if r.Outcome != step.want || int(calls.Load()) != step.calls || ts.count() != step.fetch {
			t.Errorf("endpoint accepts %s: %v after %d requests and %d tokens", step.accepts, r.Outcome, calls.Load(), ts.count())
		}
	}
}

func TestTokenURLsThatGiveNone(t *testing.T) {
	port := serve(t, ok)
	c := newClient(t)
	for name, f := range map[string]struct {
		respond func(int) (int, string)
		detail  string
	}{
		"refuses":           {func(int) (int, string) { return 400, `{"error":"invalid_client"}` }, "status 400"},
		"redirects":         {func(int) (int, string) { return 302, "" }, "status 302"},
		"answers with HTML": {func(int) (int, string) { return 200, "<html>" }, "not a JSON object"},
		"no token":          {func(int) (int, string) { return 200, `{"token_type":"bearer","expires_in":3600}` }, "no access_token"},
		"another type":      {func(int) (int, string) { return 200, `{"access_token":"t","token_type":"mac","expires_in":3600}` }, "want bearer"},
		"too short a life":  {func(int) (int, string) { return 200, `{"access_token":"t","token_type":"bearer","expires_in":600}` }, "at least 3599"},
		"no life":           {func(int) (int, string) { return 200, `{"access_token":"t","token_type":"bearer"}` }, "expires_in"},
		"a line feed in it": {func(int) (int, string) {
			return 200, `{"access_token":"t\nX: y","token_type":"bearer","expires_in":3600}`
		}, "characters"},
	} {
		t.Run(name, func(t *testing.T) {
			ts := &tokenServer{respond: f.respond}
			r := send(t, c, "http://hooks.test:"+port, oauth(serve(t, ts.ServeHTTP)))
			if r.Outcome != hook.CannotGetAccessToken || !strings.Contains(r.Detail, f.detail) || strings.Contains(r.Detail, "s3cret") {
				t.Errorf("%v (%s)", r.Outcome, r.Detail)
			}
		})
	}
	for name, url := range map[string]string{
		"may not be called": "http://10-0-0-1.test/",
		"does not exist":    "http://missing.test/",
	} {
		a := oauth("")
		a.TokenURL = url
		if r := send(t, c, "http://hooks.test:"+port, a); r.Outcome != hook.CannotGetAccessToken || !strings.Contains(r.Detail, name) {
			t.Errorf("%s: %v (%s)", name, r.Outcome, r.Detail)
		}
	}
	// One that does not answer ends the attempt by the limit for all that comes before
	// the request.
	short := newClient(t, func(c *Config) { c.ConnectTimeout = 500 * time.Millisecond })
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	hangs := oauth(answer(t, func(net.Conn) { <-release }))
	if r := send(t, short, "http://hooks.test:"+port, hangs); r.Outcome != hook.CannotGetAccessToken || !strings.Contains(r.Detail, "within 500ms") {
		t.Errorf("%v (%s)", r.Outcome, r.Detail)
	}
}

func TestTokenLife(t *testing.T) {
	now := time.Unix(1e9, 0)
	for life, want := range map[string]time.Duration{
		`3600`: time.Hour, `"3600"`: time.Hour, `3599`: 3599 * time.Second, `3600.5`: time.Hour, `1e9`: 24 * time.Hour,
	} {
		got, err := parseToken([]byte(`{"access_token":"t","token_type":"Bearer","expires_in":`+life+`}`), nil, now)
		if err != nil || got.expires.Sub(now) != want {
			t.Errorf("expires_in %s: %v, %v", life, got.expires.Sub(now), err)
		}
	}
}

// FuzzParseToken: what is accepted can be sent as a header and lives long enough.
func FuzzParseToken(f *testing.F) {
	for _, s := range []string{
		`{"access_token":"t","token_type":"bearer","expires_in":3600}`, `{"access_token":"t","token_type":"bearer","expires_in":"3599"}`,
		`{"access_token":"t","token_type":"bearer","expires_in":"NaN"}`, `{"access_token":"t","token_type":"bearer","expires_in":1e400}`, `[]`, `null`, ``,
	} {
		f.Add([]byte(s))
	}
	now := time.Unix(1e9, 0)
	f.Fuzz(func(t *testing.T, body []byte) {
		tok, err := parseToken(body, nil, now)
		if err != nil {
			return
		}
		if !json.Valid(body) {
			t.Errorf("accepted what is not JSON: %q", body)
		}
		if life := tok.expires.Sub(now); life < minExpiry || life > 24*time.Hour {
			t.Errorf("life %v from %q", life, body)
		}
		if tok.text == "" || strings.ContainsAny(tok.text, "\r\n\x00 ") {
			t.Errorf("token %q from %q", tok.text, body)
		}
	})
}
