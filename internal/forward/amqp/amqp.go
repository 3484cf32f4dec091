// Package amqp forwards events to an exchange of a broker that speaks AMQP 0-9-1, such
// as RabbitMQ.
//
// Each event is a persistent message with the body as it was signed. It counts as taken
// when the broker has confirmed it, and when there is a queue that it went to.
package amqp

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rabbitmq/amqp091-go"

	"github.com/switchhook/switchhook/internal/forward"
)

// DefaultRoutingKey is the template of routing keys unless there is another one.
const DefaultRoutingKey = "{source}.{event}"

// Config says where events are published, and how.
type Config struct {
	// URLs are those of the brokers of one cluster, as amqp://host:5672/vhost or
	// amqps://host:5671/vhost.
	URLs []string
	// User and Password, if set, are used instead of the URLs'.
	User, Password string
	// TLS is how brokers are known that speak it, and how this is known to them.
	TLS *tls.Config
	// Exchange is published to. Empty: the one that everybody has, which gives a message to
	// the queue that its routing key names.
	Exchange string
	// RoutingKey is a template, as in [forward.ParseTemplate]. Empty: [DefaultRoutingKey].
	RoutingKey string
	// Unrouted lets events pass that no queue gets. Otherwise they are tried again.
	Unrouted bool
	// Timeout is for all that is given at once, and for making a connection. 0 means 30
	// seconds.
	Timeout time.Duration
}

// New returns the target. It connects when it has something to publish.
func New(c Config) (forward.Target, error) {
	if len(c.URLs) == 0 {
		return nil, errors.New("amqp: the URL of a broker is missing")
	}
	for _, text := range c.URLs {
		u, err := url.Parse(text)
		if err == nil && u.Host != "" {
			_, err = amqp091.ParseURI(text)
		}
		// What is wrong with it is not shown: there may be a password in it.
		if err != nil || u.Host == "" {
			return nil, errors.New("amqp: a URL of a broker cannot be read: it is amqp://host:5672/vhost, or amqps://host:5671/vhost")
		}
	}
	key, err := forward.ParseTemplate(cmp.Or(c.RoutingKey, DefaultRoutingKey))
	if err != nil {
		return nil, fmt.Errorf("amqp: routing key: %w", err)
	}
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	return &target{config: c, key: key}, nil
}

type target struct {
	config Config
	key    *forward.Template
	ahead  forward.Ahead

	conn *connection // nil if there is none
}

// connection is one that was made. It is used until something goes wrong with it.
type connection struct {
	*amqp091.Connection
	channel  *amqp091.Channel
	raw      net.Conn
	returned chan amqp091.Return
	closed   chan *amqp091.Error // why, of the channel or the whole connection
	reason   *amqp091.Error      // that was in closed

	readers sync.WaitGroup
	blocked atomic.Pointer[string] // why the broker takes nothing for now
}

// close gives the connection up, and waits for nobody.
func (c *connection) close() {
	_ = c.raw.Close()
	_ = c.Close() // there is nobody to say goodbye to
	c.readers.Wait()
}

func (t *target) Close() error {
	if t.conn == nil {
		return nil
	}
	err := t.conn.CloseDeadline(time.Now().Add(time.Second))
	if errors.Is(err, amqp091.ErrClosed) {
		err = nil
	}
	t.drop()
	return err
}

func (t *target) drop() {
	if t.conn != nil {
		t.conn.close()
		t.conn = nil
	}
}

// maxTaken bounds what is under way at a time.
const maxTaken = 1000

// Check connects, unless the client and the broker hear of each other anyway.
func (t *target) Check(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	if err := t.ready(within); err != nil {
		return t.judge(ctx, within, err)
	}
	if short := t.conn.blocked.Load(); short != nil {
		return errShort(*short)
	}
	return nil
}

// ready makes sure that there is a connection.
func (t *target) ready(ctx context.Context) (err error) {
	if t.conn != nil && t.conn.channel.IsClosed() {
		t.drop()
	}
	if t.conn == nil {
		t.conn, err = t.connect(ctx)
	}
	return err
}

// Take publishes messages and waits until the broker has confirmed them.
func (t *target) Take(ctx context.Context, messages []*forward.Message) (int, error) {
	messages = messages[:min(len(messages), maxTaken)]
	within, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	rest := t.ahead.Rest(messages)
	errs := t.publish(within, rest)
	// If one is too large, the broker closes the channel and so says it of all.
	for i := 0; len(rest) > 1 && i < len(rest) && slices.ContainsFunc(errs, isTooLarge); i++ {
		if errs[i] == nil {
			continue
		}
		if errs[i] = t.publish(within, rest[i:i+1])[0]; errs[i] != nil {
			break
		}
	}
	n, err := t.ahead.Settle(messages, rest, errs)
	if err != nil {
		err = t.judge(ctx, within, err)
	}
	return n, err
}

// publish returns for each message what became of it.
func (t *target) publish(ctx context.Context, messages []*forward.Message) []error {
	errs := make([]error, len(messages))
	fail := func(from int, err error) []error {
		for i := from; i < len(errs); i++ {
			errs[i] = err
		}
		return errs
	}
	if len(messages) == 0 {
		return nil
	}
	if err := t.ready(ctx); err != nil {
		return fail(0, err)
	}
	c := t.conn
	// A broker that is short of something stops to read, and the client waits for ever.
	stop := context.AfterFunc(ctx, func() { _ = c.raw.Close() })
	defer stop()
	confirmed := make([]*amqp091.DeferredConfirmation, len(messages))
	for i, m := range messages {
		key, _ := t.key.Text(m, clean)
		var err error
		confirmed[i], err = c.channel.PublishWithDeferredConfirm(t.config.Exchange, key[:min(len(key), maxShort)], !t.config.Unrouted, false, publishing(m))
		if err != nil {
			fail(i, c.why(err))
			break
		}
	}
	for i, one := range confirmed {
		if errs[i] != nil {
			continue
		}
		<-one.Done() // which it is also when the connection ends
		if !one.Acked() {
			errs[i] = c.why(errNack)
		}
	}
	// What is returned comes before it is confirmed.
	for len(c.returned) > 0 {
		r := <-c.returned
		for i, m := range messages {
			if m.Key == r.MessageId && errs[i] == nil {
				errs[i] = &unrouted{r.RoutingKey}
			}
		}
	}
	return errs
}

var errNack = errors.New("the broker has not stored it; a queue may be full")

// unrouted is an error about a message that no queue gets.
type unrouted struct{ key string }

func (e *unrouted) Error() string {
	return fmt.Sprintf("there is no queue for the routing key %q, so the broker would drop it", e.key)
}

// why returns why the channel was closed, or else an error.
func (c *connection) why(otherwise error) error {
	if !c.channel.IsClosed() {
		return otherwise
	}
	if err := <-c.closed; err != nil { // it is told once
		c.reason = err
	}
	return cmp.Or(c.reason, amqp091.ErrClosed)
}

// maxShort is how long routing keys and some other texts may be.
const maxShort = 255

// clean returns a value as it can stand in a routing key. The dots of event types divide
// it into words, so that queues can be bound to all events that begin alike; those of
// anything else do not.
func clean(name, value string) string {
	value = strings.ToValidUTF8(value, "_")
	if name != "event" {
		value = strings.ReplaceAll(value, ".", "_")
	}
	return cmp.Or(value, "_")
}

func publishing(m *forward.Message) amqp091.Publishing {
	p := amqp091.Publishing{
		Headers: amqp091.Table{}, ContentType: cmp.Or(m.Headers.Get("Content-Type"), "application/json"), DeliveryMode: amqp091.Persistent,
		MessageId: m.Key, Timestamp: m.Received, AppId: "switchhook", Body: m.Body,
	}
	if len(m.Name) <= maxShort {
		p.Type = strings.ToValidUTF8(m.Name, "_")
	}
	if len(p.ContentType) > maxShort {
		p.ContentType = ""
	}
	for _, x := range m.Meta() {
		p.Headers[x.Name] = x.Value
	}
	return p
}

// connect connects to the first broker that can be.
func (t *target) connect(ctx context.Context) (*connection, error) {
	var errs []error
	for _, text := range t.config.URLs {
		c, err := t.connectTo(ctx, text)
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (t *target) connectTo(ctx context.Context, broker string) (_ *connection, err error) {
	c := &connection{closed: make(chan *amqp091.Error, 1), returned: make(chan amqp091.Return, maxTaken)}
	greeted := func() bool { return true }
	defer func() { greeted() }()
	config := amqp091.Config{
		Properties: amqp091.Table{"connection_name": "switchhook", "product": "Switchhook"},
		Dial: func(network, address string) (net.Conn, error) {
			var err error
			if c.raw, err = (&net.Dialer{}).DialContext(ctx, network, address); err == nil {
				greeted = context.AfterFunc(ctx, func() { _ = c.raw.Close() })
			}
			return c.raw, err
		},
	}
	if t.config.TLS != nil {
		config.TLSClientConfig = t.config.TLS.Clone() // the client writes the server's name into it
	}
	if t.config.User != "" {
		config.SASL = []amqp091.Authentication{&amqp091.PlainAuth{Username: t.config.User, Password: t.config.Password}}
	}
	if c.Connection, err = amqp091.DialConfig(broker, config); err != nil {
		return nil, err
	}
	blocked := c.NotifyBlocked(make(chan amqp091.Blocking))
	c.readers.Go(func() {
		for b := range blocked {
			if c.blocked.Store(nil); b.Active {
				c.blocked.Store(&b.Reason)
			}
		}
	})
	if c.channel, err = c.Channel(); err == nil {
		err = c.channel.Confirm(false)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	c.channel.NotifyReturn(c.returned)
	c.channel.NotifyClose(c.closed)
	return c, nil
}

// isTooLarge reports whether an error is about a message that is larger than the broker
// allows.
func isTooLarge(err error) bool {
	e, ok := errors.AsType[*amqp091.Error](err)
	return ok && (e.Code == amqp091.ContentTooLarge || e.Code == amqp091.PreconditionFailed)
}

// judge says what is to be done about an error, and gives the connection up unless it
// is as good as before.
func (t *target) judge(ctx, within context.Context, err error) error {
	_, isUnrouted := errors.AsType[*unrouted](err)
	var short *string
	if t.conn != nil {
		short = t.conn.blocked.Load()
	}
	if !isUnrouted && !errors.Is(err, errNack) {
		t.drop()
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case within.Err() != nil && short != nil:
		return errShort(*short)
	case within.Err() != nil:
		return fmt.Errorf("the broker did not answer within %v: %w", t.config.Timeout, err)
	case isTooLarge(err):
		return &forward.Refused{Err: err}
	case isUnrouted || needsSomebody(err):
		return &forward.Later{Err: err, After: forward.NeedsSomebody}
	}
	return err
}

func errShort(of string) error { return fmt.Errorf("the broker takes nothing for now: %s", of) }

// needsSomebody reports whether a broker has refused a user, or what he wants, or does
// not know it.
func needsSomebody(err error) bool {
	e, ok := errors.AsType[*amqp091.Error](err)
	return ok && slices.Contains([]int{amqp091.AccessRefused, amqp091.NotFound, amqp091.NotAllowed}, e.Code)
}
