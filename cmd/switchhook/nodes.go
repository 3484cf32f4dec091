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
	raw, err := c.get(cmd.Context(), operator+"/nodes", nil)
	if err != nil {
		return err
	}
	return o.write(raw, "nodes", func() error {
		v, err := decode[struct{ Nodes []api.Node }](raw)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, n := range v.Nodes {
			rows = append(rows, []string{
				strconv.FormatInt(n.ID, 10), strconv.Itoa(n.Slot), printable(n.Host), printable(n.Version), clock(n.Started), clock(n.Seen),
				thousands(n.Held), thousands(n.Lanes),
			})
		}
		return o.table("NODE|SLOT|HOST|VERSION|STARTED|SEEN|IN HAND|LANES", rows)
	})
}
