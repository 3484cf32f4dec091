package hook

import (
	"cmp"
	"slices"
	"time"
)

// Subscription asks for some event types to be sent to a URL.
type Subscription struct {
	ID   string
	Key  SubscriptionKey
	App  string
	Name string
	// Events are the names of the event types, sorted.
	Events []string
	Scope  SubscriptionScope
	// Subscribers are whose events it asks for, by account. Nobody is owed anything
	// without them.
	Subscribers []Subscriber
	// Endpoint is the production endpoint, to which events go while the app is in
	// production, or always if there is no other.
	Endpoint
	// Development is the endpoint to which events go while the app is in development.
	// Its URL is empty if there is none.
	Development Endpoint
	Source      Source
	Auth        Auth
	Limits      Limits
	// Generation rises whenever the subscription is disabled. What is outstanding
	// of an earlier generation is cancelled, so enabling it again later does not
	// bring that back.
	Generation int64
	Created    time.Time
	// Deleted is when it was deleted: those that are there have the zero time.
	Deleted time.Time
}

// Serving returns the endpoint to which the app's events go in the app's state.
func (s *Subscription) Serving(a *App) *Endpoint {
	if a.State == Development && s.Development.URL != "" {
		return &s.Development
	}
	return &s.Endpoint
}

// At returns one of the subscription's endpoints.
func (s *Subscription) At(in AppState) *Endpoint {
	if in == Development {
		return &s.Development
	}
	return &s.Endpoint
}

// Subscriber is an account, or some people of it, whose events a subscription asks
// for.
type Subscriber struct {
	// Account is empty for each account that the app may receive events of. Only the
	// operator can say so.
	Account string `json:"account_id,omitempty"`
	// Users and Groups are who of the account is meant, sorted, where the scope is
	// ScopeUser.
	Users  []string `json:"user_ids,omitempty"`
	Groups []string `json:"user_group_ids,omitempty"`
}

// Subscriber returns the one for an account, or nil.
func (s *Subscription) Subscriber(account string) *Subscriber {
	if i, ok := slices.BinarySearchFunc(s.Subscribers, account, byAccount); ok {
		return &s.Subscribers[i]
	}
	return nil
}

func byAccount(s Subscriber, account string) int { return cmp.Compare(s.Account, account) }

// With returns the subscribers and one more, whose people are added to those that its
// account may have already.
func With(all []Subscriber, x Subscriber) []Subscriber {
	i, known := slices.BinarySearchFunc(all, x.Account, byAccount)
	all = slices.Clone(all)
	if known {
		x.Users, x.Groups = union(all[i].Users, x.Users), union(all[i].Groups, x.Groups)
		all[i] = x
		return all
	}
	x.Users, x.Groups = union(nil, x.Users), union(nil, x.Groups)
	return slices.Insert(all, i, x)
}

// Without returns the subscribers without some users of an account, or without the
// account if users is empty or nobody of it is left.
func Without(all []Subscriber, account string, users []string) []Subscriber {
	i, known := slices.BinarySearchFunc(all, account, byAccount)
	if !known {
		return all
	}
	all = slices.Clone(all)
	x := all[i]
	x.Users = slices.DeleteFunc(slices.Clone(x.Users), func(u string) bool { return slices.Contains(users, u) })
	if len(users) == 0 || len(x.Users)+len(x.Groups) == 0 {
		return slices.Delete(all, i, i+1)
	}
	all[i] = x
	return all
}

// union returns both lists as one, sorted, each entry once, and nil for none.
func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// Limits bound what one endpoint gets at a time. The zero value means the
// platform's defaults.
type Limits struct {
	InFlight  int     `json:"max_in_flight,omitempty"`
	PerSecond float64 `json:"max_per_second,omitempty"`
}

// SubscriptionScope says whose events a subscription asks for.
type SubscriptionScope string

// The scopes of subscriptions.
const (
	// ScopeUser asks for the events of some users.
	ScopeUser SubscriptionScope = "user"
	// ScopeAccount asks for the events of an account.
	ScopeAccount SubscriptionScope = "account"
	// ScopeMasterAccount asks for the events of an account and its sub-accounts.
	ScopeMasterAccount SubscriptionScope = "master_account"
)

// Source says how a subscription came to be.
type Source string

// The sources of subscriptions.
const (
	// SourceDefault: made by the operator or in the console.
	SourceDefault Source = "default"
	// SourceOpenAPI: made by the app through the API.
	SourceOpenAPI Source = "openapi"
)
