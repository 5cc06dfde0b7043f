package whatsapp

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// told is an answer of Meta's at one moment.
func told(at time.Time, status Consent, expires time.Time) PermissionState {
	return PermissionState{From: at.Add(-clockSlack), To: at.Add(clockSlack), Status: status, Expires: expires}
}

// Where Meta and the ledger disagree, Meta is right.
func TestLearned(t *testing.T) {
	yes := Permission{}.Replied(accept(noon))
	for name, c := range map[string]struct {
		before  Permission
		state   PermissionState
		want    Consent
		granted time.Time
		call    Reason
	}{
		"nothing known, none":             {Permission{}, told(after(hour), NoConsent, time.Time{}), NoConsent, time.Time{}, ReasonNone},
		"nothing known, temporary":        {Permission{}, told(after(hour), Temporary, after(week)), Temporary, noon, ""},
		"nothing known, old temporary":    {Permission{}, told(after(hour), Temporary, after(hour*30)), Temporary, after(30*hour - week), ReasonWindow},
		"nothing known, permanent":        {Permission{}, told(after(hour), Permanent, time.Time{}), Permanent, after(hour - clockSlack), ""},
		"temporary without its end":       {Permission{}, told(after(hour), Temporary, time.Time{}), Temporary, after(hour - clockSlack), ""},
		"known grant":                     {yes, told(after(hour), Temporary, after(week)), Temporary, noon, ""},
		"known grant, shorter":            {yes, told(after(hour), Temporary, after(day)), Temporary, noon, ""},
		"a newer grant":                   {yes, told(after(50*hour), Temporary, after(week+40*hour)), Temporary, after(40 * hour), ""},
		"taken back":                      {yes, told(after(hour), NoConsent, time.Time{}), Revoked, noon, ReasonRevoked},
		"expired":                         {yes, told(after(8*day), NoConsent, time.Time{}), NoConsent, noon, ReasonExpired},
		"permanent taken back":            {Permission{}.Replied(forever(noon)), told(after(hour), NoConsent, time.Time{}), Revoked, noon, ReasonRevoked},
		"declined stays declined":         {Permission{}.Replied(decline(noon)), told(after(hour), NoConsent, time.Time{}), Declined, time.Time{}, ReasonDeclined},
		"a no that Meta does not know of": {yes.Replied(decline(after(minute))), told(after(hour), Temporary, after(week)), Temporary, noon, ""},
		"a pending request":               {Permission{}.Asked(noon), told(after(hour), NoConsent, time.Time{}), Requested, time.Time{}, ReasonRequested},
		"a request that was granted":      {Permission{}.Asked(noon), told(after(hour), Temporary, after(week+minute)), Temporary, after(minute), ""},
		"older than the last word":        {yes, told(after(-hour), NoConsent, time.Time{}), Temporary, noon, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := c.before.Learned(c.state)
			now := later(after(2*hour), c.state.To)
			if got := p.State(now); got != c.want || !p.GrantedAt.Equal(c.granted) {
				t.Errorf("got %v since %v, want %v since %v", got, p.GrantedAt, c.want, c.granted)
			}
			wantCall(t, p, now, rules(), c.call)
			if !p.ReadAt.Equal(c.state.To) {
				t.Errorf("read at %v", p.ReadAt)
			}
		})
	}
}

// News that are older than Meta's answer change nothing, newer ones do.
func TestNewsAfterLearned(t *testing.T) {
	none := Permission{}.Replied(accept(noon)).Learned(told(after(hour), NoConsent, time.Time{}))
	wantCall(t, none.Replied(accept(noon)), after(2*hour), rules(), ReasonRevoked) // the same grant, delivered again
	wantCall(t, none.Replied(accept(after(minute))), after(2*hour), rules(), ReasonRevoked)
	wantCall(t, none.Replied(accept(after(hour))), after(2*hour), rules(), "") // may be newer
	wantCall(t, none.Replied(accept(after(hour+minute))), after(2*hour), rules(), "")

	yes := Permission{}.Learned(told(after(hour), Temporary, after(week)))
	wantCall(t, yes.Replied(autoRevoked(after(minute))), after(2*hour), rules(), "")
	wantCall(t, yes.Replied(autoRevoked(after(61*minute))), after(2*hour), rules(), ReasonRevoked)
}

// A row of missed calls ends with the permission that they were made under.
func TestStreakAndLearned(t *testing.T) {
	p := Permission{}.Replied(forever(noon)).Unanswered("a", after(minute)).Unanswered("b", after(2*minute)).Unanswered("c", after(3*minute))
	wantCall(t, p.Learned(told(after(hour), Permanent, time.Time{})), after(2*hour), rules(), ReasonUnanswered)
	wantCall(t, p.Learned(told(after(hour), NoConsent, time.Time{})).Replied(forever(after(2*hour))), after(3*hour), rules(), "")
	wantCall(t, p.Replied(autoRevoked(after(hour))).Learned(told(after(2*hour), Permanent, time.Time{})), after(3*hour), rules(), "")
	q := Permission{}.Replied(accept(noon)).Unanswered("a", after(minute)).Unanswered("b", after(2*minute)).Unanswered("c", after(3*minute))
	wantCall(t, q.Learned(told(after(2*day), Temporary, after(week+day))), after(2*day), rules(), "")
}

func TestLearnedLimits(t *testing.T) {
	state := told(after(hour), Permanent, time.Time{})
	state.Call = Allowance{true, true, []Limit{{day, 3, 2, time.Time{}}}}
	p := Permission{}.Learned(state)
	p = p.Connected("a", after(1*minute)).Connected("b", after(2*minute)).Connected("c", after(3*minute))
	wantCall(t, p, after(2*hour), rules(), ReasonCalls)
	if p.MaxCalls() != 3 {
		t.Errorf("%d calls", p.MaxCalls())
	}
	// Meta has counted fewer; what connected just now it may not have counted.
	wantCall(t, p.Learned(state), after(2*hour), rules(), "")
	p = p.Connected("c", after(hour-time.Second))
	state.Call.Limits[0].Used = 0
	if q := p.Learned(state); len(q.Calls) != 1 || !q.Calls[0].At.Equal(after(hour-time.Second)) {
		t.Errorf("left are %v", q.Calls)
	}

	state.Call = Allowance{true, false, []Limit{{day, 100, 100, after(5 * hour)}}}
	p = Permission{}.Learned(state)
	if no := wantCall(t, p, after(2*hour), rules(), ReasonCalls); !no.Again.Equal(after(5 * hour)) {
		t.Errorf("again at %v", no.Again)
	}
	state.Call.Limits[0].Until = time.Time{}
	p = Permission{}.Learned(state)
	if no := wantCall(t, p, after(hour), rules(), ReasonCalls); !no.Again.Equal(after(hour + clockSlack + unsaidHold)) {
		t.Errorf("again at %v", no.Again)
	}
	// Without consent Meta allows no call, and no limit is in the way.
	state.Status, state.Call.Limits[0].Used = NoConsent, 1
	wantCall(t, Permission{}.Learned(state).Replied(accept(after(2*hour))), after(3*hour), rules(), "")

	state.Ask = Allowance{true, false, []Limit{{day, 1, 1, after(6 * hour)}, {week, 2, 2, after(3 * day)}}}
	p = Permission{}.Learned(state)
	if no := wantAsk(t, p, after(2*hour), ReasonHeld); !no.Again.Equal(after(3 * day)) {
		t.Errorf("again at %v", no.Again)
	}
	state.Ask = Allowance{Told: true, Allowed: true, Limits: []Limit{{day, 1, 0, time.Time{}}}}
	wantAsk(t, p.Learned(state), after(2*hour), "")
	// Our own count of requests is not Meta's to lower.
	wantAsk(t, Permission{}.Asked(noon).Learned(state), after(2*hour), ReasonAskedDay)
}

func TestMerge(t *testing.T) {
	yes, no := Permission{}.Replied(accept(noon)), Permission{}.Replied(decline(after(-hour)))
	for name, c := range map[string]struct {
		a, b Permission
		want Consent
	}{
		"yes and nothing":           {yes, Permission{}, Temporary},
		"yes and an older no":       {yes, no, Declined},
		"permanent and temporary":   {Permission{}.Replied(forever(noon)), yes, Temporary},
		"yes and nothing by Meta":   {yes, Permission{}.Learned(told(after(hour), NoConsent, time.Time{})), NoConsent},
		"nothing and a request":     {Permission{}, Permission{}.Asked(noon), Requested},
		"an older and a newer no":   {no, Permission{}.Replied(autoRevoked(noon)), Revoked},
		"two grants":                {yes, Permission{}.Replied(accept(after(hour))), Temporary},
		"a request and a later one": {Permission{}.Asked(noon), Permission{}.Asked(after(minute)), Requested},
	} {
		m, w := c.a.Merge(c.b), c.b.Merge(c.a)
		if m.State(after(2*hour)) != c.want || !reflect.DeepEqual(m, w) {
			t.Errorf("%s: got %v, want %v\n%+v\n%+v", name, m.State(after(2*hour)), c.want, m, w)
		}
		if twice := m.Merge(c.b); !reflect.DeepEqual(twice, m) {
			t.Errorf("%s: merged twice:\n%+v\n%+v", name, m, twice)
		}
	}
	a := Permission{}.Asked(noon).Unanswered("a", noon).Unanswered("b", after(minute)).Connected("c", after(-hour)).Spoke(after(-minute)).
		CallsHeld(noon, after(hour)).AskFailed(after(-hour), noon, after(hour))
	b := Permission{}.Asked(after(minute)).Unanswered("b", after(minute)).Unanswered("d", after(2*minute)).Connected("a", noon.Add(-time.Second))
	b.CallMax = 3
	m := a.Merge(b)
	if m.Streak() != 2 || len(m.Asks) != 2 || len(m.Calls) != 2 || m.CallMax != 3 || !m.CallHold.on(noon) || !m.AskHold.on(noon) {
		t.Errorf("merged to %+v", m)
	}
	if !reflect.DeepEqual(m, b.Merge(a)) {
		t.Errorf("%+v\n%+v", m, b.Merge(a))
	}
}

func TestParsePermissionState(t *testing.T) {
	limits := []Limit{{day, 1, 1, time.Unix(1795429400, 0).UTC()}, {week, 2, 1, time.Time{}}}
	full := `{"messaging_product":"whatsapp","permission":{"status":"temporary","expiration_time":1795947800},"actions":[
		{"action_name":"send_call_permission_request","can_perform_action":false,"limits":[
			{"time_period":"PT24H","max_allowed":1,"current_usage":1,"limit_expiration_time":1795429400},
			{"time_period":"P7D","max_allowed":2,"current_usage":1}]},
		{"action_name":"start_call","can_perform_action":true,"limits":[{"time_period":"PT24H","max_allowed":100,"current_usage":3}]},
		{"action_name":"sing","can_perform_action":true},7]}`
	for name, c := range map[string]struct {
		body string
		want PermissionState
	}{
		"as Meta shows it": {full, PermissionState{
			Status: Temporary, Expires: time.Unix(1795947800, 0).UTC(), Ask: Allowance{true, false, limits},
			Call: Allowance{true, true, []Limit{{day, 100, 3, time.Time{}}}},
		}},
		"expiration, as text": {
			strings.NewReplacer(`"expiration_time":1795947800`, `"expiration":"1795947800"`, "100", `"100"`).Replace(full),
			PermissionState{
				Status: Temporary, Expires: time.Unix(1795947800, 0).UTC(), Ask: Allowance{true, false, limits},
				Call: Allowance{true, true, []Limit{{day, 100, 3, time.Time{}}}},
			},
		},
		"none":      {`{"permission":{"status":"no_permission"}}`, PermissionState{}},
		"permanent": {`{"permission":{"status":"PERMANENT"},"actions":"?"}`, PermissionState{Status: Permanent}},
		"nonsense in the limits": {
			`{"permission":{"status":"permanent"},"actions":[{"action_name":"start_call","limits":[{"time_period":"P1Y","max_allowed":-5,"current_usage":1e30},"x"]}]}`,
			PermissionState{Status: Permanent, Call: Allowance{true, false, []Limit{{}}}},
		},
	} {
		got, err := parsePermissionState([]byte(c.body), noon, after(minute))
		c.want.From, c.want.To = noon.Add(-clockSlack), after(minute+clockSlack)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", name, err, got, c.want)
		}
	}
	for _, bad := range []string{``, `[]`, `{}`, `{"permission":{"status":"maybe"}}`, `{"permission":7}`, `<html>`} {
		if s, err := parsePermissionState([]byte(bad), noon, noon); err == nil {
			t.Errorf("%q is %+v", bad, s)
		}
	}
}

// Whatever Meta answers, or says in a webhook, a value stays a value: it is
// readable, bounded, and never allows what the state does not.
func FuzzPermissionState(f *testing.F) {
	f.Add([]byte(`{"permission":{"status":"temporary","expiration_time":1795947800},"actions":[{"action_name":"start_call","limits":[{"time_period":"PT24H","max_allowed":1,"current_usage":1}]}]}`))
	f.Add([]byte(`{"permission":{"status":"no_permission"},"actions":[{"action_name":"send_call_permission_request"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := parsePermissionState(raw, noon, noon)
		if err != nil {
			return
		}
		p := Permission{}.Replied(accept(after(-hour))).Asked(after(-minute)).Connected("a", after(-minute)).Learned(s)
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back Permission
		if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, p) {
			t.Fatalf("%s reads back as %+v, %v", text, back, err)
		}
		if s.Status == NoConsent && p.MayCall(after(minute), rules()) == nil {
			t.Fatalf("may call after %s", raw)
		}
	})
}
