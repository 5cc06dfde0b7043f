package media

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"wagate/test/leak"
)

// update rewrites the golden files.
var update = flag.Bool("update", false, "rewrite the golden files")

// TestMain fails the package if its tests leave goroutines or open files
// behind: a call that is closed must be gone.
func TestMain(m *testing.M) {
	files := leak.Open()
	code := m.Run()
	if code == 0 {
		if left := leftover(3 * time.Second); left != "" {
			fmt.Fprintf(os.Stderr, "goroutines left behind:\n\n%s\n", left)
			code = 1
		}
		if left := files.Left(); len(left) > 0 {
			fmt.Fprintln(os.Stderr, "files left open:", left)
			code = 1
		}
	}
	os.Exit(code)
}

// leftover is the stacks of goroutines that are still there when patience ends.
func leftover(patience time.Duration) string {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		left := strangers()
		if len(left) == 0 || time.Now().After(deadline) {
			return strings.Join(left, "\n\n")
		}
	}
}

// strangers are the goroutines that are neither the test's nor the runtime's.
func strangers() []string {
	buf := make([]byte, 1<<20)
	var left []string
	for i, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if i == 0 || stack == "" || strings.Contains(stack, "testing.(*F).Fuzz") || strings.Contains(stack, "os/signal.") {
			continue
		}
		left = append(left, stack)
	}
	return left
}
