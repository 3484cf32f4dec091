package api

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/inventory"
	"github.com/switchhook/switchhook/internal/number"
)

const (
	// pieceLines and pieceBytes bound how much of a file is in memory and applied at a
	// time, and pieceTime how long what came waits for more.
	pieceLines = 2400 // full transactions of the inventory, and full events
	pieceBytes = 1 << 20
	pieceTime  = 500 * time.Millisecond

	// importPause is how long a client may send nothing. It can go on where it was.
	importPause = 2 * time.Minute

	// maxImports bounds how many files are read at a time: the numbers that a file has
	// had are remembered, which takes up to 48 MiB.
	maxImports = 8

	// maxRefusals is how many refusals an answer has that comes at the end. One that
	// comes line by line has all of them.
	maxRefusals = 1000

	// exportPage is how many numbers are read at a time.
	exportPage = 1000
)

// Imported says how far an import has come: the counts are those of the call, position
// and bytes are where in the file it is.
type Imported struct {
	Lines    int    `json:"lines"`
	Changed  int    `json:"changed"`
	Events   int    `json:"events"`
	Refused  int    `json:"refused"` // lines, which may have several faults each
	Position string `json:"position"`
	Bytes    int64  `json:"bytes"`
}

// Refusal says why a line was refused.
type Refusal struct {
	Line    int    `json:"line"`
	Number  string `json:"phone_number"`
	Field   string `json:"field"` // empty: the line as a whole
	Message string `json:"message"`
}

func viewRefusal(x inventory.Refusal) Refusal {
	return Refusal{x.Line, shownNumber(x.Number), strings.TrimPrefix(x.Field, "emergency_address/"), x.Message}
}

// importNumbers reads a file of any length and makes its changes as it comes.
func (a *api) importNumbers(w http.ResponseWriter, r *http.Request) error {
	if err := importable(r); err != nil {
		return err
	}
	at, err := filePosition(r.URL.Query().Get("position"))
	if err != nil {
		return err
	}
	if a.imports.Add(1) > maxImports {
		a.imports.Add(-1)
		return &hook.Error{Kind: hook.TooMany, Detail: fmt.Sprintf("%d files are being imported already", maxImports)}
	}
	defer a.imports.Add(-1)

	x := &importer{api: a, r: r, steps: newSteps(w, r)}
	if x.wanted {
		if err := x.rc.EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
	}
	if err := x.begin(at); err != nil {
		return err
	}
	return x.answer(x.run())
}

// importable checks that a body is what it should be: CSV as it is.
func importable(r *http.Request) error {
	media, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	var f hook.Faults
	if err != nil || media != "text/csv" {
		f.Add("Content-Type", "must be text/csv: the body is the file itself")
	} else if charset := strings.ToLower(parameters["charset"]); charset != "" && charset != "utf-8" && charset != "us-ascii" {
		f.Add("Content-Type", "says %.40q; save the file as UTF-8", charset)
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		f.Add("Content-Encoding", "is %.40q; send the file as it is", coding)
	}
	if err := f.Err("header"); err != nil {
		return err
	}
	for name := range r.URL.Query() {
		if name != "position" {
			f.Add(name, "is not known; known is position")
		}
	}
	return f.Err("query")
}

// A position is three numbers: bytes, line and checksum.
const positionFormat = "%d-%d-%08x"

func viewPosition(p number.Position) string {
	return fmt.Sprintf(positionFormat, p.Offset, p.Line, p.Sum)
}

func filePosition(text string) (p number.Position, err error) {
	if text == "" {
		return p, nil
	}
	_, err = fmt.Sscanf(text, positionFormat, &p.Offset, &p.Line, &p.Sum)
	if err != nil || viewPosition(p) != text || p.Offset <= 0 || p.Line <= 0 {
		return p, hook.Faults{{Field: "position", Message: "is not one that an import has answered"}}.Err("query")
	}
	return p, nil
}

// importer is a file that is being imported.
type importer struct {
	*api
	*steps
	r    *http.Request
	file *number.Reader

	// records are lines that are read and not yet being applied, and ends where each
	// ends.
	records []*number.Record
	ends    []number.Position
	begun   time.Time // when the piece before was begun with
	first   int64     // where these lines begin

	// A piece is applied while the next one is read. Until that has come to its end,
	// what follows here is its, and so is the answer.
	applying chan struct{} // nil: none is
	panicked any
	done     Imported
	refusals []Refusal // for an answer at the end
	failure  error     // why nothing can be applied any more
}

// Read reads of the body. Nobody knows how long the next bytes take, so what has come
// before does not wait for them much longer.
func (x *importer) Read(b []byte) (int, error) {
	if len(x.records) > 0 && time.Since(x.begun) >= pieceTime {
		if err := x.apply(); err != nil {
			return 0, err
		}
	}
	_ = x.rc.SetReadDeadline(time.Now().Add(importPause)) // what has no deadlines does not need them
	n, err := x.r.Body.Read(b)
	if err != nil {
		// From now on the server reads, to notice that the client leaves.
		_ = x.rc.SetReadDeadline(time.Time{})
	}
	return n, err
}

// begin reads what comes before the first line that is to be applied.
func (x *importer) begin(p number.Position) (err error) {
	if x.file, err = number.NewReader(x); err == nil {
		err = x.file.Resume(p)
	}
	if err != nil {
		return x.unreadable(err)
	}
	x.reached(x.file.Position())
	x.begun, x.first = time.Now(), x.file.Position().Offset
	return nil
}

// run applies the file to its end. Of one that breaks off, all pieces count that were
// applied before.
func (x *importer) run() error {
	for {
		rec, err := x.file.Next()
		switch {
		case errors.Is(err, io.EOF):
			if err := cmp.Or(x.apply(), x.settle()); err != nil {
				return err
			}
			x.reached(x.file.Position()) // empty lines may follow
			return nil
		case err != nil:
			return cmp.Or(x.settle(), x.unreadable(err))
		}
		x.records = append(x.records, rec)
		x.ends = append(x.ends, x.file.Position())
		if len(x.records) == pieceLines || x.file.Position().Offset-x.first >= pieceBytes {
			if err := x.apply(); err != nil {
				return err
			}
		}
	}
}

// unreadable returns what to say of a body that cannot be read any further.
func (x *importer) unreadable(err error) error {
	if e, ok := errors.AsType[*hook.Error](err); ok {
		return inLine(e)
	}
	message := "the body broke off"
	if errors.Is(err, os.ErrDeadlineExceeded) {
		message = fmt.Sprintf("nothing more came for %v", importPause)
	}
	return hook.Faults{{Message: message + "; go on at the position that was reached, if there is one"}}.Err("body")
}

// inLine says of faults in which line they are, which only the subject has.
func inLine(e *hook.Error) error {
	named := *e
	named.Faults = nil
	for _, f := range e.Faults {
		f.Field = strings.TrimSuffix(e.Subject+": "+f.Field, ": ")
		named.Faults = append(named.Faults, f)
	}
	return &named
}

// apply begins to make the changes of what was read, once those of the piece before are
// made.
func (x *importer) apply() error {
	if err := x.settle(); err != nil || len(x.records) == 0 {
		return err
	}
	if x.failure = x.stopped(); x.failure == nil {
		_, x.failure = x.authorize(x.r, hook.KeyManage) // the key may have been revoked after the file began
	}
	if x.failure != nil {
		return x.failure
	}
	records, ends := x.records, x.ends
	x.records, x.ends, x.begun, x.first = nil, nil, time.Now(), x.file.Position().Offset
	x.applying = make(chan struct{})
	go func() {
		defer close(x.applying)
		defer func() { x.panicked = recover() }() // it is the handler's
		x.failure = x.make(records, ends)
	}()
	return nil
}

// settle waits until no piece is being applied. It returns why no other one can be.
func (x *importer) settle() error {
	if x.applying != nil {
		<-x.applying
		x.applying = nil
	}
	if x.panicked != nil {
		panic(x.panicked)
	}
	return x.failure
}

// make makes the changes of a piece, and tells of them.
func (x *importer) make(records []*number.Record, ends []number.Position) error {
	im, err := x.Inventory.Import(actor(x.r), records)
	x.done.Lines += im.Done
	x.done.Changed += im.Changed
	x.done.Events += im.Events
	x.done.Refused += im.Done - im.Numbers
	if im.Done > 0 {
		x.reached(ends[im.Done-1])
	}
	for _, refused := range im.Refused {
		if x.wanted {
			x.add(refusedStep{"refused", viewRefusal(refused)})
		} else if len(x.refusals) < maxRefusals {
			x.refusals = append(x.refusals, viewRefusal(refused))
		}
	}
	if err == nil && x.wanted && !x.send(importStep{"progress", x.done}) {
		return errGone
	}
	return err
}

// errGone says that nobody reads the answer.
var errGone = errors.New("api: the client does not read its answer")

type refusedStep struct {
	Type string `json:"type"`
	Refusal
}

type importStep struct {
	Type string `json:"type"`
	Imported
}

func (x *importer) reached(p number.Position) {
	x.done.Position, x.done.Bytes = viewPosition(p), p.Offset
}

// answer says how it ended. What was durable before stands.
func (x *importer) answer(err error) error {
	switch {
	case x.err != nil:
		x.gone(x.r, x.err)
		return nil //nolint:nilerr // nobody is there to be told any more
	case err == nil && x.wanted:
		x.send(importStep{"done", x.done})
		return nil
	case err == nil:
		writeJSON(x.w, http.StatusOK, struct {
			Imported
			Refusals []Refusal `json:"refusals"`
		}{x.done, orEmpty(x.refusals)})
		return nil
	case x.done.Lines == 0:
		return err
	case x.wanted:
		_, f := x.itemFault(x.r, err)
		x.send(struct {
			Type string `json:"type"`
			fault
			Imported
		}{"error", f, x.done})
		return nil
	}
	status, f := x.faultFor(x.w, x.r, err)
	writeJSON(x.w, status, struct {
		fault
		Imported
		Refusals []Refusal `json:"refusals"`
	}{f, x.done, orEmpty(x.refusals)})
	return nil
}

// exportNumbers writes numbers as a file that can be imported.
func (a *api) exportNumbers(w http.ResponseWriter, r *http.Request) error {
	q, f := numberFilter(r)
	if err := q.err(); err != nil {
		return err
	}
	f.Limit = exportPage
	page, next, err := a.Inventory.List(r.Context(), f)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="numbers.csv"`)
	h.Set("Cache-Control", "no-store")
	h.Set("Connection", "close") // its time limit is of no use to another request
	if r.Method == http.MethodHead {
		return nil
	}
	out := number.NewWriter(&patient{w, http.NewResponseController(w)})
	for {
		for i := 0; i < len(page) && err == nil; i++ {
			err = out.Write(&page[i])
		}
		if err != nil || next == "" {
			break
		}
		f.After = next
		if page, next, err = a.Inventory.List(r.Context(), f); err == nil {
			err = a.stopped()
		}
	}
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		if a.gone(r, err); r.Context().Err() == nil {
			a.Log.ErrorContext(r.Context(), "api", "route", r.Pattern, "err", err)
		}
		panic(http.ErrAbortHandler) // so that nobody takes half a file for a whole one
	}
	return nil
}

// patient gives a client some time to read each piece of what it is sent.
type patient struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// Write implements io.Writer.
func (p *patient) Write(b []byte) (int, error) {
	_ = p.rc.SetWriteDeadline(time.Now().Add(streamWrite)) // what has no deadlines does not need them
	return p.w.Write(b)
}

// steps are the lines of an answer that is written while the work is done, for clients
// that want that.
type steps struct {
	patient
	wanted bool
	begun  bool  // the answer has
	err    error // why the client cannot be told any more
	buf    bytes.Buffer
}

func newSteps(w http.ResponseWriter, r *http.Request) *steps {
	s := &steps{patient: patient{w, http.NewResponseController(w)}}
	for _, list := range r.Header.Values("Accept") {
		for kind := range strings.SplitSeq(list, ",") {
			media, _, err := mime.ParseMediaType(kind)
			s.wanted = s.wanted || err == nil && media == "application/x-ndjson"
		}
	}
	return s
}

// stepsBuffer is how much of an answer is sent at a time.
const stepsBuffer = 64 << 10

// add adds a line to what is to be sent.
func (s *steps) add(v any) {
	_ = newEncoder(&s.buf).Encode(v) // a buffer takes everything
	if s.buf.Len() >= stepsBuffer {
		s.flush()
	}
}

// send sends a line, and those that were added before. It reports whether the client has
// taken them.
func (s *steps) send(v any) bool {
	s.add(v)
	s.flush()
	return s.err == nil
}

func (s *steps) flush() {
	defer s.buf.Reset()
	if s.err != nil {
		return
	}
	if !s.begun {
		s.begun = true
		h := s.w.Header()
		h.Set("Content-Type", "application/x-ndjson")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no") // some proxies keep back what they think is not worth sending yet
		h.Set("Connection", "close")     // its time limit is of no use to another request
		s.w.WriteHeader(http.StatusOK)
	}
	if _, s.err = s.Write(s.buf.Bytes()); s.err == nil {
		s.err = s.rc.Flush()
	}
}

// gone takes note of a client that does not read its answer. One that has left is no
// matter.
func (a *api) gone(r *http.Request, err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		a.Log.WarnContext(r.Context(), "a client does not read its answer and is cut off", "route", r.Pattern, "key", actor(r).ID)
	}
}

// stopped returns what to say of work that ends because the platform stops.
func (a *api) stopped() error {
	select {
	case <-a.Stopping:
		return &hook.Error{Kind: hook.Unavailable, Detail: "the platform is stopping; what was done before stands"}
	default:
		return nil
	}
}
