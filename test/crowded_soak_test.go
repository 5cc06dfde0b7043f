//go:build soak

package test

import (
	"testing"
	"time"
)

// TestSoakCrowded is L3: two minutes of it.
func TestSoakCrowded(t *testing.T) { crowded(t, 2*time.Minute) }
