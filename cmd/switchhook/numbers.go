package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/api"
	"github.com/switchhook/switchhook/internal/number"
)

func newNumbers() *cobra.Command {
	list := call("list", "List phone numbers", cobra.NoArgs, listNumbers)
	selectFlags(list)
	list.Flags().Int("limit", 30, "how many")

	address := call("set-address [NUMBER...]", "Set or clear the emergency address of numbers", cobra.ArbitraryArgs, setAddress)
	address.Long = `Set or clear the emergency address of the numbers that are named, of all numbers of a
carrier or of a customer, or of all there are.

An address is set whole: what is not given is not in it. The carriers of the numbers
whose address is another one than before learn of it by an event.`
	changeFlags(address)
	for _, f := range addressFlags {
		address.Flags().String(f.flag, "", f.what)
	}

	cnam := call("set-cnam [NUMBER...]", "Set or clear the caller name of numbers", cobra.ArbitraryArgs, setCNAM)
	cnam.Long = `Set or clear the caller name (CNAM) of the numbers that are named, of all numbers of a
carrier or of a customer, or of all there are. The carriers of the numbers whose name
is another one than before learn of it by an event.`
	changeFlags(cnam)
	cnam.Flags().String("name", "", "up to 15 characters, at least one of them a letter")

	return group("numbers", "Show and change phone numbers",
		list,
		call("show NUMBER", "Show one phone number", cobra.ExactArgs(1), showNumber),
		newNumbersImport(), newNumbersExport(), address, cnam,
	)
}

func selectFlags(cmd *cobra.Command) {
	cmd.Flags().Int32("carrier", 0, "only numbers of this carrier")
	cmd.Flags().String("account", "", "only numbers of this customer")
}

// selected returns what the flags of selectFlags select as the API wants it. A variable of a
// script that is empty by mistake must not select everything.
func selected(cmd *cobra.Command) (url.Values, error) {
	q := url.Values{}
	if cmd.Flags().Changed("carrier") {
		code, _ := cmd.Flags().GetInt32("carrier")
		if code <= 0 {
			return nil, &usageError{fmt.Errorf("--carrier %d is not the code of a carrier, a number from 1 to 2147483647", code)}
		}
		q.Set("carrier_code", strconv.Itoa(int(code)))
	}
	if cmd.Flags().Changed("account") {
		account, _ := cmd.Flags().GetString("account")
		if account == "" {
			return nil, &usageError{errors.New("--account is empty; leave it out for all customers")}
		}
		q.Set("account_id", account)
	}
	return q, nil
}

func listNumbers(cmd *cobra.Command, c *client, o *output, _ []string) error {
	q, err := selected(cmd)
	if err != nil {
		return err
	}
	return showPages(cmd, c, o, "/numbers", q, "numbers", "NUMBER|CARRIER|CUSTOMER|IN USE|PRODUCT|TYPE|CALLER NAME|EMERGENCY ADDRESS", func(n *number.Number) []string {
		return []string{
			n.E164, strconv.Itoa(int(n.Carrier)), n.Account, onOff(n.Status), string(n.AllocatedProduct), string(n.NumberType), dash(n.CNAM), dash(addressLine(&n.Address)),
		}
	})
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// addressLine writes an address in one line.
func addressLine(a *number.Address) string {
	var parts []string
	for _, s := range []string{a.Line1, a.Line2, a.City, strings.TrimSpace(a.State + " " + a.ZIP), a.Country} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ", ")
}

func showNumber(cmd *cobra.Command, c *client, o *output, args []string) error {
	raw, err := c.get(cmd.Context(), operator+"/numbers/"+url.PathEscape(args[0]), nil)
	if err != nil {
		return err
	}
	return o.write(raw, "", func() error {
		n, err := decode[number.Number](raw)
		if err != nil {
			return err
		}
		return o.fields("number", n.E164, "carrier", strconv.Itoa(int(n.Carrier)), "customer", n.Account, "sip trunk", n.SIPTrunkName, "in use", onOff(n.Status),
			"assigned", onOff(n.Assigned), "product", string(n.AllocatedProduct), "type", string(n.NumberType), "billing ref", n.BillingRefID, "service info", n.ServiceInfo,
			"caller name", dash(n.CNAM), "emergency address", dash(addressLine(&n.Address)))
	})
}

func newNumbersExport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write phone numbers as a CSV file, which import takes",
		Args:  usageArgs(cobra.NoArgs),
	}
	c := addClient(cmd)
	selectFlags(cmd)
	cmd.Flags().String("file", "", "write to this file, which is there only when all of it is (default standard output)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		file, _ := cmd.Flags().GetString("file")
		if file == "" || file == "-" {
			return exportNumbers(cmd, c, cmd.OutOrStdout())
		}
		return writeWhole(file, func(w io.Writer) error { return exportNumbers(cmd, c, w) })
	}
	return cmd
}

func exportNumbers(cmd *cobra.Command, c *client, w io.Writer) error {
	q, err := selected(cmd)
	if err != nil {
		return err
	}
	res, err := c.send(cmd.Context(), request{method: http.MethodGet, path: operator + "/numbers/export", query: q})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return statusOf(res)
	}
	if _, err := io.Copy(w, res.Body); err != nil {
		if cmd.Context().Err() != nil {
			err = errors.New("it was interrupted")
		}
		return fmt.Errorf("the export is not complete: %w", err)
	}
	return nil
}

// writeWhole makes a file of what write writes, or leaves what was there.
func writeWhole(file string, write func(io.Writer) error) (err error) {
	if to, err := filepath.EvalSymlinks(file); err == nil {
		file = to
	}
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(file, os.O_WRONLY, 0) // a pipe or a device
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*")
	if e, ok := errors.AsType[*os.PathError](err); ok {
		e.Path = file // the other name tells nobody anything
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err := errors.Join(write(f), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

func changeFlags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.Int32("carrier", 0, "all numbers of this carrier")
	fl.String("account", "", "all numbers of this customer")
	fl.Bool("all", false, "all numbers there are")
	fl.Bool("clear", false, "take away what is set")
	fl.Bool("yes", false, "do not ask before changing all numbers that are selected")
}

var addressFlags = []struct {
	flag, what string
	of         func(*number.Address) *string
}{
	{"line1", "house number and street", func(a *number.Address) *string { return &a.Line1 }},
	{"line2", "building, floor, unit", func(a *number.Address) *string { return &a.Line2 }},
	{"city", "city", func(a *number.Address) *string { return &a.City }},
	{"zip", "postal code", func(a *number.Address) *string { return &a.ZIP }},
	{"state", "state, as in ISO 3166-2 without the country", func(a *number.Address) *string { return &a.State }},
	{"country", "country, two letters as in ISO 3166-1", func(a *number.Address) *string { return &a.Country }},
}

func setAddress(cmd *cobra.Command, c *client, o *output, args []string) error {
	var a number.Address
	for _, f := range addressFlags {
		*f.of(&a), _ = cmd.Flags().GetString(f.flag)
	}
	empty, _ := cmd.Flags().GetBool("clear")
	switch {
	case empty && a != (number.Address{}):
		return &usageError{errors.New("give an address or --clear, not both")}
	case !empty && a.Line1 == "":
		return &usageError{errors.New("--line1 is missing: an address is given whole, with house number and street; --clear takes it away")}
	case empty:
		return setNumbers(cmd, c, o, args, wish{"clear the emergency address", "", map[string]any{"emergency_address": nil}})
	}
	return setNumbers(cmd, c, o, args, wish{"set the emergency address", addressLine(&a), map[string]any{"emergency_address": a}})
}

func setCNAM(cmd *cobra.Command, c *client, o *output, args []string) error {
	name, _ := cmd.Flags().GetString("name")
	empty, _ := cmd.Flags().GetBool("clear")
	switch {
	case empty && name != "":
		return &usageError{errors.New("give a --name or --clear, not both")}
	case !empty && name == "":
		return &usageError{errors.New("--name is missing; --clear takes the name away")}
	case empty:
		return setNumbers(cmd, c, o, args, wish{"clear the caller name", "", map[string]any{"cnam": nil}})
	}
	return setNumbers(cmd, c, o, args, wish{"set the caller name", name, map[string]any{"cnam": name}})
}

// wish is what somebody wants of numbers: in words, with the value, and as the API wants it.
type wish struct {
	what, value string
	set         map[string]any
}

// ask asks about it.
func (w *wish) ask(numbers int) string {
	text := w.what + " of " + grouped(numbers, "number", "numbers")
	if w.value != "" {
		text += fmt.Sprintf(" to %q", w.value)
	}
	return printable(text) + "? [y/N] "
}

// setNumbers grants a wish for the numbers that are named, or for those that are selected.
func setNumbers(cmd *cobra.Command, c *client, o *output, numbers []string, w wish) error {
	q, err := selected(cmd)
	if err != nil {
		return err
	}
	all, _ := cmd.Flags().GetBool("all")
	switch {
	case len(numbers) > 0 && (all || len(q) > 0):
		return &usageError{errors.New("name numbers or select them with --carrier, --account or --all, not both")}
	case len(numbers) > 0:
		raw, err := c.patchNumbers(cmd.Context(), map[string]any{"phone_numbers": numbers, "set": w.set})
		if err != nil {
			return err
		}
		return printSet(o, raw)
	case all && len(q) > 0:
		return &usageError{errors.New("--all selects all numbers there are; leave it out to select those of --carrier or --account")}
	case !all && len(q) == 0:
		return &usageError{errors.New("name numbers, or select them with --carrier, --account or --all")}
	}
	filter := map[string]any{}
	if all {
		filter["all"] = true
	}
	if q.Has("carrier_code") {
		filter["carrier_code"] = json.RawMessage(q.Get("carrier_code"))
	}
	if q.Has("account_id") {
		filter["account_id"] = q.Get("account_id")
	}
	return setSelected(cmd, c, o, w, q, map[string]any{"filter": filter, "set": w.set})
}

// setSelected makes a change of all numbers of a filter, if whoever is asked agrees.
func setSelected(cmd *cobra.Command, c *client, o *output, w wish, q url.Values, body map[string]any) error {
	in, messages := cmd.InOrStdin(), cmd.ErrOrStderr()
	yes, _ := cmd.Flags().GetBool("yes")
	if somebody := isTerminal(in) && isTerminal(messages); !yes && !somebody {
		return &usageError{errors.New("this may change many numbers, and there is nobody to ask: say --yes")}
	}
	q.Set("page_size", "1")
	raw, err := c.get(cmd.Context(), operator+"/numbers", q)
	if err != nil {
		return err
	}
	v, err := decode[struct{ Total int }](raw)
	if err != nil {
		return err
	}
	if !yes && v.Total > 0 {
		fmt.Fprint(messages, w.ask(v.Total))
		if !agreed(cmd.Context(), in, messages) {
			fmt.Fprintln(messages, "nothing was changed")
			return &quiet{errors.New("nobody agreed")}
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	show := newProgress(messages, "number", "numbers")
	show.size = int64(v.Total)
	show.begin(0, 0)
	var done *report
	opened, err := c.follow(cmd.Context(), request{
		method: http.MethodPatch, path: operator + "/numbers", header: map[string]string{"Accept": "application/x-ndjson"}, body: bytes.NewReader(text),
	}, show, func(r *report) error {
		switch r.Type {
		case "progress", "done":
			show.set(int64(r.Numbers), r.Numbers)
			if r.Type == "done" {
				done = r
			}
		}
		return nil
	})
	if err != nil {
		show.clear()
		if cmd.Context().Err() != nil {
			err = errors.New("interrupted")
		}
		if opened && (show.now.count > 0 || passing(err)) {
			err = fmt.Errorf("%w; what was changed stays so: the same command does the rest", err)
		}
		return err
	}
	show.size = int64(done.Numbers) // some may have come, or gone, since they were counted
	show.end()
	raw, err = json.Marshal(api.Changed{Numbers: done.Numbers, Changed: done.Changed, Events: done.Events})
	if err != nil {
		return err
	}
	return printSet(o, raw)
}

// agreed reads whether somebody says yes.
func agreed(ctx context.Context, in io.Reader, messages io.Writer) bool {
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n')
		said <- line
	}()
	select {
	case line := <-said:
		line = strings.ToLower(strings.TrimSpace(line))
		return line == "y" || line == "yes"
	case <-ctx.Done():
		fmt.Fprintln(messages) // the cursor is still behind the question
		return false
	}
}

func (c *client) patchNumbers(ctx context.Context, body map[string]any) ([]byte, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return c.call(ctx, request{method: http.MethodPatch, path: operator + "/numbers", body: bytes.NewReader(text)})
}

// printSet says what came of a change.
func printSet(o *output, raw []byte) error {
	return o.write(raw, "", func() error {
		v, err := decode[api.Changed](raw)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(o.w, "%s: %s changed, %s as before; %s\n", grouped(v.Numbers, "number", "numbers"), thousands(v.Changed), thousands(v.Numbers-v.Changed), grouped(v.Events, "event", "events"))
		return err
	})
}
