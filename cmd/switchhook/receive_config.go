package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/switchhook/switchhook/internal/forward"
	"github.com/switchhook/switchhook/internal/gateway"
	inboxes "github.com/switchhook/switchhook/internal/inbox"
	"github.com/switchhook/switchhook/webhook"
)

// receiveFile is what a gateway's file has beside the flags.
type receiveFile struct {
	sources    []sourceFile
	forwarders []forwarderFile
}

// The keys of it.
const (
	keySources    = "sources"
	keyForwarders = "forwarders"
)

// sourceFile is a source as people write it.
type sourceFile struct {
	Name      string        `yaml:"name"`
	Path      string        `yaml:"path"`
	Secrets   []secretFile  `yaml:"secrets"`
	Tolerance time.Duration `yaml:"tolerance"`
	MaxBody   byteSize      `yaml:"max-body"`
	Auth      []authFile    `yaml:"auth"`
}

// authFile is one way to authenticate beside the signature.
type authFile struct {
	Basic *struct {
		Username string     `yaml:"username"`
		Password secretFile `yaml:"password"`
	} `yaml:"basic"`
	Bearer *secretFile `yaml:"bearer"`
	Header *struct {
		Name  string     `yaml:"name"`
		Value secretFile `yaml:"value"`
	} `yaml:"header"`
	OAuth *struct {
		ClientID      string        `yaml:"client-id"`
		ClientSecrets []secretFile  `yaml:"client-secrets"`
		Path          string        `yaml:"path"`
		Life          time.Duration `yaml:"life"`
	} `yaml:"oauth"`
}

// secretFile says where a secret is. It is never in the file itself, which people show
// each other.
type secretFile struct {
	File string `yaml:"file"`
	Env  string `yaml:"env"`
}

func (s secretFile) read() (string, error) {
	switch {
	case (s.File == "") == (s.Env == ""):
		return "", errors.New("say where the secret is: file or env, one of them")
	case s.File != "":
		text, err := os.ReadFile(s.File)
		secret := strings.TrimSpace(string(text))
		if err == nil && secret == "" {
			err = fmt.Errorf("there is no secret in %s", s.File)
		}
		return secret, err
	}
	text, ok := os.LookupEnv(s.Env)
	if !ok {
		return "", fmt.Errorf("the environment variable %s is not set", s.Env)
	}
	return strings.TrimSpace(text), nil
}

func readSecrets(all []secretFile) (texts []string, err error) {
	for _, s := range all {
		text, err := s.read()
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// forwarderFile is a forwarder as people write it. One of the targets is set.
type forwarderFile struct {
	Name     string        `yaml:"name"`
	Sources  []string      `yaml:"sources"`
	Events   []string      `yaml:"events"`
	OnlyNew  bool          `yaml:"only-new"`
	MinPause time.Duration `yaml:"min-pause"`
	MaxPause time.Duration `yaml:"max-pause"`
	GiveUp   time.Duration `yaml:"give-up-after"`

	HTTP    *httpFile    `yaml:"http"`
	File    *fileFile    `yaml:"file"`
	Command *commandFile `yaml:"command"`
	Stdout  *struct{}    `yaml:"stdout"`

	Postgres *postgresFile `yaml:"postgres"`
	NATS     *natsFile     `yaml:"nats"`
	Kafka    *kafkaFile    `yaml:"kafka"`
	AMQP     *amqpFile     `yaml:"amqp"`
}

type httpFile struct {
	URL           string                `yaml:"url"`
	Secret        *secretFile           `yaml:"secret"`
	Headers       map[string]string     `yaml:"headers"`
	SecretHeaders map[string]secretFile `yaml:"secret-headers"`
	Timeout       time.Duration         `yaml:"timeout"`
	Parallel      int                   `yaml:"parallel"`
	CA            string                `yaml:"ca"`
}

type fileFile struct {
	Path   string   `yaml:"path"`
	Rotate byteSize `yaml:"rotate"`
	Keep   int      `yaml:"keep"`
}

type commandFile struct {
	Args    []string      `yaml:"args"`
	Timeout time.Duration `yaml:"timeout"`
}

// forwardTargets are the kinds of targets there are: how each is opened, if it is set.
var forwardTargets = []struct {
	key  string
	set  func(forwarderFile) bool
	open func(f forwarderFile, stdout io.Writer) (forward.Target, error)
}{
	{"http", func(f forwarderFile) bool { return f.HTTP != nil }, openHTTP},
	{"file", func(f forwarderFile) bool { return f.File != nil }, func(f forwarderFile, _ io.Writer) (forward.Target, error) {
		if f.File.Path == "" || f.File.Rotate < 0 || f.File.Keep < 0 {
			return nil, errors.New("file: path is needed, and rotate and keep must not be negative")
		}
		return forward.File(forward.FileConfig{Path: f.File.Path, Rotate: int64(f.File.Rotate), Keep: f.File.Keep})
	}},
	{"command", func(f forwarderFile) bool { return f.Command != nil }, func(f forwarderFile, _ io.Writer) (forward.Target, error) {
		return forward.Command(forward.CommandConfig{Args: f.Command.Args, Timeout: f.Command.Timeout})
	}},
	{"stdout", func(f forwarderFile) bool { return f.Stdout != nil }, func(_ forwarderFile, stdout io.Writer) (forward.Target, error) {
		return forward.Writer(stdout), nil
	}},
	{"postgres", func(f forwarderFile) bool { return f.Postgres != nil }, openPostgres},
	{"nats", func(f forwarderFile) bool { return f.NATS != nil }, openNATS},
	{"kafka", func(f forwarderFile) bool { return f.Kafka != nil }, openKafka},
	{"amqp", func(f forwarderFile) bool { return f.AMQP != nil }, openAMQP},
}

// open opens the target of a forwarder.
func (f forwarderFile) open(stdout io.Writer) (forward.Target, error) {
	for _, t := range forwardTargets {
		if t.set(f) {
			return t.open(f, stdout)
		}
	}
	return nil, errors.New("it has no target")
}

func openHTTP(f forwarderFile, _ io.Writer) (forward.Target, error) {
	c := forward.HTTPConfig{URL: f.HTTP.URL, Timeout: f.HTTP.Timeout, Parallel: f.HTTP.Parallel, Header: http.Header{}}
	var err error
	if f.HTTP.Secret != nil {
		if c.Secret, err = f.HTTP.Secret.read(); err != nil {
			return nil, fmt.Errorf("http: secret: %w", err)
		}
	}
	for name, value := range f.HTTP.Headers {
		c.Header.Set(name, value)
	}
	for name, value := range f.HTTP.SecretHeaders {
		text, err := value.read()
		if err != nil {
			return nil, fmt.Errorf("http: header %s: %w", name, err)
		}
		c.Header.Set(name, text)
	}
	if c.CAs, err = authorities(f.HTTP.CA); err != nil {
		return nil, fmt.Errorf("http: ca: %w", err)
	}
	return forward.HTTP(c)
}

// byteSize is a number of bytes, as in 64MiB.
type byteSize int64

// UnmarshalYAML reads a number with or without a unit.
func (s *byteSize) UnmarshalYAML(text []byte) error {
	n, err := parseSize(strings.Trim(strings.TrimSpace(string(text)), `"'`))
	*s = byteSize(n)
	return err
}

func parseSize(text string) (int64, error) {
	digits := strings.TrimRight(text, "KMGiB")
	shift, ok := map[string]int{"": 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30}[text[len(digits):]]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !ok || n < 0 || n > 1<<62>>shift {
		return 0, fmt.Errorf("%q is not a number of bytes, as in 65536, 64KiB or 1GiB", text)
	}
	return n << shift, nil
}

// readReceiveFile reads what a gateway's file has beside the flags.
func readReceiveFile(file string) (f receiveFile, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return f, err
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for document := range 2 {
		var whole any
		if err := dec.Decode(&whole); err == nil && document > 0 {
			return f, fmt.Errorf("%s: has more than one document", file)
		}
	}
	for key, into := range map[string]any{keySources: &f.sources, keyForwarders: &f.forwarders} {
		path, err := yaml.PathString("$." + key)
		if err != nil {
			return f, err
		}
		node, err := path.ReadNode(bytes.NewReader(text))
		if yaml.IsNotFoundNodeError(err) {
			continue
		}
		if err == nil {
			err = yaml.NodeToValue(node, into, yaml.Strict())
		}
		if err != nil {
			return f, fmt.Errorf("%s: %s: %s", file, key, yamlFault(err))
		}
	}
	return f, nil
}

// check finds what is wrong with it before anything is opened.
func (f receiveFile) check() error {
	var names []string
	for i, s := range f.sources {
		if err := checkName("source", i, s.Name, names); err != nil {
			return err
		}
		names = append(names, s.Name)
	}
	var forwarders []string
	files := map[string]string{} // forwarders by the file that they write to
	for i, w := range f.forwarders {
		if err := checkName("forwarder", i, w.Name, forwarders); err != nil {
			return err
		}
		forwarders = append(forwarders, w.Name)
		var set []string
		for _, t := range forwardTargets {
			if t.set(w) {
				set = append(set, t.key)
			}
		}
		if len(set) != 1 {
			var keys []string
			for _, t := range forwardTargets {
				keys = append(keys, t.key)
			}
			return fmt.Errorf("forwarder %s has %d targets, and needs one of %s", w.Name, len(set), strings.Join(keys, ", "))
		}
		if w.File != nil {
			// Each would write over what the other has written.
			file, err := filepath.Abs(w.File.Path)
			if other, ok := files[file]; ok && err == nil {
				return fmt.Errorf("forwarders %s and %s write to the same file, %s; let each have one of its own", other, w.Name, w.File.Path)
			}
			files[file] = w.Name
		}
		for _, s := range w.Sources {
			if !slices.Contains(names, s) {
				return fmt.Errorf("forwarder %s: there is no source %q", w.Name, s)
			}
		}
		if w.MinPause < 0 || w.MaxPause < 0 || w.GiveUp < 0 {
			return fmt.Errorf("forwarder %s: min-pause, max-pause and give-up-after must not be negative", w.Name)
		}
	}
	return nil
}

func checkName(what string, i int, name string, before []string) error {
	switch {
	case name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return fmt.Errorf("%s %d: name %q: a name is needed, without spaces", what, i+1, name)
	case slices.Contains(before, name):
		return fmt.Errorf("there are two %ss with the name %s", what, name)
	}
	return nil
}

// gatewaySources returns the sources with their secrets.
func (f receiveFile) gatewaySources(report func(*http.Request, error)) (all []gateway.Source, err error) {
	for _, s := range f.sources {
		own, err := s.source(report)
		if err != nil {
			return nil, fmt.Errorf("source %s: %w", s.Name, err)
		}
		all = append(all, own)
	}
	return all, nil
}

func (s sourceFile) source(report func(*http.Request, error)) (own gateway.Source, err error) {
	own = gateway.Source{Name: s.Name, Path: s.Path, Tolerance: s.Tolerance, MaxBody: int64(s.MaxBody)}
	if own.Secrets, err = readSecrets(s.Secrets); err != nil {
		return own, fmt.Errorf("secrets: %w", err)
	}
	for i, a := range s.Auth {
		one, err := a.auth(&own, report)
		if err != nil {
			return own, fmt.Errorf("auth %d: %w", i+1, err)
		}
		own.Auth = append(own.Auth, one)
	}
	return own, nil
}

// defaultTokenPath is where tokens are asked for unless the source says otherwise.
const defaultTokenPath = "/oauth/token" //nolint:gosec // it is where secrets are asked for, and none

func (a authFile) auth(own *gateway.Source, report func(*http.Request, error)) (webhook.Auth, error) {
	set := 0
	for _, is := range []bool{a.Basic != nil, a.Bearer != nil, a.Header != nil, a.OAuth != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return webhook.Auth{}, errors.New("it needs one of basic, bearer, header, oauth")
	}
	switch {
	case a.Basic != nil:
		password, err := a.Basic.Password.read()
		return webhook.Basic(a.Basic.Username, password), err
	case a.Bearer != nil:
		token, err := a.Bearer.read()
		return webhook.Bearer(token), err
	case a.Header != nil:
		value, err := a.Header.Value.read()
		return webhook.Header(a.Header.Name, value), err
	}
	if own.Tokens != nil {
		return webhook.Auth{}, errors.New("a source gives tokens to one client")
	}
	secrets, err := readSecrets(a.OAuth.ClientSecrets)
	if err != nil {
		return webhook.Auth{}, fmt.Errorf("client-secrets: %w", err)
	}
	own.Tokens, err = webhook.NewTokenServer(webhook.TokenConfig{
		ClientID: a.OAuth.ClientID, ClientSecrets: secrets, Life: a.OAuth.Life, Error: report,
	})
	if err != nil {
		return webhook.Auth{}, err
	}
	if own.TokenPath = a.OAuth.Path; own.TokenPath == "" {
		own.TokenPath = defaultTokenPath
	}
	return own.Tokens.Auth(), nil
}

// hasSecret reports whether something of a forwarder is elsewhere than in the file.
func (f forwarderFile) hasSecret() bool {
	return f.HTTP != nil && (f.HTTP.Secret != nil || len(f.HTTP.SecretHeaders) > 0 || f.HTTP.CA != "") ||
		f.Postgres != nil || f.NATS != nil || f.Kafka != nil || f.AMQP != nil
}

func (f forwarderFile) filter() inboxes.Filter {
	return inboxes.Filter{Sources: f.Sources, Names: f.Events}
}
