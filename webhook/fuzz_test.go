package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/switchhook/switchhook/webhook"
)

var (
	unixSeconds = regexp.MustCompile(`\A[1-9][0-9]{0,11}\z`)
	answerable  = regexp.MustCompile(`\A[A-Za-z0-9_-]{8,128}\z`)
)

// FuzzVerify: a request is accepted if and only if it has one timestamp, which is
// written as the contract says and within the tolerance, and one signature, which
// is the HMAC of v0:timestamp:body. What was accepted is not judged otherwise when
// it is decoded, and nothing panics.
//
// sign replaces the signature by the right one, which no fuzzer would come upon;
// timestamps and signatures are how often each header is there.
func FuzzVerify(f *testing.F) {
	right := signature(testSecret, stamp(0), testBody)
	add := func(timestamp, signature, body string) {
		for _, sign := range []bool{false, true} {
			f.Add(timestamp, signature, []byte(body), sign, uint8(1), uint8(1))
		}
	}
	add(stamp(0), right, testBody)
	add(stamp(0), right, testBody+" ")
	add(stamp(0), signature(nextSecret, stamp(0), testBody), testBody)
	add(stamp(0), strings.ToUpper(right), testBody)
	add(stamp(0), "v1"+right[2:], testBody)
	add(stamp(0), right[:66], testBody)
	add(stamp(0), right+"0", testBody)
	add(stamp(0), right+", "+right, testBody)
	add(stamp(0)+":", right, testBody)
	for _, timestamp := range []string{
		"", "0", "1", "0" + stamp(0), "+" + stamp(0), "-" + stamp(0), " " + stamp(0), stamp(0) + "\n", stamp(0) + "000", "999999999999", "1000000000000",
		stamp(-5 * time.Minute), stamp(-5*time.Minute - time.Second), stamp(5 * time.Minute), stamp(5*time.Minute + time.Second), "١٧٦٣٧٥٨٨٠١", "1e9", "0x1",
	} {
		add(timestamp, signature(testSecret, timestamp, ""), "")
	}
	add(stamp(0), "", challengeFor("v0:"+stamp(0)+":{}"))
	add(stamp(0), "", challengeFor("abcdefgh"))
	add(stamp(0), "", `{"event":"e","event_ts":{}}`)
	for _, times := range [][2]uint8{{0, 1}, {1, 0}, {2, 1}, {1, 2}, {0, 0}} {
		f.Add(stamp(0), right, []byte(testBody), true, times[0], times[1])
	}

	r := receiver(f)
	f.Fuzz(func(t *testing.T, timestamp, given string, body []byte, sign bool, timestamps, signatures uint8) {
		want := signature(testSecret, timestamp, string(body))
		if sign {
			given = want
		}
		h := http.Header{}
		for range timestamps % 3 {
			h.Add(webhook.HeaderTimestamp, timestamp)
		}
		for range signatures % 3 {
			h.Add(webhook.HeaderSignature, given)
		}
		seconds, _ := strconv.ParseInt(timestamp, 10, 64)
		off := seconds - now.Unix()
		accept := timestamps%3 == 1 && signatures%3 == 1 && given == want &&
			unixSeconds.MatchString(timestamp) && -300 <= off && off <= 300

		v, err := r.Verify(h, body)
		if (err == nil) != accept || (v != nil) != accept {
			t.Fatalf("accepted is %v, want %v: %v", err == nil, accept, err)
		}
		if !accept {
			reasons := 0
			for _, reason := range []error{webhook.ErrSignature, webhook.ErrTimestamp, webhook.ErrStale} {
				if errors.Is(err, reason) {
					reasons++
				}
			}
			if reasons != 1 {
				t.Errorf("%v matches %d reasons", err, reasons)
			}
			if strings.Contains(err.Error(), want[3:]) || strings.Contains(err.Error(), testSecret) {
				t.Errorf("the error tells too much: %v", err)
			}
			return
		}
		if v.Timestamp.Unix() != seconds || v.Secret != 0 {
			t.Errorf("timestamp %v, secret %d", v.Timestamp, v.Secret)
		}
		before := *v
		if e, err := v.Event(); (e == nil) != errors.Is(err, webhook.ErrBody) || (e == nil) != (err != nil) {
			t.Errorf("event %v, error %v", e, err)
		}
		if answer, ok, err := v.Challenge(); (answer != nil) != (ok && err == nil) || err != nil && !errors.Is(err, webhook.ErrChallenge) {
			t.Errorf("answer %s, %v, error %v", answer, ok, err)
		}
		if v.Timestamp != before.Timestamp || v.Secret != before.Secret || v.Replay != before.Replay || v.BodyHash != before.BodyHash {
			t.Error("decoding changed what was verified")
		}
	})
}

// FuzzChallenge: of signed bodies, whatever they are, those and only those are
// answered whose event is the challenge and whose token has the allowed form. The
// answer is that token and its HMAC, and so is never a signature of anything.
func FuzzChallenge(f *testing.F) {
	for _, body := range []string{
		challengeFor("qgg8vlvZRS6UYooatFL8Aw"),
		challengeFor("v0:" + stamp(0) + ":" + testBody),
		challengeFor("v0:" + stamp(0) + ":"),
		challengeFor("v0_" + stamp(0) + "_"),
		challengeFor("abcdefg"), challengeFor(strings.Repeat("x", 128)), challengeFor(strings.Repeat("x", 129)), challengeFor("abcdefgh\n"),
		`{"event":"endpoint.url\u005fvalidation","payload":{"plainToken":"\u0041bcdefgh"}}`,
		`{"event":"endpoint.url_validation","payload":{"plainToken":"\u0076\u0030\u003a1763758801:{}"}}`,
		`{"event":"x","event":"endpoint.url_validation","payload":{"plainToken":"abcdefgh","plainToken":"ABCDEFGH"}}`,
		`{"event":"endpoint.url_validation","event":"x","payload":{"plainToken":"abcdefgh"}}`,
		`{"event":"endpoint.url_validation","event":null,"payload":{"plainToken":"abcdefgh"}}`,
		`{"event":"x","Event":"endpoint.url_validation","Payload":{"PlainToken":"abcdefgh"}}`,
		`{"event":"endpoint.url_validation","payload":{"plainToken":"abcdefgh"},"payload":{}}`,
		`{"event":"endpoint.url_validation","payload":{"plainToken":["abcdefgh"]}}`,
		`{"event":"endpoint.url_validation","payload":"abcdefgh"}`,
		`{"event":"endpoint.url_validation"}`,
		`{"event":"endpoint.url_validation","payload":{"plainToken":"abcdefgh"}}{}`,
		`[{"event":"endpoint.url_validation","payload":{"plainToken":"abcdefgh"}}]`,
		"{\"event\":\"endpoint.url_validation\",\"payload\":{\"plainToken\":\"abcdefgh\xff\"}}",
		`{"event":"endpoint.url_validation","event_ts":1e999,"payload":{"plainToken":"abcdefgh"}}`,
		testBody, `null`, ``, `endpoint.url_validation`,
	} {
		f.Add([]byte(body))
	}
	r := receiver(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		v, err := r.Verify(signed(testSecret, stamp(0), string(body)), body)
		if err != nil {
			t.Fatal(err)
		}
		token, challenged := tokenIn(body)
		answer, ok, err := v.Challenge()
		if ok != challenged {
			t.Fatalf("taken for a challenge is %v, want %v", ok, challenged)
		}
		if want := challenged && answerable.MatchString(token); (answer != nil) != want || (err == nil) != (want || !challenged) {
			t.Fatalf("token %q: answer %s, error %v", token, answer, err)
		}
		if answer == nil {
			return
		}
		var got webhook.ChallengeAnswer
		dec := json.NewDecoder(bytes.NewReader(answer))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&got); err != nil || dec.More() || !utf8.Valid(answer) {
			t.Fatalf("answer %q: %v", answer, err)
		}
		if got.PlainToken != token || got.EncryptedToken != hmacHex(testSecret, token) {
			t.Errorf("answer %s, want %s and %s", answer, token, hmacHex(testSecret, token))
		}
		// Every message that is signed begins so.
		if strings.HasPrefix(got.PlainToken, "v0:") {
			t.Errorf("answer %s is a signature", answer)
		}
	})
}

// tokenIn reads a body as the contract means it: names are exact, and of two
// members of a name the last one counts.
func tokenIn(body []byte) (token string, challenge bool) {
	var root any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber() // a number that fits no type is still JSON
	if !json.Valid(body) || dec.Decode(&root) != nil {
		return "", false
	}
	members, _ := root.(map[string]any)
	payload, _ := members["payload"].(map[string]any)
	token, _ = payload["plainToken"].(string)
	return token, members["event"] == webhook.EventURLValidation
}

// odd are bodies that a program may not expect, all of them signed.
func odd() map[string]string {
	deep := func(n int, open, end string) string { return strings.Repeat(open, n) + strings.Repeat(end, n) }
	return map[string]string{
		"null": `null`, "a list": `[]`, "a number": `7`, "a negative one": `-0.0e-0`, "a text": `"x"`, "true": `true`, "nothing": ``, "a space": ` `,
		"lists, 10,000 deep": deep(10_000, "[", "]"), "lists, 100,000 deep": deep(100_000, "[", "]"), "never closed": strings.Repeat("[", 100_000),
		"an event, 9,000 deep":      `{"event":"meeting.started","payload":` + strings.Repeat(`{"a":`, 9_000) + `1` + strings.Repeat("}", 9_000) + `}`,
		"an event, 10,000 deep":     `{"event":"meeting.started","payload":` + deep(10_000, "[", "]") + `}`,
		"deep in the name":          `{"event":` + deep(10_000, "[", "]") + `}`,
		"payload null":              `{"event":"meeting.started","payload":null}`,
		"payload a list":            `{"event":"meeting.started","payload":[]}`,
		"payload a number":          `{"event":"meeting.started","payload":7}`,
		"no payload":                `{"event":"meeting.started"}`,
		"a number beyond all types": `{"event":"meeting.started","event_ts":1e999999,"payload":{"count":1e999999}}`,
		"a challenge with null":     `{"event":"endpoint.url_validation","payload":null}`,
		"a challenge with a list":   `{"event":"endpoint.url_validation","payload":[[[]]]}`,
		"half a character":          `{"event":"meeting.started","payload":{"topic":"\ud800"}}`,
		"no UTF-8":                  "{\"event\":\"meeting.started\",\"payload\":{\"topic\":\"\xff\"}}",
	}
}

// typed is a handler whose functions decode what they get, so that nothing in between
// may be careless.
func typed(t testing.TB, told func(error)) http.Handler {
	var mux webhook.Mux
	webhook.On(&mux, meetingStarted, func(context.Context, *webhook.Event, meeting) error { return nil })
	mux.Default(func(context.Context, *webhook.Event) error { return nil })
	return receiver(t, func(c *webhook.Config) {
		c.Duplicates = webhook.NewMemory(0)
		c.Error = func(_ *http.Request, err error) { told(err) }
	}).Handler(mux.Serve)
}

// Whatever is signed is answered, and nothing panics on it.
func TestOddBodies(t *testing.T) {
	for name, body := range odd() {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			typed(t, func(err error) {
				if strings.Contains(err.Error(), "panicked") {
					t.Error(err)
				}
				silent(t, err, stamp(0), body)
			}).ServeHTTP(w, post("/", body))
			if !slices.Contains([]int{204, 400, 500}, w.Code) || w.Body.Len() > 0 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

// FuzzHandler: whatever is signed is answered with one of the statuses that there are,
// and with a body only if it is the answer to a challenge.
func FuzzHandler(f *testing.F) {
	for _, body := range odd() {
		if len(body) < 1000 {
			f.Add([]byte(body), webhook.ContentType)
		}
	}
	f.Add([]byte(testBody), "application/json")
	f.Add([]byte(challengeFor("abcdefgh")), "text/plain")
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		w, r := httptest.NewRecorder(), post("/", string(body))
		r.Header["Content-Type"] = []string{contentType}
		typed(t, func(err error) {
			if strings.Contains(err.Error(), "panicked") {
				t.Error(err)
			}
		}).ServeHTTP(w, r)
		if !slices.Contains([]int{200, 204, 400, 415, 500}, w.Code) || (w.Body.Len() > 0) != (w.Code == 200) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
