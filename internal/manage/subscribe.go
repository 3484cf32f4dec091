package manage

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/switchhook/switchhook/internal/challenge"
	"github.com/switchhook/switchhook/internal/hook"
)

// Draft is a subscription that an app asks for.
type Draft struct {
	Name   string
	URL    string
	Events []string
	Scope  hook.SubscriptionScope
	// Subscriber is whose events it asks for first; its account is never empty.
	Subscriber   hook.Subscriber
	CustomHeader *CustomHeader
}

// Create makes a subscription for an app, once its endpoint has proven itself. The
// errors are those of the public API. The challenge is in the app's log in any case,
// for its reason is what somebody looks for whose endpoint failed.
func (m *Manager) Create(ctx context.Context, by hook.Actor, app string, d Draft) (*hook.Subscription, error) {
	s, a, err := m.draft(app, &d)
	if err != nil {
		return nil, err
	}
	r := m.Prober.Prove(ctx, s.URL, s, a)
	made, err := m.create(ctx, by, &d, s, a, &r)
	if err == nil {
		m.log(r.Attempt(made))
	} else if logErr := m.Store.LogRefused(s, r.Attempt(s)); logErr != nil {
		m.Log.Error("a challenge could not be logged", "subscription", s.ID, "err", logErr)
	}
	return made, err
}

// create stores the draft, which is s so far, if its challenge says so.
func (m *Manager) create(ctx context.Context, by hook.Actor, d *Draft, s *hook.Subscription, a *hook.App, r *challenge.Result) (*hook.Subscription, error) {
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case r.Inconclusive():
		return nil, &hook.Error{Kind: hook.Unavailable, Detail: "the endpoint could not be asked: " + r.Reason}
	case r.Outcome == hook.CannotGetAccessToken:
		return nil, &hook.Error{Kind: hook.TokenURLUnproven, Subject: s.Auth.TokenURL, Detail: sentence(r.Reason)}
	case !r.OK:
		return nil, &hook.Error{Kind: hook.EndpointUnproven, Subject: s.URL, Detail: sentence(r.Reason)}
	}
	var made *hook.Subscription
	err := m.alone(func() error {
		// All may have changed meanwhile, and somebody else may have taken the last place.
		s, _, err := m.check(a.ID, d, s.ID, s.Key, a)
		if err != nil {
			return err
		}
		now := time.Now()
		s.Created, s.Checked = now, now
		s.StateSince = now
		s.State = hook.Valid
		made = s
		return m.store(hook.Change{
			Subscriptions: []*hook.Subscription{s},
			Validations:   []hook.Validation{{Subscription: s.Key, In: hook.Production, URL: s.URL, At: now, Occasion: hook.OnChange, State: hook.Valid}},
			Audit:         []hook.AuditEntry{{At: now, By: by, Action: hook.Created, Kind: "subscription", Subject: s.ID, Name: s.Name}},
		}, now)
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// draft checks what an app asks for, and returns it as a subscription.
func (m *Manager) draft(app string, d *Draft) (*hook.Subscription, *hook.App, error) {
	id := hook.NewID()
	key, err := hook.KeyOf(id)
	if err != nil {
		return nil, nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.check(app, d, id, key, nil)
}

// check returns the draft as a subscription if it may be stored now. proven, if it is
// not nil, is the app as it was when the endpoint was proven. It is called with m.mu
// held.
func (m *Manager) check(app string, d *Draft, id string, key hook.SubscriptionKey, proven *hook.App) (*hook.Subscription, *hook.App, error) {
	a := m.Directory.App(app)
	if a == nil {
		return nil, nil, &hook.Error{Kind: hook.BadToken} // it was deleted meanwhile, and its tokens with it
	}
	if proven != nil && proven.SecretToken != a.SecretToken {
		return nil, nil, &hook.Error{Kind: hook.Conflict, Subject: "app " + a.ID, Detail: "its secret token was replaced meanwhile; try again"}
	}
	s, err := m.subscriptionOf(a, d)
	if err != nil {
		return nil, nil, err
	}
	s.ID, s.Key = id, key
	if err := m.mayHave(a, s.Events); err != nil {
		return nil, nil, err
	}
	if err := m.maySubscribe(a, s, &s.Subscribers[0], hook.NotAuthorizedToCreate); err != nil {
		return nil, nil, err
	}
	if n, limit := len(m.Directory.Subscriptions(a.ID)), m.maxSubscriptions(); n >= limit {
		return nil, nil, badParameter("The app has %d event subscriptions, and at most %d are allowed", n, limit)
	}
	return s, a, nil
}

func badParameter(format string, args ...any) error {
	return &hook.Error{Kind: hook.BadParameter, Detail: fmt.Sprintf(format, args...)}
}

// subscriptionOf returns the draft as a subscription, if it is one in itself.
func (m *Manager) subscriptionOf(a *hook.App, d *Draft) (*hook.Subscription, error) {
	if c := d.CustomHeader; c != nil && (c.Type < 0 || c.Type > int(hook.AuthHeader)) {
		return nil, &hook.Error{Kind: hook.UnknownHeaderType, Subject: fmt.Sprint(c.Type)}
	}
	if n := len(d.Subscriber.Users); n > hook.MaxUsers {
		return nil, badParameter("user_ids has %d entries; at most %d are allowed", n, hook.MaxUsers)
	}
	if (d.Scope == hook.ScopeAccount || d.Scope == hook.ScopeMasterAccount) && len(d.Subscriber.Users)+len(d.Subscriber.Groups) > 0 {
		return nil, badParameter("user_ids and user_group_ids are for subscription_scope user only")
	}
	auth, faults := d.CustomHeader.Auth()
	faults = faults.In("custom_header.")
	events := slices.Clone(d.Events)
	slices.Sort(events)
	s := &hook.Subscription{
		App: a.ID, Name: d.Name, Events: slices.Compact(events), Endpoint: hook.Endpoint{URL: d.URL}, Scope: d.Scope,
		Subscribers: hook.With(nil, d.Subscriber), Source: hook.SourceOpenAPI, Auth: auth,
	}
	if faults = append(faults, s.Check(m.Policy)...); len(faults) == 0 {
		return s, nil
	}
	switch f := faults[0]; {
	case f.Field == "event_webhook_url" && d.URL != "" && len(d.URL) <= hook.MaxURL:
		return nil, &hook.Error{Kind: hook.EndpointUnproven, Subject: redacted(d.URL), Detail: "The URL " + f.Message + "."}
	case f.Field == "custom_header/token_url" && auth.TokenURL != "" && len(auth.TokenURL) <= hook.MaxURL:
		return nil, &hook.Error{Kind: hook.TokenURLUnproven, Subject: redacted(auth.TokenURL), Detail: "The URL " + f.Message + "."}
	default:
		return nil, badParameter("%s %s", strings.ReplaceAll(f.Field, "/", "."), f.Message)
	}
}

// redacted returns a URL without the password that may be in it, as in one that is
// refused for that.
func redacted(text string) string {
	if u, err := url.Parse(text); err == nil && u.User != nil {
		return u.Redacted()
	}
	return text
}

// mayHave checks that the event types exist and that the app may have them.
func (m *Manager) mayHave(a *hook.App, events []string) error {
	for _, name := range events {
		t, ok := m.Catalog.Lookup(name)
		switch {
		case !ok:
			return &hook.Error{Kind: hook.EventUnknown, Subject: name}
		case !a.Entitled(&t.EventType):
			return &hook.Error{Kind: hook.EventNotAllowed, Subject: name}
		}
	}
	return nil
}

// maySubscribe checks that the app may ask for the events of a subscriber. kind is
// what the public API calls it if somebody has not authorized the app.
func (m *Manager) maySubscribe(a *hook.App, s *hook.Subscription, x *hook.Subscriber, kind hook.Kind) error {
	d := m.Directory
	whole := d.Authorized(a.ID, x.Account)
	if !whole && (s.Scope != hook.ScopeUser || len(x.Groups) > 0) {
		return &hook.Error{Kind: kind, Subject: x.Account}
	}
	for _, id := range x.Users {
		switch {
		case d.User(x.Account, id) == nil:
			return &hook.Error{Kind: hook.UserUnknown, Subject: id}
		case !whole && !d.AuthorizedBy(a.ID, x.Account, id):
			return &hook.Error{Kind: kind, Subject: id}
		case !whole:
			if event := m.adminOnly(a, s.Events); event != "" {
				return &hook.Error{Kind: hook.UserNotPermitted, Subject: id, Detail: event}
			}
		}
	}
	for _, id := range x.Groups {
		if !d.Group(x.Account, id) {
			return badParameter("user_group_ids: the account %s has no group %s", x.Account, id)
		}
	}
	return nil
}

// adminOnly returns the first event type that the app may only have through scopes
// that the administrator of an account grants, and nobody for themselves. There is
// none if it is empty.
func (m *Manager) adminOnly(a *hook.App, events []string) string {
	for _, name := range events {
		t, ok := m.Catalog.Lookup(name)
		if !ok || len(t.Scopes) == 0 {
			continue
		}
		if !slices.ContainsFunc(t.Scopes, func(x string) bool { return slices.Contains(a.Scopes, x) && !adminScope(x) }) {
			return name
		}
	}
	return ""
}

func adminScope(s string) bool {
	return strings.HasSuffix(s, ":admin") || strings.HasSuffix(s, ":master")
}

// own returns a subscription that an app has made and may change. It is called with
// m.mu held.
func (m *Manager) own(app, id string) (*hook.Subscription, *hook.App, error) {
	s, a, err := m.Subscription(id)
	switch {
	case err != nil || s.App != app:
		return nil, nil, &hook.Error{Kind: hook.SubscriptionUnknown, Subject: id}
	case s.Source != hook.SourceOpenAPI:
		return nil, nil, badParameter("The event subscription %s was made in the console, so it cannot be changed or deleted through the API", id)
	}
	return s, a, nil
}

// Subscribe adds an account, or users of it, to a subscription of the app.
func (m *Manager) Subscribe(by hook.Actor, app, id string, x hook.Subscriber) error {
	return m.resubscribe(by, app, id, func(s *hook.Subscription, a *hook.App) ([]hook.Subscriber, string, error) {
		if err := users(s, x.Users); err != nil {
			return nil, "", err
		}
		if s.Scope == hook.ScopeUser && len(x.Users) == 0 {
			return nil, "", badParameter("user_ids is missing: subscription_scope user needs user_ids")
		}
		if err := m.maySubscribe(a, s, &x, hook.NotAuthorized); err != nil {
			return nil, "", err
		}
		return hook.With(s.Subscribers, x), "subscribed", nil
	}, x.Account, x.Users)
}

// Unsubscribe takes an account, or users of it, off a subscription of the app. Who is
// subscribed can be taken off also if the app's authorization has ended.
func (m *Manager) Unsubscribe(by hook.Actor, app, id, account string, ids []string) error {
	return m.resubscribe(by, app, id, func(s *hook.Subscription, a *hook.App) ([]hook.Subscriber, string, error) {
		if err := users(s, ids); err != nil {
			return nil, "", err
		}
		x := s.Subscriber(account)
		if x == nil && !m.Directory.Authorized(a.ID, account) && len(ids) == 0 {
			return nil, "", &hook.Error{Kind: hook.NotAuthorized, Subject: account}
		}
		for _, u := range ids {
			switch {
			case x != nil && slices.Contains(x.Users, u):
			case m.Directory.User(account, u) == nil:
				return nil, "", &hook.Error{Kind: hook.UserUnknown, Subject: u}
			case !m.Directory.AuthorizedBy(a.ID, account, u):
				return nil, "", &hook.Error{Kind: hook.NotAuthorized, Subject: u}
			}
		}
		return hook.Without(s.Subscribers, account, ids), "unsubscribed", nil
	}, account, ids)
}

// users checks the users that a call names for a subscription.
func users(s *hook.Subscription, ids []string) error {
	switch n := len(ids); {
	case n > hook.MaxUsers:
		return badParameter("user_ids has %d entries; at most %d are allowed", n, hook.MaxUsers)
	case n > 0 && s.Scope != hook.ScopeUser:
		return badParameter("user_ids is for subscription_scope user only, and this one has %s", s.Scope)
	}
	return nil
}

// resubscribe changes who is subscribed, as change says.
func (m *Manager) resubscribe(by hook.Actor, app, id string, change func(*hook.Subscription, *hook.App) ([]hook.Subscriber, string, error), account string, ids []string) error {
	return m.alone(func() error {
		s, a, err := m.own(app, id)
		if err != nil {
			return err
		}
		next := *s
		var done string
		if next.Subscribers, done, err = change(s, a); err != nil {
			return err
		}
		if f := next.CheckSubscribers(); len(f) > 0 {
			return badParameter("%s %s", f[0].Field, f[0].Message)
		}
		now := time.Now()
		what := strings.Join(append([]string{done + " account " + account}, ids...), " ")
		return m.store(hook.Change{
			Subscriptions: []*hook.Subscription{&next},
			Audit:         []hook.AuditEntry{{At: now, By: by, Action: hook.Updated, Kind: "subscription", Subject: s.ID, Name: s.Name, Changes: []string{what}}},
		}, now)
	})
}

// Delete deletes a subscription that the app has made. If only is not empty, it must
// serve that account and no other.
func (m *Manager) Delete(by hook.Actor, app, id, only string) error {
	return m.alone(func() error {
		s, _, err := m.own(app, id)
		switch {
		case err != nil:
			return err
		case only == "":
		case s.Subscriber(only) == nil:
			return &hook.Error{Kind: hook.SubscriptionUnknown, Subject: id}
		case len(s.Subscribers) > 1:
			return badParameter("The event subscription %s serves other accounts too; unsubscribe account %s from it instead", id, only)
		}
		return m.deleteSubscription(by, s)
	})
}

// sentence makes a reason one.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}
