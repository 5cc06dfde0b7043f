package whatsapp

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"wagate/config"
	"wagate/test/leak"
)

var update = flag.Bool("update", false, "write the golden files anew")

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

// Every file in testdata is a delivery; its golden file is what we make of it.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			b, err := parse(sample(t, name), map[string]bool{ourID: true})
			if err != nil {
				t.Fatal(err)
			}
			got := describe(t, b)
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func describe(t *testing.T, b batch) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, ev := range b.events {
		text, err := json.MarshalIndent(ev, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%s %s\n", ev.Kind(), text)
	}
	for _, e := range b.errors {
		fmt.Fprintf(&out, "error %d: %s\n", e.Code, e.Details)
	}
	for _, d := range b.dropped {
		fmt.Fprintf(&out, "dropped %s %s: %v\n", d.kind, d.outcome, d.err)
	}
	return out.Bytes()
}

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

func TestBadRequests(t *testing.T) {
	w, m := newWebhook(t, settings(secret))
	deep := []byte(strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1))
	for name, c := range map[string]struct {
		body []byte
		want int
	}{
		"too long":        {bytes.Repeat([]byte(" "), maxBody+1), 413},
		"not JSON":        {[]byte(`{"object":`), 400},
		"no object":       {[]byte(`[]`), 400},
		"empty":           {nil, 400},
		"too deep":        {deep, 400},
		"another product": {[]byte(`{"object":"page","entry":[{"changes":[{"field":"calls"}]}]}`), 200},
		"nothing":         {[]byte(`{}`), 200},
		"quoted brackets": {[]byte(`{"object":"` + strings.Repeat(`[{\"`, 50) + `"}`), 200},
	} {
		if rec := post(t, w, c.body, sign(c.body, secret)); rec.Code != c.want {
			t.Errorf("%s: got %d, want %d", name, rec.Code, c.want)
		}
	}
	for _, method := range []string{http.MethodPut, http.MethodHead, http.MethodDelete, http.MethodOptions} {
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, "/hook", nil))
		if rec.Code != http.StatusMethodNotAllowed || rec.Header().Get("Allow") == "" {
			t.Errorf("%s: got %d %v", method, rec.Code, rec.Header())
		}
	}
	// The length is not told, and is too long.
	body := bytes.Repeat([]byte(" "), maxBody+1)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/hook", io.MultiReader(bytes.NewReader(body)))
	r.Header.Set(signatureHeader, sign(body, secret))
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	if rec.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("chunked and too long: got %d", rec.Code)
	}
	if len(m.delivered) > 0 {
		t.Errorf("delivered %v", m.delivered)
	}
}

// A delivery that cannot be journaled is asked for again, and acted on then.
func TestJournalFails(t *testing.T) {
	w, m := newWebhook(t, settings(secret))
	body := sample(t, "offer")
	m.fail = errors.New("disk on fire")
	if rec := post(t, w, body, sign(body, secret)); rec.Code != http.StatusInternalServerError {
		t.Errorf("got %d, want 500", rec.Code)
	}
	if len(m.delivered) > 0 {
		t.Error("delivered what is not on disk")
	}
	m.fail = nil
	for range 3 { // and Meta repeats itself
		if rec := post(t, w, body, sign(body, secret)); rec.Code != http.StatusOK {
			t.Errorf("got %d, want 200", rec.Code)
		}
	}
	if len(m.delivered) != 1 {
		t.Errorf("delivered %d times, want once", len(m.delivered))
	}
	if got := counter(t, w.metrics.events[KindOffer][OutcomeDuplicate]); got != 2 {
		t.Errorf("%v duplicates counted, want 2", got)
	}
}

// Meta hanging up early does not stop a delivery half-way.
func TestCallerGone(t *testing.T) {
	w, m := newWebhook(t, settings(secret))
	w.journal = func(ctx context.Context, rows []Journaled) ([]bool, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return m.journal(ctx, rows)
	}
	body := sample(t, "offer")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/hook", bytes.NewReader(body))
	r.Header.Set(signatureHeader, sign(body, secret))
	w.ServeHTTP(httptest.NewRecorder(), r)
	if len(m.delivered) != 1 {
		t.Errorf("delivered %d, want 1", len(m.delivered))
	}
}

// The answer is out before the events are: deliver may take its time.
func TestAnsweredBeforeDelivered(t *testing.T) {
	got, let := make(chan struct{}), make(chan struct{})
	m := &memory{keys: map[string]bool{}}
	w, err := NewWebhook(settings(secret), m.journal, func(Event) { close(got); <-let }, NewMetrics(nil), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(w)
	defer srv.Close()
	defer close(let)
	body := sample(t, "terminate")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(signatureHeader, sign(body, secret))
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("got %d", resp.StatusCode)
	}
	<-got
}

func TestOrderIsKept(t *testing.T) {
	w, m := newWebhook(t, settings(secret))
	body := sample(t, "terminate-before-connect")
	post(t, w, body, sign(body, secret))
	var kinds []Kind
	for _, ev := range m.delivered {
		kinds = append(kinds, ev.Kind())
	}
	if want := []Kind{KindTerminate, KindOffer}; !reflect.DeepEqual(kinds, want) {
		t.Errorf("got %v, want %v", kinds, want)
	}
}

// Events come back from the journal as they were, but for the keys in an SDP.
func TestJournalBody(t *testing.T) {
	for _, name := range []string{"offer", "answer", "statuses", "terminate-errors-twice", "permissions", "messages"} {
		b, err := parse(sample(t, name), map[string]bool{ourID: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range b.events {
			text, err := body(ev)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(text, []byte("ice-pwd")) {
				t.Errorf("%s: a session description is written down", name)
			}
			got, err := ParseEvent(text)
			if err != nil {
				t.Fatal(err)
			}
			want := ev
			switch e := want.(type) {
			case Offer:
				e.SDP = ""
				want = e
			case Answer:
				e.SDP = ""
				want = e
			case Status, Terminate, PermissionReply, Spoke, MessageFailed, UserMoved:
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, want)
			}
		}
	}
	for _, bad := range []string{``, `{}`, `[]`, `{"kind":"other"}`, `{"kind":"offer"}`, `{"kind":"status","event":{"State":9}}`} {
		if ev, err := ParseEvent([]byte(bad)); err == nil {
			t.Errorf("%q is %+v", bad, ev)
		}
	}
}

// Equal events have equal keys, and no others.
func TestKeys(t *testing.T) {
	base := key("1", "wacid.a", "status", "RINGING", "5")
	if base != key("1", "wacid.a", "status", "RINGING", "5") || len(base) != 64 {
		t.Error("a key changes")
	}
	for _, other := range [][]string{
		{"2", "wacid.a", "status", "RINGING", "5"},
		{"1", "wacid.a=", "status", "RINGING", "5"},
		{"1", "wacid.a", "status", "ACCEPTED", "5"},
		{"1", "wacid.a", "status", "RINGING", "6"},
		{"1wacid.a", "", "status", "RINGING", "5"},
		{"1", "wacid.as", "tatus", "RINGING", "5"},
	} {
		if key(other...) == base {
			t.Errorf("%v has the same key", other)
		}
	}
}

func FuzzWebhook(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.json")
	for _, file := range files {
		f.Add(sample(f, strings.TrimSuffix(filepath.Base(file), ".json")))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := parse(raw, map[string]bool{ourID: true})
		if err != nil && len(b.events) > 0 {
			t.Fatal("events in spite of an error")
		}
		for _, ev := range b.events {
			m := ev.About()
			if len(m.Key) != 64 || m.NumberID != ourID || m.CallID == "" && aboutCall(ev) {
				t.Fatalf("incomplete: %+v", ev)
			}
			if strings.ContainsAny(string(m.CallID)+m.Tag, "\r\n\x00") {
				t.Fatalf("control characters: %+v", ev)
			}
			text, err := body(ev)
			if err != nil {
				t.Fatal(err)
			}
			back, err := ParseEvent(text)
			if err != nil || back.About() != m || back.Kind() != ev.Kind() {
				t.Fatalf("journal gives %+v, %v for %+v", back, err, ev)
			}
		}
	})
}

func aboutCall(ev Event) bool {
	switch ev.(type) {
	case Offer, Answer, Status, Terminate:
		return true
	case PermissionReply, Spoke, MessageFailed, UserMoved:
	}
	return false
}
