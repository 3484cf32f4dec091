package api

import (
	"net/http"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
)

// AppSettings are what an app is made with. Name and account tell it from others, and
// cannot be changed later.
type AppSettings struct {
	Name         string   `json:"name,omitempty"`
	Account      string   `json:"account_id,omitempty"`
	SecretToken  string   `json:"secret_token,omitempty"`
	Scopes       []string `json:"scopes,omitempty"`
	CarrierCodes []int32  `json:"carrier_codes,omitempty"`
	State        string   `json:"state,omitempty"`
	Disabled     bool     `json:"disabled,omitempty"`
}

// put makes an app have these settings.
func (s *AppSettings) put(x *manage.App) {
	x.SecretToken, x.Scopes, x.CarrierCodes, x.State, x.Disabled = s.SecretToken, s.Scopes, s.CarrierCodes, s.State, s.Disabled
}

// NewApp is an app that was made, with its secrets, of which the client secret is shown
// this once.
type NewApp struct {
	App
	ClientSecret string `json:"client_secret"`
	SecretToken  string `json:"secret_token"`
}

func (a *api) createApp(w http.ResponseWriter, r *http.Request) error {
	var body AppSettings
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	x := manage.App{Name: body.Name, Account: body.Account}
	body.put(&x)
	made, err := a.Manager.CreateApp(r.Context(), actor(r), x)
	if err != nil {
		return err
	}
	app, err := a.Manager.App(made.AppID)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusCreated, NewApp{a.viewApp(app), made.ClientSecret, made.SecretToken})
	return nil
}

func (a *api) putApp(w http.ResponseWriter, r *http.Request) error {
	body, change, err := readChange[AppSettings](w, r)
	if err != nil {
		return err
	}
	now, err := a.Manager.App(r.PathValue("id"))
	if err == nil {
		err = same("/name", body.Name, now.Name)
	}
	if err == nil {
		err = same("/account_id", body.Account, now.Account)
	}
	if err != nil {
		return err
	}
	err = a.Manager.UpdateApp(r.Context(), actor(r), now.ID, func(x *manage.App) error {
		s := AppSettings{x.Name, x.Account, "", x.Scopes, x.CarrierCodes, x.State, x.Disabled}
		if err := change(&s); err != nil {
			return err
		}
		s.put(x)
		return nil
	})
	if err != nil {
		return err
	}
	return a.app(w, r)
}

func (a *api) install(w http.ResponseWriter, r *http.Request) error {
	i, err := installation(r)
	if err != nil {
		return err
	}
	app := r.PathValue("id")
	made, err := a.Manager.Install(r.Context(), actor(r), app, i)
	if err != nil {
		return err
	}
	writeJSON(w, putStatus(made), hook.Installation{App: app, Account: i.Account, User: i.User})
	return nil
}

func (a *api) uninstall(w http.ResponseWriter, r *http.Request) error {
	i, err := installation(r)
	if err != nil {
		return err
	}
	return noContent(w, a.Manager.Uninstall(r.Context(), actor(r), r.PathValue("id"), i))
}

// installation reads which one a call is about. It has no id.
func installation(r *http.Request) (manage.Installation, error) {
	q := newQuery(r.URL.Query(), "account_id", "user_id")
	if q.Get("account_id") == "" {
		q.faults.Add("account_id", "is missing")
	}
	return manage.Installation{Account: q.Get("account_id"), User: q.Get("user_id")}, q.err()
}
