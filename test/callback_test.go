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

// callingBack is a gateway that calls agents back, with a customer whom nobody
// may call yet, and who may be asked.
func callingBack(t *testing.T, within time.Duration, change ...func(c *config.Config)) (*rig.Rig, context.Context) {
	t.Helper()
	r, ctx := rigged(t, rig.Options{Meta: fakemeta.Options{StrictPermissions: true}, Config: func(c *config.Config) {
		rig.DialOut(c)
		c.Permissions.Callback, c.Permissions.CallbackWithin = true, within
		for _, f := range change {
			f(c)
		}
	}})
	r.PBX.Handle(waiting)
	r.Meta.Callee("", fakemeta.Callee{Never: true})
	writes(ctx, t, r.Meta)
	return r, ctx
}

// promisedTo lets the agent dial in vain, until the customer is asked.
func promisedTo(ctx context.Context, t *testing.T, r *rig.Rig) {
	t.Helper()
	if status, word := refused(ctx, t, dial(ctx, t, r, "+"+dialledCustomer)); status != 403 || word != "no_permission" {
		t.Fatalf("without permission: %d %q, want 403 no_permission", status, word)
	}
	_, err := r.Meta.WaitMessage(ctx, dialledCustomer)
	must(t, err)
}

// talkTo is the whole of a callback: the agent picks up, the customer picks up,
// they hear each other, and the agent hangs up.
func talkTo(ctx context.Context, t *testing.T, r *rig.Rig) {
	t.Helper()
	phone, err := r.PBX.Next(ctx)
	must(t, err)
	must(t, phone.Wait(ctx, faketrunk.Rung))
	if uri := phone.Invite().URI; len(uri) < 8 || uri[:8] != "sip:201@" {
		t.Errorf("the phone that is called back is %s", uri)
	}
	if n := len(r.Meta.Books()); n != 0 {
		t.Error("the customer is called before the agent is there")
	}
	must(t, phone.Answer())
	customer, err := r.Meta.WaitCallee(ctx, dialledCustomer)
	must(t, err)
	must(t, customer.Wait(ctx, fakemeta.Ringing))
	eventually(ctx, t, "the customer's phone to ring", customer.PickUp)
	must(t, phone.Audio().Meter().Wait(ctx, rig.CustomerTone))
	must(t, customer.WaitHeard(ctx, rig.PhoneTone))
	must(t, phone.Hangup(ctx))
	must(t, r.Meta.WaitQuiet(ctx))
	must(t, r.PBX.Settled(ctx))
}

// calledBackOnce asserts what is left when the gateway has ended: what it still
// wanted to do is done by then.
func calledBackOnce(t *testing.T, r *rig.Rig) {
	t.Helper()
	must(t, r.StopGateway())
	if n := len(r.Meta.Books()); n != 1 {
		t.Errorf("the customer was called %d times, want once", n)
	}
	if n := len(calledPhones(r)); n != 1 {
		t.Errorf("the agent was called %d times, want once", n)
	}
	for _, v := range r.Meta.Violations() {
		t.Errorf("Meta would complain: %+v", v)
	}
}

// calledBackNobody asserts the same where no phone was to ring.
func calledBackNobody(t *testing.T, r *rig.Rig) {
	t.Helper()
	must(t, r.StopGateway())
	if n := len(calledPhones(r)); n != 0 {
		t.Errorf("%d phones rang, want none", n)
	}
}

// calledPhones are the calls that the PBX got.
func calledPhones(r *rig.Rig) (calls []*faketrunk.Call) {
	for _, c := range r.PBX.Calls() {
		for _, m := range c.Messages() {
			if m.Method == "INVITE" {
				if m.In {
					calls = append(calls, c)
				}
				break
			}
		}
	}
	return calls
}

// TestAgentIsCalledBack once, however often and in whatever words the customer
// says yes.
func TestAgentIsCalledBack(t *testing.T) {
	t.Parallel()
	r, ctx := callingBack(t, time.Minute)
	promisedTo(ctx, t, r)
	r.Meta.Disturb(fakemeta.Upset{Kind: fakemeta.KindPermission, Copies: 2})
	must(t, r.Meta.Answer(dialledCustomer, fakemeta.GrantTemporary))
	talkTo(ctx, t, r)
	eventually(ctx, t, "another grant to be another", func() bool { // not within the same second
		must(t, r.Meta.Answer(dialledCustomer, fakemeta.GrantPermanent))
		return permitted(ctx, t, r) == "permanent"
	})
	rs := records(ctx, t, r, 2)
	if len(rs) != 2 || rs[0].Cause != "hangup" || rs[0].Direction != "outbound" || len(rs[0].Agents) != 1 || rs[0].Agents[0] != "201" || rs[1].Cause != "no_permission" {
		t.Errorf("records are %+v", rs)
	}
	for outcome, want := range map[string]float64{"kept": 1, "called": 1, "dropped": 0} {
		if n := metric(t, r, "wagate_callbacks_total", "outcome", outcome); n != want {
			t.Errorf("%v callbacks %s, want %v", n, outcome, want)
		}
	}
	calledBackOnce(t, r)
}

func TestNobodyIsCalledBackAfterANo(t *testing.T) {
	t.Parallel()
	r, ctx := callingBack(t, time.Minute)
	promisedTo(ctx, t, r)
	must(t, r.Meta.Answer(dialledCustomer, fakemeta.Decline))
	permission(ctx, t, r, "declined")
	calledBackNobody(t, r)
}

func TestNobodyIsCalledBackTooLate(t *testing.T) {
	t.Parallel()
	r, ctx := callingBack(t, time.Millisecond)
	promisedTo(ctx, t, r)
	must(t, r.Meta.Answer(dialledCustomer, fakemeta.GrantTemporary))
	permission(ctx, t, r, "temporary")
	calledBackNobody(t, r)
}

// TestGrantWhileTheGatewayIsDown: the promise outlives it, and Meta repeats what
// nobody took.
func TestGrantWhileTheGatewayIsDown(t *testing.T) {
	t.Parallel()
	r, ctx := callingBack(t, time.Minute)
	promisedTo(ctx, t, r)
	must(t, r.StopGateway())
	must(t, r.Meta.Answer(dialledCustomer, fakemeta.GrantTemporary))
	must(t, r.StartGateway())
	talkTo(ctx, t, r)
	calledBackOnce(t, r)
}

// TestGrantThatNobodyCouldActOn: it is in the ledger, and the process that took
// it called nobody.
func TestGrantThatNobodyCouldActOn(t *testing.T) {
	t.Parallel()
	r, ctx := callingBack(t, time.Minute)
	promisedTo(ctx, t, r)
	must(t, r.StopGateway())
	r.Config.Permissions.Callback = false
	must(t, r.StartGateway())
	must(t, r.Meta.Answer(dialledCustomer, fakemeta.GrantTemporary))
	permission(ctx, t, r, "temporary")
	calledBackNobody(t, r)
	r.Config.Permissions.Callback = true
	must(t, r.StartGateway())
	talkTo(ctx, t, r)
	calledBackOnce(t, r)
}

// TestNobodyIsCalledBackWhileDraining: the next start does it.
func TestNobodyIsCalledBackWhileDraining(t *testing.T) {
	t.Parallel()
	r, ctx := callingBack(t, time.Minute)
	promisedTo(ctx, t, r)
	caller, err := r.Meta.Call(ctx, fakemeta.CallOptions{User: fakemeta.User{Number: "34600999888"}})
	must(t, err)
	held, err := r.PBX.Next(ctx)
	must(t, err)
	must(t, held.Answer())
	must(t, caller.Wait(ctx, fakemeta.Connected))
	r.Gateway.Drain()
	must(t, r.Meta.Answer(dialledCustomer, fakemeta.GrantTemporary))
	permission(ctx, t, r, "temporary")
	caller.HangUp()
	<-r.Ended()
	must(t, r.StopGateway())
	if n := len(calledPhones(r)); n != 1 {
		t.Errorf("%d phones rang, want the one of before", n)
	}
	must(t, r.StartGateway())
	phone, err := r.PBX.Next(ctx)
	must(t, err)
	must(t, phone.Wait(ctx, faketrunk.Rung))
}

// TestBusyAgentIsNotCalledAgain, and the customer is left in peace.
func TestBusyAgentIsNotCalledAgain(t *testing.T) {
	t.Parallel()
	r, ctx := callingBack(t, time.Minute)
	r.PBX.Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.Refuse(486) })
	promisedTo(ctx, t, r)
	must(t, r.Meta.Answer(dialledCustomer, fakemeta.GrantTemporary))
	rs := records(ctx, t, r, 2)
	if len(rs) != 2 || rs[0].Cause != "busy" || rs[0].EndedBy != "pbx" {
		t.Errorf("records are %+v", rs)
	}
	must(t, r.StopGateway())
	must(t, r.StartGateway())
	must(t, r.StopGateway())
	if phones, books := len(calledPhones(r)), len(r.Meta.Books()); phones != 1 || books != 0 {
		t.Errorf("the agent was called %d times and the customer %d times, want once and never", phones, books)
	}
}

// TestGrantWhileTheAgentHearsWhyNot: the agent's phone is called as soon as it
// has put the refused call down.
func TestGrantWhileTheAgentHearsWhyNot(t *testing.T) {
	t.Parallel()
	r, ctx := callingBack(t, time.Minute, func(c *config.Config) { c.Permissions.Announce = true })
	call := dial(ctx, t, r, "+"+dialledCustomer)
	must(t, call.Wait(ctx, faketrunk.Rung)) // 183: it hears the prompt
	_, err := r.Meta.WaitMessage(ctx, dialledCustomer)
	must(t, err)
	must(t, r.Meta.Answer(dialledCustomer, fakemeta.GrantTemporary))
	permission(ctx, t, r, "temporary")
	if status, word := refused(ctx, t, call); status != 403 || word != "no_permission" {
		t.Errorf("refused with %d %q, want 403 no_permission", status, word)
	}
	talkTo(ctx, t, r)
	calledBackOnce(t, r)
}

// TestOneGrantIsOneCall, also where agents have dialled the customer by two names.
func TestOneGrantIsOneCall(t *testing.T) {
	t.Parallel()
	r, ctx := callingBack(t, time.Minute)
	promisedTo(ctx, t, r)
	if status, word := refused(ctx, t, dial(ctx, t, r, "ES.20"+dialledCustomer)); status != 403 || word != "no_permission" {
		t.Fatalf("by the other name: %d %q, want 403 no_permission", status, word)
	}
	eventually(ctx, t, "two promises", func() bool { return metric(t, r, "wagate_callbacks_total", "outcome", "kept") == 2 })
	must(t, r.Meta.Answer(dialledCustomer, fakemeta.GrantTemporary))
	talkTo(ctx, t, r)
	for outcome, want := range map[string]float64{"kept": 2, "called": 1, "dropped": 1} {
		if n := metric(t, r, "wagate_callbacks_total", "outcome", outcome); n != want {
			t.Errorf("%v callbacks %s, want %v", n, outcome, want)
		}
	}
	calledBackOnce(t, r)
}

// TestPublicNumberIsNotCalledBack: no leg may end in the public telephone network.
func TestPublicNumberIsNotCalledBack(t *testing.T) {
	t.Parallel()
	r, ctx := callingBack(t, time.Minute)
	call, err := r.PBX.Dial(ctx, faketrunk.Outgoing{To: "sip:+" + dialledCustomer + "@" + r.Gateway.SIPAddr("udp"), From: "+351210000999"})
	must(t, err)
	if status, word := refused(ctx, t, call); status != 403 || word != "no_permission" {
		t.Errorf("refused with %d %q, want 403 no_permission", status, word)
	}
	_, err = r.Meta.WaitMessage(ctx, dialledCustomer)
	must(t, err)
	must(t, r.Meta.Answer(dialledCustomer, fakemeta.GrantTemporary))
	permission(ctx, t, r, "temporary")
	if n := metric(t, r, "wagate_callbacks_total", "outcome", "kept"); n != 0 {
		t.Errorf("%v promises, want none", n)
	}
	calledBackNobody(t, r)
}
