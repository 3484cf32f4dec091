package doctor

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/memnet"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/webhook"
)

const (
	secret  = "a-secret-token-for-tests"
	event   = `{"event":"number_management.peering_number_cnam_updated","event_ts":1763758800123,"payload":{"account_id":"a","object":{"carrier_code":1,"phone_numbers":["+14155550142"],"cnam":"ACME"}}}`
	address = "http://endpoint.test/in"
)

// public resolves every name to an address that everybody can reach.
func public(context.Context, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
}

// checkup returns one of an endpoint in memory.
func checkup(t *testing.T, h http.Handler, edit ...func(*Checkup)) *Checkup {
	t.Helper()
	var nw memnet.Net
	nw.Handle(t, "endpoint.test", h)
	policy := hook.EndpointPolicy{HTTP: true}
	c := &Checkup{
		URL: address, Event: []byte(event), Policy: policy, Lookup: public,
		Client:       outbound.New(outbound.Config{Policy: policy, UserAgent: "test", DialContext: nw.DialContext}),
		App:          &hook.App{ClientID: "client", SecretToken: secret},
		Subscription: &hook.Subscription{ID: "s", Key: 1},
	}
	t.Cleanup(c.Client.Close)
	for _, f := range edit {
		f(c)
	}
	return c
}

// receiver is a right one, but for what a test changes.
func receiver(t *testing.T, edit ...func(*webhook.Config)) *webhook.Receiver {
	t.Helper()
	c := webhook.Config{Secrets: []string{secret}}
	for _, f := range edit {
		f(&c)
	}
	r, err := webhook.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func accept(context.Context, *webhook.Event) error { return nil }

// verdicts returns the checks that have not passed, with how they ended.
func verdicts(findings []Finding) (all []string) {
	for _, f := range findings {
		if f.Verdict != Pass && f.Verdict != Skip {
			all = append(all, f.Check+": "+string(f.Verdict))
		}
	}
	return all
}

// whole checks that findings are complete and say what they have to.
func whole(t *testing.T, findings []Finding) {
	t.Helper()
	seen := map[string]bool{}
	for _, f := range findings {
		if seen[f.Check] || f.Text == "" || strings.Contains(f.Text, "%!") || (f.Remedy == "") != (f.Verdict == Pass || f.Verdict == Skip) {
			t.Errorf("%+v", f)
		}
		seen[f.Check] = true
		if strings.Contains(f.Text+f.Remedy, secret) {
			t.Errorf("it tells the secret: %+v", f)
		}
	}
}

// Right receivers have nothing wrong with them.
func TestRightReceivers(t *testing.T) {
	var mux webhook.Mux
	webhook.On(&mux, "number_management.peering_number_cnam_updated", func(context.Context, *webhook.Event, map[string]any) error { return nil })
	basic := func(c *Checkup) {
		c.Subscription.Auth = hook.Auth{Mode: hook.AuthBasic, Username: "ann", Password: "pass:word"}
	}
	for name, c := range map[string]struct {
		endpoint http.Handler
		edit     func(*Checkup)
	}{
		"of the package":       {receiver(t).Handler(accept), nil},
		"with a mux":           {receiver(t).Handler(mux.Serve), nil},
		"with a filter":        {receiver(t, func(c *webhook.Config) { c.Duplicates = webhook.NewMemory(0) }).Handler(accept), nil},
		"a middleware":         {receiver(t).Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) })), nil},
		"with a password":      {receiver(t, func(c *webhook.Config) { c.Auth = []webhook.Auth{webhook.Basic("ann", "pass:word")} }).Handler(accept), basic},
		"another hand's":       {byHand(byHandOptions{}), nil},
		"with two secrets":     {receiver(t, func(c *webhook.Config) { c.Secrets = []string{"the-next-one", secret} }).Handler(accept), nil},
		"that answers at once": {http.StripPrefix("/in", receiver(t).Handler(accept)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			edit := c.edit
			if edit == nil {
				edit = func(*Checkup) {}
			}
			d := checkup(t, c.endpoint, edit)
			var told []Finding
			d.Report = func(f Finding) { told = append(told, f) }
			findings := d.Run(t.Context())
			if bad := verdicts(findings); bad != nil || len(findings) < 20 || !slices.Equal(told, findings) {
				t.Errorf("%q of %d findings: %+v", bad, len(findings), findings)
			}
			whole(t, findings)
		})
	}
}

// byHandOptions are the mistakes that people make.
type byHandOptions struct {
	anyChallenge bool // answers it without looking
	anySignature bool
	anyTime      bool
	printAgain   bool // verifies what it prints itself
	unknownFails bool
	tellsWhy     bool
	once         bool // refuses what it has seen
	noEmoji      bool
	limit        int64
	inPieces     bool // makes a text of each piece of a body
	challenge204 bool
	upperCase    bool
	closes       bool
	// signed says whether a signature is right, in place of comparing them.
	signed func(got, want string) bool
	denied func(w http.ResponseWriter) // in place of 401
}

// byHand is a receiver as people write it, without the package.
func byHand(o byHandOptions) http.Handler {
	signer, _ := webhook.NewSigner(secret)
	var mu sync.Mutex
	seen := map[string]bool{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if o.closes {
			w.Header().Set("Connection", "close")
		}
		if o.limit > 0 {
			r.Body = http.MaxBytesReader(w, r.Body, o.limit)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return
		}
		if o.inPieces {
			var text []byte
			for piece := range slices.Chunk(body, 64<<10) {
				text = append(text, bytes.ToValidUTF8(piece, []byte("\ufffd"))...)
			}
			body = text
		}
		var e struct {
			Event   string
			Payload struct{ PlainToken string }
		}
		err = json.Unmarshal(body, &e)
		if err != nil {
			http.Error(w, "no JSON", http.StatusBadRequest)
			return
		}
		timestamp := r.Header.Get("x-zm-request-timestamp")
		signed := body
		if o.printAgain { // as PHP does
			var b bytes.Buffer
			_ = json.Compact(&b, body)
			signed = bytes.ReplaceAll(escapeNonASCII(b.Bytes()), []byte("/"), []byte(`\/`))
		}
		want := "v0=" + signer.EncryptToken("v0:"+timestamp+":"+string(signed))
		isChallenge := e.Event == webhook.EventURLValidation
		seconds, _ := strconv.ParseInt(timestamp, 10, 64)
		age := time.Since(time.Unix(seconds, 0))
		stale := age > 5*time.Minute || age < -5*time.Minute
		wrong := r.Header.Get("x-zm-signature") != want
		if o.signed != nil {
			wrong = !o.signed(r.Header.Get("x-zm-signature"), want)
		}
		switch {
		case isChallenge && o.anyChallenge:
		case wrong && !o.anySignature && o.tellsWhy:
			http.Error(w, "expected "+want, http.StatusUnauthorized)
			return
		case (wrong && !o.anySignature || stale && !o.anyTime) && o.denied != nil:
			o.denied(w)
			return
		case wrong && !o.anySignature, stale && !o.anyTime:
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		if isChallenge {
			token := e.Payload.PlainToken
			if !o.anyChallenge && strings.Contains(token, ":") {
				http.Error(w, "no", http.StatusBadRequest)
				return
			}
			encrypted := signer.EncryptToken(token)
			if o.upperCase {
				encrypted = strings.ToUpper(encrypted)
			}
			if o.challenge204 {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			_ = json.NewEncoder(w).Encode(map[string]string{"plainToken": token, "encryptedToken": encrypted})
			return
		}
		id := r.Header.Get("x-zm-request-id")
		mu.Lock()
		again := seen[id]
		seen[id] = true
		mu.Unlock()
		switch {
		case o.once && again:
			http.Error(w, "conflict", http.StatusConflict)
		case o.unknownFails && e.Event == UnknownEvent:
			http.Error(w, "what is that?", http.StatusInternalServerError)
		case o.noEmoji && strings.Contains(string(body), "😀"):
			http.Error(w, "Incorrect string value", http.StatusInternalServerError)
		default:
			w.WriteHeader(http.StatusOK)
		}
	})
}

func escapeNonASCII(text []byte) []byte {
	quoted := strconv.QuoteToASCII(string(text))
	return []byte(strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(quoted[1 : len(quoted)-1]))
}

// Wrong receivers are found out: each for what is wrong with it, and for nothing else.
func TestWrongReceivers(t *testing.T) {
	says := func(status int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(status)
		})
	}
	trusting := func(signed func(got, want string) bool) http.Handler { return byHand(byHandOptions{signed: signed}) }
	denying := func(status int, text string) http.Handler {
		return byHand(byHandOptions{denied: func(w http.ResponseWriter) { http.Error(w, text, status) }})
	}
	forgedAccepted := []string{"event, signed wrongly: fail", "event, unsigned: fail", "event, stale: fail", "event, of the future: fail"}
	for name, c := range map[string]struct {
		endpoint http.Handler
		want     []string
	}{
		"accepts everything":              {says(200), append([]string{"challenge: fail"}, forgedAccepted...)},
		"accepts everything, with 204":    {says(204), append([]string{"challenge: fail"}, forgedAccepted...)},
		"does not look at the signature":  {byHand(byHandOptions{anySignature: true}), []string{"challenge, signed wrongly: fail", "event, signed wrongly: fail"}},
		"does not look at the time":       {byHand(byHandOptions{anyTime: true}), []string{"challenge, stale: fail", "event, stale: fail", "event, of the future: fail"}},
		"answers every challenge":         {byHand(byHandOptions{anyChallenge: true}), []string{"challenge, signed wrongly: fail", "challenge, unsigned: fail", "challenge, stale: fail", "challenge, odd token: warn"}},
		"verifies what it prints itself":  {byHand(byHandOptions{printAgain: true}), []string{"odd JSON: fail"}},
		"fails at unknown events":         {byHand(byHandOptions{unknownFails: true}), []string{"unknown event: fail"}},
		"tells the right signature":       {byHand(byHandOptions{tellsWhy: true}), []string{"secrecy: fail"}},
		"refuses what it has seen":        {byHand(byHandOptions{once: true}), []string{"replay: warn", "retry: fail"}},
		"cannot store emoji":              {byHand(byHandOptions{noEmoji: true}), []string{"odd JSON: fail"}},
		"has a limit of 100 KB":           {byHand(byHandOptions{limit: 100 << 10}), []string{"large event: fail"}},
		"makes a text of each piece":      {byHand(byHandOptions{inPieces: true}), []string{"large event: fail"}},
		"answers the challenge with 204":  {byHand(byHandOptions{challenge204: true}), []string{"challenge: fail"}},
		"answers in upper case":           {byHand(byHandOptions{upperCase: true}), []string{"challenge: fail"}},
		"closes every connection":         {byHand(byHandOptions{closes: true}), []string{"keep-alive: warn"}},
		"accepts part of a signature":     {trusting(func(got, want string) bool { return strings.HasPrefix(want, got) }), []string{"event, part of a signature: fail"}},
		"verifies only what is signed":    {trusting(func(got, want string) bool { return got == "" || got == want }), []string{"event, part of a signature: fail"}},
		"verifies as far as there is any": {trusting(func(got, want string) bool { return len(got) > 3 && strings.HasPrefix(want, got) }), []string{"event, part of a signature: fail"}},
		"does not look at the case":       {trusting(strings.EqualFold), []string{"event, odd signature: warn"}},
		"does not look at the scheme":     {trusting(func(got, want string) bool { return strings.HasSuffix(got, want[3:]) }), []string{"event, odd signature: warn"}},
		"shows where it has failed":       {denying(401, "Error: bad signature\n    at verify (/app/index.js:12:9)\n    at /app/server.js:33:5\n"), []string{"secrecy: warn"}},
		"tells the secret, packed":        {denying(401, "not made with "+base64.StdEncoding.EncodeToString([]byte(secret))), []string{"secrecy: fail"}},
		"sends strangers to the login":    {denying(302, ""), []string{"event, signed wrongly: warn", "event, unsigned: warn", "event, stale: warn", "event, of the future: warn"}},
		"asks for no password":            {receiver(t).Handler(accept), []string{"custom header: fail"}},
		"redirects":                       {says(301), []string{"challenge: fail", "event: fail", "redirects: fail"}},
		"is broken":                       {says(500), []string{"challenge: fail", "event: fail"}},
		"has another secret":              {receiver(t, func(c *webhook.Config) { c.Secrets = []string{"another-secret"} }).Handler(accept), []string{"challenge: fail", "event: fail"}},
		"handles events, and does it ill": {receiver(t).Handler(func(context.Context, *webhook.Event) error { return errors.New("away") }), []string{"event: fail"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := checkup(t, c.endpoint, func(d *Checkup) {
					if name == "asks for no password" {
						d.Subscription.Auth = hook.Auth{Mode: hook.AuthBasic, Username: "ann", Password: "pass"}
					}
				})
				findings := d.Run(t.Context())
				if got := verdicts(findings); !slices.Equal(got, c.want) {
					t.Errorf("found %q, want %q: %+v", got, c.want, findings)
				}
				whole(t, findings)
				time.Sleep(time.Minute) // a server lingers for a moment after it has refused a body halfway
			})
		})
	}
}

// A slow one is told apart from one that is too slow.
func TestSlowReceivers(t *testing.T) {
	for pause, want := range map[time.Duration][]string{
		time.Second:                       nil,
		2 * time.Second:                   {"speed: warn"},
		2*time.Second + 900e6:             {"speed: warn"},
		webhook.SendTimeout + time.Second: {"challenge: fail", "event: fail"},
	} {
		t.Run(pause.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := receiver(t).Handler(accept)
				findings := checkup(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					r.Body = io.NopCloser(bytes.NewReader(body))
					time.Sleep(pause)
					inner.ServeHTTP(w, r)
				})).Run(t.Context())
				got := verdicts(findings)
				if pause > webhook.SendTimeout {
					got = slices.DeleteFunc(got, func(s string) bool { return !slices.Contains(want, s) })
				}
				if !slices.Equal(got, want) {
					t.Errorf("found %q, want %q: %+v", got, want, findings)
				}
				whole(t, findings)
				time.Sleep(time.Minute) // until the last one has ended
			})
		})
	}
}

// What is wrong before an endpoint can be asked is said, and the rest is left out.
func TestEndpointsThatCannotBeReached(t *testing.T) {
	lookup := func(addresses ...string) func(context.Context, string) ([]netip.Addr, error) {
		return func(context.Context, string) (all []netip.Addr, err error) {
			for _, a := range addresses {
				all = append(all, netip.MustParseAddr(a))
			}
			return all, nil
		}
	}
	right := receiver(t).Handler(accept)
	for name, c := range map[string]struct {
		edit func(*Checkup)
		want []string
	}{
		"http": {func(d *Checkup) { d.Policy.HTTP = false }, []string{"url: fail"}},
		"no such host": {func(d *Checkup) {
			d.Lookup = func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such host") }
		}, []string{"dns: fail"}},
		"no address":     {func(d *Checkup) { d.Lookup = lookup() }, []string{"dns: fail"}},
		"private":        {func(d *Checkup) { d.Lookup = lookup("10.0.0.1", "::1", "169.254.169.254", "::ffff:127.0.0.1") }, []string{"dns: fail"}},
		"partly private": {func(d *Checkup) { d.Lookup = lookup("93.184.216.34", "192.168.0.1") }, []string{"dns: warn"}},
		"private, for us": {func(d *Checkup) {
			d.Lookup, d.Policy.Allowed = lookup("10.0.0.1"), []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		}, nil},
		"nobody there": {func(d *Checkup) { d.URL = "http://nobody.test/" }, []string{"challenge: fail"}},
		"no URL":       {func(d *Checkup) { d.URL = "::" }, []string{"url: fail"}},
	} {
		t.Run(name, func(t *testing.T) {
			findings := checkup(t, right, c.edit).Run(t.Context())
			if got := verdicts(findings); !slices.Equal(got, c.want) {
				t.Errorf("found %q, want %q: %+v", got, c.want, findings)
			}
			whole(t, findings)
		})
	}
}

// What is said of an endpoint that is not there, or accepts nothing, is of use for that.
func TestNothingToJudge(t *testing.T) {
	find := func(findings []Finding, check string) Finding {
		i := slices.IndexFunc(findings, func(f Finding) bool { return f.Check == check })
		if i < 0 {
			t.Fatalf("there is no %q in %+v", check, findings)
		}
		return findings[i]
	}
	broken := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	away := checkup(t, broken, func(d *Checkup) { d.URL = "http://nobody.test/" }).Run(t.Context())
	if f := find(away, "challenge"); !strings.HasPrefix(f.Remedy, "is the endpoint running") {
		t.Errorf("nobody answers, and the remedy is %q", f.Remedy)
	}
	private := receiver(t, func(c *webhook.Config) { c.Auth = []webhook.Auth{webhook.Basic("ann", "pass:word")} }).Handler(accept)
	if f := find(checkup(t, private).Run(t.Context()), "event"); !strings.Contains(f.Remedy, "--custom-header") {
		t.Errorf("it asks for a password, and the remedy is %q", f.Remedy)
	}
	if f := find(checkup(t, broken).Run(t.Context()), "speed"); f.Verdict != Skip {
		t.Errorf("nothing was accepted, and the speed of that is judged: %+v", f)
	}
}

// certified returns a certificate for a name, and who certifies it.
func certified(t *testing.T, name string, until time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// Certificates and versions of TLS are looked at as the platform does, and a little
// closer.
func TestTLS(t *testing.T) {
	year := time.Now().Add(365 * 24 * time.Hour)
	for name, c := range map[string]struct {
		name      string
		until     time.Time
		least     uint16
		most      uint16
		untrusted bool
		want      []string
		text      string
	}{
		"right":         {"localhost", year, tls.VersionTLS12, 0, false, nil, "TLS 1.3, certificate valid for 36"},
		"TLS 1.2":       {"localhost", year, tls.VersionTLS12, tls.VersionTLS12, false, nil, "TLS 1.2"},
		"another name":  {"example.com", year, tls.VersionTLS12, 0, false, []string{"tls: fail"}, "not for localhost"},
		"expired":       {"localhost", time.Now().Add(-time.Hour), tls.VersionTLS12, 0, false, []string{"tls: fail"}, "expired"},
		"ends soon":     {"localhost", time.Now().Add(72 * time.Hour), tls.VersionTLS12, 0, false, []string{"tls: warn"}, "ends in 3 days"},
		"unknown":       {"localhost", year, tls.VersionTLS12, 0, true, []string{"tls: fail"}, "unknown authority"},
		"old versions":  {"localhost", year, tls.VersionTLS10, 0, false, []string{"tls: warn"}, "still speaks TLS 1.1"},
		"old ones only": {"localhost", year, tls.VersionTLS10, tls.VersionTLS11, false, []string{"tls: fail"}, "TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			cert, pool := certified(t, c.name, c.until)
			s := httptest.NewUnstartedServer(receiver(t).Handler(accept))
			s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: c.least, MaxVersion: c.most}
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.StartTLS()
			defer s.Close()
			if c.untrusted {
				pool = x509.NewCertPool()
			}
			policy := hook.EndpointPolicy{Allowed: hook.Loopback()}
			d := checkup(t, http.NotFoundHandler(), func(d *Checkup) {
				d.URL = "https://localhost:" + s.Listener.Addr().String()[strings.LastIndex(s.Listener.Addr().String(), ":")+1:]
				d.Policy, d.CAs, d.Lookup = policy, pool, nil
				d.Client = outbound.New(outbound.Config{Policy: policy, CAs: pool, UserAgent: "test"})
			})
			defer d.Client.Close()
			findings := d.Run(t.Context())
			if got := verdicts(findings); !slices.Equal(got, c.want) {
				t.Fatalf("found %q, want %q: %+v", got, c.want, findings)
			}
			whole(t, findings)
			i := slices.IndexFunc(findings, func(f Finding) bool { return f.Check == "tls" })
			if i < 0 || !strings.Contains(findings[i].Text, c.text) {
				t.Errorf("%+v, want %q", findings, c.text)
			}
		})
	}
}
