// Package peers starts phones and PBXs that nobody here wrote, for tests that
// must not depend on our own idea of SIP. The phones, SIPp and baresip, answer
// calls at an address of the loopback and bring sound: SIPp sends back what it
// hears or plays a tone, baresip plays a WAV file and records what it hears.
// Asterisk and Kamailio run from .cache/pbx, with the configuration that the
// guides in docs/pbx tell their readers to write. Everything ends with the test.
package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	host      = "127.0.0.1"
	readyIn   = 20 * time.Second
	stopIn    = 5 * time.Second
	lookEvery = 20 * time.Millisecond
)

// Need fails the test when a program is missing: a test that skips itself
// proves nothing. `make setup` installs what is needed.
func Need(tb testing.TB, program string) string {
	tb.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		tb.Fatalf("%v: run make setup", err)
	}
	return path
}

// process is a program that was started and what it printed.
type process struct {
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // closed when it has ended
	err  error         // valid after done
}

// run starts a program; it is stopped at the end of the test, which shows its
// output when it failed.
func run(tb testing.TB, dir, path string, args ...string) *process {
	tb.Helper()
	p := &process{cmd: exec.CommandContext(context.WithoutCancel(tb.Context()), path, args...), out: newOutput(), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, p.out, p.out
	p.cmd.WaitDelay = stopIn
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		tb.Fatalf("start %s: %v", path, err)
	}
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	tb.Cleanup(func() {
		p.stop(syscall.SIGTERM)
		if tb.Failed() {
			tb.Logf("%s printed:\n%s", path, p.out)
		}
	})
	return p
}

// stop ends the program, by force if it does not listen.
func (p *process) stop(sig os.Signal) {
	_ = p.cmd.Process.Signal(sig)
	timer := time.NewTimer(stopIn)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// until looks again and again whether something is so, as long as the program
// runs.
func (p *process) until(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	limit := time.NewTimer(readyIn)
	defer limit.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-p.done:
			tb.Fatalf("%s ended before %s: %v", p.cmd.Path, what, p.err)
		case <-limit.C:
			tb.Fatalf("%s: no %s in %v", p.cmd.Path, what, readyIn)
		}
	}
}

// bound says whether a UDP port of this machine is taken.
func bound(port int) bool { return listed("/proc/net/udp", port) }

// listed says whether a table of sockets names a port, at either end.
func listed(table string, port int) bool {
	text, err := os.ReadFile(table)
	return err == nil && strings.Contains(string(text), fmt.Sprintf(":%04X ", port))
}

// freePorts finds an even port p so that p to p+n-1 are free for UDP, and for TCP
// too: a connection that has just ended keeps its port for a while.
func freePorts(tb testing.TB, n int) int {
	tb.Helper()
	for range 100 {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(host)})
		if err != nil {
			tb.Fatal(err)
		}
		port := c.LocalAddr().(*net.UDPAddr).Port
		_ = c.Close()
		if port%2 == 0 && port+n < 1<<16 && allFree(port, n) {
			return port
		}
	}
	tb.Fatal("no free ports")
	return 0
}

func allFree(port, n int) bool {
	for p := port; p < port+n; p++ {
		if bound(p) || listed("/proc/net/tcp", p) {
			return false
		}
	}
	return true
}

// output keeps what a program prints, up to a limit.
type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{}
}

const keepOutput = 1 << 20

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.buf.Len() < keepOutput {
		o.buf.Write(b)
	}
	close(o.changed)
	o.changed = make(chan struct{})
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// wait returns when the text was printed.
func (o *output) wait(ctx context.Context, text string, done <-chan struct{}) error {
	for {
		o.mu.Lock()
		found, changed := strings.Contains(o.buf.String(), text), o.changed
		o.mu.Unlock()
		if found {
			return nil
		}
		select {
		case <-changed:
		case <-done:
			return errors.New("it ended")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
