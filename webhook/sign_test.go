package webhook_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/switchhook/switchhook/webhook"
)

func newSigner(t testing.TB, secret string) *webhook.Signer {
	t.Helper()
	s, err := webhook.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What is signed is what OpenSSL signs:
//
//	printf '%s' "v0:1763758801:$body" | openssl dgst -sha256 -hmac a-secret-token-for-tests
func TestSignaturesOfOpenSSL(t *testing.T) {
	for name, c := range map[string]struct{ body, want string }{
		"an event":       {testBody, "v0=6b1293bf404253c953bba7875453e5da25916feef3698d62e939225ed35b9338"},
		"no body":        {"", "v0=de4de541ff1d3ca81a6f0f3f085af0b0a35ee65ba261b754c63b9d19e0c5a645"},
		"bytes, no text": {"\x00\xff\x80\n", "v0=4ddb2a7c846290c3ff8e64f1e77080d6abe8482c40382f7fb5f98d74840387c9"},
	} {
		t.Run(name, func(t *testing.T) {
			// The time is signed to the second, whatever zone and fraction it comes with.
			at := time.Unix(1763758801, 999_999_999).In(time.FixedZone("somewhere", -7*3600))
			timestamp, got := newSigner(t, testSecret).Sign(at, []byte(c.body))
			if timestamp != "1763758801" || got != c.want {
				t.Errorf("%s %s, want 1763758801 %s", timestamp, got, c.want)
			}
		})
	}
}

// And the answer to a challenge is what OpenSSL computes.
func TestEncryptedTokenOfOpenSSL(t *testing.T) {
	const want = "24fb98936d97c3fffc19592b1a530dad94430214b9db37523b02a36cfb3736e7"
	if got := newSigner(t, testSecret).EncryptToken("qgg8vlvZRS6UYooatFL8Aw"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Anybody can sign with an empty key, so nobody can make one by mistake.
func TestBlankSecretsAreRefused(t *testing.T) {
	for _, secret := range []string{"", " ", "\t", "\r\n", "\u00a0", "\u2003 \v\f", "\ufeff", strings.Repeat("\u200b", 8), strings.Repeat("\x00", 8)} {
		if s, err := webhook.NewSigner(secret); s != nil || !errors.Is(err, webhook.ErrNoSecret) {
			t.Errorf("NewSigner(%q): %v, %v", secret, s, err)
		}
		for _, list := range [][]string{{secret}, {testSecret, secret}, {secret, testSecret}} {
			r, err := webhook.New(webhook.Config{Secrets: list})
			if r != nil || !errors.Is(err, webhook.ErrNoSecret) {
				t.Errorf("New(%q): %v, %v", list, r, err)
				continue
			}
			silent(t, err, "", "")
		}
	}
	if r, err := webhook.New(webhook.Config{}); r != nil || !errors.Is(err, webhook.ErrNoSecret) {
		t.Errorf("New without secrets: %v, %v", r, err)
	}
	// Which one is blank is what one has to know.
	if _, err := webhook.New(webhook.Config{Secrets: []string{testSecret, ""}}); !strings.Contains(err.Error(), "2 of 2") {
		t.Error(err)
	}
}

// One Signer serves all goroutines of a program, and each gets its own answer.
func TestSignerIsSafeForConcurrentUse(t *testing.T) {
	s := newSigner(t, testSecret)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				body := fmt.Sprintf(`{"event":"e","goroutine":%d,"i":%d,"filler":"%s"}`, g, i, strings.Repeat("x", i))
				timestamp, got := s.Sign(now, []byte(body))
				if want := signature(testSecret, stamp(0), body); timestamp != stamp(0) || got != want {
					t.Errorf("signed as %s %s, want %s", timestamp, got, want)
				}
				if got, want := s.EncryptToken(body), hmacHex(testSecret, body); got != want {
					t.Errorf("encrypted as %s, want %s", got, want)
				}
			}
		})
	}
	wg.Wait()
}

// sixHundred is a body of 600 bytes, about what an event has.
func sixHundred() []byte {
	const frame = `{"event":"e","payload":{"text":""}}`
	return []byte(strings.Replace(frame, `""`, `"`+strings.Repeat("x", 600-len(frame))+`"`, 1))
}

// Signing and verifying cost a few small allocations, however long the body is.
func TestAllocations(t *testing.T) {
	if raceDetector() {
		t.Skip("under the race detector a sync.Pool drops some of what it is given")
	}
	s, r := newSigner(t, testSecret), receiver(t)
	for _, body := range [][]byte{sixHundred(), []byte(strings.Repeat("x", 1<<20))} {
		h := signed(testSecret, stamp(0), string(body))
		for name, c := range map[string]struct {
			most float64
			f    func()
		}{
			"Sign": {2, func() { s.Sign(now, body) }}, // the two strings that it returns
			"Verify": {3, func() {
				if _, err := r.Verify(h, body); err != nil {
					t.Error(err)
				}
			}},
		} {
			if got := testing.AllocsPerRun(20, c.f); got > c.most {
				t.Errorf("%s of %d bytes: %v allocations, at most %v are expected", name, len(body), got, c.most)
			}
		}
	}
}

// Handling a request costs its body and a few small allocations more, most of them
// those of its context.
func TestHandlerAllocations(t *testing.T) {
	if raceDetector() {
		t.Skip("under the race detector a sync.Pool drops some of what it is given")
	}
	const most = 18
	for _, body := range []string{string(sixHundred()), `{"event":"e","payload":"` + strings.Repeat("x", 60<<10) + `"}`} {
		if got := testing.AllocsPerRun(20, handling(receiver(t), body)); got > most {
			t.Errorf("a body of %d bytes: %v allocations, at most %d are expected", len(body), got, most)
		}
	}
}

// handling returns a function that has the same request handled again and again.
func handling(r *webhook.Receiver, body string) func() {
	h, req, w := r.Handler(none), post("/", body), &noAnswer{h: http.Header{}}
	in := strings.NewReader(body)
	req.Body = io.NopCloser(in)
	return func() {
		in.Reset(body)
		if h.ServeHTTP(w, req); w.status != http.StatusNoContent {
			panic(w.status)
		}
	}
}

// noAnswer is where answers go that nobody reads.
type noAnswer struct {
	h      http.Header
	status int
}

func (n *noAnswer) Header() http.Header         { return n.h }
func (n *noAnswer) Write(p []byte) (int, error) { return len(p), nil }
func (n *noAnswer) WriteHeader(status int)      { n.status = status }

func BenchmarkHandler(b *testing.B) {
	body := sixHundred()
	handle := handling(receiver(b), string(body))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		handle()
	}
}

func BenchmarkSign(b *testing.B) {
	s, body := newSigner(b, testSecret), sixHundred()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		s.Sign(now, body)
	}
}

func BenchmarkVerify(b *testing.B) {
	r, body := receiver(b), sixHundred()
	h := signed(testSecret, stamp(0), string(body))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Verify(h, body); err != nil {
			b.Fatal(err)
		}
	}
}
