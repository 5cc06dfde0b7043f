//go:build soak

package test

import "testing"

// TestSoakSignalling is L1: five minutes of it.
func TestSoakSignalling(t *testing.T) { signalling(t, 300) }
