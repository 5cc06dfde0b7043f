//go:build system

package test

import (
	"strings"
	"testing"
)

// TestDemo: the first thing that anybody runs, with a few calls at once each way.
func TestDemo(t *testing.T) {
	path, err := program()
	must(t, err)
	out, err := command(t.Context(), path, "demo", "--calls", "3").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "6 of 6 calls with audio both ways") {
		t.Errorf("wagate demo: %v\n%s", err, out)
	}
	for _, line := range []string{"permission request 200", "403 Forbidden", "webhook connect"} {
		if !strings.Contains(string(out), line) {
			t.Errorf("the ladder has no %q:\n%s", line, out)
		}
	}
}
