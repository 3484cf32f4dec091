//go:build race

package store

// With the race detector each byte that SQLite touches costs a hundred times as much,
// and what is reserved only saves time.
const reserveBytes = 64 << 10
