package main

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// envPrefix begins the name of the environment variable of every flag: --log-level
// is SWITCHHOOK_LOG_LEVEL.
const envPrefix = "SWITCHHOOK_"

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// configure sets the flags that are not on the command line from the environment,
// and those that are not there either from a YAML file whose keys are the names of
// the flags. A key that is no flag is an error, most likely it is misspelt, unless it
// is one of those that the caller reads himself.
func configure(cmd *cobra.Command, file string, read ...string) error {
	values, err := settingsIn(cmd, file, read...)
	if err != nil {
		return &usageError{err}
	}
	flags := cmd.Flags()
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed || err != nil {
			return
		}
		if text, ok := os.LookupEnv(envName(f.Name)); ok {
			if setErr := flags.Set(f.Name, text); setErr != nil {
				err = fmt.Errorf("%s: %w", envName(f.Name), plainly(setErr))
			}
			return
		}
		value, ok := values[f.Name]
		if !ok {
			return
		}
		for _, text := range texts(value) {
			if setErr := flags.Set(f.Name, text); setErr != nil {
				err = fmt.Errorf("%s: %s: %w", file, f.Name, plainly(setErr))
			}
		}
	})
	if err != nil {
		return &usageError{err}
	}
	return nil
}

// settingsIn returns what is in a YAML file whose keys are the names of flags, or those
// that the caller reads himself. It may have no name, and then there is nothing in it.
func settingsIn(cmd *cobra.Command, file string, read ...string) (map[string]any, error) {
	values := map[string]any{}
	if file == "" {
		return values, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if err := yaml.Unmarshal(text, &values); err != nil {
		return nil, fmt.Errorf("%s: %s", file, yamlFault(err))
	}
	for key := range values {
		if !slices.Contains(read, key) && (cmd.Flags().Lookup(key) == nil || key == "config" || key == "help") {
			return nil, fmt.Errorf("%s: unknown key %q; see %s --help for those there are", file, key, cmd.CommandPath())
		}
	}
	return values, nil
}

// texts returns a value of a YAML file as a flag would be given it: a list as one
// flag after another.
func texts(value any) []string {
	if list, ok := value.([]any); ok {
		var all []string
		for _, v := range list {
			all = slices.Concat(all, texts(v))
		}
		return all
	}
	return []string{fmt.Sprint(value)}
}

// plainly returns the error of a flag's value as people say it.
func plainly(err error) error {
	if msg := valueFault(err); msg != "" {
		return errors.New(msg)
	}
	return err
}

// yamlFault says where a file is wrong and why, without the lines around it, which may
// hold secrets, and without the names of Go's types.
func yamlFault(err error) string {
	e, ok := errors.AsType[*yaml.TypeError](err)
	if !ok || e.Token == nil {
		text := strings.TrimSpace(yaml.FormatError(err, false, false))
		if _, value, ok := strings.Cut(text, ` duration "`); ok && strings.HasPrefix(text, "time: ") {
			return `"` + value + " is not a duration, as in 30s, 5m or 24h"
		}
		return text
	}
	want := "what belongs here"
	switch {
	case e.DstType == reflect.TypeFor[time.Duration]():
		want = "a duration, as in 30s, 5m or 24h"
	case e.DstType.Kind() == reflect.Bool:
		want = "true or false"
	case e.DstType.Kind() >= reflect.Int && e.DstType.Kind() <= reflect.Float64:
		want = "a number"
	case e.DstType.Kind() == reflect.String:
		want = "a text"
	case e.DstType.Kind() == reflect.Slice:
		want = "a list"
	case e.DstType.Kind() == reflect.Struct, e.DstType.Kind() == reflect.Map:
		want = "keys and values"
	}
	return fmt.Sprintf("[%d:%d] this is not %s", e.Token.Position.Line, e.Token.Position.Column, want)
}
