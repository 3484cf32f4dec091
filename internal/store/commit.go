package store

import (
	"errors"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/intake"
)

const (
	// batchRows bounds a transaction, so that nobody waits long for its commit.
	batchRows = 4096

	// Under load the committer lingers before a commit, to have more in it: each commit
	// waits for the disk, and costs the same again however little is in it. Below the
	// rate, in rows a second, nothing waits.
	lingerRate = 10_000
	lingerRows = 1000
	maxLinger  = 3 * time.Millisecond

	// lazyWait is how long what nobody waits for may wait for a commit to go with.
	lazyWait = 20 * time.Millisecond

	// patience is for how long a database on a network may be silent before nobody is let
	// wait for it any more who need not.
	patience = 5 * time.Second
)

// unit is what is committed whole or not at all.
type unit struct {
	publish []*intake.Publication
	finish  *deliver.Finished
	call    func(tx) error
	many    int // rows that call writes, if they are many
	// alone asks for a transaction in which nothing follows, so that after has run
	// before the next unit begins.
	alone  bool
	after  func()
	change *changing  // of what is configured
	done   chan error // for publish and call
}

func (u *unit) rows() int {
	n := 1
	for _, p := range u.publish {
		n += 1 + len(p.Owed)
	}
	return n
}

func (u *unit) end(err error) {
	switch {
	case u.finish != nil:
		u.finish.Done(err)
	case u.done != nil:
		u.done <- err
	}
}

// engine is what a committer commits with.
type engine interface {
	// transact stores the units in one transaction, all of them or none.
	transact([]unit) error
	// outOfOrder reports whether it is the database that failed, and not a statement.
	outOfOrder(error) bool
	// rest is called after each transaction, when those who waited for it know.
	rest()
}

// committer is a goroutine that commits together whatever has gathered while it was
// busy with the commit before.
type committer struct {
	engine   engine
	observer func(Commit) // nil: nobody
	log      *slog.Logger
	// patience is how long a transaction may take before what is not in it is refused
	// until it is over. 0: as long as it wants.
	patience time.Duration

	mu       sync.Mutex
	queue    []unit
	refusing error // why nothing is taken at present
	closing  bool
	wake     chan struct{}
	stopped  chan struct{}

	lazy    atomic.Bool // a wake-up for what is queued lazily is set
	load    load
	trouble trouble
}

func newCommitter(e engine, o Options) *committer {
	return &committer{engine: e, observer: o.Observe, log: o.Log, wake: make(chan struct{}, 1), stopped: make(chan struct{})}
}

// submit queues a unit.
func (c *committer) submit(u unit) {
	c.mu.Lock()
	err := c.refusing
	if c.closing {
		err = errClosed
	}
	if err == nil {
		c.queue = append(c.queue, u)
	}
	c.mu.Unlock()
	switch {
	case err != nil:
		u.end(err)
	case u.finish != nil && u.finish.Lazy:
		if c.lazy.CompareAndSwap(false, true) {
			time.AfterFunc(lazyWait, func() {
				c.lazy.Store(false)
				c.wakeUp()
			})
		}
	default:
		c.wakeUp()
	}
}

// do submits a unit and waits for its end.
func (c *committer) do(u unit) error {
	u.done = make(chan error, 1)
	c.submit(u)
	return <-u.done
}

func (c *committer) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default: // it will look anyway
	}
}

var errClosed = errors.New("store: closed")

// run commits what is queued until the committer is closed.
func (c *committer) run() {
	defer close(c.stopped)
	for range c.wake {
		for {
			c.linger()
			c.mu.Lock()
			batch, rows := c.cut()
			closing := c.closing && len(c.queue) == 0
			c.mu.Unlock()
			if len(batch) == 0 {
				if closing {
					return
				}
				break
			}
			c.commitInTime(batch)
			c.load.add(rows, time.Now())
			clear(batch)
		}
	}
}

// close ends the committer when what is queued has been committed.
func (c *committer) close() {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	c.wakeUp()
	<-c.stopped
}

// refuse ends what is queued, and what will be submitted, with an error, until it is
// called with nil.
func (c *committer) refuse(err error) {
	if err != nil {
		tell(c.observer, nil, time.Now(), err)
		err = unavailable(err)
	}
	c.mu.Lock()
	c.refusing = err
	var refused []unit
	if err != nil {
		refused, c.queue = c.queue, nil
	}
	c.mu.Unlock()
	for i := range refused {
		refused[i].end(err)
	}
}

func (c *committer) isClosing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing
}

// load is how fast rows come in, lately.
type load struct {
	rate float64 // rows a second
	last time.Time
}

// loadMemory is how far back the rate looks.
const loadMemory = 20 * time.Millisecond

// add takes note of a commit.
func (l *load) add(rows int, now time.Time) {
	since := now.Sub(l.last)
	if since <= 0 {
		return
	}
	weight := 1 - math.Exp(-since.Seconds()/loadMemory.Seconds())
	l.rate += (float64(rows)/since.Seconds() - l.rate) * weight
	l.last = now
}

// linger waits for more to commit, if more is sure to come.
func (c *committer) linger() {
	if c.load.rate < lingerRate {
		return
	}
	c.mu.Lock()
	missing := lingerRows - len(c.queue)
	c.mu.Unlock()
	if missing > 0 {
		time.Sleep(min(maxLinger, time.Duration(float64(missing)/c.load.rate*float64(time.Second))))
	}
}

// cut takes the units of the next transaction off the queue.
func (c *committer) cut() (batch []unit, rows int) {
	// What comes in large pieces is no reason to linger: none of it comes alone.
	n, full := 0, 0
	for n < len(c.queue) && rows+full < batchRows {
		u := &c.queue[n]
		rows += u.rows()
		full += u.many
		n++
		if u.alone {
			break
		}
	}
	batch = c.queue[:n:n]
	if c.queue = c.queue[n:]; len(c.queue) == 0 {
		c.queue = nil
	}
	return batch, rows
}

var errSilent = errors.New("the database has been silent for seconds")

// commitInTime commits the units, however long that takes. Others are not let wait as
// long: nothing of them was sent to the database, so they can be told.
func (c *committer) commitInTime(batch []unit) {
	if c.patience == 0 {
		c.commit(batch)
		return
	}
	ended, told := make(chan struct{}), make(chan struct{})
	t := time.AfterFunc(c.patience, func() {
		defer close(told)
		c.mu.Lock()
		doubted := c.refusing != nil
		c.mu.Unlock()
		if !doubted { // else they are told so
			c.refuse(errSilent)
		}
		<-ended
		c.refuse(nil)
	})
	c.commit(batch)
	close(ended)
	if !t.Stop() {
		<-told
	}
}

// commit stores the units in one transaction. If that fails through the fault of
// one of them, each gets a transaction of its own, so that none has to suffer
// for another.
func (c *committer) commit(batch []unit) {
	began := time.Now()
	err := c.engine.transact(batch)
	if err != nil && len(batch) > 1 && !c.engine.outOfOrder(err) {
		for i := range batch {
			c.commit(batch[i : i+1])
		}
		return
	}
	c.report(err, len(batch))
	var refused error
	if err != nil && c.engine.outOfOrder(err) {
		refused, err = err, unavailable(err)
	}
	tell(c.observer, batch, began, refused)
	for i := range batch {
		u := &batch[i]
		if err == nil && u.after != nil {
			u.after()
		}
		u.end(err)
	}
	c.engine.rest()
}

// trouble is a time in which nothing can be written.
type trouble struct {
	since, said time.Time
	refused     int
}

// sayAgain is how often trouble is logged: the log may be on the same full disk.
const sayAgain = 10 * time.Second

// report logs when writing begins to fail, that it goes on failing, and its end.
func (c *committer) report(err error, units int) {
	t := &c.trouble
	switch now := time.Now(); {
	case err != nil && c.engine.outOfOrder(err):
		if t.since.IsZero() {
			t.since = now
		}
		if t.refused += units; now.Sub(t.said) >= sayAgain {
			t.said = now
			c.log.Error("the store cannot write; it tries again with every request", "err", err, "since", t.since, "refused", t.refused)
		}
	case err == nil && !t.since.IsZero():
		c.log.Warn("the store can write again", "after", now.Sub(t.since).Round(time.Millisecond), "refused", t.refused)
		*t = trouble{}
	}
}
