package test

import (
	"context"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

const dialledCustomer = "34600111222"

// dial lets a desk phone call a customer.
func dial(ctx context.Context, t *testing.T, r *rig.Rig, to string, headers ...faketrunk.Header) *faketrunk.Call {
	t.Helper()
	call, err := r.PBX.Dial(ctx, faketrunk.Outgoing{To: "sip:" + to + "@" + r.Gateway.SIPAddr("udp"), From: "201", Headers: headers})
	must(t, err)
	return call
}

// refused waits for a final refusal and returns its status and our error.
func refused(ctx context.Context, t *testing.T, c *faketrunk.Call) (status int, waError string) {
	t.Helper()
	must(t, c.Wait(ctx, faketrunk.Refused))
	for _, m := range c.Messages() {
		if m.In && m.Status >= 300 {
			waError = m.Get("X-WA-Error")
		}
	}
	return c.Status(), waError
}

func TestAgentAndCustomerHearEachOther(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: rig.DialOut})
	r.Meta.Callee("", fakemeta.Callee{Ring: 100 * time.Millisecond, Answer: 300 * time.Millisecond})
	call := dial(ctx, t, r, "+"+dialledCustomer)
	must(t, call.Wait(ctx, faketrunk.Rung))
	customer, err := r.Meta.WaitCallee(ctx, dialledCustomer)
	must(t, err)
	must(t, call.Wait(ctx, faketrunk.Up))
	must(t, call.Audio().Meter().Wait(ctx, rig.CustomerTone))
	must(t, customer.WaitHeard(ctx, rig.PhoneTone))
	must(t, call.Hangup(ctx))
	rs := settled(ctx, t, r)
	if len(rs) != 1 || rs[0].Cause != "hangup" || rs[0].EndedBy != "pbx" || rs[0].Direction != "outbound" || rs[0].SIPStatus != 200 {
		t.Errorf("records are %+v", rs)
	}
}

func TestCustomerDeclines(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: rig.DialOut})
	r.Meta.Callee("", fakemeta.Callee{Reject: 200 * time.Millisecond})
	call := dial(ctx, t, r, dialledCustomer) // without the plus
	if status, word := refused(ctx, t, call); status != 603 || word != "declined" {
		t.Errorf("refused with %d %q, want 603 declined", status, word)
	}
	settled(ctx, t, r)
}

func TestAgentGivesUpWhileItRings(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: rig.DialOut})
	r.Meta.Callee("", fakemeta.Callee{Never: true})
	call := dial(ctx, t, r, "+"+dialledCustomer)
	must(t, call.Wait(ctx, faketrunk.Rung))
	must(t, call.Hangup(ctx))
	rs := settled(ctx, t, r)
	if len(rs) != 1 || rs[0].Cause != "cancelled" || rs[0].SIPStatus != 487 {
		t.Errorf("records are %+v", rs)
	}
}

func TestDialledNumbersThatLeadNowhere(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: rig.DialOut})
	for _, row := range []struct {
		to     string
		status int
		word   string
	}{
		{"+33612345678", 403, "not_allowed"}, // France is not in the route's countries
		{"12", 484, "bad_number"},
		{"abc", 484, "bad_number"},
	} {
		if status, word := refused(ctx, t, dial(ctx, t, r, row.to)); status != row.status || word != row.word {
			t.Errorf("%s: refused with %d %q, want %d %s", row.to, status, word, row.status, row.word)
		}
	}
	if n := len(r.Meta.Requests()); n != 0 {
		t.Errorf("%d requests to Meta, want none", n)
	}
}

func TestConnectReplyIsLostOnTheWire(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: rig.DialOut})
	r.Meta.Callee("", fakemeta.Callee{Ring: 200 * time.Millisecond, Answer: 500 * time.Millisecond})
	r.Meta.Fail(fakemeta.Fault{Kind: fakemeta.LoseReply, Action: "connect", Times: 1})
	call := dial(ctx, t, r, "+"+dialledCustomer)
	must(t, call.Wait(ctx, faketrunk.Up))
	must(t, call.Audio().Meter().Wait(ctx, rig.CustomerTone))
	must(t, call.Hangup(ctx))
	settled(ctx, t, r)
	if n := len(r.Meta.Books()); n != 1 {
		t.Errorf("the customer's phone rang %d times, want once", n)
	}
}
