package hook

import (
	"fmt"
	"slices"
	"strings"
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
	URL    string
	Scope  SubscriptionScope
	// Account is the account subscribed to. Empty means each account that the
	// app may receive events of.
	Account string
	// Users and Groups are who is subscribed to, where Scope is ScopeUser.
	Users, Groups []string
	Source        Source
	Auth          Auth
	Limits        Limits
	State         SubscriptionState
	// StateReason says in a sentence why the subscription is in its state, and
	// StateSince since when.
	StateReason string
	StateSince  time.Time
	// Generation rises whenever the subscription is disabled. What is outstanding
	// of an earlier generation is cancelled, so enabling it again later does not
	// bring that back.
	Generation int64
	Created    time.Time
}

// Limits bound what one endpoint gets at a time. The zero value means the
// platform's defaults.
type Limits struct {
	InFlight  int     `json:"max_in_flight,omitempty"`
	PerSecond float64 `json:"max_per_second,omitempty"`
}

// Active reports whether events are owed to the subscription.
func (s *Subscription) Active() bool { return s.State == Valid || s.State == Failing }

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

// SubscriptionState is where the validation of a subscription's endpoint stands.
type SubscriptionState uint8

const (
	// Pending: the endpoint has not proven itself yet; nothing is owed.
	Pending SubscriptionState = iota
	// Valid: the endpoint answered its last challenge.
	Valid
	// Failing: it did not answer the last one, but still gets events.
	Failing
	// Disabled: nothing is sent any more.
	Disabled
)

var subscriptionStates = [...]string{"pending", "valid", "failing", "disabled"}

// String returns the state's name in lower case.
func (s SubscriptionState) String() string {
	if int(s) < len(subscriptionStates) {
		return subscriptionStates[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// MarshalText writes the state's name.
func (s SubscriptionState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a state's name.
func (s *SubscriptionState) UnmarshalText(b []byte) error {
	i := slices.Index(subscriptionStates[:], string(b))
	if i < 0 {
		return fmt.Errorf("state %q is none of %s", b, strings.Join(subscriptionStates[:], ", "))
	}
	*s = SubscriptionState(i)
	return nil
}
