//go:build system || soak

package test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
)

const (
	// memoryLimit is GOMEMLIMIT of a process that has too little: a fourteenth of
	// what the unit gives.
	memoryLimit = 64 << 20
	// besideLimit is what GOMEMLIMIT does not count: the program's own pages, and
	// what the allocator has not given back yet. The race detector takes more.
	besideLimit = 48 << 20
)

// shortOfMemory gives a process that little memory and limits.calls so many calls
// of customers, floods it, and expects what runs to go on and what is more to be
// refused.
func shortOfMemory(t *testing.T, calls int, flood time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), flood+time.Duration(calls)*time.Second+6*patience)
	defer cancel()
	with := manyCalls
	with.Limits += ", calls: " + strconv.Itoa(calls)
	with.Trunk += ", sources: [127.0.0.1/32]"
	d := setUp(t, with)
	d.env = append(d.env, "GOMEMLIMIT="+strconv.Itoa(memoryLimit))
	d.pbx.Handle(func(m *faketrunk.Message) faketrunk.Script {
		return faketrunk.Script{NoAudio: strings.HasPrefix(m.Get("X-WA-Payload"), callerNumber(0)[:8])}
	})
	d.start(ctx)
	first, phone := d.talks(ctx, "34600113201")
	second, ear := d.talks(ctx, "34600113202")
	before := d.memory()

	storm := newStorm(t, d.sip)
	raging, calm := context.WithTimeout(ctx, flood)
	defer calm()
	over := make(chan struct{})
	go func() {
		defer close(over)
		storm.rage(raging)
	}()
	peak := before
	for n := range calls - 2 {
		c, err := d.meta.Call(ctx, fakemeta.CallOptions{User: fakemeta.User{Number: callerNumber(n)}, Payload: callerNumber(n)})
		must(t, err)
		c.Speech(fakemeta.RTCPOnly)
		must(t, c.Wait(ctx, fakemeta.Connected))
		peak = max(peak, d.memory())
	}
	if status, word := d.refusesBoth(ctx, "34600113204"); status != 503 || word != "overloaded" {
		t.Errorf("beyond limits.calls the PBX was told %d %s, want 503 overloaded", status, word)
	}
	hearing(ctx, t, first, phone)
	<-over
	peak = max(peak, d.memory())
	hearing(ctx, t, second, ear)
	wantSteadyAtCustomer(t, first)
	t.Logf("C17: with GOMEMLIMIT=%d MiB %d calls and %d packets of a flood took %.1f MiB of resident memory at most, %.1f before them, %.0f KiB a call; further calls refused, 0 lost",
		memoryLimit>>20, calls, storm.sent.Load(), float64(peak)/(1<<20), float64(before)/(1<<20), float64(peak-before)/float64(calls-2)/(1<<10))
	if detector == "-race=false" && peak > memoryLimit+besideLimit {
		t.Errorf("%.1f MiB are resident, want %d at most", float64(peak)/(1<<20), (memoryLimit+besideLimit)>>20)
	}
	must(t, phone.Hangup(ctx))
	must(t, first.Wait(ctx, fakemeta.Ended))
	second.HangUp()
	for _, b := range d.meta.Open() {
		d.meta.Customer(b.ID).HangUp()
	}
	must(t, d.meta.WaitQuiet(ctx))
	must(t, d.pbx.Settled(ctx))
	d.wantOneRecordEach(ctx)
	d.wantAtRest(ctx)
}
