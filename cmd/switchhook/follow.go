package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/switchhook/switchhook/internal/api"
)

const (
	// silence is how long nothing may come, though the platform shows every 15 seconds
	// that it is alive, until the connection counts as dead; opening is the same for the
	// beginning of one.
	silence = 45 * time.Second
	opening = 10 * time.Second

	// maxReconnects is how often a connection that broke is tried to be made again, the
	// first time at once, then after 1, 2, 4, ... seconds, but not for longer than giveUpAfter.
	maxReconnects = 6
	giveUpAfter   = 30 * time.Second

	// worked is how long a connection has to last to count as one that worked, if it has
	// brought nothing: one that is ended at once each time does not.
	worked = 15 * time.Second
)

// following follows a stream of Server-Sent Events of the platform. It goes on where it
// was when the connection breaks, and says so, or ends: it never looks alive when it is
// not.
type following struct {
	client   *client
	path     string
	query    url.Values
	messages io.Writer
	what     string // that is followed, for people
	again    string // what to say when it is followed again; empty: nothing
	// opened, if set, is told of each answer that begins a stream.
	opened func(*http.Response)
	// take is given each event that says something, and may take its time.
	take func(context.Context, *serverEvent) error

	last   string // where to go on
	came   int    // how many events
	broken bool   // the connection broke, and people were told
}

// errEnough says that all has come that was asked for, and errAfresh that the stream is
// to be had anew, from where it is.
var (
	errEnough = errors.New("enough")
	errAfresh = errors.New("anew")
)

// run follows until ctx is done, enough has come, or the platform cannot be followed any
// more.
func (f *following) run(ctx context.Context) error {
	var lost time.Time
	for failures := 0; ; {
		began, came := time.Now(), f.came
		opened, err := f.follow(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, errEnough):
			return nil //nolint:nilerr // that is how it is to end
		case isOutput(err):
			return err
		case errors.Is(err, errAfresh):
			continue
		case !opened && (failures == 0 || !passing(err)):
			return err // it is not as if it had ever worked
		case f.came > came || opened && time.Since(began) >= worked:
			failures = 0
		}
		if failures == 0 {
			lost = time.Now()
		}
		if failures++; failures > maxReconnects || !opened && time.Since(lost) > giveUpAfter {
			return &exitError{fmt.Errorf("%s cannot be followed any more: %w; go on with --after %s", f.what, err, f.last), exitLost}
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
	limit := opening
	dead := time.AfterFunc(limit, func() { cancel(fmt.Errorf("nothing came for %v, and not even that it is alive", limit)) })
	defer dead.Stop()
	header := map[string]string{"Accept": "text/event-stream"}
	if f.last != "" {
		header["Last-Event-ID"] = f.last
	}
	res, err := f.client.send(ctx, request{method: http.MethodGet, path: f.path, query: f.query, header: header})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
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
	if f.broken && f.again != "" {
		fmt.Fprintln(f.messages, f.again)
	}
	f.broken = false
	if f.opened != nil {
		f.opened(res)
	}
	if dead.Stop() { // else it is over, and reading says so
		limit = silence
		dead.Reset(limit)
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
		if e.data != "" {
			dead.Stop() // the platform is not to blame for how long this takes
			if err := f.take(ctx, &e); err != nil {
				return true, err
			}
			if e.name == "" {
				f.came++
			}
			dead.Reset(silence)
		}
		if e.id != "" {
			f.last = e.id
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

// gap tells people what they have missed for good.
func gap(messages io.Writer, what string, e *serverEvent) error {
	v, err := decode[struct {
		Before api.Instant `json:"deleted_before"`
	}]([]byte(e.data))
	if err == nil {
		fmt.Fprintf(messages, "%s from before %s may be missing: the log has been deleted up to there\n", what, clock(v.Before))
	}
	return err
}
