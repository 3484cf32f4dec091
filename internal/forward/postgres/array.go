package postgres

import (
	"encoding/binary"
	"time"
)

// Types of arrays, as PostgreSQL numbers them.
const (
	int4Array        = 1007
	int8Array        = 1016
	textArray        = 1009
	timestamptzArray = 1185
	jsonArray        = 199
	byteaArray       = 1001
)

// elements are the types of what is in them.
var elements = map[uint32]uint32{int4Array: 23, int8Array: 20, textArray: 25, timestamptzArray: 1184, jsonArray: 114, byteaArray: 17}

// array is a column of values on their way to PostgreSQL, in its binary form. One array
// for each column, and unnest on the other side, is one statement for any number of rows.
type array struct {
	of   uint32
	n    int32
	null bool
	b    []byte // the elements
}

func (a *array) add(b []byte) {
	a.n++
	if b == nil {
		a.null = true
		a.b = binary.BigEndian.AppendUint32(a.b, ^uint32(0))
		return
	}
	a.b = binary.BigEndian.AppendUint32(a.b, uint32(len(b)))
	a.b = append(a.b, b...)
}

func (a *array) addText(s string) { a.add(append([]byte{}, s...)) }

// addOptional adds a text, or NULL for none.
func (a *array) addOptional(s string) {
	if s == "" {
		a.add(nil)
		return
	}
	a.addText(s)
}

func (a *array) addInt4(i int32) { a.add(binary.BigEndian.AppendUint32(nil, uint32(i))) }
func (a *array) addInt8(i int64) { a.add(binary.BigEndian.AppendUint64(nil, uint64(i))) }

// addNumber adds a number, or NULL for 0.
func (a *array) addNumber(i int64) {
	if i == 0 {
		a.add(nil)
		return
	}
	a.addInt8(i)
}

// epoch is PostgreSQL's: times are microseconds since then.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

// addTime adds a time to the millisecond, or NULL for the zero time.
func (a *array) addTime(t time.Time) {
	if t.IsZero() {
		a.add(nil)
		return
	}
	a.addInt8((t.UnixMilli() - epoch) * 1000)
}

// bytes returns the array as it is sent.
func (a *array) bytes() []byte {
	head := make([]byte, 0, 20+len(a.b))
	dimensions, null := uint32(1), uint32(0)
	if a.n == 0 {
		dimensions = 0
	}
	if a.null {
		null = 1
	}
	for _, x := range []uint32{dimensions, null, elements[a.of]} {
		head = binary.BigEndian.AppendUint32(head, x)
	}
	if a.n > 0 {
		head = binary.BigEndian.AppendUint32(head, uint32(a.n))
		head = binary.BigEndian.AppendUint32(head, 1) // the first index
	}
	return append(head, a.b...)
}

// columns are the parameters of a statement that inserts rows.
type columns []array

func newColumns(types ...uint32) columns {
	c := make(columns, len(types))
	for i, of := range types {
		c[i].of = of
	}
	return c
}

func (c columns) parameters() (values [][]byte, types []uint32) {
	for i := range c {
		values, types = append(values, c[i].bytes()), append(types, c[i].of)
	}
	return values, types
}
