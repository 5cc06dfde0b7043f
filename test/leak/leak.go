// Package leak tells whether a package's tests left goroutines or open files
// behind: sockets, ports and databases are files.
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

// patience is how long what is already ending may take.
const patience = 5 * time.Second

// Main runs the tests and returns the exit code: 1, with the stacks on standard
// error, when goroutines are left over, and with their names when files are. A
// goroutine whose stack contains one of the allowed texts is not counted.
func Main(m *testing.M, allowed ...string) int {
	files := Open()
	code := m.Run()
	if code != 0 {
		return code
	}
	if left := wait(func() []string { return running(allowed) }); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "%d goroutines left after the tests:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
		code = 1
	}
	if left := files.Left(); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "%d files left open after the tests: %s\n", len(left), strings.Join(left, ", "))
		code = 1
	}
	return code
}

// wait returns what is left, at the latest when patience ends.
func wait(left func() []string) []string {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		still := left()
		if len(still) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline:
			return still
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
