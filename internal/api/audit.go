package api

import (
	"encoding/base64"
	"encoding/binary"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/switchhook/switchhook/internal/hook"
)

// AuditEntry is an entry of the audit trail as the API shows it.
type AuditEntry struct {
	At      Instant     `json:"at"`
	By      Actor       `json:"by"`
	Action  hook.Action `json:"action"`
	Kind    string      `json:"kind"`
	ID      string      `json:"id"`
	Name    string      `json:"name"`
	Changes []string    `json:"changes"`
}

// Actor is who did it.
type Actor struct {
	Kind hook.ActorKind `json:"kind"`
	ID   string         `json:"id,omitempty"`
	Name string         `json:"name,omitempty"`
}

// audit shows who did what, when, to what, the latest first.
func (a *api) audit(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	f := hook.AuditFilter{Subject: q.Get("id"), Actor: q.Get("by"), Kind: q.Get("kind"), Limit: defaultPage}
	var faults hook.Faults
	for _, name := range slices.Sorted(maps.Keys(q)) {
		switch name {
		case "id", "by", "kind", "from", "to", "page_size", "next_page_token":
		default:
			faults.Add(name, "is not known; known are id, by, kind, from, to, page_size, next_page_token")
		}
	}
	f.From, f.To = instant(q, "from", &faults), instant(q, "to", &faults)
	if !f.From.IsZero() && !f.To.IsZero() && f.To.Before(f.From) {
		faults.Add("to", "is before from")
	}
	if text := q.Get("page_size"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			faults.Add("page_size", "must be 1 to %d", maxPage)
		}
		f.Limit = n
	}
	if text := q.Get("next_page_token"); text != "" {
		b, err := base64.RawURLEncoding.Strict().DecodeString(text)
		if err != nil || len(b) != 16 || string(b[:8]) != string(queryHash(q)) {
			faults.Add("next_page_token", "is not one that this API gave for this query")
		} else {
			f.Before = int64(binary.BigEndian.Uint64(b[8:]))
		}
	}
	if err := faults.Err("query"); err != nil {
		return err
	}
	size := f.Limit
	f.Limit++
	page, err := a.Store.Audit(r.Context(), f)
	if err != nil {
		return err
	}
	v := struct {
		Next     string       `json:"next_page_token"`
		PageSize int          `json:"page_size"`
		Entries  []AuditEntry `json:"entries"`
	}{"", size, []AuditEntry{}}
	if len(page) > size {
		page = page[:size]
		v.Next = base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(queryHash(q), uint64(page[size-1].ID)))
	}
	for _, e := range page {
		v.Entries = append(v.Entries, AuditEntry{Instant(e.At), Actor{e.By.Kind, e.By.ID, e.By.Name}, e.Action, e.Kind, e.Subject, e.Name, orEmpty(e.Changes)})
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}
