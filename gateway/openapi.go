package gateway

import (
	_ "embed" // the description is part of the binary
	"encoding/json"
	"net/http"
)

//go:embed openapi.json
var openAPI []byte

// describeAPI returns a handler that describes the API in its own words: all of
// it, but for what this gateway does not serve.
func describeAPI(deps adminDeps) http.HandlerFunc {
	doc := openAPI
	if deps.dialer == nil {
		doc = without(doc, "/api/v1/calls", "post")
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(doc) //nolint:errcheck // the client has gone
	}
}

// without is a description that lacks one operation.
func without(doc []byte, path, method string) []byte {
	var all map[string]json.RawMessage
	var paths map[string]map[string]json.RawMessage
	if json.Unmarshal(doc, &all) != nil || json.Unmarshal(all["paths"], &paths) != nil {
		return doc
	}
	delete(paths[path], method)
	shorter, err := json.Marshal(paths)
	if err != nil {
		return doc
	}
	all["paths"] = shorter
	if shorter, err = json.MarshalIndent(all, "", "  "); err != nil {
		return doc
	}
	return shorter
}
