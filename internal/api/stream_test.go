package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/memnet"
)

// watcher reads a stream of log rows.
type watcher struct {
	t      testing.TB
	res    *http.Response
	lines  *bufio.Reader
	cancel context.CancelFunc
	last   string // the id of the latest event
}

// served makes the platform be reached at platform.test, with a real server, also in a
// bubble, and returns a client for it.
func (w *asked) served() *http.Client {
	w.t.Helper()
	w.net.Handle(w.t, "platform.test", w.handler)
	return clientOf(w.t, &w.net)
}

func clientOf(t testing.TB, net *memnet.Net) *http.Client {
	t.Helper()
	tr := &http.Transport{DialContext: net.DialContext}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// watch follows the log.
func watch(t testing.TB, c *http.Client, url, after string, edit ...func(*http.Request)) *watcher {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+readKey)
	if after != "" {
		req.Header.Set("Last-Event-ID", after)
	}
	for _, f := range edit {
		f(req)
	}
	res, err := c.Do(req)
	must(t, err)
	x := &watcher{t: t, res: res, lines: bufio.NewReader(res.Body), cancel: cancel, last: after}
	t.Cleanup(x.close)
	return x
}

func (x *watcher) close() {
	x.cancel()
	_ = x.res.Body.Close()
}

// block is what comes between two empty lines.
type block struct{ comment, event, data string }

// block reads the next one. The error is io.EOF at a proper end.
func (x *watcher) block() (b block, err error) {
	for {
		line, err := x.lines.ReadString('\n')
		if err != nil {
			if errors.Is(err, io.EOF) && line != "" {
				err = io.ErrUnexpectedEOF
			}
			return b, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "":
			if line == "\n" {
				return b, nil
			}
			b.comment = value
		case "id":
			x.last = value
		case "event":
			b.event = value
		case "data":
			b.data += value
		}
	}
}

// row reads up to the next row.
func (x *watcher) row() LoggedAttempt {
	x.t.Helper()
	for {
		b, err := x.block()
		must(x.t, err)
		if b.data == "" {
			continue
		}
		var v LoggedAttempt
		dec := json.NewDecoder(strings.NewReader(b.data))
		dec.DisallowUnknownFields()
		must(x.t, dec.Decode(&v))
		if v.ID != x.last {
			x.t.Errorf("row %s comes with the id %s", v.ID, x.last)
		}
		return v
	}
}

// log returns the whole log as the list has it, the earliest row first.
func (p *platform) wholeLog(query string) (rows []LoggedAttempt) {
	p.t.Helper()
	next := ""
	for {
		v := get[struct {
			Next     string          `json:"next_page_token"`
			PageSize int             `json:"page_size"`
			Rows     []LoggedAttempt `json:"webhook_logs"`
		}](p, operator+"/webhook_logs?page_size=7&"+query+"&next_page_token="+next)
		rows = append(rows, v.Rows...)
		if next = v.Next; next == "" {
			slices.Reverse(rows)
			return rows
		}
	}
}

func idsOf(rows []LoggedAttempt) (ids []string) {
	for _, r := range rows {
		ids = append(ids, r.ID)
	}
	return ids
}

const streamURL = "http://platform.test" + operator + "/webhook_logs/stream"

// Who follows the log sees each row once, in the order of recording, as soon as it is
// recorded: attempts, challenges, and that something was made again or cancelled.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{})
		c := w.served()
		x := watch(t, c, streamURL, "")
		if h := x.res.Header; x.res.StatusCode != 200 || h.Get("Content-Type") != "text/event-stream" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%d %v", x.res.StatusCode, h)
		}
		s := w.subscription("numbers")
		start := time.Now()
		ok := w.publish(cnam("ACME")).Event
		synctest.Wait() // they are independent of each other, and either may be recorded first
		bad := w.publish(cnam("400")).Event
		want := []string{"attempt 204 delivered " + ok, "attempt 400 failed " + bad}
		for _, line := range want {
			r := x.row()
			if got := fmt.Sprintf("%s %s %s %s", r.Kind, r.Outcome, r.State, r.EventID); got != line {
				t.Errorf("%s, want %s", got, line)
			}
			if r.Subscription != s.ID || r.App != s.App || r.Event != cnamEvent || r.DeliveryID[:18] != r.EventID || r.Endpoint != s.URL || r.Latency == nil || time.Time(r.TS).IsZero() {
				t.Errorf("%+v", r)
			}
		}
		if d := time.Since(start); d > streamPause {
			t.Errorf("it took %v", d)
		}
		w.want(http.StatusAccepted, "POST", operator+"/deliveries/"+w.deliveryOf(bad, s).ID+"/resend", "")
		if r := x.row(); r.Kind != "resend" || r.Event != cnamEvent || !strings.Contains(r.Detail, "key-all") {
			t.Errorf("%+v", r)
		}
		x.row()
		w.validate(s)
		if r := x.row(); r.Kind != "challenge" || r.Event != "endpoint.url_validation" || !time.Time(r.TS).IsZero() || r.State != hook.Delivered {
			t.Errorf("%+v", r)
		}
		w.publish(cnam("503"))
		x.row()
		w.disable(s)
		if r := x.row(); r.Kind != "cancel" || r.State != hook.Cancelled || r.Event != cnamEvent {
			t.Errorf("%+v", r)
		}

		// The list has the same rows, and one that goes on from anywhere gets the rest.
		all := w.wholeLog("")
		if len(all) != 8 { // the first challenge is from before
			t.Fatalf("%d rows in the list: %+v", len(all), all)
		}
		for i := range all {
			y := watch(t, c, streamURL, all[i].ID)
			for _, want := range all[i+1:] {
				if r := y.row(); r.ID != want.ID || r.DeliveryID != want.DeliveryID || r.Kind != want.Kind {
					t.Errorf("after row %d: %+v, want %+v", i, r, want)
				}
			}
			y.close()
		}
		if r := watch(t, c, streamURL, "0").row(); r.ID != all[0].ID {
			t.Errorf("from the beginning comes %+v", r)
		}
	})
}

// Filters select the same rows in the list and in the stream.
func TestFollowSome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{})
		c := w.served()
		nearAndFar(w)
		w.m.Apps[1].Subscriptions[0].Disabled = false
		w.m.Apps[1].CarrierCodes = []int32{1}
		w.apply(w.m)
		for _, name := range []string{"ACME", "400", "503"} {
			w.sent(name)
			w.publish(`{"event":"number_management.peering_number_emergency_address_updated","payload":{"account_id":"customer","object":{"carrier_code":1,"phone_numbers":["+14155550132"]}}}`)
		}
		w.disable(w.subscription("numbers"))
		w.later(time.Second)
		all := w.wholeLog("")
		s, stranger := w.subscription("numbers"), w.subscription("stranger's")
		failed := func(r LoggedAttempt) bool {
			return r.Kind == "attempt" && r.Outcome != "204" || r.Kind == "challenge" && r.State != hook.Delivered
		}
		for query, selects := range map[string]func(LoggedAttempt) bool{
			"failed=false":                  func(LoggedAttempt) bool { return true },
			"failed=true":                   failed,
			"event_subscription_id=" + s.ID: func(r LoggedAttempt) bool { return r.Subscription == s.ID },
			"app_id=" + stranger.App:        func(r LoggedAttempt) bool { return r.App == stranger.App },
			"event=" + cnamEvent:            func(r LoggedAttempt) bool { return r.Event == cnamEvent },
			"event=endpoint.url_validation": func(r LoggedAttempt) bool { return r.Kind == "challenge" },
			"event=none":                    func(LoggedAttempt) bool { return false },
			"event=" + cnamEvent + "&failed=true&event_subscription_id=" + s.ID: func(r LoggedAttempt) bool {
				return failed(r) && r.Event == cnamEvent && r.Subscription == s.ID
			},
		} {
			var want []string
			for _, r := range all {
				if selects(r) {
					want = append(want, r.ID)
				}
			}
			if got := idsOf(w.wholeLog(query)); !slices.Equal(got, want) {
				t.Errorf("%s lists %v, want %v", query, got, want)
			}
			x := watch(t, c, streamURL+"?"+query, "0")
			for _, id := range want {
				if r := x.row(); r.ID != id {
					t.Errorf("%s brings %s, want %s", query, r.ID, id)
				}
			}
			// What is left out is passed all the same, so that it need not be looked at again.
			b, err := x.block()
			if err == nil && b.comment == "" { // it was the first one
				b, err = x.block()
			}
			if err != nil || b.comment == "" || x.last != all[len(all)-1].ID {
				t.Errorf("%s: after all %+v, %v; going on after %s, want %s", query, b, err, x.last, all[len(all)-1].ID)
			}
			x.close()
		}
	})
}

// A stream on which nothing happens shows every 15 seconds that it is alive. It ends
// when its key is revoked.
func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{})
		x := watch(t, w.served(), streamURL, "")
		first, err := x.block()
		if err != nil || first.comment != "" || x.last == "" || x.last == "0" {
			t.Errorf("it begins with %+v, %v; going on after %q", first, err, x.last)
		}
		start := time.Now()
		for i := 1; i <= 20; i++ {
			b, err := x.block()
			if err != nil || b.comment != "still here" || time.Since(start) != time.Duration(i)*heartbeat {
				t.Fatalf("after %v: %+v, %v", time.Since(start), b, err)
			}
		}
		must(t, w.db.RevokeKey("key-read", time.Now()))
		if b, err := x.block(); !errors.Is(err, io.EOF) || time.Since(start) != 21*heartbeat {
			t.Errorf("with the key revoked, after %v: %+v, %v", time.Since(start), b, err)
		}
	})
}

// A client that does not read is cut off, and holds up nobody meanwhile: neither
// deliveries nor another client. It can go on where it was.
func TestFollowerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{})
		c := w.served()
		stuck, reads := watch(t, c, streamURL, ""), watch(t, c, streamURL, "")
		start := time.Now()
		const events = 100
		var ids []string
		for range events {
			w.publish(cnam("ACME"))
		}
		for range events {
			ids = append(ids, reads.row().ID)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("the other client waited %v", d)
		}
		w.later(streamWrite + time.Second)
		if !strings.Contains(w.log.String(), "a client that follows log rows does not read and is cut off") {
			t.Errorf("that it was cut off is not in the log:\n%s", w.log)
		}
		var got []string
		for {
			b, err := stuck.block()
			if err != nil {
				if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Error("it looks like the proper end of a stream")
				}
				break
			}
			if b.data != "" {
				got = append(got, stuck.last)
			}
		}
		if len(got) == events {
			t.Fatal("all of it fit into what is between; it was not stuck")
		}
		again := watch(t, c, streamURL, stuck.last)
		for len(got) < events {
			got = append(got, again.row().ID)
		}
		if !slices.Equal(got, ids) {
			t.Errorf("with a second try it has\n%v, the other one\n%v", got, ids)
		}
	})
}

// Each follower gets each row once, however often its connection breaks, while rows are
// recorded as fast as they can.
func TestFollowersUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{})
		c := w.served()
		before := w.wholeLog("")
		const events, followers = 600, 5
		results := make(chan []string, followers)
		for i := range followers {
			go func() {
				r := rand.New(rand.NewPCG(uint64(i), 1))
				var got []string
				last := before[len(before)-1].ID
				for len(got) < events {
					x := watch(t, c, streamURL, last)
					for range 1 + r.IntN(100) {
						if got = append(got, x.row().ID); len(got) == events {
							break
						}
					}
					last = x.last
					x.close()
				}
				results <- got
			}()
		}
		for range 10 {
			go func() {
				for range events / 10 {
					w.publish(cnam("ACME"))
				}
			}()
		}
		var got [][]string
		for range followers {
			got = append(got, <-results)
		}
		want := idsOf(w.wholeLog(""))[len(before):]
		for i, ids := range got {
			if !slices.Equal(ids, want) {
				t.Errorf("follower %d has %d rows, want %d, in this order: %v", i, len(ids), len(want), slices.Equal(slices.Sorted(slices.Values(ids)), want))
			}
		}
	})
}

// Streams end properly, and at once, when the platform begins to stop.
func TestStreamsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{})
		x := watch(t, w.served(), streamURL, "")
		_, err := x.block()
		must(t, err)
		start := time.Now()
		close(w.stopping)
		b, err := x.block()
		if err != nil || b.comment != "the platform is stopping" {
			t.Errorf("%+v, %v", b, err)
		}
		if _, err := x.block(); !errors.Is(err, io.EOF) || time.Since(start) != 0 {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// A stream lives longer than what a server allows other answers.
func TestStreamOutlivesWriteTimeout(t *testing.T) {
	p := newPlatform(t, options{idle: true})
	server := httptest.NewUnstartedServer(p.handler)
	server.Config.WriteTimeout = time.Nanosecond // which is over before anything is written
	server.Start()
	t.Cleanup(server.Close)
	x := watch(t, server.Client(), server.URL+operator+"/webhook_logs/stream", "")
	e := newEndpoint(t)
	p.apply(manifest(to("a", e.url)))
	x.row()
	for range 3 {
		p.want(http.StatusOK, "POST", operator+"/subscriptions/"+p.subscription("a").ID+"/validate", "")
		if r := x.row(); r.Kind != "challenge" {
			t.Errorf("%+v", r)
		}
	}
	x.close()
}

// What cannot be followed is refused before the stream begins.
func TestFollowFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{})
		c := w.served()
		for query, fault := range map[string]string{
			"?event_subscription_id=x": "event_subscription_id", "?failed=yes": "failed", "?page_size=1": "page_size", "?from=0": "from",
		} {
			f := read[fault400](t, w.want(http.StatusBadRequest, "GET", operator+"/webhook_logs/stream"+query, ""))
			if len(f.Errors) != 1 || f.Errors[0].Field != fault {
				t.Errorf("%s: %+v", query, f)
			}
		}
		for query, fault := range map[string]string{
			"?event_subscription_id=x": "event_subscription_id", "?failed=yes": "failed", "?page_size=0": "page_size", "?next_page_token=x": "next_page_token", "?from=0": "from",
		} {
			f := read[fault400](t, w.want(http.StatusBadRequest, "GET", operator+"/webhook_logs"+query, ""))
			if len(f.Errors) != 1 || f.Errors[0].Field != fault {
				t.Errorf("%s: %+v", query, f)
			}
		}
		for _, path := range []string{"/webhook_logs", "/webhook_logs/stream"} {
			if f := read[fault](t, w.want(http.StatusNotFound, "GET", operator+path+"?app_id=none", "")); f.Message != `Not found: no app has the id "none", or has had it` {
				t.Errorf("%s: %+v", path, f)
			}
		}
		for _, id := range []string{"x", "-1", "1e3", "9223372036854775808", "9223372036854775807"} {
			f := read[fault400](t, w.want(http.StatusBadRequest, "GET", operator+"/webhook_logs/stream", "", header("Last-Event-ID", id)))
			if len(f.Errors) != 1 || f.Errors[0].Field != "Last-Event-ID" {
				t.Errorf("%s: %+v", id, f)
			}
		}
		req, err := http.NewRequestWithContext(t.Context(), "HEAD", streamURL, nil)
		must(t, err)
		with(readKey)(req)
		if res, err := c.Do(req); err != nil || res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("HEAD: %+v, %v", res, err)
		}
		var open []*watcher
		for range maxStreams {
			open = append(open, watch(t, c, streamURL, ""))
		}
		w.want(http.StatusTooManyRequests, "GET", operator+"/webhook_logs/stream", "")
		open[0].close()
		synctest.Wait()
		if x := watch(t, c, streamURL, ""); x.res.StatusCode != 200 {
			t.Errorf("with one less: %d", x.res.StatusCode)
		}
	})
}

// Who goes on after rows that have been deleted for their age is told so.
func TestGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{})
		c := w.served()
		w.sent("ACME")
		first := w.wholeLog("")[0].ID
		w.later(8 * 24 * time.Hour)
		must(t, w.db.Expire(t.Context(), time.Now().Add(-7*24*time.Hour)))
		w.sent("ACME")
		x := watch(t, c, streamURL, first)
		if _, err := x.block(); err != nil {
			t.Fatal(err)
		}
		b, err := x.block()
		if err != nil || b.event != "gap" || b.data != `{"deleted_before":"2000-01-02T00:01:01.000Z"}` {
			t.Errorf("%+v, %v", b, err)
		}
		if r := x.row(); r.ID == first || r.Kind != "attempt" {
			t.Errorf("%+v", r)
		}
		last := x.last
		y := watch(t, c, streamURL, last)
		w.sent("ACME")
		for range 2 {
			if b, err := y.block(); err != nil || b.event != "" {
				t.Errorf("nothing was missed: %+v, %v", b, err)
			}
		}

		// The same when nothing is left at all.
		w.later(8 * 24 * time.Hour)
		must(t, w.db.Expire(t.Context(), time.Now().Add(-7*24*time.Hour)))
		z := watch(t, c, streamURL, last)
		if b, err := z.block(); z.res.StatusCode != 200 || err != nil || b.event != "" {
			t.Errorf("%d: %+v, %v", z.res.StatusCode, b, err)
		}
		if b, err := z.block(); err != nil || b.event != "gap" {
			t.Errorf("%+v, %v", b, err)
		}
	})
}
