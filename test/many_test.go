package test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// fate is what happens to one of many calls.
type fate struct {
	name   string
	script faketrunk.Script
	talks  bool          // the customer hangs up half a second after the call is up
	hang   time.Duration // else so long after it began; 0: at once; Never: not by itself
	fault  fakemeta.Fault
	upset  fakemeta.Upset
	causes string // that the record may have; hang-ups race with everything
}

func fates() []fate {
	const never = faketrunk.Never
	crossing := faketrunk.NoAnswer()
	crossing.OnCancel = faketrunk.Cross
	forked := faketrunk.Answer(100 * time.Millisecond)
	forked.Fork = true
	rings := faketrunk.Answer(200 * time.Millisecond)
	rings.Rings = 60
	holds := faketrunk.Answer(0)
	holds.Hold, holds.Resume = 300*time.Millisecond, 300*time.Millisecond
	early := faketrunk.Answer(400 * time.Millisecond)
	early.Early = true
	phoneEnds := faketrunk.Answer(0)
	phoneEnds.Hangup = 500 * time.Millisecond
	deaf := faketrunk.Answer(0)
	deaf.DropACKs = 1
	return []fate{
		{name: "talks", script: faketrunk.Answer(0), talks: true, causes: "hangup"},
		{name: "talks in ulaw", script: faketrunk.Script{Codecs: []string{"PCMU"}}, talks: true, causes: "hangup"},
		{name: "forked", script: forked, talks: true, causes: "hangup"},
		{name: "60 rings", script: rings, talks: true, causes: "hangup"},
		{name: "held", script: holds, talks: true, causes: "hangup"},
		{name: "early audio", script: early, talks: true, causes: "hangup"},
		{name: "phone ends", script: phoneEnds, hang: never, causes: "hangup"},
		{name: "lost ACK", script: deaf, talks: true, causes: "hangup"},
		{name: "at once", script: faketrunk.NoAnswer(), causes: "cancelled"},
		{name: "while ringing", script: faketrunk.NoAnswer(), hang: 300 * time.Millisecond, causes: "cancelled"},
		{name: "crossing", script: crossing, hang: 300 * time.Millisecond, causes: "cancelled"},
		{name: "as it answers", script: faketrunk.Answer(300 * time.Millisecond), hang: 300 * time.Millisecond, causes: "cancelled hangup"},
		{name: "busy", script: faketrunk.Refuse(486), hang: never, causes: "busy"},
		{name: "declined", script: faketrunk.Refuse(603), hang: never, causes: "declined"},
		{name: "nobody", script: faketrunk.NoAnswer(), hang: never, causes: "no_answer"},
		{name: "no codec", script: faketrunk.Script{Codecs: []string{"G729"}}, hang: never, causes: "no_codec"},
		{name: "dead", script: faketrunk.Dead(), hang: never, causes: "unreachable"},
		{
			name: "accept lost", script: faketrunk.Answer(0), talks: true, causes: "hangup",
			fault: fakemeta.Fault{Kind: fakemeta.LoseReply, Action: "accept", Times: 1},
		},
		{
			name: "end lost", script: phoneEnds, hang: never, causes: "hangup",
			fault: fakemeta.Fault{Kind: fakemeta.Reset, Action: "terminate", Times: 2},
		},
		{
			name: "end first", script: faketrunk.Answer(0), causes: "cancelled",
			upset: fakemeta.Upset{Kind: fakemeta.KindConnect, Times: 1, Delay: 500 * time.Millisecond},
		},
	}
}

// TestManyFates: twenty calls at once, each with a fate of its own, all settle.
func TestManyFates(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
		unprobed(c)
		c.Routes[0].RingTimeout = 3 * time.Second
	}})
	playFates(ctx, t, r)
}

// playFates plays every fate once, all at the same time, and judges the books.
func playFates(ctx context.Context, t *testing.T, r *rig.Rig) {
	t.Helper()
	all := fates()
	scripts := map[string]faketrunk.Script{}
	for _, f := range all {
		scripts[f.name] = f.script
	}
	r.PBX.Handle(func(m *faketrunk.Message) faketrunk.Script { return scripts[m.Get("X-WA-Payload")] })
	customers := make([]*fakemeta.Customer, len(all))
	var calls sync.WaitGroup
	for i, f := range all {
		if f.upset.Kind == "" { // time to put the fault in place
			f.upset = fakemeta.Upset{Kind: fakemeta.KindConnect, Times: 1, Delay: 50 * time.Millisecond, Copies: i % 2}
		}
		r.Meta.Disturb(f.upset)
		c, err := r.Meta.Call(ctx, fakemeta.CallOptions{Payload: f.name})
		must(t, err)
		customers[i] = c
		if f.fault.Kind != fakemeta.NoFault {
			f.fault.CallID = c.ID()
			r.Meta.Fail(f.fault)
		}
		switch {
		case f.talks:
			calls.Go(func() {
				if c.Wait(ctx, fakemeta.Connected) == nil {
					awaitPackets(ctx, t, c, 25)
				}
				c.HangUp()
			})
		case f.hang == 0:
			c.HangUp()
		case f.hang > 0:
			later := time.AfterFunc(f.hang, c.HangUp)
			defer later.Stop()
		}
	}
	calls.Wait()
	rs := settled(ctx, t, r)
	for i, f := range all {
		rec := recordOf(t, rs, customers[i])
		if !strings.Contains(" "+f.causes+" ", " "+rec.Cause+" ") || rec.Abandoned {
			t.Errorf("%s: the record says %s by %s, abandoned %v, want %s", f.name, rec.Cause, rec.EndedBy, rec.Abandoned, f.causes)
		}
		if rep := customers[i].Report(); rep.Early != 0 || len(rep.Streams) > 1 {
			t.Errorf("%s: early %d, %d streams", f.name, rep.Early, len(rep.Streams))
		}
		if got := numbersOf(phonesOf(r.PBX, f.name)); f.name == "end first" && len(got) != 0 {
			t.Errorf("%s: dialled %v", f.name, got)
		}
	}
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
