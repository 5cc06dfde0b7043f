package gateway

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"wagate/whatsapp"
)

func TestEraseByAPI(t *testing.T) {
	nuria := whatsapp.User{Number: "34600111222"}
	for _, c := range []struct {
		query  string
		err    error
		status int
		asked  []question
		body   string
	}{
		{"?user=%2B34600111222", nil, 200, []question{{"erase", "", nuria}}, `{"records":3,"traces":2,"events":0,"permissions":1,"identities":0,"limits":1,"clean":true}`},
		{"?user=+34600111222", nil, 200, []question{{"erase", "", nuria}}, `"records":3`},
		{"?user=34+600-111-222", nil, 200, []question{{"erase", "", nuria}}, `"records":3`},
		{"?user=ES.20914466382001574", nil, 200, []question{{"erase", "", whatsapp.User{UserID: "ES.20914466382001574"}}}, `"records":3`},
		{"", nil, 400, nil, `bad_number`},
		{"?user=", nil, 400, nil, `bad_number`},
		{"?user=*", nil, 400, nil, `bad_number`},
		{"?user=%2B34600111222&since=2026-01-01", nil, 400, nil, `since`},
		{"?user=%2B34600111222", errStillCalling, 409, []question{{"erase", "", nuria}}, `"code":"busy"`},
		{"?user=%2B34600111222", errors.New("+34600111222"), 500, []question{{"erase", "", nuria}}, `"code":"internal"`},
	} {
		f := fullAdmin(t)
		f.operator.err = c.err
		w := ask(t, f.admin, http.MethodDelete, "/api/v1/records"+c.query)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.body) {
			t.Errorf("%s: %d %s, want %d with %s", c.query, w.Code, w.Body, c.status, c.body)
		}
		if len(f.operator.asked) != len(c.asked) || len(c.asked) > 0 && f.operator.asked[0] != c.asked[0] {
			t.Errorf("%s: asked for %v, want %v", c.query, f.operator.asked, c.asked)
		}
	}
}

// TestNoticesAreForgotten: who comes back for what was missed is told nothing
// about a customer who was erased, and nothing of the others is lost.
func TestNoticesAreForgotten(t *testing.T) {
	f := newFeed(time.Now(), 8, slog.New(slog.DiscardHandler))
	s, err := f.subscribe(0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.leave()
	for _, user := range []string{"+34600111222", "+351912000321", "346001112229", "34600111222"} {
		f.publish(aMoment, callStarted(callView{ID: "c1", User: user}))
	}
	f.publish(aMoment, permissionChanged(permissionNews{UserID: "ES.1"}))
	f.forget([]string{"34600111222", "", "ES.1"})
	f.publish(aMoment, callStarted(callView{ID: "c2", User: "+34600111222"}))
	h := s.take()
	var told []string
	for _, e := range h.entries {
		told = append(told, string(e.data))
	}
	all := strings.Join(told, "\n")
	if h.lost != nil || len(told) != 3 || !strings.Contains(all, "351912000321") || !strings.Contains(all, "346001112229") || !strings.Contains(told[2], `"c2"`) {
		t.Errorf("lost %v, told %s", h.lost, all)
	}
}
