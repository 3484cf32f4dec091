package api

import (
	"cmp"
	"net/http"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
)

// apply makes the platform as a manifest says.
func (a *api) apply(w http.ResponseWriter, r *http.Request) error {
	dryRun, err := boolParameter(r, "dry_run")
	if err != nil {
		return err
	}
	var m manage.Manifest
	if err := readJSON(w, r, &m); err != nil {
		return err
	}
	plan, err := a.Manager.Apply(r.Context(), actor(r), &m, dryRun)
	if err != nil {
		return err
	}
	plan.Steps = orEmpty(plan.Steps)
	writeJSON(w, http.StatusOK, plan)
	return nil
}

func boolParameter(r *http.Request, name string) (bool, error) {
	switch r.URL.Query().Get(name) {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	}
	return false, hook.Faults{{Field: name, Message: "must be true or false"}}.Err("query")
}

// Account is an account as the API shows it.
type Account struct {
	hook.Account
	Users  []manage.User `json:"users"`
	Groups []string      `json:"user_groups"`
}

func (a *api) viewAccount(x *hook.Account) Account {
	v := Account{*x, []manage.User{}, orEmpty(a.Directory.Groups(x.ID))}
	for _, u := range a.Directory.Users(x.ID) {
		v.Users = append(v.Users, manage.User{ID: u.ID, Groups: u.Groups})
	}
	return v
}

func (a *api) accounts(w http.ResponseWriter, _ *http.Request) error {
	views := []Account{}
	for _, x := range a.Directory.Accounts() {
		views = append(views, a.viewAccount(x))
	}
	writeJSON(w, http.StatusOK, map[string]any{"accounts": views})
	return nil
}

// App is an app as the API shows it.
type App struct {
	ID            string              `json:"app_id"`
	Name          string              `json:"name"`
	Account       string              `json:"account_id"`
	ClientID      string              `json:"client_id"`
	Scopes        []string            `json:"scopes"`
	CarrierCodes  []int32             `json:"carrier_codes"`
	State         hook.AppState       `json:"state"`
	Disabled      bool                `json:"disabled"`
	Created       Instant             `json:"created_at"`
	Installations []hook.Installation `json:"installations"`
	Subscriptions int                 `json:"event_subscriptions"`
}

func (a *api) viewApp(x *hook.App) App {
	d := a.Directory
	return App{
		x.ID, x.Name, x.Account, x.ClientID, orEmpty(x.Scopes), orEmpty(x.CarrierCodes), cmp.Or(x.State, hook.Production), x.Disabled, Instant(x.Created),
		orEmpty(d.Installations(x.ID)), len(d.Subscriptions(x.ID)),
	}
}

// orEmpty makes a list that is nil show as [] rather than null.
func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func (a *api) apps(w http.ResponseWriter, _ *http.Request) error {
	views := []App{}
	for _, x := range a.Directory.Apps() {
		views = append(views, a.viewApp(x))
	}
	writeJSON(w, http.StatusOK, map[string]any{"apps": views})
	return nil
}

func (a *api) app(w http.ResponseWriter, r *http.Request) error {
	x, err := a.Manager.App(r.PathValue("id"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, a.viewApp(x))
	return nil
}

// SecretToken is what an app's endpoints need to know. The old one is what they
// needed to know before it was replaced.
type SecretToken struct {
	SecretToken string  `json:"secret_token"`
	Old         string  `json:"old_secret_token,omitempty"`
	OldUntil    Instant `json:"old_secret_token_valid_until,omitzero"`
}

func (a *api) writeToken(w http.ResponseWriter, x *hook.App) {
	v := SecretToken{SecretToken: x.SecretToken.Reveal()}
	if time.Now().Before(x.OldToken.Until) {
		v.Old, v.OldUntil = x.OldToken.Secret.Reveal(), Instant(x.OldToken.Until)
	}
	writeJSON(w, http.StatusOK, v)
}

func (a *api) secretToken(w http.ResponseWriter, r *http.Request) error {
	x, err := a.Manager.App(r.PathValue("id"))
	if err != nil {
		return err
	}
	a.writeToken(w, x)
	return nil
}

func (a *api) rotateToken(w http.ResponseWriter, r *http.Request) error {
	overlap, err := overlap(w, r)
	if err != nil {
		return err
	}
	if _, err := a.Manager.RotateSecretToken(actor(r), r.PathValue("id"), overlap); err != nil {
		return err
	}
	return a.secretToken(w, r)
}

// ClientSecret is a new client secret, shown this once.
type ClientSecret struct {
	ClientID     string  `json:"client_id"`
	ClientSecret string  `json:"client_secret"`
	OldUntil     Instant `json:"old_client_secret_valid_until,omitzero"`
}

func (a *api) rotateClientSecret(w http.ResponseWriter, r *http.Request) error {
	overlap, err := overlap(w, r)
	if err != nil {
		return err
	}
	secret, err := a.Manager.RotateClientSecret(actor(r), r.PathValue("id"), overlap)
	if err != nil {
		return err
	}
	x, err := a.Manager.App(r.PathValue("id"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, ClientSecret{x.ClientID, secret.Reveal(), Instant(x.OldClientSecret.Until)})
	return nil
}

// overlap reads how long a secret that is replaced is to stay valid.
func overlap(w http.ResponseWriter, r *http.Request) (time.Duration, error) {
	var body struct {
		Seconds int64 `json:"overlap_seconds"`
	}
	if err := readJSON(w, r, &body); err != nil {
		return 0, err
	}
	if body.Seconds < 0 || body.Seconds > int64(manage.MaxOverlap/time.Second) {
		return -1, nil // which is refused; the number itself might overflow
	}
	return time.Duration(body.Seconds) * time.Second, nil
}

func (a *api) deleteApp(w http.ResponseWriter, r *http.Request) error {
	if err := a.Manager.DeleteApp(actor(r), r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// Subscription is a subscription as the API shows it.
type Subscription struct {
	ID     string   `json:"event_subscription_id"`
	Name   string   `json:"event_subscription_name"`
	App    string   `json:"app_id"`
	Events []string `json:"events"`
	Endpoint
	// Development is the endpoint for the app's time in development.
	Development  *Endpoint              `json:"development_endpoint,omitempty"`
	Scope        hook.SubscriptionScope `json:"subscription_scope"`
	Subscribers  []hook.Subscriber      `json:"subscribers"`
	Source       hook.Source            `json:"created_source"`
	CustomHeader CustomHeader           `json:"custom_header"`
	hook.Limits
	Created Instant `json:"created_at"`
}

// Endpoint is an endpoint of a subscription with where its validation stands.
type Endpoint struct {
	URL      string                 `json:"event_webhook_url"`
	State    hook.SubscriptionState `json:"state"`
	Reason   string                 `json:"state_reason,omitempty"`
	Since    Instant                `json:"state_since"`
	Checked  Instant                `json:"validated_at"`
	Next     Instant                `json:"next_validation_at"`
	Failures []Failure              `json:"validation_failures,omitempty"`
}

// Failure is a round that an endpoint has failed.
type Failure struct {
	At     Instant `json:"at"`
	Reason string  `json:"reason"`
}

// CustomHeader shows authentication settings, with the secrets as stars.
type CustomHeader struct {
	Type         hook.AuthMode `json:"custom_header_type"`
	Username     string        `json:"username,omitempty"`
	Password     *hook.Secret  `json:"password,omitempty"`
	ClientID     string        `json:"client_id,omitempty"`
	ClientSecret *hook.Secret  `json:"client_secret,omitempty"`
	TokenURL     string        `json:"token_url,omitempty"`
	Scope        string        `json:"scope,omitempty"`
	State        string        `json:"state,omitempty"`
	Client       string        `json:"client_authentication,omitempty"`
	Key          string        `json:"custom_header_key,omitempty"`
	Value        *hook.Secret  `json:"custom_header_value,omitempty"`
	Unreadable   bool          `json:"unreadable,omitempty"`
}

func viewAuth(x *hook.Auth) CustomHeader {
	v := CustomHeader{Type: x.Mode, Unreadable: x.Unreadable}
	switch x.Mode {
	case hook.AuthBasic:
		v.Username, v.Password = x.Username, &x.Password
	case hook.AuthOAuth:
		v.ClientID, v.ClientSecret, v.TokenURL, v.Scope, v.State, v.Client = x.ClientID, &x.ClientSecret, x.TokenURL, x.Scope, x.State, "header"
		if x.InBody {
			v.Client = "body"
		}
	case hook.AuthHeader:
		v.Key, v.Value = x.Header, &x.Value
	}
	return v
}

func (a *api) viewSubscription(s *hook.Subscription) Subscription {
	v := Subscription{
		s.ID, s.Name, s.App, s.Events, a.viewEndpoint(s, hook.Production), nil, s.Scope, orEmpty(s.Subscribers), s.Source, viewAuth(&s.Auth), s.Limits, Instant(s.Created),
	}
	if s.Development.URL != "" {
		e := a.viewEndpoint(s, hook.Development)
		v.Development = &e
	}
	return v
}

func (a *api) viewEndpoint(s *hook.Subscription, in hook.AppState) Endpoint {
	e := s.At(in)
	v := Endpoint{URL: e.URL, State: e.State, Reason: e.StateReason, Since: Instant(e.StateSince), Checked: Instant(e.Checked)}
	for _, f := range e.Failures {
		v.Failures = append(v.Failures, Failure{Instant(f.At), f.Reason})
	}
	if app := a.Directory.App(s.App); app != nil && s.InRounds(in, app) && a.Manager.Every > 0 {
		v.Next = Instant(s.NextRound(in, a.Manager.Every, time.Now()))
	}
	return v
}

func (a *api) subscriptions(w http.ResponseWriter, r *http.Request) error {
	views := []Subscription{}
	for _, s := range a.Directory.Subscriptions(r.URL.Query().Get("app_id")) {
		views = append(views, a.viewSubscription(s))
	}
	writeJSON(w, http.StatusOK, map[string]any{"event_subscriptions": views})
	return nil
}

func (a *api) subscription(w http.ResponseWriter, r *http.Request) error {
	return a.writeSubscription(w, r.PathValue("id"), http.StatusOK)
}

// maxChallenges is how many of the latest challenges are shown.
const maxChallenges = 100

// challenges shows how the endpoint was asked to prove itself, the latest first.
func (a *api) challenges(w http.ResponseWriter, r *http.Request) error {
	s, _, err := a.Manager.Subscription(r.PathValue("id"))
	if err != nil {
		return err
	}
	made, err := a.Store.Challenges(r.Context(), s.Key, maxChallenges)
	if err != nil {
		return err
	}
	views := []Attempt{}
	for i := range made {
		views = append(views, a.viewAttempt(&made[i], nil))
	}
	writeJSON(w, http.StatusOK, map[string]any{"challenges": views})
	return nil
}

// PastValidation is one time that an endpoint was asked to prove itself.
type PastValidation struct {
	At       Instant                `json:"at"`
	Endpoint hook.AppState          `json:"endpoint"`
	URL      string                 `json:"event_webhook_url"`
	Occasion hook.Occasion          `json:"occasion"`
	Valid    bool                   `json:"valid"`
	Reason   string                 `json:"reason,omitempty"`
	State    hook.SubscriptionState `json:"state"`
}

// validations shows the history of a subscription's validation, the latest first.
func (a *api) validations(w http.ResponseWriter, r *http.Request) error {
	s, _, err := a.Manager.Subscription(r.PathValue("id"))
	if err != nil {
		return err
	}
	made, err := a.Store.Validations(r.Context(), s.Key, maxChallenges)
	if err != nil {
		return err
	}
	views := []PastValidation{}
	for _, v := range made {
		views = append(views, PastValidation{Instant(v.At), v.In, v.URL, v.Occasion, v.Reason == "", v.Reason, v.State})
	}
	writeJSON(w, http.StatusOK, map[string]any{"validations": views})
	return nil
}

// validate challenges an endpoint now: the one that serves, or the one that is named.
func (a *api) validate(w http.ResponseWriter, r *http.Request) error {
	s, app, err := a.Manager.Subscription(r.PathValue("id"))
	if err != nil {
		return err
	}
	in := hook.Production
	switch name := r.URL.Query().Get("endpoint"); {
	case name == "" && s.Serving(app) == &s.Development, name == string(hook.Development):
		in = hook.Development
	case name == "", name == string(hook.Production):
	default:
		return hook.Faults{{Field: "endpoint", Message: "must be production or development"}}.Err("query")
	}
	result, err := a.Manager.Validate(r.Context(), actor(r), s.ID, in)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, Validation{result.OK, result.Reason, Milliseconds(result.Timing.Done)})
	return nil
}

// Validation is the result of a challenge.
type Validation struct {
	Valid  bool         `json:"valid"`
	Reason string       `json:"reason,omitempty"`
	Took   Milliseconds `json:"took_ms"`
}

func (a *api) disable(w http.ResponseWriter, r *http.Request) error {
	if err := a.Manager.Disable(actor(r), r.PathValue("id"), "disabled by the operator"); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *api) deleteSubscription(w http.ResponseWriter, r *http.Request) error {
	if err := a.Manager.DeleteSubscription(actor(r), r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
