//go:build soak

package test

import (
	"context"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/rig"
)

// TestSoakKilledInTheMiddleOfAHundredCalls is C1.
func TestSoakKilledInTheMiddleOfAHundredCalls(t *testing.T) { killedAmong(t, 100) }

// TestSoakKilledAtRandom is C2: two hundred deaths, in steps.
func TestSoakKilledAtRandom(t *testing.T) {
	const runs = 200
	p := goOn(t, "killed")
	ctx, cancel := context.WithTimeout(t.Context(), soakLimit+2*patience)
	defer cancel()
	seed := seeded()
	t.Logf("seed %d", seed)
	w := newWreck(ctx, t, seed)
	for end := time.Now().Add(soakLimit); p.Runs < runs && time.Now().Before(end); {
		before := w.next
		w.run(ctx, p.Runs)
		p.Runs, p.Calls, p.WorstS = p.Runs+1, p.Calls+w.next-before, max(p.WorstS, w.slowest.calls.Seconds())
		p.WorstDialogS = max(p.WorstDialogS, w.slowest.dialogs.Seconds())
		p.save(t)
	}
	w.ledgers(ctx)
	t.Logf("C2: %d of %d deaths among %d calls, in this step %v; WhatsApp calls were over %.2f s and dialogs %.2f s after the restart at the latest",
		p.Runs, runs, p.Calls, w.killedBy, p.WorstS, p.WorstDialogS)
}

// TestSoakFewFiles is C17 with the limit that it names.
func TestSoakFewFiles(t *testing.T) { fewFiles(t, func(int) int { return 256 }) }

// TestSoakAbnormalEndings is R29: every course that a call has in these tests, two
// hundred times in steps, leaves as many goroutines and files as there were.
func TestSoakAbnormalEndings(t *testing.T) {
	const rounds = 200
	p := goOn(t, "endings")
	ctx, cancel := context.WithTimeout(t.Context(), soakLimit+8*patience)
	defer cancel()
	abnormalEndings(ctx, t, p, rounds, time.Now().Add(soakLimit))
	t.Logf("R29: %d of %d rounds of %d courses, %d calls", p.Runs, rounds, len(endings()), p.Calls)
}

// idleLimit is longer than an HTTP connection of either side is kept without a
// request.
const idleLimit = 2 * time.Minute

// abnormalEndings plays rounds with one gateway, some at once.
func abnormalEndings(ctx context.Context, t *testing.T, p *progress, rounds int, end time.Time) {
	t.Helper()
	const atOnce = 6
	g := enter(ctx, t, endings(), atOnce)
	g.rounds(ctx, t, 2) // warm
	before := atRest(ctx, t, g.r)
	for p.Runs < rounds && time.Now().Before(end) && !t.Failed() {
		n := min(atOnce, rounds-p.Runs)
		g.rounds(ctx, t, n)
		p.Runs, p.Calls = p.Runs+n, p.Calls+n*len(g.calls)
		p.save(t)
	}
	after := atRest(ctx, t, g.r)
	for idle := time.Now().Add(idleLimit); after.exceeds(before) && time.Now().Before(idle); {
		after = atRest(ctx, t, g.r)
	}
	if after.exceeds(before) {
		t.Errorf("%+v at rest, %+v before", after, before)
	}
	t.Logf("at rest %+v, before %+v", after, before)
}

// TestSoakMutedCustomerStays is the other half of C8: with the timeouts that ship,
// silence for ten minutes is no death.
func TestSoakMutedCustomerStays(t *testing.T) {
	const muted = 10 * time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), muted+4*patience)
	defer cancel()
	r, err := rig.Start(ctx, rig.Options{Config: unprobed})
	must(t, err)
	defer func() { must(t, r.Close()) }()
	r.PBX.Handle(answering(0))
	customer, phone := talking(ctx, t, r, fakemeta.CallOptions{})
	customer.Speech(fakemeta.Quiet)
	pause(ctx, muted)
	customer.Speech(fakemeta.Speaking)
	hearing(ctx, t, customer, phone)
	customer.HangUp()
	wantRecord(t, recordOf(t, settled(ctx, t, r), customer), "hangup", "customer")
	t.Logf("C8: a muted customer was heard again after %v", muted)
}
