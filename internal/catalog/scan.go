package catalog

// The functions here walk over JSON text without building anything. They return
// where the thing at i ends, or perhaps if it is not well-formed or unusual.
// What they pass over, encoding/json accepts.

// space returns the next place that is no white space.
func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skip passes over any value.
func skip(b []byte, i, depth int) int {
	if i >= len(b) || depth > maxDepth {
		return perhaps
	}
	switch b[i] {
	case '"':
		end, _ := scanString(b, i)
		return end
	case 't':
		return skipWord(b, i, "true")
	case 'f':
		return skipWord(b, i, "false")
	case 'n':
		return skipWord(b, i, "null")
	case '{':
		return skipList(b, i+1, '}', depth+1)
	case '[':
		return skipList(b, i+1, ']', depth+1)
	}
	end, _ := scanNumber(b, i)
	return end
}

func skipWord(b []byte, i int, word string) int {
	if end := i + len(word); end <= len(b) && string(b[i:end]) == word {
		return end
	}
	return perhaps
}

// skipList passes over the rest of an object or array.
func skipList(b []byte, i int, last byte, depth int) int {
	i = space(b, i)
	if i < len(b) && b[i] == last {
		return i + 1
	}
	for {
		if last == '}' {
			if i >= len(b) || b[i] != '"' {
				return perhaps
			}
			end, _ := scanString(b, i)
			if end == perhaps {
				return perhaps
			}
			if i = space(b, end); i >= len(b) || b[i] != ':' {
				return perhaps
			}
			i = space(b, i+1)
		}
		if i = skip(b, i, depth); i == perhaps {
			return perhaps
		}
		i = space(b, i)
		if i >= len(b) {
			return perhaps
		}
		if b[i] == last {
			return i + 1
		}
		if b[i] != ',' {
			return perhaps
		}
		i = space(b, i+1)
	}
}

// scanString passes over the string that begins at i. It is simple if it is
// ASCII without escapes, so that its bytes are its characters.
func scanString(b []byte, i int) (end int, simple bool) {
	simple = true
	for i++; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1, simple
		case c == '\\':
			simple = false
			if i = scanEscape(b, i+1); i == perhaps {
				return perhaps, false
			}
		case c < ' ':
			return perhaps, false
		case c >= 0x80:
			simple = false
		}
	}
	return perhaps, false
}

// scanEscape returns the last place of the escape whose backslash is before i.
func scanEscape(b []byte, i int) int {
	if i >= len(b) {
		return perhaps
	}
	switch b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i
	case 'u':
		if i+4 >= len(b) {
			return perhaps
		}
		for _, c := range b[i+1 : i+5] {
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return perhaps
			}
		}
		return i + 4
	}
	return perhaps
}

// scanNumber passes over the number that begins at i, unless it is one with an
// exponent or hundreds of digits: the library must look at the size of those.
func scanNumber(b []byte, i int) (end int, whole bool) {
	const longest = 64
	from := i
	if i < len(b) && b[i] == '-' {
		i++
	}
	first := i
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	if i == first || b[first] == '0' && i > first+1 {
		return perhaps, false
	}
	whole = true
	if i < len(b) && b[i] == '.' {
		whole = false
		i++
		digits := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		if i == digits {
			return perhaps, false
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') || i-from > longest {
		return perhaps, false
	}
	return i, whole
}
