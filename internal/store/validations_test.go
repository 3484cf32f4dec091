package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/outbox"
)

// remember stores validations of a subscription, one for each instant.
func remember(t *testing.T, db *DB, k hook.SubscriptionKey, at ...time.Time) {
	t.Helper()
	var c hook.Change
	for i, at := range at {
		c.Validations = append(c.Validations, hook.Validation{
			Subscription: k, In: hook.AppStates()[i%2], URL: fmt.Sprint("https://hooks.example.com/", i), At: at, Occasion: hook.OnRound, Reason: fmt.Sprint("reason ", i), State: hook.Failing,
		})
	}
	must(t, db.Change(c, now))
}

// The history of a subscription's validations comes as it was stored, the latest first, and
// is its own.
func TestValidations(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1, 2)
		remember(t, db, 1, now, now.Add(time.Hour), now.Add(2*time.Hour))
		remember(t, db, 2, now)
		got, err := db.Validations(t.Context(), 1, 2)
		must(t, err)
		want := []hook.Validation{
			{Subscription: 1, In: hook.Production, URL: "https://hooks.example.com/2", At: now.Add(2 * time.Hour), Occasion: hook.OnRound, Reason: "reason 2", State: hook.Failing},
			{Subscription: 1, In: hook.Development, URL: "https://hooks.example.com/1", At: now.Add(time.Hour), Occasion: hook.OnRound, Reason: "reason 1", State: hook.Failing},
		}
		if !slices.Equal(got, want) {
			t.Errorf("it is %+v, want %+v", got, want)
		}
	})
}

// The history is kept for a year longer than the log, and then it goes, however much there
// is of it.
func TestExpireValidations(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		const old = 2*expireRows + 10
		remember(t, db, 1, slices.Concat(slices.Repeat([]time.Time{now}, old), []time.Time{now.Add(time.Hour)})...)
		count := func() int {
			t.Helper()
			all, err := db.Validations(t.Context(), 1, 10*old)
			must(t, err)
			return len(all)
		}
		must(t, db.Expire(t.Context(), now.Add(keepValidations)))
		if n := count(); n != old+1 {
			t.Errorf("of what is a year old %d are left, want %d", n, old+1)
		}
		must(t, db.Expire(t.Context(), now.Add(keepValidations+time.Minute)))
		if n := count(); n != 1 {
			t.Errorf("of what is older %d are left, want 1", n)
		}
	})
}

// What the platform knows of endpoints and people is the same after a restart.
func TestEndpointsAndPeopleAreKept(t *testing.T) {
	eachStore(t, func(t *testing.T, o Options) {
		db := open(t, o)
		setup(t, db)
		s := subscription(1)
		s.Endpoint = hook.Endpoint{
			URL: "https://hooks.example.com/", State: hook.Failing, StateReason: "why", StateSince: now, Checked: now.Add(time.Hour),
			Failures: []hook.Failure{{At: now.UTC(), Reason: "first"}, {At: now.Add(time.Hour).UTC(), Reason: "why"}},
		}
		s.Development = hook.Endpoint{URL: "https://dev.example.com/", State: hook.Disabled, StateReason: "dev", StateSince: now.Add(time.Minute)}
		people := hook.Change{
			Subscriptions: []*hook.Subscription{s},
			Groups:        []hook.Group{{Account: accountName, ID: "g1"}, {Account: accountName, ID: "g2"}},
			Users:         []*hook.User{{Account: accountName, ID: "ann", Groups: []string{"g1", "g2"}}, {Account: accountName, ID: "bob"}},
		}
		must(t, db.Change(people, now))
		must(t, db.Change(hook.Change{RemoveUsers: []hook.User{{Account: accountName, ID: "bob"}}, RemoveGroups: people.Groups[:1]}, now))
		for range 2 {
			d := db.Directory()
			got, _ := d.Subscription(1)
			for _, in := range hook.AppStates() {
				if e, want := *got.At(in), *s.At(in); e.URL != want.URL || e.State != want.State || e.StateReason != want.StateReason ||
					!e.StateSince.Equal(want.StateSince) || !e.Checked.Equal(want.Checked) || !slices.Equal(e.Failures, want.Failures) {
					t.Errorf("the %s endpoint is %+v, want %+v", in, e, want)
				}
			}
			if users := d.Users(accountName); len(users) != 1 || users[0].ID != "ann" || !slices.Equal(users[0].Groups, []string{"g1", "g2"}) || !slices.Equal(d.Groups(accountName), []string{"g2"}) {
				t.Errorf("the people are %+v in %v", users, d.Groups(accountName))
			}
			must(t, db.Close())
			db = open(t, o)
		}
		// An endpoint that is taken away is gone.
		without := *s
		without.Development = hook.Endpoint{}
		must(t, db.Change(hook.Change{Subscriptions: []*hook.Subscription{&without}}, now))
		must(t, db.Close())
		db = open(t, o)
		if got, _ := db.Directory().Subscription(1); got.Development.URL != "" || got.URL != s.URL {
			t.Errorf("it has %+v", got)
		}
		must(t, db.Close())
	})
}

// A round, its place in the history and its mail are stored together or not at all.
func TestARoundIsStoredWhole(t *testing.T) {
	onEachStore(t, func(t *testing.T, db *DB) {
		setup(t, db, 1)
		s := subscription(1)
		s.State = hook.Failing
		taken := &hook.App{ID: "other", Account: accountName, Name: "App", ClientID: "other"} // whose name is taken
		err := db.Change(hook.Change{
			Subscriptions: []*hook.Subscription{s}, Apps: []*hook.App{taken},
			Validations: []hook.Validation{{Subscription: 1, In: hook.Production, At: now, Occasion: hook.OnRound, State: hook.Failing}},
		}, now, &outbox.Message{To: "ann@example.com", Subject: "s", Text: "t", Created: now})
		if kindOf(err) != hook.Conflict {
			t.Fatalf("stored: %v", err)
		}
		got, _ := db.Directory().Subscription(1)
		history, err := db.Validations(t.Context(), 1, 10)
		must(t, err)
		if got.State != hook.Valid || len(history) != 0 || len(mails(t, db, 10)) != 0 {
			t.Errorf("it is %v, with a history of %d and %d mails", got.State, len(history), len(mails(t, db, 10)))
		}
	})
}
