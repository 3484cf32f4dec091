package hook

import (
	"fmt"
	"slices"
	"strings"
)

// Verdict says whether a subscription is owed an event, and if not, why not.
type Verdict uint8

// The verdicts, in the order in which the questions are asked.
const (
	Entitled        Verdict = iota
	NotSubscribed           // the event type is not on its list
	NotValidated            // pending: its endpoint has not answered a challenge
	SubscriptionOff         // disabled
	AppOff                  // its app is disabled
	MissingScope            // its app has none of the event type's scopes
	OtherCarrier            // its app is not bound to the event's carrier code
	NotInstalled            // its app is neither owned by nor installed on the account
	OutOfAccount            // it asks for another account's events
	OutOfUsers              // it asks for other users' events
)

// verdict asks the questions of the contract in turn: does the subscription
// list the type, is it active, is its app entitled, does its scope fit.
func (d *Directory) verdict(e *Event, t *EventType, s *Subscription, a *App) Verdict {
	if _, listed := slices.BinarySearch(s.Events, e.Type); !listed {
		return NotSubscribed
	}
	switch {
	case s.State == Pending:
		return NotValidated
	case s.State == Disabled:
		return SubscriptionOff
	case a.Disabled:
		return AppOff
	case len(t.Scopes) > 0 && !intersects(a.Scopes, t.Scopes):
		return MissingScope
	}
	if t.Routing == ByCarrier {
		return carrierVerdict(e, s, a)
	}
	return d.accountVerdict(e, s, a)
}

// carrierVerdict judges a peering event. It belongs to the carrier whose numbers
// are concerned, while its account is a customer's, which the carrier's app has
// nothing to do with: so the account plays no part.
func carrierVerdict(e *Event, s *Subscription, a *App) Verdict {
	if !slices.Contains(a.CarrierCodes, e.Carrier) {
		return OtherCarrier
	}
	if s.Scope == ScopeUser && !s.concerns(e) {
		return OutOfUsers
	}
	return Entitled
}

func (d *Directory) accountVerdict(e *Event, s *Subscription, a *App) Verdict {
	if !d.authorized(e, s, a) {
		return NotInstalled
	}
	switch s.Scope {
	case ScopeMasterAccount:
		if s.Account != e.Account && s.Account != d.masterOf(e.Account) {
			return OutOfAccount
		}
	case ScopeUser:
		if s.Account != "" && s.Account != e.Account {
			return OutOfAccount
		}
		if !s.concerns(e) {
			return OutOfUsers
		}
	default:
		if s.Account != "" && s.Account != e.Account {
			return OutOfAccount
		}
	}
	return Entitled
}

// authorized reports whether the app may receive events of the event's account.
// A master account's authorization covers its sub-accounts for subscriptions
// that ask for both.
func (d *Directory) authorized(e *Event, s *Subscription, a *App) bool {
	if d.installed(a, e.Account, e.Users) {
		return true
	}
	master := d.masterOf(e.Account)
	return s.Scope == ScopeMasterAccount && master != "" && d.installed(a, master, nil)
}

func (d *Directory) installed(a *App, account string, users []string) bool {
	if a.Account == account {
		return true
	}
	by := d.installations[a.ID][account]
	_, whole := by[""]
	return whole || slices.ContainsFunc(users, func(u string) bool { _, ok := by[u]; return ok })
}

func (d *Directory) masterOf(account string) string {
	if a := d.accounts[account]; a != nil {
		return a.Master
	}
	return ""
}

func (s *Subscription) concerns(e *Event) bool {
	return intersects(s.Users, e.Users) || intersects(s.Groups, e.Groups)
}

func intersects(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool { return slices.Contains(b, x) })
}

// Explain says the verdict as a sentence for the people concerned.
func (v Verdict) Explain(e *Event, t *EventType, s *Subscription, a *App) string {
	switch v {
	case Entitled:
		return "the event is owed to the subscription"
	case NotSubscribed:
		return fmt.Sprintf("the subscription does not list %s", e.Type)
	case NotValidated:
		return "the endpoint has not answered its challenge yet: " + s.StateReason
	case SubscriptionOff:
		return "the subscription is disabled: " + s.StateReason
	case AppOff:
		return fmt.Sprintf("the app %q is disabled", a.Name)
	case MissingScope:
		return fmt.Sprintf("the app %q has none of the scopes that entitle to the event: %s", a.Name, strings.Join(t.Scopes, ", "))
	case OtherCarrier:
		return fmt.Sprintf("the app %q is not bound to carrier code %d", a.Name, e.Carrier)
	case NotInstalled:
		return fmt.Sprintf("the app %q is neither owned by nor installed on account %s", a.Name, e.Account)
	case OutOfAccount:
		return fmt.Sprintf("the subscription asks for events of account %s, the event is of %s", s.Account, e.Account)
	case OutOfUsers:
		return "the subscription asks for events of other users"
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}
