package sip

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"wagate/test/leak"
)

// TestMain fails the package when a goroutine of ours or an open file outlives
// the tests.
func TestMain(m *testing.M) {
	files := leak.Open()
	code := m.Run()
	if code == 0 {
		if left := leaked(); left != "" {
			fmt.Fprintln(os.Stderr, "goroutines left behind:\n"+left)
			code = 1
		}
		if left := files.Left(); len(left) > 0 {
			fmt.Fprintln(os.Stderr, "files left open:", left)
			code = 1
		}
	}
	os.Exit(code)
}

func leaked() string {
	for deadline := time.Now().Add(5 * time.Second); ; {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		var left []string
		for stack := range strings.SplitSeq(string(buf), "\n\n") {
			if strings.Contains(stack, "wagate/sip.") && !strings.Contains(stack, "sip.leaked") {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return ""
		}
		if time.Now().After(deadline) {
			return strings.Join(left, "\n\n")
		}
		time.Sleep(10 * time.Millisecond)
	}
}
