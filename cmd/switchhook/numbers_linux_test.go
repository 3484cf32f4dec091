package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo terminal with a program on it.
type terminal struct {
	t    *testing.T
	keys *os.File
	raw  lockedBuffer
	cmd  *exec.Cmd
	done chan error
}

// onTerminal runs a program on a terminal that has so many columns.
func onTerminal(t *testing.T, columns uint16, cmd *exec.Cmd) *terminal {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		leftOut(t, "there are no pseudo terminals here: %v", err)
	}
	fd := int(keys.Fd())
	must(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	must(t, err)
	screen, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	must(t, err)
	must(t, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}))

	x := &terminal{t: t, keys: keys, cmd: cmd, done: make(chan error, 1)}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = screen, screen, screen
	cmd.Env = append(cmd.Env, "TERM=xterm")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	must(t, cmd.Start())
	must(t, screen.Close())
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&x.raw, keys) // it ends with an error when nobody is on the terminal any more
	}()
	go func() {
		err := cmd.Wait()
		<-read
		x.done <- err
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-read
		_ = keys.Close()
	})
	return x
}

// press presses keys.
func (x *terminal) press(keys string) {
	x.t.Helper()
	_, err := x.keys.WriteString(keys)
	must(x.t, err)
}

// end waits for the end of the program and returns its exit code.
func (x *terminal) end() int {
	x.t.Helper()
	select {
	case <-x.done:
	case <-time.After(time.Minute):
		x.t.Fatalf("it does not end; on the screen is\n%s", strings.Join(x.lines(), "\n"))
	}
	return x.cmd.ProcessState.ExitCode()
}

// lines returns what one sees on the screen.
func (x *terminal) lines() []string {
	lines := []string{""}
	column := 0
	raw := x.raw.String()
	for len(raw) > 0 {
		now := &lines[len(lines)-1]
		switch {
		case strings.HasPrefix(raw, "\x1b[K"):
			*now = (*now)[:column]
			raw = raw[len("\x1b[K"):]
			continue
		case raw[0] == '\r':
			column = 0
		case raw[0] == '\n':
			lines = append(lines, "")
		default:
			*now = (*now)[:column] + raw[:1] + (*now)[min(column+1, len(*now)):]
			column++
		}
		raw = raw[1:]
	}
	return lines
}

// shows waits until a line of the screen matches.
func (x *terminal) shows(pattern string) {
	x.t.Helper()
	p := regexp.MustCompile(pattern)
	end := time.Now().Add(time.Minute)
	for ; !p.MatchString(strings.Join(x.lines(), "\n")); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			x.t.Fatalf("%s is not on the screen:\n%s", pattern, strings.Join(x.lines(), "\n"))
		}
	}
}

// On a terminal an import shows a bar that keeps to one line, refused lines above it, and after
// Ctrl-C how to go on.
func TestImportOnTerminal(t *testing.T) {
	in := install(t)
	p := in.serve()
	p.peer()
	relay := openRelay(t)
	relay.to(p)
	numbers := &peered{t: t, dir: t.TempDir(), there: map[string]bool{}, cnam: map[string][]string{}, address: map[string][]string{}}
	file := numbers.write("fresh.csv", 9000, true)
	command := func() *exec.Cmd {
		cmd := p.command("numbers", "import", file.path)
		cmd.Env = append(cmd.Env, "SWITCHHOOK_SERVER="+relay.url)
		return cmd
	}
	const columns = 60
	relay.let(file.ends[len(file.ends)/2])
	x := onTerminal(t, columns, command())
	x.shows(`\n ?[1-4][0-9]% \[=*> *\] [0-9],[0-9]{3} lines`)
	x.press("\x03") // Ctrl-C
	if code := x.end(); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	x.shows(`\n(\^C)?switchhook: interrupted; [0-9],[0-9]{3} lines are done: the same command goes on there\n`)

	relay.let(math.MaxInt64)
	y := onTerminal(t, columns, command())
	if code := y.end(); code != exitFailed {
		t.Errorf("exit code %d, and lines were refused", code)
	}
	screen := strings.Join(y.lines(), "\n")
	for _, want := range []string{
		`^going on after [0-9],[0-9]{3} lines, where it was interrupted at .*\n`,
		`\n100% \[=+\] 9,000 lines .*in [0-9.]+s\n9,000 lines: [0-9,]+ changed, [0-9,]+ as before, [0-9]+ refused; [0-9]+ events\n$`,
	} {
		if !regexp.MustCompile(want).MatchString(screen) {
			t.Errorf("%s is not on the screen:\n%s", want, screen)
		}
	}
	reported := map[string]bool{}
	for _, x := range []*terminal{x, y} {
		for _, line := range x.lines() {
			if m := regexp.MustCompile(`^line (\d+): \S+: \w+: .`).FindStringSubmatch(line); m != nil {
				reported[m[1]] = true
			} else if strings.Contains(line, "line ") && !strings.HasPrefix(line, "going on") {
				t.Errorf("something is in the line of another thing: %q", line)
			}
		}
		for drawn := range strings.SplitSeq(x.raw.String(), "\r") {
			if bar := strings.TrimSuffix(drawn, "\x1b[K"); strings.Contains(bar, "% [") && len(bar) >= columns && !strings.Contains(bar, "\n") {
				t.Errorf("the bar is wider than the terminal: %q", bar)
			}
		}
	}
	if len(reported) != len(file.refused) {
		t.Errorf("%d refused lines are on the screen, want %d", len(reported), len(file.refused))
	}
	if left, _ := filepath.Glob(file.path + ".*"); len(left) > 0 {
		t.Errorf("%s is left", left)
	}
}

// Before all numbers of a filter are changed somebody is asked, and told how many there are.
func TestSetAsksOnTerminal(t *testing.T) {
	in := install(t)
	p := in.serve()
	p.peer()
	numbers := &peered{t: t, dir: t.TempDir(), there: map[string]bool{}, cnam: map[string][]string{}, address: map[string][]string{}}
	file := numbers.write("fresh.csv", 40, true)
	if out, err := p.command("numbers", "import", file.path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const question = `^set the caller name of 40 numbers to "PINECONE BAKERY"\? \[y/N\] `
	for _, c := range []struct {
		keys, shows string
		code, named int
	}{
		{"\n", "\nnothing was changed\n", exitFailed, 0},
		{"no\n", "\nnothing was changed\n", exitFailed, 0},
		{"\x03", "\nnothing was changed\n", exitFailed, 0},
		{"y\n", `\n100% \[=+\] 40 numbers  in [0-9.]+s\n40 numbers: 40 changed, 0 as before; 1 event\n$`, exitOK, 40},
	} {
		x := onTerminal(t, 80, p.command("numbers", "set-cnam", "--carrier", "1", "--name", "PINECONE BAKERY"))
		x.shows(question + "$")
		x.press(c.keys)
		if code := x.end(); code != c.code {
			t.Errorf("after %q: exit code %d", c.keys, code)
		}
		x.shows(c.shows)
		out, err := p.command("numbers", "export").Output()
		must(t, err)
		if named := strings.Count(string(out), "PINECONE BAKERY"); named != c.named {
			t.Errorf("after %q: %d numbers have the name", c.keys, named)
		}
	}
}
