package test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"wagate/config"
	"wagate/store"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// result is what a PBX says to a customer's call, and what must become of it.
type result struct {
	name    string
	script  func(plain bool) faketrunk.Script // plain: the INVITE offers G.711 and nothing else
	next    bool                              // the overflow is tried
	cause   string                            // where there is none
	by      string                            // default pbx
	status  int
	q850    int
	invites int // default 1
	alarm   bool
}

// results is the part of the table that an INVITE's final response decides:
// reliability.md, section "Result codes", PBX to WhatsApp.
func results(elsewhere string) []result {
	rows := []result{
		{name: "486", next: true, cause: "busy", status: 486, q850: 17},
		{name: "600", next: true, cause: "busy", status: 600, q850: 17},
		{name: "480", next: true, cause: "no_answer", status: 480, q850: 19},
		{name: "408", next: true, cause: "no_answer", status: 408, q850: 18},
		{name: "404", cause: "not_found", status: 404, q850: 1, alarm: true},
		{name: "410", cause: "not_found", status: 410, q850: 22, alarm: true},
		{name: "484", cause: "not_found", status: 484, q850: 28, alarm: true},
		{name: "604", cause: "not_found", status: 604, q850: 1, alarm: true},
		{name: "403", cause: "declined", status: 403, q850: 21},
		{name: "603", cause: "declined", status: 603, q850: 21},
		{name: "607", cause: "declined", status: 607, q850: 21},
		{name: "608", cause: "declined", status: 608, q850: 21},
		{name: "401", cause: "trunk_auth", status: 401, q850: 21, alarm: true},
		{name: "407", cause: "trunk_auth", status: 407, q850: 21, alarm: true},
		{name: "488", next: true, cause: "no_codec", status: 488, q850: 65, invites: 2, alarm: true},
		{name: "606", next: true, cause: "no_codec", status: 606, q850: 65, invites: 2, alarm: true},
		{name: "415", next: true, cause: "no_codec", status: 415, q850: 79, invites: 2, alarm: true},
		{name: "420", next: true, cause: "no_codec", status: 420, q850: 127, invites: 2, alarm: true},
		{name: "500", next: true, cause: "unreachable", status: 500, q850: 41},
		{name: "502", next: true, cause: "unreachable", status: 502, q850: 38},
		{name: "503", next: true, cause: "unreachable", status: 503, q850: 41},
		{name: "504", next: true, cause: "unreachable", status: 504, q850: 102},
	}
	for i := range rows {
		status := rows[i].status
		rows[i].script = func(bool) faketrunk.Script { return faketrunk.Refuse(status) }
	}
	say := func(s faketrunk.Script) func(bool) faketrunk.Script { return func(bool) faketrunk.Script { return s } }
	return append(
		rows,
		result{name: "302", script: say(faketrunk.Redirect(elsewhere)), next: true, cause: "no_answer", status: 302, q850: 19},
		result{name: "no-final", script: say(faketrunk.NoAnswer()), next: true, cause: "no_answer", by: "gateway", q850: 19},
		result{name: "silent", script: say(faketrunk.Dead()), next: true, cause: "unreachable", q850: 102},
		result{name: "reason", next: true, cause: "busy", status: 480, q850: 17, script: say(
			faketrunk.Refuse(480, faketrunk.Header{Name: "Reason", Value: `Q.850;cause=17;text="User busy"`}),
		)},
	)
}

// alone and hunting are the names of a row's two calls: without and with an
// overflow. The payload carries them to the phone.
func (row result) alone() string   { return "alone-" + row.name }
func (row result) hunting() string { return "hunt-" + row.name }

func routesOfResults(c *config.Config) {
	unprobed(c)
	c.Routes = []config.Route{
		{Name: "alone", Match: config.Match{Payload: "alone-*"}},
		{Name: "hunt", Match: config.Match{Payload: "hunt-*"}, Overflow: []config.Hop{{Trunk: "pbx", To: "699"}}},
	}
	for i := range c.Routes {
		r := &c.Routes[i]
		r.Direction, r.Trunk, r.To, r.RingTimeout = "inbound", "pbx", "600", 4*time.Second
	}
}

// TestResultsOfThePBX walks through the table, every row with and without an
// overflow, all calls at once.
func TestResultsOfThePBX(t *testing.T) {
	t.Parallel()
	foreign, err := net.ListenPacket("udp", "127.0.0.9:0") //nolint:noctx // a test's socket
	must(t, err)
	defer func() { _ = foreign.Close() }()
	log := newLines()
	r, ctx := rigged(t, rig.Options{Config: routesOfResults, Log: log.logger()})
	rows := results("sip:600@" + foreign.LocalAddr().String())
	scripts := map[string]func(bool) faketrunk.Script{}
	for _, row := range rows {
		scripts[row.alone()], scripts[row.hunting()] = row.script, row.script
	}
	r.PBX.Handle(func(m *faketrunk.Message) faketrunk.Script {
		if strings.HasPrefix(m.URI, "sip:699@") {
			return faketrunk.Answer(100 * time.Millisecond)
		}
		return scripts[m.Get("X-WA-Payload")](!strings.Contains(string(m.Body), "telephone-event"))
	})
	customers := map[string]*fakemeta.Customer{}
	for _, row := range rows {
		for _, name := range []string{row.alone(), row.hunting()} {
			customers[name] = placed(ctx, t, r, fakemeta.CallOptions{Payload: name})
		}
	}
	for _, row := range rows {
		if !row.next {
			continue
		}
		c := customers[row.hunting()]
		if err := c.Wait(ctx, fakemeta.Connected); err != nil {
			t.Errorf("%s: the overflow did not take the call: %v", row.name, err)
		}
		c.HangUp()
	}
	rs := settled(ctx, t, r)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			row.judgeAlone(t, r, customers[row.alone()], rs)
			row.judgeHunting(t, r, customers[row.hunting()], rs)
			if id := recordOf(t, rs, customers[row.alone()]).ID; log.has("trunk refuses for a fault of the set-up", id) != row.alarm {
				t.Errorf("somebody is called to mend the set-up: %v, want %v", !row.alarm, row.alarm)
			}
		})
	}
	must(t, foreign.SetReadDeadline(time.Now()))
	if n, _, err := foreign.ReadFrom(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes went where only a redirection led", n)
	}
}

func (row result) judgeAlone(t *testing.T, r *rig.Rig, c *fakemeta.Customer, rs []store.Record) {
	t.Helper()
	rec, by := recordOf(t, rs, c), row.by
	if by == "" {
		by = "pbx"
	}
	wantRecord(t, rec, row.cause, by)
	if rec.SIPStatus != row.status || rec.Q850 != row.q850 {
		t.Errorf("the record says status %d, Q.850 %d, want %d, %d", rec.SIPStatus, rec.Q850, row.status, row.q850)
	}
	wantVerbs(t, r, c, "pre_accept", "terminate")
	if end := c.End(); end.By != fakemeta.ByBusiness || end.Talked != 0 {
		t.Errorf("at Meta the call ended as %+v", end)
	}
	row.wantDialled(t, r, row.alone(), "600")
}

func (row result) judgeHunting(t *testing.T, r *rig.Rig, c *fakemeta.Customer, rs []store.Record) {
	t.Helper()
	rec := recordOf(t, rs, c)
	if !row.next {
		if rec.Cause != row.cause || rec.To != "600" {
			t.Errorf("with an overflow it ended as %s at %s, want %s at 600", rec.Cause, rec.To, row.cause)
		}
		row.wantDialled(t, r, row.hunting(), "600")
		return
	}
	wantRecord(t, rec, "hangup", "customer")
	if rec.To != "699" || rec.SIPStatus != 200 || rec.Q850 != 16 {
		t.Errorf("the overflow's record says to %s, status %d, Q.850 %d", rec.To, rec.SIPStatus, rec.Q850)
	}
	wantVerbs(t, r, c, "pre_accept", "accept")
	row.wantDialled(t, r, row.hunting(), "600", "699")
}

// wantDialled asserts which phones were dialled for a call, in order. The first
// one is asked as often as the row says.
func (row result) wantDialled(t *testing.T, r *rig.Rig, payload string, want ...string) {
	t.Helper()
	for range row.invites - 1 {
		want = append([]string{want[0]}, want...)
	}
	var got []string
	for _, c := range phonesOf(r.PBX, payload) {
		got = append(got, dialled(c))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: dialled %v, want %v", payload, got, want)
	}
}

// phonesOf lists the calls at a PBX that came with a payload.
func phonesOf(pbx *faketrunk.Trunk, payload string) []*faketrunk.Call {
	return slices.DeleteFunc(pbx.Calls(), func(c *faketrunk.Call) bool { return c.Invite().Get("X-WA-Payload") != payload })
}

// phoneOf waits for the first call with a payload.
func phoneOf(ctx context.Context, t *testing.T, pbx *faketrunk.Trunk, payload string) *faketrunk.Call {
	t.Helper()
	_, err := pbx.WaitFor(ctx, func(m *faketrunk.Message) bool {
		return m.In && m.Method == "INVITE" && m.Get("X-WA-Payload") == payload
	})
	must(t, err)
	phones := phonesOf(pbx, payload)
	if len(phones) == 0 {
		t.Fatalf("no call with payload %s", payload)
	}
	return phones[0]
}

// dialled is the number that an INVITE is for.
func dialled(c *faketrunk.Call) string {
	var to string
	_, rest, _ := strings.Cut(c.Invite().URI, ":")
	_, _ = fmt.Sscanf(strings.Replace(rest, "@", " ", 1), "%s", &to)
	return to
}
