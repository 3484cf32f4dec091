package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/switchhook/switchhook/internal/hook"
)

// entry is a place in the document that may describe an event type.
type entry struct {
	key     string // in webhooks or paths
	item    any
	pointer string
}

// readEntries lists the places in the order of the document, webhooks first.
func (p *parser) readEntries() {
	var list []entry
	webhooks := p.root.object("webhooks")
	if webhooks != nil {
		for _, key := range webhooks.names {
			list = append(list, entry{key, webhooks.get(key), join("/webhooks", key)})
		}
	}
	if paths := p.root.object("paths"); paths != nil {
		for _, key := range paths.names {
			e := entry{key, paths.get(key), join("/paths", key)}
			if p.eventLike(e) {
				list = append(list, e)
			}
		}
	}
	p.entries = list
	for _, e := range list {
		p.keys[strings.TrimPrefix(e.key, "/")] = true
	}
}

// eventLike reports whether an entry of paths is an event rather than a path of
// an API. A name without a slash can only be an event; behind a slash, a dot or
// a word on the event itself must tell it from the likes of /users.
func (p *parser) eventLike(e entry) bool {
	name := strings.TrimPrefix(e.key, "/")
	if !eventName.MatchString(name) {
		return false
	}
	post := p.deref(e.item).object("post")
	if name == e.key {
		return post == nil || post.has("requestBody")
	}
	if !post.has("requestBody") {
		return false
	}
	lines, _ := p.describe(post, p.deref(post.get("requestBody")))
	return strings.Contains(name, ".") || lines.event != ""
}

// add reads one event type.
func (p *parser) add(e entry) {
	p.entry, p.event = e.pointer, ""
	defer func() { p.entry, p.event = "", "" }()
	first := len(p.doc.Notes)

	item, at := p.follow(e.item, e.pointer)
	if item == nil {
		if _, _, referred := reference(e.item); !referred {
			p.note(Warning, e.pointer, "is %s, not an object; it is left out", aTypeOf(e.item))
		}
		return
	}
	post := item.object("post")
	if post == nil {
		p.note(Warning, e.pointer, "has no post operation; events are posted, so it is left out")
		return
	}
	at = join(at, "post")
	body, bodyAt := p.follow(post.get("requestBody"), join(at, "requestBody"))
	media, mediaAt := p.media(body, bodyAt)
	samples := p.samples(media, mediaAt)
	lines, ok := p.describe(post, body)
	if !ok {
		p.note(Warning, e.pointer, "is left out: %v", errWork) // without scopes it would be for everyone
		return
	}

	name := p.name(e, lines.event, media.get("schema"), samples)
	if name == "" || len(name) > maxName || name == validation || strings.ContainsFunc(name, unicode.IsControl) {
		p.note(Warning, e.pointer, "cannot be the name of an event; it is left out")
		return
	}
	if first, ok := p.named[name]; ok {
		p.note(Warning, e.pointer, "%s is there already, at %s; this one is left out", name, first)
		return
	}
	p.named[name] = e.pointer
	p.call(name, first)

	t := &Type{
		EventType:   hook.EventType{Name: name},
		Summary:     firstOf(post.text("summary"), item.text("summary")),
		Description: firstOf(post.text("description"), body.text("description"), item.text("description")),
		Samples:     samples,
		entry:       e.pointer,
	}
	t.Lead = strings.Join(strings.Fields(firstOf(t.Summary, lines.lead)), " ")
	if len(t.Lead) > maxLead {
		t.Lead = strings.ToValidUTF8(t.Lead[:maxLead], "") + "..."
	}
	holders := []holder{{post, at}, {item, e.pointer}, {p.root, ""}}
	p.entitle(t, lines, holders)
	schema := p.compile(t, media, mediaAt, bodyAt)
	p.route(t, schema, holders)
	p.doc.Types = append(p.doc.Types, t)
}

// maxLead is the length of a line that can be read at a glance.
const maxLead = 240

// maxDescription is how much of a description is searched, from its end, which
// is where scopes and event type stand.
const maxDescription = 64 << 10

// describe reads what the descriptions of an operation and its body say, if that
// is not too much.
func (p *parser) describe(post, body *object) (described, bool) {
	text := tail(post.text("description")) + "\n" + tail(body.text("description"))
	if !p.spend(len(text) / 4) {
		return described{}, false
	}
	return describe(text), true
}

func tail(s string) string {
	return s[max(0, len(s)-maxDescription):]
}

// call gives the event type its name, also in the notes that were made before
// it was known.
func (p *parser) call(name string, first int) {
	p.event = name
	for i := first; i < len(p.doc.Notes); i++ {
		if n := &p.doc.Notes[i]; strings.HasPrefix(n.Pointer+"/", p.entry+"/") {
			n.EventType = name
		}
	}
}

func firstOf(texts ...string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return ""
}

// name decides what an event is called when its key and its description do not
// agree. Keys are sometimes titles, and descriptions are sometimes copied from
// another event with its name left in; what the body itself carries decides,
// and if that is silent, the description, unless its name is that of another
// entry.
func (p *parser) name(e entry, said string, schema any, samples []Sample) string {
	key := strings.TrimPrefix(e.key, "/")
	carried := p.carriedName(schema, samples)
	if !eventName.MatchString(key) {
		trimmed := strings.TrimSpace(key)
		if !eventName.MatchString(trimmed) {
			trimmed = ""
		}
		if name := firstOf(carried, said, trimmed); name != "" {
			p.note(Warning, e.pointer, "%q is no event name; the event is called %s", clip(key), name)
			return name
		}
		if key == "" || strings.ContainsAny(key, "/{}\n\r\t") {
			return ""
		}
		return key
	}
	switch {
	case said == "" || said == key:
		return key
	case carried == key, p.keys[said]:
		p.note(Warning, e.pointer, "the description calls the event %s; it is called %s like its key", said, key)
		return key
	}
	p.note(Warning, e.pointer, "the event is called %s like in its description, not %s like its key", said, key)
	return said
}

// maxName is as long as any name that subscriptions can list.
const maxName = 256

// validation is the platform's own event, which nobody can publish or subscribe to.
const validation = "endpoint.url_validation"

// carriedName returns the name that bodies have as "event": what the schema
// demands, else what the samples have.
func (p *parser) carriedName(schema any, samples []Sample) string {
	event := p.member(schema, "event")
	name := event.text("const")
	if enum, ok := event.get("enum").([]any); ok && len(enum) == 1 {
		name, _ = enum[0].(string)
	}
	for _, s := range samples {
		if name != "" {
			break
		}
		var body struct{ Event string }
		if json.Unmarshal(s.Body, &body) == nil {
			name = body.Event
		}
	}
	if name = strings.TrimSpace(name); !eventName.MatchString(name) {
		return ""
	}
	return name
}

// media returns what the request body is as JSON.
func (p *parser) media(body *object, at string) (*object, string) {
	content := body.object("content")
	if content == nil {
		return nil, at
	}
	at = join(at, "content")
	best := ""
	for _, name := range content.names {
		if name == "application/json" {
			best = name
			break
		}
		if best == "" && (strings.Contains(name, "json") || len(content.names) == 1) {
			best = name
		}
	}
	return content.object(best), join(at, best)
}

// holder is a part of the document that may have extensions.
type holder struct {
	*object
	pointer string
}

// extension returns the nearest value of an extension, and where it is.
func extension(holders []holder, name string) (v any, pointer string) {
	for _, h := range holders {
		if h.has(name) {
			return h.get(name), join(h.pointer, name)
		}
	}
	return nil, ""
}

// entitle sets the scopes. That there are none may be meant; but since it opens
// the event to every app, and may as well be a line that nobody could read, it
// is noted unless an extension says so.
func (p *parser) entitle(t *Type, lines described, holders []holder) {
	t.ClassicScopes, t.GranularScopes = lines.classic, lines.granular
	meant := false
	if v, at := extension(holders, "x-switchhook-scopes"); at != "" {
		given, ok := v.(*object)
		classic, ok1 := texts(given.get("classic"))
		granular, ok2 := texts(given.get("granular"))
		if ok && ok1 && ok2 {
			t.ClassicScopes, t.GranularScopes, meant = unique(classic), unique(granular), true
		} else {
			p.note(Warning, at, "is not of the form {classic: [...], granular: [...]}; the description counts")
		}
	}
	t.Scopes = unique(append(slices.Clone(t.ClassicScopes), t.GranularScopes...))
	if len(t.Scopes) == 0 && !meant {
		p.note(Warning, p.entry, "has no scopes; every app may receive it")
	}
}

// route sets how the event finds its apps, and what a bad body leads to.
func (p *parser) route(t *Type, schema any, holders []holder) {
	if p.member(schema, "payload", "object", "carrier_code") != nil {
		t.Routing = hook.ByCarrier
	}
	if v, at := extension(holders, "x-switchhook-routing"); at != "" {
		switch v {
		case hook.ByAccount.String():
			t.Routing = hook.ByAccount
		case hook.ByCarrier.String():
			t.Routing = hook.ByCarrier
		default:
			p.note(Warning, at, "is neither account nor carrier; the event goes by %s", t.Routing)
		}
	}
	if v, at := extension(holders, "x-switchhook-check"); at != "" {
		s, _ := v.(string)
		mode, err := hook.ParseCheckMode(s)
		if err != nil {
			p.note(Warning, at, "%v; it is %s", err, mode)
		}
		t.EventType.Check = mode
	}
}

// samples returns the examples of a media type that can be read.
func (p *parser) samples(media *object, at string) []Sample {
	var list []Sample
	add := func(name, summary, at string, v any) {
		if !p.spendAll(v) {
			p.note(Warning, at, "the sample %s is left out: %v", clip(name), errWork)
			return
		}
		body, err := sampleBody(v)
		if err != nil {
			p.note(Warning, at, "the sample %s is left out: %v", clip(name), err)
			return
		}
		list = append(list, Sample{name, summary, body})
	}
	if examples := media.object("examples"); examples != nil {
		for _, name := range examples.names {
			example, exampleAt := p.follow(examples.get(name), join(at, "examples", name))
			if !example.has("value") {
				p.note(Warning, exampleAt, "the sample %s is left out: it has no value here, and nothing outside of the document is read", clip(name))
				continue
			}
			add(name, example.text("summary"), join(exampleAt, "value"), example.get("value"))
		}
	}
	if media.has("example") {
		add("example", "", join(at, "example"), media.get("example"))
	}
	return list
}

// sampleBody returns an example as a body. Many documents have the JSON of
// their examples in a string, to keep its layout.
func sampleBody(v any) (json.RawMessage, error) {
	if text, ok := v.(string); ok {
		var err error
		if v, err = readJSON([]byte(text), nil); err != nil {
			return nil, fmt.Errorf("it is not JSON: %w", err)
		}
	}
	if _, ok := v.(*object); !ok {
		return nil, errors.New("it is no object")
	}
	return appendJSON(nil, v), nil
}
