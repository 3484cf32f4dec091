package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/seal"
	"github.com/switchhook/switchhook/internal/store"
)

// process is a child of ours that said on its first line that it is ready.
type process struct {
	cmd  *exec.Cmd
	line string
}

// start runs this program with other arguments.
func (b *bench) start(ctx context.Context, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s did not start", args[0]), err)
	}
	return &process{cmd, strings.TrimSpace(line)}, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	_ = p.cmd.Wait()
}

// cpu returns the processor time the process has used.
func (p *process) cpu() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100 on Linux
}

// memory returns the process's resident memory now and at its highest, in MiB.
func (p *process) memory() (now, peak float64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch {
		case len(f) < 2:
		case f[0] == "VmRSS:":
			now, _ = strconv.ParseFloat(f[1], 64)
		case f[0] == "VmHWM:":
			peak, _ = strconv.ParseFloat(f[1], 64)
		}
	}
	return now / 1024, peak / 1024
}

// platform starts a platform on a fresh database with an app for each URL, bound
// to carrier codes from 1 on.
func (b *bench) platform(ctx context.Context, name string, urls ...string) (*process, string, error) {
	return b.platformWith(ctx, name, func(*store.DB) error { return nil }, urls...)
}

// platformWith lets prepare add to the database first.
func (b *bench) platformWith(ctx context.Context, name string, prepare func(*store.DB) error, urls ...string) (*process, string, error) {
	keyFile := filepath.Join(b.dir, name+".key")
	key, _, err := seal.LoadOrCreate(keyFile)
	if err != nil {
		return nil, "", err
	}
	database := "sqlite:" + filepath.Join(b.dir, name+".db")
	if b.database != "" {
		var remove func(context.Context) error
		if database, remove, err = store.Scratch(ctx, b.database); err != nil {
			return nil, "", err
		}
		b.remove = append(b.remove, remove)
	}
	b.opened = store.Options{Database: database, Key: key}
	db, err := store.Open(ctx, b.opened)
	if err != nil {
		return nil, "", err
	}
	c := hook.Change{Accounts: []*hook.Account{{ID: "bench"}}}
	now := time.Now()
	for i, url := range urls {
		app := &hook.App{
			ID: fmt.Sprint("app", i), Account: "bench", Name: fmt.Sprint("app", i), ClientID: fmt.Sprint("client", i), ClientSecret: hook.HashSecret(benchSecret),
			Scopes: []string{"number_management_numbers:read:admin", "marketplace_app:read"}, CarrierCodes: []int32{int32(i + 1)}, SecretToken: benchSecret, Created: now,
		}
		id := hook.NewID()
		k, _ := hook.KeyOf(id)
		c.Apps = append(c.Apps, app)
		c.Subscriptions = append(c.Subscriptions, &hook.Subscription{
			ID: id, Key: k, App: app.ID, Name: "bench", Events: []string{benchEvent}, Scope: hook.ScopeAccount, Subscribers: []hook.Subscriber{{}},
			Endpoint: hook.Endpoint{URL: url, State: hook.Valid, Checked: now}, Source: hook.SourceDefault, Created: now,
		})
	}
	b.key = hook.NewSecret()
	err = errors.Join(
		db.Change(c, now),
		db.CreateKey(&hook.OperatorKey{ID: hook.NewID(), Name: "bench", Scopes: hook.KeyScopes(), Created: now}, hook.Secret(b.key)),
		prepare(db),
		db.Close(),
	)
	if err != nil {
		return nil, "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	addr := l.Addr().String()
	_ = l.Close()
	p, err := b.start(ctx, "serve", "--dev", "--database", database, "--master-key-file", keyFile, "--listen", addr, "--log-level", "error", "--ready")
	return p, "http://" + addr + "/v2/events", err
}
