package number

import (
	"bufio"
	"io"
	"strconv"
	"strings"
)

// Writer writes numbers as [Reader] reads them, so that reading what it wrote changes nothing.
type Writer struct {
	w     *bufio.Writer
	begun bool
	row   []byte
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: bufio.NewWriter(w)} }

// Write writes a number that has no fault.
func (w *Writer) Write(n *Number) error {
	w.begin()
	w.row = w.row[:0]
	for i, cell := range [columns]string{
		n.E164, strconv.Itoa(int(n.Carrier)), n.Account, escape(n.SIPTrunkName), strconv.FormatBool(n.Status), string(n.NumberType), string(n.AllocatedProduct),
		escape(n.BillingRefID), escape(n.ServiceInfo), escape(n.CNAM),
		n.Address.Country, escape(n.Address.Line1), escape(n.Address.Line2), escape(n.Address.City), escape(n.Address.ZIP), escape(n.Address.State), strconv.FormatBool(n.Assigned),
	} {
		if i > 0 {
			w.row = append(w.row, ',')
		}
		w.row = appendCell(w.row, cell)
	}
	w.row = append(w.row, '\n')
	_, err := w.w.Write(w.row)
	return err
}

// begin writes the first line. If that fails, so does whatever is written after it.
func (w *Writer) begin() {
	if !w.begun {
		w.begun = true
		_, _ = w.w.WriteString(strings.Join(columnNames[:], ",") + "\n")
	}
}

// Flush writes what is still in memory. A file of no numbers has its first line too.
func (w *Writer) Flush() error {
	w.begin()
	return w.w.Flush()
}

func appendCell(row []byte, s string) []byte {
	if !strings.ContainsAny(s, ",\"\r\n") {
		return append(row, s...)
	}
	row = append(row, '"')
	row = append(row, strings.ReplaceAll(s, `"`, `""`)...)
	return append(row, '"')
}
