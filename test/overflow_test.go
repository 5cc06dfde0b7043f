package test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// lateTone is what the phone that was given up says, in Hz: nobody may hear it.
const lateTone = 1000

// overflowing is one route to 600, then to each of the others.
func overflowing(ring time.Duration, others ...string) func(*config.Config) {
	return func(c *config.Config) {
		unprobed(c)
		c.Routes[0].RingTimeout = ring
		for _, to := range others {
			c.Routes[0].Overflow = append(c.Routes[0].Overflow, config.Hop{Trunk: "pbx", To: to})
		}
	}
}

// byNumber treats a call as the dialled number says.
func byNumber(scripts map[string]faketrunk.Script) func(*faketrunk.Message) faketrunk.Script {
	return func(m *faketrunk.Message) faketrunk.Script {
		_, to, _ := strings.Cut(m.URI, ":")
		to, _, _ = strings.Cut(to, "@")
		return scripts[to]
	}
}

// numbersOf lists what was dialled, in order.
func numbersOf(calls []*faketrunk.Call) []string {
	var to []string
	for _, c := range calls {
		to = append(to, dialled(c))
	}
	return to
}

// TestOverflowWhenNobodyAnswers: the next phone rings, and the first one, which
// is picked up as it is given up, is acknowledged and hung up.
func TestOverflowWhenNobodyAnswers(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: overflowing(time.Second, "699")})
	crossing := faketrunk.NoAnswer()
	crossing.OnCancel, crossing.Tone = faketrunk.Cross, lateTone
	r.PBX.Handle(byNumber(map[string]faketrunk.Script{"600": crossing, "699": faketrunk.Answer(500 * time.Millisecond)}))
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{Sound: fakemeta.Sound{Hear: []float64{rig.PhoneTone, lateTone}}})
	must(t, err)
	first, err := r.PBX.Next(ctx)
	must(t, err)
	second, err := r.PBX.Next(ctx)
	must(t, err)
	must(t, first.Wait(ctx, faketrunk.Up))
	must(t, first.Wait(ctx, faketrunk.Ended))
	if !first.Is(faketrunk.Cancelled) || !first.EndedByThem() || !strings.Contains(first.Reason(), "cause=19") {
		t.Errorf("the first phone was ended by us %v, reason %q", first.EndedByThem(), first.Reason())
	}
	must(t, customer.Wait(ctx, fakemeta.Connected))
	hearing(ctx, t, customer, second)
	if _, heard := customer.Meter().Level(lateTone); heard {
		t.Error("the customer hears the phone that was given up")
	}
	must(t, second.Hangup(ctx))
	rec := recordOf(t, settled(ctx, t, r), customer)
	wantRecord(t, rec, "hangup", "pbx")
	if rec.To != "699" || rec.SIPStatus != 200 || rec.Q850 != 16 || rec.Abandoned {
		t.Errorf("the record is %+v", rec)
	}
	wantVerbs(t, r, customer, "pre_accept", "accept", "terminate")
	if n := metric(t, r, "wagate_sip_glare_total", "kind", "answer_cancel"); n != 1 {
		t.Errorf("%v crossings counted, want 1", n)
	}
}

// TestOverflowInOrder: busy, gone, silent; each hop is tried once, and the last
// answer is the one on record.
func TestOverflowInOrder(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: overflowing(time.Second, "601", "602", "603")})
	r.PBX.Handle(byNumber(map[string]faketrunk.Script{
		"600": faketrunk.Refuse(486), "601": faketrunk.Refuse(503), "602": faketrunk.NoAnswer(), "603": faketrunk.Refuse(480),
	}))
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{})
	must(t, err)
	must(t, customer.Wait(ctx, fakemeta.Ended))
	rec := recordOf(t, settled(ctx, t, r), customer)
	wantRecord(t, rec, "no_answer", "pbx")
	if got, want := numbersOf(r.PBX.Calls()), []string{"600", "601", "602", "603"}; !slices.Equal(got, want) {
		t.Errorf("dialled %v, want %v", got, want)
	}
	if rec.To != "603" || rec.SIPStatus != 480 || rec.Q850 != 19 || rec.RingingAt.IsZero() {
		t.Errorf("the record is %+v", rec)
	}
	wantVerbs(t, r, customer, "pre_accept", "terminate")
}

// TestAnswerWindow: Meta's patience counts for all phones together, by Meta's
// clock, and no phone is rung for a moment only.
func TestAnswerWindow(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
		overflowing(3*time.Second, "601", "602")(c)
		c.Limits.AnswerWindow = 10 * time.Second
	}})
	r.PBX.Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.NoAnswer() })
	begin := time.Now()
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{Age: 5 * time.Second})
	must(t, err)
	must(t, customer.Wait(ctx, fakemeta.Ended))
	if took := time.Since(begin); took < 2900*time.Millisecond || took > 6500*time.Millisecond {
		t.Errorf("the customer waited %v, want at most the 5 s that are left of 10", took)
	}
	rec := recordOf(t, settled(ctx, t, r), customer)
	wantRecord(t, rec, "no_answer", "gateway")
	if got := numbersOf(r.PBX.Calls()); len(got) == 0 || len(got) > 2 || got[0] != "600" {
		t.Errorf("dialled %v, want one phone, or two", got)
	}
}

// TestTrunkFull: what a trunk may not take goes to the overflow.
func TestTrunkFull(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
		second := c.Trunks[0]
		second.Name = "second"
		c.Trunks[0].MaxCalls = 1
		c.Trunks = append(c.Trunks, second)
		c.Routes[0].Overflow = []config.Hop{{Trunk: "second", To: "699"}}
		unprobed(c)
	}})
	r.PBX.Handle(answering(0))
	one, _ := talking(ctx, t, r, fakemeta.CallOptions{})
	two, _ := talking(ctx, t, r, fakemeta.CallOptions{})
	one.HangUp()
	must(t, one.Wait(ctx, fakemeta.Ended))
	must(t, r.PBX.Calls()[0].Wait(ctx, faketrunk.Ended))
	records(ctx, t, r, 1)
	three, _ := talking(ctx, t, r, fakemeta.CallOptions{})
	two.HangUp()
	three.HangUp()
	rs := settled(ctx, t, r)
	for c, to := range map[*fakemeta.Customer]string{one: "600", two: "699", three: "600"} {
		if rec := recordOf(t, rs, c); rec.To != to || rec.Cause != "hangup" {
			t.Errorf("the record says %s to %s, want to %s", rec.Cause, rec.To, to)
		}
	}
}
