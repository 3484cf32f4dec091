package pgtest_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/switchhook/switchhook/internal/pgtest"
)

func query(t *testing.T, database, q string) string {
	t.Helper()
	c, err := pgconn.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	all, err := c.Exec(t.Context(), q).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if last := all[len(all)-1]; len(last.Rows) > 0 {
		return string(last.Rows[0][0])
	}
	return ""
}

// Each test has a database of its own, with what it was filled with.
func TestDatabase(t *testing.T) {
	filled := 0
	fill := &pgtest.Fill{Do: func(database string) error {
		filled++
		query(t, database, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
		return nil
	}}
	one, two := pgtest.Database(t, fill), pgtest.Database(t, fill)
	query(t, one, "INSERT INTO t VALUES (2)")
	if a, b := query(t, one, "SELECT count(*) FROM t"), query(t, two, "SELECT count(*) FROM t"); a != "2" || b != "1" {
		t.Errorf("%s and %s rows, want 2 and 1", a, b)
	}
	if filled != 1 && os.Getenv(pgtest.Variable) == "" {
		t.Errorf("filled %d times", filled)
	}
	if empty := pgtest.Database(t, nil); query(t, empty, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") != "0" {
		t.Error("an empty database is not empty")
	}
}

// What was committed is there after the server was stopped or killed, and started again.
func TestServer(t *testing.T) {
	s := pgtest.Start(t, "work_mem=5MB")
	query(t, s.URL(), "CREATE TABLE t (a int)")
	for _, end := range []func() error{s.Stop, s.Kill} {
		query(t, s.URL(), "INSERT INTO t VALUES (1)")
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if c, err := pgconn.Connect(t.Context(), s.URL()); err == nil {
			_ = c.Close(t.Context())
			t.Fatal("it still answers")
		}
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
	}
	if n := query(t, s.URL(), "SELECT count(*) FROM t"); n != "2" {
		t.Errorf("%s rows, want 2", n)
	}
	if got := query(t, s.URL(), "SHOW work_mem"); got != "5MB" {
		t.Errorf("work_mem is %s", got)
	}
}

// What was committed is on the standby, which takes over when it is promoted.
func TestStandby(t *testing.T) {
	primary := pgtest.Start(t)
	query(t, primary.URL(), "CREATE TABLE t (a int)")
	standby := primary.Standby(t)
	query(t, primary.URL(), "INSERT INTO t VALUES (1)")
	if got := query(t, standby.URL(), "SELECT pg_is_in_recovery()"); got != "t" {
		t.Errorf("the standby is in recovery: %s", got)
	}
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(); err != nil {
		t.Fatal(err)
	}
	query(t, standby.URL(), "INSERT INTO t VALUES (2)")
	if n := query(t, standby.URL(), "SELECT count(*) FROM t"); n != "2" {
		t.Errorf("%s rows, want 2", n)
	}
}

// However a test binary ends, its server ends as well and leaves nothing behind.
func TestServerEndsWithTheTests(t *testing.T) {
	if os.Getenv("SWITCHHOOK_PGTEST_DIE") != "" {
		dir := filepath.Dir(pgtest.Start(t).Socket())
		if _, err := os.Stdout.WriteString(dir + "\n"); err != nil {
			t.Fatal(err)
		}
		self, err := os.FindProcess(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		_ = self.Kill()
		select {}
	}
	pgtest.Start(t) // or it is left out
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "SWITCHHOOK_PGTEST_DIE=1")
	out, err := cmd.Output()
	if err == nil {
		t.Fatal("it did not die")
	}
	dir := strings.TrimSpace(string(out))
	if !strings.HasPrefix(filepath.Base(dir), "switchhook-pg-") {
		t.Fatalf("it said %q", out)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // another process is to end
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s is still there", dir)
		}
	}
}
