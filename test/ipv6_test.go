package test

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// TestCallsOverIPv6: signalling and audio of the trunk on [::1], with WhatsApp
// on IPv4 and on IPv6, both directions, over a hold.
func TestCallsOverIPv6(t *testing.T) {
	t.Parallel()
	c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	must(t, c.Close())
	for _, row := range []struct {
		name, transport string
		meta            netip.Addr
	}{
		{"trunk", "udp", netip.Addr{}},
		{"trunk and WhatsApp", "tcp", netip.IPv6Loopback()},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r, ctx := rigged(t, rig.Options{
				Trunk: netip.IPv6Loopback(), Meta: fakemeta.Options{MediaIP: row.meta},
				Config: func(c *config.Config) {
					rig.DialOut(c)
					c.Trunks[0].Targets[0].URI = strings.Replace(c.Trunks[0].Targets[0].URI, "=udp", "="+row.transport, 1)
				},
			})
			r.PBX.Handle(answering(0))
			r.Meta.Callee("", fakemeta.Callee{Answer: 100 * time.Millisecond})

			customer, phone := talking(ctx, t, r, fakemeta.CallOptions{})
			for _, d := range []faketrunk.Direction{faketrunk.SendOnly, faketrunk.SendRecv} {
				if status, err := phone.Reinvite(ctx, d); err != nil || status != 200 {
					t.Fatalf("%s is answered with %d, %v", d, status, err)
				}
			}
			hearing(ctx, t, customer, phone)
			for _, source := range phone.Audio().Reception().Sources {
				if !source.Addr().Is6() {
					t.Errorf("audio comes from %v", source)
				}
			}
			customer.HangUp()
			must(t, phone.Wait(ctx, faketrunk.Ended))

			out, err := r.PBX.Dial(ctx, faketrunk.Outgoing{
				To: "sip:+" + dialledCustomer + "@" + r.Gateway.SIPAddr(row.transport) + ";transport=" + row.transport, From: "201",
			})
			must(t, err)
			called, err := r.Meta.WaitCallee(ctx, dialledCustomer)
			must(t, err)
			hearing(ctx, t, called, out)
			must(t, out.Hangup(ctx))
			for _, rec := range settled(ctx, t, r) {
				if rec.Cause != "hangup" {
					t.Errorf("the record says %s", rec.Cause)
				}
			}
			for _, fault := range r.PBX.Faults() {
				t.Error(fault)
			}
		})
	}
}
