package gateway

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"wagate/config"
)

// apiDoc is as much of an OpenAPI document as the tests read.
type apiDoc struct {
	OpenAPI string                          `json:"openapi"`
	Paths   map[string]map[string]operation `json:"paths"`
	Parts   struct {
		Schemas map[string]schema `json:"schemas"`
	} `json:"components"`
}

type operation struct {
	Parameters []struct {
		Name, In string
	} `json:"parameters"`
	Responses map[string]struct {
		Content map[string]struct {
			Schema schema `json:"schema"`
		} `json:"content"`
	} `json:"responses"`
}

type schema struct {
	Ref        string            `json:"$ref"`
	Type       any               `json:"type"`
	Required   []string          `json:"required"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
	OneOf      []schema          `json:"oneOf"`
}

func readDoc(t *testing.T) apiDoc {
	t.Helper()
	w := ask(t, adminServer(t, config.Admin{}, newAdminBook()), "GET", "/api/v1/openapi.json")
	var doc apiDoc
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || doc.OpenAPI != "3.1.0" {
		t.Fatalf("no OpenAPI document: %v, %q", err, doc.OpenAPI)
	}
	return doc
}

// TestEveryDescribedRequestIsServed sends each request of the document and
// compares the answer with its schema.
func TestEveryDescribedRequestIsServed(t *testing.T) {
	doc := readDoc(t)
	for path, operations := range doc.Paths {
		for method, op := range operations {
			name := strings.ToUpper(method) + " " + path
			w := ask(t, adminServer(t, config.Admin{}, newAdminBook()), strings.ToUpper(method), strings.ReplaceAll(path, "{id}", "c1"))
			answer, ok := op.Responses[strconv.Itoa(w.Code)]
			if w.Code >= 300 || !ok {
				t.Errorf("%s: answered %d, which is not described", name, w.Code)
				continue
			}
			mediaType, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
			content, ok := answer.Content[mediaType]
			if mediaType != "" && !ok {
				t.Errorf("%s: answered with %s, which is not described", name, mediaType)
			}
			if mediaType == "application/json" {
				var value any
				if err := json.Unmarshal(w.Body.Bytes(), &value); err != nil {
					t.Fatal(err)
				}
				doc.compare(t, name, value, content.Schema)
			}
		}
	}
}

// compare wants a value and its schema to have the same fields.
func (doc apiDoc) compare(t *testing.T, at string, value any, s schema) {
	t.Helper()
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		s, ok = doc.Parts.Schemas[name]
		if !ok {
			t.Errorf("%s: schema %s is missing", at, name)
			return
		}
	}
	if len(s.OneOf) > 0 {
		if value != nil {
			doc.compare(t, at, value, s.OneOf[0])
		}
		return
	}
	switch v := value.(type) {
	case map[string]any:
		if s.Properties == nil {
			return
		}
		for key, inner := range v {
			prop, ok := s.Properties[key]
			if !ok {
				t.Errorf("%s: %s is not described", at, key)
				continue
			}
			doc.compare(t, at+"."+key, inner, prop)
		}
		for _, key := range s.Required {
			if _, ok := v[key]; !ok {
				t.Errorf("%s: %s is missing", at, key)
			}
		}
	case []any:
		for _, inner := range v {
			doc.compare(t, at+"[]", inner, *s.Items)
		}
	default:
		kind := map[bool]string{true: "null", false: "other"}[value == nil]
		if _, isText := value.(string); isText {
			kind = "string"
		}
		if types, ok := s.Type.([]any); ok && !slices.Contains(types, any(kind)) || !ok && (s.Type == "string") != (kind == "string") {
			t.Errorf("%s: %v is not of type %v", at, value, s.Type)
		}
	}
}

// TestEveryHandlerIsDescribed looks for what is served but not in the document.
func TestEveryHandlerIsDescribed(t *testing.T) {
	doc := readDoc(t)
	a := adminServer(t, config.Admin{}, newAdminBook())
	for _, path := range []string{
		"/healthz", "/readyz", "/metrics", "/api/v1/openapi.json", "/api/v1/calls", "/api/v1/calls/{id}", "/api/v1/records",
	} {
		w := ask(t, a, "PATCH", path)
		for method := range strings.SplitSeq(w.Header().Get("Allow"), ", ") {
			if method == "HEAD" {
				continue
			}
			if _, ok := doc.Paths[path][strings.ToLower(method)]; !ok {
				t.Errorf("%s %s is served and not described", method, path)
			}
		}
	}
	for path := range doc.Paths {
		if strings.Contains(path, "permissions") || strings.Contains(path, "events") {
			t.Errorf("%s is described and not built", path)
		}
	}
	described := doc.Paths["/api/v1/records"]["get"].Parameters
	for _, p := range described {
		if w := ask(t, a, "GET", "/api/v1/records?"+p.Name+"="); w.Code != 200 {
			t.Errorf("parameter %s is described and refused: %s", p.Name, w.Body)
		}
	}
}
