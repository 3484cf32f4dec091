package api

import (
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
	plan, err := a.Manager.Apply(r.Context(), &m, dryRun)
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

func (a *api) accounts(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, map[string]any{"accounts": orEmpty(a.Directory.Accounts())})
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
	Disabled      bool                `json:"disabled"`
	Created       Instant             `json:"created_at"`
	Installations []hook.Installation `json:"installations"`
	Subscriptions int                 `json:"event_subscriptions"`
}

func (a *api) viewApp(x *hook.App) App {
	d := a.Directory
	return App{
		x.ID, x.Name, x.Account, x.ClientID, orEmpty(x.Scopes), orEmpty(x.CarrierCodes), x.Disabled, Instant(x.Created),
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
	if _, err := a.Manager.RotateSecretToken(r.PathValue("id"), overlap); err != nil {
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
	secret, err := a.Manager.RotateClientSecret(r.PathValue("id"), overlap)
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
	if err := a.Manager.DeleteApp(r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// Subscription is a subscription as the API shows it.
type Subscription struct {
	ID           string                 `json:"event_subscription_id"`
	Name         string                 `json:"event_subscription_name"`
	App          string                 `json:"app_id"`
	Events       []string               `json:"events"`
	URL          string                 `json:"event_webhook_url"`
	Scope        hook.SubscriptionScope `json:"subscription_scope"`
	Account      string                 `json:"account_id,omitempty"`
	Users        []string               `json:"user_ids,omitempty"`
	Groups       []string               `json:"user_group_ids,omitempty"`
	Source       hook.Source            `json:"created_source"`
	CustomHeader CustomHeader           `json:"custom_header"`
	hook.Limits
	State   hook.SubscriptionState `json:"state"`
	Reason  string                 `json:"state_reason,omitempty"`
	Since   Instant                `json:"state_since"`
	Created Instant                `json:"created_at"`
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

func viewSubscription(s *hook.Subscription) Subscription {
	return Subscription{
		s.ID, s.Name, s.App, s.Events, s.URL, s.Scope, s.Account, s.Users, s.Groups, s.Source, viewAuth(&s.Auth), s.Limits,
		s.State, s.StateReason, Instant(s.StateSince), Instant(s.Created),
	}
}

func (a *api) subscriptions(w http.ResponseWriter, r *http.Request) error {
	views := []Subscription{}
	for _, s := range a.Directory.Subscriptions(r.URL.Query().Get("app_id")) {
		views = append(views, viewSubscription(s))
	}
	writeJSON(w, http.StatusOK, map[string]any{"event_subscriptions": views})
	return nil
}

func (a *api) subscription(w http.ResponseWriter, r *http.Request) error {
	s, _, err := a.Manager.Subscription(r.PathValue("id"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, viewSubscription(s))
	return nil
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

// validate challenges an endpoint now.
func (a *api) validate(w http.ResponseWriter, r *http.Request) error {
	result, err := a.Manager.Validate(r.Context(), r.PathValue("id"))
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
	if err := a.Manager.Disable(r.PathValue("id"), "disabled by the operator"); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *api) deleteSubscription(w http.ResponseWriter, r *http.Request) error {
	if err := a.Manager.DeleteSubscription(r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
