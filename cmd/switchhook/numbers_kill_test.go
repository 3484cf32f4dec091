package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/switchhook/switchhook/webhook"
)

// relay stands between the command and the platform. Its address stays the same when the
// platform is started again, and it decides how much of a file may pass.
type relay struct {
	url string

	mu      sync.Mutex
	changed *sync.Cond
	up      *running
	limit   int64 // how many bytes of a file may pass
	call    *held // the file of the call that began last
	durable int64 // where in the file the platform says that it is
}

func openRelay(t testing.TB) *relay {
	r := &relay{}
	r.changed = sync.NewCond(&r.mu)
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	t.Cleanup(func() { r.let(math.MaxInt64) }) // nobody may be waiting when it closes
	r.url = s.URL
	return r
}

// to makes p the platform that is behind it.
func (r *relay) to(p *running) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up = p
}

// let lets so many bytes of a file pass.
func (r *relay) let(bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.limit = bytes
	r.changed.Broadcast()
}

// forget forgets the call that was under way, for it is not of the command that begins now.
func (r *relay) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.call = nil
}

func (r *relay) state() (passed, durable int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.call != nil {
		passed = r.call.at
	}
	return passed, r.durable
}

// held is a file that passes as far as it may.
type held struct {
	io.Reader
	relay *relay
	at    int64
}

func (h *held) Read(p []byte) (int, error) {
	h.relay.mu.Lock()
	for h.at == h.relay.limit {
		h.relay.changed.Wait()
	}
	room := h.relay.limit - h.at
	h.relay.mu.Unlock()
	n, err := h.Reader.Read(p[:min(int64(len(p)), room)])
	h.relay.mu.Lock()
	defer h.relay.mu.Unlock()
	h.at += int64(n)
	return n, err
}

// ServeHTTP passes a call on, and its answer line by line. If the platform is gone, so is the
// connection.
func (r *relay) ServeHTTP(w http.ResponseWriter, in *http.Request) {
	r.mu.Lock()
	up, file := r.up, &held{Reader: in.Body, relay: r}
	r.call = file
	r.mu.Unlock()
	rc := http.NewResponseController(w)
	if up == nil || rc.EnableFullDuplex() != nil {
		panic(http.ErrAbortHandler)
	}
	out, err := http.NewRequestWithContext(in.Context(), in.Method, up.url+in.URL.RequestURI(), file)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	out.Header, out.ContentLength = in.Header.Clone(), in.ContentLength
	res, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer res.Body.Close()
	maps.Copy(w.Header(), res.Header)
	w.WriteHeader(res.StatusCode)
	lines := bufio.NewReader(res.Body)
	for {
		line, err := lines.ReadBytes('\n')
		var step struct{ Bytes int64 }
		if json.Unmarshal(line, &step) == nil && step.Bytes > 0 {
			r.mu.Lock()
			r.durable = step.Bytes
			r.mu.Unlock()
		}
		_, _ = w.Write(line)
		_ = rc.Flush()
		if err == io.EOF {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// told is what a carrier is told of a number: what is new of it, and when that was.
type told struct {
	value string
	ts    int64
}

// listener is the endpoint of a carrier, with all that it was told of each number.
type listener struct {
	*inbox
	cnam, address map[string][]told
}

func openListener(t testing.TB) *listener {
	c := &listener{inbox: openInbox(t, "carrier", "secret-of-carrier"), cnam: map[string][]told{}, address: map[string][]told{}}
	c.each = func(e *webhook.Event) {
		var p struct {
			Object struct {
				Numbers []string `json:"phone_numbers"`
				CNAM    string   `json:"cnam"`
				Address struct {
					Line1 string `json:"address_line1"`
				} `json:"emergency_address"`
			} `json:"object"`
		}
		if err := json.Unmarshal(e.Payload, &p); err != nil {
			c.faults = append(c.faults, err.Error())
		}
		to, value := c.cnam, p.Object.CNAM
		if strings.HasSuffix(e.Name, "address_updated") {
			to, value = c.address, p.Object.Address.Line1
		}
		for _, n := range p.Object.Numbers {
			to[n] = append(to[n], told{value, e.Time.UnixMilli()})
		}
	}
	return c
}

// values returns what a carrier was told of each number in the order of event_ts.
func values(all map[string][]told) map[string][]string {
	v := map[string][]string{}
	for n, list := range all {
		slices.SortFunc(list, func(a, b told) int { return cmp.Compare(a.ts, b.ts) })
		for _, x := range list {
			v[n] = append(v[n], x.value)
		}
	}
	return v
}

// peered are the numbers as they have to be after some files: every caller name and address
// that each of them has had.
type peered struct {
	t             *testing.T
	dir           string
	there         map[string]bool
	cnam, address map[string][]string
}

// changes is a file, with where each line ends and which lines have to be refused.
type changes struct {
	path    string
	ends    []int64
	refused map[int]bool
}

// write makes a file of so many lines: of numbers that are new, or of changes. Equal values
// come in runs, some lines change nothing, and some cannot be made.
func (p *peered) write(name string, lines int, fresh bool) *changes {
	f := &changes{path: filepath.Join(p.dir, name), refused: map[int]bool{}}
	var b bytes.Buffer
	put := func(cells ...string) {
		b.WriteString(strings.Join(cells, ",") + "\n")
		f.ends = append(f.ends, int64(b.Len()))
	}
	put("phone_number", "cnam", "address_line1", "carrier_code", "account_id", "sip_trunk_name", "status")
	whose := []string{"", "", "", ""}
	if fresh {
		whose = []string{"1", "customer", "trunk", "true"}
	}
	var cnam, address, before string
	for i := range lines {
		if rand.IntN(20) == 0 {
			cnam = []string{"", "-", fmt.Sprintf("NAME %d", rand.IntN(5000))}[rand.IntN(3)]
		}
		if rand.IntN(30) == 0 {
			address = []string{"", "-", fmt.Sprintf("%d Market Street", rand.IntN(5000))}[rand.IntN(3)]
		}
		number := fmt.Sprintf("+1415%07d", 2000000+i)
		cells := append([]string{number, cnam, address}, whose...)
		wrong := true
		switch {
		case i%211 == 50:
			cells[1] = "12345" // no letter in it
		case i%307 == 60:
			cells[0] = before // twice in the file
		case i%503 == 70:
			cells[0] = "4155550132"
		default:
			wrong = !fresh && !p.there[number]
		}
		put(cells...)
		if cells[0] == number {
			before = number
		}
		if wrong {
			f.refused[i+2] = true
			continue
		}
		p.there[number] = true
		change(p.cnam, number, cnam)
		change(p.address, number, address)
	}
	must(p.t, os.WriteFile(f.path, b.Bytes(), 0o600))
	return f
}

// change notes what a cell makes of a value.
func change(all map[string][]string, number, cell string) {
	if value := strings.TrimPrefix(cell, "-"); cell != "" && value != latest(all[number]) {
		all[number] = append(all[number], value)
	}
}

func latest(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1]
}

// imports is the command at work, as often as it takes.
type imports struct {
	t     *testing.T
	relay *relay
	key   string
	file  *changes

	cmd     *exec.Cmd
	out     lockedBuffer
	ended   chan error
	killed  bool        // with kill -9, so that some of the report may come again
	refused map[int]int // how often each line was reported
	lines   int         // what the last report counts
}

func (im *imports) start() {
	im.t.Helper()
	im.out = lockedBuffer{}
	im.relay.forget()
	im.cmd = exec.Command(program(im.t), "numbers", "import", im.file.path, "-o", "ndjson")
	im.cmd.Env = append(os.Environ(), "SWITCHHOOK_SERVER="+im.relay.url, "SWITCHHOOK_KEY="+im.key)
	im.cmd.Stdout = &im.out
	im.cmd.Stderr = im.t.Output()
	must(im.t, im.cmd.Start())
	im.ended = make(chan error, 1)
	go func(cmd *exec.Cmd) { im.ended <- cmd.Wait() }(im.cmd)
	im.t.Cleanup(func() { _ = im.cmd.Process.Kill() })
}

// end waits for the end of the command and takes its report.
func (im *imports) end() (code int) {
	im.t.Helper()
	select {
	case <-im.ended:
	case <-time.After(2 * time.Minute):
		im.t.Fatal("the import does not end")
	}
	for line := range strings.Lines(im.out.String()) {
		var x struct {
			Type        string
			Line, Lines int
		}
		if !strings.HasSuffix(line, "\n") {
			continue // it was killed within it
		}
		must(im.t, json.Unmarshal([]byte(line), &x))
		if im.lines = x.Lines; x.Type == "refused" {
			im.refused[x.Line]++
		}
	}
	return im.cmd.ProcessState.ExitCode()
}

// Whatever is killed in the middle of an import, the platform or the command or both, and
// whenever: the same command goes on to the end. Then every line has been made once or
// refused once, and of what was made the carrier has been told, number by number, and of
// nothing else.
func TestImportKilled(t *testing.T) {
	lines, rounds := 30_000, 8
	if testing.Short() {
		lines, rounds = 9_000, 2
	}
	in := install(t)
	end := openListener(t)
	p := in.serve("--retry-steps", "200ms,200ms,200ms")
	p.ask("POST", operator+"/apply", `{"accounts":[{"id":"carrier"},{"id":"customer"}],"apps":[{"name":"carrier","account_id":"carrier","secret_token":"secret-of-carrier",
		"scopes":["number_management_numbers:read:admin"],"subscriptions":[{"event_subscription_name":"numbers","event_webhook_url":"`+end.url+`",
		"events":["number_management.peering_number_cnam_updated","number_management.peering_number_emergency_address_updated"]}]}]}`, http.StatusOK, nil)
	var apps struct {
		Apps []struct {
			ID string `json:"app_id"`
		}
	}
	p.ask("GET", operator+"/apps", "", http.StatusOK, &apps)
	p.ask("PUT", operator+"/carriers/1", `{"name":"Carrier","app_id":"`+apps.Apps[0].ID+`"}`, http.StatusCreated, nil)

	relay := openRelay(t)
	relay.to(p)
	numbers := &peered{t: t, dir: t.TempDir(), there: map[string]bool{}, cnam: map[string][]string{}, address: map[string][]string{}}
	// piece is how many lines the platform applies at a time.
	const piece = 2400
	for _, name := range []string{"fresh", "changed"} {
		im := &imports{t: t, relay: relay, key: in.key, file: numbers.write(name+".csv", lines, name == "fresh"), refused: map[int]int{}}
		relay.let(0)
		im.start()
		line := 0
		for round := range rounds {
			// The platform gets so much of the file and no more, until something has been killed.
			step := 1 + rand.IntN(lines/rounds-1)
			if round == 0 {
				step = piece + piece/2
			}
			line += step
			relay.let(im.file.ends[line])
			// In the first round the platform has less than one piece in hand when it is killed: it
			// waits between two of them. In the others it has several, and is at work.
			inHand := piece
			if round > 0 {
				inHand = 3 * piece
			}
			waitFor(t, "the next part of the file", func() bool {
				passed, durable := relay.state()
				return passed == im.file.ends[line] && (line < inHand || durable >= im.file.ends[line-inHand])
			})
			if round > 0 {
				time.Sleep(time.Duration(rand.IntN(100_000)) * time.Microsecond) // the moment is the point
			}
			platform, command := round%4 != 3, round%4
			if platform {
				relay.to(nil)
				must(t, p.Process.Signal(syscall.SIGKILL))
				_ = p.Wait()
			}
			if command == 1 || command == 3 {
				must(t, im.cmd.Process.Signal(syscall.SIGINT))
			}
			if command == 2 {
				must(t, im.cmd.Process.Kill())
				im.killed = true
			}
			if platform {
				p = in.serve("--retry-steps", "200ms,200ms,200ms")
				relay.to(p)
			}
			if command != 0 {
				if code := im.end(); code == exitOK {
					t.Fatalf("round %d: interrupted, it ends with exit code %d", round, code)
				}
				im.start()
			}
		}
		relay.let(math.MaxInt64)
		if code := im.end(); code != exitFailed {
			t.Errorf("%s: lines were refused, and the exit code is %d", name, code)
		}
		if im.lines != lines {
			t.Errorf("%s: the report says %d lines, want %d", name, im.lines, lines)
		}
		for line, times := range im.refused {
			if !im.file.refused[line] || times > 1 && !im.killed {
				t.Errorf("%s: line %d was refused %d times", name, line, times)
			}
		}
		if len(im.refused) != len(im.file.refused) {
			t.Errorf("%s: %d lines were refused, want %d", name, len(im.refused), len(im.file.refused))
		}
		if left, err := filepath.Glob(filepath.Join(numbers.dir, "*.import*")); err != nil || len(left) > 0 {
			t.Errorf("%s: %s is left", name, left)
		}
	}

	waitFor(t, "the end of all deliveries", func() bool {
		var list struct{ Deliveries []any }
		p.ask("GET", operator+"/deliveries?state=waiting", "", http.StatusOK, &list)
		return len(list.Deliveries) == 0
	})
	out, err := p.command("numbers", "export").Output()
	must(t, err)
	p.stop()
	for _, f := range end.faults {
		t.Error(f)
	}
	cnam, address := values(end.cnam), values(end.address)
	compareTold(t, "caller name", cnam, numbers.cnam)
	compareTold(t, "address", address, numbers.address)

	// What the carrier makes of what it was told is what there is.
	rows, err := csv.NewReader(bytes.NewReader(out)).ReadAll()
	must(t, err)
	at := map[string]int{}
	for i, column := range rows[0] {
		at[column] = i
	}
	for _, row := range rows[1:] {
		n := row[at["phone_number"]]
		if !numbers.there[n] {
			t.Errorf("%s is there", n)
		}
		delete(numbers.there, n)
		if got, want := row[at["cnam"]], latest(cnam[n]); got != want {
			t.Errorf("%s has the caller name %q, and the carrier has %q", n, got, want)
		}
		if got, want := row[at["address_line1"]], latest(address[n]); got != want {
			t.Errorf("%s has the address %q, and the carrier has %q", n, got, want)
		}
	}
	if len(numbers.there) > 0 {
		t.Errorf("%d numbers are missing", len(numbers.there))
	}
	t.Logf("%d numbers; %d events, %d deliveries of them repeated", len(rows)-1, len(end.got), end.repeated)
}

// Whoever changes a file after its import was interrupted gets what is in it now, all of it.
func TestImportChangedMeanwhile(t *testing.T) {
	in := install(t)
	p := in.serve()
	p.peer()
	relay := openRelay(t)
	relay.to(p)
	numbers := &peered{t: t, dir: t.TempDir(), there: map[string]bool{}, cnam: map[string][]string{}, address: map[string][]string{}}
	im := &imports{t: t, relay: relay, key: in.key, file: numbers.write("numbers.csv", 6000, true), refused: map[int]int{}}
	relay.let(im.file.ends[5000])
	im.start()
	waitFor(t, "the note of the first pieces", func() bool { // what has passed the relay is not there yet
		_, err := os.Stat(im.file.path + ".import")
		return err == nil
	})
	must(t, im.cmd.Process.Signal(syscall.SIGINT))
	if code := im.end(); code != exitFailed {
		t.Errorf("interrupted, it ends with exit code %d", code)
	}

	text, err := os.ReadFile(im.file.path)
	must(t, err)
	lines := strings.SplitAfter(string(text), "\n")
	cells := strings.Split(lines[10], ",")
	cells[1] = "LATE CHANGE"
	lines[10] = strings.Join(cells, ",")
	must(t, os.WriteFile(im.file.path, []byte(strings.Join(lines, "")), 0o600))

	relay.let(math.MaxInt64)
	again := p.command("numbers", "import", im.file.path)
	again.Env = append(again.Env, "SWITCHHOOK_SERVER="+relay.url)
	out, err := again.CombinedOutput()
	if code := exitCode(err); code != exitFailed || !strings.HasPrefix(string(out), "going on after ") ||
		!strings.Contains(string(out), " is not the file that was begun with, it was changed: beginning from the start\n") || !strings.Contains(string(out), "\n6,000 lines: ") {
		t.Errorf("exit code %d; it says\n%s", code, out)
	}
	out, err = p.command("numbers", "show", cells[0]).Output()
	if err != nil || !strings.Contains(string(out), "LATE CHANGE") {
		t.Errorf("%v: %s", err, out)
	}
}

func exitCode(err error) int {
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode()
	}
	return exitOK
}

// compareTold compares what a carrier was told with what there was to tell.
func compareTold(t *testing.T, what string, got, want map[string][]string) {
	t.Helper()
	wrong := 0
	for n := range got {
		if _, ok := want[n]; !ok {
			t.Errorf("the carrier was told of the %s of %s, which has none: %q", what, n, got[n])
			wrong++
		}
	}
	for n := range want {
		if !slices.Equal(got[n], want[n]) {
			t.Errorf("the carrier was told that the %s of %s was %q, and it was %q", what, n, got[n], want[n])
			wrong++
		}
		if wrong > 10 {
			t.Fatal("and so on")
		}
	}
}

// command is the program as a client of the platform.
func (p *running) command(args ...string) *exec.Cmd {
	cmd := exec.Command(program(p.t), args...)
	cmd.Env = append(os.Environ(), "SWITCHHOOK_SERVER="+p.url, "SWITCHHOOK_KEY="+p.key)
	return cmd
}

// peer makes a carrier and a customer.
func (p *running) peer() {
	p.t.Helper()
	p.ask("POST", operator+"/apply", `{"accounts":[{"id":"customer"}]}`, http.StatusOK, nil)
	p.ask("PUT", operator+"/carriers/1", `{"name":"Carrier"}`, http.StatusCreated, nil)
}
