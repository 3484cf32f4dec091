package gateway

import (
	"io"
	"net"
	"net/netip"
	"testing"
)

// When there are too many connections, one is closed that waits for its client, the
// one that has waited longest; never one that waits for this side.
func TestWhichConnectionIsClosed(t *testing.T) {
	c := &conns{most: 3, each: 100, exempt: func(netip.Addr) bool { return false }, metrics: newMetrics(nil)}
	closed := map[string]bool{}
	admit := func(name string) *conn {
		t.Helper()
		client, server := net.Pipe()
		go func() {
			_, _ = io.Copy(io.Discard, client)
		}()
		return c.admit(&watched{server, func() { closed[name] = true }})
	}
	expect := func(names ...string) {
		t.Helper()
		if len(closed) != len(names) {
			t.Errorf("closed are %v, want %v", closed, names)
		}
		for _, name := range names {
			if !closed[name] {
				t.Errorf("%s is not closed, of %v", name, closed)
			}
		}
	}
	a, b := admit("a"), admit("b")
	admit("c")
	a.arrived()
	expect()
	admit("d") // b has waited longest
	expect("b")
	a.answered() // which waits only from now on
	e := admit("e")
	expect("b", "c")
	e.arrived()
	e.arrived() // two requests at a time, as HTTP/2 has
	e.answered()
	admit("f")
	expect("b", "c", "d")
	a.arrived()
	g := admit("g")
	expect("b", "c", "d", "f")
	g.arrived()
	if h := admit("h"); h != nil {
		t.Error("one too many was admitted while all are served")
	}
	expect("b", "c", "d", "f")
	for range 2 { // twice is once
		_ = g.Close()
		_ = b.Close()
	}
	if i := admit("i"); i == nil || c.open != 3 {
		t.Errorf("%d are open", c.open)
	}
}

// watched tells when it is closed.
type watched struct {
	net.Conn
	closed func()
}

func (w *watched) Close() error {
	w.closed()
	return w.Conn.Close()
}
