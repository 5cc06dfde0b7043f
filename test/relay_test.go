package test

import (
	"testing"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// TestTwoCallsOverOneRelayPort: Meta's relay takes many calls on one port, and
// we have one port too, so the addresses alone do not tell the calls apart.
func TestTwoCallsOverOneRelayPort(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Meta: fakemeta.Options{SharePort: true}})
	r.PBX.Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.Answer(0) })
	var customers []*fakemeta.Customer
	for range 2 {
		c, err := r.Meta.Call(ctx, fakemeta.CallOptions{})
		must(t, err)
		customers = append(customers, c)
	}
	for range customers {
		phone, err := r.PBX.Next(ctx)
		must(t, err)
		must(t, phone.Audio().Meter().Wait(ctx, rig.CustomerTone))
	}
	for _, c := range customers {
		must(t, c.WaitHeard(ctx, rig.PhoneTone))
		c.HangUp()
	}
	settled(ctx, t, r)
}
