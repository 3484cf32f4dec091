package api

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/webhook"
)

const (
	// logTime is how the public API writes times.
	logTime = "2006-01-02T15:04:05Z"

	// maxLogRange is how far back the log can be read, and how much of it at once.
	maxLogRange = 7 * 24 * time.Hour

	// logGrace lets those in who computed "seven days ago" a moment earlier.
	logGrace = time.Minute
)

// LogRow is a row of the webhook log as the public API shows it. Headers and bodies are
// texts; those of headers are JSON objects.
type LogRow struct {
	Event          string `json:"event"`
	Status         int    `json:"status"`
	Reason         int    `json:"failed_reason_type"`
	User           string `json:"user_id"`
	Endpoint       string `json:"endpoint"`
	Subscription   string `json:"subscription_id"`
	RequestHeader  string `json:"request_headers"`
	RequestBody    string `json:"request_body"`
	ResponseHeader string `json:"response_headers"`
	ResponseBody   string `json:"response_body"`
	Time           string `json:"date_time"`
	Trace          string `json:"trace_id"`
	RequestID      string `json:"request_id"`
	Retry          int    `json:"retry_num"`
}

// webhookLogs shows an app its webhook log. There are events of all accounts in it, so
// the token must be for the app's own.
func (a *api) webhookLogs(w http.ResponseWriter, r *http.Request) error {
	now, g := time.Now(), grant(r)
	switch id := r.PathValue("id"); {
	case a.Directory.App(id) == nil:
		return &hook.Error{Kind: hook.LogAppUnknown, Subject: id}
	case id != g.App.ID, g.Account != g.App.Account:
		return &hook.Error{Kind: hook.LogNotPermitted, Subject: id}
	}
	if g.Account != g.App.Account {
		// The log has the events of every account that has installed the app.
		return &hook.Error{Kind: hook.LogNotPermitted, Subject: g.App.ID}
	}
	f, err := a.logFilter(r, now)
	if err != nil {
		return err
	}
	page, more, err := a.Store.WebhookLog(r.Context(), f)
	if err != nil {
		return err
	}
	v := struct {
		Next     string   `json:"next_page_token"`
		PageSize int      `json:"page_size"`
		Rows     []LogRow `json:"webhook_logs"`
	}{"", f.Limit, []LogRow{}}
	for i := range page {
		v.Rows = append(v.Rows, a.viewLogRow(&page[i], g.App))
	}
	if more {
		// The times are part of it, for where there were none they would be other ones.
		b := binary.BigEndian.AppendUint64(nil, uint64(page[len(page)-1].ID))
		b = binary.BigEndian.AppendUint64(b, uint64(f.From.UnixNano()))
		if !f.To.IsZero() {
			b = binary.BigEndian.AppendUint64(b, uint64(f.To.UnixNano()))
		}
		v.Next = a.nextPage(r, b, now)
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

// logFilter reads which rows are meant: what failed, unless something else is said.
func (a *api) logFilter(r *http.Request, now time.Time) (f hook.LogFilter, err error) {
	q := parameters(r)
	f = hook.LogFilter{App: grant(r).App.ID, EventType: q.Get("event")}
	if f.Limit, err = pageSize(q.Get("page_size")); err != nil {
		return f, err
	}
	failed := true
	switch q.Get("type") {
	case "1":
	case "", "2":
		f.Failed = &failed
	case "3":
		failed = false
		f.Failed = &failed
	default:
		return f, &hook.Error{Kind: hook.BadParameter, Detail: "type must be 1 (all), 2 (failed) or 3 (succeeded)"}
	}
	if text := q.Get("retry_num"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > 3 {
			return f, &hook.Error{Kind: hook.LogRetryNum, Detail: "it must be 0 to 3"}
		}
		f.Retry = &n
	}
	after, err := a.position(r, now)
	switch {
	case err != nil:
		return f, err
	case after != nil:
		// The range was looked at for the first page. It must not become too old for
		// whoever reads on.
		f.Before = int64(binary.BigEndian.Uint64(after))
		f.From = time.Unix(0, int64(binary.BigEndian.Uint64(after[8:])))
		if len(after) > 16 {
			f.To = time.Unix(0, int64(binary.BigEndian.Uint64(after[16:])))
		}
		return f, nil
	}
	f.From, f.To, err = logRange(q.Get("from"), q.Get("to"), now)
	if q.Get("to") == "" {
		f.To = time.Time{} // it would be now or later, and clocks may have been set back
	}
	return f, err
}

// logRange reads from and to. What is left out is as far from the other as it may be.
func logRange(fromText, toText string, now time.Time) (from, to time.Time, err error) {
	oldest := now.Add(-maxLogRange)
	from, to = oldest, now
	for _, x := range []struct {
		name, text string
		t          *time.Time
	}{{"from", fromText, &from}, {"to", toText, &to}} {
		if x.text == "" {
			continue
		}
		// Parse alone would take fractions of a second as well.
		if *x.t, err = time.Parse(logTime, x.text); err != nil || len(x.text) != len(logTime) {
			return from, to, &hook.Error{Kind: hook.LogFormat, Detail: x.name + " must be written as yyyy-MM-dd'T'HH:mm:ss'Z'"}
		}
	}
	switch {
	case fromText == "" && to.After(oldest):
		from = to.Add(-maxLogRange)
		if from.Before(oldest) {
			from = oldest
		} else if from.After(now) {
			from = now
		}
	case fromText == "":
		from = to.Add(-maxLogRange)
	case toText == "":
		to = from.Add(maxLogRange)
	}
	switch {
	case from.After(now):
		return from, to, &hook.Error{Kind: hook.LogFuture, Detail: "it is " + now.UTC().Format(logTime) + " now"}
	case to.Before(from):
		return from, to, &hook.Error{Kind: hook.LogOrder, Detail: fmt.Sprintf("from is %s, to is %s", from.UTC().Format(logTime), to.Format(logTime))}
	case to.Sub(from) > maxLogRange || from.Before(oldest.Add(-logGrace)):
		return from, to, &hook.Error{Kind: hook.LogRange, Detail: "from must be at most seven days ago, and to at most seven days after it"}
	}
	if toText != "" {
		to = to.Add(time.Second - time.Nanosecond) // all of the second that it names
	}
	return from, to, nil
}

func (a *api) viewLogRow(x *hook.LogRow, app *hook.App) LogRow {
	v := LogRow{
		Event: x.EventType, Status: x.Outcome.Status(), Reason: x.Outcome.FailedReasonType(), Endpoint: x.Target.URL, Subscription: x.SubscriptionID,
		ResponseHeader: headerObject(headerLines(x.Response.Header)), ResponseBody: strings.ToValidUTF8(string(x.Response.Body), "\uFFFD"),
		Time: x.Started.UTC().Format(logTime), Trace: a.Client.TrackingID(x.Delivery, x.Span), RequestID: x.Delivery.String(), Retry: x.Retry,
	}
	switch {
	case x.Event != nil:
		v.RequestBody = string(x.Event.Body)
		if len(x.Event.Users) > 0 {
			v.User = x.Event.Users[0]
		}
	case x.Kind == hook.KindChallenge:
		// The token is gone, and with it nothing: it was random.
		v.RequestBody = fmt.Sprintf(`{"payload":{"plainToken":"**********************"},"event_ts":%d,"event":"%s"}`, x.Started.UnixMilli(), webhook.EventURLValidation)
	}
	var event hook.Trace
	if x.Event != nil { // a challenge has none
		event = x.Event.Trace
	}
	v.RequestHeader = headerObject(a.Client.LoggedHeader(&x.Attempt, event, app.ClientID, len(v.RequestBody)))
	return v
}

// headerLines takes apart the header of an answer as the log has it.
func headerLines(text string) (h [][2]string) {
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			h = append(h, [2]string{strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)})
		}
	}
	return h
}

// headerObject writes a header as a JSON object, in its order. What is there several
// times has its values joined, as RFC 9110 has it (5.2).
func headerObject(h [][2]string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, x := range h {
		value, repeated := x[1], false
		for j, y := range h {
			if y[0] == x[0] && j < i {
				repeated = true
			} else if y[0] == x[0] && j > i {
				value += ", " + y[1]
			}
		}
		if repeated {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.WriteString(quoted(x[0]) + ":" + quoted(value))
	}
	return b.String() + "}"
}

func quoted(s string) string {
	var b strings.Builder
	_ = newEncoder(&b).Encode(strings.ToValidUTF8(s, "\uFFFD"))
	return strings.TrimSuffix(b.String(), "\n")
}
