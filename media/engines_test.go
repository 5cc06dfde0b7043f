package media

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// listenUDP opens a port of its own on loopback.
func listenUDP(tb testing.TB) *net.UDPConn {
	tb.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// BenchmarkEngines compares three ways to drive many calls, by CPU per call and
// by how late packets leave: a goroutine and a ticker for each call, what we have
// (each packet leaves the moment it came in), and shards that wake once a
// millisecond, read what has come and write what is due. All three carry the same
// packets over loopback sockets, one for each call, through the same Opus and
// G.711. docs/media.md has what came of it; run it on one core:
//
//	taskset -c 0 go test -run '^$' -bench Engines -benchtime 1x ./media
func BenchmarkEngines(b *testing.B) {
	for _, calls := range []int{10, 40, 80} {
		for _, e := range []struct {
			name string
			run  func(calls []*benched, stop <-chan struct{}) (wait func())
		}{
			{"nothing", func([]*benched, <-chan struct{}) func() { return func() {} }}, // what the load itself takes
			{"ticker", runTickers},
			{"on-arrival", runOnArrival},
			{"shards", runShards},
		} {
			b.Run(fmt.Sprintf("%s-%d", e.name, calls), func(b *testing.B) {
				for range b.N {
					driveEngine(b, calls, e.run)
				}
			})
		}
	}
}

const (
	engineRun  = 3 * time.Second
	shardSlot  = time.Millisecond
	shardBatch = 16
)

// benched is one direction of a call, from PCMA to Opus, the dear one.
type benched struct {
	in, out *net.UDPConn
	addr    netip.AddrPort // of in
	to      netip.AddrPort
	law     *law
	opus    *opusEncoder
	pcm     [narrowRate / 50]int16
	packet  [maxDatagram]byte
	result  [maxOpusPacket]byte
	waiting []byte // the newest that came, of those that wait for their time
	due     time.Time

	late []time.Duration
}

// carry turns a packet into one that leaves.
func (c *benched) carry(packet []byte) {
	pcm := c.law.decode(c.pcm[:0], packet[12:])
	n, err := c.opus.encode(pcm, narrowRate, c.result[12:])
	if err != nil {
		return
	}
	copy(c.result[:12], packet)
	_, _ = c.out.WriteToUDPAddrPort(c.result[:12+n], c.to)
	c.late = append(c.late, time.Duration(time.Now().UnixNano()-int64(binary.BigEndian.Uint64(packet[4:]))))
}

// runTickers has a reader and a ticker for each call.
func runTickers(calls []*benched, stop <-chan struct{}) func() {
	var wg sync.WaitGroup
	for _, c := range calls {
		var mu sync.Mutex
		wg.Go(func() {
			var in [maxDatagram]byte
			for {
				n, _, err := c.in.ReadFromUDPAddrPort(in[:])
				if err != nil {
					return
				}
				mu.Lock()
				c.waiting = append(c.waiting[:0], in[:n]...)
				mu.Unlock()
			}
		})
		wg.Go(func() {
			tick := time.NewTicker(frameTime)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
				case <-stop:
					return
				}
				mu.Lock()
				n := copy(c.packet[:], c.waiting)
				c.waiting = c.waiting[:0]
				mu.Unlock()
				if n > 0 {
					c.carry(c.packet[:n])
				}
			}
		})
	}
	return wg.Wait
}

// runOnArrival has a reader for each call, which does it all.
func runOnArrival(calls []*benched, _ <-chan struct{}) func() {
	var wg sync.WaitGroup
	for _, c := range calls {
		wg.Go(func() {
			for {
				n, _, err := c.in.ReadFromUDPAddrPort(c.packet[:])
				if err != nil {
					return
				}
				c.carry(c.packet[:n])
			}
		})
	}
	return wg.Wait
}

// runShards has a goroutine for each CPU, which looks at its calls in turn and
// skips what it is too late for.
func runShards(calls []*benched, stop <-chan struct{}) func() {
	var wg sync.WaitGroup
	shards := runtime.GOMAXPROCS(0)
	for s := range shards {
		wg.Go(func() {
			tick := time.NewTicker(shardSlot)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
				case <-stop:
					return
				}
				now := time.Now()
				for i := s; i < len(calls); i += shards {
					c := calls[i]
					if c.due.After(now) {
						continue
					}
					if n := c.newest(); n > 0 {
						c.carry(c.packet[:n])
						c.due = now.Add(frameTime - shardSlot)
					}
				}
			}
		})
	}
	return wg.Wait
}

// newest reads what has come without waiting, and keeps the last.
func (c *benched) newest() (n int) {
	raw, err := c.in.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Read(func(fd uintptr) bool {
		for range shardBatch {
			m, ok := recvNow(fd, c.packet[:])
			if !ok {
				break
			}
			n = m
		}
		return true
	})
	return n
}

// driveEngine puts the load on and reports what it cost.
func driveEngine(b *testing.B, count int, run func([]*benched, <-chan struct{}) func()) {
	b.Helper()
	calls := make([]*benched, count)
	sink := listenUDP(b)
	for i := range calls {
		opus, err := newOpusEncoder(testOpus(), nil)
		if err != nil {
			b.Fatal(err)
		}
		in := listenUDP(b)
		calls[i] = &benched{
			in: in, addr: in.LocalAddr().(*net.UDPAddr).AddrPort(), out: listenUDP(b), to: sink.LocalAddr().(*net.UDPAddr).AddrPort(),
			law: lawOf(PCMA), opus: opus, late: make([]time.Duration, 0, 4*int(engineRun/frameTime)),
		}
	}
	stop := make(chan struct{})
	wait := run(calls, stop)
	sent, took, cpu := talkTo(b, calls)
	close(stop)
	for _, c := range calls {
		_ = c.in.Close()
	}
	wait()
	var late []time.Duration
	for _, c := range calls {
		late = append(late, c.late...)
		_ = c.out.Close()
	}
	_ = sink.Close()
	slices.Sort(late)
	at := func(q float64) float64 {
		if len(late) == 0 {
			return 0
		}
		return float64(late[min(int(q*float64(len(late))), len(late)-1)]) / float64(time.Millisecond)
	}
	b.ReportMetric(float64(cpu)/float64(took)/float64(count)*1000, "cpu-ms/call-s")
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(100*float64(sent-len(late))/float64(sent), "missing-%")
	b.ReportMetric(0, "ns/op")
}

// talkTo sends speech to all calls, spread over the time of a packet, each packet
// with the time at which it went in.
func talkTo(b *testing.B, calls []*benched) (sent int, took, cpu time.Duration) {
	b.Helper()
	mouth := listenUDP(b)
	defer func() { _ = mouth.Close() }()
	speech := make([][]byte, 150)
	var pcm [narrowRate / 50]int16
	for i := range speech {
		voice(pcm[:], i*len(pcm))
		speech[i] = lawOf(PCMA).encode(make([]byte, 12), pcm[:])
	}
	gap := frameTime / time.Duration(len(calls))
	timer := time.NewTimer(0)
	defer timer.Stop()
	began, used := time.Now(), cpuTime()
	due := began
	for n := 0; n*int(gap) < int(engineRun); n++ {
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			<-timer.C
		}
		due = due.Add(gap)
		packet := speech[n/len(calls)%len(speech)]
		binary.BigEndian.PutUint64(packet[4:], uint64(time.Now().UnixNano()))
		if _, err := mouth.WriteToUDPAddrPort(packet, calls[n%len(calls)].addr); err == nil {
			sent++
		}
	}
	return sent, time.Since(began), cpuTime() - used
}

// recvNow reads a datagram if there is one.
func recvNow(fd uintptr, b []byte) (int, bool) {
	n, _, err := syscall.Recvfrom(int(fd), b, syscall.MSG_DONTWAIT)
	return n, err == nil
}
