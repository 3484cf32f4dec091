package api

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/manage"
	"github.com/switchhook/switchhook/internal/store"
)

// Whatever goes right or wrong, no answer of the API and no line of the log has a
// secret in it, but for the two answers whose purpose that is. Endpoints send back
// all they know, which must not help.
func TestNothingSecretIsShown(t *testing.T) {
	g := &gate{}
	p := newPlatform(t, options{store: func(db *store.DB) intake.Store {
		g.Store = db
		return g
	}})
	const (
		password     = "password-of-ann"
		oauthSecret  = "secret-of-the-oauth-client"
		accessToken  = "access-token-of-the-endpoint"
		headerValue  = "value-of-the-own-header"
		wrongKey     = "shk_somebody-elses-key"
		newToken     = "secret-token-after-rotation"
		misplaced    = "secret-in-the-wrong-place"
		brokenSecret = "secret-with-a\nline-feed"
	)
	secrets := map[string]string{
		"secret token": secretToken, "basic password": password, "OAuth client secret": oauthSecret, "access token": accessToken,
		"own header": headerValue, "operator key": allKey, "another operator key": readKey, "unknown operator key": wrongKey,
		"new secret token": newToken, "misplaced secret": misplaced, "broken secret": "secret-with-a",
	}
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, given, _ := r.BasicAuth()
		if given != oauthSecret {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, "your secret is %s, %s", given, r.Header.Get("Authorization"))
			return
		}
		fmt.Fprintf(w, `{"access_token":"%s","token_type":"bearer","expires_in":3600}`, accessToken)
	}))
	t.Cleanup(tokens.Close)
	// It sends back whatever it was sent and knows, plain and packed.
	var token atomic.Value
	token.Store(secretToken)
	known := map[string]string{"basic": password, "oauth": oauthSecret, "header": headerValue}
	echo := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil || bytes.Contains(body, []byte("plainToken")) {
				r.Body = io.NopCloser(bytes.NewReader(body))
				next.ServeHTTP(w, r)
				return
			}
			var all bytes.Buffer
			fmt.Fprintf(&all, "%s, %s, %s\n", token.Load(), known[r.URL.RawQuery], body)
			for name, values := range r.Header {
				fmt.Fprintln(&all, name, values)
				w.Header().Set("X-Echo-"+name, values[0])
			}
			w.Header().Set("Set-Cookie", r.Header.Get("Authorization"))
			status := map[bool]int{true: http.StatusInternalServerError, false: http.StatusOK}[bytes.Contains(body, []byte("busy"))]
			if bytes.Contains(body, []byte("packed")) {
				w.Header().Set("Content-Encoding", "gzip")
				w.WriteHeader(status)
				z := gzip.NewWriter(w)
				_, _ = z.Write(all.Bytes())
				_ = z.Close()
				return
			}
			w.WriteHeader(status)
			_, _ = w.Write(all.Bytes())
		})
	}
	e := newEndpoint(t, echo)
	with := func(name string, h manage.CustomHeader) manage.Subscription {
		s := to(name, e.url+"?"+name)
		s.CustomHeader = &h
		return s
	}
	m := manifest(
		with("none", manage.CustomHeader{}),
		with("basic", manage.CustomHeader{Type: 1, Username: "ann", Password: password}),
		with("oauth", manage.CustomHeader{Type: 2, ClientID: "client", ClientSecret: oauthSecret, TokenURL: tokens.URL}),
		with("header", manage.CustomHeader{Type: 3, Key: "X-Own", Value: headerValue}),
		with("refused", manage.CustomHeader{Type: 2, ClientID: "client", ClientSecret: misplaced, TokenURL: tokens.URL}),
	)
	plan := p.apply(m)
	apply := len(p.answers) - 1
	creds := plan.Credentials[0]
	secrets["client secret"] = creds.ClientSecret
	secrets["basic credentials"] = base64.StdEncoding.EncodeToString([]byte("ann:" + password))
	secrets["OAuth client credentials"] = base64.StdEncoding.EncodeToString([]byte("client:" + oauthSecret))
	if plan.Failures() != 1 {
		t.Errorf("plan: %+v", plan)
	}
	p.want(200, "GET", operator+"/apps/"+creds.AppID+"/secret_token", "")
	reveal := len(p.answers) - 1

	// All that can be read, before and after deliveries that went well and ill.
	look := func() {
		t.Helper()
		paths := []string{"/apps", "/apps/" + creds.AppID, "/accounts", "/subscriptions", "/deliveries", "/event_types"}
		for _, s := range []string{"none", "basic", "oauth", "header", "refused"} {
			paths = append(paths, "/subscriptions/"+p.subscription(s).ID)
		}
		for _, d := range get[page](p, operator+"/deliveries").Deliveries {
			paths = append(paths, "/deliveries/"+d.ID, "/events/"+d.EventID)
		}
		for _, path := range paths {
			p.want(200, "GET", operator+path, "")
		}
	}
	look()
	for name, want := range map[string]hook.State{"fine": hook.Delivered, "fine and packed": hook.Delivered, "busy": hook.Exhausted, "busy and packed": hook.Exhausted} {
		ev := p.publish(cnam(name))
		for _, s := range []string{"none", "basic", "oauth", "header"} {
			if d := p.await(ev.Event, p.subscription(s), want); !strings.Contains(d.Attempts[0].Body, "********") {
				t.Errorf("%s, %s: the answer was kept as %q", name, s, d.Attempts[0].Body)
			}
		}
	}
	look()

	// Mistakes with secrets in them.
	manifestWith := func(app string) string {
		return `{"accounts":[{"id":"carrier"}],"apps":[{"name":"mistake","account_id":"carrier",` + app + `}]}`
	}
	subscriptionWith := func(custom string) string {
		return manifestWith(`"scopes":["` + cnamScope + `"],"subscriptions":[{"event_subscription_name":"s","events":["` + cnamEvent + `"],"event_webhook_url":"` + e.url + `","custom_header":` + custom + `}]`)
	}
	long := misplaced + strings.Repeat("x", 300)
	for _, body := range []string{
		manifestWith(`"secret_token":"` + long + `"`),
		manifestWith(`"secret_token":"secret-with-a\nline-feed"`),
		manifestWith(`"secret_token":["` + misplaced + `"]`),
		manifestWith(`"secret_token":"` + misplaced),
		manifestWith(`"secret_token":"` + misplaced + `"x`),
		subscriptionWith(`{"custom_header_type":1,"username":"a:b","password":"` + long + `"}`),
		subscriptionWith(`{"custom_header_type":1,"username":"","password":"secret-with-a\nline-feed"}`),
		subscriptionWith(`{"custom_header_type":2,"client_id":"","client_secret":"` + long + `","token_url":"x"}`),
		subscriptionWith(`{"custom_header_type":3,"custom_header_key":"Host","custom_header_value":"` + long + `"}`),
		subscriptionWith(`{"custom_header_type":3,"custom_header_key":"X-A","custom_header_value":"secret-with-a\nline-feed"}`),
		subscriptionWith(`{"custom_header_type":9,"password":"` + misplaced + `"}`),
		subscriptionWith(`{"custom_header_type":"` + misplaced + `"}`),
	} {
		p.want(400, "POST", operator+"/apply", body)
	}
	for _, authorization := range []string{"Bearer " + wrongKey, "Basic " + wrongKey, wrongKey, "Bearer " + wrongKey + " " + wrongKey} {
		p.want(401, "GET", operator+"/apps", "", header("Authorization", authorization))
	}
	p.want(403, "POST", "/v2/events", cnam("x"), header("Authorization", "Bearer "+readKey))

	// Secrets that change, first in a dry run.
	m.Apps[0].SecretToken = newToken
	m.Apps[0].Subscriptions[1].CustomHeader.Password = misplaced
	m.Apps[0].Subscriptions = m.Apps[0].Subscriptions[:4]
	body := `{"apps":[{"name":"number sync","account_id":"carrier","secret_token":"` + newToken + `","scopes":["` + cnamScope + `"],"carrier_codes":[1]}]}`
	if a := p.want(200, "POST", operator+"/apply?dry_run=true", body); !strings.Contains(a.body, `"changes":["secret_token"]`) {
		t.Errorf("a new secret token: %s", a.body)
	}
	p.want(200, "POST", operator+"/apply", body)
	token.Store(newToken)
	e.foreign.Store(true)
	for _, s := range []string{"none", "basic", "oauth", "header", "refused"} {
		// The endpoint still has the old token, and says so in its own way.
		p.want(200, "POST", operator+"/subscriptions/"+p.subscription(s).ID+"/validate", "")
	}
	look()
	p.want(202, "POST", operator+"/resend", "")
	eventually(t, func() bool { return len(get[page](p, operator+"/deliveries?state=waiting").Deliveries) == 0 })
	look()
	p.want(204, "DELETE", operator+"/apps/"+creds.AppID, "")
	// What goes wrong inside is in the log.
	g.Store = broken{}
	p.want(500, "POST", "/v2/events", cnam("x"))

	if !strings.Contains(p.log.String(), errBroken.Error()) {
		t.Errorf("the log has nothing in it that could show a secret: %s", p.log)
	}
	for name, secret := range secrets {
		if strings.Contains(p.log.String(), secret) {
			t.Errorf("the log has the %s in it", name)
		}
		for i, a := range p.answers {
			shown := strings.Contains(a.body, secret) || strings.Contains(fmt.Sprint(a.header), secret)
			allowed := i == apply && (name == "secret token" || name == "client secret") || i == reveal && name == "secret token"
			if shown != allowed {
				t.Errorf("%s, answered with status %d: shows the %s: %v", a.call, a.status, name, shown)
			}
		}
	}
}

// The same holds for what apps do themselves: whatever they ask for, whatever goes
// wrong, and also in mails, in the audit trail and in the webhook log. Only the calls
// whose purpose it is show a secret.
func TestNothingSecretIsShownToApps(t *testing.T) {
	p := newPlatform(t, options{})
	offerOrders(t, p)
	const (
		password    = `pass"word\of-ann`
		oauthSecret = "secret-of-the-oauth-client"
		accessToken = "access-token-of-the-endpoint"
		headerValue = "value-of-the-own-header"
		misplaced   = "secret-in-the-wrong-place"
		wrongToken  = "token-of-nobody"
		inURL       = "secret-in-the-url"
	)
	secrets := map[string]string{
		"password": password, "quoted password": `pass\"word\\of-ann`, "basic credentials": base64.StdEncoding.EncodeToString([]byte("ann:" + password)),
		"OAuth client secret": oauthSecret, "OAuth client credentials": base64.StdEncoding.EncodeToString([]byte("client:" + oauthSecret)), "token of the token URL": accessToken,
		"own header": headerValue, "misplaced secret": misplaced, "wrong token": wrongToken, "operator key": allKey, "another operator key": readKey, "secret token": secretToken,
	}
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		id, secret, _ := r.BasicAuth()
		said := fmt.Sprintf("%s %s %s %s", id, secret, r.Header.Get("Authorization"), r.Form.Encode())
		switch r.URL.Path {
		case "/status":
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, said)
		case "/type":
			fmt.Fprintf(w, `{"access_token":%q,"token_type":%q,"expires_in":3600}`, accessToken, said)
		case "/expires":
			fmt.Fprintf(w, `{"access_token":%q,"token_type":"bearer","expires_in":%q}`, accessToken, said)
		case "/improper":
			hijack(w, said)
		default:
			fmt.Fprintf(w, `{"access_token":%q,"token_type":"bearer","expires_in":3600}`, accessToken)
		}
	}))
	t.Cleanup(tokens.Close)

	// The endpoint proves itself where it is asked at /good, until it is told to fail. It
	// says all it knows, in every way there is.
	known := map[string]string{"basic": password, "oauth": oauthSecret + accessToken, "header": headerValue}
	var knows atomic.Value // the app's secret tokens
	knows.Store(secretToken)
	var fails atomic.Bool
	e := newEndpoint(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			if !fails.Load() && strings.HasSuffix(r.URL.Path, "/good") && bytes.Contains(body, []byte("plainToken")) {
				next.ServeHTTP(w, r)
				return
			}
			mode, _, _ := strings.Cut(r.URL.RawQuery, "&")
			text, _ := json.Marshal(known[mode])
			said := fmt.Sprintf("%s %s %s %v", knows.Load(), known[mode], text, r.Header)
			switch {
			case strings.HasSuffix(r.URL.Path, "/improper"):
				hijack(w, said)
			case strings.HasSuffix(r.URL.Path, "/redirect"):
				w.Header().Set("Location", "/"+known[mode])
				w.WriteHeader(http.StatusFound)
			default:
				w.Header().Set("X-Echo", strings.ReplaceAll(said, "\n", " "))
				w.Header().Set("Set-Cookie", r.Header.Get("Authorization"))
				w.WriteHeader(http.StatusInternalServerError)
				fmt.Fprint(w, said)
			}
		})
	})
	e.foreign.Store(true) // after the rotation

	m := ownManifest()
	m.Accounts[0].OwnerEmail = "owner@carrier.test"
	creds := p.apply(m).Credentials[0]
	may := map[int]bool{len(p.answers) - 1: true} // the answers whose purpose it is to show secrets
	secrets["client secret"] = creds.ClientSecret
	programs := []*program{p.program(creds, ""), p.program(creds, "customer")}
	may[len(p.answers)-1], may[len(p.answers)-2] = true, true
	for i, c := range programs {
		secrets[fmt.Sprint("access token ", i)] = c.token
	}
	c := programs[0]

	// What goes well.
	headers := map[string]string{
		"none":   `{"custom_header_type":0}`,
		"basic":  `{"custom_header_type":1,"username":"ann","password":` + fmt.Sprintf("%q", password) + `}`,
		"oauth":  `{"custom_header_type":2,"client_id":"client","client_secret":"` + oauthSecret + `","token_url":"` + tokens.URL + `/good"}`,
		"header": `{"custom_header_type":3,"custom_header_key":"X-Own","custom_header_value":"` + headerValue + `"}`,
	}
	create := func(path, custom string) reply {
		t.Helper()
		return c.call("POST", subscriptions, `{"events":["`+orderEvent+`","`+cnamEvent+`"],"event_webhook_url":"`+e.url+path+`","subscription_scope":"account","custom_header":`+custom+`}`)
	}
	var made []string
	for mode, custom := range headers {
		a := create("/good?"+mode+"&key="+inURL, custom)
		if a.status != 201 {
			t.Fatalf("%s: %s", mode, a.body)
		}
		made = append(made, read[map[string]string](t, a)["event_subscription_id"])
	}
	for _, id := range made {
		c.want(204, "PATCH", subscriptions+"/"+id, `{"account_id":"customer"}`)
	}
	// What does not.
	for mode, custom := range headers {
		for _, path := range []string{"/bad?", "/improper?", "/redirect?"} {
			if a := create(path+mode, custom); a.status != 404 {
				t.Errorf("%s with %s: %d %s", path, mode, a.status, a.body)
			}
		}
	}
	for _, path := range []string{"/status", "/type", "/expires", "/improper"} {
		for _, where := range []string{"header", "body"} {
			if a := create("/good?oauth", `{"custom_header_type":2,"client_id":"client","client_secret":"`+oauthSecret+`","client_authentication":"`+where+`","token_url":"`+tokens.URL+path+`"}`); a.status != 404 {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
	}
	long := misplaced + strings.Repeat("x", 300)
	for _, custom := range []string{
		`{"custom_header_type":1,"username":"ann","password":"` + long + `"}`, `{"custom_header_type":1,"username":"","password":"` + misplaced + `"}`, `{"custom_header_type":1,"username":"a:b","password":"` + misplaced + `"}`,
		`{"custom_header_type":1,"username":"ann","password":"` + misplaced + `\n"}`, `{"custom_header_type":1,"username":"ann","password":["` + misplaced + `"]}`,
		`{"custom_header_type":0,"password":"` + misplaced + `"}`, `{"custom_header_type":9,"password":"` + misplaced + `"}`, `{"custom_header_type":"` + misplaced + `"}`, `"` + misplaced + `"`,
		`{"custom_header_type":2,"client_id":"","client_secret":"` + misplaced + `","token_url":"x"}`, `{"custom_header_type":2,"client_id":"c","client_secret":"` + long + `","token_url":"` + tokens.URL + `"}`,
		`{"custom_header_type":2,"client_id":"c","client_secret":"` + misplaced + `","token_url":"http://ann:` + misplaced + `@x.test"}`,
		`{"custom_header_type":3,"custom_header_key":"Host","custom_header_value":"` + misplaced + `"}`, `{"custom_header_type":3,"custom_header_key":"X-A","custom_header_value":"` + long + `"}`,
		`{"custom_header_type":3,"custom_header_key":"X-A","custom_header_value":"` + misplaced + `\r\n"}`, `{"custom_header_type":3,"custom_header_key":"X-A","custom_header_value":"` + misplaced,
	} {
		if a := create("/good", custom); a.status != 400 && a.status != 404 {
			t.Errorf("%s: %d %s", custom, a.status, a.body)
		}
	}
	create("", `{"custom_header_type":3,"custom_header_key":"X-A","custom_header_value":"`+misplaced+`"},"event_webhook_url":"http://ann:`+misplaced+`@x.test/"`)
	for _, id := range []string{made[0], hook.NewID()} {
		for _, body := range []string{`{"account_id":"` + creds.ClientSecret, `{"password":"` + misplaced + `"}`} {
			c.call("PATCH", subscriptions+"/"+id, body)
		}
	}
	for _, authorization := range []string{"Bearer " + wrongToken, "Basic " + wrongToken, "Bearer " + c.token + "x", "Bearer " + allKey, "bearer " + creds.ClientSecret} {
		p.want(401, "GET", subscriptions, "", header("Authorization", authorization))
		p.want(401, "POST", peering, "{}", header("Authorization", authorization))
		if !strings.Contains(authorization, allKey) {
			p.want(401, "POST", imports, fileHeader, isCSV, header("Authorization", authorization))
		}
	}

	// Numbers: nothing about them is secret, but secrets may be put in the wrong place.
	p.want(201, "PUT", operator+"/carriers/1", `{"name":"Blue Carrier"}`)
	p.want(200, "PUT", operator+"/apps/"+creds.AppID, `{"scopes":["`+scopeNumbersRead+`","`+scopeNumbersWrite+`","shop:read","`+scopeLogs+`"]}`)
	c.adds(1, phone(1))
	for _, method := range []string{"POST", "PATCH"} {
		for _, body := range []string{`{"carrier_code":"` + misplaced + `"}`, `{"phone_numbers":"` + misplaced + `"}`, `{"phone_numbers":[{"status":"` + misplaced + `"}]}`, `{"` + misplaced + `":1}`, misplaced} {
			c.want(400, method, peering, body)
		}
	}
	for _, query := range []string{"carrier_code=" + misplaced, "page_size=" + misplaced, "next_page_token=" + misplaced} {
		c.want(400, "GET", peering+"?"+query, "")
	}
	c.want(200, "GET", carrierPeering+"?client_secret="+misplaced, "")
	p.want(400, "POST", imports+"?position="+misplaced, fileHeader, isCSV)
	p.want(400, "POST", imports, misplaced, header("Content-Type", "text/csv; "+misplaced))
	p.want(400, "PATCH", numbers+"/"+phone(1), `{"cnam":["`+misplaced+`"]}`)
	p.want(400, "GET", numbers+"?page_size="+misplaced, "")
	p.want(200, "POST", imports, fileHeader+numbersOf(0, 2, "")+"none,1,carrier,west-1,true\n", isCSV, stepwise)
	for _, path := range []string{"/carriers", "/numbers", "/numbers/export", "/numbers/" + phone(1)} {
		p.want(200, "GET", operator+path, "")
	}

	for _, ask := range []struct{ id, secret, query string }{
		{creds.ClientID, misplaced, "grant_type=client_credentials"}, {misplaced, misplaced, "grant_type=client_credentials"}, {creds.ClientID, creds.ClientSecret, "grant_type=" + misplaced},
		{creds.ClientID, creds.ClientSecret, "grant_type=account_credentials&account_id=" + misplaced}, {"", "", "client_secret=" + misplaced + "%zz"},
	} {
		p.want(400, "POST", "/oauth/token?"+ask.query, "client_secret="+misplaced, header("Content-Type", "application/x-www-form-urlencoded"), func(r *http.Request) {
			if r.Header.Del("Authorization"); ask.id != "" {
				r.SetBasicAuth(ask.id, ask.secret)
			}
		})
	}

	// Events, under the first secrets and under the next, of which the endpoint knows both.
	p.publish(order("carrier", "ada"))
	settled := func() {
		t.Helper()
		eventually(t, func() bool { return len(get[page](p, operator+"/deliveries?state=waiting").Deliveries) == 0 })
	}
	settled()
	rotated := read[SecretToken](t, p.want(200, "POST", operator+"/apps/"+creds.AppID+"/secret_token", `{"overlap_seconds":3600}`))
	may[len(p.answers)-1] = true
	secrets["new secret token"] = rotated.SecretToken
	secrets["new client secret"] = read[ClientSecret](t, p.want(200, "POST", operator+"/apps/"+creds.AppID+"/client_secret", `{"overlap_seconds":3600}`)).ClientSecret
	may[len(p.answers)-1] = true
	knows.Store(secretToken + " " + rotated.SecretToken)
	p.publish(order("carrier", "ada"))
	settled()

	// Rounds that fail, with mails to the owner.
	fails.Store(true)
	for range hook.DisabledAfter {
		for _, id := range made {
			must(t, p.manager.Revalidate(t.Context(), id, hook.Production))
		}
	}
	mails, err := p.db.Mails(t.Context(), 300)
	must(t, err)
	if len(mails) != 3*len(made) {
		t.Errorf("%d mails", len(mails))
	}
	var kept strings.Builder
	for _, m := range mails {
		fmt.Fprintf(&kept, "%+v\n", *m)
		if text := m.Subject + m.Text + m.HTML; strings.Contains(text, inURL) || !strings.Contains(text, "/good?...") {
			t.Errorf("a mail shows what is in the URL: %s", text)
		}
	}
	for i, c := range programs {
		if n := len(c.list("").Rows); n != len(made)*(2-i) {
			t.Errorf("%d rows are listed", n)
		}
	}
	for _, id := range made {
		p.want(200, "GET", operator+"/subscriptions/"+id, "")
		p.want(200, "GET", operator+"/subscriptions/"+id+"/challenges", "")
		p.want(200, "GET", operator+"/subscriptions/"+id+"/validations", "")
		c.want(204, "DELETE", subscriptions+"/"+id, "")
	}

	// All that can be read, from here and from the file.
	read := 0
	for next := ""; ; {
		list := c.logs("type=1&page_size=300&next_page_token=" + next)
		read += len(list.Rows)
		if next = list.Next; next == "" {
			break
		}
	}
	rows, _, err := p.db.WebhookLog(t.Context(), hook.LogFilter{App: creds.AppID, From: time.Now().Add(-time.Hour), To: time.Now(), Limit: 1000})
	must(t, err)
	if challenges := len(headers) + 3*len(headers) + 8 + hook.DisabledAfter*len(made); read != len(rows) || read != challenges+2*len(made) {
		t.Errorf("the log shows %d rows and has %d; there were %d challenges, and %d deliveries", read, len(rows), challenges, 2*len(made))
	}
	for _, r := range rows {
		fmt.Fprintf(&kept, "%+v %s %+v\n", r, r.Response.Body, r.Event)
	}
	audit, err := p.db.Audit(t.Context(), hook.AuditFilter{Limit: 1000})
	must(t, err)
	fmt.Fprintf(&kept, "%+v\n", audit)
	for _, path := range []string{"/apps", "/accounts", "/deliveries?page_size=300", "/audit?page_size=300", "/notices?limit=300"} {
		p.want(200, "GET", operator+path, "")
	}

	if !strings.Contains(kept.String(), "********") {
		t.Error("nothing that was kept could show a secret")
	}
	for name, secret := range secrets {
		if strings.Contains(p.log.String(), secret) {
			t.Errorf("the log of the platform has the %s in it", name)
		}
		if strings.Contains(kept.String(), secret) {
			t.Errorf("mails, audit trail or webhook log have the %s in them", name)
		}
		for i, a := range p.answers {
			if shown := a.body + fmt.Sprint(a.header); !may[i] && strings.Contains(shown, secret) {
				t.Errorf("%s, answered with status %d, shows the %s: %s", a.call, a.status, name, shown)
			}
		}
	}
}

// hijack answers with something that is not HTTP.
func hijack(w http.ResponseWriter, text string) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(c, "%s\r\n\r\n", text)
	_ = c.Close()
}
