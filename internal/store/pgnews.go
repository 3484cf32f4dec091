package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// News are what a node learns of the others. Nil functions are not called; those there
// are must not wait for anything.
type News struct {
	// Changed is called with a change that another process has stored, before the directory
	// has it, and returns what is called after.
	Changed func(*hook.Change) (after func())
	// Catalog says that event types were imported or are checked in another way.
	Catalog func()
	// Work says that there are deliveries for these subscriptions that somebody may have
	// room for, in nobody's hand; nil: perhaps for any.
	Work func([]hook.SubscriptionKey)
	// Nodes says that a node came or went.
	Nodes func()
	// Mail says that a mail may be in nobody's hand.
	Mail func()
	// Mark says that somebody waits until it is decided of all events up to an id whether
	// this node stores them.
	Mark func(hook.EventID)
}

// Listen makes n be told. It is called once, before anything is delivered.
func (db *DB) Listen(n News) {
	if p, ok := db.sql.(*postgresDB); ok {
		p.news.to.Store(&n)
		p.news.add(tellAll)
	}
}

// Tell lets the other nodes know that subscriptions have deliveries in nobody's hand
// that this one has no room for. It costs next to nothing: what is told within a moment
// is told together.
func (db *DB) Tell(keys ...hook.SubscriptionKey) {
	p, ok := db.sql.(*postgresDB)
	if !ok {
		return
	}
	list := make([]string, len(keys))
	for i, k := range keys {
		list[i] = tellWork + strconv.FormatInt(int64(k), 36)
	}
	p.news.say(list...)
}

// What nodes tell each other is a letter. It comes after the name of the process that
// says it, for nobody has to be told what it has said.
const (
	tellDirectory = "d"
	tellNodes     = "n" // a node came
	tellLeft      = "l" // a node went
	tellWork      = "w" // a subscription follows
	tellMark      = "m" // an event's id follows, for which somebody waits
	tellAll       = "a" // it is not known what there is to know

	// tellEvery is how often a node tells others of work, and tellAtOnce of how much
	// at a time: beyond that it says that there is some.
	tellEvery  = 50 * time.Millisecond
	tellAtOnce = 200
)

// channel is what this platform's nodes listen to. There may be several platforms in a
// database, in schemas of their own.
func (p *postgresDB) channel() string { return fmt.Sprint("switchhook_", p.locks) }

// tell tells the other nodes when the transaction commits. It is for what happens
// rarely: those who tell commit one after the other.
func (p *postgresDB) tell(t tx, what string) error {
	return t.query(`SELECT pg_notify($1, $2)`, none1, p.channel(), p.process+" "+what)
}

// news passes on what nodes tell each other.
type news struct {
	db *postgresDB
	to atomic.Pointer[News]

	mu    sync.Mutex
	told  map[string]bool // to be told to the others
	heard map[string]bool // to be passed on here
	ring  chan struct{}   // there is something in one of them
}

func newNews(p *postgresDB) *news {
	return &news{db: p, told: map[string]bool{}, heard: map[string]bool{}, ring: make(chan struct{}, 1)}
}

func (n *news) put(into *map[string]bool, list []string) {
	n.mu.Lock()
	for _, x := range list {
		(*into)[x] = true
	}
	n.mu.Unlock()
	select {
	case n.ring <- struct{}{}:
	default: // it will look anyway
	}
}

// say has something told to the others, and add passed on here.
func (n *news) say(list ...string) { n.put(&n.told, list) }
func (n *news) add(list ...string) { n.put(&n.heard, list) }

// take returns what has gathered, and begins anew.
func (n *news) take() (told []string, heard map[string]bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for x := range n.told {
		told = append(told, x)
	}
	heard = n.heard
	n.told, n.heard = map[string]bool{}, map[string]bool{}
	slices.Sort(told)
	return told, heard
}

// run passes news on until ctx is done.
func (n *news) run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { n.listen(ctx) })
	all.Go(func() { n.db.watchLog(ctx) })
	all.Go(func() { n.db.watchEvents(ctx) })
	defer all.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.ring:
		}
		told, heard := n.take()
		n.pass(ctx, heard)
		if len(told) > 0 {
			n.spread(told)
			select { // what comes meanwhile is told together
			case <-ctx.Done():
				return
			case <-time.After(tellEvery):
			}
		}
	}
}

// spread tells the others.
func (n *news) spread(told []string) {
	p := n.db
	if len(told) > tellAtOnce {
		told = []string{tellAll}
	}
	err := p.writeOn(context.Background(), p.aside, func(t tx) error { return p.tell(t, strings.Join(told, ",")) })
	if err != nil {
		p.log.Debug("the other nodes could not be told; they will find out", "err", err)
	}
}

// listen hears what others tell until ctx is done. While it cannot, it does not know
// what there is to know.
func (n *news) listen(ctx context.Context) {
	for ctx.Err() == nil {
		err := n.hear(ctx)
		if err != nil && ctx.Err() == nil {
			n.db.log.Debug("the other nodes cannot be heard; trying again", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// silence is how long nothing may be heard before the connection is looked at.
const silence = 5 * time.Second

func (n *news) hear(ctx context.Context) error {
	s, err := n.db.connect(ctx, "listen")
	if err != nil {
		return err
	}
	defer s.close()
	s.heard = func(from, text string) {
		process, what, ok := strings.Cut(text, " ")
		if ok && process != n.db.process && from == n.db.channel() {
			n.add(strings.Split(what, ",")...)
		}
	}
	if err := s.simple(ctx, "LISTEN "+n.db.channel()); err != nil {
		return err
	}
	n.add(tellAll)
	for {
		waiting, cancel := context.WithTimeout(ctx, silence)
		err := s.conn.WaitForNotification(waiting)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if s.conn.IsClosed() || err != nil && waiting.Err() == nil {
			return err
		}
		if err != nil { // nobody said anything
			asking, cancel := context.WithTimeout(ctx, silence)
			err := s.simple(asking, "SELECT 1")
			cancel()
			if err != nil {
				return err
			}
		}
	}
}

// pass passes on what was heard.
func (n *news) pass(ctx context.Context, heard map[string]bool) {
	to := n.to.Load()
	if to == nil || len(heard) == 0 {
		return
	}
	all := heard[tellAll]
	if all || heard[tellDirectory] {
		if err := n.db.catchUp(ctx); err != nil && ctx.Err() == nil {
			n.db.log.Warn("what another node has changed could not be read; trying again", "err", err)
			time.AfterFunc(250*time.Millisecond, func() { n.add(tellDirectory) })
		}
	}
	if (all || heard[tellNodes] || heard[tellLeft]) && to.Nodes != nil {
		to.Nodes()
	}
	if (all || heard[tellLeft]) && to.Mail != nil {
		to.Mail()
	}
	var keys []hook.SubscriptionKey
	var mark int64
	for what := range heard {
		if text, ok := strings.CutPrefix(what, tellMark); ok {
			if id, err := strconv.ParseInt(text, 36, 64); err == nil {
				mark = max(mark, id)
			}
		}
		if text, ok := strings.CutPrefix(what, tellWork); ok {
			if k, err := strconv.ParseInt(text, 36, 64); err == nil {
				keys = append(keys, hook.SubscriptionKey(k))
			}
		}
	}
	if mark > 0 && to.Mark != nil {
		to.Mark(hook.EventID(mark))
	}
	switch {
	case to.Work == nil:
	case all || heard[tellLeft]:
		to.Work(nil)
	case len(keys) > 0:
		slices.Sort(keys)
		to.Work(keys)
	}
}

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

func (p *postgresDB) readAside(ctx context.Context, f func(tx) error) error {
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
	err := p.readFrom(ctx, p.aside, func(x tx) error {
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
	var after func()
	if to != nil && to.Changed != nil {
		after = to.Changed(&c)
	}
	p.directory.Load(c, version)
	if after != nil {
		after()
	}
	if what.Catalog && to != nil && to.Catalog != nil {
		to.Catalog()
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

// logEvery is how often those who follow the log are told of what other nodes have added
// to it.
const logEvery = 200 * time.Millisecond

// watchLog wakes those who follow the log when there are rows that they may not have
// read: above the horizon, or below it since somebody else has read them.
func (p *postgresDB) watchLog(ctx context.Context) {
	t := time.NewTicker(logEvery)
	defer t.Stop()
	var known int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if !p.followers.some.Load() {
			continue
		}
		fresh := true // also if that cannot be found out
		_ = p.readFrom(ctx, p.aside, func(t tx) error {
			return t.query(selectHorizon, func(r row) error {
				fresh, known = r.int(1) > r.int(0) || r.int(1) != known, r.int(1)
				return nil
			})
		})
		if fresh {
			p.followers.wake()
		}
	}
}

// eventsEvery is how often those who follow events are told of what other nodes have
// accepted, and those nodes that somebody waits for them.
const eventsEvery = 200 * time.Millisecond

// watchEvents wakes those who follow events, where nodes are several, when one may have
// stored some or has said up to which id it will store none, and has all say so.
func (p *postgresDB) watchEvents(ctx context.Context) {
	t := time.NewTicker(eventsEvery)
	defer t.Stop()
	var known [2]int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if !p.listeners.some.Load() {
			continue
		}
		several, fresh := true, true // also if that cannot be found out
		var lowest, newest int64
		_ = p.readFrom(ctx, p.aside, func(t tx) error {
			return t.query(selectMarks, func(r row) error {
				lowest, newest = r.int(1), r.int(2)
				several, fresh = r.int(0) > 1, [2]int64{lowest, newest} != known
				return nil
			})
		})
		if several && fresh {
			known = [2]int64{lowest, newest}
			p.listeners.wake()
		}
		if several && newest > lowest {
			p.askMarks(hook.EventID(newest))
		}
	}
}

// askMarks has all nodes, and this one, say up to which id they will store no event: up to
// this one if they can.
func (p *postgresDB) askMarks(id hook.EventID) {
	what := tellMark + strconv.FormatInt(int64(id), 36)
	p.news.say(what)
	p.news.add(what)
}

func (p *postgresDB) followEvents() (<-chan struct{}, func()) { return p.listeners.follow() }

const selectHorizon = `SELECT horizon, coalesce((SELECT max(id) FROM attempts), 0) FROM platform`

// horizonPause is how long the horizon stays where it is at least.
const horizonPause = 20 * time.Millisecond

// decided moves the log's horizon up to its last row and returns it: every row up to
// there is committed, or never will be, whoever writes it. What is written from then on
// has higher ids. Where that would take long, the horizon stays where it was.
func (p *postgresDB) decided(ctx context.Context) (int64, error) {
	p.horizonMu.Lock()
	defer p.horizonMu.Unlock()
	var horizon, last int64
	look := func(t tx) error {
		return t.query(selectHorizon, func(r row) error {
			horizon, last = r.int(0), r.int(1)
			return nil
		})
	}
	if err := p.readFrom(ctx, p.aside, look); err != nil || last <= horizon {
		return horizon, err
	}
	if wait := horizonPause - time.Since(p.moved); wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	busy := false
	err := p.writeOn(ctx, p.aside, func(t tx) error {
		for _, query := range []string{"SET LOCAL lock_timeout = '50ms'", fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", p.lock(lockLog)), "SET LOCAL lock_timeout = 0"} {
			if err := t.query(query, none1); err != nil {
				busy = codeOf(err) == codeLockTimeout
				return err
			}
		}
		if err := look(t); err != nil {
			return err
		}
		return t.query(`UPDATE platform SET horizon = $1 WHERE horizon < $1 RETURNING 1`, none1, last)
	})
	p.moved = time.Now()
	if busy {
		return horizon, nil
	}
	return max(horizon, last), err
}
