package fakemeta

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzSDP: whatever is taken has all that the relay needs.
func FuzzSDP(f *testing.F) {
	f.Add(plainAnswer)
	f.Add(plainOffer)
	f.Add("v=0\r\no=\r\ns=\r\nt=\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n")
	f.Fuzz(func(t *testing.T, sdp string) {
		d, fail := readSDP(sdp, nil)
		if fail != nil {
			if fail.text() == "" || fail.status == 0 {
				t.Errorf("refused without a reason: %+v", fail)
			}
			return
		}
		if d.ufrag == "" || d.pwd == "" || len(d.fingerprint) != 95 || d.mid == "" || len(d.audio) == 0 {
			t.Errorf("taken as %+v", d)
		}
	})
}

// FuzzRequest: a request gets a reply and never a panic.
func FuzzRequest(f *testing.F) {
	m, err := New(Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { m.Close() })
	f.Add("POST", "/v26.0/401122334455667/calls", `{"messaging_product":"whatsapp","action":"accept","call_id":"x"}`)
	f.Add("POST", "/v26.0/401122334455667/messages", `{"messaging_product":"whatsapp","to":"1","type":"interactive","interactive":{"type":"call_permission_request","action":{"name":"call_permission_request"}}}`)
	f.Add("POST", "/v26.0/401122334455667/messages", `{"messaging_product":"whatsapp","to":"1","type":"template","template":{"name":"ask_to_call","language":{"code":"en"},"components":[]}}`)
	f.Add("GET", "/v26.0/401122334455667/call_permissions", "")
	f.Add("GET", "/v26.0/401122334455667", "")
	f.Add("POST", "//", `{"action":7}`)
	f.Fuzz(func(t *testing.T, method, path, body string) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://meta/", strings.NewReader(body))
		if err != nil {
			return
		}
		r.URL.Path = path
		r.Header.Set("Authorization", "Bearer access-token")
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		m.serve(w, r)
		if w.Code >= http.StatusInternalServerError || w.Body.Len() == 0 {
			t.Errorf("replied %d %q", w.Code, w.Body)
		}
	})
}
