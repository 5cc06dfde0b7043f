//go:build system

package test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/peers"
	"wagate/test/rig"
)

// guardedBy is a gateway that asks phones for an account before they may call a
// customer, who has said yes and answers.
func guardedBy(t *testing.T, user, password string, algorithms ...string) (*rig.Rig, context.Context) {
	t.Helper()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
		rig.DialOut(c)
		c.Trunks[0].Challenge = config.Challenge{User: user, Password: config.Secret(password), Algorithms: algorithms}
	}})
	r.Meta.Callee("", fakemeta.Callee{Ring: 200 * time.Millisecond, Answer: 500 * time.Millisecond})
	return r, ctx
}

func gatewayOf(t *testing.T, r *rig.Rig) netip.AddrPort {
	t.Helper()
	addr, err := netip.ParseAddrPort(r.Gateway.SIPAddr("udp"))
	must(t, err)
	return addr
}

func TestSIPpDialsACustomer(t *testing.T) {
	t.Parallel()
	r, ctx := guardedBy(t, "pbx", "secret", config.DefaultTrunk().Challenge.Algorithms...)
	phone := peers.DialSIPp(t, peers.Dial, gatewayOf(t, r), "+"+dialledCustomer, "pbx", "secret")
	customer, err := r.Meta.WaitCallee(ctx, dialledCustomer)
	must(t, err)
	must(t, customer.WaitHeard(ctx, peers.ToneFreq))
	must(t, phone.Wait(ctx))
	over(ctx, t, r, "hangup", "pbx")
}

func TestBaresipDialsACustomer(t *testing.T) {
	t.Parallel()
	r, ctx := guardedBy(t, "pbx", "secret", "MD5") // it gives up when it sees another
	phone := peers.StartBaresipAs(t, "pbx", "secret")
	must(t, phone.Dial(ctx, "sip:+"+dialledCustomer+"@"+r.Gateway.SIPAddr("udp")))
	customer, err := r.Meta.WaitCallee(ctx, dialledCustomer)
	must(t, err)
	must(t, customer.WaitHeard(ctx, peers.ToneFreq))
	waitTalked(ctx, t, customer, 2)
	must(t, phone.Hangup(ctx))
	over(ctx, t, r, "hangup", "pbx")
	wantHeard(t, phone)
}

// TestPhonesWithAWrongPassword ring nobody: Meta is not even asked.
func TestPhonesWithAWrongPassword(t *testing.T) {
	t.Parallel()
	r, ctx := guardedBy(t, "pbx", "secret", "MD5")
	must(t, peers.DialSIPp(t, peers.DialInVain, gatewayOf(t, r), "+"+dialledCustomer, "pbx", "guess").Wait(ctx))
	must(t, peers.DialSIPp(t, peers.DialInVain, gatewayOf(t, r), "+"+dialledCustomer, "nobody", "secret").Wait(ctx))
	phone := peers.StartBaresipAs(t, "pbx", "guess")
	must(t, phone.Dial(ctx, "sip:+"+dialledCustomer+"@"+r.Gateway.SIPAddr("udp")))
	must(t, phone.WaitPrinted(ctx, "session closed"))
	if n := len(r.Meta.Requests()); n != 0 {
		t.Errorf("%d requests to Meta, want none", n)
	}
	if rs := settled(ctx, t, r); len(rs) != 0 {
		t.Errorf("records are %+v, want none", rs)
	}
	if n := metric(t, r, "wagate_sip_requests_rejected_total", "reason", "credentials"); n < 3 {
		t.Errorf("%v wrong credentials were counted, want 3 or more", n)
	}
}
