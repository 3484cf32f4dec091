package nats_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/switchhook/switchhook/internal/forward"
	"github.com/switchhook/switchhook/internal/forward/nats"
	"github.com/switchhook/switchhook/internal/inbox"
)

func message(id int64, source, name, body string) *forward.Message {
	return &forward.Message{Key: fmt.Sprintf("key-%d", id), Event: &inbox.Event{
		ID: id, Source: source, Name: name, Received: time.Date(2026, 1, 9, 12, 5, 13, 7_000_000, time.UTC), Body: []byte(body),
		Headers: inbox.Headers{{Name: "Content-Type", Value: "application/json"}, {Name: "X-Zm-Signature", Value: "v0=abc"}},
	}}
}

func messages(from, to int64) (all []*forward.Message) {
	for id := from; id <= to; id++ {
		all = append(all, message(id, "zoom", "meeting.started", fmt.Sprintf(`{"id":%d}`, id)))
	}
	return all
}

// start starts a server with JetStream.
func start(t *testing.T, change func(*natsserver.Options)) *natsserver.Server {
	t.Helper()
	o := &natsserver.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true}
	if change != nil {
		change(o)
	}
	s, err := natsserver.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not start")
	}
	return s
}

func streams(t *testing.T, url string, options ...client.Option) jetstream.JetStream {
	t.Helper()
	c, err := client.Connect(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	js, err := jetstream.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func newStream(t *testing.T, js jetstream.JetStream, c jetstream.StreamConfig) jetstream.Stream {
	t.Helper()
	s, err := js.CreateStream(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// stored returns the bodies in a stream.
func stored(t *testing.T, s jetstream.Stream) (all []*jetstream.RawStreamMsg) {
	t.Helper()
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

func bodies(t *testing.T, s jetstream.Stream) (all []string) {
	t.Helper()
	for _, m := range stored(t, s) {
		all = append(all, string(m.Data))
	}
	return all
}

func numbered(from, to int64) (all []string) {
	for _, m := range messages(from, to) {
		all = append(all, string(m.Body))
	}
	return all
}

func open(t *testing.T, c nats.Config) forward.Target {
	t.Helper()
	target, err := nats.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	return target
}

func take(t *testing.T, target forward.Target, all []*forward.Message) {
	t.Helper()
	if n, err := target.Take(t.Context(), all); n != len(all) || err != nil {
		t.Fatalf("%d of %d taken: %v", n, len(all), err)
	}
}

func needsSomebody(err error) bool {
	later, ok := errors.AsType[*forward.Later](err)
	return ok && later.After == forward.NeedsSomebody
}

// An event is a message with its body as it was signed, under a subject of its own.
func TestMessage(t *testing.T) {
	s := start(t, nil)
	stream := newStream(t, streams(t, s.ClientURL()), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"switchhook.>"}})
	replay := message(8, "other one", "", "not JSON \x00\xff")
	replay.Replay = true
	take(t, open(t, nats.Config{URLs: []string{s.ClientURL()}}), []*forward.Message{message(7, "zoom", "number_management.peering_number_cnam_updated", ` {"a" : 1}`), replay})
	got := stored(t, stream)
	if len(got) != 2 || got[0].Subject != "switchhook.zoom.number_management.peering_number_cnam_updated" || string(got[0].Data) != ` {"a" : 1}` ||
		got[1].Subject != "switchhook.other_one._" || string(got[1].Data) != "not JSON \x00\xff" {
		t.Fatalf("got %+v", got)
	}
	want := []client.Header{{
		"Content-Type": {"application/json"}, "X-Zm-Signature": {"v0=abc"}, "Nats-Msg-Id": {"key-7"}, "Idempotency-Key": {"key-7"},
		"Switchhook-Event": {"7"}, "Switchhook-Source": {"zoom"}, "Switchhook-Received": {"2026-01-09T12:05:13.007Z"},
	}, {
		"Content-Type": {"application/json"}, "X-Zm-Signature": {"v0=abc"}, "Nats-Msg-Id": {"key-8"}, "Idempotency-Key": {"key-8"},
		"Switchhook-Event": {"8"}, "Switchhook-Source": {"other one"}, "Switchhook-Received": {"2026-01-09T12:05:13.007Z"}, "Switchhook-Replay": {"true"},
	}}
	for i, m := range got {
		for name := range want[i] {
			if !slices.Equal(m.Header[name], want[i][name]) {
				t.Errorf("%s is %q, want %q", name, m.Header[name], want[i][name])
			}
		}
		if len(m.Header) != len(want[i]) {
			t.Errorf("headers %v", m.Header)
		}
	}
}

// Subjects can be published under, whatever is in an event.
func TestSubjects(t *testing.T) {
	s := start(t, nil)
	stream := newStream(t, streams(t, s.ClientURL()), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"x.>"}})
	target := open(t, nats.Config{URLs: []string{s.ClientURL()}, Subject: "x.{source}.{event}.{payload.account_id}.y"})
	for i, c := range []struct{ source, event, body, want string }{
		{"zoom", "meeting.started", `{"payload":{"account_id":"acme"}}`, "x.zoom.meeting.started.acme.y"},
		{"a.b", ".meeting..*.>.", `{"payload":{"account_id":"a.b c>*"}}`, "x.a_b._.meeting._._._._.a_b_c__.y"},
		{"a\tb", "\x00\x7f\xff", `{"payload":{"account_id":7}}`, "x.a_b.___.7.y"},
		{"zürich", "", `{"payload":{"account_id":{}}}`, "x.zürich._._.y"},
		{"zoom", "meeting", `{"Payload":{"account_id":"other"}}`, "x.zoom.meeting._.y"},
		{"zoom", "meeting", `not JSON`, "x.zoom.meeting._.y"},
		{"zoom", strings.Repeat("é.", 3000), `{}`, "x.zoom." + strings.Repeat("é.", 679) + "é"},
	} {
		take(t, target, []*forward.Message{message(int64(i+1), c.source, c.event, c.body)})
		if got := stored(t, stream)[i].Subject; got != c.want {
			t.Errorf("subject %q, want %q", got, c.want)
		}
	}
	for _, subject := range []string{"a b", "a.*", "a..b", "a.", ".{event}", ">", "{even}", "{", "}", "{payload}", "{event"} {
		if _, err := nats.New(nats.Config{URLs: []string{s.ClientURL()}, Subject: subject}); err == nil {
			t.Errorf("%q is no error", subject)
		}
	}
}

// Events that come again within the duplicate window are stored once, and all of them
// in their order.
func TestOnceAndInOrder(t *testing.T) {
	s := start(t, nil)
	stream := newStream(t, streams(t, s.ClientURL()), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"switchhook.>"}})
	target := open(t, nats.Config{URLs: []string{s.ClientURL()}})
	take(t, target, messages(1, 500))
	take(t, target, messages(400, 600))
	take(t, open(t, nats.Config{URLs: []string{s.ClientURL()}}), messages(1, 700))
	if got := bodies(t, stream); !slices.Equal(got, numbered(1, 700)) {
		t.Errorf("stored are %q", got)
	}
}

// More than can be under way at a time is taken in parts.
func TestMany(t *testing.T) {
	s := start(t, nil)
	stream := newStream(t, streams(t, s.ClientURL()), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"switchhook.>"}, Storage: jetstream.MemoryStorage})
	target := open(t, nats.Config{URLs: []string{s.ClientURL()}})
	for all := messages(1, 10_000); len(all) > 0; {
		n, err := target.Take(t.Context(), all)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		all = all[n:]
	}
	if info, err := stream.Info(t.Context()); err != nil || info.State.Msgs != 10_000 {
		t.Error(info, err)
	}
}

// What is larger than the server or the stream allow is refused, and nothing else is.
func TestTooLarge(t *testing.T) {
	s := start(t, func(o *natsserver.Options) { o.MaxPayload = 2000 })
	stream := newStream(t, streams(t, s.ClientURL()), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"switchhook.>"}, MaxMsgSize: 1000})
	for name, size := range map[string]int{"server": 3000, "stream": 1100} {
		t.Run(name, func(t *testing.T) {
			if err := stream.Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
			target := open(t, nats.Config{URLs: []string{s.ClientURL()}})
			all := messages(1, 5)
			for _, m := range all {
				m.Key = name + m.Key
			}
			all[2].Body = make([]byte, size)
			n, err := target.Take(t.Context(), all)
			if _, refused := errors.AsType[*forward.Refused](err); n != 2 || !refused {
				t.Fatal(n, err)
			}
			take(t, target, all[3:])
			if got := bodies(t, stream); !slices.Equal(got, slices.Concat(numbered(1, 2), numbered(4, 5))) {
				t.Errorf("stored are %q", got)
			}
		})
	}
}

// Why nothing can be published is said, without a password, and what somebody has to
// mend is not tried in haste.
func TestTroubles(t *testing.T) {
	guarded := start(t, func(o *natsserver.Options) {
		sys := natsserver.NewAccount("SYS")
		app := natsserver.NewAccount("APP")
		o.Accounts, o.SystemAccount = []*natsserver.Account{sys, app}, "SYS"
		o.Users = []*natsserver.User{
			{Username: "right", Password: "geheim", Account: app},
			{Username: "mute", Password: "geheim", Account: app, Permissions: &natsserver.Permissions{Publish: &natsserver.SubjectPermission{Deny: []string{"switchhook.>"}}}},
		}
	})
	if err := guarded.GlobalAccount().EnableJetStream(nil, nil); err != nil {
		t.Log(err) // only the others count
	}
	app, err := guarded.LookupAccount("APP")
	if err != nil {
		t.Fatal(err)
	}
	if err := app.EnableJetStream(nil, nil); err != nil {
		t.Fatal(err)
	}
	js := streams(t, guarded.ClientURL(), client.UserInfo("right", "geheim"))
	stream := newStream(t, js, jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"switchhook.>"}, MaxMsgs: 3, Discard: jetstream.DiscardNew})
	address := strings.TrimPrefix(guarded.ClientURL(), "nats://")
	gone := start(t, nil)
	gone.Shutdown()
	gone.WaitForShutdown()
	plain := start(t, func(o *natsserver.Options) { o.JetStream = false })

	for name, c := range map[string]struct {
		config nats.Config
		why    string
		person bool
	}{
		"right":               {config: nats.Config{URLs: []string{"nats://right:geheim@" + address}}},
		"right, apart":        {config: nats.Config{URLs: []string{guarded.ClientURL()}, User: "right", Password: "geheim"}},
		"wrong password":      {nats.Config{URLs: []string{"nats://right:geheim2@" + address}}, "Authorization Violation", true},
		"no password":         {nats.Config{URLs: []string{guarded.ClientURL()}}, "Authorization Violation", true},
		"no permission":       {nats.Config{URLs: []string{"nats://mute:geheim@" + address}}, "permissions violation", true},
		"other stream":        {nats.Config{URLs: []string{"nats://right:geheim@" + address}, Stream: "OTHER"}, "expected stream does not match", true},
		"no stream":           {nats.Config{URLs: []string{"nats://right:geheim@" + address}, Subject: "elsewhere"}, "there is no stream for the subject elsewhere", false},
		"no server":           {nats.Config{URLs: []string{gone.ClientURL()}}, "connection refused", false},
		"no JetStream at all": {nats.Config{URLs: []string{plain.ClientURL()}}, "there is no stream for the subject switchhook.zoom.meeting.started", false},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := open(t, c.config).Take(t.Context(), messages(1, 1))
			if c.why == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || n != 0 || !strings.Contains(err.Error(), c.why) || strings.Contains(err.Error(), "geheim") || needsSomebody(err) != c.person {
				t.Errorf("%d, %v; want %q", n, err, c.why)
			}
		})
	}

	t.Run("full", func(t *testing.T) {
		target := open(t, nats.Config{URLs: []string{"nats://right:geheim@" + address}})
		if n, err := target.Take(t.Context(), messages(1, 5)); n != 3 || err == nil || !strings.Contains(err.Error(), "maximum messages exceeded") || needsSomebody(err) {
			t.Fatal(n, err)
		}
		if err := stream.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		take(t, target, messages(4, 5))
	})
	for _, url := range []string{"nats://right:geheim%@" + address, "http://right:geheim@" + address, "nats:geheim", address} {
		if _, err := nats.New(nats.Config{URLs: []string{url}}); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// A server that is stopped and started again costs nothing.
func TestServerRestarts(t *testing.T) {
	dir, port := t.TempDir(), -1
	run := func() *natsserver.Server {
		return start(t, func(o *natsserver.Options) { o.StoreDir, o.Port, o.SyncAlways = dir, port, true })
	}
	s := run()
	port = s.Addr().(*net.TCPAddr).Port
	newStream(t, streams(t, s.ClientURL()), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"switchhook.>"}})
	target := open(t, nats.Config{URLs: []string{s.ClientURL()}})
	check := target.(forward.Checker).Check
	for id := int64(1); id < 9; id += 2 {
		take(t, target, messages(id, id))
		s.Shutdown()
		s.WaitForShutdown()
		if err := check(t.Context()); err == nil {
			t.Error("it does not know that the server is gone")
		}
		if n, err := target.Take(t.Context(), messages(id+1, id+1)); n != 0 || err == nil || needsSomebody(err) {
			t.Fatal(n, err)
		}
		s = run()
		if err := check(t.Context()); err != nil {
			t.Error(err)
		}
		take(t, target, messages(id+1, id+1))
	}
	stream, err := streams(t, s.ClientURL()).Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if got := bodies(t, stream); !slices.Equal(got, numbered(1, 8)) {
		t.Errorf("stored are %q", got)
	}
}

// A server that does not answer is waited for only so long, and stopping does not wait
// for it at all.
func TestSilent(t *testing.T) {
	s := start(t, nil)
	js := streams(t, s.ClientURL())
	target := open(t, nats.Config{URLs: []string{s.ClientURL()}, Timeout: 200 * time.Millisecond})
	// Somebody takes what is published and does not say anything.
	sub, err := js.Conn().SubscribeSync("switchhook.>")
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	if err := js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	if n, err := target.Take(t.Context(), messages(1, 3)); n != 0 || err == nil || !strings.Contains(err.Error(), "did not answer within 200ms") {
		t.Error(n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if n, err := open(t, nats.Config{URLs: []string{s.ClientURL()}, Timeout: time.Hour}).Take(ctx, messages(1, 3)); n != 0 || !errors.Is(err, context.Canceled) {
		t.Error(n, err)
	}
	if err := sub.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	stream := newStream(t, js, jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"switchhook.>"}})
	take(t, target, messages(1, 3))
	if got := bodies(t, stream); !slices.Equal(got, numbered(1, 3)) {
		t.Errorf("stored are %q", got)
	}
}
