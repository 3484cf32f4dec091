package outbound

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// conn is a connection to an endpoint. One attempt at a time uses it.
type conn struct {
	net.Conn
	raw   net.Conn // below, where that is TLS
	host  string   // where it goes: scheme, host and port
	in    *bufio.Reader
	out   []byte    // room for a request
	left  int       // bytes that may still be read
	end   error     // what ended reading, if anything has
	kept  bool      // it has served an attempt before
	since time.Time // when it became idle
}

var errAnswerTooLong = errors.New("the headers of the answer are too long")

// Read reads no more than is allowed. It remembers what ended it: who parses half a
// line reports what is wrong with the line, and not why there is no more of it.
func (c *conn) Read(p []byte) (n int, err error) {
	if c.left <= 0 {
		err = errAnswerTooLong
	} else {
		n, err = c.Conn.Read(p[:min(len(p), c.left)])
		c.left -= n
	}
	if err != nil && c.end == nil {
		c.end = err
	}
	return n, err
}

// Close ends the connection at once. TLS would say goodbye first, and wait up to
// five seconds for an endpoint that does not read.
func (c *conn) Close() error { return c.raw.Close() }

// pool keeps connections for the next attempts. The last one used is taken first,
// so that those which a burst made are given up again.
type pool struct {
	mu    sync.Mutex
	hosts map[string][]*conn
	timer *time.Timer // set while there are any
}

// take returns a kept connection to a host, or nil. One that was idle for a while
// is looked at first: what a server says into the silence, such as that it does
// not wait any longer, must not be taken for the answer to the next request.
func (p *pool) take(host string) *conn {
	for {
		c := p.pop(host)
		if c == nil || time.Since(c.since) < lookAfter || !c.spoken() {
			return c
		}
		_ = c.Close()
	}
}

// lookAfter is how long a connection is idle before it is looked at. Servers wait
// for much longer.
const lookAfter = 500 * time.Millisecond

// spoken reports whether the other side has said or ended something on an idle
// connection.
func (c *conn) spoken() bool {
	if !pending(c.raw.(*slotConn).Conn) {
		return false
	}
	if _, encrypted := c.Conn.(*tls.Conn); !encrypted {
		return true
	}
	// It may be part of the protocol, such as a ticket for the next session.
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	c.left = 1
	_, err := c.in.Peek(1)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

func (p *pool) pop(host string) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.hosts[host]
	if len(list) == 0 {
		return nil
	}
	c := list[len(list)-1]
	list[len(list)-1] = nil
	p.set(host, list[:len(list)-1])
	return c
}

func (p *pool) set(host string, list []*conn) {
	if len(list) == 0 {
		delete(p.hosts, host)
	} else {
		p.hosts[host] = list
	}
}

// keep keeps a connection for a while.
func (p *pool) keep(c *conn) {
	c.kept, c.since = true, time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hosts[c.host] = append(p.hosts[c.host], c)
	if p.timer == nil {
		p.timer = time.AfterFunc(idleTimeout, func() { p.closeIdle(idleTimeout) })
	}
}

// closeIdle closes the connections that have been idle for a time.
func (p *pool) closeIdle(since time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for host, list := range p.hosts {
		i := slices.IndexFunc(list, func(c *conn) bool { return now.Sub(c.since) < since }) // the rest is younger
		if i < 0 {
			i = len(list)
		}
		for _, c := range list[:i] {
			_ = c.Close()
		}
		p.set(host, slices.Delete(list, 0, i))
	}
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	if len(p.hosts) > 0 {
		p.timer = time.AfterFunc(idleTimeout/2, func() { p.closeIdle(idleTimeout) })
	}
}

// drop closes all kept connections to a host.
func (p *pool) drop(host string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.hosts[host] {
		_ = c.Close()
	}
	delete(p.hosts, host)
}

// errNoSlot says that as many connections are open as may be.
var errNoSlot = errors.New("no connection slot became free in time")

// slotted bounds the connections that dial has open.
func (c *Client) slotted(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		select {
		case c.slots <- struct{}{}:
		default:
			if err := c.waitForSlot(ctx); err != nil {
				return nil, err
			}
		}
		conn, err := dial(ctx, network, address)
		if err != nil {
			<-c.slots
			return nil, err
		}
		return &slotConn{Conn: conn, slots: c.slots}, nil
	}
}

func (c *Client) waitForSlot(ctx context.Context) error {
	c.pool.closeIdle(0) // an idle one serves nobody as well as one in use
	c.tokenTransport.CloseIdleConnections()
	t := time.NewTimer(slotTimeout)
	defer t.Stop()
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-t.C:
		return errNoSlot
	case <-ctx.Done():
		return ctx.Err()
	}
}

// slotConn gives its slot back when it is closed.
type slotConn struct {
	net.Conn
	slots chan struct{}
	once  sync.Once
}

func (c *slotConn) Close() error {
	c.once.Do(func() { <-c.slots })
	return c.Conn.Close()
}

// connect makes a connection for an endpoint. It notes in phases how far it got.
func (c *Client) connect(ctx context.Context, e *Endpoint, ph *phases) (*conn, error) {
	// Some of these hooks may still be called when the dialler has returned.
	var dns, connected atomic.Int64
	since := func(at *atomic.Int64) { at.Store(int64(max(1, time.Since(ph.started)))) } // zero would mean: not yet
	raw, err := c.dial(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSDone: func(httptrace.DNSDoneInfo) { since(&dns) },
		ConnectDone: func(_, _ string, err error) {
			if err == nil {
				since(&connected)
			}
		},
	}), "tcp", e.address)
	ph.dns, ph.connected = time.Duration(dns.Load()), time.Duration(connected.Load())
	if err != nil {
		return nil, err
	}
	if ph.connected == 0 {
		ph.connected = max(1, time.Since(ph.started))
	}
	made := &conn{Conn: raw, raw: raw, host: e.host}
	made.in = bufio.NewReader(made)
	if e.url.Scheme == "https" {
		config := c.tls.Clone()
		config.ServerName = e.url.Hostname()
		secured := tls.Client(raw, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, err
		}
		ph.tls = max(1, time.Since(ph.started))
		made.Conn = secured
	}
	return made, nil
}
