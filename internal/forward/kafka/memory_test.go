package kafka_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// memory is a network in memory, so that time can be faked around brokers and their
// client, which both wait a lot.
type memory struct {
	mu        sync.Mutex
	listeners map[string]*listener
}

func (m *memory) listen(_, address string) (net.Listener, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if port == "0" {
		port = fmt.Sprint(10_000 + len(m.listeners))
	}
	if m.listeners == nil {
		m.listeners = map[string]*listener{}
	}
	l := &listener{address: net.JoinHostPort(host, port), conns: make(chan net.Conn), closed: make(chan struct{})}
	m.listeners[l.address] = l
	return l, nil
}

func (m *memory) dial(ctx context.Context, network, address string) (net.Conn, error) {
	m.mu.Lock()
	l := m.listeners[address]
	m.mu.Unlock()
	refused := &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
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
	address string
	conns   chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return l }

func (l *listener) Network() string { return "memory" }
func (l *listener) String() string  { return l.address }
