package whatsapp

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"wagate/config"
)

func TestSignatureVector(t *testing.T) {
	body := []byte(`{"object":"whatsapp_business_account","entry":[]}`)
	w, _ := newWebhook(t, settings("app-secret-123"))
	rec := post(t, w, body, "sha256=20e391a99a86fc5adf7e3a453236d20c906360291977896cf2f671e03bb95703")
	if rec.Code != http.StatusOK {
		t.Errorf("got %d", rec.Code)
	}
}

// What is not signed as Meta signs is refused, nothing of it is kept, delivered
// or logged.
func TestForgeries(t *testing.T) {
	body := sample(t, "terminate")
	good := sign(body, secret)
	flip := func(b []byte, i int) []byte {
		b = bytes.Clone(b)
		b[i] ^= 1
		return b
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, body); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name    string
		body    []byte
		headers []string
		want    int
	}{
		{"as Meta signs", body, []string{good}, 200},
		{"as Meta signs, with the previous secret", body, []string{sign(body, "key-old")}, 200},
		{"no header", body, nil, 401},
		{"empty header", body, []string{""}, 401},
		{"prefix only", body, []string{"sha256="}, 401},
		{"no prefix", body, []string{strings.TrimPrefix(good, "sha256=")}, 401},
		{"one digit short", body, []string{good[:len(good)-1]}, 401},
		{"one digit long", body, []string{good + "0"}, 401},
		{"upper case digits", body, []string{"sha256=" + strings.ToUpper(good[7:])}, 401},
		{"upper case prefix", body, []string{"SHA256=" + good[7:]}, 401},
		{"not hexadecimal", body, []string{"sha256=" + strings.Repeat("g", 64)}, 401},
		{"sha1", body, []string{"sha1=" + good[7:47]}, 401},
		{"two headers", body, []string{good, good}, 401},
		{"two in one header", body, []string{good + "," + good}, 401},
		{"space before", body, []string{" " + good}, 401},
		{"one bit of the signature", body, []string{good[:70] + string(good[70]^1)}, 401},
		{"one bit of the body", flip(body, 100), []string{good}, 401},
		{"body written anew", compact.Bytes(), []string{good}, 401},
		{"another secret", body, []string{sign(body, "key-two")}, 401},
		{"empty secret", body, []string{sign(body, "")}, 401},
		{"empty body", nil, []string{good}, 401},
		{"body with a tail", append(bytes.Clone(body), ' '), []string{good}, 401},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w, m := newWebhook(t, settings(secret, "key-old"))
			var logged bytes.Buffer
			w.log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/hook", bytes.NewReader(c.body))
			r.Header[signatureHeader] = c.headers
			rec := httptest.NewRecorder()
			w.ServeHTTP(rec, r)
			if rec.Code != c.want {
				t.Errorf("got %d, want %d", rec.Code, c.want)
			}
			if c.want == 401 && (len(m.rows) > 0 || len(m.delivered) > 0 || logged.Len() > 0) {
				t.Errorf("journaled %d, delivered %d, logged %q", len(m.rows), len(m.delivered), &logged)
			}
			if c.want == 200 && len(m.delivered) != 1 {
				t.Errorf("delivered %d events, want 1", len(m.delivered))
			}
		})
	}
}

func TestNoSecretNoWebhook(t *testing.T) {
	bad := map[string]config.WhatsApp{
		"no secret":       settings(),
		"empty secret":    settings("key-one", ""),
		"no verify token": {AppSecrets: []config.Secret{"key-one"}},
	}
	for name, cfg := range bad {
		if _, err := NewWebhook(cfg, nil, nil, NewMetrics(nil), slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: there is a webhook", name)
		}
	}
	w, _ := newWebhook(t, settings(secret))
	w.Reload(settings())
	if rec := post(t, w, []byte("{}"), sign([]byte("{}"), secret)); rec.Code != http.StatusOK {
		t.Errorf("a reload without secrets changed something: %d", rec.Code)
	}
}

func TestReload(t *testing.T) {
	w, _ := newWebhook(t, settings(secret))
	w.Reload(settings("key-two"))
	for s, want := range map[string]int{secret: 401, "key-two": 200} {
		if rec := post(t, w, []byte("{}"), sign([]byte("{}"), s)); rec.Code != want {
			t.Errorf("signed with %s: got %d, want %d", s, rec.Code, want)
		}
	}
}

// A call goes on when its number leaves the configuration, and ends by a webhook.
func TestReloadWithoutANumber(t *testing.T) {
	w, m := newWebhook(t, settings(secret))
	cfg := settings(secret)
	cfg.Numbers = []config.Number{{Name: "other", PhoneNumberID: "1"}}
	w.Reload(cfg)
	body := sample(t, "terminate-before-connect")
	post(t, w, body, sign(body, secret))
	if len(m.delivered) != 2 {
		t.Errorf("got %d events, want 2", len(m.delivered))
	}
}

func TestVerification(t *testing.T) {
	w, _ := newWebhook(t, settings(secret))
	const ok = "hub.mode=subscribe&hub.verify_token=let-me-in&hub.challenge="
	for _, c := range []struct {
		query, body string
		code        int
	}{
		{ok + "1158201444", "1158201444", 200},
		{ok + "12345678901234567890", "12345678901234567890", 200},
		{ok + "123456789012345678901", "", 400},
		{ok, "", 400},
		{ok + "%3Cscript%3E", "", 400},
		{ok + "12%0A", "", 400},
		{ok + "%D9%A1", "", 400},
		{"hub.mode=subscribe&hub.verify_token=let-me-i&hub.challenge=1", "", 403},
		{"hub.mode=subscribe&hub.verify_token=&hub.challenge=1", "", 403},
		{"hub.mode=unsubscribe&hub.verify_token=let-me-in&hub.challenge=1", "", 403},
		{"", "", 403},
	} {
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/hook?"+c.query, nil))
		if rec.Code != c.code || c.code == 200 && rec.Body.String() != c.body {
			t.Errorf("%s: got %d %q, want %d %q", c.query, rec.Code, rec.Body, c.code, c.body)
		}
		if h := rec.Header(); !strings.HasPrefix(h.Get("Content-Type"), "text/plain") || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", c.query, h)
		}
	}
}
