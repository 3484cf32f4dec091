package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/memnet"
)

// numbersFile is what the tests here import. Nobody reads what is in it.
const numbersFile = "phone_number,cnam\n+14155550132,PINECONE BAKERY\n\n\n\n"

// importScript is a platform in a bubble that answers imports as it is told to: each call by the
// next answer.
type importScript struct {
	t       *testing.T
	net     memnet.Net
	dir     string
	answers []func(*importCall)
	asked   []string // the position of each call
}

// importCall is a call that is being answered.
type importCall struct {
	http.ResponseWriter
	*http.Request
	t *testing.T
}

func newImportScript(t *testing.T, answers ...func(*importCall)) *importScript {
	t.Helper()
	s := &importScript{t: t, dir: t.TempDir(), answers: answers}
	must(t, os.WriteFile(s.path("numbers.csv"), []byte(numbersFile), 0o600))
	must(t, os.WriteFile(s.path("operator.key"), []byte("shk_secret\n"), 0o600))
	s.up()
	return s
}

func (s *importScript) path(name string) string { return filepath.Join(s.dir, name) }

func (s *importScript) up() {
	s.net.Handle(s.t, "platform.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := len(s.asked)
		s.asked = append(s.asked, r.URL.Query().Get("position"))
		if n >= len(s.answers) {
			s.t.Errorf("call %d was not expected", n+1)
			panic(http.ErrAbortHandler)
		}
		s.answers[n](&importCall{w, r, s.t})
	}))
}

// read takes the file, all of it.
func (c *importCall) read() {
	c.t.Helper()
	body, err := io.ReadAll(c.Body)
	if err != nil || string(body) != numbersFile {
		c.t.Errorf("the platform was sent %q, %v", body, err)
	}
}

// say writes lines of the answer.
func (c *importCall) say(lines ...string) {
	c.t.Helper()
	for _, line := range lines {
		fmt.Fprintln(c.ResponseWriter, line)
	}
	must(c.t, http.NewResponseController(c.ResponseWriter).Flush())
}

// breakOff ends the connection in the middle of the answer.
func (c *importCall) breakOff() { panic(http.ErrAbortHandler) }

// refusedLine and progressLine are what the platform says of a line, and of how far it is.
func refusedLine(line int) string {
	return fmt.Sprintf(`{"type":"refused","line":%d,"phone_number":"+1415555%04d","field":"cnam","message":"is wrong"}`, line, line)
}

func progressLine(kind string, lines, refused int, position string) string {
	return fmt.Sprintf(`{"type":%q,"lines":%d,"changed":%d,"events":1,"refused":%d,"position":%q,"bytes":%d}`, kind, lines, lines-refused, refused, position, len(numbersFile)/2)
}

// imported is what came of an import.
type imported struct {
	out, messages string
	err           error
}

// importing returns an import of the file.
func (s *importScript) importing(format string, out, messages io.Writer) *importing {
	src, err := openSource(nil, s.path("numbers.csv"))
	must(s.t, err)
	s.t.Cleanup(src.close)
	return newImporting(s.client(), src, &output{format: format, w: out}, messages)
}

func (s *importScript) client() *client {
	tr := &http.Transport{DialContext: s.net.DialContext, ExpectContinueTimeout: time.Second}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &client{server: "http://platform.test", keyFile: s.path("operator.key"), http: &http.Client{Transport: tr}}
}

// run imports the file as the command does.
func (s *importScript) run(ctx context.Context, format string) imported {
	var out, messages strings.Builder
	im := s.importing(format, &out, &messages)
	im.restore()
	err := im.run(ctx)
	return imported{out.String(), messages.String(), err}
}

func (s *importScript) noted() bool {
	_, err := os.Stat(s.path("numbers.csv.import"))
	return err == nil
}

// A connection that breaks off is made again and goes on where it was. Each refused line is
// reported once, however often the platform had to look at it, and the counts are of all.
func TestImportGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newImportScript(t,
			func(c *importCall) {
				c.read()
				c.say(refusedLine(2), progressLine("progress", 5, 1, "p5"), refusedLine(7))
				c.breakOff()
			},
			func(c *importCall) { c.WriteHeader(http.StatusServiceUnavailable) },
			func(c *importCall) {
				c.read()
				c.say(refusedLine(7), progressLine("progress", 2, 1, "p7"), `{"type":"of a later version"}`)
				c.say(`{"type":"error","code":503,"message":"Unavailable: the platform is stopping.","lines":3,"changed":2,"events":2,"refused":1,"position":"p8","bytes":30}`)
			},
			func(c *importCall) {
				c.read()
				c.say(progressLine("done", 4, 0, "p12"))
			},
		)
		got := s.run(t.Context(), "text")
		want := "line 2: +14155550002: cnam: is wrong\nline 7: +14155550007: cnam: is wrong\n" +
			"12 lines: 10 changed, 0 as before, 2 refused; 4 events\n"
		if got.out != want {
			t.Errorf("the report is\n%swant\n%s", got.out, want)
		}
		if e, ok := errors.AsType[*quiet](got.err); !ok {
			t.Errorf("two lines were refused, and the error is %v", e)
		}
		if want := []string{"", "p5", "p5", "p8"}; strings.Join(s.asked, " ") != strings.Join(want, " ") {
			t.Errorf("it went on at %q, want %q", s.asked, want)
		}
		if want := "the connection to the platform broke off (unexpected EOF); trying again\n" +
			"the platform, or what stands before it, answered with status 503; trying again\n" +
			"Unavailable: the platform is stopping.; trying again\n" +
			"50%  12 lines  12/s  in 1.0s\n"; got.messages != want {
			t.Errorf("messages:\n%swant\n%s", got.messages, want)
		}
		if s.noted() {
			t.Error("all is done, and a note is left")
		}
	})
}

// A platform that does not come back is waited for half a minute. Then the command says how to
// go on, and the same command does.
func TestImportGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *importScript
		s = newImportScript(t,
			func(c *importCall) {
				c.read()
				c.say(progressLine("progress", 5, 1, "p5"))
				s.net.Drop("platform.test")
				c.breakOff()
			},
			func(c *importCall) {
				c.read()
				c.say(progressLine("done", 1, 0, "p6"))
			},
		)
		start := time.Now()
		got := s.run(t.Context(), "text")
		if got.err == nil || !strings.HasPrefix(got.err.Error(), "the platform at http://platform.test cannot be reached: ") ||
			!strings.HasSuffix(got.err.Error(), "; 5 lines are done: the same command goes on there") {
			t.Errorf("it ends with %v", got.err)
		}
		if d := time.Since(start); d != 31*time.Second || got.out != "" {
			t.Errorf("it gives up after %v, with the report %q", d, got.out)
		}
		if !s.noted() {
			t.Fatal("how far it is was not noted")
		}

		s.up()
		got = s.run(t.Context(), "text")
		if want := "6 lines: 5 changed, 0 as before, 1 refused; 2 events\n"; got.out != want || s.asked[1] != "p5" {
			t.Errorf("it went on at %q, with the report %q, want %q; %s", s.asked[1], got.out, want, got.messages)
		}
		if !strings.HasPrefix(got.messages, "going on after 5 lines, where it was interrupted at 2000-01-01 ") {
			t.Errorf("messages: %s", got.messages)
		}
		if _, ok := errors.AsType[*quiet](got.err); !ok {
			t.Errorf("a line was refused before, and the error is %v", got.err)
		}
		if s.noted() {
			t.Error("all is done, and a note is left")
		}
	})
}

// Where an import was interrupted is only of use for the same file, on the same platform, and
// for whoever wants to go on there.
func TestImportFromTheStart(t *testing.T) {
	done := func(c *importCall) {
		c.read()
		c.say(progressLine("done", 6, 0, "p6"))
	}
	conflict := func(c *importCall) {
		c.WriteHeader(http.StatusConflict)
		fmt.Fprint(c.ResponseWriter, `{"code":409,"message":"Conflict: the file: is not the one that was begun with: it differs before line 5"}`)
	}
	const begun = `{"server":"http://platform.test","at":"2000-01-01T00:00:00Z","position":"p5","bytes":20,"lines":5,"changed":5}`
	for name, c := range map[string]struct {
		note    string
		answers []func(*importCall)
		asked   string
		says    string
		lines   string
	}{
		"the same":         {begun, []func(*importCall){done}, "p5", "going on after 5 lines", "11 lines: 11 changed"},
		"changed":          {begun, []func(*importCall){conflict, done}, "p5 ", "is not the file that was begun with, it was changed: beginning from the start", "6 lines: 6 changed"},
		"another platform": {strings.Replace(begun, "platform", "other", 1), []func(*importCall){done}, "", "is of an import to http://other.test: beginning from the start", "6 lines: 6 changed"},
		"not readable":     {"{", []func(*importCall){done}, "", "cannot be read (unexpected end of JSON input): beginning from the start", "6 lines: 6 changed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newImportScript(t, c.answers...)
				must(t, os.WriteFile(s.path("numbers.csv.import"), []byte(c.note), 0o600))
				got := s.run(t.Context(), "text")
				if got.err != nil || strings.Join(s.asked, " ") != c.asked || !strings.Contains(got.messages, c.says) || !strings.HasPrefix(got.out, c.lines) {
					t.Errorf("it asked for %q and reports %q, %v; messages:\n%s", s.asked, got.out, got.err, got.messages)
				}
				if s.noted() {
					t.Error("all is done, and a note is left")
				}
			})
		})
	}
	// What stands against something else is not tried again and again.
	synctest.Test(t, func(t *testing.T) {
		s := newImportScript(t, conflict)
		if got := s.run(t.Context(), "text"); got.err == nil || !strings.Contains(got.err.Error(), "numbers.csv: Conflict: the file: is not the one") {
			t.Errorf("it ends with %v", got.err)
		}
	})
}

// Whoever interrupts an import is told how to go on, and the note is up to date.
func TestImportInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		s := newImportScript(t, func(c *importCall) {
			c.read()
			c.say(progressLine("progress", 5, 0, "p5"))
			c.say(progressLine("progress", 9, 0, "p9")) // within a second of the first
			synctest.Wait()
			stop()
			<-c.Context().Done()
		})
		got := s.run(ctx, "json")
		if got.err == nil || got.err.Error() != "interrupted; 9 lines are done: the same command goes on there" {
			t.Errorf("it ends with %v", got.err)
		}
		var sum struct{ Lines int }
		if must(t, json.Unmarshal([]byte(got.out), &sum)); sum.Lines != 9 {
			t.Errorf("the report is %s", got.out)
		}
		text, err := os.ReadFile(s.path("numbers.csv.import"))
		must(t, err)
		if !strings.Contains(string(text), `"position":"p9"`) {
			t.Errorf("noted is %s", text)
		}
	})
}

// A platform on which nothing moves any more is given up on, and asked again.
func TestImportNoticesSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newImportScript(t,
			func(c *importCall) {
				c.read()
				c.say(progressLine("progress", 5, 0, "p5"))
				<-c.Context().Done()
			},
			func(c *importCall) {
				c.read()
				for range 3 { // slow is not dead
					time.Sleep(stalled - time.Second)
					c.say(progressLine("progress", 1, 0, "p6"))
				}
				c.say(progressLine("done", 1, 0, "p6"))
			},
		)
		start := time.Now()
		got := s.run(t.Context(), "text")
		if got.err != nil || time.Since(start) != 4*stalled-3*time.Second || s.asked[1] != "p5" ||
			!strings.Contains(got.messages, "the platform at http://platform.test has done nothing for 5m0s; trying again\n") {
			t.Errorf("after %v: %v, going on at %q; %s", time.Since(start), got.err, s.asked, got.messages)
		}
	})
}

// What trying again does not help against ends the import, with what is to be known.
func TestImportFails(t *testing.T) {
	progress := func(c *importCall) {
		c.read()
		c.say(refusedLine(2), progressLine("progress", 5, 1, "p5"))
	}
	for name, c := range map[string]struct {
		prepare func(s *importScript, im *importing)
		answer  func(c *importCall)
		want    string
	}{
		"never reached": {
			func(s *importScript, _ *importing) { s.net.Drop("platform.test") }, nil,
			"the platform at http://platform.test cannot be reached: dial tcp: platform.test: connection refused; is it running, and is --server right?",
		},
		"a file that is none": {
			nil, func(c *importCall) {
				c.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(c.ResponseWriter, `{"code":300,"message":"Validation Failed. the file: is in UTF-16; save it as UTF-8"}`)
			},
			"$FILE: Validation Failed. the file: is in UTF-16; save it as UTF-8",
		},
		"a key that is revoked": {
			nil, func(c *importCall) {
				progress(c)
				c.say(`{"type":"error","code":124,"message":"Invalid access token: the operator key is unknown or revoked"}`)
			},
			"$FILE: Invalid access token: the operator key is unknown or revoked; 5 lines are done: the same command goes on there",
		},
		"what can be read only once": {
			func(_ *importScript, im *importing) {
				im.src = &source{name: "standard input", once: strings.NewReader(numbersFile)}
				im.noted = ""
			}, func(c *importCall) {
				progress(c)
				c.breakOff()
			},
			"the connection to the platform broke off (unexpected EOF); 5 lines are done: begin from the start, they change nothing when they come again",
		},
		"what cannot be read to its end": {
			func(_ *importScript, im *importing) {
				im.src = &source{name: "standard input", once: io.MultiReader(strings.NewReader(numbersFile), iotest.ErrReader(errors.New("the stick was pulled out")))}
				im.noted = ""
			}, func(c *importCall) {
				if _, err := io.ReadAll(c.Body); err == nil {
					c.t.Error("half a file came as a whole one")
				}
				c.breakOff()
			},
			"standard input: the stick was pulled out",
		},
		"an answer that is none": {
			nil, func(c *importCall) {
				progress(c)
				c.say("<html>")
			},
			"$FILE: the platform's answer cannot be read: invalid character '<' looking for beginning of value; 5 lines are done: the same command goes on there",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newImportScript(t, c.answer)
				var out, messages strings.Builder
				im := s.importing("ndjson", &out, &messages)
				if c.prepare != nil {
					c.prepare(s, im)
				}
				start := time.Now()
				err := im.run(t.Context())
				if err == nil || err.Error() != strings.Replace(c.want, "$FILE", s.path("numbers.csv"), 1) {
					t.Errorf("it ends with\n%v\nwant\n%s\n%s", err, c.want, messages.String())
				}
				if d := time.Since(start); d != 0 {
					t.Errorf("it ends after %v", d)
				}
				if strings.Contains(c.want, "5 lines") && out.String() != refusedLine(2)+"\n" {
					t.Errorf("the report is %q", out.String())
				}
			})
		})
	}
}

// Where the note cannot be written, people are told once, and the import goes its way.
func TestImportWithoutNote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newImportScript(t, func(c *importCall) {
			c.read()
			for range 3 {
				c.say(progressLine("progress", 5, 0, "p5"))
				time.Sleep(2 * time.Second)
			}
			c.say(`{"type":"error","code":124,"message":"Invalid access token."}`)
		})
		var out, messages strings.Builder
		im := s.importing("text", &out, &messages)
		im.noted = s.path("gone/numbers.csv.import")
		err := im.run(t.Context())
		if want := ": Invalid access token.; 5 lines are done: begin from the start, they change nothing when they come again"; err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("it ends with %v", err)
		}
		if want := "how far it is cannot be noted (open " + im.src.name; strings.Count(messages.String(), "cannot be noted") != 1 {
			t.Errorf("messages: %s, want once %s", messages.String(), want)
		}
	})
}

// A report that cannot be written ends the import, and whoever goes on gets it: what has not
// been reported is not noted as done.
func TestImportReportUnwritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newImportScript(t, func(c *importCall) {
			c.read()
			c.say(progressLine("progress", 5, 0, "p5"))
			c.say(refusedLine(7), progressLine("progress", 9, 1, "p9"))
			<-c.Context().Done()
		})
		err := s.importing("text", full{}, io.Discard).run(t.Context())
		if !errors.Is(err, errFull) {
			t.Errorf("it ends with %v", err)
		}
		text, err := os.ReadFile(s.path("numbers.csv.import"))
		must(t, err)
		if !strings.Contains(string(text), `"position":"p5"`) {
			t.Errorf("noted is %s", text)
		}
	})
}

// Where nobody looks at a terminal, there is a line each ten seconds and one at the end.
func TestImportPlainProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newImportScript(t, func(c *importCall) {
			c.read()
			time.Sleep(500 * time.Millisecond)
			for i := range 25 {
				c.say(fmt.Sprintf(`{"type":"progress","lines":%d,"position":"p","bytes":%d}`, (i+1)*1000, (i+1)*len(numbersFile)/25))
				time.Sleep(time.Second)
			}
			c.say(fmt.Sprintf(`{"type":"done","lines":25000,"position":"p","bytes":%d}`, len(numbersFile)))
		})
		got := s.run(t.Context(), "text")
		want := "40%  10,000 lines  1,000/s  15s left\n" +
			"80%  20,000 lines  1,000/s  5s left\n" +
			"100%  25,000 lines  980/s  in 26s\n"
		if got.err != nil || got.messages != want {
			t.Errorf("%v; messages:\n%swant\n%s", got.err, got.messages, want)
		}
	})
}

// Who begins from the start does not go on where it was interrupted before, whatever happens
// then, and does not have to begin from the start again.
func TestImportBegunAnew(t *testing.T) {
	t.Setenv("SWITCHHOOK_KEY", "shk_secret")
	file := filepath.Join(t.TempDir(), "numbers.csv")
	must(t, os.WriteFile(file, []byte(numbersFile), 0o600))
	answers := [][]string{
		{`{"type":"error","code":124,"message":"Invalid access token."}`},
		{progressLine("progress", 5, 0, "p5"), `{"type":"error","code":124,"message":"Invalid access token."}`},
		{progressLine("done", 1, 0, "p6")},
	}
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		(&importCall{w, r, t}).read()
		(&importCall{w, r, t}).say(answers[len(asked)]...)
		asked = append(asked, r.URL.Query().Get("position"))
	}))
	defer s.Close()
	must(t, os.WriteFile(file+".import", []byte(`{"server":"`+s.URL+`","position":"p3","bytes":20,"lines":3}`), 0o600))
	for _, c := range []struct {
		args []string
		says string
		note bool
	}{
		{[]string{"--from-start"}, "numbers.csv: Invalid access token.\n", false},
		{[]string{"--from-start"}, "; 5 lines are done: the same command without --from-start goes on there\n", true},
		{nil, "going on after 5 lines", false},
	} {
		var stdout, stderr strings.Builder
		run(t.Context(), append([]string{"numbers", "import", file, "--server", s.URL}, c.args...), strings.NewReader(""), &stdout, &stderr)
		if !strings.Contains(stderr.String(), c.says) {
			t.Errorf("it says %q, want %q", stderr.String(), c.says)
		}
		if _, err := os.Stat(file + ".import"); (err == nil) != c.note {
			t.Errorf("after %q: %v", c.says, err)
		}
	}
	if got := strings.Join(asked, " "); got != "  p5" {
		t.Errorf("it went on at %q", got)
	}
}
