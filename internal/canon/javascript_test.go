package canon_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/switchhook/switchhook/internal/canon"
)

var update = flag.Bool("update", false, "rewrite golden files")

const frozen = "testdata/javascript.jsonl"

// roundTrip is the definition of the canonical form.
const roundTrip = `text => JSON.stringify(JSON.parse(text))`

// javascript calls a function, given as its source, with each of texts in one
// node process and returns what it returned. Where it threw, that is nil.
func javascript(t *testing.T, function string, texts [][]byte) [][]byte {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		const why = "left out: node is not on PATH (install Node.js to compare with a real JavaScript engine)"
		if os.Getenv("SWITCHHOOK_TEST_REQUIRE_ALL") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	const script = `
		const lines = require('fs').readFileSync(0, 'latin1').split('\n');
		lines.pop();
		process.stdout.write(lines.map(line => {
			const text = Buffer.from(line, 'base64').toString('utf8');
			try {
				return '=' + Buffer.from(f(text), 'utf8').toString('base64') + '\n';
			} catch (e) {
				return '!\n';
			}
		}).join(''));`
	var in, stderr bytes.Buffer
	for _, text := range texts {
		in.WriteString(base64.StdEncoding.EncodeToString(text) + "\n")
	}
	cmd := exec.CommandContext(t.Context(), node, "-e", "const f = "+function+";"+script)
	cmd.Stdin, cmd.Stderr = &in, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, stderr.Bytes())
	}
	answers := make([][]byte, 0, len(texts))
	for line := range strings.Lines(string(out)) {
		var answer []byte
		if encoded, ok := strings.CutPrefix(line, "="); ok {
			if answer, err = base64.StdEncoding.DecodeString(strings.TrimSuffix(encoded, "\n")); err != nil {
				t.Fatal(err)
			}
		}
		answers = append(answers, answer)
	}
	if len(answers) != len(texts) {
		t.Fatalf("node gave %d answers to %d texts", len(answers), len(texts))
	}
	return answers
}

// documents returns n texts that Append accepts: the hand-written ones, and for
// the rest random ones, the same on every run.
func documents(n, longest int) [][]byte {
	var texts [][]byte
	add := func(text []byte) {
		if len(texts) < n && len(text) <= longest {
			texts = append(texts, text)
		}
	}
	add([]byte(event))
	for _, v := range vectors {
		add([]byte(v.text))
	}
	for _, n := range numbers {
		add([]byte(n.text))
	}
	for seed := uint64(0); len(texts) < n; seed++ {
		m := fromSeed(seed)
		if v := m.value(6); seed%4 == 0 {
			add(m.spell(v))
		} else {
			add(m.spell(m.object(4)))
		}
	}
	return texts
}

func TestJavaScriptAgrees(t *testing.T) {
	texts := documents(10_000, 1<<20)
	for i, want := range javascript(t, roundTrip, texts) {
		if got, err := canon.Append(nil, texts[i]); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s\n      got %s, %v\nnode says %s", texts[i], got, err, want)
		}
	}
}

// What a JavaScript engine said once is checked where there is none.
func TestJavaScriptAgreedWhenFrozen(t *testing.T) {
	type document struct {
		Text       string `json:"text"`
		JavaScript string `json:"javascript"`
	}
	if *update {
		texts := documents(500, 400)
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		for i, answer := range javascript(t, roundTrip, texts) {
			e.Encode(document{string(texts[i]), string(answer)})
		}
		if err := os.WriteFile(frozen, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(frozen)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range bytes.Lines(file) {
		n++
		var d document
		if err := json.Unmarshal(line, &d); err != nil {
			t.Fatalf("%s:%d: %v", frozen, n, err)
		}
		if got, err := canon.Append(nil, []byte(d.Text)); err != nil || string(got) != d.JavaScript {
			t.Errorf("%s:%d: %s\n  got %s, %v\nfrozen %s", frozen, n, d.Text, got, err, d.JavaScript)
		}
	}
	if n < 500 {
		t.Errorf("%s has %d documents, want 500", frozen, n)
	}
}

// Each reason for a refusal holds in JavaScript: what is refused would not
// arrive there as it was sent, or not be told from something else.
func TestJavaScriptGivesTheReasonsForRefusals(t *testing.T) {
	// A function returns an empty text if it cannot confirm the reason.
	confirm := map[canon.Reason]string{
		canon.Syntax: `text => { try { JSON.parse(text) } catch { return 'throws' } return '' }`,
		// Fewer members come out than colons go in; the texts have none in strings.
		canon.DuplicateKey: `text => JSON.stringify(JSON.parse(text)).split(':').length < text.split(':').length ? 'lost' : ''`,
		canon.UnsafeInteger: `text => {
			let unsafe = '';
			JSON.parse(text, (key, n) => { if (Number.isInteger(n) && !Number.isSafeInteger(n)) unsafe = 'unsafe' });
			return unsafe;
		}`,
		canon.NumberRange: `text => JSON.stringify(JSON.parse(text)).includes('null') ? 'null' : ''`,
		canon.InvalidUTF8: `text => text.includes('\ufffd') ? 'replaced' : ''`,
	}
	texts := map[canon.Reason][][]byte{}
	for _, r := range refusals {
		texts[r.reason] = append(texts[r.reason], []byte(r.text))
	}
	for _, n := range unsafeIntegers {
		texts[canon.UnsafeInteger] = append(texts[canon.UnsafeInteger], []byte(n))
	}
	for _, n := range outOfRange {
		texts[canon.NumberRange] = append(texts[canon.NumberRange], []byte(n))
	}
	for reason, function := range confirm {
		for i, answer := range javascript(t, function, texts[reason]) {
			if len(answer) == 0 {
				t.Errorf("%.80q is refused for %v, but node does not confirm it", texts[reason][i], reason)
			}
		}
	}
}
