package inbox_test

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/inbox"
)

// What 64 senders at a time get stored, each waiting for the disk.
func BenchmarkAdd(b *testing.B) {
	in, err := inbox.Open(b.Context(), inbox.Options{File: filepath.Join(b.TempDir(), "inbox.db"), Serve: true})
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	pad := strings.Repeat("x", 500)
	var n atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			now := time.Now()
			body := fmt.Appendf(nil, `{"event":"a.b","event_ts":%d,"payload":{"n":%d,"pad":"%s"}}`, now.UnixMilli(), n.Add(1), pad)
			hash := sha256.Sum256(body)
			replay := sha256.Sum256(hash[:])
			e := &inbox.Event{
				Source: "zoom", Received: now, Name: "number_management.peering_number_cnam_updated", Time: now, RequestID: fmt.Sprintf("%x", replay[:18]),
				BodyHash: hash[:], Replay: replay[:], Body: body,
				Headers: inbox.Headers{{"Content-Type", "application/json; charset=utf-8"}, {"X-Zm-Signature", "v0=" + fmt.Sprintf("%x", hash)}, {"X-Zm-Request-Timestamp", "1763758800"},
					{"X-Zm-Trackingid", "v=2.0;clid=us;rid=WEB_00000000000000000000000000000000"}},
			}
			if _, err := in.Add(b.Context(), e); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
