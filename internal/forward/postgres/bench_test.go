package postgres_test

import (
	"fmt"
	"testing"

	"github.com/switchhook/switchhook/internal/forward"
	"github.com/switchhook/switchhook/internal/forward/postgres"
	"github.com/switchhook/switchhook/internal/pgtest"
	nm "github.com/switchhook/switchhook/webhook/numbermanagement"
)

// BenchmarkTake writes events of 600 bytes about four numbers each, of a million there
// are, in batches as the inbox has them.
func BenchmarkTake(b *testing.B) {
	server := pgtest.Start(b, "fsync=on", "shared_buffers=256MB", "max_wal_size=4GB")
	for name, tables := range map[string]postgres.Tables{"events": {Events: "e1"}, "numbers": {Numbers: "n2"}, "both": {Events: "e3", Numbers: "n3"}} {
		b.Run(name, func(b *testing.B) {
			target := open(b, postgres.Config{URL: server.URL(), Tables: tables})
			id := int64(0)
			for b.Loop() {
				var batch []*forward.Message
				for range 256 {
					id++
					var numbers []string
					for i := range int64(4) {
						numbers = append(numbers, fmt.Sprintf("+1415%07d", (id*7919+i*104729)%1_000_000))
					}
					batch = append(batch, address(id, id, &nm.EmergencyAddress{Country: "US", Line1: "1 Main St", City: "Springfield", ZIP: "62701", StateCode: "IL",
						Line2: fmt.Sprintf("%0250d", id)}, numbers...))
				}
				give(b, target, batch...)
			}
			b.ReportMetric(float64(id)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
