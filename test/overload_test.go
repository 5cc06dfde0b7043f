package test

import (
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/rig"
)

// TestOverload: where the CPU is short, new calls are refused on both sides, the
// one that runs goes on, and calls come again when it is over.
func TestOverload(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) { unprobed(c); rig.DialOut(c) }})
	r.PBX.Handle(answering(0))
	customer, phone := talking(ctx, t, r, fakemeta.CallOptions{})
	hearing(ctx, t, customer, phone)

	short := *r.Config
	short.Limits.CPU = 1 // of which the call that runs takes more
	must(t, r.Gateway.Reload(&short))
	awaitMetric(ctx, t, r, 1, "wagate_media_overloaded")
	awaitMetric(ctx, t, r, 2, "wagate_media_economy")
	answer{
		status: 503, q850: 42, cause: "overloaded", turnedAway: true, least: time.Second, most: 5 * time.Second,
	}.judge(ctx, t, dial(ctx, t, r, "+34600111333"))
	turnedAway, err := r.Meta.Call(ctx, fakemeta.CallOptions{User: fakemeta.User{Number: "34600111444"}})
	must(t, err)
	must(t, turnedAway.Wait(ctx, fakemeta.Ended))
	hearing(ctx, t, customer, phone)

	must(t, r.Gateway.Reload(r.Config))
	another, second := talking(ctx, t, r, fakemeta.CallOptions{User: fakemeta.User{Number: "34600111555"}})
	hearing(ctx, t, another, second)
	another.HangUp()
	customer.HangUp()
	if rec := recordOf(t, settled(ctx, t, r), turnedAway); rec.Cause != "overloaded" {
		t.Errorf("the record of the call that was turned away says %s", rec.Cause)
	}
}
