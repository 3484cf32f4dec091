//go:build !race

package store

import "github.com/switchhook/switchhook/internal/sqlitefile"

// reserveBytes is how long the write-ahead log is made at the start: as long as it
// will become.
const reserveBytes = sqlitefile.CheckpointBytes
