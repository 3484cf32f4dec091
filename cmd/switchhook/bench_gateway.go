package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/webhook"
)

// newBenchReceiver is what a gateway is measured against: it verifies and stores
// nothing.
func newBenchReceiver() *cobra.Command {
	return &cobra.Command{
		Use:    "bench-receiver",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := webhook.New(webhook.Config{Secrets: []string{benchSecret}})
			if err != nil {
				return err
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "http://"+l.Addr().String())
			s := &http.Server{Handler: r.Handler(func(context.Context, *webhook.Event) error { return nil }), ReadHeaderTimeout: 10 * time.Second}
			go func() {
				<-cmd.Context().Done()
				_ = s.Close()
			}()
			if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		},
	}
}

// The bench sends to a gateway over this many connections, and paced at a rate that is
// half of what it is to do at least.
const (
	gatewayConnections = 64
	gatewayRate        = 7500
)

// gateway measures how fast webhooks are answered that are on the disk by then,
// beside a receiver that only verifies them.
func (b *bench) gateway(ctx context.Context) error {
	bare, err := b.start(ctx, "bench-receiver")
	if err != nil {
		return err
	}
	defer bare.stop()
	secret := filepath.Join(b.dir, "gateway-secret")
	if err := os.WriteFile(secret, []byte(benchSecret), 0o600); err != nil {
		return err
	}
	gateway := func(name string, args ...string) (*process, error) {
		return b.start(ctx, append([]string{
			"receive", "--ready", "--listen", "127.0.0.1:0", "--log-level", "error", "--secret-file", secret, "--inbox", filepath.Join(b.dir, name+".db"),
		}, args...)...)
	}
	only, err := gateway("inbox")
	if err != nil {
		return err
	}
	defer only.stop()

	t := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', 0)
	measure := func(what string, p *process, against float64) (float64, error) {
		cpu := p.cpu()
		start := time.Now()
		took, err := b.deliver(ctx, p.line, b.events, 0)
		if err != nil {
			return 0, err
		}
		rate := float64(b.events) / time.Since(start).Seconds()
		ratio := ""
		if against > 0 {
			ratio = fmt.Sprintf("ratio %.2f", rate/against)
		}
		fmt.Fprintf(t, "%s\t%.0f/s\t%v\t%.1f us CPU each\t%s\n", what, rate, took, (p.cpu()-cpu).Seconds()*1e6/float64(b.events), ratio)
		return rate, nil
	}
	for _, p := range []*process{bare, only} { // connections, caches
		if _, err := b.deliver(ctx, p.line, 5000, 0); err != nil {
			return err
		}
	}
	floor, err := measure("verified and not stored", bare, 0)
	if err != nil {
		return err
	}
	if _, err := measure("gateway, stored with fsync", only, floor); err != nil {
		return err
	}
	forwarding, err := gateway("forwarding", "--forward-to", "file:"+filepath.Join(b.dir, "events.ndjson"))
	if err != nil {
		return err
	}
	defer forwarding.stop()
	if _, err := measure("the same, and forwarded to a file", forwarding, floor); err != nil {
		return err
	}
	for _, m := range []struct {
		what string
		p    *process
	}{{"verified and not stored", bare}, {"gateway, stored with fsync", only}, {"the same, and forwarded to a file", forwarding}} {
		took, err := b.deliver(ctx, m.p.line, gatewayRate*b.seconds, gatewayRate)
		if err != nil {
			return err
		}
		fmt.Fprintf(t, "%s, at %d/s\t\t%v\t\t\n", m.what, gatewayRate, took)
	}
	return t.Flush()
}

// deliver sends n events, at a rate or as fast as it goes, and returns how long each
// answer took.
func (b *bench) deliver(ctx context.Context, url string, n, perSecond int) (latencies, error) {
	first := b.take(n)
	took := make(latencies, n)
	var next, putOff atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, gatewayConnections)
	start := time.Now()
	for range gatewayConnections {
		wg.Go(func() {
			errs <- func() error {
				s, err := dialGateway(ctx, url)
				if err != nil {
					return err
				}
				defer s.conn.Close()
				for {
					i := int(next.Add(1)) - 1
					if i >= n {
						return nil
					}
					if perSecond > 0 {
						time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(perSecond))))
					}
					request := s.request(first + i)
					sent := time.Now()
					status, err := s.exchange(request)
					if err != nil {
						return err
					}
					took[i] = time.Since(sent)
					switch status {
					case http.StatusNoContent:
					case http.StatusServiceUnavailable: // the machine is busy with something else
						putOff.Add(1)
					default:
						return fmt.Errorf("answered with %d", status)
					}
				}
			}()
		})
	}
	wg.Wait()
	for range gatewayConnections {
		if err := <-errs; err != nil {
			return nil, err
		}
	}
	if k := putOff.Load(); k > 0 {
		fmt.Fprintf(b.out, "%d of %d were put off with 503\n", k, n)
	}
	slices.Sort(took)
	return took, nil
}

// gatewaySender sends signed events over one connection. It is as plain as can be,
// because it runs on the same machine: events differ in some digits of a template.
type gatewaySender struct {
	conn   net.Conn
	in     *bufio.Reader
	signer *webhook.Signer
	head   string // up to what differs
	body   []byte
	digits int // where the event's number is in the body
	at     int // and where its event_ts
	buf    []byte
}

func dialGateway(ctx context.Context, url string) (*gatewaySender, error) {
	signer, err := webhook.NewSigner(benchSecret)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", url[len("http://"):])
	if err != nil {
		return nil, err
	}
	s := &gatewaySender{conn: conn, in: bufio.NewReader(conn), signer: signer, body: event(nil, 0, 1)}
	s.digits = bytes.Index(s.body, numberMark) + len(numberMark) + 1
	s.at = bytes.Index(s.body, []byte(`"event_ts":`)) + len(`"event_ts":`)
	s.head = "POST /webhooks HTTP/1.1\r\nHost: gateway\r\nContent-Type: " + webhook.ContentType + "\r\nAccept-Encoding: gzip\r\n" +
		"User-Agent: " + userAgent() + "\r\nClientid: AAAAAAAAAAAAAAAAAAAAAA\r\nX-Zm-Trackingid: v=2.0;clid=us;rid=WEB_00000000000000000000000000000000\r\n" +
		"Traceparent: 00-00000000000000000000000000000000-0000000000000001-01\r\nContent-Length: " + strconv.Itoa(len(s.body)) + "\r\n"
	return s, nil
}

// request returns event number n as the platform sends it.
func (s *gatewaySender) request(n int) []byte {
	now := time.Now()
	digits := s.body[s.digits:][:10]
	writeDigits(digits, int64(n))
	writeDigits(s.body[s.at:][:13], now.UnixMilli()) // the inbox finds duplicates by it
	timestamp, signature := s.signer.Sign(now, s.body)
	s.buf = append(s.buf[:0], s.head...)
	s.buf = append(append(s.buf, "X-Zm-Request-Timestamp: "...), timestamp...)
	s.buf = append(append(s.buf, "\r\nX-Zm-Signature: "...), signature...)
	s.buf = append(append(s.buf, "\r\nX-Zm-Request-Id: 00000000_0000_0000_0000_00"...), digits...)
	s.buf = append(append(s.buf, "\r\n\r\n"...), s.body...)
	return s.buf
}

// writeDigits writes n over dst, with zeros before it.
func writeDigits(dst []byte, n int64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
}

// exchange sends a request and returns the status of its answer, which has no body.
func (s *gatewaySender) exchange(request []byte) (status int, err error) {
	if _, err := s.conn.Write(request); err != nil {
		return 0, err
	}
	for first := true; ; first = false {
		line, err := s.in.ReadSlice('\n')
		switch {
		case err != nil:
			return 0, err
		case first:
			if len(line) < len("HTTP/1.1 204") {
				return 0, fmt.Errorf("answered with %q", line)
			}
			if status, err = strconv.Atoi(string(line[len("HTTP/1.1 "):][:3])); err != nil {
				return 0, fmt.Errorf("answered with %q", line)
			}
		case len(line) <= len("\r\n"):
			return status, nil
		}
	}
}
