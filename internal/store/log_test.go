package store

import (
	"path/filepath"
	"strings"
	"testing"
)

// A page of the webhook log is found in its index alone, however long the log is. Only
// the rows that are on the page are read.
func TestLogIsFoundInItsIndex(t *testing.T) {
	db := open(t, Options{Database: "sqlite:" + filepath.Join(t.TempDir(), "test.db"), Key: testKey(t, 1)})
	defer db.Close()
	for query, want := range map[string]string{
		selectType:      "SEARCH attempts USING COVERING INDEX attempts_log (subscription=? AND type_id>?)",
		selectPart:      "SEARCH attempts USING COVERING INDEX attempts_log (subscription=? AND type_id=? AND part>?)",
		selectStreamEnd: "SEARCH attempts USING COVERING INDEX attempts_log (subscription=? AND type_id=? AND part=? AND rowid>? AND rowid<?)",
		selectLogRow:    "SEARCH attempts USING INTEGER PRIMARY KEY (rowid=?)",
	} {
		if got := plan(t, db, query); !strings.HasPrefix(got, want) || strings.Contains(got, "SCAN") || strings.Contains(got, "TEMP") {
			t.Errorf("%s\nis planned as\n%s\nwant\n%s", query, got, want)
		}
	}
}
