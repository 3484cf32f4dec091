// Package memnet is a network in memory, for tests.
//
// Its connections are pipes between goroutines, so time can be faked around a real
// HTTP client and server, which a real socket would prevent.
package memnet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Net is a network. The zero value is one without hosts.
type Net struct {
	mu    sync.Mutex
	hosts map[string]*listener // by name, or by name and port
}

// listen makes where a listener, in place of who was there.
func (n *Net) listen(where string) *listener {
	l := &listener{at: addr(where), conns: make(chan net.Conn), closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts == nil {
		n.hosts = map[string]*listener{}
	}
	n.hosts[where] = l
	return l
}

// Listen listens on an address, a host with a port, for those who do not speak HTTP. It
// is for one caller at a time. Port 0 is one that nobody else has.
func (n *Net) Listen(_, address string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if port == "0" {
		n.mu.Lock()
		port = fmt.Sprint(10_000 + len(n.hosts))
		n.mu.Unlock()
	}
	return n.listen(net.JoinHostPort(host, port)), nil
}

// Handle serves h as host, on every port, until the test ends. A name that is in
// use is taken over.
func (n *Net) Handle(t testing.TB, host string, h http.Handler) {
	l := n.listen(host)
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // always ErrServerClosed
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
}

// Drop makes connections to host be refused.
func (n *Net) Drop(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.hosts, host)
}

// DialContext connects to an address that is listened on, or to a host that is served;
// any other refuses.
func (n *Net) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	l := cmp.Or(n.hosts[address], n.hosts[host])
	n.mu.Unlock()
	refused := &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%s: %w", host, syscall.ECONNREFUSED)}
	if l == nil {
		return nil, refused
	}
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, refused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type listener struct {
	at     addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

var errClosed = errors.New("memnet: listener closed")

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, errClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return l.at }

type addr string

func (addr) Network() string  { return "memnet" }
func (a addr) String() string { return string(a) }
