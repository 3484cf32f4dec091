// Package pgtest gives tests PostgreSQL databases of their own.
//
// [Database] is what most tests want. The server behind it is started when a test
// first asks for it, from what is installed on the machine, in a temporary directory,
// reachable over a Unix socket only; it is stopped when the test binary ends, however
// it ends. SWITCHHOOK_TEST_POSTGRES may name another one. [Start] starts a server that
// a test can stop and kill.
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Variable names the server that tests use, if one is not to be started: the URL of a
// database whose user may make others.
const Variable = "SWITCHHOOK_TEST_POSTGRES"

// shared is the server of this test binary.
var shared = sync.OnceValues(func() (*Server, error) {
	return start()
})

// Database returns the URL of an empty database that is the test's own, or of one that
// fill has filled. Tests with the same fill get copies of the same database: it is
// called once for all of them where that is possible, so it must not depend on which
// test calls it.
func Database(t testing.TB, fill *Fill) string {
	t.Helper()
	if admin := os.Getenv(Variable); admin != "" {
		name, err := create(admin, "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := drop(admin, name); err != nil {
				t.Error(err)
			}
		})
		database := withDatabase(admin, name)
		if fill != nil {
			if err := fill.Do(database); err != nil {
				t.Fatal(err)
			}
		}
		return database
	}
	s, err := shared()
	if err != nil {
		failed(t, err)
	}
	if fill == nil {
		fill = &nothing
	}
	name, err := fill.copy(s)
	if err != nil {
		t.Fatal(err)
	}
	// Nobody waits for it: the server is ours and ends with the tests.
	t.Cleanup(func() { go func() { _ = drop(s.URL(), name) }() })
	return withDatabase(s.URL(), name)
}

// Fill fills databases, all in the same way. Do must close its connections.
type Fill struct {
	Do func(database string) error

	once   sync.Once
	copies chan copied
}

// nothing leaves databases empty.
var nothing = Fill{Do: func(string) error { return nil }}

// copied is a copy of a database that has been filled.
type copied struct {
	name string
	err  error
}

// copy returns the name of a copy. The next one is made meanwhile: it takes a while.
func (f *Fill) copy(s *Server) (string, error) {
	f.once.Do(func() {
		f.copies = make(chan copied, 1)
		go func() {
			template, err := create(s.URL(), "")
			if err == nil {
				err = f.Do(withDatabase(s.URL(), template))
			}
			for {
				c := copied{err: err}
				if err == nil {
					c.name, c.err = create(s.URL(), template)
				}
				f.copies <- c
			}
		}()
	})
	c := <-f.copies
	return c.name, c.err
}

func newName() string { return "switchhook_test_" + strings.ToLower(rand.Text()) }

// create makes a database, empty or as another one is.
func create(admin, template string) (name string, err error) {
	name = newName()
	query := "CREATE DATABASE " + name
	if template != "" {
		query += " TEMPLATE " + template
	}
	return name, execute(admin, query)
}

func drop(admin, name string) error { return execute(admin, "DROP DATABASE "+name+" WITH (FORCE)") }

// execute runs one statement.
func execute(database, query string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := pgconn.Connect(ctx, database)
	if err != nil {
		return fmt.Errorf("pgtest: %w", err)
	}
	_, err = c.Exec(ctx, query).ReadAll()
	if err = errors.Join(err, c.Close(ctx)); err != nil {
		return fmt.Errorf("pgtest: %s: %w", query, err)
	}
	return nil
}

func withDatabase(admin, name string) string {
	u, err := url.Parse(admin)
	if err != nil {
		panic(err) // it has been connected to
	}
	u.Path = "/" + name
	return u.String()
}

// failed skips a test where there is no server, unless everything has to be there.
func failed(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, errNone) {
		t.Fatal(err)
	}
	why := fmt.Sprintf("left out: %v (install Debian's package postgresql, or something else with initdb and postgres in it, or set %s to the URL of a database whose user may make others)", err, Variable)
	if os.Getenv("SWITCHHOOK_TEST_REQUIRE_ALL") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}
