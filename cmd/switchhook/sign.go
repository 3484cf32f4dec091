package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/canon"
	"github.com/switchhook/switchhook/webhook"
)

func newSign() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sign [FILE]",
		Short: "Sign a body as the platform does: print the headers of its request; needs no platform",
		Long: `Sign a body as the platform does, and print the headers that its request has. The
body is read from a file or standard input and signed as it is, byte for byte:

  switchhook sign body.json > headers
  curl -H @headers --data-binary @body.json https://hooks.example/webhooks`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
	}
	o, secret := addOutput(cmd), addSecret(cmd)
	at := cmd.Flags().String("at", "", "when it is sent: as in 2026-01-09T12:00:00Z, or seconds since 1970; without it, now")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		when, err := instant(*at)
		if err != nil {
			return err
		}
		secrets, err := secret.read(cmd.InOrStdin())
		if err != nil {
			return err
		}
		body, err := readInput(cmd, secret, append(args, "-")[0])
		if err != nil {
			return err
		}
		signer, err := webhook.NewSigner(secrets[0])
		if err != nil {
			return err
		}
		timestamp, signature := signer.Sign(when, body)
		notes := oddBody(body)
		if _, err := webhook.New(webhook.Config{Secrets: secrets[:1]}); err != nil {
			notes = append(notes, "receivers do not take this secret: "+strings.TrimPrefix(err.Error(), "webhook: "))
		}
		if len(secrets) > 1 {
			notes = append(notes, fmt.Sprintf("signed with the first of %d secrets", len(secrets)))
		}
		for _, note := range notes {
			fmt.Fprintln(cmd.ErrOrStderr(), "note: "+note)
		}
		headers := []string{"content-type", webhook.ContentType, "x-zm-request-timestamp", timestamp, "x-zm-signature", signature}
		raw, err := json.Marshal(map[string]string{headers[0]: headers[1], headers[2]: headers[3], headers[4]: headers[5]})
		if err != nil {
			return err
		}
		return o.write(raw, "", func() error {
			for i := 0; i < len(headers); i += 2 {
				fmt.Fprintf(o.w, "%s: %s\n", headers[i], headers[i+1])
			}
			return nil
		})
	}
	return cmd
}

// oddBody says what may surprise people of a body that they sign.
func oddBody(body []byte) (notes []string) {
	printed, err := canon.Append(nil, body)
	switch {
	case len(body) == 0:
		notes = append(notes, "the body is empty")
	case bytes.HasSuffix(body, []byte("\n")):
		notes = append(notes, "the body ends with a line feed, which is signed, too: send it with --data-binary, for curl -d leaves it away")
	case err != nil:
		notes = append(notes, "the body is nothing that the platform would send: "+err.Error())
	}
	if err == nil && !bytes.Equal(printed, bytes.TrimSuffix(body, []byte("\n"))) {
		notes = append(notes, "the body is not as the platform prints JSON: receivers that print it again before they verify it will refuse it")
	}
	return notes
}

// instant reads a time of the command line; the empty text is now.
func instant(text string) (time.Time, error) {
	if text == "" {
		return time.Now(), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 && n < 1e11 {
		return time.Unix(n, 0), nil
	}
	return time.Time{}, &usageError{fmt.Errorf("%q is neither a time as in 2026-01-09T12:00:00Z nor seconds since 1970", text)}
}
