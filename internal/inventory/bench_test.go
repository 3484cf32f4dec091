package inventory_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

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
