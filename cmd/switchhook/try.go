package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/outbound"
)

// trial is an endpoint that a command sends to, as if an app had subscribed it.
type trial struct {
	secret       *secretTokens
	customHeader string
	clientID     string
	catalogs     []string
	ca           string
	userAgent    string
}

// addTrial gives a command the flags that say how to send to an endpoint.
func addTrial(cmd *cobra.Command) *trial {
	t := &trial{secret: addSecret(cmd)}
	fl := cmd.Flags()
	fl.StringVar(&t.customHeader, "custom-header", "", "YAML file with what a manifest has under custom_header of a subscription; ${NAME} is an environment variable")
	fl.StringVar(&t.clientID, "client-id", "", "what to send as clientid; without it, a random one")
	fl.StringArrayVar(&t.catalogs, "catalog", nil, "OpenAPI 3.1 document with more event types than the built-in ones")
	fl.StringVar(&t.ca, "ca", "", "file with certificate authorities in PEM form that may certify the endpoint, beside the system's")
	fl.StringVar(&t.userAgent, "user-agent", userAgent(), "what to send as user-agent")
	return t
}

// everywhere permits every address: whoever sends from their own machine may send to
// it, and to those beside it.
func everywhere() hook.EndpointPolicy {
	return hook.EndpointPolicy{HTTP: true, AnyHeader: true, Allowed: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}
}

// checkURL says what is wrong with a URL that somebody sends to. It says what one looks
// like, because those who try something on their own machine leave away http://.
func checkURL(raw string) error {
	if begin := strings.ToLower(raw); !strings.HasPrefix(begin, "http://") && !strings.HasPrefix(begin, "https://") {
		return &usageError{fmt.Errorf("%q is not a URL like http://localhost:8080/webhooks", raw)}
	}
	if msg := everywhere().CheckURL(raw); msg != "" {
		return &usageError{fmt.Errorf("the URL %q %s", raw, msg)}
	}
	return nil
}

// target is what requests are sent with.
type target struct {
	client *outbound.Client
	ids    *hook.IDs
	app    *hook.App
	sub    *hook.Subscription
	url    string
}

// open prepares sending to a URL.
func (t *trial) open(cmd *cobra.Command, url string, policy hook.EndpointPolicy) (*target, error) {
	if err := checkURL(url); err != nil {
		return nil, err
	}
	secrets, err := t.secret.read(cmd.InOrStdin())
	if err != nil {
		return nil, err
	}
	auth, err := readCustomHeader(t.customHeader, policy)
	if err != nil {
		return nil, err
	}
	cas, err := authorities(t.ca)
	if err != nil {
		return nil, err
	}
	id := hook.NewID()
	key, err := hook.KeyOf(id)
	if err != nil {
		return nil, err
	}
	return &target{
		client: outbound.New(outbound.Config{Policy: policy, CAs: cas, UserAgent: t.userAgent, KeepBody: outbound.MaxKeepBody}),
		ids:    hook.NewIDs(0, 0),
		app:    &hook.App{ClientID: cmp.Or(t.clientID, hook.NewID()), SecretToken: hook.Secret(secrets[0])},
		sub:    &hook.Subscription{ID: id, Key: key, Auth: auth, Endpoint: hook.Endpoint{URL: url}},
		url:    url,
	}, nil
}

// endpoint prepares sending with the app's secret, or with another one.
func (t *target) endpoint(secret hook.Secret) *outbound.Endpoint {
	app := *t.app
	if secret != "" {
		app.SecretToken = secret
	}
	return t.client.EndpointAt(t.url, t.sub, &app)
}

// delivery returns a new delivery.
func (t *target) delivery() hook.DeliveryID {
	return hook.DeliveryID{Event: hook.EventID(t.ids.Next(time.Now())), Subscription: t.sub.Key}
}

// readCustomHeader reads the authentication beside the signature.
func readCustomHeader(file string, policy hook.EndpointPolicy) (hook.Auth, error) {
	if file == "" {
		return hook.Auth{}, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return hook.Auth{}, err
	}
	var c manage.CustomHeader
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		// Without the lines around it, which may hold secrets.
		return hook.Auth{}, fmt.Errorf("%s: %s", file, yamlFault(err))
	}
	m := manage.Manifest{Apps: []manage.App{{Subscriptions: []manage.Subscription{{CustomHeader: &c}}}}}
	if err := expand(&m); err != nil {
		return hook.Auth{}, fmt.Errorf("%s: %w", file, err)
	}
	auth, faults := m.Apps[0].Subscriptions[0].CustomHeader.Auth()
	if faults = append(faults, auth.Check(policy)...); len(faults) > 0 {
		return hook.Auth{}, fmt.Errorf("%s: %s %s", file, faults[0].Field, faults[0].Message)
	}
	return auth, nil
}

// types returns the event types that are known here.
func (t *trial) types() (*catalog.Catalog, error) {
	c := catalog.New(catalog.NumberManagement())
	for _, file := range t.catalogs {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		doc, err := catalog.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		c.Put(doc)
	}
	return c, nil
}

// names returns the names of the event types, for a sentence.
func typeNames(c *catalog.Catalog) string {
	var all []string
	for _, t := range c.Types() {
		all = append(all, t.Name)
	}
	const most = 12
	if len(all) > most {
		return strings.Join(all[:most], ", ") + fmt.Sprintf(" and %d more", len(all)-most)
	}
	return strings.Join(all, ", ")
}
