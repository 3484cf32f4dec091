package main

import (
	"context"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/switchhook/switchhook/internal/pgtest"
)

// A node whose connections to the database break all the time, in the middle of whatever
// is sent, is a node all the same: what it acknowledges is delivered, and what it refuses
// is not. The other node refuses nothing.
func TestConnectionsBreak(t *testing.T) {
	server := pgtest.Start(t)
	in := installOn(t, server.URL())
	box := openInbox(t, "inbox", "secret-of-inbox")
	c := newCluster(t, in, 1, "--retry-steps", "200ms,200ms,200ms,200ms")
	c.nodes[0].Load().subscribe(box)
	cut := openCutter(t, server.Socket())
	c.join(&installation{t: t, dir: in.dir, url: cut.database(server.URL()), key: in.key})
	c.publish(box, "A", "B", "C", "D")
	c.acks(100)
	cut.begin()
	n := 15 * turns(t, 5)
	waitFor(t, "the breaking of connections, in commits too", func() bool {
		log := c.nodes[1].Load().stderr.String()
		return cut.count() >= n && strings.Contains(log, "it did commit") && strings.Contains(log, "it did not commit")
	})
	acked, _ := c.counts()
	cut.end()
	c.acks(200)
	c.delivered(box)
	c.nothingRefusedArrived(box)
	for event, node := range c.refused {
		if node == 0 {
			t.Errorf("%s was refused by the node whose connections did not break", event)
		}
	}
	if acked < 200 {
		t.Errorf("%d events were acknowledged while connections broke: the test shows little", acked-100)
	}
}

// A database that is away for longer than a lease, or answers nobody for so long, costs no
// node its place: who cannot say that it lives does not take others for dead. Meanwhile
// producers are told to try again later, and nothing is acknowledged that is not stored.
func TestDatabaseIsAwayForLong(t *testing.T) {
	for _, frozen := range []bool{false, true} {
		t.Run(map[bool]string{false: "stopped", true: "frozen"}[frozen], func(t *testing.T) {
			server := pgtest.Start(t)
			in := installOn(t, server.URL())
			box := openInbox(t, "inbox", "secret-of-inbox")
			way := openCutter(t, server.Socket())
			c := newCluster(t, &installation{t: t, dir: in.dir, url: way.database(server.URL()), key: in.key}, 2, "--retry-steps", "200ms,200ms,200ms")
			c.nodes[0].Load().subscribe(box)
			c.publish(box, "A", "B", "C", "D")
			c.acks(100)
			nodes := c.list(c.nodes[0].Load())
			if frozen {
				way.freeze()
			} else {
				must(t, server.Stop())
			}
			n := turns(t, 4) // a third of a lease each
			if frozen {
				n /= 4 // it takes longer to find out, also for those who are refused
			}
			for n := range n {
				waitFor(t, "renewals of leases that fail", func() bool {
					return !slices.ContainsFunc(c.nodes, func(m *member) bool {
						return strings.Count(m.Load().stderr.String(), "the lease could not be renewed") <= n
					})
				})
			}
			c.refuse()
			if frozen {
				way.thaw()
			} else {
				must(t, server.Run())
			}
			c.acks(100)
			for i, n := range c.list(c.nodes[0].Load()) {
				if n.ID != nodes[i].ID {
					t.Errorf("node %d has become node %d", nodes[i].ID, n.ID)
				}
			}
			c.delivered(box)
			c.nothingRefusedArrived(box)
		})
	}
}

// cutter is a way to the database on which connections are cut at random.
type cutter struct {
	l      net.Listener
	socket string
	all    sync.WaitGroup

	mu      sync.Mutex
	frozen  chan struct{} // nil: it is not
	random  *rand.Rand
	cutting bool
	cuts    int
	open    map[*cable]bool
}

// cable is a connection to the database. It is cut when so many bytes have been sent,
// when so many answers have come, of which the last gets lost, or when it is so old.
type cable struct {
	client, server net.Conn
	bytes, answers int
	age            *time.Timer
}

func openCutter(t *testing.T, socket string) *cutter {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	seed := rand.Uint64()
	t.Logf("connections are cut with seed %d", seed)
	c := &cutter{l: l, socket: socket, random: rand.New(rand.NewPCG(seed, 0)), open: map[*cable]bool{}}
	c.all.Go(c.accept)
	t.Cleanup(func() {
		_ = l.Close()
		c.thaw()
		c.end()
		c.cutAll()
		c.all.Wait()
	})
	return c
}

// database returns the URL of a database by this way.
func (c *cutter) database(direct string) string {
	u, err := url.Parse(direct)
	if err != nil {
		panic(err) // it is pgtest's
	}
	q := u.Query()
	q.Del("host")
	u.Host, u.RawQuery = c.l.Addr().String(), q.Encode()
	return u.String()
}

func (c *cutter) accept() {
	for {
		client, err := c.l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", c.socket)
		if err != nil {
			_ = client.Close()
			continue
		}
		k := &cable{client: client, server: server}
		c.mu.Lock()
		c.open[k] = true
		c.doom(k)
		c.mu.Unlock()
		c.all.Go(func() { c.carry(k, server, client, c.sent) })
		c.all.Go(func() { c.carry(k, client, server, c.answered) })
	}
}

// doom decides when a connection is cut, if it is to be. It is called with c.mu held.
func (c *cutter) doom(k *cable) {
	if c.cutting {
		k.bytes, k.answers = c.random.IntN(100_000), 1+c.random.IntN(100)
		k.age = time.AfterFunc(time.Duration(c.random.Int64N(int64(800*time.Millisecond))), func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.cut(k)
		})
	}
}

// cut counts, too. It is called with c.mu held.
func (c *cutter) cut(k *cable) {
	if c.open[k] && c.cutting {
		c.cuts++
		c.close(k)
	}
}

// close is called with c.mu held.
func (c *cutter) close(k *cable) {
	delete(c.open, k)
	_ = k.client.Close()
	_ = k.server.Close()
	if k.age != nil {
		k.age.Stop()
	}
}

// sent returns how much of what was sent is passed on, and whether that is all. It is
// called with c.mu held.
func (c *cutter) sent(k *cable, n int) (pass int, over bool) {
	if !c.cutting || n < k.bytes {
		k.bytes -= n
		return n, false
	}
	return k.bytes, true // which is the middle of a message as a rule
}

// answered is the same for answers.
func (c *cutter) answered(k *cable, n int) (pass int, over bool) {
	k.answers--
	if !c.cutting || k.answers > 0 {
		return n, false
	}
	return 0, true
}

func (c *cutter) carry(k *cable, to, from net.Conn, limit func(*cable, int) (int, bool)) {
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		c.mu.Lock()
		frozen := c.frozen
		n, over := limit(k, n)
		c.mu.Unlock()
		if frozen != nil {
			<-frozen
		}
		if err == nil {
			_, err = to.Write(b[:n])
		}
		if over || err != nil {
			c.mu.Lock()
			c.cut(k)
			c.close(k)
			c.mu.Unlock()
			return
		}
	}
}

// begin begins to cut connections, and end ends it.
func (c *cutter) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cutting = true
	for k := range c.open {
		c.doom(k)
	}
}

func (c *cutter) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cutting = false
}

// freeze lets nothing pass until thaw is called.
func (c *cutter) freeze() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen = make(chan struct{})
}

func (c *cutter) thaw() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.frozen != nil {
		close(c.frozen)
		c.frozen = nil
	}
}

func (c *cutter) cutAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.open {
		c.close(k)
	}
}

func (c *cutter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cuts
}

// connectTo returns what executes a query on a connection of its own, and returns the
// first value of the last result.
func connectTo(t *testing.T, database string) func(query string) string {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), database)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return func(query string) string {
		t.Helper()
		all, err := conn.Exec(t.Context(), query).ReadAll()
		must(t, err)
		if last := all[len(all)-1]; len(last.Rows) > 0 {
			return string(last.Rows[0][0])
		}
		return ""
	}
}

// What an operator has set for the role holds for others: the program has limits of its
// own, because it knows what it waits for. A statement that is cancelled all the same
// (by somebody who looks at the server, or as a time-out does it) is an event that is
// refused, a delivery that is recorded later, and nothing worse.
func TestStatementsTimeOut(t *testing.T) {
	server := pgtest.Start(t)
	hold, look := connectTo(t, server.URL()), connectTo(t, server.URL())
	for _, setting := range []string{
		"statement_timeout = '100ms'", "lock_timeout = '100ms'", "idle_in_transaction_session_timeout = '100ms'", "default_transaction_isolation = serializable",
	} {
		look("ALTER ROLE switchhook SET " + setting)
	}
	in := installOn(t, server.URL())
	box := openInbox(t, "inbox", "secret-of-inbox")
	c := newCluster(t, in, 2, "--retry-steps", "200ms,200ms,200ms")
	c.nodes[0].Load().subscribe(box)
	c.publish(box, "A", "B", "C", "D")
	c.acks(100)

	// Everything waits for a while, and then goes on.
	const waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query_start < now() - interval '300ms'"
	hold("BEGIN; LOCK TABLE due IN ACCESS EXCLUSIVE MODE")
	waitFor(t, "those who wait for longer than the role may", func() bool { return look(waiting) != "0" })
	hold("COMMIT")
	c.acks(100)
	if _, refused := c.counts(); refused > 0 {
		t.Errorf("%d events were refused because of what is set for the role", refused)
	}

	for range turns(t, 5) {
		hold("BEGIN; LOCK TABLE due IN ACCESS EXCLUSIVE MODE")
		_, before := c.counts()
		waitFor(t, "refusals", func() bool {
			look("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
			_, refused := c.counts()
			return refused >= before+8
		})
		hold("COMMIT")
		c.acks(50)
	}
	c.delivered(box)
	c.nothingRefusedArrived(box)
}
