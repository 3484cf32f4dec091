package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/api"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/memnet"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/internal/seal"
)

// tailed is a platform in a bubble whose log is followed over a network that fails.
type tailed struct {
	t    *testing.T
	net  memnet.Net
	p    *platform
	ctx  context.Context
	stop context.CancelFunc
	key  string // file with the operator key

	mu  sync.Mutex
	cut []context.CancelFunc // of the streams that are open
	ids *hook.IDs
}

func newTailed(t *testing.T) *tailed {
	t.Helper()
	w := &tailed{t: t, ids: hook.NewIDs(0, 0), key: filepath.Join(t.TempDir(), "operator.key")}
	sealing, err := seal.NewKey(bytes.Repeat([]byte{7}, 32))
	must(t, err)
	w.ctx, w.stop = context.WithCancel(t.Context())
	w.p, err = newPlatform(w.ctx, settings{
		database: "sqlite:" + filepath.Join(t.TempDir(), "test.db"), key: sealing, retention: time.Hour,
		outbound: outbound.Config{DialContext: w.net.DialContext, UserAgent: "test"}, log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- w.p.sender.Run(w.ctx) }()
	t.Cleanup(func() {
		w.stop()
		must(t, errors.Join(<-done, w.p.store.Close()))
		w.p.client.Close()
	})
	must(t, w.p.store.CreateKey(&hook.OperatorKey{ID: "k", Name: "tests", Scopes: hook.KeyScopes(), Created: time.Now()}, "shk_secret"))
	must(t, os.WriteFile(w.key, []byte("shk_secret\n"), 0o600))
	w.up()
	return w
}

// up makes the platform reachable.
func (w *tailed) up() {
	w.net.Handle(w.t, "platform.test", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		w.mu.Lock()
		w.cut = append(w.cut, cancel)
		w.mu.Unlock()
		w.p.handler.ServeHTTP(rw, r.WithContext(ctx))
		if ctx.Err() != nil {
			panic(http.ErrAbortHandler)
		}
	}))
}

// breakOff breaks all connections that are open.
func (w *tailed) breakOff() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, cancel := range w.cut {
		cancel()
	}
	w.cut = nil
}

// row adds a row to the log and returns its id.
func (w *tailed) row() string {
	w.t.Helper()
	a := &hook.Attempt{
		Kind: hook.KindChallenge, Delivery: hook.DeliveryID{Event: hook.EventID(w.ids.Next(time.Now())), Subscription: 1},
		EventType: "endpoint.url_validation", Target: hook.Target{URL: "https://hooks.example/x?token=t"}, Outcome: 200, State: hook.Delivered, Started: time.Now(),
	}
	must(w.t, w.p.store.LogChallenges([]*hook.Attempt{a}))
	return fmt.Sprint(a.ID)
}

// tail is a command that follows the log.
type tail struct {
	out, messages lockedBuffer
	done          chan error
}

func (w *tailed) tail(after string, count int) *tail {
	x := &tail{done: make(chan error, 1)}
	tr := &http.Transport{DialContext: w.net.DialContext}
	w.t.Cleanup(tr.CloseIdleConnections)
	l := &tailing{out: &output{format: "ndjson", w: &x.out}, messages: &x.messages, left: count}
	f := l.follow(&client{server: "http://platform.test", keyFile: w.key, http: &http.Client{Transport: tr}}, url.Values{})
	f.last = after
	go func() { x.done <- f.run(w.ctx) }()
	synctest.Wait()
	return x
}

// rows returns the ids of the rows so far.
func (x *tail) rows(t *testing.T) (ids []string) {
	t.Helper()
	for line := range strings.Lines(x.out.String()) {
		var r api.LoggedAttempt
		must(t, json.Unmarshal([]byte(line), &r))
		ids = append(ids, r.ID)
	}
	return ids
}

// However often the connection breaks: each row is printed once, in order, and people are
// told what happens.
func TestTailGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTailed(t)
		w.row() // before
		x := w.tail("", math.MaxInt)
		var want []string
		for range 5 {
			for range 3 {
				want = append(want, w.row())
			}
			w.breakOff()
			want = append(want, w.row()) // while nobody follows
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		if got := x.rows(t); !slices.Equal(got, want) {
			t.Errorf("rows %v, want %v", got, want)
		}
		if got, want := x.messages.String(), strings.Repeat("the connection to the platform broke off (unexpected EOF); making it again\nconnected again, and going on after the last row\n", 5); got != want {
			t.Errorf("messages:\n%swant:\n%s", got, want)
		}
		w.stop()
		if err := <-x.done; err != nil {
			t.Errorf("asked to end, it says %v", err)
		}
	})
}

// A platform that is gone is waited for, for half a minute; then the command ends with an
// error that says where to go on.
func TestTailGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTailed(t)
		x := w.tail("0", math.MaxInt)
		last := w.row()
		time.Sleep(time.Second)
		synctest.Wait()
		w.net.Drop("platform.test")
		start := time.Now()
		w.breakOff()
		err := <-x.done
		if err == nil || !strings.HasPrefix(err.Error(), "the log cannot be followed any more: the platform at http://platform.test cannot be reached: ") ||
			!strings.HasSuffix(err.Error(), "; go on with --after "+last) {
			t.Errorf("it ends with %v", err)
		}
		if d := time.Since(start); d != 31*time.Second {
			t.Errorf("it gives up after %v", d)
		}

		// One that is back in time is followed as before, and only then the waiting begins anew.
		w.up()
		y := w.tail(last, math.MaxInt)
		for range 3 {
			w.net.Drop("platform.test")
			w.breakOff()
			time.Sleep(20 * time.Second)
			w.up()
			time.Sleep(40 * time.Second)
			synctest.Wait()
		}
		next := w.row()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := y.rows(t); !slices.Equal(got, []string{next}) {
			t.Errorf("rows %v, want %s; %s", got, next, y.messages.String())
		}
		// A key that is not valid any more is no trouble that passes.
		must(t, w.p.store.RevokeKey("k", time.Now()))
		if err := <-y.done; err == nil || err.Error() != "Invalid access token: the operator key is unknown or revoked" {
			t.Errorf("with the key revoked it ends with %v", err)
		}
		// And what never worked is not tried again.
		start = time.Now()
		if err := <-w.tail("", math.MaxInt).done; err == nil || time.Since(start) != 0 {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// A connection on which nothing comes any more is dead, whatever it looks like.
func TestTailNoticesSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTailed(t)
		tries := 0
		start := time.Now()
		w.net.Handle(t, "platform.test", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			tries++
			if got, want := r.Header.Get("Last-Event-ID"), map[bool]string{true: "", false: "7"}[tries == 1]; got != want {
				t.Errorf("request %d goes on after %q, want %q", tries, got, want)
			}
			if tries == 3 {
				rw.WriteHeader(http.StatusForbidden)
				return
			}
			fmt.Fprint(rw, "retry: 1000\nid: 7\n\n")
			must(t, http.NewResponseController(rw).Flush())
			<-r.Context().Done()
		}))
		x := w.tail("", math.MaxInt)
		err := <-x.done
		if err == nil || time.Since(start) != 2*silence || !strings.Contains(err.Error(), "status 403") {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if !strings.HasPrefix(x.messages.String(), "the connection to the platform broke off (nothing came for 45s, and not even that it is alive); making it again\n") {
			t.Errorf("messages: %s", x.messages.String())
		}
	})
}

// A platform that ends each connection at once is not asked again and again for ever.
func TestTailOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTailed(t)
		tries := 0
		w.net.Handle(t, "platform.test", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			tries++
			fmt.Fprint(rw, "retry: 1000\nid: 7\n\n")
		}))
		start := time.Now()
		err := <-w.tail("", math.MaxInt).done
		if err == nil || err.Error() != "the log cannot be followed any more: the platform ended it; go on with --after 7" || tries != 1+maxReconnects || time.Since(start) != 31*time.Second {
			t.Errorf("after %d tries and %v: %v", tries, time.Since(start), err)
		}
	})
}

// Who asks for a number of rows gets them and no more, and who cannot be written to is
// not followed for.
func TestTailEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTailed(t)
		var want []string
		for range 5 {
			want = append(want, w.row())
		}
		x := w.tail("0", 3)
		if err := <-x.done; err != nil || !slices.Equal(x.rows(t), want[:3]) {
			t.Errorf("rows %v, %v", x.rows(t), err)
		}
		tr := &http.Transport{DialContext: w.net.DialContext}
		defer tr.CloseIdleConnections()
		l := &tailing{out: &output{format: "ndjson", w: full{}}, messages: io.Discard, left: math.MaxInt}
		f := l.follow(&client{server: "http://platform.test", keyFile: w.key, http: &http.Client{Transport: tr}}, nil)
		f.last = "0"
		if err := f.run(w.ctx); !errors.Is(err, errFull) {
			t.Errorf("with nowhere to write: %v", err)
		}
	})
}

var errFull = errors.New("no space left")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// A line says what there is to say, in colours only where those are wanted; what comes from
// elsewhere cannot add any.
func TestLogLines(t *testing.T) {
	t.Setenv("TZ", "UTC")
	at := time.Date(2026, 1, 31, 15, 4, 5, 123e6, time.Local)
	base := api.LoggedAttempt{
		DeliveryID: "D", Event: "e.x", Attempt: api.Attempt{Kind: "attempt", Outcome: "204", Started: api.Instant(at), Endpoint: "https://a.b/c?token=x", State: hook.Delivered,
			Timing: api.Timing{Done: api.Milliseconds(1500 * time.Microsecond)}},
	}
	for name, c := range map[string]struct {
		edit   func(r *api.LoggedAttempt)
		colour string
		want   string
	}{
		"delivered": {func(*api.LoggedAttempt) {}, green, "2026-01-31 15:04:05.123  204                 e.x  D  to https://a.b/c  retry 0  took 1.5ms"},
		"waiting": {func(r *api.LoggedAttempt) {
			r.Outcome, r.State, r.Next, r.Detail = "ReadTimeOut", hook.Waiting, api.Instant(at.Add(time.Minute)), "no answer"
		}, yellow, "2026-01-31 15:04:05.123  ReadTimeOut         e.x  D  to https://a.b/c  retry 0  took 1.5ms  next 2026-01-31 15:05:05.123  no answer"},
		"failed":    {func(r *api.LoggedAttempt) { r.Outcome, r.State = "404", hook.Failed }, red, "2026-01-31 15:04:05.123  404                 e.x  D  to https://a.b/c  retry 0  took 1.5ms"},
		"challenge": {func(r *api.LoggedAttempt) { r.Kind = "challenge" }, green, "2026-01-31 15:04:05.123  challenge 204       e.x  D  to https://a.b/c  took 1.5ms"},
		"challenge not answered": {func(r *api.LoggedAttempt) { r.Kind, r.Outcome, r.State = "challenge", "500", hook.Waiting }, red,
			"2026-01-31 15:04:05.123  challenge 500       e.x  D  to https://a.b/c  took 1.5ms"},
		"resend": {func(r *api.LoggedAttempt) {
			*r = api.LoggedAttempt{DeliveryID: "D", Event: "e.x", Attempt: api.Attempt{Kind: "resend", Started: api.Instant(at), Detail: "asked for"}}
		}, blue, "2026-01-31 15:04:05.123  resend              e.x  D  asked for"},
		"cancel": {func(r *api.LoggedAttempt) {
			*r = api.LoggedAttempt{DeliveryID: "D", Event: "e.x", Attempt: api.Attempt{Kind: "cancel", Started: api.Instant(at), State: hook.Cancelled, Detail: "it was deleted"}}
		}, red, "2026-01-31 15:04:05.123  cancel              e.x  D  it was deleted"},
		"hostile": {func(r *api.LoggedAttempt) {
			r.Event, r.Endpoint, r.Detail = "e\u202e", "https://a.b/\x1b[31m", "said \"\x1b]0;x\x07\"\nand more"
		}, green, `2026-01-31 15:04:05.123  204                 e\u202e  D  to https://a.b/\u001b[31m  retry 0  took 1.5ms  said "\u001b]0;x\u0007"\u000aand more`},
	} {
		r := base
		c.edit(&r)
		if got := logLine(&r, false); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
		got := logLine(&r, true)
		if strings.Count(got, "\x1b[") != 2 || !strings.Contains(got, "\x1b["+c.colour+"m") || strings.NewReplacer("\x1b["+c.colour+"m", "", "\x1b[0m", "").Replace(got) != c.want {
			t.Errorf("%s in colours: %q", name, got)
		}
	}
	if coloured(&bytes.Buffer{}) {
		t.Error("what is no terminal is coloured")
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // the nearest to a terminal that there is everywhere
	must(t, err)
	defer null.Close()
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	if !coloured(null) {
		t.Error("a terminal is not coloured")
	}
	t.Setenv("NO_COLOR", "1")
	if coloured(null) {
		t.Error("NO_COLOR is set")
	}
}

// The program stops with streams open: each gets its proper end, and none is waited for.
func TestStopWithStreamsOpen(t *testing.T) {
	in := install(t)
	p := in.serve()
	var open []*http.Response
	for range 3 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+operator+"/webhook_logs/stream", nil)
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+p.key)
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		defer res.Body.Close()
		open = append(open, res)
	}
	p.stop()
	for _, res := range open {
		// A connection that was cut off has another end than one that was closed.
		body, err := io.ReadAll(res.Body)
		if err != nil || !strings.HasSuffix(string(body), ": the platform is stopping\n\n") {
			t.Errorf("%q, %v", body, err)
		}
	}
}
