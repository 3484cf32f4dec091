package store

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

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
