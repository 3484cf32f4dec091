package hook

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestEndpointURLs(t *testing.T) {
	dev := EndpointPolicy{HTTP: true, Allowed: Loopback()}
	inside := EndpointPolicy{Allowed: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}
	for _, c := range []struct {
		url    string
		policy EndpointPolicy
		want   string // a part of the message; empty: accepted
	}{
		{"https://hooks.example.com/zoom", EndpointPolicy{}, ""},
		{"https://hooks.example.com:8443/a?b=c", EndpointPolicy{}, ""},
		{"https://HOOKS.Example.COM/", EndpointPolicy{}, ""},
		{"https://xn--bcher-kva.example/", EndpointPolicy{}, ""},
		{"", EndpointPolicy{}, "is missing"},
		{"hooks.example.com", EndpointPolicy{}, "https"},
		{"ftp://hooks.example.com", EndpointPolicy{}, "https"},
		{"http://hooks.example.com", EndpointPolicy{}, "--dev"},
		{"https://", EndpointPolicy{}, "no host"},
		{"https://user:pw@hooks.example.com", EndpointPolicy{}, "user name"},
		{"https://hooks.example.com/#top", EndpointPolicy{}, "fragment"},
		{"https://127.0.0.1/", EndpointPolicy{}, "not by an address"},
		{"https://93.184.216.34/", EndpointPolicy{}, "not by an address"},
		{"https://[2001:db8::1]/", EndpointPolicy{}, "not by an address"},
		{"https://2130706433/", EndpointPolicy{}, "not by an address"},
		{"https://127.1/", EndpointPolicy{}, "not by an address"},
		{"https://0x7f.1/", EndpointPolicy{}, "not by an address"},
		{"https://localhost/", EndpointPolicy{}, "fully qualified"},
		{"https://a.localhost/", EndpointPolicy{}, "fully qualified"},
		{"https://intranet/", EndpointPolicy{}, "fully qualified"},
		{"https://bücher.example/", EndpointPolicy{}, "xn--"},
		{"https://a..example.com/", EndpointPolicy{}, "not a domain name"},
		{"https://-a.example.com/", EndpointPolicy{}, "not a domain name"},
		{"https://" + strings.Repeat("a", 64) + ".example.com/", EndpointPolicy{}, "not a domain name"},
		{"https://example.com/" + strings.Repeat("a", 1000), EndpointPolicy{}, "1000"},
		{"https://hooks.example.com/%zz", EndpointPolicy{}, "not a URL"},
		{"http://127.0.0.1:9000/x", dev, ""},
		{"http://localhost:9000/x", dev, ""},
		{"http://[::1]:9000/x", dev, ""},
		{"http://10.1.2.3/", dev, "not by an address"},
		{"https://10.1.2.3/", inside, ""},
		{"https://intranet/", inside, ""},
		{"http://intranet/", inside, "--dev"},
	} {
		got := c.policy.CheckURL(c.url)
		if c.want == "" && got != "" || c.want != "" && !strings.Contains(got, c.want) {
			t.Errorf("%.60s: %q, want %q", c.url, got, c.want)
		}
	}
}

func TestCustomHeaders(t *testing.T) {
	header := func(key string) Auth { return Auth{Mode: AuthHeader, Header: key, Value: "v"} }
	for _, c := range []struct {
		auth   Auth
		policy EndpointPolicy
		want   string
	}{
		{Auth{}, EndpointPolicy{}, ""},
		{Auth{Mode: AuthBasic, Username: "u", Password: "p:w"}, EndpointPolicy{}, ""},
		{Auth{Mode: AuthBasic, Username: "u:v", Password: "p"}, EndpointPolicy{}, "colon"},
		{Auth{Mode: AuthBasic, Password: "p"}, EndpointPolicy{}, "username is missing"},
		{Auth{Mode: AuthBasic, Username: strings.Repeat("u", 257), Password: "p"}, EndpointPolicy{}, "256"},
		{Auth{Mode: AuthOAuth, ClientID: "i", ClientSecret: "s", TokenURL: "https://auth.example.com/token"}, EndpointPolicy{}, ""},
		{Auth{Mode: AuthOAuth, ClientID: "i", ClientSecret: "s", TokenURL: "http://auth.example.com/token"}, EndpointPolicy{}, "token_url"},
		{Auth{Mode: AuthOAuth, ClientID: "i", ClientSecret: "s", TokenURL: "https://auth.example.com/token", Scope: strings.Repeat("s", 256)}, EndpointPolicy{}, "scope is longer than 255"},
		{header("X-Api-Key"), EndpointPolicy{}, ""},
		{header("x-api-key"), EndpointPolicy{}, ""},
		{header("Api-Key"), EndpointPolicy{}, "must begin with x-"},
		{header("Api-Key"), EndpointPolicy{AnyHeader: true}, ""},
		{header("X_Api"), EndpointPolicy{}, "other than"},
		{header("X-Api: v\r\nX-Evil"), EndpointPolicy{}, "other than"},
		{header("X-Zm-Signature"), EndpointPolicy{AnyHeader: true}, "reserved"},
		{header("Authorization"), EndpointPolicy{AnyHeader: true}, "reserved"},
		{header("content-length"), EndpointPolicy{AnyHeader: true}, "reserved"},
		{header("clientid"), EndpointPolicy{AnyHeader: true}, "reserved"},
		{header("Host"), EndpointPolicy{AnyHeader: true}, "reserved"},
		{header("X-" + strings.Repeat("a", 255)), EndpointPolicy{}, "256"},
		{Auth{Mode: AuthHeader, Header: "X-A", Value: "a\nb"}, EndpointPolicy{}, "line feed"},
		{Auth{Mode: AuthHeader, Header: "X-A"}, EndpointPolicy{}, "custom_header_value is missing"},
		{Auth{Mode: 7}, EndpointPolicy{}, "custom_header_type"},
	} {
		got := c.auth.Check(c.policy).Error()
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.auth, got, c.want)
		}
	}
}

func TestSubscriptions(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*Subscription)
		want string
	}{
		"right":             {func(*Subscription) {}, ""},
		"no events":         {func(s *Subscription) { s.Events = nil }, "events is missing"},
		"no URL":            {func(s *Subscription) { s.URL = "" }, "event_webhook_url is missing"},
		"no scope":          {func(s *Subscription) { s.Scope = "" }, "subscription_scope is missing"},
		"another scope":     {func(s *Subscription) { s.Scope = "team" }, `"team" is none of`},
		"users without any": {func(s *Subscription) { s.Scope = ScopeUser }, "user_ids is missing"},
		"too many subscribers": {func(s *Subscription) {
			s.Scope, s.Subscribers[0].Users = ScopeUser, slices.Repeat([]string{"a"}, MaxSubscribers+1)
		}, "at most 10000"},
		"a development URL that is none": {func(s *Subscription) { s.Development.URL = "http://hooks.example.com/" }, "development_webhook_url must begin with https"},
		"master without an account":      {func(s *Subscription) { s.Scope = ScopeMasterAccount }, "account_id is missing"},
		"too much at a time":             {func(s *Subscription) { s.Limits.InFlight = 5000 }, "max_in_flight"},
		"a negative rate":                {func(s *Subscription) { s.Limits.PerSecond = -1 }, "max_per_second"},
		"a name with a bell in it":       {func(s *Subscription) { s.Name = "a\ab" }, "control character"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Subscription{Events: []string{"e"}, Endpoint: Endpoint{URL: "https://hooks.example.com/"}, Scope: ScopeAccount, Subscribers: []Subscriber{{}}}
			c.edit(s)
			if got := s.Check(EndpointPolicy{}).Error(); c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestAccountsAndApps(t *testing.T) {
	for want, f := range map[string]Faults{
		"id is missing":         (&Account{}).Check(),
		"other than":            (&Account{ID: "a b"}).Check(),
		"not an e-mail address": (&Account{ID: "a", OwnerEmail: "Ann <ann@example.com>"}).Check(),
		"the account itself":    (&Account{ID: "a", Master: "a"}).Check(),
		"name is missing":       (&App{Account: "a"}).Check(),
		"account_id is missing": (&App{Name: "n"}).Check(),
		"is not a scope":        (&App{Name: "n", Account: "a", Scopes: []string{"a b"}}).Check(),
		"8 to 256 are allowed":  (&App{Name: "n", Account: "a", SecretToken: "short"}).Check(),
	} {
		if !strings.Contains(f.Error(), want) {
			t.Errorf("%q, want %q", f.Error(), want)
		}
	}
	if f := (&App{Name: "n", Account: "a", SecretToken: "long enough", Scopes: []string{"a:b"}}).Check(); len(f) > 0 {
		t.Error(f)
	}
}

// However a secret is printed, it does not show.
func TestSecretsDoNotShow(t *testing.T) {
	s := Secret("hunter2hunter2")
	a := Auth{Mode: AuthBasic, Password: s}
	text, _ := s.MarshalText()
	for _, got := range []string{
		s.String(), fmt.Sprint(s), fmt.Sprintf("%s %v %q %+v %#v %x", s, s, s, s, s, s), fmt.Sprintf("%v %+v %#v", a, a, &a), string(text),
	} {
		if strings.Contains(got, "hunter2") || strings.Contains(got, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("printed as %s", got)
		}
	}
	if s.Reveal() != "hunter2hunter2" {
		t.Error("Reveal does not")
	}
}
