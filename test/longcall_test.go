package test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// TestHoldAndTransferInALongCall: for two minutes the customer gets one stream
// without a seam, while the phone holds, takes back, hands over to another one,
// and that one holds too.
func TestHoldAndTransferInALongCall(t *testing.T) {
	t.Parallel()
	longCall(t, 2*time.Minute)
}

func longCall(t *testing.T, length time.Duration) {
	t.Helper()
	r, ctx := riggedFor(t, rig.Options{}, length+4*patience)
	r.PBX.Handle(desks(map[string]faketrunk.Script{"601": {Tone: secondTone}}))
	customer, first := talking(ctx, t, r, fakemeta.CallOptions{Sound: deskTones})
	part := length / 8
	lasts(ctx, t, customer, 2*part)
	holdFor(ctx, t, customer, first, part)
	both(ctx, t, customer, first, rig.PhoneTone)
	lasts(ctx, t, customer, part)
	must(t, first.Refer(ctx, nil, strings.Replace(r.PBX.URI("udp"), "sip:", "sip:601@", 1)))
	second := answered(ctx, t, r)
	both(ctx, t, customer, second, secondTone)
	lasts(ctx, t, customer, 2*part)
	holdFor(ctx, t, customer, second, part)
	both(ctx, t, customer, second, secondTone)
	lasts(ctx, t, customer, part)
	customer.HangUp()
	wantRecord(t, recordOf(t, settled(ctx, t, r), customer), "hangup", "customer")
	wantSteadyAtCustomer(t, customer)
	wantSpacing(t, customer)
	for i, phone := range []*faketrunk.Call{first, second} {
		// While it holds nothing is sent to it, and the timestamps go on with the time.
		rec := phone.Audio().Reception()
		if len(rec.SSRCs) != 1 || rec.Missing != 0 || rec.Duplicates != 0 || rec.SequenceJumps != 0 || rec.TimestampJumps > 1 || rec.Strange != 0 {
			t.Errorf("the stream of phone %d is %+v", i+1, rec)
		}
		t.Logf("phone %d: %d packets, 99 of 100 pauses under %v", i+1, rec.Packets, rec.P99Pause)
	}
}

// lasts waits for that long, in which the call may not end.
func lasts(ctx context.Context, t *testing.T, c *fakemeta.Customer, d time.Duration) {
	t.Helper()
	over := time.NewTimer(d)
	defer over.Stop()
	select {
	case <-over.C:
	case <-c.Reached(fakemeta.Ended):
		t.Fatal("the call did not last")
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
}

// holdFor lets a phone hold the call for a while, half of it with music.
func holdFor(ctx context.Context, t *testing.T, c *fakemeta.Customer, phone *faketrunk.Call, d time.Duration) {
	t.Helper()
	for _, direction := range []faketrunk.Direction{faketrunk.SendOnly, faketrunk.Inactive, faketrunk.SendRecv} {
		if status, err := phone.Reinvite(ctx, direction); err != nil || status != 200 {
			t.Fatalf("re-INVITE %s: %d, %v", direction, status, err)
		}
		if direction != faketrunk.SendRecv {
			lasts(ctx, t, c, d/2)
		}
	}
}

// wantSpacing reports how evenly packets came to the customer. Only their usual
// distance is judged: the rest is as much the machine's doing as ours.
func wantSpacing(t *testing.T, c *fakemeta.Customer) {
	t.Helper()
	var gaps []time.Duration
	packets := c.Packets()
	for i := 1; i < len(packets); i++ {
		gaps = append(gaps, packets[i].At.Sub(packets[i-1].At))
	}
	slices.Sort(gaps)
	at := func(share float64) time.Duration {
		return gaps[int(share*float64(len(gaps)-1))].Round(100 * time.Microsecond)
	}
	t.Logf("distances of %d packets: 1 of 100 under %v, half under %v, 99 of 100 under %v, the longest %v",
		len(packets), at(0.01), at(0.5), at(0.99), at(1))
	if usual := at(0.5); usual < 15*time.Millisecond || usual > 25*time.Millisecond {
		t.Errorf("packets come %v apart, want %v", usual, packetTime)
	}
}
