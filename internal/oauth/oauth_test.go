package oauth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/oauth"
)

var now = time.Date(2026, 1, 31, 23, 30, 0, 0, time.UTC) // tokens of this hour end on another day

func tokens(master string) *oauth.Tokens {
	return oauth.New(func(purpose string) []byte {
		sum := sha256.Sum256([]byte(master + purpose))
		return sum[:]
	})
}

func app() *hook.App {
	return &hook.App{ID: "app-1", Account: "acme", ClientSecret: hook.HashSecret("first")}
}

func finds(apps ...*hook.App) func(string) *hook.App {
	return func(id string) *hook.App {
		for _, a := range apps {
			if a.ID == id {
				return a
			}
		}
		return nil
	}
}

// A token grants what it was issued for, on every node, until its hour is over.
func TestTokens(t *testing.T) {
	a := app()
	token := tokens("m").Issue(a, a.ClientSecret, "customer", now)
	other := tokens("m") // another node
	for _, at := range []time.Duration{0, time.Minute, oauth.Life - time.Second} {
		g, err := other.Read(token, now.Add(at), finds(a))
		if err != nil || g.App != a || g.Account != "customer" {
			t.Errorf("after %v: %+v, %v", at, g, err)
		}
	}
	for _, at := range []time.Duration{oauth.Life, oauth.Life + time.Hour, -2 * time.Hour} {
		if _, err := other.Read(token, now.Add(at), finds(a)); !errors.Is(err, oauth.ErrToken) {
			t.Errorf("after %v: %v", at, err)
		}
	}
	if again := other.Issue(a, a.ClientSecret, "customer", now); again == token {
		t.Error("two tokens are the same")
	}
	if _, err := tokens("another master key").Read(token, now, finds(a)); !errors.Is(err, oauth.ErrToken) {
		t.Errorf("under another key: %v", err)
	}
}

// With the app or the secret all tokens end; with a secret that was replaced, when
// its time is over.
func TestRevocation(t *testing.T) {
	tk, a := tokens("m"), app()
	token := tk.Issue(a, a.ClientSecret, "", now)
	for name, c := range map[string]struct {
		change func(*hook.App)
		valid  bool
	}{
		"nothing":               {func(*hook.App) {}, true},
		"disabled":              {func(a *hook.App) { a.Disabled = true }, false},
		"another secret":        {func(a *hook.App) { a.ClientSecret = hook.HashSecret("second") }, false},
		"replaced, valid still": {rotate(time.Minute), true},
		"replaced, over":        {rotate(0), false},
		"replaced, long ago":    {rotate(-time.Hour), false},
		"no secret at all":      {func(a *hook.App) { a.ClientSecret = hook.SecretHash{} }, false},
		"other scopes":          {func(a *hook.App) { a.Scopes = []string{"x"} }, true},
		"other signing secret":  {func(a *hook.App) { a.SecretToken = "another" }, true},
	} {
		changed := *a
		c.change(&changed)
		if _, err := tk.Read(token, now, finds(&changed)); (err == nil) != c.valid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := tk.Read(token, now, finds()); !errors.Is(err, oauth.ErrToken) {
		t.Errorf("a deleted app: %v", err)
	}
}

func rotate(left time.Duration) func(*hook.App) {
	return func(a *hook.App) {
		a.OldClientSecret = hook.OldClientSecret{Hash: a.ClientSecret, Until: now.Add(left)}
		a.ClientSecret = hook.HashSecret("second")
	}
}

// Nothing but what was issued is a token.
func TestForgeries(t *testing.T) {
	tk, a := tokens("m"), app()
	token := tk.Issue(a, a.ClientSecret, "customer", now)
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for bit := range 8 {
			forged := append([]byte(nil), raw...)
			forged[i] ^= 1 << bit
			if _, err := tk.Read(base64.RawURLEncoding.EncodeToString(forged), now, finds(a)); err == nil {
				t.Fatalf("bit %d of byte %d changed: accepted", bit, i)
			}
		}
	}
	for _, s := range []string{"", "x", token + "A", token[1:], token[:len(token)-1], strings.ToLower(token), token + "=", " " + token, strings.Repeat("A", 5000)} {
		if _, err := tk.Read(s, now, finds(a)); !errors.Is(err, oauth.ErrToken) {
			t.Errorf("%.40q: %v", s, err)
		}
	}
}

// Whatever is presented, it is a token that was issued or it is refused.
func FuzzRead(f *testing.F) {
	tk, a := tokens("m"), app()
	token := tk.Issue(a, a.ClientSecret, "customer", now)
	f.Add(token)
	f.Add("")
	f.Add(token[:40])
	f.Add(strings.Repeat("_", 200))
	f.Fuzz(func(t *testing.T, s string) {
		// Every process that fuzzes has issued one of its own, and they all are tokens.
		g, err := tk.Read(s, now, finds(a))
		if issued := len(s) == len(token) && g.App == a && g.Account == "customer"; (err == nil) != issued || s == token && err != nil {
			t.Errorf("%q: %+v, %v", s, g, err)
		}
	})
}

func BenchmarkIssueAndRead(b *testing.B) {
	tk, a := tokens("m"), app()
	find := finds(a)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tk.Read(tk.Issue(a, a.ClientSecret, "customer", now), now, find); err != nil {
			b.Fatal(err)
		}
	}
}
