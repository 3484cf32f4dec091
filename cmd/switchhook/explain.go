package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/api"
)

func newExplain() *cobra.Command {
	cmd := call("explain EVENT", "Say why an event did, or did not, reach its subscriptions", cobra.ExactArgs(1), explain)
	cmd.Long = `Say why an event did, or did not, reach its subscriptions: those that it is owed to
first, then the others, the nearest misses first. EVENT is the id of an event, or of
a delivery, which endpoints see as x-zm-request-id; the latter asks about its
subscription only.

The exit code is 0 whenever there is an explanation, whatever it is.`
	cmd.Flags().String("subscription", "", "only about this subscription, which may be a deleted one")
	cmd.Flags().Int("limit", 30, "about how many subscriptions at most")
	return cmd
}

func explain(cmd *cobra.Command, c *client, o *output, args []string) error {
	limit, _ := cmd.Flags().GetInt("limit")
	if limit < 1 {
		return &usageError{errors.New("--limit must be 1 or more")}
	}
	q := url.Values{}
	if id, _ := cmd.Flags().GetString("subscription"); id != "" {
		q.Set("event_subscription_id", id)
	}
	var all api.Explained
	const page = 300
	for {
		q.Set("page_size", strconv.Itoa(min(page, limit-len(all.Subscriptions))))
		raw, err := c.get(cmd.Context(), operator+"/events/"+url.PathEscape(args[0])+"/explain", q)
		if err != nil {
			return err
		}
		v, err := decode[api.Explained](raw)
		if err != nil {
			return err
		}
		v.Subscriptions = append(all.Subscriptions, v.Subscriptions...)
		if all = v; all.Next == "" || len(all.Subscriptions) >= limit {
			break
		}
		q.Set("next_page_token", all.Next)
	}
	all.PageSize = limit
	raw, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return o.write(raw, "event_subscriptions", func() error { return printExplained(o, &all) })
}

// printExplained writes explanations so that they can be read aloud.
func printExplained(o *output, v *api.Explained) error {
	fmt.Fprintln(o.w, printable(v.Text))
	if v.Remedy != "" {
		fmt.Fprintln(o.w, "What to do: "+printable(v.Remedy))
	}
	if v.Cause != "" {
		return nil // it is the same for all
	}
	for _, x := range v.Subscriptions {
		fmt.Fprintf(o.w, "\n%s: %s\n  %s\n", printable(called(&x)), x.Cause, printable(x.Text))
		if x.Remedy != "" {
			fmt.Fprintln(o.w, "  What to do: "+printable(x.Remedy))
		}
	}
	if v.Next != "" {
		fmt.Fprintf(o.w, "\nAnd %s more; see --limit.\n", plural(v.Deliveries+v.Others-len(v.Subscriptions), "subscription", "subscriptions"))
	}
	return nil
}

// called names a subscription for people.
func called(x *api.Explanation) string {
	text := "subscription"
	if x.Name != "" {
		text += fmt.Sprintf(" %q", x.Name)
	}
	if x.Subscription != "" {
		text += " (" + x.Subscription + ")"
	}
	switch {
	case x.AppName != "":
		text += fmt.Sprintf(" of app %q", x.AppName)
	case x.App != "":
		text += " of app " + x.App
	}
	return text
}
