package hook

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// world is a directory with one of everything, to be changed by a case.
type world struct {
	event Event
	typ   EventType
	app   App
	sub   Subscription

	master    string // of the event's account
	installed []Installation
	users     []*User
}

func newWorld() *world {
	return &world{
		event: Event{ID: 1, Account: "acme", Type: "meeting.started", Users: []string{"ann"}, Groups: []string{"sales"}},
		typ:   EventType{Name: "meeting.started", Scopes: []string{"meeting:read", "meeting:read:meeting"}},
		app:   App{ID: "app", Account: "acme", Scopes: []string{"meeting:read"}},
		sub:   Subscription{ID: "s", Key: 1, App: "app", Events: []string{"meeting.ended", "meeting.started"}, Scope: ScopeAccount, Subscribers: []Subscriber{{}}, Endpoint: Endpoint{State: Valid}},
	}
}

func (w *world) peering() {
	w.typ.Routing = ByCarrier
	w.event.Carrier = 3457
	w.app.CarrierCodes = []int32{1, 3457}
	w.app.Account = "carrier"
}

func (w *world) directory() *Directory {
	slices.Sort(w.sub.Events)
	d := NewDirectory()
	d.Apply(Change{
		Accounts:      []*Account{{ID: "acme", Master: w.master}, {ID: "holding"}, {ID: "carrier"}, {ID: "other"}},
		Apps:          []*App{&w.app},
		Installations: w.installed,
		Users:         w.users,
		Subscriptions: []*Subscription{&w.sub},
	})
	return d
}

func TestMatching(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*world)
		want Verdict
	}{
		"an app's own account":                     {func(*world) {}, Entitled},
		"another event type":                       {func(w *world) { w.sub.Events = []string{"meeting.ended"} }, NotSubscribed},
		"an endpoint that has not proven itself":   {func(w *world) { w.sub.State = Pending }, NotValidated},
		"an endpoint whose last validation failed": {func(w *world) { w.sub.State = Failing }, Entitled},
		"a disabled subscription":                  {func(w *world) { w.sub.State = Disabled }, SubscriptionOff},
		"a disabled app":                           {func(w *world) { w.app.Disabled = true }, AppOff},
		"the granular scope only":                  {func(w *world) { w.app.Scopes = []string{"meeting:read:meeting"} }, Entitled},
		"neither scope":                            {func(w *world) { w.app.Scopes = []string{"meeting:write"} }, MissingScope},
		"a type without scopes":                    {func(w *world) { w.typ.Scopes, w.app.Scopes = nil, nil }, Entitled},
		"an app of another account":                {func(w *world) { w.app.Account = "other" }, NotInstalled},
		"installed on the account":                 {func(w *world) { w.app.Account = "other"; w.installed = []Installation{{"app", "acme", ""}} }, Entitled},
		"installed by the event's user":            {func(w *world) { w.app.Account = "other"; w.installed = []Installation{{"app", "acme", "ann"}} }, Entitled},
		"installed by another user":                {func(w *world) { w.app.Account = "other"; w.installed = []Installation{{"app", "acme", "bob"}} }, NotInstalled},
		"installed on yet another account":         {func(w *world) { w.app.Account = "other"; w.installed = []Installation{{"app", "carrier", ""}} }, NotInstalled},
		"subscribed to this account":               {func(w *world) { w.sub.Subscribers = []Subscriber{{Account: "acme"}} }, Entitled},
		"subscribed to another account":            {func(w *world) { w.sub.Subscribers = []Subscriber{{Account: "other"}} }, OutOfAccount},
		"subscribed to the user": {func(w *world) {
			w.sub.Scope, w.sub.Subscribers = ScopeUser, []Subscriber{{Users: union(nil, []string{"bob", "ann"})}}
		}, Entitled},
		"subscribed to another user": {func(w *world) {
			w.sub.Scope, w.sub.Subscribers = ScopeUser, []Subscriber{{Users: union(nil, []string{"bob"})}}
		}, OutOfUsers},
		"subscribed to the user's group": {func(w *world) { w.sub.Scope, w.sub.Subscribers = ScopeUser, []Subscriber{{Groups: []string{"sales"}}} }, Entitled},
		"subscribed to the user in another account": {func(w *world) {
			w.sub.Scope, w.sub.Subscribers = ScopeUser, []Subscriber{{Account: "other", Users: []string{"ann"}}}
		}, OutOfAccount},
		"an event of nobody in particular, scope user": {func(w *world) {
			w.sub.Scope, w.sub.Subscribers, w.event.Users = ScopeUser, []Subscriber{{Users: []string{"ann"}}}, nil
		}, OutOfUsers},
		"master subscription, event of the master itself": {func(w *world) { w.sub.Scope, w.sub.Subscribers = ScopeMasterAccount, []Subscriber{{Account: "acme"}} }, Entitled},
		"master subscription, event of a sub-account": {func(w *world) {
			w.sub.Scope, w.sub.Subscribers, w.master, w.app.Account = ScopeMasterAccount, []Subscriber{{Account: "holding"}}, "holding", "holding"
		}, Entitled},
		"account subscription of the master, event of a sub-account": {func(w *world) {
			w.sub.Subscribers, w.master, w.app.Account = []Subscriber{{Account: "holding"}}, "holding", "holding"
		}, NotInstalled},
		"master subscription of a stranger": {func(w *world) {
			w.sub.Scope, w.sub.Subscribers, w.app.Account = ScopeMasterAccount, []Subscriber{{Account: "holding"}}, "holding"
		}, NotInstalled},
		"master subscription, app installed on the sub-account only": {func(w *world) {
			w.sub.Scope, w.sub.Subscribers, w.master, w.app.Account, w.installed = ScopeMasterAccount, []Subscriber{{Account: "holding"}}, "holding", "other", []Installation{{"app", "acme", ""}}
		}, Entitled},
		"several accounts, this one among them": {func(w *world) { w.sub.Subscribers = []Subscriber{{Account: "acme"}, {Account: "other"}} }, Entitled},
		"everybody has unsubscribed":            {func(w *world) { w.sub.Subscribers = nil }, NoSubscriber},
		"subscribed to a group that the event's user is in": {func(w *world) {
			w.sub.Scope, w.sub.Subscribers = ScopeUser, []Subscriber{{Account: "acme", Groups: []string{"board"}}}
			w.users = []*User{{Account: "acme", ID: "ann", Groups: []string{"board"}}}
		}, Entitled},
		"subscribed to a group that the event's user is not in": {func(w *world) {
			w.sub.Scope, w.sub.Subscribers = ScopeUser, []Subscriber{{Account: "acme", Groups: []string{"board"}}}
			w.users = []*User{{Account: "acme", ID: "ann", Groups: []string{"sales"}}, {Account: "other", ID: "ann", Groups: []string{"board"}}}
		}, OutOfUsers},
		"subscribed to two users, of whom the other one has installed it": {func(w *world) {
			w.app.Account, w.installed, w.event.Users = "other", []Installation{{"app", "acme", "bob"}}, []string{"ann", "bob"}
			w.sub.Scope, w.sub.Subscribers = ScopeUser, []Subscriber{{Account: "acme", Users: []string{"ann"}}}
		}, OutOfUsers},
		"development: the endpoint for it is valid, the other is not": {func(w *world) {
			w.app.State, w.sub.State, w.sub.Development = Development, Disabled, Endpoint{URL: "d", State: Valid}
		}, Entitled},
		"development: the endpoint for it is not valid, the other is": {func(w *world) {
			w.app.State, w.sub.Development = Development, Endpoint{URL: "d", State: Pending}
		}, NotValidated},
		"development: there is no endpoint for it":        {func(w *world) { w.app.State = Development }, Entitled},
		"production: the endpoint for development is off": {func(w *world) { w.sub.Development = Endpoint{URL: "d", State: Disabled} }, Entitled},
		"peering: everybody has unsubscribed":             {func(w *world) { w.peering(); w.sub.Subscribers = nil }, NoSubscriber},
		"peering: bound to the carrier code":              {func(w *world) { w.peering() }, Entitled},
		"peering: bound to another":                       {func(w *world) { w.peering(); w.app.CarrierCodes = []int32{1} }, OtherCarrier},
		"peering: the customer's own app":                 {func(w *world) { w.peering(); w.app.Account, w.app.CarrierCodes = "acme", nil }, OtherCarrier},
		"peering: subscribed to the carrier's account":    {func(w *world) { w.peering(); w.sub.Subscribers = []Subscriber{{Account: "carrier"}} }, Entitled},
		"peering: without the scope":                      {func(w *world) { w.peering(); w.app.Scopes = nil }, MissingScope},
		"peering: master subscription of the carrier": {func(w *world) {
			w.peering()
			w.sub.Scope, w.sub.Subscribers = ScopeMasterAccount, []Subscriber{{Account: "carrier"}}
		}, Entitled},
		"peering: subscribed to users of whom none is": {func(w *world) {
			w.peering()
			w.sub.Scope, w.sub.Subscribers = ScopeUser, []Subscriber{{Users: union(nil, []string{"zoe"})}}
		}, OutOfUsers},
		"carrier code of an event that is not a peering's": {func(w *world) { w.event.Carrier = 7; w.app.Account = "other"; w.app.CarrierCodes = []int32{7} }, NotInstalled},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			c.edit(w)
			d := w.directory()
			got, known := d.Verdict(&w.event, &w.typ, 1)
			if !known || got != c.want {
				t.Errorf("verdict: %s; want: %s", got.Explain(&w.event, &w.typ, &w.sub, &w.app), c.want.Explain(&w.event, &w.typ, &w.sub, &w.app))
			}
			owed, _ := d.Match(nil, &w.event, &w.typ)
			if (len(owed) == 1) != (c.want == Entitled) {
				t.Errorf("Match returns %v", owed)
			}
			// What only keeps this subscription from it does not keep its app from it.
			may := !slices.Contains([]Verdict{AppOff, MissingScope, OtherCarrier, NotInstalled}, c.want) || strings.HasPrefix(name, "account subscription of the master")
			if d.MayReceive(&w.event, &w.typ, "app") != may {
				t.Errorf("that the app may receive it is %v", !may)
			}
			near := d.NearMisses(&w.event, &w.typ, nil)
			if len(near) != 1 || near[0].Subscription != 1 || (near[0].Distance == 0) != (c.want == Entitled) {
				t.Errorf("NearMisses returns %v", near)
			}
			if c.want != Entitled && !d.fails(c.want, &w.event, &w.typ, &w.sub, &w.app) {
				t.Errorf("the question of the verdict %v is not answered with no", c.want)
			}
		})
	}
}

// Two subscriptions of one app that list the same event are both owed it.
func TestEachSubscriptionIsOwedItsOwnDelivery(t *testing.T) {
	w := newWorld()
	d := w.directory()
	second := w.sub
	second.Key, second.Generation = 2, 5
	d.Apply(Change{Subscriptions: []*Subscription{&second}})
	owed, version := d.Match(nil, &w.event, &w.typ)
	if want := []Owed{{Subscription: 1}, {Subscription: 2, Generation: 5}}; !slices.Equal(owed, want) || version != d.Version() {
		t.Errorf("owed %v by version %d", owed, version)
	}
}

func drawSubscribers(t *rapid.T) (all []Subscriber) {
	for _, account := range rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "m"}), 0, 2).Draw(t, "subscribers") {
		all = With(all, Subscriber{
			Account: account, Users: rapid.SliceOfN(rapid.SampledFrom([]string{"u", "v"}), 0, 2).Draw(t, "users"),
			Groups: rapid.SliceOfN(rapid.Just("g"), 0, 1).Draw(t, "user groups"),
		})
	}
	return all
}

// Match, which looks only where something may be, finds what asking every
// subscription finds; after any sequence of changes.
func TestMatchFindsWhatAskingEachFinds(t *testing.T) {
	accounts := []string{"a", "b", "c", "m"}
	rapid.Check(t, func(t *rapid.T) {
		d := NewDirectory()
		subs := map[SubscriptionKey]bool{}
		for range rapid.IntRange(1, 30).Draw(t, "changes") {
			app := fmt.Sprint("app", rapid.IntRange(0, 3).Draw(t, "app"))
			key := SubscriptionKey(rapid.IntRange(1, 8).Draw(t, "key"))
			account := rapid.SampledFrom(accounts).Draw(t, "account")
			user := rapid.SampledFrom([]string{"", "u", "v"}).Draw(t, "user")
			var c Change
			switch rapid.IntRange(0, 7).Draw(t, "what") {
			case 7:
				c.Users = []*User{{Account: account, ID: "w", Groups: rapid.SampledFrom([][]string{nil, {"g"}}).Draw(t, "groups")}}
			case 0:
				c.Accounts = []*Account{{ID: account, Master: rapid.SampledFrom([]string{"", "m"}).Draw(t, "master")}}
			case 1, 2:
				owner := account
				if a := d.App(app); a != nil {
					owner = a.Account // an app does not move
				}
				c.Apps = []*App{{ID: app, Account: owner, State: rapid.SampledFrom(AppStates()).Draw(t, "app state"), CarrierCodes: rapid.SliceOfN(rapid.Int32Range(1, 3), 0, 2).Draw(t, "codes")}}
			case 3:
				if d.App(app) == nil {
					continue
				}
				if s, _ := d.Subscription(key); s != nil && s.App != app {
					continue
				}
				c.Subscriptions = []*Subscription{{
					Key: key, App: app, Events: []string{"e"}, Endpoint: Endpoint{State: SubscriptionState(rapid.IntRange(0, 3).Draw(t, "state"))},
					Development: Endpoint{URL: rapid.SampledFrom([]string{"", "d"}).Draw(t, "development"), State: Valid},
					Scope:       rapid.SampledFrom([]SubscriptionScope{ScopeUser, ScopeAccount, ScopeMasterAccount}).Draw(t, "scope"),
					Subscribers: drawSubscribers(t),
				}}
				subs[key] = true
			case 4:
				c.Installations = []Installation{{app, account, user}}
			case 5:
				c.RemoveInstallations = []Installation{{app, account, user}}
			case 6:
				if rapid.Bool().Draw(t, "delete app") {
					c.RemoveApps = []string{app}
				} else {
					c.RemoveSubscriptions = []SubscriptionKey{key}
				}
			}
			d.Apply(c)
		}
		e := &Event{
			Type: "e", Account: rapid.SampledFrom(accounts).Draw(t, "event account"),
			Carrier: rapid.Int32Range(1, 3).Draw(t, "carrier"), Users: []string{rapid.SampledFrom([]string{"u", "w"}).Draw(t, "event user")},
		}
		typ := &EventType{Name: "e", Routing: Routing(rapid.IntRange(0, 1).Draw(t, "routing"))}
		got := map[SubscriptionKey]bool{}
		owed, _ := d.Match(nil, e, typ)
		for _, o := range owed {
			if got[o.Subscription] {
				t.Fatalf("%v is owed twice", o.Subscription)
			}
			got[o.Subscription] = true
		}
		want := map[SubscriptionKey]bool{}
		for k := range subs {
			if v, known := d.Verdict(e, typ, k); known && v == Entitled {
				want[k] = true
				if s, _ := d.Subscription(k); !d.MayReceive(e, typ, s.App) {
					t.Fatalf("%v is owed it, and its app may not receive it", k)
				}
			}
		}
		if !maps.Equal(got, want) {
			t.Fatalf("Match finds %v, asking each finds %v", got, want)
		}
	})
}

func TestVerdictsAreExplained(t *testing.T) {
	w := newWorld()
	seen := map[string]bool{}
	for v := Entitled; v <= OutOfUsers; v++ {
		text := v.Explain(&w.event, &w.typ, &w.sub, &w.app)
		if seen[text] || text == "" {
			t.Errorf("verdict %d: %q", v, text)
		}
		seen[text] = true
	}
}
