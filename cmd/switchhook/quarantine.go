package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/gateway"
	inboxes "github.com/switchhook/switchhook/internal/inbox"
)

func newQuarantine() *cobra.Command {
	list := withInbox("list", "List requests that were not accepted, the earliest first", cobra.NoArgs, listQuarantine)
	list.Flags().String("source", "", "only those to this source")
	list.Flags().Int64("after", 0, "only those with higher numbers")
	list.Flags().Int("limit", 30, "how many")

	var f sourceFlags
	release := withInbox("release [REQUEST...]", "Accept requests that the secrets of today fit", cobra.ArbitraryArgs,
		func(cmd *cobra.Command, in *inboxes.Inbox, o *output, args []string) error {
			return releaseQuarantine(cmd, &f, in, o, args)
		})
	release.Long = `Look at the requests in the quarantine once more, with the secrets that a gateway
would have now, and accept those that they fit. A gateway does that by itself when it
starts and when it is told to reload (SIGHUP); this is for what else there is to accept.`
	f.addSource(release.Flags())
	release.Flags().Bool("anyway", false, "also those that came at a wrong time, or without what is asked for beside the signature")

	drop := withInbox("drop [REQUEST...]", "Delete requests that were not accepted", cobra.ArbitraryArgs, dropQuarantine)
	drop.Flags().String("source", "", "only those to this source")
	drop.Flags().Bool("all", false, "all of them")

	return group("quarantine", "Look at requests that were not accepted",
		list,
		withInbox("show REQUEST", "Show a request that was not accepted", cobra.ExactArgs(1), showQuarantine),
		release,
		drop,
	)
}

// suspectJSON is a request that was not accepted as programs are shown it.
type suspectJSON struct {
	ID        int64             `json:"request"`
	Source    string            `json:"source"`
	Received  time.Time         `json:"received_at"`
	Remote    string            `json:"from"`
	Reason    string            `json:"reason"`
	Denied    bool              `json:"authentication_wrong,omitempty"`
	RequestID string            `json:"request_id,omitempty"`
	Size      int               `json:"size"`
	Headers   map[string]string `json:"headers,omitempty"`
	Body      string            `json:"body,omitempty"`
	Base64    string            `json:"body_base64,omitempty"`
}

func inboxSuspect(s *inboxes.Suspect) suspectJSON {
	return suspectJSON{ID: s.ID, Source: s.Source, Received: s.Received.UTC(), Remote: s.Remote, Reason: s.Reason, Denied: s.Denied, RequestID: s.RequestID, Size: len(s.Body)}
}

func listQuarantine(cmd *cobra.Command, in *inboxes.Inbox, o *output, _ []string) error {
	limit, err := limitFlag(cmd)
	if err != nil {
		return err
	}
	source, _ := cmd.Flags().GetString("source")
	after, _ := cmd.Flags().GetInt64("after")
	suspects, err := in.Suspects(cmd.Context(), source, after, limit)
	if err != nil {
		return err
	}
	var list []suspectJSON
	var rows [][]string
	for _, s := range suspects {
		list = append(list, inboxSuspect(s))
		rows = append(rows, []string{strconv.FormatInt(s.ID, 10), arrival(s.Received), s.Source, s.Remote, strconv.Itoa(len(s.Body)), s.Reason})
	}
	return writeItems(o, "requests", list, func() error { return o.table("REQUEST|RECEIVED|SOURCE|FROM|BYTES|REASON", rows) })
}

func showQuarantine(cmd *cobra.Command, in *inboxes.Inbox, o *output, args []string) error {
	ids, err := eventNumbers("a request", args)
	if err != nil {
		return err
	}
	suspects, err := in.Suspects(cmd.Context(), "", ids[0]-1, 1)
	if err != nil {
		return err
	}
	if len(suspects) == 0 || suspects[0].ID != ids[0] {
		return fmt.Errorf("there is no request %d in the quarantine", ids[0])
	}
	s := suspects[0]
	j := inboxSuspect(s)
	j.Headers = headerMap(s.Headers)
	j.Body, j.Base64 = bodyText(s.Body)
	raw, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return o.write(raw, "", func() error {
		fields := []string{"request", args[0], "source", s.Source, "received", arrival(s.Received), "from", s.Remote, "reason", s.Reason}
		if s.Denied {
			fields = append(fields, "authentication", "wrong, beside the signature")
		}
		return o.request(fields, j.Headers, j.Body, j.Base64)
	})
}

func releaseQuarantine(cmd *cobra.Command, f *sourceFlags, in *inboxes.Inbox, o *output, args []string) error {
	ids, err := eventNumbers("a request", args)
	if err != nil {
		return err
	}
	f.config, _ = cmd.Flags().GetString("config")
	file, err := f.read(cmd)
	if err == nil {
		err = file.check()
	}
	if err != nil {
		return &usageError{err}
	}
	sources, err := file.gatewaySources(nil)
	if err != nil {
		return &usageError{err}
	}
	g := gateway.New(gateway.Config{Inbox: in})
	if err := g.Use(sources); err != nil {
		return &usageError{err}
	}
	anyway, _ := cmd.Flags().GetBool("anyway")
	all, err := g.Recheck(cmd.Context(), anyway, ids...)
	if err != nil {
		return err
	}
	return writeItems(o, "sources", all, func() error {
		var rows [][]string
		doubtful := 0
		for _, r := range all {
			doubtful += r.Doubtful
			rows = append(rows, []string{r.Source, strconv.Itoa(r.Events), strconv.Itoa(r.Duplicates), strconv.Itoa(r.Challenges), strconv.Itoa(r.Remaining), strconv.Itoa(r.Doubtful)})
		}
		err := o.table("SOURCE|ACCEPTED|DUPLICATES|CHALLENGES|REMAINING|OF THOSE RIGHTLY SIGNED", rows)
		if err == nil && doubtful > 0 {
			_, err = fmt.Fprintf(o.w, "\n%s rightly signed and came at a wrong time, or without what is asked for beside the signature: --anyway accepts that\n", plural(doubtful, "request is", "requests are"))
		}
		return err
	})
}

func dropQuarantine(cmd *cobra.Command, in *inboxes.Inbox, o *output, args []string) error {
	ids, err := eventNumbers("a request", args)
	if err != nil {
		return err
	}
	source, _ := cmd.Flags().GetString("source")
	everything, _ := cmd.Flags().GetBool("all")
	if (len(ids) > 0) == (everything || source != "") {
		return &usageError{errors.New("say which requests: their numbers, --source or --all")}
	}
	n, err := in.Drop(cmd.Context(), source, ids...)
	if err != nil {
		return err
	}
	return o.count("dropped", n)
}
