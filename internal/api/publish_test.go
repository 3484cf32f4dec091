package api

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/store"
)

// gate stands before a store. It counts what is stored, and can be shut.
type gate struct {
	intake.Store
	shut   atomic.Bool
	stored atomic.Int64
}

func (g *gate) Publish(pubs []*intake.Publication) error {
	if g.shut.Load() {
		return &hook.Error{Kind: hook.Unavailable, Subject: "the store cannot take it now", Detail: "disk full"}
	}
	err := g.Store.Publish(pubs)
	for _, p := range pubs {
		if err == nil && p.Err == nil && p.Earlier == 0 {
			g.stored.Add(1)
		}
	}
	return err
}

// newGated returns a platform without subscriptions, and the gate to its store.
func newGated(t testing.TB) (*platform, *gate) {
	t.Helper()
	g := &gate{}
	return newPlatform(t, options{idle: true, store: func(db *store.DB) intake.Store {
		g.Store = db
		return g
	}}), g
}

// item is what a producer is answered for one event of several.
type item struct {
	Accepted
	Index   *int        `json:"index"`
	Line    int         `json:"line"`
	Code    int         `json:"code"`
	Message string      `json:"message"`
	Errors  hook.Faults `json:"errors"`
}

// batch is the answer to an array.
type batch struct {
	Accepted int    `json:"accepted"`
	Failed   int    `json:"failed"`
	Items    []item `json:"items"`
}

// lines reads the answer to a stream: a line for each event, and the last one.
func lines(t testing.TB, r reply) (items []item, end batch) {
	t.Helper()
	text := strings.Split(strings.TrimSuffix(r.body, "\n"), "\n")
	for i, line := range text {
		var it item
		var into any = &it
		if i == len(text)-1 {
			into = &end
		}
		if err := json.Unmarshal([]byte(line), into); err != nil {
			t.Fatalf("line %d of the answer is %q: %v", i+1, line, err)
		}
		if i < len(text)-1 {
			items = append(items, it)
		}
	}
	return items, end
}

const unknownEvent = `{"event":"no.such","payload":{"account_id":"customer"}}`

// An event of n bytes.
func sized(n int) string {
	event := cnam("")
	return strings.Replace(event, `"cnam":""`, `"cnam":"`+strings.Repeat("x", n-len(event))+`"`, 1)
}

// One event is answered with its id; the same bytes come out that canonical JSON
// makes of what went in.
func TestPublishOne(t *testing.T) {
	p, g := newGated(t)
	a := p.publish("\n\t " + cnam("ACME"))
	e := get[Event](p, operator+"/events/"+a.Event)
	if e.Account != "customer" || e.Event != cnamEvent || len(e.Deliveries) != 0 || !strings.Contains(string(e.Body), `"cnam":"ACME"`) {
		t.Errorf("event: %+v", e)
	}
	// The type of the content does not matter, as long as it is not a stream's.
	for _, media := range []string{"", "text/plain", "application/json; charset=latin-1", "application/x-www-form-urlencoded", "%"} {
		p.want(202, "POST", "/v2/events", cnam("ACME"), header("Content-Type", media))
	}
	p.want(202, "POST", "/v2/events", sized(intake.MaxEvent-len(`,"event_ts":1768204800117`)))
	if n := g.stored.Load(); n != 7 {
		t.Errorf("%d events were stored", n)
	}
}

// What cannot be accepted says why, and leaves nothing behind.
func TestPublishRefused(t *testing.T) {
	p, g := newGated(t)
	tests := map[string]struct {
		body   string
		status int
		says   string
	}{
		"empty":             {"", 400, "the body is empty"},
		"white space":       {" \r\n\t", 400, "the body is empty"},
		"not JSON":          {"event=x", 400, ""},
		"cut off":           {cnam("x")[:50], 400, ""},
		"text after it":     {cnam("x") + "x", 400, ""},
		"two events":        {cnam("x") + cnam("y"), 400, ""},
		"not an object":     {`"event"`, 400, "is not a JSON object"},
		"unknown type":      {unknownEvent, 400, `\"no.such\" is not in the catalog`},
		"too large":         {sized(intake.MaxEvent + 1), 413, "event: has more than 1048576 bytes"},
		"empty array":       {"[ ]", 400, "the array is empty"},
		"open array":        {"[" + cnam("x"), 400, "nothing of it was accepted"},
		"comma at the end":  {"[" + cnam("x") + ",]", 400, "nothing of it was accepted"},
		"no comma":          {"[" + cnam("x") + cnam("y") + "]", 400, "nothing of it was accepted"},
		"closed by a brace": {"[" + cnam("x") + "}", 400, "nothing of it was accepted"},
		"bad item":          {"[" + cnam("x") + ",{]", 400, "nothing of it was accepted"},
		"text after array":  {"[" + cnam("x") + "]]", 400, "nothing of it was accepted"},
		"array after array": {"[" + cnam("x") + "][" + cnam("y") + "]", 400, "nothing of it was accepted"},
		"array too large":   {"[" + cnam("x") + "," + strings.Repeat(" ", maxBatch) + "]", 413, "application/x-ndjson"},
		"too many items":    {"[1" + strings.Repeat(",1", maxItems) + "]", 413, "application/x-ndjson"},
		"a large item":      {"[" + sized(intake.MaxEvent+1) + "]", 400, `"index":0,"code":413`},
		"only faulty items": {"[1," + unknownEvent + "]", 400, `"accepted":0,"failed":2`},
	}
	if a := p.call("POST", "/v2/events", cnam("x"), header("Idempotency-Key", strings.Repeat("k", intake.MaxKey+1))); a.status != 400 || !strings.Contains(a.body, `"field":"Idempotency-Key"`) {
		t.Errorf("a key that is too long: %d %s", a.status, a.body)
	}
	for name, c := range tests {
		a := p.call("POST", "/v2/events", c.body)
		if a.status != c.status || !strings.Contains(a.body, c.says) || !json.Valid([]byte(a.body)) {
			t.Errorf("%s: %d %.500s", name, a.status, a.body)
		}
	}
	for name, body := range map[string]string{"nothing": "", "blank lines": "\n \r\n\n"} {
		if a := p.call("POST", "/v2/events", body, ndjson); a.status != 400 || !strings.Contains(a.body, "the body is empty") {
			t.Errorf("a stream of %s: %d %s", name, a.status, a.body)
		}
	}
	if n := g.stored.Load(); n != 0 {
		t.Errorf("%d events were stored", n)
	}
}

// Each item of an array is accepted or refused for itself, in its place.
func TestPublishArray(t *testing.T) {
	p, g := newGated(t)
	good := cnam("ACME")
	a := p.want(202, "POST", "/v2/events", " [ "+good+","+unknownEvent+",\n"+good+",7]")
	b := read[batch](t, a)
	if b.Accepted != 2 || b.Failed != 2 || len(b.Items) != 4 {
		t.Fatalf("answer: %s", a.body)
	}
	for i, it := range b.Items {
		switch fine := i%2 == 0; {
		case fine && (it.Event == "" || it.Code != 0 || it.Index != nil):
			t.Errorf("item %d: %+v", i, it)
		case !fine && (it.Event != "" || it.Code != 300 || it.Index == nil || *it.Index != i || len(it.Errors) != 1):
			t.Errorf("item %d: %+v", i, it)
		}
	}
	// More than are accepted at a time.
	n := 2*chunkItems + 10
	b = read[batch](t, p.want(202, "POST", "/v2/events", "["+strings.Repeat(good+",", n)+"7]"))
	if b.Accepted != n || b.Failed != 1 || *b.Items[n].Index != n {
		t.Errorf("%d accepted, %d failed, the last: %+v", b.Accepted, b.Failed, b.Items[n])
	}
	if stored := g.stored.Load(); stored != int64(n+2) {
		t.Errorf("%d events were stored", stored)
	}
}

// A stream has an event on each line, whatever there is between them, and each is
// answered for itself with its line.
func TestPublishStream(t *testing.T) {
	p, g := newGated(t)
	good := cnam("ACME")
	text := strings.Join([]string{
		good,                       // 1
		"",                         // 2
		" \t" + good + " ",         // 3
		unknownEvent + "\r",        // 4
		good + "\r",                // 5
		"\r",                       // 6
		sized(intake.MaxEvent + 1), // 7: too long by a byte
		sized(intake.MaxEvent - 25),
		sized(3 << 20), // 9: so long that it is not read whole
		good,
		strings.Repeat(" ", 2<<20) + good, // 11: the same, with nothing in what is read
		good + strings.Repeat(" ", 2<<20) + "}",
		sized(200 << 10), // 13: longer than what is read at once
		"[" + good + "]",
		good, // 15: without an end of line
	}, "\n")
	wrong := map[int]int{4: 300, 7: 413, 9: 413, 11: 413, 12: 413, 14: 300}
	a := p.want(202, "POST", "/v2/events", text, ndjson)
	if got := a.header.Get("Content-Type"); got != "application/x-ndjson" {
		t.Errorf("content-type %q", got)
	}
	items, end := lines(t, a)
	if end.Accepted != 7 || end.Failed != len(wrong) || len(items) != 7+len(wrong) {
		t.Fatalf("%d lines, the last: %+v", len(items), end)
	}
	got := map[int]int{}
	for _, it := range items {
		if it.Code != 0 {
			got[it.Line] = it.Code
		} else if it.Event == "" {
			t.Errorf("neither accepted nor refused: %+v", it)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(wrong) {
		t.Errorf("refused lines with their codes: %v, want %v", got, wrong)
	}
	if n := g.stored.Load(); n != 7 {
		t.Errorf("%d events were stored", n)
	}
	for _, media := range []string{"application/ndjson", "application/jsonl", "Application/X-NDJSON; charset=utf-8"} {
		if items, _ := lines(t, p.want(202, "POST", "/v2/events", good+"\n"+good, header("Content-Type", media))); len(items) != 2 {
			t.Errorf("%s: %d answers to two lines", media, len(items))
		}
	}
	// When all is wrong, it is the lines that say so: the first ones may be answered
	// long before the last one comes.
	items, end = lines(t, p.want(202, "POST", "/v2/events", "1\n2\n", ndjson))
	if end.Accepted != 0 || end.Failed != 2 || len(items) != 2 {
		t.Errorf("two lines of nonsense: %+v %+v", items, end)
	}
}

// A producer that sends slowly learns that an event is durable before it sends the
// next one.
func TestPublishStreamAnswersAtOnce(t *testing.T) {
	p, _ := newGated(t)
	body, producer := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "POST", p.url+"/v2/events", body)
	must(t, err)
	ndjson(req)
	with(allKey)(req)
	go func() { fmt.Fprintln(producer, cnam("first")) }()
	res, err := http.DefaultClient.Do(req) // returns while the request goes on
	must(t, err)
	defer res.Body.Close()
	answers := bufio.NewScanner(res.Body)
	next := func() (it item) {
		t.Helper()
		if !answers.Scan() {
			t.Fatalf("no answer: %v", answers.Err())
		}
		must(t, json.Unmarshal(answers.Bytes(), &it))
		return it
	}
	for i := range 3 {
		it := next()
		if e := get[Event](p, operator+"/events/"+it.Event); !strings.Contains(string(e.Body), cnamEvent) {
			t.Errorf("event %d is not there: %+v", i, e)
		}
		// Also while half of the one after it is here already.
		if i == 2 {
			fmt.Fprint(producer, cnam("next")+"\n"+cnam("last")[:20])
		} else {
			fmt.Fprintln(producer, cnam("next"))
		}
	}
	next()
	fmt.Fprintln(producer, cnam("last")[20:])
	next()
	must(t, producer.Close())
	if answers.Scan(); answers.Text() != `{"accepted":5,"failed":0}` {
		t.Errorf("at the end: %s", answers.Text())
	}
}

// What arrives of a body that breaks off is taken as far as it is whole.
func TestPublishBrokenOff(t *testing.T) {
	p, g := newGated(t)
	whole := cnam("whole") + "\n"
	// An event that is whole, but nobody knows whether that was to be all.
	half := cnam("half")
	for name, c := range map[string]struct {
		media, body string
		status      int
		says        string
		stored      int64
	}{
		"after a line":      {"application/x-ndjson", whole + half, 202, `{"accepted":1,"failed":0,"code":300,"message":"the body broke off: what comes after line 1 was not read"}`, 1},
		"after blank lines": {"application/x-ndjson", "\n\n" + whole + "\n" + half, 202, `what comes after line 4 was not read`, 1},
		"in the first line": {"application/x-ndjson", half, 400, "the body could not be read: unexpected EOF", 0},
		"in an event":       {"application/json", half, 400, "the body could not be read: unexpected EOF", 0},
		"in an array":       {"application/json", "[" + half + ",", 400, "nothing of it was accepted", 0},
	} {
		before := g.stored.Load()
		a := brokenOff(t, p, c.media, c.body)
		if a.status != c.status || !strings.Contains(a.body, c.says) {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if n := g.stored.Load() - before; n != c.stored {
			t.Errorf("%s: %d events were stored, want %d", name, n, c.stored)
		}
	}
}

// brokenOff sends a body that ends before it should.
func brokenOff(t *testing.T, p *platform, media, body string) reply {
	t.Helper()
	u, err := url.Parse(p.url)
	must(t, err)
	c, err := net.Dial("tcp", u.Host)
	must(t, err)
	defer c.Close()
	fmt.Fprintf(c, "POST /v2/events HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		u.Host, allKey, media, len(body)+100, body)
	must(t, c.(*net.TCPConn).CloseWrite())
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	must(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(t, err)
	return reply{status: res.StatusCode, body: string(text)}
}

// A request that is sent again under the same key changes nothing, however its
// events are sent; the same key for something else is a mistake.
func TestIdempotencyKey(t *testing.T) {
	p, g := newGated(t)
	one, two, other := cnam("one"), cnam("two"), cnam("other")
	ids := func(a reply, media string) (ids []string, duplicates, conflicts int) {
		var items []item
		switch {
		case media == "application/x-ndjson":
			items, _ = lines(t, a)
		case strings.Contains(a.body, `"items"`):
			items = read[batch](t, a).Items
		default:
			items = []item{read[item](t, a)}
		}
		for _, it := range items {
			if it.Code == 409 {
				conflicts++
			}
			if it.Duplicate {
				duplicates++
			}
			ids = append(ids, it.Event)
		}
		return ids, duplicates, conflicts
	}
	for i, c := range []struct {
		name, media, body, changed string
		events, status             int // of what, when changed, is answered
	}{
		{"one", "application/json", one, other, 1, 409},
		{"array", "application/json", "[" + one + "," + two + "]", "[" + one + "," + other + "]", 2, 202},
		{"stream", "application/x-ndjson", one + "\n" + two + "\n", one + "\n" + other + "\n", 2, 202},
	} {
		edit := []func(*http.Request){header("Idempotency-Key", strings.Repeat("k", intake.MaxKey-1)+fmt.Sprint(i)), header("Content-Type", c.media)}
		before := g.stored.Load()
		first, again, _ := ids(p.want(202, "POST", "/v2/events", c.body, edit...), c.media)
		if again != 0 || len(first) != c.events || slices.Contains(first, "") {
			t.Errorf("%s: accepted as %v, %d of them as duplicates", c.name, first, again)
		}
		second, again, _ := ids(p.want(202, "POST", "/v2/events", c.body, edit...), c.media)
		if again != c.events || !slices.Equal(first, second) {
			t.Errorf("%s: again as %v, %d of them as duplicates", c.name, second, again)
		}
		if _, _, conflicts := ids(p.want(c.status, "POST", "/v2/events", c.changed, edit...), c.media); conflicts != 1 {
			t.Errorf("%s: %d conflicts for one event that is another one", c.name, conflicts)
		}
		if n := g.stored.Load() - before; n != int64(c.events) {
			t.Errorf("%s: %d events were stored", c.name, n)
		}
	}
	// A key in the event itself goes before the one of the request.
	keyed := strings.Replace(one, "{", `{"$routing":{"idempotency_key":"own"},`, 1)
	first := p.publish(keyed)
	second := read[Accepted](t, p.want(202, "POST", "/v2/events", keyed, header("Idempotency-Key", "another")))
	if !second.Duplicate || second.Event != first.Event {
		t.Errorf("with a key of its own: %+v, then %+v", first, second)
	}
}

// Half of a batch may be a duplicate and half of it new, when the first time only
// some of it was accepted.
func TestIdempotencyKeyAfterFaults(t *testing.T) {
	p, _ := newGated(t)
	key := header("Idempotency-Key", "k")
	first := read[batch](t, p.want(202, "POST", "/v2/events", "["+cnam("one")+","+unknownEvent+"]", key))
	second := read[batch](t, p.want(202, "POST", "/v2/events", "["+cnam("one")+","+cnam("two")+"]", key))
	if a, b := first.Items[0], second.Items[0]; a.Event != b.Event || !b.Duplicate || second.Items[1].Duplicate || second.Accepted != 2 {
		t.Errorf("%+v, then %+v", first, second)
	}
}

// What does not fit its type is refused with a pointer to each fault where the type
// is strict, accepted with warnings where faults are reported, and accepted
// without a word where nobody looks.
func TestCheckModes(t *testing.T) {
	p, g := newGated(t)
	faulty := `{"event":"` + cnamEvent + `","event_ts":1768204800117,"payload":{"account_id":"customer","object":{"carrier_code":1,"phone_numbers":["+14155550132","x"],"cnam":5},"more":true}}`
	want := `"errors":[{"field":"/payload/more","message":"is not allowed"},` +
		`{"field":"/payload/object/cnam","message":"must be string, is number"},` +
		`{"field":"/payload/object/phone_numbers/1","message":"must match ^\\+[1-9][0-9]{1,14}$, is \"x\""}]`
	if a := p.want(400, "POST", "/v2/events", faulty); !strings.Contains(a.body, want) {
		t.Errorf("strict: %s\nwant %s", a.body, want)
	}
	check := operator + "/event_types/" + cnamEvent + "/check"
	p.want(204, "PUT", check, `{"check":"report"}`)
	a := p.want(202, "POST", "/v2/events", faulty)
	if !strings.Contains(a.body, strings.Replace(want, "errors", "warnings", 1)) {
		t.Errorf("report: %s", a.body)
	}
	items, _ := lines(t, p.want(202, "POST", "/v2/events", faulty+"\n"+cnam("x"), ndjson))
	if len(items) != 2 || len(items[0].Warnings) != 3 || len(items[1].Warnings) != 0 {
		t.Errorf("report, as a stream: %+v", items)
	}
	p.want(204, "PUT", check, `{"check":"off"}`)
	if a := p.want(202, "POST", "/v2/events", faulty); strings.Contains(a.body, "warnings") {
		t.Errorf("off: %s", a.body)
	}
	p.want(204, "PUT", check, `{"check":"strict"}`)
	p.want(400, "POST", "/v2/events", faulty)
	if n := g.stored.Load(); n != 4 {
		t.Errorf("%d events were stored", n)
	}
}

// While the store takes nothing, nothing is acknowledged: the producer is told to
// come again.
func TestUnavailable(t *testing.T) {
	p, g := newGated(t)
	one, nonsense := cnam("x"), unknownEvent
	tests := map[string]struct{ media, body string }{
		"one":                    {"application/json", one},
		"array":                  {"application/json", "[" + one + "," + one + "]"},
		"array with nonsense":    {"application/json", "[" + nonsense + "," + one + "," + nonsense + "]"},
		"long array":             {"application/json", "[" + strings.Repeat(one+",", chunkItems) + nonsense + "]"},
		"stream":                 {"application/x-ndjson", one + "\n" + one + "\n"},
		"stream after nonsense":  {"application/x-ndjson", nonsense + "\n" + one + "\n"},
		"stream before nonsense": {"application/x-ndjson", one + "\n" + nonsense},
	}
	g.shut.Store(true)
	for name, c := range tests {
		a := p.want(503, "POST", "/v2/events", c.body, header("Content-Type", c.media))
		if a.header.Get("Retry-After") != "1" || !strings.Contains(a.body, `"code":503,"message":"Unavailable: the store cannot take it now: disk full"`) {
			t.Errorf("%s: %v %s", name, a.header, a.body)
		}
	}
	g.shut.Store(false)

	// When the store fails in the middle, what was accepted before stays accepted, and
	// the rest says for itself that it was not.
	body, producer := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "POST", p.url+"/v2/events", body)
	must(t, err)
	ndjson(req)
	with(allKey)(req)
	go func() { fmt.Fprintln(producer, one) }()
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	g.shut.Store(true)
	fmt.Fprintln(producer, one)
	must(t, producer.Close())
	text, err := io.ReadAll(res.Body)
	must(t, err)
	items, end := lines(t, reply{body: string(text)})
	if len(items) != 2 || items[0].Event == "" || items[1].Code != 503 || items[1].Line != 2 || end.Accepted != 1 || end.Failed != 1 {
		t.Errorf("answer: %s", text)
	}
	if n := g.stored.Load(); n != 1 {
		t.Errorf("%d events were stored", n)
	}
}

// A store that fails in a way that nobody has foreseen acknowledges nothing
// either, and what is wrong with it is for the log only.
func TestInternalErrors(t *testing.T) {
	for name, c := range map[string]struct{ media, body string }{
		"one":    {"application/json", cnam("x")},
		"array":  {"application/json", "[" + cnam("x") + "]"},
		"stream": {"application/x-ndjson", cnam("x") + "\n"},
	} {
		p := newPlatform(t, options{idle: true, store: func(*store.DB) intake.Store { return broken{} }})
		a := p.want(500, "POST", "/v2/events", c.body, header("Content-Type", c.media))
		if !strings.Contains(a.body, `"code":500,"message":"Internal error."}`) || strings.Contains(a.body, errBroken.Error()) {
			t.Errorf("%s: %s", name, a.body)
		}
		if !strings.Contains(p.log.String(), errBroken.Error()) {
			t.Errorf("%s: the log does not have it: %s", name, p.log)
		}
	}
}

type broken struct{}

var errBroken = errors.New("table events has no column named body")

func (broken) Publish([]*intake.Publication) error { return errBroken }

// Many producers at the same time, with every way of publishing: each gets ids of
// its own.
func TestPublishAtTheSameTime(t *testing.T) {
	p, g := newGated(t)
	const producers, rounds = 8, 5
	var arrays, streams, singles [producers * rounds]reply
	var wg sync.WaitGroup
	for i := range producers {
		wg.Go(func() {
			for j := i * rounds; j < (i+1)*rounds; j++ {
				arrays[j] = p.call("POST", "/v2/events", "["+cnam("a")+","+cnam("b")+"]")
				streams[j] = p.call("POST", "/v2/events", cnam("c")+"\n"+cnam("d"), ndjson)
				singles[j] = p.call("POST", "/v2/events", cnam("e"))
			}
		})
	}
	wg.Wait()
	ids := map[string]bool{}
	for j := range producers * rounds {
		items, _ := lines(t, streams[j])
		items = append(items, read[batch](t, arrays[j]).Items...)
		for _, it := range append(items, read[item](t, singles[j])) {
			ids[it.Event] = true
		}
	}
	if want := producers * rounds * 5; len(ids) != want || g.stored.Load() != int64(want) || ids[""] {
		t.Errorf("%d ids and %d events stored, want %d", len(ids), g.stored.Load(), want)
	}
}
