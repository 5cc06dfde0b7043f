//go:build system

package test

import (
	"context"
	"testing"

	"wagate/config"
	"wagate/store"
	"wagate/test/fakemeta"
	"wagate/test/peers"
	"wagate/test/rig"
	"wagate/test/tone"
)

// towards makes a stranger's phone the PBX of a gateway.
func towards(t *testing.T, addr string) (*rig.Rig, context.Context) {
	t.Helper()
	return rigged(t, rig.Options{Config: func(c *config.Config) {
		c.Trunks[0].Targets = []config.Target{{URI: "sip:" + addr}}
		c.Routes[0].To = peers.Extension
	}})
}

// over waits for the books of the only call.
func over(ctx context.Context, t *testing.T, r *rig.Rig, cause, by string) store.Record {
	t.Helper()
	must(t, r.Meta.WaitQuiet(ctx))
	for _, v := range r.Meta.Violations() {
		t.Errorf("Meta would complain: %+v", v)
	}
	rs := records(ctx, t, r, 1)
	if len(rs) != 1 || rs[0].Cause != cause || rs[0].EndedBy != by {
		t.Fatalf("records are %+v, want one: %s by %s", rs, cause, by)
	}
	return rs[0]
}

// TestSIPpHearsTheCustomer: what SIPp sends back is the customer's own tone, so
// it has gone both ways.
func TestSIPpHearsTheCustomer(t *testing.T) {
	t.Parallel()
	phone := peers.StartSIPp(t, peers.Echo, 0)
	r, ctx := towards(t, phone.Addr.String())
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{Sound: fakemeta.Sound{Hear: []float64{rig.CustomerTone}}})
	must(t, err)
	must(t, customer.WaitHeard(ctx, rig.CustomerTone))
	customer.HangUp()
	over(ctx, t, r, "hangup", "customer")
	must(t, phone.Finish(ctx))
}

func TestSIPpPlaysATone(t *testing.T) {
	t.Parallel()
	phone := peers.StartSIPp(t, peers.Tone, 0)
	r, ctx := towards(t, phone.Addr.String())
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{Sound: fakemeta.Sound{Hear: []float64{peers.ToneFreq}}})
	must(t, err)
	must(t, customer.WaitHeard(ctx, peers.ToneFreq))
	customer.HangUp()
	over(ctx, t, r, "hangup", "customer")
	must(t, phone.Finish(ctx))
}

func TestSIPpHangsUp(t *testing.T) {
	t.Parallel()
	phone := peers.StartSIPp(t, peers.Hangup, 0)
	r, ctx := towards(t, phone.Addr.String())
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{Sound: fakemeta.Sound{Hear: []float64{rig.CustomerTone}}})
	must(t, err)
	must(t, customer.WaitHeard(ctx, rig.CustomerTone))
	must(t, customer.Wait(ctx, fakemeta.Ended))
	over(ctx, t, r, "hangup", "pbx")
	must(t, phone.Finish(ctx))
}

// TestSIPpMovesItsSound to another port by a re-INVITE: the customer hears it
// again, on the one source that WhatsApp knows.
func TestSIPpMovesItsSound(t *testing.T) {
	t.Parallel()
	phone := peers.StartSIPp(t, peers.Move, 0)
	r, ctx := towards(t, phone.Addr.String())
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{Sound: fakemeta.Sound{Hear: []float64{rig.CustomerTone}}})
	must(t, err)
	must(t, customer.WaitHeard(ctx, rig.CustomerTone))
	waitTalked(ctx, t, customer, 4) // the re-INVITE comes after two seconds
	customer.Meter().Reset()
	must(t, customer.WaitHeard(ctx, rig.CustomerTone))
	customer.HangUp()
	over(ctx, t, r, "hangup", "customer")
	if rep := customer.Report(); len(rep.Streams) != 1 {
		t.Errorf("%d sources of RTP, want one", len(rep.Streams))
	}
}

func TestSIPpIsBusy(t *testing.T) {
	t.Parallel()
	phone := peers.StartSIPp(t, peers.Busy, 0)
	r, ctx := towards(t, phone.Addr.String())
	_, err := r.Meta.Call(ctx, fakemeta.CallOptions{})
	must(t, err)
	if rec := over(ctx, t, r, "busy", "pbx"); rec.SIPStatus != 486 || rec.Q850 != 17 {
		t.Errorf("record says %d and %d, want 486 and 17", rec.SIPStatus, rec.Q850)
	}
	must(t, phone.Finish(ctx))
}

func TestCustomerGivesUpOnSIPp(t *testing.T) {
	t.Parallel()
	phone := peers.StartSIPp(t, peers.NoAnswer, 0)
	r, ctx := towards(t, phone.Addr.String())
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{})
	must(t, err)
	must(t, customer.Wait(ctx, fakemeta.Ringing))
	waitPhase(ctx, t, r, "ringing")
	customer.HangUp()
	over(ctx, t, r, "cancelled", "customer")
	must(t, phone.Finish(ctx))
}

func TestBaresipAndTheCustomerHearEachOther(t *testing.T) {
	t.Parallel()
	phone := peers.StartBaresip(t, "", 0, "")
	r, ctx := towards(t, phone.Addr.String())
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{Sound: fakemeta.Sound{Hear: []float64{peers.ToneFreq}}})
	must(t, err)
	must(t, customer.WaitHeard(ctx, peers.ToneFreq))
	waitTalked(ctx, t, customer, 2)
	must(t, phone.Hangup(ctx))
	must(t, customer.Wait(ctx, fakemeta.Ended))
	over(ctx, t, r, "hangup", "pbx")
	wantHeard(t, phone)
}

// wantHeard asserts that a phone has recorded the customer's tone.
func wantHeard(t *testing.T, phone *peers.Baresip) {
	t.Helper()
	pcm, rate := phone.Heard(t)
	meter := tone.NewMeter(rate, rig.CustomerTone)
	meter.Write(pcm)
	if level, heard := meter.Level(rig.CustomerTone); !heard {
		t.Errorf("baresip heard no %d Hz, at most %.1f dBFS in %v", rig.CustomerTone, level, meter.Written())
	}
}

// waitTalked waits until the customer has heard so many seconds of the phone.
func waitTalked(ctx context.Context, t *testing.T, c *fakemeta.Customer, seconds float64) {
	t.Helper()
	eventually(ctx, t, "sound to go on", func() bool { return c.Meter().Written().Seconds() > seconds })
}

func waitPhase(ctx context.Context, t *testing.T, r *rig.Rig, want string) {
	t.Helper()
	eventually(ctx, t, "a call that is "+want, func() bool {
		var page struct {
			Calls []struct{ Phase string }
		}
		get(ctx, t, r, "/api/v1/calls", &page)
		return len(page.Calls) == 1 && page.Calls[0].Phase == want
	})
}
