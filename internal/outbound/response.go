package outbound

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/switchhook/switchhook/internal/hook"
)

// keepHeader is how many bytes of an answer's headers are kept.
const keepHeader = 4 << 10

// readResponse reads the answer to its end, or as far as anybody needs it. It
// returns the body as it came, and what is kept of the answer: without secrets,
// and keep bytes of the body, none if that is negative. whole says whether it was
// read to the end.
func readResponse(res *http.Response, keep int, secrets []string) (body []byte, kept hook.Response, whole bool, err error) {
	kept.Header = headerText(res.Header, secrets)
	if res.Body == http.NoBody {
		return nil, kept, true, nil
	}
	defer res.Body.Close()
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(res.Body, readBody+1))
	whole = err == nil && n <= readBody
	body, more := b.Bytes(), !whole
	if errors.Is(err, errAnswerTooLong) {
		err, more = nil, true // enough was read
	}
	if res.Header.Get("Content-Encoding") == "gzip" {
		var longer bool
		body, longer = unzip(body)
		more = more || longer
	}
	if keep >= 0 {
		// Masked before it is cut, for half a secret is not recognised.
		masked := []byte(mask(string(body), secrets))
		kept.Truncated = more || len(masked) > keep
		kept.Body = slices.Clip(masked[:min(len(masked), keep)])
	}
	return body, kept, whole, err
}

// unzip returns at most as much of what is packed as is read of any answer, so
// that a small one cannot become a large one; what is not gzip after all is
// returned as it is.
func unzip(packed []byte) (body []byte, more bool) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return packed, false
	}
	body, _ = io.ReadAll(io.LimitReader(z, readBody+1)) // as much as there is of it
	return body[:min(len(body), readBody)], len(body) > readBody
}

const stars = "********"

// headerText returns the headers sorted, one to a line, without secrets.
func headerText(h http.Header, secrets []string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			if sensitive(name) {
				value = stars
			}
			if b.Len()+len(name)+len(value) > keepHeader {
				return mask(b.String(), secrets) + "...\n"
			}
			b.WriteString(name + ": " + value + "\n")
		}
	}
	return mask(b.String(), secrets)
}

func sensitive(header string) bool {
	switch header {
	case "Set-Cookie", "Authorization", "Proxy-Authorization", "Cookie":
		return true
	}
	return false
}

// mask replaces the secrets that an endpoint sends back.
func mask(text string, secrets []string) string {
	for _, s := range secrets {
		if s == "" {
			continue
		}
		text = strings.ReplaceAll(text, s, stars)
		if strings.ContainsAny(s, `"\`) { // as JSON has it
			escaped := strconv.Quote(s)
			text = strings.ReplaceAll(text, escaped[1:len(escaped)-1], stars)
		}
	}
	return text
}
