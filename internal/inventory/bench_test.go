package inventory_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/inventory"
	"github.com/switchhook/switchhook/internal/number"
)

// lines returns lines of a file, each with a number, a name and an address of its own.
func lines(from, n int) []*number.Record {
	all := make([]*number.Record, n)
	for i := range all {
		c := number.Change{
			SIPTrunkName: new("west-1"), Status: new(true), BillingRefID: new(fmt.Sprint("ref-", from+i)), ServiceInfo: new("Inbound only"),
			AllocatedProduct: new(number.Phone), NumberType: new(number.Toll),
			CNAM: new("HARBOR BAKERY"), Address: new(address(fmt.Sprintf("%d Battery Street", (from+i)/37))),
		}
		all[i] = record(fmt.Sprintf("+1415%07d", 2_000_000+from+i), 1, "a", c)
		all[i].Line = from + i + 2
	}
	return all
}

// Numbers into the store, without the reading of a file.
func BenchmarkImport(b *testing.B) {
	const count, at = 100_000, 2000
	for _, bench := range []struct {
		name   string
		random bool
	}{{"sorted", false}, {"random", true}} {
		b.Run(bench.name, func(b *testing.B) {
			records := lines(0, count)
			if bench.random {
				rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
			}
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				w := newWorld(b)
				b.StartTimer()
				for i := 0; i < count; i += at {
					im, err := w.inv.Import(by, records[i:i+at])
					if err != nil || im.Changed != at {
						b.Fatal(im, err)
					}
				}
			}
			b.ReportMetric(count*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}

// A million numbers in one go, in bounded memory. It takes minutes, so it is for whoever
// asks: SWITCHHOOK_MILLION=1 go test -run Million -v ./internal/inventory
func TestMillion(t *testing.T) {
	if os.Getenv("SWITCHHOOK_MILLION") == "" {
		t.Skip("SWITCHHOOK_MILLION is not set")
	}
	const count, at = 1_000_000, 1000
	w := newWorld(t)
	start := time.Now()
	for i := 0; i < count; i += at {
		im, err := w.inv.Import(by, lines(i, at))
		if err != nil || im.Changed != at {
			t.Fatal(im, err)
		}
	}
	t.Logf("%.0f lines/s, peak of resident memory %s", count/time.Since(start).Seconds(), peak(t))
	start = time.Now()
	p, err := w.inv.SetAll(t.Context(), by, inventory.Filter{Carrier: 1}, number.Change{CNAM: new("NEW NAME")}, nil)
	if err != nil || p.Changed != count {
		t.Fatal(p, err)
	}
	t.Logf("%.0f numbers/s changed by filter, peak of resident memory %s", count/time.Since(start).Seconds(), peak(t))
}

// peak returns the most memory that the process ever had, as Linux says it.
func peak(t *testing.T) string {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	must(t, err)
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
