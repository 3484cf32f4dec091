package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/api"
	"github.com/switchhook/switchhook/internal/intake"
)

func newEvents() *cobra.Command {
	publish := call("publish [FILE]", "Publish the events in a file, or on standard input", cobra.MaximumNArgs(1), publishEvents)
	publish.Long = `Publish the events in a file, or on standard input: one JSON object, an array of
them, or one to a line (NDJSON). Each accepted event is answered with its id and
the number of deliveries it brings about; the exit code is 1 if any was refused.`
	publish.Flags().String("idempotency-key", "", "publishing the same again under the same key changes nothing")
	return group("events", "Publish and show events",
		publish,
		call("show EVENT", "Show an event and how it stands with everybody it is owed to", cobra.ExactArgs(1), showEvent),
	)
}

// sniffed is how much of the input tells what it is: an event and its line end.
const sniffed = intake.MaxEvent + 64<<10

// mediaOf tells whether the input is one JSON value or several of them, one to a
// line. It looks at the first line, and whether anything follows.
func mediaOf(r *bufio.Reader) string {
	for want := 1; ; want = r.Buffered() + 1 {
		_, err := r.Peek(want) // waits for as much
		start, _ := r.Peek(r.Buffered())
		start = bytes.TrimLeft(start, " \t\r\n")
		line, rest, more := bytes.Cut(start, []byte("\n"))
		switch {
		case len(start) > 0 && start[0] != '{':
			return "application/json"
		case more && !json.Valid(line):
			return "application/json"
		case more && len(bytes.TrimSpace(rest)) > 0:
			return "application/x-ndjson"
		case err != nil:
			return "application/json"
		}
	}
}

func publishEvents(cmd *cobra.Command, c *client, o *output, args []string) error {
	in := cmd.InOrStdin()
	if len(args) == 1 && args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	body := bufio.NewReaderSize(in, sniffed)
	header := map[string]string{"Content-Type": mediaOf(body)}
	if key, _ := cmd.Flags().GetString("idempotency-key"); key != "" {
		header["Idempotency-Key"] = key
	}
	res, err := c.send(cmd.Context(), request{method: http.MethodPost, path: "/v2/events", header: header, body: body})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.Header.Get("Content-Type") == "application/x-ndjson" {
		return printReceipts(o, res.Body)
	}
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return brokenOff(err)
	}
	if bytes.HasPrefix(raw, []byte(`{"accepted":`)) {
		var batch struct{ Items []json.RawMessage }
		if err := json.Unmarshal(raw, &batch); err != nil {
			return err
		}
		var lines bytes.Buffer
		for _, item := range batch.Items {
			lines.Write(append(item, '\n'))
		}
		return printReceipts(o, &lines)
	}
	if res.StatusCode >= 300 {
		return apiError(res.StatusCode, raw)
	}
	return printReceipts(o, bytes.NewReader(raw))
}

// printReceipts prints a line for each event: those accepted on standard output,
// the others as an error at the end.
func printReceipts(o *output, r io.Reader) error {
	refused, line := 0, 0
	lines := bufio.NewReader(r)
	if o.format == "json" {
		defer o.collect()()
	}
	for {
		raw, err := lines.ReadBytes('\n')
		if raw = bytes.TrimSpace(raw); len(raw) > 0 && !bytes.HasPrefix(raw, []byte(`{"accepted":`)) {
			line++
			bad, err := printReceipt(o, line, raw)
			if err != nil {
				return err
			}
			if bad {
				refused++
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return brokenOff(err)
		}
	}
	if refused > 0 {
		return fmt.Errorf("%d of %d events were refused", refused, line)
	}
	return nil
}

// brokenOff says what it means that the answer ended too early.
func brokenOff(err error) error {
	return fmt.Errorf("the connection to the platform broke off (%w); what was not answered may have been accepted or not: send it again, with --idempotency-key so that nothing is there twice", err)
}

func printReceipt(o *output, n int, raw []byte) (refused bool, err error) {
	var r struct {
		api.Accepted
		Line int `json:"line"` // of a stream, where events and lines are not the same: some are blank
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return false, err
	}
	refused = r.Event == ""
	return refused, o.write(raw, "", func() error {
		if refused {
			where := fmt.Sprintf("event %d", n)
			if r.Line > 0 {
				where = fmt.Sprintf("line %d", r.Line)
			}
			fmt.Fprintf(o.w, "%s refused: %s\n", where, message(apiError(http.StatusBadRequest, raw)))
			return nil
		}
		line := r.Event + "  " + plural(r.Deliveries, "delivery", "deliveries")
		if r.Duplicate {
			line += ", accepted before under the same idempotency key"
		}
		fmt.Fprintln(o.w, line)
		for _, w := range r.Warnings {
			fmt.Fprintln(o.w, "    warning: "+printable(w.Field+" "+w.Message))
		}
		return nil
	})
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

func showEvent(cmd *cobra.Command, c *client, o *output, args []string) error {
	raw, err := c.get(cmd.Context(), operator+"/events/"+url.PathEscape(args[0]), nil)
	if err != nil {
		return err
	}
	return o.write(raw, "", func() error {
		e, err := decode[api.Event](raw)
		if err != nil {
			return err
		}
		if err := o.fields("event", e.ID, "type", e.Event, "account", e.Account, "occurred", clock(e.TS), "accepted", clock(e.Accepted)); err != nil {
			return err
		}
		fmt.Fprintf(o.w, "\n%s\n\n", printable(string(e.Body)))
		return o.table(deliveryHead, rowsOf(e.Deliveries, deliveryRow))
	})
}
