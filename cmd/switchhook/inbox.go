package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	inboxes "github.com/switchhook/switchhook/internal/inbox"
)

func newInbox() *cobra.Command {
	list := withInbox("list", "List events, the latest first", cobra.NoArgs, listInbox)
	eventFlags(list.Flags())
	list.Flags().String("request-id", "", "only those with this request id")
	list.Flags().String("dead", "", "only those that this forwarder has given up")
	list.Flags().Int64("before", 0, "only those with lower numbers")
	list.Flags().Int("limit", 30, "how many")

	replay := withInbox("replay [EVENT...]", "Let a forwarder forward events again", cobra.ArbitraryArgs, replayInbox)
	replay.Long = `Let a forwarder forward events again: those that are named, those that a filter
selects, or (--dead) those it has given up. A running gateway begins with them within a
second, beside what is new. They have the idempotency keys that they had before, so
what knows those drops them; Switchhook-Replay says that they are replayed.`
	eventFlags(replay.Flags())
	replay.Flags().String("forwarder", "", "which forwarder; needed")
	replay.Flags().Bool("dead", false, "those that it has given up")
	replay.Flags().Bool("all", false, "without another filter: all that there is")

	forget := withInbox("forget [EVENT...]", "Drop what a forwarder has given up", cobra.ArbitraryArgs, forgetInbox)
	forget.Flags().String("forwarder", "", "which forwarder; needed")
	forget.Flags().Bool("all", false, "all of it")

	return group("inbox", "Look at what a gateway has received, and let it be forwarded again",
		withInbox("status", "Show how much there is, and how far the forwarders are", cobra.NoArgs, statusInbox),
		list,
		withInbox("show EVENT", "Show an event", cobra.ExactArgs(1), showInbox),
		replay,
		withInbox("cancel REPLAY", "Call a replay off", cobra.ExactArgs(1), cancelReplay),
		forget,
		newQuarantine(),
	)
}

// withInbox is a command that works on the inbox itself, also while a gateway
// receives into it.
func withInbox(use, short string, args cobra.PositionalArgs, run func(*cobra.Command, *inboxes.Inbox, *output, []string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: usageArgs(args)}
	var file, config string
	inboxFlag(cmd.Flags(), &file)
	cmd.Flags().StringVar(&config, "config", os.Getenv(envName("config")), "YAML file of the gateway, which may say where the inbox is")
	o := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		// The file is the gateway's, so it has more than is needed here.
		others := []string{keySources, keyForwarders}
		newReceive().Flags().VisitAll(func(f *pflag.Flag) { others = append(others, f.Name) })
		if err := configure(cmd, config, others...); err != nil {
			return err
		}
		log, err := newLog(cmd.ErrOrStderr(), "error", "text")
		if err != nil {
			return err
		}
		in, err := inboxes.Open(cmd.Context(), inboxes.Options{File: file, Busy: 10 * time.Second, Log: log})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, in.Close()) }()
		return run(cmd, in, o, args)
	}
	return cmd
}

func eventFlags(fl *pflag.FlagSet) {
	fl.String("source", "", "only events of this source")
	fl.String("event", "", "only events of this type; with * at its end, of those that begin so")
	fl.String("from", "", "only events that arrived at this time or later, as in 2026-01-31T15:04:05Z, or this long ago, as in 2h")
	fl.String("to", "", "only events that arrived before this time")
}

// instantFlag reads a flag that is a time, or how long ago.
func instantFlag(cmd *cobra.Command, name string) (time.Time, error) {
	text, _ := cmd.Flags().GetString(name)
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, &usageError{fmt.Errorf("--%s %q is neither a time like 2026-01-31T15:04:05Z nor a duration like 2h", name, text)}
	}
	return t, nil
}

func inboxQuery(cmd *cobra.Command) (q inboxes.Query, err error) {
	fl := cmd.Flags()
	q.Source, _ = fl.GetString("source")
	q.Name, _ = fl.GetString("event")
	if q.From, err = instantFlag(cmd, "from"); err != nil {
		return q, err
	}
	q.To, err = instantFlag(cmd, "to")
	return q, err
}

func limitFlag(cmd *cobra.Command) (int, error) {
	limit, _ := cmd.Flags().GetInt("limit")
	if limit < 1 {
		return 0, &usageError{errors.New("--limit must be 1 or more")}
	}
	return limit, nil
}

// eventNumbers reads arguments that are numbers of events or requests.
func eventNumbers(what string, args []string) (all []int64, err error) {
	for _, text := range args {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 {
			return nil, &usageError{fmt.Errorf("%q is not the number of %s", text, what)}
		}
		all = append(all, n)
	}
	return all, nil
}

// inboxEventJSON is an event as programs are shown it.
type inboxEventJSON struct {
	ID        int64             `json:"id"`
	Key       string            `json:"key"`
	Source    string            `json:"source"`
	Received  time.Time         `json:"received_at"`
	Event     string            `json:"event,omitempty"`
	EventTS   int64             `json:"event_ts,omitempty"`
	RequestID string            `json:"request_id,omitempty"`
	Reused    bool              `json:"request_id_reused,omitempty"`
	Size      int               `json:"size"`
	Headers   map[string]string `json:"headers,omitempty"`
	Body      string            `json:"body,omitempty"`
	Base64    string            `json:"body_base64,omitempty"`
	Dead      []deadJSON        `json:"given_up,omitempty"`
}

type deadJSON struct {
	Forwarder string    `json:"forwarder"`
	Event     int64     `json:"event"`
	At        time.Time `json:"at"`
	Tries     int       `json:"tries"`
	Reason    string    `json:"reason"`
}

func inboxEvent(e *inboxes.Event) inboxEventJSON {
	j := inboxEventJSON{
		ID: e.ID, Key: e.Key(), Source: e.Source, Received: e.Received.UTC(), Event: e.Name, RequestID: e.RequestID, Reused: e.Conflict, Size: len(e.Body),
	}
	if !e.Time.IsZero() {
		j.EventTS = e.Time.UnixMilli()
	}
	return j
}

func headerMap(h inboxes.Headers) map[string]string {
	all := map[string]string{}
	for _, x := range h {
		all[strings.ToLower(x.Name)] = x.Value
	}
	return all
}

// bodyText returns a body as text, or, if it is none, in base64.
func bodyText(body []byte) (text, encoded string) {
	if strings.ToValidUTF8(string(body), "") == string(body) {
		return string(body), ""
	}
	return "", base64.StdEncoding.EncodeToString(body)
}

// writeItems writes a list of what programs are shown, or what people are.
func writeItems[T any](o *output, name string, list []T, text func() error) error {
	if list == nil {
		list = []T{}
	}
	raw, err := json.Marshal(map[string]any{name: list})
	if err != nil {
		return err
	}
	return o.write(raw, name, text)
}

func listInbox(cmd *cobra.Command, in *inboxes.Inbox, o *output, _ []string) error {
	q, err := inboxQuery(cmd)
	if err != nil {
		return err
	}
	if q.Limit, err = limitFlag(cmd); err != nil {
		return err
	}
	q.RequestID, _ = cmd.Flags().GetString("request-id")
	if cmd.Flags().Changed("dead") {
		if q.Forwarder, err = forwarderFlag(cmd, in, "dead"); err != nil {
			return err
		}
	}
	q.Before, _ = cmd.Flags().GetInt64("before")
	events, err := in.List(cmd.Context(), q)
	if err != nil {
		return err
	}
	var list []inboxEventJSON
	var rows [][]string
	for _, e := range events {
		list = append(list, inboxEvent(e))
		note := ""
		if e.Conflict {
			note = "request id reused"
		}
		rows = append(rows, []string{strconv.FormatInt(e.ID, 10), arrival(e.Received), e.Source, e.Name, e.RequestID, strconv.Itoa(len(e.Body)), note})
	}
	return writeItems(o, "events", list, func() error { return o.table("EVENT|RECEIVED|SOURCE|TYPE|REQUEST ID|BYTES|", rows) })
}

func arrival(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05.000")
}

func showInbox(cmd *cobra.Command, in *inboxes.Inbox, o *output, args []string) error {
	ids, err := eventNumbers("an event", args)
	if err != nil {
		return err
	}
	e, err := in.Get(cmd.Context(), ids[0])
	if err != nil {
		return err
	}
	if e == nil {
		return fmt.Errorf("there is no event %d in the inbox; it may have been deleted after the retention", ids[0])
	}
	letters, err := in.DeadLetters(cmd.Context(), e.ID, "")
	if err != nil {
		return err
	}
	j := inboxEvent(e)
	j.Headers = headerMap(e.Headers)
	j.Body, j.Base64 = bodyText(e.Body)
	for _, d := range letters {
		j.Dead = append(j.Dead, deadJSON{d.Forwarder, d.Event, d.At.UTC(), d.Tries, d.Reason})
	}
	raw, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return o.write(raw, "", func() error {
		fields := []string{"event", args[0], "type", e.Name, "source", e.Source, "received", arrival(e.Received), "occurred", arrival(e.Time), "key", j.Key}
		for _, d := range j.Dead {
			fields = append(fields, "given up by", fmt.Sprintf("%s after %d tries: %s", d.Forwarder, d.Tries, d.Reason))
		}
		return o.request(fields, j.Headers, j.Body, j.Base64)
	})
}

// request writes what is known of a request, and the request itself.
func (o *output) request(fields []string, headers map[string]string, body, encoded string) error {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		fields = append(fields, name, headers[name])
	}
	if encoded != "" {
		fields = append(fields, "body (base64)", encoded)
	}
	if err := o.fields(fields...); err != nil || body == "" {
		return err
	}
	_, err := fmt.Fprintf(o.w, "\n%s\n", printable(body))
	return err
}

// inboxStatusJSON is how an inbox is doing.
type inboxStatusJSON struct {
	First       int64           `json:"first_event"`
	Last        int64           `json:"last_event"`
	DeadLetters int64           `json:"dead_letters"`
	Quarantine  map[string]int  `json:"quarantine"`
	Forwarders  []forwarderJSON `json:"forwarders"`
	Replays     []replayJSON    `json:"replays"`
}

type forwarderJSON struct {
	Name     string     `json:"forwarder"`
	Position int64      `json:"position"`
	Behind   int64      `json:"behind"`
	Tries    int        `json:"failed_tries,omitempty"`
	Since    *time.Time `json:"failing_since,omitempty"`
	Reason   string     `json:"reason,omitempty"`
}

type replayJSON struct {
	ID        int64  `json:"replay"`
	Forwarder string `json:"forwarder"`
	Position  int64  `json:"position"`
	Last      int64  `json:"last_event"`
	Tries     int    `json:"failed_tries,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

func statusInbox(cmd *cobra.Command, in *inboxes.Inbox, o *output, _ []string) error {
	ctx := cmd.Context()
	size, err := in.Size(ctx)
	if err != nil {
		return err
	}
	s := inboxStatusJSON{First: size.First, Last: size.Last, DeadLetters: size.DeadLetters, Forwarders: []forwarderJSON{}, Replays: []replayJSON{}}
	if s.Quarantine, err = in.Quarantined(ctx); err != nil {
		return err
	}
	forwarders, err := in.Forwarders(ctx)
	if err != nil {
		return err
	}
	replays, err := in.Replays(ctx, "")
	if err != nil {
		return err
	}
	var rows, again [][]string
	for _, p := range forwarders {
		j := forwarderJSON{Name: p.Forwarder, Position: p.Position, Behind: max(0, size.Last-p.Position), Tries: p.Tries, Reason: p.Reason}
		if !p.Since.IsZero() {
			since := p.Since.UTC()
			j.Since = &since
		}
		s.Forwarders = append(s.Forwarders, j)
		rows = append(rows, []string{j.Name, strconv.FormatInt(j.Position, 10), strconv.FormatInt(j.Behind, 10), strconv.Itoa(j.Tries), arrival(p.Since), j.Reason})
	}
	for _, r := range replays {
		s.Replays = append(s.Replays, replayJSON{r.ID, r.Forwarder, r.Position, r.Last, r.Tries, r.Reason})
		again = append(again, []string{strconv.FormatInt(r.ID, 10), r.Forwarder, strconv.FormatInt(r.Position, 10), strconv.FormatInt(r.Last, 10), strconv.Itoa(r.Tries), r.Reason})
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return o.write(raw, "", func() error {
		var kept []string
		for _, source := range slices.Sorted(maps.Keys(s.Quarantine)) {
			kept = append(kept, fmt.Sprintf("%d of %s", s.Quarantine[source], source))
		}
		span := "none"
		if s.First > 0 {
			span = fmt.Sprintf("%d to %d", s.First, s.Last)
		}
		err := o.fields("events", span, "quarantine", strings.Join(kept, ", "), "given up", strconv.FormatInt(s.DeadLetters, 10))
		if err == nil && len(rows) > 0 {
			fmt.Fprintln(o.w)
			err = o.table("FORWARDER|POSITION|BEHIND|FAILED|SINCE|REASON", rows)
		}
		if err == nil && len(again) > 0 {
			fmt.Fprintln(o.w)
			err = o.table("REPLAY|FORWARDER|POSITION|LAST|FAILED|REASON", again)
		}
		return err
	})
}

// forwarderFlag returns the forwarder that a flag names.
func forwarderFlag(cmd *cobra.Command, in *inboxes.Inbox, flag string) (string, error) {
	name, _ := cmd.Flags().GetString(flag)
	all, err := in.Forwarders(cmd.Context())
	if err != nil {
		return "", err
	}
	var names []string
	for _, p := range all {
		names = append(names, p.Forwarder)
	}
	switch {
	case len(names) == 0:
		return "", &usageError{errors.New("no gateway with a forwarder has used this inbox")}
	case name == "":
		return "", &usageError{fmt.Errorf("--%s is missing; there are %s", flag, strings.Join(names, ", "))}
	case !slices.Contains(names, name):
		return "", &usageError{fmt.Errorf("--%s %q is none of those there are: %s", flag, name, strings.Join(names, ", "))}
	}
	return name, nil
}

func replayInbox(cmd *cobra.Command, in *inboxes.Inbox, o *output, args []string) error {
	ctx := cmd.Context()
	q, err := inboxQuery(cmd)
	if err != nil {
		return err
	}
	ids, err := eventNumbers("an event", args)
	if err != nil {
		return err
	}
	name, err := forwarderFlag(cmd, in, "forwarder")
	if err != nil {
		return err
	}
	dead, _ := cmd.Flags().GetBool("dead")
	everything, _ := cmd.Flags().GetBool("all")
	ways := 0
	for _, way := range []bool{len(ids) > 0, dead || q != inboxes.Query{}, everything} {
		if way {
			ways++
		}
	}
	switch {
	case ways == 0:
		return &usageError{errors.New("say which events: their numbers, or --from, --to, --event, --source and --dead, or --all")}
	case ways > 1:
		return &usageError{errors.New("say which events in one way: by their numbers, by a filter, or --all")}
	}
	replays := []*inboxes.Replay{{Forwarder: name, Dead: dead, From: q.From, To: q.To, Source: q.Source, Name: q.Name}}
	if len(ids) > 0 {
		replays = nil
		for _, id := range ids {
			if e, err := in.Get(ctx, id); err != nil {
				return err
			} else if e == nil {
				return fmt.Errorf("there is no event %d in the inbox; nothing is replayed", id)
			}
			replays = append(replays, &inboxes.Replay{Forwarder: name, Position: id - 1, Last: id})
		}
	}
	var list []replayJSON
	for _, r := range replays {
		if err := in.Replay(ctx, r); err != nil {
			return err
		}
		list = append(list, replayJSON{ID: r.ID, Forwarder: r.Forwarder, Position: r.Position, Last: r.Last})
	}
	return writeItems(o, "replays", list, func() error {
		for _, r := range list {
			fmt.Fprintf(o.w, "replay %d to %s is asked for\n", r.ID, printable(r.Forwarder))
		}
		return nil
	})
}

func cancelReplay(cmd *cobra.Command, in *inboxes.Inbox, o *output, args []string) error {
	ids, err := eventNumbers("a replay", args)
	if err != nil {
		return err
	}
	ok, err := in.Cancel(cmd.Context(), ids[0])
	if err == nil && !ok {
		err = fmt.Errorf("there is no replay %d; it may be done", ids[0])
	}
	if err != nil {
		return err
	}
	raw, err := json.Marshal(map[string]string{"cancelled": args[0]})
	if err != nil {
		return err
	}
	return o.write(raw, "", func() error {
		_, err := fmt.Fprintf(o.w, "replay %d is called off\n", ids[0])
		return err
	})
}

func forgetInbox(cmd *cobra.Command, in *inboxes.Inbox, o *output, args []string) error {
	ids, err := eventNumbers("an event", args)
	if err != nil {
		return err
	}
	name, err := forwarderFlag(cmd, in, "forwarder")
	if err != nil {
		return err
	}
	if everything, _ := cmd.Flags().GetBool("all"); everything == (len(ids) > 0) {
		return &usageError{errors.New("say which events: their numbers, or --all")}
	}
	n, err := in.Forget(cmd.Context(), name, ids...)
	if err != nil {
		return err
	}
	return o.count("forgotten", n)
}

// count writes how many there were.
func (o *output) count(what string, n int) error {
	raw, err := json.Marshal(map[string]int{what: n})
	if err != nil {
		return err
	}
	return o.write(raw, "", func() error {
		_, err := fmt.Fprintf(o.w, "%d %s\n", n, what)
		return err
	})
}
