// Package dnstest is a DNS server for tests.
//
// [Resolver] starts one on this machine and returns a resolver that asks it.
package dnstest

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// Resolver returns a resolver that asks a real DNS server on this machine. The
// server answers by the first label of the name: "missing" does not exist, "silent"
// is not answered at all, "broken" is answered with a server failure, and an
// address with dashes, as in 10-0-0-1, is that address. All else is 127.0.0.1.
func Resolver(t testing.TB) *net.Resolver {
	t.Helper()
	address := Server(t)
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", address)
	}}
}

// Server starts the server until the test ends, and returns its address. It can be
// asked over UDP and TCP.
func Server(t testing.TB) string {
	t.Helper()
	conn, l, err := listen()
	for range 20 {
		if err == nil {
			break
		}
		conn, l, err = listen()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	address := conn.LocalAddr().String()
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if packet := answer(buf[:n]); packet != nil {
				_, _ = conn.WriteTo(packet, from)
			}
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveTCP(c)
		}
	}()
	return address
}

// listen listens on a port over UDP and TCP. That the system gives away the port over
// UDP does not say that it is free over TCP.
func listen() (net.PacketConn, net.Listener, error) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	l, err := net.Listen("tcp", conn.LocalAddr().String())
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, l, nil
}

// serveTCP answers queries that come with their length before them.
func serveTCP(c net.Conn) {
	defer c.Close()
	for {
		var length [2]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(c, query); err != nil {
			return
		}
		if packet := answer(query); packet != nil {
			_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...))
		}
	}
}

func answer(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) == 0 {
		return nil
	}
	q := m.Questions[0]
	label, _, _ := strings.Cut(q.Name.String(), ".")
	m.Response, m.Additionals = true, nil
	switch label {
	case "silent":
		return nil
	case "missing":
		m.RCode = dnsmessage.RCodeNameError
	case "broken":
		m.RCode = dnsmessage.RCodeServerFailure
	default:
		if ip := addressOf(label); q.Type == dnsmessage.TypeA && ip.To4() != nil {
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: [4]byte(ip.To4())},
			}}
		} else if q.Type == dnsmessage.TypeAAAA && ip.To4() == nil {
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.AAAAResource{AAAA: [16]byte(ip)},
			}}
		}
	}
	packet, _ := m.Pack() // what was unpacked can be packed
	return packet
}

// addressOf reads an address out of a label: 10-0-0-1, or x64-ff9b--1 for an IPv6
// one.
func addressOf(label string) net.IP {
	if six, ok := strings.CutPrefix(label, "x"); ok {
		if ip := net.ParseIP(strings.ReplaceAll(six, "-", ":")); ip != nil {
			return ip
		}
	}
	if ip := net.ParseIP(strings.ReplaceAll(label, "-", ".")); ip != nil {
		return ip
	}
	return net.IPv4(127, 0, 0, 1)
}
