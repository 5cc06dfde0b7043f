//go:build soak

package test

import "testing"

// TestSoakBurstOfWebhooks: ten seconds of it.
func TestSoakBurstOfWebhooks(t *testing.T) { burst(t, 10) }
