package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/switchhook/switchhook/internal/pgtest"
)

// copyTo is the command that copies the installation's database, and on what it goes on.
func (in *installation) copyTo(database string) (*exec.Cmd, *installation) {
	in.t.Helper()
	cmd := exec.Command(program(in.t), "store", "copy", "--from", in.database(), "--to", database, "--master-key-file", in.masterKey())
	return cmd, &installation{t: in.t, dir: in.dir, url: database, key: in.key}
}

// A platform that was killed with deliveries under way goes on from PostgreSQL where it
// was: it tells the same, clients notice nothing, and what is outstanding arrives.
func TestCopyPlatform(t *testing.T) {
	in := install(t)
	late, failing := openInbox(t, "late", "secret-of-late"), openInbox(t, "failing", "secret-of-failing")
	flags := []string{"--retry-steps", "1h,1h,1h", "--answer-timeout", "5m"}
	p := in.serve(flags...)
	p.subscribe(late, failing)
	answer := make(chan struct{})
	late.before = func(int) int { <-answer; return 0 }
	failing.before = func(int) int { return http.StatusServiceUnavailable }

	const events = 40
	keyed := func(p *running, n int) string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/v2/events", strings.NewReader(numbered(fmt.Sprint("event", n))))
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+p.key)
		req.Header.Set("Idempotency-Key", fmt.Sprint("key", n))
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		defer res.Body.Close()
		var published struct {
			ID string `json:"event_id"`
		}
		must(t, json.NewDecoder(res.Body).Decode(&published))
		return published.ID
	}
	ids := map[string]bool{}
	for n := range events {
		ids[keyed(p, n)] = true
	}
	p.ask("PUT", operator+"/carriers/1", `{"name":"Carrier"}`, http.StatusCreated, nil)
	_, report, err := p.call(t.Context(), http.DefaultClient, "POST", operator+"/numbers/import", "text/csv",
		strings.NewReader("phone_number,carrier_code,account_id\n+14155550132,1,customer\n+14155550133,1,customer\n"))
	must(t, err)
	if !strings.Contains(string(report), `"changed":2`) {
		t.Fatalf("the import says %s", report)
	}
	p.ask("POST", operator+"/notices/test", `{"to":"ann@example.com"}`, http.StatusAccepted, nil)

	var apps struct {
		Apps []struct {
			ID       string `json:"app_id"`
			Name     string `json:"name"`
			ClientID string `json:"client_id"`
		}
	}
	p.ask("GET", operator+"/apps", "", http.StatusOK, &apps)
	var app, token string
	for _, a := range apps.Apps {
		if a.Name != "failing" {
			continue
		}
		app = a.ID
		var secret struct {
			Secret string `json:"client_secret"`
		}
		p.ask("POST", operator+"/apps/"+app+"/client_secret", `{}`, http.StatusOK, &secret)
		p.ask("PUT", operator+"/apps/"+app, `{"name":"failing","account_id":"carrier","carrier_codes":[1],"scopes":["number_management_numbers:read:admin","marketplace_app:read"]}`, http.StatusOK, nil)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/oauth/token?grant_type=client_credentials", nil)
		must(t, err)
		req.SetBasicAuth(a.ClientID, secret.Secret)
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		defer res.Body.Close()
		var granted struct {
			Token string `json:"access_token"`
		}
		must(t, json.NewDecoder(res.Body).Decode(&granted))
		token = granted.Token
	}
	get := func(p *running, path string) string {
		t.Helper()
		asked := &running{t: t, url: p.url, key: p.key}
		if strings.HasPrefix(path, "/v2/") {
			asked.key = token
		}
		res, body, err := asked.call(t.Context(), http.DefaultClient, "GET", path, "", nil)
		must(t, err)
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%s: status %d: %s", path, res.StatusCode, body)
		}
		return string(body)
	}
	logs := "/v2/marketplace/apps/" + app + "/webhook_logs?page_size=15"
	var page struct {
		Rows []any  `json:"webhook_logs"`
		Next string `json:"next_page_token"`
	}
	waitFor(t, "the first attempts", func() bool {
		must(t, json.Unmarshal([]byte(get(p, logs)), &page))
		var list struct {
			Rows []any `json:"webhook_logs"`
		}
		must(t, json.Unmarshal([]byte(get(p, operator+"/webhook_logs?page_size=300")), &list))
		return len(page.Rows) == 15 && len(list.Rows) >= events
	})
	paths := []string{logs, logs + "&next_page_token=" + url.QueryEscape(page.Next)}
	for _, path := range []string{"/accounts", "/apps", "/apps/" + app + "/secret_token", "/subscriptions", "/carriers", "/numbers", "/numbers/export", "/notices", "/webhook_logs?page_size=300",
		"/deliveries?page_size=100", "/deliveries?page_size=100&state=waiting"} {
		paths = append(paths, operator+path)
	}
	told := map[string]string{}
	for _, path := range paths {
		told[path] = get(p, path)
	}
	p.kill()

	cmd, moved := in.copyTo(pgtest.Database(t, nil))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p = moved.serve(flags...)
	for _, path := range paths {
		// Of page tokens each is another.
		if got := get(p, path); pageToken.ReplaceAllString(got, "") != pageToken.ReplaceAllString(told[path], "") {
			t.Errorf("%s: before\n%s\nafter\n%s", path, told[path], got)
		}
	}
	for n := range events {
		if id := keyed(p, n); !ids[id] {
			t.Errorf("event %d is published once more, as %s", n, id)
		}
	}
	close(answer)
	waitFor(t, "what was outstanding", func() bool { return len(late.numbers()) == events })
	p.stop()
}

var pageToken = regexp.MustCompile(`"next_page_token":"[^"]+"`)

// throttle is between a program and a server of PostgreSQL. It lets so many bytes go to
// the server, and then no more.
type throttle struct {
	url    string
	passed atomic.Int64
	limit  atomic.Int64
	full   chan struct{} // gets something whenever the limit is reached
}

func openThrottle(t testing.TB, database string) *throttle {
	t.Helper()
	u, err := url.Parse(database)
	must(t, err)
	q := u.Query()
	x := &throttle{full: make(chan struct{}, 1)}
	server, dir := filepath.Join(q.Get("host"), ".s.PGSQL.5432"), t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	q.Set("host", dir)
	u.RawQuery = q.Encode()
	x.url = u.String()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("unix", server)
			if err != nil {
				_ = c.Close()
				continue
			}
			go func() {
				_, _ = io.Copy(c, s)
				_ = c.Close()
			}()
			go func() {
				_ = x.carry(s, c)
				_ = s.Close()
			}()
		}
	}()
	return x
}

func (x *throttle) carry(to io.Writer, from io.Reader) error {
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		if err != nil {
			return err
		}
		if x.passed.Add(int64(n)) > x.limit.Load() {
			select {
			case x.full <- struct{}{}:
			default:
			}
			_, err := io.Copy(io.Discard, from) // until the other end is gone
			return errors.Join(io.EOF, err)
		}
		if _, err := to.Write(b[:n]); err != nil {
			return err
		}
	}
}

// A copy that is killed leaves an empty target, wherever that was, and the next one makes
// a platform of it.
func TestKillCopy(t *testing.T) {
	in := install(t)
	box := openInbox(t, "inbox", "secret-of-inbox")
	p := in.serve("--retry-steps", "200ms,200ms,200ms")
	p.subscribe(box)
	box.before = func(int) int { return http.StatusServiceUnavailable }
	var list []string
	for n := range 500 {
		list = append(list, numbered(fmt.Sprint("event", n)))
	}
	_, _, err := p.call(t.Context(), http.DefaultClient, "POST", "/v2/events", "application/x-ndjson", strings.NewReader(strings.Join(list, "\n")))
	must(t, err)
	p.kill()

	other := openThrottle(t, pgtest.Database(t, nil))
	other.limit.Store(1 << 40)
	cmd, _ := in.copyTo(other.url)
	must(t, cmd.Run())
	all := other.passed.Load()

	database := pgtest.Database(t, nil)
	x := openThrottle(t, database)
	cmd, moved := in.copyTo(database)
	for _, part := range []int64{5, 30, 60, 90, 99} {
		x.passed.Store(0)
		x.limit.Store(all * part / 100)
		killed, _ := in.copyTo(x.url)
		must(t, killed.Start())
		<-x.full
		must(t, killed.Process.Kill())
		_ = killed.Wait()
		// What is there is nothing, for whoever looks.
		out, err := exec.Command(program(t), "keys", "list", "--database", database, "--master-key-file", in.masterKey()).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "there is no database at") {
			t.Errorf("after %d%%: %v, %s", part, err, out)
		}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	box.mu.Lock()
	box.before = nil
	box.mu.Unlock()
	p = moved.serve("--retry-steps", "200ms,200ms,200ms")
	waitFor(t, "what was outstanding", func() bool { return len(box.numbers()) == len(list) })
	p.stop()
}
