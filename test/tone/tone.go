// Package tone proves that sound went from one place to another: a sine to
// send, a meter that says whether it arrived, how loud and with which gaps, and
// a marker that measures how long it took. Levels are in dBFS, where a sine
// that just does not clip has 0. Everything may be used by several goroutines.
package tone

import (
	"math"
	"sync"
)

// DefaultLevel is the level of a new Source.
const DefaultLevel = -10.0

// Reader gives audio without end.
type Reader interface {
	// Read fills pcm with the next samples.
	Read(pcm []int16)
}

// Source is a sine.
type Source struct {
	mu    sync.Mutex
	step  float64 // radians per sample
	phase float64
	peak  float64
}

// NewSource returns a sine of freq Hz for rate samples per second, at
// DefaultLevel.
func NewSource(freq float64, rate int) *Source {
	return &Source{step: 2 * math.Pi * freq / float64(rate), peak: amplitude(DefaultLevel)}
}

// SetLevel changes the loudness, in dBFS.
func (s *Source) SetLevel(dBFS float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peak = amplitude(dBFS)
}

// Read fills pcm; the sine goes on where the last Read ended.
func (s *Source) Read(pcm []int16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range pcm {
		pcm[i] = int16(s.peak * math.Sin(s.phase))
		s.phase += s.step
		if s.phase > 2*math.Pi {
			s.phase -= 2 * math.Pi
		}
	}
}

// Silence is a Reader of zeros.
type Silence struct{}

// Read fills pcm with zeros.
func (Silence) Read(pcm []int16) { clear(pcm) }

// Mix adds several Readers; what does not fit is clipped.
func Mix(parts ...Reader) Reader { return &mix{parts: parts} }

type mix struct {
	mu    sync.Mutex
	parts []Reader
	one   []int16
	sum   []int32
}

func (m *mix) Read(pcm []int16) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if cap(m.one) < len(pcm) {
		m.one, m.sum = make([]int16, len(pcm)), make([]int32, len(pcm))
	}
	one, sum := m.one[:len(pcm)], m.sum[:len(pcm)]
	clear(sum)
	for _, p := range m.parts {
		p.Read(one)
		for i, v := range one {
			sum[i] += int32(v)
		}
	}
	for i, v := range sum {
		pcm[i] = int16(min(max(v, math.MinInt16), math.MaxInt16))
	}
}

// amplitude is the peak of a sine of that level.
func amplitude(dBFS float64) float64 { return math.MaxInt16 * math.Pow(10, dBFS/20) }

// level is the dBFS of a sine's peak.
func level(peak float64) float64 {
	return 20 * math.Log10(max(peak, 1e-3)/math.MaxInt16)
}
