// Package sample makes events to try endpoints with.
//
// [Body] has one of an event type as its catalog shows it, [Set] and [Unset] change it,
// and [Odd] has the forms that an event may legally have and that careless receivers
// stumble over. What comes out is as the platform sends it: canonical.
package sample

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/switchhook/switchhook/internal/canon"
	"github.com/switchhook/switchhook/internal/catalog"
)

// Body returns a sample of an event type: the one of a name, or else the first one that
// its document has, or else one that is made of its schema. It occurs at an instant.
func Body(t *catalog.Type, name string, at time.Time) ([]byte, error) {
	text := []byte(t.MadeSample())
	for i, s := range t.Samples {
		if s.Name == name || name == "" && i == 0 {
			text = s.Body
		}
	}
	if i := slices.IndexFunc(t.Samples, func(s catalog.Sample) bool { return s.Name == name }); name != "" && i < 0 {
		return nil, fmt.Errorf("event type %s has no sample %q; it has %s", t.Name, name, names(t))
	}
	if text == nil {
		return nil, fmt.Errorf("event type %s has no sample, and none can be made of its schema", t.Name)
	}
	return At(text, at)
}

func names(t *catalog.Type) string {
	if len(t.Samples) == 0 {
		return "none"
	}
	var all []string
	for _, s := range t.Samples {
		all = append(all, s.Name)
	}
	return strings.Join(all, ", ")
}

// Bare returns an event with an empty payload, for event types that no catalog has.
func Bare(name string, at time.Time) []byte {
	b := canon.AppendText([]byte(`{"event":`), name)
	b = strconv.AppendInt(append(b, `,"event_ts":`...), at.UnixMilli(), 10)
	return append(b, `,"payload":{"object":{}}}`...)
}

// At returns an event as it is when it occurs at an instant, in canonical form.
func At(body []byte, at time.Time) ([]byte, error) {
	return change(body, func(root *node) error {
		return root.put([]string{"event_ts"}, &node{text: strconv.AppendInt(nil, at.UnixMilli(), 10)})
	})
}

// Set returns an event with a value put at a path, as in payload.object.cnam or
// payload.object.phone_numbers.0. Where there is a text already the value is one, too;
// elsewhere it is what it means as JSON, or a text if it is none. Objects that are
// missing on the way are made.
func Set(body []byte, path, value string) ([]byte, error) {
	return change(body, func(root *node) error {
		made, err := parse([]byte(value))
		if old := root.find(strings.Split(path, ".")); err != nil || old != nil && old.isText() {
			made = textNode(value)
		}
		if err := root.put(strings.Split(path, "."), made); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	})
}

// Unset returns an event without what is at a path.
func Unset(body []byte, path string) ([]byte, error) {
	return change(body, func(root *node) error {
		steps := strings.Split(path, ".")
		last := steps[len(steps)-1]
		parent := root.find(steps[:len(steps)-1])
		if parent == nil || !parent.remove(last) {
			return fmt.Errorf("%s: there is nothing", path)
		}
		return nil
	})
}

// change lets f change a body.
func change(body []byte, f func(root *node) error) ([]byte, error) {
	root, err := parse(body)
	if err != nil {
		return nil, err
	}
	if root.kind != '{' {
		return nil, fmt.Errorf("the event is not a JSON object")
	}
	if err := f(root); err != nil {
		return nil, err
	}
	// The order of keys that are numbers may have to change.
	return canon.Append(nil, root.append(nil))
}

// node is JSON whose parts can be changed.
type node struct {
	kind  byte   // '{', '[' or 0
	text  []byte // of what has no parts
	keys  []string
	parts []*node
}

// parse reads any JSON that can be sent.
func parse(text []byte) (*node, error) {
	doc, err := canon.Append(nil, text)
	if err != nil {
		return nil, err
	}
	return parseCanonical(doc), nil
}

func parseCanonical(doc []byte) *node {
	switch doc[0] {
	case '{':
		n := &node{kind: '{'}
		for key, value := range canon.Members(doc) {
			name, _ := canon.Text(slices.Concat([]byte{'"'}, key, []byte{'"'}))
			n.keys = append(n.keys, name)
			n.parts = append(n.parts, parseCanonical(value))
		}
		return n
	case '[':
		n := &node{kind: '['}
		for item := range canon.Items(doc) {
			n.parts = append(n.parts, parseCanonical(item))
		}
		return n
	}
	return &node{text: doc}
}

func textNode(s string) *node { return &node{text: canon.AppendText(nil, s)} }

func (n *node) isText() bool { return len(n.text) > 0 && n.text[0] == '"' }

// index returns the place of a part by its name or number, or -1.
func (n *node) index(step string) int {
	if n.kind == '{' {
		return slices.Index(n.keys, step)
	}
	if i, err := strconv.Atoi(step); n.kind == '[' && err == nil && i >= 0 && i < len(n.parts) {
		return i
	}
	return -1
}

func (n *node) find(path []string) *node {
	for _, step := range path {
		i := n.index(step)
		if i < 0 {
			return nil
		}
		n = n.parts[i]
	}
	return n
}

func (n *node) put(path []string, value *node) error {
	step, rest := path[0], path[1:]
	i := n.index(step)
	switch {
	case step == "":
		return fmt.Errorf("the path has an empty step")
	case n.kind == 0:
		return fmt.Errorf("there is a value where the path goes on to %q", step)
	case i < 0 && n.kind == '[' && step != strconv.Itoa(len(n.parts)):
		return fmt.Errorf("%q is no place in a list of %d", step, len(n.parts))
	case i < 0:
		i = len(n.parts)
		n.keys, n.parts = append(n.keys, step), append(n.parts, &node{kind: '{'})
	}
	if len(rest) == 0 {
		n.parts[i] = value
		return nil
	}
	return n.parts[i].put(rest, value)
}

func (n *node) remove(step string) bool {
	i := n.index(step)
	if i < 0 {
		return false
	}
	if n.kind == '{' {
		n.keys = slices.Delete(n.keys, i, i+1)
	}
	n.parts = slices.Delete(n.parts, i, i+1)
	return true
}

func (n *node) append(b []byte) []byte {
	switch n.kind {
	case '{':
		b = append(b, '{')
		for i, p := range n.parts {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(canon.AppendText(b, n.keys[i]), ':')
			b = p.append(b)
		}
		return append(b, '}')
	case '[':
		b = append(b, '[')
		for i, p := range n.parts {
			if i > 0 {
				b = append(b, ',')
			}
			b = p.append(b)
		}
		return append(b, ']')
	}
	return append(b, n.text...)
}

// reverse turns the order of keys round everywhere.
func (n *node) reverse() {
	if n.kind == '{' {
		slices.Reverse(n.keys)
		slices.Reverse(n.parts)
	}
	for _, p := range n.parts {
		p.reverse()
	}
}

// Oddity is a form that an event may legally have.
type Oddity struct {
	Name string
	// Why says who stumbles over it.
	Why  string
	make func(root *node)
}

// Apply returns an event in this form.
func (o Oddity) Apply(body []byte) ([]byte, error) {
	return change(body, func(root *node) error {
		o.make(root)
		return nil
	})
}

// oddKey is the further root key in which odd values stand: an event may have some, and
// those of its payload stay what they are.
const oddKey = "x_odd"

// Odd returns the forms, the commonest stumbling blocks first.
func Odd() []Oddity {
	put := func(value string) func(*node) {
		n, err := parse([]byte(value))
		if err != nil {
			panic("sample: " + err.Error())
		}
		return func(root *node) { _ = root.put([]string{oddKey}, n) }
	}
	return []Oddity{
		{"letters", "whoever reads UTF-8 as another character set", put(`"José Söhne Ελλάδα 東京 한국"`)},
		{"emoji", "whoever stores two bytes to a character", put(`"😀👩‍👩‍👧‍👦🏴󠁧󠁢󠁥󠁮󠁧󠁿"`)},
		{"html", "whoever escapes < > & and ' when printing JSON again", put(`"<b>'Tom & Jerry'</b> \"</script>\" /"`)},
		{"line separators", "whoever escapes U+2028 and U+2029 when printing JSON again", put(`"a\u2028b\u2029c"`)},
		{"control characters", "whoever takes a text for a line or ends it at NUL", put(`"a\u0000b\tc\nd\re\bf\fg\u001bh\u007f"`)},
		{"composed letters", "whoever normalises text", put(`"e\u0301 \u00e9 \ufb01 \u212b"`)},
		{"directions", "whoever shows text in a terminal or on a page", put(`"\u202eabc\u202c \u200b\ufeff"`)},
		{"half a character", "whoever insists on well-formed UTF-16", put(`"\ud800 x"`)},
		{"numbers", "whoever reads numbers into 32 bits, or prints them again", put(`[9007199254740991,-9007199254740991,0.1,1e21,5e-324,1.7976931348623157e308,2147483648]`)},
		{"keys", "whoever makes objects of JavaScript, or fields, of keys", put(`{"7":1,"":2,"__proto__":3,"constructor":4,"Event":5,"event":"x","a.b":6,"$ref":7}`)},
		{"nothing", "whoever expects a value where there is none", put(`{"null":null,"list":[],"object":{},"text":"","zero":0,"false":false}`)},
		{"other order", "whoever relies on the order of keys, or sorts them", (*node).reverse},
		{"depth", "whoever recurses without a limit", put(strings.Repeat(`{"a":[`, 100) + strings.Repeat(`]}`, 100))},
		{"many members", "whoever is slow with many keys", put(manyMembers(500))},
		{"a long text", "whoever has small buffers", put(`"` + strings.Repeat("long ", 13_000) + `"`)},
	}
}

func manyMembers(n int) string {
	members := map[string]int{}
	for i := range n {
		members[fmt.Sprintf("key_%03d", i)] = i
	}
	text, _ := json.Marshal(members)
	return string(text)
}

// Large returns an event of exactly so many bytes, if it is not larger already. It is
// filled with a letter; one of several bytes gets cut in two wherever a body is read in
// pieces.
func Large(body []byte, size int, letter string) ([]byte, error) {
	filled, err := Set(body, oddKey, "")
	if err != nil || len(filled) >= size {
		return filled, err
	}
	room := size - len(filled)
	filler := strings.Repeat(letter, room/len(letter)) + strings.Repeat("x", room%len(letter))
	return Set(body, oddKey, filler)
}
