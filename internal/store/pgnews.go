package store

import (
	"context"
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
// are must not wait for anything, but Catalog may read the store.
type News struct {
	// Changed is called with a change that another process has stored, before the directory
	// has it, and returns what is called after.
	Changed func(*hook.Change) (after func())
	// Catalog says that event types were imported or are checked in another way. If they
	// cannot be read, it is called again.
	Catalog func() error
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
