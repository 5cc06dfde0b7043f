//go:build system || soak

package test

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
)

// TestClockJumps is C12: whatever the wall clock is set to, calls that talk and
// calls that ring go on, ends are delivered, and no time on record is made up.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	path, err := faulty()
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 6*patience)
	defer cancel()
	d := setUp(t, setup{Extra: dialOutFile, Program: path})
	clock := filepath.Join(t.TempDir(), "clock")
	set := func(by time.Duration) {
		var seconds [8]byte
		binary.NativeEndian.PutUint64(seconds[:], uint64(int64(by/time.Second))) //nolint:gosec // two's complement is meant
		f, err := os.OpenFile(clock, os.O_WRONLY|os.O_CREATE, 0o600)
		must(t, err)
		defer f.Close()
		_, err = f.WriteAt(seconds[:], 0)
		must(t, err)
	}
	set(0)
	d.env = append(d.env, "TEST_CLOCK="+clock)
	d.pbx.Handle(func(m *faketrunk.Message) faketrunk.Script {
		if m.Get("X-WA-Payload") == "rings" {
			return faketrunk.NoAnswer()
		}
		return faketrunk.Answer(0)
	})
	d.meta.Callee("", fakemeta.Callee{Answer: time.Millisecond})
	began := time.Now()
	d.start(ctx)
	talks, phone := d.talks(ctx, "34600113501")
	rings, err := d.meta.Call(ctx, fakemeta.CallOptions{Payload: "rings"})
	must(t, err)
	must(t, rings.Wait(ctx, fakemeta.Ringing))
	const day = 24 * time.Hour
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 400 * day, -400 * day} {
		set(jump)
		hearing(ctx, t, talks, phone)
		agent, err := d.pbx.Dial(ctx, faketrunk.Outgoing{To: "sip:+" + dialledCustomer + "@" + d.sip, From: "201"})
		must(t, err)
		must(t, agent.Wait(ctx, faketrunk.Up))
		d.meta.Fail(fakemeta.Fault{Kind: fakemeta.Reset, Action: "terminate", Times: 2})
		must(t, agent.Hangup(ctx))
		must(t, d.meta.Customer(d.meta.Books()[len(d.meta.Books())-1].ID).Wait(ctx, fakemeta.Ended))
		if talks.State() != fakemeta.Connected || rings.State() != fakemeta.Ringing {
			t.Errorf("after a jump by %v the calls are %v and %v", jump, talks.State(), rings.State())
		}
	}
	ahead := d.metric(ctx, "wagate_webhook_events_ahead_total")
	set(0)
	must(t, phoneOf(ctx, t, d.pbx, "rings").Answer())
	must(t, rings.Wait(ctx, fakemeta.Connected))
	talks.HangUp()
	rings.HangUp()
	must(t, d.meta.WaitQuiet(ctx))
	must(t, d.pbx.Settled(ctx))
	d.wantOneRecordEach(ctx)
	most := time.Since(began).Seconds() + 1
	for _, r := range d.records(ctx, 0) {
		if r.DurationS < 0 || r.DurationS > most || r.Cause != "hangup" {
			t.Errorf("the record says %s after %v s", r.Cause, r.DurationS)
		}
	}
	if ahead == 0 {
		t.Error("nothing tells that Meta's clock is not ours")
	}
	d.wantAtRest(ctx)
	t.Logf("C12: the clock jumped by 1 h and 400 days both ways, 0 calls dropped; %v webhooks counted as ahead of us", ahead)
}
