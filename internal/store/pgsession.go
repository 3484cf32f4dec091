package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

// session is a connection to PostgreSQL with the statements prepared on it. One
// goroutine at a time uses it.
type session struct {
	conn       *pgconn.PgConn
	name       string // by which the server knows it, and no other
	statements map[string]*pgconn.StatementDescription
	// warned says that the server had something to say about what it did. It does when
	// a commit did not wait for the standby as it should have.
	warned bool
	// heard is called with what is told on a channel.
	heard func(channel, text string)
}

// lostError says that the connection was lost, or could not be had. What was not
// committed before, is not.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// judge tells what the statement did from what happened to the connection, which is of
// no use any more then.
func (s *session) judge(err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	if ok && e.SeverityUnlocalized == "ERROR" && !s.conn.IsClosed() && e.Code != codeReadOnly {
		return err
	}
	s.close()
	return &lostError{err}
}

// Codes of errors.
const (
	codeReadOnly    = "25006" // the server has become a standby
	codeNoPartition = "23514"
	codeLockTimeout = "55P03"
	codeDeadlock    = "40P01"
)

func codeOf(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// outOfOrderPG reports whether it is the database that failed, and not a statement.
func outOfOrderPG(err error) bool {
	if _, lost := errors.AsType[*lostError](err); lost || errors.Is(err, errLapsed) || errors.Is(err, errUnknown) {
		return true
	}
	switch code := codeOf(err); {
	case strings.HasPrefix(code, "08"), // connection
		strings.HasPrefix(code, "53"), // disk full, out of memory, too many connections
		strings.HasPrefix(code, "57"), // shutting down, cancelled by somebody
		strings.HasPrefix(code, "58"), // the system under it
		code == codeReadOnly, code == codeLockTimeout, code == codeDeadlock:
		return true
	}
	return false
}

// lasting is how long an exchange with the server may take where nobody who waits has
// a limit of his own. A server that is silent for longer is gone.
const lasting = 30 * time.Second

// close gives the connection up.
func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.conn.Close(ctx) // there is nothing that could still be done about it
}

// statement is a query with its parameters.
type statement struct {
	query string
	args  []any
}

// run executes statements, all sent before the first answer is awaited, up to the
// first that fails. It returns how many rows each returned or changed; each is called
// with the rows. Without a deadline in ctx it takes [lasting] at most.
func (s *session) run(ctx context.Context, list []statement, each func(i int, r row) error) (rows []int, err error) {
	var b pgconn.Batch
	for _, x := range list {
		values, types := encodeArgs(x.args)
		st, err := s.prepare(ctx, x.query, types)
		if err != nil {
			return nil, err
		}
		if n := len(st.ParamOIDs); n != len(values) {
			return nil, fmt.Errorf("statement has %d parameters, got %d: %s", n, len(values), strings.TrimSpace(x.query))
		}
		b.ExecStatement(st, values, binaryFormat, binaryFormat)
	}
	defer s.limit(ctx)()
	m := s.conn.ExecBatch(ctx, &b)
	rows = make([]int, 0, len(list))
	var stopped error
	for stopped == nil && m.NextResult() {
		r := m.ResultReader()
		n := 0
		for stopped == nil && r.NextRow() {
			n++
			if each != nil {
				stopped = each(len(rows), pgRow{r.Values(), r.FieldDescriptions()})
			}
		}
		tag, err := r.Close()
		if err != nil {
			break
		}
		if !tag.Select() && n == 0 {
			n = int(tag.RowsAffected())
		}
		rows = append(rows, n)
	}
	if err := m.Close(); err != nil {
		return rows, s.judge(err)
	}
	return rows, stopped
}

var binaryFormat = []int16{1}

// limit bounds what follows, until the function it returns is called.
func (s *session) limit(ctx context.Context) (done func()) {
	if ctx != context.Background() { // pgconn looks after it
		return func() {}
	}
	c := s.conn.Conn()
	_ = c.SetDeadline(time.Now().Add(lasting)) // if the connection is closed, what follows says so
	return func() { _ = c.SetDeadline(time.Time{}) }
}

func (s *session) prepare(ctx context.Context, query string, types []uint32) (*pgconn.StatementDescription, error) {
	key := query
	for i, t := range types {
		if t == 0 { // the server finds a type for NULL, which is not that of other values
			key = fmt.Sprintf("%s -- %d", key, i)
		}
	}
	if st := s.statements[key]; st != nil {
		return st, nil
	}
	defer s.limit(ctx)()
	st, err := s.conn.Prepare(ctx, fmt.Sprint("s", len(s.statements)), query, types)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", s.judge(err), strings.TrimSpace(query))
	}
	s.statements[key] = st
	return st, nil
}

// simple executes statements without parameters, for what cannot be prepared.
func (s *session) simple(ctx context.Context, text string) error {
	defer s.limit(ctx)()
	_, err := s.conn.Exec(ctx, text).ReadAll()
	return s.judge(err)
}

// encodeArgs writes parameters in binary form. All integers are of one type, and so
// are truth values, for which the columns have numbers.
func encodeArgs(args []any) (values [][]byte, types []uint32) {
	for _, a := range args {
		var v []byte
		var t uint32
		switch a := a.(type) {
		case int64:
			v, t = binary.BigEndian.AppendUint64(nil, uint64(a)), pgtype.Int8OID
		case int:
			v, t = binary.BigEndian.AppendUint64(nil, uint64(a)), pgtype.Int8OID
		case bool:
			n := uint64(0)
			if a {
				n = 1
			}
			v, t = binary.BigEndian.AppendUint64(nil, n), pgtype.Int8OID
		case float64:
			v, t = binary.BigEndian.AppendUint64(nil, math.Float64bits(a)), pgtype.Float8OID
		case string:
			v, t = []byte(asText(a)), pgtype.TextOID
		case []byte:
			if v, t = a, pgtype.ByteaOID; v == nil {
				v = []byte{}
			}
		case []int64:
			v, t = appendArray(nil, pgtype.Int8OID, a, appendInt8), pgtype.Int8ArrayOID
		case []string:
			v, t = appendArray(nil, pgtype.TextOID, a, func(b []byte, s string) []byte { return appendBytes(b, asText(s)) }), pgtype.TextArrayOID
		case [][]byte:
			v, t = appendArray(nil, pgtype.ByteaOID, a, appendBytes[[]byte]), pgtype.ByteaArrayOID
		case nil:
		default:
			panic(fmt.Sprintf("store: parameter of type %T", a))
		}
		values, types = append(values, v), append(types, t)
	}
	return values, types
}

// asText replaces what PostgreSQL has no place for in a text: the character U+0000
// and what is no UTF-8. Names are checked for both before they come here; what is only
// looked for is not found then.
func asText(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	return s
}

func appendArray[T any](b []byte, element uint32, list []T, appendOne func([]byte, T) []byte) []byte {
	for _, n := range [...]uint32{1, 0, element, uint32(len(list)), 1} { // dimensions, whether there are NULLs, length, first index
		b = binary.BigEndian.AppendUint32(b, n)
	}
	for _, x := range list {
		b = appendOne(b, x)
	}
	return b
}

// A value in an array or a row of COPY is its length and itself.

func appendInt8(b []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(b, 8), uint64(n))
}

// appendInt4 and appendInt2 write the nearest number that has room.
func appendInt4(b []byte, n int64) []byte {
	n = max(math.MinInt32, min(n, math.MaxInt32))
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, 4), uint32(n))
}

func appendInt2(b []byte, n int64) []byte {
	n = max(math.MinInt16, min(n, math.MaxInt16))
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint32(b, 2), uint16(n))
}

func appendBytes[T string | []byte](b []byte, v T) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
}

// appendLength begins a value of n bytes.
func appendLength(b []byte, n int) []byte { return binary.BigEndian.AppendUint32(b, uint32(n)) }

func appendNull(b []byte) []byte { return binary.BigEndian.AppendUint32(b, math.MaxUint32) }

// pgRow is a row in binary form.
type pgRow struct {
	values [][]byte
	fields []pgconn.FieldDescription
}

func (r pgRow) int(i int) int64 {
	b := r.values[i]
	if b == nil {
		return 0
	}
	switch r.fields[i].DataTypeOID {
	case pgtype.Int8OID:
		return int64(binary.BigEndian.Uint64(b))
	case pgtype.Int4OID:
		return int64(int32(binary.BigEndian.Uint32(b)))
	case pgtype.Int2OID:
		return int64(int16(binary.BigEndian.Uint16(b)))
	case pgtype.BoolOID:
		return int64(b[0])
	}
	panic(fmt.Sprintf("store: column %q is no integer", r.fields[i].Name)) // what selects it is wrong
}

func (r pgRow) float(i int) float64 {
	b := r.values[i]
	if r.fields[i].DataTypeOID != pgtype.Float8OID || len(b) != 8 {
		panic(fmt.Sprintf("store: column %q is no double precision", r.fields[i].Name))
	}
	return math.Float64frombits(binary.BigEndian.Uint64(b))
}

func (r pgRow) text(i int) string { return string(r.values[i]) }
func (r pgRow) blob(i int) []byte { return append(make([]byte, 0, len(r.values[i])), r.values[i]...) }

// copying is rows for a table, in the form of COPY, framed as the protocol wants it.
type copying struct {
	into    string // the table with its columns
	columns int
	rows    int
	// add appends row i.
	add func(b []byte, i int) []byte
}

// frameBytes is how much is sent at a time.
const frameBytes = 64 << 10

var copyHead = []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")

// send sends rows, and then a last statement, and waits for nothing. What comes of it,
// [session.await] says. It fails if the connection does; last says whether the server
// may have got the last statement all the same.
func (s *session) send(pieces []copying, statement string) (last bool, err error) {
	defer s.limit(context.Background())()
	f := s.conn.Frontend()
	for _, p := range pieces {
		f.SendQuery(&pgproto3.Query{String: "COPY " + p.into + " FROM STDIN BINARY"})
		frame := append(make([]byte, 0, frameBytes+frameBytes/4), 'd', 0, 0, 0, 0)
		frame = append(frame, copyHead...)
		for i := range p.rows {
			frame = p.add(binary.BigEndian.AppendUint16(frame, uint16(p.columns)), i)
			if len(frame) >= frameBytes || i == p.rows-1 {
				if i == p.rows-1 {
					frame = append(frame, 0xff, 0xff)
				}
				binary.BigEndian.PutUint32(frame[1:], uint32(len(frame)-1))
				if err := f.SendUnbufferedEncodedCopyData(frame); err != nil {
					return false, s.judge(err)
				}
				frame = frame[:5]
			}
		}
		f.Send(&pgproto3.CopyDone{})
	}
	f.SendQuery(&pgproto3.Query{String: statement})
	return true, s.judge(f.Flush())
}

// await waits for the answers to n statements that were sent, and returns the tag of
// the last, or the first error.
func (s *session) await(n int) (tag string, err error) {
	defer s.limit(context.Background())()
	for n > 0 {
		m, lost := s.conn.ReceiveMessage(context.Background())
		if lost != nil {
			return "", s.judge(lost)
		}
		switch m := m.(type) {
		case *pgproto3.ErrorResponse:
			if err == nil {
				err = pgconn.ErrorResponseToPgError(m)
			}
		case *pgproto3.CommandComplete:
			tag = string(m.CommandTag)
		case *pgproto3.ReadyForQuery:
			n--
		}
	}
	return tag, s.judge(err)
}
