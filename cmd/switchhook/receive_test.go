package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/switchhook/switchhook/webhook"
)

const (
	gatewaySecret = "secret-of-the-app"
	backendSecret = "secret-of-the-backend"
)

// gatewayDir is where a gateway of a test has its files.
type gatewayDir struct {
	*installation
	config string
}

// newGateway prepares a gateway that forwards to a backend, signed.
func newGateway(t testing.TB, backend, more string) *gatewayDir {
	t.Helper()
	g := &gatewayDir{installation: &installation{t: t, dir: t.TempDir()}}
	g.config = filepath.Join(g.dir, "gateway.yaml")
	g.secret(gatewaySecret)
	must(t, os.WriteFile(filepath.Join(g.dir, "backend-secret"), []byte(backendSecret+"\n"), 0o600))
	must(t, os.WriteFile(g.config, []byte(fmt.Sprintf(`
listen: 127.0.0.1:0
admin: 127.0.0.1:0
log-level: warn
inbox: %[1]s/inbox.db
%[3]s
sources:
  - name: zoom
    path: /webhooks
    secrets: [{file: %[1]s/secret}]
forwarders:
  - name: backend
    min-pause: 10ms
    max-pause: 50ms
    http: {url: %[2]s, secret: {file: %[1]s/backend-secret}}
`, g.dir, backend, more)), 0o600))
	return g
}

// secret writes the file with the secret of the source.
func (g *gatewayDir) secret(text string) {
	g.t.Helper()
	must(g.t, os.WriteFile(filepath.Join(g.dir, "secret"), []byte(text+"\n"), 0o600))
}

// receive starts the gateway and waits until it answers.
func (g *gatewayDir) receive(args ...string) *running {
	g.t.Helper()
	return g.start(exec.Command(program(g.t), append([]string{"receive", "--ready", "--config", g.config}, args...)...))
}

// senders send webhooks without a pause to whatever gateway is up.
type senders struct {
	t  testing.TB
	up atomic.Pointer[running]

	mu    sync.Mutex
	acked map[string]bool // request ids
	lies  []string
}

// deliver sends an event once and notes the answer. It returns the status, or 0.
func (s *senders) deliver(ctx context.Context, client *http.Client, url, key, id string) int {
	body := []byte(numbered(id))
	signer, err := webhook.NewSigner(key)
	must(s.t, err)
	timestamp, signature := signer.Sign(time.Now(), body)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/webhooks", bytes.NewReader(body))
	must(s.t, err)
	req.Header.Set("Content-Type", webhook.ContentType)
	req.Header.Set(webhook.HeaderTimestamp, timestamp)
	req.Header.Set(webhook.HeaderSignature, signature)
	req.Header.Set(webhook.HeaderRequestID, id)
	res, err := client.Do(req)
	if err != nil {
		return 0
	}
	answer, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case res.StatusCode == http.StatusNoContent:
		s.acked[id] = true
	case res.StatusCode != http.StatusServiceUnavailable || len(answer) > 0:
		s.lies = append(s.lies, fmt.Sprintf("%s: status %d %s", id, res.StatusCode, answer))
	}
	return res.StatusCode
}

func (s *senders) run(ctx context.Context, name string) {
	client := &http.Client{Transport: &http.Transport{}, Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	for n := 0; ctx.Err() == nil; {
		to := s.up.Load()
		if to == nil {
			time.Sleep(time.Millisecond) // a real process is being started
			continue
		}
		n++
		s.deliver(context.WithoutCancel(ctx), client, to.url, gatewaySecret, fmt.Sprint(name, n))
	}
}

// numbers returns the ids that were answered with 204.
func (s *senders) numbers() (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.acked {
		ids = append(ids, id)
	}
	return ids
}

// backend is where a gateway forwards to.
type backend struct {
	url string
	mu  sync.Mutex
	got map[string]*forwarded // by request id

	repeated int
	order    []string // as they came first
	faults   []string
}

type forwarded struct {
	key, body string
	times     int
}

func openBackend(t testing.TB) *backend {
	t.Helper()
	b := &backend{got: map[string]*forwarded{}}
	r, err := webhook.New(webhook.Config{Secrets: []string{backendSecret}, Error: func(_ *http.Request, err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.faults = append(b.faults, err.Error())
	}})
	must(t, err)
	s := httptest.NewServer(r.Middleware(http.HandlerFunc(b.take)))
	t.Cleanup(s.Close)
	b.url = s.URL
	return b
}

func (b *backend) take(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	id, key := r.Header.Get(webhook.HeaderRequestID), r.Header.Get("Idempotency-Key")
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.got[id]
	if f == nil {
		f = &forwarded{key: key, body: string(body)}
		b.got[id] = f
		b.order = append(b.order, id)
	} else {
		b.repeated++
	}
	f.times++
	if f.key != key || f.body != string(body) || key == "" {
		b.faults = append(b.faults, fmt.Sprintf("%s came as %s %s, and then as %s %s", id, f.key, f.body, key, body))
	}
}

// lacks returns how many of the ids have not come.
func (b *backend) lacks(ids []string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		if b.got[id] == nil {
			n++
		}
	}
	return n
}

func (b *backend) check(t testing.TB) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.faults {
		t.Error(f)
	}
}

// Whatever the moment in which the gateway is killed, everything that it has answered
// with 2xx is forwarded. What is forwarded once more has the same key and body. At 20 of
// the kills there was something that was answered and not forwarded.
func TestKillGateway(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	b := openBackend(t)
	g := newGateway(t, b.url, "")
	s := &senders{t: t, acked: map[string]bool{}}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for n := range 16 {
		wg.Go(func() { s.run(ctx, fmt.Sprintf("%c", 'a'+n)) })
	}
	inFlight, kills, between := 0, 0, 0
	p := g.receive()
	for between < rounds {
		if kills++; kills > 3*rounds {
			t.Fatalf("only at %d of %d kills there was something between answer and forward", between, kills)
		}
		s.up.Store(p)
		time.Sleep(time.Duration(rand.IntN(300_000)) * time.Microsecond) // the moment is the point
		waitFor(t, "something that is answered and not forwarded", func() bool { return b.lacks(s.numbers()) > 0 })
		must(t, p.Process.Signal(syscall.SIGKILL))
		_ = p.Wait()
		s.up.Store(nil)
		if n := b.lacks(s.numbers()); n > 0 {
			between++
			inFlight += n
		}
		p = g.receive()
	}
	s.up.Store(p)
	stop()
	wg.Wait()
	waitFor(t, "what was answered with 204", func() bool { return b.lacks(s.numbers()) == 0 })
	p.stop()
	b.check(t)
	for _, lie := range s.lies {
		t.Error(lie)
	}
	t.Logf("%d kills, %d of them between answer and forward: %d answered with 204, %d more forwarded; %d were in flight when it died; %d were forwarded again",
		kills, between, len(s.acked), len(b.got)-len(s.acked), inFlight, b.repeated)
}

// withAdmin starts the gateway and returns it with the URL of its admin address.
func (g *gatewayDir) withAdmin() (*running, string) {
	g.t.Helper()
	return g.startWithAdmin(exec.Command(program(g.t), "receive", "--ready", "--config", g.config))
}

func (g *gatewayDir) startWithAdmin(cmd *exec.Cmd) (*running, string) {
	g.t.Helper()
	return startWithAdmin(g.t, cmd)
}

// dialSlow is the connection of a client that is slow on purpose.
func dialSlow(t testing.TB, addr string) (net.Conn, error) {
	c, err := net.Dial("tcp", addr)
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// While the secret is wrong nothing is accepted and nothing lost. Once it is corrected
// and the gateway told, everything is forwarded, and in the order of arrival.
func TestCorrectedSecret(t *testing.T) {
	b := openBackend(t)
	g := newGateway(t, b.url, "")
	g.secret("a-secret-that-is-wrong")
	p, admin := g.withAdmin()
	s := &senders{t: t, acked: map[string]bool{}}
	var want []string
	for n := range 50 {
		id := fmt.Sprint("r", n)
		if status := s.deliver(t.Context(), http.DefaultClient, p.url, gatewaySecret, id); status != http.StatusServiceUnavailable {
			t.Fatalf("answered with %d while the secret is wrong", status)
		}
		want = append(want, id)
	}
	health := func() string {
		res, err := http.Get(admin + "/healthz") //nolint:forbidigo // the client of a test
		must(t, err)
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		must(t, err)
		return string(text)
	}
	if h := health(); !strings.Contains(h, `"status": "alarm"`) || !strings.Contains(h, "50 requests to source zoom are in the quarantine") {
		t.Error(h)
	}
	if log := p.stderr.String(); strings.Count(log, "level=ERROR") != 1 || !strings.Contains(log, "correct the secret and reload") {
		t.Errorf("the log: %s", log)
	}
	// A mistake in the settings changes nothing.
	g.secret("short")
	must(t, p.Process.Signal(syscall.SIGHUP))
	waitFor(t, "the log line about the mistake", func() bool { return strings.Contains(p.stderr.String(), "those from before stay in use") })
	g.secret(gatewaySecret)
	must(t, p.Process.Signal(syscall.SIGHUP))
	waitFor(t, "what was in the quarantine", func() bool { return b.lacks(want) == 0 })
	if strings.Join(b.order, " ") != strings.Join(want, " ") {
		t.Errorf("it came as %v", b.order)
	}
	waitFor(t, "the end of the alarm", func() bool { return strings.Contains(health(), `"status": "ok"`) })
	if status := s.deliver(t.Context(), http.DefaultClient, p.url, gatewaySecret, "r0"); status != http.StatusNoContent {
		t.Errorf("the platform's next attempt was answered with %d", status)
	}
	p.stop()
	b.check(t)
	if b.repeated > 0 {
		t.Errorf("%d were forwarded twice", b.repeated)
	}
}

// What was sent while the secret was wrong is also released by a restart.
func TestCorrectedSecretAndRestart(t *testing.T) {
	b := openBackend(t)
	g := newGateway(t, b.url, "")
	g.secret("a-secret-that-is-wrong")
	p := g.receive()
	s := &senders{t: t, acked: map[string]bool{}}
	s.deliver(t.Context(), http.DefaultClient, p.url, gatewaySecret, "r1")
	p.stop()
	g.secret(gatewaySecret)
	p = g.receive()
	waitFor(t, "what was in the quarantine", func() bool { return b.lacks([]string{"r1"}) == 0 })
	p.stop()
}

// A gateway that is told to stop under load stores what it answers, and is not slow
// about it.
func TestStopGateway(t *testing.T) {
	b := openBackend(t)
	g := newGateway(t, b.url, "")
	s := &senders{t: t, acked: map[string]bool{}}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for n := range 8 {
		wg.Go(func() { s.run(ctx, fmt.Sprintf("%c", 'a'+n)) })
	}
	for range 3 {
		p := g.receive()
		s.up.Store(p)
		before := len(s.numbers())
		waitFor(t, "some traffic", func() bool { return len(s.numbers()) > before+100 })
		p.stop()
		s.up.Store(nil)
	}
	stop()
	wg.Wait()
	p := g.receive()
	waitFor(t, "what was answered with 204", func() bool { return b.lacks(s.numbers()) == 0 })
	p.stop()
	b.check(t)
	for _, lie := range s.lies {
		t.Error(lie)
	}
	// A gateway that is stopped well forwards nothing twice.
	if b.repeated > 0 {
		t.Errorf("%d were forwarded twice", b.repeated)
	}
}

// Where nobody reads standard output any more, a gateway that forwards to it receives
// nonetheless, and the other forwarders notice nothing.
func TestStandardOutputClosed(t *testing.T) {
	b := openBackend(t)
	g := newGateway(t, b.url, "")
	text, err := os.ReadFile(g.config)
	must(t, err)
	must(t, os.WriteFile(g.config, append(text, []byte("  - {name: out, min-pause: 10ms, max-pause: 50ms, stdout: {}}\n")...), 0o600))
	p := &running{Cmd: exec.Command(program(t), "receive", "--ready", "--config", g.config), t: t}
	read, write, err := os.Pipe()
	must(t, err)
	p.Stdout, p.Stderr = write, &p.stderr
	must(t, p.Start())
	t.Cleanup(p.kill)
	must(t, write.Close())
	lines := bufio.NewReader(read)
	url, err := lines.ReadString('\n')
	must(t, err)
	_, err = lines.ReadString('\n') // that of --admin
	must(t, err)
	must(t, read.Close())
	p.url = strings.TrimSpace(url)

	s := &senders{t: t, acked: map[string]bool{}}
	for _, id := range []string{"r1", "r2"} {
		if status := s.deliver(t.Context(), http.DefaultClient, p.url, gatewaySecret, id); status != http.StatusNoContent {
			t.Fatalf("%s: %d", id, status)
		}
		waitFor(t, "the backend to have "+id, func() bool { return b.lacks([]string{id}) == 0 })
		waitFor(t, "the log line about standard output", func() bool { return strings.Contains(p.stderr.String(), "forwarder=out") })
	}
	p.stop()
}

// Forwarders can be changed without a restart: those that are new begin, those that
// are no more end, and those that stay notice nothing.
func TestReloadForwarders(t *testing.T) {
	b, other := openBackend(t), openBackend(t)
	g := newGateway(t, b.url, "")
	p := g.receive()
	s := &senders{t: t, acked: map[string]bool{}}
	send := func(id string) {
		t.Helper()
		if status := s.deliver(t.Context(), http.DefaultClient, p.url, gatewaySecret, id); status != http.StatusNoContent {
			t.Fatalf("%s: %d", id, status)
		}
	}
	send("r1")
	waitFor(t, "the first event", func() bool { return b.lacks([]string{"r1"}) == 0 })
	text, err := os.ReadFile(g.config)
	must(t, err)
	out := filepath.Join(g.dir, "out.ndjson")
	archived := func(n int) func() bool {
		return func() bool {
			lines, err := os.ReadFile(out)
			return err == nil && bytes.Count(lines, []byte("\n")) == n
		}
	}
	text = bytes.Replace(text, []byte(b.url), []byte(other.url), 1)
	text = append(text, []byte("  - name: archive\n    file: {path: "+out+"}\n")...)
	must(t, os.WriteFile(g.config, text, 0o600))
	must(t, p.Process.Signal(syscall.SIGHUP))
	waitFor(t, "the new forwarder", archived(1))
	send("r2")
	waitFor(t, "the second event", func() bool { return other.lacks([]string{"r2"}) == 0 })
	if b.lacks([]string{"r2"}) == 0 || other.lacks([]string{"r1"}) == 0 {
		t.Error("a forwarder that was changed did not go on where it was")
	}
	// A key that is misspelt is not one that is left out.
	must(t, os.WriteFile(g.config, bytes.Replace(text, []byte("forwarders:"), []byte("forwarder:"), 1), 0o600))
	must(t, p.Process.Signal(syscall.SIGHUP))
	waitFor(t, "the log line about the mistake", func() bool { return strings.Contains(p.stderr.String(), `unknown key \"forwarder\"`) })
	send("r3")
	waitFor(t, "the third event", func() bool { return other.lacks([]string{"r3"}) == 0 })
	waitFor(t, "all three in the archive", archived(3))
	p.stop()
}

// Whoever asks for tokens and gets none does not fill the log, and it says from where he
// asks.
func TestRefusedTokens(t *testing.T) {
	g := newGateway(t, "http://127.0.0.1:1", "trusted-proxies: [127.0.0.0/8]")
	text, err := os.ReadFile(g.config)
	must(t, err)
	text = bytes.Replace(text, []byte("    path: /webhooks\n"), fmt.Appendf(nil, "    path: /webhooks\n    auth: [{oauth: {client-id: platform, client-secrets: [{file: %s/secret}]}}]\n", g.dir), 1)
	must(t, os.WriteFile(g.config, text, 0o600))
	p := g.receive()
	ask := func(secret string) int {
		req, err := http.NewRequest(http.MethodPost, p.url+"/oauth/token", strings.NewReader("grant_type=client_credentials"))
		must(t, err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("X-Forwarded-For", "203.0.113.9")
		req.SetBasicAuth("platform", secret)
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		_ = res.Body.Close()
		return res.StatusCode
	}
	for range 50 {
		if status := ask("guessed"); status != http.StatusUnauthorized {
			t.Fatal(status)
		}
	}
	if status := ask(gatewaySecret); status != http.StatusOK {
		t.Error(status)
	}
	p.stop()
	log := p.stderr.String()
	if n := strings.Count(log, "gets none"); n == 0 || n > 25 || !strings.Contains(log, "from=203.0.113.9 refused=1\n") || strings.Contains(log, "guessed") {
		t.Errorf("the log:\n%s", log)
	}
}

// The settings that are wrong are found before anything is received, and said in one
// line that tells where.
func TestGatewaySettings(t *testing.T) {
	t.Setenv("SWITCHHOOK_SECRET", "")
	t.Setenv("SWITCHHOOK_CONFIG", "")
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	token := file("token", "secret-token-x\n")
	source := "sources:\n  - {name: zoom, path: /zoom, secrets: [{file: " + token + "}]}\n"
	for name, c := range map[string]struct {
		args []string
		yaml string
		want string
	}{
		"right":                        {nil, source, ""},
		"right, all of it":             {nil, strings.ReplaceAll(everything, "TOKEN", token), ""},
		"no source":                    {nil, "listen: :0", "there is no source"},
		"no secret":                    {nil, "sources: [{name: zoom, path: /zoom}]", "source zoom: webhook: the secret is missing"},
		"a key that is misspelt":       {nil, source + "lisen: x", `unknown key "lisen"`},
		"a key of a source":            {nil, "sources:\n  - {name: zoom, pth: /zoom}", `sources: [2:18] unknown field "pth"`},
		"a key of a target":            {nil, source + "forwarders: [{name: x, http: {uri: x}}]", `unknown field "uri"`},
		"no target":                    {nil, source + "forwarders: [{name: x}]", "forwarder x has 0 targets"},
		"two targets":                  {nil, source + "forwarders: [{name: x, stdout: {}, file: {path: x}}]", "forwarder x has 2 targets"},
		"a forwarder twice":            {nil, source + "forwarders: [{name: x, stdout: {}}, {name: x, stdout: {}}]", "two forwarders with the name x"},
		"a forwarder without a name":   {nil, source + "forwarders: [{stdout: {}}]", "a name is needed"},
		"a source that is not there":   {nil, source + "forwarders: [{name: x, sources: [zom], stdout: {}}]", `there is no source "zom"`},
		"a secret in the file":         {nil, "sources: [{name: zoom, path: /zoom, secrets: [open-sesame]}]", "sources: "},
		"a secret in two places":       {nil, "sources: [{name: zoom, path: /zoom, secrets: [{file: x, env: y}]}]", "one of them"},
		"a variable that is not set":   {nil, "sources: [{name: zoom, path: /zoom, secrets: [{env: NO_SUCH_VARIABLE}]}]", "NO_SUCH_VARIABLE is not set"},
		"a size":                       {nil, strings.Replace(source, "path:", "max-body: 5MB, path:", 1), "is not a number of bytes"},
		"auth of no kind":              {nil, strings.Replace(source, "path:", "auth: [{}], path:", 1), "one of basic, bearer, header, oauth"},
		"no file":                      {[]string{"--config", filepath.Join(dir, "none")}, "", "no such file"},
		"a source and a file":          {[]string{"--secret-file", token}, source, "the sources are in"},
		"a short horizon":              {[]string{"--duplicates-within", "1h"}, source, "at least 2h0m0s"},
		"a short retention":            {[]string{"--retention", "1h"}, source, "--retention 1h0m0s must be at least"},
		"no retention":                 {[]string{"--retention", "0"}, source, "must be more than 0"},
		"a proxy that is no prefix":    {[]string{"--trusted-proxies", "10.0.0.1"}, source, "is not a CIDR prefix"},
		"half of TLS":                  {[]string{"--tls-cert", token}, source, "go together"},
		"TLS in two ways":              {[]string{"--tls-cert", token, "--tls-key", token, "--acme-domain", "hooks.example.com"}, source, "use one"},
		"no host name":                 {[]string{"--acme-domain", "localhost", "--acme-cache", filepath.Join(dir, "acme")}, source, "--acme-domain: \"localhost\" is not a host name"},
		"no certificate":               {[]string{"--tls-cert", token, "--tls-key", token}, source, "failed to find any PEM data"},
		"an address":                   {[]string{"--listen", "8050"}, source, "must be HOST:PORT"},
		"an admin address":             {[]string{"--admin", "8051"}, source, "must be HOST:PORT"},
		"no room in the quarantine":    {[]string{"--quarantine-requests", "0"}, source, "at least 1"},
		"no connections":               {[]string{"--max-connections", "0"}, source, "at least 1"},
		"a URL that is none":           {[]string{"--forward-to", "localhost:3000"}, source, `--forward-to "localhost:3000" is none of http://`},
		"a URL with a password":        {[]string{"--forward-to", "htp://user:open-sesame@backend/"}, source, `--forward-to "backend/" is none of http://`},
		"two forwarders to a file":     {nil, source + "forwarders: [{name: x, file: {path: a.ndjson}}, {name: y, file: {path: ./a.ndjson}}]", "forwarders x and y write to the same file"},
		"a command that is not there":  {nil, source + "forwarders: [{name: x, command: {args: [no-such-program-here]}}]", "executable file not found"},
		"a file in no directory":       {[]string{"--forward-to", "file:" + filepath.Join(dir, "no", "x")}, source, "no such file or directory"},
		"a pause that is negative":     {nil, source + "forwarders: [{name: x, min-pause: -1s, stdout: {}}]", "must not be negative"},
		"two sources with a path":      {nil, source + "  - {name: other, path: /zoom, secrets: [{file: " + token + "}]}\n", "have the same path"},
		"two documents":                {nil, source + "---\n" + source, "more than one document"},
		"sources that are no list":     {nil, "sources: zoom", "sources: "},
		"tokens without client secret": {nil, strings.Replace(source, "path:", "auth: [{oauth: {client-id: c}}], path:", 1), "ClientSecrets"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"receive", "--check", "--inbox", filepath.Join(dir, "inbox.db")}, c.args...)
			if c.yaml != "" {
				args = append([]string{args[0], "--config", file("gateway.yaml", c.yaml)}, args[1:]...)
			}
			var stdout, stderr strings.Builder
			code := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
			switch {
			case c.want == "" && (code != exitOK || !strings.Contains(stdout.String(), "the settings are right")):
				t.Errorf("%d %s %s", code, stdout.String(), stderr.String())
			case c.want != "" && (code == exitOK || !strings.Contains(stderr.String(), c.want) || strings.Count(stderr.String(), "\n") != 1):
				t.Errorf("exit code %d, %s; want %s", code, stderr.String(), c.want)
			}
			if strings.Contains(stderr.String(), "open-sesame") {
				t.Error("a secret is printed")
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "inbox.db")); err == nil {
		t.Error("looking at the settings made an inbox")
	}
}

// everything is a file with all the keys there are.
const everything = `
listen: 127.0.0.1:0
admin: 127.0.0.1:0
inbox: inbox.db
trusted-proxies: [10.0.0.0/8, "fd00::/8"]
retention: 48h
duplicates-within: 3h
quarantine-requests: 100
quarantine-size: 1MiB
quarantine-keep: 24h
max-connections: 100
max-connections-per-address: 10
stop-timeout: 3s
log-level: info
log-format: json
sources:
  - name: zoom
    path: /zoom
    secrets: [{file: TOKEN}, {file: TOKEN}]
    tolerance: 3m
    max-body: 64KiB
    auth:
      - basic: {username: user, password: {file: TOKEN}}
      - bearer: {file: TOKEN}
      - header: {name: x-key, value: {file: TOKEN}}
      - oauth: {client-id: client, client-secrets: [{file: TOKEN}], path: /token, life: 2h}
  - {name: other, path: /other, secrets: [{file: TOKEN}]}
forwarders:
  - name: backend
    sources: [zoom]
    events: [number_management.*]
    only-new: true
    min-pause: 1s
    max-pause: 5m
    give-up-after: 24h
    http:
      url: https://backend.example/hooks
      secret: {file: TOKEN}
      headers: {x-from: switchhook}
      secret-headers: {authorization: {file: TOKEN}}
      timeout: 10s
      parallel: 4
  - {name: archive, file: {path: archive.ndjson, rotate: 100MiB, keep: 10}}
  - {name: import, command: {args: ["true"], timeout: 5s}}
  - {name: out, stdout: {}}
`
