package test

import (
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// TestMediaDiesAtThePBX: neither RTP nor RTCP for the configured time ends the
// call on both sides, with a cause.
func TestMediaDiesAtThePBX(t *testing.T) {
	t.Parallel()
	const timeout = 4 * time.Second
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) { c.Media.Timeout = timeout }})
	r.PBX.Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.Script{NoAudio: true} })
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{})
	must(t, err)
	phone, err := r.PBX.Next(ctx)
	must(t, err)
	must(t, phone.Wait(ctx, faketrunk.Up))
	began := time.Now()
	must(t, phone.Wait(ctx, faketrunk.Ended))
	if took := time.Since(began); took < timeout || took > timeout+2*time.Second {
		t.Errorf("the phone was hung up after %v, want %v and at most 2 s more", took, timeout)
	}
	rec := recordOf(t, settled(ctx, t, r), customer)
	wantRecord(t, rec, "media_lost", "gateway")
	wantVerbs(t, r, customer, "pre_accept", "accept", "terminate")
	if !phone.EndedByThem() || phone.Reason() == "" || rec.Q850 != 41 {
		t.Errorf("the phone was told %q, the record says Q.850 %d, want 41", phone.Reason(), rec.Q850)
	}
}

// TestCustomerVanishes: a customer whose network is gone, without a word from
// Meta, keeps no phone busy for longer than ice_timeout.
func TestCustomerVanishes(t *testing.T) {
	t.Parallel()
	const timeout = 3 * time.Second
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) { c.Media.ICETimeout = timeout }})
	r.PBX.Handle(answering(0))
	customer, phone := talking(ctx, t, r, fakemeta.CallOptions{})
	began := time.Now()
	customer.Vanish()
	must(t, phone.Wait(ctx, faketrunk.Ended))
	if took := time.Since(began); took > timeout+4*time.Second {
		t.Errorf("the phone was hung up after %v, want about %v", took, timeout)
	}
	rec := recordOf(t, settled(ctx, t, r), customer)
	wantRecord(t, rec, "media_lost", "gateway")
	if end := customer.End(); end.By != fakemeta.ByBusiness {
		t.Errorf("at Meta the call ended as %+v", end)
	}
}

// TestSilentCustomerStays: muting, DTX and no RTP at all are silence, not death.
func TestSilentCustomerStays(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
		c.Media.ICETimeout, c.Media.Timeout = 5*time.Second, 5*time.Second
	}})
	r.PBX.Handle(answering(0))
	customer, phone := talking(ctx, t, r, fakemeta.CallOptions{})
	for how, seconds := range map[fakemeta.Speech]int{fakemeta.Muted: 1, fakemeta.Quiet: 2, fakemeta.RTCPOnly: 7} {
		customer.Speech(how)
		awaitPackets(ctx, t, customer, len(customer.Packets())+50*seconds)
	}
	customer.Speech(fakemeta.Speaking)
	hearing(ctx, t, customer, phone)
	customer.HangUp()
	wantRecord(t, recordOf(t, settled(ctx, t, r), customer), "hangup", "customer")
	wantSteadyAtCustomer(t, customer)
	if rec := phone.Audio().Reception(); len(rec.SSRCs) != 1 || rec.SequenceJumps != 0 || rec.Missing != 0 || rec.LongestPause > time.Second {
		t.Errorf("the phone's stream is %+v", rec)
	}
}

// TestNoCommonCodec: what cannot be talked ends with one clear cause on both
// sides, before anybody hears anything.
func TestNoCommonCodec(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: unprobed, Meta: fakemeta.Options{Codecs: []string{"PCMU"}}})
	r.PBX.Handle(func(m *faketrunk.Message) faketrunk.Script {
		if m.Get("X-WA-Payload") == "phone" {
			return faketrunk.Script{Codecs: []string{"G729"}}
		}
		return faketrunk.NoAnswer()
	})
	phone, err := r.Meta.Call(ctx, fakemeta.CallOptions{Payload: "phone"})
	must(t, err)
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{Payload: "customer", Codecs: []string{"PCMU"}})
	must(t, err)
	rs := settled(ctx, t, r)
	rec := recordOf(t, rs, phone)
	wantRecord(t, rec, "no_codec", "pbx")
	if rec.SIPStatus != 488 || rec.Q850 != 65 {
		t.Errorf("the record says %d, Q.850 %d", rec.SIPStatus, rec.Q850)
	}
	wantVerbs(t, r, phone, "pre_accept", "terminate")
	wantRecord(t, recordOf(t, rs, customer), "no_codec", "gateway")
	wantVerbs(t, r, customer, "reject")
}

// TestMediaNeverComesUp: a customer whose network is gone when the phone answers
// is not left connected to silence.
func TestMediaNeverComesUp(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
		c.Media.SetupTimeout, c.Media.ICETimeout = 2*time.Second, 20*time.Second
	}})
	r.Meta.Fail(fakemeta.Fault{Kind: fakemeta.Reset, Action: "pre_accept"})
	r.PBX.Handle(answering(time.Second))
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{})
	must(t, err)
	customer.Vanish()
	phone, err := r.PBX.Next(ctx)
	must(t, err)
	must(t, customer.Wait(ctx, fakemeta.Connected))
	must(t, phone.Wait(ctx, faketrunk.Ended))
	rec := recordOf(t, settled(ctx, t, r), customer)
	wantRecord(t, rec, "media_failed", "gateway")
	wantAsked(t, r, customer, "pre_accept", "accept", "terminate")
}

// TestLongestCall: a call that goes on for too long is ended on both sides.
func TestLongestCall(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) { c.Limits.MaxDuration = 2 * time.Second }})
	r.PBX.Handle(answering(0))
	customer, phone := talking(ctx, t, r, fakemeta.CallOptions{})
	must(t, phone.Wait(ctx, faketrunk.Ended))
	rec := recordOf(t, settled(ctx, t, r), customer)
	wantRecord(t, rec, "max_duration", "gateway")
	if rec.DurationS < 1.9 || rec.DurationS > 4 || rec.Q850 != 31 {
		t.Errorf("the record says %v s, Q.850 %d", rec.DurationS, rec.Q850)
	}
}
