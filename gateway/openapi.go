package gateway

import (
	_ "embed" // the description is part of the binary
	"net/http"
)

//go:embed openapi.json
var openAPI []byte

// serveOpenAPI describes the API in its own words.
func serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Write(openAPI) //nolint:errcheck // the client has gone
}
