//go:build system || soak

package test

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
)

// What S2 allows: memory that a flood may cost, lines of the log in a second,
// and three times the time in which a call of a listed trunk is set up.
const (
	floodRate    = 10_000 // packets a second
	floodMemory  = 20 << 20
	floodLines   = 10
	floodSetUp   = 3 * 200 * time.Millisecond
	floodSources = 8
)

// flooded runs the program under a flood of packets from addresses that no trunk
// lists, and lets customers and the PBX talk meanwhile.
func flooded(t *testing.T, length time.Duration, calls int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), length+2*patience)
	defer cancel()
	d := setUp(t, setup{Trunk: ", sources: [127.0.0.1/32]"})
	d.pbx.Handle(answering(0))
	d.start(ctx)
	warm, _ := d.talks(ctx, callerNumber(0)) // what a first call brings along is not of the flood
	warm.HangUp()
	d.records(ctx, 1)

	before, lines := d.memory(), loud(d.log.String())
	storm := newStorm(t, d.sip)
	raging, calm := context.WithCancel(ctx)
	defer calm()
	began := time.Now()
	over := make(chan struct{})
	go func() {
		defer close(over)
		storm.rage(raging)
	}()
	peak := before
	invited, connected := make([]time.Duration, 0, calls), make([]time.Duration, 0, calls)
	for n := range calls {
		due := began.Add(time.Duration(n) * length / time.Duration(calls))
		pause(ctx, time.Until(due))
		start := time.Now()
		customer, err := d.meta.Call(ctx, fakemeta.CallOptions{User: fakemeta.User{Number: callerNumber(n + 1)}})
		must(t, err)
		phone, err := d.pbx.Next(ctx)
		must(t, err)
		invited = append(invited, time.Since(start))
		must(t, customer.Wait(ctx, fakemeta.Connected))
		connected = append(connected, time.Since(start))
		must(t, phone.Wait(ctx, faketrunk.Answered))
		peak = max(peak, d.memory())
		customer.HangUp()
	}
	pause(ctx, time.Until(began.Add(length)))
	peak = max(peak, d.memory())
	calm()
	<-over
	took := time.Since(began)

	slices.Sort(invited)
	slices.Sort(connected)
	said := loud(d.log.String()) - lines
	t.Logf("S2: %d packets in %v, %.0f a second; %d calls were at the PBX after %v (median) and connected after %v; resident memory grew by %.1f MiB, %d lines of log",
		storm.sent.Load(), took.Round(time.Millisecond), float64(storm.sent.Load())/took.Seconds(), calls,
		invited[calls/2].Round(time.Millisecond), connected[calls/2].Round(time.Millisecond), float64(peak-before)/(1<<20), said)
	if grown := peak - before; grown > floodMemory {
		t.Errorf("the flood cost %d KiB", grown>>10)
	}
	if median := invited[calls/2]; median > floodSetUp {
		t.Errorf("half of the calls were set up in %v", median)
	}
	if usual := 3 * calls; float64(said-usual) > floodLines*took.Seconds() {
		t.Errorf("%d lines of log in %v", said, took)
	}
	storm.wantNothingBack(t)
	if n := d.metric(ctx, "wagate_sip_requests_rejected_total", "reason", "source"); n < float64(storm.sent.Load())/2 {
		t.Errorf("%v packets of %d were counted as a stranger's", n, storm.sent.Load())
	}
	d.records(ctx, calls+1)
	d.wantOneRecordEach(ctx)
	d.wantAtRest(ctx)
}

// storm are sockets of several strangers.
type storm struct {
	conns []net.Conn
	words [][]byte
	sent  atomic.Int64
}

func newStorm(t *testing.T, target string) *storm {
	t.Helper()
	s := &storm{}
	_, port, err := net.SplitHostPort(target)
	must(t, err)
	for i := range floodSources {
		s.conns = append(s.conns, from(t, "127.0.0."+strconv.Itoa(2+i), port))
	}
	for n := range 64 {
		s.words = append(s.words, invite(n, target))
		for _, method := range []string{"REGISTER", "OPTIONS", "SUBSCRIBE", "MESSAGE"} {
			s.words = append(s.words, fmt.Appendf(nil, "%s sip:100@%s SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bK%s%d\r\nFrom: <sip:100@127.0.0.2>;tag=%d\r\n"+
				"To: <sip:100@%s>\r\nCall-ID: scan-%d\r\nCSeq: 1 %s\r\nMax-Forwards: 70\r\nUser-Agent: friendly-scanner\r\nContent-Length: 0\r\n\r\n",
				method, target, method, n, n, target, n, method))
		}
	}
	s.words = append(s.words, nil, []byte("\r\n\r\n"), []byte(strings.Repeat("a", 1400)), make([]byte, 1200))
	return s
}

// rage sends floodRate packets a second; what a slow machine missed is not made
// up for.
func (s *storm) rage(ctx context.Context) {
	const every = 5 * time.Millisecond
	pace := time.NewTicker(every)
	defer pace.Stop()
	for n := 0; ; {
		select {
		case <-pace.C:
		case <-ctx.Done():
			return
		}
		for range floodRate * int(every) / int(time.Second) {
			if _, err := s.conns[n%len(s.conns)].Write(s.words[n%len(s.words)]); err == nil {
				s.sent.Add(1)
			}
			n++
		}
	}
}

func (s *storm) wantNothingBack(t *testing.T) {
	t.Helper()
	for _, conn := range s.conns {
		wantNothingBack(t, conn)
	}
}

// loud counts the lines of a log that an operator sees by default.
func loud(log string) int { return strings.Count(log, "\n") - strings.Count(log, "level=DEBUG") }

// memory is what is resident of the process, in bytes.
func (d *daemon) memory() int {
	d.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	must(d.t, err)
	for line := range strings.Lines(string(text)) {
		if kib, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")))
			must(d.t, err)
			return n << 10
		}
	}
	d.t.Fatal("no VmRSS in /proc")
	return 0
}
