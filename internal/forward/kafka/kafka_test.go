package kafka_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/switchhook/switchhook/internal/forward"
	"github.com/switchhook/switchhook/internal/forward/kafka"
	"github.com/switchhook/switchhook/internal/inbox"
	"github.com/switchhook/switchhook/internal/memnet"
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

// network is one in memory, so that time can be faked around brokers and their client,
// which both wait a lot.
type network struct{ memnet.Net }

// start starts a cluster of fakes.
func (m *network) start(t *testing.T, options ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(3), kfake.ListenFn(m.Listen)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// stored returns all records of a topic.
func (m *network) stored(t *testing.T, c *kfake.Cluster, topic string) (all []*kgo.Record) {
	t.Helper()
	want := int64(0)
	for _, p := range c.PartitionInfos(topic) {
		want += p.HighWatermark
	}
	if want == 0 {
		return nil
	}
	client, err := kgo.NewClient(kgo.Dialer(m.DialContext), kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for int64(len(all)) < want {
		f := client.PollFetches(ctx)
		if err := f.Err0(); err != nil {
			t.Fatal(err)
		}
		all = append(all, f.Records()...)
	}
	return all
}

// values returns the bodies of records, sorted by the numbers that they are.
func values(records []*kgo.Record) (all []string) {
	for _, r := range records {
		all = append(all, string(r.Value))
	}
	slices.SortFunc(all, func(a, b string) int { return cmp(len(a), len(b), strings.Compare(a, b)) })
	return all
}

func cmp(a, b, otherwise int) int {
	if a != b {
		return a - b
	}
	return otherwise
}

func numbered(from, to int64) (all []string) {
	for id := from; id <= to; id++ {
		all = append(all, fmt.Sprint(id))
	}
	return all
}

func (m *network) open(t *testing.T, c kafka.Config) forward.Target {
	t.Helper()
	c.Dial = m.DialContext
	target, err := kafka.New(c)
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

func isRefused(err error) bool {
	_, ok := errors.AsType[*forward.Refused](err)
	return ok
}

// An event is a record with its body as it was signed.
func TestRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m network
		c := m.start(t, kfake.SeedTopics(1, "switchhook.zoom.meeting.started", "switchhook.other_one._"))
		replay := message(8, "other one", "", "not JSON \x00\xff")
		replay.Replay = true
		target := m.open(t, kafka.Config{Brokers: c.ListenAddrs(), Topic: "switchhook.{source}.{event}", Key: "{payload.object.carrier_code}-{payload.account_id}"})
		take(t, target, []*forward.Message{message(7, "zoom", "meeting.started", ` {"payload": {"account_id":"acme","object":{"carrier_code":3457}}}`), replay})
		for _, c := range []struct {
			record     *kgo.Record
			key, value string
			headers    string
		}{
			{m.stored(t, c, "switchhook.zoom.meeting.started")[0], "3457-acme", ` {"payload": {"account_id":"acme","object":{"carrier_code":3457}}}`,
				"Content-Type: application/json, X-Zm-Signature: v0=abc, Idempotency-Key: key-7, Switchhook-Event: 7, Switchhook-Source: zoom, Switchhook-Received: 2026-01-09T12:05:13.007Z"},
			{m.stored(t, c, "switchhook.other_one._")[0], "key-8", "not JSON \x00\xff",
				"Content-Type: application/json, X-Zm-Signature: v0=abc, Idempotency-Key: key-8, Switchhook-Event: 8, Switchhook-Source: other one, Switchhook-Received: 2026-01-09T12:05:13.007Z, Switchhook-Replay: true"},
		} {
			var headers []string
			for _, h := range c.record.Headers {
				headers = append(headers, h.Key+": "+string(h.Value))
			}
			if string(c.record.Key) != c.key || string(c.record.Value) != c.value || strings.Join(headers, ", ") != c.headers {
				t.Errorf("got %q: %q with %q", c.record.Key, c.record.Value, headers)
			}
		}
	})
}

// Settings with which nothing could be produced are an error at once.
func TestSettings(t *testing.T) {
	for name, c := range map[string]kafka.Config{
		"no broker":   {Topic: "events"},
		"no port":     {Topic: "events", Brokers: []string{"kafka.example"}},
		"URL":         {Topic: "events", Brokers: []string{"kafka://kafka.example:9092"}},
		"no topic":    {Brokers: []string{"kafka.example:9092"}},
		"odd topic":   {Brokers: []string{"kafka.example:9092"}, Topic: "my events"},
		"odd name":    {Brokers: []string{"kafka.example:9092"}, Topic: "{evnt}"},
		"odd key":     {Brokers: []string{"kafka.example:9092"}, Topic: "events", Key: "{"},
		"odd SASL":    {Brokers: []string{"kafka.example:9092"}, Topic: "events", SASL: "plain"},
		"odd maximum": {Brokers: []string{"kafka.example:9092"}, Topic: "events", MaxMessage: -1},
	} {
		if _, err := kafka.New(c); err == nil {
			t.Errorf("%s is no error", name)
		}
	}
}

// Events of one key stay in their order, all replicas have them, and what the broker
// has but could not say is there once.
func TestOnceAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m network
		c := m.start(t, kfake.SeedTopics(5, "events"))
		acks := atomic.Int32{}
		c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			if r.(*kmsg.ProduceRequest).Acks != -1 {
				acks.Add(1)
			}
			return nil, nil, false
		})
		c.Fault(
			kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicasAfterAppend, Count: 3},
			kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotLeaderForPartition, Count: 3},
		)
		target := m.open(t, kafka.Config{Brokers: c.ListenAddrs(), Topic: "events", Key: "{payload.account_id}"})
		var all []*forward.Message
		for id := range int64(2000) {
			all = append(all, message(id, "zoom", "meeting.started", fmt.Sprintf(`{"id":%d,"payload":{"account_id":"account-%d"}}`, id, id%7)))
		}
		for rest := all; len(rest) > 0; {
			n, err := target.Take(t.Context(), rest)
			if err != nil || n == 0 {
				t.Fatal(n, err)
			}
			rest = rest[n:]
		}
		got, want := map[string][]string{}, map[string][]string{}
		partitions := map[string]map[int32]bool{}
		for _, r := range m.stored(t, c, "events") {
			key := string(r.Key)
			got[key] = append(got[key], string(r.Value))
			if partitions[key] == nil {
				partitions[key] = map[int32]bool{}
			}
			partitions[key][r.Partition] = true
		}
		for i, m := range all {
			key := fmt.Sprintf("account-%d", i%7)
			want[key] = append(want[key], string(m.Body))
		}
		for key := range want {
			if !slices.Equal(got[key], want[key]) || len(partitions[key]) != 1 {
				t.Errorf("%s: %d records in %d partitions, want %d in one, in their order", key, len(got[key]), len(partitions[key]), len(want[key]))
			}
		}
		if acks.Load() > 0 {
			t.Errorf("%d requests did not ask for all replicas", acks.Load())
		}
	})
}

// What is larger than a topic allows is refused, and nothing else is, also where many
// together are too large.
func TestTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m network
		c := m.start(t)
		if err := c.CreateTopic("events", 1, map[string]string{"max.message.bytes": "2000"}); err != nil {
			t.Fatal(err)
		}
		target := m.open(t, kafka.Config{Brokers: c.ListenAddrs(), Topic: "events"})
		all := messages(1, 100)
		var want []string
		for i, x := range all {
			x.Body = []byte(rand.Text()) // so that it cannot be compressed
			if i == 49 {
				for len(x.Body) < 3000 {
					x.Body = append(x.Body, rand.Text()...)
				}
				continue
			}
			want = append(want, string(x.Body))
		}
		var dead []int64
		for rest := all; len(rest) > 0; {
			n, err := target.Take(t.Context(), rest)
			if rest = rest[n:]; isRefused(err) {
				dead = append(dead, rest[0].ID)
				rest = rest[1:]
			} else if err != nil {
				t.Fatal(err)
			}
		}
		slices.Sort(want)
		if got := values(m.stored(t, c, "events")); !slices.Equal(dead, []int64{50}) || !slices.Equal(got, want) {
			t.Errorf("dead are %v, and %d are stored, want %d", dead, len(got), len(want))
		}
	})
}

// What one partition has taken while another one did not is not sent again.
func TestAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m network
		c := m.start(t, kfake.SeedTopics(3, "events"))
		fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "events", Partitions: []int32{1}, Err: kerr.TopicAuthorizationFailed, Count: -1})
		target := m.open(t, kafka.Config{Brokers: c.ListenAddrs(), Topic: "events"})
		all := messages(1, 60)
		n, err := target.Take(t.Context(), all)
		if n == len(all) || !needsSomebody(err) {
			t.Fatal(n, err)
		}
		before := len(m.stored(t, c, "events"))
		if before == 0 {
			t.Fatal("no partition has taken anything")
		}
		all = all[n:]
		if n, err := target.Take(t.Context(), all); n != 0 || !needsSomebody(err) {
			t.Fatal(n, err)
		}
		fault.Remove()
		take(t, target, all)
		if got := values(m.stored(t, c, "events")); !slices.Equal(got, numbered(1, 60)) {
			t.Errorf("stored are %q", got)
		}
	})
}

// Why nothing can be produced is said, without a password, and what somebody has to
// mend is not tried in haste.
func TestTroubles(t *testing.T) {
	type trouble struct {
		config kafka.Config
		why    string // empty: there is none
		person bool
	}
	synctest.Test(t, func(t *testing.T) {
		var m network
		plain := m.start(t, kfake.SeedTopics(1, "events"))
		guarded := m.start(t, kfake.SeedTopics(1, "events"), kfake.EnableSASL(), kfake.EnableACLs(), kfake.User("PLAIN", "nobody", "geheim"),
			kfake.Superuser("PLAIN", "p", "geheim"), kfake.Superuser("SCRAM-SHA-256", "s256", "geheim"), kfake.Superuser("SCRAM-SHA-512", "s512", "geheim"))
		// The fake closes the connection where Kafka says what is wrong.
		stern := m.start(t, kfake.SeedTopics(1, "events"), kfake.EnableSASL(), kfake.Superuser("PLAIN", "p", "geheim"))
		stern.ControlKey(int16(kmsg.SASLAuthenticate), func(r kmsg.Request) (kmsg.Response, error, bool) {
			stern.KeepControl()
			answer := r.ResponseKind().(*kmsg.SASLAuthenticateResponse)
			answer.ErrorCode = kerr.SaslAuthenticationFailed.Code
			return answer, nil, true
		})
		gone := m.start(t)
		addresses := gone.ListenAddrs()
		gone.Close()
		login := func(c *kfake.Cluster, mechanism, user, password string) kafka.Config {
			return kafka.Config{Brokers: c.ListenAddrs(), Topic: "events", SASL: mechanism, User: user, Password: password}
		}
		for name, x := range map[string]trouble{
			"PLAIN":             {config: login(guarded, "PLAIN", "p", "geheim")},
			"SCRAM-SHA-256":     {config: login(guarded, "SCRAM-SHA-256", "s256", "geheim")},
			"SCRAM-SHA-512":     {config: login(guarded, "SCRAM-SHA-512", "s512", "geheim")},
			"wrong password":    {login(stern, "PLAIN", "p", "geheim2"), "SASL_AUTHENTICATION_FAILED", true},
			"cut off for PLAIN": {login(guarded, "PLAIN", "p", "geheim2"), "a broker closes the connection", false},
			"cut off for SCRAM": {login(guarded, "SCRAM-SHA-256", "s256", "geheim2"), "a broker closes the connection", false},
			"SASL is not on":    {login(plain, "PLAIN", "p", "geheim"), "a broker closes the connection", false},
			"no password":       {login(guarded, "", "", ""), "a broker closes the connection", false},
			"not permitted":     {login(guarded, "PLAIN", "nobody", "geheim"), "TOPIC_AUTHORIZATION_FAILED", true},
			"no topic":          {kafka.Config{Brokers: plain.ListenAddrs(), Topic: "nothing"}, "UNKNOWN_TOPIC_OR_PARTITION", true},
			"no broker":         {kafka.Config{Brokers: addresses, Topic: "events"}, "connection refused", false},
		} {
			target := m.open(t, x.config)
			n, err := target.Take(t.Context(), messages(1, 1))
			// What is wrong with a topic, a broker only says when it is given something.
			if checked := target.(forward.Checker).Check(t.Context()); (checked == nil) != (x.why == "" || strings.Contains(x.why, "TOPIC")) || needsSomebody(checked) && !x.person {
				t.Errorf("%s: asked, it says %v", name, checked)
			}
			if x.why == "" {
				if n != 1 || err != nil {
					t.Errorf("%s: %d, %v", name, n, err)
				}
				continue
			}
			if err == nil || n != 0 || !strings.Contains(err.Error(), x.why) || strings.Contains(err.Error(), "geheim") || needsSomebody(err) != x.person {
				t.Errorf("%s: %d, %v; want %q", name, n, err, x.why)
			}
		}
	})
}

// Brokers that do not answer are waited for only so long, and stopping does not wait for
// them at all.
func TestSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m network
		c := m.start(t, kfake.SeedTopics(1, "events"))
		target := m.open(t, kafka.Config{Brokers: c.ListenAddrs(), Topic: "events", Timeout: 300 * time.Millisecond})
		take(t, target, messages(1, 1))
		silent := make(chan struct{})
		c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			c.SleepControl(func() { <-silent })
			return nil, nil, false
		})
		if n, err := target.Take(t.Context(), messages(2, 4)); n != 0 || err == nil || !strings.Contains(err.Error(), "did not answer within 300ms") || needsSomebody(err) {
			t.Error(n, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		if n, err := m.open(t, kafka.Config{Brokers: c.ListenAddrs(), Topic: "events", Timeout: time.Hour}).Take(ctx, messages(2, 4)); n != 0 || !errors.Is(err, context.Canceled) {
			t.Error(n, err)
		}
		close(silent)
		take(t, target, messages(2, 4))
		got := values(m.stored(t, c, "events"))
		if slices.Sort(got); !slices.Equal(slices.Compact(got), numbered(1, 4)) {
			t.Errorf("stored are %q", got)
		}
	})
}

// A cluster that is stopped and started again costs nothing.
func TestClusterRestarts(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var m network
		run := func(ports ...int) *kfake.Cluster {
			return m.start(t, kfake.NumBrokers(1), kfake.Ports(ports...), kfake.SeedTopics(2, "events"), kfake.DataDir(dir), kfake.SyncWrites())
		}
		c := run(0)
		var port int
		if _, err := fmt.Sscanf(c.ListenAddrs()[0], "127.0.0.1:%d", &port); err != nil {
			t.Fatal(err)
		}
		target := m.open(t, kafka.Config{Brokers: c.ListenAddrs(), Topic: "events", Timeout: time.Second})
		check := target.(forward.Checker).Check
		for id := int64(1); id < 6; id += 2 {
			take(t, target, messages(id, id))
			if err := check(t.Context()); err != nil {
				t.Error(err)
			}
			c.Close()
			if err := check(t.Context()); err == nil || needsSomebody(err) {
				t.Errorf("of a cluster that is gone it says %v", err)
			}
			for range 2 {
				if n, err := target.Take(t.Context(), messages(id+1, id+1)); n != 0 || err == nil || needsSomebody(err) || isRefused(err) {
					t.Fatal(n, err)
				}
			}
			c = run(port)
			take(t, target, messages(id+1, id+1))
		}
		if got := values(m.stored(t, c, "events")); !slices.Equal(got, numbered(1, 6)) {
			t.Errorf("stored are %q", got)
		}
	})
}

// Whatever brokers answer, all events are there in the end, and the first time that
// they are is in their order.
func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m network
		c := m.start(t, kfake.SeedTopics(2, "events"))
		seed := mathrand.Uint64()
		r := mathrand.New(mathrand.NewPCG(seed, 0))
		t.Logf("seed %d", seed)
		faults := []*kerr.Error{
			kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, kerr.RequestTimedOut, kerr.NotLeaderForPartition, kerr.LeaderNotAvailable,
			kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.TopicAuthorizationFailed, kerr.KafkaStorageError, kerr.UnknownServerError, kerr.CorruptMessage,
		}
		target := m.open(t, kafka.Config{Brokers: c.ListenAddrs(), Topic: "events", Key: "{payload.account_id}", Timeout: 2 * time.Second})
		var all []*forward.Message
		for id := range int64(300) {
			all = append(all, message(id, "zoom", "meeting.started", fmt.Sprintf(`{"id":%d,"payload":{"account_id":"account-%d"}}`, id, id%3)))
		}
		tries := 0
		for rest := all; len(rest) > 0; tries++ {
			if r.IntN(2) == 0 {
				c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "events", Err: faults[r.IntN(len(faults))], Count: 1 + r.IntN(2)})
			}
			n, err := target.Take(t.Context(), rest[:min(len(rest), 1+r.IntN(20))])
			if isRefused(err) || n == 0 && err == nil {
				t.Fatal(n, err)
			}
			if rest = rest[n:]; tries > 1000 {
				t.Fatal("it comes to no end")
			}
		}
		seen, got, want := map[string]bool{}, map[string][]string{}, map[string][]string{}
		for _, record := range m.stored(t, c, "events") {
			if v := string(record.Value); !seen[v] {
				seen[v] = true
				got[string(record.Key)] = append(got[string(record.Key)], v)
			}
		}
		for i, m := range all {
			key := fmt.Sprintf("account-%d", i%3)
			want[key] = append(want[key], string(m.Body))
		}
		for key := range want {
			if !slices.Equal(got[key], want[key]) {
				t.Errorf("%s: got  %v\nwant %v", key, got[key], want[key])
			}
		}
	})
}
