package catalog_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/hook"
)

// export returns the document of a product as a catalog hands it out.
func export(t testing.TB, c *catalog.Catalog, product string) catalog.Export {
	t.Helper()
	e, ok := c.Export(product)
	if !ok {
		t.Fatalf("there is no product %s", product)
	}
	if !json.Valid(e.JSON) || e.Version == "" {
		t.Fatalf("version %q of %s", e.Version, e.JSON)
	}
	return e
}

// typesOf writes what a catalog knows of a product's event types.
func typesOf(t testing.TB, c *catalog.Catalog, product string) string {
	t.Helper()
	doc, types, ok := c.Product(product)
	if !ok {
		t.Fatalf("there is no product %s", product)
	}
	s := fmt.Sprintf("%s %q %q %q\n", doc.Product, doc.Title, doc.Version, doc.Description)
	for _, ty := range types {
		s += fmt.Sprintf("%+v %q %q %q %q\n%s\n%s\n", ty.EventType, ty.ClassicScopes, ty.GranularScopes, ty.Summary, ty.Description, ty.Schema, ty.Samples)
	}
	return s
}

// Whoever imports what another platform exports has the same event types.
func TestExportGivesTheSame(t *testing.T) {
	for name, doc := range map[string]*catalog.Document{
		"built in":  catalog.NumberManagement(),
		"JSON":      parseFile(t, "nasty.json"),
		"YAML":      parseFile(t, "orders.yaml"),
		"old paths": parse(t, oldPaths),
	} {
		t.Run(name, func(t *testing.T) {
			here := catalog.New(doc)
			e := export(t, here, doc.Product)
			there := catalog.New(parse(t, string(e.JSON)))
			if got, want := typesOf(t, there, doc.Product), typesOf(t, here, doc.Product); got != want {
				t.Errorf("there it is\n%s\nhere it is\n%s", got, want)
			}
			if again := export(t, there, doc.Product); again.Version != e.Version || string(again.JSON) != string(e.JSON) {
				t.Errorf("exported again it is %s", again.JSON)
			}
		})
	}
}

// The modes that are set here are in it, each with its own event type only.
func TestExportHasTheModes(t *testing.T) {
	shared := parse(t, document(
		`"a.b": {"$ref": "#/components/pathItems/x"}, "a.c": {"$ref": "#/components/pathItems/x"}, `+webhook("a.d", "{}"),
		`"pathItems": {"x": {"post": {"x-switchhook-check": "off"}}}`))
	c := catalog.New(shared)
	before := export(t, c, "test")
	for _, name := range []string{"a.c", "a.d"} {
		if err := c.SetCheck(name, hook.CheckStrict); err != nil {
			t.Fatal(err)
		}
	}
	e := export(t, c, "test")
	if e.Version == before.Version {
		t.Error("it has the same version as before")
	}
	got := ""
	for _, ty := range parse(t, string(e.JSON)).Types {
		got += ty.Name + " " + ty.EventType.Check.String() + "; "
	}
	if want := "a.b off; a.c strict; a.d strict; "; got != want {
		t.Errorf("modes are %s, want %s", got, want)
	}
	if err := c.SetCheck("a.c", hook.CheckOff); err != nil {
		t.Fatal(err)
	}
	if err := c.SetCheck("a.d", hook.CheckReport); err != nil {
		t.Fatal(err)
	}
	if e := export(t, c, "test"); e.Version != before.Version {
		t.Errorf("with the modes of the document it is %s", e.JSON)
	}
}

// oldPaths is a document as many are: of OpenAPI 3.0, with its events among the
// paths of an API.
const oldPaths = `{
	"openapi": "3.0.3",
	"info": {"title": "Mixed", "version": "1"},
	"paths": {
		"/mixed.made": {"post": {"description": "**Scopes:** a:read", "requestBody": {"content": {"application/json": {
			"schema": {"$ref": "#/components/schemas/Made"}, "example": {"event": "mixed.made"}}}}}},
		"mixed.gone": {"post": {"description": "**Scopes:** a:read", "requestBody": {"content": {"application/json": {
			"schema": {"properties": {
				"payload": {"$ref": "#/webhooks/mixed.made/post/requestBody/content/application~1json/schema"},
				"user": {"$ref": "#/paths/~1users/post/requestBody/content/application~1json/schema"}}}}}}}},
		"/users": {"post": {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/User"}}}}}},
		"/secrets": {"post": {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Secret"}}}}}}
	},
	"components": {
		"schemas": {
			"Made": {"type": "object", "properties": {"event": {"type": "string"}}},
			"User": {"type": "string", "nullable": true},
			"Secret": {"type": "string"}
		},
		"parameters": {"Secret": {"in": "query", "name": "s"}},
		"securitySchemes": {"key": {"type": "apiKey"}}
	}
}`

// It is OpenAPI 3.1 with webhooks, whatever it was, and an API that the document
// describes as well is not published along with the events.
func TestExportIsOnlyEvents(t *testing.T) {
	e := export(t, catalog.New(parse(t, oldPaths)), "mixed")
	var v struct {
		OpenAPI    string
		Webhooks   map[string]any
		Paths      map[string]any
		Components map[string]map[string]any
	}
	if err := json.Unmarshal(e.JSON, &v); err != nil {
		t.Fatal(err)
	}
	if v.OpenAPI != "3.1.0" || len(v.Webhooks) != 2 || v.Webhooks["mixed.made"] == nil || v.Webhooks["mixed.gone"] == nil {
		t.Errorf("got %s", e.JSON)
	}
	// One of the paths is referred to.
	if len(v.Paths) != 1 || v.Paths["/users"] == nil || len(v.Components) != 2 || len(v.Components["schemas"]) != 2 || v.Components["securitySchemes"] == nil ||
		strings.Contains(string(e.JSON), "ecret\"") {
		t.Errorf("got %s", e.JSON)
	}
	for _, n := range parse(t, string(e.JSON)).Notes {
		if n.Level == catalog.Repaired {
			t.Errorf("it needs repair: %v", n)
		}
	}
}

// A product is found by its name, also as it stands in public paths; what belongs
// to another product is not among its event types.
func TestProduct(t *testing.T) {
	c := catalog.New(catalog.NumberManagement(), product(t, "shop", "shop.opened", "shop.closed"), product(t, "kiosk", "kiosk.opened", "shop.closed"))
	for name, want := range map[string]string{
		"number_management": "Number Management [number_management.peering_number_cnam_updated number_management.peering_number_emergency_address_updated]",
		"number-management": "Number Management [number_management.peering_number_cnam_updated number_management.peering_number_emergency_address_updated]",
		"shop":              "shop [shop.closed shop.opened]",
		"kiosk":             "kiosk [kiosk.opened]",
		"":                  "none",
		"Shop":              "none",
		"shop.opened":       "none",
	} {
		got := "none"
		if doc, types, ok := c.Product(name); ok {
			var list []string
			for _, ty := range types {
				list = append(list, ty.Name)
			}
			got = fmt.Sprint(doc.Title, " ", list)
		}
		if got != want {
			t.Errorf("%q is %s, want %s", name, got, want)
		}
		if _, ok := c.Export(name); ok != (want != "none") {
			t.Errorf("%q can be exported is %t", name, ok)
		}
	}
}
