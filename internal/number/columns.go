package number

import (
	"fmt"
	"slices"
	"strings"

	"github.com/switchhook/switchhook/internal/hook"
)

// The columns of a file.
const (
	colPhone = iota
	colCarrier
	colAccount
	colTrunk
	colStatus
	colType
	colProduct
	colBillingRef
	colServiceInfo
	colCNAM
	colCountry
	colLine1
	colLine2
	colCity
	colZIP
	colState
	colAssigned
	columns
)

var columnNames = [columns]string{
	"phone_number", "carrier_code", "account_id", "sip_trunk_name", "status", "number_type", "allocated_product", "billing_ref_id", "service_info",
	"cnam", "country", "address_line1", "address_line2", "city", "zip", "state_code", "assigned",
}

// clearMark in a cell clears what the number has. An empty cell leaves it as it is.
const clearMark = "-"

// A value that is nothing but dashes is written with one more, so that it is not the mark.
func escape(s string) string {
	if s != "" && strings.Trim(s, "-") == "" {
		return s + "-"
	}
	return s
}

// unescape is the inverse of escape. The mark itself is the empty value.
func unescape(s string) string {
	if s != "" && strings.Trim(s, "-") == "" {
		return s[1:]
	}
	return s
}

// readHeader returns the column that each cell of a file's first line names.
func readHeader(cells []string) ([]int, hook.Faults) {
	var f hook.Faults
	if strings.Contains(strings.Join(cells, ""), "\r") {
		f.Add("", "its lines end with carriage returns only; end them with line feeds")
		return nil, f
	}
	if len(cells) == 1 {
		for _, c := range []struct{ sign, name string }{{";", "semicolons"}, {"\t", "tabs"}} {
			if strings.Contains(cells[0], c.sign) {
				f.Add("", "its columns are separated by %s; separate them by commas", c.name)
				return nil, f
			}
		}
	}
	order := make([]int, len(cells))
	seen := [columns]bool{}
	for i, cell := range cells {
		// Phone Number and PHONE-NUMBER are what people make of phone_number.
		name := strings.NewReplacer(" ", "_", "-", "_").Replace(strings.ToLower(trim(cell)))
		order[i] = slices.Index(columnNames[:], name)
		switch {
		case name == "":
			f.Add(fmt.Sprintf("column %d", i+1), "has no name; known are %s", strings.Join(columnNames[:], ", "))
		case order[i] < 0:
			f.Add(quote(trim(cell)), "is not a column; known are %s", strings.Join(columnNames[:], ", "))
		case seen[order[i]]:
			f.Add(name, "is there twice")
		default:
			seen[order[i]] = true
		}
	}
	if len(f) == 0 && !seen[colPhone] {
		f.Add(columnNames[colPhone], "is missing; the first line names the columns")
	}
	return order, f
}
