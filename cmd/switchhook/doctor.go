package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/doctor"
	"github.com/switchhook/switchhook/internal/sample"
)

func newDoctor() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor URL",
		Short: "Check whether an endpoint does what the contract asks; needs no platform",
		Long: `Check whether an endpoint does what the contract asks, and say what to do where it
does not: URL, name, certificate and TLS; challenges and events with a right signature, a
wrong one, part of one, none, and an old one; an event again, as a retry and as a replay;
an unknown event, odd and very large JSON; how long answers take, and what they tell.

The endpoint gets some forty requests, among them sample events of --event, so this is
for endpoints where a made-up change of a made-up number does no harm.

--dev permits http and addresses that are not public, for an endpoint that is being
written. The exit code is 7 if a check has failed; warnings alone are no failure.`,
		Args: usageArgs(cobra.ExactArgs(1)),
	}
	d := &checkup{trial: addTrial(cmd)}
	fl := cmd.Flags()
	fl.StringVarP(&d.out.format, "output", "o", "text", "text, json, ndjson or junit")
	fl.StringVar(&d.event, "event", "number_management.peering_number_cnam_updated", "event type that the endpoint handles")
	fl.BoolVar(&d.dev, "dev", false, "permit http and addresses that are not public")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return d.run(cmd, args[0]) }
	return cmd
}

type checkup struct {
	out   output
	trial *trial
	event string
	dev   bool
}

func (d *checkup) run(cmd *cobra.Command, url string) error {
	if !slices.Contains([]string{"text", "json", "ndjson", "junit"}, d.out.format) {
		return &usageError{fmt.Errorf("output %q is none of text, json, ndjson, junit", d.out.format)}
	}
	d.out.w = cmd.OutOrStdout()
	c := &doctor.Checkup{URL: url}
	if d.dev {
		c.Policy = everywhere()
	}
	// What the platform would not call is called nonetheless: everything else is worth
	// knowing, too.
	target, err := d.trial.open(cmd, url, everywhere())
	if err != nil {
		return err
	}
	defer target.client.Close()
	c.Client, c.App, c.Subscription = target.client, target.app, target.sub
	c.CAs = target.client.CAs
	known, err := d.trial.types()
	if err != nil {
		return err
	}
	kind, ok := known.Lookup(d.event)
	if !ok {
		return &usageError{fmt.Errorf("event type %q is not known; there are %s. --catalog adds those of a document", d.event, typeNames(known))}
	}
	if c.Event, err = sample.Body(kind, "", time.Now()); err != nil {
		return err
	}
	switch d.out.format {
	case "text":
		c.Report = d.line
	case "ndjson":
		c.Report = func(f doctor.Finding) {
			if raw, err := json.Marshal(f); err == nil {
				fmt.Fprintf(d.out.w, "%s\n", raw)
			}
		}
	}
	start := time.Now()
	findings := c.Run(cmd.Context())
	if err := cmd.Context().Err(); err != nil {
		return err
	}
	count := map[doctor.Verdict]int{}
	for _, f := range findings {
		count[f.Verdict]++
	}
	if err := d.end(url, findings, count, time.Since(start)); err != nil || count[doctor.Fail] == 0 {
		return err
	}
	return &exitError{&quiet{errors.New("the endpoint does not do what the contract asks")}, exitFaults}
}

// line writes a finding for people.
func (d *checkup) line(f doctor.Finding) {
	fmt.Fprintf(d.out.w, "%-4s  %-26s  %s\n", f.Verdict, f.Check, printable(f.Text))
	if f.Remedy != "" {
		fmt.Fprintf(d.out.w, "%34s%s\n", "", printable(f.Remedy))
	}
}

// end writes what comes after the last finding, or all of them.
func (d *checkup) end(url string, findings []doctor.Finding, count map[doctor.Verdict]int, took time.Duration) error {
	switch d.out.format {
	case "text":
		_, err := fmt.Fprintf(d.out.w, "\n%d passed, %s, %d failed, %d left out\n", count[doctor.Pass], plural(count[doctor.Warn], "warning", "warnings"), count[doctor.Fail], count[doctor.Skip])
		return err
	case "json":
		raw, err := json.Marshal(struct {
			URL      string                 `json:"url"`
			Findings []doctor.Finding       `json:"findings"`
			Count    map[doctor.Verdict]int `json:"count"`
		}{url, findings, count})
		if err != nil {
			return err
		}
		return d.out.write(raw, "", nil)
	case "junit":
		return writeJUnit(d.out.w, url, findings, count, took)
	}
	return nil
}

// writeJUnit writes findings as the test reports that build servers read.
func writeJUnit(w io.Writer, url string, findings []doctor.Finding, count map[doctor.Verdict]int, took time.Duration) error {
	type message struct {
		Message string `xml:"message,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
	type testcase struct {
		Name    string   `xml:"name,attr"`
		Class   string   `xml:"classname,attr"`
		Failure *message `xml:"failure"`
		Skipped *message `xml:"skipped"`
		Out     string   `xml:"system-out,omitempty"`
	}
	type testsuite struct {
		XMLName  xml.Name   `xml:"testsuite"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Errors   int        `xml:"errors,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Seconds  float64    `xml:"time,attr"`
		Cases    []testcase `xml:"testcase"`
	}
	s := testsuite{Name: "switchhook doctor " + url, Tests: len(findings), Failures: count[doctor.Fail], Skipped: count[doctor.Skip], Seconds: took.Seconds()}
	for _, f := range findings {
		c := testcase{Name: f.Check, Class: "switchhook.doctor"}
		switch text := printable(f.Text); f.Verdict {
		case doctor.Fail:
			c.Failure = &message{text, printable(f.Remedy)}
		case doctor.Skip:
			c.Skipped = &message{Message: text}
		case doctor.Warn:
			c.Out = "warning: " + text + "\n" + printable(f.Remedy)
		default:
			c.Out = text
		}
		s.Cases = append(s.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(s); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w)
	return err
}
