//go:build !unix

package outbound

import "net"

// pending cannot be told here. A connection that has ended is noticed when it is
// used.
func pending(net.Conn) bool { return false }
