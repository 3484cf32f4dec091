package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/seal"
	"github.com/switchhook/switchhook/internal/store"
	"github.com/switchhook/switchhook/webhook"
)

// bench measures the platform against the bare limit of the same machine in the
// same run: signed POSTs with net/http and nothing else. Platform and sink are
// processes of their own, as in life.
type bench struct {
	events, endpoints, publishers, posters int
	seconds, backlog, logRows, phones      int
	only                                   []string
	database                               string

	out     io.Writer
	dir     string
	sink    string // host:port
	client  *http.Client
	key     string
	numbers int // events numbered so far
	remove  []func(context.Context) error
	opened  store.Options // of the latest platform
}

func newBench() *cobra.Command {
	b := &bench{}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure the platform against bare signed POSTs on this machine",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			b.out = cmd.OutOrStdout()
			return b.run(cmd.Context())
		},
	}
	fl := cmd.Flags()
	fl.IntVar(&b.backlog, "backlog", 100_000, "deliveries that wait for each of the two broken endpoints when isolation is measured")
	fl.IntVar(&b.events, "events", 300_000, "events of the throughput measurement")
	fl.IntVar(&b.endpoints, "endpoints", 64, "endpoints they go to")
	fl.IntVar(&b.publishers, "publishers", 4, "connections that publish them")
	fl.IntVar(&b.posters, "posters", 64, "requests at a time of the bare client")
	fl.IntVar(&b.seconds, "seconds", 10, "length of each latency measurement")
	fl.IntVar(&b.logRows, "log-rows", 1_000_000, "rows of the webhook log that is read")
	fl.IntVar(&b.phones, "numbers", 0, "phone numbers that are imported (0: 1,000,000, or 200,000 beside other measurements)")
	fl.StringSliceVar(&b.only, "only", []string{"throughput", "latency", "isolation", "api", "log", "numbers", "gateway"}, "what to measure")
	fl.StringVar(&b.database, "database", "", "URL of a PostgreSQL in which platforms are to be made, each in a schema of its own (default: SQLite, in a temporary directory)")
	return cmd
}

func (b *bench) run(ctx context.Context) (err error) {
	if b.dir, err = os.MkdirTemp("", "switchhook-bench-*"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	defer func() {
		for _, remove := range b.remove {
			err = errors.Join(err, remove(context.WithoutCancel(ctx)))
		}
	}()
	b.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1024}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sink, err := b.start(ctx, "bench-sink")
	if err != nil {
		return err
	}
	defer sink.stop()
	b.sink = sink.line

	for _, m := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"throughput", b.throughput},
		{"latency", b.latency},
		{"isolation", b.isolation},
		{"api", b.calls},
		{"log", b.log},
		{"numbers", b.inventory},
		{"gateway", b.gateway},
	} {
		if slices.Contains(b.only, m.name) {
			if err := m.run(ctx); err != nil {
				return fmt.Errorf("bench: %s: %w", m.name, err)
			}
		}
	}
	return nil
}

// process is a child of ours that said on its first line that it is ready.
type process struct {
	cmd  *exec.Cmd
	line string
}

// start runs this program with other arguments.
func (b *bench) start(ctx context.Context, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s did not start", args[0]), err)
	}
	return &process{cmd, strings.TrimSpace(line)}, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	_ = p.cmd.Wait()
}

// cpu returns the processor time the process has used.
func (p *process) cpu() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100 on Linux
}

// memory returns the process's resident memory now and at its highest, in MiB.
func (p *process) memory() (now, peak float64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch {
		case len(f) < 2:
		case f[0] == "VmRSS:":
			now, _ = strconv.ParseFloat(f[1], 64)
		case f[0] == "VmHWM:":
			peak, _ = strconv.ParseFloat(f[1], 64)
		}
	}
	return now / 1024, peak / 1024
}

// platform starts a platform on a fresh database with an app for each URL, bound
// to carrier codes from 1 on.
func (b *bench) platform(ctx context.Context, name string, urls ...string) (*process, string, error) {
	return b.platformWith(ctx, name, func(*store.DB) error { return nil }, urls...)
}

// platformWith lets prepare add to the database first.
func (b *bench) platformWith(ctx context.Context, name string, prepare func(*store.DB) error, urls ...string) (*process, string, error) {
	keyFile := filepath.Join(b.dir, name+".key")
	key, _, err := seal.LoadOrCreate(keyFile)
	if err != nil {
		return nil, "", err
	}
	database := "sqlite:" + filepath.Join(b.dir, name+".db")
	if b.database != "" {
		var remove func(context.Context) error
		if database, remove, err = store.Scratch(ctx, b.database); err != nil {
			return nil, "", err
		}
		b.remove = append(b.remove, remove)
	}
	b.opened = store.Options{Database: database, Key: key}
	db, err := store.Open(ctx, b.opened)
	if err != nil {
		return nil, "", err
	}
	c := hook.Change{Accounts: []*hook.Account{{ID: "bench"}}}
	now := time.Now()
	for i, url := range urls {
		app := &hook.App{
			ID: fmt.Sprint("app", i), Account: "bench", Name: fmt.Sprint("app", i), ClientID: fmt.Sprint("client", i), ClientSecret: hook.HashSecret(benchSecret),
			Scopes: []string{"number_management_numbers:read:admin", "marketplace_app:read"}, CarrierCodes: []int32{int32(i + 1)}, SecretToken: benchSecret, Created: now,
		}
		id := hook.NewID()
		k, _ := hook.KeyOf(id)
		c.Apps = append(c.Apps, app)
		c.Subscriptions = append(c.Subscriptions, &hook.Subscription{
			ID: id, Key: k, App: app.ID, Name: "bench", Events: []string{benchEvent}, Scope: hook.ScopeAccount, Subscribers: []hook.Subscriber{{}},
			Endpoint: hook.Endpoint{URL: url, State: hook.Valid, Checked: now}, Source: hook.SourceDefault, Created: now,
		})
	}
	b.key = hook.NewSecret()
	err = errors.Join(
		db.Change(c, now),
		db.CreateKey(&hook.OperatorKey{ID: hook.NewID(), Name: "bench", Scopes: hook.KeyScopes(), Created: now}, hook.Secret(b.key)),
		prepare(db),
		db.Close(),
	)
	if err != nil {
		return nil, "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	addr := l.Addr().String()
	_ = l.Close()
	p, err := b.start(ctx, "serve", "--dev", "--database", database, "--master-key-file", keyFile, "--listen", addr, "--log-level", "error", "--ready")
	return p, "http://" + addr + "/v2/events", err
}

const (
	benchSecret = "bench-secret-token"
	benchEvent  = "number_management.peering_number_emergency_address_updated"
)

// event writes event number n for a carrier code: about 600 bytes.
func event(dst []byte, n, carrier int) []byte {
	dst = fmt.Appendf(dst, `{"event":"%s","event_ts":%d,"payload":{"account_id":"bench","object":{"carrier_code":%d,"phone_numbers":["+1%010d"`,
		benchEvent, time.Now().UnixMilli(), carrier, n)
	for i := range 14 {
		dst = fmt.Appendf(dst, `,"+1415555%04d"`, i)
	}
	return append(dst, `],"emergency_address":{"country":"US","address_line1":"55 Almaden Boulevard","address_line2":"13th floor","city":"San Jose","zip":"95113","state_code":"CA"}}}}`...)
}

// take returns the numbers of n more events.
func (b *bench) take(n int) (first int) {
	first = b.numbers
	b.numbers += n
	return first
}

// bare measures what this machine can do with nothing but signed POSTs.
func (b *bench) bare(ctx context.Context, n int) (perSecond float64, err error) {
	signer, err := webhook.NewSigner(benchSecret)
	if err != nil {
		return 0, err
	}
	body, agent := event(nil, b.take(1), 1), userAgent()
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	errs := make(chan error, b.posters)
	start := time.Now()
	for range b.posters {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+b.sink+"/ok/bare", bytes.NewReader(body))
				if err != nil {
					errs <- err
					return
				}
				timestamp, signature := signer.Sign(time.Now(), body)
				req.Header.Set("Content-Type", webhook.ContentType)
				req.Header.Set(webhook.HeaderTimestamp, timestamp)
				req.Header.Set(webhook.HeaderSignature, signature)
				req.Header.Set("Accept-Encoding", "gzip")
				req.Header.Set("User-Agent", agent)
				req.Header.Set("Traceparent", "00-00000000000000000000000000000000-0000000000000000-01")
				req.Header.Set(webhook.HeaderRequestID, "00000000_0000_0000_0000_000000000000")
				req.Header.Set(webhook.HeaderTrackingID, "v=2.0;clid=us;rid=WEB_00000000000000000000000000000000")
				req.Header.Set(webhook.HeaderClientID, "AAAAAAAAAAAAAAAAAAAAAA")
				res, err := b.client.Do(req)
				if err != nil {
					errs <- err
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return 0, err
	default:
	}
	return float64(n) / time.Since(start).Seconds(), nil
}

func (b *bench) count(ctx context.Context) (int, error) {
	body, err := b.get(ctx, "/count")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(body))
}

func (b *bench) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.sink+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := b.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

// throughput measures the full life cycle: published, durable, sent, answered,
// logged.
func (b *bench) throughput(ctx context.Context) error {
	var urls []string
	for i := range b.endpoints {
		urls = append(urls, fmt.Sprintf("http://%s/ok/%d", b.sink, i))
	}
	p, publish, err := b.platform(ctx, "throughput", urls...)
	if err != nil {
		return err
	}
	defer p.stop()
	time.Sleep(time.Second)
	idle, _ := p.memory()

	before, err := b.bare(ctx, b.events/2)
	if err != nil {
		return err
	}
	already, err := b.count(ctx)
	if err != nil {
		return err
	}
	cpu := p.cpu()
	start := time.Now()
	first := b.take(b.events)
	var wg sync.WaitGroup
	errs := make(chan error, b.publishers)
	for i := range b.publishers {
		wg.Go(func() { errs <- b.stream(ctx, publish, first, i) })
	}
	wg.Wait()
	for range b.publishers {
		if err := <-errs; err != nil {
			return err
		}
	}
	published := time.Since(start)
	for {
		n, err := b.count(ctx)
		if err != nil {
			return err
		}
		if n-already >= b.events {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	took := time.Since(start)
	used := p.cpu() - cpu
	_, peak := p.memory()
	after, err := b.bare(ctx, b.events/2)
	if err != nil {
		return err
	}
	bare := 2 / (1/before + 1/after)
	rate := float64(b.events) / took.Seconds()
	t := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "bare signed POSTs, net/http\t%.0f/s\t(%.0f before, %.0f after)\n", bare, before, after)
	fmt.Fprintf(t, "full durable life cycle\t%.0f/s\t%d events, published within %v\n", rate, b.events, published.Round(time.Millisecond))
	fmt.Fprintf(t, "ratio\t%.2f\t\n", rate/bare)
	fmt.Fprintf(t, "platform CPU\t%.1f ms\tper 1,000 deliveries\n", used.Seconds()*1e6/float64(b.events))
	fmt.Fprintf(t, "platform memory\t%.0f MiB idle\t%.0f MiB at most\n", idle, peak)
	return t.Flush()
}

// stream publishes one publisher's part of the events as NDJSON.
func (b *bench) stream(ctx context.Context, url string, first, part int) error {
	r, w := io.Pipe()
	go func() {
		buf := make([]byte, 0, 256<<10)
		var line []byte
		for i := part; i < b.events; i += b.publishers {
			line = event(line[:0], first+i, i%b.endpoints+1)
			buf = append(append(buf, line...), '\n')
			if len(buf) > 200<<10 {
				if _, err := w.Write(buf); err != nil {
					return
				}
				buf = buf[:0]
			}
		}
		_, _ = w.Write(buf)
		_ = w.Close()
	}()
	return b.postStream(ctx, url, r)
}

// postStream publishes events, all of which must be accepted.
func (b *bench) postStream(ctx context.Context, url string, r io.Reader) error {
	res, err := b.post(ctx, url, "application/x-ndjson", r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var last string
	for s := bufio.NewScanner(res.Body); s.Scan(); {
		last = s.Text()
	}
	if !strings.HasSuffix(last, `"failed":0}`) {
		return fmt.Errorf("publishing: %d %s", res.StatusCode, last)
	}
	return nil
}

func (b *bench) post(ctx context.Context, url, media string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+b.key)
	req.Header.Set("Content-Type", media)
	return b.client.Do(req)
}

// producer publishes single events over one connection. It is as plain as can be,
// so that what is measured is the platform.
type producer struct {
	conn net.Conn
	in   *bufio.Reader
	head string
}

func (b *bench) producer(url string) (*producer, error) {
	host := strings.TrimPrefix(strings.TrimSuffix(url, "/v2/events"), "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		return nil, err
	}
	head := "POST /v2/events HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: Bearer " + b.key + "\r\nContent-Type: application/json\r\nContent-Length: "
	return &producer{conn, bufio.NewReader(conn), head}, nil
}

// publish publishes an event and returns when the request left and when the answer
// was there.
func (p *producer) publish(body []byte) (sent, durable time.Time, err error) {
	request := append([]byte(p.head+strconv.Itoa(len(body))+"\r\n\r\n"), body...)
	sent = time.Now()
	if _, err := p.conn.Write(request); err != nil {
		return sent, sent, err
	}
	res, err := http.ReadResponse(p.in, nil)
	if err != nil {
		return sent, sent, err
	}
	text, err := io.ReadAll(res.Body)
	durable = time.Now()
	if err == nil && res.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("publishing: %d %s", res.StatusCode, text)
	}
	return sent, durable, errors.Join(err, res.Body.Close())
}

// latencies are how long things took, sorted.
type latencies []time.Duration

func (l latencies) at(p float64) time.Duration {
	return l[min(len(l)-1, int(p*float64(len(l))))].Round(10 * time.Microsecond)
}

func (l latencies) String() string {
	return fmt.Sprintf("p50 %v\tp99 %v\tmax %v", l.at(0.5), l.at(0.99), l.at(1))
}

// publishAt publishes single events for the healthy endpoint's carrier at a steady
// rate and returns how long each took from publishing to arrival.
func (b *bench) publishAt(url string, perSecond, n int) (latencies, error) {
	const connections = 8
	first := b.take(n)
	sent := make([]time.Time, n)
	var wg sync.WaitGroup
	errs := make(chan error, connections)
	start := time.Now()
	for c := range connections {
		p, err := b.producer(url)
		if err != nil {
			return nil, err
		}
		defer p.conn.Close()
		wg.Go(func() {
			for i := c; i < n; i += connections {
				body := event(nil, first+i, 1)
				time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(perSecond))))
				var err error
				if sent[i], _, err = p.publish(body); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return nil, err
	default:
	}
	time.Sleep(time.Second)
	return b.arrivals(first, sent)
}

// arrivals asks the sink when events arrived.
func (b *bench) arrivals(first int, sent []time.Time) (latencies, error) {
	raw, err := b.get(context.Background(), fmt.Sprintf("/arrivals?from=%d&n=%d", first, len(sent)))
	if err != nil {
		return nil, err
	}
	took := make(latencies, len(sent))
	for i := range took {
		at := int64(binary.BigEndian.Uint64(raw[8*i:]))
		if at == 0 {
			return nil, fmt.Errorf("event %d of %d did not arrive within a second", i, len(sent))
		}
		took[i] = time.Duration(at - sent[i].UnixNano())
	}
	slices.Sort(took)
	return took, nil
}

// floor measures what no platform could do without: two requests over loopback and
// one wait for the disk.
func (b *bench) floor(perSecond, n int) (latencies, error) {
	conn, err := net.Dial("tcp", b.sink)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	f, err := os.Create(filepath.Join(b.dir, "floor"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Write(make([]byte, 1<<20)); err != nil {
		return nil, err
	}
	first := b.take(n)
	sent := make([]time.Time, n)
	disk := make([]time.Duration, n)
	start := time.Now()
	for i := range n {
		body := event(nil, first+i, 1)
		request := append(fmt.Appendf(nil, "POST /ok/0 HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", b.sink, len(body)), body...)
		time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(perSecond))))
		sent[i] = time.Now()
		if _, err := conn.Write(request); err != nil {
			return nil, err
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return nil, err
		}
		_ = res.Body.Close()
		before := time.Now()
		_, err = f.WriteAt(body, int64(i%1000)*1024)
		if err := errors.Join(err, f.Sync()); err != nil {
			return nil, err
		}
		disk[i] = time.Since(before)
	}
	took, err := b.arrivals(first, sent)
	if err != nil {
		return nil, err
	}
	slices.Sort(disk)
	for i := range took {
		took[i] = 2*took[i] + disk[i] // by rank
	}
	return took, nil
}

// latency measures publish-to-arrival at moderate rates.
func (b *bench) latency(ctx context.Context) error {
	p, publish, err := b.platform(ctx, "latency", "http://"+b.sink+"/ok/0")
	if err != nil {
		return err
	}
	defer p.stop()
	if _, err := b.publishAt(publish, 200, 200); err != nil { // connections, caches
		return err
	}
	t := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', 0)
	for _, rate := range []int{50, 500} {
		floor, err := b.floor(rate, rate*b.seconds/2)
		if err != nil {
			return err
		}
		took, err := b.publishAt(publish, rate, rate*b.seconds)
		if err != nil {
			return err
		}
		fmt.Fprintf(t, "two bare requests and an fsync, %d/s\t%v\n", rate, floor)
		fmt.Fprintf(t, "publish to arrival at %d/s\t%v\tp50 is %.1f times that\n", rate, took, took.at(0.5).Seconds()/floor.at(0.5).Seconds())
	}
	return t.Flush()
}

// isolation measures a healthy endpoint beside one that hangs, with a backlog, and
// one that refuses connections.
func (b *bench) isolation(ctx context.Context) error {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	refuses := closed.Addr().String()
	_ = closed.Close()
	p, publish, err := b.platform(ctx, "isolation", "http://"+b.sink+"/ok/0", "http://"+b.sink+"/hang/0", "http://"+refuses+"/")
	if err != nil {
		return err
	}
	defer p.stop()
	const rate = 200
	if _, err := b.publishAt(publish, rate, rate); err != nil {
		return err
	}
	alone, err := b.publishAt(publish, rate, rate*b.seconds)
	if err != nil {
		return err
	}
	before, _ := p.memory()
	a := alone.at(0.99)
	fmt.Fprintf(b.out, "healthy endpoint alone, %d/s             p50 %v  p99 %v  %.0f MiB\n", rate, alone.at(0.5), a, before)
	start := time.Now()
	for _, carrier := range []int{2, 3} {
		if err := b.pile(ctx, publish, b.backlog, carrier); err != nil {
			return err
		}
	}
	fmt.Fprintf(b.out, "%d deliveries wait for one that hangs, and as many for one that refuses, published in %v\n", b.backlog, time.Since(start).Round(time.Second))
	for _, when := range []string{"at once", "a while later"} {
		beside, err := b.publishAt(publish, rate, rate*b.seconds)
		if err != nil {
			return err
		}
		after, peak := p.memory()
		z := beside.at(0.99)
		fmt.Fprintf(b.out, "healthy endpoint beside them, %-13s   p50 %v  p99 %v  %.0f MiB (at most %.0f)  ratio of the p99s %.2f\n", when, beside.at(0.5), z, after, peak, z.Seconds()/a.Seconds())
	}
	return nil
}

// pile publishes n events for one carrier.
func (b *bench) pile(ctx context.Context, url string, n, carrier int) error {
	number := b.take(1) // nobody asks when one of them arrived
	errs := make(chan error, b.publishers)
	for i := range b.publishers {
		go func() {
			r, w := io.Pipe()
			go func() {
				out := bufio.NewWriterSize(w, 200<<10)
				for range (n + i) / b.publishers {
					_, _ = out.Write(append(event(nil, number, carrier), '\n'))
				}
				_ = out.Flush()
				_ = w.Close()
			}()
			errs <- b.postStream(ctx, url, r)
		}()
	}
	var err error
	for range b.publishers {
		err = errors.Join(err, <-errs)
	}
	return err
}
