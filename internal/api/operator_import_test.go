package api

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/inventory"
	"github.com/switchhook/switchhook/internal/memnet"
	"github.com/switchhook/switchhook/internal/number"
)

var isCSV = header("Content-Type", "text/csv")

const imports = numbers + "/import"

// whole is an import as it is answered at the end.
type whole struct {
	Imported
	Refusals []Refusal `json:"refusals"`
}

// cutShort is one that has come to a bad end.
type cutShort struct {
	fault
	whole
}

// imports a file and returns the answer at the end.
func (m *market) imports(file, query string) whole {
	m.t.Helper()
	return read[whole](m.t, m.want(200, "POST", imports+query, file, isCSV))
}

// What is wrong with a file, or with lines of it, is said with line, field and reason, and
// in the same words however the answer is asked for. All other lines are done.
func TestImportNumbersFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		m, _ := newExchange(t, options{idle: true})
		customer, partner, mobile, red := m.program("blue", "customer"), m.program("blue", "partner"), m.program("two", "customer"), m.program("red", "customer")
		for _, c := range []struct{ name, file string }{
			{"all is well", "phone_number,cnam\n" + phone(1) + ",PINECONE\n"},
			{"no line feed at the end, and carriage returns", "PHONE NUMBER,cnam\r\n" + phone(1) + ",PINECONE\r\n\r\n" + phone(2) + ",PINECONE"},
			{"nothing but columns", "phone_number\n\n\n"},
			{"nothing", ""},
			{"no columns", phone(1) + ",PINECONE\n"},
			{"unknown columns", "phone_number,name,cnam,cnam\n"},
			{"semicolons", "phone_number;cnam\n" + phone(1) + ";PINECONE\n"},
			{"UTF-16", "\xff\xfep\x00h\x00o\x00n\x00e\x00"},
			{"a binary file", "\x1f\x8b\x08\x00\x00\x00\x00\x00"},
			{"malformed CSV", "phone_number,cnam\n" + phone(1) + ",\"PINECONE\n" + phone(2) + ",PINE\"CONE\n" + phone(3) + ",\"PINE\"CONE\n" + phone(11) + "\n" + phone(21) + ",PINECONE,x\n" + phone(31) + ",\"PINECONE\"\n"},
			{"wrong encoding", "phone_number,city,address_line1\n" + phone(1) + ",Z\xfcrich,Bahnhofstrasse 1\n" + phone(2) + ",\x93Bern\x94,Bundesplatz 3\n" + phone(3) + ",Zürich,Bahnhofstrasse 1\n"},
			{"a number twice", "phone_number,cnam\n" + phone(1) + ",PINECONE\n" + phone(1) + ",OTHER\n"},
			{"an unknown carrier", "phone_number,carrier_code,account_id\n" + phone(5) + ",99,customer\n" + phone(6) + ",0,customer\n" + phone(7) + ",x,customer\n"},
			{"another carrier's number", "phone_number,carrier_code,account_id,cnam\n" + phone(31) + ",1,customer,PINECONE\n"},
			{"another customer's number", "phone_number,account_id,cnam\n" + phone(11) + ",customer,PINECONE\n"},
			{"an unknown customer", "phone_number,carrier_code,account_id\n" + phone(5) + ",1,nobody\n" + phone(6) + ",1,a/b\n"},
			{"a number that is not there", "phone_number,cnam\n" + phone(5) + ",PINECONE\n"},
			{"not E.164", "phone_number,cnam\n14155550001,PINECONE\n+1 415 555 0001,PINECONE\n+1415555,PINECONE\n+9991555,PINECONE\n1.41556E+10,PINECONE\nnone,PINECONE\n,PINECONE\n" + strings.Repeat("x", 100) + ",PINECONE\n\x1b[31m+14155550001,PINECONE\n"},
			{"an address without its first line", "phone_number,address_line1,city\n" + phone(1) + ",,San Francisco\n" + phone(2) + ",-,San Francisco\n"},
			{"an unknown state", "phone_number,country,address_line1,zip,state_code\n" + phone(1) + ",US,1200 Battery Street,94111,ZZ\n" + phone(2) + ",XX,1200 Battery Street,,\n" + phone(3) + ",US,1200 Battery Street,ABC,CA\n" + phone(11) + ",,1200 Battery Street,,CA\n"},
			{"caller names", "phone_number,cnam\n" + phone(1) + ",SIXTEEN LETTERS.\n" + phone(2) + ",555 0132\n" + phone(3) + ",BÄCKEREI\n" + phone(11) + ",FIFTEEN LETTERS\n"},
			{"several faults in a line", "phone_number,status,allocated_product,cnam,billing_ref_id\n" + phone(1) + ",perhaps,FAX,1,-\n"},
			{"what cannot be cleared", "phone_number,sip_trunk_name,status\n" + phone(1) + ",-,-\n"},
			{"what does not go together", "phone_number,allocated_product,number_type\n" + phone(1) + ",ZOOM_PHONE,VirtualService\n" + phone(2) + ",ZOOM_PHONE,Toll\n"},
			{"a very long line", "phone_number,cnam\n" + phone(1) + "," + strings.Repeat("x", 70_000) + "\n" + phone(2) + ",PINECONE\n"},
		} {
			removeAll(t, m.inventory)
			customer.adds(1, phone(1), phone(2), phone(3))
			partner.adds(1, phone(11))
			mobile.adds(2, phone(21))
			red.adds(3, phone(31))
			before := exports(m.platform, "")
			a := m.call("POST", imports, c.file, isCSV)
			fmt.Fprintf(&text, "== %s\n%s\n-- %d\n%s\n", c.name, shortened(c.file), a.status, strings.TrimSpace(indent(a.body)))
			after := strings.Split(exports(m.platform, ""), "\n")
			for i, line := range strings.Split(before, "\n") {
				if line != after[i] {
					fmt.Fprintf(&text, "-- changed\n%s\n", after[i])
				}
			}
			b := m.call("POST", imports, c.file, isCSV, stepwise)
			if a.status != 200 {
				if a.status != b.status || a.body != b.body {
					t.Errorf("%s: answered step by step is %d %s", c.name, b.status, b.body)
				}
				continue
			}
			all := read[whole](t, a)
			want := all.Imported
			want.Changed, want.Events = 0, 0 // it is as it is to be
			var refused []Refusal
			for _, s := range stepsOf(t, b) {
				if s.Type == "refused" {
					refused = append(refused, Refusal{s.Line, s.Number, s.Field, s.Message})
				} else if got := (Imported{s.Lines, s.Changed, s.Events, s.Refused, s.Position, s.Bytes}); s.Type == "done" && got != want {
					t.Errorf("%s: answered step by step it ends with %+v, want %+v", c.name, got, want)
				}
			}
			if !slices.Equal(refused, all.Refusals) {
				t.Errorf("%s: answered step by step is refused\n%+v\nwant\n%+v", c.name, refused, all.Refusals)
			}
		}
		golden(t, "import.golden", text.String())
	})
}

// shortened makes a file one that can be in a golden file.
func shortened(file string) string {
	file = strings.ReplaceAll(file, strings.Repeat("x", 70_000), "<70,000 x>")
	quoted := fmt.Sprintf("%q", file)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\n`, "\n")
}

func exports(p *platform, query string) string {
	p.t.Helper()
	return p.want(200, "GET", numbers+"/export"+query, "").body
}

// What is no file of numbers is refused before anything of it is read.
func TestImportNumbersOfNoFile(t *testing.T) {
	p := newPlatform(t, options{idle: true})
	for name, c := range map[string]struct {
		field, query string
		edit         func(*http.Request)
	}{
		"no type":            {"Content-Type", "", func(r *http.Request) { r.Header.Del("Content-Type") }},
		"another type":       {"Content-Type", "", header("Content-Type", "application/json")},
		"a form":             {"Content-Type", "", header("Content-Type", "multipart/form-data; boundary=x")},
		"no proper type":     {"Content-Type", "", header("Content-Type", "text/csv; charset")},
		"another encoding":   {"Content-Type", "", header("Content-Type", "text/csv; charset=ISO-8859-1")},
		"packed":             {"Content-Encoding", "", func(r *http.Request) { isCSV(r); r.Header.Set("Content-Encoding", "gzip") }},
		"another parameter":  {"from", "?from=1", isCSV},
		"no position":        {"position", "?position=x", isCSV},
		"half a position":    {"position", "?position=1-2", isCSV},
		"a position of more": {"position", "?position=1-2-00000003-4", isCSV},
		"a position below 0": {"position", "?position=-1-2-00000003", isCSV},
		"a large position":   {"position", "?position=9223372036854775808-2-00000003", isCSV},
		"no line":            {"position", "?position=1-0-00000003", isCSV},
		"two parameters":     {"to", "?position=1-2-00000003&to=4", isCSV},
	} {
		a := p.want(400, "POST", imports+c.query, fileHeader, c.edit)
		if f := read[fault](t, a); f.Code != 300 || len(f.Errors) != 1 || f.Errors[0].Field != c.field {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	for _, kind := range []string{"text/csv", "text/csv; charset=utf-8", "Text/CSV; charset=\"UTF-8\"; header=present", "text/csv; charset=us-ascii"} {
		p.want(200, "POST", imports, fileHeader, header("Content-Type", kind), header("Content-Encoding", "identity"))
	}
}

// upload is a file that is sent little by little, over a network in memory.
type upload struct {
	t     testing.TB
	w     *io.PipeWriter
	lines *bufio.Scanner
	res   *http.Response
	err   error
	ready chan struct{} // closed when there is an answer, or none will come
}

// uploads begins to send a file. The platform has to be on the network.
func uploads(t testing.TB, n *memnet.Net, query string, edit ...func(*http.Request)) *upload {
	t.Helper()
	r, w := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "POST", "http://platform.test"+imports+query, r)
	must(t, err)
	with(allKey)(req)
	isCSV(req)
	for _, f := range edit {
		f(req)
	}
	u := &upload{t: t, w: w, ready: make(chan struct{})}
	c := clientOf(t, n)
	go func() {
		defer close(u.ready)
		if u.res, u.err = c.Do(req); u.err == nil {
			u.lines = bufio.NewScanner(u.res.Body)
		}
	}()
	t.Cleanup(func() {
		_ = w.CloseWithError(errOnPurpose)
		if <-u.ready; u.res != nil {
			_ = u.res.Body.Close()
		}
	})
	return u
}

func (u *upload) sends(text string) {
	u.t.Helper()
	if _, err := io.WriteString(u.w, text); err != nil {
		u.t.Fatalf("the file is not taken any more: %v", err)
	}
}

func (u *upload) ends() { _ = u.w.Close() }

// step reads the next line of the answer.
func (u *upload) step() step {
	u.t.Helper()
	<-u.ready
	must(u.t, u.err)
	if u.res.StatusCode != 200 || !u.lines.Scan() {
		text, _ := io.ReadAll(u.res.Body)
		u.t.Fatalf("no more steps: %d %v %s", u.res.StatusCode, u.lines.Err(), text)
	}
	return read[step](u.t, reply{call: "import", body: u.lines.Text()})
}

// answer reads an answer that comes at the end.
func (u *upload) answer() (status int, text string) {
	u.t.Helper()
	<-u.ready
	must(u.t, u.err)
	b, err := io.ReadAll(u.res.Body)
	must(u.t, err)
	return u.res.StatusCode, string(b)
}

// newServed is a platform of carriers at platform.test.
func newServed(t *testing.T) (*market, *memnet.Net) {
	t.Helper()
	var n memnet.Net
	m, _ := newExchange(t, options{idle: true, net: &n})
	n.Handle(t, "platform.test", m.handler)
	return m, &n
}

// A file is applied as it comes, and who sends it is told of each piece that is durable
// while more is to come. Nobody else waits for it meanwhile.
func TestImportNumbersAsItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newServed(t)
		u := uploads(t, n, "", stepwise)
		u.sends(fileHeader + numbersOf(0, pieceLines, "") + "x,1,customer,west-1,true\n")
		first := u.step()
		if first.Type != "progress" || first.Lines != pieceLines || first.Changed != pieceLines || first.Refused != 0 {
			t.Errorf("the first piece: %+v", first)
		}
		if got := len(kept(t, m.inventory)); got != pieceLines {
			t.Errorf("%d numbers are there", got)
		}
		if h := u.res.Header; h.Get("Content-Type") != "application/x-ndjson" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%v", h)
		}
		time.Sleep(importPause - time.Second) // the client is slow
		m.want(201, "PUT", operator+"/accounts/quick", "{}")
		m.want(200, "PATCH", numbers+"/+14152000001", `{"cnam":"PINECONE"}`)
		m.publish(cnam("PINECONE"))

		// What has come waits for more only so long.
		u.sends(numbersOf(pieceLines, 3, ""))
		u.sends(numbersOf(pieceLines+3, 2, ""))
		if s := u.step(); s.Type != "refused" || s.Line != 2+pieceLines || s.Number != "x" || s.Field != "phone_number" {
			t.Errorf("what is wrong: %+v", s)
		}
		second := u.step()
		if second.Type != "progress" || second.Lines < pieceLines+1 || second.Lines > pieceLines+6 || second.Refused != 1 || second.Bytes <= first.Bytes {
			t.Errorf("a few lines: %+v", second)
		}
		time.Sleep(time.Second)
		u.sends("\n")
		u.ends()
		last := u.step()
		for last.Type == "progress" {
			last = u.step()
		}
		if last.Type != "done" || last.Lines != pieceLines+6 || last.Changed != pieceLines+5 || last.Refused != 1 || last.Events != 0 || last.Position == second.Position {
			t.Errorf("the end: %+v", last)
		}
		if u.lines.Scan() {
			t.Errorf("and after it: %s", u.lines.Text())
		}
	})
}

// endless is a body that is made while it is read.
type endless struct {
	piece  []byte
	pieces int
	off    int
	given  int64
	each   func(given int64)
}

func (e *endless) Read(b []byte) (int, error) {
	e.each(e.given)
	if e.off == len(e.piece) {
		e.off = 0
		e.pieces--
	}
	if e.pieces == 0 {
		return 0, io.EOF
	}
	n := copy(b, e.piece[e.off:])
	e.off += n
	e.given += int64(n)
	return n, nil
}

func (e *endless) Close() error { return nil }

// reader reads the answer of an import while it is written, and knows up to where the
// file is applied.
type reader struct {
	*httptest.ResponseRecorder
	t       testing.TB
	applied atomic.Int64
	last    step
}

func (r *reader) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		if r.last = read[step](r.t, reply{call: "import", body: string(line)}); r.last.Type == "progress" {
			r.applied.Store(r.last.Bytes)
		}
	}
	return len(b), nil
}

// Of a large file no more is in memory than a few pieces: what was read is applied, and
// told of, before much more is read.
func TestImportNumbersStreams(t *testing.T) {
	p := newPlatform(t, options{idle: true})
	w := &reader{ResponseRecorder: httptest.NewRecorder(), t: t}
	var lead int64
	body := &endless{piece: []byte(strings.Repeat("none,"+strings.Repeat("x", 1994)+"\n", 100)), pieces: 60, each: func(given int64) {
		lead = max(lead, given-w.applied.Load())
	}}
	r := httptest.NewRequest("POST", imports, io.MultiReader(strings.NewReader("phone_number,cnam\n"), body))
	isCSV(r)
	stepwise(r)
	with(allKey)(r)
	p.handler.ServeHTTP(w, r)
	if end := w.last; end.Type != "done" || end.Lines != 6000 || end.Refused != 6000 || end.Bytes != 12_000_018 {
		t.Errorf("the end is %+v", end)
	}
	if lead > 3*pieceBytes { // one that is applied, one that is read, and the reader's own
		t.Errorf("%d bytes were read before what came before them was applied", lead)
	}
}

// An answer at the end has the first 1000 refusals, and the count of all.
func TestImportNumbersManyRefusals(t *testing.T) {
	m, _ := newExchange(t, options{idle: true})
	got := m.imports("phone_number,cnam\n"+strings.Repeat("none,1\n", 3000)+"+14155550001,\n", "")
	if got.Lines != 3001 || got.Refused != 3001 || len(got.Refusals) != 1000 || got.Refusals[999].Line != 501 { // two faults in each
		t.Errorf("%d of %d lines are refused, with %d refusals, the last one %+v", got.Refused, got.Lines, len(got.Refusals), got.Refusals[len(got.Refusals)-1])
	}
}

// Who was interrupted goes on at the position that was reached: what is before is not
// done again, and what was in there is remembered. A file that is another one up to there
// is not taken for the same.
func TestImportNumbersGoesOn(t *testing.T) {
	m, _ := newExchange(t, options{idle: true})
	head, rest := fileHeader+numbersOf(0, 800, ""), numbersOf(800, 500, "")
	first := m.imports(head, "")
	if first.Lines != 800 || first.Changed != 800 || first.Bytes != int64(len(head)) {
		t.Fatalf("the first part: %+v", first.Imported)
	}
	at := "?position=" + first.Position
	second := m.imports(head+rest+numbersOf(7, 1, ""), at)
	if second.Lines != 501 || second.Changed != 500 || second.Refused != 1 || second.Bytes != int64(len(head+rest+numbersOf(7, 1, ""))) {
		t.Errorf("the second part: %+v", second.Imported)
	}
	if x := second.Refusals; len(x) != 1 || x[0].Line != 1302 || !strings.Contains(x[0].Message, "is in line 9 too") {
		t.Errorf("refused in it: %+v", x)
	}
	if end := m.imports(head+rest+numbersOf(7, 1, ""), "?position="+second.Position); end.Lines != 0 || end.Position != second.Position {
		t.Errorf("at its end: %+v", end)
	}
	all := stepsOf(t, m.call("POST", imports+at, head+rest, isCSV, stepwise))
	if end := all[len(all)-1]; end.Type != "done" || end.Lines != 500 || end.Changed != 0 {
		t.Errorf("again, step by step: %+v", end)
	}
	for name, file := range map[string]string{
		"a value":        strings.Replace(head, "west-1", "west-2", 1) + rest,
		"the first line": strings.Replace(head, "status", "Status", 1) + rest,
		"a line less":    fileHeader + numbersOf(1, 800, "") + rest,
		"it is shorter":  head[:len(head)-60],
	} {
		for _, edit := range []func(*http.Request){isCSV, stepwise} {
			a := m.want(409, "POST", imports+at, file, isCSV, edit)
			if f := read[fault](t, a); f.Code != 409 || !strings.Contains(f.Message, "is not the one that was begun with") {
				t.Errorf("%s: %s", name, a.body)
			}
		}
	}
	if got := len(kept(t, m.inventory)); got != 1300 {
		t.Errorf("%d numbers are there", got)
	}
}

// Of a body that breaks off only whole lines count, and not the one that it breaks off
// in, however much like a whole one it looks.
func TestImportNumbersBreaksOff(t *testing.T) {
	m, _ := newExchange(t, options{idle: true})
	s := httptest.NewServer(m.handler)
	t.Cleanup(s.Close)
	const half = "+14159999999,1,customer,west-1,true"
	for name, c := range map[string]struct {
		lines  int
		framed func(file string) string // with the end that is missing
		want   int                      // numbers that are there then
	}{
		"in its first piece": {5, func(f string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(f)+100, f) }, 0},
		"by one byte":        {5, func(f string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(f)+1, f) }, 0},
		"later":              {pieceLines + 5, func(f string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(f)+100, f) }, pieceLines},
		"in a chunk":         {5, func(f string) string { return fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s", len(f)+100, f) }, 0},
		"between chunks":     {5, func(f string) string { return fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(f), f) }, 0},
		"not, and is whole":  {5, func(f string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(f), f) }, 6},
		"not, and ends in chunks": {5, func(f string) string {
			return fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(f), f)
		}, 6},
	} {
		removeAll(t, m.inventory)
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		must(t, err)
		_, err = io.WriteString(conn, "POST "+imports+" HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nAuthorization: Bearer "+allKey+"\r\n"+c.framed(fileHeader+numbersOf(0, c.lines, "")+half))
		must(t, err)
		must(t, conn.(*net.TCPConn).CloseWrite()) // the answer can still be read
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		must(t, err)
		text, err := io.ReadAll(res.Body)
		must(t, err)
		must(t, conn.Close())
		switch {
		case c.want == 6 && res.StatusCode != 200, c.want != 6 && res.StatusCode != 400:
			t.Errorf("%s: %d %s", name, res.StatusCode, text)
		case c.want == pieceLines:
			x := read[cutShort](t, reply{body: string(text)})
			if x.Lines != pieceLines || x.Changed != pieceLines || x.Position == "" || len(x.Errors) != 1 || !strings.HasPrefix(x.Errors[0].Message, "the body broke off") {
				t.Errorf("%s: %s", name, text)
			}
		case c.want == 0 && !strings.HasPrefix(read[fault](t, reply{body: string(text)}).Errors[0].Message, "the body broke off"):
			t.Errorf("%s: %s", name, text)
		}
		if got := len(kept(t, m.inventory)); got != c.want {
			t.Errorf("%s: %d numbers are there, want %d", name, got, c.want)
		}
	}
}

// removeAll removes all numbers.
func removeAll(t testing.TB, v *inventory.Inventory) {
	t.Helper()
	all := map[int32][]string{}
	for _, n := range kept(t, v) {
		all[n.Carrier] = append(all[n.Carrier], n.E164)
	}
	for carrier, numbers := range all {
		for some := range slices.Chunk(numbers, inventory.MaxNumbers) {
			_, err := v.Remove(hook.Actor{Kind: hook.BySystem}, carrier, "", some)
			must(t, err)
		}
	}
}

// An import ends when its client sends nothing for a while, or does not read what it is
// answered. Then there is room for others.
func TestImportNumbersOfSlowClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newServed(t)
		silent, stuck := uploads(t, n, ""), uploads(t, n, "", stepwise)
		synctest.Wait()
		silent.sends(fileHeader + numbersOf(0, 2, ""))
		stuck.sends(fileHeader + numbersOf(0, pieceLines, ""))
		if s := stuck.step(); s.Lines != pieceLines {
			t.Errorf("the first piece: %+v", s)
		}
		start := time.Now()
		status, text := silent.answer()
		if f := read[fault](t, reply{body: text}); status != 400 || f.Errors[0].Message != "nothing more came for 2m0s; go on at the position that was reached, if there is one" {
			t.Errorf("who sends nothing: %d %s", status, text)
		}
		s := stuck.step()
		if s.Type != "error" || s.Code != 300 || s.Lines != pieceLines || time.Since(start) != importPause {
			t.Errorf("who sends nothing more: %+v after %v", s, time.Since(start))
		}

		// This one does not read, and what it is told does not fit into any buffer.
		deaf := uploads(t, n, "", stepwise)
		deaf.sends("phone_number,cnam\n")
		ended := make(chan time.Duration)
		go func() {
			start := time.Now()
			for {
				if _, err := io.WriteString(deaf.w, strings.Repeat("none,\n", 1000)); err != nil {
					ended <- time.Since(start)
					return
				}
			}
		}()
		if took := <-ended; took > 3*streamWrite {
			t.Errorf("it was cut off after %v", took)
		}
		synctest.Wait()
		if !strings.Contains(m.log.String(), "does not read its answer and is cut off") {
			t.Errorf("the log does not say so: %s", m.log)
		}
		m.imports(fileHeader, "")
	})
}

// Only so many files are read at a time.
func TestImportsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newServed(t)
		var open []*upload
		for range maxImports {
			u := uploads(t, n, "", stepwise)
			u.sends(fileHeader)
			open = append(open, u)
		}
		synctest.Wait()
		a := m.want(429, "POST", imports, fileHeader, isCSV)
		if a.header.Get("Retry-After") == "" || read[fault](t, a).Code != 429 {
			t.Errorf("one too many: %v %s", a.header, a.body)
		}
		open[3].ends()
		if s := open[3].step(); s.Type != "done" || s.Lines != 0 {
			t.Errorf("a file without lines: %+v", s)
		}
		synctest.Wait()
		m.imports(fileHeader, "")
	})
}

// An import that cannot go on says why, and how far it has come. What was durable stands,
// and it can be gone on with there.
func TestImportNumbersFails(t *testing.T) {
	const n = pieceLines + 100
	file := fileHeader + "none,1,customer,west-1,true\n" + numbersOf(0, n, "")
	for name, c := range map[string]struct {
		changes int // that the store makes before it fails
		err     error
		fail    func(m *market) // before the third one, if it is not the store
		code    int
	}{
		"at once":                        {0, errFull, nil, 503},
		"for want of room":               {2, errFull, nil, 503},
		"for a reason that nobody knows": {2, errBroken, nil, 500},
		"because the platform stops":     {-1, nil, func(m *market) { close(m.stopping) }, 503},
		"because the key is revoked": {-1, nil, func(m *market) {
			must(m.t, m.db.RevokeKey("key-all", time.Now()))
			time.Sleep(keyLife)
		}, 124},
	} {
		for _, stepByStep := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, %v", name, stepByStep), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m, _ := newExchange(t, options{idle: true})
					v := newValve(m.platform)
					v.changes, v.err = c.changes, c.err
					changes := 0
					v.between = func() {
						if changes++; changes == 3 && c.fail != nil {
							c.fail(m)
						}
					}
					edit := []func(*http.Request){isCSV}
					if stepByStep {
						edit = append(edit, stepwise)
					}
					a := m.call("POST", imports, file, edit...)
					v.changes, v.between = -1, nil
					var end Imported
					var f fault
					switch {
					case c.changes == 0:
						f = read[fault](t, a)
					case stepByStep:
						all := stepsOf(t, a)
						s := all[len(all)-1]
						end, f = Imported{s.Lines, s.Changed, s.Events, s.Refused, s.Position, s.Bytes}, fault{Code: s.Code, Message: s.Message}
						if s.Type != "error" || all[0].Type != "refused" {
							t.Errorf("%+v ... %+v", all[0], s)
						}
					default:
						x := read[cutShort](t, a)
						if end, f = x.Imported, x.fault; len(x.Refusals) != 1 {
							t.Errorf("%d refusals", len(x.Refusals))
						}
					}
					if want := map[int]int{124: 401, 500: 500, 503: 503}[c.code]; f.Code != c.code || f.Message == "" || strings.Contains(f.Message, errBroken.Error()) || a.status != want && (!stepByStep || c.changes == 0) {
						t.Errorf("%d %+v", a.status, f)
					}
					if got := len(kept(t, m.inventory)); got != end.Changed || got >= n || end.Lines != 0 && end.Lines != end.Changed+1 {
						t.Errorf("%d numbers are there after %+v", got, end)
					}
					if c.fail == nil {
						more := m.imports(file, "?position="+end.Position)
						if more.Changed != n-end.Changed || len(kept(t, m.inventory)) != n {
							t.Errorf("the rest is %+v", more.Imported)
						}
					}
				})
			})
		}
	}
}

// What is exported can be imported, and that changes nothing.
func TestExportNumbers(t *testing.T) {
	m, _ := newExchange(t, options{idle: true})
	const n = exportPage + 500
	m.imports(fileHeader+numbersOf(0, n, ""), "")
	m.imports("phone_number,carrier_code,account_id,sip_trunk_name,status,number_type,allocated_product,billing_ref_id,service_info,cnam,country,address_line1,address_line2,city,zip,state_code,assigned\n"+
		"+14155550001,2,partner,\"west, \"\"1\"\"\",true,VirtualService,ZOOM_CONTACT_CENTER,--,=1+1,PINECONE,US,1200 Battery Street,---,Zürich,94111,CA,TRUE\n+14155550002,3,customer,-x,false,Mobile,ZOOM_PHONE,,,,,1 Embarcadero,,,,,\n", "")
	before := kept(t, m.inventory)
	a := m.want(200, "GET", numbers+"/export", "")
	if a.header.Get("Content-Type") != "text/csv; charset=utf-8" || a.header.Get("Content-Disposition") != `attachment; filename="numbers.csv"` || strings.Count(a.body, "\n") != n+3 {
		t.Errorf("%v with %d lines", a.header, strings.Count(a.body, "\n"))
	}
	if got := m.imports(a.body, ""); got.Lines != n+2 || got.Changed != 0 || got.Events != 0 || got.Refused != 0 {
		t.Errorf("imported: %+v", got)
	}
	if after := kept(t, m.inventory); !slices.Equal(after, before) {
		t.Error("the numbers are different since")
	}
	for query, want := range map[string]int{"?carrier_code=1": n, "?account_id=partner": 1, "?carrier_code=3&account_id=customer": 1, "?carrier_code=3&account_id=partner": 0, "?carrier_code=99": 0} {
		if got := strings.Count(exports(m.platform, query), "\n"); got != want+1 {
			t.Errorf("%s: %d lines", query, got)
		}
	}
	golden(t, "export_numbers.golden", exports(m.platform, "?carrier_code=2")+exports(m.platform, "?carrier_code=3"))
	if a := m.want(200, "HEAD", numbers+"/export", ""); a.body != "" {
		t.Errorf("a body: %s", a.body)
	}

	// What was exported makes another platform the same.
	other, _ := newExchange(t, options{idle: true})
	if got := other.imports(a.body, ""); got.Changed != n+2 || got.Refused != 0 || !slices.Equal(kept(t, other.inventory), before) {
		t.Errorf("on another platform: %+v", got)
	}
}

// An export that fails on its way is not taken for a whole one; and one that nobody reads
// ends.
func TestExportNumbersFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newServed(t)
		m.imports(fileHeader+numbersOf(0, 3*exportPage, ""), "")
		v := newValve(m.platform)
		ask := func() (*http.Response, error) {
			req, err := http.NewRequestWithContext(t.Context(), "GET", "http://platform.test"+numbers+"/export", nil)
			must(t, err)
			with(readKey)(req)
			return clientOf(t, n).Do(req)
		}
		for _, reads := range []int{1, 2} {
			v.reads = reads
			res, err := ask()
			must(t, err)
			text, err := io.ReadAll(res.Body)
			if err == nil || len(text) == 0 {
				t.Errorf("after %d pages: %d bytes, and no error", reads, len(text))
			}
			must(t, res.Body.Close())
		}
		v.reads = 0
		if a := m.call("GET", numbers+"/export", ""); a.status != 500 || read[fault](t, a).Code != 500 {
			t.Errorf("before the first page: %d %s", a.status, a.body)
		}
		v.reads = -1
		res, err := ask()
		must(t, err)
		defer res.Body.Close()
		time.Sleep(2 * streamWrite) // and it reads nothing
		synctest.Wait()
		if _, err := io.ReadAll(res.Body); err == nil {
			t.Error("who does not read was not cut off")
		}
		res, err = ask()
		must(t, err)
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil || strings.Count(string(text), "\n") != 3*exportPage+1 {
			t.Errorf("%d lines, and %v", strings.Count(string(text), "\n"), err)
		}
	})
}

// A file has at most so many numbers. What is too much is found also where only the rest
// is asked for, and before it is done.
func TestImportNumbersTooMany(t *testing.T) {
	if racing {
		answered.Store("POST "+imports+": 413", true)
		t.Skip("nothing in here is concurrent")
	}
	p := newPlatform(t, options{idle: true})
	r, w := io.Pipe()
	go func() {
		b := []byte("phone_number\n")
		for i := range number.MaxNumbers + 1 {
			b = fmt.Appendf(b, "+1415%07d\n", 2000000+i)
			if len(b) > 1<<16 || i == number.MaxNumbers {
				_, _ = w.Write(b)
				b = b[:0]
			}
		}
		_ = w.Close()
	}()
	req := httptest.NewRequest("POST", imports+"?position=999999999-99999999-00000000", r)
	isCSV(req)
	with(allKey)(req)
	a := httptest.NewRecorder()
	p.handler.ServeHTTP(a, req)
	if f := read[fault](t, reply{body: a.Body.String()}); a.Code != 413 || f.Code != 413 || !strings.Contains(f.Message, "has more than 3000000 numbers; split it") {
		t.Errorf("%d %s", a.Code, a.Body)
	}
}

// FuzzImport: whatever a file is, each of its lines is done or refused, the same file
// again changes nothing, and what is exported then is as it was.
func FuzzImport(f *testing.F) {
	for _, file := range []string{
		"", "phone_number", fileHeader, fileHeader + numbersOf(0, 3, ""), "\ufeffPhone Number,cnam,status\r\n+14152000001,\"A, \"\"B\"\"\",TRUE\r\n", "phone_number,cnam\n+14152000001,-\n\n+14152000001,B\n",
		"phone_number,address_line1,zip,country,state_code\n+14152000001,1 Main Street,94111,us,ca\n+14152000002,-,,,\n+14152000003,---,,,", "cnam,phone_number\nA\n\"A\nB\",+14152000001\n\xff,+14152000002\n",
		"phone_number,carrier_code,account_id,number_type,allocated_product,assigned\n+442079460127,2,customer,,ZOOM_CONTACT_CENTER,true\n+442079460128,9,nobody,Fax,,\n",
	} {
		f.Add(file, "")
		f.Add(file, "40-3-e90cc090")
	}
	m, _ := newExchange(f, options{idle: true})
	call := func(t *testing.T, path, file string, status ...int) reply {
		t.Helper()
		r := httptest.NewRequest("POST", imports+path, strings.NewReader(file))
		if path == "" && file == "" {
			r = httptest.NewRequest("GET", numbers+"/export", nil)
		}
		isCSV(r)
		with(allKey)(r)
		w := httptest.NewRecorder()
		m.handler.ServeHTTP(w, r)
		if !slices.Contains(status, w.Code) {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return reply{status: w.Code, body: w.Body.String()}
	}
	f.Fuzz(func(t *testing.T, file, position string) {
		if len(file) == 0 {
			t.Skip() // which stands for an export here
		}
		if a := call(t, "?position="+url.QueryEscape(position), file, 200, 400, 409); a.status == 200 && position != "" {
			if p, err := filePosition(position); err != nil || viewPosition(p) != position {
				t.Errorf("position %q is taken for %v", position, p)
			}
		}
		a := call(t, "", file, 200, 400)
		if a.status == 400 {
			if f := read[fault](t, a); f.Code != 300 || f.Message == "" {
				t.Errorf("%+v", f)
			}
			return
		}
		first := read[whole](t, a)
		lines := map[int]bool{}
		for _, x := range first.Refusals {
			if lines[x.Line] = true; x.Line < 2 || x.Message == "" || !utf8.ValidString(x.Number+x.Message) {
				t.Errorf("%+v", x)
			}
		}
		if first.Changed > first.Lines-first.Refused || len(first.Refusals) < maxRefusals && len(lines) != first.Refused || first.Bytes != int64(len(file)) {
			t.Errorf("%+v of %d bytes", first, len(file))
		}
		again := read[whole](t, call(t, "", file, 200))
		if first.Changed, first.Events = 0, 0; fmt.Sprint(again) != fmt.Sprint(first) {
			t.Errorf("again it is %+v, after %+v", again, first)
		}
		exported := call(t, "", "", 200).body
		if back := read[whole](t, call(t, "", exported, 200)); back.Changed != 0 || back.Refused != 0 || call(t, "", "", 200).body != exported {
			t.Errorf("%+v came of what was exported: %q", back, exported)
		}
		removeAll(t, m.inventory)
	})
}
