package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/memnet"
	"github.com/switchhook/switchhook/internal/rounds"
	"github.com/switchhook/switchhook/webhook"
)

// asked is a platform in a bubble of which somebody asks why. It has a customer, and a
// carrier with an app that has a subscription named numbers to blue.test.
type asked struct {
	*platform
	net  memnet.Net
	blue *receiver
	m    *manage.Manifest
}

// receiver is an endpoint that answers an event with the status that is its CNAM, if
// that is a number, with nothing if that is hang, and with 204 otherwise. While it is
// off, it answers everything with 503, and while it hangs, nothing but challenges.
type receiver struct {
	mu         sync.Mutex
	off, hangs bool
	challenges []string // their request ids
}

func (e *receiver) set(off bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.off = off
}

func (e *receiver) hang() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hangs = true
}

var cnamStatus = regexp.MustCompile(`"cnam":"([0-9]{3})"`)

func (e *receiver) handler(t testing.TB) http.Handler {
	t.Helper()
	known, err := webhook.New(webhook.Config{Secrets: []string{secretToken}})
	must(t, err)
	next := known.Handler(func(context.Context, *webhook.Event) error { return nil })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read request: %v", err)
		}
		e.mu.Lock()
		off, hangs := e.off, e.hangs || bytes.Contains(body, []byte(`"cnam":"hang"`))
		if bytes.Contains(body, []byte(webhook.EventURLValidation)) {
			hangs = false
			e.challenges = append(e.challenges, r.Header.Get(webhook.HeaderRequestID))
		}
		e.mu.Unlock()
		status := 0
		if m := cnamStatus.FindSubmatch(body); m != nil {
			status, _ = strconv.Atoi(string(m[1]))
		}
		switch {
		case off:
			w.WriteHeader(http.StatusServiceUnavailable)
		case hangs:
			<-r.Context().Done()
		case status != 0:
			w.WriteHeader(status)
		default:
			r.Body = io.NopCloser(bytes.NewReader(body))
			next.ServeHTTP(w, r)
		}
	})
}

func newAsked(t *testing.T, o options) *asked {
	t.Helper()
	w := &asked{blue: &receiver{}}
	w.net.Handle(t, "blue.test", w.blue.handler(t))
	o.net = &w.net
	if o.schedule == nil {
		o.schedule = hook.DefaultSchedule()
	}
	w.platform = newPlatform(t, o)
	w.m = manifest(to("numbers", "http://blue.test/hook?token=t"))
	w.apply(w.m)
	w.later(time.Minute)
	return w
}

// later lets time pass and everything happen that is to happen meanwhile.
func (w *asked) later(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// change edits the manifest and applies it.
func (w *asked) change(edit func(a *manage.App)) {
	w.t.Helper()
	edit(&w.m.Apps[0])
	w.apply(w.m)
}

// sent publishes an event, lets a second pass, and returns its id.
func (w *asked) sent(cnamOfIt string) string {
	w.t.Helper()
	id := w.publish(cnam(cnamOfIt)).Event
	w.later(time.Second)
	return id
}

func (w *asked) validate(s Subscription) {
	w.t.Helper()
	w.want(http.StatusOK, "POST", operator+"/subscriptions/"+s.ID+"/validate", "")
}

// why asks about one subscription.
func (w *asked) why(event, subscription string) Explanation {
	w.t.Helper()
	v := get[Explained](w.platform, operator+"/events/"+event+"/explain?event_subscription_id="+subscription)
	if len(v.Subscriptions) != 1 {
		w.t.Fatalf("%d answers about one subscription: %+v", len(v.Subscriptions), v)
	}
	return v.Subscriptions[0]
}

// Every reason why an event is there or not, each brought about by what brings it about,
// in words that can be read aloud.
func TestWhy(t *testing.T) {
	var all strings.Builder
	seen := map[hook.Cause]bool{}
	for _, c := range whyCases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newAsked(t, c.options)
				s := w.subscription("numbers")
				event := c.do(w, &s)
				x := w.why(event, s.ID)
				if seen[x.Cause] = true; x.Cause != c.want {
					t.Errorf("the cause is %s, want %s: %s", x.Cause, c.want, x.Text)
				}
				if x.Owed != c.want.Owed() || x.Owed != (x.DeliveryID != "") || x.Owed != (x.State != nil) || x.AsOf != c.asOf {
					t.Errorf("%+v", x)
				}
				fmt.Fprintf(&all, "== %s\n%s\n\n", c.name, w.nameIDs(x.words()))
			})
		})
	}
	for _, c := range hook.Causes() {
		if !seen[c] {
			t.Errorf("nothing brings about %s", c)
		}
	}
	golden(t, "explain.golden", all.String())
}

// words writes an answer as it is read.
func (x Explanation) words() string {
	text := string(x.Cause)
	if x.AsOf != "" {
		text += ", " + string(x.AsOf)
	}
	if !time.Time(x.Next).IsZero() {
		text += ", next " + time.Time(x.Next).UTC().Format("15:04:05.000")
	}
	text += "\n" + x.Text
	if x.Remedy != "" {
		text += "\n> " + x.Remedy
	}
	return text
}

var deliveryKey = regexp.MustCompile(`([0-9a-f]{8}_[0-9a-f]{4}_[0-9a-f]{4})_[0-9a-f]{4}_[0-9a-f]{12}`)

// nameIDs writes names in the place of ids that are random.
func (w *asked) nameIDs(text string) string {
	for _, s := range w.db.Directory().Subscriptions("") {
		text = strings.ReplaceAll(text, s.ID, "SUBSCRIPTION")
	}
	for _, a := range w.answers { // also of those that are gone
		for _, id := range regexp.MustCompile(`"(?:app|event_subscription)_id":"([^"]+)"`).FindAllStringSubmatch(a.body, -1) {
			if strings.Contains(id[0], "app_id") {
				text = strings.ReplaceAll(text, id[1], "APP")
			} else {
				text = strings.ReplaceAll(text, id[1], "SUBSCRIPTION")
			}
		}
	}
	return deliveryKey.ReplaceAllString(text, "${1}_KEY")
}

// publishOften publishes events in the same instant and returns their ids.
func (w *asked) publishOften(cnams ...string) (ids []string) {
	w.t.Helper()
	for _, name := range cnams {
		ids = append(ids, w.publish(cnam(name)).Event)
	}
	return ids
}

func (w *asked) disable(s Subscription) {
	w.t.Helper()
	w.want(http.StatusNoContent, "POST", operator+"/subscriptions/"+s.ID+"/disable", "")
}

func (w *asked) remove(s Subscription) {
	w.t.Helper()
	w.want(http.StatusNoContent, "DELETE", operator+"/subscriptions/"+s.ID, "")
}

var whyCases = []struct {
	name    string
	options options
	want    hook.Cause
	asOf    hook.AsOf
	// do brings it about and returns the event's id.
	do func(w *asked, s *Subscription) string
}{
	{name: "delivered at once", want: hook.CauseDelivered, do: func(w *asked, _ *Subscription) string { return w.sent("ACME") }},
	{name: "delivered after failures", want: hook.CauseDelivered, do: func(w *asked, _ *Subscription) string {
		w.blue.set(true)
		id := w.sent("ACME")
		w.later(10 * time.Minute)
		w.blue.set(false)
		w.later(time.Hour)
		return id
	}},
	{name: "delivered, and made again", want: hook.CauseDelivered, do: func(w *asked, s *Subscription) string {
		id := w.sent("ACME")
		w.later(time.Hour)
		w.want(http.StatusAccepted, "POST", operator+"/deliveries/"+w.deliveryOf(id, *s).ID+"/resend", "")
		w.later(time.Second)
		return id
	}},
	{name: "delivered to the development endpoint", want: hook.CauseDelivered, do: func(w *asked, _ *Subscription) string {
		w.net.Handle(w.t, "dev.test", (&receiver{}).handler(w.t))
		w.change(func(a *manage.App) {
			a.State, a.Subscriptions[0].Development = "development", "http://dev.test/hook"
		})
		return w.sent("ACME")
	}},
	{name: "delivered, and the subscription deleted since", want: hook.CauseDelivered, do: func(w *asked, s *Subscription) string {
		id := w.sent("ACME")
		w.later(90 * time.Minute)
		w.remove(*s)
		return id
	}},

	{name: "the first attempt is under way", want: hook.CauseFirst, do: func(w *asked, _ *Subscription) string { return w.sent("hang") }},
	{name: "the first attempt failed", want: hook.CauseRetry, do: func(w *asked, _ *Subscription) string { return w.sent("503") }},
	{name: "two attempts failed", want: hook.CauseRetry, do: func(w *asked, _ *Subscription) string {
		id := w.sent("hang")
		w.later(2 * time.Second) // until the endpoint's time is over
		w.net.Drop("blue.test")
		w.later(6 * time.Minute)
		return id
	}},
	{name: "the second attempt is under way", want: hook.CauseRetry, do: func(w *asked, _ *Subscription) string {
		id := w.sent("hang")
		w.later(5*time.Minute + 3*time.Second)
		return id
	}},
	{name: "made again, and under way", want: hook.CauseAgain, do: func(w *asked, s *Subscription) string {
		id := w.sent("400")
		w.blue.hang()
		w.want(http.StatusAccepted, "POST", operator+"/deliveries/"+w.deliveryOf(id, *s).ID+"/resend", "")
		w.later(time.Second)
		return id
	}},
	{name: "made again, and failed again", want: hook.CauseRetry, do: func(w *asked, s *Subscription) string {
		id := w.sent("400")
		w.blue.set(true)
		w.later(time.Hour)
		w.want(http.StatusAccepted, "POST", operator+"/deliveries/"+w.deliveryOf(id, *s).ID+"/resend", "")
		w.later(time.Minute)
		return id
	}},
	{name: "behind others", want: hook.CauseBacklog, do: func(w *asked, _ *Subscription) string {
		w.change(func(a *manage.App) { a.Subscriptions[0].MaxInFlight = 2 })
		ids := w.publishOften("hang", "hang", "ACME", "ACME")
		w.later(time.Second)
		return ids[3]
	}},
	{name: "nothing before it, but no room yet", want: hook.CauseBacklog, do: func(w *asked, _ *Subscription) string {
		w.change(func(a *manage.App) { a.Subscriptions[0].MaxInFlight = 1 })
		ids := w.publishOften("hang", "ACME")
		w.later(time.Second)
		return ids[1]
	}},
	{name: "held back by the rate limit", want: hook.CauseRate, do: func(w *asked, _ *Subscription) string {
		w.change(func(a *manage.App) { a.Subscriptions[0].MaxPerSecond = 0.25 })
		ids := w.publishOften("a", "b", "c", "d")
		w.later(time.Second)
		return ids[3]
	}},
	{name: "first in the rate limit", want: hook.CauseRate, do: func(w *asked, _ *Subscription) string {
		w.change(func(a *manage.App) { a.Subscriptions[0].MaxPerSecond = 0.25 })
		ids := w.publishOften("a", "b")
		w.later(time.Second)
		return ids[1]
	}},
	{name: "a retry held back by the rate limit", want: hook.CauseRate, do: func(w *asked, _ *Subscription) string {
		w.change(func(a *manage.App) { a.Subscriptions[0].MaxPerSecond = 0.01 })
		id := w.sent("503")
		w.later(5*time.Minute - 2*time.Second)
		w.publishOften("a")
		w.later(10 * time.Second)
		return id
	}},
	{name: "not sent, because the endpoint is spared", want: hook.CauseSpared, do: func(w *asked, _ *Subscription) string {
		w.net.Drop("blue.test")
		w.publishOften(slices.Repeat([]string{"x"}, 20)...)
		w.later(time.Second)
		return w.sent("ACME")
	}},
	{name: "the endpoint is spared", want: hook.CauseSpared, do: func(w *asked, _ *Subscription) string {
		w.net.Drop("blue.test")
		w.publishOften(slices.Repeat([]string{"x"}, 20)...)
		w.later(time.Second)
		// More than are put off in a moment.
		ids := w.publishOften(slices.Repeat([]string{"x"}, 50)...)
		synctest.Wait()
		return ids[49]
	}},
	{name: "no connection to spare", options: options{connections: 1}, want: hook.CauseConnections, do: func(w *asked, _ *Subscription) string {
		green := &receiver{}
		w.net.Handle(w.t, "green.test", green.handler(w.t))
		other := to("other", "http://green.test/hook")
		other.Events = []string{"number_management.peering_number_emergency_address_updated"}
		w.change(func(a *manage.App) { a.Subscriptions = append(a.Subscriptions, other) })
		green.hang()
		w.publish(`{"event":"` + other.Events[0] + `","payload":{"account_id":"customer","object":{"carrier_code":1,"phone_numbers":["+14155550132"]}}}`)
		id := w.publish(cnam("ACME")).Event
		w.later(1200 * time.Millisecond)
		return id
	}},
	{name: "about to be cancelled, for it was disabled", options: options{idle: true}, want: hook.CauseCancelling, do: func(w *asked, s *Subscription) string {
		id := w.sent("ACME")
		w.disable(*s)
		return id
	}},
	{name: "about to be cancelled, for it was deleted", options: options{idle: true}, want: hook.CauseCancelling, do: func(w *asked, s *Subscription) string {
		id := w.sent("ACME")
		w.remove(*s)
		return id
	}},
	{name: "about to be cancelled, for its app was disabled", options: options{idle: true}, want: hook.CauseCancelling, do: func(w *asked, _ *Subscription) string {
		id := w.sent("ACME")
		w.change(func(a *manage.App) { a.Disabled = true })
		return id
	}},

	{name: "refused for good", want: hook.CauseFailed, do: func(w *asked, _ *Subscription) string { return w.sent("404") }},
	{name: "refused because of too many", want: hook.CauseFailed, do: func(w *asked, _ *Subscription) string { return w.sent("429") }},
	{name: "redirected", want: hook.CauseFailed, do: func(w *asked, _ *Subscription) string { return w.sent("301") }},
	{name: "refused after a failure", want: hook.CauseFailed, do: func(w *asked, _ *Subscription) string {
		w.blue.set(true)
		id := w.sent("418")
		w.blue.set(false)
		w.later(time.Hour)
		return id
	}},
	{name: "refused, and the app disabled since", want: hook.CauseFailed, do: func(w *asked, _ *Subscription) string {
		id := w.sent("400")
		w.change(func(a *manage.App) { a.Disabled = true })
		return id
	}},
	{name: "exhausted", want: hook.CauseExhausted, do: func(w *asked, _ *Subscription) string {
		id := w.sent("500")
		w.later(50 * time.Minute)
		w.net.Drop("blue.test")
		w.later(time.Hour)
		return id
	}},
	{name: "exhausted with the only attempt", options: options{schedule: hook.Schedule{}}, want: hook.CauseExhausted, do: func(w *asked, s *Subscription) string {
		id := w.sent("500")
		w.disable(*s)
		return id
	}},
	{name: "cancelled, for the subscription was disabled", want: hook.CauseCancelled, do: func(w *asked, s *Subscription) string {
		id := w.sent("500")
		w.later(6 * time.Minute)
		w.disable(*s)
		w.later(time.Second)
		return id
	}},
	{name: "cancelled, for the app was disabled, and enabled since", want: hook.CauseCancelled, do: func(w *asked, _ *Subscription) string {
		id := w.sent("500")
		w.change(func(a *manage.App) { a.Disabled = true })
		w.later(time.Second)
		w.change(func(a *manage.App) { a.Disabled = false })
		return id
	}},
	{name: "cancelled, for the subscription was deleted", want: hook.CauseCancelled, do: func(w *asked, s *Subscription) string {
		w.change(func(a *manage.App) { a.Subscriptions[0].MaxInFlight = 1 })
		ids := w.publishOften("hang", "ACME")
		w.remove(*s)
		w.later(5 * time.Second)
		return ids[1]
	}},

	{name: "not subscribed to the type", want: hook.CauseNotSubscribed, asOf: hook.ThenAndNow, do: func(w *asked, _ *Subscription) string {
		w.change(func(a *manage.App) {
			a.Subscriptions[0].Events = []string{"number_management.peering_number_emergency_address_updated"}
		})
		return w.sent("ACME")
	}},
	{name: "disabled then, and not subscribed to the type now", want: hook.CauseDisabled, asOf: hook.OnlyThen, do: func(w *asked, s *Subscription) string {
		w.disable(*s)
		id := w.sent("ACME")
		w.later(time.Hour)
		w.change(func(a *manage.App) {
			a.Subscriptions[0].Events = []string{"number_management.peering_number_emergency_address_updated"}
		})
		return id
	}},
	{name: "disabled by the operator", want: hook.CauseDisabled, asOf: hook.ThenAndNow, do: func(w *asked, s *Subscription) string {
		w.disable(*s)
		w.later(time.Hour)
		return w.sent("ACME")
	}},
	{name: "disabled after rounds", want: hook.CauseDisabled, asOf: hook.ThenAndNow, do: func(w *asked, s *Subscription) string {
		w.byHand(s)
		w.keepRounds(19 * 24 * time.Hour)
		return w.sent("ACME")
	}},
	{name: "disabled now and pending then", want: hook.CauseNotValidated, asOf: hook.OnlyThen, do: func(w *asked, s *Subscription) string {
		w.pending(s)
		id := w.sent("ACME")
		w.later(time.Hour)
		w.disable(*s)
		return id
	}},
	{name: "no carrier, and disabled since", want: hook.CauseOtherCarrier, asOf: hook.ThenAndNow, do: func(w *asked, s *Subscription) string {
		w.change(func(a *manage.App) { a.CarrierCodes = nil })
		id := w.sent("ACME")
		w.later(time.Hour)
		w.disable(*s)
		return id
	}},
	{name: "never proven", want: hook.CauseNotValidated, asOf: hook.ThenAndNow, do: func(w *asked, s *Subscription) string {
		w.pending(s)
		return w.sent("ACME")
	}},
	{name: "the development endpoint is not proven", want: hook.CauseNotValidated, asOf: hook.ThenAndNow, do: func(w *asked, s *Subscription) string {
		w.net.Handle(w.t, "dev.test", http.NotFoundHandler())
		w.remove(*s)
		w.change(func(a *manage.App) {
			a.State, a.Subscriptions[0].Development = "development", "http://dev.test/hook"
		})
		*s = w.subscription("numbers")
		w.later(time.Minute)
		return w.sent("ACME")
	}},
	{name: "the app is disabled", want: hook.CauseAppDisabled, asOf: hook.ThenAndNow, do: func(w *asked, _ *Subscription) string {
		w.change(func(a *manage.App) { a.Disabled = true })
		w.later(time.Hour)
		return w.sent("ACME")
	}},
	{name: "no carrier, and the app disabled since", want: hook.CauseOtherCarrier, asOf: hook.ThenAndNow, do: func(w *asked, _ *Subscription) string {
		w.change(func(a *manage.App) { a.CarrierCodes = nil })
		id := w.sent("ACME")
		w.change(func(a *manage.App) { a.Disabled = true })
		return id
	}},
	{name: "no scopes", want: hook.CauseMissingScope, asOf: hook.ThenAndNow, do: func(w *asked, _ *Subscription) string {
		w.unentitle()
		return w.sent("ACME")
	}},
	{name: "another carrier", want: hook.CauseOtherCarrier, asOf: hook.ThenAndNow, do: func(w *asked, _ *Subscription) string {
		w.change(func(a *manage.App) { a.CarrierCodes = []int32{7, 3457, 4021, 5, 6} })
		return w.sent("ACME")
	}},
	{name: "no carrier", want: hook.CauseOtherCarrier, asOf: hook.ThenAndNow, do: func(w *asked, _ *Subscription) string {
		w.change(func(a *manage.App) { a.CarrierCodes = nil })
		return w.sent("ACME")
	}},
	{name: "another account's event", want: hook.CauseNotInstalled, asOf: hook.ThenAndNow, do: func(w *asked, _ *Subscription) string {
		return w.sentOrder("customer", "")
	}},
	{name: "an account of a strange name", want: hook.CauseNotInstalled, asOf: hook.ThenAndNow, do: func(w *asked, _ *Subscription) string {
		return w.sentOrder("x is fine\u202e. All is\nwell", "")
	}},
	{name: "nobody is subscribed any more", want: hook.CauseNoSubscriber, asOf: hook.ThenAndNow, do: func(w *asked, s *Subscription) string {
		w.edit(*s, func(x *hook.Subscription) { x.Subscribers, x.Source = nil, hook.SourceOpenAPI })
		return w.sent("ACME")
	}},
	{name: "other accounts", want: hook.CauseOtherAccount, asOf: hook.ThenAndNow, do: func(w *asked, _ *Subscription) string {
		w.m.Apps[0].Installations = []manage.Installation{{Account: "customer"}}
		w.m.Apps[0].Subscriptions[0].Account = "carrier"
		return w.sentOrder("customer", "")
	}},
	{name: "other accounts, of a master", want: hook.CauseOtherAccount, asOf: hook.ThenAndNow, do: func(w *asked, _ *Subscription) string {
		w.m.Apps[0].Installations = []manage.Installation{{Account: "customer"}}
		w.m.Apps[0].Subscriptions[0].Account = "carrier"
		w.m.Apps[0].Subscriptions[0].Scope = "master_account"
		return w.sentOrder("customer", "")
	}},
	{name: "other users", want: hook.CauseOtherUsers, asOf: hook.ThenAndNow, do: func(w *asked, _ *Subscription) string {
		w.m.Apps[0].Subscriptions[0].Scope, w.m.Apps[0].Subscriptions[0].Users = "user", []string{"ann", "bob"}
		return w.sentOrder("carrier", `"user_ids":["zoe"],"user_group_ids":["sales"],`)
	}},
	{name: "users, and the event names none", want: hook.CauseOtherUsers, asOf: hook.ThenAndNow, do: func(w *asked, _ *Subscription) string {
		w.m.Apps[0].Subscriptions[0].Scope, w.m.Apps[0].Subscriptions[0].Users = "user", []string{"ann", "bob", "cid", "dan", "eve"}
		return w.sentOrder("carrier", "")
	}},

	{name: "made later", want: hook.CauseCreatedLater, do: func(w *asked, s *Subscription) string {
		w.remove(*s)
		id := w.sent("ACME")
		w.later(150 * time.Minute)
		w.apply(w.m)
		*s = w.subscription("numbers")
		return id
	}},
	{name: "made in the same instant", want: hook.CauseCreatedLater, do: func(w *asked, s *Subscription) string {
		w.remove(*s)
		id := w.publish(cnam("ACME")).Event
		w.apply(w.m)
		*s = w.subscription("numbers")
		return id
	}},
	{name: "made later, and out of scope", want: hook.CauseCreatedLater, do: func(w *asked, s *Subscription) string {
		w.remove(*s)
		id := w.sent("ACME")
		w.change(func(a *manage.App) { a.CarrierCodes = nil })
		*s = w.subscription("numbers")
		return id
	}},
	{name: "made and deleted later", want: hook.CauseCreatedLater, do: func(w *asked, s *Subscription) string {
		w.remove(*s)
		id := w.sent("ACME")
		w.apply(w.m)
		*s = w.subscription("numbers")
		w.later(time.Minute)
		w.remove(*s)
		return id
	}},
	{name: "not proven then", want: hook.CauseNotValidated, asOf: hook.OnlyThen, do: func(w *asked, s *Subscription) string {
		w.pending(s)
		id := w.sent("ACME")
		w.later(time.Hour)
		w.validate(*s)
		return id
	}},
	{name: "disabled then", want: hook.CauseDisabled, asOf: hook.OnlyThen, do: func(w *asked, s *Subscription) string {
		w.disable(*s)
		w.later(time.Hour)
		id := w.sent("ACME")
		w.later(time.Hour)
		w.validate(*s)
		return id
	}},
	{name: "disabled after rounds then", want: hook.CauseDisabled, asOf: hook.OnlyThen, do: func(w *asked, s *Subscription) string {
		w.byHand(s)
		w.keepRounds(19 * 24 * time.Hour)
		id := w.sent("ACME")
		w.blue.set(false)
		w.validate(*s)
		return id
	}},
	{name: "scopes were given since", want: hook.CauseMissingScope, asOf: hook.OnlyThen, do: func(w *asked, _ *Subscription) string {
		w.unentitle()
		id := w.sent("ACME")
		w.later(time.Hour)
		w.change(func(a *manage.App) { a.Scopes = []string{cnamScope} })
		return id
	}},
	{name: "the carrier was given since", want: hook.CauseOtherCarrier, asOf: hook.OnlyThen, do: func(w *asked, _ *Subscription) string {
		w.change(func(a *manage.App) { a.CarrierCodes = []int32{7} })
		id := w.sent("ACME")
		w.later(time.Minute)
		w.change(func(a *manage.App) { a.CarrierCodes = []int32{1, 3457} })
		return id
	}},
	{name: "the event type was added since", want: hook.CauseNotSubscribed, asOf: hook.OnlyThen, do: func(w *asked, _ *Subscription) string {
		w.change(func(a *manage.App) {
			a.Subscriptions[0].Events = []string{"number_management.peering_number_emergency_address_updated"}
		})
		id := w.sent("ACME")
		w.later(time.Minute)
		w.change(func(a *manage.App) { a.Subscriptions[0].Events = append(a.Subscriptions[0].Events, cnamEvent) })
		return id
	}},
	{name: "the app was disabled, and is not any more", want: hook.CauseAppDisabled, asOf: hook.OnlyThen, do: func(w *asked, _ *Subscription) string {
		w.change(func(a *manage.App) { a.Disabled = true })
		w.later(time.Minute)
		id := w.sent("ACME")
		w.later(time.Minute)
		w.change(func(a *manage.App) { a.Disabled = false })
		w.later(time.Minute)
		w.change(func(a *manage.App) { a.Disabled = true })
		w.later(time.Minute)
		w.change(func(a *manage.App) { a.Disabled = false })
		return id
	}},
	{name: "the app was in another state", want: hook.CauseNotValidated, asOf: hook.OnlyThen, do: func(w *asked, s *Subscription) string {
		w.net.Handle(w.t, "dev.test", http.NotFoundHandler())
		w.remove(*s)
		w.change(func(a *manage.App) {
			a.State, a.Subscriptions[0].Development = "development", "http://dev.test/hook"
		})
		*s = w.subscription("numbers")
		w.later(time.Minute)
		id := w.sent("ACME")
		m := *w.m
		m.Apps = slices.Clone(m.Apps)
		m.Apps[0].State, m.Apps[0].Subscriptions = "production", nil
		w.apply(&m)
		w.want(http.StatusOK, "POST", operator+"/subscriptions/"+s.ID+"/validate", "")
		return id
	}},
	{name: "installed since", want: hook.CauseChangedSince, do: func(w *asked, _ *Subscription) string {
		id := w.sentOrder("customer", "")
		w.change(func(a *manage.App) {
			a.Installations = []manage.Installation{{Account: "carrier"}, {Account: "customer"}}
		})
		return id
	}},
	{name: "installed since, and disabled", want: hook.CauseChangedSince, do: func(w *asked, s *Subscription) string {
		id := w.sentOrder("customer", "")
		w.change(func(a *manage.App) {
			a.Installations = []manage.Installation{{Account: "customer", User: "ann"}, {Account: "customer"}}
		})
		w.disable(*s)
		return id
	}},
	{name: "uninstalled since", want: hook.CauseNotInstalled, asOf: hook.OnlyNow, do: func(w *asked, s *Subscription) string {
		w.m.Apps[0].Installations = []manage.Installation{{Account: "customer"}}
		w.m.Apps[0].Subscriptions[0].Account = "carrier"
		id := w.sentOrder("customer", "")
		w.change(func(a *manage.App) { a.Installations = []manage.Installation{} })
		return id
	}},
	{name: "disabled, and nobody knows how it was then", want: hook.CauseDisabled, asOf: hook.OnlyNow, do: func(w *asked, s *Subscription) string {
		w.byHand(s)
		w.edit(*s, func(x *hook.Subscription) { x.Subscribers = nil })
		id := w.sent("ACME")
		w.edit(*s, func(x *hook.Subscription) {
			x.State, x.StateReason, x.StateSince = hook.Disabled, "disabled by hand", time.Now()
		})
		return id
	}},
	{name: "more changes than can be looked through", want: hook.CauseOtherCarrier, asOf: hook.OnlyNow, do: func(w *asked, s *Subscription) string {
		w.change(func(a *manage.App) { a.CarrierCodes = nil })
		id := w.sent("ACME")
		for range auditEntries {
			w.want(http.StatusOK, "POST", operator+"/apps/"+s.App+"/secret_token", "{}")
		}
		return id
	}},
	{name: "something is different, and nobody knows what", want: hook.CauseNotOnRecord, do: func(w *asked, s *Subscription) string {
		w.edit(*s, func(x *hook.Subscription) { x.Events = []string{"none"} })
		id := w.sent("ACME")
		w.edit(*s, func(x *hook.Subscription) { x.Events = []string{cnamEvent} })
		return id
	}},
	{name: "deleted before", want: hook.CauseDeletedBefore, do: func(w *asked, s *Subscription) string {
		w.remove(*s)
		w.later(26 * time.Hour)
		return w.sent("ACME")
	}},
	{name: "deleted with its app since", want: hook.CauseDeletedSince, do: func(w *asked, s *Subscription) string {
		w.disable(*s)
		id := w.sent("ACME")
		w.later(time.Minute)
		w.want(http.StatusNoContent, "DELETE", operator+"/apps/"+s.App, "")
		return id
	}},
	{name: "disabled, and deleted since", want: hook.CauseDisabled, asOf: hook.ThenAndNow, do: func(w *asked, s *Subscription) string {
		w.disable(*s)
		id := w.sent("ACME")
		w.later(time.Minute)
		w.remove(*s)
		return id
	}},
	{name: "older than the log", want: hook.CauseExpired, do: func(w *asked, _ *Subscription) string {
		id := w.sent("ACME")
		w.later(8 * 24 * time.Hour)
		must(w.t, w.db.Expire(w.t.Context(), time.Now().Add(-7*24*time.Hour)))
		return id
	}},
	{name: "a challenge that was answered", want: hook.CauseChallenge, do: func(w *asked, _ *Subscription) string {
		return w.blue.challenges[0]
	}},
	{name: "a challenge that was not", want: hook.CauseChallenge, do: func(w *asked, s *Subscription) string {
		w.blue.set(true)
		w.validate(*s)
		return w.blue.challenges[1]
	}},
}

// pending makes the subscription anew while its endpoint does not prove itself; a little
// later it would.
func (w *asked) pending(s *Subscription) {
	w.t.Helper()
	w.remove(*s)
	w.blue.set(true)
	w.apply(w.m)
	w.blue.set(false)
	w.later(time.Minute)
	*s = w.subscription("numbers")
}

// unentitle takes the app's scopes and gives it another one.
func (w *asked) unentitle() {
	w.t.Helper()
	m := *w.m
	m.Apps = slices.Clone(m.Apps)
	m.Apps[0].Scopes, m.Apps[0].Subscriptions = []string{"number_management_numbers:write:admin"}, nil
	w.apply(&m)
}

// sentOrder adds an event type whose events are their account's, and publishes one, with
// more of routing than the account.
func (w *asked) sentOrder(account, routing string) string {
	w.t.Helper()
	document, err := os.ReadFile("../catalog/testdata/orders.yaml")
	must(w.t, err)
	w.want(http.StatusOK, "POST", operator+"/catalog", string(document))
	w.change(func(a *manage.App) {
		a.Scopes = append(a.Scopes, "order:read:created")
		a.Subscriptions[0].Events = append(a.Subscriptions[0].Events, "order.created")
	})
	raw, err := json.Marshal(account)
	must(w.t, err)
	id := w.publish(`{"event":"order.created","$routing":{` + routing + `"account_id":` + string(raw) + `},"payload":{"total":1}}`).Event
	w.later(time.Second)
	return id
}

// keepRounds keeps the rounds for a while in which the endpoint fails them.
func (w *asked) keepRounds(d time.Duration) {
	w.t.Helper()
	w.blue.set(true)
	ctx, stop := context.WithCancel(w.t.Context())
	k := rounds.New(w.db.Directory(), w.manager, rounds.Every, w.manager.Log)
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.Run(ctx)
	}()
	w.later(d)
	stop()
	<-done
}

// byHand puts a copy of the subscription beside it, of which nothing is on record, and
// whose id and rounds are the same each time.
func (w *asked) byHand(s *Subscription) {
	w.t.Helper()
	w.edit(*s, func(x *hook.Subscription) {
		x.ID, x.Name, x.StateSince = "AAAAAAAA1AAAAAAAAAAAAA", "by hand", time.Now()
		x.Key, _ = hook.KeyOf(x.ID)
	})
	*s = w.subscription("by hand")
}

// edit changes a subscription as nobody does: nothing of it is on record.
func (w *asked) edit(s Subscription, change func(*hook.Subscription)) {
	w.t.Helper()
	k, err := hook.KeyOf(s.ID)
	must(w.t, err)
	now, _ := w.db.Directory().Subscription(k)
	next := *now
	change(&next)
	must(w.t, w.db.Change(hook.Change{Subscriptions: []*hook.Subscription{&next}}, time.Now()))
}

// nearAndFar has subscriptions of which an event is owed to two, and others that are
// nearer and farther misses.
func nearAndFar(w *asked) {
	emergency := "number_management.peering_number_emergency_address_updated"
	sub := func(name string, edit ...func(*manage.Subscription)) manage.Subscription {
		s := to(name, "http://blue.test/"+name)
		for _, f := range edit {
			f(&s)
		}
		return s
	}
	w.m.Apps[0].Subscriptions = append(w.m.Apps[0].Subscriptions,
		sub("second"),
		sub("off", func(s *manage.Subscription) { s.Disabled = true }),
		sub("other type", func(s *manage.Subscription) { s.Events = []string{emergency} }),
		sub("other type, off", func(s *manage.Subscription) { s.Events, s.Disabled = []string{emergency}, true }),
	)
	w.m.Apps = append(w.m.Apps, manage.App{
		Name: "stranger", Account: "customer", SecretToken: secretToken, Scopes: []string{cnamScope},
		Subscriptions: []manage.Subscription{sub("stranger's", func(s *manage.Subscription) { s.Events, s.Disabled = []string{emergency}, true })},
	})
	w.apply(w.m)
	w.later(time.Minute)
}

// Of all subscriptions, those that are owed the event come first, then the others, the
// nearest misses first; whoever walks through pages sees the same, each once.
func TestWhyAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{})
		nearAndFar(w)
		id := w.sent("ACME")
		path := operator + "/events/" + id + "/explain"
		all := get[Explained](w.platform, path)
		var order []string
		for _, x := range all.Subscriptions {
			order = append(order, x.Name)
			if x.App == "" || x.AppName == "" || x.Subscription == "" {
				t.Errorf("%+v", x)
			}
		}
		slices.Sort(order[:2]) // these are in the order of their ids
		if want := []string{"numbers", "second", "off", "other type", "other type, off", "stranger's"}; !slices.Equal(order, want) {
			t.Errorf("the order is %q, want %q", order, want)
		}
		if all.Deliveries != 2 || all.Others != 4 || all.Next != "" || all.PageSize != 30 || all.Event != cnamEvent || all.Account != "customer" ||
			all.Text != "Event "+id+" (number_management.peering_number_cnam_updated) of account customer, carrier code 1, was accepted at 2000-01-01 00:02:00 UTC and is owed to 2 subscriptions." {
			t.Errorf("%+v", all)
		}
		var walked []Explanation
		for next, pages := "", 0; ; pages++ {
			p := get[Explained](w.platform, path+"?page_size=1&next_page_token="+next)
			walked = append(walked, p.Subscriptions...)
			if next = p.Next; next == "" {
				if pages != 5 {
					t.Errorf("%d pages with another one after them", pages)
				}
				break
			}
		}
		if !slices.EqualFunc(walked, all.Subscriptions, func(a, b Explanation) bool { return a.Subscription == b.Subscription && a.Text == b.Text }) {
			t.Errorf("page by page: %+v\nat once: %+v", walked, all.Subscriptions)
		}
		// The id of a delivery, which endpoints know as request id, names both.
		one := get[Explained](w.platform, operator+"/events/"+all.Subscriptions[0].DeliveryID+"/explain")
		if len(one.Subscriptions) != 1 || one.Subscriptions[0].Subscription != all.Subscriptions[0].Subscription || one.EventID != id {
			t.Errorf("%+v", one)
		}

		// An event that matched nobody.
		nobody := w.publish(strings.Replace(cnam("ACME"), `"carrier_code":1`, `"carrier_code":7`, 1)).Event
		v := get[Explained](w.platform, operator+"/events/"+nobody+"/explain")
		if v.Deliveries != 0 || v.Others != 6 || len(v.Subscriptions) != 6 || v.Subscriptions[0].Cause != hook.CauseOtherCarrier ||
			v.Text != "Event "+nobody+" (number_management.peering_number_cnam_updated) of account customer, carrier code 7, was accepted at 2000-01-01 00:02:01 UTC and is owed to nobody. There are 6 subscriptions; those come first that came nearest." {
			t.Errorf("%+v", v)
		}
		// And where there is nobody at all.
		for _, a := range w.db.Directory().Apps() {
			w.want(http.StatusNoContent, "DELETE", operator+"/apps/"+a.ID, "")
		}
		v = get[Explained](w.platform, operator+"/events/"+w.publish(cnam("ACME")).Event+"/explain")
		if len(v.Subscriptions) != 0 || !strings.HasSuffix(v.Text, " and is owed to nobody: there are no subscriptions.") {
			t.Errorf("%+v", v)
		}
	})
}

// What cannot be explained is said to be so: faults in the question, ids of nothing, and
// ids that are to come.
func TestWhyNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{})
		id, s := w.sent("ACME"), w.subscription("numbers")
		delivery := w.deliveryOf(id, s).ID
		other := "AAAAAAAA1AAAAAAAAAAAAA"
		for query, fault := range map[string]string{
			"x/explain": "id", id[:17] + "/explain": "id", delivery + "0/explain": "id",
			id + "/explain?event_subscription_id=x":                    "event_subscription_id",
			delivery + "/explain?event_subscription_id=" + other:       "event_subscription_id",
			id + "/explain?page_size=0":                                "page_size",
			id + "/explain?page_size=301":                              "page_size",
			id + "/explain?next_page_token=x":                          "next_page_token",
			id + "/explain?next_page_token=" + strings.Repeat("A", 32): "next_page_token",
			id + "/explain?subscription=" + s.ID:                       "subscription",
		} {
			f := read[fault400](t, w.want(http.StatusBadRequest, "GET", operator+"/events/"+query, ""))
			if len(f.Errors) != 1 || f.Errors[0].Field != fault || f.Errors[0].Message == "" {
				t.Errorf("%s: %+v", query, f)
			}
		}
		for query, want := range map[string]string{
			id + "/explain?event_subscription_id=" + other: "Not found: subscription " + other + " is not known: there never was one, or it was deleted so long ago that the log does not name it any more",
			id + "_0000_000000000001/explain":              "Not found: subscription of this delivery is not known: there never was one, or it was deleted so long ago that the log does not name it any more",
			"00000000_0000_0001/explain":                   "Not found: event 00000000_0000_0001 was never accepted here: is the id complete, and of this platform?",
			"7fffffff_ffff_ffff/explain":                   "Not found: event 7fffffff_ffff_ffff cannot be: its id says that it was accepted at 2109-05-15T07:35:11Z, which is to come",
		} {
			if f := read[fault400](t, w.want(http.StatusNotFound, "GET", operator+"/events/"+query, "")); f.Message != want {
				t.Errorf("%s: %q, want %q", query, f.Message, want)
			}
		}
		// A subscription whose id begins like another one's is not that one.
		twin := s.ID[:20] + map[bool]string{true: "AA", false: "BA"}[!strings.HasSuffix(s.ID, "AA")]
		w.want(http.StatusNotFound, "GET", operator+"/events/"+id+"/explain?event_subscription_id="+twin, "")
		// A token is for one event only.
		nearAndFar(w)
		token := get[Explained](w.platform, operator+"/events/"+id+"/explain?page_size=1").Next
		w.want(http.StatusBadRequest, "GET", operator+"/events/"+w.sent("ACME")+"/explain?next_page_token="+token, "")

		// Once the log has been deleted up to somewhere, ids from before may have been ones.
		w.later(8 * 24 * time.Hour)
		must(t, w.db.Expire(t.Context(), time.Now().Add(-7*24*time.Hour)))
		v := get[Explained](w.platform, operator+"/events/00000000_0000_0001/explain")
		if v.Cause != hook.CauseExpired || len(v.Subscriptions) != 0 || v.Text == "" {
			t.Errorf("%+v", v)
		}
		if x := get[Explained](w.platform, operator+"/events/"+delivery+"/explain"); x.Cause != hook.CauseExpired || len(x.Subscriptions) != 1 || x.Subscriptions[0].Name != "numbers" {
			t.Errorf("%+v", x)
		}
	})
}

// An event whose type is not in the catalog any more is explained as far as that goes.
func TestWhyWithoutItsType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newAsked(t, options{})
		s := w.subscription("numbers")
		id := w.sentOrder("customer", "")
		w.want(http.StatusOK, "POST", operator+"/catalog", `{"openapi":"3.1.0","info":{"title":"Orders"},"webhooks":{"order.gone":{"post":{"requestBody":{}}}}}`)
		x := w.why(id, s.ID)
		if x.Cause != hook.CauseNotInstalled || x.AsOf != hook.OnlyNow || !strings.HasSuffix(x.Text, " The event type is not in the catalog any more, so nobody knows which scopes it takes.") {
			t.Errorf("%+v", x)
		}
	})
}

// Every cause is documented, and none that there is not.
func TestCausesAreDocumented(t *testing.T) {
	raw, err := os.ReadFile("../../docs/explain.md")
	must(t, err)
	var documented []string
	for line := range strings.Lines(string(raw)) {
		if cells := strings.Split(line, "|"); len(cells) == 4 {
			for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[1], -1) {
				documented = append(documented, m[1])
			}
		}
	}
	var causes []string
	for _, c := range hook.Causes() {
		causes = append(causes, string(c))
	}
	slices.Sort(causes)
	slices.Sort(documented)
	if !slices.Equal(causes, documented) {
		t.Errorf("documented are %q\nthere are %q", documented, causes)
	}
}
