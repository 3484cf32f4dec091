package console

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/hook"
)

var update = flag.Bool("update", false, "rewrite golden files")

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// site is a server with the pages of a catalog.
type site struct {
	t       testing.TB
	catalog *catalog.Catalog
	url     string
}

// serve starts a site. What is no page is answered with 404 and "next".
func serve(t testing.TB, docs ...*catalog.Document) *site {
	t.Helper()
	c := catalog.New(docs...)
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "next")
	})
	s := httptest.NewServer(New(Config{Catalog: c, Next: next, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}))
	t.Cleanup(s.Close)
	return &site{t, c, s.URL}
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (s *site) call(method, path string, headers ...string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, nil)
	must(s.t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req) // which follows no redirects
	must(s.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(s.t, err)
	return answer{res.StatusCode, res.Header, string(body)}
}

// page returns a page, which must be there and be sound.
func (s *site) page(path string) string {
	s.t.Helper()
	a := s.call("GET", path)
	if a.status != http.StatusOK {
		s.t.Fatalf("%s: status %d", path, a.status)
	}
	sound(s.t, path, a.body)
	return a.body
}

func parse(t testing.TB, text string) *catalog.Document {
	t.Helper()
	doc, err := catalog.Parse([]byte(text))
	must(t, err)
	return doc
}

// openapi returns a document with a webhook.
func openapi(title, event, operation string) string {
	return fmt.Sprintf(`{"openapi": "3.1.0", "info": {"title": %q, "version": "1"}, "webhooks": {%q: {"post": {%s}}}}`, title, event, operation)
}

// body returns the part of an operation that says what bodies are like.
func body(schema, more string) string {
	return `"requestBody": {"content": {"application/json": {"schema": ` + schema + more + `}}}`
}

const cnam = "number_management.peering_number_cnam_updated"

// How the pages look to a browser.
func TestPages(t *testing.T) {
	s := serve(t, catalog.NumberManagement(), parse(t, openapi("Rooms", "rooms.opened", `"summary": "A room was opened"`)))
	for name, path := range map[string]string{
		"products.html": "/api-hub", "events.html": "/api-hub/number_management/events", "event.html": "/api-hub/number_management/events/" + cnam,
	} {
		got := strings.Replace(s.page(path), string(style), "STYLE", 1)
		file := filepath.Join("testdata", name)
		if *update {
			must(t, os.WriteFile(file, []byte(got), 0o644))
			continue
		}
		want, err := os.ReadFile(file)
		must(t, err)
		if got != string(want) {
			t.Errorf("%s differs; if this is how it is to be, run the tests with -update and read the difference\ngot:\n%s", file, got)
		}
	}
}

// Every page forbids the browser whatever it does not need, and is made anew for
// those who do not have it yet.
func TestHeaders(t *testing.T) {
	s := serve(t, catalog.NumberManagement())
	for _, path := range []string{"/api-hub", "/api-hub/number_management/events", "/api-hub/number_management/events/" + cnam, "/api-hub/none/events"} {
		a := s.call("GET", path)
		for name, want := range map[string]string{
			"Content-Type":            "text/html; charset=utf-8",
			"Content-Security-Policy": policy,
			"X-Content-Type-Options":  "nosniff",
			"Referrer-Policy":         "no-referrer",
			"Cache-Control":           "no-cache",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		head := s.call("HEAD", path)
		if head.status != a.status || head.body != "" || head.header.Get("Etag") != a.header.Get("Etag") {
			t.Errorf("HEAD %s: %d %v %q", path, head.status, head.header, head.body)
		}
		tag := a.header.Get("Etag")
		if a.status != 200 {
			continue
		}
		if again := s.call("GET", path, "If-None-Match", tag); tag == "" || again.status != http.StatusNotModified || again.body != "" {
			t.Errorf("%s with its tag %q: %d", path, tag, again.status)
		}
	}
	if !regexp.MustCompile(`^default-src 'none'; style-src 'sha256-[A-Za-z0-9+/]{43}='; base-uri 'none'; form-action 'none'; frame-ancestors 'none'$`).MatchString(policy) {
		t.Errorf("the policy is %s", policy)
	}
}

// What leads where.
func TestPaths(t *testing.T) {
	s := serve(t, catalog.NumberManagement(), parse(t, openapi("Odd", "what is it? 100%", "")))
	for _, c := range []struct {
		call   string
		status int
		want   string // in the body, or the location
	}{
		{"GET /api-hub", 200, "<h1>Event catalog</h1>"},
		{"GET /api-hub/", 301, "/api-hub"},
		{"GET /api-hub/odd", 301, "/api-hub/odd/events"},
		{"GET /api-hub/odd/", 301, "/api-hub/odd/events"},
		{"GET /api-hub/odd/events/", 301, "/api-hub/odd/events"},
		{"GET /api-hub/%2F%2Fevil.example%2F", 301, "/api-hub/%2F%2Fevil.example%2F/events"},
		{"GET /api-hub/odd/events", 200, `href="/api-hub/odd/events/what%20is%20it%3F%20100%25"`},
		{"GET /api-hub/odd/events/what%20is%20it%3F%20100%25", 200, "<code>what is it? 100%</code>"},
		{"GET /api-hub/number-management/events", 200, "<h1>Number Management</h1>"},
		{"GET /api-hub/none/events", 404, "There is no such product"},
		{"GET /api-hub/none/events/" + cnam, 404, "There is no such product"},
		{"GET /api-hub/odd/events/" + cnam, 404, "no such event type"},
		{"GET /api-hub/odd/events/%00", 404, "no such event type"},
		{"POST /api-hub", 405, "Pages can only be read."},
		{"DELETE /api-hub/odd/events", 405, "Pages can only be read."},
		{"GET /api-hub/odd/events/webhooks.json", 404, "next"},
		{"POST /api-hub/odd/events/webhooks.json", 404, "next"},
		{"GET /api-hub/odd/methods", 404, "next"},
		{"GET /api-hubs", 404, "next"},
		{"GET /", 404, "next"},
		{"POST /v2/events", 404, "next"},
	} {
		method, path, _ := strings.Cut(c.call, " ")
		a := s.call(method, path)
		got := a.body
		if a.status == 301 {
			got = a.header.Get("Location")
		}
		if a.status != c.status || !strings.Contains(got, c.want) || a.status == 301 && got != c.want {
			t.Errorf("%s: %d %.2000s, want %d %s", c.call, a.status, strings.Replace(got, string(style), "", 1), c.status, c.want)
		}
		if allow := a.header.Get("Allow"); (allow == "GET, HEAD") != (c.status == 405) {
			t.Errorf("%s: Allow is %q", c.call, allow)
		}
	}
}

// A document that replaces another is shown at once, and so is a mode.
func TestNothingIsStale(t *testing.T) {
	s := serve(t, parse(t, openapi("Rooms", "rooms.opened", `"summary": "Before", `+body(`{"type": "object"}`, ""))))
	const path = "/api-hub/rooms/events/rooms.opened"
	before := s.call("GET", path)
	s.catalog.Put(parse(t, openapi("Rooms", "rooms.opened", `"summary": "After", `+body(`{"type": "object"}`, ""))))
	a := s.call("GET", path, "If-None-Match", before.header.Get("Etag"))
	if a.status != 200 || !strings.Contains(a.body, "After") || strings.Contains(a.body, "Before") || !strings.Contains(a.body, "Report: ") {
		t.Errorf("%d %s", a.status, a.body)
	}
	must(t, s.catalog.SetCheck("rooms.opened", hook.CheckStrict))
	if a := s.call("GET", path, "If-None-Match", a.header.Get("Etag")); a.status != 200 || !strings.Contains(a.body, "Strict: ") {
		t.Errorf("%d %s", a.status, a.body)
	}
	s.catalog.Put(parse(t, openapi("Rooms", "rooms.closed", "")))
	if a := s.call("GET", path); a.status != 404 {
		t.Errorf("what is gone is still there: %d", a.status)
	}
}

// What the page of an event type says of it.
func TestEventPage(t *testing.T) {
	for _, c := range []struct {
		name, operation string
		want, lacks     []string
	}{
		{"nothing", ``, []string{"It needs none: ", "By account: ", "None: any body is accepted", "There is no schema that can be used: has no schema for application/json", "<h2>Samples</h2>\n<p class=\"note\">The document has none.</p>"}, []string{`class="fields"`}},
		{"scopes", `"description": "Said.\n\n**Scopes:** a:read\n**Granular Scopes:** a:read:b"`, []string{"Apps that have any one of these", "<li><code>a:read</code></li>", `<li><code>a:read:b</code> <span class="tag">granular</span></li>`, "<p>Said.</p>"}, []string{"Scopes:"}},
		{"a carrier", `"x-switchhook-routing": "carrier"`, []string{"By carrier: "}, []string{"By account: "}},
		{"strict", `"x-switchhook-check": "strict", ` + body(`{}`, ""), []string{"Strict: ", `It is <span class="type">any value</span>.`}, nil},
		{"off", `"x-switchhook-check": "off", ` + body(`{}`, ""), []string{"Off: "}, nil},
		{"a schema that cannot be used", body(`{"$ref": "#"}`, ""), []string{"There is no schema that can be used: the schema cannot be used: "}, nil},
		{"a sample that does not fit", body(`{"properties": {"a": {"type": "integer"}}}`, `, "examples": {"odd": {"summary": "It is odd.", "value": {"a": "b"}}}`),
			[]string{"<h2>Sample</h2>", "<h3>odd</h3>", "<p>It is odd.</p>", "It does not fit the schema: /a must be integer, is string."}, nil},
		{"a sample that is made", body(`{"properties": {"event": {"type": "string"}}}`, ""), []string{"This one was made from the schema.", "{\n  &#34;event&#34;: &#34;a.b&#34;\n}"}, nil},
		{"a long sample", body(`{}`, `, "example": {"a": "`+strings.Repeat("x", maxSample)+`"}`), []string{"too large to be shown here: 65544 bytes"}, []string{"xxxx"}},
		{"a deep sample", body(`{}`, `, "example": {"a": `+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`}`), []string{"too large to be shown here: 206 bytes"}, []string{"[["}},
		{"many samples", body(`{}`, `, "examples": {`+manySamples(25)+`}`), []string{"<h3>s19</h3>", "5 more are in the OpenAPI document."}, []string{"<h3>s20</h3>"}},
		{"too many fields", body(`{"properties": {`+manyFields(700)+`}}`, ""), []string{"Not all of the schema is shown here.", "There are more fields than are shown here."}, []string{"f650"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, parse(t, openapi("Test", "a.b", c.operation)))
			got := s.page("/api-hub/test/events/a.b")
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("%s is not in %s", want, strings.Replace(got, string(style), "", 1))
				}
			}
			for _, lacks := range c.lacks {
				if strings.Contains(got, lacks) {
					t.Errorf("%s is in %s", lacks, strings.Replace(got, string(style), "", 1))
				}
			}
		})
	}
}

// The name of an event type is not said again where its description begins with it.
func TestNameInDescription(t *testing.T) {
	s := serve(t, parse(t, openapi("Test", "a_b.c_d", `"description": "# a_b.c_d\n---\nThe first words.\n\n## Why\n\nMore."`)))
	got := s.page("/api-hub/test/events/a_b.c_d")
	if n := strings.Count(got, `<p class="heading">`); n != 1 || !strings.Contains(got, "</h1>\n<p>The first words.</p>\n<p class=\"heading\">Why</p>\n<p>More.</p>\n") {
		t.Errorf("got %s", strings.Replace(got, string(style), "", 1))
	}
}

func manySamples(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`"s%d": {"value": {}}`, i))
	}
	return strings.Join(list, ",")
}

func manyFields(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`"f%d": {"type": "string"}`, i))
	}
	return strings.Join(list, ",")
}

// The list of a product has what can be said in a line, and an end.
func TestEventsPage(t *testing.T) {
	var hooks []string
	for i := range maxRows + 5 {
		hooks = append(hooks, fmt.Sprintf(`"a.b%04d": {"post": {"description": "The **first** words.\n\n**Scopes:** a"}}`, i))
	}
	first := parse(t, `{"openapi": "3.1.0", "info": {"title": "First"}, "webhooks": {`+strings.Join(hooks, ",")+`}}`)
	s := serve(t, first, parse(t, `{"openapi": "3.1.0", "info": {"title": "Second"}, "webhooks": {"a.b0001": {"post": {}}, "b.c": {"post": {}}}}`))
	got := s.page("/api-hub/first/events")
	if n := strings.Count(got, "<p>The first words.</p>"); n != maxRows || !strings.Contains(got, "2005 event types") || !strings.Contains(got, "5 more are in the OpenAPI document.") {
		t.Errorf("%d rows in %.5000s", n, got)
	}
	got = s.page("/api-hub/second/events")
	if strings.Contains(got, "a.b0001") || !strings.Contains(got, "1 more in its document belong to other products") || !strings.Contains(got, "1 event type,") {
		t.Errorf("got %s", got)
	}
	if a := s.call("GET", "/api-hub/second/events/a.b0001"); a.status != 404 {
		t.Errorf("what belongs to another has a page: %d", a.status)
	}
	if got := serve(t).page("/api-hub"); !strings.Contains(got, "There are no event types yet.") {
		t.Errorf("got %s", got)
	}
}

// tag is everything that may follow an opening angle bracket on a page.
var tag = regexp.MustCompile(`^<(?:` + strings.Join([]string{
	`!doctype html`, `html lang="en"`, `meta charset="utf-8"`, `meta name="(?:viewport|color-scheme)" content="[a-z0-9=, -]+"`,
	`a class="skip" href="#main"`, `a href="/api-hub(?:/[a-z0-9_]+/events(?:/(?:[A-Za-z0-9%!$()*,=:@._~-]|&(?:amp|#[0-9]+);)+|/webhooks\.json)?)?"`,
	`nav aria-label="Breadcrumb"`, `main id="main"`, `pre tabindex="0"`, `details open`,
	`(?:p|ul|dl|div|span|code) class="[a-z ]+"`,
	`/?(?:html|head|title|style|body|a|nav|ol|ul|li|main|footer|h1|h2|h3|p|code|pre|wbr|strong|em|dl|dt|dd|div|span|details|summary)`,
}, "|") + `)>`)

// sound fails if there is anything on a page that its template does not put there:
// an element or attribute that none of them has, or one that is not closed.
func sound(t testing.TB, path, page string) {
	t.Helper()
	text := strings.Replace(page, "<style>"+string(style)+"</style>", "", 1)
	var open []string
	for i := range len(text) {
		if text[i] != '<' {
			continue
		}
		m := tag.FindString(text[i:])
		if m == "" {
			t.Fatalf("%s: %.100q is on the page", path, text[i:])
		}
		name := strings.FieldsFunc(m, func(r rune) bool { return strings.ContainsRune("<> ", r) })[0]
		switch {
		case slices.Contains([]string{"!doctype", "meta", "wbr"}, name):
		case name[0] != '/':
			open = append(open, name)
		case len(open) == 0 || open[len(open)-1] != name[1:]:
			t.Fatalf("%s: %s closes %v", path, name, open)
		default:
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		t.Fatalf("%s: %v is not closed", path, open)
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && hook.Printable(string(r)) != string(r) }); i >= 0 {
		t.Fatalf("%s: %.20q is on the page", path, text[i:])
	}
}

// hostile is a document that has a text in every place that a page shows.
func hostile(text string) string {
	q := func(s string) string {
		b, _ := json.Marshal(s)
		return string(b)
	}
	x := q(text)
	schema := `{"title":X,"description":X,"type":"object","properties":{X:{"type":"string","format":X,"description":X,"example":X,"default":X,"enum":[X]},
		"l":{"type":"array","items":{"const":X}},"p":{"type":"object","patternProperties":{Y:{"description":X}}},"o":{"oneOf":[{"title":X},{"description":X}]},"t":{"type":X,"minimum":X}},"required":[X,"l"]}`
	webhook := `{"post":{"summary":X,"description":D,"x-switchhook-scopes":{"classic":[X],"granular":[X]},"requestBody":{"content":{"application/json":{
		"schema":` + schema + `,"examples":{X:{"summary":X,"value":{X:X}}}}}}}}`
	doc := `{"openapi":"3.1.0","x-switchhook-product":"hostile","info":{"title":X,"version":X,"description":D},"webhooks":{E:` + webhook + `,"plain":` + webhook + `}}`
	return strings.NewReplacer(
		"X", x, "Y", q(regexp.QuoteMeta(text)), "E", q(strings.NewReplacer("/", "", "{", "", "}", "").Replace(text)+"."),
		"D", q(text+"\n\n# "+text+"\n* "+text+"\n\n`"+text+"` **"+text+"**\n```\n"+text+"\n```\n["+text+"]("+text+")"),
	).Replace(doc)
}

// eventPaths are where the event types of a document have their pages. Those that
// are called like a step in a path no browser would ask for.
func eventPaths(doc *catalog.Document) (list []string) {
	for _, t := range doc.Types {
		if t.Name != "." && t.Name != ".." {
			list = append(list, eventPath(doc.Product, t.Name))
		}
	}
	return list
}

// pagesOf looks at all pages of a site.
func (s *site) pagesOf(doc *catalog.Document) (all string) {
	s.t.Helper()
	all = s.page("/api-hub") + s.page(eventsPath(doc.Product))
	for _, path := range eventPaths(doc) {
		all += s.page(path)
	}
	return all
}

// Nothing that a document says can become part of a page's structure.
func TestHostileDocument(t *testing.T) {
	for _, text := range []string{
		`<script>alert(1)</script>`,
		`"><img src=x onerror=alert(1)>`,
		`' onmouseover='alert(1)`,
		`</code></pre></style><style>*{display:none}</style>`,
		`<!--`, `-->`, `<![CDATA[`, `<`, `&lt;script&gt;`, `]]>`,
		"`<b>`**<i>**", `[x](javascript:alert(1))`, `javascript:alert(1)`,
		`{{.}}`, `{{template "top"}}`, "\u202etxt.exe", "\u0000\u001b[31m", "\ufeff\u2028",
		`../../x`, `?a=b#c`, `%3Cscript%3E`,
	} {
		t.Run(text, func(t *testing.T) {
			doc := parse(t, hostile(text))
			if len(doc.Types) == 0 {
				t.Fatal("there is no event type")
			}
			serve(t, doc).pagesOf(doc)
		})
	}
}

// FuzzPages looks for a text that becomes more than text.
func FuzzPages(f *testing.F) {
	f.Add(`<script>`)
	f.Add("** `a` **\n> # [<b>](c)\n1. x")
	f.Fuzz(func(t *testing.T, text string) {
		doc, err := catalog.Parse([]byte(hostile(text)))
		if err != nil {
			return
		}
		k := New(Config{Catalog: catalog.New(doc), Next: http.NotFoundHandler(), Log: slog.New(slog.DiscardHandler)})
		for _, path := range append([]string{"/api-hub", eventsPath(doc.Product)}, eventPaths(doc)...) {
			w := httptest.NewRecorder()
			k.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
			if w.Code != 200 {
				t.Fatalf("%s: %d", path, w.Code)
			}
			sound(t, path, w.Body.String())
		}
	})
}

// No schema makes a page that is large, or takes long.
func TestPagesAreBounded(t *testing.T) {
	deep := `{}`
	for range 200 {
		deep = `{"properties": {"a": ` + deep + `}}`
	}
	var chain []string
	for i := range 14 {
		chain = append(chain, fmt.Sprintf(`"S%d": {"properties": {"a": {"$ref": "#/components/schemas/S%[2]d"}, "b": {"$ref": "#/components/schemas/S%[2]d"}}}`, i, i+1))
	}
	for name, c := range map[string]struct{ schema, components string }{
		"nested 200 times":    {deep, ""},
		"2900 fields":         {`{"properties": {` + manyFields(2900) + `}}`, ""},
		"a text of 5 MB":      {`{"description": "` + strings.Repeat("<", 5<<20) + `"}`, ""},
		"fields that double":  {`{"$ref": "#/components/schemas/S0"}`, strings.Join(chain, ",") + `, "S14": {}`},
		"a ring":              {`{"$ref": "#/components/schemas/A"}`, `"A": {"$ref": "#/components/schemas/B"}, "B": {"$ref": "#/components/schemas/A"}`},
		"a tree":              {`{"$ref": "#/components/schemas/A"}`, `"A": {"properties": {"in": {"$ref": "#/components/schemas/A"}}}`},
		"itself by all means": {`{"$ref": "#/components/schemas/A"}`, `"A": {"allOf": [{"$ref": "#/components/schemas/A"}], "properties": {"a": {"$ref": "#"}}}`},
		"long names":          {`{"properties": {"` + strings.Repeat("<", 500_000) + `": {"enum": ["` + strings.Repeat("&", 500_000) + `"]}}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			doc := parse(t, `{"openapi": "3.1.0", "info": {"title": "T", "description": "`+strings.Repeat("x ", 1<<20)+`"}, "webhooks": {"a.b": {"post": {"description": "`+strings.Repeat("<", 1<<20)+
				`", `+body(c.schema, "")+`}}}, "components": {"schemas": {`+c.components+`}}}`)
			if all := serve(t, doc).pagesOf(doc); len(all) > 1<<20 {
				t.Errorf("the pages have %d bytes", len(all))
			}
		})
	}
	// What is nested deeper than any document may be is no document.
	if _, err := catalog.Parse([]byte(openapi("T", "a.b", body(strings.Repeat(`{"items":`, 10_000)+"{}"+strings.Repeat("}", 10_000), "")))); err == nil {
		t.Error("10,000 levels are read")
	}
}

// What is made of the Markdown in descriptions.
func TestProse(t *testing.T) {
	for in, want := range map[string]string{
		"":                                 "",
		"One\ntwo\n\nthree":                "<p>One two</p> <p>three</p>",
		"# Title #\nText":                  `<p class="heading">Title</p> <p>Text</p>`,
		"* one\n* two\n  on\n\nafter":      "<ul> <li>one</li> <li>two on</li> </ul> <p>after</p>",
		"1. one\n\n2) two":                 "<ul> <li>one</li> <li>two</li> </ul>",
		"> quoted\n---\nrest":              "<p>quoted</p> <p>rest</p>",
		"a `b` **c** __d__ **`e`** f_g_h":  "<p>a <code>b</code> <strong>c</strong> <strong>d</strong> <strong><code>e</code></strong> f_g_h</p>",
		"a ` b ** c *d* __ _e_":            "<p>a ` b ** c *d* __ _e_</p>",
		"see [the guide](https://x.test/)": "<p>see the guide</p>",
		"one</br>two<BR/>three":            "<p>one two three</p>",
		"```\n<a>\n  b\n```\nc":            "<pre>&lt;a&gt; b</pre> <p>c</p>",
		"```\nnever closed":                "<pre>never closed</pre>",
		"a\x1b[31m\tb\u202e":               `<p>a\u001b[31m b\u202e</p>`,
	} {
		var b strings.Builder
		must(t, pages.ExecuteTemplate(&b, "prose", prose(in)))
		if got := strings.Join(strings.Fields(b.String()), " "); got != want {
			t.Errorf("%q is %s, want %s", in, got, want)
		}
	}
}
