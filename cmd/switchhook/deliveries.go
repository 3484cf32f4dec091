package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/api"
	"github.com/switchhook/switchhook/internal/hook"
)

func newDeliveries() *cobra.Command {
	list := call("list", "List deliveries, the latest first", cobra.NoArgs, listDeliveries)
	filterFlags(list)
	list.Flags().Int("limit", 30, "how many")
	return group("deliveries", "Show deliveries and make them again", list, newShowDelivery(), newResend())
}

func newShowDelivery() *cobra.Command {
	return call("show DELIVERY", "Show one delivery with its log", cobra.ExactArgs(1), showDelivery)
}

func newResend() *cobra.Command {
	again := call("resend [DELIVERY]", "Make a delivery again, or all that a filter selects", cobra.MaximumNArgs(1), resend)
	again.Long = `Make a delivery again, or all that a filter selects of those that ended failed,
exhausted or cancelled. A delivery that is made again keeps its request id and has
the whole retry schedule before it.`
	filterFlags(again)
	again.Flags().Bool("all", false, "without another filter: all that ended undelivered")
	return again
}

func filterFlags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringSlice("state", nil, "waiting, delivered, failed, exhausted or cancelled")
	fl.String("subscription", "", "only those of this subscription")
	fl.String("app", "", "only those of this app")
	fl.String("event", "", "only events of this type")
	fl.String("from", "", "only events accepted at this time or later, as in 2026-01-31T15:04:05Z, or this long ago, as in 2h")
	fl.String("to", "", "only events accepted before this time")
}

// filterQuery returns what the filter flags select as the API wants it.
func filterQuery(cmd *cobra.Command) (url.Values, error) {
	fl := cmd.Flags()
	q := url.Values{}
	if states, _ := fl.GetStringSlice("state"); len(states) > 0 {
		q.Set("state", strings.Join(states, ","))
	}
	for flag, parameter := range map[string]string{"subscription": "event_subscription_id", "app": "app_id", "event": "event"} {
		if v, _ := fl.GetString(flag); v != "" {
			q.Set(parameter, v)
		}
	}
	return q, spanQuery(cmd, q)
}

// spanQuery adds what --from and --to say to a query.
func spanQuery(cmd *cobra.Command, q url.Values) error {
	for _, name := range []string{"from", "to"} {
		text, _ := cmd.Flags().GetString(name)
		if text == "" {
			continue
		}
		if d, err := time.ParseDuration(text); err == nil {
			text = time.Now().Add(-d).UTC().Format(time.RFC3339)
		}
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			return &usageError{fmt.Errorf("--%s %q is neither a time like 2026-01-31T15:04:05Z nor a duration like 2h", name, text)}
		}
		q.Set(name, text)
	}
	return nil
}

const deliveryHead = "DELIVERY|EVENT|STATE|TRIES|NEXT|LAST OUTCOME|SUBSCRIPTION"

func deliveryRow(d *api.Delivery) []string {
	last := "-"
	if d.Last != nil && d.Last.Outcome != "" {
		last = d.Last.Outcome
	}
	return []string{d.ID, d.Event, d.State.String(), strconv.Itoa(d.Tries), clock(d.Next), last, d.Subscription}
}

func listDeliveries(cmd *cobra.Command, c *client, o *output, _ []string) error {
	q, err := filterQuery(cmd)
	if err != nil {
		return err
	}
	return showPages(cmd, c, o, "/deliveries", q, "deliveries", deliveryHead, deliveryRow)
}

func showDelivery(cmd *cobra.Command, c *client, o *output, args []string) error {
	raw, err := c.get(cmd.Context(), operator+"/deliveries/"+url.PathEscape(args[0]), nil)
	if err != nil {
		return err
	}
	return o.write(raw, "", func() error {
		d, err := decode[api.Delivery](raw)
		if err != nil {
			return err
		}
		next := ""
		if d.State == hook.Waiting {
			next = clock(d.Next)
		}
		err = o.fields("delivery", d.ID, "event", d.EventID+"  "+d.Event, "occurred", clock(d.TS), "subscription", d.Subscription,
			"url", d.URL, "state", d.State.String(), "next attempt", next)
		if err != nil || len(d.Attempts) == 0 {
			return err
		}
		fmt.Fprintln(o.w)
		var rows [][]string
		for _, a := range d.Attempts {
			what := a.Outcome
			if a.Kind != hook.KindAttempt.String() {
				what = a.Kind
			}
			latency := "-"
			if a.Latency != nil {
				latency = (time.Duration(*a.Latency*1000) * time.Microsecond).String()
			}
			rows = append(rows, []string{clock(a.Started), strconv.Itoa(a.Retry), what, took(a.Timing.Done), latency, a.Detail})
		}
		if err := o.table("STARTED|RETRY|OUTCOME|TOOK|SINCE EVENT|DETAIL", rows); err != nil {
			return err
		}
		if last := d.Attempts[len(d.Attempts)-1]; last.Header+last.Body != "" {
			fmt.Fprintf(o.w, "\nlast answer:\n")
			for line := range strings.Lines(last.Header + "\n" + last.Body) {
				fmt.Fprintln(o.w, "  "+printable(strings.TrimRight(line, "\r\n")))
			}
		}
		return nil
	})
}

func resend(cmd *cobra.Command, c *client, o *output, args []string) error {
	q, err := filterQuery(cmd)
	if err != nil {
		return err
	}
	everything, _ := cmd.Flags().GetBool("all")
	if len(args) == 1 {
		if len(q) > 0 || everything {
			return &usageError{errors.New("name a delivery or say which by flags, not both")}
		}
		raw, err := c.post(cmd.Context(), operator+"/deliveries/"+url.PathEscape(args[0])+"/resend", nil, struct{}{})
		if err != nil {
			return err
		}
		return o.write(raw, "", func() error {
			_, err := fmt.Fprintln(o.w, "due again:", args[0])
			return err
		})
	}
	if len(q) == 0 && !everything {
		return &usageError{errors.New("name a delivery, give a filter, or say --all")}
	}
	var total struct {
		Resent  int         `json:"resent"`
		Skipped int         `json:"skipped"`
		Reasons hook.Faults `json:"reasons,omitempty"`
	}
	for {
		raw, err := c.call(cmd.Context(), request{method: http.MethodPost, path: operator + "/resend", query: q})
		if err != nil {
			return err
		}
		v, err := decode[struct {
			Resent, Skipped int
			Reasons         hook.Faults
			Next            string `json:"next_page_token"`
		}](raw)
		if err != nil {
			return err
		}
		total.Resent += v.Resent
		total.Skipped += v.Skipped
		total.Reasons = append(total.Reasons, v.Reasons...)
		if v.Next == "" {
			break
		}
		q.Set("next_page_token", v.Next)
	}
	raw, err := json.Marshal(total)
	if err != nil {
		return err
	}
	return o.write(raw, "", func() error {
		fmt.Fprintf(o.w, "%d due again, %d skipped\n", total.Resent, total.Skipped)
		for _, r := range total.Reasons {
			fmt.Fprintln(o.w, "  "+printable(r.Field+" "+r.Message))
		}
		return nil
	})
}
