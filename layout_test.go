// The packages depend on one another as docs/design.md says.

package switchhook_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/switchhook/switchhook"

// arrows says which packages of this module a package may import. A package that is
// not named here is an oversight.
var arrows = map[string][]string{
	".":              {}, // says what there is
	"cmd/switchhook": {"internal/...", "internal/forward/...", "webhook"},

	"internal/api": {"internal/catalog", "internal/challenge", "internal/deliver", "internal/hook", "internal/intake", "internal/inventory", "internal/manage", "internal/number", "internal/oauth", "internal/outbound", "internal/outbox", "webhook"},

	"internal/console": {"internal/catalog", "internal/hook", "webhook"},

	"internal/doctor":    {"internal/challenge", "internal/hook", "internal/outbound", "internal/sample", "webhook"},
	"internal/rounds":    {"internal/hook"},
	"internal/intake":    {"internal/canon", "internal/catalog", "internal/hook", "webhook"},
	"internal/inventory": {"internal/hook", "internal/intake", "internal/number"},
	"internal/manage":    {"internal/catalog", "internal/challenge", "internal/hook", "internal/outbox"},
	"internal/challenge": {"internal/hook", "internal/outbound", "webhook"},
	"internal/oauth":     {"internal/hook"},
	"internal/monitor":   {"internal/admin", "internal/challenge", "internal/deliver", "internal/hook", "internal/intake"},
	"internal/tracing":   {"internal/hook", "internal/intake"},
	"internal/gateway":   {"internal/admin", "internal/inbox", "webhook"},
	"internal/forward":   {"internal/canon", "internal/inbox", "webhook"},
	"internal/deliver":   {"internal/hook", "internal/outbound"},
	"internal/outbound":  {"internal/hook", "webhook"},
	"internal/catalog":   {"internal/hook"},
	"internal/mail":      {"internal/hook", "internal/outbox"},
	"internal/number":    {"internal/canon", "internal/hook"},
	"internal/outbox":    {"internal/hook"},
	"internal/simulate":  {"internal/hook", "internal/number"},

	// The store knows the others only for the types that it keeps.
	"internal/store": {"internal/deliver", "internal/hook", "internal/intake", "internal/inventory", "internal/number", "internal/outbox", "internal/seal", "internal/sqlitefile"},

	"internal/capture":  {},
	"internal/sample":   {"internal/canon", "internal/catalog"},
	"internal/diagnose": {"internal/canon", "webhook"},

	// What forwards with a client library of its own.
	"internal/forward/amqp":     {"internal/forward"},
	"internal/forward/kafka":    {"internal/forward"},
	"internal/forward/nats":     {"internal/forward"},
	"internal/forward/postgres": {"internal/forward", "internal/inbox", "webhook/numbermanagement"},

	"internal/admin":      {},
	"internal/canon":      {},
	"internal/dnstest":    {},
	"internal/freeport":   {},
	"internal/hook":       {},
	"internal/inbox":      {"internal/sqlitefile"},
	"internal/memnet":     {},
	"internal/pgtest":     {},
	"internal/seal":       {},
	"internal/sqlitefile": {},
	"internal/smtptest":   {},
	"webhook":             {},

	"webhook/numbermanagement": {"webhook"},
	"webhook/webhooktest":      {"internal/canon", "webhook"},

	// What users copy imports what they can import.
	"examples/receiver": {"webhook", "webhook/numbermanagement"},
}

// onlyStandardLibrary are packages that cost whoever imports them nothing else.
var onlyStandardLibrary = []string{"webhook", "webhook/numbermanagement", "webhook/webhooktest", "examples/receiver", "internal/canon", "internal/hook", "internal/seal"}

// Arrows point one way: from the program over the modules to the vocabulary.
func TestArrows(t *testing.T) {
	found := map[string]bool{}
	for file, imports := range importsOf(t, func(name string) bool { return !strings.HasSuffix(name, "_test.go") }) {
		from := path.Dir(file)
		found[from] = true
		allowed, ok := arrows[from]
		if !ok {
			t.Errorf("package %s is not in the table of arrows", from)
			continue
		}
		for _, to := range imports {
			local, ours := strings.CutPrefix(to, module+"/")
			switch {
			case ours && !slices.Contains(allowed, local) && !slices.Contains(allowed, path.Dir(local)+"/..."):
				t.Errorf("%s imports %s, which %s may not", file, local, from)
			case !ours && strings.Contains(to, ".") && slices.Contains(onlyStandardLibrary, from):
				t.Errorf("%s imports %s; %s imports only the standard library", file, to, from)
			}
		}
	}
	for from := range arrows {
		if !found[from] {
			t.Errorf("package %s is in the table of arrows and nowhere else", from)
		}
	}
}

// Whoever imports webhook gets nothing else with it, not even its tests' helpers.
func TestWebhookTests(t *testing.T) {
	for file, imports := range importsOf(t, func(name string) bool { return strings.HasSuffix(name, "_test.go") }) {
		for _, to := range imports {
			if path.Dir(file) == "webhook" && strings.Contains(to, ".") && to != module+"/webhook" {
				t.Errorf("%s imports %s", file, to)
			}
		}
	}
}

// importsOf returns the imports of the module's files that are wanted.
func importsOf(t *testing.T, wanted func(name string) bool) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "tools"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(file, ".go") || file == "layout_test.go" || !wanted(file):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		file = filepath.ToSlash(file)
		all[file] = nil
		for _, i := range f.Imports {
			to, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			all[file] = append(all[file], to)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
