//go:build soak

package test

import (
	"testing"
	"time"
)

// TestSoakLittleMemory is C17's other half with more calls and a longer flood.
func TestSoakLittleMemory(t *testing.T) { shortOfMemory(t, 100, 20*time.Second) }
