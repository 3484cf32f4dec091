package catalog_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/switchhook/switchhook/internal/catalog"
	"github.com/switchhook/switchhook/internal/hook"
)

// product returns a document of a product with event types that need a scope of
// the product's name.
func product(t *testing.T, name string, events ...string) *catalog.Document {
	t.Helper()
	hooks := ""
	for i, e := range events {
		if i > 0 {
			hooks += ","
		}
		hooks += described(e, "**Scopes:** "+name+":read")
	}
	return parse(t, fmt.Sprintf(`{"openapi": "3.1.0", "info": {"title": %q}, "webhooks": {%s}}`, name, hooks))
}

func names(c *catalog.Catalog) []string {
	var list []string
	for _, t := range c.Types() {
		list = append(list, t.Name)
	}
	return list
}

// owner returns which product an event type belongs to, or "".
func owner(c *catalog.Catalog, name string) string {
	t, ok := c.Lookup(name)
	if !ok {
		return ""
	}
	return t.Product
}

// A catalog finds what is in its documents, and a new document of a product
// replaces the old one whole.
func TestCatalog(t *testing.T) {
	c := catalog.New(catalog.NumberManagement(), product(t, "shop", "shop.opened", "shop.closed"))
	want := []string{
		"number_management.peering_number_cnam_updated",
		"number_management.peering_number_emergency_address_updated",
		"shop.closed", "shop.opened",
	}
	if got := names(c); !slices.Equal(got, want) {
		t.Errorf("event types are %q, want %q", got, want)
	}
	if _, ok := c.Lookup("shop.moved"); ok {
		t.Error("there is an event type that no document has")
	}
	if notes := c.Put(product(t, "shop", "shop.moved", "shop.closed")); len(notes) > 0 {
		t.Errorf("notes are %v", notes)
	}
	if got, want := names(c)[2:], []string{"shop.closed", "shop.moved"}; !slices.Equal(got, want) {
		t.Errorf("event types are %q, want %q", got, want)
	}
	if docs := c.Documents(); len(docs) != 2 || docs[0].Product != "number_management" || docs[1].Product != "shop" {
		t.Errorf("documents are %v", docs)
	}
	if empty := catalog.New(); len(empty.Types()) != 0 || len(empty.Documents()) != 0 {
		t.Error("an empty catalog has something")
	}
}

// A name that two products have remains with the one that had it first, and both
// sides are told; when that one gives it up, the other has it.
func TestContestedNames(t *testing.T) {
	c := catalog.New(product(t, "first", "shared.event", "first.event"))
	notes := c.Put(product(t, "second", "shared.event", "second.event"))
	if len(notes) != 1 || notes[0].EventType != "shared.event" || notes[0].Message != "belongs to first already; what this document says of it has no effect" {
		t.Errorf("notes are %v", notes)
	}
	if got := owner(c, "shared.event"); got != "first" {
		t.Errorf("owner is %q, want first", got)
	}
	notes = c.Put(product(t, "first", "shared.event"))
	if len(notes) != 1 || notes[0].Message != "is in the document of second too; what that says of it has no effect" {
		t.Errorf("notes are %v", notes)
	}
	if got := owner(c, "shared.event"); got != "first" {
		t.Errorf("owner is %q after its document was put again, want first", got)
	}
	if notes := c.Put(product(t, "first", "first.event")); len(notes) > 0 {
		t.Errorf("notes are %v", notes)
	}
	if got := owner(c, "shared.event"); got != "second" {
		t.Errorf("owner is %q, want second", got)
	}
}

// A mode that was set survives everything that happens to the document.
func TestSetCheck(t *testing.T) {
	c := catalog.New(product(t, "shop", "shop.opened"))
	if err := c.SetCheck("shop.moved", hook.CheckOff); !errors.Is(err, catalog.ErrUnknown) {
		t.Errorf("error is %v, want ErrUnknown", err)
	}
	if err := c.SetCheck("shop.opened", hook.CheckStrict); err != nil {
		t.Fatal(err)
	}
	mode := func() hook.CheckMode {
		ty, _ := c.Lookup("shop.opened")
		return ty.EventType.Check
	}
	if got := mode(); got != hook.CheckStrict {
		t.Errorf("mode is %v, want strict", got)
	}
	c.Put(product(t, "shop", "shop.closed"))
	c.Put(product(t, "shop", "shop.opened"))
	if got := mode(); got != hook.CheckStrict {
		t.Errorf("mode is %v after the document was put again, want strict", got)
	}
	if got := c.Documents()[0].Types[0].EventType.Check; got != hook.CheckReport {
		t.Errorf("mode in the document is %v, want report as it says", got)
	}
}

// Readers see a whole state while writers change it.
func TestConcurrentPut(t *testing.T) {
	one, two := product(t, "shop", "shop.a"), product(t, "shop", "shop.b")
	c := catalog.New(one)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				c.Put(one)
				c.Put(two)
				_ = c.SetCheck("shop.a", hook.CheckOff)
			}
		})
		wg.Go(func() {
			for range 200 {
				if types := c.Types(); len(types) != 1 {
					t.Errorf("event types are %v", types)
				}
				_, _ = c.Lookup("shop.a")
			}
		})
	}
	wg.Wait()
}
