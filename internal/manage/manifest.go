package manage

import (
	"fmt"
	"slices"

	"github.com/switchhook/switchhook/internal/hook"
)

// Manifest says how accounts, apps and subscriptions are to be. What it does not
// name stays as it is; what it names is made as it says, with everything that it
// leaves out at its default, but for an app's secret token and installations, which
// stay.
type Manifest struct {
	Accounts []Account `json:"accounts,omitempty" yaml:"accounts,omitempty"`
	Apps     []App     `json:"apps,omitempty" yaml:"apps,omitempty"`
}

// Account is an account of a manifest, told from others by its id.
type Account struct {
	ID         string `json:"id" yaml:"id"`
	Name       string `json:"name,omitempty" yaml:"name,omitempty"`
	OwnerEmail string `json:"owner_email,omitempty" yaml:"owner_email,omitempty"`
	Master     string `json:"master_account_id,omitempty" yaml:"master_account_id,omitempty"`
	// Users and Groups are all there are to be. Left out, they stay as they are.
	Users  []User   `json:"users,omitzero" yaml:"users,omitempty"`
	Groups []string `json:"user_groups,omitzero" yaml:"user_groups,omitempty"`
}

// User is a user of an account.
type User struct {
	ID     string   `json:"id" yaml:"id"`
	Groups []string `json:"groups,omitempty" yaml:"groups,omitempty"`
}

// App is an app of a manifest, told from others by its name within its account.
type App struct {
	Name    string `json:"name" yaml:"name"`
	Account string `json:"account_id" yaml:"account_id"`
	// SecretToken signs. Left out, a new app gets one made for it.
	SecretToken  string   `json:"secret_token,omitempty" yaml:"secret_token,omitempty"`
	Scopes       []string `json:"scopes,omitempty" yaml:"scopes,omitempty"`
	CarrierCodes []int32  `json:"carrier_codes,omitempty" yaml:"carrier_codes,omitempty"`
	// State is production, unless it is development.
	State    string `json:"state,omitempty" yaml:"state,omitempty"`
	Disabled bool   `json:"disabled,omitempty" yaml:"disabled,omitempty"`
	// Installations are all there are to be. Left out, they stay as they are.
	Installations []Installation `json:"installations,omitzero" yaml:"installations,omitempty"`
	Subscriptions []Subscription `json:"subscriptions,omitempty" yaml:"subscriptions,omitempty"`
}

// Installation says that an account, or one user of it, has authorized the app.
type Installation struct {
	Account string `json:"account_id" yaml:"account_id"`
	User    string `json:"user_id,omitempty" yaml:"user_id,omitempty"`
}

// Subscription is a subscription of a manifest, told from others by its name
// within its app. The fields are those of the public API.
type Subscription struct {
	Name         string        `json:"event_subscription_name" yaml:"event_subscription_name"`
	Events       []string      `json:"events" yaml:"events"`
	URL          string        `json:"event_webhook_url" yaml:"event_webhook_url"`
	Development  string        `json:"development_webhook_url,omitempty" yaml:"development_webhook_url,omitempty"`
	Scope        string        `json:"subscription_scope,omitempty" yaml:"subscription_scope,omitempty"` // default: account
	Account      string        `json:"account_id,omitempty" yaml:"account_id,omitempty"`
	Users        []string      `json:"user_ids,omitempty" yaml:"user_ids,omitempty"`
	Groups       []string      `json:"user_group_ids,omitempty" yaml:"user_group_ids,omitempty"`
	CustomHeader *CustomHeader `json:"custom_header,omitempty" yaml:"custom_header,omitempty"`
	MaxInFlight  int           `json:"max_in_flight,omitempty" yaml:"max_in_flight,omitempty"`
	MaxPerSecond float64       `json:"max_per_second,omitempty" yaml:"max_per_second,omitempty"`
	Disabled     bool          `json:"disabled,omitempty" yaml:"disabled,omitempty"`
}

// CustomHeader is how the platform proves itself beside the signature.
type CustomHeader struct {
	Type                 int    `json:"custom_header_type" yaml:"custom_header_type"`
	Username             string `json:"username,omitempty" yaml:"username,omitempty"`
	Password             string `json:"password,omitempty" yaml:"password,omitempty"`
	ClientID             string `json:"client_id,omitempty" yaml:"client_id,omitempty"`
	ClientSecret         string `json:"client_secret,omitempty" yaml:"client_secret,omitempty"`
	TokenURL             string `json:"token_url,omitempty" yaml:"token_url,omitempty"`
	Scope                string `json:"scope,omitempty" yaml:"scope,omitempty"`
	State                string `json:"state,omitempty" yaml:"state,omitempty"`
	ClientAuthentication string `json:"client_authentication,omitempty" yaml:"client_authentication,omitempty"`
	Key                  string `json:"custom_header_key,omitempty" yaml:"custom_header_key,omitempty"`
	Value                string `json:"custom_header_value,omitempty" yaml:"custom_header_value,omitempty"`
}

// Auth returns the settings as the platform uses them: those of the type, and
// nothing of the others.
func (c *CustomHeader) Auth() (hook.Auth, hook.Faults) {
	var f hook.Faults
	if c == nil {
		return hook.Auth{}, nil
	}
	if c.Type < 0 || c.Type > int(hook.AuthHeader) {
		f.Add("custom_header_type", "%d is none of 0, 1, 2, 3", c.Type)
		return hook.Auth{}, f
	}
	if c.Type == 0 && *c != (CustomHeader{}) {
		f.Add("custom_header_type", "is missing: 1 is Basic, 2 an OAuth token, 3 a header of your own")
	}
	a := hook.Auth{Mode: hook.AuthMode(c.Type)}
	switch a.Mode {
	case hook.AuthBasic:
		a.Username, a.Password = c.Username, hook.Secret(c.Password)
	case hook.AuthOAuth:
		a.ClientID, a.ClientSecret, a.TokenURL, a.Scope, a.State = c.ClientID, hook.Secret(c.ClientSecret), c.TokenURL, c.Scope, c.State
		switch c.ClientAuthentication {
		case "", "header":
		case "body":
			a.InBody = true
		default:
			f.Add("client_authentication", "%q is neither header nor body", c.ClientAuthentication)
		}
	case hook.AuthHeader:
		a.Header, a.Value = c.Key, hook.Secret(c.Value)
	}
	return a, f
}

// subscription returns the subscription as the manifest says, in its initial
// state, and what is wrong with it in itself.
func (s *Subscription) subscription(app string, p hook.EndpointPolicy) (*hook.Subscription, hook.Faults) {
	events := slices.Clone(s.Events)
	slices.Sort(events)
	h := &hook.Subscription{
		App: app, Name: s.Name, Events: slices.Compact(events), Endpoint: hook.Endpoint{URL: s.URL}, Development: hook.Endpoint{URL: s.Development},
		Scope: hook.SubscriptionScope(s.Scope), Subscribers: hook.With(nil, hook.Subscriber{Account: s.Account, Users: s.Users, Groups: s.Groups}),
		Source: hook.SourceDefault, Limits: hook.Limits{InFlight: s.MaxInFlight, PerSecond: s.MaxPerSecond},
	}
	if s.Scope == "" {
		h.Scope = hook.ScopeAccount
	}
	auth, f := s.CustomHeader.Auth()
	f = f.In("custom_header/")
	h.Auth = auth
	if s.Name == "" {
		f.Add("event_subscription_name", "is missing: it tells the subscriptions of an app apart")
	}
	if (h.Scope == hook.ScopeAccount || h.Scope == hook.ScopeMasterAccount) && len(s.Users)+len(s.Groups) > 0 {
		f.Add("user_ids", "and user_group_ids are for subscription_scope user only")
	}
	return h, append(f, h.Check(p)...)
}

// at is the place of something in a manifest, as the start of a JSON pointer.
func at(format string, args ...any) string { return "/" + fmt.Sprintf(format, args...) + "/" }
