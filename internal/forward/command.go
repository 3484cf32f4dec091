package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// CommandConfig says which program is run for each event.
type CommandConfig struct {
	// Args are the program and its arguments. There is no shell in between.
	Args []string
	// Timeout is how long it may run. 0 means 30 seconds.
	Timeout time.Duration
}

// Command returns a target that runs a program for each event, with the body as its
// standard input and the rest in its environment. Exit code 0 takes the event.
func Command(c CommandConfig) (Target, error) {
	if len(c.Args) == 0 {
		return nil, errors.New("forward: no command")
	}
	path, err := exec.LookPath(c.Args[0])
	if err != nil {
		return nil, fmt.Errorf("forward: %w", err)
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	return &commandTarget{path: path, config: c}, nil
}

type commandTarget struct {
	path   string
	config CommandConfig
}

func (t *commandTarget) Close() error { return nil }

func (t *commandTarget) Take(ctx context.Context, messages []*Message) (int, error) {
	m := messages[0]
	run, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	cmd := exec.CommandContext(run, t.path, t.config.Args[1:]...)
	cmd.Args[0] = t.config.Args[0]
	cmd.Stdin = bytes.NewReader(m.Body)
	cmd.Env = append(os.Environ(),
		"SWITCHHOOK_KEY="+m.Key,
		"SWITCHHOOK_EVENT="+strconv.FormatInt(m.ID, 10),
		"SWITCHHOOK_NAME="+strings.ReplaceAll(m.Name, "\x00", ""),
		"SWITCHHOOK_SOURCE="+m.Source,
		"SWITCHHOOK_RECEIVED="+m.Received.UTC().Format(time.RFC3339Nano),
		"SWITCHHOOK_REQUEST_ID="+m.RequestID,
		"SWITCHHOOK_REPLAY="+strconv.FormatBool(m.Replay),
	)
	said := &tail{}
	cmd.Stdout, cmd.Stderr = said, said
	cmd.WaitDelay = time.Second // for children that keep its output open
	err := cmd.Run()
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay): // it has ended well, only a child of it has not
		return 1, nil
	case run.Err() != nil && ctx.Err() == nil:
		err = fmt.Errorf("it did not end within %v", t.config.Timeout)
	}
	if text := strings.TrimSpace(string(said.b)); text != "" {
		err = fmt.Errorf("%w; it said: %.300q", err, text)
	}
	return 0, fmt.Errorf("%s: %w", t.config.Args[0], err)
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	const most = 300
	t.b = append(t.b, p[max(0, len(p)-most):]...)
	t.b = t.b[max(0, len(t.b)-most):]
	return len(p), nil
}
