package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/seal"
	"github.com/switchhook/switchhook/internal/store"
	"github.com/switchhook/switchhook/webhook"
)

// buildDir is where the program is built; TestMain makes and removes it.
var buildDir string

// build builds the program, once for all tests.
var build = sync.OnceValues(func() (string, error) {
	file := filepath.Join(buildDir, "switchhook")
	out, err := exec.Command("go", "build", "-o", file, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return file, nil
})

func program(t testing.TB) string {
	t.Helper()
	file, err := build()
	must(t, err)
	return file
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// leftOut skips a test for what is missing, unless everything has to be there.
func leftOut(t testing.TB, format string, args ...any) {
	t.Helper()
	reason := fmt.Sprintf(format, args...)
	if os.Getenv("SWITCHHOOK_TEST_REQUIRE_ALL") != "" {
		t.Fatal(reason)
	}
	t.Skip("left out: " + reason)
}

// installation is a database with its key and the operator key of a program that
// publishes to it.
type installation struct {
	t   testing.TB
	dir string
	url string // of the database; empty: it is a file in dir
	key string
}

// testMasterKey is 32 bytes in base64.
const testMasterKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n"

func install(t testing.TB) *installation {
	t.Helper()
	return installOn(t, "")
}

// installOn is install for a database of PostgreSQL.
func installOn(t testing.TB, database string) *installation {
	t.Helper()
	in := &installation{t: t, dir: t.TempDir(), url: database}
	must(t, os.WriteFile(in.masterKey(), []byte(testMasterKey), 0o600))
	in.create()
	out, err := exec.Command(program(t), "keys", "create", "--database", in.database(), "--master-key-file", in.masterKey()).Output()
	must(t, err)
	in.key = strings.TrimSpace(string(out))
	return in
}

// create makes the database, as a platform does when it is first started.
func (in *installation) create() {
	in.t.Helper()
	key, err := seal.Load(in.masterKey())
	must(in.t, err)
	db, err := store.Open(in.t.Context(), store.Options{Database: in.database(), Key: key})
	must(in.t, err)
	must(in.t, db.Close())
}

func (in *installation) database() string {
	return cmp.Or(in.url, "sqlite:"+filepath.Join(in.dir, "test.db"))
}

func (in *installation) masterKey() string { return filepath.Join(in.dir, "key") }

// running is a platform in a process of its own.
type running struct {
	*exec.Cmd
	t      testing.TB
	url    string
	key    string
	stderr lockedBuffer
}

// lockedBuffer is a buffer that may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve starts a platform and waits until it answers.
func (in *installation) serve(args ...string) *running {
	in.t.Helper()
	args = append([]string{
		"serve", "--dev", "--ready", "--listen", "127.0.0.1:0", "--log-level", "warn",
		"--database", in.database(), "--master-key-file", in.masterKey(),
	}, args...)
	return in.start(exec.Command(program(in.t), args...))
}

func (in *installation) start(cmd *exec.Cmd) *running {
	in.t.Helper()
	p := &running{Cmd: cmd, t: in.t, key: in.key}
	p.Stderr = &p.stderr
	out, err := p.StdoutPipe()
	must(in.t, err)
	must(in.t, p.Start())
	in.t.Cleanup(p.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.kill()
		in.t.Fatalf("serve ended before it answered: %v\n%s", err, p.stderr.String())
	}
	p.url = strings.TrimSpace(line)
	return p
}

// startWithAdmin starts a process that prints its URL and that of its admin address,
// and returns it with the latter.
func startWithAdmin(t testing.TB, cmd *exec.Cmd) (p *running, admin string) {
	t.Helper()
	p = &running{Cmd: cmd, t: t}
	cmd.Stderr = &p.stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(p.kill)
	in := bufio.NewReader(out)
	var lines [2]string
	for i := range lines {
		if lines[i], err = in.ReadString('\n'); err != nil {
			p.kill()
			t.Fatalf("it ended before it answered: %v\n%s", err, p.stderr.String())
		}
	}
	p.url = strings.TrimSpace(lines[0])
	return p, strings.TrimSpace(lines[1])
}

// kill ends the process as kill -9 does. It may be called more than once.
func (p *running) kill() {
	if p.ProcessState == nil {
		_ = p.Process.Kill()
		_ = p.Wait()
	}
}

// stop ends the process as an operator does, and expects it to end well.
func (p *running) stop() {
	p.t.Helper()
	must(p.t, p.Process.Signal(syscall.SIGTERM))
	if err := p.Wait(); err != nil {
		p.t.Errorf("serve did not end well: %v\n%s", err, p.stderr.String())
	}
}

// call calls the API and returns the status and the body of the answer.
func (p *running) call(ctx context.Context, c *http.Client, method, path, media string, body io.Reader) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, body)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+p.key)
	req.Header.Set("Content-Type", media)
	res, err := c.Do(req)
	if err != nil {
		return nil, nil, err
	}
	answer, err := io.ReadAll(res.Body)
	return res, answer, errors.Join(err, res.Body.Close())
}

// ask calls the API, expects the status, and decodes the answer into v.
func (p *running) ask(method, path, body string, status int, v any) *http.Response {
	p.t.Helper()
	res, answer, err := p.call(p.t.Context(), http.DefaultClient, method, path, "application/json", strings.NewReader(body))
	must(p.t, err)
	if res.StatusCode != status {
		p.t.Fatalf("%s %s: status %d, want %d: %s", method, path, res.StatusCode, status, answer)
	}
	if v != nil {
		must(p.t, json.Unmarshal(answer, v))
	}
	return res
}

// inbox is an endpoint that remembers what it got.
type inbox struct {
	name, secret string
	url          string

	mu sync.Mutex
	// before, if set, decides what becomes of a request, knowing how often its id
	// arrived already: a status other than 0 is the answer.
	before func(times int) int
	// around, if set, is called with what takes a request.
	around func(take func())
	// each, if set, is called with every event when it arrives first.
	each     func(*webhook.Event)
	got      map[string]*letter // by request id
	repeated int
	faults   []string
}

// letter is a delivery as it arrived.
type letter struct {
	body  [32]byte
	event string // the number in its body
	times int    // how often it arrived
	taken time.Time
}

func openInbox(t testing.TB, name, secret string) *inbox {
	t.Helper()
	b := &inbox{name: name, secret: secret, got: map[string]*letter{}}
	r, err := webhook.New(webhook.Config{Secrets: []string{b.secret}, Error: func(_ *http.Request, err error) {
		b.fault("%v", err)
	}})
	must(t, err)
	take := r.Handler(func(_ context.Context, e *webhook.Event) error { return b.take(e) })
	serve := func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		before, times := b.before, 0
		if l := b.got[r.Header.Get(webhook.HeaderRequestID)]; l != nil {
			times = l.times
		}
		b.mu.Unlock()
		if before != nil {
			if status := before(times); status != 0 {
				w.WriteHeader(status)
				return
			}
		}
		take.ServeHTTP(w, r)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.around == nil {
			serve(w, r)
		} else {
			b.around(func() { serve(w, r) })
		}
	}))
	t.Cleanup(s.Close)
	b.url = s.URL
	return b
}

// answer says how requests are answered from now on; see inbox.before.
func (b *inbox) answer(before func(times int) int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.before = before
}

func (b *inbox) fault(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, fmt.Sprintf(format, args...))
}

func (b *inbox) take(e *webhook.Event) error {
	var p struct {
		Object struct {
			CNAM string `json:"cnam"`
		} `json:"object"`
	}
	if err := json.Unmarshal(e.Payload, &p); err != nil {
		return err
	}
	sum := sha256.Sum256(e.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.got[e.RequestID]
	if l == nil {
		l = &letter{body: sum, event: p.Object.CNAM, taken: time.Now()}
		b.got[e.RequestID] = l
		if b.each != nil {
			b.each(e)
		}
	} else {
		b.repeated++
	}
	l.times++
	if l.body != sum {
		b.faults = append(b.faults, "request "+e.RequestID+" came with two bodies")
	}
	return nil
}

// numbered returns an event of carrier 1 that is told from others by its CNAM.
func numbered(name string) string {
	return `{"event":"number_management.peering_number_cnam_updated","payload":{"account_id":"customer","object":{"carrier_code":1,"phone_numbers":["+14155550132"],"cnam":"` + name + `"}}}`
}

// subscribe makes an app with a subscription for each inbox.
func (p *running) subscribe(inboxes ...*inbox) {
	p.t.Helper()
	type object = map[string]any
	var apps []object
	for _, b := range inboxes {
		apps = append(apps, object{
			"name": b.name, "account_id": "carrier", "secret_token": b.secret, "carrier_codes": []int{1},
			"scopes": []string{"number_management_numbers:read:admin"},
			"subscriptions": []object{{
				"event_subscription_name": "numbers", "event_webhook_url": b.url,
				"events": []string{"number_management.peering_number_cnam_updated"},
			}},
		})
	}
	m, err := json.Marshal(object{"accounts": []object{{"id": "carrier"}, {"id": "customer"}}, "apps": apps})
	must(p.t, err)
	var plan struct {
		Steps []struct{ Action, Name, Reason string } `json:"steps"`
	}
	p.ask("POST", operator+"/apply", string(m), http.StatusOK, &plan)
	for _, s := range plan.Steps {
		if s.Action == "fail" {
			p.t.Fatalf("%s: %s", s.Name, s.Reason)
		}
	}
}
