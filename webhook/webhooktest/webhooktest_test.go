package webhooktest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/webhook"
	"github.com/switchhook/switchhook/webhook/webhooktest"
)

const secret = "a-secret-token-for-tests"

// world is a platform with a receiver as its endpoint.
func world(t testing.TB, f func(context.Context, *webhook.Event) error, edit ...func(*webhook.Config)) *webhooktest.Platform {
	t.Helper()
	p := webhooktest.NewPlatform(secret)
	c := webhook.Config{Secrets: []string{secret}, Now: p.Now}
	for _, e := range edit {
		e(&c)
	}
	r, err := webhook.New(c)
	if err != nil {
		t.Fatal(err)
	}
	p.Endpoint = r.Handler(f)
	return p
}

var body = webhooktest.Event("user.created", map[string]string{"name": "Ann & Bob \u2028"})

// A request is what a receiver accepts, whether it goes to a handler or over a wire.
func TestNewRequest(t *testing.T) {
	r, err := webhook.New(webhook.Config{Secrets: []string{secret}})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	h := r.Handler(func(_ context.Context, e *webhook.Event) error {
		ids = append(ids, e.RequestID)
		if e.Name != "user.created" || string(e.Payload) != "{\"name\":\"Ann & Bob \u2028\"}" || e.TrackingID == "" {
			t.Errorf("%+v", e)
		}
		return nil
	})
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, webhooktest.NewRequest("/", secret, body, time.Now())); w.Code != 204 {
		t.Errorf("%d", w.Code)
	}
	s := httptest.NewServer(h)
	defer s.Close()
	res, err := s.Client().Do(webhooktest.NewRequest(s.URL, secret, body, time.Now()))
	if err != nil || res.StatusCode != 204 {
		t.Fatal(res, err)
	}
	res.Body.Close()
	if len(ids) != 2 || ids[0] == ids[1] || len(ids[0]) != 36 {
		t.Errorf("%q", ids)
	}
}

// Each failure is followed by another attempt as the contract has it, and what is
// refused or taken by none.
func TestDeliver(t *testing.T) {
	failed := errors.New("the database is away")
	for name, c := range map[string]struct {
		fail     []error // of the attempts before the one that succeeds
		attempts int
		after    time.Duration
		ok       bool
	}{
		"taken":          {nil, 1, 0, true},
		"at the second":  {[]error{failed}, 2, 5 * time.Minute, true},
		"at the last":    {[]error{failed, failed, failed}, 4, 85 * time.Minute, true},
		"never":          {[]error{failed, failed, failed, failed}, 4, 85 * time.Minute, false},
		"refused":        {[]error{webhook.Permanent(failed)}, 1, 0, false},
		"refused, later": {[]error{failed, webhook.Permanent(failed)}, 2, 5 * time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			var ids []string
			p := world(t, func(_ context.Context, e *webhook.Event) error {
				ids = append(ids, e.RequestID)
				if n := len(ids) - 1; n < len(c.fail) {
					return c.fail[n]
				}
				return nil
			})
			start := p.Now()
			d := p.Deliver(body)
			if d.OK() != c.ok || len(d.Attempts) != c.attempts || len(ids) != c.attempts || p.Now().Sub(start) != c.after {
				t.Errorf("%+v after %v", d, p.Now().Sub(start))
			}
			for _, id := range ids {
				if id != d.RequestID {
					t.Errorf("request ids %q", ids)
				}
			}
		})
	}
}

// What a receiver must cope with is what it gets: attempts and replays of what it has
// already, with a fresh request id as well, and events out of order.
func TestDuplicatesAndOrder(t *testing.T) {
	var got []string
	p := world(t, func(_ context.Context, e *webhook.Event) error {
		got = append(got, e.Name+" "+e.Timestamp.UTC().Format("05"))
		return nil
	})
	p.Advance(time.Minute - time.Duration(p.Now().Second())*time.Second)
	d := p.Deliver(body)
	p.Attempt(d)
	p.Replay(d)
	p.Replay(d, "another-id")
	if want := "user.created 00,user.created 01,user.created 01,user.created 01"; strings.Join(got, ",") != want || len(d.Attempts) != 2 {
		t.Errorf("%q, want %s", got, want)
	}
	got = nil
	all := p.Reorder(webhooktest.Event("a", nil), webhooktest.Event("b", nil), webhooktest.Event("c", nil))
	if s := strings.Join(got, ","); len(all) != 3 || !all[0].OK() || !strings.HasPrefix(s, "c ") || !strings.Contains(s, ",a ") {
		t.Errorf("%q", got)
	}

	got = nil
	filtered := world(t, func(_ context.Context, e *webhook.Event) error {
		got = append(got, e.Name)
		return nil
	}, func(c *webhook.Config) { c.Duplicates = webhook.NewMemory(0) })
	d = filtered.Deliver(body)
	for _, a := range []webhooktest.Answer{filtered.Attempt(d), filtered.Replay(d), filtered.Replay(d, "another-id")} {
		if !a.OK() {
			t.Errorf("%+v", a)
		}
	}
	if len(got) != 1 {
		t.Errorf("%q", got)
	}
}

// A replay is refused when it is too late for it.
func TestLateReplay(t *testing.T) {
	p := world(t, func(context.Context, *webhook.Event) error { return nil })
	d := p.Deliver(body)
	p.Advance(webhook.DefaultTolerance + time.Second)
	if a := p.Replay(d); a.Status != 401 {
		t.Errorf("%+v", a)
	}
	if a := p.Attempt(d); !a.OK() {
		t.Errorf("another attempt: %+v", a)
	}
}

// An endpoint proves itself only by the right answer.
func TestChallenge(t *testing.T) {
	if err := world(t, nil).Challenge(); err != nil {
		t.Error(err)
	}
	says := func(status int, text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		})
	}
	other, err := webhook.New(webhook.Config{Secrets: []string{"the secret of another app"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		endpoint http.Handler
		text     string
	}{
		"another secret":   {other.Handler(nil), "status 401"},
		"no content":       {says(204, ""), "status 204"},
		"not JSON":         {says(200, "ok"), "not JSON"},
		"an empty object":  {says(200, "{}"), "plainToken"},
		"says nothing":     {http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(time.Minute) }), "within 3s"},
		"panics":           {http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("out of paper") }), "out of paper"},
		"echoes the token": {http.HandlerFunc(echo), "encryptedToken"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := webhooktest.NewPlatform(secret)
				p.Endpoint = c.endpoint
				if err := p.Challenge(); err == nil || !strings.Contains(err.Error(), c.text) {
					t.Errorf("%v, want %q", err, c.text)
				}
				time.Sleep(time.Minute) // until the slow one has ended
			})
		})
	}
}

// echo answers with the token, as if nobody had to know anything.
func echo(w http.ResponseWriter, r *http.Request) {
	text, _ := io.ReadAll(r.Body)
	_, after, _ := strings.Cut(string(text), `"plainToken":"`)
	token, _, _ := strings.Cut(after, `"`)
	_, _ = io.WriteString(w, `{"plainToken":"`+token+`","encryptedToken":"`+token+`"}`)
}

// An endpoint has as long as the platform waits, and not longer.
func TestSlowEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := world(t, func(ctx context.Context, _ *webhook.Event) error {
			time.Sleep(10 * time.Second)
			return nil
		})
		start := time.Now()
		d := p.Deliver(body)
		if len(d.Attempts) != 4 || d.OK() || d.Attempts[0].Err == nil || time.Since(start) != 4*webhook.SendTimeout {
			t.Errorf("%+v after %v", d, time.Since(start))
		}
		time.Sleep(time.Minute)
	})
}

// What the subscription's custom header says comes with every request, challenges
// included.
func TestAuthorize(t *testing.T) {
	p := world(t, func(context.Context, *webhook.Event) error { return nil }, func(c *webhook.Config) { c.Auth = []webhook.Auth{webhook.Basic("ann", "pass:word")} })
	if err := p.Challenge(); err == nil {
		t.Error("proven without a password")
	}
	p.Authorize = func(r *http.Request) { r.SetBasicAuth("ann", "pass:word") }
	if err := p.Challenge(); err != nil {
		t.Error(err)
	}
	if d := p.Deliver(body); !d.OK() {
		t.Errorf("%+v", d)
	}
}

// Mistakes of a test show in the test.
func TestMistakes(t *testing.T) {
	for name, f := range map[string]func(){
		"a blank secret":                func() { webhooktest.NewRequest("/", " ", body, time.Now()) },
		"a payload that is none":        func() { webhooktest.Event("e", func() {}) },
		"a number that does not arrive": func() { webhooktest.Event("e", 1<<60) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}
