package sample

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/canon"
	"github.com/switchhook/switchhook/internal/catalog"
)

var at = time.UnixMilli(1763758800123)

// canonical reports what is not as the platform sends it.
func canonical(t *testing.T, body []byte) {
	t.Helper()
	again, err := canon.Append(nil, body)
	if err != nil || string(again) != string(body) {
		t.Errorf("%.100s is not canonical: %v", body, err)
	}
}

func cnamType(t *testing.T) *catalog.Type {
	t.Helper()
	for _, x := range catalog.NumberManagement().Types {
		if x.Name == "number_management.peering_number_cnam_updated" {
			return x
		}
	}
	t.Fatal("there is no such type")
	return nil
}

// A sample is what its document shows, fits its schema, and occurs when it is made.
func TestBody(t *testing.T) {
	for _, x := range catalog.NumberManagement().Types {
		for _, s := range append(x.Samples, catalog.Sample{}) {
			body, err := Body(x, s.Name, at)
			if err != nil || !strings.Contains(string(body), `"event_ts":1763758800123`) || !strings.Contains(string(body), `"event":"`+x.Name+`"`) || len(x.Check(body)) > 0 {
				t.Errorf("%s %q: %s, %v, %v", x.Name, s.Name, body, x.Check(body), err)
			}
			canonical(t, body)
		}
	}
	x := *cnamType(t)
	if _, err := Body(&x, "nonsense", at); err == nil || !strings.Contains(err.Error(), "it has set, removed") {
		t.Error(err)
	}
	doc, err := catalog.Parse([]byte(`{"openapi":"3.1.0","info":{"title":"T","version":"1"},"webhooks":{"a.b":{"post":{"requestBody":{"content":{"application/json":{"schema":
		{"type":"object","properties":{"event":{"type":"string"},"event_ts":{"type":"integer"},"payload":{"type":"object","properties":{"n":{"type":"number"}},"required":["n"]}},"required":["event","event_ts","payload"]}}}}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if body, err := Body(doc.Types[0], "", at); err != nil || string(body) != `{"event":"a.b","event_ts":1763758800123,"payload":{"n":1}}` {
		t.Errorf("made: %s, %v", body, err)
	}
	x.Samples, x.Schema = nil, nil
	if _, err := Body(&x, "", at); err == nil || !strings.Contains(err.Error(), "has no sample") {
		t.Error(err)
	}
	bare := Bare(`a "name"`, at)
	if canonical(t, bare); string(bare) != `{"event":"a \"name\"","event_ts":1763758800123,"payload":{"object":{}}}` {
		t.Errorf("%s", bare)
	}
}

// Paths lead to members and items; what is there says whether a value is a text.
func TestSet(t *testing.T) {
	const body = `{"event":"e","payload":{"n":1,"s":"x","list":["a","b"],"none":null}}`
	for _, c := range []struct{ path, value, want string }{
		{"payload.s", "ACME", `{"event":"e","payload":{"n":1,"s":"ACME","list":["a","b"],"none":null}}`},
		{"payload.s", "123", `{"event":"e","payload":{"n":1,"s":"123","list":["a","b"],"none":null}}`},
		{"payload.s", "", `{"event":"e","payload":{"n":1,"s":"","list":["a","b"],"none":null}}`},
		{"payload.s", `a"é`, `{"event":"e","payload":{"n":1,"s":"a\"é","list":["a","b"],"none":null}}`},
		{"payload.n", "2.50", `{"event":"e","payload":{"n":2.5,"s":"x","list":["a","b"],"none":null}}`},
		{"payload.n", "two", `{"event":"e","payload":{"n":"two","s":"x","list":["a","b"],"none":null}}`},
		{"payload.n", `{"a":[1]}`, `{"event":"e","payload":{"n":{"a":[1]},"s":"x","list":["a","b"],"none":null}}`},
		{"payload.list.1", "B", `{"event":"e","payload":{"n":1,"s":"x","list":["a","B"],"none":null}}`},
		{"payload.list.2", "c", `{"event":"e","payload":{"n":1,"s":"x","list":["a","b","c"],"none":null}}`},
		{"payload.list", `["+1"]`, `{"event":"e","payload":{"n":1,"s":"x","list":["+1"],"none":null}}`},
		{"payload.none", "true", `{"event":"e","payload":{"n":1,"s":"x","list":["a","b"],"none":true}}`},
		{"a.b.c", "1", body[:len(body)-1] + `,"a":{"b":{"c":1}}}`},
		{"7", "1", `{"7":1,` + body[1:]},
	} {
		got, err := Set([]byte(body), c.path, c.value)
		if err != nil || string(got) != c.want {
			t.Errorf("%s=%s: %s, %v; want %s", c.path, c.value, got, err, c.want)
		}
		canonical(t, got)
	}
	for _, path := range []string{"", "payload.", "payload..x", "payload.s.x", "payload.list.3", "payload.list.x", "payload.list.-1", "event.x"} {
		if got, err := Set([]byte(body), path, "1"); err == nil {
			t.Errorf("%q: %s", path, got)
		}
	}
	for path, want := range map[string]string{
		"payload.s":      `{"event":"e","payload":{"n":1,"list":["a","b"],"none":null}}`,
		"payload.list.0": `{"event":"e","payload":{"n":1,"s":"x","list":["b"],"none":null}}`,
		"payload":        `{"event":"e"}`,
	} {
		if got, err := Unset([]byte(body), path); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", path, got, err)
		}
	}
	for _, path := range []string{"", "x", "payload.x", "payload.list.2", "payload.s.x"} {
		if got, err := Unset([]byte(body), path); err == nil {
			t.Errorf("%q: %s", path, got)
		}
	}
	for _, body := range []string{"", "[]", "null", "{", `{"a":1,"a":2}`} {
		if got, err := Set([]byte(body), "a", "1"); err == nil {
			t.Errorf("%q: %s", body, got)
		}
	}
}

// Odd forms are legal: the same event, canonical, with the same name and payload; and
// no two are the same.
func TestOdd(t *testing.T) {
	body, err := Body(cnamType(t), "", at)
	if err != nil {
		t.Fatal(err)
	}
	plain := members(t, body)
	seen := map[string]bool{string(body): true}
	for _, o := range Odd() {
		odd, err := o.Apply(body)
		if err != nil || seen[string(odd)] || o.Why == "" {
			t.Errorf("%s: %v", o.Name, err)
		}
		seen[string(odd)] = true
		canonical(t, odd)
		got := members(t, odd)
		delete(got, oddKey)
		if !reflect.DeepEqual(got, plain) {
			t.Errorf("%s: %v, want %v", o.Name, got, plain)
		}
	}
}

func members(t *testing.T, body []byte) (m map[string]any) {
	t.Helper()
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// An event can be made as large as the platform takes it.
func TestLarge(t *testing.T) {
	body := Bare("e", at)
	for _, letter := range []string{"x", "€"} {
		for _, size := range []int{200, 1 << 16, 1 << 20} {
			large, err := Large(body, size, letter)
			if err != nil || len(large) != size || !strings.Contains(string(large), letter) {
				t.Errorf("%d bytes, want %d of %s: %v", len(large), size, letter, err)
			}
			canonical(t, large)
		}
	}
	if same, err := Large(body, 10, "x"); err != nil || len(same) < len(body) {
		t.Errorf("%s, %v", same, err)
	}
}

// FuzzSet: what is made of a body is canonical, or there is none.
func FuzzSet(f *testing.F) {
	f.Add([]byte(`{"a":[{"b":1}]}`), "a.0.b", "x")
	f.Add([]byte(`{"":{}}`), ".", `{"x":1,"x":2}`)
	f.Add([]byte(`{"a":"\ud800"}`), "b", "\xff")
	f.Fuzz(func(t *testing.T, body []byte, path, value string) {
		for _, do := range []func() ([]byte, error){
			func() ([]byte, error) { return Set(body, path, value) },
			func() ([]byte, error) { return Unset(body, path) },
		} {
			if got, err := do(); err == nil {
				canonical(t, got)
			}
		}
	})
}
