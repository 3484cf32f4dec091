// Package freeport finds ports for tests that cannot leave the choice to the system,
// because they tell a program its port, or listen on one again.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// Systems give ports of their own choice from 32768 (Linux) or 49152 (RFC 6335) on. Below
// that a port that is free remains so, until somebody asks for just that one.
const first, last = 20_000, 32_000

// Take returns n ports of 127.0.0.1 on which nobody listens.
func Take(n int) ([]int, error) {
	var ports []int
	var err error
	for range 100 {
		if len(ports) == n {
			return ports, nil
		}
		port := first + rand.IntN(last-first)
		l, listening := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if listening != nil {
			err = listening
			continue
		}
		defer func() { _ = l.Close() }() // not before, so that they differ
		ports = append(ports, port)
	}
	return nil, fmt.Errorf("no free ports: %w", err)
}
