package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestErase(t *testing.T) {
	tests := []struct {
		name  string
		args  []string
		typed string // "-": there is nobody to ask
		clean string
		code  int
		want  []string
		sent  string
	}{
		{name: "yes is typed", args: []string{"--user", "+34600111222"}, typed: "yes\n", code: 0, want: []string{"Forget +34600111222 for good?", "records of calls", "3", "traces of calls", "17", "kept for Meta's limits"}, sent: "+34600111222"},
		{name: "no is typed", args: []string{"--user", "+34600111222"}, typed: "no\n", code: 1, want: []string{"nothing is erased"}},
		{name: "nothing is typed", args: []string{"--user", "+34600111222"}, typed: "", code: 1, want: []string{"nothing is erased"}},
		{name: "nobody to ask", args: []string{"--user", "+34600111222"}, typed: "-", code: 0, want: []string{"records of calls"}, sent: "+34600111222"},
		{name: "in a script", args: []string{"--user", "ES.1", "--yes"}, typed: "-", code: 0, want: []string{"permissions"}, sent: "ES.1"},
		{name: "as JSON", args: []string{"--user", "ES.1", "--yes", "--json"}, typed: "-", code: 0, want: []string{`"limits": 1`}, sent: "ES.1"},
		{name: "as JSON too", args: []string{"--user", "ES.1", "--yes", "--format", "json"}, typed: "-", code: 0, want: []string{`"limits": 1`}, sent: "ES.1"},
		{name: "traces are left", args: []string{"--user", "ES.2", "--yes"}, typed: "-", code: 0, want: []string{"traces may be left"}, sent: "ES.2"},
		{name: "a call is up", args: []string{"--user", "ES.9", "--yes"}, typed: "-", code: 1, want: []string{"a call with this customer is up"}, sent: "ES.9"},
		{name: "of nobody", args: []string{"--yes"}, typed: "-", code: 2, want: []string{"--user"}},
		{name: "of a week", args: []string{"--user", "ES.1", "--since", "24h", "--yes"}, typed: "-", code: 2, want: []string{"--since"}},
		{name: "as CSV", args: []string{"--user", "ES.1", "--format", "csv", "--yes"}, typed: "-", code: 2, want: []string{"table or json"}},
	}
	for _, tt := range tests {
		var sent string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodDelete || r.URL.Path != "/api/v1/records" {
				t.Errorf("%s: got %s %s", tt.name, r.Method, r.URL)
			}
			sent = r.URL.Query().Get("user")
			switch sent {
			case "ES.9":
				w.WriteHeader(http.StatusConflict)
				w.Write([]byte(`{"error":{"code":"busy","message":"a call with this customer is up"}}`))
			case "ES.2":
				w.Write([]byte(`{"records":3,"limits":1,"clean":false}`))
			default:
				w.Write([]byte(`{"records":3,"traces":17,"events":0,"permissions":1,"identities":1,"limits":1,"clean":true}`))
			}
		}))
		var out, errs strings.Builder
		term := terminal{out: &out, err: &errs}
		if tt.typed != "-" {
			term.in = strings.NewReader(tt.typed)
		}
		code := run(t.Context(), append([]string{"records", "erase", "--admin", server.URL}, tt.args...), term)
		server.Close()
		if code != tt.code || sent != tt.sent {
			t.Errorf("%s: exit %d, want %d; sent %q, want %q\n%s%s", tt.name, code, tt.code, sent, tt.sent, &out, &errs)
		}
		for _, want := range tt.want {
			if !strings.Contains(out.String()+errs.String(), want) {
				t.Errorf("%s: %q is missing\nout: %s\nerr: %s", tt.name, want, &out, &errs)
			}
		}
	}
}
