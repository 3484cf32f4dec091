package manage

import (
	"context"
	"fmt"
	"slices"

	"github.com/switchhook/switchhook/internal/hook"
)

// The methods in this file do what a manifest does, for one thing, and leave everything
// beside it as it is. Faults name the fields of that thing, as in /owner_email, and what
// is no field of it by itself, as in group. Those that take a function hand it the thing
// as it stands, to be changed; it is called with the manager locked, and again if the
// platform changes meanwhile.

// Account returns an account by its id.
func (m *Manager) Account(id string) (*hook.Account, error) {
	if a := m.Directory.Account(id); a != nil {
		return a, nil
	}
	return nil, &hook.Error{Kind: hook.NotFound, Subject: "account " + id, Detail: "is not there"}
}

// PutAccount changes an account, or makes it if it is not there. Users and groups that
// change leaves nil stay.
func (m *Manager) PutAccount(ctx context.Context, by hook.Actor, id string, change func(*Account) error) (made bool, err error) {
	return m.put(ctx, by, "account "+id, func(p *planner) error {
		a := Account{ID: id}
		if now := p.known[id]; now != nil {
			a.Name, a.OwnerEmail, a.Master = now.Name, now.OwnerEmail, now.Master
		}
		if err := change(&a); err != nil {
			return err
		}
		a.ID = id
		p.accounts([]Account{a}, func(int) string { return "/" })
		return nil
	})
}

// put makes an edit that begins with the thing that it is about, and says whether that
// is new.
func (m *Manager) put(ctx context.Context, by hook.Actor, subject string, plan func(*planner) error) (made bool, err error) {
	p, err := m.run(ctx, by, edit{subject: subject, plan: plan})
	return err == nil && p.Steps[0].Action == Create, err
}

// ofAccount is what to plan for something of an account that must be there.
func (m *Manager) ofAccount(id string, plan func(*planner) error) func(*planner) error {
	return func(p *planner) error {
		if _, err := m.Account(id); err != nil {
			return err
		}
		return plan(p)
	}
}

// PutUser makes a user of an account, or changes one that is there, and returns the user
// as it is now.
func (m *Manager) PutUser(ctx context.Context, by hook.Actor, account, id string, change func(*User) error) (u User, made bool, err error) {
	made, err = m.put(ctx, by, "user "+id, m.ofAccount(account, func(p *planner) error {
		now := p.users(account)[id]
		u = User{ID: id}
		if now != nil {
			u.Groups = slices.Clone(now.Groups)
		}
		if err := change(&u); err != nil {
			return err
		}
		u.ID, u.Groups = id, sorted(u.Groups)
		p.user(account, u, now, m.Directory.Groups(account), "/")
		return nil
	}))
	return u, made, err
}

// DeleteUser removes a user from an account.
func (m *Manager) DeleteUser(ctx context.Context, by hook.Actor, account, id string) error {
	_, err := m.put(ctx, by, "user "+id, m.ofAccount(account, func(p *planner) error {
		if p.users(account)[id] == nil {
			return &hook.Error{Kind: hook.NotFound, Subject: fmt.Sprintf("user %s of account %s", id, account), Detail: "is not there"}
		}
		p.removeUsers(account, []string{id})
		return nil
	}))
	return err
}

// PutGroup makes a group of users of an account, unless it is there.
func (m *Manager) PutGroup(ctx context.Context, by hook.Actor, account, id string) (made bool, err error) {
	return m.put(ctx, by, "user group "+id, m.ofAccount(account, func(p *planner) error {
		p.group(account, id, m.Directory.Groups(account), "group")
		return nil
	}))
}

// DeleteGroup removes a group of users; who was in it is not any more.
func (m *Manager) DeleteGroup(ctx context.Context, by hook.Actor, account, id string) error {
	_, err := m.put(ctx, by, "user group "+id, m.ofAccount(account, func(p *planner) error {
		if !m.Directory.Group(account, id) {
			return &hook.Error{Kind: hook.NotFound, Subject: fmt.Sprintf("user group %s of account %s", id, account), Detail: "is not there"}
		}
		p.removeGroups(account, []string{id})
		p.ungroup(account, []string{id})
		return nil
	}))
	return err
}

// CreateApp makes an app, without installations and subscriptions, and returns its
// credentials.
func (m *Manager) CreateApp(ctx context.Context, by hook.Actor, a App) (Credentials, error) {
	a.Installations, a.Subscriptions = nil, nil
	plan, err := m.run(ctx, by, edit{subject: "app", plan: func(p *planner) error {
		if now := p.findApp(a.Account, a.Name); now != nil {
			return &hook.Error{Kind: hook.Conflict, Subject: fmt.Sprintf("app %q", a.Name), Detail: fmt.Sprintf("exists in account %s already, with id %s", a.Account, now.ID)}
		}
		p.app(&a, "/")
		return nil
	}})
	if err != nil {
		return Credentials{}, err
	}
	return plan.Credentials[0], nil
}

// UpdateApp changes an app. What tells it from others, installations and subscriptions
// stay; the secret token stays if change leaves it empty.
func (m *Manager) UpdateApp(ctx context.Context, by hook.Actor, id string, change func(*App) error) error {
	_, err := m.put(ctx, by, "app "+id, func(p *planner) error {
		now, err := m.App(id)
		if err != nil {
			return err
		}
		a := App{Scopes: slices.Clone(now.Scopes), CarrierCodes: slices.Clone(now.CarrierCodes), State: string(now.State), Disabled: now.Disabled}
		if err := change(&a); err != nil {
			return err
		}
		a.Name, a.Account, a.Installations, a.Subscriptions = now.Name, now.Account, nil, nil
		p.app(&a, "/")
		return nil
	})
	return err
}

// BindCarrier makes an app the one that the events of a carrier's numbers go to: its code
// is the app's, and no other's.
func (m *Manager) BindCarrier(ctx context.Context, by hook.Actor, code int32, app string) error {
	_, err := m.put(ctx, by, fmt.Sprintf("carrier %d", code), func(p *planner) error {
		if _, err := m.App(app); err != nil {
			return err
		}
		for _, now := range m.Directory.Apps() {
			codes := slices.DeleteFunc(slices.Clone(now.CarrierCodes), func(x int32) bool { return x == code })
			if now.ID == app {
				codes = append(codes, code)
			} else if len(codes) == len(now.CarrierCodes) {
				continue
			}
			p.app(&App{
				Name: now.Name, Account: now.Account, Scopes: slices.Clone(now.Scopes), CarrierCodes: codes, State: string(now.State), Disabled: now.Disabled,
			}, "/")
		}
		return nil
	})
	return err
}

// Install says that an account, or one user of it, has authorized an app.
func (m *Manager) Install(ctx context.Context, by hook.Actor, app string, i Installation) (made bool, err error) {
	return m.put(ctx, by, "installation", func(p *planner) error {
		a, err := m.App(app)
		if err == nil {
			p.installation(a, i, "")
		}
		return err
	})
}

// Uninstall says that it has not any more.
func (m *Manager) Uninstall(ctx context.Context, by hook.Actor, app string, i Installation) error {
	_, err := m.put(ctx, by, "installation", func(p *planner) error {
		a, err := m.App(app)
		if err != nil {
			return err
		}
		h := hook.Installation{App: app, Account: i.Account, User: i.User}
		if !slices.Contains(m.Directory.Installations(app), h) {
			return &hook.Error{Kind: hook.NotFound, Subject: "installation of " + installationName(a, i.Account, i.User), Detail: "is not there"}
		}
		p.removeInstallation(a, h)
		return nil
	})
	return err
}

// CreateSubscription makes a subscription of an app, once its endpoints have proven
// themselves. If one does not, nothing is made.
func (m *Manager) CreateSubscription(ctx context.Context, by hook.Actor, app string, s Subscription) (id string, err error) {
	plan, err := m.run(ctx, by, edit{subject: "subscription", whole: true, plan: func(p *planner) error {
		a, err := m.App(app)
		if err != nil {
			return err
		}
		if now := p.findSubscription(app, s.Name); now != nil {
			return &hook.Error{Kind: hook.Conflict, Subject: fmt.Sprintf("subscription %q", s.Name), Detail: "exists in the app already, with id " + now.ID}
		}
		p.subscription(a, &s, nil, "/")
		if n, limit := p.count(a); n > limit {
			return &hook.Error{Kind: hook.Conflict, Subject: "app " + app, Detail: fmt.Sprintf("has %d event subscriptions already, and at most %d are allowed", n-1, limit)}
		}
		return nil
	}})
	if err != nil {
		return "", err
	}
	return plan.Steps[0].ID, nil
}

// UpdateSubscription changes a subscription that was not made by its app. If an endpoint
// has to prove itself for that and does not, everything stays as it is.
func (m *Manager) UpdateSubscription(ctx context.Context, by hook.Actor, id string, change func(*Subscription) error) error {
	_, err := m.run(ctx, by, edit{subject: "subscription " + id, whole: true, plan: func(p *planner) error {
		now, a, err := m.Subscription(id)
		switch {
		case err != nil:
			return err
		case now.Source != hook.SourceDefault:
			return &hook.Error{Kind: hook.Conflict, Subject: "subscription " + id, Detail: "was made by its app, which alone can change it; it can be disabled and deleted"}
		}
		s := entry(now)
		if err := change(&s); err != nil {
			return err
		}
		s.Name = now.Name
		p.subscription(a, &s, now, "/")
		return nil
	}})
	return err
}

// entry returns a subscription as a manifest would say it.
func entry(s *hook.Subscription) Subscription {
	e := Subscription{
		Name: s.Name, Events: slices.Clone(s.Events), URL: s.URL, Development: s.Development.URL, Scope: string(s.Scope),
		MaxInFlight: s.Limits.InFlight, MaxPerSecond: s.Limits.PerSecond, Disabled: allDisabled(s),
	}
	// The operator's have one, for that is what a manifest can say.
	for _, x := range s.Subscribers {
		e.Account, e.Users, e.Groups = x.Account, slices.Clone(x.Users), slices.Clone(x.Groups)
	}
	if a := s.Auth; a.Mode != hook.AuthNone {
		e.CustomHeader = &CustomHeader{
			Type: int(a.Mode), Username: a.Username, Password: a.Password.Reveal(),
			ClientID: a.ClientID, ClientSecret: a.ClientSecret.Reveal(), TokenURL: a.TokenURL, Scope: a.Scope, State: a.State,
			Key: a.Header, Value: a.Value.Reveal(),
		}
		if a.InBody {
			e.CustomHeader.ClientAuthentication = "body"
		}
	}
	return e
}
