package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// try runs a command on a platform that answers so.
func try(t *testing.T, answer http.HandlerFunc, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Setenv("SWITCHHOOK_KEY", "shk_secret")
	s := httptest.NewServer(answer)
	defer s.Close()
	var out, messages strings.Builder
	code = run(t.Context(), append(args, "--server", s.URL), strings.NewReader(""), &out, &messages)
	return code, out.String(), messages.String()
}

// Half an export is never taken for a whole one: there is no file, or the one that was there
// before, and on standard output the exit code says it.
func TestExportBreaksOff(t *testing.T) {
	file := filepath.Join(t.TempDir(), "numbers.csv")
	must(t, os.WriteFile(file, []byte("before"), 0o600))
	breaks := func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "phone_number,cnam\n+14155550132,PINECONE BAKERY\n")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	const want = "switchhook: the export is not complete: unexpected EOF\n"
	if code, stdout, stderr := try(t, breaks, "numbers", "export", "--file", file); code != exitFailed || stdout != "" || stderr != want {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
	if code, _, stderr := try(t, breaks, "numbers", "export"); code != exitFailed || stderr != want {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	text, err := os.ReadFile(file)
	must(t, err)
	left, err := os.ReadDir(filepath.Dir(file))
	must(t, err)
	if string(text) != "before" || len(left) != 1 {
		t.Errorf("the file has %q, and the directory %v", text, left)
	}
}

// A change of many numbers that breaks off is said to be made of some of them, and how to make
// the rest. One that was not begun is not.
func TestSetBreaksOff(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"the connection": {
			func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintln(w, `{"type":"progress","numbers":500,"changed":400,"events":2}`)
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			},
			"switchhook: the connection to the platform broke off (unexpected EOF); what was changed stays so: the same command does the rest\n",
		},
		"the platform": {
			func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintln(w, `{"type":"error","code":503,"message":"Unavailable: the platform is stopping."}`)
			},
			"switchhook: Unavailable: the platform is stopping.; what was changed stays so: the same command does the rest\n",
		},
		"nothing": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprintln(w, `{"code":300,"message":"Validation Failed.","errors":[{"field":"/set/cnam","message":"is wrong"}]}`)
			},
			"switchhook: Validation Failed: /set/cnam is wrong\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := try(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					fmt.Fprint(w, `{"numbers":[],"total":1000,"next_page_token":""}`)
					return
				}
				c.answer(w, r)
			}, "numbers", "set-cnam", "--all", "--name", "X", "--yes")
			if code != exitFailed || stdout != "" || stderr != c.want {
				t.Errorf("exit code %d, %q, %q, want %q", code, stdout, stderr, c.want)
			}
		})
	}
}
