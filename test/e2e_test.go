package test

import (
	"context"
	"testing"
	"time"

	"wagate/store"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// patience bounds a wait for something that must happen; it is not a figure.
const patience = 30 * time.Second

// rigged starts a gateway between its far ends and judges all three books when
// the test is over.
func rigged(t *testing.T, o rig.Options) (*rig.Rig, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
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

// settled waits until nothing of a call is left anywhere, and returns the
// records.
func settled(ctx context.Context, t *testing.T, r *rig.Rig) []store.Record {
	t.Helper()
	if err := r.Meta.WaitQuiet(ctx); err != nil {
		t.Errorf("Meta: %v", err)
	}
	if err := r.PBX.Settled(ctx); err != nil {
		t.Errorf("PBX: %v", err)
	}
	for _, v := range r.Meta.Violations() {
		t.Errorf("Meta would complain: %+v", v)
	}
	for _, f := range r.PBX.Faults() {
		t.Errorf("the PBX would complain: %s", f)
	}
	return records(ctx, t, r, len(r.Meta.Books()))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestCustomerAndPhoneHearEachOther(t *testing.T) {
	r, ctx := rigged(t, rig.Options{})
	r.PBX.Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.Answer(300 * time.Millisecond) })
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{User: fakemeta.User{Name: "Nuria"}, Payload: "order-7781"})
	must(t, err)
	phone, err := r.PBX.Next(ctx)
	must(t, err)
	must(t, customer.Wait(ctx, fakemeta.Connected))
	must(t, customer.WaitHeard(ctx, rig.PhoneTone))
	must(t, phone.Audio().Meter().Wait(ctx, rig.CustomerTone))
	customer.HangUp()
	rs := settled(ctx, t, r)
	if len(rs) != 1 || rs[0].Cause != "hangup" || rs[0].EndedBy != "customer" {
		t.Errorf("records are %+v", rs)
	}
	if got := phone.Invite().Get("X-WA-Payload"); got != "order-7781" {
		t.Errorf("X-WA-Payload is %q", got)
	}
	if rep := customer.Report(); rep.Early != 0 || len(rep.Streams) != 1 {
		t.Errorf("early %d, streams %+v", rep.Early, rep.Streams)
	}
}
