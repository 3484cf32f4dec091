package manage_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
)

// endpointsOf returns the states and URLs of own's endpoints.
func (w *world) endpointsOf() string {
	s, text := w.own(), ""
	for _, in := range hook.AppStates() {
		if e := s.At(in); e.URL != "" {
			text += string(in) + " " + e.State.String() + " " + e.URL + ";"
		}
	}
	return text
}

const (
	both     = "production valid " + ownURL + ";development valid " + devURL2 + ";"
	onlyProd = "production valid " + ownURL + ";"
	newURL   = "https://new.customer.example/hook"
)

// A subscription is made with two endpoints. Each has to prove itself; one that does not is
// pending, and the plan says which and why.
func TestCreateWithTwoEndpoints(t *testing.T) {
	for name, c := range map[string]struct {
		down   []string
		state  string // of the app
		action manage.Action
		reason string
		want   string
		served hook.SubscriptionState
	}{
		"both answer": {nil, "", manage.Create,
			"the production endpoint answered its challenge in 12ms; the development endpoint answered its challenge in 12ms", both, hook.Valid},
		"development does not": {[]string{devURL2}, "", manage.Fail,
			"created with an endpoint pending, for the development endpoint did not answer its challenge: down",
			"production valid " + ownURL + ";development pending " + devURL2 + ";", hook.Valid},
		"development does not, and serves": {[]string{devURL2}, "development", manage.Fail,
			"created with an endpoint pending, for the development endpoint did not answer its challenge: down",
			"production valid " + ownURL + ";development pending " + devURL2 + ";", hook.Pending},
		"production does not": {[]string{ownURL}, "", manage.Fail,
			"created with an endpoint pending, for the production endpoint did not answer its challenge: down",
			"production pending " + ownURL + ";development valid " + devURL2 + ";", hook.Pending},
		"none does": {[]string{ownURL, devURL2}, "development", manage.Fail,
			"created as pending, for the production endpoint did not answer its challenge: down; the development endpoint did not answer its challenge: down",
			"production pending " + ownURL + ";development pending " + devURL2 + ";", hook.Pending},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for _, url := range c.down {
				w.prober.breaks(url, "down")
			}
			m := withTwo()
			m.Apps[1].State = c.state
			p := w.apply(m)
			if got := step(t, p, "subscription", "crm/own"); got.Action != c.action || got.Reason != c.reason {
				t.Errorf("%s: %q, want %s: %q", got.Action, got.Reason, c.action, c.reason)
			}
			if got := w.endpointsOf(); got != c.want {
				t.Errorf("it has %s, want %s", got, c.want)
			}
			s := w.own()
			if got := s.Serving(w.app("crm")).State; got != c.served {
				t.Errorf("what serves is %s", got)
			}
			for _, in := range hook.AppStates() {
				if e := s.At(in); (e.StateReason == "down") != slices.Contains(c.down, e.URL) || e.StateSince.IsZero() || e.Checked.IsZero() == e.Active() {
					t.Errorf("%s is %+v", in, e)
				}
			}
			// The trail has it also where an endpoint failed.
			trail, err := w.db.Audit(t.Context(), hook.AuditFilter{Subject: s.ID, Limit: 10})
			if err != nil || len(trail) != 1 || trail[0].Action != hook.Created {
				t.Errorf("the audit trail is %+v, %v", trail, err)
			}
			if got := len(w.history()); got != 2 {
				t.Errorf("the history is %q", w.history())
			}
			// Once they answer, applying again makes all valid, and after that nothing.
			for _, url := range c.down {
				w.prober.breaks(url, "")
			}
			w.apply(m)
			if got := w.endpointsOf(); got != both {
				t.Errorf("in the end it has %s", got)
			}
			w.unchanged(func() {
				if p := w.apply(m); p.Changes() != 0 {
					t.Errorf("steps are %q", steps(p))
				}
			})
		})
	}
}

// Every change of an endpoint is in the plan; what is new has to prove itself, and nothing
// else is asked. What does not prove itself leaves the subscription as it was - but for an
// endpoint that got nothing before: that holds up nobody.
func TestChangesOfTwoEndpoints(t *testing.T) {
	own := func(m *manage.Manifest) *manage.Subscription { return &m.Apps[1].Subscriptions[1] }
	dev := func(url string) func(*manage.Manifest) {
		return func(m *manage.Manifest) { own(m).Development = url }
	}
	disable := func(in hook.AppState) func(w *world) {
		return func(w *world) {
			w.prober.breaks(w.own().At(in).URL, "down")
			w.rounds(6, in)
			w.prober.breaks(w.own().At(in).URL, "")
		}
	}
	const devLine = `development_webhook_url: "` + devURL2 + `" -> `
	for name, c := range map[string]struct {
		before     func(w *world)
		edit       func(*manage.Manifest)
		down       []string
		action     manage.Action
		changes    []string
		reason     string
		challenged string
		want       string
	}{
		"another development URL": {nil, dev(newURL), nil, manage.Update, []string{devLine + `"` + newURL + `"`},
			"the development endpoint answered its challenge in 12ms", newURL, "production valid " + ownURL + ";development valid " + newURL + ";"},
		"no development URL": {nil, dev(""), nil, manage.Update, []string{devLine + `""`}, "", "", onlyProd},
		"both exchanged": {nil, func(m *manage.Manifest) { own(m).URL, own(m).Development = devURL2, ownURL }, nil, manage.Update,
			[]string{`event_webhook_url: "` + ownURL + `" -> "` + devURL2 + `"`, devLine + `"` + ownURL + `"`},
			"the production endpoint answered its challenge in 12ms; the development endpoint answered its challenge in 12ms", devURL2 + " " + ownURL,
			"production valid " + devURL2 + ";development valid " + ownURL + ";"},
		"the header": {nil, func(m *manage.Manifest) { own(m).CustomHeader = &manage.CustomHeader{Type: 3, Key: "X-A", Value: "v"} }, nil, manage.Update,
			[]string{"custom_header"}, "the production endpoint answered its challenge in 12ms; the development endpoint answered its challenge in 12ms",
			devURL2 + " " + ownURL, both},
		"the same URL for both": {nil, dev(ownURL), nil, manage.Update, []string{devLine + `"` + ownURL + `"`}, "the development endpoint answered its challenge in 12ms", ownURL,
			"production valid " + ownURL + ";development valid " + ownURL + ";"},
		"a limit": {nil, func(m *manage.Manifest) { own(m).MaxInFlight = 3 }, nil, manage.Update, []string{"max_in_flight: 0 -> 3"}, "", "", both},

		"a new development URL fails": {nil, func(m *manage.Manifest) { own(m).Development, own(m).MaxInFlight = newURL, 3 }, []string{newURL}, manage.Fail,
			[]string{devLine + `"` + newURL + `"`, "max_in_flight: 0 -> 3"}, "left as it was, for the development endpoint did not answer its challenge: down", newURL, both},
		"a new production URL fails": {nil, func(m *manage.Manifest) { own(m).URL, own(m).Development = newURL, "" }, []string{newURL}, manage.Fail,
			[]string{`event_webhook_url: "` + ownURL + `" -> "` + newURL + `"`, devLine + `""`},
			"left as it was, for the endpoint did not answer its challenge: down", newURL, both},
		"one of two with a new header fails": {nil, func(m *manage.Manifest) { own(m).CustomHeader = &manage.CustomHeader{Type: 3, Key: "X-A", Value: "v"} }, []string{devURL2}, manage.Fail,
			[]string{"custom_header"}, "left as it was, for the development endpoint did not answer its challenge: down", devURL2 + " " + ownURL, both},

		"a disabled one is enabled": {disable(hook.Development), func(*manage.Manifest) {}, nil, manage.Update, []string{"development endpoint: disabled -> valid"},
			"the development endpoint answered its challenge in 12ms", devURL2, both},
		"the disabled production endpoint is enabled": {disable(hook.Production), func(*manage.Manifest) {}, nil, manage.Update, []string{"disabled -> valid"},
			"the production endpoint answered its challenge in 12ms", ownURL, both},
		"a disabled one still fails": {disable(hook.Development), func(*manage.Manifest) {}, []string{devURL2}, manage.Fail, []string{"development endpoint: disabled -> valid"},
			"left as it was, for the development endpoint did not answer its challenge: down", devURL2, "production valid " + ownURL + ";development disabled " + devURL2 + ";"},
		"a disabled one still fails, and something else changes": {disable(hook.Development), func(m *manage.Manifest) { own(m).MaxInFlight = 3 }, []string{devURL2}, manage.Fail,
			[]string{"max_in_flight: 0 -> 3"}, "done, but an endpoint is left as it was, for the development endpoint did not answer its challenge: down", devURL2,
			"production valid " + ownURL + ";development disabled " + devURL2 + ";"},
		"a disabled one still fails, and the other has a new URL": {disable(hook.Development), func(m *manage.Manifest) { own(m).URL = newURL }, []string{devURL2}, manage.Fail,
			[]string{`event_webhook_url: "` + ownURL + `" -> "` + newURL + `"`},
			"done, but an endpoint is left as it was, for the development endpoint did not answer its challenge: down", devURL2 + " " + newURL,
			"production valid " + newURL + ";development disabled " + devURL2 + ";"},
		"a disabled one still fails, and so does the other's new URL": {disable(hook.Development), func(m *manage.Manifest) { own(m).URL = newURL }, []string{devURL2, newURL}, manage.Fail,
			[]string{`event_webhook_url: "` + ownURL + `" -> "` + newURL + `"`, "development endpoint: disabled -> valid"},
			"left as it was, for the production endpoint did not answer its challenge: down; the development endpoint did not answer its challenge: down", devURL2 + " " + newURL,
			"production valid " + ownURL + ";development disabled " + devURL2 + ";"},
		"of two disabled ones one answers": {func(w *world) { disable(hook.Development)(w); disable(hook.Production)(w) }, func(*manage.Manifest) {}, []string{devURL2}, manage.Fail,
			[]string{"disabled -> valid"}, "done, but an endpoint is left as it was, for the development endpoint did not answer its challenge: down", devURL2 + " " + ownURL,
			"production valid " + ownURL + ";development disabled " + devURL2 + ";"},
		"a disabled one gets a new URL": {disable(hook.Development), dev(newURL), nil, manage.Update, []string{devLine + `"` + newURL + `"`, "development endpoint: disabled -> valid"},
			"the development endpoint answered its challenge in 12ms", newURL, "production valid " + ownURL + ";development valid " + newURL + ";"},
		"a disabled one goes": {disable(hook.Development), dev(""), nil, manage.Update, []string{devLine + `""`}, "", "", onlyProd},

		"switched off": {nil, func(m *manage.Manifest) { own(m).Disabled = true }, nil, manage.Update, []string{"disabled"}, "", "",
			"production disabled " + ownURL + ";development disabled " + devURL2 + ";"},
		"switched off, with one disabled": {disable(hook.Development), func(m *manage.Manifest) { own(m).Disabled = true }, nil, manage.Update, []string{"disabled"}, "", "",
			"production disabled " + ownURL + ";development disabled " + devURL2 + ";"},
		"switched off, and one goes": {nil, func(m *manage.Manifest) { own(m).Disabled, own(m).Development = true, "" }, nil, manage.Update, []string{devLine + `""`, "disabled"}, "", "",
			"production disabled " + ownURL + ";"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.apply(withTwo())
			if c.before != nil {
				c.before(w)
			}
			for _, url := range c.down {
				w.prober.breaks(url, "down")
			}
			m := withTwo()
			c.edit(m)
			got := step(t, w.apply(m), "subscription", "crm/own")
			if got.Action != c.action || !slices.Equal(got.Changes, c.changes) || got.Reason != c.reason {
				t.Errorf("%s %q: %q, want %s %q: %q", got.Action, got.Changes, got.Reason, c.action, c.changes, c.reason)
			}
			if got := strings.Join(w.prober.take(), " "); got != c.challenged {
				t.Errorf("challenged is %q, want %q", got, c.challenged)
			}
			if got := w.endpointsOf(); got != c.want {
				t.Errorf("it has %s, want %s", got, c.want)
			}
			if len(c.down) == 0 {
				w.unchanged(func() {
					if p := w.apply(m); p.Changes() != 0 || p.Failures() != 0 {
						t.Errorf("applied again: %+v", p.Steps)
					}
				})
			}
		})
	}
}

// What is added to a subscription that is switched off is off as well.
func TestAnEndpointForWhatIsOff(t *testing.T) {
	w := newWorld(t)
	m := manifest()
	later := &m.Apps[1].Subscriptions[2]
	w.apply(m)
	before := w.subscription("later").Generation
	later.Development = devURL2
	w.apply(m)
	s := w.subscription("later")
	if e := s.Development; e.State != hook.Disabled || e.StateReason != "disabled by the operator" || e.StateSince.IsZero() || s.Generation != before {
		t.Errorf("it is %+v", s)
	}
	w.unchanged(func() { w.apply(m) })
	later.Disabled = false
	w.apply(m)
	if s := w.subscription("later"); s.State != hook.Valid || s.Development.State != hook.Valid {
		t.Errorf("switched on it is %+v", s)
	}
}

// The state of an app says which endpoint serves. Switching it moves what is outstanding
// there - or calls it off, if nothing is to be sent there, and the plan says so.
func TestSwitchTheState(t *testing.T) {
	for name, c := range map[string]struct {
		before func(w *world)
		from   string
		edit   func(*manage.Manifest)
		off    bool
		reason string
	}{
		"to development":                      {nil, "", func(m *manage.Manifest) { m.Apps[1].State = "development" }, false, ""},
		"to production":                       {nil, "development", func(m *manage.Manifest) { m.Apps[1].State = "production" }, false, ""},
		"to production, which is the default": {nil, "development", func(*manage.Manifest) {}, false, ""},
		"to a development endpoint that is disabled": {func(w *world) {
			w.prober.breaks(devURL2, "down")
			w.rounds(6, hook.Development)
		}, "", func(m *manage.Manifest) { m.Apps[1].State = "development" }, true, "gets nothing from now on: its development endpoint is disabled"},
		"to a production endpoint that is disabled": {func(w *world) {
			w.prober.breaks(ownURL, "down")
			w.rounds(6, hook.Production)
		}, "development", func(*manage.Manifest) {}, true, "gets nothing from now on: its production endpoint is disabled"},
		"to one that is enabled at the same time": {func(w *world) {
			w.prober.breaks(ownURL, "down")
			w.rounds(6, hook.Production)
			w.prober.breaks(ownURL, "")
		}, "development", func(*manage.Manifest) {}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			m := withTwo()
			m.Apps[1].State = c.from
			w.apply(m)
			if c.before != nil {
				c.before(w)
			}
			before := *w.own()
			w.sender.off = nil
			m = withTwo()
			c.edit(m)
			p := w.apply(m)
			got := step(t, p, "app", "crm")
			if got.Action != manage.Update || len(got.Changes) != 1 || !strings.HasPrefix(got.Changes[0], "state: ") || !strings.HasSuffix(got.Reason, c.reason) || (got.Reason == "") != (c.reason == "") {
				t.Errorf("%+v", got)
			}
			if s := w.own(); (s.Generation == before.Generation+1) != c.off || (len(w.sender.off) == 1) != c.off {
				t.Errorf("the generation was %d and is %d; called off are %v", before.Generation, s.Generation, w.sender.off)
			}
			// The sender is told of what is served elsewhere, and of nothing else.
			if got := w.sender.take(); !slices.Equal(got, []hook.SubscriptionKey{before.Key}) {
				t.Errorf("the sender was told of %v, want %v", got, before.Key)
			}
		})
	}
}

// An app in development is served at the production endpoint as long as there is no other,
// so giving it one, or taking it away, moves what is outstanding too.
func TestServedElsewhere(t *testing.T) {
	w := newWorld(t)
	m := manifest()
	m.Apps[1].State = "development"
	w.apply(m)
	first := w.own().Generation
	m.Apps[1].Subscriptions[1].Development = devURL2
	w.apply(m)
	s := w.own()
	if e := s.Serving(w.app("crm")); e.URL != devURL2 || s.Generation != first {
		t.Errorf("served is %+v", s)
	}
	w.prober.breaks(ownURL, "down")
	w.rounds(6, hook.Production)
	if s := w.own(); s.Generation != first || s.State != hook.Disabled {
		t.Errorf("with the idle endpoint disabled it is %+v", s)
	}
	m.Apps[1].Subscriptions[1].Development = ""
	w.sender.off = nil
	w.apply(m) // which tries to enable the other, in vain
	if s := w.own(); s.Development.URL != devURL2 || s.Generation != first || w.sender.off != nil {
		t.Errorf("with the served endpoint gone it is %+v", s)
	}
}

// people returns the steps of a plan that are about users and groups.
func people(p *manage.Plan) (lines []string) {
	for _, s := range p.Steps {
		if s.Kind == "user" || s.Kind == "user_group" {
			lines = append(lines, strings.TrimSpace(strings.Join(append([]string{string(s.Action), s.Kind, s.Name}, s.Changes...), " ")+" "+s.Reason))
		}
	}
	return lines
}

// The users and groups of an account are as the manifest lists them, or, where it lists none,
// as they were. Who stays is in no group that goes.
func TestPeople(t *testing.T) {
	w := newWorld(t)
	apply := func(users []manage.User, groups []string) []string {
		t.Helper()
		m := &manage.Manifest{Accounts: []manage.Account{{ID: "acme", Users: users, Groups: groups}}}
		p := w.apply(m)
		w.unchanged(func() {
			if again := w.apply(m); again.Changes() != 0 {
				t.Errorf("applied again: %q", people(again))
			}
		})
		return people(p)
	}
	ann := manage.User{ID: "ann", Groups: []string{"sales", "board", "sales"}}
	for _, c := range []struct {
		name   string
		users  []manage.User
		groups []string
		want   []string
		after  string
	}{
		{"nobody is said", nil, nil, nil, "[] []"},
		{"some", []manage.User{ann, {ID: "bob"}}, []string{"sales", "board"}, []string{
			"create user_group acme/sales", "create user_group acme/board", "create user acme/ann", "create user acme/bob",
		}, "[{ann [board sales]} {bob []}] [board sales]"},
		{"nothing is said", nil, nil, nil, "[{ann [board sales]} {bob []}] [board sales]"},
		{"a group goes, and the users are not said", nil, []string{"sales", "support"}, []string{
			"keep user_group acme/sales", "create user_group acme/support", "remove user_group acme/board", "update user acme/ann groups: -board",
		}, "[{ann [sales]} {bob []}] [sales support]"},
		{"another group", []manage.User{{ID: "ann", Groups: []string{"support"}}, {ID: "bob"}}, nil, []string{
			"update user acme/ann groups: +support -sales", "keep user acme/bob",
		}, "[{ann [support]} {bob []}] [sales support]"},
		{"somebody goes", []manage.User{{ID: "bob", Groups: []string{"sales"}}}, []string{"sales"}, []string{
			"keep user_group acme/sales", "remove user_group acme/support", "update user acme/bob groups: +sales", "remove user acme/ann",
		}, "[{bob [sales]}] [sales]"},
		{"all go", []manage.User{}, []string{}, []string{"remove user_group acme/sales", "remove user acme/bob"}, "[] []"},
	} {
		if got := apply(c.users, c.groups); !slices.Equal(got, c.want) {
			t.Errorf("%s: steps are\n%q, want\n%q", c.name, got, c.want)
		}
		d := w.db.Directory()
		text := "["
		for i, u := range d.Users("acme") {
			if i > 0 {
				text += " "
			}
			text += "{" + u.ID + " [" + strings.Join(u.Groups, " ") + "]}"
		}
		if text += "] [" + strings.Join(d.Groups("acme"), " ") + "]"; text != c.after {
			t.Errorf("%s: there are %s, want %s", c.name, text, c.after)
		}
	}
}

// What is wrong with users and groups is named with its place.
func TestFaultsOfPeople(t *testing.T) {
	w := newWorld(t)
	w.apply(&manage.Manifest{Accounts: []manage.Account{{ID: "acme", Groups: []string{"old"}}}})
	for name, c := range map[string]struct {
		account manage.Account
		want    []string
	}{
		"no id":        {manage.Account{Users: []manage.User{{}}}, []string{"/accounts/0/users/0/id is missing"}},
		"a bad id":     {manage.Account{Users: []manage.User{{ID: "a b"}}}, []string{`/accounts/0/users/0/id "a b" has characters other than A-Z a-z 0-9 _ . : -`}},
		"a user twice": {manage.Account{Users: []manage.User{{ID: "ann"}, {ID: "bob"}, {ID: "ann"}}}, []string{"/accounts/0/users/2/id is the same as /accounts/0/users/0/id: name each once"}},
		"no group":     {manage.Account{Groups: []string{""}}, []string{"/accounts/0/user_groups/0 is missing"}},
		"a bad group":  {manage.Account{Groups: []string{"ok", "a/b"}}, []string{`/accounts/0/user_groups/1 "a/b" has characters other than A-Z a-z 0-9 _ . : -`}},
		"a group twice": {manage.Account{Groups: []string{"a", "b", "a"}}, []string{
			"/accounts/0/user_groups/2 is the same as /accounts/0/user_groups/0: name each once"}},
		"a group that is not there": {manage.Account{Users: []manage.User{{ID: "ann", Groups: []string{"sales", "old"}}}}, []string{
			`/accounts/0/users/0/groups account "acme" has no group "sales": list it in user_groups`}},
		"a group that goes": {manage.Account{Users: []manage.User{{ID: "ann", Groups: []string{"old"}}}, Groups: []string{}}, []string{
			`/accounts/0/users/0/groups account "acme" has no group "old": list it in user_groups`}},
	} {
		t.Run(name, func(t *testing.T) {
			c.account.ID = "acme"
			if got := faultsOf(t, w.fails(&manage.Manifest{Accounts: []manage.Account{c.account}})); !slices.Equal(got, c.want) {
				t.Errorf("faults are %q, want %q", got, c.want)
			}
		})
	}
}

// A subscription that names somebody who is removed keeps doing so, and the plan says it:
// whom an event concerns, its producer says. It can be taken off, or changed, as ever.
func TestPeopleWhoAreNamed(t *testing.T) {
	w := newWorld(t)
	m := manifest()
	m.Accounts[2].Users, m.Accounts[2].Groups = []manage.User{{ID: "ann", Groups: []string{"sales"}}, {ID: "bob"}}, []string{"sales", "support"}
	w.apply(m)
	id := w.own().ID // which names ann and sales, of whatever account
	m.Accounts[2].Users, m.Accounts[2].Groups = []manage.User{}, []string{}
	want := []string{
		"remove user_group customer/sales subscription " + id + " still names it", "remove user_group customer/support",
		"remove user customer/ann subscription " + id + " still names it", "remove user customer/bob",
	}
	dry, err := w.Apply(t.Context(), operator, m, true)
	must(t, err)
	if got := people(dry); !slices.Equal(got, want) {
		t.Errorf("the plan says\n%q, want\n%q", got, want)
	}
	before := w.own()
	if got := people(w.apply(m)); !slices.Equal(got, want) {
		t.Errorf("done is\n%q, want\n%q", got, want)
	}
	if w.own() != before {
		t.Errorf("the subscription was changed")
	}
	// If the same manifest changes whom it names, there is nothing to say.
	m.Accounts[2].Users = []manage.User{{ID: "ann"}}
	w.apply(m)
	m.Accounts[2].Users = []manage.User{}
	m.Apps[1].Subscriptions[1].Users = []string{"carl"}
	if got := people(w.apply(m)); !slices.Equal(got, []string{"remove user customer/ann"}) {
		t.Errorf("done is %q", got)
	}
}
