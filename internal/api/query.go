package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// query is what an operator call is given beside its path. Its faults add up, so that a
// caller learns of all at once.
type query struct {
	url.Values
	faults hook.Faults
}

// newQuery finds fault with each parameter that is not among the known ones.
func newQuery(v url.Values, known ...string) *query {
	q := &query{Values: v}
	for _, name := range slices.Sorted(maps.Keys(v)) {
		if !slices.Contains(known, name) {
			q.faults.Add(name, "is not known; known are %s", strings.Join(known, ", "))
		}
	}
	return q
}

func (q *query) err() error { return q.faults.Err("query") }

// named reads which subscription is meant. It is 0 if that is not said.
func (q *query) named() hook.SubscriptionKey {
	id := q.Get("event_subscription_id")
	if id == "" {
		return 0
	}
	k, err := hook.KeyOf(id)
	if err != nil {
		q.faults.Add("event_subscription_id", "%s", err)
	}
	return k
}

// period reads from when to when. What is not said is zero.
func (q *query) period() (from, to time.Time) {
	from, to = q.instant("from"), q.instant("to")
	if !from.IsZero() && !to.IsZero() && to.Before(from) {
		q.faults.Add("to", "is before from")
	}
	return from, to
}

func (q *query) instant(name string) time.Time {
	text := q.Get(name)
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		q.faults.Add(name, "%q is not a time like 2026-01-31T15:04:05Z", text)
	}
	return t
}

// pageSize reads how much a page has at most.
func (q *query) pageSize() int {
	n, err := parsePageSize(q.Get("page_size"))
	if err != nil {
		q.faults.Add("page_size", "%s", err)
	}
	return n
}

func parsePageSize(text string) (int, error) {
	if text == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage {
		return 0, fmt.Errorf("must be 1 to %d", maxPage)
	}
	return n, nil
}

// A page token says where the next page of what a query selects begins, in numbers.
func (q *query) token(position ...uint64) string {
	b := q.hash()
	for _, n := range position {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// position reads the page token of this query, which has as many numbers as are given.
// It reports whether there is one.
func (q *query) position(numbers ...*uint64) bool {
	text := q.Get("next_page_token")
	if text == "" {
		return false
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	switch {
	case err != nil || len(b) != 8+8*len(numbers) || base64.RawURLEncoding.EncodeToString(b) != text:
		q.faults.Add("next_page_token", "is not one that this API gave")
		return false
	case string(b[:8]) != string(q.hash()):
		q.faults.Add("next_page_token", "belongs to a query with other parameters")
		return false
	}
	for i, n := range numbers {
		*n = binary.BigEndian.Uint64(b[8+8*i:])
	}
	return true
}

func (q *query) hash() []byte { return queryHash(q.Values) }

// queryHash identifies what a query selects.
func queryHash(q url.Values) []byte {
	selects := url.Values{}
	for k, v := range q {
		if k != "next_page_token" && k != "page_size" {
			selects[k] = v
		}
	}
	sum := sha256.Sum256([]byte(selects.Encode()))
	return sum[:8]
}
