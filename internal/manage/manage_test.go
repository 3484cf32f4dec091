package manage_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
)

// A subscription whose endpoint proves itself is valid from then on; otherwise it stays
// as it is, and one that is pending has the latest reason.
func TestValidate(t *testing.T) {
	const down = "the connection was refused"
	w := newWorld(t)
	w.apply(manifest())
	for _, c := range []struct {
		name          string
		state         hook.SubscriptionState
		reason, fails string
		want          hook.SubscriptionState
		wantReason    string
		told          bool
	}{
		{"valid, answers", hook.Valid, "", "", hook.Valid, "", false}, // but it is known since when
		{"valid, does not", hook.Valid, "", down, hook.Valid, "", false},
		{"pending, answers", hook.Pending, "an earlier reason", "", hook.Valid, "", true},
		{"pending, does not", hook.Pending, "an earlier reason", down, hook.Pending, down, false},
		{"failing, answers", hook.Failing, "an earlier reason", "", hook.Valid, "", false},
		{"failing, does not", hook.Failing, "an earlier reason", down, hook.Failing, "an earlier reason", false},
		{"disabled, answers", hook.Disabled, "by somebody", "", hook.Valid, "", true},
		{"disabled, does not", hook.Disabled, "by somebody", down, hook.Disabled, "by somebody", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := *w.subscription("own")
			before.State, before.StateReason, before.Generation = c.state, c.reason, 3
			must(t, w.db.Change(hook.Change{Subscriptions: []*hook.Subscription{&before}}, before.Created))
			w.prober.take()
			w.sender.take()
			w.prober.breaks(ownURL, c.fails)

			r, err := w.Validate(t.Context(), operator, before.ID, hook.Production)
			if err != nil || r.OK != (c.fails == "") || r.Reason != c.fails {
				t.Errorf("the result is %+v, %v", r, err)
			}
			s := w.subscription("own")
			if s.State != c.want || s.StateReason != c.wantReason || s.Generation != 3 || s.URL != ownURL || s.Name != "own" {
				t.Errorf("it is %+v", s)
			}
			if moved := s.StateSince.After(before.StateSince); moved != (c.state != c.want) {
				t.Errorf("it is %s since %v, was since %v", s.State, s.StateSince, before.StateSince)
			}
			if got := w.prober.take(); !slices.Equal(got, []string{ownURL}) {
				t.Errorf("challenged are %q", got)
			}
			if got := w.sender.take(); slices.Equal(got, []hook.SubscriptionKey{s.Key}) != c.told {
				t.Errorf("the sender was told of %v", got)
			}
		})
	}
}

// A caller who hangs up has not found out anything about the endpoint.
func TestValidateIsCalledOff(t *testing.T) {
	w := newWorld(t)
	w.prober.breaks(ownURL, "the connection was refused")
	w.apply(manifest())
	w.prober.breaks(ownURL, "cut off")
	ctx, cancel := context.WithCancel(t.Context())
	w.prober.once(cancel)
	if _, err := w.Validate(ctx, operator, w.subscription("own").ID, hook.Production); !errors.Is(err, context.Canceled) {
		t.Errorf("err %v", err)
	}
	if s := w.subscription("own"); s.StateReason != "the connection was refused" {
		t.Errorf("it is %+v", s)
	}
}

// What an endpoint proved under other settings counts for nothing, and neither does
// what it proved before somebody disabled or deleted the subscription.
func TestChangedWhileItIsValidated(t *testing.T) {
	w := newWorld(t)
	edit := func(f func(*hook.Subscription)) {
		s := *w.subscription("own")
		f(&s)
		must(t, w.db.Change(hook.Change{Subscriptions: []*hook.Subscription{&s}}, s.Created))
	}
	for _, c := range []struct {
		name string
		do   func()
		want hook.Kind // 0: the proof holds
	}{
		{"the URL", func() { edit(func(s *hook.Subscription) { s.URL = "https://new.customer.example/" }) }, hook.Conflict},
		{"the custom header", func() {
			edit(func(s *hook.Subscription) { s.Auth = hook.Auth{Mode: hook.AuthHeader, Header: "X-A", Value: "v"} })
		}, hook.Conflict},
		{"the secret token", func() { w.rotate("crm", "a-second-token") }, hook.Conflict},
		{"disabled", func() { must(t, w.Disable(operator, w.subscription("own").ID, "by somebody")) }, hook.Conflict},
		{"deleted", func() { must(t, w.DeleteSubscription(operator, w.subscription("own").ID)) }, hook.NotFound},
		{"deleted with its app", func() { must(t, w.DeleteApp(operator, w.app("crm").ID)) }, hook.NotFound},
		{"the limits", func() { edit(func(s *hook.Subscription) { s.Limits.InFlight = 5 }) }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.prober.during = nil
			for _, a := range w.db.Directory().Apps() {
				must(t, w.DeleteApp(operator, a.ID))
			}
			w.prober.breaks(ownURL, "down")
			w.apply(manifest()) // so it is pending
			w.prober.breaks(ownURL, "")
			id, after := w.subscription("own").ID, ""
			w.prober.once(func() {
				c.do()
				after = dump(w.db.Directory())
			})
			_, err := w.Validate(t.Context(), operator, id, hook.Production)
			if kindOf(err) != c.want || c.want == 0 && err != nil {
				t.Errorf("%v, want kind %d", err, c.want)
			}
			if c.want != 0 {
				if got := dump(w.db.Directory()); got != after {
					t.Errorf("changed from\n%sto\n%s", after, got)
				}
				return
			}
			if s := w.subscription("own"); s.State != hook.Valid || s.Limits.InFlight != 5 {
				t.Errorf("it is %+v", s)
			}
		})
	}
}

// Disabling ends deliveries and calls off what is outstanding, once.
func TestDisable(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	w.sender.take()
	s := w.subscription("own")
	must(t, w.Disable(operator, s.ID, "too many faults"))
	got := w.subscription("own")
	if got.State != hook.Disabled || got.StateReason != "too many faults" || got.Generation != s.Generation+1 || !got.StateSince.After(s.StateSince) {
		t.Errorf("it is %+v, was %+v", got, s)
	}
	if told := w.sender.take(); !slices.Equal(told, []hook.SubscriptionKey{s.Key}) {
		t.Errorf("the sender was told of %v", told)
	}
	w.unchanged(func() { must(t, w.Disable(operator, s.ID, "another reason")) })
	if told := w.sender.take(); told != nil {
		t.Errorf("the sender was told of %v", told)
	}
}

// What is deleted is gone, also from the file, and the sender knows.
func TestDelete(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	w.sender.take()
	own := w.subscription("own")
	must(t, w.DeleteSubscription(operator, own.ID))
	if told := w.sender.take(); !slices.Equal(told, []hook.SubscriptionKey{own.Key}) {
		t.Errorf("the sender was told of %v", told)
	}
	if _, _, err := w.Subscription(own.ID); kindOf(err) != hook.NotFound {
		t.Errorf("it is found: %v", err)
	}

	want := []hook.SubscriptionKey{w.subscription("orders").Key, w.subscription("later").Key}
	slices.Sort(want)
	crm := w.app("crm").ID
	must(t, w.DeleteApp(operator, crm))
	if told := w.sender.take(); !slices.Equal(told, want) {
		t.Errorf("the sender was told of %v, want %v", told, want)
	}
	if _, err := w.App(crm); kindOf(err) != hook.NotFound {
		t.Errorf("it is found: %v", err)
	}
	d := w.db.Directory()
	if len(d.Apps()) != 1 || len(d.Installations("")) != 0 || len(d.Subscriptions("")) != 2 {
		t.Errorf("left is\n%s", dump(d))
	}

	// A manifest makes it anew.
	p := w.apply(manifest())
	if p.Changes() != 6 || len(p.Credentials) != 1 || w.app("crm").ID == crm || w.subscription("own").ID == own.ID {
		t.Errorf("steps are %q", steps(p))
	}
}

// What does not exist is not found, whatever is asked of it, and nobody hears of it.
func TestNotFound(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	w.prober.take()
	w.sender.take()
	app := w.app("crm").ID
	w.unchanged(func() {
		for _, id := range []string{"", "rubbish", hook.NewID(), app, w.subscription("own").ID + "=", w.subscription("own").ID[:21]} {
			_, validate := w.Validate(t.Context(), operator, id, hook.Production)
			for name, err := range map[string]error{
				"validate": validate, "disable": w.Disable(operator, id, "reason"), "delete": w.DeleteSubscription(operator, id),
			} {
				if kindOf(err) != hook.NotFound || err.Error() != "subscription "+id+" is not there" {
					t.Errorf("%s %q: %v", name, id, err)
				}
			}
			if id == app {
				continue
			}
			if err := w.DeleteApp(operator, id); kindOf(err) != hook.NotFound || err.Error() != "app "+id+" is not there" {
				t.Errorf("delete app %q: %v", id, err)
			}
		}
	})
	if got := w.prober.take(); got != nil {
		t.Errorf("challenged are %q", got)
	}
	if got := w.sender.take(); got != nil {
		t.Errorf("the sender was told of %v", got)
	}
}

// Subscriptions that an app made itself are not the manifest's, whatever their names,
// but they count.
func TestSubscriptionsThatAppsMade(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	id := hook.NewID()
	key, err := hook.KeyOf(id)
	must(t, err)
	theirs := &hook.Subscription{
		ID: id, Key: key, App: w.app("crm").ID, Name: "extra", Events: []string{order}, Endpoint: hook.Endpoint{URL: "https://extra.customer.example/", State: hook.Valid},
		Scope: hook.ScopeAccount, Subscribers: []hook.Subscriber{{}}, Source: hook.SourceOpenAPI, Created: w.app("crm").Created,
	}
	must(t, w.db.Change(hook.Change{Subscriptions: []*hook.Subscription{theirs}}, theirs.Created))
	m := manifest()
	m.Apps[1].Subscriptions = append(m.Apps[1].Subscriptions, manage.Subscription{Name: "extra", Events: []string{order}, URL: "https://extra2.customer.example/"})
	w.MaxSubscriptions = 4
	if got := faultsOf(t, w.fails(m)); !slices.Equal(got, []string{"/apps/1/subscriptions would be 5 for this app; at most 4 are allowed"}) {
		t.Errorf("faults are %q", got)
	}
	w.MaxSubscriptions = 5
	p := w.apply(m)
	if got := step(t, p, "subscription", "crm/extra"); got.Action != manage.Create || got.ID == id {
		t.Errorf("%+v", got)
	}
	if s, _, err := w.Subscription(id); err != nil || s.URL != theirs.URL {
		t.Errorf("theirs is %+v, %v", s, err)
	}
}

// A secret that is replaced stays valid for as long as asked, and the one before it
// no more; nothing else about the app changes.
func TestRotate(t *testing.T) {
	w := newWorld(t)
	credentials := w.apply(manifest()).Credentials
	first := *w.app("crm")
	var old hook.Secret
	for _, c := range credentials {
		if c.App == "crm" {
			old = hook.Secret(c.ClientSecret)
		}
	}
	accepts := func(s hook.Secret, in time.Duration) bool {
		return w.app("crm").Accepts(hook.HashSecret(s), time.Now().Add(in))
	}
	second, err := w.RotateClientSecret(operator, first.ID, time.Hour)
	must(t, err)
	if !accepts(old, 59*time.Minute) || accepts(old, time.Hour) || !accepts(second, 24*time.Hour) {
		t.Error("after one rotation the wrong secrets are accepted")
	}
	third, err := w.RotateClientSecret(operator, first.ID, time.Hour)
	must(t, err)
	if accepts(old, 0) || !accepts(second, 0) || !accepts(third, 0) {
		t.Error("after two rotations the wrong secrets are accepted")
	}
	fourth, err := w.RotateClientSecret(operator, first.ID, 0)
	must(t, err)
	if accepts(third, 0) || !accepts(fourth, 0) {
		t.Error("without an overlap the wrong secrets are accepted")
	}

	token, err := w.RotateSecretToken(operator, first.ID, time.Hour)
	must(t, err)
	a := w.app("crm")
	if a.SecretToken != token || a.OldToken.Secret != first.SecretToken || !a.OldToken.Until.After(time.Now().Add(50*time.Minute)) {
		t.Errorf("the secret tokens are %+v", a)
	}
	if _, err := w.RotateSecretToken(operator, first.ID, 0); err != nil || w.app("crm").OldToken != (hook.OldToken{}) {
		t.Errorf("without an overlap: %+v, %v", w.app("crm").OldToken, err)
	}
	if a.Name != first.Name || a.ClientID != first.ClientID || !slices.Equal(a.Scopes, first.Scopes) {
		t.Errorf("it is %+v, was %+v", a, first)
	}
	for _, overlap := range []time.Duration{-time.Second, manage.MaxOverlap + 1} {
		if _, err := w.RotateSecretToken(operator, first.ID, overlap); kindOf(err) != hook.Invalid {
			t.Errorf("an overlap of %v: %v", overlap, err)
		}
	}
	if _, err := w.RotateClientSecret(operator, "nobody", 0); kindOf(err) != hook.NotFound {
		t.Errorf("of no app: %v", err)
	}
	// A manifest that says nothing of the token keeps both; one that says one has it alone.
	_, err = w.RotateSecretToken(operator, first.ID, time.Hour)
	must(t, err)
	m := manifest()
	m.Apps[1].SecretToken = ""
	w.apply(m)
	if w.app("crm").OldToken.Secret == "" {
		t.Error("applying again ended the overlap")
	}
	m.Apps[1].SecretToken = "a-token-that-is-said-outright"
	w.apply(m)
	if a := w.app("crm"); a.SecretToken != "a-token-that-is-said-outright" || a.OldToken.Secret != "" {
		t.Errorf("the secret tokens are %+v", a)
	}
}

// What is outstanding is looked through only where it may have to be called off.
func TestCalledOff(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	m := manifest()
	m.Apps[1].Subscriptions[1].MaxInFlight = 7
	w.apply(m)
	if w.sender.off != nil {
		t.Errorf("called off by a change of a limit: %v", w.sender.off)
	}
	s := w.subscription("own")
	must(t, w.Disable(operator, s.ID, "by a test"))
	if !slices.Equal(w.sender.off, []hook.SubscriptionKey{s.Key}) {
		t.Errorf("called off by disabling: %v", w.sender.off)
	}
	must(t, w.DeleteSubscription(operator, w.subscription("all").ID))
	if len(w.sender.off) != 2 {
		t.Errorf("called off by deleting: %v", w.sender.off)
	}
}

// Every challenge is in the log, under the subscription that it was for, also under
// one that was only just made.
func TestChallengesAreLogged(t *testing.T) {
	const down = "the connection was refused"
	w := newWorld(t)
	w.prober.breaks(namesURL, down)
	w.apply(manifest())
	for name, want := range map[string][]string{"names": {down}, "all": {""}, "later": nil} {
		list, err := w.db.Challenges(t.Context(), w.subscription(name).Key, 10)
		must(t, err)
		var got []string
		for _, a := range list {
			got = append(got, a.Detail)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	_, err := w.Validate(t.Context(), operator, w.subscription("all").ID, hook.Production)
	must(t, err)
	if list, err := w.db.Challenges(t.Context(), w.subscription("all").Key, 10); err != nil || len(list) != 2 || list[0].Kind != hook.KindChallenge {
		t.Errorf("%+v, %v", list, err)
	}
}
