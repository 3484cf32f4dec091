package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/store"
)

// calls measures what the calls of the public API cost that its clients make most,
// beside as many requests for nothing.
func (b *bench) calls(ctx context.Context) error {
	var urls []string
	for i := range 20 {
		urls = append(urls, fmt.Sprintf("http://%s/ok/%d", b.sink, i))
	}
	p, publish, err := b.platformWith(ctx, "api", manySubscriptions(urls), urls[0])
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
	var bare float64
	for _, c := range []struct {
		name, method, url string
		ask               func(*http.Request)
	}{
		{"bare requests (GET /health)", http.MethodGet, base + "/health", func(*http.Request) {}},
		{"access tokens", http.MethodPost, base + "/oauth/token?grant_type=client_credentials", func(r *http.Request) { r.SetBasicAuth("client0", benchSecret) }},
		{"lists of 20 subscriptions", http.MethodGet, base + "/v2/marketplace/app/event_subscription", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }},
	} {
		took, err := b.hammer(ctx, c.method, c.url, c.ask)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		perSecond := float64(len(took)) / float64(b.seconds)
		if bare == 0 {
			bare = perSecond
		}
		fmt.Fprintf(t, "%s\t%.0f/s\t%v\tratio %.2f\n", c.name, perSecond, took, perSecond/bare)
	}
	return t.Flush()
}

// manySubscriptions gives the first app one more subscription for each URL but the
// first, for which it has one.
func manySubscriptions(urls []string) func(*store.DB) error {
	return func(db *store.DB) error {
		var c hook.Change
		now := time.Now()
		for _, url := range urls[1:] {
			id := hook.NewID()
			k, err := hook.KeyOf(id)
			if err != nil {
				return err
			}
			c.Subscriptions = append(c.Subscriptions, &hook.Subscription{
				ID: id, Key: k, App: "app0", Events: []string{benchEvent}, Scope: hook.ScopeAccount, Subscribers: []hook.Subscriber{{Account: "bench"}},
				Endpoint: hook.Endpoint{URL: url, State: hook.Valid, Checked: now}, Source: hook.SourceOpenAPI, Created: now,
			})
		}
		return db.Change(c, now)
	}
}

func (b *bench) accessToken(ctx context.Context, base string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/oauth/token?grant_type=client_credentials", nil)
	if err != nil {
		return "", err
	}
	req.SetBasicAuth("client0", benchSecret)
	res, err := b.client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var v struct {
		Token string `json:"access_token"`
	}
	return v.Token, json.NewDecoder(res.Body).Decode(&v)
}

// hammer makes the same request over many connections for a while, and returns how
// long each took.
func (b *bench) hammer(ctx context.Context, method, url string, ask func(*http.Request)) (latencies, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(b.seconds)*time.Second)
	defer cancel()
	all := make([][]time.Duration, b.posters)
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for i := range b.posters {
		wg.Go(func() {
			for ctx.Err() == nil {
				start := time.Now()
				if err := b.once(ctx, method, url, ask); err != nil {
					if ctx.Err() == nil {
						failed.Store(&err)
					}
					return
				}
				all[i] = append(all[i], time.Since(start))
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	took := latencies(slices.Concat(all...))
	slices.Sort(took)
	return took, nil
}

// once makes a request that must succeed.
func (b *bench) once(ctx context.Context, method, url string, ask func(*http.Request)) error {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return err
	}
	ask(req)
	res, err := b.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", res.StatusCode, body)
	}
	return err
}

// log measures reading a long webhook log.
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
	one := *b
	one.posters = 1
	for _, c := range []struct{ name, query string }{
		{"what failed (the default)", ""},
		{"all", "type=1"},
		{"third retries of one event type", "type=1&retry_num=3&event=" + benchEvent},
		{"all, 300 rows", "type=1&page_size=300"},
	} {
		took, err := one.hammer(ctx, http.MethodGet, base+"/v2/marketplace/apps/app0/webhook_logs?"+c.query, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Fprintf(t, "  %s\t%v\n", c.name, took)
	}
	return t.Flush()
}

// fillLog puts rows into the log, of the last days.
func (b *bench) fillLog(db *store.DB) error {
	subs := db.Directory().Subscriptions("app0")
	const events, batch = 1000, 2000
	now := time.Now()
	ids := hook.NewIDs(1, 0)
	var pubs []*intake.Publication
	for range events {
		id := hook.EventID(ids.Next(now))
		pubs = append(pubs, &intake.Publication{
			Event:   &hook.Event{ID: id, Account: "bench", Type: benchEvent, TS: now, Carrier: 1, Body: event(nil, b.take(1), 1)},
			Version: db.Directory().Version(),
		})
	}
	if err := db.Publish(pubs); err != nil {
		return err
	}
	target := hook.Target{URL: subs[0].URL}
	for n := 0; n < b.logRows; n += batch {
		var rows []*hook.Attempt
		for i := range batch {
			// From six days ago until now, with the third retry of one in 5,000.
			started := now.Add(-6*24*time.Hour + time.Duration(float64(n+i)/float64(b.logRows)*6*24*float64(time.Hour)))
			a := &hook.Attempt{
				Delivery: hook.DeliveryID{Event: pubs[(n+i)%events].Event.ID, Subscription: subs[0].Key}, EventType: benchEvent, Target: target,
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
