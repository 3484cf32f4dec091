// Package manage changes accounts, apps, installations and subscriptions.
//
// Every change is checked against the rules, proven by a challenge where it
// concerns an endpoint, and stored whole or not at all. [Manager.Apply] makes the
// platform as a [Manifest] says; the other methods change one thing.
package manage

import (
	"context"
	"fmt"
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
	// LogChallenges adds challenges to the webhook log.
	LogChallenges([]*hook.Attempt) error
}

// Prober proves endpoints.
type Prober interface {
	Prove(context.Context, *hook.Subscription, *hook.App) challenge.Result
}

// Sender is told of changes to subscriptions.
type Sender interface {
	Changed(hook.SubscriptionKey)
	// CalledOff says beside that what is outstanding is not owed any more.
	CalledOff(hook.SubscriptionKey)
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
	m.log(r.Attempt(s))
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

// log adds challenges to the webhook log. What they showed counts also if that fails.
func (m *Manager) log(made ...*hook.Attempt) {
	if len(made) == 0 {
		return
	}
	if err := m.Store.LogChallenges(made); err != nil {
		m.Log.Error("challenges could not be logged", "challenges", len(made), "err", err)
	}
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
	tell := m.changed([]*hook.Subscription{s})
	if err := m.Store.Change(hook.Change{Subscriptions: []*hook.Subscription{s}}, time.Now()); err != nil {
		return err
	}
	tell()
	return nil
}

// changed returns what tells the sender of changes that are about to be stored.
func (m *Manager) changed(subs []*hook.Subscription) (tell func()) {
	before := map[hook.SubscriptionKey]int64{}
	for _, s := range subs {
		if now, _ := m.Directory.Subscription(s.Key); now != nil {
			before[s.Key] = now.Generation
		}
	}
	return func() {
		for _, s := range subs {
			if g, ok := before[s.Key]; ok && g != s.Generation {
				m.Sender.CalledOff(s.Key)
			} else {
				m.Sender.Changed(s.Key)
			}
		}
	}
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
	m.Sender.CalledOff(s.Key)
	return nil
}

// MaxOverlap is how long a secret that was replaced may stay valid.
const MaxOverlap = 90 * 24 * time.Hour

// RotateClientSecret gives an app's OAuth client a new secret and returns it. The
// one before is accepted for overlap longer, and so are the tokens obtained with
// it; one before that no more.
func (m *Manager) RotateClientSecret(id string, overlap time.Duration) (hook.Secret, error) {
	secret := hook.Secret(hook.NewSecret())
	return secret, m.rotate(id, overlap, func(a *hook.App, until time.Time) {
		a.OldClientSecret = hook.OldClientSecret{}
		if overlap > 0 {
			a.OldClientSecret = hook.OldClientSecret{Hash: a.ClientSecret, Until: until}
		}
		a.ClientSecret = hook.HashSecret(secret)
	})
}

// RotateSecretToken gives an app a new secret token and returns it. All requests
// are signed with it from then on. For overlap longer endpoints may prove
// themselves with the one before.
func (m *Manager) RotateSecretToken(id string, overlap time.Duration) (hook.Secret, error) {
	secret := hook.Secret(hook.NewSecret())
	return secret, m.rotate(id, overlap, func(a *hook.App, until time.Time) {
		a.OldToken = hook.OldToken{}
		if overlap > 0 {
			a.OldToken = hook.OldToken{Secret: a.SecretToken, Until: until}
		}
		a.SecretToken = secret
	})
}

func (m *Manager) rotate(id string, overlap time.Duration, change func(a *hook.App, until time.Time)) error {
	if overlap < 0 || overlap > MaxOverlap {
		return hook.Faults{{Field: "overlap_seconds", Message: fmt.Sprintf("must be 0 to %d", int(MaxOverlap/time.Second))}}.Err("")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	a, err := m.App(id)
	if err != nil {
		return err
	}
	now := time.Now()
	next := *a
	change(&next, now.Add(overlap))
	return m.Store.Change(hook.Change{Apps: []*hook.App{&next}}, now)
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
		m.Sender.CalledOff(s.Key)
	}
	return nil
}
