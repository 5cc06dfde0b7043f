//go:build system

package test

import (
	"strings"
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/peers"
)

// TestSessionsAreRefreshed with the shortest interval there is. A proxy on the
// way has Asterisk refresh one call, which it does by UPDATE, and hides from the
// gateway that Asterisk would take an UPDATE for the other, so that it refreshes
// that by INVITE. Nobody hears anything of it. Both sides read each other's
// reports (RTCP) meanwhile.
func TestSessionsAreRefreshed(t *testing.T) {
	t.Parallel()
	f, ctx := proxied(t, meddling{
		pbx: func(c peers.Files) {
			c.Replace(t, "pjsip.conf", "context=from-whatsapp", "context=from-whatsapp\ntimers=required\ntimers_min_se=90\ntimers_sess_expires=90")
		},
		ours:   `subst('/^Session-Expires: .*$/Session-Expires: 90;refresher=uas/');`,
		theirs: `subst('/^(Allow: .*)UPDATE, (.*)$/\1\2/');`,
	}, func(c *config.Config) { c.Trunks[0].SessionExpires = 90 * time.Second })
	customer, err := f.Meta.Call(ctx, fakemeta.CallOptions{Sound: ear()})
	must(t, err)
	phone, err := f.phones["201"].Next(ctx)
	must(t, err)
	conversing(ctx, t, customer, phone, "201")
	f.Meta.Callee("", fakemeta.Callee{Answer: 200 * time.Millisecond, Sound: ear()})
	agent := f.dial(ctx, t, "202", "+"+dialledCustomer)
	must(t, agent.Wait(ctx, faketrunk.Up))
	called, err := f.Meta.WaitCallee(ctx, dialledCustomer)
	must(t, err)
	conversing(ctx, t, called, agent, "202")

	_, err = f.pbx.WaitEvent(ctx, "RTCPReceived", "PT", "200(SR)", "ReportCount", "1")
	must(t, err)
	for _, refresh := range []struct{ what, by, start string }{
		{"Asterisk's refresh", "Transmitting", "UPDATE sip:wagate@"},
		{"the gateway's refresh", "Received", "INVITE sip:asterisk@"},
	} {
		eventually(ctx, t, refresh.what, func() bool { return agreedOn(f.pbx.Log(), refresh.by, refresh.start) })
	}
	conversing(ctx, t, customer, phone, "201")
	conversing(ctx, t, called, agent, "202")
	must(t, phone.Hangup(ctx))
	must(t, agent.Hangup(ctx))
	rs := f.closed(ctx, t, customer, called)
	delay := 0.0
	for _, c := range []*fakemeta.Customer{customer, called} {
		rec := recordOf(t, rs, c)
		wantRecord(t, rec, "hangup", "pbx")
		delay += rec.Media.SIP.RTTMS
	}
	if delay == 0 {
		t.Error("Asterisk's reports tell no round trip")
	}
}

// agreedOn tells whether Asterisk's log has a request that refreshes a session,
// and that it was taken.
func agreedOn(log, by, start string) bool {
	messages := strings.Split(log, "<--- ")
	id := ""
	for _, m := range messages {
		head, text, _ := strings.Cut(m, "\n")
		transaction := line(text, "Call-ID: ") + line(text, "CSeq: ")
		switch {
		case id == "" && strings.HasPrefix(head, by) && strings.HasPrefix(text, start) && strings.Contains(line(text, "Session-Expires: "), "90;refresher=uac"):
			id = transaction
		case id != "" && transaction == id && strings.HasPrefix(text, "SIP/2.0 200") && strings.Contains(line(text, "Session-Expires: "), "90;refresher=uac"):
			return true
		}
	}
	return false
}

// line returns what follows the start of a line of a message.
func line(message, start string) string {
	for l := range strings.Lines(message) {
		if rest, ok := strings.CutPrefix(l, start); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// TestAsteriskInsists on longer sessions than the gateway proposes, and on
// reliable ringing, in both directions.
func TestAsteriskInsists(t *testing.T) {
	t.Parallel()
	f, ctx := opened(t, "201", peers.AsteriskOptions{Change: func(c peers.Files) {
		c.Replace(t, "pjsip.conf", "100rel=peer_supported", "100rel=required\ntimers=required\ntimers_min_se=180\ntimers_sess_expires=180")
	}}, func(c *config.Config) { c.Trunks[0].SessionExpires = 90 * time.Second })
	f.phones["201"].Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.NoAnswer() })
	customer, err := f.Meta.Call(ctx, fakemeta.CallOptions{Sound: ear()})
	must(t, err)
	phone, err := f.phones["201"].Next(ctx)
	must(t, err)
	must(t, phone.Wait(ctx, faketrunk.Rung))
	eventually(ctx, t, "our PRACK", func() bool { return strings.Contains(f.pbx.Log(), "PRACK sip:"+f.pbx.Addr.String()) })
	must(t, phone.Answer())
	must(t, customer.Wait(ctx, fakemeta.Connected))
	conversing(ctx, t, customer, phone, "201")
	must(t, phone.Hangup(ctx))
	must(t, customer.Wait(ctx, fakemeta.Ended))

	f.Meta.Callee("", fakemeta.Callee{Ring: 100 * time.Millisecond, Answer: 500 * time.Millisecond, Sound: ear()})
	agent := f.dial(ctx, t, "201", "+"+dialledCustomer)
	must(t, agent.Wait(ctx, faketrunk.Rung))
	must(t, agent.Wait(ctx, faketrunk.Up))
	called, err := f.Meta.WaitCallee(ctx, dialledCustomer)
	must(t, err)
	conversing(ctx, t, called, agent, "201")
	called.HangUp()
	must(t, agent.Wait(ctx, faketrunk.Ended))
	rs := f.closed(ctx, t, customer, called)
	wantRecord(t, recordOf(t, rs, customer), "hangup", "pbx")
	wantRecord(t, recordOf(t, rs, called), "hangup", "customer")
	log := f.pbx.Log()
	for _, want := range []string{"SIP/2.0 422 ", "Session-Expires: 180;refresher=", "Require: 100rel", "PRACK sip:wagate@"} {
		if !strings.Contains(log, want) {
			t.Errorf("Asterisk's log has no %s", want)
		}
	}
}
