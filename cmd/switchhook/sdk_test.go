package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	cnamUpdated    = "number_management.peering_number_cnam_updated"
	addressUpdated = "number_management.peering_number_emergency_address_updated"
)

// sdk is a script of testdata/sdk in a process of its own. It has the official SDK
// for Node, which is used as it is installed.
type sdk struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr lockedBuffer
}

func startSDK(t testing.TB, env []string, script ...string) *sdk {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		leftOut(t, "node is not on PATH (install Node.js to try the official SDK)")
	}
	dir := filepath.Join("testdata", "sdk")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "@zoom", "rivet")); err != nil {
		leftOut(t, "the official SDK is not installed (npm ci --prefix cmd/switchhook/testdata/sdk)")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	s := &sdk{t: t, cmd: exec.CommandContext(ctx, node, script...)}
	// What is meant for anybody but this platform, which has no TLS, goes nowhere.
	env = append(env, "PATH="+os.Getenv("PATH"), "HTTPS_PROXY=http://127.0.0.1:1")
	s.cmd.Dir, s.cmd.Env, s.cmd.Stderr = dir, env, &s.stderr
	s.stdin, err = s.cmd.StdinPipe()
	must(t, err)
	out, err := s.cmd.StdoutPipe()
	must(t, err)
	s.stdout = bufio.NewReader(out)
	must(t, s.cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = s.cmd.Wait()
	})
	return s
}

// line returns the next line that the script prints.
func (s *sdk) line() string {
	s.t.Helper()
	line, err := s.stdout.ReadString('\n')
	if err != nil {
		s.t.Fatalf("%s ended: %v\n%s", s.cmd.Args[1], err, s.stderr.String())
	}
	return strings.TrimSuffix(line, "\n")
}

// end lets the script end, and returns what it has printed since the last line.
func (s *sdk) end() string {
	s.t.Helper()
	must(s.t, s.stdin.Close())
	rest, err := io.ReadAll(s.stdout)
	must(s.t, err)
	return string(rest)
}

// startReceiver starts the SDK's receiver, and returns it with its URL.
func startReceiver(t testing.TB, secret string) (r *sdk, url string) {
	t.Helper()
	r = startSDK(t, []string{"SECRET_TOKEN=" + secret}, "receiver.mjs", cnamUpdated, addressUpdated)
	return r, r.line()
}

// answer is what the SDK's client returns, or throws.
type answer[T any] struct {
	Data     T      `json:"data"`
	Status   int    `json:"statusCode"`
	Tracking string `json:"trackingId"`
	Error    struct{ Name, Message string }
}

// ask calls a method of the SDK's client.
func ask[T any](s *sdk, method, with string) (a answer[T]) {
	s.t.Helper()
	must(s.t, json.NewEncoder(s.stdin).Encode(map[string]any{"call": method, "with": json.RawMessage(with)}))
	must(s.t, json.Unmarshal([]byte(s.line()), &a))
	return a
}

// does calls a method of the SDK's client and expects the status.
func does[T any](s *sdk, status int, method, with string) T {
	s.t.Helper()
	a := ask[T](s, method, with)
	if a.Status != status || !strings.HasPrefix(a.Tracking, "v=2.0;clid=") {
		s.t.Fatalf("%s: %+v, want status %d and a tracking id", method, a, status)
	}
	return a.Data
}

// switchhook runs a command against the platform as an operator does, and returns
// what it prints.
func (p *running) switchhook(stdin string, args ...string) (stdout string, err error) {
	cmd := exec.Command(program(p.t), args...)
	cmd.Env = append(os.Environ(), "SWITCHHOOK_SERVER="+p.url, "SWITCHHOOK_KEY="+p.key)
	cmd.Stdin, cmd.Stderr = strings.NewReader(stdin), &p.stderr
	out, err := cmd.Output()
	return string(out), err
}

// runs runs a command that has to succeed, and decodes what it prints into v.
func (p *running) runs(v any, stdin string, args ...string) {
	p.t.Helper()
	out, err := p.switchhook(stdin, append(args, "-o", "json")...)
	if err != nil {
		p.t.Fatalf("switchhook %s: %v\n%s%s", strings.Join(args, " "), err, out, p.stderr.String())
	}
	if v != nil {
		must(p.t, json.Unmarshal([]byte(out), v))
	}
}

// applied is what applying a manifest with one new app prints.
type applied struct {
	Credentials []struct {
		App    string `json:"app_id"`
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	} `json:"credentials"`
}

// publishes publishes an event and returns how many deliveries it is owed to.
func (p *running) publishes(event string) int {
	p.t.Helper()
	var receipt struct{ Deliveries int }
	p.runs(&receipt, event, "events", "publish")
	return receipt.Deliveries
}

// logged is a delivery as its log shows it.
type logged struct {
	ID    string `json:"delivery_id"`
	Event string `json:"event"`
	State string `json:"state"`
	Last  struct {
		Status int    `json:"status"`
		Body   string `json:"response_body"`
	} `json:"last"`
}

// settled waits until nothing is outstanding, and returns all deliveries.
func (p *running) settled() []logged {
	p.t.Helper()
	var all []logged
	waitFor(p.t, "the end of all deliveries", func() bool {
		var list struct{ Deliveries []logged }
		p.ask("GET", operator+"/deliveries?page_size=300", "", http.StatusOK, &list)
		all = list.Deliveries
		return !slices.ContainsFunc(all, func(d logged) bool { return d.State == "waiting" })
	})
	return all
}

// allDelivered expects that all deliveries have ended well, and returns them.
func (p *running) allDelivered() []logged {
	p.t.Helper()
	all := p.settled()
	for _, d := range all {
		if d.State != "delivered" || d.Last.Status != http.StatusOK {
			p.t.Fatalf("%s is %s with status %d: %s", d.Event, d.State, d.Last.Status, d.Last.Body)
		}
	}
	return all
}

// The receiver of the official SDK takes what we send. It answers the challenge, and
// its handlers get each event as it was published, although it checks the signature
// of what JavaScript makes of the body. What is not signed with its secret it refuses.
func TestSDKReceiver(t *testing.T) {
	const secret = "the secret token of the app"
	receiver, url := startReceiver(t, secret)
	p := install(t).serve("--retry-steps", "24h")
	manifest := filepath.Join(t.TempDir(), "platform.json")
	must(t, os.WriteFile(manifest, []byte(`{
		"accounts": [{"id": "carrier"}, {"id": "customer"}],
		"apps": [{
			"name": "number sync", "account_id": "carrier", "secret_token": "`+secret+`",
			"scopes": ["number_management_numbers:read:admin"], "carrier_codes": [3457],
			"subscriptions": [{
				"event_subscription_name": "numbers", "event_webhook_url": "`+url+`",
				"events": ["`+cnamUpdated+`", "`+addressUpdated+`"]
			}]
		}]
	}`), 0o600))
	var plan applied
	p.runs(&plan, "", "apply", "-f", manifest) // which fails if the challenge is not answered

	events := []struct{ published, received string }{
		{
			`{"event_ts": 1763758800000, "event": "` + cnamUpdated + `", "payload": {"account_id": "customer", "object":
				{"carrier_code": 3457, "phone_numbers": ["+14155550132"], "cnam": "\ud83c\udf32 \u003cP\u0026B\u003e\u2028\u2029 \/ \ud83d"}}}`,
			`{"event_ts":1763758800000,"event":"` + cnamUpdated + `","payload":{"account_id":"customer","object":` +
				`{"carrier_code":3457,"phone_numbers":["+14155550132"],"cnam":"🌲 <P&B>` + "\u2028\u2029" + ` / \ud83d"}}}`,
		},
		{
			`{"event": "` + addressUpdated + `", "event_ts": 1763758800001.0, "payload": {"account_id": "customer", "object":
				{"carrier_code": 3.457e3, "phone_numbers": ["+14155550132", "+14155550133"], "emergency_address":
					{"country": "US", "address_line1": "1 <Zoë>&\tSons` + "\u2028" + ` 🏠", "address_line2": "\uDE00\uD83D"}}}}`,
			`{"event":"` + addressUpdated + `","event_ts":1763758800001,"payload":{"account_id":"customer","object":` +
				`{"carrier_code":3457,"phone_numbers":["+14155550132","+14155550133"],"emergency_address":` +
				`{"country":"US","address_line1":"1 <Zoë>&\tSons` + "\u2028" + ` 🏠","address_line2":"\ude00\ud83d"}}}}`,
		},
		// What the schema of the event type does not have, so it must only be reported.
		{
			`{"event_ts": 1763758800002, "b": 1.0, "event": "` + cnamUpdated + `", "a": [1e21, -0, 1E-7, 0.10, 9007199254740991],
				"10": {"z": null, "2": "\u007f\u001F", "1": {}}, "9": "\"", "__proto__": {"x": true},
				"payload": {"account_id": "customer", "object": {"carrier_code": 3457, "phone_numbers": []}}}`,
			`{"9":"\"","10":{"1":{},"2":"` + "\u007f" + `\u001f","z":null},"event_ts":1763758800002,"b":1,"event":"` + cnamUpdated +
				`","a":[1e+21,0,1e-7,0.1,9007199254740991],"__proto__":{"x":true},` +
				`"payload":{"account_id":"customer","object":{"carrier_code":3457,"phone_numbers":[]}}}`,
		},
	}
	for i, e := range events {
		if i == 2 {
			p.runs(nil, "", "catalog", "set-check", cnamUpdated, "report")
		}
		if n := p.publishes(e.published); n != 1 {
			t.Fatalf("%s: %d deliveries", e.published, n)
		}
		p.allDelivered()
		if got := receiver.line(); got != e.received {
			t.Errorf("the handler got\n  %s\nwant\n  %s", got, e.received)
		}
	}

	// From here on the platform signs with a secret that the receiver does not know.
	p.runs(nil, "", "apps", "rotate-secret-token", plan.Credentials[0].App, "--overlap", "0")
	p.publishes(events[0].published)
	refused := slices.DeleteFunc(p.settled(), func(d logged) bool { return d.State == "delivered" })
	if len(refused) != 1 || refused[0].State != "failed" || refused[0].Last.Status != http.StatusBadRequest || !strings.Contains(refused[0].Last.Body, "Failed to verify") {
		t.Errorf("signed with another secret: %+v", refused)
	}
	if rest := receiver.end(); rest != "" {
		t.Errorf("the handlers got more than was signed for them: %s", rest)
	}
}

// The Marketplace client of the official SDK manages the subscriptions of its app: it
// makes one whose endpoint is the SDK's receiver, subscribes users and unsubscribes
// them, lists, reads the log, deletes. What is wrong it is told in the words of the
// contract.
func TestSDKMarketplace(t *testing.T) {
	const secret = "the secret token of the app"
	receiver, url := startReceiver(t, secret)
	p := install(t).serve("--retry-steps", "24h")
	manifest := filepath.Join(t.TempDir(), "platform.json")
	must(t, os.WriteFile(manifest, []byte(`{
		"accounts": [{"id": "carrier"}],
		"apps": [{
			"name": "number sync", "account_id": "carrier", "secret_token": "`+secret+`",
			"scopes": ["number_management_numbers:read:admin", "marketplace_app:read"], "carrier_codes": [3457],
			"installations": [
				{"account_id": "carrier", "user_id": "ada"}, {"account_id": "carrier", "user_id": "bob"}, {"account_id": "carrier", "user_id": "eve"}
			]
		}]
	}`), 0o600))
	var plan applied
	p.runs(&plan, "", "apply", "-f", manifest)
	app := plan.Credentials[0]
	client := func(secret string) *sdk {
		return startSDK(t, []string{"PLATFORM=" + p.url, "CLIENT_ID=" + app.ID, "CLIENT_SECRET=" + secret, "ACCOUNT_ID=carrier"}, "client.mjs")
	}
	list := func(c *sdk, query string) answer[subscriptionPage] {
		return ask[subscriptionPage](c, "getUserOrAccountEventSubscription", `{"query": `+query+`}`)
	}

	if a := list(client("wrong"), `{"account_id": "carrier"}`); a.Error.Message != "Request failed with status code 400" {
		t.Errorf("with a wrong client secret: %+v", a)
	}
	c := client(app.Secret)
	if a := list(c, `{"account_id": "carrier"}`); a.Status != http.StatusOK || len(a.Data.Subscriptions) != 0 {
		t.Fatalf("before there is a subscription: %+v", a)
	}

	// Its endpoint has to be proven, and gets events at once.
	type created struct {
		ID string `json:"event_subscription_id"`
	}
	create := func(body string) string {
		t.Helper()
		id := does[created](c, http.StatusCreated, "createEventSubscription", `{"body": `+body+`}`).ID
		if !regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`).MatchString(id) {
			t.Fatalf("the id of a new subscription is %q", id)
		}
		return id
	}
	numbers := create(`{"event_subscription_name": "numbers", "event_webhook_url": "` + url + `", "subscription_scope": "account",
		"account_id": "carrier", "events": ["` + cnamUpdated + `", "` + addressUpdated + `"]}`)
	event := func(users string) string {
		return `{"$routing":{"user_ids":[` + users + `]},"event":"` + cnamUpdated + `","event_ts":1763758800000,"payload":{"account_id":"carrier",` +
			`"object":{"carrier_code":3457,"phone_numbers":["+14155550132"],"cnam":"🌲 <P&B>` + "\u2028" + `"}}}`
	}
	body := strings.Replace(event(""), `"$routing":{"user_ids":[]},`, "", 1)
	reaches := func(n int, users string) {
		t.Helper()
		if owed := p.publishes(event(users)); owed != n {
			t.Errorf("an event of the users [%s] has %d deliveries, want %d", users, owed, n)
			n = owed
		}
		p.allDelivered()
		for range n {
			if got := receiver.line(); got != body {
				t.Errorf("the receiver got %s\nwant %s", got, body)
			}
		}
	}
	reaches(1, `"ada"`)

	// A subscription for users gets what concerns those who are subscribed.
	users := create(`{"event_subscription_name": "users", "event_webhook_url": "` + url + `", "subscription_scope": "user",
		"account_id": "carrier", "user_ids": ["ada"], "events": ["` + cnamUpdated + `"]}`)
	reaches(2, `"ada"`)
	reaches(1, `"bob"`)
	does[any](c, http.StatusNoContent, "subscribeEventSubscription", `{"path": {"eventSubscriptionId": "`+users+`"}, "body": {"account_id": "carrier", "user_ids": ["bob", "eve"]}}`)
	reaches(2, `"bob"`)
	does[any](c, http.StatusNoContent, "unsubscribeAppEventSubscription", `{"query": {"event_subscription_id": "`+users+`", "account_id": "carrier", "user_ids": "bob,eve"}}`)
	reaches(1, `"bob", "eve"`)
	reaches(2, `"ada", "bob"`)

	// They are listed page by page. The SDK's type demands a user_id, also where there
	// is none to name, and sends what is empty as it is.
	var listed []subscription
	for token := ""; ; {
		page := list(c, `{"account_id": "carrier", "user_id": "", "page_size": 1, "next_page_token": "`+token+`"}`)
		if page.Status != http.StatusOK || page.Data.Size != 1 || len(page.Data.Subscriptions) != 1 || len(listed) > 2 {
			t.Fatalf("after %d subscriptions: %+v", len(listed), page)
		}
		listed = append(listed, page.Data.Subscriptions...)
		if token = page.Data.Next; token == "" {
			break
		}
	}
	slices.SortFunc(listed, func(a, b subscription) int { return strings.Compare(a.Name, b.Name) })
	if len(listed) != 2 ||
		!listed[0].is(subscription{ID: numbers, Name: "numbers", URL: url, Scope: "account", Source: "openapi", Events: []string{cnamUpdated, addressUpdated}}) ||
		!listed[1].is(subscription{ID: users, Name: "users", URL: url, Scope: "user", Source: "openapi", Events: []string{cnamUpdated}}) {
		t.Errorf("listed: %+v", listed)
	}

	// The log has every delivery, with what was sent; of failed ones alone if not asked
	// otherwise.
	deliveries := p.allDelivered()
	logs := func(query string) []logRow {
		t.Helper()
		return does[struct {
			Rows []logRow `json:"webhook_logs"`
		}](c, http.StatusOK, "getWebhookLogs", `{"path": {"appId": "`+app.App+`"}, "query": `+query+`}`).Rows
	}
	rows := logs(`{"type": 1, "event": "` + cnamUpdated + `", "retry_num": 0}`)
	if len(rows) != len(deliveries) {
		t.Errorf("the log has %d rows, want %d", len(rows), len(deliveries))
	}
	for _, r := range rows {
		if r.Event != cnamUpdated || r.Status != http.StatusOK || r.Endpoint != url || r.Body != body || r.Retry != 0 ||
			r.Subscription != numbers && r.Subscription != users ||
			!slices.ContainsFunc(deliveries, func(d logged) bool { return d.ID == r.Request }) ||
			!strings.Contains(r.Answer, "Zoom event processed successfully.") || r.Header == "" || r.AnswerHeader == "" || r.Trace == "" {
			t.Errorf("the log has %+v", r)
		}
		if at, err := time.Parse(time.RFC3339, r.Time); err != nil || time.Since(at).Abs() > time.Hour {
			t.Errorf("the log says %q for when: %v", r.Time, err)
		}
	}
	if rows := logs(`{}`); len(rows) != 0 {
		t.Errorf("nothing failed, and the log has %+v", rows)
	}

	// What the SDK tells its caller is all in one sentence.
	const nobody = "abcdefghijklmnopqrstuv"
	for name, call := range map[string]struct{ method, with, want string }{
		"unknown subscription": {
			"deleteEventSubscription", `{"path": {"eventSubscriptionId": "` + nobody + `"}}`,
			`[404/1601]: "App event subscription is invalid: ` + nobody,
		},
		"unknown event": {
			"createEventSubscription", `{"body": {"event_webhook_url": "` + url + `", "subscription_scope": "account", "account_id": "carrier", "events": ["no.such.event"]}}`,
			`[404/1601]: "App event not exists: no.such.event`,
		},
		"no URL": {
			"createEventSubscription", `{"body": {"subscription_scope": "account", "account_id": "carrier", "events": ["` + cnamUpdated + `"]}}`,
			`[400/1500]: "`,
		},
		"endpoint that is not proven": {
			"createEventSubscription", `{"body": {"event_webhook_url": "` + url + `/nowhere", "subscription_scope": "account", "account_id": "carrier", "events": ["` + cnamUpdated + `"]}}`,
			`[404/1701]: "The event webhook url validate failed: ` + url + `/nowhere.`,
		},
		"log of an unknown app": {
			"getWebhookLogs", `{"path": {"appId": "` + nobody + `"}}`,
			`[404/1401]: "`,
		},
	} {
		if a := ask[any](c, call.method, call.with); a.Error.Name != "ApiResponseError" || !strings.HasPrefix(a.Error.Message, call.want) {
			t.Errorf("%s: %+v, want %s", name, a, call.want)
		}
	}

	// What is deleted is owed nothing.
	for _, id := range []string{numbers, users} {
		does[any](c, http.StatusNoContent, "deleteEventSubscription", `{"path": {"eventSubscriptionId": "`+id+`"}}`)
	}
	reaches(0, `"ada"`)
	if a := list(c, `{"account_id": "carrier"}`); a.Status != http.StatusOK || len(a.Data.Subscriptions) != 0 {
		t.Errorf("after all were deleted: %+v", a)
	}
	if rest := receiver.end(); rest != "" {
		t.Errorf("the receiver got more than it is owed: %s", rest)
	}
}

// subscriptionPage, subscription and logRow are answers as the SDK types them.
type subscriptionPage struct {
	Next          string         `json:"next_page_token"`
	Size          int            `json:"page_size"`
	Subscriptions []subscription `json:"event_subscriptions"`
}

type subscription struct {
	ID         string   `json:"event_subscription_id"`
	Events     []string `json:"events"`
	Name       string   `json:"event_subscription_name"`
	URL        string   `json:"event_webhook_url"`
	Scope      string   `json:"subscription_scope"`
	Source     string   `json:"created_source"`
	Subscriber string   `json:"subscriber_id"`
}

// is reports whether s is as wanted. Who subscribed it may say or not.
func (s subscription) is(want subscription) bool {
	events := slices.Sorted(slices.Values(s.Events))
	return s.ID == want.ID && s.Name == want.Name && s.URL == want.URL && s.Scope == want.Scope && s.Source == want.Source && slices.Equal(events, want.Events)
}

type logRow struct {
	Event        string `json:"event"`
	Status       int    `json:"status"`
	Reason       int    `json:"failed_reason_type"`
	User         string `json:"user_id"`
	Endpoint     string `json:"endpoint"`
	Subscription string `json:"subscription_id"`
	Header       string `json:"request_headers"`
	Body         string `json:"request_body"`
	AnswerHeader string `json:"response_headers"`
	Answer       string `json:"response_body"`
	Time         string `json:"date_time"`
	Trace        string `json:"trace_id"`
	Request      string `json:"request_id"`
	Retry        int    `json:"retry_num"`
}
