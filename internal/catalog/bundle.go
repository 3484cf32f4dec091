package catalog

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxSubschemas is the number of subschemas above which the schema of an
// event type is not compiled, because the time of the compiler grows with
// its square. Real schemas have hundreds.
const maxSubschemas = 3_000

// schemaError is what makes a schema useless, and where in the document it is.
type schemaError struct {
	at  string
	err error
}

func (e *schemaError) Error() string { return e.err.Error() }

// bundler copies a schema so that it stands alone: what it refers to elsewhere
// in the document comes under its $defs.
type bundler struct {
	p      *parser
	base   string            // where the schema is
	names  map[string]string // pointer of a definition -> its name in $defs
	origin map[string]string // the reverse
	todo   []string          // definitions that are not copied yet
	size   int               // subschemas copied
}

// bundle returns the copy of the schema at base. The bundler can tell afterwards
// where in the document a part of the copy comes from.
func (p *parser) bundle(schema any, base string) (any, *bundler, error) {
	b := &bundler{p: p, base: base, names: map[string]string{}, origin: map[string]string{}}
	if own, ok := schema.(*object); ok {
		if defs := own.object("$defs"); defs != nil {
			for _, name := range defs.names {
				b.origin[name] = join(base, "$defs", name)
			}
		}
	}
	whole, err := b.copy(schema, base)
	if err != nil || len(b.todo) == 0 {
		return whole, b, err
	}
	root := whole.(*object) // for only an object can refer to something
	defs := root.object("$defs")
	if defs == nil {
		defs = &object{}
		root.set("$defs", defs)
	}
	for len(b.todo) > 0 {
		at := b.todo[0]
		b.todo = b.todo[1:]
		v := lookup(p.root, at)
		def, err := b.copy(v, at)
		if err != nil {
			return nil, b, err
		}
		defs.set(b.names[at], def)
	}
	return root, b, nil
}

// copy returns the copy of one schema.
func (b *bundler) copy(v any, at string) (any, error) {
	if b.size++; b.size > maxSubschemas {
		return nil, &schemaError{b.base, fmt.Errorf("it has more than %d subschemas", maxSubschemas)}
	}
	from, ok := v.(*object)
	if !ok {
		return v, nil
	}
	if !b.p.spend(subschemaWork + len(from.names)) {
		return nil, &schemaError{b.base, errWork}
	}
	to := from.clone()
	for i, name := range from.names {
		v, err := b.copyKeyword(name, from.values[i], join(at, name))
		if err != nil {
			return nil, err
		}
		to.values[i] = v
	}
	return to, nil
}

func (b *bundler) copyKeyword(name string, v any, at string) (any, error) {
	switch v := v.(type) {
	case string:
		if name == "$ref" {
			return b.ref(v, at)
		}
		if name == "pattern" && !b.p.spend(stateWork*patternStates(v)) {
			return nil, &schemaError{b.base, errWork}
		}
	case *object:
		switch keywords[name] {
		case oneSchema:
			return b.copy(v, at)
		case schemaMap:
			return b.copyMap(name, v, at)
		}
	case []any:
		if keywords[name] == schemaList {
			return b.copyList(v, at)
		}
	}
	if !b.p.spendAll(v) {
		return nil, &schemaError{b.base, errWork}
	}
	return v, nil
}

func (b *bundler) copyMap(keyword string, from *object, at string) (any, error) {
	if !b.p.spend(1 + len(from.names)) {
		return nil, &schemaError{b.base, errWork}
	}
	to := from.clone()
	for i, name := range from.names {
		if keyword == "patternProperties" && !b.p.spend(stateWork*patternStates(name)) {
			return nil, &schemaError{b.base, errWork}
		}
		v, err := b.copy(from.values[i], join(at, name))
		if err != nil {
			return nil, err
		}
		to.values[i] = v
	}
	return to, nil
}

func (b *bundler) copyList(from []any, at string) (any, error) {
	list := make([]any, len(from))
	for i := range from {
		v, err := b.copy(from[i], join(at, strconv.Itoa(i)))
		if err != nil {
			return nil, err
		}
		list[i] = v
	}
	return list, nil
}

// ref returns what a reference must say in the copy.
func (b *bundler) ref(ref, at string) (any, error) {
	target, err := b.p.resolve(ref, b.base)
	if err != nil {
		return nil, &schemaError{at, err}
	}
	if target == "" {
		return nil, &schemaError{at, errors.New("it refers to the whole document, which is no schema")}
	}
	if rest, ok := strings.CutPrefix(target, b.base); ok && (rest == "" || rest[0] == '/') {
		return refTo(rest), nil
	}
	name, ok := b.names[target]
	if !ok {
		name = b.define(target)
	}
	return refTo(join("/$defs", name)), nil
}

// define gives a definition a name that is not taken, after its own.
func (b *bundler) define(target string) string {
	list := tokens(target)
	own := list[len(list)-1]
	name := own
	for i := 2; b.origin[name] != ""; i++ {
		name = own + "_" + strconv.Itoa(i)
	}
	b.names[target], b.origin[name] = name, target
	b.todo = append(b.todo, target)
	return name
}

// locate returns where in the document a part of the copy comes from.
func (b *bundler) locate(path []string) string {
	if len(path) >= 2 && path[0] == "$defs" {
		if at := b.origin[path[1]]; at != "" {
			return join(at, path[2:]...)
		}
	}
	return join(b.base, path...)
}
