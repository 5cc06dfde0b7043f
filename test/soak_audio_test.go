//go:build soak

package test

import (
	"fmt"
	"testing"
	"time"
)

// TestSoakFirstWord is TestFirstWord with a hundred calls in each direction.
func TestSoakFirstWord(t *testing.T) {
	for round := range 5 {
		t.Run(fmt.Sprint("round ", round+1), func(t *testing.T) { firstWords(t, 20) })
	}
}

// TestSoakLongCall is TestHoldAndTransferInALongCall in ten minutes.
func TestSoakLongCall(t *testing.T) { longCall(t, 10*time.Minute) }
