package manage_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/challenge"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/outbound"
	"github.com/switchhook/switchhook/webhook"
)

// A manifest makes a platform of nothing: every step is said, every endpoint that is
// to get events is challenged once, and what is made is what the manifest says.
func TestApply(t *testing.T) {
	w := newWorld(t)
	p := w.apply(manifest())
	want := []string{
		"create account carrier", "create account branch", "create account customer",
		"create app peering", "create subscription peering/names", "create subscription peering/all",
		"create app crm", "create installation crm on account branch", "create installation crm on account carrier, user ann",
		"create subscription crm/orders", "create subscription crm/own", "create subscription crm/later",
	}
	if got := steps(p); !slices.Equal(got, want) {
		t.Errorf("steps are\n\t%q, want\n\t%q", got, want)
	}
	if p.Changes() != len(want) || p.Failures() != 0 {
		t.Errorf("%d changes and %d failures", p.Changes(), p.Failures())
	}
	if got := step(t, p, "subscription", "crm/own").Reason; got != "the endpoint answered its challenge in 12ms" {
		t.Errorf("the reason is %q", got)
	}

	secrets := map[string]hook.Secret{
		namesURL: w.app("peering").SecretToken, allURL: w.app("peering").SecretToken, ordersURL: crmToken, ownURL: crmToken,
	}
	for _, c := range w.prober.calls {
		if c.secret == "" || c.secret != secrets[c.url] {
			t.Errorf("%s was challenged with %q", c.url, c.secret.Reveal())
		}
		if c.url == namesURL && c.auth != (hook.Auth{Mode: hook.AuthBasic, Username: "switchhook", Password: basicSecret}) {
			t.Errorf("%s was challenged with %+v", c.url, c.auth)
		}
	}
	if got := w.prober.take(); !slices.Equal(got, []string{allURL, ordersURL, namesURL, ownURL}) {
		t.Errorf("challenged are %q", got)
	}
	states := map[string]hook.SubscriptionState{"names": hook.Valid, "all": hook.Valid, "orders": hook.Valid, "own": hook.Valid, "later": hook.Disabled}
	if got := w.states(); !maps.Equal(got, states) {
		t.Errorf("states are %v", got)
	}

	// The subscriptions are those of the manifest.
	all, own := w.subscription("all"), w.subscription("own")
	if !slices.Equal(all.Events, []string{cnam, address}) || all.Scope != hook.ScopeAccount || all.Source != hook.SourceDefault ||
		all.Limits != (hook.Limits{InFlight: 4, PerSecond: 2.5}) || all.Auth.Mode != hook.AuthOAuth || !all.Auth.InBody || all.Auth.ClientSecret != oauthSecret {
		t.Errorf("made was %+v", all)
	}
	if own.Scope != hook.ScopeUser || !reflect.DeepEqual(own.Subscribers, []hook.Subscriber{{Users: []string{"ann"}, Groups: []string{"sales"}}}) || own.Auth != (hook.Auth{}) {
		t.Errorf("made was %+v", own)
	}
	if a := w.app("peering"); !slices.Equal(a.CarrierCodes, []int32{12, 2417}) {
		t.Errorf("made was %+v", a)
	}
	for _, s := range p.Steps {
		switch s.Kind {
		case "subscription":
			if got, _, err := w.Subscription(s.ID); err != nil || !strings.HasSuffix(s.Name, "/"+got.Name) {
				t.Errorf("%s has id %s: %v", s.Name, s.ID, err)
			}
		case "app":
			if got, err := w.App(s.ID); err != nil || got.Name != s.Name {
				t.Errorf("%s has id %s: %v", s.Name, s.ID, err)
			}
		}
	}
	var keys []hook.SubscriptionKey
	for _, s := range w.db.Directory().Subscriptions("") {
		keys = append(keys, s.Key)
	}
	slices.Sort(keys)
	if got := w.sender.take(); !slices.Equal(got, keys) {
		t.Errorf("the sender was told of %v, want %v", got, keys)
	}
}

// The credentials of a new app are shown once, and are those that count.
func TestCredentials(t *testing.T) {
	w := newWorld(t)
	p := w.apply(manifest())
	if len(p.Credentials) != 2 {
		t.Fatalf("credentials are %+v", p.Credentials)
	}
	for _, c := range p.Credentials {
		a := w.app(c.App)
		if c.AppID != a.ID || c.ClientID != a.ClientID || c.SecretToken != a.SecretToken.Reveal() {
			t.Errorf("credentials are %+v, the app is %+v", c, a)
		}
		if len(c.ClientSecret) < 22 || len(c.SecretToken) < 16 || c.ClientSecret == c.SecretToken || c.AppID == c.ClientID {
			t.Errorf("credentials are %+v", c)
		}
	}
	if a, b := p.Credentials[0], p.Credentials[1]; a.ClientSecret == b.ClientSecret || b.SecretToken != crmToken {
		t.Errorf("credentials are %+v and %+v", a, b)
	}
	if again := w.apply(manifest()); again.Credentials != nil {
		t.Errorf("shown again: %+v", again.Credentials)
	}
}

// Applied again, a manifest keeps everything, and no endpoint is troubled.
func TestApplyAgain(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	var p *manage.Plan
	version := w.db.Directory().Version()
	w.unchanged(func() { p = w.apply(manifest()) })
	if got := w.db.Directory().Version(); got != version {
		t.Errorf("nothing was changed, and what is being published has to be matched again")
	}
	for _, s := range p.Steps {
		if s.Action != manage.Keep || s.Changes != nil || s.Reason != "" {
			t.Errorf("%+v", s)
		}
	}
	if len(p.Steps) != 12 || p.Changes() != 0 {
		t.Errorf("steps are %q", steps(p))
	}
	if got := w.prober.take(); got != nil {
		t.Errorf("challenged are %q", got)
	}
	if got := w.sender.take(); got != nil {
		t.Errorf("the sender was told of %v", got)
	}
	// The order of lists means nothing.
	m := manifest()
	slices.Reverse(m.Apps[0].CarrierCodes)
	slices.Reverse(m.Apps[0].Subscriptions[1].Events)
	slices.Reverse(m.Apps)
	slices.Reverse(m.Accounts)
	if p := w.apply(m); p.Changes() != 0 {
		t.Errorf("in another order: %q", steps(p))
	}
}

// What a manifest does not name stays as it is.
func TestApplyLeavesTheRest(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	w.unchanged(func() {
		m := manifest()
		w.apply(&manage.Manifest{Accounts: m.Accounts[2:]})
		m.Apps[1].Installations, m.Apps[1].Subscriptions = nil, m.Apps[1].Subscriptions[1:2]
		w.apply(&manage.Manifest{Apps: m.Apps[1:]})
		w.apply(&manage.Manifest{})
	})
}

// A dry run says what would be done, challenges nobody, makes no secrets known and
// changes nothing.
func TestDryRun(t *testing.T) {
	dry := func(w *world, m *manage.Manifest) (p *manage.Plan) {
		t.Helper()
		w.prober.take()
		w.unchanged(func() {
			var err error
			p, err = w.Apply(t.Context(), operator, m, true)
			must(t, err)
		})
		if got := w.prober.take(); got != nil || p.Credentials != nil {
			t.Errorf("challenged are %q, credentials are %+v", got, p.Credentials)
		}
		return p
	}
	w := newWorld(t)
	p := dry(w, manifest())
	for _, s := range p.Steps {
		if s.Action == manage.Create && s.Kind != "account" && s.ID != "" {
			t.Errorf("the id of what is not there yet: %+v", s)
		}
	}
	if p.Changes() != 12 || step(t, p, "subscription", "crm/own").Reason != "the endpoint has to answer a challenge first" ||
		step(t, p, "subscription", "crm/later").Reason != "" {
		t.Errorf("on nothing: %+v", p)
	}
	w.apply(manifest())
	m := manifest()
	m.Apps[1].Subscriptions[1].URL = "https://new.customer.example/"
	m.Apps[1].Disabled = true
	p = dry(w, m)
	if p.Changes() != 2 || step(t, p, "subscription", "crm/own").Changes == nil {
		t.Errorf("on a platform: %+v", p)
	}
	m.Apps[1].Subscriptions[1].URL = "new"
	if _, err := w.Apply(t.Context(), operator, m, true); kindOf(err) != hook.Invalid {
		t.Errorf("with a fault: %v", err)
	}
}

// Every change of a field is in the plan, in words and without secrets; and it is made.
// An endpoint has to prove itself for what is new to it, and only for that.
func TestChanges(t *testing.T) {
	peering, crm := func(m *manage.Manifest) *manage.App { return &m.Apps[0] }, func(m *manage.Manifest) *manage.App { return &m.Apps[1] }
	names := func(m *manage.Manifest) *manage.Subscription { return &m.Apps[0].Subscriptions[0] }
	all := func(m *manage.Manifest) *manage.Subscription { return &m.Apps[0].Subscriptions[1] }
	orders := func(m *manage.Manifest) *manage.Subscription { return &m.Apps[1].Subscriptions[0] }
	own := func(m *manage.Manifest) *manage.Subscription { return &m.Apps[1].Subscriptions[1] }
	later := func(m *manage.Manifest) *manage.Subscription { return &m.Apps[1].Subscriptions[2] }
	const secret = "another-secret-text"
	w := newWorld(t)
	for _, c := range []struct {
		name       string
		edit       func(*manage.Manifest)
		step       string
		want       []string
		challenged string
	}{
		{"the name of an account", func(m *manage.Manifest) { m.Accounts[2].Name = "Customer, Inc." }, "account customer", []string{`name: "Customer" -> "Customer, Inc."`}, ""},
		{"the owner of an account", func(m *manage.Manifest) { m.Accounts[0].OwnerEmail = "" }, "account carrier", []string{`owner_email: "noc@carrier.example" -> ""`}, ""},
		{"the master of an account", func(m *manage.Manifest) { m.Accounts[1].Master = "carrier" }, "account branch", []string{`master_account_id: "customer" -> "carrier"`}, ""},

		{"the scopes of an app", func(m *manage.Manifest) { crm(m).Scopes = []string{"shop:read", "a:read", "a:read"} }, "app crm", []string{"scopes: +a:read"}, ""},
		{"carrier codes", func(m *manage.Manifest) { peering(m).CarrierCodes = []int32{-5, 12} }, "app peering", []string{"carrier_codes: +-5 -2417"}, ""},
		{"the secret token", func(m *manage.Manifest) { crm(m).SecretToken = secret }, "app crm", []string{"secret_token"}, ""},
		{"an app that is disabled", func(m *manage.Manifest) { crm(m).Disabled = true }, "app crm", []string{"disabled: false -> true"}, ""},

		{"events", func(m *manage.Manifest) { all(m).Events = []string{address} }, "subscription peering/all", []string{"events: -" + cnam}, ""},
		{"the URL", func(m *manage.Manifest) { own(m).URL = "https://new.customer.example/" }, "subscription crm/own",
			[]string{`event_webhook_url: "` + ownURL + `" -> "https://new.customer.example/"`}, "https://new.customer.example/"},
		{"the scope", func(m *manage.Manifest) { orders(m).Scope = "" }, "subscription crm/orders", []string{`subscription_scope: "master_account" -> "account"`}, ""},
		{"the account", func(m *manage.Manifest) { orders(m).Account = "branch" }, "subscription crm/orders", []string{`account_id: "customer" -> "branch"`}, ""},
		{"users", func(m *manage.Manifest) { own(m).Users = []string{"bob", "carl"} }, "subscription crm/own", []string{"user_ids: +bob +carl -ann"}, ""},
		{"groups", func(m *manage.Manifest) { own(m).Groups = nil }, "subscription crm/own", []string{"user_group_ids: -sales"}, ""},
		{"requests at a time", func(m *manage.Manifest) { all(m).MaxInFlight = 8 }, "subscription peering/all", []string{"max_in_flight: 4 -> 8"}, ""},
		{"requests a second", func(m *manage.Manifest) { all(m).MaxPerSecond = 0 }, "subscription peering/all", []string{"max_per_second: 2.5 -> 0"}, ""},
		{"the password", func(m *manage.Manifest) { names(m).CustomHeader.Password = secret }, "subscription peering/names", []string{"custom_header"}, namesURL},
		{"the secret of the OAuth client", func(m *manage.Manifest) { all(m).CustomHeader.ClientSecret = secret }, "subscription peering/all", []string{"custom_header"}, allURL},
		{"the place of the OAuth client's secret", func(m *manage.Manifest) { all(m).CustomHeader.ClientAuthentication = "header" }, "subscription peering/all", []string{"custom_header"}, allURL},
		{"the custom header", func(m *manage.Manifest) { orders(m).CustomHeader.Value = secret }, "subscription crm/orders", []string{"custom_header"}, ordersURL},
		{"no custom header", func(m *manage.Manifest) { orders(m).CustomHeader = nil }, "subscription crm/orders", []string{"custom_header"}, ordersURL},
		{"what is not of the type", func(m *manage.Manifest) { orders(m).CustomHeader.Password = secret }, "subscription crm/orders", nil, ""},
		{"a subscription that is disabled", func(m *manage.Manifest) { own(m).Disabled = true }, "subscription crm/own", []string{"disabled"}, ""},
		{"a subscription that is enabled", func(m *manage.Manifest) { later(m).Disabled = false }, "subscription crm/later", []string{"disabled -> valid"}, laterURL},
		{"the URL of one that stays disabled", func(m *manage.Manifest) { later(m).URL = "https://new.customer.example/" }, "subscription crm/later",
			[]string{`event_webhook_url: "` + laterURL + `" -> "https://new.customer.example/"`}, ""},
		{"several fields", func(m *manage.Manifest) {
			own(m).URL, own(m).MaxInFlight, own(m).Events = "https://new.customer.example/", 3, []string{order, order}
		}, "subscription crm/own", []string{`event_webhook_url: "` + ownURL + `" -> "https://new.customer.example/"`, "max_in_flight: 0 -> 3"}, "https://new.customer.example/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.apply(manifest()) // from nothing, or back from the case before
			before := dump(w.db.Directory())
			m := manifest()
			c.edit(m)
			p := w.apply(m)
			kind, name, _ := strings.Cut(c.step, " ")
			got := step(t, p, kind, name)
			if !slices.Equal(got.Changes, c.want) || (got.Action == manage.Update) != (c.want != nil) || p.Changes() != min(1, len(c.want)) {
				t.Errorf("%s %q, want %q; in all %q", got.Action, got.Changes, c.want, steps(p))
			}
			if got := strings.Join(w.prober.take(), " "); got != c.challenged {
				t.Errorf("challenged is %q, want %q", got, c.challenged)
			}
			text, err := json.Marshal(p)
			must(t, err)
			for _, s := range []string{secret, crmToken, basicSecret, oauthSecret, headerSecret, w.app("peering").SecretToken.Reveal()} {
				if bytes.Contains(text, []byte(s)) {
					t.Errorf("the plan shows %s: %s", s, text)
				}
			}
			after := dump(w.db.Directory())
			if (after != before) != (c.want != nil) {
				t.Errorf("it is now\n%s", after)
			}
			if p := w.apply(m); p.Changes() != 0 {
				t.Errorf("applied again: %+v", p.Steps)
			}
		})
	}
}

// A secret token that the manifest leaves out stays.
func TestSecretTokenStays(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	m := manifest()
	m.Apps[1].SecretToken = ""
	w.unchanged(func() { w.apply(m) })
}

// Of what an app has, the sender is told what changed.
func TestSenderIsTold(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	m := manifest()
	m.Apps[0].Subscriptions[1].MaxInFlight = 1
	m.Accounts[2].Name = "New"
	w.apply(m)
	if got := w.sender.take(); !slices.Equal(got, []hook.SubscriptionKey{w.subscription("all").Key}) {
		t.Errorf("told of %v", got)
	}
}

// An endpoint that does not answer fails its own step. What is new is kept as pending,
// what was there stays as it was, and all the rest is done.
func TestEndpointsThatDoNotAnswer(t *testing.T) {
	const down, newURL = "the connection was refused", "https://new.customer.example/"
	w := newWorld(t)
	w.prober.breaks(namesURL, down)
	p := w.apply(manifest())
	got := step(t, p, "subscription", "peering/names")
	if want := "created as pending, for the endpoint did not answer its challenge: " + down; got.Action != manage.Fail || got.Reason != want {
		t.Errorf("%s: %q, want %q", got.Action, got.Reason, want)
	}
	if p.Failures() != 1 || p.Changes() != 11 {
		t.Errorf("steps are %q", steps(p))
	}
	s := w.subscription("names")
	if s.State != hook.Pending || s.StateReason != down || w.subscription("all").State != hook.Valid {
		t.Errorf("it is %+v", s)
	}

	// A changed one.
	m := manifest()
	m.Apps[1].Subscriptions[1].URL, m.Apps[1].Subscriptions[1].MaxInFlight = newURL, 3
	m.Accounts[2].Name = "New"
	w.prober.breaks(newURL, down)
	before := *w.subscription("own")
	p = w.apply(m)
	got = step(t, p, "subscription", "crm/own")
	if want := "left as it was, for the endpoint did not answer its challenge: " + down; got.Action != manage.Fail || got.Reason != want || len(got.Changes) != 2 {
		t.Errorf("%s %q: %q, want %q", got.Action, got.Changes, got.Reason, want)
	}
	if got := *w.subscription("own"); got.URL != ownURL || got.State != hook.Valid || got.Limits != before.Limits {
		t.Errorf("it is %+v, was %+v", got, before)
	}
	if a := w.db.Directory().Account("customer"); a.Name != "New" {
		t.Errorf("the rest is not done: %+v", a)
	}
	// Meanwhile the pending one was tried again.
	if got := w.prober.take(); !slices.Equal(got, []string{namesURL, newURL}) {
		t.Errorf("challenged are %q", got)
	}
	if got := step(t, p, "subscription", "peering/names"); got.Action != manage.Fail || !slices.Equal(got.Changes, []string{"pending -> valid"}) {
		t.Errorf("the pending one: %+v", got)
	}
	// Of a pending one the latest reason is kept, and nothing else that it would become.
	m.Apps[0].Subscriptions[0].MaxInFlight = 5
	w.prober.breaks(namesURL, "the certificate has expired")
	w.apply(m)
	if s := w.subscription("names"); s.State != hook.Pending || s.StateReason != "the certificate has expired" || s.Limits.InFlight != 0 {
		t.Errorf("the pending one is %+v", s)
	}
	m.Apps[0].Subscriptions[0].MaxInFlight = 0

	// Now they answer.
	w.prober.breaks(namesURL, "")
	w.prober.breaks(newURL, "")
	p = w.apply(m)
	if got := steps(p); p.Failures() != 0 || p.Changes() != 2 {
		t.Errorf("steps are %q", got)
	}
	if s := w.subscription("names"); s.State != hook.Valid || s.StateReason != "" {
		t.Errorf("it is %+v", s)
	}
	if s := w.subscription("own"); s.URL != newURL || s.Limits.InFlight != 3 {
		t.Errorf("it is %+v", s)
	}
	if got := w.states(); got["later"] != hook.Disabled {
		t.Errorf("states are %v", got)
	}
}

// Disabling a subscription calls off what is outstanding, once; enabling it again,
// which takes a challenge, does not bring that back.
func TestDisableAndEnable(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	off := manifest()
	off.Apps[1].Subscriptions[1].Disabled = true
	first := w.subscription("own").Generation
	w.apply(off)
	s := w.subscription("own")
	if s.State != hook.Disabled || s.StateReason != "disabled by the operator" || s.Generation != first+1 {
		t.Errorf("disabled it is %+v", s)
	}
	if got := w.sender.take(); !slices.Equal(got, []hook.SubscriptionKey{s.Key}) {
		t.Errorf("the sender was told of %v", got)
	}
	w.unchanged(func() { w.apply(off) })
	off.Apps[1].Subscriptions[1].MaxInFlight = 3
	w.apply(off)
	if got := w.subscription("own"); got.Limits.InFlight != 3 || got.Generation != s.Generation || !got.StateSince.Equal(s.StateSince) {
		t.Errorf("changed while disabled it is %+v, was %+v", got, s)
	}

	w.prober.breaks(ownURL, "broken")
	w.apply(manifest())
	if s := w.subscription("own"); s.State != hook.Disabled || s.StateReason != "disabled by the operator" {
		t.Errorf("enabled without an answer it is %+v", s)
	}
	w.prober.breaks(ownURL, "")
	w.apply(manifest())
	if s := w.subscription("own"); s.State != hook.Valid || s.StateReason != "" || s.Generation != first+1 {
		t.Errorf("enabled it is %+v", s)
	}
}

// Disabling an app calls off what is outstanding for all of its subscriptions, those
// included that the manifest does not name or whose change failed.
func TestDisableAnApp(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	before := map[string]hook.Subscription{}
	for _, s := range w.db.Directory().Subscriptions("") {
		before[s.Name] = *s
	}
	m := manifest()
	crm := &m.Apps[1]
	crm.Disabled = true
	crm.Subscriptions = crm.Subscriptions[:2] // without the last
	crm.Subscriptions[0].URL = "https://down.customer.example/"
	crm.Subscriptions[1].Disabled = true
	w.prober.breaks("https://down.customer.example/", "down")
	w.apply(m)
	if !w.app("crm").Disabled {
		t.Error("the app is not disabled")
	}
	var told []hook.SubscriptionKey
	for _, s := range w.db.Directory().Subscriptions("") {
		raised := int64(0)
		if s.App == w.app("crm").ID {
			raised = 1
			told = append(told, s.Key)
		}
		if was := before[s.Name]; s.Generation != was.Generation+raised || s.URL != was.URL {
			t.Errorf("%s is of generation %d, was of %d; its URL is %s", s.Name, s.Generation, was.Generation, s.URL)
		}
	}
	if slices.Sort(told); !slices.Equal(w.sender.take(), told) {
		t.Errorf("the sender was not told of %v", told)
	}
	w.prober.breaks("https://down.customer.example/", "")
	w.apply(m)
	w.unchanged(func() { w.apply(m) })
}

// many returns a manifest of an app with n subscriptions, named from the first on.
func many(first, n int) *manage.Manifest {
	m := &manage.Manifest{
		Accounts: []manage.Account{{ID: "acme"}},
		Apps:     []manage.App{{Name: "app", Account: "acme", Scopes: []string{"shop:read"}}},
	}
	for i := range n {
		m.Apps[0].Subscriptions = append(m.Apps[0].Subscriptions, manage.Subscription{
			Name: fmt.Sprint("s", first+i), Events: []string{order}, URL: fmt.Sprintf("https://s%d.example.com/", first+i),
		})
	}
	return m
}

// An app may have twenty subscriptions, or what the operator allows.
func TestCap(t *testing.T) {
	const fault = "/apps/0/subscriptions would be %d for this app; at most %d are allowed"
	w := newWorld(t)
	for _, setting := range []int{3, 0, 25} {
		limit := cmp.Or(setting, 20)
		w.MaxSubscriptions = setting
		if got, want := faultsOf(t, w.fails(many(0, limit+1))), fmt.Sprintf(fault, limit+1, limit); !slices.Equal(got, []string{want}) {
			t.Errorf("one too many at once: %q, want %q", got, want)
		}
		w.apply(many(0, limit))
		if got, want := faultsOf(t, w.fails(many(limit, 2))), fmt.Sprintf(fault, limit+2, limit); !slices.Equal(got, []string{want}) {
			t.Errorf("two more: %q, want %q", got, want)
		}
		w.apply(many(0, limit)) // none more
		w.MaxSubscriptions = limit - 1
		w.apply(many(0, limit)) // the limit was lowered, and what is there stays manageable
		w.MaxSubscriptions = setting
		must(t, w.DeleteSubscription(operator, w.subscription("s0").ID))
		w.apply(many(limit, 1))
		if n := len(w.db.Directory().Subscriptions("")); n != limit {
			t.Errorf("%d subscriptions, want %d", n, limit)
		}
		must(t, w.DeleteApp(operator, w.app("app").ID))
	}
}

// However many manifests are applied at the same time, an app has no more than
// twenty subscriptions, and none of them is applied by half.
func TestCapHoldsAtOnce(t *testing.T) {
	const appliers, each = 8, 6
	w := newWorld(t)
	w.apply(many(0, 5))
	var wg sync.WaitGroup
	errs := make([]error, appliers)
	for i := range appliers {
		wg.Go(func() { _, errs[i] = w.Apply(t.Context(), operator, many(100*(i+1), each), false) })
	}
	wg.Wait()
	applied := 0
	for _, err := range errs {
		if err == nil {
			applied++
		} else if got := faultsOf(t, err); len(got) != 1 || !strings.Contains(got[0], "at most 20 are allowed") {
			t.Error(err)
		}
	}
	if n := len(w.db.Directory().Subscriptions("")); applied != 2 || n != 5+2*each {
		t.Errorf("%d manifests were applied, and there are %d subscriptions", applied, n)
	}
}

// The same manifest applied by many at once makes one platform, and one of them is
// told the credentials.
func TestTheSameAtOnce(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	plans := make([]*manage.Plan, 6)
	for i := range plans {
		wg.Go(func() {
			var err error
			plans[i], err = w.Apply(t.Context(), operator, manifest(), false)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	told := 0
	for _, p := range plans {
		if p != nil && p.Credentials != nil {
			told++
			if got := p.Credentials[0].SecretToken; got != w.app("peering").SecretToken.Reveal() {
				t.Errorf("the secret token that was told is not the one that counts")
			}
		}
	}
	if n := len(w.db.Directory().Subscriptions("")); told != 1 || n != 5 || len(w.db.Directory().Apps()) != 2 {
		t.Errorf("%d were told credentials; there are %d subscriptions", told, n)
	}
}

// When the platform changes while endpoints are challenged, the plan is made again on
// what is there then.
func TestPlatformChangesMeanwhile(t *testing.T) {
	edited := func() *manage.Manifest {
		m := manifest()
		m.Apps[1].Subscriptions[1].URL = "https://new.customer.example/"
		return m
	}
	t.Run("the app is deleted", func(t *testing.T) {
		w := newWorld(t)
		w.apply(manifest())
		id := w.app("crm").ID
		w.prober.once(func() { must(t, w.DeleteApp(operator, id)) })
		p := w.apply(edited())
		if a := w.app("crm"); a.ID == id || step(t, p, "app", "crm").Action != manage.Create || len(p.Credentials) != 1 || p.Credentials[0].AppID != a.ID {
			t.Errorf("the app is %+v, the plan %+v", a, p)
		}
		if s := w.subscription("own"); s.State != hook.Valid || s.URL != "https://new.customer.example/" || w.subscription("orders").State != hook.Valid {
			t.Errorf("it is %+v", s)
		}
		// What was proven is not asked again; the others were not asked before.
		if got := w.prober.take(); !slices.Equal(got, []string{ordersURL, "https://new.customer.example/"}) {
			t.Errorf("challenged are %q", got)
		}
	})
	t.Run("somebody else applies the same", func(t *testing.T) {
		w := newWorld(t)
		w.prober.once(func() {
			_, err := w.Apply(t.Context(), operator, manifest(), false)
			must(t, err)
		})
		p := w.apply(manifest())
		if p.Changes() != 0 || p.Credentials != nil || len(w.db.Directory().Subscriptions("")) != 5 {
			t.Errorf("steps are %q, credentials %+v", steps(p), p.Credentials)
		}
	})
	t.Run("the secret token is changed", func(t *testing.T) {
		w := newWorld(t)
		w.apply(manifest())
		m := edited()
		m.Apps[1].SecretToken = "" // whichever it is
		w.prober.once(func() { w.rotate("crm", "a-second-token") })
		w.apply(m)
		if a := w.app("crm"); a.SecretToken != "a-second-token" {
			t.Errorf("the token is %s", a.SecretToken.Reveal())
		}
		// The endpoint has to know the new one.
		var secrets []string
		for _, c := range w.prober.calls {
			secrets = append(secrets, c.secret.Reveal())
		}
		if !slices.Equal(secrets, []string{crmToken, "a-second-token"}) {
			t.Errorf("challenged with %q", secrets)
		}
	})
	t.Run("the app becomes full", func(t *testing.T) {
		w := newWorld(t)
		w.apply(many(0, 10))
		w.prober.once(func() {
			_, err := w.Apply(t.Context(), operator, many(100, 10), false)
			must(t, err)
		})
		_, err := w.Apply(t.Context(), operator, many(10, 1), false)
		if got := faultsOf(t, err); !slices.Equal(got, []string{"/apps/0/subscriptions would be 21 for this app; at most 20 are allowed"}) {
			t.Errorf("faults are %q", got)
		}
		if n := len(w.db.Directory().Subscriptions("")); n != 20 {
			t.Errorf("%d subscriptions", n)
		}
	})
	t.Run("it never stops", func(t *testing.T) {
		w := newWorld(t)
		w.apply(manifest())
		m := edited()
		m.Apps[1].SecretToken, m.Accounts[2].Name = "", "New"
		var n int
		w.prober.during = func(context.Context, *hook.Subscription, *hook.App) {
			n++
			w.rotate("crm", hook.Secret(fmt.Sprint("token-number-", n)))
		}
		_, err := w.Apply(t.Context(), operator, m, false)
		if kindOf(err) != hook.Conflict || !strings.Contains(err.Error(), "try again") {
			t.Errorf("%v, want a conflict", err)
		}
		if s := w.subscription("own"); s.URL != ownURL || w.db.Directory().Account("customer").Name != "Customer" {
			t.Errorf("changed all the same: %+v", s)
		}
		if n > 10 {
			t.Errorf("the endpoint was challenged %d times", n)
		}
	})
}

// rotate gives an app another secret token.
func (w *world) rotate(name string, token hook.Secret) {
	w.t.Helper()
	a := *w.app(name)
	a.SecretToken = token
	must(w.t, w.db.Change(hook.Change{Apps: []*hook.App{&a}}, time.Now()))
}

// What the store does not take is not done, and the sender hears nothing.
func TestStoreFails(t *testing.T) {
	full := &hook.Error{Kind: hook.Unavailable, Subject: "the store cannot take it now", Detail: "disk full"}
	w := newWorld(t)
	w.apply(manifest())
	w.Store = storeFunc(func(hook.Change) error { return full })
	w.sender.take()
	m := manifest()
	m.Apps[1].Subscriptions[1].URL = "https://new.customer.example/"
	m.Accounts = append(m.Accounts, manage.Account{ID: "another"})
	if err := w.fails(m); !errors.Is(err, full) {
		t.Errorf("apply: %v", err)
	}
	own, later := w.subscription("own"), w.subscription("later")
	w.unchanged(func() {
		if _, err := w.Validate(t.Context(), operator, later.ID, hook.Production); !errors.Is(err, full) {
			t.Errorf("validate: %v", err)
		}
		for name, err := range map[string]error{
			"disable":             w.Disable(operator, own.ID, "reason"),
			"delete subscription": w.DeleteSubscription(operator, own.ID),
			"delete app":          w.DeleteApp(operator, own.App),
		} {
			if !errors.Is(err, full) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	if got := w.sender.take(); got != nil {
		t.Errorf("the sender was told of %v", got)
	}
}

// Whoever hangs up while endpoints are challenged changes nothing.
func TestApplyIsCalledOff(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	ctx, cancel := context.WithCancel(t.Context())
	w.prober.during = func(context.Context, *hook.Subscription, *hook.App) { cancel() }
	m := many(0, 20)
	m.Apps[0].Name, m.Accounts[0].Name = "other", "New"
	w.unchanged(func() {
		if p, err := w.Apply(ctx, operator, m, false); !errors.Is(err, context.Canceled) || p != nil {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

// Endpoints are challenged side by side, but not all at once.
func TestChallengesAtOnce(t *testing.T) {
	w := newWorld(t)
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most := 0, 0
		w.prober.during = func(context.Context, *hook.Subscription, *hook.App) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(3 * time.Second)
			mu.Lock()
			now--
			mu.Unlock()
		}
		w.Store = storeFunc(func(hook.Change) error { return nil }) // the real one is outside
		w.MaxSubscriptions = 40
		start := time.Now()
		_, err := w.Apply(t.Context(), operator, many(0, 40), false)
		must(t, err)
		if took := time.Since(start); took != 9*time.Second || most != 16 {
			t.Errorf("40 endpoints took %v, at most %d at a time", took, most)
		}
	})
}

// The real challenge, to real endpoints: one that knows the secret, one that knows
// another, and one that is not there.
func TestRealEndpoints(t *testing.T) {
	endpoint := func(secret string) string {
		r, err := webhook.New(webhook.Config{Secrets: []string{secret}})
		must(t, err)
		s := httptest.NewServer(r.Handler(func(context.Context, *webhook.Event) error { return nil }))
		t.Cleanup(s.Close)
		return s.URL
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	w := newWorld(t)
	w.Policy = hook.EndpointPolicy{HTTP: true, Allowed: hook.Loopback()}
	client := outbound.New(outbound.Config{Policy: w.Policy, UserAgent: "Switchhook/test"})
	t.Cleanup(client.Close)
	w.Prober = &challenge.Prober{Client: client, IDs: hook.NewIDs(0, 0)}

	m := many(0, 3)
	m.Apps[0].SecretToken = "the-secret-token"
	for i, url := range []string{endpoint("the-secret-token"), endpoint("another-token"), gone.URL} {
		m.Apps[0].Subscriptions[i].URL = url
	}
	p := w.apply(m)
	if got := w.states(); !maps.Equal(got, map[string]hook.SubscriptionState{"s0": hook.Valid, "s1": hook.Pending, "s2": hook.Pending}) {
		t.Errorf("states are %v: %+v", got, p.Steps)
	}
	if got := w.subscription("s1").StateReason; got != "the endpoint answered with status 401, want 200" {
		t.Errorf("of another secret: %q", got)
	}
	if got := w.subscription("s2").StateReason; !strings.Contains(got, "refused") {
		t.Errorf("of nobody: %q", got)
	}
	if r, err := w.Validate(t.Context(), operator, w.subscription("s0").ID, hook.Production); err != nil || !r.OK {
		t.Errorf("validated: %+v, %v", r, err)
	}
}

// without is a catalog from which an event type has gone.
type without struct {
	manage.Catalog
	name string
}

func (c without) Lookup(name string) (*catalog.Type, bool) {
	if name == c.name {
		return nil, false
	}
	return c.Catalog.Lookup(name)
}

// A manifest that is applied again changes nothing, also when an event type that it
// lists has gone from the catalog; only what is new has to be there.
func TestEventTypesThatAreGone(t *testing.T) {
	w := newWorld(t)
	w.apply(manifest())
	gone := manifest().Apps[0].Subscriptions[0].Events[0]
	w.Catalog = without{w.Catalog, gone}
	if p := w.apply(manifest()); p.Changes() != 0 {
		t.Errorf("steps are %q", steps(p))
	}
	m := manifest()
	m.Apps[0].Subscriptions = append(m.Apps[0].Subscriptions, manage.Subscription{Name: "new", URL: namesURL, Events: []string{gone}})
	if got := faultsOf(t, w.fails(m)); len(got) != 1 || !strings.Contains(got[0], "App event not exists: "+gone) {
		t.Errorf("faults are %q", got)
	}
}
