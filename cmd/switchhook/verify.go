package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/capture"
	"github.com/switchhook/switchhook/internal/diagnose"
	"github.com/switchhook/switchhook/webhook"
)

func newVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [FILE...]",
		Short: "Say whether a captured request is valid, or exactly why not; needs no platform",
		Long: `Say whether a captured request is valid, or exactly why not.

A capture is read from files or standard input: a request as it was on the wire
(headers, an empty line, the body), a HAR file, a curl command as browsers copy it,
or, with the headers on the command line, a body:

  switchhook verify request.txt
  switchhook verify -H "x-zm-signature: v0=..." -H "x-zm-request-timestamp: 1767960312" body.json

Where the signature does not hold, it is looked for what it does hold for: the body
before it was printed again, packed or cut, another time, another form of the secret.
A cause that is proven makes the signature right when it is undone; the others are
what is most likely. The exit code is 3 if any request is not valid.`,
		Args: usageArgs(cobra.ArbitraryArgs),
	}
	v := &verification{out: addOutput(cmd), secret: addSecret(cmd)}
	fl := cmd.Flags()
	fl.StringVar(&v.format, "format", "", "what the capture is: http, har, curl or body; without it, whatever it looks like")
	fl.StringArrayVarP(&v.headers, "header", "H", nil, "a header of the request, as in 'name: value', instead of the one in the capture")
	fl.StringVar(&v.body, "body", "", "file with the body, instead of the one in the capture")
	fl.StringVar(&v.at, "at", "", "when it was received: as in 2026-01-09T12:00:00Z, or seconds since 1970, or sent: when it was sent. Without it, when the capture says so, else now")
	fl.DurationVar(&v.tolerance, "tolerance", webhook.DefaultTolerance, "how old or new the timestamp may be")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return v.run(cmd, args) }
	return cmd
}

type verification struct {
	out        *output
	secret     *secretTokens
	format, at string
	headers    []string
	body       string
	tolerance  time.Duration
}

// verdict is what is printed of a request.
type verdict struct {
	Request string `json:"request,omitempty"`
	Method  string `json:"method,omitempty"`
	URL     string `json:"url,omitempty"`
	diagnose.Result
	Notes []string `json:"notes,omitempty"`
}

func (v *verification) run(cmd *cobra.Command, args []string) error {
	if v.tolerance <= 0 {
		return &usageError{fmt.Errorf("--tolerance %v must be more than 0", v.tolerance)}
	}
	if v.format != "" && !slices.Contains(capture.Formats(), capture.Format(v.format)) {
		return &usageError{fmt.Errorf("--format %q is none of http, har, curl, body", v.format)}
	}
	if v.at != "sent" {
		if _, err := instant(v.at); err != nil {
			return err
		}
	}
	requests, err := v.read(cmd, args)
	if err != nil {
		return err
	}
	secrets, err := v.secret.read(cmd.InOrStdin())
	if err != nil {
		return err
	}
	verdicts, valid := make([]verdict, len(requests)), true
	for i, r := range requests {
		in := diagnose.Input{Header: r.Header, Body: r.Body, Secrets: secrets, Now: v.received(r), Tolerance: v.tolerance}
		for j, o := range requests {
			if i != j {
				in.Others = append(in.Others, diagnose.Other{Where: o.Where, Header: o.Header, Body: o.Body})
			}
		}
		result, err := diagnose.Request(in)
		if err != nil {
			return &usageError{err}
		}
		verdicts[i] = verdict{r.Where, r.Method, r.URL, result, r.Notes}
		valid = valid && result.Valid
	}
	raw, err := json.Marshal(struct {
		Requests []verdict `json:"requests"`
	}{verdicts})
	if err != nil {
		return err
	}
	if err := v.out.write(raw, "requests", func() error {
		for _, one := range verdicts {
			one.print(v.out.w)
		}
		return nil
	}); err != nil || valid {
		return err
	}
	return &exitError{&quiet{errors.New("not valid")}, exitInvalid}
}

// read returns the requests of all captures.
func (v *verification) read(cmd *cobra.Command, files []string) (all []capture.Request, err error) {
	if len(files) == 0 {
		files = []string{"-"}
	}
	for _, file := range files {
		text, err := readInput(cmd, v.secret, file)
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(text)) == 0 && len(v.headers) == 0 && v.body == "" {
			return nil, fmt.Errorf("%s is empty: there is no request in it", nameOf(file))
		}
		format := capture.Format(v.format)
		requests, err := capture.Read(text, format)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", nameOf(file), err)
		}
		for _, r := range requests {
			if len(files) > 1 {
				r.Where = strings.TrimSpace(nameOf(file) + " " + r.Where)
			}
			if err := v.amend(&r); err != nil {
				return nil, err
			}
			all = append(all, r)
		}
	}
	return all, nil
}

func nameOf(file string) string {
	if file == "-" {
		return "standard input"
	}
	return file
}

// amend puts in place of what was captured what the command line has.
func (v *verification) amend(r *capture.Request) error {
	replaced := map[string]bool{}
	for _, h := range v.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return &usageError{fmt.Errorf("--header %q is not a name, a colon and a value", h)}
		}
		name = strings.TrimSpace(name)
		if !replaced[name] {
			r.Header.Del(name)
			replaced[name] = true
		}
		r.Header.Add(name, strings.TrimSpace(value))
	}
	if v.body == "" {
		return nil
	}
	body, err := readInput(nil, v.secret, v.body)
	r.Body = body
	return err
}

// received returns when the request was, as far as anybody knows.
func (v *verification) received(r capture.Request) time.Time {
	switch {
	case v.at == "sent":
		if seconds, err := instant(r.Header.Get(webhook.HeaderTimestamp)); err == nil && r.Header.Get(webhook.HeaderTimestamp) != "" {
			return seconds
		}
	case v.at == "" && !r.Received.IsZero():
		return r.Received
	}
	t, err := instant(v.at)
	if err != nil {
		return time.Now()
	}
	return t
}

func (v *verdict) print(w io.Writer) {
	what := strings.TrimSpace(v.Request + " " + v.Event)
	if what != "" {
		what = ": " + what
	}
	if v.Valid {
		fmt.Fprintf(w, "valid%s, signed with secret %d at %s\n", printable(what), v.Secret, v.Timestamp.UTC().Format(time.RFC3339))
	} else {
		fmt.Fprintf(w, "not valid%s\n", printable(what))
	}
	for _, f := range v.Findings {
		sure := ""
		if !f.Proven {
			sure = "most likely: "
		}
		fmt.Fprintf(w, "  %s: %s%s\n    %s\n", f.Cause, sure, printable(f.Text), printable(f.Remedy))
	}
	for _, n := range v.Notes {
		fmt.Fprintf(w, "  note: %s\n", printable(n))
	}
}
