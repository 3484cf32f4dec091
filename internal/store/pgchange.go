package store

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/switchhook/switchhook/internal/hook"
)

// touched says what a change was about.
type touched struct {
	Accounts      []string               `json:"accounts,omitempty"`
	Users         [][2]string            `json:"users,omitempty"`
	Groups        []hook.Group           `json:"groups,omitempty"`
	Apps          []string               `json:"apps,omitempty"`
	Installations []hook.Installation    `json:"installations,omitempty"`
	Subscriptions []hook.SubscriptionKey `json:"subscriptions,omitempty"`
	Catalog       bool                   `json:"catalog,omitempty"`
}

func touchedBy(c *hook.Change) touched {
	t := touched{Groups: slices.Concat(c.Groups, c.RemoveGroups), Installations: slices.Concat(c.Installations, c.RemoveInstallations), Apps: slices.Clone(c.RemoveApps), Subscriptions: slices.Clone(c.RemoveSubscriptions)}
	for _, a := range c.Accounts {
		t.Accounts = append(t.Accounts, a.ID)
	}
	for _, u := range c.Users {
		t.Users = append(t.Users, [2]string{u.Account, u.ID})
	}
	for _, u := range c.RemoveUsers {
		t.Users = append(t.Users, [2]string{u.Account, u.ID})
	}
	for _, a := range c.Apps {
		t.Apps = append(t.Apps, a.ID)
	}
	for _, s := range c.Subscriptions {
		t.Subscriptions = append(t.Subscriptions, s.Key)
	}
	return t
}

func (t *touched) add(u touched) {
	t.Accounts, t.Users, t.Groups = append(t.Accounts, u.Accounts...), append(t.Users, u.Users...), append(t.Groups, u.Groups...)
	t.Apps, t.Installations, t.Subscriptions = append(t.Apps, u.Apps...), append(t.Installations, u.Installations...), append(t.Subscriptions, u.Subscriptions...)
	t.Catalog = t.Catalog || u.Catalog
}

// keepChanges is how many changes are kept for those who missed them. Who missed more
// reads everything again.
const keepChanges = 1000

// putChange makes the transaction's change the next version, and tells the others.
func (p *postgresDB) putChange(t *pgTx, what touched) error {
	text, err := json.Marshal(what)
	if err != nil {
		return err
	}
	return firstError(
		t.query(`UPDATE platform SET version = version + 1 RETURNING version`, none1),
		t.query(`INSERT INTO changes (version, touched) VALUES ($1, $2) RETURNING 1`, none1, t.version+1, string(text)),
		t.query(`DELETE FROM changes WHERE version <= $1 RETURNING 1`, none1, t.version-keepChanges),
		p.tell(t, tellDirectory))
}

// readAside is for what others may have to wait for: it does not take longer than a
// statement may.
func (p *postgresDB) readAside(ctx context.Context, f func(tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, lasting)
	defer cancel()
	return p.readFrom(ctx, p.aside, f)
}

// catchUp makes the directory be as the database is, or was a moment ago.
func (p *postgresDB) catchUp(ctx context.Context) error {
	p.changing.Lock()
	defer p.changing.Unlock()
	if p.db == nil {
		return nil // it has not been read yet
	}
	known := p.directory.Version()
	var version int64
	var c hook.Change
	var what touched
	err := p.readAside(ctx, func(x tx) error {
		var err error
		if version, err = p.version(x); err != nil || version == known {
			return err
		}
		next := known + 1
		err = x.query(`SELECT version, touched FROM changes WHERE version > $1 ORDER BY version`, func(r row) error {
			var one touched
			if r.int(0) == next {
				next++
			}
			err := json.Unmarshal([]byte(r.text(1)), &one)
			what.add(one)
			return err
		}, known)
		if err != nil {
			return err
		}
		if next <= version { // some are not there any more
			what.Catalog = true
			c, err = p.db.readDirectory(x)
			removeMissing(p.directory, &c)
			return err
		}
		c, err = p.db.readTouched(x, &what)
		return err
	})
	if err != nil || version == known {
		return err
	}
	to := p.news.to.Load()
	if what.Catalog && to != nil && to.Catalog != nil {
		if err := to.Catalog(); err != nil { // before the version says that it is known
			return err
		}
	}
	var after func()
	if to != nil && to.Changed != nil {
		after = to.Changed(&c)
	}
	p.directory.Load(c, version)
	if after != nil {
		after()
	}
	return nil
}

// learn makes the directory know of a change that this process has stored as a version,
// unless it has read that already.
func (p *postgresDB) learn(c hook.Change, version int64) {
	p.changing.Lock()
	defer p.changing.Unlock()
	if p.directory.Version() == version-1 {
		p.directory.Load(c, version)
	}
}

// removeMissing makes c, which is all that there is, remove what the directory has
// beside that.
func removeMissing(d *hook.Directory, c *hook.Change) {
	subs, apps, installed := map[hook.SubscriptionKey]bool{}, map[string]bool{}, map[hook.Installation]bool{}
	for _, s := range c.Subscriptions {
		subs[s.Key] = true
	}
	for _, a := range c.Apps {
		apps[a.ID] = true
	}
	for _, i := range c.Installations {
		installed[i] = true
	}
	for _, s := range d.Subscriptions("") {
		if !subs[s.Key] {
			c.RemoveSubscriptions = append(c.RemoveSubscriptions, s.Key)
		}
	}
	for _, a := range d.Apps() {
		if !apps[a.ID] {
			c.RemoveApps = append(c.RemoveApps, a.ID)
		}
	}
	for _, i := range d.Installations("") {
		if !installed[i] {
			c.RemoveInstallations = append(c.RemoveInstallations, i)
		}
	}
	users, groups := map[[2]string]bool{}, map[hook.Group]bool{}
	for _, u := range c.Users {
		users[[2]string{u.Account, u.ID}] = true
	}
	for _, g := range c.Groups {
		groups[g] = true
	}
	for _, a := range d.Accounts() {
		for _, u := range d.Users(a.ID) {
			if !users[[2]string{u.Account, u.ID}] {
				c.RemoveUsers = append(c.RemoveUsers, *u)
			}
		}
		for _, id := range d.Groups(a.ID) {
			if g := (hook.Group{Account: a.ID, ID: id}); !groups[g] {
				c.RemoveGroups = append(c.RemoveGroups, g)
			}
		}
	}
}

// readTouched reads what changes were about, as it is now.
func (db *DB) readTouched(t tx, what *touched) (c hook.Change, err error) {
	for _, id := range what.Accounts {
		err = firstError(err, t.query(selectAccounts+`WHERE id = $1`, func(r row) error { c.Accounts = append(c.Accounts, scanAccount(r)); return nil }, id))
	}
	for _, g := range what.Groups {
		n := len(c.Groups)
		err = firstError(err, t.query(selectGroups+`WHERE account_id = $1 AND id = $2`, func(r row) error { c.Groups = append(c.Groups, scanGroup(r)); return nil }, g.Account, g.ID))
		if n == len(c.Groups) {
			c.RemoveGroups = append(c.RemoveGroups, g)
		}
	}
	for _, k := range what.Users {
		n := len(c.Users)
		err = firstError(err, t.query(selectUsers+`WHERE account_id = $1 AND id = $2`, func(r row) error {
			u, err := scanUser(r)
			c.Users = append(c.Users, u)
			return err
		}, k[0], k[1]))
		if n == len(c.Users) {
			c.RemoveUsers = append(c.RemoveUsers, hook.User{Account: k[0], ID: k[1]})
		}
	}
	for _, id := range what.Apps {
		n := len(c.Apps)
		err = firstError(err, t.query(`SELECT `+appColumns+` FROM apps WHERE id = $1`, func(r row) error {
			a, err := db.scanApp(r)
			c.Apps = append(c.Apps, a)
			return err
		}, id))
		if n == len(c.Apps) {
			c.RemoveApps = append(c.RemoveApps, id)
		}
	}
	for _, i := range what.Installations {
		n := len(c.Installations)
		err = firstError(err, t.query(selectInstallations+`WHERE app_id = $1 AND account_id = $2 AND user_id = $3`, func(r row) error {
			c.Installations = append(c.Installations, scanInstallation(r))
			return nil
		}, i.App, i.Account, i.User))
		if n == len(c.Installations) {
			c.RemoveInstallations = append(c.RemoveInstallations, i)
		}
	}
	for _, k := range what.Subscriptions {
		n := len(c.Subscriptions)
		err = firstError(err, t.query(selectSubscriptions+`WHERE key = $1 AND deleted = 0`, func(r row) error {
			s, err := db.scanSubscription(r)
			c.Subscriptions = append(c.Subscriptions, s)
			return err
		}, int64(k)))
		if n == len(c.Subscriptions) {
			c.RemoveSubscriptions = append(c.RemoveSubscriptions, k)
		}
	}
	return c, err
}
