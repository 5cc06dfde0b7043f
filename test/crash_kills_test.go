//go:build system && !soak

package test

import (
	"context"
	"testing"
)

// TestKilledAtRandom is C2 in short.
func TestKilledAtRandom(t *testing.T) {
	t.Parallel()
	const runs = 20
	ctx, cancel := context.WithTimeout(t.Context(), 8*patience)
	defer cancel()
	seed := seeded()
	t.Logf("seed %d", seed)
	w := newWreck(ctx, t, seed)
	for n := range runs {
		w.run(ctx, n)
	}
	w.ledgers(ctx)
	t.Logf("C2: %d deaths among %d calls (%v), WhatsApp calls over %.2f s and dialogs %.2f s after the restart at the latest",
		runs, w.next, w.killedBy, w.slowest.calls.Seconds(), w.slowest.dialogs.Seconds())
}
