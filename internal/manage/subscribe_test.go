package manage_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
)

const draftURL = "https://new.customer.example/hook"

// byApp is an app that makes changes itself.
var byApp = hook.Actor{Kind: hook.ByApp, ID: "app", Name: "crm"}

// draft asks for the orders of the app's own account.
func draft(edit ...func(*manage.Draft)) manage.Draft {
	d := manage.Draft{Name: "new", URL: draftURL, Events: []string{order}, Scope: hook.ScopeAccount, Subscriber: hook.Subscriber{Account: "customer"}}
	for _, f := range edit {
		f(&d)
	}
	return d
}

// creates makes a subscription of the app crm, which must work.
func (w *world) creates(edit ...func(*manage.Draft)) *hook.Subscription {
	w.t.Helper()
	s, err := w.Create(context.Background(), byApp, w.app("crm").ID, draft(edit...))
	must(w.t, err)
	return s
}

// logOf returns what the log of the app crm says of challenges, the latest first.
func (w *world) logOf() (all []hook.LogRow) {
	w.t.Helper()
	all, _, err := w.db.WebhookLog(context.Background(), hook.LogFilter{App: w.app("crm").ID, From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour), Limit: 1000})
	must(w.t, err)
	return all
}

// However many subscriptions an app asks for at once, it gets no more than it may
// have; the others are told so. All have proven their endpoints before the first one is
// stored.
func TestCreatesAtTheCap(t *testing.T) {
	const creators = 100
	for _, setting := range []int{0, 7} {
		limit := cmp.Or(setting, 20)
		w := newWorld(t)
		w.apply(&manage.Manifest{Accounts: manifest().Accounts, Apps: []manage.App{{Name: "crm", Account: "customer", Scopes: []string{"shop:read"}}}})
		w.MaxSubscriptions = setting
		app := w.app("crm").ID
		var proven sync.WaitGroup
		proven.Add(creators)
		w.prober.during = func(context.Context, *hook.Subscription, *hook.App) {
			proven.Done()
			proven.Wait()
		}
		errs := make([]error, creators)
		var wg sync.WaitGroup
		for i := range creators {
			wg.Go(func() { _, errs[i] = w.Create(t.Context(), byApp, app, draft()) })
		}
		wg.Wait()
		made := 0
		for _, err := range errs {
			e, ok := errors.AsType[*hook.Error](err)
			switch {
			case err == nil:
				made++
			case !ok || e.Kind != hook.BadParameter || e.Detail != fmt.Sprintf("The app has %d event subscriptions, and at most %d are allowed", limit, limit):
				t.Errorf("refused with %v", err)
			}
		}
		if n := len(w.db.Directory().Subscriptions(app)); made != limit || n != limit {
			t.Errorf("%d were made and %d are there, want %d", made, n, limit)
		}
		if n := len(w.logOf()); n != creators {
			t.Errorf("%d challenges are in the log, want %d", n, creators)
		}

		// Who is one too many from the start is told so without a challenge.
		w.prober.during = nil
		w.prober.take()
		if _, err := w.Create(t.Context(), byApp, app, draft()); kindOf(err) != hook.BadParameter || len(w.prober.take()) != 0 {
			t.Errorf("once it is full: %v", err)
		}
	}
}

// The limit holds at every moment, also while some are deleted, and every place that
// becomes free can be taken.
func TestCreatesAndDeletesAtTheCap(t *testing.T) {
	const limit, workers, rounds = 5, 8, 25
	w := newWorld(t)
	w.apply(&manage.Manifest{Accounts: manifest().Accounts, Apps: []manage.App{{Name: "crm", Account: "customer", Scopes: []string{"shop:read"}}}})
	w.MaxSubscriptions = limit
	app := w.app("crm").ID
	var mu sync.Mutex
	made, deleted := 0, 0
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				s, err := w.Create(t.Context(), byApp, app, draft())
				all := w.db.Directory().Subscriptions(app)
				if len(all) > limit {
					t.Errorf("%d subscriptions", len(all))
				}
				mu.Lock()
				switch {
				case err == nil:
					made++
					if s.App != app || s.State != hook.Valid {
						t.Errorf("made is %+v", s)
					}
				case kindOf(err) != hook.BadParameter:
					t.Error(err)
				}
				mu.Unlock()
				if len(all) == 0 || rand.IntN(2) == 0 {
					continue
				}
				err = w.Delete(byApp, app, all[rand.IntN(len(all))].ID, "")
				mu.Lock()
				switch {
				case err == nil:
					deleted++
				case kindOf(err) != hook.SubscriptionUnknown: // somebody else was faster
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	n := len(w.db.Directory().Subscriptions(app))
	if made-deleted != n || deleted == 0 {
		t.Errorf("%d were made, %d were deleted, %d are there", made, deleted, n)
	}
	for ; n < limit; n++ {
		w.creates()
	}
	if _, err := w.Create(t.Context(), byApp, app, draft()); kindOf(err) != hook.BadParameter {
		t.Errorf("one too many: %v", err)
	}
}

// What a subscription rests on may change while its endpoint is asked. What it was
// granted before counts for nothing then.
func TestPlatformChangesWhileOneIsCreated(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		do   func(*world)
		want hook.Kind // 0: it is made
	}{
		"nothing":      {func(*world) {}, 0},
		"the app goes": {func(w *world) { must(w.t, w.DeleteApp(operator, w.app("crm").ID)) }, hook.BadToken},
		"the secret token": {func(w *world) {
			_, err := w.RotateSecretToken(operator, w.app("crm").ID, time.Hour)
			must(w.t, err)
		}, hook.Conflict},
		"the scopes": {func(w *world) {
			a := *w.app("crm")
			a.Scopes = nil
			must(w.t, w.db.Change(hook.Change{Apps: []*hook.App{&a}}, time.Now()))
		}, hook.EventNotAllowed},
		"the account withdraws": {func(w *world) {
			must(w.t, w.db.Change(hook.Change{RemoveInstallations: []hook.Installation{{App: w.app("crm").ID, Account: "branch"}}}, time.Now()))
		}, hook.NotAuthorizedToCreate},
		"the last place": {func(w *world) { w.MaxSubscriptions = 3 }, hook.BadParameter},
	} {
		t.Run(name, func(t *testing.T) {
			w.MaxSubscriptions, w.prober.during = 0, nil
			for _, a := range w.db.Directory().Apps() {
				must(t, w.DeleteApp(operator, a.ID))
			}
			w.apply(manifest())
			w.prober.once(func() { c.do(w) })
			app := w.app("crm").ID
			s, err := w.Create(t.Context(), byApp, app, draft(func(d *manage.Draft) { d.Subscriber.Account = "branch" }))
			if kindOf(err) != c.want || (err == nil) != (s != nil) {
				t.Fatalf("%+v, %v", s, err)
			}
			there := slices.ContainsFunc(w.db.Directory().Subscriptions(""), func(s *hook.Subscription) bool { return s.Name == "new" })
			if there != (c.want == 0) {
				t.Errorf("it is there: %v", there)
			}
			if c.want != 0 && c.want != hook.BadToken {
				if rows := w.logOf(); len(rows) == 0 || rows[0].Kind != hook.KindChallenge || rows[0].SubscriptionID == "" {
					t.Errorf("the log has %+v", rows)
				}
			}
		})
	}
}

// A challenge that fails makes no subscription, and is in the log.
func TestCreateFails(t *testing.T) {
	const down = "the connection was refused"
	w := newWorld(t)
	w.apply(manifest())
	before := len(w.logOf())
	w.prober.breaks(draftURL, down)
	w.unchanged(func() {
		_, err := w.Create(t.Context(), byApp, w.app("crm").ID, draft())
		if e, _ := errors.AsType[*hook.Error](err); e == nil || e.Kind != hook.EndpointUnproven || e.Subject != draftURL || e.Detail != "The connection was refused." {
			t.Errorf("%+v", err)
		}
	})
	rows := w.logOf()
	if len(rows) != before+1 || rows[0].Detail != down {
		t.Errorf("the log has %+v", rows)
	}
	// Who hangs up has asked for nothing.
	ctx, cancel := context.WithCancel(t.Context())
	w.prober.once(cancel)
	w.prober.breaks(draftURL, "")
	w.unchanged(func() {
		if _, err := w.Create(ctx, byApp, w.app("crm").ID, draft()); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// A store that cannot take it now makes nothing, and what was there stays.
func TestCreateWithoutTheStore(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	s := w.creates()
	full := &hook.Error{Kind: hook.Unavailable}
	w.Store = storeFunc(func(hook.Change) error { return full })
	app := w.app("crm").ID
	w.unchanged(func() {
		if s, err := w.Create(t.Context(), byApp, app, draft()); s != nil || !errors.Is(err, full) {
			t.Errorf("%+v, %v", s, err)
		}
		for _, err := range []error{
			w.Subscribe(byApp, app, s.ID, hook.Subscriber{Account: "branch"}), w.Unsubscribe(byApp, app, s.ID, "customer", nil), w.Delete(byApp, app, s.ID, ""),
		} {
			if !errors.Is(err, full) {
				t.Error(err)
			}
		}
	})
	w.Store = w.db
}

// Who is subscribed changes as asked, and asking twice changes nothing more.
func TestSubscribe(t *testing.T) {
	w := newWorld(t)
	m := manifest()
	m.Accounts[2].Users = []manage.User{{ID: "ann"}, {ID: "bob"}, {ID: "eve"}}
	m.Accounts[2].Groups = []string{"sales"}
	w.apply(m)
	app := w.app("crm").ID
	id := w.creates(func(d *manage.Draft) { d.Scope, d.Subscriber.Users = hook.ScopeUser, []string{"eve", "bob", "eve"} }).ID
	state := func() string {
		w.t.Helper()
		s, _, err := w.Subscription(id)
		must(t, err)
		return fmt.Sprint(s.Subscribers)
	}
	subscribe := func(account string, users ...string) error {
		return w.Subscribe(byApp, app, id, hook.Subscriber{Account: account, Users: users})
	}
	for i, step := range []struct {
		do   func() error
		want string
	}{
		{func() error { return nil }, "[{customer [bob eve] []}]"},
		{func() error { return subscribe("customer", "ann", "bob") }, "[{customer [ann bob eve] []}]"},
		{func() error { return subscribe("customer", "ann") }, "[{customer [ann bob eve] []}]"},
		{func() error { return w.Unsubscribe(byApp, app, id, "customer", []string{"eve", "bob"}) }, "[{customer [ann] []}]"},
		{func() error { return w.Unsubscribe(byApp, app, id, "customer", []string{"eve"}) }, "[{customer [ann] []}]"},
		{func() error { return w.Unsubscribe(byApp, app, id, "branch", nil) }, "[{customer [ann] []}]"},
		{func() error { return w.Unsubscribe(byApp, app, id, "customer", []string{"ann"}) }, "[]"},
		{func() error { return w.Unsubscribe(byApp, app, id, "customer", nil) }, "[]"},
		{func() error { return subscribe("customer", "bob") }, "[{customer [bob] []}]"},
		{func() error { return w.Unsubscribe(byApp, app, id, "customer", nil) }, "[]"},
	} {
		must(t, step.do())
		if got := state(); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}

	// Who left can be taken off, whatever became of their authorization and of what the
	// operator allows.
	must(t, subscribe("customer", "bob"))
	must(t, w.db.Change(hook.Change{RemoveUsers: []hook.User{{Account: "customer", ID: "bob"}}}, time.Now()))
	s, _, err := w.Subscription(id)
	must(t, err)
	next := *s
	next.URL = "http://was-allowed-once.test/"
	must(t, w.db.Change(hook.Change{Subscriptions: []*hook.Subscription{&next}}, time.Now()))
	must(t, w.Unsubscribe(byApp, app, id, "customer", []string{"bob"}))
	if got := state(); got != "[]" {
		t.Errorf("afterwards: %s", got)
	}

	// There is an end to it.
	many := hook.Subscriber{Account: "customer"}
	for i := range hook.MaxSubscribers {
		many.Users = append(many.Users, fmt.Sprintf("u%05d", i))
	}
	next.Subscribers = []hook.Subscriber{many}
	must(t, w.db.Change(hook.Change{Subscriptions: []*hook.Subscription{&next}}, time.Now()))
	if err := subscribe("customer", "ann"); kindOf(err) != hook.BadParameter {
		t.Errorf("one too many: %v", err)
	}
	must(t, w.Unsubscribe(byApp, app, id, "customer", many.Users[:10]))
	must(t, subscribe("customer", "ann"))
}

// The audit trail names the app, and says what it has done.
func TestAppsAreAudited(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	s := w.creates()
	app := w.app("crm").ID
	must(t, w.Subscribe(byApp, app, s.ID, hook.Subscriber{Account: "branch"}))
	must(t, w.Unsubscribe(byApp, app, s.ID, "customer", nil))
	must(t, w.Delete(byApp, app, s.ID, ""))
	entries, err := w.db.Audit(t.Context(), hook.AuditFilter{Subject: s.ID, Limit: 10})
	must(t, err)
	var got []string
	for _, e := range entries {
		if e.By != byApp || e.Kind != "subscription" || e.Name != "new" {
			t.Errorf("%+v", e)
		}
		got = append(got, fmt.Sprint(e.Action, e.Changes))
	}
	if want := []string{"remove[]", "update[unsubscribed account customer]", "update[subscribed account branch]", "create[]"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
