package catalog

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	yamlparser "github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxYAMLWork bounds what boundYAML adds up, to about two seconds of the parser.
const maxYAMLWork = 100_000_000

// readYAML builds a tree from YAML. The parser's own conversion to Go values is
// not used because it unfolds merges without limit.
func readYAML(text []byte, twice func(path []string)) (v any, err error) {
	// The parser promises no panic but has had some.
	defer func() {
		if r := recover(); r != nil {
			v, err = nil, fmt.Errorf("the parser fails: %v", r)
		}
	}()
	if len(text) > MaxYAML {
		return nil, fmt.Errorf("%d bytes are more than the %d that YAML may have", len(text), MaxYAML)
	}
	toks := lexer.Tokenize(string(text))
	if err := boundYAML(toks); err != nil {
		return nil, err
	}
	file, err := yamlparser.Parse(toks, 0, yamlparser.AllowDuplicateMapKey())
	if err != nil {
		return nil, errors.New(strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return nil, errors.New("it has no content")
	}
	r := yamlReader{anchors: map[string]ast.Node{}, twice: twice}
	return r.value(file.Docs[0].Body)
}

// boundYAML refuses what would overflow the stack of the parser, which nothing
// can recover from, or keep it busy for hours. The parser descends without
// limit, also once for every key of a block mapping, whose time therefore grows
// with the square of its size; and it makes room among all tokens that follow
// for every value that is left out. What is wrong with the text otherwise is for
// the parser to find.
func boundYAML(toks token.Tokens) error {
	var b yamlBounds
	for i, t := range toks {
		b.add(toks, i)
		if len(b.blocks)+len(b.flow)+b.chain > maxNesting {
			return fmt.Errorf("line %d: %w", t.Position.Line, errNesting)
		}
		if b.work > maxYAMLWork {
			return fmt.Errorf("line %d: it has too many keys side by side or without a value; write it as JSON", t.Position.Line)
		}
	}
	return nil
}

// yamlBounds follows the structure of YAML by the columns of keys and dashes.
type yamlBounds struct {
	blocks []yamlBlock  // mappings and sequences that are open, by column
	flow   []token.Type // braces and brackets that are open
	chain  int          // indicators since the last one that ends an entry or a line
	line   int
	work   int
}

type yamlBlock struct{ column, keys int }

func (b *yamlBounds) add(toks token.Tokens, i int) {
	t := toks[i]
	if len(b.flow) == 0 && t.Position.Line != b.line {
		b.line, b.chain = t.Position.Line, 0
	}
	switch t.Type {
	case token.SequenceStartType, token.MappingStartType:
		b.flow = append(b.flow, t.Type)
		b.chain = 0
	case token.SequenceEndType, token.MappingEndType, token.CollectEntryType:
		if n := len(b.flow); n > 0 {
			if b.flow[n-1] == token.MappingStartType && b.chain == 0 {
				b.leftOut(toks, i) // the value of {key}
			}
			if t.Type != token.CollectEntryType {
				b.flow = b.flow[:n-1]
			}
		}
		b.chain = 0
	case token.TagType, token.AnchorType, token.MappingKeyType:
		b.chain++
	case token.SequenceEntryType, token.MappingValueType:
		b.chain++
		if len(b.flow) == 0 {
			b.addBlock(toks, i)
		}
	}
}

// addBlock adds the dash, or the colon behind a key, at i.
func (b *yamlBounds) addBlock(toks token.Tokens, i int) {
	// A dash may stand in the column of the key above it, yet opens a level of
	// its own: dashes count as half a column further to the right.
	t := toks[i]
	key := t.Type == token.MappingValueType
	column := 2*t.Position.Column + 1
	if key && i > 0 {
		column = 2 * toks[i-1].Position.Column
	}
	for len(b.blocks) > 0 && b.blocks[len(b.blocks)-1].column > column {
		b.blocks = b.blocks[:len(b.blocks)-1]
	}
	if len(b.blocks) == 0 || b.blocks[len(b.blocks)-1].column < column {
		b.blocks = append(b.blocks, yamlBlock{column: column})
	}
	if key {
		top := &b.blocks[len(b.blocks)-1]
		top.keys++
		b.work += 2*top.keys - 1
	}
	if i+1 == len(toks) {
		return
	}
	next := toks[i+1]
	below := 2 * next.Position.Column
	if next.Type == token.SequenceEntryType {
		below++
	}
	if next.Position.Line != t.Position.Line && below <= column {
		b.leftOut(toks, i)
	}
}

// leftOut adds a value that is left out at i.
func (b *yamlBounds) leftOut(toks token.Tokens, i int) {
	b.work += 1 + (len(toks)-i)/20
}

type yamlReader struct {
	anchors map[string]ast.Node
	path    []string
	aliases int // that are being followed
	twice   func(path []string)
	count   int // values made
}

func (r *yamlReader) value(n ast.Node) (any, error) {
	if r.count++; r.count > maxValues {
		return nil, errValues // ten lines of aliases can stand for a billion
	}
	if len(r.path)+r.aliases > maxNesting {
		return nil, errNesting // also what an alias within its own anchor ends in
	}
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return nil, nil
	case *ast.BoolNode:
		return n.Value, nil
	case *ast.IntegerNode:
		return json.Number(fmt.Sprint(n.Value)), nil
	case *ast.FloatNode:
		return float(n), nil
	case *ast.StringNode:
		return strings.ToValidUTF8(n.Value, "\ufffd"), nil
	case *ast.LiteralNode:
		return strings.ToValidUTF8(n.Value.Value, "\ufffd"), nil
	case *ast.TagNode:
		return r.tagged(n)
	case *ast.AnchorNode:
		r.anchors[n.Name.GetToken().Value] = n.Value
		return r.value(n.Value)
	case *ast.AliasNode:
		target, err := r.target(n)
		if err != nil {
			return nil, err
		}
		r.aliases++
		v, err := r.value(target)
		r.aliases--
		return v, err
	case *ast.MappingKeyNode:
		return r.value(n.Value)
	case *ast.MappingValueNode:
		return r.mapping(n)
	case *ast.MappingNode:
		return r.mapping(n.Values...)
	case *ast.SequenceNode:
		return r.sequence(n)
	}
	return nil, fmt.Errorf("line %d: %s has no counterpart in JSON", n.GetToken().Position.Line, strings.ToLower(n.Type().String()))
}

// float keeps the digits of the text where JSON allows them: a version of 1.0
// should not become 1.
func float(n *ast.FloatNode) any {
	if text := n.Token.Value; json.Valid([]byte(text)) {
		return json.Number(text)
	}
	return json.Number(strconv.FormatFloat(n.Value, 'g', -1, 64))
}

// tagged returns the value under a tag. Only the tags that change what a scalar
// is matter to JSON.
func (r *yamlReader) tagged(n *ast.TagNode) (any, error) {
	v, err := r.value(n.Value)
	if err != nil {
		return nil, err
	}
	switch token.ReservedTagKeyword(n.Start.Value) {
	case token.StringTag, token.TimestampTag:
		if _, ok := v.(json.Number); ok {
			return n.Value.GetToken().Value, nil
		}
		if b, ok := v.(bool); ok {
			return strconv.FormatBool(b), nil
		}
	case token.BinaryTag:
		if s, ok := v.(string); ok {
			b, err := base64.StdEncoding.DecodeString(s)
			return strings.ToValidUTF8(string(b), "\ufffd"), err
		}
	}
	return v, nil
}

func (r *yamlReader) target(n *ast.AliasNode) (ast.Node, error) {
	name := n.Value.GetToken().Value
	target, ok := r.anchors[name]
	if !ok {
		return nil, fmt.Errorf("line %d: there is no anchor %q", n.Start.Position.Line, name)
	}
	return target, nil
}

func (r *yamlReader) mapping(entries ...*ast.MappingValueNode) (any, error) {
	o := &object{}
	var merged []ast.Node
	for _, e := range entries {
		if e.Key.IsMergeKey() {
			merged = append(merged, e.Value)
			continue
		}
		name, err := r.key(e.Key)
		if err != nil {
			return nil, err
		}
		r.path = append(r.path, name)
		if o.has(name) {
			r.twice(r.path)
		}
		v, err := r.value(e.Value)
		if err != nil {
			return nil, err
		}
		r.path = r.path[:len(r.path)-1]
		o.set(name, v)
	}
	for _, n := range merged {
		if err := r.merge(o, n); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// merge adds what a "<<" key brings: the members of a mapping, or of several,
// that are not there yet.
func (r *yamlReader) merge(o *object, n ast.Node) error {
	v, err := r.value(n)
	if err != nil {
		return err
	}
	sources, ok := v.([]any)
	if !ok {
		sources = []any{v}
	}
	for _, s := range sources {
		source, ok := s.(*object)
		if !ok {
			return fmt.Errorf("line %d: only mappings can be merged", n.GetToken().Position.Line)
		}
		for _, name := range source.names {
			if !o.has(name) {
				o.set(name, source.get(name))
			}
		}
	}
	return nil
}

// key returns the name of a member. Names that YAML takes for numbers, such as
// the 200 of a response, are meant as they are written.
func (r *yamlReader) key(n ast.MapKeyNode) (string, error) {
	v, err := r.value(n)
	if err != nil {
		return "", err
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case []any, *object:
		return "", fmt.Errorf("line %d: a key is not a scalar", n.GetToken().Position.Line)
	}
	return strings.TrimSpace(n.GetToken().Value), nil
}

func (r *yamlReader) sequence(n *ast.SequenceNode) (any, error) {
	list := make([]any, 0, len(n.Values))
	for i, item := range n.Values {
		r.path = append(r.path, strconv.Itoa(i))
		v, err := r.value(item)
		if err != nil {
			return nil, err
		}
		r.path = r.path[:len(r.path)-1]
		list = append(list, v)
	}
	return list, nil
}
