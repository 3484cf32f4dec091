package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// description is the API's description, ready to hold answers against.
type description struct {
	root       any
	operations map[string]*operation // by the pattern of the route
	schemas    func(place string) (*jsonschema.Schema, error)
}

// operation is a call as the description has it.
type operation struct {
	object   map[string]any
	place    string                    // a JSON pointer to it
	query    map[string]map[string]any // its parameters, by name
	answers  map[int]string            // places of its answers, by status
	request  string                    // place of its body, or empty
	scopes   []string                  // what it takes, each as scheme and scope
	operator bool                      // it is the operator API's, which is strict
}

// theDescription is read once for all tests.
var theDescription = sync.OnceValues(func() (*description, error) {
	text, err := openAPIJSON()
	if err != nil {
		return nil, err
	}
	return readDescription(text)
})

func readDescription(text []byte) (*description, error) {
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	const name = "https://switchhook.test/openapi.json"
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(name, root); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	compiled := map[string]*jsonschema.Schema{}
	d := &description{root: root, operations: map[string]*operation{}}
	d.schemas = func(place string) (*jsonschema.Schema, error) {
		mu.Lock()
		defer mu.Unlock()
		if s := compiled[place]; s != nil {
			return s, nil
		}
		s, err := c.Compile(name + "#" + (&url.URL{Path: place}).EscapedPath())
		compiled[place] = s
		return s, err
	}
	for path, item := range object(d.at("/paths")) {
		for method, op := range object(item) {
			if method == "parameters" {
				continue
			}
			o := &operation{object: object(op), place: "/paths/" + escape(path) + "/" + method, query: map[string]map[string]any{}, answers: map[int]string{}, operator: strings.HasPrefix(path, operator)}
			for _, list := range []any{object(item)["parameters"], o.object["parameters"]} {
				all, _ := list.([]any)
				for _, p := range all {
					if q := d.follow(p); q["in"] == "query" {
						o.query[q["name"].(string)] = q
					}
				}
			}
			for status := range object(o.object["responses"]) {
				n, err := strconv.Atoi(status)
				if err != nil {
					return nil, err
				}
				o.answers[n] = d.real(o.place + "/responses/" + status)
			}
			if o.object["requestBody"] != nil {
				o.request = d.real(o.place + "/requestBody")
			}
			security, _ := o.object["security"].([]any)
			for _, s := range security {
				for scheme, scopes := range object(s) {
					list, _ := scopes.([]any)
					for _, scope := range list {
						o.scopes = append(o.scopes, fmt.Sprint(scheme, " ", scope))
					}
				}
			}
			d.operations[strings.ToUpper(method)+" "+path] = o
		}
	}
	return d, nil
}

func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

func escape(s string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(s) }

// at returns what is at a place, or nil.
func (d *description) at(place string) any {
	v := d.root
	for step := range strings.SplitSeq(strings.TrimPrefix(place, "/"), "/") {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		if list, ok := v.([]any); ok {
			if i, err := strconv.Atoi(step); err == nil && i < len(list) {
				v = list[i]
				continue
			}
		}
		v = object(v)[step]
	}
	return v
}

// real returns the place that a reference at a place leads to, or the place itself.
func (d *description) real(place string) string {
	if ref, ok := object(d.at(place))["$ref"].(string); ok {
		return strings.TrimPrefix(ref, "#")
	}
	return place
}

// follow returns what a reference leads to, or the value itself.
func (d *description) follow(v any) map[string]any {
	if ref, ok := object(v)["$ref"].(string); ok {
		return object(d.at(strings.TrimPrefix(ref, "#")))
	}
	return object(v)
}

// check returns what is wrong with a text under the schema of a media type.
func (d *description) check(content, media, text string) error {
	place := content + "/" + escape(media)
	if d.at(place) == nil {
		return fmt.Errorf("%s is not among the content types of %s", media, content)
	}
	s, err := d.schemas(place + "/schema")
	if err != nil {
		return err
	}
	if media == "text/csv" {
		return s.Validate(text)
	}
	pieces := []string{text}
	if object(d.at(place))["x-each-line"] == true {
		pieces = strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	}
	for _, p := range pieces {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(p))
		if err == nil {
			err = s.Validate(v)
		}
		if err != nil {
			return fmt.Errorf("%w in %.500s", err, p)
		}
	}
	return nil
}

// exchange is a request with its answer.
type exchange struct {
	pattern string // of the route
	req     *http.Request
	body    string
	status  int
	header  http.Header
	answer  string
}

// differs says where the description and an exchange disagree.
func (d *description) differs(x exchange) (problems []string) {
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	content := ""
	o := d.operations[x.pattern]
	switch {
	case (x.pattern == "/" || x.pattern == "") && (x.status == http.StatusNotFound || x.status == http.StatusMethodNotAllowed):
		content = "/components/responses/NotFound/content"
		x.answer = strings.Replace(x.answer, `"code":405`, `"code":404`, 1) // which the text at the top says
	case o == nil:
		problem("the call is not described")
		return problems
	case o.answers[x.status] == "":
		problem("status %d is not described", x.status)
		return problems
	default:
		place := o.answers[x.status]
		for name, h := range object(object(d.at(place))["headers"]) {
			if d.follow(h)["required"] == true && x.header.Get(name) == "" {
				problem("the answer lacks the header %s", name)
			}
		}
		if d.at(place+"/content") != nil {
			content = place + "/content"
		}
		problems = append(problems, d.requestDiffers(o, x)...)
	}
	media, _, _ := mime.ParseMediaType(x.header.Get("Content-Type"))
	switch {
	case x.req.Method == http.MethodHead, content == "":
		if x.answer != "" && x.req.Method != http.MethodHead {
			problem("the answer has a body: %.200s", x.answer)
		}
	case media == "text/event-stream":
		for event := range strings.SplitSeq(x.answer, "\n\n") {
			_, data, ok := strings.Cut("\n"+event, "\ndata: ")
			if !ok || !strings.HasSuffix(data, "}") || strings.Contains(event, "event: ") { // cut off, or something else than a row
				continue
			}
			if err := d.check(content, media, data); err != nil {
				problem("an event: %v", err)
			}
		}
	default:
		if err := d.check(content, media, x.answer); err != nil {
			problem("the answer: %v", err)
		}
	}
	return problems
}

// requestDiffers says where the description and a request disagree that was accepted.
func (d *description) requestDiffers(o *operation, x exchange) (problems []string) {
	if x.status >= 300 {
		return nil
	}
	if o.operator {
		for name := range x.req.URL.Query() {
			if o.query[name] == nil {
				problems = append(problems, fmt.Sprintf("the parameter %s is not described", name))
			}
		}
	}
	if o.request == "" || x.body == "" && object(d.at(o.request))["required"] != true {
		return problems
	}
	media, _, _ := mime.ParseMediaType(x.req.Header.Get("Content-Type"))
	content := o.request + "/content"
	switch {
	case media == "application/x-www-form-urlencoded" && d.at(content+"/"+escape(media)) != nil:
		form, err := url.ParseQuery(x.body)
		if err != nil {
			return append(problems, err.Error())
		}
		values := map[string]string{}
		for name := range form {
			values[name] = form.Get(name)
		}
		text, _ := json.Marshal(values)
		x.body = string(text)
	case d.at(content+"/text~1csv") != nil: // and nothing else
	case strings.HasPrefix(x.header.Get("Content-Type"), "application/x-ndjson") && d.at(content+"/application~1x-ndjson") != nil:
		media = "application/x-ndjson"
	case json.Valid([]byte(x.body)) || d.at(content+"/application~1yaml") == nil:
		media = "application/json" // whatever it is called
	default:
		return problems // YAML
	}
	for _, text := range accepted(x) {
		if err := d.check(content, media, text); err != nil {
			problems = append(problems, fmt.Sprintf("the request, which was accepted: %v", err))
		}
	}
	return problems
}

// accepted returns what was accepted of a request: all of it, unless it is a batch.
func accepted(x exchange) (all []string) {
	var answers []json.RawMessage
	var items []json.RawMessage
	switch {
	case x.pattern != "POST /v2/events":
		return []string{x.body}
	case strings.HasPrefix(x.header.Get("Content-Type"), "application/x-ndjson"):
		for line := range strings.Lines(x.answer) {
			answers = append(answers, json.RawMessage(line))
		}
		for line := range strings.Lines(x.body) {
			if strings.TrimSpace(line) != "" {
				items = append(items, json.RawMessage(line))
			}
		}
		answers = answers[:min(len(answers), len(items))] // the last one sums up
	case strings.HasPrefix(strings.TrimSpace(x.body), "["):
		var batch struct{ Items []json.RawMessage }
		if json.Unmarshal([]byte(x.answer), &batch) != nil || json.Unmarshal([]byte(x.body), &items) != nil {
			return []string{x.body} // which says what is wrong
		}
		answers = batch.Items
	default:
		return []string{x.body}
	}
	for i, a := range answers {
		if bytes.Contains(a, []byte(`"event_id"`)) {
			all = append(all, string(items[i]))
		}
	}
	return all
}

// described returns a handler whose every answer, and every request that it accepts, has
// to be as the description says, or the test fails.
func described(t testing.TB, next http.Handler) http.Handler {
	t.Helper()
	if _, test := t.(*testing.T); !test {
		return next // a benchmark would measure it, and a fuzz target reports by itself
	}
	d, err := theDescription()
	must(t, err)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		seen := &answerRecorder{ResponseWriter: w, status: http.StatusOK}
		if r.Body != nil {
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.TeeReader(r.Body, &body), r.Body}
		}
		next.ServeHTTP(seen, r)
		x := exchange{r.Pattern, r, body.String(), seen.status, w.Header(), seen.body.String()}
		answered.Store(fmt.Sprintf("%s: %d", x.pattern, x.status), true)
		for _, p := range d.differs(x) {
			t.Errorf("%s %s, answered with status %d, is not as openapi.yaml says: %s", r.Method, r.URL, seen.status, p)
		}
	})
}

// answered notes which calls were answered with which status.
var answered sync.Map

// Each answer that is described is given in some test, but for those that say that the
// platform fails.
func TestMain(m *testing.M) {
	code := m.Run()
	all := true // tests are run
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.fuzz"} {
		all = all && flag.Lookup(name).Value.String() == ""
	}
	d, err := theDescription()
	if code == 0 && all && err == nil {
		for pattern, o := range d.operations {
			for status := range o.answers {
				if _, ok := answered.Load(fmt.Sprintf("%s: %d", pattern, status)); !ok && status < 500 {
					fmt.Fprintf(os.Stderr, "no test sees the answer of %s with status %d, which openapi.yaml describes\n", pattern, status)
					code = 1
				}
			}
		}
	}
	os.Exit(code)
}

// answerRecorder notes an answer.
type answerRecorder struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (w *answerRecorder) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *answerRecorder) Write(b []byte) (int, error) {
	w.body.Write(b)
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *answerRecorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Who wants to know what can be called needs no key for that.
func TestDescriptionIsServed(t *testing.T) {
	p := newPlatform(t, options{idle: true})
	a := p.want(200, "GET", operator+"/openapi.json", "", with(""))
	text, err := openAPIJSON()
	must(t, err)
	if a.body != string(text)+"\n" || a.header.Get("Content-Type") != "application/json; charset=utf-8" || !strings.HasPrefix(a.body, `{"openapi":"3.1.0","info":{"title":"Switchhook"`) {
		t.Errorf("served is %v %.200s", a.header, a.body)
	}
	p.want(200, "HEAD", operator+"/openapi.json", "", with(""))
}

// Every call of the API is described, with the scopes that it takes, and no others.
func TestEveryCallIsDescribed(t *testing.T) {
	d, err := theDescription()
	must(t, err)
	want := map[string][]string{
		"POST /oauth/token":                 nil,
		"GET /health":                       nil,
		"GET " + operator + "/openapi.json": nil,

		"GET /api-hub/{product}/events/webhooks.json": nil,
	}
	for pattern, r := range (&api{}).routes() {
		switch door := r.door.(type) {
		case key:
			want[pattern] = []string{"operatorKey " + string(door)}
		case keyOrApp:
			want[pattern] = []string{"operatorKey " + string(door.key)}
			for _, s := range door.scopes {
				want[pattern] = append(want[pattern], "accessToken "+s)
			}
		case access:
			for _, s := range door.scopes {
				want[pattern] = append(want[pattern], "accessToken "+s)
			}
			if o := d.operations[pattern]; o != nil && o.object["x-rate-limit-label"] != door.String() {
				t.Errorf("%s is %s, and described as %v", pattern, door.weight, o.object["x-rate-limit-label"])
			}
		default:
			t.Errorf("%s has a door that nobody knows", pattern)
		}
	}
	for pattern, scopes := range want {
		switch o := d.operations[pattern]; {
		case o == nil:
			t.Errorf("%s is not described", pattern)
		case !slices.Equal(o.scopes, scopes):
			t.Errorf("%s takes %q, and is described to take %q", pattern, scopes, o.scopes)
		}
	}
	for pattern := range d.operations {
		if _, ok := want[pattern]; !ok {
			t.Errorf("%s is described and cannot be called", pattern)
		}
	}
}

// The description is OpenAPI 3.1, by the schema of those who define it; what its schemas
// say can be checked, and its examples are as it says.
func TestDescriptionIsOpenAPI(t *testing.T) {
	d, err := theDescription()
	must(t, err)
	raw, err := os.ReadFile("testdata/openapi-3.1.schema.json")
	must(t, err)
	meta, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	must(t, err)
	c := jsonschema.NewCompiler()
	name := object(meta)["$id"].(string)
	must(t, c.AddResource(name, meta))
	whole, err := c.Compile(name)
	must(t, err)
	if err := whole.Validate(d.root); err != nil {
		t.Errorf("it is not OpenAPI 3.1: %v", err)
	}

	ids, tags := map[any]bool{}, map[any]bool{}
	for _, tag := range d.at("/tags").([]any) {
		tags[object(tag)["name"]] = false
	}
	for pattern, o := range d.operations {
		id := o.object["operationId"]
		if id == nil || ids[id] || o.object["summary"] == nil || o.object["security"] == nil {
			t.Errorf("%s lacks a name of its own, a summary, or what it takes to call it", pattern)
		}
		ids[id] = true
		for _, tag := range o.object["tags"].([]any) {
			if _, ok := tags[tag]; !ok {
				t.Errorf("%s has the tag %v, which is not explained", pattern, tag)
			}
			tags[tag] = true
		}
		for _, name := range wildcard.FindAllStringSubmatch(pattern, -1) {
			if !strings.Contains(placeholders(d, o), " path "+name[1]+" ") {
				t.Errorf("%s: {%s} is not described", pattern, name[1])
			}
		}
	}
	for tag, used := range tags {
		if !used {
			t.Errorf("the tag %v is of no use", tag)
		}
	}

	// Every reference leads somewhere, every schema can be compiled, every example fits, and
	// what is defined is used.
	used := map[string]bool{}
	walkDocument(d.root, "", func(place string, v any) {
		m := object(v)
		for name, x := range m {
			if x == nil {
				t.Errorf("%s has %q without a value: is that the rest of a text with a comma?", place, name)
			}
		}
		if ref, ok := m["$ref"].(string); ok {
			used[ref] = true
			if !strings.HasPrefix(ref, "#/components/") || d.at(ref[1:]) == nil {
				t.Errorf("%s refers to %s, where nothing is", place, ref)
			}
		}
		schema, example := m["schema"], m["example"]
		if schema == nil || strings.HasSuffix(place, "/properties") {
			return
		}
		s, err := d.schemas(place + "/schema")
		if err != nil {
			t.Errorf("%s: %v", place, err)
			return
		}
		if example != nil {
			if err := s.Validate(example); err != nil {
				t.Errorf("the example at %s: %v", place, err)
			}
		}
	})
	for kind, all := range object(d.at("/components")) {
		for name := range object(all) {
			if kind != "securitySchemes" && !used["#/components/"+kind+"/"+name] {
				t.Errorf("component %s/%s is of no use", kind, name)
			}
		}
	}
	for name := range object(d.at("/components/schemas")) {
		if _, err := d.schemas("/components/schemas/" + name); err != nil {
			t.Errorf("schema %s: %v", name, err)
		}
	}
}

var wildcard = regexp.MustCompile(`\{([a-z_]+)\}`)

// placeholders lists an operation's parameters, with where they are.
func placeholders(d *description, o *operation) string {
	text := " "
	path := o.place[:strings.LastIndex(o.place, "/")]
	for _, list := range []any{d.at(path + "/parameters"), o.object["parameters"]} {
		all, _ := list.([]any)
		for _, p := range all {
			text += fmt.Sprint(d.follow(p)["in"], " ", d.follow(p)["name"], " ")
		}
	}
	return text
}

// walkDocument visits everything in a document.
func walkDocument(v any, place string, visit func(place string, v any)) {
	visit(place, v)
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if k != "example" {
				walkDocument(x, place+"/"+escape(k), visit)
			}
		}
	case []any:
		for i, x := range v {
			walkDocument(x, fmt.Sprint(place, "/", i), visit)
		}
	}
}

// What answers have in them is all described: no object of theirs is left open.
func TestAnswersAreClosed(t *testing.T) {
	d, err := theDescription()
	must(t, err)
	var check func(place string, closed bool)
	seen := map[string]bool{}
	check = func(place string, closed bool) {
		m := object(d.at(place))
		closed = closed || m["additionalProperties"] == false || m["unevaluatedProperties"] == false
		at := fmt.Sprint(place, closed)
		if seen[at] {
			return
		}
		seen[at] = true
		if m["properties"] != nil && !closed && m["$ref"] == nil {
			t.Errorf("%s may have more members than it says", place)
		}
		if ref, ok := m["$ref"].(string); ok {
			check(ref[1:], m["unevaluatedProperties"] == false)
		}
		for _, list := range []string{"oneOf", "anyOf", "allOf"} {
			all, _ := m[list].([]any)
			for i := range all {
				check(fmt.Sprint(place, "/", list, "/", i), false)
			}
		}
		for name := range object(m["properties"]) {
			check(place+"/properties/"+escape(name), false)
		}
		if m["items"] != nil {
			check(place+"/items", false)
		}
	}
	for _, o := range d.operations {
		for _, place := range o.answers {
			for media := range object(d.at(place + "/content")) {
				check(place+"/content/"+escape(media)+"/schema", false)
			}
		}
	}
	if len(seen) < 50 {
		t.Errorf("only %d schemas were looked at", len(seen))
	}
}

// Whatever an answer or an accepted request has that is not described is found.
func TestDriftIsFound(t *testing.T) {
	d, err := theDescription()
	must(t, err)
	const account = `{"id":"acme","users":[{"id":"ann"}],"user_groups":[]}`
	put := func(edit func(*exchange)) []string {
		x := exchange{
			pattern: "PUT " + operator + "/accounts/{id}", req: httptest.NewRequest("PUT", operator+"/accounts/acme", nil), body: `{"name":"Acme"}`,
			status: 200, header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}, answer: account,
		}
		edit(&x)
		return d.differs(x)
	}
	fault := func(status, code int) func(*exchange) {
		return func(x *exchange) {
			x.status, x.answer = status, fmt.Sprintf(`{"code":%d,"message":"m"}`, code)
		}
	}
	for name, c := range map[string]struct {
		edit func(*exchange)
		want string
	}{
		"nothing":                {func(*exchange) {}, ""},
		"a fault":                {fault(413, 413), ""},
		"another call":           {func(x *exchange) { x.pattern = "PUT /operator/v1/customers/{id}" }, "the call is not described"},
		"another method":         {func(x *exchange) { x.pattern = "PATCH " + operator + "/accounts/{id}" }, "the call is not described"},
		"another status":         {fault(409, 409), "status 409 is not described"},
		"another code":           {fault(413, 300), "value must be 413"},
		"a new member":           {func(x *exchange) { x.answer = strings.Replace(account, `"id"`, `"plan":1,"id"`, 1) }, "additional properties 'plan' not allowed"},
		"a new member below":     {func(x *exchange) { x.answer = strings.Replace(account, `"ann"`, `"ann","mail":""`, 1) }, "additional properties 'mail' not allowed"},
		"no member":              {func(x *exchange) { x.answer = strings.Replace(account, `,"user_groups":[]`, "", 1) }, "missing property 'user_groups'"},
		"null":                   {func(x *exchange) { x.answer = strings.Replace(account, "[]", "null", 1) }, "got null, want array"},
		"another type":           {func(x *exchange) { x.answer = strings.Replace(account, `"acme"`, "7", 1) }, "got number, want string"},
		"another content type":   {func(x *exchange) { x.header = http.Header{"Content-Type": {"text/html"}} }, "text/html is not among the content types"},
		"no body":                {func(x *exchange) { x.answer = "" }, "EOF"},
		"no header":              {fault(401, 124), "lacks the header WWW-Authenticate"},
		"a new parameter":        {func(x *exchange) { x.req = httptest.NewRequest("PUT", "/?force=true", nil) }, "the parameter force is not described"},
		"a new member asked for": {func(x *exchange) { x.body = `{"plan":"free"}` }, "the request, which was accepted"},
		"another type asked for": {func(x *exchange) { x.body = `{"name":7}` }, "the request, which was accepted"},
		"a body where none is": {func(x *exchange) {
			x.pattern, x.status = "DELETE "+operator+"/apps/{id}", 204
		}, "the answer has a body"},
		"a member within a union": {func(x *exchange) {
			x.pattern, x.status, x.body = "POST /v2/events", 202, `{"event":"x","payload":{}}`
			x.answer = `{"event_id":"1b8d59f5_8000_0000","deliveries":0,"queue":1}`
		}, "additional properties 'queue' not allowed"},
		"a line of a stream": {func(x *exchange) {
			x.pattern, x.status, x.body = "POST /v2/events", 202, "{\"event\":\"x\",\"payload\":{}}\n"
			x.header = http.Header{"Content-Type": {"application/x-ndjson"}}
			x.answer = "{\"event_id\":\"1b8d59f5_8000_0000\",\"deliveries\":0}\n{\"accepted\":1,\"failed\":0,\"done\":true}\n"
		}, "additional properties 'done' not allowed"},
		"an accepted item": {func(x *exchange) {
			x.pattern, x.status, x.body = "POST /v2/events", 202, `[{},{"event":"x"}]`
			x.answer = `{"accepted":1,"failed":1,"items":[{"index":0,"code":300,"message":"m"},{"event_id":"1b8d59f5_8000_0000","deliveries":0}]}`
		}, "missing property 'payload'"},
		"no such call":               {func(x *exchange) { fault(404, 404)(x); x.pattern = "/" }, ""},
		"no such method":             {func(x *exchange) { fault(405, 405)(x); x.pattern = "/" }, ""},
		"no such call, told oddly":   {func(x *exchange) { fault(404, 300)(x); x.pattern = "/" }, "value must be 404"},
		"a member that is a subtype": {func(x *exchange) { x.answer = strings.Replace(account, `"acme"`, `"a b"`, 1) }, "does not match pattern"},
	} {
		problems := strings.Join(put(c.edit), "\n")
		if (problems == "") != (c.want == "") || !strings.Contains(problems, c.want) {
			t.Errorf("%s: found %q, want %q", name, problems, c.want)
		}
	}
}

// Every code that an answer may have is described.
func TestCodesAreDescribed(t *testing.T) {
	d, err := theDescription()
	must(t, err)
	codes := map[int]map[string]bool{} // of each status
	for _, o := range d.operations {
		for status, place := range o.answers {
			schema := place + "/content/application~1json/schema"
			for _, at := range []string{schema, d.real(schema)} {
				code := object(object(object(d.at(at))["properties"])["code"])
				list, _ := code["enum"].([]any)
				for _, n := range append(list, code["const"]) {
					if codes[status] == nil {
						codes[status] = map[string]bool{}
					}
					codes[status][fmt.Sprint(n)] = true
				}
			}
		}
	}
	for kind, c := range contract {
		if !codes[c.status][strconv.Itoa(c.code)] {
			t.Errorf("kind %d: code %d is not described for status %d", kind, c.code, c.status)
		}
	}
}
