package test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// answer is what a PBX is told of a call that it places, on the wire:
// reliability.md, section "Result codes", WhatsApp to PBX.
type answer struct {
	status      int
	q850        int    // 0: no Reason
	text        string // of the Reason; "": the cause's word
	cause       string
	meta        int           // Meta's code; 0: none
	least, most time.Duration // of Retry-After; 0: it must not be there
	turnedAway  bool          // before there was a call
}

// dialRow is a call that is refused.
type dialRow struct {
	name     string
	to       string // default: a customer of its own
	from     string // the extension; default 201
	number   string // X-WA-Number
	codecs   []string
	stranger bool // has allowed nothing
	fault    fakemeta.Fault
	callee   fakemeta.Callee
	does     func(ctx context.Context, t *testing.T, r *rig.Rig, call *faketrunk.Call, to string)
	want     answer
}

// The rows of Meta's codes: what refuses connect.
func metaRows() []dialRow {
	apiError := func(code int) answer { return answer{status: 500, q850: 41, cause: "api_error", meta: code} }
	limited := func(code int) answer {
		return answer{status: 480, q850: 42, cause: "limited", meta: code, least: 5 * time.Second, most: time.Minute}
	}
	down := func(code int) answer { return answer{status: 502, q850: 38, cause: "api_down", meta: code} }
	rows := map[fakemeta.Fault]answer{
		{Status: 401, Code: 138006}: {status: 403, q850: 21, cause: "no_permission", meta: 138006},
		{Status: 400, Code: 138001}: {status: 404, q850: 1, cause: "not_found", meta: 138001},
		{Status: 400, Code: 138003}: {status: 486, q850: 17, cause: "busy", meta: 138003},
		{Status: 400, Code: 138012, Details: "next call at " + strconv.FormatInt(time.Now().Add(10*time.Minute).Unix(), 10)}: {
			status: 480, q850: 31, cause: "limited", meta: 138012, least: 5 * time.Minute, most: 10 * time.Minute,
		},
		{Status: 500, Code: 138007}: {status: 504, q850: 102, cause: "api_timeout", meta: 138007},
		{Status: 400, Code: 100, Details: "to is not a phone number"}: {
			status: 484, q850: 28, cause: "bad_number", meta: 100,
		},
		{Status: 418, Code: 999_999}: apiError(999_999), // an unknown 4xx
		{Status: 500, Code: 999_998}: down(999_998),     // an unknown 5xx
		{Status: 429, Code: 999_997}: limited(999_997),  // a throttle that nobody knows
		{Status: 401, Code: -1}:      apiError(0),
	}
	for code, status := range map[int]int{138002: 429, 138005: 429, 4: 400, 80007: 429, 130429: 429} {
		rows[fakemeta.Fault{Status: status, Code: code}] = limited(code)
	}
	for code, status := range map[int]int{1: 500, 2: 503, 131000: 500, 131016: 500, 138004: 500} {
		rows[fakemeta.Fault{Status: status, Code: code}] = down(code)
	}
	for code, status := range map[int]int{
		190: 401, 10: 403, 200: 403, 250: 500, 299: 403, 138000: 401, 138008: 400, 138013: 400, 138014: 400, 138015: 400,
		138018: 400, 131044: 400, 131055: 400, 100: 400,
	} {
		rows[fakemeta.Fault{Status: status, Code: code}] = apiError(code)
	}
	var all []dialRow
	for f, want := range rows {
		f.Kind, f.Action = fakemeta.Fail, "connect"
		all = append(all, dialRow{name: fmt.Sprintf("connect refused with %d, HTTP %d, %.4s", f.Code, f.Status, f.Details), fault: f, want: want})
	}
	throttled := limited(4)
	throttled.least = 30 * time.Second
	return append(all, dialRow{
		name:  "throttled, and Meta says how long",
		fault: fakemeta.Fault{Kind: fakemeta.Fail, Action: "connect", Status: 429, Code: 4, After: 30 * time.Second}, want: throttled,
	}, dialRow{
		name: "connect is not answered", fault: fakemeta.Fault{Kind: fakemeta.Hang, Action: "connect"},
		want: answer{status: 504, q850: 102, cause: "api_timeout"},
	}, dialRow{
		name: "connection is reset", fault: fakemeta.Fault{Kind: fakemeta.Reset, Action: "connect"},
		want: answer{status: 504, q850: 102, cause: "api_timeout"}, // it may have arrived
	})
}

// failedRows are calls that Meta took and that fail before the customer takes
// them, while the phone rings or before.
func failedRows() (all []dialRow) {
	for code := 138019; code <= 138023; code++ {
		want := answer{status: 480, q850: 47, cause: "media_failed", meta: code}
		all = append(all, dialRow{name: fmt.Sprintf("set-up fails with %d", code), callee: fakemeta.Callee{Fail: code}, want: want})
	}
	for code, want := range map[int]answer{
		138020: {status: 480, q850: 47, cause: "media_failed"},
		138007: {status: 480, q850: 102, cause: "api_timeout"},
		138006: {status: 480, q850: 21, cause: "no_permission"},
		2:      {status: 480, q850: 38, cause: "api_down"},
		190:    {status: 480, q850: 41, cause: "api_error"},
		138001: {status: 480, q850: 1, cause: "not_found"},
	} {
		want.meta = code
		all = append(all, dialRow{
			name: fmt.Sprintf("fails with %d while it rings", code), callee: fakemeta.Callee{Never: true}, want: want,
			does: breaks(code),
		})
	}
	return append(all, dialRow{
		name: "no answer, says Meta", callee: fakemeta.Callee{Never: true}, does: breaks(0),
		want: answer{status: 480, q850: 19, cause: "no_answer"},
	})
}

// breaks lets Meta end a call that rings, with that code.
func breaks(code int) func(context.Context, *testing.T, *rig.Rig, *faketrunk.Call, string) {
	return func(ctx context.Context, t *testing.T, r *rig.Rig, call *faketrunk.Call, to string) {
		t.Helper()
		must(t, call.Wait(ctx, faketrunk.Rung))
		c, err := r.Meta.WaitCallee(ctx, to)
		must(t, err)
		c.Break(code)
	}
}

// ruleRows are refused, or given up, without a word of Meta's.
func ruleRows() []dialRow {
	never := fakemeta.Callee{Never: true}
	policy := func(text string) answer {
		return answer{status: 403, q850: 21, cause: "not_allowed", text: text, turnedAway: true}
	}
	badNumber := answer{status: 484, q850: 28, cause: "bad_number", text: "not a telephone number or user id", turnedAway: true}
	return []dialRow{
		{name: "no permission", stranger: true, want: answer{status: 403, q850: 21, cause: "no_permission", text: "the customer has not allowed calls"}},
		{name: "country", to: "+33612345678", want: policy("no route may call this country")},
		{name: "hours", from: "203", want: policy("outside the hours of the route")},
		{name: "a route that refuses", from: "204", want: policy("the route refuses calls")},
		{name: "another business number", number: "sales", want: policy("the route does not allow this business number")},
		{name: "too short", to: "+34", want: badNumber},
		{name: "letters", to: "+3abc", want: badNumber},
		{name: "unknown prefix", to: "+447911123456", want: answer{
			status: 404, q850: 3, cause: "no_route", text: "no route for what was dialled", turnedAway: true,
		}},
		{name: "no codec", codecs: []string{"G729"}, want: answer{status: 488, q850: 65, cause: "no_codec"}},
		{name: "the customer declines", callee: fakemeta.Callee{Reject: 50 * time.Millisecond}, want: answer{status: 603, q850: 21, cause: "declined"}},
		{name: "no answer, say we", from: "202", callee: never, want: answer{status: 480, q850: 19, cause: "no_answer"}},
		{
			name: "the agent gives up", callee: never, want: answer{status: 487, cause: "cancelled"},
			does: func(ctx context.Context, t *testing.T, _ *rig.Rig, call *faketrunk.Call, _ string) {
				t.Helper()
				must(t, call.Wait(ctx, faketrunk.Rung))
				must(t, call.Hangup(ctx))
			},
		},
	}
}

// routesOfAnswers are for the extensions of the rows.
func routesOfAnswers(t *testing.T) func(*config.Config) {
	t.Helper()
	closed := hours(t, time.Now().UTC().AddDate(0, 0, 3).Weekday().String()[:3]+" 00:00-24:00 UTC")
	return func(c *config.Config) {
		unprobed(c)
		c.Permissions.AutoRequest = false
		out := func(name string, m config.Match, ring time.Duration) config.Route {
			return config.Route{
				Name: name, Direction: "outbound", Match: m, Number: config.Names{"support"}, Countries: []string{"ES"}, RingTimeout: ring,
			}
		}
		barred := out("barred", config.Match{Caller: "204"}, patience)
		barred.Reject = true
		c.Routes = []config.Route{
			out("plain", config.Match{Caller: "201", To: "+3*"}, patience),
			out("short", config.Match{Caller: "202"}, 500*time.Millisecond),
			out("closed", config.Match{Caller: "203", Hours: closed}, patience),
			barred,
		}
	}
}

// TestAnswersToThePBX walks through the table, the calls beside each other.
func TestAnswersToThePBX(t *testing.T) {
	t.Parallel()
	log := newLines()
	refused := metaRows()
	r, ctx := rigged(t, numbered(len(refused), rig.Options{
		Config: routesOfAnswers(t), Log: log.logger(),
		Meta: fakemeta.Options{StrictPermissions: true},
	}))
	rows := append(append(refused, failedRows()...), ruleRows()...)
	calls := make([]*faketrunk.Call, len(rows))
	var permitted []string
	for i := range rows {
		row := &rows[i]
		if row.to == "" {
			row.to = fmt.Sprintf("+34600%06d", i)
		}
		who := strings.TrimPrefix(row.to, "+")
		line, id := "support", ""
		if row.fault.Kind != fakemeta.NoFault { // which is held against the number
			line, id, row.number = numberName(i), numberID(i), numberName(i)
		}
		if !row.stranger && !row.want.turnedAway {
			r.Meta.GrantTo(id, who)
			permitted = append(permitted, line+"/+"+who)
		}
		r.Meta.Callee(who, row.callee)
		if row.fault.Kind != fakemeta.NoFault {
			row.fault.To = who
			r.Meta.Fail(row.fault)
		}
	}
	must(t, r.Meta.WaitQuiet(ctx))
	for _, who := range permitted { // asked only now, the ledger need not ask Meta for each
		mayCall(ctx, t, r, who)
	}
	const setUpAtOnce = 8 // more is a test of the machine's disk
	setUp := 0
	for i, row := range rows {
		if i-setUp == setUpAtOnce {
			eventually(ctx, t, "the calls before", func() bool {
				return rows[setUp].fault.Kind == fakemeta.Hang || calls[setUp].Is(faketrunk.Rung) || calls[setUp].Is(faketrunk.Refused)
			})
			setUp++
		}
		calls[i] = row.dial(ctx, t, r)
	}
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if row.does != nil {
				row.does(ctx, t, r, calls[i], strings.TrimPrefix(row.to, "+"))
			}
			row.want.judge(ctx, t, calls[i])
		})
	}
	must(t, r.Meta.WaitQuiet(ctx))
	must(t, r.PBX.Settled(ctx))
	eventually(ctx, t, "the last record", func() bool { return metric(t, r, "wagate_calls") == 0 })
	wantAtRest(t, r)
	for _, f := range r.PBX.Faults() {
		t.Errorf("the PBX would complain: %s", f)
	}
	if !log.has("refuses every call of the number", "138014") {
		t.Error("nobody is called where Meta has paused the number")
	}
}

func (row dialRow) dial(ctx context.Context, t *testing.T, r *rig.Rig) *faketrunk.Call {
	t.Helper()
	o := faketrunk.Outgoing{To: "sip:" + row.to + "@" + r.Gateway.SIPAddr("udp"), From: row.from, Script: faketrunk.Script{Codecs: row.codecs}}
	if o.From == "" {
		o.From = "201"
	}
	if row.number != "" {
		o.Headers = []faketrunk.Header{{Name: "X-WA-Number", Value: row.number}}
	}
	call, err := r.PBX.Dial(ctx, o)
	must(t, err)
	return call
}

// mayCall waits until the gateway knows of a customer's grant, who is written as
// number/+customer.
func mayCall(ctx context.Context, t *testing.T, r *rig.Rig, who string) {
	t.Helper()
	eventually(ctx, t, "the grant of "+who, func() bool {
		var state struct {
			MayCall bool `json:"may_call"`
		}
		get(ctx, t, r, "/api/v1/permissions/"+who, &state)
		return state.MayCall
	})
}

// judge compares a refusal, as it stood on the wire.
func (want answer) judge(ctx context.Context, t *testing.T, call *faketrunk.Call) {
	t.Helper()
	must(t, call.Wait(ctx, faketrunk.Refused))
	var got *faketrunk.Message
	for _, m := range call.Messages() {
		if _, method := m.CSeq(); m.In && m.Status >= 300 && method == "INVITE" {
			got = m
		}
	}
	if got.Status != want.status {
		t.Errorf("status %d, want %d", got.Status, want.status)
	}
	want.judgeReason(t, got)
	if id := got.Get("X-WA-Call"); (id == "") != want.turnedAway {
		t.Errorf("X-WA-Call is %q", id)
	}
	after := got.Get("Retry-After")
	n, err := strconv.Atoi(after)
	if wait := time.Duration(n) * time.Second; want.most == 0 && after != "" || want.most > 0 && (err != nil || wait < want.least || wait > want.most) {
		t.Errorf("Retry-After is %q, want %v to %v", after, want.least, want.most)
	}
	if warning := got.Get("Warning"); (warning != "") != (want.status == 488) {
		t.Errorf("Warning is %q", warning)
	}
}

// judgeReason compares Reason and X-WA-Error of a refusal or a BYE.
func (want answer) judgeReason(t *testing.T, got *faketrunk.Message) {
	t.Helper()
	text, reason, word := want.text, "", want.cause
	if text == "" {
		text = want.cause
	}
	if want.q850 != 0 {
		reason = fmt.Sprintf("Q.850;cause=%d;text=%q", want.q850, text)
	}
	if want.meta != 0 {
		word += fmt.Sprintf(";meta=%d", want.meta)
	}
	if got.Get("Reason") != reason || got.Get("X-WA-Error") != word {
		t.Errorf("Reason is %q, X-WA-Error %q; want %q, %q", got.Get("Reason"), got.Get("X-WA-Error"), reason, word)
	}
}
