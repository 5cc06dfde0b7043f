//go:build system

package test

import (
	"context"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
)

// TestKilledInTheMiddleOfATransfer: the process dies while the second phone
// rings, in the moment it is up, and after it has taken the call over by itself.
// The next process ends the customer's call and both phones, and writes one
// record.
func TestKilledInTheMiddleOfATransfer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 6*patience)
	defer cancel()
	d := newDaemon(t, "")
	d.pbx.Handle(desks(map[string]faketrunk.Script{"601": faketrunk.NoAnswer()}))
	d.start(ctx)
	here := d.pbx.URI("udp")[4:]
	for i, row := range []struct {
		name   string
		second func(first *faketrunk.Call) *faketrunk.Call
	}{
		{"ringing", func(first *faketrunk.Call) *faketrunk.Call {
			refer(ctx, t, first, "sip:601@"+here, 202)
			second, err := d.pbx.Next(ctx)
			must(t, err)
			must(t, second.Wait(ctx, faketrunk.Rung))
			return second
		}},
		{"up", func(first *faketrunk.Call) *faketrunk.Call {
			refer(ctx, t, first, "sip:602@"+here, 202)
			second, err := d.pbx.Next(ctx)
			must(t, err)
			must(t, second.Wait(ctx, faketrunk.Up))
			return second
		}},
		{"in the place of the first", func(first *faketrunk.Call) *faketrunk.Call {
			second, err := d.pbx.Dial(ctx, faketrunk.Outgoing{
				To: "sip:wagate@" + d.sip, From: "603", Headers: []faketrunk.Header{{Name: "Replaces", Value: first.Replaces()}},
			})
			must(t, err)
			must(t, second.Wait(ctx, faketrunk.Up))
			return second
		}},
	} {
		customer, err := d.meta.Call(ctx, fakemeta.CallOptions{Sound: deskTones})
		must(t, err)
		first, err := d.pbx.Next(ctx)
		must(t, err)
		must(t, customer.Wait(ctx, fakemeta.Connected))
		eventually(ctx, t, "the call to be up", func() bool { return d.phase(ctx) == "active" })
		second := row.second(first)
		d.kill()
		began := time.Now()
		d.start(ctx)
		must(t, customer.Wait(ctx, fakemeta.Ended))
		took := time.Since(began)
		must(t, d.pbx.Settled(ctx))
		t.Logf("%s: the customer's call is over %v after the restart, both phones after %v", row.name, took, time.Since(began))
		if took > 3*endLimit {
			t.Errorf("%s: it took %v to end the customer's call, want at most %v", row.name, took, endLimit)
		}
		for n, phone := range []*faketrunk.Call{first, second} {
			if !phone.EndedByThem() {
				t.Errorf("%s: phone %d was not hung up", row.name, n+1)
			}
		}
		if rs := d.records(ctx, i+1); len(rs) != i+1 || rs[0].Cause != "internal" || !rs[0].Abandoned {
			t.Errorf("%s: records are %+v", row.name, rs)
		}
	}
	for _, fault := range d.pbx.Faults() {
		t.Errorf("the PBX would complain: %s", fault)
	}
}
