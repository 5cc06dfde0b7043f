package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// permissionAPI is a gateway's admin API that knows two customers and may ask
// one.
func permissionAPI(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	answer := func(pattern string, status int, body string) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			w.Write([]byte(body))
		})
	}
	answer("GET /api/v1/permissions/support/{user}", 200, `{"state":"temporary\u001b[2J","granted_at":"2026-11-22T09:00:00.000Z","usable_until":"2026-11-25T09:00:00.000Z",
		"meta_expires_at":"2026-11-29T09:00:00.000Z","requests_24h":1,"requests_7d":2,"next_request_at":null,"unanswered":3}`)
	answer("GET /api/v1/permissions/support/ES.2091", 200, `{"state":"permanent","granted_at":null,"usable_until":null,"meta_expires_at":null,
		"requests_24h":0,"requests_7d":0,"next_request_at":null,"unanswered":0}`)
	answer("GET /api/v1/permissions/sales%2F2/{user}", 200, `{"state":"none"}`)
	answer("POST /api/v1/permissions/support/{user}/request", 429,
		`{"error":{"code":"limited","message":"asked today; the customer may be asked from 2026-11-23T09:00:00.000Z","next_request_at":"2026-11-23T09:00:00.000Z"}}`)
	answer("POST /api/v1/permissions/support/34600111333/request", 202, `{"state":"requested","requests_24h":1,"requests_7d":1}`)
	answer("/", 404, `{"error":{"code":"unknown_number","message":"there is no business number of this name"}}`)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func TestPermissions(t *testing.T) {
	address := permissionAPI(t)
	tests := []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"show", "--number", "support", "+34600111222"}, 0, []string{"+34600111222", "temporary[2J", "1 in 24 h, 2 in 7 days", "unanswered calls"}},
		{[]string{"--number", "support", "+34600111222"}, 0, []string{"temporary"}},
		{[]string{"--number", "support", "ES.2091"}, 0, []string{"permanent", "no end"}},
		{[]string{"show", "--json", "--number", "support", "+34600111222"}, 0, []string{`"usable_until": "2026-11-25T09:00:00.000Z"`}},
		{[]string{"show", "--number", "sales/2", "+34600111222"}, 0, []string{"sales/2", "none"}},
		{[]string{"show", "--number", "nobody", "+34600111222"}, 1, []string{"there is no business number of this name"}},
		{[]string{"request", "--number", "support", "34600111333"}, 0, []string{"requested", "the customer was asked"}},
		{[]string{"request", "--json", "--number", "support", "34600111333"}, 0, []string{`"state": "requested"`}},
		{[]string{"request", "--number", "support", "+34600111222"}, 1, []string{"asked today", "2026-11-23T09:00:00.000Z"}},
		{[]string{"show", "+34600111222"}, 2, []string{"--number"}},
		{[]string{"show", "--number", "support"}, 2, []string{"<user>"}},
		{[]string{"--help"}, 0, []string{"show", "request", "--number"}},
	}
	for _, tt := range tests {
		code, out, errs := wagate(t, append(append([]string{"permissions"}, tt.args...), "--admin", address)...)
		for _, want := range tt.want {
			if code != tt.code || !strings.Contains(out+errs, want) {
				t.Errorf("%v: exit %d, %q is missing\nout: %s\nerr: %s", tt.args, code, want, out, errs)
			}
		}
		if strings.ContainsRune(out+errs, '\x1b') {
			t.Errorf("%v: a stranger's text reaches the terminal: %q", tt.args, out)
		}
		if strings.Contains(strings.Join(tt.args, " "), "--json") && strings.Contains(out, "was asked") {
			t.Errorf("%v: a sentence among JSON: %s", tt.args, out)
		}
	}
}
