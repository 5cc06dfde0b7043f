package test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// TestManyFates: courses of a call, most of them abnormal, all at once, and each
// has its record and leaves nothing behind.
func TestManyFates(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	short := slices.DeleteFunc(endings(), func(e ending) bool { return e.slow })
	enter(ctx, t, short, 1).rounds(ctx, t, 1)
}

// TestTwentyConversations: twenty calls at once, everybody heard by the right
// one.
func TestTwentyConversations(t *testing.T) {
	t.Parallel()
	const calls = 20
	r, ctx := rigged(t, rig.Options{Config: unprobed})
	tones := func(i int) (customer, phone float64) { return 300 + 40*float64(i), 1300 + 40*float64(i) }
	r.PBX.Handle(func(m *faketrunk.Message) faketrunk.Script {
		var i int
		_, _ = fmt.Sscan(m.Get("X-WA-Payload"), &i)
		s := faketrunk.Answer(100 * time.Millisecond)
		_, s.Tone = tones(i)
		return s
	})
	customers := make([]*fakemeta.Customer, calls)
	for i := range customers {
		mine, theirs := tones(i)
		_, foreign := tones((i + 1) % calls)
		customers[i] = placed(ctx, t, r, fakemeta.CallOptions{
			Payload: fmt.Sprint(i), Sound: fakemeta.Sound{Tone: mine, Hear: []float64{theirs, foreign}},
		})
	}
	for i, c := range customers {
		_, theirs := tones(i)
		_, foreign := tones((i + 1) % calls)
		must(t, c.Wait(ctx, fakemeta.Connected))
		if err := c.WaitHeard(ctx, theirs); err != nil {
			t.Errorf("customer %d: %v", i, err)
		}
		if _, heard := c.Meter().Level(foreign); heard {
			t.Errorf("customer %d hears another call", i)
		}
	}
	for _, c := range customers {
		c.HangUp()
	}
	for i, rec := range settled(ctx, t, r) {
		if rec.Cause != "hangup" || rec.Media.SIP.Packets == 0 || rec.Media.WhatsApp.Packets == 0 {
			t.Errorf("record %d says %s, %+v", i, rec.Cause, rec.Media)
		}
	}
}
