package webhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/switchhook/switchhook/webhook"
)

const (
	testSecret = "a-secret-token-for-tests"
	nextSecret = "the-one-that-comes-after-it"

	testBody = `{"event":"number_management.peering_number_cnam_updated","event_ts":1763758800123,` +
		`"payload":{"account_id":"AAAAAABBBB","object":{"carrier_code":3457,"phone_numbers":["+12055437350"],"cnam":"José & Söhne"}}}`
)

// now is the receivers' time in most of these tests.
var now = time.Unix(1763758801, 0)

// stamp returns the timestamp header of an attempt that is so much off now.
func stamp(off time.Duration) string { return strconv.FormatInt(now.Add(off).Unix(), 10) }

// hmacHex is what the contract builds on, without the package under test.
func hmacHex(secret, message string) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(message))
	return hex.EncodeToString(m.Sum(nil))
}

// signature is the contract's, without the package under test.
func signature(secret, timestamp, body string) string {
	return "v0=" + hmacHex(secret, "v0:"+timestamp+":"+body)
}

// signed returns the headers of a request whose signature is right for any text as
// its timestamp.
func signed(secret, timestamp, body string) http.Header {
	return http.Header{
		webhook.HeaderTimestamp: {timestamp},
		webhook.HeaderSignature: {signature(secret, timestamp, body)},
	}
}

// receiver returns one for testSecret at now, changed by edit.
func receiver(t testing.TB, edit ...func(*webhook.Config)) *webhook.Receiver {
	t.Helper()
	c := webhook.Config{Secrets: []string{testSecret}, Now: func() time.Time { return now }}
	for _, f := range edit {
		f(&c)
	}
	r, err := webhook.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// verified returns a body as a receiver holds it once the signature was right.
func verified(t testing.TB, body string) *webhook.Verified {
	t.Helper()
	v, err := receiver(t).Verify(signed(testSecret, stamp(0), body), []byte(body))
	if err != nil {
		t.Fatalf("a right signature over %.100q: %v", body, err)
	}
	return v
}

// silent reports the first secret, or right signature of the message, that an
// error tells.
func silent(t testing.TB, err error, timestamp, body string) {
	t.Helper()
	for _, secret := range []string{testSecret, nextSecret} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error tells a secret: %v", err)
		}
		if right := hmacHex(secret, "v0:"+timestamp+":"+body); strings.Contains(err.Error(), right) {
			t.Errorf("the error tells the right signature: %v", err)
		}
	}
}

// The sentinel errors tell refusals apart.
func TestReasonsAreDistinct(t *testing.T) {
	all := sentinels()
	for name, err := range all {
		for other, is := range all {
			if errors.Is(err, is) != (name == other) {
				t.Errorf("%s and %s cannot be told apart", name, other)
			}
		}
	}
}

func sentinels() map[string]error {
	return map[string]error{
		"ErrSignature": webhook.ErrSignature, "ErrTimestamp": webhook.ErrTimestamp, "ErrStale": webhook.ErrStale,
		"ErrChallenge": webhook.ErrChallenge, "ErrBody": webhook.ErrBody, "ErrNoSecret": webhook.ErrNoSecret,
		"ErrSecret": webhook.ErrSecret, "ErrAuth": webhook.ErrAuth, "ErrPayload": webhook.ErrPayload, "ErrFilter": webhook.ErrFilter, "ErrBusy": webhook.ErrBusy,
	}
}

// A program that imports this package gets nothing but the standard library with
// it, and its tests need no more.
func TestOnlyTheStandardLibraryIsImported(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, imported := range f.Imports {
			path, _ := strconv.Unquote(imported.Path.Value)
			first, _, _ := strings.Cut(path, "/")
			own := strings.HasSuffix(file, "_test.go") && path == "github.com/switchhook/switchhook/webhook"
			if strings.Contains(first, ".") && !own {
				t.Errorf("%s imports %s", file, path)
			}
		}
	}
}

// The names of headers can be used with an http.Header as with a map.
func TestHeaderNamesAreCanonical(t *testing.T) {
	for _, name := range []string{
		webhook.HeaderSignature, webhook.HeaderTimestamp, webhook.HeaderRequestID, webhook.HeaderTrackingID, webhook.HeaderClientID,
	} {
		if want := http.CanonicalHeaderKey(name); name != want {
			t.Errorf("%s, want %s", name, want)
		}
	}
}

// raceDetector reports whether it is on; sync.Pool then forgets on purpose.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
