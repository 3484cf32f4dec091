package number

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/switchhook/switchhook/internal/hook"
)

const header = "phone_number,carrier_code,account_id,sip_trunk_name,status,number_type,allocated_product,billing_ref_id,service_info,cnam,country,address_line1,address_line2,city,zip,state_code\n"

// all reads a file to its end.
func all(t failer, text string) []*Record {
	t.Helper()
	r, err := NewReader(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	records, err := rest(r)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return records
}

func rest(r *Reader) (records []*Record, err error) {
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return records, nil
		}
		if err != nil {
			return records, err
		}
		records = append(records, rec)
	}
}

// Each cell is what it says: a value, a dash that clears, or nothing, which leaves alone.
func TestCells(t *testing.T) {
	const start = "+14155550142,2417,acme,"
	for _, c := range []struct {
		name, line string
		want       Change
	}{
		{"nothing", "+14155550142,,,,,,,,,,,,,,,", Change{}},
		{"what the carrier says", start + "west-1,true,Toll,ZOOM_PHONE,ref-1,Inbound only,,,,,,,",
			Change{SIPTrunkName: new("west-1"), Status: new(true), NumberType: new(Toll), AllocatedProduct: new(Phone), BillingRefID: new("ref-1"), ServiceInfo: new("Inbound only")}},
		{"a caller name", start + ",,,,,,HARBOR BAKERY,,,,,,", Change{CNAM: new("HARBOR BAKERY")}},
		{"an address", start + ",,,,,,,us,1200 Battery Street,Floor 4,San Francisco,94111,ca",
			Change{Address: &Address{"US", "1200 Battery Street", "Floor 4", "San Francisco", "94111", "CA"}}},
		{"what is not said of an address is not in it", start + ",,,,,,,,1 Main St,,-,,", Change{Address: &Address{Line1: "1 Main St"}}},
		{"all that can be cleared", start + ",,,,-,-,-,,-,,,,", Change{BillingRefID: new(""), ServiceInfo: new(""), CNAM: new(""), Address: &Address{}}},
		{"an address cleared in every cell", start + ",,,,,,,-,-,-,-,-,-", Change{Address: &Address{}}},
		{"dashes that are meant", start + ",,,,--,---,,,--,--,a-,,", Change{BillingRefID: new("-"), ServiceInfo: new("--"), Address: &Address{Line1: "-", Line2: "-", City: "a-"}}},
		{"white space", " +14155550142\t, 2417 , acme ,,TRUE , , ,\t-,  two  words  , A ,,,,,,",
			Change{Status: new(true), BillingRefID: new(""), ServiceInfo: new("two  words"), CNAM: new("A")}},
		{"quotation marks", `"+14155550142","2417",acme,"",false,,,"a,""b""",,"A ""B""",,"1 Main St, ""rear""",,,,`,
			Change{Status: new(false), BillingRefID: new(`a,"b"`), CNAM: new(`A "B"`), Address: &Address{Line1: `1 Main St, "rear"`}}},
		{"quotation marks around a line feed that goes", "+14155550142,2417,acme,,,,,,,\"A\r\n\",,,,,,", Change{CNAM: new("A")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := all(t, header+c.line)
			if len(got) != 1 || got[0].E164 != "+14155550142" || got[0].Line != 2 || len(got[0].Faults) > 0 || !reflect.DeepEqual(got[0].Change, c.want) {
				t.Errorf("got %s", listed(got))
			}
			if len(got) == 1 && c.line[1] == '2' && (got[0].Carrier != 2417 || got[0].Account != "acme") {
				t.Errorf("it is said to be of %d and %s", got[0].Carrier, got[0].Account)
			}
		})
	}
}

// Whatever is wrong with a line, it is refused with its place and a reason, and those around it are
// read.
func TestBadLines(t *testing.T) {
	for _, c := range []struct{ name, line, want string }{
		{"not a number", "x,,,,,,,,,,,,,,,", `phone_number "x" is not E.164: a + and digits, and nothing else`},
		{"no number", ",2417,,,,,,,,,,,,,,", `phone_number is missing`},
		{"a cleared number", "-,2417,,,,,,,,,,,,,,", `phone_number "-" is not E.164: a + and digits, and nothing else`},
		{"a number of no plan", "+12090000011,,,,,,,,,,,,,,,", `phone_number "+12090000011" is not a number that the numbering plan of calling code 1 has`},
		{"a number twice", "+14155550100,,,,,,,,,,,,,,,", `phone_number "+14155550100" is in line 2 too, which counts`},
		{"a number twice, written otherwise", `" +14155550100",,,,,,,,,,,,,,,`, `phone_number "+14155550100" is in line 2 too, which counts`},
		{"too few cells", "+14155550142,2417", `the line has 2 cells, and the first line names 16 columns`},
		{"too many cells", "+14155550142,,,,,,,,,,,,,,,,", `the line has 17 cells, and the first line names 16 columns`},
		{"one cell", "+14155550142", `the line has 1 cell, and the first line names 16 columns`},
		{"a carrier in words", "+14155550142,Bay,,,,,,,,,,,,,,", `carrier_code "Bay" is not the code of a carrier, a number from 1 to 2147483647`},
		{"a carrier beyond 32 bits", "+14155550142,2147483648,,,,,,,,,,,,,,", `carrier_code "2147483648" is not the code of a carrier, a number from 1 to 2147483647`},
		{"a carrier that is 0", "+14155550142,0,,,,,,,,,,,,,,", `carrier_code "0" is not the code of a carrier, a number from 1 to 2147483647`},
		{"what cannot be cleared", "+14155550142,-,-,-,-,-,-,,,,,,,,,",
			`carrier_code cannot be cleared; account_id cannot be cleared; sip_trunk_name cannot be cleared; status cannot be cleared; number_type cannot be cleared; allocated_product cannot be cleared`},
		{"an account of two words", "+14155550142,,a b,,,,,,,,,,,,,", `account_id "a b" has characters other than A-Z a-z 0-9 _ . : -`},
		{"a status that is none", "+14155550142,,,,yes,,,,,,,,,,,", `status "yes" is neither true nor false`},
		{"a type that is none", "+14155550142,,,,,mobile,,,,,,,,,,", `number_type "mobile" is none of Mobile, Toll, TollFree, VirtualService`},
		{"a product that is none", "+14155550142,,,,,,PHONE,,,,,,,,,", `allocated_product "PHONE" is none of UNALLOCATED, ZOOM_PHONE, ZOOM_CONTACT_CENTER`},
		{"a caller name of 16 characters", "+14155550142,,,,,,,,,ABCDEFGHIJKLMNOP,,,,,,", `cnam "ABCDEFGHIJKLMNOP" has 16 characters; at most 15 are allowed`},
		{"a caller name without letters", "+14155550142,,,,,,,,,24 7 365,,,,,,", `cnam "24 7 365" has no letter; a caller name has at least one`},
		{"an address without line 1", "+14155550142,,,,,,,,,,US,,,Paris,,", `address_line1 is missing: an address has at least house number and street`},
		{"an address cleared beside line 1", "+14155550142,,,,,,,,,,,,,-,,", `address_line1 is missing: a - in it clears the address, all of it`},
		{"an address half cleared", "+14155550142,,,,,,,,,,US,-,-,Paris,,", `country is "US", but address_line1 clears the address; city is "Paris", but address_line1 clears the address`},
		{"a state that is none", "+14155550142,,,,,,,,,,US,1 Main St,,,,ZZ", `state_code "ZZ" is not a state, province or the like of US; ISO 3166-2 has their codes, without the US-`},
		{"a ZIP that is none", "+14155550142,,,,,,,,,,US,1 Main St,,,9411,", `zip "9411" is not a postal code of US, which look like 99999 or 99999-9999`},
		{"a country that is none", "+14155550142,,,,,,,,,,UK,1 Main St,,,,", `country "UK" is not a country of ISO 3166-1 alpha-2, as in US or GB`},
		{"a line feed in a value", "+14155550142,,,,,,,,\"one\ntwo\",,,,,,,", `service_info "one\ntwo" has U+000A in it, which is not a printable character`},
		{"a NUL", "+14155550142,,,,,,,,a\x00b,,,,,,,", `service_info "a\x00b" has U+0000 in it, which is not a printable character`},
		{"a carriage return", "+14155550142,,,,,,,,a\rb,,,,,,,", `service_info "a\rb" has U+000D in it, which is not a printable character`},
		{"Latin-1", "+14155550142,,,,,,,,B\xe4ckerei,,,,,,,", `the line is not UTF-8, and seems to be Latin-1 (ISO 8859-1); save the file as UTF-8`},
		{"Windows-1252", "+14155550142,,,,,,,,\x80 5,,,,,,,", `the line is not UTF-8, and seems to be Windows-1252; save the file as UTF-8`},
		{"a quotation mark within", `+14155550142,,,,,,,,12" pipe,,,,,,,`, `the line has a quotation mark within a cell; put the whole cell in quotation marks and write it twice`},
		{"something after a quotation mark", `+14155550142,,,,,,,,"12" pipe,,,,,,,`, `the line has something between a closing quotation mark and the next comma`},
		{"a quotation mark that is not closed", `+14155550142,,,,,,,,"12,,,,,,,`, `the line has a quotation mark that is not closed`},
		{"a long line", "+14155550142,,,,,,,," + strings.Repeat("x", maxRecord) + ",,,,,,,", `the line is longer than 65,536 bytes`},
		{"a very long line", "+14155550142,,,,,,,," + strings.Repeat("x", 10*maxRecord) + ",,,,,,,", `the line is longer than 65,536 bytes`},
		{"a long line in quotation marks", `+14155550142,,,,,,,,"` + strings.Repeat("x", maxRecord) + `",,,,,,,`, `the line is longer than 65,536 bytes`},
		{"much", "+1415,x,,,maybe,,,,,1,,,,,,", `phone_number "+1415" is too short for a number of calling code 1; carrier_code "x" is not the code of a carrier, a number from 1 to 2147483647; ` +
			`status "maybe" is neither true nor false; cnam "1" has no letter; a caller name has at least one`},
	} {
		t.Run(c.name, func(t *testing.T) {
			const before, after = "+14155550100,,,,,,,,,A,,,,,,", "+14155550200,,,,,,,,,B,,,,,,"
			got := all(t, header+before+"\n"+c.line+"\n"+after+"\n")
			if len(got) != 3 || len(got[0].Faults)+len(got[2].Faults) > 0 || got[0].E164 != "+14155550100" || got[2].E164 != "+14155550200" {
				t.Fatalf("the lines around it are lost: %s", listed(got))
			}
			if got[1].Line != 3 || got[2].Line != 4+strings.Count(c.line, "\n") {
				t.Errorf("it is said to be line %d, and what follows %d", got[1].Line, got[2].Line)
			}
			if text := got[1].Faults.Error(); text != c.want {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
			if number, _, _ := strings.Cut(c.line, ","); shaped(number) && len(got[1].E164) == 0 && !strings.Contains(c.want, "the line") {
				t.Error("nobody knows which number it is")
			}
		})
	}
}

func listed(records []*Record) string {
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintf(&b, "\nline %d, %.40q of %d and %q: %v", r.Line, r.E164, r.Carrier, r.Account, r.Faults)
	}
	return b.String()
}

// A line may have 65,536 bytes, with what ends it, and so may one that goes over several.
func TestLongestLine(t *testing.T) {
	const start = "phone_number,service_info\n"
	for _, c := range []struct {
		name, begin, end string
	}{
		{"plain", "+14155550142,", "\n"},
		{"at the end of the file", "+14155550142,", ""},
		{"in quotation marks", `+14155550142,"`, "\"\r\n"},
		{"over two lines", "+14155550142,\"\n", "\"\n"},
	} {
		for length, want := range map[int]bool{maxRecord: true, maxRecord + 1: false} {
			line := c.begin + strings.Repeat("x", length-len(c.begin)-len(c.end)) + c.end
			f := all(t, start+line)[0].Faults.Error()
			if known := strings.HasPrefix(f, "service_info"); known != want {
				t.Errorf("%s, %d bytes: %s", c.name, length, f)
			}
		}
	}
}

// A quotation mark that is not closed costs its own line, not those up to the next one.
func TestOpenQuotationMark(t *testing.T) {
	for _, between := range []int{1, 5, maxLines, 1000} {
		var b strings.Builder
		b.WriteString("phone_number,cnam\n+14155550100,\"open\n")
		for i := range between {
			fmt.Fprintf(&b, "+1415555%04d,A\n", 1000+i)
		}
		b.WriteString("+14155550200,\"A, B\"\n+14155550300,C\n")
		got := all(t, b.String())
		if len(got) != between+3 {
			t.Fatalf("%d lines between: %d records", between, len(got))
		}
		for i, rec := range got {
			if rec.Line != i+2 || len(rec.Faults) > 0 != (i == 0) {
				t.Errorf("%d lines between: %s", between, listed(got[i:i+1]))
			}
		}
	}
}

// Lines are counted as an editor counts them, whatever is in them.
func TestLineNumbers(t *testing.T) {
	const text = "\n \nphone_number,cnam\n" + // 3
		"+14155550100,A\r\n" +
		"\r\n" +
		"+14155550101,\"A\n\n\"\n" + // 6 to 8
		",\n" +
		"+14155550102,\"A\r\n\"\r\n" + // 10 and 11
		"\t\n" +
		"+14155550103,A" // 13
	got := ""
	for _, rec := range all(t, text) {
		got += fmt.Sprintln(rec.E164, rec.Line, len(rec.Faults))
	}
	if want := "+14155550100 4 0\n+14155550101 6 0\n+14155550102 10 0\n+14155550103 13 0\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// The first line names the columns, in any order and not all of them.
func TestFirstLine(t *testing.T) {
	known := strings.Join(columnNames[:], ", ")
	for _, c := range []struct{ name, text, want string }{
		{"nothing more than the number", "phone_number\n+14155550142\n", ""},
		{"another order, and as people write it", "\ufeff CNAM , Phone Number,Address-Line1\r\nA,+14155550142,1 Main St\r\n", ""},
		{"quotation marks", "\"phone_number\",\"cnam\"\n+14155550142,A", ""},
		{"an empty file", "", "the file: is empty; its first line names the columns"},
		{"a byte order mark", "\ufeff", "the file: is empty; its first line names the columns"},
		{"blank lines", "\n\r\n  \n", "the file: is empty; its first line names the columns"},
		{"no number", "cnam,zip\n", "line 1: phone_number is missing; the first line names the columns"},
		{"no first line", "+14155550142,HARBOR BAKERY\n", `line 1: "+14155550142" is not a column; known are ` + known + `; "HARBOR BAKERY" is not a column; known are ` + known},
		{"a column that is none", "phone_number,street\n", `line 1: "street" is not a column; known are ` + known},
		{"a column without a name", "phone_number,,cnam\n", `line 1: column 2 has no name; known are ` + known},
		{"a column twice", "\nphone_number,cnam,CNAM\n", `line 2: cnam is there twice`},
		{"semicolons", "phone_number;cnam\n", `line 1: its columns are separated by semicolons; separate them by commas`},
		{"tabs", "phone_number\tcnam\n", `line 1: its columns are separated by tabs; separate them by commas`},
		{"carriage returns", "phone_number,cnam\r+14155550142,A\r", `line 1: its lines end with carriage returns only; end them with line feeds`},
		{"an open quotation mark", "\"phone_number,cnam\n+14155550142,A\n", `line 1: has a quotation mark that is not closed`},
		{"a long line", strings.Repeat("x", maxRecord+1), `line 1: is longer than 65,536 bytes`},
		{"Latin-1", "phone_number,stra\xdfe\n", `line 1: is not UTF-8, and seems to be Latin-1 (ISO 8859-1); save the file as UTF-8`},
		{"UTF-16, little endian", "\xff\xfe" + wide("phone_number\n", 0, 1), `the file: is in UTF-16; save it as UTF-8`},
		{"UTF-16, big endian", "\xfe\xff" + wide("phone_number\n", 1, 0), `the file: is in UTF-16; save it as UTF-8`},
		{"UTF-16 without a mark", wide("phone_number\n", 0, 1), `the file: is in UTF-16; save it as UTF-8`},
		{"UTF-16 without a mark, big endian", wide("phone_number\n", 1, 0), `the file: is in UTF-16; save it as UTF-8`},
		{"UTF-32", "\xff\xfe\x00\x00p\x00\x00\x00", `the file: is in UTF-32; save it as UTF-8`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := NewReader(strings.NewReader(c.text))
			if c.want != "" {
				e, ok := errors.AsType[*hook.Error](err)
				if !ok || e.Kind != hook.Invalid || e.Error() != c.want {
					t.Errorf("got  %v\nwant %s", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			rec, err := r.Next()
			if err != nil || rec.E164 != "+14155550142" || len(rec.Faults) > 0 {
				t.Errorf("got %+v, %v", rec, err)
			}
		})
	}
}

// wide writes a text with two bytes for each character.
func wide(s string, low, high int) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		var two [2]byte
		two[low], two[high] = byte(u), byte(u>>8)
		b = append(b, two[:]...)
	}
	return string(b)
}

// Reading what was written changes nothing; and it makes another number of the same the same,
// except where the first one has nothing to say.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.SliceOfNDistinct(rapid.Custom(drawNumber), 0, 5, func(n Number) string { return n.E164 }).Draw(t, "numbers")
		var b bytes.Buffer
		w := NewWriter(&b)
		for i := range numbers {
			if err := w.Write(&numbers[i]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		records := all(t, b.String())
		if len(records) != len(numbers) {
			t.Fatalf("%d of %d numbers are read", len(records), len(numbers))
		}
		for i, rec := range records {
			n := numbers[i]
			if len(rec.Faults) > 0 || rec.E164 != n.E164 || rec.Carrier != n.Carrier || rec.Account != n.Account {
				t.Fatalf("%+v is read as %s", n, listed(records[i:i+1]))
			}
			if after, changed := Apply(n, rec.Change); changed {
				t.Fatalf("%+v becomes %+v", n, after)
			}
			if c := rec.Change.Conflicts(&n); len(c) > 0 {
				t.Fatalf("%+v conflicts with itself: %v", n, c)
			}
			want := Number{E164: n.E164, SIPTrunkName: "t", ServiceInfo: "s", CNAM: "C", Address: Address{Line1: "x", City: "y"}}
			got, _ := Apply(want, rec.Change)
			for _, x := range []struct{ to, from *string }{{&want.SIPTrunkName, &n.SIPTrunkName}, {&want.ServiceInfo, &n.ServiceInfo}, {&want.CNAM, &n.CNAM}, {&want.BillingRefID, &n.BillingRefID}} {
				if *x.from != "" {
					*x.to = *x.from
				}
			}
			if n.Address != (Address{}) {
				want.Address = n.Address
			}
			want.Status, want.Assigned, want.NumberType, want.AllocatedProduct = n.Status, n.Assigned, n.NumberType, n.AllocatedProduct
			if got != want {
				t.Fatalf("another number becomes\n%+v, want\n%+v", got, want)
			}
		}
	})
}

// The file that is written is one that other programs read.
func TestGoldenFile(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	plain, odd := bakery(), bakery()
	plain.Address, plain.CNAM, plain.ServiceInfo = Address{}, "", ""
	odd.E164, odd.Status, odd.ServiceInfo, odd.BillingRefID = "+442079460127", false, `metered, "as is"`, "-"
	for _, n := range []Number{plain, odd} {
		if err := w.Write(&n); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	want := strings.TrimSpace(header) + `,assigned
+14155550142,2417,Xw3hT0aKQ7mVb9RzC1yPdA,west-1,true,Toll,ZOOM_PHONE,ref-1,,,,,,,,,true
+442079460127,2417,Xw3hT0aKQ7mVb9RzC1yPdA,west-1,false,Toll,ZOOM_PHONE,--,"metered, ""as is""",HARBOR BAKERY,US,1200 Battery Street,Floor 4,San Francisco,94111,CA,true
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	if _, err := csv.NewReader(&b).ReadAll(); err != nil {
		t.Error(err)
	}
}

// A disk that is full is noticed.
func TestWriteFails(t *testing.T) {
	w := NewWriter(full{})
	n := bakery()
	var err error
	for range 100 {
		err = errors.Join(err, w.Write(&n))
	}
	if !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("writing much: %v", err)
	}
	if err := NewWriter(full{}).Flush(); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("writing nothing: %v", err)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// drawFile draws a file as bad as may be. Its first line is good.
func drawFile(t *rapid.T) string {
	var b strings.Builder
	b.WriteString(rapid.SampledFrom([]string{"phone_number,cnam\n", "\ufeffphone_number,cnam\r\n", "\ncnam,phone_number,zip,address_line1\n"}).Draw(t, "first line"))
	lines := rapid.SliceOfN(rapid.OneOf(
		rapid.StringMatching(`\+1415555010[0-9],[A-C]\n`),
		rapid.StringMatching(`A,\+1415555010[0-9],,\r\n`),
		rapid.StringMatching(`\+1415555010[0-9],"[A-C]?\n?(""){0,2}"?\n`),
		rapid.StringMatching(`[+0-9,"a-z\r\n ]{0,20}\n?`),
		rapid.SampledFrom([]string{"\n", ",,,\n", "\"", "\xff\n", "\x00", strings.Repeat("x", maxRecord-1) + "\n", strings.Repeat("y", maxRecord) + "\n", `"` + strings.Repeat("\n", 40)}),
	), 0, 20).Draw(t, "lines")
	for _, line := range lines {
		b.WriteString(line)
	}
	return b.String()
}

// Whoever goes on where another one was, reads what that one would have read; at every place of
// every file.
func TestResume(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { resumes(t, drawFile(t)) })
}

func resumes(t failer, text string) {
	t.Helper()
	r, err := NewReader(strings.NewReader(text))
	if err != nil {
		return
	}
	places, records := []Position{r.Position()}, []*Record(nil)
	for {
		rec, err := r.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		records = append(records, rec)
		p, last := r.Position(), places[len(places)-1]
		if p.Offset <= last.Offset || p.Line < last.Line || p.Line != 1+strings.Count(text[:p.Offset], "\n") || rec.Line < last.Line || rec.Line > p.Line {
			t.Fatalf("%q: after %+v comes %+v", text, last, p)
		}
		places = append(places, p)
	}
	if end := r.Position(); end.Offset != int64(len(text)) {
		t.Fatalf("%q: it ends at %d", text, end.Offset)
	}
	for i, p := range append(places, r.Position()) {
		again, err := NewReader(iotest.HalfReader(strings.NewReader(text)))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if err := again.Resume(p); err != nil || again.Position() != p {
			t.Fatalf("%q at %+v: %v, at %+v", text, p, err, again.Position())
		}
		got, err := rest(again)
		want := records[min(i, len(records)):]
		if err != nil || len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Fatalf("%q at %+v: got %s, want %s", text, p, listed(got), listed(want))
		}
	}
}

// A file that is another one up to where somebody was is not gone on with.
func TestResumeOfAnotherFile(t *testing.T) {
	const text = "phone_number,cnam\n+14155550100,A\n+14155550101,B\n+14155550102,C\n"
	r, err := NewReader(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	at := r.Position()
	for name, other := range map[string]string{
		"one letter":     strings.Replace(text, "A", "X", 1),
		"a line more":    strings.Replace(text, "+14155550101", "+14155550199,Z\n+14155550101", 1),
		"a line less":    strings.Replace(text, "+14155550100,A\n", "", 1),
		"two lines less": "phone_number,cnam\n",
		"another first":  "phone_number,zip\n" + text[len("phone_number,cnam\n"):],
		"other ends":     strings.ReplaceAll(text, "\n", "\r\n"),
	} {
		r, err := NewReader(strings.NewReader(other))
		if err != nil {
			t.Fatal(name, err)
		}
		err = r.Resume(at)
		if e, ok := errors.AsType[*hook.Error](err); !ok || e.Kind != hook.Conflict || e.Error() != "the file: is not the one that was begun with: it differs before line 4" {
			t.Errorf("%s: %v", name, err)
		}
		if _, again := r.Next(); again == nil {
			t.Errorf("%s: it is gone on with all the same", name)
		}
	}
	// What comes after is not looked at, and nothing at all is the beginning.
	for _, c := range []struct {
		text string
		at   Position
		want string
	}{{text[:at.Offset] + "+14155550103,D\n", at, "+14155550103"}, {text, Position{}, "+14155550100"}} {
		r, err := NewReader(strings.NewReader(c.text))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Resume(c.at); err != nil {
			t.Fatal(err)
		}
		if rec, err := r.Next(); err != nil || rec.E164 != c.want {
			t.Errorf("then comes %+v, %v, want %s", rec, err, c.want)
		}
	}
}

// A file that cannot be read to its end is read as far as its last whole line, and the place is
// behind that.
func TestReadFails(t *testing.T) {
	broken := errors.New("the disk is gone")
	const text = "phone_number,cnam\n+14155550100,A\n+14155550101,\"B\n\"\n"
	for cut := range len(text) + 1 {
		r, err := NewReader(io.MultiReader(strings.NewReader(text[:cut]), iotest.ErrReader(broken)))
		if cut < len("phone_number,cnam\n") {
			if !errors.Is(err, broken) {
				t.Fatalf("after %d bytes: %v", cut, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("after %d bytes: %v", cut, err)
		}
		got, err := rest(r)
		want := 0
		for _, end := range []int{33, len(text)} {
			if cut >= end {
				want++
			}
		}
		if !errors.Is(err, broken) || len(got) != want || r.Position().Offset != int64([]int{18, 33, len(text)}[want]) {
			t.Errorf("after %d bytes: %d records to %+v, %v", cut, len(got), r.Position(), err)
		}
		if _, again := r.Next(); !errors.Is(again, broken) {
			t.Errorf("after %d bytes it goes on: %v", cut, again)
		}
	}
	whole, err := NewReader(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rest(whole); err != nil {
		t.Fatal(err)
	}
	again, err := NewReader(io.MultiReader(strings.NewReader(text[:40]), iotest.ErrReader(broken)))
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Resume(whole.Position()); !errors.Is(err, broken) {
		t.Errorf("while going on: %v", err)
	}
	for _, length := range []int{maxRecord, 10 * maxRecord} {
		r, err := NewReader(io.MultiReader(strings.NewReader("phone_number\n"+strings.Repeat("x", length)), iotest.ErrReader(broken)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(); !errors.Is(err, broken) || r.Position().Offset != 13 {
			t.Errorf("in a long line: %v at %d", err, r.Position().Offset)
		}
	}
	// An error that is made of the end of something else is not the end of the file.
	r, err := NewReader(io.MultiReader(strings.NewReader("phone_number\n"), iotest.ErrReader(fmt.Errorf("tunnel: %w", io.EOF))))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a tunnel that ends: %v", err)
	}
	r, err = NewReader(io.MultiReader(strings.NewReader("phone_number\n"), idle{}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("what never gives anything: %v", err)
	}
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

// A number counts once in a file, where it is first; also if that line is refused for something
// else.
func TestNumbersTwice(t *testing.T) {
	const text = "phone_number,cnam\n+14155550100,123\n+14155550101,A\n+14155550100,A\n+14155550100,B\n+1415,A\n+1415,A\n"
	got := ""
	for _, rec := range all(t, text) {
		got += fmt.Sprintf("%d: %v\n", rec.Line, rec.Faults)
	}
	const want = `2: cnam "123" has no letter; a caller name has at least one
3: 
4: phone_number "+14155550100" is in line 2 too, which counts
5: phone_number "+14155550100" is in line 2 too, which counts
6: phone_number "+1415" is too short for a number of calling code 1
7: phone_number "+1415" is too short for a number of calling code 1
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// The numbers of a file are remembered in the memory that is promised, and none is forgotten.
func TestSeen(t *testing.T) {
	const million = 1_000_000
	s := newSeen()
	number := func(i int) string { return "+1" + strconv.Itoa(2_000_000_000+i*7919) }
	for i := range million {
		if before, known := s.add(number(i), i+2); known {
			t.Fatalf("%s is in line %d before it is added", number(i), before)
		}
	}
	for i := 0; i < million; i += 97 {
		if before, known := s.add(number(i), 0); !known || before != i+2 {
			t.Fatalf("%s is in line %d, %v, want %d", number(i), before, known, i+2)
		}
	}
	if got := 8*len(s.keys) + 4*len(s.lines); got != 24<<20 {
		t.Errorf("a million numbers take %d bytes, want 24 MiB", got)
	}
}

// A file has a bound, beyond which nothing is read.
func TestTooManyNumbers(t *testing.T) {
	r, err := NewReader(strings.NewReader("phone_number\n+14155550100\n+14155550101\n"))
	if err != nil {
		t.Fatal(err)
	}
	r.seen.count = MaxNumbers - 1
	if _, err := r.Next(); err != nil {
		t.Error(err)
	}
	at := r.Position()
	_, err = r.Next()
	if e, ok := errors.AsType[*hook.Error](err); !ok || e.Kind != hook.TooLarge || e.Error() != "the file: has more than 3000000 numbers; split it" || r.Position() != at {
		t.Errorf("got %v", err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add("phone_number,cnam\n+14155550100,A\n+14155550101,\"B\n\"\n")
	f.Add("\ufeffcnam,phone_number\r\n\"A \"\"B\"\"\",+14155550100\r\n,,\r\nA,\"+14155550101\n")
	f.Add("phone_number,country,address_line1,zip,state_code\n+14155550100,US,1 Main St,94111,CA\n+14155550101,-,-,-,-\n+14155550102,,,1,\n")
	f.Add(header + "+14155550142,2417,acme,w,true,Toll,ZOOM_PHONE,-,--,A,DE,x,y,z,10115,BE\n")
	f.Add("phone_number\n\"\"\n\"+14155550100\"\"\"\n\x00\xff\n")
	f.Add("\xff\xfep\x00")
	f.Fuzz(func(t *testing.T, text string) {
		resumes(t, text)
		r, err := NewReader(strings.NewReader(text))
		if err != nil {
			if _, ok := errors.AsType[*hook.Error](err); !ok {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		small, err := NewReader(iotest.OneByteReader(strings.NewReader(text)))
		if err != nil {
			t.Fatalf("%q, byte by byte: %v", text, err)
		}
		for {
			rec, err := r.Next()
			again, err2 := small.Next()
			if !reflect.DeepEqual(rec, again) || err != err2 {
				t.Fatalf("%q: %+v, %v, byte by byte %+v, %v", text, rec, err, again, err2)
			}
			if err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			for _, x := range rec.Faults {
				if !utf8.ValidString(x.Field) || hook.Printable(x.Message) != x.Message || x.Field != "" && !slices.Contains(columnNames[:], x.Field) {
					t.Fatalf("%q: %+v", text, x)
				}
			}
			if len(rec.Faults) > 0 {
				continue
			}
			// What is accepted makes a good number, which is written as it was read.
			n := Number{E164: rec.E164, Carrier: 1, Account: "a"}.Normal()
			if rec.Carrier != 0 {
				n.Carrier = rec.Carrier
			}
			if rec.Account != "" {
				n.Account = rec.Account
			}
			n, _ = Apply(n, rec.Change)
			n.NumberType = n.NumberType.within(n.AllocatedProduct)
			if x := n.Check(); len(x) > 0 {
				t.Fatalf("%q makes %+v: %v", text, n, x)
			}
			var b bytes.Buffer
			w := NewWriter(&b)
			_ = w.Write(&n)
			_ = w.Flush()
			if after, changed := Apply(n, all(t, b.String())[0].Change); changed {
				t.Fatalf("%+v is read as %+v", n, after)
			}
		}
	})
}

// Where the standard library's reader has no objection to a file, the cells are the same.
func FuzzCells(f *testing.F) {
	f.Add("a,b\n\"c\",\"d\"\"\"\n")
	f.Add("a\r\n\"b\r\nc\"\r\n")
	f.Add("\"\n\n\"\n,\n")
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || len(text) >= maxRecord || strings.Count(text, "\n") >= maxLines {
			return
		}
		theirs := csv.NewReader(strings.NewReader(text))
		theirs.FieldsPerRecord = -1
		want, err := theirs.ReadAll()
		if err != nil {
			return
		}
		var got [][]string
		s := newScanner(strings.NewReader(text))
		for {
			before := s.pos.Offset
			why, ok := s.next()
			if !ok {
				break
			}
			if why != "" {
				t.Fatalf("%q: %s", text, why)
			}
			if len(chomp([]byte(text[before:s.pos.Offset]))) == 0 {
				continue // theirs leaves empty lines out
			}
			var cells []string
			for _, cell := range s.cells() {
				cells = append(cells, strings.ReplaceAll(cell, "\r\n", "\n")) // theirs does so within quotation marks
			}
			got = append(got, cells)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: got %q, want %q", text, got, want)
		}
	})
}
