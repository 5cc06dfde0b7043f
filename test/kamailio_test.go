//go:build system

package test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/peers"
	"wagate/test/rig"
)

// TestKamailioStaysOnTheWay between the gateway and Asterisk: every request, in
// both directions and up to the BYE, goes by the route set.
func TestKamailioStaysOnTheWay(t *testing.T) {
	t.Parallel()
	f, ctx := proxied(t, meddling{}, nil)
	f.Meta.Callee("", fakemeta.Callee{Answer: 200 * time.Millisecond, Sound: ear()})
	for _, customerHangsUp := range []bool{true, false} {
		customer, err := f.Meta.Call(ctx, fakemeta.CallOptions{Sound: ear()})
		must(t, err)
		phone, err := f.phones["201"].Next(ctx)
		must(t, err)
		conversing(ctx, t, customer, phone, "201")
		f.parted(ctx, t, customer, phone, customerHangsUp)

		phone = f.dial(ctx, t, "201", "+"+dialledCustomer)
		must(t, phone.Wait(ctx, faketrunk.Up))
		customer, err = f.Meta.WaitCallee(ctx, dialledCustomer)
		must(t, err)
		conversing(ctx, t, customer, phone, "201")
		f.parted(ctx, t, customer, phone, customerHangsUp)
	}
	f.closed(ctx, t)
	if straight := " UDP:" + f.pbx.Gateway.String() + ":"; strings.Contains(f.pbx.Log(), straight) {
		t.Error("messages went past the proxy")
	}
}

// meddling is what an office with a proxy has besides: settings of Asterisk's,
// and, in Kamailio's language, what it does to the first request of a call, from
// the gateway and from Asterisk.
type meddling struct {
	pbx          func(peers.Files)
	ours, theirs string
}

// proxied starts an office with a Kamailio between gateway and Asterisk. Phones
// are at home with Asterisk.
func proxied(t *testing.T, do meddling, change func(*config.Config)) (*office, context.Context) {
	t.Helper()
	var proxy *peers.Kamailio
	return opened(t, "201", peers.AsteriskOptions{
		Change: func(c peers.Files) {
			if do.pbx != nil {
				do.pbx(c)
			}
			c.Replace(t, "pjsip.conf", "contact=sip:192.0.2.20:5060", "contact=sip:192.0.2.20:5060\noutbound_proxy=sip:192.0.2.40:5060\\;lr")
			c.Replace(t, "pjsip.conf", "context=from-whatsapp", "context=from-whatsapp\noutbound_proxy=sip:192.0.2.40:5060\\;lr")
			c.Replace(t, "pjsip.conf", "match=192.0.2.20", "match=192.0.2.40")
		},
		Beside: func(a *peers.Asterisk) {
			proxy = peers.StartKamailio(t, a.Proxy, `if ($si == "`+a.Gateway.String()+`") {
		$du = "sip:`+a.Addr.String()+`";
		`+do.ours+`
	} else {
		loose_route();
		`+do.theirs+`
	}`)
		},
	}, func(c *config.Config) {
		pbx := c.Trunks[0].Targets[0].URI
		host := netip.MustParseAddrPort(strings.TrimPrefix(pbx, "sip:")).Addr()
		c.Trunks[0].Targets = []config.Target{{URI: "sip:" + proxy.Addr.String()}}
		c.Trunks[0].Sources = []netip.Prefix{netip.PrefixFrom(host, 32), netip.PrefixFrom(proxy.Addr.Addr(), 32)}
		if change != nil {
			change(c)
		}
	})
}

// parted ends a call from one of its sides.
func (f *office) parted(ctx context.Context, t *testing.T, customer *fakemeta.Customer, phone *faketrunk.Call, customerHangsUp bool) {
	t.Helper()
	if customerHangsUp {
		customer.HangUp()
	} else {
		must(t, phone.Hangup(ctx))
	}
	must(t, phone.Wait(ctx, faketrunk.Ended))
	must(t, customer.Wait(ctx, fakemeta.Ended))
	wantSteadyAtCustomer(t, customer)
	must(t, f.Meta.WaitQuiet(ctx))
}

// forking starts a gateway whose trunk is a Kamailio in front of our own phones,
// and which lets those phones call out.
func forking(t *testing.T, relay func(at func(byte) netip.Addr) string) (*rig.Rig, context.Context, *peers.Kamailio) {
	t.Helper()
	at := peers.Loopback(t)
	proxy := peers.StartKamailio(t, at(40), relay(at))
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
		rig.DialOut(c)
		c.SIP.Listen = []string{"udp://" + at(20).String() + ":5060"}
		c.Trunks[0].Targets = []config.Target{{URI: "sip:" + proxy.Addr.String()}}
		c.Trunks[0].Sources = []netip.Prefix{netip.PrefixFrom(at(0), 24), netip.MustParsePrefix("127.0.0.1/32")}
	}})
	return r, ctx, proxy
}

// TestMergedRequest: a proxy that forks brings the same INVITE on two ways. The
// second is told 482 (RFC 3261 section 8.2.2.2), and the customer's phone rings
// once.
func TestMergedRequest(t *testing.T) {
	t.Parallel()
	r, ctx, proxy := forking(t, func(at func(byte) netip.Addr) string {
		gateway := at(20).String() + ":5060"
		return `$ru = "sip:" + $rU + "@` + gateway + `";
	append_branch("sip:" + $rU + "@` + gateway + `");`
	})
	r.Meta.Callee("", fakemeta.Callee{Answer: 300 * time.Millisecond})
	call, err := r.PBX.Dial(ctx, faketrunk.Outgoing{To: "sip:+" + dialledCustomer + "@" + proxy.Addr.String(), From: "201"})
	must(t, err)
	must(t, call.Wait(ctx, faketrunk.Up))
	must(t, call.Audio().Meter().Wait(ctx, rig.CustomerTone))
	must(t, call.Hangup(ctx))
	rs := settled(ctx, t, r)
	if len(rs) != 1 || rs[0].Cause != "hangup" || rs[0].EndedBy != "pbx" {
		t.Errorf("records are %+v, want one", rs)
	}
	if n := metric(t, r, "wagate_sip_requests_rejected_total", "reason", "merged"); n != 1 {
		t.Errorf("%v INVITEs were told that they were merged, want 1", n)
	}
}

// TestTwoPhonesAnswerBehindKamailio: the second 200 is acknowledged and hung up
// by its own route set, the customer talks to the first.
func TestTwoPhonesAnswerBehindKamailio(t *testing.T) {
	t.Parallel()
	var phones []*faketrunk.Trunk
	r, ctx, _ := forking(t, func(at func(byte) netip.Addr) string {
		for range 2 {
			p, err := faketrunk.Start(t.Context(), faketrunk.Options{Addr: at(30).String() + ":0", Tone: rig.PhoneTone, Listen: []float64{rig.CustomerTone}})
			must(t, err)
			t.Cleanup(func() { _ = p.Close() })
			phones = append(phones, p)
		}
		return `$ru = "` + phones[0].URI("udp") + `";
	append_branch("` + phones[1].URI("udp") + `");`
	})
	phones[0].Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.Script{Answer: faketrunk.Never} })
	phones[1].Handle(func(*faketrunk.Message) faketrunk.Script {
		return faketrunk.Script{Answer: faketrunk.Never, OnCancel: faketrunk.Cross}
	})
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{})
	must(t, err)
	first, err := phones[0].Next(ctx)
	must(t, err)
	second, err := phones[1].Next(ctx)
	must(t, err)
	must(t, first.Wait(ctx, faketrunk.Rung))
	must(t, second.Wait(ctx, faketrunk.Rung))
	must(t, first.Answer())
	must(t, second.Wait(ctx, faketrunk.Up))
	must(t, second.Wait(ctx, faketrunk.Ended))
	hearing(ctx, t, customer, first)
	customer.HangUp()
	must(t, first.Wait(ctx, faketrunk.Ended))
	wantRecord(t, recordOf(t, settled(ctx, t, r), customer), "hangup", "customer")
	wantSteadyAtCustomer(t, customer)
	for _, p := range phones {
		for _, fault := range p.Faults() {
			t.Errorf("a phone would complain: %s", fault)
		}
	}
}
