package media

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"wagate/test/tone"
)

// leg is an Endpoint without a network.
type leg struct {
	*sender
	*receiver

	codec Codec
}

func (l *leg) SetSink(s Sink, want Format) { l.setSink(s, want) }
func (l *leg) Codec() Codec                { return l.codec }
func (l *leg) Stats() Stats                { return l.receiver.stats() }

func (l *leg) Close() error {
	l.sender.close()
	l.receiver.close()
	return nil
}

func testLeg(tb testing.TB, p *pacer, m *metrics, c Codec, write func(*rtp.Header, []byte) error) *leg {
	tb.Helper()
	return &leg{testSender(tb, p, m, c, write), testReceiver(tb, p, m, nil), c}
}

// phone is a far end: it plays a tone to a leg and listens to what comes back.
type phone struct {
	talk *sender
	hear *receiver
	ear  *ear
	tone *tone.Source
}

func testPhone(tb testing.TB, p *pacer, m *metrics, c Codec, to *leg, says, hears float64) *phone {
	tb.Helper()
	ph := &phone{ear: newEar(hears), tone: tone.NewSource(says, narrowRate)}
	ph.hear = testReceiver(tb, p, m, ph.ear)
	ph.talk = testSender(tb, p, m, c, func(h *rtp.Header, payload []byte) error {
		to.receive(h, payload, time.Now())
		return nil
	})
	ph.talk.open()
	return ph
}

func (p *phone) take(h *rtp.Header, payload []byte) error {
	p.hear.receive(h, payload, time.Now())
	return nil
}

// call is two phones on a bridge.
func testCall(tb testing.TB, a, b Codec) (*Bridge, *leg, *leg, *phone, *phone) {
	tb.Helper()
	p, m := testPacer(tb)
	var one, two *phone
	left := testLeg(tb, p, m, a, func(h *rtp.Header, payload []byte) error { return one.take(h, payload) })
	right := testLeg(tb, p, m, b, func(h *rtp.Header, payload []byte) error { return two.take(h, payload) })
	one = testPhone(tb, p, m, a, left, 440, 620)
	two = testPhone(tb, p, m, b, right, 620, 440)
	bridge := NewBridge(left, right)
	left.sender.open()
	right.sender.open()
	return bridge, left, right, one, two
}

func TestTonesBothWays(t *testing.T) {
	for _, codecs := range [][2]Codec{{Opus, PCMA}, {Opus, PCMU}, {PCMA, PCMU}, {PCMA, PCMA}, {Opus, Opus}, {Opus, G722}, {PCMA, G722}, {G722, G722}} {
		t.Run(fmt.Sprint(codecs), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bridge, left, right, one, two := testCall(t, codecs[0], codecs[1])
				talk := func(n int) {
					for range n {
						one.talk.Push(toneFrame(one.tone))
						two.talk.Push(toneFrame(two.tone))
						time.Sleep(frameTime)
					}
				}
				talk(20)
				if db, heard := two.ear.meter.Level(440); heard {
					t.Errorf("heard %.1f dB before Start", db)
				}
				bridge.Start()
				talk(100)
				for _, l := range []struct {
					who  *phone
					freq float64
				}{{one, 620}, {two, 440}} {
					if db, heard := l.who.ear.meter.Level(l.freq); !heard || db < -16 {
						t.Errorf("%v Hz at %.1f dB (%v)", l.freq, db, heard)
					}
				}
				bridge.Stop()
				talk(10)
				one.ear.meter.Reset()
				two.ear.meter.Reset()
				talk(20)
				if db, heard := two.ear.meter.Level(440); heard {
					t.Errorf("heard %.1f dB after Stop", db)
				}
				if lost := left.Stats().Lost + right.Stats().Lost; lost != 0 {
					t.Errorf("%d packets lost", lost)
				}
			})
		})
	}
}

func TestSwap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		bridge, left, right, one, two := testCall(t, Opus, PCMA)
		bridge.Start()
		var three *phone
		other := testLeg(t, p, m, PCMU, func(h *rtp.Header, payload []byte) error { return three.take(h, payload) })
		three = testPhone(t, p, m, PCMU, other, 850, 440)
		other.sender.open()
		talk := func(n int) {
			for range n {
				one.talk.Push(toneFrame(one.tone))
				two.talk.Push(toneFrame(two.tone))
				three.talk.Push(toneFrame(three.tone))
				time.Sleep(frameTime)
			}
		}
		talk(50)
		bridge.Swap(B, other)
		one.ear.listen(narrowRate, 620, 850)
		two.ear.meter.Reset()
		talk(50)
		if _, heard := one.ear.meter.Level(850); !heard {
			t.Error("the new end is not heard")
		}
		if _, heard := one.ear.meter.Level(620); heard {
			t.Error("the former end is still heard")
		}
		if _, heard := three.ear.meter.Level(440); !heard {
			t.Error("the new end hears nothing")
		}
		if n := left.Stats().Lost + one.hear.stats().Lost + right.Stats().Lost; n != 0 {
			t.Errorf("%d packets lost", n)
		}
	})
}

// After a stall of the network the audio is soon on time again, and the stream
// we send is not ahead of the clock either: neither the far end nor we carry
// the stall to the end of the call.
func TestStallIsWonBack(t *testing.T) {
	for _, limit := range []time.Duration{pbxDelayMax, peerDelayMax} {
		t.Run(limit.String(), func(t *testing.T) { stallIsWonBack(t, limit) })
	}
}

func stallIsWonBack(t *testing.T, limit time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		var w wire
		left, right := testLeg(t, p, m, PCMA, (&wire{}).write), testLeg(t, p, m, PCMA, w.write)
		left.delays.limit = limit
		NewBridge(left, right).Start()
		right.sender.open()
		s := &stream{codec: PCMA, ssrc: 1}
		start := time.Now()
		tick := time.NewTicker(frameTime)
		defer tick.Stop()
		const stallAt, stall, all = 200, 25, 1000
		var kept []func()
		for i := range all {
			<-tick.C
			h, payload := s.law(160, 0)
			payload[0], payload[1], payload[2] = byte(i), byte(i>>8), 1
			send := func() { left.receive(h, payload, time.Now()) }
			switch {
			case i >= stallAt && i < stallAt+stall:
				kept = append(kept, send)
				continue
			case i == stallAt+stall:
				for _, late := range kept {
					late()
				}
			}
			send()
		}
		packets := w.sent()
		for n, pkt := range packets {
			if pkt.payload[2] != 1 {
				continue // comfort
			}
			i := int(pkt.payload[0]) | int(pkt.payload[1])<<8
			late := pkt.at.Sub(start) - time.Duration(i+1)*frameTime
			ahead := time.Duration(n)*frameTime - pkt.at.Sub(start)
			if (i < stallAt || i > stallAt+500) && (late > time.Millisecond || ahead > 2*frameTime) {
				t.Fatalf("frame %d leaves %v late, %v ahead of the clock", i, late, ahead)
			}
		}
	})
}

func TestBetween(t *testing.T) {
	for _, c := range []struct {
		a, b Codec
		want Format
	}{
		{Opus, Opus, Format{Codec: Opus}},
		{PCMA, PCMA, Format{Codec: PCMA}},
		{Opus, PCMA, Format{Rate: 8000}},
		{PCMU, Opus, Format{Rate: 8000}},
		{Opus, G722, Format{Rate: 16000}},
		{G722, G722, Format{Rate: 16000}},
		{PCMU, G722, Format{Rate: 8000}},
		{PCMA, PCMU, Format{Rate: 8000}},
		{NoCodec, NoCodec, Format{Rate: 8000}},
	} {
		if got := between(c.a, c.b); got != c.want {
			t.Errorf("between %v and %v: %+v, want %+v", c.a, c.b, got, c.want)
		}
	}
}

// loop is what the cost tests measure: packets go into one leg, come out of
// the other, through real codecs.
type loop struct {
	left, right *leg
	in          [2][]sentPacket // ready packets for either leg
	n           [2]int
}

func newLoop(tb testing.TB, a, b Codec) *loop {
	tb.Helper()
	p, m := testPacer(tb)
	sink := func(*rtp.Header, []byte) error { return nil }
	l := &loop{left: testLeg(tb, p, m, a, sink), right: testLeg(tb, p, m, b, sink)}
	for i, c := range []Codec{a, b} {
		var w wire
		s := testSender(tb, p, m, c, w.write)
		rate := narrowRate
		if between(a, b).Rate == wideRate {
			rate = wideRate
		}
		pcm := make([]int16, rate/50)
		for n := range 100 {
			voice(pcm, n*len(pcm))
			s.anyTime()
			s.Push(&Frame{Kind: Audio, PCM: pcm, Rate: rate, Duration: frameTime})
		}
		l.in[i] = w.sent()
	}
	NewBridge(l.left, l.right).Start()
	return l
}

// step moves one frame into a leg and out of the other.
func (l *loop) step(side int) {
	from, to := l.left, l.right
	if side == 1 {
		from, to = to, from
	}
	n := l.n[side]
	p := &l.in[side][n%len(l.in[side])]
	p.SequenceNumber = uint16(n)
	p.Timestamp = uint32(n) * from.codec.ticks(frameTime)
	l.n[side]++
	to.sender.anyTime()
	from.receiver.anyTime()
	from.receive(&p.Header, p.payload, time.Now())
}

func TestAllocFramePath(t *testing.T) {
	for _, codecs := range [][2]Codec{{Opus, PCMA}, {Opus, PCMU}, {PCMA, PCMA}, {Opus, Opus}, {Opus, G722}, {PCMA, G722}} {
		l := newLoop(t, codecs[0], codecs[1])
		for side := range 2 {
			for range 200 {
				l.step(side)
			}
			before := l.n[side]
			out := []*leg{l.right, l.left}[side].sender
			sent := out.stats(time.Now()).packets
			if got := testing.AllocsPerRun(500, func() { l.step(side) }); got != 0 {
				t.Errorf("%v side %d: %v allocations per frame", codecs, side, got)
			}
			// A machine that stands still for a while makes up for packets that are late.
			if n := out.stats(time.Now()).packets - sent; int(n) < l.n[side]-before {
				t.Errorf("%v side %d: %d packets out of %d in", codecs, side, n, l.n[side]-before)
			}
		}
	}
}

func BenchmarkBridge(b *testing.B) {
	for _, codecs := range [][2]Codec{{Opus, PCMA}, {Opus, PCMU}, {PCMA, PCMA}, {Opus, Opus}, {Opus, G722}} {
		var frames [2]time.Duration
		for side, name := range []string{fmt.Sprintf("%v-to-%v", codecs[0], codecs[1]), fmt.Sprintf("%v-to-%v", codecs[1], codecs[0])} {
			b.Run(name, func(b *testing.B) {
				l := newLoop(b, codecs[0], codecs[1])
				l.step(side)
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					l.step(side)
				}
				frame := b.Elapsed() / time.Duration(b.N)
				b.ReportMetric(float64(frame), "ns/frame")
				if frames[side] = frame; side == 1 {
					b.ReportMetric(float64(frameTime)/float64(frames[0]+frames[1]), "calls/core")
				}
			})
		}
	}
}

// BenchmarkSpacing shows how evenly packets leave while nothing is pushed and
// while speech is, with a plain ticker beside them: where the ticker is late,
// the machine is.
func BenchmarkSpacing(b *testing.B) {
	p, m := testPacer(b)
	var mu sync.Mutex
	var gaps [3][]time.Duration
	note := func(i int, last *time.Time) {
		now := time.Now()
		if !last.IsZero() {
			mu.Lock()
			gaps[i] = append(gaps[i], now.Sub(*last))
			mu.Unlock()
		}
		*last = now
	}
	var lasts [3]time.Time
	silent := testSender(b, p, m, Opus, func(*rtp.Header, []byte) error { note(1, &lasts[1]); return nil })
	speech := testSender(b, p, m, Opus, func(*rtp.Header, []byte) error { note(2, &lasts[2]); return nil })
	silent.open()
	speech.open()
	source := tone.NewSource(440, narrowRate)
	frame := toneFrame(source)
	tick := time.NewTicker(frameTime)
	defer tick.Stop()
	for range max(b.N, 250) {
		<-tick.C
		note(0, &lasts[0])
		source.Read(frame.PCM)
		speech.Push(frame)
	}
	silent.close()
	speech.close()
	for i, who := range []string{"ticker", "silence", "speech"} {
		slices.Sort(gaps[i])
		at := func(q float64) float64 {
			k := int(math.Min(q*float64(len(gaps[i])), float64(len(gaps[i])-1)))
			return gaps[i][k].Seconds() * 1000
		}
		b.ReportMetric(at(0.5), who+"-p50-ms")
		b.ReportMetric(at(0.99), who+"-p99-ms")
	}
	b.ReportMetric(0, "ns/op")
	runtime.KeepAlive(frame)
}

// TestOneStreamOverHoldAndTransfer: for ten minutes the customer is sent a packet
// each 20 ms, whoever talks, holds, falls silent or takes over.
func TestOneStreamOverHoldAndTransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		var w wire
		customer := testLeg(t, p, m, PCMU, w.write)
		customer.sender.open()
		desk := func(freq float64) (*leg, *phone) {
			l := testLeg(t, p, m, PCMA, (&wire{}).write)
			l.sender.open()
			return l, testPhone(t, p, m, PCMA, l, freq, 440)
		}
		first, one := desk(620)
		second, two := desk(850)
		bridge := NewBridge(customer, first)
		bridge.Start()
		// Each desk speaks by a clock of its own, a few milliseconds off.
		speak := func(ph *phone, d, late time.Duration) {
			time.Sleep(late)
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(frameTime) {
				ph.talk.Push(toneFrame(ph.tone))
			}
		}
		hold := func(l *leg, ph *phone) {
			l.pause(true)
			speak(ph, 20*time.Second, 7*time.Millisecond) // music
			ph.talk.pause(true)
			time.Sleep(20 * time.Second)
			ph.talk.pause(false)
			l.pause(false)
		}
		start := time.Now()
		speak(one, 2*time.Minute, 0)
		hold(first, one)
		speak(one, 2*time.Minute, 3*time.Millisecond)
		bridge.Swap(B, second)
		speak(two, 3*time.Minute, 11*time.Millisecond)
		hold(second, two)
		speak(two, time.Minute, 5*time.Millisecond)
		got := w.sent()
		wantStream(t, PCMU, got)
		if n, want := len(got), int(time.Since(start)/frameTime); n < want-5 || n > want+5 {
			t.Errorf("%d packets in the time of %d", n, want)
		}
		near, far := 0, 0
		for i := 1; i < len(got); i++ {
			switch d := got[i].at.Sub(got[i-1].at); {
			case d < frameTime/2:
				near++
			case d > fillAfter+2*time.Millisecond:
				t.Errorf("packet %d comes after %v", i, d)
			case d > frameTime+2*time.Millisecond:
				far++
			}
		}
		t.Logf("%d packets, %d early, %d late", len(got), near, far)
		if near > 5 || far > 10 { // a few at each change
			t.Errorf("of %d packets %d came early, %d late", len(got), near, far)
		}
	})
}
