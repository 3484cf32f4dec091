package api

import (
	"net/http"

	"github.com/switchhook/switchhook/internal/manage"
)

func (a *api) showAccount(w http.ResponseWriter, r *http.Request) error {
	return a.writeAccount(w, r, http.StatusOK)
}

func (a *api) writeAccount(w http.ResponseWriter, r *http.Request, status int) error {
	x, err := a.Manager.Account(r.PathValue("id"))
	if err != nil {
		return err
	}
	writeJSON(w, status, a.viewAccount(x))
	return nil
}

func (a *api) putAccount(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	body, change, err := readChange[manage.Account](w, r)
	if err == nil {
		err = same("/id", body.ID, id)
	}
	if err != nil {
		return err
	}
	made, err := a.Manager.PutAccount(r.Context(), actor(r), id, change)
	if err != nil {
		return inPath(err, "id")
	}
	return a.writeAccount(w, r, putStatus(made))
}

func (a *api) putUser(w http.ResponseWriter, r *http.Request) error {
	account, id := r.PathValue("id"), r.PathValue("user")
	body, change, err := readChange[manage.User](w, r)
	if err == nil {
		err = same("/id", body.ID, id)
	}
	if err != nil {
		return err
	}
	u, made, err := a.Manager.PutUser(r.Context(), actor(r), account, id, change)
	if err != nil {
		return inPath(err, "user")
	}
	writeJSON(w, putStatus(made), u)
	return nil
}

func (a *api) deleteUser(w http.ResponseWriter, r *http.Request) error {
	return noContent(w, a.Manager.DeleteUser(r.Context(), actor(r), r.PathValue("id"), r.PathValue("user")))
}

// Group is a group of users as the API shows it.
type Group struct {
	ID string `json:"id"`
}

func (a *api) putGroup(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("group")
	made, err := a.Manager.PutGroup(r.Context(), actor(r), r.PathValue("id"), id)
	if err != nil {
		return err
	}
	writeJSON(w, putStatus(made), Group{id})
	return nil
}

func (a *api) deleteGroup(w http.ResponseWriter, r *http.Request) error {
	return noContent(w, a.Manager.DeleteGroup(r.Context(), actor(r), r.PathValue("id"), r.PathValue("group")))
}
