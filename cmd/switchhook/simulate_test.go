package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/memnet"
	"github.com/switchhook/switchhook/internal/simulate"
)

// simulateOn runs the command on a platform.
func simulateOn(t *testing.T, p *running, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Setenv("SWITCHHOOK_SERVER", p.url)
	t.Setenv("SWITCHHOOK_KEY", p.key)
	var out, messages strings.Builder
	code = run(t.Context(), append([]string{"simulate", "numbers"}, args...), strings.NewReader(""), &out, &messages)
	return code, out.String(), messages.String()
}

func export(t *testing.T, p *running) string {
	t.Helper()
	res, body, err := p.call(t.Context(), http.DefaultClient, http.MethodGet, operator+"/numbers/export", "", http.NoBody)
	must(t, err)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("export: status %d %s", res.StatusCode, body)
	}
	return string(body)
}

// The same seed makes the same numbers and changes on every platform, and again on one
// that has them. Whoever subscribes as the command says gets the events.
func TestSimulateNumbers(t *testing.T) {
	args := []string{"--carriers", "3", "--customers", "20", "--numbers", "1990", "--changes", "300", "--changes-per-second", "2000"}
	summary := regexp.MustCompile(`(?m)^300 changes in .*\), of ([\d,]+) numbers, told of in ([\d,]+) events; 0 refused, [\d,]+ left out$`)
	var exports, sums []string
	var p *running
	for range 2 {
		p = install(t).serve()
		code, out, messages := simulateOn(t, p, args...)
		m := summary.FindStringSubmatch(out)
		if code != exitOK || messages != "" || m == nil || !strings.Contains(out, "1,990 numbers made in") {
			t.Fatalf("exit code %d, %s\n%s", code, messages, out)
		}
		exports, sums = append(exports, export(t, p)), append(sums, m[1]+" "+m[2])
	}
	if exports[0] != exports[1] || strings.Count(exports[0], "\n") != 1991 || sums[0] != sums[1] {
		t.Errorf("two platforms differ, after %s:\n%.2000s\n%.2000s", sums, exports[0], exports[1])
	}
	if fresh := first(simulate.World{Seed: 1, Carriers: 3, Customers: 20, Numbers: 1990}); !strings.Contains(exports[0], fresh) {
		t.Errorf("number 0 was not made as %s", fresh)
	}

	_, out, _ := simulateOn(t, p, append(args, "--changes-per-second", "0")...)
	command := regexp.MustCompile(`curl (\S+) -H "Authorization: Bearer \$SWITCHHOOK_KEY" -d '([^']*)'\n  switchhook apps secret (\S+) `).FindStringSubmatch(out)
	if command == nil {
		t.Fatalf("no command in\n%s", out)
	}
	var secret struct {
		Token string `json:"secret_token"`
	}
	p.ask(http.MethodGet, operator+"/apps/"+command[3]+"/secret_token", "", http.StatusOK, &secret)
	inbox := openInbox(t, "carrier", secret.Token)
	p.ask(http.MethodPost, strings.TrimPrefix(command[1], p.url), strings.Replace(command[2], "https://YOUR.ENDPOINT/webhooks", inbox.url, 1), http.StatusCreated, nil)

	code, out, messages := simulateOn(t, p, args...)
	if m := summary.FindStringSubmatch(out); code != exitOK || m == nil || !strings.Contains(out, "1,990 numbers of seed 1 are there already\n") {
		t.Fatalf("again: exit code %d, %s\n%s", code, messages, out)
	}
	if again := export(t, p); again != exports[0] {
		t.Errorf("the same changes again left other numbers")
	}
	waitFor(t, "events", func() bool {
		inbox.mu.Lock()
		defer inbox.mu.Unlock()
		return len(inbox.got) > 0 && len(inbox.faults) == 0
	})

	for _, c := range []struct{ flag, value, want string }{
		{"--customers", "19", "were made with other --carriers or --customers"},
		{"--seed", "2", "the platform has the data of seed 1"},
	} {
		if code, _, messages := simulateOn(t, p, append(args, c.flag, c.value)...); code != exitFailed || !strings.Contains(messages, c.want) {
			t.Errorf("%s %s: exit code %d, %s", c.flag, c.value, code, messages)
		}
	}
	if now := export(t, p); now != exports[0] {
		t.Error("what was refused has changed numbers")
	}
}

// first is what an export has of a world's first number that no change is about.
func first(w simulate.World) string {
	changed := map[string]bool{}
	for k := range 300 {
		for _, n := range w.Step(k).Numbers {
			changed[n] = true
		}
	}
	for i := range w.Numbers {
		if n := w.Number(i); !changed[n.E164] {
			return fmt.Sprintf("%s,%d,%s,%s,", n.E164, n.Carrier, n.Account, n.SIPTrunkName)
		}
	}
	return "nothing"
}

// slowPlatform takes changes.
type slowPlatform struct {
	mu    sync.Mutex
	takes time.Duration
	down  bool

	underWay, most int
	at             []time.Time // when requests came
	last           map[string]string
}

func (p *slowPlatform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Numbers []string        `json:"phone_numbers"`
		Set     json.RawMessage `json:"set"`
	}
	text, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(text, &body)
	p.mu.Lock()
	p.underWay++
	p.most = max(p.most, p.underWay)
	p.at = append(p.at, time.Now())
	takes, down := p.takes, p.down
	p.mu.Unlock()
	until(r.Context(), time.Now().Add(takes))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.underWay--
	if down {
		http.Error(w, `{"code":503,"message":"Not now."}`, http.StatusServiceUnavailable)
		return
	}
	for _, n := range body.Numbers {
		p.last[n] = string(body.Set)
	}
	_, _ = io.WriteString(w, `{"numbers":1,"changed":1,"events":1}`)
}

func (p *slowPlatform) set(takes time.Duration, down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.takes, p.down = takes, down
}

// came returns how many requests came from one instant until another.
func (p *slowPlatform) came(from, to time.Time) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range p.at {
		if !at.Before(from) && at.Before(to) {
			n++
		}
	}
	return n
}

func loadOn(t *testing.T, p *slowPlatform, out io.Writer) *load {
	var nw memnet.Net
	nw.Handle(t, "platform.test", p)
	transport := &http.Transport{DialContext: nw.DialContext, MaxIdleConnsPerHost: lanes}
	t.Cleanup(transport.CloseIdleConnections)
	return &load{
		world:  simulate.World{Seed: 1, Carriers: 5, Customers: 200, Numbers: 10_000},
		client: &client{server: "http://platform.test", known: "key", http: &http.Client{Transport: transport}},
		out:    out, rate: 50,
	}
}

// A platform that is too slow is not given more than some changes at a time. What it
// misses is said and left out: once it is faster it gets the rate, and no burst.
func TestSimulateSlowPlatform(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &slowPlatform{takes: time.Second, last: map[string]string{}}
		var out bytes.Buffer
		l := loadOn(t, p, &out)
		l.limit = 90 * time.Second
		start := time.Now()
		time.AfterFunc(30*time.Second, func() { p.set(0, false) })
		must(t, l.run(t.Context()))
		at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
		if slow := p.came(at(0), at(30)); p.most > lanes || slow < 30 || slow > 30*lanes {
			t.Errorf("%d requests at a time, %d in 30 s", p.most, slow)
		}
		if n := p.came(at(30), at(40)); n > 50*11+lanes {
			t.Errorf("%d requests in the ten seconds after, a burst", n)
		}
		if n := p.came(at(50), at(90)); n < 50*40-1 || n > 50*40+1 {
			t.Errorf("%d requests in 40 s at the end, at 50 a second", n)
		}
		if all := l.sums.made + l.sums.leftOut; all < 50*90-1 || all > 50*90+1 {
			t.Errorf("%d made and %d left out of %d", l.sums.made, l.sums.leftOut, 50*90)
		}
		lines := strings.Split(out.String(), "\n")
		if !strings.Contains(lines[0], "the platform does not follow") || strings.Contains(lines[7], "does not follow") || !strings.Contains(lines[7], "50.0 changes/s  50.0 events/s  0 refused  0.0s behind") {
			t.Errorf("it said\n%s", out.String())
		}
	})
}

// Changes that a platform cannot take for a while are tried again in their order, and
// none is missed.
func TestSimulatePlatformAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &slowPlatform{last: map[string]string{}}
		var out bytes.Buffer
		l := loadOn(t, p, &out)
		l.count = 500
		time.AfterFunc(3*time.Second, func() { p.set(0, true) })
		time.AfterFunc(20*time.Second, func() { p.set(0, false) })
		must(t, l.run(t.Context()))
		want := map[string]string{}
		for k := range 500 {
			s := l.world.Step(k)
			set, err := json.Marshal(settingsOf(&s.Change))
			must(t, err)
			for _, n := range s.Numbers {
				want[n] = string(set)
			}
		}
		if fmt.Sprint(p.last) != fmt.Sprint(want) || l.sums.made != 500 {
			t.Errorf("%d made; what is true at the end is not what was changed last", l.sums.made)
		}
		if !strings.Contains(out.String(), "Not now.") {
			t.Errorf("it said\n%s", out.String())
		}
	})
}

// A platform that does not come back ends it, and so does Ctrl-C, which is no failure.
func TestSimulateEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &slowPlatform{down: true, last: map[string]string{}}
		l := loadOn(t, p, io.Discard)
		start := time.Now()
		if err := l.run(t.Context()); err == nil || !strings.Contains(err.Error(), "Not now") || time.Since(start) > patience+finish {
			t.Errorf("after %v: %v", time.Since(start), err)
		}

		p = &slowPlatform{takes: time.Hour, last: map[string]string{}}
		l = loadOn(t, p, io.Discard)
		start = time.Now()
		if err := l.run(t.Context()); err == nil || time.Since(start) > 2*(patience+finish) {
			t.Errorf("after %v: %v", time.Since(start), err)
		}

		p = &slowPlatform{takes: time.Hour, last: map[string]string{}}
		l = loadOn(t, p, io.Discard)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start = time.Now()
		if err := l.run(ctx); err != nil || time.Since(start) > time.Second+finish {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// Lists are named whole, and null clears.
func TestSettings(t *testing.T) {
	var got []string
	for k := range 300 {
		s := simulate.World{Seed: 1, Carriers: 1, Customers: 2, Numbers: 100}.Step(k)
		text, err := json.Marshal(settingsOf(&s.Change))
		must(t, err)
		got = append(got, string(text))
	}
	for _, want := range []string{`{"cnam":null}`, `{"emergency_address":null}`} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not among the settings of 300 steps", want)
		}
	}
}
