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

// challenged asks desk phones for an account.
func challenged(c *config.Config) {
	unprobed(c)
	rig.DialOut(c)
	c.Trunks[0].Challenge.User, c.Trunks[0].Challenge.Password = "pbx", "secret"
}

func dialAs(ctx context.Context, t *testing.T, r *rig.Rig, user, password string) *faketrunk.Call {
	t.Helper()
	call, err := r.PBX.Dial(ctx, faketrunk.Outgoing{
		To: "sip:+" + dialledCustomer + "@" + r.Gateway.SIPAddr("udp"), From: "201", User: user, Password: password,
	})
	must(t, err)
	return call
}

// TestPasswordOfATrunk: with it a call is like any other, by SHA-256 here;
// without it nothing happens at all.
func TestPasswordOfATrunk(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: challenged})
	r.Meta.Callee("", fakemeta.Callee{Answer: 200 * time.Millisecond})
	for _, account := range [][2]string{{"", ""}, {"pbx", "guess"}, {"nobody", "secret"}} {
		if status, word := refused(ctx, t, dialAs(ctx, t, r, account[0], account[1])); status != 401 || word != "not_allowed" {
			t.Errorf("%v: refused with %d %q, want 401 not_allowed", account, status, word)
		}
	}
	if n := len(r.Meta.Requests()); n != 0 {
		t.Errorf("%d requests to Meta, want none", n)
	}
	if rs := settled(ctx, t, r); len(rs) != 0 {
		t.Errorf("records are %+v, want none", rs)
	}
	if n := metric(t, r, "wagate_rtp_ports_in_use"); n != 0 {
		t.Errorf("%v ports are in use", n)
	}
	call := dialAs(ctx, t, r, "pbx", "secret")
	must(t, call.Wait(ctx, faketrunk.Up))
	must(t, call.Audio().Meter().Wait(ctx, rig.CustomerTone))
	must(t, call.Hangup(ctx))
	if rs := settled(ctx, t, r); len(rs) != 1 || rs[0].Cause != "hangup" {
		t.Errorf("records are %+v", rs)
	}
}

func TestReloadChangesAPassword(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: challenged})
	r.Meta.Callee("", fakemeta.Callee{Answer: 200 * time.Millisecond})
	fresh := *r.Config
	fresh.Trunks = append([]config.Trunk{}, r.Config.Trunks...)
	fresh.Trunks[0].Challenge.Password = "fresh"
	must(t, r.Gateway.Reload(&fresh))
	if status, _ := refused(ctx, t, dialAs(ctx, t, r, "pbx", "secret")); status != 401 {
		t.Errorf("the old password: %d, want 401", status)
	}
	call := dialAs(ctx, t, r, "pbx", "fresh")
	must(t, call.Wait(ctx, faketrunk.Up))
	must(t, call.Hangup(ctx))
	settled(ctx, t, r)
}

// TestPBXSendsOurCallBack: its dial plan leads a customer's call straight back
// to us. No other customer rings for that.
func TestPBXSendsOurCallBack(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) { unprobed(c); rig.DialOut(c) }})
	r.PBX.Handle(func(*faketrunk.Message) faketrunk.Script {
		return faketrunk.Script{Ring: faketrunk.Never, Answer: faketrunk.Never}
	})
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{})
	must(t, err)
	there, err := r.PBX.Next(ctx)
	must(t, err)
	var kept []faketrunk.Header // as a PBX does that passes on what it does not know
	for _, h := range there.Invite().Headers {
		if len(h.Name) > 2 && h.Name[:2] == "X-" {
			kept = append(kept, h)
		}
	}
	back, err := r.PBX.Dial(ctx, faketrunk.Outgoing{To: "sip:+" + dialledCustomer + "@" + r.Gateway.SIPAddr("udp"), From: "+34600111222", Headers: kept})
	must(t, err)
	if status, word := refused(ctx, t, back); status != 482 || word != "no_route" {
		t.Errorf("refused with %d %q, want 482 no_route", status, word)
	}
	must(t, there.Refuse(482))
	must(t, customer.Wait(ctx, fakemeta.Ended))
	if rs := settled(ctx, t, r); len(rs) != 1 || rs[0].Direction != "inbound" || rs[0].SIPStatus != 482 {
		t.Errorf("records are %+v, want the customer's call alone", rs)
	}
	if n := len(r.PBX.Calls()); n != 2 {
		t.Errorf("%d calls at the PBX, want the customer's and the one that came back", n)
	}
	for _, q := range r.Meta.Requests() {
		if q.Action == "connect" {
			t.Error("a customer was called")
		}
	}
}

// TestPhoneWithoutAnOffer: our 200 has it, and the ACK the answer.
func TestPhoneWithoutAnOffer(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) { unprobed(c); rig.DialOut(c) }})
	r.Meta.Callee("", fakemeta.Callee{Ring: 100 * time.Millisecond, Answer: 300 * time.Millisecond})
	call, err := r.PBX.Dial(ctx, faketrunk.Outgoing{To: "sip:+" + dialledCustomer + "@" + r.Gateway.SIPAddr("udp"), From: "201", NoOffer: true})
	must(t, err)
	customer, err := r.Meta.WaitCallee(ctx, dialledCustomer)
	must(t, err)
	must(t, call.Wait(ctx, faketrunk.Up))
	must(t, call.Audio().Meter().Wait(ctx, rig.CustomerTone))
	must(t, customer.WaitHeard(ctx, rig.PhoneTone))
	must(t, call.Hangup(ctx))
	if rs := settled(ctx, t, r); len(rs) != 1 || rs[0].Cause != "hangup" || rs[0].CodecSIP != "PCMA" {
		t.Errorf("records are %+v", rs)
	}
	if f := r.PBX.Faults(); len(f) != 0 {
		t.Errorf("faults: %v", f)
	}
}
