package whatsapp

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestParseError(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	header := http.Header{"Retry-After": {"30"}}
	got := parseError(429, header, []byte(`{"error":{"message":"(#138005) Limit","type":"OAuthException","code":"138005",
		"error_data":{"messaging_product":"whatsapp","details":"new calls per day"},"error_subcode":2494010,
		"fbtrace_id":"Abc","new":[1]}}`), now)
	want := APIError{
		Status: 429, Code: 138005, Subcode: 2494010, Message: "(#138005) Limit", Details: "new calls per day",
		TraceID: "Abc", RetryAfter: 30 * time.Second,
	}
	if *got != want {
		t.Errorf("got %+v, want %+v", *got, want)
	}
	odd := parseError(500, nil, []byte(`{"error":{"message":7,"code":{},"error_data":"x","error_subcode":null,"fbtrace_id":"T"}}`), now)
	if odd.Message != "7" || odd.TraceID != "T" || odd.Code != 0 {
		t.Errorf("odd types: got %+v", odd)
	}
	for body, code := range map[string]int{``: 0, `null`: 0, `[]`: 0, `{"error":"x"}`: 0, `{"error":{"code":100`: 0} {
		if got := parseError(400, nil, []byte(body), now); got.Code != code || got.Status != 400 {
			t.Errorf("%q: got %+v", body, got)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "-5": 0, "soon": 0, "99999999": maxRetryAfter, "99999999999999999999": 0,
		"Sat, 21 Nov 2026 12:01:00 GMT": time.Minute, "Sat, 21 Nov 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: got %v, want %v", value, got, want)
		}
	}
}

// Code 100 tells the state of a call only in its text.
func TestStateTexts(t *testing.T) {
	for details, want := range map[string]string{
		"Call is already ended":                  "gone",
		"The call has already been terminated.":  "gone",
		"call_id is invalid":                     "gone",
		"Call ID is invalid or does not exist":   "gone",
		"A reject is in progress":                "gone",
		"Call already completed":                 "gone",
		"Call is already in progress":            "up",
		"Call already accepted":                  "up",
		"SDP does not match the one sent before": "refused",
		"Invalid SDP: ice-ufrag is missing":      "refused",
		"":                                       "refused",
	} {
		e := &APIError{Status: 400, Code: codeInvalid, Details: details}
		got := "refused"
		switch {
		case e.Gone() && e.InProgress():
			got = "both"
		case e.Gone():
			got = "gone"
		case e.InProgress():
			got = "up"
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", details, got, want)
		}
		if e.Temporary() {
			t.Errorf("%q is temporary", details)
		}
	}
	for _, e := range []*APIError{
		{Code: codeInvalid, Message: "Call is already ended"}, // also says that the number is wrong
		{Code: 138006, Details: "Call is already ended"},
		{Details: "Call is already in progress"},
	} {
		if e.Gone() || e.InProgress() {
			t.Errorf("%+v: read a text that does not count", e)
		}
	}
}

func TestTemporary(t *testing.T) {
	for _, c := range []struct {
		status, code int
		want         bool
	}{
		{500, 1, true},
		{500, 2, true},
		{500, 131016, true},
		{400, 4, true},
		{429, 80007, true},
		{429, 130429, true},
		{429, 613, true},
		{429, 138002, true},
		{500, 138004, true},
		{502, 0, true},
		{503, 0, true},
		{504, 0, true},
		{500, 987654, true},
		{429, 0, true},
		{400, 100, false},
		{401, 190, false},
		{500, 200, false},
		{403, 10, false},
		{401, 138006, false},
		{500, 138007, false},
		{400, 138008, false},
		{400, 138003, false},
		{400, 0, false},
		{404, 987654, false},
		{301, 0, false},
		{503, 133004, true},
		{500, 131000, true},
		{401, 0, false},
		{403, 250, false},
		{403, 299, false},
		{500, 131026, false},
		{500, 131044, false},
		{500, 131055, false},
		{500, 138000, false},
		{500, 138001, false},
		{500, 138006, false},
		{500, 138009, false},
		{500, 138012, false},
		{500, 138018, false},
		{429, 138012, false},
	} {
		if got := (&APIError{Status: c.status, Code: c.code}).Temporary(); got != c.want {
			t.Errorf("HTTP %d, code %d: got %v, want %v", c.status, c.code, got, c.want)
		}
	}
}

func FuzzGraphError(f *testing.F) {
	f.Add(400, "5", []byte(`{"error":{"message":"m","code":100,"error_data":{"details":"Call is already ended"}}}`))
	f.Add(500, "", []byte(`{"error":{"code":"2","error_subcode":[1],"fbtrace_id":{}}}`))
	f.Add(429, "Sat, 21 Nov 2026 12:01:00 GMT", []byte(`<html>`))
	f.Fuzz(func(t *testing.T, status int, after string, body []byte) {
		e := parseError(status, http.Header{"Retry-After": {after}}, body, time.Unix(1795262400, 0))
		if e.RetryAfter < 0 || e.RetryAfter > maxRetryAfter {
			t.Fatalf("wait %v", e.RetryAfter)
		}
		if text := e.Error(); strings.ContainsAny(text, "\r\n\x00\x1b") {
			t.Fatalf("control characters in %q", text)
		}
		if e.Gone() && (e.InProgress() || e.Temporary()) {
			t.Fatalf("contradiction: %+v", e)
		}
	})
}
