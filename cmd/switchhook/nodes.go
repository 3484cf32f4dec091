package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/api"
)

func newNodes() *cobra.Command {
	return group("nodes", "Show who serves from the database",
		call("list", "List all nodes", cobra.NoArgs, listNodes),
	)
}

func listNodes(cmd *cobra.Command, c *client, o *output, _ []string) error {
	return showList(cmd, c, o, "/nodes", nil, "nodes", "NODE|SLOT|HOST|VERSION|STARTED|SEEN|IN HAND|LANES", func(n *api.Node) []string {
		return []string{
			strconv.FormatInt(n.ID, 10), strconv.Itoa(n.Slot), printable(n.Host), printable(n.Version), clock(n.Started), clock(n.Seen),
			thousands(n.Held), thousands(n.Lanes),
		}
	})
}
