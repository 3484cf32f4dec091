package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
)

const (
	// maxBatch is how many bytes a JSON array may have. NDJSON has no such limit.
	maxBatch = 32 << 20

	// maxItems is how many items it may have, so that what they are answered with
	// stays bounded as well.
	maxItems = 50_000

	// chunkItems and chunkBytes bound how much of a stream is accepted at a time.
	chunkItems = 512
	chunkBytes = 1 << 20
)

// Accepted is the answer for an event.
type Accepted struct {
	Event      string      `json:"event_id"`
	Deliveries int         `json:"deliveries"`
	Duplicate  bool        `json:"duplicate,omitempty"`
	Warnings   hook.Faults `json:"warnings,omitempty"`
}

func answer(r *intake.Receipt) Accepted {
	return Accepted{r.Event.String(), r.Deliveries, r.Duplicate, r.Warnings}
}

// publish takes one event, an array of them, or a stream with one to a line.
func (a *api) publish(w http.ResponseWriter, r *http.Request) error {
	key := r.Header.Get("Idempotency-Key")
	if len(key) > intake.MaxKey {
		return hook.Faults{{Field: "Idempotency-Key", Message: fmt.Sprintf("is longer than %d bytes", intake.MaxKey)}}.Err("header")
	}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch media {
	case "application/x-ndjson", "application/ndjson", "application/jsonl":
		return a.publishStream(w, r, key)
	}
	body := bufio.NewReader(http.MaxBytesReader(w, r.Body, maxBatch))
	first, err := firstByte(body)
	if err != nil {
		return badBody(err)
	}
	if first == '[' {
		return a.publishArray(w, r, body, key)
	}
	raw, err := io.ReadAll(io.LimitReader(body, intake.MaxEvent+1))
	if err != nil {
		return badBody(err)
	}
	receipt := &a.Intake.Accept([]intake.Item{{Raw: raw, Key: key, Trace: traceOf(r)}}, time.Now())[0]
	if receipt.Err != nil {
		return receipt.Err
	}
	writeJSON(w, http.StatusAccepted, answer(receipt))
	return nil
}

// traceOf returns the trace that a request is part of.
func traceOf(r *http.Request) hook.Trace { return hook.ParseTrace(r.Header.Get("Traceparent")) }

// firstByte returns the first byte that is not white space, without taking it.
func firstByte(r *bufio.Reader) (byte, error) {
	for {
		c, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c, r.UnreadByte()
		}
	}
}

// useStream is what to do with a batch that is too large.
const useStream = "send a large batch as application/x-ndjson, one event to a line"

func badBody(err error) error {
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &hook.Error{Kind: hook.TooLarge, Subject: "body",
			Detail: fmt.Sprintf("has more than %d bytes; %s", e.Limit, useStream)}
	}
	if errors.Is(err, io.EOF) {
		return hook.Faults{{Message: "the body is empty: an event is expected, or an array of events"}}.Err("")
	}
	return hook.Faults{{Message: "the body could not be read: " + err.Error()}}.Err("")
}

// itemKey is the idempotency key of an item of a batch whose request has one: the
// same items sent again under the same key are the same events.
func itemKey(key string, i int) string {
	if key == "" {
		return ""
	}
	return key + "/" + strconv.Itoa(i)
}

// publishArray accepts the items of an array, each for itself. An array that is
// cut off or malformed is refused as a whole.
func (a *api) publishArray(w http.ResponseWriter, req *http.Request, body io.Reader, key string) error {
	dec := json.NewDecoder(body)
	if _, err := dec.Token(); err != nil {
		return badBody(err)
	}
	var items []intake.Item
	for dec.More() {
		if len(items) == maxItems {
			return &hook.Error{Kind: hook.TooLarge, Subject: "array", Detail: fmt.Sprintf("has more than %d events; %s", maxItems, useStream)}
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return badArray(err, len(items))
		}
		items = append(items, intake.Item{Raw: raw, Key: itemKey(key, len(items)), Trace: traceOf(req)})
	}
	_, err := dec.Token()
	if err == nil {
		err = ended(dec)
	}
	if err != nil {
		return badArray(err, len(items))
	}
	if len(items) == 0 {
		return hook.Faults{{Message: "the array is empty: there is nothing to publish"}}.Err("")
	}
	result := struct {
		Accepted int   `json:"accepted"`
		Failed   int   `json:"failed"`
		Items    []any `json:"items"`
	}{}
	status := http.StatusBadRequest // unless one is accepted
	for len(items) > 0 {
		n := min(len(items), chunkItems)
		receipts := a.Intake.Accept(items[:n], time.Now())
		items = items[n:]
		for i := range receipts {
			r := &receipts[i]
			if r.Err == nil {
				result.Accepted++
				result.Items = append(result.Items, answer(r))
				continue
			}
			result.Failed++
			s, f := a.itemFault(req, r.Err)
			if s >= 500 {
				status = s
			}
			index := len(result.Items)
			f.Index = &index
			result.Items = append(result.Items, f)
		}
	}
	if result.Accepted > 0 {
		status = http.StatusAccepted
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, status, result)
	return nil
}

func badArray(err error, i int) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return badBody(err)
	}
	return hook.Faults{{Field: "/" + strconv.Itoa(i), Message: "the array is malformed, so nothing of it was accepted: " + err.Error()}}.Err("")
}

// itemFault returns what an item of a batch is answered that was not accepted.
func (a *api) itemFault(req *http.Request, err error) (status int, f fault) {
	if status, f = faultOf(err); status == http.StatusInternalServerError {
		a.Log.ErrorContext(req.Context(), "api", "route", req.Pattern, "err", err)
	}
	return status, f
}

// publishStream accepts one event to a line, for as long as lines come, and
// answers each with a line of its own once it is durable.
func (a *api) publishStream(w http.ResponseWriter, r *http.Request, key string) error {
	ctl := http.NewResponseController(w)
	if err := ctl.EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	s := &stream{in: bufio.NewReaderSize(r.Body, 64<<10), key: key, trace: traceOf(r)}
	started := false
	for {
		items, readErr := s.chunk()
		if len(items) > 0 {
			receipts := a.Intake.Accept(items, time.Now())
			if !started {
				if err := inVain(receipts); err != nil {
					return err // nothing was accepted yet, so the status can still say so
				}
				started = true
				w.Header().Set("Content-Type", "application/x-ndjson")
				w.WriteHeader(http.StatusAccepted)
			}
			if _, err := w.Write(a.lines(r, s, receipts)); err != nil {
				return nil //nolint:nilerr // nobody is there to be told any more
			}
			_ = ctl.Flush()
		}
		if readErr == nil {
			continue
		}
		if !started {
			return badBody(readErr)
		}
		end := fmt.Appendf(nil, `{"accepted":%d,"failed":%d}`+"\n", s.accepted, s.failed)
		if !errors.Is(readErr, io.EOF) {
			end = fmt.Appendf(nil, `{"accepted":%d,"failed":%d,"code":300,"message":"the body broke off: what comes after line %d was not read"}`+"\n", s.accepted, s.failed, s.line)
		}
		_, _ = w.Write(end)
		return nil
	}
}

// inVain returns what prevented us from accepting anything, if something did.
func inVain(receipts []intake.Receipt) (ours error) {
	for _, r := range receipts {
		if r.Err == nil {
			return nil
		}
		if status, _ := faultOf(r.Err); status >= 500 && ours == nil {
			ours = r.Err
		}
	}
	return ours
}

// stream reads events from lines.
type stream struct {
	in               *bufio.Reader
	key              string
	trace            hook.Trace
	line             int   // how many have been read whole
	lines            []int // where the items of the last chunk stood
	accepted, failed int
	out              bytes.Buffer
}

// chunk returns the events that are there, waiting for one if there is none. At
// the end it returns the last ones and io.EOF.
func (s *stream) chunk() (items []intake.Item, err error) {
	size := 0
	s.lines = s.lines[:0]
	for len(items) < chunkItems && size < chunkBytes {
		if len(items) > 0 && !s.buffered() {
			return items, nil // whoever sends slowly gets an answer early
		}
		line, err := s.readLine()
		if err != nil && !errors.Is(err, io.EOF) {
			return items, err // a line whose end did not arrive may be half of one
		}
		if len(line) > 0 {
			s.line++
		}
		if line = trim(line); len(line) > 0 {
			s.lines = append(s.lines, s.line)
			items = append(items, intake.Item{Raw: line, Key: itemKey(s.key, s.line-1), Link: s.trace})
			size += len(line)
		}
		if err != nil {
			return items, err
		}
	}
	return items, nil
}

// buffered reports whether there is a whole line to be read without waiting.
func (s *stream) buffered() bool {
	there, _ := s.in.Peek(s.in.Buffered())
	return bytes.IndexByte(there, '\n') >= 0
}

// readLine returns a line of its own, and of one that is too long only as much as
// shows that it is.
func (s *stream) readLine() (line []byte, err error) {
	for {
		part, err := s.in.ReadSlice('\n')
		if len(line) <= intake.MaxEvent {
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		return line, err
	}
}

// trim takes off the white space around an event. It leaves a line that is too
// long as it is, for what was read of that must not look like all of it.
func trim(line []byte) []byte {
	line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	if len(line) > intake.MaxEvent {
		return line
	}
	return bytes.Trim(line, " \t\r\n")
}

// lines returns a line for each receipt.
func (a *api) lines(req *http.Request, s *stream, receipts []intake.Receipt) []byte {
	s.out.Reset()
	enc := newEncoder(&s.out)
	for i := range receipts {
		r := &receipts[i]
		if r.Err != nil {
			s.failed++
			_, f := a.itemFault(req, r.Err)
			f.Line = s.lines[i]
			_ = enc.Encode(f) // a buffer takes everything
			continue
		}
		s.accepted++
		if r.Duplicate || r.Warnings != nil {
			_ = enc.Encode(answer(r))
			continue
		}
		s.out.WriteString(`{"event_id":"` + r.Event.String() + `","deliveries":` + strconv.Itoa(r.Deliveries) + "}\n")
	}
	return s.out.Bytes()
}
