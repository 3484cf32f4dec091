package canon_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/switchhook/switchhook/internal/canon"
)

// event is what a publisher sends: some 600 bytes as encoders in use print them,
// with white space, escapes and a last zero that canonical JSON has not.
const event = `{"event": "number_management.peering_number_cnam_updated", "event_ts": 1767225600123, ` +
	`"payload": {"account_id": "abNdSTvwTRq3BgyFLLBTkg", "object": {"id": "Xz3kQ9mBR2uQ", ` +
	`"carrier_code": 457, "number": "+12055550100", "cnam": "ACME Pl\u00fcsch GmbH", ` +
	`"previous_cnam": null, "rate": 12.50, "verified": true, "tags": ["peering", "cnam", "us-east"], ` +
	`"links": {"self": "https:\/\/api.example.com\/v2\/numbers\/12055550100"}, ` +
	`"site": {"id": "site-0042", "name": "Zürich – Hauptsitz", "country": "CH"}, ` +
	`"changed_by": "ops@example.com", "changed_at": "2026-01-01T00:00:00Z"}}}`

func BenchmarkAppend(b *testing.B) {
	megabyte := []byte("[" + strings.Repeat(event+",", 1<<20/len(event)) + event + "]")
	escapes := []byte(`"` + strings.Repeat(`line\r\n\t\"quoted\" \u00e9\ud83d\ude00 \/ \u001b[0m `, 200) + `"`)
	var keys bytes.Buffer
	for i := range 10_000 {
		fmt.Fprintf(&keys, `,"subscriber-%d":%d`, i*7919%10_000, i)
	}
	keys.WriteByte('}')
	keys.Bytes()[0] = '{'

	for _, c := range []struct {
		name string
		text []byte
	}{
		{"event", []byte(event)},
		{"megabyte", megabyte},
		{"escapes", escapes},
		{"keys", keys.Bytes()},
		{"numbers", []byte("[" + strings.Repeat("1,-20,12.50,0.1,1767225600123,3.141592653589793,1e-7,", 50) + "0]")},
		{"indexes", []byte(`[` + strings.Repeat(`{"b":[1,2],"2":"two","10":"ten","1":"one"},`, 100) + "0]")},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.text)))
			var dst []byte
			for b.Loop() {
				var err error
				if dst, err = canon.Append(dst[:0], c.text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
