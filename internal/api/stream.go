package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// logStore is what the whole webhook log asks of the store.
type logStore interface {
	// LogAfter returns rows with higher ids, the earliest first, LogBefore with lower ones,
	// the latest first. They say how far they have looked, and whether there may be more.
	LogAfter(ctx context.Context, q hook.LogQuery, after int64, limit int) (rows []hook.LogRow, upTo int64, more bool, err error)
	LogBefore(ctx context.Context, q hook.LogQuery, before int64, limit int) (rows []hook.LogRow, downTo int64, more bool, err error)
	LastLogRow(ctx context.Context) (int64, error)
	// Follow returns a channel that has something when rows were added.
	Follow() (news <-chan struct{}, stop func())
}

const (
	// heartbeat is how often a stream shows that it is alive, and whether its key still is.
	heartbeat = 15 * time.Second

	// streamWrite is how long a client may take to read what it is sent. One that takes
	// longer is cut off; it can go on where it was.
	streamWrite = 10 * time.Second

	// streamRows is how many rows are read and written at a time, and streamPause the
	// least time between two looks, so that under load each has many rows in it.
	streamRows  = 64
	streamPause = 50 * time.Millisecond

	// maxStreams bounds how many follow the log at a time.
	maxStreams = 100
)

// LoggedAttempt is a row of the whole webhook log.
type LoggedAttempt struct {
	// ID orders rows by when they were recorded. It is a text because it is larger than
	// the numbers that JavaScript can tell apart.
	ID           string  `json:"log_id"`
	DeliveryID   string  `json:"delivery_id"`
	EventID      string  `json:"event_id"`
	Event        string  `json:"event"`
	TS           Instant `json:"event_ts"`
	Subscription string  `json:"event_subscription_id"`
	App          string  `json:"app_id"`
	Attempt
}

func (a *api) viewLogged(x *hook.LogRow) LoggedAttempt {
	v := LoggedAttempt{
		ID: strconv.FormatInt(x.ID, 10), DeliveryID: x.Delivery.String(), EventID: x.Delivery.Event.String(), Event: x.EventType,
		Subscription: x.SubscriptionID, App: x.App, Attempt: a.viewAttempt(&x.Attempt, x.Event),
	}
	if x.Event != nil {
		v.Event, v.TS = x.Event.Type, Instant(x.Event.TS)
	}
	return v
}

// logQuery reads which rows are meant. more are the parameters beside those that select.
func (a *api) logQuery(q url.Values, more ...string) (f hook.LogQuery, faults hook.Faults) {
	known := append([]string{"event_subscription_id", "app_id", "event", "failed"}, more...)
	for _, name := range slices.Sorted(maps.Keys(q)) {
		if !slices.Contains(known, name) {
			faults.Add(name, "is not known; known are %s", strings.Join(known, ", "))
		}
	}
	f = hook.LogQuery{App: q.Get("app_id"), EventType: q.Get("event")}
	if id := q.Get("event_subscription_id"); id != "" {
		k, err := hook.KeyOf(id)
		if err != nil {
			faults.Add("event_subscription_id", "%s", err)
		}
		f.Subscription = k
	}
	switch q.Get("failed") {
	case "", "false":
	case "true":
		f.Failed = true
	default:
		faults.Add("failed", "must be true or false")
	}
	return f, faults
}

// listLog shows the whole webhook log, the latest rows first.
func (a *api) listLog(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	f, faults := a.logQuery(q, "page_size", "next_page_token")
	size, before := defaultPage, int64(math.MaxInt64)
	if text := q.Get("page_size"); text != "" {
		var err error
		if size, err = strconv.Atoi(text); err != nil || size < 1 || size > maxPage {
			faults.Add("page_size", "must be 1 to %d", maxPage)
		}
	}
	if text := q.Get("next_page_token"); text != "" {
		b, err := base64.RawURLEncoding.Strict().DecodeString(text)
		if err != nil || len(b) != 16 || string(b[:8]) != string(queryHash(q)) {
			faults.Add("next_page_token", "is not one that this API gave for this query")
		} else {
			before = int64(binary.BigEndian.Uint64(b[8:]))
		}
	}
	if err := faults.Err("query"); err != nil {
		return err
	}
	v := struct {
		Next     string          `json:"next_page_token"`
		PageSize int             `json:"page_size"`
		Rows     []LoggedAttempt `json:"webhook_logs"`
	}{"", size, []LoggedAttempt{}}
	rows, downTo, more, err := a.Store.LogBefore(r.Context(), f, before, size)
	if err != nil {
		return err
	}
	for i := range rows {
		v.Rows = append(v.Rows, a.viewLogged(&rows[i]))
	}
	if more {
		v.Next = base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(queryHash(q), uint64(downTo)))
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

// followLog sends log rows as they are recorded, as Server-Sent Events: each once, in
// the order of recording, from now on, or from where Last-Event-ID says.
//
// A stream reads the store at the pace of its client, so it holds nobody up, and has no
// more than a few rows in memory however far the client is behind.
func (a *api) followLog(w http.ResponseWriter, r *http.Request) error {
	f, faults := a.logQuery(r.URL.Query())
	last := r.Header.Get("Last-Event-ID")
	after, err := strconv.ParseInt(last, 10, 64)
	if last != "" && (err != nil || after < 0) {
		faults.Add("Last-Event-ID", "%.50q is not the id of a row", last)
	}
	if err := faults.Err("query"); err != nil {
		return err
	}
	if a.streams.Add(1) > maxStreams {
		a.streams.Add(-1)
		return &hook.Error{Kind: hook.TooMany, Detail: fmt.Sprintf("%d streams are open already", maxStreams)}
	}
	defer a.streams.Add(-1)
	news, stop := a.Store.Follow() // before looking where the log ends, so that nothing falls between
	defer stop()
	newest, err := a.Store.LastLogRow(r.Context())
	if err != nil {
		return err
	}
	switch {
	case last == "":
		after = newest
	case after > newest:
		return hook.Faults{{Field: "Last-Event-ID", Message: "is ahead of this log; was it another platform's? Connect without it"}}.Err("header")
	}
	one := &follower{api: a, r: r, w: w, rc: http.NewResponseController(w), query: f, after: after}
	one.run(news, last != "")
	return nil
}

// follower is somebody who follows the log.
type follower struct {
	*api
	r     *http.Request
	w     http.ResponseWriter
	rc    *http.ResponseController
	query hook.LogQuery
	after int64 // the row up to which it has been told
	buf   bytes.Buffer
}

// run sends rows until the client leaves, does not read, or may not any more, or the
// platform stops. What it cannot say any more, for the answer has begun, is in the log.
func (f *follower) run(news <-chan struct{}, resumed bool) {
	h := f.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // some proxies keep back what they think is not worth sending yet
	h.Set("Connection", "close")     // its time limits are of no use to another request
	if f.r.Method == http.MethodHead {
		return
	}
	// An HTTP server notices that the client has left only once the body is read, though
	// nobody sends one.
	_ = f.rc.SetReadDeadline(time.Now().Add(streamWrite))
	if _, err := io.Copy(io.Discard, http.MaxBytesReader(f.w, f.r.Body, maxDocument)); err != nil {
		return
	}
	_ = f.rc.SetReadDeadline(time.Time{})
	// From the beginning the client knows where to go on, also if nothing happens.
	fmt.Fprintf(&f.buf, "retry: 1000\nid: %d\n\n", f.after)
	if err := f.begin(resumed); err != nil || !f.flush() {
		f.failed(err)
		return
	}
	defer func() { _ = f.rc.SetWriteDeadline(time.Now().Add(streamWrite)) }() // the server has an end to write
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		looked := time.Now()
		rows, upTo, more, err := f.Store.LogAfter(f.r.Context(), f.query, f.after, streamRows)
		if err != nil {
			f.failed(err)
			return
		}
		f.after = upTo
		for i := range rows {
			f.event("", rows[i].ID, f.viewLogged(&rows[i]))
		}
		if !f.flush() || !f.wait(news, beat.C, looked, more) {
			return
		}
	}
}

// begin tells a client that goes on of what it has missed for good: rows that were
// deleted because of their age.
func (f *follower) begin(resumed bool) error {
	horizon, err := f.Store.Horizon(f.r.Context())
	// Rows have ids of their own, and the whole millisecond of the first event that was
	// kept keeps its rows.
	if kept := horizon.Time(); err == nil && resumed && f.after > 0 && f.after < hook.FirstID(kept) {
		f.event("gap", f.after, struct {
			Before Instant `json:"deleted_before"`
		}{Instant(kept)})
	}
	return err
}

// event adds an event to what is to be sent. An empty name is the usual one, for a row.
func (f *follower) event(name string, id int64, data any) {
	if name != "" {
		f.buf.WriteString("event: " + name + "\n")
	}
	fmt.Fprintf(&f.buf, "id: %d\ndata: ", id)
	_ = newEncoder(&f.buf).Encode(data) // ends with the line
	f.buf.WriteByte('\n')
}

// flush sends what there is to send and reports whether the client has taken it.
func (f *follower) flush() bool {
	if f.buf.Len() == 0 {
		return true
	}
	_ = f.rc.SetWriteDeadline(time.Now().Add(streamWrite)) // what has no deadlines does not need them
	_, err := f.w.Write(f.buf.Bytes())
	if err == nil {
		err = f.rc.Flush()
	}
	_ = f.rc.SetWriteDeadline(time.Time{}) // until there is something to send again
	if f.buf.Reset(); f.buf.Cap() > 1<<20 {
		f.buf = bytes.Buffer{} // long answers are rare
	}
	if err != nil {
		f.failed(err)
		return false
	}
	return true
}

// failed takes note of why a stream ends, unless it is the client who ended it.
func (f *follower) failed(err error) {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded): // which ends the request's context as well
		f.Log.Warn("a client that follows the log does not read and is cut off", "key", actor(f.r).ID, "after", f.after)
	case err != nil && f.r.Context().Err() == nil:
		f.Log.Warn("a stream of log rows ends", "key", actor(f.r).ID, "after", f.after, "err", err)
	}
}

// wait returns when there may be more rows, and false when the stream is to end.
// Meanwhile it shows that it is alive.
func (f *follower) wait(news <-chan struct{}, beat <-chan time.Time, looked time.Time, more bool) bool {
	var pause <-chan time.Time // when it may look again, if there is something to look for
	if more {
		at := make(chan time.Time)
		close(at)
		pause = at
	}
	for {
		select {
		case <-f.r.Context().Done():
			return false
		case <-f.Stopping:
			f.buf.WriteString(": the platform is stopping\n\n")
			f.flush()
			return false
		case <-beat:
			if _, err := f.authorize(f.r, hook.KeyRead); err != nil {
				f.failed(err)
				return false
			}
			fmt.Fprintf(&f.buf, ": still here\nid: %d\n\n", f.after)
			if !f.flush() {
				return false
			}
		case <-news:
			if pause == nil {
				t := time.NewTimer(streamPause - time.Since(looked))
				defer t.Stop() // one at most
				pause = t.C
			}
		case <-pause:
			return true
		}
	}
}
