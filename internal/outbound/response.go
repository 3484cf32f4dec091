package outbound

import (
	"bytes"
	"compress/gzip"
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
func readResponse(res *http.Response, keep int, secrets []string) (hook.Response, error) {
	kept := hook.Response{Header: headerText(res.Header, secrets)}
	if res.Body == http.NoBody {
		return kept, nil
	}
	defer res.Body.Close()
	if keep < 0 {
		_, err := io.Copy(io.Discard, io.LimitReader(res.Body, readBody))
		return kept, err
	}
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(res.Body, readBody))
	body, more := b.Bytes(), n == readBody
	if res.Header.Get("Content-Encoding") == "gzip" {
		body, more = unzip(body, keep)
	}
	body = []byte(mask(string(body), secrets))
	kept.Truncated = more || len(body) > keep
	kept.Body = slices.Clip(body[:min(len(body), keep)])
	return kept, err
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
