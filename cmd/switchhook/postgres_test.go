package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/pgtest"
)

// A platform whose database is stopped, or dies, goes on by itself when the database is
// back, and delivers what it has acknowledged. Meanwhile producers are told to try
// again later.
func TestDatabaseGoesAway(t *testing.T) {
	server := pgtest.Start(t)
	in := installOn(t, server.URL())
	box := openInbox(t, "inbox", "secret-of-inbox")
	p := in.serve("--retry-steps", "200ms,200ms,200ms")
	p.subscribe(box)

	pub := publishers(t, p, "A", "B", "C")
	for i, end := range []func() error{server.Stop, server.Kill, server.Stop, server.Kill} {
		pub.acks(100)
		must(t, end())
		if i > 1 { // else it is back before anybody notices
			pub.refusals(1)
		}
		must(t, server.Run())
	}
	pub.acks(100)
	pub.delivered(box)
}

// When the primary dies under load and its standby is promoted, the platform finds it,
// and has lost nothing that it acknowledged.
func TestFailover(t *testing.T) {
	primary := pgtest.Start(t)
	standby := primary.Standby(t)
	both, err := url.Parse(primary.URL())
	must(t, err)
	q := both.Query()
	q.Set("host", filepath.Dir(primary.Socket())+","+filepath.Dir(standby.Socket()))
	both.RawQuery = q.Encode()
	in := installOn(t, both.String())
	box := openInbox(t, "inbox", "secret-of-inbox")
	p := in.serve("--retry-steps", "200ms,200ms,200ms")
	p.subscribe(box)
	pub := publishers(t, p, "A", "B", "C", "D")
	pub.acks(300)
	must(t, primary.Kill())
	pub.refusals(1)
	must(t, standby.Promote())
	pub.acks(300)
	pub.delivered(box)
}

// publishing is producers that publish single events to a platform without a pause.
type publishing struct {
	t    *testing.T
	p    *running
	stop context.CancelFunc
	all  sync.WaitGroup

	mu      sync.Mutex
	acked   map[string]bool
	refused int
}

func publishers(t *testing.T, p *running, names ...string) *publishing {
	ctx, stop := context.WithCancel(t.Context())
	pub := &publishing{t: t, p: p, stop: stop, acked: map[string]bool{}}
	t.Cleanup(func() {
		stop()
		p.kill() // if the test has failed, nobody answers any more
		pub.all.Wait()
	})
	for _, name := range names {
		pub.all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				pub.publish(context.WithoutCancel(ctx), fmt.Sprint(name, n))
			}
		})
	}
	return pub
}

func (pub *publishing) publish(ctx context.Context, event string) {
	res, body, err := pub.p.call(ctx, http.DefaultClient, "POST", "/v2/events", "application/json", strings.NewReader(numbered(event)))
	if err != nil {
		pub.t.Error(err)
		return
	}
	switch res.StatusCode {
	case http.StatusAccepted:
		pub.mu.Lock()
		pub.acked[event] = true
		pub.mu.Unlock()
	case http.StatusServiceUnavailable:
		pub.mu.Lock()
		pub.refused++
		pub.mu.Unlock()
		if res.Header.Get("Retry-After") == "" {
			pub.t.Errorf("refused without saying when to try again: %s", body)
		}
		time.Sleep(10 * time.Millisecond) // a producer would wait for longer
	default:
		pub.t.Errorf("status %d: %s", res.StatusCode, body)
	}
}

func (pub *publishing) counts() (acked, refused int) {
	pub.mu.Lock()
	defer pub.mu.Unlock()
	return len(pub.acked), pub.refused
}

// acks waits for so many more acknowledgements, and refusals for refusals.
func (pub *publishing) acks(n int) {
	pub.t.Helper()
	before, _ := pub.counts()
	waitFor(pub.t, "more acknowledgements", func() bool { acked, _ := pub.counts(); return acked >= before+n })
}

func (pub *publishing) refusals(n int) {
	pub.t.Helper()
	_, before := pub.counts()
	waitFor(pub.t, "more refusals", func() bool { _, refused := pub.counts(); return refused >= before+n })
}

// delivered ends the producers and waits until everything they were acknowledged is
// delivered and on record, and nothing else is left.
func (pub *publishing) delivered(b *inbox) {
	t, p := pub.t, pub.p
	t.Helper()
	pub.stop()
	pub.all.Wait()
	waitFor(t, "everything that was acknowledged", func() bool {
		at := b.numbers()
		for event := range pub.acked {
			if _, ok := at[event]; !ok {
				return false
			}
		}
		return true
	})
	waitFor(t, "the last delivery's end", func() bool {
		var list struct{ Deliveries []any }
		p.ask("GET", operator+"/deliveries?state=waiting", "", http.StatusOK, &list)
		return len(list.Deliveries) == 0
	})
	p.stop()
	for _, f := range b.faults {
		t.Error(f)
	}
	t.Logf("%d acknowledged, %d refused, %d arrived, %d of them more than once", len(pub.acked), pub.refused, len(b.got), b.repeated)
}

// A password does not show, wherever it stands in the URL.
func TestPasswordsOfDatabases(t *testing.T) {
	for database, want := range map[string]string{
		"postgres://ann:secret@db.example.com/hooks":            "postgres://ann:xxxxx@db.example.com/hooks",
		"postgres://db.example.com/hooks?password=secret&x=y":   "postgres://db.example.com/hooks?password=xxxxx&x=y",
		"postgresql://ann:secret@a:1,b:2/hooks?sslmode=require": "postgresql://ann:xxxxx@a:1,b:2/hooks?sslmode=require",
		"sqlite:switchhook.db":                                  "sqlite:switchhook.db",
	} {
		if got := withoutPassword(database); got != want {
			t.Errorf("%s is shown as %s, want %s", database, got, want)
		}
	}
}
