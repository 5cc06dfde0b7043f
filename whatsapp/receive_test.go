package whatsapp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
)

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
	if got := value(t, w.metrics.events[KindOffer][OutcomeDuplicate]); got != 2 {
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
