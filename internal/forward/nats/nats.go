// Package nats forwards events to a stream of NATS JetStream.
//
// Each event is a message with the body as it was signed, under a subject that a
// template makes of its source and event type. Its id is the event's key, so within the
// stream's duplicate window one that comes again is not stored again. It counts as taken
// when the stream has acknowledged it.
package nats

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/switchhook/switchhook/internal/forward"
)

// DefaultSubject is the template of subjects unless there is another one.
const DefaultSubject = "switchhook.{source}.{event}"

// Config says where events are published, and how.
type Config struct {
	// URLs are those of the servers of one cluster, as nats://host:4222 or tls://host:4222.
	URLs []string
	// User and Password, Token, the file Credentials with a user's JWT and key, or the
	// file NKey with the seed of one, say who this is. The URLs may, too.
	User, Password, Token string
	Credentials, NKey     string
	// TLS, if set, is how servers are known that speak it, and how this is known to them.
	TLS *tls.Config
	// Subject is a template, as in [forward.ParseTemplate]. Empty: [DefaultSubject].
	Subject string
	// Stream, if set, is the only one that may take events.
	Stream string
	// Timeout is for all that is given at once, and for making a connection. 0 means 30
	// seconds.
	Timeout time.Duration
}

// New returns the target. It connects when it has something to publish.
func New(c Config) (forward.Target, error) {
	if len(c.URLs) == 0 {
		return nil, errors.New("nats: the URL of a server is missing")
	}
	for _, text := range c.URLs {
		u, err := url.Parse(text)
		// What is wrong with it is not shown: there may be a password in it.
		if err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls" {
			return nil, errors.New("nats: a URL of a server cannot be read: it is nats://host:4222, or tls://host:4222")
		}
	}
	subject, err := forward.ParseTemplate(cmp.Or(c.Subject, DefaultSubject))
	if err != nil {
		return nil, fmt.Errorf("nats: subject: %w", err)
	}
	if !isSubject(subject.Example("x")) {
		return nil, fmt.Errorf("nats: subject %q: subjects are words with dots between them, without spaces, * and >", subject)
	}
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	t := &target{config: c, subject: subject}
	if t.options, err = c.options(); err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	return t, nil
}

func (c *Config) options() (all []nats.Option, err error) {
	all = []nats.Option{
		nats.Name("switchhook"),
		// Whoever reconnects by himself does not say why he cannot, and keeps what could
		// not be sent for later.
		nats.NoReconnect(), nats.Timeout(c.Timeout),
	}
	if c.TLS != nil {
		all = append(all, nats.Secure(c.TLS))
	}
	if c.User != "" {
		all = append(all, nats.UserInfo(c.User, c.Password))
	}
	if c.Token != "" {
		all = append(all, nats.Token(c.Token))
	}
	if c.Credentials != "" {
		all = append(all, nats.UserCredentials(c.Credentials))
	}
	if c.NKey != "" {
		key, err := nats.NkeyOptionFromSeed(c.NKey)
		if err != nil {
			return nil, fmt.Errorf("the seed of the NKey cannot be used: %w", err)
		}
		all = append(all, key)
	}
	return all, nil
}

// isSubject reports whether messages can be published under a subject.
func isSubject(s string) bool {
	for token := range strings.SplitSeq(s, ".") {
		if token == "" || token != clean("", token) {
			return false
		}
	}
	return true
}

// clean returns a value as it can stand in a subject. The dots of event types divide it
// into words, so that people can subscribe to all events that begin alike; those of
// anything else do not.
func clean(name, value string) string {
	value = strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f || r == '*' || r == '>' || r == '.' && name != "event" {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(value, "_"))
	words := strings.Split(value, ".")
	for i, w := range words {
		words[i] = cmp.Or(w, "_")
	}
	return strings.Join(words, ".")
}

// maxSubject is how long a subject may be. A server that reads a longer line than it
// allows, 4096 bytes with what else is in it, closes the connection, each time.
const maxSubject = 2048

func (t *target) subjectOf(m *forward.Message) string {
	subject, _ := t.subject.Text(m, clean)
	if len(subject) > maxSubject {
		subject = strings.TrimRight(strings.ToValidUTF8(subject[:maxSubject], ""), ".")
	}
	return subject
}

type target struct {
	config  Config
	subject *forward.Template
	options []nats.Option
	ahead   forward.Ahead

	conn *connection // nil if there is none
}

// connection is one that was made. It is used until something goes wrong with it.
type connection struct {
	*nats.Conn
	stream jetstream.JetStream
	closed chan struct{}
	// denied has what the server does not permit: it does not answer that.
	denied chan error
}

func (t *target) Close() error {
	if t.conn != nil {
		t.conn.Close()
		t.conn = nil
	}
	return nil
}

// Check connects, or finds out whether the server still answers.
func (t *target) Check(ctx context.Context) (err error) {
	within, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	if t.conn == nil || t.conn.IsClosed() {
		t.conn, err = t.connect(within)
	} else {
		err = t.conn.FlushWithContext(within)
	}
	if err != nil {
		_ = t.Close()
	}
	return err
}

// Take publishes all messages and waits for what becomes of them.
func (t *target) Take(ctx context.Context, messages []*forward.Message) (int, error) {
	within, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	messages = messages[:min(len(messages), maxTaken)]
	rest := t.ahead.Rest(messages)
	n, err := t.ahead.Settle(messages, rest, t.publish(within, rest))
	switch {
	case err == nil:
		return n, nil
	case isTooLarge(err):
		return n, &forward.Refused{Err: err}
	}
	if !isAnswer(err) {
		_ = t.Close()
	}
	switch {
	case ctx.Err() != nil:
		return n, ctx.Err()
	case needsSomebody(err):
		return n, &forward.Later{Err: err, After: forward.NeedsSomebody}
	case within.Err() != nil:
		return n, fmt.Errorf("the server did not answer within %v: %w", t.config.Timeout, err)
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return n, fmt.Errorf("there is no stream for the subject %s, or it has no leader: %w", t.subjectOf(messages[n]), err)
	}
	return n, err
}

// maxTaken bounds what is under way at a time; the client has a bound of its own.
const maxTaken = 1000

// publish returns for each message what became of it.
func (t *target) publish(ctx context.Context, messages []*forward.Message) []error {
	errs := make([]error, len(messages))
	fail := func(from int, err error) []error {
		for i := from; i < len(errs); i++ {
			errs[i] = err
		}
		return errs
	}
	if len(messages) > 0 && (t.conn == nil || t.conn.IsClosed()) {
		var err error
		if t.conn, err = t.connect(ctx); err != nil {
			return fail(0, err)
		}
	}
	options := []jetstream.PublishOpt{
		// To try one again while others are under way would change their order.
		jetstream.WithRetryAttempts(0),
	}
	if t.config.Stream != "" {
		options = append(options, jetstream.WithExpectStream(t.config.Stream))
	}
	sent := make([]jetstream.PubAckFuture, len(messages))
	for i, m := range messages {
		if sent[i], errs[i] = t.conn.stream.PublishMsgAsync(t.message(m), append(options, jetstream.WithMsgID(m.Key))...); errs[i] != nil && !isTooLarge(errs[i]) {
			fail(i, errs[i])
			break
		}
	}
	for i, one := range sent {
		if errs[i] != nil {
			continue
		}
		select {
		case <-one.Ok():
		case errs[i] = <-one.Err():
		case <-t.conn.closed:
			return fail(i, cmp.Or(t.conn.LastError(), nats.ErrConnectionClosed))
		case err := <-t.conn.denied:
			return fail(i, err)
		case <-ctx.Done():
			return fail(i, ctx.Err())
		}
	}
	return errs
}

func (t *target) message(m *forward.Message) *nats.Msg {
	out := nats.NewMsg(t.subjectOf(m))
	for _, x := range m.Meta() {
		out.Header.Set(x.Name, x.Value)
	}
	out.Data = m.Body
	return out
}

func (t *target) connect(ctx context.Context) (*connection, error) {
	own := &connection{closed: make(chan struct{}), denied: make(chan error, 1)}
	way := &dialer{ctx: ctx}
	conn, err := nats.Connect(strings.Join(t.config.URLs, ","), append([]nats.Option{
		nats.SetCustomDialer(way),
		nats.ClosedHandler(func(*nats.Conn) { close(own.closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { own.note(err) }),
	}, t.options...)...)
	way.done()
	if err != nil {
		if way.failed != nil { // the client only says that there are no servers
			err = fmt.Errorf("%w: %w", err, way.failed)
		}
		return nil, err
	}
	own.Conn = conn
	if own.stream, err = jetstream.New(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return own, nil
}

// dialer dials as long as a context permits, and remembers why it could not.
type dialer struct {
	ctx    context.Context
	failed error
	stop   []func() bool
}

func (d *dialer) Dial(network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(d.ctx, network, address)
	if err != nil {
		d.failed = err
		return nil, err
	}
	d.stop = append(d.stop, context.AfterFunc(d.ctx, func() { _ = c.Close() }))
	return c, nil
}

// done lets connections outlive the context.
func (d *dialer) done() {
	for _, stop := range d.stop {
		stop()
	}
}

func (c *connection) note(err error) {
	if errors.Is(err, nats.ErrPermissionViolation) {
		select {
		case c.denied <- err:
		default:
		}
	}
}

// isTooLarge reports whether an error is about a message that is larger than the server
// or the stream allow.
func isTooLarge(err error) bool {
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum)
}

// isAnswer reports whether an error is what a stream has answered, or that there is
// none: then the connection is as good as before.
func isAnswer(err error) bool {
	_, ok := errors.AsType[jetstream.JetStreamError](err)
	return ok
}

// Errors of JetStream that do not go away by themselves, by their numbers.
const (
	otherStream = 10060 // it is not the one that is expected
	sealed      = 10109
)

func needsSomebody(err error) bool {
	if e, ok := errors.AsType[*jetstream.APIError](err); ok {
		return e.ErrorCode == otherStream || e.ErrorCode == sealed || e.ErrorCode == jetstream.JSErrCodeJetStreamNotEnabledForAccount
	}
	for _, one := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired, nats.ErrPermissionViolation, nats.ErrSecureConnRequired, nats.ErrSecureConnWanted} {
		// While it connects, the client makes errors of the server's words.
		if errors.Is(err, one) || strings.EqualFold(err.Error(), one.Error()) {
			return true
		}
	}
	return false
}
