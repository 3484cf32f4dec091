package gateway_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/gateway"
	"github.com/switchhook/switchhook/internal/inbox"
	"github.com/switchhook/switchhook/webhook"
)

const (
	secret      = "the-secret-of-the-app"
	otherSecret = "the-secret-of-another"
	path        = "/hooks/zoom"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a gateway with its inbox.
type world struct {
	*gateway.Gateway
	t     testing.TB
	inbox *inbox.Inbox
	file  string
	log   *log
}

// log keeps what was logged.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
	t  io.Writer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.t.Write(p)
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// zoom is the source of most tests.
func zoom(change ...func(*gateway.Source)) gateway.Source {
	s := gateway.Source{Name: "zoom", Path: path, Secrets: []string{secret}}
	for _, f := range change {
		f(&s)
	}
	return s
}

// open opens a gateway with one source.
func open(t testing.TB, c gateway.Config, sources ...gateway.Source) *world {
	t.Helper()
	w := &world{t: t, file: filepath.Join(t.TempDir(), "inbox.db"), log: &log{t: t.Output()}}
	logger := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	w.inbox, err = inbox.Open(t.Context(), inbox.Options{File: w.file, Serve: true, Log: logger, Busy: time.Millisecond})
	must(t, err)
	t.Cleanup(func() { must(t, w.inbox.Close()) })
	c.Inbox, c.Log = w.inbox, logger
	w.Gateway = gateway.New(c)
	if len(sources) == 0 {
		sources = []gateway.Source{zoom()}
	}
	must(t, w.Use(sources))
	return w
}

// sign returns the contract's signature, without the package that checks it.
func sign(key, timestamp string, body []byte) string {
	m := hmac.New(sha256.New, []byte(key))
	_, _ = fmt.Fprintf(m, "v0:%s:%s", timestamp, body)
	return "v0=" + hex.EncodeToString(m.Sum(nil))
}

// request returns one as the platform sends it now.
func request(key, id string, body []byte) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	r.Header.Set("Content-Type", webhook.ContentType)
	r.Header.Set(webhook.HeaderTimestamp, timestamp)
	r.Header.Set(webhook.HeaderSignature, sign(key, timestamp, body))
	r.Header.Set(webhook.HeaderRequestID, id)
	r.Header.Set(webhook.HeaderTrackingID, "v=2.0;clid=us;rid=WEB_00")
	return r
}

// event is a body that is told from others by its number.
func event(number int) []byte {
	return fmt.Appendf(nil, `{"event":"a.b","event_ts":1763758800123,"payload":{"number":%d}}`, number)
}

func (w *world) answer(r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec
}

// send sends an event as the platform does, and returns the status.
func (w *world) send(key, id string, body []byte) int { return w.answer(request(key, id, body)).Code }

// stored returns the bodies in the inbox, in order.
func (w *world) stored() (bodies []string) {
	w.t.Helper()
	for last := int64(0); ; {
		events, err := w.inbox.After(context.Background(), last, math.MaxInt64)
		must(w.t, err)
		if len(events) == 0 {
			return bodies
		}
		for _, e := range events {
			bodies, last = append(bodies, string(e.Body)), e.ID
		}
	}
}

// quarantined returns what is in the quarantine.
func (w *world) quarantined() []*inbox.Suspect {
	w.t.Helper()
	all, err := w.inbox.Suspects(context.Background(), "", 0, 10_000)
	must(w.t, err)
	return all
}

func (w *world) recheck(anyway bool, only ...int64) []gateway.Released {
	w.t.Helper()
	all, err := w.Recheck(context.Background(), anyway, only...)
	must(w.t, err)
	return all
}

// expect compares the numbers of the events that are stored.
func (w *world) expect(want ...int) {
	w.t.Helper()
	var got []int
	for _, body := range w.stored() {
		n := -1
		_, _ = fmt.Sscanf(body, `{"event":"a.b","event_ts":1763758800123,"payload":{"number":%d}}`, &n)
		got = append(got, n)
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("stored are %v, want %v", got, want)
	}
}

// schedule is when the platform makes its attempts.
var schedule = []time.Duration{0, 5 * time.Minute, 25 * time.Minute, 85 * time.Minute}

// deliver delivers an event as the platform does: 2xx ends it well, 3xx and 4xx end it
// for good, and anything else is tried again. It returns the last status.
func (w *world) deliver(key func() string, id string, body []byte) (status int) {
	start := time.Now()
	for _, at := range schedule {
		time.Sleep(time.Until(start.Add(at)))
		if status = w.send(key(), id, body); status < 500 {
			return status
		}
	}
	return status
}
