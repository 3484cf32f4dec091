package manage_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/outbox"
)

const devURL2 = "https://dev.customer.example/hook"

// withTwo returns the manifest with a second endpoint for the subscription own.
func withTwo() *manage.Manifest {
	m := manifest()
	m.Apps[1].Subscriptions[1].Development = devURL2
	return m
}

// own returns the subscription own, and its endpoints.
func (w *world) own() *hook.Subscription { return w.subscription("own") }

// rounds holds n rounds of an endpoint of own.
func (w *world) rounds(n int, in hook.AppState) {
	w.t.Helper()
	for range n {
		must(w.t, w.Revalidate(context.Background(), w.own().ID, in))
	}
}

// mails returns the subjects of the mails in the outbox, the first first.
func (w *world) mails() (subjects []string) {
	w.t.Helper()
	all, err := w.db.Mails(context.Background(), 1000)
	must(w.t, err)
	for _, m := range all {
		subjects = append(subjects, m.Subject)
	}
	slices.Reverse(subjects)
	return subjects
}

// history returns what is remembered of the endpoints of own, the earliest first.
func (w *world) history() (lines []string) {
	w.t.Helper()
	all, err := w.db.Validations(context.Background(), w.own().Key, 1000)
	must(w.t, err)
	for _, v := range all {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", v.In, v.Occasion, v.State, v.Reason)))
	}
	slices.Reverse(lines)
	return lines
}

// Each endpoint is judged by its own rounds: one that fails six of them is disabled, and the
// other goes on as if nothing had happened. What is owed is called off if the one that was
// disabled is the one that serves.
func TestEndpointsAreJudgedApart(t *testing.T) {
	for _, app := range hook.AppStates() {
		for _, in := range hook.AppStates() {
			t.Run(fmt.Sprintf("%s of an app in %s", in, app), func(t *testing.T) {
				w := newWorld(t)
				m := withTwo()
				m.Apps[1].State = string(app)
				w.apply(m)
				before := *w.own()
				w.prober.breaks(before.At(in).URL, "down")
				w.prober.take()
				w.sender.take()
				other := hook.Production
				if in == other {
					other = hook.Development
				}
				for range hook.DisabledAfter {
					w.rounds(1, in)
					w.rounds(1, other)
				}
				s := w.own()
				if e := s.At(in); e.State != hook.Disabled || len(e.Failures) != 6 {
					t.Errorf("it is %+v", e)
				}
				if e := s.At(other); e.State != hook.Valid || e.Failures != nil || !e.StateSince.Equal(before.At(other).StateSince) || e.Checked.Equal(before.At(other).Checked) {
					t.Errorf("the other one is %+v, was %+v", e, before.At(other))
				}
				serves := in == app
				if off := len(w.sender.off) == 1; off != serves || (s.Generation == before.Generation+1) != serves {
					t.Errorf("called off is %v; the generation was %d and is %d", w.sender.off, before.Generation, s.Generation)
				}
				if got := w.mails(); len(got) != 3 || !strings.Contains(got[2], "disabled") || !strings.Contains(got[2], strings.Split(s.At(in).URL, "/")[2]) {
					t.Errorf("the mails are %q", got)
				}
				// No more of it, until somebody validates it.
				w.prober.take()
				w.unchanged(func() { w.rounds(3, in) })
				if got := w.prober.take(); got != nil || len(w.mails()) != 3 {
					t.Errorf("asked %q, and the mails are %q", got, w.mails())
				}
				w.prober.breaks(s.At(in).URL, "")
				_, err := w.Validate(t.Context(), operator, s.ID, in)
				must(t, err)
				if e := w.own().At(in); e.State != hook.Valid || e.Failures != nil {
					t.Errorf("validated it is %+v", e)
				}
			})
		}
	}
}

// Who validates an endpoint by hand learns whether it answers. An answer sets all back, a
// failure counts for nothing.
func TestValidateCountsNothing(t *testing.T) {
	w := newWorld(t)
	w.apply(withTwo())
	w.prober.breaks(ownURL, "down")
	w.rounds(3, hook.Production)
	before := *w.own()
	for range 10 {
		r, err := w.Validate(t.Context(), operator, before.ID, hook.Production)
		must(t, err)
		if r.OK || r.Reason != "down" {
			t.Errorf("%+v", r)
		}
	}
	if s := w.own(); s.State != hook.Failing || len(s.Failures) != 3 || !s.Checked.Equal(before.Checked) || s.Generation != before.Generation {
		t.Errorf("it is %+v, was %+v", s, before)
	}
	if got := w.mails(); len(got) != 1 {
		t.Errorf("the mails are %q", got)
	}
	w.prober.breaks(ownURL, "")
	_, err := w.Validate(t.Context(), operator, before.ID, hook.Production)
	must(t, err)
	w.prober.breaks(ownURL, "down")
	w.rounds(2, hook.Production)
	if got := w.mails(); len(got) != 2 {
		t.Errorf("after an answer two failures in a row are news again: %q", got)
	}
	want := slices.Concat([]string{"production change valid", "development change valid", "production round failing down", "production round failing down", "production round failing down"},
		slices.Repeat([]string{"production request failing down"}, 10), []string{"production request valid", "production round failing down", "production round failing down"})
	if got := w.history(); !slices.Equal(got, want) {
		t.Errorf("the history is\n%q, want\n%q", got, want)
	}
}

// The audit trail has who asked for a validation, and that the platform disabled an endpoint;
// not each round.
func TestValidationsInTheAuditTrail(t *testing.T) {
	w := newWorld(t)
	w.apply(withTwo())
	w.prober.breaks(devURL2, "down")
	w.rounds(6, hook.Development)
	_, err := w.Validate(t.Context(), operator, w.own().ID, hook.Development)
	must(t, err)
	trail, err := w.db.Audit(t.Context(), hook.AuditFilter{Subject: w.own().ID, Limit: 100})
	must(t, err)
	var got []string
	for _, e := range trail {
		got = append(got, fmt.Sprintf("%s %s %q", e.By, e.Action, e.Changes))
	}
	want := []string{
		`operator key "tests" (key) validate ["development endpoint: disabled -> disabled"]`,
		`the platform disable ["development endpoint: failing -> disabled"]`,
		`operator key "tests" (key) create []`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("the trail is\n%q, want\n%q", got, want)
	}
}

// What is not the endpoint's doing does not count against it, and says so to the keeper of
// the rounds, who tries again.
func TestNotTheEndpointsFault(t *testing.T) {
	for name, outcome := range map[string]hook.Outcome{
		"no connection to be had":      hook.NeedInstantRetry,
		"cut off":                      hook.Delegate,
		"a secret that is unreadable":  hook.AsyncError,
		"settings that are unreadable": hook.CannotGetCustomHeader,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.apply(manifest())
			w.prober.breaks(ownURL, "our own trouble")
			w.prober.outcome = outcome
			for range 10 {
				w.unchanged(func() {
					if err := w.Revalidate(t.Context(), w.own().ID, hook.Production); kindOf(err) != hook.Unavailable || !strings.Contains(err.Error(), "our own trouble") {
						t.Errorf("%v", err)
					}
				})
			}
			if got := w.history(); len(got) != 1 || len(w.mails()) != 0 {
				t.Errorf("the history is %q, the mails are %q", got, w.mails())
			}
		})
	}
	// Whereas these are: what belongs to the endpoint, or to those who run it.
	w := newWorld(t)
	w.apply(manifest())
	for _, outcome := range []hook.Outcome{
		http.StatusInternalServerError, hook.ReadTimeOut, hook.ConnectionRefused, hook.TimeLimiter, hook.DNSForbidden, hook.CertificateError, hook.DNSResolveTimeout, hook.CannotGetAccessToken,
	} {
		w.prober.breaks(ownURL, "theirs")
		w.prober.outcome = outcome
		w.rounds(1, hook.Production)
		if s := w.own(); s.State != hook.Failing || len(s.Failures) != 1 {
			t.Errorf("after %v it is %+v", outcome, s)
		}
		w.prober.breaks(ownURL, "")
		w.rounds(1, hook.Production)
	}
}

// What happens to a subscription while its endpoint is challenged in a round has happened:
// the answer is about something else, and changes nothing, whatever it is.
func TestChangedDuringARound(t *testing.T) {
	change := func(w *world, f func(*hook.Subscription)) {
		s := *w.own()
		f(&s)
		must(w.t, w.db.Change(hook.Change{Subscriptions: []*hook.Subscription{&s}}, time.Now()))
	}
	for name, c := range map[string]struct {
		do   func(w *world)
		want hook.Kind
	}{
		"the URL": {func(w *world) { change(w, func(s *hook.Subscription) { s.URL = "https://new.customer.example/" }) }, hook.Conflict},
		"the header": {func(w *world) {
			change(w, func(s *hook.Subscription) { s.Auth = hook.Auth{Mode: hook.AuthHeader, Header: "X-A", Value: "v"} })
		}, hook.Conflict},
		"the secret": {func(w *world) { _, err := w.RotateSecretToken(operator, w.app("crm").ID, time.Hour); must(t, err) }, hook.Conflict},
		"disabled":   {func(w *world) { must(t, w.Disable(operator, w.own().ID, "by somebody")) }, hook.Conflict},
		"deleted":    {func(w *world) { must(t, w.DeleteSubscription(operator, w.own().ID)) }, hook.NotFound},
		"the app off": {func(w *world) {
			m := withTwo()
			m.Apps[1].Disabled = true
			_, err := w.Apply(t.Context(), operator, m, false)
			must(t, err)
		}, hook.Conflict},
		"disabled and enabled": {func(w *world) {
			must(t, w.Disable(operator, w.own().ID, "by somebody"))
			w.prober.breaks(ownURL, "")
			_, err := w.Validate(t.Context(), operator, w.own().ID, hook.Production)
			must(t, err)
		}, hook.Conflict},
	} {
		for answer, reason := range map[string]string{"and it fails": "down", "and it answers": ""} {
			t.Run(name+" "+answer, func(t *testing.T) {
				w := newWorld(t)
				w.apply(withTwo())
				w.prober.breaks(ownURL, "down")
				w.rounds(5, hook.Production) // the next failure would be the last
				id, mails, after := w.own().ID, len(w.mails()), ""
				w.prober.breaks(ownURL, reason)
				w.prober.once(func() {
					c.do(w)
					after = dump(w.db.Directory())
				})
				err := w.Revalidate(t.Context(), id, hook.Production)
				if kindOf(err) != c.want {
					t.Errorf("%v, want kind %d", err, c.want)
				}
				if got := dump(w.db.Directory()); got != after || len(w.mails()) != mails {
					t.Errorf("changed from\n%sto\n%sand the mails are %q", after, got, w.mails())
				}
			})
		}
	}
	// What the answer has nothing to do with is kept, and counts.
	w := newWorld(t)
	w.apply(withTwo())
	w.prober.breaks(ownURL, "down")
	w.prober.once(func() {
		change(w, func(s *hook.Subscription) { s.Limits.InFlight = 7 })
		w.rounds(1, hook.Development)
	})
	w.rounds(1, hook.Production)
	if s := w.own(); s.State != hook.Failing || s.Limits.InFlight != 7 || s.Development.State != hook.Valid {
		t.Errorf("it is %+v", s)
	}
}

// Who is disabled, pending or gone when the turn comes is not asked.
func TestNothingToRevalidate(t *testing.T) {
	w := newWorld(t)
	w.prober.breaks(namesURL, "down")
	w.apply(manifest())
	w.prober.breaks(namesURL, "")
	w.prober.take()
	pending, disabled := w.subscription("names").ID, w.subscription("later").ID
	w.unchanged(func() {
		for _, id := range []string{pending, disabled} {
			must(t, w.Revalidate(t.Context(), id, hook.Production))
		}
		must(t, w.Revalidate(t.Context(), w.own().ID, hook.Development)) // there is none
		if err := w.Revalidate(t.Context(), hook.NewID(), hook.Production); kindOf(err) != hook.NotFound {
			t.Error(err)
		}
	})
	m := manifest()
	m.Apps[1].Disabled = true
	w.apply(m)
	w.prober.take()
	w.unchanged(func() { must(t, w.Revalidate(t.Context(), w.own().ID, hook.Production)) })
	if got := w.prober.take(); got != nil {
		t.Errorf("challenged are %q", got)
	}
}

// A round that the store cannot take has not happened: no failure, no mail, no history.
func TestStoreIsFullDuringARound(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	w.prober.breaks(ownURL, "down")
	w.rounds(1, hook.Production)
	full := &hook.Error{Kind: hook.Unavailable, Detail: "disk full"}
	w.Store = storeFunc(func(hook.Change) error { return full })
	told := &told{}
	w.Rounds, w.Mail = told, told
	w.unchanged(func() {
		for range 5 {
			if err := w.Revalidate(t.Context(), w.own().ID, hook.Production); !errors.Is(err, full) {
				t.Errorf("%v", err)
			}
		}
	})
	if got := w.history(); len(got) != 2 || len(w.mails()) != 0 || told.mails != 0 || told.keys != nil {
		t.Errorf("the history is %q, the mails are %q; told was %+v", got, w.mails(), told)
	}
	w.Store = w.db
	w.rounds(1, hook.Production)
	if got := w.mails(); len(got) != 1 || told.mails != 1 || len(told.keys) != 1 {
		t.Errorf("the mails are %q; told was %+v", got, told)
	}
}

// A round whose platform is stopping has not happened either.
func TestStoppedDuringARound(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	w.prober.breaks(ownURL, "down")
	ctx, cancel := context.WithCancel(t.Context())
	w.prober.once(cancel)
	w.unchanged(func() {
		if err := w.Revalidate(ctx, w.own().ID, hook.Production); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
	if got := w.history(); len(got) != 1 {
		t.Errorf("the history is %q", got)
	}
}

// told notes which changes the rounds are told of, and how often the mail sender is woken.
type told struct {
	keys  []hook.SubscriptionKey
	mails int
}

// Changed notes a subscription.
func (x *told) Changed(k hook.SubscriptionKey) { x.keys = append(x.keys, k) }

// Wake counts.
func (x *told) Wake() { x.mails++ }

func (x *told) take() []hook.SubscriptionKey {
	keys := x.keys
	x.keys = nil
	slices.Sort(keys)
	return slices.Compact(keys)
}

// The rounds are told of every change that may begin, end or move some: to a subscription,
// and to an app, which concerns all of its subscriptions.
func TestRoundsAreTold(t *testing.T) {
	w := newWorld(t)
	x := &told{}
	w.Rounds = x
	w.apply(manifest())
	keys := func(app string) (keys []hook.SubscriptionKey) {
		for _, s := range w.db.Directory().Subscriptions(w.app(app).ID) {
			keys = append(keys, s.Key)
		}
		slices.Sort(keys)
		return keys
	}
	all := slices.Concat(keys("peering"), keys("crm"))
	slices.Sort(all)
	if got := x.take(); !slices.Equal(got, all) {
		t.Errorf("of what was made it was told %v, want %v", got, all)
	}
	for name, c := range map[string]struct {
		do   func()
		want []hook.SubscriptionKey
	}{
		"a round":    {func() { w.rounds(1, hook.Production) }, []hook.SubscriptionKey{w.own().Key}},
		"an account": {func() { m := manifest(); m.Accounts[2].Name = "New"; w.apply(m) }, nil},
		"validate":   {func() { _, err := w.Validate(t.Context(), operator, w.own().ID, hook.Production); must(t, err) }, []hook.SubscriptionKey{w.own().Key}},
	} {
		if c.do(); !slices.Equal(x.take(), c.want) {
			t.Errorf("%s: told was not %v", name, c.want)
		}
	}
	off := manifest()
	off.Apps[1].Disabled = true
	w.apply(off)
	if got := x.take(); !slices.Equal(got, keys("crm")) {
		t.Errorf("of an app that was disabled it was told %v", got)
	}
	w.apply(manifest())
	if got := x.take(); !slices.Equal(got, keys("crm")) {
		t.Errorf("of an app that was enabled it was told %v", got)
	}
	key := w.own().Key
	must(t, w.DeleteSubscription(operator, w.own().ID))
	if got := x.take(); !slices.Equal(got, []hook.SubscriptionKey{key}) {
		t.Errorf("of a subscription that was deleted it was told %v", got)
	}
	gone := keys("crm")
	must(t, w.DeleteApp(operator, w.app("crm").ID))
	if got := x.take(); !slices.Equal(got, gone) {
		t.Errorf("of an app that was deleted it was told %v", got)
	}
}

// The sender, whom every change makes look at all its endpoints, is told of those rounds only
// that change what it does.
func TestTheSenderAndTheRounds(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	key := []hook.SubscriptionKey{w.own().Key}
	w.sender.take()
	w.rounds(1, hook.Production)
	w.prober.breaks(ownURL, "down")
	w.rounds(5, hook.Production)
	w.prober.breaks(ownURL, "")
	w.rounds(1, hook.Production)
	w.prober.breaks(ownURL, "down")
	w.rounds(5, hook.Production)
	if got := w.sender.take(); got != nil {
		t.Errorf("of rounds that changed nothing for it, it was told %v", got)
	}
	w.rounds(1, hook.Production)
	if got := w.sender.take(); !slices.Equal(got, key) || !slices.Equal(w.sender.off, key) {
		t.Errorf("of the last one it was told %v and %v", got, w.sender.off)
	}
	w.prober.breaks(ownURL, "")
	_, err := w.Validate(t.Context(), operator, w.own().ID, hook.Production)
	must(t, err)
	if got := w.sender.take(); !slices.Equal(got, key) {
		t.Errorf("of an endpoint that was enabled it was told %v", got)
	}
}

// A mail goes to the owner of the account that owns the app, whoever has installed it. Where
// there is none, the notice is kept all the same.
func TestWhoIsTold(t *testing.T) {
	for owner, want := range map[string]outbox.State{"ann@customer.example": outbox.Pending, "": outbox.Failed} {
		w := newWorld(t)
		m := manifest()
		m.Accounts[2].OwnerEmail = owner
		w.apply(m)
		w.prober.breaks(ownURL, "down")
		var got []*outbox.Message
		w.Store = &mailStore{w.db, &got}
		w.rounds(2, hook.Production)
		if len(got) != 1 || got[0].To != owner {
			t.Fatalf("the mails are %+v", got)
		}
		if m := got[0].Enter(true); m.State != want {
			t.Errorf("to %q it is %s: %s", owner, m.State, m.Reason)
		}
	}
}

// mailStore is a store that notes which mails go into the outbox.
type mailStore struct {
	manage.Store
	mails *[]*outbox.Message
}

// Change stores a change, and its mails.
func (s *mailStore) Change(c hook.Change, now time.Time, mails ...*outbox.Message) error {
	for _, m := range mails {
		as := *m
		*s.mails = append(*s.mails, &as)
	}
	return s.Store.Change(c, now, mails...)
}
