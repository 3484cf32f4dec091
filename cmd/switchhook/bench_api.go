package main

import (
	"context"
	"encoding/json"
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
				if _, err := b.once(ctx, method, url, ask); err != nil {
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

// once makes a request that must succeed, and returns the answer.
func (b *bench) once(ctx context.Context, method, url string, ask func(*http.Request)) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	ask(req)
	res, err := b.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", res.StatusCode, body)
	}
	return body, err
}

// fetch gets what the bearer of a token may.
func (b *bench) fetch(ctx context.Context, url, token string) ([]byte, error) {
	return b.once(ctx, http.MethodGet, url, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
}
