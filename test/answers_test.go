package test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
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
	r, ctx := rigged(t, rig.Options{
		Config: routesOfAnswers(t), Log: log.logger(),
		Meta: fakemeta.Options{StrictPermissions: true},
	})
	rows := append(append(metaRows(), failedRows()...), ruleRows()...)
	calls := make([]*faketrunk.Call, len(rows))
	var permitted []string
	for i := range rows {
		row := &rows[i]
		if row.to == "" {
			row.to = fmt.Sprintf("+34600%06d", i)
		}
		who := strings.TrimPrefix(row.to, "+")
		if !row.stranger && !row.want.turnedAway {
			r.Meta.Grant(who)
			permitted = append(permitted, who)
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

// mayCall waits until the gateway knows of a customer's grant.
func mayCall(ctx context.Context, t *testing.T, r *rig.Rig, who string) {
	t.Helper()
	eventually(ctx, t, "the grant of "+who, func() bool {
		var state struct {
			MayCall bool `json:"may_call"`
		}
		get(ctx, t, r, "/api/v1/permissions/support/+"+who, &state)
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

// TestSecondCallToACustomer: Meta lets us have one, so we do not even ask.
func TestSecondCallToACustomer(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: rig.DialOut})
	r.Meta.Callee("", fakemeta.Callee{Never: true})
	first := dial(ctx, t, r, "+"+dialledCustomer)
	must(t, first.Wait(ctx, faketrunk.Rung))
	answer{status: 486, q850: 17, cause: "busy"}.judge(ctx, t, dial(ctx, t, r, "+"+dialledCustomer))
	must(t, first.Hangup(ctx))
	if n := len(r.Meta.Books()); n != 1 {
		t.Errorf("%d calls at Meta, want one", n)
	}
}

// TestNodeIsFull: what is this node's own state, and only that, is 503, and
// tells when to come again.
func TestNodeIsFull(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		config func(*config.Config)
		does   func(ctx context.Context, t *testing.T, r *rig.Rig)
		want   answer
	}{
		"max_calls": {
			config: func(c *config.Config) { c.Trunks[0].MaxCalls = 1 },
			want:   answer{cause: "overloaded", text: "the trunk is at its limit", most: 5 * time.Second},
		},
		"limits.calls": {
			config: func(c *config.Config) { c.Limits.Calls = 1 },
			want:   answer{cause: "overloaded", most: 5 * time.Second},
		},
		"draining": {
			config: func(c *config.Config) { c.Limits.DrainTimeout = 10 * time.Minute },
			does:   func(_ context.Context, _ *testing.T, r *rig.Rig) { r.Gateway.Drain() },
			want:   answer{cause: "draining", most: 10 * time.Minute},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) { rig.DialOut(c); row.config(c) }})
			r.Meta.Callee("", fakemeta.Callee{Never: true})
			first := dial(ctx, t, r, "+"+dialledCustomer)
			must(t, first.Wait(ctx, faketrunk.Rung))
			if row.does != nil {
				row.does(ctx, t, r)
			}
			row.want.status, row.want.q850, row.want.turnedAway, row.want.least = 503, 42, true, time.Second
			row.want.judge(ctx, t, dial(ctx, t, r, "+34600111333"))
			must(t, first.Hangup(ctx))
		})
	}
}

// TestTooManyCallsInASecond: a burst beyond max_cps is this node's limit.
func TestTooManyCallsInASecond(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) { rig.DialOut(c); c.Trunks[0].MaxCPS = 1 }})
	r.Meta.Callee("", fakemeta.Callee{Never: true})
	var calls []*faketrunk.Call
	for i := range 20 {
		calls = append(calls, dial(ctx, t, r, fmt.Sprintf("+346001112%02d", i)))
	}
	over := 0
	for _, c := range calls {
		if c.Wait(ctx, faketrunk.Rung) == nil {
			must(t, c.Hangup(ctx))
			continue
		}
		over++
		answer{
			status: 503, q850: 42, cause: "overloaded", text: "the trunk is at its limit", turnedAway: true, least: time.Second, most: 5 * time.Second,
		}.judge(ctx, t, c)
	}
	if over == 0 {
		t.Error("none of 20 calls at once was refused")
	}
}

// TestDiskDoesNotAnswer: what cannot be written down is not placed, and the
// PBX may try the sibling.
func TestDiskDoesNotAnswer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r, ctx := rigged(t, rig.Options{Dir: dir, Config: rig.DialOut})
	db, err := sql.Open("sqlite", filepath.Join(dir, "wagate.db")+"?_pragma=busy_timeout(5000)")
	must(t, err)
	defer func() { _ = db.Close() }()
	conn, err := db.Conn(ctx)
	must(t, err)
	_, err = conn.ExecContext(ctx, "BEGIN IMMEDIATE")
	must(t, err)
	call := dial(ctx, t, r, "+"+dialledCustomer)
	must(t, call.Wait(ctx, faketrunk.Refused))
	_, err = conn.ExecContext(ctx, "ROLLBACK")
	must(t, err)
	answer{status: 503, q850: 41, cause: "store_failed", least: 5 * time.Second, most: 5 * time.Second}.judge(ctx, t, call)
	if n := len(r.Meta.Books()); n != 0 {
		t.Errorf("%d calls at Meta, want none", n)
	}
}

// TestGraphIsNotThere: nothing listens where the Graph API should be.
func TestGraphIsNotThere(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
		rig.DialOut(c)
		c.WhatsApp.GraphURL = "http://127.0.0.1:1"
	}})
	r.Meta.Grant(dialledCustomer) // by webhook
	mayCall(ctx, t, r, dialledCustomer)
	answer{status: 502, q850: 38, cause: "api_down"}.judge(ctx, t, dial(ctx, t, r, "+"+dialledCustomer))
}

// TestPickedUpWithoutMedia: the customer takes the call, and nothing gets
// through to the phone: to the PBX it has rung, and that was all.
func TestPickedUpWithoutMedia(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
		rig.DialOut(c)
		c.Media.SetupTimeout = time.Second
	}})
	r.Meta.Callee("", fakemeta.Callee{Dark: true, Answer: 100 * time.Millisecond})
	call := dial(ctx, t, r, "+"+dialledCustomer)
	answer{status: 480, q850: 47, cause: "media_failed"}.judge(ctx, t, call)
	if !call.Is(faketrunk.Rung) {
		t.Error("the agent did not hear that it rings")
	}
	rs := settled(ctx, t, r)
	wantRecord(t, rs[0], "media_failed", "gateway")
}

// TestByesToThePBX: how an answered call ends, and what its BYE says.
func TestByesToThePBX(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		config func(*config.Config)
		does   func(t *testing.T, r *rig.Rig, c *fakemeta.Customer, call *faketrunk.Call)
		mute   bool
		want   answer
	}{
		"the customer hangs up": {
			does: func(_ *testing.T, _ *rig.Rig, c *fakemeta.Customer, _ *faketrunk.Call) { c.HangUp() },
			want: answer{q850: 16, cause: "hangup"},
		},
		"the app loses the media": {
			does: func(_ *testing.T, _ *rig.Rig, c *fakemeta.Customer, _ *faketrunk.Call) { c.Break(138021) },
			want: answer{q850: 41, cause: "media_failed", meta: 138021},
		},
		"the phone is silent": {
			config: func(c *config.Config) { c.Media.Timeout = time.Second }, mute: true,
			want: answer{q850: 41, cause: "media_lost"},
		},
		"max_duration": {
			config: func(c *config.Config) { c.Limits.MaxDuration = time.Second },
			want:   answer{q850: 31, cause: "max_duration"},
		},
		"drain deadline": {
			config: func(c *config.Config) { c.Limits.DrainTimeout = 100 * time.Millisecond },
			does:   func(_ *testing.T, r *rig.Rig, _ *fakemeta.Customer, _ *faketrunk.Call) { r.Gateway.Drain() },
			want:   answer{q850: 31, cause: "draining"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
				rig.DialOut(c)
				if row.config != nil {
					row.config(c)
				}
			}})
			r.Meta.Callee("", fakemeta.Callee{Answer: 50 * time.Millisecond})
			call, err := r.PBX.Dial(ctx, faketrunk.Outgoing{
				To: "sip:+" + dialledCustomer + "@" + r.Gateway.SIPAddr("udp"), From: "201", Script: faketrunk.Script{NoAudio: row.mute},
			})
			must(t, err)
			must(t, call.Wait(ctx, faketrunk.Up))
			customer, err := r.Meta.WaitCallee(ctx, dialledCustomer)
			must(t, err)
			if row.does != nil {
				row.does(t, r, customer, call)
			}
			must(t, call.Wait(ctx, faketrunk.Ended))
			byes := 0
			for _, m := range call.Messages() {
				if m.In && m.Method == "BYE" {
					byes++
					row.want.judgeReason(t, m)
					if m.Get("X-WA-Call") == "" {
						t.Error("no X-WA-Call")
					}
				}
			}
			if byes == 0 {
				t.Error("no BYE came")
			}
		})
	}
}
