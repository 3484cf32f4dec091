package hook

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"
)

// Directory holds the accounts, apps, installations and subscriptions as they
// stand, indexed so that matching an event costs what it matches and not what
// there is. What it hands out is shared and must not be changed: a change
// replaces the whole entry. It is safe for concurrent use.
type Directory struct {
	mu      sync.RWMutex
	version int64

	accounts      map[string]*Account
	apps          map[string]*appEntry
	subscriptions map[SubscriptionKey]*Subscription
	installations map[string]map[string]map[string]struct{} // app, account, user
	byAccount     map[string]map[string]int                 // account to apps, with how many ties each has
	byCarrier     map[int32]map[string]struct{}             // carrier code to apps
	byClient      map[string]string                         // client id to app
	byURL         map[string]map[SubscriptionKey]struct{}   // endpoint to subscriptions
	users         map[string]map[string]*User               // account, id
	groups        map[Group]struct{}
}

type appEntry struct {
	*App
	subscriptions []*Subscription // by key, so that matching is deterministic
}

// NewDirectory returns an empty directory.
func NewDirectory() *Directory {
	return &Directory{
		accounts:      map[string]*Account{},
		apps:          map[string]*appEntry{},
		subscriptions: map[SubscriptionKey]*Subscription{},
		installations: map[string]map[string]map[string]struct{}{},
		byAccount:     map[string]map[string]int{},
		byCarrier:     map[int32]map[string]struct{}{},
		byClient:      map[string]string{},
		byURL:         map[string]map[SubscriptionKey]struct{}{},
		users:         map[string]map[string]*User{},
		groups:        map[Group]struct{}{},
	}
}

// Change is a set of entries to put and to remove, applied as one.
type Change struct {
	Accounts      []*Account
	Users         []*User
	Groups        []Group
	Apps          []*App
	Installations []Installation
	Subscriptions []*Subscription

	RemoveInstallations []Installation
	RemoveSubscriptions []SubscriptionKey
	RemoveApps          []string
	RemoveUsers         []User // by account and id
	RemoveGroups        []Group

	// What is to be remembered of the change.
	Audit       []AuditEntry
	Validations []Validation

	// Version is that of the directory which the change was worked out with. If it is
	// not the current one when the change is to be stored, the change fails with
	// [ErrStale]. 0: it fits whatever there is.
	Version int64
}

// ErrStale says that another node has changed the platform since a change was worked
// out. The directory knows of that by now: work the change out again.
var ErrStale = errors.New("hook: the directory has changed")

// Empty reports whether the change changes nothing, whatever is to be remembered.
func (c *Change) Empty() bool {
	return len(c.Accounts)+len(c.Users)+len(c.Groups)+len(c.Apps)+len(c.Installations)+len(c.Subscriptions)+
		len(c.RemoveInstallations)+len(c.RemoveSubscriptions)+len(c.RemoveApps)+len(c.RemoveUsers)+len(c.RemoveGroups) == 0
}

// Load puts what is stored into the directory, which has that version then.
func (d *Directory) Load(c Change, version int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.apply(&c)
	d.version = version
}

// Apply makes the change and returns the directory's new version.
func (d *Directory) Apply(c Change) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.apply(&c)
	d.version++
	return d.version
}

// apply makes the change. It is called with d.mu held.
func (d *Directory) apply(c *Change) {
	for _, a := range c.Accounts {
		d.accounts[a.ID] = a
	}
	for _, a := range c.Apps {
		d.putApp(a)
	}
	for _, k := range c.RemoveSubscriptions {
		d.removeSubscription(k)
	}
	for _, s := range c.Subscriptions {
		d.removeSubscription(s.Key)
		d.putSubscription(s)
	}
	for _, i := range c.Installations {
		d.install(i)
	}
	for _, i := range c.RemoveInstallations {
		d.uninstall(i)
	}
	for _, id := range c.RemoveApps {
		d.removeApp(id)
	}
	d.applyPeople(c)
}

func (d *Directory) applyPeople(c *Change) {
	for _, g := range c.Groups {
		d.groups[g] = struct{}{}
	}
	for _, g := range c.RemoveGroups {
		delete(d.groups, g)
	}
	for _, u := range c.Users {
		if d.users[u.Account] == nil {
			d.users[u.Account] = map[string]*User{}
		}
		d.users[u.Account][u.ID] = u
	}
	for _, u := range c.RemoveUsers {
		if delete(d.users[u.Account], u.ID); len(d.users[u.Account]) == 0 {
			delete(d.users, u.Account)
		}
	}
}

func (d *Directory) putApp(a *App) {
	entry := d.apps[a.ID]
	if entry == nil {
		entry = &appEntry{}
		d.apps[a.ID] = entry
	} else {
		d.unbind(entry.App)
	}
	entry.App = a
	d.byClient[a.ClientID] = a.ID
	d.tie(a.Account, a.ID)
	for _, code := range a.CarrierCodes {
		apps := d.byCarrier[code]
		if apps == nil {
			apps = map[string]struct{}{}
			d.byCarrier[code] = apps
		}
		apps[a.ID] = struct{}{}
	}
}

func (d *Directory) unbind(a *App) {
	delete(d.byClient, a.ClientID)
	d.untie(a.Account, a.ID)
	for _, code := range a.CarrierCodes {
		delete(d.byCarrier[code], a.ID)
	}
}

func (d *Directory) removeApp(id string) {
	entry := d.apps[id]
	if entry == nil {
		return
	}
	for _, s := range slices.Clone(entry.subscriptions) {
		d.removeSubscription(s.Key)
	}
	for account, users := range d.installations[id] {
		for range users {
			d.untie(account, id)
		}
	}
	delete(d.installations, id)
	d.unbind(entry.App)
	delete(d.apps, id)
}

func byKey(s *Subscription, k SubscriptionKey) int { return cmp.Compare(s.Key, k) }

func (d *Directory) putSubscription(s *Subscription) {
	app := d.apps[s.App]
	if app == nil {
		return
	}
	d.subscriptions[s.Key] = s
	for _, url := range s.urls() {
		if d.byURL[url] == nil {
			d.byURL[url] = map[SubscriptionKey]struct{}{}
		}
		d.byURL[url][s.Key] = struct{}{}
	}
	i, _ := slices.BinarySearchFunc(app.subscriptions, s.Key, byKey)
	app.subscriptions = slices.Insert(slices.Clone(app.subscriptions), i, s)
}

func (s *Subscription) urls() []string {
	if s.Development.URL == "" {
		return []string{s.URL}
	}
	return []string{s.URL, s.Development.URL}
}

func (d *Directory) removeSubscription(k SubscriptionKey) {
	s := d.subscriptions[k]
	if s == nil {
		return
	}
	delete(d.subscriptions, k)
	for _, url := range s.urls() {
		if delete(d.byURL[url], k); len(d.byURL[url]) == 0 {
			delete(d.byURL, url)
		}
	}
	app := d.apps[s.App]
	if i, ok := slices.BinarySearchFunc(app.subscriptions, k, byKey); ok {
		app.subscriptions = slices.Delete(slices.Clone(app.subscriptions), i, i+1)
	}
}

func (d *Directory) install(i Installation) {
	accounts := d.installations[i.App]
	if accounts == nil {
		accounts = map[string]map[string]struct{}{}
		d.installations[i.App] = accounts
	}
	users := accounts[i.Account]
	if users == nil {
		users = map[string]struct{}{}
		accounts[i.Account] = users
	}
	if _, known := users[i.User]; !known {
		users[i.User] = struct{}{}
		d.tie(i.Account, i.App)
	}
}

func (d *Directory) uninstall(i Installation) {
	users := d.installations[i.App][i.Account]
	if _, known := users[i.User]; known {
		delete(users, i.User)
		d.untie(i.Account, i.App)
	}
}

// tie and untie count the reasons for which an account's events concern an app:
// that it owns the app, and each installation.
func (d *Directory) tie(account, app string) {
	apps := d.byAccount[account]
	if apps == nil {
		apps = map[string]int{}
		d.byAccount[account] = apps
	}
	apps[app]++
}

func (d *Directory) untie(account, app string) {
	apps := d.byAccount[account]
	if apps[app]--; apps[app] <= 0 {
		delete(apps, app)
	}
}

// Owed is a delivery that an event brings about.
type Owed struct {
	Subscription SubscriptionKey
	// Generation is the subscription's at the time.
	Generation int64
	// Node is the node that takes the delivery in hand from the start. 0: none.
	Node int64
}

// Match appends what the event owes, by subscription, and returns it with the
// version of the directory that said so.
func (d *Directory) Match(owed []Owed, e *Event, t *EventType) ([]Owed, int64) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	first := len(owed)
	if t.Routing == ByCarrier {
		for app := range d.byCarrier[e.Carrier] {
			owed = d.matchApp(owed, e, t, app)
		}
	} else {
		for app := range d.byAccount[e.Account] {
			owed = d.matchApp(owed, e, t, app)
		}
		// An app may be tied to the account and to its master; it is asked once.
		if master := d.masterOf(e.Account); master != "" {
			for app := range d.byAccount[master] {
				if _, asked := d.byAccount[e.Account][app]; !asked {
					owed = d.matchApp(owed, e, t, app)
				}
			}
		}
	}
	slices.SortFunc(owed[first:], func(a, b Owed) int { return cmp.Compare(a.Subscription, b.Subscription) })
	return owed, d.version
}

func (d *Directory) matchApp(owed []Owed, e *Event, t *EventType, app string) []Owed {
	entry := d.apps[app]
	if entry == nil {
		return owed // installed, and since deleted
	}
	for _, s := range entry.subscriptions {
		if d.verdict(e, t, s, entry.App) == Entitled {
			owed = append(owed, Owed{Subscription: s.Key, Generation: s.Generation})
		}
	}
	return owed
}

// Verdict says whether the subscription is owed the event, as things stand now.
func (d *Directory) Verdict(e *Event, t *EventType, k SubscriptionKey) (Verdict, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s := d.subscriptions[k]
	if s == nil {
		return 0, false
	}
	return d.verdict(e, t, s, d.apps[s.App].App), true
}

// Version returns a number that changes with every change.
func (d *Directory) Version() int64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.version
}

// Subscription returns a subscription and its app, or nil.
func (d *Directory) Subscription(k SubscriptionKey) (*Subscription, *App) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s := d.subscriptions[k]
	if s == nil {
		return nil, nil
	}
	return s, d.apps[s.App].App
}

// App returns an app, or nil.
func (d *Directory) App(id string) *App {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if e := d.apps[id]; e != nil {
		return e.App
	}
	return nil
}

// Limits returns what an endpoint may be given: the least that any active
// subscription to it allows, where one that says nothing of requests in flight
// allows inFlight.
func (d *Directory) Limits(url string, inFlight int) Limits {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var m Limits
	for k := range d.byURL[url] {
		s := d.subscriptions[k]
		if e := s.Serving(d.apps[s.App].App); e.URL != url || !e.Active() {
			continue
		}
		if n := cmp.Or(s.Limits.InFlight, inFlight); m.InFlight == 0 || n < m.InFlight {
			m.InFlight = n
		}
		if r := s.Limits.PerSecond; r > 0 && (m.PerSecond == 0 || r < m.PerSecond) {
			m.PerSecond = r
		}
	}
	m.InFlight = cmp.Or(m.InFlight, inFlight)
	return m
}

// Authorized reports whether the app may act for the whole account: its owner, or
// one that has installed it.
func (d *Directory) Authorized(app, account string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	e := d.apps[app]
	return e != nil && d.installed(e.App, account, nil)
}

// AuthorizedBy reports whether the app may act for this user: the user or the whole
// account has installed it, or owns it.
func (d *Directory) AuthorizedBy(app, account, user string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	e := d.apps[app]
	return e != nil && d.installed(e.App, account, []string{user})
}

// User returns a user of an account, or nil. Somebody who has installed an app is
// known by that.
func (d *Directory) User(account, id string) *User {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if u := d.users[account][id]; u != nil {
		return u
	}
	for app := range d.byAccount[account] {
		if _, ok := d.installations[app][account][id]; ok && id != "" {
			return &User{Account: account, ID: id}
		}
	}
	return nil
}

// Group reports whether the account has such a group of users.
func (d *Directory) Group(account, id string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	_, ok := d.groups[Group{account, id}]
	return ok
}

// Users returns the users of an account by id.
func (d *Directory) Users(account string) []*User {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.SortedFunc(maps.Values(d.users[account]), func(a, b *User) int { return cmp.Compare(a.ID, b.ID) })
}

// Groups returns the ids of an account's groups, sorted.
func (d *Directory) Groups(account string) (ids []string) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for g := range d.groups {
		if g.Account == account {
			ids = append(ids, g.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// Client returns the app with this client id, or nil.
func (d *Directory) Client(id string) *App {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if e := d.apps[d.byClient[id]]; e != nil {
		return e.App
	}
	return nil
}

// Account returns an account, or nil.
func (d *Directory) Account(id string) *Account {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.accounts[id]
}

// Accounts returns all accounts by id.
func (d *Directory) Accounts() []*Account {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.SortedFunc(maps.Values(d.accounts), func(a, b *Account) int { return cmp.Compare(a.ID, b.ID) })
}

// Apps returns all apps by name.
func (d *Directory) Apps() []*App {
	d.mu.RLock()
	defer d.mu.RUnlock()
	apps := make([]*App, 0, len(d.apps))
	for _, e := range d.apps {
		apps = append(apps, e.App)
	}
	slices.SortFunc(apps, func(a, b *App) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return apps
}

// Subscriptions returns the subscriptions of an app, or all if app is empty, by
// creation to the millisecond: more exact the store does not have it, and the order
// has to be the same after a restart.
func (d *Directory) Subscriptions(app string) []*Subscription {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var subs []*Subscription
	if app == "" {
		subs = slices.Collect(maps.Values(d.subscriptions))
	} else if e := d.apps[app]; e != nil {
		subs = slices.Clone(e.subscriptions)
	}
	slices.SortFunc(subs, func(a, b *Subscription) int {
		return cmp.Or(cmp.Compare(a.Created.UnixMilli(), b.Created.UnixMilli()), cmp.Compare(a.Key, b.Key))
	})
	return subs
}

// Installations returns the installations of an app, or all if app is empty.
func (d *Directory) Installations(app string) []Installation {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var all []Installation
	for id, accounts := range d.installations {
		for account, users := range accounts {
			for user := range users {
				if app == "" || app == id {
					all = append(all, Installation{id, account, user})
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b Installation) int {
		return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Account, b.Account), cmp.Compare(a.User, b.User))
	})
	return all
}
