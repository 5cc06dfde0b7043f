package fakemeta

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func (g *gateway) read(query string) graphReply {
	return g.raw(http.MethodGet, "/v26.0/401122334455667/call_permissions?"+query, "Bearer access-token", "", nil)
}

// TestReadPermission holds the reply to spec 4.4, key by key.
func TestReadPermission(t *testing.T) {
	at := func(d time.Duration) string { return seconds(noon.Add(d)) }
	show := func(permission, ask, call string) string {
		return `{"messaging_product":"whatsapp","permission":{` + permission + `},"actions":[` +
			`{"action_name":"send_call_permission_request",` + ask + `},{"action_name":"start_call",` + call + `}]}`
	}
	limits := func(can bool, list ...string) string {
		return fmt.Sprintf(`"can_perform_action":%v,"limits":[%s]`, can, strings.Join(list, ","))
	}
	limit := func(period string, most, used int, until string) string {
		l := fmt.Sprintf(`{"time_period":%q,"max_allowed":%d,"current_usage":%d`, period, most, used)
		if until != "" {
			l += `,"limit_expiration_time":` + until
		}
		return l + "}"
	}
	const none = `"status":"no_permission"`
	unasked := limits(true, limit("PT24H", 1, 0, ""), limit("P7D", 2, 0, ""))
	asked := limits(false, limit("PT24H", 1, 1, at(24*time.Hour)), limit("P7D", 2, 1, ""))
	for _, row := range []struct {
		name  string
		rules Rules
		steps []string
		want  string
	}{
		{"nothing", Rules{}, nil, show(none, unasked, limits(false, limit("PT24H", 100, 0, "")))},
		{"asked", Rules{}, []string{"template"}, show(none, asked, limits(false, limit("PT24H", 100, 0, "")))},
		{
			"asked twice",
			Rules{},
			[]string{"template", "clock 24h", "template"},
			show(none, limits(false, limit("PT24H", 1, 1, at(48*time.Hour)), limit("P7D", 2, 2, at(168*time.Hour))), limits(false, limit("PT24H", 100, 0, ""))),
		},
		{
			"temporary",
			Rules{},
			[]string{"template", "answer temporary"},
			show(`"status":"temporary","expiration_time":`+at(168*time.Hour), asked, limits(true, limit("PT24H", 100, 0, ""))),
		},
		{
			"temporary, as the table has it",
			Rules{TableKeys: true},
			[]string{"template", "answer temporary"},
			show(`"status":"temporary","expiration":`+at(168*time.Hour), asked, limits(true, limit("PT24H", 100, 0, ""))),
		},
		{
			"permanent and used",
			Rules{},
			[]string{"allow", "talk 3"},
			show(`"status":"permanent"`, limits(false, limit("PT24H", 1, 0, ""), limit("P7D", 2, 0, "")), limits(true, limit("PT24H", 100, 3, ""))),
		},
		{
			"used up",
			Rules{},
			[]string{"allow", "talk 100"},
			show(`"status":"permanent"`, limits(false, limit("PT24H", 1, 0, ""), limit("P7D", 2, 0, "")), limits(false, limit("PT24H", 100, 100, at(24*time.Hour)))),
		},
		{"expired", Rules{}, []string{"template", "answer temporary", "clock 168h"}, show(none, unasked, limits(false, limit("PT24H", 100, 0, "")))},
		{"declined", Rules{}, []string{"template", "answer decline"}, show(none, asked, limits(false, limit("PT24H", 100, 0, "")))},
		{"revoked", Rules{}, []string{"allow", "revoke"}, show(none, unasked, limits(false, limit("PT24H", 100, 0, "")))},
		{
			"sandbox",
			Rules{Sandbox: true},
			[]string{"template"},
			show(none, limits(true, limit("PT24H", 25, 1, ""), limit("P7D", 100, 1, "")), limits(false, limit("PT24H", 100, 0, ""))),
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			g, clock := strict(t, Options{Rules: row.rules})
			(&story{gateway: g, clock: clock}).run(row.steps...)
			for _, q := range []string{"user_wa_id=" + nuria, "user_wa_id=%2B" + nuria, "recipient=ES.20" + nuria, "user_wa_id=" + nuria + "&recipient=ES.1"} {
				if r := g.read(q); strings.TrimSpace(r.raw) != row.want {
					t.Errorf("%s: got\n%s, want\n%s", q, r.raw, row.want)
				}
			}
		})
	}
}

// TestReadLimits: the reads that are refused, and what is not told.
func TestReadLimits(t *testing.T) {
	g, _ := strict(t, Options{})
	g.meta.Callee("1", Callee{Absent: true})
	g.meta.Permit("1", true)
	if r := g.read("user_wa_id=1"); !strings.Contains(r.raw, "no_permission") {
		t.Errorf("a user without WhatsApp: %s", r.raw)
	}
	for _, q := range []string{"", "user_wa_id=nuria"} {
		if r := g.read(q); r.code != 100 {
			t.Errorf("%q: %s", q, r.raw)
		}
	}
	for range 2 {
		g.must(g.read("user_wa_id=2"))
	}
	if r := g.read("user_wa_id=2"); r.status != http.StatusTooManyRequests || r.code != 613 {
		t.Errorf("the sixth read: %d %s", r.status, r.raw)
	}
	g.until("reads are allowed again", func() bool { return g.read("user_wa_id=2").status == http.StatusOK })
	if r := g.raw(http.MethodGet, "/v26.0/401122334455667/call_permissions?user_wa_id=1", "", "", nil); r.status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", r.status)
	}
	if r := g.raw(http.MethodPost, "/v26.0/401122334455667/call_permissions?user_wa_id=1", "Bearer access-token", "", nil); r.code != 100 {
		t.Errorf("a POST: %s", r.raw)
	}
}

// TestRefusals has every reason that does not lie in a permission.
func TestRefusals(t *testing.T) {
	const dial, ask = "dial", "ask"
	for _, row := range []struct {
		name         string
		do           string
		setup        func(*Server)
		status, code int
		rules        Rules
	}{
		{"fine", dial, func(*Server) {}, 200, 0, Rules{}},
		{"calling is off", dial, func(s *Server) { s.Refuse("", CallingOff) }, 401, 138000, Rules{}},
		{"calling is off, ask", ask, func(s *Server) { s.Refuse("", CallingOff) }, 401, 138000, Rules{}},
		{"country", dial, func(s *Server) { s.Refuse("", CountryClosed) }, 400, 138013, Rules{}},
		{"country, ask", ask, func(s *Server) { s.Refuse("", CountryClosed) }, 400, 138013, Rules{}},
		{"quality", dial, func(s *Server) { s.Refuse("401122334455667", LowQuality) }, 400, 138014, Rules{}},
		{"quality, ask", ask, func(s *Server) { s.Refuse("", LowQuality) }, 400, 138014, Rules{}},
		{"too many", dial, func(s *Server) { s.Refuse("", TooManyCalls) }, 429, 138002, Rules{}},
		{"too many, ask", ask, func(s *Server) { s.Refuse("", TooManyCalls) }, 200, 0, Rules{}},
		{"too many new", dial, func(s *Server) { s.Refuse("", TooManyNew) }, 429, 138005, Rules{}},
		{"something", dial, func(s *Server) { s.Refuse("", 138010) }, 400, 138010, Rules{}},
		{"another number", dial, func(s *Server) { s.Refuse("77", CallingOff) }, 200, 0, Rules{}},
		{"no longer", dial, func(s *Server) { s.Refuse("", CallingOff); s.Refuse("", 0) }, 200, 0, Rules{}},
		{"not on WhatsApp", dial, func(s *Server) { s.Callee(nuria, Callee{Absent: true}) }, 400, 138001, Rules{}},
		{"not on WhatsApp, ask", ask, func(s *Server) { s.Callee(nuria, Callee{Absent: true}) }, 400, 138001, Rules{}},
		{"not on the list", dial, func(*Server) {}, 400, 131030, Rules{Allowed: []string{"1"}}},
		{"not on the list, ask", ask, func(*Server) {}, 400, 131030, Rules{Allowed: []string{"1"}}},
		{"on the list", dial, func(*Server) {}, 200, 0, Rules{Allowed: []string{"1", "+" + nuria}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			g, _ := strict(t, Options{Rules: row.rules})
			row.setup(g.meta)
			g.meta.Permit(nuria, row.do == dial)
			send := func() graphReply { return g.askByTemplate(nuria) }
			if row.do == dial {
				send = func() graphReply { return g.dial(nuria, plainOffer) }
			}
			r := send()
			if r.status != row.status || r.code != row.code {
				t.Errorf("said %d %s", r.status, r.raw)
			}
			if n := len(g.meta.Violations()); row.code >= 138000 && n != 0 {
				t.Errorf("%d violations for what nobody can know", n)
			}
		})
	}
}

// TestNumberLimits: new calls in 24 h, and calls at once.
func TestNumberLimits(t *testing.T) {
	g, clock := strict(t, Options{Rules: Rules{NewCalls: 3, Concurrent: 2}})
	for _, who := range []string{"1", "2", "3", "4"} {
		g.meta.Permit(who, true)
		g.meta.Callee(who, Callee{Never: true})
	}
	c, _ := g.place(CallOptions{})
	one := g.dial("1", plainOffer)
	g.must(one)
	if r := g.dial("2", plainOffer); r.code != 138002 {
		t.Errorf("the third call: %s", r.raw)
	}
	c.HangUp()
	two := g.dial("2", plainOffer)
	g.must(two)
	g.must(g.do("terminate", one.id, ""))
	g.must(g.dial("3", plainOffer))
	g.must(g.do("terminate", two.id, ""))
	if r := g.dial("4", plainOffer); r.code != 138005 || r.status != http.StatusTooManyRequests {
		t.Errorf("the fourth call in 24 h: %d %s", r.status, r.raw)
	}
	clock.Advance(24 * time.Hour)
	g.must(g.dial("4", plainOffer))
}
