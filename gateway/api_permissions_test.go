package gateway

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"wagate/whatsapp"
)

func TestPermissions(t *testing.T) {
	byNumber := whatsapp.User{Number: "34600111222"}
	tests := []struct {
		method, path string
		status       int
		want         question
	}{
		{"GET", "support/+34600111222", 200, question{"view", "support", byNumber}},
		{"GET", "support/%2B34600111222", 200, question{"view", "support", byNumber}},
		{"GET", "support/34600111222", 200, question{"view", "support", byNumber}},
		{"GET", "support/+34%20600-111-222", 200, question{"view", "support", byNumber}},
		{"GET", "support/ES.20914466382001574", 200, question{"view", "support", whatsapp.User{UserID: "ES.20914466382001574"}}},
		{"GET", "support/ES.ENT.30755128840066190", 200, question{"view", "support", whatsapp.User{UserID: "ES.ENT.30755128840066190"}}},
		{"GET", "a%2Fb/34600111222", 200, question{"view", "a/b", byNumber}},
		{"POST", "support/34600111222/request", 202, question{"request", "support", byNumber}},
		{"GET", "support/600", 400, question{}},
		{"GET", "support/0034600111222", 400, question{}},
		{"GET", "support/es.20914466382001574", 400, question{}},
		{"GET", "support/+346001112223334445", 400, question{}},
		{"GET", "support/%00", 400, question{}},
		{"GET", "support/34600111222%2F..", 400, question{}},
		{"GET", "support/٣٤٦٠٠١١١٢٢٢", 400, question{}},
		{"GET", "support/34600111222?fresh=1", 400, question{}},
		{"POST", "support/me/request", 400, question{}},
		{"POST", "support/34600111222/request?x=1", 400, question{}},
		{"POST", "support/34600111222", 405, question{}},
		{"GET", "support/34600111222/request", 405, question{}},
		{"GET", "support", 404, question{}},
	}
	for _, tt := range tests {
		f := fullAdmin(t)
		w := ask(t, f.admin, tt.method, "/api/v1/permissions/"+tt.path)
		if w.Code != tt.status {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, w.Code, w.Body)
		}
		switch {
		case tt.want == (question{}) && len(f.operator.asked) > 0:
			t.Errorf("%s %s: %+v is asked for", tt.method, tt.path, f.operator.asked)
		case tt.want != (question{}) && !slices.Equal(f.operator.asked, []question{tt.want}):
			t.Errorf("%s %s: %+v is asked for, want %+v", tt.method, tt.path, f.operator.asked, tt.want)
		}
	}
}

func TestPermissionHasTheFieldsOfTheContract(t *testing.T) {
	w := ask(t, fullAdmin(t).admin, "GET", "/api/v1/permissions/support/34600111222")
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := []string{"granted_at", "meta_expires_at", "next_request_at", "requests_24h", "requests_7d", "state", "unanswered", "usable_until"}
	for _, name := range want {
		if _, ok := got[name]; !ok {
			t.Errorf("there is no %s in %s", name, w.Body)
		}
	}
	if got["granted_at"] != nil || got["next_request_at"] != "2026-11-22T09:00:00.123Z" || got["state"] != "requested" {
		t.Errorf("%s", w.Body)
	}
}

// send posts a body.
func send(t *testing.T, f *full, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), "POST", path, strings.NewReader(body))
	r.Host = "127.0.0.1"
	w := httptest.NewRecorder()
	f.admin.ServeHTTP(w, r)
	return w
}

func TestRequestTakesNoWishes(t *testing.T) {
	for body, status := range map[string]int{
		"": 202, "{}": 202, " \n": 202, `{"text":"hello"}`: 400, "[]": 400, "x": 400, "{}{}": 400, strings.Repeat(" ", maxAdminBody+1): 413,
	} {
		if w := send(t, fullAdmin(t), "/api/v1/permissions/support/34600111222/request", body); w.Code != status {
			t.Errorf("%.20q: %d %s", body, w.Code, w.Body)
		}
	}
}

func TestRefusedRequests(t *testing.T) {
	next := aMoment.Add(time.Hour)
	tests := []struct {
		err    error
		status int
		want   string // the body, or a part of it
	}{
		{
			&refusedError{why: refuseLimited, reason: "asked in the last 24 hours", next: next, retryAfter: 3599500 * time.Millisecond}, 429,
			`{"error":{"code":"limited","message":"asked in the last 24 hours; the customer may be asked from 2026-11-22T10:00:00.123Z","next_request_at":"2026-11-22T10:00:00.123Z","expires_at":null}}`,
		},
		{&refusedError{why: refusePermitted, reason: "allowed already", expires: next}, 409, `"next_request_at":null,"expires_at":"2026-11-22T10:00:00.123Z"`},
		{&refusedError{why: refuseUnanswered, reason: "3 unanswered"}, 409, `"message":"3 unanswered","next_request_at":null`},
		{&refusedError{why: refuseUnknownNumber, reason: "no such number"}, 404, `{"error":{"code":"unknown_number","message":"no such number"}}`},
		{refusedFor(APIDown, "Meta fails"), 502, `"code":"api_down"`},
		{refusedFor(StoreFailed, ""), 503, `"message":"store_failed"`},
		{errors.Join(errors.New("wrapped"), refusedFor(APITimeout, "late")), 504, `"message":"late"`},
		{errors.New("secret +34600111222"), 500, `"code":"internal"`},
	}
	for _, tt := range tests {
		f := fullAdmin(t)
		f.operator.err = tt.err
		w := send(t, f, "/api/v1/permissions/support/34600111222/request", "")
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%v: %d %s", tt.err, w.Code, w.Body)
		}
		if tt.status == 429 && w.Header().Get("Retry-After") != "3600" {
			t.Errorf("Retry-After: %q", w.Header().Get("Retry-After"))
		}
	}
}

// TestCausesAreRefusals keeps the words of both sets the same.
func TestCausesAreRefusals(t *testing.T) {
	for why, status := range map[Cause]int{
		NoPermission: 403, NotAllowed: 403, NotFound: 404, NoRoute: 404, BadNumber: 400, Busy: 409, Limited: 429, Overloaded: 503,
		Draining: 503, StoreFailed: 503, APIDown: 502, APITimeout: 504, APIError: 502, Unreachable: 502, Internal: 500, Hangup: 500,
	} {
		if got := refusedFor(why, "").why.status(); got != status {
			t.Errorf("%v: %d, want %d", why, got, status)
		}
	}
}
