package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
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
does not succeed within half a minute the command ends with exit code 8: it never
looks alive when it is not.`
	logFlags(tail)
	tail.Flags().String("after", "", "go on after this row (log_id), 0 for all that is kept; without it, only what comes")
	tail.Flags().Int("count", 0, "end after so many rows (0: never)")
	// The log has a row for each step of a delivery, so these are here as well.
	return group("logs", "Show and follow the webhook log", list, tail, newShowDelivery(), newResend())
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
	raw, err := pages(cmd, c, o, "/webhook_logs", logQuery(cmd), "webhook_logs")
	if err != nil {
		return err
	}
	return o.write(raw, "webhook_logs", func() error {
		rows, err := listed[api.LoggedAttempt](raw, "webhook_logs")
		if err != nil {
			return err
		}
		colours := coloured(o.w)
		for i := range rows {
			fmt.Fprintln(o.w, logLine(&rows[i], colours))
		}
		o.rest()
		return nil
	})
}

func tailLogs(cmd *cobra.Command, c *client, o *output, _ []string) error {
	fl := cmd.Flags()
	t := &tailing{out: o, messages: cmd.ErrOrStderr(), left: math.MaxInt, colours: coloured(o.w)}
	f := t.follow(c, logQuery(cmd))
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
		t.left = n
	}
	return f.run(cmd.Context())
}

// follow returns what follows the log.
func (t *tailing) follow(c *client, q url.Values) *following {
	return &following{client: c, path: operator + "/webhook_logs/stream", query: q, messages: t.messages, what: "the log", again: "connected again, and going on after the last row", take: t.take}
}

// tailing prints rows of the log.
type tailing struct {
	out      *output
	messages io.Writer
	colours  bool
	left     int // rows until the end
}

// take prints what an event says.
func (t *tailing) take(_ context.Context, e *serverEvent) error {
	if e.name == "gap" {
		return gap(t.messages, "rows", e)
	}
	if e.name != "" {
		return nil // of a later version
	}
	err := t.out.write([]byte(e.data), "", func() error {
		r, err := decode[api.LoggedAttempt]([]byte(e.data))
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(t.out.w, logLine(&r, t.colours))
		return err
	})
	if err != nil {
		return &outputError{err}
	}
	if t.left--; t.left == 0 {
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
