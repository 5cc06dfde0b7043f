package media

import (
	"cmp"
	"encoding/binary"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hraban/opus"
	"github.com/pion/rtp"

	"wagate/test/impair"
	"wagate/test/tone"
)

// seeds makes the tests of bad networks denser: go test -run Rough -seeds 50.
var seeds = flag.Int("seeds", 1, "runs of each bad network")

// rough is a call in which the far end's packets cross a bad network for a
// while: from one codec through receiver and sender to another, in fake time.
type rough struct {
	from, to           Codec
	plain              bool // Opus packets carry no copies
	net                impair.Network
	seed               uint64
	calm, rough, after time.Duration
	keys               string      // pressed one after the other while it is rough
	sound              tone.Reader // nil: a buzz
}

// roughResult is what was done to the packets and what the other far end got.
type roughResult struct {
	fates  []impair.Fate // of all packets, in the order of their numbers
	runs   []lossRun
	spared []byte // keys of which at least one packet came through

	meter   *tone.Meter
	packets []sentPacket
	stats   Stats
	target  time.Duration // of the buffer in the end
	held    int           // packets in the buffer in the end
	pause   time.Duration // longest between two frames
	slow    time.Duration // longest delay of a frame in the last seconds
	settled int           // frames then
}

// lossRun is a row of packets that were lost.
type lossRun struct {
	at     time.Duration
	length int
}

// buzzTone is what the meter listens for in a buzz.
const buzzTone = 400

// buzz is 200 Hz with harmonics: to a speech codec a voice, which it carries
// over a loss as well as any. A single sine it guesses badly.
func buzz(rate int) tone.Reader {
	var parts []tone.Reader
	for k := 1; k <= 8; k++ {
		s := tone.NewSource(200*float64(k), rate)
		s.SetLevel(-16 - float64(k))
		parts = append(parts, s)
	}
	return tone.Mix(parts...)
}

// far makes the packets of a far end.
type far struct {
	stream

	sound tone.Reader
	opus  *opus.Encoder
	keys  string
	tick  int // of the key that is down or has just been
	began uint32
}

const (
	keyTicks = 8  // updates, the last three of them ends
	keyApart = 10 // with the ticks: from one key to the next
	allKeys  = "0123456789*#ABCD"
)

// packet is what the far end sends in the next 20 ms, and the key it is of.
func (f *far) packet(t *testing.T) (h *rtp.Header, payload []byte, key byte) {
	t.Helper()
	h = f.header()
	f.stamp += f.codec.ticks(frameTime)
	if f.keys != "" {
		at := f.tick
		key = f.keys[0]
		if f.tick++; f.tick == keyTicks+keyApart {
			f.tick, f.keys = 0, f.keys[1:]
		}
		if at == 0 {
			f.began = h.Timestamp
		}
		if at < keyTicks {
			h.Timestamp, h.PayloadType, h.Marker = f.began, testEvents, at == 0
			held := min(at+1, keyTicks-2)
			payload = []byte{byte(strings.IndexByte(allKeys, key)), 10, 0, 0}
			if held == keyTicks-2 {
				payload[1] |= 0x80
			}
			binary.BigEndian.PutUint16(payload[2:], uint16(held*160))
			return h, payload, key
		}
	}
	pcm := make([]int16, narrowRate/50)
	f.sound.Read(pcm)
	if f.codec != Opus {
		return h, lawOf(f.codec).encode(nil, pcm), 0
	}
	packet := make([]byte, maxOpusPacket)
	n, err := f.opus.Encode(pcm, packet)
	if err != nil {
		t.Fatal(err)
	}
	return h, packet[:n], 0
}

// farEncoder is the Opus encoder of a far end, as that of the table in testdata.
func farEncoder(t *testing.T, fec bool) *opus.Encoder {
	t.Helper()
	enc, err := opus.NewEncoder(narrowRate, 1, opus.AppVoIP)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{enc.SetBitrate(20000), enc.SetComplexity(5), enc.SetInBandFEC(fec), enc.SetPacketLossPerc(expectedLoss)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return enc
}

// arrival is a packet as it comes out of the network.
type arrival struct {
	at      time.Duration
	header  *rtp.Header
	payload []byte
}

// arrivals sends the far end's packets through the network.
func (c *rough) arrivals(t *testing.T, f *far, start time.Time, out *roughResult) []arrival {
	t.Helper()
	link := impair.NewLink(c.seed, 0)
	var all []arrival
	run := lossRun{}
	for at := time.Duration(0); at < c.calm+c.rough+c.after; at += frameTime {
		if at == c.calm {
			link.Set(c.net)
			f.keys = c.keys
		}
		if at == c.calm+c.rough {
			link.Set(impair.Network{})
		}
		h, payload, key := f.packet(t)
		fate := link.Pass(start.Add(at))
		out.fates = append(out.fates, fate)
		if fate.Copies == 0 {
			if run.length == 0 {
				run.at = at
			}
			run.length++
			continue
		}
		if run.length > 0 {
			out.runs = append(out.runs, run)
			run = lossRun{}
		}
		if n := len(out.spared); key != 0 && (n == 0 || out.spared[n-1] != key) {
			out.spared = append(out.spared, key)
		}
		all = append(all, arrival{at + fate.Delay, h, payload})
		if fate.Copies > 1 {
			all = append(all, arrival{at + fate.Second, h, payload})
		}
	}
	slices.SortStableFunc(all, func(a, b arrival) int { return cmp.Compare(a.at, b.at) })
	return all
}

// play runs the call.
func (c *rough) play(t *testing.T) *roughResult {
	t.Helper()
	start := time.Now()
	out := &roughResult{meter: tone.NewMeter(narrowRate, buzzTone)}
	p, m := testPacer(t)
	ear, err := newOpusDecoder(narrowRate)
	if err != nil {
		t.Fatal(err)
	}
	pcm := make([]int16, maxPCM)
	w := &wire{then: func(pkt sentPacket) {
		switch {
		case pkt.PayloadType == testEvents:
		case c.to == Opus:
			n, err := ear.Decode(pkt.payload, pcm)
			if err != nil {
				t.Error(err)
			}
			out.meter.Write(pcm[:n])
		default:
			out.meter.Write(lawOf(c.to).decode(pcm[:0], pkt.payload))
		}
	}}
	s := testSender(t, p, m, c.to, w.write)
	f := &far{
		stream: stream{codec: c.from, number: uint16(c.seed * 7919), stamp: uint32(c.seed * 104729), ssrc: 5},
		sound:  c.sound, opus: farEncoder(t, !c.plain),
	}
	if f.sound == nil {
		f.sound = buzz(narrowRate)
	}
	first := f.stamp
	r := newReceiver(p, m.whatsapp, peerDelayMax)
	t.Cleanup(r.close)
	for _, codec := range []Codec{Opus, PCMA, PCMU, G722} {
		r.accept(testType(codec), codec)
	}
	r.acceptEvents(testEvents, narrowRate)
	r.open(start)
	last := start
	calm := start.Add(c.calm + c.rough + backIn)
	r.setSink(sinkFunc(func(frame *Frame) {
		now := time.Now()
		out.pause, last = max(out.pause, now.Sub(last)), now
		if now.After(calm) && !frame.Early && frame.Kind == Audio {
			out.settled++
			out.slow = max(out.slow, now.Sub(start)-c.from.span(frame.Timestamp-first))
		}
		s.Push(frame)
	}), between(c.from, c.to))
	s.open()
	for _, a := range c.arrivals(t, f, start, out) {
		time.Sleep(time.Until(start.Add(a.at)))
		r.receive(a.header, a.payload, time.Now())
	}
	time.Sleep(reorderWait)
	r.mu.Lock()
	out.target, out.held = r.delays.target, r.buffer.held
	r.mu.Unlock()
	out.packets, out.stats = w.sent(), r.stats()
	return out
}

// backIn is how long after a disturbance the delay may be above the target.
const backIn = 10 * time.Second

// roughNetworks are what a call may meet. The last ones have all of it at once.
var roughNetworks = []struct {
	name string
	net  impair.Network
}{
	{"1 %", impair.Network{Loss: 0.01}},
	{"3 %", impair.Network{Loss: 0.03}},
	{"5 %", impair.Network{Loss: 0.05}},
	{"10 %", impair.Network{Loss: 0.10}},
	{"bursts of 2", impair.Network{Loss: 0.05, Burst: 2}},
	{"bursts of 4", impair.Network{Loss: 0.05, Burst: 4}},
	{"jitter 20 ms", impair.Network{Jitter: 20 * time.Millisecond}},
	{"jitter 80 ms", impair.Network{Jitter: 80 * time.Millisecond}},
	{"jitter 80 ms in order", impair.Network{Jitter: 80 * time.Millisecond, InOrder: true}},
	{"reordered and twice", impair.Network{Reorder: 0.05, Duplicate: 0.05}},
	{"all, 3 %", impair.Network{Loss: 0.03, Jitter: 80 * time.Millisecond, Reorder: 0.05, Duplicate: 0.05}},
	{"all, bursts", impair.Network{Loss: 0.05, Burst: 2, Jitter: 80 * time.Millisecond, Reorder: 0.05, Duplicate: 0.05}},
}

// unexplained lists the gaps in the sound that are not where more than three
// packets in a row were lost. The stream that is heard may be ahead of the one
// that was sent by what was made up, and behind by the buffer.
func (g *roughResult) unexplained() (left []tone.Gap) {
	const ahead, behind = 100 * time.Millisecond, 400 * time.Millisecond
	for _, gap := range g.meter.Gaps() {
		if !slices.ContainsFunc(g.runs, func(r lossRun) bool {
			return r.length > 3 && gap.At > r.at-ahead && gap.At < r.at+time.Duration(r.length)*frameTime+behind
		}) {
			left = append(left, gap)
		}
	}
	return left
}

// longest is the length of the longest loss in packets.
func (g *roughResult) longest() (n int) {
	for _, r := range g.runs {
		n = max(n, r.length)
	}
	return n
}

// eachRough plays the call on every bad network; under the race detector, which
// makes minutes of it, on one that has everything.
func eachRough(t *testing.T, c rough, check func(*testing.T, *roughResult)) {
	t.Helper()
	for i, n := range roughNetworks {
		if raceDetector && i < len(roughNetworks)-1 {
			continue
		}
		for seed := range *seeds {
			t.Run(fmt.Sprintf("%s/%v to %v/%d", n.name, c.from, c.to, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := c
					c.net, c.seed = n.net, uint64(seed)
					check(t, c.play(t))
				})
			})
		}
	}
}

// TestRoughNetworkLeavesNothingBehind: whatever was lost, late, twice or in
// another order, the sound has gaps only where nothing could be done, nothing
// stays in the buffer, and ten seconds later no frame waits any more.
func TestRoughNetworkLeavesNothingBehind(t *testing.T) {
	for _, way := range [][2]Codec{{Opus, PCMA}, {PCMA, PCMU}} {
		c := rough{from: way[0], to: way[1], calm: 2 * time.Second, rough: 10 * time.Second, after: backIn + time.Second}
		eachRough(t, c, func(t *testing.T, got *roughResult) {
			t.Helper()
			if gaps := got.unexplained(); gaps != nil {
				t.Errorf("gaps %v; more than one packet was lost in a row at %v", gaps, got.runs)
			}
			if limit := 200*time.Millisecond + time.Duration(got.longest())*frameTime; got.pause > limit {
				t.Errorf("no frame for %v", got.pause)
			}
			if got.held != 0 || got.target != 0 || got.slow != 0 {
				t.Errorf("in the end %d packets are held for %v; in the last second frames were up to %v late", got.held, got.target, got.slow)
			}
			if n := int(time.Second / frameTime); got.settled < n-2 || got.settled > n {
				t.Errorf("%d frames in the last second", got.settled)
			}
			lost := 0
			for _, f := range got.fates {
				if f.Copies == 0 {
					lost++
				}
			}
			if got.stats.Lost != uint64(lost) {
				t.Errorf("%d packets lost, counted %d", lost, got.stats.Lost)
			}
		})
	}
}

// keys are those that the other far end was sent, in order.
func (g *roughResult) keys() (keys []byte) {
	seen := map[uint32]bool{}
	for _, p := range g.packets {
		if p.PayloadType == testEvents && !seen[p.Timestamp] {
			seen[p.Timestamp] = true
			keys = append(keys, allKeys[p.payload[0]])
		}
	}
	return keys
}

// TestRoughNetworkKeepsKeys: each key of which one packet comes through arrives
// once, in its place.
func TestRoughNetworkKeepsKeys(t *testing.T) {
	c := rough{from: PCMA, to: PCMU, calm: time.Second, rough: 20 * time.Second, after: time.Second, keys: strings.Repeat(allKeys, 3)}
	eachRough(t, c, func(t *testing.T, got *roughResult) {
		t.Helper()
		keys := got.keys()
		if string(keys) != string(got.spared) || len(keys) < len(c.keys)-3 {
			t.Errorf("got %q, want %q", keys, got.spared)
		}
	})
}

// TestRoughHeavyLoss: while three of ten packets are lost for five minutes, on
// either leg, the sound goes on and 99 of 100 keys arrive. Ten seconds later
// nothing of it is left.
func TestRoughHeavyLoss(t *testing.T) {
	long := 5 * time.Minute
	if raceDetector {
		long = 30 * time.Second
	}
	for _, way := range [][2]Codec{{Opus, PCMA}, {PCMA, Opus}} {
		t.Run(fmt.Sprint(way[0], " to ", way[1]), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				keys := strings.Repeat(allKeys, int(long/frameTime)/(keyTicks+keyApart)/len(allKeys))
				c := rough{from: way[0], to: way[1], net: impair.Network{Loss: 0.30}, seed: 3, keys: keys, calm: 2 * time.Second, rough: long, after: backIn + time.Second}
				got := c.play(t)
				heard := string(got.keys())
				t.Logf("%d of %d keys; no frame for up to %v, %v were made up; estimated quality %.2f", len(heard), len(keys), got.pause, got.stats.Concealed, got.stats.MOS)
				if heard != string(got.spared) || len(heard)*100 < len(keys)*99 {
					t.Errorf("%d keys of %d; at least a packet came through of %d", len(heard), len(keys), len(got.spared))
				}
				if limit := 200*time.Millisecond + time.Duration(got.longest())*frameTime; got.pause > limit {
					t.Errorf("no frame for %v", got.pause)
				}
				if n := int(time.Second / frameTime); got.held != 0 || got.target != 0 || got.slow != 0 || got.settled < n-2 || got.settled > n {
					t.Errorf("in the end %d packets are held for %v; in the last second %d frames were up to %v late", got.held, got.target, got.settled, got.slow)
				}
				wantStream(t, c.to, got.packets)
				longest := time.Duration(0)
				for i := 1; i < len(got.packets); i++ {
					longest = max(longest, got.packets[i].at.Sub(got.packets[i-1].at))
				}
				if longest > fillAfter+2*frameTime {
					t.Errorf("nothing was sent for %v", longest)
				}
			})
		})
	}
}
