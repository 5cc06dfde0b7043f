package test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/impair"
	"wagate/test/rig"
)

// slack is what the limits of dead ends allow beyond the timeout, three times: the
// machines that run tests are slow, and the figure is reported.
const slack = 3 * 2 * time.Second

// TestByesOfThePBXAreLost is C7: what ends such a call is that no audio comes any
// more, and both sides learn it.
func TestByesOfThePBXAreLost(t *testing.T) {
	t.Parallel()
	const timeout = 3 * time.Second
	var relay *impair.UDP
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
		unprobed(c)
		c.Media.Timeout = timeout
		at := netip.MustParseAddrPort(freeAddress(t))
		c.SIP.Listen = []string{"udp://" + at.String()}
		var err error
		relay, err = impair.NewUDP(at, impair.Options{Only: func(p []byte) bool { return strings.HasPrefix(string(p), "BYE ") }})
		must(t, err)
		t.Cleanup(func() { _ = relay.Close() })
		relay.Set(impair.Up, impair.Network{Cut: true})
		c.SIP.PublicHost = relay.Addr().String() // where the PBX sends what belongs to a call
	}})
	r.PBX.Handle(answering(0))
	customer, phone := talking(ctx, t, r, fakemeta.CallOptions{})
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if err := phone.Hangup(short); err == nil { // and from then on it is silent
		t.Fatal("a BYE came through")
	}
	silent := time.Now()
	must(t, customer.Wait(ctx, fakemeta.Ended))
	took := customer.End().At.Sub(silent)
	if took > timeout+slack || customer.End().By != fakemeta.ByBusiness {
		t.Errorf("the customer was hung up on after %v (%+v), want %v and 2 s more", took, customer.End(), timeout)
	}
	must(t, r.Meta.WaitQuiet(ctx))
	rec := recordOf(t, records(ctx, t, r, 1), customer)
	wantRecord(t, rec, "media_lost", "gateway")
	t.Logf("C7: the last audio was %.2f s before the end at Meta and %.2f s before that on record, of a timeout of %v",
		took.Seconds(), rec.EndedAt.Sub(silent).Seconds(), timeout)
	wantOneEach(t, r, records(ctx, t, r, 1))
	wantAtRest(t, r)
}

// TestPBXVanishes is C6: a PBX that is gone without a word costs its calls the
// media timeout, and the next call goes to the second target.
func TestPBXVanishes(t *testing.T) {
	t.Parallel()
	const timeout = 3 * time.Second
	first, err := faketrunk.Start(t.Context(), faketrunk.Options{Tone: rig.PhoneTone, Listen: []float64{rig.CustomerTone}})
	must(t, err)
	defer first.Close()
	relay, err := impair.NewUDP(first.Addr(), impair.Options{})
	must(t, err)
	defer relay.Close()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
		c.Media.Timeout = timeout
		c.Trunks[0].Targets = append([]config.Target{{URI: "sip:" + relay.Addr().String() + ";transport=udp"}}, c.Trunks[0].Targets...)
	}})
	first.Handle(answering(0))
	r.PBX.Handle(answering(0))
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{})
	must(t, err)
	phone, err := first.Next(ctx)
	must(t, err)
	must(t, customer.Wait(ctx, fakemeta.Connected))
	hearing(ctx, t, customer, phone)

	relay.Set(impair.Up, impair.Network{Cut: true})
	relay.Set(impair.Down, impair.Network{Cut: true})
	must(t, first.Close()) // its audio too
	gone := time.Now()
	must(t, customer.Wait(ctx, fakemeta.Ended))
	took := customer.End().At.Sub(gone)
	if took > timeout+slack || customer.End().By != fakemeta.ByBusiness {
		t.Errorf("the customer was hung up on after %v (%+v), want %v and 2 s more", took, customer.End(), timeout)
	}
	next, err := r.Meta.Call(ctx, fakemeta.CallOptions{})
	must(t, err)
	began := time.Now()
	other, err := r.PBX.Next(ctx)
	must(t, err)
	over := time.Since(began)
	must(t, next.Wait(ctx, fakemeta.Connected))
	hearing(ctx, t, next, other)
	t.Logf("C6: the PBX was gone for %.2f s when the customer was told, of a timeout of %v; the next call rang at the second target after %.2f s",
		took.Seconds(), timeout, over.Seconds())
	if over > slack {
		t.Errorf("the second target was tried after %v, want 2 s", over)
	}
	next.HangUp()
	must(t, r.Meta.WaitQuiet(ctx))
	must(t, r.PBX.Settled(ctx))
	rs := records(ctx, t, r, 2)
	wantRecord(t, recordOf(t, rs, customer), "media_lost", "gateway")
	wantRecord(t, recordOf(t, rs, next), "hangup", "customer")
	wantOneEach(t, r, rs)
}

// freeAddress is one of this machine that nobody has bound for UDP.
func freeAddress(t *testing.T) string {
	t.Helper()
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	must(t, err)
	defer conn.Close()
	return conn.LocalAddr().String()
}
