// Package capture reads HTTP requests out of what tools have recorded of them.
//
// [Read] takes the text of a request as it was on the wire, a HAR file, a curl
// command, or a body alone. It changes nothing about a body that the recording does
// not make necessary, for whoever asks wants to know what has changed it.
package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

// Request is a request as it was captured.
type Request struct {
	// Where says which one it is of several, as in "entry 3".
	Where  string
	Method string
	URL    string
	// Header has the names in the form of net/http.
	Header http.Header
	Body   []byte
	// Received is when it was recorded, if the recording says so.
	Received time.Time
	// Notes say in a sentence each what the recording did to the request, or lacks.
	Notes []string
}

// Format is a way to record requests.
type Format string

// The formats.
const (
	Auto Format = ""     // whichever it looks like
	HTTP Format = "http" // as on the wire: perhaps a request line, headers, an empty line, the body
	HAR  Format = "har"  // what browsers and proxies export
	Curl Format = "curl" // a command line
	Body Format = "body" // the body alone
)

// Formats returns the formats that can be asked for.
func Formats() []Format { return []Format{HTTP, HAR, Curl, Body} }

// Read returns the requests in a recording, in their order; at least one.
func Read(text []byte, f Format) ([]Request, error) {
	if f == Auto {
		f = Detect(text)
	}
	if plain, ok := fromUTF16(text); ok && f != Body {
		text = plain
	}
	switch f {
	case HTTP:
		r, err := readHTTP(text)
		return []Request{r}, err
	case HAR:
		return readHAR(text)
	case Curl:
		r, err := readCurl(string(text))
		return []Request{r}, err
	case Body:
		return []Request{{Method: http.MethodPost, Header: http.Header{}, Body: text}}, nil
	}
	return nil, fmt.Errorf("format %q is none of %s", f, names())
}

func names() string {
	var all []string
	for _, f := range Formats() {
		all = append(all, string(f))
	}
	return strings.Join(all, ", ")
}

var (
	requestLine = regexp.MustCompile(`^[A-Z]+ \S+( HTTP/[0-9.]+)?\r?\n`)
	headerLine  = regexp.MustCompile("^:?[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]?[^\r\n]*(\r?\n|$)")
	curlCommand = regexp.MustCompile(`^\s*(\$ )?curl(\.exe)?\s`)
	harBegin    = regexp.MustCompile(`^\s*\{\s*"log"\s*:\s*\{`)
)

// Detect returns the format that a recording looks like.
func Detect(text []byte) Format {
	if plain, ok := fromUTF16(text); ok {
		text = plain
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	start := bytes.TrimLeft(text, "\r\n")
	switch {
	case harBegin.Match(text):
		return HAR
	case curlCommand.Match(text):
		return Curl
	case requestLine.Match(start) || headerLine.Match(start):
		return HTTP
	}
	return Body
}

// fromUTF16 returns what PowerShell has written into a file as UTF-8. A body that is so
// itself stays as it is.
func fromUTF16(text []byte) ([]byte, bool) {
	var order binary.ByteOrder = binary.LittleEndian
	switch {
	case bytes.HasPrefix(text, []byte{0xfe, 0xff}):
		order = binary.BigEndian
	case !bytes.HasPrefix(text, []byte{0xff, 0xfe}):
		return nil, false
	}
	var units []uint16
	for i := 2; i+1 < len(text); i += 2 {
		units = append(units, order.Uint16(text[i:]))
	}
	return []byte(string(utf16.Decode(units))), true
}

// maxHeader is how long a header may be that is folded into many lines.
const maxHeader = 64 << 10

// readHTTP reads a request as it was on the wire, or as people paste it: with the line
// ends of their editor, and perhaps without its first line.
func readHTTP(text []byte) (Request, error) {
	r := Request{Method: http.MethodPost, Header: http.Header{}}
	rest := bytes.TrimLeft(bytes.TrimPrefix(text, []byte("\ufeff")), "\r\n")
	if requestLine.Match(rest) {
		var line []byte
		line, rest = cutLine(rest)
		fields := strings.Fields(string(line))
		r.Method, r.URL = fields[0], fields[1]
	}
	last, folded := "", "" // the header that a line may go on with, and the last that one did
	for {
		if len(rest) == 0 {
			r.Notes = append(r.Notes, "the recording has no empty line, and so no body, after the headers")
			break
		}
		var line []byte
		if line, rest = cutLine(rest); len(line) == 0 {
			break
		}
		if values := r.Header[last]; len(values) > 0 && (line[0] == ' ' || line[0] == '\t') {
			value := &values[len(values)-1]
			if *value = strings.TrimSpace(*value + " " + strings.TrimSpace(string(line))); len(*value) > maxHeader {
				return Request{}, fmt.Errorf("the header %.60s is longer than %d bytes", strings.ToLower(last), maxHeader)
			}
			if folded != last {
				folded = last
				r.Notes = append(r.Notes, fmt.Sprintf("the header %.60s is folded into several lines, which is obsolete; not every server takes that", strings.ToLower(last)))
			}
			continue
		}
		name, value, _ := strings.Cut(strings.TrimPrefix(string(line), ":"), ":")
		if !headerLine.Match(line) {
			return Request{}, fmt.Errorf("%.60q is not a header; between headers and body there has to be an empty line", line)
		}
		if line[0] == ':' { // :method and :path of HTTP/2
			switch name {
			case "method":
				r.Method = strings.TrimSpace(value)
			case "path":
				r.URL = strings.TrimSpace(value)
			}
			last = ""
			continue
		}
		r.Header.Add(name, strings.Trim(value, " \t"))
		last = http.CanonicalHeaderKey(name)
	}
	r.Body = rest
	r.unchunk()
	r.cut()
	return r, nil
}

func cutLine(text []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(text, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), rest
}

// unchunk puts a body together that was recorded in chunks.
func (r *Request) unchunk() {
	if !strings.EqualFold(r.Header.Get("Transfer-Encoding"), "chunked") {
		return
	}
	var whole []byte
	rest := r.Body
	for {
		line, after := cutLine(rest)
		size, _, _ := strings.Cut(string(line), ";")
		n, err := strconv.ParseUint(strings.TrimSpace(size), 16, 31)
		if err != nil || int(n) > len(after) {
			return // the recording has put it together already
		}
		if n == 0 {
			r.Body = whole
			return
		}
		whole = append(whole, after[:n]...)
		end, next := cutLine(after[n:])
		if len(end) > 0 {
			return
		}
		rest = next
	}
}

// cut leaves away what a recording has after the body: what the request says of its
// length is truer than how a file ends.
func (r *Request) cut() {
	n, err := strconv.Atoi(r.Header.Get("Content-Length"))
	if err != nil || n < 0 || n >= len(r.Body) {
		return
	}
	if more := r.Body[n:]; len(bytes.TrimSpace(more)) == 0 {
		r.Body = r.Body[:n]
		r.Notes = append(r.Notes, fmt.Sprintf("left away %d bytes of white space after the %d that content-length announces", len(more), n))
	}
}

var errNone = errors.New("there is no request in it")
