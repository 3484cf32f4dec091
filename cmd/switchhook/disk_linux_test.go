package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// While there is no room on the disk, publishing is answered with 503 and nothing
// is stored of it; what was acknowledged before is delivered meanwhile. Once there
// is room again, everything works again by itself.
func TestDiskFull(t *testing.T) {
	t.Run("file size limit", func(t *testing.T) {
		in := install(t)
		p := in.serve()
		limit := func(n uint64) {
			must(t, unix.Prlimit(p.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: unix.RLIM_INFINITY}, nil))
		}
		testDiskFull(t, p, func() { limit(12 << 20) }, func() { limit(unix.RLIM_INFINITY) })
	})
	t.Run("full file system", func(t *testing.T) {
		in := install(t)
		disk := filepath.Join(in.dir, "disk")
		must(t, os.Mkdir(disk, 0o700))
		database, key := in.database(), in.masterKey()
		if out, err := namespaced("true").CombinedOutput(); err != nil {
			leftOut(t, "a file system of its own needs user namespaces: %v %s", err, out)
		}
		p := in.start(namespaced(`mount -t tmpfs -o size=40m none "$1" && cp "$2" "$1/test.db" && shift 2 && exec "$@"`, disk, strings.TrimPrefix(database, "sqlite:"),
			program(t), "serve", "--dev", "--ready", "--listen", "127.0.0.1:0", "--log-level", "warn",
			"--database", "sqlite:"+disk+"/test.db", "--master-key-file", key))
		// The file system is to be seen from inside the namespace only.
		ballast := fmt.Sprintf("/proc/%d/root%s/ballast", p.Process.Pid, disk)
		testDiskFull(t, p, func() {
			f, err := os.Create(ballast)
			must(t, err)
			defer f.Close()
			if n, err := io.Copy(f, zeros{}); err == nil || n == 0 {
				t.Fatalf("wrote %d bytes, err %v; want a full disk", n, err)
			}
		}, func() { must(t, os.Remove(ballast)) })
	})
}

// namespaced runs a shell script in a mount namespace of its own.
func namespaced(script string, args ...string) *exec.Cmd {
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, "sh"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	return cmd
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func testDiskFull(t *testing.T, p *running, full, room func()) {
	inbox, other := openInbox(t, "inbox", "secret-of-inbox"), openInbox(t, "other", "secret-of-other")
	p.subscribe(inbox, other)
	pub := &producers{t: t, acked: map[string]time.Time{}}
	pad := strings.Repeat("x", 20_000) // fills the disk soon
	publish := func(name string) (status int) {
		t.Helper()
		body := strings.TrimSuffix(numbered(name), "}") + `,"padding":"` + pad + `"}`
		res, answer, err := p.call(context.Background(), http.DefaultClient, "POST", "/v2/events", "application/json", strings.NewReader(body))
		must(t, err)
		switch res.StatusCode {
		case http.StatusAccepted:
			pub.note([]string{name}, answer, res.StatusCode, false)
		case http.StatusServiceUnavailable:
			if res.Header.Get("Retry-After") == "" || !strings.Contains(string(answer), `"code":503`) {
				t.Errorf("answer of a full disk: %v %s", res.Header, answer)
			}
		default:
			t.Fatalf("status %d: %s", res.StatusCode, answer)
		}
		return res.StatusCode
	}
	p.ask("PUT", operator+"/event_types/number_management.peering_number_cnam_updated/check", `{"check":"off"}`, http.StatusNoContent, nil)
	for n := range 20 {
		if s := publish(fmt.Sprint("before", n)); s != http.StatusAccepted {
			t.Fatalf("status %d before the disk was full", s)
		}
	}
	full()
	refused := map[string]bool{}
	for n := 0; len(refused) < 20; n++ {
		if n > 10_000 {
			t.Fatal("the disk never got full")
		}
		if name := fmt.Sprint("full", n); publish(name) == http.StatusServiceUnavailable {
			refused[name] = true
		}
	}
	// A change of the configuration is whole or not at all, like an event.
	res, answer, err := p.call(t.Context(), http.DefaultClient, "POST", operator+"/apply", "application/json",
		strings.NewReader(`{"accounts":[{"id":"late-1"},{"id":"late-2"}]}`))
	must(t, err)
	late := 0
	switch res.StatusCode {
	case http.StatusOK:
		late = 2
	case http.StatusServiceUnavailable:
	default:
		t.Errorf("a change on a full disk was answered with %d %s", res.StatusCode, answer)
	}
	waitFor(t, "what was acknowledged", func() bool { return len(pub.missing(inbox, other)) == 0 })
	p.ask("GET", operator+"/deliveries", "", http.StatusOK, nil) // reading works all the time
	room()
	waitFor(t, "an event accepted after there was room", func() bool { return publish("after") == http.StatusAccepted })
	var list struct {
		Accounts []struct{ ID string } `json:"accounts"`
	}
	p.ask("GET", operator+"/accounts", "", http.StatusOK, &list)
	for _, a := range list.Accounts {
		if strings.HasPrefix(a.ID, "late-") {
			late--
		}
	}
	if late != 0 {
		t.Errorf("the change on a full disk was answered with %d, and there are %+v", res.StatusCode, list.Accounts)
	}
	waitFor(t, "what was published after", func() bool { return len(pub.missing(inbox, other)) == 0 })
	waitFor(t, "the last delivery's end", func() bool {
		var list struct{ Deliveries []any }
		p.ask("GET", operator+"/deliveries?state=waiting", "", http.StatusOK, &list)
		return len(list.Deliveries) == 0
	})
	p.stop()
	for name := range inbox.numbers() {
		if refused[name] {
			t.Errorf("event %s was refused, and delivered", name)
		}
	}
	for _, f := range append(inbox.faults, other.faults...) {
		t.Error(f)
	}
	log := p.stderr.String()
	if n := strings.Count(log, "the store cannot write"); n == 0 || n > 3 || strings.Count(log, "the store can write again") == 0 {
		t.Errorf("the log is to say once that the disk is full and once that it is not any more:\n%s", log)
	}
}
