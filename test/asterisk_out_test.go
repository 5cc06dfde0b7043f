//go:build system

package test

import (
	"strings"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/peers"
)

// TestAgentCallsThroughAsterisk from a phone that has registered there, holds
// the customer and resumes.
func TestAgentCallsThroughAsterisk(t *testing.T) {
	t.Parallel()
	f, ctx := opened(t, "600", peers.AsteriskOptions{}, nil)
	f.Meta.Callee("", fakemeta.Callee{Ring: 100 * time.Millisecond, Answer: 300 * time.Millisecond, Sound: ear()})
	agent := f.dial(ctx, t, "201", "+"+dialledCustomer)
	must(t, agent.Wait(ctx, faketrunk.Rung))
	must(t, agent.Wait(ctx, faketrunk.Up))
	customer, err := f.Meta.WaitCallee(ctx, dialledCustomer)
	must(t, err)
	conversing(ctx, t, customer, agent, "201")
	hold(ctx, t, agent)
	customer.Meter().Reset()
	must(t, customer.WaitHeard(ctx, peers.MusicTone))
	resume(ctx, t, agent)
	conversing(ctx, t, customer, agent, "201")
	must(t, agent.Hangup(ctx))
	must(t, customer.Wait(ctx, fakemeta.Ended))
	rec := recordOf(t, f.closed(ctx, t, customer), customer)
	wantRecord(t, rec, "hangup", "pbx")
	if rec.Direction != "outbound" || rec.SIPStatus != 200 {
		t.Errorf("the record says %s, %d", rec.Direction, rec.SIPStatus)
	}
}

// TestCustomerDeclinesAsterisk: the agent's phone is told.
func TestCustomerDeclinesAsterisk(t *testing.T) {
	t.Parallel()
	f, ctx := opened(t, "600", peers.AsteriskOptions{}, nil)
	f.Meta.Callee("", fakemeta.Callee{Reject: 200 * time.Millisecond})
	agent := f.dial(ctx, t, "201", "00"+dialledCustomer)
	must(t, agent.Wait(ctx, faketrunk.Refused))
	if agent.Status() != 403 { // Asterisk knows one cause for both
		t.Errorf("the phone was told %d, want 403", agent.Status())
	}
	f.closed(ctx, t)
}

// TestAsteriskAndGatewayProveWhoTheyAre to each other, by one account for each
// direction, also when a call is held.
func TestAsteriskAndGatewayProveWhoTheyAre(t *testing.T) {
	t.Parallel()
	f, ctx := opened(t, "600", peers.AsteriskOptions{Trunk: "password", Change: func(c peers.Files) {
		c.Replace(t, "pjsip.conf", "context=from-whatsapp", "context=from-whatsapp\nmoh_passthrough=yes")
	}}, nil)
	f.Meta.Callee("", fakemeta.Callee{Answer: 200 * time.Millisecond, Sound: ear()})
	agent := f.dial(ctx, t, "201", "+"+dialledCustomer)
	must(t, agent.Wait(ctx, faketrunk.Up))
	customer, err := f.Meta.WaitCallee(ctx, dialledCustomer)
	must(t, err)
	conversing(ctx, t, customer, agent, "201")
	hold(ctx, t, agent)
	resume(ctx, t, agent)
	conversing(ctx, t, customer, agent, "201")
	customer.HangUp()
	must(t, agent.Wait(ctx, faketrunk.Ended))
	wantRecord(t, recordOf(t, f.closed(ctx, t, customer), customer), "hangup", "customer")
	if log := f.pbx.Log(); !strings.Contains(log, `realm="wagate"`) {
		t.Error("the gateway never asked for the account")
	}
}
