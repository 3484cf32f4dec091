package store

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
)

// logged is what a row of the log was made from.
type logged struct {
	hook.Attempt
	app, subscription string
	event             *hook.Event
}

// drawLog fills the log of two apps, "a..." and "b...", and returns it. What happens,
// happens within five days from start.
func drawLog(t *rapid.T, db *DB, start time.Time, n int) []*logged {
	apps := []string{fmt.Sprint("a", n), fmt.Sprint("b", n)}
	var c hook.Change
	var subs []*hook.Subscription
	for i, app := range apps {
		c.Apps = append(c.Apps, &hook.App{ID: app, Account: accountName, Name: app, ClientID: app, SecretToken: tokenText, Created: start})
		for j := range rapid.IntRange(1, 3).Draw(t, "subscriptions") {
			s := subscription(hook.SubscriptionKey(1_000_000 + 10*n + 3*i + j))
			s.App = app
			subs = append(subs, s)
		}
	}
	c.Accounts, c.Subscriptions = []*hook.Account{{ID: accountName}}, subs
	ok(t, db.Change(c, start))

	ids := hook.NewIDs(0, 0) // of this time, and not of what was drawn for another database
	var pubs []*intake.Publication
	for i := range 4 {
		pubs = append(pubs, &intake.Publication{
			Event: &hook.Event{
				ID: hook.EventID(ids.Next(start)), Account: accountName, Type: fmt.Sprint("t", i%3), TS: start, Users: []string{"ann"}, Body: fmt.Appendf(nil, `{"n":%d}`, i),
			}, Version: db.Directory().Version(),
		})
	}
	ok(t, db.Publish(pubs))

	var rows []*logged
	var attempts []*hook.Attempt
	now := start
	for range rapid.IntRange(0, 30).Draw(t, "rows") {
		// What follows at once, within the same millisecond, is as likely as a pause of hours.
		now = now.Add(time.Duration(rapid.SampledFrom([]int64{0, 1, 999, 1000, 5e5, 1e6, 6e7, 4e9}).Draw(t, "pause")) * time.Microsecond)
		s := rapid.SampledFrom(subs).Draw(t, "subscription")
		r := &logged{app: s.App, subscription: s.ID, Attempt: hook.Attempt{
			Kind:    rapid.SampledFrom([]hook.AttemptKind{hook.KindAttempt, hook.KindAttempt, hook.KindAttempt, hook.KindChallenge, hook.KindResend, hook.KindCancel}).Draw(t, "kind"),
			Outcome: rapid.SampledFrom([]hook.Outcome{200, 204, 299, 300, 400, 500, -1, -16}).Draw(t, "outcome"),
			Retry:   rapid.IntRange(0, 4).Draw(t, "retry"),
			Target:  hook.Target{URL: rapid.SampledFrom([]string{"https://a.example.com/", "https://b.example.com/"}).Draw(t, "url"), Auth: hook.AuthHeader, Header: "X-A"},
			Timing:  hook.Timing{Done: time.Duration(rapid.SampledFrom([]int64{0, 300, 2e6}).Draw(t, "took")) * time.Microsecond},
			Detail:  fmt.Sprint("row ", len(rows)),
		}}
		r.Started = now.Add(-r.Timing.Done)
		switch p := rapid.SampledFrom(pubs).Draw(t, "event"); r.Kind {
		case hook.KindAttempt:
			r.event, r.EventType, r.Delivery = p.Event, p.Event.Type, hook.DeliveryID{Event: p.Event.ID, Subscription: s.Key}
		case hook.KindChallenge:
			r.Retry, r.EventType, r.Delivery = 0, challengeType, hook.DeliveryID{Event: hook.EventID(ids.Next(start)), Subscription: s.Key}
			if rapid.Bool().Draw(t, "proven") {
				r.State = hook.Delivered
			}
		default:
			r.Outcome, r.Target, r.Delivery = 0, hook.Target{}, hook.DeliveryID{Event: p.Event.ID, Subscription: s.Key}
		}
		rows, attempts = append(rows, r), append(attempts, &r.Attempt)
	}
	ok(t, db.LogChallenges(attempts))
	var gone hook.Change
	for _, s := range subs {
		if rapid.Bool().Draw(t, "deleted") {
			gone.RemoveSubscriptions = append(gone.RemoveSubscriptions, s.Key)
		}
	}
	ok(t, db.Change(gone, start.Add(6*24*time.Hour)))
	return rows
}

func ok(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Whatever is asked of the log, its pages hold exactly the requests that were asked
// for, the latest first, each once, also those of subscriptions that were deleted, and
// also while what is old is being deleted.
func TestWebhookLog(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		n := 0
		rapid.Check(t, func(t *rapid.T) {
			n++
			start := now.Add(time.Duration(n) * 10 * 24 * time.Hour)
			rows := drawLog(t, db, start, n)
			// Times are drawn from those at which something happened, for there the ends are.
			instants := []time.Time{start.Add(-time.Hour), start.Add(time.Hour), start.Add(7 * 24 * time.Hour)}
			for _, r := range rows {
				instants = append(instants, r.Started, r.Started.Add(-time.Microsecond), r.Started.Add(r.Timing.Done))
			}
			instant := func(label string) time.Time { return rapid.SampledFrom(instants).Draw(t, label) }

			for range 5 {
				f := hook.LogFilter{
					App:       fmt.Sprint(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "app"), n),
					EventType: rapid.SampledFrom([]string{"", "", "t0", "t1", "t2", challengeType, "never.sent"}).Draw(t, "type"),
					Failed:    rapid.SampledFrom([]*bool{nil, new(true), new(false)}).Draw(t, "failed"),
					Retry:     rapid.SampledFrom([]*int{nil, nil, new(0), new(1), new(3), new(4)}).Draw(t, "retry_num"),
					Limit:     rapid.IntRange(1, 7).Draw(t, "limit"),
				}
				f.From, f.To = instant("from"), instant("to")
				if rapid.Bool().Draw(t, "all times") {
					f.From, f.To = start.Add(-time.Hour), start.Add(7*24*time.Hour)
				}
				if rapid.IntRange(0, 4).Draw(t, "no end") == 0 {
					f.To = time.Time{}
				}
				var want []string
				for _, r := range slices.Backward(rows) {
					failed := r.Outcome < 200 || r.Outcome > 299
					if r.Kind == hook.KindChallenge { // which may be answered, and wrongly
						failed = r.State != hook.Delivered
					}
					if r.app == f.App && (r.Kind == hook.KindAttempt || r.Kind == hook.KindChallenge) && !r.Started.Before(f.From) && (f.To.IsZero() || !r.Started.After(f.To)) &&
						(f.EventType == "" || r.EventType == f.EventType) && (f.Retry == nil || *f.Retry == r.Retry) && (f.Failed == nil || *f.Failed == failed) {
						want = append(want, shownRow(r, r.event, r.subscription))
					}
				}
				if got := pagesOf(t, db, f); !slices.Equal(got, want) {
					t.Fatalf("%+v:\ngot  %q\nwant %q", f, got, want)
				}
				// What is kept is listed as before.
				if rapid.IntRange(0, 4).Draw(t, "expire") == 0 && len(rows) > 0 {
					before := instant("before").Truncate(time.Millisecond)
					ok(t, db.Expire(context.Background(), before))
					if _, ok := db.sql.(*postgresDB); ok { // which drops whole divisions
						before = before.Truncate(testDivision)
					}
					rows = slices.DeleteFunc(rows, func(r *logged) bool { return r.ID < hook.FirstID(before) })
					if before.After(start) {
						for _, r := range rows {
							r.event = nil // they were all published at the start
						}
					}
				}
			}
		})
	})
}

func shownRow(r *logged, e *hook.Event, subscription string) string {
	body := "no event"
	if e != nil {
		body = string(e.Body) + e.Users[0]
	}
	return fmt.Sprint(r.ID, r.Delivery, r.Kind, r.EventType, r.Retry, r.Outcome, r.State, r.Started.UnixMicro(), r.Target, r.Detail, body, subscription)
}

// pagesOf reads all pages. They are full, but for the last.
func pagesOf(t *rapid.T, db *DB, f hook.LogFilter) (all []string) {
	t.Helper()
	for {
		page, more, err := db.WebhookLog(context.Background(), f)
		ok(t, err)
		if len(page) > f.Limit || more && len(page) < f.Limit {
			t.Fatalf("%+v: a page of %d rows, and more: %v", f, len(page), more)
		}
		for i := range page {
			r := &page[i]
			all = append(all, shownRow(&logged{Attempt: r.Attempt}, r.Event, r.SubscriptionID))
		}
		if !more {
			return all
		}
		f.Before = page[len(page)-1].ID
	}
}

// After a clock was set back, what is logged is seen at once, and not only when the
// clock has made up for it: ids go on where they were.
func TestLogAfterTheClockWasSetBack(t *testing.T) {
	eachStore(t, func(t *testing.T, o Options) {
		db := open(t, o)
		setup(t, db, 1)
		made := func(at time.Time) *hook.Attempt {
			return &hook.Attempt{Kind: hook.KindChallenge, Delivery: hook.DeliveryID{Event: 1, Subscription: 1}, Started: at, EventType: challengeType}
		}
		must(t, db.LogChallenges([]*hook.Attempt{made(now.Add(24 * time.Hour))}))
		must(t, db.Close())
		db = open(t, o)
		must(t, db.LogChallenges([]*hook.Attempt{made(now)}))
		page, _, err := db.WebhookLog(t.Context(), hook.LogFilter{App: "app", From: now.Add(-time.Hour), Limit: 10})
		if err != nil || len(page) != 2 || !page[0].Started.Equal(now) {
			t.Errorf("%+v, %v", page, err)
		}
		must(t, db.Close())
	})
}

// The challenge of a subscription that was not made after all is in the log of the app
// that asked for it, and in nothing else.
func TestLogRefused(t *testing.T) {
	eachStore(t, func(t *testing.T, o Options) {
		db := open(t, o)
		setup(t, db, 1)
		refused := subscription(2)
		made := &hook.Attempt{
			Kind: hook.KindChallenge, Delivery: hook.DeliveryID{Event: 1, Subscription: 2}, Outcome: 500, Started: now, EventType: challengeType,
			Target: hook.Target{URL: refused.URL}, Response: hook.Response{Body: []byte("why")},
		}
		must(t, db.LogRefused(refused, made))
		for range 2 {
			page, more, err := db.WebhookLog(t.Context(), hook.LogFilter{App: "app", From: now.Add(-time.Hour), To: now.Add(time.Hour), Limit: 10})
			if err != nil || more || len(page) != 1 || page[0].SubscriptionID != "subscription-2" || string(page[0].Response.Body) != "why" || page[0].Target.URL != refused.URL {
				t.Errorf("the log has %+v, %v", page, err)
			}
			if subs := db.Directory().Subscriptions(""); len(subs) != 1 || subs[0].Key != 1 {
				t.Errorf("the subscriptions are %v", subs)
			}
			must(t, db.Close())
			db = open(t, o)
		}
		if s, err := db.DeletedSubscription(t.Context(), 2); err != nil || s == nil || s.Auth != (hook.Auth{}) || s.Name != "s2" {
			t.Errorf("kept is %+v, %v", s, err)
		}
		must(t, db.Expire(t.Context(), now.Add(time.Second)))
		if s, err := db.DeletedSubscription(t.Context(), 2); err != nil || s != nil {
			t.Errorf("kept for good is %+v, %v", s, err)
		}
		must(t, db.Close())
	})
}

// A page of the webhook log is found in its index alone, however long the log is. Only
// the rows that are on the page are read.
func TestLogIsFoundInItsIndex(t *testing.T) {
	db := open(t, Options{Database: "sqlite:" + filepath.Join(t.TempDir(), "test.db"), Key: testKey(t, 1)})
	defer db.Close()
	for query, want := range map[string]string{
		selectType:      "SEARCH attempts USING COVERING INDEX attempts_log (subscription=? AND type_id>?)",
		selectPart:      "SEARCH attempts USING COVERING INDEX attempts_log (subscription=? AND type_id=? AND part>?)",
		selectStreamEnd: "SEARCH attempts USING COVERING INDEX attempts_log (subscription=? AND type_id=? AND part=? AND rowid>? AND rowid<?)",
		selectLogRow:    "SEARCH attempts USING INTEGER PRIMARY KEY (rowid=?)",
	} {
		if got := plan(t, db, query); !strings.HasPrefix(got, want) || strings.Contains(got, "SCAN") || strings.Contains(got, "TEMP") {
			t.Errorf("%s\nis planned as\n%s\nwant\n%s", query, got, want)
		}
	}
}
