package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/manage"
)

func newApply() *cobra.Command {
	var file string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make accounts, apps and subscriptions as a file says",
		Long: `Make accounts, apps and subscriptions as a file says, and print what that changes.

The file is YAML or JSON; - is standard input. ${NAME} in a text stands for an
environment variable, so that secrets need not be in the file. Applying the same
file again changes nothing.

A subscription is created or changed only if its endpoint answers a challenge; a
new one whose endpoint does not is kept as pending, and applying the file again
challenges it again.`,
		Args: usageArgs(cobra.NoArgs),
	}
	c := addClient(cmd)
	o := addOutput(cmd)
	cmd.Flags().StringVarP(&file, "file", "f", "", "the file")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only print what would change")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if file == "" {
			return &usageError{errors.New("which file? see: switchhook apply --help")}
		}
		m, err := readManifest(file, cmd.InOrStdin())
		if err != nil {
			return err
		}
		raw, err := c.post(cmd.Context(), operator+"/apply", url.Values{"dry_run": {strconv.FormatBool(dryRun)}}, m)
		if err != nil {
			return err
		}
		var p manage.Plan
		if err := json.Unmarshal(raw, &p); err != nil {
			return err
		}
		if err := o.write(raw, "", func() error { return printPlan(o, &p, dryRun) }); err != nil {
			return err
		}
		if n := p.Failures(); n > 0 {
			return fmt.Errorf("%d of the endpoints did not prove themselves; mend them and apply the file again", n)
		}
		return nil
	}
	return cmd
}

// readManifest reads a manifest strictly: a key that nobody knows is most likely
// misspelt.
func readManifest(file string, stdin io.Reader) (*manage.Manifest, error) {
	var text []byte
	var err error
	if file == "-" {
		text, err = io.ReadAll(stdin)
	} else {
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(text)) == 0 {
		// More likely what should have written it has failed than that nothing is wanted.
		return nil, fmt.Errorf("%s: is empty; it has accounts and apps", file)
	}
	var m, exact manage.Manifest
	dec := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	if err := dec.Decode(&m); err != nil && !errors.Is(err, io.EOF) {
		// Without the lines around it, which may hold secrets.
		return nil, fmt.Errorf("%s: %s", file, yamlFault(err))
	}
	var more any
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: has more than one document; apply them one by one", file)
	}
	// YAML makes 0123 the number 83 and 3457.9 a carrier code; JSON does not.
	var plain any
	if err := yaml.Unmarshal(text, &plain); err != nil {
		return nil, fmt.Errorf("%s: %s", file, yamlFault(err))
	}
	raw, err := json.Marshal(plain)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	err = json.Unmarshal(raw, &exact)
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return nil, fmt.Errorf("%s: %s is the %s, which does not fit; put text in quotes", file, e.Field, e.Value)
	}
	return &m, expand(&m)
}

var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// expand puts environment variables into a manifest. One that is not set is an
// error: an empty secret would be worse.
func expand(m *manage.Manifest) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	var unset []string
	expanded := variable.ReplaceAllFunc(raw, func(match []byte) []byte {
		name := string(variable.FindSubmatch(match)[1])
		value, ok := os.LookupEnv(name)
		if !ok {
			unset = append(unset, name)
		}
		quoted, _ := json.Marshal(value)
		return quoted[1 : len(quoted)-1]
	})
	if len(unset) > 0 {
		return fmt.Errorf("the file refers to environment variables that are not set: %s", strings.Join(unset, ", "))
	}
	*m = manage.Manifest{}
	return json.Unmarshal(expanded, m)
}

var planSigns = map[manage.Action]string{manage.Create: "+", manage.Update: "~", manage.Keep: "=", manage.Remove: "-", manage.Fail: "!"}

func printPlan(o *output, p *manage.Plan, dryRun bool) error {
	kept := 0
	for _, s := range p.Steps {
		if s.Action == manage.Keep {
			kept++
		}
		line := fmt.Sprintf("%s %s %s", planSigns[s.Action], s.Kind, s.Name)
		if s.ID != "" && !strings.HasSuffix(s.Name, s.ID) && (!dryRun || s.Action != manage.Create) {
			line += " (" + s.ID + ")"
		}
		fmt.Fprintln(o.w, printable(line))
		for _, c := range s.Changes {
			fmt.Fprintln(o.w, "    "+printable(c))
		}
		if s.Reason != "" {
			fmt.Fprintln(o.w, "    "+printable(s.Reason))
		}
	}
	verb := "changed"
	if dryRun {
		verb = "to change"
	}
	fmt.Fprintf(o.w, "%d %s, %d as they were", p.Changes(), verb, kept)
	if n := p.Failures(); n > 0 {
		fmt.Fprintf(o.w, ", %d failed", n)
	}
	fmt.Fprintln(o.w)
	for _, c := range p.Credentials {
		fmt.Fprintf(o.w, "\nCredentials of %s; the client secret is shown only now:\n  client_id      %s\n  client_secret  %s\n  secret_token   %s\n",
			printable(c.App), c.ClientID, c.ClientSecret, c.SecretToken)
	}
	return nil
}
