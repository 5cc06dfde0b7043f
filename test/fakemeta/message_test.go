package fakemeta

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPermissionWebhooks has every row of spec 4.3, and a revocation.
func TestPermissionWebhooks(t *testing.T) {
	const later = `"1795953600"` // seven days after the begin
	for _, row := range []struct {
		name, want string
		context    func(st *story, call string) string // "": absent
		do         func(st *story) (call string)
	}{
		{
			"accepts temporary",
			`{"expiration_timestamp":` + later + `,"is_permanent":false,"response":"accept","response_source":"user_action"}`,
			func(st *story, _ string) string { return st.last },
			func(st *story) string { st.run("template", "answer temporary"); return "" },
		},
		{
			"accepts permanent",
			`{"is_permanent":true,"response":"accept","response_source":"user_action"}`,
			func(st *story, _ string) string { return st.last },
			func(st *story) string { st.run("template", "answer permanent"); return "" },
		},
		{
			"grants in the profile",
			`{"is_permanent":true,"response":"accept","response_source":"user_action"}`,
			nil,
			func(st *story) string { st.run("allow"); return "" },
		},
		{
			"declines",
			`{"response":"reject","response_source":"user_action"}`,
			func(st *story, _ string) string { return st.last },
			func(st *story) string { st.run("template", "answer decline"); return "" },
		},
		{
			"callback permission",
			`{"expiration_timestamp":` + later + `,"is_permanent":false,"response":"accept","response_source":"automatic"}`,
			func(_ *story, call string) string { return call },
			func(st *story) string { st.run("calls"); return st.meta.Books()[0].ID },
		},
		{
			"revoked by Meta",
			`{"response":"reject","response_source":"automatic"}`,
			nil,
			func(st *story) string { st.meta.Permit(nuria, true); st.run("ring 4"); return "" },
		},
		{
			"revokes in the profile",
			`{"response":"reject","response_source":"user_action"}`,
			nil,
			func(st *story) string { st.run("revoke"); return "" },
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			g, clock := strict(t, Options{Rules: Rules{Callback: true}})
			g.meta.Callee(nuria, Callee{User: User{Name: "Nuria", UserID: "ES.7", ParentID: "ES.ENT.8"}})
			st := &story{gateway: g, clock: clock}
			call := row.do(st)
			e := g.wait(KindPermission, "", 1)
			if got := fields(t, e.raw, "interactive", "call_permission_reply"); got != row.want {
				t.Errorf("the reply is %s, want %s", got, row.want)
			}
			want := "null"
			if row.context != nil {
				want = `{"from":"351210000321","id":"` + row.context(st, call) + `"}`
			}
			if got := fields(t, e.raw, "context"); got != want {
				t.Errorf("the context is %s, want %s", got, want)
			}
			if e.field != "messages" || e.raw["type"] != "interactive" || e.raw["from"] != nuria || e.raw["from_user_id"] != "ES.7" ||
				e.raw["from_parent_user_id"] != "ES.ENT.8" || e.raw["timestamp"] != seconds(noon) || !strings.HasPrefix(e.id, "wamid.") {
				t.Errorf("the webhook on field %s is %v", e.field, e.raw)
			}
			if got := fields(t, e.val, "metadata"); got != `{"display_phone_number":"351210000321","phone_number_id":"401122334455667"}` {
				t.Errorf("metadata are %s", got)
			}
			if who := e.val["contacts"].([]any)[0].(map[string]any); who["wa_id"] != nuria || who["user_id"] != "ES.7" {
				t.Errorf("the contact is %v", who)
			}
		})
	}
}

// TestConsent: what users do by themselves with requests.
func TestConsent(t *testing.T) {
	g, _ := strict(t, Options{})
	for _, row := range []struct {
		who     string
		consent Consent
		kinds   []Kind
		state   PermissionState
	}{
		{"1", Consent{}, []Kind{KindSent, KindDelivered}, NotPermitted},
		{"2", Consent{Answer: GrantTemporary, After: 30 * time.Millisecond}, []Kind{KindSent, KindDelivered, KindPermission}, Temporary},
		{"3", Consent{Answer: GrantPermanent}, []Kind{KindSent, KindDelivered, KindPermission}, Permanent},
		{"4", Consent{Answer: Decline}, []Kind{KindSent, KindDelivered, KindPermission}, Declined},
		{"5", Consent{Answer: GrantPermanent, Offline: true}, []Kind{KindSent}, NotPermitted},
		{"6", Consent{Answer: GrantPermanent, OldApp: true}, []Kind{KindFailed}, NotPermitted},
		{"ES.77", Consent{Answer: GrantTemporary}, []Kind{KindSent, KindDelivered, KindPermission}, Temporary},
	} {
		g.meta.Consent("+"+row.who, row.consent)
		to := `"to":"` + row.who + `",`
		if !isNumber(row.who) {
			to = `"recipient":"` + row.who + `",`
		}
		begin := time.Now()
		r := g.message(to + templateAsk)
		g.must(r)
		for _, k := range row.kinds {
			id := r.id
			if k == KindPermission {
				id = ""
			}
			g.until(row.who+" has "+string(k), func() bool {
				return slices.ContainsFunc(g.eventsOf(row.who), func(e event) bool { return e.kind == k && (id == "" || e.id == id) })
			})
		}
		if took := time.Since(begin); took < row.consent.After {
			t.Errorf("%s answered after %v", row.who, took)
		}
		if s := g.meta.Permission(row.who).State; s != row.state {
			t.Errorf("%s: %v, want %v", row.who, s, row.state)
		}
		var kinds []Kind
		for _, e := range g.eventsOf(row.who) {
			kinds = append(kinds, e.kind)
		}
		if !slices.Equal(kinds, row.kinds) {
			t.Errorf("%s: webhooks %v, want %v", row.who, kinds, row.kinds)
		}
	}
	g.meta.Consent("", Consent{Answer: GrantPermanent})
	g.must(g.askByTemplate("99"))
	g.until("everybody grants", func() bool { return g.meta.Permission("99").State == Permanent })
	if err := g.meta.Answer("5", GrantTemporary); err == nil {
		t.Error("a request that was never delivered was answered")
	}
	if r := g.askByTemplate("6"); r.code != 138009 {
		t.Errorf("a request that failed does not count: %s", r.raw)
	}
	g.onlyOverLimit()
}

// TestTooLate: a user who thinks too long finds the request expired.
func TestTooLate(t *testing.T) {
	g, clock := strict(t, Options{})
	g.meta.Consent(nuria, Consent{Answer: GrantPermanent, After: 700 * time.Millisecond})
	g.must(g.askByTemplate(nuria))
	clock.Advance(168 * time.Hour)
	g.must(g.askByTemplate(nuria)) // its answer tells that the first would have come
	g.wait(KindPermission, "", 1)
	if a := g.meta.Permission(nuria).Asks; !a[0].Answered.IsZero() || a[1].Answered.IsZero() || len(g.eventsOf(nuria)) != 5 {
		t.Errorf("the requests are %+v", a)
	}
}

// onlyOverLimit wants no violation but that one.
func (g *gateway) onlyOverLimit() {
	g.t.Helper()
	for _, v := range g.meta.Violations() {
		if !strings.Contains(v.Detail, "requests in 24 hours") {
			g.t.Errorf("violation: %s: %s", v.Rule, v.Detail)
		}
	}
}

// eventsOf lists the webhooks that concern a user.
func (g *gateway) eventsOf(who string) []event {
	g.mu.Lock()
	defer g.mu.Unlock()
	var found []event
	for _, e := range g.events {
		for _, key := range []string{"from", "from_user_id", "recipient_id", "recipient_user_id"} {
			if e.raw[key] == who {
				found = append(found, e)
				break
			}
		}
	}
	return found
}

// TestMessageStatus: what the statuses of a message say.
func TestMessageStatus(t *testing.T) {
	g, _ := strict(t, Options{Rules: Rules{LateWindow: true}})
	g.meta.Callee("ES.9", Callee{User: User{Number: "34600111999", Private: true}})
	r := g.message(`"to":"34600111999","biz_opaque_callback_data":"ask=1",` + templateAsk)
	if !strings.HasPrefix(r.raw, `{"messaging_product":"whatsapp","contacts":[{"input":"34600111999","wa_id":"34600111999","user_id":"ES.9"}],"messages":[{"id":"wamid.`) {
		t.Errorf("the reply is %s", r.raw)
	}
	e := g.wait(KindDelivered, r.id, 1)
	if e.field != "messages" || e.raw["type"] != nil || e.raw["recipient_id"] != "34600111999" || e.raw["recipient_user_id"] != "ES.9" ||
		e.raw["biz_opaque_callback_data"] != "ask=1" || e.raw["timestamp"] != seconds(noon) || e.val["contacts"] == nil {
		t.Errorf("delivered: %v of %v", e.raw, e.val)
	}
	r = g.message(`"recipient":"ES.9",` + freeAsk)
	if r.code != 138009 {
		t.Errorf("the same user by id: %s", r.raw)
	}

	r = g.message(`"recipient":"ES.12",` + templateAsk)
	if !strings.Contains(r.raw, `[{"input":"ES.12","user_id":"ES.12"}]`) {
		t.Errorf("the reply is %s", r.raw)
	}

	// Outside the window, of the kind that fails afterwards.
	r = g.ask("7")
	g.must(r)
	e = g.wait(KindFailed, r.id, 1)
	if e.val["contacts"] != nil || e.raw["recipient_user_id"] != nil || e.raw["recipient_id"] != "7" ||
		!strings.Contains(fields(t, e.raw, "errors"), `"code":131047`) {
		t.Errorf("failed: %v of %v", e.raw, e.val)
	}
	if a := g.meta.Permission("7").Asks; len(a) != 1 || a[0].Failed != 131047 || !a[0].Delivered.IsZero() || a[0].Text != "May we call you?" {
		t.Errorf("the requests are %+v", a)
	}
}

// TestWrite: a user's message is told, and opens the window.
func TestWrite(t *testing.T) {
	g, _ := strict(t, Options{})
	id := g.meta.Write("+34600111222", "Grüezi")
	e := g.wait(KindText, id, 1)
	if e.field != "messages" || fields(t, e.raw, "text") != `{"body":"Grüezi"}` || e.raw["from"] != nuria {
		t.Errorf("the message is %v", e.raw)
	}
	r := g.ask("+34600111222")
	g.must(r)
	if m, err := g.meta.WaitMessage(g.ctx(), "ES.20"+nuria); err != nil || m.MessageID != r.id {
		t.Errorf("the message is %+v, %v", m, err)
	}
}

// TestMessageRequests has a row for every rule about the body.
func TestMessageRequests(t *testing.T) {
	g, _ := strict(t, Options{Rules: Rules{Known: []Template{
		{Name: "ask", Language: "en"},
		{Name: "ask_about", Language: "pt_BR", Params: 1},
		{Name: "hello", Language: "en", Plain: true},
	}}})
	free := func(rest string) string {
		return `"to":"1","type":"interactive","interactive":{"type":"call_permission_request",` + rest + `}`
	}
	template := func(rest string) string { return `"to":"1","type":"template","template":{` + rest + `}` }
	const action = `"action":{"name":"call_permission_request"}`
	long := strings.Repeat("é", 1025)
	g.meta.Write("1", "hi")
	for _, row := range []struct {
		name, fields string
		code         int
		want         string
	}{
		{"nobody", freeAsk, 100, "to or recipient"},
		{"not a number", `"to":"nuria",` + freeAsk, 100, "not a phone number"},
		{"group", `"to":"1","recipient_type":"group",` + strings.TrimPrefix(freeAsk, `"recipient_type":"individual",`), 100, "individual"},
		{"text", `"to":"1","type":"text","text":{"body":"hi"}`, 100, "type must be"},
		{"no type", `"to":"1"`, 100, "type must be"},
		{"nothing interactive", `"to":"1","type":"interactive"`, 100, "interactive is missing"},
		{"button", `"to":"1","type":"interactive","interactive":{"type":"button"}`, 100, "interactive.type"},
		{"header", free(action + `,"header":{"type":"text","text":"x"}`), 100, "header is not allowed"},
		{"footer", free(action + `,"footer":{"text":"x"}`), 100, "footer is not allowed"},
		{"no action", free(`"body":{"text":"x"}`), 100, "action.name"},
		{"another action", free(`"action":{"name":"call"}`), 100, "action.name"},
		{"empty body", free(action + `,"body":{"text":" "}`), 100, "body.text is missing"},
		{"long body", free(action + `,"body":{"text":"` + long + `"}`), 100, "longer than 1024"},
		{"long tag", `"biz_opaque_callback_data":"` + long + `",` + free(action), 100, "512"},
		{"wrong type", `"to":"1","type":"interactive","interactive":{"type":7}`, 100, "interactive.type must be a string"},
		{"no template", `"to":"1","type":"template"`, 100, "template.name"},
		{"no language", template(`"name":"ask"`), 100, "language.code"},
		{"unknown template", template(`"name":"asking","language":{"code":"en"}`), 132001, "does not exist"},
		{"unknown language", template(`"name":"ask","language":{"code":"es"}`), 132001, "does not exist"},
		{"parameter missing", template(`"name":"ask_about","language":{"code":"pt_BR"}`), 132000, "does not match"},
		{"parameter too many", template(`"name":"ask","language":{"code":"en"},"components":[{"type":"body","parameters":[{"type":"text","text":"x"}]}]`), 132000, "does not match"},
		{"empty parameter", template(`"name":"ask_about","language":{"code":"pt_BR"},"components":[{"type":"body","parameters":[{"type":"text","text":""}]}]`), 100, "not empty"},
		{"the request's component", template(`"name":"ask","language":{"code":"en"},"components":[{"type":"call_permission_request"}]`), 100, "nothing is sent"},
		{"a button", template(`"name":"ask","language":{"code":"en"},"components":[{"type":"button"}]`), 100, "cannot be combined"},

		{"plain template", template(`"name":"hello","language":{"code":"en"}`), 0, "wamid."},
		{"template", strings.Replace(template(`"name":"ask","language":{"code":"en"}`), `"to":"1"`, `"to":"2"`, 1), 0, "wamid."},
		{"template with a parameter", strings.Replace(template(`"name":"ask_about","language":{"code":"pt_BR"},"components":[{"type":"body","parameters":[{"type":"text","text":"7781"}]}]`), `"to":"1"`, `"to":"3"`, 1), 0, "wamid."},
		{"free-form without a body", free(action), 0, "wamid."},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := g.message(row.fields)
			if r.code != row.code || !strings.Contains(r.raw, row.want) {
				t.Errorf("said %d %s, want %d %q", r.status, r.raw, row.code, row.want)
			}
		})
	}
	if a := g.meta.Permission("1").Asks; len(a) != 1 {
		t.Errorf("%d requests were taken", len(a))
	}
	r := g.raw(http.MethodPost, "/v26.0/401122334455667/messages", "Bearer wrong", "application/json", []byte("{}"))
	if r.status != http.StatusUnauthorized {
		t.Errorf("a wrong token got %d", r.status)
	}
	if q := g.meta.Requests(); q[len(q)-1].Action != "messages" || q[len(q)-2].MessageID == "" || q[len(q)-2].To != "1" {
		t.Errorf("the books show %+v", q[len(q)-2:])
	}
}

// TestMessageFaults: a request is taken although its reply is lost.
func TestMessageFaults(t *testing.T) {
	g, _ := strict(t, Options{})
	g.meta.Consent(nuria, Consent{Answer: GrantPermanent})
	g.meta.Fail(Fault{Kind: LoseReply, Action: "messages", Times: 1})
	if r := g.askByTemplate(nuria); r.err == nil {
		t.Errorf("got %s", r.raw)
	}
	g.wait(KindPermission, "", 1)
	g.meta.Fail(Fault{Kind: Drip, Times: 1})
	r := g.raw(http.MethodGet, "/v26.0/401122334455667/call_permissions?user_wa_id="+nuria, "Bearer access-token", "", nil)
	if r.status != http.StatusOK || !json.Valid([]byte(r.raw)) || !strings.Contains(r.raw, "permanent") {
		t.Errorf("dripped %s", r.raw)
	}
}
