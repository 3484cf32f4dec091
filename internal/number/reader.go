package number

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/switchhook/switchhook/internal/hook"
)

// MaxNumbers is how many numbers one file may have. Those that a file has had are remembered, so
// that none of them counts twice.
const MaxNumbers = 3_000_000

// Record is what a line of a file says.
type Record struct {
	// Line is where in the file it begins, counted from 1.
	Line int
	// E164 is the number, or what stands in its place.
	E164 string
	// Carrier and Account say whose number it is. They are zero if the file does not.
	Carrier int32
	Account string
	Change  Change
	// Faults say why the line is refused: the column, and what is wrong in it. Only the change of
	// a line without faults may be made.
	Faults hook.Faults
}

// Reader reads numbers and what is to be changed of them from a CSV file, as RFC 4180 describes
// it, in UTF-8 with or without a byte order mark.
//
// The first line names the columns (see [Columns]), in any order. An empty cell leaves alone what
// a number has; a dash clears it. The columns of an address are one value: it is set if
// address_line1 is, and then what is empty of it is not in the address; a dash in address_line1
// clears all of it.
//
// A line that is wrong is a record with faults and does not keep others from being read. What
// Reader needs of memory does not depend on the length of the file but for 24 bytes or so a
// number, by which it finds those that are in the file twice.
type Reader struct {
	scan    *scanner
	order   []int // the column of each cell
	phone   int   // which of them is the number
	seen    *seen
	done    Position
	failure error // why it cannot go on
}

// NewReader reads the first line of a file. If it cannot be what a file begins with, the error
// is a *[hook.Error].
func NewReader(src io.Reader) (*Reader, error) {
	r := &Reader{scan: newScanner(src), seen: newSeen()}
	for len(r.scan.rest()) < 4 && r.scan.more() {
	}
	if name := foreign(r.scan.rest()); name != "" {
		return nil, &hook.Error{Kind: hook.Invalid, Subject: "the file", Detail: "is in " + name + "; save it as UTF-8"}
	}
	if strings.HasPrefix(string(r.scan.rest()[:min(3, len(r.scan.rest()))]), "\ufeff") {
		r.scan.consume(len("\ufeff"))
	}
	line, why, ok := r.next()
	switch {
	case !ok && r.scan.err == nil:
		return nil, &hook.Error{Kind: hook.Invalid, Subject: "the file", Detail: "is empty; its first line names the columns"}
	case !ok:
		return nil, fmt.Errorf("number: read: %w", r.scan.err)
	case why != "":
		return nil, &hook.Error{Kind: hook.Invalid, Subject: fmt.Sprintf("line %d", line), Detail: string(why)}
	}
	var names []string
	for _, name := range r.scan.cells() {
		names = append(names, name)
	}
	order, f := readHeader(names)
	if err := f.Err(fmt.Sprintf("line %d", line)); err != nil {
		return nil, err
	}
	r.order, r.phone = order, slices.Index(order, colPhone)
	r.done = r.scan.pos
	return r, nil
}

// Position is where the next record begins: behind the one that [Reader.Next] has returned last.
func (r *Reader) Position() Position { return r.done }

// Resume goes on where another Reader of the same file was. It reads what is before once more,
// several times as fast, for the numbers there are not to count again. If the file is not the
// same up to there, the error is a *[hook.Error].
func (r *Reader) Resume(p Position) error {
	if p == (Position{}) {
		return nil // nothing was read
	}
	for r.done.Offset < p.Offset {
		if _, err := r.read(true); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
	}
	if r.done != p {
		r.failure = &hook.Error{Kind: hook.Conflict, Subject: "the file", Detail: "is not the one that was begun with: it differs before line " + strconv.Itoa(p.Line)}
		return r.failure
	}
	return nil
}

// Next returns the next record. At the end of the file the error is io.EOF. After any other one,
// Position is still behind the last record.
func (r *Reader) Next() (*Record, error) { return r.read(false) }

// read reads a record; of one that is only skimmed, no more than its number.
func (r *Reader) read(skim bool) (*Record, error) {
	if r.failure != nil {
		return nil, r.failure
	}
	line, why, ok := r.next()
	switch {
	case !ok && r.scan.err == nil:
		r.done = r.scan.pos
		r.failure = io.EOF
		return nil, io.EOF
	case !ok:
		r.failure = fmt.Errorf("number: read: %w", r.scan.err)
		return nil, r.failure
	case r.seen.count == MaxNumbers:
		r.failure = &hook.Error{Kind: hook.TooLarge, Subject: "the file", Detail: fmt.Sprintf("has more than %d numbers; split it", MaxNumbers)}
		return nil, r.failure
	}
	r.done = r.scan.pos
	rec := &Record{Line: line}
	if r.phone < len(r.scan.ends) {
		rec.E164 = trim(r.scan.cell(r.phone)) // also if it cannot be trusted, so that people find the line
	}
	switch n := len(r.scan.ends); {
	case why != "":
		add(&rec.Faults, "", "the line "+string(why))
	case n != len(r.order):
		rec.Faults.Add("", "the line has %s, and the first line names %d columns", plural(n, "cell"), len(r.order))
	default:
		r.number(rec)
		if !skim {
			r.fill(rec)
		}
	}
	return rec, nil
}

// next goes to the next record that is not blank. It returns the line in which that begins, and
// why it is not to be trusted, if so.
func (r *Reader) next() (line int, why fault, ok bool) {
	for {
		line = r.scan.pos.Line
		if why, ok = r.scan.next(); !ok || why != "" || !r.scan.blank() {
			return line, why, ok
		}
	}
}

// number checks the number of a record, and remembers it.
func (r *Reader) number(rec *Record) {
	if why := phoneFault(rec.E164); why != "" {
		add(&rec.Faults, columnNames[colPhone], why)
	} else if before, known := r.seen.add(rec.E164, rec.Line); known {
		rec.Faults.Add(columnNames[colPhone], "%s is in line %d too, which counts", quote(rec.E164), before)
	}
}

// fill makes the rest of a record.
func (r *Reader) fill(rec *Record) {
	var cell [columns]string
	for i, s := range r.scan.cells() {
		cell[r.order[i]] = trim(s)
	}
	for _, column := range []int{colCarrier, colAccount, colTrunk, colStatus, colType, colProduct, colAssigned} {
		if cell[column] == clearMark {
			rec.Faults.Add(columnNames[column], "cannot be cleared")
			cell[column] = ""
		}
	}
	if s := cell[colCarrier]; s != "" {
		code, err := strconv.ParseInt(s, 10, 32)
		if rec.Carrier = int32(code); err != nil || code <= 0 {
			rec.Faults.Add(columnNames[colCarrier], "%s is not the code of a carrier, a number from 1 to 2147483647", quote(s))
		}
	}
	if rec.Account = cell[colAccount]; rec.Account != "" {
		checkAccount(&rec.Faults, rec.Account)
	}
	rec.change(&cell)
	for _, x := range rec.Change.Check() {
		x.Field = strings.TrimPrefix(x.Field, "emergency_address/")
		rec.Faults = append(rec.Faults, x)
	}
}

// change makes the change of the cells, and notes what it can only be told from them.
func (rec *Record) change(cell *[columns]string) {
	// One piece of memory for what the pointers of the change point to.
	v := &struct {
		trunk, ref, info, cnam string
		status, assigned       bool
		product                Product
		typ                    Type
		address                Address
	}{}
	c := &rec.Change
	texts := [...]struct {
		column int
		value  *string
		to     **string
	}{
		{colTrunk, &v.trunk, &c.SIPTrunkName}, {colBillingRef, &v.ref, &c.BillingRefID}, {colServiceInfo, &v.info, &c.ServiceInfo}, {colCNAM, &v.cnam, &c.CNAM},
	}
	for _, t := range texts {
		if s := cell[t.column]; s != "" {
			*t.value = trim(unescape(s))
			*t.to = t.value
		}
	}
	for _, x := range [...]struct {
		column int
		value  *bool
		to     **bool
	}{{colStatus, &v.status, &c.Status}, {colAssigned, &v.assigned, &c.Assigned}} {
		if s := cell[x.column]; s != "" {
			*x.value = strings.EqualFold(s, "true") // spreadsheets write TRUE
			*x.to = x.value
			if !*x.value && !strings.EqualFold(s, "false") {
				rec.Faults.Add(columnNames[x.column], "%s is neither true nor false", quote(s))
			}
		}
	}
	if s := cell[colProduct]; s != "" {
		v.product = Product(s)
		c.AllocatedProduct = &v.product
	}
	if s := cell[colType]; s != "" {
		v.typ = Type(s)
		c.NumberType = &v.typ
	}
	rec.address(cell, &v.address)
}

// address sets or clears the address of the change.
func (rec *Record) address(cell *[columns]string, a *Address) {
	others := []int{colCountry, colLine2, colCity, colZIP, colState}
	filled := func(column int) bool { return cell[column] != "" }
	switch line1 := cell[colLine1]; {
	case line1 == "" && !slices.ContainsFunc(others, filled):
		return
	case line1 == clearMark:
		for _, column := range others {
			if s := cell[column]; s != "" && s != clearMark {
				rec.Faults.Add(columnNames[column], "is %s, but address_line1 clears the address", quote(s))
			}
		}
	case line1 == "" && !slices.ContainsFunc(others, func(column int) bool { return filled(column) && cell[column] != clearMark }):
		rec.Faults.Add(columnNames[colLine1], "is missing: a %s in it clears the address, all of it", clearMark)
		return
	default:
		*a = Address{
			Country: unescape(cell[colCountry]), Line1: unescape(line1), Line2: unescape(cell[colLine2]),
			City: unescape(cell[colCity]), ZIP: unescape(cell[colZIP]), State: unescape(cell[colState]),
		}.Normal()
	}
	rec.Change.Address = a
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
