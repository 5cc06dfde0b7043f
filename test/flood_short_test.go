//go:build system

package test

import (
	"testing"
	"time"
)

// TestFloodOfTheProgram is S2 for six seconds.
func TestFloodOfTheProgram(t *testing.T) { flooded(t, 6*time.Second, 6) }
