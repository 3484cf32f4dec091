package hook

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever the log has of a delivery, and however its subscription, its endpoint and its
// backlog stand: there is one explanation, of a cause that says it was owed, in whole
// sentences, with the time of the next attempt if and only if there is to be one.
func TestEveryDeliveryIsExplained(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		accepted := time.UnixMilli(946684800000)
		w.event.ID, w.event.TS = EventID(FirstID(accepted)), accepted
		c := &Case{Event: &w.event, Type: &w.typ, Subscription: &w.sub, App: &w.app, Directory: w.directory()}
		c.Standing = drawStanding(t, w.event.ID, accepted)
		c.Place = Place{Ahead: rapid.SampledFrom([]int{0, 1, 2, MaxAhead}).Draw(t, "ahead"), Generation: rapid.Int64Range(0, 1).Draw(t, "generation")}
		now := accepted.Add(time.Duration(rapid.Int64Range(-1e9, int64(3*time.Hour)).Draw(t, "now")))
		c.Lane = Lane{
			Flying: rapid.IntRange(0, 2).Draw(t, "flying"), InFlight: rapid.IntRange(0, 2).Draw(t, "in flight"),
			PerSecond: rapid.SampledFrom([]float64{0, 0.5, 1000}).Draw(t, "per second"),
		}
		if rapid.Bool().Draw(t, "spared") {
			c.Lane.SparedUntil = now.Add(time.Duration(rapid.Int64Range(-1e9, 1e9).Draw(t, "spared until")))
		}
		w.app.Disabled = rapid.Bool().Draw(t, "app disabled")
		w.sub.State, w.sub.Generation = SubscriptionState(rapid.IntRange(0, 3).Draw(t, "state")), rapid.Int64Range(0, 1).Draw(t, "generation of the subscription")
		switch rapid.IntRange(0, 5).Draw(t, "gone") {
		case 0:
			w.sub.Deleted = accepted.Add(time.Minute)
		case 1:
			w.sub.Deleted, c.App = accepted.Add(time.Minute), nil
		case 2:
			c.Subscription, c.App = nil, nil
		}

		x := Explain(c, now)
		if !x.Cause.Owed() || !slices.Contains(Causes(), x.Cause) {
			t.Errorf("the cause is %q", x.Cause)
		}
		waits := strings.HasPrefix(string(x.Cause), "waiting")
		if waits != (c.Standing.State == Waiting) || !waits && string(x.Cause) != c.Standing.State.String() {
			t.Errorf("it is %v; the cause is %q", c.Standing.State, x.Cause)
		}
		if x.Next.IsZero() != (!waits || x.Cause == CauseCancelling) {
			t.Errorf("%s, and the next attempt is due at %v", x.Cause, x.Next)
		}
		checkWords(t, x)
	})
}

// drawStanding draws a delivery with a log as the platform writes them.
func drawStanding(t *rapid.T, e EventID, at time.Time) *Standing {
	s := &Standing{Delivery: Delivery{ID: DeliveryID{e, 1}}}
	outcomes := []Outcome{200, 204, 301, 400, 404, 429, 500, 503, 700, ReadTimeOut, ConnectionRefused, Fallback, DNSForbidden, Delegate, NeedInstantRetry, TooManyRequests, -99}
	for range rapid.IntRange(0, 8).Draw(t, "rows") {
		at = at.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Minute)).Draw(t, "after")))
		a := Attempt{Delivery: s.ID, Started: at, Retry: s.Tries}
		switch {
		case s.State != Waiting:
			a.Kind, a.Detail = KindResend, `asked for with operator key "x" (k)`
			s.Delivery = Delivery{ID: s.ID, Due: at}
		case rapid.IntRange(0, 9).Draw(t, "cancel") == 0:
			a.Kind, a.Detail = KindCancel, "the subscription was disabled"
			s.State, s.Due = Cancelled, time.Time{}
		default:
			a.Outcome, a.Detail = rapid.SampledFrom(outcomes).Draw(t, "outcome"), rapid.SampledFrom([]string{"", "it did not work"}).Draw(t, "detail")
			s.Delivery = s.After(a.Outcome, at, DefaultSchedule())
		}
		a.State, a.Next = s.State, s.Due
		s.Log = append(s.Log, a)
		s.Last = &s.Log[len(s.Log)-1]
	}
	return s
}

// checkWords looks for what spoils a sentence.
func checkWords(t interface{ Errorf(string, ...any) }, x Explanation) {
	texts := []string{x.Text}
	if x.Remedy != "" {
		texts = append(texts, x.Remedy)
	}
	for _, text := range texts {
		for _, bad := range []string{"  ", "..", " .", ":.", " ,", "%!", "()", "0001-01-01", "\n"} {
			if strings.Contains(text, bad) {
				t.Errorf("%q in: %s", bad, text)
			}
		}
		if !strings.HasSuffix(text, ".") || strings.ToUpper(text[:1]) != text[:1] || strings.Count(text, "(") != strings.Count(text, ")") {
			t.Errorf("no whole sentences: %q", text)
		}
	}
}

// What happens between two attempts, or should not happen at all, is explained as well.
func TestRareDeliveries(t *testing.T) {
	accepted := time.UnixMilli(946684800000)
	row := func(o Outcome, detail string) Attempt {
		return Attempt{Outcome: o, Detail: detail, Started: accepted.Add(time.Second), Target: Target{URL: "https://hooks.example/x?secret=1"}}
	}
	for name, c := range map[string]struct {
		edit func(c *Case)
		want Cause
		says string
	}{
		"cut off by a stop": {func(c *Case) { c.Standing.Log = []Attempt{row(Delegate, "cut off, because this worker is leaving")} }, CauseFirst,
			"The event was accepted 1 minute ago, and its first attempt is under way or about to start. One was cut off when the platform was stopped, which does not count."},
		"millions before it": {func(c *Case) { c.Place.Ahead, c.Lane.PerSecond = MaxAhead, 5 }, CauseRate,
			"The first attempt has not been made yet: the endpoint gets at most 5 requests a second, and 1,000 or more other deliveries of this subscription are due before it."},
		"an outcome that nobody knows": {func(c *Case) { c.Standing.State, c.Standing.Log = Failed, []Attempt{row(-99, "")} }, CauseFailed,
			"The first attempt, at 2000-01-01 00:00:01 UTC, failed for good: it ended without an answer (-99). That is not tried again."},
		"a status that is none": {func(c *Case) { c.Standing.State, c.Standing.Log = Failed, []Attempt{row(700, "")} }, CauseFailed,
			"The first attempt, at 2000-01-01 00:00:01 UTC, failed for good: the endpoint https://hooks.example/x answered 700, which is no end of a request. That is not tried again."},
		"a state without its row": {func(c *Case) { c.Standing.State = Delivered }, CauseDelivered, "The event was delivered."},
		"a clock that was set back": {func(c *Case) { c.Standing.Due = accepted.Add(2 * time.Minute) }, CauseRetry,
			"The first attempt is due at 2000-01-01 00:02:00 UTC, in 1 minute."},
		"an event from the future": {func(c *Case) {
			c.Event.TS = accepted.Add(time.Hour)
			c.Standing.State, c.Standing.Log = Delivered, []Attempt{row(204, "")}
		}, CauseDelivered, "The event was delivered at 2000-01-01 00:00:01 UTC, with the first attempt: the endpoint https://hooks.example/x answered 204."},
		"a subscription of which nothing is known": {func(c *Case) { c.Subscription, c.App = nil, nil }, CauseCancelling,
			"The delivery is about to be cancelled, for the subscription was deleted."},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.event.ID, w.event.TS = EventID(FirstID(accepted)), accepted
			x := &Case{Event: &w.event, Type: &w.typ, Subscription: &w.sub, App: &w.app, Standing: &Standing{Delivery: Delivery{ID: DeliveryID{w.event.ID, 1}}}}
			c.edit(x)
			if n := len(x.Standing.Log); n > 0 {
				x.Standing.Last = &x.Standing.Log[n-1]
			}
			got := Explain(x, accepted.Add(time.Minute))
			if got.Cause != c.want || got.Text != c.says {
				t.Errorf("%s: %s\nwant %s: %s", got.Cause, got.Text, c.want, c.says)
			}
			checkWords(t, got)
		})
	}
}

// Each outcome has a remedy, and none is for an outcome that there is not.
func TestOutcomesHaveRemedies(t *testing.T) {
	for o := ReadTimeOut; o >= TooManyRequests; o-- {
		if _, ok := mends[o]; ok == (o.Retry() == AtOnce) {
			t.Errorf("%v is tried again: %v; there is a remedy: %v", o, o.Retry(), ok)
		}
	}
	for o := range mends {
		if o.OK() || o < TooManyRequests || o > 599 {
			t.Errorf("a remedy for %v", o)
		}
	}
}

// Those whose app has to do with the event and who list its type are nearer than others.
func TestNearMisses(t *testing.T) {
	w := newWorld()
	d := w.directory()
	put := func(k SubscriptionKey, edit func(*Subscription)) {
		s := w.sub
		s.Key = k
		edit(&s)
		d.Apply(Change{Subscriptions: []*Subscription{&s}})
	}
	d.Apply(Change{Apps: []*App{{ID: "stranger", Account: "other", Scopes: w.app.Scopes}, {ID: "off", Account: "acme", Disabled: true}}})
	put(2, func(s *Subscription) { s.State = Pending })
	put(3, func(s *Subscription) { s.Events = []string{"meeting.ended"} })
	put(4, func(s *Subscription) { s.App = "stranger" })
	put(5, func(s *Subscription) { s.App, s.State = "stranger", Disabled })
	put(6, func(s *Subscription) { s.App, s.Events = "stranger", nil })
	put(7, func(s *Subscription) { s.App = "off" })
	put(8, func(s *Subscription) { s.Subscribers = nil })
	got := d.NearMisses(&w.event, &w.typ, []SubscriptionKey{1})
	want := []Miss{{1, 2}, {1, 8}, {2, 3}, {2, 4}, {2, 7}, {3, 5}, {4, 6}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "less than 0.1 ms", 99 * time.Microsecond: "less than 0.1 ms", 100 * time.Microsecond: "0.1 ms", 1234 * time.Microsecond: "1.2 ms",
		9999 * time.Microsecond: "10 ms", 312 * time.Millisecond: "312 ms", 999 * time.Millisecond: "999 ms", time.Second: "1 second",
		1049 * time.Millisecond: "1 second", 2500 * time.Millisecond: "2.5 seconds", 59 * time.Second: "59 seconds", time.Minute: "1 minute",
		61 * time.Second: "1 minute 1 second", 85 * time.Minute: "1 hour 25 minutes", 24 * time.Hour: "1 day", 50 * time.Hour: "2 days 2 hours",
		3*24*time.Hour + 59*time.Minute: "3 days",
	} {
		if got := span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int]string{1: "first", 4: "fourth", 10: "tenth", 11: "11th", 12: "12th", 21: "21st", 22: "22nd", 23: "23rd", 24: "24th", 111: "111th", 121: "121st"} {
		if got := nth(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int]string{0: "0 things", 1: "1 thing", 999: "999 things", 1000: "1,000 things", 1234567: "1,234,567 things"} {
		if got := count(n, "thing", "things"); got != want {
			t.Errorf("%d are %q, want %q", n, got, want)
		}
	}
	for ids, want := range map[string]string{"a": "thing a", "a b": "things a and b", "a b c": "things a, b and c", "a b c d e": "things a, b, c and 2 more"} {
		if got := few(strings.Fields(ids), "thing", "things"); got != want {
			t.Errorf("%s are %q, want %q", ids, got, want)
		}
	}
	for id, want := range map[string]string{"acme": "acme", "a.b": "a.b", "a.": `"a."`, "": `""`, "is it": `"is it"`, "a\u202eb": `"a\u202eb"`, "a\x1b[31m": `"a\x1b[31m"`} {
		if got := name(id); got != want {
			t.Errorf("%q is %s, want %s", id, got, want)
		}
	}
	for raw, want := range map[string]string{"https://a.b/c?token=x": "https://a.b/c", "https://a.b": "https://a.b", ":": `":"`} {
		if got := place(raw); got != want {
			t.Errorf("%s is %s, want %s", raw, got, want)
		}
	}
}
