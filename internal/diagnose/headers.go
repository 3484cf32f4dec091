package diagnose

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/switchhook/switchhook/webhook"
)

// As people write them.
const (
	signatureHeader = "x-zm-signature"
	timestampHeader = "x-zm-request-timestamp"
)

// secretForm is a secret, or what it would be without a mistake.
type secretForm struct {
	index  int
	signer *webhook.Signer
	cause  Cause // empty: as it is
}

// secretForms returns a secret and what it may have been meant to be.
func secretForms(index int, secret string) (forms []secretForm) {
	seen := map[string]bool{}
	add := func(text string, c Cause) {
		signer, err := webhook.NewSigner(text)
		if err != nil || seen[text] {
			return
		}
		seen[text] = true
		forms = append(forms, secretForm{index, signer, c})
	}
	first := Cause("")
	if _, err := webhook.New(webhook.Config{Secrets: []string{secret}}); err != nil && strings.TrimSpace(secret) == secret {
		first = SecretTooShort
	}
	add(secret, first)
	trimmed := strings.TrimSpace(secret)
	add(trimmed, SecretMistyped)
	for _, text := range []string{trimmed, assignment.ReplaceAllString(trimmed, "")} {
		text = strings.TrimSpace(strings.Trim(text, "\ufeff\"'"))
		add(text, SecretMistyped)
		add(strings.TrimSuffix(strings.TrimSuffix(text, `\n`), `\r`), SecretMistyped)
	}
	if len(forms) > 0 {
		add(secret+"\n", SecretMistyped)
	}
	return forms
}

// assignment is the beginning of a line in a file of environment variables.
var assignment = regexp.MustCompile(`^(export\s+)?[A-Za-z_][A-Za-z0-9_]*\s*[=:]\s*`)

// signatureForm is a signature in lower-case hex, by what it was before.
type signatureForm struct {
	hex    string
	causes []Cause
}

var (
	hexDigits   = regexp.MustCompile(`^[0-9a-fA-F]+$`)
	otherPrefix = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9_-]{0,15})=`)
)

// readSignature returns what a value of the header may mean. Of several in a list there
// is one of each.
func readSignature(value string) (forms []signatureForm) {
	parts := []string{value}
	if list := strings.FieldsFunc(value, func(c rune) bool { return c == ',' || c == ' ' || c == ';' }); len(list) > 1 {
		parts = list
	}
	for _, part := range parts {
		f := signatureForm{}
		text := strings.Trim(part, " \t\r\n\"'")
		if unescaped, err := url.QueryUnescape(text); err == nil && strings.Contains(text, "%") {
			text = unescaped
		}
		if text != value {
			f.causes = append(f.causes, SignatureMalformed)
		}
		digits, ok := strings.CutPrefix(text, "v0=")
		if !ok {
			if other := otherPrefix.FindString(text); other != text { // else it is base64 that ends so
				digits = text[len(other):]
			}
			f.causes = append(f.causes, SignaturePrefix)
		}
		if !hexDigits.MatchString(digits) {
			raw, err := base64.StdEncoding.DecodeString(digits)
			if err != nil {
				raw, err = base64.RawURLEncoding.DecodeString(strings.TrimRight(digits, "="))
			}
			if err != nil || len(raw) == 0 {
				continue
			}
			digits = hex.EncodeToString(raw)
			f.causes = append(f.causes, SignatureEncoding)
		}
		f.hex = strings.ToLower(digits)
		if f.hex != digits {
			f.causes = append(f.causes, SignatureCase)
		}
		forms = append(forms, f)
	}
	return forms
}

// timestampForm is a timestamp that may have been signed, by what it is in the header.
type timestampForm struct {
	text  string
	cause Cause
}

var plainTimestamp = regexp.MustCompile(`^[1-9][0-9]{9}$`)

// readTimestamp returns what a value of the header may mean, as it is first.
func readTimestamp(value string) []timestampForm {
	if plainTimestamp.MatchString(value) {
		return []timestampForm{{value, ""}}
	}
	trimmed := strings.Trim(value, " \t\r\n\"'+")
	trimmed = strings.TrimLeft(trimmed, "0")
	cause := TimestampMalformed
	if len(trimmed) == 13 && isDigits(trimmed) {
		cause = Milliseconds
	}
	forms := []timestampForm{{value, cause}}
	if trimmed != value && trimmed != "" {
		forms = append(forms, timestampForm{trimmed, cause})
	}
	if len(trimmed) > 10 && isDigits(trimmed) {
		forms = append(forms, timestampForm{trimmed[:10], cause})
	}
	if seconds, _, ok := strings.Cut(trimmed, "."); ok && isDigits(seconds) {
		forms = append(forms, timestampForm{seconds, cause})
	}
	for _, layout := range []string{time.RFC3339Nano, time.RFC1123, time.RFC1123Z} {
		if t, err := time.Parse(layout, trimmed); err == nil {
			forms = append(forms, timestampForm{strconv.FormatInt(t.Unix(), 10), cause})
		}
	}
	return forms
}

func isDigits(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool { return c < '0' || c > '9' })
}

// readHeaders collects what the headers may mean, and what is plainly wrong with them.
func (s *search) readHeaders() {
	for _, value := range s.header(webhook.HeaderSignature, SignatureMissing) {
		s.signatures = append(s.signatures, readSignature(value)...)
		if len(readSignature(value)) == 0 {
			s.found = append(s.found, proven(SignatureMalformed, "the header %s is no signature: v0= and 64 hex digits", signatureHeader))
		}
	}
	for _, value := range s.header(webhook.HeaderTimestamp, TimestampMissing) {
		s.timestamps = append(s.timestamps, readTimestamp(value)...)
	}
}

// header returns the values of a header, and finds it also under names that programs
// give it.
func (s *search) header(name string, missing Cause) []string {
	written := strings.ToLower(name)
	values := s.in.Header[name]
	switch {
	case len(values) > 1:
		s.found = append(s.found, proven(HeaderTwice, "the header %s is there %d times", written, len(values)))
		return slices.Compact(slices.Clone(values))
	case len(values) == 1 && strings.TrimSpace(values[0]) == "":
		s.found = append(s.found, proven(missing, "the header %s is empty", written))
		return nil
	case len(values) == 1:
		return values
	}
	for other, values := range s.in.Header {
		if plainName(other) == plainName(name) && len(values) > 0 {
			s.found = append(s.found, proven(missing, "the header %s is missing; there is one of the name %.60s, which no receiver looks for", written, other))
			return values
		}
	}
	s.found = append(s.found, proven(missing, "the header %s is missing", written))
	return nil
}

// plainName is what stays of a header's name when programs write it otherwise, as in
// HTTP_X_ZM_SIGNATURE.
func plainName(name string) string {
	name = strings.Map(func(c rune) rune {
		if c == '-' || c == '_' || c == '.' || c == ' ' {
			return -1
		}
		return c
	}, strings.ToLower(name))
	return strings.TrimPrefix(name, "http")
}

// when returns the time that the request says, as well as it can be read.
func (s *search) when() time.Time {
	for _, value := range s.in.Header[webhook.HeaderTimestamp] {
		forms := readTimestamp(value)
		if seconds, err := strconv.ParseInt(forms[len(forms)-1].text, 10, 64); err == nil && seconds < 1e11 {
			return time.Unix(seconds, 0).UTC()
		}
	}
	return time.Time{}
}

// age says if a request is too old or too new.
func (s *search) age() []Finding {
	at := s.when()
	if at.IsZero() {
		return nil
	}
	off := s.in.Now.Sub(at).Round(time.Second)
	switch {
	case off > s.in.Tolerance:
		return []Finding{proven(Stale, "the timestamp is %v old at %s, and %v is allowed", off, s.in.Now.UTC().Format(time.RFC3339), s.in.Tolerance)}
	case -off > s.in.Tolerance:
		return []Finding{proven(Future, "the timestamp is %v ahead of %s, and %v is allowed", -off, s.in.Now.UTC().Format(time.RFC3339), s.in.Tolerance)}
	}
	return nil
}

// headerOf returns the value of a header that is there once.
func headerOf(h http.Header, name string) string {
	if values := h[name]; len(values) == 1 {
		return values[0]
	}
	return ""
}
