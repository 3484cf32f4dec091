package api

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/memnet"
)

// Every kind of error has a status, a code and words.
func TestContractIsWhole(t *testing.T) {
	for _, k := range hook.Kinds() {
		c, ok := contract[k]
		if !ok || c.status < 400 || c.status > 599 || c.code == 0 || c.message == "" {
			t.Errorf("kind %d: %+v", k, c)
		}
	}
	if len(contract) != len(hook.Kinds()) {
		t.Errorf("%d kinds of errors in the contract, want %d", len(contract), len(hook.Kinds()))
	}
}

// The documentation lists every code and every outcome.
func TestErrorsAreDocumented(t *testing.T) {
	raw, err := os.ReadFile("../../docs/errors.md")
	must(t, err)
	text := string(raw)
	for k, c := range contract {
		message, _, _ := strings.Cut(c.message, " {error}") // of which the table says more
		if row := fmt.Sprintf("| %d | %d | `%s", c.status, c.code, message); !strings.Contains(text, row) {
			t.Errorf("kind %d: no row begins with %s", k, row)
		}
	}
	for o := hook.ReadTimeOut; o >= hook.TooManyRequests; o-- {
		if row := fmt.Sprintf("| %d `%s` |", o, o); !strings.Contains(text, row) {
			t.Errorf("no row begins with %s", row)
		}
	}
}

// paths returns method and path of each call that takes an operator key, with something in the place of each
// wildcard.
func paths(t *testing.T) (calls [][2]string, scopes []hook.KeyScope) {
	t.Helper()
	routes := (&api{}).routes()
	for _, pattern := range slices.Sorted(maps.Keys(routes)) {
		k, takesKey := routes[pattern].door.(key)
		if x, both := routes[pattern].door.(keyOrApp); both {
			k, takesKey = x.key, true
		}
		if !takesKey {
			continue
		}
		method, path, ok := strings.Cut(regexp.MustCompile(`\{[a-z_]+\}`).ReplaceAllString(pattern, "any"), " ")
		if !ok || !strings.HasPrefix(path, "/") {
			t.Fatalf("pattern %q has no method", pattern)
		}
		calls, scopes = append(calls, [2]string{method, path}), append(scopes, hook.KeyScope(k))
	}
	return calls, scopes
}

// Nothing is answered without an operator key that has the scope for it; the
// refusal says what to do and is the same for what is there and what is not.
func TestAuthorization(t *testing.T) {
	p := newPlatform(t, options{idle: true})
	must(t, p.db.CreateKey(&hook.OperatorKey{ID: "key-old", Scopes: hook.KeyScopes(), Created: time.Now()}, "shk_revoked"))
	must(t, p.db.RevokeKey("key-old", time.Now()))
	keys := map[hook.KeyScope]string{hook.KeyRead: readKey, hook.KeyPublish: publishKey, hook.KeyManage: manageKey}
	tracking := regexp.MustCompile(`^v=2\.0;clid=us;rid=WEB_[0-9a-f]{32}$`)
	var text strings.Builder
	calls, scopes := paths(t)
	for i, c := range calls {
		fmt.Fprintf(&text, "== %s %s takes %s\n", c[0], c[1], scopes[i])
		said := map[string]bool{}
		refused := func(status int, why, authorization string) {
			t.Helper()
			a := p.call(c[0], c[1], "{}", with(""), func(r *http.Request) {
				if authorization != "" {
					r.Header.Set("Authorization", authorization)
				}
			})
			if (a.status == 401) != (a.header.Get("WWW-Authenticate") == "Bearer") {
				t.Errorf("%s with %s: %v", a.call, why, a.header)
			}
			if a.status != status || a.header.Get("Content-Type") != "application/json; charset=utf-8" || !tracking.MatchString(a.header.Get("X-Zm-Trackingid")) {
				t.Errorf("%s with %s: %d %v", a.call, why, a.status, a.header)
			}
			if line := fmt.Sprintf("%d %s", a.status, a.body); !said[line] {
				said[line] = true
				text.WriteString(line)
			}
		}
		for why, authorization := range map[string]string{
			"nothing": "", "another scheme": "Basic " + allKey, "no scheme": allKey, "no key": "Bearer ", "only the scheme": "Bearer",
		} {
			refused(401, why, authorization)
		}
		refused(401, "an unknown key", "Bearer shk_unknown")
		refused(401, "a revoked key", "Bearer shk_revoked")
		refused(401, "a key and something after it", "Bearer "+allKey+" x")
		refused(401, "a key that is longer", "Bearer "+allKey+"x")
		for _, scope := range hook.KeyScopes() {
			if scope != scopes[i] {
				refused(403, "scope "+string(scope), "Bearer "+keys[scope])
			}
		}
		for _, authorization := range []string{"Bearer " + keys[scopes[i]], "bearer " + keys[scopes[i]], "BEARER " + allKey} {
			if a := p.call(c[0], c[1], "{}", header("Authorization", authorization)); a.status == 401 || a.status == 403 || a.status >= 500 {
				t.Errorf("%s with the right scope: %d %s", a.call, a.status, a.body)
			}
		}
	}
	golden(t, "authorization.golden", text.String())
}

// Whether the platform is alive is nobody's secret.
func TestHealth(t *testing.T) {
	p := newPlatform(t, options{idle: true})
	if a := p.want(200, "GET", "/health", "", with("")); a.header.Get("X-Zm-Trackingid") == "" || a.body != `{"status":"ok","version":"1.2.3"}`+"\n" {
		t.Errorf("answer: %s", a.body)
	}
	p.want(200, "HEAD", "/health", "", with(""))
}

// What is no call of the API is answered like every other mistake, in JSON, and a
// wrong method with the right ones.
func TestNoSuchCall(t *testing.T) {
	p := newPlatform(t, options{idle: true})
	check := func(status int, method, path, message, allow string) {
		t.Helper()
		for _, key := range []string{"", allKey} {
			a := p.want(status, method, path, "", with(key))
			want := fmt.Sprintf(`{"code":%d,"message":"%s"}`+"\n", status, message)
			if method == "HEAD" {
				want = ""
			}
			if a.body != want || a.header.Get("Content-Type") != "application/json; charset=utf-8" || a.header.Get("Allow") != allow || a.header.Get("X-Zm-Trackingid") == "" {
				t.Errorf("%s: %v %s", a.call, a.header, a.body)
			}
		}
	}
	for _, c := range [][2]string{
		{"GET", "/"}, {"GET", "/v2"}, {"POST", "/v2/events/"}, {"GET", operator}, {"GET", operator + "/apps/"},
		{"GET", operator + "/apps/a/b"}, {"HEAD", "/favicon.ico"}, {"OPTIONS", "/x"},
	} {
		check(404, c[0], c[1], "Not found: "+c[0]+" "+c[1]+" is no call of this API", "")
	}
	calls, _ := paths(t)
	known := map[string][]string{"/health": {"GET", "HEAD"}}
	for _, c := range calls {
		known[c[1]] = append(known[c[1]], c[0])
		if c[0] == "GET" {
			known[c[1]] = append(known[c[1]], "HEAD")
		}
	}
	test := operator + "/notices/test" // has the form of a notice's path as well
	known[test] = append(known[test], "GET", "HEAD")
	imports, exports := operator+"/numbers/import", operator+"/numbers/export" // and these that of a number's
	known[imports], known[exports] = append(known[imports], "GET", "HEAD", "PATCH"), append(known[exports], "PATCH")
	all := []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "QUERY"}
	for path, methods := range known {
		slices.SortFunc(methods, func(a, b string) int { return slices.Index(all, a) - slices.Index(all, b) })
		for _, m := range all {
			if !slices.Contains(methods, m) {
				check(405, m, path, "Method not allowed: "+path+" cannot be called with "+m, strings.Join(methods, ", "))
			}
		}
	}
}

// A key that was revoked while in use can be used for a second more, and one that
// is unknown can be made and used at once.
func TestKeyCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlatform(t, options{idle: true, net: &memnet.Net{}})
		ask := func(key string) int { return p.call("GET", operator+"/apps", "", with(key)).status }
		if s := ask("shk_new"); s != 401 {
			t.Errorf("before it was made: %d", s)
		}
		must(t, p.db.CreateKey(&hook.OperatorKey{ID: "new", Scopes: []hook.KeyScope{hook.KeyRead}, Created: time.Now()}, "shk_new"))
		if s := ask("shk_new"); s != 200 {
			t.Errorf("once it was made: %d", s)
		}
		time.Sleep(keyLife / 2)
		must(t, p.db.RevokeKey("new", time.Now()))
		if s := ask("shk_new"); s != 200 {
			t.Errorf("just after it was revoked: %d", s)
		}
		time.Sleep(keyLife/2 - 1)
		if s := ask("shk_new"); s != 200 {
			t.Errorf("a second after it was looked up, but for a nanosecond: %d", s)
		}
		// Being used does not make it valid for longer.
		time.Sleep(time.Nanosecond)
		if s := ask("shk_new"); s != 401 {
			t.Errorf("a second after it was looked up: %d", s)
		}
		if s := ask(allKey); s != 200 {
			t.Errorf("another key: %d", s)
		}
	})
}

// However many keys there are, the cache does not grow without bound, and it never
// keeps what is not a key.
func TestKeyCacheIsBounded(t *testing.T) {
	p := newPlatform(t, options{idle: true})
	c := &keyCache{}
	for i := range 50 {
		if k, err := c.find(t.Context(), p.db, hook.Secret(fmt.Sprint("guess ", i))); k != nil || err != nil {
			t.Fatal(k, err)
		}
	}
	if len(c.found) != 0 {
		t.Errorf("%d guesses are kept", len(c.found))
	}
	k, err := c.find(t.Context(), p.db, allKey)
	must(t, err)
	if again, err := c.find(t.Context(), p.db, allKey); k == nil || k != again || err != nil {
		t.Errorf("%v, then %v, %v", k, again, err)
	}
	for i := range 1001 {
		c.found[[32]byte{1, byte(i >> 8), byte(i)}] = keyEntry{key: k}
	}
	if _, err := c.find(t.Context(), p.db, readKey); err != nil || len(c.found) > 1000 {
		t.Errorf("%d are kept, %v", len(c.found), err)
	}
}

// What a body says beside the point is a mistake, most likely a misspelt name.
func TestDocumentsAreReadStrictly(t *testing.T) {
	p := newPlatform(t, options{idle: true})
	for name, c := range map[string]struct {
		body   string
		status int
		says   string
	}{
		"empty":           {"", 400, "the body is not as expected: EOF"},
		"unknown member":  {`{"acounts":[]}`, 400, `unknown field \"acounts\"`},
		"deeper":          {`{"apps":[{"subscriptions":[{"custom_header":{"value":"x"}}]}]}`, 400, `unknown field \"value\"`},
		"another type":    {`{"accounts":"x"}`, 400, "is a string, and must be an array"},
		"text after it":   {`{}x`, 400, "there is something after the JSON value"},
		"a brace after":   {`{}}`, 400, "there is something after the JSON value"},
		"a bracket after": {`{}]`, 400, "there is something after the JSON value"},
		"another one":     {`{} {}`, 400, "there is something after the JSON value"},
		"too large":       {`{"accounts":[{"id":"` + strings.Repeat("x", maxDocument) + `"}]}`, 413, "has more than 1048576 bytes"},
		"too large after": {`{}` + strings.Repeat(" ", maxDocument), 413, "has more than 1048576 bytes"},
		"nothing in it":   {"{}\n", 200, `{"steps":[]}`},
	} {
		if a := p.call("POST", operator+"/apply", c.body); a.status != c.status || !strings.Contains(a.body, c.says) {
			t.Errorf("%s: %d %.300s", name, a.status, a.body)
		}
	}
	for _, path := range []string{"/apply?dry_run=yes", "/catalog?dry_run=1"} {
		if a := p.want(400, "POST", operator+path, "{}"); !strings.Contains(a.body, `{"field":"dry_run","message":"must be true or false"}`) {
			t.Errorf("%s: %s", path, a.body)
		}
	}
}

// Lists that are empty are lists, not null.
func TestNothingIsThereYet(t *testing.T) {
	p := newPlatform(t, options{idle: true})
	for path, want := range map[string]string{
		"/accounts":                          `{"accounts":[]}`,
		"/apps":                              `{"apps":[]}`,
		"/subscriptions":                     `{"event_subscriptions":[]}`,
		"/subscriptions?app_id=none":         `{"event_subscriptions":[]}`,
		"/deliveries":                        `{"next_page_token":"","page_size":30,"deliveries":[]}`,
		"/deliveries?state=waiting":          `{"next_page_token":"","page_size":30,"deliveries":[]}`,
		"/deliveries?state=failed":           `{"next_page_token":"","page_size":30,"deliveries":[]}`,
		"/event_types?product=no_such_thing": `{"event_types":[]}`,
	} {
		if a := p.want(200, "GET", operator+path, ""); a.body != want+"\n" {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	if a := p.want(202, "POST", operator+"/resend", ""); a.body != `{"resent":0,"skipped":0,"next_page_token":""}`+"\n" {
		t.Errorf("resend: %s", a.body)
	}
	// An app with nothing in it.
	p.apply(&manage.Manifest{Accounts: []manage.Account{{ID: "a"}}, Apps: []manage.App{{Name: "x", Account: "a"}}})
	if a := p.want(200, "GET", operator+"/apps", ""); !strings.Contains(a.body, `"scopes":[],"carrier_codes":[],"state":"production","disabled":false,`) || !strings.Contains(a.body, `"installations":[],"event_subscriptions":0}`) {
		t.Errorf("apps: %s", a.body)
	}
}

// A handler that runs into a closed store answers like every other fault.
func TestClosedStore(t *testing.T) {
	p := newPlatform(t, options{idle: true, net: &memnet.Net{}})
	p.want(200, "GET", operator+"/apps", "") // the key is known now
	must(t, p.close())
	for _, c := range [][2]string{{"POST", "/v2/events"}, {"GET", operator + "/deliveries"}, {"POST", operator + "/resend"}} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(c[0], c[1], strings.NewReader(cnam("x")))
		with(allKey)(r)
		p.handler.ServeHTTP(w, r)
		if w.Code != 500 || w.Body.String() != `{"code":500,"message":"Internal error."}`+"\n" {
			t.Errorf("%v: %d %s", c, w.Code, w.Body)
		}
	}
	if s := p.call("GET", operator+"/apps", "", with(readKey)).status; s != 500 {
		t.Errorf("with a key that cannot be looked up: %d", s)
	}
}
