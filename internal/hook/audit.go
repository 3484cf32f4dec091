package hook

import (
	"fmt"
	"time"
)

// AuditEntry says who did what, when, to what.
type AuditEntry struct {
	ID     int64 // in the order in which it was done
	At     time.Time
	By     Actor
	Action Action
	// Kind is what it was done to, one of [AuditKinds].
	Kind string
	// Subject is its id, and Name what people call it. Of many numbers that were changed
	// at once, Subject is the first.
	Subject, Name string
	// Changes say in words what is different since. Secrets are not in them.
	Changes []string
}

// AuditKinds are the kinds of things that there are entries about.
var AuditKinds = []string{
	"account", "user", "user_group", "app", "installation", "subscription", "event_type", "catalog", "operator_key", "delivery", "notice", "carrier", "number",
}

// Action is what somebody did.
type Action string

// The actions.
const (
	Created   Action = "create"
	Updated   Action = "update"
	Removed   Action = "remove"
	Validated Action = "validate"
	TurnedOff Action = "disable"
	Rotated   Action = "rotate"
	Resent    Action = "resend"
	Imported  Action = "import"
	Revoked   Action = "revoke"
)

// Actor is who did something.
type Actor struct {
	Kind ActorKind
	// ID is that of the operator key or of the app, and Name its name.
	ID, Name string
}

// ActorKind is the sort of an [Actor].
type ActorKind string

// The kinds of actors.
const (
	// ByOperator: somebody with an operator key.
	ByOperator ActorKind = "operator_key"
	// ByApp: an app, through the public API.
	ByApp ActorKind = "app"
	// ByCommand: somebody at the machine, with a command that opens the database.
	ByCommand ActorKind = "command"
	// BySystem: the platform itself.
	BySystem ActorKind = "system"
)

// String names the actor for logs and for reasons that people read.
func (a Actor) String() string {
	switch a.Kind {
	case BySystem:
		return "the platform"
	case ByCommand:
		return "a command at the machine"
	case ByOperator:
		return fmt.Sprintf("operator key %q (%s)", a.Name, a.ID)
	}
	return fmt.Sprintf("%s %q (%s)", a.Kind, a.Name, a.ID)
}

// AuditFilter selects entries.
type AuditFilter struct {
	// Subject, Actor and Kind, or all if empty.
	Subject, Actor, Kind string
	// From and To bound when it was done, without To itself. Zero: no bound.
	From, To time.Time
	// Before continues where the page before ended: entries with lower ids. 0: from
	// the latest.
	Before int64
	Limit  int
}

// Validation is one time that an endpoint was asked to prove itself.
type Validation struct {
	Subscription SubscriptionKey
	In           AppState // which of its endpoints
	URL          string
	At           time.Time
	Occasion     Occasion
	// Reason says why it failed. It is empty if it did not.
	Reason string
	// State is the endpoint's since.
	State SubscriptionState
}

// Occasion is why an endpoint was asked.
type Occasion string

// The occasions.
const (
	// OnChange: the subscription was made or changed.
	OnChange Occasion = "change"
	// OnRequest: somebody asked for it.
	OnRequest Occasion = "request"
	// OnRound: the regular round.
	OnRound Occasion = "round"
)
