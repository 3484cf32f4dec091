package hook

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Record is what is on record of whatever decides whether a subscription gets an event.
type Record struct {
	// Audit holds entries about the subscription, its app and all else that matters, the
	// latest first. Cut says that there are others since the event was accepted.
	Audit []AuditEntry
	Cut   bool
	// Validations are the subscription's, the latest first.
	Validations []Validation
}

// latest returns the latest entry that is wanted, or nil.
func (r *Record) latest(wanted func(*AuditEntry) bool) *AuditEntry {
	for i := range r.Audit {
		if wanted(&r.Audit[i]) {
			return &r.Audit[i]
		}
	}
	return nil
}

// since returns the changes after t on which the verdict depends, the latest first.
func (r *Record) since(t time.Time, v Verdict, c *Case) (changes []AuditEntry) {
	for _, e := range r.Audit {
		if later(e.At, t) && c.dependsOn(&e, v) {
			changes = append(changes, e)
		}
	}
	return changes
}

// dependence says which fields of the subscription and of its app a verdict depends on,
// and which kinds of things beside them.
type dependence struct{ subscription, app, others []string }

var subscribers = []string{"subscribed", "unsubscribed", "subscription_scope", "account_id", "user_ids", "user_group_ids"}

var dependences = map[Verdict]dependence{
	NotSubscribed:   {subscription: []string{"events"}},
	NotValidated:    {app: []string{"state"}},
	SubscriptionOff: {app: []string{"state"}},
	AppOff:          {app: []string{"disabled"}},
	MissingScope:    {app: []string{"scopes"}, others: []string{"catalog"}},
	OtherCarrier:    {app: []string{"carrier_codes"}},
	NotInstalled:    {others: []string{"installation", "account"}},
	NoSubscriber:    {subscription: subscribers},
	OutOfAccount:    {subscription: subscribers, others: []string{"account"}},
	OutOfUsers:      {subscription: subscribers, others: []string{"installation", "user", "user_group"}},
	Entitled: {
		subscription: slices.Concat(subscribers, []string{"events"}), app: []string{"state", "disabled", "scopes", "carrier_codes"},
		others: []string{"installation", "account", "user", "user_group", "catalog"},
	},
}

// undone reports whether [Case.past] has undone all of the changes on which the verdict
// depends.
func (v Verdict) undone(changes []AuditEntry) bool {
	return !slices.ContainsFunc(changes, func(e AuditEntry) bool {
		return e.Kind != "app" && (e.Kind != "subscription" || v != NotSubscribed)
	})
}

// dependsOn reports whether the verdict may have been another one before the entry was
// made.
func (c *Case) dependsOn(e *AuditEntry, v Verdict) bool {
	d := dependences[v]
	switch e.Kind {
	case "subscription":
		return e.Subject == c.Subscription.ID && slices.ContainsFunc(d.subscription, e.field)
	case "app":
		return e.Subject == c.App.ID && slices.ContainsFunc(d.app, e.field)
	}
	return slices.Contains(d.others, e.Kind) && c.about(e)
}

// about reports whether an entry that is neither about an app nor about a subscription
// is about the event.
func (c *Case) about(e *AuditEntry) bool {
	switch e.Kind {
	case "installation":
		where, ofApp := strings.CutPrefix(e.Name, c.App.Name+" on account ")
		where, _, _ = strings.Cut(where, ", ")
		return ofApp && (where == c.Event.Account || c.Subscription.Scope == ScopeMasterAccount)
	case "user", "user_group":
		return strings.HasPrefix(e.Name, c.Event.Account+"/")
	case "account":
		return e.Subject == c.Event.Account && e.field("master_account_id")
	}
	return true
}

// changed reports whether a change is among those of the entry.
func (e *AuditEntry) changed(text string) bool { return slices.Contains(e.Changes, text) }

// field reports whether a field is among those that changed.
func (e *AuditEntry) field(name string) bool {
	return slices.ContainsFunc(e.Changes, func(c string) bool {
		rest, ok := strings.CutPrefix(c, name)
		return ok && (rest == "" || rest[0] == ':' || rest[0] == ' ')
	})
}

var doings = map[Action]string{
	Created: "made", Updated: "changed", Removed: "removed", Validated: "validated", TurnedOff: "disabled", Rotated: "replaced a secret of",
	Resent: "resent", Imported: "imported", Revoked: "revoked",
}

// sentence says who did what, when.
func (e *AuditEntry) sentence() string {
	called := e.Name
	if called == "" {
		called = e.Subject
	}
	text := fmt.Sprintf("at %s %s %s the %s %q", at(e.At), e.By, doings[e.Action], strings.ReplaceAll(e.Kind, "_", " "), clip(called))
	if len(e.Changes) > 0 {
		text += " (" + clip(strings.Join(e.Changes, ", ")) + ")"
	}
	return text
}

// clip shortens what would make a sentence too long to be read.
func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// past is a subscription and its app as they stood, as far as that is on record: what
// the event types, scopes and carrier codes were, whether the app was disabled and in
// which state, and how the endpoint stood that served it.
type past struct {
	subscription *Subscription
	app          *App
	// known says that it is on record how the endpoint stood. If not, it is as it is now.
	known bool
}

// past returns how things stood at t.
func (c *Case) past(t time.Time) past {
	s, a := *c.Subscription, *c.App
	for i := range c.Record.Audit { // the latest first, so that each step is undone in turn
		e := &c.Record.Audit[i]
		if !later(e.At, t) {
			continue
		}
		switch e.Subject {
		case a.ID:
			a.Scopes = e.undoList("scopes", a.Scopes)
			a.CarrierCodes = e.undoCodes(a.CarrierCodes)
			a.Disabled = e.before("disabled", fmt.Sprint(a.Disabled)) == "true"
			a.State = AppState(e.before("state", string(a.State)))
		case s.ID:
			s.Events = e.undoList("events", s.Events)
			s.URL = e.undoText("event_webhook_url", s.URL)
			s.Development.URL = e.undoText("development_webhook_url", s.Development.URL)
		}
	}
	p := past{subscription: &s, app: &a}
	then := s.Serving(&a)
	in := Production
	if then == &s.Development {
		in = Development
	}
	if now := c.Subscription.At(in); now.URL == then.URL && !later(now.StateSince, t) {
		p.known = true
		return p
	}
	steps := c.Record.steps(t, s.ID, in)
	for i, x := range steps {
		switch {
		case i == 0 || x.State != then.State:
			then.State, then.StateSince, then.StateReason = x.State, x.At, x.Reason
		case x.State == Pending:
			then.StateReason = x.Reason // the latest is of more use than the first
		}
	}
	p.known = len(steps) > 0
	return p
}

// before returns the value of a field before the entry's change.
func (e *AuditEntry) before(field, now string) string {
	for _, text := range e.Changes {
		if change, ok := strings.CutPrefix(text, field+": "); ok {
			was, _, _ := strings.Cut(change, " -> ")
			return was
		}
	}
	return now
}

// undoText returns a text as it was before the entry's change.
func (e *AuditEntry) undoText(field, now string) string {
	if text, err := strconv.Unquote(e.before(field, strconv.Quote(now))); err == nil {
		return text
	}
	return now
}

// undoList returns a sorted list as it was before the entry's change.
func (e *AuditEntry) undoList(field string, now []string) []string {
	for _, text := range e.Changes {
		change, ok := strings.CutPrefix(text, field+": ")
		if !ok {
			continue
		}
		was := slices.Clone(now)
		for word := range strings.FieldsSeq(change) {
			switch x := word[1:]; word[0] {
			case '+':
				was = slices.DeleteFunc(was, func(y string) bool { return x == y })
			case '-':
				was = append(was, x)
			}
		}
		slices.Sort(was)
		return was
	}
	return now
}

func (e *AuditEntry) undoCodes(now []int32) []int32 {
	if !e.field("carrier_codes") {
		return now
	}
	var texts []string
	for _, code := range now {
		texts = append(texts, strconv.FormatInt(int64(code), 10))
	}
	var was []int32
	for _, text := range e.undoList("carrier_codes", texts) {
		if code, err := strconv.ParseInt(text, 10, 32); err == nil {
			was = append(was, int32(code))
		}
	}
	slices.Sort(was)
	return was
}

// steps returns what is on record until t of an endpoint's state, the earliest first.
func (r *Record) steps(t time.Time, subscription string, in AppState) (steps []Validation) {
	for _, v := range r.Validations {
		if v.In != in || later(v.At, t) {
			continue
		}
		if v.State == Disabled && v.Occasion == OnRound {
			v.Reason = disabledAfterRounds(DisabledAfter, v.Reason)
		}
		steps = append(steps, v)
	}
	for _, e := range r.Audit {
		if e.Subject == subscription && !later(e.At, t) && e.disables() {
			steps = append(steps, Validation{At: e.At, State: Disabled})
		}
	}
	slices.SortStableFunc(steps, func(a, b Validation) int { return a.At.Compare(b.At) })
	return steps
}

// disables reports whether somebody has disabled a subscription. What the platform
// disables after a round is among the validations.
func (e *AuditEntry) disables() bool {
	return e.By.Kind != BySystem && (e.Action == TurnedOff || e.Action == Updated && e.changed("disabled"))
}

// disabledBy returns who disabled a subscription at an instant, or nothing if nobody
// did.
func (r *Record) disabledBy(id string, since time.Time) string {
	e := r.latest(func(e *AuditEntry) bool { return e.Subject == id && sameInstant(e.At, since) && e.disables() })
	if e == nil {
		return ""
	}
	return e.By.String()
}
