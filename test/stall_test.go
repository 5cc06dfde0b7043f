package test

import (
	"context"
	"slices"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/impair"
	"wagate/test/rig"
	"wagate/test/tone"
)

// TestDelayIsWonBack: a stall of both networks, which end with all that was sent
// meanwhile at once, is not carried on as delay: ten seconds later what is said
// takes as long as before, both ways.
func TestDelayIsWonBack(t *testing.T) {
	t.Parallel()
	const stall, later, limit = 500 * time.Millisecond, 10 * time.Second, 40 * time.Millisecond
	meta, pbx := &badNetwork{}, &badNetwork{}
	t.Cleanup(meta.close)
	t.Cleanup(pbx.close)
	r, ctx := rigged(t, rig.Options{Meta: fakemeta.Options{Via: meta.whatsapp}, Via: pbx.pbx})
	r.PBX.Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.Script{Marker: time.Second} })
	listener := tone.NewListener(customerRate)
	says := tone.NewMarker(customerRate, time.Second)
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{Sound: fakemeta.Sound{
		Voice: &markedVoice{marker: says, under: tone.NewSource(rig.CustomerTone, customerRate)}, Ear: listener,
	}})
	must(t, err)
	phone, err := r.PBX.Next(ctx)
	must(t, err)
	hearing(ctx, t, customer, phone)
	ways := []struct {
		name   string
		delays func() []time.Duration
	}{
		{"to the customer", func() []time.Duration { return tone.Delays(phone.Audio().MarkersSent(), listener.Heard()) }},
		{"to the phone", func() []time.Duration { return phone.Audio().Delays(says.Sent()) }},
	}
	var before []time.Duration
	for _, w := range ways {
		before = append(before, slices.Min(await(ctx, t, w.delays, 4)))
	}
	for _, network := range []*badNetwork{meta, pbx} {
		network.set(impair.Network{Delay: stall, InOrder: true})
	}
	lasts(ctx, t, customer, stall)
	for _, network := range []*badNetwork{meta, pbx} {
		network.set(impair.Network{InOrder: true})
	}
	lasts(ctx, t, customer, stall+later) // what was delayed is heard before the rest
	for i, w := range ways {
		so := len(w.delays())
		after := await(ctx, t, w.delays, so+3)[so:]
		t.Logf("%s: %v before, then %v", w.name, before[i], w.delays())
		switch got := slices.Min(after); {
		case got <= before[i]+limit:
		case stalled(customer, phone) > stall+200*time.Millisecond:
			t.Logf("%s: %v, but the machine had stalls of its own", w.name, after)
		default:
			t.Errorf("%s: %v after a stall of %v the delay is %v, before it was %v", w.name, later, stall, after, before[i])
		}
	}
	customer.HangUp()
	wantRecord(t, recordOf(t, settled(ctx, t, r), customer), "hangup", "customer")
	wantSteadyAtCustomer(t, customer)
}

// stalled is the longest pause of what the two ends got.
func stalled(c *fakemeta.Customer, phone *faketrunk.Call) time.Duration {
	pause := phone.Audio().Reception().LongestPause
	for _, s := range c.Report().Streams {
		pause = max(pause, s.MaxGap)
	}
	return pause
}

// await waits until there are so many.
func await(ctx context.Context, t *testing.T, list func() []time.Duration, n int) []time.Duration {
	t.Helper()
	eventually(ctx, t, "markers", func() bool { return len(list()) >= n })
	return list()
}

// markedVoice is a sound with markers over it.
type markedVoice struct {
	marker *tone.Marker
	under  tone.Reader
	pcm    []int16
}

func (v *markedVoice) Read(pcm []int16) { v.ReadAt(pcm, time.Now()) }

// ReadAt notes when the markers leave.
func (v *markedVoice) ReadAt(pcm []int16, leaves time.Time) {
	v.pcm = append(v.pcm[:0], pcm...)
	v.under.Read(v.pcm)
	v.marker.ReadAt(pcm, leaves)
	for i, s := range v.pcm {
		pcm[i] += s
	}
}
