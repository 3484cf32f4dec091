package capture

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// readCurl reads a request from the command that makes it, as browsers copy it.
func readCurl(command string) (Request, error) {
	parts := split
	if ofWindows(command) {
		parts = splitWindows
	}
	words, err := parts(strings.TrimPrefix(strings.TrimSpace(command), "$ "))
	if err != nil {
		return Request{}, err
	}
	r := Request{Header: http.Header{}}
	var data []string
	for words = words[1:]; len(words) > 0; {
		word := words[0]
		words = words[1:]
		name, value, attached := option(word)
		if name == "" {
			r.URL = word
			continue
		}
		if takesValue(name) && !attached {
			if len(words) == 0 {
				return Request{}, fmt.Errorf("option %s has no value", name)
			}
			value, words = words[0], words[1:]
		}
		switch name {
		case "-X", "--request":
			r.Method = value
		case "--url":
			r.URL = value
		case "-H", "--header":
			if name, value, ok := strings.Cut(value, ":"); ok {
				r.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
			} else if name, ok := strings.CutSuffix(value, ";"); ok {
				r.Header.Add(name, "")
			}
		case "-A", "--user-agent":
			r.Header.Set("User-Agent", value)
		case "-d", "--data", "--data-ascii", "--data-binary", "--json":
			if strings.HasPrefix(value, "@") {
				return Request{}, fmt.Errorf("its body is in a file (%s %s), which this does not open; name it with --body", name, value)
			}
			data = append(data, value)
		case "--data-raw":
			data = append(data, value)
		case "--data-urlencode", "-F", "--form":
			return Request{}, fmt.Errorf("option %s makes a form of the body, and an event is none", name)
		}
	}
	r.Body = []byte(strings.Join(data, "&"))
	if r.Method == "" {
		r.Method = http.MethodPost
	}
	if data == nil {
		r.Notes = append(r.Notes, "the command has no body (--data-raw)")
	}
	return r, nil
}

// option splits a word into the name of an option and the value in the same word. It
// has no name if it is no option.
func option(word string) (name, value string, attached bool) {
	switch {
	case strings.HasPrefix(word, "--"):
		return strings.Cut(word, "=")
	case len(word) > 2 && word[0] == '-' && takesValue(word[:2]):
		return word[:2], word[2:], true
	case len(word) > 1 && word[0] == '-':
		return word, "", false
	}
	return "", "", false
}

// takesValue reports whether an option is followed by a value. The list is of those
// that people and browsers use for requests.
func takesValue(name string) bool {
	switch name {
	case "-X", "--request", "--url", "-H", "--header", "-A", "--user-agent", "-d", "--data", "--data-ascii", "--data-binary", "--data-raw", "--data-urlencode", "--json",
		"-F", "--form", "-o", "--output", "-u", "--user", "-b", "--cookie", "-e", "--referer", "-m", "--max-time", "--connect-timeout", "-w", "--write-out",
		"--resolve", "--cacert", "-E", "--cert", "--key", "-x", "--proxy", "-D", "--dump-header", "--retry", "-T", "--upload-file":
		return true
	}
	return false
}

var errQuote = errors.New("a quotation mark in it is not closed")

// split splits a command line into words, as a POSIX shell does.
func split(line string) ([]string, error) {
	var words []string
	var b strings.Builder
	inWord := false
	for i := 0; i < len(line); {
		switch c := line[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if i++; inWord {
				words = append(words, b.String())
				b.Reset()
				inWord = false
			}
		case c == '\\':
			rest := line[i+1:]
			switch {
			case strings.HasPrefix(rest, "\r\n"):
				i += 3
			case strings.HasPrefix(rest, "\n"):
				i += 2
			case rest == "":
				i++
			default:
				b.WriteByte(rest[0])
				inWord = true
				i += 2
			}
		case c == '\'':
			end := strings.IndexByte(line[i+1:], '\'')
			if end < 0 {
				return nil, errQuote
			}
			b.WriteString(line[i+1 : i+1+end])
			inWord = true
			i += end + 2
		case c == '"':
			n, ok := doubleQuoted(&b, line[i+1:])
			if !ok {
				return nil, errQuote
			}
			inWord = true
			i += 1 + n
		case c == '$' && strings.HasPrefix(line[i+1:], "'"):
			n, ok := ansiQuoted(&b, line[i+2:])
			if !ok {
				return nil, errQuote
			}
			inWord = true
			i += 2 + n
		default:
			b.WriteByte(c)
			inWord = true
			i++
		}
	}
	if inWord {
		words = append(words, b.String())
	}
	if len(words) == 0 {
		return nil, errNone
	}
	return words, nil
}

// doubleQuoted reads up to the closing quotation mark and returns how far that was.
func doubleQuoted(b *strings.Builder, s string) (n int, ok bool) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1, true
		case c == '\\' && i+1 < len(s) && strings.IndexByte("\"\\$`\n", s[i+1]) >= 0:
			if i++; s[i] != '\n' {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return 0, false
}

// ansiQuoted does the same for $'...', which browsers use where there is a quotation
// mark or a line feed in the text.
func ansiQuoted(b *strings.Builder, s string) (n int, ok bool) {
	plain := map[byte]byte{'n': '\n', 'r': '\r', 't': '\t', 'a': '\a', 'b': '\b', 'f': '\f', 'v': '\v', '\\': '\\', '\'': '\'', '"': '"', 'e': 0x1b, '?': '?'}
	var high rune // the first half of a pair, as JavaScript has it
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\'' {
			return i + 1, true
		}
		if c != '\\' || i+1 >= len(s) {
			b.WriteByte(c)
			continue
		}
		i++
		digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[i]]
		if digits == 0 {
			if p, known := plain[s[i]]; known {
				b.WriteByte(p)
			} else {
				b.WriteString(s[i-1 : i+1])
			}
			continue
		}
		end := i + 1
		for end < len(s) && end-i <= digits && strings.IndexByte("0123456789abcdefABCDEF", s[end]) >= 0 {
			end++
		}
		v, err := strconv.ParseUint(s[i+1:end], 16, 32)
		if err != nil {
			b.WriteString(s[i-1 : i+1])
			continue
		}
		switch r := rune(v); {
		case s[i] == 'x':
			b.WriteByte(byte(v))
		case 0xd800 <= r && r < 0xdc00:
			high = r
		case 0xdc00 <= r && r < 0xe000 && high != 0:
			b.WriteRune((high-0xd800)<<10 | (r - 0xdc00) + 0x10000)
			high = 0
		case !utf8.ValidRune(r):
			b.WriteRune(utf8.RuneError)
		default:
			b.WriteRune(r)
		}
		i = end - 1
	}
	return 0, false
}
