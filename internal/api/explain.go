package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// explainStore is what explaining asks of the store beside the rest.
type explainStore interface {
	DeliveryAndPlace(ctx context.Context, id hook.DeliveryID) (*hook.Standing, hook.Place, error)
	// ChallengeOf returns the challenge that was sent under an event id, or nil.
	ChallengeOf(ctx context.Context, id hook.EventID) (*hook.Attempt, error)
	// Horizon returns the lowest event id that cannot have been deleted for its age.
	Horizon(ctx context.Context) (hook.EventID, error)
}

// Explained says of an event why it stands with subscriptions as it does.
type Explained struct {
	EventID  string  `json:"event_id"`
	Event    string  `json:"event,omitempty"`
	Account  string  `json:"account_id,omitempty"`
	TS       Instant `json:"event_ts"`
	Accepted Instant `json:"accepted_at"`
	// Cause is there only if all subscriptions have the same.
	Cause  hook.Cause `json:"cause,omitempty"`
	Text   string     `json:"explanation"`
	Remedy string     `json:"remedy,omitempty"`
	// Deliveries is how many subscriptions it is owed to, and Others how many there are
	// beside.
	Deliveries    int           `json:"deliveries"`
	Others        int           `json:"others"`
	Next          string        `json:"next_page_token"`
	PageSize      int           `json:"page_size"`
	Subscriptions []Explanation `json:"event_subscriptions"`
}

// Explanation says why an event stands with a subscription as it does.
type Explanation struct {
	Subscription string  `json:"event_subscription_id"`
	Name         string  `json:"event_subscription_name,omitempty"`
	App          string  `json:"app_id,omitempty"`
	AppName      string  `json:"app_name,omitempty"`
	Deleted      Instant `json:"deleted_at,omitzero"`
	// Owed says whether the event was owed to the subscription.
	Owed       bool        `json:"owed"`
	DeliveryID string      `json:"delivery_id,omitempty"`
	State      *hook.State `json:"state,omitempty"`
	Next       Instant     `json:"next_attempt_at"`
	Cause      hook.Cause  `json:"cause"`
	Text       string      `json:"explanation"`
	Remedy     string      `json:"remedy,omitempty"`
	// AsOf says when the cause held, where that is a question.
	AsOf hook.AsOf `json:"as_of,omitempty"`
}

// explain says why an event stands with its subscriptions as it does: those that it is
// owed to first, then the others, the nearest misses first. The id of a delivery asks
// for its subscription.
func (a *api) explain(w http.ResponseWriter, r *http.Request) error {
	q, err := a.explainQuery(r)
	if err != nil {
		return err
	}
	e, owed, err := a.Store.Event(r.Context(), q.event)
	if x, ok := errors.AsType[*hook.Error](err); ok && x.Kind == hook.NotFound {
		return a.explainNothing(w, r, q)
	}
	if err != nil {
		return err
	}
	x := a.newExplainer(r, e, owed)
	v := Explained{
		EventID: e.ID.String(), Event: e.Type, Account: e.Account, TS: Instant(e.TS), Accepted: Instant(e.ID.Time()),
		Deliveries: len(owed), Others: len(x.misses), PageSize: q.limit, Subscriptions: []Explanation{},
		Text: hook.ExplainEvent(e, len(owed), len(x.misses)),
	}
	keys := []hook.SubscriptionKey{q.subscription}
	if q.subscription == 0 {
		keys, v.Next = x.page(q)
	}
	for _, k := range keys {
		one, err := x.explain(k, q.id)
		if err != nil {
			return err
		}
		v.Subscriptions = append(v.Subscriptions, one)
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

// explainQuery is what is to be explained.
type explainQuery struct {
	*query
	event hook.EventID
	// subscription is 0 for all of them. id is its id, if it was named by that.
	subscription hook.SubscriptionKey
	id           string
	limit        int
	after        explainCursor
}

// explainCursor is the last subscription of a page: the first stage has those that the
// event is owed to, and each further one the misses of a distance.
type explainCursor struct {
	stage int
	key   hook.SubscriptionKey
}

func (a *api) explainQuery(r *http.Request) (q explainQuery, err error) {
	q.query = newQuery(r.URL.Query(), "event_subscription_id", "page_size", "next_page_token")
	q.limit = q.pageSize()
	text := r.PathValue("id")
	if d, err := hook.ParseDeliveryID(text); err == nil {
		q.event, q.subscription = d.Event, d.Subscription
		if s, _ := a.Directory.Subscription(d.Subscription); s == nil && a.listened(d.Subscription) {
			q.subscription = 0 // who listens is owed nothing, and asks about the event
		}
	} else if q.event, err = hook.ParseEventID(text); err != nil {
		q.faults.Add("id", "%q is neither an event id (18 characters, as in 0193a4f2_b7c0_0001) nor a delivery id (36 characters)", text)
	}
	if id := q.Get("event_subscription_id"); id != "" {
		k := q.named()
		if q.subscription != 0 && q.subscription != k && k != 0 {
			q.faults.Add("event_subscription_id", "is not the one of the delivery; leave one of them out")
		}
		q.subscription, q.id = k, id
	}
	q.Set("event", q.event.String()) // what the page token is for
	var stage, key uint64
	if q.position(&stage, &key) {
		q.after = explainCursor{int(stage), hook.SubscriptionKey(key)}
	}
	return q, q.err()
}

// explainNothing explains an id of which there is no event.
func (a *api) explainNothing(w http.ResponseWriter, r *http.Request, q explainQuery) error {
	ctx := r.Context()
	v := Explained{EventID: q.event.String(), Accepted: Instant(q.event.Time()), PageSize: q.limit, Subscriptions: []Explanation{}}
	made, err := a.Store.ChallengeOf(ctx, q.event)
	if err != nil {
		return err
	}
	horizon, err := a.Store.Horizon(ctx)
	if err != nil {
		return err
	}
	var x hook.Explanation
	switch {
	case made != nil:
		s, _, err := a.find(ctx, made.Delivery.Subscription)
		if err != nil {
			return err
		}
		id := "that is not known any more"
		if s != nil {
			id = s.ID
		}
		x = hook.ExplainChallenge(made, id)
		if q.subscription != 0 && q.subscription != made.Delivery.Subscription {
			q.subscription = 0 // it is about another one
		}
	case q.event < horizon:
		x = hook.ExplainExpired(q.event, horizon.Time())
	default:
		detail := "was never accepted here: is the id complete, and of this platform?"
		if t := q.event.Time(); t.After(time.Now()) {
			detail = fmt.Sprintf("cannot be: its id says that it was accepted at %s, which is to come", t.UTC().Format(time.RFC3339))
		}
		return &hook.Error{Kind: hook.NotFound, Subject: "event " + q.event.String(), Detail: detail}
	}
	v.Cause, v.Text, v.Remedy = x.Cause, x.Text, x.Remedy
	if q.subscription != 0 {
		s, app, err := a.find(ctx, q.subscription)
		if err != nil {
			return err
		}
		v.Subscriptions = append(v.Subscriptions, viewExplanation(q.id, s, app, nil, x))
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

// find returns a subscription, which may be a deleted one, and its app: nil for what is
// not known any more.
func (a *api) find(ctx context.Context, k hook.SubscriptionKey) (*hook.Subscription, *hook.App, error) {
	if s, app := a.Directory.Subscription(k); s != nil {
		return s, app, nil
	}
	s, err := a.Store.DeletedSubscription(ctx, k)
	if s == nil || err != nil {
		return nil, nil, err
	}
	return s, a.Directory.App(s.App), nil
}

func viewExplanation(id string, s *hook.Subscription, app *hook.App, st *hook.Standing, x hook.Explanation) Explanation {
	v := Explanation{
		Subscription: id, Owed: x.Cause.Owed(), Next: Instant(x.Next), Cause: x.Cause, Text: x.Text, Remedy: x.Remedy, AsOf: x.AsOf,
	}
	if s != nil {
		v.Subscription, v.Name, v.App, v.Deleted = s.ID, s.Name, s.App, Instant(s.Deleted)
	}
	if app != nil {
		v.AppName = app.Name
	}
	if st != nil {
		v.DeliveryID, v.State = st.ID.String(), &st.State
	}
	return v
}

// explainer explains one event.
type explainer struct {
	*api
	ctx    context.Context
	now    time.Time
	base   hook.Case
	known  bool // the event type is in the catalog
	owed   []hook.SubscriptionKey
	misses []hook.Miss

	// What is on record of apps, and of everything that is neither app nor subscription.
	apps   map[string][]hook.AuditEntry
	others []hook.AuditEntry
}

const (
	// auditEntries is how many entries about a subscription, or its app, are looked at.
	auditEntries = 200

	// otherEntries is the same for what is neither.
	otherEntries = 500
)

func (a *api) newExplainer(r *http.Request, e *hook.Event, owed []hook.SubscriptionKey) *explainer {
	slices.Sort(owed)
	x := &explainer{api: a, ctx: r.Context(), now: time.Now(), owed: owed, apps: map[string][]hook.AuditEntry{}}
	x.base = hook.Case{Event: e, Type: &hook.EventType{Name: e.Type}, Directory: a.Directory}
	if e.Carrier != 0 {
		x.base.Type.Routing = hook.ByCarrier
	}
	if t, ok := a.Catalog.Lookup(e.Type); ok {
		x.known = true
		x.base.Type, x.base.Classic, x.base.Granular = &t.EventType, t.ClassicScopes, t.GranularScopes
	}
	x.misses = a.Directory.NearMisses(e, x.base.Type, owed)
	return x
}

// page returns a page of the subscriptions, and where the next one begins.
func (x *explainer) page(q explainQuery) (keys []hook.SubscriptionKey, next string) {
	var last explainCursor
	add := func(c explainCursor) (full bool) {
		if cmp.Or(cmp.Compare(c.stage, q.after.stage), cmp.Compare(c.key, q.after.key)) <= 0 {
			return false
		}
		if len(keys) == q.limit {
			next = q.token(uint64(last.stage), uint64(last.key))
			return true
		}
		keys, last = append(keys, c.key), c
		return false
	}
	for _, k := range x.owed {
		if add(explainCursor{0, k}) {
			return keys, next
		}
	}
	for _, m := range x.misses {
		if add(explainCursor{1 + m.Distance, m.Subscription}) {
			break
		}
	}
	return keys, next
}

// explain explains how the event stands with a subscription; id is its id, if it was
// named by that.
func (x *explainer) explain(k hook.SubscriptionKey, id string) (v Explanation, err error) {
	c := x.base
	if c.Subscription, c.App, err = x.find(x.ctx, k); err != nil {
		return v, err
	}
	_, owed := slices.BinarySearch(x.owed, k)
	switch {
	case c.Subscription != nil && id != "" && c.Subscription.ID != id, c.Subscription == nil && !owed:
		return v, &hook.Error{Kind: hook.NotFound, Subject: "subscription " + cmp.Or(id, "of this delivery"), Detail: "is not known: there never was one, or it was deleted so long ago that the log does not name it any more"}
	case owed:
		err = x.standing(&c, k)
	default:
		err = x.record(&c)
	}
	if err != nil {
		return v, err
	}
	why := hook.Explain(&c, x.now)
	if !owed && !x.known {
		why.AsOf = hook.OnlyNow
		why.Text += " The event type is not in the catalog any more, so nobody knows which scopes it takes."
	}
	return viewExplanation(id, c.Subscription, c.App, c.Standing, why), nil
}

// standing finds out how the delivery stands.
func (x *explainer) standing(c *hook.Case, k hook.SubscriptionKey) (err error) {
	c.Standing, c.Place, err = x.Store.DeliveryAndPlace(x.ctx, hook.DeliveryID{Event: c.Event.ID, Subscription: k})
	if err != nil {
		return err
	}
	if c.Standing.State == hook.Waiting {
		c.Lane = x.Sender.Lane(k)
	}
	if c.Subscription != nil && !c.Subscription.Deleted.IsZero() {
		return x.audit(c)
	}
	return nil
}

// record finds out what is on record of the subscription.
func (x *explainer) record(c *hook.Case) (err error) {
	if c.Record.Validations, err = x.Store.Validations(x.ctx, c.Subscription.Key, maxChallenges); err != nil {
		return err
	}
	return x.audit(c)
}

// audit finds what the audit trail has about the subscription and what it depends on.
func (x *explainer) audit(c *hook.Case) error {
	since := c.Event.ID.Time()
	own, err := x.Store.Audit(x.ctx, hook.AuditFilter{Subject: c.Subscription.ID, Limit: auditEntries})
	if err != nil {
		return err
	}
	app, ok := x.apps[c.Subscription.App]
	if !ok {
		if app, err = x.Store.Audit(x.ctx, hook.AuditFilter{Subject: c.Subscription.App, Limit: auditEntries}); err != nil {
			return err
		}
		x.apps[c.Subscription.App] = app
	}
	if x.others == nil {
		if x.others, err = x.Store.Audit(x.ctx, hook.AuditFilter{From: since, Limit: otherEntries}); err != nil {
			return err
		}
		x.others = orEmpty(x.others) // it was looked
	}
	c.Record.Cut = len(x.others) == otherEntries
	for _, part := range [][]hook.AuditEntry{own, app} {
		c.Record.Audit = append(c.Record.Audit, part...)
		c.Record.Cut = c.Record.Cut || len(part) == auditEntries && part[auditEntries-1].At.After(since)
	}
	for _, e := range x.others {
		if e.Kind != "subscription" && e.Kind != "app" {
			c.Record.Audit = append(c.Record.Audit, e)
		}
	}
	slices.SortFunc(c.Record.Audit, func(a, b hook.AuditEntry) int { return cmp.Compare(b.ID, a.ID) })
	return nil
}
