// Package kafka forwards events to topics of Kafka.
//
// Each event is a record with the body as it was signed. It counts as taken when all
// replicas that are in sync have it. The producer is idempotent, so what it sends again
// by itself is there once and in its order.
package kafka

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/switchhook/switchhook/internal/forward"
)

// DefaultMaxMessage is what brokers allow a batch unless somebody has set something
// else (message.max.bytes), less what is around it.
const DefaultMaxMessage = 1 << 20

// Config says where events are produced, and how.
type Config struct {
	// Brokers are the addresses of some brokers of a cluster, as host:9092.
	Brokers []string
	// Topic is a template, as in [forward.ParseTemplate].
	Topic string
	// Key is the template of records' keys: records of one key are in one partition, and
	// so in their order. Empty, or where an event has no such thing: the event's own key.
	Key string
	// SASL is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, with User and Password. Empty: none.
	SASL, User, Password string
	// TLS, if set, is spoken, with this.
	TLS *tls.Config
	// MaxMessage is how many bytes a batch may have that a broker takes, and so an event.
	// 0 means [DefaultMaxMessage].
	MaxMessage int32
	// Timeout is for all that is given at once, and for making a connection. 0 means 30
	// seconds.
	Timeout time.Duration
	// Dial, if set, makes connections.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// New returns the target. It connects when it has something to produce.
func New(c Config) (forward.Target, error) {
	if len(c.Brokers) == 0 {
		return nil, errors.New("kafka: the address of a broker is missing")
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil || strings.Contains(b, "/") {
			return nil, fmt.Errorf("kafka: broker %q: addresses are HOST:PORT, as in kafka.example:9092", b)
		}
	}
	t := &target{config: c}
	var err error
	if t.topic, err = forward.ParseTemplate(c.Topic); err != nil {
		return nil, fmt.Errorf("kafka: topic: %w", err)
	}
	if name := t.topic.Example("x"); name == "" || name != clean("", name) {
		return nil, fmt.Errorf("kafka: topic %q: the names of topics have letters, digits, dots, hyphens and underscores", c.Topic)
	}
	if t.key, err = forward.ParseTemplate(cmp.Or(c.Key, "{key}")); err != nil {
		return nil, fmt.Errorf("kafka: key: %w", err)
	}
	if t.options, err = c.options(); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	t.config.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	// The client looks at its options when it is made.
	if err = t.open(); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return t, nil
}

func (c *Config) options() ([]kgo.Opt, error) {
	all := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...), kgo.ClientID("switchhook"),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		// All that is given at once goes at once.
		kgo.ManualFlushing(), kgo.MaxBufferedRecords(maxTaken),
		kgo.ProducerBatchMaxBytes(cmp.Or(c.MaxMessage, DefaultMaxMessage)),
		// When the time is over, what is under way is given again later, by a client of
		// which brokers do not know that it is the same.
		kgo.AllowIdempotentProduceCancellation(),
	}
	if c.Dial != nil {
		all = append(all, kgo.Dialer(c.Dial))
	}
	if c.TLS != nil {
		all = append(all, kgo.DialTLSConfig(c.TLS))
	}
	var login sasl.Mechanism
	switch scramAuth := (scram.Auth{User: c.User, Pass: c.Password}); c.SASL {
	case "":
		return all, nil
	case "PLAIN":
		login = plain.Auth{User: c.User, Pass: c.Password}.AsMechanism()
	case "SCRAM-SHA-256":
		login = scramAuth.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		login = scramAuth.AsSha512Mechanism()
	default:
		return nil, fmt.Errorf("there is no SASL mechanism %q; there are PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512", c.SASL)
	}
	return append(all, kgo.SASL(login)), nil
}

// maxTopic is how long the name of a topic may be.
const maxTopic = 249

// clean returns a value as it can stand in the name of a topic.
func clean(_, value string) string {
	value = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, value)
	return cmp.Or(value[:min(len(value), maxTopic)], "_")
}

type target struct {
	config     Config
	topic, key *forward.Template
	options    []kgo.Opt
	ahead      forward.Ahead

	client *kgo.Client // nil if there is none
	proven bool        // that a broker answers
}

func (t *target) open() (err error) {
	t.client, err = kgo.NewClient(t.options...)
	t.proven = false
	return err
}

func (t *target) Close() error {
	if t.client != nil {
		t.client.Close()
		t.client = nil
	}
	return nil
}

// maxTaken bounds what is under way at a time.
const maxTaken = 1000

// Check finds out whether a broker answers.
func (t *target) Check(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	t.proven = false
	if err := t.prove(within); err != nil {
		return t.judge(ctx, within, err)
	}
	return nil
}

// Take produces messages and waits for what becomes of them.
func (t *target) Take(ctx context.Context, messages []*forward.Message) (int, error) {
	messages = messages[:min(len(messages), maxTaken)]
	within, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	rest := t.ahead.Rest(messages)
	if len(rest) == 0 {
		return t.ahead.Settle(messages, nil, nil)
	}
	if err := t.prove(within); err != nil {
		return 0, t.judge(ctx, within, err)
	}
	errs := t.produce(within, rest)
	// It may be the batch that is too large.
	if isTooLarge := func(err error) bool { return errors.Is(err, kerr.MessageTooLarge) }; len(rest) > 1 && slices.ContainsFunc(errs, isTooLarge) {
		for i, m := range rest {
			if !isTooLarge(errs[i]) && errs[i] != nil {
				break
			}
			if errs[i] != nil {
				errs[i] = t.produce(within, []*forward.Message{m})[0]
			}
		}
	}
	n, err := t.ahead.Settle(messages, rest, errs)
	if err != nil {
		err = t.judge(ctx, within, err)
	}
	return n, err
}

// prove makes sure that there is a client, and that a broker answers it: where that is
// not so the client tries for as long as it may, and does not say why.
func (t *target) prove(ctx context.Context) error {
	if t.client == nil {
		if err := t.open(); err != nil {
			return err
		}
	}
	if t.proven {
		return nil
	}
	err := t.client.Ping(ctx)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("a broker closes the connection; it may want TLS, or a password, or another one: %w", err)
	}
	t.proven = err == nil
	return err
}

// produce returns for each message what became of it.
func (t *target) produce(ctx context.Context, messages []*forward.Message) []error {
	errs := make([]error, len(messages))
	var all sync.WaitGroup
	for i, m := range messages {
		all.Add(1)
		t.client.Produce(ctx, t.record(m), func(_ *kgo.Record, err error) {
			errs[i] = err
			all.Done()
		})
	}
	// What it says is said of the messages too.
	if err := t.client.Flush(ctx); err != nil {
		t.client.Close() // it may be waiting for an answer that does not come
	}
	all.Wait()
	return errs
}

func (t *target) record(m *forward.Message) *kgo.Record {
	topic, _ := t.topic.Text(m, clean)
	key, missing := t.key.Text(m, func(_, value string) string { return value })
	if missing {
		key = m.Key
	}
	r := &kgo.Record{Topic: topic[:min(len(topic), maxTopic)], Key: []byte(key), Value: m.Body}
	for _, x := range m.Meta() {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: x.Name, Value: []byte(x.Value)})
	}
	return r
}

// refused are what brokers answer if they will never take a record.
var refused = []error{kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord}

// needSomebody are what brokers answer if something has to be set up otherwise.
var needSomebody = []error{
	kerr.UnknownTopicOrPartition, kerr.InvalidTopicException, kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed,
	kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState, kerr.PolicyViolation, kerr.InvalidRequiredAcks,
	kerr.UnsupportedVersion, kerr.UnsupportedForMessageFormat, kerr.InvalidTimestamp,
}

// judge says what is to be done about an error, and gives the client up if that is not
// what a broker has answered.
func (t *target) judge(ctx, within context.Context, err error) error {
	is := func(one error) bool { return errors.Is(err, one) }
	if slices.ContainsFunc(refused, is) {
		return &forward.Refused{Err: err}
	}
	if _, ok := errors.AsType[*kerr.Error](err); !ok || !t.proven {
		_ = t.Close()
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case slices.ContainsFunc(needSomebody, is):
		return &forward.Later{Err: err, After: forward.NeedsSomebody}
	case within.Err() != nil:
		return fmt.Errorf("the brokers did not answer within %v: %w", t.config.Timeout, err)
	}
	return err
}
