//go:build system

package test

import (
	"net/netip"
	"strings"
	"testing"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/peers"
)

func TestAsteriskRingsAPhone(t *testing.T) {
	t.Parallel()
	f, ctx := opened(t, "201", peers.AsteriskOptions{}, nil)
	customer, err := f.Meta.Call(ctx, fakemeta.CallOptions{Sound: ear()})
	must(t, err)
	phone, err := f.phones["201"].Next(ctx)
	must(t, err)
	must(t, customer.Wait(ctx, fakemeta.Connected))
	conversing(ctx, t, customer, phone, "201")
	customer.HangUp()
	must(t, phone.Wait(ctx, faketrunk.Ended))
	wantRecord(t, recordOf(t, f.closed(ctx, t, customer), customer), "hangup", "customer")
}

// TestAsteriskQueueHoldAndTransfer: the customer waits with music, an agent
// answers, holds (the customer hears the music again), resumes, asks a colleague
// and hands the customer over; then the colleague and the customer talk. All of
// it is one stream for WhatsApp.
func TestAsteriskQueueHoldAndTransfer(t *testing.T) {
	t.Parallel()
	f, ctx := opened(t, "600", peers.AsteriskOptions{}, nil)
	f.phones["201"].Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.NoAnswer() })
	customer, err := f.Meta.Call(ctx, fakemeta.CallOptions{Sound: ear()})
	must(t, err)
	must(t, customer.WaitHeard(ctx, peers.MusicTone))
	agent, err := f.phones["201"].Next(ctx)
	must(t, err)
	must(t, agent.Wait(ctx, faketrunk.Rung))
	must(t, agent.Answer())
	conversing(ctx, t, customer, agent, "201")

	hold(ctx, t, agent)
	customer.Meter().Reset()
	must(t, customer.WaitHeard(ctx, peers.MusicTone))
	resume(ctx, t, agent)
	conversing(ctx, t, customer, agent, "201")

	colleague := handOver(ctx, t, f, agent, "201", "202")
	conversing(ctx, t, customer, colleague, "202")
	must(t, colleague.Hangup(ctx))
	must(t, customer.Wait(ctx, fakemeta.Ended))
	wantRecord(t, recordOf(t, f.closed(ctx, t, customer), customer), "hangup", "pbx")
}

// TestAsteriskWantsAPassword of the gateway, which it does not know by address.
func TestAsteriskWantsAPassword(t *testing.T) {
	t.Parallel()
	f, ctx := opened(t, "201", peers.AsteriskOptions{Trunk: "password"}, nil)
	customer, err := f.Meta.Call(ctx, fakemeta.CallOptions{Sound: ear()})
	must(t, err)
	phone, err := f.phones["201"].Next(ctx)
	must(t, err)
	conversing(ctx, t, customer, phone, "201")
	if from := phone.Invite().Get("From"); !strings.Contains(from, customer.User().Number) {
		t.Errorf("the phone shows %s, the customer is %s", from, customer.User().Number)
	}
	must(t, phone.Hangup(ctx))
	must(t, customer.Wait(ctx, fakemeta.Ended))
	wantRecord(t, recordOf(t, f.closed(ctx, t, customer), customer), "hangup", "pbx")
}

// TestAsteriskBlindTransfer: the agent sends the customer to a colleague's phone,
// which rings and answers without the agent.
func TestAsteriskBlindTransfer(t *testing.T) {
	t.Parallel()
	f, ctx := opened(t, "201", peers.AsteriskOptions{}, nil)
	customer, err := f.Meta.Call(ctx, fakemeta.CallOptions{Sound: ear()})
	must(t, err)
	agent, err := f.phones["201"].Next(ctx)
	must(t, err)
	conversing(ctx, t, customer, agent, "201")
	must(t, agent.Refer(ctx, nil, "sip:202@"+f.pbx.Addr.String()))
	must(t, agent.Hangup(ctx))
	colleague, err := f.phones["202"].Next(ctx)
	must(t, err)
	conversing(ctx, t, customer, colleague, "202")
	customer.HangUp()
	must(t, colleague.Wait(ctx, faketrunk.Ended))
	wantRecord(t, recordOf(t, f.closed(ctx, t, customer), customer), "hangup", "customer")
}

// TestAsteriskPassesHoldOn: with moh_passthrough the hold itself reaches the
// gateway, and nobody plays music.
func TestAsteriskPassesHoldOn(t *testing.T) {
	t.Parallel()
	f, ctx := opened(t, "201", peers.AsteriskOptions{Change: func(c peers.Files) {
		c.Replace(t, "pjsip.conf", "context=from-whatsapp", "context=from-whatsapp\nmoh_passthrough=yes")
	}}, nil)
	customer, err := f.Meta.Call(ctx, fakemeta.CallOptions{Sound: ear()})
	must(t, err)
	agent, err := f.phones["201"].Next(ctx)
	must(t, err)
	must(t, customer.Wait(ctx, fakemeta.Connected))
	conversing(ctx, t, customer, agent, "201")
	for range 2 {
		hold(ctx, t, agent)
		heard := len(customer.Packets())
		awaitPackets(ctx, t, customer, heard+25)
		resume(ctx, t, agent)
		conversing(ctx, t, customer, agent, "201")
	}
	if n := strings.Count(f.pbx.Log(), "INVITE sip:wagate@"); n < 4 {
		t.Errorf("%d re-INVITEs to the gateway, want 4", n)
	}
	customer.HangUp()
	wantRecord(t, recordOf(t, f.closed(ctx, t, customer), customer), "hangup", "customer")
}

// TestAsteriskLeavesTheMedia: with direct_media, and phones that count as the
// trunk, the phone and the gateway send to each other, and on hold to Asterisk
// again.
func TestAsteriskLeavesTheMedia(t *testing.T) {
	t.Parallel()
	direct := func(c peers.Files) { c.Replace(t, "pjsip.conf", "direct_media=no", "direct_media=yes") }
	f, ctx := opened(t, "201", peers.AsteriskOptions{Change: direct}, func(c *config.Config) {
		c.Trunks[0].Sources = []netip.Prefix{netip.PrefixFrom(c.Media.RTP.Bind, 24).Masked()}
	})
	customer, err := f.Meta.Call(ctx, fakemeta.CallOptions{Sound: ear()})
	must(t, err)
	agent, err := f.phones["201"].Next(ctx)
	must(t, err)
	must(t, customer.Wait(ctx, fakemeta.Connected))
	eventually(ctx, t, "packets straight from the gateway", func() bool {
		s := agent.Audio().Reception().Sources
		return len(s) > 0 && s[len(s)-1].Addr() == f.pbx.Gateway
	})
	conversing(ctx, t, customer, agent, "201")
	hold(ctx, t, agent)
	customer.Meter().Reset()
	must(t, customer.WaitHeard(ctx, peers.MusicTone))
	resume(ctx, t, agent)
	conversing(ctx, t, customer, agent, "201")
	customer.HangUp()
	wantRecord(t, recordOf(t, f.closed(ctx, t, customer), customer), "hangup", "customer")
}
