package diagnose

import (
	"fmt"
	"strings"
)

// Cause names what is wrong, for programs.
type Cause string

// The causes.
const (
	// Of the secret.
	WrongSecret     Cause = "wrong_secret"
	SecretMistyped  Cause = "secret_mistyped" // with something around it
	SecretTooShort  Cause = "secret_too_short"
	SignedOtherwise Cause = "signed_otherwise" // another message than the contract's

	// Of the headers.
	SignatureMissing   Cause = "signature_missing"
	TimestampMissing   Cause = "timestamp_missing"
	HeaderTwice        Cause = "header_twice"
	SignaturePrefix    Cause = "signature_prefix"
	SignatureCase      Cause = "signature_case"
	SignatureEncoding  Cause = "signature_encoding"
	SignatureMalformed Cause = "signature_malformed"
	SignatureCut       Cause = "signature_cut"
	Milliseconds       Cause = "milliseconds"
	TimestampMalformed Cause = "timestamp_malformed"
	TimestampChanged   Cause = "timestamp_changed"
	OtherRequest       Cause = "other_request"

	// Of the time.
	Stale  Cause = "stale"
	Future Cause = "future"

	// Of the body.
	EmptyBody       Cause = "empty_body"
	Truncated       Cause = "truncated"
	TooLong         Cause = "too_long"
	TrailingNewline Cause = "trailing_newline"
	WhiteSpace      Cause = "white_space"
	LineEnds        Cause = "line_ends"
	ByteOrderMark   Cause = "byte_order_mark"
	Escapes         Cause = "escapes"
	Numbers         Cause = "numbers"
	KeyOrder        Cause = "key_order"
	Reserialised    Cause = "reserialised"
	Charset         Cause = "charset"
	Compressed      Cause = "compressed"
	Base64          Cause = "base64"
	Quoted          Cause = "quoted"
	FormEncoded     Cause = "form_encoded"
	BodyChanged     Cause = "body_changed"

	Unknown Cause = "unknown"
)

const rawBytes = "verify the bytes as they were received, before anything parses, decodes or prints them"

// remedies say for each cause what to do.
var remedies = map[Cause]string{ //nolint:gosec // these are words
	WrongSecret:     "take the secret token of the app whose client id is in the header clientid; after a rotation accept both the new and the old one; if the secret is right, compare the request with what the platform has logged of it",
	SecretMistyped:  "trim what is read from a file or an environment variable, and leave quotation marks and names of variables away",
	SecretTooShort:  "take the secret token as the platform shows it",
	SignedOtherwise: "sign v0:<timestamp>:<body>, with the value of " + timestampHeader + " and the bytes of the body",

	SignatureMissing:   "record the request with all of its headers; a proxy in between must pass " + signatureHeader + " on",
	TimestampMissing:   "record the request with all of its headers; a proxy in between must pass " + timestampHeader + " on",
	HeaderTwice:        "find out what adds the header once more on the way; receivers refuse two, for they could not know which one the other parts of a program believe",
	SignaturePrefix:    "write the signature as v0= and 64 hex digits",
	SignatureCase:      "write the signature in lower-case hex",
	SignatureEncoding:  "write the signature in hex, not in base64",
	SignatureMalformed: "pass the header on as it is",
	SignatureCut:       "record the whole header; a log may have shortened it",
	Milliseconds:       "send and sign seconds since 1970, ten digits",
	TimestampMalformed: "send and sign seconds since 1970, ten digits and nothing else",
	TimestampChanged:   "verify with the timestamp that came with the request: each attempt has one of its own",
	OtherRequest:       "verify each request with its own headers",

	Stale:  "verify when the request arrives; the platform signs every attempt anew, so an old request is a replay; to judge an old recording as when it was made, give the time with --at",
	Future: "set the clocks right, the receiver's most likely",

	EmptyBody:       "read the body before anything else does, or have what reads it keep a copy",
	Truncated:       "record or read the whole body; look at limits for its size",
	TooLong:         "read as many bytes as content-length announces",
	TrailingNewline: "leave the body as it is: printf instead of echo, --data-binary instead of an editor",
	WhiteSpace:      rawBytes,
	LineEnds:        "keep line ends as they are: store bodies as bytes, not as text",
	ByteOrderMark:   "store the body without a byte order mark",
	Escapes:         rawBytes,
	Numbers:         rawBytes,
	KeyOrder:        rawBytes,
	Reserialised:    rawBytes,
	Charset:         "treat the body as bytes; where it has to be text, as UTF-8",
	Compressed:      "verify the body as it is when it is unpacked",
	Base64:          "decode the body before it is verified, as functions in clouds have to",
	Quoted:          "the body is JSON, not a text that has JSON in it: do not print it a second time, and take it out of what a cloud wraps around it",
	FormEncoded:     "send and read the body as JSON, not as a form",
	BodyChanged:     rawBytes,
}

// text says what it was that was undone.
func (c Cause) text() string {
	switch c {
	case SecretMistyped:
		return "the secret has something around it: white space, quotation marks, a byte order mark, or the name of a variable; without that the signature is right"
	case SecretTooShort:
		return "the secret is shorter than any that a platform gives out, so receivers refuse it"
	case SignaturePrefix:
		return "the signature does not begin with v0="
	case SignatureCase:
		return "the signature is in upper case"
	case SignatureEncoding:
		return "the signature is in base64"
	case SignatureMalformed:
		return "the signature has other characters around it"
	case SignatureCut:
		return "the signature is cut off; as far as it goes it is right"
	case TimestampMalformed:
		return "the timestamp is not written as seconds in plain digits"
	case TrailingNewline:
		return "the body has a line feed at its end that was not signed"
	case WhiteSpace:
		return "the body was printed again, with other white space than was signed"
	case LineEnds:
		return "the line ends in the body were changed"
	case ByteOrderMark:
		return "the body begins with a byte order mark that was not signed"
	case Escapes:
		return "the body was printed again, with other escapes than were signed"
	case Numbers:
		return "the body was printed again, with numbers written otherwise than they were signed"
	case KeyOrder:
		return "the body was printed again, with its keys in another order than was signed"
	case Reserialised:
		return "the body was parsed and printed again, and that made it another than was signed"
	case Charset:
		return "the body was taken for text in another character set than UTF-8"
	case Compressed:
		return "the body is packed; what was signed is what it unpacks to"
	case Base64:
		return "the body is in base64; what was signed is what it decodes to"
	case Quoted:
		return "the body is JSON that has the signed JSON as a text in it"
	case FormEncoded:
		return "the body is encoded as a form; what was signed is what it decodes to"
	}
	return string(c)
}

// sentence returns the words of the receiver.
func sentence(err error) string {
	return strings.TrimPrefix(err.Error(), "webhook: ")
}

func proven(c Cause, format string, args ...any) Finding {
	return Finding{Cause: c, Proven: true, Text: fmt.Sprintf(format, args...)}
}

func likely(c Cause, format string, args ...any) Finding {
	return Finding{Cause: c, Text: fmt.Sprintf(format, args...)}
}
