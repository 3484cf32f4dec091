package gateway

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// conns bounds the connections that are open. When there are too many, one is closed
// that waits for its client: for a request to begin, or to arrive whole. It is the
// one that has waited longest, so clients that are slow on purpose push each other
// out, and whoever sends his request comes through.
type conns struct {
	net.Listener
	most, each int
	exempt     func(netip.Addr) bool // proxies, which bring many clients
	metrics    *metrics

	mu      sync.Mutex
	open    int
	from    map[netip.Prefix]int
	waiting list.List // of *conn, the longest first
}

func (c *conns) Accept() (net.Conn, error) {
	for {
		inner, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if own := c.admit(inner); own != nil {
			return own, nil
		}
		c.metrics.closed.Inc()
		_ = inner.Close()
	}
}

// conn is a connection that is counted.
type conn struct {
	net.Conn
	all   *conns
	from  netip.Prefix // zero: it is not counted by address
	busy  int          // requests that have arrived and are not answered
	place *list.Element
	gone  bool
}

func (c *conns) admit(inner net.Conn) *conn {
	own := &conn{Conn: inner, all: c, from: c.addressOf(inner)}
	c.mu.Lock()
	if c.from == nil {
		c.from = map[netip.Prefix]int{}
	}
	if own.from.IsValid() && c.from[own.from] >= c.each {
		c.mu.Unlock()
		return nil
	}
	var victim *conn
	if c.open >= c.most {
		first := c.waiting.Front()
		if first == nil {
			c.mu.Unlock()
			return nil
		}
		victim = first.Value.(*conn)
		c.remove(victim)
	}
	c.open++
	if own.from.IsValid() {
		c.from[own.from]++
	}
	own.place = c.waiting.PushBack(own)
	c.mu.Unlock()
	c.metrics.open.Inc()
	if victim != nil {
		c.metrics.closed.Inc()
		c.metrics.open.Dec()
		_ = victim.Conn.Close()
	}
	return own
}

// addressOf returns what is counted as one address: of IPv6 what a customer is given.
func (c *conns) addressOf(inner net.Conn) netip.Prefix {
	at, err := netip.ParseAddrPort(inner.RemoteAddr().String())
	if err != nil {
		return netip.Prefix{}
	}
	addr := at.Addr().Unmap().WithZone("")
	if addr.IsLoopback() || c.exempt(addr) {
		return netip.Prefix{}
	}
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // it has so many
	return p
}

// remove forgets a connection; c.mu is held.
func (c *conns) remove(own *conn) (was bool) {
	if own.gone {
		return false
	}
	own.gone = true
	c.open--
	if own.from.IsValid() {
		if c.from[own.from]--; c.from[own.from] == 0 {
			delete(c.from, own.from)
		}
	}
	if own.place != nil {
		c.waiting.Remove(own.place)
		own.place = nil
	}
	return true
}

func (own *conn) Close() error {
	own.all.mu.Lock()
	was := own.all.remove(own)
	own.all.mu.Unlock()
	if was {
		own.all.metrics.open.Dec()
	}
	return own.Conn.Close()
}

// arrived notes that a request has arrived whole: from now on the client waits.
func (own *conn) arrived() {
	own.all.mu.Lock()
	defer own.all.mu.Unlock()
	if own.busy++; own.place != nil {
		own.all.waiting.Remove(own.place)
		own.place = nil
	}
}

// answered notes the end of a request that had arrived.
func (own *conn) answered() {
	own.all.mu.Lock()
	defer own.all.mu.Unlock()
	if own.busy--; own.busy == 0 && !own.gone {
		own.place = own.all.waiting.PushBack(own)
	}
}

type connKey struct{}

// withConn lets requests know their connection.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if own, ok := c.(*conn); ok {
		return context.WithValue(ctx, connKey{}, own)
	}
	return ctx
}

// read notes that a request has arrived whole. It is answered when done is called.
func read(r *http.Request) (done func()) {
	own, ok := r.Context().Value(connKey{}).(*conn)
	if !ok {
		return func() {}
	}
	own.arrived()
	return own.answered
}
