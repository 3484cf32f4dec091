package main

import (
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

func newAccounts() *cobra.Command {
	return group("accounts", "Show accounts",
		call("list", "List all accounts", cobra.NoArgs, func(cmd *cobra.Command, c *client, o *output, _ []string) error {
			return showList(cmd, c, o, "/accounts", nil, "accounts", "ACCOUNT|NAME|OWNER|MASTER ACCOUNT", func(a *hook.Account) []string {
				return []string{a.ID, a.Name, a.OwnerEmail, a.Master}
			})
		}),
	)
}

func newApps() *cobra.Command {
	return group("apps", "Show and delete apps; make them with apply",
		call("list", "List all apps", cobra.NoArgs, func(cmd *cobra.Command, c *client, o *output, _ []string) error {
			return showList(cmd, c, o, "/apps", nil, "apps", "APP|NAME|ACCOUNT|ENABLED|SUBSCRIPTIONS", func(a *api.App) []string {
				return []string{a.ID, a.Name, a.Account, onOff(!a.Disabled), strconv.Itoa(a.Subscriptions)}
			})
		}),
		call("show APP", "Show one app", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client, o *output, args []string) error {
			raw, err := c.get(cmd.Context(), operator+"/apps/"+url.PathEscape(args[0]), nil)
			if err != nil {
				return err
			}
			return o.write(raw, "", func() error {
				a, err := decode[api.App](raw)
				if err != nil {
					return err
				}
				var installed []string
				for _, i := range a.Installations {
					installed = append(installed, strings.TrimSuffix(i.Account+"/"+i.User, "/"))
				}
				return o.fields(
					"app", a.ID, "name", a.Name, "account", a.Account, "enabled", onOff(!a.Disabled), "client id", a.ClientID,
					"scopes", strings.Join(a.Scopes, " "), "carrier codes", strings.Trim(fmt.Sprint(a.CarrierCodes), "[]"),
					"installed on", strings.Join(installed, " "), "subscriptions", strconv.Itoa(a.Subscriptions), "created", clock(a.Created))
			})
		}),
		call("secret APP", "Print the secret token that an app's endpoints verify with", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client, o *output, args []string) error {
			raw, err := c.get(cmd.Context(), operator+"/apps/"+url.PathEscape(args[0])+"/secret_token", nil)
			if err != nil {
				return err
			}
			return o.write(raw, "", func() error {
				v, err := decode[map[string]string](raw)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(o.w, v["secret_token"])
				return err
			})
		}),
		rotate("rotate-secret-token APP", "Give an app a new secret token; all requests are signed with it from then on", "/secret_token",
			func(v map[string]any) (secret, until any) {
				return v["secret_token"], v["old_secret_token_valid_until"]
			}),
		rotate("rotate-client-secret APP", "Give an app's OAuth client a new secret", "/client_secret",
			func(v map[string]any) (secret, until any) {
				return v["client_secret"], v["old_client_secret_valid_until"]
			}),
		remove("delete APP", "Delete an app with its subscriptions; what they are owed is cancelled", "/apps/"),
	)
}

// rotate is a command that replaces a secret of an app and prints the new one.
func rotate(use, short, path string, read func(map[string]any) (secret, until any)) *cobra.Command {
	cmd := call(use, short, cobra.ExactArgs(1), func(cmd *cobra.Command, c *client, o *output, args []string) error {
		overlap, _ := cmd.Flags().GetDuration("overlap")
		raw, err := c.post(cmd.Context(), operator+"/apps/"+url.PathEscape(args[0])+path, nil, map[string]int64{"overlap_seconds": int64(overlap / time.Second)})
		if err != nil {
			return err
		}
		return o.write(raw, "", func() error {
			v, err := decode[map[string]any](raw)
			if err != nil {
				return err
			}
			secret, until := read(v)
			if until != nil {
				fmt.Fprintln(cmd.ErrOrStderr(), "the one before is valid until", printable(fmt.Sprint(until)))
			}
			_, err = fmt.Fprintln(o.w, secret)
			return err
		})
	})
	cmd.Flags().Duration("overlap", 24*time.Hour, "how long the one before stays valid beside it")
	return cmd
}

// remove is a command that deletes what its argument names.
func remove(use, short, path string) *cobra.Command {
	return call(use, short, cobra.ExactArgs(1), func(cmd *cobra.Command, c *client, o *output, args []string) error {
		if _, err := c.call(cmd.Context(), request{method: http.MethodDelete, path: operator + path + url.PathEscape(args[0])}); err != nil {
			return err
		}
		return o.done(map[string]string{"deleted": args[0]})
	})
}

func onOff(on bool) string {
	if on {
		return "yes"
	}
	return "no"
}
