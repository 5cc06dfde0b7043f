package media

import (
	"bytes"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"wagate/test/tone"
)

// shelf is an Endpoint that keeps what is pushed.
type shelf struct {
	*ear

	codec Codec
}

func newShelf(c Codec) shelf { return shelf{newEar(ringbackPitch), c} }

func (shelf) SetSink(Sink, Format) {}
func (s shelf) Codec() Codec       { return s.codec }
func (shelf) Stats() Stats         { return Stats{} }
func (shelf) Close() error         { return nil }

// sounds are the audio frames among what was pushed.
func (s shelf) sounds() []heardFrame {
	var sounds []heardFrame
	for _, f := range s.heard() {
		if f.Kind == Audio {
			sounds = append(sounds, f)
		}
	}
	return sounds
}

// over tells whether Done is closed.
func over(p *Player) bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

// beep is a Sound of that length, with a wide side if that is asked for.
func beep(length time.Duration, freq float64, wide bool) Sound {
	rate := narrowRate
	if wide {
		rate = wideRate
	}
	pcm := make([]int16, rate*int(length/time.Millisecond)/1000)
	tone.NewSource(freq, rate).Read(pcm)
	if wide {
		return Sound{narrow: halve(pcm), wide: pcm}
	}
	return Sound{narrow: pcm}
}

func TestRingbackOnTheWire(t *testing.T) {
	e := pbxEngine(t, nil)
	s := pbxSocket(t, e, nil)
	p := answeredPBX(t, s)
	s.Open()
	player := e.NewPlayer(s, Ringback())
	player.Start()
	defer player.Stop()
	meter := tone.NewMeter(narrowRate, ringbackPitch)
	var last rtp.Packet
	for n := range 55 { // the tone and a little more
		pkt, _ := p.hear()
		if n > 0 && (pkt.SequenceNumber != last.SequenceNumber+1 || pkt.Timestamp != last.Timestamp+160 || pkt.SSRC != last.SSRC) {
			t.Fatalf("packet %d: %v follows %v", n, pkt.Header, last.Header)
		}
		meter.Write(alaw.decode(nil, pkt.Payload))
		last = pkt
	}
	if db, heard := meter.Level(ringbackPitch); !heard || math.Abs(db-ringbackLevel) > 1 {
		t.Errorf("%.1f dB (heard: %v), want %d", db, heard, ringbackLevel)
	}
}

func TestRingbackCadence(t *testing.T) {
	for _, c := range []Codec{PCMA, PCMU, Opus} {
		t.Run(c.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock, m := testPacer(t)
				listener := newEar(ringbackPitch)
				far := testReceiver(t, clock, m, listener)
				w := wire{then: func(p sentPacket) { far.receive(&p.Header, p.payload, p.at) }}
				l := testLeg(t, clock, m, c, w.write)
				l.sender.open()
				p := newPlayer(clock, l, Ringback())
				p.Start()
				time.Sleep(3*(ringbackOn+ringbackOff) + 500*time.Millisecond)
				p.Stop()
				wantStream(t, c, w.sent())
				wantSpacing(t, w.sent())
				gaps := listener.meter.Gaps()
				if len(gaps) != 3 {
					t.Fatalf("%d pauses, want 3: %v", len(gaps), gaps)
				}
				for i, g := range gaps {
					at := time.Duration(i)*(ringbackOn+ringbackOff) + ringbackOn
					if (g.At-at).Abs() > 60*time.Millisecond || (g.Length-ringbackOff).Abs() > 40*time.Millisecond {
						t.Errorf("pause %d at %v for %v, want %v for %v", i, g.At, g.Length, at, ringbackOff)
					}
				}
				if over(p) {
					t.Error("a tone without end was played to its end")
				}
			})
		})
	}
}

// wantSpacing checks that nothing was held up or bunched, but for the one
// packet with which a player finds its own beat.
func wantSpacing(t *testing.T, packets []sentPacket) {
	t.Helper()
	early := 0
	for i := 1; i < len(packets); i++ {
		switch d := packets[i].at.Sub(packets[i-1].at); {
		case d > frameTime+2*time.Millisecond:
			t.Errorf("packet %d comes after %v", i, d)
		case d < frameTime-2*time.Millisecond:
			early++
		}
	}
	if early > 1 {
		t.Errorf("%d packets come early, want at most one", early)
	}
}

func TestPromptIsPlayedOnce(t *testing.T) {
	for _, c := range []Codec{PCMA, Opus} {
		t.Run(c.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock, m := testPacer(t)
				var w wire
				l := testLeg(t, clock, m, c, w.write)
				l.sender.open()
				time.Sleep(time.Second + 7*time.Millisecond) // silence, and out of step with its beat
				sound := BuiltinPrompt()
				p := newPlayer(clock, l, sound)
				began := time.Now()
				p.Start()
				<-p.Done()
				if took := time.Since(began); (took - sound.Length()).Abs() > frameTime {
					t.Errorf("took %v, want %v", took, sound.Length())
				}
				time.Sleep(2 * sound.Length())
				p.Stop()
				got := w.sent()
				wantStream(t, c, got)
				wantSpacing(t, got)
				if n := int(sound.Length()/frameTime) * 3; len(got) < n {
					t.Errorf("%d packets, want %d and more", len(got), n)
				}
				if c != PCMA {
					return
				}
				var all []byte
				for _, pkt := range got {
					all = append(all, pkt.payload...)
				}
				if want := alaw.encode(nil, sound.narrow); bytes.Count(all, want) != 1 {
					t.Errorf("the prompt was not played once and whole")
				}
			})
		})
	}
}

// The tone stops when the customer answers, and the bridge goes on in the same
// stream.
func TestRingbackGivesWayToTheBridge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bridge, left, right, one, two := testCall(t, Opus, PCMA)
		clock, _ := testPacer(t)
		player := newPlayer(clock, right, Ringback())
		two.ear.listen(narrowRate, ringbackPitch, 440)
		player.Start()
		time.Sleep(800 * time.Millisecond)
		if _, heard := two.ear.meter.Level(ringbackPitch); !heard {
			t.Error("no tone")
		}
		player.Stop()
		bridge.Start()
		two.ear.meter.Reset()
		for range 100 {
			one.talk.Push(toneFrame(one.tone))
			time.Sleep(frameTime)
		}
		if db, heard := two.ear.meter.Level(440); !heard || db < -16 {
			t.Errorf("customer at %.1f dB (heard: %v)", db, heard)
		}
		if st := two.hear.stats(); st.Lost+st.Late+st.Duplicates != 0 {
			t.Errorf("the agent's phone: %+v", st)
		}
		bridge.Stop()
		left.Close()
	})
}

func TestStopAtAnyTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock, _ := testPacer(t)
		to := newShelf(PCMA)
		never := newPlayer(clock, to, Ringback())
		never.Stop()
		never.Start()
		time.Sleep(time.Second)
		if n := len(to.heard()); n != 0 {
			t.Fatalf("%d frames of a player that was stopped before its start", n)
		}
		p := newPlayer(clock, to, beep(time.Second, 425, false))
		p.Start()
		p.Start()
		time.Sleep(500*time.Millisecond + time.Millisecond)
		var stops sync.WaitGroup
		for range 5 {
			stops.Go(p.Stop)
		}
		stops.Wait()
		n := len(to.heard())
		time.Sleep(time.Second)
		if got := len(to.heard()); got != n {
			t.Errorf("%d frames after Stop", got-n)
		}
		if sounds := to.sounds(); len(sounds) != 26 {
			t.Errorf("%d frames in half a second, want 26", len(sounds))
		}
		if last := to.heard()[n-1]; last.Kind != Silence || n != 27 {
			t.Errorf("the sender was not told of the silence: %d frames, the last %+v", n, last.Frame)
		}
		p.Start()
		p.Stop()
		time.Sleep(time.Second)
		if got := len(to.heard()); got != n {
			t.Errorf("%d frames of a player that was over", got-n)
		}
		if l := p.sound.Length(); l != time.Second || Ringback().Length() != 0 {
			t.Errorf("a second lasts %v, a tone without end %v", l, Ringback().Length())
		}
		if over(p) {
			t.Error("a stopped sound counts as played")
		}
		nothing := newPlayer(clock, to, Sound{})
		nothing.Start()
		<-nothing.Done()
		nothing.Stop()
	})
}

// stalled is an Endpoint that once takes its time.
type stalled struct {
	shelf

	at   int
	hold time.Duration
}

func (s stalled) Push(f *Frame) {
	s.shelf.Push(f)
	if len(s.heard()) == s.at {
		time.Sleep(s.hold)
	}
}

func TestLatePlayerDoesNotCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock, _ := testPacer(t)
		to := stalled{newShelf(PCMA), 10, 300 * time.Millisecond}
		p := newPlayer(clock, to, beep(time.Second, 425, false))
		p.Start()
		<-p.Done()
		var whole []int16
		sounds := to.sounds()
		for i, f := range sounds {
			whole = append(whole, f.PCM...)
			if i > 0 && f.at.Sub(sounds[i-1].at) < frameTime {
				t.Errorf("frame %d comes %v after the one before", i, f.at.Sub(sounds[i-1].at))
			}
		}
		if !slices.Equal(whole, p.sound.narrow) {
			t.Errorf("%d samples of %d were played, or others", len(whole), len(p.sound.narrow))
		}
	})
}

func TestSoundInTheRateOfTheCodec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock, _ := testPacer(t)
		for _, test := range []struct {
			codec Codec
			wide  bool
			rate  int
		}{{PCMA, false, narrowRate}, {PCMA, true, narrowRate}, {Opus, false, narrowRate}, {Opus, true, wideRate}, {NoCodec, true, narrowRate}} {
			to := newShelf(test.codec)
			p := newPlayer(clock, to, beep(500*time.Millisecond, 425, test.wide))
			p.Start()
			<-p.Done()
			sounds := to.sounds()
			if len(sounds) != 25 {
				t.Errorf("%v: %d frames in half a second, want 25", test.codec, len(sounds))
			}
			for _, f := range sounds {
				if f.Rate != test.rate || len(f.PCM) != test.rate/50 || f.Duration != frameTime {
					t.Fatalf("%v: %d samples at %d for %v, want %d", test.codec, len(f.PCM), f.Rate, f.Duration, test.rate)
				}
			}
		}
	})
}

func TestHalve(t *testing.T) {
	for _, test := range []struct {
		freq, as float64 // as it is at 8 kHz
		heard    bool
	}{{300, 300, true}, {1000, 1000, true}, {3000, 3000, true}, {4600, 3400, false}, {6000, 2000, false}, {7000, 1000, false}} {
		meter := tone.NewMeter(narrowRate, test.as)
		meter.Write(beep(time.Second, test.freq, true).narrow)
		db, heard := meter.Level(test.as)
		if heard != test.heard || heard && math.Abs(db-tone.DefaultLevel) > 0.5 {
			t.Errorf("%v Hz is %v Hz at %.1f dB (heard: %v), want heard: %v", test.freq, test.as, db, heard, test.heard)
		}
	}
}

func TestAllocPlayer(t *testing.T) {
	for _, c := range []Codec{PCMA, Opus} {
		clock, m := testPacer(t)
		l := testLeg(t, clock, m, c, func(*rtp.Header, []byte) error { return nil })
		p := newPlayer(clock, l, Ringback())
		p.Start()
		step := func() {
			l.sender.anyTime()
			p.tick(time.Now())
		}
		for range 100 {
			step()
		}
		before := l.sender.stats(time.Now()).packets
		if got := testing.AllocsPerRun(500, step); got != 0 {
			t.Errorf("%v: %v allocations per frame", c, got)
		}
		if n := l.sender.stats(time.Now()).packets - before; n < 500 {
			t.Errorf("%v: %d packets of 500 frames", c, n)
		}
		p.Stop()
	}
}
