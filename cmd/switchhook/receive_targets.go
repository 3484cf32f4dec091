package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/switchhook/switchhook/internal/forward"
	"github.com/switchhook/switchhook/internal/forward/amqp"
	"github.com/switchhook/switchhook/internal/forward/kafka"
	"github.com/switchhook/switchhook/internal/forward/nats"
	"github.com/switchhook/switchhook/internal/forward/postgres"
)

// These are the targets that are servers with a protocol of their own.

type postgresFile struct {
	URL      urlFile       `yaml:"url"`
	Password *secretFile   `yaml:"password"`
	Schema   string        `yaml:"schema"`
	Events   *string       `yaml:"events-table"`
	Numbers  *string       `yaml:"numbers-table"`
	Create   *bool         `yaml:"create-tables"`
	Timeout  time.Duration `yaml:"timeout"`
}

// The tables, unless they have other names.
const (
	eventsTable  = "switchhook_events"
	numbersTable = "switchhook_numbers"
)

type natsFile struct {
	URLs        []urlFile     `yaml:"urls"`
	User        string        `yaml:"user"`
	Password    *secretFile   `yaml:"password"`
	Token       *secretFile   `yaml:"token"`
	Credentials string        `yaml:"credentials"`
	NKey        string        `yaml:"nkey"`
	Subject     string        `yaml:"subject"`
	Stream      string        `yaml:"stream"`
	Timeout     time.Duration `yaml:"timeout"`
	Files       tlsFile       `yaml:",inline"`
}

type kafkaFile struct {
	Brokers []string `yaml:"brokers"`
	Topic   string   `yaml:"topic"`
	Key     string   `yaml:"key"`
	SASL    *struct {
		Mechanism string     `yaml:"mechanism"`
		User      string     `yaml:"user"`
		Password  secretFile `yaml:"password"`
	} `yaml:"sasl"`
	TLS        bool          `yaml:"tls"`
	MaxMessage byteSize      `yaml:"max-message"`
	Timeout    time.Duration `yaml:"timeout"`
	Files      tlsFile       `yaml:",inline"`
}

type amqpFile struct {
	URLs       []urlFile     `yaml:"urls"`
	User       string        `yaml:"user"`
	Password   *secretFile   `yaml:"password"`
	Exchange   string        `yaml:"exchange"`
	RoutingKey string        `yaml:"routing-key"`
	Unrouted   bool          `yaml:"unrouted"`
	Timeout    time.Duration `yaml:"timeout"`
	Files      tlsFile       `yaml:",inline"`
}

// urlFile is a URL, or where it is if there is a password in it.
type urlFile struct {
	text   string
	secret secretFile
}

// UnmarshalYAML reads a text, or where one is.
func (u *urlFile) UnmarshalYAML(read func(any) error) error {
	if read(&u.text) != nil {
		return read(&u.secret)
	}
	if hasPassword(u.text) {
		return errors.New("there is a password in a URL, and it does not belong into this file; say where the password is, or where the whole URL is: {file: PATH} or {env: NAME}")
	}
	return nil
}

// passwordIn finds what may be a password, also where it is in no URL. What is before
// the @ of a URL of NATS is a token.
var passwordIn = regexp.MustCompile(`(?i)^(nats|tls)://[^/]*@|://[^/?#]*:[^/?#]*@|password\s*=`)

func hasPassword(text string) bool { return passwordIn.MatchString(text) }

func (u urlFile) read() (string, error) {
	if u.text != "" {
		return u.text, nil
	}
	return u.secret.read()
}

func readURLs(all []urlFile) (texts []string, err error) {
	for _, u := range all {
		text, err := u.read()
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// readSecret returns a secret, or nothing if it is not set.
func (s *secretFile) readSecret(name string) (string, error) {
	if s == nil {
		return "", nil
	}
	text, err := s.read()
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return text, nil
}

// tlsFile says how servers are known, and how this is known to them.
type tlsFile struct {
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// config returns nil if nothing is set.
func (f tlsFile) config() (*tls.Config, error) {
	if (f == tlsFile{}) {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	var err error
	if c.RootCAs, err = authorities(f.CA); err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	if (f.Cert == "") != (f.Key == "") {
		return nil, errors.New("cert and key go together")
	}
	if f.Cert != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, fmt.Errorf("cert: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func openPostgres(f forwarderFile, _ io.Writer) (forward.Target, error) {
	p := f.Postgres
	address, err := p.URL.read()
	if err != nil {
		return nil, fmt.Errorf("postgres: url: %w", err)
	}
	password, err := p.Password.readSecret("password")
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	c := postgres.Config{
		URL: address, Password: password, Timeout: p.Timeout, Keep: p.Create != nil && !*p.Create,
		Tables: postgres.Tables{Schema: p.Schema, Events: eventsTable, Numbers: numbersTable},
	}
	// One that is there and empty says that there is to be no such table.
	if p.Events != nil {
		c.Events = *p.Events
	}
	if p.Numbers != nil {
		c.Numbers = *p.Numbers
	}
	return postgres.New(c)
}

func openNATS(f forwarderFile, _ io.Writer) (forward.Target, error) {
	n := f.NATS
	c := nats.Config{User: n.User, Credentials: n.Credentials, NKey: n.NKey, Subject: n.Subject, Stream: n.Stream, Timeout: n.Timeout}
	var err error
	if c.URLs, err = readURLs(n.URLs); err != nil {
		return nil, fmt.Errorf("nats: urls: %w", err)
	}
	c.Password, err = n.Password.readSecret("password")
	if err == nil {
		c.Token, err = n.Token.readSecret("token")
	}
	if err == nil {
		c.TLS, err = n.Files.config()
	}
	if err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	return nats.New(c)
}

func openKafka(f forwarderFile, _ io.Writer) (forward.Target, error) {
	k := f.Kafka
	if k.MaxMessage > 1<<30 {
		return nil, errors.New("kafka: max-message: no broker takes more than 1GiB")
	}
	c := kafka.Config{Brokers: k.Brokers, Topic: k.Topic, Key: k.Key, MaxMessage: int32(k.MaxMessage), Timeout: k.Timeout}
	var err error
	if c.TLS, err = k.Files.config(); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	if k.TLS && c.TLS == nil {
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if k.SASL != nil {
		c.SASL, c.User = cmp.Or(k.SASL.Mechanism, "SCRAM-SHA-512"), k.SASL.User
		if c.Password, err = k.SASL.Password.read(); err != nil {
			return nil, fmt.Errorf("kafka: sasl: password: %w", err)
		}
	}
	return kafka.New(c)
}

func openAMQP(f forwarderFile, _ io.Writer) (forward.Target, error) {
	a := f.AMQP
	c := amqp.Config{User: a.User, Exchange: a.Exchange, RoutingKey: a.RoutingKey, Unrouted: a.Unrouted, Timeout: a.Timeout}
	var err error
	if c.URLs, err = readURLs(a.URLs); err != nil {
		return nil, fmt.Errorf("amqp: urls: %w", err)
	}
	c.Password, err = a.Password.readSecret("password")
	if err == nil {
		c.TLS, err = a.Files.config()
	}
	if err != nil {
		return nil, fmt.Errorf("amqp: %w", err)
	}
	return amqp.New(c)
}

// database returns the target for a database that --forward-to names, if it does.
func database(to string) (*postgresFile, error) {
	if !strings.HasPrefix(to, "postgres://") && !strings.HasPrefix(to, "postgresql://") {
		return nil, nil
	}
	name := envName("forward-to")
	if hasPassword(to) && !strings.Contains(os.Getenv(name), to) {
		return nil, fmt.Errorf("--forward-to: everybody on this machine can see a password on the command line; have the URL in %s, or the password in PGPASSFILE", name)
	}
	return &postgresFile{URL: urlFile{text: to}}, nil
}
