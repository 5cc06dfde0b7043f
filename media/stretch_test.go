package media

import (
	"fmt"
	"math"
	"math/cmplx"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"wagate/test/tone"
)

// phase follows a sine through audio, block by block.
type phase struct {
	step   float64 // radians per sample
	n      int     // samples so far
	sum    complex128
	last   complex128
	blocks int
	jump   float64 // radians from one block to the next, the most
	jumps  []int   // blocks that the phase jumped in
	weak   float64 // the least level of a block, against the block before
}

const (
	phaseBlock = 80  // samples, 10 ms
	phaseJump  = 0.8 // radians in one
)

func (p *phase) write(pcm []int16) {
	for _, v := range pcm {
		p.sum += complex(float64(v), 0) * cmplx.Rect(1, -p.step*float64(p.n))
		if p.n++; p.n%phaseBlock != 0 {
			continue
		}
		if p.blocks++; p.blocks > 100 {
			turn := math.Abs(cmplx.Phase(p.sum / p.last))
			if p.jump = max(p.jump, turn); turn > phaseJump {
				p.jumps = append(p.jumps, p.blocks)
			}
			p.weak = min(p.weak, cmplx.Abs(p.sum)/cmplx.Abs(p.last))
		}
		p.last, p.sum = p.sum, 0
	}
}

// TestClocksDriftWithoutASound: a far end whose clock is off for so long that
// the difference is that of two hours at 100 ppm neither piles up delay nor is
// heard: a sine keeps its phase, sample by sample, where a frame that was left
// out or said twice would turn it.
func TestClocksDriftWithoutASound(t *testing.T) {
	const freq = 510.0 // 10.2 periods in a frame
	for _, c := range []struct {
		from, to Codec
		ppm      float64
		length   time.Duration
		silent   bool
	}{
		{PCMA, PCMU, 500, 24 * time.Minute, false},
		{PCMA, PCMU, -500, 24 * time.Minute, false},
		{PCMA, PCMA, 500, 5 * time.Minute, false}, // passed through but for the stretches
		{PCMA, PCMA, -500, 5 * time.Minute, false},
		{PCMA, PCMU, 500, 3 * time.Minute, true},
		{PCMA, PCMU, -500, 3 * time.Minute, true},
		{Opus, PCMA, 500, 3 * time.Minute, false},
		{Opus, PCMA, -500, 3 * time.Minute, false},
		{PCMA, Opus, 500, 3 * time.Minute, false},
		{PCMA, Opus, -500, 3 * time.Minute, false},
	} {
		if raceDetector && !c.silent { // the others take too long
			continue
		}
		t.Run(fmt.Sprintf("%v to %v, %v ppm, silent %v", c.from, c.to, c.ppm, c.silent), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, m := testPacer(t)
				heard := &phase{step: 2 * math.Pi * freq / narrowRate, weak: 1}
				dec, err := newOpusDecoder(narrowRate)
				if err != nil {
					t.Fatal(err)
				}
				start, first, sent := time.Now(), uint32(0), 0
				var early, late time.Duration
				pcm := make([]int16, maxPCM)
				w := func(h *rtp.Header, payload []byte) error {
					if sent++; sent == 1 {
						first = h.Timestamp
					}
					at := time.Since(start) - c.to.span(h.Timestamp-first)
					early, late = min(early, at), max(late, at)
					if c.to == Opus {
						n, err := dec.Decode(payload, pcm)
						if err != nil {
							return err
						}
						heard.write(pcm[:n])
						return nil
					}
					heard.write(lawOf(c.to).decode(pcm[:0], payload))
					return nil
				}
				s := testSender(t, p, m, c.to, w)
				r := testReceiver(t, p, m, s)
				r.setSink(s, between(c.from, c.to))
				s.open()
				var source tone.Reader = tone.NewSource(freq, narrowRate)
				if c.silent {
					source = tone.Silence{}
				}
				f := &far{stream: stream{codec: c.from, ssrc: 5}, sound: source, opus: farEncoder(t, false)}
				every := time.Duration(float64(frameTime) / (1 + c.ppm/1e6))
				for at := time.Duration(0); at < c.length; at += every {
					time.Sleep(time.Until(start.Add(at)))
					h, payload, _ := f.packet(t)
					r.receive(h, payload, time.Now())
				}
				drifted := time.Duration(float64(c.length) * c.ppm / 1e6)
				t.Logf("drifted %v: %v early, %v late; phase turns by at most %.3f, level falls to %.3f in a block", drifted, -early, late, heard.jump, heard.weak)
				limit := 0.3 // radians; a frame more or less turns it by 1.26
				if c.to == Opus {
					limit = 0.6 // an encoder that looks for a voice wavers by itself
				}
				if !c.silent && (heard.jump > limit || heard.weak < 0.8) {
					t.Errorf("the phase turns by %.3f in 10 ms, the level falls to %.3f", heard.jump, heard.weak)
				}
				if late-early > 100*time.Millisecond {
					t.Errorf("packets are %v early and %v late", -early, late)
				}
				st := r.stats()
				r.close()
				if c.silent && r.out.stretch.made != 0 {
					t.Error("silence was stretched, where a frame more or less does it")
				}
				if st.Lost+st.Late != 0 || st.Concealed != 0 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}
