package diagnose

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/switchhook/switchhook/webhook"
)

const (
	secret = "a-secret-token-for-tests"
	sent   = `{"event":"number_management.peering_number_cnam_updated","event_ts":1763758800123,` +
		`"payload":{"account_id":"AAAAAABBBB","object":{"carrier_code":3457,"phone_numbers":["+12055437350"],"cnam":"José & <Söhne> 😀","rate":0.1,"url":"https://x.example/a"}}}`
)

var at = time.Unix(1763758801, 0).UTC()

// request returns what the platform sends.
func request(body string) Input { return signedWith(secret, body, at) }

func signedWith(by, body string, t time.Time) Input {
	signer, err := webhook.NewSigner(by)
	if err != nil {
		panic(err)
	}
	timestamp, signature := signer.Sign(t, []byte(body))
	h := http.Header{}
	h.Set(timestampHeader, timestamp)
	h.Set(signatureHeader, signature)
	h.Set("Content-Type", webhook.ContentType)
	return Input{Header: h, Body: []byte(body), Secrets: []string{"the-one-that-comes-after-it", secret}, Now: at.Add(2 * time.Second)}
}

// hmac is the signature of any message in hex.
func hmac(message string) string {
	signer, _ := webhook.NewSigner(secret)
	return signer.EncryptToken(message)
}

func gz(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return b.String()
}

func deflated(text string) string {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return b.String()
}

// utf16be returns the text in that form, with its mark.
func utf16be(text string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune("\ufeff" + text)) {
		b = binary.BigEndian.AppendUint16(b, u)
	}
	return string(b)
}

func indented(text, indent string) string {
	var b bytes.Buffer
	_ = json.Indent(&b, []byte(text), "", indent)
	return b.String()
}

// sorted prints JSON with its keys in the order of the alphabet.
func sorted(text string) string {
	var v any
	_ = json.Unmarshal([]byte(text), &v)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n")
}

// latin1 returns the text in that character set.
func latin1(text string) string {
	var b []byte
	for _, r := range text {
		b = append(b, byte(r))
	}
	return string(b)
}

// What has happened to a capture is found out, with proof where there can be one, and
// where the body is another, the first byte of the difference is the right one.
func TestMangledCaptures(t *testing.T) {
	body := func(text string) func(*Input) { return func(in *Input) { in.Body = []byte(text) } }
	header := func(name string, values ...string) func(*Input) {
		return func(in *Input) { in.Header[http.CanonicalHeaderKey(name)] = values }
	}
	signature := request(sent).Header.Get(signatureHeader)
	digits := signature[3:]
	raw, _ := hex.DecodeString(digits)
	stamp := func(d time.Duration) string { return strconv.FormatInt(at.Add(d).Unix(), 10) }
	breaks := strings.ReplaceAll(sent, "José", `Jo\n\"sé\"`)
	narrow := strings.ReplaceAll(sent, "😀", "ÿ")
	replace := strings.NewReplacer
	type kind struct {
		in     Input
		edit   func(*Input)
		causes []Cause
		proven bool
		text   string // a part of the first finding
	}
	for name, c := range map[string]kind{
		"wrong secret":              {signedWith("another secret", sent, at), nil, []Cause{WrongSecret}, false, "another secret"},
		"secret with a line feed":   {request(sent), func(in *Input) { in.Secrets = []string{secret + "\n"} }, []Cause{SecretMistyped}, true, "white space"},
		"secret in quotes":          {request(sent), func(in *Input) { in.Secrets = []string{`"` + secret + `"`} }, []Cause{SecretMistyped}, true, "quotation marks"},
		"secret with a mark":        {request(sent), func(in *Input) { in.Secrets = []string{"\ufeff" + secret} }, []Cause{SecretMistyped}, true, "byte order mark"},
		"secret with its name":      {request(sent), func(in *Input) { in.Secrets = []string{`export WEBHOOK_SECRET="` + secret + `"`} }, []Cause{SecretMistyped}, true, "name of a variable"},
		"secret with an escape":     {request(sent), func(in *Input) { in.Secrets = []string{secret + `\n`} }, []Cause{SecretMistyped}, true, ""},
		"signed with a line feed":   {signedWith(secret+"\n", sent, at), nil, []Cause{SecretMistyped}, true, ""},
		"indented":                  {request(sent), body(indented(sent, "  ")), []Cause{WhiteSpace}, true, `at byte 1 (line 1, column 2): the body has "\n  \"event\": \"num", signed was "\"event\":\"number_"`},
		"indented, and a line feed": {request(sent), body(indented(sent, "    ") + "\n"), []Cause{WhiteSpace}, true, "at byte 1 "},
		"spaces as of Python":       {request(sent), body(string(spaced([]byte(sent)))), []Cause{WhiteSpace}, true, "at byte 9 "},
		"was indented, now compact": {request(indented(sent, "  ")), body(sent), []Cause{WhiteSpace}, true, "at byte 1 "},
		"escapes of encoding/json":  {request(sent), body(replace("&", `\u0026`, "<", `\u003c`, ">", `\u003e`).Replace(sent)), []Cause{Escapes}, true, `the body has "\\u0026 \\u003cS`},
		"escapes of Python":         {request(sent), body(replace("é", `\u00e9`, "ö", `\u00f6`, "😀", `\ud83d\ude00`).Replace(sent)), []Cause{Escapes}, true, `the body has "\\u00e9 & <S`},
		"escaped slashes of PHP":    {request(sent), body(strings.ReplaceAll(sent, "/", `\/`)), []Cause{Escapes}, true, `the body has "\\/\\/x.example/a\"`[:20]},
		"escapes that are gone":     {request(replace("é", `\u00e9`, "ö", `\u00f6`, "😀", `\ud83d\ude00`).Replace(sent)), body(sent), []Cause{Escapes}, true, `signed was "\\u00e9`},
		"escapes of HTML":           {request(sent), body(replace("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(sent)), []Cause{Escapes}, true, "at byte 1 "},
		"escaped once more":         {request(breaks), body(replace(`\`, `\\`, `"`, `\"`).Replace(breaks)), []Cause{Escapes}, true, ""},
		"backslashes doubled":       {request(breaks), body(replace(`\`, `\\`).Replace(breaks)), []Cause{Escapes}, true, ""},
		"numbers written otherwise": {request(sent), body(replace("3457", "3457.0", "0.1", "1E-1").Replace(sent)), []Cause{Numbers}, true, `the body has ".0,`},
		"printed altogether anew":   {request(sent), body(indented(replace("3457", "3457.0", "é", `\u00e9`).Replace(sent), " ")), []Cause{Reserialised}, true, "again, with other white space, numbers written otherwise, other escapes; the first difference is at byte 1 "},
		"keys sorted":               {request(sent), body(sorted(sent)), []Cause{KeyOrder}, true, "another order"},
		"keys sorted by Go":         {request(sent), body(strings.NewReplacer("&", `\u0026`, "<", `\u003c`, ">", `\u003e`).Replace(sorted(sent))), []Cause{KeyOrder}, true, ""},
		"a line feed added":         {request(sent), body(sent + "\n"), []Cause{TrailingNewline}, true, "the body has \"\\n\", signed was its end"},
		"CRLF added":                {request(sent), body(sent + "\r\n"), []Cause{TrailingNewline}, true, "line feed"},
		"a line feed lost":          {request(sent + "\n"), body(sent), []Cause{WhiteSpace}, true, "the body has its end, signed was \"\\n\""},
		"LF made CRLF":              {request(indented(sent, "  ")), body(strings.ReplaceAll(indented(sent, "  "), "\n", "\r\n")), []Cause{LineEnds}, true, "at byte 1 "},
		"CRLF made LF":              {request(strings.ReplaceAll(indented(sent, "  "), "\n", "\r\n")), body(indented(sent, "  ")), []Cause{LineEnds}, true, "at byte 1 "},
		"a byte order mark":         {request(sent), body("\ufeff" + sent), []Cause{ByteOrderMark}, true, "at byte 0 "},
		"a mark and a line feed":    {request(sent), body("\ufeff" + sent + "\n"), []Cause{TrailingNewline, ByteOrderMark}, true, ""},
		"read as Latin-1":           {request(narrow), body(string(latin1ToRunes(narrow))), []Cause{Charset}, true, "character set"},
		"written as Latin-1":        {request(narrow), body(latin1(narrow)), []Cause{Charset}, true, "character set"},
		"characters lost":           {request(sent), body(strings.ReplaceAll(sent, "é", "\ufffd")), []Cause{Charset}, false, "U+FFFD"},
		"bytes that are no text":    {request(sent), body(strings.ReplaceAll(sent, "é", "\xff\xfe\x80")), []Cause{Charset}, false, "not UTF-8"},
		"packed":                    {request(sent), body(gz(sent)), []Cause{Compressed}, true, "packed"},
		"was packed":                {request(gz(sent)), func(in *Input) { in.Body = []byte(sent); in.Header.Set("Content-Encoding", "gzip") }, []Cause{Compressed}, false, "content-encoding: gzip"},
		"base64":                    {request(sent), body(base64.StdEncoding.EncodeToString([]byte(sent))), []Cause{Base64}, true, "base64"},
		"packed, in base64":         {request(sent), body(base64.StdEncoding.EncodeToString([]byte(gz(sent)))), []Cause{Base64, Compressed}, true, "base64"},
		"printed twice":             {request(sent), body(twice(sent)), []Cause{Quoted}, true, "as a text in it"},
		"wrapped by a cloud":        {request(sent), body(`{"version":"2.0","body":` + twice(sent) + `,"isBase64Encoded":false}`), []Cause{Quoted}, true, "as a text in it"},
		"wrapped, in base64":        {request(sent), body(`{"body":"` + base64.StdEncoding.EncodeToString([]byte(sent)) + `"}`), []Cause{Quoted, Base64}, true, "as a text in it"},
		"packed with deflate":       {request(sent), body(deflated(sent)), []Cause{Compressed}, true, "packed"},
		"in UTF-16":                 {request(sent), body(utf16be(sent)), []Cause{Charset}, true, "character set"},
		"1.0 made 1":                {request(strings.ReplaceAll(sent, "3457", "3457.0")), body(sent), []Cause{Numbers}, true, `signed was ".0,`},
		"1.50 made 1.5":             {request(strings.ReplaceAll(sent, "0.1", "0.10")), body(sent), []Cause{Numbers}, true, `signed was "0,`},
		"1.0 made 1, and indented":  {request(strings.ReplaceAll(sent, "3457", "3457.0")), body(indented(sent, "  ")), []Cause{Reserialised}, true, "numbers written otherwise"},
		"a form":                    {request(sent), body(url.QueryEscape(sent)), []Cause{FormEncoded}, true, "form"},
		"a field of a form":         {request(sent), body("payload=" + url.QueryEscape(sent)), []Cause{FormEncoded}, true, "form"},
		"nothing left of the body":  {request(sent), body(""), []Cause{EmptyBody}, true, "empty"},
		"cut off":                   {request(sent), body(sent[:100]), []Cause{Truncated}, true, "after 100 bytes"},
		"cut off, as announced":     {request(sent), func(in *Input) { in.Body = in.Body[:100]; in.Header.Set("Content-Length", "252") }, []Cause{Truncated}, true, "252 bytes, and the body has 100"},
		"more than announced":       {request(sent), func(in *Input) { in.Body = append(in.Body, "{}"...); in.Header.Set("Content-Length", "252") }, []Cause{TooLong}, true, "252 bytes"},
		"another value":             {request(sent), body(strings.ReplaceAll(sent, "3457", "3458")), []Cause{WrongSecret}, false, "or a value in the body was changed"},
		"another value, indented":   {request(sent), body(indented(strings.ReplaceAll(sent, "3457", "3458"), "  ")), []Cause{BodyChanged}, false, "something has printed it again"},
		"no JSON":                   {request(sent), body("event=x"), []Cause{BodyChanged}, false, "not JSON"},

		"no signature":       {request(sent), header(signatureHeader), []Cause{SignatureMissing}, true, "x-zm-signature is missing"},
		"an empty signature": {request(sent), header(signatureHeader, ""), []Cause{SignatureMissing}, true, "is empty"},
		"no timestamp":       {request(sent), func(in *Input) { in.Header.Del(timestampHeader) }, []Cause{TimestampMissing}, true, "x-zm-request-timestamp is missing"},
		"neither":            {request(sent), func(in *Input) { in.Header = http.Header{} }, []Cause{SignatureMissing, TimestampMissing}, true, ""},
		"a name as of CGI": {request(sent), func(in *Input) {
			in.Header = http.Header{"Http_x_zm_signature": {signature}, "X-Zm-Request-Timestamp": {stamp(0)}}
		}, []Cause{SignatureMissing}, true, "Http_x_zm_signature"},
		"two signatures":              {request(sent), header(signatureHeader, signature, signature), []Cause{HeaderTwice}, true, "2 times"},
		"two timestamps":              {request(sent), header(timestampHeader, stamp(0), stamp(0)), []Cause{HeaderTwice}, true, "2 times"},
		"a list of signatures":        {request(sent), header(signatureHeader, "v0="+strings.Repeat("0", 64)+", "+signature), []Cause{SignatureMalformed}, true, ""},
		"signature without v0=":       {request(sent), header(signatureHeader, digits), []Cause{SignaturePrefix}, true, "v0="},
		"signature with sha256=":      {request(sent), header(signatureHeader, "sha256="+digits), []Cause{SignaturePrefix}, true, "v0="},
		"signature in upper case":     {request(sent), header(signatureHeader, "v0="+strings.ToUpper(digits)), []Cause{SignatureCase}, true, "upper case"},
		"all in upper case":           {request(sent), header(signatureHeader, strings.ToUpper(signature)), []Cause{SignaturePrefix, SignatureCase}, true, ""},
		"signature in base64":         {request(sent), header(signatureHeader, "v0="+base64.StdEncoding.EncodeToString(raw)), []Cause{SignatureEncoding}, true, "base64"},
		"base64 alone":                {request(sent), header(signatureHeader, base64.StdEncoding.EncodeToString(raw)), []Cause{SignaturePrefix, SignatureEncoding}, true, ""},
		"signature in quotes":         {request(sent), header(signatureHeader, `"`+signature+`"`), []Cause{SignatureMalformed}, true, ""},
		"escaped for a URL":           {request(sent), header(signatureHeader, url.QueryEscape(signature)), []Cause{SignatureMalformed}, true, ""},
		"signature of SHA-1":          {request(sent), header(signatureHeader, "v0="+digits[:6]+strings.Repeat("0", 34)), []Cause{SignatureMalformed, WrongSecret}, true, "40 hex digits, and 64 are expected"},
		"signature cut off":           {request(sent), header(signatureHeader, signature[:40]), []Cause{SignatureCut}, true, "cut off"},
		"a word as signature":         {request(sent), header(signatureHeader, "v0=hidden!"), []Cause{SignatureMalformed}, true, "no signature"},
		"milliseconds sent":           {request(sent), header(timestampHeader, stamp(0)+"123"), []Cause{Milliseconds}, true, "what was signed is the seconds"},
		"milliseconds sent, signed":   {request(sent), func(in *Input) { sign(in, stamp(0)+"123") }, []Cause{Milliseconds}, true, "was signed so"},
		"milliseconds signed":         {request(sent), func(in *Input) { sign(in, stamp(0)+"123"); in.Header.Set(timestampHeader, stamp(0)) }, []Cause{Milliseconds}, true, "the header has seconds"},
		"milliseconds, wrong secret":  {signedWith("another secret", sent, at), header(timestampHeader, stamp(0)+"123"), []Cause{Milliseconds, WrongSecret}, true, "milliseconds"},
		"a date":                      {request(sent), header(timestampHeader, at.Format(time.RFC3339)), []Cause{TimestampMalformed}, true, "plain digits"},
		"a fraction":                  {request(sent), header(timestampHeader, stamp(0)+".123"), []Cause{TimestampMalformed}, true, "plain digits"},
		"a leading zero, signed":      {request(sent), func(in *Input) { sign(in, "0"+stamp(0)) }, []Cause{TimestampMalformed}, true, "plain digits"},
		"the timestamp of the answer": {request(sent), header(timestampHeader, stamp(time.Minute+7*time.Second)), []Cause{TimestampChanged}, true, "1m7s before"},
		"a timestamp before":          {request(sent), header(timestampHeader, stamp(-3*time.Minute)), []Cause{TimestampChanged}, true, "3m0s after"},
		"old":                         {request(sent), func(in *Input) { in.Now = at.Add(time.Hour) }, []Cause{Stale}, true, "1h0m0s old at 2025-11-21T22:00:01Z, and 5m0s is allowed"},
		"from the future":             {request(sent), func(in *Input) { in.Now = at.Add(-time.Hour) }, []Cause{Future}, true, "1h0m0s ahead"},
		"old, and printed anew":       {request(sent), func(in *Input) { in.Now = at.Add(time.Hour); in.Body = []byte(indented(sent, " ")) }, []Cause{WhiteSpace, Stale}, true, ""},
		"the body signed alone":       {request(sent), header(signatureHeader, "v0="+hmac(sent)), []Cause{SignedOtherwise}, true, "of the body alone"},
		"as another contract has it":  {request(sent), header(signatureHeader, "v0="+hmac(stamp(0)+"."+sent)), []Cause{SignedOtherwise}, true, "<timestamp>.<body>"},
		"three mistakes":              {request(sent), func(in *Input) { in.Secrets = []string{secret + "\n"}; in.Body = []byte("\ufeff" + sent + "\n") }, []Cause{SecretMistyped, TrailingNewline, ByteOrderMark}, true, ""},
		"a secret that is too short":  {signedWith("short", sent, at), func(in *Input) { in.Secrets = []string{"short"} }, []Cause{SecretTooShort}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if c.edit != nil {
				c.edit(&c.in)
			}
			r, err := Request(c.in)
			if err != nil {
				t.Fatal(err)
			}
			var causes []Cause
			for _, f := range r.Findings {
				causes = append(causes, f.Cause)
				if f.Text == "" || f.Remedy == "" || strings.Contains(f.Text, "%!") {
					t.Errorf("it does not say what is wrong and what to do: %+v", f)
				}
				if d := f.Difference; d != nil {
					if d.Offset > len(c.in.Body) || !strings.HasPrefix(string(c.in.Body[d.Offset:]), d.Captured) {
						t.Errorf("the body does not have %q at byte %d", d.Captured, d.Offset)
					}
				}
			}
			if r.Valid || !slices.Equal(causes, c.causes) {
				t.Fatalf("%v %v, want %v: %+v", r.Valid, causes, c.causes, r.Findings)
			}
			if f := r.Findings[0]; f.Proven != c.proven || !strings.Contains(f.Text, c.text) {
				t.Errorf("%+v, want %q", f, c.text)
			}
			text, _ := json.Marshal(r)
			for _, told := range []string{secret, digits, hmac("v0:" + stamp(0) + ":" + string(c.in.Body))} {
				if strings.Contains(string(text), told) {
					t.Errorf("it tells %s: %s", told, text)
				}
			}
		})
	}
}

// sign signs a request for any text as its timestamp.
func sign(in *Input, timestamp string) {
	in.Header.Set(timestampHeader, timestamp)
	in.Header.Set(signatureHeader, "v0="+hmac("v0:"+timestamp+":"+string(in.Body)))
}

// latin1ToRunes reads bytes as that character set.
func latin1ToRunes(text string) []rune {
	var all []rune
	for _, c := range []byte(text) {
		all = append(all, rune(c))
	}
	return all
}

// twice prints JSON as a text in JSON.
func twice(text string) string {
	b, _ := json.Marshal(text)
	return string(b)
}

// What is valid is that, and says what it is.
func TestValid(t *testing.T) {
	in := request(sent)
	r, err := Request(in)
	if err != nil || !r.Valid || r.Secret != 2 || !r.Timestamp.Equal(at) || r.Event != "number_management.peering_number_cnam_updated" || len(r.Findings) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
	in.Body = []byte("no JSON")
	sign(&in, in.Header.Get(timestampHeader))
	if r, err := Request(in); err != nil || !r.Valid || r.Event != "" {
		t.Errorf("%+v, %v", r, err)
	}
	in = request(sent)
	in.Now = at.Add(time.Hour)
	in.Tolerance = 2 * time.Hour
	if r, err := Request(in); err != nil || !r.Valid {
		t.Errorf("%+v, %v", r, err)
	}
}

// Of several requests it is found out when one has the headers of another.
func TestHeadersOfOthers(t *testing.T) {
	one, two := request(sent), signedWith(secret, `{"event":"other"}`, at.Add(-time.Minute))
	others := []Other{{"entry 2", two.Header, two.Body}}
	for name, c := range map[string]struct {
		signature, timestamp, body Input
		text                       string
	}{
		"its headers":   {two, two, one, "signature and timestamp are right for the body of entry 2"},
		"its signature": {two, one, one, "the signature is that of entry 2"},
		"its timestamp": {one, two, one, "the signature is right with the timestamp of entry 2"},
	} {
		in := request(sent)
		in.Header = http.Header{}
		in.Header.Set(signatureHeader, c.signature.Header.Get(signatureHeader))
		in.Header.Set(timestampHeader, c.timestamp.Header.Get(timestampHeader))
		in.Body = c.body.Body
		in.Others = others
		if name == "its timestamp" {
			in.Others = []Other{{"entry 2", one.Header, two.Body}}
			c.text = "the signature is right with the timestamp of entry 2"
		}
		r, err := Request(in)
		if err != nil || r.Valid || len(r.Findings) != 1 || r.Findings[0].Cause != OtherRequest || !strings.Contains(r.Findings[0].Text, "entry 2") {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// Without a secret nothing can be said.
func TestNoSecret(t *testing.T) {
	for _, secrets := range [][]string{nil, {""}, {" \n"}, {secret, ""}} {
		in := request(sent)
		in.Secrets = secrets
		if r, err := Request(in); err == nil || r.Valid {
			t.Errorf("%q: %+v", secrets, r)
		}
	}
}

// A search ends soon, however long a body is and however many keys it has.
func TestSearchIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"event":"e"`)
	for i := range 5000 {
		b.WriteString(`,"k` + strconv.Itoa(i) + `":{"a":1,"b":2}`)
	}
	b.WriteString("}")
	in := signedWith("another secret", b.String(), at)
	s, err := newSearch(in)
	if err != nil {
		t.Fatal(err)
	}
	if r := s.explain(); len(r.Findings) == 0 || s.budget < -len(in.Body)-2000 {
		t.Errorf("%+v, %d bytes too many were hashed", r.Findings, -s.budget)
	}
	for _, body := range []string{strings.Repeat("[", 10000) + strings.Repeat("]", 10000), strings.Repeat(`{"a":`, 100000), "null", "[]", "7", `"x"`, "\x00", "{", `{"`} {
		if _, err := Request(signedWith("another secret", body, at)); err != nil {
			t.Error(err)
		}
	}
}

// FuzzRequest: whatever was captured, there is an answer, which is valid if and only if
// a receiver says so, and tells no secret.
func FuzzRequest(f *testing.F) {
	in := request(sent)
	f.Add(in.Header.Get(signatureHeader), in.Header.Get(timestampHeader), []byte(sent))
	f.Add("v0=x", "0", []byte(indented(sent, " ")))
	f.Add("a,b c", "1e9", []byte(gz(sent)))
	f.Add(strings.Repeat("A", 44), "2025-11-21T21:00:01Z", []byte("%7B+%7D"))
	f.Add("%", "'1763758801'", []byte("\xff\"\\u"))
	r, err := webhook.New(webhook.Config{Secrets: []string{secret}, Now: func() time.Time { return at }})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, signature, timestamp string, body []byte) {
		in := Input{Header: http.Header{}, Body: body, Secrets: []string{secret}, Now: at}
		in.Header[http.CanonicalHeaderKey(signatureHeader)] = []string{signature}
		in.Header[http.CanonicalHeaderKey(timestampHeader)] = []string{timestamp}
		s, err := newSearch(in)
		if err != nil {
			t.Fatal(err)
		}
		s.budget = 1 << 16 // more of the same finds no other faults
		_, refused := r.Verify(in.Header, body)
		if refused != nil {
			if got := s.explain(); got.Valid {
				t.Error("valid, and the receiver refuses it")
			}
			return
		}
		if got, err := Request(in); err != nil || !got.Valid {
			t.Errorf("%+v, %v, and the receiver takes it", got, err)
		}
	})
}
