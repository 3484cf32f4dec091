package hook

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Cause is the one reason why an event stands with a subscription as it does.
// Programs match on it; people read the sentence beside it.
type Cause string

// The causes of a subscription that was owed the event.
const (
	CauseDelivered Cause = "delivered"
	// Nothing keeps the first attempt: it is under way, or about to be.
	CauseFirst Cause = "waiting_first_attempt"
	// The next attempt follows a failed one.
	CauseRetry Cause = "waiting_retry"
	// It was asked for again by hand.
	CauseAgain Cause = "waiting_resend"
	// Others of the same subscription are due before it.
	CauseBacklog Cause = "waiting_backlog"
	// The endpoint gets only so many requests a second.
	CauseRate Cause = "waiting_rate_limit"
	// The endpoint has not answered for a while and is spared.
	CauseSpared Cause = "waiting_breaker"
	// This machine had no connection to spare.
	CauseConnections Cause = "waiting_connection"
	// It is not owed any more, and about to be called off.
	CauseCancelling Cause = "waiting_cancellation"
	CauseFailed     Cause = "failed"
	CauseExhausted  Cause = "exhausted"
	CauseCancelled  Cause = "cancelled"
)

// The causes of a subscription that was not owed the event.
const (
	CauseCreatedLater  Cause = "created_later"
	CauseDeletedBefore Cause = "deleted_before"
	// It was deleted since, and why it was not owed the event went with it.
	CauseDeletedSince Cause = "deleted_since"
	// Something has changed since, and what it was like then is not known for certain.
	CauseChangedSince Cause = "changed_since"
	// The same, and nothing is.
	CauseNotOnRecord Cause = "not_on_record"

	CauseNotSubscribed Cause = "not_subscribed"
	CauseNotValidated  Cause = "not_validated"
	CauseDisabled      Cause = "subscription_disabled"
	CauseAppDisabled   Cause = "app_disabled"
	CauseMissingScope  Cause = "missing_scope"
	CauseOtherCarrier  Cause = "other_carrier_code"
	CauseNotInstalled  Cause = "not_installed"
	CauseNoSubscriber  Cause = "nobody_subscribed"
	CauseOtherAccount  Cause = "other_account"
	CauseOtherUsers    Cause = "other_users"

	// CauseExpired: the event is older than the log, so nobody knows.
	CauseExpired Cause = "expired"
	// CauseChallenge: it is no event, but what asked the endpoint to prove itself.
	CauseChallenge Cause = "challenge"
)

var owedCauses = []Cause{
	CauseDelivered, CauseFirst, CauseRetry, CauseAgain, CauseBacklog, CauseRate, CauseSpared, CauseConnections, CauseCancelling,
	CauseFailed, CauseExhausted, CauseCancelled,
}

// Causes returns all of them.
func Causes() []Cause {
	return append(slices.Clone(owedCauses),
		CauseNotSubscribed, CauseNotValidated, CauseDisabled, CauseAppDisabled, CauseMissingScope, CauseOtherCarrier, CauseNotInstalled,
		CauseNoSubscriber, CauseOtherAccount, CauseOtherUsers, CauseCreatedLater, CauseChangedSince, CauseNotOnRecord, CauseDeletedBefore, CauseDeletedSince, CauseExpired, CauseChallenge)
}

// Owed reports whether the cause is one of a subscription that was owed the event.
func (c Cause) Owed() bool { return slices.Contains(owedCauses, c) }

var verdictCauses = [...]Cause{
	NotSubscribed: CauseNotSubscribed, NotValidated: CauseNotValidated, SubscriptionOff: CauseDisabled, AppOff: CauseAppDisabled, MissingScope: CauseMissingScope,
	OtherCarrier: CauseOtherCarrier, NotInstalled: CauseNotInstalled, NoSubscriber: CauseNoSubscriber, OutOfAccount: CauseOtherAccount, OutOfUsers: CauseOtherUsers,
}

// Case is all that is known of an event and a subscription.
type Case struct {
	Event *Event
	Type  *EventType
	// Classic and Granular are the two kinds of scopes that Type.Scopes holds together.
	Classic, Granular []string
	// Subscription is nil if nothing is known of it any more. It may be a deleted one.
	Subscription *Subscription
	// App is nil if it was deleted.
	App *App

	// Standing is how the delivery stands, with its log. nil: the event was not owed.
	Standing *Standing
	// Place and Lane are for deliveries that wait.
	Place Place
	Lane  Lane

	// Directory and Record are for events that were not owed.
	Directory *Directory
	Record    Record
}

// Place is where an outstanding delivery stands in the backlog of its subscription.
type Place struct {
	// Ahead is how many are due before it; [MaxAhead] stands for that many or more.
	Ahead int
	// Generation is that of the subscription when it became due.
	Generation int64
}

// MaxAhead is how far the deliveries are counted that are due before one.
const MaxAhead = 1_000

// Lane is what an endpoint is given at the moment.
type Lane struct {
	// SparedUntil is until when nothing is sent to an endpoint that does not answer.
	// Zero: it is not spared.
	SparedUntil time.Time
	// Flying is how many requests to it are under way, of InFlight that may be.
	Flying, InFlight int
	// PerSecond is how many it gets in a second. 0: no limit.
	PerSecond float64
}

// Explanation says why an event stands with a subscription as it does.
type Explanation struct {
	Cause Cause
	// Text says it in sentences, and Remedy what can be done about it. Remedy is empty
	// where nothing has to be done.
	Text, Remedy string
	// AsOf says when the cause held, where that is a question.
	AsOf AsOf
	// Next is when the next attempt is due. It is zero unless one is.
	Next time.Time
}

// AsOf is when a cause held.
type AsOf string

const (
	// ThenAndNow: when the event was accepted, and still.
	ThenAndNow AsOf = "then_and_now"
	// OnlyThen: when the event was accepted, and no more.
	OnlyThen AsOf = "then"
	// OnlyNow: it holds now. What was then is not on record.
	OnlyNow AsOf = "now"
)

// Explain says why the event stands with the subscription as it does.
func Explain(c *Case, now time.Time) Explanation {
	if c.Standing != nil {
		return c.owed(now)
	}
	x := c.notOwed()
	if x.Remedy == "" {
		x.Remedy = remedyPublish
	}
	return x
}

// ExplainEvent says what an event is, and to how many subscriptions it is owed, of how
// many there are beside.
func ExplainEvent(e *Event, owed, others int) string {
	text := fmt.Sprintf("Event %s (%s) of account %s", e.ID, e.Type, name(e.Account))
	if e.Carrier != 0 {
		text += fmt.Sprintf(", carrier code %d,", e.Carrier)
	}
	text += fmt.Sprintf(" was accepted at %s and is owed to ", at(e.ID.Time()))
	switch {
	case owed > 0:
		return text + count(owed, "subscription", "subscriptions") + "."
	case others == 0:
		return text + "nobody: there are no subscriptions."
	case others == 1:
		return text + "nobody. There is one subscription."
	}
	return text + fmt.Sprintf("nobody. There are %s; those come first that came nearest.", count(others, "subscription", "subscriptions"))
}

// ExplainExpired explains an id of which nothing is known because everything up to an
// instant has been deleted.
func ExplainExpired(id EventID, before time.Time) Explanation {
	return Explanation{
		Cause: CauseExpired,
		Text: fmt.Sprintf("If there was an event %s, it was accepted at %s. The log and its events from before %s have been deleted, so what became of it is not known any more.",
			id, at(id.Time()), at(before)),
		Remedy: "How long they are kept is set with --retention of switchhook serve.",
	}
}

// ExplainChallenge explains the id of a challenge, which endpoints see as they see those
// of events.
func ExplainChallenge(a *Attempt, subscription string) Explanation {
	x := Explanation{Cause: CauseChallenge, Text: fmt.Sprintf(
		"This is no event, but the challenge by which the endpoint %s of subscription %s was asked to prove itself at %s. ",
		place(a.Target.URL), subscription, at(a.Started))}
	if a.State == Delivered {
		x.Text += "It did, as it should."
		return x
	}
	x.Text += "It did not: " + a.Detail + "."
	x.Remedy = "Make the endpoint answer its challenge, and then: switchhook subscriptions validate " + subscription + "."
	return x
}

// notOwed says why the subscription was not owed the event: for what is on record of
// then where that tells, else for what is in its way now.
func (c *Case) notOwed() Explanation {
	s, t := c.Subscription, c.Event.ID.Time()
	if s == nil {
		return Explanation{Cause: CauseNotOnRecord, Text: "The event was not owed to the subscription, of which nothing is known any more.", Remedy: remedyNone}
	}
	deleted := !s.Deleted.IsZero()
	now := Entitled
	if c.App != nil {
		now = c.Directory.VerdictOf(c.Event, c.Type, s, c.App)
	}
	var x Explanation
	switch {
	case later(s.Created, t), now == Entitled && !deleted && sameInstant(s.Created, t):
		x = Explanation{Cause: CauseCreatedLater, Text: fmt.Sprintf("The subscription did not exist yet: it was created at %s, %s.", at(s.Created), apart(s.Created, t))}
		if now != Entitled && !deleted {
			var clause string
			clause, x.Remedy = c.now(now)
			x.Text += " As it stands now it would not be owed the event either: " + clause + "."
		}
	case deleted && !later(s.Deleted, t):
		x = Explanation{Cause: CauseDeletedBefore, Text: "The subscription was gone."}
	case c.App == nil:
		x = Explanation{Cause: CauseDeletedSince, Text: "The event was not owed to the subscription. Why not is not on record any more, for its app is gone."}
	default:
		if deleted {
			now = Entitled // nobody asks
		}
		x = c.then(now)
		if deleted && x.Cause == CauseNotOnRecord {
			x.Cause = CauseDeletedSince
		}
	}
	if deleted {
		x.Text += " It was deleted" + c.deletion(t)
		x.Remedy = remedyNone
	}
	return x
}

// remedyPublish is all that can be done about an event that was not owed and would be
// now, and remedyNone about a subscription that is gone.
const (
	remedyPublish = "Nothing has to be changed for later events. What was accepted before is not sent later: publish the event again if it is still wanted."
	remedyNone    = "Nothing can be done about a deleted subscription; make a new one if its events are wanted."
)

// then explains for a subscription that was there when the event was accepted, with
// what is in its way now.
func (c *Case) then(now Verdict) Explanation {
	t := c.Event.ID.Time()
	was := c.past(t)
	v := c.Directory.VerdictOf(c.Event, c.Type, was.subscription, was.app)
	changes := c.Record.since(t, v, c)
	if v == Entitled {
		return c.owedNow(now, changes, t)
	}
	clause, remedy := c.verdict(v, was.subscription, was.app, &present, t)
	x := Explanation{Cause: verdictCauses[v], Text: sentence(clause), Remedy: remedy, AsOf: ThenAndNow}
	switch {
	case !was.known && (v == NotValidated || v == SubscriptionOff):
		x.AsOf = OnlyNow
		x.Text += " How that stood when the event was accepted is not on record."
	case !v.undone(changes):
		x.AsOf = OnlyNow
		x.Text += " That is how it stands now, and it may have been otherwise when the event was accepted." + changesSince(changes)
	case c.Record.Cut:
		x.AsOf = OnlyNow
		x.Text += " That is how it stands now; more has been changed since the event was accepted than can be looked through."
	case !c.Directory.fails(v, c.Event, c.Type, c.Subscription, c.App):
		clause, _ = c.verdict(v, was.subscription, was.app, &pastTense, t)
		x.AsOf, x.Remedy = OnlyThen, ""
		x.Text = "When the event was accepted, " + clause + "." + changesSince(changes)
		if e := c.Subscription.Serving(c.App); (v == NotValidated || v == SubscriptionOff) && later(e.StateSince, t) {
			x.Text += fmt.Sprintf(" The endpoint has been %s since %s, %s.", e.State, at(e.StateSince), apart(e.StateSince, t))
		}
	}
	if !c.Subscription.Deleted.IsZero() {
		return x
	}
	switch beside, more := c.now(now); {
	case now == Entitled && x.AsOf == OnlyThen:
		x.Text += " Now it would be owed the event."
	case now == Entitled || now == v:
	case x.AsOf == OnlyThen:
		x.Text, x.Remedy = x.Text+" Now there is something else in its way: "+beside+".", more
	default:
		x.Text += " Now there is something else in its way as well: " + beside + "."
		x.Remedy = strings.TrimSuffix(x.Remedy, remedyLater) + more
	}
	return x
}

// owedNow explains for a subscription that the event would have been owed to as far as
// it is known how things stood.
func (c *Case) owedNow(now Verdict, changes []AuditEntry, t time.Time) Explanation {
	x := Explanation{Cause: CauseNotOnRecord, Text: "As far as it is known how things stood, the event should have been owed to the subscription. It was not, and what was different is not on record."}
	if e := c.Subscription.Serving(c.App); len(changes) > 0 || later(e.StateSince, t) && e.Active() {
		x = Explanation{Cause: CauseChangedSince, Text: "When the event was accepted, it was not owed to the subscription. What was different is not known for certain."}
		if later(e.StateSince, t) && e.Active() {
			x.Text += fmt.Sprintf(" The endpoint has been %s since %s, %s.", e.State, at(e.StateSince), apart(e.StateSince, t))
		}
		x.Text += changesSince(changes)
	}
	if now != Entitled {
		var clause string
		clause, x.Remedy = c.now(now)
		x.Text += " Now there is something in its way: " + clause + "."
	}
	return x
}

// verdict says in a clause what is in the way of a subscription and its app, as they
// stand or stood until an instant, and in sentences what to do about it.
func (c *Case) verdict(v Verdict, s *Subscription, a *App, w *tense, until time.Time) (clause, remedy string) {
	e := c.Event
	clause = v.clause(e, c.Type, s, a, w)
	const apply = "with switchhook apply"
	validate := "switchhook subscriptions validate " + s.ID
	switch v {
	case NotSubscribed:
		remedy = "Add the event type to the subscription's events " + apply + "."
		if s.Source == SourceOpenAPI {
			remedy = "Let the app make a subscription that lists the event type: what a subscription lists cannot be changed through the API."
		}
	case NotValidated:
		remedy = "Make the endpoint answer its challenge, and then: " + validate + "."
	case SubscriptionOff:
		if by := c.Record.disabledBy(s.ID, s.Serving(a).StateSince); by != "" {
			clause += " (" + by + ")"
		}
		remedy = "Enable the subscription again, once its endpoint is in order: " + validate + "."
	case AppOff:
		if entry := c.Record.latest(func(e *AuditEntry) bool {
			return e.Subject == a.ID && e.changed("disabled: false -> true") && !later(e.At, until)
		}); entry != nil {
			clause += fmt.Sprintf(": %s disabled it at %s", entry.By, at(entry.At))
		}
		remedy = "Enable the app " + apply + " (leave out disabled)."
	case MissingScope:
		clause = fmt.Sprintf("the app %s %s none of the scopes that entitle to %s: %s; it %s", appName(a), w.has, e.Type, scopesNeeded(c.Classic, c.Granular, c.Type.Scopes), scopesHeld(a, w))
		remedy = "Give the app one of these scopes " + apply + "."
	case OtherCarrier:
		remedy = fmt.Sprintf("If the app is to have the events of this carrier's numbers, add %d to its carrier_codes %s.", e.Carrier, apply)
	case NotInstalled:
		remedy = fmt.Sprintf("If the app is to have the events of this account, add account %s to its installations %s.", name(e.Account), apply)
	case NoSubscriber, OutOfAccount:
		remedy = fmt.Sprintf("If the subscription is to have the events of account %s, %s", name(e.Account), subscribe(s))
	case OutOfUsers:
		remedy = "If the subscription is to have the events of these users, " + subscribe(s)
		if len(e.Users)+len(e.Groups) == 0 {
			remedy = "The producer has to say whom an event is about: user_ids or user_group_ids in $routing."
		}
	}
	return clause, remedy + " " + remedyLater
}

// now is verdict as things stand now.
func (c *Case) now(v Verdict) (clause, remedy string) {
	return c.verdict(v, c.Subscription, c.App, &present, endOfTime)
}

// endOfTime is later than all that is on record.
var endOfTime = time.UnixMilli(1 << 48)

// remedyLater keeps people from waiting for what does not come.
const remedyLater = "That counts for later events; what was accepted before is not sent later."

// subscribe says how whose events a subscription asks for is changed.
func subscribe(s *Subscription) string {
	if s.Source == SourceOpenAPI {
		return "let the app add them: PATCH /v2/marketplace/app/event_subscription/" + s.ID + "."
	}
	return "change account_id or user_ids of the subscription with switchhook apply."
}

// deletion says when the subscription was deleted, and by whom; t is when the event
// was accepted.
func (c *Case) deletion(t time.Time) string {
	s := c.Subscription
	text := fmt.Sprintf(" at %s, %s", at(s.Deleted), apart(s.Deleted, t))
	if entry := c.Record.latest(func(e *AuditEntry) bool {
		return e.Action == Removed && (e.Subject == s.ID || e.Subject == s.App) && sameInstant(e.At, s.Deleted)
	}); entry != nil {
		if text += ", by " + entry.By.String(); entry.Subject == s.App {
			text += ", with its app"
		}
	}
	return text + "."
}

// changesSince names the first of the changes.
func changesSince(changes []AuditEntry) string {
	if len(changes) == 0 {
		return ""
	}
	const shown = 3
	slices.Reverse(changes) // the earliest first
	var lines []string
	for _, e := range changes[:min(shown, len(changes))] {
		lines = append(lines, e.sentence())
	}
	text := " Since then: " + strings.Join(lines, "; ")
	if more := len(changes) - shown; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text + "."
}

// tense holds the verbs of a clause.
type tense struct{ is, has, doesNotList, lists, asks string }

var (
	present   = tense{"is", "has", "does not list", "lists", "asks"}
	pastTense = tense{"was", "had", "did not list", "listed", "asked"}
)

// Explain says the verdict as a clause for the people concerned.
func (v Verdict) Explain(e *Event, t *EventType, s *Subscription, a *App) string {
	return v.clause(e, t, s, a, &present)
}

func (v Verdict) clause(e *Event, t *EventType, s *Subscription, a *App, w *tense) string {
	switch v {
	case Entitled:
		return "the event " + w.is + " owed to the subscription"
	case NotSubscribed:
		return fmt.Sprintf("the subscription %s %s; it %s %s", w.doesNotList, e.Type, w.lists, few(s.Events, "", ""))
	case NotValidated:
		x := s.Serving(a)
		what := "the endpoint " + place(x.URL)
		if x == &s.Development {
			what = "the development endpoint " + place(x.URL) + ", which serves while the app is in state development,"
		}
		return what + " " + w.has + " not proven itself" + since(x)
	case SubscriptionOff:
		x := s.Serving(a)
		what := "the subscription"
		if x == &s.Development {
			what = "the development endpoint, which serves while the app is in state development,"
		}
		return what + " " + w.has + " been disabled" + since(x)
	case AppOff:
		return fmt.Sprintf("the app %s %s disabled", appName(a), w.is)
	case MissingScope:
		return fmt.Sprintf("the app %s %s none of the scopes that entitle to the event: %s", appName(a), w.has, strings.Join(t.Scopes, ", "))
	case OtherCarrier:
		return fmt.Sprintf("the app %s %s bound to %s, and the event is for carrier code %d", appName(a), w.is, carrierCodes(a), e.Carrier)
	case NotInstalled:
		return fmt.Sprintf("the app %s %s neither owned by nor installed on account %s, whose event it is", appName(a), w.is, name(e.Account))
	case NoSubscriber:
		return "nobody " + w.is + " subscribed any more: every account and user " + w.has + " unsubscribed"
	case OutOfAccount:
		return fmt.Sprintf("the subscription %s for events of %s, and the event is of account %s", w.asks, accountsOf(s), name(e.Account))
	case OutOfUsers:
		return fmt.Sprintf("the subscription %s for events of %s, and the event is about %s", w.asks, usersOf(s, e), concerned(e))
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}

// since says since when an endpoint is in its state, and why.
func since(e *Endpoint) string {
	var text string
	if !e.StateSince.IsZero() {
		text = " since " + at(e.StateSince)
	}
	if e.StateReason != "" {
		text += ": " + e.StateReason
	}
	return text
}

// accountsOf names the first accounts that a subscription asks for.
func accountsOf(s *Subscription) string {
	const shown = 3
	var names []string
	for _, x := range s.Subscribers[:min(shown, len(s.Subscribers))] {
		names = append(names, "account "+name(x.Account))
	}
	if more := len(s.Subscribers) - shown; more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	text := join(names, "and")
	if s.Scope == ScopeMasterAccount {
		text += " with their sub-accounts"
	}
	return text
}

// usersOf names the first people of the event's account that a subscription asks for.
func usersOf(s *Subscription, e *Event) string {
	var users, groups []string
	for _, x := range s.Subscribers {
		if x.Account == "" || x.Account == e.Account || len(s.Subscribers) == 1 {
			users, groups = append(users, x.Users...), append(groups, x.Groups...)
		}
	}
	return people(users, groups)
}

// concerned names the first people whom an event is about.
func concerned(e *Event) string {
	if len(e.Users)+len(e.Groups) == 0 {
		return "nobody in particular"
	}
	return people(e.Users, e.Groups)
}

func people(users, groups []string) string {
	var all []string
	if len(users) > 0 {
		all = append(all, few(users, "user", "users"))
	}
	if len(groups) > 0 {
		all = append(all, few(groups, "user group", "user groups"))
	}
	if len(all) == 0 {
		return "other users"
	}
	return strings.Join(all, " and ")
}

func carrierCodes(a *App) string {
	if len(a.CarrierCodes) == 0 {
		return "no carrier code"
	}
	var codes []string
	for _, code := range a.CarrierCodes {
		codes = append(codes, fmt.Sprint(code))
	}
	return few(codes, "", "")
}

func scopesNeeded(classic, granular, all []string) string {
	var kinds []string
	if len(classic) > 0 {
		kinds = append(kinds, join(classic, "or")+" (classic)")
	}
	if len(granular) > 0 {
		kinds = append(kinds, join(granular, "or")+" (granular)")
	}
	if len(kinds) == 0 {
		return join(all, "or")
	}
	return strings.Join(kinds, " or ")
}

func scopesHeld(a *App, w *tense) string {
	if len(a.Scopes) == 0 {
		return w.has + " no scopes"
	}
	return w.has + " " + few(a.Scopes, "", "")
}

// NearMisses returns the subscriptions that an event is not owed to as things stand
// now, or was not owed to then, the nearest misses first.
//
// A miss is nearer the fewer questions it fails. That an app has nothing to do with
// the event's account or carrier, or that the event type is not listed, weighs twice:
// most subscriptions are somebody else's, or about something else.
func (d *Directory) NearMisses(e *Event, t *EventType, owed []SubscriptionKey) []Miss {
	was := make(map[SubscriptionKey]bool, len(owed))
	for _, k := range owed {
		was[k] = true
	}
	d.mu.RLock()
	keys := make([]SubscriptionKey, 0, len(d.subscriptions))
	for k := range d.subscriptions {
		if !was[k] {
			keys = append(keys, k)
		}
	}
	d.mu.RUnlock()
	misses := make([]Miss, 0, len(keys))
	for some := range slices.Chunk(keys, judgeAtOnce) {
		misses = d.judge(misses, e, t, some)
	}
	slices.SortFunc(misses, Miss.compare)
	return misses
}

// judgeAtOnce bounds how long those who publish wait for the directory.
const judgeAtOnce = 256

func (d *Directory) judge(misses []Miss, e *Event, t *EventType, keys []SubscriptionKey) []Miss {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, k := range keys {
		if s := d.subscriptions[k]; s != nil {
			misses = append(misses, Miss{d.distance(e, t, s, d.apps[s.App].App), k})
		}
	}
	return misses
}

// Miss is a subscription that an event is not owed to.
type Miss struct {
	// Distance is how far it is from being owed the event: 0 means that it would be now.
	Distance     int
	Subscription SubscriptionKey
}

// compare orders misses, the nearest first.
func (m Miss) compare(o Miss) int {
	return cmp.Or(cmp.Compare(m.Distance, o.Distance), cmp.Compare(m.Subscription, o.Subscription))
}

// distance weighs the questions of [Directory.verdict] that are answered with no.
func (d *Directory) distance(e *Event, t *EventType, s *Subscription, a *App) (n int) {
	if _, listed := slices.BinarySearch(s.Events, e.Type); !listed {
		n += 2
	}
	if !s.Serving(a).Active() {
		n++
	}
	if a.Disabled {
		n++
	}
	if !a.Entitled(t) {
		n++
	}
	switch d.scopeVerdict(e, t, s, a) {
	case Entitled:
	case OtherCarrier, NotInstalled:
		n += 2
	default:
		n++
	}
	return n
}

// VerdictOf says whether the event would be owed to a subscription that need not be in
// the directory.
func (d *Directory) VerdictOf(e *Event, t *EventType, s *Subscription, a *App) Verdict {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.verdict(e, t, s, a)
}

// fails reports whether the question of a verdict is answered with no, whatever the
// answers to the others are.
func (d *Directory) fails(v Verdict, e *Event, t *EventType, s *Subscription, a *App) bool {
	switch v {
	case NotSubscribed:
		_, listed := slices.BinarySearch(s.Events, e.Type)
		return !listed
	case NotValidated:
		return s.Serving(a).State == Pending
	case SubscriptionOff:
		return s.Serving(a).State == Disabled
	case AppOff:
		return a.Disabled
	case MissingScope:
		return !a.Entitled(t)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.scopeVerdict(e, t, s, a) == v
}
