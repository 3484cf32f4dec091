package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/api"
)

// group is a command that only has others below it.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return &usageError{fmt.Errorf("unknown command %q; see: %s --help", args[0], cmd.CommandPath())}
		}
		return cmd.Help()
	}}
	cmd.AddCommand(subs...)
	return cmd
}

// call is a command that calls the API and prints what comes back.
func call(use, short string, args cobra.PositionalArgs, run func(cmd *cobra.Command, c *client, o *output, args []string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: usageArgs(args)}
	c, o := addClient(cmd), addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return run(cmd, c, o, args) }
	return cmd
}

// usageArgs makes a wrong number of arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &usageError{fmt.Errorf("%w; see: %s --help", err, cmd.CommandPath())}
		}
		return nil
	}
}

// decode reads an answer of the API.
func decode[T any](raw []byte) (T, error) {
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		return v, fmt.Errorf("the platform's answer cannot be read: %w", err)
	}
	return v, nil
}

func clock(t api.Instant) string {
	if time.Time(t).IsZero() {
		return "-"
	}
	return time.Time(t).Local().Format("2006-01-02 15:04:05.000")
}

func took(d api.Milliseconds) string {
	return time.Duration(d).Round(100 * time.Microsecond).String()
}
