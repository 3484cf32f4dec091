package main

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/switchhook/switchhook/webhook"
)

// The commands of scripts that are about the gateway; see TestScripts.

func receiveCmd(ts *testscript.TestScript, _ bool, args []string) {
	s := scriptOf(ts)
	if s.up != nil {
		s.up.stop()
	}
	in := &installation{t: s.t, dir: ts.Getenv("WORK")}
	cmd := exec.Command(program(s.t), append([]string{"receive", "--ready", "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Dir = ts.Getenv("WORK")
	cmd.Env = append(os.Environ(), "SWITCHHOOK_CONFIG="+ts.Getenv("SWITCHHOOK_CONFIG"))
	s.up = in.start(cmd)
	ts.Setenv("GATEWAY", s.up.url)
}

func hangupCmd(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(scriptOf(ts).up.Process.Signal(syscall.SIGHUP))
}

func sendCmd(ts *testscript.TestScript, _ bool, args []string) {
	want, path, secret, id := args[0], args[1], args[2], args[3]
	body := bytes.TrimSpace([]byte(ts.ReadFile(args[4])))
	signer, err := webhook.NewSigner(secret)
	ts.Check(err)
	req, err := http.NewRequest(http.MethodPost, ts.Getenv("GATEWAY")+path, bytes.NewReader(body)) //nolint:noctx // a script has none
	ts.Check(err)
	timestamp, signature := signer.Sign(time.Now(), body)
	req.Header.Set("Content-Type", webhook.ContentType)
	req.Header.Set(webhook.HeaderTimestamp, timestamp)
	req.Header.Set(webhook.HeaderSignature, signature)
	req.Header.Set(webhook.HeaderRequestID, id)
	res, err := http.DefaultClient.Do(req)
	ts.Check(err)
	_ = res.Body.Close()
	if strconv.Itoa(res.StatusCode) != want {
		ts.Fatalf("%s: status %d, want %s", id, res.StatusCode, want)
	}
}

func untilCmd(ts *testscript.TestScript, _ bool, args []string) {
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	s := scriptOf(ts)
	waitFor(s.t, args[0], func() bool {
		cmd := exec.Command(program(s.t), args[1:]...)
		cmd.Dir = ts.Getenv("WORK")
		cmd.Env = os.Environ()
		for _, name := range []string{"SWITCHHOOK_CONFIG", "SWITCHHOOK_SERVER", "SWITCHHOOK_KEY"} {
			cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
		}
		out, err := cmd.Output()
		return err == nil && pattern.Match(out)
	})
}
