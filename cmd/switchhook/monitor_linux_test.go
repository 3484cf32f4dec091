package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// While the disk is full a platform is not ready and says why, and once there is room
// it is ready again by itself, although nobody sends it anything.
func TestReadinessOnFullDisk(t *testing.T) {
	in := install(t)
	p := in.oversee()
	b := openInbox(t, "good", "secret-of-good")
	p.subscribe(b)
	p.ask("PUT", operator+"/event_types/number_management.peering_number_cnam_updated/check", `{"check":"off"}`, http.StatusNoContent, nil)
	limit := func(n uint64) {
		must(t, unix.Prlimit(p.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: unix.RLIM_INFINITY}, nil))
	}
	limit(12 << 20)
	pad := strings.Repeat("x", 20_000) // fills the disk soon
	n, refused := 0, 0
	waitFor(t, "the platform to be not ready", func() bool {
		for range 100 {
			body := strings.TrimSuffix(numbered(fmt.Sprint("full", n)), "}") + `,"padding":"` + pad + `"}`
			n++
			res, _, err := p.call(t.Context(), http.DefaultClient, "POST", "/v2/events", "application/json", strings.NewReader(body))
			must(t, err)
			if res.StatusCode == http.StatusServiceUnavailable {
				refused++
			}
		}
		status, text := look(t, p.admin+"/readyz")
		return status == http.StatusServiceUnavailable && strings.HasPrefix(text, "not ready: the store cannot be written since ")
	})
	if h := p.health(); h.Status != "alarm" || h.Ready || h.Store.Writable || h.Store.FailingSince == "" || h.Store.Reason == "" ||
		!strings.Contains(strings.Join(h.Alarms, "\n"), "the store cannot be written since") {
		t.Errorf("%+v", h)
	}
	m := p.scrape()
	if m.of("store_writable") != 0 || m.of("ready") != 0 || m.of("store_commit_failures_total") == 0 || m.of("publish_items_total", "result=unavailable") != float64(refused) {
		t.Errorf("%d were refused, and these are the numbers: %v, %v, %v, %v", refused,
			m.of("store_writable"), m.of("ready"), m.of("store_commit_failures_total"), m.of("publish_items_total", "result=unavailable"))
	}
	limit(unix.RLIM_INFINITY)
	waitFor(t, "the platform to be ready", func() bool { status, _ := look(t, p.admin+"/readyz"); return status == http.StatusOK })
	waitFor(t, "the end of the alarm", func() bool { return p.health().Status == "ok" })
}
