package catalog_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/switchhook/switchhook/internal/catalog"
)

var update = flag.Bool("update", false, "rewrite golden files")

// Of a document in which everything is wrong, everything that can be read is
// read, and the rest is said.
func TestNasty(t *testing.T) {
	doc := parseFile(t, "nasty.json")
	golden(t, "nasty.golden", report(doc))
}

// What a document became by repair needs no further repair.
func TestRepairIsFinal(t *testing.T) {
	doc := parseFile(t, "nasty.json")
	again, err := catalog.Parse(doc.Source)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range again.Notes {
		if n.Level == catalog.Repaired {
			t.Errorf("repaired again: %v", n)
		}
	}
	if !bytes.Equal(again.Source, doc.Source) {
		t.Errorf("the source has changed again")
	}
	if len(again.Types) != len(doc.Types) {
		t.Errorf("%d event types, before %d", len(again.Types), len(doc.Types))
	}
}

func parseFile(t testing.TB, name string) *catalog.Document {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := catalog.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// report writes all that there is to know about a document, for golden files.
func report(doc *catalog.Document) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s: %q version %s\n", doc.Product, doc.Title, doc.Version)
	for _, t := range doc.Types {
		fmt.Fprintf(&b, "\n%s\n  classic %v granular %v\n  by %s, %s\n", t.Name, t.ClassicScopes, t.GranularScopes, t.Routing, t.EventType.Check)
		if t.Schema != nil {
			fmt.Fprintf(&b, "  schema %s\n", t.Schema)
		}
		for _, s := range t.Samples {
			fmt.Fprintf(&b, "  sample %q %q %s\n", s.Name, s.Summary, s.Body)
		}
	}
	b.WriteString("\nNotes\n")
	for _, n := range doc.Notes {
		fmt.Fprintf(&b, "%v\n", n)
	}
	b.WriteString("\nSamples that do not fit\n")
	for _, s := range doc.CheckSamples() {
		for _, f := range s.Faults {
			fmt.Fprintf(&b, "%s %q: %v\n", s.EventType, s.Sample, f)
		}
	}
	return b.Bytes()
}

// golden compares got with a file in testdata, or writes it there.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range max(len(gotLines), len(wantLines)) {
		if i >= len(gotLines) || i >= len(wantLines) || !bytes.Equal(gotLines[i], wantLines[i]) {
			t.Fatalf("%s differs from line %d on; run the test with -update and read the diff", name, i+1)
		}
	}
}
