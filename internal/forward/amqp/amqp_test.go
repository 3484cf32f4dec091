package amqp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rabbitmq/amqp091-go"

	"github.com/switchhook/switchhook/internal/forward"
	"github.com/switchhook/switchhook/internal/forward/amqp"
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
		all = append(all, message(id, "zoom", "meeting.started", fmt.Sprint(id)))
	}
	return all
}

func numbered(from, to int64) (all []string) {
	for id := from; id <= to; id++ {
		all = append(all, fmt.Sprint(id))
	}
	return all
}

func open(t *testing.T, c amqp.Config) forward.Target {
	t.Helper()
	target, err := amqp.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	return target
}

// patient returns a context in which a test waits for the broker.
func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func take(t *testing.T, target forward.Target, all []*forward.Message) {
	t.Helper()
	if n, err := target.Take(patient(t), all); n != len(all) || err != nil {
		t.Fatalf("%d of %d taken: %v", n, len(all), err)
	}
}

// insist gives messages as often as a forwarder would, until the target has taken them.
func insist(t *testing.T, target forward.Target, all []*forward.Message) {
	t.Helper()
	for ctx := patient(t); len(all) > 0; {
		n, err := target.Take(ctx, all)
		if ctx.Err() != nil || needsSomebody(err) || isRefused(err) {
			t.Fatal(err)
		}
		all = all[n:]
	}
}

func needsSomebody(err error) bool {
	later, ok := errors.AsType[*forward.Later](err)
	return ok && later.After == forward.NeedsSomebody
}

func isRefused(err error) bool {
	_, ok := errors.AsType[*forward.Refused](err)
	return ok
}

// channel returns a channel to a server.
func (r *rabbit) channel(t *testing.T) *amqp091.Channel {
	t.Helper()
	c, err := amqp091.DialConfig(r.url("app", "geheim"), amqp091.Config{Dial: amqp091.DefaultDial(patience)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	ch, err := c.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// topic makes an exchange of the test's own with a queue for some routing keys, and
// returns the names of both.
func (r *rabbit) topic(t *testing.T, pattern string, args amqp091.Table) (exchange, queue string) {
	t.Helper()
	ch := r.channel(t)
	exchange, queue = strings.ReplaceAll(t.Name(), "/", "."), strings.ReplaceAll(t.Name(), "/", ".")+".queue"
	if err := ch.ExchangeDeclare(exchange, "topic", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare(queue, true, false, false, false, args); err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind(queue, pattern, exchange, false, nil); err != nil {
		t.Fatal(err)
	}
	return exchange, queue
}

// drain takes all messages out of a queue.
func (r *rabbit) drain(t *testing.T, queue string) (all []amqp091.Delivery) {
	t.Helper()
	ch := r.channel(t)
	for {
		m, ok, err := ch.Get(queue, true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return all
		}
		all = append(all, m)
	}
}

func bodies(all []amqp091.Delivery) (texts []string) {
	for _, m := range all {
		texts = append(texts, string(m.Body))
	}
	return texts
}

// An event is a persistent message with its body as it was signed.
func TestMessage(t *testing.T) {
	r := broker(t)
	exchange, queue := r.topic(t, "#", nil)
	replay := message(8, "other.one", strings.Repeat("x", 400), "not JSON \x00\xff")
	replay.Replay = true
	replay.Headers = nil
	odd := message(9, "zoom", "\x00\xff", "{}")
	take(t, open(t, amqp.Config{URLs: []string{r.url("app", "geheim")}, Exchange: exchange}), []*forward.Message{message(7, "zoom", "meeting.started", ` {"a" : 1}`), replay, odd})
	got := r.drain(t, queue)
	if len(got) != 3 {
		t.Fatalf("%d messages", len(got))
	}
	for i, want := range []amqp091.Delivery{
		{RoutingKey: "zoom.meeting.started", MessageId: "key-7", Type: "meeting.started", Body: []byte(` {"a" : 1}`), Headers: amqp091.Table{
			"Content-Type": "application/json", "X-Zm-Signature": "v0=abc", "Idempotency-Key": "key-7", "Switchhook-Event": "7", "Switchhook-Source": "zoom", "Switchhook-Received": "2026-01-09T12:05:13.007Z"}},
		{RoutingKey: "other_one." + strings.Repeat("x", 245), MessageId: "key-8", Body: []byte("not JSON \x00\xff"), Headers: amqp091.Table{
			"Idempotency-Key": "key-8", "Switchhook-Event": "8", "Switchhook-Source": "other.one", "Switchhook-Received": "2026-01-09T12:05:13.007Z", "Switchhook-Replay": "true"}},
		{RoutingKey: "zoom.\x00_", MessageId: "key-9", Type: "\x00_", Body: []byte("{}"), Headers: amqp091.Table{
			"Content-Type": "application/json", "X-Zm-Signature": "v0=abc", "Idempotency-Key": "key-9", "Switchhook-Event": "9", "Switchhook-Source": "zoom", "Switchhook-Received": "2026-01-09T12:05:13.007Z"}},
	} {
		m := got[i]
		if m.RoutingKey != want.RoutingKey || m.MessageId != want.MessageId || m.Type != want.Type || string(m.Body) != string(want.Body) || m.DeliveryMode != amqp091.Persistent ||
			m.ContentType != "application/json" || !m.Timestamp.Equal(time.Date(2026, 1, 9, 12, 5, 13, 0, time.UTC)) || fmt.Sprint(m.Headers) != fmt.Sprint(want.Headers) {
			t.Errorf("message %d is %+v", i, m)
		}
	}
}

// What no queue gets is not taken, unless somebody has said that it may be lost; the
// others are there once.
func TestUnrouted(t *testing.T) {
	r := broker(t)
	exchange, queue := r.topic(t, "*.meeting.*", nil)
	target := open(t, amqp.Config{URLs: []string{r.url("app", "geheim")}, Exchange: exchange})
	all := messages(1, 9)
	all[4].Name = "user.created"
	n, err := target.Take(t.Context(), all)
	if n != 4 || !needsSomebody(err) || !strings.Contains(err.Error(), `there is no queue for the routing key "zoom.user.created"`) {
		t.Fatal(n, err)
	}
	all = all[n:]
	if n, err := target.Take(t.Context(), all); n != 0 || !needsSomebody(err) {
		t.Fatal(n, err)
	}
	if err := r.channel(t).QueueBind(queue, "#", exchange, false, nil); err != nil {
		t.Fatal(err)
	}
	take(t, target, all)
	if got := bodies(r.drain(t, queue)); !slices.Equal(got, []string{"1", "2", "3", "4", "6", "7", "8", "9", "5"}) {
		t.Errorf("in the queue are %q", got)
	}
	careless := open(t, amqp.Config{URLs: []string{r.url("app", "geheim")}, Exchange: exchange, RoutingKey: "{key}", Unrouted: true})
	if err := r.channel(t).QueueUnbind(queue, "#", exchange, nil); err != nil {
		t.Fatal(err)
	}
	take(t, careless, messages(1, 3))
}

// A queue that is full is waited for, and what it has taken is not sent again.
func TestFull(t *testing.T) {
	r := broker(t)
	exchange, queue := r.topic(t, "#", amqp091.Table{"x-max-length": 3, "x-overflow": "reject-publish"})
	target := open(t, amqp.Config{URLs: []string{r.url("app", "geheim")}, Exchange: exchange})
	var got []string
	tries := 0
	ctx := patient(t)
	for all := messages(1, 20); len(all) > 0; tries++ {
		n, err := target.Take(ctx, all)
		if n < len(all) && (err == nil || needsSomebody(err) || isRefused(err) || !strings.Contains(err.Error(), "a queue may be full")) {
			t.Fatal(n, err)
		}
		got = append(got, bodies(r.drain(t, queue))...)
		all = all[n:]
	}
	slices.SortFunc(got, func(a, b string) int { return len(a)*100 - len(b)*100 + strings.Compare(a, b) })
	if tries < 3 || !slices.Equal(got, numbered(1, 20)) {
		t.Errorf("after %d tries there are %q", tries, got)
	}
}

// What is larger than the broker allows is refused, and nothing else is.
func TestTooLarge(t *testing.T) {
	r := broker(t)
	exchange, queue := r.topic(t, "#", nil)
	target := open(t, amqp.Config{URLs: []string{r.url("app", "geheim")}, Exchange: exchange})
	all := messages(1, 10)
	all[4].Body = make([]byte, 30_000)
	var dead []int64
	ctx := patient(t)
	for len(all) > 0 {
		n, err := target.Take(ctx, all)
		if all = all[n:]; isRefused(err) {
			dead = append(dead, all[0].ID)
			all = all[1:]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	got := bodies(r.drain(t, queue))
	slices.Sort(got)
	if want := []string{"1", "10", "2", "3", "4", "6", "7", "8", "9"}; !slices.Equal(dead, []int64{5}) || !slices.Equal(slices.Compact(got), want) {
		t.Errorf("dead are %v, and in the queue %q", dead, got)
	}
}

// Many events are in their order.
func TestOrder(t *testing.T) {
	r := broker(t)
	exchange, queue := r.topic(t, "#", nil)
	target := open(t, amqp.Config{URLs: []string{r.url("app", "geheim")}, Exchange: exchange})
	ctx := patient(t)
	for all := messages(1, 2000); len(all) > 0; {
		n, err := target.Take(ctx, all)
		if n == 0 || err != nil {
			t.Fatal(n, err)
		}
		all = all[n:]
	}
	if got := bodies(r.drain(t, queue)); !slices.Equal(got, numbered(1, 2000)) {
		t.Errorf("%d are in the queue, or in another order", len(got))
	}
}

// Why nothing can be published is said, without a password, and what somebody has to
// mend is not tried in haste.
func TestTroubles(t *testing.T) {
	r := broker(t)
	exchange, _ := r.topic(t, "#", nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	l.Close()
	for name, c := range map[string]struct {
		config amqp.Config
		why    string
		person bool
	}{
		"right, apart":     {config: amqp.Config{URLs: []string{"amqp://" + r.address + "/"}, User: "app", Password: "geheim"}},
		"second broker":    {config: amqp.Config{URLs: []string{"amqp://app:geheim@" + gone + "/", r.url("app", "geheim")}}},
		"wrong password":   {amqp.Config{URLs: []string{r.url("app", "geheim2")}}, "username or password not allowed", true},
		"no permission":    {amqp.Config{URLs: []string{r.url("mute", "geheim")}}, "ACCESS_REFUSED", true},
		"no virtual host":  {amqp.Config{URLs: []string{r.url("app", "geheim") + "nothing"}}, "vhost nothing not found", true},
		"no access to one": {amqp.Config{URLs: []string{r.url("app", "geheim") + "closed"}}, "access to vhost 'closed' refused", true},
		"no exchange":      {amqp.Config{URLs: []string{r.url("app", "geheim")}, Exchange: "nothing"}, "no exchange 'nothing' in vhost '/'", true},
		"no broker":        {amqp.Config{URLs: []string{"amqp://app:geheim@" + gone + "/"}}, "connection refused", false},
		"no TLS":           {amqp.Config{URLs: []string{"amqps://app:geheim@" + r.address + "/"}}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			if c.config.Exchange == "" {
				c.config.Exchange = exchange
			}
			n, err := open(t, c.config).Take(t.Context(), messages(1, 2))
			if c.why == "" && n == 2 && err == nil {
				return
			}
			if err == nil || n != 0 || !strings.Contains(err.Error(), c.why) || strings.Contains(err.Error(), "geheim") || needsSomebody(err) != c.person {
				t.Errorf("%d, %v; want %q", n, err, c.why)
			}
		})
	}
}

// Settings with which nothing could be published are an error, without a password.
func TestSettings(t *testing.T) {
	for name, c := range map[string]amqp.Config{
		"no URL":    {},
		"odd URL":   {URLs: []string{"amqp://app:geheim%@host/"}},
		"other URL": {URLs: []string{"http://app:geheim@host/"}},
		"no host":   {URLs: []string{"amqp:geheim"}},
		"odd key":   {URLs: []string{"amqp://host/"}, RoutingKey: "{evnt}"},
	} {
		if _, err := amqp.New(c); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A broker that does not answer is waited for only so long, and stopping does not wait
// for it at all.
func TestSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	url := "amqp://app:geheim@" + l.Addr().String() + "/"
	if n, err := open(t, amqp.Config{URLs: []string{url}, Timeout: 100 * time.Millisecond}).Take(t.Context(), messages(1, 3)); n != 0 || err == nil || !strings.Contains(err.Error(), "did not answer within 100ms") {
		t.Error(n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if n, err := open(t, amqp.Config{URLs: []string{url}, Timeout: time.Hour}).Take(ctx, messages(1, 3)); n != 0 || !errors.Is(err, context.Canceled) {
		t.Error(n, err)
	}
}

// A broker that closes connections, is killed, or is short of disk costs nothing.
func TestBrokerRestarts(t *testing.T) {
	r := broker(t)
	// Not a quorum queue: RabbitMQ 3.10 writes down seconds later that there is one, and one
	// that it has not written down when it is killed takes nothing ever after.
	exchange, queue := r.topic(t, "#", nil)
	target := open(t, amqp.Config{URLs: []string{r.url("app", "geheim")}, Exchange: exchange, Timeout: 2 * time.Second})
	take(t, target, messages(1, 1))

	r.control(t, "close_all_connections", "somebody works on it")
	insist(t, target, messages(2, 2))

	check := target.(forward.Checker).Check
	if err := check(t.Context()); err != nil {
		t.Error(err)
	}
	r.kill(t)
	if err := open(t, amqp.Config{URLs: []string{r.url("app", "geheim")}}).(forward.Checker).Check(t.Context()); err == nil || needsSomebody(err) {
		t.Errorf("of a broker that is gone it says %v", err)
	}
	for range 2 {
		if n, err := target.Take(t.Context(), messages(3, 3)); n != 0 || err == nil || needsSomebody(err) || isRefused(err) {
			t.Fatal(n, err)
		}
	}
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	insist(t, target, messages(3, 3))

	r.control(t, "set_disk_free_limit", "1000000000000000")
	// What comes before the broker's connections know of it is taken, and then nothing.
	for ctx, full := patient(t), false; !full; {
		n, err := target.Take(ctx, messages(4, 5))
		if ctx.Err() != nil || needsSomebody(err) || isRefused(err) {
			t.Fatal(n, err)
		}
		full = n == 0 && err != nil && strings.Contains(err.Error(), "the broker takes nothing for now: low on disk")
	}
	r.control(t, "set_disk_free_limit", "1000000")
	insist(t, target, messages(4, 5))
	var got []string
	for _, body := range bodies(r.drain(t, queue)) {
		if !slices.Contains(got, body) { // it could not tell what was confirmed when it was cut off
			got = append(got, body)
		}
	}
	if !slices.Equal(got, numbered(1, 5)) {
		t.Errorf("in the queue are %q", got)
	}
}
