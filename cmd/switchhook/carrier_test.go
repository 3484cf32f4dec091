//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/freeport"
	"github.com/switchhook/switchhook/internal/pgtest"
)

// The commands of docs/carrier.md do what it says, as they are written there, one after
// the other: a platform, a gateway and a database, and a table that has what customers
// have set.
func TestCarrierStory(t *testing.T) {
	text, err := os.ReadFile("../../docs/carrier.md")
	must(t, err)
	database := pgtest.Start(t)
	for _, name := range []string{"bash", "psql", "createdb"} {
		if _, err := exec.LookPath(name); err != nil {
			leftOut(t, "there is no %s on this machine", name)
		}
	}
	ports, err := freeport.Take(2)
	must(t, err)
	platform, gateway := fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	sh := newShell(t, map[string]string{
		"PGHOST": filepath.Dir(database.Socket()), "PGUSER": "switchhook", "SWITCHHOOK_SERVER": "http://" + platform,
	})
	// The program of the story is the one that is being tested, and on ports that are free.
	must(t, os.WriteFile(filepath.Join(sh.dir, "bin", "switchhook"), fmt.Appendf(nil,
		"#!/bin/sh\ncase $1 in\nserve) export SWITCHHOOK_LISTEN=%s ;;\nreceive) export SWITCHHOOK_LISTEN=%s ;;\nesac\nexec %s \"$@\"\n", platform, gateway, program(t)), 0o700))
	story := strings.ReplaceAll(string(text), "127.0.0.1:8050", gateway)

	said := ""
	for _, block := range blocks(story) {
		if block.output {
			// psql ends a table with an empty line.
			var got string
			for end := time.Now().Add(time.Minute); got != block.text; time.Sleep(50 * time.Millisecond) { // other processes are at work
				if time.Now().After(end) {
					t.Fatalf("%s\nprints\n%swant\n%s", said, got, block.text)
				}
				got = strings.TrimRight(sh.run(said), "\n") + "\n"
			}
			continue
		}
		for _, command := range commands(block.text) {
			said = command
			sh.run(command)
		}
		// Nobody waits within a block, and after it for what the text says.
		if m := background.FindStringSubmatch(said); m != nil {
			waitFor(t, "what it says in "+m[1], func() bool {
				log, err := os.ReadFile(filepath.Join(sh.dir, m[1]))
				return err == nil && (strings.Contains(string(log), "msg=serving ") || strings.Contains(string(log), "msg=receiving "))
			})
		}
	}
	_, five, _ := strings.Cut(story, "## Five commands\n")
	five, _, _ = strings.Cut(five, "\nThe table is empty")
	if n := strings.Count(five, "\n    "); n != 5 {
		t.Errorf("the five commands are %d", n)
	}

	// What was there before is in the table too, and took nothing from what is newer.
	sh.run("psql -q carrier -c \"DELETE FROM switchhook_numbers WHERE phone_number = '+14155550132'; UPDATE switchhook_numbers SET cnam_ts = NULL, cnam = NULL\"")
	for _, block := range blocks(story) {
		if strings.Contains(block.text, "all_numbers") || strings.Contains(block.text, "all.csv") {
			for _, command := range commands(block.text) {
				sh.run(command)
			}
		}
	}
	const rows = `psql carrier -At -c "SELECT phone_number, cnam, cnam_ts, address_line1, address_ts = '-infinity' FROM switchhook_numbers ORDER BY phone_number"`
	if got, want := sh.run(rows), "+14155550132|PINECONE BAKERY|-infinity|1 Market Street|t\n+14155550133|PINECONE CAKES|-infinity|525 Market Street|f\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	sh.run("switchhook numbers set-cnam +14155550132 --clear")
	waitFor(t, "a change after that", func() bool { return strings.Contains(sh.run(rows), "+14155550132||20") })
}

// block is one of commands, or the output of the last of them.
type block struct {
	text   string
	output bool
}

// blocks returns the code in a document: what is indented are commands, and what is
// fenced is output.
func blocks(text string) (all []block) {
	fenced := false
	for line := range strings.Lines(text) {
		command, indented := strings.CutPrefix(line, "    ")
		switch {
		case strings.HasPrefix(line, "```"):
			if fenced = !fenced; fenced {
				all = append(all, block{output: true})
			}
		case fenced:
			all[len(all)-1].text += line
		case indented && (len(all) == 0 || all[len(all)-1].output || strings.HasSuffix(all[len(all)-1].text, "\x00")):
			if n := len(all); n > 0 {
				all[n-1].text = strings.TrimSuffix(all[n-1].text, "\x00")
			}
			all = append(all, block{text: command})
		case indented:
			all[len(all)-1].text += command
		case len(all) > 0 && !all[len(all)-1].output && strings.TrimSpace(line) != "":
			all[len(all)-1].text = strings.TrimSuffix(all[len(all)-1].text, "\x00") + "\x00" // it has ended
		}
	}
	for i := range all {
		all[i].text = strings.TrimSuffix(all[i].text, "\x00")
	}
	return all
}

// background is a command that goes on, and where it says what.
var background = regexp.MustCompile(`2> (\S+) &\n$`)

var heredoc = regexp.MustCompile(`<<'(\w+)'`)

// commands returns the commands of a block, each with what is written for it to read.
func commands(text string) (all []string) {
	end := ""
	for line := range strings.Lines(text) {
		if end != "" {
			all[len(all)-1] += line
			if strings.TrimSpace(line) == end {
				end = ""
			}
			continue
		}
		all = append(all, line)
		if m := heredoc.FindStringSubmatch(line); m != nil {
			end = m[1]
		}
	}
	return all
}

// shell is a bash that runs commands one after the other.
type shell struct {
	t   *testing.T
	dir string
	in  io.Writer
	out *bufio.Reader
	log string
}

func newShell(t *testing.T, env map[string]string) *shell {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "bin"), 0o700))
	s := &shell{t: t, dir: dir, log: filepath.Join(dir, "stderr")}
	stderr, err := os.Create(s.log)
	must(t, err)
	defer stderr.Close()
	cmd := exec.Command("bash")
	cmd.Dir, cmd.Stderr, cmd.SysProcAttr = dir, stderr, &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"), "SWITCHHOOK_KEY=", "SWITCHHOOK_SECRET=", "PAGER=")
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	s.in, err = cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	s.out = bufio.NewReader(out)
	must(t, cmd.Start())
	t.Cleanup(func() {
		// What it has started is in its group.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if t.Failed() {
			for _, name := range []string{"stderr", "platform.log", "gateway.log"} {
				text, _ := os.ReadFile(filepath.Join(dir, name))
				t.Logf("%s:\n%s", name, text)
			}
		}
	})
	return s
}

// run runs a command, which has to succeed, and returns what it prints.
func (s *shell) run(command string) (out string) {
	s.t.Helper()
	_, err := fmt.Fprintf(s.in, "%s\necho \"$? it is done\"\n", strings.TrimSuffix(command, "\n"))
	must(s.t, err)
	for {
		line, err := s.out.ReadString('\n')
		must(s.t, err)
		if status, done := strings.CutSuffix(line, " it is done\n"); done {
			if status != "0" {
				text, _ := os.ReadFile(s.log)
				s.t.Fatalf("%s: exit code %s\n%s%s", command, status, out, text)
			}
			return out
		}
		out += line
	}
}
