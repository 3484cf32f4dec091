//go:build !race

package store

// reserveBytes is how long the write-ahead log is made at the start: as long as it
// will become.
const reserveBytes = checkpointBytes
