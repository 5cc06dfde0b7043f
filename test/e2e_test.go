package test

import (
	"context"
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// patience bounds a wait for something that must happen; it is not a figure.
const patience = 30 * time.Second

// rigged starts a gateway between its far ends, which go with the test.
func rigged(t *testing.T, o rig.Options) (*rig.Rig, context.Context) {
	t.Helper()
	return riggedFor(t, o, 4*patience)
}

// riggedFor is rigged for a test that takes longer than others.
func riggedFor(t *testing.T, o rig.Options, limit time.Duration) (*rig.Rig, context.Context) {
	t.Helper()
	if o.Dir == "" {
		o.Dir = quickDisk(t)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	r, err := rig.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return r, ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// answering lets every phone answer after that time.
func answering(after time.Duration) func(*faketrunk.Message) faketrunk.Script {
	return func(*faketrunk.Message) faketrunk.Script { return faketrunk.Answer(after) }
}

// talking places a call, waits until it is up and both sides hear each other.
func talking(ctx context.Context, t *testing.T, r *rig.Rig, o fakemeta.CallOptions) (*fakemeta.Customer, *faketrunk.Call) {
	t.Helper()
	customer, err := r.Meta.Call(ctx, o)
	must(t, err)
	phone, err := r.PBX.Next(ctx)
	must(t, err)
	must(t, customer.Wait(ctx, fakemeta.Connected))
	hearing(ctx, t, customer, phone)
	return customer, phone
}

// placed places a call and waits until the gateway is done with its set-up, so
// that many calls do not all shake hands in the same moment.
func placed(ctx context.Context, t *testing.T, r *rig.Rig, o fakemeta.CallOptions) *fakemeta.Customer {
	t.Helper()
	c, err := r.Meta.Call(ctx, o)
	must(t, err)
	select {
	case <-c.Reached(fakemeta.Ringing):
	case <-c.Reached(fakemeta.Ended):
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
	return c
}

// hearing waits until both sides hear each other, from this moment on.
func hearing(ctx context.Context, t *testing.T, customer *fakemeta.Customer, phone *faketrunk.Call) {
	t.Helper()
	customer.Meter().Reset()
	phone.Audio().Meter().Reset()
	if err := customer.WaitHeard(ctx, rig.PhoneTone); err != nil {
		t.Fatalf("the customer does not hear the phone: %v", err)
	}
	if err := phone.Audio().Meter().Wait(ctx, rig.CustomerTone); err != nil {
		t.Fatalf("the phone does not hear the customer: %v", err)
	}
}

// unprobed switches the trunks' OPTIONS off, where what they find would get in
// the way of the test.
func unprobed(c *config.Config) {
	for i := range c.Trunks {
		c.Trunks[i].OptionsInterval = 0
	}
}

func TestCustomerAndPhoneHearEachOther(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{})
	r.PBX.Handle(answering(300 * time.Millisecond))
	customer, phone := talking(ctx, t, r, fakemeta.CallOptions{User: fakemeta.User{Name: "Nuria"}, Payload: "order-7781"})
	customer.HangUp()
	rs := settled(ctx, t, r)
	rec := recordOf(t, rs, customer)
	wantRecord(t, rec, "hangup", "customer")
	if rec.SIPStatus != 200 || rec.Q850 != 16 || rec.Payload != "order-7781" || rec.Route != "support" {
		t.Errorf("the record says %d, Q.850 %d, payload %q, route %q", rec.SIPStatus, rec.Q850, rec.Payload, rec.Route)
	}
	if rec.CodecWhatsApp != "opus" || rec.CodecSIP != "PCMA" || rec.Media.SIP.Packets == 0 || rec.Media.WhatsApp.Packets == 0 {
		t.Errorf("the record says %s, %s, %+v", rec.CodecWhatsApp, rec.CodecSIP, rec.Media)
	}
	if got := phone.Invite().Get("X-WA-Payload"); got != "order-7781" {
		t.Errorf("X-WA-Payload is %q", got)
	}
	if rep := customer.Report(); rep.Early != 0 || len(rep.Streams) != 1 {
		t.Errorf("early %d, streams %+v", rep.Early, rep.Streams)
	}
	wantVerbs(t, r, customer, "pre_accept", "accept")
}
