package main

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/switchhook/switchhook/internal/pgtest"
	"github.com/switchhook/switchhook/internal/smtptest"
)

// Scripts in testdata/script tell what people do with the program, a story to a
// file. Beside the usual commands they have:
//
//	serve [FLAG...]        start a platform and set SWITCHHOOK_SERVER and _KEY
//	stop                   stop the platform
//	postgres NAME          set a variable to the URL of an empty database of PostgreSQL
//	endpoint NAME SECRET   start an endpoint and set NAME_URL and NAME_SECRET
//	answer NAME STATUS     let the endpoint answer so; 0: as it should
//	settle                 wait until no delivery is waiting
//	mailserver             start a mail server that takes the password of bob, set
//	                       SMTP, and write its authority to ca.pem; it refuses
//	                       refused@example.com, and puts off later@example.com
//	[!] logged PATTERN     look for a line in the log of the platform
//	get STATUS PATH        ask for a page as anybody may; it is the next stdout
//	receive [FLAG...]      start a gateway and set GATEWAY; hangup tells it to reload
//	send STATUS PATH SECRET ID FILE
//	                       send the gateway a webhook and expect a status
//	until PATTERN COMMAND  run a command of the program until its output matches
//	field NAME PATTERN     set a variable to what the pattern's group finds in
//	                       the last standard output
func TestScripts(t *testing.T) {
	path := filepath.Dir(program(t)) + string(filepath.ListSeparator) + os.Getenv("PATH")
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", path)
			e.Setenv("NO_COLOR", "1")
			e.Setenv("TZ", "UTC")
			e.Setenv("SWITCHHOOK_LISTEN", "127.0.0.1:0") // somebody may use the program on this machine
			e.Values[scriptKey{}] = &script{t: e.T().(testing.TB), inboxes: map[string]*inbox{}}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": serveCmd, "endpoint": endpointCmd, "answer": answerCmd, "settle": settleCmd, "get": getCmd, "field": fieldCmd,
			"stop": stopCmd, "postgres": postgresCmd, "mailserver": mailserverCmd, "logged": loggedCmd,
			"receive": receiveCmd, "hangup": hangupCmd, "send": sendCmd, "until": untilCmd,
		},
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
	})
}

type scriptKey struct{}

// script is what a running script has started.
type script struct {
	t       testing.TB
	up      *running
	inboxes map[string]*inbox
}

func scriptOf(ts *testscript.TestScript) *script { return ts.Value(scriptKey{}).(*script) }

func serveCmd(ts *testscript.TestScript, _ bool, args []string) {
	s := scriptOf(ts)
	if s.up != nil {
		s.up.stop()
	}
	in := &installation{t: s.t, dir: ts.Getenv("WORK"), key: ts.Getenv("SWITCHHOOK_KEY")}
	ts.Check(os.WriteFile(in.masterKey(), []byte(testMasterKey), 0o600))
	if in.key == "" {
		in.create()
		out, err := exec.Command(program(s.t), "keys", "create", "--database", in.database(), "--master-key-file", in.masterKey(), "--name", "script").Output()
		ts.Check(err)
		in.key = strings.TrimSpace(string(out))
	}
	s.up = in.serve(args...)
	ts.Setenv("SWITCHHOOK_SERVER", s.up.url)
	ts.Setenv("SWITCHHOOK_KEY", in.key)
}

func stopCmd(ts *testscript.TestScript, _ bool, _ []string) {
	s := scriptOf(ts)
	s.up.stop()
	s.up = nil
}

func postgresCmd(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], pgtest.Database(scriptOf(ts).t, nil))
}

func endpointCmd(ts *testscript.TestScript, _ bool, args []string) {
	s := scriptOf(ts)
	b := openInbox(s.t, args[0], args[1])
	s.inboxes[args[0]] = b
	ts.Setenv(args[0]+"_URL", b.url)
	ts.Setenv(args[0]+"_SECRET", b.secret)
}

func answerCmd(ts *testscript.TestScript, _ bool, args []string) {
	b := scriptOf(ts).inboxes[args[0]]
	status, err := strconv.Atoi(args[1])
	ts.Check(err)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.before = func(int) int { return status }
}

func settleCmd(ts *testscript.TestScript, _ bool, _ []string) {
	s := scriptOf(ts)
	waitFor(s.t, "the end of all deliveries", func() bool {
		var list struct{ Deliveries []any }
		s.up.ask("GET", operator+"/deliveries?state=waiting", "", http.StatusOK, &list)
		return len(list.Deliveries) == 0
	})
}

func mailserverCmd(ts *testscript.TestScript, _ bool, _ []string) {
	s := smtptest.New()
	s.OnAuth = func(l smtptest.Login) error {
		if l.Username != "bob" || l.Password != "open-sesame" {
			return smtptest.Says(535, "wrong password")
		}
		return nil
	}
	s.OnRcpt = func(to string) error {
		switch to {
		case "refused@example.com":
			return smtptest.Says(550, "no such user")
		case "later@example.com":
			return smtptest.Says(451, "greylisted")
		}
		return nil
	}
	port, _ := s.Listen(scriptOf(ts).t, "127.0.0.1:0")
	ts.Setenv("SMTP", "localhost:"+strconv.Itoa(port))
	ts.Check(os.WriteFile(ts.MkAbs("ca.pem"), smtptest.CA().PEM(), 0o600))
}

func loggedCmd(ts *testscript.TestScript, neg bool, args []string) {
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	up := scriptOf(ts).up
	if neg {
		if log := up.stderr.String(); pattern.MatchString(log) {
			ts.Fatalf("%s is in the log:\n%s", args[0], log)
		}
		return
	}
	// What the platform writes to its log comes by another way than its answers.
	waitFor(up.t, args[0]+" in the log", func() bool { return pattern.MatchString(up.stderr.String()) })
}

func getCmd(ts *testscript.TestScript, _ bool, args []string) {
	p := scriptOf(ts).up
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.url+args[1], nil)
	ts.Check(err)
	res, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer res.Body.Close()
	_, err = io.Copy(ts.Stdout(), res.Body)
	ts.Check(err)
	if strconv.Itoa(res.StatusCode) != args[0] {
		ts.Fatalf("%s: status %d, want %s", args[1], res.StatusCode, args[0])
	}
}

func fieldCmd(ts *testscript.TestScript, _ bool, args []string) {
	out := ts.ReadFile("stdout")
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	m := pattern.FindStringSubmatch(out)
	if len(m) < 2 {
		ts.Fatalf("%s is not in %q", args[1], out)
	}
	ts.Setenv(args[0], m[1])
}

// The exit code tells a script what kind of failure it has met.
func TestExitCodes(t *testing.T) {
	t.Setenv("SWITCHHOOK_KEY", "")
	t.Setenv("SWITCHHOOK_SERVER", "http://127.0.0.1:1")
	for name, c := range map[string]struct {
		args []string
		key  string
		want int
	}{
		"help":                       {[]string{"--help"}, "", exitOK},
		"no command":                 {nil, "", exitOK},
		"version":                    {[]string{"version"}, "", exitOK},
		"unknown command":            {[]string{"sevre"}, "", exitUsage},
		"unknown command in a group": {[]string{"apps", "lst"}, "", exitUsage},
		"unknown flag":               {[]string{"serve", "--lsten", "x"}, "", exitUsage},
		"argument too many":          {[]string{"version", "x"}, "", exitUsage},
		"argument missing":           {[]string{"apps", "show"}, "", exitUsage},
		"bad output":                 {[]string{"apps", "list", "-o", "xml"}, "", exitUsage},
		"no operator key":            {[]string{"apps", "list"}, "", exitUsage},
		"no file":                    {[]string{"apply"}, "", exitUsage},
		"bad duration":               {[]string{"deliveries", "list", "--from", "yesterday"}, "k", exitUsage},
		"nothing to resend":          {[]string{"deliveries", "resend"}, "k", exitUsage},
		"zero limit":                 {[]string{"serve", "--in-flight", "0"}, "", exitUsage},
		"world of nobody":            {[]string{"simulate", "numbers", "--customers", "0"}, "k", exitUsage},
		"platform not there":         {[]string{"apps", "list"}, "k", exitFailed},
		"file not there":             {[]string{"apply", "-f", "no-such-file.yaml"}, "k", exitFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("SWITCHHOOK_KEY", c.key)
			var stdout, stderr strings.Builder
			code := run(t.Context(), c.args, strings.NewReader(""), &stdout, &stderr)
			if code != c.want {
				t.Errorf("exit code %d, want %d; stderr: %s", code, c.want, stderr.String())
			}
			if (code == exitOK) != (stderr.Len() == 0) || code != exitOK && (stdout.Len() > 0 || !strings.HasPrefix(stderr.String(), "switchhook: ")) {
				t.Errorf("stdout %q, stderr %q: what is wrong goes to stderr, and nothing else does", stdout.String(), stderr.String())
			}
		})
	}
}

// Every command says what it is for and how it is called.
func TestHelp(t *testing.T) {
	for _, cmd := range newRoot().Commands() {
		var stdout, stderr strings.Builder
		if code := run(t.Context(), []string{cmd.Name(), "--help"}, strings.NewReader(""), &stdout, &stderr); code != exitOK {
			t.Errorf("%s --help: exit code %d %s", cmd.Name(), code, stderr.String())
		}
		if !cmd.Hidden && (cmd.Short == "" || !strings.Contains(stdout.String(), "Usage:")) {
			t.Errorf("%s has no help: %s", cmd.Name(), stdout.String())
		}
	}
}
