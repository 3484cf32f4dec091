package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// secretTokens are the secret tokens that a command works with.
type secretTokens struct {
	file string
	list []string
}

// addSecret gives a command the flags that say where the secret tokens are.
func addSecret(cmd *cobra.Command) *secretTokens {
	s := &secretTokens{}
	cmd.Flags().StringVar(&s.file, "secret-file", os.Getenv(envName("secret-file")), "file with the app's secret token, or with several, one to a line; - is standard input. SWITCHHOOK_SECRET holds the token itself")
	cmd.Flags().StringArrayVar(&s.list, "secret", nil, "the token itself; others on this machine can see it here, so this is for secrets that are none")
	return s
}

// read returns the tokens, at least one.
func (s *secretTokens) read(stdin io.Reader) ([]string, error) {
	if len(s.list) > 0 {
		return s.list, nil
	}
	text, from := os.Getenv(envName("secret")), envName("secret")
	switch s.file {
	case "":
	case "-":
		all, err := io.ReadAll(stdin)
		if err != nil {
			return nil, err
		}
		text, from = string(all), "standard input"
	default:
		all, err := os.ReadFile(s.file)
		if err != nil {
			return nil, err
		}
		text, from = string(all), s.file
	}
	var tokens []string
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\r\n"); strings.TrimSpace(line) != "" {
			tokens = append(tokens, line)
		}
	}
	switch {
	case len(tokens) > 0:
		return tokens, nil
	case s.file == "":
		return nil, &usageError{errors.New("no secret token: set SWITCHHOOK_SECRET or --secret-file")}
	}
	return nil, &usageError{fmt.Errorf("there is no secret token in %s", from)}
}

// input opens what a command reads: the files that it is given, or standard input.
func readInput(cmd *cobra.Command, s *secretTokens, name string) ([]byte, error) {
	if name != "-" {
		return os.ReadFile(name)
	}
	if s.file == "-" && len(s.list) == 0 {
		return nil, &usageError{errors.New("secret token and input cannot both come from standard input: name a file for one of them")}
	}
	return io.ReadAll(cmd.InOrStdin())
}
