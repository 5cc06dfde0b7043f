package test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"wagate/store"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// hangup is a way to end a call, and what the books say then.
type hangup struct {
	name   string
	script faketrunk.Script
	// does ends the call. It gets the phone when the INVITE is there.
	does  func(ctx context.Context, t *testing.T, c *fakemeta.Customer, phone *faketrunk.Call)
	cause string
	by    string
	q850  int
	asked []string // of Meta
	sent  []string // to the phone after the INVITE, without repeats
}

func hangups() []hangup {
	hangsUp := func(s fakemeta.State) func(context.Context, *testing.T, *fakemeta.Customer, *faketrunk.Call) {
		return func(ctx context.Context, t *testing.T, c *fakemeta.Customer, _ *faketrunk.Call) {
			t.Helper()
			must(t, c.Wait(ctx, s))
			c.HangUp()
		}
	}
	whileRinging := func(ctx context.Context, t *testing.T, c *fakemeta.Customer, phone *faketrunk.Call) {
		t.Helper()
		must(t, phone.Wait(ctx, faketrunk.Rung))
		c.HangUp()
	}
	bye := func(headers ...faketrunk.Header) func(context.Context, *testing.T, *fakemeta.Customer, *faketrunk.Call) {
		return func(ctx context.Context, t *testing.T, c *fakemeta.Customer, phone *faketrunk.Call) {
			t.Helper()
			must(t, c.Wait(ctx, fakemeta.Connected))
			must(t, phone.Hangup(ctx, headers...))
		}
	}
	talked, unanswered := []string{"pre_accept", "accept"}, []string{"pre_accept"}
	ended := append(slices.Clone(talked), "terminate")
	crossing := faketrunk.NoAnswer()
	crossing.OnCancel = faketrunk.Cross
	slow := faketrunk.NoAnswer()
	slow.NoTrying, slow.Ring = true, 700*time.Millisecond
	early := faketrunk.Answer(500 * time.Millisecond)
	early.Early = true
	forked := faketrunk.Answer(0)
	forked.Fork = true
	deaf := faketrunk.Answer(0)
	deaf.DropACKs = 2
	return []hangup{
		{"customer, after the answer", faketrunk.Answer(0), hangsUp(fakemeta.Connected), "hangup", "customer", 16, talked, []string{"ACK", "BYE"}},
		{"customer, after early audio", early, hangsUp(fakemeta.Connected), "hangup", "customer", 16, talked, []string{"ACK", "BYE"}},
		{"customer, of a forked call", forked, hangsUp(fakemeta.Connected), "hangup", "customer", 16, talked, []string{"ACK", "BYE"}},
		{"customer, after lost ACKs", deaf, func(ctx context.Context, t *testing.T, c *fakemeta.Customer, phone *faketrunk.Call) {
			t.Helper()
			must(t, phone.Wait(ctx, faketrunk.Up))
			must(t, c.Wait(ctx, fakemeta.Connected))
			c.HangUp()
		}, "hangup", "customer", 16, talked, []string{"ACK", "BYE"}},
		{"customer, while it rings", faketrunk.NoAnswer(), whileRinging, "cancelled", "customer", 16, unanswered, []string{"CANCEL", "ACK"}},
		{"customer, as the phone is picked up", crossing, whileRinging, "cancelled", "customer", 16, unanswered, []string{"CANCEL", "ACK", "BYE"}},
		{"customer, before the phone rings", slow, func(_ context.Context, _ *testing.T, c *fakemeta.Customer, _ *faketrunk.Call) {
			c.HangUp()
		}, "cancelled", "customer", 16, unanswered, []string{"CANCEL", "ACK"}},
		{"phone", faketrunk.Answer(0), bye(), "hangup", "pbx", 16, ended, []string{"ACK"}},
		{"phone, with a reason", faketrunk.Answer(0), bye(faketrunk.Header{Name: "Reason", Value: `Q.850;cause=31;text="x"`}), "hangup", "pbx", 31, ended, []string{"ACK"}},
		{"phone, without a reason", faketrunk.Answer(0), bye(faketrunk.Header{Name: "X-Nothing", Value: "1"}), "hangup", "pbx", 16, ended, []string{"ACK"}},
		{"both at once", faketrunk.Answer(0), func(ctx context.Context, t *testing.T, c *fakemeta.Customer, phone *faketrunk.Call) {
			t.Helper()
			must(t, c.Wait(ctx, fakemeta.Connected))
			must(t, phone.Wait(ctx, faketrunk.Up))
			go c.HangUp()
			must(t, phone.Hangup(ctx))
		}, "hangup", "", 16, nil, nil},
	}
}

// TestEveryWayToHangUp: whoever ends a call whenever, the other side is told
// once, and with a reason.
func TestEveryWayToHangUp(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: unprobed})
	rows := hangups()
	scripts := map[string]faketrunk.Script{}
	for _, row := range rows {
		scripts[row.name] = row.script
	}
	r.PBX.Handle(func(m *faketrunk.Message) faketrunk.Script { return scripts[m.Get("X-WA-Payload")] })
	customers := make([]*fakemeta.Customer, len(rows))
	for i, row := range rows {
		c, err := r.Meta.Call(ctx, fakemeta.CallOptions{Payload: row.name})
		must(t, err)
		customers[i] = c
	}
	for i, row := range rows {
		row.does(ctx, t, customers[i], phoneOf(ctx, t, r.PBX, row.name))
	}
	rs := settled(ctx, t, r)
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) { row.judge(ctx, t, r, customers[i], recordOf(t, rs, customers[i])) })
	}
}

func (row hangup) judge(ctx context.Context, t *testing.T, r *rig.Rig, c *fakemeta.Customer, rec store.Record) {
	t.Helper()
	if row.by != "" {
		wantRecord(t, rec, row.cause, row.by)
		wantVerbs(t, r, c, row.asked...)
	}
	if rec.Cause != row.cause || rec.Q850 != row.q850 {
		t.Errorf("the record says %s, Q.850 %d, want %s, %d", rec.Cause, rec.Q850, row.cause, row.q850)
	}
	phone := phoneOf(ctx, t, r.PBX, row.name)
	var sent []string
	for _, m := range phone.Messages() {
		if !m.In || m.Method == "" || m.Method == "INVITE" || slices.Contains(sent, m.Method) {
			continue
		}
		sent = append(sent, m.Method)
		if m.Method == "ACK" || strings.Contains(m.Get("Reason"), "forked") {
			continue // the second phone of a fork is told so, and nothing of the call
		}
		if !strings.Contains(m.Get("Reason"), "Q.850;cause=16") || m.Get("X-WA-Error") != rec.Cause {
			t.Errorf("%s has Reason %q and X-WA-Error %q", m.Method, m.Get("Reason"), m.Get("X-WA-Error"))
		}
	}
	if row.sent != nil && !slices.Equal(sent, row.sent) {
		t.Errorf("the phone got %v, want %v", sent, row.sent)
	}
	if rec.Abandoned {
		t.Error("the record says that an end was not confirmed")
	}
}
