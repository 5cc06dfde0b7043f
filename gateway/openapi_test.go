package gateway

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
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
	Events map[string]schema `json:"x-events"`
}

type schema struct {
	Ref        string            `json:"$ref"`
	Type       any               `json:"type"`
	Required   []string          `json:"required"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
	OneOf      []schema          `json:"oneOf"`
	AllOf      []schema          `json:"allOf"`
}

func readDoc(t *testing.T) apiDoc {
	t.Helper()
	w := ask(t, fullAdmin(t).admin, "GET", "/api/v1/openapi.json")
	var doc apiDoc
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || doc.OpenAPI != "3.1.0" {
		t.Fatalf("no OpenAPI document: %v, %q", err, doc.OpenAPI)
	}
	return doc
}

// inPath fills in the parameters of a path.
var inPath = strings.NewReplacer("{id}", "c1", "{number}", "support", "{user}", "+34600111222")

// ServeHTTP sends what a request of the document needs beside its path.
func (f *full) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/api/v1/calls":
		if r.Method == http.MethodPost {
			r.Body = io.NopCloser(strings.NewReader(goodDial))
		}
	case "/api/v1/records":
		if r.Method == http.MethodDelete {
			r.URL.RawQuery = "user=%2B34600111222"
		}
	case "/api/v1/events": // it would never end
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		r = r.WithContext(ctx)
	}
	f.admin.ServeHTTP(w, r)
}

// TestEveryDescribedRequestIsServed sends each request of the document and
// compares the answer with its schema.
func TestEveryDescribedRequestIsServed(t *testing.T) {
	doc := readDoc(t)
	for path, operations := range doc.Paths {
		for method, op := range operations {
			name := strings.ToUpper(method) + " " + path
			w := ask(t, fullAdmin(t), strings.ToUpper(method), inPath.Replace(path))
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
	s, ok := doc.resolve(s)
	if !ok {
		t.Errorf("%s: schema %s is missing", at, s.Ref)
		return
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
		types, several := s.Type.([]any)
		if !several {
			types = []any{s.Type}
		}
		if !slices.ContainsFunc(kindsOf(value), func(kind string) bool { return slices.Contains(types, any(kind)) }) {
			t.Errorf("%s: %v is not of type %v", at, value, s.Type)
		}
	}
}

// kindsOf are the schema types that a plain value has.
func kindsOf(value any) []string {
	switch v := value.(type) {
	case nil:
		return []string{"null"}
	case bool:
		return []string{"boolean"}
	case string:
		return []string{"string"}
	case float64:
		if v != math.Trunc(v) {
			return []string{"number"}
		}
		return []string{"number", "integer"}
	}
	return nil
}

// resolve follows a reference, and puts the parts of an allOf together.
func (doc apiDoc) resolve(s schema) (schema, bool) {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		if s, ok = doc.Parts.Schemas[name]; !ok {
			return schema{Ref: name}, false
		}
	}
	if len(s.AllOf) == 0 {
		return s, true
	}
	whole := schema{Properties: map[string]schema{}}
	for _, part := range s.AllOf {
		part, ok := doc.resolve(part)
		if !ok {
			return part, false
		}
		maps.Copy(whole.Properties, part.Properties)
		whole.Required = append(whole.Required, part.Required...)
	}
	return whole, true
}

// TestEveryEventIsDescribed compares each event with its schema.
func TestEveryEventIsDescribed(t *testing.T) {
	doc := readDoc(t)
	described := doc.Paths["/api/v1/events"]["get"].Events
	var seen []string
	for _, n := range everyNotice() {
		e, err := encode(time.Now(), n)
		if err != nil {
			t.Fatal(err)
		}
		s, ok := described[e.topic]
		if !ok {
			t.Errorf("%s is not described", e.topic)
			continue
		}
		var value map[string]any
		if err := json.Unmarshal(e.data, &value); err != nil {
			t.Fatalf("%s: %v\n%s", e.topic, err, e.data)
		}
		doc.compare(t, e.topic, value, s)
		seen = append(seen, e.topic)
	}
	slices.Sort(seen)
	if want := slices.Sorted(maps.Keys(described)); !slices.Equal(slices.Compact(seen), want) {
		t.Errorf("events %v, described %v", seen, want)
	}
}

// TestRefusalsAreDescribed compares every refusal of the handlers with the
// document: its status is one of the request's, and its fields are the schema's.
func TestRefusalsAreDescribed(t *testing.T) {
	doc := readDoc(t)
	requests := []struct {
		method, path string
		refusals     []refusal
	}{
		{"GET", "/api/v1/permissions/{number}/{user}", []refusal{refuseUnknownNumber, refuseStoreFailed, refuseAPIDown, refuseAPIError, refuseAPITimeout, refuseInternal}},
		{"POST", "/api/v1/permissions/{number}/{user}/request", []refusal{
			refuseUnknownNumber, refuseNotFound, refusePermitted, refuseUnanswered, refuseLimited, refuseStoreFailed, refuseAPIDown, refuseAPIError, refuseAPITimeout, refuseInternal,
		}},
		{"DELETE", "/api/v1/records", []refusal{refuseBusy, refuseStoreFailed, refuseInternal}},
		{"POST", "/api/v1/calls", []refusal{
			refuseUnknownNumber, refuseUnknownTrunk, refuseNoPermission, refuseNotAllowed, refuseNoRoute, refuseNotFound, refuseBusy, refuseLimited, refuseOverloaded,
			refuseDraining, refuseStoreFailed, refuseAPIDown, refuseAPITimeout, refuseAPIError, refuseUnreachable, refuseInternal, refuseBadNumber,
		}},
	}
	for _, q := range requests {
		for _, why := range q.refusals {
			f := fullAdmin(t)
			f.operator.err = &refusedError{why: why, reason: "because"}
			w := ask(t, f, q.method, inPath.Replace(q.path))
			at := q.method + " " + q.path + " " + string(why)
			answer, ok := doc.Paths[q.path][strings.ToLower(q.method)].Responses[strconv.Itoa(w.Code)]
			if !ok || w.Code != why.status() {
				t.Errorf("%s: answered %d, want %d, and described: %v", at, w.Code, why.status(), ok)
				continue
			}
			var value any
			if err := json.Unmarshal(w.Body.Bytes(), &value); err != nil {
				t.Fatal(err)
			}
			doc.compare(t, at, value, answer.Content["application/json"].Schema)
		}
	}
}

// TestEveryHandlerIsDescribed looks for what is served but not in the document.
func TestEveryHandlerIsDescribed(t *testing.T) {
	doc := readDoc(t)
	a := fullAdmin(t).admin
	paths := []string{
		"/healthz", "/readyz", "/metrics", "/api/v1/openapi.json", "/api/v1/calls", "/api/v1/calls/{id}", "/api/v1/calls/{id}/trace", "/api/v1/records",
		"/api/v1/permissions/{number}/{user}", "/api/v1/permissions/{number}/{user}/request", "/api/v1/events",
	}
	for _, path := range paths {
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
		if !slices.Contains(paths, path) {
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

// TestDescriptionLeavesOutWhatIsNotServed: nobody is told of a request that
// answers 405.
func TestDescriptionLeavesOutWhatIsNotServed(t *testing.T) {
	for _, served := range []bool{true, false} {
		var deps adminDeps
		if served {
			deps.dialer = fullAdmin(t).admin.deps.dialer
		}
		w := httptest.NewRecorder()
		describeAPI(deps)(w, nil)
		var doc struct {
			Paths map[string]map[string]json.RawMessage
		}
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		if _, described := doc.Paths["/api/v1/calls"]["post"]; described != served {
			t.Errorf("dialling is served %v and described %v", served, described)
		}
		if len(doc.Paths["/api/v1/calls"]) == 0 {
			t.Error("the list of calls is not described")
		}
	}
}
