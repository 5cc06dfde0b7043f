package whatsapp

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"wagate/config"
)

// words asks in both forms.
var words = config.AskMessage{Text: "May we call <you>?", Template: config.Template{Name: "ask_to_call", Language: "en"}}

// Every request for permission, byte by byte.
func TestRequestPermission(t *testing.T) {
	for name, c := range map[string]struct {
		to    Callee
		kind  AskKind
		words config.AskMessage
		want  string
	}{
		"free text": {
			Callee{Number: "+34611223344"},
			FreeForm, words,
			`{"messaging_product":"whatsapp","recipient_type":"individual","to":"34611223344","type":"interactive","biz_opaque_callback_data":"ask=1",
				"interactive":{"type":"call_permission_request","action":{"name":"call_permission_request"},
				"body":{"text":"May we call <you>?"}}}`,
		},
		"without words": {
			Callee{UserID: "ES.1"},
			FreeForm,
			config.AskMessage{},
			`{"messaging_product":"whatsapp","recipient_type":"individual","recipient":"ES.1","type":"interactive","biz_opaque_callback_data":"ask=1",
				"interactive":{"type":"call_permission_request","action":{"name":"call_permission_request"}}}`,
		},
		"template": {
			Callee{Number: "34611223344", UserID: "ES.1"},
			Template, words,
			`{"messaging_product":"whatsapp","recipient_type":"individual","to":"34611223344","recipient":"ES.1","type":"template","biz_opaque_callback_data":"ask=1",
				"template":{"name":"ask_to_call","language":{"code":"en"}}}`,
		},
		"template with parameters": {
			Callee{Number: "34611223344"},
			Template,
			config.AskMessage{Template: config.Template{Name: "ask_to_call", Language: "en", Parameters: []string{"Nuria", "7781"}}},
			`{"messaging_product":"whatsapp","recipient_type":"individual","to":"34611223344","type":"template","biz_opaque_callback_data":"ask=1",
				"template":{"name":"ask_to_call","language":{"code":"en"},"components":[{"type":"body",
				"parameters":[{"type":"text","text":"Nuria"},{"type":"text","text":"7781"}]}]}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []byte
			client := newClient(t, func(rw http.ResponseWriter, r *http.Request) {
				got, _ = io.ReadAll(r.Body)
				if r.Method != http.MethodPost || r.URL.String() != "/v26.0/"+ourID+"/messages" || r.Header.Get("Authorization") != "Bearer tok-9f" {
					t.Errorf("got %s %s", r.Method, r.URL)
				}
				_, _ = io.WriteString(rw, `{"messaging_product":"whatsapp",
					"contacts":[{"input":"34611223344","wa_id":"34611223344","user_id":"ES.1","parent_user_id":"ES.ENT.2"}],
					"messages":[{"id":"wamid.HBg="}]}`)
			})
			receipt, err := client.RequestPermission(t.Context(), c.to, c.kind, c.words, "ask=1")
			if want := (Receipt{"wamid.HBg=", User{Number: "34611223344", UserID: "ES.1", ParentUserID: "ES.ENT.2"}}); err != nil || receipt != want {
				t.Errorf("got %+v, %v, want %+v", receipt, err, want)
			}
			var have, want any
			if err := errors.Join(json.Unmarshal(got, &have), json.Unmarshal([]byte(c.want), &want)); err != nil {
				t.Fatal(err)
			}
			h, _ := json.Marshal(have)
			w, _ := json.Marshal(want)
			if string(h) != string(w) {
				t.Errorf("got  %s\nwant %s", h, w)
			}
		})
	}
}

func TestRequestPermissionFails(t *testing.T) {
	c := clientFor(t, "http://graph.invalid")
	_, err := c.RequestPermission(t.Context(), Callee{Number: "1"}, Template, config.AskMessage{Text: "x"}, "")
	if !errors.Is(err, ErrNoTemplate) || Sent(err) {
		t.Errorf("without template: %v", err)
	}
	// A message that was taken must not be sent again.
	for _, answer := range []string{``, `{}`, `{"messages":[]}`, `{"messages":[{}]}`, `{"messages":7}`} {
		client := newClient(t, func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, answer) })
		if r, err := client.RequestPermission(t.Context(), Callee{Number: "1"}, FreeForm, words, ""); !errors.Is(err, ErrUnknown) || !Sent(err) {
			t.Errorf("answer %q: got %+v, %v", answer, r, err)
		}
	}
	client := newClient(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(rw, `{"error":{"code":138009,"error_data":{"details":"limit reached until 1795429400"}}}`)
	})
	_, err = client.RequestPermission(t.Context(), Callee{Number: "1"}, FreeForm, words, "")
	var refusal *APIError
	if !errors.As(err, &refusal) || refusal.Code != CodeAskLimit || !refusal.Until(noon).Equal(time.Unix(1795429400, 0)) {
		t.Errorf("got %v", err)
	}
	if n := value(t, client.metrics.graph[actAsk][resRefused]); n != 1 {
		t.Errorf("counted %v times", n)
	}
}

func TestPermissions(t *testing.T) {
	for name, c := range map[string]struct {
		who  Callee
		want string
	}{
		"by number":  {Callee{Number: "+34611223344", UserID: "ES.1"}, "user_wa_id=34611223344"},
		"by user id": {Callee{UserID: "ES.1"}, "recipient=ES.1"},
	} {
		client := newClient(t, func(rw http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.URL.Path != "/v26.0/"+ourID+"/call_permissions" || r.URL.RawQuery != c.want {
				t.Errorf("%s: got %s %s", name, r.Method, r.URL)
			}
			_, _ = io.WriteString(rw, `{"permission":{"status":"permanent"}}`)
		})
		s, err := client.Permissions(t.Context(), c.who)
		if err != nil || s.Status != Permanent || s.To.Sub(s.From) < 2*clockSlack {
			t.Errorf("%s: got %+v, %v", name, s, err)
		}
	}
	client := newClient(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Retry-After", "7")
		rw.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(rw, `{"error":{"code":613}}`)
	})
	_, err := client.Permissions(t.Context(), Callee{Number: "1"})
	var refusal *APIError
	if !errors.As(err, &refusal) || !refusal.Temporary() || !refusal.Until(noon).Equal(noon.Add(7*time.Second)) {
		t.Errorf("got %v", err)
	}
}

func TestUntil(t *testing.T) {
	want := after(hour)
	for _, words := range []string{
		"next call allowed at 1795266000", "Next allowed: 2026-11-21T13:00:00Z.", "(1795266000)", "2026-11-21T14:00:00+01:00",
		"ids 1234567890 and 9999999999, at 1795266000",
	} {
		if got := (&APIError{Details: words}).Until(noon); !got.Equal(want) {
			t.Errorf("%q: got %v", words, got)
		}
	}
	for _, words := range []string{"", "later", "1795258800", "34611223344", "9999999999"} {
		if got := (&APIError{Message: words}).Until(noon); !got.IsZero() {
			t.Errorf("%q: got %v", words, got)
		}
	}
}

func TestAskLimits(t *testing.T) {
	c := clientFor(t, "http://graph.invalid")
	var left time.Duration
	c.calls.Transport = transport(func(r *http.Request) (*http.Response, error) {
		deadline, _ := r.Context().Deadline()
		left = time.Until(deadline)
		return nil, io.EOF
	})
	for name, call := range map[string]func(ctx context.Context) error{
		"request": func(ctx context.Context) error {
			_, err := c.RequestPermission(ctx, Callee{}, FreeForm, words, "")
			return err
		},
		"read": func(ctx context.Context) error { _, err := c.Permissions(ctx, Callee{}); return err },
	} {
		if err := call(t.Context()); err == nil || left > askLimit || left < askLimit-time.Second {
			t.Errorf("%s: %v, %v", name, left, err)
		}
	}
}
