package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/pgtest"
)

// wire is between the store and the server, and breaks.
type wire struct {
	server string // the server's socket
	dir    string

	mu    sync.Mutex
	fault func(message []byte) fault // of what goes to the server; it is called for whole messages
	open  map[net.Conn]bool
}

type fault int

const (
	none   fault = iota
	before       // the server never gets the message
	after        // the server gets it, and its answer is lost
	late         // the server gets it long after the store has given the connection up
)

// cutWire returns options for the database behind a wire.
func cutWire(t *testing.T, o Options) (Options, *wire) {
	t.Helper()
	u, err := url.Parse(o.Database)
	must(t, err)
	q := u.Query()
	w := &wire{server: filepath.Join(q.Get("host"), ".s.PGSQL.5432"), dir: t.TempDir(), fault: func([]byte) fault { return none }, open: map[net.Conn]bool{}}
	l, err := net.Listen("unix", filepath.Join(w.dir, ".s.PGSQL.5432"))
	must(t, err)
	var all sync.WaitGroup
	t.Cleanup(func() {
		must(t, l.Close())
		w.cut()
		all.Wait()
	})
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { w.carry(c) })
		}
	})
	q.Set("host", w.dir)
	u.RawQuery = q.Encode()
	o.Database = u.String()
	return o, w
}

// breaks says what breaks from now on.
func (w *wire) breaks(f func(message []byte) fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = f
}

// cut cuts all connections off.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.open {
		_ = c.Close()
	}
	clear(w.open)
}

func (w *wire) carry(c net.Conn) {
	defer c.Close()
	s, err := net.Dial("unix", w.server)
	if err != nil {
		return
	}
	defer s.Close()
	w.mu.Lock()
	w.open[c], w.open[s] = true, true
	w.mu.Unlock()
	go func() {
		_, _ = io.Copy(c, s)
		_ = c.Close()
		_ = s.Close()
	}()
	// The first message has no type before its length.
	head, started := make([]byte, 5), false
	for {
		n := 5
		if !started {
			n = 4
		}
		if _, err := io.ReadFull(c, head[:n]); err != nil {
			return
		}
		size := int(head[n-4])<<24 | int(head[n-3])<<16 | int(head[n-2])<<8 | int(head[n-1])
		m := append(bytes.Clone(head[:n]), make([]byte, size-4)...)
		if _, err := io.ReadFull(c, m[n:]); err != nil {
			return
		}
		started = true
		w.mu.Lock()
		f := w.fault(m)
		w.mu.Unlock()
		switch f {
		case before:
			return
		case late:
			_ = c.Close()
			time.Sleep(100 * time.Millisecond) // the store is on another connection by now
		case after:
			_ = c.Close()
		case none:
		}
		if _, err := s.Write(m); err != nil || f != none {
			if f == after {
				time.Sleep(20 * time.Millisecond) // so that the server acts on it before it sees the end
			}
			return
		}
	}
}

// lines counts the lines of a log.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// Wherever the connections of two nodes break while something is committed: what is
// reported as done is in the database, and what is reported as not done is not and never
// will be.
func TestLostConnections(t *testing.T) {
	var log lines
	straight := onPostgres(t)
	var all []*DB
	var nodes []deliver.Node
	var wires []*wire
	for range 2 {
		o := straight
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
		o, w := cutWire(t, o)
		db := open(t, o)
		all, nodes, wires = append(all, db), append(nodes, join(t, db, 0)), append(wires, w)
	}
	setup(t, all[0], 1)
	must(t, all[1].sql.catchUp(t.Context()))
	for _, w := range wires {
		w.breaks(func(m []byte) fault {
			if bytes.Contains(m, []byte("COMMIT")) {
				return []fault{none, none, none, none, none, before, after, late}[rand.IntN(8)]
			}
			if rand.IntN(500) == 0 {
				return before
			}
			return none
		})
	}
	var mu sync.Mutex
	done := map[hook.EventID]bool{}
	var accounts []string
	var wg sync.WaitGroup
	for i := range 4 {
		db, n := all[i%2], nodes[i%2]
		wg.Go(func() {
			for j, stored := 0, 0; stored < 10; j++ {
				p := publication(db, n.ID, 1)
				p.Key, p.Digest = fmt.Sprint(i, " ", j), []byte("digest")
				err := db.Publish([]*intake.Publication{p})
				for err == nil && errors.Is(p.Err, intake.ErrStale) {
					p.Version = db.Directory().Version()
					err = db.Publish([]*intake.Publication{p})
				}
				if err == nil {
					err = p.Err
				}
				switch {
				case err == nil:
					stored++
				case kindOf(err) != hook.Unavailable:
					t.Error(err)
				default:
					time.Sleep(5 * time.Millisecond) // a producer that is refused waits before it tries again
				}
				mu.Lock()
				done[p.Event.ID] = err == nil
				mu.Unlock()
			}
		})
	}
	for i, db := range all {
		wg.Go(func() {
			for j, made := 0, 0; made < 5; j++ {
				name := fmt.Sprint("account-", i, "-", j)
				err := db.Change(hook.Change{Accounts: []*hook.Account{{ID: name}}}, now)
				switch {
				case err == nil:
					made++
					mu.Lock()
					accounts = append(accounts, name)
					mu.Unlock()
				case kindOf(err) != hook.Unavailable:
					t.Error(err)
				default:
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	for _, w := range wires {
		w.breaks(func([]byte) fault { return none })
	}
	stored := 0
	for id, want := range done {
		_, _, err := all[0].Event(t.Context(), id)
		if err != nil && kindOf(err) != hook.NotFound || (err == nil) != want {
			t.Fatalf("%s: reported as stored: %v; %v", id, want, err)
		}
		if want {
			stored++
		}
	}
	for _, db := range all {
		must(t, db.sql.catchUp(t.Context()))
	}
	known := dump(all[0].Directory())
	if other := dump(all[1].Directory()); other != known {
		t.Errorf("one knows\n%s\nthe other\n%s", known, other)
	}
	must(t, errors.Join(all[0].Close(), all[1].Close()))
	db := open(t, straight)
	defer db.Close()
	for _, name := range accounts {
		if db.Directory().Account(name) == nil {
			t.Errorf("%s was reported as made", name)
		}
	}
	if got := dump(db.Directory()); got != known {
		t.Errorf("after a restart:\n%s\nbefore:\n%s", got, known)
	}
	if c := claim(t, db, joinAlone(t, db), now, 1, 1000); len(c.Deliveries) != stored {
		t.Errorf("%d deliveries of %d events", len(c.Deliveries), stored)
	}
	yes, no := log.count("it did commit"), log.count("it did not commit")
	t.Logf("%d of %d stored; of what was in doubt, %d was committed and %d was not", stored, len(done), yes, no)
	if yes == 0 || no == 0 {
		t.Errorf("nothing was in doubt: the test shows nothing")
	}
}

// When the server is stopped or killed, what was acknowledged is there when it runs
// again, what is written meanwhile is refused, and the store goes on by itself.
func TestServerGoesAway(t *testing.T) {
	server := pgtest.Start(t)
	db := open(t, Options{Database: server.URL(), Key: testKey(t, 1), Deliver: true})
	defer db.Close()
	setup(t, db, 1)
	n := join(t, db, 0)
	ctx, stop := context.WithCancel(t.Context())
	var mu sync.Mutex
	var acked []hook.EventID
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				p := publication(db, n.ID, 1)
				err := db.Publish([]*intake.Publication{p})
				mu.Lock()
				if err == nil {
					acked = append(acked, p.Event.ID)
				} else if kindOf(err) != hook.Unavailable {
					t.Error(err)
				}
				mu.Unlock()
				if err != nil {
					time.Sleep(5 * time.Millisecond) // a producer that is refused waits before it tries again
				}
			}
		})
	}
	// stored waits until there are more; another process is at work.
	stored := func() {
		t.Helper()
		mu.Lock()
		before := len(acked)
		mu.Unlock()
		for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			mu.Lock()
			n := len(acked)
			mu.Unlock()
			if n >= before+20 {
				return
			}
			if time.Now().After(end) {
				t.Fatal("nothing is stored")
			}
		}
	}
	for i := range 6 {
		stored()
		if i%2 == 0 {
			must(t, server.Stop())
		} else {
			must(t, server.Kill())
		}
		if i > 3 { // before, it comes back while nobody is looking
			// The producers may all be waiting for what became of what was being committed.
			if err := db.Publish([]*intake.Publication{publication(db, n.ID, 1)}); kindOf(err) != hook.Unavailable {
				t.Errorf("without a database: %v", err)
			}
		}
		must(t, server.Run())
	}
	stored()
	stop()
	wg.Wait()
	for _, id := range acked {
		if _, _, err := db.Event(t.Context(), id); err != nil {
			t.Errorf("%s was acknowledged: %v", id, err)
		}
	}
	if nodes, err := db.Renew(n, deliver.Holding{}, now); nodes != 1 || err != nil {
		t.Errorf("the node is gone: %v, %v", nodes, err)
	}
}

// A node that was cut off from the database while others gave it up writes nothing more,
// and learns of it when it renews its lease. When it has joined anew it goes on, but not
// with what it was given before.
func TestGivenUp(t *testing.T) {
	o := onPostgres(t)
	cut, w := cutWire(t, o)
	first, second := open(t, cut), open(t, o)
	defer first.Close()
	defer second.Close()
	setup(t, first, 1)
	must(t, second.sql.catchUp(t.Context()))
	n, other := join(t, first, time.Second), join(t, second, 0)
	publish(t, first, 2, 1)
	d := claim(t, first, n, now, 1, 1).Deliveries[0].Delivery
	own := publication(first, n.ID, 1)
	w.breaks(func([]byte) fault { return before })
	w.cut()
	lapse(t, second, n, now)
	if lapsed, _, err := second.NextLapse(other, now); !lapsed || err != nil {
		t.Fatalf("given up: %v, %v", lapsed, err)
	}
	w.breaks(func([]byte) fault { return none })
	if err := first.Publish([]*intake.Publication{publication(first, 0, 1)}); kindOf(err) != hook.Unavailable {
		t.Errorf("published by the first: %v", err)
	}
	if err := first.Change(hook.Change{Accounts: []*hook.Account{{ID: "other"}}}, now); kindOf(err) != hook.Unavailable {
		t.Errorf("changed by the first: %v", err)
	}
	if _, err := first.Claim(t.Context(), n, now, []deliver.Want{{Subscription: 1, Limit: 1, Bytes: plenty}}); err == nil {
		t.Error("the first still claims")
	}
	if nodes, err := first.Renew(n, deliver.Holding{}, now); nodes != 0 || err != nil {
		t.Errorf("renewed by the first: %v, %v", nodes, err)
	}
	if c := claim(t, second, other, now, 1, 10); len(c.Deliveries) != 2 {
		t.Errorf("the second has %d deliveries", len(c.Deliveries))
	}

	again := join(t, first, time.Minute)
	if again.ID == n.ID {
		t.Errorf("joined again as %d", again.ID)
	}
	must(t, first.Publish([]*intake.Publication{own}))
	if kindOf(own.Err) != hook.Unavailable {
		t.Errorf("leased to the node that is gone: %v", own.Err)
	}
	// The attempt it had made is logged, and nothing else comes of it.
	finish(t, first, n, d, 400, now)
	s, err := second.Delivery(t.Context(), d.ID)
	if must(t, err); s.State != hook.Waiting || len(s.Log) != 1 {
		t.Errorf("stands as %v with %d log rows", s.State, len(s.Log))
	}
	finish(t, second, other, d, 204, now)
	publish(t, first, 1, 1)
	if c := claim(t, first, again, now, 1, 10); len(c.Deliveries) != 1 {
		t.Errorf("the first, joined again, has %d deliveries", len(c.Deliveries))
	}
}
