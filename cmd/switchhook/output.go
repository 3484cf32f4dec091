package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/hook"
)

// output writes results as people or programs want them. Results go to standard
// output, all else to standard error.
type output struct {
	format   string
	w        io.Writer
	messages io.Writer
	// cut says that a list has more than was asked for.
	cut bool
}

// addOutput gives a command the flag -o.
func addOutput(cmd *cobra.Command) *output {
	o := &output{}
	cmd.Flags().StringVarP(&o.format, "output", "o", "text", "text, json or ndjson")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		o.w, o.messages = cmd.OutOrStdout(), cmd.ErrOrStderr()
		switch o.format {
		case "text", "json", "ndjson":
			return nil
		}
		return &usageError{fmt.Errorf("output %q is none of text, json, ndjson", o.format)}
	}
	return o
}

// write writes a result that came as JSON: as it is, its list one item to a line,
// or as text says.
func (o *output) write(raw []byte, list string, text func() error) error {
	switch o.format {
	case "json":
		var b bytes.Buffer
		if err := json.Indent(&b, raw, "", "  "); err != nil {
			return err
		}
		_, err := fmt.Fprintln(o.w, strings.TrimSpace(b.String()))
		return err
	case "ndjson":
		items := []json.RawMessage{raw}
		if list != "" {
			var object map[string]json.RawMessage
			if err := json.Unmarshal(raw, &object); err != nil {
				return err
			}
			if err := json.Unmarshal(object[list], &items); err != nil {
				return err
			}
		}
		for _, item := range items {
			var b bytes.Buffer
			if err := json.Compact(&b, item); err != nil {
				return err
			}
			if _, err := fmt.Fprintln(o.w, b.String()); err != nil {
				return err
			}
		}
		return nil
	}
	return text()
}

// collect makes the results that are written until the function it returns is
// called the items of one. It is for -o json.
func (o *output) collect() (end func()) {
	w := o.w
	var items bytes.Buffer
	o.w, o.format = &items, "ndjson"
	return func() {
		o.w, o.format = w, "json"
		lines := bytes.Split(bytes.TrimSpace(items.Bytes()), []byte("\n"))
		if len(lines) == 1 && len(lines[0]) > 0 {
			_ = o.write(lines[0], "", nil)
			return
		}
		_ = o.write(fmt.Appendf(nil, `{"items":[%s]}`, bytes.Join(lines, []byte(","))), "", nil)
	}
}

// done writes what was done, for programs; people see that nothing went wrong.
func (o *output) done(fields map[string]string) error {
	raw, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	return o.write(raw, "", func() error { return nil })
}

// rest says of a list that was cut that it was: people might take it for all there is.
func (o *output) rest() {
	if o.cut {
		fmt.Fprintln(o.messages, "there are more; --limit says how many to show")
	}
}

// table writes rows in columns.
func (o *output) table(head string, rows [][]string) error {
	t := tabwriter.NewWriter(o.w, 0, 0, 2, ' ', 0)
	if len(rows) > 0 {
		fmt.Fprintln(t, strings.Join(strings.Split(head, "|"), "\t"))
	}
	for _, r := range rows {
		for i := range r {
			r[i] = printable(r[i])
		}
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	o.rest()
	return nil
}

// fields writes names and values in two columns; those without a value are left
// out.
func (o *output) fields(pairs ...string) error {
	t := tabwriter.NewWriter(o.w, 0, 0, 2, ' ', 0)
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(t, "%s\t%s\n", pairs[i], printable(pairs[i+1]))
		}
	}
	return t.Flush()
}

// printable is what the terminal is given of a text of somebody else.
func printable(s string) string { return hook.Printable(s) }
