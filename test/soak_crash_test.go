//go:build soak

package test

import (
	"context"
	"testing"
	"time"
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
