//go:build soak

package test

import (
	"testing"

	"wagate/test/peers"
)

// TestSoakAsteriskReadsDigits of a hundred customers on good networks and of a
// hundred on each kind of bad one.
func TestSoakAsteriskReadsDigits(t *testing.T) {
	for _, loss := range []float64{0, 0.05, 0.10} {
		for first := uint64(0); first < 100; first += 20 {
			f, ctx := opened(t, "700", peers.AsteriskOptions{Phones: []string{}}, nil)
			orders(ctx, t, f, first, loss)
			settled(ctx, t, f.Rig)
		}
	}
}
