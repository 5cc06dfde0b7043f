//go:build system

package test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"wagate/config"
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
		Trunk:  "password",
		Beside: func(a *peers.Asterisk) { pbx, gateway = a.Addr.Addr(), a.Gateway },
		Change: func(c peers.Files) {
			cert, key := certs.of(t, pbx)
			c["pjsip.conf"] += "[transport-tls]\ntype=transport\nprotocol=tls\nbind=" + pbx.String() + ":5061\ncert_file=" + cert +
				"\npriv_key_file=" + key + "\nca_list_file=" + certs.ca() + "\nmethod=tlsv1_2\nverify_server=yes\n"
			c.Replace(t, "pjsip.conf", "context=from-whatsapp\ntransport=transport-udp", "context=from-whatsapp\ntransport=transport-tls\nmedia_encryption=sdes")
			c.Replace(t, "pjsip.conf", "contact=sip:192.0.2.20:5060", "max_contacts=1\nremove_existing=yes")
		},
	}, func(c *config.Config) {
		cert, key := certs.of(t, gateway)
		c.SIP.Listen = []string{"tls://" + gateway.String() + ":5061"}
		c.SIP.TLS = config.TLS{Cert: cert, Key: key}
		trunk := &c.Trunks[0]
		trunk.Targets = []config.Target{{URI: "sip:" + pbx.String() + ":5061;transport=tls"}}
		trunk.TLS = config.TLS{CA: certs.ca()}
		trunk.Register.Enabled = true
		trunk.SRTP = "required"
	})

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
