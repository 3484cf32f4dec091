package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/switchhook/switchhook/internal/smtptest"
)

// Servers are forwarded to as the file says, and what is wrong with that is said before
// anything is received, and never with a password.
func TestServerTargets(t *testing.T) {
	t.Setenv("SWITCHHOOK_SECRET", "secret-token-x")
	t.Setenv("SWITCHHOOK_CONFIG", "")
	t.Setenv("SWITCHHOOK_FORWARD_TO", "")
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	secret := file("secret", "open-sesame\n")
	pem := file("ca.pem", string(smtptest.CA().PEM()))
	t.Setenv("OWN_URL", "postgres://app:open-sesame@db.example/hooks")
	t.Setenv("BAD_URL", "postgres://app:open-sesame%@db.example/hooks")
	for name, c := range map[string]struct {
		target string // of a forwarder, or
		flag   string // of --forward-to
		env    string // the same in the environment
		want   string
	}{
		"postgres":                  {target: `postgres: {url: "postgres://app@db.example/hooks"}`},
		"postgres, all of it":       {target: `postgres: {url: "postgres://app@db.example/hooks", password: {file: SECRET}, schema: hooks, events-table: "", numbers-table: numbers, create-tables: false, timeout: 10s}`},
		"postgres, elsewhere":       {target: `postgres: {url: {env: OWN_URL}}`},
		"postgres, by flag":         {flag: "postgres://app@db.example/hooks"},
		"postgres, by environment":  {env: "postgresql://app:open-sesame@db.example/hooks"},
		"postgres, keywords":        {target: `postgres: {url: "host=db.example dbname=hooks user=app"}`},
		"a password in keywords":    {target: `postgres: {url: "host=db.example password = open-sesame"}`, want: "there is a password in a URL"},
		"a password in a URL":       {target: `postgres: {url: "postgres://app:open-sesame@db.example/hooks"}`, want: "there is a password in a URL"},
		"a password in a query":     {target: `postgres: {url: "postgres://db.example/hooks?sslpassword=open-sesame"}`, want: "there is a password in a URL"},
		"a password in a flag":      {flag: "postgres://app:open-sesame@db.example/hooks", want: "everybody on this machine can see a password"},
		"a URL that cannot be read": {target: `postgres: {url: {env: BAD_URL}}`, want: "the URL of the database cannot be read"},
		"no URL":                    {target: `postgres: {schema: x}`, want: "say where the secret is"},
		"no table":                  {target: `postgres: {url: "postgres://db.example/hooks", events-table: "", numbers-table: ""}`, want: "neither a table of events nor one of numbers"},
		"a key of postgres":         {target: `postgres: {url: "postgres://db.example/hooks", tables: x}`, want: `unknown field "tables"`},
		"a file that is not there":  {target: `postgres: {url: "postgres://db.example/hooks", password: {file: /no/such/file}}`, want: "postgres: password: open /no/such/file"},

		"nats":                        {target: `nats: {urls: ["nats://nats.example:4222", "tls://nats2.example"], stream: EVENTS, subject: "events.{event}"}`},
		"nats, all of it":             {target: `nats: {urls: ["nats://nats.example"], user: app, password: {file: SECRET}, token: {file: SECRET}, credentials: app.creds, ca: CA, timeout: 10s}`},
		"a token in a URL":            {target: `nats: {urls: ["nats://open-sesame@nats.example"]}`, want: "there is a password in a URL"},
		"no URL of nats":              {target: `nats: {}`, want: "nats: the URL of a server is missing"},
		"a subject":                   {target: `nats: {urls: ["nats://nats.example"], subject: "a b"}`, want: `nats: subject "a b": `},
		"a CA that is not there":      {target: `nats: {urls: ["nats://nats.example"], ca: /no/such/file}`, want: "nats: ca: open /no/such/file"},
		"a certificate without a key": {target: `nats: {urls: ["nats://nats.example"], cert: x.pem}`, want: "nats: cert and key go together"},

		"kafka":              {target: `kafka: {brokers: ["kafka.example:9092"], topic: events}`},
		"kafka, all of it":   {target: `kafka: {brokers: ["kafka.example:9092"], topic: "events.{source}", key: "{payload.account_id}", sasl: {mechanism: SCRAM-SHA-256, user: app, password: {file: SECRET}}, tls: true, ca: CA, max-message: 2MiB, timeout: 10s}`},
		"no topic":           {target: `kafka: {brokers: ["kafka.example:9092"]}`, want: "kafka: topic"},
		"a broker as a URL":  {target: `kafka: {brokers: ["kafka://kafka.example"], topic: events}`, want: "addresses are HOST:PORT"},
		"a mechanism":        {target: `kafka: {brokers: ["kafka.example:9092"], topic: events, sasl: {mechanism: plain, user: app, password: {file: SECRET}}}`, want: `there is no SASL mechanism "plain"`},
		"no password":        {target: `kafka: {brokers: ["kafka.example:9092"], topic: events, sasl: {user: app}}`, want: "kafka: sasl: password: say where the secret is"},
		"a giant of a batch": {target: `kafka: {brokers: ["kafka.example:9092"], topic: events, max-message: 2GiB}`, want: "no broker takes more than 1GiB"},

		"amqp":                {target: `amqp: {urls: ["amqp://rabbit.example/hooks"], exchange: events}`},
		"amqp, all of it":     {target: `amqp: {urls: ["amqps://rabbit.example/hooks"], user: app, password: {file: SECRET}, exchange: events, routing-key: "{event}", unrouted: true, ca: CA, timeout: 10s}`},
		"a routing key":       {target: `amqp: {urls: ["amqp://rabbit.example/hooks"], routing-key: "{evnt}"}`, want: "there is no {evnt}"},
		"a password for amqp": {target: `amqp: {urls: ["amqp://app:open-sesame@rabbit.example/hooks"]}`, want: "there is a password in a URL"},
		"another scheme":      {target: `amqp: {urls: ["http://rabbit.example/hooks"]}`, want: "amqp: a URL of a broker cannot be read"},
		"two servers":         {target: `nats: {urls: ["nats://nats.example"]}, kafka: {brokers: ["kafka.example:9092"], topic: x}`, want: "forwarder x has 2 targets, and needs one of http, file, command, stdout, postgres, nats, kafka, amqp"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("SWITCHHOOK_FORWARD_TO", c.env)
			args := []string{"receive", "--check", "--inbox", filepath.Join(dir, "inbox.db")}
			if c.target != "" {
				text := strings.NewReplacer("SECRET", secret, "CA}", pem+"}", "CA,", pem+",").Replace(c.target)
				args = append(args, "--config", file("gateway.yaml", "forwarders: [{name: x, "+text+"}]"))
			}
			if c.flag != "" {
				args = append(args, "--forward-to", c.flag)
			}
			var stdout, stderr strings.Builder
			code := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
			switch {
			case c.want == "" && (code != exitOK || !strings.Contains(stdout.String(), "1 forwarder")):
				t.Errorf("%d %s %s", code, stdout.String(), stderr.String())
			case c.want != "" && (code == exitOK || !strings.Contains(stderr.String(), c.want) || strings.Count(stderr.String(), "\n") != 1):
				t.Errorf("exit code %d, %s; want %s", code, stderr.String(), c.want)
			}
			if strings.Contains(stdout.String()+stderr.String(), "open-sesame") {
				t.Errorf("a secret is printed: %s", stderr.String())
			}
		})
	}
}
