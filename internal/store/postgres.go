package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
)

// postgresDB writes through two goroutines, each with a connection: what is published
// and what was attempted is written by one, as rows in bulk, and everything else by the
// other, so that a change of many steps holds nobody up. A few other connections
// read, and do what must not wait for either.
type postgresDB struct {
	config     *pgconn.Config
	log        *slog.Logger
	db         *DB // nil until the directory has been read
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

// oldestServer is the first version that detaches partitions beside others' work.
const oldestServer = 14

// sessionSettings are those of every session. Plans are made without knowing what is
// in the tables: they are often empty when a statement is first prepared, and a plan
// that reads all of an empty table is fatal when it has filled. Every query
// has an index that it is meant to use. Nor are they made for particular values, each time
// anew: with many divisions that takes ten times as long as what is then done, and for
// a value that is frequent it may choose to look for it in all rows.
const sessionSettings = `
	SET jit = off;
	SET enable_seqscan = off;
	SET plan_cache_mode = force_generic_plan;
	SET idle_in_transaction_session_timeout = '60s';
	SET client_min_messages = warning;
	SET default_transaction_isolation = 'read committed';
	SET default_transaction_read_only = off;
	SET statement_timeout = 0;
	SET lock_timeout = 0`

// bulkSettings are those of sessions whose statements join arrays with tables.
const bulkSettings = `;
	SET enable_hashjoin = off;
	SET enable_mergejoin = off;
	SET enable_bitmapscan = off`

// writeSettings are those of sessions on whose transactions others may have to wait.
const writeSettings = `;
	SET idle_in_transaction_session_timeout = '5s';
	SET lock_timeout = '10s'`

// memberSettings are those of sessions for which a node's lease does not wait.
const memberSettings = `;
	SET idle_in_transaction_session_timeout = '2s';
	SET lock_timeout = '3s'`

// keepalive makes the server notice within seconds that we are gone without a word. It
// has no meaning, and the server refuses it, where the connection is a Unix socket.
const keepalive = `;
	SET tcp_keepalives_idle = 5;
	SET tcp_keepalives_interval = 2;
	SET tcp_keepalives_count = 3`

// IsPostgres reports whether a database URL is one of PostgreSQL's.
func IsPostgres(database string) bool {
	return strings.HasPrefix(database, "postgres://") || strings.HasPrefix(database, "postgresql://")
}

func openPostgres(ctx context.Context, dir *hook.Directory, typeNumber func(string) int64, o Options) (_ *postgresDB, err error) {
	p := &postgresDB{
		log: o.Log, directory: dir, typeNumber: typeNumber, stopNews: func() {},
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

// configPG returns how to connect to a database.
func configPG(database string) (*pgconn.Config, error) {
	config, err := pgconn.ParseConfig(database)
	if err != nil {
		return nil, err // it has the password left out
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 10 * time.Second
	}
	if config.ValidateConnect == nil {
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	config.OnNotice = func(c *pgconn.PgConn, n *pgconn.Notice) {
		if s, ok := c.CustomData()[sessionKey].(*session); ok && n.SeverityUnlocalized == "WARNING" {
			s.warned = true
		}
	}
	return config, nil
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

// explainPG says what is meant by the errors that people meet when they start.
func explainPG(err error) error {
	switch codeOf(err) {
	case "3D000":
		return fmt.Errorf("there is no such database; make it first, with createdb: %w", err)
	case "28P01", "28000":
		return fmt.Errorf("the server does not let this user in; are user and password right? %w", err)
	}
	return err
}

// checkServer makes sure that the server can do what is wanted, and keeps what it is
// given.
func (p *postgresDB) checkServer(ctx context.Context, s *session) error {
	var version int64
	setting := map[string]string{}
	err := s.query(ctx, `SELECT name, setting FROM pg_settings WHERE name IN ('server_version_num', 'fsync', 'full_page_writes', 'server_encoding')`, func(r row) error {
		setting[r.text(0)] = r.text(1)
		return nil
	})
	if err != nil {
		return err
	}
	version, err = strconv.ParseInt(setting["server_version_num"], 10, 64)
	switch {
	case err != nil:
		return err
	case version/10000 < oldestServer:
		return fmt.Errorf("the server is PostgreSQL %d; %d is the oldest that will do", version/10000, oldestServer)
	case setting["server_encoding"] != "UTF8":
		return fmt.Errorf("the database's encoding is %s; it must be UTF8", setting["server_encoding"])
	}
	for _, name := range []string{"fsync", "full_page_writes"} {
		if setting[name] == "off" {
			p.log.Warn("the server does not keep what it is given when the power fails", "setting", name)
		}
	}
	return nil
}

// connect makes a session. The name is for those who look at the server.
func (p *postgresDB) connect(ctx context.Context, name string) (*session, error) {
	config := p.config.Copy()
	s := &session{statements: map[string]*pgconn.StatementDescription{}}
	s.name = "switchhook " + name + " " + p.process + " " + strings.ToLower(rand.Text())[:12]
	config.RuntimeParams["application_name"] = s.name
	c, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, &lostError{err}
	}
	s.conn = c
	c.CustomData()[sessionKey] = s
	settings := sessionSettings
	if name == "bulk" || name == "beside" {
		settings += bulkSettings
	}
	switch name {
	case "bulk", "calls", "beside":
		settings += writeSettings
	case "members", "heart", "aside":
		settings += memberSettings
	}
	if c.Conn().RemoteAddr().Network() != "unix" {
		settings += keepalive
	}
	if err := s.simple(ctx, settings); err != nil {
		s.close()
		return nil, err
	}
	return s, s.keepPromise(ctx)
}

const sessionKey = "switchhook"

// keepPromise makes sure that a commit waits for the disk. Whether it waits for a
// standby too, is for those to say who run the server.
func (s *session) keepPromise(ctx context.Context) error {
	var commit string
	if err := s.query(ctx, `SELECT current_setting('synchronous_commit')`, func(r row) error { commit = r.text(0); return nil }); err != nil {
		return err
	}
	if commit == "off" {
		return s.simple(ctx, "SET synchronous_commit = on")
	}
	return nil
}

// lock returns the key of one of the advisory locks.
func (p *postgresDB) lock(n int64) int64 { return p.locks + n }

// migratePG brings the schema up to date, each step in a transaction of its own. A
// database of another program, or of a later version of this one, is refused before
// anything in it is changed.
func migratePG(ctx context.Context, s *session, existing bool, log *slog.Logger) error {
	alone := false
	err := s.query(ctx, `SELECT pg_try_advisory_lock($1)`, func(r row) error { alone = r.int(0) != 0; return nil }, int64(lockMigrate))
	if err == nil && !alone {
		log.Warn("somebody is making a platform in this database, or copying one into it; waiting until that is over")
		err = s.simple(ctx, fmt.Sprintf("SELECT pg_advisory_lock(%d)", lockMigrate))
	}
	if err != nil {
		return err
	}
	defer func() { _ = s.simple(ctx, fmt.Sprintf("SELECT pg_advisory_unlock(%d)", lockMigrate)) }() // or it is lost with the connection
	files, err := fs.Glob(migrations, "migrations/*.postgres.sql")
	if err != nil {
		return err
	}
	version, err := schemaVersion(ctx, s, existing)
	if err != nil {
		return err
	}
	if latest := stepOf(files[len(files)-1]); version > latest {
		return fmt.Errorf("its schema has version %d, this program knows up to %d (%s): start the version of switchhook that wrote it, or a newer one",
			version, latest, path.Base(files[len(files)-1]))
	}
	for _, f := range files {
		step := stepOf(f)
		if step <= version {
			continue
		}
		text, err := fs.ReadFile(migrations, f)
		if err != nil {
			return err
		}
		if err := s.simple(ctx, fmt.Sprintf("BEGIN; %s; UPDATE switchhook_schema SET version = %d; COMMIT", text, step)); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", path.Base(f), err), s.simple(ctx, "ROLLBACK"))
		}
	}
	return nil
}

// stepOf returns the number in the name of a migration.
func stepOf(file string) int {
	number, _, _ := strings.Cut(path.Base(file), "_")
	n, err := strconv.Atoi(number)
	if err != nil {
		panic(err) // the files are ours
	}
	return n
}

func schemaVersion(ctx context.Context, s *session, existing bool) (version int, err error) {
	ours, others := false, ""
	err = s.query(ctx, `
		SELECT CAST(relname AS text) FROM pg_class
		WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AND relkind IN ('r', 'p')
		ORDER BY relname`, func(r row) error {
		if name := r.text(0); name == "switchhook_schema" {
			ours = true
		} else {
			others = name
		}
		return nil
	})
	switch {
	case err != nil:
		return 0, err
	case ours:
		return version, s.query(ctx, `SELECT version FROM switchhook_schema`, func(r row) error { version = int(r.int(0)); return nil })
	case others != "":
		return 0, fmt.Errorf("the database has tables of another program, such as %q; give this one a database of its own, or a schema (search_path)", others)
	}
	if existing {
		return 0, ErrEmpty
	}
	return 0, s.simple(ctx, `BEGIN; CREATE TABLE switchhook_schema (version INTEGER NOT NULL); INSERT INTO switchhook_schema VALUES (0); COMMIT`)
}

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

// pgTx runs the statements that are shared by both kinds of database.
type pgTx struct {
	db  *postgresDB
	s   *session
	ctx context.Context

	me       *self
	attempts []*hook.Attempt // to be inserted when the transaction ends
	version  int64           // of what is configured, which cannot change before that
}

func (t *pgTx) exec(query string, args ...any) (int, error) {
	rows, err := t.s.run(t.ctx, []statement{{query, args}}, nil)
	if err != nil {
		return 0, err
	}
	return rows[0], nil
}

func (t *pgTx) query(query string, each func(row) error, args ...any) error {
	return t.s.query(t.ctx, query, each, args...)
}

func (t *pgTx) each(query string, n int, args func(i int) []any, each func(i int, r row) error) error {
	const together = 256
	for from := 0; from < n; from += together {
		var list []statement
		for i := from; i < min(n, from+together); i++ {
			list = append(list, statement{query, args(i)})
		}
		_, err := t.s.run(t.ctx, list, func(i int, r row) error {
			if each == nil {
				return nil
			}
			return each(from+i, r)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// anyID is one statement for many ids: to begin one costs more than to find a row, the
// more so the more divisions there are.
const anyID = `WHERE id = ANY($1)`

func (t *pgTx) byID(query string, ids []int64, each func(row) error) error {
	return t.query(query+anyID, each, ids)
}

func (t *pgTx) insertAttempt(a *hook.Attempt) error {
	t.attempts = append(t.attempts, a)
	return nil
}

func (t *pgTx) publish(pubs []*intake.Publication) error {
	list, err := t.db.unclaimed(t, pubs)
	if err != nil {
		return err
	}
	pieces, err := t.db.published(t.ctx, list)
	if err != nil || len(pieces) == 0 {
		return err
	}
	return t.copy(pieces)
}

// copy stores rows now.
func (t *pgTx) copy(pieces []copying) error {
	if _, err := t.s.send(pieces, "SELECT 1"); err != nil {
		return err
	}
	_, err := t.s.await(len(pieces) + 1)
	return err
}

// engineState is what both engines are made of.
type engineState struct {
	p      *postgresDB
	logged bool // log rows were added for which nobody was woken yet
}

func (e *engineState) outOfOrder(err error) bool { return outOfOrderPG(err) }

func (e *engineState) rest() {
	if e.logged {
		e.logged = false
		e.p.followers.wake()
	}
}

// callEngine commits everything but what is written in bulk.
type callEngine struct{ engineState }

func (e *callEngine) transact(batch []unit) (err error) {
	p, w := e.p, e.p.writers[1]
	u := &batch[len(batch)-1]
	me := p.self.Load()
	first := []statement{{`SELECT pg_advisory_xact_lock($1)`, []any{p.lock(lockCalls)}}}
	if u.change != nil {
		// Who publishes waits behind who waits for this one, so a node that stands still in
		// a transaction must not hold it for long.
		first = append(first, statement{"SET LOCAL lock_timeout = '2s'", nil},
			statement{`SELECT pg_advisory_xact_lock($1)`, []any{p.lock(lockDirectory)}}, statement{"SET LOCAL lock_timeout = '10s'", nil})
	}
	first = append(first, p.share(me), statement{selectPlatform, nil})
	var is platformRow
	err = w.begin(first, func(i int, r row) error {
		if i == len(first)-1 {
			is.scan(r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	t := &pgTx{db: p, s: w.s, ctx: context.Background(), me: me, version: is.version}
	if err := e.apply(t, batch, &is, u.change); err != nil {
		w.rollback()
		return err
	}
	e.logged = e.logged || len(t.attempts) > 0
	pieces, err := p.logged(t.ctx, me, is.horizon, t.attempts)
	if err != nil {
		w.rollback()
		return err
	}
	return w.commit(pieces...)
}

// changing is a change of what is configured.
type changing struct {
	what touched
	// base is the version that the change was worked out with. 0: any will do.
	base    int64
	version *int64 // that the change has made
}

func (e *callEngine) apply(t *pgTx, batch []unit, is *platformRow, change *changing) error {
	if err := t.me.lives(is); err != nil {
		return err
	}
	if change != nil && change.base != 0 && change.base != is.version {
		return hook.ErrStale
	}
	for i := range batch {
		if err := batch[i].call(t); err != nil {
			return err
		}
	}
	if change == nil {
		return nil
	}
	*change.version = is.version + 1
	return e.p.putChange(t, change.what)
}
