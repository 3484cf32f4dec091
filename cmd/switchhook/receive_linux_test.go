package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// While there is no room on the disk, senders are asked to come again and nothing is
// stored; what was answered with 204 before is forwarded. Once there is room again,
// everything works again by itself.
func TestGatewayDiskFull(t *testing.T) {
	t.Run("file size limit", func(t *testing.T) {
		b := openBackend(t)
		g := newGateway(t, b.url, "")
		p, admin := g.withAdmin()
		limit := func(n uint64) {
			must(t, unix.Prlimit(p.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: unix.RLIM_INFINITY}, nil))
		}
		testGatewayDiskFull(t, p, b, admin, func() { limit(1 << 20) }, func() { limit(unix.RLIM_INFINITY) })
	})
	t.Run("full file system", func(t *testing.T) {
		b := openBackend(t)
		g := newGateway(t, b.url, "")
		disk := filepath.Join(g.dir, "disk")
		must(t, os.Mkdir(disk, 0o700))
		if out, err := namespaced("true").CombinedOutput(); err != nil {
			leftOut(t, "a file system of its own needs user namespaces: %v %s", err, out)
		}
		// What is forwarded to a file on that disk waits for room like everything else.
		text, err := os.ReadFile(g.config)
		must(t, err)
		archive := filepath.Join(disk, "archive.ndjson")
		text = append(text, fmt.Appendf(nil, "  - {name: archive, min-pause: 10ms, max-pause: 50ms, file: {path: %s}}\n", archive)...)
		text = []byte(strings.Replace(string(text), g.dir+"/inbox.db", disk+"/inbox.db", 1))
		must(t, os.WriteFile(g.config, text, 0o600))
		p, admin := g.startWithAdmin(namespaced(`mount -t tmpfs -o size=16m none "$1" && shift && exec "$@"`, disk, program(t), "receive", "--ready", "--config", g.config))
		// The file system is to be seen from inside the namespace only.
		inside := fmt.Sprintf("/proc/%d/root%s/", p.Process.Pid, disk)
		testGatewayDiskFull(t, p, b, admin, func() {
			f, err := os.Create(inside + "ballast")
			must(t, err)
			defer f.Close()
			if n, err := io.Copy(f, zeros{}); err == nil || n == 0 {
				t.Fatalf("wrote %d bytes, err %v; want a full disk", n, err)
			}
		}, func() { must(t, os.Remove(inside+"ballast")) }, inside+"archive.ndjson")
	})
}

func testGatewayDiskFull(t *testing.T, p *running, b *backend, admin string, full, room func(), archives ...string) {
	s := &senders{t: t, acked: map[string]bool{}}
	send := func(id string) int {
		t.Helper()
		status := s.deliver(t.Context(), http.DefaultClient, p.url, gatewaySecret, id)
		if status != http.StatusNoContent && status != http.StatusServiceUnavailable {
			t.Fatalf("%s: status %d", id, status)
		}
		return status
	}
	ready := func() int {
		res, err := http.Get(admin + "/readyz") //nolint:forbidigo // the client of a test
		must(t, err)
		_ = res.Body.Close()
		return res.StatusCode
	}
	for n := range 20 {
		if status := send(fmt.Sprint("before", n)); status != http.StatusNoContent {
			t.Fatalf("status %d before the disk was full", status)
		}
	}
	full()
	refused := map[string]bool{}
	for n := 0; len(refused) < 20; n++ {
		if n > 100_000 {
			t.Fatal("the disk never got full")
		}
		if id := fmt.Sprint("full", n); send(id) == http.StatusServiceUnavailable {
			refused[id] = true
		}
	}
	// Something small may still find room now and then.
	n := 0
	waitFor(t, "that it says that it is not ready", func() bool {
		n++
		id := fmt.Sprint("more", n)
		if send(id) != http.StatusServiceUnavailable {
			return false
		}
		refused[id] = true
		return ready() == http.StatusServiceUnavailable
	})
	waitFor(t, "what was answered with 204", func() bool { return b.lacks(s.numbers()) == 0 })
	room()
	// Also without a sender who tries.
	waitFor(t, "readiness", func() bool { return ready() == http.StatusOK })
	if status := send("after"); status != http.StatusNoContent {
		t.Errorf("an event after there was room: status %d", status)
	}
	waitFor(t, "what came after", func() bool { return b.lacks(s.numbers()) == 0 })
	for _, archive := range archives {
		waitFor(t, "the archive", func() bool {
			text, err := os.ReadFile(archive)
			must(t, err)
			return strings.Count(string(text), "\n") == len(s.numbers())
		})
	}
	p.stop()
	b.check(t)
	for _, lie := range s.lies {
		t.Error(lie)
	}
	for id := range refused {
		if b.lacks([]string{id}) == 0 {
			t.Errorf("%s was refused, and forwarded", id)
		}
	}
	log := p.stderr.String()
	if n := strings.Count(log, "the inbox cannot be written"); n == 0 || n > 3 || !strings.Contains(log, "the inbox can be written again") {
		t.Errorf("the log is to say once that the disk is full and once that it is not any more:\n%s", log)
	}
}

// Clients that are slow on purpose, and many, do not keep senders from being answered.
func TestGatewaySlowLoris(t *testing.T) {
	b := openBackend(t)
	g := newGateway(t, b.url, "max-connections: 200\nmax-connections-per-address: 200")
	p := g.receive()
	addr := strings.TrimPrefix(p.url, "http://")
	for n := range 500 {
		c, err := dialSlow(t, addr)
		must(t, err)
		_, _ = io.WriteString(c, []string{"", "POST /webhooks HTTP/1.1\r\nHost: x\r\nX-", "POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"}[n%3])
	}
	s := &senders{t: t, acked: map[string]bool{}}
	for n := range 50 {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		if status := s.deliver(t.Context(), client, p.url, gatewaySecret, fmt.Sprint("r", n)); status != http.StatusNoContent {
			t.Errorf("request %d: %d", n, status)
		}
	}
	waitFor(t, "what was sent", func() bool { return b.lacks(s.numbers()) == 0 })
	p.stop()
}
