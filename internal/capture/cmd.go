package capture

import (
	"regexp"
	"strings"
)

// continued is a line of a command that goes on in the next one, as cmd has it.
var continued = regexp.MustCompile(`[ \t]\^\r?\n`)

// ofWindows reports whether a command line is one for cmd of Windows, as browsers copy
// it there: their first quotation mark is escaped with a caret.
func ofWindows(line string) bool {
	first := strings.IndexAny(line, `'"`)
	return first > 0 && line[first] == '"' && (line[first-1] == '^' || continued.MatchString(line))
}

// splitWindows splits a command line into words: first cmd takes its carets out, then
// the program splits what is left.
func splitWindows(line string) ([]string, error) {
	return splitArguments(withoutCarets(line))
}

// withoutCarets does what cmd does: outside of quotation marks a caret makes the next
// character an ordinary one. The end of a line is left away after one, and what comes
// then is ordinary, too, so that two ends of a line after a caret are one.
func withoutCarets(line string) string {
	line = strings.ReplaceAll(line, "\r\n", "\n")
	var b strings.Builder
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '^' && !quoted:
			if i++; i < len(line) && line[i] == '\n' {
				i++
			}
			if i < len(line) {
				b.WriteByte(line[i])
			}
		case c == '"':
			quoted = !quoted
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// splitArguments splits a command line as programs on Windows do: backslashes mean
// something only before a quotation mark, where every two of them are one, and an odd
// one makes the mark an ordinary character.
func splitArguments(line string) ([]string, error) {
	var words []string
	var b strings.Builder
	inWord, quoted := false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\':
			n := len(line[i:]) - len(strings.TrimLeft(line[i:], `\`))
			i += n - 1
			inWord = true
			if i+1 == len(line) || line[i+1] != '"' {
				b.WriteString(strings.Repeat(`\`, n))
				continue
			}
			b.WriteString(strings.Repeat(`\`, n/2))
			if n%2 == 1 {
				b.WriteByte('"')
				i++
			}
		case c == '"':
			inWord = true
			if quoted && i+1 < len(line) && line[i+1] == '"' { // as browsers wrote it once
				b.WriteByte('"')
				i++
				continue
			}
			quoted = !quoted
		case !quoted && strings.IndexByte(" \t\r\n", c) >= 0:
			if inWord {
				words = append(words, b.String())
				b.Reset()
				inWord = false
			}
		default:
			inWord = true
			b.WriteByte(c)
		}
	}
	if quoted {
		return nil, errQuote
	}
	if inWord {
		words = append(words, b.String())
	}
	if len(words) == 0 {
		return nil, errNone
	}
	return words, nil
}
