package amqp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rabbitmq/amqp091-go"

	"github.com/switchhook/switchhook/internal/freeport"
)

// rabbit is a RabbitMQ server of its own, in a temporary directory.
type rabbit struct {
	dir, script string
	address     string
	env         []string
	hold        io.WriteCloser // while it is open, the server runs
	ended       chan struct{}
}

// program is where Debian's package has the server. The one in the path wants to run as
// a user of its own.
const program = "/usr/lib/rabbitmq/bin/rabbitmq-server"

// shared is the server of this test binary.
var shared = sync.OnceValues(newRabbit)

// broker returns the server that tests share. It ends with the test binary, however
// that ends.
func broker(t *testing.T) *rabbit {
	t.Helper()
	if _, err := os.Stat(program); err != nil {
		why := "left out: there is no RabbitMQ on this machine (install Debian's package rabbitmq-server)"
		if os.Getenv("SWITCHHOOK_TEST_REQUIRE_ALL") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	r, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newRabbit() (*rabbit, error) {
	dir, err := os.MkdirTemp("", "switchhook-rabbit-*")
	if err != nil {
		return nil, err
	}
	ports, err := freeport.Take(3)
	if err != nil {
		return nil, err
	}
	r := &rabbit{dir: dir, address: fmt.Sprintf("127.0.0.1:%d", ports[0])}
	// Erlang's programs find each other by a program of theirs, which would outlive the
	// server; so there is one for this server alone.
	r.env = append(os.Environ(),
		"HOME="+dir, fmt.Sprintf("ERL_EPMD_PORT=%d", ports[1]), "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_CONF_ENV_FILE=/dev/null", "RABBITMQ_CONFIG_FILE="+filepath.Join(dir, "rabbitmq"), "RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(dir, "plugins"),
		fmt.Sprintf("RABBITMQ_NODENAME=switchhook%d@localhost", ports[0]), "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1", fmt.Sprintf("RABBITMQ_NODE_PORT=%d", ports[0]),
		fmt.Sprintf("RABBITMQ_DIST_PORT=%d", ports[2]), "RABBITMQ_MNESIA_BASE="+filepath.Join(dir, "data"), "RABBITMQ_LOG_BASE="+filepath.Join(dir, "log"), "RABBITMQ_LOGS=-",
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 1:1 +sbwt none -start_epmd false", "RUNNING_UNDER_SYSTEMD=true", // then it is one process and no shell around it
	)
	for name, text := range map[string]string{
		"plugins":          "[].",
		"rabbitmq.conf":    "log.console.level = warning\nmax_message_size = 20000\nload_definitions = " + filepath.Join(dir, "definitions.json") + "\n",
		"definitions.json": definitions,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	r.script = fmt.Sprintf(`
		epmd -port %[1]d -address 127.0.0.1 >> log.txt 2>&1 &
		names=$!
		until epmd -port %[1]d -names >/dev/null 2>&1; do
			kill -0 $names || exit
			sleep 0.1
		done
		%[2]s >> log.txt 2>&1 &
		server=$!
		read -r signal
		kill -${signal:-KILL} $server
		wait $server
		kill -KILL $names
		[ "$signal" ] || rm -rf "$PWD"`, ports[1], program)
	return r, r.run()
}

// definitions are those who may do something. Whoever is called mute may not publish.
const definitions = `{
	"vhosts": [{"name": "/"}, {"name": "closed"}],
	"users": [{"name": "app", "password": "geheim", "tags": ""}, {"name": "mute", "password": "geheim", "tags": ""}],
	"permissions": [
		{"user": "app", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
		{"user": "mute", "vhost": "/", "configure": "", "write": "", "read": ".*"}
	]
}`

// patience is how long anything of the server is waited for.
const patience = time.Minute

// run starts the server and returns when it answers. If it does not, it says what the
// server has said, and nothing of it is left.
func (r *rabbit) run() error {
	shell := exec.Command("sh", "-c", r.script)
	shell.Dir, shell.Env, shell.SysProcAttr = r.dir, r.env, &syscall.SysProcAttr{Setpgid: true}
	hold, err := shell.StdinPipe()
	if err != nil {
		return err
	}
	if err := shell.Start(); err != nil {
		return err
	}
	r.hold, r.ended = hold, make(chan struct{})
	go func() {
		_ = shell.Wait() // the server's log says what there is to say
		close(r.ended)
	}()
	end := time.Now().Add(patience)
	for {
		c, err := amqp091.DialConfig(r.url("app", "geheim"), amqp091.Config{Dial: amqp091.DefaultDial(5 * time.Second)})
		if err == nil {
			return c.Close()
		}
		select {
		case <-r.ended:
			err = errors.New("it has ended")
		case <-time.After(100 * time.Millisecond): // another process is to begin
			if time.Now().Before(end) {
				continue
			}
		}
		_ = syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) // the shell and what it has started
		<-r.ended
		log, _ := os.ReadFile(filepath.Join(r.dir, "log.txt"))
		_ = os.RemoveAll(r.dir)
		return fmt.Errorf("the server does not answer: %w\n%s", err, log)
	}
}

func (r *rabbit) url(user, password string) string {
	return fmt.Sprintf("amqp://%s:%s@%s/", user, password, r.address)
}

// kill ends the server as a power cut does.
func (r *rabbit) kill(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(r.hold, "KILL\n"); err != nil {
		t.Error(err)
	}
	if err := r.hold.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-r.ended:
	case <-time.After(patience):
		t.Fatal("the server was killed, and is still there")
	}
}

// control runs a command of the server's administration.
func (r *rabbit) control(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/usr/lib/rabbitmq/bin/rabbitmqctl", args...)
	cmd.WaitDelay = time.Second
	cmd.Dir, cmd.Env = r.dir, r.env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
