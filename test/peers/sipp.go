package peers

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/zaf/g711"

	"wagate/test/tone"
)

const toneSeconds = 60

// SIPp is a running SIPp that takes calls, or places one.
type SIPp struct {
	Addr netip.AddrPort // its own address, UDP
	p    *process
	dir  string
}

// StartSIPp starts SIPp with a scenario at a port of 127.0.0.1 (0: a free one)
// and returns when it listens. More arguments of SIPp's may be given.
func StartSIPp(tb testing.TB, s Scenario, port int, args ...string) *SIPp {
	tb.Helper()
	x := startSIPp(tb, s, port, args...)
	x.p.until(tb, "listening", func() bool { return bound(int(x.Addr.Port())) })
	return x
}

// DialSIPp lets SIPp place one call to a number at a gateway, with an account
// for a digest challenge. Wait tells how it went.
func DialSIPp(tb testing.TB, s Scenario, gateway netip.AddrPort, number, user, password string) *SIPp {
	tb.Helper()
	return startSIPp(tb, s, 0, "-m", "1", "-s", number, "-au", user, "-ap", password, "-auth_uri", number+"@"+gateway.String(), gateway.String())
}

func startSIPp(tb testing.TB, s Scenario, port int, args ...string) *SIPp {
	tb.Helper()
	path := Need(tb, "sipp")
	dir := tb.TempDir()
	if port == 0 {
		port = freePorts(tb, 1)
	}
	write(tb, filepath.Join(dir, "phone.xml"), []byte(s))
	write(tb, filepath.Join(dir, "tone.alaw"), alaw(ToneFreq))
	all := []string{
		"-sf", "phone.xml", "-i", host, "-mi", host, "-bind_local", "-p", strconv.Itoa(port),
		"-mp", strconv.Itoa(freePorts(tb, 4)), "-nostdin", "-trace_err", "-error_file", "errors.log",
		"-trace_msg", "-message_file", "messages.log",
	}
	if s != Tone && s != Dial { // both would send from one port
		all = append(all, "-rtp_echo")
	}
	x := &SIPp{Addr: netip.AddrPortFrom(netip.MustParseAddr(host), uint16(port)), dir: dir}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("SIPp's messages:\n%s\nerrors:\n%s", x.read("messages.log"), x.read("errors.log"))
		}
	})
	x.p = run(tb, dir, path, append(all, args...)...)
	return x
}

// Finish lets the running calls end, takes no more, and says whether every call
// went as the scenario wants. No call at all is an error.
func (s *SIPp) Finish(ctx context.Context) error {
	if err := s.p.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		return fmt.Errorf("finish SIPp: %w", err)
	}
	return s.Wait(ctx)
}

// Wait waits for the end of SIPp, and says whether every call went as the
// scenario wants.
func (s *SIPp) Wait(ctx context.Context) error {
	select {
	case <-s.p.done:
	case <-ctx.Done():
		return fmt.Errorf("finish SIPp: %w; errors: %s", ctx.Err(), s.read("errors.log"))
	}
	if s.p.err != nil {
		return fmt.Errorf("finish SIPp: %w; errors: %s", s.p.err, s.read("errors.log"))
	}
	return nil
}

func (s *SIPp) read(name string) string {
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		return ""
	}
	return string(b)
}

// alaw is a tone as SIPp wants to play it.
func alaw(freq float64) []byte {
	pcm := make([]int16, toneSeconds*8000)
	tone.NewSource(freq, 8000).Read(pcm)
	b := make([]byte, len(pcm))
	for i, v := range pcm {
		b[i] = g711.EncodeAlawFrame(v)
	}
	return b
}

func write(tb testing.TB, path string, b []byte) {
	tb.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		tb.Fatal(err)
	}
}
