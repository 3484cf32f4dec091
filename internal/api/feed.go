package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

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

	// maxStreams bounds how many streams are open at a time.
	maxStreams = 100
)

// source is what a feed tells of. It knows how far the client has been told.
type source interface {
	// position is where the client can go on.
	position() string
	// next adds a few of what there is to be told next. It says whether there may be more,
	// and what to wait for if there is not.
	next() (more bool, news <-chan struct{}, err error)
}

// feed is an answer of Server-Sent Events that goes on for as long as its client
// wants it.
//
// It reads the store at the pace of its client, so it holds nobody up, and has no more
// than a few rows in memory however far the client is behind.
type feed struct {
	*api
	what string // that is followed, for the log
	r    *http.Request
	w    http.ResponseWriter
	rc   *http.ResponseController
	buf  bytes.Buffer
	// first is what comes first, after the position.
	first bytes.Buffer
	// elsewhere has something when there may be news by another way. It may be nil.
	elsewhere <-chan struct{}
	// calls are to be made between two looks, for what comes by another way. It may be nil.
	calls <-chan func()
	// may says now and then why the client may not go on.
	may func() error
}

// openFeed begins a feed, which has to be closed.
func (a *api) openFeed(w http.ResponseWriter, r *http.Request, what string, may func() error) (*feed, error) {
	if a.streams.Add(1) > maxStreams {
		a.streams.Add(-1)
		return nil, &hook.Error{Kind: hook.TooMany, Detail: fmt.Sprintf("%d streams are open already", maxStreams)}
	}
	return &feed{api: a, what: what, r: r, w: w, rc: http.NewResponseController(w), may: may}, nil
}

func (f *feed) close() { f.streams.Add(-1) }

// run sends what the source has until the client leaves, does not read, or may not any
// more, or the platform stops. What it cannot say any more, for the answer has begun, is
// in the log.
func (f *feed) run(s source) {
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
	fmt.Fprintf(&f.buf, "retry: 1000\nid: %s\n\n%s", s.position(), f.first.Bytes())
	if !f.flush(s) {
		return
	}
	defer func() { _ = f.rc.SetWriteDeadline(time.Now().Add(streamWrite)) }() // the server has an end to write
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		looked := time.Now()
		more, news, err := s.next()
		if err != nil {
			f.failed(s, err)
			return
		}
		if !f.flush(s) || !f.wait(s, news, beat.C, looked, more) {
			return
		}
	}
}

// gap tells a client that goes on of what it has missed for good: what was deleted
// because of its age.
func (f *feed) gap(horizon hook.EventID, position string) {
	writeEvent(&f.first, "gap", position, struct {
		Before Instant `json:"deleted_before"`
	}{Instant(horizon.Time())})
}

// event adds an event to what is to be sent.
func (f *feed) event(name, id string, data any) { writeEvent(&f.buf, name, id, data) }

// writeEvent writes an event. An empty name is the usual one, and without an id the
// client goes on where it would have before.
func writeEvent(b *bytes.Buffer, name, id string, data any) {
	if name != "" {
		b.WriteString("event: " + name + "\n")
	}
	if id != "" {
		b.WriteString("id: " + id + "\n")
	}
	b.WriteString("data: ")
	_ = newEncoder(b).Encode(data) // ends with the line
	b.WriteByte('\n')
}

// flush sends what there is to send and reports whether the client has taken it.
func (f *feed) flush(s source) bool {
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
		f.failed(s, err)
		return false
	}
	return true
}

// failed takes note of why a stream ends, unless it is the client who ended it.
func (f *feed) failed(s source, err error) {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded): // which ends the request's context as well
		f.Log.Warn("a client that follows "+f.what+" does not read and is cut off", "key", actor(f.r).ID, "after", s.position())
	case err != nil && f.r.Context().Err() == nil:
		f.Log.Warn("a stream of "+f.what+" ends", "key", actor(f.r).ID, "after", s.position(), "err", err)
	}
}

// wait returns when there may be more rows, and false when the stream is to end.
// Meanwhile it shows that it is alive.
func (f *feed) wait(s source, news <-chan struct{}, beat <-chan time.Time, looked time.Time, more bool) bool {
	var pause <-chan time.Time // when it may look again, if there is something to look for
	if more {
		at := make(chan time.Time)
		close(at)
		pause = at
	}
	soon := func() {
		if pause == nil {
			pause = time.After(streamPause - time.Since(looked))
		}
	}
	for {
		select {
		case <-f.r.Context().Done():
			return false
		case <-f.Stopping:
			f.buf.WriteString(": the platform is stopping\n\n")
			f.flush(s)
			return false
		case <-beat:
			if err := f.may(); err != nil {
				f.failed(s, err)
				return false
			}
			fmt.Fprintf(&f.buf, ": still here\nid: %s\n\n", s.position())
			if !f.flush(s) {
				return false
			}
		case call := <-f.calls:
			if call(); !f.flush(s) {
				return false
			}
		case <-news:
			news = nil // there may be more of them, but a look is for all
			soon()
		case <-f.elsewhere:
			soon()
		case <-pause:
			return true
		}
	}
}
