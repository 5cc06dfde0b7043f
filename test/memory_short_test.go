//go:build system

package test

import (
	"testing"
	"time"
)

// TestLittleMemory is C17's other half, in short.
func TestLittleMemory(t *testing.T) {
	t.Parallel()
	shortOfMemory(t, 30, 3*time.Second)
}
