package test

import (
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/impair"
	"wagate/test/rig"
)

// longSilence is longer than both timeouts of the default configuration.
const longSilence = 40 * time.Second

// TestLongSilenceOfTheCustomer: muted, pausing or without any RTP, a customer
// keeps the call, and is heard again afterwards.
func TestLongSilenceOfTheCustomer(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: unprobed})
	r.PBX.Handle(answering(0))
	type call struct {
		customer *fakemeta.Customer
		phone    *faketrunk.Call
	}
	var calls []call
	for _, how := range []fakemeta.Speech{fakemeta.Muted, fakemeta.Quiet, fakemeta.RTCPOnly} {
		customer, phone := talking(ctx, t, r, fakemeta.CallOptions{})
		customer.Speech(how)
		calls = append(calls, call{customer, phone})
	}
	lasts(ctx, t, calls[0].customer, longSilence)
	for _, c := range calls {
		c.customer.Speech(fakemeta.Speaking)
		hearing(ctx, t, c.customer, c.phone)
		c.customer.HangUp()
	}
	records := settled(ctx, t, r)
	for _, c := range calls {
		rec := recordOf(t, records, c.customer)
		wantRecord(t, rec, "hangup", "customer")
		if rec.DurationS < longSilence.Seconds() {
			t.Errorf("the call lasted %v s", rec.DurationS)
		}
		wantSteadyAtCustomer(t, c.customer)
	}
}

// TestConsentAndReportsKeepACall: a customer of whom nothing but ICE consent
// comes, and a phone of which nothing but RTCP does, are both still there. When
// the phone's RTCP ends too, the call does.
func TestConsentAndReportsKeepACall(t *testing.T) {
	t.Parallel()
	media := func(packet []byte) bool { return packet[0]>>6 == 2 } // RTP and RTCP
	meta, rtp := &badNetwork{o: impair.Options{Only: media}}, &badNetwork{o: impair.Options{Only: impair.RTP}}
	t.Cleanup(meta.close)
	t.Cleanup(rtp.close)
	const limit, silence = 8 * time.Second, 20 * time.Second
	r, ctx := rigged(t, rig.Options{Meta: fakemeta.Options{Via: meta.whatsapp}, Via: rtp.pbx, Config: func(c *config.Config) {
		unprobed(c)
		c.Media.Timeout, c.Media.ICETimeout = limit, limit
	}})
	r.PBX.Handle(answering(0))
	customer, phone := talking(ctx, t, r, fakemeta.CallOptions{})
	meta.setWay(impair.Down, impair.Network{Cut: true})
	rtp.setWay(impair.Down, impair.Network{Cut: true})
	lasts(ctx, t, customer, silence)
	meta.set(impair.Network{})
	rtp.set(impair.Network{})
	hearing(ctx, t, customer, phone)
	rtp.close() // RTCP too
	began := time.Now()
	must(t, phone.Wait(ctx, faketrunk.Ended))
	if took := time.Since(began); took < limit/2 || took > limit+4*time.Second {
		t.Errorf("the phone was hung up after %v, want %v", took, limit)
	}
	rec := recordOf(t, settled(ctx, t, r), customer)
	wantRecord(t, rec, "media_lost", "gateway")
	if rec.Q850 != 41 {
		t.Errorf("Q.850 %d, want 41", rec.Q850)
	}
}
