package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/api"
	"github.com/switchhook/switchhook/internal/outbox"
)

func newNotices() *cobra.Command {
	list := call("list", "List notices, the latest first", cobra.NoArgs, listNotices)
	list.Flags().Int("limit", 30, "how many, up to 300")
	test := call("test --to ADDRESS", "Send a test mail and say how that ended", cobra.NoArgs, testNotice)
	test.Flags().String("to", "", "who is to get it")
	// An attempt may have to wait a minute, because the mail server has just failed, and
	// takes half a minute to find that nobody answers.
	test.Flags().Duration("wait", 2*time.Minute, "how long to wait for the end")
	return group("notices", "Show what account owners were told by mail, and try the mail server",
		list,
		call("show NOTICE", "Show one notice with its text", cobra.ExactArgs(1), showNotice),
		test,
	)
}

func listNotices(cmd *cobra.Command, c *client, o *output, _ []string) error {
	limit, _ := cmd.Flags().GetInt("limit")
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	return showList(cmd, c, o, "/notices", q, "notices", "NOTICE|CREATED|TO|STATE|TRIES|NEXT|SUBJECT", func(n *api.Notice) []string {
		return []string{strconv.FormatInt(n.ID, 10), clock(n.Created), n.To, string(n.State), strconv.Itoa(n.Tries), clock(n.Next), n.Subject}
	})
}

func showNotice(cmd *cobra.Command, c *client, o *output, args []string) error {
	raw, err := c.get(cmd.Context(), operator+"/notices/"+url.PathEscape(args[0]), nil)
	if err != nil {
		return err
	}
	return o.write(raw, "", func() error {
		n, err := decode[api.Notice](raw)
		if err != nil {
			return err
		}
		var next, ended string
		if n.State == outbox.Pending {
			next = clock(n.Next)
		} else {
			ended = clock(n.Ended)
		}
		err = o.fields("notice", strconv.FormatInt(n.ID, 10), "to", n.To, "subject", n.Subject, "created", clock(n.Created),
			"state", string(n.State), "tries", strconv.Itoa(n.Tries), "next attempt", next, "ended", ended, "reason", n.Reason)
		if err != nil {
			return err
		}
		fmt.Fprintln(o.w)
		for line := range strings.Lines(n.Text) {
			fmt.Fprintln(o.w, "  "+printable(strings.TrimRight(line, "\r\n")))
		}
		return nil
	})
}

func testNotice(cmd *cobra.Command, c *client, o *output, _ []string) error {
	to, _ := cmd.Flags().GetString("to")
	if to == "" {
		return &usageError{errors.New("say who is to get the mail: --to ADDRESS")}
	}
	wait, _ := cmd.Flags().GetDuration("wait")
	raw, err := c.post(cmd.Context(), operator+"/notices/test", nil, map[string]string{"to": to})
	if err != nil {
		return err
	}
	raw, n, err := c.awaitNotice(cmd.Context(), raw, wait)
	if err != nil {
		return err
	}
	err = o.write(raw, "", func() error {
		if n.State != outbox.Sent {
			return nil
		}
		_, err := fmt.Fprintf(o.w, "sent: the mail server has taken mail %d for %s\n", n.ID, printable(n.To))
		return err
	})
	switch {
	case err != nil || n.State == outbox.Sent:
		return err
	case n.State == outbox.Failed:
		return errors.New("not sent: " + printable(n.Reason))
	case n.Tries > 0:
		return fmt.Errorf("not sent yet: %s; it is tried again at %s, see: switchhook notices show %d", printable(n.Reason), clock(n.Next), n.ID)
	}
	return fmt.Errorf("not tried within %v: the mail server may have failed a moment ago, or be slow; see: switchhook notices show %d", wait, n.ID)
}

// awaitNotice asks, for a while, what has become of a notice, until it has been tried.
func (c *client) awaitNotice(ctx context.Context, raw []byte, wait time.Duration) ([]byte, api.Notice, error) {
	over := time.Now().Add(wait)
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		n, err := decode[api.Notice](raw)
		left := time.Until(over)
		if err != nil || n.State != outbox.Pending || n.Tries > 0 || left <= 0 {
			return raw, n, err
		}
		t := time.NewTimer(min(pause, left))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return raw, n, context.Cause(ctx)
		}
		if raw, err = c.get(ctx, operator+"/notices/"+strconv.FormatInt(n.ID, 10), nil); err != nil {
			return nil, n, err
		}
	}
}
