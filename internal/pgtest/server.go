package pgtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Server is a PostgreSQL server in a temporary directory.
type Server struct {
	bin, dir string
	as       *syscall.SysProcAttr
	settings []string
	hold     io.WriteCloser // while it is open, the server runs
	ended    chan struct{}
}

// Start starts a server for one test, with settings of the form name=value beside the
// usual ones. It is stopped when the test ends.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := start(settings...)
	if err != nil {
		failed(t, err)
	}
	t.Cleanup(s.remove)
	return s
}

// Standby starts a server that follows this one. From when it returns, this one
// commits only what the standby has too.
func (s *Server) Standby(t testing.TB) *Server {
	t.Helper()
	standby, err := s.standby()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(standby.remove)
	for _, query := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
		if err := execute(s.URL(), query); err != nil {
			t.Fatal(err)
		}
	}
	// A division by zero says: not yet.
	const inSync = "SELECT 1 / count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
	for end := time.Now().Add(time.Minute); execute(s.URL(), inSync) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the standby does not follow")
		}
	}
	return standby
}

// Promote makes a standby a server that can be written to.
func (s *Server) Promote() error { return execute(s.URL(), "SELECT pg_promote()") }

var errNone = errors.New("there is no PostgreSQL on this machine")

func start(settings ...string) (*Server, error) {
	// Nothing here has to outlive a power cut.
	return prepare(settings, "initdb", "-U", "switchhook", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
}

func (s *Server) standby() (*Server, error) {
	return prepare(s.settings, "pg_basebackup", "-h", s.dir, "-U", "switchhook", "--checkpoint=fast", "--write-recovery-conf", "--no-sync")
}

// prepare makes a server's directory with one of the server's programs and starts it.
func prepare(settings []string, program string, args ...string) (_ *Server, err error) {
	s := &Server{settings: settings, as: &syscall.SysProcAttr{Setpgid: true}}
	if s.bin, err = binaries(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "switchhook-pg-*"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(s.dir))
		}
	}()
	if os.Getuid() == 0 { // initdb does not work for root
		if err := s.unprivileged(); err != nil {
			return nil, err
		}
	}
	making := exec.Command(filepath.Join(s.bin, program), append([]string{"-D", s.data()}, args...)...)
	making.SysProcAttr, making.Dir = s.as, s.dir
	if out, err := making.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", program, err, out)
	}
	return s, s.Run()
}

// binaries returns the directory of the server's programs.
func binaries() (string, error) {
	if file, err := exec.LookPath("initdb"); err == nil {
		if file, err = filepath.EvalSymlinks(file); err == nil {
			return filepath.Dir(file), nil
		}
	}
	all, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(all) == 0 {
		return "", errors.Join(errNone, err)
	}
	version := func(file string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(file))))
		return n
	}
	latest := slices.MaxFunc(all, func(a, b string) int { return cmp.Compare(version(a), version(b)) })
	return filepath.Dir(latest), nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// URL returns the URL of the database that every server has.
func (s *Server) URL() string {
	u := url.URL{Scheme: "postgres", Path: "/postgres", RawQuery: url.Values{"host": {s.dir}, "user": {"switchhook"}}.Encode()}
	return u.String()
}

// Socket returns the address of the Unix socket that the server listens on.
func (s *Server) Socket() string { return filepath.Join(s.dir, ".s.PGSQL.5432") }

// Run starts the server again after [Server.Stop] or [Server.Kill], and returns when
// it answers.
func (s *Server) Run() error {
	// The shell outlives this process by a moment, whatever ends it: it waits for the
	// end of its standard input, then ends the server and removes the directory.
	const script = `
		"$0" "$@" >> log 2>&1 &
		server=$!
		read -r keep
		kill -QUIT $server 2>/dev/null
		wait $server
		[ "$keep" = keep ] || rm -rf "$PWD"`
	args := []string{"-c", script, filepath.Join(s.bin, "postgres"), "-D", s.data(), "-k", s.dir, "-c", "listen_addresses="}
	for _, x := range slices.Concat([]string{"fsync=off", "max_connections=300", "shared_buffers=32MB"}, s.settings) {
		args = append(args, "-c", x)
	}
	shell := exec.Command("sh", args...)
	shell.SysProcAttr, shell.Dir = s.as, s.dir
	hold, err := shell.StdinPipe()
	if err != nil {
		return err
	}
	if err := shell.Start(); err != nil {
		return err
	}
	s.hold, s.ended = hold, make(chan struct{})
	go func() {
		_ = shell.Wait() // the server's log says what there is to say
		close(s.ended)
	}()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		c, err := pgconn.Connect(ctx, s.URL())
		if err == nil {
			err = c.Close(ctx)
		}
		cancel()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("the server does not answer: %w\n%s", err, log)
		}
	}
}

// Stop ends the server as an operator does who cannot wait: connections are cut off
// and transactions are given up.
func (s *Server) Stop() error { return s.signal(syscall.SIGINT) }

// Kill ends the server as a power cut does: at once and all of it.
func (s *Server) Kill() error { return s.signal(syscall.SIGQUIT) }

func (s *Server) signal(sig syscall.Signal) error {
	text, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		return err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, sig); err != nil {
		return err
	}
	return s.end("keep\n")
}

// end waits for the server's end.
func (s *Server) end(word string) error {
	_, err := io.WriteString(s.hold, word)
	err = errors.Join(err, s.hold.Close())
	<-s.ended
	return err
}

func (s *Server) remove() {
	select {
	case <-s.ended:
		_ = os.RemoveAll(s.dir)
	default:
		_ = s.end("\n")
	}
}
