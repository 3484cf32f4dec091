package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/api"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/webhook"
)

// local is a program on somebody's machine, which checks what it gets.
type local struct {
	mu     sync.Mutex
	got    []string // the CNAMs of verified events
	refuse []string // what did not verify
	before func(name string)
}

func (p *local) handler(t *testing.T) http.Handler {
	t.Helper()
	r, err := webhook.New(webhook.Config{Secrets: []string{"secret-token-of-the-app"}, Error: func(_ *http.Request, err error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.refuse = append(p.refuse, err.Error())
	}})
	must(t, err)
	verify := r.Handler(func(_ context.Context, e *webhook.Event) error {
		var v struct{ Object struct{ CNAM string } }
		if err := json.Unmarshal(e.Payload, &v); err != nil {
			return err
		}
		p.mu.Lock()
		p.got = append(p.got, v.Object.CNAM)
		before := p.before
		p.mu.Unlock()
		if before != nil {
			before(v.Object.CNAM)
		}
		if v.Object.CNAM == "fail" {
			return errors.New("on purpose")
		}
		return nil
	})
	return verify
}

func (p *local) names() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.got)
}

// withApp gives the platform an app.
func (w *tailed) withApp() {
	w.t.Helper()
	must(w.t, w.p.store.Change(hook.Change{
		Accounts: []*hook.Account{{ID: "carrier"}, {ID: "customer"}},
		Apps: []*hook.App{{
			ID: "app", Name: "number sync", Account: "carrier", ClientID: "client", State: hook.Production, Created: time.Now(),
			SecretToken: "secret-token-of-the-app", Scopes: []string{"number_management_numbers:read:admin"}, CarrierCodes: []int32{1},
			ClientSecret: hook.HashSecret("client-secret-of-the-app"),
		}},
	}, time.Now()))
}

// publish publishes an event, and returns its id.
func (w *tailed) publish(name string) string {
	w.t.Helper()
	r := w.p.intake.Accept([]intake.Item{{Raw: []byte(numbered(name))}}, time.Now())[0]
	must(w.t, r.Err)
	return r.Event.String()
}

// listenCmd is a command that listens.
type listenCmd struct {
	*listening
	out, errors lockedBuffer
	done        chan error
}

func (w *tailed) listen(edit func(*listening)) *listenCmd {
	w.t.Helper()
	x := &listenCmd{listening: &listening{app: "app", timeout: webhook.SendTimeout}, done: make(chan error, 1)}
	if edit != nil {
		edit(x.listening)
	}
	tr := &http.Transport{DialContext: w.net.DialContext}
	w.t.Cleanup(tr.CloseIdleConnections)
	c := &client{server: "http://platform.test", keyFile: w.key, http: &http.Client{Transport: tr}}
	must(w.t, x.open(c, &output{format: "text", w: &x.out}, &x.errors))
	x.client = outbound.New(outbound.Config{Policy: everywhere(), DialContext: w.net.DialContext, AnswerTimeout: x.timeout, KeepBody: outbound.MaxKeepBody})
	w.t.Cleanup(x.client.Close)
	go func() { x.done <- x.hint(x.follow.run(w.ctx)) }()
	synctest.Wait()
	return x
}

func forwarding(l *listening) { l.forwardTo = "http://localhost/webhooks" }

// However often the connection breaks: the local program gets each event once and in
// order, with a signature that holds, and people are told what happens. It is ready when,
// and only when, events come.
func TestListenGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTailed(t)
		w.withApp()
		program := &local{}
		w.net.Handle(t, "localhost", program.handler(t))
		w.publish("before")
		x := w.listen(forwarding)
		ready := `listening for 2 event types of app "number sync" (app), forwarding to http://localhost/webhooks`
		want := "ready: " + ready + "\n"
		if got := x.errors.String(); got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
		var events []string
		for i := range 5 {
			name := fmt.Sprint("N", i)
			last := w.publish(name)
			time.Sleep(time.Second)
			w.net.Drop("platform.test")
			w.breakOff()
			w.publish(name + "A") // while it is away
			synctest.Wait()
			want += "the connection to the platform broke off (unexpected EOF); making it again\n"
			if got := x.errors.String(); got != want {
				t.Errorf("it says %q, want %q", got, want)
			}
			w.up()
			time.Sleep(10 * time.Second)
			want += "ready again: " + ready + ", going on after " + last + "\n"
			if got := x.errors.String(); got != want {
				t.Errorf("it says %q, want %q", got, want)
			}
			events = append(events, name, name+"A")
		}
		if got := program.names(); !slices.Equal(got, events) || len(program.refuse) > 0 {
			t.Errorf("events %v, want %v; refused: %v", got, events, program.refuse)
		}
		w.stop()
		if err := <-x.done; err != nil {
			t.Errorf("asked to end, it says %v", err)
		}
	})
}

// A connection on which nothing comes any more is dead, whatever it looks like. A
// platform that is gone is waited for, for half a minute, also if it only hangs; then
// the exit code says so.
func TestListenNoticesSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTailed(t)
		w.withApp()
		x := w.listen(forwarding)
		last := x.follow.last
		var tries atomic.Int32
		// From now on there is something between that takes connections and says nothing.
		w.net.Handle(t, "platform.test", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			tries.Add(1)
			if got := r.Header.Get("Last-Event-ID"); got != last {
				t.Errorf("it goes on after %q, want %q", got, last)
			}
			<-r.Context().Done()
		}))
		start := time.Now()
		w.breakOff()
		err := <-x.done
		e, ok := errors.AsType[*exitError](err)
		if !ok || e.code != exitLost || err.Error() != "the app's events cannot be followed any more: nothing came for 10s, and not even that it is alive; go on with --after "+last {
			t.Errorf("it ends with %v", err)
		}
		if d := time.Since(start); d < giveUpAfter || d > giveUpAfter+opening || tries.Load() < 3 {
			t.Errorf("it gives up after %v and %d tries", d, tries.Load())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newTailed(t)
		w.withApp()
		program := &local{}
		w.net.Handle(t, "localhost", program.handler(t))
		silent := make(chan struct{})
		real := w.p.handler
		w.net.Handle(t, "platform.test", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			select {
			case <-silent:
				real.ServeHTTP(rw, r)
			default: // the first one goes silent without being closed
				gone, cancel := context.WithCancel(r.Context())
				defer cancel()
				go func() {
					<-silent
					cancel()
				}()
				real.ServeHTTP(&mute{ResponseWriter: rw, after: silent}, r.WithContext(gone))
				<-r.Context().Done()
			}
		}))
		x := w.listen(forwarding)
		w.publish("heard")
		time.Sleep(time.Second)
		start := time.Now()
		close(silent)
		w.publish("not heard")
		for !strings.Contains(x.errors.String(), "ready again") {
			time.Sleep(time.Second)
		}
		if d := time.Since(start); d > silence+time.Second || !strings.Contains(x.errors.String(), "broke off (nothing came for 45s, and not even that it is alive)") {
			t.Errorf("after %v: %s", d, x.errors.String())
		}
		time.Sleep(time.Second)
		if got := program.names(); !slices.Equal(got, []string{"heard", "not heard"}) {
			t.Errorf("events %v", got)
		}
	})
}

// mute is an answer that says nothing any more once a channel is closed.
type mute struct {
	http.ResponseWriter
	after chan struct{}
}

func (m *mute) Write(b []byte) (int, error) {
	select {
	case <-m.after:
		return len(b), nil
	default:
		return m.ResponseWriter.Write(b)
	}
}

func (m *mute) Unwrap() http.ResponseWriter { return m.ResponseWriter }

// What waits while the local program takes its time is had anew, so that its signatures
// hold when its turn comes; and the platform is not to blame for the silence.
func TestListenToSlowProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTailed(t)
		w.withApp()
		program := &local{before: func(name string) {
			if name == "breakpoint" {
				time.Sleep(20 * time.Minute)
			}
		}}
		w.net.Handle(t, "localhost", program.handler(t))
		x := w.listen(func(l *listening) { forwarding(l); l.timeout = time.Hour })
		want := []string{"one", "breakpoint", "two", "three"}
		for _, name := range want {
			w.publish(name) // they come with one look, and so with one signature
		}
		time.Sleep(30 * time.Minute)
		if got := program.names(); !slices.Equal(got, want) || len(program.refuse) > 0 {
			t.Errorf("events %v, want %v; refused: %v", got, want, program.refuse)
		}
		if lines := strings.Count(x.out.String(), "  204  "); lines != 4 {
			t.Errorf("%s", x.out.String())
		}

		// One that is not that slow loses nothing, and nobody is told of anything.
		y := w.listen(forwarding)
		w.publish("one")
		time.Sleep(5 * time.Minute)
		if got := y.errors.String(); strings.Count(got, "\n") != 1 {
			t.Errorf("it says %s", got)
		}
	})
}

// What the local program does is shown, and what it does not take is no reason to end.
func TestListenShows(t *testing.T) {
	t.Setenv("TZ", "UTC")
	synctest.Test(t, func(t *testing.T) {
		w := newTailed(t)
		w.withApp()
		program := &local{before: func(name string) {
			if name == "slow" {
				time.Sleep(5 * time.Second)
			}
		}}
		w.net.Handle(t, "localhost", program.handler(t))
		w.net.Handle(t, "other.test", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(http.StatusNotFound)
			fmt.Fprint(rw, "no such page\x1b[2J\nand more")
		}))
		x := w.listen(func(l *listening) {
			l.routes = []string{"number_management.peering_number_emergency*=http://nowhere.test/", "number_management.peering_number_cnam*=http://localhost/n?token=t"}
		})
		gone := w.listen(func(l *listening) { l.forwardTo = "http://nowhere.test/" })
		other := w.listen(func(l *listening) { l.routes, l.count, l.printJSON = []string{"*=http://other.test/"}, 2, true })
		nobody := w.listen(func(l *listening) { l.routes = []string{"meeting.*=http://localhost/"} })
		shown := w.listen(nil)
		var ids []string
		for _, name := range []string{"ACME", "fail", "slow"} {
			ids = append(ids, w.publish(name))
			time.Sleep(10 * time.Second)
		}
		const event = "number_management.peering_number_cnam_updated"
		for name, c := range map[string]struct {
			x    *listenCmd
			want []string
		}{
			"forwarded": {x, []string{
				"204                 " + event + "  " + ids[0] + "  to http://localhost/n  took 0s",
				"500                 " + event + "  " + ids[1] + `  to http://localhost/n  took 0s  failed; the platform would try again`,
				"ReadTimeOut         " + event + "  " + ids[2] + "  to http://localhost/n  took 3s  no answer within 3s of sending the request, as long as the platform waits; --timeout allows more",
			}},
			"nobody is there": {gone, []string{
				"ConnectionRefused   " + event + "  " + ids[0] + "  to http://nowhere.test/  took 0s  the connection was refused; is the local program running?",
			}},
			"no route":   {nobody, []string{"received            " + event + "  " + ids[0] + "  no route, not forwarded"}},
			"only shown": {shown, []string{"received            " + event + "  " + ids[0]}},
			"refused": {other, []string{
				"404                 " + event + "  " + ids[0] + `  to http://other.test/  took 0s  refused; the platform would not try again  "no such page\x1b[2J"`,
				"    {", `      "event": "` + event + `",`,
			}},
		} {
			lines := strings.Split(c.x.out.String(), "\n")
			for i, want := range c.want {
				got := lines[i]
				if !strings.HasPrefix(got, "    ") {
					got = got[len("2000-01-01 00:00:00.000  "):]
				}
				if got != want {
					t.Errorf("%s: line %d is\n%s\nwant\n%s", name, i, got, want)
				}
			}
		}
		if err := <-other.done; err != nil || other.got != 2 || other.failed != 2 {
			t.Errorf("two were asked for: %v, %d, %d", err, other.got, other.failed)
		}
	})
}

// Colours are only where they are wanted, and what comes from elsewhere cannot add any.
func TestListenLines(t *testing.T) {
	t.Setenv("TZ", "UTC")
	at := api.Instant(time.Date(2026, 1, 31, 15, 4, 5, 123e6, time.Local))
	for name, c := range map[string]struct {
		event  relayed
		colour string
		want   string
	}{
		"taken":        {relayed{outcome: 204, Outcome: "204", Forwarded: "http://a.b/?token=x"}, green, "204                 e.x  E  to http://a.b/  took 0s"},
		"sent again":   {relayed{outcome: 204, Outcome: "204", Forwarded: "http://a.b/", Again: true}, green, "204 again           e.x  E  to http://a.b/  took 0s"},
		"failed":       {relayed{outcome: 503, Outcome: "503", Forwarded: "http://a.b/"}, yellow, "503                 e.x  E  to http://a.b/  took 0s"},
		"refused":      {relayed{outcome: 404, Outcome: "404", Forwarded: "http://a.b/"}, red, "404                 e.x  E  to http://a.b/  took 0s"},
		"only shown":   {relayed{}, blue, "received            e.x  E"},
		"hostile name": {relayed{Event: "e\u202e\x1b[31m"}, blue, `received            e\u202e\u001b[31m  E`},
		"hostile answer": {relayed{outcome: 404, Outcome: "404", Detail: "refused", Answer: "\x1b]0;x\x07 \u202e"}, red,
			`404                 e.x  E  refused  "\x1b]0;x\a \u202e"`},
	} {
		c.event.EventID, c.event.Received = "E", at
		if c.event.Event == "" {
			c.event.Event = "e.x"
		}
		want := "2026-01-31 15:04:05.123  " + c.want
		if got := c.event.line(false); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
		got := c.event.line(true)
		if strings.Count(got, "\x1b[") != 2 || strings.NewReplacer("\x1b["+c.colour+"m", "", "\x1b[0m", "").Replace(got) != want {
			t.Errorf("%s in colours: %q", name, got)
		}
	}
}

// A local program that proves itself, and one that does not, are told apart at the
// beginning.
func TestListenValidates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTailed(t)
		w.withApp()
		w.net.Handle(t, "localhost", (&local{}).handler(t))
		w.net.Handle(t, "other.test", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusNoContent) }))
		x := w.listen(func(l *listening) {
			forwarding(l)
			l.validate, l.routes = true, []string{"a=http://other.test/", "b=http://other.test/", "c=http://nowhere.test/"}
		})
		got := x.errors.String()
		for _, want := range []string{
			"http://localhost/webhooks has proven itself: it answers the challenge as it should\n",
			"http://other.test/ has not proven itself: the endpoint answered with status 204, which cannot carry the answer",
			"http://nowhere.test/ has not proven itself: the connection was refused\n",
		} {
			if strings.Count(got, want) != 1 {
				t.Errorf("%q is not in %s", want, got)
			}
		}
		w.breakOff()
		time.Sleep(time.Minute)
		if again := x.errors.String(); !strings.Contains(again, "ready again") || strings.Count(again, "proven") != 3 {
			t.Errorf("connected again, it says %s", again)
		}
	})
}

// What cannot be listened to ends the command at once, with what to do.
func TestListenIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTailed(t)
		w.withApp()
		for name, c := range map[string]struct {
			edit func(*listening)
			key  string
			want string
		}{
			"an unknown app":        {func(l *listening) { l.app = "none" }, "shk_secret", `Not found: app none is not there; see: switchhook apps list`},
			"a wrong key":           {nil, "shk_wrong", "Invalid access token: the operator key is unknown or revoked; make a key that may listen with: switchhook keys create --scope manage"},
			"an unknown event type": {func(l *listening) { l.events = []string{"no.such"} }, "shk_secret", `Validation Failed: event "no.such" is no event type of the catalog, nor does any begin so`},
			"an event of elsewhere": {func(l *listening) { l.after = "7fffffff_ffff_ffff" }, "shk_secret", "Validation Failed: Last-Event-ID is ahead of this platform; was it another platform's? Connect without it"},
		} {
			must(t, os.WriteFile(w.key, []byte(c.key), 0o600))
			start := time.Now()
			err := <-w.listen(c.edit).done
			if err == nil || err.Error() != c.want || time.Since(start) != 0 {
				t.Errorf("%s: after %v: %v, want %s", name, time.Since(start), err, c.want)
			}
		}

		// A key that is revoked meanwhile.
		must(t, os.WriteFile(w.key, []byte("shk_secret"), 0o600))
		x := w.listen(nil)
		must(t, w.p.store.RevokeKey("k", time.Now()))
		start := time.Now()
		if err := <-x.done; err == nil || !strings.HasPrefix(err.Error(), "Invalid access token") || time.Since(start) > 30*time.Second {
			t.Errorf("revoked, after %v: %v", time.Since(start), err)
		}
	})
}

// An app listens for itself, without an operator key and for longer than its access token
// is valid; and not with a wrong secret.
func TestListenAsApp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTailed(t)
		w.withApp()
		must(t, os.Remove(w.key))
		program := &local{}
		w.net.Handle(t, "localhost", program.handler(t))
		secret := filepath.Join(t.TempDir(), "secret")
		must(t, os.WriteFile(secret, []byte("client-secret-of-the-app\n"), 0o600))
		asApp := func(l *listening) {
			forwarding(l)
			l.app, l.clientID, l.secretFile = "", "client", secret
		}
		x := w.listen(asApp)
		var want []string
		for i := range 10 {
			want = append(want, fmt.Sprint("N", i))
			w.publish(want[i])
			time.Sleep(25 * time.Minute)
		}
		if got := program.names(); !slices.Equal(got, want) || !strings.HasPrefix(x.errors.String(), `ready: listening for 2 event types of app "number sync" (app)`) {
			t.Errorf("events %v, want %v; it says %s", got, want, x.errors.String())
		}
		y := w.listen(func(l *listening) { asApp(l); l.app = "another" })
		if err := <-y.done; err == nil || err.Error() != "Forbidden: app app: may listen for its own events only" {
			t.Errorf("for another app: %v", err)
		}
		must(t, os.WriteFile(secret, []byte("wrong"), 0o600))
		if err := <-w.listen(asApp).done; err == nil || err.Error() != "the platform gives app client client no access token: Invalid client_id or client_secret" {
			t.Errorf("with a wrong secret: %v", err)
		}
	})
}

// Clocks that are so far apart that nothing will verify are noticed.
func TestListenWithAnotherClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTailed(t)
		program := &local{}
		w.net.Handle(t, "localhost", program.handler(t))
		signer, err := webhook.NewSigner("secret-token-of-the-app")
		must(t, err)
		theirs := func() time.Time { return time.Now().Add(-4 * time.Minute) }
		w.net.Handle(t, "platform.test", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			body := numbered("ACME")
			timestamp, signature := signer.Sign(theirs(), []byte(body))
			request, err := json.Marshal(api.ListenedRequest{EventID: "00000000_0000_0001", Event: "e", Body: body, Headers: map[string]string{
				"content-type": webhook.ContentType, "x-zm-request-timestamp": timestamp, "x-zm-signature": signature, "x-zm-request-id": "id",
			}})
			must(t, err)
			rw.Header().Set("Date", theirs().UTC().Format(http.TimeFormat))
			fmt.Fprintf(rw, "event: ready\ndata: {}\n\ndata: %s\n\n", request)
			must(t, http.NewResponseController(rw).Flush())
			<-r.Context().Done()
		}))
		x := w.listen(forwarding)
		if got := x.errors.String(); !strings.HasPrefix(got, "warning: this machine's clock is 4m0s apart from the platform's") {
			t.Errorf("it says %s", got)
		}
		if got := program.names(); !slices.Equal(got, []string{"ACME"}) {
			t.Errorf("events %v: what is as old as the clocks are apart is not old", got)
		}
	})
}

// Where results cannot be written, it ends.
func TestListenToNowhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTailed(t)
		w.withApp()
		x := w.listen(nil)
		x.listening.out.w = full{}
		w.publish("ACME")
		if err := <-x.done; !errors.Is(err, errFull) {
			t.Errorf("with nowhere to write: %v", err)
		}
	})
}

// A platform that is killed while somebody listens, and started again: the local program
// gets everything that was accepted, once, before and after.
func TestListenOverKills(t *testing.T) {
	in := install(t)
	p := in.serve()
	b := openInbox(t, "local", "secret-token-of-the-app")
	p.subscribe() // nobody
	var made struct {
		ID string `json:"app_id"`
	}
	p.ask("POST", operator+"/apps", `{"name":"local","account_id":"carrier","secret_token":"secret-token-of-the-app","carrier_codes":[1],"scopes":["number_management_numbers:read:admin"]}`, http.StatusCreated, &made)

	listen := exec.Command(program(t), "listen", "--app", made.ID, "--forward-to", b.url, "-o", "ndjson")
	way := newWay(t, p.url)
	listen.Env = append(os.Environ(), "SWITCHHOOK_SERVER="+way.url, "SWITCHHOOK_KEY="+in.key)
	var stdout, stderr lockedBuffer
	listen.Stdout, listen.Stderr = &stdout, &stderr
	must(t, listen.Start())
	t.Cleanup(func() {
		if listen.ProcessState == nil {
			_ = listen.Process.Kill()
			_ = listen.Wait()
		}
	})
	waitFor(t, "ready", func() bool { return strings.HasPrefix(stderr.String(), "ready: ") })

	want := map[string]bool{}
	for round := range 4 {
		var wg sync.WaitGroup
		var mu sync.Mutex
		killed := make(chan struct{})
		for worker := range 4 {
			wg.Go(func() { // until the platform is gone
				for i := 0; ; i++ {
					name := fmt.Sprintf("%d-%d-%d", round, worker, i)
					res, _, err := p.call(t.Context(), http.DefaultClient, "POST", "/v2/events", "application/json", strings.NewReader(numbered(name)))
					if err != nil {
						return
					}
					if res.StatusCode == http.StatusAccepted {
						mu.Lock()
						want[name] = true
						mu.Unlock()
					}
					select {
					case <-killed:
						return
					default:
					}
				}
			})
		}
		before := b.count()
		waitFor(t, "some events", func() bool { return b.count() > before+20 })
		p.kill()
		close(killed)
		wg.Wait()
		p = in.serve()
		way.leads(p.url)
		waitFor(t, "ready again", func() bool { return strings.Count(stderr.String(), "ready again: ") == round+1 })
	}
	// More than was accepted may come: what was stored when nobody could be told any more.
	waitFor(t, "all events", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		missing := maps.Clone(want)
		for _, l := range b.got {
			delete(missing, l.event)
		}
		return len(missing) == 0 && strings.Count(stdout.String(), `"outcome":`) == len(b.got)
	})
	must(t, listen.Process.Signal(syscall.SIGINT))
	if err := listen.Wait(); err != nil {
		t.Errorf("asked to end, it ends with %v: %s", err, stderr.String())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	got := map[string]bool{}
	for _, l := range b.got {
		got[l.event] = true
	}
	for name := range maps.Keys(want) {
		if !got[name] {
			t.Errorf("%s was accepted and has not come", name)
		}
	}
	if b.repeated > 0 || len(b.faults) > 0 {
		t.Errorf("%d came twice; faults: %v", b.repeated, b.faults)
	}
	dec := json.NewDecoder(bytes.NewReader([]byte(stdout.String())))
	lines := 0
	for {
		var v struct {
			EventID string `json:"event_id"`
			Outcome string
		}
		err := dec.Decode(&v)
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		if v.EventID == "" {
			continue // it was ready
		}
		if lines++; v.Outcome != "204" {
			t.Errorf("%+v", v)
		}
	}
	if lines != len(b.got) {
		t.Errorf("%d lines for %d events", lines, len(b.got))
	}
}

// way is an address that stays the same while platforms come and go behind it, on ports
// that nobody else has taken.
type way struct {
	url string
	to  atomic.Value
}

func newWay(t *testing.T, url string) *way {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	w := &way{url: "http://" + l.Addr().String()}
	w.leads(url)
	var open sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		open.Wait()
	})
	open.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer from.Close()
				to, err := net.Dial("tcp", w.to.Load().(string))
				if err != nil {
					return
				}
				defer to.Close()
				open.Go(func() {
					_, _ = io.Copy(to, from)
					_ = to.Close()
				})
				_, _ = io.Copy(from, to)
			})
		}
	})
	return w
}

func (w *way) leads(url string) { w.to.Store(strings.TrimPrefix(url, "http://")) }

func (b *inbox) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.got)
}
