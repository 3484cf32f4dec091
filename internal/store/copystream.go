package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5/pgtype"
	"zombiezen.com/go/sqlite"
)

// tableStream is a table as COPY takes it, read as it is sent.
type tableStream struct {
	ctx context.Context
	c   *copier
	t   *copyTable
	st  *sqlite.Stmt
	id  int // the place of the column with the id

	stands  bool  // on a row that was not sent yet
	ended   bool  // there are no more
	below   int64 // rows from this id on are for another division
	changed int   // rows with characters that PostgreSQL has no place for

	mu      sync.Mutex // the connection may be given up while it reads
	over    bool
	all     bool // that is for this division
	err     error
	buf     []byte // not sent yet
	scratch []byte
}

var errStopped = errors.New("nobody reads any more")

// next goes to the next row that was not sent, and returns its id.
func (s *tableStream) next() (id int64, ok bool, err error) {
	if s.ended {
		return 0, false, nil
	}
	if !s.stands {
		s.stands, err = s.st.Step()
		if s.ended = err == nil && !s.stands; err != nil || s.ended { // the next step would begin anew
			return 0, false, err
		}
	}
	return s.st.ColumnInt64(s.id), true, nil
}

// into sends rows to a table.
func (s *tableStream) into(table string) error {
	s.buf, s.over, s.all, s.err = append(s.buf[:0], copyHead...), false, false, nil
	// The table was made by this transaction, so its rows can be stored as those of a
	// long time ago, which need no vacuuming.
	_, err := s.c.to.conn.CopyFrom(s.ctx, s, fmt.Sprintf("COPY %s (%s) FROM STDIN (FORMAT binary, FREEZE)", table, s.t.list()))
	s.mu.Lock() // if the connection was lost, it may be reading still
	defer s.mu.Unlock()
	s.over = true
	if s.err != nil {
		err = s.err // the server only knows that it was broken off
	}
	if err == nil && s.changed > 0 {
		s.c.log.Warn("PostgreSQL has no place for the character U+0000 and for what is no UTF-8 in a text; they were replaced by U+FFFD", "table", s.t.name, "rows", s.changed)
		s.changed = 0
	}
	return err
}

// Read implements [io.Reader].
func (s *tableStream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return 0, errStopped
	}
	for len(s.buf) < len(p) && !s.all && s.err == nil {
		s.all, s.err = s.fill()
	}
	switch {
	case s.err != nil:
		return 0, s.err
	case len(s.buf) == 0:
		return 0, io.EOF
	}
	n := copy(p, s.buf)
	s.buf = s.buf[:copy(s.buf, s.buf[n:])]
	s.c.tell()
	return n, nil
}

// fill takes one more row, or says that it has all of them.
func (s *tableStream) fill() (all bool, err error) {
	if err := s.ctx.Err(); err != nil {
		return false, err
	}
	id, ok, err := s.next()
	if err != nil {
		return false, err
	}
	if !ok || s.below < math.MaxInt64 && id >= s.below {
		s.buf = append(s.buf, 0xff, 0xff)
		return true, nil
	}
	s.stands = false
	b, scratch, asIs := binary.BigEndian.AppendUint16(s.buf, uint16(len(s.t.columns))), s.scratch[:0], true
	for i := range s.t.columns {
		x := &s.t.columns[i]
		switch {
		case s.st.ColumnIsNull(i):
			b, scratch = appendNull(b), appendNullValue(scratch)
		case x.number():
			n := s.st.ColumnInt64(i)
			if x.freed {
				n = 0
			}
			if b, ok = x.appendNumber(b, n); !ok {
				return false, fmt.Errorf("%s is %d, for which the column has no room", x.name, n)
			}
			scratch = appendNumberValue(scratch, n)
		case x.oid == pgtype.Float8OID:
			n := int64(math.Float64bits(s.st.ColumnFloat(i)))
			b, scratch = appendInt8(b, n), appendNumberValue(scratch, n)
		case x.oid == pgtype.TextOID:
			text := s.st.ColumnText(i)
			fits := asText(text)
			asIs = asIs && fits == text
			b, scratch = appendBytes(b, fits), appendBytesValue(scratch, fits)
		case x.oid == pgtype.ByteaOID:
			n := s.st.ColumnLen(i)
			b = appendLength(b, n)
			at := len(b)
			b = slices.Grow(b, n)[:at+n]
			s.st.ColumnBytes(i, b[at:])
			scratch = appendBytesValue(scratch, b[at:])
		default:
			return false, fmt.Errorf("%s has a type that is not known here", x.name)
		}
	}
	if !asIs {
		s.changed++
	}
	s.t.sum.add(scratch)
	s.buf, s.scratch = b, scratch
	s.c.copied++
	return false, nil
}

// number reports whether it is a column of integers.
func (x *copyColumn) number() bool {
	switch x.oid {
	case pgtype.Int8OID, pgtype.Int4OID, pgtype.Int2OID:
		return true
	}
	return false
}

// appendNumber writes an integer, if there is room for it.
func (x *copyColumn) appendNumber(b []byte, n int64) (_ []byte, ok bool) {
	switch x.oid {
	case pgtype.Int4OID:
		return appendInt4(b, n), int64(int32(n)) == n
	case pgtype.Int2OID:
		return appendInt2(b, n), int64(int16(n)) == n
	}
	return appendInt8(b, n), true
}

// checksum is of rows in any order: the sum of the hashes of all of them.
type checksum struct {
	rows      int64
	high, low uint64
}

func (c *checksum) add(values []byte) {
	h := sha256.Sum256(values)
	c.rows++
	c.high += binary.BigEndian.Uint64(h[:])
	c.low += binary.BigEndian.Uint64(h[8:])
}

func (c checksum) String() string {
	return hex.EncodeToString(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, c.high), c.low))
}

// A value, as it goes into a checksum, says of what kind it is and where it ends.

func appendNullValue(b []byte) []byte { return append(b, 0) }

func appendNumberValue(b []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(append(b, 1), uint64(n))
}

func appendBytesValue[T string | []byte](b []byte, v T) []byte {
	return append(binary.BigEndian.AppendUint32(append(b, 2), uint32(len(v))), v...)
}
