package mail

import (
	"bytes"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever passes the check arrives as it was written, but for spaces in the subject,
// and adds no header.
func TestComposeKeepsWhatWasWritten(t *testing.T) {
	// Some of what breaks headers and lines more often than other text does.
	nasty := rapid.SampledFrom([]string{" ", "  ", "=", "?", "=?", "?=", ":", ",", "<", "\"", "\\", ".", "\n", "\n.", "\r", "\t", "ä", "🔥", "\u2028", "word", strings.Repeat("x", 80)})
	text := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.OneOf(nasty, rapid.StringN(1, 3, -1)), 1, 60).Draw(t, "pieces"), "")
	})
	from := &mail.Address{Name: "Switchhook", Address: "hooks@example.com"}
	rapid.Check(t, func(t *rapid.T) {
		m := &Message{ID: 7, To: "ann@example.com", Subject: text.Draw(t, "subject"), Text: text.Draw(t, "text"), Created: time.Unix(1e9, 0)}
		if m.Check() != nil || strings.Contains(m.Subject, "=?") { // which programs would decode
			return
		}
		raw, err := compose(m, from, "a1")
		if err != nil {
			t.Fatal(err)
		}
		got, err := mail.ReadMessage(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("%v:\n%s", err, raw)
		}
		if len(got.Header) != 9 {
			t.Errorf("%d headers:\n%s", len(got.Header), raw)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(got.Header.Get("Subject"))
		if want := strings.Join(strings.Fields(m.Subject), " "); err != nil || subject != want {
			t.Errorf("subject %q, %v, want %q in\n%s", subject, err, want, raw)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(got.Body))
		if err != nil || strings.ReplaceAll(string(body), "\r\n", "\n") != lineEnds.Replace(m.Text) {
			t.Errorf("text %q, %v, want %q", body, err, m.Text)
		}
	})
}
