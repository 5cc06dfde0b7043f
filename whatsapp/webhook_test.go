package whatsapp

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"wagate/config"
	"wagate/test/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }

const (
	ourID  = "409900112233445"
	secret = "key-one"
)

func settings(secrets ...config.Secret) config.WhatsApp {
	return config.WhatsApp{
		AppSecrets:  secrets,
		VerifyToken: "let-me-in",
		Numbers:     []config.Number{{Name: "support", PhoneNumberID: ourID}},
	}
}

// memory is a journal and a taker of events.
type memory struct {
	keys      map[string]bool
	rows      []Journaled
	delivered []Event
	fail      error
}

func (m *memory) journal(_ context.Context, rows []Journaled) ([]bool, error) {
	if m.fail != nil {
		return nil, m.fail
	}
	fresh := make([]bool, len(rows))
	for i, r := range rows {
		fresh[i] = !m.keys[r.Key]
		m.keys[r.Key] = true
	}
	m.rows = append(m.rows, rows...)
	return fresh, nil
}

func newWebhook(t *testing.T, cfg config.WhatsApp) (*Webhook, *memory) {
	t.Helper()
	m := &memory{keys: map[string]bool{}}
	w, err := NewWebhook(cfg, m.journal, func(ev Event) { m.delivered = append(m.delivered, ev) }, NewMetrics(nil),
		slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return w, m
}

func sign(body []byte, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

func post(t *testing.T, w http.Handler, body []byte, signature string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/hook", bytes.NewReader(body))
	r.Header.Set(signatureHeader, signature)
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec
}

func sample(tb testing.TB, name string) []byte {
	tb.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}
