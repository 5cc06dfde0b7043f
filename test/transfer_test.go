package test

import (
	"context"
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

// The tones of the second and third phone.
const (
	secondTone = 900
	thirdTone  = 1200
)

var deskTones = fakemeta.Sound{Hear: []float64{rig.PhoneTone, secondTone, thirdTone, ringbackTone}}

// desks lets each extension be a phone of its own.
func desks(scripts map[string]faketrunk.Script) func(*faketrunk.Message) faketrunk.Script {
	return func(m *faketrunk.Message) faketrunk.Script {
		ext, _, _ := strings.Cut(strings.TrimPrefix(m.URI, "sip:"), "@")
		if s, ok := scripts[ext]; ok {
			return s
		}
		return faketrunk.Answer(0)
	}
}

// both waits until the customer hears a tone and that phone the customer, from
// this moment on.
func both(ctx context.Context, t *testing.T, customer *fakemeta.Customer, phone *faketrunk.Call, freq float64) {
	t.Helper()
	customer.Meter().Reset()
	phone.Audio().Meter().Reset()
	if err := customer.WaitHeard(ctx, freq); err != nil {
		t.Fatalf("the customer does not hear %v Hz: %v", freq, err)
	}
	if err := phone.Audio().Meter().Wait(ctx, rig.CustomerTone); err != nil {
		t.Fatalf("the phone does not hear the customer: %v", err)
	}
}

// answered waits for the next phone that rings and is up.
func answered(ctx context.Context, t *testing.T, r *rig.Rig) *faketrunk.Call {
	t.Helper()
	phone, err := r.PBX.Next(ctx)
	must(t, err)
	must(t, phone.Wait(ctx, faketrunk.Up))
	return phone
}

func (x transferred) check(t *testing.T, r *rig.Rig, rs []store.Record) {
	t.Helper()
	if len(rs) != 1 {
		t.Fatalf("records are %+v", rs)
	}
	rec := rs[0]
	if rec.Cause != "hangup" || rec.EndedBy != x.by || rec.Transfers != x.transfers || !slices.Equal(rec.Agents, x.agents) || rec.To != x.to {
		t.Errorf("the record says %s by %s, %d transfers, agents %v, to %s; want %+v", rec.Cause, rec.EndedBy, rec.Transfers, rec.Agents, rec.To, x)
	}
	for outcome, want := range map[string]int{"completed": x.transfers, "failed": x.failed, "denied": x.denied, "refused": x.refused} {
		if got := metric(t, r, "wagate_sip_transfers_total", "trunk", "pbx", "outcome", outcome); int(got) != want {
			t.Errorf("%v transfers are counted as %s, want %d", got, outcome, want)
		}
	}
}

// transferred is what is left of a call.
type transferred struct {
	by                                 string
	transfers, failed, denied, refused int
	agents                             []string
	to                                 string
}

func TestBlindTransfer(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{})
	r.PBX.Handle(desks(map[string]faketrunk.Script{"601": {Ring: 0, Answer: 300 * time.Millisecond, Tone: secondTone}}))
	customer, first := talking(ctx, t, r, fakemeta.CallOptions{Sound: deskTones})
	must(t, first.Refer(ctx, nil, strings.Replace(r.PBX.URI("udp"), "sip:", "sip:601@", 1)))
	second := answered(ctx, t, r)
	if by := second.Invite().Get("Referred-By"); !strings.HasPrefix(by, "<sip:") {
		t.Errorf("Referred-By is %q", by)
	}
	both(ctx, t, customer, second, secondTone)
	must(t, first.Wait(ctx, faketrunk.Ended))
	if !first.EndedByThem() {
		t.Error("the first phone was not hung up")
	}
	if customer.Meter().HeardFor(rig.PhoneTone) > 0 {
		t.Error("the customer still hears the first phone")
	}
	must(t, second.Hangup(ctx))
	rs := settled(ctx, t, r)
	transferred{by: "pbx", transfers: 1, agents: []string{"600", "601"}, to: "601"}.check(t, r, rs)
	wantSteadyAtCustomer(t, customer)
	wantVerbs(t, r, customer, "pre_accept", "accept", "terminate")
}

// TestBlindTransferAndGone: whoever transfers hangs up right after its REFER.
func TestBlindTransferAndGone(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{})
	r.PBX.Handle(desks(map[string]faketrunk.Script{"601": {Answer: faketrunk.Never, Tone: secondTone}, "602": faketrunk.Refuse(486)}))
	customer, first := talking(ctx, t, r, fakemeta.CallOptions{Sound: deskTones})
	refer(ctx, t, first, "sip:601@"+r.PBX.URI("udp")[4:], 202)
	must(t, first.Hangup(ctx))
	second, err := r.PBX.Next(ctx)
	must(t, err)
	customer.Meter().Reset()
	must(t, customer.WaitHeard(ctx, ringbackTone))
	must(t, second.Answer())
	must(t, second.Wait(ctx, faketrunk.Up))
	both(ctx, t, customer, second, secondTone)
	if customer.Meter().HeardFor(ringbackTone) > 0 {
		t.Error("the ringback tone goes on")
	}
	refer(ctx, t, second, "sip:602@"+r.PBX.URI("udp")[4:], 202)
	must(t, second.Hangup(ctx))
	rs := settled(ctx, t, r)
	transferred{by: "pbx", transfers: 1, failed: 1, agents: []string{"600", "601"}, to: "601"}.check(t, r, rs)
	wantSteadyAtCustomer(t, customer)
}

// refer sends a REFER and does not wait for more than its answer.
func refer(ctx context.Context, t *testing.T, phone *faketrunk.Call, target string, want int) *faketrunk.Message {
	t.Helper()
	res, err := phone.Request(ctx, "REFER", []faketrunk.Header{{Name: "Contact", Value: "<sip:phone@127.0.0.1>"}, {Name: "Refer-To", Value: "<" + target + ">"}}, nil)
	must(t, err)
	if res.Status != want {
		t.Errorf("REFER to %s is answered with %d, want %d", target, res.Status, want)
	}
	return res
}

func TestTransferThatFails(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{})
	r.PBX.Handle(desks(map[string]faketrunk.Script{"601": faketrunk.Refuse(486)}))
	customer, first := talking(ctx, t, r, fakemeta.CallOptions{Sound: deskTones})
	err := first.Refer(ctx, nil, "sip:601@"+r.PBX.URI("udp")[4:])
	if err == nil || !strings.Contains(err.Error(), "486") {
		t.Errorf("the phone is told %v, want 486", err)
	}
	if _, err := r.PBX.Next(ctx); err != nil {
		t.Fatal(err)
	}
	both(ctx, t, customer, first, rig.PhoneTone)
	customer.HangUp()
	rs := settled(ctx, t, r)
	transferred{by: "customer", failed: 1, agents: nil, to: "600"}.check(t, r, rs)
	wantSteadyAtCustomer(t, customer)
	wantSteadyAtPhone(t, first)
}

// TestTransferTargets: what leads into the public telephone network, or away
// from the PBX, is refused, and the call goes on.
func TestTransferTargets(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) { c.Trunks[0].TransferTargets = []string{"7000*"} }})
	r.PBX.Handle(desks(nil))
	customer, first := talking(ctx, t, r, fakemeta.CallOptions{Sound: deskTones})
	here := r.PBX.URI("udp")[4:]
	for _, target := range []string{
		"sip:+351210000000@" + here, "sip:%2B351210000000@" + here, "sip:00351210000000@" + here, "sip:210000000@" + here,
		"tel:+351210000000", "sip:*72@" + here,
		"sip:601@127.0.0.2", "sip:601@169.254.169.254", "sip:601@evil.example", "sip:601@" + r.Gateway.SIPAddr("udp"),
	} {
		if res := refer(ctx, t, first, target, 403); res.Get("X-WA-Error") != "not_allowed" || !strings.Contains(res.Get("Reason"), "Q.850") {
			t.Errorf("%s: Reason %q, X-WA-Error %q", target, res.Get("Reason"), res.Get("X-WA-Error"))
		}
	}
	refer(ctx, t, first, "sip:60:1@"+here, 400)
	both(ctx, t, customer, first, rig.PhoneTone)
	if n := len(r.PBX.Calls()); n != 1 {
		t.Errorf("%d phones rang, want one", n)
	}
	must(t, first.Refer(ctx, nil, "sip:70001234@"+here))
	second := answered(ctx, t, r)
	both(ctx, t, customer, second, rig.PhoneTone)
	customer.HangUp()
	rs := settled(ctx, t, r)
	transferred{by: "customer", transfers: 1, denied: 10, agents: []string{"600", "70001234"}, to: "70001234"}.check(t, r, rs)
}

// TestReplacedByThePBX: the PBX carries an attended transfer out by itself, and
// the phone that is to talk comes with Replaces; twice.
func TestReplacedByThePBX(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{})
	r.PBX.Handle(desks(nil))
	customer, first := talking(ctx, t, r, fakemeta.CallOptions{Sound: deskTones})
	second := replaceWith(ctx, t, r, first, "601", secondTone)
	must(t, second.Wait(ctx, faketrunk.Up))
	must(t, first.Wait(ctx, faketrunk.Ended))
	both(ctx, t, customer, second, secondTone)
	third := replaceWith(ctx, t, r, second, "602", thirdTone)
	must(t, third.Wait(ctx, faketrunk.Up))
	must(t, second.Wait(ctx, faketrunk.Ended))
	both(ctx, t, customer, third, thirdTone)
	late := replaceWith(ctx, t, r, first, "603", thirdTone) // of a call that is over
	if status, _ := refused(ctx, t, late); status != 481 && status != 603 {
		t.Errorf("refused with %d", status)
	}
	customer.HangUp()
	rs := settled(ctx, t, r)
	transferred{by: "customer", transfers: 2, agents: []string{"600", "601", "602"}, to: "602"}.check(t, r, rs)
	wantSteadyAtCustomer(t, customer)
}

// TestPickup: a colleague picks up for the phone that rings, by the PBX or by a
// key beside its lamp.
func TestPickup(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{})
	r.PBX.Handle(desks(map[string]faketrunk.Script{"600": faketrunk.NoAnswer()}))
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{Sound: deskTones})
	must(t, err)
	rings, err := r.PBX.Next(ctx)
	must(t, err)
	must(t, rings.Wait(ctx, faketrunk.Rung))
	picks := replaceWith(ctx, t, r, rings, "601", secondTone)
	must(t, picks.Wait(ctx, faketrunk.Up))
	must(t, rings.Wait(ctx, faketrunk.Cancelled))
	if why := rings.Reason(); !strings.HasPrefix(why, "SIP;cause=200") {
		t.Errorf("the phone that rang is told %q", why)
	}
	both(ctx, t, customer, picks, secondTone)
	must(t, picks.Hangup(ctx))
	must(t, customer.Wait(ctx, fakemeta.Ended))
	rec := recordOf(t, settled(ctx, t, r), customer)
	wantRecord(t, rec, "hangup", "pbx")
	if rec.To != "601" || rec.SIPStatus != 200 || rec.Transfers != 0 || len(rec.Agents) != 0 {
		t.Errorf("record is %+v", rec)
	}
	wantSteadyAtCustomer(t, customer)
}

func replaceWith(ctx context.Context, t *testing.T, r *rig.Rig, instead *faketrunk.Call, ext string, freq float64) *faketrunk.Call {
	t.Helper()
	c, err := r.PBX.Dial(ctx, faketrunk.Outgoing{
		To: "sip:wagate@" + r.Gateway.SIPAddr("udp"), From: ext, Script: faketrunk.Script{Tone: freq},
		Headers: []faketrunk.Header{{Name: "Replaces", Value: instead.Replaces()}, {Name: "Require", Value: "replaces"}},
	})
	must(t, err)
	return c
}

// TestAttendedTransfer: the REFER names a call between two phones of the PBX,
// which our INVITE is to replace there.
func TestAttendedTransfer(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{})
	r.PBX.Handle(desks(map[string]faketrunk.Script{"601": {Tone: secondTone}}))
	desk, err := faketrunk.Start(ctx, faketrunk.Options{Tone: thirdTone})
	must(t, err)
	defer func() { must(t, desk.Close()) }()
	customer, first := talking(ctx, t, r, fakemeta.CallOptions{Sound: deskTones})
	consultation, err := r.PBX.Dial(ctx, faketrunk.Outgoing{To: "sip:601@" + desk.URI("udp")[4:]})
	must(t, err)
	must(t, consultation.Wait(ctx, faketrunk.Up))
	must(t, first.Refer(ctx, consultation, "sip:601@"+r.PBX.URI("udp")[4:]))
	second := answered(ctx, t, r)
	if got := second.Invite().Get("Replaces"); got != consultation.Replaces() {
		t.Errorf("Replaces is %q, want %q", got, consultation.Replaces())
	}
	must(t, consultation.Hangup(ctx))
	both(ctx, t, customer, second, secondTone)
	must(t, second.Hangup(ctx))
	rs := settled(ctx, t, r)
	transferred{by: "pbx", transfers: 1, agents: []string{"600", "601"}, to: "601"}.check(t, r, rs)
	wantSteadyAtCustomer(t, customer)
}

// TestTransferOfACallThatAnAgentPlaced: the other direction, by REFER and then
// by Replaces.
func TestTransferOfACallThatAnAgentPlaced(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: rig.DialOut})
	r.PBX.Handle(desks(map[string]faketrunk.Script{"202": {Tone: secondTone}}))
	r.Meta.Callee("", fakemeta.Callee{Ring: 100 * time.Millisecond, Answer: 300 * time.Millisecond, Sound: deskTones})
	first := dial(ctx, t, r, "+"+dialledCustomer)
	must(t, first.Wait(ctx, faketrunk.Up))
	customer, err := r.Meta.WaitCallee(ctx, dialledCustomer)
	must(t, err)
	both(ctx, t, customer, first, rig.PhoneTone)
	must(t, first.Refer(ctx, nil, "sip:202@"+r.PBX.URI("udp")[4:]))
	second := answered(ctx, t, r)
	must(t, first.Wait(ctx, faketrunk.Ended))
	both(ctx, t, customer, second, secondTone)
	third := replaceWith(ctx, t, r, second, "203", thirdTone)
	must(t, third.Wait(ctx, faketrunk.Up))
	must(t, second.Wait(ctx, faketrunk.Ended))
	both(ctx, t, customer, third, thirdTone)
	must(t, third.Hangup(ctx))
	rs := settled(ctx, t, r)
	transferred{by: "pbx", transfers: 2, agents: []string{"201", "202", "203"}, to: "+" + dialledCustomer}.check(t, r, rs)
	wantSteadyAtCustomer(t, customer)
}

// TestHangupsInTheMiddleOfATransfer: whoever hangs up while the second phone
// rings, nothing is left over.
func TestHangupsInTheMiddleOfATransfer(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{})
	r.PBX.Handle(desks(map[string]faketrunk.Script{"601": faketrunk.NoAnswer(), "602": {Answer: faketrunk.Never, OnCancel: faketrunk.Cross}}))
	here := r.PBX.URI("udp")[4:]
	for i, row := range []struct {
		to string
		by func(c *fakemeta.Customer, first *faketrunk.Call)
	}{
		{"601", func(c *fakemeta.Customer, _ *faketrunk.Call) { c.HangUp() }},
		{"602", func(c *fakemeta.Customer, _ *faketrunk.Call) { c.HangUp() }},
		{"601", func(c *fakemeta.Customer, first *faketrunk.Call) { must(t, first.Hangup(ctx)); c.HangUp() }},
		{"602", func(c *fakemeta.Customer, first *faketrunk.Call) { go c.HangUp(); must(t, first.Hangup(ctx)) }},
	} {
		customer, first := talking(ctx, t, r, fakemeta.CallOptions{Sound: deskTones})
		refer(ctx, t, first, "sip:"+row.to+"@"+here, 202)
		second, err := r.PBX.Next(ctx)
		must(t, err)
		must(t, second.Wait(ctx, faketrunk.Rung))
		row.by(customer, first)
		must(t, second.Wait(ctx, faketrunk.Ended))
		must(t, first.Wait(ctx, faketrunk.Ended))
		if rec := recordOf(t, records(ctx, t, r, i+1), customer); rec.Cause != "hangup" || rec.Transfers != 0 {
			t.Errorf("row %d: the record is %+v", i, rec)
		}
	}
	settled(ctx, t, r)
}

// TestRedirection: the PBX says where else the phone is; it is called there once,
// and nowhere that a call may not go.
func TestRedirection(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{})
	here := r.PBX.URI("udp")[4:]
	r.PBX.Handle(desks(map[string]faketrunk.Script{
		"600": faketrunk.Redirect("sip:601@" + here), "601": faketrunk.Redirect("sip:602@" + here),
		"602": {Tone: secondTone},
	}))
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{Sound: deskTones})
	must(t, err)
	for range 2 {
		moved, err := r.PBX.Next(ctx)
		must(t, err)
		must(t, moved.Wait(ctx, faketrunk.Refused))
	}
	phone := answered(ctx, t, r)
	both(ctx, t, customer, phone, secondTone)
	customer.HangUp()
	must(t, phone.Wait(ctx, faketrunk.Ended))
	r.PBX.Handle(desks(map[string]faketrunk.Script{"600": faketrunk.Redirect("sip:601@" + here), "601": faketrunk.Redirect("sip:600@" + here)}))
	round, err := r.Meta.Call(ctx, fakemeta.CallOptions{User: fakemeta.User{Number: "34600999888"}, Sound: deskTones})
	must(t, err)
	must(t, round.Wait(ctx, fakemeta.Ended))
	rs := settled(ctx, t, r)
	if rec := recordOf(t, rs, customer); rec.To != "602" || rec.Cause != "hangup" || rec.Transfers != 0 {
		t.Errorf("record is %+v", rec)
	}
	if rec := recordOf(t, rs, round); rec.Cause != "no_answer" || rec.SIPStatus != 302 || rec.To != "601" {
		t.Errorf("record is %+v", rec)
	}
}
