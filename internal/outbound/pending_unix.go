//go:build unix

package outbound

import (
	"net"
	"syscall"
)

// pending reports whether a connection that nobody uses has something to read: an
// answer that nobody asked for, or its end.
func pending(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false // a network in memory
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	there := true
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		there = err != syscall.EAGAIN
		return true
	})
	return err != nil || there
}
