package number

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"
)

// file is what a customer sends: every line sets name and address of another number.
func file(lines int) []byte {
	var b bytes.Buffer
	b.WriteString("phone_number,carrier_code,account_id,sip_trunk_name,status,number_type,allocated_product,billing_ref_id,service_info,cnam,country,address_line1,address_line2,city,zip,state_code\n")
	for i := range lines {
		fmt.Fprintf(&b, "+1%d%07d,2417,Xw3hT0aKQ7mVb9RzC1yPdA,west-1,true,Toll,ZOOM_PHONE,ref-%d,Inbound only,HARBOR BAKERY,US,\"%d Battery Street\",Floor %d,San Francisco,94111,CA\n",
			[]int{415, 212, 312, 206}[i/7_000_000%4], 2_000_000+i%7_000_000, i, i%2000, i%40)
	}
	return b.Bytes()
}

// Reading and checking, with nothing done about it.
func BenchmarkReader(b *testing.B) {
	const lines = 100_000
	text := file(lines)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := NewReader(bytes.NewReader(text))
		if err != nil {
			b.Fatal(err)
		}
		for n := 0; ; n++ {
			rec, err := r.Next()
			if err == io.EOF && n == lines {
				break
			}
			if err != nil || len(rec.Faults) > 0 {
				b.Fatal(n, rec, err)
			}
		}
	}
	b.ReportMetric(lines*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}

// What is read again after an interruption.
func BenchmarkResume(b *testing.B) {
	const lines = 100_000
	text := file(lines)
	r, err := NewReader(bytes.NewReader(text))
	for err == nil {
		_, err = r.Next()
	}
	for b.Loop() {
		again, err := NewReader(bytes.NewReader(text))
		if err != nil {
			b.Fatal(err)
		}
		if err := again.Resume(r.Position()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(lines*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}

func BenchmarkPhoneNumber(b *testing.B) {
	const number = "+14155550142"
	b.Run("compiled", func(b *testing.B) {
		for b.Loop() {
			lookup(number)
		}
	})
	b.Run("library", func(b *testing.B) {
		for b.Loop() {
			ask(number)
		}
	})
}

// The events of a thousand changes, each of its own: as bad as it gets.
func BenchmarkEvents(b *testing.B) {
	at := time.Now()
	var changed []Changed
	for i := range 1000 {
		n := Number{E164: fmt.Sprintf("+1415%07d", 2_000_000+i), Carrier: 2417, Account: "Xw3hT0aKQ7mVb9RzC1yPdA"}
		m := n
		m.CNAM = fmt.Sprintf("SHOP %d", i)
		m.Address = Address{"US", fmt.Sprintf("%d Battery Street", i), "", "San Francisco", "94111", "CA"}
		changed = append(changed, Changed{n, m})
	}
	b.ReportAllocs()
	for b.Loop() {
		if len(Events(changed, at)) != 2000 {
			b.Fatal("events are missing")
		}
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "changes/s")
}
