package hook

import "slices"

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
	NoSubscriber            // everybody has unsubscribed
	OutOfAccount            // it asks for another account's events
	OutOfUsers              // it asks for other users' events
)

// verdict asks the questions of the contract in turn: does the subscription
// list the type, is it active, is its app entitled, does its scope fit.
func (d *Directory) verdict(e *Event, t *EventType, s *Subscription, a *App) Verdict {
	if _, listed := slices.BinarySearch(s.Events, e.Type); !listed {
		return NotSubscribed
	}
	switch state := s.Serving(a).State; {
	case state == Pending:
		return NotValidated
	case state == Disabled:
		return SubscriptionOff
	case a.Disabled:
		return AppOff
	case !a.Entitled(t):
		return MissingScope
	}
	return d.scopeVerdict(e, t, s, a)
}

// MayReceive reports whether there could be a subscription by which the app is owed the
// event: it asks one that asks for everything.
func (d *Directory) MayReceive(e *Event, t *EventType, app string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	entry := d.apps[app]
	if entry == nil {
		return false
	}
	widest := Subscription{Events: []string{e.Type}, Scope: ScopeMasterAccount, Subscribers: []Subscriber{{}}, Endpoint: Endpoint{State: Valid}}
	return d.verdict(e, t, &widest, entry.App) == Entitled
}

// scopeVerdict asks the last of the questions: whose events the app may have, and the
// subscription asks for.
func (d *Directory) scopeVerdict(e *Event, t *EventType, s *Subscription, a *App) Verdict {
	if t.Routing == ByCarrier {
		return d.carrierVerdict(e, s, a)
	}
	return d.accountVerdict(e, s, a)
}

// carrierVerdict judges a peering event. It belongs to the carrier whose numbers
// are concerned, while its account is a customer's, which the carrier's app has
// nothing to do with: so the account plays no part.
func (d *Directory) carrierVerdict(e *Event, s *Subscription, a *App) Verdict {
	switch {
	case !slices.Contains(a.CarrierCodes, e.Carrier):
		return OtherCarrier
	case len(s.Subscribers) == 0:
		return NoSubscriber
	case s.Scope != ScopeUser:
		return Entitled
	}
	for i := range s.Subscribers {
		if d.concerns(&s.Subscribers[i], e, e.Users, e.Groups) {
			return Entitled
		}
	}
	return OutOfUsers
}

func (d *Directory) accountVerdict(e *Event, s *Subscription, a *App) Verdict {
	switch {
	case !d.authorized(e, s, a):
		return NotInstalled
	case len(s.Subscribers) == 0:
		return NoSubscriber
	}
	users, groups := e.Users, e.Groups
	if !d.wholly(e, s, a) {
		// Some users have authorized the app, and only for themselves.
		users, groups = d.authorizedUsers(a, e), nil
	}
	verdict := OutOfAccount
	accounts := [...]string{e.Account, "", ""}
	if s.Scope == ScopeMasterAccount {
		accounts[2] = d.masterOf(e.Account)
	}
	for _, account := range accounts {
		x := s.Subscriber(account)
		switch {
		case x == nil:
		case s.Scope != ScopeUser || d.concerns(x, e, users, groups):
			return Entitled
		default:
			verdict = OutOfUsers
		}
	}
	return verdict
}

// authorized reports whether the app may receive events of the event's account, or
// of a user that it concerns.
func (d *Directory) authorized(e *Event, s *Subscription, a *App) bool {
	return d.wholly(e, s, a) || d.installed(a, e.Account, e.Users)
}

// wholly reports whether the app may receive all events of the event's account. A
// master account's authorization covers its sub-accounts for subscriptions that ask
// for both.
func (d *Directory) wholly(e *Event, s *Subscription, a *App) bool {
	if d.installed(a, e.Account, nil) {
		return true
	}
	master := d.masterOf(e.Account)
	return s.Scope == ScopeMasterAccount && master != "" && d.installed(a, master, nil)
}

// authorizedUsers returns who of the event's users has installed the app.
func (d *Directory) authorizedUsers(a *App, e *Event) (users []string) {
	by := d.installations[a.ID][e.Account]
	for _, u := range e.Users {
		if _, ok := by[u]; ok {
			users = append(users, u)
		}
	}
	return users
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

// concerns reports whether any of these people, whom the event is about, is among
// those that the subscriber names.
func (d *Directory) concerns(s *Subscriber, e *Event, users, groups []string) bool {
	if among(s.Users, users) || among(s.Groups, groups) {
		return true
	}
	if len(s.Groups) == 0 {
		return false
	}
	return slices.ContainsFunc(users, func(id string) bool {
		u := d.users[e.Account][id]
		return u != nil && among(s.Groups, u.Groups)
	})
}

// among reports whether any of the ids is in the sorted list.
func among(sorted, ids []string) bool {
	return len(sorted) > 0 && slices.ContainsFunc(ids, func(id string) bool { _, ok := slices.BinarySearch(sorted, id); return ok })
}

func intersects(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool { return slices.Contains(b, x) })
}
