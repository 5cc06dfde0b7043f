package media

import (
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"wagate/test/tone"
)

// speaker is a far end that talks into a hold, a numbered frame each 20 ms.
type speaker struct {
	h     *hold
	frame Frame
	n     int
	at    map[int]time.Time // when each was said
}

// The peaks of what a speaker says. The first samples of a frame are its number.
const (
	speakerLoud  = 8000
	speakerNoise = 4000
	speakerStill = 0
)

func newSpeaker(h *hold) *speaker {
	return &speaker{h: h, frame: Frame{Kind: Audio, PCM: make([]int16, 160), Rate: narrowRate, Duration: frameTime}, at: map[int]time.Time{}}
}

// say speaks so many frames, one each 20 ms.
func (s *speaker) say(frames, peak int) {
	for range frames {
		s.n++
		for i := range s.frame.PCM {
			s.frame.PCM[i] = int16(peak)
		}
		if peak > 0 {
			s.frame.PCM[0] = int16(-100 * s.n)
			s.frame.PCM[159] = int16(-100 * s.n)
		}
		s.at[s.n] = time.Now()
		s.h.Push(&s.frame)
		time.Sleep(frameTime)
	}
}

// numberAt is the number that a frame has at one of its ends.
func numberAt(v int16) int { return (50 - int(v)) / 100 }

// numbers are those of the frames that were heard with a sound, and how late
// each was.
func (s *speaker) numbers(e *ear) (list []int, late map[int]time.Duration) {
	late = map[int]time.Duration{}
	for _, f := range e.heard() {
		if f.Kind != Audio {
			continue
		}
		if n := numberAt(f.PCM[0]); n > 0 {
			list = append(list, n)
			late[n] = f.at.Sub(s.at[n])
		}
	}
	return list, late
}

func countFrom(first, last int) (list []int) {
	for n := first; n <= last; n++ {
		list = append(list, n)
	}
	return list
}

// wantPaced checks that frames did not come in a burst.
func wantPaced(t *testing.T, e *ear) {
	t.Helper()
	frames := e.heard()
	for i := 2; i < len(frames); i++ {
		if d := frames[i].at.Sub(frames[i-2].at); d < frameTime {
			t.Fatalf("three frames in %v", d)
		}
	}
}

func testHold(t *testing.T) *hold {
	t.Helper()
	p, m := testPacer(t)
	return newHold(p, m.sip, Opus)
}

// TestFirstWordIsKept: what is said before there is anybody to hear it is heard
// whole and in order, at its own pace, and the pause after it wins the time back.
func TestFirstWordIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, e := testHold(t), newEar()
		s := newSpeaker(h)
		s.say(50, speakerStill) // nothing is late for silence
		s.say(15, speakerLoud)
		if h.attach(e) != Sink(h) {
			t.Fatal("the hold is passed by")
		}
		s.say(15, speakerLoud)
		s.say(40, speakerStill)
		s.say(25, speakerLoud)
		got, late := s.numbers(e)
		if want := append(countFrom(51, 80), countFrom(121, 145)...); !slices.Equal(got, want) {
			t.Errorf("heard %v, want %v", got, want)
		}
		if first := late[51]; first < 300*time.Millisecond || first > 360*time.Millisecond {
			t.Errorf("the first word is %v late", first)
		}
		if late[145] != 0 {
			t.Errorf("after the pause a frame is still %v late", late[145])
		}
		wantPaced(t, e)
	})
}

// TestHoldHasBounds: of what is said for too long before anybody can hear it, the
// silence goes first, then the oldest.
func TestHoldHasBounds(t *testing.T) {
	for _, c := range []struct {
		name  string
		say   [][2]int // frames, peak
		first int      // number of the first frame heard
	}{
		{"half a second", [][2]int{{holdFrames, speakerLoud}}, 1},
		{"more", [][2]int{{40, speakerLoud}}, 16},
		{"a word, then silence", [][2]int{{10, speakerLoud}, {200, speakerStill}}, 1},
		{"a word, a pause, a word", [][2]int{{10, speakerLoud}, {30, speakerStill}, {15, speakerLoud}}, 1},
		{"silence, then a word", [][2]int{{100, speakerStill}, {5, speakerLoud}}, 101},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, e := testHold(t), newEar()
				s := newSpeaker(h)
				loud := 0
				for _, w := range c.say {
					s.say(w[0], w[1])
					if w[1] > 0 {
						loud += w[0]
					}
				}
				if h.count > holdFrames {
					t.Errorf("%d frames are kept", h.count)
				}
				h.attach(e)
				s.say(100, speakerStill)
				got, _ := s.numbers(e)
				if len(got) != min(loud, holdFrames) || got[0] != c.first || !slices.IsSorted(got) {
					t.Errorf("heard %v, want %d from %d on", got, min(loud, holdFrames), c.first)
				}
			})
		})
	}
}

// TestNoPauseToWinBack: whoever talks without a pause, or beside a machine, is on
// time all the same after five seconds, and hardly a frame is missing at once.
func TestNoPauseToWinBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, e := testHold(t), newEar()
		s := newSpeaker(h)
		s.say(25, speakerNoise)
		h.attach(e)
		s.say(250, speakerNoise)
		at := s.n
		s.say(50, speakerNoise)
		_, late := s.numbers(e)
		for n := at; n < s.n; n++ {
			if l, heard := late[n]; !heard || l != 0 {
				t.Fatalf("frame %d, five seconds later: heard %v, %v late", n, heard, l)
			}
		}
		wantPaced(t, e)
		var numbers []int
		for _, f := range e.heard() { // a blended one begins as one and ends as the next
			numbers = append(numbers, numberAt(f.PCM[0]), numberAt(f.PCM[159]))
		}
		numbers = slices.Compact(numbers)
		gone := 0
		for i := 1; i < len(numbers); i++ {
			gone = max(gone, numbers[i]-numbers[i-1]-1)
		}
		if gone != 0 {
			t.Errorf("%d frames in a row have gone without a trace", gone)
		}
	})
}

// shy takes nothing until it is told.
type shy struct {
	*ear

	ready atomic.Bool
}

func (s *shy) takes() bool { return s.ready.Load() }

// TestHoldWaitsForThePath: a side that is there but not yet connected is given
// nothing.
func TestHoldWaitsForThePath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, e := testHold(t), &shy{ear: newEar()}
		s := newSpeaker(h)
		s.say(5, speakerLoud)
		h.attach(e)
		s.say(10, speakerStill)
		if n := len(e.heard()); n != 0 {
			t.Fatalf("%d frames before there is a path", n)
		}
		e.ready.Store(true)
		s.say(30, speakerStill)
		if got, _ := s.numbers(e.ear); !slices.Equal(got, countFrom(1, 5)) {
			t.Errorf("heard %v", got)
		}
	})
}

// TestHoldIsOver: when the sink is taken away nothing comes any more, and the
// next one gets what is said then, not what was kept for the one before.
func TestHoldIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, e := testHold(t), newEar()
		s := newSpeaker(h)
		s.say(20, speakerLoud)
		h.attach(e)
		time.Sleep(3 * frameTime)
		if h.attach(nil) != nil {
			t.Error("there is still a sink")
		}
		n := len(e.heard())
		s.say(20, speakerLoud)
		if more := len(e.heard()) - n; more != 0 || n == 0 {
			t.Errorf("%d frames after the end, %d before", more, n)
		}
		if h.attach(e) != Sink(e) {
			t.Error("the next sink is not given its frames directly")
		}
	})
}

// TestHoldChangesSinks: a phone that changes its codec, or another phone, goes on
// with what is left.
func TestHoldChangesSinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, one, two := testHold(t), newEar(), newEar()
		s := newSpeaker(h)
		s.say(10, speakerLoud)
		h.attach(one)
		s.say(5, speakerLoud)
		h.attach(two)
		s.say(5, speakerLoud)
		s.say(50, speakerStill)
		got, _ := s.numbers(one)
		rest, _ := s.numbers(two)
		if all := append(got, rest...); !slices.Equal(all, countFrom(1, 20)) || len(got) == 0 || len(rest) == 0 {
			t.Errorf("heard %v and %v", got, rest)
		}
	})
}

// TestHoldOfPayloads: a payload that is passed through is kept and judged too.
func TestHoldOfPayloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, e := testHold(t), newEar()
		say := func(c Codec, n int, payload []byte) {
			for range n {
				h.Push(&Frame{Kind: Audio, Codec: c, Payload: payload, Duration: frameTime})
				time.Sleep(frameTime)
			}
		}
		loud, still := alaw.encode(nil, make([]int16, 160)), alaw.encode(nil, make([]int16, 160))
		loud[80] = alaw.code[8000]
		say(PCMA, 30, still)
		say(PCMA, 10, loud)
		h.attach(e)
		say(PCMA, 40, still)
		heard := 0
		for _, f := range e.heard() {
			if f.Codec != PCMA || f.PCM != nil {
				t.Fatalf("heard %+v", f.Frame)
			}
			if slices.Equal(f.Payload, loud) {
				heard++
			}
		}
		if n := len(e.heard()); heard != 10 || n >= 50+holdLead {
			t.Errorf("%d of 10 frames of speech, %d in all", heard, n)
		}
		if peakOf(&Frame{Codec: Opus, Payload: make([]byte, 3)}) > quietPeak || peakOf(&Frame{Codec: Opus, Payload: make([]byte, 50)}) <= quietPeak {
			t.Error("the length of an Opus payload tells nothing")
		}
	})
}

// TestHoldFeedsASender: with a real sender behind it nothing of the word is cut
// away again, and the far end sees one frame each 20 ms.
func TestHoldFeedsASender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		h := newHold(p, m.sip, Opus)
		var w wire
		out := testSender(t, p, m, PCMA, w.write)
		source := tone.NewSource(440, narrowRate)
		for range 15 {
			h.Push(toneFrame(source))
			time.Sleep(frameTime)
		}
		out.open()
		h.attach(out)
		for range 20 {
			h.Push(toneFrame(source))
			time.Sleep(frameTime)
		}
		for range 60 {
			h.Push(&Frame{Kind: Audio, PCM: make([]int16, 160), Rate: narrowRate, Duration: frameTime})
			time.Sleep(frameTime)
		}
		packets := w.sent()
		wantStream(t, PCMA, packets)
		loud := 0
		for i, pkt := range packets {
			if pkt.payload[3] != pkt.payload[90] {
				loud++
			}
			if i > 0 && pkt.at.Sub(packets[i-1].at) < frameTime/2 {
				t.Errorf("packet %d comes %v after the one before it", i, pkt.at.Sub(packets[i-1].at))
			}
		}
		if loud != 35 {
			t.Errorf("%d of 35 frames of the word were sent", loud)
		}
	})
}

// TestHoldLeavesNoHole: a sender whose hold is taken away, or given to another
// one, in the middle of a word goes on with silence a frame later, although it
// was told that there is more.
func TestHoldLeavesNoHole(t *testing.T) {
	for name, next := range map[string]Sink{"nobody": nil, "another": newEar()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, m := testPacer(t)
				h := newHold(p, m.sip, Opus)
				var w wire
				out := testSender(t, p, m, PCMA, w.write)
				s := newSpeaker(h)
				s.say(15, speakerLoud)
				out.open()
				h.attach(out)
				s.say(5, speakerLoud)
				h.attach(next)
				time.Sleep(time.Second)
				packets := w.sent()
				wantStream(t, PCMA, packets)
				for i := 1; i < len(packets); i++ {
					if d := packets[i].at.Sub(packets[i-1].at); d > 2*frameTime {
						t.Errorf("packet %d comes %v after the one before it", i, d)
					}
				}
			})
		})
	}
}

// taking is a sender that says whether it takes audio, as both legs do.
type taking struct{ *sender }

func (s taking) takes() bool { return s.running() }

// TestKeyDuringHold: a key that is pressed while a word is still passed on goes
// first, and nothing of the word is lost to it.
func TestKeyDuringHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		h := newHold(p, m.sip, Opus)
		var w wire
		out := testSender(t, p, m, PCMA, w.write)
		s := newSpeaker(h)
		s.say(15, speakerLoud)
		out.open()
		h.attach(taking{out})
		s.say(5, speakerLoud)
		for i := range uint16(8) { // events come in the place of audio
			h.Push(&Frame{Kind: Event, Timestamp: 77, Digit: Digit{Code: 7, Duration: 160 * (i + 1), End: i > 4}, Duration: frameTime})
			time.Sleep(frameTime)
		}
		s.say(60, speakerStill)
		loud, keys := 0, 0
		for _, pkt := range w.sent() {
			switch {
			case pkt.PayloadType == testEvents:
				keys++
			case pkt.payload[80] != alaw.code[0]:
				loud++
			}
		}
		if loud != 20 || keys < 6 {
			t.Errorf("%d of 20 frames of the word were sent, and %d packets of the key", loud, keys)
		}
		wantStream(t, PCMA, w.sent())
	})
}

func TestAllocHold(t *testing.T) {
	p, m := testPacer(t)
	h := newHold(p, m.sip, Opus)
	frame := toneFrame(tone.NewSource(440, narrowRate))
	for range 2 * holdFrames {
		h.Push(frame)
	}
	if n := testing.AllocsPerRun(200, func() { h.Push(frame) }); n != 0 {
		t.Errorf("%v allocations per frame that is kept", n)
	}
	out := testSender(t, p, m, PCMA, func(*rtp.Header, []byte) error { return nil })
	h.to, h.state = out, holdCatching
	due := time.Now()
	if n := testing.AllocsPerRun(200, func() {
		out.anyTime()
		h.due = due
		h.Push(frame)
		h.Push(frame)
		h.tick(due)
	}); n != 0 {
		t.Errorf("%v allocations per frame that is passed on late", n)
	}
	h.state = holdPassing
	if n := testing.AllocsPerRun(200, func() {
		out.anyTime()
		h.Push(frame)
	}); n != 0 {
		t.Errorf("%v allocations per frame that passes through", n)
	}
}
