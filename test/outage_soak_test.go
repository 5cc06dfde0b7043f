//go:build soak

package test

import (
	"testing"
	"time"
)

// TestSoakGraphFaults: ten minutes of outages in all, beside each other.
func TestSoakGraphFaults(t *testing.T) {
	for _, o := range outages {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			o.suffer(t, 100*time.Second)
		})
	}
}
