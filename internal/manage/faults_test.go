package manage_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
)

// What is wrong with a manifest is named with its place, nobody is challenged and
// nothing of it is done. The manifest is one that would change much, applied to a
// platform that has something.
func TestFaults(t *testing.T) {
	acc := func(m *manage.Manifest, a manage.Account) { m.Accounts = append(m.Accounts, a) }
	crm := func(m *manage.Manifest) *manage.App { return &m.Apps[1] }
	own := func(m *manage.Manifest) *manage.Subscription { return &m.Apps[1].Subscriptions[1] }
	header := func(c manage.CustomHeader) func(*manage.Manifest) {
		return func(m *manage.Manifest) { own(m).CustomHeader = &c }
	}
	const sub = "/apps/1/subscriptions/1/"
	const secret = "a-secret-that-must-not-show"
	long := strings.Repeat("x", 257)
	w := newWorld(t)
	w.apply(&manage.Manifest{
		Accounts: []manage.Account{{ID: "old-master"}, {ID: "old-branch", Master: "old-master"}, {ID: "customer", Name: "Old name"}},
		Apps:     []manage.App{{Name: "crm", Account: "customer", SecretToken: "an-old-token"}},
	})
	w.sender.take()
	for _, c := range []struct {
		name string
		edit func(*manage.Manifest)
		want []string
	}{
		{"an account without id", func(m *manage.Manifest) { acc(m, manage.Account{Name: "n"}) }, []string{"/accounts/3/id is missing"}},
		{"an id with a space", func(m *manage.Manifest) { acc(m, manage.Account{ID: "a b"}) }, []string{`/accounts/3/id "a b" has characters other than A-Z a-z 0-9 _ . : -`}},
		{"an owner without address", func(m *manage.Manifest) { acc(m, manage.Account{ID: "a", OwnerEmail: "ann"}) }, []string{`/accounts/3/owner_email "ann" is not an e-mail address`}},
		{"an account twice", func(m *manage.Manifest) { acc(m, manage.Account{ID: "carrier"}) }, []string{"/accounts/3/id is the same as /accounts/0/id: name each once"}},
		{"a master that does not exist", func(m *manage.Manifest) { acc(m, manage.Account{ID: "a", Master: "b"}) }, []string{`/accounts/3/master_account_id account "b" does not exist`}},
		{"a master that is a sub-account", func(m *manage.Manifest) { acc(m, manage.Account{ID: "a", Master: "branch"}) }, []string{`/accounts/3/master_account_id account "branch" is a sub-account itself`}},
		{"a master that is a sub-account already", func(m *manage.Manifest) { acc(m, manage.Account{ID: "a", Master: "old-branch"}) }, []string{`/accounts/3/master_account_id account "old-branch" is a sub-account itself`}},
		{"a master that has sub-accounts already", func(m *manage.Manifest) { acc(m, manage.Account{ID: "old-master", Master: "carrier"}) }, []string{`/accounts/3/master_account_id account "old-master" has sub-accounts, so it cannot be one`}},
		{"a master of itself", func(m *manage.Manifest) { acc(m, manage.Account{ID: "a", Master: "a"}) }, []string{"/accounts/3/master_account_id names the account itself"}},
		{"masters of each other", func(m *manage.Manifest) {
			acc(m, manage.Account{ID: "a", Master: "b"})
			acc(m, manage.Account{ID: "b", Master: "a"})
		}, []string{`/accounts/3/master_account_id account "b" is a sub-account itself`, `/accounts/4/master_account_id account "a" is a sub-account itself`}},

		{"an app without name", func(m *manage.Manifest) { crm(m).Name = "" }, []string{"/apps/1/name is missing"}},
		{"an app without account", func(m *manage.Manifest) { crm(m).Account = "" }, []string{"/apps/1/account_id is missing"}},
		{"an app of an unknown account", func(m *manage.Manifest) { crm(m).Account = "nobody" }, []string{`/apps/1/account_id account "nobody" does not exist`}},
		{"a scope that is none", func(m *manage.Manifest) { crm(m).Scopes = []string{"shop:read", "a b"} }, []string{`/apps/1/scopes "a b" is not a scope: it is empty or has white space or a comma in it`}},
		{"a secret token that is too short", func(m *manage.Manifest) { crm(m).SecretToken = "s3cr3t" }, []string{"/apps/1/secret_token has 6 bytes; 8 to 256 are allowed"}},
		{"an app twice", func(m *manage.Manifest) {
			m.Apps = append(m.Apps, manage.App{Name: "crm", Account: "customer", SecretToken: secret})
		}, []string{"/apps/2/name is the same as /apps/1/name: name each once"}},
		{"an installation on an unknown account", func(m *manage.Manifest) { crm(m).Installations[1].Account = "nobody" }, []string{`/apps/1/installations/1/account_id account "nobody" does not exist`}},
		{"an installation twice", func(m *manage.Manifest) {
			crm(m).Installations = append(crm(m).Installations, manage.Installation{Account: "branch"})
		}, []string{"/apps/1/installations/2/account_id is the same as /apps/1/installations/0/account_id: name each once"}},

		{"a subscription without name", func(m *manage.Manifest) { own(m).Name = "" }, []string{sub + "event_subscription_name is missing: it tells the subscriptions of an app apart"}},
		{"a subscription twice", func(m *manage.Manifest) { own(m).Name = "orders" }, []string{sub + "event_subscription_name is the same as /apps/1/subscriptions/0/event_subscription_name: name each once"}},
		{"no events", func(m *manage.Manifest) { own(m).Events = nil }, []string{sub + "events is missing: name at least one event type"}},
		{"an unknown event", func(m *manage.Manifest) { own(m).Events = []string{order, "shop.closed"} }, []string{sub + "events App event not exists: shop.closed"}},
		{"an event that the app has no scope for", func(m *manage.Manifest) { own(m).Events = []string{cnam, order} }, []string{
			sub + "events The event is not allowed for the app: " + cnam + "; the app needs one of the scopes number_management:read:peering_numbers_cnam:admin, number_management_numbers:read:admin"}},
		{"a scope that the app loses", func(m *manage.Manifest) { crm(m).Scopes, crm(m).Subscriptions = nil, crm(m).Subscriptions[1:2] }, []string{
			"/apps/1/subscriptions/0/events The event is not allowed for the app: " + order + "; the app needs one of the scopes shop:read"}},
		{"no URL", func(m *manage.Manifest) { own(m).URL = "" }, []string{sub + "event_webhook_url is missing"}},
		{"a URL without TLS", func(m *manage.Manifest) { own(m).URL = "http://own.customer.example/" }, []string{sub + "event_webhook_url must begin with https: plain http is permitted with --dev only"}},
		{"a URL with a password", func(m *manage.Manifest) { own(m).URL = "https://u:" + secret + "@own.customer.example/" }, []string{sub + "event_webhook_url must not carry a user name or password; use custom_header"}},
		{"a URL of a disabled one", func(m *manage.Manifest) { own(m).URL, own(m).Disabled = "https://localhost/", true }, []string{sub + "event_webhook_url must name a host by a fully qualified domain name, as in hooks.example.com"}},
		{"an unknown subscription scope", func(m *manage.Manifest) { own(m).Scope = "team" }, []string{sub + `subscription_scope "team" is none of user, account, master_account`}},
		{"users without any", func(m *manage.Manifest) { own(m).Users, own(m).Groups = nil, nil }, []string{sub + "user_ids is missing: subscription_scope user needs user_ids or user_group_ids"}},
		{"a subscription to an unknown account", func(m *manage.Manifest) { own(m).Account = "nobody" }, []string{sub + `account_id account "nobody" does not exist`}},
		{"too many at a time", func(m *manage.Manifest) { own(m).MaxInFlight = 1025 }, []string{sub + "max_in_flight is 1025; 1 to 1024 are allowed, 0 is the platform's default"}},
		{"a negative rate", func(m *manage.Manifest) { own(m).MaxPerSecond = -1 }, []string{sub + "max_per_second is -1; a number above 0 is allowed, 0 is no limit"}},

		{"an unknown type of custom header", header(manage.CustomHeader{Type: 4}), []string{sub + "custom_header/custom_header_type 4 is none of 0, 1, 2, 3"}},
		{"a negative type of custom header", header(manage.CustomHeader{Type: -1}), []string{sub + "custom_header/custom_header_type -1 is none of 0, 1, 2, 3"}},
		{"Basic without anything", header(manage.CustomHeader{Type: 1}), []string{sub + "custom_header/username is missing", sub + "custom_header/password is missing"}},
		{"Basic with a colon", header(manage.CustomHeader{Type: 1, Username: "a:b", Password: secret}), []string{sub + "custom_header/username must not contain a colon, which ends it on the wire (RFC 7617)"}},
		{"Basic that is too long", header(manage.CustomHeader{Type: 1, Username: "u", Password: secret + long}), []string{sub + "custom_header/password is longer than 256 characters"}},
		{"OAuth without anything", header(manage.CustomHeader{Type: 2}), []string{
			sub + "custom_header/client_id is missing", sub + "custom_header/client_secret is missing", sub + "custom_header/token_url is missing"}},
		{"OAuth in the wrong place", header(manage.CustomHeader{Type: 2, ClientID: "c", ClientSecret: secret, TokenURL: "https://auth.example.com/", ClientAuthentication: "query"}), []string{
			sub + `custom_header/client_authentication "query" is neither header nor body`}},
		{"OAuth without TLS", header(manage.CustomHeader{Type: 2, ClientID: "c", ClientSecret: secret, TokenURL: "http://auth.example.com/"}), []string{
			sub + "custom_header/token_url must begin with https: plain http is permitted with --dev only"}},
		{"a header without anything", header(manage.CustomHeader{Type: 3}), []string{sub + "custom_header/custom_header_key is missing", sub + "custom_header/custom_header_value is missing"}},
		{"a header that is the platform's", header(manage.CustomHeader{Type: 3, Key: "X-Zm-Signature", Value: secret}), []string{sub + `custom_header/custom_header_key "X-Zm-Signature" is reserved: the platform or HTTP itself uses it`}},
		{"a header without x-", header(manage.CustomHeader{Type: 3, Key: "Api-Key", Value: secret}), []string{sub + `custom_header/custom_header_key "Api-Key" must begin with x-`}},
		{"a header of two lines", header(manage.CustomHeader{Type: 3, Key: "X-Api-Key", Value: secret + "\r\nX-Evil: 1"}), []string{sub + "custom_header/custom_header_value has a line feed or another control character in it"}},

		{"everything at once", func(m *manage.Manifest) {
			acc(m, manage.Account{})
			crm(m).Account, crm(m).Installations[0].Account, crm(m).Subscriptions[0].Events[0] = "nobody", "nobody", "shop.closed"
			own(m).URL, own(m).CustomHeader = "own", &manage.CustomHeader{Type: 9}
		}, []string{
			"/accounts/3/id is missing",
			`/apps/1/account_id account "nobody" does not exist`,
			`/apps/1/installations/0/account_id account "nobody" does not exist`,
			"/apps/1/subscriptions/0/events App event not exists: shop.closed",
			sub + "custom_header/custom_header_type 9 is none of 0, 1, 2, 3",
			sub + "event_webhook_url must begin with https://",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := manifest()
			c.edit(m)
			err := w.fails(m)
			if got := faultsOf(t, err); !slices.Equal(got, c.want) {
				t.Errorf("faults are\n\t%q, want\n\t%q", got, c.want)
			}
			if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("the error shows a secret: %v", err)
			}
			if got := w.prober.take(); got != nil {
				t.Errorf("challenged are %q", got)
			}
			if got := w.sender.take(); got != nil {
				t.Errorf("the sender was told of %v", got)
			}
		})
	}
}

// The operator may allow more URLs and headers than the contract has.
func TestPolicy(t *testing.T) {
	m := many(0, 1)
	m.Apps[0].Subscriptions[0].URL = "http://127.0.0.1:9000/"
	m.Apps[0].Subscriptions[0].CustomHeader = &manage.CustomHeader{Type: 3, Key: "Api-Key", Value: "v"}
	w := newWorld(t)
	if got := faultsOf(t, w.fails(m)); len(got) != 2 {
		t.Errorf("faults are %q", got)
	}
	w.Policy = hook.EndpointPolicy{HTTP: true, Allowed: hook.Loopback(), AnyHeader: true}
	w.apply(m)
}
