package media

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"wagate/test/tone"
)

// stream makes the packets of a far end.
type stream struct {
	codec  Codec
	number uint16
	stamp  uint32
	ssrc   uint32
}

func (s *stream) header() *rtp.Header {
	h := &rtp.Header{Version: 2, SSRC: s.ssrc, SequenceNumber: s.number, Timestamp: s.stamp, PayloadType: testType(s.codec)}
	s.number++
	return h
}

// law is the next packet of G.711 with samples that tell it apart.
func (s *stream) law(samples int, fill byte) (*rtp.Header, []byte) {
	h := s.header()
	s.stamp += uint32(samples)
	return h, bytes.Repeat([]byte{fill}, samples)
}

func TestFirstPacketBeforeTheWrap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		e := newEar()
		r := testReceiver(t, p, m, e)
		s := &stream{codec: PCMA, number: 65534, stamp: math.MaxUint32 - 200, ssrc: 7}
		for range 10 {
			h, payload := s.law(160, 0x55)
			r.receive(h, payload, time.Now())
			time.Sleep(frameTime)
		}
		st := r.stats()
		if len(e.heard()) != 10 || st.Lost != 0 || st.Late != 0 || st.Concealed != 0 {
			t.Errorf("%d frames, %+v", len(e.heard()), st)
		}
		if got, want := r.reception().highest, uint32(1<<16|7); got != want {
			t.Errorf("highest number %#x, want %#x", got, want)
		}
	})
}

// TestWrapsWithLossReorderAndDuplicates sends three times round the sequence
// numbers and holds the receiver to: every packet at most once, in order, and
// counts that agree with what was done to them.
func TestWrapsWithLossReorderAndDuplicates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		rng := rand.New(rand.NewPCG(1, 2))
		r := newReceiver(p, m.sip, pbxDelayMax)
		r.accept(8, PCMA)
		t.Cleanup(r.close)
		var got []int64
		r.setSink(sinkFunc(func(f *Frame) {
			if f.Payload != nil { // concealed frames are PCM
				got = append(got, int64(f.Payload[0])|int64(f.Payload[1])<<8|int64(f.Payload[2])<<16)
			}
		}), Format{Codec: PCMA})

		const n = 3<<16 + 500
		lost, doubled := 0, 0
		send := func(i int64) {
			payload := make([]byte, 160)
			payload[0], payload[1], payload[2] = byte(i), byte(i>>8), byte(i>>16)
			h := &rtp.Header{Version: 2, SSRC: 9, PayloadType: 8, SequenceNumber: uint16(65534 + i), Timestamp: uint32(i * 160)}
			r.receive(h, payload, time.Now())
			if rng.IntN(20) == 0 {
				doubled++
				r.receive(h, payload, time.Now())
			}
		}
		for i := int64(0); i < n; i++ {
			switch k := rng.IntN(100); {
			case i == 0 || i == n-1:
				send(i)
			case k < 3:
				lost++
			case k < 6 && i+1 < n-1: // swapped with its successor
				send(i + 1)
				send(i)
				i++
				time.Sleep(frameTime)
			default:
				send(i)
			}
			time.Sleep(frameTime)
		}
		time.Sleep(time.Second)
		r.setSink(nil, Format{})
		for i := 1; i < len(got); i++ {
			if got[i] <= got[i-1] {
				t.Fatalf("frame %d: packet %d after %d", i, got[i], got[i-1])
			}
		}
		st := r.stats()
		if int(st.Lost) != lost || int(st.Duplicates) != doubled {
			t.Errorf("lost %d and doubled %d, counted %d and %d", lost, doubled, st.Lost, st.Duplicates)
		}
		if int(st.PacketsIn) != n-lost {
			t.Errorf("%d packets, want %d", st.PacketsIn, n-lost)
		}
		// Frames right after a gap are blended and come as PCM; all the others
		// must be here but for the few late ones.
		if missing := n - lost - len(got); missing > 2*lost+int(st.Late) {
			t.Errorf("%d of %d packets were not heard, %d late", missing, n-lost, st.Late)
		}
		if st.Late > n/1000 {
			t.Errorf("%d late packets: the buffer does not follow", st.Late)
		}
	})
}

type sinkFunc func(*Frame)

func (f sinkFunc) Push(fr *Frame) { f(fr) }

// A packet that overtakes its predecessor by a little does no harm even when
// nothing is delayed.
func TestSwappedPacketsAtRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		e := newEar()
		r := testReceiver(t, p, m, e)
		s := &stream{codec: PCMU, number: 10, ssrc: 7}
		for i := range 20 {
			h, payload := s.law(160, byte(i))
			if i == 10 {
				h2, payload2 := s.law(160, byte(i))
				r.receive(h2, payload2, time.Now())
				time.Sleep(5 * time.Millisecond)
			}
			r.receive(h, payload, time.Now())
			time.Sleep(frameTime)
		}
		st := r.stats()
		if st.Lost != 0 || st.Late != 0 || st.Concealed != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestLostPacketIsMadeUp(t *testing.T) {
	for _, c := range []Codec{Opus, PCMA, G722} {
		t.Run(c.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, m := testPacer(t)
				e := newEar(440)
				r := testReceiver(t, p, m, e)
				var w wire
				n := 0
				w.then = func(pkt sentPacket) {
					if n++; n%10 != 0 {
						r.receive(&pkt.Header, pkt.payload, time.Now())
					}
				}
				s := testSender(t, p, m, c, w.write)
				s.open()
				source := tone.NewSource(440, narrowRate)
				for range 200 {
					s.Push(toneFrame(source))
					time.Sleep(frameTime)
				}
				st := r.stats()
				if st.Lost < 19 || st.Lost > 21 {
					t.Errorf("%d lost, want 20", st.Lost)
				}
				if got := st.Concealed; got < 19*frameTime || got > 21*frameTime {
					t.Errorf("concealed %v", got)
				}
				if frames := len(e.heard()); frames < 199 || frames > 201 {
					t.Errorf("%d frames, want 200", frames)
				}
				if db, heard := e.meter.Level(440); !heard || db < -20 {
					t.Errorf("440 Hz at %.1f dB", db)
				}
				if gaps := e.meter.Gaps(); len(gaps) > 1 {
					t.Errorf("gaps in the tone: %v", gaps)
				}
			})
		})
	}
}

// Speech of every packet length leaves in frames of 20 ms at an even pace.
func TestEveryPacketLength(t *testing.T) {
	for _, ms := range []int{10, 20, 30, 40, 60} {
		synctest.Test(t, func(t *testing.T) {
			p, m := testPacer(t)
			e := newEar(440)
			r := testReceiver(t, p, m, e)
			s := &stream{codec: PCMA, number: 65500, ssrc: 3}
			source := tone.NewSource(440, narrowRate)
			pcm := make([]int16, 8*ms)
			for range 3000 / ms {
				source.Read(pcm)
				h, _ := s.law(len(pcm), 0)
				r.receive(h, alaw.encode(nil, pcm), time.Now())
				time.Sleep(time.Duration(ms) * time.Millisecond)
			}
			time.Sleep(10 * time.Millisecond)
			frames := e.came()
			if n := len(frames); n < 148 || n > 150 {
				t.Errorf("%d ms: %d frames in 3 s, want 150", ms, n)
			}
			for i, f := range frames {
				if len(f.PCM) != 160 && len(f.Payload) != 160 {
					t.Fatalf("%d ms: frame %d has %d samples", ms, i, len(f.PCM))
				}
				if i > 0 {
					if gap := f.at.Sub(frames[i-1].at); gap > 31*time.Millisecond || gap < 9*time.Millisecond {
						t.Fatalf("%d ms: %v between frames", ms, gap)
					}
				}
			}
			if len(e.meter.Gaps()) > 1 {
				t.Errorf("%d ms: gaps in the tone: %v", ms, e.meter.Gaps())
			}
		})
	}
}

func TestPauseOfTheFarEndIsNoLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		e := newEar()
		r := testReceiver(t, p, m, e)
		s := &stream{codec: PCMA, number: 1, ssrc: 3}
		for range 3 {
			for range 20 {
				h, payload := s.law(160, 0x11)
				r.receive(h, payload, time.Now())
				time.Sleep(frameTime)
			}
			time.Sleep(time.Second) // the numbers stand still, the time goes on
			s.stamp += 8000
		}
		h := s.header()
		h.PayloadType = comfortNoise
		r.receive(h, []byte{40}, time.Now())
		st := r.stats()
		if st.Concealed != 0 || st.Lost != 0 {
			t.Errorf("%+v", st)
		}
		frames := e.heard()
		if last := frames[len(frames)-1]; last.Kind != Silence {
			t.Errorf("comfort noise is kind %d, want silence", last.Kind)
		}
	})
}

func TestOpusPauseIsSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		e := newEar()
		r := testReceiver(t, p, m, e)
		s := &stream{codec: Opus, ssrc: 3}
		r.receive(s.header(), []byte{0x08}, time.Now())
		if f := e.heard(); len(f) != 1 || f[0].Kind != Silence {
			t.Errorf("got %+v", f)
		}
	})
}

func TestSourceChangesAndStrays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		e := newEar()
		r := testReceiver(t, p, m, e)
		play := func(s *stream, n int) {
			for range n {
				h, payload := s.law(160, 0x11)
				r.receive(h, payload, time.Now())
				time.Sleep(frameTime)
			}
		}
		count := func() int {
			time.Sleep(pbxDelayMax)
			return len(e.came())
		}
		a := &stream{codec: PCMA, number: 100, stamp: 1 << 31, ssrc: 1}
		b := &stream{codec: PCMA, number: 60000, ssrc: 2}
		play(a, 50)
		play(&stream{codec: PCMA, number: 5, ssrc: 99}, 1) // one stray packet
		play(a, 50)
		if got := count(); got != 100 {
			t.Errorf("%d frames around a stray, want 100", got)
		}
		play(b, 50)
		if got := count(); got != 149 {
			t.Errorf("%d frames after a change of source, want 149", got)
		}
		b.number += 20_000 // a restart
		play(b, 50)
		if got := count(); got != 198 {
			t.Errorf("%d frames after a restart, want 198", got)
		}
		if st := r.stats(); st.Lost != 0 {
			t.Errorf("%d lost", st.Lost)
		}
		// The far end changes its codec without a word.
		b.codec = PCMU
		play(b, 5)
		if got := count(); got != 203 {
			t.Errorf("%d frames after a change of codec, want 203", got)
		}
	})
}

// A network with jitter gets a buffer: frames leave evenly, and when it calms
// down the delay goes away.
func TestJitterIsSmoothedAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		e := newEar()
		r := testReceiver(t, p, m, e)
		s := &stream{codec: PCMA, ssrc: 3}
		send := func(n int, jitter time.Duration) {
			start := time.Now()
			done := make(chan struct{})
			for i := range n {
				h, payload := s.law(160, 0x11)
				at := start.Add(time.Duration(i) * frameTime)
				if jitter > 0 {
					at = at.Add(rand.N(jitter))
				}
				go func() {
					time.Sleep(time.Until(at))
					r.receive(h, payload, time.Now())
					done <- struct{}{}
				}()
			}
			for range n {
				<-done
			}
		}
		send(500, 60*time.Millisecond)
		st := r.stats()
		if st.Late > 25 {
			t.Errorf("%d of 500 late", st.Late)
		}
		frames := e.heard()
		uneven := 0
		for i := 101; i < len(frames); i++ {
			if d := frames[i].at.Sub(frames[i-1].at); d > 45*time.Millisecond {
				uneven++
			}
		}
		if uneven > 12 {
			t.Errorf("%d uneven frames of 400", uneven)
		}
		send(750, 0)
		r.mu.Lock()
		target := r.delays.target
		r.mu.Unlock()
		if target != 0 {
			t.Errorf("still delayed by %v after 15 calm seconds", target)
		}
		frames = e.heard()
		last := frames[len(frames)-1]
		if late := time.Since(last.at); late > frameTime {
			t.Errorf("the last frame left %v ago", late)
		}
	})
}

// Opus carries a coarse copy of each frame in the next packet, and we see it.
func TestRedundancyIsUsed(t *testing.T) {
	p, m := testPacer(t)
	var w wire
	s := testSender(t, p, m, Opus, w.write) // shut: nothing else encodes
	s.opus.lossy = true
	frame := &Frame{Kind: Audio, PCM: make([]int16, 160), Rate: narrowRate, Duration: frameTime}
	with := 0
	for n := range 200 {
		voice(frame.PCM, n*160)
		payload, _ := s.encode(frame)
		if opusRedundant(payload) {
			with++
		}
		if got := opusTicks(payload); got != 960 {
			t.Fatalf("packet of %d ticks", got)
		}
	}
	if with < 100 {
		t.Errorf("%d of 200 packets carry a copy", with)
	}
}

// voice is something like a vowel in syllables: a buzz at 110 Hz through two
// resonances.
func voice(pcm []int16, at int) {
	for i := range pcm {
		t := float64(at+i) / narrowRate
		v := 0.0
		for k := 1; k < 30; k++ {
			f := 110 * float64(k)
			one, two := (f-600)/250, (f-1700)/300
			near := math.Exp(-one*one) + 0.6*math.Exp(-two*two) + 0.02
			v += near * math.Sin(2*math.Pi*f*t+float64(k*k))
		}
		pcm[i] = int16(3000 * v * math.Pow(math.Sin(2*math.Pi*2*t), 2))
	}
}

// What the copy brings back is much nearer to what was said than a guess.
func TestRedundancyIsHeard(t *testing.T) {
	p, m := testPacer(t)
	var w wire
	s := testSender(t, p, m, Opus, w.write)
	s.opus.lossy = true
	pcm := make([]int16, 160)
	for n := range 300 {
		voice(pcm, n*160)
		s.anyTime()
		s.Push(&Frame{Kind: Audio, PCM: pcm, Rate: narrowRate, Duration: frameTime})
	}
	packets := w.sent()
	play := func(drop func(int) bool, blind bool) [][]int16 {
		e := newEar()
		r := testReceiver(t, p, m, e)
		at := time.Now()
		for i, pkt := range packets {
			at = at.Add(frameTime)
			if blind && i > 0 && drop(i-1) {
				pkt.payload[1] &^= 0x40 // hide that there is a copy
			}
			if !drop(i) {
				r.receive(&pkt.Header, pkt.payload, at)
				r.tick(at.Add(reorderWait))
			}
		}
		var out [][]int16
		for _, f := range e.heard() {
			out = append(out, f.PCM)
		}
		return out
	}
	drop := func(i int) bool { return i%10 == 5 && opusRedundant(packets[i+1].payload) }
	clean, with := play(func(int) bool { return false }, false), play(drop, false)
	var lost []int
	for i := range packets[:290] {
		if drop(i) {
			lost = append(lost, i)
		}
	}
	without := play(func(i int) bool { return slices.Contains(lost, i) }, true)
	if len(clean) != len(with) || len(clean) != len(without) {
		t.Fatalf("%d, %d and %d frames", len(clean), len(with), len(without))
	}
	fault := func(got [][]int16) (sum float64) {
		for _, i := range lost {
			for k := range got[i] {
				d := float64(got[i][k]) - float64(clean[i][k])
				sum += d * d
			}
		}
		return sum
	}
	if a, b := fault(with), fault(without); len(lost) < 10 || a > b/2 {
		t.Errorf("%d frames lost: error %.3g with the copies, %.3g without", len(lost), a, b)
	}
}

func TestOpusTicks(t *testing.T) {
	for _, c := range []struct {
		payload []byte
		want    uint32
	}{
		{nil, 0},
		{[]byte{0x08}, 960},          // SILK 20 ms
		{[]byte{0x18}, 2880},         // SILK 60 ms
		{[]byte{0x19, 0}, 5760},      // two of them
		{[]byte{0x1b, 3}, 0},         // three: 180 ms
		{[]byte{0x1b}, 0},            // no count
		{[]byte{0xe0}, 120},          // CELT 2.5 ms
		{[]byte{0xfb, 6}, 5760},      // six of 20 ms
		{[]byte{0xfb, 0x3f}, 0},      // 63
		{[]byte{0x60, 1, 2, 3}, 480}, // hybrid 10 ms
	} {
		if got := opusTicks(c.payload); got != c.want {
			t.Errorf("% x lasts %d ticks, want %d", c.payload, got, c.want)
		}
	}
}
