package api

import (
	"net/http"

	"github.com/switchhook/switchhook/internal/manage"
)

// createDefault makes a subscription on behalf of the operator.
func (a *api) createDefault(w http.ResponseWriter, r *http.Request) error {
	var body manage.Subscription
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	id, err := a.Manager.CreateSubscription(r.Context(), actor(r), r.PathValue("id"), body)
	if err != nil {
		return err
	}
	return a.writeSubscription(w, id, http.StatusCreated)
}

func (a *api) writeSubscription(w http.ResponseWriter, id string, status int) error {
	s, _, err := a.Manager.Subscription(id)
	if err != nil {
		return err
	}
	writeJSON(w, status, a.viewSubscription(s))
	return nil
}

func (a *api) putSubscription(w http.ResponseWriter, r *http.Request) error {
	body, change, err := readChange[manage.Subscription](w, r)
	if err != nil {
		return err
	}
	now, _, err := a.Manager.Subscription(r.PathValue("id"))
	if err == nil {
		err = same("/event_subscription_name", body.Name, now.Name)
	}
	if err == nil {
		err = a.Manager.UpdateSubscription(r.Context(), actor(r), r.PathValue("id"), change)
	}
	if err != nil {
		return err
	}
	return a.writeSubscription(w, now.ID, http.StatusOK)
}
