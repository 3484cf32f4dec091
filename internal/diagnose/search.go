package diagnose

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/switchhook/switchhook/internal/canon"
	"github.com/switchhook/switchhook/webhook"
)

// maxHashed is how many bytes are hashed for one request at most: half a second or so.
const maxHashed = 128 << 20

// search looks for what the signature of a request is of.
type search struct {
	in       Input
	receiver *webhook.Receiver
	usable   []int // which of the secrets the receiver has

	secrets    []secretForm
	signatures []signatureForm
	timestamps []timestampForm
	found      []Finding
	budget     int // bytes that may still be hashed
}

// match is what the signature is of.
type match struct {
	secret    secretForm
	signature signatureForm
	timestamp timestampForm
	body      bodyForm
	also      []Finding // what else was undone
}

// message is a way in which people sign, and what to say of it. The first is right.
type message struct {
	make func(timestamp string, body []byte) string
	text string
}

var messages = []message{
	{func(ts string, body []byte) string { return "v0:" + ts + ":" + string(body) }, ""},
	{func(_ string, body []byte) string { return string(body) }, "the signature is of the body alone, without v0:<timestamp>: before it"},
	{func(ts string, body []byte) string { return ts + ":" + string(body) }, "the signature is of <timestamp>:<body>, without v0: before it"},
	{func(ts string, body []byte) string { return ts + "." + string(body) }, "the signature is of <timestamp>.<body>, as another contract has it"},
	{func(ts string, body []byte) string { return ts + string(body) }, "the signature is of <timestamp><body>, without v0: and colons"},
	{func(ts string, body []byte) string { return "v0:" + string(body) }, "the signature is of v0:<body>, without the timestamp"},
	{func(ts string, body []byte) string { return "v0." + ts + "." + string(body) }, "the signature has dots where colons belong"},
}

// sign returns the signature of a message in hex. It is empty when enough was tried.
func (s *search) sign(secret secretForm, m message, timestamp string, body []byte) string {
	if s.budget < 0 {
		return ""
	}
	s.budget -= len(body) + 128
	// The HMAC of any text, whatever its name says.
	return secret.signer.EncryptToken(m.make(timestamp, body))
}

// signed returns the signature that is the given one, if there is one.
func (s *search) signed(digits string) (signatureForm, bool) {
	for _, f := range s.signatures {
		if f.hex == digits && digits != "" {
			return f, true
		}
	}
	return signatureForm{}, false
}

// find looks for what was signed: first what differs the least. other says that there
// is a finding that explains all, without a match.
func (s *search) find() (m *match, other bool) {
	bodies := bodyForms(s.in.Body)
	const most = 3 // mistakes at a time
	for mistakes := range most + 1 {
		if s.budget < 0 {
			return nil, false
		}
		if m := s.findWith(mistakes, bodies); m != nil {
			return m, false
		}
	}
	if m := s.cut(); m != nil {
		return m, false
	}
	if s.ofOther() {
		return nil, true
	}
	if m := s.inMilliseconds(); m != nil {
		return m, false
	}
	if m := s.otherNumbers(); m != nil {
		return m, false
	}
	if m := s.otherOrder(); m != nil {
		return m, false
	}
	return s.otherTime(), false
}

func (s *search) findWith(mistakes int, bodies []bodyForm) *match {
	count := func(wrong bool) int {
		if wrong {
			return 1
		}
		return 0
	}
	for _, body := range bodies {
		for _, secret := range s.secrets {
			for _, timestamp := range s.timestamps {
				for i, message := range messages {
					if len(body.causes)+count(secret.cause != "")+count(timestamp.cause != "")+count(i > 0) != mistakes {
						continue
					}
					if f, ok := s.signed(s.sign(secret, message, timestamp.text, body.text)); ok {
						m := &match{secret: secret, signature: f, timestamp: timestamp, body: body}
						if i > 0 {
							m.also = append(m.also, proven(SignedOtherwise, "%s", message.text))
						}
						return m
					}
				}
			}
		}
	}
	return nil
}

// cut looks whether a signature is the beginning of the right one.
func (s *search) cut() *match {
	const least = 8 // digits, so that it is no accident
	for _, f := range s.signatures {
		if len(f.hex) < least || len(f.hex) >= 64 {
			continue
		}
		for _, secret := range s.secrets {
			for _, timestamp := range s.timestamps {
				if digits := s.sign(secret, messages[0], timestamp.text, s.in.Body); strings.HasPrefix(digits, f.hex) {
					f.causes = append(f.causes, SignatureCut)
					return &match{secret: secret, signature: f, timestamp: timestamp, body: bodyForm{text: s.in.Body}}
				}
			}
		}
	}
	return nil
}

// ofOther looks whether the signature is that of another request of the recording.
func (s *search) ofOther() bool {
	for _, o := range s.in.Others {
		theirs := headerOf(o.Header, webhook.HeaderTimestamp)
		for _, secret := range s.secrets {
			for _, c := range []struct {
				timestamp string
				body      []byte
				text      string
			}{
				{theirs, o.Body, "the signature is that of %s"},
				{theirs, s.in.Body, "the signature is right with the timestamp of %s"},
				{s.plainTimestamp(), o.Body, "signature and timestamp are right for the body of %s"},
			} {
				if _, ok := s.signed(s.sign(secret, messages[0], c.timestamp, c.body)); ok {
					s.found = append(s.found, proven(OtherRequest, c.text, o.Where))
					return true
				}
			}
		}
	}
	return false
}

func (s *search) plainTimestamp() string { return headerOf(s.in.Header, webhook.HeaderTimestamp) }

// inMilliseconds looks whether milliseconds were signed and seconds sent.
func (s *search) inMilliseconds() *match {
	ts := s.plainTimestamp()
	if !plainTimestamp.MatchString(ts) {
		return nil
	}
	for _, secret := range s.secrets {
		for ms := range 1000 {
			signed := fmt.Sprintf("%s%03d", ts, ms)
			if f, ok := s.signed(s.sign(secret, messages[0], signed, s.in.Body)); ok {
				return &match{secret: secret, signature: f, timestamp: timestampForm{text: signed}, body: bodyForm{text: s.in.Body}, also: []Finding{
					proven(Milliseconds, "the signature is of a timestamp in milliseconds (%s), and the header has seconds", signed),
				}}
			}
		}
	}
	return nil
}

// maxNumbers is how many numbers of a body are tried in both ways of writing them.
const maxNumbers = 12

// otherNumbers looks whether the signature is right with zeros at the end of numbers:
// most programs leave them away when they print 1.0 or 0.10.
func (s *search) otherNumbers() *match {
	plain, err := canon.Append(nil, s.in.Body)
	if err != nil {
		return nil
	}
	parts := tokens(plain)
	var numbers []int
	for i, p := range parts {
		if strings.IndexByte("-0123456789", p[0]) >= 0 && !strings.Contains(p, "e") {
			numbers = append(numbers, i)
		}
	}
	if len(numbers) == 0 || len(numbers) > maxNumbers {
		return nil
	}
	rest := s.budget / 4 * 3 // for those who search after it
	for which := 1; which < 1<<len(numbers) && s.budget > rest; which++ {
		with := slices.Clone(parts)
		for bit, i := range numbers {
			switch {
			case which>>bit&1 == 0:
			case strings.Contains(with[i], "."):
				with[i] += "0"
			default:
				with[i] += ".0"
			}
		}
		signed := []byte(strings.Join(with, ""))
		for _, secret := range s.secrets {
			if secret.cause != "" && secret.cause != SecretTooShort {
				continue
			}
			digits := s.sign(secret, messages[0], s.timestamps[0].text, signed)
			if digits == "" {
				return nil // enough
			}
			if f, ok := s.signed(digits); ok {
				return &match{secret: secret, signature: f, timestamp: s.timestamps[0], body: bodyForm{text: signed, causes: []Cause{Reserialised}}}
			}
		}
	}
	return nil
}

// otherTime looks whether the signature is right for another time, up to three hours
// away: all attempts of a delivery are made within half of that.
func (s *search) otherTime() *match {
	at := s.when()
	if at.IsZero() {
		return nil
	}
	for off := int64(1); off <= 3*3600; off++ {
		for _, sign := range []int64{-1, 1} {
			signed := strconv.FormatInt(at.Unix()+sign*off, 10)
			for _, secret := range s.secrets {
				if secret.cause != "" && secret.cause != SecretTooShort {
					continue
				}
				digits := s.sign(secret, messages[0], signed, s.in.Body)
				if digits == "" {
					return nil
				}
				if f, ok := s.signed(digits); ok {
					where := "after"
					if sign < 0 {
						where = "before"
					}
					return &match{secret: secret, signature: f, timestamp: timestampForm{text: signed}, body: bodyForm{text: s.in.Body}, also: []Finding{
						proven(TimestampChanged, "the signature is right for the timestamp %s, which is %v %s that in the header", signed, time.Duration(off)*time.Second, where),
					}}
				}
			}
		}
	}
	return nil
}

// causes says what a match has undone.
func (s *search) causes(m *match) (all []Finding) {
	if m.secret.cause != "" {
		all = append(all, proven(m.secret.cause, "%s", m.secret.cause.text()))
	}
	all = append(all, s.written(m.signature, m.timestamp, m.timestamp.text)...)
	all = append(all, m.also...)
	for i, c := range m.body.causes {
		text := c.text()
		if c == Reserialised {
			c, text = howPrinted(s.in.Body, m.body.text)
		}
		f := proven(c, "%s", text)
		if i == len(m.body.causes)-1 && !m.body.packed {
			if f.Difference = difference(s.in.Body, m.body.text); f.Difference != nil {
				f.Text += "; " + f.Difference.String()
			}
		}
		all = append(all, f)
	}
	return all
}

// written says how signature and timestamp are not written as they should be.
func (s *search) written(signature signatureForm, timestamp timestampForm, signed string) (all []Finding) {
	for _, c := range signature.causes {
		all = append(all, proven(c, "%s", c.text()))
	}
	switch {
	case timestamp.cause == "":
	case timestamp.cause == Milliseconds && len(signed) == 13:
		all = append(all, proven(Milliseconds, "the timestamp is in milliseconds, and was signed so"))
	case timestamp.cause == Milliseconds && signed != "":
		all = append(all, proven(Milliseconds, "the timestamp is in milliseconds; what was signed is the seconds"))
	case timestamp.cause == Milliseconds:
		all = append(all, proven(Milliseconds, "the timestamp is in milliseconds"))
	default:
		all = append(all, proven(timestamp.cause, "%s", timestamp.cause.text()))
	}
	return all
}

// guess says what is most likely, when the signature is not of anything that was
// tried.
func (s *search) guess() (all []Finding) {
	all = s.written(s.signatures[0], s.timestamps[0], "")
	if n := len(s.signatures[0].hex); n != 64 {
		all = append(all, proven(SignatureMalformed, "the signature has %d hex digits, and 64 are expected, those of SHA-256", n))
	}
	body := s.in.Body
	length, err := strconv.Atoi(headerOf(s.in.Header, "Content-Length"))
	text := bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff")))
	switch {
	case len(body) == 0:
		return append(all, proven(EmptyBody, "the body is empty"))
	case err == nil && length > len(body):
		return append(all, proven(Truncated, "content-length announces %d bytes, and the body has %d", length, len(body)))
	case err == nil && length < len(body):
		return append(all, proven(TooLong, "content-length announces %d bytes, and the body has %d", length, len(body)))
	case headerOf(s.in.Header, "Content-Encoding") != "":
		return append(all, likely(Compressed, "the request was packed (content-encoding: %.20s), and the recording may have unpacked it", headerOf(s.in.Header, "Content-Encoding")))
	case !utf8.Valid(body):
		return append(all, likely(Charset, "the body is not UTF-8"))
	case bytes.Contains(body, []byte("\ufffd")):
		return append(all, likely(Charset, "the body has the character U+FFFD in it, which stands where others were lost"))
	case endsEarly(text):
		return append(all, proven(Truncated, "the body ends in the middle of its JSON, after %d bytes", len(body)))
	case !json.Valid(text):
		return append(all, likely(BodyChanged, "the body is not JSON, so it is not what was sent"))
	}
	printed, err := canon.Append(nil, body)
	if err == nil && !bytes.Equal(printed, body) {
		f := likely(BodyChanged, "the body is not as the platform prints JSON, so something has printed it again, in a way that cannot be undone; or the secret is another one")
		f.Difference = difference(body, printed)
		return append(all, f)
	}
	return append(all, likely(WrongSecret, "the signature was made with another secret, or is that of another request, or a value in the body was changed; which of these does not show, for the body is printed as the platform prints it"))
}

// endsEarly reports whether a text is JSON that breaks off.
func endsEarly(text []byte) bool {
	d := json.NewDecoder(bytes.NewReader(text))
	var v json.RawMessage
	err := d.Decode(&v)
	return err != nil && strings.Contains(err.Error(), "unexpected EOF")
}

// eventIn returns the name of the event in a body that nobody has verified.
func eventIn(body []byte) string {
	var root map[string]json.RawMessage
	var name string
	if json.Unmarshal(body, &root) != nil || json.Unmarshal(root["event"], &name) != nil {
		return ""
	}
	return name
}
