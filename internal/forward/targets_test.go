package forward_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/switchhook/switchhook/internal/forward"
	"github.com/switchhook/switchhook/internal/inbox"
	"github.com/switchhook/switchhook/internal/memnet"
	"github.com/switchhook/switchhook/webhook"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares what others read with what it was when somebody looked at it last.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
	}
}

// sample is a message that is always the same.
func sample(t testing.TB, body string, change func(*inbox.Event)) *forward.Message {
	t.Helper()
	var e *inbox.Event
	synctestTime(t, func(t *testing.T) {
		e = arrive(t, fresh(t), "zoom", "a.b", 7)
	})
	e.Body = []byte(body)
	if change != nil {
		change(e)
	}
	return &forward.Message{Event: e, Key: e.Key()}
}

// synctestTime calls f at midnight, 1 January 2000.
func synctestTime(t testing.TB, f func(*testing.T)) { synctest.Test(t.(*testing.T), f) }

// backend serves h in memory, and is forwarded to with the rest of c.
func backend(t testing.TB, c forward.HTTPConfig, h http.HandlerFunc) forward.Target {
	t.Helper()
	nw := &memnet.Net{}
	nw.Handle(t, "backend.test", h)
	c.Dial = nw.DialContext
	if c.URL == "" {
		c.URL = "http://backend.test/hooks"
	}
	to, err := forward.HTTP(c)
	must(t, err)
	t.Cleanup(func() { must(t, to.Close()) })
	return to
}

// A backend gets the request as it was received, and what it needs to know a repeat.
func TestHTTPAsReceived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got bytes.Buffer
		to := backend(t, forward.HTTPConfig{Header: http.Header{"X-Backend": {"yes"}}}, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(&got, "%s %s\n", r.Method, r.URL)
			must(t, r.Header.Write(&got))
			_, _ = fmt.Fprintln(&got)
			_, _ = io.Copy(&got, r.Body)
			w.WriteHeader(http.StatusAccepted)
		})
		in := fresh(t)
		e := arrive(t, in, "zoom", "a.b", 7)
		n, err := to.Take(t.Context(), []*forward.Message{{Event: e, Key: e.Key(), Replay: true}})
		if n != 1 || err != nil {
			t.Fatal(n, err)
		}
		golden(t, "request.golden", bytes.ReplaceAll(got.Bytes(), []byte("\r\n"), []byte("\n")))
	})
}

// With a secret each attempt is signed anew, so that a backend can check it also
// days later, with nothing but the webhook package.
func TestHTTPSigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := webhook.New(webhook.Config{Secrets: []string{"secret-of-backend"}})
		must(t, err)
		var names []string
		take := r.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			e, _ := webhook.FromContext(r.Context())
			names = append(names, e.Name+" "+e.RequestID)
		}))
		to := backend(t, forward.HTTPConfig{Secret: "secret-of-backend"}, take.ServeHTTP)
		e := arrive(t, fresh(t), "zoom", "a.b", 7)
		time.Sleep(72 * time.Hour)
		if n, err := to.Take(t.Context(), []*forward.Message{{Event: e, Key: e.Key()}}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if len(names) != 1 || names[0] != "a.b r7" {
			t.Errorf("%q", names)
		}
	})
}

// Only 2xx takes an event; what went wrong otherwise is told without what is secret.
func TestHTTPAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		url    string
		want   string // in the error; empty: there is none
		later  time.Duration
	}{
		"200": {func(http.ResponseWriter, *http.Request) {}, "", "", 0},
		"204": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, "", "", 0},
		"400": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no\x1b[31m", 400) }, "", `status 400: "no\x1b[31m\n"`, 0},
		"500": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "", "status 500", 0},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, "", "status 307", 0},
		"retry-after": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "42"); w.WriteHeader(503) }, "", "status 503", 42 * time.Second},
		"a break": {func(w http.ResponseWriter, _ *http.Request) {
			panic(http.ErrAbortHandler)
		}, "", "EOF", 0},
		"too slow": {func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, "", "no answer within 1m0s", 0},
		"nobody there": {nil, "http://user:pass-word@nobody.test/", "connection refused", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := arrive(t, fresh(t), "zoom", "a.b", 7)
				to := backend(t, forward.HTTPConfig{URL: c.url, Timeout: time.Minute}, c.answer)
				n, err := to.Take(t.Context(), []*forward.Message{{Event: e, Key: e.Key()}})
				if c.want == "" {
					if n != 1 || err != nil {
						t.Errorf("%d %v", n, err)
					}
					return
				}
				if n != 0 || err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "pass-word") {
					t.Errorf("%d %v, want %q", n, err, c.want)
				}
				later, ok := errors.AsType[*forward.Later](err)
				if ok != (c.later > 0) || ok && later.After != c.later {
					t.Errorf("%+v", later)
				}
			})
		})
	}
}

// Several requests at a time are as many events as were taken without a gap. What was
// taken beyond the gap is not sent again with what is missing.
func TestHTTPParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := fresh(t)
		var messages []*forward.Message
		for i := range 10 {
			e := arrive(t, in, "zoom", "a.b", i)
			messages = append(messages, &forward.Message{Event: e, Key: e.Key()})
		}
		refused := "0"
		var mu sync.Mutex
		requests := map[string]int{}
		to := backend(t, forward.HTTPConfig{Parallel: 4}, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			mu.Lock()
			requests[r.Header.Get(forward.HeaderNumber)]++
			mu.Unlock()
			if r.Header.Get(forward.HeaderNumber) == refused {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		before := time.Now()
		if n, err := to.Take(t.Context(), messages); n != 4 || err != nil || time.Since(before) != time.Second {
			t.Errorf("%d %v after %v", n, err, time.Since(before))
		}
		refused = "7"
		if n, err := to.Take(t.Context(), messages[4:]); n != 2 || err == nil {
			t.Errorf("%d %v", n, err)
		}
		if n, err := to.Take(t.Context(), messages[6:]); n != 0 || err == nil {
			t.Errorf("%d %v", n, err)
		}
		refused = "0"
		if n, err := to.Take(t.Context(), messages[6:]); n != 4 || err != nil {
			t.Errorf("%d %v", n, err)
		}
		if want := map[string]int{"1": 1, "2": 1, "3": 1, "4": 1, "5": 1, "6": 1, "7": 3, "8": 1, "9": 1, "10": 1}; !maps.Equal(requests, want) {
			t.Errorf("%v, want %v", requests, want)
		}
	})
}

func TestHTTPConfigs(t *testing.T) {
	for name, c := range map[string]forward.HTTPConfig{
		"no URL":         {},
		"not of http":    {URL: "ftp://x"},
		"no host":        {URL: "http:///x"},
		"a blank secret": {URL: "http://x", Secret: " "},
	} {
		if to, err := forward.HTTP(c); err == nil || to != nil {
			t.Errorf("%s: %v", name, to)
		}
	}
}

// A line has what is known of an event, and its body byte for byte: as JSON where it
// can be in a line, otherwise in base64.
func TestLines(t *testing.T) {
	var out bytes.Buffer
	to := forward.Writer(&out)
	var messages []*forward.Message
	for _, body := range []string{
		`{"event":"a.b","payload":{"text":"<&>\u2028é 😀 1e400"},"n":1.0,"a":1,"a":2}`,
		"{\n\"pretty\": true}", "no JSON", "", "\xff\xfe", "\"\xff\"", `"text"`, ` {} `,
	} {
		messages = append(messages, sample(t, body, nil))
	}
	messages[1].Replay, messages[2].Conflict = true, true
	n, err := to.Take(t.Context(), messages)
	if n != len(messages) || err != nil {
		t.Fatal(n, err)
	}
	golden(t, "lines.golden", out.Bytes())
}

// What a line has of a body is the body.
func TestLinesKeepBodies(t *testing.T) {
	m := sample(t, "", nil)
	rapid.Check(t, func(rt *rapid.T) {
		body := rapid.OneOf(
			rapid.SliceOf(rapid.Byte()),
			rapid.Map(rapid.String(), func(s string) []byte { raw, _ := json.Marshal(map[string]string{"text": s}); return raw }),
		).Draw(rt, "body")
		own := *m.Event
		own.Body = body
		var out bytes.Buffer
		if n, err := forward.Writer(&out).Take(t.Context(), []*forward.Message{{Event: &own, Key: m.Key}}); n != 1 || err != nil {
			rt.Fatal(n, err)
		}
		line := out.Bytes()
		var got struct {
			Body   json.RawMessage `json:"body"`
			Base64 []byte          `json:"body_base64"`
		}
		if err := json.Unmarshal(line, &got); err != nil || bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
			rt.Fatalf("%q: %v", line, err)
		}
		if whole := slices.Concat(got.Base64, bytes.TrimSpace(got.Body)); !bytes.Equal(whole, body) && !bytes.Equal(whole, bytes.TrimSpace(body)) {
			rt.Fatalf("%q became %q", body, line)
		}
		if json.Valid(body) && utf8.Valid(body) && !bytes.ContainsAny(body, "\r\n") && !bytes.Contains(line, body) {
			rt.Fatalf("%q is not byte for byte in %q", body, line)
		}
	})
}

// A writer that fails has been given what it has taken, and nothing after it.
func TestWriterFails(t *testing.T) {
	m := sample(t, "{}", nil)
	w := &limited{left: 2}
	n, err := forward.Writer(w).Take(t.Context(), []*forward.Message{m, m, m, m})
	if n != 2 || !errors.Is(err, errDown) {
		t.Error(n, err)
	}
}

// limited fails after some writes.
type limited struct{ left int }

func (l *limited) Write(p []byte) (int, error) {
	if l.left--; l.left < 0 {
		return 0, errDown
	}
	return len(p), nil
}

func openFile(t testing.TB, c forward.FileConfig) forward.Target {
	t.Helper()
	to, err := forward.File(c)
	must(t, err)
	return to
}

// linesOf returns the numbers of the events in a file.
func linesOf(t testing.TB, file string) (ids []int64) {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	for line := range bytes.Lines(text) {
		var e struct{ ID int64 }
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%s: %q: %v", file, line, err)
		}
		ids = append(ids, e.ID)
	}
	return ids
}

func numbered(m *forward.Message, ids ...int64) (messages []*forward.Message) {
	for _, id := range ids {
		e := *m.Event
		e.ID = id
		messages = append(messages, &forward.Message{Event: &e, Key: m.Key})
	}
	return messages
}

func takeAll(t testing.TB, to forward.Target, messages []*forward.Message) {
	t.Helper()
	for len(messages) > 0 {
		n, err := to.Take(t.Context(), messages)
		if n == 0 || err != nil {
			t.Fatal(n, err)
		}
		messages = messages[n:]
	}
}

// A file goes on where it was. Half a line that a crash has left is not there
// any more when the event comes again.
func TestFileGoesOn(t *testing.T) {
	m := sample(t, `{"event":"a.b"}`, nil)
	for name, left := range map[string]string{"nothing": "", "half a line": `{"key":"`, "a long half": `{"key":"` + strings.Repeat("x", 200_000)} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "events.ndjson")
			to := openFile(t, forward.FileConfig{Path: file})
			takeAll(t, to, numbered(m, 1, 2))
			must(t, to.Close())
			f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteString(left)
			must(t, err)
			must(t, f.Close())
			to = openFile(t, forward.FileConfig{Path: file})
			takeAll(t, to, numbered(m, 3))
			must(t, to.Close())
			equal(t, "lines", linesOf(t, file), []int64{1, 2, 3})
		})
	}
}

// What somebody does to the file while it is open loses nothing that comes after it.
func TestFileIsMoved(t *testing.T) {
	m := sample(t, `{"event":"a.b"}`, nil)
	for name, c := range map[string]struct {
		change func(file string) error
		want   []int64
	}{
		"deleted": {os.Remove, []int64{3}},
		"moved":   {func(file string) error { return os.Rename(file, file+".1") }, []int64{3}},
		"emptied": {func(file string) error { return os.Truncate(file, 0) }, []int64{3}},
		"replaced": {func(file string) error {
			return errors.Join(os.Remove(file), os.WriteFile(file, []byte("{\"id\":9}\n"), 0o600))
		}, []int64{9, 3}},
		"untouched": {func(string) error { return nil }, []int64{1, 2, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" {
				t.Skip("left out: nobody else can do that there while it is open")
			}
			file := filepath.Join(t.TempDir(), "events.ndjson")
			to := openFile(t, forward.FileConfig{Path: file})
			takeAll(t, to, numbered(m, 1, 2))
			must(t, c.change(file))
			takeAll(t, to, numbered(m, 3))
			must(t, to.Close())
			equal(t, "lines", linesOf(t, file), c.want)
		})
	}
}

// A file that is large enough is set aside whole; of those the latest are kept, and
// what else is in the directory is left alone.
func TestFileRotates(t *testing.T) {
	m := sample(t, `{"event":"a.b"}`, nil)
	dir := t.TempDir()
	file := filepath.Join(dir, "events.ndjson")
	for _, other := range []string{"events-old.ndjson", "events-20000101T000000.000000000.txt", "x-20000101T000000.000000000.ndjson"} {
		must(t, os.WriteFile(filepath.Join(dir, other), nil, 0o600))
	}
	to := openFile(t, forward.FileConfig{Path: file, Rotate: 1000, Keep: 3})
	takeAll(t, to, numbered(m, span(1, 40)...))
	must(t, to.Close())
	aside, err := filepath.Glob(filepath.Join(dir, "events-2*.ndjson"))
	must(t, err)
	if len(aside) != 3 {
		t.Fatalf("%v", aside)
	}
	var all []int64
	for _, f := range append(aside, file) {
		own := linesOf(t, f)
		info, err := os.Stat(f)
		must(t, err)
		if f != file && (info.Size() < 1000 || info.Size() > 2000) {
			t.Errorf("%s has %d bytes", f, info.Size())
		}
		all = append(all, own...)
	}
	if first := all[0]; first == 1 || len(all) != int(40-first+1) {
		t.Errorf("%v", all)
	}
	equal(t, "what is kept", all, span(all[0], 40))
	if left, _ := filepath.Glob(filepath.Join(dir, "*-*")); len(left) != 3+3 {
		t.Errorf("%v", left)
	}
}

// A file in no directory is found before anything is received for it.
func TestFileWithoutDirectory(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{dir: "forward: " + dir + " is a directory; name a file in it", os.DevNull: "forward: " + os.DevNull + " is not a regular file"} {
		if to, err := forward.File(forward.FileConfig{Path: path}); err == nil || err.Error() != want || to != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if to, err := forward.File(forward.FileConfig{Path: filepath.Join(dir, "no", "file")}); err == nil || to != nil {
		t.Errorf("it was opened: %v", err)
	}
}

// A command gets the body as its input and the rest in its environment; its exit code
// says whether it has taken the event.
func TestCommand(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("left out: there is no sh")
	}
	m := sample(t, `{"event":"a.b"}`, func(e *inbox.Event) { e.Name = "a\x00b" })
	m.Replay = true
	file := filepath.Join(t.TempDir(), "out")
	shell := func(script string, timeout time.Duration) forward.Target {
		t.Helper()
		to, err := forward.Command(forward.CommandConfig{Args: []string{"sh", "-c", script, "sh", file}, Timeout: timeout})
		must(t, err)
		return to
	}
	n, err := shell(`cat >"$1"; echo " $SWITCHHOOK_KEY $SWITCHHOOK_EVENT $SWITCHHOOK_NAME $SWITCHHOOK_SOURCE $SWITCHHOOK_RECEIVED $SWITCHHOOK_REQUEST_ID $SWITCHHOOK_REPLAY" >>"$1"`, 0).
		Take(t.Context(), []*forward.Message{m, m})
	if n != 1 || err != nil {
		t.Fatal(n, err)
	}
	got, err := os.ReadFile(file)
	must(t, err)
	if want := `{"event":"a.b"} ` + m.Key + " 1 ab zoom 2000-01-01T00:00:00Z r7 true\n"; string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
	for name, c := range map[string]struct {
		script  string
		timeout time.Duration
		want    string
	}{
		"it fails":                {`exit 3`, 0, "sh: exit status 3"},
		"it says why":             {`echo "no database" >&2; exit 1`, 0, `it said: "no database"`},
		"it says much":            {`i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done; exit 1`, 0, `line 999"`},
		"it takes too long":       {`exec sleep 60`, 50 * time.Millisecond, "did not end within 50ms"},
		"it does not read":        {`true`, 0, ""},
		"it leaves a child there": {`sleep 60 & true`, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			big := *m
			e := *m.Event
			e.Body = bytes.Repeat([]byte("x"), 1<<20)
			big.Event = &e
			n, err := shell(c.script, c.timeout).Take(t.Context(), []*forward.Message{&big})
			if c.want == "" && (n != 1 || err != nil) || c.want != "" && (n != 0 || err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%d %v, want %q", n, err, c.want)
			}
		})
	}
	for _, args := range [][]string{nil, {"no-such-program-here"}} {
		if to, err := forward.Command(forward.CommandConfig{Args: args}); err == nil || to != nil {
			t.Errorf("%q is a command", args)
		}
	}
}
