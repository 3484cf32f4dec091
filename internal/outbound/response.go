package outbound

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/switchhook/switchhook/internal/hook"
)

// keepHeader is how many bytes of an answer's headers are kept.
const keepHeader = 4 << 10

// readResponse reads the answer to its end, or as far as anybody needs it, and
// returns what is kept of it: keep bytes of the body, none if that is negative.
// whole says whether it was read to the end.
func readResponse(res *http.Response, keep int, secrets []string) (kept hook.Response, whole bool, err error) {
	kept.Header = headerText(res.Header, secrets)
	if res.Body == http.NoBody {
		return kept, true, nil
	}
	defer res.Body.Close()
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(res.Body, readBody+1))
	whole = n <= readBody
	body, more := b.Bytes(), !whole
	if errors.Is(err, errAnswerTooLong) {
		err, more = nil, true // enough was read
	}
	if keep < 0 {
		return kept, whole, err
	}
	if res.Header.Get("Content-Encoding") == "gzip" {
		body, more = unzip(body, keep)
	}
	body = []byte(mask(string(body), secrets))
	kept.Truncated = more || len(body) > keep
	kept.Body = slices.Clip(body[:min(len(body), keep)])
	return kept, whole, err
}

// unzip returns at most limit bytes of what is packed, so that a small answer
// cannot become a large one; what is not gzip after all is returned as it is.
func unzip(packed []byte, limit int) (body []byte, more bool) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return packed, false
	}
	body, _ = io.ReadAll(io.LimitReader(z, int64(limit)+1)) // as much as there is of it
	return body, len(body) > limit
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
		if s != "" && strings.Contains(text, s) {
			text = strings.ReplaceAll(text, s, stars)
		}
	}
	return text
}
