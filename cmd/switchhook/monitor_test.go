package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/switchhook/switchhook/internal/monitor"
	"github.com/switchhook/switchhook/internal/pgtest"
)

// overseen is a platform with its admin address.
type overseen struct {
	*running
	admin string
}

// oversee starts a platform that can be looked at.
func (in *installation) oversee(args ...string) *overseen {
	in.t.Helper()
	return in.overseeIn(nil, args...)
}

// overseeIn does so with these variables in its environment.
func (in *installation) overseeIn(environment []string, args ...string) *overseen {
	in.t.Helper()
	args = append([]string{
		"serve", "--dev", "--ready", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-level", "warn",
		"--database", in.database(), "--master-key-file", in.masterKey(),
	}, args...)
	cmd := exec.Command(program(in.t), args...)
	cmd.Env = append(os.Environ(), environment...)
	p, admin := startWithAdmin(in.t, cmd)
	p.key = in.key
	return &overseen{p, admin}
}

// look reads a page. Status 0: nobody is there.
func look(t testing.TB, url string) (status int, text string) {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	must(t, err)
	return res.StatusCode, string(b)
}

func (w *overseen) health() (h monitor.Health) {
	w.t.Helper()
	status, text := look(w.t, w.admin+"/healthz")
	if err := json.Unmarshal([]byte(text), &h); status != http.StatusOK || err != nil {
		w.t.Fatalf("%d %s %v", status, text, err)
	}
	return h
}

// numbers are what a scrape brought.
type numbers map[string]*dto.MetricFamily

func (w *overseen) scrape() numbers {
	w.t.Helper()
	status, text := look(w.t, w.admin+"/metrics")
	if status != http.StatusOK {
		w.t.Fatalf("%d %s", status, text)
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	n, err := p.TextToMetricFamilies(strings.NewReader(text))
	must(w.t, err)
	return n
}

// of returns a counter, a gauge or how often a histogram was observed, summed over
// what has these labels, each as name=value; without its labels a metric counts as 0.
func (n numbers) of(name string, labels ...string) (sum float64) {
	for _, m := range n["switchhook_"+name].GetMetric() {
		has := map[string]bool{}
		for _, l := range m.GetLabel() {
			has[l.GetName()+"="+l.GetValue()] = true
		}
		fits := true
		for _, l := range labels {
			fits = fits && has[l]
		}
		if fits {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// What is counted is what was done: published, delivered, refused, timed out, tried
// again, challenged. The pages tell so in the form that Prometheus reads.
func TestMetrics(t *testing.T) {
	in := install(t)
	p := in.oversee("--retry-steps", "100ms,100ms,100ms", "--answer-timeout", "400ms")
	if n := p.scrape(); n.of("ready") != 1 || n.of("store_writable") != 1 || n.of("publish_items_total", "result=accepted") != 0 {
		t.Errorf("at the start: %v", n)
	}
	good, broken, gone, silent := openInbox(t, "good", "secret-of-good"), openInbox(t, "broken", "secret-of-broken"), openInbox(t, "gone", "secret-of-gone"), openInbox(t, "silent", "secret-of-silent")
	p.subscribe(good, broken, gone, silent)
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	broken.answer(func(int) int { return http.StatusInternalServerError })
	gone.answer(func(int) int { return http.StatusGone })
	silent.answer(func(int) int { <-end; return 0 })
	unproven := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(unproven.Close)
	p.ask("POST", operator+"/apply", fmt.Sprintf(`{"apps":[{"name":"unproven","account_id":"carrier","secret_token":"secret-of-unproven","carrier_codes":[2],
		"scopes":["number_management_numbers:read:admin"],"subscriptions":[{"event_subscription_name":"numbers","event_webhook_url":%q,
		"events":["number_management.peering_number_cnam_updated"]}]}]}`, unproven.URL), http.StatusOK, nil)

	const events = 4
	for i := range events {
		p.ask("POST", "/v2/events", numbered(fmt.Sprint("n", i)), http.StatusAccepted, nil)
	}
	keyed := strings.Replace(numbered("keyed"), "{", `{"$routing":{"idempotency_key":"k"},`, 1)
	p.ask("POST", "/v2/events", keyed, http.StatusAccepted, nil)
	p.ask("POST", "/v2/events", keyed, http.StatusAccepted, nil)
	p.ask("POST", "/v2/events", `{"event":"number_management.peering_number_cnam_updated"}`, http.StatusBadRequest, nil)

	const all = events + 1
	ended := func(n numbers) float64 { return n.of("deliveries_ended_total") }
	waitFor(t, "the last delivery's end", func() bool {
		n := p.scrape()
		return ended(n) == 4*all && n.of("deliveries_outstanding") == 0
	})
	n := p.scrape()
	for _, want := range []struct {
		value  float64
		name   string
		labels []string
	}{
		{all, "published_events_total", []string{"event_type=number_management.peering_number_cnam_updated"}},
		{4 * all, "published_deliveries_total", nil},
		{all, "publish_items_total", []string{"result=accepted"}},
		{1, "publish_items_total", []string{"result=duplicate"}},
		{1, "publish_items_total", []string{"result=invalid"}},
		{0, "publish_items_total", []string{"result=unavailable"}},
		{all, "attempts_total", []string{"outcome=204", "attempt=first"}},
		{all, "attempts_total", []string{"outcome=410", "attempt=first"}},
		{all, "attempts_total", []string{"outcome=500", "attempt=first"}},
		{3 * all, "attempts_total", []string{"outcome=500", "attempt=retry"}},
		{all, "attempts_total", []string{"outcome=ReadTimeOut", "attempt=first"}},
		{10 * all, "attempts_total", nil}, // whatever the silent endpoint's later ones ended with
		{all, "deliveries_ended_total", []string{"state=delivered"}},
		{all, "deliveries_ended_total", []string{"state=failed"}},
		{2 * all, "deliveries_ended_total", []string{"state=exhausted"}},
		{0, "deliveries_ended_total", []string{"state=cancelled"}},
		{all, "delivery_from_event_seconds", []string{"attempt=first"}},
		{all, "delivery_from_publish_seconds", []string{"attempt=first"}},
		{0, "delivery_from_publish_seconds", []string{"attempt=retry"}},
		{4 * all, "attempt_lateness_seconds", []string{"attempt=first"}},
		{4, "challenges_total", []string{"result=ok"}},
		{1, "challenges_total", []string{"result=failed"}},
		{0, "challenges_total", []string{"result=inconclusive"}},
		{0, "store_commit_failures_total", nil},
		{0, "attempts_in_flight", nil},
		{0, "deliveries_in_hand", nil},
		{0, "lane_depth_max", nil},
		{1, "build_info", nil},
	} {
		if got := n.of(want.name, want.labels...); got != want.value {
			t.Errorf("%s %v is %v, want %v", want.name, want.labels, got, want.value)
		}
	}
	commits := n["switchhook_store_commit_rows"].GetMetric()[0].GetHistogram()
	if rows := commits.GetSampleSum(); commits.GetSampleCount() == 0 || rows < 15*all { // a row for each event, delivery and attempt
		t.Errorf("%v rows in %v commits", rows, commits.GetSampleCount())
	}
	for _, name := range []string{"go_goroutines", "process_resident_memory_bytes"} {
		if n[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}

	// What keeps failing waits in the store, where it can be seen to wait.
	p.stop()
	p = in.oversee("--retry-steps", "1h")
	p.ask("POST", "/v2/events", numbered("late"), http.StatusAccepted, nil)
	waitFor(t, "the attempt that fails", func() bool { return p.scrape().of("attempts_total", "outcome=500") == 1 })
	waitFor(t, "what is put off", func() bool {
		n := p.scrape()
		return n.of("deliveries_outstanding") >= 1 && n.of("deliveries_in_hand") <= 1
	})
	if h := p.health(); h.Status != "ok" || !h.Ready || h.Phase != "serving" || !h.Store.Writable || h.Delivery.Outstanding < 1 {
		t.Errorf("%+v", h)
	}
}

// Names and help texts are as Prometheus would have them, and no label tells of an
// endpoint or of anything else without a bound.
func TestMetricNames(t *testing.T) {
	in := install(t)
	p := in.oversee()
	b := openInbox(t, "good", "secret-of-good")
	p.subscribe(b)
	p.ask("POST", "/v2/events", numbered("one"), http.StatusAccepted, nil)
	waitFor(t, "the delivery", func() bool { return p.scrape().of("deliveries_ended_total") == 1 })
	_, text := look(t, p.admin+"/metrics")
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	must(t, err)
	for _, x := range problems {
		t.Errorf("%s: %s", x.Metric, x.Text)
	}
	labels := map[string]bool{
		"version": true, "goversion": true, "event_type": true, "result": true, "outcome": true, "attempt": true, "state": true,
	}
	for name, f := range p.scrape() {
		if !strings.HasPrefix(name, "switchhook_") {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if !labels[l.GetName()] {
					t.Errorf("%s has a label %s", name, l.GetName())
				}
			}
		}
	}
}

// A node whose database is away, or answers nobody, is not ready and says so in numbers,
// although nobody publishes anything. Once the database is back it is ready by itself,
// although nobody asks whether it is.
func TestReadinessWithoutDatabase(t *testing.T) {
	server := pgtest.Start(t)
	direct := installOn(t, server.URL())
	way := openCutter(t, server.Socket())
	p := (&installation{t: t, dir: direct.dir, url: way.database(server.URL()), key: direct.key}).oversee()
	writable := func(want float64) func() bool {
		return func() bool { return p.scrape().of("store_writable") == want }
	}
	for _, c := range []struct {
		name       string
		away, back func()
	}{
		{"stopped", func() { must(t, server.Stop()) }, func() { must(t, server.Run()) }},
		{"frozen", way.freeze, way.thaw},
	} {
		t.Run(c.name, func(t *testing.T) {
			waitFor(t, "the platform to be ready", writable(1))
			c.away()
			waitFor(t, "the platform to be not ready", writable(0))
			if status, text := look(t, p.admin+"/readyz"); status != http.StatusServiceUnavailable || !strings.HasPrefix(text, "not ready: the store cannot be written since ") {
				t.Errorf("%d %s", status, text)
			}
			if m := p.scrape(); m.of("ready") != 0 || m.of("store_commit_failures_total") == 0 {
				t.Errorf("ready %v, failures %v", m.of("ready"), m.of("store_commit_failures_total"))
			}
			if h := p.health(); h.Status != "alarm" || h.Ready || h.Store.Writable {
				t.Errorf("%+v", h)
			}
			// Whoever publishes now is told to come again, whether or not it gets as far as a commit.
			res, _, err := p.call(t.Context(), http.DefaultClient, "POST", "/v2/events", "application/json", strings.NewReader(numbered("one")))
			must(t, err)
			if res.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("publishing is answered with %d", res.StatusCode)
			}
			c.back()
			waitFor(t, "the platform to be ready again", writable(1))
			waitFor(t, "the end of the alarm", func() bool { return p.health().Status == "ok" })
			p.ask("POST", "/v2/events", numbered("one"), http.StatusAccepted, nil)
		})
	}
}

// A platform is ready from when it answers requests to the beginning of its end.
func TestReadiness(t *testing.T) {
	in := install(t)
	// Whoever holds the database makes it slow to start.
	db, err := sqlite.OpenConn(filepath.Join(in.dir, "test.db"), sqlite.OpenReadWrite)
	must(t, err)
	defer func() { must(t, db.Close()) }()
	must(t, sqlitex.ExecuteTransient(db, "BEGIN IMMEDIATE", nil))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	admin := "http://" + l.Addr().String()
	must(t, l.Close())
	started := make(chan *overseen)
	go func() {
		started <- in.oversee("--admin", strings.TrimPrefix(admin, "http://"), "--stop-timeout", "1m", "--answer-timeout", "1m")
	}()
	waitFor(t, "the admin address", func() bool { status, _ := look(t, admin+"/healthz"); return status == http.StatusOK })
	status, text := look(t, admin+"/readyz")
	if status != http.StatusServiceUnavailable || text != "not ready: it is starting\n" {
		t.Errorf("while starting: %d %s", status, text)
	}
	if _, text := look(t, admin+"/healthz"); !strings.Contains(text, `"phase": "starting"`) {
		t.Error(text)
	}
	if status, text := look(t, admin+"/metrics"); status != http.StatusOK || !strings.Contains(text, "switchhook_ready 0\n") {
		t.Errorf("while starting: %d %s", status, text)
	}
	must(t, sqlitex.ExecuteTransient(db, "ROLLBACK", nil))
	p := <-started
	if p.admin != admin {
		t.Errorf("it says that its admin address is %s", p.admin)
	}
	if status, text := look(t, admin+"/readyz"); status != http.StatusOK || text != "ready\n" {
		t.Errorf("while serving: %d %s", status, text)
	}
	// On the address that others reach there is nothing of this.
	for _, page := range []string{"/metrics", "/healthz", "/readyz"} {
		if status, _ := look(t, p.url+page); status != http.StatusNotFound {
			t.Errorf("%s is answered with %d to everybody", page, status)
		}
	}

	// It stops while a request is under way.
	slow := openInbox(t, "slow", "secret-of-slow")
	p.subscribe(slow)
	arrived, let := make(chan struct{}), make(chan struct{})
	slow.answer(func(int) int { close(arrived); <-let; return 0 })
	p.ask("POST", "/v2/events", numbered("one"), http.StatusAccepted, nil)
	<-arrived
	must(t, p.Process.Signal(syscall.SIGTERM))
	waitFor(t, "its end to begin", func() bool { status, _ := look(t, admin+"/readyz"); return status == http.StatusServiceUnavailable })
	if _, text := look(t, admin+"/readyz"); text != "not ready: it is stopping\n" {
		t.Error(text)
	}
	if h := p.health(); h.Phase != "stopping" || h.Ready || h.Delivery.InFlight != 1 {
		t.Errorf("while stopping: %+v", h)
	}
	close(let)
	must(t, p.Wait())
	if status, _ := look(t, admin+"/healthz"); status != 0 {
		t.Errorf("after the end: %d", status)
	}
}
