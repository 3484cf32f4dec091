package hook

import (
	"net/mail"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// The lengths that names, ids and settings may have, in characters.
const (
	maxID     = 64
	maxName   = 128
	maxField  = 256 // user names, passwords, header names and values
	maxOAuth  = 255 // scope and state of a token request
	maxEvents = 1000

	// MaxURL is how many bytes a URL may have.
	MaxURL = 1000

	// MaxUsers is how many users one call or one entry of a manifest may name.
	MaxUsers = 10

	// MaxSubscribers is how many accounts and users one subscription may serve.
	MaxSubscribers = 10_000

	// MaxInFlight is the most requests one endpoint may be given at a time.
	MaxInFlight = 1024
)

var idPattern = regexp.MustCompile(`^[A-Za-z0-9_.:-]+$`)

func (f *Faults) id(field, s string) {
	switch {
	case s == "":
		f.Add(field, "is missing")
	case utf8.RuneCountInString(s) > maxID:
		f.Add(field, "is longer than %d characters", maxID)
	case !idPattern.MatchString(s):
		f.Add(field, "%q has characters other than A-Z a-z 0-9 _ . : -", s)
	}
}

func (f *Faults) text(field, s string, limit int) {
	switch {
	case !utf8.ValidString(s):
		f.Add(field, "is not valid UTF-8")
	case utf8.RuneCountInString(s) > limit:
		f.Add(field, "is longer than %d characters", limit)
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		f.Add(field, "has a line feed or another control character in it")
	}
}

func (f *Faults) required(field, s string, limit int) {
	if strings.TrimSpace(s) == "" {
		f.Add(field, "is missing")
		return
	}
	f.text(field, s, limit)
}

// Check returns what is wrong with the account.
func (a *Account) Check() Faults {
	var f Faults
	f.id("id", a.ID)
	f.text("name", a.Name, maxName)
	if a.OwnerEmail != "" {
		if m, err := mail.ParseAddress(a.OwnerEmail); err != nil || m.Address != a.OwnerEmail {
			f.Add("owner_email", "%q is not an e-mail address", a.OwnerEmail)
		}
	}
	if a.Master != "" {
		f.id("master_account_id", a.Master)
		if a.Master == a.ID {
			f.Add("master_account_id", "names the account itself")
		}
	}
	return f
}

// Check returns what is wrong with the app.
func (a *App) Check() Faults {
	var f Faults
	f.required("name", a.Name, maxName)
	f.id("account_id", a.Account)
	for _, s := range a.Scopes {
		if s == "" || strings.ContainsAny(s, " \t\r\n,") {
			f.Add("scopes", "%q is not a scope: it is empty or has white space or a comma in it", s)
		}
	}
	if n := len(a.SecretToken.Reveal()); n > 0 && (n < 8 || n > maxField) {
		f.Add("secret_token", "has %d bytes; 8 to %d are allowed", n, maxField)
	}
	f.text("secret_token", a.SecretToken.Reveal(), maxField)
	if a.State != "" && !slices.Contains(AppStates(), a.State) {
		f.Add("state", "%q is neither production nor development", string(a.State))
	}
	return f
}

// EndpointPolicy says which URLs the platform may call beyond the contract's
// public https ones. The zero value is the contract.
type EndpointPolicy struct {
	// HTTP permits http beside https.
	HTTP bool
	// Allowed are addresses that may be called although they are not public.
	Allowed []netip.Prefix
	// AnyHeader permits custom headers whose name does not begin with x-.
	AnyHeader bool
}

// Loopback are the addresses of the machine itself.
func Loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// Local reports whether the policy permits anything but public addresses, and
// with that host names that only a private resolver knows.
func (p EndpointPolicy) Local() bool { return len(p.Allowed) > 0 }

// Allows reports whether the address is among the allowed ones.
func (p EndpointPolicy) Allows(a netip.Addr) bool {
	return slices.ContainsFunc(p.Allowed, func(x netip.Prefix) bool { return x.Contains(a.Unmap()) })
}

// CheckURL returns what is wrong with an endpoint's or a token URL, or an empty
// string. It looks at the text only: addresses are judged when they are dialled.
func (p EndpointPolicy) CheckURL(raw string) string {
	if raw == "" {
		return "is missing"
	}
	if len(raw) > MaxURL {
		return "is longer than 1000 characters"
	}
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" {
		return "is not a URL"
	}
	switch {
	case u.Scheme == "http" && !p.HTTP:
		return "must begin with https: plain http is permitted with --dev only"
	case u.Scheme != "https" && u.Scheme != "http":
		return "must begin with https://"
	case u.User != nil:
		return "must not carry a user name or password; use custom_header"
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return "must not carry a fragment (#...), which is never sent"
	}
	return p.checkHost(u.Hostname())
}

var label = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$`)

func (p EndpointPolicy) checkHost(host string) string {
	if host == "" {
		return "has no host name"
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if p.Allows(a) {
			return ""
		}
		return "must name a host by a fully qualified domain name, not by an address"
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	labels := strings.Split(name, ".")
	last := labels[len(labels)-1]
	switch {
	case len(name) > 253:
		return "has a host name of more than 253 characters"
	case !ascii(name):
		return "has a host name with characters beyond ASCII; write it in its xn-- form"
	case !allLabels(labels):
		return "has a host name that is not a domain name"
	case last[0] >= '0' && last[0] <= '9':
		// Resolvers of some systems read 127.1, 0x7f.1 and 2130706433 as addresses.
		return "must name a host by a fully qualified domain name, not by an address"
	case p.Local():
		return ""
	case len(labels) == 1, last == "localhost":
		return "must name a host by a fully qualified domain name, as in hooks.example.com"
	}
	return ""
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}

func allLabels(labels []string) bool {
	for _, l := range labels {
		if !label.MatchString(l) {
			return false
		}
	}
	return true
}

// Check returns what is wrong with the subscription, apart from what only the
// catalog, the app or the endpoint itself can tell.
func (s *Subscription) Check(p EndpointPolicy) Faults {
	var f Faults
	f.text("event_subscription_name", s.Name, maxName)
	switch {
	case len(s.Events) == 0:
		f.Add("events", "is missing: name at least one event type")
	case len(s.Events) > maxEvents:
		f.Add("events", "has %d entries; at most %d are allowed", len(s.Events), maxEvents)
	case slices.Contains(s.Events, ""):
		f.Add("events", "has an empty entry")
	}
	if msg := p.CheckURL(s.URL); msg != "" {
		f.Add("event_webhook_url", "%s", msg)
	}
	if s.Development.URL != "" {
		if msg := p.CheckURL(s.Development.URL); msg != "" {
			f.Add("development_webhook_url", "%s", msg)
		}
	}
	switch s.Scope {
	case ScopeUser, ScopeAccount, ScopeMasterAccount:
	case "":
		f.Add("subscription_scope", "is missing: it is user, account or master_account")
	default:
		f.Add("subscription_scope", "%q is none of user, account, master_account", string(s.Scope))
	}
	f = append(f, s.CheckSubscribers()...)
	if l := s.Limits; l.InFlight < 0 || l.InFlight > MaxInFlight {
		f.Add("max_in_flight", "is %d; 1 to %d are allowed, 0 is the platform's default", l.InFlight, MaxInFlight)
	}
	if l := s.Limits; l.PerSecond < 0 || l.PerSecond > 1e6 {
		f.Add("max_per_second", "is %g; a number above 0 is allowed, 0 is no limit", l.PerSecond)
	}
	return append(f, s.Auth.Check(p).In("custom_header/")...)
}

// CheckSubscribers returns what is wrong with who is subscribed, and with nothing else:
// that can change also where the rest would not be accepted any more.
func (s *Subscription) CheckSubscribers() (f Faults) {
	for i := range s.Subscribers {
		f = append(f, s.Subscribers[i].check(s.Scope)...)
	}
	if n := countSubscribers(s.Subscribers); n > MaxSubscribers {
		f.Add("user_ids", "would make %d subscribers; at most %d are allowed", n, MaxSubscribers)
	}
	return f
}

// check returns what is wrong with a subscriber of a subscription of this scope.
func (x *Subscriber) check(scope SubscriptionScope) (f Faults) {
	people := len(x.Users) + len(x.Groups)
	switch {
	case scope == ScopeUser && people == 0:
		f.Add("user_ids", "is missing: subscription_scope user needs user_ids or user_group_ids")
	case scope == ScopeMasterAccount && x.Account == "":
		f.Add("account_id", "is missing: subscription_scope master_account needs the master account")
	}
	for _, id := range x.Users {
		f.id("user_ids", id)
	}
	for _, id := range x.Groups {
		f.id("user_group_ids", id)
	}
	if x.Account != "" {
		f.id("account_id", x.Account)
	}
	return f
}

func countSubscribers(all []Subscriber) (n int) {
	for _, x := range all {
		n += max(1, len(x.Users)+len(x.Groups))
	}
	return n
}

// Check returns what is wrong with the user.
func (u *User) Check() Faults {
	var f Faults
	f.id("id", u.ID)
	for _, g := range u.Groups {
		f.id("groups", g)
	}
	return f
}

// Check returns what is wrong with the group.
func (g Group) Check() Faults {
	var f Faults
	f.id("id", g.ID)
	return f
}

var headerPattern = regexp.MustCompile(`^[A-Za-z0-9-]+$`)

// reservedHeader matches what belongs to the connection, the body or the
// contract: a subscriber that could set these could forge the rest. The
// operator cannot permit them.
var reservedHeader = regexp.MustCompile(`(?i)^(connection|keep-alive|proxy-.*|te|trailers?|transfer-encoding|upgrade|expect|host|content-.*|accept-encoding|authorization|x-zm-.*|clientid|traceparent|tracestate|user-agent)$`)

// Check returns what is wrong with the authentication settings.
func (a *Auth) Check(p EndpointPolicy) Faults {
	var f Faults
	switch a.Mode {
	case AuthNone:
	case AuthBasic:
		f.required("username", a.Username, maxField)
		f.required("password", a.Password.Reveal(), maxField)
		if strings.Contains(a.Username, ":") {
			f.Add("username", "must not contain a colon, which ends it on the wire (RFC 7617)")
		}
	case AuthOAuth:
		f.required("client_id", a.ClientID, maxField)
		f.required("client_secret", a.ClientSecret.Reveal(), maxField)
		f.text("scope", a.Scope, maxOAuth)
		f.text("state", a.State, maxOAuth)
		if msg := p.CheckURL(a.TokenURL); msg != "" {
			f.Add("token_url", "%s", msg)
		}
	case AuthHeader:
		switch {
		case a.Header == "":
			f.Add("custom_header_key", "is missing")
		case len(a.Header) > maxField:
			f.Add("custom_header_key", "is longer than %d characters", maxField)
		case !headerPattern.MatchString(a.Header):
			f.Add("custom_header_key", "%q has characters other than A-Z a-z 0-9 -", a.Header)
		case reservedHeader.MatchString(a.Header):
			f.Add("custom_header_key", "%q is reserved: the platform or HTTP itself uses it", a.Header)
		case !p.AnyHeader && !strings.HasPrefix(strings.ToLower(a.Header), "x-"):
			f.Add("custom_header_key", "%q must begin with x-", a.Header)
		}
		f.required("custom_header_value", a.Value.Reveal(), maxField)
	default:
		f.Add("custom_header_type", "%d is none of 0, 1, 2, 3", a.Mode)
	}
	return f
}
