package api

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// What is left out of a range is as far from the other end as it may be, and never
// makes a fault of what is none.
func TestLogRange(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 500e6, time.UTC)
	const day = 24 * time.Hour
	text := func(t time.Time) string { return t.Format(logTime) }
	second := now.Truncate(time.Second)
	for _, c := range []struct {
		name, from, to   string
		wantFrom, wantTo time.Time
		kind             hook.Kind
	}{
		{"nothing", "", "", now.Add(-7 * day), now, 0},
		{"from", text(now.Add(-day)), "", second.Add(-day), second.Add(6 * day), 0},
		{"from seven days ago", text(now.Add(-7 * day)), "", second.Add(-7 * day), second, 0},
		{"from a little longer ago, as it was computed earlier", text(now.Add(-7*day - 59*time.Second)), "", second.Add(-7*day - 59*time.Second), second.Add(-59 * time.Second), 0},
		{"to", "", text(now.Add(-day)), now.Add(-7 * day), second.Add(time.Second - 1 - day), 0},
		{"to now", "", text(now), now.Add(-7 * day), second.Add(time.Second - 1), 0},
		{"to what is now for a clock that is fast", "", text(now.Add(time.Minute)), second.Add(time.Minute - 7*day), second.Add(time.Minute + time.Second - 1), 0},
		{"to a week from now", "", text(now.Add(7 * day)), second, second.Add(7*day + time.Second - 1), 0},
		{"to later than that", "", text(now.Add(7*day + time.Second)), time.Time{}, time.Time{}, hook.LogRange},
		{"to seven days ago", "", text(now.Add(-7*day + time.Second)), now.Add(-7 * day), second.Add(-7*day + 2*time.Second - 1), 0},
		{"to longer ago", "", text(now.Add(-8 * day)), time.Time{}, time.Time{}, hook.LogRange},
		{"a second", text(now), text(now), second, second.Add(time.Second - 1), 0},
		{"all seven days", text(now.Add(-7 * day)), text(now), second.Add(-7 * day), second.Add(time.Second - 1), 0},
		{"the next second", text(now.Add(time.Second)), "", time.Time{}, time.Time{}, hook.LogFuture},
		{"ends before it begins", text(now), text(now.Add(-time.Second)), time.Time{}, time.Time{}, hook.LogOrder},
		{"too long", text(now.Add(-6 * day)), text(now.Add(day + time.Second)), time.Time{}, time.Time{}, hook.LogRange},
		{"too long ago", text(now.Add(-7*day - 2*time.Minute)), text(now.Add(-6 * day)), time.Time{}, time.Time{}, hook.LogRange},
		{"the beginning of time", "0001-01-01T00:00:00Z", "", time.Time{}, time.Time{}, hook.LogRange},
		{"the end of time", "", "9999-12-31T23:59:59Z", time.Time{}, time.Time{}, hook.LogRange},
	} {
		from, to, err := logRange(c.from, c.to, now)
		if e, _ := err.(*hook.Error); c.kind != 0 {
			if e == nil || e.Kind != c.kind {
				t.Errorf("%s: %v to %v, %v; want kind %d", c.name, from, to, err, c.kind)
			}
		} else if err != nil || !from.Equal(c.wantFrom) || !to.Equal(c.wantTo) {
			t.Errorf("%s: %v to %v, %v; want %v to %v", c.name, from, to, err, c.wantFrom, c.wantTo)
		}
	}
}

// Who reads page by page gets what there was at the beginning, each row once, although
// it takes a while and more is logged meanwhile; also if the first page began as long
// ago as it may.
func TestLogPagesTakeTime(t *testing.T) {
	for _, query := range []string{"", "from=2000-01-01T00:00:00Z", "to=2000-01-07T23:59:59Z", "from=2000-01-01T00:00:00Z&to=2000-01-07T23:59:59Z"} {
		synctest.Test(t, func(t *testing.T) {
			m := newMarket(t, options{})
			event := func() string { return m.publish(order("carrier", "ada")).Event }
			var want, got []string
			for range 8 {
				want = append(want, event())
				time.Sleep(time.Second)
			}
			slices.Reverse(want)
			time.Sleep(time.Until(time.Date(2000, 1, 7, 23, 59, 59, 0, time.UTC)))
			c := m.program("sync", "")
			for next := ""; ; {
				page := c.logs("type=3&page_size=3&" + query + "&next_page_token=" + next)
				for _, r := range page.Rows {
					got = append(got, r.RequestID[:18])
				}
				if next = page.Next; next == "" {
					break
				}
				time.Sleep(14 * time.Minute) // in which seven days ago becomes later than the first rows
				event()
				time.Sleep(time.Second)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q: %q, want %q", query, got, want)
			}
		})
	}
}

// The log of an app tells why a subscription could not be made.
func TestLogTellsOfRefusedSubscriptions(t *testing.T) {
	p := newPlatform(t, options{idle: true})
	c := p.program(p.apply(ownManifest()).Credentials[0], "")
	encrypted := httptest.NewUnstartedServer(http.HandlerFunc(wrongAnswer))
	encrypted.Config.ErrorLog = log.New(io.Discard, "", 0)
	encrypted.StartTLS()
	t.Cleanup(encrypted.Close)
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, "no coffee here")
	}))
	t.Cleanup(broken.Close)
	gone := httptest.NewServer(nil)
	gone.Close()
	for url, says := range map[string]string{
		encrypted.URL: "The certificate is signed by an unknown authority; is the intermediate certificate missing?",
		broken.URL:    "The endpoint answered with status 418, want 200.",
		gone.URL:      "The connection was refused.",
	} {
		a := c.want(404, "POST", subscriptions, `{"events":["`+cnamEvent+`"],"event_webhook_url":"`+url+`/hook","subscription_scope":"account"}`)
		if want := `{"code":1701,"message":"The event webhook url validate failed: ` + url + `/hook. ` + says; !strings.HasPrefix(a.body, want) {
			t.Errorf("%s\nwant %s", a.body, want)
		}
		row := c.logs("").Rows[0]
		want := map[string][3]any{encrypted.URL: {-1, 9, ""}, broken.URL: {418, 0, "no coffee here"}, gone.URL: {-1, 2, ""}}[url]
		if row.Event != "endpoint.url_validation" || row.Endpoint != url+"/hook" || row.Subscription == "" || [3]any{row.Status, row.Reason, row.ResponseBody} != want {
			t.Errorf("%s: the log has %+v", says, row)
		}
	}
	if list := c.list("").Rows; len(list) != 0 {
		t.Errorf("there are %+v", list)
	}
}

// A row of the log says of its request what the endpoint has seen of it, and nothing
// with which it could be made again; headers are JSON, whatever is in them.
func TestHeadersInTheLog(t *testing.T) {
	for _, c := range []struct{ header, want string }{
		{"", "{}"},
		{"Content-Type: text/plain\n", `{"content-type":"text/plain"}`},
		{"A: 1\nB: 2\nA: 3\n", `{"a":"1, 3","b":"2"}`},
		{"a: 1\nA: 2\n", `{"a":"1, 2"}`},
		{"A:\nB:  x  \n", `{"a":"","b":"x"}`},
		{`A: "\<&>` + "\xff\u2028x\n", `{"a":"\"\\<&>` + "\uFFFD" + `\u2028x"}`},
		{"A: b: c\n...\n", `{"a":"b: c"}`},
	} {
		if got := headerObject(headerLines(c.header)); got != c.want {
			t.Errorf("%q is shown as %s, want %s", c.header, got, c.want)
		}
	}
}
