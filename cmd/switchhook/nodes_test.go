package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/api"
	"github.com/switchhook/switchhook/internal/pgtest"
)

// cluster is one node or several on one database, and producers that publish to those
// that are there.
type cluster struct {
	t     *testing.T
	args  []string
	nodes []*member

	ctx  context.Context
	stop context.CancelFunc
	all  sync.WaitGroup

	mu      sync.Mutex
	acked   map[string]time.Time
	refused map[string]int // by which node
	slowest time.Duration  // answer
	faults  []string
}

// member is a node: nil while it is not there.
type member struct {
	atomic.Pointer[running]
	by *installation // how it gets to the database
}

func newCluster(t *testing.T, in *installation, nodes int, args ...string) *cluster {
	c := &cluster{t: t, args: args, acked: map[string]time.Time{}, refused: map[string]int{}}
	c.ctx, c.stop = context.WithCancel(t.Context())
	for range nodes {
		c.join(in)
	}
	t.Cleanup(func() {
		c.stop()
		for i := range c.nodes {
			if p := c.nodes[i].Load(); p != nil {
				p.kill()
			}
		}
		c.all.Wait()
	})
	return c
}

// join adds a node, before anything is published.
func (c *cluster) join(by *installation) {
	c.nodes = append(c.nodes, &member{by: by})
	c.start(len(c.nodes) - 1)
}

func (c *cluster) start(i int) { c.nodes[i].Store(c.nodes[i].by.serve(c.args...)) }

// end ends a node with a signal, and expects it to end well if it could.
func (c *cluster) end(i int, s syscall.Signal) {
	c.t.Helper()
	p := c.nodes[i].Swap(nil)
	must(c.t, p.Process.Signal(s))
	if err := p.Wait(); err != nil && s != syscall.SIGKILL {
		c.t.Errorf("a node did not end well: %v\n%s", err, p.stderr.String())
	}
}

// publish publishes single events, each to the next node, until the cluster stops. It
// pauses while many are on their way to where they go: a slow machine would be busy with
// them for long.
func (c *cluster) publish(to *inbox, names ...string) {
	for _, name := range names {
		c.all.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Minute} // what is in doubt is answered when it is known
			defer client.CloseIdleConnections()
			for n := 0; c.ctx.Err() == nil; n++ {
				i := n % len(c.nodes)
				p := c.nodes[i].Load()
				if p == nil || c.underWay(to) > 500 {
					time.Sleep(time.Millisecond)
					continue
				}
				event, began := fmt.Sprint(name, n), time.Now()
				res, body, err := p.call(context.WithoutCancel(c.ctx), client, "POST", "/v2/events", "application/json", strings.NewReader(numbered(event)))
				switch {
				case err == nil:
					c.note(i, event, res, body)
					c.took(time.Since(began))
				case c.nodes[i].Load() == p:
					c.fault("%s: a node that lives did not answer: %v", event, err)
				}
				if err != nil || res.StatusCode == http.StatusServiceUnavailable {
					time.Sleep(10 * time.Millisecond) // a producer would wait for longer
				}
			}
		})
	}
}

// underWay returns about how many were acknowledged and have not arrived.
func (c *cluster) underWay(to *inbox) int {
	acked, _ := c.counts()
	to.mu.Lock()
	defer to.mu.Unlock()
	return acked - len(to.got)
}

func (c *cluster) note(node int, event string, res *http.Response, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case res.StatusCode == http.StatusAccepted && strings.Contains(string(body), `"deliveries":1`):
		c.acked[event] = time.Now()
	case res.StatusCode == http.StatusServiceUnavailable && res.Header.Get("Retry-After") != "":
		c.refused[event] = node
	default:
		c.faults = append(c.faults, fmt.Sprintf("%s: status %d: %s", event, res.StatusCode, body))
	}
}

func (c *cluster) fault(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

func (c *cluster) took(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slowest = max(c.slowest, d)
}

func (c *cluster) counts() (acked, refused int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.acked), len(c.refused)
}

// acks waits for so many more acknowledgements.
func (c *cluster) acks(n int) {
	c.t.Helper()
	before, _ := c.counts()
	waitFor(c.t, "more acknowledgements", func() bool { acked, _ := c.counts(); return acked >= before+n })
}

// refuse waits until each node refuses what is published to it now. Producers may all be
// waiting for what became of what they published before.
func (c *cluster) refuse() {
	c.t.Helper()
	for i := range c.nodes {
		waitFor(c.t, "a refusal", func() bool {
			event := fmt.Sprint("refused", rand.Uint32())
			res, body, err := c.nodes[i].Load().call(c.t.Context(), http.DefaultClient, "POST", "/v2/events", "application/json", strings.NewReader(numbered(event)))
			must(c.t, err)
			c.note(i, event, res, body)
			return res.StatusCode == http.StatusServiceUnavailable
		})
	}
}

// missing returns what was acknowledged and has not arrived.
func (c *cluster) missing(b *inbox) (names []string) {
	at := b.numbers()
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.acked {
		if _, ok := at[name]; !ok {
			names = append(names, name)
		}
	}
	return names
}

// arrived waits for events.
func (c *cluster) arrived(b *inbox, what string, names []string) {
	c.t.Helper()
	waitFor(c.t, what, func() bool {
		at := b.numbers()
		return !slices.ContainsFunc(names, func(name string) bool { _, ok := at[name]; return !ok })
	})
}

// list returns the nodes that a node knows.
func (c *cluster) list(of *running) []api.Node {
	c.t.Helper()
	var v struct{ Nodes []api.Node }
	of.ask("GET", operator+"/nodes", "", http.StatusOK, &v)
	return v.Nodes
}

// delivered ends the producers, waits until everything that was acknowledged is
// delivered and on record, and ends the nodes.
func (c *cluster) delivered(b *inbox) {
	t := c.t
	t.Helper()
	c.stop()
	c.all.Wait()
	waitFor(t, "everything that was acknowledged", func() bool { return len(c.missing(b)) == 0 })
	waitFor(t, "the last delivery's end", func() bool {
		var list struct{ Deliveries []any }
		c.nodes[0].Load().ask("GET", operator+"/deliveries?state=waiting", "", http.StatusOK, &list)
		return len(list.Deliveries) == 0
	})
	for i := range c.nodes {
		p := c.nodes[i].Load()
		if c.end(i, syscall.SIGTERM); len(c.faults) > 0 {
			t.Logf("node %d said:\n%s", i, p.stderr.String())
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range slices.Concat(b.faults, c.faults) {
		t.Error(f)
	}
	ids := map[string]string{} // of requests, by event
	for id, l := range b.got {
		if other, ok := ids[l.event]; ok && other != id {
			t.Errorf("%s arrived as %s and as %s", l.event, id, other)
		}
		ids[l.event] = id
	}
	t.Logf("%d acknowledged, the last to be answered after %v, %d refused, %d arrived, %d of them were repeated",
		len(c.acked), c.slowest.Round(time.Millisecond), len(c.refused), len(b.got), b.repeated)
}

// nothingRefusedArrived makes sure that a refusal was true: nobody has to wonder whether
// the event will be sent twice if it is published again.
func (c *cluster) nothingRefusedArrived(b *inbox) {
	c.t.Helper()
	at := b.numbers()
	for name := range c.refused {
		if _, ok := at[name]; ok {
			c.t.Errorf("%s was refused, and arrived", name)
		}
	}
}

// gauge counts the requests that an endpoint has at a time.
type gauge struct{ now, most atomic.Int32 }

// around is for an inbox whose requests take a while each.
func (g *gauge) around(take time.Duration) func(func()) {
	return func(serve func()) {
		n := g.now.Add(1)
		defer g.now.Add(-1)
		for most := g.most.Load(); n > most && !g.most.CompareAndSwap(most, n); most = g.most.Load() {
		}
		time.Sleep(take) // an endpoint that has something to do
		serve()
	}
}

// turns returns how often something is to be done: more often than usual with
// SWITCHHOOK_TEST_ROUNDS.
func turns(t *testing.T, usual int) int {
	if text := os.Getenv("SWITCHHOOK_TEST_ROUNDS"); text != "" {
		n, err := strconv.Atoi(text)
		must(t, err)
		return n
	}
	if testing.Short() {
		return 2
	}
	return usual
}

// Three nodes under load, of which one after the other is killed and another is
// stopped: everything that was acknowledged is delivered, and no endpoint gets more
// requests at a time than its limit and the nodes' shares on top of it.
func TestNodesComeAndGo(t *testing.T) {
	const nodes, limit = 3, 8
	const share = (limit + nodes - 1) / nodes
	in := installOn(t, pgtest.Database(t, nil))
	box := openInbox(t, "inbox", "secret-of-inbox")
	var g gauge
	box.around = g.around(3 * time.Millisecond)
	c := newCluster(t, in, nodes, "--retry-steps", "200ms,200ms,200ms,200ms", "--in-flight", strconv.Itoa(limit))
	c.nodes[0].Load().subscribe(box)
	if all := c.list(c.nodes[2].Load()); len(all) != nodes || all[0].Slot == all[1].Slot || all[1].Slot == all[2].Slot {
		t.Errorf("the nodes are %+v", all)
	}
	c.publish(box, "A", "B", "C", "D")
	inFlight := 0
	n := turns(t, 10)
	for round := range n {
		c.acks(20)
		killed, stopped := round%nodes, (round+1+rand.IntN(2))%nodes
		c.end(killed, syscall.SIGKILL)
		pending := c.missing(box)
		inFlight += len(pending)
		if round == n/2 { // the others need not wait for it to come back
			c.arrived(box, fmt.Sprintf("what was in flight in round %d", round), pending)
		}
		c.end(stopped, syscall.SIGTERM)
		c.start(killed)
		c.start(stopped)
		c.arrived(box, fmt.Sprintf("what was in flight in round %d", round), pending)
	}
	c.acks(20)
	c.delivered(box)
	t.Logf("%d were in flight when a node was killed; at most %d at a time for a limit of %d and %d nodes", inFlight, g.most.Load(), limit, nodes)
	if most := int(g.most.Load()); most > limit+nodes*share {
		t.Errorf("%d requests at a time, for a limit of %d and %d nodes with shares of %d", most, limit, nodes, share)
	}
	if inFlight == 0 {
		t.Error("nothing was ever in flight: the test shows nothing")
	}
}

// What is too much for the node where it was published, the others deliver too, each
// with its share of what the endpoint may be given.
func TestNodesShareTheWork(t *testing.T) {
	const nodes, limit = 3, 4
	in := installOn(t, pgtest.Database(t, nil))
	box := openInbox(t, "inbox", "secret-of-inbox")
	var g gauge
	box.around = g.around(2 * time.Millisecond)
	c := newCluster(t, in, nodes, "--in-flight", strconv.Itoa(limit))
	first := c.nodes[0].Load()
	first.subscribe(box)
	waitFor(t, "what the nodes know of each other", func() bool { return len(c.list(first)) == nodes })
	var events []string
	for i := range 6000 {
		name := fmt.Sprint("E", i)
		c.acked[name] = time.Now()
		events = append(events, numbered(name))
	}
	for batch := range slices.Chunk(events, 1000) {
		first.ask("POST", "/v2/events", "["+strings.Join(batch, ",")+"]", http.StatusAccepted, nil)
	}
	helped := map[int]bool{}
	waitFor(t, "the other nodes' help", func() bool {
		for _, n := range c.list(first) {
			if n.Held > 0 {
				helped[n.Slot] = true
			}
		}
		return len(helped) == nodes
	})
	c.delivered(box)
	if most := int(g.most.Load()); most > limit+nodes-1 {
		t.Errorf("%d requests at a time, for a limit of %d and %d nodes", most, limit, nodes)
	}
	if box.repeated > 0 {
		t.Errorf("%d deliveries were made twice", box.repeated)
	}
}

// A node that stands still for longer than its lease loses what it had in hand to the
// others. When it goes on it writes nothing of that, joins them anew and serves again.
func TestNodeStandsStill(t *testing.T) {
	in := installOn(t, pgtest.Database(t, nil))
	box := openInbox(t, "inbox", "secret-of-inbox")
	var g gauge
	box.around = g.around(5 * time.Millisecond)
	c := newCluster(t, in, 2, "--retry-steps", "200ms,200ms,200ms,200ms", "--in-flight", "8")
	moving, still := c.nodes[0].Load(), c.nodes[1].Load()
	moving.subscribe(box)
	c.publish(box, "A", "B", "C", "D")
	for range turns(t, 2) {
		c.acks(100)
		before := c.list(moving)
		c.nodes[1].Store(nil)
		must(t, still.Process.Signal(syscall.SIGSTOP))
		pending := c.missing(box)
		waitFor(t, "what the other node does without it", func() bool { return len(c.list(moving)) == 1 })
		c.arrived(box, "what it had in hand", pending)
		c.acks(100)
		must(t, still.Process.Signal(syscall.SIGCONT))
		waitFor(t, "the node that stood still", func() bool { return len(c.list(moving)) == 2 })
		if after := c.list(moving); slices.ContainsFunc(after, func(n api.Node) bool { return n.ID == before[1].ID }) && after[0].ID == before[0].ID {
			t.Errorf("it is the same node again: %+v, before %+v", after, before)
		}
		c.nodes[1].Store(still)
		// It takes what is published with it, and delivers.
		waitFor(t, "what it accepts", func() bool {
			name := fmt.Sprint("again", rand.Uint32())
			res, body, err := still.call(t.Context(), http.DefaultClient, "POST", "/v2/events", "application/json", strings.NewReader(numbered(name)))
			must(t, err)
			c.note(1, name, res, body)
			return res.StatusCode == http.StatusAccepted
		})
	}
	c.delivered(box)
}

// When the primary dies under load and its standby is promoted, every node finds it, and
// nothing that any has acknowledged is lost. Meanwhile producers are told to try again
// later.
func TestFailover(t *testing.T) {
	for _, nodes := range []int{1, 2} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			primary := pgtest.Start(t)
			standby := primary.Standby(t)
			both, err := url.Parse(primary.URL())
			must(t, err)
			q := both.Query()
			q.Set("host", filepath.Dir(primary.Socket())+","+filepath.Dir(standby.Socket()))
			both.RawQuery = q.Encode()
			in := installOn(t, both.String())
			box := openInbox(t, "inbox", "secret-of-inbox")
			c := newCluster(t, in, nodes, "--retry-steps", "200ms,200ms,200ms")
			c.nodes[0].Load().subscribe(box)
			c.publish(box, "A", "B", "C", "D")
			c.acks(300)
			must(t, primary.Kill())
			c.refuse()
			must(t, standby.Promote())
			c.acks(300)
			c.delivered(box)
		})
	}
}

// Nodes whose database is stopped, or dies, go on by themselves when it is back, and
// deliver what they have acknowledged.
func TestDatabaseGoesAway(t *testing.T) {
	for _, nodes := range []int{1, 2} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			server := pgtest.Start(t)
			in := installOn(t, server.URL())
			box := openInbox(t, "inbox", "secret-of-inbox")
			c := newCluster(t, in, nodes, "--retry-steps", "200ms,200ms,200ms")
			c.nodes[0].Load().subscribe(box)
			c.publish(box, "A", "B", "C")
			for i, end := range []func() error{server.Stop, server.Kill, server.Stop, server.Kill} {
				c.acks(100)
				must(t, end())
				if i > 0 { // else it is back before anybody notices
					c.refuse()
				}
				must(t, server.Run())
			}
			c.acks(100)
			c.delivered(box)
		})
	}
}

// Whatever is done on one node holds on the other from when it was answered: what is
// subscribed gets what is published, a key stands for the same event, a page goes on,
// an event type is known, and a token is good.
func TestNodesAreOnePlatform(t *testing.T) {
	in := installOn(t, pgtest.Database(t, nil))
	c := newCluster(t, in, 2)
	one, other := c.nodes[0].Load(), c.nodes[1].Load()
	var boxes []*inbox
	for i := range 5 {
		boxes = append(boxes, openInbox(t, fmt.Sprint("inbox", i), "secret-of-inbox"))
		c.nodes[i%2].Load().subscribe(boxes...)
		var receipt struct {
			ID         string `json:"event_id"`
			Deliveries int
		}
		event := strings.TrimSuffix(numbered(fmt.Sprint("E", i)), "}") + fmt.Sprintf(`,"$routing":{"idempotency_key":"%d"}}`, i)
		c.nodes[(i+1)%2].Load().ask("POST", "/v2/events", event, http.StatusAccepted, &receipt)
		if receipt.Deliveries != len(boxes) {
			t.Errorf("%d deliveries to %d subscriptions", receipt.Deliveries, len(boxes))
		}
		first := receipt.ID
		c.nodes[i%2].Load().ask("POST", "/v2/events", event, http.StatusAccepted, &receipt)
		if receipt.ID != first {
			t.Errorf("under the same key, %s and %s", first, receipt.ID)
		}
	}
	type page struct {
		Deliveries []struct{ ID string }
		Next       string `json:"next_page_token"`
	}
	var a, b page
	one.ask("GET", operator+"/deliveries?page_size=10", "", http.StatusOK, &a)
	other.ask("GET", operator+"/deliveries?page_size=10&next_page_token="+url.QueryEscape(a.Next), "", http.StatusOK, &b)
	if len(a.Deliveries)+len(b.Deliveries) != 1+2+3+4+5 {
		t.Errorf("two pages have %d and %d deliveries", len(a.Deliveries), len(b.Deliveries))
	}

	doc := `{"openapi":"3.1.0","info":{"title":"Shop","version":"1"},"webhooks":{"shop.order_created":{"post":{"requestBody":{"content":{"application/json":{"schema":{"type":"object"}}}}}}}}`
	one.ask("POST", operator+"/catalog?product=shop", doc, http.StatusOK, nil)
	other.ask("POST", "/v2/events", `{"event":"shop.order_created","payload":{"account_id":"customer"}}`, http.StatusAccepted, nil)
	var apps struct{ Apps []api.App }
	one.ask("GET", operator+"/apps", "", http.StatusOK, &apps)
	var app api.ClientSecret
	one.ask("POST", operator+"/apps/"+apps.Apps[0].ID+"/client_secret", `{}`, http.StatusOK, &app)
	var token api.AccessToken
	waitFor(t, "the new secret on the other node", func() bool {
		req, err := http.NewRequestWithContext(t.Context(), "POST", other.url+"/oauth/token?grant_type=client_credentials", nil)
		must(t, err)
		req.SetBasicAuth(app.ClientID, app.ClientSecret)
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK && json.NewDecoder(res.Body).Decode(&token) == nil
	})
	req, err := http.NewRequestWithContext(t.Context(), "GET", one.url+"/v2/marketplace/app/event_subscription", nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+token.Token)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	must(t, res.Body.Close())
	if res.StatusCode != http.StatusOK {
		t.Errorf("a token of the other node: status %d", res.StatusCode)
	}
}

// ear listens to what a node tells of an app's events, from the first on, and goes on when
// the node is there again.
type ear struct {
	mu     sync.Mutex
	heard  map[string]bool // events by name
	last   string          // id
	faults []string
}

func (c *cluster) listen(node int, app string) *ear {
	e := &ear{heard: map[string]bool{}, last: "0"}
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			if p := c.nodes[node].Load(); p != nil {
				e.follow(ctx, p, app, e.take)
			}
			sleep(ctx, 10*time.Millisecond) // the node is gone, or about to be there
		}
	}()
	c.t.Cleanup(func() { cancel(); <-ended })
	return e
}

func (e *ear) follow(ctx context.Context, p *running, app string, take func(*serverEvent)) {
	req, err := http.NewRequestWithContext(ctx, "GET", p.url+operator+"/events/stream?app_id="+app, nil)
	must(p.t, err)
	req.Header.Set("Authorization", "Bearer "+p.key)
	if e.last != "" {
		req.Header.Set("Last-Event-ID", e.last)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusServiceUnavailable {
		e.fault("listening is answered with status %d", res.StatusCode)
	}
	var x serverEvent
	for lines := bufio.NewReader(res.Body); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		if !x.add(strings.TrimRight(line, "\r\n")) {
			continue
		}
		if x.data != "" {
			take(&x)
		}
		x = serverEvent{}
	}
}

func (e *ear) fault(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults = append(e.faults, fmt.Sprintf(format, args...))
}

// take takes an event. Ids are texts that are in the order of their numbers.
func (e *ear) take(x *serverEvent) {
	if x.name != "" {
		return
	}
	var r api.ListenedRequest
	var event struct {
		Payload struct{ Object struct{ CNAM string } }
	}
	if err := errors.Join(json.Unmarshal([]byte(x.data), &r), json.Unmarshal([]byte(r.Body), &event)); err != nil {
		e.fault("%s: %v", x.data, err)
		return
	}
	if x.id <= e.last && e.last != "0" {
		e.fault("%s came after %s", x.id, e.last)
	}
	e.last = x.id
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard[event.Payload.Object.CNAM] = true
}

// missed returns what was acknowledged and not heard.
func (c *cluster) missed(e *ear) (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	for name := range c.acked {
		if !e.heard[name] {
			names = append(names, name)
		}
	}
	return names
}

// Whoever listens to any node hears of every event that any node accepts, once and in the
// order of their ids, also while nodes are killed and come back.
func TestListenToSeveralNodes(t *testing.T) {
	const nodes = 3
	in := installOn(t, pgtest.Database(t, nil))
	box := openInbox(t, "inbox", "secret-of-inbox")
	c := newCluster(t, in, nodes, "--retry-steps", "200ms,200ms,200ms,200ms")
	c.nodes[0].Load().subscribe(box)
	var apps struct{ Apps []api.App }
	c.nodes[0].Load().ask("GET", operator+"/apps", "", http.StatusOK, &apps)
	var ears []*ear
	for i := range nodes {
		ears = append(ears, c.listen(i, apps.Apps[0].ID))
	}
	c.publish(box, "A", "B", "C", "D", "E", "F", "G", "H")
	for round := range turns(t, 3) {
		c.acks(300)
		c.end(round%nodes, syscall.SIGKILL)
		c.acks(200)
		c.start(round % nodes)
	}
	c.acks(300)
	c.stop()
	c.all.Wait()
	for i, e := range ears {
		waitFor(t, fmt.Sprint("what was accepted, and is heard from node ", i), func() bool { return len(c.missed(e)) == 0 })
		e.mu.Lock()
		for _, f := range e.faults {
			t.Error(f)
		}
		e.mu.Unlock()
	}
	c.delivered(box)
}

// Whoever begins to listen to a node that has accepted nothing for long is told from which
// event on, whichever node accepted that, and hears of what another node accepts then.
func TestListenFromNowOn(t *testing.T) {
	in := installOn(t, pgtest.Database(t, nil))
	box := openInbox(t, "inbox", "secret-of-inbox")
	c := newCluster(t, in, 2)
	busy, idle := c.nodes[0].Load(), c.nodes[1].Load()
	busy.subscribe(box)
	var apps struct{ Apps []api.App }
	idle.ask("GET", operator+"/apps", "", http.StatusOK, &apps)
	publish := func(name string) string {
		var r struct {
			ID string `json:"event_id"`
		}
		busy.ask("POST", "/v2/events", numbered(name), http.StatusAccepted, &r)
		return r.ID
	}
	var last string
	for i := range 3 {
		last = publish(fmt.Sprint("before", i))
	}
	// A stream, what is told first on it, and how to end it.
	listen := func() (heard chan serverEvent, first api.Listening, end func()) {
		heard = make(chan serverEvent, 100)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer close(heard)
			(&ear{}).follow(ctx, idle, apps.Apps[0].ID, func(x *serverEvent) { heard <- *x })
		}()
		ready := <-heard
		if err := json.Unmarshal([]byte(ready.data), &first); err != nil || ready.name != "ready" || first.After > last {
			t.Errorf("the first is %+v, want ready after %s", ready, last)
		}
		return heard, first, func() {
			cancel()
			for range heard { // until it has ended
			}
		}
	}
	heard, first, end := listen()
	for limit := time.Now().Add(time.Minute); first.After < last && time.Now().Before(limit); heard, first, end = listen() {
		end() // on a busy machine it may begin after an earlier one
	}
	defer func() { end() }()
	for i := range 3 {
		want := publish(fmt.Sprint("then", i))
		if got := <-heard; got.id != want {
			t.Errorf("heard of %+v, want event %s", got, want)
		}
	}
}
