// Package postgres forwards events to tables of PostgreSQL.
//
// One table has every event as it was received, another one a row for each phone number
// with what Number Management's events say is true of it now. Both change in one
// transaction, and an event that comes again changes nothing. [Tables.Create] has the
// tables; [New] returns the target.
package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/switchhook/switchhook/internal/forward"
)

// Config says which database events are written to, and how.
type Config struct {
	// URL is that of a database, as postgres://user:password@host/database, or a string of
	// keywords and values, as libpq has them. What it does not say is taken from where
	// libpq takes it, as PGPASSWORD and PGPASSFILE.
	URL string
	// Password, if set, is used instead of the URL's.
	Password string
	Tables
	// Keep leaves the tables to somebody else. Otherwise those that are missing are made.
	Keep bool
	// Timeout is for one transaction, and for making a connection. 0 means 30 seconds.
	Timeout time.Duration
	// Dial, if set, makes connections.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// New returns the target. It connects when it has something to write.
func New(c Config) (forward.Target, error) {
	if c.Events == "" && c.Numbers == "" {
		return nil, errors.New("postgres: there is neither a table of events nor one of numbers")
	}
	if c.Events == c.Numbers {
		return nil, fmt.Errorf("postgres: %s cannot be both tables", c.Events)
	}
	if c.URL == "" {
		return nil, errors.New("postgres: the URL of the database is missing")
	}
	server, err := pgconn.ParseConfig(c.URL)
	if err != nil {
		// Its text has the URL in it, and it only does its best to leave out the password.
		return nil, errors.New("postgres: the URL of the database cannot be read: it is postgres://user:password@host:5432/database, with % and two hexadecimal digits for each character of the password that means something else in a URL")
	}
	server.Password = cmp.Or(c.Password, server.Password)
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	if server.RuntimeParams["application_name"] == "" {
		server.RuntimeParams["application_name"] = "switchhook"
	}
	if c.Dial != nil {
		server.DialFunc = c.Dial
	}
	return &target{config: c, server: server, insertEvents: c.fill(insertEvents), insertNumbers: c.insertNumbers()}, nil
}

type target struct {
	config                      Config
	server                      *pgconn.Config
	insertEvents, insertNumbers string

	conn *pgconn.PgConn // nil if there is none
	used time.Time      // when it was last
}

func (t *target) Close() error {
	if t.conn == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := t.conn.Close(ctx)
	t.conn = nil
	return err
}

// drop gives up a connection of which it is not known how it stands.
func (t *target) drop() { _ = t.Close() } // there is an error already

// Check connects and makes the tables that are missing.
func (t *target) Check(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	if err := t.connect(within); err != nil {
		return t.judge(ctx, err)
	}
	return nil
}

// Take writes messages in one transaction, or as many of them as it can.
func (t *target) Take(ctx context.Context, messages []*forward.Message) (int, error) {
	for {
		w := t.gather(messages)
		err := t.write(ctx, w)
		_, rejected := errors.AsType[*rejected](err)
		switch {
		case err == nil && w.bad != nil:
			return 0, &forward.Refused{Err: fmt.Errorf("it is no %s that can be understood: %w", messages[0].Name, w.bad)}
		case err == nil:
			return len(w.messages), nil
		case !rejected:
			return 0, t.judge(ctx, err)
		case len(w.messages) == 1:
			return 0, &forward.Refused{Err: err}
		}
		messages = messages[:len(w.messages)/2] // it is about one of them
	}
}

// writing is what is written in one transaction.
type writing struct {
	messages []*forward.Message
	numbers  numbers
	// bad is why it cannot be told what a message says of numbers. That is the only one
	// then.
	bad error
}

// gather returns what can be written at once, beginning with the first message.
func (t *target) gather(messages []*forward.Message) writing {
	w := writing{messages: messages, numbers: numbers{}}
	if t.config.Numbers == "" {
		return w
	}
	for i, m := range messages {
		err := w.numbers.apply(m)
		switch {
		case err != nil && i == 0:
			w.messages, w.bad = messages[:1], err
			return w
		case err != nil:
			w.messages = messages[:i]
			return w
		}
	}
	return w
}

// durable makes a commit wait until it is on the disk where somebody has turned that
// off: what has been taken is not sent again. Where more is set, it stays.
const durable = `SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'`

// write writes all or nothing.
func (t *target) write(ctx context.Context, w writing) error {
	ctx, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	// All of a batch is one transaction, as PostgreSQL sees it, and one exchange.
	var b pgconn.Batch
	b.ExecParams(durable, nil, nil, nil, nil)
	if t.config.Events != "" {
		add(&b, t.insertEvents, eventRows(w.messages))
	}
	if len(w.numbers) > 0 {
		add(&b, t.insertNumbers, w.numbers.rows())
	}
	if t.config.Events == "" && len(w.numbers) == 0 {
		return nil
	}
	if err := t.connect(ctx); err != nil {
		return err
	}
	_, err := t.conn.ExecBatch(ctx, &b).ReadAll()
	t.used = time.Now()
	switch {
	case err == nil:
		return nil
	case aboutEvents(err):
		return &rejected{err}
	}
	t.drop()
	return err
}

// rejected is an error that is about what was to be written.
type rejected struct{ err error }

func (e *rejected) Error() string { return "the database does not take it: " + e.err.Error() }
func (e *rejected) Unwrap() error { return e.err }

func add(b *pgconn.Batch, query string, c columns) {
	values, types := c.parameters()
	formats := []int16{1} // binary
	b.ExecParams(query, values, types, formats, formats)
}

// idle is how long a connection may be unused before it is tried first: servers, and what
// is between here and there, close those that are.
const idle = 5 * time.Second

func (t *target) connect(ctx context.Context) error {
	if t.conn != nil && (t.conn.IsClosed() || time.Since(t.used) > idle && t.conn.Ping(ctx) != nil) {
		t.drop()
	}
	if t.conn != nil {
		return nil
	}
	conn, err := pgconn.ConnectConfig(ctx, t.server)
	if err != nil {
		return err
	}
	t.conn, t.used = conn, time.Now()
	// In another encoding there are texts that it cannot keep.
	if e := conn.ParameterStatus("server_encoding"); e != "UTF8" && e != "" {
		err = fmt.Errorf("%w: it is %s", errEncoding, e)
	} else if !t.config.Keep {
		err = t.create(ctx)
	}
	if err != nil {
		t.drop()
	}
	return err
}

var errEncoding = errors.New("the database must have the encoding UTF8")

// lockTables is what those hold who make tables: IF NOT EXISTS does not keep two of them
// from making the same one.
const lockTables = `SELECT pg_advisory_xact_lock(7310591268241)`

// create makes the tables that are missing. Who may not make tables can use those that
// there are.
func (t *target) create(ctx context.Context) error {
	for _, one := range []Tables{{Schema: t.config.Schema, Events: t.config.Events}, {Schema: t.config.Schema, Numbers: t.config.Numbers}} {
		table := cmp.Or(one.Events, one.Numbers)
		if table == "" {
			continue
		}
		found := t.conn.ExecParams(ctx, `SELECT to_regclass($1) IS NOT NULL`, [][]byte{[]byte(one.name(table))}, nil, nil, nil).Read()
		if found.Err != nil {
			return found.Err
		}
		if string(found.Rows[0][0]) == "t" {
			continue
		}
		if _, err := t.conn.Exec(ctx, "BEGIN;"+lockTables+";"+one.Create()+"COMMIT").ReadAll(); err != nil {
			return fmt.Errorf("the table %s cannot be made: %w", table, err)
		}
	}
	return nil
}

// codeOf returns what PostgreSQL calls an error. The first two characters say of which
// kind it is.
func codeOf(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && len(e.Code) == 5 {
		return e.Code
	}
	return "     "
}

// aboutEvents reports whether an error of an INSERT is about what was to be written: a
// value that a column, an index, a constraint or a trigger does not take.
func aboutEvents(err error) bool {
	code := codeOf(err)
	return code[:2] == "22" || slices.Contains([]string{"23505", "23514", "23P01", "54000", "P0001"}, code)
}

// lasting are the kinds of errors that do not go away by themselves: a password, a
// privilege, a database, a table or a column that there is not.
var lasting = []string{"0A", "22", "23", "28", "2F", "3D", "3F", "42", "P0"}

// judge says what is to be done about an error that is not about events.
func (t *target) judge(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return fmt.Errorf("the database did not answer within %v: %w", t.config.Timeout, err)
	case errors.Is(err, errEncoding), slices.Contains(lasting, codeOf(err)[:2]):
		return &forward.Later{Err: err, After: forward.NeedsSomebody}
	}
	return err
}
