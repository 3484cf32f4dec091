package number

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"iter"
	"unicode/utf8"
)

const (
	// maxRecord is how many bytes a record may have, line feeds within it included. The longest
	// one that has no fault is a tenth of it.
	maxRecord = 64 << 10

	// maxLines is how many lines a record may go over. No value may have a line feed in it but at
	// its ends, so a record of many lines is one whose quotation mark was not closed; without
	// this bound it would take all lines up to the next quotation mark with it.
	maxLines = 16
)

// Position is a place between two records of a file.
type Position struct {
	Offset int64 `json:"offset"` // in bytes
	Line   int   `json:"line"`   // of what comes next, from 1
	// Sum is a checksum of everything before, so that another file is not taken for this one.
	Sum uint32 `json:"sum"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// scanner cuts a file into records of cells, as RFC 4180 has them. It has a window of the file
// in memory, however long lines are.
type scanner struct {
	src      io.Reader
	window   []byte
	from, to int   // what of the window is not consumed
	over     bool  // behind the window is nothing
	err      error // why nobody knows what is behind the window
	pos      Position

	text []byte // the cells of a record, one behind the other
	ends []int  // where each ends
}

func newScanner(src io.Reader) *scanner {
	return &scanner{src: src, window: make([]byte, 4*maxRecord), pos: Position{Line: 1}}
}

// more reads on. It reports whether there is more in the window since.
func (s *scanner) more() bool {
	if s.over || s.err != nil {
		return false
	}
	if s.from > 0 && s.to == len(s.window) {
		s.to = copy(s.window, s.window[s.from:s.to])
		s.from = 0
	}
	for range 100 {
		n, err := s.src.Read(s.window[s.to:])
		s.to += n
		switch {
		case err == io.EOF:
			s.over = true
		case errors.Is(err, io.EOF):
			s.err = io.ErrUnexpectedEOF // what is behind this one must not pass for the end of the file
		default:
			s.err = err
		}
		if n > 0 || err != nil {
			return n > 0
		}
	}
	s.err = io.ErrNoProgress
	return false
}

// rest returns what of the file is in the window and not consumed.
func (s *scanner) rest() []byte { return s.window[s.from:s.to] }

// consume goes on behind n bytes.
func (s *scanner) consume(n int) {
	piece := s.window[s.from : s.from+n]
	s.pos.Sum = crc32.Update(s.pos.Sum, castagnoli, piece)
	s.pos.Line += bytes.Count(piece, []byte{'\n'})
	s.pos.Offset += int64(n)
	s.from += n
}

// line returns the length of the line that begins n bytes behind what is consumed, with its line
// feed. It is 0 at the end of the file, and negative if the line ends beyond the bound.
func (s *scanner) line(n int) int {
	for searched := n; ; {
		if i := bytes.IndexByte(s.rest()[searched:], '\n'); i >= 0 {
			if length := searched + i + 1; length <= maxRecord {
				return length - n
			}
			return -1
		}
		searched = len(s.rest())
		if searched > maxRecord {
			return -1
		}
		if !s.more() {
			return searched - n
		}
	}
}

// fault is why a record cannot be read.
type fault string

// next reads a record. One that cannot be cut into cells is a fault, and is only one line, so
// that what follows is not lost. It is not ok at the end of the file, or where it cannot be read
// further; then err says why.
func (s *scanner) next() (why fault, ok bool) {
	s.text, s.ends = s.text[:0], s.ends[:0]
	first := s.line(0)
	switch {
	case first < 0:
		return "is longer than 65,536 bytes", s.skip()
	case first == 0, s.broken(first):
		return "", false
	}
	length := first
	if content := chomp(s.rest()[:first]); bytes.IndexByte(content, '"') < 0 {
		s.split(content)
	} else {
		for lines := 1; ; lines++ {
			var open bool
			if open, why = s.unquote(chomp(s.rest()[:length])); !open {
				break
			}
			n := -1
			if lines < maxLines {
				n = s.line(length)
			}
			if n == 0 && s.err != nil || n > 0 && s.broken(length+n) {
				return "", false
			}
			if n <= 0 {
				why = "has a quotation mark that is not closed"
				break
			}
			length += n
		}
		if why != "" {
			length = first
		}
	}
	switch raw := s.rest()[:length]; {
	case why != "":
		s.text, s.ends = s.text[:0], s.ends[:0]
	case !utf8.Valid(raw):
		why = notUTF8(raw)
	}
	s.consume(length)
	return why, true
}

// broken reports whether the file can be read only into the line that seems to end n bytes from
// here.
func (s *scanner) broken(n int) bool {
	return s.err != nil && n == len(s.rest()) && s.rest()[n-1] != '\n'
}

// skip consumes a line of any length.
func (s *scanner) skip() (ok bool) {
	for {
		if i := bytes.IndexByte(s.rest(), '\n'); i >= 0 {
			s.consume(i + 1)
			return true
		}
		s.consume(len(s.rest()))
		if !s.more() {
			return s.err == nil
		}
	}
}

// chomp takes off what ends a line.
func chomp(line []byte) []byte {
	line = bytes.TrimSuffix(line, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'})
}

var comma = []byte{','}

func (s *scanner) end() { s.ends = append(s.ends, len(s.text)) }

// split cuts a line without quotation marks into cells.
func (s *scanner) split(line []byte) {
	for more := true; more; {
		var cell []byte
		cell, line, more = bytes.Cut(line, comma)
		s.text = append(s.text, cell...)
		s.end()
	}
}

// unquote cuts a record with quotation marks into cells. It reports whether the last one is
// still open.
func (s *scanner) unquote(record []byte) (open bool, why fault) {
	s.text, s.ends = s.text[:0], s.ends[:0]
	for {
		if len(record) == 0 || record[0] != '"' {
			cell, rest, more := bytes.Cut(record, comma)
			if bytes.IndexByte(cell, '"') >= 0 {
				return false, "has a quotation mark within a cell; put the whole cell in quotation marks and write it twice"
			}
			s.text = append(s.text, cell...)
			s.end()
			if !more {
				return false, ""
			}
			record = rest
			continue
		}
		record = record[1:]
		for {
			i := bytes.IndexByte(record, '"')
			if i < 0 {
				return true, ""
			}
			s.text = append(s.text, record[:i]...)
			record = record[i+1:]
			if len(record) == 0 || record[0] != '"' {
				break
			}
			s.text = append(s.text, '"')
			record = record[1:]
		}
		s.end()
		if len(record) == 0 {
			return false, ""
		}
		if record[0] != ',' {
			return false, "has something between a closing quotation mark and the next comma"
		}
		record = record[1:]
	}
}

// notUTF8 says which encoding a text that is not UTF-8 seems to have.
func notUTF8(raw []byte) fault {
	windows := false
	for i := 0; i < len(raw); {
		r, size := utf8.DecodeRune(raw[i:])
		if r == utf8.RuneError && size == 1 && raw[i] < 0xa0 {
			windows = true
		}
		i += size
	}
	if windows {
		return "is not UTF-8, and seems to be Windows-1252; save the file as UTF-8"
	}
	return "is not UTF-8, and seems to be Latin-1 (ISO 8859-1); save the file as UTF-8"
}

// foreign names the encoding of a file that begins so, if it is one with more than a byte for a
// letter.
func foreign(start []byte) string {
	begins := func(s string) bool { return bytes.HasPrefix(start, []byte(s)) }
	switch {
	case begins("\xff\xfe\x00\x00"), begins("\x00\x00\xfe\xff"):
		return "UTF-32"
	case begins("\xff\xfe"), begins("\xfe\xff"):
		return "UTF-16"
	case len(start) >= 2 && (start[0] == 0) != (start[1] == 0): // every other byte of ASCII
		return "UTF-16"
	}
	return ""
}

// cells returns what the record that was read last has in its cells, each with its index. They
// share their memory.
func (s *scanner) cells() iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		text, from := string(s.text), 0
		for i, end := range s.ends {
			if !yield(i, text[from:end]) {
				return
			}
			from = end
		}
	}
}

// cell returns one of them, in memory of its own.
func (s *scanner) cell(i int) string {
	from := 0
	if i > 0 {
		from = s.ends[i-1]
	}
	return string(s.text[from:s.ends[i]])
}

// blank reports whether the record that was read last has nothing in its cells.
func (s *scanner) blank() bool { return len(bytes.TrimSpace(s.text)) == 0 }
