package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/api"
	"github.com/switchhook/switchhook/internal/hook"
)

func newLogs() *cobra.Command {
	list := call("list", "List the latest rows of the webhook log", cobra.NoArgs, listLogs)
	logFlags(list)
	list.Flags().Int("limit", 30, "how many")
	tail := call("tail", "Follow the webhook log: print rows as they are recorded", cobra.NoArgs, tailLogs)
	tail.Long = `Follow the webhook log: print rows as they are recorded, each once, until Ctrl-C.

When the connection breaks it is made again and goes on after the last row. If that
does not succeed within half a minute the command ends with exit code 1: it never
looks alive when it is not.`
	logFlags(tail)
	tail.Flags().String("after", "", "go on after this row (log_id), 0 for all that is kept; without it, only what comes")
	tail.Flags().Int("count", 0, "end after so many rows (0: never)")
	return group("logs", "Show and follow the webhook log", list, tail)
}

func logFlags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.String("subscription", "", "only rows of this subscription")
	fl.String("app", "", "only rows of this app")
	fl.String("event", "", "only rows of events of this type")
	fl.Bool("failed", false, "only requests that failed")
}

func logQuery(cmd *cobra.Command) url.Values {
	fl := cmd.Flags()
	q := url.Values{}
	for flag, parameter := range map[string]string{"subscription": "event_subscription_id", "app": "app_id", "event": "event"} {
		if v, _ := fl.GetString(flag); v != "" {
			q.Set(parameter, v)
		}
	}
	if failed, _ := fl.GetBool("failed"); failed {
		q.Set("failed", "true")
	}
	return q
}

func listLogs(cmd *cobra.Command, c *client, o *output, _ []string) error {
	limit, _ := cmd.Flags().GetInt("limit")
	if limit < 1 {
		return &usageError{errors.New("--limit must be 1 or more")}
	}
	q := logQuery(cmd)
	const page = 300
	all := []api.LoggedAttempt{}
	for len(all) < limit {
		q.Set("page_size", strconv.Itoa(min(page, limit-len(all))))
		raw, err := c.get(cmd.Context(), operator+"/webhook_logs", q)
		if err != nil {
			return err
		}
		v, err := decode[struct {
			Next string              `json:"next_page_token"`
			Rows []api.LoggedAttempt `json:"webhook_logs"`
		}](raw)
		if err != nil {
			return err
		}
		all = append(all, v.Rows...)
		if v.Next == "" {
			break
		}
		q.Set("next_page_token", v.Next)
	}
	raw, err := json.Marshal(map[string]any{"webhook_logs": all})
	if err != nil {
		return err
	}
	return o.write(raw, "webhook_logs", func() error {
		colours := coloured(o.w)
		for i := range all {
			fmt.Fprintln(o.w, logLine(&all[i], colours))
		}
		return nil
	})
}

func tailLogs(cmd *cobra.Command, c *client, o *output, _ []string) error {
	fl := cmd.Flags()
	f := &following{client: c, query: logQuery(cmd), out: o, messages: cmd.ErrOrStderr(), left: math.MaxInt, colours: coloured(o.w)}
	if f.last, _ = fl.GetString("after"); f.last != "" {
		if _, err := strconv.ParseUint(f.last, 10, 63); err != nil {
			return &usageError{fmt.Errorf("--after %q is not the id of a row", f.last)}
		}
	}
	n, _ := fl.GetInt("count")
	if n < 0 {
		return &usageError{errors.New("--count must be 0 or more")}
	}
	if n > 0 {
		f.left = n
	}
	return f.run(cmd.Context())
}

const (
	// silence is how long nothing may come, though the platform shows every 15 seconds
	// that it is alive, until the connection counts as dead.
	silence = 45 * time.Second

	// maxReconnects is how often a connection that broke is tried to be made again, the
	// first time at once, then after 1, 2, 4, ... seconds.
	maxReconnects = 6

	// worked is how long a connection has to last to count as one that worked, if it has
	// brought no row: one that is ended at once each time does not.
	worked = 15 * time.Second
)

// following follows the webhook log.
type following struct {
	client   *client
	query    url.Values
	out      *output
	messages io.Writer
	colours  bool

	last   string // the row to go on after
	left   int    // rows until the end
	broken bool   // the connection broke, and people were told
}

// errEnough says that all the rows have come that were asked for.
var errEnough = errors.New("enough")

// run follows until ctx is done, enough rows have come, or the platform cannot be
// followed any more.
func (f *following) run(ctx context.Context) error {
	for failures := 0; ; {
		began, left := time.Now(), f.left
		opened, err := f.follow(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, errEnough):
			return nil //nolint:nilerr // that is how it is to end
		case isOutput(err):
			return err
		case !opened && (failures == 0 || !passing(err)):
			return err // it is not as if it had ever worked
		case f.left < left || opened && time.Since(began) >= worked:
			failures = 0
		}
		if failures++; failures > maxReconnects {
			return fmt.Errorf("the log cannot be followed any more: %w; go on with --after %s", err, f.last)
		}
		if opened {
			f.broken = true
			fmt.Fprintf(f.messages, "the connection to the platform broke off (%s); making it again\n", printable(err.Error()))
		}
		if failures > 1 && !sleep(ctx, time.Second<<(failures-2)) {
			return nil
		}
	}
}

// sleep reports false if ctx was done first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// passing reports whether an error may pass by itself: the platform cannot be reached, or
// says that it has trouble.
func passing(err error) bool {
	e, ok := errors.AsType[*statusError](err)
	return !ok || e.status == http.StatusTooManyRequests || e.status >= http.StatusInternalServerError
}

// statusError is an answer with a status of error.
type statusError struct {
	error
	status int
}

// follow reads one stream to its end, and reports whether there was one.
func (f *following) follow(ctx context.Context) (opened bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	dead := time.AfterFunc(silence, func() { cancel(fmt.Errorf("nothing came for %v, and not even that it is alive", silence)) })
	defer dead.Stop()
	header := map[string]string{"Accept": "text/event-stream"}
	if f.last != "" {
		header["Last-Event-ID"] = f.last
	}
	res, err := f.client.send(ctx, request{method: http.MethodGet, path: operator + "/webhook_logs/stream", query: f.query, header: header})
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		if err != nil {
			return false, err
		}
		return false, &statusError{apiError(res.StatusCode, body), res.StatusCode}
	}
	if f.broken {
		f.broken = false
		fmt.Fprintln(f.messages, "connected again, and going on after the last row")
	}
	lines := bufio.NewReader(res.Body)
	var e serverEvent
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			if errors.Is(err, io.EOF) {
				err = errors.New("the platform ended it")
			}
			return true, err
		}
		dead.Reset(silence)
		if !e.add(strings.TrimRight(line, "\r\n")) {
			continue
		}
		if e.id != "" {
			f.last = e.id
		}
		if err := f.take(&e); err != nil {
			return true, err
		}
		e = serverEvent{}
	}
}

// serverEvent is an event of a stream of Server-Sent Events.
type serverEvent struct{ name, id, data string }

// add takes a line and reports whether it ends the event.
func (e *serverEvent) add(line string) (complete bool) {
	field, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch field {
	case "event":
		e.name = value
	case "id":
		e.id = value
	case "data":
		if e.data != "" {
			e.data += "\n"
		}
		e.data += value
	}
	return line == ""
}

// take prints what an event says.
func (f *following) take(e *serverEvent) error {
	if e.data == "" {
		return nil
	}
	if e.name == "gap" {
		v, err := decode[struct {
			Before api.Instant `json:"deleted_before"`
		}]([]byte(e.data))
		if err == nil {
			fmt.Fprintf(f.messages, "rows from before %s may be missing: the log has been deleted up to there\n", clock(v.Before))
		}
		return err
	}
	if e.name != "" {
		return nil // of a later version
	}
	err := f.out.write([]byte(e.data), "", func() error {
		r, err := decode[api.LoggedAttempt]([]byte(e.data))
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(f.out.w, logLine(&r, f.colours))
		return err
	})
	if err != nil {
		return &outputError{err}
	}
	if f.left--; f.left == 0 {
		return errEnough
	}
	return nil
}

// outputError says that results cannot be written any more.
type outputError struct{ error }

func (e *outputError) Unwrap() error { return e.error }

func isOutput(err error) bool {
	_, ok := errors.AsType[*outputError](err)
	return ok
}

// coloured reports whether lines may be coloured: they are for a terminal, and its user
// does not mind (no-color.org).
func coloured(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// The colours of lines, as what follows ESC [.
const (
	green, yellow, red, blue = "32", "33", "31", "34"
)

// colourOf says how things stand after a row.
func colourOf(r *api.LoggedAttempt) string {
	switch {
	case r.State == hook.Delivered:
		return green
	case r.Kind == hook.KindResend.String():
		return blue
	case r.State == hook.Waiting && r.Kind == hook.KindAttempt.String():
		return yellow
	}
	return red
}

// logLine writes a row as a line: when, what, of which event, where to.
func logLine(r *api.LoggedAttempt, colours bool) string {
	what := r.Outcome
	if r.Kind != hook.KindAttempt.String() {
		what = strings.TrimSpace(r.Kind + " " + r.Outcome)
	}
	what = fmt.Sprintf("%-18s", printable(what))
	if colours {
		what = "\x1b[" + colourOf(r) + "m" + what + "\x1b[0m"
	}
	parts := []string{clock(r.Started), what, printable(r.Event), r.DeliveryID}
	if r.Endpoint != "" {
		parts = append(parts, "to "+printable(withoutQuery(r.Endpoint)))
	}
	if r.Kind == hook.KindAttempt.String() {
		parts = append(parts, fmt.Sprintf("retry %d", r.Retry))
	}
	if done := time.Duration(r.Timing.Done); done > 0 {
		parts = append(parts, "took "+took(r.Timing.Done))
	}
	if r.State == hook.Waiting && !time.Time(r.Next).IsZero() {
		parts = append(parts, "next "+clock(r.Next))
	}
	if r.Detail != "" {
		parts = append(parts, printable(r.Detail))
	}
	return strings.Join(parts, "  ")
}

// withoutQuery leaves out of a URL what often has a token in it.
func withoutQuery(raw string) string {
	before, _, _ := strings.Cut(raw, "?")
	return before
}
