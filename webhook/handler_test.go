package webhook_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/webhook"
)

// reports collects what Config.Error is told.
type reports struct {
	mu   sync.Mutex
	list []error
}

func (r *reports) hear(req *http.Request, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if req == nil {
		err = errors.Join(err, errors.New("and there is no request with it"))
	}
	r.list = append(r.list, err)
}

func (r *reports) all() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list
}

func none(context.Context, *webhook.Event) error { return nil }

// post is a signed request as the platform makes it.
func post(url, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, url, strings.NewReader(body))
	r.RequestURI = ""
	setSigned(r, stamp(0), body)
	r.Header.Set("Content-Type", webhook.ContentType)
	r.Header.Set(webhook.HeaderRequestID, "0193a4f2_b7c0_0001_7f3e_9c2d11aa0b52")
	r.Header.Set(webhook.HeaderTrackingID, "v=2.0;clid=us;rid=WEB_0193a4f2b7c000010000000000000abc")
	return r
}

// exchange sends a request over a real connection and returns the whole answer.
func exchange(t testing.TB, s *httptest.Server, r *http.Request) (*http.Response, string) {
	t.Helper()
	res, err := s.Client().Do(r)
	if err != nil {
		t.Error(err)
		return &http.Response{}, ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	return res, string(body)
}

// Every answer that a handler gives, and that it tells Config.Error of each request
// that it did not like, once.
func TestAnswers(t *testing.T) {
	failed := errors.New("the database is away")
	returns := func(err error) func(context.Context, *webhook.Event) error {
		return func(context.Context, *webhook.Event) error { return err }
	}
	header := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	method := func(m string) func(*http.Request) { return func(r *http.Request) { r.Method = m } }
	const maxBody = 1000
	exactly := func(n int) string {
		const frame = `{"event":"e","payload":""}`
		return strings.Replace(frame, `""`, `"`+strings.Repeat("x", n-len(frame))+`"`, 1)
	}
	for name, c := range map[string]struct {
		body   string                                      // default: testBody
		edit   func(*http.Request)                         // default: nothing
		f      func(context.Context, *webhook.Event) error // default: must not be called
		status int
		is     error  // what the report matches, beside having the text
		report string // a part of what is reported; empty: nothing is
	}{
		"accepted":                 {f: none, status: 204},
		"a body as long as may be": {body: exactly(maxBody), f: none, status: 204},
		"media type alone":         {edit: header("Content-Type", "application/json"), f: none, status: 204},
		"media type in capitals":   {edit: header("Content-Type", "Application/JSON;charset=UTF-8"), f: none, status: 204},
		"an unknown event":         {body: `{"event":"nobody.knows_me"}`, f: none, status: 204},

		"an error":                       {f: returns(failed), status: 500, is: failed, report: "the database is away"},
		"a panic":                        {f: func(context.Context, *webhook.Event) error { panic("out of paper") }, status: 500, report: "panicked: out of paper"},
		"a panic with an error":          {f: func(context.Context, *webhook.Event) error { panic(failed) }, status: 500, report: "the database is away"},
		"a panic with nil":               {f: func(context.Context, *webhook.Event) error { panic(nil) }, status: 500, report: "panicked"},
		"a panic that means to abort":    {f: func(context.Context, *webhook.Event) error { panic(http.ErrAbortHandler) }, status: 500, report: "panicked"},
		"an index out of range":          {f: func(_ context.Context, e *webhook.Event) error { return []error{}[len(e.Name)] }, status: 500, report: "handler_test.go"},
		"a permanent error":              {f: returns(webhook.Permanent(failed)), status: 400, is: failed, report: "the database is away"},
		"a permanent error, wrapped":     {f: returns(fmt.Errorf("store: %w", webhook.Permanent(failed))), status: 400, is: failed, report: "store: the database is away"},
		"a permanent error among others": {f: returns(errors.Join(io.EOF, webhook.Permanent(failed))), status: 400, is: failed, report: "the database is away"},
		"permanent, but no error":        {f: returns(webhook.Permanent(nil)), status: 204},

		"no signature":          {edit: header(webhook.HeaderSignature), status: 401, is: webhook.ErrSignature, report: "missing"},
		"two signatures":        {edit: func(r *http.Request) { r.Header.Add(webhook.HeaderSignature, r.Header.Get(webhook.HeaderSignature)) }, status: 401, is: webhook.ErrSignature, report: "2 times"},
		"another secret's":      {edit: header(webhook.HeaderSignature, signature(nextSecret, stamp(0), testBody)), status: 401, is: webhook.ErrSignature, report: "another secret"},
		"no timestamp":          {edit: header(webhook.HeaderTimestamp), status: 401, is: webhook.ErrTimestamp, report: "missing"},
		"an old timestamp":      {edit: func(r *http.Request) { setSigned(r, stamp(-time.Hour), testBody) }, status: 401, is: webhook.ErrStale, report: "is allowed"},
		"no event and unsigned": {body: "x", edit: header(webhook.HeaderSignature), status: 401, is: webhook.ErrSignature, report: "missing"},

		"not JSON":        {body: "event=e", status: 400, is: webhook.ErrBody, report: "not a JSON object"},
		"nothing":         {body: "\n", status: 400, is: webhook.ErrBody, report: "not a JSON object"},
		"no event in it":  {body: `{"payload":{}}`, status: 400, is: webhook.ErrBody, report: "no event"},
		"a bad challenge": {body: challengeFor("v0:" + stamp(0) + ":{}"), status: 400, is: webhook.ErrChallenge, report: "plainToken"},

		"GET":                        {edit: method(http.MethodGet), status: 405, report: `"GET"`},
		"HEAD":                       {edit: method(http.MethodHead), status: 405, report: `"HEAD"`},
		"PUT":                        {edit: method(http.MethodPut), status: 405, report: `"PUT"`},
		"OPTIONS":                    {edit: method(http.MethodOptions), status: 405, report: `"OPTIONS"`},
		"a method of somebody's own": {edit: method(strings.Repeat("X", 5000)), status: 405, report: `"XXXXXXXXXXXXXXXXXXXX"`},

		"a byte too many":             {body: exactly(maxBody + 1), status: 413, report: "more than 1000 bytes"},
		"many bytes too many":         {body: exactly(100 * maxBody), status: 413, report: "more than 1000 bytes"},
		"too many, of unknown length": {body: exactly(maxBody + 1), edit: func(r *http.Request) { r.ContentLength = -1 }, status: 413, report: "more than 1000 bytes"},

		"no media type":            {edit: header("Content-Type"), status: 415, report: "content-type"},
		"a form":                   {edit: header("Content-Type", "application/x-www-form-urlencoded"), status: 415, report: "content-type"},
		"text":                     {edit: header("Content-Type", "text/plain"), status: 415, report: "content-type"},
		"nearly JSON":              {edit: header("Content-Type", "application/jsonp"), status: 415, report: "content-type"},
		"a malformed media type":   {edit: header("Content-Type", "application/json; charset"), status: 415, report: "content-type"},
		"a challenge in the wrong": {body: challengeFor("abcdefgh"), edit: header("Content-Type", "text/plain"), status: 415, report: "content-type"},
		"an unsigned challenge":    {body: challengeFor("abcdefgh"), edit: header(webhook.HeaderSignature), status: 401, is: webhook.ErrSignature, report: "missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // a server lingers for a moment after it has refused a body halfway
			var heard reports
			called := false
			r := receiver(t, func(cf *webhook.Config) { cf.MaxBody, cf.Error = maxBody, heard.hear })
			s := httptest.NewServer(r.Handler(func(ctx context.Context, e *webhook.Event) error {
				called = true
				return c.f(ctx, e)
			}))
			defer s.Close()
			if c.body == "" {
				c.body = testBody
			}
			req := post(s.URL, c.body)
			if c.edit != nil {
				c.edit(req)
			}
			res, body := exchange(t, s, req)
			if res.StatusCode != c.status || body != "" {
				t.Errorf("answered %d with %q, want %d and nothing", res.StatusCode, body, c.status)
			}
			if allow := res.Header.Get("Allow"); (allow == http.MethodPost) != (c.status == 405) || res.Header.Get("Content-Type") != "" {
				t.Errorf("Allow: %q, Content-Type: %q", allow, res.Header.Get("Content-Type"))
			}
			if called != (c.f != nil) {
				t.Errorf("the function was called: %v", called)
			}
			all := heard.all()
			if c.report == "" {
				if len(all) > 0 {
					t.Errorf("reported: %v", all)
				}
				return
			}
			if len(all) != 1 || !strings.Contains(all[0].Error(), c.report) {
				t.Fatalf("reported: %v, want once %q", all, c.report)
			}
			if c.is != nil && !errors.Is(all[0], c.is) {
				t.Errorf("%v does not match %v", all[0], c.is)
			}
			silent(t, all[0], stamp(0), c.body)
		})
	}
}

// setSigned signs the request for a time.
func setSigned(r *http.Request, timestamp, body string) {
	maps.Copy(r.Header, signed(testSecret, timestamp, body))
}

// A receiver need not listen to errors.
func TestErrorsNeedNoListener(t *testing.T) {
	w := httptest.NewRecorder()
	receiver(t).Handler(func(context.Context, *webhook.Event) error { panic("out of paper") }).ServeHTTP(w, post("/", testBody))
	if w.Code != 500 || w.Body.Len() > 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// The function gets the event as it was sent.
func TestHandlerHandsTheEventOn(t *testing.T) {
	var got *webhook.Event
	s := httptest.NewServer(receiver(t).Handler(func(_ context.Context, e *webhook.Event) error {
		got = e
		return nil
	}))
	defer s.Close()
	if res, _ := exchange(t, s, post(s.URL, testBody)); res.StatusCode != 204 {
		t.Fatal(res.Status)
	}
	switch {
	case got.Name != "number_management.peering_number_cnam_updated", !got.Time.Equal(time.UnixMilli(1763758800123)), string(got.Body) != testBody:
		t.Errorf("%s at %v: %s", got.Name, got.Time, got.Body)
	case got.RequestID != "0193a4f2_b7c0_0001_7f3e_9c2d11aa0b52", got.TrackingID != "v=2.0;clid=us;rid=WEB_0193a4f2b7c000010000000000000abc":
		t.Errorf("request id %q, tracking id %q", got.RequestID, got.TrackingID)
	case !got.Timestamp.Equal(now), got.Secret != 0:
		t.Errorf("timestamp %v, secret %d", got.Timestamp, got.Secret)
	}
}

// The platform's question is answered without the function.
func TestHandlerAnswersTheChallenge(t *testing.T) {
	var heard reports
	r := receiver(t, func(c *webhook.Config) { c.Error = heard.hear })
	s := httptest.NewServer(r.Handler(func(context.Context, *webhook.Event) error {
		t.Error("the function was called")
		return nil
	}))
	defer s.Close()
	res, body := exchange(t, s, post(s.URL, challengeFor("qgg8vlvZRS6UYooatFL8Aw")))
	const want = `{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"24fb98936d97c3fffc19592b1a530dad94430214b9db37523b02a36cfb3736e7"}`
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json; charset=utf-8" || body != want {
		t.Errorf("%d %s %s", res.StatusCode, res.Header.Get("Content-Type"), body)
	}
	if all := heard.all(); len(all) > 0 {
		t.Errorf("reported: %v", all)
	}
}

// No answer that a forged challenge gets has in it what it was made for.
func TestHandlerSignsNoForgedRequests(t *testing.T) {
	const forged = `{"event":"e"}`
	s := httptest.NewServer(receiver(t).Handler(none))
	defer s.Close()
	res, body := exchange(t, s, post(s.URL, challengeFor("v0:"+stamp(0)+":"+forged)))
	if text := fmt.Sprint(res.Header, body); res.StatusCode != 400 || strings.Contains(text, strings.TrimPrefix(signature(testSecret, stamp(0), forged), "v0=")) {
		t.Errorf("%d %s", res.StatusCode, text)
	}
}

// A receiver that was never made refuses whatever comes, as a handler as well.
func TestZeroReceiverHandlesNothing(t *testing.T) {
	var r webhook.Receiver
	h := r.Handler(func(context.Context, *webhook.Event) error {
		t.Error("the function was called")
		return nil
	})
	for _, body := range []string{testBody, "", challengeFor("abcdefgh")} {
		for _, secret := range []string{testSecret, ""} {
			req, w := post("/", body), httptest.NewRecorder()
			req.Header.Set(webhook.HeaderSignature, signature(secret, stamp(0), body))
			if h.ServeHTTP(w, req); w.Code < 400 || w.Body.Len() > 0 {
				t.Errorf("%.20q signed with %q: %d %s", body, secret, w.Code, w.Body)
			}
		}
	}
}

// A body that breaks off is not the receiver's fault, and is not let through.
func TestBodyThatBreaksOff(t *testing.T) {
	var heard reports
	broken := errors.New("the line went dead")
	r := receiver(t, func(c *webhook.Config) { c.Error = heard.hear })
	req := post("/", testBody)
	req.Body = io.NopCloser(io.MultiReader(strings.NewReader(testBody), iotest.ErrReader(broken)))
	w := httptest.NewRecorder()
	r.Handler(func(context.Context, *webhook.Event) error {
		t.Error("the function was called")
		return nil
	}).ServeHTTP(w, req)
	if all := heard.all(); w.Code != 400 || len(all) != 1 || !errors.Is(all[0], broken) {
		t.Errorf("%d, reported: %v", w.Code, all)
	}
}

// slow is a body that takes its time to arrive.
type slow struct {
	io.Reader
	pause time.Duration
}

func (s *slow) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	s.pause = 0
	return s.Reader.Read(p)
}

// The function is told to end while the platform still waits, which it does from
// the moment it sends: a body that is slow to arrive leaves less time.
func TestDeadline(t *testing.T) {
	for name, pause := range map[string]time.Duration{"at once": 0, "after a second": time.Second, "after two": 2 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				req := post("/", testBody)
				req.Body = io.NopCloser(&slow{strings.NewReader(testBody), pause})
				w := httptest.NewRecorder()
				receiver(t).Handler(func(ctx context.Context, _ *webhook.Event) error {
					<-ctx.Done()
					if took := time.Since(start); took >= webhook.SendTimeout || took < webhook.SendTimeout-500*time.Millisecond {
						t.Errorf("the context ended after %v, and the platform waits for %v", took, webhook.SendTimeout)
					}
					return ctx.Err()
				}).ServeHTTP(w, req)
				if w.Code != 500 {
					t.Errorf("%d", w.Code)
				}
			})
		})
	}
}

// A sender that hangs up ends the function's context.
func TestSenderHangsUp(t *testing.T) {
	ctx, hangUp := context.WithCancel(t.Context())
	receiver(t).Handler(func(ctx context.Context, _ *webhook.Event) error {
		hangUp()
		if <-ctx.Done(); !errors.Is(ctx.Err(), context.Canceled) {
			t.Error(ctx.Err())
		}
		return nil
	}).ServeHTTP(httptest.NewRecorder(), post("/", testBody).WithContext(ctx))
}

// One handler serves many senders, and mixes nothing up.
func TestHandlerIsSafeForConcurrentUse(t *testing.T) {
	const senders, each = 8, 25
	var heard reports
	var events atomic.Int32
	r := receiver(t, func(c *webhook.Config) { c.Error = heard.hear })
	s := httptest.NewServer(r.Handler(func(_ context.Context, e *webhook.Event) error {
		events.Add(1)
		if want := fmt.Sprintf(`"%s"`, e.Name); !bytes.Equal(e.Payload, []byte(want)) || e.RequestID != e.Name {
			t.Errorf("event %s has payload %s and request id %s", e.Name, e.Payload, e.RequestID)
		}
		return nil
	}))
	defer s.Close()
	var wg sync.WaitGroup
	for g := range senders {
		wg.Go(func() {
			for i := range each {
				name := fmt.Sprintf("event.%d_%d", g, i)
				good := post(s.URL, fmt.Sprintf(`{"event":"%s","payload":"%s"}`, name, name))
				good.Header.Set(webhook.HeaderRequestID, name)
				if res, _ := exchange(t, s, good); res.StatusCode != 204 {
					t.Errorf("%s: %s", name, res.Status)
				}
				bad := post(s.URL, testBody)
				bad.Header.Set(webhook.HeaderSignature, signature(nextSecret, stamp(0), testBody))
				if res, _ := exchange(t, s, bad); res.StatusCode != 401 {
					t.Errorf("wrongly signed: %s", res.Status)
				}
			}
		})
	}
	wg.Wait()
	if n, refused := events.Load(), len(heard.all()); n != senders*each || refused != senders*each {
		t.Errorf("%d events and %d refusals, want %d of each", n, refused, senders*each)
	}
}

func readCloser(text string) io.ReadCloser { return io.NopCloser(strings.NewReader(text)) }
