package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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

// usageArgs makes a wrong number of arguments a usage error, in the words of the usage.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) == nil {
			return nil
		}
		names := argNames(cmd.Use)
		if len(args) < len(names) {
			return &usageError{fmt.Errorf("%s is missing: %s; see: %s --help", names[len(args)], cmd.UseLine(), cmd.CommandPath())}
		}
		return &usageError{fmt.Errorf("%q is one argument too many: %s; see: %s --help", args[len(names)], cmd.UseLine(), cmd.CommandPath())}
	}
}

// argNames returns what the arguments of a command are called in its usage. Flags that
// it has to have are there with their values: these are none.
func argNames(use string) (names []string) {
	words := strings.Fields(use)[1:]
	for i := 0; i < len(words); i++ {
		if strings.HasPrefix(words[i], "-") {
			i++
			continue
		}
		names = append(names, strings.Trim(words[i], "[]"))
	}
	return names
}

// flagError says what is wrong with a flag as people say it, and not as Go's parsers do.
func flagError(cmd *cobra.Command, err error) error {
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		if msg := valueFault(err); msg != "" {
			err = fmt.Errorf("--%s %s", e.GetFlag().Name, msg)
		}
	}
	return &usageError{fmt.Errorf("%w; see: %s --help", err, cmd.CommandPath())}
}

// valueFault says what is wrong with the value that a flag was to be set to, or nothing
// where the error says it itself.
func valueFault(err error) string {
	e, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return ""
	}
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Sprintf("%q is out of range", e.GetValue())
	}
	switch e.GetFlag().Value.Type() {
	case "int", "int32", "int64":
		return fmt.Sprintf("%q is not a whole number", e.GetValue())
	case "float64":
		return fmt.Sprintf("%q is not a number", e.GetValue())
	case "bool":
		return fmt.Sprintf("%q is not true or false", e.GetValue())
	case "duration":
		return fmt.Sprintf("%q is not a duration, as in 30s, 5m or 24h", e.GetValue())
	case "durationSlice":
		return fmt.Sprintf("%q is not a list of durations, as in 5m,20m,1h", e.GetValue())
	}
	return ""
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
