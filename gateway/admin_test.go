package gateway

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/config"
	"wagate/store"
)

// adminBook is a gateway with one call and a few records.
type adminBook struct {
	call    callView
	records []store.Record
	queries []store.Query
	hungup  []string
	err     error
}

func (f *adminBook) list() []callView { return []callView{f.call} }

func (f *adminBook) show(id string) (callView, bool) { return f.call, id == f.call.ID }

func (f *adminBook) hangup(id string) bool {
	f.hungup = append(f.hungup, id)
	return id == f.call.ID
}

func (f *adminBook) Records(_ context.Context, q store.Query) ([]store.Record, string, error) {
	f.queries = append(f.queries, q)
	switch {
	case q.Cursor == "bad":
		return nil, "", store.ErrCursor
	case f.err != nil:
		return nil, "", f.err
	case q.Cursor == "second":
		return f.records[1:], "", nil
	case len(f.records) > 1:
		return f.records[:1], "second", nil
	default:
		return f.records, "", nil
	}
}

func newAdminBook() *adminBook {
	start := time.Date(2026, 11, 22, 9, 0, 0, 123e6, time.UTC)
	return &adminBook{
		call: callView{
			ID: "c1", Direction: inbound, Phase: "ringing", Number: "support", User: "+34600111222", Trunk: "pbx", To: "600",
			StartedAt: jsonTime(start), WACID: "wacid.A", Media: callMedia{WhatsApp: &mediaView{Codec: "opus", Packets: 7}},
		},
		records: []store.Record{
			{ID: "r1", Direction: inbound, User: "+34600111222", StartedAt: start, EndedAt: start.Add(time.Minute), Cause: "hangup", Payload: "=HYPERLINK(1)"},
			{ID: "r2", Direction: inbound, User: "-5", StartedAt: start, EndedAt: start, Cause: "busy", Payload: "@a"},
		},
	}
}

// adminServer is an admin server with its settings, and what it shows.
func adminServer(t *testing.T, cfg config.Admin, book *adminBook, checks ...check) *admin {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "wagate_test_total", Help: "Seven."}, func() float64 { return 7 }))
	return newAdmin(cfg, adminDeps{
		calls: book, records: book, metrics: reg,
		ready: func(context.Context) []check { return checks },
		signs: func(context.Context) []check { return checks },
		log:   slog.New(slog.DiscardHandler),
	})
}

// ask sends one request by the name of this machine.
func ask(t *testing.T, h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody)
	r.Host = "127.0.0.1:9464"
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestWhoMayAskWhat(t *testing.T) {
	withToken := config.Admin{Token: "s3cret"}
	tests := []struct {
		name   string
		cfg    config.Admin
		method string
		path   string
		header []string
		want   int
	}{
		{"health needs no token", withToken, "GET", "/healthz", nil, 200},
		{"nor does readiness", withToken, "GET", "/readyz", nil, 200},
		{"the API does", withToken, "GET", "/api/v1/calls", nil, 401},
		{"metrics too", withToken, "GET", "/metrics", nil, 401},
		{"unless open", config.Admin{Token: "s3cret", MetricsOpen: true}, "GET", "/metrics", nil, 200},
		{"open metrics open nothing else", config.Admin{Token: "s3cret", MetricsOpen: true}, "GET", "/api/v1/calls", nil, 401},
		{"right token", withToken, "GET", "/api/v1/calls", []string{"Authorization", "Bearer s3cret"}, 200},
		{"scheme in any case", withToken, "GET", "/api/v1/calls", []string{"Authorization", "bearer s3cret"}, 200},
		{"wrong token", withToken, "GET", "/api/v1/calls", []string{"Authorization", "Bearer s3cre"}, 401},
		{"empty token", withToken, "GET", "/api/v1/calls", []string{"Authorization", "Bearer "}, 401},
		{"wrong scheme", withToken, "GET", "/api/v1/calls", []string{"Authorization", "Basic s3cret"}, 401},
		{"token in a foreign name", withToken, "GET", "/api/v1/calls", []string{"Authorization", "Bearer s3cret", "Host", "gw.example.com"}, 200},
		{"unknown paths tell nothing", withToken, "GET", "/api/v1/nothing", nil, 401},
		{"loopback without a token", config.Admin{}, "GET", "/api/v1/calls", nil, 200},
		{"loopback by a foreign name", config.Admin{}, "GET", "/api/v1/calls", []string{"Host", "evil.example:9464"}, 403},
		{"loopback by IPv6", config.Admin{}, "GET", "/api/v1/calls", []string{"Host", "[::1]:9464"}, 200},
		{"hang up from another site", config.Admin{}, "DELETE", "/api/v1/calls/c1", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"profiles are off", config.Admin{}, "GET", "/debug/pprof/", nil, 404},
		{"profiles are on", config.Admin{Pprof: true}, "GET", "/debug/pprof/", nil, 200},
		{"profiles need the token", config.Admin{Token: "s3cret", Pprof: true}, "GET", "/debug/pprof/", nil, 401},
		{"nothing there", config.Admin{}, "GET", "/nothing", nil, 404},
		{"wrong method", config.Admin{}, "POST", "/api/v1/calls", nil, 405},
	}
	for _, tt := range tests {
		w := ask(t, adminServer(t, tt.cfg, newAdminBook()), tt.method, tt.path, tt.header...)
		if w.Code != tt.want {
			t.Errorf("%s: %d, want %d: %s", tt.name, w.Code, tt.want, w.Body)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Content-Security-Policy") == "" {
			t.Errorf("%s: security headers are missing", tt.name)
		}
		if w.Code >= 400 {
			var body apiError
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Error.Code == "" || body.Error.Message == "" {
				t.Errorf("%s: refusal is not in JSON: %s", tt.name, w.Body)
			}
		}
	}
}

func TestReloadChangesTheToken(t *testing.T) {
	a := adminServer(t, config.Admin{Token: "old"}, newAdminBook())
	a.reload(config.Admin{Token: "new"})
	if w := ask(t, a, "GET", "/api/v1/calls", "Authorization", "Bearer old"); w.Code != 401 {
		t.Errorf("the old token still opens: %d", w.Code)
	}
	if w := ask(t, a, "GET", "/api/v1/calls", "Authorization", "Bearer new"); w.Code != 200 {
		t.Errorf("the new token does not: %d", w.Code)
	}
}

func TestReadinessAndHealth(t *testing.T) {
	ok := adminServer(t, config.Admin{}, newAdminBook(), check{name: "store"}, check{name: "sip"})
	bad := adminServer(t, config.Admin{}, newAdminBook(), check{name: "store", err: errors.New("disk\nfull")}, check{name: "sip"})
	for _, path := range []string{"/readyz", "/healthz"} {
		if w := ask(t, ok, "GET", path); w.Code != 200 || w.Body.String() != "store: ok\nsip: ok\n" {
			t.Errorf("%s: %d %q", path, w.Code, w.Body)
		}
		if w := ask(t, bad, "GET", path); w.Code != 503 || w.Body.String() != "store: failed: disk full\nsip: ok\n" {
			t.Errorf("%s: %d %q", path, w.Code, w.Body)
		}
	}
}

func TestMetricsInBothFormats(t *testing.T) {
	a := adminServer(t, config.Admin{}, newAdminBook())
	if w := ask(t, a, "GET", "/metrics"); !strings.Contains(w.Body.String(), "wagate_test_total 7") {
		t.Errorf("text: %s", w.Body)
	}
	w := ask(t, a, "GET", "/metrics", "Accept", "application/openmetrics-text;version=1.0.0")
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "application/openmetrics-text") || !strings.HasSuffix(w.Body.String(), "# EOF\n") {
		t.Errorf("OpenMetrics: %s\n%s", w.Header(), w.Body)
	}
}

func TestHangup(t *testing.T) {
	book := newAdminBook()
	a := adminServer(t, config.Admin{}, book)
	if w := ask(t, a, "DELETE", "/api/v1/calls/c1"); w.Code != 204 {
		t.Errorf("hang up: %d %s", w.Code, w.Body)
	}
	if w := ask(t, a, "DELETE", "/api/v1/calls/c2"); w.Code != 404 {
		t.Errorf("hang up of a stranger: %d %s", w.Code, w.Body)
	}
	if !slices.Equal(book.hungup, []string{"c1", "c2"}) {
		t.Errorf("hung up %v", book.hungup)
	}
}

func TestRecordQueries(t *testing.T) {
	day := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		params string
		status int
		want   store.Query
	}{
		{"", 200, store.Query{Limit: defaultRecords}},
		{"?since=2026-11-22&until=2026-11-22T10:00:00Z", 200, store.Query{Since: day, Until: day.Add(10 * time.Hour), Limit: defaultRecords}},
		{"?since=2026-11-22T01:00:00%2B01:00", 200, store.Query{Since: day, Limit: defaultRecords}},
		{"?since=2026-11-22T01:00:00+01:00", 200, store.Query{Since: day, Limit: defaultRecords}},
		{"?user=+34600111222&limit=5", 200, store.Query{User: "+34600111222", Limit: 5}},
		{"?user=%2B34600111222&limit=1000&format=json", 200, store.Query{User: "+34600111222", Limit: 1000}},
		{"?cursor=second", 200, store.Query{Cursor: "second", Limit: defaultRecords}},
		{"?cursor=bad", 400, store.Query{Cursor: "bad", Limit: defaultRecords}},
		{"?limit=0", 400, store.Query{}},
		{"?limit=1001", 400, store.Query{}},
		{"?limit=many", 400, store.Query{}},
		{"?since=yesterday", 400, store.Query{}},
		{"?until=12", 400, store.Query{}},
		{"?format=xml", 400, store.Query{}},
		{"?user_id=7", 400, store.Query{}},
	}
	for _, tt := range tests {
		book := newAdminBook()
		w := ask(t, adminServer(t, config.Admin{}, book), "GET", "/api/v1/records"+tt.params)
		if w.Code != tt.status {
			t.Errorf("%s: %d %s", tt.params, w.Code, w.Body)
		}
		if len(book.queries) > 0 {
			q := book.queries[0]
			q.Since, q.Until = q.Since.UTC(), q.Until.UTC()
			if !reflect.DeepEqual(q, tt.want) {
				t.Errorf("%s: asked for %+v, want %+v", tt.params, q, tt.want)
			}
		} else if tt.want.Limit != 0 {
			t.Errorf("%s: the store was not asked", tt.params)
		}
	}
}

func TestRecordsPage(t *testing.T) {
	w := ask(t, adminServer(t, config.Admin{}, newAdminBook()), "GET", "/api/v1/records")
	var got struct {
		Records []struct {
			ID         string  `json:"id"`
			StartedAt  string  `json:"started_at"`
			AnsweredAt *string `json:"answered_at"`
		} `json:"records"`
		Next string `json:"next"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Records) != 1 || got.Next != "second" || got.Records[0].StartedAt != "2026-11-22T09:00:00.123Z" || got.Records[0].AnsweredAt != nil {
		t.Errorf("%s", w.Body)
	}
}

func TestNoRecordsIsAnEmptyList(t *testing.T) {
	book := newAdminBook()
	book.records = nil
	if w := ask(t, adminServer(t, config.Admin{}, book), "GET", "/api/v1/records"); w.Body.String() != `{"records":[],"next":""}`+"\n" {
		t.Errorf("%s", w.Body)
	}
	book.err = errors.New("gone")
	if w := ask(t, adminServer(t, config.Admin{}, book), "GET", "/api/v1/records"); w.Code != 500 || strings.Contains(w.Body.String(), "gone") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestRecordsAsCSV(t *testing.T) {
	w := ask(t, adminServer(t, config.Admin{}, newAdminBook()), "GET", "/api/v1/records?format=csv")
	rows, err := csv.NewReader(w.Body).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 3 {
		t.Fatalf("%d rows, want a head and both pages", len(rows))
	}
	column := func(row int, name string) string { return rows[row][slices.Index(rows[0], name)] }
	for _, tt := range []struct{ got, want string }{
		{column(1, "user"), "+34600111222"},
		{column(1, "payload"), "'=HYPERLINK(1)"},
		{column(2, "user"), "-5"},
		{column(2, "payload"), "'@a"},
		{column(1, "answered_at"), ""},
		{column(1, "ended_at"), "2026-11-22T09:01:00.123Z"},
	} {
		if tt.got != tt.want {
			t.Errorf("cell %q, want %q", tt.got, tt.want)
		}
	}
	limited := ask(t, adminServer(t, config.Admin{}, newAdminBook()), "GET", "/api/v1/records?format=csv&limit=1")
	if got := limited.Header().Get("X-Next-Cursor"); got != "second" {
		t.Errorf("next cursor %q", got)
	}
}

// TestCSVHasEveryField compares the columns with the fields of a record.
func TestCSVHasEveryField(t *testing.T) {
	body, err := json.Marshal(store.Record{})
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(body, &fields); err != nil {
		t.Fatal(err)
	}
	var want []string
	for name, value := range fields {
		if name != "media" {
			want = append(want, name)
			continue
		}
		for side, figures := range value.(map[string]any) {
			for figure := range figures.(map[string]any) {
				want = append(want, "media_"+side+"_"+figure)
			}
		}
	}
	slices.Sort(want)
	if got := slices.Sorted(slices.Values(recordColumns())); !slices.Equal(got, want) {
		t.Errorf("columns %v\nfields  %v", got, want)
	}
}
