package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

const (
	defaultPage = 30
	maxPage     = 300

	// resendRows is how many deliveries one call resends at most.
	resendRows = 10_000
)

// Instant is a time as answers show it: RFC 3339 in UTC with milliseconds, or null.
type Instant time.Time

// MarshalJSON implements json.Marshaler.
func (t Instant) MarshalJSON() ([]byte, error) {
	if time.Time(t).IsZero() {
		return []byte("null"), nil
	}
	return []byte(time.Time(t).UTC().Format(`"2006-01-02T15:04:05.000Z"`)), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Instant) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, (*time.Time)(t)) }

// Milliseconds is a duration as answers show it.
type Milliseconds time.Duration

// MarshalJSON implements json.Marshaler.
func (d Milliseconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(time.Duration(d).Microseconds())/1000, 'f', -1, 64), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (d *Milliseconds) UnmarshalJSON(b []byte) error {
	var ms float64
	err := json.Unmarshal(b, &ms)
	*d = Milliseconds(ms * float64(time.Millisecond))
	return err
}

// Event is an event as the API shows it, and how it stands with everybody it is
// owed to.
type Event struct {
	ID         string          `json:"event_id"`
	Event      string          `json:"event"`
	Account    string          `json:"account_id"`
	TS         Instant         `json:"event_ts"`
	Accepted   Instant         `json:"accepted_at"`
	Carrier    int32           `json:"carrier_code,omitempty"`
	Users      []string        `json:"user_ids,omitempty"`
	Groups     []string        `json:"user_group_ids,omitempty"`
	Deliveries []Delivery      `json:"deliveries"`
	Body       json.RawMessage `json:"body"`
}

// Delivery is a delivery as the API shows it.
type Delivery struct {
	// ID is the request id that the endpoint sees.
	ID           string     `json:"delivery_id"`
	EventID      string     `json:"event_id"`
	Event        string     `json:"event"`
	TS           Instant    `json:"event_ts"`
	Subscription string     `json:"event_subscription_id"`
	URL          string     `json:"event_webhook_url,omitempty"`
	State        hook.State `json:"state"`
	Tries        int        `json:"tries"`
	Next         Instant    `json:"next_attempt_at"`
	Last         *Attempt   `json:"last,omitempty"`
	Attempts     []Attempt  `json:"attempts,omitempty"`
}

// Attempt is a row of the webhook log as the API shows it.
type Attempt struct {
	Kind     string     `json:"kind"`
	Endpoint string     `json:"endpoint,omitempty"`
	Retry    int        `json:"retry_num"`
	Outcome  string     `json:"outcome,omitempty"`
	Status   int        `json:"status"`
	Reason   int        `json:"failed_reason_type"`
	State    hook.State `json:"state"`
	Due      Instant    `json:"due_at"`
	Started  Instant    `json:"date_time"`
	Next     Instant    `json:"next_attempt_at"`
	Timing   Timing     `json:"timing_ms"`
	Latency  *float64   `json:"latency_ms,omitempty"` // from event_ts to the answer
	Tracking string     `json:"trace_id,omitempty"`
	Header   string     `json:"response_headers,omitempty"`
	Body     string     `json:"response_body,omitempty"`
	Cut      bool       `json:"response_truncated,omitempty"`
	Detail   string     `json:"detail,omitempty"`
}

// Timing holds the phases of an attempt, since its start.
type Timing struct {
	DNS       Milliseconds `json:"dns"`
	Connected Milliseconds `json:"connected"`
	TLS       Milliseconds `json:"tls"`
	FirstByte Milliseconds `json:"first_byte"`
	Done      Milliseconds `json:"done"`
}

func (a *api) viewAttempt(x *hook.Attempt, e *hook.Event) Attempt {
	v := Attempt{
		Kind: x.Kind.String(), Endpoint: x.Target.URL, Retry: x.Retry, Status: x.Outcome.Status(), Reason: x.Outcome.FailedReasonType(),
		State: x.State, Due: Instant(x.Due), Started: Instant(x.Started), Next: Instant(x.Next),
		Timing: Timing{Milliseconds(x.Timing.DNS), Milliseconds(x.Timing.Connected), Milliseconds(x.Timing.TLS), Milliseconds(x.Timing.FirstByte), Milliseconds(x.Timing.Done)},
		Header: x.Response.Header, Body: strings.ToValidUTF8(string(x.Response.Body), "\uFFFD"), Cut: x.Response.Truncated, Detail: x.Detail,
	}
	if x.Kind == hook.KindAttempt || x.Kind == hook.KindChallenge {
		v.Outcome = x.Outcome.String()
		v.Tracking = a.Client.TrackingID(x.Delivery, x.Span)
		if x.Outcome > 0 && e != nil {
			ms := float64(x.Started.Add(x.Timing.Done).Sub(e.TS).Microseconds()) / 1000
			v.Latency = &ms
		}
	}
	return v
}

func (a *api) viewDelivery(r *http.Request, s *hook.Standing) (Delivery, error) {
	v := Delivery{
		ID: s.ID.String(), EventID: s.ID.Event.String(), Event: s.Event.Type, TS: Instant(s.Event.TS),
		State: s.State, Tries: s.Tries, Next: Instant(s.Due),
	}
	if s.State == hook.Waiting && s.Due.IsZero() {
		v.Next = Instant(s.ID.Event.Time())
	}
	if s.Last != nil {
		last := a.viewAttempt(s.Last, s.Event)
		v.Last = &last
	}
	sub, app := a.Directory.Subscription(s.ID.Subscription)
	if sub == nil {
		var err error
		if sub, err = a.Store.DeletedSubscription(r.Context(), s.ID.Subscription); err != nil {
			return v, err
		}
		app = &hook.App{}
	}
	if sub != nil {
		v.Subscription, v.URL = sub.ID, sub.Serving(app).URL
	}
	if s.State != hook.Waiting && s.Last != nil && s.Last.Target.URL != "" {
		v.URL = s.Last.Target.URL // where it went
	}
	return v, nil
}

// event shows an event and how it stands with everybody it is owed to.
func (a *api) event(w http.ResponseWriter, r *http.Request) error {
	id, err := hook.ParseEventID(r.PathValue("id"))
	if err != nil {
		return hook.Faults{{Field: "id", Message: err.Error()}}.Err("")
	}
	e, owed, err := a.Store.Event(r.Context(), id)
	if err != nil {
		return err
	}
	v := Event{
		ID: e.ID.String(), Event: e.Type, Account: e.Account, TS: Instant(e.TS), Accepted: Instant(e.ID.Time()),
		Carrier: e.Carrier, Users: e.Users, Groups: e.Groups, Body: e.Body, Deliveries: []Delivery{},
	}
	for _, k := range owed {
		s, err := a.Store.Delivery(r.Context(), hook.DeliveryID{Event: id, Subscription: k})
		if err != nil {
			return err
		}
		d, err := a.viewDelivery(r, s)
		if err != nil {
			return err
		}
		v.Deliveries = append(v.Deliveries, d)
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

// delivery shows one delivery with its log.
func (a *api) delivery(w http.ResponseWriter, r *http.Request) error {
	id, err := deliveryID(r)
	if err != nil {
		return err
	}
	s, err := a.Store.Delivery(r.Context(), id)
	if err != nil {
		return err
	}
	v, err := a.viewDelivery(r, s)
	if err != nil {
		return err
	}
	v.Last = nil
	for i := range s.Log {
		v.Attempts = append(v.Attempts, a.viewAttempt(&s.Log[i], s.Event))
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

func deliveryID(r *http.Request) (hook.DeliveryID, error) {
	id, err := hook.ParseDeliveryID(r.PathValue("id"))
	if err != nil {
		return id, hook.Faults{{Field: "id", Message: err.Error()}}.Err("")
	}
	return id, nil
}

// deliveries lists deliveries, the latest events first.
func (a *api) deliveries(w http.ResponseWriter, r *http.Request) error {
	q, f, err := a.filter(r.URL.Query())
	if err != nil {
		return err
	}
	page, next, err := a.Store.Deliveries(r.Context(), f)
	if err != nil {
		return err
	}
	v := struct {
		Next       string     `json:"next_page_token"`
		PageSize   int        `json:"page_size"`
		Deliveries []Delivery `json:"deliveries"`
	}{pageToken(q, next), f.Limit, []Delivery{}}
	for i := range page {
		d, err := a.viewDelivery(r, &page[i])
		if err != nil {
			return err
		}
		v.Deliveries = append(v.Deliveries, d)
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

// filter reads which deliveries are meant.
func (a *api) filter(v url.Values) (*query, hook.DeliveryFilter, error) {
	q := newQuery(v, "state", "event_subscription_id", "app_id", "event", "from", "to", "page_size", "next_page_token")
	f := hook.DeliveryFilter{Limit: q.pageSize(), EventType: q.Get("event"), After: cursor(q)}
	for _, list := range q.Values["state"] {
		for name := range strings.SplitSeq(list, ",") {
			var s hook.State
			if err := s.UnmarshalText([]byte(name)); err != nil {
				q.faults.Add("state", "%s", strings.TrimPrefix(err.Error(), "state "))
			}
			f.States = append(f.States, s)
		}
	}
	switch app := q.Get("app_id"); {
	case q.Get("event_subscription_id") != "":
		if app != "" {
			q.faults.Add("app_id", "cannot be given beside event_subscription_id")
		}
		f.Subscriptions = []hook.SubscriptionKey{q.named()}
	case app != "":
		if _, err := a.Manager.App(app); err != nil {
			return q, f, err
		}
		f.Subscriptions = []hook.SubscriptionKey{}
		for _, s := range a.Directory.Subscriptions(app) {
			f.Subscriptions = append(f.Subscriptions, s.Key)
		}
	}
	f.From, f.To = q.period()
	return q, f, q.err()
}

// pageToken says where the next page of deliveries begins.
func pageToken(q *query, c *hook.Cursor) string {
	if c == nil {
		return ""
	}
	return q.token(uint64(c.ID.Event), uint64(c.ID.Subscription), uint64(c.Due))
}

// cursor reads where a page of deliveries begins. It is nil for the first one.
func cursor(q *query) *hook.Cursor {
	var event, subscription, due uint64
	if !q.position(&event, &subscription, &due) {
		return nil
	}
	return &hook.Cursor{ID: hook.DeliveryID{Event: hook.EventID(event), Subscription: hook.SubscriptionKey(subscription)}, Due: int64(due)}
}

// resend makes one ended delivery due again.
func (a *api) resend(w http.ResponseWriter, r *http.Request) error {
	id, err := deliveryID(r)
	if err != nil {
		return err
	}
	if err := a.makeAgain(r, id, hook.AuditEntry{Subject: id.String(), Name: id.String()}); err != nil {
		return err
	}
	writeJSON(w, http.StatusAccepted, map[string]string{"delivery_id": id.String()})
	return nil
}

// resendAll makes the deliveries due again that a filter selects, of those that
// ended undelivered.
func (a *api) resendAll(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	if v.Has("page_size") {
		return hook.Faults{{Field: "page_size", Message: "is for lists; all that are selected are made again"}}.Err("query")
	}
	if !v.Has("state") {
		v.Set("state", "failed,exhausted,cancelled")
	}
	q, f, err := a.filter(v)
	if err != nil {
		return err
	}
	for _, s := range f.States {
		if s == hook.Waiting || s == hook.Delivered {
			return hook.Faults{{Field: "state", Message: fmt.Sprintf("must be failed, exhausted or cancelled, not %s", s)}}.Err("query")
		}
	}
	f.Limit = maxPage
	v.Del("next_page_token")
	selected, _ := url.QueryUnescape(v.Encode())
	result := struct {
		Resent  int         `json:"resent"`
		Skipped int         `json:"skipped"`
		Reasons hook.Faults `json:"reasons,omitempty"` // of the first ones skipped
		Next    string      `json:"next_page_token"`
	}{}
	for result.Resent+result.Skipped < resendRows {
		page, next, err := a.Store.Deliveries(r.Context(), f)
		if err != nil {
			return err
		}
		for _, s := range page {
			// The audit trail has the call, with the first of them; each delivery's own log
			// says who asked for it.
			var entries []hook.AuditEntry
			if result.Resent == 0 {
				entries = []hook.AuditEntry{{Changes: []string{"all with " + selected}}}
			}
			err := a.makeAgain(r, s.ID, entries...)
			e, ok := errors.AsType[*hook.Error](err)
			switch {
			case err == nil:
				result.Resent++
			case !ok || e.Kind == hook.Unavailable:
				return err
			default:
				if result.Skipped++; len(result.Reasons) < 10 {
					result.Reasons.Add(s.ID.String(), "%s", e.Detail)
				}
			}
		}
		if f.After = next; next == nil {
			break
		}
	}
	result.Next = pageToken(q, f.After)
	writeJSON(w, http.StatusAccepted, result)
	return nil
}

// makeAgain makes one delivery due again, and completes what the audit trail is told.
func (a *api) makeAgain(r *http.Request, id hook.DeliveryID, entries ...hook.AuditEntry) error {
	now, by := time.Now(), actor(r)
	for i := range entries {
		entries[i].At, entries[i].By, entries[i].Action, entries[i].Kind = now, by, hook.Resent, "delivery"
	}
	if err := a.Store.Resend(id, now, "asked for with "+by.String(), entries...); err != nil {
		return err
	}
	a.Sender.Resent(id.Subscription)
	return nil
}
