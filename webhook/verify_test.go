package webhook_test

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/webhook"
)

// What a Signer signs, a Receiver accepts, and says what it accepted.
func TestSignedRequestsAreAccepted(t *testing.T) {
	s, r := newSigner(t, testSecret), receiver(t)
	for name, body := range map[string]string{
		"an event": testBody, "no body": "", "bytes, no text": "\x00\xff\x80\n", "a megabyte": strings.Repeat("x", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			timestamp, signature := s.Sign(now.Add(-time.Minute), []byte(body))
			h := http.Header{}
			h.Set("x-zm-request-timestamp", timestamp) // as the contract writes the names
			h.Set("x-zm-signature", signature)
			v, err := r.Verify(h, []byte(body))
			if err != nil {
				t.Fatal(err)
			}
			if !v.Timestamp.Equal(now.Add(-time.Minute)) || v.Secret != 0 {
				t.Errorf("timestamp %v, secret %d", v.Timestamp, v.Secret)
			}
		})
	}
}

// Every way in which headers can be wrong. The signature, where the case is not
// about it, is right for the first timestamp as it stands, so that nothing but what
// the case says can be the reason.
func TestRefusals(t *testing.T) {
	ts := stamp(0)
	right := signature(testSecret, ts, testBody)
	digits := strings.TrimPrefix(right, "v0=")
	for name, c := range map[string]struct {
		timestamp []string
		signature []string // nil: the right one
		want      error
		text      string // a part of the message
	}{
		"no signature":                   {[]string{ts}, []string{}, webhook.ErrSignature, "X-Zm-Signature is missing"},
		"an empty signature":             {[]string{ts}, []string{""}, webhook.ErrSignature, "64 lower-case hex digits"},
		"two signatures":                 {[]string{ts}, []string{right, right}, webhook.ErrSignature, "X-Zm-Signature is there 2 times"},
		"a wrong one after the right":    {[]string{ts}, []string{right, "v0=" + strings.Repeat("0", 64)}, webhook.ErrSignature, "2 times"},
		"the right one after a wrong":    {[]string{ts}, []string{"v0=" + strings.Repeat("0", 64), right}, webhook.ErrSignature, "2 times"},
		"three signatures":               {[]string{ts}, []string{right, right, right}, webhook.ErrSignature, "3 times"},
		"two signatures in one header":   {[]string{ts}, []string{right + ", " + right}, webhook.ErrSignature, "64 lower-case hex digits"},
		"two without a space":            {[]string{ts}, []string{right + "," + right}, webhook.ErrSignature, "64 lower-case hex digits"},
		"upper-case digits":              {[]string{ts}, []string{"v0=" + strings.ToUpper(digits)}, webhook.ErrSignature, "64 lower-case hex digits"},
		"an upper-case scheme":           {[]string{ts}, []string{"V0=" + digits}, webhook.ErrSignature, "64 lower-case hex digits"},
		"a space before":                 {[]string{ts}, []string{" " + right}, webhook.ErrSignature, "64 lower-case hex digits"},
		"a space after":                  {[]string{ts}, []string{right + " "}, webhook.ErrSignature, "64 lower-case hex digits"},
		"a space instead of a digit":     {[]string{ts}, []string{right[:66] + " "}, webhook.ErrSignature, "64 lower-case hex digits"},
		"another scheme":                 {[]string{ts}, []string{"v1=" + digits}, webhook.ErrSignature, "64 lower-case hex digits"},
		"no scheme":                      {[]string{ts}, []string{digits}, webhook.ErrSignature, "64 lower-case hex digits"},
		"the scheme of another contract": {[]string{ts}, []string{"sha256=" + digits}, webhook.ErrSignature, "64 lower-case hex digits"},
		"63 digits":                      {[]string{ts}, []string{right[:66]}, webhook.ErrSignature, "64 lower-case hex digits"},
		"65 digits":                      {[]string{ts}, []string{right + "0"}, webhook.ErrSignature, "64 lower-case hex digits"},
		"a letter that is no digit":      {[]string{ts}, []string{right[:66] + "g"}, webhook.ErrSignature, "64 lower-case hex digits"},
		"Unicode digits":                 {[]string{ts}, []string{right[:65] + "٣"}, webhook.ErrSignature, "64 lower-case hex digits"},
		"zeros":                          {[]string{ts}, []string{"v0=" + strings.Repeat("0", 64)}, webhook.ErrSignature, "another secret"},
		"another secret's":               {[]string{ts}, []string{signature(nextSecret, ts, testBody)}, webhook.ErrSignature, "another secret"},
		"an empty secret's":              {[]string{ts}, []string{signature("", ts, testBody)}, webhook.ErrSignature, "another secret"},
		"another timestamp's":            {[]string{ts}, []string{signature(testSecret, stamp(time.Second), testBody)}, webhook.ErrSignature, "another secret"},
		"the body's alone":               {[]string{ts}, []string{"v0=" + hmacHex(testSecret, testBody)}, webhook.ErrSignature, "another secret"},

		"no timestamp":                {nil, []string{right}, webhook.ErrTimestamp, "X-Zm-Request-Timestamp is missing"},
		"an empty timestamp":          {[]string{""}, nil, webhook.ErrTimestamp, "not a Unix time in seconds"},
		"two timestamps":              {[]string{ts, ts}, nil, webhook.ErrTimestamp, "X-Zm-Request-Timestamp is there 2 times"},
		"a good one after a stale":    {[]string{stamp(-time.Hour), ts}, nil, webhook.ErrTimestamp, "2 times"},
		"two in one header":           {[]string{ts + "," + ts}, nil, webhook.ErrTimestamp, "not a Unix time in seconds"},
		"a leading zero":              {[]string{"0" + ts}, nil, webhook.ErrTimestamp, "not a Unix time in seconds"},
		"zero":                        {[]string{"0"}, nil, webhook.ErrTimestamp, "not a Unix time in seconds"},
		"a plus":                      {[]string{"+" + ts}, nil, webhook.ErrTimestamp, "not a Unix time in seconds"},
		"a minus":                     {[]string{"-" + ts}, nil, webhook.ErrTimestamp, "not a Unix time in seconds"},
		"a space before it":           {[]string{" " + ts}, nil, webhook.ErrTimestamp, "not a Unix time in seconds"},
		"a space after it":            {[]string{ts + " "}, nil, webhook.ErrTimestamp, "not a Unix time in seconds"},
		"a line feed after it":        {[]string{ts + "\n"}, nil, webhook.ErrTimestamp, "not a Unix time in seconds"},
		"a fraction":                  {[]string{ts + ".0"}, nil, webhook.ErrTimestamp, "not a Unix time in seconds"},
		"an exponent":                 {[]string{"1763758801e0"}, nil, webhook.ErrTimestamp, "not a Unix time in seconds"},
		"hexadecimal":                 {[]string{"0x6920d6d1"}, nil, webhook.ErrTimestamp, "not a Unix time in seconds"},
		"underscores":                 {[]string{"1_763_758_801"}, nil, webhook.ErrTimestamp, "X-Zm-Request-Timestamp"},
		"a date":                      {[]string{"2025-11-21T21:00:01Z"}, nil, webhook.ErrTimestamp, "not a Unix time in seconds"},
		"Unicode digits for it":       {[]string{"١٧٦٣٧٥٨٨٠١"}, nil, webhook.ErrTimestamp, "not a Unix time in seconds"},
		"full-width digits":           {[]string{"１７６３７５８８０１"}, nil, webhook.ErrTimestamp, "not a Unix time in seconds"},
		"milliseconds":                {[]string{ts + "000"}, nil, webhook.ErrTimestamp, "looks like milliseconds"},
		"microseconds":                {[]string{ts + "000000"}, nil, webhook.ErrTimestamp, "not a Unix time in seconds"},
		"more than 64 bits":           {[]string{strings.Repeat("9", 20)}, nil, webhook.ErrTimestamp, "not a Unix time in seconds"},
		"a thousand digits":           {[]string{strings.Repeat("1", 1000)}, nil, webhook.ErrTimestamp, "not a Unix time in seconds"},
		"a colon, to shift the body":  {[]string{ts + `:{"event"`}, nil, webhook.ErrTimestamp, "not a Unix time in seconds"},
		"the year 33658":              {[]string{"999999999999"}, nil, webhook.ErrStale, "is allowed"},
		"the first second of 1970":    {[]string{"1"}, nil, webhook.ErrStale, "is allowed"},
		"an hour ago":                 {[]string{stamp(-time.Hour)}, nil, webhook.ErrStale, "1h0m0s off this clock, and 5m0s is allowed"},
		"an hour ahead":               {[]string{stamp(time.Hour)}, nil, webhook.ErrStale, "1h0m0s off this clock, and 5m0s is allowed"},
		"stale, and signed otherwise": {[]string{stamp(-time.Hour)}, []string{right}, webhook.ErrSignature, "another secret"},
		"nothing at all":              {nil, []string{}, webhook.ErrSignature, "is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			first := ""
			if len(c.timestamp) > 0 {
				first = c.timestamp[0]
			}
			h := http.Header{}
			h[webhook.HeaderTimestamp] = c.timestamp
			h[webhook.HeaderSignature] = c.signature
			if c.signature == nil {
				h[webhook.HeaderSignature] = []string{signature(testSecret, first, testBody)}
			}
			v, err := receiver(t).Verify(h, []byte(testBody))
			if v != nil || err == nil {
				t.Fatalf("accepted: %+v, %v", v, err)
			}
			for name, reason := range sentinels() {
				if errors.Is(err, reason) != (reason == c.want) {
					t.Errorf("%v: it matches %s, or does not match the right reason", err, name)
				}
			}
			if !strings.Contains(err.Error(), c.text) {
				t.Errorf("%q, want %q", err, c.text)
			}
			silent(t, err, first, testBody)
		})
	}
}

// The names of headers that a map was filled with by hand count only in the form of
// net/http; anything else is as if it were not there, and never a way around.
func TestHeadersInOtherForms(t *testing.T) {
	h := http.Header{"x-zm-request-timestamp": {stamp(0)}, "x-zm-signature": {signature(testSecret, stamp(0), testBody)}}
	if v, err := receiver(t).Verify(h, []byte(testBody)); v != nil || !errors.Is(err, webhook.ErrSignature) {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err := receiver(t).Verify(nil, []byte(testBody)); v != nil || !errors.Is(err, webhook.ErrSignature) {
		t.Errorf("no headers: %+v, %v", v, err)
	}
}

// A timestamp may be as far off as the tolerance says, to the nanosecond, in both
// directions.
func TestTolerance(t *testing.T) {
	for name, c := range map[string]struct {
		tolerance time.Duration
		clock     time.Duration // of the receiver, after the timestamp
		accepted  bool
	}{
		"the same second":       {0, 0, true},
		"five minutes old":      {0, 5 * time.Minute, true},
		"a nanosecond older":    {0, 5*time.Minute + 1, false},
		"five minutes ahead":    {0, -5 * time.Minute, true},
		"a nanosecond further":  {0, -5*time.Minute - 1, false},
		"a day old":             {0, 24 * time.Hour, false},
		"a day old, and may be": {24 * time.Hour, 24 * time.Hour, true},
		"one second":            {time.Second, time.Second, true},
		"one second, exceeded":  {time.Second, time.Second + 1, false},
		"one second ahead":      {time.Second, -time.Second, true},
		"and exceeded":          {time.Second, -time.Second - 1, false},
		"less than a second":    {time.Nanosecond, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := receiver(t, func(cf *webhook.Config) {
				cf.Tolerance = c.tolerance
				cf.Now = func() time.Time { return now.Add(c.clock) }
			})
			v, err := r.Verify(signed(testSecret, stamp(0), testBody), []byte(testBody))
			switch {
			case c.accepted && (err != nil || !v.Timestamp.Equal(now)):
				t.Errorf("%+v, %v", v, err)
			case !c.accepted && (v != nil || !errors.Is(err, webhook.ErrStale)):
				t.Errorf("%+v, %v", v, err)
			}
		})
	}
}

// Without a clock of its own a receiver asks the machine's.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := receiver(t, func(c *webhook.Config) { c.Now = nil })
		timestamp, signature := newSigner(t, testSecret).Sign(time.Now(), nil)
		h := http.Header{webhook.HeaderTimestamp: {timestamp}, webhook.HeaderSignature: {signature}}
		time.Sleep(webhook.DefaultTolerance)
		if _, err := r.Verify(h, nil); err != nil {
			t.Errorf("after %v: %v", webhook.DefaultTolerance, err)
		}
		time.Sleep(time.Nanosecond)
		if _, err := r.Verify(h, nil); !errors.Is(err, webhook.ErrStale) {
			t.Errorf("a nanosecond later: %v", err)
		}
	})
}

func TestNegativeLimitsAreRefused(t *testing.T) {
	for _, c := range []webhook.Config{{Tolerance: -1}, {MaxBody: -1}} {
		c.Secrets = []string{testSecret}
		if r, err := webhook.New(c); r != nil || err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}

// While a secret is being changed, and where several apps share an endpoint, each
// of the secrets will do, and the receiver says which it was.
func TestSeveralSecrets(t *testing.T) {
	secrets := []string{nextSecret, testSecret, "that of another app"}
	r := receiver(t, func(c *webhook.Config) { c.Secrets = secrets })
	for i, secret := range secrets {
		v, err := r.Verify(signed(secret, stamp(0), testBody), []byte(testBody))
		if err != nil || v.Secret != i {
			t.Errorf("secret %d: %+v, %v", i, v, err)
		}
	}
	for _, secret := range []string{"", nextSecret + " ", nextSecret + testSecret, strings.ToUpper(testSecret)} {
		if v, err := r.Verify(signed(secret, stamp(0), testBody), []byte(testBody)); v != nil || !errors.Is(err, webhook.ErrSignature) {
			t.Errorf("secret %q: %+v, %v", secret, v, err)
		}
	}
}

// A receiver that was declared but never made refuses whatever comes, also what is
// signed with the secret that it has: none.
func TestZeroReceiverRefusesEverything(t *testing.T) {
	var r webhook.Receiver
	for _, secret := range []string{"", testSecret} {
		at := strconv.FormatInt(time.Now().Unix(), 10)
		if v, err := r.Verify(signed(secret, at, testBody), []byte(testBody)); v != nil || !errors.Is(err, webhook.ErrNoSecret) {
			t.Errorf("signed with %q: %+v, %v", secret, v, err)
		}
	}
	if v, err := r.Verify(http.Header{}, nil); v != nil || err == nil {
		t.Errorf("unsigned: %+v, %v", v, err)
	}
}

// A body that is not to the bit what was signed is refused.
func TestChangedBodies(t *testing.T) {
	r, h := receiver(t), signed(testSecret, stamp(0), testBody)
	refused := func(what string, i int, body []byte) {
		t.Helper()
		if v, err := r.Verify(h, body); v != nil || !errors.Is(err, webhook.ErrSignature) {
			t.Errorf("%s %d: %+v, %v", what, i, v, err)
		}
	}
	for i := range len(testBody) {
		changed := []byte(testBody)
		changed[i] ^= 1
		refused("changed at", i, changed)
		refused("cut at", i, []byte(testBody[:i]))
	}
	refused("with a byte before it", 0, []byte(" "+testBody))
	refused("with a byte after it", 0, []byte(testBody+"\n"))
	refused("twice", 0, []byte(testBody+testBody))
	if _, err := r.Verify(h, []byte(testBody)); err != nil {
		t.Error("unchanged:", err)
	}
}

// Neither headers nor body are changed, and the body is not copied.
func TestVerifyLeavesTheRequestAlone(t *testing.T) {
	h, body := signed(testSecret, stamp(0), testBody), []byte(testBody)
	before := h.Clone()
	v, err := receiver(t).Verify(h, body)
	if err != nil {
		t.Fatal(err)
	}
	e, err := v.Event()
	if err != nil {
		t.Fatal(err)
	}
	if string(body) != testBody || &e.Body[0] != &body[0] {
		t.Error("the body was changed or copied")
	}
	for name := range before {
		if !slices.Equal(h[name], before[name]) {
			t.Errorf("%s: %q", name, h[name])
		}
	}
}

// A filter for replays and one for duplicates each have something to rest on: Replay
// is the same only for the same attempt, BodyHash for all attempts with a body.
func TestReplayAndBodyHash(t *testing.T) {
	r := receiver(t, func(c *webhook.Config) { c.Secrets = []string{testSecret, nextSecret} })
	verify := func(secret string, off time.Duration, body string) *webhook.Verified {
		t.Helper()
		v, err := r.Verify(signed(secret, stamp(off), body), []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	first := verify(testSecret, 0, testBody)
	for name, c := range map[string]struct {
		v                *webhook.Verified
		sameReplay, same bool
	}{
		"the same attempt again":        {verify(testSecret, 0, testBody), true, true},
		"the next attempt":              {verify(testSecret, time.Second, testBody), false, true},
		"an attempt with a new secret":  {verify(nextSecret, 0, testBody), false, true},
		"another body in that second":   {verify(testSecret, 0, testBody+" "), false, false},
		"no body in that second":        {verify(testSecret, 0, ""), false, false},
		"another body, another attempt": {verify(testSecret, time.Second, testBody+" "), false, false},
	} {
		if got := c.v.Replay == first.Replay; got != c.sameReplay {
			t.Errorf("%s: the same Replay is %v", name, got)
		}
		if got := c.v.BodyHash == first.BodyHash; got != c.same {
			t.Errorf("%s: the same BodyHash is %v", name, got)
		}
	}
	if bytes.Equal(first.Replay[:], make([]byte, 32)) || bytes.Equal(first.BodyHash[:], make([]byte, 32)) {
		t.Error("a hash is not filled in")
	}
}
