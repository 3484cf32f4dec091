package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

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
