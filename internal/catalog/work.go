package catalog

import (
	"errors"
	"slices"
)

const (
	// maxWork bounds what references can multiply, for the document as a whole:
	// a million event types may share one description, sample or schema. A unit
	// is about a microsecond or a few dozen bytes of memory, as for one value or
	// a few characters of text; documents that fill MaxDocument by themselves
	// stay below it.
	maxWork       = 32 << 20
	subschemaWork = 32
	stateWork     = 4
)

var errWork = errors.New("too much of the document is shared by too many event types")

// spend takes from what the parser may still do and reports whether it may.
func (p *parser) spend(units int) bool {
	p.work += units
	return p.work <= maxWork
}

// spendText is spend for text.
func (p *parser) spendText(s string) bool { return p.spend(1 + len(s)/16) }

// spendAll is spend for a value and everything in it.
func (p *parser) spendAll(v any) bool {
	switch v := v.(type) {
	case string:
		return p.spendText(v)
	case []any:
		return p.spend(1) && !slices.ContainsFunc(v, func(v any) bool { return !p.spendAll(v) })
	case *object:
		for i, name := range v.names {
			if !p.spendText(name) || !p.spendAll(v.values[i]) {
				return false
			}
		}
	}
	return p.spend(1)
}
