//go:build system

package test

import (
	"net"
	"slices"
	"testing"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/peers"
)

// TestAsteriskIsTheSecondTarget: the first address of the trunk says nothing at
// all, and nobody has found that out before the call.
func TestAsteriskIsTheSecondTarget(t *testing.T) {
	t.Parallel()
	silent, err := net.ListenPacket("udp", "127.0.0.1:0") //nolint:noctx // closed below
	must(t, err)
	defer func() { _ = silent.Close() }()
	f, ctx := opened(t, "201", peers.AsteriskOptions{}, func(c *config.Config) {
		unprobed(c)
		trunk := &c.Trunks[0]
		trunk.Targets = slices.Insert(trunk.Targets, 0, config.Target{URI: "sip:" + silent.LocalAddr().String()})
	})
	customer, err := f.Meta.Call(ctx, fakemeta.CallOptions{Sound: ear()})
	must(t, err)
	phone, err := f.phones["201"].Next(ctx)
	must(t, err)
	conversing(ctx, t, customer, phone, "201")
	customer.HangUp()
	must(t, phone.Wait(ctx, faketrunk.Ended))
	rec := recordOf(t, f.closed(ctx, t, customer), customer)
	wantRecord(t, rec, "hangup", "customer")
	took := rec.AnsweredAt.Sub(rec.StartedAt)
	t.Logf("answered at the second target after %v", took)
	if took >= lastSilence {
		t.Error("the second target was asked as if the first were the only one")
	}
}
