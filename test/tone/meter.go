package tone

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

const (
	frameLen   = 100 * time.Millisecond // what is judged at once: 10 Hz wide
	blockLen   = 10 * time.Millisecond  // the grain of gaps
	heardAfter = 3                      // frames with the tone until it counts as heard
	floor      = -40.0                  // dBFS; below it nothing is heard
	clearance  = 10.0                   // dB that a tone stands out of its neighbourhood
	aside      = 45.0                   // Hz from a tone to its neighbours
	dip        = 10.0                   // dB under its usual level where a tone is missing
	gapLimit   = 60 * time.Millisecond
)

// Gap is a time without the tone between two times with it.
type Gap struct {
	Freq   float64
	At     time.Duration // from the first sample written
	Length time.Duration // in steps of 10 ms
}

// Meter listens for tones.
type Meter struct {
	mu      sync.Mutex
	rate    int
	frame   int // samples per frame
	block   int // samples per block
	n       int // samples of the current frame
	window  []float64
	grain   []float64 // a block's samples
	shaped  []float64 // the same under the window
	written int64
	ears    []*ear
	changed chan struct{} // closed and replaced when a tone is heard
}

// ear follows one frequency.
type ear struct {
	freq     float64
	tone     goertzel // over a frame
	below    goertzel
	above    goertzel
	grain    goertzel // over a block
	heard    int      // frames
	power    float64  // sum of the heard frames' squared peaks
	loudest  float64  // squared peak
	usual    float64  // squared peak of blocks with the tone, slowly following
	lastTone int64    // the end of the last block with the tone; 0: none yet
	missing  bool
	gaps     []Gap
}

// NewMeter returns a meter of audio at rate samples per second that knows the
// given frequencies.
func NewMeter(rate int, freqs ...float64) *Meter {
	m := &Meter{
		rate: rate, changed: make(chan struct{}),
		frame: int(frameLen.Seconds() * float64(rate)), block: int(blockLen.Seconds() * float64(rate)),
	}
	for i := range m.frame { // Hann: a loud tone does not leak far
		m.window = append(m.window, 1-math.Cos(2*math.Pi*float64(i)/float64(m.frame)))
	}
	m.grain, m.shaped = make([]float64, m.block), make([]float64, m.block)
	for _, f := range freqs {
		m.ears = append(m.ears, m.newEar(f))
	}
	return m
}

func (m *Meter) newEar(f float64) *ear {
	return &ear{
		freq: f, tone: newGoertzel(f, m.rate), grain: newGoertzel(f, m.rate),
		below: newGoertzel(f-aside, m.rate), above: newGoertzel(f+aside, m.rate),
	}
}

// Write listens to the next samples.
func (m *Meter) Write(pcm []int16) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(pcm) > 0 {
		n := min(len(pcm), m.block-m.n%m.block)
		plain, shaped := m.grain[:n], m.shaped[:n]
		for i, v := range pcm[:n] {
			plain[i] = float64(v)
			shaped[i] = plain[i] * m.window[m.n+i]
		}
		for _, e := range m.ears {
			e.add(plain, shaped)
		}
		pcm = pcm[n:]
		m.n += n
		m.written += int64(n)
		if m.n%m.block == 0 {
			m.endBlock()
		}
		if m.n == m.frame {
			m.endFrame()
			m.n = 0
		}
	}
}

func (m *Meter) endBlock() {
	for _, e := range m.ears {
		p := e.grain.end(m.block)
		quiet := p < amplitude(floor)*amplitude(floor) || p < e.usual*math.Pow(10, -dip/10)
		if quiet {
			e.missing = true
			continue
		}
		if since := m.at(m.written-int64(m.block)) - m.at(e.lastTone); e.missing && e.lastTone > 0 && since > gapLimit {
			e.gaps = append(e.gaps, Gap{Freq: e.freq, At: m.at(e.lastTone), Length: since})
		}
		e.missing = false
		if e.heard > 0 { // before that it may be anything
			e.lastTone = m.written
			e.usual += (p - e.usual) / 32
		}
	}
}

func (m *Meter) endFrame() {
	for _, e := range m.ears {
		p, lo, hi := e.tone.end(m.frame), e.below.end(m.frame), e.above.end(m.frame)
		e.loudest = max(e.loudest, p)
		if level(math.Sqrt(p)) < floor || p < max(lo, hi)*math.Pow(10, clearance/10) {
			continue
		}
		if e.heard == 0 {
			e.usual, e.lastTone = p, m.written
		}
		e.heard++
		e.power += p
		if e.heard == heardAfter {
			close(m.changed)
			m.changed = make(chan struct{})
		}
	}
}

// Level is how loud the tone is where it is present, and whether it was heard
// at all: for 300 ms in sum, above -40 dBFS and 10 dB above what is beside it.
// A tone that was not heard has the level of its loudest moment.
func (m *Meter) Level(freq float64) (dBFS float64, heard bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.ear(freq)
	if e == nil {
		return level(0), false
	}
	if e.heard < heardAfter {
		return level(math.Sqrt(e.loudest)), false
	}
	return level(math.Sqrt(e.power / float64(e.heard))), true
}

// HeardFor is how much of the tone was heard in sum, in steps of 100 ms.
func (m *Meter) HeardFor(freq float64) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.ear(freq); e != nil {
		return time.Duration(e.heard) * frameLen
	}
	return 0
}

// Gaps lists the places where a tone was missing for more than 60 ms and came
// back, in the order of their ends.
func (m *Meter) Gaps() []Gap {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Gap
	for _, e := range m.ears {
		all = append(all, e.gaps...)
	}
	slices.SortFunc(all, func(a, b Gap) int { return int(a.At + a.Length - b.At - b.Length) })
	return all
}

// Silent is how long, in time of the stream, the tone has been missing by now.
func (m *Meter) Silent(freq float64) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.ear(freq)
	if e == nil {
		return m.at(m.written)
	}
	return m.at(m.written) - m.at(e.lastTone)
}

// Written is how much audio the meter was given.
func (m *Meter) Written() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at(m.written)
}

// Wait returns when all the tones (none given: all that the meter knows) have
// been heard since the beginning or the last Reset, or when ctx ends, with what
// was heard instead.
func (m *Meter) Wait(ctx context.Context, freqs ...float64) error {
	for {
		missing, changed := m.unheard(freqs)
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for a tone: %v Hz not heard in %v of audio: %w", missing, m.Written(), ctx.Err())
		}
	}
}

func (m *Meter) unheard(freqs []float64) (missing []float64, changed <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(freqs) == 0 {
		for _, e := range m.ears {
			freqs = append(freqs, e.freq)
		}
	}
	for _, f := range freqs {
		if e := m.ear(f); e == nil || e.heard < heardAfter {
			missing = append(missing, f)
		}
	}
	return missing, m.changed
}

// Reset forgets what was heard and the gaps.
func (m *Meter) Reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, e := range m.ears {
		m.ears[i] = m.newEar(e.freq)
	}
	m.n, m.written = 0, 0
}

func (m *Meter) ear(freq float64) *ear {
	for _, e := range m.ears {
		if e.freq == freq {
			return e
		}
	}
	return nil
}

func (m *Meter) at(sample int64) time.Duration {
	return time.Duration(sample) * time.Second / time.Duration(m.rate)
}

func (e *ear) add(plain, shaped []float64) {
	e.tone.add(shaped)
	e.below.add(shaped)
	e.above.add(shaped)
	e.grain.add(plain)
}

// goertzel is one bin of a Fourier transform, computed sample by sample.
type goertzel struct{ coeff, s1, s2 float64 }

func newGoertzel(freq float64, rate int) goertzel {
	return goertzel{coeff: 2 * math.Cos(2*math.Pi*freq/float64(rate))}
}

func (g *goertzel) add(pcm []float64) {
	c, s1, s2 := g.coeff, g.s1, g.s2
	for _, x := range pcm {
		s1, s2 = x+c*s1-s2, s1
	}
	g.s1, g.s2 = s1, s2
}

// end returns the squared peak of the sine in the n samples and starts anew.
func (g *goertzel) end(n int) float64 {
	p := g.s1*g.s1 + g.s2*g.s2 - g.coeff*g.s1*g.s2
	g.s1, g.s2 = 0, 0
	return 4 * p / float64(n) / float64(n)
}
