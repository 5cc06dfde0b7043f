package config

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

// TestMain fails the package when a test leaves goroutines behind.
func TestMain(m *testing.M) {
	code := m.Run()
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for i, stack := range strings.Split(string(stacks), "\n\n") {
		if i > 0 && !strings.Contains(stack, "os/signal.") && !strings.Contains(stack, "testing.") {
			fmt.Fprintf(os.Stderr, "left over: %s\n", stack)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}
