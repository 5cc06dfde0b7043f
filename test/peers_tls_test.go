//go:build system

package test

import (
	"net/netip"
	"strconv"
	"testing"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/peers"
	"wagate/test/rig"
)

// TestBaresipOverTLS: a phone that takes calls over TLS only, and encrypted sound
// only, and a customer hear each other.
func TestBaresipOverTLS(t *testing.T) {
	t.Parallel()
	certs := newCertificates(t)
	local := netip.MustParseAddr("127.0.0.1")
	cert, key := certs.of(t, local)
	phone := peers.StartSecureBaresip(t, cert, key)
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
		c.SIP.Listen = []string{"tls://127.0.0.1:0"}
		c.SIP.TLS = config.TLS{Cert: cert, Key: key}
		trunk := &c.Trunks[0]
		trunk.Targets = []config.Target{{URI: "sip:127.0.0.1:" + strconv.Itoa(int(phone.Addr.Port())+1) + ";transport=tls"}}
		trunk.TLS = config.TLS{CA: certs.ca()}
		trunk.SRTP = "required"
		unprobed(c)
	}})
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{Sound: fakemeta.Sound{Hear: []float64{peers.ToneFreq}}})
	must(t, err)
	must(t, customer.WaitHeard(ctx, peers.ToneFreq))
	waitTalked(ctx, t, customer, 2)
	must(t, phone.Hangup(ctx))
	over(ctx, t, r, "hangup", "pbx")
	wantHeard(t, phone)
}
