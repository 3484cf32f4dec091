// Package store keeps what the platform must not forget: what is configured,
// the events and what they owe, and the webhook log. It holds all SQL.
//
// [Open] returns a [DB]. Whatever a method of DB reports as done is durable: it
// survives kill -9 and power loss. Writes that come in at the same time are
// committed together, so waiting for the disk is shared.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/switchhook/switchhook/internal/deliver"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/seal"
)

// Options says what to open.
type Options struct {
	// Database is a URL: sqlite:PATH, or one of PostgreSQL's as libpq has them, with one
	// host or several.
	Database string
	// Key seals the secrets that must be used again.
	Key *seal.Key
	// Deliver is for a process that delivers. Only one at a time may deliver from an SQLite
	// file: it takes the file over, and what another process had in hand is free again.
	// With PostgreSQL there may be several; see [DB.Join] and [DB.Listen].
	Deliver bool
	// Host and Version are what the others are told of this process: where it runs, and
	// which version of the program it is.
	Host, Version string
	// Existing refuses a database in which there is nothing yet with [ErrEmpty]. It has
	// no meaning for SQLite, where there is a file or there is none.
	Existing bool
	// Mail says that mails are sent. Without it, messages end when they are put into
	// the outbox, and with Deliver those that wait in it as well.
	Mail bool
	// Retention is how long the log is to be kept, which [DB.Expire] is told each time.
	// PostgreSQL drops a seventh of it at a time, and a day's at most. Default: a week.
	Retention time.Duration
	// Observe, if set, is told of every commit, by the goroutine that commits: it must
	// not wait.
	Observe func(Commit)
	// Renewed, if set, is told each time that a node has renewed its lease, or why the
	// database could not be had for that. It must not wait.
	Renewed func(error)
	Log     *slog.Logger
}

// ErrEmpty says that nobody has made a platform's tables in a database.
var ErrEmpty = errors.New("the database is empty")

// DB is an open database. It is safe for concurrent use.
type DB struct {
	sql       backend
	dialect   dialect
	key       *seal.Key
	directory *hook.Directory
	mail      bool
	log       *slog.Logger

	names sync.Map // event type name to its number, and back

	strandedMu sync.Mutex
	stranded   []deliver.Claim // claims that could neither be read nor given back
}

// backend is one kind of database. What both kinds can say in the same words is
// said through tx; what must be fast has a method of its own.
type backend interface {
	// write runs f in a transaction that is durable when write returns. Then, and
	// before any later write begins, it calls after.
	write(f func(tx) error, after func()) error
	// change is write for a change of what is configured, which touches something, worked
	// out with the version base of it. If that is another one by now it fails with
	// [hook.ErrStale]; 0 fits any. after is told the new version.
	change(f func(tx) error, what touched, base int64, after func(version int64)) error
	// learn makes the directory know of a change that was stored as a version.
	learn(c hook.Change, version int64)
	// catchUp makes the directory know of what other processes have changed.
	catchUp(ctx context.Context) error
	// read runs f on a snapshot, and so does readNow, for what deliveries or producers
	// wait for.
	read(ctx context.Context, f func(tx) error) error
	readNow(ctx context.Context, f func(tx) error) error
	// writeMany is write for what writes that many rows. Others share its commit, but
	// not more of them than have room beside it.
	writeMany(rows int, f func(tx) error) error
	// writeNow is write for what must not wait long for others, who may write beside it.
	writeNow(f func(tx) error) error
	publish([]*intake.Publication) error
	finish(*deliver.Finished)
	// follow tells of log rows that were added, for as long as somebody wants to know.
	follow() (news <-chan struct{}, stop func())
	// claim may return claims with an error: then it is not known whether they were
	// taken in hand.
	claim(node int64, now time.Time, want []deliver.Want) ([]deliver.Claim, error)
	// version returns that of what is configured.
	version(tx) (int64, error)
	// decided returns the id of a log row up to which all that there will be are there.
	decided(ctx context.Context) (int64, error)
	// bound returns the id up to which all events of other nodes are there, and askMarks
	// has those say how far it could be.
	bound(tx) (hook.EventID, error)
	askMarks(hook.EventID)
	// followEvents tells of events that other nodes may have added.
	followEvents() (news <-chan struct{}, stop func())
	// readAside is read for what may be asked in the middle of another transaction.
	readAside(ctx context.Context, f func(tx) error) error

	join(now time.Time, lease time.Duration) (deliver.Node, error)
	renew(n deliver.Node, has deliver.Holding, now time.Time) (nodes int, err error)
	leave(n deliver.Node) error
	nextLapse(n deliver.Node, now time.Time) (lapsed bool, next time.Time, err error)
	// node returns the id of the node that this process is: 0 if others need not know.
	node() int64
	// expireLog deletes the attempts and the events below these ids, or most of them.
	expireLog(ctx context.Context, attempts, events int64) error
	close() error
}

// tx is a transaction, or a snapshot to read from. Parameters are $1, $2, ... in
// the order of their first mention.
type tx interface {
	exec(query string, args ...any) (rows int, err error)
	query(query string, each func(row) error, args ...any) error
	// each runs a query n times, and each with the rows of each time.
	each(query string, n int, args func(i int) []any, each func(i int, r row) error) error
	// byID runs a query, which has no condition yet, for rows with these ids, and each with
	// those there are, in any order. No id comes twice.
	byID(query string, ids []int64, each func(row) error) error
	// insertAttempt gives the row its id and inserts it.
	insertAttempt(*hook.Attempt) error
	// publish stores publications as part of the transaction. What became of each is in
	// it; the numbers of their event types must be known.
	publish([]*intake.Publication) error
}

// row is a result row; its values are valid until the function it was given to
// returns, but for what text and blob return.
type row interface {
	int(i int) int64
	float(i int) float64
	text(i int) string
	blob(i int) []byte
}

// dialect is what the shared statements say differently.
type dialect struct {
	// skipLocked ends a query for rows that the transaction will change, and passes those
	// over that another one is changing.
	skipLocked string
	// free is the condition for rows of due that nobody has in hand.
	free string
	// version is that of what is configured, as far as others may change it.
	version string
	// shared says that other processes write beside this one.
	shared bool
}

// Open opens the database and brings its schema up to date. A file of a newer
// schema, of another program, or sealed with another key is refused untouched.
func Open(ctx context.Context, o Options) (*DB, error) {
	path, isSQLite := strings.CutPrefix(o.Database, "sqlite:")
	if isSQLite = isSQLite && path != ""; !isSQLite && !IsPostgres(o.Database) {
		return nil, fmt.Errorf("store: database %q is neither of the form sqlite:PATH nor postgres://USER@HOST/DATABASE", o.Database)
	}
	if o.Key == nil {
		return nil, errors.New("store: no key to seal secrets with")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	db := &DB{dialect: dialect{free: free, version: `0`}, key: o.Key, directory: hook.NewDirectory(), mail: o.Mail, log: o.Log}
	name := path
	var err error
	if isSQLite {
		db.sql, err = openSQLite(ctx, path, db.directory, db.knownType, o)
	} else {
		db.dialect, name = dialect{skipLocked: `FOR UPDATE SKIP LOCKED`, free: freeOfNodes, version: `(SELECT version FROM platform)`, shared: true}, "the database"
		db.sql, err = openPostgres(ctx, db.directory, db.knownType, o)
	}
	if err != nil {
		return nil, fmt.Errorf("store: open %s: %w", name, err)
	}
	// With another key nothing else can be read, and that is all there is to be said.
	for _, load := range []func(context.Context) error{db.checkKey, db.loadDirectory, db.loadNames} {
		if err := load(ctx); err != nil {
			return nil, fmt.Errorf("store: open %s: %w", name, errors.Join(err, db.sql.close()))
		}
	}
	if p, ok := db.sql.(*postgresDB); ok {
		p.opened(db, o.Deliver)
	}
	if o.Deliver && !o.Mail {
		if err := db.endMails(time.Now()); err != nil { // on a full disk, which is no reason not to start
			o.Log.Error("mails that nobody sends any more are still waiting; they end at the next start", "err", err)
		}
	}
	return db, nil
}

// Close ends all work and closes the database.
func (db *DB) Close() error {
	if err := db.sql.close(); err != nil {
		return fmt.Errorf("store: close: %w", err)
	}
	return nil
}

// Directory returns the accounts, apps, installations and subscriptions. Every
// change that a method of DB has reported as done is in it.
func (db *DB) Directory() *hook.Directory { return db.directory }

// What is sealed to recognise the key.
const (
	keyCheckName  = "key_check"
	keyCheckPlace = "settings/key_check"
	keyCheckText  = "switchhook"
)

var errOtherKey = errors.New("the secrets in this database were sealed with another key; start with the key file or SWITCHHOOK_MASTER_KEY it was made with")

// checkKey makes sure that the key is the one the database's secrets were sealed
// with: found out at the start, rather than secret by secret.
func (db *DB) checkKey(ctx context.Context) error {
	for {
		var sealed []byte
		err := db.sql.read(ctx, func(t tx) (err error) {
			sealed, err = sealedKeyCheck(t)
			return err
		})
		if err != nil {
			return err
		}
		if sealed != nil {
			return opensKeyCheck(db.key, sealed)
		}
		// If another process is faster, its key counts.
		err = db.sql.write(func(t tx) error {
			_, err := t.exec(`INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING`,
				keyCheckName, db.key.Seal([]byte(keyCheckText), keyCheckPlace))
			return err
		}, nil)
		if err != nil {
			return err
		}
	}
}

func sealedKeyCheck(t tx) (sealed []byte, err error) {
	err = t.query(`SELECT value FROM settings WHERE name = $1`, func(r row) error { sealed = r.blob(0); return nil }, keyCheckName)
	return sealed, err
}

func opensKeyCheck(key *seal.Key, sealed []byte) error {
	if plain, err := key.Open(sealed, keyCheckPlace); err != nil || string(plain) != keyCheckText {
		return errOtherKey
	}
	return nil
}

// unavailable says that the database cannot take a write now, and why.
func unavailable(err error) error {
	return &hook.Error{Kind: hook.Unavailable, Subject: "the store cannot take it now", Detail: err.Error()}
}

// A time in a column is Unix milliseconds, the zero time 0.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// dueMillis rounds up, so that nothing is due earlier in the store than it was.
func dueMillis(t time.Time) int64 {
	ms := millis(t)
	if !t.IsZero() && t.Nanosecond()%int(time.Millisecond) != 0 {
		ms++
	}
	return ms
}
