package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/switchhook/switchhook/internal/api"
	"github.com/switchhook/switchhook/internal/number"
	"github.com/switchhook/switchhook/internal/simulate"
)

const (
	// lanes is how many changes are under way at a time. Those of one customer have the
	// same lane, so that they are made in their order.
	lanes = 8

	// slack is how far the changes may be behind their time and still be made up for.
	slack = time.Second

	// patience is how long a change that the platform cannot take is tried again.
	patience = 30 * time.Second

	// finish is how long what is under way may take at the end.
	finish = 5 * time.Second

	reportEvery = 10 * time.Second

	maxRate = 100_000
)

// load makes the changes of a world at a steady rate.
type load struct {
	world  simulate.World
	client *client
	out    io.Writer

	rate  float64
	limit time.Duration // 0: none
	count int           // 0: no end

	mu   sync.Mutex
	sums loadSums
	next time.Time // when the next change is due
}

// loadSums are what came of the changes.
type loadSums struct {
	made, changed, events, refused int
	// leftOut are those whose time passed because the platform did not follow.
	leftOut int
	// why says what was wrong last.
	why string
}

func (l *load) run(ctx context.Context) error {
	if l.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.limit)
		defer cancel()
	}
	// What is under way when it ends may finish.
	calls, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(finish, abandon) })()
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	start := time.Now()
	l.next = start
	failed := make(chan error, lanes) // each of them once: it ends then
	var working sync.WaitGroup
	var lane [lanes]chan simulate.Step
	for i := range lane {
		lane[i] = make(chan simulate.Step)
		working.Go(func() {
			for s := range lane[i] {
				if err := l.make(calls, s); err != nil && ctx.Err() == nil {
					failed <- err
					stop()
				}
			}
		})
	}
	reporting := make(chan struct{})
	var reporter sync.WaitGroup
	reporter.Go(func() { l.report(start, reporting) })

	for k := 0; k < l.count || l.count == 0; k++ {
		s := l.world.Step(k)
		if !until(ctx, l.next) {
			break
		}
		select {
		case lane[s.Customer%lanes] <- s:
			l.pace(time.Now())
		case <-ctx.Done():
		}
	}
	for _, c := range lane {
		close(c)
	}
	working.Wait()
	close(reporting)
	reporter.Wait()
	took := time.Since(start)
	fmt.Fprintf(l.out, "%s in %v (%.1f/s), of %s, told of in %s; %s refused, %s left out\n", grouped(l.sums.made, "change", "changes"), took.Round(time.Millisecond),
		float64(l.sums.made)/took.Seconds(), grouped(l.sums.changed, "number", "numbers"), grouped(l.sums.events, "event", "events"), thousands(l.sums.refused), thousands(l.sums.leftOut))
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// until waits for an instant. It reports whether that came before the end.
func until(ctx context.Context, at time.Time) bool {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// pace says when the next change is due, now that one is on its way. A rate that was
// made up for by a burst would be another one.
func (l *load) pace(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	every := time.Duration(float64(time.Second) / l.rate)
	l.next = l.next.Add(every)
	if late := now.Sub(l.next); late > slack {
		n := int(late / every)
		l.sums.leftOut += n
		l.next = l.next.Add(time.Duration(n) * every)
	}
}

// make makes a change, however often it takes for a platform that is busy or away. The
// error says that this came to nothing.
func (l *load) make(ctx context.Context, s simulate.Step) error {
	body, err := json.Marshal(map[string]any{"phone_numbers": s.Numbers, "set": settingsOf(&s.Change)})
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; {
		done, refusal, err := l.try(ctx, body)
		if err == nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			if refusal != nil {
				l.sums.refused++
				l.sums.why = refusal.Error()
				return nil
			}
			l.sums.made++
			l.sums.changed += done.Changed
			l.sums.events += done.Events
			return nil
		}
		if !time.Now().Before(deadline) || !until(ctx, time.Now().Add(time.Second)) {
			return err
		}
		l.mu.Lock()
		l.sums.why = err.Error()
		l.mu.Unlock()
	}
}

// try makes the request once. What the platform refuses it refuses for good; with an
// error, it may take it later.
func (l *load) try(ctx context.Context, body []byte) (done api.Changed, refusal, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	res, err := l.client.send(ctx, request{method: http.MethodPatch, path: operator + "/numbers", body: bytes.NewReader(body)})
	if err != nil {
		return done, nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	switch status := res.StatusCode; {
	case err != nil:
		return done, nil, err
	case status == http.StatusTooManyRequests || status >= 500:
		return done, nil, apiError(status, answer)
	case status != http.StatusOK:
		return done, apiError(status, answer), nil
	}
	done, err = decode[api.Changed](answer)
	return done, nil, err
}

// settingsOf says as JSON what is to be set; null clears.
func settingsOf(c *number.Change) map[string]any {
	set := map[string]any{}
	if c.CNAM != nil {
		if set["cnam"] = *c.CNAM; *c.CNAM == "" {
			set["cnam"] = nil
		}
	}
	if c.Address != nil {
		if set["emergency_address"] = *c.Address; *c.Address == (number.Address{}) {
			set["emergency_address"] = nil
		}
	}
	return set
}

// report says every ten seconds how it goes, until done is closed.
func (l *load) report(start time.Time, done <-chan struct{}) {
	t := time.NewTicker(reportEvery)
	defer t.Stop()
	var before loadSums
	last := start
	for {
		select {
		case <-done:
			return
		case now := <-t.C:
			l.mu.Lock()
			sums, behind := l.sums, max(0, now.Sub(l.next))
			l.mu.Unlock()
			seconds := now.Sub(last).Seconds()
			fmt.Fprintf(l.out, "%8v  %.1f changes/s  %.1f events/s  %d refused  %.1fs behind", now.Sub(start).Round(time.Second),
				float64(sums.made-before.made)/seconds, float64(sums.events-before.events)/seconds, sums.refused-before.refused, behind.Seconds())
			if n := sums.leftOut - before.leftOut; n > 0 || behind > slack {
				fmt.Fprintf(l.out, "  the platform does not follow: %d changes left out", n)
			}
			if sums.why != before.why {
				fmt.Fprintf(l.out, "  (%s)", printable(sums.why))
			}
			fmt.Fprintln(l.out)
			before, last = sums, now
		}
	}
}
