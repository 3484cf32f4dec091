package api

import (
	"encoding/json"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/store"
)

// FuzzPublish: whatever is published, and however, the answer is one that the
// contract knows, and says of exactly the events that were stored that they were
// accepted.
func FuzzPublish(f *testing.F) {
	media := []string{"application/json", "application/x-ndjson", "text/plain", ""}
	one, other := cnam("ACME"), cnam("Bäckerei \u2028")
	keyed := strings.Replace(one, "{", `{"$routing":{"idempotency_key":"k"},`, 1)
	for _, body := range []string{
		"", " \r\n", one, "\n" + one + " ", one + other, one + "\n" + other + "\n", one + "\r\n\r\n" + other,
		"[" + one + "," + other + "]", "[]", "[" + one, "[" + one + ",]", "[[" + one + "]]", "[" + one + "]\n[" + one + "]", "[1,null," + one + `,"x"]`,
		keyed, strings.Replace(keyed, "ACME", "X", 1), keyed + "\n" + keyed, "[" + keyed + "," + strings.Replace(keyed, "ACME", "Y", 1) + "]",
		unknownEvent, `{"event":1}`, `{"event":"` + cnamEvent + `","event_ts":1e400,"payload":{}}`, one[:40], "\xff\xfe", "\ufeff" + one, "null", `"x"`, "{",
		strings.Repeat("[", 20_000), `{"$routing":{"account_id":"a","user_ids":[1]}}`, `{"a":1,"a":2}`,
	} {
		for i := range media {
			f.Add(byte(i), "", body)
		}
		f.Add(byte(0), "key", body)
		f.Add(byte(1), "key", body)
	}
	f.Add(byte(1), "", one+"\n"+strings.Repeat(" ", intake.MaxEvent+100_000)+one+"\n"+one)
	g := &gate{}
	p := newPlatform(f, options{idle: true, store: func(db *store.DB) intake.Store {
		g.Store = db
		return g
	}})
	f.Fuzz(func(t *testing.T, kind byte, key, body string) {
		before := g.stored.Load()
		r := httptest.NewRequest("POST", "/v2/events", strings.NewReader(body))
		r.Header.Set("Content-Type", media[int(kind)%len(media)])
		r.Header.Set("Idempotency-Key", key)
		with(allKey)(r)
		w := httptest.NewRecorder()
		p.handler.ServeHTTP(w, r)

		a := reply{status: w.Code, header: w.Header(), body: w.Body.String()}
		if !slices.Contains([]int{202, 400, 409, 413}, a.status) {
			t.Fatalf("status %d: %s", a.status, a.body)
		}
		var items []item
		switch a.header.Get("Content-Type") {
		case "application/x-ndjson":
			var end batch
			items, end = lines(t, a)
			if a.status != 202 || end.Accepted+end.Failed != len(items) {
				t.Errorf("status %d for %d lines and %+v", a.status, len(items), end)
			}
		case "application/json; charset=utf-8":
			var b batch
			if err := json.Unmarshal([]byte(a.body), &b); err != nil {
				t.Fatalf("answer %q: %v", a.body, err)
			}
			if items = b.Items; items == nil {
				items = []item{read[item](t, a)}
			} else if b.Accepted+b.Failed != len(items) {
				t.Errorf("%d accepted and %d failed of %d", b.Accepted, b.Failed, len(items))
			}
		default:
			t.Fatalf("content-type %q", a.header.Get("Content-Type"))
		}
		accepted, stored := 0, int64(0)
		for _, it := range items {
			switch {
			case it.Event == "" && (it.Code < 300 || it.Code >= 500 || it.Message == ""), it.Event != "" && it.Code != 0:
				t.Errorf("neither accepted nor refused: %+v", it)
			case it.Event != "":
				accepted++
				if !it.Duplicate {
					stored++
				}
			}
		}
		if n := g.stored.Load() - before; n != stored {
			t.Errorf("%d events were stored, and %d are said to be: %s", n, stored, a.body)
		}
		if a.header.Get("Content-Type") != "application/x-ndjson" && (accepted > 0) != (a.status == 202) {
			t.Errorf("status %d with %d accepted", a.status, accepted)
		}
	})
}
