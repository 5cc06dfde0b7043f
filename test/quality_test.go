package test

import (
	"context"
	"testing"
	"time"

	"wagate/store"
	"wagate/test/fakemeta"
	"wagate/test/impair"
	"wagate/test/rig"
)

// TestFiguresOfABadNetwork: loss, jitter and round trip of both legs are in the
// record, in the metrics and in what the admin API says of the call while it
// goes on, and both far ends are told by RTCP what was lost of theirs.
func TestFiguresOfABadNetwork(t *testing.T) {
	t.Parallel()
	const share, least, most = 0.05, 50 * time.Millisecond, 50*time.Millisecond + 4*20*time.Millisecond
	meta, pbx := &badNetwork{o: impair.Options{Seed: 3}}, &badNetwork{o: impair.Options{Seed: 4}}
	t.Cleanup(meta.close)
	t.Cleanup(pbx.close)
	r, ctx := rigged(t, rig.Options{
		Meta: fakemeta.Options{Via: meta.whatsapp}, Via: pbx.pbx, Config: unprobed,
	})
	r.PBX.Handle(answering(0))
	customer, phone := talking(ctx, t, r, fakemeta.CallOptions{})
	for _, network := range []*badNetwork{meta, pbx} {
		network.set(impair.Network{Loss: share, Delay: least / 2, Jitter: 20 * time.Millisecond})
	}
	var live liveFigures
	eventually(ctx, t, "the round trip of both legs", func() bool {
		live = figures(ctx, t, r)
		return live.SIP.RTTMS >= milli(least) && live.WhatsApp.RTTMS >= milli(least)
	})
	eventually(ctx, t, "reports of loss at both far ends", func() bool {
		told := phone.Audio().Reception().Told
		return told.Lost > 0 && told.Jitter > 0 && told.Senders > 1 && customer.Report().RTCP.Lost > 0
	})
	live = figures(ctx, t, r)
	customer.HangUp()
	rec := recordOf(t, settled(ctx, t, r), customer)
	for side, f := range map[string]struct{ live, final store.Side }{
		"whatsapp": {live.WhatsApp, rec.Media.WhatsApp}, "sip": {live.SIP, rec.Media.SIP},
	} {
		t.Logf("%s: %+v", side, f.final)
		lost := float64(f.final.Lost) / float64(f.final.Packets+f.final.Lost)
		if lost < share/4 || lost > 4*share {
			t.Errorf("%s: %d lost beside %d packets, want about %v", side, f.final.Lost, f.final.Packets, share)
		}
		if f.final.JitterMS < 2 || f.final.JitterMS > 60 {
			t.Errorf("%s: jitter %v ms", side, f.final.JitterMS)
		}
		if f.final.RTTMS < milli(least) || f.final.RTTMS > 10*milli(most) {
			t.Errorf("%s: round trip %v ms, want at least %v", side, f.final.RTTMS, least)
		}
		for name, g := range map[string]store.Side{"live": f.live, "final": f.final} {
			if g.MOS <= 1 || g.MOS >= 4.4 || g.ConcealedMS == 0 {
				t.Errorf("%s: the %s figures are %+v", side, name, g)
			}
		}
		for _, metricName := range []string{"wagate_media_mos", "wagate_media_jitter_seconds", "wagate_media_round_trip_seconds"} {
			if n := observations(t, r, metricName, side); n != 1 {
				t.Errorf("%s has %d observations of %s, want 1", metricName, n, side)
			}
		}
		if got := metric(t, r, "wagate_media_packets_lost_total", "side", side); int64(got) < f.final.Lost {
			t.Errorf("%v packets of %s are counted as lost, the record says %d", got, side, f.final.Lost)
		}
	}
	if told := phone.Audio().Reception().Told; told.Sent == 0 {
		t.Errorf("the phone was told %+v", told)
	}
}

// liveFigures are what the admin API says of a call's sound.
type liveFigures struct {
	WhatsApp store.Side `json:"whatsapp"`
	SIP      store.Side `json:"sip"`
}

// figures reads those of the only call.
func figures(ctx context.Context, t *testing.T, r *rig.Rig) liveFigures {
	t.Helper()
	var page struct {
		Calls []struct{ Media liveFigures }
	}
	get(ctx, t, r, "/api/v1/calls", &page)
	if len(page.Calls) != 1 {
		t.Fatalf("%d calls are up", len(page.Calls))
	}
	return page.Calls[0].Media
}

func milli(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// observations counts those of a side's histogram.
func observations(t *testing.T, r *rig.Rig, name, side string) int {
	t.Helper()
	families, err := r.Registry.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "side" && l.GetValue() == side {
					return int(m.GetHistogram().GetSampleCount())
				}
			}
		}
	}
	return 0
}
