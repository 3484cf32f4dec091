package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/jackc/pgx/v5/pgtype"
	"zombiezen.com/go/sqlite"

	"github.com/switchhook/switchhook/internal/seal"
	"github.com/switchhook/switchhook/internal/sqlitefile"
)

// Copying says which platform is to be copied where.
type Copying struct {
	From string // sqlite:PATH
	To   string // a URL of PostgreSQL
	// Key is the one that the platform's secrets are sealed with. They stay so.
	Key *seal.Key
	// Far is told how many rows are copied and checked, of how many that there are, as
	// often as that changes.
	Far func(copied, checked, all int64)
	Log *slog.Logger
}

// CopiedTable says what was copied of a table.
type CopiedTable struct {
	Table string
	Rows  int64
	// Checksum is of the values of all rows, in whatever order they are.
	Checksum string
}

// Copy copies a platform that nobody serves from a file of SQLite into an empty
// database of PostgreSQL, and makes sure that what is there has the same rows with the
// same values. What was in the hand of a process is free.
//
// It is one transaction: before its end the other database is as empty as it was,
// whatever happens, and nobody can take half a platform for a whole one. Rows are
// streamed, so that it takes no more memory for more of them.
func Copy(ctx context.Context, o Copying) (tables []CopiedTable, err error) {
	c := &copier{far: o.Far, log: o.Log}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if err := c.openSource(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("store: %s: %w", o.From, err), c.close())
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.openTarget(ctx, o.To); err != nil {
		return nil, fmt.Errorf("store: the target: %w", err)
	}
	if err := c.copy(ctx); err != nil {
		return nil, fmt.Errorf("store: copy: %w", err)
	}
	for _, t := range c.tables {
		tables = append(tables, CopiedTable{t.name, t.sum.rows, t.sum.String()})
	}
	return tables, nil
}

// copier copies a platform.
type copier struct {
	log  *slog.Logger
	lock *flock.Flock
	from *sqlite.Conn
	to   *session

	tables []*copyTable
	far    func(copied, checked, all int64)

	copied, checked, all int64
}

// copyTable is a table that both databases have.
type copyTable struct {
	name    string
	columns []copyColumn
	rows    int64
	sum     checksum
}

// copyColumn is a column as PostgreSQL has it.
type copyColumn struct {
	name string
	oid  uint32
	// freed columns say who has the row in hand: nobody has, where it is copied to.
	freed    bool
	identity bool // the database numbers the rows
}

// notCopied are tables of what concerns a process, and not the platform.
var notCopied = []string{"nodes"}

// freed are the columns that say in whose hand a row is.
var freed = map[string][]string{"due": {"node"}, "outbox": {"claimed_until", "claimed_by"}}

func (c *copier) openSource(ctx context.Context, o Copying) (err error) {
	file := strings.TrimPrefix(o.From, "sqlite:")
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return errors.New("there is no such file")
	}
	c.lock, err = sqlitefile.Lock(file, "a platform is serving from it; stop that first, or what it does meanwhile would not be in the copy")
	if err != nil {
		return err
	}
	if c.from, err = databaseKind.Open(file); err != nil {
		return err
	}
	c.from.SetInterrupt(ctx.Done())
	steps, err := databaseKind.Steps()
	if err != nil {
		return err
	}
	version, err := sqlitefile.PragmaInt(c.from, "user_version")
	switch {
	case err != nil:
		return err
	case version == 0:
		return errors.New("there is no platform in it")
	case version < len(steps):
		return fmt.Errorf("its schema has version %d, that of this program is %d: start this version of switchhook on it once (switchhook serve), which brings it up to date, and stop it again", version, len(steps))
	}
	if err := run(c.from, "BEGIN"); err != nil { // one snapshot for all tables
		return err
	}
	t := sqliteTx{c: c.from}
	sealed, err := sealedKeyCheck(t)
	if err != nil {
		return err
	}
	if err := opensKeyCheck(o.Key, sealed); err != nil {
		return err
	}
	var names []string
	// In this order what is referred to comes before what refers to it.
	err = t.query(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid`, func(r row) error {
		names = append(names, r.text(0))
		return nil
	})
	for _, name := range names {
		if err != nil || slices.Contains(notCopied, name) {
			continue
		}
		x := &copyTable{name: name}
		err = t.query(`SELECT name FROM pragma_table_info($1)`, func(r row) error {
			x.columns = append(x.columns, copyColumn{name: r.text(0), freed: slices.Contains(freed[name], r.text(0))})
			return nil
		}, name)
		if err == nil {
			err = ctx.Err()
		}
		c.tables = append(c.tables, x)
	}
	return err
}

// copyWait is how long another copy that was broken off has to be noticed by the server.
const copyWait = 5 * time.Second

func (c *copier) openTarget(ctx context.Context, database string) error {
	config, err := configPG(database)
	if err != nil {
		return err
	}
	p := &postgresDB{config: config, log: c.log}
	if c.to, err = p.connect(ctx, "copy"); err != nil {
		return explainPG(err)
	}
	if err := p.checkServer(ctx, c.to); err != nil {
		return err
	}
	for end := time.Now().Add(copyWait); ; {
		alone := false
		err := c.to.query(ctx, `SELECT pg_try_advisory_lock($1)`, func(r row) error { alone = r.int(0) != 0; return nil }, int64(lockMigrate))
		if err != nil {
			return err
		}
		if alone {
			break
		}
		if time.Now().After(end) {
			return errors.New("somebody is making a platform in this database already: another copy, or a platform that is being started for the first time")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	version, err := schemaVersion(ctx, c.to, true)
	switch {
	case errors.Is(err, ErrEmpty):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("there is a platform in it already (its schema has version %d), and a copy needs an empty database: make one (createdb), or a schema of its own (search_path), or drop this one if nobody needs it", version)
}

// copy copies all tables.
func (c *copier) copy(ctx context.Context) (err error) {
	for _, t := range c.tables {
		if err := (sqliteTx{c: c.from}).query("SELECT count(*) FROM "+t.name, func(r row) error { t.rows = r.int(0); return nil }); err != nil {
			return err
		}
		c.all += t.rows
	}
	c.tell()
	defer func() {
		if err != nil && !c.to.conn.IsClosed() {
			_ = c.to.simple(ctx, "ROLLBACK") // if it fails, the connection ends, which does the same
		}
	}()
	// Sorting for an index, and reading all of a table, are what this session is for.
	if err := c.to.simple(ctx, "BEGIN; SET LOCAL enable_seqscan = on"); err != nil {
		return err
	}
	if err := c.makeTables(ctx); err != nil {
		return err
	}
	for _, t := range c.tables {
		if err := c.copyTable(ctx, t); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		if err := c.number(ctx, t); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	var names []string
	for _, t := range c.tables {
		if err := c.check(ctx, t); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		names = append(names, t.name)
	}
	if err := c.to.simple(ctx, "ANALYZE "+strings.Join(names, ", ")); err != nil {
		return err
	}
	c.to.warned = false
	// Whoever interrupts now must not be left in doubt about what became of it.
	if err := c.to.simple(context.WithoutCancel(ctx), "COMMIT"); err != nil {
		return fmt.Errorf("%w; if it was lost on the way back only, the copy is complete all the same: then another attempt says that there is a platform in the target", err)
	}
	if c.to.warned {
		return errors.New("the copy is complete, but the server did not wait for its standby as it should have")
	}
	return nil
}

// tell says how far it is.
func (c *copier) tell() {
	if c.far != nil {
		c.far(c.copied, c.checked, c.all)
	}
}

// makeTables makes the tables, and finds out what is to be known of them.
func (c *copier) makeTables(ctx context.Context) error {
	files, err := fs.Glob(migrations, "migrations/*.postgres.sql")
	if err != nil {
		return err
	}
	for _, f := range files {
		text, err := fs.ReadFile(migrations, f)
		if err != nil {
			return err
		}
		if err := c.to.simple(ctx, string(text)); err != nil {
			return fmt.Errorf("%s: %w", path.Base(f), err)
		}
	}
	err = c.to.simple(ctx, fmt.Sprintf(`CREATE TABLE switchhook_schema (version INTEGER NOT NULL); INSERT INTO switchhook_schema VALUES (%d)`, stepOf(files[len(files)-1])))
	if err != nil {
		return err
	}
	for _, t := range c.tables {
		// What is there from the beginning is in the source as well.
		if err := c.to.simple(ctx, "DELETE FROM "+t.name); err != nil {
			return err
		}
		found := map[string]copyColumn{}
		err := c.to.query(ctx, `
			SELECT CAST(attname AS text), CAST(atttypid AS bigint), attidentity <> '' FROM pg_attribute
			WHERE attrelid = CAST(CAST($1 AS text) AS regclass) AND attnum > 0 AND NOT attisdropped`, func(r row) error {
			found[r.text(0)] = copyColumn{oid: uint32(r.int(1)), identity: r.int(2) != 0}
			return nil
		}, t.name)
		if err != nil {
			return err
		}
		for i := range t.columns {
			x := &t.columns[i]
			there, ok := found[x.name]
			if !ok {
				return fmt.Errorf("column %s of table %s has no place in PostgreSQL", x.name, t.name)
			}
			x.oid, x.identity = there.oid, there.identity
		}
	}
	return nil
}

// copyTable streams a table. What is divided goes into one division after another.
func (c *copier) copyTable(ctx context.Context, t *copyTable) error {
	divided := slices.Contains(dividedTables, t.name)
	query := "SELECT " + t.list() + " FROM " + t.name
	if divided {
		query += " ORDER BY id"
	}
	st, err := c.from.Prepare(query)
	if err != nil {
		return err
	}
	s := &tableStream{ctx: ctx, c: c, t: t, st: st, below: math.MaxInt64}
	defer func() { _ = st.Reset() }() // whatever went wrong is known already
	if !divided {
		return s.into(t.name)
	}
	for i, x := range t.columns {
		if x.name == "id" {
			s.id = i
		}
	}
	var list []division
	for {
		id, ok, err := s.next()
		if err != nil || !ok {
			return err
		}
		x := divisionOf(list, t.name, id, divisionWidth(0))
		list = append(list, x)
		// Its indexes are made when the rows are there: to sort them is faster than to put
		// one after the other into its place.
		if err := c.to.simple(ctx, fmt.Sprintf(`CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING INDEXES, CONSTRAINT bounds CHECK (id >= %d AND id < %d))`,
			x.name, t.name, x.low, x.high)); err != nil {
			return err
		}
		s.below = x.high
		if err := s.into(x.name); err != nil {
			return err
		}
		if err := c.to.simple(ctx, fmt.Sprintf(`ALTER TABLE %[2]s ATTACH PARTITION %[1]s FOR VALUES FROM (%[3]d) TO (%[4]d); ALTER TABLE %[1]s DROP CONSTRAINT bounds`,
			x.name, t.name, x.low, x.high)); err != nil {
			return err
		}
	}
}

// list names the columns.
func (t *copyTable) list() string {
	var names []string
	for _, x := range t.columns {
		names = append(names, x.name)
	}
	return strings.Join(names, ", ")
}

// number makes the database go on numbering rows where the source has come to, also if
// the last ones are not there any more.
func (c *copier) number(ctx context.Context, t *copyTable) error {
	for _, x := range t.columns {
		if !x.identity {
			continue
		}
		var last int64
		from := sqliteTx{c: c.from}
		err := firstError(
			from.query("SELECT max("+x.name+") FROM "+t.name, func(r row) error { last = r.int(0); return nil }),
			from.query("SELECT seq FROM sqlite_sequence WHERE name = $1", func(r row) error { last = max(last, r.int(0)); return nil }, t.name))
		if err != nil || last == 0 {
			return err
		}
		if err := c.to.query(ctx, `SELECT setval(pg_get_serial_sequence($1, $2), $3)`, func(row) error { return nil }, t.name, x.name, last); err != nil {
			return err
		}
	}
	return nil
}

// check reads what has come into a table.
func (c *copier) check(ctx context.Context, t *copyTable) error {
	var sum checksum
	var scratch []byte
	err := c.to.query(ctx, "SELECT "+t.list()+" FROM "+t.name, func(r row) error {
		scratch = scratch[:0]
		for i, v := range r.(pgRow).values {
			switch x := &t.columns[i]; {
			case v == nil:
				scratch = appendNullValue(scratch)
			case x.number():
				scratch = appendNumberValue(scratch, r.int(i))
			case x.oid == pgtype.Float8OID:
				scratch = appendNumberValue(scratch, int64(math.Float64bits(r.float(i))))
			default:
				scratch = appendBytesValue(scratch, v)
			}
		}
		sum.add(scratch)
		c.checked++
		c.tell()
		return nil
	})
	switch {
	case err != nil:
		return err
	case sum != t.sum || sum.rows != t.rows:
		return fmt.Errorf("the copy has %d rows with checksum %s, but there were %d with %s: it was given up", sum.rows, sum, t.rows, t.sum)
	}
	return nil
}

func (c *copier) close() (err error) {
	if c.to != nil {
		c.to.close()
	}
	if c.from != nil {
		c.from.SetInterrupt(nil)
		err = c.from.Close()
	}
	if c.lock != nil {
		err = errors.Join(err, c.lock.Unlock())
	}
	return err
}
