//go:build soak

package test

import (
	"fmt"
	"testing"
)

// TestSoakFirstWord is TestFirstWord with a hundred calls in each direction.
func TestSoakFirstWord(t *testing.T) {
	for round := range 5 {
		t.Run(fmt.Sprint("round ", round+1), func(t *testing.T) { firstWords(t, 20) })
	}
}
