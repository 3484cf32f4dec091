//go:build unix

package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nobody makes a command run without the rights of root, to whom a directory is
// never read-only.
func nobody(t *testing.T, cmd *exec.Cmd, paths ...string) *exec.Cmd {
	t.Helper()
	if os.Getuid() != 0 {
		return cmd
	}
	const id = 65534
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
	must(t, os.Chmod(buildDir, 0o755))
	for _, p := range paths {
		must(t, os.Chown(p, id, id))
	}
	return cmd
}

// In a directory that cannot be written to, the program does not start, and says
// what is the matter in one line. If the directory becomes read-only while it
// serves, it goes on: what it needs is open.
func TestReadOnlyDirectory(t *testing.T) {
	base, err := os.MkdirTemp("/tmp", "switchhook-readonly-*") // t.TempDir is closed to others
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(base)) })
	must(t, os.Chmod(base, 0o755))
	in := install(t)
	dir := filepath.Join(base, "data")
	must(t, os.Mkdir(dir, 0o700))
	in.dir = dir
	must(t, os.WriteFile(in.masterKey(), []byte(testMasterKey), 0o600))
	in.create()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	must(t, err)
	keys := nobody(t, exec.Command(program(t), "keys", "create", "--database", in.database(), "--master-key-file", in.masterKey()), append(files, dir)...)
	out, err := keys.Output()
	must(t, err)
	in.key = strings.TrimSpace(string(out))
	serve := func(database string) *exec.Cmd {
		return nobody(t, exec.Command(program(t), "serve", "--dev", "--ready", "--listen", "127.0.0.1:0", "--log-level", "error",
			"--database", database, "--master-key-file", in.masterKey()))
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })

	p := in.start(serve(in.database()))
	b := openInbox(t, "inbox", "secret-of-inbox")
	p.subscribe(b)
	must(t, os.Chmod(dir, 0o500))
	pub := &producers{t: t, acked: map[string]time.Time{}}
	for _, name := range []string{"one", "two"} {
		res, answer, err := p.call(t.Context(), http.DefaultClient, "POST", "/v2/events", "application/json", strings.NewReader(numbered(name)))
		must(t, err)
		if res.StatusCode != http.StatusAccepted {
			t.Fatalf("status %d %s", res.StatusCode, answer)
		}
		pub.acked[name] = time.Now()
	}
	waitFor(t, "what was published into a read-only directory", func() bool { return len(pub.missing(b)) == 0 })
	p.stop()

	for name, database := range map[string]string{"an existing database": in.database(), "a new database": "sqlite:" + filepath.Join(dir, "new.db")} {
		var stderr strings.Builder
		cmd := serve(database)
		cmd.Stderr = &stderr
		err := cmd.Run()
		text := strings.TrimSpace(stderr.String())
		if err == nil || strings.Count(text, "\n") > 0 || !strings.HasPrefix(text, "switchhook: ") || !strings.Contains(text, dir) || !strings.Contains(text, "must be writable") {
			t.Errorf("%s: err %v, stderr %q; want one line that names the directory and says that it must be writable", name, err, text)
		}
	}
}
