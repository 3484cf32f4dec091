package console

import (
	"regexp"
	"strings"

	"github.com/switchhook/switchhook/internal/hook"
)

// block is a paragraph, or a list, of the text of a document. There is no HTML in
// it: the template makes the elements, and escapes what is in them.
type block struct {
	Heading bool
	Spans   []span // of a paragraph or heading
	// Items are those of a list.
	Items [][]span
	// Code is a text that keeps its lines.
	Code string
}

// span is a piece of text.
type span struct {
	Text         string
	Code, Strong bool
}

// maxProse is how much of a description is shown.
const maxProse = 16 << 10

// prose reads the little of Markdown, and of the HTML in it, that descriptions use:
// paragraphs, headings, lists, emphasis and code. All else stays what it is: text.
func prose(text string) []block {
	cut := len(text) > maxProse
	if cut {
		text = strings.ToValidUTF8(text[:maxProse], "")
	}
	text = lineBreak.ReplaceAllString(text, "\n")
	p := proser{}
	for line := range strings.Lines(text) {
		p.line(strings.TrimRight(line, " \t\r\n"))
	}
	p.endParagraph()
	if p.fence {
		p.endCode()
	}
	if cut {
		p.blocks = append(p.blocks, block{Spans: []span{{Text: "The rest of this text is not shown here."}}})
	}
	return p.blocks
}

var (
	lineBreak = regexp.MustCompile(`(?i)</?\s*(?:br|p)\s*/?\s*>`)
	ruler     = regexp.MustCompile(`^\s*([-*_])(?:\s*[-*_]){2,}\s*$`)
	heading   = regexp.MustCompile(`^\s{0,3}#{1,6}\s+(.*?)\s*#*$`)
	item      = regexp.MustCompile(`^\s*(?:[-*+•]|\d{1,3}[.)])\s+(.*)$`)
	textLink  = regexp.MustCompile(`!?\[([^\[\]\n]*)\]\((?:[^()\n]|\([^()\n]*\))*\)`)
)

// proser is the state of prose.
type proser struct {
	blocks    []block
	paragraph []string
	inItem    bool // the paragraph is the last item of the last block
	fence     bool
	code      []string
}

func (p *proser) line(line string) {
	trimmed := strings.TrimSpace(line)
	if strings.HasPrefix(trimmed, "```") {
		p.endParagraph()
		if p.fence {
			p.endCode()
		}
		p.fence = !p.fence
		return
	}
	if p.fence {
		p.code = append(p.code, line)
		return
	}
	trimmed = strings.TrimSpace(strings.TrimLeft(trimmed, ">"))
	switch {
	case trimmed == "", ruler.MatchString(trimmed):
		p.endParagraph()
	case heading.MatchString(trimmed):
		p.endParagraph()
		p.blocks = append(p.blocks, block{Heading: true, Spans: spans(heading.FindStringSubmatch(trimmed)[1])})
	case item.MatchString(trimmed):
		p.endParagraph()
		p.paragraph, p.inItem = []string{item.FindStringSubmatch(trimmed)[1]}, true
	default:
		p.paragraph = append(p.paragraph, trimmed)
	}
}

func (p *proser) endParagraph() {
	if len(p.paragraph) == 0 {
		return
	}
	text := spans(strings.Join(p.paragraph, " "))
	last := len(p.blocks) - 1
	switch {
	case !p.inItem:
		p.blocks = append(p.blocks, block{Spans: text})
	case last >= 0 && p.blocks[last].Items != nil:
		p.blocks[last].Items = append(p.blocks[last].Items, text)
	default:
		p.blocks = append(p.blocks, block{Items: [][]span{text}})
	}
	p.paragraph, p.inItem = nil, false
}

func (p *proser) endCode() {
	if len(p.code) > 0 {
		lines := make([]string, len(p.code))
		for i, line := range p.code {
			lines[i] = plain(line)
		}
		p.blocks = append(p.blocks, block{Code: strings.Join(lines, "\n")})
	}
	p.code = nil
}

// spans takes a paragraph apart at the marks of code and emphasis. A mark that has
// no other is text.
func spans(text string) []span {
	text = textLink.ReplaceAllString(text, "$1")
	var list []span
	add := func(s span) {
		s.Text = plain(s.Text)
		last := len(list) - 1
		switch {
		case s.Text == "":
		case last >= 0 && s == (span{Text: s.Text}) && list[last] == (span{Text: list[last].Text}):
			list[last].Text += s.Text
		default:
			list = append(list, s)
		}
	}
	for text != "" {
		i := strings.IndexAny(text, "`*_")
		if i < 0 {
			break
		}
		mark := text[i : i+1]
		if double := text[i:min(i+2, len(text))]; double == "**" || double == "__" {
			mark = double
		}
		rest := text[i+len(mark):]
		end := strings.Index(rest, mark)
		// An underscore or a single star is far more often part of a name.
		if end < 1 || mark == "*" || mark == "_" {
			add(span{Text: text[:i+len(mark)]})
			text = rest
			continue
		}
		add(span{Text: text[:i]})
		inner := rest[:end]
		if mark == "`" {
			add(span{Text: inner, Code: true})
		} else {
			add(span{Text: strings.Trim(inner, "`"), Strong: true, Code: strings.HasPrefix(inner, "`")})
		}
		text = rest[end+len(mark):]
	}
	add(span{Text: text})
	return list
}

// plain makes visible what could make a page show something else than there is.
func plain(s string) string { return hook.Printable(strings.ReplaceAll(s, "\t", " ")) }
