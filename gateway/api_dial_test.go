package gateway

import (
	"strings"
	"testing"

	"wagate/whatsapp"
)

func TestDial(t *testing.T) {
	swap := func(field, with string) string {
		text := goodDial
		for part := range strings.SplitSeq(strings.Trim(goodDial, "{}"), ", ") {
			if strings.HasPrefix(part, `"`+field+`"`) {
				text = strings.Replace(text, part, with, 1)
			}
		}
		return text
	}
	good := dialRequest{Number: "support", To: "+34600111222", User: whatsapp.User{Number: "34600111222"}, Trunk: "pbx", Agent: "201"}
	byID, escaped := good, good
	byID.To, byID.User = "ES.20914466382001574", whatsapp.User{UserID: "ES.20914466382001574"}
	escaped.Agent = "#201"
	tests := []struct {
		name, body string
		status     int
		want       dialRequest
	}{
		{"as it should be", goodDial, 201, good},
		{"without a plus", swap("to", `"to": "34600111222"`), 201, good},
		{"with separators", swap("to", `"to": "+34 600-111.222"`), 201, good},
		{"a user id", swap("to", `"to": "ES.20914466382001574"`), 201, byID},
		{"an escape", swap("agent", `"agent": "%23201"`), 201, escaped},
		{"an escaped line end", swap("agent", `"agent": "201%0d%0a"`), 400, dialRequest{}},
		{"nothing", "", 400, dialRequest{}},
		{"null", "null", 400, dialRequest{}},
		{"a list", "[]", 400, dialRequest{}},
		{"half", goodDial[:20], 400, dialRequest{}},
		{"two", goodDial + goodDial, 400, dialRequest{}},
		{"an unknown field", swap("agent", `"agent": "201", "force": true`), 400, dialRequest{}},
		{"a number as a number", swap("to", `"to": 34600111222`), 400, dialRequest{}},
		{"no business number", swap("number", `"number": ""`), 400, dialRequest{}},
		{"no customer", swap("to", `"to": ""`), 400, dialRequest{}},
		{"no trunk", swap("trunk", `"trunk": ""`), 400, dialRequest{}},
		{"no agent", swap("agent", `"agent": ""`), 400, dialRequest{}},
		{"another host", swap("agent", `"agent": "201@evil.example"`), 400, dialRequest{}},
		{"a header", swap("agent", `"agent": "201\r\nX: y"`), 400, dialRequest{}},
		{"parameters", swap("agent", `"agent": "201;user=phone"`), 400, dialRequest{}},
		{"a broken escape", swap("agent", `"agent": "201%4"`), 400, dialRequest{}},
		{"too long", goodDial + strings.Repeat(" ", maxAdminBody), 413, dialRequest{}},
	}
	for _, tt := range tests {
		f := fullAdmin(t)
		w := send(t, f, "/api/v1/calls", tt.body)
		if w.Code != tt.status {
			t.Errorf("%s: %d %s", tt.name, w.Code, w.Body)
		}
		switch {
		case tt.status != 201 && len(f.operator.dials) > 0:
			t.Errorf("%s: dialled %+v", tt.name, f.operator.dials)
		case tt.status == 201 && (len(f.operator.dials) != 1 || f.operator.dials[0] != tt.want):
			t.Errorf("%s: dialled %+v, want %+v", tt.name, f.operator.dials, tt.want)
		case tt.status == 201 && (w.Header().Get("Location") != "/api/v1/calls/c%2F2" || !strings.Contains(w.Body.String(), `"phase":"summoning"`)):
			t.Errorf("%s: %v %s", tt.name, w.Header(), w.Body)
		}
	}
	if w := send(t, fullAdmin(t), "/api/v1/calls?now=1", goodDial); w.Code != 400 {
		t.Errorf("an unknown parameter: %d", w.Code)
	}
}

func TestDialWithoutPermission(t *testing.T) {
	f := fullAdmin(t)
	f.operator.err = &refusedError{why: refuseNoPermission, reason: "the permission has expired", next: aMoment, expires: aMoment}
	w := send(t, f, "/api/v1/calls", goodDial)
	const want = `{"error":{"code":"no_permission","message":"the permission has expired; the customer may be asked from 2026-11-22T09:00:00.123Z",` +
		`"next_request_at":"2026-11-22T09:00:00.123Z","expires_at":"2026-11-22T09:00:00.123Z"}}` + "\n"
	if w.Code != 403 || w.Body.String() != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
