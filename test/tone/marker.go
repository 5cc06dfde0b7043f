package tone

import (
	"math"
	"sync"
	"time"
)

// The marker is a short rising chirp: unlike a click it survives a speech
// codec, and unlike a tone it has one moment.
const (
	chirpLen  = 24 * time.Millisecond
	chirpFrom = 900.0 // Hz
	chirpTo   = 2700.0
	chirpPeak = -8.0 // dBFS
)

// Marker is a Reader of silence with a chirp in regular distance; it notes when
// each chirp left.
type Marker struct {
	mu    sync.Mutex
	rate  int
	every int // samples
	at    int // samples since the last chirp began
	chirp []float64
	sent  []time.Time
}

// NewMarker returns a source of markers at rate samples per second. The first
// comes after one period; every must be longer than the delay to measure.
func NewMarker(rate int, every time.Duration) *Marker {
	return &Marker{
		rate: rate, every: int(every.Seconds() * float64(rate)),
		at: int(chirpLen.Seconds() * float64(rate)), chirp: newChirp(rate),
	}
}

// Read fills pcm with what leaves now.
func (m *Marker) Read(pcm []int16) { m.ReadAt(pcm, time.Now()) }

// ReadAt fills pcm, whose first sample leaves at the given time.
func (m *Marker) ReadAt(pcm []int16, leaves time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range pcm {
		if m.at >= m.every {
			m.at = 0
			m.sent = append(m.sent, leaves.Add(time.Duration(i)*time.Second/time.Duration(m.rate)))
		}
		pcm[i] = 0
		if m.at < len(m.chirp) {
			pcm[i] = int16(m.chirp[m.at] * amplitude(chirpPeak))
		}
		m.at++
	}
}

// Sent lists when the chirps left.
func (m *Marker) Sent() []time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]time.Time(nil), m.sent...)
}

// newChirp is the marker with a peak of 1 and soft ends.
func newChirp(rate int) []float64 {
	n := int(chirpLen.Seconds() * float64(rate))
	c := make([]float64, n)
	for i := range c {
		t := float64(i) / float64(rate)
		phase := 2 * math.Pi * (chirpFrom*t + (chirpTo-chirpFrom)/2*t*t/chirpLen.Seconds())
		c[i] = math.Sin(phase) * math.Sin(math.Pi*float64(i)/float64(n))
	}
	return c
}

// Delays pairs every marker heard with the last one sent before it. A clock
// step or a marker that was lost gives no pair, never a wrong one, as long as
// the delay is shorter than the markers' period.
func Delays(sent, heard []time.Time) []time.Duration {
	const early = 2 * time.Millisecond // as far as two clock reads may disagree
	var out []time.Duration
	i := -1
	for _, h := range heard {
		before := i
		for i+1 < len(sent) && !sent[i+1].After(h.Add(early)) {
			i++
		}
		if i > before {
			out = append(out, h.Sub(sent[i]))
		}
	}
	return out
}
