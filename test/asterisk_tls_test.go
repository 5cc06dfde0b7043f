//go:build system

package test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/peers"
)

// TestAsteriskOverTLS: the gateway logs in at an Asterisk that does not know its
// address, and calls go both ways with their keys and their sound encrypted.
func TestAsteriskOverTLS(t *testing.T) {
	t.Parallel()
	certs := newCertificates(t)
	var pbx, gateway netip.Addr
	f, ctx := opened(t, "201", peers.AsteriskOptions{
		Trunk:  "tls",
		Beside: func(a *peers.Asterisk) { pbx, gateway = a.Addr.Addr(), a.Gateway },
		Change: func(c peers.Files) {
			cert, key := certs.of(t, pbx)
			c.Replace(t, "pjsip.conf", "/etc/asterisk/keys/pbx.pem", cert)
			c.Replace(t, "pjsip.conf", "/etc/asterisk/keys/pbx.key", key)
			c.Replace(t, "pjsip.conf", "/etc/asterisk/keys/ca.pem", certs.ca())
			cert, key = certs.of(t, gateway)
			c.Replace(t, "wagate.yaml", "/etc/wagate/tls/gateway.pem", cert)
			c.Replace(t, "wagate.yaml", "/etc/wagate/tls/gateway.key", key)
			c.Replace(t, "wagate.yaml", "/etc/wagate/tls/ca.pem", certs.ca())
		},
	}, nil)

	customer, err := f.Meta.Call(ctx, fakemeta.CallOptions{Sound: ear()})
	must(t, err)
	phone, err := f.phones["201"].Next(ctx)
	must(t, err)
	must(t, customer.Wait(ctx, fakemeta.Connected))
	conversing(ctx, t, customer, phone, "201")
	must(t, phone.Hangup(ctx))
	must(t, customer.Wait(ctx, fakemeta.Ended))

	f.Meta.Callee("", fakemeta.Callee{Answer: 200 * time.Millisecond, Sound: ear()})
	agent := f.dial(ctx, t, "201", "+"+dialledCustomer)
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
	for _, want := range []string{"REGISTER sip:" + pbx.String(), "RTP/SAVP", "a=crypto:", "SIP/2.0/TLS " + gateway.String() + ":5061"} {
		if !strings.Contains(log, want) {
			t.Errorf("Asterisk saw no %s", want)
		}
	}
}
