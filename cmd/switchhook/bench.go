package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

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
