package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/sample"
	"github.com/switchhook/switchhook/webhook"
)

const (
	triggerSecret = "a-secret-token-for-tests"
)

// shown is a request as an endpoint got it, and what it made of it.
type shown struct {
	header http.Header
	body   string
	valid  bool
}

// watched is an endpoint that keeps what it gets. It accepts what is valid.
type watched struct {
	mu     sync.Mutex
	got    []shown
	status func(n int) int // instead, if not zero
	url    string
}

func watch(t *testing.T, edit ...func(*webhook.Config)) *watched {
	t.Helper()
	w := &watched{}
	c := webhook.Config{Secrets: []string{triggerSecret}}
	for _, f := range edit {
		f(&c)
	}
	r, err := webhook.New(c)
	must(t, err)
	h := r.Handler(func(context.Context, *webhook.Event) error { return nil })
	s := httptest.NewServer(http.HandlerFunc(func(res http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		_, err := r.Verify(req.Header, body)
		w.mu.Lock()
		w.got = append(w.got, shown{req.Header.Clone(), string(body), err == nil})
		n, status := len(w.got), 0
		if w.status != nil {
			status = w.status(n)
		}
		w.mu.Unlock()
		if status != 0 {
			res.WriteHeader(status)
			return
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		h.ServeHTTP(res, req)
	}))
	t.Cleanup(s.Close)
	w.url = s.URL + "/in?a=b"
	return w
}

// trigger runs the command and returns the requests that it reports.
func triggered(t *testing.T, code int, args ...string) []shot {
	t.Helper()
	t.Setenv("SWITCHHOOK_SECRET", triggerSecret)
	var stdout, stderr strings.Builder
	if got := run(t.Context(), append([]string{"trigger", "-o", "ndjson"}, args...), strings.NewReader(""), &stdout, &stderr); got != code {
		t.Fatalf("%v: exit code %d, want %d: %s %s", args, got, code, stdout.String(), stderr.String())
	}
	var shots []shot
	for line := range strings.Lines(stdout.String()) {
		if strings.HasPrefix(line, `{"summary"`) {
			continue
		}
		var s shot
		must(t, json.Unmarshal([]byte(line), &s))
		shots = append(shots, s)
	}
	return shots
}

// What is sent is what the platform sends: as the endpoint sees it, as it is reported,
// and with the values that were put into it.
func TestTrigger(t *testing.T) {
	w := watch(t)
	shots := triggered(t, exitOK, cnamUpdated, "--to", w.url, "--set", "payload.object.cnam=José & Söhne", "--set", "payload.object.carrier_code=7", "--set", "payload.object.phone_numbers.0=+15550001")
	if len(w.got) != 1 || len(shots) != 1 {
		t.Fatalf("%d requests, %d reported", len(w.got), len(shots))
	}
	got, s := w.got[0], shots[0]
	if !got.valid || got.body != s.Body || !strings.Contains(got.body, `"cnam":"José & Söhne"`) || !strings.Contains(got.body, `"carrier_code":7,"phone_numbers":["+15550001",`) {
		t.Errorf("%s", got.body)
	}
	var names []string
	for name := range got.header {
		names = append(names, name)
	}
	slices.Sort(names)
	if want := []string{"Accept-Encoding", "Clientid", "Content-Length", "Content-Type", "Traceparent", "User-Agent", "X-Zm-Request-Id", "X-Zm-Request-Timestamp", "X-Zm-Signature", "X-Zm-Trackingid"}; !slices.Equal(names, want) {
		t.Errorf("headers %v", names)
	}
	for name := range got.header {
		if line := "\r\n" + name + ": " + got.header.Get(name) + "\r\n"; !strings.Contains(s.Header, line) {
			t.Errorf("%q is not reported in %q", line, s.Header)
		}
	}
	var event struct {
		TS int64 `json:"event_ts"`
	}
	must(t, json.Unmarshal([]byte(got.body), &event))
	if age := time.Since(time.UnixMilli(event.TS)); age < 0 || age > time.Minute {
		t.Errorf("it occurred %v ago", age)
	}
	if s.Status != 204 || !s.OK || s.RequestID != got.header.Get(webhook.HeaderRequestID) || time.Duration(s.Took.Total) <= 0 {
		t.Errorf("%+v", s)
	}
}

// The exit code tells what became of it, and of several events what became of the
// first one that failed.
func TestTriggerExitCodes(t *testing.T) {
	w := watch(t)
	for name, c := range map[string]struct {
		status func(n int) int
		args   []string
		code   int
		sent   int
	}{
		"accepted":                 {nil, nil, exitOK, 1},
		"any 2xx":                  {func(int) int { return 299 }, nil, exitOK, 1},
		"refused":                  {func(int) int { return 400 }, nil, exitRefused, 1},
		"failed":                   {func(int) int { return 503 }, nil, exitRefused, 1},
		"a redirect":               {func(int) int { return 301 }, nil, exitRefused, 1},
		"one of three":             {func(n int) int { return map[int]int{2: 500}[n] }, []string{"--count", "3"}, exitRefused, 3},
		"wrongly signed":           {nil, []string{"--bad-signature"}, exitOK, 1},
		"stale":                    {nil, []string{"--stale"}, exitOK, 1},
		"wrongly signed, accepted": {func(int) int { return 204 }, []string{"--bad-signature"}, exitFaults, 1},
		"stale, accepted":          {func(int) int { return 200 }, []string{"--stale"}, exitFaults, 1},
		"stale, and it fails":      {func(int) int { return 500 }, []string{"--stale"}, exitRefused, 1},
		"failed, then accepted":    {func(n int) int { return map[int]int{1: 500, 2: 503}[n] }, []string{"--retry-after-5xx", "--retry-steps", "0s,0s,0s"}, exitOK, 3},
		"failed too often":         {func(int) int { return 500 }, []string{"--retry-after-5xx", "--retry-steps", "0s,0s"}, exitRefused, 3},
		"refused, with retries":    {func(int) int { return 401 }, []string{"--retry-after-5xx", "--retry-steps", "0s,0s"}, exitRefused, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w.mu.Lock()
			w.got, w.status = nil, c.status
			w.mu.Unlock()
			triggered(t, c.code, append([]string{cnamUpdated, "--to", w.url}, c.args...)...)
			if len(w.got) != c.sent {
				t.Errorf("%d requests, want %d", len(w.got), c.sent)
			}
		})
	}
	triggered(t, exitNoAnswer, cnamUpdated, "--to", "http://127.0.0.1:1/")
	for o, want := range map[hook.Outcome]int{hook.ReadTimeOut: exitSlow, hook.TimeLimiter: exitNoAnswer, hook.RemoteError: exitNoAnswer, hook.CertificateError: exitNoAnswer} {
		if got := new(trigger).code(o); got != want {
			t.Errorf("%v: exit code %d, want %d", o, got, want)
		}
	}
}

// Legal but nasty deliveries are what they say, and legal.
func TestTriggerNasty(t *testing.T) {
	w := watch(t)
	send := func(args ...string) []shown {
		t.Helper()
		w.mu.Lock()
		w.got = nil
		w.mu.Unlock()
		triggered(t, exitOK, append([]string{cnamUpdated, "--to", w.url}, args...)...)
		return w.got
	}
	id := func(s shown) string { return s.header.Get(webhook.HeaderRequestID) }

	got := send("--duplicate", "--count", "2")
	if len(got) != 4 || id(got[0]) != id(got[1]) || id(got[2]) != id(got[3]) || id(got[0]) == id(got[2]) || got[0].body != got[1].body ||
		got[0].header.Get(webhook.HeaderTrackingID) == got[1].header.Get(webhook.HeaderTrackingID) {
		t.Errorf("duplicates: %+v", got)
	}

	var order []int64
	for _, s := range send("--reorder", "--count", "5") {
		var e struct {
			TS int64 `json:"event_ts"`
		}
		must(t, json.Unmarshal([]byte(s.body), &e))
		order = append(order, e.TS)
	}
	for i := range order {
		order[i] -= order[4] - 4
	}
	if !slices.Equal(order, []int64{1, 0, 3, 2, 4}) {
		t.Errorf("reordered: %v", order)
	}

	got = send("--chaos-json")
	bodies := map[string]bool{}
	for _, s := range got {
		bodies[s.body] = true
		if !s.valid {
			t.Errorf("it is not valid: %.100s", s.body)
		}
	}
	if len(got) != len(sample.Odd()) || len(bodies) != len(got) {
		t.Errorf("%d requests with %d bodies, and there are %d odd forms", len(got), len(bodies), len(sample.Odd()))
	}
	if got := send("--chaos-json", "--count", "2"); len(got) != 2 {
		t.Errorf("%d requests", len(got))
	}

	got = send("--stale")
	seconds, err := strconv.ParseInt(got[0].header.Get(webhook.HeaderTimestamp), 10, 64)
	if age := time.Since(time.Unix(seconds, 0)); err != nil || age < time.Hour-time.Minute || age > time.Hour+time.Minute || got[0].valid {
		t.Errorf("stale: %v old, %v", age, got[0])
	}
	signer, _ := webhook.NewSigner(triggerSecret)
	if _, signature := signer.Sign(time.Unix(seconds, 0), []byte(got[0].body)); signature != got[0].header.Get(webhook.HeaderSignature) {
		t.Error("stale, and wrongly signed as well")
	}
	if got = send("--bad-signature"); got[0].valid {
		t.Error("the bad signature is right")
	}

	start := time.Now()
	if got := send("--count", "20", "--rate", "200"); len(got) != 20 || time.Since(start) < 95*time.Millisecond {
		t.Errorf("%d requests in %v", len(got), time.Since(start))
	}
}

// The endpoint gets what its custom header says, in every mode.
func TestTriggerCustomHeader(t *testing.T) {
	dir := t.TempDir()
	file := func(text string) string {
		name := filepath.Join(dir, "header.yaml")
		must(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	t.Setenv("PASSWORD", "pass:word")
	basic := watch(t, func(c *webhook.Config) { c.Auth = []webhook.Auth{webhook.Basic("ann", "pass:word")} })
	shots := triggered(t, exitOK, cnamUpdated, "--to", basic.url, "--custom-header", file("custom_header_type: 1\nusername: ann\npassword: ${PASSWORD}\n"))
	if strings.Contains(shots[0].Header, "YW5u") || !strings.Contains(shots[0].Header, "Authorization: Basic ********") {
		t.Errorf("the report tells the password: %s", shots[0].Header)
	}
	triggered(t, exitOK, webhook.EventURLValidation, "--to", basic.url, "--custom-header", file("custom_header_type: 1\nusername: ann\npassword: ${PASSWORD}\n"))
	triggered(t, exitRefused, cnamUpdated, "--to", basic.url)

	tokens, err := webhook.NewTokenServer(webhook.TokenConfig{ClientID: "client", ClientSecrets: []string{"secret-of-the-client"}})
	must(t, err)
	tokenURL := httptest.NewServer(tokens)
	defer tokenURL.Close()
	oauth := watch(t, func(c *webhook.Config) { c.Auth = []webhook.Auth{tokens.Auth()} })
	for _, in := range []string{"header", "body"} {
		triggered(t, exitOK, cnamUpdated, "--to", oauth.url, "--custom-header",
			file(fmt.Sprintf("custom_header_type: 2\nclient_id: client\nclient_secret: secret-of-the-client\ntoken_url: %s\nclient_authentication: %s\n", tokenURL.URL, in)))
	}
	own := watch(t, func(c *webhook.Config) { c.Auth = []webhook.Auth{webhook.Header("x-api-key", "k3y")} })
	triggered(t, exitOK, cnamUpdated, "--to", own.url, "--custom-header", file("custom_header_type: 3\ncustom_header_key: x-api-key\ncustom_header_value: k3y\n"))
}

// The receiver that users copy is small, and takes what the platform sends.
func TestExampleReceiver(t *testing.T) {
	const dir = "../../examples/receiver"
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, filepath.Join(dir, "main.go"), nil, 0)
	must(t, err)
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if lines := fset.Position(f.End()).Line - fset.Position(f.Pos()).Line + 1; f.Name.Name != "main" || lines > 30 {
			t.Errorf("%s has %d lines; the user's own code is main with at most 30", f.Name.Name, lines)
		}
	}

	binary := filepath.Join(t.TempDir(), "receiver")
	if out, err := exec.Command("go", "build", "-o", binary, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := l.Addr().String()
	must(t, l.Close())
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), "WEBHOOK_SECRET="+triggerSecret, "LISTEN="+address)
	log, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	waitFor(t, "the receiver", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	to := "http://" + address + "/webhooks"
	lines := bufio.NewScanner(log)
	says := func(text string) {
		t.Helper()
		if !lines.Scan() || !strings.Contains(lines.Text(), text) {
			t.Errorf("it says %q, want %q", lines.Text(), text)
		}
	}
	triggered(t, exitOK, webhook.EventURLValidation, "--to", to)
	triggered(t, exitOK, cnamUpdated, "--to", to, "--set", "payload.object.cnam=ACME", "--duplicate")
	says(`the name of [+14155550187 +14155550188 +442079460127] is now "ACME"`)
	triggered(t, exitOK, "number_management.peering_number_emergency_address_updated", "--to", to)
	says("1200 Battery Street") // and so the duplicate was not handled
	triggered(t, exitOK, "number_management.peering_number_emergency_address_updated", "--to", to, "--sample", "removed")
	says("is now <nil>")
	triggered(t, exitOK, cnamUpdated, "--to", to, "--bad-signature")
	says("bad signature")
}

// Of few requests the slow one counts, too.
func TestQuantile(t *testing.T) {
	times := []time.Duration{1, 2, 3, 4}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 2, 0.75: 3, 0.99: 4, 1: 4} {
		if got := quantile(times, q); got != want {
			t.Errorf("%v of %v is %v, want %v", q, times, int(got), int(want))
		}
	}
}
