// Command bench measures whole gateways under load: the real program between
// simulated customers and phones, beside rtpengine doing the same work.
//
// Its Meta, PBX, customers and phones are the least there can be, and not those
// of test/fakemeta and test/faketrunk: those judge every message, keep books and
// give each call goroutines and timers, which would take the one core that has
// to send thousands of packets a second on time. They also answer the control
// protocol of rtpengine, which knows no Graph API.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() { os.Exit(run()) }

// say writes to the terminal.
func (b *bench) say(format string, args ...any) { _, _ = fmt.Fprintf(b.out, format+"\n", args...) }

// bench is what all measurements share.
type bench struct {
	out        io.Writer
	speech     *speech
	table      *[256]int16
	identity   *identity
	rate       int // calls set up per second
	settle     time.Duration
	measure    time.Duration
	core       int
	program    string
	rtpengines string // folder of rtpengine.sh
	profile    string // where the gateway's CPU profile goes
}

func run() int {
	var b bench
	var plan plan
	var own int
	var realtime bool
	var voice string
	plan.flags()
	flag.IntVar(&b.rate, "rate", 25, "calls set up per second")
	flag.DurationVar(&b.settle, "settle", 4*time.Second, "from the last call's set-up to the measurement; at least 3s, in which every call says a mark")
	flag.DurationVar(&b.measure, "measure", 8*time.Second, "length of each measurement")
	flag.IntVar(&b.core, "core", 0, "the core of what is measured")
	flag.IntVar(&own, "own", 1, "the core of this program")
	flag.BoolVar(&realtime, "realtime", false, "run everything in the real-time class (chrt), on a machine that does other things too; needs root")
	flag.StringVar(&b.program, "wagate", "bin/wagate", "the gateway")
	flag.StringVar(&b.rtpengines, "rtpengine", ".cache/rtpengine", "folder that test/tools/rtpengine.sh made")
	flag.StringVar(&b.profile, "profile", "", "write the CPU profile of the gateway's last measurement here")
	flag.StringVar(&voice, "speech", "media/prompt/no_permission.wav", "what both sides say")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := pin(own, realtime)
	if err == nil {
		err = b.prepare(voice)
	}
	if err == nil {
		err = plan.run(ctx, &b)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

func (b *bench) prepare(voice string) (err error) {
	b.out, b.table = os.Stdout, lawTable()
	if b.speech, err = loadSpeech(voice); err != nil {
		return err
	}
	b.identity, err = newIdentity()
	return err
}

// pin puts this program on a core of its own, by starting it again there.
func pin(core int, realtime bool) error {
	const mark = "WAGATE_BENCH_PINNED"
	if os.Getenv(mark) != "" {
		return nil
	}
	taskset, err := exec.LookPath("taskset")
	if err != nil {
		return fmt.Errorf("taskset (Debian's util-linux) is needed: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"taskset", "-c", strconv.Itoa(core)}
	if realtime {
		args = append(args, "chrt", "-r", "1")
	}
	args = append(append(args, self), os.Args[1:]...)
	return syscall.Exec(taskset, args, append(os.Environ(), mark+"=yes"))
}
