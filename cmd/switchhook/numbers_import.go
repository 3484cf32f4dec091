package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/api"
)

func newNumbersImport() *cobra.Command {
	cmd := call("import FILE", "Add and change phone numbers as a CSV file says; - is standard input", cobra.ExactArgs(1), importNumbers)
	cmd.Long = `Add and change phone numbers as a CSV file says; - is standard input. The first line
names the columns. A line whose number is not there adds it, if it has carrier_code and
account_id; an empty cell leaves alone what the number has, a dash clears it.

Lines that are refused are reported with what is wrong with them, and the others are
made: exit code 1 says that there were such. How far it is, is noted in FILE.import
until all is done. After an interruption, whatever it was, the same command goes on
there. A line that was made already changes nothing when it comes again.`
	cmd.Flags().Bool("from-start", false, "begin from the start also if the import of this file was interrupted")
	return cmd
}

func importNumbers(cmd *cobra.Command, c *client, o *output, args []string) error {
	src, err := openSource(cmd.InOrStdin(), args[0])
	if err != nil {
		return err
	}
	defer src.close()
	im := newImporting(c, src, o, cmd.ErrOrStderr())
	if im.anew, _ = cmd.Flags().GetBool("from-start"); !im.anew {
		im.restore()
	} else if err := im.forget(); err != nil {
		return err
	}
	return im.run(cmd.Context())
}

// source is a file to import.
type source struct {
	name    string
	regular io.ReaderAt // nil: it can be read only once
	once    io.Reader
	size    int64 // 0: not known
	file    *os.File
}

func openSource(stdin io.Reader, name string) (*source, error) {
	s := &source{name: name, once: stdin}
	from, isFile := stdin.(*os.File)
	if name == "-" {
		s.name = "standard input"
	} else {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		s.once, s.file, from, isFile = f, f, f, true
	}
	if !isFile {
		return s, nil
	}
	info, err := from.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = fmt.Errorf("%s is a directory; name a CSV file", s.name)
	case info.Mode().IsRegular():
		// Of standard input somebody else may have read a part before.
		at, seekErr := from.Seek(0, io.SeekCurrent)
		if seekErr == nil {
			s.size = info.Size() - at
			s.regular = io.NewSectionReader(from, at, s.size)
		}
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *source) close() {
	if s.file != nil {
		_ = s.file.Close()
	}
}

// open returns the file from its start. If it can be read only once, that is all.
func (s *source) open() io.Reader {
	if s.regular != nil {
		return io.NewSectionReader(s.regular, 0, s.size)
	}
	return s.once
}

// plus returns how far an import is after a call that began where t says.
func plus(t, call api.Imported) api.Imported {
	call.Lines += t.Lines
	call.Changed += t.Changed
	call.Events += t.Events
	call.Refused += t.Refused
	return call
}

// note is what is written beside a file whose import is not complete.
type note struct {
	Server string    `json:"server"`
	Size   int64     `json:"size"`
	At     time.Time `json:"at"`
	api.Imported
}

// importing is the import of a file.
type importing struct {
	client *client
	src    *source
	out    *output
	show   *progress

	at    api.Imported // how far it is, all of it durable
	anew  bool         // it begins from the start, whatever was before
	noted string       // the file with the note; empty: there is none
	wrote time.Time    // when the note was last written

	found   []json.RawMessage // what was refused behind that
	refused []api.Refusal     // all that was, for -o json
}

func newImporting(c *client, src *source, o *output, messages io.Writer) *importing {
	im := &importing{client: c, src: src, out: o, show: newProgress(messages, "line", "lines")}
	im.show.size = src.size
	if src.regular != nil && src.file != nil {
		im.noted = src.name + ".import"
	}
	return im
}

// restore goes on where an import of the file was interrupted.
func (im *importing) restore() {
	if im.noted == "" {
		return
	}
	text, err := os.ReadFile(im.noted)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	var n note
	if err == nil {
		err = json.Unmarshal(text, &n)
	}
	switch {
	case err != nil:
		im.show.say("%s cannot be read (%v): beginning from the start", printable(im.noted), err)
	case n.Server != im.server():
		im.show.say("%s is of an import to %s: beginning from the start", printable(im.noted), printable(n.Server))
	case n.Position != "":
		im.at = n.Imported
		im.show.say("going on after %s, where it was interrupted at %s; --from-start begins anew", grouped(n.Lines, "line", "lines"), n.At.Local().Format(time.DateTime))
	}
}

func (im *importing) server() string { return strings.TrimSuffix(im.client.server, "/") }

// keep notes how far it is: not more often than each second, unless it is the last time.
func (im *importing) keep(last bool) {
	if im.noted == "" || im.at.Position == "" || !last && time.Since(im.wrote) < time.Second {
		return
	}
	im.wrote = time.Now()
	err := writeWhole(im.noted, func(w io.Writer) error {
		return json.NewEncoder(w).Encode(note{im.server(), im.src.size, time.Now().UTC().Truncate(time.Second), im.at})
	})
	if err != nil {
		im.show.say("how far it is cannot be noted (%v): after an interruption it has to begin from the start", err)
		im.noted = ""
	}
}

// forget removes the note.
func (im *importing) forget() error {
	if im.noted == "" {
		return nil
	}
	if err := os.Remove(im.noted); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w; remove it: another import of the file would not begin from the start", err)
	}
	return nil
}

// run imports until all is done, ctx is done, or there is no use in trying any more.
func (im *importing) run(ctx context.Context) error {
	im.show.begin(im.at.Bytes, im.at.Lines)
	err := im.persist(ctx)
	im.show.clear()
	if err == nil {
		im.show.end()
		if err := im.forget(); err != nil {
			im.show.say("%v", err) // all lines are done for all that
		}
		return im.sum()
	}
	im.keep(true)
	if im.out.format == "json" && im.at.Lines > 0 {
		if err := im.writeSum(); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	return im.advise(err)
}

// persist makes calls until one comes to the end of the file.
func (im *importing) persist(ctx context.Context) error {
	begun := false
	for failures := 0; ; {
		before := im.at
		opened, err := im.call(ctx)
		begun = begun || opened
		switch {
		case err == nil || ctx.Err() != nil || isOutput(err) || isSource(err):
			return err
		case before.Position != "" && im.at == before && isOther(err):
			im.show.say("%s is not the file that was begun with, it was changed: beginning from the start", printable(im.src.name))
			im.at = api.Imported{}
			im.show.begin(0, 0)
			continue
		case !passing(err) || !begun || im.src.regular == nil:
			return err
		case im.at != before:
			failures = 0
		}
		if failures++; failures > maxReconnects {
			return err
		}
		im.show.say("%s; trying again", printable(err.Error()))
		if failures > 1 && !sleep(ctx, time.Second<<(failures-2)) {
			return ctx.Err()
		}
		im.show.begin(im.at.Bytes, im.at.Lines)
	}
}

// isOther reports whether an error says that what is noted is not about this file.
func isOther(err error) bool {
	e, ok := errors.AsType[*statusError](err)
	return ok && e.status == http.StatusConflict
}

// call sends the file and takes the answer, to the end of both.
func (im *importing) call(ctx context.Context) (opened bool, err error) {
	r := request{
		method: http.MethodPost, path: operator + "/numbers/import", query: url.Values{}, body: im.src.open(), size: im.src.size,
		// A platform that does not want the file says so before it is sent.
		header: map[string]string{"Content-Type": "text/csv", "Accept": "application/x-ndjson", "Expect": "100-continue"},
	}
	if im.at.Position != "" {
		r.query.Set("position", im.at.Position)
	}
	im.found = nil
	base := im.at
	return im.client.follow(ctx, r, im.show, func(x *report) error {
		switch x.Type {
		case "refused":
			im.found = append(im.found, x.raw)
			return nil
		case "progress", "done", "error":
			if x.Position == "" {
				return nil
			}
			if err := im.report(); err != nil {
				return &outputError{err} // and how far it is stays before what nobody has read
			}
			im.at = plus(base, x.Imported)
			im.show.set(im.at.Bytes, im.at.Lines)
			im.keep(false)
		}
		return nil
	})
}

// report writes the refused lines that were found. They are held back until it is durable
// that they were, so that none comes twice when a call has to be made again.
func (im *importing) report() error {
	if len(im.found) == 0 {
		return nil
	}
	im.show.clear() // it may be the same terminal
	w := bufio.NewWriter(im.out.w)
	to := &output{format: im.out.format, w: w}
	for _, raw := range im.found {
		r, err := decode[api.Refusal](raw)
		if err != nil {
			return err
		}
		if im.out.format == "json" {
			im.refused = append(im.refused, r)
			continue
		}
		err = to.write(raw, "", func() error {
			_, err := fmt.Fprintln(w, refusal(&r))
			return err
		})
		if err != nil {
			return err
		}
	}
	im.found = nil
	return w.Flush()
}

// sum says what came of it all.
func (im *importing) sum() error {
	if err := im.writeSum(); err != nil {
		return err
	}
	if im.at.Refused > 0 {
		return &quiet{fmt.Errorf("%s refused", grouped(im.at.Refused, "line was", "lines were"))}
	}
	return nil
}

func (im *importing) writeSum() error {
	t := im.at
	v := struct {
		Type string `json:"type,omitempty"`
		api.Imported
		Refusals []api.Refusal `json:"refusals,omitempty"`
	}{Imported: t, Refusals: im.refused}
	if im.out.format == "ndjson" {
		v.Type = "done"
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return im.out.write(raw, "", func() error {
		_, err := fmt.Fprintf(im.out.w, "%s: %s changed, %s as before, %s refused; %s\n",
			grouped(t.Lines, "line", "lines"), thousands(t.Changed), thousands(t.Lines-t.Changed-t.Refused), thousands(t.Refused), grouped(t.Events, "event", "events"))
		return err
	})
}

// advise adds to an error how to go on.
func (im *importing) advise(err error) error {
	name := printable(im.src.name)
	if isSource(err) || !passing(err) {
		err = fmt.Errorf("%s: %w", name, err)
	}
	switch {
	case im.at.Lines == 0:
		return err
	case im.noted != "" && im.anew:
		return fmt.Errorf("%w; %s are done: the same command without --from-start goes on there", err, grouped(im.at.Lines, "line", "lines"))
	case im.noted != "":
		return fmt.Errorf("%w; %s are done: the same command goes on there", err, grouped(im.at.Lines, "line", "lines"))
	}
	return fmt.Errorf("%w; %s are done: begin from the start, they change nothing when they come again", err, grouped(im.at.Lines, "line", "lines"))
}

// report is a line of an answer that comes while the platform works.
type report struct {
	Type string `json:"type"`

	// What came of the call so far, and where in a file it is.
	api.Imported
	Numbers int `json:"numbers"`

	Code int `json:"code"` // of an error

	raw json.RawMessage
}

// refusal says why a line was refused.
func refusal(r *api.Refusal) string {
	parts := []string{fmt.Sprintf("line %d", r.Line)}
	for _, s := range []string{r.Number, r.Field, r.Message} {
		if s != "" {
			parts = append(parts, printable(s))
		}
	}
	return strings.Join(parts, ": ")
}

// stalled is how long nothing may go either way until a connection counts as dead. A piece of
// a file takes a fraction of a second; a platform with much to do may take longer.
const stalled = 5 * time.Minute

// follow makes a call whose answer comes line by line while the platform works, and gives
// each line to take. It reports whether the platform was reached. An answer that does not
// end with a line that says so is an error.
func (c *client) follow(ctx context.Context, r request, show *progress, take func(*report) error) (opened bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	dead := time.AfterFunc(stalled, func() { cancel(fmt.Errorf("the platform at %s has done nothing for %v", c.server, stalled)) })
	defer dead.Stop()
	up := &upload{Reader: r.body, alive: func() { dead.Reset(stalled) }}
	r.body = up

	reports, ended := make(chan *report), make(chan error, 1)
	go func() {
		ended <- c.reports(ctx, r, func(x *report) {
			up.alive()
			select {
			case reports <- x:
			case <-ctx.Done():
			}
		})
	}()
	tick := time.NewTicker(show.every())
	defer tick.Stop()
	complete := false
	for {
		select {
		case x := <-reports:
			opened = true
			if context.Cause(ctx) != nil {
				continue // the end is near
			}
			if err := take(x); err != nil {
				cancel(err)
				continue
			}
			complete = complete || x.Type == "done"
		case <-tick.C:
			show.draw()
		case err = <-ended:
			opened = opened || up.begun.Load()
			switch {
			case complete:
				return opened, nil
			case up.failed.Load() != nil:
				err = up.failed.Load()
			case context.Cause(ctx) != nil:
				err = context.Cause(ctx)
			case err == nil:
				err = errors.New("the connection to the platform broke off")
			}
			return opened, err
		}
	}
}

// reports makes a call and gives each line of its answer to take.
func (c *client) reports(ctx context.Context, r request, take func(*report)) error {
	res, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return statusOf(res)
	}
	lines := bufio.NewReader(res.Body)
	for {
		raw, err := lines.ReadBytes('\n')
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("the connection to the platform broke off (%w)", err)
		}
		x := &report{raw: bytes.TrimSpace(raw)}
		if err := json.Unmarshal(x.raw, x); err != nil {
			return &statusError{fmt.Errorf("the platform's answer cannot be read: %w", err), res.StatusCode}
		}
		take(x)
		if x.Type == "error" {
			return &statusError{apiError(x.Code, x.raw), x.Code}
		}
	}
}

// statusOf returns what an answer says is wrong.
func statusOf(res *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err
	}
	return &statusError{apiError(res.StatusCode, body), res.StatusCode}
}

// upload is the body of a request that may take long.
type upload struct {
	io.Reader
	alive  func()                      // called when some of it is taken
	begun  atomic.Bool                 // the platform wants it
	failed atomic.Pointer[sourceError] // why there is no more of it
}

func (u *upload) Read(p []byte) (int, error) {
	u.begun.Store(true)
	n, err := u.Reader.Read(p)
	u.alive()
	if err != nil && err != io.EOF {
		u.failed.Store(&sourceError{err})
	}
	return n, err
}

// sourceError says that what is to be sent cannot be read.
type sourceError struct{ error }

func (e *sourceError) Unwrap() error { return e.error }

func isSource(err error) bool {
	_, ok := errors.AsType[*sourceError](err)
	return ok
}
