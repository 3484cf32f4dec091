// Package manage changes accounts, apps, installations and subscriptions.
//
// Every change is checked against the rules, proven by a challenge where it
// concerns an endpoint, and stored whole or not at all. [Manager.Apply] makes the
// platform as a [Manifest] says; the other methods change one thing.
package manage

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/challenge"
	"github.com/switchhook/switchhook/internal/hook"
)

// Store keeps what is configured.
type Store interface {
	Change(c hook.Change, now time.Time) error
}

// Prober proves endpoints.
type Prober interface {
	Prove(context.Context, *hook.Subscription, *hook.App) challenge.Result
}

// Sender is told of changes to subscriptions.
type Sender interface {
	Changed(hook.SubscriptionKey)
}

// Catalog knows the event types.
type Catalog interface {
	Lookup(name string) (*catalog.Type, bool)
}

// Manager makes changes. It is safe for concurrent use.
type Manager struct {
	Store     Store
	Directory *hook.Directory
	Catalog   Catalog
	Prober    Prober
	Sender    Sender
	Policy    hook.EndpointPolicy
	// MaxSubscriptions is how many an app may have. 0: the contract's 20.
	MaxSubscriptions int
	Log              *slog.Logger

	mu sync.Mutex // held while a change is checked and stored, so that the rules hold
}

// DefaultMaxSubscriptions is the contract's limit.
const DefaultMaxSubscriptions = 20

func (m *Manager) maxSubscriptions() int {
	if m.MaxSubscriptions > 0 {
		return m.MaxSubscriptions
	}
	return DefaultMaxSubscriptions
}

// Subscription returns a subscription by its id.
func (m *Manager) Subscription(id string) (*hook.Subscription, *hook.App, error) {
	if k, err := hook.KeyOf(id); err == nil {
		if s, a := m.Directory.Subscription(k); s != nil && s.ID == id {
			return s, a, nil
		}
	}
	return nil, nil, &hook.Error{Kind: hook.NotFound, Subject: "subscription " + id, Detail: "is not there"}
}

// App returns an app by its id.
func (m *Manager) App(id string) (*hook.App, error) {
	if a := m.Directory.App(id); a != nil {
		return a, nil
	}
	return nil, &hook.Error{Kind: hook.NotFound, Subject: "app " + id, Detail: "is not there"}
}

// Validate sends a challenge to a subscription's endpoint. If the endpoint proves
// itself, the subscription is valid from then on, even if it was disabled;
// otherwise it stays as it is, and the result says why.
func (m *Manager) Validate(ctx context.Context, id string) (challenge.Result, error) {
	s, a, err := m.Subscription(id)
	if err != nil {
		return challenge.Result{}, err
	}
	r := m.Prober.Prove(ctx, s, a)
	if ctx.Err() != nil {
		return r, context.Cause(ctx) // the endpoint is not to blame
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now, app, err := m.Subscription(id)
	switch {
	case err != nil:
		return r, err
	case now.URL != s.URL, now.Auth != s.Auth, app.SecretToken != a.SecretToken, now.Generation != s.Generation:
		// The proof is for something else, or whoever disabled it meanwhile would find it
		// enabled again.
		return r, &hook.Error{Kind: hook.Conflict, Subject: "subscription " + id, Detail: "was changed meanwhile; validate it again"}
	}
	next := *now
	switch {
	case r.OK && now.State == hook.Valid && now.StateReason == "":
		return r, nil
	case r.OK:
		next.State, next.StateReason, next.StateSince = hook.Valid, "", time.Now()
	case now.State == hook.Pending:
		next.StateReason = r.Reason // the latest is of more use than the first
	default:
		return r, nil
	}
	return r, m.putSubscription(&next)
}

// Disable ends a subscription's deliveries; what is outstanding is cancelled.
func (m *Manager) Disable(id, reason string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, _, err := m.Subscription(id)
	if err != nil || s.State == hook.Disabled {
		return err
	}
	return m.putSubscription(disabled(s, reason, time.Now()))
}

func disabled(s *hook.Subscription, reason string, now time.Time) *hook.Subscription {
	next := *s
	next.State, next.StateReason, next.StateSince = hook.Disabled, reason, now
	next.Generation++
	return &next
}

func (m *Manager) putSubscription(s *hook.Subscription) error {
	if err := m.Store.Change(hook.Change{Subscriptions: []*hook.Subscription{s}}, time.Now()); err != nil {
		return err
	}
	m.Sender.Changed(s.Key)
	return nil
}

// DeleteSubscription deletes a subscription; what is outstanding is cancelled.
func (m *Manager) DeleteSubscription(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, _, err := m.Subscription(id)
	if err != nil {
		return err
	}
	if err := m.Store.Change(hook.Change{RemoveSubscriptions: []hook.SubscriptionKey{s.Key}}, time.Now()); err != nil {
		return err
	}
	m.Sender.Changed(s.Key)
	return nil
}

// DeleteApp deletes an app with its subscriptions and installations.
func (m *Manager) DeleteApp(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.App(id); err != nil {
		return err
	}
	subs := m.Directory.Subscriptions(id)
	if err := m.Store.Change(hook.Change{RemoveApps: []string{id}}, time.Now()); err != nil {
		return err
	}
	for _, s := range subs {
		m.Sender.Changed(s.Key)
	}
	return nil
}
