package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/oauth"
)

// The calls in this file are those of the public API: paths, members and codes are
// what its clients know.

// OwnSubscription is what an app asks for.
type OwnSubscription struct {
	Events       []string             `json:"events"`
	URL          string               `json:"event_webhook_url"`
	Scope        string               `json:"subscription_scope"`
	Name         string               `json:"event_subscription_name"`
	Account      string               `json:"account_id"`
	Users        []string             `json:"user_ids"`
	Groups       []string             `json:"user_group_ids"`
	CustomHeader *manage.CustomHeader `json:"custom_header"`
}

// createSubscription makes a subscription for the app that asks.
func (a *api) createSubscription(w http.ResponseWriter, r *http.Request) error {
	var body OwnSubscription
	if err := readParameters(w, r, &body); err != nil {
		return err
	}
	g := grant(r)
	account, err := a.account(r, body.Account, hook.NotAuthorizedToCreate)
	if err != nil {
		return err
	}
	s, err := a.Manager.Create(r.Context(), actor(r), g.App.ID, manage.Draft{
		Name: body.Name, URL: body.URL, Events: body.Events, Scope: hook.SubscriptionScope(body.Scope),
		Subscriber:   hook.Subscriber{Account: account, Users: split(body.Users), Groups: split(body.Groups)},
		CustomHeader: body.CustomHeader,
	})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, map[string]string{"event_subscription_id": s.ID})
	return nil
}

// readParameters decodes a body of the public API. Members that it does not know are
// passed over, as its clients expect.
func readParameters(w http.ResponseWriter, r *http.Request, v any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxDocument))
	var body json.RawMessage
	err := dec.Decode(&body)
	if err == nil {
		err = ended(dec)
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &hook.Error{Kind: hook.BadParameter, Detail: fmt.Sprintf("The body has more than %d bytes", e.Limit)}
	}
	if err == nil && body[0] != '{' {
		err = errNoObject // null would be taken for an object without members
	}
	if err == nil {
		err = json.Unmarshal(body, v)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && e.Field != "" {
		return &hook.Error{Kind: hook.BadParameter, Detail: fmt.Sprintf("%s is %s, and must be %s", e.Field, withArticle(e.Value), expected(e.Type))}
	}
	if err != nil {
		return &hook.Error{Kind: hook.BadParameter, Detail: "The body must be a JSON object, as described for this call"}
	}
	return nil
}

var errNoObject = errors.New("the body is no JSON object")

// split takes apart the ids that some clients join with commas.
func split(ids []string) (all []string) {
	for _, joined := range ids {
		for id := range strings.SplitSeq(joined, ",") {
			if id = strings.TrimSpace(id); id != "" {
				all = append(all, id)
			}
		}
	}
	return all
}

// account returns the account that a call is about: that of the token, unless another
// one is named. A token that was obtained for one account is for no other.
func (a *api) account(r *http.Request, named string, kind hook.Kind) (string, error) {
	g := grant(r)
	if account := cmp.Or(named, g.Account); account == g.Account || g.Account == g.App.Account {
		return account, nil
	}
	return "", &hook.Error{Kind: kind, Subject: named}
}

// subscribe adds an account, or users of it, to a subscription.
func (a *api) subscribe(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Account string   `json:"account_id"`
		Users   []string `json:"user_ids"`
	}
	if err := readParameters(w, r, &body); err != nil {
		return err
	}
	if body.Account == "" {
		return &hook.Error{Kind: hook.BadParameter, Detail: "account_id is missing"}
	}
	account, err := a.account(r, body.Account, hook.NotAuthorized)
	if err != nil {
		return err
	}
	err = a.Manager.Subscribe(actor(r), grant(r).App.ID, r.PathValue("id"), hook.Subscriber{Account: account, Users: split(body.Users)})
	return noContent(w, err)
}

func noContent(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// unsubscribe takes an account, or users of it, off a subscription.
func (a *api) unsubscribe(w http.ResponseWriter, r *http.Request) error {
	q := parameters(r)
	id := q.Get("event_subscription_id")
	if id == "" {
		return &hook.Error{Kind: hook.BadParameter, Detail: "event_subscription_id is missing"}
	}
	account, err := a.account(r, q.Get("account_id"), hook.NotAuthorized)
	if err != nil {
		return err
	}
	named := slices.Concat(q["user_ids"], q["user_ids[]"])
	users := split(named)
	if len(named) > 0 && len(users) == 0 {
		// As for nobody it would be for everybody.
		return &hook.Error{Kind: hook.BadParameter, Detail: "user_ids names nobody; leave it out to unsubscribe the whole account"}
	}
	return noContent(w, a.Manager.Unsubscribe(actor(r), grant(r).App.ID, id, account, users))
}

// deleteOwnSubscription deletes a subscription. A token that was obtained for another
// account than the app's own deletes only what serves nobody else.
func (a *api) deleteOwnSubscription(w http.ResponseWriter, r *http.Request) error {
	g, only := grant(r), ""
	if g.Account != g.App.Account {
		only = g.Account
	}
	return noContent(w, a.Manager.Delete(actor(r), g.App.ID, r.PathValue("id"), only))
}

// SubscriberRow is a subscriber with the subscription, as the public API lists them.
type SubscriberRow struct {
	ID           string                 `json:"event_subscription_id"`
	Events       []string               `json:"events"`
	Name         string                 `json:"event_subscription_name"`
	URL          string                 `json:"event_webhook_url"`
	Scope        hook.SubscriptionScope `json:"subscription_scope"`
	Source       hook.Source            `json:"created_source"`
	Subscriber   string                 `json:"subscriber_id"`
	CustomHeader CustomHeader           `json:"custom_header"`
}

// listSubscriptions lists the app's subscriptions, each as often as it has subscribers.
func (a *api) listSubscriptions(w http.ResponseWriter, r *http.Request) error {
	q, now, g := parameters(r), time.Now(), grant(r)
	size, err := pageSize(q.Get("page_size"))
	if err != nil {
		return err
	}
	scope := hook.SubscriptionScope(q.Get("subscription_scope"))
	switch scope {
	case "", hook.ScopeUser, hook.ScopeAccount, hook.ScopeMasterAccount:
	default:
		return &hook.Error{Kind: hook.BadParameter, Detail: "subscription_scope must be user, account or master_account"}
	}
	after, err := a.position(r, now)
	if err != nil {
		return err
	}
	v := struct {
		Next     string          `json:"next_page_token"`
		PageSize int             `json:"page_size"`
		Rows     []SubscriberRow `json:"event_subscriptions"`
	}{"", size, []SubscriberRow{}}
	last := ""
	for _, s := range a.Directory.Subscriptions(g.App.ID) {
		if scope != "" && s.Scope != scope {
			continue
		}
		for _, x := range subscribersOf(s) {
			if after != nil && x.position <= string(after) || !a.shown(&x, g, q) {
				continue
			}
			if len(v.Rows) == size {
				v.Next = a.nextPage(r, []byte(last), now)
				writeJSON(w, http.StatusOK, v)
				return nil
			}
			last = x.position
			v.Rows = append(v.Rows, SubscriberRow{s.ID, s.Events, s.Name, s.URL, s.Scope, s.Source, x.id, viewAuth(&s.Auth)})
		}
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

// subscriber is an entry of a subscription's list: an account, a user or a group, or
// nobody, so that a subscription which all have left is listed.
type subscriber struct {
	account, user, id string
	nobody            bool
	// position is where it stands in the list of the app.
	position string
}

// subscribersOf returns all of them in the order of their positions.
func subscribersOf(s *hook.Subscription) (all []subscriber) {
	// As exact as the store has it, so that it is the same after a restart. What was
	// made at the same time is told apart as the directory does.
	made := fmt.Sprintf("%016x%016x", s.Created.UnixMilli(), int64(s.Key))
	add := func(account, kind, user, id string) {
		all = append(all, subscriber{account, user, id, false, made + account + "\x00" + kind + id})
	}
	for _, x := range s.Subscribers {
		if s.Scope != hook.ScopeUser {
			add(x.Account, "", "", x.Account)
			continue
		}
		for _, u := range x.Users {
			add(x.Account, "user ", u, u)
		}
		for _, g := range x.Groups {
			add(x.Account, "group ", "", g)
		}
	}
	if len(all) == 0 {
		return []subscriber{{nobody: true, position: made}}
	}
	slices.SortFunc(all, func(a, b subscriber) int { return cmp.Compare(a.position, b.position) })
	return all
}

// shown reports whether the subscriber is listed for who asks and for what is asked.
func (a *api) shown(x *subscriber, g oauth.Grant, q url.Values) bool {
	serves := func(account string) bool {
		// Without an account it is each that has authorized the app.
		return x.account == account || !x.nobody && x.account == "" && a.Directory.Authorized(g.App.ID, account)
	}
	return (g.Account == g.App.Account || serves(g.Account)) &&
		(!q.Has("account_id") || serves(q.Get("account_id"))) &&
		(!q.Has("user_id") || x.user == q.Get("user_id"))
}

func pageSize(text string) (int, error) {
	n, err := parsePageSize(text)
	if err != nil {
		return 0, &hook.Error{Kind: hook.BadParameter, Detail: "page_size " + err.Error()}
	}
	return n, nil
}
