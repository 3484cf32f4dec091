package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/api"
	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/hook"
)

func newCatalog() *cobra.Command {
	list := call("list", "List the event types that the platform knows", cobra.NoArgs, listCatalog)
	list.Flags().String("product", "", "only those of this product")
	imp := call("import FILE", "Add the event types of an OpenAPI 3.1 document to the platform", cobra.ExactArgs(1), importCatalog)
	imp.Flags().Bool("dry-run", false, "only report what is in it")
	mode := call("set-check EVENT MODE", "Set how payloads of an event type are checked: strict, report or off", cobra.ExactArgs(2), setCheck)
	return group("catalog", "Show, import and check event types",
		list,
		call("show EVENT", "Show one event type with its schema and samples", cobra.ExactArgs(1), showEventType),
		imp, mode, newCatalogCheck(),
	)
}

func listCatalog(cmd *cobra.Command, c *client, o *output, _ []string) error {
	q := url.Values{}
	if p, _ := cmd.Flags().GetString("product"); p != "" {
		q.Set("product", p)
	}
	return showList(cmd, c, o, "/event_types", q, "event_types", "EVENT|PRODUCT|ROUTING|CHECK|SCOPES", func(t *api.EventType) []string {
		check := t.Check
		if !t.Checked {
			check = "no schema"
		}
		return []string{t.Name, t.Product, t.Routing, check, strings.Join(append(t.Scopes, t.GranularScope...), " ")}
	})
}

func showEventType(cmd *cobra.Command, c *client, o *output, args []string) error {
	raw, err := c.get(cmd.Context(), operator+"/event_types/"+url.PathEscape(args[0]), nil)
	if err != nil {
		return err
	}
	return o.write(raw, "", func() error {
		t, err := decode[api.EventType](raw)
		if err != nil {
			return err
		}
		if err := o.fields("event", t.Name, "product", t.Product, "summary", t.Summary, "routing", t.Routing, "check", t.Check,
			"scopes", strings.Join(t.Scopes, " "), "granular scopes", strings.Join(t.GranularScope, " ")); err != nil {
			return err
		}
		section := func(title string, doc json.RawMessage) {
			var b bytes.Buffer
			if json.Indent(&b, doc, "", "  ") == nil {
				fmt.Fprintf(o.w, "\n%s:\n", printable(title))
				for line := range strings.Lines(b.String()) {
					fmt.Fprintln(o.w, printable(strings.TrimRight(line, "\n")))
				}
			}
		}
		if t.Schema != nil {
			section("schema", t.Schema)
		}
		for _, s := range t.Samples {
			section("sample "+s.Name, s.Body)
		}
		return nil
	})
}

func importCatalog(cmd *cobra.Command, c *client, o *output, args []string) error {
	source, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	dryRun, _ := cmd.Flags().GetBool("dry-run")
	raw, err := c.call(cmd.Context(), request{
		method: http.MethodPost, path: operator + "/catalog", query: url.Values{"dry_run": {strconv.FormatBool(dryRun)}}, body: bytes.NewReader(source),
	})
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return o.write(raw, "", func() error {
		v, err := decode[api.Import](raw)
		if err != nil {
			return err
		}
		printReport(o, v.Product, len(v.Types), v.Notes, v.Samples)
		return nil
	})
}

func setCheck(cmd *cobra.Command, c *client, o *output, args []string) error {
	if _, err := hook.ParseCheckMode(args[1]); err != nil {
		return &usageError{err}
	}
	body, err := json.Marshal(map[string]string{"check": args[1]})
	if err != nil {
		return err
	}
	if _, err = c.call(cmd.Context(), request{
		method: http.MethodPut, path: operator + "/event_types/" + url.PathEscape(args[0]) + "/check", body: bytes.NewReader(body),
	}); err != nil {
		return err
	}
	return o.done(map[string]string{"event": args[0], "check": args[1]})
}

func newCatalogCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Report what is in an OpenAPI 3.1 document and what is wrong with it; needs no platform",
		Args:  usageArgs(cobra.ExactArgs(1)),
	}
	o := addOutput(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		source, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		doc, err := catalog.Parse(source)
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		v := api.Import{Product: doc.Product, Types: []string{}, Notes: append([]catalog.Note{}, doc.Notes...), Samples: append([]catalog.SampleFault{}, doc.CheckSamples()...)}
		for _, t := range doc.Types {
			v.Types = append(v.Types, t.Name)
		}
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return o.write(raw, "", func() error {
			printReport(o, v.Product, len(v.Types), v.Notes, v.Samples)
			return nil
		})
	}
	return cmd
}

// printReport says what is in a document and what is wrong with it.
func printReport(o *output, product string, types int, notes []catalog.Note, samples []catalog.SampleFault) {
	fmt.Fprintf(o.w, "%s: %s\n", printable(product), plural(types, "event type", "event types"))
	for _, n := range notes {
		fmt.Fprintln(o.w, "  "+printable(n.String()))
	}
	for _, s := range samples {
		for _, f := range s.Faults {
			fmt.Fprintln(o.w, "  "+printable(fmt.Sprintf("sample: %s %q: %s %s", s.EventType, s.Sample, f.Pointer, f.Message)))
		}
	}
}
