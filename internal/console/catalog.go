package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/webhook"
)

// Bounds of a page. What is beyond them is in the OpenAPI document, and the page
// says so.
const (
	maxRows    = 2000
	maxSamples = 20
	maxSample  = 64 << 10 // as it is shown
	maxNested  = 64       // levels of a sample
	maxFaults  = 5        // of a sample
	allOpen    = 80       // fields up to which none is folded
)

var products = link{"/api-hub", "Event catalog"}

// productRow is a product in the list of all.
type productRow struct {
	link
	Product, Version string
	Events           int
	About            []block
}

func (k *console) products(*http.Request) view {
	var rows []productRow
	for _, d := range k.Catalog.Documents() {
		_, types, ok := k.Catalog.Product(d.Product)
		if !ok {
			continue // since a moment ago
		}
		about := prose(d.Description)
		rows = append(rows, productRow{link{eventsPath(d.Product), titleOf(d)}, d.Product, d.Version, len(types), about[:min(len(about), 1)]})
	}
	return view{status: http.StatusOK, template: "products", Title: products.Text, Data: rows}
}

func titleOf(d *catalog.Document) string {
	if title := strings.TrimSpace(d.Title); title != "" {
		return title
	}
	return d.Product
}

// eventList is what the page of a product shows.
type eventList struct {
	Product, Version, JSON string
	About                  []block
	Rows                   []eventRow
	// More are event types that the page has no room for, Elsewhere those that
	// another product has already.
	More, Elsewhere int
}

type eventRow struct{ Href, Name, Lead string }

func (k *console) events(r *http.Request) view {
	d, types, ok := k.Catalog.Product(r.PathValue("product"))
	if !ok {
		return missing("There is no such product in the catalog.", products)
	}
	l := eventList{
		Product: d.Product, Version: d.Version, JSON: jsonPath(d), About: prose(d.Description), Elsewhere: len(d.Types) - len(types),
		More: max(0, len(types)-maxRows),
	}
	for _, t := range types[:len(types)-l.More] {
		l.Rows = append(l.Rows, eventRow{eventPath(d.Product, t.Name), t.Name, t.Lead})
	}
	return view{status: http.StatusOK, template: "events", Title: titleOf(d), Trail: []link{products}, Data: l}
}

func jsonPath(d *catalog.Document) string { return eventsPath(d.Product) + "/webhooks.json" }

// aboutOf returns the description of an event type but for its name above it, which
// the page has already.
func aboutOf(t *catalog.Type) []block {
	about := prose(t.Prose())
	if len(about) > 0 && about[0].Heading && len(about[0].Spans) == 1 && about[0].Spans[0].Text == t.Name {
		about = about[1:]
	}
	return about
}

// eventPage is what the page of an event type shows.
type eventPage struct {
	*catalog.Type
	About   []block
	JSON    string
	Carrier bool // it goes by carrier code
	Mode    string
	// Broken says why there is no schema.
	Broken   string
	Body     field
	Complete bool
	Headers  []header
	Samples  []sample
	// More are samples that the page has no room for.
	More int
}

// field is a field with all that a template needs to show it.
type field struct {
	catalog.Field
	About []block
	Open  bool
	Parts []field
}

// header is a header of a request.
type header struct{ Name, Value, About string }

// sample is an example of a body.
type sample struct {
	Name, Summary, Text string
	// Size is that of a sample that is not shown.
	Size int
	// Faults say where it does not fit the schema.
	Faults []string
}

func (k *console) event(r *http.Request) view {
	d, types, ok := k.Catalog.Product(r.PathValue("product"))
	if !ok {
		return missing("There is no such product in the catalog.", products)
	}
	trail := []link{products, {eventsPath(d.Product), titleOf(d)}}
	for _, t := range types {
		if t.Name == r.PathValue("event") {
			return view{status: http.StatusOK, template: "event", Title: t.Name, Trail: trail, Data: showEvent(d, t)}
		}
	}
	return missing("The product has no such event type.", trail...)
}

func showEvent(d *catalog.Document, t *catalog.Type) eventPage {
	body, complete := t.Body()
	p := eventPage{
		Type: t, About: aboutOf(t), JSON: jsonPath(d), Carrier: t.Routing == hook.ByCarrier, Mode: t.EventType.Check.String(),
		Body: showField(body, 0, count(body) <= allOpen), Complete: complete, Headers: headers, More: max(0, len(t.Samples)-maxSamples),
	}
	for _, n := range d.Notes {
		if n.Level == catalog.Unchecked && n.EventType == t.Name {
			p.Broken = n.Message
		}
	}
	for _, s := range t.Samples[:len(t.Samples)-p.More] {
		p.Samples = append(p.Samples, showSample(t, s))
	}
	if len(t.Samples) == 0 {
		if made := t.MadeSample(); made != nil {
			p.Samples = []sample{showSample(t, catalog.Sample{Summary: "The document has no sample. This one was made from the schema.", Body: made})}
		}
	}
	return p
}

func count(f catalog.Field) int {
	n := 1
	for _, part := range f.Fields {
		n += count(part)
	}
	return n
}

func showField(f catalog.Field, depth int, open bool) field {
	const firstOpen = 2 // what every event has
	v := field{Field: f, About: prose(f.Description), Open: open || depth <= firstOpen}
	for _, part := range f.Fields {
		v.Parts = append(v.Parts, showField(part, depth+1, open))
	}
	return v
}

func showSample(t *catalog.Type, s catalog.Sample) sample {
	v := sample{Name: s.Name, Summary: s.Summary}
	var b bytes.Buffer
	if len(s.Body) > maxSample || nesting(s.Body) > maxNested || json.Indent(&b, s.Body, "", "  ") != nil || b.Len() > maxSample {
		v.Size = len(s.Body)
		return v
	}
	lines := strings.Split(b.String(), "\n")
	for i, line := range lines {
		lines[i] = plain(line)
	}
	v.Text = strings.Join(lines, "\n")
	for i, f := range t.Check(s.Body) {
		if i == maxFaults {
			v.Faults = append(v.Faults, "and more")
			break
		}
		v.Faults = append(v.Faults, f.String())
	}
	return v
}

// nesting returns how deep objects and arrays are nested in JSON: indenting them
// takes room by the square of that.
func nesting(text []byte) int {
	depth, deepest := 0, 0
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case quoted:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

// headers are those of every request that carries an event.
var headers = []header{
	{"content-type", webhook.ContentType, "Always this."},
	{low(webhook.HeaderTimestamp), "1767960313", "When this attempt was sent, in seconds since 1970. Refuse what is older than five minutes."},
	{low(webhook.HeaderSignature), "v0=6b1293bf404253c953bba7875453e5da25916feef3698d62e939225ed35b9338", "v0= and, in hex, the HMAC-SHA-256 of v0:timestamp:body under the app's secret token. The body is meant as it arrives, byte for byte."},
	{low(webhook.HeaderRequestID), "0193a4f2_b7c0_0001_7f3e_9c2d11aa0b52", "Names the delivery. It is the same on every attempt, so a repeated one can be told."},
	{low(webhook.HeaderTrackingID), "v=2.0;clid=us;rid=WEB_0193a4f2b7c000010000000000000abc", "Names the attempt."},
	{low(webhook.HeaderClientID), "a1B2c3D4e5F6g7H8i9J0kQ", "The client id of the app."},
	{"traceparent", "00-0193a4f2b7c000017f3e9c2d11aa0b52-00000000000000ab-01", "The trace of the delivery, as W3C Trace Context has it."},
}

// low writes a header's name as it is usually written where header names are not
// told apart by case.
func low(name string) string { return strings.ToLower(name) }

// Plural is how many there are of something, in words.
func (l eventList) Plural() string { return plural(len(l.Rows) + l.More) }

// Plural is how many event types the product has, in words.
func (p productRow) Plural() string { return plural(p.Events) }

func plural(n int) string {
	if n == 1 {
		return "1 event type"
	}
	return fmt.Sprintf("%d event types", n)
}
