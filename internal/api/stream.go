package api

import (
	"context"
	"math"
	"net/http"
	"strconv"

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
func logQuery(r *http.Request, more ...string) (q *query, f hook.LogQuery) {
	q = newQuery(r.URL.Query(), append([]string{"event_subscription_id", "app_id", "event", "failed"}, more...)...)
	f = hook.LogQuery{Subscription: q.named(), App: q.Get("app_id"), EventType: q.Get("event")}
	switch q.Get("failed") {
	case "", "false":
	case "true":
		f.Failed = true
	default:
		q.faults.Add("failed", "must be true or false")
	}
	return q, f
}

// logged returns an error if there can be no rows of an app, because there never was one
// with this id. The rows of an app that was deleted are still of use: they may say why.
func (a *api) logged(r *http.Request, app string) error {
	if app == "" || a.Directory.App(app) != nil {
		return nil
	}
	return a.wasThere(r.Context(), app, "no app")
}

// listLog shows the whole webhook log, the latest rows first.
func (a *api) listLog(w http.ResponseWriter, r *http.Request) error {
	q, f := logQuery(r, "page_size", "next_page_token")
	size, before := q.pageSize(), uint64(math.MaxInt64)
	q.position(&before)
	if err := q.err(); err != nil {
		return err
	}
	if err := a.logged(r, f.App); err != nil {
		return err
	}
	v := struct {
		Next     string          `json:"next_page_token"`
		PageSize int             `json:"page_size"`
		Rows     []LoggedAttempt `json:"webhook_logs"`
	}{"", size, []LoggedAttempt{}}
	rows, downTo, more, err := a.Store.LogBefore(r.Context(), f, int64(before), size)
	if err != nil {
		return err
	}
	for i := range rows {
		v.Rows = append(v.Rows, a.viewLogged(&rows[i]))
	}
	if more {
		v.Next = q.token(uint64(downTo))
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

// followLog sends log rows as they are recorded, as Server-Sent Events: each once, in
// the order of recording, from now on, or from where Last-Event-ID says.
func (a *api) followLog(w http.ResponseWriter, r *http.Request) error {
	q, f := logQuery(r)
	last := r.Header.Get("Last-Event-ID")
	after, err := strconv.ParseInt(last, 10, 64)
	if last != "" && (err != nil || after < 0) {
		q.faults.Add("Last-Event-ID", "%.50q is not the id of a row", last)
	}
	if err := q.err(); err != nil {
		return err
	}
	if err := a.logged(r, f.App); err != nil {
		return err
	}
	s, err := a.openFeed(w, r, "log rows", func() error {
		_, err := a.authorize(r, hook.KeyRead)
		return err
	})
	if err != nil {
		return err
	}
	defer s.close()
	news, stop := a.Store.Follow() // before looking where the log ends, so that nothing falls between
	defer stop()
	newest, err := a.Store.LastLogRow(r.Context())
	if err != nil {
		return err
	}
	horizon, err := a.Store.Horizon(r.Context())
	if err != nil {
		return err
	}
	// Rows have ids of their own, and the whole millisecond of the first event that was
	// kept keeps its rows.
	kept := hook.FirstID(horizon.Time())
	switch {
	case last == "":
		after = newest
	case after > max(newest, kept): // below that, all there was may have been deleted
		return ahead("log")
	case after > 0 && after < kept:
		s.gap(horizon, strconv.FormatInt(after, 10))
	}
	s.run(&logFollower{feed: s, query: f, after: after, news: news})
	return nil
}

func ahead(of string) error {
	return hook.Faults{{Field: "Last-Event-ID", Message: "is ahead of this " + of + "; was it another platform's? Connect without it"}}.Err("header")
}

// logFollower is somebody who follows the log.
type logFollower struct {
	*feed
	query hook.LogQuery
	after int64 // the row up to which it has been told
	news  <-chan struct{}
}

func (f *logFollower) position() string { return strconv.FormatInt(f.after, 10) }

func (f *logFollower) next() (more bool, news <-chan struct{}, err error) {
	rows, upTo, more, err := f.Store.LogAfter(f.r.Context(), f.query, f.after, streamRows)
	if err != nil {
		return false, nil, err
	}
	f.after = upTo
	for i := range rows {
		f.event("", strconv.FormatInt(rows[i].ID, 10), f.viewLogged(&rows[i]))
	}
	return more, f.news, nil
}
