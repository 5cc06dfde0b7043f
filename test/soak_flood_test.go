//go:build soak

package test

import (
	"testing"
	"time"
)

// TestSoakFloodOfTheProgram is S2: a minute.
func TestSoakFloodOfTheProgram(t *testing.T) { flooded(t, time.Minute, 60) }
