package main

import (
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/api"
	"github.com/switchhook/switchhook/internal/hook"
)

func newAudit() *cobra.Command {
	list := call("list", "List what was changed, the latest first", cobra.NoArgs, listAudit)
	fl := list.Flags()
	fl.String("id", "", "only what was done to the thing with this id")
	fl.String("by", "", "only what was done with the operator key, or by the app, with this id")
	fl.String("kind", "", "only what was done to things of this kind, as in account, app or subscription")
	fl.String("from", "", "only what was done at this time or later, as in 2026-01-31T15:04:05Z, or this long ago, as in 2h")
	fl.String("to", "", "only what was done before this time")
	fl.Int("limit", 30, "how many")
	return group("audit", "Show who changed what, and when", list)
}

func listAudit(cmd *cobra.Command, c *client, o *output, _ []string) error {
	q := url.Values{}
	for _, name := range []string{"id", "by", "kind"} {
		if v, _ := cmd.Flags().GetString(name); v != "" {
			q.Set(name, v)
		}
	}
	if err := spanQuery(cmd, q); err != nil {
		return err
	}
	return showPages(cmd, c, o, "/audit", q, "entries", "TIME|BY|DID|TO|NAME|CHANGES", func(e *api.AuditEntry) []string {
		by := hook.Actor{Kind: e.By.Kind, ID: e.By.ID, Name: e.By.Name}
		name := e.Name
		switch {
		case name == "":
			name = e.ID
		case e.ID != "" && e.ID != e.Name:
			name += " (" + e.ID + ")"
		}
		return []string{clock(e.At), by.String(), string(e.Action), e.Kind, name, strings.Join(e.Changes, "; ")}
	})
}
