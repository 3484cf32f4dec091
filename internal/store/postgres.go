package store

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/switchhook/switchhook/internal/hook"
)

// postgresDB writes through two goroutines, each with a connection: what is published
// and what was attempted is written by one, as rows in bulk, and everything else by the
// other, so that a change of many steps holds nobody up. A few other connections
// read, and do what must not wait for either.
type postgresDB struct {
	config     *pgconn.Config
	log        *slog.Logger
	renewed    func(error) // nil: nobody wants to know
	db         *DB         // nil until the directory has been read
	directory  *hook.Directory
	typeNumber func(name string) int64
	locks      int64 // the first of our advisory locks

	hot, calls *committer
	writers    [2]*writer
	pool       *sessions
	urgent     *sessions
	beside     *sessions // writes
	members    *sessions // changes who is a node
	heart      *sessions // says that this one lives
	aside      *sessions // for what may be asked in the middle of something else; it waits for nothing itself

	// process is this one's name on the server, and in its node's row.
	process, host, programVersion string

	selfMu sync.Mutex
	self   atomic.Pointer[self]

	news     *news
	stopNews func()
	changing sync.Mutex // held while the directory is brought up to date

	sightings sightings

	horizonMu sync.Mutex
	moved     time.Time // when the horizon was moved last

	targets   targets
	divisions divisions
	followers followers // of the log
	listeners followers // of events
}

// The advisory locks of a database.
const (
	lockNodes     = iota // one at a time changes who is a node
	lockCalls            // one at a time writes what is not written in bulk
	lockDirectory        // shared by who relies on what is configured, exclusive for who changes it
	lockLog              // shared by who writes to the log, exclusive for who moves its horizon
	lockDivisions        // one at a time makes divisions
	lockDrop             // and drops them
	lockCount
)

// lockMigrate is for the time when there is nothing yet that others could be made from.
const lockMigrate = applicationID

func openPostgres(ctx context.Context, dir *hook.Directory, typeNumber func(string) int64, o Options) (_ *postgresDB, err error) {
	p := &postgresDB{
		log: o.Log, renewed: o.Renewed, directory: dir, typeNumber: typeNumber, stopNews: func() {},
		process: strings.ToLower(rand.Text())[:16], host: o.Host, programVersion: o.Version,
	}
	p.news = newNews(p)
	p.self.Store(nobody(0))
	if p.config, err = configPG(o.Database); err != nil {
		return nil, err
	}
	p.config.OnNotification = func(c *pgconn.PgConn, n *pgconn.Notification) {
		if s, ok := c.CustomData()[sessionKey].(*session); ok && s.heard != nil {
			s.heard(n.Channel, n.Payload)
		}
	}
	p.divisions = divisions{db: p, width: divisionWidth(o.Retention)}
	p.targets.numbers = map[hook.Target]int64{}
	p.pool, p.urgent, p.beside = p.newSessions("read", readers), p.newSessions("urgent", urgents), p.newSessions("beside", urgents)
	p.members, p.heart, p.aside = p.newSessions("members", 1), p.newSessions("heart", 1), p.newSessions("aside", 1)
	p.hot, p.calls = newCommitter(&bulkEngine{engineState{p: p}}, o), newCommitter(&callEngine{engineState{p: p}}, o)
	p.hot.patience = patience
	for i, c := range []*committer{p.hot, p.calls} {
		p.writers[i] = &writer{db: p, name: []string{"bulk", "calls"}[i], doubt: c.refuse, giveUp: c.isClosing}
	}
	defer func() {
		if err != nil {
			p.release()
		}
	}()
	if err := p.start(ctx, o); err != nil {
		return nil, err
	}
	go p.hot.run()
	go p.calls.run()
	return p, nil
}

// opened is called when the directory has been read. It begins to listen to the other nodes, for a process that delivers.
func (p *postgresDB) opened(db *DB, deliver bool) {
	p.changing.Lock()
	p.db = db
	p.changing.Unlock()
	if !deliver {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	p.stopNews = func() { stop(); <-ended }
	go func() {
		defer close(ended)
		p.news.run(ctx)
	}()
}

// start brings the schema up to date and finds out what must be known.
func (p *postgresDB) start(ctx context.Context, o Options) error {
	s, err := p.connect(ctx, "start")
	if err != nil {
		return explainPG(err)
	}
	defer s.close()
	if err := p.checkServer(ctx, s); err != nil {
		return err
	}
	if err := migratePG(ctx, s, o.Existing, p.log); err != nil {
		return err
	}
	err = s.query(ctx, `SELECT CAST(CAST(CAST('platform' AS regclass) AS oid) AS bigint)`, func(r row) error { p.locks = r.int(0) * lockCount; return nil })
	if err != nil {
		return err
	}
	if o.Deliver {
		if err := s.simple(ctx, `DELETE FROM writers WHERE touched < now() - interval '30 days'`); err != nil {
			return err
		}
		if err := p.divisions.prepare(ctx, time.Now()); err != nil {
			return err
		}
	}
	var last int64
	if err := s.query(ctx, `SELECT max(id) FROM attempts`, func(r row) error { last = r.int(0); return nil }); err != nil {
		return err
	}
	p.self.Store(nobody(last))
	return nil
}

// lock returns the key of one of the advisory locks.
func (p *postgresDB) lock(n int64) int64 { return p.locks + n }

// sessions are some connections that are made when they are needed.
type sessions struct {
	db    *postgresDB
	name  string
	slots chan *session // nil: to be connected
}

func (p *postgresDB) newSessions(name string, n int) *sessions {
	x := &sessions{p, name, make(chan *session, n)}
	for range n {
		x.slots <- nil
	}
	return x
}

// begin takes a session and begins a transaction on it. It is to be given back.
func (x *sessions) begin(ctx context.Context, begin string) (s *session, err error) {
	select {
	case s = <-x.slots:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for fresh := false; !fresh; {
		if fresh = s == nil || s.conn.IsClosed(); fresh {
			if s, err = x.db.connect(ctx, x.name); err != nil {
				break
			}
		}
		if _, err = s.run(ctx, []statement{{begin, nil}}, nil); err == nil {
			return s, nil
		}
	}
	x.put(s)
	return nil, err
}

func (x *sessions) put(s *session) {
	if s != nil && s.conn.IsClosed() {
		s = nil
	}
	x.slots <- s
}

func (x *sessions) close() {
	for range cap(x.slots) {
		if s := <-x.slots; s != nil {
			s.close()
		}
	}
}

const beginReading = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

func (p *postgresDB) read(ctx context.Context, f func(tx) error) error {
	return p.readFrom(ctx, p.pool, f)
}

func (p *postgresDB) readNow(ctx context.Context, f func(tx) error) error {
	return p.readFrom(ctx, p.urgent, f)
}

func (p *postgresDB) readFrom(ctx context.Context, x *sessions, f func(tx) error) (err error) {
	defer func() {
		if err != nil && ctx.Err() == nil && outOfOrderPG(err) {
			err = unavailable(err)
		}
	}()
	s, err := x.begin(ctx, beginReading)
	if err != nil {
		return err
	}
	defer x.put(s)
	err = f(&pgTx{db: p, s: s, ctx: ctx})
	if !s.conn.IsClosed() {
		if _, endErr := s.run(context.Background(), []statement{{"ROLLBACK", nil}}, nil); err == nil {
			err = endErr
		}
	}
	return err
}

func (p *postgresDB) write(f func(tx) error, after func()) error {
	return p.calls.do(unit{call: f, alone: after != nil, after: after})
}

func (p *postgresDB) writeMany(rows int, f func(tx) error) error {
	return p.calls.do(unit{call: f, many: rows})
}

// writeNow makes a transaction beside all others.
func (p *postgresDB) writeNow(f func(tx) error) error {
	return p.writeOn(context.Background(), p.beside, f)
}

func (p *postgresDB) writeOn(ctx context.Context, x *sessions, f func(tx) error) (err error) {
	s, err := x.begin(ctx, "BEGIN")
	if err != nil {
		return unavailable(err)
	}
	defer x.put(s)
	defer func() {
		if err != nil && outOfOrderPG(err) {
			err = unavailable(err)
		}
	}()
	t := &pgTx{db: p, s: s, ctx: ctx}
	if err := f(t); err != nil {
		if !s.conn.IsClosed() {
			err = errors.Join(err, s.simple(context.Background(), "ROLLBACK"))
		}
		return err
	}
	return s.simple(ctx, "COMMIT")
}

func (p *postgresDB) change(f func(tx) error, what touched, base int64, after func(version int64)) error {
	var version int64
	u := unit{call: f, alone: true, change: &changing{what, base, &version}}
	u.after = func() { after(version) }
	return p.calls.do(u)
}

func (p *postgresDB) follow() (<-chan struct{}, func()) { return p.followers.follow() }

func (p *postgresDB) version(t tx) (version int64, err error) {
	err = t.query(`SELECT version FROM platform`, func(r row) error { version = r.int(0); return nil })
	return version, err
}

func (p *postgresDB) close() error {
	p.stopNews()
	p.hot.close()
	p.calls.close()
	p.release()
	return nil
}

func (p *postgresDB) release() {
	for _, w := range p.writers {
		w.close()
	}
	for _, x := range []*sessions{p.pool, p.urgent, p.beside, p.members, p.heart, p.aside} {
		x.close()
	}
}

// query is run for one statement.
func (s *session) query(ctx context.Context, query string, each func(row) error, args ...any) error {
	_, err := s.run(ctx, []statement{{query, args}}, func(_ int, r row) error { return each(r) })
	return err
}
