package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/switchhook/switchhook/internal/api"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/mail"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/memnet"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/internal/outbox"
	"github.com/switchhook/switchhook/internal/rounds"
	"github.com/switchhook/switchhook/internal/seal"
	"github.com/switchhook/switchhook/internal/smtptest"
	"github.com/switchhook/switchhook/webhook"
)

var update = flag.Bool("update", false, "rewrite golden files")

// life is a platform in a bubble that can be stopped, killed and started again, with an
// endpoint or two and a mail server, all of them real, on a network in memory.
type life struct {
	t      *testing.T
	dir    string
	file   string // of the database
	net    memnet.Net
	server *smtptest.Server

	*platform
	up   *link // of the platform that runs
	stop func()

	mu        sync.Mutex
	endpoints map[string]*endpoint
}

// link is what connects a process with the rest of the world.
type link struct {
	mu    sync.Mutex
	dead  bool
	conns []net.Conn
}

// through returns dial as it is for the process.
func (l *link) through(dial func(ctx context.Context, network, address string) (net.Conn, error)) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.conns = append(l.conns, c); l.dead {
			_ = c.Close()
		}
		return c, nil
	}
}

// cut ends all connections, and those that are made later.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
	for _, c := range l.conns {
		_ = c.Close()
	}
}

// endpoint is somebody's, made with package webhook.
type endpoint struct {
	life *life
	// fails says why challenges are not answered: with this status. 0: they are.
	fails int
	// refuses says the same of events.
	refuses int
	// during, if set, is called while a challenge is answered.
	during func(ctx context.Context)

	challenges []time.Time
	events     []time.Time
}

const (
	blueURL  = "http://hooks.blue.test/webhooks"
	greenURL = "http://hooks.green.test/webhooks"
	lifeID   = "AAAAAAAA1AAAAAAAAAAAAA"
	lifeKey  = "shk_of-the-life"
	blueMail = "ops@blue.example"
)

// live runs a test in a bubble, on a platform that has a subscription to the endpoint of
// Blue Carrier and is in its first instant.
func live(t *testing.T, f func(l *life)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := &life{t: t, dir: dir, file: filepath.Join(dir, "test.db"), server: smtptest.New(), endpoints: map[string]*endpoint{}}
		l.serve("hooks.blue.test")
		l.serve("hooks.green.test")
		l.start()
		defer func() { l.stop() }()
		key, err := hook.KeyOf(lifeID)
		must(t, err)
		now := time.Now()
		must(t, l.store.CreateKey(&hook.OperatorKey{ID: "key", Name: "tests", Scopes: hook.KeyScopes(), Created: now}, lifeKey))
		must(t, l.store.Change(hook.Change{
			Accounts: []*hook.Account{{ID: "blue", OwnerEmail: blueMail}, {ID: "customer"}},
			Apps: []*hook.App{{
				ID: "app", Name: "number sync", Account: "blue", ClientID: "client", SecretToken: "shared-secret-token", CarrierCodes: []int32{1},
				Scopes: []string{"number_management_numbers:read:admin"}, Created: now,
			}},
			Subscriptions: []*hook.Subscription{{
				ID: lifeID, Key: key, App: "app", Name: "numbers", Events: []string{"number_management.peering_number_cnam_updated"},
				Endpoint: hook.Endpoint{URL: blueURL, State: hook.Valid, StateSince: now, Checked: now},
				Scope:    hook.ScopeAccount, Subscribers: []hook.Subscriber{{}}, Source: hook.SourceDefault, Created: now,
			}},
		}, now))
		l.rounds.Changed(key)
		f(l)
	})
}

// serve makes an endpoint at a host.
func (l *life) serve(host string) {
	e := &endpoint{life: l}
	l.endpoints[host] = e
	r, err := webhook.New(webhook.Config{Secrets: []string{"shared-secret-token"}})
	must(l.t, err)
	proven := r.Handler(func(context.Context, *webhook.Event) error { return nil })
	l.net.Handle(l.t, host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			l.t.Errorf("%s: %v", host, err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		l.mu.Lock()
		status, during := e.refuses, e.during
		if bytes.Contains(body, []byte(webhook.EventURLValidation)) {
			e.challenges = append(e.challenges, time.Now())
			status = e.fails
		} else {
			e.events, during = append(e.events, time.Now()), nil
		}
		l.mu.Unlock()
		if during != nil {
			during(r.Context())
		}
		if status != 0 {
			w.WriteHeader(status)
			return
		}
		proven.ServeHTTP(w, r)
	}))
}

func (l *life) blue() *endpoint  { return l.endpoints["hooks.blue.test"] }
func (l *life) green() *endpoint { return l.endpoints["hooks.green.test"] }

// set changes how an endpoint behaves.
func (e *endpoint) set(fails, refuses int) {
	e.life.mu.Lock()
	defer e.life.mu.Unlock()
	e.fails, e.refuses = fails, refuses
}

// takes sets what a challenge takes before it is answered.
func (e *endpoint) takes(during func(ctx context.Context)) {
	e.life.mu.Lock()
	defer e.life.mu.Unlock()
	e.during = during
}

// got returns when challenges and events came.
func (e *endpoint) got() (challenges, events []time.Time) {
	e.life.mu.Lock()
	defer e.life.mu.Unlock()
	return slices.Clone(e.challenges), slices.Clone(e.events)
}

// start starts a platform on the file.
func (l *life) start() {
	l.t.Helper()
	key, err := seal.NewKey(bytes.Repeat([]byte{7}, 32))
	must(l.t, err)
	up := &link{}
	ctx, cancel := context.WithCancel(l.t.Context())
	l.platform, err = newPlatform(ctx, settings{
		database: "sqlite:" + l.file, key: key, retention: 60 * 24 * time.Hour, publicURL: "https://switchhook.example.com",
		log:      slog.New(slog.NewTextHandler(l.t.Output(), nil)),
		outbound: outbound.Config{Policy: hook.EndpointPolicy{HTTP: true}, UserAgent: "Switchhook/test", DialContext: up.through(l.net.DialContext)},
		mail: &mail.Config{
			Host: smtptest.Host, CAs: smtptest.CA().Pool(), From: "switchhook@example.com", Hello: "client.test", DialContext: up.through(l.server.DialContext),
		},
	})
	must(l.t, err)
	done := make(chan error, 1)
	p := l.platform
	go func() { done <- p.serve(ctx, &nobodyDials{closed: make(chan struct{})}) }()
	l.up, l.stop = up, sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("serve: %v", err)
		}
	})
}

// kill does what kill -9 does: what is not in the file by now does not happen. The next
// platform is one on a copy of the file as it is.
func (l *life) kill() {
	l.t.Helper()
	copied := filepath.Join(l.t.TempDir(), "test.db")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(l.file + suffix)
		must(l.t, err)
		must(l.t, os.WriteFile(copied+suffix, b, 0o600))
	}
	l.up.cut()
	l.stop()
	l.file = copied
}

// call calls the API and returns the answer.
func (l *life) call(method, path, body string) string {
	l.t.Helper()
	r := httptest.NewRequestWithContext(l.t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+lifeKey)
	w := httptest.NewRecorder()
	l.handler.ServeHTTP(w, r)
	if w.Code >= 300 {
		l.t.Fatalf("%s %s: status %d: %s", method, path, w.Code, w.Body)
	}
	return w.Body.String()
}

func decoded[T any](l *life, text string) (v T) {
	l.t.Helper()
	must(l.t, json.Unmarshal([]byte(text), &v))
	return v
}

// shown returns the subscription, its history, the mails and the deliveries, as the API
// shows them.
func (l *life) shown() api.Subscription {
	l.t.Helper()
	return decoded[api.Subscription](l, l.call("GET", operator+"/subscriptions/"+lifeID, ""))
}

func (l *life) history() []api.PastValidation {
	l.t.Helper()
	return decoded[struct{ Validations []api.PastValidation }](l, l.call("GET", operator+"/subscriptions/"+lifeID+"/validations", "")).Validations
}

func (l *life) deliveries(state string) []api.Delivery {
	l.t.Helper()
	return decoded[struct{ Deliveries []api.Delivery }](l, l.call("GET", operator+"/deliveries?page_size=100&state="+state, "")).Deliveries
}

// validate validates the endpoint by hand.
func (l *life) validate() api.Validation {
	l.t.Helper()
	return decoded[api.Validation](l, l.call("POST", operator+"/subscriptions/"+lifeID+"/validate", "{}"))
}

// publish publishes an event and returns how many deliveries are owed.
func (l *life) publish() int {
	l.t.Helper()
	return decoded[api.Accepted](l, l.call("POST", "/v2/events", numbered("ACME"))).Deliveries
}

// round lets time pass until the next round of the endpoint that serves has been held.
func (l *life) round() {
	l.t.Helper()
	next := time.Time(l.shown().Next)
	if next.IsZero() {
		l.t.Fatal("there is no next round")
	}
	pass(time.Until(next))
}

// pass lets time pass, and then what goes on at that instant happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// subjects returns the subjects of the mails that the server has, and fails for one that it
// was sent twice.
func (l *life) subjects() (subjects []string) {
	l.t.Helper()
	seen := map[string]bool{}
	for _, m := range l.server.Mails() {
		head := m.Parse(l.t).Header
		if id := head.Get("Message-ID"); seen[id] {
			l.t.Errorf("%s came twice", id)
		} else {
			seen[id] = true
		}
		if m.To != blueMail {
			l.t.Errorf("a mail to %s", m.To)
		}
		subjects = append(subjects, head.Get("Subject"))
	}
	return subjects
}

const (
	failsSubject    = "number sync: the webhook endpoint hooks.blue.test fails its validation"
	disabledSubject = "number sync: the webhook endpoint hooks.blue.test was disabled"
)

// expected is the subjects of mails after so many failures in a row.
func expected(failures int) []string {
	return []string{failsSubject, failsSubject, disabledSubject}[:failures/2]
}

// An endpoint that does not answer any more gets events for six rounds, while its owner is
// told twice by mail. Then it is disabled, which a third mail says: nothing is sent to it,
// what it was owed is cancelled, and what happens meanwhile is not owed. Once it is mended
// and validated, all goes on from there. All of it is seen in the API.
func TestLifeCycle(t *testing.T) {
	var story strings.Builder
	live(t, func(l *life) {
		start := time.Now()
		tell := func(title string) {
			fmt.Fprintf(&story, "\n## %v: %s\n", time.Since(start).Round(time.Millisecond), title)
			for _, path := range []string{"", "/validations"} {
				var b bytes.Buffer
				must(t, json.Indent(&b, []byte(l.call("GET", operator+"/subscriptions/"+lifeID+path, "")), "", "  "))
				fmt.Fprintf(&story, "\nGET /operator/v1/subscriptions/%s%s\n%s", lifeID, path, b.String())
			}
		}
		statuses := []int{500, 404, 301, 204, 503, 502}
		l.blue().set(statuses[0], 0)
		for i, status := range statuses {
			l.blue().set(status, 0)
			before := time.Now()
			if n := l.publish(); n != 1 {
				t.Errorf("before round %d an event is owed to %d", i+1, n)
			}
			synctest.Wait()
			if _, events := l.blue().got(); len(events) != i+1 || !events[i].Equal(before) {
				t.Errorf("before round %d events came at %v", i+1, events)
			}
			if i == 5 {
				// Just before the last round three events wait, one of them for its first retry.
				pass(time.Until(time.Time(l.shown().Next)) - 6*time.Minute)
				l.blue().set(status, 503)
				l.publish()
				pass(5*time.Minute + 30*time.Second)
				l.publish()
				l.publish()
				synctest.Wait()
			}
			l.round()
			if got := l.subjects(); !slices.Equal(got, expected(i+1)) {
				t.Errorf("after round %d there are the mails %q", i+1, got)
			}
			if i == 0 || i == 1 || i == 5 {
				tell(fmt.Sprintf("round %d fails", i+1))
			}
		}
		if d := time.Since(start); d <= 15*24*time.Hour || d > 18*24*time.Hour {
			t.Errorf("it was disabled after %v", d)
		}

		notices := decoded[struct{ Notices []api.Notice }](l, l.call("GET", operator+"/notices", "")).Notices
		if len(notices) != 3 || notices[0].State != outbox.Sent || notices[0].To != blueMail || notices[0].Subject != disabledSubject {
			t.Fatalf("the notices are %+v", notices)
		}
		for _, want := range []string{"number sync", "numbers (" + lifeID + ")", blueURL, "status 500", "status 301", "status 502", "subscriptions validate " + lifeID} {
			if !strings.Contains(notices[0].Text, want) {
				t.Errorf("the mail does not say %q: %s", want, notices[0].Text)
			}
		}

		// No challenge, no event, no retry, and no mail any more.
		synctest.Wait()
		challenges, events := l.blue().got()
		if len(challenges) != 6 || len(events) != 6+3+1 {
			t.Errorf("there were %d challenges and %d requests", len(challenges), len(events))
		}
		cancelled := l.deliveries("cancelled")
		if len(cancelled) != 3 || len(l.deliveries("waiting")) != 0 {
			t.Errorf("cancelled are %+v, waiting are %+v", cancelled, l.deliveries("waiting"))
		}
		for _, d := range cancelled {
			if want := "the subscription was disabled: the endpoint failed 6 validations in a row, the last: the endpoint answered with status 502, want 200"; d.Last.Detail != want {
				t.Errorf("it was cancelled because: %s", d.Last.Detail)
			}
		}
		if n := l.publish(); n != 0 {
			t.Errorf("an event is owed to %d", n)
		}
		pass(10 * 24 * time.Hour)
		l.blue().set(0, 0)
		pass(5 * 24 * time.Hour)
		if c, e := l.blue().got(); len(c) != len(challenges) || len(e) != len(events) || len(l.subjects()) != 3 {
			t.Errorf("disabled it got %d challenges and %d events, and there are %d mails", len(c)-len(challenges), len(e)-len(events), len(l.subjects()))
		}

		// Validated by hand it is enabled, and what was cancelled stays so.
		if v := l.validate(); !v.Valid {
			t.Errorf("it is not valid: %s", v.Reason)
		}
		tell("validated")
		if n := l.publish(); n != 1 {
			t.Errorf("an event is owed to %d", n)
		}
		pass(10 * 24 * time.Hour)
		if c, e := l.blue().got(); len(e) != len(events)+1 || len(c) != len(challenges)+1+3 || len(l.deliveries("cancelled")) != 3 {
			t.Errorf("valid it got %d challenges and %d events", len(c)-len(challenges), len(e)-len(events))
		}
		// And if it fails again, its owner is told again.
		l.blue().set(500, 0)
		for range 6 {
			l.round()
		}
		if got, want := l.subjects(), append(expected(6), expected(6)...); !slices.Equal(got, want) {
			t.Errorf("in the end there are the mails %q", got)
		}
	})
	file := filepath.Join("testdata", "life.golden")
	if *update {
		must(t, os.WriteFile(file, []byte(story.String()), 0o600))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if story.String() != string(want) {
		t.Errorf("the story differs from %s; if this is how it is to be, run the test with -update and read the difference. It is%s", file, story.String())
	}
}

// Whenever an endpoint answers again, in a round or to somebody who validates it, it is as if
// it had never failed: the count begins anew, and the owner is told anew.
func TestRecovery(t *testing.T) {
	for failures := 1; failures <= 5; failures++ {
		for name, answer := range map[string]func(l *life){
			"in a round": func(l *life) { l.round() },
			"by hand":    func(l *life) { l.validate() },
		} {
			t.Run(fmt.Sprintf("after %d, %s", failures, name), func(t *testing.T) {
				live(t, func(l *life) {
					l.blue().set(500, 0)
					for i := range failures {
						l.round()
						if s := l.shown(); s.State != hook.Failing || len(s.Failures) != i+1 {
							t.Errorf("after %d failures it is %+v", i+1, s.Endpoint)
						}
					}
					l.blue().set(0, 0)
					answer(l)
					if s := l.shown(); s.State != hook.Valid || s.Reason != "" || len(s.Failures) != 0 || !time.Time(s.Since).Equal(time.Now().Truncate(time.Millisecond)) {
						t.Errorf("after an answer it is %+v", s.Endpoint)
					}
					l.blue().set(500, 0)
					for i := range 2 {
						l.round()
						if got, want := l.subjects(), append(expected(failures), expected(i+1)...); !slices.Equal(got, want) {
							t.Errorf("after %d failures more the mails are %q", i+1, got)
						}
					}
					if s := l.shown(); s.State != hook.Failing || len(s.Failures) != 2 {
						t.Errorf("in the end it is %+v", s.Endpoint)
					}
				})
			})
		}
	}
}

// A platform that is stopped, started and killed at any time, with a mail server that is
// down at any time, holds every round once and sends every mail once.
func TestLifeCycleAcrossRestarts(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 5))
			live(t, func(l *life) {
				var until atomic.Pointer[time.Time] // which the mail server is down
				until.Store(new(time.Time))
				l.server.OnDial = func(context.Context) error {
					if time.Now().Before(*until.Load()) {
						return smtptest.Refused()
					}
					return nil
				}
				l.blue().set(500, 0)
				cut := 0 // challenges that were under way when the platform ended
				for l.shown().State != hook.Disabled {
					challenge := time.Duration(r.Int64N(int64(2 * time.Second)))
					l.blue().takes(func(ctx context.Context) {
						select {
						case <-time.After(challenge):
						case <-ctx.Done():
						}
					})
					next := time.Time(l.shown().Next)
					when := time.Duration(r.Int64N(int64(80 * time.Hour)))
					if r.IntN(2) == 0 { // during the round, or right after it
						when = max(0, time.Until(next)+time.Duration(r.Int64N(int64(2*challenge+time.Millisecond))))
					}
					if r.IntN(3) == 0 && time.Now().After(*until.Load()) { // never for three days, when mails are given up
						until.Store(new(time.Now().Add(time.Duration(r.Int64N(int64(40 * time.Hour))))))
					}
					pass(when)
					before, _ := l.blue().got()
					rows := len(l.history())
					if r.IntN(2) == 0 {
						l.kill()
					} else {
						l.stop()
					}
					if len(before) > rows+cut {
						cut++
					}
					switch r.IntN(3) {
					case 0:
						pass(time.Duration(r.Int64N(int64(time.Minute))))
					case 1:
						pass(time.Duration(r.Int64N(int64(10 * 24 * time.Hour))))
						until.Store(new(time.Time))
					}
					l.start()
					synctest.Wait()
				}
				pass(10 * 24 * time.Hour)
				history := l.history()
				if len(history) != 6 {
					t.Errorf("%d rounds were held", len(history))
				}
				for i := range history[1:] {
					if d := time.Time(history[i].At).Sub(time.Time(history[i+1].At)); d < rounds.Every/2 {
						t.Errorf("two rounds were held within %v", d)
					}
				}
				if challenges, _ := l.blue().got(); len(challenges) != 6+cut {
					t.Errorf("%d challenges came, want 6 and %d that were cut off", len(challenges), cut)
				}
				if got := l.subjects(); !slices.Equal(got, expected(6)) {
					t.Errorf("the mails are %q", got)
				}
			})
		})
	}
}

// A platform that was stopped for ten days asks once when it is started, and after that when
// it would have been.
func TestStoppedForTenDays(t *testing.T) {
	live(t, func(l *life) {
		first := time.Time(l.shown().Next)
		l.stop()
		pass(10 * 24 * time.Hour)
		l.start()
		synctest.Wait()
		want := []time.Time{time.Now()}
		for at := first; len(want) < 3; at = at.Add(rounds.Every) {
			if at.After(want[0]) {
				want = append(want, at)
			}
		}
		pass(time.Until(want[2]))
		if got, _ := l.blue().got(); !slices.EqualFunc(got, want, time.Time.Equal) {
			t.Errorf("asked at %v, want %v", got, want)
		}
	})
}

// Killed between a challenge and its record, a platform asks once more when it is started
// again; the round counts once.
func TestKilledDuringARound(t *testing.T) {
	live(t, func(l *life) {
		l.blue().set(500, 0)
		l.round()
		l.blue().takes(func(ctx context.Context) { <-ctx.Done() }) // until the process is gone
		l.round()
		if got, _ := l.blue().got(); len(got) != 2 {
			t.Fatalf("%d challenges", len(got))
		}
		l.blue().takes(nil)
		l.kill()
		l.start()
		synctest.Wait()
		if got, _ := l.blue().got(); len(got) != 3 {
			t.Errorf("%d challenges", len(got))
		}
		if s := l.shown(); len(s.Failures) != 2 || len(l.history()) != 2 {
			t.Errorf("it is %+v, and has a history of %d", s.Endpoint, len(l.history()))
		}
		if got := l.subjects(); !slices.Equal(got, expected(2)) {
			t.Errorf("the mails are %q", got)
		}
	})
}

// Killed between a round and its mail, a platform sends the mail when it is started again,
// and does not hold the round again.
func TestKilledBeforeTheMail(t *testing.T) {
	live(t, func(l *life) {
		l.blue().set(500, 0)
		l.round()
		l.server.OnDial = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		l.round()
		if got := l.subjects(); len(got) != 0 || len(l.history()) != 2 {
			t.Fatalf("the mails are %q, and there were %d rounds", got, len(l.history()))
		}
		l.server.OnDial = nil
		l.kill()
		pass(time.Hour)
		l.start()
		pass(time.Minute)
		if got := l.subjects(); !slices.Equal(got, expected(2)) {
			t.Errorf("the mails are %q", got)
		}
		if got, _ := l.blue().got(); len(got) != 2 {
			t.Errorf("%d challenges", len(got))
		}
	})
}

// A mail server that is down, that refuses for a while or that breaks off gets each mail once
// it is back, once.
func TestNoticesWhileTheMailServerIsDown(t *testing.T) {
	for name, trouble := range map[string]func(s *smtptest.Server, over func() bool){
		"down": func(s *smtptest.Server, over func() bool) {
			s.OnDial = func(context.Context) error {
				if !over() {
					return smtptest.Refused()
				}
				return nil
			}
		},
		"refuses": func(s *smtptest.Server, over func() bool) {
			s.OnMail = func() error {
				if !over() {
					return smtptest.Says(451, "not now")
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			live(t, func(l *life) {
				l.blue().set(500, 0)
				var back time.Time
				trouble(l.server, func() bool { return !time.Now().Before(back) })
				for i := range 6 {
					back = time.Time(l.shown().Next).Add(50 * time.Hour)
					l.round()
					if got := l.subjects(); !slices.Equal(got, expected(i)) {
						t.Errorf("with the server down there are the mails %q", got)
					}
					pass(52 * time.Hour)
					if got := l.subjects(); !slices.Equal(got, expected(i+1)) {
						t.Errorf("two hours after the server is back there are the mails %q", got)
					}
				}
			})
		})
	}
}

// The development endpoint is served while the app is in development, and the production
// endpoint while it is in production; each is validated on its own, and what one has to
// suffer does not touch the other.
func TestDevelopmentEndpoint(t *testing.T) {
	live(t, func(l *life) {
		manifest := func(state, development string) string {
			m, err := json.Marshal(manage.Manifest{Apps: []manage.App{{
				Name: "number sync", Account: "blue", State: state, CarrierCodes: []int32{1}, Scopes: []string{"number_management_numbers:read:admin"},
				Subscriptions: []manage.Subscription{{
					Name: "numbers", Events: []string{"number_management.peering_number_cnam_updated"}, URL: blueURL, Development: development,
				}},
			}}})
			must(t, err)
			return string(m)
		}
		apply := func(state, development string) (steps []string) {
			t.Helper()
			for _, s := range decoded[manage.Plan](l, l.call("POST", operator+"/apply", manifest(state, development))).Steps {
				steps = append(steps, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", s.Action, s.Kind, strings.Join(s.Changes, ", "), s.Reason)))
			}
			return steps
		}
		is := func(what string, got []string, want ...string) {
			t.Helper()
			if !slices.Equal(got, want) {
				t.Errorf("%s is\n%q, want\n%q", what, got, want)
			}
		}
		events := func(e *endpoint) int { _, events := e.got(); return len(events) }
		is("adding an endpoint", apply("", greenURL), "keep app",
			`update subscription development_webhook_url: "" -> "`+greenURL+`" the development endpoint answered its challenge in 0s`)

		// In production an event goes to the one, in development to the other, and a retry to
		// the one that serves when it is due.
		l.blue().set(0, 503)
		l.publish()
		synctest.Wait()
		is("switching to development", apply("development", greenURL), "update app state: production -> development", "keep subscription")
		l.publish()
		synctest.Wait()
		if b, g := events(l.blue()), events(l.green()); b != 1 || g != 1 {
			t.Errorf("%d and %d requests", b, g)
		}
		pass(6 * time.Minute)
		if b, g := events(l.blue()), events(l.green()); b != 1 || g != 2 || len(l.deliveries("delivered")) != 2 {
			t.Errorf("%d and %d requests, delivered are %d", b, g, len(l.deliveries("delivered")))
		}

		// The idle endpoint is disabled without any harm to the one that serves.
		l.blue().set(500, 503)
		l.green().set(0, 503)
		for l.shown().State != hook.Disabled {
			if s := l.shown(); s.Development.State != hook.Valid {
				t.Fatalf("it is %+v", s)
			}
			pass(time.Until(time.Time(l.shown().Next)) - time.Second)
			l.publish()
			pass(time.Second)
		}
		if n := len(l.deliveries("waiting")); n == 0 || len(l.deliveries("cancelled")) != 0 {
			t.Errorf("waiting are %d, cancelled are %d", n, len(l.deliveries("cancelled")))
		}
		is("the mails", l.subjects(), expected(6)...)
		l.green().set(0, 0)
		pass(2 * time.Hour)
		if n := len(l.deliveries("waiting")) + len(l.deliveries("cancelled")); n != 0 {
			t.Errorf("%d were not delivered", n)
		}
		// Nothing is switched to it unheard: what waits is called off, and the plan says so.
		l.green().set(0, 503)
		l.publish()
		synctest.Wait()
		before := events(l.blue())
		is("switching to production", apply("", greenURL), "update app state: development -> production subscription "+lifeID+" gets nothing from now on: its production endpoint is disabled",
			"fail subscription disabled -> valid left as it was, for the production endpoint did not answer its challenge: the endpoint answered with status 500, want 200")
		if n := l.publish(); n != 0 {
			t.Errorf("an event is owed to %d", n)
		}
		pass(3 * time.Hour)
		if n := events(l.blue()) - before; n != 0 || len(l.deliveries("cancelled")) != 1 {
			t.Errorf("%d requests came to a disabled endpoint; cancelled are %d", n, len(l.deliveries("cancelled")))
		}
		// Mended, it is what it was.
		l.blue().set(0, 0)
		is("applying again", apply("", greenURL), "keep app", "update subscription disabled -> valid the production endpoint answered its challenge in 0s")
		if n := l.publish(); n != 1 {
			t.Errorf("an event is owed to %d", n)
		}
		synctest.Wait()
		if n := events(l.blue()) - before; n != 1 {
			t.Errorf("%d requests", n)
		}
		is("applying once more", apply("", greenURL), "keep app", "keep subscription")
		is("taking it away", apply("", ""), "keep app", `update subscription development_webhook_url: "`+greenURL+`" -> ""`)
		challenges, _ := l.green().got()
		pass(2 * rounds.Every)
		if again, _ := l.green().got(); len(again) != len(challenges) || l.shown().Development != nil {
			t.Errorf("it is asked still: %+v", l.shown())
		}
	})
}

// A platform whose listener fails ends, and does not wait for rounds that may be days away.
func TestListenerFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "test.db")
	synctest.Test(t, func(t *testing.T) {
		key, err := seal.NewKey(bytes.Repeat([]byte{7}, 32))
		must(t, err)
		p, err := newPlatform(t.Context(), settings{database: "sqlite:" + file, key: key, retention: time.Hour, log: slog.New(slog.DiscardHandler)})
		must(t, err)
		l := &nobodyDials{closed: make(chan struct{})}
		must(t, l.Close())
		done := make(chan error, 1)
		go func() { done <- p.serve(t.Context(), l) }()
		pass(time.Hour)
		select {
		case err := <-done:
			if !errors.Is(err, io.EOF) {
				t.Errorf("it ends with %v", err)
			}
		default:
			t.Error("it does not end")
		}
	})
}

// The program itself goes through all of it, with a period of a second instead of 72 hours,
// and is killed on the way.
func TestLifeCycleOfTheProgram(t *testing.T) {
	in := install(t)
	s := smtptest.New()
	s.OnData = func(*smtp.Conn, smtptest.Mail) error { return nil }
	port, _ := s.Listen(t, "127.0.0.1:0")
	serve := func() *running { return in.serveWithMail(port, "--revalidate-every", "1s") }
	b := openInbox(t, "blue", "secret-of-blue")
	p := serve()
	manifest := fmt.Sprintf(`{"accounts":[{"id":"blue","owner_email":"%s"}],"apps":[{"name":"number sync","account_id":"blue","secret_token":"secret-of-blue","carrier_codes":[1],
		"scopes":["number_management_numbers:read:admin"],"subscriptions":[{"event_subscription_name":"numbers","event_webhook_url":"%s/hook?token=hidden",
		"events":["number_management.peering_number_cnam_updated"]}]}]}`, blueMail, b.url)
	var plan manage.Plan
	p.ask("POST", operator+"/apply", manifest, http.StatusOK, &plan)
	var id string
	for _, s := range plan.Steps {
		if s.Kind == "subscription" {
			id = s.ID
		}
	}
	show := func() (v api.Subscription) {
		p.ask("GET", operator+"/subscriptions/"+id, "", http.StatusOK, &v)
		return v
	}
	first := time.Time(show().Checked)
	waitFor(t, "a round that succeeds", func() bool { return time.Time(show().Checked).After(first) })
	if v := show(); v.State != hook.Valid {
		t.Errorf("it is %+v", v.Endpoint)
	}
	b.mu.Lock()
	b.before = func(int) int { return http.StatusInternalServerError }
	b.mu.Unlock()
	waitFor(t, "the first mail", func() bool { return len(s.Mails()) > 0 })
	p.kill()
	p = serve()
	// By the number in its Message-ID each mail is another one, even if it was under way
	// when the program was killed and came twice.
	once := func() (mails []smtptest.Mail) {
		seen := map[string]bool{}
		for _, m := range s.Mails() {
			if id := m.Parse(t).Header.Get("Message-ID"); !seen[id] {
				seen[id] = true
				mails = append(mails, m)
			}
		}
		return mails
	}
	waitFor(t, "the end", func() bool { return show().State == hook.Disabled && len(once()) >= 3 })
	if v := show(); len(v.Failures) != 6 || !strings.Contains(v.Reason, "status 500") {
		t.Errorf("it is %+v", v.Endpoint)
	}
	var history struct{ Validations []api.PastValidation }
	p.ask("GET", operator+"/subscriptions/"+id+"/validations", "", http.StatusOK, &history)
	failed := 0
	for _, v := range history.Validations {
		if !v.Valid {
			failed++
		}
	}
	if failed != 6 || history.Validations[0].State != hook.Disabled {
		t.Errorf("the history is %+v", history.Validations)
	}

	var subjects []string
	for _, m := range once() {
		subjects = append(subjects, regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllString(m.Parse(t).Header.Get("Subject"), "hooks.blue.test"))
	}
	for _, m := range s.Mails() {
		if m.To != blueMail || strings.Contains(m.Raw, "hidden") || strings.Contains(m.Raw, "secret-of-blue") {
			t.Errorf("a mail to %s: %s", m.To, m.Raw)
		}
	}
	if !slices.Equal(subjects, expected(6)) {
		t.Errorf("the mails are %q", subjects)
	}
	b.mu.Lock()
	b.before = nil
	b.mu.Unlock()
	var v api.Validation
	p.ask("POST", operator+"/subscriptions/"+id+"/validate", "{}", http.StatusOK, &v)
	if !v.Valid || show().State != hook.Valid {
		t.Errorf("validated it is %+v", show().Endpoint)
	}
	p.stop()
}
