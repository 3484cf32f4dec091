// Package manage changes accounts, apps, installations and subscriptions.
//
// Every change is checked against the rules, proven by a challenge where it
// concerns an endpoint, and stored whole or not at all, together with who made it.
// [Manager.Apply] makes the platform as a [Manifest] says, [Manager.Create] and its
// neighbours do what apps may do for themselves; the other methods change one thing.
package manage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/challenge"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/outbox"
)

// Store keeps what is configured.
type Store interface {
	// Change stores the change, with the mails that tell of it.
	Change(c hook.Change, now time.Time, mails ...*outbox.Message) error
	// LogChallenges adds challenges to the webhook log.
	LogChallenges([]*hook.Attempt) error
	// LogRefused does so for a subscription that was not made after all.
	LogRefused(*hook.Subscription, *hook.Attempt) error
}

// Prober proves endpoints.
type Prober interface {
	Prove(ctx context.Context, url string, s *hook.Subscription, a *hook.App) challenge.Result
}

// Sender is told of changes to subscriptions.
type Sender interface {
	Changed(hook.SubscriptionKey)
	// CalledOff says beside that what is outstanding is not owed any more.
	CalledOff(hook.SubscriptionKey)
}

// Waker is told that there may be something to do.
type Waker interface{ Wake() }

// Rounds is told of changes to subscriptions, and to apps for each of theirs.
type Rounds interface {
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
	// Every is the period of the rounds, in which endpoints are validated again.
	Every time.Duration
	// PublicURL is where people reach the platform, for the mails. It may be empty.
	PublicURL string
	// Mail is woken when there are mails to send. It may be nil, and so may Rounds.
	Mail   Waker
	Rounds Rounds
	Log    *slog.Logger

	mu      sync.Mutex // held while a change is checked and stored, so that the rules hold
	version int64      // of the directory with which it is checked
}

// againAtMost is how often a change is worked out again because another node was faster.
const againAtMost = 50

// alone calls f, which checks a change and stores it, while this node changes nothing
// else. If another node changes the platform meanwhile, it is called again: rules
// hold for what is stored, and not for what was there before.
func (m *Manager) alone(f func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n := 0; ; n++ {
		m.version = m.Directory.Version()
		err := f()
		switch {
		case !errors.Is(err, hook.ErrStale):
			return err
		case n == againAtMost:
			return &hook.Error{Kind: hook.Unavailable, Detail: "the platform is being changed on other nodes all the time"}
		}
	}
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
func (m *Manager) Disable(by hook.Actor, id, reason string) error {
	return m.alone(func() error {
		s, _, err := m.Subscription(id)
		if err != nil || allDisabled(s) {
			return err
		}
		now := time.Now()
		return m.store(hook.Change{
			Subscriptions: []*hook.Subscription{disabled(s, reason, now)},
			Audit:         []hook.AuditEntry{{At: now, By: by, Action: hook.TurnedOff, Kind: "subscription", Subject: s.ID, Name: s.Name}},
		}, now)
	})
}

func allDisabled(s *hook.Subscription) bool {
	return s.State == hook.Disabled && (s.Development.URL == "" || s.Development.State == hook.Disabled)
}

// disabled returns the subscription with all its endpoints disabled.
func disabled(s *hook.Subscription, reason string, now time.Time) *hook.Subscription {
	next := *s
	next.Endpoint = next.Set(hook.Disabled, reason, now)
	if next.Development.URL != "" {
		next.Development = next.Development.Set(hook.Disabled, reason, now)
	}
	next.Generation++
	return &next
}

// store stores a change and tells everybody whom it concerns. It is called with m.mu
// held.
func (m *Manager) store(c hook.Change, now time.Time, mails ...*outbox.Message) error {
	c.Version = m.version
	tell := m.changed(&c)
	if err := m.Store.Change(c, now, mails...); err != nil {
		return err
	}
	tell()
	if len(mails) > 0 && m.Mail != nil {
		m.Mail.Wake()
	}
	return nil
}

// changed returns what tells the sender and the rounds of a change that is about to be
// stored.
func (m *Manager) changed(c *hook.Change) (tell func()) {
	before := map[hook.SubscriptionKey]*hook.Subscription{}
	for _, s := range c.Subscriptions {
		before[s.Key], _ = m.Directory.Subscription(s.Key)
	}
	moved, rounds := m.moved(c), m.concerned(c)
	return func() {
		for _, s := range c.Subscriptions {
			switch was := before[s.Key]; {
			case was != nil && was.Generation != s.Generation:
				m.Sender.CalledOff(s.Key)
			case was == nil || !sameToSender(was, s):
				m.Sender.Changed(s.Key)
			}
		}
		for _, k := range moved {
			m.Sender.Changed(k)
		}
		if m.Rounds != nil {
			for _, k := range rounds {
				m.Rounds.Changed(k)
			}
		}
	}
}

// Changed tells the sender and the rounds of a change that another node has stored and
// that the directory is about to have. What it returns is to be called when it has it.
func (m *Manager) Changed(c *hook.Change) func() {
	tell := m.changed(c)
	gone := slices.Clone(c.RemoveSubscriptions)
	for _, id := range c.RemoveApps {
		for _, s := range m.Directory.Subscriptions(id) {
			gone = append(gone, s.Key)
		}
	}
	return func() {
		tell()
		for _, k := range gone {
			m.Sender.CalledOff(k)
		}
	}
}

// sameToSender reports whether nothing is different that deliveries depend on: most rounds
// change only when an endpoint was last asked, and there may be many rounds.
func sameToSender(was, is *hook.Subscription) bool {
	a, b := *was, *is
	for _, s := range []*hook.Subscription{&a, &b} {
		for _, in := range hook.AppStates() {
			e := s.At(in)
			*e = hook.Endpoint{URL: e.URL, State: e.State}
			if e.Active() {
				e.State = hook.Valid
			}
		}
	}
	return reflect.DeepEqual(a, b)
}

// moved returns the subscriptions that are not changed themselves, but whose events go
// to their other endpoint because the state of their app is changed.
func (m *Manager) moved(c *hook.Change) (keys []hook.SubscriptionKey) {
	for _, a := range c.Apps {
		was := m.Directory.App(a.ID)
		if was == nil {
			continue
		}
		for _, s := range m.Directory.Subscriptions(a.ID) {
			listed := slices.ContainsFunc(c.Subscriptions, func(x *hook.Subscription) bool { return x.Key == s.Key })
			if !listed && s.Serving(was) != s.Serving(a) {
				keys = append(keys, s.Key)
			}
		}
	}
	return keys
}

// concerned returns the subscriptions whose rounds a change may concern.
func (m *Manager) concerned(c *hook.Change) []hook.SubscriptionKey {
	keys := slices.Clone(c.RemoveSubscriptions)
	for _, s := range c.Subscriptions {
		keys = append(keys, s.Key)
	}
	apps := slices.Clone(c.RemoveApps)
	for _, a := range c.Apps {
		apps = append(apps, a.ID)
	}
	for _, id := range apps {
		for _, s := range m.Directory.Subscriptions(id) {
			keys = append(keys, s.Key)
		}
	}
	return keys
}

// DeleteSubscription deletes a subscription; what is outstanding is cancelled.
func (m *Manager) DeleteSubscription(by hook.Actor, id string) error {
	return m.alone(func() error {
		s, _, err := m.Subscription(id)
		if err != nil {
			return err
		}
		return m.deleteSubscription(by, s)
	})
}

// deleteSubscription is called with m.mu held.
func (m *Manager) deleteSubscription(by hook.Actor, s *hook.Subscription) error {
	now := time.Now()
	err := m.store(hook.Change{
		RemoveSubscriptions: []hook.SubscriptionKey{s.Key},
		Audit:               []hook.AuditEntry{{At: now, By: by, Action: hook.Removed, Kind: "subscription", Subject: s.ID, Name: s.Name}},
	}, now)
	if err != nil {
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
func (m *Manager) RotateClientSecret(by hook.Actor, id string, overlap time.Duration) (hook.Secret, error) {
	secret := hook.Secret(hook.NewSecret())
	return secret, m.rotate(by, id, "client_secret", overlap, func(a *hook.App, until time.Time) {
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
func (m *Manager) RotateSecretToken(by hook.Actor, id string, overlap time.Duration) (hook.Secret, error) {
	secret := hook.Secret(hook.NewSecret())
	return secret, m.rotate(by, id, "secret_token", overlap, func(a *hook.App, until time.Time) {
		a.OldToken = hook.OldToken{}
		if overlap > 0 {
			a.OldToken = hook.OldToken{Secret: a.SecretToken, Until: until}
		}
		a.SecretToken = secret
	})
}

func (m *Manager) rotate(by hook.Actor, id, what string, overlap time.Duration, change func(a *hook.App, until time.Time)) error {
	if overlap < 0 || overlap > MaxOverlap {
		return hook.Faults{{Field: "overlap_seconds", Message: fmt.Sprintf("must be 0 to %d", int(MaxOverlap/time.Second))}}.Err("")
	}
	return m.alone(func() error {
		a, err := m.App(id)
		if err != nil {
			return err
		}
		now := time.Now()
		next := *a
		change(&next, now.Add(overlap))
		entry := hook.AuditEntry{At: now, By: by, Action: hook.Rotated, Kind: "app", Subject: a.ID, Name: a.Name, Changes: []string{what}}
		if overlap > 0 {
			entry.Changes[0] += fmt.Sprintf(": the one before is valid for %v longer", overlap)
		}
		return m.store(hook.Change{Apps: []*hook.App{&next}, Audit: []hook.AuditEntry{entry}}, now)
	})
}

// DeleteApp deletes an app with its subscriptions and installations.
func (m *Manager) DeleteApp(by hook.Actor, id string) error {
	return m.alone(func() error { return m.deleteApp(by, id) })
}

// deleteApp is called with m.mu held.
func (m *Manager) deleteApp(by hook.Actor, id string) error {
	a, err := m.App(id)
	if err != nil {
		return err
	}
	subs, now := m.Directory.Subscriptions(id), time.Now()
	audit := []hook.AuditEntry{{At: now, By: by, Action: hook.Removed, Kind: "app", Subject: a.ID, Name: a.Name}}
	// Whoever looks for one of these finds that it went with its app.
	with := []string{fmt.Sprintf("with its app %q (%s)", a.Name, a.ID)}
	for _, i := range m.Directory.Installations(id) {
		audit = append(audit, hook.AuditEntry{At: now, By: by, Action: hook.Removed, Kind: "installation", Name: installationName(a, i.Account, i.User), Changes: with})
	}
	for _, s := range subs {
		audit = append(audit, hook.AuditEntry{At: now, By: by, Action: hook.Removed, Kind: "subscription", Subject: s.ID, Name: s.Name, Changes: with})
	}
	if err := m.store(hook.Change{RemoveApps: []string{id}, Audit: audit}, now); err != nil {
		return err
	}
	for _, s := range subs {
		m.Sender.CalledOff(s.Key)
	}
	return nil
}
