package sqlitefile

import (
	"fmt"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"
)

// Prepare returns a statement with its parameters set. A time is stored in Unix
// milliseconds, the zero time as 0.
func Prepare(c *sqlite.Conn, query string, args []any) (*sqlite.Stmt, error) {
	st, err := c.Prepare(query)
	if err != nil {
		return nil, err
	}
	if n := st.BindParamCount(); n != len(args) {
		return nil, fmt.Errorf("a statement with %d parameters is given %d: %s", n, len(args), strings.TrimSpace(query))
	}
	for i, a := range args {
		switch a := a.(type) {
		case int64:
			st.BindInt64(i+1, a)
		case int:
			st.BindInt64(i+1, int64(a))
		case bool:
			st.BindBool(i+1, a)
		case float64:
			st.BindFloat(i+1, a)
		case string:
			st.BindText(i+1, a)
		case []byte:
			st.BindBytes(i+1, a)
		case time.Time:
			st.BindInt64(i+1, Millis(a))
		case nil:
			st.BindNull(i + 1)
		default:
			return nil, fmt.Errorf("parameter %d has type %T", i+1, a)
		}
	}
	return st, nil
}

// Millis is how a time is stored; the zero time is 0.
func Millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// Time is the time of what [Millis] returned.
func Time(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
