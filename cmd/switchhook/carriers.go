package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/api"
)

func newCarriers() *cobra.Command {
	set := call("set CODE", "Add a carrier, or change one", cobra.ExactArgs(1), setCarrier)
	set.Long = `Add a carrier, or change one. The code is the one that the carrier is known by; it is
in the events of its numbers. With --app, that app alone receives these events from
then on; without, apps stay as they are.`
	set.Flags().String("name", "", "what the carrier is called")
	set.Flags().String("app", "", "id of the app that the events of its numbers go to")
	return group("carriers", "Show, add and remove carriers",
		call("list", "List all carriers", cobra.NoArgs, listCarriers),
		set,
		remove("delete CODE", "Delete a carrier that has no numbers", "/carriers/"),
	)
}

func listCarriers(cmd *cobra.Command, c *client, o *output, _ []string) error {
	return showList(cmd, c, o, "/carriers", nil, "carriers", "CARRIER|NAME|NUMBERS|APPS", func(x *api.Carrier) []string {
		return []string{strconv.Itoa(int(x.Code)), x.Name, thousands(x.Numbers), strings.Join(x.Apps, " ")}
	})
}

func setCarrier(cmd *cobra.Command, c *client, o *output, args []string) error {
	fl := cmd.Flags()
	name, _ := fl.GetString("name")
	app, _ := fl.GetString("app")
	if name == "" {
		return &usageError{errors.New("--name is missing: what is the carrier called?")}
	}
	if code, err := strconv.ParseInt(args[0], 10, 32); err != nil || code <= 0 {
		return &usageError{fmt.Errorf("%q is not the code of a carrier, a number from 1 to 2147483647", args[0])}
	}
	carrier := map[string]string{"name": name}
	if app != "" {
		carrier["app_id"] = app
	}
	body, err := json.Marshal(carrier)
	if err != nil {
		return err
	}
	raw, err := c.call(cmd.Context(), request{method: http.MethodPut, path: operator + "/carriers/" + args[0], body: bytes.NewReader(body)})
	if err != nil {
		return err
	}
	return o.write(raw, "", func() error { return nil })
}
