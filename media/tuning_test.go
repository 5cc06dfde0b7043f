package media

import (
	"math"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"wagate/config"
	"wagate/test/tone"
)

func TestTune(t *testing.T) {
	auto := testOpus()
	fixed := config.Opus{Bitrate: 20000, Complexity: 7, FEC: config.On}
	off := config.Opus{Bitrate: 20000, Complexity: config.ComplexityAuto, FEC: config.Off}
	on := config.Opus{Bitrate: 20000, Complexity: config.ComplexityAuto, FEC: config.On}
	for _, c := range []struct {
		name  string
		cfg   config.Opus
		rate  int
		lossy bool
		save  Economy
		want  tuning
	}{
		{"clean", auto, narrowRate, false, NoEconomy, tuning{1, false}},
		{"lossy", auto, narrowRate, true, NoEconomy, tuning{2, true}},
		{"wideband", auto, wideRate, false, NoEconomy, tuning{5, false}},
		{"wideband, lossy", auto, wideRate, true, NoEconomy, tuning{5, false}},
		{"fixed, clean", fixed, narrowRate, false, NoEconomy, tuning{7, true}},
		{"fixed, lossy", fixed, narrowRate, true, NoRedundancy, tuning{7, true}},
		{"fixed, wideband", fixed, wideRate, true, NoRedundancy, tuning{7, true}},
		{"never", off, narrowRate, true, NoEconomy, tuning{1, false}},
		{"always", on, narrowRate, false, NoEconomy, tuning{2, true}},
		{"little CPU, clean", auto, narrowRate, false, LowComplexity, tuning{1, false}},
		{"little CPU, lossy", auto, narrowRate, true, LowComplexity, tuning{2, true}},
		{"little CPU, wideband", auto, wideRate, false, LowComplexity, tuning{1, false}},
		{"less CPU, lossy", auto, narrowRate, true, NoRedundancy, tuning{1, false}},
		{"less CPU, always", on, narrowRate, true, NoRedundancy, tuning{2, true}},
	} {
		if got := tune(c.cfg, c.rate, c.lossy, c.save); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

// told makes the reports of a far end that misses packets.
type told struct {
	far farEnd
	at  time.Time
}

func (r *told) hears(w *lossWatch, missed, expected int) {
	r.at = r.at.Add(time.Duration(expected) * frameTime)
	r.far.reports++
	r.far.highest += uint32(expected)
	r.far.lost = (r.far.lost + uint32(missed)) & 0xffffff
	r.far.loss = float64(missed*256/max(expected, 1)) / 256
	w.heed(r.far, r.at)
}

func TestLossWatch(t *testing.T) {
	const per = 250 // packets in five seconds
	start := func() (*lossWatch, *told) {
		w, r := &lossWatch{}, &told{at: noon}
		r.far.highest, r.far.lost = math.MaxUint32-100, 0xfffffe // about to wrap; duplicates so far
		r.hears(w, 0, per)
		return w, r
	}
	t.Run("on at once, off after a calm minute", func(t *testing.T) {
		w, r := start()
		r.hears(w, 2, per) // 0.8 %
		if w.lossy {
			t.Error("on at 0.8 %")
		}
		r.hears(w, 3, per)
		if !w.lossy {
			t.Fatal("not on at 1.2 %")
		}
		on := r.at
		for w.lossy && r.at.Sub(on) < 10*time.Minute {
			r.hears(w, 0, per)
		}
		if calm := r.at.Sub(on); calm != time.Minute {
			t.Errorf("off after %v", calm)
		}
	})
	t.Run("a loss starts the minute anew", func(t *testing.T) {
		w, r := start()
		for i := range 60 {
			r.hears(w, map[bool]int{true: 5}[i%11 == 0], per) // every 55 s
			if !w.lossy {
				t.Fatalf("off %v after the first loss", r.at.Sub(noon))
			}
		}
	})
	t.Run("little but all the time", func(t *testing.T) {
		w, r := start()
		for range 15 { // 0.6 %, hardly ever in one report
			r.hears(w, 1, per)
			r.hears(w, 2, per)
		}
		if !w.lossy {
			t.Error("not on after minutes of 0.6 %")
		}
		for range 30 {
			r.hears(w, 1, per) // 0.4 %
		}
		if w.lossy {
			t.Error("still on after minutes of 0.4 %")
		}
	})
	t.Run("few packets say little", func(t *testing.T) {
		w, r := start()
		r.hears(w, 1, 10)
		if w.lossy {
			t.Error("on after one packet of ten")
		}
		r.hears(w, 0, 40)
		if !w.lossy {
			t.Error("not on after one packet of fifty")
		}
	})
	t.Run("only one of the figures is kept", func(t *testing.T) {
		w, r := start()
		lost := r.far.lost
		r.hears(w, 5, per)
		if r.far.lost = lost; !w.lossy {
			t.Error("not on by the count")
		}
		w, r = start()
		r.far.highest, r.far.loss = r.far.highest+per, 0.02
		r.far.reports++
		w.heed(r.far, r.at)
		if !w.lossy {
			t.Error("not on by the share")
		}
	})
	t.Run("nonsense", func(t *testing.T) {
		w, r := start()
		for _, highest := range []uint32{0, math.MaxUint32, 1 << 31, r.far.highest} {
			r.far.highest, r.far.lost = highest, highest
			r.far.reports++
			w.heed(r.far, r.at)
		}
		if w.lossy {
			t.Error("on by figures that cannot be")
		}
		for range 3 { // said again and again
			w.heed(r.far, r.at)
		}
	})
}

// TestTuningIsNotHeard: an encoder that is set anew every few frames gives the
// same sound as one that is left alone, without a click.
func TestTuningIsNotHeard(t *testing.T) {
	rough := func(rate int, flip bool) float64 {
		economy := &economy{}
		enc, err := newOpusEncoder(testOpus(), economy)
		if err != nil {
			t.Fatal(err)
		}
		dec, err := newOpusDecoder(rate)
		if err != nil {
			t.Fatal(err)
		}
		source := tone.NewSource(440, rate)
		packet, pcm, out := make([]byte, maxOpusPacket), make([]int16, rate/50), make([]int16, rate/50)
		var past [3]float64
		worst := 0.0
		turn := 2 * math.Cos(2*math.Pi*440/float64(rate))
		for i := range 500 {
			if flip && i%7 == 0 {
				enc.lossy = !enc.lossy
				economy.set(Economy(i / 7 % 3))
			}
			source.Read(pcm)
			n, err := enc.encode(pcm, rate, packet)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := dec.Decode(packet[:n], out); err != nil {
				t.Fatal(err)
			}
			for _, v := range out {
				// A sine is the sum of the two samples before it, weighed; what
				// is left is noise, and at a click much of it.
				past[2], past[1], past[0] = past[1], past[0], float64(v)
				if left := math.Abs(past[0] - turn*past[1] + past[2]); i > 25 {
					worst = max(worst, left)
				}
			}
		}
		return worst
	}
	for _, rate := range []int{narrowRate, wideRate} {
		left, flipped := rough(rate, false), rough(rate, true)
		t.Logf("%d Hz: roughest sample %.0f, left alone %.0f", rate, flipped, left)
		if flipped > 2*left+50 {
			t.Errorf("%d Hz: roughest sample %.0f, left alone %.0f", rate, flipped, left)
		}
	}
}

// TestRedundancyFollowsReports: what leaves has copies of the frame before it as
// long as the far end says that it misses packets, at no cost on the heap.
func TestRedundancyFollowsReports(t *testing.T) {
	p, m := testPacer(t)
	var w wire
	s := testSender(t, p, m, Opus, w.write)
	pcm := make([]int16, narrowRate/50)
	n, redundant := 0, 0
	speak := func(frames int) {
		before := len(w.sent())
		for range frames {
			voice(pcm, n*len(pcm))
			n++
			s.anyTime()
			s.Push(&Frame{Kind: Audio, PCM: pcm, Rate: narrowRate, Duration: frameTime})
		}
		redundant = 0
		for _, p := range w.sent()[before:] {
			if opusRedundant(p.payload) {
				redundant++
			}
		}
	}
	r := &told{at: noon}
	hears := func(missed int) {
		r.hears(&lossWatch{}, missed, 250)
		s.heed(r.far, r.at)
	}
	hears(0)
	if speak(100); redundant != 0 {
		t.Errorf("%d of 100 packets have a copy on a clean line", redundant)
	}
	hears(5)
	if speak(100); redundant < 40 { // silence has none
		t.Errorf("%d of 100 packets have a copy on a lossy line", redundant)
	}
	for range 12 {
		hears(0)
	}
	speak(2) // what was said before
	if speak(100); redundant != 0 {
		t.Errorf("%d of 100 packets have a copy a minute later", redundant)
	}
	quiet := testSender(t, p, m, Opus, func(*rtp.Header, []byte) error { return nil })
	frame := &Frame{Kind: Audio, PCM: pcm, Rate: narrowRate, Duration: frameTime}
	flip := func() {
		quiet.anyTime()
		r.far.reports++
		r.far.highest += 250
		r.far.lost += 10
		quiet.heed(r.far, r.at)
		quiet.Push(frame)
		quiet.loss.lossy, quiet.opus.lossy = false, false
		quiet.Push(frame)
	}
	for range 10 {
		flip()
	}
	if got := testing.AllocsPerRun(200, flip); got != 0 {
		t.Errorf("%v allocations per change", got)
	}
}

// TestRedundancyOverTheWire: RTCP from the far end switches it on.
func TestRedundancyOverTheWire(t *testing.T) {
	from, to := pair(t)
	from.Open()
	wait(t, "first audio", to.Heard())
	k := to.keys.Load()
	for i, missed := range []uint32{0, 25} {
		rr := &rtcp.ReceiverReport{SSRC: to.sender.ssrc(), Reports: []rtcp.ReceptionReport{{
			SSRC: from.sender.ssrc(), FractionLost: uint8(missed), TotalLost: missed, LastSequenceNumber: 1000 + uint32(i)*250,
		}}}
		raw, err := rr.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if err := k.sendRTCP(raw); err != nil {
			t.Fatal(err)
		}
	}
	heard := newFrames()
	to.SetSink(heard, Format{Codec: Opus})
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		pcm, tick := make([]int16, narrowRate/50), time.NewTicker(frameTime)
		defer tick.Stop()
		for n := 0; ; n++ {
			voice(pcm, n*len(pcm))
			from.Push(&Frame{Kind: Audio, PCM: pcm, Rate: narrowRate, Duration: frameTime})
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	heard.until(t, "a packet with a copy", func(f Frame) bool { return opusRedundant(f.Payload) })
}
