package capture

import (
	"encoding/binary"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

const body = `{"event":"e","payload":{"name":"José & \"Söhne\" 😀 it's $5 \\ \n"}}`

// sameRequest checks a request that was read against the one that was recorded.
func sameRequest(t *testing.T, r Request) {
	t.Helper()
	if r.Method != http.MethodPost || r.URL != "https://hooks.example/in?a=b" || string(r.Body) != body {
		t.Errorf("%s %s with %q", r.Method, r.URL, r.Body)
	}
	if got := r.Header.Get("X-Zm-Signature"); got != "v0=abc" {
		t.Errorf("signature %q", got)
	}
	if got := r.Header["X-Zm-Request-Timestamp"]; len(got) != 1 || got[0] != "1763758801" {
		t.Errorf("timestamps %q", got)
	}
}

func TestHTTP(t *testing.T) {
	const lines = "POST https://hooks.example/in?a=b HTTP/1.1\r\nHost: hooks.example\r\nx-zm-signature:  v0=abc \r\nX-ZM-REQUEST-TIMESTAMP: 1763758801\r\n\r\n"
	chunked := strings.Replace(lines, "Host:", "Transfer-Encoding: chunked\r\nHost:", 1)
	for name, text := range map[string]string{
		"as on the wire":           lines + body,
		"with the ends of Unix":    strings.ReplaceAll(lines, "\r\n", "\n") + body,
		"with empty lines before":  "\n\r\n" + lines + body,
		"with a mark before":       "\ufeff" + lines + body,
		"without the version":      strings.Replace(lines, " HTTP/1.1", "", 1) + body,
		"of HTTP/2":                strings.Replace(lines, "POST https://hooks.example/in?a=b HTTP/1.1\r\n", ":method: POST\r\n:path: https://hooks.example/in?a=b\r\n", 1) + body,
		"in chunks":                chunked + "5\r\n" + body[:5] + "\r\n" + hexLen(body[5:]) + ";x=y\r\n" + body[5:] + "\r\n0\r\n\r\n",
		"in chunks, put together":  chunked + body,
		"in UTF-16":                utf16le(lines + body),
		"with a folded header":     strings.Replace(lines, "x-zm-signature:  v0=abc ", "x-zm-signature:\r\n\tv0=abc ", 1) + body,
		"with a length and an end": strings.Replace(lines, "Host:", "Content-Length: "+decLen(body)+"\r\nHost:", 1) + body + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			if f := Detect([]byte(text)); f != HTTP {
				t.Fatalf("taken for %s", f)
			}
			all, err := Read([]byte(text), Auto)
			if err != nil || len(all) != 1 {
				t.Fatal(all, err)
			}
			sameRequest(t, all[0])
			if noted := len(all[0].Notes) > 0; noted != (strings.Contains(name, "an end") || strings.Contains(name, "folded")) {
				t.Errorf("notes %q", all[0].Notes)
			}
		})
	}
}

// What is after a body is left as it is, unless the request says that it is no part of
// it: whoever asks wants to know.
func TestHTTPKeepsTheBody(t *testing.T) {
	for text, want := range map[string]string{
		"x-zm-signature: v0=abc\n\n" + body + "\n":                            body + "\n",
		"x-zm-signature: v0=abc\n\n\n" + body:                                 "\n" + body,
		"a: b\nContent-Length: 5\n\n" + body:                                  body,
		"a: b\nContent-Length: 500\n\n" + body:                                body,
		"a: b\nContent-Length: x\n\n" + body:                                  body,
		"a: b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}\r\n0\r\n\r\n":      "5\r\n{}\r\n0\r\n\r\n",
		"a: b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}x\r\n0\r\n\r\n":     "2\r\n{}x\r\n0\r\n\r\n",
		"a: b\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n{}\r\n0\r\n": "ffffffffff\r\n{}\r\n0\r\n",
	} {
		all, err := Read([]byte(text), HTTP)
		if err != nil || string(all[0].Body) != want {
			t.Errorf("%q: %q, %v", text, all, err)
		}
	}
	if all, err := Read([]byte("a: b\nc: d"), Auto); err != nil || len(all[0].Notes) != 1 || len(all[0].Body) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := Read([]byte("a: b\n{\"event\":1}"), Auto); err == nil || !strings.Contains(err.Error(), "empty line") {
		t.Error(err)
	}
}

// A header goes on in the lines below it, in not too many, and in none below another.
func TestFoldedHeaders(t *testing.T) {
	all, err := Read([]byte("POST / HTTP/1.1\na: 1\n 2\n 3\nb: 4\n\n{}"), HTTP)
	if err != nil || all[0].Header.Get("A") != "1 2 3" || len(all[0].Notes) != 1 {
		t.Errorf("%+v, %v", all, err)
	}
	for text, want := range map[string]string{
		"POST / HTTP/1.1\na: b\n" + strings.Repeat(" c\n", 1_000_000) + "\n": "longer than 65536 bytes",
		"a: b\n:path: /x\n c\n\n": "not a header",
	} {
		if _, err := Read([]byte(text), HTTP); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v", text, err)
		}
	}
}

func TestHAR(t *testing.T) {
	text, _ := json.Marshal(body)
	all, err := Read([]byte(`{"log":{"version":"1.2","entries":[
		{"request":{"method":"GET","url":"https://hooks.example/"}},
		{"startedDateTime":"2025-11-21T21:00:02.500+01:00","request":{"method":"POST","url":"https://hooks.example/in?a=b","headers":[
			{"name":":authority","value":"hooks.example"},{"name":"x-zm-signature","value":"v0=abc"},{"name":"x-zm-request-timestamp","value":"1763758801"}],
			"postData":{"mimeType":"application/json","text":`+string(text)+`}}},
		{"request":{"method":"POST","url":"https://hooks.example/","postData":{"text":"e30=","encoding":"base64"}}},
		{"request":{"method":"POST","url":"https://hooks.example/"}}]}}`), Auto)
	if err != nil || len(all) != 3 {
		t.Fatal(all, err)
	}
	sameRequest(t, all[0])
	if all[0].Where != "entry 2" || !all[0].Received.Equal(time.Date(2025, 11, 21, 20, 0, 2, 5e8, time.UTC)) {
		t.Errorf("%s at %v", all[0].Where, all[0].Received)
	}
	if string(all[1].Body) != "{}" || len(all[2].Notes) != 1 {
		t.Errorf("%+v", all[1:])
	}
	for _, bad := range []string{`{"log":{"entries":[]}}`, `{"log":{}}`, `{"log":{"entries":[{"request":{"method":"POST","postData":{"text":"!","encoding":"base64"}}}]}}`, `{"log":{`} {
		if all, err := Read([]byte(bad), HAR); err == nil {
			t.Errorf("%s: %+v", bad, all)
		}
	}
}

// utf16le returns a text as PowerShell writes it into a file.
func utf16le(text string) string {
	out := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(text)) {
		out = binary.LittleEndian.AppendUint16(out, u)
	}
	return string(out)
}

func TestCurl(t *testing.T) {
	single := strings.ReplaceAll(body, "'", `'\''`)
	double := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(body)
	ansi := strings.NewReplacer(`\`, `\\`, "'", `\'`, "é", `\u00e9`, "😀", `\ud83d\ude00`, "ö", `\xc3\xb6`).Replace(body)
	const headers = ` -H 'x-zm-signature: v0=abc' --header "X-Zm-Request-Timestamp:1763758801"`
	for name, text := range map[string]string{
		"single quotes":  `curl 'https://hooks.example/in?a=b'` + headers + ` --data-raw '` + single + `'`,
		"double quotes":  `curl "https://hooks.example/in?a=b"` + headers + ` --data-binary "` + double + `"`,
		"as browsers do": "curl 'https://hooks.example/in?a=b' \\\n  -X 'POST' \\\r\n " + headers + " \\\n  --data-raw $'" + ansi + "' \\\n  --compressed",
		"attached":       `$ curl -XPOST --url=https://hooks.example/in?a=b -sS -k -m3` + headers + ` -d'` + single + `'`,
		"as browsers do for cmd": "curl ^\"https://hooks.example/in?a=b^\" ^\r\n  -X ^\"POST^\" ^\r\n  -H ^\"x-zm-signature: v0=abc^\" ^\r\n  -H ^\"x-zm-request-timestamp: 1763758801^\" ^\r\n" +
			`  --data-raw ^"` + strings.NewReplacer(`\"`, `^\^\^\^"`, `"`, `^\^"`, "&", "^&", "<", "^<", ">", "^>", "{", "^{", "}", "^}", "!", "^!").Replace(body) + `^"`,
		"as others do for cmd": "curl -X POST \"https://hooks.example/in?a=b\" ^\r\n -H \"x-zm-signature: v0=abc\" ^\n -H \"x-zm-request-timestamp: 1763758801\" -d \"" + strings.NewReplacer(`\"`, `\\\"`, `"`, `\"`).Replace(body) + `"`,
		"others with a value":  `curl -o /dev/null -w '%{http_code}' --max-time 3` + headers + ` --json '` + single + `' https://hooks.example/in?a=b`,
	} {
		t.Run(name, func(t *testing.T) {
			if f := Detect([]byte(text)); f != Curl {
				t.Fatalf("taken for %s", f)
			}
			all, err := Read([]byte(text), Auto)
			if err != nil || len(all) != 1 {
				t.Fatal(all, err)
			}
			sameRequest(t, all[0])
		})
	}
	for text, want := range map[string]string{
		`curl -d @body.json https://x`:    "in a file",
		`curl -F a=b https://x`:           "form",
		`curl --data-urlencode a https:x`: "form",
		`curl 'https://x`:                 "not closed",
		`curl "https://x`:                 "not closed",
		`curl $'https://x`:                "not closed",
		`curl https://x -H`:               "has no value",
		`curl ^"https://x -d a`:           "not closed",
	} {
		if _, err := Read([]byte(text), Auto); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if all, err := Read([]byte("curl ^\"https://x^\" --data-raw ^\"a^\n\nb c\\d^\""), Auto); err != nil || string(all[0].Body) != "a\nb c\\d" {
		t.Errorf("%+v, %v", all, err)
	}
	if all, err := Read([]byte(`curl --data-raw '{"a":"x^"}' https://x`), Auto); err != nil || string(all[0].Body) != `{"a":"x^"}` {
		t.Errorf("%+v, %v", all, err)
	}
	if all, err := Read([]byte("curl https://x -d a=1 -d b=2 -A me -H 'X-Empty;'"), Auto); err != nil || string(all[0].Body) != "a=1&b=2" || all[0].Header.Get("User-Agent") != "me" {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestBody(t *testing.T) {
	for _, text := range []string{body, body + "\n", "", "\ufeff" + body, "\x1f\x8b", `{"log":"no HAR"}`} {
		if f := Detect([]byte(text)); f != Body {
			t.Errorf("%q is taken for %s", text, f)
		}
		all, err := Read([]byte(text), Auto)
		if err != nil || string(all[0].Body) != text {
			t.Errorf("%q: %q, %v", text, all, err)
		}
	}
	if _, err := Read(nil, "xml"); err == nil || !strings.Contains(err.Error(), "http, har, curl, body") {
		t.Error(err)
	}
}

// FuzzRead: whatever is recorded, reading it ends in a request or an error, and a body
// that is read alone is as it was.
func FuzzRead(f *testing.F) {
	for _, text := range []string{"POST / HTTP/1.1\r\na: b\r\n\r\n{}", "curl -d '{}' x", "curl $'\\ud83d\\u12", `{"log":{"entries":[{"request":{"method":"POST"}}]}}`, "a:b", body, "POST / HTTP/1.1\nTransfer-Encoding: chunked\n\n0\n", ":method: GET\n:x\n\n"} {
		for _, format := range append(Formats(), Auto) {
			f.Add([]byte(text), string(format))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, format string) {
		all, err := Read(text, Format(format))
		if err == nil && len(all) == 0 {
			t.Error("neither a request nor an error")
		}
		if err == nil && format == string(Body) && string(all[0].Body) != string(text) {
			t.Errorf("%q became %q", text, all[0].Body)
		}
		if err != nil && !utf8.ValidString(err.Error()) {
			t.Errorf("%q", err)
		}
	})
}

func hexLen(s string) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[len(s)>>4], digits[len(s)&15]})
}

func decLen(s string) string {
	b, _ := json.Marshal(len(s))
	return string(b)
}
