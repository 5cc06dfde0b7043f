// Package leak tells whether a package's tests left goroutines behind.
package leak

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience is how long goroutines that are already ending may take.
const patience = 5 * time.Second

// Main runs the tests and returns the exit code: 1 with the stacks on standard
// error when goroutines are left over. A goroutine whose stack contains one of
// the allowed texts is not counted.
func Main(m *testing.M, allowed ...string) int {
	code := m.Run()
	if code != 0 {
		return code
	}
	left := wait(allowed)
	if len(left) == 0 {
		return 0
	}
	fmt.Fprintf(os.Stderr, "%d goroutines left after the tests:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
	return 1
}

func wait(allowed []string) []string {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		left := running(allowed)
		if len(left) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline:
			return left
		}
	}
}

// running lists the stacks of all goroutines but this one and those of the
// runtime and the test runner.
func running(allowed []string) []string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	known := append([]string{
		"leak.running(", "os/signal.signal_recv", "os/signal.loop",
		"testing.tRunner(", "testing.(*M).startAlarm", "runtime.ensureSigM",
	}, allowed...)
	var left []string
	for stack := range bytes.SplitSeq(buf, []byte("\n\n")) {
		s := strings.TrimSpace(string(stack))
		if s == "" || slices.ContainsFunc(known, func(k string) bool { return strings.Contains(s, k) }) {
			continue
		}
		left = append(left, s)
	}
	return left
}
