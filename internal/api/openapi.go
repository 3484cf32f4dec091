package api

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"net/http"

	"github.com/goccy/go-yaml"
)

// openAPI describes what this package answers. It is written by hand, for people; the
// tests hold every answer against it.
//
//go:embed openapi.yaml
var openAPI []byte

// openAPIJSON returns the description as JSON.
func openAPIJSON() ([]byte, error) {
	text, err := yaml.YAMLToJSON(openAPI)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = json.Compact(&b, text)
	return b.Bytes(), err
}

// describe shows the description.
func (a *api) describe(w http.ResponseWriter, _ *http.Request) error {
	text, err := a.description()
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, json.RawMessage(text))
	return nil
}
