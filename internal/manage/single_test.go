package manage_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/switchhook/switchhook/internal/challenge"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/outbound"
)

// trail returns what the audit trail says of a kind of thing, the first one first.
func (w *world) trail(kind string) (list []string) {
	w.t.Helper()
	page, err := w.db.Audit(context.Background(), hook.AuditFilter{Kind: kind, Limit: 1000})
	must(w.t, err)
	for _, e := range slices.Backward(page) {
		list = append(list, fmt.Sprintf("%s %s %q", e.Action, e.Name, e.Changes))
	}
	return list
}

// Who is in a group that is removed is not in it any more, also where the manifest says
// nothing of users: a group of the same name that is made later is another one.
func TestRemovedGroupsAreLeft(t *testing.T) {
	w := newWorld(t)
	w.apply(&manage.Manifest{Accounts: []manage.Account{{ID: "a", Groups: []string{"g", "h", "i"}, Users: []manage.User{
		{ID: "ann", Groups: []string{"g", "h", "i"}}, {ID: "bob", Groups: []string{"i"}}, {ID: "carl", Groups: []string{"g"}},
	}}}})
	p := w.apply(&manage.Manifest{Accounts: []manage.Account{{ID: "a", Groups: []string{"i"}}}})
	want := []string{"keep account a", "keep user_group a/i", "remove user_group a/g", "remove user_group a/h", "update user a/ann", "update user a/carl"}
	if got := steps(p); !slices.Equal(got, want) {
		t.Errorf("steps are %q, want %q", got, want)
	}
	w.apply(&manage.Manifest{Accounts: []manage.Account{{ID: "a", Groups: []string{"g", "h", "i"}}}})
	for id, groups := range map[string][]string{"ann": {"i"}, "bob": {"i"}, "carl": nil} {
		if u := w.db.Directory().User("a", id); !slices.Equal(u.Groups, groups) {
			t.Errorf("%s is in %q", id, u.Groups)
		}
	}
	if got := w.trail("user"); !slices.Equal(got[3:], []string{`update a/ann ["groups: -g -h"]`, `update a/carl ["groups: -g"]`}) {
		t.Errorf("the audit trail has %q", got)
	}
}

// A subscription that is kept as pending was made, and the audit trail says so, once;
// that its endpoint still does not answer is nothing that anybody did.
func TestPendingIsAudited(t *testing.T) {
	w := newWorld(t)
	w.prober.breaks(namesURL, "it is down")
	m := manifest()
	for range 2 {
		w.apply(m)
	}
	if got := w.trail("subscription"); len(got) != 5 ||
		got[0] != `create peering/names ["created as pending, for the endpoint did not answer its challenge: it is down"]` || got[1] != `create peering/all []` {
		t.Errorf("the audit trail has %q", got)
	}
	w.prober.breaks(namesURL, "")
	w.apply(m)
	if got := w.trail("subscription"); len(got) != 6 || got[5] != `update peering/names ["pending -> valid"]` {
		t.Errorf("the audit trail has %q", got)
	}
}

// proberFunc answers challenges as a function says.
type proberFunc func() challenge.Result

func (f proberFunc) Prove(context.Context, string, *hook.Subscription, *hook.App) challenge.Result {
	return f()
}

// If an endpoint could not be asked, it is not to blame, and the call can be made again.
func TestNobodyIsToBlame(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	w.Prober = proberFunc(func() challenge.Result {
		return challenge.Result{Reason: "no connection was free", Result: outbound.Result{Outcome: hook.NeedInstantRetry}}
	})
	w.unchanged(func() {
		_, err := w.CreateSubscription(t.Context(), operator, w.app("crm").ID, manage.Subscription{Name: "new", Events: []string{order}, URL: ownURL})
		if kindOf(err) != hook.Unavailable || err.Error() != "the endpoint could not be asked: no connection was free" {
			t.Errorf("creating: %v", err)
		}
		err = w.UpdateSubscription(t.Context(), operator, w.subscription("own").ID, func(s *manage.Subscription) error {
			s.URL = "https://new.customer.example/"
			return nil
		})
		if kindOf(err) != hook.Unavailable {
			t.Errorf("updating: %v", err)
		}
	})
}

// What others change while an endpoint is challenged is not undone, and what holds then
// counts.
func TestChangedWhileChallenged(t *testing.T) {
	moved := func(s *manage.Subscription) error {
		s.URL = "https://new.customer.example/"
		return nil
	}
	t.Run("another field", func(t *testing.T) {
		w := newWorld(t)
		w.apply(manifest())
		id := w.subscription("own").ID
		w.prober.once(func() {
			must(t, w.UpdateSubscription(context.Background(), operator, id, func(s *manage.Subscription) error {
				s.MaxInFlight = 7
				return nil
			}))
		})
		must(t, w.UpdateSubscription(t.Context(), operator, id, moved))
		if s := w.subscription("own"); s.URL != "https://new.customer.example/" || s.Limits.InFlight != 7 || s.State != hook.Valid {
			t.Errorf("it is %+v", s)
		}
	})
	t.Run("its secret", func(t *testing.T) {
		w := newWorld(t)
		w.apply(manifest())
		app := w.app("crm").ID
		w.prober.take()
		w.prober.once(func() {
			must(t, w.UpdateApp(context.Background(), operator, app, func(a *manage.App) error {
				a.SecretToken = "another-secret-token"
				return nil
			}))
		})
		must(t, w.UpdateSubscription(t.Context(), operator, w.subscription("own").ID, moved))
		if calls := w.prober.calls; len(calls) != 2 || calls[0].secret != crmToken || calls[1].secret != "another-secret-token" {
			t.Errorf("challenged with %+v", calls)
		}
	})
	t.Run("deleted", func(t *testing.T) {
		w := newWorld(t)
		w.apply(manifest())
		id, app := w.subscription("own").ID, w.app("crm").ID
		w.prober.once(func() { must(t, w.DeleteApp(operator, app)) })
		if err := w.UpdateSubscription(t.Context(), operator, id, moved); kindOf(err) != hook.NotFound {
			t.Errorf("updating: %v", err)
		}
		w.prober.once(func() { must(t, w.DeleteApp(operator, w.app("peering").ID)) })
		_, err := w.CreateSubscription(t.Context(), operator, w.app("peering").ID, manage.Subscription{Name: "new", Events: []string{cnam}, URL: ownURL})
		if kindOf(err) != hook.NotFound {
			t.Errorf("creating: %v", err)
		}
	})
	t.Run("made by somebody else", func(t *testing.T) {
		w := newWorld(t)
		w.apply(manifest())
		app, s := w.app("crm").ID, manage.Subscription{Name: "new", Events: []string{order}, URL: "https://new.customer.example/"}
		w.prober.once(func() {
			_, err := w.CreateSubscription(context.Background(), operator, app, s)
			must(t, err)
		})
		if _, err := w.CreateSubscription(t.Context(), operator, app, s); kindOf(err) != hook.Conflict {
			t.Errorf("creating: %v", err)
		}
	})
	t.Run("all the time", func(t *testing.T) {
		w := newWorld(t)
		w.apply(manifest())
		n, app := 0, w.app("crm").ID
		w.prober.during = func(context.Context, *hook.Subscription, *hook.App) {
			n++
			must(t, w.UpdateApp(context.Background(), operator, app, func(a *manage.App) error {
				a.SecretToken = fmt.Sprint("secret-token-", n)
				return nil
			}))
		}
		if err := w.UpdateSubscription(t.Context(), operator, w.subscription("own").ID, moved); kindOf(err) != hook.Conflict || !strings.HasSuffix(err.Error(), "try again") {
			t.Errorf("updating: %v", err)
		}
		if s := w.subscription("own"); s.URL != ownURL {
			t.Errorf("it is %+v", s)
		}
	})
}

// The sender is told what is called off, and what has changed.
func TestSenderIsToldOfOneChange(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	own := w.subscription("own")
	for _, off := range []bool{true, false} {
		w.sender.take()
		w.sender.off = nil
		must(t, w.UpdateSubscription(t.Context(), operator, own.ID, func(s *manage.Subscription) error {
			s.Disabled = off
			return nil
		}))
		if told := w.sender.take(); !slices.Equal(told, []hook.SubscriptionKey{own.Key}) || (len(w.sender.off) == 1) != off {
			t.Errorf("disabled %t: told of %v, called off %v", off, told, w.sender.off)
		}
	}
}

// Settings that cannot be decrypted have to be said again before anything else of the
// subscription can be changed: nobody knows what they were.
func TestUnreadableSettingsAreAskedFor(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	s := *w.subscription("names")
	s.Auth = hook.Auth{Mode: hook.AuthBasic, Unreadable: true}
	w.db.Directory().Apply(hook.Change{Subscriptions: []*hook.Subscription{&s}})
	change := func(h *manage.CustomHeader) error {
		return w.UpdateSubscription(t.Context(), operator, s.ID, func(x *manage.Subscription) error {
			if x.MaxInFlight = 3; h != nil {
				x.CustomHeader = h
			}
			return nil
		})
	}
	if got := faultsOf(t, change(nil)); !slices.Equal(got, []string{"/custom_header/username is missing", "/custom_header/password is missing"}) {
		t.Errorf("faults are %q", got)
	}
	must(t, change(&manage.CustomHeader{Type: 1, Username: "ann", Password: basicSecret}))
}

// The app of a carrier is replaced in one change: at no time do two have its events, and
// nothing else about them is different.
func TestBindCarrier(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	app := func(name string) *hook.App {
		i := slices.IndexFunc(w.db.Directory().Apps(), func(a *hook.App) bool { return a.Name == name })
		return w.db.Directory().Apps()[i]
	}
	before, version := *app("peering"), w.db.Directory().Version()
	must(t, w.BindCarrier(t.Context(), operator, 2417, app("crm").ID))
	if got := w.db.Directory().Version(); got != version+1 {
		t.Errorf("%d changes", got-version)
	}
	if a, b := app("peering").CarrierCodes, app("crm").CarrierCodes; !slices.Equal(a, []int32{12}) || !slices.Equal(b, []int32{2417}) {
		t.Errorf("peering has %v, crm %v", a, b)
	}
	must(t, w.BindCarrier(t.Context(), operator, 2417, before.ID))
	if after := *app("peering"); fmt.Sprintf("%+v %s", after, after.SecretToken.Reveal()) != fmt.Sprintf("%+v %s", before, before.SecretToken.Reveal()) {
		t.Errorf("from %+v to %+v", before, after)
	}
	w.unchanged(func() {
		must(t, w.BindCarrier(t.Context(), operator, 2417, before.ID))
		if err := w.BindCarrier(t.Context(), operator, 12, "nobody's"); kindOf(err) != hook.NotFound {
			t.Errorf("an app that is not there: %v", err)
		}
	})
}
