package catalog

import (
	_ "embed"
	"sync"
)

//go:embed numbermanagement.json
var numberManagementJSON []byte

// NumberManagement returns the built-in document: the events by which carriers
// learn of changes to the numbers that they peer. It is always the same one.
func NumberManagement() *Document { return numberManagement() }

var numberManagement = sync.OnceValue(func() *Document {
	doc, err := Parse(numberManagementJSON)
	if err != nil {
		panic(err) // a test reads it
	}
	return doc
})
