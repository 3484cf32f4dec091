package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/store"
)

// logDays is how far back the log goes that is read.
const logDays = 6

// log measures reading a long webhook log, and deleting what is old of it while
// deliveries are made.
func (b *bench) log(ctx context.Context) error {
	start := time.Now()
	p, publish, err := b.platformWith(ctx, "log", b.fillLog, "http://"+b.sink+"/ok/0")
	if err != nil {
		return err
	}
	defer p.stop()
	base := strings.TrimSuffix(publish, "/v2/events")
	token, err := b.accessToken(ctx, base)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "a webhook log of %d rows, 1 in 100 failed\tmade in %v\n", b.logRows, time.Since(start).Round(time.Second))
	logs := base + "/v2/marketplace/apps/app0/webhook_logs"
	page := func(query string) (next string, err error) {
		body, err := b.fetch(ctx, logs+"?"+query, token)
		if err != nil {
			return "", err
		}
		var v struct {
			Next string `json:"next_page_token"`
			Rows []any  `json:"webhook_logs"`
		}
		return v.Next, json.Unmarshal(body, &v)
	}
	for _, c := range []struct {
		name, query string
		deep        bool
	}{
		{"what failed (the default)", "", false},
		{"all", "type=1", false},
		{"third retries of one event type", "type=1&retry_num=3&event=" + benchEvent, false},
		{"second retries, of which there are none", "type=1&retry_num=2", false},
		{"all, 300 rows", "type=1&page_size=300", false},
		{"what failed, deep in the log, by page token", "", true},
		{"all, deep in the log, by page token", "type=1", true},
		{"all, 300 rows, deep in the log, by page token", "type=1&page_size=300", true},
	} {
		took, err := b.again(ctx, func() (time.Duration, error) {
			query := c.query
			if c.deep {
				// Somewhere in the log, and from there on.
				to := time.Now().Add(-time.Duration(rand.Int64N(int64(logDays * 24 * time.Hour * 9 / 10))))
				query += "&to=" + url.QueryEscape(to.UTC().Format("2006-01-02T15:04:05Z"))
				next, err := page(query)
				if err != nil {
					return 0, err
				}
				query += "&next_page_token=" + url.QueryEscape(next)
			}
			start := time.Now()
			_, err := page(query)
			return time.Since(start), err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Fprintf(t, "  %s\t%v\n", c.name, took)
	}
	if err := t.Flush(); err != nil || b.database == "" {
		return err
	}
	return b.dropLog(ctx, publish)
}

// again does something for a while, and returns how long each time took.
func (b *bench) again(ctx context.Context, do func() (time.Duration, error)) (took latencies, err error) {
	for end := time.Now().Add(time.Duration(b.seconds) * time.Second); time.Now().Before(end) && ctx.Err() == nil; {
		d, err := do()
		if err != nil {
			return nil, err
		}
		took = append(took, d)
	}
	slices.Sort(took)
	return took, ctx.Err()
}

// dropLog measures deliveries while the oldest days are deleted, a day at a time, as a
// platform does. What deletes is a process of its own, as another node would be.
func (b *bench) dropLog(ctx context.Context, publish string) (err error) {
	const rate = 200
	if _, err := b.publishAt(publish, rate, rate); err != nil {
		return err
	}
	alone, err := b.publishAt(publish, rate, rate*b.seconds)
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, b.opened)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	const days = 3
	dropped := make(chan error, 1)
	var drops latencies
	go func() {
		dropped <- func() error {
			for i := range days {
				time.Sleep(time.Duration(b.seconds) * time.Second / (days + 1))
				start := time.Now()
				if err := db.Expire(ctx, start.Add(-time.Duration(logDays-1-i)*24*time.Hour)); err != nil {
					return err
				}
				drops = append(drops, time.Since(start))
			}
			return nil
		}()
	}()
	beside, err := b.publishAt(publish, rate, rate*b.seconds)
	if err := errors.Join(err, <-dropped); err != nil {
		return err
	}
	t := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "publish to arrival at %d/s\t%v\n", rate, alone)
	fmt.Fprintf(t, "while %d days of the log are dropped\t%v\tratio of the p99s %.2f\n", days, beside, beside.at(0.99).Seconds()/alone.at(0.99).Seconds())
	slices.Sort(drops)
	fmt.Fprintf(t, "a drop of a day\tp50 %v\tmax %v\n", drops.at(0.5), drops.at(1))
	return t.Flush()
}

// fillLog puts rows into the log, of the last days, ten to an event.
func (b *bench) fillLog(db *store.DB) error {
	s := db.Directory().Subscriptions("app0")[0]
	const batch, each = 10_000, 10
	now := time.Now()
	// From six days ago until now.
	at := func(n int) time.Time {
		return now.Add(-logDays*24*time.Hour + time.Duration(float64(n)/float64(b.logRows)*logDays*24*float64(time.Hour)))
	}
	ids := hook.NewIDs(1, 0)
	number := b.take(1)
	target := hook.Target{URL: s.URL}
	for n := 0; n < b.logRows; n += batch {
		var pubs []*intake.Publication
		for i := 0; i < batch; i += each {
			at := at(n + i)
			pubs = append(pubs, &intake.Publication{
				Event:   &hook.Event{ID: hook.EventID(ids.Next(at)), Account: "bench", Type: benchEvent, TS: at, Carrier: 1, Body: event(nil, number, 1)},
				Version: db.Directory().Version(),
			})
		}
		if err := db.Publish(pubs); err != nil {
			return err
		}
		var rows []*hook.Attempt
		for i := range min(batch, b.logRows-n) {
			started := at(n + i)
			a := &hook.Attempt{
				Delivery: hook.DeliveryID{Event: pubs[i/each].Event.ID, Subscription: s.Key}, EventType: benchEvent, Target: target,
				Outcome: http.StatusOK, State: hook.Delivered, Due: started, Started: started, Timing: hook.Timing{Done: time.Millisecond}, Span: uint64(n + i),
				Response: hook.Response{Header: "Content-Length: 0\nDate: Thu, 01 Jan 1970 00:00:00 GMT", Body: []byte{}},
			}
			if (n+i)%100 == 0 {
				a.Outcome, a.State, a.Detail = hook.ReadTimeOut, hook.Waiting, "no answer within 3s of the request"
			}
			if (n+i)%5000 == 0 {
				a.Retry = 3
			}
			rows = append(rows, a)
		}
		if err := db.LogChallenges(rows); err != nil {
			return errors.Join(errors.New("the log could not be filled"), err)
		}
	}
	return nil
}
