package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/inventory"
	"github.com/switchhook/switchhook/internal/number"
)

const numbers = operator + "/numbers"

// stepwise asks for an answer that is written while the work is done.
var stepwise = header("Accept", "application/x-ndjson")

// shows makes calls of the operator API and returns the answers.
func (m *market) shows(calls ...string) string {
	m.t.Helper()
	var text strings.Builder
	for _, c := range calls {
		method, path, _ := strings.Cut(c, " ")
		text.WriteString(shown(m.platform, method+" "+operator+path))
	}
	return strings.NewReplacer(m.names...).Replace(text.String())
}

// How carriers and numbers look to operators, and what changes them.
func TestOperatorNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := newExchange(t, options{idle: true})
		m.program("blue", "customer").adds(1, phone(1), phone(2))
		m.program("two", "partner").adds(2, phone(21))
		text := m.shows(
			`GET /carriers`,
			`PUT /carriers/7 {"name":"Green Carrier"}`,
			`PUT /carriers/7 {"name":"Green Carrier"}`,
			`PUT /carriers/7 {"name":"Greener","app_id":"app-red"}`,
			`PUT /carriers/1 {"name":"Blue Carrier","app_id":"app-two"}`,
			`PUT /carriers/2147483647 {"name":"Ünïcode & Söhne"}`,
			`DELETE /carriers/7`,
			`DELETE /carriers/7`,
			`DELETE /carriers/2`,
			`GET /carriers`,

			`GET /numbers`,
			`GET /numbers?carrier_code=1&account_id=customer`,
			`GET /numbers?account_id=nobody`,
			`GET /numbers?phone_number=+14155550002`,
			`GET /numbers?phone_number=14155550002&carrier_code=2`,
			`GET /numbers?phone_number=x&page_size=300`,
			`GET /numbers/+14155550001`,
			`GET /numbers/%2B14155550001`,
			`GET /numbers/14155550001`,
			`GET /numbers/+14155550199`,
			`GET /numbers/none%20such`,

			// What is left out stays, and null clears.
			`PATCH /numbers/+14155550001 {"cnam":" PINECONE "}`,
			`PATCH /numbers/14155550001 {"cnam":"PINECONE","assigned":true}`,
			`PATCH /numbers/%2B14155550001 {"emergency_address":{"country":"us","address_line1":"1200 Battery Street","address_line2":"Floor 4","city":"San Francisco","zip":"94111","state_code":"ca"}}`,
			`GET /numbers/+14155550001`,
			`PATCH /numbers/+14155550001 {"emergency_address":{"address_line1":"1 Embarcadero"}}`,
			`GET /numbers/+14155550001`,
			`PATCH /numbers/+14155550001 {"cnam":null}`,
			`PATCH /numbers/+14155550001 {"cnam":null,"emergency_address":null,"assigned":false}`,
			`GET /numbers/+14155550001`,

			// A list, and what filters select.
			`PATCH /numbers {"phone_numbers":["+14155550002"," +14155550021 ","+14155550002"],"set":{"cnam":"A LIST"}}`,
			`PATCH /numbers {"filter":{"carrier_code":1},"set":{"cnam":"A CARRIER"}}`,
			`PATCH /numbers {"filter":{"account_id":"partner"},"set":{"cnam":"A CUSTOMER"}}`,
			`PATCH /numbers {"filter":{"account_id":"partner","carrier_code":1},"set":{"cnam":"BOTH"}}`,
			`PATCH /numbers {"filter":{"account_id":"nobody","all":false},"set":{"cnam":"NOBODY"}}`,
			`GET /numbers`,
			`PATCH /numbers {"filter":{"all":true},"set":{"cnam":null}}`,
		)
		golden(t, "operator_numbers.golden", text)
	})
}

// What operators cannot ask for. Nothing is changed by any of it.
func TestOperatorNumbersFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := newExchange(t, options{idle: true})
		m.program("blue", "customer").adds(1, phone(1), phone(2))
		m.want(200, "PATCH", numbers, `{"filter":{"all":true},"set":{"cnam":"PINECONE","emergency_address":{"address_line1":"1200 Battery Street"}}}`)
		before := state(m.platform)
		const one = `PATCH /numbers/+14155550001 `
		text := m.shows(
			`PUT /carriers/1`,
			`PUT /carriers/1 null`,
			`PUT /carriers/1 {}`,
			`PUT /carriers/1 {"name":" "}`,
			`PUT /carriers/1 {"name":7}`,
			`PUT /carriers/1 {"name":"`+strings.Repeat("x", 129)+`","app_id":"none"}`,
			`PUT /carriers/1 {"name":"x","app_id":null}`,
			`PUT /carriers/1 {"name":"x","app_id":""}`,
			`PUT /carriers/1 {"name":"x","app_id":7}`,
			`PUT /carriers/1 {"name":"x","carrier_code":1}`,
			`PUT /carriers/0 {"name":"x"}`,
			`PUT /carriers/01 {"name":"x"}`,
			`PUT /carriers/+1 {"name":"x"}`,
			`PUT /carriers/2147483648 {"name":"x"}`,
			`DELETE /carriers/x`,
			`DELETE /carriers/99`,
			`DELETE /carriers/1`,

			`GET /numbers?carrier_code=x&account=customer&page_size=0&next_page_token=x`,
			`GET /numbers?carrier_code=0&page_size=301`,
			`GET /numbers/export?carrier_code=-1&page_size=1`,

			one,
			one+`null`,
			one+`[]`,
			one+`{}`,
			one+`{"cnam":""}`,
			one+`{"cnam":" "}`,
			one+`{"cnam":7}`,
			one+`{"cnam":["PINECONE"]}`,
			one+`{"cnam":"SIXTEEN LETTERS X"}`,
			one+`{"cnam":"1234"}`,
			one+`{"cnam":"BÄCKEREI"}`,
			one+`{"emergency_address":{}}`,
			one+`{"emergency_address":{"address_line1":" "}}`,
			one+`{"emergency_address":{"address_line1":null,"city":"San Francisco"}}`,
			one+`{"emergency_address":"1200 Battery Street"}`,
			one+`{"emergency_address":{"address_line1":7}}`,
			one+`{"emergency_address":{"address_line1":"1200 Battery Street","street":"x"}}`,
			one+`{"emergency_address":{"address_line1":"1200 Battery Street","country":"XX","zip":"1","state_code":"ZZ"}}`,
			one+`{"emergency_address":{"address_line1":"1200 Battery Street","country":"US","zip":"ABC","state_code":"ZZ"}}`,
			one+`{"assigned":null}`,
			one+`{"assigned":"true"}`,
			one+`{"status":true}`,
			one+`{"sip_trunk_name":"x","cnam":"PINECONE"}`,
			`PATCH /numbers/+14155550199 {"cnam":"PINECONE"}`,
			`PATCH /numbers/import {"cnam":"PINECONE"}`,

			`PATCH /numbers {}`,
			`PATCH /numbers {"set":{"cnam":"X"}}`,
			`PATCH /numbers {"phone_numbers":["+14155550001"],"set":{}}`,
			`PATCH /numbers {"phone_numbers":["+14155550001"]}`,
			`PATCH /numbers {"phone_numbers":["+14155550001"],"set":null}`,
			`PATCH /numbers {"phone_numbers":[],"set":{"cnam":"X"}}`,
			`PATCH /numbers {"phone_numbers":null,"set":{"cnam":"X"}}`,
			`PATCH /numbers {"phone_numbers":[7],"set":{"cnam":"X"}}`,
			`PATCH /numbers {"phone_numbers":["+14155550001"],"filter":{"all":true},"set":{"cnam":"X"}}`,
			`PATCH /numbers {"phone_numbers":["+14155550001","+14155550199","+1415","x",""],"set":{"cnam":"X"}}`,
			`PATCH /numbers {"phone_numbers":["`+strings.Repeat(`+14155550001","`, 1000)+`"],"set":{"cnam":"1","emergency_address":{}}}`,
			`PATCH /numbers {"filter":{},"set":{"cnam":"X"}}`,
			`PATCH /numbers {"filter":{"all":false},"set":{"cnam":"X"}}`,
			`PATCH /numbers {"filter":{"carrier_code":null,"account_id":null},"set":{"cnam":"X"}}`,
			`PATCH /numbers {"filter":{"carrier_code":0},"set":{"cnam":"X"}}`,
			`PATCH /numbers {"filter":{"account_id":""},"set":{"cnam":"X"}}`,
			`PATCH /numbers {"filter":{"carrier_code":1,"all":true},"set":{"cnam":"X"}}`,
			`PATCH /numbers {"filter":{"carrier":1,"all":true},"set":{"cnam":"X"}}`,
			`PATCH /numbers {"filter":[],"set":{"cnam":"X"}}`,
			`PATCH /numbers {"filter":null,"set":{"cnam":"X"}}`,
		)
		golden(t, "operator_numbers_faults.golden", strings.ReplaceAll(text, strings.Repeat(`+14155550001","`, 1000), "<1000 numbers>"))
		if after := state(m.platform); after != before {
			t.Errorf("the platform was\n%s\nand is\n%s", before, after)
		}
	})
}

// Pages show each number once, in the order of their digits, and a page token belongs to
// its query.
func TestOperatorNumberPages(t *testing.T) {
	p, _ := newExchange(t, options{idle: true})
	c := p.program("two", "customer")
	var want []string
	for i := range 7 {
		c.adds(int32(1+i%2), phone(i))
		want = append(want, phone(i))
	}
	c.adds(1, "+442079460127", "+390612345678")
	want = append(want, "+390612345678", "+442079460127")
	type page struct {
		Next     string          `json:"next_page_token"`
		PageSize int             `json:"page_size"`
		Total    int             `json:"total"`
		Numbers  []number.Number `json:"numbers"`
	}
	var got []string
	tokens := map[string]bool{}
	for next := ""; ; {
		x := get[page](p.platform, numbers+"?page_size=3&next_page_token="+next)
		for _, n := range x.Numbers {
			got = append(got, n.E164)
		}
		if x.Total != len(want) || x.PageSize != 3 || len(x.Numbers) != 3 {
			t.Errorf("a page is %+v", x)
		}
		if next = x.Next; next == "" {
			break
		}
		tokens[next] = true
		if x := get[page](p.platform, numbers+"?page_size=1&next_page_token="+next); len(x.Numbers) != 1 {
			t.Errorf("a smaller page is %+v", x)
		}
		for _, wrong := range []string{"?carrier_code=1&next_page_token=" + next, "?next_page_token=" + next + "A", "?next_page_token=" + next[1:], "?phone_number=%2B14155550001&next_page_token=" + next} {
			if f := read[fault](t, p.want(400, "GET", numbers+wrong, "")); len(f.Errors) != 1 || f.Errors[0].Field != "next_page_token" {
				t.Errorf("%s: %+v", wrong, f)
			}
		}
	}
	if !slices.Equal(got, want) || len(tokens) != 2 {
		t.Errorf("the pages show %q after %d tokens, want %q", got, len(tokens), want)
	}
}

// step is a line of an answer that is written while the work is done, whatever it is.
type step struct {
	Type     string      `json:"type"`
	Numbers  int         `json:"numbers"`
	Changed  int         `json:"changed"`
	Events   int         `json:"events"`
	Lines    int         `json:"lines"`
	Refused  int         `json:"refused"`
	Position string      `json:"position"`
	Bytes    int64       `json:"bytes"`
	Line     int         `json:"line"`
	Number   string      `json:"phone_number"`
	Field    string      `json:"field"`
	Message  string      `json:"message"`
	Code     int         `json:"code"`
	Errors   hook.Faults `json:"errors"`
}

// steps reads an answer to its end.
func stepsOf(t testing.TB, a reply) (all []step) {
	t.Helper()
	if a.status != 200 || a.header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("%s: %d %v %s", a.call, a.status, a.header, a.body)
	}
	for line := range strings.Lines(a.body) {
		all = append(all, read[step](t, reply{call: a.call, body: line}))
	}
	return all
}

// numbersOf makes a file of numbers, the first of which has the number after.
func numbersOf(after, n int, more string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "+1415%07d,1,customer,west-1,true%s\n", 2000001+after+i, more)
	}
	return b.String()
}

const fileHeader = "phone_number,carrier_code,account_id,sip_trunk_name,status\n"

// Whoever changes very many numbers at once is told how far it has come.
func TestSetSelectedSteps(t *testing.T) {
	m, _ := newExchange(t, options{idle: true})
	const n = 2500
	m.want(200, "POST", numbers+"/import", fileHeader+numbersOf(0, n, ""), isCSV)
	all := stepsOf(t, m.call("PATCH", numbers, `{"filter":{"carrier_code":1},"set":{"cnam":"PINECONE"}}`, stepwise))
	if len(all) < 3 {
		t.Fatalf("it was told %d times", len(all))
	}
	for i, s := range all[:len(all)-1] {
		if s.Type != "progress" || s.Changed != s.Numbers || s.Events != (s.Numbers+199)/200 || i > 0 && s.Numbers <= all[i-1].Numbers {
			t.Errorf("step %d: %+v", i, s)
		}
	}
	if end, last := all[len(all)-1], all[len(all)-2]; end.Type != "done" || end.Numbers != n || last.Numbers != n || end.Changed != last.Changed || end.Events != last.Events {
		t.Errorf("the end: %+v after %+v", end, last)
	}
	if got := read[Changed](t, m.want(200, "PATCH", numbers, `{"filter":{"carrier_code":1},"set":{"cnam":"PINECONE"}}`)); got != (Changed{Numbers: n}) {
		t.Errorf("again: %+v", got)
	}
	if all := stepsOf(t, m.call("PATCH", numbers, `{"filter":{"carrier_code":2},"set":{"cnam":"PINECONE"}}`, header("Accept", "text/html, application/x-ndjson;q=0.9"))); len(all) != 1 || all[0].Type != "done" || all[0].Numbers != 0 {
		t.Errorf("nothing selected: %+v", all)
	}
	// A list is done at once, and so is answered at once.
	if a := m.want(200, "PATCH", numbers, `{"phone_numbers":["+14152000001"],"set":{"cnam":null}}`, stepwise); a.body != `{"numbers":1,"changed":1,"events":1}`+"\n" {
		t.Errorf("a list: %s", a.body)
	}
}

// valve stands between the inventory and its store: how many more changes and reads it
// lets through can be bounded.
type valve struct {
	inventory.Store
	changes, reads int // below 0: any number
	err            error
	between        func() // called before each change
}

func (v *valve) ChangeNumbers(rows int, f func(inventory.Tx) error) error {
	if v.between != nil {
		v.between()
	}
	if v.changes == 0 {
		return v.err
	}
	v.changes--
	return v.Store.ChangeNumbers(rows, f)
}

func (v *valve) Numbers(ctx context.Context, f inventory.Filter) ([]inventory.Kept, error) {
	if v.reads == 0 {
		return nil, v.err
	}
	v.reads--
	return v.Store.Numbers(ctx, f)
}

// newValve puts a valve into a platform.
func newValve(p *platform) *valve {
	v := &valve{Store: p.inventory.Store, changes: -1, reads: -1, err: errBroken}
	p.inventory.Store = v
	return v
}

// kept returns all numbers.
func kept(t testing.TB, v *inventory.Inventory) (all []number.Number) {
	t.Helper()
	for f := (inventory.Filter{Limit: 1000}); ; {
		page, next, err := v.List(t.Context(), f)
		must(t, err)
		all = append(all, page...)
		if f.After = next; next == "" {
			return all
		}
	}
}

// named counts the numbers that have a caller name.
func named(t testing.TB, v *inventory.Inventory, name string) (n int) {
	t.Helper()
	for _, x := range kept(t, v) {
		if x.CNAM == name {
			n++
		}
	}
	return n
}

var errFull = &hook.Error{Kind: hook.Unavailable, Subject: "the store cannot take it now", Detail: "disk full"}

// Of a change that fails on its way, what was done stands, and the same call does the
// rest.
func TestSetSelectedFails(t *testing.T) {
	const n, change = 2000, `{"filter":{"all":true},"set":{"cnam":"PINECONE"}}`
	for name, c := range map[string]struct {
		changes int // that the store makes before it fails
		err     error
		stops   bool // the platform, while it makes the third one
		code    int
	}{
		"at once":                     {0, errFull, false, 503},
		"later":                       {2, errFull, false, 503},
		"later, and nobody knows why": {2, errBroken, false, 500},
		"because the platform stops":  {-1, nil, true, 503},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := newExchange(t, options{idle: true})
			m.want(200, "POST", numbers+"/import", fileHeader+numbersOf(0, n, ""), isCSV)
			v := newValve(m.platform)
			v.changes, v.err = c.changes, c.err
			pieces := 0
			v.between = func() {
				if pieces++; pieces == 3 && c.stops {
					close(m.stopping)
				}
			}
			a := m.call("PATCH", numbers, change, stepwise)
			done := 0
			if c.changes == 0 {
				if f := read[fault](t, a); a.status != c.code || f.Code != c.code {
					t.Errorf("%d %s", a.status, a.body)
				}
			} else {
				all := stepsOf(t, a)
				end, last := all[len(all)-1], all[len(all)-2]
				if end.Type != "error" || end.Code != c.code || end.Message == "" || strings.Contains(end.Message, errBroken.Error()) || end.Numbers != last.Numbers || end.Changed != last.Changed || end.Events != last.Events {
					t.Errorf("ended with %+v after %+v", end, last)
				}
				done = end.Changed
			}
			if got := named(t, m.inventory, "PINECONE"); got != done || done == n {
				t.Errorf("%d numbers are changed, and %d are said to be", got, done)
			}
			if v.changes, v.between = 0, nil; c.changes >= 0 {
				if a := m.call("PATCH", numbers, change); a.status != c.code {
					t.Errorf("an answer at the end: %d %s", a.status, a.body)
				}
			}
			v.changes = -1
			if !c.stops {
				if got := read[Changed](t, m.want(200, "PATCH", numbers, change)); got.Changed != n-done {
					t.Errorf("again: %+v after %d", got, done)
				}
			}
		})
	}
}
