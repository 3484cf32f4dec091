package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/challenge"
	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/inventory"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/memnet"
	"github.com/switchhook/switchhook/internal/oauth"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/internal/rounds"
	"github.com/switchhook/switchhook/internal/seal"
	"github.com/switchhook/switchhook/internal/store"
	"github.com/switchhook/switchhook/webhook"
)

var update = flag.Bool("update", false, "rewrite golden files")

const (
	cnamEvent   = "number_management.peering_number_cnam_updated"
	cnamScope   = "number_management_numbers:read:admin"
	secretToken = "secret-token-of-the-carrier"
)

// platform is the real thing: store, intake, sender, client and API.
type platform struct {
	t       testing.TB
	db      *store.DB
	file    string       // where the database is
	close   func() error // closes the database; it may be called again
	catalog *catalog.Catalog
	handler http.Handler
	tokens  *oauth.Tokens
	manager *manage.Manager
	log     *buffer

	inventory *inventory.Inventory
	mailer    woken

	// stopping ends streams when it is closed.
	stopping chan struct{}

	// url is where the API is served, or empty in a bubble, where a real socket would
	// stop the clock.
	url string
	// key is the operator key that calls are made with.
	key string

	mu      sync.Mutex
	answers []reply
}

// options say how a platform differs from the usual.
type options struct {
	// schedule holds the pauses between attempts. nil: there is one attempt only.
	schedule hook.Schedule
	// net, if set, is the network, and the handler is called without a server.
	net *memnet.Net
	// store, if set, stands between the intake and the database.
	store func(*store.DB) intake.Store
	rates Rates
	// policy says what may be called. nil: this machine, and plain http.
	policy *hook.EndpointPolicy
	// cap is how many subscriptions an app may have. 0: as many as the contract says.
	cap int
	// file is where the database is. Empty: in a directory of its own.
	file string
	// idle: nothing is sent.
	idle bool
	// connections is how many there may be at a time. 0: as many as usual.
	connections int
	// noMail: there is no mail server. Otherwise mails wait for a test to send them.
	noMail bool
}

// Operator keys, by what they may do.
const (
	allKey     = "shk_everything"
	readKey    = "shk_read"
	publishKey = "shk_publish"
	manageKey  = "shk_manage"
)

// fresh is a database in which nothing was ever done. Making its tables takes longer
// than most tests.
var fresh = sync.OnceValue(func() []byte {
	dir, err := os.MkdirTemp("", "switchhook-test-*")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	sealing, err := seal.NewKey(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		panic(err)
	}
	file := filepath.Join(dir, "test.db")
	db, err := store.Open(context.Background(), store.Options{Database: "sqlite:" + file, Key: sealing})
	if err != nil {
		panic(err)
	}
	if err := db.Close(); err != nil {
		panic(err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	return content
})

func newPlatform(t testing.TB, o options) *platform {
	t.Helper()
	p := &platform{t: t, key: allKey, log: &buffer{}, stopping: make(chan struct{})}
	log := slog.New(slog.NewTextHandler(io.MultiWriter(p.log, t.Output()), &slog.HandlerOptions{Level: slog.LevelDebug}))
	sealing, err := seal.NewKey(bytes.Repeat([]byte{7}, 32))
	must(t, err)
	if p.file = o.file; p.file == "" {
		p.file = filepath.Join(t.TempDir(), "test.db")
	}
	if _, err := os.Stat(p.file); errors.Is(err, os.ErrNotExist) {
		must(t, os.WriteFile(p.file, fresh(), 0o600))
	}
	p.db, err = store.Open(t.Context(), store.Options{
		Database: "sqlite:" + p.file, Key: sealing, Deliver: true, Mail: !o.noMail, Log: log,
	})
	must(t, err)
	p.close = sync.OnceValue(p.db.Close)
	t.Cleanup(func() { must(t, p.close()) })
	for _, k := range []struct {
		id, secret string
		scopes     []hook.KeyScope
	}{
		{"key-all", allKey, hook.KeyScopes()},
		{"key-read", readKey, []hook.KeyScope{hook.KeyRead}},
		{"key-publish", publishKey, []hook.KeyScope{hook.KeyPublish}},
		{"key-manage", manageKey, []hook.KeyScope{hook.KeyManage}},
	} {
		if known, err := p.db.FindKey(t.Context(), hook.Secret(k.secret)); known != nil && err == nil {
			continue // the file is of an earlier platform
		}
		must(t, p.db.CreateKey(&hook.OperatorKey{ID: k.id, Name: "tests", Scopes: k.scopes, Created: time.Now()}, hook.Secret(k.secret)))
	}

	call := outbound.Config{Policy: hook.EndpointPolicy{HTTP: true, Allowed: hook.Loopback()}, UserAgent: "Switchhook/test"}
	call.MaxConnections = o.connections
	if o.policy != nil {
		call.Policy = *o.policy
	}
	if o.net != nil {
		call.DialContext = o.net.DialContext
	}
	client := outbound.New(call)
	t.Cleanup(client.Close)
	if o.schedule == nil {
		o.schedule = hook.Schedule{}
	}
	sender := deliver.New(p.db, p.db.Directory(), client, deliver.Config{Schedule: o.schedule, Log: log})
	if !o.idle {
		t.Cleanup(start(t, sender))
	}
	p.catalog = catalog.New(catalog.NumberManagement())
	last, err := p.db.LastEvent(t.Context())
	must(t, err)
	ids := hook.NewIDs(0, int64(last))
	in := &intake.Intake{Catalog: p.catalog, Directory: p.db.Directory(), Store: p.db, Sender: sender, IDs: ids}
	if o.store != nil {
		in.Store = o.store(p.db)
	}
	p.tokens = oauth.New(sealing.Derive)
	p.manager = &manage.Manager{
		Store: p.db, Directory: p.db.Directory(), Catalog: p.catalog, Sender: sender,
		Prober: &challenge.Prober{Client: client, IDs: ids}, Policy: call.Policy, MaxSubscriptions: o.cap, Every: rounds.Every, Log: log,
	}
	p.inventory = &inventory.Inventory{Store: p.db, Directory: p.db.Directory(), Intake: in, Apps: p.manager}
	p.handler = New(Config{
		Store: p.db, Directory: p.db.Directory(), Intake: in, Catalog: p.catalog, Client: client, Sender: sender, Mailer: &p.mailer, Tokens: p.tokens, PageKey: sealing.Derive("pages"), Rates: o.rates, Version: "1.2.3", Log: log,
		Manager: p.manager, Inventory: p.inventory, Stopping: p.stopping,
	})
	p.handler = described(t, p.handler)
	if o.net == nil {
		s := httptest.NewServer(p.handler)
		t.Cleanup(s.Close)
		p.url = s.URL
	}
	return p
}

// woken counts how often it was woken.
type woken struct{ atomic.Int32 }

func (w *woken) Wake() { w.Add(1) }

// start runs the sender and returns a function that stops it and waits.
func start(t testing.TB, s *deliver.Sender) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	_, err := s.Start(ctx)
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("sender: %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("the sender does not stop")
		}
	}
}

// reply is what the API answered to a call.
type reply struct {
	call   string // method and path
	status int
	header http.Header
	body   string
}

// call makes a call, with a body if that is not empty, and returns the answer.
func (p *platform) call(method, path, body string, edit ...func(*http.Request)) reply {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, strings.NewReader(body))
	must(p.t, err)
	if p.key != "" {
		req.Header.Set("Authorization", "Bearer "+p.key)
	}
	for _, f := range edit {
		f(req)
	}
	var res *http.Response
	if p.url == "" {
		w := httptest.NewRecorder()
		p.handler.ServeHTTP(w, req)
		res = w.Result()
	} else {
		res, err = http.DefaultClient.Do(req)
		must(p.t, err)
	}
	defer res.Body.Close()
	var text []byte
	if res.Header.Get("Content-Type") != "text/event-stream" { // which has no end
		text, err = io.ReadAll(res.Body)
		must(p.t, err)
	}
	a := reply{method + " " + path, res.StatusCode, res.Header, string(text)}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers = append(p.answers, a)
	return a
}

// want is call, and a failure if the answer has another status.
func (p *platform) want(status int, method, path, body string, edit ...func(*http.Request)) reply {
	p.t.Helper()
	a := p.call(method, path, body, edit...)
	if a.status != status {
		p.t.Fatalf("%s: status %d, want %d: %s", a.call, a.status, status, a.body)
	}
	return a
}

// header sets a header of a call.
func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// with makes a call with another operator key; an empty one means none.
func with(key string) func(*http.Request) {
	return func(r *http.Request) {
		if r.Header.Del("Authorization"); key != "" {
			r.Header.Set("Authorization", "Bearer "+key)
		}
	}
}

var ndjson = header("Content-Type", "application/x-ndjson")

// read decodes the body of an answer, strictly: a member that the type does not
// have would not be tested.
func read[T any](t testing.TB, a reply) T {
	t.Helper()
	var v T
	dec := json.NewDecoder(strings.NewReader(a.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%s: %v in %s", a.call, err, a.body)
	}
	return v
}

// get reads an answer with status 200.
func get[T any](p *platform, path string) T {
	p.t.Helper()
	return read[T](p.t, p.want(http.StatusOK, "GET", path, ""))
}

// page is a page of the list of deliveries.
type page struct {
	Next       string     `json:"next_page_token"`
	PageSize   int        `json:"page_size"`
	Deliveries []Delivery `json:"deliveries"`
}

// cnam is a CNAM event of carrier 1 as a producer sends it.
func cnam(name string) string {
	b, _ := json.Marshal(name)
	return `{"event":"` + cnamEvent + `","payload":{"account_id":"customer","object":{"carrier_code":1,"phone_numbers":["+14155550132"],"cnam":` + string(b) + `}}}`
}

// publish publishes an event and returns the answer.
func (p *platform) publish(event string) Accepted {
	p.t.Helper()
	return read[Accepted](p.t, p.want(http.StatusAccepted, "POST", "/v2/events", event))
}

// apply applies a manifest.
func (p *platform) apply(m *manage.Manifest) manage.Plan {
	p.t.Helper()
	body, err := json.Marshal(m)
	must(p.t, err)
	return read[manage.Plan](p.t, p.want(http.StatusOK, "POST", operator+"/apply", string(body)))
}

// manifest is a customer and a carrier with an app that has these subscriptions.
func manifest(subs ...manage.Subscription) *manage.Manifest {
	return &manage.Manifest{
		Accounts: []manage.Account{{ID: "carrier", Name: "Blue Carrier"}, {ID: "customer"}},
		Apps: []manage.App{{
			Name: "number sync", Account: "carrier", SecretToken: secretToken,
			Scopes: []string{cnamScope}, CarrierCodes: []int32{1}, Subscriptions: subs,
		}},
	}
}

// to is a subscription to the CNAM event.
func to(name, url string) manage.Subscription {
	return manage.Subscription{Name: name, URL: url, Events: []string{cnamEvent}}
}

// subscription returns the subscription of a name.
func (p *platform) subscription(name string) Subscription {
	p.t.Helper()
	list := get[struct {
		List []Subscription `json:"event_subscriptions"`
	}](p, operator+"/subscriptions")
	for _, s := range list.List {
		if s.Name == name {
			return s
		}
	}
	p.t.Fatalf("there is no subscription %q", name)
	return Subscription{}
}

// deliveryOf returns how an event stands with a subscription.
func (p *platform) deliveryOf(event string, s Subscription) Delivery {
	p.t.Helper()
	for _, d := range get[Event](p, operator+"/events/"+event).Deliveries {
		if d.Subscription == s.ID {
			return get[Delivery](p, operator+"/deliveries/"+d.ID)
		}
	}
	p.t.Fatalf("event %s is not owed to %q", event, s.Name)
	return Delivery{}
}

// await waits until the event stands with the subscription as it should.
func (p *platform) await(event string, s Subscription, want hook.State) (d Delivery) {
	p.t.Helper()
	eventually(p.t, func() bool {
		d = p.deliveryOf(event, s)
		return d.State == want
	})
	return d
}

// endpoint is a program that receives webhooks on this machine. It answers as the
// caller name of an event says: fail with 400, busy with 500, hang not before it is
// released, and 204 otherwise.
type endpoint struct {
	url string

	foreign atomic.Bool // requests may be signed with another secret

	mu      sync.Mutex
	seen    []received
	healthy bool // answers 204 to everything from now on
	release chan struct{}
}

// received is a request whose signature was right.
type received struct {
	header http.Header
	host   string
	body   string
}

func newEndpoint(t testing.TB, edit ...func(http.Handler) http.Handler) *endpoint {
	t.Helper()
	e := &endpoint{release: make(chan struct{})}
	h := e.handler(t)
	for _, f := range edit {
		h = f(h)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	t.Cleanup(e.heal) // before the server is closed, which waits for what hangs
	e.url = s.URL + "/webhooks"
	return e
}

// handler verifies, answers challenges, and notes what else comes in.
func (e *endpoint) handler(t testing.TB) http.Handler {
	t.Helper()
	receiver, err := webhook.New(webhook.Config{
		Secrets: []string{secretToken},
		Error: func(_ *http.Request, err error) {
			if onPurpose := err.Error() == errOnPurpose.Error(); !onPurpose && !e.foreign.Load() {
				t.Errorf("endpoint: %v", err)
			}
		},
	})
	must(t, err)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, header := r.Host, r.Header.Clone()
		receiver.Handler(func(ctx context.Context, v *webhook.Event) error {
			e.mu.Lock()
			e.seen = append(e.seen, received{header, host, string(v.Body)})
			healthy, release := e.healthy, e.release
			e.mu.Unlock()
			var p struct{ Object struct{ CNAM string } }
			if err := json.Unmarshal(v.Payload, &p); err != nil || healthy {
				return err
			}
			switch p.Object.CNAM {
			case "fail":
				return webhook.Permanent(errOnPurpose)
			case "busy":
				return errOnPurpose
			case "hang":
				select {
				case <-release:
				case <-ctx.Done():
				}
			}
			return nil
		}).ServeHTTP(w, r)
	})
}

// heal makes the endpoint answer everything with 204, also what hangs.
func (e *endpoint) heal() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.healthy {
		e.healthy = true
		close(e.release)
	}
}

// requests returns the verified requests so far, challenges not among them.
func (e *endpoint) requests() []received {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]received(nil), e.seen...)
}

var errOnPurpose = errors.New("on purpose")

// buffer is written to and read from by several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// eventually waits until ok, which is asked again and again.
func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	late := time.After(time.Minute)
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for !ok() {
		select {
		case <-again.C:
		case <-late:
			t.Fatal("it did not come to that within a minute")
		}
	}
}

// golden compares text with what is in a file.
func golden(t testing.TB, file, got string) {
	t.Helper()
	file = filepath.Join("testdata", file)
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(file, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if got != string(want) {
		t.Errorf("%s differs; if this is how it is to be, run the tests with -update and read the difference\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

// indent writes JSON over several lines, everything else as it is.
func indent(text string) string {
	var b bytes.Buffer
	if json.Indent(&b, []byte(text), "", "  ") != nil {
		return text
	}
	return b.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
