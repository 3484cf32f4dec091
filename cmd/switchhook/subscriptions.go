package main

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/api"
	"github.com/switchhook/switchhook/internal/hook"
)

func newSubscriptions() *cobra.Command {
	list := call("list", "List subscriptions", cobra.NoArgs, listSubscriptions)
	list.Flags().String("app", "", "only those of this app")
	validate := call("validate SUBSCRIPTION", "Challenge a subscription's endpoint; if it answers, it is valid, and enabled if it was not", cobra.ExactArgs(1), validateSubscription)
	validate.Flags().String("endpoint", "", "production or development (default: the one that serves the app now)")
	return group("subscriptions", "Show, validate, disable and delete subscriptions; make them with apply",
		list,
		call("show SUBSCRIPTION", "Show one subscription", cobra.ExactArgs(1), showSubscription),
		validate,
		call("disable SUBSCRIPTION", "Send nothing more to a subscription; what it is owed is cancelled", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client, o *output, args []string) error {
			if _, err := c.post(cmd.Context(), operator+"/subscriptions/"+url.PathEscape(args[0])+"/disable", nil, struct{}{}); err != nil {
				return err
			}
			return o.done(map[string]string{"event_subscription_id": args[0], "state": "disabled"})
		}),
		remove("delete SUBSCRIPTION", "Delete a subscription; what it is owed is cancelled", "/subscriptions/"),
	)
}

func listSubscriptions(cmd *cobra.Command, c *client, o *output, _ []string) error {
	q := url.Values{}
	if app, _ := cmd.Flags().GetString("app"); app != "" {
		q.Set("app_id", app)
	}
	return showList(cmd, c, o, "/subscriptions", q, "event_subscriptions", "SUBSCRIPTION|NAME|APP|STATE|EVENTS|URL", func(s *api.Subscription) []string {
		return []string{s.ID, s.Name, s.App, s.State.String(), strconv.Itoa(len(s.Events)), s.URL}
	})
}

func showSubscription(cmd *cobra.Command, c *client, o *output, args []string) error {
	raw, err := c.get(cmd.Context(), operator+"/subscriptions/"+url.PathEscape(args[0]), nil)
	if err != nil {
		return err
	}
	return o.write(raw, "", func() error {
		s, err := decode[api.Subscription](raw)
		if err != nil {
			return err
		}
		auth := "signature only"
		switch s.CustomHeader.Type {
		case hook.AuthBasic:
			auth = "Basic, user name " + s.CustomHeader.Username
		case hook.AuthOAuth:
			auth = "OAuth, token URL " + s.CustomHeader.TokenURL
		case hook.AuthHeader:
			auth = "header " + s.CustomHeader.Key
		}
		var limits []string
		if s.InFlight > 0 {
			limits = append(limits, fmt.Sprintf("%d in flight", s.InFlight))
		}
		if s.PerSecond > 0 {
			limits = append(limits, fmt.Sprintf("%g per second", s.PerSecond))
		}
		err = o.fields(
			"subscription", s.ID, "name", s.Name, "app", s.App, "state", stateOf(&s.Endpoint), "url", s.URL, "validated", validated(&s.Endpoint),
			"development state", stateOf(s.Development), "development url", urlOf(s.Development), "development validated", validated(s.Development),
			"events", strings.Join(s.Events, " "), "scope", string(s.Scope), "subscribers", subscribers(s.Subscribers),
			"source", string(s.Source), "authentication", auth, "limits", strings.Join(limits, ", "), "created", clock(s.Created))
		if err != nil {
			return err
		}
		return showChallenges(cmd, c, o, s.ID)
	})
}

// stateOf, urlOf and validated tell of an endpoint, or nothing if there is none.
func stateOf(e *api.Endpoint) string {
	if e == nil {
		return ""
	}
	state := fmt.Sprintf("%s since %s", e.State, clock(e.Since))
	if e.Reason != "" {
		state += ": " + e.Reason
	}
	if n := len(e.Failures); n > 0 {
		state += fmt.Sprintf(" (%d in a row; after %d it is disabled)", n, hook.DisabledAfter)
	}
	return state
}

func urlOf(e *api.Endpoint) string {
	if e == nil {
		return ""
	}
	return e.URL
}

func validated(e *api.Endpoint) string {
	if e == nil || time.Time(e.Checked).IsZero() {
		return ""
	}
	text := clock(e.Checked)
	if !time.Time(e.Next).IsZero() {
		text += ", again " + clock(e.Next)
	}
	return text
}

// subscribers names whose events a subscription asks for.
func subscribers(all []hook.Subscriber) string {
	const shown = 5
	var names []string
	for _, x := range all[:min(shown, len(all))] {
		name := "account " + x.Account
		if x.Account == "" {
			name = "each account that the app may have"
		}
		if len(x.Users) > 0 {
			name += ", users " + strings.Join(x.Users, " ")
		}
		if len(x.Groups) > 0 {
			name += ", user groups " + strings.Join(x.Groups, " ")
		}
		names = append(names, name)
	}
	if more := len(all) - shown; more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, "; ")
}

// showChallenges prints the latest challenges of a subscription.
func showChallenges(cmd *cobra.Command, c *client, o *output, id string) error {
	raw, err := c.get(cmd.Context(), operator+"/subscriptions/"+url.PathEscape(id)+"/challenges", nil)
	if err != nil {
		return err
	}
	v, err := decode[struct{ Challenges []api.Attempt }](raw)
	if err != nil || len(v.Challenges) == 0 {
		return err
	}
	const shown = 5
	var rows [][]string
	for _, a := range v.Challenges[:min(shown, len(v.Challenges))] {
		result := "proven"
		if a.State != hook.Delivered {
			result = "not proven: " + a.Detail
		}
		rows = append(rows, []string{clock(a.Started), a.Outcome, took(a.Timing.Done), result})
	}
	fmt.Fprintln(o.w, "\nlatest challenges:")
	return o.table("STARTED|OUTCOME|TOOK|RESULT", rows)
}

func validateSubscription(cmd *cobra.Command, c *client, o *output, args []string) error {
	q := url.Values{}
	if endpoint, _ := cmd.Flags().GetString("endpoint"); endpoint != "" {
		q.Set("endpoint", endpoint)
	}
	raw, err := c.post(cmd.Context(), operator+"/subscriptions/"+url.PathEscape(args[0])+"/validate", q, struct{}{})
	if err != nil {
		return err
	}
	v, err := decode[api.Validation](raw)
	if err != nil {
		return err
	}
	err = o.write(raw, "", func() error {
		if !v.Valid {
			return nil
		}
		_, err := fmt.Fprintln(o.w, "valid: the endpoint answered its challenge in", took(v.Took))
		return err
	})
	if err == nil && !v.Valid {
		err = errors.New("not valid: " + printable(v.Reason))
	}
	return err
}
