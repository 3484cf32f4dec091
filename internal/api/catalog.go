package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/hook"
)

// EventType is an event type as the API shows it; lists lack the last three fields.
type EventType struct {
	Name          string           `json:"event"`
	Product       string           `json:"product"`
	Summary       string           `json:"summary,omitempty"`
	Scopes        []string         `json:"scopes"`
	GranularScope []string         `json:"granular_scopes"`
	Routing       string           `json:"routing"`
	Check         string           `json:"check"`
	Checked       bool             `json:"has_schema"`
	Description   string           `json:"description,omitempty"`
	Schema        json.RawMessage  `json:"schema,omitempty"`
	Samples       []catalog.Sample `json:"samples,omitempty"`
}

func viewEventType(t *catalog.Type) EventType {
	return EventType{
		Name: t.Name, Product: t.Product, Summary: t.Summary, Scopes: orEmpty(t.ClassicScopes), GranularScope: orEmpty(t.GranularScopes),
		Routing: t.Routing.String(), Check: t.EventType.Check.String(), Checked: t.Schema != nil,
	}
}

func (a *api) eventTypes(w http.ResponseWriter, r *http.Request) error {
	product := r.URL.Query().Get("product")
	views := []EventType{}
	for _, t := range a.Catalog.Types() {
		if product == "" || t.Product == product {
			views = append(views, viewEventType(t))
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"event_types": views})
	return nil
}

func (a *api) lookup(r *http.Request) (*catalog.Type, error) {
	name := r.PathValue("name")
	t, ok := a.Catalog.Lookup(name)
	if !ok {
		return nil, &hook.Error{Kind: hook.NotFound, Subject: fmt.Sprintf("event type %.100q", name), Detail: "is not in the catalog"}
	}
	return t, nil
}

func (a *api) eventType(w http.ResponseWriter, r *http.Request) error {
	t, err := a.lookup(r)
	if err != nil {
		return err
	}
	v := viewEventType(t)
	v.Description, v.Schema, v.Samples = t.Description, t.Schema, t.Samples
	writeJSON(w, http.StatusOK, v)
	return nil
}

// setCheck sets how an event type's payloads are checked.
func (a *api) setCheck(w http.ResponseWriter, r *http.Request) error {
	t, err := a.lookup(r)
	if err != nil {
		return err
	}
	var body struct {
		Check string `json:"check"`
	}
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	mode, err := hook.ParseCheckMode(body.Check)
	if err != nil {
		return hook.Faults{{Field: "check", Message: err.Error()}}.Err("body")
	}
	if mode == t.EventType.Check {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if err := a.Store.SetCheckMode(t.Name, mode, hook.AuditEntry{
		At: time.Now(), By: actor(r), Action: hook.Updated, Kind: "event_type", Subject: t.Name, Name: t.Name,
		Changes: []string{fmt.Sprintf("check: %s -> %s", t.EventType.Check, mode)},
	}); err != nil {
		return err
	}
	if err := a.Catalog.SetCheck(t.Name, mode); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// Import says what became of a document.
type Import struct {
	Product string                `json:"product"`
	Types   []string              `json:"event_types"`
	Notes   []catalog.Note        `json:"notes"`
	Samples []catalog.SampleFault `json:"sample_faults"`
}

// importCatalog adds an OpenAPI document to the catalog.
func (a *api) importCatalog(w http.ResponseWriter, r *http.Request) error {
	dryRun, err := boolParameter(r, "dry_run")
	if err != nil {
		return err
	}
	source, err := io.ReadAll(http.MaxBytesReader(w, r.Body, catalog.MaxDocument))
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &hook.Error{Kind: hook.TooLarge, Subject: "document", Detail: fmt.Sprintf("has more than %d bytes", e.Limit)}
	} else if err != nil {
		return badBody(err)
	}
	doc, err := catalog.Parse(source)
	if err != nil {
		return hook.Faults{{Message: err.Error()}}.Err("document")
	}
	notes := doc.Notes
	if !dryRun {
		now := time.Now()
		// Kept as it came, so that a later version of the program reads it anew.
		if err := a.Store.PutCatalogDocument(doc.Product, source, now, hook.AuditEntry{
			At: now, By: actor(r), Action: hook.Imported, Kind: "catalog", Subject: doc.Product, Name: doc.Product,
		}); err != nil {
			return err
		}
		notes = append(notes, a.Catalog.Put(doc)...)
	}
	v := Import{Product: doc.Product, Types: []string{}, Notes: orEmpty(notes), Samples: orEmpty(doc.CheckSamples())}
	for _, t := range doc.Types {
		v.Types = append(v.Types, t.Name)
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

// exportCatalog hands out the document of a product, in the form that importCatalog
// takes, to everybody: also to programs in browsers.
func (a *api) exportCatalog(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	product := r.PathValue("product")
	doc, ok := a.Catalog.Export(product)
	if !ok {
		return &hook.Error{Kind: hook.NotFound, Subject: fmt.Sprintf("product %.100q", product), Detail: "is not in the catalog"}
	}
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "public, max-age=60")
	h.Set("ETag", `"`+doc.Version+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(doc.JSON))
	return nil
}
