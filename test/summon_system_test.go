//go:build system

package test

import (
	"context"
	"strings"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// TestKilledInTheMiddleOfAClick: in whatever phase the process dies, the next
// one ends both sides, and there is one record.
func TestKilledInTheMiddleOfAClick(t *testing.T) {
	for _, at := range []string{"summoning", "dialing", "ringing", "active"} {
		t.Run(at, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
			defer cancel()
			d := newDaemon(t, dialOutFile)
			d.pbx.Handle(waiting)
			d.meta.Callee("", fakemeta.Callee{Never: true, LateSDP: true})
			if at == "dialing" {
				d.meta.Callee("", fakemeta.Callee{Never: true, Ring: patience})
			}
			d.start(ctx)
			out := d.run(ctx, "calls", "--admin", d.admin, "dial", "--number", "support", "--trunk", "pbx", "--agent", "201", "+"+dialledCustomer)
			if !strings.Contains(out, "summoning") {
				t.Errorf("wagate calls dial says\n%s", out)
			}
			phone, err := d.pbx.Next(ctx)
			must(t, err)
			must(t, phone.Wait(ctx, faketrunk.Rung))
			if at != "summoning" {
				must(t, phone.Answer())
				customer, err := d.meta.WaitCallee(ctx, dialledCustomer)
				must(t, err)
				if at == "active" {
					eventually(ctx, t, "the customer's phone to ring", customer.PickUp)
				}
			}
			eventually(ctx, t, "the phase "+at, func() bool { return d.phase(ctx) == at })
			d.kill()
			d.start(ctx)
			must(t, d.meta.WaitQuiet(ctx))
			must(t, d.pbx.Settled(ctx))
			rs := d.records(ctx, 1)
			if len(rs) != 1 || rs[0].Cause != "internal" || rs[0].Direction != "outbound" || rs[0].Trunk != "pbx" || rs[0].To != "+"+dialledCustomer {
				t.Errorf("records are %+v", rs)
			}
			for _, f := range d.pbx.Faults() {
				t.Errorf("the PBX would complain: %s", f)
			}
		})
	}
}

// TestKilledBetweenRefusalAndGrant: the agent is called back once all the same.
func TestKilledBetweenRefusalAndGrant(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	d := newDaemon(t, dialOutFile)
	d.pbx.Handle(waiting)
	d.meta.Callee("", fakemeta.Callee{Answer: 100 * time.Millisecond})
	d.meta.Permit(dialledCustomer, false)
	d.start(ctx)
	writes(ctx, t, d.meta)
	agent, err := d.pbx.Dial(ctx, faketrunk.Outgoing{To: "sip:+" + dialledCustomer + "@" + d.sip, From: "201"})
	must(t, err)
	must(t, agent.Wait(ctx, faketrunk.Refused))
	_, err = d.meta.WaitMessage(ctx, dialledCustomer)
	must(t, err)
	d.kill()
	d.start(ctx)
	must(t, d.meta.Answer(dialledCustomer, fakemeta.GrantTemporary))
	phone, err := d.pbx.Next(ctx)
	must(t, err)
	must(t, phone.Answer())
	customer, err := d.meta.WaitCallee(ctx, dialledCustomer)
	must(t, err)
	must(t, customer.WaitHeard(ctx, rig.PhoneTone))
	must(t, phone.Hangup(ctx))
	must(t, d.meta.WaitQuiet(ctx))
	must(t, d.pbx.Settled(ctx))
	d.records(ctx, 2)
	d.kill()
	d.start(ctx)
	if n := len(d.meta.Books()); n != 1 {
		t.Errorf("the customer was called %d times, want once", n)
	}
	if n := len(d.pbx.Calls()); n != 2 {
		t.Errorf("%d calls at the PBX, want the refused one and the callback", n)
	}
}
