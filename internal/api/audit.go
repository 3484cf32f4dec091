package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

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
	q := newQuery(r.URL.Query(), "id", "by", "kind", "from", "to", "page_size", "next_page_token")
	f := hook.AuditFilter{Subject: q.Get("id"), Actor: q.Get("by"), Kind: q.Get("kind"), Limit: q.pageSize()}
	if f.Kind != "" && !slices.Contains(hook.AuditKinds, f.Kind) {
		q.faults.Add("kind", "%.50q is no kind of thing; there are %s", f.Kind, strings.Join(hook.AuditKinds, ", "))
	}
	f.From, f.To = q.period()
	var before uint64
	if q.position(&before) {
		f.Before = int64(before)
	}
	if err := q.err(); err != nil {
		return err
	}
	size := f.Limit
	f.Limit++
	page, err := a.Store.Audit(r.Context(), f)
	if err != nil {
		return err
	}
	if len(page) == 0 && f.Before == 0 && f.Actor != "" {
		if err := a.wasThere(r.Context(), f.Actor, "no operator key and no app"); err != nil {
			return err
		}
	}
	v := struct {
		Next     string       `json:"next_page_token"`
		PageSize int          `json:"page_size"`
		Entries  []AuditEntry `json:"entries"`
	}{"", size, []AuditEntry{}}
	if len(page) > size {
		page = page[:size]
		v.Next = q.token(uint64(page[size-1].ID))
	}
	for _, e := range page {
		v.Entries = append(v.Entries, AuditEntry{Instant(e.At), Actor{e.By.Kind, e.By.ID, e.By.Name}, e.Action, e.Kind, e.Subject, e.Name, orEmpty(e.Changes)})
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

// wasThere returns an error if nothing with an id is or was there, as far back as the audit
// trail goes, which has no end: what is deleted has entries for good. none says what it
// would be.
func (a *api) wasThere(ctx context.Context, id, none string) error {
	for _, f := range []hook.AuditFilter{{Subject: id, Limit: 1}, {Actor: id, Limit: 1}} {
		if known, err := a.Store.Audit(ctx, f); err != nil || len(known) > 0 {
			return err
		}
	}
	return &hook.Error{Kind: hook.NotFound, Subject: none, Detail: fmt.Sprintf("has the id %.50q, or has had it", id)}
}
