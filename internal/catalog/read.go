package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Limits of what is read. They are far above what real documents need (the
// largest public ones have 3 MB and 60 levels) and low enough that no document
// can exhaust memory or the stack.
const (
	// MaxDocument is the size in bytes above which a document is refused.
	MaxDocument = 32 << 20
	// MaxYAML is the same for YAML, whose parser needs hundreds of times the
	// memory of the text.
	MaxYAML = 4 << 20

	maxNesting = 512
	// maxValues counts what is in all objects and arrays together.
	maxValues = 4 << 20
)

var (
	errNesting = fmt.Errorf("it is nested more than %d levels deep", maxNesting)
	errValues  = fmt.Errorf("it has more than %d values", maxValues)
)

// read turns the bytes of a document into a tree. A document that begins with
// a brace is JSON, anything else YAML: that a brace may begin YAML as well
// would only cost users of JSON the place of their syntax error.
func (p *parser) read(doc []byte) (any, error) {
	if len(doc) > MaxDocument {
		return nil, fmt.Errorf("%d bytes are more than the %d that a document may have", len(doc), MaxDocument)
	}
	doc = bytes.TrimSpace(bytes.TrimPrefix(doc, []byte("\ufeff")))
	if len(doc) == 0 {
		return nil, errors.New("it is empty")
	}
	if doc[0] != '{' {
		v, err := readYAML(doc, p.twice)
		if err != nil {
			return nil, fmt.Errorf("not YAML: %w", err)
		}
		return v, nil
	}
	v, err := readJSON(doc, p.twice)
	if err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	return v, nil
}

// twice notes that an object has two members of one name.
func (p *parser) twice(path []string) {
	p.note(Warning, join("", path...), "appears twice in its object; the last one counts")
}

// readJSON builds a tree from JSON, which encoding/json alone cannot do because
// its maps forget the order of members. It calls twice, unless that is nil, with
// the path of every member that is there already.
func readJSON(text []byte, twice func(path []string)) (any, error) {
	r := jsonReader{dec: json.NewDecoder(bytes.NewReader(text)), twice: twice}
	r.dec.UseNumber()
	v, err := r.value()
	if err != nil {
		return nil, err
	}
	if _, err := r.dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows the value at byte %d", r.dec.InputOffset())
	}
	return v, nil
}

type jsonReader struct {
	dec   *json.Decoder
	path  []string
	count int
	twice func(path []string)
}

func (r *jsonReader) value() (any, error) {
	tok, err := r.dec.Token()
	if err != nil {
		return nil, r.locate(err)
	}
	if len(r.path) >= maxNesting {
		return nil, errNesting
	}
	if r.count++; r.count > maxValues {
		return nil, errValues
	}
	switch tok {
	case json.Delim('['):
		return r.array()
	case json.Delim('{'):
		return r.object()
	}
	return tok, nil
}

func (r *jsonReader) array() (any, error) {
	list := []any{}
	for r.dec.More() {
		r.path = append(r.path, strconv.Itoa(len(list)))
		v, err := r.value()
		if err != nil {
			return nil, err
		}
		r.path = r.path[:len(r.path)-1]
		list = append(list, v)
	}
	_, err := r.dec.Token()
	return list, r.locate(err)
}

func (r *jsonReader) object() (any, error) {
	o := &object{}
	for r.dec.More() {
		tok, err := r.dec.Token()
		if err != nil {
			return nil, r.locate(err)
		}
		name := tok.(string) // the decoder lets nothing else stand here
		r.path = append(r.path, name)
		if o.has(name) && r.twice != nil {
			r.twice(r.path)
		}
		v, err := r.value()
		if err != nil {
			return nil, err
		}
		r.path = r.path[:len(r.path)-1]
		o.set(name, v)
	}
	_, err := r.dec.Token()
	return o, r.locate(err)
}

// locate adds to an error where in the text it is.
func (r *jsonReader) locate(err error) error {
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax):
		return fmt.Errorf("%w at byte %d", err, syntax.Offset)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("it ends too early, at byte %d", r.dec.InputOffset())
	}
	return err
}
